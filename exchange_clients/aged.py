"""Answers that are good for a while."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from exchange_clients.transport.clock import Clock

T = TypeVar("T")


class Aged(Generic[T]):
    """One answer, asked for again when it is older than `max_age_s`. A failure is raised; what was known ages on."""

    def __init__(self, ask: Callable[[], Awaitable[T]], clock: Clock) -> None:
        self._ask = ask
        self._clock = clock
        self._value: T | None = None
        self._at_s = 0.0

    async def get(self, max_age_s: float) -> T:
        value = self.known(max_age_s)
        return value if value is not None else await self.renew()

    def known(self, max_age_s: float) -> T | None:
        """Without asking."""
        return self._value if self._clock.elapsed() - self._at_s <= max_age_s else None

    async def renew(self) -> T:
        asked_s = self._clock.elapsed()
        value = self._value = await self._ask()
        self._at_s = asked_s
        return value
