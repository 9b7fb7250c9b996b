"""What is proven about our orders: tracking by evidence, and client order ids that never repeat.

An order is IN FLIGHT from before its first byte leaves until the venue, a stream or a query says what became of it; UNKNOWN when its
answer was lost; then OPEN, then CLOSED. Evidence only adds: a cumulative fill never falls, each trade counts once, an order that the venue
ended stays ended. An end that we only concluded (not sent, refused, not found) gives way to the venue showing the order alive or filled.
A closed order keeps taking late fills until it is forgotten.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import ClassVar, Protocol
from weakref import WeakKeyDictionary

import msgspec

from exchange_clients.errors import ConfigError, Outcome, VenueError
from exchange_clients.model import (
    NS_PER_S,
    ZERO,
    Fill,
    InstrumentId,
    OrderAck,
    OrderInfo,
    OrderIntent,
    OrderStatus,
    Side,
)
from exchange_clients.spec import IdFormat
from exchange_clients.transport.clock import Clock

MAX_CLOSED = 5_000
MAX_TRADES = 20_000
MAX_ORPHAN_FILLS = 1_000

TradeKey = tuple[InstrumentId, str, Side]
"""One execution of ours. With the side, because both sides of a self-trade carry one trade id."""


class Order:
    """One order as far as it is proven. Read it through `info()`; only the tracker changes it."""

    __slots__ = (
        "amending",
        "average_price",
        "cancel_reason",
        "client_order_id",
        "created_ns",
        "ended_by_venue",
        "error",
        "external",
        "fill_quantity",
        "fill_value",
        "filled",
        "held_end",
        "intent",
        "order_id",
        "previous_ids",
        "status",
        "terms_ns",
        "terms_open",
        "tracked_s",
        "updated_ns",
        "version",
        "waiters",
    )

    def __init__(
        self, client_order_id: str | None, intent: OrderIntent, now_ns: int, *, external: bool = False, tracked_s: float = 0.0
    ) -> None:
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
        self.version = 0
        self.ended_by_venue = False
        self.amending = False
        self.held_end: OrderInfo | None = None
        self.tracked_s = tracked_s
        self.terms_open = external
        """Price and size are what the venue shows last: not ours, or an amend has an unknown outcome."""
        self.terms_ns = 0
        self.waiters: list[asyncio.Future[None]] = []

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

    `on_order` and `on_fill` hear every change, each new fill once, a fill before the change it makes. Ids given to the methods may be the
    venue's or the client's.
    """

    def __init__(self, clock: Clock, on_order: Callable[[OrderInfo], None], on_fill: Callable[[Fill], None]) -> None:
        self._clock = clock
        self._on_order = on_order
        self._on_fill = on_fill
        self._live: dict[Order, None] = {}
        self._closed: OrderedDict[Order, None] = OrderedDict()
        self._by_order_id: dict[str, Order] = {}
        self._by_client_id: dict[str, Order] = {}
        self._trades: OrderedDict[TradeKey, None] = OrderedDict()
        self._orphans: OrderedDict[TradeKey, Fill] = OrderedDict()
        self.dropped_orphans = 0

    # ---- reading

    def find(self, any_id: str) -> Order | None:
        return self._by_client_id.get(any_id) or self._by_order_id.get(any_id)

    def order_of(self, fill: Fill) -> Order | None:
        """The order that a fill is of, as far as it is known."""
        order = self._order_of(fill.client_order_id, fill.order_id)
        if order is not None and not _is_of(fill, order):
            return self._by_order_id.get(fill.order_id or "")
        return order

    def live(self) -> tuple[Order, ...]:
        """Everything not proven terminal, in the order it was sent."""
        return tuple(self._live)

    def unresolved(self) -> tuple[Order, ...]:
        return tuple(order for order in self._live if order.is_unresolved)

    # ---- our own sends

    def submitted(self, client_order_id: str, intent: OrderIntent) -> Order:
        """Before a byte leaves.

        A client order id may be given again to what is proven not sent: a resend keeps its id (E2).

        Raises:
            ConfigError: the client order id is known already.
        """
        known = self._by_client_id.get(client_order_id)
        if known is not None and (known.external or known.status is not OrderStatus.NOT_SENT):
            raise ConfigError(f"client order id {client_order_id} was used already")
        order = Order(client_order_id, intent, self._clock.time_ns(), tracked_s=self._clock.elapsed())
        self._by_client_id[client_order_id] = order
        self._live[order] = None
        self._take_orphans(order)
        return order

    def named(self, order: Order, order_id: str) -> None:
        """The venue's id, where it follows from what is going to be sent. A resend of what was never sent takes it over."""
        twin = self._by_order_id.get(order_id)
        if twin is not None and twin is not order and twin.status is OrderStatus.NOT_SENT:
            del self._by_order_id[order_id]
        self._learn_id(order, order_id)

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
            self._conclude(order, OrderStatus.NOT_SENT if outcome is Outcome.NOT_SENT else OrderStatus.REJECTED, str(error or outcome))

    @contextmanager
    def amending(self, order: Order) -> Iterator[None]:
        """Around sending an amend and `amended`.

        Where an amend replaces the order, the end of the old one is held back until it is known whether a new one took its place: `amended`
        or a stream names the new id, or the block ends without one.
        """
        order.amending = True
        before = order.order_id
        proven = False
        try:
            yield
            proven = True
        finally:
            order.amending = False
            order.terms_open = order.terms_open or not proven
            held, order.held_end = order.held_end, None
            if held is not None and order.order_id == before:
                if proven:
                    self._take(order, held)
                elif not order.status.is_terminal:
                    order.status = OrderStatus.UNKNOWN  # ended, or replaced by one that nobody named yet: ask
                    self._changed(order)

    def amended(self, order: Order, intent: OrderIntent, new_order_id: str | None) -> None:
        """An amend was accepted: new terms, perhaps a new venue id; fills of the old id still belong to this order."""
        order.intent = intent
        self._learn_id(order, new_order_id)
        if order.status.is_terminal and not order.ended_by_venue:
            order.status = OrderStatus.UNKNOWN
        self._changed(order)

    def never_existed(self, order: Order) -> None:
        """The venue proved that it does not know the order (E2): it ends as NOT_SENT."""
        if order.is_unresolved and order.filled == ZERO:
            self._conclude(order, OrderStatus.NOT_SENT, "the venue does not know it")

    # ---- evidence

    def on_order(self, info: OrderInfo) -> Order:
        """A venue's view of one order, from a stream or a query; adopts orders that are not ours as external."""
        order = self._order_of(info.client_order_id, info.order_id)
        if order is not None and order.external and self._is_another(order, info):
            order = self._by_order_id.get(info.order_id or "")  # a client id that somebody used again
        if order is None:
            order = self._adopt(info)
        elif info.order_id is not None and order.order_id not in (None, info.order_id) and self._is_older(order, info):
            if info.filled_size > order.filled:  # the order that an amend replaced: its end is not ours, its fills are
                self._progress(order, order.status, info.filled_size, info.average_price, None, info.updated_ns)
            return order
        if order.amending and info.status.is_terminal and info.status is not OrderStatus.FILLED and info.order_id == order.order_id:
            order.held_end = info
            return order
        self._take(order, info)
        return order

    def on_fill(self, fill: Fill) -> bool:
        """One execution; False when this trade was counted before. A fill may come before the ack of its order."""
        key = (fill.instrument, fill.trade_id, fill.side)
        if key in self._trades:
            return False
        self._trades[key] = None
        if len(self._trades) > MAX_TRADES:
            self._trades.popitem(last=False)
        self._on_fill(fill)
        order = self.order_of(fill)
        if order is not None:
            self._count(order, fill)
        else:
            self._orphans[key] = fill
            if len(self._orphans) > MAX_ORPHAN_FILLS:
                self._orphans.popitem(last=False)
                self.dropped_orphans += 1
        return True

    # ---- waiting

    async def wait(self, order: Order, until: Callable[[Order], bool], timeout_s: float) -> bool:
        """True once `until(order)` holds, False when `timeout_s` (asyncio time) passed first."""
        try:
            async with asyncio.timeout(timeout_s):
                while not until(order):
                    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                    order.waiters.append(future)
                    try:
                        await future
                    finally:
                        order.waiters.remove(future)
        except TimeoutError:
            return until(order)
        return True

    async def await_update(self, order: Order, timeout_s: float) -> bool:
        """True once anything about the order changed."""
        seen = order.version
        return await self.wait(order, lambda o: o.version != seen, timeout_s)

    async def await_terminal(self, order: Order, timeout_s: float) -> bool:
        """True once the order is proven ended."""
        return await self.wait(order, lambda o: o.status.is_terminal, timeout_s)

    # ---- inside

    def _order_of(self, client_order_id: str | None, order_id: str | None) -> Order | None:
        if client_order_id is not None and (order := self._by_client_id.get(client_order_id)) is not None:
            return order
        return self._by_order_id.get(order_id) if order_id is not None else None

    @staticmethod
    def _is_another(order: Order, info: OrderInfo) -> bool:
        return order.ended_by_venue and order.order_id is not None and info.order_id not in (None, order.order_id, *order.previous_ids)

    @staticmethod
    def _is_older(order: Order, info: OrderInfo) -> bool:
        """Whether a view under another venue id is of an order that the current one replaced, rather than of its replacement."""
        if info.order_id in order.previous_ids:
            return True
        return info.status.is_terminal and not order.status.is_terminal and not order.amending

    def _learn_id(self, order: Order, order_id: str | None) -> None:
        if order_id is None or order.order_id == order_id or order_id in order.previous_ids:
            return
        if order.order_id is not None:
            order.previous_ids = (*order.previous_ids, order.order_id)
            order.held_end = None
            if order.ended_by_venue and order.status is not OrderStatus.FILLED:
                order.ended_by_venue = False  # the end was that of the order this one replaced
        order.order_id = order_id
        twin = self._by_order_id.get(order_id)
        self._by_order_id[order_id] = order
        if twin is not None and twin is not order:
            self._absorb(order, twin)
        self._take_orphans(order)

    def _absorb(self, order: Order, twin: Order) -> None:
        """A stream told of our order before we knew its venue id, so it was taken for somebody else's: one order again."""
        self._live.pop(twin, None)
        self._closed.pop(twin, None)
        if twin.client_order_id is not None and self._by_client_id.get(twin.client_order_id) is twin:
            self._by_client_id[twin.client_order_id] = order
        order.fill_quantity += twin.fill_quantity
        order.fill_value += twin.fill_value
        for order_id in twin.previous_ids:
            self._by_order_id[order_id] = order
        for future in twin.waiters:
            if not future.done():
                future.set_result(None)
        self._progress(order, twin.status, twin.filled, twin.average_price, twin.cancel_reason, twin.updated_ns)

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
        if info.client_order_id is not None:
            self._by_client_id[info.client_order_id] = order
        self._live[order] = None
        if info.order_id is None:  # else they are taken once that is known
            self._take_orphans(order)
        return order

    def _take_orphans(self, order: Order) -> None:
        for key, fill in tuple(self._orphans.items()):
            if _is_of(fill, order) and self._orphans.pop(key, None) is not None:  # counting one may name the order and so take the others
                self._count(order, fill)

    def _count(self, order: Order, fill: Fill) -> None:
        order.fill_quantity += fill.quantity
        order.fill_value += fill.quantity * fill.price
        if order.order_id is None:
            self._learn_id(order, fill.order_id)
        self._progress(order, OrderStatus.PARTIALLY_FILLED, order.fill_quantity, None, None, fill.ts_venue_ns)

    def _take(self, order: Order, info: OrderInfo) -> None:
        self._learn_id(order, info.order_id)
        if (order.terms_open or order.amending) and (info.updated_ns or 0) >= order.terms_ns and info.size > ZERO:
            order.terms_ns = info.updated_ns or 0
            order.intent = msgspec.structs.replace(
                order.intent,
                quantity=info.size,
                price=info.price or order.intent.price,
                trigger_price=info.trigger_price or order.intent.trigger_price,
            )
        whole = order.intent.quantity
        if info.status is OrderStatus.FILLED and not order.previous_ids and ZERO < info.size <= info.filled_size:
            whole = min(whole, info.size)  # a venue may cut an order (reduce-only) and fill all that is left of it
        self._progress(order, info.status, info.filled_size, info.average_price, info.cancel_reason, info.updated_ns, whole=whole)

    def _progress(
        self,
        order: Order,
        status: OrderStatus,
        filled: Decimal,
        average: Decimal | None,
        reason: str | None,
        ts_ns: int | None,
        *,
        whole: Decimal | None = None,
    ) -> None:
        """Take the venue's word. FILLED counts only when the quantity says so (E6): until then the order has to be asked about."""
        before = (order.status, order.filled, order.order_id, order.cancel_reason)
        if filled > order.filled:
            order.filled = filled
        if average is not None and filled >= order.filled:
            order.average_price = average
        complete = order.filled >= (order.intent.quantity if whole is None else whole)
        if order.status.is_terminal and not order.ended_by_venue and (order.filled > ZERO or status not in _NO_WORD):
            order.status = OrderStatus.UNKNOWN  # we had concluded an end, the venue knows better
        if complete:
            order.status = OrderStatus.FILLED
            order.ended_by_venue = True
        elif not order.status.is_terminal:
            if status.is_terminal and status is not OrderStatus.FILLED:
                order.status = status
                order.ended_by_venue = True
            elif order.filled > ZERO:
                order.status = OrderStatus.PARTIALLY_FILLED
            elif status is OrderStatus.FILLED:
                order.status = OrderStatus.UNKNOWN
            elif status in _ON_THE_BOOK and (status is not OrderStatus.PENDING or order.is_unresolved):
                order.status = status
        if reason is not None and order.status is not OrderStatus.FILLED:
            order.cancel_reason = reason
        order.updated_ns = max(order.updated_ns, ts_ns or 0)
        if (order.status, order.filled, order.order_id, order.cancel_reason) != before:
            self._changed(order)

    def _conclude(self, order: Order, status: OrderStatus, reason: str) -> None:
        """An end that no word of the venue about the order itself proves."""
        order.status = status
        order.cancel_reason = reason
        self._changed(order)

    def _changed(self, order: Order) -> None:
        order.version += 1
        if order.status.is_terminal:
            self._live.pop(order, None)
            self._closed[order] = None
            while len(self._closed) > MAX_CLOSED:
                self._forget(self._closed.popitem(last=False)[0])
        elif order in self._closed:
            del self._closed[order]
            self._live[order] = None
        for future in order.waiters:
            if not future.done():
                future.set_result(None)
        self._on_order(order.info())

    def _forget(self, order: Order) -> None:
        if order.client_order_id is not None and self._by_client_id.get(order.client_order_id) is order:
            del self._by_client_id[order.client_order_id]
        for order_id in (order.order_id, *order.previous_ids):
            if order_id is not None and self._by_order_id.get(order_id) is order:
                del self._by_order_id[order_id]


def _is_of(fill: Fill, order: Order) -> bool:
    """By the venue's id, and by the client id of ours: those never repeat. Somebody else may give one client id to many orders."""
    if fill.order_id is not None and fill.order_id in (order.order_id, *order.previous_ids):
        return True
    named = fill.client_order_id is not None and fill.client_order_id == order.client_order_id
    return named and (not order.external or None in (fill.order_id, order.order_id))


_NO_WORD = frozenset({OrderStatus.NOT_SENT, OrderStatus.SUBMITTED, OrderStatus.UNKNOWN})
_ON_THE_BOOK = frozenset({OrderStatus.OPEN, OrderStatus.PARTIALLY_FILLED, OrderStatus.PENDING})


# ---- client order ids

_TICKS_PER_S = {IdFormat.UINT32: 10, IdFormat.UINT48: 1_000, IdFormat.HEX128: 1_000_000, IdFormat.TEXT32: 1_000_000}
_EPOCH_S = {IdFormat.UINT32: 1_735_689_600}
_MAXIMUM = {IdFormat.UINT32: 2**32 - 1, IdFormat.UINT48: 2**48 - 1, IdFormat.HEX128: 2**127, IdFormat.TEXT32: 2**100}
_BLOCK = 1_000
_RECORD = 49


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
    """Ids that rise from the clock, for accounts that live no longer than the process (simulations, tests).

    All stores of one form on one event loop share a count: two clients of an account that start in the same tick of the clock do not give
    the same ids. Processes share nothing.
    """

    _of_loop: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, dict[IdFormat, int]]] = WeakKeyDictionary()

    def __init__(self, form: IdFormat, clock: Clock) -> None:
        self._form = form
        self._last = _clock_floor(form, clock)
        self._alone: dict[IdFormat, int] = {}

    def next_id(self) -> str:
        try:
            given = self._of_loop.setdefault(asyncio.get_running_loop(), {})
        except RuntimeError:
            given = self._alone
        self._last = given[self._form] = max(given.get(self._form, 0), self._last) + 1
        return format_client_id(self._last, self._form)


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
                if text and not (text.isdigit() and text.isascii()):
                    raise ConfigError(f"{self._path} is damaged: delete it only when no order with its ids can still be open")
                start = max(int(text or 0), _clock_floor(self._form, self._clock))
                if start + _BLOCK > _MAXIMUM[self._form]:
                    raise ConfigError(f"{self._path}: the account has used up its client order ids")
                written = os.pwrite(handle, f"{start + _BLOCK:<48d}\n".encode(), 0)
                if written != _RECORD:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(handle)
                if not text:
                    _sync_directory(self._path.parent)
            finally:
                os.close(handle)
        except OSError as e:
            raise ConfigError(f"client order ids cannot be reserved in {self._path}: {e.strerror}") from e
        self._next, self._end = start, start + _BLOCK


def _clock_floor(form: IdFormat, clock: Clock) -> int:
    """Ids count the clock's ticks from here on: a later start begins higher unless ids were used faster than the clock counts."""
    return max(0, (clock.time_ns() - _EPOCH_S.get(form, 0) * NS_PER_S) * _TICKS_PER_S[form] // NS_PER_S)


def _sync_directory(path: Path) -> None:
    """Make a new file's name as durable as its content."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
