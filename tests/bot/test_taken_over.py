"""Commands that act where no bot runs, beside a watchdog that may: one hand at a time, and each knows what the other did."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from database.connect import sqlite_url
from database.journal import Journal
from database.records import FillCause, PairState
from perpkit.bot.closing import taken_over
from perpkit.cli.failure import Failure
from perpkit.cli.options import Store
from perpkit.cli.recover import recover
from strategies.execution.ownership import Ownership
from strategies.risk import takeover
from strategies.risk.fence import Fence
from tests.risk.scene import Scene, run_scene
from tests.risk.test_watchdog import Dog, naked

D = Decimal


def test_e08_what_a_watchdog_sent_is_known_to_whoever_takes_a_dead_bots_positions_over(tmp_path: Path) -> None:
    async def main(s: Scene) -> None:
        pair_id = await naked(s)
        await s.stack.settle(11)
        await Dog(s.stack, tmp_path).dog.look()
        (sent,) = takeover.read(tmp_path)
        assert set(s.stack.positions().values()) == {D(0)}
        journal = Journal.open(sqlite_url(s.stack.folder / "journal.db"))
        clients = {name: truth.ready.client(runtime=s.stack.runtime) for name, truth in s.stack.venues.items()}
        for client in clients.values():
            await client.connect()
        async with taken_over(journal, clients, s.stack.runtime, Ownership(journal), "test", "main", tmp_path) as (engine, _):
            await engine.pairs[pair_id].until_rest()
        fills = journal.fills(pair_id)
        assert [(f.signed, f.kind) for f in fills] == [(D("0.01"), FillCause.TRADE), (D("-0.01"), FillCause.TRADE)]
        assert fills[1].client_order_id == sent.client_order_id
        assert [pair.state for pair in journal.pairs()] == [PairState.CLOSED]
        for client in clients.values():
            await client.disconnect()
        journal.close()

    run_scene(tmp_path, main)


def test_a_command_and_a_watchdog_never_act_at_once(tmp_path: Path) -> None:
    Journal.open(sqlite_url(tmp_path / "journal.db")).close()
    place = Store(home=tmp_path)
    fence = Fence(tmp_path)
    assert fence.take("grid:main is silent for 31 s")
    with pytest.raises(Failure, match="a watchdog acts just now: grid:main is silent"):
        recover(apply=True, store=place)
    fence.drop()
    assert recover(apply=True, store=place) == 0
    assert fence.held() is None
