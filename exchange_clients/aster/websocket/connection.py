"""Two sockets: a combined stream of markets, and the account's under its listen key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from exchange_clients.aster import messages as m
from exchange_clients.aster.common import PRIVATE
from exchange_clients.aster.websocket.market_switcher import topic_for
from exchange_clients.base_websocket import BaseDialect
from exchange_clients.context import ClientContext
from exchange_clients.errors import RequestRefused
from exchange_clients.model import Instrument
from exchange_clients.spec import Stream
from exchange_clients.subscriptions import Topic
from exchange_clients.transport.dialect import Heartbeat

RENEW_EVERY_S: Final = 1500.0
RETRY_EVERY_S: Final = 60.0
NO_SUCH_KEY: Final = "-1125"
MAX_STREAMS: Final = 200
"""Of one connection, by the venue."""
STREAMS_PER_MESSAGE: Final = 50


class AsterDialect(BaseDialect):
    """The venue pings every five minutes; pings of our own notice a dead connection sooner. It ends every socket after a day."""

    heartbeat = Heartbeat(every_s=25.0, message=None, timeout_s=60.0)
    max_age_s = 23 * 3600.0

    def __init__(self, context: ClientContext) -> None:
        super().__init__(context)
        self._number = 0
        self._asked: dict[int, tuple[str, ...]] = {}
        self._renew_at_s: float | None = None

    # ---- addresses

    async def url(self, role: str) -> str:
        """The account's has a key in it, asked for anew with each connection: the venue gives the one that lives, or a new one."""
        url = await super().url(role)
        if role != PRIVATE:
            self._asked.clear()  # nobody answers what the last connection asked
            return url
        answer: m.ListenKey = await self.context.rest.query("startListenKey")
        self._renew_at_s = self.context.runtime.clock.elapsed() + RENEW_EVERY_S
        return f"{url}/{answer.listenKey}"

    async def keep_listen_key(self) -> None:
        """Called every few seconds; extends the key every 25 minutes of its hour. A key that is gone ends the socket that stands on it.

        Raises what the request raises; it is made again after a minute.
        """
        now_s = self.context.runtime.clock.elapsed()
        if self._renew_at_s is None or now_s < self._renew_at_s:
            return
        self._renew_at_s = now_s + RETRY_EVERY_S
        try:
            await self.context.rest.query("extendListenKey")
        except RequestRefused as e:
            if e.code != NO_SUCH_KEY:
                raise
            self.context.websocket.reconnect(PRIVATE, "the venue does not know the listen key any more")
        else:
            self._renew_at_s = now_s + RENEW_EVERY_S

    # ---- topics

    def topic(self, stream: Stream, instrument: Instrument | None, parameter: str = "") -> Topic:
        return topic_for(stream, instrument, parameter)

    def silence_s(self, topic: Topic) -> float | None:
        """The account's events come with the connection: nothing subscribes to them, nothing answers."""
        return 0.0 if topic.role == PRIVATE else None

    async def subscribe(self, topics: Sequence[Topic]) -> list[str | bytes]:
        return self._message("SUBSCRIBE", topics)

    async def unsubscribe(self, topics: Sequence[Topic]) -> list[str | bytes]:
        return self._message("UNSUBSCRIBE", topics)

    def _message(self, method: str, topics: Sequence[Topic]) -> list[str | bytes]:
        """Many in one: messages are counted."""
        channels = [topic.channel for topic in topics if topic.role != PRIVATE]
        messages: list[str | bytes] = []
        for start in range(0, len(channels), STREAMS_PER_MESSAGE):
            some = tuple(channels[start : start + STREAMS_PER_MESSAGE])
            self._number += 1
            if method == "SUBSCRIBE":
                self._asked[self._number] = some
            messages.append(msgspec.json.encode({"method": method, "params": some, "id": self._number}).decode())
        return messages

    def answered(self, number: int | None) -> tuple[str, ...]:
        """The channels that a request asked for. An answer that names none can only be of the one that is out, if it is one."""
        if number is None and len(self._asked) == 1:
            number = next(iter(self._asked))
        return self._asked.pop(number, ()) if number is not None else ()
