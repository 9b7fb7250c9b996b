"""E9 for emulated orders: killed at any write of the journal, started again: protection is back first, and nothing leaves twice."""

import asyncio
from collections.abc import Callable, Coroutine
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from exchange_clients.model import Side
from strategies.execution.desk import Holding
from strategies.execution.emulated import EmulatedOrder
from strategies.execution.emulated.runner import PREFIX, Saved
from tests.strategies.desk_stack import DeskStack, KillAt, run_desk, until
from tests.strategies.stack import accepted_by_client_id
from tests.strategies.test_emulated import long, never_short

D = Decimal
POINTS = 70
Life = Callable[[DeskStack], Coroutine[Any, Any, None]]


async def both_sides_fill_in_part(d: DeskStack) -> None:
    """The take-profit fills in part on a thin book, the price falls, the stop does the rest in two parts."""
    holding = await long(d)
    oco = await d.desk.emulated.oco(holding, quantity=D("0.01"), take_profit=D(103_000), stop=D(98_000))
    await asyncio.sleep(5)
    d.price(D(103_100), size="0.001", levels=2)
    await asyncio.sleep(8)
    d.price(D(97_500), size="0.003", levels=2)
    await asyncio.sleep(8)
    d.price(D(97_400))
    await asyncio.wait_for(oco.ended(), 60)


async def entry_fills_in_part(d: DeskStack) -> None:
    """The entry fills in part, the exits are made for that part, then the price goes to the stop."""
    holding = await d.open(sign=1)
    bracket = await d.desk.emulated.bracket(
        holding, side=Side.BUY, quantity=D("0.02"), price=D(100_050), take_profit=D(104_000), stop=D(97_000), entry_s=6
    )
    await until(lambda: bracket.filled.get("entry", D(0)) > 0)
    await asyncio.sleep(10)
    d.price(D(96_500))
    await asyncio.wait_for(bracket.ended(), 60)


def left(holding: Holding) -> Decimal:
    return sum((o.remaining for o in holding.orders(live=True) if "/stop" in o.tag), D(0))


def restored(d: DeskStack, holding: Holding) -> list[EmulatedOrder]:
    """What the journal holds of emulated orders that are not over: all of it lives again, and none acted before it was on disk."""
    assert d.s.journal is not None
    states = {r.key.removeprefix(PREFIX): msgspec.json.decode(r.value, type=Saved) for r in d.s.journal.states("test", "main")}
    acted = {o.tag.partition("/")[0] for o in holding.orders() if "/" in o.tag}
    assert acted <= states.keys()
    living = {name for name, saved in states.items() if saved.over is None}
    assert living == d.desk.emulated.orders.keys()
    return [o for o in d.desk.emulated.orders.values() if o.over is None]


async def killed_and_restarted(d: DeskStack, life: Life, point: int) -> bool:
    """True when the point was reached."""
    kill = KillAt(point)
    d.s.story.hook = kill
    seen = never_short(d)
    living = asyncio.create_task(life(d))
    await asyncio.wait({living}, timeout=90)
    living.cancel()
    await asyncio.gather(living, return_exceptions=True)
    d.s.story.hook = None
    await d.down()
    d.price()
    await asyncio.sleep(20)
    before = d.position
    await d.up()
    await until(lambda: d.desk.entry_block() is None)
    assert d.position <= before, "a restart adds nothing"
    assert d.desk.holdings or before == 0
    for holding in d.desk.holdings.values():
        assert holding.own == d.position, "our account is the truth"
        protected = restored(d, holding)
        if holding.own > 0 and protected:
            await until(lambda h=holding: left(h) == h.own, 30)  # type: ignore[misc]
            d.price(D(96_000))
            for order in protected:
                await asyncio.wait_for(order.ended(), 60)
            assert holding.own == 0
        await holding.close("test")
    assert d.position == 0
    assert min(seen, default=D(0)) >= 0, "never sold more than was held"
    assert set(accepted_by_client_id(d.venue).values()) <= {1}
    return kill.dead


SOME = (3, 20, 33, 61)


@pytest.mark.parametrize("point", SOME)
@pytest.mark.parametrize("name", ["okx", "dydx"])
@pytest.mark.parametrize("life", [both_sides_fill_in_part, entry_fills_in_part])
def test_e09_e17_killed_at_a_write_protection_is_back_and_nothing_leaves_twice(tmp_path: Path, life: Life, name: str, point: int) -> None:
    async def main(d: DeskStack) -> None:
        if life is entry_fills_in_part:
            d.price(size="0.004", levels=2)
        await killed_and_restarted(d, life, point)

    run_desk(tmp_path, main, name=name)


@pytest.mark.soak
@pytest.mark.parametrize("point", [p for p in range(POINTS) if p not in SOME])
@pytest.mark.parametrize("name", ["okx", "dydx", "hyperliquid", "lighter"])
@pytest.mark.parametrize("life", [both_sides_fill_in_part, entry_fills_in_part])
def test_e09_e17_killed_at_every_other_write(tmp_path: Path, life: Life, name: str, point: int) -> None:
    async def main(d: DeskStack) -> None:
        if life is entry_fills_in_part:
            d.price(size="0.004", levels=2)
        await killed_and_restarted(d, life, point)

    run_desk(tmp_path, main, name=name)
