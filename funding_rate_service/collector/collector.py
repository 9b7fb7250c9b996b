"""Every venue at once, each by itself: one that is slow, dead or sends garbage costs no other anything, and none waits for the database."""

from __future__ import annotations

import asyncio
import logging
import random
from functools import partial
from typing import Final

import msgspec

from database.funding_store import FundingStore
from exchange_clients.base_funding_adapter import BaseFundingAdapter
from exchange_clients.errors import ConfigError
from exchange_clients.transport.runtime import Runtime
from funding_rate_service.board import Board, quote_of
from funding_rate_service.collector.backfill import Backfill, BackfillStatus
from funding_rate_service.collector.venue import VenueCollector, VenueRounds
from funding_rate_service.collector.writer import Writer, WriterStatus
from funding_rate_service.config import ServiceConfig
from funding_rate_service.opportunity import FundingQuote
from funding_rate_service.tasks import Tasks, TaskStatus

log = logging.getLogger("funding_rate_service.collector")

SWEEP_S: Final = 1.0
STAGGER_S: Final = 0.7
"""Between the first rounds of two venues."""
RESTORE_DEADLINE_S: Final = 60.0


class CollectorStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the collector does."""

    venues: tuple[VenueRounds, ...]
    writer: WriterStatus
    backfill: tuple[BackfillStatus, ...]
    tasks: tuple[TaskStatus, ...]


class Collector:
    """Fills `board`, and `store` where there is one (None: rates live in memory only)."""

    def __init__(self, config: ServiceConfig, runtime: Runtime, board: Board, store: FundingStore | None, rng: random.Random) -> None:
        self._config, self._runtime, self._board, self._store = config, runtime, board, store
        self.writer = Writer(store, runtime, rng, most_samples=config.samples_in_memory)
        self._venues = {name: VenueCollector(name, config, runtime, board, self.writer, rng) for name in config.names}
        self._backfill = Backfill(self._venues.values(), config, runtime, board, store) if store is not None else None
        self._tasks = Tasks(runtime.clock, rng)
        self._tasks.always("writer", self.writer.run)
        for place, (name, venue) in enumerate(self._venues.items()):
            self._tasks.always(f"collect {name}", partial(venue.run, place * STAGGER_S))
        self._tasks.every("sweep", SWEEP_S, self._sweep)
        if self._backfill is not None:
            for name in self._venues:
                self._tasks.always(f"backfill {name}", partial(self._backfill.run, name))

    @property
    def names(self) -> tuple[str, ...]:
        """The venues it asks."""
        return tuple(self._venues)

    async def restore(self) -> int:
        """Put the newest rates of the last run on the board, at their true ages; how many.

        Raises:
            JournalError, TimeoutError: the database cannot be read. The collector works without.
        """
        if self._store is None:
            return 0
        store, offload = self._store, self._runtime.offload
        fees, names = self._config.fees(), set(self._venues)
        markets = {market.instrument: market for market in await offload.run(store.markets, deadline_s=RESTORE_DEADLINE_S)}
        quotes: list[FundingQuote] = []
        for sample in await offload.run(store.latest, deadline_s=RESTORE_DEADLINE_S):
            if sample.venue not in names:
                continue
            try:
                quotes.append(quote_of(sample, fees, markets.get(sample.instrument)))
            except ValueError as e:
                log.warning("collector.not_restored instrument=%s reason=%s", sample.instrument, e)
        return self._board.restore(quotes)

    async def run(self) -> None:
        """Collect until cancelled; then write what is left and close every connection."""
        try:
            async with self._tasks:
                await asyncio.Event().wait()
        finally:
            for venue in self._venues.values():
                await venue.close()

    def adapter(self, venue: str) -> BaseFundingAdapter | None:
        """The adapter that asks a venue; None where it is not collected or cannot be."""
        try:
            return self._venues[venue].adapter if venue in self._venues else None
        except ConfigError:
            return None

    def backfill_now(self, venue: str | None = None, days: int | None = None) -> list[str]:
        """Begin the backfill of a venue, or of all, at once and perhaps further back; the venues that do."""
        if self._backfill is None:
            return []
        return [name for name in self._venues if venue in (None, name) and self._backfill.again(name, days)]

    def status(self) -> CollectorStatus:
        return CollectorStatus(
            venues=tuple(venue.status() for venue in self._venues.values()),
            writer=self.writer.status(),
            backfill=self._backfill.status() if self._backfill is not None else (),
            tasks=tuple(self._tasks.status()),
        )

    async def _sweep(self) -> None:
        self._board.sweep()
