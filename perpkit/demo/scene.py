"""What the demo plays on: a market feed, two simulated venues behind their wire protocols, real clients, journal, engine, strategy."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from database.connect import sqlite_url
from database.journal import Journal
from exchange_clients.base_client import BaseExchangeClient
from exchange_clients.transport.clock import SteppingClock
from exchange_clients.transport.runtime import Runtime
from exchange_simulator import dialects
from exchange_simulator.core.exchange import Exchange
from exchange_simulator.dialects.base import Dialect, DialectServer
from exchange_simulator.faults import FaultPlan, parse_fault
from exchange_simulator.ready import build_venue
from exchange_simulator.simloop import SimNetwork
from exchange_simulator.world.feed import MarketFeed, drive
from exchange_simulator.world.profiles import FundingEdge, Listing, Scenario, VenueProfile
from exchange_simulator.world.replay import Replay
from exchange_simulator.world.world import World
from perpkit.bot.assemble import assembled
from perpkit.bot.config import BotConfig, parse
from strategies.execution.engine import ExecutionEngine
from strategies.execution.journaling import Observer
from strategies.implementations.funding_arbitrage.strategy import FundingArbitrage

START_NS = 1_767_571_200 * 10**9
"""Demo time begins on 2026-01-05 00:00 UTC, whenever it is run."""
FIRST_SETTLEMENT_IN_S = 240
"""The curtain rises four minutes before a settlement."""
DEPOSIT = Decimal(20_000)
JOURNAL_FILE = "journal.db"
ACCOUNT = "demo"
RICH = "hyperliquid"
EDGE = FundingEdge("ETH", RICH, edge_per_hour=0.00018, hold_hours=10.0, half_life_hours=2.0)


@dataclass(frozen=True, slots=True)
class Ticker:
    """How one venue lists one asset."""

    asset: str
    tick: str
    step: str
    tokens: int = 1


LISTINGS: dict[str, tuple[Ticker, ...]] = {
    "hyperliquid": (
        Ticker("BTC", "0.1", "0.00001"),
        Ticker("ETH", "0.01", "0.0001"),
        Ticker("SOL", "0.0001", "0.01"),
        Ticker("PEPE", "0.000001", "1", 1000),
    ),
    "lighter": (
        Ticker("BTC", "0.1", "0.00001"),
        Ticker("ETH", "0.01", "0.0001"),
        Ticker("SOL", "0.001", "0.001"),
        Ticker("PEPE", "0.000001", "1", 1000),
    ),
}
LISTED_AS = {("hyperliquid", "PEPE"): "kPEPE", ("lighter", "PEPE"): "1000PEPE"}
FAULTS: dict[str, tuple[str, ...]] = {
    "hyperliquid": ("lost_ack where=/exchange contains=order nth=1", "duplicate_fill nth=2 delay=0.2"),
    "lighter": ("slow where=/api/v1/sendTx nth=2 delay=0.5",),
}


@dataclass(slots=True)
class Stage:
    """One simulated venue and our client of it."""

    name: str
    exchange: Exchange
    dialect: Dialect
    server: DialectServer
    faults: FaultPlan
    account: int
    client: BaseExchangeClient


@dataclass(slots=True)
class Scene:
    """Everything that plays. `journal` is open until the scene is torn down."""

    clock: SteppingClock
    feed: MarketFeed
    stages: dict[str, Stage]
    journal: Journal
    engine: ExecutionEngine
    strategy: FundingArbitrage
    notes: tuple[str, ...]

    def step_to(self, ts_ns: int) -> None:
        """Jump: the market moves first, then the clock, with nothing in between that could see one without the other."""
        self.feed.advance_to(ts_ns)
        self.clock.step_to(ts_ns)


def bot_config(symbols: tuple[str, ...]) -> BotConfig:
    """The demo's bot; everything that is not said is at its default."""
    return parse(
        {
            "strategy": FundingArbitrage.name,
            "account": ACCOUNT,
            "venues": list(LISTINGS),
            "parameters": {
                "symbols": symbols,
                "max_positions": 1,
                "max_new_positions_per_cycle": 1,
                "default_position_size_usd": 1000,
                "min_profit": "0.0005",
                "profitability_horizon_hours": 24,
                "max_rate_age_seconds": 600,
                "max_loop_lag_ms": 500,
                "max_clock_skew_ms": 1000,
                "execution": {"naked_cap_usd": 400},
                "risk_config": {"erosion_confirmations": 2},
            },
            "risk": {"max_loop_lag_s": 0.5, "max_clock_skew_s": 1},
        }
    )


@asynccontextmanager
async def scene(
    base: Runtime,
    clock: SteppingClock,
    *,
    seed: int,
    home: Path,
    data: Path | None,
    observer: Observer,
    network: SimNetwork | None = None,
) -> AsyncIterator[Scene]:
    """Built and connected; torn down whatever happens inside.

    Raises:
        RecordingError: `data` lacks a recording.
        VenueError: a client does not connect to its simulated venue.
    """
    runtime = replace(base, clock=clock)
    profiles = {name: _profile(name) for name in LISTINGS}
    notes: tuple[str, ...] = ()
    feed: MarketFeed
    if data is None:
        scenario = Scenario(edges=(EDGE,), volatility=0.5, jumps=0.0)
        feed = World(seed, profiles.values(), clock.time_ns(), scenario=scenario)
        traded = {name: {x.symbol for x in profile.listings} for name, profile in profiles.items()}
    else:
        replay = Replay(data, profiles.values(), clock.time_ns())
        feed, notes = replay, tuple(replay.notes)
        traded = {name: set(replay.symbols(name)) for name in profiles}
    async with contextlib.AsyncExitStack() as stack:
        stages: dict[str, Stage] = {}
        for name, profile in profiles.items():
            stages[name] = await stack.enter_async_context(_stage(name, profile, traded[name], feed, runtime, seed, home, network))
        driving = asyncio.create_task(drive(feed, clock), name="demo-market")
        stack.push_async_callback(_end, driving)
        clients = {name: stage.client for name, stage in stages.items()}
        for client in clients.values():
            await client.connect()
            stack.push_async_callback(client.disconnect)
        journal = Journal.open(sqlite_url(home / JOURNAL_FILE))
        stack.callback(journal.close)
        assets = tuple(sorted({x.asset for n, p in profiles.items() for x in p.listings if x.symbol in traded[n]}))
        together = assembled([bot_config(assets)], {ACCOUNT: clients}, journal, runtime, environment="demo", observer=observer)
        (bot,) = await stack.enter_async_context(together)
        assert isinstance(bot.strategy, FundingArbitrage)
        for name, stage in stages.items():
            for asset in assets:
                await stage.client.ws_manager.prepare_market_feed(stage.client.instruments.get(_symbol(name, asset)))
        yield Scene(clock, feed, stages, journal, bot.engine, bot.strategy, notes)


def _profile(name: str) -> VenueProfile:
    kind = dialects.get(name)
    listings = []
    for ticker in LISTINGS[name]:
        listed = kind.listing(_symbol(name, ticker.asset), tick_size=Decimal(ticker.tick), step_size=Decimal(ticker.step))
        listings.append(Listing.of(listed, ticker.asset, tokens=ticker.tokens, significant_figures=kind.significant_figures))
    return VenueProfile(name, tuple(listings))


def _symbol(venue: str, asset: str) -> str:
    return LISTED_AS.get((venue, asset), asset)


@asynccontextmanager
async def _stage(
    name: str,
    profile: VenueProfile,
    traded: set[str],
    feed: MarketFeed,
    runtime: Runtime,
    seed: int,
    home: Path,
    network: SimNetwork | None,
) -> AsyncIterator[Stage]:
    kind = dialects.get(name)
    listed = {
        ticker.asset: kind.listing(_symbol(name, ticker.asset), tick_size=Decimal(ticker.tick), step_size=Decimal(ticker.step))
        for ticker in LISTINGS[name]
    }
    markets = {asset: market for asset, market in listed.items() if market.symbol in traded}
    venue = build_venue(kind, runtime, markets, deposit=DEPOSIT, seed=seed, funding=feed.funding(name), network=network)
    feed.attach(name, venue.exchange)
    faults = FaultPlan([parse_fault(line) for line in FAULTS[name]], venue.dialect.now_ns, seed=seed)
    venue.dialect.faults = faults
    faults.attach(venue.exchange)
    async with venue.server:
        client = venue.client(command_timeout_s=4.0, state_directory=home / "ids")
        yield Stage(name, venue.exchange, venue.dialect, venue.server, faults, venue.account.account, client)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
