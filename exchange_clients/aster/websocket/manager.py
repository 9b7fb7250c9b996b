"""The streams of one Aster client."""

from __future__ import annotations

from exchange_clients.aster import messages as m
from exchange_clients.aster.websocket.connection import AsterDialect
from exchange_clients.aster.websocket.message_handler import AsterMessageHandler
from exchange_clients.aster.websocket.order_book import RULE, SNAPSHOT_LEVELS, start
from exchange_clients.base_websocket import BaseWebSocketManager
from exchange_clients.book import BookFeed


class AsterWebSocketManager(BaseWebSocketManager):
    dialect_class = AsterDialect
    message_handler_class = AsterMessageHandler
    sequence_rule = RULE

    async def fetch_snapshot(self, feed: BookFeed) -> None:
        symbol = self.context.instruments.get(feed.instrument).venue_symbol
        data: m.Depth = await self.context.rest.query("depth", symbol=symbol, limit=SNAPSHOT_LEVELS)
        self.book_changed(start(feed, data, self.context.runtime.clock.time_ns()))
