"""A stop that follows the best price seen since it became active, and never goes back."""

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

import msgspec

from exchange_clients.model import Side, round_to_increment

from .base import Action, Finish, Seen
from .exits import EXIT_ROLES, Exits, Stance, decide_exits, left_of


class Trailing(msgspec.Struct, frozen=True, kw_only=True, tag="trailing"):
    """Exactly one of `distance` (quote per base) and `fraction` (of the best price) is set.

    `activation`: it begins to follow when the price has been there; until then only `exits.stop`, if given, protects. `best` is the best
    price seen since.
    """

    quantity: Decimal
    exits: Exits
    tick: Decimal
    distance: Decimal | None = None
    fraction: Decimal | None = None
    activation: Decimal | None = None
    best: Decimal | None = None

    def behind(self, best: Decimal) -> Decimal:
        """Where the stop belongs under a best price, on the tick and never further away than asked."""
        distance = self.distance if self.distance is not None else best * (self.fraction or 0)
        level = best + self.exits.side.sign * distance
        return round_to_increment(level, self.tick, ROUND_CEILING if self.exits.side is Side.SELL else ROUND_FLOOR)


def follow(state: Trailing, seen: Seen) -> Trailing:
    """The stop after a fresh price; nothing fresh changes nothing."""
    if seen.price is None or state.exits.stance is not Stance.GUARD:
        return state
    price, sign = seen.price.met_by(state.exits.side), state.exits.side.sign
    if state.best is None:
        if state.activation is not None and (state.activation - price) * sign < 0:
            return state
    elif (state.best - price) * sign <= 0:
        return state
    level = state.behind(price)
    held = state.exits.stop
    stop = level if held is None or (held - level) * sign > 0 else held
    return msgspec.structs.replace(state, best=price, exits=msgspec.structs.replace(state.exits, stop=stop))


def decide(state: Trailing, seen: Seen) -> tuple[Trailing, list[Action]]:
    """Follow, then as any stop."""
    state = follow(state, seen)
    exits, actions = decide_exits(state.exits, seen, state.quantity)
    state = msgspec.structs.replace(state, exits=exits)
    if exits.stance is Stance.FAILED:
        return state, [*actions, Finish("the stop was hit and could not be done", good=False)]
    if left_of(exits, seen, state.quantity) <= 0 and not any(seen.role(role).live for role in EXIT_ROLES):
        return state, [*actions, Finish("all of it is out")]
    return state, actions
