"""The streams of one Paradex client."""

from __future__ import annotations

from exchange_clients.base_websocket import BaseWebSocketManager
from exchange_clients.book import SequenceRule
from exchange_clients.context import ClientContext
from exchange_clients.paradex.common import Options
from exchange_clients.paradex.websocket.connection import ParadexDialect
from exchange_clients.paradex.websocket.message_handler import ParadexMessageHandler
from exchange_clients.paradex.websocket.order_book import DELTAS, PERIODIC


class ParadexWebSocketManager(BaseWebSocketManager):
    """Only the book of deltas shows exactly what our orders can hit; of the others no price is taken."""

    dialect_class = ParadexDialect
    message_handler_class = ParadexMessageHandler
    sequence_rule: SequenceRule = DELTAS

    def __init__(self, context: ClientContext) -> None:
        super().__init__(context)
        book = Options.of(context.config.venue_options).book
        self.exact_books = book == "deltas"
        if book == "interactive":
            self.sequence_rule = PERIODIC
