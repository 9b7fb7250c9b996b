"""Public data from the indexer. Its answers may be up to a second old, and a little behind the chain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from exchange_clients.base_managers import BaseMarketData
from exchange_clients.context import ClientContext
from exchange_clients.dydx import messages as m
from exchange_clients.dydx.client.utils import converters
from exchange_clients.dydx.client.utils.caching import VenueCache
from exchange_clients.dydx.client.utils.helpers import iso_of, ns_of
from exchange_clients.errors import ConfigError, ProtocolError
from exchange_clients.model import NS_PER_MS, NS_PER_S, BookSnapshot, Candle, FundingRateSample, Instrument, InstrumentId, Ticker, Trade

PAGE: Final = 1000
CANDLE_PAGE: Final = 1000


class DydxMarketData(BaseMarketData):
    """`cache` is the client's memory of the venue: see `client/utils/caching.py`."""

    def __init__(self, context: ClientContext) -> None:
        super().__init__(context)
        self.cache = VenueCache()

    async def fetch_markets(self) -> list[m.Market]:
        """Every market with its state: one request."""
        reply: m.Markets = await self.rest.query("perpetualMarkets")
        return list(reply.markets.values())

    async def fetch_instruments(self) -> Sequence[Instrument]:
        return self.listed(await self.fetch_markets())

    def listed(self, markets: Sequence[m.Market]) -> list[Instrument]:
        """The instruments in an answer of `fetch_markets`."""
        for market in markets:
            self.cache.add(market)
        return [converters.instrument(market) for market in markets]

    async def fetch_market(self, instrument: Instrument) -> m.Market:
        reply: m.Markets = await self.rest.query("perpetualMarkets", market=instrument.contract_id)
        try:
            return reply.markets[instrument.contract_id]
        except KeyError:
            raise ProtocolError(f"no state of {instrument.venue_symbol}", venue=self.context.name) from None

    async def fetch_server_time_ns(self) -> int | None:
        """Told twice, as text and in seconds with a fraction."""
        reply: m.Time = await self.rest.query("time")
        time_ns = ns_of(reply.iso)
        if not abs(time_ns / NS_PER_S - reply.epoch) < 1:
            raise ProtocolError(f"the venue's clock says {reply.iso[:30]} and {reply.epoch:g}", venue=self.context.name)
        return time_ns

    async def fetch_book(self, instrument: Instrument, *, depth: int = 20) -> BookSnapshot:
        """At most 100 levels a side, uncrossed by the venue."""
        data: m.Book = await self.rest.query("orderbook", ticker=instrument.contract_id)
        return converters.book(data, instrument, depth, self.context.runtime.clock.time_ns())

    async def fetch_trades(
        self, instrument: Instrument, *, limit: int = 100, start_ns: int | None = None, end_ns: int | None = None
    ) -> list[Trade]:
        """The newest before `end_ns`, at most 1,000."""
        before = iso_of(end_ns - NS_PER_MS) if end_ns is not None else None
        reply: m.Trades = await self.rest.query("trades", ticker=instrument.contract_id, limit=min(limit, PAGE), createdBeforeOrAt=before)
        trades = sorted((converters.trade(row, instrument) for row in reversed(reply.trades)), key=lambda t: t.ts_venue_ns)
        return [t for t in trades if start_ns is None or t.ts_venue_ns >= start_ns]

    async def fetch_candles(self, instrument: Instrument, interval: str, *, start_ns: int, end_ns: int) -> list[Candle]:
        if interval not in converters.INTERVALS:
            raise ConfigError(f"no candles of {interval!r}; there are {', '.join(converters.INTERVALS)}", venue=self.context.name)
        width_ns, now_ns = converters.WIDTH_S[interval] * NS_PER_S, self.context.venue_time.now_ns()
        found: dict[int, Candle] = {}
        while start_ns < end_ns:
            stop_ns = min(end_ns, start_ns + CANDLE_PAGE * width_ns)
            reply: m.Candles = await self.rest.query(
                "candles",
                ticker=instrument.contract_id,
                resolution=converters.INTERVALS[interval],
                fromISO=iso_of(start_ns),
                toISO=iso_of(stop_ns - NS_PER_MS),
                limit=CANDLE_PAGE,
            )
            for candle in (converters.candle(row, instrument, now_ns) for row in reply.candles):
                if start_ns <= candle.open_ns < end_ns:
                    found[candle.open_ns] = candle
            start_ns = stop_ns
        return [candle for _, candle in sorted(found.items())]

    async def fetch_ticker(self, instrument: Instrument) -> Ticker:
        return converters.ticker(await self.fetch_market(instrument), instrument, self.context.runtime.clock.time_ns())

    async def fetch_tickers(self) -> list[Ticker]:
        now_ns = self.context.runtime.clock.time_ns()
        pairs = self.context.instruments.known(await self.fetch_markets(), lambda market: market.ticker)
        return [converters.ticker(market, instrument, now_ns) for market, instrument in pairs]

    async def fetch_funding_rates(self) -> dict[InstrumentId, FundingRateSample]:
        now_ns = self.context.venue_time.now_ns()
        pairs = self.context.instruments.known(await self.fetch_markets(), lambda market: market.ticker)
        found = ((i.id, converters.funding_now(market.nextFundingRate, i, now_ns)) for market, i in pairs)
        return {key: sample for key, sample in found if sample is not None}

    async def fetch_funding_history(self, instrument: Instrument, *, start_ns: int, end_ns: int | None = None) -> list[FundingRateSample]:
        """Hour by hour; the venue gives the newest 1,000 before a moment."""
        found: dict[int, FundingRateSample] = {}
        last_ns = self.context.venue_time.now_ns() if end_ns is None else end_ns
        while last_ns >= start_ns:
            reply: m.FundingHistory = await self.rest.query(
                "historicalFunding", ticker=instrument.contract_id, limit=PAGE, effectiveBeforeOrAt=iso_of(last_ns)
            )
            page = {s.settled_at: s for s in (converters.funding_settled(row, instrument) for row in reply.historicalFunding)}
            found |= {at: s for at, s in page.items() if at is not None and start_ns <= at <= last_ns}
            if len(reply.historicalFunding) < PAGE:
                break
            last_ns = min(at for at in page if at is not None) - NS_PER_MS
        return [sample for _, sample in sorted(found.items())]
