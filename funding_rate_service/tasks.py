"""The service's own tasks: each runs alone, a failing one is tried again with growing pauses, all of them can be seen."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import StrEnum
from types import TracebackType

import msgspec

from database.errors import JournalError
from exchange_clients.errors import VenueError
from exchange_clients.model import NS_PER_S
from exchange_clients.transport.backoff import Backoff
from exchange_clients.transport.clock import Clock

log = logging.getLogger("funding_rate_service.tasks")

MAX_ERROR = 200
REPEAT_S = 60.0
"""A fault that lasts is logged so often."""
STEADY_S = 60.0
"""What never ends has recovered when it ran for so long."""


class TaskState(StrEnum):
    """WAITING for its next turn; FAILED: waiting as well, and its last turn ended in an error."""

    WAITING = "waiting"
    RUNNING = "running"
    FAILED = "failed"
    STOPPED = "stopped"


class TaskStatus(msgspec.Struct, kw_only=True):
    """Times are ns UTC. `interval_s` None: runs without end."""

    name: str
    interval_s: float | None
    state: TaskState = TaskState.STOPPED
    last_run_ns: int | None = None
    next_run_ns: int | None = None
    last_error: str | None = None
    runs: int = 0
    failures: int = 0
    consecutive_failures: int = 0
    last_duration_ms: int | None = None


def told(error: BaseException) -> str:
    """An error in words that may leave the process: our own errors speak for themselves, of others only the kind is told."""
    if isinstance(error, TimeoutError):
        return "it took too long"
    if isinstance(error, (VenueError, JournalError)):
        return str(error).splitlines()[0][:MAX_ERROR] if str(error) else type(error).__name__
    return f"{type(error).__name__}; see the log"


class _Task:
    def __init__(self, status: TaskStatus, run: Callable[[], Awaitable[None]], deadline_s: float | None, backoff: Backoff) -> None:
        self.status, self.run, self.deadline_s, self.backoff = status, run, deadline_s, backoff
        self.wanted = asyncio.Event()
        self.handle: asyncio.Task[None] | None = None
        self.logged_at: float | None = None


class Tasks:
    """Use as `async with tasks`: what was added runs until the block ends, and nothing of it is left then."""

    def __init__(self, clock: Clock, rng: random.Random) -> None:
        self._clock, self._rng = clock, rng
        self._tasks: dict[str, _Task] = {}

    def every(
        self, name: str, interval_s: float, run: Callable[[], Awaitable[None]], *, deadline_s: float | None = None, first_s: float = 0.5
    ) -> None:
        """Run it now and then each `interval_s`; after a failure sooner or later, by backoff, at most the interval (or a minute) apart.

        Args:
            deadline_s: a turn that takes longer is ended and counts as failed.
            first_s: the first pause after a failure.
        """
        backoff = Backoff(self._rng, first_s=first_s, cap_s=max(60.0, interval_s))
        self._add(TaskStatus(name=name, interval_s=interval_s), run, deadline_s, backoff)

    def always(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Run what never ends; when it does, by itself or by an error, it is begun again."""
        self._add(TaskStatus(name=name, interval_s=None), run, None, Backoff(self._rng, first_s=0.5, cap_s=60.0))

    def _add(self, status: TaskStatus, run: Callable[[], Awaitable[None]], deadline_s: float | None, backoff: Backoff) -> None:
        if status.name in self._tasks:
            raise ValueError(f"there is a task {status.name!r} already")
        self._tasks[status.name] = _Task(status, run, deadline_s, backoff)

    @property
    def names(self) -> tuple[str, ...]:
        """Every task, in the order they were added."""
        return tuple(self._tasks)

    def status(self) -> list[TaskStatus]:
        """Every task as it stands."""
        return [task.status for task in self._tasks.values()]

    def failing(self) -> list[str]:
        """Tasks whose last turn failed."""
        return [task.status.name for task in self._tasks.values() if task.status.consecutive_failures]

    def run_now(self, name: str) -> bool:
        """Let a waiting task take its turn at once; False: it is running.

        Raises:
            KeyError: no such task.
        """
        task = self._tasks[name]
        if task.status.state is TaskState.RUNNING:
            return False
        task.wanted.set()
        return True

    async def __aenter__(self) -> Tasks:
        for name, task in self._tasks.items():
            task.handle = asyncio.create_task(self._loop(task), name=f"service {name}")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        handles = [task.handle for task in self._tasks.values() if task.handle is not None]
        for handle in handles:
            handle.cancel()
        await asyncio.gather(*handles, return_exceptions=True)
        for task in self._tasks.values():
            task.handle, task.status.state, task.status.next_run_ns = None, TaskState.STOPPED, None

    async def _loop(self, task: _Task) -> None:
        while True:
            pause_s = await self._turn(task)
            task.status.next_run_ns = self._clock.time_ns() + int(pause_s * NS_PER_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await task.wanted.wait()
            task.wanted.clear()

    async def _turn(self, task: _Task) -> float:
        """One run; seconds until the next."""
        status, began = task.status, self._clock.monotonic()
        status.state, status.last_run_ns, status.next_run_ns = TaskState.RUNNING, self._clock.time_ns(), None
        steady = asyncio.get_running_loop().call_later(STEADY_S, self._recovered, task) if status.interval_s is None else None
        try:
            async with asyncio.timeout(task.deadline_s):
                await task.run()
            if status.interval_s is None:
                raise RuntimeError("ended, and should not have")
        except Exception as e:
            status.failures += 1
            status.consecutive_failures += 1
            status.last_error = told(e)
            status.state = TaskState.FAILED
            self._log(task, e)
            return task.backoff.next()
        finally:
            status.runs += 1
            status.last_duration_ms = int((self._clock.monotonic() - began) * 1000)
            if steady is not None:
                steady.cancel()
        self._recovered(task)
        status.state = TaskState.WAITING
        assert status.interval_s is not None
        return max(0.0, status.interval_s - (self._clock.monotonic() - began))

    def _recovered(self, task: _Task) -> None:
        """A turn went well; or what never ends has run for long enough to be believed."""
        status = task.status
        if status.consecutive_failures:
            log.info("task.recovered name=%s after=%d", status.name, status.consecutive_failures)
        status.consecutive_failures, status.last_error, task.logged_at = 0, None, None
        task.backoff.reset()

    def _log(self, task: _Task, error: Exception) -> None:
        now = self._clock.monotonic()
        if task.logged_at is None:
            log.error("task.failed name=%s", task.status.name, exc_info=error)
        elif now - task.logged_at >= REPEAT_S:
            log.warning(
                "task.failing name=%s error=%s times=%d", task.status.name, task.status.last_error, task.status.consecutive_failures
            )
        else:
            return
        task.logged_at = now
