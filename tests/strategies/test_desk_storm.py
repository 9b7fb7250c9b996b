"""Ten storms over the desk, each from its seed; `python -m tests.strategies.desk_storm` runs as many as you like."""

from pathlib import Path

import pytest

from tests.strategies.desk_storm import simulate


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_storms_over_the_desk(tmp_path: Path, seed: int) -> None:
    simulate(seed, tmp_path)
