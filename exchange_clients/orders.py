"""What is proven about our orders: tracking by evidence, and client order ids that never repeat.

An order is IN FLIGHT from before its first byte leaves until the venue, a stream or a query says what became of it; UNKNOWN when its
answer was lost; then OPEN, then CLOSED. Evidence only adds: a cumulative fill never falls, a terminal order never reopens, each trade id
counts once. A closed order keeps taking late fills until it is forgotten.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections import OrderedDict
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Protocol

from exchange_clients.errors import ConfigError, Outcome, VenueError
from exchange_clients.model import (
    ZERO,
    Fill,
    InstrumentId,
    OrderAck,
    OrderInfo,
    OrderIntent,
    OrderStatus,
)
from exchange_clients.spec import IdFormat
from exchange_clients.transport.clock import Clock

MAX_CLOSED = 5_000
MAX_TRADE_IDS = 100_000
MAX_ORPHAN_FILLS = 1_000


class Order:
    """One order as far as it is proven. Read it through `info()`; only the tracker changes it."""

    __slots__ = (
        "average_price",
        "cancel_reason",
        "client_order_id",
        "created_ns",
        "error",
        "external",
        "fill_quantity",
        "fill_value",
        "filled",
        "intent",
        "order_id",
        "previous_ids",
        "status",
        "updated_ns",
    )

    def __init__(self, client_order_id: str | None, intent: OrderIntent, now_ns: int, *, external: bool = False) -> None:
        self.client_order_id = client_order_id
        self.intent = intent
        self.order_id: str | None = None
        self.previous_ids: tuple[str, ...] = ()
        self.status = OrderStatus.SUBMITTED
        self.filled = ZERO
        self.fill_quantity = ZERO
        self.fill_value = ZERO
        self.average_price: Decimal | None = None
        self.cancel_reason: str | None = None
        self.error: VenueError | None = None
        self.external = external
        self.created_ns = now_ns
        self.updated_ns = now_ns

    @property
    def is_unresolved(self) -> bool:
        """In flight or unknown: nothing may be concluded from its silence."""
        return self.status in (OrderStatus.SUBMITTED, OrderStatus.UNKNOWN)

    def info(self) -> OrderInfo:
        intent = self.intent
        average = self.fill_value / self.fill_quantity if self.fill_quantity and self.fill_quantity == self.filled else self.average_price
        return OrderInfo(
            instrument=intent.instrument,
            order_id=self.order_id,
            client_order_id=self.client_order_id,
            side=intent.side,
            size=intent.quantity,
            price=intent.price,
            status=self.status,
            filled_size=self.filled,
            remaining_size=max(ZERO, intent.quantity - self.filled),
            average_price=average,
            order_type=intent.order_type,
            time_in_force=intent.time_in_force,
            post_only=intent.post_only,
            reduce_only=intent.reduce_only,
            trigger_price=intent.trigger_price,
            cancel_reason=self.cancel_reason,
            external=self.external,
            created_ns=self.created_ns,
            updated_ns=self.updated_ns,
        )


class OrderTracker:
    """All orders of one client.

    `on_order` and `on_fill` hear every change, each new fill once. Ids given to the methods may be the venue's or the client's.
    """

    def __init__(self, clock: Clock, on_order: Callable[[OrderInfo], None], on_fill: Callable[[Fill], None]) -> None:
        self._clock = clock
        self._on_order = on_order
        self._on_fill = on_fill
        self._live: dict[str, Order] = {}
        self._closed: OrderedDict[str, Order] = OrderedDict()
        self._by_order_id: dict[str, Order] = {}
        self._by_client_id: dict[str, Order] = {}
        self._trades: OrderedDict[tuple[InstrumentId, str], None] = OrderedDict()
        self._orphans: OrderedDict[str, list[Fill]] = OrderedDict()
        self._waiters: dict[int, list[asyncio.Future[None]]] = {}
        self.dropped_orphans = 0

    # ---- reading

    def find(self, any_id: str) -> Order | None:
        return self._by_client_id.get(any_id) or self._by_order_id.get(any_id)

    def live(self) -> tuple[Order, ...]:
        """Everything not proven terminal, in the order it was sent."""
        return tuple(self._live.values())

    def unresolved(self) -> tuple[Order, ...]:
        return tuple(order for order in self._live.values() if order.is_unresolved)

    # ---- our own sends

    def submitted(self, client_order_id: str, intent: OrderIntent) -> Order:
        """Before a byte leaves.

        Raises:
            ConfigError: the client order id is known already.
        """
        if client_order_id in self._by_client_id:
            raise ConfigError(f"client order id {client_order_id} was used already")
        order = Order(client_order_id, intent, self._clock.time_ns())
        self._index(order)
        self._live[self._key(order)] = order
        self._adopt_orphans(order)
        return order

    def acked(self, order: Order, ack: OrderAck) -> None:
        """The venue's synchronous yes. What streams proved meanwhile is not taken back."""
        self._learn_id(order, ack.order_id)
        self._progress(order, ack.status, ack.filled_size, ack.average_price, None, ack.ts_venue_ns)

    def settle(self, order: Order, outcome: Outcome, error: VenueError | None) -> None:
        """The send ended without a yes. UNKNOWN keeps the order live; the other outcomes end it unless a stream proved otherwise."""
        order.error = error
        if outcome is Outcome.UNKNOWN:
            if order.status is OrderStatus.SUBMITTED:
                order.status = OrderStatus.UNKNOWN
                self._changed(order)
        elif order.is_unresolved:
            reason = str(error) if error is not None else None
            self._progress(order, OrderStatus.NOT_SENT if outcome is Outcome.NOT_SENT else OrderStatus.REJECTED, ZERO, None, reason, None)

    def amended(self, order: Order, intent: OrderIntent, new_order_id: str | None) -> None:
        """An amend was accepted: new terms, perhaps a new venue id; fills of the old id still belong to this order."""
        order.intent = intent
        if new_order_id is not None and new_order_id != order.order_id:
            if order.order_id is not None:
                order.previous_ids = (*order.previous_ids, order.order_id)
            order.order_id = None
            self._learn_id(order, new_order_id)
        self._changed(order)

    def never_existed(self, order: Order) -> None:
        """The venue proved that it does not know the order (E2): it ends as NOT_SENT."""
        if order.is_unresolved and order.filled == ZERO:
            self._progress(order, OrderStatus.NOT_SENT, ZERO, None, "the venue does not know it", None)

    # ---- evidence

    def on_order(self, info: OrderInfo) -> Order:
        """A venue's view of one order, from a stream or a query; adopts orders that are not ours as external."""
        order = (info.client_order_id and self._by_client_id.get(info.client_order_id)) or (
            info.order_id and self._by_order_id.get(info.order_id)
        )
        if not order:
            order = self._adopt(info)
        if info.order_id is not None and info.order_id in order.previous_ids:
            if info.filled_size > order.filled:  # the replaced order of an amend: its end is not ours, its fills are
                self._progress(order, order.status, info.filled_size, info.average_price, None, info.updated_ns)
            return order
        self._learn_id(order, info.order_id)
        self._progress(order, info.status, info.filled_size, info.average_price, info.cancel_reason, info.updated_ns)
        return order

    def on_fill(self, fill: Fill) -> bool:
        """One execution; False when this trade id was counted before. A fill may come before the ack of its order."""
        key = (fill.instrument, fill.trade_id)
        if key in self._trades:
            return False
        self._trades[key] = None
        if len(self._trades) > MAX_TRADE_IDS:
            self._trades.popitem(last=False)
        order = (fill.client_order_id and self._by_client_id.get(fill.client_order_id)) or (
            fill.order_id and self._by_order_id.get(fill.order_id)
        )
        if order:
            self._count(order, fill)
        elif fill.order_id is not None or fill.client_order_id is not None:
            self._keep_orphan(fill)
        self._on_fill(fill)
        return True

    # ---- waiting

    async def wait(self, order: Order, until: Callable[[Order], bool], timeout_s: float) -> bool:
        """True once `until(order)` holds, False when `timeout_s` (asyncio time) passed first."""
        try:
            async with asyncio.timeout(timeout_s):
                while not until(order):
                    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                    waiters = self._waiters.setdefault(id(order), [])
                    waiters.append(future)
                    try:
                        await future
                    finally:
                        if future in waiters:
                            waiters.remove(future)
                        if not waiters:
                            self._waiters.pop(id(order), None)
        except TimeoutError:
            return until(order)
        return True

    # ---- inside

    @staticmethod
    def _key(order: Order) -> str:
        return order.client_order_id or f"venue:{order.order_id}"

    def _index(self, order: Order) -> None:
        if order.client_order_id is not None:
            self._by_client_id[order.client_order_id] = order
        if order.order_id is not None:
            self._by_order_id[order.order_id] = order

    def _learn_id(self, order: Order, order_id: str | None) -> None:
        if order_id is not None and order.order_id != order_id:
            if order.order_id is not None:
                order.previous_ids = (*order.previous_ids, order.order_id)
            order.order_id = order_id
            self._by_order_id[order_id] = order
            self._adopt_orphans(order)

    def _adopt(self, info: OrderInfo) -> Order:
        intent = OrderIntent(
            instrument=info.instrument,
            side=info.side,
            quantity=info.size,
            price=info.price,
            order_type=info.order_type,
            time_in_force=info.time_in_force,
            post_only=info.post_only,
            reduce_only=info.reduce_only,
            trigger_price=info.trigger_price,
            client_order_id=info.client_order_id,
        )
        order = Order(info.client_order_id, intent, info.created_ns or self._clock.time_ns(), external=True)
        order.order_id = info.order_id
        self._index(order)
        self._live[self._key(order)] = order
        self._adopt_orphans(order)
        return order

    def _keep_orphan(self, fill: Fill) -> None:
        key = fill.client_order_id or fill.order_id or ""
        self._orphans.setdefault(key, []).append(fill)
        if len(self._orphans) > MAX_ORPHAN_FILLS:
            self._orphans.popitem(last=False)
            self.dropped_orphans += 1

    def _adopt_orphans(self, order: Order) -> None:
        for key in (order.client_order_id, order.order_id):
            for fill in self._orphans.pop(key, ()) if key is not None else ():
                self._count(order, fill)

    def _count(self, order: Order, fill: Fill) -> None:
        if order.order_id is None:
            self._learn_id(order, fill.order_id)
        order.fill_quantity += fill.quantity
        order.fill_value += fill.quantity * fill.price
        status = OrderStatus.FILLED if order.fill_quantity >= order.intent.quantity else OrderStatus.PARTIALLY_FILLED
        self._progress(order, status, order.fill_quantity, None, None, fill.ts_venue_ns)

    def _progress(
        self, order: Order, status: OrderStatus, filled: Decimal, average: Decimal | None, reason: str | None, ts_ns: int | None
    ) -> None:
        before = (order.status, order.filled, order.order_id)
        if filled > order.filled:
            order.filled = filled
            order.average_price = average if average is not None else order.average_price
        if status is OrderStatus.FILLED and order.filled < order.intent.quantity:
            status = OrderStatus.PARTIALLY_FILLED  # status text alone fills nothing (E6)
        if not order.status.is_terminal:
            if status.is_terminal:
                order.status = status
            elif order.filled >= order.intent.quantity:
                order.status = OrderStatus.FILLED
            elif order.filled > 0 and status is not OrderStatus.UNKNOWN:
                order.status = OrderStatus.PARTIALLY_FILLED
            elif status not in (OrderStatus.SUBMITTED, OrderStatus.UNKNOWN):
                order.status = status
        elif order.filled >= order.intent.quantity:
            order.status = OrderStatus.FILLED  # a late fill completed what was thought canceled
        if reason is not None:
            order.cancel_reason = reason
        order.updated_ns = max(order.updated_ns, ts_ns or 0)
        if (order.status, order.filled, order.order_id) != before or reason is not None:
            self._changed(order)

    def _changed(self, order: Order) -> None:
        if order.status.is_terminal and self._live.pop(self._key(order), None) is not None:
            self._closed[self._key(order)] = order
            while len(self._closed) > MAX_CLOSED:
                self._forget(self._closed.popitem(last=False)[1])
        for future in self._waiters.get(id(order), ()):
            if not future.done():
                future.set_result(None)
        self._on_order(order.info())

    def _forget(self, order: Order) -> None:
        if order.client_order_id is not None:
            self._by_client_id.pop(order.client_order_id, None)
        for order_id in (order.order_id, *order.previous_ids):
            if order_id is not None:
                self._by_order_id.pop(order_id, None)


# ---- client order ids

_TICKS_PER_S = {IdFormat.UINT32: 10, IdFormat.UINT48: 1_000, IdFormat.HEX128: 1_000_000, IdFormat.TEXT32: 1_000_000}
_EPOCH_S = {IdFormat.UINT32: 1_735_689_600}
_MAXIMUM = {IdFormat.UINT32: 2**32 - 1, IdFormat.UINT48: 2**48 - 1, IdFormat.HEX128: 2**127, IdFormat.TEXT32: 2**100}
_BLOCK = 1_000


def format_client_id(number: int, form: IdFormat) -> str:
    """The number as the venue's client order id."""
    if form is IdFormat.HEX128:
        return f"0x{number:032x}"
    if form is IdFormat.TEXT32:
        return f"p{number:x}"
    return str(number)


class IdStore(Protocol):
    """Gives client order ids that never repeat in the life of an account."""

    def next_id(self) -> str: ...


class MemoryIdStore:
    """Ids that rise from the clock, for accounts that live no longer than the process (simulations, tests)."""

    def __init__(self, form: IdFormat, clock: Clock) -> None:
        self._form = form
        self._next = _clock_floor(form, clock)

    def next_id(self) -> str:
        self._next += 1
        return format_client_id(self._next, self._form)


class FileIdStore:
    """Ids reserved in durable blocks under `path`, shared safely by processes (file lock).

    A block starts above both the file's high-water mark and the clock: a clock set back repeats nothing, and neither does a lost file, as
    long as fewer ids were used than the clock counts (10 a second for 32-bit ids, 1,000 for 48-bit).
    """

    def __init__(self, path: Path, form: IdFormat, clock: Clock) -> None:
        self._path = path
        self._form = form
        self._clock = clock
        self._next = 0
        self._end = 0

    def next_id(self) -> str:
        """Raises ConfigError when the state directory cannot be written: then no order may be sent."""
        if self._next >= self._end:
            self._reserve()
        self._next += 1
        return format_client_id(self._next, self._form)

    def _reserve(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                text = os.read(handle, 64).decode("ascii", "replace").strip()
                if text and not text.isdigit():
                    raise ConfigError(f"{self._path} is damaged: delete it only when no order with its ids can still be open")
                start = max(int(text or 0), _clock_floor(self._form, self._clock))
                if start + _BLOCK > _MAXIMUM[self._form]:
                    raise ConfigError(f"{self._path}: the account has used up its client order ids")
                os.lseek(handle, 0, os.SEEK_SET)
                os.write(handle, f"{start + _BLOCK:<48d}\n".encode())
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as e:
            raise ConfigError(f"client order ids cannot be reserved in {self._path}: {e.strerror}") from e
        self._next, self._end = start, start + _BLOCK


def _clock_floor(form: IdFormat, clock: Clock) -> int:
    return max(0, (clock.time_ns() // 1_000_000_000 - _EPOCH_S.get(form, 0)) * _TICKS_PER_S[form])
