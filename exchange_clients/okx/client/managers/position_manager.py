"""Positions and funding payments."""

from __future__ import annotations

from typing import Final

from exchange_clients.base_managers import BasePositionManager
from exchange_clients.model import NS_PER_MS, NS_PER_S, FundingPayment, Instrument, Position
from exchange_clients.okx import messages as m
from exchange_clients.okx.client.utils import converters
from exchange_clients.okx.common import ISOLATED_HINT
from exchange_clients.paging import newest_first

BILLS_PAGE: Final = 100
RECENT_BILLS_NS: Final = (7 * 86_400 - 3_600) * NS_PER_S
FUNDING: Final = "8"


class OkxPositionManager(BasePositionManager):
    async def fetch_positions(self) -> list[Position]:
        reply: m.Reply[list[m.PositionRow]] = await self.rest.query("positions", instType="SWAP")
        now_ns = self.context.runtime.clock.time_ns()
        pairs = self.context.instruments.known(reply.data, lambda row: row.instId)
        found = [(converters.isolated(row), converters.position(row, instrument, now_ns)) for row, instrument in pairs]
        for alone, held in found:
            if alone and held.quantity:
                self.context.log.error("position.isolated market=%s quantity=%s hint=%r", held.instrument, held.quantity, ISOLATED_HINT)
        return [held for alone, held in found if held.quantity and not alone]

    async def fetch_funding_payments(
        self, *, since_ns: int, until_ns: int | None = None, instrument: Instrument | None = None
    ) -> list[FundingPayment]:
        """From the bills of the last week, or from the archive (three months)."""
        recent = self.context.venue_time.now_ns() - since_ns < RECENT_BILLS_NS
        endpoint = "bills" if recent else "bills_archive"

        async def ask(cursor: str | None) -> tuple[list[m.BillRow], str | None]:
            reply: m.Reply[list[m.BillRow]] = await self.rest.query(
                endpoint, instType="SWAP", type=FUNDING, after=cursor, begin=since_ns // NS_PER_MS, limit=BILLS_PAGE
            )
            rows = reply.data
            return rows, rows[-1].billId if len(rows) == BILLS_PAGE else None

        rows = await newest_first(
            ask, key=lambda row: row.billId, time_ns=lambda row: row.ts * NS_PER_MS, since_ns=since_ns, until_ns=until_ns
        )
        paid = [row for row in rows if row.subType in converters.FUNDING_SUBTYPES]
        pairs = self.context.instruments.known(paid, lambda row: row.instId)
        return [converters.funding_payment(row, i) for row, i in pairs if instrument is None or i.id == instrument.id]
