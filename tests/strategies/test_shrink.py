"""Both legs reduced in lock-step: decided first, never further apart than a slice, balanced whatever happens in the middle."""

import asyncio
import contextlib
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from database.records import Leg, PairState
from strategies.execution.decide import Move, Pause, Send, decide
from tests.strategies.instruments import instrument
from tests.strategies.stack import VENUES, Killed, NakedWatch, Stack, run_stack
from tests.strategies.test_decide import leg, view

D = Decimal
LONG, SHORT = VENUES


def own(s: Stack, pair_id: str) -> dict[Leg, Decimal]:
    assert s.engine is not None
    return {side: trader.own for side, trader in s.engine.pairs[pair_id].legs.items()}


async def shrink(s: Stack, pair_id: str, quantity: str) -> PairState:
    assert s.engine is not None
    runner = await s.engine.begin_shrink(pair_id, D(quantity), "margin is short", s.decision("shrink", pair_id))
    return (await runner.until_rest()).state


def test_e12_both_legs_shrink_slice_by_slice(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        record = await s.open(quantity="0.03", slice_="0.004")
        watch = NakedWatch(s)
        assert await shrink(s, record.pair_id, "0.011") is PairState.HEDGED
        assert own(s, record.pair_id) == {Leg.LONG: D("0.019"), Leg.SHORT: D("0.019")}
        assert s.positions() == {LONG: D("0.019"), SHORT: D("-0.019")}
        assert watch.worst <= D("0.004")
        assert await shrink(s, record.pair_id, "0.009") is PairState.HEDGED
        assert s.positions() == {LONG: D("0.01"), SHORT: D("-0.01")}
        assert s.journal is not None
        assert [d.kind for d in s.journal.decisions(record.pair_id)] == ["enter", "shrink", "shrink"]
        assert all(i.reduce_only for i in s.journal.intents(record.pair_id) if i.purpose == "close")
        assert (await s.close(record.pair_id)).state is PairState.CLOSED
        assert s.positions() == {LONG: D(0), SHORT: D(0)}

    run_stack(tmp_path, main)


def test_a_shrink_that_would_leave_too_little_or_finds_no_rest_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        record = await s.open()
        assert s.engine is not None
        sent = len(s.story.of("order.send"))
        for quantity in ("0.01", "0.00999", "0", "-1"):
            with pytest.raises(ValueError, match="close it"):
                await s.engine.begin_shrink(record.pair_id, D(quantity), "test", s.decision("shrink", record.pair_id))
        assert len(s.story.of("order.send")) == sent
        await s.close(record.pair_id)
        with pytest.raises(ValueError, match="cannot be reduced now"):
            await s.engine.begin_shrink(record.pair_id, D("0.005"), "test", s.decision("shrink", record.pair_id))

    run_stack(tmp_path, main)


def test_a_close_asked_for_while_shrinking_takes_over(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        record = await s.open(quantity="0.03", slice_="0.004")
        assert s.engine is not None
        runner = await s.engine.begin_shrink(record.pair_id, D("0.02"), "test", s.decision("shrink", record.pair_id))
        await asyncio.sleep(0.3)
        assert runner.state is PairState.REPAIRING
        assert (await s.close(record.pair_id)).state is PairState.CLOSED
        assert s.positions() == {LONG: D(0), SHORT: D(0)}

    run_stack(tmp_path, main)


@pytest.mark.parametrize("point", [0, 1, 2, 4, 7, 11])
def test_e09_killed_in_the_middle_of_a_shrink_ends_balanced(tmp_path: Path, point: int) -> None:
    """At the n-th write of the journal from the decision on. Once the record names the aim it is reached, before that nothing happens."""

    async def main(s: Stack) -> None:
        record = await s.open(quantity="0.02", slice_="0.004")
        watch = NakedWatch(s)
        dead, left = asyncio.Event(), point

        def die(event: str, *_: object) -> None:
            nonlocal left
            if event.startswith("journal."):
                left -= 1
                if left < 0:
                    dead.set()
                    raise Killed

        engine = s.engine
        assert engine is not None
        decision = s.decision("shrink", record.pair_id)
        s.story.hook = die
        with contextlib.suppress(Killed):
            await engine.begin_shrink(record.pair_id, D("0.012"), "test", decision)
        await asyncio.wait_for(dead.wait(), 30)
        s.story.hook = None
        await s.die()
        await asyncio.sleep(1)
        revived = await s.up()
        await asyncio.sleep(20)
        assert revived.pairs[record.pair_id].state is PairState.HEDGED
        positions = s.positions()
        assert positions[LONG] == -positions[SHORT]
        assert positions[LONG] in (D("0.02"), D("0.008")), "untouched or as decided"
        assert revived.pairs[record.pair_id].legs[Leg.LONG].own == positions[LONG]
        assert watch.worst <= D("0.004")

    run_stack(tmp_path, main)


def test_e18_a_shrink_waits_while_a_venue_is_down_and_never_opens_the_delta() -> None:
    down = replace(view(PairState.REPAIRING, "0.008", leg(instrument("b", step="0.001"), "0.008", venue_up=False)), keep=D("0.004"))
    assert decide(down) == [Pause.WAIT]
    assert decide(replace(down, keep=None)) == [Move(PairState.HEDGED, "balanced")]
    up = replace(view(PairState.REPAIRING, "0.008", "0.008"), keep=D("0.004"))
    (step,) = decide(up)
    assert isinstance(step, Send)
    assert (step.leg, step.quantity, step.reduce) == (Leg.LONG, D("0.004"), True)
    assert decide(replace(up, keep=D("0.008"))) == [Move(PairState.HEDGED, "both legs reduced to 0.008")]
