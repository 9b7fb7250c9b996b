"""The bot's clock in a backtest: exact while anything of ours moves, coarse while nothing does."""

from __future__ import annotations

import asyncio

from exchange_clients.transport.clock import VirtualClock

STIRRED_S = 120.0
"""How long polling stays exact after the last command, answer or event of ours."""


class IdleClock(VirtualClock):
    """Loops that poll every second or two sleep `idle_s` while nothing of ours is under way; `stir` wakes them at once.

    Between two records of the history nothing can be seen that was not seen before, and a year has thirty million seconds. A sleep is
    never shorter than asked for; deadlines and latencies, which are asyncio's and the venues', stay exact.
    """

    def __init__(self, epoch_ns: int, idle_s: float) -> None:
        super().__init__(epoch_ns)
        self._idle_s = idle_s
        self._exact_until_s = STIRRED_S
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._number = 0

    def stir(self) -> None:
        """Something of ours moves."""
        self._exact_until_s = self.monotonic() + STIRRED_S
        if self._waiting:
            waiting, self._waiting = self._waiting, {}
            for future in waiting.values():
                if not future.done():
                    future.set_result(None)

    async def sleep(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        if seconds >= self._idle_s or began_s < self._exact_until_s:
            await asyncio.sleep(seconds)
            return
        self._number += 1
        number, future = self._number, loop.create_future()
        self._waiting[number] = future
        timer = loop.call_at(began_s + self._idle_s, self._wake, number)
        try:
            await future
        finally:
            timer.cancel()
            self._waiting.pop(number, None)
        left_s = began_s + seconds - loop.time()
        if left_s > 0:
            await asyncio.sleep(left_s)

    def _wake(self, number: int) -> None:
        future = self._waiting.pop(number, None)
        if future is not None and not future.done():
            future.set_result(None)
