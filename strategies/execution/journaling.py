"""The journal seen from coroutines, and the engine's way of telling what happens."""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

from database.errors import JournalBusy, JournalError
from database.journal import Journal, Record
from database.records import DecisionRecord
from exchange_clients.transport.offload import Offload

log = logging.getLogger("strategies.execution")

WRITE_DEADLINE_S = 10.0
HUNG_DEADLINE_S = 0.5
HUNG_S = 60.0
"""For so long after a write that did not return, the next ones are not waited for as long: an exit makes several."""
KEEP_RECENT = 50
HEAL_S = 2.0
MAX_HEAL_S = 30.0


class Observer(Protocol):
    """Hears what the engine does, while it does it: a live view, a log, a test. Must return at once."""

    def __call__(self, event: str, pair_id: str, **facts: object) -> None:
        """`event` is a dotted lower-case name, `facts` its values."""
        ...


def nobody(event: str, pair_id: str, **facts: object) -> None:
    """The observer of an engine that nobody watches."""


def guarded(observer: Observer) -> Observer:
    """The same, but one that fails is logged: whoever watches never holds up who trades."""

    def told(event: str, pair_id: str, **facts: object) -> None:
        try:
            observer(event, pair_id, **facts)
        except Exception:
            log.exception("observer.failed event=%s pair=%s", event, pair_id)

    return told


class AsyncJournal:
    """Writes off the loop (inline under virtual time), one at a time and in the order of the calls."""

    def __init__(self, journal: Journal, offload: Offload, observer: Observer) -> None:
        self.sync = journal
        self._offload = offload
        self._observer = guarded(observer)
        self._order = asyncio.Lock()
        self._healing: asyncio.Task[None] | None = None
        self._hung_until_s = 0.0
        self.recent: deque[DecisionRecord] = deque(maxlen=KEEP_RECENT)
        """The newest decisions that were written, for whoever watches."""

    @property
    def degraded(self) -> bool:
        """True while the database cannot be written and the fallback file stands in, or does not answer: no entry may be sent."""
        return self.sync.degraded or self._hung

    @property
    def _hung(self) -> bool:
        return self._hung_until_s > 0 and asyncio.get_running_loop().time() < self._hung_until_s

    async def write(self, *records: Record, pair_id: str = "", or_fallback: bool = False) -> tuple[bool, ...]:
        """As `Journal.write`.

        Raises:
            JournalError: nothing is promised to be on disk.
        """
        self.recent.extend(record for record in records if isinstance(record, DecisionRecord))
        try:
            return await self._write(records, pair_id, or_fallback)
        finally:
            if self.degraded and (self._healing is None or self._healing.done()):
                self._healing = asyncio.create_task(self._heal(), name="journal:heal")

    async def _heal(self) -> None:
        """Try the database until it takes what waits in the fallback file; nothing else may want to write, and entries wait for it."""
        pause = HEAL_S
        try:
            while self.degraded:
                await asyncio.sleep(pause)
                pause = min(pause * 2, MAX_HEAL_S)
                with contextlib.suppress(JournalError):
                    await self._write((), "", False)
            log.info("journal.healed")
        except Exception:
            log.exception("journal.heal_failed")

    async def close(self) -> None:
        """Stop trying. What waits in the fallback file stays there, and the journal itself stays open."""
        if self._healing is not None:
            self._healing.cancel()
            await asyncio.gather(self._healing, return_exceptions=True)

    async def _write(self, records: tuple[Record, ...], pair_id: str, or_fallback: bool) -> tuple[bool, ...]:
        names = ",".join(type(r).__name__ for r in records)
        async with self._order:
            self._observer("journal.before", pair_id, records=names)
            deadline_s = HUNG_DEADLINE_S if self._hung else WRITE_DEADLINE_S
            try:
                write: Callable[[], tuple[bool, ...]] = partial(self.sync.write, *records, or_fallback=or_fallback)
                fresh = await self._offload.run(write, deadline_s=deadline_s)
            except TimeoutError as e:
                self._hung_until_s = asyncio.get_running_loop().time() + HUNG_S
                raise JournalBusy(f"the journal did not answer for {deadline_s:g} s") from e
            self._hung_until_s = 0.0
            self._observer("journal.after", pair_id, records=names)
            return fresh
