"""The Ranker answers as the plain ranking does, whatever the quotes are, and keeps nothing that time changes."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange_clients.model import NS_PER_HOUR, NS_PER_S, FundingRateSample, InstrumentId, RateKind
from funding_rate_service.opportunity import BadQuery, FundingQuote, Query, SortBy, rank
from funding_rate_service.opportunity.ranker import Ranker
from tests.strategies.quotes import NOW, quote

D = Decimal
T = TypeVar("T")
TINY = D("1e-22")
"""Nothing to a float, something to a Decimal."""


class Choices:
    """Many choices out of one number; a smaller number takes earlier options."""

    def __init__(self, number: int) -> None:
        self._left = number

    def pick(self, options: Sequence[T]) -> T:
        self._left, chosen = divmod(self._left, len(options))
        return options[chosen]

    def near(self, *common: str) -> Decimal:
        """A value that others have too, or one that differs from it by next to nothing."""
        return D(self.pick(common)) + self.pick((0, 0, 0, 1, -1, 2)) * TINY

    def figure(self, *common: str) -> Decimal | None:
        return None if self.pick((1, 1, 1, 1, 1, 1, 1, 0)) == 0 else self.near(*common)


MARKETS = [InstrumentId(base, q, venue, dex) for base in ("BTC", "ETH") for venue in "abcd" for q, dex in (("USDC", ""), ("USDT", "x"))]
MARKETS.append(InstrumentId("BTC", "USD", "a", inverse=True))
HOURS = (D(1), D(8), D(4), D("0.5"), D(1) / 3)
AGES = (0, NS_PER_S, 180 * NS_PER_S)
LARGE = 10**150


def a_quote(number: int) -> FundingQuote:
    c = Choices(number)
    wild = c.pick((False,) * 7 + (True,))
    nexts = [None, *(NOW + n * NS_PER_HOUR // 2 for n in range(-20, 21))]
    return FundingQuote(
        instrument=c.pick(MARKETS),
        sample=FundingRateSample(
            raw_rate=c.pick((c.near("0.0001", "0", "-0.0003", "0.0008", "0.01"), D(c.pick(range(-500, 500))) / 10**5)),
            interval_hours=c.pick((*HOURS, D("0.00001"), D(0), D("1e40"), D("Infinity")) if wild else HOURS),
            kind=RateKind.PREDICTED,
            next_funding_time=c.pick((*nexts, 2**62, 2**70) if wild else nexts),
            cap=c.pick((None, c.figure("0.04", "0.0008"))),
        ),
        observed_ns=NOW - c.pick((*AGES, 180 * NS_PER_S + 1, -1) if wild else AGES),
        taker_fee=c.figure("0.0004", "0", "-0.0001"),
        mark=c.figure("100", "101", *(("0", "1e-400", "1e40", "-5") if wild else ())),
        bid=c.figure("99.99", "100.01", *(("0", "1e-400", "1e400") if wild else ())),
        ask=c.figure("100.01", "100.02", *(("99", "1e-400", "1e400") if wild else ())),
        volume_24h_usd=c.figure("1000000", "0", "5000000"),
        open_interest_usd=c.figure("1000000", "0", "2000000"),
        tradable=not wild or c.pick((True, True, False)),
    )


def a_query(number: int) -> Query:
    c = Choices(number)
    some = [frozenset(names) for names in ("ab", "a", "abc", "z", "", "cd")]
    options: dict[str, Sequence[Any]] = {
        "symbol": ["BTC", "ETH", "SOL"],
        "dex": ["a", "b", "z"],
        "dex_pair": [("a", "b"), ("d", "c"), ("a", "z")],
        "dexes": some,
        "whitelist_dexes": some,
        "exclude_dexes": some,
        "required_dex": ["a", "b", "z"],
        "min_divergence": [D(0), D("0.0000875"), D("-1"), D("0.0001") + TINY],
        "min_profit": [D(-1), D("0.0007"), D("-0.0016"), D("0.0016") - TINY],
        "min_volume": [D(0), D(10**6)],
        "max_volume": [D(10**6), D(5 * 10**6)],
        "min_oi": [D(0), D(10**6)],
        "max_oi": [D(10**6), D(2 * 10**6)],
        "oi_ratio_min": [D(0), D("0.5"), D(1)],
        "oi_ratio_max": [D(1), D(2)],
        "max_spread": [D("0.0001"), D("0.0002"), D("0.0003")],
        "max_price_divergence": [D(0), D("0.01"), D("0.02")],
        "max_break_even_hours": [D("0.01"), D(16), D(200)],
    }
    fields: dict[str, Any] = {"min_profit": c.pick((D(-1), D(0)))}
    for _ in range(c.pick((0, 1, 1, 2, 3))):
        name = c.pick(sorted(options))
        fields[name] = c.pick(options[name])
    return Query(
        **fields,
        horizon_hours=c.pick((D(24), D(1), D("0.25"), D(168))),
        limit=c.pick(range(1, 7)),
        sort_by=c.pick(list(SortBy)),
        sort_desc=c.pick((True, False)),
    )


NUMBERS = st.integers(0, LARGE)
LISTS = st.lists(NUMBERS.map(a_quote), max_size=14)


@settings(max_examples=250, deadline=None)
@given(LISTS, NUMBERS.map(a_query))
def test_the_ranker_answers_as_the_plain_ranking(found: list[FundingQuote], query: Query) -> None:
    assert Ranker(found).query(query, NOW) == rank(found, query, now_ns=NOW)


@settings(max_examples=80, deadline=None)
@given(st.lists(LISTS, min_size=2, max_size=4), st.sets(st.sampled_from("abcd"), max_size=2), NUMBERS.map(a_query), st.integers(0, 10**14))
def test_changes_and_removals_leave_what_a_new_one_holds(
    rounds: list[list[FundingQuote]], gone: set[str], query: Query, later: int
) -> None:
    """Also at a later moment: rates grow old and settlements pass without a change."""
    ranker, held = Ranker(), dict[InstrumentId, FundingQuote]()
    for number, changed in enumerate(rounds):
        ranker.update(changed)
        held.update((q.instrument, q) for q in changed)
        if number == 0:
            ranker.query(query, NOW)
            for venue in gone:
                ranker.remove(venue)
            held = {instrument: q for instrument, q in held.items() if instrument.venue not in gone}
        for now_ns in (NOW, NOW + later):
            assert ranker.query(query, now_ns) == rank(held.values(), query, now_ns=now_ns)
    assert len(ranker) == sum(not instrument.inverse for instrument in held)


def many() -> list[FundingQuote]:
    """Every market, every figure known, none equal."""
    rates = [D(n * 37 % 23) / 10_000 for n in range(len(MARKETS))]
    return [
        msgspec.structs.replace(
            quote(m.venue, str(rates[n]), volume_24h_usd=D(10**6 + n), open_interest_usd=D(10**5 + n * n)), instrument=m
        )
        for n, m in enumerate(MARKETS)
    ]


@pytest.mark.parametrize("by", list(SortBy))
@pytest.mark.parametrize("descending", [True, False])
def test_the_first_of_many_are_those_of_the_whole_order(by: SortBy, descending: bool) -> None:
    quotes = many()
    whole = Ranker(quotes).query(Query(limit=100, sort_by=by, sort_desc=descending), NOW)
    assert whole.total == len(whole.opportunities) > 20
    part = Ranker(quotes).query(Query(limit=5, sort_by=by, sort_desc=descending), NOW)
    assert part.opportunities == whole.opportunities[:5]
    assert part.total == whole.total


@pytest.mark.parametrize("descending", [True, False])
def test_what_is_unknown_comes_last_whichever_way_round(descending: bool) -> None:
    quotes = [*many()[:4], quote("e", "0.004", volume_24h_usd=None)]
    found = Ranker(quotes).query(Query(sort_by=SortBy.VOLUME, sort_desc=descending), NOW).opportunities
    unknown = ["e" in (o.long.instrument.venue, o.short.instrument.venue) for o in found]
    assert True in unknown
    assert unknown == sorted(unknown)


def test_a_rate_that_changes_by_less_than_a_float_tells_turns_the_pair_round() -> None:
    long, short = quote("a", "0.001", next_in_h="0.5"), quote("b", "0.001", next_in_h="2")
    ranker, shown = Ranker([long, short]), Query(min_profit=D(-1), horizon_hours=D(1))
    assert ranker.query(shown, NOW).total == 2, "equal rates: both ways round"
    for hair, first in ((TINY, "a"), (-TINY, "b"), (D(0), None)):
        changed = quote("b", str(D("0.001") + hair), next_in_h="2")
        ranker.update([changed])
        found = ranker.query(shown, NOW).opportunities
        assert {o.long.instrument.venue for o in found} == ({first} if first else {"a", "b"})


def test_a_figure_too_large_for_a_float_to_tell_leaves_the_pair_to_decimals() -> None:
    found = [quote("a", "0", volume_24h_usd=D("1e40")), quote("b", "0.001", volume_24h_usd=D("1e40"))]
    query = Query(min_volume=D(1), min_profit=D("0.02"))
    assert Ranker(found).query(query, NOW) == rank(found, query, now_ns=NOW)
    assert Ranker(found).query(query, NOW).total == 1


def test_time_alone_ends_an_opportunity() -> None:
    ranker = Ranker([quote("a", "0"), quote("b", "0.001")])
    assert ranker.query(Query(), NOW).total == 1
    assert ranker.query(Query(), NOW + 179 * NS_PER_S).total == 1
    assert ranker.query(Query(), NOW + 180 * NS_PER_S).total == 0, "both rates are 181 s old"


def test_without_a_spread_fees_count_and_it_says_so_and_a_limit_refuses_it() -> None:
    ranker = Ranker([quote("a", "0"), quote("b", "0.001", bid=None)])
    found = ranker.query(Query(), NOW).opportunities[0]
    assert not found.edge.costs.slippage_known
    assert found.edge.costs.total == D("0.0016"), "four taker fees"
    assert ranker.query(Query(max_spread=D(1)), NOW).total == 0


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 101}, "limit"),
        ({"horizon_hours": D(0)}, "horizon_hours"),
        ({"horizon_hours": D(169)}, "horizon_hours"),
        ({"min_volume": D(-1)}, "min_volume"),
        ({"min_profit": D("NaN")}, "min_profit"),
        ({"min_oi": D(2), "max_oi": D(1)}, "min_oi"),
        ({"dex_pair": ("a", "a")}, "dex_pair"),
    ],
)
def test_a_query_that_cannot_be_answered_names_the_field(fields: dict[str, Any], name: str) -> None:
    with pytest.raises(BadQuery) as caught:
        Query(**fields)
    assert caught.value.name == name
