"""Numbers that never repeat, not even after a crash: blocks of them are reserved in the journal before the first is given out."""

import threading

from .journal import Journal
from .records import StateRecord

BLOCK = 1_000


class DurableIds:
    """Counts 1, 2, 3 ... for the life of the journal; a crash skips the rest of a block, never reuses it."""

    def __init__(self, journal: Journal, name: str, *, block: int = BLOCK) -> None:
        self._journal, self._name, self._block = journal, name, block
        self._guard = threading.Lock()
        held = journal.state("ids", "", name)
        self._next = self._end = 1 if held is None else int(held.value)

    def next(self, at_ns: int) -> int:
        """A number never given before.

        Raises:
            JournalError: a new block is needed and the journal cannot be written.
        """
        with self._guard:
            if self._next >= self._end:
                end = self._end + self._block
                self._journal.write(
                    StateRecord(strategy="ids", account="", key=self._name, version=1, value=str(end), updated_at=at_ns),
                    or_fallback=True,
                )
                self._end = end
            self._next += 1
            return self._next - 1
