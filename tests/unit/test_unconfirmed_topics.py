"""E32 over a real socket: a subscription that the venue overhears is asked for again."""

import asyncio
import json

import pytest
from aiohttp import web

from exchange_clients.signing import Credentials
from exchange_clients.transport import stream
from tests.toy.server import ToyServer
from tests.toy.venue import ToyClient


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
