"""The cycle: scan, watch what is held, enter what passes every gate; every decision is written down before it is acted upon."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, ClassVar

from pydantic import BaseModel

from database.records import DecisionRecord, Leg, PairRecord, PairState
from exchange_clients.instruments import INSTRUMENTS_TOPIC
from exchange_clients.model import NS_PER_S, Instrument, InstrumentId
from exchange_clients.transport.loop_lag import WINDOW_S
from funding_rate_service.opportunity import FundingQuote, Scan, scan
from strategies.base_strategy import BaseStrategy, InvalidParameters, StrategyContext
from strategies.execution import ledger
from strategies.replay import Rejudged, Replayable

from . import recorder
from .books import Books
from .config import FundingArbitrageConfig
from .entering import Entering
from .entry import filters
from .holding import Holding
from .scanner import Scanner

log = logging.getLogger("strategies.funding_arbitrage")

REPEAT_S = WINDOW_S + 0.5
"""After a look that only a late loop kept from entering: until what was late has left the window."""
MOST_REPEATS = 3
"""In a row; a loop that is still late then waits for the next look."""


class FundingArbitrage(BaseStrategy[FundingArbitrageConfig], Replayable):
    """Two-leg funding arbitrage on the venues of the configuration."""

    config_class: ClassVar[type[BaseModel]] = FundingArbitrageConfig
    name: ClassVar[str] = "funding_arbitrage"

    def __init__(self, config: FundingArbitrageConfig, context: StrategyContext) -> None:
        super().__init__(config, context)
        if config.account_name is not None and config.account_name != context.account:
            raise InvalidParameters(f"account_name: {config.account_name}, but the bot runs on account {context.account}")
        self.scanner = Scanner({v: context.clients[v] for v in config.exchanges}, context.clock)
        self.last_scan = Scan((), ())
        self._quotes: list[FundingQuote] = []
        self._scanned_ns: int | None = None
        self._repeated = 0
        written = recorder.Repetitions()
        self._books = Books(self)
        self._entering = Entering(self, self.scanner, self._books, written)
        self._holding = Holding(self, self._books, self._entering, written)
        self._deaf: list[Callable[[], None]] = []

    @property
    def interval_s(self) -> float:
        """Shorter while an exit waits for its moment, and after a look that only a late loop kept from entering."""
        return min(self._scan_every_s, self.config.exit_poll_seconds) if self._holding.waiting else self._scan_every_s

    @property
    def _scan_every_s(self) -> float:
        usual = self.config.risk_config.check_interval_seconds
        return min(usual, REPEAT_S) if self._repeated else usual

    @property
    def results(self) -> dict[str, ledger.PairResult]:
        """Of pairs whose books are closed."""
        return self._books.results

    def result(
        self, pair: PairRecord, marks: dict[Leg, Decimal] | None = None, totals: dict[Leg, Decimal] | None = None
    ) -> ledger.PairResult:
        """The pair's result from the journal."""
        return self._books.result(pair, marks, totals)

    async def initialize(self) -> None:
        """Finish the books of pairs that closed while nobody looked, and hear of markets that change."""
        for venue in self.config.exchanges:
            hub = self.context.clients[venue].context.hub
            self._deaf.append(hub.listen(INSTRUMENTS_TOPIC, self._market_changed))
        await self._books.finish_unfinished()

    async def cleanup(self) -> None:
        while self._deaf:
            self._deaf.pop()()

    def _market_changed(self, event: object) -> None:
        """Status, interval or limits of a market that we hold are not what they were: look now, not at the next turn (PAINS 7, 28)."""
        if isinstance(event, Instrument) and event.id in self._held_markets():
            self._scanned_ns = None
            self.wake()

    async def run_cycle(self) -> None:
        """One look: at everything when that is due, else only at pairs whose exit waits."""
        waiting = {pair.pair_id for pair in self._holding.held()} & self._holding.waiting
        if waiting and not self._scan_is_due():
            await self._scan(frozenset(m for p in self._holding.held() if p.pair_id in waiting for m in _markets(p)), only_held=True)
            broken = await self._watch(waiting)
            await self._finish()
            _raise_first(broken)
            return
        self._scanned_ns = self.context.clock.time_ns()
        failed: list[Exception] = []
        try:
            await self._scan(self._held_markets())
        except Exception as e:  # exits need no scan (E18); nothing is entered then
            self._quotes, self.last_scan = [], Scan((), ())
            failed.append(e)
        failed += await self._watch(None)
        await self._finish()
        _raise_first(failed)
        await self._entering.enter(self.last_scan)
        self._repeated = self._repeated + 1 if self._entering.late and self._repeated < MOST_REPEATS else 0

    def _scan_is_due(self) -> bool:
        every_ns = int(self._scan_every_s * NS_PER_S)
        return self._scanned_ns is None or self.context.clock.time_ns() - self._scanned_ns >= every_ns

    async def _scan(self, held: frozenset[InstrumentId], *, only_held: bool = False) -> None:
        symbols = None if self.config.symbols is None else frozenset(self.config.symbols)
        self._quotes = await self.scanner.quotes(frozenset() if only_held else symbols, held)
        if not only_held:
            self.last_scan = scan(self._quotes, filters(self.config), now_ns=self.context.clock.time_ns())

    async def _watch(self, only: set[str] | None) -> list[Exception]:
        """All at once: neither a slow venue nor a failure of one pair holds up the exits of the others (E18). What failed is told."""
        by_id = {str(q.instrument): q for q in self._quotes}
        self._holding.begin_round()
        wanted = [pair for pair in self._holding.held() if only is None or pair.pair_id in only]
        ends = await asyncio.gather(*(self._holding.watch(p, by_id, self.last_scan) for p in wanted), return_exceptions=True)
        failed: list[Exception] = []
        for pair, end in zip(wanted, ends, strict=True):
            if isinstance(end, Exception):
                log.error("watch.failed pair=%s", pair.pair_id, exc_info=end)
                failed.append(end)
            elif end is not None:
                raise end
        return failed

    async def _finish(self) -> None:
        await self._books.finish_closed()
        for pair_id, runner in self.context.engine.pairs.items():
            if runner.state is PairState.CLOSED:
                self._holding.forget(pair_id)

    def _held_markets(self) -> frozenset[InstrumentId]:
        return frozenset(market for pair in self._holding.held() for market in _markets(pair))

    async def close(self, pair_id: str, why: str) -> PairRecord:
        """Leave a pair because somebody asked; returns when it has closed."""
        await self.begin_close(pair_id, why)
        record = await self.context.engine.pairs[pair_id].until_rest()
        await self._finish()
        return record

    @classmethod
    def rejudge(cls, decisions: Sequence[DecisionRecord], config: Any) -> list[Rejudged]:
        return recorder.rejudge(decisions, config)


def _raise_first(failed: Sequence[Exception]) -> None:
    """The cycle has failed, and is counted as such."""
    if failed:
        raise failed[0]


def _markets(pair: PairRecord) -> tuple[InstrumentId, ...]:
    return tuple(InstrumentId.parse(pair.instrument(leg)) for leg in Leg)
