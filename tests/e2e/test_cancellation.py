"""E35 on the wire: a caller that is canceled at any await of placing, canceling or amending loses no order and learns no lie."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal as D
from typing import Any

import pytest

from exchange_clients import venues
from exchange_clients.base_client import BaseExchangeClient
from exchange_clients.model import OrderIntent, OrderStatus, Side
from exchange_simulator.conformance.bench import BTC, Bench, needs, rest_order, virtual

pytestmark = pytest.mark.parametrize("venue", venues.names())

SHORT = 60
"""So many turns of the loop, then steps of time: at a venue that queues, what a command waits for takes time."""
STEP_S = 0.05


async def canceled_after(turns: int, work: Awaitable[Any]) -> bool:
    """Let `work` run for so long, then cancel it; whether it was canceled rather than done."""
    task = asyncio.ensure_future(work)
    for turn in range(turns):
        if task.done():
            break
        await asyncio.sleep(0 if turn < SHORT else STEP_S)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return True
    return False


async def proven(bench: Bench, client: BaseExchangeClient) -> None:
    """Everything is proved, and equals the exchange's orders."""
    await bench.until(lambda: not client.context.tracker.unresolved(), "every order is proved", timeout_s=90)
    market = bench.market()
    mine = sorted((o.price or D(0), o.size, o.filled_size) for o in await client.get_active_orders())
    assert mine == sorted((market.price(o.price), market.size(o.size), market.size(o.filled)) for o in bench.orders())


def sweep(venue: str, check: Callable[[Bench, int], Awaitable[bool]]) -> None:
    """`check` at every turn until the command ends by itself; several turns must have been met."""
    met, turns, canceled = 0, 0, True
    while canceled:
        assert turns < SHORT + 200, "the command never ends"

        async def once(bench: Bench, turns: int = turns) -> None:
            nonlocal canceled
            canceled = await check(bench, turns)

        virtual(once)(venue)
        met += canceled
        turns += 1 if turns < 16 else 4
    assert met >= 5, "the command must have awaited something"


def test_e35_placing(venue: str) -> None:
    async def check(bench: Bench, turns: int) -> bool:
        client = await bench.connected()
        id_ = client.new_client_order_id()
        canceled = await canceled_after(
            turns, client.place_limit_order(BTC, D("0.01"), D(49_000), "buy", client_order_id=id_, wait_for="open")
        )
        order = client.context.tracker.find(id_)
        before = order.status if order is not None else None
        await proven(bench, client)
        there = len(bench.orders())
        assert there <= 1
        if before in (None, OrderStatus.NOT_SENT):
            assert there == 0, "called not sent, and it is in the book"
            assert bench.commands() == []
        assert order is None or (order.status is OrderStatus.OPEN) == bool(there)
        following = await rest_order(client, price="48000")
        assert following.status is OrderStatus.OPEN
        return canceled

    sweep(venue, check)


def test_e35_canceling(venue: str) -> None:
    async def check(bench: Bench, turns: int) -> bool:
        client = await bench.connected()
        resting = await rest_order(client)
        assert resting.client_order_id is not None
        canceled = await canceled_after(turns, client.cancel_order(resting.client_order_id))
        await bench.runtime.clock.sleep(3)
        await proven(bench, client)
        ended = await client.cancel_order(resting.client_order_id)
        assert ended.status is OrderStatus.CANCELED
        assert bench.orders() == []
        await rest_order(client)
        return canceled

    sweep(venue, check)


def test_e35_amending(venue: str) -> None:
    """Where an amend is a cancel and a new order, a caller who leaves may do so between the two."""
    needs(venues.get(venue).spec.capabilities.native_amend, "amend of its own")

    async def check(bench: Bench, turns: int) -> bool:
        client = await bench.connected()
        resting = await rest_order(client)
        assert resting.client_order_id is not None
        canceled = await canceled_after(turns, client.amend_order(resting.client_order_id, price=D(49_100), quantity=D("0.02")))
        await bench.runtime.clock.sleep(12)
        await proven(bench, client)
        assert len(bench.orders()) == 1
        ended = await client.cancel_order(resting.client_order_id)
        assert (ended.status, ended.filled_size) == (OrderStatus.CANCELED, D(0))
        assert bench.orders() == []
        return canceled

    sweep(venue, check)


def test_e35_placing_many(venue: str) -> None:
    async def check(bench: Bench, turns: int) -> bool:
        client = await bench.connected()
        instrument = client.instruments.get(BTC)
        intents = [
            OrderIntent(
                instrument=instrument.id,
                side=Side.BUY,
                quantity=D("0.01"),
                price=D(49_000 - n),
                client_order_id=client.new_client_order_id(),
            )
            for n in range(3)
        ]
        canceled = await canceled_after(turns, client.place_orders(intents))
        await proven(bench, client)
        together = client.capabilities.native_batch_place
        assert len(bench.orders()) in ((0, 3) if together else range(4))
        return canceled

    sweep(venue, check)
