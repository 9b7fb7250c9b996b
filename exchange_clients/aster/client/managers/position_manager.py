"""Positions and funding payments."""

from __future__ import annotations

from exchange_clients.aster import messages as m
from exchange_clients.aster.client.managers.order_manager import PAGE, fetch_weeks, since_of
from exchange_clients.aster.client.utils import converters
from exchange_clients.base_managers import BasePositionManager
from exchange_clients.model import NS_PER_MS, FundingPayment, Instrument, Position


class AsterPositionManager(BasePositionManager):
    async def fetch_positions(self) -> list[Position]:
        rows: list[m.PositionRisk] = await self.rest.query("positionRisk")
        return converters.positions(rows, self.context.instruments.by_contract)

    async def fetch_funding_payments(
        self, *, since_ns: int, until_ns: int | None = None, instrument: Instrument | None = None
    ) -> list[FundingPayment]:
        """One request of weight 30 for each week and thousand rows."""
        symbol = instrument.venue_symbol if instrument is not None else None
        now_ms = self.context.venue_time.now_ms() + 1000
        until_ms = now_ms if until_ns is None else min(until_ns // NS_PER_MS, now_ms)

        async def ask(start_ms: int, end_ms: int) -> list[m.Income]:
            rows: list[m.Income] = await self.rest.query(
                "income", symbol=symbol, incomeType="FUNDING_FEE", startTime=start_ms, endTime=end_ms, limit=PAGE
            )
            return rows

        since_ms = since_of(self.context, since_ns, instrument)
        rows = await fetch_weeks(ask, time=lambda row: row.time, since_ms=since_ms, until_ms=until_ms)
        pairs = self.context.instruments.known({(row.tranId, row.symbol): row for row in rows}.values(), lambda row: row.symbol)
        return sorted((converters.funding_payment(row, market) for row, market in pairs), key=lambda payment: payment.ts_venue_ns)
