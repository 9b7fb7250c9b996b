"""A position's way out: a stop and a take-profit of which at most one is at the venue at any moment, so that they can never both fill.

Where the venue has stop orders the stop rests *there*, and protects also while this process is dead; the take-profit is watched here. When
its price is reached the stop is taken off, its end is proved, and the take-profit is placed while the stop is watched here. Without stop
orders at the venue it is the take-profit that rests, and the stop is watched. What is sent never exceeds what is left of the own share.
"""

from decimal import Decimal
from enum import StrEnum

import msgspec

from exchange_clients.model import NS_PER_S, ZERO, OrderType, Purpose, Side

from .base import Action, Cancel, Place, Seen, Tell, Watch

STOP, TAKE, OUT = "stop", "tp", "exit"
EXIT_ROLES = (STOP, TAKE, OUT)
GRACE_NS = 3 * NS_PER_S
"""For so long the price may stand beyond a stop that rests at the venue before the way out is taken from here."""
TAKE_NS = 5 * NS_PER_S
"""For so long a take-profit may wait before the stop is put back in its place."""
MAX_REFUSALS = 3
MAX_ATTEMPTS = 8


class Stance(StrEnum):
    """GUARD: the stop stands at the venue. TAKE: the take-profit does. OUT: the stop was hit, out at what the market gives. FAILED: that
    could not be done in `MAX_ATTEMPTS`."""

    GUARD = "guard"
    TAKE = "take"
    OUT = "out"
    FAILED = "failed"


class Exits(msgspec.Struct, frozen=True, kw_only=True):
    """`side` is that of the exits. `at_venue`: the stop rests at the venue. Prices in quote per base; None: there is none."""

    side: Side
    stop: Decimal | None
    take_profit: Decimal | None
    at_venue: bool
    watch: Watch = Watch.BBO
    keep_within: Decimal = ZERO
    """The stop at the venue is moved when it is further than this from where it belongs (trailing)."""
    stance: Stance = Stance.GUARD
    since_ns: int = 0
    beyond_ns: int = 0
    blind: bool = False
    here_for: Decimal = ZERO
    """So much was left when the venue refused its stop: where it has doubled, the venue is asked again (a first part may be too small)."""


def left_of(state: Exits, seen: Seen, target: Decimal) -> Decimal:
    """What is still to exit: of `target` in all, and never more than the own share."""
    exited = sum((seen.role(role).filled for role in EXIT_ROLES), ZERO)
    held = max(-state.side.sign * seen.own, ZERO)
    return max(min(target - exited, held), ZERO)


def stopped(state: Exits, seen: Seen) -> bool:
    """The fresh price is at or beyond the stop."""
    if state.stop is None or seen.price is None:
        return False
    return (seen.price.met_by(state.side) - state.stop) * state.side.sign >= 0


def reached(state: Exits, seen: Seen) -> bool:
    """The fresh price is at or beyond the take-profit."""
    if state.take_profit is None or seen.price is None:
        return False
    return (state.take_profit - seen.price.met_by(state.side)) * state.side.sign >= 0


def decide_exits(state: Exits, seen: Seen, target: Decimal) -> tuple[Exits, list[Action]]:
    """What to do about the exits of `target`, cumulative. No actions and nothing left: all of it is out."""
    left = left_of(state, seen, target)
    if left <= 0:
        return state, [Cancel(role) for role in EXIT_ROLES if seen.role(role).live]
    state, told = _look(state, seen)
    state, actions = _act(state, seen, left)
    return state, [*told, *actions]


def _look(state: Exits, seen: Seen) -> tuple[Exits, list[Action]]:
    """Say when the price that is watched is lost and when it is back; a stop is never pulled by what is old."""
    blind = seen.price is None
    if blind == state.blind:
        return state, []
    where = "its stop rests at the venue" if state.at_venue and state.stop is not None else "nothing watches its stop"
    event = Tell("protection.blind", f"no fresh price; {where}") if blind else Tell("protection.sees", "the price is fresh again")
    return msgspec.structs.replace(state, blind=blind), [event]


def _act(state: Exits, seen: Seen, left: Decimal) -> tuple[Exits, list[Action]]:
    if state.stance is Stance.GUARD and not state.at_venue and 0 < 2 * state.here_for <= left:
        state = msgspec.structs.replace(state, at_venue=True, here_for=ZERO)
    match state.stance:
        case Stance.GUARD if state.at_venue and state.stop is not None:
            return _guard(state, seen, left, state.stop)
        case Stance.GUARD | Stance.TAKE:
            return _take(state, seen, left)
        case Stance.OUT:
            return _out(state, seen, left)
        case Stance.FAILED:
            return state, []


def _to(state: Exits, stance: Stance, seen: Seen) -> Exits:
    return msgspec.structs.replace(state, stance=stance, since_ns=seen.now_ns, beyond_ns=0)


def _guard(state: Exits, seen: Seen, left: Decimal, level: Decimal) -> tuple[Exits, list[Action]]:
    """The stop stands at the venue for all that is left."""
    stop = seen.role(STOP)
    if reached(state, seen):
        return _take(_to(state, Stance.TAKE, seen), seen, left)
    state, out = _beyond(state, seen, level)
    if out:
        return _out(_to(state, Stance.OUT, seen), seen, left)
    if seen.role(TAKE).live or seen.role(OUT).live:
        return state, [Cancel(role) for role in (TAKE, OUT) if seen.role(role).live]
    off = [o for o in stop.live if o.trigger_price is None or abs(o.trigger_price - level) > state.keep_within]
    if off:
        return state, [Cancel(STOP)]
    missing = left - stop.working
    if missing <= 0 or any(o.unproved for o in stop.live):
        return state, []
    if stop.refused >= MAX_REFUSALS and missing <= stop.most_refused:
        if stop.live:
            return state, []
        here = msgspec.structs.replace(state, at_venue=False, here_for=left)
        return here, [Tell("protection.here", f"the venue refuses the stop ({stop.why}); it is watched from here")]
    place = Place(
        role=STOP,
        side=state.side,
        quantity=missing,
        trigger_price=level,
        order_type=OrderType.STOP_MARKET,
        purpose=Purpose.CLOSE,
        reason=f"stop at {level}",
    )
    return state, [place]


def _beyond(state: Exits, seen: Seen, level: Decimal) -> tuple[Exits, bool]:
    """Whether to go out from here although the stop rests at the venue: it did not act in its time, or does not stand where it belongs."""
    if not stopped(state, seen):
        return msgspec.structs.replace(state, beyond_ns=0), False
    stop = seen.role(STOP)
    if not stop.live or any(o.trigger_price != level for o in stop.live):
        return state, True
    if state.beyond_ns == 0:
        return msgspec.structs.replace(state, beyond_ns=seen.now_ns), False
    return state, seen.now_ns - state.beyond_ns >= GRACE_NS


def _take(state: Exits, seen: Seen, left: Decimal) -> tuple[Exits, list[Action]]:
    """The take-profit stands at the venue for all that is left, and the stop is watched from here."""
    take = seen.role(TAKE)
    if stopped(state, seen):
        return _out(_to(state, Stance.OUT, seen), seen, left)
    if seen.role(STOP).live or seen.role(OUT).live:
        return state, [Cancel(role) for role in (STOP, OUT) if seen.role(role).live]
    if state.stance is Stance.TAKE and state.at_venue and state.stop is not None:
        waited = seen.now_ns - state.since_ns >= TAKE_NS
        if seen.price is None or (waited and not reached(state, seen)):
            return _to(state, Stance.GUARD, seen), [Cancel(TAKE)] if take.live else []
    missing = left - take.working
    if state.take_profit is None or missing <= 0 or any(o.unproved for o in take.live):
        return state, []
    if take.refused >= MAX_REFUSALS:
        without = msgspec.structs.replace(state, take_profit=None, stance=Stance.GUARD)
        return without, [Tell("protection.no_take_profit", f"the venue refuses the take-profit: {take.why}")]
    reason = f"take profit at {state.take_profit}"
    return state, [Place(role=TAKE, side=state.side, quantity=missing, price=state.take_profit, reason=reason)]


def _out(state: Exits, seen: Seen, left: Decimal) -> tuple[Exits, list[Action]]:
    """Everything else off the book, each end proved, then out at what the market gives, in bounded tries."""
    others = [Cancel(role) for role in (STOP, TAKE) if seen.role(role).live]
    out = seen.role(OUT)
    if others or out.live:
        return state, list[Action](others)
    if out.dry >= MAX_ATTEMPTS:
        return _to(state, Stance.FAILED, seen), [Tell("protection.failed", f"{left} could not be exited in {out.dry} tries: {out.why}")]
    return state, [Place(role=OUT, side=state.side, quantity=left, attempt=out.dry, reason=f"stop at {state.stop} was hit")]
