"""Public data: requests and what they decode to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from exchange_clients.base_managers import BaseMarketData
from exchange_clients.errors import ConfigError, ProtocolError
from exchange_clients.lighter import messages as m
from exchange_clients.lighter.client.utils import converters
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

PERP: Final = "perp"
INTERVALS: Final = {
    "1m": 60, "5m": 300, "15m": 900, "30m": 1800, "1h": 3600, "4h": 14_400, "12h": 43_200, "1d": 86_400, "1w": 604_800
}  # fmt: skip
BOOK_ORDERS: Final = 250
CANDLE_PAGE: Final = 500
FUNDING_PAGE: Final = 100
TRADE_PAGE: Final = 100


class LighterMarketData(BaseMarketData):
    server_time_resolution_ns = NS_PER_S

    async def fetch_markets(self) -> list[m.Market]:
        """Every perpetual with its state: one request."""
        reply: m.Markets = await self.rest.query("orderBookDetails", filter=PERP)
        return [market for market in reply.order_book_details if market.market_type == PERP]

    async def fetch_instruments(self) -> Sequence[Instrument]:
        return [converters.instrument(market) for market in await self.fetch_markets()]

    async def fetch_server_time_ns(self) -> int | None:
        """The venue tells whole seconds."""
        status: m.Status = await self.rest.query("status")
        return status.timestamp * NS_PER_S

    async def fetch_book(self, instrument: Instrument, *, depth: int = 20) -> BookSnapshot:
        """Levels of the best 250 orders of each side."""
        orders: m.RestingOrders = await self.rest.query("orderBookOrders", market_id=instrument.contract_id, limit=BOOK_ORDERS)
        return converters.book(orders, instrument, depth, self.context.runtime.clock.time_ns())

    async def fetch_trades(
        self, instrument: Instrument, *, limit: int = TRADE_PAGE, start_ns: int | None = None, end_ns: int | None = None
    ) -> list[Trade]:
        """The newest 100 are reachable without an account."""
        reply: m.Trades = await self.rest.query("recentTrades", market_id=instrument.contract_id, limit=min(limit, TRADE_PAGE))
        trades = sorted((converters.trade(row, instrument) for row in reversed(reply.trades)), key=lambda t: t.ts_venue_ns)
        return [t for t in trades if (start_ns is None or t.ts_venue_ns >= start_ns) and (end_ns is None or t.ts_venue_ns < end_ns)]

    async def fetch_candles(self, instrument: Instrument, interval: str, *, start_ns: int, end_ns: int) -> list[Candle]:
        if interval not in INTERVALS:
            raise ConfigError(f"no candles of {interval!r}; there are {', '.join(INTERVALS)}", venue=self.context.name)
        width_ms = INTERVALS[interval] * 1000
        start_ms, end_ms = start_ns // NS_PER_MS, end_ns // NS_PER_MS
        now_ms = self.context.venue_time.now_ms()
        found: dict[int, Candle] = {}
        while start_ms < end_ms:
            stop_ms = min(end_ms, start_ms + CANDLE_PAGE * width_ms)
            reply: m.Candles = await self.rest.query(
                "candles",
                market_id=instrument.contract_id,
                resolution=interval,
                start_timestamp=start_ms,
                end_timestamp=stop_ms - 1,
                count_back=CANDLE_PAGE,
            )
            for row in reply.c:
                found[row.t] = converters.candle(row, instrument, interval, closed=row.t + width_ms <= now_ms)
            start_ms = stop_ms
        return [candle for _, candle in sorted(found.items()) if start_ns <= candle.open_ns < end_ns]

    async def fetch_market(self, instrument: Instrument) -> m.Market:
        reply: m.Markets = await self.rest.query("orderBookDetails", market_id=instrument.contract_id)
        for market in reply.order_book_details:
            if str(market.market_id) == instrument.contract_id:
                return market
        raise ProtocolError(f"no state of {instrument.venue_symbol}", venue=self.context.name)

    async def fetch_ticker(self, instrument: Instrument) -> Ticker:
        return converters.ticker(await self.fetch_market(instrument), instrument, self.context.runtime.clock.time_ns())

    async def fetch_tickers(self) -> list[Ticker]:
        now_ns = self.context.runtime.clock.time_ns()
        pairs = self.context.instruments.known(await self.fetch_markets(), lambda market: market.market_id)
        return [converters.ticker(market, instrument, now_ns) for market, instrument in pairs]

    async def listed_rates(self) -> list[m.FundingRate]:
        """This venue's rows of its table, which also lists other exchanges and is renewed less often than the stream."""
        reply: m.FundingRates = await self.rest.query("funding-rates")
        return [row for row in reply.funding_rates if row.exchange == self.context.name]

    async def fetch_funding_rates(self) -> dict[InstrumentId, FundingRateSample]:
        """One request."""
        now_ns = self.context.venue_time.now_ns()
        pairs = self.context.instruments.known(await self.listed_rates(), lambda row: row.market_id)
        return {instrument.id: converters.funding_listed(row, instrument, now_ns) for row, instrument in pairs}

    async def fetch_funding_history(self, instrument: Instrument, *, start_ns: int, end_ns: int | None = None) -> list[FundingRateSample]:
        """Hour by hour; the endpoint counts in seconds."""
        end_s = (end_ns if end_ns is not None else self.context.venue_time.now_ns()) // NS_PER_S
        start_s = start_ns // NS_PER_S
        page_s = FUNDING_PAGE * NS_PER_HOUR // NS_PER_S
        found: dict[int, FundingRateSample] = {}
        while start_s <= end_s:
            stop_s = min(end_s, start_s + page_s - 1)
            reply: m.Fundings = await self.rest.query(
                "fundings",
                market_id=instrument.contract_id,
                resolution="1h",
                start_timestamp=start_s,
                end_timestamp=stop_s,
                count_back=FUNDING_PAGE,
            )
            for row in reply.fundings:
                found[row.timestamp] = converters.funding_settled(row, instrument)
            start_s = stop_s + 1
        return [s for _, s in sorted(found.items()) if s.settled_at is not None and start_ns <= s.settled_at <= end_s * NS_PER_S]
