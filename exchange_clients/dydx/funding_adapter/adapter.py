"""Funding rates and market figures of all dYdX markets."""

from __future__ import annotations

from exchange_clients.base_funding_adapter import BaseFundingAdapter
from exchange_clients.dydx.common import SPEC
from exchange_clients.dydx.funding_adapter.fetchers import DydxFundingFetchers
from exchange_clients.dydx.funding_adapter.funding_client import DydxFundingClient


class DydxFundingAdapter(BaseFundingAdapter):
    spec = SPEC
    client_class = DydxFundingClient
    fetchers_class = DydxFundingFetchers
