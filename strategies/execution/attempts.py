"""Failed opens of a pair: counted, cooled down longer each time, and stopped by a budget, across restarts (E16)."""

from decimal import Decimal

import msgspec

from database.journal import Journal
from database.records import StateRecord
from exchange_clients.model import NS_PER_S, ZERO

from .pauses import growing

VERSION = 1


class AttemptLimits(msgspec.Struct, frozen=True, kw_only=True):
    """After each failure wait `cooldown_s`, doubled each time up to `max_cooldown_s`; stop after `max_failures` or `budget_usd` of cost."""

    cooldown_s: float = 300.0
    max_cooldown_s: float = 14_400.0
    max_failures: int = 5
    budget_usd: Decimal = Decimal(25)


class Attempts(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of one (symbol, long venue, short venue)."""

    failures: int = 0
    cost_usd: Decimal = ZERO
    until_ns: int = 0
    reason: str = ""


def key(symbol: str, long_venue: str, short_venue: str) -> str:
    """Under which the attempts of a pair are kept."""
    return f"attempts:{symbol}:{long_venue}:{short_venue}"


def after_failure(held: Attempts, limits: AttemptLimits, *, now_ns: int, cost_usd: Decimal, reason: str) -> Attempts:
    """One failure more. `cost_usd` is what it lost, positive."""
    cooldown = growing(limits.cooldown_s, held.failures, limits.max_cooldown_s)
    return Attempts(
        failures=held.failures + 1,
        cost_usd=held.cost_usd + max(cost_usd, ZERO),
        until_ns=now_ns + int(cooldown * NS_PER_S),
        reason=reason,
    )


def block(held: Attempts, limits: AttemptLimits, now_ns: int) -> str | None:
    """Why the pair may not be tried now, or None."""
    if held.failures >= limits.max_failures:
        return f"failed {held.failures} times in a row, last: {held.reason}"
    if held.cost_usd >= limits.budget_usd:
        return f"failed attempts have cost {held.cost_usd:.2f}, the budget is {limits.budget_usd}"
    if now_ns < held.until_ns:
        return f"cooling down for {(held.until_ns - now_ns) / NS_PER_S:.0f} s more after: {held.reason}"
    return None


def load(journal: Journal, strategy: str, account: str, name: str) -> Attempts:
    """What was remembered; nothing yet is no failure."""
    held = journal.state(strategy, account, name)
    return Attempts() if held is None else msgspec.json.decode(held.value, type=Attempts)


def record(strategy: str, account: str, name: str, attempts: Attempts, now_ns: int) -> StateRecord:
    """For the journal."""
    return StateRecord(
        strategy=strategy, account=account, key=name, version=VERSION, value=msgspec.json.encode(attempts).decode(), updated_at=now_ns
    )
