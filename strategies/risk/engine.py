"""The guard of one bot: limits, breakers, halt and fence before anything that adds; a watch over margin and venues all the time.

Two kinds of no. *Standing* (halt, fence, breaker, daily loss, a state folder nobody looks at): nothing is entered and what rests to enter
comes off. *Momentary* (clock, lag, age of figures, amounts): this order is not sent. Reducing orders are never asked about (E18).
"""

import asyncio
import contextlib
import logging
import os
from collections import deque
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from database.errors import JournalError
from exchange_clients.errors import VenueError
from exchange_clients.model import NS_PER_S, InstrumentId, Purpose
from exchange_clients.transport.runtime import Runtime
from strategies.execution.guard import OrderCheck
from strategies.execution.journaling import AsyncJournal, Observer, nobody

from . import daily, divergence, identity, memory, opens, takeover
from .amounts import Amounts
from .breakers import Breaker
from .dead_man import DeadMan
from .exposure import Approvals
from .fence import BEAT_S, Fence, Heartbeat
from .figures import VenueFigures
from .halt import POLL_S, Halt, HaltFile
from .limits import RiskLimits, tightens, tightest
from .watch import MarginWatch

if TYPE_CHECKING:
    from exchange_clients.base_client import BaseExchangeClient
    from strategies.execution.desk import Desk
    from strategies.execution.engine import ExecutionEngine

log = logging.getLogger("strategies.risk")

STALE_POLL_S = 2.0
STALE_FENCE_S = 4.0
"""Shorter than the shortest silence that makes a watchdog act."""
DAILY_S = 30.0
HEDGE_ROOM = Decimal("1.25")
"""A hedge follows an entry that was checked; prices may have moved by this much before it counts as a wrong number."""
FORCED = ("liquidation", "adl")


class RiskEngine:
    """Implements `Guard`. Build it first, give it to engine and desk as their guard, `attach` them, `start` before they start."""

    def __init__(
        self,
        limits: RiskLimits,
        clients: Mapping[str, "BaseExchangeClient"],
        runtime: Runtime,
        *,
        strategy: str,
        account: str,
        journal: AsyncJournal,
        folder: Path | None = None,
        watched: bool = True,
        observer: Observer = nobody,
    ) -> None:
        """`folder`: the state folder with halt, fence and heartbeat; None where no other process can be (backtests). `watched` False: no
        watchdog acts for this bot, because its orders are not real."""
        self.limits, self.strategy, self.account = limits, strategy, account
        self.clients = dict(clients)
        self.clock, self.offload, self._journal, self._observer = runtime.clock, runtime.offload, journal, tee(observer)
        self.halt: Halt | None = None
        self.fenced: str | None = None
        self.figures = {venue: VenueFigures(client, runtime.clock) for venue, client in clients.items()}
        self.breakers = {venue: Breaker(venue) for venue in clients}
        self.day = daily.DayBook()
        self.today: Decimal | None = None
        self.failed_opens = opens.FailedOpens()
        self.approvals = Approvals(self.clients, runtime.clock)
        self.engines: list[ExecutionEngine] = []
        self.desks: list[Desk] = []
        self.amounts = Amounts(self)
        self.margin = MarginWatch(self)
        self.dead_men = {venue: DeadMan(client, self) for venue, client in clients.items()}
        self.refusals: deque[tuple[int, str]] = deque(maxlen=50)
        self._halt_file = None if folder is None else HaltFile(folder)
        self._folder = folder if watched else None
        self._fence = None if self._folder is None else Fence(self._folder)
        self._heart = None if self._folder is None else Heartbeat(self._folder, strategy, account)
        self._looked: tuple[float, int] | None = None
        """When the state folder was looked at: asyncio time and wall time."""
        self._accounts: dict[str, str] = {}
        """Venue -> the account it is traded on; of venues that are gone from the configuration, the last one."""
        self._next_beat_s = self._next_daily_s = 0.0
        self._sent: deque[float] = deque()
        self._dirty: set[str] = set()
        self._offline: set[str] = set()
        self._audited = 0
        self._takeover_due = True
        self._written = 0
        self._taking: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []

    # ---- life

    def attach(self, *, engine: "ExecutionEngine | None" = None, desk: "Desk | None" = None) -> None:
        """What this guard guards: woken when a standing no comes up, and read for what is held."""
        if engine is not None:
            self.engines.append(engine)
        if desk is not None:
            self.desks.append(desk)

    async def start(self) -> None:
        """Beat, wait while a watchdog acts in our place, take in what it did, recall breakers and the day; then watch.

        Call it before the engines start. A venue that cannot be asked now is asked again later; until then nothing is entered there.

        Raises:
            WrongAccount: something is open on another account than the one these clients act for.
        """
        self._know_accounts()
        memory.recall(self, self._journal.sync)
        await self._tick()
        while self.fenced is not None:
            log.warning("fence.waiting reason=%s", self.fenced)
            await self.clock.sleep(POLL_S)
            await self._tick()
        await self._take_in()
        await self._audit()
        self._tasks = [asyncio.create_task(self._ticks(), name="risk:tick"), asyncio.create_task(self._checks(), name="risk:check")]
        self._tasks += [asyncio.create_task(d.run(), name=f"risk:dead-man:{v}") for v, d in self.dead_men.items() if d.able]

    def _know_accounts(self) -> None:
        """What is open belongs to the accounts of the last beat: with others it would look closed on one venue, and the rest be reduced."""
        if self._heart is None:
            return
        last = self._heart.read()
        known = {} if last is None else last.accounts
        held = memory.venues_held(self, self._journal.sync)
        identity.expect_same(self._heart, {v: a for v, a in known.items() if v in held}, self.clients)
        self._accounts = {**known, **identity.identities(self.clients)}

    async def stop(self, *, ended: bool = True) -> None:
        """After the engines have stopped: the last beat says that nobody needs to act for us, unless something was left undeclared."""
        tasks, self._tasks = [*self._tasks, *([self._taking] if self._taking is not None else [])], []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for dead_man in self.dead_men.values():
            await dead_man.disarm("stopped")
        await self._write(*memory.records(self, self._take_dirty()))
        await self._journal.close()
        if self._heart is not None and ended:
            with contextlib.suppress(OSError):
                self._heart.beat(self.clock.time_ns(), os.getpid(), accounts=self._accounts, ended=True)

    # ---- the guard

    def entry_block(self, *venues: str) -> str | None:
        """The standing no: rule, figure, limit."""
        if self._halt_file is not None:
            if self._looked is None or self.clock.monotonic() - self._looked[0] > STALE_POLL_S:
                return f"halt: the state folder was not looked at for {STALE_POLL_S:g} s, it may hold a halt"
            if self.halt is not None:
                return f"halted: {self.halt.reason} (by {self.halt.actor}; `perpkit resume` clears it)"
        hand = self._other_hand()
        if hand is not None:
            return hand
        limit = self.limits.max_daily_loss_usd
        if limit is not None and self.today is not None and -self.today >= limit:
            return f"max_daily_loss_usd: {-self.today:.2f} lost since 00:00 UTC, limit {limit}"
        now_ns = self.clock.time_ns()
        for venue in venues or self.clients:
            if venue not in self.breakers:
                return f"{venue}: no such venue in this bot"
            block = self.breakers[venue].block(now_ns)
            if block is not None:
                return block
        return None

    async def admit(self, *legs: OrderCheck) -> str | None:
        """Whether a whole position may be opened, all its legs at once and in full; asks the venues what it does not know."""
        venues = list(dict.fromkeys(leg.venue for leg in legs))
        block = self.entry_block(*venues) or self.failed_opens.block(self.limits, self.clock.time_ns())
        if block is not None:
            return self._refuse(block)
        try:
            for venue in venues:
                age_s = self.figures[venue].age_s
                if age_s is None or age_s > min(self.limits.check_s, self.limits.max_data_age_s / 2):
                    await self.figures[venue].look()
            for leg in legs:
                await self.amounts.refer(leg)
        except VenueError as e:
            return self._refuse(f"max_data_age_s: {e}")
        if self.today is None and self.limits.max_daily_loss_usd is not None:
            await self._count_day()
        references = {leg.instrument.id: self.amounts.reference(leg) for leg in legs}
        block = (
            divergence.quotes(references, self.limits.max_quote_divergence)
            or self._momentary(*venues)
            or next((b for leg in legs if (b := self.amounts.block(leg, legs)) is not None), None)
        )
        return None if block is None else self._refuse(block)

    def order_block(self, order: OrderCheck) -> str | None:
        """One adding order, at once, from what is known."""
        if order.reduce_only:
            return None
        worth = self.amounts.worth(order)
        most = self.limits.max_order_usd
        if worth is None:
            return self._refuse(f"max_order_usd: {order.instrument.id} has no price")
        room = HEDGE_ROOM if order.purpose is Purpose.HEDGE else 1
        if most is not None and worth > most * room:
            return self._refuse(f"max_order_usd: {order.quantity} of {order.instrument.id} is worth {worth:.2f}, limit {most * room}")
        hand = self._other_hand()
        if hand is not None:
            return self._refuse(hand)
        if order.purpose is not Purpose.HEDGE:
            block = (
                self.entry_block(order.venue)
                or self.breakers[order.venue].trial_block(self.clock.time_ns())
                or self._rate()
                or self._momentary(order.venue)
                or self.amounts.block(order, (order,))
            )
            if block is not None:
                return self._refuse(block)
            self._sent.append(self.clock.monotonic())
            self.breakers[order.venue].trying(self.clock.time_ns())
        self.approvals.add(order, worth, self.figures[order.venue].initial_margin(order.instrument))
        return None

    def _other_hand(self) -> str | None:
        """Somebody else may have changed what we hold and we do not know it yet: then not even a hedge is right."""
        if self.fenced is not None:
            return f"fence: a watchdog acts for this bot: {self.fenced}"
        if self._takeover_due:
            return "fence: what a watchdog did for this bot is not in the journal yet"
        if self._heart is not None and self._looked is not None:
            looked_s, looked_ns = self._looked
            slept_s = (self.clock.time_ns() - looked_ns) / NS_PER_S  # a machine that sleeps counts no asyncio time
            if max(self.clock.monotonic() - looked_s, slept_s) > STALE_FENCE_S:
                return f"fence: nobody looked for {STALE_FENCE_S:g} s whether a watchdog acts"
        return None

    def _refuse(self, block: str) -> str:
        self.refusals.append((self.clock.time_ns(), block))
        log.info("risk.refused reason=%s", block)
        return block

    def _rate(self) -> str | None:
        now = self.clock.monotonic()
        most = self.limits.max_orders_per_second
        span_s = max(1.0, 1.0 / most)
        while self._sent and now - self._sent[0] >= span_s:
            self._sent.popleft()
        if len(self._sent) >= most * span_s:
            return f"max_orders_per_second: {len(self._sent)} in the last {span_s:g} s, limit {most:g}"
        return None

    def _momentary(self, *venues: str) -> str | None:
        for venue in venues:
            client, figures = self.clients[venue], self.figures[venue]
            offset_ns = client.context.venue_time.offset_ns
            if offset_ns is None:
                return f"max_clock_skew_s: {venue}: the venue's clock was not measured, limit {self.limits.max_clock_skew_s:g}"
            if abs(offset_ns) > self.limits.max_clock_skew_s * NS_PER_S:
                return f"max_clock_skew_s: {venue}: {offset_ns / NS_PER_S:.3f} s away, limit {self.limits.max_clock_skew_s:g}"
            lag_s = client.loop_lag.worst_s
            if lag_s > self.limits.max_loop_lag_s:
                return f"max_loop_lag_s: {lag_s:.3f} s late, limit {self.limits.max_loop_lag_s:g}"
            age_s = figures.age_s
            if age_s is None or age_s > self.limits.max_data_age_s:
                seen = "never seen" if age_s is None else f"{age_s:.1f} s old"
                why = f" ({figures.last_error})" if figures.last_error else ""
                return f"max_data_age_s: {venue}: account and positions {seen}{why}, limit {self.limits.max_data_age_s:g}"
        limit = self.limits.max_daily_loss_usd
        if limit is not None and self.today is None:
            return f"max_daily_loss_usd: the result of today is not known, limit {limit}"
        return None

    # ---- what happens

    def observe(self, event: str, pair_id: str, **facts: object) -> None:
        """Hears the engine and the desk (an Observer): what venues do to our orders opens and closes breakers."""
        venue, now_ns = str(facts.get("venue", "")), self.clock.time_ns()
        breaker = self.breakers.get(venue)
        if event == "pair.state":
            self.failed_opens.told(str(facts.get("before")), str(facts.get("state")), str(facts.get("reason")), now_ns)
            return
        if breaker is None:
            return
        if event == "order.unknown":
            self._failed(breaker, f"the outcome of an order is unknown: {facts.get('reason')}", unknown=True)
        elif event == "venue.gap":
            self._failed(breaker, f"gap: {facts.get('reason')}")
        elif event in ("order.refused", "venue.proved"):
            breaker.succeeded(now_ns)
        elif event == "order.done":
            if breaker.succeeded(now_ns, order=True):
                self._changed(breaker, "risk.breaker_closed", reason="an entry on trial went well")
        elif event == "fill" and facts.get("cause") in FORCED:
            reason = f"the venue closed {facts.get('quantity')} of ours: {facts.get('cause')}"
            breaker.trip(now_ns, reason, self.limits, pause_s=self.limits.liquidation_pause_s)
            self._changed(breaker, "risk.liquidation", pair_id=pair_id, reason=reason, leg=facts.get("leg"), price=facts.get("price"))

    def _failed(self, breaker: Breaker, reason: str, *, unknown: bool = False) -> None:
        if breaker.failed(self.clock.time_ns(), reason, self.limits, unknown=unknown):
            self._changed(breaker, "risk.breaker_open", reason=breaker.saved.reason)

    def _changed(self, breaker: Breaker, event: str, *, pair_id: str = "", **facts: object) -> None:
        self._dirty.add(breaker.venue)
        log.warning("%s venue=%s state=%s reason=%s", event, breaker.venue, breaker.saved.state, facts.get("reason"))
        self._observer(event, pair_id, venue=breaker.venue, state=breaker.saved.state.value, until=breaker.saved.until_ns, **facts)
        self._wake()

    def status(self) -> dict[str, Any]:
        """Everything that says no, and the figures behind it; JSON-ready."""
        return memory.status(self)

    def now_ns(self) -> int:
        """Wall time."""
        return self.clock.time_ns()

    def tell(self, event: str, pair_id: str = "", **facts: object) -> None:
        """To whoever observes."""
        self._observer(event, pair_id, **facts)

    def _wake(self) -> None:
        """Everything that rests to enter looks at its guard again."""
        for engine in self.engines:
            for runner in list(engine.pairs.values()):
                runner.wake()
        for desk in self.desks:
            desk.wake()

    def reload(self, new: RiskLimits) -> list[str]:
        """Take over what tightens, at once; the names of what would have loosened and stays (E39)."""
        refused = tightens(self.limits, new)
        self.limits = tightest(self.limits, new)
        self._wake()
        return refused

    # ---- twice a second: halt, fence, heartbeat

    async def _ticks(self) -> None:
        while True:
            await self.clock.sleep(POLL_S)
            try:
                await self._tick()
                await self._write(*memory.records(self, self._take_dirty()))
            except Exception:
                log.exception("risk.tick_failed")  # the look is not counted: entries stop after STALE_POLL_S

    async def _tick(self) -> None:
        if self._halt_file is None:
            return
        now_s, now_ns = self.clock.monotonic(), self.clock.time_ns()
        if self._heart is not None and now_s >= self._next_beat_s:
            self._next_beat_s = now_s + BEAT_S
            self._accounts |= identity.identities(self.clients)
            try:
                self._heart.beat(self.clock.time_ns(), os.getpid(), accounts=self._accounts)
            except OSError as e:
                log.error("heartbeat.not_written reason=%s", e)
        halt, fence, written = await self.offload.run(self._look, deadline_s=STALE_POLL_S / 2)
        self._looked = (now_s, now_ns)
        if written != self._written:
            self._written, self._takeover_due = written, True  # perhaps all while our loop stood still
        was_fenced, self.fenced = self.fenced, fence
        was_halted, self.halt = self.halt, halt
        if fence != was_fenced:
            self.tell("risk.fence" if fence else "risk.fence_gone", reason=fence or was_fenced)
            self._wake()
        if (told := halt or was_halted) is not None and halt != was_halted:
            self.tell("halt.set" if halt else "halt.cleared", reason=told.reason, who=told.actor)
            log.warning("halt.%s reason=%s", "on" if halt else "off", told.reason)
            self._wake()
            await self._audit()
        if fence is None and self._takeover_due and self._tasks and (self._taking is None or self._taking.done()):
            self._taking = asyncio.create_task(self._take_in(), name="risk:take-in")

    def _look(self) -> tuple[Halt | None, str | None, int]:
        assert self._halt_file is not None
        held = None if self._fence is None else self._fence.held()
        return self._halt_file.read(), held, 0 if self._folder is None else takeover.written(self._folder)

    async def _audit(self) -> None:
        """Copy what operators did into the journal; each line once, whoever wrote it."""
        if self._halt_file is None:
            return
        try:
            lines = self._halt_file.audit()
            await self._write(*(line.record() for line in lines[self._audited :]))
            self._audited = len(lines)
        except (OSError, msgspec.DecodeError) as e:
            log.warning("audit.unread reason=%s", e)

    async def _take_in(self) -> None:
        """What a watchdog sent for our pairs becomes part of the journal, so that its fills are ours by their client ids. Entries wait."""
        if self._folder is not None:
            await takeover.take_over(self, self._folder, self._journal)
        self._takeover_due = False

    async def halt_all(self, reason: str) -> None:
        """Halt every bot of this state folder in an operator's place; only an operator clears it."""
        if self._halt_file is None:
            return
        self._halt_file.set(reason, f"{self.strategy}:{self.account}", self.clock.time_ns())
        await self._tick()

    # ---- every few seconds: figures, margin, the day

    async def _checks(self) -> None:
        while True:
            try:
                await self.check()
            except Exception:
                log.exception("risk.check_failed")
            await self.clock.sleep(self.limits.check_s)

    async def check(self) -> None:
        """One look at all venues, and what follows from it."""
        await asyncio.gather(*(self._look_at(figures) for figures in self.figures.values()))
        await self.margin.check()
        if self.clock.monotonic() >= self._next_daily_s:
            self._next_daily_s = self.clock.monotonic() + DAILY_S
            await self._count_day()

    async def _look_at(self, figures: VenueFigures) -> None:
        breaker = self.breakers[figures.name]
        try:
            await figures.look()
            await self._refresh_references(figures)
        except VenueError as e:
            self._failed(breaker, str(e))
            if figures.name not in self._offline and not figures.client.is_connected:
                self._offline.add(figures.name)
                self.tell("risk.venue_offline", venue=figures.name, reason=str(e))
            return
        breaker.succeeded(self.clock.time_ns())
        if figures.name in self._offline:
            self._offline.discard(figures.name)
            self.tell("risk.venue_online", venue=figures.name)

    async def _refresh_references(self, figures: VenueFigures) -> None:
        """Mark and index of markets in play: where a limit needs them, and where a held market has no other price."""
        guarded = self.limits.max_mark_index_divergence is not None or self.limits.max_quote_divergence is not None
        held = {i for owner in self.amounts.owners() for venue, i, quantity, _ in owner if quantity and venue == figures.name}
        playing = held | {i for venue, i in self.approvals.markets() if venue == figures.name}
        for instrument in playing:
            if guarded or figures.mark(instrument, self.limits.max_data_age_s / 2) is None:
                await figures.refer(figures.client.instruments.get(InstrumentId.parse(instrument)))

    async def _count_day(self) -> None:
        """The result of today; over the limit everything halts, once a day (a halt cleared by an operator is not set again today)."""
        now_ns = self.clock.time_ns()
        try:
            accounts = await self.offload.run(daily.accounts, self._journal.sync, self.strategy, self.account, now_ns)
        except (JournalError, TimeoutError) as e:
            self.today = None
            log.warning("day.unread reason=%s", e)
            return
        now: dict[str, Decimal] = {}
        older: dict[str, Decimal] = {}
        for one in accounts:
            value = daily.worth(one.fills, one.funding, self.amounts.price)
            if value is None:
                self.today, self._next_daily_s = None, 0.0
                log.warning("day.unknown owner=%s reason=a held market has no price", one.owner)
                return
            now[one.owner] = value
            if one.begun_ns // daily.DAY_NS < now_ns // daily.DAY_NS:
                older[one.owner] = value
        book = daily.roll(self.day, now_ns, older)
        self.today = daily.result(book, now)
        self.day = msgspec.structs.replace(book, last=now)
        self._dirty.add(memory.DAY_KEY)
        limit = self.limits.max_daily_loss_usd
        if limit is not None and -self.today >= limit and not self.day.halted:
            self.day = msgspec.structs.replace(self.day, halted=True)
            self.tell("risk.daily_loss", loss=-self.today, limit=limit)
            await self.halt_all(f"max_daily_loss_usd: {-self.today:.2f} lost since 00:00 UTC, limit {limit}")
            self._wake()

    def _take_dirty(self) -> set[str]:
        dirty, self._dirty = self._dirty, set()
        return dirty

    async def _write(self, *records: Any) -> None:
        if records:
            try:
                await self._journal.write(*records, or_fallback=True)
            except JournalError as e:
                log.error("journal.lost records=%d reason=%s", len(records), e)


def tee(*observers: Observer) -> Observer:
    """Tells all of them, in order. One that fails is logged: whoever watches never holds up who trades."""

    def told(event: str, pair_id: str, **facts: object) -> None:
        for observer in observers:
            try:
                observer(event, pair_id, **facts)
            except Exception:
                log.exception("observer.failed event=%s", event)

    return told
