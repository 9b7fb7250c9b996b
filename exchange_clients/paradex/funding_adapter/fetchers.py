"""One `markets/summary` holds rates, volume and open interest of all markets; the period of each rate is in the instrument table."""

from __future__ import annotations

from exchange_clients.base_funding_adapter import BaseFundingFetchers


class ParadexFundingFetchers(BaseFundingFetchers):
    """Open interest arrives in base units and is valued at mark."""
