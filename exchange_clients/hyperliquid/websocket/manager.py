"""The streams of one Hyperliquid client."""

from __future__ import annotations

from exchange_clients.base_websocket import BaseWebSocketManager
from exchange_clients.hyperliquid.client.managers.market_data import configured_dexes
from exchange_clients.hyperliquid.client.utils.caching import venue_cache
from exchange_clients.hyperliquid.websocket.connection import HyperliquidDialect
from exchange_clients.hyperliquid.websocket.market_switcher import SPOT_STATE
from exchange_clients.hyperliquid.websocket.message_handler import HyperliquidMessageHandler
from exchange_clients.hyperliquid.websocket.order_book import RULE
from exchange_clients.spec import Stream
from exchange_clients.subscriptions import Topic


class HyperliquidWebSocketManager(BaseWebSocketManager):
    dialect_class = HyperliquidDialect
    message_handler_class = HyperliquidMessageHandler
    sequence_rule = RULE

    def private_topics(self) -> list[Topic]:
        """Orders, fills and events of the account, its state on every dex, and the spot balance where that is the collateral."""
        topics = [self.dialect.topic(stream, None) for stream in (Stream.ORDERS, Stream.FILLS, Stream.LIQUIDATIONS)]
        topics += [self.dialect.topic(Stream.POSITIONS, None, dex) for dex in configured_dexes(self.context)]
        if venue_cache(self.context).shared_collateral:
            topics.append(self.dialect.topic(Stream.ACCOUNT, None, SPOT_STATE))
        return topics
