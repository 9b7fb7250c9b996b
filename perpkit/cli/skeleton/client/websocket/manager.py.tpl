"""The streams of one $title client."""

from __future__ import annotations

from $package.websocket.connection import ${Name}Dialect
from $package.websocket.message_handler import ${Name}MessageHandler
from $package.websocket.order_book import RULE
from exchange_clients.base_websocket import BaseWebSocketManager


class ${Name}WebSocketManager(BaseWebSocketManager):
    dialect_class = ${Name}Dialect
    message_handler_class = ${Name}MessageHandler
    sequence_rule = RULE
