"""Backpack: a custodial order-book exchange; perpetuals with USDC cross margin. See docs/venues/backpack.md."""

from exchange_clients.backpack.client.core import BackpackClient
from exchange_clients.backpack.common import SPEC, get_backpack_symbol_format, normalize_symbol
from exchange_clients.backpack.funding_adapter.adapter import BackpackFundingAdapter
from exchange_clients.backpack.websocket.manager import BackpackWebSocketManager
from exchange_clients.venues import Venue

__all__ = ["SPEC", "VENUE", "BackpackClient", "BackpackFundingAdapter", "get_backpack_symbol_format", "normalize_symbol"]

VENUE = Venue(SPEC, BackpackClient, BackpackWebSocketManager, BackpackFundingAdapter)
