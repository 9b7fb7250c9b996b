"""Clocks and off-thread work on a real loop; virtual time is tests/simulator/test_simloop.py."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import cast

import aiohttp
import pytest

from exchange_clients.transport.clock import Clock, SteppingClock, SystemClock
from exchange_clients.transport.offload import InlineOffload, Offload, ThreadOffload
from exchange_clients.transport.runtime import Runtime

HOUR_NS = 3600 * 10**9


async def test_system_clock_is_wall_time_and_loop_time() -> None:
    clock: Clock = SystemClock()
    assert abs(clock.time_ns() - time.time_ns()) < 10**9
    assert clock.monotonic() == pytest.approx(asyncio.get_running_loop().time(), abs=1)
    target = clock.time_ns() + 20_000_000
    await clock.sleep_until_ns(target)
    assert target <= clock.time_ns() < target + 10**9
    await clock.sleep_until_ns(0)  # the past does not wait


async def test_stepping_clock_runs_by_itself() -> None:
    clock = SteppingClock(5 * HOUR_NS)
    await clock.sleep_until_ns(5 * HOUR_NS + 20_000_000)
    assert 20_000_000 <= clock.time_ns() - 5 * HOUR_NS < 10**9


async def test_step_wakes_in_order_and_leaves_the_rest_waiting() -> None:
    clock = SteppingClock(0)
    woken: list[int] = []

    async def wait(hours: int) -> None:
        await clock.sleep_until_ns(hours * HOUR_NS)
        woken.append(hours)

    tasks = [asyncio.create_task(wait(h)) for h in (2, 1, 9)]
    await asyncio.sleep(0)
    assert clock.next_wake_ns() == HOUR_NS
    clock.step_to(2 * HOUR_NS)
    await asyncio.gather(*tasks[:2])
    assert woken == [1, 2]
    assert clock.next_wake_ns() == 9 * HOUR_NS
    tasks[2].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert clock.next_wake_ns() is None


async def test_stepping_clock_never_goes_back() -> None:
    clock = SteppingClock(HOUR_NS)
    with pytest.raises(ValueError, match="back"):
        clock.step_to(HOUR_NS - 1)
    assert clock.time_ns() >= HOUR_NS


async def test_e36_thread_offload_leaves_the_loop_free_and_returns_the_result() -> None:
    offload: Offload = ThreadOffload()
    release = threading.Event()
    waiting = asyncio.create_task(offload.run(lambda: (release.wait(5), threading.current_thread().name)))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    release.set()
    assert (await waiting)[1].startswith("perpkit-offload")
    assert await offload.run(divmod, 7, 2) == (3, 1)
    offload.close()
    offload.close()
    assert await offload.run(divmod, 7, 2) == (3, 1)  # a client that connects again
    offload.close()


async def test_thread_offload_deadline_counts_the_queue_and_drops_what_never_started() -> None:
    offload = ThreadOffload(workers=1)
    release = threading.Event()
    ran: list[int] = []
    stuck = asyncio.create_task(offload.run(release.wait, 5.0))
    await asyncio.sleep(0.01)
    with pytest.raises(TimeoutError):
        await offload.run(ran.append, 1, deadline_s=0.02)
    release.set()
    assert await stuck
    await offload.run(ran.append, 2)
    assert ran == [2]
    offload.close()


@pytest.mark.parametrize("offload", [ThreadOffload(), InlineOffload()], ids=["thread", "inline"])
async def test_offload_passes_exceptions_on(offload: Offload) -> None:
    with pytest.raises(ZeroDivisionError):
        await offload.run(divmod, 1, 0)
    offload.close()


async def test_system_runtime_is_real() -> None:
    runtime = Runtime.system()
    connector = cast(aiohttp.TCPConnector, runtime.connector())
    assert isinstance(connector, aiohttp.TCPConnector)
    assert connector is not runtime.connector()
    await connector.close()
    runtime.offload.close()
