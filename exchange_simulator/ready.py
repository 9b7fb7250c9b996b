"""A venue ready to be traded on: exchange, dialect, listed markets, liquidity, a funded account, a server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from exchange_clients.transport.runtime import Runtime
from exchange_simulator.core.exchange import Exchange
from exchange_simulator.dialects.base import Dialect, DialectServer, SimAccount
from exchange_simulator.dialects.history import PastFunding
from exchange_simulator.simloop import Link, SimNetwork
from exchange_simulator.world.feed import drive
from exchange_simulator.world.funding import WorldFunding
from exchange_simulator.world.profiles import Listing, VenueProfile
from exchange_simulator.world.world import World

MARKETS: Mapping[str, tuple[Decimal, Decimal, int]] = {
    "BTC": (Decimal("0.1"), Decimal("0.00001"), 60_000),
    "ETH": (Decimal("0.01"), Decimal("0.0001"), 2_000),
    "SOL": (Decimal("0.001"), Decimal("0.001"), 150),
}
"""Base -> tick, step, and where a still market stands. The steps fit every dialect that ships with the simulator."""
LEVELS = 20
LEVEL_NOTIONAL = 50_000
"""A still book has this much quote currency at each of its levels, one basis point of the price apart."""


@dataclass(slots=True)
class ReadyVenue:
    """What is needed to trade on it, and to disturb it."""

    exchange: Exchange
    dialect: Dialect
    server: DialectServer
    account: SimAccount

    @property
    def endpoints(self) -> dict[str, Any]:
        """As a client's `endpoints` setting wants it."""
        return self.server.endpoints

    @property
    def environ(self) -> Mapping[str, str]:
        """Credentials of the account, under the variables clients read."""
        return self.account.environ

    def set_price(self, base: str, price: Decimal | int) -> None:
        """Mark, index and a fresh still book around a new price."""
        still_book(self.exchange, self.dialect.now_ns(), self._symbol(base), Decimal(price))

    def _symbol(self, base: str) -> str:
        tick, step, _ = MARKETS[base]
        return self.dialect.listing(base, tick_size=tick, step_size=step).symbol


def still_book(exchange: Exchange, ts_ns: int, symbol: str, price: Decimal) -> None:
    """Mark and index at `price`, and depth on both sides that nobody moves."""
    spec = exchange.markets[symbol].spec
    mid = int(price / spec.tick_size)
    gap = max(1, mid // 10_000)
    size = max(spec.min_size, int(LEVEL_NOTIONAL / (price * spec.step_size)))
    exchange.set_mark(ts_ns, symbol, spec.to_ref(price))
    bids, asks = ([(mid + sign * gap * n, size) for n in range(1, LEVELS + 1)] for sign in (-1, 1))
    exchange.set_levels(ts_ns, symbol, bids, asks)


def seed_funding(dialect: Dialect, source: WorldFunding, symbol: str, until_ns: int) -> None:
    """Give the dialect the world's settlements before `until_ns` as its past, valued at the index of now."""
    market = dialect.exchange.markets[symbol]
    rows = source.history(symbol, 0, until_ns - 1)
    dialect.history.seed(symbol, funding=[PastFunding(ts, rate, market.index, market.spec.funding_interval_ns) for ts, rate in rows])


@asynccontextmanager
async def ready_venue(
    kind: type[Dialect],
    runtime: Runtime,
    *,
    bases: Sequence[str] = ("BTC", "ETH"),
    deposit: Decimal = Decimal(100_000),
    seed: int = 0,
    live: bool = False,
    port: int = 0,
    network: SimNetwork | None = None,
    link: Link | None = None,
    **options: Any,
) -> AsyncIterator[ReadyVenue]:
    """Serve one venue until the block ends.

    `live`: a seeded world moves prices, books, trades and funding; else the market stands still. `network`: in memory instead of on
    127.0.0.1. `options` go to the dialect.

    Raises:
        KeyError: a base that is not in `MARKETS`.
    """
    specs = {base: kind.listing(base, tick_size=MARKETS[base][0], step_size=MARKETS[base][1]) for base in bases}
    start_ns = runtime.clock.time_ns()
    world = None
    if live:
        listings = tuple(Listing.of(spec, base, significant_figures=kind.significant_figures) for base, spec in specs.items())
        world = World(seed, [VenueProfile(kind.name, listings)], start_ns)
    exchange = Exchange(kind.rules(), funding=world.funding(kind.name) if world is not None else None)
    dialect = kind(exchange, runtime, seed=seed, **options)
    for base, spec in specs.items():
        exchange.add_market(start_ns, spec)
        if world is None:
            still_book(exchange, start_ns, spec.symbol, Decimal(MARKETS[base][2]))
    if world is not None:
        world.attach(kind.name, exchange)
        for spec in specs.values():
            seed_funding(dialect, world.funding(kind.name), spec.symbol, start_ns)
    account = dialect.open_account(deposit)
    async with DialectServer(dialect, port=port, network=network, link=link) as server:
        feeding = asyncio.create_task(drive(world, runtime.clock), name=f"{kind.name}-world") if world is not None else None
        try:
            yield ReadyVenue(exchange, dialect, server, account)
        finally:
            if feeding is not None:
                feeding.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await feeding
