"""A large order of which only a small part is shown at a time."""

from decimal import Decimal
from random import Random

import msgspec

from exchange_clients.model import Side

from ..lots import floor_to
from .base import Action, Cancel, Finish, Place, Seen

SLICE = "slice"
MAX_DRY = 5


class Iceberg(msgspec.Struct, frozen=True, kw_only=True, tag="iceberg"):
    """`display` base units at a time; with a `seed`, each by up to `spread` (fraction) less or more. `smallest` is what the venue takes.

    One that adds does not go on by itself after a restart: what rests then stays, and `paused` waits for the owner (E9).
    """

    side: Side
    quantity: Decimal
    display: Decimal
    price: Decimal
    step: Decimal
    smallest: Decimal
    reduce_only: bool
    post_only: bool = False
    spread: Decimal = Decimal(0)
    seed: int | None = None
    paused: bool = False
    stopping: bool = False


def slice_of(state: Iceberg, number: int, left: Decimal) -> Decimal:
    """The quantity of the n-th slice; what would be too small to be sent alone goes with the one before it."""
    shown = state.display
    if state.seed is not None:
        draw = Random(f"{state.seed}:{number}").randint(-1_000, 1_000)  # noqa: S311 - to be less visible, not to be secret
        shown = shown * (1 + state.spread * draw / 1_000)
    shown = max(floor_to(shown, state.step), state.smallest)
    return left if left - shown < state.smallest else shown


def decide(state: Iceberg, seen: Seen) -> tuple[Iceberg, list[Action]]:
    """The next slice once the last one is proved ended, until all of it has traded."""
    role = seen.role(SLICE)
    if seen.restarted and not state.reduce_only and not state.paused:
        state = msgspec.structs.replace(state, paused=True)
    left = state.quantity - role.filled
    if role.live:
        return state, [Cancel(SLICE)] if state.stopping else []
    if left <= 0:
        return state, [Finish("all of it has traded")]
    if state.stopping:
        return state, [Finish(f"stopped with {left} not traded")]
    if role.dry >= MAX_DRY:
        return state, [Finish(f"{left} not traded after {role.dry} slices in vain: {role.why}", good=False)]
    if state.paused:
        return state, []
    place = Place(
        role=SLICE,
        side=state.side,
        quantity=min(slice_of(state, role.sent, left), left),
        price=state.price,
        post_only=state.post_only,
        reduce_only=state.reduce_only,
        reason=f"slice {role.sent + 1} of an iceberg",
    )
    return state, [place]
