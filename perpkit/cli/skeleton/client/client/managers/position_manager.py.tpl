"""Positions and funding payments of $title."""

from __future__ import annotations

from exchange_clients.base_managers import BasePositionManager
from exchange_clients.model import FundingPayment, Instrument, Position


class ${Name}PositionManager(BasePositionManager):
    async def fetch_positions(self) -> list[Position]:
        raise NotImplementedError("phase 2, step 4: every open position, signed")

    async def fetch_funding_payments(
        self, *, since_ns: int, until_ns: int | None = None, instrument: Instrument | None = None
    ) -> list[FundingPayment]:
        raise NotImplementedError("phase 2, step 4: payments, positive when received, oldest first, paginated")
