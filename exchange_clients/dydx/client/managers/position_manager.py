"""Positions and funding payments, as the indexer has them: the stream of fills is ahead of both."""

from __future__ import annotations

from exchange_clients.base_managers import BasePositionManager
from exchange_clients.dydx import messages as m
from exchange_clients.dydx.client.managers.account_manager import fetch_subaccount
from exchange_clients.dydx.client.managers.market_data import PAGE
from exchange_clients.dydx.client.utils import converters
from exchange_clients.dydx.client.utils.caching import GUARD_BLOCKS, venue_cache
from exchange_clients.dydx.signing import signer_of
from exchange_clients.model import FundingPayment, Instrument, Position
from exchange_clients.paging import newest_first


class DydxPositionManager(BasePositionManager):
    async def fetch_positions(self) -> list[Position]:
        """As listed; but the list may be older than the stream, whose word on the size of a later block counts."""
        state, now_ns = await fetch_subaccount(self.context), self.context.runtime.clock.time_ns()
        rows = converters.positions(state.openPerpetualPositions.values(), self.context.instruments.by_contract, now_ns)
        if state.latestProcessedBlockHeight is None:
            return rows
        listed, height = {row.instrument: row for row in rows}, int(state.latestProcessedBlockHeight)
        for key, block in venue_cache(self.context).positions.items():
            if block <= height - GUARD_BLOCKS:
                continue
            streamed = self.context.positions.get(key)
            if streamed is None:
                listed.pop(key, None)
            elif key not in listed or listed[key].quantity != streamed.quantity:
                listed[key] = streamed
        return list(listed.values())

    async def fetch_funding_payments(
        self, *, since_ns: int, until_ns: int | None = None, instrument: Instrument | None = None
    ) -> list[FundingPayment]:
        """Made by a job of the indexer: the last one may be minutes late."""
        signer = signer_of(self.context)
        ticker = instrument.contract_id if instrument is not None else None

        async def ask(cursor: str | None) -> tuple[list[FundingPayment], str | None]:
            page = int(cursor or 1)
            reply: m.Payments = await self.rest.query(
                "fundingPayments", address=signer.address, subaccountNumber=signer.number, ticker=ticker, limit=PAGE, page=page
            )
            pairs = self.context.instruments.known(reply.fundingPayments, lambda row: row.ticker)
            return [converters.funding_payment(row, i) for row, i in pairs], str(page + 1) if len(reply.fundingPayments) == PAGE else None

        return await newest_first(
            ask, key=lambda p: (p.instrument, p.payment_id), time_ns=lambda p: p.ts_venue_ns, since_ns=since_ns, until_ns=until_ns
        )
