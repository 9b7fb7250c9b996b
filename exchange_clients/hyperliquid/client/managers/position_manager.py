"""Positions and funding payments."""

from __future__ import annotations

from typing import Final

from exchange_clients.base_managers import BasePositionManager
from exchange_clients.hyperliquid import messages as m
from exchange_clients.hyperliquid.client.managers.market_data import configured_dexes, fetch_since
from exchange_clients.hyperliquid.client.utils import converters
from exchange_clients.hyperliquid.signing import trading_address
from exchange_clients.model import FundingPayment, Instrument, Position

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
        user = trading_address(self.context)
        rows: list[m.UserFundingRow] = await fetch_since(self.context, "userFunding", PAYMENTS_PAGE, since_ns, until_ns, user=user)
        pairs = self.context.instruments.known(rows, lambda row: row.delta.coin)
        payments = [converters.funding_payment(row.delta, row.time, i) for row, i in pairs if instrument is None or i.id == instrument.id]
        return sorted({payment.payment_id: payment for payment in payments}.values(), key=lambda payment: payment.ts_venue_ns)
