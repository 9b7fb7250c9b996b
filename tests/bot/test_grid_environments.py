"""One file of a grid, every environment: it enters, takes its profit and halts flat; only live reaches the venue."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
import yaml

from database.connect import sqlite_url
from database.journal import Journal
from database.records import HoldingState
from exchange_clients.model import NS_PER_HOUR, NS_PER_S
from exchange_simulator.simloop import EPOCH_NS, Simulation, run
from perpkit.backtest.runner import RunSpec, run_one
from perpkit.bot.assemble import Bots, assembled
from perpkit.bot.config import load
from perpkit.bot.environments import Environment, Surroundings, surroundings
from strategies.implementations.grid.state import Phase
from strategies.implementations.grid.strategy import Grid
from tests.bot.test_environments import keys_of, no_keys
from tests.strategies.stack import Stack, run_stack

VENUE = "hyperliquid"
YAML = """\
strategy: grid
account: main
venues:
  hyperliquid: {max_book_age_s: 5}
parameters:
  symbols: [BTC]
  grid_step: "0.1"
  take_profit: "0.1"
  order_notional_usd: "1000"
  max_orders: 3
  wait_time: 5
  check_interval_seconds: 5
  max_loop_lag_ms: 500
paper:
  balance_usd: 20000
  entry_latency_ms: 20
  report_latency_ms: 20
backtest:
  rates: coming
  venues:
    hyperliquid:
      deposit_usd: 20000
      markets:
        BTC:
          tick_size: "0.1"
          step_size: "0.00001"
          maker_fee: "0"
          taker_fee: "0.0002"
          candles: {file: candles.csv, interval_hours: 1}
          funding: {file: funding.csv, interval_hours: 1}
"""
Move = Callable[[str], None]


@dataclass
class Seen:
    """What a run left."""

    round_trips: int = 0
    phase: Phase = Phase.RUNNING
    kinds: set[str] = field(default_factory=set)
    holdings: list[HoldingState] = field(default_factory=list)
    environments: set[str] = field(default_factory=set)
    intents: int = 0


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "grid.yaml"
    path.write_text(YAML)
    return path


async def one_round_trip(bots: Bots, move: Move, settle: Callable[[float], Awaitable[None]], seconds: int) -> None:
    """Down to an entry, up to its take-profit, then somebody closes."""
    (bot,) = bots
    assert isinstance(bot.strategy, Grid)
    life = asyncio.create_task(bots.run())
    (grid,) = bot.strategy.grids.values()
    for second in range(seconds):
        await settle(1.0)
        if grid.state.round_trips:
            break
        if second % 4 == 3:
            move("1.004" if grid.state.own else "0.998" if second % 8 == 3 else "1")
    assert grid.state.holding_id, str(grid.status())
    await bot.strategy.begin_close(grid.state.holding_id, "the test is over")
    for _ in range(60):
        await settle(1.0)
        if grid.state.phase is not Phase.STOPPING:
            break
    bots.ask_to_stop()
    await life


async def live_through(
    around: Surroundings, file: Path, move: Move, settle: Callable[[float], Awaitable[None]], seconds: int = 120
) -> Seen:
    journal = Journal.open(sqlite_url(file.parent / around.environment.journal_file))
    try:
        async with assembled(
            [load(file)],
            around.clients,
            journal,
            around.runtime,
            environment=around.environment,
            engine_class=around.engine_class,
            folder=file.parent,
        ) as bots:
            await one_round_trip(bots, move, settle, seconds)
            await bots.stop()
            (grid,) = bots["grid:main"].strategy.grids.values()  # type: ignore[attr-defined]
            return Seen(
                round_trips=grid.state.round_trips,
                phase=grid.state.phase,
                kinds={d.kind for d in journal.decisions()},
                holdings=[h.state for h in journal.holdings()],
                environments={r.environment for r in journal.runs()},
                intents=sum(len(journal.intents(h.holding_id)) for h in journal.holdings()),
            )
    finally:
        journal.close()


def check(seen: Seen, environment: str) -> None:
    assert seen.round_trips >= 1
    assert seen.phase is Phase.HALTED
    assert {"enter", "stop", "halt"} <= seen.kinds
    assert set(seen.holdings) == {HoldingState.CLOSED}
    assert seen.environments == {environment}
    assert seen.intents >= 2


@pytest.mark.parametrize("environment", [Environment.LIVE, Environment.PAPER, Environment.SHADOW])
def test_the_file_runs_against_a_venue(file: Path, environment: Environment) -> None:
    async def main(stack: Stack) -> tuple[Seen, int, Decimal]:
        truth = stack.venues[VENUE]
        resolve = keys_of(stack) if environment is Environment.LIVE else no_keys
        ends = {VENUE: truth.ready.endpoints}

        def move(to: str) -> None:
            truth.ready.set_price("BTC", 100_000 * Decimal(to))

        move("1")
        async with surroundings(environment, [load(file)], stack.runtime, home=file.parent, resolve=resolve, endpoints=ends) as around:
            seen = await live_through(around, file, move, stack.settle)
        return seen, truth.commands(), truth.position()

    seen, commands, position = run_stack(file.parent / "stack", main, names=(VENUE,), start=False)
    check(seen, environment)
    assert (commands > 0) is (environment is Environment.LIVE)
    assert position == 0


def test_the_file_runs_in_the_demo(file: Path) -> None:
    async def main(sim: Simulation) -> Seen:
        async with surroundings(
            Environment.DEMO, [load(file)], sim.runtime, home=file.parent, resolve=no_keys, network=sim.network, seed=7
        ) as around:
            return await live_through(around, file, lambda to: None, sim.runtime.clock.sleep, 45)

    check(run(main, seed=7), "demo")


def test_the_file_runs_over_history(file: Path) -> None:
    hours = [EPOCH_NS + n * NS_PER_HOUR for n in range(6)]
    times = [datetime.fromtimestamp(ts // NS_PER_S, UTC).isoformat() for ts in hours]
    (file.parent / "candles.csv").write_text("date,open,high,low,close\n" + "".join(f"{t},100000,100500,99500,100000\n" for t in times))
    (file.parent / "funding.csv").write_text("date,funding_rate\n" + "".join(f"{t},0.0001\n" for t in times))
    spec = RunSpec(bot=yaml.safe_load(file.read_text()), data=str(file.parent), from_ns=hours[1], to_ns=hours[2])
    result = run_one(spec)
    assert result.decisions.get("enter: grid_step", 0) >= 2, result.decisions
