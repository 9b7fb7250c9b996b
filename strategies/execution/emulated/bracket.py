"""An entry with its take-profit and stop: each fill of the entry, partial ones too, is protected as it comes."""

from decimal import Decimal

import msgspec

from exchange_clients.model import NS_PER_S, OrderType, Purpose, TimeInForce

from .base import Action, Cancel, Finish, Place, PlaceGroup, Seen, Tell
from .exits import EXIT_ROLES, GRACE_NS, STOP, TAKE, Exits, Stance, decide_exits, left_of, stopped

ENTRY = "entry"


class Bracket(msgspec.Struct, frozen=True, kw_only=True, tag="bracket"):
    """`native`: entry and exits are one group at the venue, which ties their sizes; when it is over and something is left, that is
    protected as everywhere else. `entry_s`: an entry that rests longer than this is taken off."""

    quantity: Decimal
    price: Decimal | None
    exits: Exits
    post_only: bool = False
    native: bool = False
    entry_s: float | None = None
    began_ns: int = 0


def decide(state: Bracket, seen: Seen) -> tuple[Bracket, list[Action]]:
    """Enter once, protect what filled, and end when it is out again or the entry ended with nothing."""
    entry = seen.role(ENTRY)
    if entry.sent == 0:
        if seen.restarted:
            return state, [Finish("restarted before its entry was sent")]
        if entry.denied:
            return state, [Finish(f"the entry was not sent: {entry.why}", good=False)]
        return msgspec.structs.replace(state, began_ns=seen.now_ns), [_enter(state)]
    actions: list[Action] = []
    if entry.live and _entry_is_over(state, seen):
        actions.append(Cancel(ENTRY))
    if state.native:
        state = _since(state, seen)
        group = _native(state, seen)
        if group is not None:
            return state, [*actions, *group]
        state = msgspec.structs.replace(state, native=False)
        actions.append(Tell("bracket.group_over", "the venue's group is over or did not act; what is left is protected from here"))
    exits, more = decide_exits(state.exits, seen, entry.filled)
    state = msgspec.structs.replace(state, exits=exits)
    actions += more
    if exits.stance is Stance.FAILED and not entry.live:
        return state, [*actions, Finish("the stop was hit and could not be done", good=False)]
    exiting = any(seen.role(role).live for role in EXIT_ROLES)
    if not entry.live and not exiting and left_of(exits, seen, entry.filled) <= 0:
        return state, [*actions, Finish("all of it is out" if entry.filled > 0 else f"the entry did not fill: {entry.why}")]
    return state, actions


def _entry_is_over(state: Bracket, seen: Seen) -> bool:
    """It has had its time, or the exits are at work already."""
    late = state.entry_s is not None and seen.now_ns - state.began_ns >= state.entry_s * NS_PER_S
    return late or state.exits.stance is not Stance.GUARD or (seen.role(ENTRY).filled > 0 and stopped(state.exits, seen))


def _since(state: Bracket, seen: Seen) -> Bracket:
    """Note since when the price has been beyond the stop; while it is not known, nothing changes."""
    if seen.price is None:
        return state
    beyond = (state.exits.beyond_ns or seen.now_ns) if stopped(state.exits, seen) else 0
    return msgspec.structs.replace(state, exits=msgspec.structs.replace(state.exits, beyond_ns=beyond))


def _native(state: Bracket, seen: Seen) -> list[Action] | None:
    """While the venue's group lives, it is the venue's; None once it is over, or when the stop was passed and it did nothing in its time.

    A group whose entry still fills may not have begun to protect: there the stop is done from here at once.
    """
    entry, beyond_ns = seen.role(ENTRY), state.exits.beyond_ns
    if beyond_ns and (entry.live or seen.now_ns - beyond_ns >= GRACE_NS):
        return None
    if any(seen.role(role).live for role in (STOP, TAKE)):
        over = not entry.live and left_of(state.exits, seen, entry.filled) <= 0
        return [Cancel(role) for role in (STOP, TAKE) if over and seen.role(role).live]
    return [] if entry.live else None


def _enter(state: Bracket) -> Place | PlaceGroup:
    side = state.exits.side.opposite
    entry = Place(
        role=ENTRY,
        side=side,
        quantity=state.quantity,
        price=state.price,
        time_in_force=TimeInForce.GTC,
        post_only=state.post_only,
        reduce_only=False,
        purpose=Purpose.ENTRY,
        reason="entry of a bracket",
    )
    if not state.native:
        return entry
    levels = ((TAKE, OrderType.TAKE_PROFIT_MARKET, state.exits.take_profit), (STOP, OrderType.STOP_MARKET, state.exits.stop))
    exits = tuple(
        Place(role=role, side=state.exits.side, quantity=state.quantity, trigger_price=level, order_type=kind, reason=f"{role} at {level}")
        for role, kind, level in levels
        if level is not None
    )
    return PlaceGroup(entry, exits)
