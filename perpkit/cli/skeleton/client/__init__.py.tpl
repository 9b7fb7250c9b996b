"""$title. See docs/$page."""

from $package.client.core import ${Name}Client
from $package.common import SPEC, get_${name}_symbol_format, normalize_symbol
from $package.funding_adapter.adapter import ${Name}FundingAdapter
from $package.websocket.manager import ${Name}WebSocketManager
from exchange_clients.venues import Venue

__all__ = [
    "SPEC",
    "VENUE",
    "${Name}Client",
    "${Name}FundingAdapter",
    "get_${name}_symbol_format",
    "normalize_symbol",
]

VENUE = Venue(SPEC, ${Name}Client, ${Name}WebSocketManager, ${Name}FundingAdapter)
