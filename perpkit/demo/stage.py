"""The stage: two simulated venues that speak their real protocols, a feed that moves them, clients, engine and strategy."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any

import aiohttp

from database.connect import sqlite_url
from database.journal import Journal
from database.records import FillRecord
from exchange_clients import venues
from exchange_clients.base_client import BaseExchangeClient
from exchange_clients.signing import Credentials
from exchange_clients.transport.clock import NS_PER_S, SteppingClock
from exchange_clients.transport.offload import InlineOffload, Offload, ThreadOffload
from exchange_clients.transport.runtime import Runtime
from exchange_simulator.core.exchange import Exchange
from exchange_simulator.dialects.base import Dialect, DialectServer, SimAccount
from exchange_simulator.faults import FaultPlan, parse_fault
from exchange_simulator.simloop import EPOCH_NS, SimNetwork, Simulation
from exchange_simulator.world.feed import MarketFeed, drive
from exchange_simulator.world.profiles import Listing, VenueProfile, demo_scenario
from exchange_simulator.world.replay import Replay
from exchange_simulator.world.world import World
from strategies.base_strategy import StrategyContext
from strategies.execution.engine import ExecutionEngine
from strategies.execution.journaling import AsyncJournal, Observer
from strategies.implementations.funding_arbitrage.config import FundingArbitrageConfig
from strategies.implementations.funding_arbitrage.strategy import FundingArbitrage

NAMES = ("hyperliquid", "lighter")
DEPOSIT = Decimal(25_000)
START_NS = EPOCH_NS + 9 * 3_600 * NS_PER_S + 52 * 60 * NS_PER_S
"""The demo's clock starts some minutes before a settlement."""
RICH = "lighter"
EDGE_ASSET = "SOL"
FIGURES = {"hyperliquid": 5, "lighter": 0}
MARKETS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "hyperliquid": (("BTC", "0.1", "0.00001"), ("ETH", "0.01", "0.0001"), ("SOL", "0.0001", "0.01")),
    "lighter": (("BTC", "0.1", "0.00001"), ("ETH", "0.01", "0.0001"), ("SOL", "0.001", "0.001")),
}
"""(asset, tick, step) per venue."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Clock, threads and network of one run. `runtime()` is a new one for each user, because a client closes its own offload."""

    clock: SteppingClock
    connector: Callable[[], aiohttp.BaseConnector]
    offload: Callable[[], Offload]
    network: SimNetwork | None

    def runtime(self) -> Runtime:
        """For one client, dialect or engine."""
        return Runtime(clock=self.clock, offload=self.offload(), connector=self.connector)


def real_surroundings() -> Surroundings:
    """Loopback sockets and threads; the clock runs at real speed between its jumps."""
    return Surroundings(SteppingClock(START_NS, elapsed=time.monotonic), Runtime.system().connector, ThreadOffload, None)


def simulated_surroundings(sim: Simulation) -> Surroundings:
    """In memory, on virtual time."""
    clock = SteppingClock(START_NS, elapsed=sim.loop.time)
    sim.network.clock = clock
    return Surroundings(clock, sim.network.connector, InlineOffload, sim.network)


@dataclass(slots=True)
class StageVenue:
    """One simulated venue with the bot's account on it."""

    name: str
    exchange: Exchange
    dialect: Dialect
    server: DialectServer
    account: SimAccount
    plan: FaultPlan | None = None

    def script(self, *lines: str) -> FaultPlan:
        """From now on, these faults."""
        self.plan = FaultPlan([parse_fault(line) for line in lines], self.dialect.now_ns)
        self.dialect.faults = self.plan
        return self.plan

    def position(self, asset: str) -> Decimal:
        """The truth: what the bot's account holds."""
        held = self.exchange.position(self.account.account, asset)
        return self.exchange.markets[asset].spec.size(held.size)


@dataclass(slots=True)
class Stage:
    """Everything that takes part."""

    surroundings: Surroundings
    feed: MarketFeed
    venues: dict[str, StageVenue]
    journal: Journal
    path: Path
    notes: list[str]
    clients: dict[str, BaseExchangeClient] = field(default_factory=dict)
    engine: ExecutionEngine | None = None
    strategy: FundingArbitrage | None = None

    @property
    def clock(self) -> SteppingClock:
        """The one clock of venues and bot."""
        return self.surroundings.clock

    def step_to(self, ts_ns: int) -> None:
        """Jump: markets first, then everybody who waits."""
        self.feed.advance_to(ts_ns)
        self.clock.step_to(max(ts_ns, self.clock.time_ns()))

    def funding_of(self, pair_id: str) -> Decimal:
        """What the pair has received so far, by the venues' records."""
        return sum((p.amount for p in self.journal.funding(pair_id)), Decimal(0))

    def fills_of(self, pair_id: str) -> list[FillRecord]:
        """The pair's fills."""
        return self.journal.fills(pair_id)


def dialect_class(name: str) -> type[Dialect]:
    """The dialect of a venue that ships with the simulator."""
    found: type[Dialect] = import_module(f"exchange_simulator.dialects.{name}").DIALECT
    return found


def profiles() -> list[VenueProfile]:
    """Which markets the demo's venues list."""
    found = []
    for name in NAMES:
        listings = tuple(
            Listing.of(
                dialect_class(name).listing(asset, tick_size=Decimal(tick), step_size=Decimal(step)),
                asset,
                significant_figures=FIGURES[name],
            )
            for asset, tick, step in MARKETS[name]
        )
        found.append(VenueProfile(name, listings))
    return found


@asynccontextmanager
async def stage(
    surroundings: Surroundings, *, seed: int, data: Path | None, home: Path, config: FundingArbitrageConfig, observer: Observer
) -> AsyncIterator[Stage]:
    """Build everything, start it, and take it down again in the opposite order."""
    async with AsyncExitStack() as cleanup:
        feed: MarketFeed
        notes: list[str]
        start_ns = surroundings.clock.time_ns()
        if data is None:
            feed = World(seed, profiles(), start_ns, scenario=demo_scenario(EDGE_ASSET, RICH))
            notes = [f"seeded world {seed}: process fitted on recorded markets, with a declared funding edge in {EDGE_ASSET} on {RICH}"]
        else:
            replay = Replay(data, profiles(), start_ns)
            feed, notes = replay, list(replay.notes)
        built: dict[str, StageVenue] = {}
        for name in NAMES:
            built[name] = await _venue(name, surroundings, feed, seed, cleanup)
        driver = asyncio.create_task(drive(feed, surroundings.clock), name="feed")
        cleanup.push_async_callback(_end, driver)
        journal = _fresh_journal(home)
        cleanup.callback(journal.close)
        made = Stage(surroundings, feed, built, journal, home, notes)
        for name in NAMES:
            made.clients[name] = await _client(built[name], surroundings, home, cleanup)
        runtime = surroundings.runtime()
        cleanup.callback(runtime.offload.close)
        engine = ExecutionEngine(
            journal, made.clients, runtime, strategy="funding_arbitrage", account=config.account_name, observer=observer
        )
        cleanup.push_async_callback(engine.stop)
        await engine.start()
        made.engine = engine
        context = StrategyContext(
            made.clients, engine, AsyncJournal(journal, runtime.offload, observer), runtime.clock, config.account_name
        )
        made.strategy = FundingArbitrage(config, context)
        await made.strategy.initialize()
        yield made


async def _venue(name: str, surroundings: Surroundings, feed: MarketFeed, seed: int, cleanup: AsyncExitStack) -> StageVenue:
    kind = dialect_class(name)
    exchange = Exchange(kind.rules(), funding=feed.funding(name))
    now_ns = surroundings.clock.time_ns()
    fed = set(feed.symbols(name)) if isinstance(feed, Replay) else None
    for asset, tick, step in MARKETS[name]:
        if fed is None or asset in fed:
            exchange.add_market(now_ns, kind.listing(asset, tick_size=Decimal(tick), step_size=Decimal(step)))
    feed.attach(name, exchange)
    runtime = surroundings.runtime()
    cleanup.callback(runtime.offload.close)
    dialect = kind(exchange, runtime, seed=seed)
    account = dialect.open_account(DEPOSIT)
    server = DialectServer(dialect, network=surroundings.network)
    await cleanup.enter_async_context(server)
    return StageVenue(name, exchange, dialect, server, account)


async def _client(venue: StageVenue, surroundings: Surroundings, home: Path, cleanup: AsyncExitStack) -> BaseExchangeClient:
    offered = venues.get(venue.name)
    settings: dict[str, Any] = {
        "endpoints": venue.server.endpoints,
        "state_directory": home / "ids",
        "request_timeout_s": 3.0,
        "command_timeout_s": 3.0,
    }
    client = offered.client(settings, Credentials.from_env(offered.spec, environ=venue.account.environ), runtime=surroundings.runtime())
    cleanup.push_async_callback(client.disconnect)
    await client.connect()
    return client


def _fresh_journal(home: Path) -> Journal:
    """The demo starts over each time: what an earlier run left in its folder is removed."""
    home.mkdir(parents=True, exist_ok=True)
    place = home / "journal.db"
    for leftover in home.glob("journal.db*"):
        leftover.unlink()
    return Journal.open(sqlite_url(place))


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
