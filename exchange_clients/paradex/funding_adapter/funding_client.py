"""The adapter's connection: public data only."""

from __future__ import annotations

from exchange_clients.base_funding_adapter import BaseFundingClient
from exchange_clients.paradex.client.managers.market_data import ParadexMarketData


class ParadexFundingClient(BaseFundingClient):
    market_data_class = ParadexMarketData
