"""One request each: `funding-rates` (fraction per 8 hours), `orderBookDetails` (volume in USD, open interest in base units)."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import cast

from exchange_clients.base_funding_adapter import BaseFundingFetchers
from exchange_clients.lighter.client.managers.market_data import LighterMarketData
from exchange_clients.lighter.client.utils import converters
from exchange_clients.model import FundingRateSample, Instrument


class LighterFundingFetchers(BaseFundingFetchers):
    async def funding_rates(self) -> Mapping[Instrument, FundingRateSample]:
        rates = await self.client.market_data.fetch_funding_rates()
        return {self.context.instruments.get(key): sample for key, sample in rates.items()}

    async def market_data(self) -> Mapping[Instrument, Mapping[str, Decimal]]:
        """Open interest is valued at mark, one-sided; the venue's own page shows both sides."""
        now_ns = self.context.runtime.clock.time_ns()
        found: dict[Instrument, dict[str, Decimal]] = {}
        for market in await cast(LighterMarketData, self.client.market_data).fetch_markets():
            instrument = self.context.instruments.by_contract(str(market.market_id))
            if instrument is not None:
                ticker = converters.ticker(market, instrument, now_ns)
                figures = {"volume_24h": ticker.volume_24h, "open_interest": ticker.open_interest}
                found[instrument] = {name: value for name, value in figures.items() if value is not None}
        return found
