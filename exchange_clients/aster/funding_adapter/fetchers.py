"""`premiumIndex` and `fundingInfo` hold the rates of all markets, `ticker/24hr` the volumes; open interest is asked for a few at a time."""

from __future__ import annotations

from exchange_clients.base_funding_adapter import BaseFundingFetchers


class AsterFundingFetchers(BaseFundingFetchers):
    """Open interest arrives in base units, one side, and is valued at mark."""
