"""The state that an event log tells: what a reader of the log alone knows. Equal to the exchange's own, or the log lies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from exchange_simulator.core.events import (
    AnyEvent,
    BalanceChanged,
    BookDelta,
    InsuranceChanged,
    MarkChanged,
    OrderAccepted,
    OrderAmended,
    OrderCancelled,
    OrderExpired,
    OrderFilled,
    OrderOpened,
    PositionChanged,
)
from exchange_simulator.core.types import Side


@dataclass(slots=True)
class OpenOrder:
    account: int
    market: str
    side: Side
    price: int
    remaining: int
    resting: bool = False


@dataclass(slots=True)
class Replay:
    """Feed it every event from the first on (sequence numbers must have no gap: ValueError)."""

    seq: int = 0
    books: dict[tuple[str, Side], dict[int, int]] = field(default_factory=dict)
    """(market, side) -> price -> size."""
    orders: dict[int, OpenOrder] = field(default_factory=dict)
    """Live ones."""
    positions: dict[tuple[int, str], tuple[int, int, int]] = field(default_factory=dict)
    """(account, market) -> (size, cost, isolated margin)."""
    balances: dict[int, int] = field(default_factory=dict)
    marks: dict[str, tuple[int, int]] = field(default_factory=dict)
    insurance: int = 0

    def feed(self, events: Iterable[AnyEvent]) -> Replay:
        for event in events:
            if event.seq != self.seq + 1:
                raise ValueError(f"event {event.seq} after {self.seq}")
            self.seq = event.seq
            self._apply(event)
        return self

    def _apply(self, event: AnyEvent) -> None:
        match event:
            case BookDelta():
                book = self.books.setdefault((event.market, event.side), {})
                if event.size:
                    book[event.price] = event.size
                else:
                    book.pop(event.price, None)
            case OrderAccepted():
                new = event.order
                self.orders[event.order_id] = OpenOrder(new.account, new.market, new.side, new.price, new.size)
            case OrderOpened():
                order = self.orders[event.order_id]
                order.price, order.remaining, order.resting = event.price, event.remaining, True
            case OrderAmended():
                order = self.orders[event.order_id]
                order.price, order.remaining = event.price, event.remaining
            case OrderFilled() if event.order_id:
                order = self.orders[event.order_id]
                order.remaining = event.remaining
                if event.remaining == 0:
                    del self.orders[event.order_id]
            case OrderCancelled() | OrderExpired():
                self.orders.pop(event.order_id, None)
            case PositionChanged():
                self.positions[event.account, event.market] = (event.size, event.cost, event.margin)
            case BalanceChanged():
                self.balances[event.account] = event.balance
            case InsuranceChanged():
                self.insurance = event.balance
            case MarkChanged():
                self.marks[event.market] = (event.mark, event.index)
            case _:
                pass
