"""A guard for every test of this checkout: one that leaves something running fails."""

import asyncio
import gc
import os
import signal
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent
GRACE_S = 2.0
OF_THE_LOOP = ("asyncio_", "asyncio-waitpid")


def pytest_configure() -> None:
    """Programs that tests start can be interrupted, also where this run was started in the background with the signal ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the guard first on every coroutine test: it is set up before, and torn down after, all other fixtures."""
    for item in items:
        if item.config.rootpath == ROOT and isinstance(item, pytest.Function) and asyncio.iscoroutinefunction(item.function):
            item.fixturenames.insert(0, "nothing_left_running")


def pytest_collection_finish() -> None:
    """What exists before the first test is never looked at again, so that collecting after each test costs little."""
    gc.collect()
    gc.freeze()


@pytest.fixture
async def nothing_left_running() -> AsyncIterator[None]:
    """Fails a test that leaves a task, a socket or a thread, or that loses the exception of a task."""
    loop = asyncio.get_running_loop()
    lost: list[str] = []
    loop.set_exception_handler(lambda _, context: lost.append(f"{context.get('message')}: {context.get('exception')!r}"))
    tasks, sockets, threads = asyncio.all_tasks(), _sockets(), set(threading.enumerate())
    yield
    deadline = loop.time() + GRACE_S
    if _left(tasks, sockets, threads):
        gc.collect()  # what only a caught exception's frames hold is not left behind
    while left := _left(tasks, sockets, threads):
        if loop.time() > deadline:
            break
        await asyncio.sleep(0.01)
    gc.collect()
    assert not left, f"left behind: {left}"
    assert not lost, f"lost: {lost}"


def _left(tasks: set["asyncio.Task[object]"], sockets: set[str], threads: set[threading.Thread]) -> list[str]:
    """What exists now and did not before; threads that asyncio itself keeps do not count."""
    me = asyncio.current_task()
    running = [repr(task) for task in asyncio.all_tasks() - tasks if task is not me]
    started = [thread.name for thread in set(threading.enumerate()) - threads if not thread.name.startswith(OF_THE_LOOP)]
    return running + started + sorted(_sockets() - sockets)


def _sockets() -> set[str]:
    """The sockets this process holds, by inode; empty where there is no /proc."""
    found = set()
    for entry in Path("/proc/self/fd").glob("*"):
        try:
            target = os.readlink(entry)
        except OSError:
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found
