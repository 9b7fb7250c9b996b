"""The time grid of a world. Every state is a function of its grid time alone, so it does not matter in which calls the world got there."""

from __future__ import annotations

FINE_NS = 250_000_000
"""One fine step: books, trades, prices."""
CELL_NS = 60_000_000_000
"""One coarse step: prices between cells follow a random walk, inside a cell a bridge between its ends."""
STEPS = CELL_NS // FINE_NS
HOUR_NS = 3_600_000_000_000


def step_of(ts_ns: int) -> int:
    """The last fine step at or before a time, counted from the epoch."""
    return ts_ns // FINE_NS


def cell_of(step: int) -> tuple[int, int]:
    """Cell number from the epoch and step within it."""
    return divmod(step, STEPS)
