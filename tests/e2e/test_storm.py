"""Everything at once, from a seed: orders, cancels, amends, lost messages, broken sockets, callers that give up. Then the truth."""

import asyncio
import contextlib
import random
from decimal import Decimal as D

import pytest

from exchange_clients import venues
from exchange_clients.base_client import BaseExchangeClient
from exchange_clients.errors import VenueError
from exchange_clients.model import Purpose
from exchange_simulator.conformance.bench import BTC, Bench, virtual
from exchange_simulator.core import types as core
from exchange_simulator.dialects.base import Lose, RequestFault
from tests.e2e.truth import agrees

FAULTS = (
    RequestFault(lose=Lose.REPLY),
    RequestFault(lose=Lose.REQUEST),
    RequestFault(status=503),
    RequestFault(after_s=4.0),
    RequestFault(before_s=2.5),
    RequestFault(status=200, body=b"{}"),
)


async def act(client: BaseExchangeClient, rng: random.Random, ids: list[str]) -> None:
    choice = rng.random()
    with contextlib.suppress(VenueError):
        if choice < 0.5 or not ids:
            ids.append(client.new_client_order_id())
            await client.place_limit_order(
                BTC,
                D(rng.randint(1, 5)) / 100,
                D(rng.choice((49_000, 49_990, 50_010))),
                rng.choice(("buy", "sell")),
                client_order_id=ids[-1],
                purpose=Purpose.HEDGE,
                time_in_force=rng.choice(("GTC", "IOC")),
            )
        elif choice < 0.7:
            await client.cancel_order(rng.choice(ids))
        elif choice < 0.85:
            await client.amend_order(rng.choice(ids), price=D(rng.choice((48_900, 49_100))), quantity=D(rng.randint(1, 7)) / 100)
        elif choice < 0.9:
            await client.cancel_all_orders()
        else:
            await client.get_active_orders()


async def storm(bench: Bench, client: BaseExchangeClient, rng: random.Random, ids: list[str]) -> None:
    for _ in range(25):
        if rng.random() < 0.5:
            bench.hands.requests(rng.choice(FAULTS), when=bench.is_command, times=rng.randint(1, 2))
        if rng.random() < 0.15:
            bench.drop_sockets()
        if rng.random() < 0.1:
            bench.trade(rng.choice((core.Side.BUY, core.Side.SELL)), D("0.03"))
        work = [asyncio.ensure_future(act(client, rng, ids)) for _ in range(rng.randint(1, 3))]
        await asyncio.sleep(rng.choice((0.0, 0.01, 0.3)))
        for one in work:
            if rng.random() < 0.2:
                one.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        await asyncio.sleep(rng.choice((0.1, 1.0, 5.0)))


@pytest.mark.parametrize("venue", venues.names())
@pytest.mark.parametrize("seed", range(3))
def test_after_a_storm_every_order_and_fill_is_known(venue: str, seed: int) -> None:
    @virtual
    async def check(bench: Bench) -> None:
        rng = random.Random(seed)
        client = await bench.connected(request_timeout_s=2.0, command_timeout_s=3.0)
        ids: list[str] = []
        await storm(bench, client, rng, ids)
        bench.hands.rest()
        await bench.runtime.clock.sleep(40)
        await agrees(bench, client)
        tracker = client.context.tracker
        orders = {*tracker.live(), *tracker._closed}  # an amend that is a cancel and a new order has made some with ids of their own
        assert sum((order.filled * order.intent.side.sign for order in orders), D(0)) == bench.position()

    check(venue)
