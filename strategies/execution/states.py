"""The states of a pair and the only ways between them."""

from database.records import PairState

S = PairState

ALLOWED: dict[PairState, frozenset[PairState]] = {
    S.PLANNED: frozenset({S.OPENING, S.CLOSED, S.ALERT}),
    S.OPENING: frozenset({S.HEDGED, S.REPAIRING, S.CLOSING, S.CLOSED, S.ALERT}),
    S.HEDGED: frozenset({S.REPAIRING, S.CLOSING, S.ALERT}),
    S.REPAIRING: frozenset({S.HEDGED, S.CLOSING, S.CLOSED, S.ALERT}),
    S.CLOSING: frozenset({S.HEDGED, S.CLOSED, S.ALERT}),
    S.ALERT: frozenset({S.REPAIRING, S.HEDGED, S.CLOSING, S.CLOSED}),
    S.CLOSED: frozenset(),
}

LIVE = frozenset({S.OPENING, S.HEDGED, S.REPAIRING, S.CLOSING, S.ALERT})
"""States in which the pair may hold a position or an order."""

ACTIVE = frozenset({S.OPENING, S.REPAIRING, S.CLOSING})
"""States in which the engine is at work and the delta may be open."""


class IllegalTransition(Exception):
    """A bug in the engine: this way between two states does not exist."""


def check(before: PairState, after: PairState) -> None:
    """Raises IllegalTransition unless the way exists (staying is always allowed)."""
    if before is not after and after not in ALLOWED[before]:
        raise IllegalTransition(f"{before} -> {after}")
