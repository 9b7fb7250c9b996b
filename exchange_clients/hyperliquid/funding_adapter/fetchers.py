"""One `metaAndAssetCtxs` per dex holds rates, volume and open interest of all its markets."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import cast

from exchange_clients.base_funding_adapter import BaseFundingFetchers
from exchange_clients.hyperliquid.client.managers.market_data import HyperliquidMarketData
from exchange_clients.hyperliquid.client.utils import converters
from exchange_clients.model import FundingRateSample, Instrument


class HyperliquidFundingFetchers(BaseFundingFetchers):
    async def funding_rates(self) -> Mapping[Instrument, FundingRateSample]:
        rates = await self.client.market_data.fetch_funding_rates()
        return {self.context.instruments.get(key): sample for key, sample in rates.items()}

    async def market_data(self) -> Mapping[Instrument, Mapping[str, Decimal]]:
        """Open interest arrives in base units and is valued at mark."""
        data = cast(HyperliquidMarketData, self.client.market_data)
        now_ns = self.context.runtime.clock.time_ns()
        found: dict[Instrument, dict[str, Decimal]] = {}
        for dex in data.dexes:
            for instrument, ctx in (await data.fetch_contexts(dex)).values():
                ticker = converters.ticker(ctx, instrument, now_ns)
                figures = {"volume_24h": ticker.volume_24h, "open_interest": ticker.open_interest}
                found[instrument] = {name: value for name, value in figures.items() if value is not None}
        return found
