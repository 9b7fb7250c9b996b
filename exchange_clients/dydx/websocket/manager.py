"""The streams of one dYdX client."""

from __future__ import annotations

import asyncio

from exchange_clients.base_websocket import BaseWebSocketManager
from exchange_clients.context import ClientContext
from exchange_clients.dydx.client.utils.options import Rules
from exchange_clients.dydx.common import ROLE
from exchange_clients.dydx.websocket.connection import DydxDialect
from exchange_clients.dydx.websocket.market_switcher import BLOCKS_TOPIC
from exchange_clients.dydx.websocket.message_handler import DydxMessageHandler
from exchange_clients.dydx.websocket.order_book import RULE
from exchange_clients.spec import Stream
from exchange_clients.subscriptions import Topic


class DydxWebSocketManager(BaseWebSocketManager):
    """The venue listens to a book's changes only after it has taken the snapshot: what falls between is lost, and nothing tells.

    So every book is subscribed to anew now and then; the next snapshot takes the place of what there is, which stays usable until then.
    """

    dialect_class = DydxDialect
    message_handler_class = DydxMessageHandler
    sequence_rule = RULE

    def __init__(self, context: ClientContext) -> None:
        super().__init__(context)
        self._every_s = Rules.of(context).resync_books_s
        self._resyncing: asyncio.Task[None] | None = None

    async def connect(self, *, timeout_s: float = 15.0) -> None:
        await super().connect(timeout_s=timeout_s)
        if self._resyncing is None or self._resyncing.done():
            self._resyncing = self.errand(self._resync())

    def private_topics(self) -> list[Topic]:
        """The subaccount, and the heights that short-term orders live by."""
        return [*super().private_topics(), BLOCKS_TOPIC]

    async def _resync(self) -> None:
        while True:
            await self.context.runtime.clock.sleep(self._every_s)
            for topic in self.registry.wanted(ROLE):
                if topic.stream is Stream.BOOK and self.registry.is_confirmed(topic):
                    await self._resubscribe(topic)
