"""What the grid does next, as one pure function of what is proved. Exits come before entries and depend on nothing that entries need."""

from collections.abc import Iterator
from decimal import Decimal

import msgspec

from exchange_clients.model import NS_PER_S, ZERO, Instrument, Side
from strategies.execution.lots import CLOSABLE_MARGIN, tradable
from strategies.execution.plan import ExecutionLimits
from strategies.execution.pricing import Quote, bound, rung

from .config import PERCENT, GridConfig, RecoveryMode
from .state import GridOrder, GridState, Lot, Phase, Role, merged, with_lot

CLOSE_BPS = ExecutionLimits().reduce_bps
"""Worst price of a market close away from the touch, by attempt."""


class GridView(msgspec.Struct, frozen=True, kw_only=True):
    """One look at one grid.

    `touch`: of a fresh, contiguous book; None forbids entries. `touch_ns`: when it was received. `quote`: for exits, the touch or what
    stands in for it (mark, last fill). `entry_block`: why nothing may be entered, in words. `below_minimum`: the venue takes a reduce-only
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


def decide(v: GridView) -> list[Action]:
    """Everything that follows from one look, in the order in which it is to be done."""
    match v.state.phase:
        case Phase.HALTED | Phase.ALERT:
            return [Cancel(o.client_order_id, v.state.phase.value) for o in v.state.entries() if not o.cancelling]
        case Phase.STOPPING:
            return _stopping(v)
        case Phase.RUNNING:
            stop = _beyond(v, "stop")
            if stop is not None:
                return [Turn(Phase.STOPPING, *stop)]
            exits = list(_exits(v))
            if any(isinstance(a, Turn) for a in exits):
                return exits
            return [*_pausing(v), *exits, *_entries(v)]


# ---- stop and pause


def _beyond(v: GridView, what: str) -> tuple[str, str] | None:
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


def _pausing(v: GridView) -> Iterator[Action]:
    if v.price is None:
        return
    rule, detail = _beyond(v, "pause") or ("", f"{v.price} is back")
    if rule != v.state.paused:
        yield Pause(rule, detail)


def _stopping(v: GridView) -> list[Action]:
    """Cancel everything; close what nothing covers; halt when nothing is left, or only what the venue does not take."""
    s = v.state
    actions: list[Action] = [Cancel(o.client_order_id, "stop") for o in s.orders if not o.cancelling and o.role is not Role.CLOSE]
    own = s.own
    covered = sum((o.remaining for o in s.exits()), ZERO)
    free = abs(own) - covered
    side = Side.SELL if own > 0 else Side.BUY
    if s.close_failures >= v.config.max_close_attempts:
        return [
            *actions,
            Turn(Phase.ALERT, "close_attempts", f"{s.close_failures} closes in a row filled nothing; {own} is left ({s.reason})"),
        ]
    if free > 0 and v.now_ns >= s.close_retry_ns:
        quantity = free if v.instrument.max_quantity is None else min(free, v.instrument.max_quantity)
        price = _worst(v, side, s.close_failures)
        if price is None:
            return actions
        if _closable(v, quantity, price):
            return [*actions, Place(role=Role.CLOSE, side=side, quantity=quantity, price=price, rule="stop", market=True)]
    if not s.orders and (own == 0 or not _closable(v, free, _worst(v, side, 0))):
        rest = "" if own == 0 else f"; {own} is left: less than the venue takes"
        actions.append(Turn(Phase.HALTED, "stopped", f"{s.reason}{rest}"))
    return actions


def _worst(v: GridView, side: Side, failures: int) -> Decimal | None:
    """The worst price of a market close: farther from the touch with each attempt, at once the farthest without a book."""
    if v.quote is None:
        return None
    bps = rung(CLOSE_BPS, failures) if v.quote.source == "book" else CLOSE_BPS[-1]
    return v.instrument.price_for(side, bound(side, v.quote, bps))


def _closable(v: GridView, quantity: Decimal, price: Decimal | None) -> bool:
    whole = v.instrument.round_quantity(quantity) == quantity
    return quantity > 0 and whole and (v.below_minimum or tradable(v.instrument, quantity, price))


# ---- exits


def take_profit_price(v: GridView, lot: Lot) -> Decimal:
    """Where a lot is sold with its gain, valid for the venue, never short of the gain."""
    gain = v.config.gain(v.state.leverage)
    return v.instrument.price_for(lot.side.opposite, lot.price * (1 + lot.side.sign * gain))


def _exits(v: GridView) -> Iterator[Action]:
    small: list[Lot] = []
    feeding = {o.lot for o in v.state.entries()}
    for lot in v.state.lots:
        if lot.failures >= v.config.max_close_attempts:
            yield Turn(
                Phase.ALERT, "exit_attempts", f"{lot.failures} exits of {lot.quantity} bought at {lot.price:f} were refused in a row"
            )
            return
        found = _leaving(v, lot)
        if found is not None:
            yield found
        if isinstance(found, CloseLot):
            continue
        actions, waits = _closing(v, lot) if lot.closing else _protecting(v, lot)
        yield from actions
        if waits and lot.lot_id not in feeding and not v.state.exits(lot.lot_id):
            small.append(lot)
    yield from _collected(v, small)
    held = {lot.lot_id for lot in v.state.lots}
    for order in v.state.exits():
        if order.role is Role.TAKE_PROFIT and order.lot not in held and not order.cancelling:
            yield Cancel(order.client_order_id, "lot_gone")


def _leaving(v: GridView, lot: Lot) -> CloseLot | Overdue | None:
    """The rule that closes a lot by market, if one does."""
    if lot.closing:
        return None
    c, price = v.config, v.price
    if c.stop_loss_enabled and c.stop_loss_percentage is not None and price is not None:
        loss = (lot.price - price) / lot.price * lot.side.sign * PERCENT
        if loss >= c.stop_loss_percentage:
            return CloseLot(lot.lot_id, "stop_loss", f"{loss:.4f} % below its entry, limit {c.stop_loss_percentage} %")
    if c.position_timeout_minutes is not None:
        minutes = Decimal(v.now_ns - lot.opened_ns) / (60 * NS_PER_S)
        if minutes >= c.position_timeout_minutes:
            detail = f"{minutes:.1f} minutes old, limit {c.position_timeout_minutes}"
            if c.recovery_mode is RecoveryMode.AGGRESSIVE:
                return CloseLot(lot.lot_id, "position_timeout", detail)
            if not lot.overdue:
                return Overdue(lot.lot_id, detail)
    if c.boost_mode and v.touch is not None:
        wanted = take_profit_price(v, lot)
        touch = v.touch.bid if lot.side is Side.BUY else v.touch.ask
        if (touch - wanted) * lot.side.sign >= 0:
            return CloseLot(lot.lot_id, "boost", f"the touch {touch} has reached the take-profit {wanted}")
    return None


def _closing(v: GridView, lot: Lot) -> tuple[list[Action], bool]:
    """Its take-profit off the book, what is free by market; whether it is too small for that."""
    exits = v.state.exits(lot.lot_id)
    actions: list[Action] = [Cancel(o.client_order_id, lot.closing) for o in exits if o.role is Role.TAKE_PROFIT and not o.cancelling]
    free = lot.quantity - v.state.covered(lot.lot_id)
    if free <= 0 or v.now_ns < lot.retry_ns:
        return actions, False
    side = lot.side.opposite
    price = _worst(v, side, lot.failures)
    if price is None:
        return actions, False
    if not tradable(v.instrument, free, price) and not (v.below_minimum and free == abs(v.state.own)):
        return actions, True
    return [*actions, Place(role=Role.CLOSE, side=side, quantity=free, price=price, rule=lot.closing, lot=lot.lot_id, market=True)], False


def _protecting(v: GridView, lot: Lot) -> tuple[list[Action], bool]:
    """A take-profit for what has none; whether something of the lot is too small for one."""
    exits = v.state.exits(lot.lot_id)
    free = lot.quantity - v.state.covered(lot.lot_id)
    if free < 0:
        return [Cancel(o.client_order_id, "position_smaller") for o in exits if not o.cancelling], False
    if free == 0 or v.config.boost_mode or v.now_ns < lot.retry_ns:
        return [], False
    price = take_profit_price(v, lot)
    if tradable(v.instrument, free, price):
        return [
            Place(
                role=Role.TAKE_PROFIT, side=lot.side.opposite, quantity=free, price=price, rule="take_profit", lot=lot.lot_id, line=lot.line
            )
        ], False
    fed = any(o.lot == lot.lot_id for o in v.state.entries())
    standing = [o for o in exits if not o.cancelling]
    if not fed and standing and tradable(v.instrument, standing[-1].remaining + free, price):
        return [Cancel(standing[-1].client_order_id, "grow")], False
    return [], True


def _collected(v: GridView, small: list[Lot]) -> Iterator[Action]:
    """Lots that are too small alone are one as soon as they suffice together."""
    for closing in dict.fromkeys(lot.closing for lot in small):
        alike = [lot for lot in small if lot.closing == closing]
        if len(alike) < 2:
            continue
        total = sum((lot.quantity for lot in alike), ZERO)
        if tradable(v.instrument, total, min(lot.price for lot in alike)):
            yield Merge(tuple(lot.lot_id for lot in alike))


# ---- entries


def _entries(v: GridView) -> Iterator[Action]:
    live = [o for o in v.state.entries() if not o.cancelling]
    stop = _entry_stop(v)
    if stop is not None:
        if stop.rule in ("entry_block", "pause_price"):
            yield from (Cancel(o.client_order_id, stop.rule) for o in live)
        yield stop
        return
    yield from _ladder(v, live) if v.config.two_sides else _one_more(v, live)


def _entry_stop(v: GridView) -> Wait | None:
    """What forbids every entry."""
    if v.entry_block is not None:
        return Wait("entry_block", v.entry_block)
    pause = _beyond(v, "pause")
    if pause is not None:
        return Wait("pause_price", pause[1])
    if v.touch is None:
        return Wait("book", "no fresh, contiguous book")
    if v.config.take_profit_basis == "margin" and v.config.target_leverage is None and v.state.leverage is None:
        return Wait("leverage", "take_profit_basis margin needs the leverage, and the venue does not show it")
    if v.config.max_margin_usd is not None and (v.config.target_leverage or v.state.leverage) is None:
        return Wait("leverage", "max_margin_usd needs the leverage, and the venue does not show it")
    held_s = (v.now_ns - v.state.last_entry_ns) / NS_PER_S
    if v.state.retries > v.config.post_only_retries and held_s < v.config.wait_time:
        return Wait(
            "post_only", f"{v.state.retries} post-only entries were refused in a row: waiting {v.config.wait_time - held_s:.1f} s more"
        )
    if v.state.retries and v.touch_ns <= v.state.last_entry_ns:
        return Wait("fresh_book", "a refused post-only waits for a newer book")
    return None


def entry_price(v: GridView, side: Side, touch: Quote) -> Decimal:
    """On its own side of the book, and so many ticks away from the other."""
    other = touch.ask if side is Side.BUY else touch.bid
    away = other - side.sign * v.config.post_only_tick_multiplier * v.instrument.price_increment(other)
    return v.instrument.price_for(side, min(touch.bid, away) if side is Side.BUY else max(touch.ask, away))


def fullness(v: GridView) -> Decimal:
    """Share of `max_orders` that is in use."""
    return Decimal(_used(v)) / v.config.max_orders


def _used(v: GridView) -> int:
    return len({lot.lot_id for lot in v.state.lots} | {o.lot for o in v.state.entries()})


def wait_s(v: GridView) -> float:
    """Seconds between entries by now: more the fuller the grid is, none right after an exit filled."""
    if v.state.retries or v.state.exit_filled_ns > v.state.last_entry_ns:
        return 0.0
    full = fullness(v)
    for share, times in ((Decimal(2) / 3, 2.0), (Decimal(1) / 3, 1.0), (Decimal(1) / 6, 0.5)):
        if full >= share:
            return v.config.wait_time * times
    return v.config.wait_time / 4


def _one_more(v: GridView, live: list[GridOrder]) -> Iterator[Action]:
    """Mode take_profit_grid: one entry at a time, near the touch, one step away from every lot."""
    touch, side = v.touch, v.config.side
    assert touch is not None
    price = entry_price(v, side, touch)
    if v.state.entries():
        far = v.config.entry_reprice_steps * v.config.step
        yield from (Cancel(o.client_order_id, "reprice") for o in live if (price - o.price) * side.sign >= far * o.price)
        yield Wait("entry_rests", "one entry at a time")
        return
    if _used(v) >= v.config.max_orders:
        yield Wait("max_orders", f"{_used(v)} of {v.config.max_orders} in use")
        return
    waited = (v.now_ns - v.state.last_entry_ns) / NS_PER_S
    if waited < (needed := wait_s(v)):
        yield Wait("wait_time", f"{needed - waited:.1f} s more at {fullness(v):.0%} full")
        return
    near = [lot for lot in v.state.lots if abs(price - lot.price) < v.config.step * lot.price]
    if near:
        yield Wait("grid_step", f"{price} is less than one step from {near[0].price:f}")
        return
    yield _entry(v, side, price, 0, [])


def _entry(v: GridView, side: Side, price: Decimal, line: int, planned: list[Place]) -> Place | Wait:
    """An entry at that price, or why it cannot be."""
    quantity = v.instrument.round_quantity(v.config.order_notional_usd / price)
    if not tradable(v.instrument, quantity, price) or quantity * price < v.instrument.min_notional * CLOSABLE_MARGIN:
        least = max(v.instrument.min_notional * CLOSABLE_MARGIN, v.instrument.min_quantity * price)
        return Wait("minimum", f"order_notional_usd {v.config.order_notional_usd} is too little: {v.instrument.id} needs {least:.2f}")
    if v.instrument.max_quantity is not None and quantity > v.instrument.max_quantity:
        return Wait("maximum", f"{quantity} is above {v.instrument.max_quantity} of {v.instrument.id}")
    leverage = v.config.target_leverage or v.state.leverage
    if v.config.max_margin_usd is not None and leverage is not None:
        margin = (_committed(v, None) + sum((p.quantity * p.price for p in planned), ZERO) + quantity * price) / leverage
        if margin > v.config.max_margin_usd:
            return Wait("max_margin_usd", f"the grid would use {margin:.2f}, limit {v.config.max_margin_usd}")
    return Place(role=Role.ENTRY, side=side, quantity=quantity, price=price, rule="grid_step" if line == 0 else f"line {line}", line=line)


def _committed(v: GridView, side: Side | None) -> Decimal:
    """USD of lots (at cost) and resting entries, of one side or of both."""
    lots = sum((lot.cost for lot in v.state.lots if side in (None, lot.side)), ZERO)
    return lots + sum((o.remaining * o.price for o in v.state.entries() if side in (None, o.side)), ZERO)


# ---- the ladder of mode two_sided


def _ladder(v: GridView, live: list[GridOrder]) -> Iterator[Action]:
    """Lines one step apart on both sides of the reference; each has an entry, or the lot that its entry brought."""
    touch, s = v.touch, v.state
    assert touch is not None
    moved = _recentre(v, touch)
    if moved is not None:
        yield moved
        return
    yield from (Cancel(o.client_order_id, "recentred") for o in live if o.line == 0)
    taken = {lot.line for lot in s.lots} | {o.line for o in s.entries()}
    planned: list[Place] = []
    waits: list[Wait] = []
    for distance in range(1, v.config.two_sided.levels_per_side + 1):
        for line in (-distance, distance):
            if line in taken:
                continue
            found = _line(v, line, touch, planned)
            if isinstance(found, Place):
                planned.append(found)
            else:
                waits.append(found)
    yield from planned
    if not planned:
        yield waits[0] if waits else Wait("ladder", "every line has its order")


def line_price(v: GridView, line: int) -> Decimal:
    """Of an entry: below the reference for negative lines, above it for positive ones."""
    assert v.state.reference is not None
    return v.instrument.price_for(Side.BUY if line < 0 else Side.SELL, v.state.reference * (1 + line * v.config.step))


def _line(v: GridView, line: int, touch: Quote, planned: list[Place]) -> Place | Wait:
    side, price = Side.BUY if line < 0 else Side.SELL, line_price(v, line)
    nearest = entry_price(v, side, touch)
    if (price - nearest) * side.sign > 0:
        return Wait("passed", f"line {line} at {price} has been passed by the market")
    against = [lot for lot in v.state.lots if lot.side is not side]
    first = [take_profit_price(v, lot) for lot in against]
    if any((price - p) * side.sign >= 0 for p in first):
        return Wait("inventory_first", f"line {line} at {price} would fill before the take-profits of what is held")
    found = _entry(v, side, price, line, planned)
    if isinstance(found, Wait):
        return found
    limit = v.config.two_sided.max_inventory_usd or v.config.two_sided.levels_per_side * v.config.order_notional_usd
    held = _committed(v, side) + sum((p.quantity * p.price for p in planned if p.side is side), ZERO) + found.quantity * price
    if held > limit:
        return Wait("max_inventory_usd", f"line {line} could take the {side} side to {held:.2f}, limit {limit}")
    return found


def _recentre(v: GridView, touch: Quote) -> Recentre | None:
    s, t = v.state, v.config.two_sided
    limit = t.max_inventory_usd or t.levels_per_side * v.config.order_notional_usd
    filled = max(min(s.own * touch.mid / limit, Decimal(1)), Decimal(-1))
    wanted = touch.mid * (1 - t.skew * v.config.step * filled)
    if s.reference is None:
        return Recentre(wanted, "the first ladder")
    drift = abs(touch.mid - s.reference) / (s.reference * v.config.step)
    waited = (v.now_ns - s.recentred_ns) / NS_PER_S
    if drift < t.recentre_drift_steps or waited < t.recentre_min_seconds:
        return None
    if s.reference == wanted:
        return None
    return Recentre(wanted, f"the market is {drift:.2f} steps from {s.reference:f}, limit {t.recentre_drift_steps}")
