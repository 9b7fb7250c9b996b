"""Open interest arrives in base units and is valued at mark."""

from __future__ import annotations

from typing import Final, cast

from exchange_clients.backpack.client.managers.market_data import BackpackMarketData
from exchange_clients.backpack.client.utils import converters
from exchange_clients.base_funding_adapter import BaseFundingFetchers, Figures
from exchange_clients.model import VenueSnapshot

INTERVALS_AGE_S: Final = 30.0
"""Rates do not say their interval: it comes from the list of markets, which is at most this old."""


class BackpackFundingFetchers(BaseFundingFetchers):
    """Four requests for all markets: the list with the intervals, marks with the rates, days, open interest."""

    async def snapshot(self) -> VenueSnapshot:
        data = cast("BackpackMarketData", self.client.market_data)
        await self.context.instruments.load_all(max_age_s=INTERVALS_AGE_S)
        marks = await data.mark_prices()
        figures = Figures()
        days = await figures.want_rows("tickers", data.days(), lambda row: row.symbol)
        interest = await figures.want_rows("openInterest", data.interests(), lambda row: row.symbol)
        now_ns = self.context.runtime.clock.time_ns()
        venue_ns = self.context.venue_time.now_ns()
        return figures.snapshot(
            self.context.instruments.known(marks.values(), lambda row: row.symbol),
            lambda row, i: converters.funding_now(row.fundingRate, row.nextFundingTimestamp, i, venue_ns),
            lambda row, i: converters.ticker(i, days.get(row.symbol), row, interest.get(row.symbol), now_ns),
        )
