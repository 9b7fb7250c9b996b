"""Open interest is valued at mark, one-sided; the venue's own page shows both sides."""

from __future__ import annotations

from typing import cast

from exchange_clients.base_funding_adapter import BaseFundingFetchers, Figures
from exchange_clients.lighter.client.managers.market_data import LighterMarketData
from exchange_clients.lighter.client.utils import converters
from exchange_clients.model import VenueSnapshot


class LighterFundingFetchers(BaseFundingFetchers):
    """Two requests: the table of rates, and the markets with their state."""

    async def snapshot(self) -> VenueSnapshot:
        data = cast("LighterMarketData", self.client.market_data)
        rates = await data.listed_rates()
        figures = Figures()
        markets = await figures.want_rows("orderBookDetails", data.fetch_markets(), lambda market: str(market.market_id))
        if markets:
            self.context.instruments.renew(converters.instrument(market) for market in markets.values())
        else:
            await self.client.instruments()
        now_ns, venue_ns = self.context.runtime.clock.time_ns(), self.context.venue_time.now_ns()
        return figures.snapshot(
            self.context.instruments.known(rates, lambda row: row.market_id),
            lambda row, i: converters.funding_listed(row, i, venue_ns),
            lambda row, i: converters.ticker(markets[i.contract_id], i, now_ns) if i.contract_id in markets else None,
        )
