"""What `perpkit funding` makes of the venues' answers."""

from decimal import Decimal

from exchange_clients.model import FundingRateSample, RateKind
from perpkit.cli.funding import Rates


def sample(rate: str, *, cap: str | None = None) -> FundingRateSample:
    return FundingRateSample(
        raw_rate=Decimal(rate), interval_hours=Decimal(1), kind=RateKind.PREDICTED, cap=None if cap is None else Decimal(cap)
    )


def test_a_rate_that_cannot_be_true_is_left_out_and_told() -> None:
    found = Rates()
    found.take("one", {"BTC": sample("0.0001"), "ETH": sample("0.9"), "SOL": sample("0.02", cap="0.01")}, {})
    found.take("other", {"BTC": sample("0.0002"), "ETH": sample("0.0001")}, {})
    assert found.rates == {"one": {"BTC": sample("0.0001")}, "other": {"BTC": sample("0.0002"), "ETH": sample("0.0001")}}
    assert found.difference("ETH") is None
    told = found.as_json()["doubted"]["one"]
    assert "more than 0.05 an hour" in told["ETH"]
    assert "beyond the venue's own cap" in told["SOL"]
