"""How late the event loop runs: an entry gate, and the sign of something blocking it."""

from __future__ import annotations

from collections import deque

from exchange_clients.transport.clock import Clock

WINDOW_S = 5.0
_EVERY_S = 0.1
_KEEP = round(WINDOW_S / _EVERY_S)


class LoopLag:
    """Lateness of a timer, sampled ten times a second. `worst_s` is the worst of the last `WINDOW_S`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._samples: deque[float] = deque(maxlen=_KEEP)
        self._since_s = 0.0

    @property
    def worst_s(self) -> float:
        return max(self._samples, default=0.0)

    def reset(self) -> None:
        """From now on: what was late before, or is just now, says nothing about what follows (a start-up that imports and connects)."""
        self._samples.clear()
        self._since_s = self._clock.monotonic()

    async def run(self) -> None:
        """Sample until canceled."""
        while True:
            due_s = self._clock.monotonic() + _EVERY_S
            await self._clock.sleep(_EVERY_S)
            self._samples.append(max(0.0, self._clock.monotonic() - max(due_s, self._since_s)))
