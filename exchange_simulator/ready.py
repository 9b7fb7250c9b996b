"""A venue ready to be traded on: exchange, dialect, listed markets, liquidity, a funded account, a server."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from exchange_clients import venues
from exchange_clients.base_client import BaseExchangeClient
from exchange_clients.signing import Credentials
from exchange_clients.spec import VenueSpec
from exchange_clients.transport.runtime import Runtime
from exchange_simulator.core.exchange import Exchange
from exchange_simulator.core.funding import FundingSource
from exchange_simulator.core.types import Market, Side
from exchange_simulator.dialects.base import Dialect, DialectServer, Kind, Received, SimAccount
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


Depth = list[tuple[Decimal, Decimal]]
"""Levels of one side as (price, size) in base units, best first."""


@dataclass(slots=True)
class ReadyVenue:
    """What is needed to trade on it, and to disturb it. Clients reach it while its `server` runs."""

    exchange: Exchange
    dialect: Dialect
    server: DialectServer
    account: SimAccount
    """Funded; its keys are those of `client()`."""
    runtime: Runtime
    markets: Mapping[str, Market]
    """Base -> the market as it was listed."""

    @property
    def name(self) -> str:
        return self.dialect.name

    @property
    def venue(self) -> venues.Venue:
        """The client package of that venue."""
        return venues.get(self.dialect.name)

    @property
    def spec(self) -> VenueSpec:
        return self.venue.spec

    # ---- clients

    @property
    def endpoints(self) -> dict[str, Any]:
        """As a client's `endpoints` setting wants it."""
        return self.server.endpoints

    @property
    def environ(self) -> Mapping[str, str]:
        """Credentials of the account, under the variables clients read."""
        return self.account.environ

    @property
    def environment(self) -> str:
        """The environment whose chain id the dialect speaks for, else mainnet."""
        wanted = self.dialect.chain_id
        return next((n for n, ends in self.spec.environments.items() if wanted is not None and ends.chain_id == wanted), "mainnet")

    def credentials(self, account: SimAccount | None = None) -> Credentials:
        """Of the account, or of another one."""
        return Credentials.from_env(self.spec, self.environment, environ=self._environ((account or self.account).environ))

    def _environ(self, environ: Mapping[str, str]) -> Mapping[str, str]:
        """Variables are given for mainnet; the client may be in another environment."""
        if self.environment == "mainnet":
            return environ
        renamed = {}
        for item in self.spec.credentials:
            for form in (item.variable, *item.aliases):
                plain = form.format(env="")
                if plain in environ:
                    renamed[form.format(env=f"_{self.environment.upper()}")] = environ[plain]
        return {**environ, **renamed}

    def settings(self, **more: Any) -> dict[str, Any]:
        """A client's configuration that leads here."""
        return {"environment": self.environment, "endpoints": self.endpoints, **more}

    def client(
        self, *, signed: bool = True, account: SimAccount | None = None, runtime: Runtime | None = None, **settings: Any
    ) -> BaseExchangeClient:
        """A client that is not connected yet. Who takes it disconnects it."""
        keys = self.credentials(account) if signed else None
        return self.venue.client(self.settings(**settings), keys, runtime=runtime or self.runtime)

    # ---- the exchange

    def now(self) -> int:
        return self.dialect.now_ns()

    def set_price(self, base: str, price: Decimal | int) -> None:
        """Mark, index and a fresh still book around a new price."""
        still_book(self.exchange, self.now(), self.markets[base].symbol, Decimal(price))

    def position(self, base: str) -> Decimal:
        """The account's, signed, in base units: the truth."""
        market = self.markets[base]
        return market.size(self.exchange.position(self.account.account, market.symbol).size)

    def true_book(self, base: str, levels: int = 5) -> tuple[Depth, Depth]:
        """The exchange's own best levels: bids and asks."""
        market = self.markets[base]
        sides = (self.exchange.depth(market.symbol, side, levels) for side in (Side.BUY, Side.SELL))
        bids, asks = ([(market.price(price), market.size(size)) for price, size, _ in found] for found in sides)
        return bids, asks

    # ---- what went over the wire

    def is_command(self, received: Received) -> bool:
        """Whether a request changes state, by the endpoints of the spec."""
        calls = [call for call in self.spec.endpoints.values() if call.command and call.method == received.method]
        patterns = [re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(call.path)) for call in calls]
        return received.kind is Kind.HTTP and any(re.fullmatch(pattern, received.path) for pattern in patterns)


def command_paths(spec: VenueSpec) -> str:
    """The `where` of a fault that concerns every request that changes state."""
    calls = [call for call in spec.endpoints.values() if call.command]
    return "|".join(dict.fromkeys(f"{call.method} {re.sub(r'{[a-zA-Z_]+}', '*', call.path)}" for call in calls))


def build_venue(
    kind: type[Dialect],
    runtime: Runtime,
    markets: Mapping[str, Market],
    *,
    deposit: Decimal = Decimal(100_000),
    seed: int = 0,
    funding: FundingSource | None = None,
    port: int = 0,
    network: SimNetwork | None = None,
    link: Link | None = None,
    **options: Any,
) -> ReadyVenue:
    """Exchange, dialect, listed markets without prices, a funded account, and a server that is not started yet.

    `markets`: base -> what `kind.listing` gives for it. `network`: in memory instead of on 127.0.0.1. `options` go to the dialect.
    """
    exchange = Exchange(kind.rules(), funding=funding)
    dialect = kind(exchange, runtime, seed=seed, **options)
    for market in markets.values():
        exchange.add_market(dialect.now_ns(), market)
    account = dialect.open_account(deposit)
    return ReadyVenue(exchange, dialect, DialectServer(dialect, port=port, network=network, link=link), account, runtime, markets)


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
    funding = world.funding(kind.name) if world is not None else None
    venue = build_venue(kind, runtime, specs, deposit=deposit, seed=seed, funding=funding, port=port, network=network, link=link, **options)
    if world is not None and funding is not None:
        world.attach(kind.name, venue.exchange)
        for spec in specs.values():
            seed_funding(venue.dialect, funding, spec.symbol, start_ns)
    else:
        for base in bases:
            venue.set_price(base, MARKETS[base][2])
    async with venue.server:
        feeding = asyncio.create_task(drive(world, runtime.clock), name=f"{kind.name}-world") if world is not None else None
        try:
            yield venue
        finally:
            if feeding is not None:
                feeding.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await feeding
