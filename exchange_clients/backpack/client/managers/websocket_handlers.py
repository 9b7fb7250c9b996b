"""The account's stream messages as domain events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exchange_clients.backpack import messages as m
from exchange_clients.backpack.client.utils import converters

if TYPE_CHECKING:
    from exchange_clients.base_websocket import BaseWebSocketManager


class BackpackWebSocketHandlers:
    def __init__(self, manager: BaseWebSocketManager) -> None:
        self.manager = manager
        self.context = manager.context

    def order(self, role: str, message: m.OrderEvent, ts_recv_ns: int) -> None:
        """The fill first, then what the order is after it. Orders that the venue made to close us are told as fills alone."""
        instrument = self.context.instruments.by_contract(message.symbol)
        if instrument is None:
            return
        if (fill := converters.fill_event(message, instrument)) is not None:
            self.manager.fill(fill)
        self.context.tracker.on_order(converters.order_event(message, instrument))

    def position(self, role: str, message: m.PositionEvent, ts_recv_ns: int) -> None:
        if (instrument := self.context.instruments.by_contract(message.symbol)) is not None:
            self.manager.position(converters.position_event(message, instrument, ts_recv_ns))
