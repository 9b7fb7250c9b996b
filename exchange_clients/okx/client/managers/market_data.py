"""Public data by REST."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from exchange_clients.aged import Aged
from exchange_clients.base_managers import BaseMarketData
from exchange_clients.context import ClientContext
from exchange_clients.errors import ConfigError, ProtocolError
from exchange_clients.model import (
    NS_PER_MS,
    BookSnapshot,
    Candle,
    FundingRateSample,
    Instrument,
    InstrumentId,
    Ticker,
    Trade,
)
from exchange_clients.okx import messages as m
from exchange_clients.okx.client.utils import converters
from exchange_clients.okx.client.utils.caching import VenueCache
from exchange_clients.okx.common import BARS
from exchange_clients.paging import newest_first

SWAP: Final = "SWAP"
CANDLES_PAGE: Final = 300
RECENT_CANDLES: Final = 1440
"""So many are told by `candles`; older ones, and not the running one, by `history_candles`."""
FUNDING_PAGE: Final = 400
RATES_AGE_S: Final = 2.0
TRADES_PAGE: Final = 100
MOST_TRADES: Final = 500
MOST_LEVELS: Final = 400
_UNITS_MS: Final = {"m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000, "M": 31 * 86_400_000}
OPTIONS: Final = frozenset({"allow_withdrawal_key"})


def bar_of(context: ClientContext, interval: str) -> str:
    """The venue's name of an interval."""
    try:
        return BARS[interval]
    except KeyError:
        raise ConfigError(f"no candles of {interval!r}; there are {', '.join(BARS)}", venue=context.name) from None


def interval_ms(interval: str) -> int:
    """Length of an interval, of a month the longest."""
    return int(interval[:-1]) * _UNITS_MS[interval[-1]]


class OkxMarketData(BaseMarketData):
    """Swaps only: the venue's spot, dated futures and options are other instrument types."""

    def __init__(self, context: ClientContext) -> None:
        super().__init__(context)
        if unknown := sorted(set(context.config.venue_options) - OPTIONS):
            raise ConfigError(f"no such venue option: {', '.join(unknown)}; there are {', '.join(sorted(OPTIONS))}", venue=context.name)
        self.cache = VenueCache()
        self._funding: Aged[list[m.FundingRow]] = Aged(lambda: self._funding_rows("ANY"), context.runtime.clock)

    async def rows(self, endpoint: str, **arguments: Any) -> list[Any]:
        """The rows of an answer."""
        reply: m.Reply[list[Any]] = await self.rest.query(endpoint, **arguments)
        return reply.data

    async def row(self, endpoint: str, **arguments: Any) -> Any:
        """The one row of an answer."""
        rows = await self.rows(endpoint, **arguments)
        if not rows:
            raise ProtocolError(f"{endpoint} of {arguments.get('instId', 'the account')} is empty", venue=self.context.name)
        return rows[0]

    async def fetch_instruments(self) -> Sequence[Instrument]:
        """Two requests: intervals and caps of funding are told apart from the rest."""
        rows, funding = await asyncio.gather(self.rows("instruments", instType=SWAP), self._funding.renew())
        by_name = {row.instId: row for row in funding}
        found: list[Instrument] = []
        for row in rows:
            if (instrument := converters.instrument(row, by_name.get(row.instId))) is not None:
                self.cache.add(row, instrument)
                found.append(instrument)
        return found

    async def funding_rows(self) -> list[m.FundingRow]:
        """Rate and interval of every market, at most `RATES_AGE_S` old: a refresh of the instruments asks for them too."""
        return await self._funding.get(RATES_AGE_S)

    async def _funding_rows(self, name: str) -> list[m.FundingRow]:
        return await self.rows("funding_rate", instId=name, cost={f"funding_rate/{name}": 1})

    async def fetch_server_time_ns(self) -> int | None:
        time: m.Time = await self.row("time")
        return time.ts * NS_PER_MS

    async def fetch_book(self, instrument: Instrument, *, depth: int = 20) -> BookSnapshot:
        """At most 400 levels a side."""
        data: m.Quotes = await self.row("books", instId=instrument.venue_symbol, sz=min(depth, MOST_LEVELS))
        return converters.book(data, instrument, self.context.runtime.clock.time_ns())

    async def fetch_trades(
        self, instrument: Instrument, *, limit: int = 100, start_ns: int | None = None, end_ns: int | None = None
    ) -> list[Trade]:
        """The newest; with `start_ns` all since then, as far as the venue goes (three months)."""
        name = instrument.venue_symbol
        if start_ns is None and end_ns is None:
            rows = await self.rows("trades", instId=name, limit=min(limit, MOST_TRADES))
            return [converters.trade(row, instrument) for row in reversed(rows)]

        async def ask(cursor: str | None) -> tuple[list[m.TradeRow], str | None]:
            rows = await self.rows("history_trades", instId=name, type=1, after=cursor, limit=TRADES_PAGE)
            return rows, rows[-1].tradeId if len(rows) == TRADES_PAGE else None

        found = await newest_first(
            ask, key=lambda row: row.tradeId, time_ns=lambda row: row.ts * NS_PER_MS, since_ns=start_ns or 0, until_ns=end_ns
        )
        return [converters.trade(row, instrument) for row in found][-limit:]

    async def fetch_candles(self, instrument: Instrument, interval: str, *, start_ns: int, end_ns: int) -> list[Candle]:
        """Newest page first; what lies further back than the venue's 1,440 recent ones comes from its history."""
        bar, step_ms = bar_of(self.context, interval), interval_ms(interval)
        edge = self.context.venue_time.now_ms() - (RECENT_CANDLES - 1) * step_ms
        start, after = start_ns // NS_PER_MS, -(-end_ns // NS_PER_MS)
        found: dict[int, Candle] = {}
        while after > start:
            recent = after > edge
            endpoint = "candles" if recent else "history_candles"
            rows: list[m.Candle] = await self.rows(endpoint, instId=instrument.venue_symbol, bar=bar, after=after, limit=CANDLES_PAGE)
            candles = [converters.candle(row, instrument, interval) for row in rows]
            found |= {candle.open_ns: candle for candle in candles}
            if candles:
                after = candles[-1].open_ns // NS_PER_MS
            if len(candles) < CANDLES_PAGE:
                if not recent:
                    break
                after = min(after, edge)
        return [candle for at, candle in sorted(found.items()) if start_ns <= at < end_ns]

    async def fetch_ticker(self, instrument: Instrument) -> Ticker:
        """Four requests: the venue tells last, mark, index and open interest apart."""
        name = instrument.venue_symbol
        last, interest, mark, index = await asyncio.gather(
            self.row("ticker", instId=name),
            self.row("open_interest", instType=SWAP, instId=name),
            self.row("mark_price", instType=SWAP, instId=name),
            self.row("index_tickers", instId=self.cache.names(instrument).index_name),
        )
        return converters.ticker(
            last,
            instrument,
            interest,
            mark=converters.maybe_price(mark.markPx, instrument, "markPx"),
            index=converters.maybe_price(index.idxPx, instrument, "idxPx"),
        )

    async def fetch_tickers(self) -> list[Ticker]:
        """Two requests; mark and index are left out."""
        rows, interests = await asyncio.gather(self.rows("tickers", instType=SWAP), self.rows("open_interest", instType=SWAP))
        by_name = {row.instId: row for row in interests}
        pairs = self.context.instruments.known(rows, lambda row: row.instId)
        return [converters.ticker(row, instrument, by_name.get(row.instId)) for row, instrument in pairs]

    async def fetch_funding_rates(self) -> dict[InstrumentId, FundingRateSample]:
        return self._samples(await self._funding_rows("ANY"))

    async def fetch_funding_rate(self, instrument: Instrument) -> FundingRateSample:
        samples = self._samples(await self._funding_rows(instrument.venue_symbol))
        if instrument.id not in samples:
            raise ProtocolError(f"no funding rate of {instrument.id}", venue=self.context.name)
        return samples[instrument.id]

    def _samples(self, rows: Sequence[m.FundingRow]) -> dict[InstrumentId, FundingRateSample]:
        pairs = self.context.instruments.known(rows, lambda row: row.instId)
        return {i.id: sample for row, i in pairs if (sample := converters.funding_now(row, i)) is not None}

    async def fetch_funding_history(self, instrument: Instrument, *, start_ns: int, end_ns: int | None = None) -> list[FundingRateSample]:
        """As far back as the venue goes (three months)."""

        async def ask(cursor: str | None) -> tuple[list[m.PastFundingRow], str | None]:
            after = cursor or (None if end_ns is None else str(-(-end_ns // NS_PER_MS)))
            rows = await self.rows("funding_rate_history", instId=instrument.venue_symbol, after=after, limit=FUNDING_PAGE)
            return rows, str(rows[-1].fundingTime) if len(rows) == FUNDING_PAGE else None

        rows = await newest_first(ask, key=lambda row: row.fundingTime, time_ns=lambda row: row.fundingTime * NS_PER_MS, since_ns=0)
        return [s for s in converters.funding_settled(rows, instrument) if s.settled_at is not None and s.settled_at >= start_ns]
