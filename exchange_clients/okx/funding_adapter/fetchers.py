"""Intervals are each market's own: `nextFundingTime - fundingTime`."""

from __future__ import annotations

import asyncio
from typing import cast

from exchange_clients.base_funding_adapter import BaseFundingFetchers, Figures
from exchange_clients.model import Instrument, Ticker, VenueSnapshot
from exchange_clients.okx import messages as m
from exchange_clients.okx.client.managers.market_data import SWAP, OkxMarketData
from exchange_clients.okx.client.utils import converters


class OkxFundingFetchers(BaseFundingFetchers):
    """Rates of all swaps in one request; the venue tells last, open interest, mark and (by quote currency) index apart."""

    async def snapshot(self) -> VenueSnapshot:
        data = cast("OkxMarketData", self.client.market_data)
        listed = await self.client.instruments()
        rates = await data.funding_rows()
        figures = Figures()
        quotes = sorted({i.id.quote for i in listed if i.tradable and not i.id.inverse})
        tickers, interests, marks, *found = await asyncio.gather(
            figures.want("tickers", data.rows("tickers", instType=SWAP), []),
            figures.want("open-interest", data.rows("open_interest", instType=SWAP), []),
            figures.want("mark-price", data.rows("mark_price", instType=SWAP), []),
            *(figures.want(f"index-tickers {quote}", data.rows("index_tickers", quoteCcy=quote), []) for quote in quotes),
        )
        last: dict[str, m.TickerRow] = {row.instId: row for row in tickers}
        interest: dict[str, m.OpenInterestRow] = {row.instId: row for row in interests}
        mark: dict[str, m.MarkRow] = {row.instId: row for row in marks}
        index: dict[str, m.IndexRow] = {row.instId: row for rows in found for row in rows}

        def ticker(row: m.FundingRow, instrument: Instrument) -> Ticker | None:
            name, index_name = row.instId, data.cache.names(instrument).index_name
            marked = converters.maybe_price(mark[name].markPx, instrument, "markPx") if name in mark else None
            indexed = converters.maybe_price(index[index_name].idxPx, instrument, "idxPx") if index_name in index else None
            if name not in last:
                return Ticker(instrument=instrument.id, mark=marked, index=indexed)
            return converters.ticker(last[name], instrument, interest.get(name), mark=marked, index=indexed)

        return figures.snapshot(self.context.instruments.known(rates, lambda row: row.instId), converters.funding_now, ticker)
