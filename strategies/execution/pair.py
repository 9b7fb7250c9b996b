"""One pair from plan to close: asks the rules what to do, does it, and writes down where it stands."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import msgspec

from database.errors import JournalError
from database.ids import DurableIds
from database.records import DecisionRecord, Leg, PairRecord, PairState
from exchange_clients.errors import VenueError
from exchange_clients.model import OrderInfo, Purpose
from exchange_clients.transport.clock import Clock

from .decide import Cancel, Move, PairView, Pause, Send, Step, decide
from .guard import Guard
from .journaling import AsyncJournal, Observer
from .leg import LegTrader
from .lots import common_step, tradable
from .market import SharedMarket
from .plan import PairPlan, Tactic, ceil_to, smallest
from .pricing import Quote, worst_hedge, worst_lead
from .states import ACTIVE, check
from .together import together

log = logging.getLogger("strategies.execution")

ENDED = frozenset({PairState.CLOSED, PairState.ALERT})
RESTING = frozenset({PairState.HEDGED, *ENDED})
PROBE_S = 1.0
ALERT_LOOK_S = 5.0
RESUME_S = 10.0
PRICE_LOOK_S = 1.0


class PairRunner:
    """Single flight: one task drives a pair, whoever asks for what (E19)."""

    def __init__(
        self,
        record: PairRecord,
        plan: PairPlan,
        *,
        markets: Mapping[Leg, SharedMarket],
        journal: AsyncJournal,
        ids: DurableIds,
        clock: Clock,
        observer: Observer,
        guard: Guard,
        may_enter: Callable[[PairRecord], str | None],
        check_s: float,
    ) -> None:
        self.record, self.plan = record, plan
        self._journal, self._clock, self._observer = journal, clock, observer
        self._may_enter, self._check_s = may_enter, check_s
        self._changed = asyncio.Event()
        self._moved = asyncio.Event()
        self._saving, self._resuming = asyncio.Lock(), asyncio.Lock()
        self.legs = {
            leg: LegTrader(
                record,
                leg,
                markets[leg],
                journal=journal,
                ids=ids,
                clock=clock,
                limits=plan.limits,
                observer=observer,
                guard=guard,
                on_change=self._share_changed,
                entry_block=self._entry_block,
            )
            for leg in Leg
        }
        self._closed_with: dict[Leg, Decimal] = {}
        self._tasks: dict[Leg, asyncio.Task[None]] = {}
        self._checking: asyncio.Task[bool] | None = None
        self._orders_sent = 0
        self._open_since_s: float | None = None
        self._opening_since_s: float | None = None
        self._unproved_since_s: float | None = None
        self._next_probe_s = 0.0
        self._close_reason = plan.closing
        self._patient = False
        self._shrink: tuple[Decimal, str] | None = None
        self._hedge_quote: Quote | None = None
        self._mispriced = False
        self._next_price_s = 0.0
        self.recovered = True
        self.away: frozenset[Leg] = frozenset()
        """Legs taken over by the journal alone, because their venue did not answer since; see `recovery.recover`."""
        self.task: asyncio.Task[None] | None = None

    # ---- for others

    @property
    def state(self) -> PairState:
        """Where the pair stands."""
        return self.record.state

    async def until_rest(self) -> PairRecord:
        """The pair's record once it is hedged with nothing asked of it, closed, or in alert."""
        while not (self.recovered and self.state in RESTING and (self.state in ENDED or not self._wanted)):
            self._moved.clear()
            if self.task is not None and self.task.done():
                self.task.result()
                break
            await self._moved.wait()
        return self.record

    async def resume(self) -> None:
        """A human has looked at the alert: work goes on where reducing can help, with fresh budgets.

        Raises:
            ValueError: the pair is not in ALERT, or an order's outcome is still unknown.
        """
        async with self._resuming:
            if self.task is None or self.task.done():
                for trader in self.legs.values():
                    await trader.settle_within(RESUME_S)
            elif not self._busy:
                await asyncio.wait({self.task}, timeout=RESUME_S)  # it is about to end, or goes on by itself: never two of them
            if self.state is not PairState.ALERT or self._busy or not (self.task is None or self.task.done()):
                raise ValueError(f"pair {self.record.pair_id} is {self.state} and cannot be resumed now")
            self._fresh_budget()
            self._unproved_since_s = None
            await self.move(Move(PairState.REPAIRING, "resumed by the operator"))
            self.task = asyncio.create_task(self.run(), name=f"pair:{self.record.pair_id}")

    @property
    def _wanted(self) -> bool:
        """Something was decided about the pair and is not done yet."""
        return self._close_reason is not None or self._shrink is not None

    def close(self, reason: str, *, patient: bool = False) -> None:
        """Ask for the end of the pair; asking twice is asking once, and haste wins. The decision must be journaled before.

        A patient exit lets the leg that leads rest on the book as the plan's `exit_tactics` say.
        """
        if self.state is PairState.CLOSED:
            return
        self._patient = patient and (self._close_reason is None or self._patient)
        if not self._patient:
            for trader in self.legs.values():
                trader.hurry()
        self._close_reason = self._close_reason or reason
        self._changed.set()

    async def remember_close(self, reason: str) -> None:
        """On disk that the end is asked for, where the state does not say so at once: whoever takes over after a crash goes on with it."""
        if self.state in (PairState.OPENING, PairState.REPAIRING, PairState.ALERT) and self.plan.closing is None:
            self.plan = msgspec.structs.replace(self.plan, closing=reason)
            await self._save()

    def keep_after(self, quantity: Decimal) -> Decimal:
        """What both legs hold once they are reduced by a quantity, rounded up to what both venues trade.

        Raises:
            ValueError: the pair is not at rest, or what was left could not be held: then it should be closed.
        """
        if self.state is not PairState.HEDGED or self._wanted or not self.recovered:
            raise ValueError(f"pair {self.record.pair_id} is {self.state} and cannot be reduced now")
        long, short = (trader.view() for trader in self.legs.values())
        step = common_step(long.instrument.step_size, short.instrument.step_size)
        least = max(smallest(side.instrument, side.price) for side in (long, short))
        keep = min(long.own, short.own) - ceil_to(max(quantity, least), step)
        if quantity <= 0 or not all(tradable(side.instrument, keep, side.price) for side in (long, short)):
            raise ValueError(f"reducing pair {self.record.pair_id} by {quantity} would leave {keep}, which cannot be held: close it")
        return keep

    def shrink(self, keep: Decimal, reason: str) -> None:
        """Ask for both legs to be reduced to `keep`, in lock-step. The decision must be journaled before."""
        self._shrink = (keep, reason)
        self._changed.set()

    def tell(self, event: str, **facts: object) -> None:
        """Tell the observer."""
        self._observer(event, self.record.pair_id, **facts)

    def wake(self) -> None:
        """Look again: something that the rules depend on has changed."""
        self._changed.set()

    def _share_changed(self) -> None:
        """Fills or orders of a leg came in. After the proved end they are booked and cried out: they cannot be traded away."""
        self._changed.set()
        if self.state is PairState.CLOSED:
            for trader in self.legs.values():
                if trader.own != self._closed_with[trader.leg]:
                    self._closed_with[trader.leg] = trader.own
                    log.error("fill.after_close pair=%s venue=%s own=%s", self.record.pair_id, trader.venue, trader.own)
                    trader.say("fill.after_close", own=trader.own)

    def take_order(self, venue: str, info: OrderInfo) -> None:
        """An order changed on a venue of this pair."""
        for trader in self.legs.values():
            if trader.venue == venue and info.client_order_id in trader.intents:
                trader.wake()

    def view(self) -> PairView:
        """What is proved, for the rules."""
        now = self._clock.monotonic()
        view = PairView(
            state=self.state,
            long=self.legs[Leg.LONG].view(),
            short=self.legs[Leg.SHORT].view(),
            first_leg=self.plan.first_leg,
            target=self.plan.quantity,
            slice_quantity=self.plan.slice_quantity,
            tactics=len(self.plan.tactics),
            limits=self.plan.limits,
            orders_sent=self._orders_sent - sum(trader.excused for trader in self.legs.values()),
            opening_s=0.0 if self._opening_since_s is None else now - self._opening_since_s,
            may_enter=self._entry_block() is None,
            opened=self.record.opened_at is not None,
            mispriced=self._mispriced,
            keep=self.plan.keep if self._close_reason is None else None,
            changed=any(trader.share.changed for trader in self.legs.values()),
        )
        if view.balanced:
            self._open_since_s = None
        elif self._open_since_s is None:
            self._open_since_s = now
        return replace(view, open_delta_s=0.0 if self._open_since_s is None else now - self._open_since_s)

    def _entry_block(self) -> str | None:
        """Why nothing may be added on purpose now."""
        return "a close is asked for" if self._close_reason is not None else self._may_enter(self.record)

    # ---- the task

    async def run(self) -> None:
        """Drive the pair until it is closed or needs a human; between, watch that it stays hedged."""
        try:
            while self.state is not PairState.CLOSED:
                self._changed.clear()
                if not self.recovered:
                    await self._wait(PROBE_S)
                elif self.state is not PairState.ALERT:
                    await self._turn()
                elif self._busy:
                    await self._watch_alert()
                else:
                    break
        except Exception:
            log.exception("pair.failed pair=%s", self.record.pair_id)
            await self._fail()
        finally:
            tasks: list[asyncio.Task[Any]] = [*self._tasks.values(), *([] if self._checking is None else [self._checking])]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._moved.set()

    async def _fail(self) -> None:
        """A bug: nothing more is sent, and what adds comes off the book, because nobody would hedge its fills."""
        for leg, task in self._tasks.items():
            trader = self.legs[leg]
            if trader.active is None:
                task.cancel()
            elif not trader.active.intent.reduce_only:
                trader.cancel()
        if self.state is not PairState.CLOSED:
            await self.move(Move(PairState.ALERT, "the engine failed on this pair; see the log"))
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=RESUME_S)

    @property
    def _busy(self) -> bool:
        return any(trader.view().busy for trader in self.legs.values())

    @property
    def _suspect(self) -> bool:
        return any(trader.suspect for trader in self.legs.values())

    async def _watch_alert(self) -> None:
        """An outcome stayed unknown for too long. Nothing is sent, but the question goes on; its answer makes repair possible."""
        await self._wait(ALERT_LOOK_S)
        if not self._busy:
            await self.move(Move(PairState.REPAIRING, "the unknown outcome is proved now"))

    async def _turn(self) -> None:
        for leg in [leg for leg, task in self._tasks.items() if task.done()]:
            self._tasks.pop(leg).result()
        if any(trader.own < 0 for trader in self.legs.values()):
            await self.move(Move(PairState.ALERT, "a leg holds the opposite of what it should"))
            return
        if self.state is PairState.HEDGED and self._close_reason is not None:
            await self.move(Move(PairState.CLOSING, self._close_reason))
        if self.state is PairState.HEDGED and self._shrink is not None:
            await self._begin_shrink(*self._shrink)
        await self._look_at_prices()
        view = self.view()
        if view.changed:
            for trader in self.legs.values():
                trader.hurry()
                trader.share.changed &= not (view.balanced and self.state is PairState.HEDGED)
        rest = False
        for step in decide(view):
            rest = await self._take(step) or rest
        if rest:
            await self._guard()
        elif not self._changed.is_set():
            await self._wait(self.plan.limits.poll_s)
            await self._probe()

    async def _take(self, step: Step) -> bool:
        """Do one step; True when there is nothing to do in this state."""
        match step:
            case Send():
                trader = self.legs[step.leg]
                if self._clock.monotonic() >= trader.ready_s and await self._can_follow(step):
                    self._orders_sent += 1
                    self._tasks[step.leg] = trader.begin(step, self._tactic(step), self._worst(step))
            case Cancel():
                self.legs[step.leg].cancel()
            case Move():
                if step.state is not PairState.CLOSED or await self._proved_closed():
                    await self.move(step)
            case Pause.REST:
                return True
            case Pause.WAIT:
                pass
        return False

    async def _can_follow(self, step: Send) -> bool:
        """Before the delta is opened on purpose, the venue that has to follow is asked: for a quote to enter, for an answer to leave.

        Steps that make the delta smaller are not held up.
        """
        other = self.legs[step.leg.other]
        opens_delta = step.purpose is Purpose.ENTRY or (step.purpose is Purpose.CLOSE and other.own >= self.legs[step.leg].own > 0)
        if not opens_delta:
            return True
        try:
            if step.purpose is Purpose.ENTRY:
                self._hedge_quote = await other.quote(reduce=False)
            else:
                await other.position()
        except VenueError as e:
            other.mark(e)
            self.legs[step.leg].failed(step)
            return False
        return True

    def _tactic(self, step: Send) -> Tactic:
        if step.purpose is Purpose.ENTRY:
            return self.plan.tactics[min(step.attempt, len(self.plan.tactics) - 1)]
        if step.purpose is Purpose.CLOSE and self._patient and self.view().balanced:
            tactic = self.plan.exit_tactics[min(step.attempt, len(self.plan.exit_tactics) - 1)]
            able = self.legs[step.leg].client.capabilities
            return tactic if not tactic.rests or (able.reduce_only and able.reduce_only_resting) else Tactic.CROSS
        return Tactic.CROSS

    def _worst(self, step: Send) -> Decimal | None:
        """The plan's bound on the price of an order that adds; what reduces has none but its ladder."""
        cost, side = self.plan.max_price_cost, self.legs[step.leg].side(reduce=False)
        if step.reduce or cost is None:
            return None
        if step.purpose is Purpose.ENTRY:
            return None if self._hedge_quote is None else worst_lead(side, self._hedge_quote, cost)
        paid = self.legs[step.leg.other].paid
        return None if paid is None else worst_hedge(side, paid, cost, self.plan.limits.hedge_overrun_bps)

    async def _look_at_prices(self) -> None:
        """Whether the first leg's resting order would still break even if it filled now; where the hedge has no price, it would not."""
        lead, follow = self.legs[self.plan.first_leg], self.legs[self.plan.first_leg.other]
        order = lead.active
        if self.state is not PairState.OPENING or order is None or order.rests_until_s is None or self.plan.max_price_cost is None:
            self._mispriced = False
            return
        now = self._clock.monotonic()
        if now < self._next_price_s:
            return
        self._next_price_s = now + PRICE_LOOK_S
        side, price = lead.side(reduce=False), order.intent.limit_price
        try:
            worst = worst_lead(side, await follow.quote(reduce=False), self.plan.max_price_cost)
        except VenueError as e:
            follow.mark(e)
            worst = None
        self._mispriced = worst is None or price is None or (price - worst) * side.sign > 0
        if self._mispriced:
            lead.say("order.mispriced", price=price, worst=worst)

    async def _guard(self) -> None:
        """Hedged: sleep until something changes, and now and then prove that the venues still agree (PAINS 6)."""
        self._moved.set()
        if self._checking is None:
            if await self._wait(PROBE_S if self._suspect else self._check_s):
                return
            self._checking = asyncio.create_task(self.reconcile(), name=f"{self.record.pair_id}:check")
        if not await self._ended_first(self._checking):
            return
        agreed, self._checking = self._checking.result(), None
        if agreed or not all(trader.venue_up for trader in self.legs.values()):
            self._unproved_since_s = None
        elif self.disagrees_too_long():
            await self.move(Move(PairState.ALERT, "a venue shows a position that no record explains"))

    async def _ended_first(self, task: asyncio.Task[bool]) -> bool:
        """False when something changed before the task ended: one venue that does not answer holds up nothing that the other one told."""
        changed = asyncio.create_task(self._changed.wait())
        try:
            await asyncio.wait({task, changed}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()
        return task.done()

    def disagrees_too_long(self) -> bool:
        """Called at each look that found venues answering but not agreeing with our account; True after the deadline."""
        now = self._clock.monotonic()
        if self._unproved_since_s is None:
            self._unproved_since_s = now
        return now - self._unproved_since_s > self.plan.limits.resolve_deadline_s

    async def reconcile(self) -> bool:
        """Compare both venues with our account of them; True when both could be asked and agree or are explained."""
        return len(await self.reconciled()) == len(Leg)

    async def reconciled(self) -> frozenset[Leg]:
        """The legs of which that is true."""
        agreed = await together(*(self.reconcile_leg(leg) for leg in Leg))
        return frozenset(leg for leg, good in zip(Leg, agreed, strict=True) if good)

    async def reconcile_leg(self, leg: Leg) -> bool:
        """The same of one venue."""
        trader = self.legs[leg]
        try:
            agreed = await trader.reconcile()
        except VenueError as e:
            trader.mark(e)
            return False
        if not agreed:
            trader.say("position.unexplained", expected=trader.expected_position)
        await self.save_foreign()
        return agreed

    async def save_foreign(self) -> None:
        """Write down what is not ours, when it changed."""
        long, short = self.legs[Leg.LONG].foreign, self.legs[Leg.SHORT].foreign
        if (long, short) != (self.record.foreign_long, self.record.foreign_short):
            await self._save()

    async def _wait(self, seconds: float) -> bool:
        """True when something changed before the time was over."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True

    async def _probe(self) -> None:
        """See whether a venue that failed answers again, and whether a leg was reduced by others, where something speaks for that."""
        now = self._clock.monotonic()
        if now < self._next_probe_s:
            return
        self._next_probe_s = now + PROBE_S
        for trader in self.legs.values():
            if not trader.venue_up or trader.suspect or (trader.reduce_failures > 0 and trader.active is None):
                try:
                    await trader.reconcile()
                except VenueError as e:
                    trader.mark(e)

    async def _proved_closed(self) -> bool:
        """E7: both venues show our share gone (or the declared dust), and no order of ours is open."""
        try:
            for trader in self.legs.values():
                before = trader.own
                agreed = await trader.reconcile()
                if trader.own != before:
                    return False
                open_orders = await trader.client.get_active_orders(trader.instrument.contract_id)
                ours = [o for o in open_orders if o.client_order_id in trader.intents]
                if agreed and not ours:
                    continue
                return await self._unproved(f"{trader.venue} shows {len(ours)} orders of ours, position agrees: {agreed}")
        except VenueError as e:
            return await self._unproved(str(e))
        self._unproved_since_s = None
        return True

    async def _unproved(self, why: str) -> bool:
        now = self._clock.monotonic()
        if self._unproved_since_s is None:
            self._unproved_since_s = now
        if now - self._unproved_since_s > self.plan.limits.resolve_deadline_s:
            await self.move(Move(PairState.ALERT, f"cannot prove the pair closed: {why}"))
        else:
            await self._clock.sleep(min(max(self.plan.limits.poll_s, (now - self._unproved_since_s) / 2), PROBE_S * 5))
        return False

    def _fresh_budget(self) -> None:
        """A new decision about the pair gets a budget of orders of its own."""
        self._orders_sent = 0
        for trader in self.legs.values():
            trader.excused = 0

    async def _begin_shrink(self, keep: Decimal, reason: str) -> None:
        """To what both legs come down is in the record before the first of them does: whoever takes over after a crash goes on."""
        self.plan = msgspec.structs.replace(self.plan, keep=keep)
        self._fresh_budget()
        await self.move(Move(PairState.REPAIRING, reason))
        self._shrink = None

    async def move(self, move: Move) -> None:
        """Go to another state, durably."""
        check(self.state, move.state)
        now_ns = self._clock.time_ns()
        long, short = self.legs[Leg.LONG].own, self.legs[Leg.SHORT].own
        left = move.state is PairState.ALERT or (move.state is PairState.CLOSED and (long != 0 or short != 0))
        before = self.record
        if move.state is PairState.CLOSED:
            self.retire()
        await self._save(
            state=move.state,
            reason=move.reason,
            opened_at=now_ns if move.state is PairState.HEDGED and before.opened_at is None else before.opened_at,
            closed_at=now_ns if move.state is PairState.CLOSED else None,
            residual_long=long if left else None,
            residual_short=-short if left else None,
        )
        if move.state is PairState.OPENING:
            self._opening_since_s = self._clock.monotonic()
        if move.state in ACTIVE:
            for trader in self.legs.values():
                trader.add_failures = trader.reduce_failures = 0
                trader.share.changed = False
        log.info("pair.%s pair=%s reason=%s", move.state, before.pair_id, move.reason)
        self.tell("pair.state", before=before.state.value, state=move.state.value, reason=move.reason)
        self._changed.set()
        self._moved.set()

    def retire(self) -> None:
        """The pair is over: what it may still hold counts as foreign for everybody who trades there."""
        for leg, trader in self.legs.items():
            self._closed_with[leg] = trader.own
            trader.share.ended = True

    def leave(self) -> None:
        """Nobody asks for this pair any more."""
        for trader in self.legs.values():
            trader.market.leave(trader.share)

    async def _save(self, **changes: Any) -> None:
        """On disk, or at least in memory: the way out of a position is never held up by the disk (E8). One after the other, each on top of
        the last: a check that notes what is foreign takes back no state."""
        async with self._saving:
            record = msgspec.structs.replace(self.record, updated_at=self._clock.time_ns(), **changes)
            if self.plan.keep is not None or self.plan.closing is not None:
                record = msgspec.structs.replace(record, plan=msgspec.json.encode(self.plan).decode())
            if record.state is not PairState.CLOSED:
                foreign = {leg: self.legs[leg].foreign for leg in Leg}
                record = msgspec.structs.replace(record, foreign_long=foreign[Leg.LONG], foreign_short=foreign[Leg.SHORT])
            try:
                await self._journal.write(record, pair_id=record.pair_id, or_fallback=True)
            except JournalError as e:
                log.error("journal.lost pair=%s state=%s error=%s", record.pair_id, record.state, e)
            self.record = record

    async def begin(self, decision: DecisionRecord) -> None:
        """PLANNED, with the decision that led to it, then OPENING.

        Raises:
            JournalError: it cannot be recorded; nothing was sent.
        """
        await self._journal.write(self.record, decision, pair_id=self.record.pair_id)
        await self.move(Move(PairState.OPENING, "plan accepted"))
