"""E32 over a real socket: a subscription that the venue overhears is asked for again."""

import asyncio
import json
from dataclasses import replace

import pytest
from aiohttp import web

from exchange_clients import base_websocket
from exchange_clients.signing import Credentials
from exchange_clients.spec import Pool
from exchange_clients.transport import stream
from tests.toy.server import ToyServer
from tests.toy.venue import SPEC, ToyClient


class Forgetful(ToyServer):
    """Overhears the first subscription to each book."""

    def __init__(self) -> None:
        super().__init__()
        self.overheard: list[str] = []

    async def _subscribed(self, ws: web.WebSocketResponse, channel: str) -> None:
        if channel.startswith("book:") and channel not in self.overheard:
            self.overheard.append(channel)
            return
        await super()._subscribed(ws, channel)


async def test_e32_wanted_topics_are_live_within_a_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "CONFIRM_WITHIN_S", 0.1)
    async with Forgetful() as server, ToyClient(server.config, Credentials("toy", {"key": "good-toy-key"})) as client:
        connections = server.connections
        market = client.instruments.get("BTC")
        async with asyncio.timeout(3):
            await client.ws_manager.prepare_market_feed(market, timeout_s=3)
        assert client.ws_manager.order_book_ready(market)
        assert server.overheard == ["book:BTC"]
        assert sum(json.dumps(m).find('"book:') > 0 for m in server.received) == 2
        assert server.connections == connections, "one topic, not the whole socket"


async def test_a_connection_that_answers_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "CONFIRM_WITHIN_S", 0.1)
    monkeypatch.setattr(stream, "MUTE_AFTER_S", 0.05)  # shorter than the pause between two pongs
    async with Forgetful() as server, ToyClient(server.config, Credentials("toy", {"key": "good-toy-key"})) as client:
        connections = server.connections
        await client.ws_manager.prepare_market_feed(client.instruments.get("BTC"), timeout_s=5)
        assert server.connections > connections


class Slow(ToyClient):
    """May send three messages a minute."""

    spec = replace(SPEC, pools={**SPEC.pools, "ws": Pool(limit=3, period_s=60.0)}, ws_message_cost={"ws": 1})


async def test_what_comes_is_read_while_further_subscriptions_wait_for_the_limiter() -> None:
    async with ToyServer() as server, Slow(server.config, Credentials("toy", {"key": "good-toy-key"})) as client:
        manager = client.ws_manager
        await client.ws_manager.prepare_market_feed(client.instruments.get("BTC"), timeout_s=3)
        assert manager.subscription_count == 2
        manager.reconnect("public", "two of three messages are spent")
        assert manager.subscription_count == 0
        async with asyncio.timeout(3):
            while not manager.subscription_count:  # noqa: ASYNC110 - seen from outside
                await asyncio.sleep(0.01)
        assert [topic.stream.is_private for topic in manager.registry.wanted() if manager.registry.is_confirmed(topic)] == [True]


class Silent(ToyServer):
    """Confirms the first subscription to each book without the snapshot that should come with it."""

    def __init__(self) -> None:
        super().__init__()
        self.withheld: list[str] = []

    async def _subscribed(self, ws: web.WebSocketResponse, channel: str) -> None:
        if channel.startswith("book:") and channel not in self.withheld:
            self.withheld.append(channel)
            await ws.send_json({"type": "ack", "channel": channel})
            return
        await super()._subscribed(ws, channel)


async def test_a_book_whose_snapshot_was_lost_is_subscribed_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_websocket, "SNAPSHOT_WITHIN_S", 0.1)
    async with Silent() as server, ToyClient(server.config, Credentials("toy", {"key": "good-toy-key"})) as client:
        connections = server.connections
        await client.ws_manager.prepare_market_feed(client.instruments.get("BTC"), timeout_s=3)
        assert server.withheld == ["book:BTC"]
        assert server.connections == connections
