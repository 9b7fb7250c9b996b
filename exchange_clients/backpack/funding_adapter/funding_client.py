"""The adapter's connection: public data only."""

from __future__ import annotations

from exchange_clients.backpack.client.managers.market_data import BackpackMarketData
from exchange_clients.base_funding_adapter import BaseFundingClient


class BackpackFundingClient(BaseFundingClient):
    market_data_class = BackpackMarketData
