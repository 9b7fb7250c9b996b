"""The order desk over real clients and dialects on virtual time: one test per invariant, named after it."""

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from database.records import HoldingState, IntentState
from exchange_clients.model import Side, TimeInForce
from exchange_simulator.core.types import Side as SimSide
from strategies.execution.desk import Ticket
from tests.strategies.desk_stack import DeskStack, run_desk
from tests.strategies.stack import accepted_by_client_id

D = Decimal
NAMES = ("hyperliquid", "lighter", "okx", "dydx")


@pytest.mark.parametrize("name", NAMES)
def test_a_holding_trades_rests_reduces_and_closes(tmp_path: Path, name: str) -> None:
    async def main(d: DeskStack) -> None:
        holding = await d.open(sign=1)
        told: list[Decimal] = []
        holding.listen(lambda h: told.append(h.own))
        taken = await holding.place(Ticket(side=Side.BUY, quantity=D("0.01"), tag="in"))
        resting = await holding.place(Ticket(side=Side.BUY, quantity=D("0.02"), price=D(99_000), post_only=True, tag="rest"))
        await asyncio.wait_for(taken.ended(), 20)
        assert (taken.filled, taken.live, taken.state) == (D("0.01"), False, IntentState.SETTLED)
        assert holding.own == d.position == D("0.01") == told[-1]
        assert resting.live
        d.stranger_takes(SimSide.SELL, "5.005", D(98_000))
        await asyncio.sleep(5)
        assert resting.filled > 0
        assert holding.own == d.position
        exit_ = await holding.place(
            Ticket(side=Side.SELL, quantity=D("0.005"), price=D(98_500), time_in_force=TimeInForce.IOC, reduce_only=True)
        )
        await asyncio.wait_for(exit_.ended(), 20)
        d.price()
        record = await asyncio.wait_for(holding.close("test"), 60)
        assert record.state is HoldingState.CLOSED, record.reason
        assert d.position == 0
        assert set(accepted_by_client_id(d.venue).values()) == {1}

    run_desk(tmp_path, main, name=name)
