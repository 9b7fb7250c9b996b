"""What a grid sees at one look, and what can follow from it."""

from decimal import Decimal

import msgspec

from exchange_clients.model import Instrument, Side
from strategies.execution.lots import tradable
from strategies.execution.pricing import Quote

from .config import GridConfig
from .state import GridState, Lot, Phase, Role, merged, with_lot


class GridView(msgspec.Struct, frozen=True, kw_only=True):
    """One look at one grid.

    `touch`: of a fresh, contiguous book; None forbids entries. `touch_ns`: when it was received. `quote`: for exits, the touch or what
    stands in for it (mark, last fill). `entry_block`: why nothing may be entered, in words; what rests comes off. `gate_block`: why
    nothing more may be entered for a while. `below_minimum`: the venue takes a reduce-only
    order that is smaller than its minima.
    """

    now_ns: int
    config: GridConfig
    instrument: Instrument
    state: GridState
    touch: Quote | None
    touch_ns: int = 0
    quote: Quote | None
    entry_block: str | None = None
    gate_block: str | None = None
    below_minimum: bool = False

    @property
    def price(self) -> Decimal | None:
        """That stop, pause and stop loss look at: the mid of the book or the mark; an old fill proves nothing."""
        return None if self.quote is None or self.quote.source == "last fill" else self.quote.mid


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Send an order. `market`: immediate or cancelled, `price` is the worst one."""

    role: Role
    side: Side
    quantity: Decimal
    price: Decimal
    rule: str
    lot: str = ""
    line: int = 0
    market: bool = False


class Cancel(msgspec.Struct, frozen=True):
    """Take an order off the book."""

    client_order_id: str
    rule: str


class CloseLot(msgspec.Struct, frozen=True):
    """Decide to close one lot by market."""

    lot_id: str
    rule: str
    detail: str


class Overdue(msgspec.Struct, frozen=True):
    """Tell that a lot is older than its time; it goes on waiting."""

    lot_id: str
    detail: str


class Merge(msgspec.Struct, frozen=True):
    """Make one lot of several that are too small alone."""

    lot_ids: tuple[str, ...]


class Recentre(msgspec.Struct, frozen=True):
    """Move the ladder."""

    reference: Decimal
    detail: str


class Pause(msgspec.Struct, frozen=True):
    """Entries are held back, or (empty rule) not any more."""

    rule: str
    detail: str


class Turn(msgspec.Struct, frozen=True):
    """Into another phase."""

    phase: Phase
    rule: str
    detail: str


class Wait(msgspec.Struct, frozen=True):
    """No entry now, and why."""

    rule: str
    detail: str


Action = Place | Cancel | CloseLot | Overdue | Merge | Recentre | Pause | Turn | Wait


def applied(state: GridState, action: Action, now_ns: int) -> GridState:
    """The state after an action that sends nothing; others change it when they are sent."""
    match action:
        case CloseLot(lot_id=lot_id, rule=rule):
            lot = state.lot(lot_id)
            return state if lot is None else with_lot(state, msgspec.structs.replace(lot, closing=rule))
        case Overdue(lot_id=lot_id):
            lot = state.lot(lot_id)
            return state if lot is None else with_lot(state, msgspec.structs.replace(lot, overdue=True))
        case Merge(lot_ids=lot_ids):
            return merged(state, lot_ids)
        case Recentre(reference=reference):
            return msgspec.structs.replace(
                state,
                reference=reference,
                recentred_ns=now_ns,
                lots=tuple(msgspec.structs.replace(lot, line=0) for lot in state.lots),
                orders=tuple(msgspec.structs.replace(o, line=0) for o in state.orders),
            )
        case Pause(rule=rule):
            return msgspec.structs.replace(state, paused=rule)
        case Turn(phase=phase, rule=rule, detail=detail):
            return msgspec.structs.replace(
                state, phase=phase, reason=f"{rule}: {detail}" if rule else "", close_failures=0, close_retry_ns=0
            )
        case _:
            return state


def beyond(v: GridView, what: str) -> tuple[str, str] | None:
    """The stop or pause price that the market has crossed, if any."""
    price, c = v.price, v.config
    if price is None:
        return None
    own = c.stop_price if what == "stop" else c.pause_price
    t = c.two_sided
    low, high = (t.stop_low, t.stop_high) if what == "stop" else (t.pause_low, t.pause_high)
    if not c.two_sides:
        low, high = (own, None) if c.side is Side.BUY else (None, own)
    if low is not None and price <= low:
        return f"{what}_price", f"{price} is at or below {low}"
    if high is not None and price >= high:
        return f"{what}_price", f"{price} is at or above {high}"
    return None


def take_profit_price(v: GridView, lot: Lot) -> Decimal:
    """Where a lot is sold with its gain, valid for the venue, never short of the gain."""
    gain = v.config.gain(v.state.leverage)
    return v.instrument.price_for(lot.side.opposite, lot.price * (1 + lot.side.sign * gain))


def is_dust(v: GridView, lot: Lot) -> bool:
    """Too small for an order of its own, and neither an entry nor an exit belongs to it: it waits for company."""
    alone = all(o.lot != lot.lot_id for o in v.state.orders)
    return alone and not tradable(v.instrument, lot.quantity, take_profit_price(v, lot))
