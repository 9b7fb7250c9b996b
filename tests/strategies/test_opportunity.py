"""Edges and ranking: own intervals, real settlements, missing figures fail, exact assets."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange_clients.model import FundingRateSample, InstrumentId, RateKind
from funding_rate_service.opportunity import Costs, Filters, annual, edge, per_hour, scan, widest
from tests.strategies.quotes import NOW, quote

D = Decimal
NO_COSTS = Costs(D(0), D(0), D(0), D(0))


def test_e25_each_leg_counts_by_its_own_interval_and_settlements() -> None:
    hourly, eight = quote("a", "0.00001", "1"), quote("b", "0.0008", "8", next_in_h="6")
    found = edge(hourly, eight, NO_COSTS, now_ns=NOW, horizon_hours=D(24))
    assert found.long_hourly == D("0.00001")
    assert found.short_hourly == D("0.0001")
    assert (found.horizon.long_settlements, found.horizon.short_settlements) == (24, 3)
    assert found.horizon.funding == D("0.0008") * 3 - D("0.00001") * 24
    before_any = edge(hourly, eight, NO_COSTS, now_ns=NOW, horizon_hours=D("0.25"))
    assert before_any.horizon.funding == 0


def test_continuous_funding_accrues_by_time() -> None:
    found = edge(quote("a", "0"), quote("b", "0.0008", "8", next_in_h=None), NO_COSTS, now_ns=NOW, horizon_hours=D(3))
    assert found.horizon.funding == D("0.0003")
    assert found.horizon.short_settlements is None


def test_break_even_is_cost_over_edge_and_absent_without_an_edge() -> None:
    costs = Costs(D("0.0008"), D("0.0008"), D("0.0002"), D("0.0002"))
    assert edge(quote("a", "0"), quote("b", "0.0001"), costs, now_ns=NOW, horizon_hours=D(24)).break_even_hours == 20
    assert edge(quote("a", "0"), quote("b", "0"), costs, now_ns=NOW, horizon_hours=D(24)).break_even_hours is None


@given(rate=st.decimals(min_value="-0.01", max_value="0.01", places=8), hours=st.sampled_from([1, 2, 4, 8]))
def test_e29_per_hour_to_year_and_back_is_the_identity(rate: Decimal, hours: int) -> None:
    hourly = per_hour(rate, D(hours))
    assert annual(hourly) / D(8760) == hourly
    assert hourly * hours == rate


@pytest.mark.parametrize(("rate", "hours"), [("NaN", "1"), ("Infinity", "1"), ("0.1", "0"), ("0.1", "-8")])
def test_e26_absurd_rates_are_refused(rate: str, hours: str) -> None:
    with pytest.raises(ValueError, match="per"):
        per_hour(D(rate), D(hours))


def test_the_best_pair_comes_first_long_where_the_rate_is_lower() -> None:
    result = scan([quote("a", "0.0001"), quote("b", "0.0006"), quote("c", "0.0003")], Filters(), now_ns=NOW)
    assert [(o.long.instrument.venue, o.short.instrument.venue) for o in result.opportunities] == [("a", "b"), ("c", "b"), ("a", "c")]
    assert result.opportunities[0].edge.hourly == D("0.0005")


def test_e30_only_the_same_asset_matches() -> None:
    quotes = [
        quote("a", "0", base="BTC"),
        quote("b", "0.01", base="BTCDOM"),
        quote("a", "0", base="Z"),
        quote("b", "0.01", base="2Z"),
        quote("a", "0", base="PEPE"),
        quote("b", "0.01", base="PEPE"),
    ]
    assert [o.symbol for o in scan(quotes, Filters(), now_ns=NOW).opportunities] == ["PEPE"]


@pytest.mark.parametrize(
    ("changes", "filters", "rule"),
    [
        ({"taker_fee": None}, Filters(), "costs"),
        ({"bid": None}, Filters(max_spread=None), "costs"),
        ({"bid": None}, Filters(), "max_spread"),
        ({"mark": None}, Filters(), "max_price_divergence"),
        ({"volume_24h_usd": None}, Filters(min_volume_24h=D(1)), "min_volume_24h"),
        ({"open_interest_usd": None}, Filters(min_oi_usd=D(1)), "min_oi_usd"),
        ({"open_interest_usd": None}, Filters(max_oi_usd=D(1)), "max_oi_usd"),
        ({"volume_24h_usd": D(5)}, Filters(min_volume_24h=D(6)), "min_volume_24h"),
        ({"ask": D(101)}, Filters(), "max_spread"),
        ({"mark": D(102)}, Filters(), "max_price_divergence"),
        ({"tradable": False}, Filters(), "tradable"),
        ({"observed_ns": NOW - 200_000_000_000}, Filters(), "max_rate_age_s"),
        ({"observed_ns": NOW + 1_000_000_000}, Filters(), "max_rate_age_s"),
        ({}, Filters(required_venues=frozenset({"c"})), "required_venue"),
        ({}, Filters(min_profit=D("0.5")), "min_profit"),
        ({}, Filters(max_break_even_hours=D("0.1")), "max_break_even_hours"),
    ],
)
def test_e22_a_missing_or_bad_figure_fails_its_filter(changes: dict[str, object], filters: Filters, rule: str) -> None:
    good = [quote("a", "0"), quote("b", "0.001")]
    assert len(scan(good, Filters(), now_ns=NOW).opportunities) == 1
    result = scan([good[0], quote("b", "0.001", **changes)], filters, now_ns=NOW)  # type: ignore[arg-type]
    assert result.opportunities == ()
    assert rule in {name for name, _ in result.rejections[0].rules}


def test_a_rate_beyond_the_venues_cap_is_not_believed() -> None:
    capped = quote("b", "0.001", sample=FundingRateSample(raw_rate=D(5), interval_hours=D(1), kind=RateKind.PREDICTED, cap=D("0.04")))
    result = scan([quote("a", "0"), capped], Filters(), now_ns=NOW)
    assert result.opportunities == ()
    assert "cap" in {name for name, _ in result.rejections[0].rules}


def test_equal_input_gives_equal_output_in_any_order() -> None:
    quotes = [quote(v, r) for v, r in (("a", "0.0001"), ("b", "0.0002"), ("c", "0.0002"), ("d", "0.0003"))]
    assert scan(quotes, Filters(), now_ns=NOW) == scan(list(reversed(quotes)), Filters(), now_ns=NOW)


def test_the_widest_asset_is_that_of_the_best_pair_on_two_venues() -> None:
    """Two markets of one venue are no pair, however far they are apart."""
    quotes = [
        quote("a", "0.0009", instrument=InstrumentId("ETH", "USDC", "a")),
        quote("a", "-0.0009", instrument=InstrumentId("ETH", "USDT", "a")),
        quote("b", "0", base="ETH"),
        quote("a", "0", base="BTC"),
        quote("b", "0.008", "8", base="BTC"),
        quote("a", "0.04", base="SOL"),
        quote("a", "0", base="PEPE"),
        quote("b", "0.06", base="PEPE"),
        quote("c", "0.0001", base="PEPE"),
        quote("b", "0.01", instrument=InstrumentId("BTC", "USD", "b", inverse=True)),
    ]
    rates = {q.instrument: q.sample for q in quotes}
    assert widest(rates) == [(D("0.001"), "BTC"), (D("0.0009"), "ETH"), (D("0.0001"), "PEPE")]
    assert widest(rates, frozenset({"ETH", "SOL"})) == [(D("0.0009"), "ETH")]
