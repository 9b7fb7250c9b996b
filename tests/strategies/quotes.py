"""Quotes of funding for tests of pure rules."""

from decimal import Decimal

from exchange_clients.model import NS_PER_HOUR, FundingRateSample, InstrumentId, RateKind
from funding_rate_service.opportunity import FundingQuote

NOW = 1_795_260_000_000_000_000 // NS_PER_HOUR * NS_PER_HOUR
D = Decimal


def quote(
    venue: str, rate: str, hours: str = "1", *, base: str = "BTC", next_in_h: str | None = "0.5", age_s: int = 1, **changes: object
) -> FundingQuote:
    fields: dict[str, object] = {
        "instrument": InstrumentId(base, "USDC", venue),
        "sample": FundingRateSample(
            raw_rate=D(rate),
            interval_hours=D(hours),
            kind=RateKind.PREDICTED,
            next_funding_time=None if next_in_h is None else NOW + int(D(next_in_h) * NS_PER_HOUR),
        ),
        "observed_ns": NOW - age_s * 1_000_000_000,
        "taker_fee": D("0.0004"),
        "maker_fee": D("0.0001"),
        "mark": D(100),
        "bid": D("99.99"),
        "ask": D("100.01"),
        **changes,
    }
    return FundingQuote(**fields)  # type: ignore[arg-type]
