"""The service: board, ranking, store and stream held together, with the tasks that keep them going.

Answers come from memory as long as they can; the database may be away, venues may be unreachable, a task may fail: what is left works on
and says what is missing.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from math import inf
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, TypeVarTuple

import msgspec

from database.apikeys import KeyTable
from database.database import Database
from database.errors import JournalError
from database.funding_store import FundingStore
from database.market_data import FoundOpportunity
from exchange_clients.model import NS_PER_S, InstrumentId
from exchange_clients.transport.offload import Offload
from exchange_clients.transport.runtime import Runtime
from funding_rate_service.api import render, shapes
from funding_rate_service.api.hub import StreamHub, Topic
from funding_rate_service.api.problems import busy
from funding_rate_service.api.text import iso, iso_or_none
from funding_rate_service.board import Board
from funding_rate_service.config import ServiceConfig
from funding_rate_service.histories import Markets, Pair, PairHistory, pair_histories
from funding_rate_service.opportunity import FundingQuote, Opportunity
from funding_rate_service.opportunity.query import Query, Ranked
from funding_rate_service.opportunity.ranker import Ranker
from funding_rate_service.tasks import Tasks, TaskStatus, told

if TYPE_CHECKING:
    from funding_rate_service.collector import Collector, Depths

log = logging.getLogger("funding_rate_service")

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

READ_S = 10.0
"""The longest that an answer waits for the database."""
MOST_READS = 256
"""Answers that wait for the database at once; who comes then is told to come later, so that a slow database fills no memory."""
OPPORTUNITIES_S = 5.0
STALE_S = 5.0
HEALTH_S = 5.0
RECORD_S = 60.0
"""Opportunities are written down so often."""
PERSISTENCE_S = 5.0
HISTORY_S = 600.0
"""The history of a shown pair is read so often; venues settle each hour at most."""
SHORT_HISTORY_S = 30.0
MOST_ENDED = 1_000
"""Markets that ended while a reader of the stream may still show them."""
DEFAULT = Query(limit=100)
"""What the stream shows and what is written down."""


class PositionsProvider(Protocol):
    """Whoever knows the bots."""

    async def positions(self) -> list[dict[str, Any]]:
        """Open pairs, and those closed lately."""
        ...

    async def pair(self, pair_id: str) -> dict[str, Any] | None:
        """One pair with its ledger and decisions."""
        ...


class Service:
    """Use as `async with service`; the tasks run inside the block."""

    def __init__(
        self,
        config: ServiceConfig,
        runtime: Runtime,
        database: Database,
        *,
        board: Board,
        ranker: Ranker,
        collector: Collector | None,
        depths: Depths | None,
        rng: random.Random,
        version: str,
        writes: bool | None = None,
        reads: Offload | None = None,
        positions: PositionsProvider | None = None,
    ) -> None:
        """`collector` None: somebody else feeds the board, or nobody. `depths` None: no order books.

        `writes`: whether this service keeps the database (rolls up, deletes what is old, writes opportunities down): if it collects, unless
        told otherwise. `reads`: workers of their own for answers that need the database, so that slow ones never keep the collection from
        writing.
        """
        self.config, self.runtime, self.clock = config, runtime, runtime.clock
        self.database = database
        self.store, self.keys, self.board, self.ranker = FundingStore(database), KeyTable(database), board, ranker
        self.collector, self.depths, self.positions, self.version = collector, depths, positions, version
        self.fees = config.fees()
        self._writes = collector is not None if writes is None else writes
        self.boot = secrets.token_hex(4)
        self.renderer = render.Renderer(board.is_fresh)
        self.hub = StreamHub(self._render, self._snapshot, lambda: iso(self.now_ns()))
        self.tasks = Tasks(self.clock, rng)
        self.histories: dict[Pair, PairHistory] = {}
        """Of the pairs that are shown."""
        self._read_at: dict[Pair, float] = {}
        self.markets = Markets(self.store, self.clock.monotonic)
        self._reads = reads or runtime.offload
        self._reading = 0
        self._shown: tuple[Opportunity, ...] = ()
        self.shown_total = 0
        """Pairs that pass the default filters."""
        self._ended: dict[InstrumentId, FundingQuote] = {}
        self._changed = asyncio.Event()
        self._started_ns = 0
        self._database = shapes.DatabaseHealth(
            status="waiting",
            url=database.shown,
            checked_at=None,
            rows=None,
            bytes=None,
            first_sample_at=None,
            last_sample_at=None,
            error=None,
        )
        self._open = AsyncExitStack()

    def now_ns(self) -> int:
        """UTC."""
        return self.clock.time_ns()

    # ---- life

    async def __aenter__(self) -> Service:
        self._started_ns = self.now_ns()
        async with AsyncExitStack() as stack:
            stack.callback(self.board.subscribe(self._on_board))
            await self._restore()
            self._add_tasks()
            await stack.enter_async_context(self.tasks)
            self._open = stack.pop_all()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._open.aclose()

    async def _restore(self) -> None:
        """What the last life knew, at its true age; without a database the service begins with nothing."""
        if self.collector is not None:
            try:
                await self.collector.restore()
            except (JournalError, TimeoutError) as e:
                log.warning("service.not_restored error=%s", told(e))
        self._take(self.board.quotes(fresh_only=False))

    def _add_tasks(self) -> None:
        if self.collector is not None:
            self.tasks.always("collection", self.collector.run)
        self.tasks.always("stream", self.hub.run)
        self.tasks.always("opportunities", self._opportunities)
        self.tasks.every("stale-marking", STALE_S, self._mark_stale)
        self.tasks.every("health", HEALTH_S, self._look, deadline_s=READ_S + 5)
        self.tasks.every("figures", 300, self._count, deadline_s=120)
        self.tasks.every("persistence", PERSISTENCE_S, self._persistence, deadline_s=120)
        if self._writes:
            self.tasks.every("record", RECORD_S, self._record, deadline_s=30)
            self.tasks.every("roll-up", 3600, self._roll_up, deadline_s=600)
            self.tasks.every("retention", 3600, self._retain, deadline_s=600)

    # ---- rates

    def _on_board(self, venue: str, changed: Sequence[FundingQuote]) -> None:
        self._take(changed)
        self._changed.set()

    def _take(self, quotes: Iterable[FundingQuote]) -> None:
        """New quotes, and those that are stale or ended from now on: the latter leave the ranking and are shown as what they are."""
        now_ns = self.now_ns()
        fresh: list[FundingQuote] = []
        gone: list[FundingQuote] = []
        for quote in quotes:
            (fresh if self.board.is_fresh(quote, now_ns) else gone).append(quote)
        self.ranker.update(fresh)
        self.ranker.discard([quote.instrument for quote in gone])
        for quote in gone:
            if self.board.quote(quote.instrument) is None:
                self._ended[quote.instrument] = quote
        while len(self._ended) > MOST_ENDED:
            self._ended.pop(next(iter(self._ended)))
        self.hub.rates_changed([quote.instrument for quote in (*fresh, *gone)])

    async def _mark_stale(self) -> None:
        """Time alone makes rates stale, also when nobody collects any more."""
        self.board.sweep()

    def _render(self, instruments: Iterable[InstrumentId]) -> Mapping[InstrumentId, bytes]:
        now_ns = self.now_ns()
        quotes = ((instrument, self.board.quote(instrument) or self._ended.get(instrument)) for instrument in instruments)
        return {instrument: self.renderer.rate(quote, now_ns) for instrument, quote in quotes if quote is not None}

    # ---- opportunities

    def ranked(self, query: Query) -> Ranked:
        """The pairs that pass, as things stand."""
        return self.ranker.query(query, self.now_ns())

    async def _opportunities(self) -> None:
        """Rank again when something changed, at most once a second, and each five seconds anyway: settlements come nearer."""
        while True:
            ranked = self.ranked(DEFAULT)
            if ranked.opportunities != self._shown:
                self._shown, self.shown_total = ranked.opportunities, ranked.total
                self.hub.publish(Topic.OPPORTUNITIES, self.opportunities_message(ranked))
            await asyncio.sleep(1)
            try:
                async with asyncio.timeout(OPPORTUNITIES_S - 1):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()

    def opportunities_message(self, ranked: Ranked) -> bytes:
        """The stream's message."""
        return b'{"type":"opportunities",' + self._opportunities_body(ranked)[1:]

    def _opportunities_body(self, ranked: Ranked) -> bytes:
        now_ns = self.now_ns()
        answer = render.opportunities_head(ranked, DEFAULT, now_ns)
        return render.filled(answer, self.renderer.opportunities(ranked.opportunities, self.histories, now_ns))

    async def _persistence(self) -> None:
        """Histories of the pairs that are shown: of new ones at once, of all after a while; those of others are forgotten."""
        now_s = self.clock.monotonic()
        shown = [(o.long.instrument, o.short.instrument) for o in self.ranked(DEFAULT).opportunities]
        due = [pair for pair in shown if now_s - self._read_at.get(pair, -inf) >= self._history_life_s(pair)]
        if not due:
            return
        found = await self._reads.run(pair_histories, self.store, due, self.now_ns(), deadline_s=100)
        self._read_at = {pair: self._read_at.get(pair, now_s) for pair in shown} | dict.fromkeys(due, now_s)
        self.histories = {pair: history for pair, history in {**self.histories, **found}.items() if pair in self._read_at}
        self._shown = ()  # tell the stream's readers
        self._changed.set()

    def _history_life_s(self, pair: Pair) -> float:
        """What is too short to tell anything may just be on its way into the store."""
        known = self.histories.get(pair)
        return HISTORY_S if known is not None and known.statistics is not None else SHORT_HISTORY_S

    async def _record(self) -> None:
        """Write down what is shown, for those who ask later what there was."""
        now_ns = self.now_ns()
        rows = [
            FoundOpportunity(
                ts=now_ns,
                symbol=o.symbol,
                long_instrument=str(o.long.instrument),
                short_instrument=str(o.short.instrument),
                hourly=o.edge.hourly,
                net=o.edge.horizon.net,
                costs=o.edge.costs.total,
                horizon_hours=o.edge.horizon.hours,
                break_even_hours=o.edge.break_even_hours,
            )
            for o in self.ranked(DEFAULT).opportunities
        ]
        if rows:
            await self.runtime.offload.run(self.store.add_opportunities, rows)

    async def _roll_up(self) -> None:
        await self.runtime.offload.run(self.store.roll_up, self.now_ns(), deadline_s=500)

    async def _retain(self) -> None:
        kept = self.config.retention
        await self.runtime.offload.run(
            partial(
                self.store.retain,
                self.now_ns(),
                raw_days=kept.raw_days,
                opportunity_days=kept.opportunity_days,
                log_days=kept.log_days,
            ),
            deadline_s=500,
        )

    # ---- the database

    async def read(self, fn: Callable[[*Ts], T], *args: *Ts) -> T:
        """What a blocking reader answers, within the deadline and among few.

        Raises:
            TimeoutError, JournalError: told as 503.
            Problem: too many wait already.
        """
        if self._reading >= MOST_READS:
            raise busy("the database has enough to do", 1)
        self._reading += 1
        try:
            return await self._reads.run(fn, *args, deadline_s=READ_S)
        finally:
            self._reading -= 1

    async def work(self, fn: Callable[[], T]) -> T:
        """What takes a while without waiting for anything, away from the loop."""
        return await self._reads.run(fn, deadline_s=READ_S)

    async def _look(self) -> None:
        """Ask the database whether it answers; tell the readers of the stream how everything is."""
        error: str | None = None
        try:
            await self._reads.run(self.store.collections, None, 1, deadline_s=READ_S)
        except (JournalError, TimeoutError) as e:
            error = told(e)
        self._database = msgspec.structs.replace(
            self._database, status="ok" if error is None else "down", error=error, checked_at=iso(self.now_ns())
        )
        self.hub.publish(Topic.HEALTH, b'{"type":"health",' + render.encode(self.health())[1:])
        self.hub.heartbeat()

    async def _count(self) -> None:
        """How much the store holds; counting takes a while where it is much."""
        figures = await self._reads.run(self.store.figures, deadline_s=100)
        samples = next((f for f in figures if f.table == "funding_rates"), None)
        sizes = [f.bytes for f in figures if f.bytes is not None]
        self._database = msgspec.structs.replace(
            self._database,
            rows=sum(f.rows for f in figures),
            bytes=sum(sizes) if sizes else None,
            first_sample_at=iso_or_none(samples.first if samples else None),
            last_sample_at=iso_or_none(samples.last if samples else None),
        )

    def task_status(self) -> list[TaskStatus]:
        """Our own tasks and those of the collector."""
        return [*self.tasks.status(), *(self.collector.status().tasks if self.collector is not None else ())]

    def database_health(self) -> shapes.DatabaseHealth:
        """As last looked at."""
        return self._database

    # ---- health

    def dexes(self) -> list[shapes.Dex]:
        """Every venue as the collector sees it."""
        now_ns = self.now_ns()
        return [render.dex_shape(name, health, self.board.stale_after_s(name), now_ns) for name, health in self.board.venues().items()]

    @property
    def ready(self) -> bool:
        """There is a fresh rate to show."""
        return bool(self.board.quotes(fresh_only=True))

    def health(self) -> shapes.Health:
        """The service as a whole."""
        dexes, failing = self.dexes(), [task.name for task in self.task_status() if task.consecutive_failures]
        good = all(d.state is shapes.State.OK for d in dexes) and not failing and self._database.status == "ok"
        return shapes.Health(
            status=shapes.Overall.DOWN if not self.ready else shapes.Overall.OK if good else shapes.Overall.DEGRADED,
            generated_at=iso(self.now_ns()),
            version=self.version,
            uptime_s=round((self.now_ns() - self._started_ns) / NS_PER_S, 1),
            ready=self.ready,
            database=self._database.status,
            subscribers=len(self.hub),
            failing_tasks=failing,
            dexes=dexes,
        )

    def _snapshot(self, topics: frozenset[Topic]) -> bytes:
        now_ns = self.now_ns()
        parts = [render.encode({"type": "snapshot", "generated_at": iso(now_ns), "stale_after_s": self.stale_after_s()})[:-1]]
        if Topic.RATES in topics:
            parts.append(b'"rates":[%s]' % b",".join(self.renderer.rates(self.board.quotes(fresh_only=False), now_ns)))
        if Topic.OPPORTUNITIES in topics:
            parts.append(b'"opportunities":[%s]' % b",".join(self.renderer.opportunities(self._shown, self.histories, now_ns)))
        if Topic.HEALTH in topics:
            parts.append(b'"health":%s' % render.encode(self.health()))
        return b",".join(parts) + b"}"

    def stale_after_s(self, dex: str | None = None) -> float:
        """The age limit of a venue's rates; without one, the longest there is."""
        if dex is not None:
            return self.board.stale_after_s(dex)
        return max((self.board.stale_after_s(name) for name in self.board.names), default=0.0)
