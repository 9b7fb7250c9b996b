"""What a caller can make the service hold: memory of answers, connections that say nothing, never end, or take nothing."""

from __future__ import annotations

import asyncio
import gc
import socket
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from starlette.requests import Request

from funding_rate_service.api import bodies, server
from funding_rate_service.api.bodies import Bodies, Slow
from tests.service.asking import Asking, play

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]
V1 = "/api/v1"
HOST = b"Host: 127.0.0.1\r\n"


def request(query: bytes) -> Request:
    return Request({"type": "http", "method": "GET", "path": "/x", "query_string": query, "headers": [(b"accept-encoding", b"gzip")]})


def held(body: bodies.Body) -> int:
    return len(body.plain) + len(body._gzip or b"")


def bodies_in_memory() -> list[bodies.Body]:
    gc.collect()
    return [one for one in gc.get_objects() if isinstance(one, bodies.Body)]


def test_answers_by_address_hold_no_more_than_the_answers_by_query() -> None:
    """The same question in a hundred spellings, each asked of another state of the board."""
    state = [0]
    others = {id(one) for one in bodies_in_memory()}
    kept = Bodies(lambda: float(state[0]), lambda: state[0], "boot")
    for number in range(100):
        state[0] = number
        kept.answer(request(b"&" * number), "everything", lambda: b"x" * 10_000)
    assert len({id(body) for body in kept._kept.values()}) == 1
    assert kept.again(request(b"&" * 99).scope) is not None
    assert kept.again(request(b"&" * 98).scope) is not None  # another spelling of what was answered just now
    state[0] += 1
    assert kept.again(request(b"&" * 99).scope) is None
    assert len([one for one in bodies_in_memory() if id(one) not in others]) <= 1


def test_compressed_answers_count_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "MOST_BYTES", 100_000)
    kept = Bodies(lambda: 0.0, lambda: 0, "boot")
    for number in range(50):
        text = bytes(((number + 1) * place * 2654435761 >> 13) & 255 for place in range(5_000))  # does not compress
        kept.answer(request(b"n=%d" % number), number, partial(bytes, text))
    assert sum(held(body) for body in kept._kept.values()) <= 100_000
    assert len(kept._kept) >= 5


def test_slow_answers_are_bounded_by_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "MOST_SLOW_BYTES", 50_000)

    async def main() -> None:
        kept = Slow(lambda: 0.0)

        async def make() -> bytes:
            return b"x" * 10_000

        for number in range(20):
            await kept.get(number, make)
        assert sum(len(answer) for _, answer in kept._kept.values()) <= 50_000
        assert 19 in kept._kept

    asyncio.run(main())


async def ended(reader: asyncio.StreamReader, within_s: float = 40.0) -> bytes:
    """Everything that comes until the other side ends it."""
    async with asyncio.timeout(within_s):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


async def connected(ask: Asking) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", int(ask.url.rpartition(":")[2]))


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\r\n",
        b"GET / HTTP/1.1\r\n" + HOST,
        b"GET / HTTP/1.1\r\n" + HOST + b"\r\n\r\n",
        b"POST /x HTTP/1.1\r\n" + HOST + b"Content-Length: 9\r\n\r\nx",
    ],
    ids=["nothing", "an empty line", "half a head", "a request, then nothing", "half a body"],
)
def test_who_says_nothing_more_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    monkeypatch.setattr(server, "PATIENCE_S", 0.2)

    async def main(ask: Asking) -> None:
        reader, writer = await connected(ask)
        writer.write(said)
        await ended(reader)
        writer.close()
        assert (await ask(V1 + "/health/live")).status == 200

    play(tmp_path, main)


def test_who_goes_on_asking_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "PATIENCE_S", 2.0)

    async def main(ask: Asking) -> None:
        reader, writer = await connected(ask)
        for _ in range(5):
            writer.write(b"GET /api/v1/health/live HTTP/1.1\r\n" + HOST + b"\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            await reader.readexactly(len(b'{"status":"ok"}'))
            await asyncio.sleep(0.5)
        async with ask.stream("?topics=health") as stream:
            await stream.receive_json()
            await asyncio.sleep(2.5)
            assert not stream.closed
        writer.close()

    play(tmp_path, main)


@pytest.mark.parametrize("piece", [b"X-A: " + b"a" * 60_000 + b"\r\n", b"a: b\r\n" * 10_000], ids=["long", "many"])
@pytest.mark.parametrize(
    "start",
    [b"GET / HTTP/1.1\r\n" + HOST, b"POST /x HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n"],
    ids=["head", "trailer"],
)
def test_a_head_without_end_is_broken_off(tmp_path: Path, start: bytes, piece: bytes) -> None:
    async def main(ask: Asking) -> None:
        reader, writer = await connected(ask)
        writer.write(start)
        sent = 0
        try:
            async with asyncio.timeout(40):
                while sent < 20_000_000:
                    writer.write(piece)
                    sent += len(piece)
                    await writer.drain()
        except ConnectionError:
            pass
        assert sent < 20_000_000
        await ended(reader)
        assert (await ask(V1 + "/health/live")).status == 200

    play(tmp_path, main)


def test_who_takes_no_answer_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "TAKE_S", 0.3)
    listen = server._listen

    def small(config: Any) -> socket.socket:
        listening = listen(config)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
        return listening

    monkeypatch.setattr(server, "_listen", small)
    end, lost = server._Requests.connection_lost, asyncio.Event()

    def told(requests: Any, error: Exception | None) -> None:
        end(requests, error)
        lost.set()

    monkeypatch.setattr(server._Requests, "connection_lost", told)

    async def main(ask: Asking) -> None:
        with socket.socket() as lazy:
            lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            lazy.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(lazy, ("127.0.0.1", int(ask.url.rpartition(":")[2])))
            await loop.sock_sendall(lazy, (b"GET /web/chart.js HTTP/1.1\r\n" + HOST + b"\r\n") * 200)
            async with asyncio.timeout(40):
                await lost.wait()
        assert (await ask(V1 + "/health/live")).status == 200

    play(tmp_path, main)


def test_connections_beyond_the_limit_are_not_kept(tmp_path: Path) -> None:
    async def main(ask: Asking) -> None:
        found: list[Any] = [await connected(ask) for _ in range(8 + server.SPARE + 20)]
        async with asyncio.timeout(40):
            while sum(reader.at_eof() for reader, _ in found) < 20:  # noqa: ASYNC110 - told to each by itself
                await asyncio.sleep(0.02)
        for _, writer in found:
            writer.close()
        async with asyncio.timeout(40):
            while True:
                try:
                    assert (await ask(V1 + "/health/live")).status == 200
                    break
                except aiohttp.ClientError:  # the places of those that left are not free yet
                    await asyncio.sleep(0.02)

    play(tmp_path, main, serve={"connections": 8})


def test_callers_leave_files_for_venues_and_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1_024, 4_096))
    assert server._room(2_048) == 512
    assert server._room(100) == 100
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert server._room(2_048) == 2_048
