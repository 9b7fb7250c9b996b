"""The adapter's connection: public data only."""

from __future__ import annotations

from exchange_clients.aster.client.managers.market_data import AsterMarketData
from exchange_clients.base_funding_adapter import BaseFundingClient


class AsterFundingClient(BaseFundingClient):
    market_data_class = AsterMarketData
