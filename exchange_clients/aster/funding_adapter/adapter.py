"""Funding rates and market figures of all Aster markets."""

from __future__ import annotations

from exchange_clients.aster.common import SPEC
from exchange_clients.aster.funding_adapter.fetchers import AsterFundingFetchers
from exchange_clients.aster.funding_adapter.funding_client import AsterFundingClient
from exchange_clients.base_funding_adapter import BaseFundingAdapter


class AsterFundingAdapter(BaseFundingAdapter):
    spec = SPEC
    client_class = AsterFundingClient
    fetchers_class = AsterFundingFetchers
