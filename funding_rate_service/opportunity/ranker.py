"""All pairs of all venues, kept ready to be asked: floats find the candidates, `judge_pair` decides and is what is shown."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exchange_clients.model import InstrumentId

from .columns import Bools, Columns, Floats, Rows, compare
from .pair_figures import Legs, PairFigures, Value, needed
from .query import Query, Ranked, SortBy, figure, in_order
from .quotes import FundingQuote
from .ranking import Filters, Opportunity, faces, judge_pair


@dataclass(frozen=True, slots=True)
class _Found:
    """Pairs that may pass, with the figure that the order goes by and its error; NaN is unknown."""

    long: Rows
    short: Rows
    value: Floats
    error: Floats

    def first(self, valid: Bools, count: int, *, descending: bool) -> Rows:
        """Which of the valid ones can be among the first `count`: no other can have a figure as good."""
        known = np.flatnonzero(valid & ~np.isnan(self.value))
        if len(known) <= count:
            return known
        value = self.value[known] if descending else -self.value[known]
        error = self.error[known]
        bound = np.partition(value - error, len(known) - count)[len(known) - count]
        able: Rows = known[value + error >= bound]
        return able

    def unknown(self, valid: Bools, rank: Floats) -> Rows:
        """Those without the figure, by their names."""
        found = np.flatnonzero(valid & np.isnan(self.value))
        by_name: Rows = found[np.lexsort((rank[self.short[found]], rank[self.long[found]]))]
        return by_name


class Ranker:
    """Holds the newest quote of each market, and which markets make pairs.

    A change of a quote touches its own row; a market that comes or goes, the pairs of its asset. Nothing that time alone changes (ages,
    settlements within a horizon) is kept: each query counts it anew. One thread at a time.
    """

    def __init__(self, quotes: Iterable[FundingQuote] = ()) -> None:
        self._columns = Columns()
        self._row: dict[InstrumentId, int] = {}
        self._free: list[int] = []
        self._markets: dict[str, set[int]] = {}
        self._pairs_of: dict[str, Rows] = {}
        self._stale: set[str] = set()
        self._pairs: Rows = np.empty((2, 0), np.intp)
        self._venues: dict[str, int] = {}
        self._venue: NDArray[np.int64] = np.empty(0, np.int64)
        self._rank: Floats = np.empty(0)
        self._base: Floats = np.empty(0)
        self.update(quotes)

    def __len__(self) -> int:
        return len(self._row)

    @np.errstate(all="ignore")
    def update(self, changed: Iterable[FundingQuote]) -> None:
        """Take these quotes in the place of what was known of their markets. Of several of one market the last counts; inverse ones are
        no legs."""
        latest = {q.instrument: q for q in changed if not q.instrument.inverse}
        if latest:
            self._columns.put([self._row_of(instrument) for instrument in latest], list(latest.values()))

    def remove(self, venue: str) -> None:
        """Forget all markets of a venue."""
        self.discard([instrument for instrument in self._row if instrument.venue == venue])

    def discard(self, instruments: Iterable[InstrumentId]) -> None:
        """Forget these markets."""
        for instrument in instruments:
            row = self._row.pop(instrument, None)
            if row is not None:
                self._columns.clear(row)
                self._free.append(row)
                self._markets[instrument.base].discard(row)
                self._stale.add(instrument.base)

    @np.errstate(all="ignore")
    def query(self, query: Query, now_ns: int) -> Ranked:
        """What `rank` answers for the quotes that are held."""
        self._refresh()
        pairs = self._pairs if query.symbol is None else self._pairs_of.get(query.symbol, self._pairs[:, :0])
        filters, columns, considered = query.filters(), self._columns, pairs.shape[1]
        columns.prepare(needed(filters, query.sort_by))
        may_leg, sure_leg = columns.legs(filters, now_ns)
        legs = Legs(columns, may_leg, filters, now_ns)
        pairs = self._able(pairs, may_leg, legs, filters)
        order = columns.order(*pairs)
        long, short = np.hstack((pairs[:, order <= 0], pairs[::-1, order >= 0]))
        equal = np.concatenate((order[order <= 0], order[order >= 0])) == 0
        figures = PairFigures(columns, legs, long, short, equal, now_ns)
        may, sure = figures.enough(filters)
        figures, sure = figures.only(may), sure[may]
        may, certain = figures.rules(filters)
        figures, sure = figures.only(may), (sure & certain)[may]
        sure &= sure_leg[figures.long] & sure_leg[figures.short]
        found = _Found(figures.long, figures.short, *self._key(figures, query))
        return self._choose(found, sure, query, filters, now_ns, considered)

    def _able(self, pairs: Rows, may_leg: Bools, legs: Legs, filters: Filters) -> Rows:
        """Pairs whose legs may pass and that may leave enough one way round or the other."""
        one, other = pairs
        best = np.abs(legs.paid[one] - legs.paid[other]) - legs.costs(one, other)
        able, _ = compare(best, legs.off, float(filters.min_profit), at_least=True)
        found: Rows = pairs[:, able & may_leg[one] & may_leg[other]]
        return found[:, self._on_venues(found, filters)]

    # ---- which pairs there are

    def _row_of(self, instrument: InstrumentId) -> int:
        row = self._row.get(instrument)
        if row is not None:
            return row
        row = self._free.pop() if self._free else self._columns.add()
        self._row[instrument] = row
        self._markets.setdefault(instrument.base, set()).add(row)
        self._stale.add(instrument.base)
        return row

    def _refresh(self) -> None:
        """The pairs of assets whose markets came or went."""
        if not self._stale:
            return
        rows = len(self._columns.quotes)
        self._venue = np.full(rows, -1, np.int64)
        for instrument, row in self._row.items():
            self._venue[row] = self._venues.setdefault(instrument.venue, len(self._venues))
        for base in self._stale:
            if not self._markets[base]:
                del self._markets[base]
                self._pairs_of.pop(base, None)
                continue
            markets = np.array(sorted(self._markets[base]), np.intp)
            one, other = (markets[side] for side in np.triu_indices(len(markets), 1))
            apart = self._venue[one] != self._venue[other]
            self._pairs_of[base] = np.vstack((one[apart], other[apart]))
        self._stale.clear()
        self._pairs = np.hstack([np.empty((2, 0), np.intp), *self._pairs_of.values()])
        self._rank, self._base = np.full(rows, np.nan), np.full(rows, np.nan)
        bases = {base: n for n, base in enumerate(sorted(self._markets))}
        by_name = sorted(self._row.items(), key=lambda item: (item[0].base, str(item[0])))
        for rank, (instrument, row) in enumerate(by_name):
            self._rank[row], self._base[row] = rank, bases[instrument.base]

    def _on_venues(self, pairs: Rows, filters: Filters) -> Bools:
        one, other = self._venue[pairs[0]], self._venue[pairs[1]]

        def codes(names: frozenset[str]) -> list[int]:
            return [self._venues.get(name, -1) for name in names]

        ok = np.ones(pairs.shape[1], np.bool_)
        for code in codes(filters.required_venues):
            ok &= (one == code) | (other == code)
        if filters.any_venues is not None:
            wanted = codes(filters.any_venues)
            ok &= np.isin(one, wanted) | np.isin(other, wanted)
        if filters.only_venues is not None:
            allowed = codes(filters.only_venues)
            ok &= np.isin(one, allowed) & np.isin(other, allowed)
        if filters.no_venues:
            refused = codes(filters.no_venues)
            ok &= ~(np.isin(one, refused) | np.isin(other, refused))
        return ok

    # ---- which of them are shown

    def _key(self, figures: PairFigures, query: Query) -> Value:
        if query.sort_by is SortBy.SYMBOL:
            value: Floats = self._base[figures.long]
            return value, np.zeros(len(value))
        return figures.key(query.sort_by)

    def _choose(self, found: "_Found", sure: Bools, query: Query, filters: Filters, now_ns: int, considered: int) -> Ranked:
        judged: dict[int, Opportunity] = {}

        def judge(n: int) -> bool:
            opportunity = judged.get(n) or self._judge(found.long[n], found.short[n], filters, now_ns)
            if opportunity is not None:
                judged[n] = opportunity
            return opportunity is not None

        valid = sure.copy()
        for n in np.flatnonzero(~sure):
            valid[n] = judge(int(n))
        shown = [int(n) for n in found.first(valid, query.limit, descending=query.sort_desc) if judge(int(n))]
        opportunities = in_order((judged[n] for n in shown), query, now_ns)
        if len(opportunities) < query.limit or figure(opportunities[query.limit - 1], query.sort_by, now_ns) is None:
            more = found.unknown(valid, self._rank)[: query.limit]
            opportunities = in_order([*opportunities, *(judged[int(n)] for n in more if judge(int(n)))], query, now_ns)
        return Ranked(tuple(opportunities[: query.limit]), int(valid.sum()), considered)

    def _judge(self, long_row: int, short_row: int, filters: Filters, now_ns: int) -> Opportunity | None:
        long, short = self._columns.quotes[long_row], self._columns.quotes[short_row]
        if long is None or short is None or not faces(long, short):
            return None
        rules, edge = judge_pair(long, short, filters, now_ns)
        if rules or edge is None:
            return None
        return Opportunity(symbol=long.instrument.base, long=long, short=short, edge=edge)
