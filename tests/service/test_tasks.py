"""Tasks on virtual time: turns, backoff, deadlines, what is told of them."""

import asyncio
import itertools
import logging
import random
from collections.abc import Awaitable, Callable

import pytest

from database.errors import JournalBusy
from exchange_simulator.simloop import Simulation, run
from funding_rate_service.tasks import STEADY_S, Tasks, TaskState, told


def play(add: Callable[[Simulation, Tasks], None], during: Callable[[Simulation, Tasks], Awaitable[None]]) -> None:
    async def main(sim: Simulation) -> None:
        tasks = Tasks(sim.runtime.clock, random.Random(3))
        add(sim, tasks)
        async with tasks:
            await during(sim, tasks)
        assert all(status.state is TaskState.STOPPED for status in tasks.status())

    run(main, seed=1)


def test_a_task_takes_its_turn_each_interval_whatever_a_turn_takes() -> None:
    turns: list[float] = []

    def add(sim: Simulation, tasks: Tasks) -> None:
        async def turn() -> None:
            turns.append(sim.runtime.clock.monotonic())
            await asyncio.sleep(2)

        tasks.every("look", 10, turn)

    async def during(sim: Simulation, tasks: Tasks) -> None:
        await asyncio.sleep(35)
        (status,) = tasks.status()
        assert (status.runs, status.failures, status.state) == (4, 0, TaskState.WAITING)
        assert status.last_duration_ms == 2000
        assert status.next_run_ns is not None

    play(add, during)
    assert [round(b - a, 6) for a, b in itertools.pairwise(turns)] == [10, 10, 10]


def test_a_failing_task_is_tried_again_with_growing_pauses_is_seen_and_recovers(caplog: pytest.LogCaptureFixture) -> None:
    turns: list[float] = []

    def add(sim: Simulation, tasks: Tasks) -> None:
        async def turn() -> None:
            turns.append(sim.runtime.clock.monotonic())
            if len(turns) < 6:
                raise ValueError("password=hunter2")

        async def other() -> None:
            await asyncio.sleep(0)

        tasks.every("bad", 5, turn)
        tasks.every("good", 1, other)

    async def during(sim: Simulation, tasks: Tasks) -> None:
        await asyncio.sleep(1)
        bad, good = tasks.status()
        assert tasks.failing() == ["bad"]
        assert (bad.state, bad.last_error) == (TaskState.FAILED, "ValueError; see the log")
        assert good.failures == 0
        await asyncio.sleep(60)
        assert tasks.failing() == []
        assert bad.failures == 5
        assert bad.last_error is None
        assert good.runs >= 60

    with caplog.at_level(logging.INFO):
        play(add, during)
    pauses = [b - a for a, b in itertools.pairwise(turns)][:5]
    for place, pause in enumerate(pauses):
        assert 0.25 * 2**place <= pause <= 0.5 * 2**place
    logged = [record.getMessage() for record in caplog.records if "name=bad" in record.getMessage()]
    assert logged == ["task.failed name=bad", "task.recovered name=bad after=5"]  # once, not at each try


def test_a_turn_beyond_its_deadline_is_ended() -> None:
    def add(sim: Simulation, tasks: Tasks) -> None:
        tasks.every("slow", 60, asyncio.Event().wait, deadline_s=3)  # type: ignore[arg-type]

    async def during(sim: Simulation, tasks: Tasks) -> None:
        await asyncio.sleep(3.1)
        (status,) = tasks.status()
        assert (status.failures, status.last_error, status.last_duration_ms) == (1, "it took too long", 3000)

    play(add, during)


def test_what_should_never_end_is_begun_again_and_believed_once_it_lasts() -> None:
    begun: list[float] = []

    def add(sim: Simulation, tasks: Tasks) -> None:
        async def work() -> None:
            begun.append(sim.runtime.clock.monotonic())
            if len(begun) == 1:
                raise JournalBusy("the database stayed locked")
            if len(begun) > 2:
                await asyncio.Event().wait()

        tasks.always("collect", work)

    async def during(sim: Simulation, tasks: Tasks) -> None:
        await asyncio.sleep(0)
        (status,) = tasks.status()
        assert status.last_error == "the database stayed locked"
        await asyncio.sleep(10)
        assert len(begun) == 3
        assert tasks.failing() == ["collect"]
        await asyncio.sleep(STEADY_S)
        assert tasks.failing() == []
        assert status.state is TaskState.RUNNING

    play(add, during)


def test_a_waiting_task_can_be_run_now_and_a_running_one_says_so() -> None:
    turns: list[int] = []

    def add(sim: Simulation, tasks: Tasks) -> None:
        async def turn() -> None:
            turns.append(1)
            await asyncio.sleep(1)

        tasks.every("look", 3600, turn)

    async def during(sim: Simulation, tasks: Tasks) -> None:
        await asyncio.sleep(0.5)
        assert tasks.run_now("look") is False
        await asyncio.sleep(1)
        assert tasks.run_now("look") is True
        await asyncio.sleep(0.1)
        assert len(turns) == 2
        with pytest.raises(KeyError):
            tasks.run_now("luck")

    play(add, during)


def test_a_name_is_given_once() -> None:
    async def main(sim: Simulation) -> None:
        tasks = Tasks(sim.runtime.clock, random.Random(3))
        tasks.every("look", 1, asyncio.Event().wait)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="look"):
            tasks.always("look", asyncio.Event().wait)  # type: ignore[arg-type]

    run(main, seed=1)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (TimeoutError(), "it took too long"),
        (JournalBusy("the file is locked\nby process 7"), "the file is locked"),
        (RuntimeError("token=abc"), "RuntimeError; see the log"),
    ],
)
def test_only_errors_of_ours_are_told_in_their_own_words(error: Exception, words: str) -> None:
    assert told(error) == words
