"""Public data by REST."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from exchange_clients.base_managers import BaseMarketData
from exchange_clients.context import ClientContext
from exchange_clients.errors import ConfigError, ProtocolError
from exchange_clients.hyperliquid import messages as m
from exchange_clients.hyperliquid.client.utils import converters
from exchange_clients.hyperliquid.client.utils.caching import BUILDER_SCALE, ONE, VenueCache
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
from exchange_clients.paging import oldest_first

OPTIONS: Final = frozenset({"dexes", "fast_books"})
FUNDING_PAGE: Final = 500
CANDLES_PAGE: Final = 5000
ROWS_WAIT_S: Final = 60.0


def configured_dexes(context: ClientContext) -> tuple[str, ...]:
    """The main dex "" and the builder dexes of `venue_options["dexes"]`: what this client lists, trades and accounts for."""
    options = context.config.venue_options
    if unknown := sorted(set(options) - OPTIONS):
        raise ConfigError(f"no such venue option: {', '.join(unknown)}; there are {', '.join(sorted(OPTIONS))}", venue=context.name)
    named = options.get("dexes", ())
    if isinstance(named, str) or not all(isinstance(name, str) and name for name in named):
        raise ConfigError('venue_options["dexes"] is a list of names of builder dexes', venue=context.name)
    return ("", *dict.fromkeys(named))


def collateral_dexes(context: ClientContext) -> tuple[str, ...]:
    """The dexes that are margined in the venue's main collateral."""
    others = {i.id.dex for i in context.instruments.all() if i.settle != context.spec.collateral}
    return tuple(dex for dex in configured_dexes(context) if dex not in others)


async def fetch_rows(context: ClientContext, endpoint: str, *, per_weight: int = 20, **arguments: Any) -> list[Any]:
    """A query whose weight grows with what it returns: the rest of the weight is counted now that it is known."""
    rows: list[Any] = await context.rest.query(endpoint, **arguments)
    if extra := len(rows) // per_weight:
        await context.limiter.acquire({"ip": extra}, context.rest.lane, timeout_s=ROWS_WAIT_S)
    return rows


async def fetch_since(context: ClientContext, endpoint: str, page: int, since_ns: int, until_ns: int | None, **arguments: Any) -> list[Any]:
    """Rows with a `time`, oldest first, page by page; some may come twice."""
    end_ms = None if until_ns is None else until_ns // NS_PER_MS

    async def ask(start_ms: int) -> list[Any]:
        return await fetch_rows(context, endpoint, startTime=start_ms, endTime=end_ms, **arguments)

    return await oldest_first(ask, time=lambda row: row.time, start=since_ns // NS_PER_MS, size=page)


class HyperliquidMarketData(BaseMarketData):
    """Every dex has its own `meta`; asset numbers are the places in it."""

    def __init__(self, context: ClientContext) -> None:
        super().__init__(context)
        self.cache = VenueCache()
        self.dexes = configured_dexes(context)
        self._quotes: dict[int, str] = {0: context.spec.default_quote}
        self._listed_builders: dict[str, tuple[int, m.PerpDex]] | None = None

    async def fetch_instruments(self) -> Sequence[Instrument]:
        found: list[Instrument] = []
        self._listed_builders = await self._builders()
        for dex in self.dexes:
            found += await self.listed(dex, await self.rest.query("meta", dex=dex))
        return found

    async def listed(self, dex: str, meta: m.Meta) -> list[Instrument]:
        """The instruments in the `meta` of a dex."""
        if self._listed_builders is None:
            self._listed_builders = await self._builders()
        instruments = converters.instruments(meta, dex=dex, quote=await self._quote(meta.collateralToken))
        index, builder = self._listed_builders.get(dex, (0, None))
        scale = BUILDER_SCALE * max(ONE, builder.deployerFeeScale or ONE) if builder is not None else ONE
        self.cache.add(meta, instruments, index, scale)
        return [i for i in instruments if i is not None]

    async def _builders(self) -> dict[str, tuple[int, m.PerpDex]]:
        """Place and figures of every builder's dex, if one is wanted."""
        if len(self.dexes) == 1:
            return {}
        listed: list[m.PerpDex | None] = await self.rest.query("perpDexs")
        builders = {dex.name: (place, dex) for place, dex in enumerate(listed) if dex is not None}
        if unknown := [dex for dex in self.dexes if dex and dex not in builders]:
            raise ConfigError(f"no such dex: {', '.join(unknown)}; there are {', '.join(sorted(builders))}", venue=self.context.name)
        return builders

    async def _quote(self, token: int) -> str:
        """The collateral of a dex by its token number; asked for once when it is not USDC."""
        if token not in self._quotes:
            spot: m.SpotMeta = await self.rest.query("spotMeta")
            self._quotes |= {entry.index: entry.name for entry in spot.tokens}
        if token not in self._quotes:
            raise ProtocolError(f"no spot token {token}", venue=self.context.name)
        return self._quotes[token]

    async def fetch_server_time_ns(self) -> int | None:
        status: m.ExchangeStatus = await self.rest.query("exchangeStatus")
        return status.time * NS_PER_MS

    async def fetch_book(self, instrument: Instrument, *, depth: int = 20) -> BookSnapshot:
        """At most 20 levels a side."""
        data: m.L2Snapshot | None = await self.rest.query("l2Book", coin=instrument.venue_symbol)
        if data is None:
            raise ProtocolError(f"no book of {instrument.venue_symbol}", venue=self.context.name)
        data = m.L2Snapshot(data.coin, data.time, (data.levels[0][:depth], data.levels[1][:depth]))
        return converters.book(data, instrument, self.context.runtime.clock.time_ns())

    async def fetch_trades(
        self, instrument: Instrument, *, limit: int = 100, start_ns: int | None = None, end_ns: int | None = None
    ) -> list[Trade]:
        """The venue shows the newest only, however far back `start_ns` lies."""
        rows: list[m.TradeData] = await fetch_rows(self.context, "recentTrades", coin=instrument.venue_symbol)
        trades = sorted((converters.trade(row, instrument) for row in reversed(rows)), key=lambda t: t.ts_venue_ns)
        wanted = [t for t in trades if (start_ns is None or t.ts_venue_ns >= start_ns) and (end_ns is None or t.ts_venue_ns < end_ns)]
        return wanted[-limit:]

    async def fetch_candles(self, instrument: Instrument, interval: str, *, start_ns: int, end_ns: int) -> list[Candle]:
        """A reply has the newest 5000 of the asked range: what is older is asked for again, as far as the venue keeps it."""
        now_ns, start_ms, last_ms = self.context.runtime.clock.time_ns(), start_ns // NS_PER_MS, (end_ns - 1) // NS_PER_MS
        found: dict[int, Candle] = {}
        while last_ms >= start_ms:
            wanted = {"coin": instrument.venue_symbol, "interval": interval, "startTime": start_ms, "endTime": last_ms}
            rows: list[m.CandleData] = await fetch_rows(self.context, "candleSnapshot", per_weight=60, req=wanted)
            found |= {row.t: converters.candle(row, instrument, now_ns) for row in rows}
            if len(rows) < CANDLES_PAGE:
                break
            last_ms = min(row.t for row in rows) - 1
        return [candle for _, candle in sorted(found.items()) if start_ns <= candle.open_ns < end_ns]

    async def fetch_states(self, dex: str) -> tuple[m.Meta, list[m.AssetCtx]]:
        """A dex and the state of every market in it, place by place, in one request."""
        meta, contexts = await self.rest.query("metaAndAssetCtxs", dex=dex)
        if len(meta.universe) != len(contexts):
            raise ProtocolError(f"{len(meta.universe)} markets but {len(contexts)} states of dex {dex!r}", venue=self.context.name)
        return meta, contexts

    async def fetch_contexts(self, dex: str) -> dict[InstrumentId, tuple[Instrument, m.AssetCtx]]:
        """State of every market of a dex in one request."""
        meta, contexts = await self.fetch_states(dex)
        pairs = self.context.instruments.known(zip(meta.universe, contexts, strict=True), lambda pair: pair[0].name)
        return {instrument.id: (instrument, ctx) for (_, ctx), instrument in pairs}

    async def fetch_ticker(self, instrument: Instrument) -> Ticker:
        entry = (await self.fetch_contexts(instrument.id.dex)).get(instrument.id)
        if entry is None:
            raise ProtocolError(f"no state of {instrument.venue_symbol}", venue=self.context.name)
        return converters.ticker(entry[1], instrument, self.context.runtime.clock.time_ns())

    async def fetch_tickers(self) -> list[Ticker]:
        """One request per dex."""
        now_ns = self.context.runtime.clock.time_ns()
        states = [await self.fetch_contexts(dex) for dex in self.dexes]
        return [converters.ticker(ctx, instrument, now_ns) for of_dex in states for instrument, ctx in of_dex.values()]

    async def fetch_funding_rates(self) -> dict[InstrumentId, FundingRateSample]:
        now_ns = self.context.venue_time.now_ns()
        samples: dict[InstrumentId, FundingRateSample] = {}
        for dex in self.dexes:
            for key, (instrument, ctx) in (await self.fetch_contexts(dex)).items():
                if (sample := converters.funding_now(ctx, instrument, now_ns)) is not None:
                    samples[key] = sample
        return samples

    async def fetch_funding_history(self, instrument: Instrument, *, start_ns: int, end_ns: int | None = None) -> list[FundingRateSample]:
        rows: list[m.FundingRow] = await fetch_since(
            self.context, "fundingHistory", FUNDING_PAGE, start_ns, end_ns, coin=instrument.venue_symbol
        )
        return [converters.funding_settled(row, instrument) for row in {row.time: row for row in rows}.values()]
