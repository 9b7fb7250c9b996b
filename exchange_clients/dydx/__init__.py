"""dYdX v4: order-book perpetuals on their own Cosmos chain, read through an indexer. See docs/venues/dydx.md."""

from exchange_clients.dydx.client.core import DydxClient
from exchange_clients.dydx.common import SPEC, get_dydx_symbol_format, normalize_symbol
from exchange_clients.dydx.funding_adapter.adapter import DydxFundingAdapter
from exchange_clients.dydx.websocket.manager import DydxWebSocketManager
from exchange_clients.venues import Venue

__all__ = ["SPEC", "VENUE", "DydxClient", "DydxFundingAdapter", "get_dydx_symbol_format", "normalize_symbol"]

VENUE = Venue(SPEC, DydxClient, DydxWebSocketManager, DydxFundingAdapter)
