"""The strategy of docs/writing_strategies.md trades in the demo as it stands there."""

from __future__ import annotations

import asyncio
import tomllib
from pathlib import Path
from typing import Any

import pytest

from database.connect import sqlite_url
from database.journal import Journal
from database.records import HoldingState
from exchange_simulator.simloop import Simulation, run
from perpkit.bot.assemble import assembled
from perpkit.bot.config import load
from perpkit.bot.environments import Environment, surroundings
from strategies import registry
from tests.bot.test_environments import no_keys

FOLDER = Path(__file__).parents[2] / "examples" / "strategies" / "dip"


def test_the_example_buys_a_dip_and_sells_the_rise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = tomllib.loads((FOLDER / "pyproject.toml").read_text(encoding="utf-8"))
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(registry, "OWN", {**registry.OWN, **told["project"]["entry-points"][registry.GROUP]})

    async def main(sim: Simulation) -> list[Any]:
        journal = Journal.open(sqlite_url(tmp_path / "demo.db"))
        bots = [load(FOLDER / "dip.yaml")]
        around = surroundings(Environment.DEMO, bots, sim.runtime, home=tmp_path, resolve=no_keys, network=sim.network, seed=7)
        try:
            async with around as s:
                for clients in s.clients.values():
                    for client in clients.values():
                        await client.connect()
                async with assembled(bots, s.clients, journal, s.runtime, environment="demo", engine_class=s.engine_class) as all_bots:
                    life = asyncio.create_task(all_bots.run())
                    async with asyncio.timeout(600):
                        while not journal.holdings(HoldingState.CLOSED):
                            await sim.runtime.clock.sleep(1)
                    all_bots.ask_to_stop()
                    await life
                    await all_bots.stop()
            return [(d.kind, d.rule) for d in journal.decisions()]
        finally:
            journal.close()

    decided = run(main, seed=7)
    assert decided[:2] == [("enter", "dip"), ("exit", "profit")]
