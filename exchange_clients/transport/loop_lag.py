"""How late the event loop runs: an entry gate, and the sign of something blocking it."""

from __future__ import annotations

from collections import deque

from exchange_clients.transport.clock import Clock

_EVERY_S = 0.1
_KEEP = 50


class LoopLag:
    """Lateness of a timer, sampled ten times a second. `worst_s` is the worst of the last five seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._samples: deque[float] = deque(maxlen=_KEEP)

    @property
    def worst_s(self) -> float:
        return max(self._samples, default=0.0)

    async def run(self) -> None:
        """Sample until canceled."""
        while True:
            before = self._clock.monotonic()
            await self._clock.sleep(_EVERY_S)
            self._samples.append(max(0.0, self._clock.monotonic() - before - _EVERY_S))
