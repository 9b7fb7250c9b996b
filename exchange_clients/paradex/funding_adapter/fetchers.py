"""Open interest arrives in base units and is valued at mark."""

from __future__ import annotations

from typing import Final, cast

from exchange_clients.base_funding_adapter import BaseFundingFetchers, Figures
from exchange_clients.model import VenueSnapshot
from exchange_clients.paradex.client.managers.market_data import ParadexMarketData
from exchange_clients.paradex.client.utils import converters

PERIODS_AGE_S: Final = 30.0
"""Rates do not say their period: it comes from the list of markets, which is at most this old."""


class ParadexFundingFetchers(BaseFundingFetchers):
    """Two requests: the list with the periods, and the summary of all markets. Bid and ask are the book's, retail liquidity included."""

    async def snapshot(self) -> VenueSnapshot:
        data = cast("ParadexMarketData", self.client.market_data)
        await self.context.instruments.load_all(max_age_s=PERIODS_AGE_S)
        now_ns = self.context.runtime.clock.time_ns()
        return Figures().snapshot(
            await data.summaries(),
            converters.funding_now,
            lambda row, i: converters.ticker(row, i, now_ns),
        )
