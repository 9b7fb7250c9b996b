"""What a watchdog did for a bot: each of its orders as an intent, one line per change, durable before a byte leaves (E8)."""

from pathlib import Path

import msgspec

from database.records import IntentRecord, PairRecord
from strategies.execution.journaling import AsyncJournal

from . import files

NAME = "watchdog.jsonl"


def record(folder: Path, intent: IntentRecord) -> None:
    """Write it down. Raises OSError: then nothing may be sent."""
    files.append(folder / NAME, intent)


def read(folder: Path) -> list[IntentRecord]:
    """The last word on each order of watchdogs, oldest first. Raises OSError, msgspec.DecodeError."""
    found = {i.intent_id: i for i in (msgspec.json.decode(line, type=IntentRecord) for line in files.lines(folder / NAME))}
    return list(found.values())


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
