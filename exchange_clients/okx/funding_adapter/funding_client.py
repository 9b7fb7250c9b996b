"""The adapter's connection: public data only."""

from __future__ import annotations

from exchange_clients.base_funding_adapter import BaseFundingClient
from exchange_clients.okx.client.managers.market_data import OkxMarketData


class OkxFundingClient(BaseFundingClient):
    market_data_class = OkxMarketData
