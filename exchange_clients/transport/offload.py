"""Work that must not run on the event loop's thread: slow signatures, SDK calls, fsync.

Everything off-thread goes through one seam, because threads cannot exist under virtual time: there the same call runs inline.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

DEFAULT_DEADLINE_S = 10.0


class Offload(Protocol):
    """Runs a blocking function away from the loop."""

    async def run(self, fn: Callable[[*Ts], T], *args: *Ts, deadline_s: float = DEFAULT_DEADLINE_S) -> T:
        """The function's result.

        Raises:
            TimeoutError: `deadline_s` passed, waiting for a free worker included. A function that already runs cannot be stopped: it keeps
                its worker until it returns, and its result is dropped.
        """
        ...

    def close(self) -> None:
        """Release the workers. What has not started never will; safe to call twice. A later `run` takes new ones."""
        ...


class ThreadOffload:
    """A small thread pool of its own, so that a stuck call cannot starve asyncio's default executor (name resolution lives there)."""

    def __init__(self, *, workers: int = 2, name: str = "perpkit-offload") -> None:
        self._workers = workers
        self._name = name
        self._pool: ThreadPoolExecutor | None = None

    async def run(self, fn: Callable[[*Ts], T], *args: *Ts, deadline_s: float = DEFAULT_DEADLINE_S) -> T:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix=self._name)
        async with asyncio.timeout(deadline_s):
            return await asyncio.wrap_future(self._pool.submit(fn, *args))

    def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)


class InlineOffload:
    """Runs the function at once, on the loop. Virtual time stands still meanwhile, so no deadline can pass."""

    async def run(self, fn: Callable[[*Ts], T], *args: *Ts, deadline_s: float = DEFAULT_DEADLINE_S) -> T:
        return fn(*args)

    def close(self) -> None:
        """Nothing is held."""
