"""OHLCV bars and quotes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Literal

from pydantic import Field

from exchange_clients.model import NS_PER_HOUR, NS_PER_S
from perpkit.backtest.data.funding import Gap, iso_minute
from perpkit.backtest.data.tables import Cells, DataError, Table, rows

TIME = ("timestamp", "date", "datetime", "ts", "open_time")


class CandleTable(Table):
    """Bars of one market: columns time, open, high, low, close, perhaps volume (base units).

    `time_is`: what of the bar the time column tells, its open, its middle or its close. `interval_hours` is how long each bar is.
    """

    interval_hours: Decimal = Field(gt=0)
    time_is: Literal["open", "middle", "close"] = "open"


class QuoteTable(Table):
    """Best prices of one market: columns time, bid, bid_size, ask, ask_size (sizes in base units)."""


@dataclass(frozen=True, slots=True)
class Bar:
    """From `ts_ns` on."""

    ts_ns: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal | None


@dataclass(frozen=True, slots=True)
class Candles:
    """In time order, without duplicates."""

    bars: tuple[Bar, ...]
    interval_ns: int
    gaps: tuple[Gap, ...]
    source: str


@dataclass(frozen=True, slots=True)
class QuoteRow:
    """One change of the best prices."""

    ts_ns: int
    bid: Decimal
    bid_size: Decimal
    ask: Decimal
    ask_size: Decimal
    place: str


def read_candles(root: Path, table: CandleTable) -> Candles:
    """A file's bars.

    Raises:
        DataError: unsorted, duplicate or overlapping bars, prices that are not positive or not between low and high.
    """
    interval_ns = int(table.interval_hours * NS_PER_HOUR)
    back_ns = {"open": 0, "middle": interval_ns // 2, "close": interval_ns}[table.time_is]
    bars: list[Bar] = []
    gaps: list[Gap] = []
    for row in rows(root, table):
        bar = _bar(row, back_ns)
        if bars:
            step = bar.ts_ns - bars[-1].ts_ns
            if step <= 0:
                what = "the same bar twice" if step == 0 else f"{iso_minute(bar.ts_ns)} comes after {iso_minute(bars[-1].ts_ns)}"
                raise DataError(row.place, what, "rows must be sorted by time, each bar once")
            if step < interval_ns:
                what = f"the bar begins {step / NS_PER_S:.0f} s after the one before, which is {interval_ns / NS_PER_S:.0f} s long"
                raise DataError(row.place, what, "wrong interval_hours or time_zone?")
            if step > interval_ns:
                gaps.append(Gap(bars[-1].ts_ns + interval_ns, bar.ts_ns))
        bars.append(bar)
    return Candles(tuple(bars), interval_ns, tuple(gaps), table.told)


def _bar(row: Cells, back_ns: int) -> Bar:
    opened, high, low, close = (row.decimal(name) for name in ("open", "high", "low", "close"))
    if not 0 < low <= min(opened, close) <= max(opened, close) <= high:
        raise DataError(row.place, f"open {opened}, high {high}, low {low}, close {close} are no bar", "mend or remove the row")
    return Bar(row.time_ns("time", TIME) - back_ns, opened, high, low, close, row.maybe("volume"))


def read_quotes(root: Path, table: QuoteTable) -> Iterator[QuoteRow]:
    """A file's quotes, one at a time.

    Raises:
        DataError: unsorted, crossed, or not positive.
    """
    last_ns = 0
    for row in rows(root, table):
        ts_ns = row.time_ns("time", TIME)
        bid, bid_size, ask, ask_size = (row.decimal(name) for name in ("bid", "bid_size", "ask", "ask_size"))
        if ts_ns < last_ns:
            raise DataError(row.place, f"{iso_minute(ts_ns)} comes after {iso_minute(last_ns)}", "rows must be sorted by time")
        if not 0 < bid < ask or bid_size <= 0 or ask_size <= 0:
            raise DataError(row.place, f"{bid} x {bid_size} against {ask} x {ask_size} is no quote", "mend or remove the row")
        last_ns = ts_ns
        yield QuoteRow(ts_ns, bid, bid_size, ask, ask_size, row.place)
