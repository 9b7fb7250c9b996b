"""Figures of many markets as columns of floats: fast to compare, with a stated error; who needs to be right asks the quotes (Decimal)."""

from collections.abc import Callable, Collection, Sequence
from decimal import Decimal
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from exchange_clients.model import NS_PER_HOUR, NS_PER_S

from .clock import MAX_HOURLY, SHORTEST_HOURS, interval_ns
from .quotes import FundingQuote
from .ranking import Filters, direction_rate

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Rows = NDArray[np.intp]

EPS = 1e-12
"""Relative: a Decimal as a float and a handful of operations are wrong by less than a hundredth of this."""
CONTINUOUS = -1
"""Instead of the next settlement, where funding accrues all the time."""
LARGEST = 1e30
"""Beyond it a figure is garbage, and too large to multiply in floats."""
LATEST = 2**61
"""Times and intervals beyond it (ns) are left to Decimal: sums of two still fit in 64 bits."""


class Column(IntEnum):
    """Which figure."""

    RATE = 0
    HOURS = 1
    CAP = 2
    TAKER = 3
    BID = 4
    ASK = 5
    MARK = 6
    VOLUME = 7
    INTEREST = 8


ALWAYS = (Column.RATE, Column.HOURS, Column.CAP, Column.TAKER, Column.BID, Column.ASK)
_GIVEN: dict[Column, Callable[[FundingQuote], Decimal | None]] = {
    Column.RATE: lambda q: q.sample.raw_rate,
    Column.HOURS: lambda q: q.sample.interval_hours,
    Column.CAP: lambda q: q.sample.cap,
    Column.TAKER: lambda q: q.taker_fee,
    Column.BID: lambda q: q.bid,
    Column.ASK: lambda q: q.ask,
    Column.MARK: lambda q: q.mark,
    Column.VOLUME: lambda q: q.volume_24h_usd,
    Column.INTEREST: lambda q: q.open_interest_usd,
}


class Columns:
    """One row per market; NaN is unknown. An odd row holds a figure that no float tells well enough: its pairs are left to Decimal.

    Making floats of Decimals is what costs here. So a column is brought up to date when somebody needs it (`prepare`), and a figure that is
    the very same object as before is not converted again. Infinite and unknown figures go through the arithmetic: callers switch numpy's
    warnings off.
    """

    def __init__(self) -> None:
        self.quotes: list[FundingQuote | None] = []
        self.figures: Floats = np.empty((len(Column), 0))
        self.spread: Floats = np.empty(0)
        self.odd: Bools = np.empty(0, np.bool_)
        """Of the columns last prepared."""
        self.interval_ns: Ints = np.empty(0, np.int64)
        self.next_ns: Ints = np.empty(0, np.int64)
        self.observed_ns: Ints = np.empty(0, np.int64)
        self.tradable: Bools = np.empty(0, np.bool_)
        self._pending: list[set[int]] = [set() for _ in Column]
        """Rows whose figure has changed since it was last made a float."""
        self._odd: Bools = np.empty((len(Column), 0), np.bool_)
        self._odd_time: Bools = np.empty(0, np.bool_)
        self._exact: Floats = np.empty((2, 0))

    def add(self) -> int:
        """A new row."""
        row = len(self.quotes)
        self.quotes.append(None)
        have = len(self.spread)
        if row == have:
            self._grow(max(have, 64))
        return row

    def _grow(self, more: int) -> None:
        for name in ("figures", "_exact", "spread"):
            have = getattr(self, name)
            setattr(self, name, np.concatenate((have, np.full((*have.shape[:-1], more), np.nan)), axis=-1))
        for name in ("interval_ns", "next_ns", "observed_ns"):
            setattr(self, name, np.append(getattr(self, name), np.ones(more, np.int64)))
        for name in ("_odd", "_odd_time", "tradable", "odd"):
            have = getattr(self, name)
            setattr(self, name, np.concatenate((have, np.zeros((*have.shape[:-1], more), np.bool_)), axis=-1))

    def put(self, rows: Sequence[int], quotes: Sequence[FundingQuote]) -> None:
        """Write quotes into rows."""
        for row, quote in zip(rows, quotes, strict=True):
            before, self.quotes[row] = self.quotes[row], quote
            self._note(row, quote, before)
        index = np.array(rows, np.intp)
        self._exact[:, index] = np.nan
        self.tradable[index] = [q.tradable for q in quotes]
        nexts, odd = _times([CONTINUOUS if (at := q.sample.next_funding_time) is None else at for q in quotes])
        seen, odd_too = _times([q.observed_ns for q in quotes])
        self.next_ns[index], self.observed_ns[index], self._odd_time[index] = nexts, seen, odd | odd_too

    def _note(self, row: int, new: FundingQuote, old: FundingQuote | None) -> None:
        """What has changed. What seldom changes is compared before it counts as changed."""
        rate, hours, cap, taker, bid, ask, mark, volume, interest = self._pending
        if old is None:
            for pending in self._pending:
                pending.add(row)
            return
        now, then = new.sample, old.sample
        if now.raw_rate is not then.raw_rate:
            rate.add(row)
        if now.interval_hours is not then.interval_hours and now.interval_hours != then.interval_hours:
            hours.add(row)
        if now.cap is not then.cap and now.cap != then.cap:
            cap.add(row)
        if new.taker_fee is not old.taker_fee and new.taker_fee != old.taker_fee:
            taker.add(row)
        if new.bid is not old.bid:
            bid.add(row)
        if new.ask is not old.ask:
            ask.add(row)
        if new.mark is not old.mark:
            mark.add(row)
        if new.volume_24h_usd is not old.volume_24h_usd:
            volume.add(row)
        if new.open_interest_usd is not old.open_interest_usd:
            interest.add(row)

    def clear(self, row: int) -> None:
        """The row is free."""
        self.quotes[row] = None
        self.tradable[row] = False
        for pending in self._pending:
            pending.discard(row)
        self._odd[:, row] = self._odd_time[row] = False

    def prepare(self, needed: Collection[Column]) -> None:
        """Bring these columns, and those that are always needed, up to date."""
        wanted = [*ALWAYS, *needed]
        for column in wanted:
            if self._pending[column]:
                self._convert(column, list(self._pending[column]))
                self._pending[column].clear()
        self.odd = self._odd[wanted].any(axis=0) | self._odd_time

    def _convert(self, column: Column, rows: list[int]) -> None:
        given = _GIVEN[column]
        values = [given(quote) if (quote := self.quotes[row]) is not None else None for row in rows]
        index = np.array(rows, np.intp)
        found = np.array(values, np.float64)
        self.figures[column, index] = found
        self._odd[column, index] = np.abs(found) > LARGEST
        for n in np.flatnonzero(found == 0).tolist():
            if values[n]:  # zero as a float only
                self._odd[column, rows[n]] = True
        if column is Column.HOURS:
            self._count_intervals(index, values)
        elif column in (Column.BID, Column.ASK):
            self._spreads(index)

    def _count_intervals(self, index: Rows, values: Sequence[Decimal | None]) -> None:
        found = [interval_ns(hours) if hours is not None and hours.is_finite() else 0 for hours in values]
        good = [0 < x < LATEST for x in found]
        self.interval_ns[index] = [x if g else 1 for x, g in zip(found, good, strict=True)]
        self._odd[Column.HOURS, index] |= ~np.array(good)

    def _spreads(self, index: Rows) -> None:
        bid, ask = self.figures[Column.BID, index], self.figures[Column.ASK, index]
        self.spread[index] = np.where((bid > 0) & (ask >= bid), (ask - bid) * 2 / (ask + bid), np.nan)
        for row in index[bid == ask].tolist():  # locked, or crossed by less than a float tells
            quote = self.quotes[row]
            if quote is None or quote.spread is None:
                self.spread[row] = np.nan

    # ---- figures of all rows

    def hourly(self) -> Floats:
        """Rate per hour; wrong by less than EPS of itself."""
        found: Floats = self.figures[Column.RATE] / self.figures[Column.HOURS]
        return found

    def paid_by_long(self, now_ns: int, hours: Decimal) -> Floats:
        """What a long pays within `hours`: the settlements are counted exactly, as in the settlement clock."""
        end = now_ns + int(hours * NS_PER_HOUR)
        interval, first = self.interval_ns, self.next_ns
        first = np.where(first <= now_ns, first + ((now_ns - first) // interval + 1) * interval, first)
        count = np.where(first > end, 0, (end - first) // interval + 1)
        return np.where(self.next_ns == CONTINUOUS, self.hourly() * float(hours), self.figures[Column.RATE] * count)

    def legs(self, filters: Filters, now_ns: int) -> tuple[Bools, Bools]:
        """(which rows may pass the rules for a leg, which surely do)."""
        figures, age = self.figures, now_ns - self.observed_ns
        oldest = min(int(filters.max_rate_age_s * NS_PER_S), LATEST)
        may = self.tradable & (age >= 0) & (age <= oldest) & ~np.isnan(figures[Column.TAKER])
        sure = may & ~self.odd
        rate, hours, cap = np.abs(figures[Column.RATE]), figures[Column.HOURS], figures[Column.CAP]
        maybe, certain = compare(rate - cap, EPS * (rate + np.abs(cap)), 0.0, at_least=False)
        uncapped = np.isnan(cap)
        may, sure = may & (maybe | uncapped), sure & (certain | uncapped)
        if filters.need_spreads:
            known = ~np.isnan(self.spread)
            may, sure = may & known, sure & known
        tests = [(hours, float(SHORTEST_HOURS), True), (rate / hours, float(MAX_HOURLY), False)]
        for value, limit, at_least in (
            (self.spread, filters.max_spread, False),
            (figures[Column.VOLUME], filters.min_volume_24h, True),
            (figures[Column.VOLUME], filters.max_volume_24h, False),
            (figures[Column.INTEREST], filters.min_oi_usd, True),
            (figures[Column.INTEREST], filters.max_oi_usd, False),
        ):
            if limit is not None:
                tests.append((value, float(limit), at_least))
        for value, bound, at_least in tests:
            maybe, certain = compare(value, EPS * (1 if value is self.spread else np.abs(value)), bound, at_least=at_least)
            may, sure = may & maybe, sure & certain
        return may | self.odd, sure

    def order(self, one: Rows, other: Rows) -> Ints:
        """-1, 0, 1: the first row's rate per hour is lower than, equal to, higher than the second's, exactly. Odd rows: 0."""
        hourly = self.hourly()
        a, b = hourly[one], hourly[other]
        apart, near = a - b, EPS * (np.abs(a) + np.abs(b))
        found: Ints = (apart > near).astype(np.int64) - (apart < -near)
        odd = self.odd[one] | self.odd[other]
        found[odd] = 0
        close = np.flatnonzero((found == 0) & ~odd)
        if len(close):
            one, other = one[close], other[close]
            self._settle(np.unique(np.concatenate((one, other))))
            high, low = self._exact
            found[close] = np.where(high[one] != high[other], np.sign(high[one] - high[other]), np.sign(low[one] - low[other]))
        return found

    def _settle(self, rows: Rows) -> None:
        """The rate per hour as a float and what that float lacks: two floats hold more digits than a Decimal of the default context."""
        for row in rows[np.isnan(self._exact[0, rows])].tolist():
            quote = self.quotes[row]
            if quote is not None:
                rate = direction_rate(quote)
                high = float(rate)
                self._exact[:, row] = high, float(rate - Decimal(high))


def compare(value: Floats, error: Floats | float, limit: float, *, at_least: bool) -> tuple[Bools, Bools]:
    """(may hold, surely holds) of value >= limit or value <= limit; an unknown value does neither."""
    error = error + EPS * abs(limit)
    if at_least:
        return value + error >= limit, value - error >= limit
    return value - error <= limit, value + error <= limit


def _times(found: list[int]) -> tuple[Ints, Bools]:
    """As 64 bits; those that do not fit are zero here, and marked."""
    try:
        times = np.array(found, np.int64)
    except OverflowError:
        times = np.array([x if abs(x) < 2**63 else LATEST for x in found], np.int64)
    odd = (times < CONTINUOUS) | (times >= LATEST)
    return np.where(odd, 0, times), odd
