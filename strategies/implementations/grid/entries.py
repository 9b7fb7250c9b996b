"""Where the grid may add: mode take_profit_grid enters near the touch, mode two_sided keeps a ladder. Pure."""

from collections.abc import Iterator
from decimal import Decimal

from exchange_clients.model import NS_PER_S, ZERO, Side
from strategies.execution.lots import CLOSABLE_MARGIN, tradable
from strategies.execution.pricing import Quote

from .state import GridOrder, Role
from .view import Action, Cancel, GridView, Place, Recentre, Wait, beyond, is_dust, take_profit_price

REFUSED_WAIT_S = 10.0
"""At least so long the grid waits after `post_only_retries` are used up."""


def entries(v: GridView) -> Iterator[Action]:
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
    pause = beyond(v, "pause")
    if pause is not None:
        return Wait("pause_price", pause[1])
    if v.config.take_profit_basis == "margin" and v.config.target_leverage is None and v.state.leverage is None:
        return Wait("leverage", "take_profit_basis margin needs the leverage, and the venue does not show it")
    if v.config.max_margin_usd is not None and (v.config.target_leverage or v.state.leverage) is None:
        return Wait("leverage", "max_margin_usd needs the leverage, and the venue does not show it")
    held_s, rest_s = (v.now_ns - v.state.last_entry_ns) / NS_PER_S, max(v.config.wait_time, REFUSED_WAIT_S)
    if v.state.retries > v.config.post_only_retries and held_s < rest_s:
        return Wait("post_only", f"{v.state.retries} entries were refused in a row: waiting {rest_s - held_s:.1f} s more")
    return None


def _no_book(v: GridView) -> Wait | None:
    """What forbids every entry that needs a price. Asked last: the book may have to be fetched."""
    if v.touch is None:
        return Wait("book", "no fresh, contiguous book")
    if v.state.retries and v.touch_ns <= v.state.last_entry_ns:
        return Wait("fresh_book", "after a refused entry a newer book is waited for")
    return Wait("gate", v.gate_block) if v.gate_block is not None else None


def entry_price(v: GridView, side: Side, touch: Quote) -> Decimal:
    """On its own side of the book, and so many ticks away from the other."""
    other = touch.ask if side is Side.BUY else touch.bid
    away = other - side.sign * v.config.post_only_tick_multiplier * v.instrument.price_increment(other)
    return v.instrument.price_for(side, min(touch.bid, away) if side is Side.BUY else max(touch.ask, away))


def fullness(v: GridView) -> Decimal:
    """Share of `max_orders` that is in use."""
    return Decimal(_used(v)) / v.config.max_orders


def _used(v: GridView) -> int:
    return len({lot.lot_id for lot in v.state.lots if not is_dust(v, lot)} | {o.lot for o in v.state.entries()})


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
    touch, side, resting = v.touch, v.config.side, v.state.entries()
    if not resting and _used(v) >= v.config.max_orders:
        yield Wait("max_orders", f"{_used(v)} of {v.config.max_orders} in use")
        return
    waited = (v.now_ns - v.state.last_entry_ns) / NS_PER_S
    if not resting and waited < (needed := wait_s(v)):
        yield Wait("wait_time", f"{needed - waited:.1f} s more at {fullness(v):.0%} full")
        return
    if resting and touch is None:
        yield Wait("entry_rests", "one entry at a time")
        return
    no_book = _no_book(v)
    if touch is None or (no_book is not None and not resting):
        yield no_book or Wait("book", "")
        return
    price = entry_price(v, side, touch)
    if resting:
        far = v.config.entry_reprice_steps * v.config.step
        yield from (Cancel(o.client_order_id, "reprice") for o in live if (price - o.price) * side.sign >= far * o.price)
        yield Wait("entry_rests", "one entry at a time")
        return
    near = [lot for lot in v.state.lots if not is_dust(v, lot) and abs(price - lot.price) < v.config.step * lot.price]
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
    no_book = _no_book(v)
    if touch is None or no_book is not None:
        yield no_book or Wait("book", "")
        return
    moved = _recentre(v, touch)
    if moved is not None:
        yield moved
        return
    yield from (Cancel(o.client_order_id, "recentred") for o in live if o.line == 0)
    taken = {lot.line for lot in s.lots if not is_dust(v, lot)} | {o.line for o in s.entries()}
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
    against = [lot for lot in v.state.lots if lot.side is not side and not is_dust(v, lot)]
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
    drift = abs(wanted - s.reference) / (s.reference * v.config.step)
    waited = (v.now_ns - s.recentred_ns) / NS_PER_S
    if drift < t.recentre_drift_steps or waited < t.recentre_min_seconds:
        return None
    return Recentre(wanted, f"it should stand {drift:.2f} steps from {s.reference:f}, limit {t.recentre_drift_steps}")
