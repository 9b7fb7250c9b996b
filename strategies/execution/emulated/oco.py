"""One cancels the other: a take-profit and a stop for a part of what is held."""

from decimal import Decimal

import msgspec

from .base import Action, Finish, Seen
from .exits import EXIT_ROLES, Exits, Stance, decide_exits, left_of


class Oco(msgspec.Struct, frozen=True, kw_only=True, tag="oco"):
    """`quantity` of the holding leaves by whichever of the two is met first."""

    quantity: Decimal
    exits: Exits


def decide(state: Oco, seen: Seen) -> tuple[Oco, list[Action]]:
    """See `exits.decide_exits`; over when all of it is out, or nothing is left that could go."""
    exits, actions = decide_exits(state.exits, seen, state.quantity)
    state = msgspec.structs.replace(state, exits=exits)
    if exits.stance is Stance.FAILED:
        return state, [*actions, Finish("the stop was hit and could not be done", good=False)]
    if left_of(exits, seen, state.quantity) <= 0 and not any(seen.role(role).live for role in EXIT_ROLES):
        return state, [*actions, Finish("all of it is out")]
    return state, actions
