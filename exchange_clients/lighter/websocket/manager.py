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
