"""The stream over a real socket: snapshot, changes, topics, a reader that takes nothing, a service that is full or ends."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from exchange_clients.model import NS_PER_S
from funding_rate_service.api import shapes
from funding_rate_service.api.hub import StreamHub
from funding_rate_service.api.routes import stream
from tests.service import scene
from tests.service.asking import Asking, play

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]


async def until(socket: Any, kind: str) -> dict[str, Any]:
    """The next message of a kind."""
    async with asyncio.timeout(30):
        while True:
            message = await socket.receive_json()
            if message["type"] == kind:
                return dict(message)


def test_a_snapshot_and_then_what_changes(tmp_path: Path) -> None:
    async def main(ask: Asking) -> None:
        async with ask.stream() as socket:
            first = await socket.receive_json()
            assert first["type"] == "snapshot"
            rates = {rate.instrument: rate for rate in msgspec.convert(first["rates"], list[shapes.Rate])}
            assert len(rates) == 6
            health = msgspec.convert(first["health"], shapes.Health)
            assert health.ready
            found: list[shapes.Opportunity] = []

            async def hear(done: Callable[[], bool]) -> None:
                """Take messages, in whatever order they come, until what they told is so."""
                nonlocal found
                async with asyncio.timeout(30):
                    while not done():
                        message = await socket.receive_json()
                        if message["type"] == "rates":
                            rates.update({r.instrument: r for r in msgspec.convert(message["rates"], list[shapes.Rate])})
                        elif message.pop("type") == "opportunities":
                            found = msgspec.convert(message, shapes.Opportunities).opportunities

            def dydx() -> shapes.Rate:
                return rates["BTC-USD-PERP.dydx"]

            now_ns = ask.service.now_ns()
            scene.put(ask.service.board, [scene.quote(dydx().instrument, "-0.0009", now_ns)], now_ns)
            await hear(lambda: dydx().rate == "-0.0009")
            await hear(lambda: bool(found) and found[0].pair == "BTC-USD-PERP.dydx/BTC-USDC-PERP.hyperliquid")
            old = scene.quote(dydx().instrument, "-0.0009", now_ns, observed_ns=now_ns - 200 * NS_PER_S)
            scene.put(ask.service.board, [old], now_ns)
            await hear(lambda: dydx().stale)
            await hear(lambda: not [o for o in found if "dydx" in o.pair])

    play(tmp_path, main)


def test_only_what_was_asked_for_is_told(tmp_path: Path) -> None:
    async def main(ask: Asking) -> None:
        async with ask.stream("?topics=health") as socket:
            assert set(await socket.receive_json()) == {"type", "generated_at", "stale_after_s", "health"}
            assert (await socket.receive_json())["type"] == "health"
        for query, status in (("?topics=rates,gossip", 422), ("?topics=", 422), ("?topic=rates", 422)):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await ask.stream(query)
            assert refused.value.status == status
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await ask.stream(origin="http://evil.example")
        assert refused.value.status == 403

    play(tmp_path, main)


def test_there_is_room_for_so_many_and_a_place_is_given_back(tmp_path: Path) -> None:
    async def main(ask: Asking) -> None:
        hub: StreamHub = ask.service.hub
        hub._most = 2
        async with ask.stream() as one, ask.stream() as two:
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await ask.stream()
            assert refused.value.status == 503
            await one.receive()
            await two.receive()
        async with asyncio.timeout(30):
            while len(hub):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        async with ask.stream() as again:
            assert (await again.receive_json())["type"] == "snapshot"

    play(tmp_path, main)


def test_a_reader_that_takes_nothing_holds_nobody_up_and_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "STUCK_S", 0.5)

    async def main(ask: Asking) -> None:
        hub, now_ns = ask.service.hub, ask.service.now_ns()
        hub._flush_s = 0.01
        host, _, port = ask.url.removeprefix("http://").partition(":")
        many = [scene.quote(f"C{n}-USD-PERP.dydx", "0.0001", now_ns) for n in range(2_000)]
        scene.put(ask.service.board, many, now_ns)
        reading, writing = await asyncio.open_connection(host, int(port), limit=1024)
        writing.write(
            b"GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        await reading.readuntil(b"\r\n\r\n")  # and then takes nothing more
        async with ask.stream() as good:
            assert len((await until(good, "snapshot"))["rates"]) == 2_006
            async with asyncio.timeout(30):
                while len(hub) > 1:
                    now_ns = ask.service.now_ns()
                    scene.put(ask.service.board, [scene.quote(f"C{n}-USD-PERP.dydx", "0.0001", now_ns) for n in range(2_000)], now_ns)
                    assert (await until(good, "rates"))["rates"]
            assert len(hub) == 1
            assert hub.missed > 0  # it was given no queue, only the newest state
        writing.close()
        with suppress(OSError):
            await writing.wait_closed()

    play(tmp_path, main)


def test_an_ended_market_is_shown_as_such(tmp_path: Path) -> None:
    async def main(ask: Asking) -> None:
        async with ask.stream("?topics=rates") as socket:
            await until(socket, "snapshot")
            quote = ask.service.board.quotes()[0]
            ask.service.board.put(quote.instrument.venue, [], ask.service.now_ns(), ended=[quote.instrument])
            while True:
                found = [r for r in (await until(socket, "rates"))["rates"] if r["instrument"] == str(quote.instrument)]
                if found and found[0]["stale"]:
                    break
        told = (await ask("/api/v1/funding-rates")).as_(shapes.Rates)
        assert str(quote.instrument) not in {rate.instrument for rate in told.rates}

    play(tmp_path, main)
