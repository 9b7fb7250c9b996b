"""Positions and funding payments."""

from __future__ import annotations

from exchange_clients.base_managers import BasePositionManager
from exchange_clients.lighter import messages as m
from exchange_clients.lighter.client.managers.account_manager import fetch_account_row
from exchange_clients.lighter.client.managers.order_manager import fetch_page
from exchange_clients.lighter.client.utils import converters
from exchange_clients.model import FundingPayment, Instrument, Position
from exchange_clients.paging import newest_first


class LighterPositionManager(BasePositionManager):
    async def fetch_positions(self) -> list[Position]:
        row, now_ns = await fetch_account_row(self.context), self.context.runtime.clock.time_ns()
        pairs = self.context.instruments.known((held for held in row.positions if held.position), lambda held: held.market_id)
        return [converters.position(held, i, now_ns, margin_percent=held.initial_margin_fraction) for held, i in pairs]

    async def fetch_funding_payments(
        self, *, since_ns: int, until_ns: int | None = None, instrument: Instrument | None = None
    ) -> list[FundingPayment]:
        async def ask(cursor: str | None) -> tuple[list[FundingPayment], str | None]:
            reply: m.Payments = await fetch_page(self.context, "positionFunding", instrument, cursor)
            pairs = self.context.instruments.known(reply.position_fundings, lambda row: row.market_id)
            return [converters.funding_payment(row, i) for row, i in pairs], reply.next_cursor if reply.position_fundings else None

        return await newest_first(
            ask, key=lambda p: (p.instrument, p.payment_id), time_ns=lambda p: p.ts_venue_ns, since_ns=since_ns, until_ns=until_ns
        )
