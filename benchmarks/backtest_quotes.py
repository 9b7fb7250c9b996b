"""The quotes and the order rhythm of the backtest comparison. Standard library only: peers import it too."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator

MARKETS = 4
TICK, STEP = "0.1", "0.001"
START_NS = 1_767_225_600 * 10**9
GAP_NS = 10_000_000
"""Between two quotes: 100 a second over all markets."""
FEE = "0.0005"


def quotes(count: int, seed: int = 7) -> Iterator[tuple[int, int, int, int, int, int]]:
    """(market, time in ns, bid in ticks, bid size in steps, ask, ask size): random walks, never crossed."""
    rng = random.Random(seed)
    draw = rng.random
    mids = [100_000 + 5_000 * n for n in range(MARKETS)]
    for n in range(count):
        market = int(draw() * MARKETS)
        mids[market] += int(draw() * 5) - 2
        wide = 1 + int(draw() * 2)
        yield market, START_NS + n * GAP_NS, mids[market] - wide, 500 + int(draw() * 500), mids[market] + wide, 500 + int(draw() * 500)


def packed(count: int) -> list[array[int]]:
    """The columns of all quotes, compact."""
    columns = [array("q") for _ in range(6)]
    for row in quotes(count):
        for column, value in zip(columns, row, strict=True):
            column.append(value)
    return columns
