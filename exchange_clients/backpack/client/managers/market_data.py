"""Public data by REST."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

from exchange_clients.backpack import messages as m
from exchange_clients.backpack.client.utils import converters
from exchange_clients.backpack.common import INTERVALS_S
from exchange_clients.base_managers import BaseMarketData
from exchange_clients.context import ClientContext
from exchange_clients.errors import ConfigError, ProtocolError
from exchange_clients.model import (
    NS_PER_HOUR,
    NS_PER_MS,
    NS_PER_S,
    BookSnapshot,
    Candle,
    FundingRateSample,
    Instrument,
    InstrumentId,
    Ticker,
    Trade,
)
from exchange_clients.paging import newest_first

PAGE: Final = 1000
BOOK_LIMITS: Final = (5, 10, 20, 50, 100, 500, 1000)
SETTLED_AFTER_NS: Final = 600 * NS_PER_S
"""For so long after the hour the newest row of the rate history may still move."""
LONGEST_INTERVAL_NS: Final = 8 * NS_PER_HOUR

Row = TypeVar("Row")


def by_offset(
    ask: Callable[[int], Awaitable[list[Row]]], size: int = PAGE
) -> Callable[[str | None], Awaitable[tuple[list[Row], str | None]]]:
    """Pages of `newest_first` for a venue that counts rows: the cursor is the number of rows passed."""

    async def page(cursor: str | None) -> tuple[list[Row], str | None]:
        offset = int(cursor or 0)
        rows = await ask(offset)
        return rows, str(offset + size) if len(rows) >= size else None

    return page


class BackpackMarketData(BaseMarketData):
    def __init__(self, context: ClientContext) -> None:
        super().__init__(context)
        if options := sorted(context.config.venue_options):
            raise ConfigError(f"no such venue option: {', '.join(options)}; there are none", venue=context.name)

    async def fetch_instruments(self) -> Sequence[Instrument]:
        rows: list[m.Market] = await self.rest.query("markets", marketType=converters.PERP)
        now_ns = self.context.venue_time.now_ns()
        return [found for row in rows if (found := converters.instrument(row, now_ns)) is not None]

    async def fetch_server_time_ns(self) -> int | None:
        now_ms: int = await self.rest.query("time")
        return now_ms * NS_PER_MS

    async def fetch_book(self, instrument: Instrument, *, depth: int = 20) -> BookSnapshot:
        """The venue takes a few limits only: the next larger one is asked for."""
        limit = next((one for one in BOOK_LIMITS if one >= depth), BOOK_LIMITS[-1])
        data: m.Depth = await self.rest.query("depth", symbol=instrument.venue_symbol, limit=limit)
        return converters.book(data, instrument, depth, self.context.runtime.clock.time_ns())

    async def fetch_trades(
        self, instrument: Instrument, *, limit: int = 100, start_ns: int | None = None, end_ns: int | None = None
    ) -> list[Trade]:
        """Without a start the newest; with one, page by page back to it."""
        symbol = instrument.venue_symbol
        if start_ns is None:
            newest: list[m.TradeRow] = await self.rest.query(
                "trades", symbol=symbol, limit=PAGE if end_ns is not None else min(limit, PAGE)
            )
            trades = sorted((converters.trade(row, instrument) for row in newest), key=lambda t: (t.ts_venue_ns, int(t.trade_id)))
            return [t for t in trades if end_ns is None or t.ts_venue_ns < end_ns][-limit:]

        async def ask(offset: int) -> list[m.TradeRow]:
            rows: list[m.TradeRow] = await self.rest.query("tradesHistory", symbol=symbol, limit=PAGE, offset=offset)
            return rows

        found = await newest_first(
            by_offset(ask), key=lambda r: r.id, time_ns=lambda r: r.timestamp * NS_PER_MS, since_ns=start_ns, until_ns=end_ns
        )
        return [converters.trade(row, instrument) for row in found][-limit:]

    async def fetch_candles(self, instrument: Instrument, interval: str, *, start_ns: int, end_ns: int) -> list[Candle]:
        """Asked for in seconds, window by window. How many rows an answer may have is not published: the next window starts at the last."""
        length_s = INTERVALS_S.get(interval)
        if length_s is None:
            raise ConfigError(f"no candle interval {interval!r}; there are {', '.join(INTERVALS_S)}", venue=self.context.name)
        now_ns = self.context.venue_time.now_ns()
        found: dict[int, Candle] = {}
        start_s, end_s = start_ns // NS_PER_S, -(-end_ns // NS_PER_S)
        while start_s < end_s:
            last_s = min(end_s, start_s + PAGE * length_s)
            rows: list[m.KlineRow] = await self.rest.query(
                "klines", symbol=instrument.venue_symbol, interval=interval, startTime=start_s, endTime=last_s
            )
            starts = [converters.text_ns(row.start) for row in rows]
            for row, row_ns in zip(rows, starts, strict=True):
                closed = converters.text_ns(row.end) <= now_ns if row.end is not None else row_ns + length_s * NS_PER_S <= now_ns
                if (candle := converters.candle(row, instrument, interval, closed=closed)) is not None:
                    found[row_ns] = candle
            reached_s = max(starts, default=0) // NS_PER_S + 1
            start_s = reached_s if start_s < reached_s < last_s - length_s else last_s
        return [candle for _, candle in sorted(found.items()) if start_ns <= candle.open_ns < end_ns]

    async def mark_prices(self) -> dict[str, m.MarkPriceRow]:
        rows: list[m.MarkPriceRow] = await self.rest.query("markPrices", marketType=converters.PERP)
        return {row.symbol: row for row in rows}

    async def days(self) -> list[m.TickerRow]:
        """The last 24 hours of every market, spot too."""
        rows: list[m.TickerRow] = await self.rest.query("tickers")
        return rows

    async def interests(self) -> list[m.OpenInterestRow]:
        rows: list[m.OpenInterestRow] = await self.rest.query("openInterest")
        return rows

    async def fetch_ticker(self, instrument: Instrument) -> Ticker:
        symbol = instrument.venue_symbol
        marks: list[m.MarkPriceRow] = await self.rest.query("markPrices", symbol=symbol)
        days: list[m.TickerRow] = [row for row in await self.rest.query("tickers") if row.symbol == symbol]
        interest: list[m.OpenInterestRow] = await self.rest.query("openInterest", symbol=symbol)
        of_symbol: list[list[Any]] = [[row for row in rows if row.symbol == symbol] for rows in (days, marks, interest)]
        if not of_symbol[1]:
            raise ProtocolError(f"no mark price of {symbol}", venue=self.context.name)
        day, mark, open_interest = (rows[0] if rows else None for rows in of_symbol)
        return converters.ticker(instrument, day, mark, open_interest, self.context.runtime.clock.time_ns())

    async def fetch_tickers(self) -> list[Ticker]:
        """Three requests for all markets."""
        days = {row.symbol: row for row in await self.days()}
        marks = await self.mark_prices()
        interest = {row.symbol: row for row in await self.interests()}
        now_ns = self.context.runtime.clock.time_ns()
        return [
            converters.ticker(i, days.get(i.contract_id), marks.get(i.contract_id), interest.get(i.contract_id), now_ns)
            for i in self.context.instruments.all()
            if i.contract_id in marks
        ]

    async def fetch_funding_rates(self) -> dict[InstrumentId, FundingRateSample]:
        now_ns = self.context.venue_time.now_ns()
        samples = (
            converters.funding_now(row.fundingRate, row.nextFundingTimestamp, instrument, now_ns)
            for row, instrument in self.context.instruments.known((await self.mark_prices()).values(), lambda row: row.symbol)
        )
        return {sample.instrument: sample for sample in samples if sample is not None and sample.instrument is not None}

    async def fetch_funding_history(self, instrument: Instrument, *, start_ns: int, end_ns: int | None = None) -> list[FundingRateSample]:
        """Rows of the last ten minutes are left out: they may be of the running interval, or still move."""
        final_ns = self.context.venue_time.now_ns() - SETTLED_AFTER_NS

        async def ask(offset: int) -> list[m.FundingRow]:
            rows: list[m.FundingRow] = await self.rest.query("fundingRates", symbol=instrument.venue_symbol, limit=PAGE, offset=offset)
            return rows

        rows = await newest_first(
            by_offset(ask),
            key=lambda row: row.intervalEndTimestamp,
            time_ns=lambda row: converters.text_ns(row.intervalEndTimestamp),
            since_ns=start_ns - LONGEST_INTERVAL_NS,  # the row before the first one tells that one's interval
        )
        until_ns = final_ns if end_ns is None else min(final_ns, end_ns)
        return [sample for sample in converters.funding_settled(rows, instrument, until_ns) if (sample.settled_at or 0) >= start_ns]
