"""Storms drawn from seeds inside the suite: those that once failed, always, and some more within a budget of time."""

import time
from pathlib import Path

import pytest

from tests.strategies.simulation import ANY, drawn, simulate

FAILED_ONCE = (0, 207)
"""0: rules and order woke each other without end while a cancel could not be sent."""
SEEDS = range(1, 101)
BUDGET_S = 55.0
AT_LEAST = 10


@pytest.mark.slow
@pytest.mark.parametrize("seed", FAILED_ONCE)
def test_a_seed_that_failed_once_passes(tmp_path: Path, seed: int) -> None:
    simulate(seed, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("venues", "seconds"), [("hyperliquid,lighter", BUDGET_S), (ANY, BUDGET_S / 2)])
def test_storms(tmp_path: Path, venues: str, seconds: float) -> None:
    """As many of the seeds as fit into the budget; `make simulate` runs the rest."""
    began = time.monotonic()
    for done, seed in enumerate(SEEDS):
        if done >= AT_LEAST and time.monotonic() - began > seconds:
            break
        folder = tmp_path / str(seed)
        folder.mkdir()
        simulate(seed, folder, names=drawn(seed, venues))
