"""Moves hundreds of simulated markets at a pace that a core hardly notices: each every few seconds, some of them every second."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal

from exchange_clients.model import NS_PER_HOUR
from exchange_clients.transport.clock import Clock
from exchange_simulator.core.funding import FundingSource
from exchange_simulator.core.types import NewOrder, OrderType, Side, TimeInForce
from exchange_simulator.dialects.base import Dialect
from exchange_simulator.dialects.history import Candle, PastFunding
from exchange_simulator.world.profiles import Listing
from exchange_simulator.world.replay import Replay, ReplayFunding
from exchange_simulator.world.world import World

ROUND_S = 4.0
"""Every market moves once in so long."""
HOT_S = 1.0
STEP_S = 0.1
TRADE_CHANCE = 0.25
DAY_HOURS = 24


@dataclass(slots=True)
class Moved:
    """One market of one venue. `hot` ones move each second: a bot trades there, and old books are no books to it."""

    venue: str
    dialect: Dialect
    listing: Listing
    funding: FundingSource
    hot: bool = False
    recorded: bool = False
    """A recording moves it."""
    due_s: float = 0.0
    settled: tuple[tuple[int, int], ...] = ()
    """(time, rate in fraction units) of its past."""

    @property
    def symbol(self) -> str:
        return self.listing.symbol

    @property
    def interval_ns(self) -> int:
        return self.dialect.exchange.markets[self.symbol].spec.funding_interval_ns


class MixedFunding:
    """Rates of the recordings where they stand for a market, of the seeded world elsewhere."""

    sample_interval_ns = 0

    def __init__(self, world: FundingSource, replay: ReplayFunding, recorded: Collection[str]) -> None:
        self._world, self._replay, self._recorded = world, replay, frozenset(recorded)

    def sample(self, market: str, premium: int) -> None: ...

    def estimate(self, market: str, ts_ns: int, interval_ns: int) -> int:
        return self._of(market).estimate(market, ts_ns, interval_ns)

    def settle(self, market: str, ts_ns: int, interval_ns: int) -> int:
        return self._of(market).settle(market, ts_ns, interval_ns)

    def _of(self, market: str) -> FundingSource:
        return self._replay if market in self._recorded else self._world


class SlowMarket:
    """Shows a world's state on every market, in turns; those of a `replay` move as they were recorded."""

    def __init__(self, world: World, markets: Sequence[Moved], clock: Clock, rng: random.Random, replay: Replay | None = None) -> None:
        self._replay = replay
        self._world, self._clock, self._rng = world, clock, rng
        self.markets = list(markets)
        for place, market in enumerate(self.markets):
            market.due_s = clock.monotonic() + ROUND_S * place / max(1, len(self.markets))

    def show(self, market: Moved) -> None:
        """Mark, index and book of now, and now and then a trade."""
        exchange, symbol = market.dialect.exchange, market.symbol
        ts_ns = max(exchange.now_ns, self._clock.time_ns())
        state = self._world.state(market.venue, symbol, ts_ns)
        exchange.set_mark(ts_ns, symbol, state.mark, state.index)
        exchange.set_levels(ts_ns, symbol, state.book.bids, state.book.asks)
        if self._rng.random() < TRADE_CHANCE:
            spec = exchange.markets[symbol].spec
            usd = Decimal(self._rng.choice((300, 800, 2_000, 6_000)))
            price = spec.price(state.book.bids[0][0]) if state.book.bids else Decimal(0)
            size = int(usd / price / spec.step_size) if price else 0
            if size:
                exchange.external_trade(ts_ns, symbol, self._rng.choice((Side.BUY, Side.SELL)), size)

    async def run(self) -> None:
        """Until cancelled."""
        clock = self._clock
        while True:
            now = clock.monotonic()
            if self._replay is not None:
                self._replay.advance_to(clock.time_ns())
            for market in self.markets:
                if market.due_s <= now and not market.recorded:
                    market.due_s = now + (HOT_S if market.hot else ROUND_S)
                    self.show(market)
                    await clock.sleep(0)
            await clock.sleep(STEP_S)


def settled_before(market: Moved, from_ns: int, until_ns: int) -> tuple[tuple[int, int], ...]:
    """(time, rate in fraction units) of every settlement in [from, until)."""
    interval = market.interval_ns
    first = -(-from_ns // interval) * interval
    return tuple((ts, market.funding.settle(market.symbol, ts, interval)) for ts in range(first, until_ns, interval))


def give_past(market: Moved, crowd: int, interest_usd: Decimal, volume_usd: Decimal, from_ns: int, now_ns: int, rng: random.Random) -> None:
    """What the venue would tell of the time before: settlements, a day of volume, and the positions of everybody else."""
    exchange = market.dialect.exchange
    state = exchange.markets[market.symbol]
    spec = state.spec
    market.settled = settled_before(market, from_ns, now_ns)
    past = [PastFunding(ts, rate, state.index, spec.funding_interval_ns) for ts, rate in market.settled]
    bid, ask = exchange.best(market.symbol)
    price = (bid + ask) // 2
    hours = [now_ns // NS_PER_HOUR * NS_PER_HOUR - n * NS_PER_HOUR for n in range(DAY_HOURS, 0, -1)]
    shares = [rng.uniform(0.5, 1.5) for _ in hours]
    unit = spec.price(price) * spec.step_size
    candles = []
    for ts, share in zip(hours, shares, strict=True):
        steps = max(1, int(volume_usd * Decimal(share / sum(shares)) / unit))
        candles.append(Candle(ts, price, price, price, price, steps, price * steps, 200, 0))
    market.dialect.history.seed(market.symbol, funding=past, candles=candles)
    size = int(interest_usd / unit)
    if size:
        exchange.set_levels(exchange.now_ns, market.symbol, [(bid, size)], [(ask, size)])
        order = NewOrder(
            account=crowd, market=market.symbol, side=Side.BUY, size=size, price=ask, type=OrderType.LIMIT, time_in_force=TimeInForce.IOC
        )
        exchange.submit(exchange.now_ns, order)
