"""E9: killed at any step, started again: the pair converges to what the venues prove, and nothing that is sent on the way adds exposure."""

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from database.records import PairState
from tests.strategies.crash import Point, exposure, kill_and_restart
from tests.strategies.stack import COMMAND_PATHS, VENUES, NakedWatch, Stack, accepted_by_client_id, run_stack

D = Decimal
STEP = D("0.00001")
SLICE = D("0.005")
RECOVERY_S = 30
POINTS = 138
"""More than the events of one open and close; points beyond the last change nothing."""


class Killed(BaseException):
    """The process is gone: nothing after this point is executed."""


class Crash:
    """Raises at the `point`-th event of the engine and at every one after it."""

    def __init__(self, point: int) -> None:
        self.left = point
        self.dead = False

    def __call__(self, event: str, pair_id: str, facts: dict[str, object]) -> None:
        self.left -= 1
        if self.left < 0:
            self.dead = True
            raise Killed(event)


async def live(s: Stack) -> None:
    record = await s.open(slice_=str(SLICE), quantity="0.01")
    if record.state is PairState.HEDGED:
        await s.close(record.pair_id)


async def crash_and_recover(s: Stack, point: int) -> bool:
    """True when the point was reached."""
    crash = Crash(point)
    s.story.hook = crash
    life = asyncio.create_task(live(s))
    await asyncio.wait({life}, timeout=60)
    life.cancel()
    await asyncio.gather(life, return_exceptions=True)
    await s.down()
    s.story.hook = None
    await asyncio.sleep(60)  # the venue's limits of one minute are another test's matter
    before = s.positions()
    delta, gross = exposure(before)
    watch = NakedWatch(s)
    engine = await s.up()
    await asyncio.sleep(RECOVERY_S)
    if any(facts["state"] == "closing" for facts in s.story.of("recovery.begins")):
        delta = max(delta, SLICE)  # an exit that was decided goes on, slice by slice
    assert watch.worst <= delta, "no order that increases the delta"
    assert watch.worst_gross <= gross, "no order that increases exposure"
    after = s.positions()
    assert exposure(after)[0] < STEP
    assert engine.entry_block() is None
    states = {r.record.pair_id: r.state for r in engine.pairs.values()}
    for pair_id, state in states.items():
        assert state in (PairState.HEDGED, PairState.CLOSED), state
        if state is PairState.HEDGED:
            assert (await s.close(pair_id)).state is PairState.CLOSED
    assert set(s.positions().values()) == {D(0)}
    for venue in s.venues.values():
        assert set(accepted_by_client_id(venue).values()) <= {1}
    assert s.journal is not None
    for pair in s.journal.pairs():
        assert pair.state is PairState.CLOSED
        assert all(i.state.resolved for i in s.journal.intents(pair.pair_id))
    return crash.dead


@pytest.mark.slow
@pytest.mark.parametrize("point", range(0, POINTS, 6))
def test_e09_killed_at_an_event_recovers(tmp_path: Path, point: int) -> None:
    run_stack(tmp_path, lambda s: crash_and_recover(s, point))


@pytest.mark.soak
@pytest.mark.parametrize("point", [p for p in range(POINTS) if p % 6])
def test_e09_killed_at_any_other_event_recovers(tmp_path: Path, point: int) -> None:
    run_stack(tmp_path, lambda s: crash_and_recover(s, point))


@pytest.mark.slow
@pytest.mark.parametrize("point", range(3, 60, 9))
@pytest.mark.parametrize("where", VENUES)
def test_e09_killed_while_an_acknowledgement_is_lost_recovers(tmp_path: Path, where: str, point: int) -> None:
    async def main(s: Stack) -> None:
        s.venues[where].faults(f"lost_ack where={COMMAND_PATHS[where]} nth=1")
        await crash_and_recover(s, point)

    run_stack(tmp_path, main)


@pytest.mark.slow
def test_the_points_cover_a_whole_life(tmp_path: Path) -> None:
    async def main(s: Stack) -> int:
        await live(s)
        return len(s.story.events)

    assert POINTS * 2 // 3 < run_stack(tmp_path, main) <= POINTS


# ---- the same with processes, sockets and SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize(("names", "step"), [(VENUES, 4), (("okx", "paradex"), 9), (VENUES, 14), (("aster", "backpack"), 20), (VENUES, 33)])
async def test_e09_sigkill_at_a_journal_step_recovers(tmp_path: Path, names: tuple[str, str], step: int) -> None:
    """Bot and venues are different processes; the bot kills itself without warning. `make crash` draws hundreds of points more."""
    assert (await kill_and_restart(tmp_path, names, Point(step=step))).killed


@pytest.mark.slow
async def test_e09_sigkill_at_a_moment_recovers(tmp_path: Path) -> None:
    await kill_and_restart(tmp_path, VENUES, Point(after_s=0.8))
