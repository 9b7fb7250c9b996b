"""Funding rates and market figures of all $title markets."""

from __future__ import annotations

from $package.common import SPEC
from $package.funding_adapter.fetchers import ${Name}FundingFetchers
from $package.funding_adapter.funding_client import ${Name}FundingClient
from exchange_clients.base_funding_adapter import BaseFundingAdapter


class ${Name}FundingAdapter(BaseFundingAdapter):
    spec = SPEC
    client_class = ${Name}FundingClient
    fetchers_class = ${Name}FundingFetchers
