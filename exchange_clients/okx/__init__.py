"""OKX: linear and inverse perpetual swaps of a central exchange. See docs/venues/okx.md."""

from exchange_clients.okx.client.core import OkxClient
from exchange_clients.okx.common import SPEC, get_okx_symbol_format, normalize_symbol
from exchange_clients.okx.funding_adapter.adapter import OkxFundingAdapter
from exchange_clients.okx.websocket.manager import OkxWebSocketManager
from exchange_clients.venues import Venue

__all__ = ["SPEC", "VENUE", "OkxClient", "OkxFundingAdapter", "get_okx_symbol_format", "normalize_symbol"]

VENUE = Venue(SPEC, OkxClient, OkxWebSocketManager, OkxFundingAdapter)
