"""One `markPrices` holds the rates of all markets; their figures are joined from `tickers`, `markPrices` and `openInterest`."""

from __future__ import annotations

from exchange_clients.base_funding_adapter import BaseFundingFetchers


class BackpackFundingFetchers(BaseFundingFetchers):
    """Open interest arrives in base units and is valued at mark."""
