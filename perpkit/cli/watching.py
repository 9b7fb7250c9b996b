"""Asking once, or again and again with `--watch`."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from perpkit.cli.output import emit_json, emit_json_line, terminal


@dataclass(frozen=True, slots=True)
class Look:
    """One answer, ready to be shown. `code`: exit code of the command when it is the last."""

    document: Callable[[], Any]
    show: Callable[[], None]
    code: int


async def watched(ask: Callable[[], Awaitable[Look]], watch_s: float | None, every_s: float, *, json: bool) -> int:
    """Show what `ask` finds, once, or for `watch_s`; the code of the last look."""
    ends = time.monotonic() + (watch_s or 0)
    while True:
        started = time.monotonic()
        look = await ask()
        if json:
            (emit_json if watch_s is None else emit_json_line)(look.document())
        else:
            console = terminal()
            if watch_s is not None and console.is_terminal:
                console.clear()
            look.show()
        if watch_s is None or (next_at := max(started + every_s, time.monotonic())) >= ends:
            return look.code
        await asyncio.sleep(next_at - time.monotonic())
