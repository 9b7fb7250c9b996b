"""Venues that acknowledge nothing: a subscription is confirmed by silence, on a connection that answers, unless it was refused."""

import asyncio
from collections.abc import Sequence

from aiohttp import WSMsgType, web

from exchange_clients.spec import Stream
from exchange_clients.subscriptions import Topic
from tests.toy.server import ToyServer
from tests.toy.venue import ToyClient, ToyDialect, ToyWebSocketManager

SILENCE_S = 0.1


class Mute(ToyServer):
    """Hears everything, acknowledges nothing; `answers` pings, or not even that."""

    def __init__(self, *, answers: bool) -> None:
        super().__init__()
        self.answers = answers
        self.heard = 0

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(autoping=False)
        await ws.prepare(request)
        self.connections += 1
        async for message in ws:
            if message.type is WSMsgType.PING and self.answers:
                await ws.pong(message.data)
            self.heard += message.type is WSMsgType.TEXT
        return ws


class SilentDialect(ToyDialect):
    def silence_s(self, topic: Topic) -> float | None:
        return SILENCE_S


class SilentManager(ToyWebSocketManager):
    dialect_class = SilentDialect


class SilentClient(ToyClient):
    websocket_class = SilentManager


async def confirmed(server: Mute, refuse: Sequence[str] = ()) -> list[bool]:
    """Whether a topic is confirmed: at once, and after the silence."""
    async with server:
        client = SilentClient(server.config)
        await client.connect()
        market = client.instruments.get("BTC")
        with_book = client.ws_manager.watch(Stream.BOOK, market)
        topic = client.ws_manager.dialect.topic(Stream.BOOK, market)
        while not server.heard:  # noqa: ASYNC110 - seen from outside
            await asyncio.sleep(0.01)
        for reason in refuse:
            client.ws_manager.refuse(topic.role, topic.channel, reason)
        before = client.ws_manager.registry.is_confirmed(topic)
        await asyncio.sleep(3 * SILENCE_S)
        after = client.ws_manager.registry.is_confirmed(topic)
        with_book.close()
        await client.disconnect()
        return [before, after]


async def test_silence_is_a_yes() -> None:
    assert await confirmed(Mute(answers=True)) == [False, True]


async def test_silence_of_a_dead_connection_is_nothing() -> None:
    assert await confirmed(Mute(answers=False)) == [False, False]


async def test_a_refused_topic_stays_refused_when_silence_follows() -> None:
    assert await confirmed(Mute(answers=True), ["no such stream"]) == [False, False]
