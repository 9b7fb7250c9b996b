"""What a grid knows: its open lots, its orders, its phase. Pure; saved whole at each change.

A lot is what an entry filled and no exit has sold yet. All lots of a grid have one direction: an entry against them closes them first.
The sum of the lots is the grid's own position, always: what no order of ours explains (liquidation, a close by hand) is taken from the
oldest lot, or becomes a lot of its own.
"""

from decimal import Decimal
from enum import StrEnum

import msgspec

from exchange_clients.model import NS_PER_S, ZERO, Side

VERSION = 1
FIRST_RETRY_NS = NS_PER_S // 4
MAX_RETRY_NS = 10 * NS_PER_S
UNSENT_RETRY_NS = NS_PER_S
RESTED_NS = 60 * NS_PER_S
"""An exit that stood so long was taken by the venue: when it ends without a fill, the count of failures begins anew."""


class Phase(StrEnum):
    """RUNNING: entries and exits. STOPPING: everything is cancelled and closed. HALTED: nothing, until somebody resumes.
    ALERT: a close was given up after its attempts; nothing more is sent."""

    RUNNING = "running"
    STOPPING = "stopping"
    HALTED = "halted"
    ALERT = "alert"


class Role(StrEnum):
    """What an order is for. CLOSE: a reducing order by market."""

    ENTRY = "entry"
    TAKE_PROFIT = "tp"
    CLOSE = "close"

    @property
    def reduces(self) -> bool:
        """Whether it can only make the position smaller."""
        return self is not Role.ENTRY


class GridOrder(msgspec.Struct, frozen=True, kw_only=True):
    """One order that is not proved finished, and what of it is already booked to lots. `cost` is the sum of price times quantity."""

    client_order_id: str
    role: Role
    side: Side
    price: Decimal
    quantity: Decimal
    lot: str
    """The lot that an exit belongs to; of an entry its own."""
    line: int = 0
    placed_ns: int = 0
    filled: Decimal = ZERO
    cost: Decimal = ZERO
    cancelling: bool = False

    @property
    def remaining(self) -> Decimal:
        """What can still fill."""
        return self.quantity - self.filled


class Lot(msgspec.Struct, frozen=True, kw_only=True):
    """Open quantity (positive) that one entry brought, or several that were too small alone. `cost` belongs to `quantity`."""

    lot_id: str
    side: Side
    quantity: Decimal
    cost: Decimal
    opened_ns: int
    line: int = 0
    closing: str = ""
    """The rule by which it is closed by market; empty while it waits for its take-profit."""
    overdue: bool = False
    """Told to be older than `position_timeout_minutes`."""
    failures: int = 0
    """Exits refused, or ended by the venue without a fill, in a row."""
    retry_ns: int = 0
    """No exit is sent before."""

    @property
    def price(self) -> Decimal:
        """Average entry price."""
        return self.cost / self.quantity

    @property
    def signed(self) -> Decimal:
        """Its share of the position."""
        return self.quantity * self.side.sign


class GridState(msgspec.Struct, frozen=True, kw_only=True):
    """One grid in one market."""

    holding_id: str = ""
    phase: Phase = Phase.RUNNING
    reason: str = ""
    """Of the phase."""
    lots: tuple[Lot, ...] = ()
    orders: tuple[GridOrder, ...] = ()
    paused: str = ""
    """The rule that holds entries back; empty when none does."""
    last_entry_ns: int = 0
    exit_filled_ns: int = 0
    retries: int = 0
    """Entries in a row that the venue did not let rest."""
    close_failures: int = 0
    """Market closes of the whole grid in a row that filled nothing."""
    close_retry_ns: int = 0
    leverage: Decimal | None = None
    """As read back from the venue."""
    reference: Decimal | None = None
    recentred_ns: int = 0
    round_trips: int = 0
    gained: Decimal = ZERO
    """Of lots that were closed, price alone, without fees and funding."""
    liquidations: int = 0
    """Executions by which the venue liquidated the holding, as far as they were reacted to."""

    @property
    def own(self) -> Decimal:
        """The position by the lots, signed."""
        return sum((lot.signed for lot in self.lots), ZERO)

    def lot(self, lot_id: str) -> Lot | None:
        """By id."""
        return next((lot for lot in self.lots if lot.lot_id == lot_id), None)

    def order(self, client_order_id: str) -> GridOrder | None:
        """By id."""
        return next((o for o in self.orders if o.client_order_id == client_order_id), None)

    def entries(self) -> tuple[GridOrder, ...]:
        """Those that could still fill."""
        return tuple(o for o in self.orders if o.role is Role.ENTRY)

    def exits(self, lot_id: str | None = None) -> tuple[GridOrder, ...]:
        """Reducing orders that could still fill, of one lot or of all."""
        return tuple(o for o in self.orders if o.role.reduces and lot_id in (None, o.lot))

    def covered(self, lot_id: str) -> Decimal:
        """What exits of a lot could still take from it."""
        return sum((o.remaining for o in self.exits(lot_id)), ZERO)

    def waiting(self) -> Decimal:
        """Open quantity that no exit covers."""
        return sum((max(lot.quantity - self.covered(lot.lot_id), ZERO) for lot in self.lots), ZERO)


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What is proved about an order by now: cumulative fill, and whether it is finished.

    `refused`: in words, by the venue or by a check of ours. `crossed`: it ended without a fill and nobody asked for that.
    """

    client_order_id: str
    filled: Decimal = ZERO
    cost: Decimal = ZERO
    quantity: Decimal | None = None
    """As it was sent: a reducing order may have been cut to what the venue showed."""
    finished: bool = False
    refused: str = ""
    crossed: bool = False
    unsent: bool = False
    """It never left: nothing was refused, only the way to the venue is not there."""
    since_ns: int | None = None
    """When an entry first filled; None: now."""


class Happened(msgspec.Struct, frozen=True):
    """Something to tell, with its figures."""

    event: str
    facts: dict[str, object]


def placed(state: GridState, order: GridOrder, now_ns: int) -> GridState:
    """An order goes out."""
    entry = order.role is Role.ENTRY
    return msgspec.structs.replace(state, orders=(*state.orders, order), last_entry_ns=now_ns if entry else state.last_entry_ns)


def cancelling(state: GridState, client_order_id: str) -> GridState:
    """A cancel goes out; the order counts until its end is proved."""
    orders = tuple(msgspec.structs.replace(o, cancelling=True) if o.client_order_id == client_order_id else o for o in state.orders)
    return msgspec.structs.replace(state, orders=orders)


def absorb(
    state: GridState, seen: dict[str, Seen], own: Decimal, *, now_ns: int, price: Decimal | None
) -> tuple[GridState, list[Happened]]:
    """Book what the orders filled since, drop the finished ones, and explain the rest of `own` (signed).

    `price`: what a share is booked at that came from no order of ours; None leaves it for the next look.
    """
    told: list[Happened] = []
    for order in state.orders:
        fact = seen.get(order.client_order_id)
        if fact is None:
            continue
        if fact.quantity is not None and fact.quantity != order.quantity:
            order = msgspec.structs.replace(order, quantity=fact.quantity)
            state = _with_order(state, order)
        more, worth = fact.filled - order.filled, fact.cost - order.cost
        if more > 0:
            state = _filled(state, order, more, worth, now_ns, told, opened_ns=min(fact.since_ns or now_ns, now_ns))
        state = _ended(state, order, fact, now_ns, told) if fact.finished else state
    missing = own - state.own
    if missing and (price is not None or missing * state.own < 0):
        told.append(Happened("grid.position_changed", {"change": missing, "own": own}))
        side = Side.BUY if missing > 0 else Side.SELL
        state = _apply(state, side, abs(missing), abs(missing) * (price or ZERO), f"found-{now_ns}", 0, now_ns, told, gains=False)
    return state, told


def _filled(
    state: GridState, order: GridOrder, more: Decimal, worth: Decimal, now_ns: int, told: list[Happened], *, opened_ns: int
) -> GridState:
    state = _with_order(state, msgspec.structs.replace(order, filled=order.filled + more, cost=order.cost + worth))
    told.append(Happened(f"grid.{order.role}_filled", {"id": order.client_order_id, "quantity": more, "price": worth / more}))
    if order.role.reduces:
        state = msgspec.structs.replace(state, exit_filled_ns=now_ns, close_failures=0)
    else:
        state = msgspec.structs.replace(state, retries=0)
    return _apply(state, order.side, more, worth, order.lot, order.line, opened_ns, told)


def _apply(
    state: GridState,
    side: Side,
    quantity: Decimal,
    cost: Decimal,
    lot_id: str,
    line: int,
    opened_ns: int,
    told: list[Happened],
    *,
    gains: bool = True,
) -> GridState:
    """Take `quantity` from lots of the other direction (its own lot first, then the oldest); what is left is added to lot `lot_id`."""
    lots = {lot.lot_id: lot for lot in state.lots}
    left, trips, gained = quantity, state.round_trips, state.gained
    for lot in sorted(state.lots, key=lambda item: item.lot_id != lot_id):
        if left == 0 or lot.side is side:
            continue
        taken = min(left, lot.quantity)
        left -= taken
        bought, sold = lot.cost * taken / lot.quantity, cost * taken / quantity
        if gains:
            gained += (sold - bought) * lot.side.sign
        if taken == lot.quantity:
            del lots[lot.lot_id]
            trips += gains
            told.append(Happened("grid.lot_closed", {"lot": lot.lot_id, "gained": (sold - bought) * lot.side.sign if gains else None}))
        else:
            lots[lot.lot_id] = msgspec.structs.replace(lot, quantity=lot.quantity - taken, cost=lot.cost - bought, failures=0, retry_ns=0)
    if left > 0:
        worth = cost * left / quantity
        before = lots.get(lot_id)
        lots[lot_id] = (
            Lot(lot_id=lot_id, side=side, quantity=left, cost=worth, opened_ns=opened_ns, line=line)
            if before is None
            else msgspec.structs.replace(before, quantity=before.quantity + left, cost=before.cost + worth)
        )
    return msgspec.structs.replace(state, lots=tuple(lots.values()), round_trips=trips, gained=gained)


def _ended(state: GridState, order: GridOrder, fact: Seen, now_ns: int, told: list[Happened]) -> GridState:
    """Its end is proved: it covers nothing any more."""
    state = msgspec.structs.replace(state, orders=tuple(o for o in state.orders if o.client_order_id != order.client_order_id))
    if fact.refused:
        told.append(Happened("grid.refused", {"id": order.client_order_id, "role": order.role.value, "why": fact.refused}))
    if order.role is Role.ENTRY:
        if fact.unsent:
            return state
        return msgspec.structs.replace(state, retries=state.retries + 1 if fact.crossed and fact.filled == 0 else 0)
    if fact.filled > 0 or (order.cancelling and not fact.refused):
        return state
    lot = state.lot(order.lot)
    if lot is None:
        failures = state.close_failures + (not fact.unsent)
        return msgspec.structs.replace(state, close_failures=failures, close_retry_ns=now_ns + _pause_ns(fact.unsent, failures))
    rested = not fact.refused and now_ns - order.placed_ns >= RESTED_NS
    failures = (0 if rested else lot.failures) + (not fact.unsent)
    return with_lot(state, msgspec.structs.replace(lot, failures=failures, retry_ns=now_ns + _pause_ns(fact.unsent, failures)))


def _with_order(state: GridState, order: GridOrder) -> GridState:
    orders = tuple(order if held.client_order_id == order.client_order_id else held for held in state.orders)
    return msgspec.structs.replace(state, orders=orders)


def _pause_ns(unsent: bool, failures: int) -> int:
    if unsent:
        return UNSENT_RETRY_NS
    return int(min(FIRST_RETRY_NS << min(failures, 20), MAX_RETRY_NS))


def with_lot(state: GridState, lot: Lot) -> GridState:
    """The state with this lot in the place of the one of the same id."""
    return msgspec.structs.replace(state, lots=tuple(lot if held.lot_id == lot.lot_id else held for held in state.lots))


def merged(state: GridState, lot_ids: tuple[str, ...]) -> GridState:
    """Several lots become one, at their average price; it keeps the name, the line and the exits of the first."""
    parts = [lot for lot in state.lots if lot.lot_id in lot_ids]
    first = next(lot for lot in parts if lot.lot_id == lot_ids[0])
    one = msgspec.structs.replace(
        first,
        quantity=sum((lot.quantity for lot in parts), ZERO),
        cost=sum((lot.cost for lot in parts), ZERO),
        opened_ns=min(lot.opened_ns for lot in parts),
    )
    rest = tuple(lot for lot in state.lots if lot.lot_id not in lot_ids)
    return msgspec.structs.replace(state, lots=(one, *rest))


def resumed(state: GridState) -> GridState:
    """Somebody has looked: run again, with every count of failures at zero."""
    lots = tuple(msgspec.structs.replace(lot, failures=0, retry_ns=0) for lot in state.lots)
    return msgspec.structs.replace(state, phase=Phase.RUNNING, reason="", lots=lots, close_failures=0, close_retry_ns=0, retries=0)
