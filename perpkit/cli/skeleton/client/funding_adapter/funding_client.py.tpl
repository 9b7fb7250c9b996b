"""The adapter's connection: public data only."""

from __future__ import annotations

from $package.client.managers.market_data import ${Name}MarketData
from exchange_clients.base_funding_adapter import BaseFundingClient


class ${Name}FundingClient(BaseFundingClient):
    market_data_class = ${Name}MarketData
