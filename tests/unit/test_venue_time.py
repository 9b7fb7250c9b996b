"""Offsets from stamps of any resolution."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange_clients.transport.clock import NS_PER_S, SteppingClock
from exchange_clients.transport.venue_time import VenueTime

START_NS = 1_790_000_000 * NS_PER_S


class _Bench:
    """A venue whose clock is `offset_ns` ahead, asked at random moments."""

    def __init__(self, offset_ns: int, seed: int = 1) -> None:
        self.clock = SteppingClock(START_NS, elapsed=lambda: 0.0)
        self.time = VenueTime(self.clock)
        self.offset_ns = offset_ns
        self._rng = random.Random(seed)

    def ask(self, resolution_ns: int) -> None:
        self.clock.step_to(self.clock.time_ns() + self._rng.randrange(2 * NS_PER_S))
        sent = self.clock.time_ns()
        there = sent + self._rng.randrange(40_000_000) + self.offset_ns
        received = sent + 80_000_000
        self.clock.step_to(received)
        self.time.observe(there // resolution_ns * resolution_ns, sent, received, resolution_ns=resolution_ns)


@given(offset_ms=st.integers(-90_000, 90_000), resolution=st.sampled_from([1_000_000, NS_PER_S]), seed=st.integers(0, 50))
def test_the_true_offset_is_within_the_uncertainty(offset_ms: int, resolution: int, seed: int) -> None:
    bench = _Bench(offset_ms * 1_000_000, seed)
    for _ in range(12):
        bench.ask(resolution)
        offset, uncertainty = bench.time.offset_ns, bench.time.uncertainty_ns
        assert offset is not None
        assert uncertainty is not None
        assert abs(offset - bench.offset_ns) <= uncertainty + 1


def test_whole_seconds_narrow_to_the_round_trip() -> None:
    bench = _Bench(-300_000_000)
    bench.ask(NS_PER_S)
    first = bench.time.uncertainty_ns
    for _ in range(40):
        bench.ask(NS_PER_S)
    last = bench.time.uncertainty_ns
    assert first is not None
    assert last is not None
    assert first > 400_000_000
    assert last < 100_000_000


def test_only_a_proven_offset_corrects() -> None:
    bench = _Bench(100_000_000)
    bench.ask(NS_PER_S)
    assert bench.time.now_ns() == bench.clock.time_ns()
    minute = _Bench(60 * NS_PER_S)
    minute.ask(NS_PER_S)
    assert minute.time.now_ns() - minute.clock.time_ns() == pytest.approx(60 * NS_PER_S, abs=0.6 * NS_PER_S)


def test_a_clock_that_was_set_is_noticed_at_once() -> None:
    bench = _Bench(0)
    for _ in range(5):
        bench.ask(1_000_000)
    bench.offset_ns = 60 * NS_PER_S
    bench.ask(1_000_000)
    assert bench.time.offset_ns == pytest.approx(60 * NS_PER_S, abs=100_000_000)


def test_headers_count_only_while_nothing_finer_is_known() -> None:
    bench = _Bench(0)
    now = bench.clock.time_ns()
    bench.time.observe_headers({"Date": "not a date"}, now, now)
    assert bench.time.offset_ns is None
    bench.time.observe_headers({"Date": "Mon, 21 Sep 2026 13:33:20 GMT"}, now, now)
    assert bench.time.uncertainty_ns is not None
    bench.ask(1_000_000)
    fine = bench.time.offset_ns
    bench.time.observe_headers({"Date": "Mon, 21 Sep 2020 13:33:20 GMT"}, now, now)
    assert bench.time.offset_ns == fine
