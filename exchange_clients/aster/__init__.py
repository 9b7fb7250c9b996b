"""Aster: order-book perpetuals settled on its own chain, with an API in the family of Binance's. See docs/venues/aster.md."""

from exchange_clients.aster.client.core import AsterClient
from exchange_clients.aster.common import SPEC, get_aster_symbol_format, normalize_symbol
from exchange_clients.aster.funding_adapter.adapter import AsterFundingAdapter
from exchange_clients.aster.websocket.manager import AsterWebSocketManager
from exchange_clients.venues import Venue

__all__ = ["SPEC", "VENUE", "AsterClient", "AsterFundingAdapter", "get_aster_symbol_format", "normalize_symbol"]

VENUE = Venue(SPEC, AsterClient, AsterWebSocketManager, AsterFundingAdapter)
