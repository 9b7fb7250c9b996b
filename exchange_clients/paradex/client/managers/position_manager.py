"""Positions and funding payments."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Final

from exchange_clients.base_managers import BasePositionManager
from exchange_clients.errors import VenueError
from exchange_clients.model import FundingPayment, Instrument, InstrumentId, Position
from exchange_clients.paradex import messages as m
from exchange_clients.paradex.client.managers.market_data import fetch_pages
from exchange_clients.paradex.client.utils import converters

PAGE: Final = 1_000
MARKS_S: Final = 2.0


class ParadexPositionManager(BasePositionManager):
    """Positions tell no mark price: it is read beside them."""

    async def fetch_positions(self) -> list[Position]:
        marks = await self._marks()
        rows: m.Results[m.Position] = await self.rest.query("positions")
        now_ns = self.context.runtime.clock.time_ns()
        held = [pair for pair in self.context.instruments.known(rows.results, lambda row: row.market) if pair[0].size]
        return [converters.position(row, instrument, now_ns, marks.get(instrument.id)) for row, instrument in held]

    async def _marks(self) -> dict[InstrumentId, Decimal | None]:
        """Asked first, so that no position is older than need be; positions do not wait for them, nor fail with them."""
        try:
            async with asyncio.timeout(MARKS_S):
                return {ticker.instrument: ticker.mark for ticker in await self.context.market_data.fetch_tickers()}
        except (VenueError, TimeoutError) as e:
            self.context.log.warning("positions.without_marks reason=%s", e)
            return {}

    async def fetch_funding_payments(
        self, *, since_ns: int, until_ns: int | None = None, instrument: Instrument | None = None
    ) -> list[FundingPayment]:
        """The venue lists them market by market: without a market, those that the account traded since then or holds."""
        found: list[FundingPayment] = []
        for market in [instrument] if instrument is not None else await self._touched(since_ns, until_ns):
            rows = await fetch_pages(self.rest, "funding/payments", PAGE, since_ns, until_ns, market=market.venue_symbol)
            found += [converters.funding_payment(row, market) for row in rows]
        return sorted(found, key=lambda payment: payment.ts_venue_ns)

    async def _touched(self, since_ns: int, until_ns: int | None) -> list[Instrument]:
        names = {row.market for row in await fetch_pages(self.rest, "fills", PAGE, since_ns, until_ns)}
        positions: m.Results[m.Position] = await self.rest.query("positions")
        names |= {row.market for row in positions.results if row.size}
        return [market for name, market in self.context.instruments.known(sorted(names), lambda name: name)]
