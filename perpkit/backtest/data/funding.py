"""Funding histories: what was charged when, and for how long."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Literal

from pydantic import Field

from exchange_clients.model import NS_PER_HOUR, NS_PER_S
from perpkit.backtest.data.tables import Cells, DataError, Table, rows

TIME = ("timestamp", "date", "ts", "settled_at", "fundingTime")
RATE = ("funding_rate", "funding rate", "fundingRate", "raw_rate")
INTERVALS_H = (1, 2, 4, 8, 24)


class FundingTable(Table):
    """Settlements of one market: columns time and rate (a fraction per interval, > 0: longs pay), perhaps interval_hours.

    `interval_hours`: of every row that does not say its own; `auto` takes it from the spacing of the rows, 1, 2, 4, 8 or 24 h.
    `offset_hours`: settlements that fall that much after whole multiples of the interval in UTC; anything else off them is an error.
    `tolerance_s`: how late a row may be stamped and still count for its time.
    """

    interval_hours: Decimal | Literal["auto"] | None = None
    offset_hours: Decimal = Field(default=Decimal(0), ge=0)
    tolerance_s: float = Field(default=60.0, ge=0)


@dataclass(frozen=True, slots=True)
class Settlement:
    """`rate` was charged at `ts_ns` for the `interval_ns` that ended there."""

    ts_ns: int
    rate: Decimal
    interval_ns: int


@dataclass(frozen=True, slots=True)
class Gap:
    """Nothing is known between the last record before and the first after."""

    from_ns: int
    to_ns: int

    def __str__(self) -> str:
        return f"{iso_minute(self.from_ns)} to {iso_minute(self.to_ns)}"


@dataclass(frozen=True, slots=True)
class FundingHistory:
    """In time order, without duplicates."""

    settlements: tuple[Settlement, ...]
    gaps: tuple[Gap, ...]
    offset_ns: int
    source: str


def read_funding(root: Path, table: FundingTable) -> FundingHistory:
    """A file's settlements.

    Raises:
        DataError: unsorted, duplicate, off the settlement times, not numbers, without an interval.
    """
    return settled(table, rows(root, table))


def settled(table: FundingTable, cells: Iterable[Cells]) -> FundingHistory:
    """Rows as settlements, wherever they come from. Raises DataError as `read_funding` does."""
    stamped = [(row, row.time_ns("time", TIME), _rate(row)) for row in cells]
    intervals = _intervals(table, stamped)
    offset_ns = int(table.offset_hours * NS_PER_HOUR)
    settlements: list[Settlement] = []
    gaps: list[Gap] = []
    for (row, told_ns, rate), interval_ns in zip(stamped, intervals, strict=True):
        ts_ns = _settles(row, told_ns, interval_ns, offset_ns, table.tolerance_s)
        if settlements:
            last = settlements[-1]
            if ts_ns <= last.ts_ns:
                what = "the same settlement twice" if ts_ns == last.ts_ns else f"{iso_minute(ts_ns)} comes after {iso_minute(last.ts_ns)}"
                raise DataError(row.place, what, "rows must be sorted by time, each settlement once")
            if ts_ns - last.ts_ns > interval_ns and ts_ns - last.ts_ns > last.interval_ns:
                gaps.append(Gap(last.ts_ns, ts_ns))
        settlements.append(Settlement(ts_ns, rate, interval_ns))
    return FundingHistory(tuple(settlements), tuple(gaps), offset_ns, table.told)


def _rate(row: Cells) -> Decimal:
    rate = row.decimal("rate", RATE)
    if abs(rate) >= 1:
        raise DataError(row.place, f"a funding rate of {rate} per interval", "rates are fractions: 0.0001 is one basis point")
    return rate


def _intervals(table: FundingTable, stamped: list[tuple[Cells, int, Decimal]]) -> list[int]:
    own = [row.maybe("interval_hours", ("interval",)) for row, _, _ in stamped]
    if any(hours is not None and hours <= 0 for hours in own):
        raise DataError(table.file, "an interval_hours is not positive")
    if table.interval_hours == "auto":
        return _by_spacing(table, [ns for _, ns, _ in stamped])
    fixed = table.interval_hours
    for (row, _, _), hours in zip(stamped, own, strict=True):
        if hours is None and fixed is None:
            raise DataError(row.place, "a rate without an interval", "add a column interval_hours, or set interval_hours: 8 (or auto)")
    return [int((hours if hours is not None else fixed or Decimal(0)) * NS_PER_HOUR) for hours in own]


def _by_spacing(table: FundingTable, times: list[int]) -> list[int]:
    """A shorter step than before is the new interval; a longer one is a gap, unless it comes twice in a row."""
    if len(times) < 2:
        raise DataError(table.file, "one row has no spacing", "set interval_hours")
    steps = [round((b - a) / NS_PER_HOUR) for a, b in pairwise(times)]
    current = steps[0]
    found = []
    for n, step in enumerate([steps[0], *steps]):
        again = n < len(steps) and steps[n] == step
        if step < current or (step > current and again and step in INTERVALS_H):
            current = step
        found.append(current)
    for hours in set(found):
        if hours not in INTERVALS_H:
            raise DataError(table.file, f"rows are {hours} h apart, which is no funding interval", "set interval_hours")
    return [hours * NS_PER_HOUR for hours in found]


def _settles(row: Cells, ts_ns: int, interval_ns: int, offset_ns: int, tolerance_s: float) -> int:
    """The settlement that the time stands for."""
    grid = min(interval_ns, 24 * NS_PER_HOUR)
    nearest = (ts_ns - offset_ns + grid // 2) // grid * grid + offset_ns
    if abs(ts_ns - nearest) > tolerance_s * NS_PER_S:
        hours = (ts_ns % grid) / NS_PER_HOUR
        hint = f"wrong time_zone? if the venue settles then, set offset_hours: {hours:g}"
        raise DataError(row.place, f"{iso_minute(ts_ns)} UTC is {hours:g} h off the whole multiples of {grid // NS_PER_HOUR} h", hint)
    return nearest


def iso_minute(ts_ns: int) -> str:
    """UTC to the minute, for people."""
    return datetime.fromtimestamp(ts_ns // NS_PER_S, UTC).strftime("%Y-%m-%d %H:%M")
