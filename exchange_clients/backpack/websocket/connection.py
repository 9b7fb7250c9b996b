"""One socket for everything: no login, signatures inside subscriptions, pings by control frame, no acknowledgements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from exchange_clients.backpack.signing import signer_of
from exchange_clients.backpack.websocket.market_switcher import topic_for
from exchange_clients.base_websocket import BaseDialect
from exchange_clients.model import Instrument, InstrumentId
from exchange_clients.spec import Stream
from exchange_clients.subscriptions import Topic
from exchange_clients.transport.dialect import Heartbeat

PRIVATE_SILENCE_S: Final = 1.0
PUBLIC_SILENCE_S: Final = 0.05


class BackpackDialect(BaseDialect):
    """The venue pings every 60 s and closes after 120 s without a pong; ours notice a dead connection sooner."""

    heartbeat = Heartbeat(every_s=20.0, message=None, timeout_s=30.0)

    def topic(self, stream: Stream, instrument: Instrument | None, parameter: str = "") -> Topic:
        return topic_for(stream, instrument, parameter)

    async def subscribe(self, topics: Sequence[Topic]) -> list[str | bytes]:
        """Private topics share a frame and its signature; each market has a frame, so that one which is gone harms no other."""
        by_market: dict[InstrumentId | None, list[Topic]] = {}
        private = []
        for topic in topics:
            if topic.stream.is_private:
                private.append(topic)
            else:
                by_market.setdefault(topic.instrument, []).append(topic)
        messages: list[str | bytes] = [self._message("SUBSCRIBE", of_market) for of_market in by_market.values()]
        if private:
            signature = signer_of(self.context).subscription(self.context.venue_time.now_ms())
            messages.append(self._message("SUBSCRIBE", private, signature=signature))
        return messages

    async def unsubscribe(self, topics: Sequence[Topic]) -> list[str | bytes]:
        return [self._message("UNSUBSCRIBE", topics)]

    @staticmethod
    def _message(method: str, topics: Sequence[Topic], **more: Any) -> str:
        return msgspec.json.encode({"method": method, "params": [topic.channel for topic in topics], **more}).decode()

    def silence_s(self, topic: Topic) -> float | None:
        """A refusal comes after one round trip. What an account depends on is given the time for a slow one; a book is wanted at once, and
        its numbers tell whether it flows."""
        return PRIVATE_SILENCE_S if topic.stream.is_private else PUBLIC_SILENCE_S
