"""The books of pairs: what one has earned, the final account of a closed one, and what a failed open counts against its venues."""

import asyncio
import logging
from decimal import Decimal

import msgspec

from database.journal import Record
from database.records import Leg, PairRecord, PairState, StateRecord
from exchange_clients.errors import VenueError
from strategies.base_strategy import BaseStrategy
from strategies.execution import attempts, ledger

from .config import FundingArbitrageConfig
from .scanner import READ_S

log = logging.getLogger("strategies.funding_arbitrage")

KEEP_RESULTS = 500


class Books:
    """From venue records alone."""

    def __init__(self, strategy: BaseStrategy[FundingArbitrageConfig]) -> None:
        self._strategy = strategy
        self._context = strategy.context
        self.results: dict[str, ledger.PairResult] = {}
        self._attempts: dict[str, attempts.Attempts] = {}
        self._left: dict[str, int] | None = None

    def result(
        self, pair: PairRecord, marks: dict[Leg, Decimal] | None = None, totals: dict[Leg, Decimal] | None = None
    ) -> ledger.PairResult:
        """The pair's result from the journal."""
        journal = self._context.journal.sync
        pair_id = pair.pair_id
        return ledger.result(
            pair, journal.intents(pair_id), journal.fills(pair_id), journal.funding(pair_id), marks=marks, venue_totals=totals
        )

    async def book_funding(self, pair: PairRecord) -> None:
        """What was paid so far. A venue that cannot be asked is asked again at the next look."""
        try:
            async with asyncio.timeout(READ_S):
                await ledger.book_funding(pair, self._context.clients, self._context.journal, self._context.clock.time_ns())
        except (VenueError, TimeoutError) as e:
            log.warning("funding.unbooked pair=%s error=%s", pair.pair_id, str(e) or f"no answer in {READ_S:g} s")

    async def finish_unfinished(self) -> None:
        """Of pairs that closed while nobody looked."""
        journal = self._context.journal.sync
        for record in journal.pairs(PairState.CLOSED):
            mine = record.strategy == self._strategy.name and record.account == self._context.account
            if mine and not journal.ledger(record.pair_id) and journal.fills(record.pair_id):
                await self.settle(record)

    async def finish_closed(self) -> None:
        """Of pairs that have closed since the last look."""
        closed = [r.record for r in self._context.engine.pairs.values() if r.state is PairState.CLOSED]
        await asyncio.gather(*(self.settle(record) for record in closed if record.pair_id not in self.results))

    async def settle(self, pair: PairRecord) -> None:
        """The final account of a closed pair, from venue records; a failed open also counts against its pair of venues (E16)."""
        now_ns = self._context.clock.time_ns()
        journal = self._context.journal
        try:
            async with asyncio.timeout(READ_S):
                await ledger.book_funding(pair, self._context.clients, journal, now_ns)
                totals = await self._venue_totals(pair)
        except (VenueError, TimeoutError) as e:
            log.warning("ledger.waits pair=%s error=%s", pair.pair_id, str(e) or f"no answer in {READ_S:g} s")
            await self._count(pair, now_ns)
            return
        found = self.result(pair, totals=totals)
        pair_id = pair.pair_id
        lines = ledger.lines(
            pair, journal.sync.fills(pair_id), journal.sync.funding(pair_id), found, now_ns, intents=journal.sync.intents(pair_id)
        )
        records: list[Record] = [*lines]
        if not self._counted(pair_id):
            records.append(self._attempt(pair, -found.total, now_ns))
        await journal.write(*records, pair_id=pair_id, or_fallback=True)
        self.results[pair_id] = found
        while len(self.results) > KEEP_RESULTS:
            del self.results[next(iter(self.results))]

    async def _count(self, pair: PairRecord, now_ns: int) -> None:
        """A failed open cools down at once, by what is known, also when its books have to wait for a venue (E16). It counts once."""
        if not self._counted(pair.pair_id):
            attempt = self._attempt(pair, -self.result(pair).total, now_ns)
            counted = msgspec.structs.replace(attempt, key=f"counted:{pair.pair_id}", value="true")
            await self._context.journal.write(attempt, counted, pair_id=pair.pair_id, or_fallback=True)

    def _counted(self, pair_id: str) -> bool:
        return self._strategy.load_state(f"counted:{pair_id}", bool) is not None

    def left(self, symbol: str, long_venue: str, short_venue: str) -> int | None:
        """When a position in that pair was last closed, ns; None: never. From the journal, whoever closed it."""
        if self._left is None:
            self._left = {}
            for record in self._context.journal.sync.pairs(PairState.CLOSED):
                if record.strategy == self._strategy.name and record.account == self._context.account:
                    self._note_left(self._left, record)
        for runner in self._context.engine.pairs.values():
            self._note_left(self._left, runner.record)
        return self._left.get(attempts.key(symbol, long_venue, short_venue))

    @staticmethod
    def _note_left(left: dict[str, int], pair: PairRecord) -> None:
        if pair.closed_at is not None and pair.opened_at is not None:
            name = attempts.key(pair.symbol, pair.long_venue, pair.short_venue)
            left[name] = max(left.get(name, 0), pair.closed_at)

    def attempts(self, symbol: str, long_venue: str, short_venue: str) -> attempts.Attempts:
        """What is remembered of failed opens."""
        name = attempts.key(symbol, long_venue, short_venue)
        if name not in self._attempts:
            self._attempts[name] = attempts.load(self._context.journal.sync, self._strategy.name, self._context.account, name)
        return self._attempts[name]

    def _attempt(self, pair: PairRecord, cost_usd: Decimal, now_ns: int) -> StateRecord:
        """A pair that was never hedged counts against its venues; one that was clears the count."""
        limits = self._strategy.config.execution.attempts()
        after = attempts.Attempts()
        if pair.opened_at is None:
            held = self.attempts(pair.symbol, pair.long_venue, pair.short_venue)
            after = attempts.after_failure(held, limits, now_ns=now_ns, cost_usd=cost_usd, reason=pair.reason)
        name = attempts.key(pair.symbol, pair.long_venue, pair.short_venue)
        self._attempts[name] = after
        return attempts.record(self._strategy.name, self._context.account, name, after, now_ns)

    async def _venue_totals(self, pair: PairRecord) -> dict[Leg, Decimal] | None:
        """What each account gained meanwhile; None unless this pair was alone on them."""
        held = self._context.engine.pairs.get(pair.pair_id)
        if held is None or held.plan.expected.get("alone") != "True" or pair.foreign_long or pair.foreign_short:
            return None
        others = (r.record for r in self._context.engine.pairs.values() if r.record.pair_id != pair.pair_id)
        if any(other.created_at > pair.created_at for other in others):
            return None
        totals: dict[Leg, Decimal] = {}
        for leg in Leg:
            equity = await self._context.clients[pair.venue(leg)].get_total_asset_value()
            before = held.plan.expected.get(f"equity_{leg}")
            if equity is None or before is None:
                return None
            totals[leg] = equity - Decimal(before)
        return totals
