"""The one way of collected rounds into the database: in order, each once, later if it must be.

Collection never waits for it. While the database cannot be written (locked, full, read-only, gone) rounds wait in memory, bounded; the
fault is in `status`, and what has to be given up is counted.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from database.errors import JournalConflict, JournalError
from database.funding_store import FundingStore
from database.market_data import Collection, Market, RateSample
from exchange_clients.transport.backoff import Backoff
from exchange_clients.transport.runtime import Runtime
from funding_rate_service.tasks import told

log = logging.getLogger("funding_rate_service.writer")

WRITE_DEADLINE_S: Final = 60.0
LAST_WRITES_S: Final = 10.0
MOST_ROUNDS: Final = 20_000
TRIES_OF_BAD_ROUND: Final = 3
"""A round that the database itself refuses (not for its state) is given up after so many."""


@dataclass(frozen=True, slots=True)
class Round:
    """What one round brought."""

    collection: Collection
    samples: Sequence[RateSample]


class WriterStatus(msgspec.Struct, frozen=True, kw_only=True):
    """`waiting_samples` are in memory only. `failing_since_ns`: since when nothing could be written."""

    waiting_rounds: int
    waiting_samples: int
    written_rounds: int
    written_samples: int
    dropped_rounds: int
    dropped_samples: int
    last_write_ns: int | None
    last_error: str | None
    failing_since_ns: int | None


class Writer:
    """`most_samples` wait at most. Without a store nothing is kept: rates are served from memory alone."""

    def __init__(self, store: FundingStore | None, runtime: Runtime, rng: random.Random, *, most_samples: int) -> None:
        self._store, self._runtime = store, runtime
        self._most_samples = most_samples
        self._backoff = Backoff(rng, first_s=1.0, cap_s=30.0)
        self._waiting: deque[Round] = deque()
        self._markets: dict[str, Market] = {}
        self._samples = 0
        self._wake = asyncio.Event()
        self._writing = False
        self._written = [0, 0]
        self._dropped = [0, 0]
        self._last_write_ns: int | None = None
        self._last_error: str | None = None
        self._failing_since_ns: int | None = None

    def add(self, round: Round, markets: Iterable[Market] = ()) -> None:
        """Queue a round, with the markets that are new or have changed. Never waits; without room the oldest go."""
        if self._store is None:
            return
        self._markets |= {market.instrument: market for market in markets}
        self._waiting.append(round)
        self._samples += len(round.samples)
        while (self._samples > self._most_samples or len(self._waiting) > MOST_ROUNDS) and len(self._waiting) > 1 + self._writing:
            oldest = self._waiting[self._writing]  # what is being written may be committed already
            del self._waiting[self._writing]
            self._give_up(oldest)
        self._wake.set()

    async def run(self) -> None:
        """Write what comes until cancelled; then what still waits, as far as that is quick."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                await self._write_all()
        finally:
            if self._waiting and self._failing_since_ns is None:
                try:
                    async with asyncio.timeout(LAST_WRITES_S):
                        await self._write_all(patient=False)
                except TimeoutError:
                    pass
            if self._waiting:
                log.warning("writer.unwritten rounds=%d samples=%d", len(self._waiting), self._samples)

    def status(self) -> WriterStatus:
        return WriterStatus(
            waiting_rounds=len(self._waiting),
            waiting_samples=self._samples,
            written_rounds=self._written[0],
            written_samples=self._written[1],
            dropped_rounds=self._dropped[0],
            dropped_samples=self._dropped[1],
            last_write_ns=self._last_write_ns,
            last_error=self._last_error,
            failing_since_ns=self._failing_since_ns,
        )

    async def _write_all(self, *, patient: bool = True) -> None:
        refused = 0
        while self._waiting:
            round = self._waiting[0]
            markets = dict(self._markets)
            self._writing = True
            try:
                await self._runtime.offload.run(self._write, round, list(markets.values()), deadline_s=WRITE_DEADLINE_S)
            except (JournalError, OSError, TimeoutError) as e:
                refused += isinstance(e, JournalConflict)
                error: BaseException = e
            except Exception as e:
                refused += 1
                error = e
                log.exception("writer.refused venue=%s", round.collection.venue)
            else:
                self._forget_head(round)
                self._markets = {name: market for name, market in self._markets.items() if market is not markets.get(name)}
                self._written[0] += 1
                self._written[1] += len(round.samples)
                self._last_write_ns = self._runtime.clock.time_ns()
                if self._failing_since_ns is not None:
                    log.warning("writer.works_again waiting=%d", self._samples)
                self._failing_since_ns, refused = None, 0
                self._backoff.reset()
                continue
            finally:
                self._writing = False
            self._failed(error)
            if refused >= TRIES_OF_BAD_ROUND:
                self._forget_head(round)
                self._dropped[0] += 1
                self._dropped[1] += len(round.samples)
                refused = 0
                continue
            if not patient:
                return
            await self._runtime.clock.sleep(self._backoff.next())

    def _write(self, round: Round, markets: Sequence[Market]) -> None:
        assert self._store is not None
        if markets:
            self._put_markets(self._store, markets, round.collection.ended_at)
        self._store.record_collection(round.collection, round.samples)

    @staticmethod
    def _put_markets(store: FundingStore, markets: Sequence[Market], at_ns: int) -> None:
        """All, or, where one cannot be kept, each by itself: they are of every venue, and wait for any round."""
        try:
            store.put_markets(markets, at_ns)
        except JournalConflict as e:
            if len(markets) == 1:
                log.error("writer.market_refused instrument=%s error=%s", markets[0].instrument, told(e))
                return
            for market in markets:
                Writer._put_markets(store, [market], at_ns)

    def _failed(self, error: BaseException) -> None:
        self._last_error = told(error)
        if self._failing_since_ns is None:
            self._failing_since_ns = self._runtime.clock.time_ns()
            log.error("writer.failed error=%s", self._last_error)

    def _forget_head(self, round: Round) -> None:
        self._waiting.popleft()
        self._samples -= len(round.samples)

    def _give_up(self, round: Round) -> None:
        self._samples -= len(round.samples)
        self._dropped[0] += 1
        self._dropped[1] += len(round.samples)
        if self._dropped[0] % 100 == 1:
            log.error("writer.dropped rounds=%d samples=%d", *self._dropped)
