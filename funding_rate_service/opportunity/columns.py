"""Figures of many markets as columns of floats: fast to compare, with a stated error; who needs to be right asks the quotes (Decimal)."""

from collections.abc import Sequence
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from exchange_clients.model import NS_PER_HOUR, NS_PER_S

from .clock import MAX_HOURLY, SHORTEST_HOURS
from .quotes import FundingQuote
from .ranking import Filters, direction_rate

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

EPS = 1e-12
"""Relative: a Decimal as a float and a handful of operations are wrong by less than a hundredth of this."""
FIGURES = ("rate", "hours", "cap", "taker", "mark", "bid", "ask", "volume", "interest")
RATE, HOURS, CAP, TAKER, MARK, BID, ASK, VOLUME, INTEREST = range(len(FIGURES))
CONTINUOUS = -1
"""Instead of the next settlement, where funding accrues all the time."""
LARGEST = 1e30
"""Beyond it a figure is garbage, and too large to multiply in floats."""
LATEST = 2**61
"""Times and intervals beyond it (ns) are left to Decimal: sums of two still fit in 64 bits."""

Given = tuple[Decimal | None, ...]


def _given(quote: FundingQuote) -> Given:
    """In the order of FIGURES."""
    sample = quote.sample
    return (
        sample.raw_rate,
        sample.interval_hours,
        sample.cap,
        quote.taker_fee,
        quote.mark,
        quote.bid,
        quote.ask,
        quote.volume_24h_usd,
        quote.open_interest_usd,
    )


class Columns:
    """One row per market. NaN is unknown. An odd row holds a figure that no float tells well enough: its pairs are left to Decimal.

    Infinite and unknown figures go through the arithmetic: callers switch numpy's warnings off.
    """

    def __init__(self) -> None:
        self.figures: Floats = np.full((len(FIGURES), 0), np.nan)
        self.spread: Floats = np.empty(0)
        self.interval_ns: Ints = np.empty(0, np.int64)
        self.next_ns: Ints = np.empty(0, np.int64)
        self.observed_ns: Ints = np.empty(0, np.int64)
        self.tradable: Bools = np.empty(0, np.bool_)
        self.odd: Bools = np.empty(0, np.bool_)
        self._exact: Floats = np.empty((2, 0))
        self._given: list[Given] = []
        self._intervals: dict[Decimal, int] = {}

    def grow(self, rows: int) -> None:
        """Room for at least so many rows."""
        have = len(self.odd)
        if rows <= have:
            return
        more = max(rows, 2 * have, 64) - have
        self.figures = np.hstack((self.figures, np.full((len(FIGURES), more), np.nan)))
        self._exact = np.hstack((self._exact, np.full((2, more), np.nan)))
        self.spread = np.append(self.spread, np.full(more, np.nan))
        for name in ("interval_ns", "next_ns", "observed_ns"):
            setattr(self, name, np.append(getattr(self, name), np.ones(more, np.int64)))
        for name in ("tradable", "odd"):
            setattr(self, name, np.append(getattr(self, name), np.zeros(more, np.bool_)))
        self._given += [(None,) * len(FIGURES)] * more

    def put(self, rows: Sequence[int], quotes: Sequence[FundingQuote]) -> None:
        """Write quotes into rows. A figure that is the very same object as before is not converted again."""
        changed: list[tuple[list[int], list[Decimal | None]]] = [([], []) for _ in FIGURES]
        for row, quote in zip(rows, quotes, strict=True):
            given, before = _given(quote), self._given[row]
            self._given[row] = given
            for (at, values), new, old in zip(changed, given, before, strict=True):
                if new is not old:
                    at.append(row)
                    values.append(new)
        for column, (at, values) in zip(self.figures, changed, strict=True):
            if at:
                column[at] = np.array(values, np.float64)
        index = np.array(rows, np.intp)
        self.tradable[index] = [q.tradable for q in quotes]
        self._times(index, quotes)
        self._oddities(index)
        self._exact[:, index] = np.nan
        bid, ask = self.figures[BID][index], self.figures[ASK][index]
        two_sided = (bid > 0) & (ask >= bid)
        self.spread[index] = np.where(two_sided, (ask - bid) * 2 / (ask + bid), np.nan)
        for n in map(int, np.flatnonzero(bid == ask)):  # locked, or crossed by less than a float tells
            if quotes[n].spread is None:
                self.spread[index[n]] = np.nan

    def _times(self, index: NDArray[np.intp], quotes: Sequence[FundingQuote]) -> None:
        nexts = [CONTINUOUS if q.sample.next_funding_time is None else q.sample.next_funding_time for q in quotes]
        intervals = [self._interval_ns(q.sample.interval_hours) for q in quotes]
        observed = [q.observed_ns for q in quotes]
        good = [
            0 < hours < LATEST and CONTINUOUS <= next_ns < LATEST and 0 <= seen < LATEST
            for hours, next_ns, seen in zip(intervals, nexts, observed, strict=True)
        ]
        self.odd[index] = [not g for g in good]
        self.interval_ns[index] = [x if g else 1 for x, g in zip(intervals, good, strict=True)]
        self.next_ns[index] = [x if g else CONTINUOUS for x, g in zip(nexts, good, strict=True)]
        self.observed_ns[index] = [x if g else 0 for x, g in zip(observed, good, strict=True)]

    def _interval_ns(self, hours: Decimal) -> int:
        """As the settlement clock counts it; 0: no interval."""
        if not hours.is_finite():
            return 0
        found = self._intervals.get(hours)
        if found is None:
            if len(self._intervals) > 1000:
                self._intervals.clear()
            found = self._intervals[hours] = int(hours * NS_PER_HOUR)
        return found

    def _oddities(self, index: NDArray[np.intp]) -> None:
        """Figures beyond what floats tell: huge, or zero only as floats."""
        part = self.figures[:, index]
        self.odd[index] |= (np.abs(part) > LARGEST).any(axis=0)
        for column, n in zip(*np.nonzero(part == 0), strict=True):
            if self._given[index[n]][column]:
                self.odd[index[n]] = True

    def clear(self, row: int) -> None:
        """The row is free."""
        self._given[row] = (None,) * len(FIGURES)
        self.figures[:, row] = np.nan
        self.odd[row] = self.tradable[row] = False

    # ---- figures of all rows

    def hourly(self) -> Floats:
        """Rate per hour; wrong by less than EPS of itself."""
        found: Floats = self.figures[RATE] / self.figures[HOURS]
        return found

    def paid_by_long(self, now_ns: int, hours: Decimal) -> Floats:
        """What a long pays within `hours`: the settlements are counted exactly, as in the settlement clock."""
        end = now_ns + int(hours * NS_PER_HOUR)
        interval, first = self.interval_ns, self.next_ns
        first = np.where(first <= now_ns, first + ((now_ns - first) // interval + 1) * interval, first)
        count = np.where(first > end, 0, (end - first) // interval + 1)
        return np.where(self.next_ns == CONTINUOUS, self.hourly() * float(hours), self.figures[RATE] * count)

    def legs(self, filters: Filters, now_ns: int) -> tuple[Bools, Bools]:
        """(which rows may pass the rules for a leg, which surely do)."""
        figures, age = self.figures, now_ns - self.observed_ns
        oldest = min(int(filters.max_rate_age_s * NS_PER_S), LATEST)
        may = self.tradable & (age >= 0) & (age <= oldest) & ~np.isnan(figures[TAKER])
        sure = may & ~self.odd
        may = may | self.odd
        rate, hours, cap = np.abs(figures[RATE]), figures[HOURS], figures[CAP]
        tests = [(hours, float(SHORTEST_HOURS), True), (rate / hours, float(MAX_HOURLY), False)]
        maybe, certain = compare(rate - cap, EPS * (rate + np.abs(cap)), 0.0, at_least=False)
        may &= maybe | np.isnan(cap) | self.odd
        sure &= certain | np.isnan(cap)
        if filters.need_spreads:
            may &= ~np.isnan(self.spread) | self.odd
            sure &= ~np.isnan(self.spread)
        for value, limit, at_least in (
            (self.spread, filters.max_spread, False),
            (figures[VOLUME], filters.min_volume_24h, True),
            (figures[VOLUME], filters.max_volume_24h, False),
            (figures[INTEREST], filters.min_oi_usd, True),
            (figures[INTEREST], filters.max_oi_usd, False),
        ):
            if limit is not None:
                tests.append((value, float(limit), at_least))
        for value, bound, at_least in tests:
            error = EPS * (1 if value is self.spread else np.abs(value))
            maybe, certain = compare(value, error, bound, at_least=at_least)
            may &= maybe | self.odd
            sure &= certain
        return may, sure

    def order(self, one: NDArray[np.intp], other: NDArray[np.intp], quotes: Sequence[FundingQuote | None]) -> Ints:
        """-1, 0, 1: the first row's rate per hour is lower than, equal to, higher than the second's, exactly. Odd rows: 0."""
        hourly = self.hourly()
        a, b = hourly[one], hourly[other]
        near = EPS * (np.abs(a) + np.abs(b))
        found: Ints = np.where(a - b > near, 1, np.where(b - a > near, -1, 0)).astype(np.int64)
        odd = self.odd[one] | self.odd[other]
        found[odd] = 0
        close = np.flatnonzero((found == 0) & ~odd)
        if len(close):
            one, other = one[close], other[close]
            self._settle(np.unique(np.concatenate((one, other))), quotes)
            high, low = self._exact[0], self._exact[1]
            found[close] = np.where(high[one] != high[other], np.sign(high[one] - high[other]), np.sign(low[one] - low[other]))
        return found

    def _settle(self, rows: NDArray[np.intp], quotes: Sequence[FundingQuote | None]) -> None:
        """The rate per hour as a float and what that float lacks: two floats hold more digits than a Decimal of the default context."""
        for row in rows[np.isnan(self._exact[0, rows])]:
            quote = quotes[row]
            assert quote is not None
            rate = direction_rate(quote)
            high = float(rate)
            self._exact[:, row] = high, float(rate - Decimal(high))


def compare(value: Floats, error: Floats | float, limit: float, *, at_least: bool) -> tuple[Bools, Bools]:
    """(may hold, surely holds) of value >= limit or value <= limit; an unknown value does neither."""
    error = error + EPS * abs(limit)
    if at_least:
        return value + error >= limit, value - error >= limit
    return value - error <= limit, value + error <= limit
