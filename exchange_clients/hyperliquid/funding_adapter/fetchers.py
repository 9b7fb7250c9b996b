"""Open interest arrives in base units and is valued at mark."""

from __future__ import annotations

from typing import cast

from exchange_clients.base_funding_adapter import BaseFundingFetchers, Figures
from exchange_clients.hyperliquid import messages as m
from exchange_clients.hyperliquid.client.managers.market_data import HyperliquidMarketData
from exchange_clients.hyperliquid.client.utils import converters
from exchange_clients.model import Instrument, VenueSnapshot


class HyperliquidFundingFetchers(BaseFundingFetchers):
    """One request per dex tells markets, rates and figures. A builder's dex that fails leaves the others their rates."""

    async def snapshot(self) -> VenueSnapshot:
        data = cast("HyperliquidMarketData", self.client.market_data)
        figures = Figures()
        instruments: list[Instrument] = []
        rows: list[tuple[str, m.AssetCtx]] = []
        for dex in data.dexes:
            asked = self._ask(data, dex)
            found = await figures.want(f"dex {dex}", asked, None) if dex else await asked
            if found is None:
                instruments += [i for i in self.context.instruments.all() if i.id.dex == dex]
            else:
                instruments += found[0]
                rows += found[1]
        self.context.instruments.renew(instruments)
        now_ns, venue_ns = self.context.runtime.clock.time_ns(), self.context.venue_time.now_ns()
        return figures.snapshot(
            ((ctx, instrument) for (_, ctx), instrument in self.context.instruments.known(rows, lambda row: row[0])),
            lambda ctx, i: converters.funding_now(ctx, i, venue_ns),
            lambda ctx, i: converters.ticker(ctx, i, now_ns),
        )

    @staticmethod
    async def _ask(data: HyperliquidMarketData, dex: str) -> tuple[list[Instrument], list[tuple[str, m.AssetCtx]]]:
        meta, contexts = await data.fetch_states(dex)
        return await data.listed(dex, meta), [(asset.name, ctx) for asset, ctx in zip(meta.universe, contexts, strict=True)]
