"""Failed opens in a row: after too many, entries pause. Counted from the pairs themselves, so that a restart forgets nothing."""

from collections.abc import Iterable

from database.records import PairRecord, PairState
from exchange_clients.model import NS_PER_S

from .limits import RiskLimits

FAILED = "failed open"
"""How the engine's reason of a pair that ended without ever being hedged begins."""


class FailedOpens:
    """The run of the newest pairs that failed to open."""

    def __init__(self) -> None:
        self.count = 0
        self.last_ns = 0
        self.reason = ""

    def recall(self, pairs: Iterable[PairRecord]) -> None:
        """Count anew, from all records of the journal."""
        self.count, self.last_ns, self.reason = 0, 0, ""
        ended = [(p.opened_at or p.closed_at or 0, p) for p in pairs if p.opened_at is not None or p.state is PairState.CLOSED]
        for moment, pair in sorted(ended, key=lambda found: found[0]):
            if pair.opened_at is not None:
                self.count = 0
            elif pair.reason.startswith(FAILED):
                self.count, self.last_ns, self.reason = self.count + 1, moment, pair.reason

    def told(self, before: str, state: str, reason: str, now_ns: int) -> None:
        """A pair moved. One that opened well ends the run."""
        if (before, state) == (PairState.OPENING, PairState.HEDGED):
            self.count = 0
        elif state == PairState.CLOSED and reason.startswith(FAILED):
            self.count, self.last_ns, self.reason = self.count + 1, now_ns, reason

    def block(self, limits: RiskLimits, now_ns: int) -> str | None:
        """Why no new pair may be opened, or None."""
        left_s = limits.failed_open_pause_s - (now_ns - self.last_ns) / NS_PER_S
        if self.count < limits.max_failed_opens or left_s <= 0:
            return None
        return f"max_failed_opens: {self.count} in a row, limit {limits.max_failed_opens}; {left_s:.0f} s more, last: {self.reason}"
