"""Funding rates and market figures of all Hyperliquid markets."""

from __future__ import annotations

from exchange_clients.base_funding_adapter import BaseFundingAdapter
from exchange_clients.hyperliquid.common import SPEC
from exchange_clients.hyperliquid.funding_adapter.fetchers import HyperliquidFundingFetchers
from exchange_clients.hyperliquid.funding_adapter.funding_client import HyperliquidFundingClient


class HyperliquidFundingAdapter(BaseFundingAdapter):
    spec = SPEC
    client_class = HyperliquidFundingClient
    fetchers_class = HyperliquidFundingFetchers
