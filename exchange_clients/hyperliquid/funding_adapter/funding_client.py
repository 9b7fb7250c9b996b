"""The adapter's connection: public data only."""

from __future__ import annotations

from exchange_clients.base_funding_adapter import BaseFundingClient
from exchange_clients.hyperliquid.client.managers.market_data import HyperliquidMarketData


class HyperliquidFundingClient(BaseFundingClient):
    market_data_class = HyperliquidMarketData
