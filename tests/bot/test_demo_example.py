"""The first thing that a newcomer runs trades at once, on a machine that is busy too."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from database.connect import sqlite_url
from database.journal import Journal
from database.records import PairState
from exchange_clients.transport.loop_lag import LoopLag
from exchange_simulator.simloop import Simulation, run
from perpkit.bot.assemble import assembled
from perpkit.bot.config import load
from perpkit.bot.environments import Environment, surroundings
from tests.bot.test_environments import no_keys

EXAMPLE = Path(__file__).parents[2] / "examples" / "bots" / "funding_arbitrage.yaml"


def test_the_demo_of_the_example_opens_its_pair_within_fifteen_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The venues live on the bot's own loop there: each signature that they check makes it late."""

    async def busy(lag: LoopLag) -> None:
        while True:
            await lag._clock.sleep(0.02)
            lag._samples.append(0.12)

    monkeypatch.setattr(LoopLag, "run", busy)

    async def main(sim: Simulation) -> PairState:
        journal = Journal.open(sqlite_url(tmp_path / "demo.db"))
        bots = [load(EXAMPLE)]
        around = surroundings(Environment.DEMO, bots, sim.runtime, home=tmp_path, resolve=no_keys, network=sim.network, seed=7)
        try:
            async with around as s, assembled(bots, s.clients, journal, s.runtime, environment="demo", engine_class=s.engine_class) as made:
                life = asyncio.create_task(made.run())
                await sim.runtime.clock.sleep(15)
                (pair,) = journal.pairs()
                made.ask_to_stop()
                await life
                assert sum(fill.quantity for fill in journal.fills(pair.pair_id)) == 2 * pair.quantity, "every slice of both legs"
                return pair.state
        finally:
            journal.close()

    assert run(main, seed=7) is PairState.HEDGED
