"""Public data by REST."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from exchange_clients.base_managers import BaseMarketData
from exchange_clients.errors import ConfigError, ProtocolError
from exchange_clients.model import (
    NS_PER_MS,
    BookSnapshot,
    Candle,
    FundingRateSample,
    Instrument,
    InstrumentId,
    MarketStatus,
    Ticker,
    Trade,
)
from exchange_clients.paging import newest_first
from exchange_clients.paradex import messages as m
from exchange_clients.paradex.client.utils import converters

if TYPE_CHECKING:
    from exchange_clients.transport.rest import RestTransport

TRADES_PAGE: Final = 1_000
FUNDING_PAGE: Final = 5_000
CANDLES_PAGE: Final = 1_000
"""Candles asked for at once; the venue documents no limit."""
RESOLUTIONS: Final = {"1m": 1, "3m": 3, "5m": 5, "15m": 15, "30m": 30, "1h": 60}
STATES: Final = {
    "ok": MarketStatus.ACTIVE,
    "post_only": MarketStatus.POST_ONLY,
    "cancel_only": MarketStatus.CANCEL_ONLY,
    "maintenance": MarketStatus.HALTED,
}
MINUTE_NS: Final = 60 * 10**9


class ParadexMarketData(BaseMarketData):
    """One request for all markets, one for all their figures."""

    async def fetch_instruments(self) -> Sequence[Instrument]:
        rows: m.Results[m.Market] = await self.rest.query("markets")
        return [found for row in rows.results if (found := converters.instrument(row)) is not None]

    async def fetch_server_time_ns(self) -> int | None:
        time: m.ServerTime = await self.rest.query("system/time")
        return time.server_time * NS_PER_MS

    async def fetch_venue_status(self) -> MarketStatus:
        """The mode of the whole venue. On days of a release: cancel only, then post only, then active."""
        state: m.SystemState = await self.rest.query("system/state")
        return STATES.get(state.status, MarketStatus.UNKNOWN)

    async def fetch_book(self, instrument: Instrument, *, depth: int = 20) -> BookSnapshot:
        """What our orders can hit; liquidity for retail orders alone is left out."""
        data: m.Book = await self.rest.query("orderbook", market=instrument.venue_symbol, depth=depth)
        return converters.book(data, instrument, depth, self.context.runtime.clock.time_ns())

    async def fetch_trades(
        self, instrument: Instrument, *, limit: int = 100, start_ns: int | None = None, end_ns: int | None = None
    ) -> list[Trade]:
        """The newest `limit`, or all since `start_ns`."""
        if start_ns is None:
            rows: m.Results[m.Trade] = await self.rest.query(
                "trades", market=instrument.venue_symbol, page_size=min(limit, TRADES_PAGE), end_at=_ms(end_ns)
            )
            found = sorted((converters.trade(row, instrument) for row in reversed(rows.results)), key=lambda t: t.ts_venue_ns)
            return found[-limit:]
        wanted = await fetch_pages(self.rest, "trades", TRADES_PAGE, start_ns, end_ns, market=instrument.venue_symbol)
        return [converters.trade(row, instrument) for row in wanted][-limit:]

    async def fetch_candles(self, instrument: Instrument, interval: str, *, start_ns: int, end_ns: int) -> list[Candle]:
        minutes = RESOLUTIONS.get(interval)
        if minutes is None:
            raise ConfigError(f"no candles of {interval}; there are {', '.join(RESOLUTIONS)}", venue=self.context.name)
        now_ns, step_ns = self.context.runtime.clock.time_ns(), minutes * MINUTE_NS
        found: dict[int, Candle] = {}
        for start in range(start_ns, end_ns, CANDLES_PAGE * step_ns):
            last = min(start + CANDLES_PAGE * step_ns, end_ns) - 1
            rows: m.Results[m.Kline] = await self.rest.query(
                "markets/klines", symbol=instrument.venue_symbol, resolution=minutes, start_at=_ms(start), end_at=_ms(last)
            )
            for row in rows.results:
                candle = converters.candle(row, instrument, interval, step_ns, now_ns)
                found[candle.open_ns] = candle
        return [candle for start, candle in sorted(found.items()) if start_ns <= start < end_ns]

    async def summaries(self, market: str = "ALL") -> list[tuple[m.Summary, Instrument]]:
        """Figures of one market or of all, each with its market."""
        rows: m.Results[m.Summary] = await self.rest.query("markets/summary", market=market)
        return list(self.context.instruments.known(rows.results, lambda row: row.symbol))

    async def fetch_ticker(self, instrument: Instrument) -> Ticker:
        for row, listed in await self.summaries(instrument.venue_symbol):
            if listed.id == instrument.id:
                return converters.ticker(row, instrument, self.context.runtime.clock.time_ns())
        raise ProtocolError(f"no summary of {instrument.venue_symbol}", venue=self.context.name)

    async def fetch_tickers(self) -> list[Ticker]:
        now_ns = self.context.runtime.clock.time_ns()
        return [converters.ticker(row, instrument, now_ns) for row, instrument in await self.summaries()]

    async def fetch_funding_rates(self) -> dict[InstrumentId, FundingRateSample]:
        pairs = ((converters.funding_now(row, instrument), instrument) for row, instrument in await self.summaries())
        return {instrument.id: sample for sample, instrument in pairs if sample is not None}

    async def fetch_funding_history(self, instrument: Instrument, *, start_ns: int, end_ns: int | None = None) -> list[FundingRateSample]:
        """Published rates as they were; funding is charged by the second, so none of them is a payment."""
        rows = await fetch_pages(self.rest, "funding/data", FUNDING_PAGE, start_ns, end_ns, market=instrument.venue_symbol)
        return [converters.funding_past(row, instrument) for row in rows]


async def fetch_pages(rest: RestTransport, endpoint: str, size: int, since_ns: int, until_ns: int | None, **arguments: Any) -> list[Any]:
    """All rows with a `created_at` in the range, oldest first, each once. Pages come newest first behind a cursor."""

    async def ask(cursor: str | None) -> tuple[Sequence[Any], str | None]:
        page: m.Results[Any] = await rest.query(
            endpoint, start_at=_ms(since_ns), end_at=_ms(until_ns), page_size=size, cursor=cursor, **arguments
        )
        return page.results, page.next or None

    return await newest_first(
        ask, key=_row_key, time_ns=lambda row: row.created_at * NS_PER_MS, since_ns=max(0, since_ns), until_ns=until_ns
    )


def _row_key(row: Any) -> object:
    return (row.market, row.created_at) if isinstance(row, m.Funding) else row.id


def _ms(ns: int | None) -> int | None:
    return None if ns is None else max(0, ns // NS_PER_MS)
