"""Circuit breakers: a venue that fails gets no entries for a while, then one on trial. Exits never ask them."""

from collections import deque
from enum import StrEnum

import msgspec

from exchange_clients.model import NS_PER_S

from .limits import RiskLimits

TRIAL_S = 30.0
"""A trial entry whose outcome is not told for so long makes room for the next."""


class BreakerState(StrEnum):
    """CLOSED: entries flow. OPEN: none. HALF_OPEN: one at a time, on trial."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """What outlives a restart. `trips`: in a row, each doubles the pause."""

    state: BreakerState = BreakerState.CLOSED
    until_ns: int = 0
    trips: int = 0
    reason: str = ""


class Breaker:
    """Of one venue. Pure but for the figures it is given: times are wall time, so that a pause survives a restart."""

    def __init__(self, venue: str, saved: Saved | None = None) -> None:
        self.venue = venue
        self.saved = saved or Saved()
        self._answers: deque[tuple[int, bool]] = deque()
        self._unknown: deque[int] = deque()
        self._in_a_row = 0
        self._trial_ns: int | None = None

    def block(self, now_ns: int) -> str | None:
        """Why no entry may stand there now, or None. A pause that is over becomes a trial."""
        held = self.saved
        if held.state is BreakerState.OPEN and now_ns >= held.until_ns:
            self.saved = held = msgspec.structs.replace(held, state=BreakerState.HALF_OPEN)
            self._forget()
        if held.state is BreakerState.OPEN:
            return f"{self.venue}: circuit breaker open for {(held.until_ns - now_ns) / NS_PER_S:.0f} s more: {held.reason}"
        return None

    def trial_block(self, now_ns: int) -> str | None:
        """Why no further entry may go out now although one may stand: the breaker is half open and one is on trial."""
        block, held = self.block(now_ns), self.saved
        if block is not None:
            return block
        if held.state is BreakerState.HALF_OPEN and self._trial_ns is not None and now_ns - self._trial_ns < TRIAL_S * NS_PER_S:
            return f"{self.venue}: circuit breaker half open, one entry is on trial: {held.reason}"
        return None

    def trying(self, now_ns: int) -> None:
        """An entry goes out: while half open it is the one on trial."""
        if self.saved.state is BreakerState.HALF_OPEN:
            self._trial_ns = now_ns

    def succeeded(self, now_ns: int, *, order: bool = False) -> bool:
        """The venue answered; `order`: it did an order of ours, which alone proves that orders work. True when that closed the breaker."""
        self._note(now_ns, True)
        self._in_a_row = 0
        if order and self.saved.state is BreakerState.HALF_OPEN:
            self.saved = Saved()
            self._forget()
            return True
        return False

    def failed(self, now_ns: int, reason: str, limits: RiskLimits, *, unknown: bool = False) -> bool:
        """A call failed, or an order's outcome is unknown. True when that opened the breaker."""
        self._note(now_ns, False)
        self._in_a_row += 1
        if unknown:
            self._unknown.append(now_ns)
        since = now_ns - int(limits.breaker_window_s * NS_PER_S)
        for seen in (self._unknown,):
            while seen and seen[0] < since:
                seen.popleft()
        while self._answers and self._answers[0][0] < since:
            self._answers.popleft()
        why = self._why(limits, reason)
        if self.saved.state is BreakerState.OPEN or not why:
            return False
        self.trip(now_ns, why, limits)
        return True

    def _why(self, limits: RiskLimits, reason: str) -> str:
        bad, all_ = sum(not good for _, good in self._answers), len(self._answers)
        if self.saved.state is BreakerState.HALF_OPEN:
            return f"failed on trial: {reason}"
        if self._in_a_row >= limits.breaker_failures:
            return f"{self._in_a_row} failures in a row, limit {limits.breaker_failures}, last: {reason}"
        if len(self._unknown) >= limits.breaker_unknown:
            return f"{len(self._unknown)} orders of unknown outcome in {limits.breaker_window_s:g} s, limit {limits.breaker_unknown}"
        if all_ >= limits.breaker_samples and bad >= limits.breaker_error_rate * all_:
            return f"{bad} of {all_} answers failed in {limits.breaker_window_s:g} s, limit {limits.breaker_error_rate}, last: {reason}"
        return ""

    def trip(self, now_ns: int, reason: str, limits: RiskLimits, *, pause_s: float | None = None) -> None:
        """Open now, whatever was counted. An open breaker is never shortened."""
        trips = self.saved.trips + 1
        pause = min(limits.breaker_pause_s * 2 ** min(trips - 1, 30), limits.breaker_max_pause_s) if pause_s is None else pause_s
        until_ns = max(now_ns + int(pause * NS_PER_S), self.saved.until_ns)
        self.saved = Saved(state=BreakerState.OPEN, until_ns=until_ns, trips=trips, reason=reason)
        self._forget()

    def _note(self, now_ns: int, good: bool) -> None:
        self._answers.append((now_ns, good))
        while len(self._answers) > 1_000:
            self._answers.popleft()

    def _forget(self) -> None:
        self._answers.clear()
        self._unknown.clear()
        self._in_a_row = 0
        self._trial_ns = None
