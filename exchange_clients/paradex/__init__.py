"""Paradex: order-book perpetuals on a Starknet appchain. See docs/venues/paradex.md."""

from exchange_clients.paradex.client.core import ParadexClient
from exchange_clients.paradex.common import SPEC, get_paradex_symbol_format, normalize_symbol
from exchange_clients.paradex.funding_adapter.adapter import ParadexFundingAdapter
from exchange_clients.paradex.websocket.manager import ParadexWebSocketManager
from exchange_clients.venues import Venue

__all__ = ["SPEC", "VENUE", "ParadexClient", "ParadexFundingAdapter", "get_paradex_symbol_format", "normalize_symbol"]

VENUE = Venue(SPEC, ParadexClient, ParadexWebSocketManager, ParadexFundingAdapter)
