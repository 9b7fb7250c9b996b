"""The scene of `perpkit serve --demo`: every simulated venue on this machine, a past, and a bot that trades on them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import shutil
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from database.connect import sqlite_url
from database.database import Database
from database.funding_store import FundingStore
from database.journal import Journal
from database.market_data import RateSample, SettledRate
from exchange_clients.base_client import BaseExchangeClient
from exchange_clients.model import NS_PER_HOUR, RateKind
from exchange_clients.transport.runtime import Runtime
from exchange_simulator import dialects
from exchange_simulator.core.funding import FundingSource
from exchange_simulator.core.types import UNIT, Side
from exchange_simulator.ready import ReadyVenue, build_venue
from exchange_simulator.world.profiles import FundingEdge, Listing, Scenario, VenueProfile
from exchange_simulator.world.replay import Replay
from exchange_simulator.world.world import World
from funding_rate_service.config import ServiceConfig
from perpkit.service.assets import ASSETS, CHARACTERS, Asset, Character, grid, parameters
from perpkit.service.market import MixedFunding, Moved, SlowMarket, give_past

log = logging.getLogger("perpkit.service")

PAST_DAYS = 7
SAMPLES_DAYS = 2
SAMPLE_EVERY_NS = NS_PER_HOUR
MARKETS_AT_ONCE = 5
COLLECT_EVERY_S = 10.0
DEPOSIT = Decimal(50_000)
CROWD_DEPOSIT = Decimal(10) ** 12
TURNOVER = Decimal("1.4")
"""A day's volume over open interest."""
BOT_VENUES = ("hyperliquid", "lighter", "paradex")
BOT_SYMBOLS = ("BTC", "ETH", "SOL")
BOT_EVERY_S = 30.0
BOT_JOURNAL = "demo-bot.db"
RECORDED = ("BTC",)
"""Assets that recordings stand for: with them, venues without a recording do not list these, whose prices would be of another time."""
EDGES = (
    FundingEdge("ETH", "hyperliquid", edge_per_hour=0.00012, hold_hours=36, half_life_hours=12),
    FundingEdge("SOL", "lighter", edge_per_hour=0.00008, hold_hours=24, half_life_hours=10),
    FundingEdge("HYPE", "aster", edge_per_hour=0.00006, hold_hours=48, half_life_hours=24),
    FundingEdge("FARTCOIN", "hyperliquid", edge_per_hour=0.00022, hold_hours=12, half_life_hours=8),
    FundingEdge("DOGE", "dydx", edge_per_hour=0.00004, hold_hours=30, half_life_hours=12),
    FundingEdge("TRUMP", "backpack", edge_per_hour=0.00015, hold_hours=20, half_life_hours=6),
    FundingEdge("ENA", "okx", edge_per_hour=-0.00007, hold_hours=40, half_life_hours=18),
    FundingEdge("PEPE", "lighter", edge_per_hour=-0.00011, hold_hours=16, half_life_hours=9),
)


@dataclass(slots=True)
class DemoWorld:
    """Running venues. `config` leads the service to them; `journals` are those of the bot."""

    runtime: Runtime
    home: Path
    world: World
    venues: dict[str, ReadyVenue]
    market: SlowMarket
    config: ServiceConfig
    seed: int
    notes: list[str] = field(default_factory=list)
    journals: list[str] = field(default_factory=list)

    # ---- the past

    @asynccontextmanager
    async def past(self, database: Database, written: Callable[[], object]) -> AsyncIterator[None]:
        """Beside the block, write the days before into the database, as a collector would have; `written` is called at the end of it."""

        async def fill() -> None:
            try:
                await self.fill(database)
            except Exception:
                log.exception("demo.past_failed")
            else:
                written()

        task = asyncio.create_task(fill(), name="demo-past")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def fill(self, database: Database) -> None:
        """Settled rates and samples of every market."""
        now_ns = self.runtime.clock.time_ns()
        store = FundingStore(database)
        for name in self.venues:
            instruments = await self._instruments(name)
            mine = [m for m in self.market.markets if m.venue == name and m.symbol in instruments]
            for first in range(0, len(mine), MARKETS_AT_ONCE):  # in pieces, so that the end of the service waits for none of it
                piece = [(market, *instruments[market.symbol]) for market in mine[first : first + MARKETS_AT_ONCE]]
                await self.runtime.offload.run(self._fill, store, piece, now_ns, deadline_s=60.0)

    async def _instruments(self, name: str) -> dict[str, tuple[str, str]]:
        """The venue's own name of a market -> (id, canonical base), as the client reads them."""
        client = self.venues[name].client(signed=False)
        try:
            return {i.venue_symbol: (str(i.id), i.id.base) for i in await client.instruments.load_all()}
        finally:
            await client.disconnect()

    def _fill(self, store: FundingStore, markets: Sequence[tuple[Moved, str, str]], now_ns: int) -> None:
        settled: list[SettledRate] = []
        samples: list[RateSample] = []
        for market, key, base in markets:
            hours = Decimal(market.interval_ns) / NS_PER_HOUR
            about: dict[str, Any] = {"venue": market.venue, "instrument": key, "symbol": base, "interval_hours": hours}
            settled += [SettledRate(settled_at=ts, rate=_rate(rate), **about) for ts, rate in market.settled]
            samples += self._samples(market, key, base, hours, now_ns)
        store.add_settled(settled)
        store.add_samples(samples)

    def _samples(self, market: Moved, key: str, base: str, hours: Decimal, now_ns: int) -> Iterator[RateSample]:
        interval = market.interval_ns
        first = (now_ns - SAMPLES_DAYS * 24 * NS_PER_HOUR) // SAMPLE_EVERY_NS * SAMPLE_EVERY_NS
        for ts in range(first, now_ns - SAMPLE_EVERY_NS // 2, SAMPLE_EVERY_NS):
            yield RateSample(
                venue=market.venue,
                instrument=key,
                symbol=base,
                observed_at=ts,
                rate=_rate(market.funding.estimate(market.symbol, ts, interval)),
                interval_hours=hours,
                kind=RateKind.PREDICTED,
                next_funding_at=(ts // interval + 1) * interval,
                latency_ms=120,
            )

    # ---- the bot

    @asynccontextmanager
    async def bot(self) -> AsyncIterator[None]:
        """A funding-arbitrage bot on some of the venues, trading until the block ends; a fault of its is logged, not raised."""
        task = asyncio.create_task(self._bot(), name="demo-bot")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _bot(self) -> None:
        try:
            await self._trade()
        except Exception:
            log.exception("demo.bot_failed")

    async def _trade(self) -> None:
        from perpkit.bot.assemble import assembled
        from perpkit.bot.config import parse
        from strategies.implementations.funding_arbitrage.strategy import FundingArbitrage

        names = [name for name in BOT_VENUES if name in self.venues]
        if len(names) < 2:
            return
        config = parse(
            {
                "strategy": FundingArbitrage.name,
                "account": "demo",
                "venues": names,
                "parameters": {
                    "symbols": list(BOT_SYMBOLS),
                    "max_positions": 3,
                    "max_new_positions_per_cycle": 1,
                    "default_position_size_usd": 2_000,
                    "min_profit": "0.0003",
                    "profitability_horizon_hours": 24,
                    "max_rate_age_seconds": 600,
                    "max_loop_lag_ms": 2_000,
                    "max_clock_skew_ms": 2_000,
                },
                "risk": {"max_loop_lag_s": 2, "max_clock_skew_s": 2},
            }
        )
        async with AsyncExitStack() as stack:
            clients: dict[str, BaseExchangeClient] = {}
            for name in names:
                client = self.venues[name].client(state_directory=self.home / "ids", command_timeout_s=6.0, max_book_age_s=6.0)
                stack.push_async_callback(client.disconnect)
                await client.connect()
                clients[name] = client
            journal = Journal.open(sqlite_url(self.home / BOT_JOURNAL))
            stack.callback(journal.close)
            (bot,) = await stack.enter_async_context(
                assembled([config], {"demo": clients}, journal, self.runtime, environment="demo", folder=self.home)
            )
            assert isinstance(bot.strategy, FundingArbitrage)
            for client in clients.values():
                for symbol in BOT_SYMBOLS:
                    with contextlib.suppress(LookupError):
                        await client.ws_manager.prepare_market_feed(client.instruments.get(symbol))
            while True:
                await bot.strategy.run_cycle()
                await self.runtime.clock.sleep(BOT_EVERY_S)


def _rate(units: int) -> Decimal:
    return Decimal(units) / UNIT


@asynccontextmanager
async def demo_world(
    runtime: Runtime, home: Path, *, seed: int, data: Path | None = None, venues: Sequence[str] = ()
) -> AsyncIterator[DemoWorld]:
    """Serve every dialect (or those named) on loopback until the block ends. The home keeps nothing of an earlier demo.

    Raises:
        RecordingError: `data` lacks a recording.
    """
    _empty(home)
    names = [name for name in (venues or dialects.names()) if name in dialects.names()]
    rng = random.Random(f"demo-{seed}")  # noqa: S311 - a simulation
    start_ns = runtime.clock.time_ns()
    replay: Replay | None = None
    absent: Sequence[str] = ()
    if data is not None:
        replay = Replay(data, [_profile(name)[1] for name in names], start_ns)
        absent = [name for name in names if not replay.symbols(name)]
    listings, profiles = {}, []
    for name in names:
        listings[name], profile = _profile(name, without=RECORDED if name in absent else ())
        profiles.append(profile)
    world = World(
        seed, profiles, start_ns, scenario=Scenario(edges=EDGES, jumps=0.0), params=parameters(), history_hours=(PAST_DAYS + 1) * 24
    )
    async with AsyncExitStack() as stack:
        ready: dict[str, ReadyVenue] = {}
        markets: list[Moved] = []
        for name in names:
            venue, mine = _venue(name, listings[name], world, runtime, seed, replay)
            ready[name] = venue
            markets += mine
            _begin(venue, mine, world, rng, start_ns)
            await stack.enter_async_context(venue.server)
        market = SlowMarket(world, markets, runtime.clock, rng, replay)
        moving = asyncio.create_task(market.run(), name="demo-market")
        stack.push_async_callback(_ended, moving)
        config = ServiceConfig.parse(
            {
                "interval_s": COLLECT_EVERY_S,
                "stale_after_s": 60,
                "backfill_days": 0,
                "venues": {name: {"environment": v.environment, "endpoints": v.endpoints} for name, v in ready.items()},
            }
        )
        found = DemoWorld(runtime, home, world, ready, market, config, seed)
        found.journals.append(sqlite_url(home / BOT_JOURNAL))
        found.notes.append(f"{len(markets)} simulated markets on {len(ready)} venues, seed {seed}; nothing of this is real")
        if replay is not None:
            found.notes += replay.notes
        yield found


def _empty(home: Path) -> None:
    """What an earlier demo left, by name: nothing else is touched."""
    for pattern in ("perpkit.db*", f"{BOT_JOURNAL}*"):
        for old in home.glob(pattern):
            old.unlink()
    shutil.rmtree(home / "ids", ignore_errors=True)


def _profile(name: str, *, without: Collection[str] = ()) -> tuple[dict[str, Any], VenueProfile]:
    """(asset -> the market as the dialect lists it, the venue in the world's terms)."""
    kind, character = dialects.get(name), CHARACTERS.get(name, Character())
    markets, listings = {}, []
    for asset in ASSETS:
        if name in asset.absent or asset.name in without:
            continue
        label, tick, step, tokens = grid(asset, name)
        market = kind.listing(label, tick_size=tick, step_size=step)
        markets[asset.name] = market
        listings.append(Listing.of(market, asset.name, tokens=tokens, significant_figures=kind.significant_figures))
    profile = VenueProfile(
        name,
        tuple(listings),
        funding_interval_hours=character.interval_hours,
        premium=character.premium,
        depth_factor=character.depth,
    )
    return markets, profile


def _venue(
    name: str, markets: dict[str, Any], world: World, runtime: Runtime, seed: int, replay: Replay | None
) -> tuple[ReadyVenue, list[Moved]]:
    recorded = replay.symbols(name) if replay is not None else []
    funding: FundingSource = world.funding(name)
    if replay is not None and recorded:
        funding = MixedFunding(funding, replay.funding(name), recorded)
    venue = build_venue(dialects.get(name), runtime, markets, deposit=DEPOSIT, seed=seed, funding=funding)
    profile = world.venues[name]
    hot = set(BOT_SYMBOLS) if name in BOT_VENUES else set()
    if replay is not None and recorded:
        replay.attach(name, venue.exchange)
    moved = [
        Moved(name, venue.dialect, listing, funding, hot=listing.asset in hot, recorded=listing.symbol in recorded)
        for listing in profile.listings
    ]
    return venue, moved


def _begin(venue: ReadyVenue, markets: Sequence[Moved], world: World, rng: random.Random, now_ns: int) -> None:
    """Prices, the crowd's positions and the past of one venue."""
    exchange = venue.exchange
    crowd = venue.dialect.open_account(CROWD_DEPOSIT).account
    size = Decimal(str(CHARACTERS.get(venue.name, Character()).size))
    by_name: dict[str, Asset] = {asset.name: asset for asset in ASSETS}
    for market in markets:
        ts_ns = max(exchange.now_ns, now_ns)
        if not market.recorded:
            state = world.state(venue.name, market.symbol, now_ns)
            exchange.set_mark(ts_ns, market.symbol, state.mark, state.index)
            exchange.set_levels(ts_ns, market.symbol, state.book.bids, state.book.asks)
        sides = [[(price, size) for price, size, _ in exchange.depth(market.symbol, side)] for side in (Side.BUY, Side.SELL)]
        interest = Decimal(by_name[market.listing.asset].interest_usd) * size * Decimal(str(round(rng.uniform(0.6, 1.4), 3)))
        volume = interest * TURNOVER * Decimal(str(round(rng.uniform(0.5, 1.6), 3)))
        give_past(market, crowd, interest, volume, now_ns - PAST_DAYS * 24 * NS_PER_HOUR, now_ns, rng)
        exchange.set_levels(exchange.now_ns, market.symbol, *sides)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
