"""One `metaAndAssetCtxs` per dex holds rates, volume and open interest of all its markets."""

from __future__ import annotations

from exchange_clients.base_funding_adapter import BaseFundingFetchers


class HyperliquidFundingFetchers(BaseFundingFetchers):
    """Open interest arrives in base units and is valued at mark."""
