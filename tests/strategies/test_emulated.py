"""Emulated orders over real clients and dialects on virtual time, also while acknowledgements and prices are lost."""

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from database.records import HoldingState
from exchange_clients.model import Side
from exchange_simulator.core.types import Side as SimSide
from strategies.execution.desk import Holding, Ticket
from strategies.execution.emulated import EmulatedOrder
from tests.strategies.desk_stack import DeskStack, run_desk, until
from tests.strategies.stack import accepted_by_client_id

D = Decimal
NAMES = ("okx", "dydx")
NATIVE = ("hyperliquid", "lighter")


async def long(d: DeskStack, quantity: str = "0.01") -> Holding:
    """A holding that has bought."""
    holding = await d.open(sign=1)
    order = await holding.place(Ticket(side=Side.BUY, quantity=D(quantity)))
    await asyncio.wait_for(order.ended(), 30)
    assert holding.own == D(quantity)
    return holding


def never_short(d: DeskStack) -> list[Decimal]:
    """The position after everything that happened at the venue."""
    seen: list[Decimal] = []
    d.venue.exchange.subscribe(lambda _: seen.append(d.position))
    return seen


def stops(order: EmulatedOrder) -> int:
    return len(order.holding.orders(tag=f"{order.order_id}/stop", live=True))


@pytest.mark.parametrize("at_venue", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_an_oco_leaves_by_its_stop(tmp_path: Path, name: str, at_venue: bool) -> None:
    async def main(d: DeskStack) -> None:
        holding = await long(d)
        seen = never_short(d)
        oco = await d.desk.emulated.oco(holding, quantity=D("0.01"), take_profit=D(103_000), stop=D(98_000), at_venue=at_venue)
        await until(lambda: len(holding.orders(live=True)) == 1)
        assert stops(oco) == at_venue
        await asyncio.sleep(5)
        d.price(D(97_500))
        assert await asyncio.wait_for(oco.ended(), 60) == "all of it is out"
        assert d.position == holding.own == 0
        assert min(seen) >= 0
        assert holding.orders(live=True) == []
        assert set(accepted_by_client_id(d.venue).values()) == {1}

    run_desk(tmp_path, main, name=name)


@pytest.mark.parametrize("at_venue", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_an_oco_leaves_by_its_take_profit(tmp_path: Path, name: str, at_venue: bool) -> None:
    async def main(d: DeskStack) -> None:
        holding = await long(d)
        seen = never_short(d)
        oco = await d.desk.emulated.oco(holding, quantity=D("0.01"), take_profit=D(103_000), stop=D(98_000), at_venue=at_venue)
        await until(lambda: len(holding.orders(live=True)) == 1)
        await asyncio.sleep(5)
        d.price(D(103_200))
        assert await asyncio.wait_for(oco.ended(), 60) == "all of it is out"
        assert d.position == holding.own == 0
        assert min(seen) >= 0
        sold = [o for o in holding.orders(tag=f"{oco.order_id}/tp") if o.filled]
        assert all(o.cost / o.filled >= D(103_000) for o in sold)
        assert holding.orders(live=True) == []

    run_desk(tmp_path, main, name=name)


@pytest.mark.parametrize("name", NAMES + NATIVE)
def test_a_bracket_enters_and_leaves_by_its_stop(tmp_path: Path, name: str) -> None:
    async def main(d: DeskStack) -> None:
        holding = await d.open(sign=1)
        bracket = await d.desk.emulated.bracket(holding, side=Side.BUY, quantity=D("0.02"), take_profit=D(104_000), stop=D(97_000))
        await until(lambda: holding.own == D("0.02"))
        await asyncio.sleep(5)
        assert len(holding.orders(live=True)) == (2 if name in NATIVE else 1)
        d.price(D(96_500))
        assert await asyncio.wait_for(bracket.ended(), 60) == "all of it is out"
        assert d.position == holding.own == 0
        assert holding.orders(live=True) == []
        assert set(accepted_by_client_id(d.venue).values()) == {1}
        assert (await holding.close("test")).state is HoldingState.CLOSED

    run_desk(tmp_path, main, name=name)


@pytest.mark.parametrize("name", ["okx", "hyperliquid"])
def test_a_trailing_stop_follows_and_never_goes_back(tmp_path: Path, name: str) -> None:
    async def main(d: DeskStack) -> None:
        holding = await long(d)
        trailing = await d.desk.emulated.trailing(holding, quantity=D("0.01"), fraction=D("0.01"), activation=D(101_000))
        await asyncio.sleep(5)
        assert stops(trailing) == 0
        for price in (101_500, 103_000, 102_500):
            d.price(D(price))
            await asyncio.sleep(8)
        assert stops(trailing) == 1
        assert holding.own == D("0.01")
        d.price(D(101_900))
        assert await asyncio.wait_for(trailing.ended(), 60) == "all of it is out"
        assert d.position == holding.own == 0

    run_desk(tmp_path, main, name=name)


@pytest.mark.parametrize("name", ["okx", "hyperliquid"])
def test_an_iceberg_shows_a_part_at_a_time(tmp_path: Path, name: str) -> None:
    async def main(d: DeskStack) -> None:
        holding = await d.open(sign=1)
        iceberg = await d.desk.emulated.iceberg(
            holding, side=Side.BUY, quantity=D("0.05"), display=D("0.01"), price=D(99_995), spread=D("0.3"), seed=7
        )
        shown: list[Decimal] = []
        holding.listen(lambda h: shown.append(h.working(Side.BUY)))
        for _ in range(12):
            await asyncio.sleep(3)
            d.stranger_takes(SimSide.SELL, "0.02", D(99_990))
            d.price()
        assert await asyncio.wait_for(iceberg.ended(), 60) == "all of it has traded"
        assert max(shown) <= D("0.013")
        assert d.position == holding.own == D("0.05")

    run_desk(tmp_path, main, name=name)
