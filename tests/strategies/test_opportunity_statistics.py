"""Settlement clock, depth, capacity, persistence, edge curve: figures that can be checked by hand."""

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange_clients.model import NS_PER_HOUR, NS_PER_S, BookLevel, FundingRateSample, RateKind
from funding_rate_service.opportunity import (
    Book,
    Costs,
    Fees,
    average_price,
    break_even,
    capacity,
    capacity_curve,
    costs_at,
    curve,
    disbelief,
    expected_hours,
    falls_due,
    next_settlement,
    pair_funding,
    pair_history,
    persistence,
)
from funding_rate_service.opportunity.persistence import hourly
from tests.strategies.quotes import NOW, quote

D = Decimal


def settled(rate: str, hour: int, hours: int = 1) -> FundingRateSample:
    """Settled `hour` hours after NOW, for the `hours` before."""
    return FundingRateSample(raw_rate=D(rate), interval_hours=D(hours), kind=RateKind.SETTLED, settled_at=NOW + hour * NS_PER_HOUR)


# ---- the settlement clock


def test_legs_of_different_intervals_fall_due_at_their_own_times() -> None:
    hourly, eight = quote("a", "0.00001", "1", next_in_h="0.5").sample, quote("b", "0.0008", "8", next_in_h="6").sample
    assert falls_due(hourly, eight, NOW, D(1)) == D("-0.00001"), "within the hour we only pay"
    assert falls_due(hourly, eight, NOW, D(6)) == D("0.0008") - 6 * D("0.00001")
    assert pair_funding(hourly, eight, NOW, D(24)) == 3 * D("0.0008") - 24 * D("0.00001")


def test_a_settlement_that_has_passed_is_moved_on_and_one_that_is_due_now_is_over() -> None:
    sample = quote("a", "0.0001", "8", next_in_h="-1").sample
    assert next_settlement(sample, NOW) == NOW + 7 * NS_PER_HOUR
    assert next_settlement(quote("a", "0.0001", "8", next_in_h="0").sample, NOW) == NOW + 8 * NS_PER_HOUR


@pytest.mark.parametrize(
    ("rate", "hours", "cap", "believed"),
    [
        ("0.0001", "1", None, True),
        ("179000000", "1", None, False),
        ("0.3", "8", None, True),
        ("0.5", "8", None, False),
        ("0.01", "8", "0.0075", False),
        ("-0.01", "8", "0.0075", False),
        ("NaN", "1", None, False),
        ("0.0001", "0", None, False),
    ],
)
def test_pains_9_an_absurd_rate_is_not_believed(rate: str, hours: str, cap: str | None, believed: bool) -> None:
    sample = msgspec.structs.replace(quote("a", "0").sample, raw_rate=D(rate), interval_hours=D(hours), cap=None if cap is None else D(cap))
    assert (disbelief(sample) is None) == believed


# ---- depth


def book(mid: str, half: str, *sizes: str) -> Book:
    """Levels `half` apart, of those sizes, on both sides."""
    middle, step = D(mid), D(half)
    levels = [(number, D(size)) for number, size in enumerate(sizes, start=1)]
    return Book(
        tuple(BookLevel(middle - step * number, size) for number, size in levels),
        tuple(BookLevel(middle + step * number, size) for number, size in levels),
    )


FEES = Fees(D("0.0001"), D("0.0004")), Fees(D("0"), D("0.0003"))


def test_the_mean_price_is_that_of_the_levels_taken() -> None:
    asks = book("100", "1", "1", "2", "5").asks
    assert average_price(asks, D(1)) == 101
    assert average_price(asks, D(3)) == (101 + 2 * 102) / D(3)
    assert average_price(asks, D(9)) is None


def test_a_round_trip_costs_fees_and_the_way_from_the_mid_on_both_legs_both_ways() -> None:
    long, short = book("100", "0.1", "1", "1"), book("200", "0.1", "1", "1")
    found = costs_at(long, short, FEES, D(2))
    away = D("0.15")  # one unit at 0.1, one at 0.2 from the mid
    assert found == Costs(D("0.0007"), D("0.0007"), away / 100 + away / 200, away / 100 + away / 200)
    assert costs_at(long, short, FEES, D(3)) is None


def test_capacity_is_where_the_next_step_would_leave_too_little() -> None:
    long, short = book("100", "0.1", "1", "1", "1", "1"), book("100", "0.1", "1", "1", "1", "1")
    most = capacity(long, short, FEES, funding=D("0.0074"), min_net=D("0.0001"), step=D("0.01"))
    at, beyond = (costs_at(long, short, FEES, most + extra) for extra in (D(0), D("0.01")))
    assert at is not None
    assert beyond is not None
    assert D("0.0074") - at.total >= D("0.0001") > D("0.0074") - beyond.total
    assert capacity(long, short, FEES, funding=D("0.001"), min_net=D(0), step=D("0.01")) == 0
    assert capacity(long, short, FEES, funding=D(1), min_net=D(0), step=D("0.01")) == 4, "never beyond the books"


@given(sizes=st.lists(st.integers(1, 50), min_size=1, max_size=6), funding=st.integers(0, 200))
def test_more_never_costs_less(sizes: list[int], funding: int) -> None:
    side = book("100", "0.05", *(str(size) for size in sizes))
    points = capacity_curve(side, side, FEES, funding=D(funding) / 10_000, sizes=[D(usd) for usd in (100, 1_000, 5_000, 30_000)])
    known = [p.net for p in points if p.net is not None]
    assert known == sorted(known, reverse=True)


# ---- persistence


def test_pains_7_history_keeps_its_own_interval_across_a_change() -> None:
    """8 h until hour 8, then hourly: each hour has the rate that really ran."""
    changed = [settled("0.0008", 8, 8), *(settled("0.0002", hour) for hour in range(9, 13))]
    flat = [settled("0", hour) for hour in range(1, 13)]
    series = pair_history(flat, changed, NOW, NOW + 12 * NS_PER_HOUR)
    assert series == [D("0.0001")] * 8 + [D("0.0002")] * 4


def test_hours_without_a_record_on_either_side_are_unknown() -> None:
    short = [settled("0.0001", hour) for hour in range(1, 13) if hour != 5]
    long = [settled("0", hour) for hour in range(1, 13) if hour != 7]
    series = pair_history(long, short, NOW, NOW + 12 * NS_PER_HOUR)
    assert [n for n, x in enumerate(series, start=1) if x is None] == [5, 7]


def test_an_hour_without_a_record_is_no_neighbour() -> None:
    """What comes before a hole says nothing of what comes after it; it is no point either."""
    wave = [D(1), D(-1)] * 8
    holed: list[Decimal | None] = [x for pair in zip(wave, [None] * 16, strict=True) for x in pair]
    found = persistence(holed)
    assert found is not None
    assert (found.points, found.low, found.high) == (16, D(-1), D(1))
    assert (found.autocorrelation, found.half_life_hours) == (None, None)
    unbroken = persistence(wave)
    assert unbroken is not None
    assert (unbroken.autocorrelation, unbroken.half_life_hours) == (D(-1), D(0))


def test_a_sign_that_changes_by_way_of_zero_has_changed_once() -> None:
    found = persistence([D(1), D(0), D(-1), D(0), D(-1), D(0), D(1), *[D(1)] * 17])
    assert found is not None
    assert found.sign_flips_per_day == 2


def test_several_settlements_within_one_hour_all_count_late_stamps_too() -> None:
    rates = [("0.0001", 30, 0), ("0.0003", 60, 4), ("-0.0001", 90, 1), ("0.0001", 120, 0)]
    samples = [
        FundingRateSample(
            raw_rate=D(rate), interval_hours=D("0.5"), kind=RateKind.SETTLED, settled_at=NOW + (minutes * 60 + late_s) * NS_PER_S
        )
        for rate, minutes, late_s in rates
    ]
    assert hourly(samples, NOW, NOW + 3 * NS_PER_HOUR) == [D("0.0004"), D(0), None]


def test_mean_volatility_flips_and_half_life_of_a_known_series() -> None:
    alternating = [D(1), D(-1)] * 12
    found = persistence(alternating)
    assert found is not None
    assert (found.mean, found.volatility, found.sign_flips_per_day) == (D(0), D(1), D(23))
    assert found.half_life_hours == 0, "a deviation is gone in the next hour"
    assert persistence([D(1)] * 11) is None, "too short"
    constant = persistence([D("0.0001")] * 24)
    assert constant is not None
    assert (constant.mean, constant.volatility) == (D("0.0001"), D(0))
    assert constant.half_life_hours is None


def test_a_series_that_halves_every_two_hours_has_that_half_life() -> None:
    ratio = D("0.5").sqrt()
    series = [ratio**n for n in range(200)]
    around = persistence([*series, *(-x for x in series)])
    assert around is not None
    assert around.half_life_hours is not None
    assert abs(around.half_life_hours - 2) < D("0.000001")


def test_what_is_expected_fades_to_the_mean() -> None:
    past = persistence([D(1), D(-1)] * 12)
    assert past is not None
    at_once = msgspec.structs.replace(past, mean=D("0.0001"), half_life_hours=D(0))
    assert expected_hours(D("0.0009"), at_once, D(24)) == D("0.0024")
    never = msgspec.structs.replace(past, half_life_hours=None)
    assert expected_hours(D("0.0009"), never, D(24)) == D("0.0216")
    in_four = msgspec.structs.replace(past, mean=D("0.0001"), half_life_hours=D(4))
    by_hand = D("0.0001") * 24 + D("0.0008") * (1 - D("0.5") ** 6) * 4 / D(2).ln()
    assert abs(expected_hours(D("0.0009"), in_four, D(24)) - by_hand) < D("1e-20")


# ---- the curve


def test_the_curve_counts_settlements_and_breaks_even_when_they_have_paid_the_costs() -> None:
    long, short = quote("a", "0", "1"), quote("b", "0.0008", "8", next_in_h="6")
    costs = Costs(D("0.0005"), D("0.0005"), D("0.0002"), D("0.0002"))
    points = {p.hours: p.net for p in curve(long, short, costs, now_ns=NOW)}
    assert points[D(4)] == D("-0.0014")
    assert points[D(8)] == D("-0.0006")
    assert points[D(24)] == D("0.0010")
    assert points[D(168)] == 21 * D("0.0008") - D("0.0014")
    assert break_even(long, short, costs, now_ns=NOW) == 14, "the second settlement"
    assert break_even(short, long, costs, now_ns=NOW) is None
