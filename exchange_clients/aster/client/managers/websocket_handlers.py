"""The account's events as domain events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from exchange_clients.aster import messages as m
from exchange_clients.aster.client.utils import converters
from exchange_clients.base_websocket import event_key
from exchange_clients.errors import VenueError
from exchange_clients.model import NS_PER_MS, InstrumentId, OrderStatus
from exchange_clients.spec import Stream

if TYPE_CHECKING:
    from exchange_clients.base_websocket import BaseWebSocketManager

ACCOUNT_EVERY_S: Final = 1.0


class AsterWebSocketHandlers:
    """Events name neither the account nor what is free of it: the totals are asked for, at most once a second, while somebody listens."""

    def __init__(self, manager: BaseWebSocketManager) -> None:
        self.manager = manager
        self.context = manager.context
        self._asking = False
        self._changed = False
        self._told_ms: dict[InstrumentId, int] = {}

    def order_update(self, role: str, message: m.OrderTradeUpdate, ts_recv_ns: int) -> None:
        """The fill before the state it led to. An end that proves nothing is asked about."""
        data = message.o
        instrument = self.context.instruments.by_contract(data.s)
        if instrument is None:
            return
        if (fill := converters.streamed_fill(data, instrument)) is not None:
            self.manager.fill(fill)
        info = converters.order_update(data, instrument)
        order = self.context.tracker.on_order(info)
        if info.status is OrderStatus.UNKNOWN and not order.status.is_terminal:
            self.manager.errand(self._look_up(order.order_id or "", data.s))

    async def _look_up(self, order_id: str, symbol: str) -> None:
        row: m.Order = await self.context.rest.query("order", symbol=symbol, orderId=order_id)
        instrument = self.context.instruments.by_contract(symbol)
        if instrument is not None:
            self.context.tracker.on_order(converters.order(row, instrument))

    def account_update(self, role: str, message: m.AccountUpdate, ts_recv_ns: int) -> None:
        """Only what changed is listed; rows of hedge mode are not ours to read, and an event that came late tells what is past."""
        for row, instrument in self.context.instruments.known(message.a.P, lambda row: row.s):
            if row.ps == "BOTH" and self._told_ms.get(instrument.id, 0) <= message.T:
                self._told_ms[instrument.id] = message.T
                self.manager.position(converters.streamed_position(row, instrument, message.T * NS_PER_MS))
        self._changed = True
        if self.context.hub.wanted(event_key(Stream.ACCOUNT)) and not self._asking:
            self._asking = True
            self.manager.errand(self._ask_account())

    async def _ask_account(self) -> None:
        """Until an answer was asked for after the last change."""
        clock = self.context.runtime.clock
        try:
            while self._changed and self.context.hub.wanted(event_key(Stream.ACCOUNT)):
                self._changed = False
                try:
                    data: m.Account = await self.context.rest.query("account")
                except VenueError as e:
                    self._changed = True
                    self.context.log.warning("account.not_read reason=%s", e)
                else:
                    self.manager.account(converters.account(data, asset=self.context.spec.collateral, ts_ns=clock.time_ns()))
                await clock.sleep(ACCOUNT_EVERY_S)
        finally:
            self._asking = False

    def margin_call(self, role: str, message: m.MarginCall, ts_recv_ns: int) -> None:
        self.context.log.error("account.margin_call markets=%s", ",".join(row.s for row in message.p))

    def config_update(self, role: str, message: m.AccountConfigUpdate, ts_recv_ns: int) -> None:
        if message.ac is not None:
            self.context.log.info("account.leverage symbol=%s leverage=%d", message.ac.s, message.ac.l)

    def listen_key_expired(self, role: str, message: m.ListenKeyExpired, ts_recv_ns: int) -> None:
        """The socket stays open and silent: a new one asks for a new key."""
        self.manager.reconnect(role, "the listen key has expired")
