"""The streams of one Aster client."""

from __future__ import annotations

from collections.abc import Sequence

from exchange_clients.aster import messages as m
from exchange_clients.aster.common import PUBLIC
from exchange_clients.aster.websocket.connection import MAX_STREAMS, AsterDialect
from exchange_clients.aster.websocket.message_handler import AsterMessageHandler
from exchange_clients.aster.websocket.order_book import RULE, SNAPSHOT_LEVELS, start
from exchange_clients.base_websocket import BaseWebSocketManager
from exchange_clients.book import BookFeed
from exchange_clients.errors import SubscriptionRefused
from exchange_clients.model import Instrument
from exchange_clients.spec import Stream
from exchange_clients.subscriptions import Topic


class AsterWebSocketManager(BaseWebSocketManager):
    dialect_class = AsterDialect
    message_handler_class = AsterMessageHandler
    sequence_rule = RULE

    def _topics(self, stream: Stream, instrument: Instrument | None, parameter: str) -> list[Topic]:
        topics = super()._topics(stream, instrument, parameter)
        self._room_for(topics)
        return topics

    async def prepare_market_feed(self, instrument: Instrument, *, timeout_s: float = 10.0) -> None:
        self._room_for([self.dialect.topic(stream, instrument) for stream in (Stream.BOOK, Stream.BBO)])
        await super().prepare_market_feed(instrument, timeout_s=timeout_s)

    def _room_for(self, topics: Sequence[Topic]) -> None:
        """The venue refuses a whole message for one stream too many: none is asked for that it will not carry.

        Raises:
            SubscriptionRefused: nothing was asked for.
        """
        wanted = set(self.registry.wanted(PUBLIC))
        if len(wanted | {topic for topic in topics if topic.role == PUBLIC}) > max(MAX_STREAMS, len(wanted)):
            raise SubscriptionRefused(
                f"one connection carries {MAX_STREAMS} streams of markets, and {len(wanted)} are in use: end others or use a second client",
                venue=self.context.name,
            )

    async def fetch_snapshot(self, feed: BookFeed) -> None:
        symbol = self.context.instruments.get(feed.instrument).venue_symbol
        data: m.Depth = await self.context.rest.query("depth", symbol=symbol, limit=SNAPSHOT_LEVELS)
        self.book_changed(start(feed, data, self.context.runtime.clock.time_ns()))
