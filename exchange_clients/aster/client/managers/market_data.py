"""Public data by REST."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeVar

from exchange_clients.aged import Aged
from exchange_clients.aster import messages as m
from exchange_clients.aster.client.utils import converters
from exchange_clients.aster.client.utils.caching import OpenInterests
from exchange_clients.base_managers import BaseMarketData
from exchange_clients.context import ClientContext
from exchange_clients.errors import AuthError, ConfigError, ProtocolError
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

Row = TypeVar("Row")

OPTIONS: Final = frozenset({"open_interest_per_call"})
OPEN_INTEREST_PER_CALL: Final = 20
"""Markets whose open interest one call of `fetch_tickers` renews, the busiest first: 580 markets in half an hour at one call a minute."""
CANDLES_PAGE: Final = 1500
FUNDING_PAGE: Final = 1000
TRADES_MOST: Final = 1000
INTERVALS_AGE_S: Final = 60.0
PRICES_AGE_S: Final = 5.0
DEPTH_WEIGHTS: Final = ((5, 2), (10, 2), (20, 2), (50, 2), (100, 5), (500, 10), (1000, 20))


def _limit_of(depth: int) -> tuple[int, int]:
    """The least number of levels that the venue gives for so many, and its weight."""
    return next(((limit, weight) for limit, weight in DEPTH_WEIGHTS if limit >= depth), DEPTH_WEIGHTS[-1])


def open_interest_per_call(context: ClientContext) -> int:
    """`venue_options["open_interest_per_call"]`."""
    options = context.config.venue_options
    if unknown := sorted(set(options) - OPTIONS):
        raise ConfigError(f"no such venue option: {', '.join(unknown)}; there are {', '.join(sorted(OPTIONS))}", venue=context.name)
    count = options.get("open_interest_per_call", OPEN_INTEREST_PER_CALL)
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise ConfigError('venue_options["open_interest_per_call"] is a whole number, 0 for none', venue=context.name)
    return count


class AsterMarketData(BaseMarketData):
    """Everything but open interest comes for all markets in one request."""

    def __init__(self, context: ClientContext) -> None:
        super().__init__(context)
        self.onboarded_ms: dict[str, int] = {}
        """When each market began: nothing of it is older."""
        self._interests_per_call = open_interest_per_call(context)
        clock = context.runtime.clock
        self._intervals: Aged[dict[str, m.FundingInfo]] = Aged(self._ask_intervals, clock)
        self._premiums: Aged[list[m.PremiumIndex]] = Aged(lambda: self.rest.query("premiumIndex"), clock)
        self.known_interests = OpenInterests(lambda symbol: self.rest.query("openInterest", symbol=symbol), clock)
        self._without_interval: frozenset[str] = frozenset()

    async def fetch_instruments(self) -> Sequence[Instrument]:
        """Margins need a key: the venue tells brackets to accounts only. The limits of now are taken over."""
        info: m.ExchangeInfo = await self.rest.query("exchangeInfo")
        self._learn_limits(info.rateLimits)
        brackets = await self._brackets()
        self.onboarded_ms = {row.symbol: row.onboardDate for row in info.symbols}
        return converters.instruments(info, await self.intervals(), {row.symbol: row.brackets for row in brackets})

    async def _brackets(self) -> list[m.Brackets]:
        """Markets load with keys that the venue refuses, too: proving them is another's task."""
        if self.context.signer is None:
            return []
        try:
            found: list[m.Brackets] = await self.rest.query("leverageBracket")
        except AuthError as e:
            self.context.log.warning("brackets.refused reason=%s", e)
            return []
        return found

    def _learn_limits(self, limits: Sequence[m.RateLimit]) -> None:
        names = {("REQUEST_WEIGHT", "MINUTE", 1): "ip", ("ORDERS", "MINUTE", 1): "orders_1m", ("ORDERS", "SECOND", 10): "orders_10s"}
        for rule in limits:
            if (pool := names.get((rule.rateLimitType, rule.interval, rule.intervalNum))) is not None:
                self.context.limiter.observe(pool, limit=rule.limit)

    async def intervals(self) -> dict[str, m.FundingInfo]:
        """Interval, cap and floor by market, at most a minute old: the venue may change them at any time."""
        return await self._intervals.get(INTERVALS_AGE_S)

    def known_intervals(self, max_age_s: float) -> dict[str, m.FundingInfo] | None:
        """As `intervals`, without asking; None when they are older."""
        return self._intervals.known(max_age_s)

    async def premiums(self) -> list[m.PremiumIndex]:
        """Mark, index and running rate of every market, asked for now."""
        return await self._premiums.renew()

    async def days(self) -> list[m.DayTicker]:
        """The last 24 hours of every market."""
        rows: list[m.DayTicker] = await self.rest.query("ticker24hr")
        return rows

    async def interests(self, days: Sequence[m.DayTicker]) -> OpenInterests:
        """What is known of open interest, renewed for the few markets whose turn it is, the busiest first."""
        known = self.context.instruments.known(days, lambda row: row.symbol)
        busiest = sorted((row for row, instrument in known if instrument.tradable), key=lambda row: -row.quoteVolume)
        await self.known_interests.refresh([row.symbol for row in busiest], self._interests_per_call)
        return self.known_interests

    async def _ask_intervals(self) -> dict[str, m.FundingInfo]:
        rows: list[m.FundingInfo] = await self.rest.query("fundingInfo")
        return {row.symbol: row for row in rows}

    async def fetch_server_time_ns(self) -> int | None:
        answer: m.ServerTime = await self.rest.query("time")
        return answer.serverTime * NS_PER_MS

    async def fetch_book(self, instrument: Instrument, *, depth: int = 20) -> BookSnapshot:
        """At most 1000 levels a side."""
        limit, weight = _limit_of(depth)
        data: m.DepthView = await self.rest.query("depthView", cost={"ip": weight}, symbol=instrument.venue_symbol, limit=limit)
        return converters.book(data, instrument, depth, self.context.runtime.clock.time_ns())

    async def fetch_trades(
        self, instrument: Instrument, *, limit: int = 100, start_ns: int | None = None, end_ns: int | None = None
    ) -> list[Trade]:
        """The newest thousand are reachable, however far back `start_ns` lies."""
        most = TRADES_MOST if start_ns is not None or end_ns is not None else min(limit, TRADES_MOST)
        rows: list[m.PublicTrade] = await self.rest.query("trades", symbol=instrument.venue_symbol, limit=most)
        trades = sorted((converters.trade(row, instrument) for row in rows), key=lambda t: (t.ts_venue_ns, int(t.trade_id)))
        wanted = [t for t in trades if (start_ns is None or t.ts_venue_ns >= start_ns) and (end_ns is None or t.ts_venue_ns < end_ns)]
        return wanted[-limit:]

    async def fetch_candles(self, instrument: Instrument, interval: str, *, start_ns: int, end_ns: int) -> list[Candle]:
        last_ms, now_ns = (end_ns - 1) // NS_PER_MS, self.context.runtime.clock.time_ns()

        async def ask(start_ms: int) -> list[m.Kline]:
            wanted: dict[str, Any] = {"symbol": instrument.venue_symbol, "interval": interval, "startTime": start_ms, "endTime": last_ms}
            rows: list[m.Kline] = await self.rest.query("klines", limit=CANDLES_PAGE, **wanted)
            return rows

        rows = await oldest_first(ask, time=lambda row: row.open_ms, start=-(-start_ns // NS_PER_MS), size=CANDLES_PAGE)
        found = {row.open_ms: converters.candle(row, instrument, interval, now_ns) for row in rows}
        return [candle for _, candle in sorted(found.items()) if start_ns <= candle.open_ns < end_ns]

    async def fetch_ticker(self, instrument: Instrument) -> Ticker:
        """Three requests of weight 1."""
        symbol = instrument.venue_symbol
        premium: m.PremiumIndex = await self.rest.query("premiumIndexOf", symbol=symbol)
        day: m.DayTicker = await self.rest.query("ticker24hrOf", symbol=symbol)
        return converters.ticker(instrument, premium, day, await self.known_interests.renew(symbol), self.context.runtime.clock.time_ns())

    async def fetch_tickers(self) -> list[Ticker]:
        """Prices are at most `PRICES_AGE_S` old. Open interest is absent until a market's turn came (`open_interest_per_call`)."""
        days = await self.days()
        premiums = {row.symbol: row for row in await self._premiums.get(PRICES_AGE_S)}
        interests = await self.interests(days)
        now_ns = self.context.runtime.clock.time_ns()
        return [
            converters.ticker(instrument, premiums.get(row.symbol), row, interests.get(row.symbol), now_ns)
            for row, instrument in self.context.instruments.known(days, lambda row: row.symbol)
            if instrument.tradable
        ]

    async def fetch_funding_rates(self) -> dict[InstrumentId, FundingRateSample]:
        """One request, and another for the intervals. A market whose interval the venue does not tell has no rate here, and is named."""
        intervals = await self.intervals()
        rows = await self.premiums()
        samples: dict[InstrumentId, FundingRateSample] = {}
        missing = set()
        for row, instrument in self.context.instruments.known(rows, lambda row: row.symbol):
            if (interval := intervals.get(row.symbol)) is None:
                missing.add(row.symbol)
            elif (sample := converters.funding_now(row, interval, instrument)) is not None:
                samples[instrument.id] = sample
        if missing - self._without_interval:
            self.context.log.warning("funding.interval_unknown markets=%s", ",".join(sorted(missing)))
        self._without_interval = frozenset(missing)
        return samples

    async def fetch_funding_rate(self, instrument: Instrument) -> FundingRateSample:
        interval = (await self.intervals()).get(instrument.venue_symbol)
        if interval is None:
            raise ProtocolError(f"the venue tells no funding interval of {instrument.venue_symbol}", venue=self.context.name)
        row: m.PremiumIndex = await self.rest.query("premiumIndexOf", symbol=instrument.venue_symbol)
        if (sample := converters.funding_now(row, interval, instrument)) is None:
            raise ProtocolError(f"no funding rate of {instrument.id}", venue=self.context.name)
        return sample

    async def fetch_funding_history(self, instrument: Instrument, *, start_ns: int, end_ns: int | None = None) -> list[FundingRateSample]:
        """Each row's own interval: markets change theirs."""
        last_ms = None if end_ns is None else end_ns // NS_PER_MS

        async def ask(start_ms: int) -> list[m.FundingRow]:
            rows: list[m.FundingRow] = await self.rest.query(
                "fundingRate", symbol=instrument.venue_symbol, startTime=start_ms, endTime=last_ms, limit=FUNDING_PAGE
            )
            return rows

        rows = await oldest_first(ask, time=lambda row: row.fundingTime, start=start_ns // NS_PER_MS, size=FUNDING_PAGE)
        unique = {row.fundingTime: row for row in rows}
        return converters.funding_settled([row for _, row in sorted(unique.items())], instrument)
