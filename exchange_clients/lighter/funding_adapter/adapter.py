"""Funding rates and market figures of all Lighter markets."""

from __future__ import annotations

from exchange_clients.base_funding_adapter import BaseFundingAdapter
from exchange_clients.lighter.common import SPEC
from exchange_clients.lighter.funding_adapter.fetchers import LighterFundingFetchers
from exchange_clients.lighter.funding_adapter.funding_client import LighterFundingClient


class LighterFundingAdapter(BaseFundingAdapter):
    spec = SPEC
    client_class = LighterFundingClient
    fetchers_class = LighterFundingFetchers
