"""What lasts for hours or breaks in an unexpected way: exits go on, nothing dies without a word, and watchers hold up nobody."""

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

from database.records import HoldingState, PairState
from exchange_clients.model import Side
from strategies.execution.desk import Ticket
from tests.strategies.desk_stack import DeskStack, run_desk, until
from tests.strategies.stack import Stack, commands_of, run_stack

D = Decimal
HALF_A_DAY = 1_500
"""Tries in a row, ten to thirty seconds apart."""


def test_e18_an_exit_goes_on_after_a_pause_of_half_a_day(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        record = await s.open()
        assert s.engine is not None
        dialect: Any = s.venues["paradex"].dialect
        dialect.system_status = "cancel_only"
        closing = asyncio.create_task(s.close(record.pair_id))
        await asyncio.sleep(5)
        for trader in s.engine.pairs[record.pair_id].legs.values():
            trader._waits = trader.market.pauses = HALF_A_DAY
        await asyncio.sleep(90)
        assert s.engine.pairs[record.pair_id].state is PairState.CLOSING, s.engine.pairs[record.pair_id].record.reason
        dialect.system_status = "ok"
        assert (await closing).state is PairState.CLOSED
        assert set(s.positions().values()) == {D(0)}

    run_stack(tmp_path, main, names=("hyperliquid", "paradex"))


def test_e20_a_cancel_and_a_stop_are_asked_for_also_after_half_a_day(tmp_path: Path) -> None:
    async def main(d: DeskStack) -> None:
        holding = await d.open(sign=1)
        await (await holding.place(Ticket(side=Side.BUY, quantity=D("0.01")))).ended()
        oco = await d.desk.emulated.oco(holding, quantity=D("0.01"), take_profit=D(103_000), stop=D(98_000), at_venue=False)
        order = await holding.place(Ticket(side=Side.BUY, quantity=D("0.001"), price=D(90_000)))
        await asyncio.sleep(2)
        d.venue.faults(f"server_error where={commands_of(d.name)} times=0")
        holding.share.proofs[order.client_order_id]._cancels = HALF_A_DAY
        order.cancel()
        for role in ("exit", "tp"):
            oco._denied[role] = (HALF_A_DAY, "")
            oco._deny(role, "the venue cannot be reached")
        await asyncio.sleep(20)
        d.venue.calm()
        await until(lambda: not order.live)
        d.price(D(97_500))
        assert await asyncio.wait_for(oco.ended(), 60) == "all of it is out"
        assert d.position == holding.own == 0

    run_desk(tmp_path, main)


def test_an_observer_that_fails_holds_up_nothing(tmp_path: Path) -> None:
    def fail(event: str, owner: str, facts: dict[str, object]) -> None:
        raise KeyError(event)

    async def main(d: DeskStack) -> None:
        d.s.story.hook = fail
        holding = await d.open(sign=1)
        await (await holding.place(Ticket(side=Side.BUY, quantity=D("0.01")))).ended()
        d.venue.host.drop_connections()
        await asyncio.sleep(5)
        assert (await holding.close("done")).state is HoldingState.CLOSED
        assert d.position == 0

    async def pair(s: Stack) -> None:
        s.story.hook = fail
        record = await s.open()
        assert record.state is PairState.HEDGED
        assert (await s.close(record.pair_id)).state is PairState.CLOSED
        assert set(s.positions().values()) == {D(0)}

    (tmp_path / "pair").mkdir()
    run_desk(tmp_path, main)
    run_stack(tmp_path / "pair", pair)
