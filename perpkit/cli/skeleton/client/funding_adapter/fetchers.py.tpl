"""Phase 1, step 4: only where the market data asks in more requests than there need be."""

from __future__ import annotations

from exchange_clients.base_funding_adapter import BaseFundingFetchers


class ${Name}FundingFetchers(BaseFundingFetchers):
    """The market data says it all."""
