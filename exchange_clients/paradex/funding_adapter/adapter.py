"""Funding rates and market figures of all Paradex markets."""

from __future__ import annotations

from exchange_clients.base_funding_adapter import BaseFundingAdapter
from exchange_clients.paradex.common import SPEC
from exchange_clients.paradex.funding_adapter.fetchers import ParadexFundingFetchers
from exchange_clients.paradex.funding_adapter.funding_client import ParadexFundingClient


class ParadexFundingAdapter(BaseFundingAdapter):
    spec = SPEC
    client_class = ParadexFundingClient
    fetchers_class = ParadexFundingFetchers
