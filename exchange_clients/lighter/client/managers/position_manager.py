"""Positions and funding payments."""

from __future__ import annotations

from exchange_clients.base_managers import BasePositionManager
from exchange_clients.lighter import messages as m
from exchange_clients.lighter.client.managers.account_manager import fetch_account_row
from exchange_clients.lighter.client.managers.order_manager import PAGE
from exchange_clients.lighter.client.utils import converters
from exchange_clients.lighter.client.utils.caching import identity_of
from exchange_clients.model import FundingPayment, Instrument, Position


class LighterPositionManager(BasePositionManager):
    async def fetch_positions(self) -> list[Position]:
        row, now_ns = await fetch_account_row(self.context), self.context.runtime.clock.time_ns()
        found: list[Position] = []
        for position in row.positions:
            instrument = self.context.instruments.by_contract(str(position.market_id))
            if instrument is not None and position.position:
                found.append(converters.position(position, instrument, now_ns, margin_percent=position.initial_margin_fraction))
        return found

    async def fetch_funding_payments(
        self, *, since_ns: int, until_ns: int | None = None, instrument: Instrument | None = None
    ) -> list[FundingPayment]:
        """Page by page from the newest until one ends before `since_ns`."""
        found: dict[tuple[str, str], FundingPayment] = {}
        cursor: str | None = None
        while True:
            reply: m.Payments = await self.rest.query(
                "positionFunding",
                account_index=identity_of(self.context).account_index,
                limit=PAGE,
                market_id=instrument.contract_id if instrument is not None else None,
                cursor=cursor,
            )
            pairs = ((row, self.context.instruments.by_contract(str(row.market_id))) for row in reply.position_fundings)
            payments = [converters.funding_payment(row, i) for row, i in pairs if i is not None]
            found |= {
                (str(p.instrument), p.payment_id): p
                for p in payments
                if p.ts_venue_ns >= since_ns and (until_ns is None or p.ts_venue_ns < until_ns)
            }
            cursor = reply.next_cursor or None
            if cursor is None or not reply.position_fundings or any(p.ts_venue_ns < since_ns for p in payments):
                return sorted(found.values(), key=lambda p: p.ts_venue_ns)
