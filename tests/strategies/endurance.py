"""Days of simulated time with a storm of faults: bots open, hold and close over and over; nothing may leak, stick or stay unexplained.

    python -m tests.strategies.endurance --minutes 30
    python -m tests.strategies.endurance --hours 6 --seed 3 --venues okx,paradex

The whole stack on virtual time: dialects of three venues, real clients, journal on disk, engine, strategy. Rates follow tides that differ
between venues, so that pairs have a reason to be opened and one to be closed; every few minutes something breaks for a while. At the end
(of so many real minutes, or simulated hours) all pairs are closed and the accounts of the exchanges must be explained to the cent by the
ledgers. Prints a line per simulated hour and exits with 1 when something does not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import math
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from database.connect import sqlite_url
from database.journal import Journal
from database.records import HoldingRecord, HoldingState, PairRecord, PairState
from exchange_clients import venues as registry
from exchange_clients.base_client import BaseExchangeClient
from exchange_clients.model import NS_PER_HOUR, NS_PER_S
from exchange_simulator import dialects, simloop
from exchange_simulator.core.funding import PostedFunding
from exchange_simulator.core.types import UNIT, money
from exchange_simulator.faults import FaultPlan, parse_fault
from exchange_simulator.ready import MARKETS, ReadyVenue, build_venue
from exchange_simulator.simloop import Simulation
from perpkit.bot.assemble import Bots, assembled
from perpkit.bot.config import BotConfig, parse
from strategies.execution import ledger
from strategies.execution.states import ACTIVE
from tests.strategies.stack import commands_of

VENUES = ("hyperliquid", "lighter", "okx")
PAIRED, GRIDDED = ("BTC", "ETH"), "SOL"
BASES = (*PAIRED, GRIDDED)
DEPOSIT = Decimal(100_000)
TICK_S = 1.0
TIDE_HOURS = 5.0
EDGE = 0.0006
"""Of the tide per hour and venue: pairs earn their costs back within hours."""
WEATHER_S = 600.0
STUCK_S = 1_800.0
"""A pair may be at work, or in ALERT without a human, for so long."""
WARM_UP_HOURS = 6
LEAK_KIB_PER_HOUR = 1_024.0
CENT = Decimal("0.01")
TROUBLES = (
    "lost_ack",
    "lost_request",
    "slow delay=1.5",
    "server_error",
    "rate_limited retry_after=2",
    "late_fill delay=1",
    "duplicate_fill delay=0.3",
    "out_of_order_fills delay=0.5",
    "silent_socket",
    "accept_then_close delay=1",
    "sequence_gap",
    "garbage",
    "frozen_stream lasting=8",
)
ON_COMMANDS = ("lost_ack", "lost_request", "slow", "server_error", "rate_limited")


class Failure(AssertionError):
    """What did not hold."""


@dataclass(slots=True)
class Sample:
    """One simulated hour."""

    hour: int
    rss_kib: int
    objects: int
    tasks: int


@dataclass
class Endurance:
    """One run."""

    sim: Simulation
    folder: Path
    names: Sequence[str]
    seed: int
    ends: Callable[[float], bool]
    """Called with the simulated hours that have passed; True ends the run."""
    rng: random.Random = field(init=False)
    venues: dict[str, ReadyVenue] = field(default_factory=dict)
    funding: dict[str, PostedFunding] = field(default_factory=dict)
    prices: dict[str, float] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    happened: Counter[str] = field(default_factory=Counter)
    began_ns: int = 0

    def __post_init__(self) -> None:
        self.rng = random.Random(f"endurance-{self.seed}")
        self.prices = {base: float(MARKETS[base][2]) for base in BASES}
        self.began_ns = self.sim.runtime.clock.time_ns()

    @property
    def hours(self) -> float:
        return (self.sim.runtime.clock.time_ns() - self.began_ns) / NS_PER_HOUR

    # ---- the world

    async def market(self) -> None:
        """Prices walk together; every venue's book follows with a little of its own."""
        while True:
            for base in BASES:
                self.prices[base] *= math.exp(self.rng.gauss(0, 0.00003))
                for venue in self.venues.values():
                    own = self.prices[base] * (1 + self.rng.gauss(0, 0.00002))
                    venue.set_price(base, Decimal(own).quantize(MARKETS[base][0]))
            await asyncio.sleep(TICK_S)

    async def tides(self) -> None:
        """Each venue's rate of each asset rises and falls, not in step with the others."""
        while True:
            for i, (name, venue) in enumerate(self.venues.items()):
                for k, base in enumerate(BASES):
                    market = venue.exchange.markets[venue.markets[base].symbol]
                    phase = 2 * math.pi * (self.hours / TIDE_HOURS + i / len(self.venues) + k / len(BASES))
                    hourly = EDGE * math.sin(phase) * market.spec.funding_interval_ns / NS_PER_HOUR
                    self.funding[name].post(venue.markets[base].symbol, round(hourly * 1e9) * (UNIT // 10**9))
            await asyncio.sleep(60)

    async def weather(self) -> None:
        """Something breaks at one venue, and is well again two minutes later."""
        while True:
            await asyncio.sleep(self.rng.expovariate(1 / WEATHER_S))
            name = self.rng.choice(list(self.venues))
            venue = self.venues[name]
            if self.rng.random() < 0.3:
                assert venue.server.sim_host is not None
                self.happened["connections reset"] += 1
                venue.server.sim_host.drop_connections()
                continue
            trouble = self.rng.choice(TROUBLES)
            kind = trouble.split()[0]
            self.happened[kind] += 1
            line = f"{trouble} at=0 times={self.rng.choice((1, 1, 2, 4))}"
            if kind == "frozen_stream":
                line = f"{trouble} at=0 times=0"
            elif kind in ON_COMMANDS and self.rng.random() < 0.7:
                line += f" where={commands_of(name)}"
            plan = FaultPlan([parse_fault(line)], venue.dialect.now_ns)
            venue.dialect.faults = plan
            plan.attach(venue.exchange)
            await asyncio.sleep(120)
            calm = FaultPlan([], venue.dialect.now_ns)
            venue.dialect.faults = calm
            calm.attach(venue.exchange)

    # ---- what must hold

    async def watch(self, bots: Bots) -> None:
        """A sample each simulated hour; a pair that is stuck ends the run."""
        hour = 0
        while True:
            await asyncio.sleep(60)
            now_ns = self.sim.runtime.clock.time_ns()
            for bot in bots:
                for runner in bot.engine.pairs.values():
                    age_s = (now_ns - runner.record.updated_at) / NS_PER_S
                    if (runner.state in ACTIVE or runner.state is PairState.ALERT) and age_s > STUCK_S:
                        raise Failure(f"{runner.record.pair_id} is {runner.state} for {age_s:.0f} s: {runner.record.reason}")
            if self.hours >= hour + 1:
                hour = int(self.hours)
                for venue in self.venues.values():
                    venue.dialect.received.clear()  # what a dialect remembers of every request would hide what a bot forgets to forget
                gc.collect()
                self.samples.append(Sample(hour, rss_kib(), len(gc.get_objects()), len(asyncio.all_tasks())))
                closed = sum(p.state is PairState.CLOSED for p in bots.journal.pairs())
                said = self.samples[-1]
                print(f"hour {hour}: {closed} pairs closed, {said.rss_kib} KiB, {said.objects} objects, {said.tasks} tasks", flush=True)
                if self.ends(self.hours):
                    return

    async def close_all(self, bots: Bots) -> None:
        """What is still held is closed in calm weather: grids by their strategy, pairs when nothing opens new ones any more."""
        for bot in bots:
            for holding_id in set(bot.strategy.open_owners()) - set(bot.engine.pairs):
                await bot.strategy.begin_close(holding_id, "the end of the run")
        await asyncio.sleep(180)
        for bot in bots:
            await bot.strategy.stop()
        await asyncio.sleep(120)
        for bot in bots:
            for runner in list(bot.engine.pairs.values()):
                if runner.state is PairState.HEDGED:
                    runner.close("the end of the run")
            async with asyncio.timeout(600):
                await asyncio.gather(*(r.until_rest() for r in bot.engine.pairs.values()))
            left = {r.record.pair_id: r.record.reason for r in bot.engine.pairs.values() if r.state is not PairState.CLOSED}
            if left:
                raise Failure(f"not closed at the end: {left}")
        if still := {h.holding_id: h.reason for h in bots.journal.holdings() if h.state is not HoldingState.CLOSED}:
            raise Failure(f"holdings not closed at the end: {still}")

    async def explain(self, bots: Bots, clients: dict[str, BaseExchangeClient]) -> None:
        """What each exchange says an account gained is what the ledgers of its pairs add up to."""
        journal = bots.journal
        pairs, holdings = journal.pairs(), journal.holdings()
        explained = dict.fromkeys(self.venues, Decimal(0))
        owners: list[PairRecord | HoldingRecord] = [*pairs, *holdings]
        for owner in owners:
            await ledger.book_funding(owner, clients, next(iter(bots)).engine.journal, self.sim.runtime.clock.time_ns())
            for part in _result(journal, owner).venues:
                explained[part.venue] += part.total
        for name, venue in self.venues.items():
            gained = money(venue.exchange.equity(venue.account.account)) - DEPOSIT
            if abs(gained - explained[name]) >= CENT:
                raise Failure(f"{name} shows {gained}, the ledgers of {len(pairs)} pairs explain {explained[name]}")
            print(f"{name}: {gained:.4f} gained, explained to {abs(gained - explained[name]):.6f}")
        trips = sum(len(journal.fills(h.holding_id)) for h in holdings)
        print(f"{len(holdings)} holdings of the grid with {trips} fills")
        print(f"{len(pairs)} pairs, {sum(p.opened_at is not None for p in pairs)} hedged; troubles: {dict(self.happened.most_common())}")

    def check_leaks(self) -> None:
        """Memory and objects after the warm-up: the slope of a line through the samples."""
        after = [s for s in self.samples if s.hour > WARM_UP_HOURS]
        if len(after) < WARM_UP_HOURS:
            print("too short to speak of leaks")
            return
        slope = fitted_slope([s.hour for s in after], [s.rss_kib for s in after])
        objects = fitted_slope([s.hour for s in after], [s.objects for s in after])
        print(f"after the warm-up: {slope:.1f} KiB and {objects:.0f} objects more each simulated hour")
        if slope > LEAK_KIB_PER_HOUR:
            raise Failure(f"memory grows by {slope:.0f} KiB each simulated hour")

    # ---- the run

    async def run(self) -> None:
        async with AsyncExitStack() as stack:
            clients: dict[str, BaseExchangeClient] = {}
            for name in self.names:
                kind = dialects.get(name)
                markets = {b: kind.listing(b, tick_size=MARKETS[b][0], step_size=MARKETS[b][1]) for b in BASES}
                self.funding[name] = PostedFunding()
                venue = build_venue(
                    kind, self.sim.runtime, markets, deposit=DEPOSIT, seed=self.seed, funding=self.funding[name], network=self.sim.network
                )
                for base in BASES:
                    venue.set_price(base, MARKETS[base][2])
                await stack.enter_async_context(venue.server)
                self.venues[name] = venue
                clients[name] = venue.client(state_directory=self.folder / "ids")
                await clients[name].connect()
                stack.push_async_callback(clients[name].disconnect)
            world = [asyncio.create_task(task) for task in (self.market(), self.tides(), self.weather())]
            stack.push_async_callback(_end, world)
            journal = Journal.open(sqlite_url(self.folder / "journal.db"))
            stack.callback(journal.close)
            async with assembled(bot_configs(self.names), {"main": clients}, journal, self.sim.runtime, environment="demo") as bots:
                cycles = asyncio.create_task(bots.run())
                watching = asyncio.create_task(self.watch(bots))
                await asyncio.wait({cycles, watching}, return_when=asyncio.FIRST_COMPLETED)
                bots.ask_to_stop()
                await cycles
                await watching
                world[2].cancel()
                await asyncio.sleep(180)
                await self.close_all(bots)
                await asyncio.sleep(60)
                await self.explain(bots, clients)
        self.check_leaks()


def bot_configs(names: Sequence[str]) -> list[BotConfig]:
    """Small positions, quick to enter and to leave: pairs over all venues, and a grid beside them on the first one's account."""
    pairs = {
        "symbols": list(PAIRED),
        "max_positions": 3,
        "default_position_size_usd": 1000,
        "min_profit": 0.0001,
        "profitability_horizon_hours": 8,
        "execution": {"max_failed_opens": 1_000_000, "failed_open_budget_usd": 1_000_000, "failed_open_cooldown_seconds": 60},
        "risk_config": {"min_hold_hours": 1, "max_position_age_hours": 6},
    }
    grid = {
        "exchange": names[0],
        "symbols": [GRIDDED],
        "grid_step": "0.1",
        "take_profit": "0.1",
        "order_notional_usd": "300",
        "max_orders": 8,
        "wait_time": 20,
    }
    return [
        parse({"strategy": "funding_arbitrage", "venues": list(names), "parameters": pairs}),
        parse({"strategy": "grid", "venues": [names[0]], "parameters": grid}),
    ]


def _result(journal: Journal, owner: PairRecord | HoldingRecord) -> ledger.PairResult:
    name = owner.pair_id if isinstance(owner, PairRecord) else owner.holding_id
    return ledger.result(owner, journal.intents(name), journal.fills(name), journal.funding(name))


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def rss_kib() -> int:
    """Resident memory of this process."""
    with open("/proc/self/statm", encoding="ascii") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def fitted_slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Least squares."""
    mx, my = sum(x) / len(x), sum(y) / len(y)
    return sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / sum((a - mx) ** 2 for a in x)


def main() -> int:
    parser = argparse.ArgumentParser(description="Bots through days of simulated time and trouble.")
    parser.add_argument("--minutes", type=float, default=30.0, help="real minutes")
    parser.add_argument("--hours", type=float, help="simulated hours, instead")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--venues", default=",".join(VENUES))
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    names = options.venues.split(",")
    for name in names:
        registry.get(name)
    until = time.monotonic() + options.minutes * 60

    wanted: float | None = options.hours

    def ends(hours: float) -> bool:
        return time.monotonic() >= until if wanted is None else hours >= wanted

    with tempfile.TemporaryDirectory(prefix="endurance-") as folder:

        async def inside(sim: Simulation) -> None:
            await Endurance(sim, Path(folder), names, options.seed, ends).run()

        try:
            simloop.run(inside, seed=options.seed)
        except Failure as e:
            print(f"failed: {e}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
