"""A bot whose journal is on PostgreSQL does, decides and records what it does with a file."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from database.connect import sqlite_url
from database.fallback import fallback_of
from database.journal import Journal
from database.records import PairState
from exchange_simulator.simloop import Simulation, run
from perpkit.bot.assemble import assembled
from perpkit.bot.config import load
from perpkit.bot.environments import Environment, surroundings
from tests.bot.test_environments import no_keys
from tests.postgres import Server

EXAMPLE = Path(__file__).parents[2] / "examples" / "bots" / "funding_arbitrage.yaml"


def lived(url: str, home: Path, *, cut: Server | None = None) -> dict[str, list[Any]]:
    """Fifteen seconds of the example bot in the demo world; `cut`: its database loses all connections in the middle."""

    async def main(sim: Simulation) -> dict[str, list[Any]]:
        with Journal.open(url, fallback=fallback_of(url, home)) as journal:
            bots = [load(EXAMPLE)]
            around = surroundings(Environment.DEMO, bots, sim.runtime, home=home, resolve=no_keys, network=sim.network, seed=7)
            async with around as s, assembled(bots, s.clients, journal, s.runtime, environment="demo", engine_class=s.engine_class) as made:
                life = asyncio.create_task(made.run())
                for _ in range(15):
                    await sim.runtime.clock.sleep(1)
                    if cut is not None:
                        cut.cut()
                made.ask_to_stop()
                await life
                assert not journal.degraded
                assert [c.config for c in journal.configs()] == [r.config for r in journal.runs()] == [bots[0].record]
                pairs = journal.pairs()
                of_pair = [getattr(journal, kind)(p.pair_id) for p in pairs for kind in ("intents", "orders", "fills", "funding", "ledger")]
                return {
                    "pairs": pairs,
                    "of pair": of_pair,
                    "decisions": journal.decisions(),
                    "states": journal.states("funding_arbitrage", "main"),
                }

    return run(main, seed=7)


def test_a_demo_bot_records_the_same_on_both(server_url: str, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    on_server, on_file = lived(server_url, tmp_path / "a"), lived(sqlite_url(tmp_path / "demo.db"), tmp_path / "b")
    assert [p.state for p in on_server["pairs"]] == [PairState.HEDGED]
    assert on_server == on_file


def test_a_bot_goes_on_over_a_server_that_restarts_every_second(postgres: Server, server_url: str, tmp_path: Path) -> None:
    found = lived(server_url, tmp_path, cut=postgres)
    assert [p.state for p in found["pairs"]] == [PairState.HEDGED]
    intents, _, fills, _, _ = found["of pair"]
    assert {f.intent_id for f in fills} <= {i.intent_id for i in intents}
    assert sum(f.quantity for f in fills) == 2 * found["pairs"][0].quantity
