"""The streams of one OKX client: up to three sockets, opened as they are needed."""

from __future__ import annotations

from typing import Final

from exchange_clients.base_websocket import BaseWebSocketManager
from exchange_clients.book import BookFeed
from exchange_clients.context import ClientContext
from exchange_clients.errors import ProtocolError
from exchange_clients.okx.websocket.connection import OkxDialect
from exchange_clients.okx.websocket.market_switcher import algo_topic
from exchange_clients.okx.websocket.message_handler import OkxMessageHandler
from exchange_clients.okx.websocket.order_book import RULE, whole
from exchange_clients.subscriptions import Topic

RESUBSCRIBE_EVERY_S: Final = 10.0
"""A book is subscribed anew at most so often: each time costs 2 of the 480 operations that a connection has per hour."""
SNAPSHOT_LEVELS: Final = 400


class OkxWebSocketManager(BaseWebSocketManager):
    dialect_class = OkxDialect
    message_handler_class = OkxMessageHandler
    sequence_rule = RULE

    def __init__(self, context: ClientContext) -> None:
        super().__init__(context)
        self._resubscribed: dict[Topic, float] = {}
        self._resubscribing: set[Topic] = set()

    def private_topics(self) -> list[Topic]:
        """Trigger orders are told on the business socket."""
        return [*super().private_topics(), algo_topic()]

    async def _resubscribe(self, topic: Topic) -> None:
        """Once at a time per book; a book that healed while it waited is left alone."""
        if topic in self._resubscribing:
            return
        self._resubscribing.add(topic)
        try:
            clock = self.context.runtime.clock
            wait_s = self._resubscribed.get(topic, -RESUBSCRIBE_EVERY_S) + RESUBSCRIBE_EVERY_S - clock.monotonic()
            if wait_s > 0:
                await clock.sleep(wait_s)
            instrument = self.context.instruments.get(topic.instrument) if topic.instrument is not None else None
            healed = instrument is not None and self.order_book_ready(instrument)
            if topic in self.registry.wanted(topic.role) and not healed:
                self._resubscribed[topic] = clock.monotonic()
                await super()._resubscribe(topic)
        finally:
            self._resubscribing.discard(topic)

    async def fetch_snapshot(self, feed: BookFeed) -> None:
        """For a subscription whose first message was an update: the venue announced that the stream's snapshots may end."""
        instrument = self.context.instruments.get(feed.instrument)
        reply = await self.context.rest.query("book_levels", instId=instrument.venue_symbol, sz=SNAPSHOT_LEVELS)
        if not reply.data:
            raise ProtocolError(f"no book of {instrument.venue_symbol}", venue=self.context.name)
        self.book_changed(whole(feed, reply.data[0], self.context.runtime.clock.time_ns()))
