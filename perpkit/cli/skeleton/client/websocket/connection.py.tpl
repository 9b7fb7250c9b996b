"""How $title's sockets speak: address, login, heartbeat, subscriptions."""

from __future__ import annotations

from collections.abc import Sequence

from $package.websocket.market_switcher import payload_of, topic_of
from exchange_clients.base_websocket import BaseDialect
from exchange_clients.model import Instrument
from exchange_clients.spec import Stream
from exchange_clients.subscriptions import Topic
from exchange_clients.transport.dialect import Heartbeat


class ${Name}Dialect(BaseDialect):
    """Phase 3, step 1: the interval and words of the heartbeat, `login` where there is one."""

    heartbeat = Heartbeat(every_s=20.0, message='{"op":"ping"}', timeout_s=50.0)

    def topic(self, stream: Stream, instrument: Instrument | None, parameter: str = "") -> Topic:
        return topic_of(stream, instrument, parameter)

    async def subscribe(self, topics: Sequence[Topic]) -> list[str | bytes]:
        return [payload_of("subscribe", topic) for topic in topics]

    async def unsubscribe(self, topics: Sequence[Topic]) -> list[str | bytes]:
        return [payload_of("unsubscribe", topic) for topic in topics]

    def is_heartbeat(self, data: str | bytes) -> bool:
        raise NotImplementedError("phase 3, step 1: whether a frame is the answer to a ping")
