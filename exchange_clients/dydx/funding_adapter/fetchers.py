"""One `perpetualMarkets` holds rates, volume and open interest of all markets."""

from __future__ import annotations

from exchange_clients.base_funding_adapter import BaseFundingFetchers


class DydxFundingFetchers(BaseFundingFetchers):
    """Open interest arrives in base units and is valued at the oracle price."""
