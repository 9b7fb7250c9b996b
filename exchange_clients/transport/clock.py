"""Clocks: the only source of wall time below the command line.

Two times exist. *Wall time* is UTC nanoseconds: what venues stamp, what deadlines in signed messages mean. *Asyncio time* is the running
loop's `time()` in seconds: what timeouts, backoff and rate windows are measured with. A clock offers both, so that a test, a simulation or
the demo can replace them together.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from typing import Protocol

NS_PER_S = 1_000_000_000

# A long wall-clock wait is cut into slices of this length, so that a step of the system clock (NTP, suspend) is noticed.
_RECHECK_S = 60.0


class Clock(Protocol):
    """Wall time, and waiting for it."""

    def time_ns(self) -> int:
        """UTC nanoseconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back; the running loop's `time()`. Only differences mean anything."""
        ...

    def elapsed(self) -> float:
        """As `monotonic`, but jumps of wall time count: what the rate windows of a venue that lives on this clock are measured in."""
        ...

    async def sleep_until_ns(self, ts_ns: int) -> None:
        """Return once wall time is at or past `ts_ns`; at once if it already is."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Asyncio time passes; wall time may jump meanwhile."""
        ...


class _LoopClock:
    """What all clocks share: asyncio time is the loop's."""

    def time_ns(self) -> int:
        raise NotImplementedError

    def monotonic(self) -> float:
        try:
            return asyncio.get_running_loop().time()
        except RuntimeError:
            return time.monotonic()  # outside a loop: what asyncio's own loops count with

    def elapsed(self) -> float:
        return self.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def sleep_until_ns(self, ts_ns: int) -> None:
        while (remaining_ns := ts_ns - self.time_ns()) > 0:  # noqa: ASYNC110 - time passes by itself, nobody could set an event
            await asyncio.sleep(min(remaining_ns / NS_PER_S, _RECHECK_S))


class SystemClock(_LoopClock):
    """The machine's clock."""

    def time_ns(self) -> int:
        return time.time_ns()


class VirtualClock(_LoopClock):
    """Wall time that runs exactly with the event loop: `epoch_ns` when the loop's `time()` is zero. For a loop on virtual time."""

    def __init__(self, epoch_ns: int) -> None:
        self._epoch_ns = epoch_ns

    def time_ns(self) -> int:
        return self._epoch_ns + round(self.monotonic() * NS_PER_S)

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep_until_ns(self, ts_ns: int) -> None:
        while (remaining_ns := ts_ns - self.time_ns()) > 0:  # noqa: ASYNC110 - time passes by itself, nobody could set an event
            await asyncio.sleep(remaining_ns / NS_PER_S)


class SteppingClock(_LoopClock):
    """Wall time that runs at real speed and can jump forward, waking whoever waits for a moment that was jumped over.

    Shared by a simulated exchange and the bot that trades on it: hours between two settlements pass in one `step_to`, while anything in
    flight is timed at real speed. Asyncio time (timeouts, backoff, heartbeats) never jumps. Not thread-safe: step on the loop that waits.
    """

    def __init__(self, start_ns: int, *, elapsed: Callable[[], float] = time.monotonic) -> None:
        """`elapsed` counts the seconds that really pass (a virtual loop's `time` makes the clock reproducible)."""
        self._elapsed = elapsed
        self._start_s = elapsed()
        self._offset_ns = start_ns
        self._jumped_ns = 0
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def time_ns(self) -> int:
        return self._offset_ns + round((self._elapsed() - self._start_s) * NS_PER_S)

    def elapsed(self) -> float:
        return self.monotonic() + self._jumped_ns / NS_PER_S

    def step_to(self, ts_ns: int) -> None:
        """Jump to `ts_ns` and wake, in order of their times, all who wait for it or earlier. Later ones wait on, for less.

        Raises:
            ValueError: `ts_ns` is in the past: wall time never goes back.
        """
        now_ns = self.time_ns()
        if ts_ns < now_ns:
            raise ValueError(f"cannot step back from {now_ns} to {ts_ns}")
        self._offset_ns += ts_ns - now_ns
        self._jumped_ns += ts_ns - now_ns
        waiting, self._waiting = sorted(self._waiting), []  # everyone looks at the new time; who is early queues again
        for _, _, waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    def next_wake_ns(self) -> int | None:
        """The earliest moment somebody waits for, or None: the farthest `step_to` that skips nothing."""
        while self._waiting and self._waiting[0][2].done():
            heapq.heappop(self._waiting)
        return self._waiting[0][0] if self._waiting else None

    async def sleep_until_ns(self, ts_ns: int) -> None:
        while (remaining_ns := ts_ns - self.time_ns()) > 0:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiting, (ts_ns, next(self._order), waiter))
            try:
                async with asyncio.timeout(remaining_ns / NS_PER_S):
                    await waiter
            except TimeoutError:
                pass  # real time got there first; the loop condition decides
            finally:
                waiter.cancel()
