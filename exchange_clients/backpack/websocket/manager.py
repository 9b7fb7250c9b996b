"""The streams of one Backpack client."""

from __future__ import annotations

from exchange_clients.backpack import messages as m
from exchange_clients.backpack.websocket import order_book
from exchange_clients.backpack.websocket.connection import BackpackDialect
from exchange_clients.backpack.websocket.message_handler import BackpackMessageHandler
from exchange_clients.base_websocket import BaseWebSocketManager
from exchange_clients.book import BookFeed


class BackpackWebSocketManager(BaseWebSocketManager):
    dialect_class = BackpackDialect
    message_handler_class = BackpackMessageHandler
    sequence_rule = order_book.RULE

    async def fetch_snapshot(self, feed: BookFeed) -> None:
        symbol = self.context.instruments.get(feed.instrument).venue_symbol
        data: m.Depth = await self.context.rest.query("depth", symbol=symbol, limit=order_book.SNAPSHOT_LEVELS)
        self.book_changed(order_book.snapshot(feed, data, self.context.runtime.clock.time_ns()))
