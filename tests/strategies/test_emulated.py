"""Emulated orders over real clients and dialects on virtual time, also while acknowledgements and prices are lost."""

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from database.records import HoldingState
from exchange_clients.model import Side
from exchange_simulator.core.types import Side as SimSide
from strategies.execution.desk import Holding, Ticket, TicketRefused
from strategies.execution.emulated import EmulatedOrder
from tests.strategies.desk_stack import DeskStack, Halted, run_desk, until
from tests.strategies.stack import accepted_by_client_id, commands_of

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


def test_e20_a_trailing_stop_of_a_few_ticks_does_not_move_without_end(tmp_path: Path) -> None:
    """Its level lies between two prices that the venue takes."""

    async def main(d: DeskStack) -> None:
        holding = await long(d)
        d.price(D(100_037), half_bps="0.01")
        await asyncio.sleep(3)
        trailing = await d.desk.emulated.trailing(holding, quantity=D("0.01"), ticks=25)
        await asyncio.sleep(60)
        assert len(holding.orders(tag=f"{trailing.order_id}/stop")) <= 2

    run_desk(tmp_path, main, name="hyperliquid")


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


@pytest.mark.parametrize("kind", ["lost_ack", "lost_request"])
@pytest.mark.parametrize("name", ["okx", "dydx"])
def test_e02_e17_an_oco_under_lost_answers_leaves_once(tmp_path: Path, name: str, kind: str) -> None:
    async def main(d: DeskStack) -> None:
        holding = await long(d)
        seen = never_short(d)
        d.venue.faults(f"{kind} where={commands_of(name)} probability=0.5 times=0 lasting=90")
        oco = await d.desk.emulated.oco(holding, quantity=D("0.01"), take_profit=D(103_000), stop=D(98_000))
        await asyncio.sleep(20)
        d.price(D(103_100), size="0.001", levels=2)
        await asyncio.sleep(10)
        d.price(D(97_500))
        await asyncio.sleep(60)
        d.venue.calm()
        assert await asyncio.wait_for(oco.ended(), 120) == "all of it is out"
        assert d.position == holding.own == 0
        assert min(seen) >= 0
        assert set(accepted_by_client_id(d.venue).values()) == {1}

    run_desk(tmp_path, main, name=name)


@pytest.mark.parametrize("foreign", ["0", "0.02"])
def test_e11_e17_nothing_foreign_leaves_with_an_oco_also_where_reduce_only_is_ignored(tmp_path: Path, foreign: str) -> None:
    """The take-profit fills in part, the price falls through the stop before anybody can react, and goes back."""

    async def main(d: DeskStack) -> None:
        client = d.s.clients[d.name]
        if D(foreign):
            await client.place_limit_order("BTC", D(foreign), D(100_500), Side.BUY, time_in_force="IOC", wait_for="terminal")
        holding = await long(d)
        d.venue.faults("reduce_only_ignored", f"duplicate_fill delay=0.2 times=0 account={d.venue.account.account}")
        seen = never_short(d)
        oco = await d.desk.emulated.oco(holding, quantity=D("0.01"), take_profit=D(103_000), stop=D(98_000))
        await until(lambda: stops(oco) == 1)
        d.price(D(103_100), size="0.002", levels=1)
        await asyncio.sleep(0.4)
        for price in (97_500, 103_500, 97_000):
            d.price(D(price), size="0.002", levels=1)
            await asyncio.sleep(0.05)
        d.price(D(97_000))
        assert await asyncio.wait_for(oco.ended(), 60) == "all of it is out"
        assert holding.own == 0
        assert d.position == D(foreign) == min(seen)

    run_desk(tmp_path, main, name="okx")


@pytest.mark.parametrize("name", ["okx", "dydx"])
def test_a_stop_watched_from_here_is_not_pulled_blindly_and_is_looked_at_when_the_price_is_back(tmp_path: Path, name: str) -> None:
    async def main(d: DeskStack) -> None:
        holding = await long(d)
        oco = await d.desk.emulated.oco(holding, quantity=D("0.01"), take_profit=D(103_000), stop=D(98_000), at_venue=False)
        await until(lambda: len(holding.orders(live=True)) == 1)
        d.venue.host.set_black_hole(True)
        d.price(D(97_000))
        await until(lambda: bool(d.s.story.of("protection.blind")), 20)
        await asyncio.sleep(10)
        assert d.s.story.of("order.send")[-1]["tag"] == f"{oco.order_id}/tp", "nothing was sent on a price that is not known"
        d.venue.host.set_black_hole(False)
        assert await asyncio.wait_for(oco.ended(), 90) == "all of it is out"
        assert d.s.story.of("protection.sees")
        assert d.position == 0

    run_desk(tmp_path, main, name=name)


def test_e16_a_stop_that_nobody_takes_puts_the_holding_in_alert(tmp_path: Path) -> None:
    async def main(d: DeskStack) -> None:
        holding = await long(d)
        oco = await d.desk.emulated.oco(holding, quantity=D("0.01"), take_profit=D(103_000), stop=D(98_000), at_venue=False)
        await asyncio.sleep(3)
        market = d.venue.exchange.markets[d.venue.symbol].spec
        d.price(D(97_000), size="0.001", levels=1)
        d.venue.exchange.set_levels(d.venue.now(), d.venue.symbol, [(market.to_ticks(D(80_000)), 1)], [(market.to_ticks(D(97_010)), 1)])
        await asyncio.wait_for(oco.ended(), 300)
        assert not oco.saved.good
        assert holding.state is HoldingState.ALERT
        assert f"own {holding.own}" in holding.record.reason
        assert d.s.story.of("protection.failed")

    run_desk(tmp_path, main, name="okx")


def test_what_makes_no_sense_is_refused_with_the_reason(tmp_path: Path) -> None:
    async def main(d: DeskStack) -> None:
        holding = await long(d)
        make = d.desk.emulated
        for wrong, words in (
            (make.oco(holding, quantity=D("0.02"), take_profit=D(103_000), stop=D(98_000)), "0 of it protected; not 0.02 more"),
            (make.oco(holding, quantity=D("0.01"), take_profit=D(98_000), stop=D(103_000)), "wrong way round"),
            (make.bracket(holding, side=Side.BUY, quantity=D("0.01")), "take-profit, a stop, or both"),
            (make.bracket(holding, side=Side.BUY, quantity=D("0.01"), price=D(100_000), stop=D(101_000)), "wrong side"),
            (make.bracket(holding, side=Side.BUY, quantity=D("0.01"), stop=D(101_000)), "wrong side"),
            (make.bracket(holding, side=Side.BUY, quantity=D("0.01"), stop=D(99_000), native=True), "no native bracket"),
            (make.trailing(holding, quantity=D("0.01")), "ticks"),
            (make.iceberg(holding, side=Side.BUY, quantity=D("0.01"), display=D("0.02"), price=D(99_000)), "show at least"),
        ):
            with pytest.raises(TicketRefused, match=words):
                await wrong
        assert make.orders == {}
        assert d.s.journal is not None
        assert d.s.journal.states("test", "main") == []
        await make.oco(holding, quantity=D("0.006"), take_profit=D(103_000), stop=D(98_000))
        with pytest.raises(TicketRefused, match=r"0\.006 of it protected"):
            await make.trailing(holding, quantity=D("0.005"), ticks=100)

    run_desk(tmp_path, main, name="okx")


def test_e42_a_halt_leaves_protection_at_work(tmp_path: Path) -> None:
    guard = Halted()

    async def main(d: DeskStack) -> None:
        holding = await d.open(sign=1)
        d.price(size="0.004", levels=2)
        bracket = await d.desk.emulated.bracket(holding, side=Side.BUY, quantity=D("0.02"), price=D(100_050), stop=D(98_000))
        await until(lambda: holding.own == D("0.008"))
        guard.reason = "halted: test"
        d.desk.wake()
        await until(lambda: not holding.orders(tag=f"{bracket.order_id}/entry", live=True), 1)
        await until(lambda: stops(bracket) > 0)
        d.price(D(97_000))
        assert await asyncio.wait_for(bracket.ended(), 60) == "all of it is out"
        assert d.position == 0

    run_desk(tmp_path, main, name="okx", guard=guard)
