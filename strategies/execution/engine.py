"""The engine: all pairs of one account over several venues, and the gates before anything is opened."""

import asyncio
import logging
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from database.errors import JournalError
from database.journal import Journal
from database.records import DecisionRecord, Leg, PairRecord, PairState
from exchange_clients.model import Fill, Instrument, OrderInfo, Purpose, Side
from exchange_clients.transport.runtime import Runtime

from . import recovery
from .feeds import Feeds
from .guard import NO_GUARD, Guard, OrderCheck
from .journaling import AsyncJournal, Observer, guarded, nobody
from .market import SharedMarket
from .ownership import Ownership
from .pair import PairRunner
from .plan import PairPlan, recall
from .together import together

if TYPE_CHECKING:
    from exchange_clients.base_client import BaseExchangeClient

log = logging.getLogger("strategies.execution")

CHECK_S = 30.0
KEEP_CLOSED = 100
SHUTDOWN_S = 5.0


class EntryRefused(Exception):
    """The plan is not executed; nothing was sent. `rule` names the gate."""

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(f"{rule}: {detail}")
        self.rule, self.detail = rule, detail


class ExecutionEngine:
    """Opens, holds and closes pairs. Start it before use: nothing is entered until every pair in the journal is proved (E10).

    `clients` by venue name, connected by the caller as far as they answer; one that connects later tells a gap.
    `ownership` is shared by everybody who trades over the same journal; `guard` is asked
    before anything is entered, never about what reduces.
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
        guard: Guard = NO_GUARD,
        ownership: Ownership | None = None,
    ) -> None:
        self.strategy, self.account = strategy, account
        self.guard = guard
        self.ownership = Ownership(journal) if ownership is None else ownership
        self.clients = dict(clients)
        self.clock = runtime.clock
        self.journal = AsyncJournal(journal, runtime.offload, observer)
        self.ids = self.ownership.ids
        self.pairs: dict[str, PairRunner] = {}
        self.halted: str | None = None
        self.barred: Mapping[str, str] = {}
        """Venue -> why nothing may be entered there, as long as whoever connects the clients says so."""
        self._observer, self._check_s = guarded(observer), check_s
        self.feeds = Feeds(
            self.clients,
            self.clock,
            name="engine",
            take_fill=self._take_fill,
            take_order=self._take_order,
            reconcile=self._reconcile,
            observer=self._observer,
        )
        self._entering = asyncio.Lock()
        self._stopping = False

    # ---- life

    async def start(self) -> None:
        """Follow the venues' events, take over unfinished pairs, and try once to prove each; what is not proved yet goes on being tried."""
        self.feeds.start()
        for record in self.journal.sync.pairs(*(s for s in PairState if s is not PairState.CLOSED)):
            if record.strategy == self.strategy and record.account == self.account:
                plan = msgspec.json.decode(record.plan, type=PairPlan)
                listings = {leg: await recall(plan, leg, self.clients[record.venue(leg)]) for leg in Leg}
                markets = {leg: self._market(record.venue(leg), listing) for leg, listing in listings.items()}
                runner = self._runner(record, plan, markets)
                recovery.load(runner, self.journal.sync)
                self._observer("recovery.begins", record.pair_id, state=record.state.value)
                self._run(runner)
        await self.feeds.prove()
        self.feeds.go_on()

    async def stop(self, grace_s: float = SHUTDOWN_S) -> dict[str, PairState]:
        """Take resting entries off, let running orders find their end for `grace_s`, then stop; the state each pair is left in (E35)."""
        self._stopping = True
        for runner in self.pairs.values():
            runner.wake()
        busy = [r for r in self.pairs.values() if r.recovered and r.state not in (PairState.HEDGED, PairState.CLOSED, PairState.ALERT)]
        if busy:
            try:
                async with asyncio.timeout(grace_s):
                    await asyncio.gather(*(r.until_rest() for r in busy), return_exceptions=True)
            except TimeoutError:
                log.warning("engine.stopped_busy pairs=%s", [r.record.pair_id for r in busy])
        tasks = [r.task for r in self.pairs.values() if r.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(self.feeds.stop(), *tasks, return_exceptions=True)
        await self.journal.close()
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
            if venue in self.barred:
                return f"{venue}: {self.barred[venue]}"
            if venue in self.feeds.unproved:
                return f"{venue}: {self.feeds.unproved[venue]}"
            if self.ownership.paused(self.account, venue):
                return f"{venue}: the venue is paused and takes no orders"
        return self.guard.entry_block(*venues)

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
        async with self._entering:
            record, runner = await self._admit(plan, decision)
            self._forget_closed()
            self.pairs[record.pair_id] = runner
            try:
                await runner.begin(msgspec.structs.replace(decision, pair_id=record.pair_id))
            except BaseException:
                self.pairs.pop(record.pair_id).leave()
                raise
            self._run(runner)
            return runner

    async def _admit(self, plan: PairPlan, decision: DecisionRecord) -> tuple[PairRecord, PairRunner]:
        """Every gate of the engine itself; nothing is recorded or sent."""
        long, short = plan.long_instrument.rpartition(".")[2], plan.short_instrument.rpartition(".")[2]
        block = self.entry_block(long, short)
        if block is not None:
            raise EntryRefused("entry_block", block)
        if plan.long_instrument == plan.short_instrument:
            raise EntryRefused("market", f"{plan.long_instrument} cannot hedge itself: the venue nets both legs to nothing")
        if plan.worst_naked_usd > plan.limits.naked_cap_usd:
            raise EntryRefused("naked_cap_usd", f"one slice is worth {plan.worst_naked_usd:.2f}, the cap is {plan.limits.naked_cap_usd}")
        listings = {
            Leg.LONG: await self.clients[long].instruments.load(plan.long_instrument),
            Leg.SHORT: await self.clients[short].instruments.load(plan.short_instrument),
        }
        for listing in listings.values():
            if listing.id.inverse:
                raise EntryRefused("inverse", f"{listing.id} is inverse: its quantity is in quote currency and hedges no base units")
        markets = {leg: self._market(long if leg is Leg.LONG else short, listing) for leg, listing in listings.items()}
        pair_id = decision.pair_id or self.new_pair_id()
        self._check_direction(pair_id, markets)
        for market in markets.values():
            if not await market.prove():
                raise EntryRefused("unproved_position", f"{market.instrument.id} shows a position that our records do not explain yet")
        prices = {leg: await self._mid(market) for leg, market in markets.items()}
        worst = plan.slice_quantity * max(prices.values())
        if worst > plan.limits.naked_cap_usd:
            raise EntryRefused("naked_cap_usd", f"one slice is worth {worst:.2f}, the cap is {plan.limits.naked_cap_usd}")
        plan = msgspec.structs.replace(plan, listings=listings, prices=prices, worst_naked_usd=worst)
        block = await self.guard.admit(*(self._whole(plan, leg, market, pair_id) for leg, market in markets.items()))
        if block is not None:
            raise EntryRefused("guard", block)
        self._check_direction(pair_id, markets)
        now_ns = self.clock.time_ns()
        record = PairRecord(
            pair_id=pair_id,
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
            foreign_long=markets[Leg.LONG].foreign,
            foreign_short=markets[Leg.SHORT].foreign,
            plan=msgspec.json.encode(plan).decode(),
            created_at=now_ns,
            updated_at=now_ns,
        )
        return record, self._runner(record, plan, markets)

    def _whole(self, plan: PairPlan, leg: Leg, market: SharedMarket, owner: str) -> OrderCheck:
        return OrderCheck(
            venue=market.instrument.id.venue,
            instrument=market.instrument,
            side=Side.BUY if leg is Leg.LONG else Side.SELL,
            quantity=plan.quantity,
            price=plan.prices[leg],
            reduce_only=False,
            purpose=Purpose.ENTRY if leg is plan.first_leg else Purpose.HEDGE,
            owner=owner,
        )

    def _market(self, venue: str, listing: Instrument) -> SharedMarket:
        return self.ownership.market(self.account, self.clients[venue], listing, journal=self.journal, clock=self.clock)

    def _check_direction(self, owner: str, markets: Mapping[Leg, SharedMarket]) -> None:
        """Nobody else, foreign or ours, stands against a leg: reduce-only orders of the two would get in each other's way (E11)."""
        for leg, market in markets.items():
            conflict = market.conflict(owner, leg.sign)
            if conflict is not None:
                raise EntryRefused("foreign_position" if market.foreign * leg.sign < 0 else "opposite_direction", conflict)

    async def _mid(self, market: SharedMarket) -> Decimal:
        bid, ask = await market.client.fetch_bbo_prices(market.instrument.contract_id)
        market.last_price = (bid + ask) / 2
        return market.last_price

    def _forget_closed(self) -> None:
        """Closed pairs are kept for late fills and readers, the oldest not for ever."""
        closed = [pair_id for pair_id, runner in self.pairs.items() if runner.state is PairState.CLOSED]
        for pair_id in closed[:-KEEP_CLOSED]:
            self.pairs.pop(pair_id).leave()

    async def close(self, pair_id: str, reason: str, decision: DecisionRecord, *, patient: bool = False) -> PairRecord:
        """Close a pair whatever triggered it; a second request joins the first. The decision is durable before anything is sent (E19)."""
        return await (await self.begin_close(pair_id, reason, decision, patient=patient)).until_rest()

    async def begin_close(self, pair_id: str, reason: str, decision: DecisionRecord, *, patient: bool = False) -> PairRunner:
        """As `close`, without waiting for the end. `patient`: nothing presses, the plan's `exit_tactics` may let the first leg rest."""
        runner = self.pairs[pair_id]
        await self._decided(pair_id, decision)
        runner.close(reason, patient=patient)
        await runner.remember_close(reason)
        return runner

    async def begin_shrink(self, pair_id: str, quantity: Decimal, reason: str, decision: DecisionRecord) -> PairRunner:
        """Reduce both legs of a hedged pair by a quantity, slice by slice and in lock-step; `until_rest` tells when it is hedged again.

        The quantity is rounded up to what both venues trade. A close asked for meanwhile takes over; a crash does not stop it.

        Raises:
            ValueError: the pair is not hedged and at rest, or too little would be left to hold: close it instead.
        """
        runner = self.pairs[pair_id]
        runner.keep_after(quantity)
        await self._decided(pair_id, decision)
        runner.shrink(runner.keep_after(quantity), reason)
        return runner

    async def _decided(self, pair_id: str, decision: DecisionRecord) -> None:
        """On record before it is acted upon; what only reduces is never held up by the disk."""
        try:
            await self.journal.write(decision, pair_id=pair_id, or_fallback=True)
        except JournalError as e:
            log.error("journal.lost pair=%s decision=%s error=%s", pair_id, decision.rule, e)

    async def resume_pair(self, pair_id: str) -> PairRecord:
        """The operator has looked at a pair in ALERT: prove it again, then repair by reducing only; returns where it came to rest."""
        runner = self.pairs[pair_id]
        for trader in runner.legs.values():
            await trader.reconcile()
        await runner.resume()
        return await runner.until_rest()

    def new_pair_id(self) -> str:
        """For a decision that names the pair it opens."""
        return f"p{self.ids.next(self.clock.time_ns())}"

    def _runner(self, record: PairRecord, plan: PairPlan, markets: Mapping[Leg, SharedMarket]) -> PairRunner:
        return PairRunner(
            record,
            plan,
            markets=markets,
            journal=self.journal,
            ids=self.ids,
            clock=self.clock,
            observer=self._observer,
            guard=self.guard,
            may_enter=lambda pair: self.entry_block(pair.long_venue, pair.short_venue),
            check_s=self._check_s,
        )

    def _run(self, runner: PairRunner) -> None:
        self.pairs[runner.record.pair_id] = runner
        runner.task = asyncio.create_task(runner.run(), name=f"pair:{runner.record.pair_id}")

    # ---- events and proof

    async def _take_fill(self, fill: Fill) -> None:
        await self.ownership.take_fill(self.account, fill)

    def _take_order(self, venue: str, order: OrderInfo) -> None:
        for runner in list(self.pairs.values()):
            runner.take_order(venue, order)

    @staticmethod
    async def _prove_one(runner: PairRunner) -> frozenset[Leg]:
        """The legs that are proved. A bug that one pair meets holds up no other one."""
        try:
            return await (runner.reconciled() if runner.recovered and not runner.away else recovery.recover(runner))
        except Exception:
            log.exception("prove.failed pair=%s", runner.record.pair_id)
            return frozenset()

    async def _reconcile(self, venues: frozenset[str]) -> set[str]:
        """Reconcile every pair with a leg on one of these venues; returns the venues of all legs that are not proved."""
        pairs = [r for r in self.pairs.values() if r.state is not PairState.CLOSED]
        concerned = [r for r in pairs if {r.record.long_venue, r.record.short_venue} & venues]
        proved = await together(*(self._prove_one(runner) for runner in concerned))
        return {runner.record.venue(leg) for runner, legs in zip(concerned, proved, strict=True) for leg in Leg if leg not in legs}
