"""What a watchdog did for a bot: each of its orders as an intent, one line per change, durable before a byte leaves (E8)."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from database.records import IntentRecord, PairRecord, PairState
from strategies.execution.journaling import AsyncJournal

from . import files
from .memory import decision

if TYPE_CHECKING:
    from .engine import RiskEngine

log = logging.getLogger("strategies.risk")

TAKE_IN_S = 10.0
NAME = "watchdog.jsonl"


def record(folder: Path, intent: IntentRecord) -> None:
    """Write it down. Raises OSError: then nothing may be sent."""
    files.append(folder / NAME, intent)


def read(folder: Path) -> list[IntentRecord]:
    """The last word on each order of watchdogs, oldest first. Raises OSError, msgspec.DecodeError."""
    found = {i.intent_id: i for i in (msgspec.json.decode(line, type=IntentRecord) for line in files.lines(folder / NAME))}
    return list(found.values())


def written(folder: Path) -> int:
    """How much watchdogs have written so far, in bytes."""
    try:
        return (folder / NAME).stat().st_size
    except OSError:
        return 0


async def take_in(folder: Path, journal: AsyncJournal, strategy: str, account: str) -> list[IntentRecord]:
    """Write into the journal what it does not have yet; returns that. Its fills are then ours by client order id.

    Raises:
        OSError, msgspec.DecodeError, JournalError: it cannot be taken in; nothing may be entered before it is.
    """
    fresh: list[IntentRecord] = []
    known: dict[str, set[str]] = {}
    pairs: dict[str, PairRecord | None] = {}
    for intent in read(folder):
        pair = pairs.setdefault(intent.pair_id, journal.sync.pair(intent.pair_id))
        if pair is None or (pair.strategy, pair.account) != (strategy, account):
            continue
        if intent.intent_id not in known.setdefault(intent.pair_id, {i.intent_id for i in journal.sync.intents(intent.pair_id)}):
            fresh.append(intent)
    if fresh:
        await journal.write(*fresh)
    return fresh


async def take_over(risk: "RiskEngine", folder: Path, journal: AsyncJournal) -> None:
    """Take it in, and let pairs that are at work learn of it: their orders, then their fills. Raises as `take_in`."""
    for intent in await take_in(folder, journal, risk.strategy, risk.account):
        log.warning("watchdog.acted pair=%s leg=%s side=%s quantity=%s", intent.pair_id, intent.leg, intent.side, intent.quantity)
        risk.tell("risk.watchdog_acted", intent.pair_id, venue=intent.venue, side=intent.side, quantity=intent.quantity)
        for engine in risk.engines:
            runner = engine.pairs.get(intent.pair_id)
            if runner is None:
                continue
            if runner.state is PairState.OPENING:  # as after a restart: what was opening is not opened any further
                why, facts = "a watchdog has acted for this pair", {"intent": intent.intent_id}
                reason = decision(risk, engine, "exit", "watchdog", why, pair_id=intent.pair_id, symbol=runner.record.symbol, inputs=facts)
                await engine.begin_close(intent.pair_id, why, reason)
            runner.legs[intent.leg].restore([intent], [], [])
            await runner.legs[intent.leg].settle_within(TAKE_IN_S)
            await runner.reconcile()
            runner.wake()
