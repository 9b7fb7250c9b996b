"""Open interest arrives in base units and is valued at the oracle price."""

from __future__ import annotations

from typing import cast

from exchange_clients.base_funding_adapter import BaseFundingFetchers, Figures
from exchange_clients.dydx.client.managers.market_data import DydxMarketData
from exchange_clients.dydx.client.utils import converters
from exchange_clients.model import VenueSnapshot


class DydxFundingFetchers(BaseFundingFetchers):
    """One request tells markets, rates and figures."""

    async def snapshot(self) -> VenueSnapshot:
        data = cast("DydxMarketData", self.client.market_data)
        markets = await data.fetch_markets()
        self.context.instruments.renew(data.listed(markets))
        now_ns, venue_ns = self.context.runtime.clock.time_ns(), self.context.venue_time.now_ns()
        return Figures().snapshot(
            self.context.instruments.known(markets, lambda market: market.ticker),
            lambda market, i: converters.funding_now(market.nextFundingRate, i, venue_ns),
            lambda market, i: converters.ticker(market, i, now_ns),
        )
