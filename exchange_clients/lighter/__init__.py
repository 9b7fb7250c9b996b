"""Lighter: order-book perpetuals on a zero-knowledge rollup. See docs/venues/lighter.md."""

from exchange_clients.lighter.client.core import LighterClient
from exchange_clients.lighter.common import SPEC, get_lighter_symbol_format, normalize_symbol
from exchange_clients.lighter.funding_adapter.adapter import LighterFundingAdapter
from exchange_clients.lighter.websocket.manager import LighterWebSocketManager
from exchange_clients.venues import Venue

__all__ = ["SPEC", "VENUE", "LighterClient", "LighterFundingAdapter", "get_lighter_symbol_format", "normalize_symbol"]

VENUE = Venue(SPEC, LighterClient, LighterWebSocketManager, LighterFundingAdapter)
