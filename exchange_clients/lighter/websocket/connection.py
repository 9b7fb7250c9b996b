"""One socket: it greets, wants a frame of ours every two minutes, and takes tokens inside subscriptions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from exchange_clients.base_websocket import BaseDialect
from exchange_clients.lighter import messages as m
from exchange_clients.lighter.client.utils.caching import identity_of, signer_of
from exchange_clients.lighter.websocket.market_switcher import message, topic_for
from exchange_clients.model import Instrument
from exchange_clients.spec import Stream
from exchange_clients.subscriptions import Topic
from exchange_clients.transport.dialect import Heartbeat, Socket

_SHORT: Final = 40


class LighterDialect(BaseDialect):
    heartbeat = Heartbeat(every_s=30.0, message='{"type":"ping"}', timeout_s=75.0)

    async def login(self, role: str, socket: Socket) -> None:
        """Wait for the greeting: subscriptions sent before it are lost."""
        while True:
            data = await socket.recv()
            try:
                if isinstance(m.decode_frame(data), m.Connected):
                    return
            except msgspec.DecodeError:
                pass  # the reader counts it
            socket.keep(data)

    def topic(self, stream: Stream, instrument: Instrument | None, parameter: str = "") -> Topic:
        account = identity_of(self.context).account_index if stream.is_private else None
        return topic_for(stream, instrument, parameter, account)

    async def subscribe(self, topics: Sequence[Topic]) -> list[str | bytes]:
        token = None
        if any(topic.stream.is_private for topic in topics):
            token = await signer_of(self.context).token(self.context.venue_time.now_ms())
        return [message("subscribe", topic, token if topic.stream.is_private else None) for topic in topics]

    async def unsubscribe(self, topics: Sequence[Topic]) -> list[str | bytes]:
        return [message("unsubscribe", topic) for topic in topics]

    def is_heartbeat(self, data: str | bytes) -> bool:
        return len(data) < _SHORT and (b"ping" in data or b"pong" in data if isinstance(data, bytes) else "ping" in data or "pong" in data)
