"""The conformance bench on virtual time, for what only this venue does."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

from exchange_clients.aster import AsterClient
from exchange_clients.aster.client.managers.order_manager import AsterOrderManager
from exchange_clients.aster.websocket.connection import AsterDialect as Sockets
from exchange_simulator import simloop
from exchange_simulator.conformance.bench import Bench, set_up
from exchange_simulator.core.types import Market
from exchange_simulator.dialects.aster import AsterDialect

D = Decimal


def virtual(test: Callable[[Bench], Awaitable[None]]) -> Callable[[], None]:
    """Run a test coroutine on a bench under virtual time; what it leaves running fails it."""

    @functools.wraps(test)
    def run() -> None:
        async def main(sim: simloop.Simulation) -> None:
            async with await set_up("aster", sim.runtime, network=sim.network) as bench:
                await test(bench)

        simloop.run(main, seed=5)

    del run.__wrapped__  # pytest would read the wrapped signature
    return run


def dialect_of(bench: Bench) -> AsterDialect:
    assert isinstance(bench.dialect, AsterDialect)
    return bench.dialect


async def connected(bench: Bench, **settings: Any) -> AsterClient:
    client = await bench.connected(**settings)
    assert isinstance(client, AsterClient)
    return client


def orders_of(client: AsterClient) -> AsterOrderManager:
    assert isinstance(client.order_manager, AsterOrderManager)
    return client.order_manager


def sockets_of(client: AsterClient) -> Sockets:
    assert isinstance(client.ws_manager.dialect, Sockets)
    return client.ws_manager.dialect


def list_market(bench: Bench, base: str, tick: str, step: str, mark: str) -> Market:
    """Another market with three levels on each side, a hundredth of the mark apart."""
    market = AsterDialect.listing(base, tick_size=D(tick), step_size=D(step))
    now = bench.now()
    bench.exchange.add_market(now, market, mark=market.to_ref(D(mark)))
    far = market.to_ticks(D(mark)) // 100
    bids, asks = ([(market.to_ticks(D(mark)) + sign * far * n, 100_000) for n in range(1, 4)] for sign in (-1, 1))
    bench.exchange.set_levels(now, market.symbol, bids, asks)
    return market
