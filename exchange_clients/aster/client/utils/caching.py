"""What only this venue has to remember: the open interest that it tells market by market."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

from exchange_clients.aster import messages as m
from exchange_clients.transport.clock import Clock

INTEREST_KEPT_S: Final = 3600.0
"""An open interest older than this is no figure any more."""


class OpenInterests:
    """The newest figure of each market. `refresh` renews a few: those never asked for first, in the order given, then the oldest."""

    def __init__(self, ask: Callable[[str], Awaitable[m.OpenInterest]], clock: Clock) -> None:
        self._ask = ask
        self._clock = clock
        self._found: dict[str, tuple[float, m.OpenInterest]] = {}

    async def refresh(self, symbols: Sequence[str], count: int) -> None:
        place = {symbol: n for n, symbol in enumerate(symbols)}
        known = self._found
        for symbol in sorted(symbols, key=lambda s: (s in known, known[s][0] if s in known else 0.0, place[s]))[:count]:
            await self.renew(symbol)

    async def renew(self, symbol: str) -> m.OpenInterest:
        found = await self._ask(symbol)
        self._found[symbol] = (self._clock.elapsed(), found)
        return found

    def get(self, symbol: str) -> m.OpenInterest | None:
        """None when it was not asked for yet, or too long ago."""
        at_s, found = self._found.get(symbol, (0.0, None))
        return found if self._clock.elapsed() - at_s <= INTEREST_KEPT_S else None

    def forget(self, symbols: Iterable[str]) -> None:
        """Markets that ended."""
        for symbol in symbols:
            self._found.pop(symbol, None)
