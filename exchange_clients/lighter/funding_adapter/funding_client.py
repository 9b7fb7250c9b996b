"""The adapter's connection: public data only."""

from __future__ import annotations

from exchange_clients.base_funding_adapter import BaseFundingClient
from exchange_clients.lighter.client.managers.market_data import LighterMarketData


class LighterFundingClient(BaseFundingClient):
    market_data_class = LighterMarketData
