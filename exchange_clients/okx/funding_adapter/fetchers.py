"""One `funding-rate?instId=ANY` holds the rates of all swaps; volume and open interest are one request each."""

from __future__ import annotations

from exchange_clients.base_funding_adapter import BaseFundingFetchers


class OkxFundingFetchers(BaseFundingFetchers):
    """Intervals are each market's own: `nextFundingTime - fundingTime`."""
