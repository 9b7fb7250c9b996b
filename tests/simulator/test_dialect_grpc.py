"""gRPC methods of a dialect, over a real channel and on a simulated network: same answers, same faults, same log."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from exchange_clients.errors import ConnectFailed
from exchange_clients.transport.grpc import GrpcStatus, UnaryChannel
from exchange_clients.transport.runtime import Runtime
from exchange_simulator.core.exchange import Exchange
from exchange_simulator.dialects.base import GRPC, Budget, DialectServer, Kind, Lose, Received, Refusal, Reply, RequestFault, Route
from exchange_simulator.simloop import Link, SimNetwork, Simulation, run
from tests.simulator.test_dialect_base import Hand, Toy

METHOD = "/toy.v1.Service/Do"


class CallableToy(Toy):
    def routes(self) -> Sequence[Route]:
        return [*super().routes(), Route(GRPC, METHOD, self._call, cost=2)]

    async def _call(self, received: Received) -> Reply:
        if received.body == b"wrong":
            raise Refusal(7, "no", status=404)
        self.done.append(received.body.decode())
        return Reply(b"did " + received.body)

    def refuse(self, refusal: Refusal, received: Received) -> Reply:
        return Reply(refusal.message.encode(), refusal.status)

    def limited(self, retry_after_s: float, received: Received) -> Reply:
        return Reply(b"slow down", 429)


class Scene:
    def __init__(self, dialect: CallableToy, server: DialectServer, channel: UnaryChannel, hand: Hand) -> None:
        self.dialect, self.server, self.channel, self.hand = dialect, server, channel, hand

    async def call(self, body: bytes, method: str = METHOD, *, timeout_s: float = 5.0) -> bytes:
        return await self.channel.call(method, body, timeout_s=timeout_s)

    async def fails(self, body: bytes, method: str = METHOD, *, timeout_s: float = 5.0) -> GrpcStatus:
        with pytest.raises(GrpcStatus) as caught:
            await self.call(body, method, timeout_s=timeout_s)
        return caught.value


@asynccontextmanager
async def scene(runtime: Runtime, network: SimNetwork | None = None, link: Link | None = None, **options: Any) -> AsyncIterator[Scene]:
    hand = Hand()
    dialect = CallableToy(Exchange(Toy.rules()), runtime, faults=hand, **options)
    async with DialectServer(dialect, network=network, link=link) as server:
        (address,) = server.endpoints["grpc"]
        channel = runtime.grpc(address)
        try:
            yield Scene(dialect, server, channel, hand)
        finally:
            await channel.close()


def simulated(test: Callable[[Scene], Awaitable[None]], **options: Any) -> None:
    async def main(sim: Simulation) -> None:
        async with scene(sim.runtime, sim.network, **options) as s:
            await test(s)

    run(main)


async def real(test: Callable[[Scene], Awaitable[None]], **options: Any) -> None:
    runtime = Runtime.system()
    try:
        async with scene(runtime, **options) as s:
            await test(s)
    finally:
        runtime.offload.close()


async def answers(s: Scene) -> None:
    assert await s.call(b"this") == b"did this"
    (received,) = s.dialect.received
    assert (received.kind, received.method, received.path, received.body) == (Kind.HTTP, "GRPC", METHOD, b"this")
    assert received.remote == "127.0.0.1"
    refused = await s.fails(b"wrong")
    assert (refused.code, refused.details) == ("NOT_FOUND", "no")
    assert (await s.fails(b"x", "/toy.v1.Service/Other")).code == "UNIMPLEMENTED"
    assert s.dialect.done == ["this"]


async def faults(s: Scene) -> None:
    for status, code in ((429, "RESOURCE_EXHAUSTED"), (500, "INTERNAL"), (503, "UNAVAILABLE"), (401, "UNAUTHENTICATED"), (418, "UNKNOWN")):
        s.hand.request = RequestFault(status=status)
        assert (await s.fails(b"x")).code == code
    s.hand.request = RequestFault(status=200, body=b'{"garbage')
    assert await s.call(b"x") == b'{"garbage'
    assert s.dialect.done == []
    s.hand.request = RequestFault(lose=Lose.REQUEST)
    assert (await s.fails(b"lost")).code == "UNAVAILABLE"
    assert s.dialect.done == []
    s.hand.request = RequestFault(lose=Lose.REPLY)
    assert (await s.fails(b"unheard")).code == "UNAVAILABLE"
    assert s.dialect.done == ["unheard"]
    s.hand.request = RequestFault(after_s=1.0)
    assert (await s.fails(b"late", timeout_s=0.3)).code == "DEADLINE_EXCEEDED"
    assert s.dialect.done == ["unheard", "late"]
    s.hand.request = None
    assert await s.call(b"well") == b"did well"


async def limits(s: Scene) -> None:
    assert await s.call(b"a") == b"did a"
    limited = await s.fails(b"b")
    assert (limited.code, limited.details) == ("RESOURCE_EXHAUSTED", "slow down")


async def restarts(s: Scene) -> None:
    assert await s.call(b"a") == b"did a"
    address = s.server.endpoints["grpc"]
    await s.server.stop()
    with pytest.raises((ConnectFailed, GrpcStatus)):
        await s.call(b"b", timeout_s=1.0)
    await s.server.start()
    assert s.server.endpoints["grpc"] == address
    assert s.dialect.done == ["a"]


@pytest.mark.parametrize("test", [answers, faults, restarts])
def test_in_memory(test: Callable[[Scene], Awaitable[None]]) -> None:
    simulated(test)


@pytest.mark.parametrize("test", [answers, faults, restarts])
async def test_over_a_real_channel(test: Callable[[Scene], Awaitable[None]]) -> None:
    await real(test)


async def test_calls_are_paid_for() -> None:
    await real(limits, budget=Budget(3, 60))


def test_calls_are_paid_for_in_memory() -> None:
    simulated(limits, budget=Budget(3, 60))


def test_the_road_is_as_long_as_for_any_other_request() -> None:
    async def main(sim: Simulation) -> None:
        async with scene(sim.runtime, sim.network, Link(up_s=(0.1, 0.1), down_s=(0.2, 0.2))) as s:
            assert await s.call(b"a") == b"did a"
            before = sim.loop.time()
            assert await s.call(b"b") == b"did b"
            assert sim.loop.time() - before == pytest.approx(0.3)
            assert s.server.sim_host is not None
            s.server.sim_host.refusing = True
            s.server.sim_host.drop_connections()
            with pytest.raises(ConnectFailed):
                await s.call(b"c")
            assert s.dialect.done == ["a", "b"]

    run(main)
