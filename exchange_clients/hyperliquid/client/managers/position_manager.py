"""Positions and funding payments."""

from __future__ import annotations

from typing import Final

from exchange_clients.base_managers import BasePositionManager
from exchange_clients.hyperliquid import messages as m
from exchange_clients.hyperliquid.client.managers.market_data import configured_dexes, fetch_rows, page_start
from exchange_clients.hyperliquid.client.utils import converters
from exchange_clients.hyperliquid.signing import trading_address
from exchange_clients.model import NS_PER_MS, FundingPayment, Instrument, Position

PAYMENTS_PAGE: Final = 500


class HyperliquidPositionManager(BasePositionManager):
    """Each dex has a clearinghouse of its own."""

    async def fetch_positions(self) -> list[Position]:
        found: list[Position] = []
        for dex in configured_dexes(self.context):
            state: m.ClearinghouseState = await self.rest.query("clearinghouseState", user=trading_address(self.context), dex=dex)
            found += converters.positions(state, self.context.instruments.by_contract, self.context.runtime.clock.time_ns())
        return found

    async def fetch_funding_payments(
        self, *, since_ns: int, until_ns: int | None = None, instrument: Instrument | None = None
    ) -> list[FundingPayment]:
        start_ms: int | None = since_ns // NS_PER_MS
        end_ms = None if until_ns is None else until_ns // NS_PER_MS
        found: dict[str, FundingPayment] = {}
        while start_ms is not None:
            rows: list[m.UserFundingRow] = await fetch_rows(
                self.context, "userFunding", user=trading_address(self.context), startTime=start_ms, endTime=end_ms
            )
            for row in rows:
                market = self.context.instruments.by_contract(row.delta.coin)
                if market is not None and (instrument is None or market.id == instrument.id):
                    payment = converters.funding_payment(row.delta, row.time, market)
                    found[payment.payment_id] = payment
            start_ms = page_start(rows, start_ms, PAYMENTS_PAGE)
        return sorted(found.values(), key=lambda payment: payment.ts_venue_ns)
