"""What every test shares: the recorded payloads, and a guard that fails a test which leaves something running."""

import asyncio
import gc
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
GRACE_S = 0.5


@pytest.fixture(scope="session")
def payloads() -> Path:
    """The recorded venue messages: `$PERPKIT_PAYLOADS`, else `../shared/payloads` beside the checkout.

    A bare clone skips; CI fails without them.
    """
    named = os.environ.get("PERPKIT_PAYLOADS")
    folder = Path(named) if named else ROOT.parent / "shared" / "payloads"
    if not (folder / "INDEX.md").exists():
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must run the payload tests, and there is no recording in {folder}")
        pytest.skip("no recorded payloads: set PERPKIT_PAYLOADS")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the guard first on every coroutine test: it is set up before, and torn down after, all other fixtures."""
    for item in items:
        if isinstance(item, pytest.Function) and asyncio.iscoroutinefunction(item.function):
            item.fixturenames.insert(0, "nothing_left_running")


@pytest.fixture
async def nothing_left_running() -> AsyncIterator[None]:
    """Fails a test that leaves a task, a socket or a thread, or that loses the exception of a task."""
    loop = asyncio.get_running_loop()
    lost: list[str] = []
    loop.set_exception_handler(lambda _, context: lost.append(f"{context.get('message')}: {context.get('exception')!r}"))
    tasks, sockets, threads = asyncio.all_tasks(), _sockets(), set(threading.enumerate())
    yield
    deadline = loop.time() + GRACE_S
    while left := _left(tasks, sockets, threads):
        if loop.time() > deadline:
            break
        await asyncio.sleep(0.01)
    gc.collect(1)
    assert not left, f"left behind: {left}"
    assert not lost, f"lost: {lost}"


def _left(tasks: set["asyncio.Task[object]"], sockets: set[str], threads: set[threading.Thread]) -> list[str]:
    """What exists now and did not before; the loop's own resolver threads live as long as the loop."""
    me = asyncio.current_task()
    running = [repr(task) for task in asyncio.all_tasks() - tasks if task is not me]
    started = [thread.name for thread in set(threading.enumerate()) - threads if not thread.name.startswith("asyncio_")]
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
