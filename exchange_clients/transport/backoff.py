"""Waiting longer after each failure, with jitter."""

from __future__ import annotations

import random


class Backoff:
    """Doubling delays from `first_s` to `cap_s`, each drawn between half and the whole of it. `reset()` once things really work."""

    def __init__(self, rng: random.Random, *, first_s: float = 0.5, cap_s: float = 30.0) -> None:
        self._rng = rng
        self._first_s = first_s
        self._cap_s = cap_s
        self._attempt = 0

    @property
    def attempt(self) -> int:
        """Failures since the last reset."""
        return self._attempt

    def next(self) -> float:
        """Seconds to wait now."""
        delay = min(self._cap_s, self._first_s * 2.0 ** min(self._attempt, 30))
        self._attempt += 1
        return delay * self._rng.uniform(0.5, 1.0)

    def reset(self) -> None:
        self._attempt = 0
