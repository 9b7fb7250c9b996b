"""The adapter's connection: public data only."""

from __future__ import annotations

from exchange_clients.base_funding_adapter import BaseFundingClient
from exchange_clients.dydx.client.managers.market_data import DydxMarketData


class DydxFundingClient(BaseFundingClient):
    market_data_class = DydxMarketData
