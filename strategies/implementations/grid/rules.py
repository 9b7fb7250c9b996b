"""What the grid does next, as one pure function of what is proved. Exits come before entries and depend on nothing that entries need."""

from collections.abc import Iterator
from decimal import Decimal

from exchange_clients.model import NS_PER_S, ZERO, Side
from strategies.execution.lots import tradable
from strategies.execution.plan import ExecutionLimits
from strategies.execution.pricing import bound, rung

from .config import PERCENT, RecoveryMode
from .entries import entries
from .state import Lot, Phase, Role
from .view import Action, Cancel, CloseLot, GridView, Merge, Overdue, Pause, Place, Turn, beyond, take_profit_price

CLOSE_BPS = ExecutionLimits().reduce_bps
"""Worst price of a market close away from the touch, by attempt."""


def decide(v: GridView) -> list[Action]:
    """Everything that follows from one look, in the order in which it is to be done."""
    match v.state.phase:
        case Phase.HALTED | Phase.ALERT:
            return [Cancel(o.client_order_id, v.state.phase.value) for o in v.state.entries() if not o.cancelling]
        case Phase.STOPPING:
            return _stopping(v)
        case Phase.RUNNING:
            stop = beyond(v, "stop")
            if stop is not None:
                return [Turn(Phase.STOPPING, *stop)]
            exits = list(_exits(v))
            if any(isinstance(a, Turn) for a in exits):
                return exits
            return [*_pausing(v), *exits, *entries(v)]


# ---- stop and pause


def _pausing(v: GridView) -> Iterator[Action]:
    if v.price is None:
        return
    rule, detail = beyond(v, "pause") or ("", f"{v.price} is back")
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
    if not fed and standing:
        grown = v.instrument.round_quantity(standing[-1].remaining + free)
        if grown > standing[-1].remaining and tradable(v.instrument, grown, price):
            return [Cancel(standing[-1].client_order_id, "grow")], False
    return [], True


def _collected(v: GridView, small: list[Lot]) -> Iterator[Action]:
    """Lots that are too small alone join a larger one, or become one as soon as they suffice together."""
    apart = {lot.lot_id for lot in small}
    hosts = [lot for lot in v.state.lots if not lot.closing and lot.lot_id not in apart and v.state.covered(lot.lot_id) > 0]
    waiting = [lot for lot in small if not lot.closing]
    if hosts and waiting:
        yield Merge((hosts[0].lot_id, *(lot.lot_id for lot in waiting)))
        return
    for closing in dict.fromkeys(lot.closing for lot in small):
        alike = [lot for lot in small if lot.closing == closing]
        if len(alike) < 2:
            continue
        total = sum((lot.quantity for lot in alike), ZERO)
        if tradable(v.instrument, total, min(lot.price for lot in alike)):
            yield Merge(tuple(lot.lot_id for lot in alike))
