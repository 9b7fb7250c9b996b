"""The account's events as ours. JSON and SBE arrive here as the same types."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exchange_clients.model import OrderStatus
from exchange_clients.paradex import messages as m
from exchange_clients.paradex.client.managers.order_manager import own_side
from exchange_clients.paradex.client.utils import converters

if TYPE_CHECKING:
    from exchange_clients.base_websocket import BaseWebSocketManager


class ParadexWebSocketHandlers:
    """`seq_no` rises with each event of a position or the account, with holes: an older one than the last is late."""

    def __init__(self, manager: BaseWebSocketManager) -> None:
        self.manager = manager
        self.context = manager.context
        self._seen: dict[str, int] = {}

    def _is_late(self, key: str, sequence: int) -> bool:
        if sequence and sequence < self._seen.get(key, 0):
            return True
        self._seen[key] = sequence
        return False

    def order(self, role: str, message: m.Order, ts_recv_ns: int) -> None:
        instrument = self.context.instruments.by_contract(message.market)
        if instrument is None:
            return
        info = converters.order(message, instrument)
        if info.status is OrderStatus.REJECTED:
            self.context.log.info("order.refused reason=%s", info.cancel_reason)
        self.context.tracker.on_order(info)

    def fill(self, role: str, message: m.Fill, ts_recv_ns: int) -> None:
        instrument = self.context.instruments.by_contract(message.market)
        if instrument is not None:
            fill = converters.fill(message, instrument)
            self.manager.fill(own_side(self.context, fill))

    def position(self, role: str, message: m.Position, ts_recv_ns: int) -> None:
        instrument = self.context.instruments.by_contract(message.market)
        if instrument is not None and not self._is_late(message.market, message.seq_no):
            self.manager.position(converters.position(message, instrument, ts_recv_ns))

    def account(self, role: str, message: m.Account, ts_recv_ns: int) -> None:
        if not self._is_late("account", message.seq_no):
            self.manager.account(converters.account(message))
