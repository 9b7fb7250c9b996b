"""Fills that are in the account already are told again: after a restart, with a history that reaches back, by a stream's snapshot."""

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from database.records import HoldingState, Leg, PairState
from exchange_clients.model import Side
from exchange_simulator.core.types import NewOrder, TimeInForce
from exchange_simulator.core.types import Side as SimSide
from strategies.execution.desk import Ticket
from strategies.execution.market import SharedMarket
from tests.strategies.desk_stack import DeskStack, run_desk
from tests.strategies.stack import VENUES, Stack, commands_of, run_stack

D = Decimal
LONG, SHORT = VENUES
LONG_AGO_S = 70
"""Further back than a pair's look at the fills before it began."""


async def by_hand(s: Stack, side: Side, quantity: str) -> None:
    price = D(100_500) if side is Side.BUY else D(99_500)
    await s.clients[LONG].place_limit_order("BTC", D(quantity), price, side, time_in_force="IOC", wait_for="terminal")


def deleverage(s: Stack, quantity: str) -> None:
    venue = s.venues[LONG]
    market = venue.exchange.markets[venue.symbol].spec
    venue.exchange.deleverage(venue.now(), venue.account.account, venue.symbol, market.to_steps(D(quantity)))


def market_of(s: Stack, pair_id: str) -> SharedMarket:
    assert s.engine is not None
    return s.engine.pairs[pair_id].legs[Leg.LONG].market


def shares(s: Stack, pair_id: str) -> set[Decimal]:
    assert s.engine is not None
    return {trader.own for trader in s.engine.pairs[pair_id].legs.values()}


@pytest.mark.parametrize("before", [True, False], ids=["before the entry", "before a restart"])
def test_e05_e11_a_forced_close_of_the_foreign_share_told_again_is_not_taken_from_ours(tmp_path: Path, before: bool) -> None:
    async def main(s: Stack) -> None:
        venue = s.venues[LONG]
        venue.exchange.open_account(venue.now(), 9_999, deposit=10**18)
        await by_hand(s, Side.BUY, "0.004")
        await asyncio.sleep(LONG_AGO_S)
        if before:
            deleverage(s, "0.004")
            await asyncio.sleep(5)
        record = await s.open()
        if not before:
            deleverage(s, "0.004")
            await asyncio.sleep(10)
            assert market_of(s, record.pair_id).foreign == 0
            await s.restart()
        await asyncio.sleep(5)
        await market_of(s, record.pair_id).pull_fills()
        await asyncio.sleep(65)
        assert shares(s, record.pair_id) == {D("0.01")}
        assert s.positions() == {LONG: D("0.01"), SHORT: D("-0.01")}
        assert s.engine is not None
        assert s.engine.pairs[record.pair_id].state is PairState.HEDGED
        deleverage(s, "0.003")
        await asyncio.sleep(10)
        assert shares(s, record.pair_id) == {D("0.007")}, "one that is new is ours"
        assert s.positions() == {LONG: D("0.007"), SHORT: D("-0.007")}

    run_stack(tmp_path, main)


def test_e05_old_trades_of_others_do_not_explain_a_position_that_is_told_late(tmp_path: Path) -> None:
    """A closed pair traded in the market; after a restart its fills are nobody's. The venue then shows our position a moment late."""

    async def main(s: Stack) -> None:
        kept = await s.open(quantity="0.02")
        other = await s.open(quantity="0.01")
        assert (await s.close(other.pair_id)).state is PairState.CLOSED
        engine = await s.restart()
        market = market_of(s, kept.pair_id)
        await asyncio.sleep(20)
        await market.pull_fills()
        await asyncio.sleep(20)
        client: Any = s.clients[LONG]
        ask = client.get_position_snapshot

        async def late(contract: str, **how: Any) -> Any:
            told = await ask(contract, **how)
            return None if told is None else type(told)(**{f: getattr(told, f) for f in told.__struct_fields__} | {"quantity": D("0.01")})

        client.get_position_snapshot = late
        market.next_pull_s = 0.0
        await market.reconcile()
        client.get_position_snapshot = ask
        await asyncio.sleep(40)
        assert shares(s, kept.pair_id) == {D("0.02")}
        assert s.positions() == {LONG: D("0.02"), SHORT: D("-0.02")}
        assert engine.pairs[kept.pair_id].state is PairState.HEDGED

    run_stack(tmp_path, main)


@pytest.mark.parametrize("name", VENUES)
def test_e05_a_position_in_which_a_fill_of_ours_and_one_by_hand_cancel_out_settles_nothing(tmp_path: Path, name: str) -> None:
    """The stream is silent: an order that rests fills, and somebody closes by hand what he sees. The check in between finds nothing wrong;
    the fills are told when the order is asked for."""

    async def main(d: DeskStack) -> None:
        holding = await d.open(sign=1)
        order = await holding.place(Ticket(side=Side.BUY, quantity=D("0.01"), price=D(99_995), post_only=True))
        await asyncio.sleep(5)
        d.venue.faults("frozen_stream times=0 lasting=100")
        d.stranger_takes(SimSide.SELL, "0.01", D(99_990))
        market = d.venue.exchange.markets[d.venue.symbol].spec
        size, price = market.to_steps(D("0.01")), market.to_ticks(D(99_000))
        by_hand = NewOrder(
            d.venue.account.account, d.venue.symbol, SimSide.SELL, size, price, time_in_force=TimeInForce.IOC, client_id="777"
        )
        assert d.position == D("0.01")
        d.venue.exchange.submit(d.venue.now(), by_hand)
        assert d.position == 0
        await asyncio.sleep(150)
        assert (order.filled, holding.own) == (D("0.01"), D(0))
        assert holding.record.state is HoldingState.OPEN, holding.record.reason

    run_desk(tmp_path, main, name=name)


@pytest.mark.parametrize("name", ["aster", *VENUES])
def test_e05_e06_a_fill_of_an_order_whose_answer_is_not_here_yet_is_nobody_elses(tmp_path: Path, name: str) -> None:
    """The stream is silent and the records name no client order id (Aster): the position was looked at while the order was on its way."""

    async def main(d: DeskStack) -> None:
        holding = await d.open(sign=1)
        d.venue.faults("frozen_stream times=0 lasting=30", f"slow times=1 delay=5 where={commands_of(name)}")
        placing = asyncio.create_task(holding.place(Ticket(side=Side.BUY, quantity=D("0.01"))))
        await asyncio.sleep(1)
        assert d.position == D("0.01")
        await holding.market.reconcile()
        order = await placing
        await asyncio.sleep(60)
        assert (order.filled, holding.own, holding.market.foreign) == (D("0.01"), D("0.01"), D(0))
        assert holding.record.state is HoldingState.OPEN, holding.record.reason

    run_desk(tmp_path, main, name=name)
