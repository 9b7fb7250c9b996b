"""Circuit breakers: what opens them, how long, what closes them, and that a restart forgets nothing."""

import msgspec
import pytest

from exchange_clients.model import NS_PER_S
from strategies.risk.breakers import Breaker, BreakerState, Saved
from strategies.risk.limits import RiskLimits

LIMITS = RiskLimits(
    breaker_failures=3, breaker_unknown=2, breaker_samples=6, breaker_window_s=60, breaker_pause_s=30, breaker_max_pause_s=100
)
S = NS_PER_S


def test_failures_in_a_row_open_it_and_the_reason_says_figure_and_limit() -> None:
    breaker = Breaker("toy")
    assert [breaker.failed(i * S, "timeout", LIMITS) for i in range(3)] == [False, False, True]
    block = breaker.block(3 * S)
    assert block is not None
    assert "3 failures in a row, limit 3, last: timeout" in block


def test_a_success_between_starts_the_row_anew() -> None:
    breaker = Breaker("toy")
    for i in range(5):
        breaker.failed(i * 100 * S, "timeout", LIMITS)
        breaker.succeeded(i * 100 * S + 1)
    assert breaker.block(600 * S) is None


def test_unknown_outcomes_open_it_although_reads_succeed() -> None:
    breaker = Breaker("toy")
    for i in range(2):
        breaker.failed(i * S, "no answer", LIMITS, unknown=True)
        breaker.succeeded(i * S + 1)
    assert "2 orders of unknown outcome" in (breaker.block(2 * S) or "")


def test_unknown_outcomes_of_long_ago_do_not_count() -> None:
    breaker = Breaker("toy")
    for i in range(5):
        breaker.failed(i * 100 * S, "no answer", LIMITS, unknown=True)
        breaker.succeeded(i * 100 * S + 1)
    assert breaker.block(600 * S) is None


def test_the_share_of_failures_opens_it() -> None:
    breaker = Breaker("toy")
    opened = False
    for i in range(6):
        opened = breaker.failed(i * S, "5xx", LIMITS) or opened
        breaker.succeeded(i * S + 1)
    assert opened
    assert "answers failed" in breaker.saved.reason


def test_half_open_lets_one_entry_through_and_its_end_decides() -> None:
    breaker = Breaker("toy")
    breaker.trip(0, "test", LIMITS)
    assert breaker.block(29 * S) is not None
    assert breaker.block(30 * S) is None
    assert breaker.saved.state is BreakerState.HALF_OPEN
    breaker.trying(30 * S)
    assert "on trial" in (breaker.trial_block(31 * S) or "")
    assert breaker.block(31 * S) is None, "the one on trial may stand"
    assert not breaker.succeeded(32 * S), "a read proves nothing about orders"
    assert breaker.trial_block(32 * S) is not None
    assert breaker.succeeded(33 * S, order=True)
    assert breaker.trial_block(33 * S) is None
    assert breaker.saved == Saved()


def test_a_failed_trial_opens_it_for_twice_as_long_up_to_the_longest() -> None:
    breaker, now, pauses = Breaker("toy"), 0, []
    breaker.trip(now, "test", LIMITS)
    for _ in range(4):
        pauses.append((breaker.saved.until_ns - now) // S)
        now = breaker.saved.until_ns
        assert breaker.block(now) is None
        breaker.trying(now)
        assert breaker.failed(now, "again", LIMITS)
    assert pauses == [30, 60, 100, 100]


@pytest.mark.parametrize("later", [0, 10])
def test_a_trip_never_shortens_a_pause(later: int) -> None:
    breaker = Breaker("toy")
    breaker.trip(0, "liquidation", LIMITS, pause_s=3_600)
    breaker.trip(later * S, "timeouts", LIMITS)
    assert breaker.saved.until_ns == 3_600 * S


def test_it_survives_a_restart() -> None:
    breaker = Breaker("toy")
    breaker.trip(0, "test", LIMITS)
    again = Breaker("toy", msgspec.json.decode(msgspec.json.encode(breaker.saved), type=Saved))
    assert again.block(29 * S) is not None
    assert again.block(30 * S) is None
