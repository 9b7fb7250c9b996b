"""A pair in detail: every figure worked out again here with fractions, and what is not known is said."""

from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import msgspec
import pytest

from exchange_clients.model import NS_PER_HOUR, BookLevel, InstrumentId
from funding_rate_service.opportunity import (
    HORIZONS,
    BadPair,
    Book,
    CostSource,
    Persistence,
    pair_detail,
)
from tests.strategies.quotes import NOW, quote

D = Decimal
LONG = quote("a", "0.00001", "1", next_in_h="0.5", open_interest_usd=D(3), mark=D(100))
SHORT = quote("b", "0.0008", "8", next_in_h="6", open_interest_usd=D(2), mark=D(101))
PAST = Persistence(points=168, mean=D("0.00002"), volatility=D("0.00001"), sign_flips_per_day=D(1), half_life_hours=D(10))


def book(mid: int, *levels: tuple[str, str]) -> Book:
    """Levels as (away from the mid, size) on both sides."""
    return Book(
        tuple(BookLevel(mid - D(away), D(size)) for away, size in levels),
        tuple(BookLevel(mid + D(away), D(size)) for away, size in levels),
    )


BOOKS = book(100, ("0.01", "5"), ("0.05", "20")), book(100, ("0.02", "10"), ("0.1", "30"))


def close(value: Decimal | None, expected: Fraction | float) -> bool:
    return value is not None and abs(Fraction(value) - Fraction(expected)) < Fraction(1, 10**20)


def test_the_curve_counts_settlements_one_by_one() -> None:
    found = pair_detail(LONG, SHORT, now_ns=NOW)
    assert [h.hours for h in found.curve] == list(HORIZONS)
    fees, half = Fraction(4, 10_000), Fraction(2, 10_000) / 2
    costs = 4 * fees + 4 * half
    assert close(found.costs.total if found.costs else None, costs)
    assert found.cost_source is CostSource.SPREADS
    for point in found.curve:
        longs = sum(1 for n in range(400) if n + Fraction(1, 2) <= Fraction(point.hours))
        shorts = sum(1 for n in range(400) if 6 + 8 * n <= Fraction(point.hours))
        funding = shorts * Fraction(8, 10_000) - longs * Fraction(1, 100_000)
        assert (point.long_settlements, point.short_settlements) == (longs, shorts)
        assert close(point.funding, funding)
        assert close(point.net, funding - costs)
    assert close(found.hourly, Fraction(9, 100_000))
    assert close(found.annual, Fraction(9, 100_000) * 8760)
    assert close(found.break_even_hours, costs / Fraction(9, 100_000))
    assert found.settled_break_even_hours == 22, "three settlements of the short leg, at 6, 14 and 22 h"
    assert close(found.price_divergence, Fraction(1, 100))
    assert close(found.oi_ratio, Fraction(3, 2))


def test_expected_funding_fades_to_the_mean_with_its_half_life() -> None:
    """Against the integral taken in small steps."""
    found = pair_detail(LONG, SHORT, now_ns=NOW, past=PAST)
    assert found.expected is not None
    mean, now, steps = 0.00002, 0.00009, 2_000
    for point in found.expected:
        hours = float(point.hours)
        width = hours / steps
        total = sum((mean + (now - mean) * 0.5 ** ((n + 0.5) * width / 10)) * width for n in range(steps))
        assert float(point.funding) == pytest.approx(total, rel=1e-6)
        assert point.net is not None
        assert found.costs is not None
        assert point.net == point.funding - found.costs.total
    first = next(h for h in range(1, 169) if mean * h + (now - mean) * 10 / 0.6931471805599453 * (1 - 0.5 ** (h / 10)) >= 0.002)
    assert found.expected_break_even_hours == first


def test_costs_at_a_size_walk_both_books_and_capacity_is_where_they_use_up_the_edge() -> None:
    found = pair_detail(LONG, SHORT, now_ns=NOW, size_usd=D(1000), books=BOOKS)
    assert found.cost_source is CostSource.BOOKS
    one = (5 * Fraction(1, 100) + 5 * Fraction(5, 100)) / 10 / 100  # ten units: five at the touch, five at the next level
    other = Fraction(2, 100) / 100
    assert close(found.costs.total if found.costs else None, Fraction(16, 10_000) + 2 * (one + other))
    assert found.capacity is not None
    assert [size.usd for size in found.capacity] == [100, 250, 500, 1000, 2500], "as far as the thinner book goes"
    assert found.capacity[3].net == found.curve[list(HORIZONS).index(24)].net
    assert all(a.net >= b.net for a, b in pairwise(found.capacity) if a.net is not None and b.net is not None)
    least = found.capacity[3].net
    assert least is not None
    carried = pair_detail(LONG, SHORT, now_ns=NOW, books=BOOKS, min_net=least).capacity_usd
    assert carried == 1000
    assert pair_detail(LONG, SHORT, now_ns=NOW, books=BOOKS, min_net=D(1)).capacity_usd == 0
    assert pair_detail(LONG, SHORT, now_ns=NOW, books=BOOKS, min_net=D(-1)).capacity_usd == 2500, "never beyond the books"


def test_a_size_beyond_the_books_is_told_and_costs_come_from_the_spreads() -> None:
    found = pair_detail(LONG, SHORT, now_ns=NOW, size_usd=D(10**6), books=BOOKS)
    assert found.cost_source is CostSource.SPREADS
    assert "costs at 1000000 USD: the books do not hold it" in found.unknown


def test_what_is_missing_is_unknown_and_said() -> None:
    bare = msgspec.structs.replace(SHORT, taker_fee=None, bid=None, mark=None, open_interest_usd=None)
    found = pair_detail(LONG, bare, now_ns=NOW, size_usd=D(1000), books=BOOKS)
    assert (found.costs, found.cost_source, found.capacity, found.capacity_usd, found.expected) == (None,) * 5
    assert (found.break_even_hours, found.settled_break_even_hours, found.price_divergence, found.oi_ratio) == (None,) * 4
    assert {point.net for point in found.curve} == {None}
    assert found.curve[0].funding is not None
    assert found.unknown == ("taker fee on b", "spread of BTC-USDC-PERP.b", "history")


def test_a_spread_alone_missing_leaves_the_fees() -> None:
    found = pair_detail(LONG, msgspec.structs.replace(SHORT, ask=None), now_ns=NOW)
    assert found.cost_source is CostSource.FEES
    assert found.costs is not None
    assert not found.costs.slippage_known


def test_an_absurd_rate_is_unknown() -> None:
    wild = quote("b", "179000000")
    found = pair_detail(LONG, wild, now_ns=NOW, past=PAST, books=BOOKS)
    assert (found.curve, found.expected, found.hourly, found.capacity_usd) == ((), None, None, None)
    assert found.unknown[0].startswith("rate of BTC-USDC-PERP.b: 179000000 per 1 h")


@pytest.mark.parametrize(
    "broken", [Book((), ()), Book(book(100, ("1", "1")).bids, ()), Book(book(102, ("1", "1")).bids, book(98, ("1", "1")).asks)]
)
def test_a_book_without_two_sides_or_crossed_is_no_book(broken: Book) -> None:
    found = pair_detail(LONG, SHORT, now_ns=NOW, size_usd=D(100), books=(BOOKS[0], broken))
    assert found.cost_source is CostSource.SPREADS
    assert found.capacity is None
    assert "order books" in found.unknown


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (quote("b", "0", base="ETH"), "not the same asset"),
        (quote("a", "0"), "same venue"),
        (quote("b", "0", instrument=InstrumentId("BTC", "USD", "b", inverse=True)), "inverse"),
    ],
)
def test_what_makes_no_pair_is_refused(other: object, says: str) -> None:
    with pytest.raises(BadPair, match=says):
        pair_detail(LONG, other, now_ns=NOW)  # type: ignore[arg-type]


def test_a_continuous_leg_has_no_settlements_to_count() -> None:
    found = pair_detail(LONG, quote("b", "0.0008", "8", next_in_h=None), now_ns=NOW + NS_PER_HOUR)
    assert {point.short_settlements for point in found.curve} == {None}
    assert close(found.curve[0].funding, Fraction(1, 10_000) - Fraction(1, 100_000))
