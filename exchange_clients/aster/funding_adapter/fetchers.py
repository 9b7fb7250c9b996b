"""Open interest arrives in base units, one side, and is valued at mark."""

from __future__ import annotations

from typing import cast

from exchange_clients.aster import messages as m
from exchange_clients.aster.client.managers.market_data import AsterMarketData
from exchange_clients.aster.client.utils import converters
from exchange_clients.base_funding_adapter import BaseFundingFetchers, Figures
from exchange_clients.errors import ProtocolError
from exchange_clients.model import FundingRateSample, Instrument, VenueSnapshot


class AsterFundingFetchers(BaseFundingFetchers):
    """Rates with prices, intervals and days of all markets: three requests, and open interest for a few markets at a time."""

    async def snapshot(self) -> VenueSnapshot:
        data = cast("AsterMarketData", self.client.market_data)
        await self.client.instruments()
        intervals = await data.intervals()
        premiums = await data.premiums()
        figures = Figures()
        days = await figures.want_rows("ticker/24hr", data.days(), lambda row: row.symbol)
        interests = await figures.want("openInterest", data.interests(list(days.values())), data.known_interests)
        now_ns = self.context.runtime.clock.time_ns()

        def rate(row: m.PremiumIndex, instrument: Instrument) -> FundingRateSample | None:
            interval = intervals.get(row.symbol)
            if interval is None and row.lastFundingRate is not None and row.nextFundingTime:
                raise ProtocolError(f"the venue tells no funding interval of {row.symbol}", venue=self.context.name)
            return converters.funding_now(row, interval, instrument) if interval is not None else None

        return figures.snapshot(
            self.context.instruments.known(premiums, lambda row: row.symbol),
            rate,
            lambda row, i: converters.ticker(i, row, days.get(row.symbol), interests.get(row.symbol), now_ns),
        )
