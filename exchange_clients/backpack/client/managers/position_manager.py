"""Positions and funding payments."""

from __future__ import annotations

from exchange_clients.backpack import messages as m
from exchange_clients.backpack.client.managers.market_data import PAGE, by_offset
from exchange_clients.backpack.client.utils import converters
from exchange_clients.base_managers import BasePositionManager
from exchange_clients.errors import OrderNotFound
from exchange_clients.model import FundingPayment, Instrument, Position
from exchange_clients.paging import newest_first


class BackpackPositionManager(BasePositionManager):
    async def fetch_positions(self) -> list[Position]:
        """The venue may answer "not found", in its own words, where there is none."""
        try:
            rows: list[m.PositionRow] = await self.rest.query("positionQuery")
        except OrderNotFound:
            rows = []
        now_ns = self.context.runtime.clock.time_ns()
        return [converters.position(row, i, now_ns) for row, i in self.context.instruments.known(rows, lambda row: row.symbol)]

    async def fetch_funding_payments(
        self, *, since_ns: int, until_ns: int | None = None, instrument: Instrument | None = None
    ) -> list[FundingPayment]:
        """The venue has no filter by time: page by page back to `since_ns`."""
        symbol = instrument.venue_symbol if instrument is not None else None

        async def ask(offset: int) -> list[m.FundingPaymentRow]:
            rows: list[m.FundingPaymentRow] = await self.rest.query(
                "fundingHistoryQueryAll", symbol=symbol, limit=PAGE, offset=offset, sortDirection="Desc"
            )
            return rows

        rows = await newest_first(
            by_offset(ask),
            key=lambda row: (row.symbol, row.intervalEndTimestamp),
            time_ns=lambda row: converters.text_ns(row.intervalEndTimestamp),
            since_ns=since_ns,
            until_ns=until_ns,
        )
        return [converters.funding_payment(row, i) for row, i in self.context.instruments.known(rows, lambda row: row.symbol)]
