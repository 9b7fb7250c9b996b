"""Unary calls over real loopback servers: what each failure proves, and which node is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc  # type: ignore[import-untyped]
import pytest

from exchange_clients.errors import (
    ConfigError,
    ConnectFailed,
    Outcome,
    PermissionDenied,
    RateLimited,
    RequestRefused,
    RequestTimeout,
    VenueUnavailable,
)
from exchange_clients.transport.grpc import GrpcNodes
from exchange_clients.transport.runtime import Runtime

METHOD = "/venue.Service/Do"
NOWHERE = "127.0.0.1:1"


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, answer: Callable[[bytes, Any], Any]) -> None:
        self.answer = answer

    def service(self, details: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(self.answer)


@asynccontextmanager
async def server(answer: Callable[[bytes, Any], Any]) -> AsyncIterator[str]:
    running = grpc.aio.server()
    running.add_generic_rpc_handlers((_Handlers(answer),))
    port = running.add_insecure_port("127.0.0.1:0")
    await running.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await running.stop(0)


async def echo(request: bytes, context: Any) -> bytes:
    return b"echo " + request


@asynccontextmanager
async def nodes(*addresses: str) -> AsyncIterator[GrpcNodes]:
    found = GrpcNodes("venue", addresses, Runtime.system())
    try:
        yield found
    finally:
        await found.close()


async def test_bytes_go_in_and_come_out_and_a_dead_node_is_passed_over() -> None:
    async with server(echo) as alive, nodes(NOWHERE, alive) as network:
        assert await network.call(METHOD, b"x", timeout_s=5) == b"echo x"
        assert [n.address for n in network.ranked()] == [alive, NOWHERE]  # and is not asked first again


async def test_nothing_was_sent_when_no_node_can_be_reached() -> None:
    async with nodes(NOWHERE, NOWHERE) as network:
        with pytest.raises(ConnectFailed) as caught:
            await network.call(METHOD, b"x", timeout_s=5)
        assert caught.value.outcome is Outcome.NOT_SENT


async def test_without_addresses_it_is_a_matter_of_configuration() -> None:
    async with nodes() as network:
        with pytest.raises(ConfigError, match=r"endpoints\.grpc"):
            await network.call(METHOD, b"x", timeout_s=5)


@pytest.mark.parametrize(
    ("code", "kind", "outcome"),
    [
        ("RESOURCE_EXHAUSTED", RateLimited, Outcome.UNKNOWN),
        ("UNAVAILABLE", VenueUnavailable, Outcome.UNKNOWN),
        ("INVALID_ARGUMENT", RequestRefused, Outcome.REFUSED),
    ],
)
async def test_a_status_says_what_became_of_the_call_and_is_not_repeated(code: str, kind: type[Exception], outcome: Outcome) -> None:
    asked: list[bytes] = []

    async def refuse(request: bytes, context: Any) -> bytes:
        asked.append(request)
        context.set_code(grpc.StatusCode[code])
        context.set_details("its own words")
        return b""

    async with server(refuse) as first, server(refuse) as second, nodes(first, second) as network:
        with pytest.raises(kind, match="its own words") as caught:
            await network.call(METHOD, b"x", timeout_s=5)
        assert getattr(caught.value, "outcome", None) is outcome
        assert asked == [b"x"]
        blamed = outcome is Outcome.UNKNOWN
        assert [n.address for n in network.ranked()] == ([second, first] if blamed else [first, second])


@pytest.mark.parametrize(
    ("code", "kind", "blamed"),
    [("PERMISSION_DENIED", PermissionDenied, True), ("UNAUTHENTICATED", PermissionDenied, True), ("UNIMPLEMENTED", RequestRefused, False)],
)
async def test_a_node_that_does_not_serve_us_is_passed_over_and_speaks_for_itself_alone(
    code: str, kind: type[Exception], *, blamed: bool
) -> None:
    """What a proxy's 403, 401 or 404 becomes: nothing was executed, and other nodes work."""

    async def refuse(request: bytes, context: Any) -> bytes:
        context.set_code(grpc.StatusCode[code])
        context.set_details("its own words")
        return b""

    async with server(refuse) as closed, server(echo) as alive, nodes(closed, alive) as network:
        assert await network.call(METHOD, b"x", timeout_s=5) == b"echo x"
        assert network.answered is network.nodes[1]
        assert (network.ranked()[0].address == alive) is blamed
    async with server(refuse) as one, server(refuse) as other, nodes(one, other) as network:
        with pytest.raises(kind, match="its own words") as caught:
            await network.call(METHOD, b"x", timeout_s=5)
        assert getattr(caught.value, "outcome", None) is Outcome.REFUSED


async def test_no_answer_in_time_is_unknown() -> None:
    async def sleep(request: bytes, context: Any) -> bytes:
        await asyncio.sleep(5)
        return b""

    async with server(sleep) as address, nodes(address) as network:
        with pytest.raises(RequestTimeout) as caught:
            await network.call(METHOD, b"x", timeout_s=0.1)
        assert caught.value.outcome is Outcome.UNKNOWN


async def test_a_node_that_lags_or_rests_is_used_last() -> None:
    async with nodes("a", "b", "c") as network:

        def order() -> list[str]:
            return [n.address for n in network.ranked()]

        first, _, third = network.nodes
        first.lag = 4
        assert order() == ["b", "c", "a"]
        first.lag, third.lag = 3, 1
        assert order() == ["a", "b", "c"]
        first.rest_until = asyncio.get_running_loop().time() + 60
        assert order() == ["b", "c", "a"]
