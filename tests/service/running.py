"""A service on a loop of its own in a thread, for callers that block."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.service.asking import Asking, asking


@contextmanager
def running(folder: Path, **more: Any) -> Iterator[Asking]:
    """It runs until the block ends; what it says of itself is to be used from its own loop only, but for `url`."""
    begun, found, failed = threading.Event(), list[Asking](), list[BaseException]()
    loop = asyncio.new_event_loop()
    over = asyncio.Event()

    async def main() -> None:
        async with asking(folder, **more) as ask:
            found.append(ask)
            begun.set()
            await over.wait()

    def run() -> None:
        try:
            loop.run_until_complete(main())
        except BaseException as e:
            failed.append(e)
        finally:
            begun.set()
            loop.close()

    thread = threading.Thread(target=run, name="service")
    thread.start()
    begun.wait(30)
    try:
        if failed:
            raise failed[0]
        yield found[0]
    finally:
        if not failed:
            loop.call_soon_threadsafe(over.set)
        thread.join(30)
    if failed:
        raise failed[0]
