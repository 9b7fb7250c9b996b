"""One socket for everything: no login, text pings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from exchange_clients.base_websocket import BaseDialect
from exchange_clients.context import ClientContext
from exchange_clients.hyperliquid.signing import trading_address
from exchange_clients.hyperliquid.websocket.market_switcher import subscription_for, topic_for
from exchange_clients.model import Instrument
from exchange_clients.spec import Stream
from exchange_clients.subscriptions import Topic
from exchange_clients.transport.dialect import Heartbeat

_PONG: Final = ('{"channel":"pong"}', b'{"channel":"pong"}')


class HyperliquidDialect(BaseDialect):
    """The venue closes a connection to which it has sent nothing for 60 s: pings keep it talking."""

    heartbeat = Heartbeat(every_s=20.0, message='{"method":"ping"}', timeout_s=50.0)

    def __init__(self, context: ClientContext) -> None:
        super().__init__(context)
        self._fast = bool(context.config.venue_options.get("fast_books", False))

    def _user(self) -> str | None:
        return trading_address(self.context) if self.context.signer is not None else None

    def topic(self, stream: Stream, instrument: Instrument | None, parameter: str = "") -> Topic:
        return topic_for(stream, instrument, parameter, self._user())

    async def subscribe(self, topics: Sequence[Topic]) -> list[str | bytes]:
        return [self._message("subscribe", topic) for topic in topics]

    async def unsubscribe(self, topics: Sequence[Topic]) -> list[str | bytes]:
        return [self._message("unsubscribe", topic) for topic in topics]

    def _message(self, method: str, topic: Topic) -> str:
        coin = self.context.instruments.get(topic.instrument).venue_symbol if topic.instrument is not None else ""
        subscription = subscription_for(topic, coin, self._user(), fast=self._fast)
        return msgspec.json.encode({"method": method, "subscription": subscription}).decode()

    def is_heartbeat(self, data: str | bytes) -> bool:
        return data in _PONG
