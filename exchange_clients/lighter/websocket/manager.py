"""The streams of one Lighter client."""

from __future__ import annotations

from exchange_clients.base_websocket import BaseWebSocketManager
from exchange_clients.lighter.websocket.connection import LighterDialect
from exchange_clients.lighter.websocket.message_handler import LighterMessageHandler
from exchange_clients.lighter.websocket.order_book import RULE


class LighterWebSocketManager(BaseWebSocketManager):
    dialect_class = LighterDialect
    message_handler_class = LighterMessageHandler
    sequence_rule = RULE

    def say(self, role: str, message: str) -> None:
        """Answer the venue, outside of any subscription or command; lost with the connection."""
        if (socket := self._sockets.get(role)) is not None and socket.is_connected:
            self._errand(socket.send(message))
