"""Funding rates and market figures of all Backpack markets."""

from __future__ import annotations

from exchange_clients.backpack.common import SPEC
from exchange_clients.backpack.funding_adapter.fetchers import BackpackFundingFetchers
from exchange_clients.backpack.funding_adapter.funding_client import BackpackFundingClient
from exchange_clients.base_funding_adapter import BaseFundingAdapter


class BackpackFundingAdapter(BaseFundingAdapter):
    spec = SPEC
    client_class = BackpackFundingClient
    fetchers_class = BackpackFundingFetchers
