"""One request each: `funding-rates` (fraction per 8 hours), `orderBookDetails` (volume in USD, open interest in base units)."""

from __future__ import annotations

from exchange_clients.base_funding_adapter import BaseFundingFetchers


class LighterFundingFetchers(BaseFundingFetchers):
    """Open interest is valued at mark, one-sided; the venue's own page shows both sides."""
