"""The arithmetic must give the same bits everywhere: pinned values, and closeness to the C library."""

from __future__ import annotations

import hashlib
import math
import random
import statistics

import pytest

from exchange_simulator.world import exact
from exchange_simulator.world.grid import FINE_NS
from tests.simulator.world.worlds import START_NS, build, snapshot


def test_log_and_exp_agree_with_the_c_library() -> None:
    rng = random.Random(1)
    for _ in range(2_000):
        x = exact.exp(rng.uniform(-40, 40))
        assert exact.log(x) == pytest.approx(math.log(x), rel=1e-13, abs=1e-14)
        assert exact.exp(exact.log(x)) == pytest.approx(x, rel=1e-13)
    with pytest.raises(ValueError, match="log of 0"):
        exact.log(0.0)


def test_normal_quantile_is_the_inverse_of_the_distribution() -> None:
    reference = statistics.NormalDist()
    for u in (1e-15, 1e-9, 1e-4, 0.074, 0.076, 0.5, 0.924, 0.926, 1 - 1e-4, 1 - 1e-9):
        assert exact.normal_quantile(u) == pytest.approx(reference.inv_cdf(u), abs=2e-6)


def test_bits_are_pinned() -> None:
    assert exact.mix(1, 2, 3) == 0x88F473E5E186D66E
    assert exact.text_key("BTC") == 0x3F70419C3C106AD0
    rng = exact.stream(7, 11)
    assert [exact.normal(rng).hex() for _ in range(3)] == ["-0x1.2ff797ce6590cp+0", "0x1.165e4cc7082c0p+1", "0x1.7af71812579b6p-1"]
    assert exact.exp(11.4616321).hex() == "0x1.7317fe488ed30p+16"
    assert exact.log(95000.0).hex() == "0x1.6ec5b0d46de42p+3"


def test_a_world_is_pinned() -> None:
    """Changes only when the model, a parameter or these profiles change; must be equal on every platform and Python."""
    world, exchanges = build(7)
    world.advance_to(START_NS + 61 * 60 * 10**9 + 3 * FINE_NS)
    digest = hashlib.sha256(repr(sorted(snapshot(exchanges).items())).encode()).hexdigest()
    assert digest == "00a0e492bb8392d9c461a95a8096d8202ff9e7d19dde8c90d08d9574a9bb3e37"


def test_interpolation_is_flat_beyond_its_ends() -> None:
    assert exact.interpolate((0.0, 1.0, 3.0), (5.0, 7.0, 3.0), -1.0) == 5.0
    assert exact.interpolate((0.0, 1.0, 3.0), (5.0, 7.0, 3.0), 2.0) == 5.0
    assert exact.interpolate((0.0, 1.0, 3.0), (5.0, 7.0, 3.0), 9.0) == 3.0
    assert exact.quantile((2.0, 4.0, 10.0), 0.75) == 7.0
    assert exact.quantile((2.0, 4.0, 10.0), 1.0) == 10.0
