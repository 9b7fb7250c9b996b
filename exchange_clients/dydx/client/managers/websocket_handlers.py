"""The account's channel as domain events."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Final

from exchange_clients.dydx import messages as m
from exchange_clients.dydx.client.managers.account_manager import fetch_subaccount
from exchange_clients.dydx.client.utils import converters
from exchange_clients.dydx.client.utils.bookkeeping import OrderBookkeeping
from exchange_clients.dydx.client.utils.caching import VenueCache, venue_cache
from exchange_clients.dydx.client.utils.fees import learn_rates, with_fee
from exchange_clients.dydx.signing import signer_of
from exchange_clients.errors import VenueError
from exchange_clients.model import Fill, FillKind, Instrument

if TYPE_CHECKING:
    from exchange_clients.base_websocket import BaseWebSocketManager

ACCOUNT_EVERY_S: Final = 1.0
"""The indexer caches for a second."""
ACCOUNT_AT_LEAST_S: Final = 16.0
"""So often while the indexer fails, or tells what was before."""
FEE_WAIT_S: Final = 1.0
LOOK_S, MAX_LOOK_S = 0.5, 2.0
FORCED_TRIES: Final = 6
"""What the venue closed is not held back for longer: the other leg of a pair stands alone until it is told."""


class DydxWebSocketHandlers:
    """Fills come before the orders they change. The channel tells no equity: it is asked for after what may have moved it."""

    def __init__(self, manager: BaseWebSocketManager) -> None:
        self.manager = manager
        self.context = manager.context
        self.books = OrderBookkeeping(manager.context)
        self._asking: asyncio.Task[None] | None = None
        self._changed_at = 0
        self._feeless: dict[str, dict[str, Fill]] = {}
        """Fills that wait for their fee, by market and trade."""

    @property
    def cache(self) -> VenueCache:
        return venue_cache(self.context)

    def contents(self, message: m.SubaccountContents, ts_recv_ns: int) -> None:
        if message.subaccount is not None:
            state = message.subaccount
            find = self.context.instruments.by_contract
            self.manager.positions(converters.positions(state.openPerpetualPositions.values(), find, ts_recv_ns), ts_recv_ns)
            self.manager.account(converters.account(state, ts_recv_ns))
        for row, instrument in self.context.instruments.known(message.fills or (), lambda row: row.ticker or row.market):
            self._fill(row, instrument)
        for order in message.orders or ():
            if (info := self.books.info(order)) is not None:
                self.books.take(info)
        for position, instrument in self.context.instruments.known(message.perpetualPositions or (), lambda row: row.market):
            self.manager.position(converters.position(position, instrument, ts_recv_ns))
            if message.blockHeight is not None:
                self.cache.positions[instrument.id] = message.blockHeight
        if message.subaccount is None and (message.fills or message.perpetualPositions or message.assetPositions):
            self._ask_account(message.blockHeight or self.cache.indexed)

    def _fill(self, row: m.FillRow, instrument: Instrument) -> None:
        """The socket tells no fee: it follows from our rates, and where those are not known, or do not count, the records have it."""
        fill = self.books.fill(row, instrument)
        known = self.cache.fees.get(instrument.contract_id)
        if row.fee is not None:
            self._tell(fill)
        elif known is not None and fill.kind is FillKind.TRADE:
            self._tell(with_fee(fill, known[0]))
        elif (waiting := self._feeless.get(instrument.contract_id)) is not None:
            waiting[fill.trade_id] = fill
        else:
            self._feeless[instrument.contract_id] = {fill.trade_id: fill}
            self.manager.errand(self._learn_fees(instrument))

    def _tell(self, fill: Fill) -> None:
        self.manager.fill(fill)
        if fill.order_id is not None:
            self.books.settle_removal(self.context.tracker.find(fill.order_id))

    async def _learn_fees(self, instrument: Instrument) -> None:
        """Tell the waiting fills of a market as soon as the chain's rates or the indexer's records say what they cost.

        A trade is not told without: its order's row says that it filled, and whoever needs it sooner finds it in the records with its fee.
        """
        waiting, tries, pause_s = self._feeless[instrument.contract_id], Counter[str](), LOOK_S
        try:
            while waiting:
                if (asking := learn_rates(self.context, instrument)) is not None:
                    await asyncio.wait([asking], timeout=FEE_WAIT_S)
                known = self.cache.fees.get(instrument.contract_id)
                follows = known is not None and all(fill.kind is FillKind.TRADE for fill in waiting.values())
                recorded = {} if follows else await self._recorded(instrument)
                tries.update(waiting.keys())
                for fill in list(waiting.values()):
                    if (row := recorded.get(fill.trade_id)) is not None:
                        fill = self.books.fill(row, instrument)
                    elif fill.kind is FillKind.TRADE and known is not None:
                        fill = with_fee(fill, known[0])
                    elif fill.kind is FillKind.TRADE or tries[fill.trade_id] < FORCED_TRIES:
                        continue
                    else:
                        self.context.log.warning("fill.fee_unknown trade=%s", fill.trade_id)
                    del waiting[fill.trade_id]
                    self._tell(fill)
                if waiting:
                    await self.context.runtime.clock.sleep(pause_s)
                    pause_s = min(2 * pause_s, MAX_LOOK_S)
        finally:
            del self._feeless[instrument.contract_id]

    async def _recorded(self, instrument: Instrument) -> dict[str, m.FillRow]:
        """The newest fills of the account in a market as the records have them, by trade; none while the indexer fails."""
        signer = signer_of(self.context)
        try:
            reply: m.Fills = await self.context.rest.query(
                "fills",
                address=signer.address,
                subaccountNumber=signer.number,
                market=instrument.contract_id,
                marketType="PERPETUAL",
                limit=100,
            )
        except VenueError as e:
            self.context.log.warning("fill.fee_not_recorded instrument=%s reason=%s", instrument.id, e)
            return {}
        return {row.id: row for row in reply.fills if row.fee is not None}

    def _ask_account(self, changed_at: int) -> None:
        """Once a second at most, until an answer is of the block of the last change."""
        self._changed_at = max(self._changed_at, changed_at)
        if self._asking is None or self._asking.done():
            self._asking = self.manager.errand(self._account())

    async def _account(self) -> None:
        wait_s, told = ACCOUNT_EVERY_S, -1
        while told < self._changed_at:
            await self.context.runtime.clock.sleep(wait_s)
            wait_s = min(2 * wait_s, ACCOUNT_AT_LEAST_S)
            try:
                state = await fetch_subaccount(self.context)
            except VenueError as e:
                self.context.log.info("account.not_told reason=%s", e)
                continue
            told = int(state.latestProcessedBlockHeight or self._changed_at)
            self.manager.account(converters.account(state, self.context.runtime.clock.time_ns()))
