"""The engine: all pairs of one account over several venues, the event feeds they share, and the gates before anything is opened."""

import asyncio
import logging
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from database.ids import DurableIds
from database.journal import Journal
from database.records import DecisionRecord, Leg, PairRecord, PairState
from exchange_clients.errors import VenueError
from exchange_clients.model import ZERO, Fill, Gap, Instrument, OrderInfo
from exchange_clients.transport.runtime import Runtime

from . import recovery
from .journaling import AsyncJournal, Observer, nobody
from .pair import PairRunner
from .plan import PairPlan

if TYPE_CHECKING:
    from exchange_clients.base_client import BaseExchangeClient

log = logging.getLogger("strategies.execution")

RETRY_S = 1.0
MAX_RETRY_S = 10.0
CHECK_S = 30.0
SHUTDOWN_S = 5.0


class EntryRefused(Exception):
    """The plan is not executed; nothing was sent. `rule` names the gate."""

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(f"{rule}: {detail}")
        self.rule, self.detail = rule, detail


class ExecutionEngine:
    """Opens, holds and closes pairs. Start it before use: nothing is entered until every pair in the journal is proved (E10).

    `clients` by venue name, connected by the caller. One engine per journal: the journal's owner lock sees to that.
    """

    def __init__(
        self,
        journal: Journal,
        clients: Mapping[str, "BaseExchangeClient"],
        runtime: Runtime,
        *,
        strategy: str,
        account: str,
        observer: Observer = nobody,
        check_s: float = CHECK_S,
    ) -> None:
        self.strategy, self.account = strategy, account
        self.clients = dict(clients)
        self.clock = runtime.clock
        self.journal = AsyncJournal(journal, runtime.offload, observer)
        self.ids = DurableIds(journal, f"{strategy}:{account}")
        self.pairs: dict[str, PairRunner] = {}
        self.halted: str | None = None
        self._observer, self._check_s = observer, check_s
        self._unproved: dict[str, str] = {venue: "not reconciled since the start" for venue in clients}
        self._feeds: list[asyncio.Task[None]] = []
        self._stopping = False

    # ---- life

    async def start(self) -> None:
        """Follow the venues' events, take over unfinished pairs, and try once to prove each; what is not proved yet goes on being tried."""
        for venue in self.clients:
            self._feeds.append(asyncio.create_task(self._follow_fills(venue), name=f"fills:{venue}"))
            self._feeds.append(asyncio.create_task(self._follow_orders(venue), name=f"orders:{venue}"))
        for record in self.journal.sync.pairs(*(s for s in PairState if s is not PairState.CLOSED)):
            if record.strategy == self.strategy and record.account == self.account:
                runner = await self._runner(record, msgspec.json.decode(record.plan, type=PairPlan))
                recovery.load(runner, self.journal.sync)
                self._observer("recovery.begins", record.pair_id, state=record.state.value)
                self._run(runner)
        await self._prove()
        if self._unproved:
            self._feeds.append(asyncio.create_task(self._prove_until_done(), name="prove"))

    async def stop(self, grace_s: float = SHUTDOWN_S) -> dict[str, PairState]:
        """Take resting entries off, let running orders find their end for `grace_s`, then stop; the state each pair is left in (E35)."""
        self._stopping = True
        for runner in self.pairs.values():
            runner.wake()
        busy = [r for r in self.pairs.values() if r.recovered and r.state not in (PairState.HEDGED, PairState.CLOSED, PairState.ALERT)]
        if busy:
            try:
                async with asyncio.timeout(grace_s):
                    await asyncio.gather(*(r.until_rest() for r in busy))
            except TimeoutError:
                log.warning("engine.stopped_busy pairs=%s", [r.record.pair_id for r in busy])
        tasks = [*self._feeds, *(r.task for r in self.pairs.values() if r.task is not None)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._feeds.clear()
        return {pair_id: runner.state for pair_id, runner in self.pairs.items()}

    # ---- gates

    def entry_block(self, *venues: str) -> str | None:
        """Why nothing may be entered now on these venues (none given: all), or None."""
        if self._stopping:
            return "the engine is stopping"
        if self.halted is not None:
            return f"halted: {self.halted}"
        if self.journal.degraded:
            return "the journal cannot be written; records are in the fallback file"
        for venue in venues or self.clients:
            if venue in self._unproved:
                return f"{venue}: {self._unproved[venue]}"
        return None

    def halt(self, reason: str) -> None:
        """No entry from now on; exits go on (E42)."""
        self.halted = reason
        for runner in self.pairs.values():
            runner.wake()

    def resume(self) -> None:
        """The operator clears the halt."""
        self.halted = None

    # ---- pairs

    async def open(self, plan: PairPlan, decision: DecisionRecord) -> PairRecord:
        """Execute a plan; returns when the pair is hedged, or failed and flat (CLOSED), or in ALERT.

        Raises:
            EntryRefused: a gate is closed; nothing was sent.
            JournalError: the intent cannot be recorded; nothing was sent.
            VenueError: a venue could not be asked; nothing was sent.
        """
        runner = await self.begin(plan, decision)
        return await runner.until_rest()

    async def begin(self, plan: PairPlan, decision: DecisionRecord) -> PairRunner:
        """As `open`, without waiting for the end."""
        long, short = plan.long_instrument.rpartition(".")[2], plan.short_instrument.rpartition(".")[2]
        block = self.entry_block(long, short)
        if block is not None:
            raise EntryRefused("entry_block", block)
        if plan.worst_naked_usd > plan.limits.naked_cap_usd:
            raise EntryRefused("naked_cap_usd", f"one slice is worth {plan.worst_naked_usd:.2f}, the cap is {plan.limits.naked_cap_usd}")
        now_ns = self.clock.time_ns()
        record = PairRecord(
            pair_id=decision.pair_id or f"p{self.ids.next(now_ns)}",
            strategy=self.strategy,
            account=self.account,
            symbol=plan.symbol,
            state=PairState.PLANNED,
            long_venue=long,
            long_instrument=plan.long_instrument,
            short_venue=short,
            short_instrument=plan.short_instrument,
            first_leg=plan.first_leg,
            quantity=plan.quantity,
            foreign_long=(await self._foreign(long, plan.long_instrument, Leg.LONG)),
            foreign_short=(await self._foreign(short, plan.short_instrument, Leg.SHORT)),
            plan=msgspec.json.encode(plan).decode(),
            created_at=now_ns,
            updated_at=now_ns,
        )
        for other in self.pairs.values():
            if other.state is not PairState.CLOSED and self._touch(other.record, record):
                raise EntryRefused("one_pair_per_market", f"pair {other.record.pair_id} holds one of these markets")
        runner = await self._runner(record, plan)
        for trader in runner.legs.values():
            await trader.quote(reduce=False)
        self.pairs[record.pair_id] = runner
        try:
            await runner.begin(msgspec.structs.replace(decision, pair_id=record.pair_id))
        except BaseException:
            del self.pairs[record.pair_id]
            raise
        self._run(runner)
        return runner

    async def close(self, pair_id: str, reason: str, decision: DecisionRecord) -> PairRecord:
        """Close a pair whatever triggered it; a second request joins the first. The decision is durable before anything is sent (E19)."""
        runner = self.pairs[pair_id]
        await self.journal.write(decision, pair_id=pair_id, or_fallback=True)
        runner.close(reason)
        return await runner.until_rest()

    def new_pair_id(self) -> str:
        """For a decision that names the pair it opens."""
        return f"p{self.ids.next(self.clock.time_ns())}"

    async def _foreign(self, venue: str, symbol: str, leg: Leg) -> Decimal:
        """What the account holds there already and is not ours (E11). It must be proved, and must not work against the leg."""
        held = await self.clients[venue].get_position_snapshot(symbol)
        foreign = ZERO if held is None else held.quantity
        if foreign * leg.sign < 0:
            raise EntryRefused("foreign_position", f"the account holds {foreign} of {symbol}, against the {leg} leg")
        return foreign

    @staticmethod
    def _touch(a: PairRecord, b: PairRecord) -> bool:
        return bool({a.long_instrument, a.short_instrument} & {b.long_instrument, b.short_instrument})

    async def _runner(self, record: PairRecord, plan: PairPlan) -> PairRunner:
        instruments: dict[Leg, Instrument] = {}
        for leg in Leg:
            instruments[leg] = await self.clients[record.venue(leg)].instruments.load(record.instrument(leg))
        return PairRunner(
            record,
            plan,
            clients=self.clients,
            instruments=instruments,
            journal=self.journal,
            ids=self.ids,
            clock=self.clock,
            observer=self._observer,
            may_enter=lambda pair: self.entry_block(pair.long_venue, pair.short_venue),
            check_s=self._check_s,
        )

    def _run(self, runner: PairRunner) -> None:
        self.pairs[runner.record.pair_id] = runner
        runner.task = asyncio.create_task(runner.run(), name=f"pair:{runner.record.pair_id}")

    # ---- events and proof

    async def _follow_fills(self, venue: str) -> None:
        async for event in self.clients[venue].watch_fills():
            if isinstance(event, Gap):
                self._gap(venue, event)
                continue
            fill: Fill = event
            for runner in list(self.pairs.values()):
                await runner.take_fill(venue, fill)

    async def _follow_orders(self, venue: str) -> None:
        async for event in self.clients[venue].watch_orders():
            if isinstance(event, Gap):
                self._gap(venue, event)
                continue
            info: OrderInfo = event
            for runner in list(self.pairs.values()):
                runner.take_order(venue, info)

    def _gap(self, venue: str, gap: Gap) -> None:
        """Something may have been missed: no entry there until it is reconciled."""
        proving = bool(self._unproved)
        self._unproved[venue] = f"not reconciled since {gap.reason}"
        self._observer("venue.gap", "", venue=venue, reason=gap.reason)
        if not proving:
            self._feeds = [t for t in self._feeds if not t.done()]
            self._feeds.append(asyncio.create_task(self._prove_until_done(), name="prove"))

    async def _prove_until_done(self) -> None:
        pause = RETRY_S
        while self._unproved:
            await self.clock.sleep(pause)
            pause = min(pause * 2, MAX_RETRY_S)
            await self._prove()

    async def _prove(self) -> None:
        """Reconcile every pair on the venues that are not proved; a venue is free for entries once all its pairs agree."""
        waiting = dict(self._unproved)
        agreed = dict.fromkeys(waiting, True)
        for runner in list(self.pairs.values()):
            venues = {runner.record.long_venue, runner.record.short_venue} & set(waiting)
            if not venues or runner.state is PairState.CLOSED:
                continue
            good = await (runner.reconcile() if runner.recovered else recovery.recover(runner))
            for venue in venues:
                agreed[venue] &= good
        for venue, reason in waiting.items():
            try:
                await self.clients[venue].get_open_positions()
            except VenueError as e:
                log.warning("venue.unproved venue=%s error=%s", venue, e)
                continue
            if agreed[venue] and self._unproved.get(venue) == reason:
                del self._unproved[venue]
                self._observer("venue.proved", "", venue=venue)
