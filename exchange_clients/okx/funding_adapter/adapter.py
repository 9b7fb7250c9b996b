"""Funding rates and market figures of all OKX swaps."""

from __future__ import annotations

from exchange_clients.base_funding_adapter import BaseFundingAdapter
from exchange_clients.okx.common import SPEC
from exchange_clients.okx.funding_adapter.fetchers import OkxFundingFetchers
from exchange_clients.okx.funding_adapter.funding_client import OkxFundingClient


class OkxFundingAdapter(BaseFundingAdapter):
    spec = SPEC
    client_class = OkxFundingClient
    fetchers_class = OkxFundingFetchers
