"""A board that follows what another service writes into the database."""

from __future__ import annotations

from database.funding_store import FundingStore
from database.market_data import Collection, Market, Outcome, RateSample
from exchange_clients.transport.offload import Offload
from funding_rate_service.board import FORGOTTEN_AFTER_S, Board, quote_of
from funding_rate_service.config import ServiceConfig
from funding_rate_service.opportunity.quotes import FundingQuote

READ_S = 30.0


class Follower:
    """`look` takes what is new since the last time; ages are counted from when the venue was asked."""

    def __init__(self, config: ServiceConfig, store: FundingStore, board: Board, offload: Offload) -> None:
        self._config, self._store, self._board, self._offload = config, store, board, offload
        self._fees = config.fees()
        self._seen: dict[str, int] = {}
        self._rounds: dict[str, int] = {}

    async def look(self) -> None:
        """Raises JournalError or TimeoutError when the database cannot be read: what is known ages."""
        markets, samples, rounds = await self._offload.run(self._read, deadline_s=READ_S)
        new: dict[str, list[FundingQuote]] = {}
        for sample in samples:
            if sample.venue in self._config.names and sample.observed_at > self._seen.get(sample.instrument, 0):
                self._seen[sample.instrument] = sample.observed_at
                quote = quote_of(sample, self._fees, markets.get(sample.instrument))
                if self._board.age_s(quote) <= FORGOTTEN_AFTER_S:
                    new.setdefault(sample.venue, []).append(quote)
        for venue, quotes in new.items():
            self._board.put(
                venue, quotes, max(quote.observed_ns for quote in quotes), latency_ms=rounds[venue].latency_ms if venue in rounds else None
            )
        for venue, last in rounds.items():
            if last.outcome is Outcome.FAILED and last.ended_at > self._rounds.get(venue, 0):
                self._board.fail(venue, last.error, last.ended_at)
            self._rounds[venue] = last.ended_at

    def _read(self) -> tuple[dict[str, Market], list[RateSample], dict[str, Collection]]:
        rounds = {}
        for venue in self._config.names:
            last = self._store.collections(venue, 1)
            if last:
                rounds[venue] = last[0]
        return {m.instrument: m for m in self._store.markets()}, list(self._store.latest()), rounds
