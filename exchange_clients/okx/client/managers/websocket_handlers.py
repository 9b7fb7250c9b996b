"""The account's stream messages as domain events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from exchange_clients.model import OrderStatus
from exchange_clients.okx import messages as m
from exchange_clients.okx.client.utils import converters
from exchange_clients.okx.client.utils.caching import venue_cache
from exchange_clients.okx.common import ISOLATED_HINT, UNTRIGGERED, refusal

if TYPE_CHECKING:
    from exchange_clients.base_websocket import BaseWebSocketManager
    from exchange_clients.model import Instrument

AMEND_FAILED: Final = ("-1", "1")
AMEND_DONE: Final = "0"


class OkxWebSocketHandlers:
    """The same message may come twice: fills are told apart by their trade id, ends of orders are kept by the tracker."""

    def __init__(self, manager: BaseWebSocketManager) -> None:
        self.manager = manager
        self.context = manager.context

    def orders(self, role: str, message: m.OrdersPush, ts_recv_ns: int) -> None:
        for row, instrument in self.context.instruments.known(message.data, lambda row: row.instId):
            if (fill := converters.streamed_fill(row, instrument)) is not None:
                self.manager.fill(fill)
            self._amended(row)
            self._order(row, instrument)

    def _order(self, row: m.OrderRow, instrument: Instrument) -> None:
        self.context.tracker.on_order(converters.order(row, instrument))

    def _amended(self, row: m.OrderRow) -> None:
        """An amend's answer was only the gateway's yes: this is its end."""
        if row.amendResult not in (*AMEND_FAILED, AMEND_DONE):
            return
        error = None if row.amendResult == AMEND_DONE else refusal(row.code, row.msg or "the amend failed")
        for key in (row.clOrdId, row.algoClOrdId, row.ordId):
            venue_cache(self.context).amend_told(key, row.reqId, error)

    def algos(self, role: str, message: m.AlgoPush, ts_recv_ns: int) -> None:
        """A trigger order goes on under its client id as the order that it became."""
        for row, instrument in self.context.instruments.known(message.data, lambda row: row.instId):
            info = converters.algo_order(row, instrument)
            known = self.context.tracker.find(info.client_order_id or info.order_id or "")
            if info.status is OrderStatus.OPEN and known is not None and known.status not in UNTRIGGERED:
                continue  # the order that it became has spoken already
            self.context.tracker.on_order(info)

    def positions(self, role: str, message: m.PositionsPush, ts_recv_ns: int) -> None:
        """Those that changed; the first message after subscribing has all."""
        for row, instrument in self.context.instruments.known(message.data, lambda row: row.instId):
            found = converters.position(row, instrument, ts_recv_ns)
            if not converters.isolated(row):
                self.manager.position(found)
            elif found.quantity:
                self.context.log.error("position.isolated market=%s quantity=%s hint=%r", instrument.id, found.quantity, ISOLATED_HINT)

    def account(self, role: str, message: m.AccountPush, ts_recv_ns: int) -> None:
        """Of the currencies that changed."""
        for row in message.data:
            if (found := converters.changed_account(row, self.context.spec.collateral, ts_recv_ns)) is not None:
                self.manager.account(found)
