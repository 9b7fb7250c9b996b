"""Hyperliquid: order-book perpetuals on their own chain. See docs/venues/hyperliquid.md."""

from exchange_clients.hyperliquid.client.core import HyperliquidClient
from exchange_clients.hyperliquid.common import SPEC, get_hyperliquid_symbol_format, normalize_symbol
from exchange_clients.hyperliquid.funding_adapter.adapter import HyperliquidFundingAdapter
from exchange_clients.hyperliquid.websocket.manager import HyperliquidWebSocketManager
from exchange_clients.venues import Venue

__all__ = ["SPEC", "VENUE", "HyperliquidClient", "HyperliquidFundingAdapter", "get_hyperliquid_symbol_format", "normalize_symbol"]

VENUE = Venue(SPEC, HyperliquidClient, HyperliquidWebSocketManager, HyperliquidFundingAdapter)
