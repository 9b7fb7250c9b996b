"""One leg of a pair on one venue: an order from durable intent to proved end, and the fills that are ours."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from database.errors import JournalError
from database.ids import DurableIds
from database.records import FillCause, FillRecord, IntentRecord, IntentState, Leg, OrderRecord, PairRecord
from exchange_clients.errors import (
    DuplicateClientOrderId,
    MinNotional,
    NotReady,
    OrderDenied,
    Outcome,
    ProtocolError,
    RateLimited,
    TransportError,
    UnsupportedCapability,
    VenueError,
    VenueUnavailable,
)
from exchange_clients.model import NS_PER_S, ZERO, Fill, FillKind, Instrument, OrderInfo, OrderStatus, Side
from exchange_clients.transport.clock import Clock

from .decide import LegView, Send
from .journaling import AsyncJournal, Observer
from .plan import ExecutionLimits, Tactic
from .pricing import OrderTerms, Quote, rung, terms

if TYPE_CHECKING:
    from exchange_clients.base_client import BaseExchangeClient

log = logging.getLogger("strategies.execution")

MAX_ORPHANS = 1_000
FORCED_LOOKS = 10
FIRST_LOOK_S = 1.0
FIRST_ASK_S = 0.5
MAX_ASK_S = 5.0
LATE_FILL_S = 0.3
MAX_BACKOFF_S = 10.0
MIN_PULL_GAP_S = 1.0
MAX_PULL_GAP_S = 16.0
LOOKBACK_NS = 60 * 1_000_000_000
FEE_UNIT = Decimal("1e-12")

Execution = tuple[str, str]
"""Trade id and side: an account that trades with itself has both sides of one trade."""


@dataclass(slots=True)
class Active:
    """The one order of this leg that is not proved finished. Times are seconds of asyncio time."""

    intent: IntentRecord
    sent_s: float
    rests_until_s: float | None = None
    cancel_wanted: bool = False
    cancels: int = 0
    next_cancel_s: float = 0.0
    absent_since_s: float | None = None
    last_query_s: float | None = None
    short_since_s: float | None = None
    """Since when the venue has reported more filled than we have fills of."""


class LegTrader:
    """Sends at most one order at a time, and knows what the leg holds from its own fills alone."""

    def __init__(
        self,
        pair: PairRecord,
        leg: Leg,
        client: "BaseExchangeClient",
        instrument: Instrument,
        *,
        journal: AsyncJournal,
        ids: DurableIds,
        clock: Clock,
        limits: ExecutionLimits,
        observer: Observer,
        on_change: Callable[[], None],
    ) -> None:
        self.pair_id, self.leg, self.client, self.instrument = pair.pair_id, leg, client, instrument
        self.venue, self.account, self.foreign = pair.venue(leg), pair.account, pair.foreign(leg)
        self.created_ns = pair.created_at
        self._journal, self._ids, self._clock, self._limits = journal, ids, clock, limits
        self._observer, self._on_change = observer, on_change
        self.intents: dict[str, IntentRecord] = {}
        self.fills: dict[Execution, FillRecord] = {}
        self.active: Active | None = None
        self.add_failures = self.reduce_failures = 0
        self.venue_up = True
        self.ready_s = 0.0
        self.last_price: Decimal | None = None
        self._owners: dict[str, str] = {}
        self._orders: dict[str, OrderRecord] = {}
        self._orphans: OrderedDict[Execution, Fill] = OrderedDict()
        self._explained: OrderedDict[Execution, None] = OrderedDict()
        self._booking = asyncio.Lock()
        self._wake = asyncio.Event()
        self._step: Send | None = None
        self._next_pull_s = 0.0
        self._pull_gap_s = MIN_PULL_GAP_S
        self._forced_looks = 0

    # ---- what is proved

    @property
    def own(self) -> Decimal:
        """What the leg holds by its fills: positive in its direction; negative would be a flipped leg."""
        return self.leg.sign * sum((f.signed for f in self.fills.values()), ZERO)

    @property
    def expected_position(self) -> Decimal:
        """What the venue must show: our share and what was there before."""
        return self.foreign + self.leg.sign * self.own

    @property
    def suspect(self) -> bool:
        """The venue closed something (liquidation, ADL, settlement) and it is not known yet whose it was; ends after some looks."""
        return self._forced_looks > 0

    def filled(self, client_order_id: str) -> Decimal:
        """Cumulative own fill of one order."""
        return sum((f.quantity for f in self.fills.values() if f.client_order_id == client_order_id), ZERO)

    def view(self) -> LegView:
        """For the rules."""
        active = self.active
        now = self._clock.monotonic()
        patience = self._limits.resolve_deadline_s
        since = 0.0 if active is None else max(active.sent_s, active.rests_until_s or 0.0)
        return LegView(
            instrument=self.instrument,
            price=self.last_price,
            own=self.own,
            busy=active is not None or self._step is not None,
            adding=not active.intent.reduce_only if active is not None else self._step is not None and not self._step.reduce,
            stuck=active is not None and now - since > patience,
            add_failures=self.add_failures,
            reduce_failures=self.reduce_failures,
            venue_up=self.venue_up,
        )

    def restore(self, intents: Iterable[IntentRecord], orders: Iterable[OrderRecord], fills: Iterable[FillRecord]) -> None:
        """Take over what the journal holds; the unresolved order, if any, becomes the active one."""
        for intent in intents:
            self.intents[intent.client_order_id] = intent
            if not intent.state.resolved:
                self.active = Active(intent, self._clock.monotonic(), cancel_wanted=True)
        for order in orders:
            self._orders[order.client_order_id] = order
            if order.order_id is not None:
                self._owners[order.order_id] = order.client_order_id
        for fill in fills:
            self.fills[fill.trade_id, fill.side] = fill
            self.last_price = fill.price

    # ---- one order

    def begin(self, step: Send, tactic: Tactic) -> asyncio.Task[None]:
        """Start an order; the leg is busy until the task ends."""
        self._step = step
        return asyncio.create_task(self._order(step, tactic), name=f"{self.pair_id}:{self.leg}")

    async def _order(self, step: Send, tactic: Tactic) -> None:
        before = self.own
        try:
            await self._prepare_and_send(step, tactic)
            if self.active is not None:
                await self.settle()
        except JournalError as e:
            log.error("journal.refused pair=%s leg=%s error=%s", self.pair_id, self.leg, e)
            self.say("order.blocked", reason=str(e))
        except VenueError as e:
            self.mark(e)
            self.say("order.blocked", reason=str(e))
        finally:
            self._step = None
        self._count(step, progressed=self.own != before)
        self._on_change()

    async def _prepare_and_send(self, step: Send, tactic: Tactic) -> None:
        side = Side.BUY if (self.leg is Leg.LONG) != step.reduce else Side.SELL
        quantity = await self._reducible(step.quantity) if step.reduce else step.quantity
        if quantity <= 0:
            self.say("order.blocked", reason="the venue shows nothing of ours to reduce")
            return
        quote = await self.quote(reduce=step.reduce)
        ladder = self._limits.reduce_bps if step.reduce else self._limits.entry_bps if step.purpose == "entry" else self._limits.hedge_bps
        bps = ladder[-1] if tactic is Tactic.MARKET or quote.source != "book" else rung(ladder, step.attempt)
        how = terms(self.instrument, side, tactic, quote, bps)
        now_ns = self._clock.time_ns()
        intent = IntentRecord(
            intent_id=self._intent_id(now_ns, step),
            pair_id=self.pair_id,
            leg=self.leg,
            venue=self.venue,
            account=self.account,
            instrument=str(self.instrument.id),
            client_order_id=self.client.new_client_order_id(),
            side=side.value,
            quantity=quantity,
            limit_price=how.price,
            reference_price=quote.mid,
            reduce_only=step.reduce,
            time_in_force=how.time_in_force.value,
            purpose=step.purpose.value,
            reason=f"{tactic} within {bps} bps of {quote.source}",
            state=IntentState.PREPARED,
            created_at=now_ns,
            updated_at=now_ns,
        )
        await self._durable(intent)
        rests_until = self._clock.monotonic() + self._limits.maker_timeout_s if tactic.rests else None
        self.intents[intent.client_order_id] = intent
        self.active = Active(intent, self._clock.monotonic(), rests_until)
        await self._send(intent, how, step)

    def _intent_id(self, now_ns: int, step: Send) -> str:
        """From the durable counter; a reducing order goes out even when the counter cannot be advanced any more."""
        try:
            return f"i{self._ids.next(now_ns)}"
        except JournalError:
            if not step.reduce:
                raise
            return f"i{self.leg}{now_ns}"

    async def _durable(self, intent: IntentRecord) -> None:
        """E8: on disk before a byte leaves. A reducing order is sent even if nothing can be written any more."""
        try:
            await self._journal.write(intent, pair_id=self.pair_id, or_fallback=intent.reduce_only)
        except JournalError as e:
            if not intent.reduce_only:
                raise
            log.error("journal.lost pair=%s intent=%s error=%s", self.pair_id, intent.intent_id, e)

    async def _send(self, intent: IntentRecord, how: OrderTerms, step: Send) -> None:
        self.say(
            "order.send",
            side=intent.side,
            quantity=intent.quantity,
            price=how.price,
            purpose=intent.purpose,
            id=intent.client_order_id,
            why=intent.reason,
        )
        try:
            result = await self.client.place_limit_order(
                self.instrument.contract_id,
                intent.quantity,
                how.price,
                Side(intent.side),
                intent.reduce_only,
                time_in_force=how.time_in_force,
                post_only=how.post_only,
                client_order_id=intent.client_order_id,
                purpose=step.purpose,
            )
        except VenueError as e:
            self.mark(e)
            if e.outcome is Outcome.UNKNOWN or isinstance(e, DuplicateClientOrderId):
                self.say("order.unknown", id=intent.client_order_id, reason=str(e))
                await self._become(IntentState.UNKNOWN, str(e))
            else:
                await self._refused(str(e), e)
            return
        if result.success:
            self.venue_up = True
            if result.order_id is not None:
                await self._learn(result.order_id, intent.client_order_id)
            await self._become(IntentState.WORKING, "")
            return
        error = result.error
        if result.outcome == Outcome.UNKNOWN or isinstance(error, DuplicateClientOrderId):
            self.say("order.unknown", id=intent.client_order_id, reason=str(result.error_message))
            await self._become(IntentState.UNKNOWN, str(result.error_message))
        else:
            await self._refused(str(result.error_message), error if isinstance(error, VenueError) else None)

    async def _refused(self, reason: str, error: VenueError | None) -> None:
        """A definite no: the venue's own words, or our own check."""
        active = self.active
        await self._become(IntentState.REFUSED, reason)
        self.say("order.refused", reason=reason)
        small = self.view().small
        if active is not None and active.intent.reduce_only and small and isinstance(error, MinNotional | OrderDenied):
            self.reduce_failures = self._limits.max_reduce_attempts  # dust: the venue will not take less tomorrow

    # ---- finding out what became of it

    async def settle(self) -> None:
        """Until the active order is proved finished: its end *and* its cumulative fill (E2, E4). Never gives up by itself; see `stuck`."""
        while (active := self.active) is not None:
            self._wake.clear()
            try:
                await self._look(active)
            except VenueError as e:
                self.mark(e)
            self._on_change()
            if active.intent.state.resolved:
                continue
            try:
                async with asyncio.timeout(self._limits.poll_s if self.venue_up else self._limits.poll_s * 4):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def settle_within(self, seconds: float) -> None:
        """As `settle`, but return after a while even if the order is still unresolved (it stays so)."""
        try:
            async with asyncio.timeout(seconds):
                await self.settle()
        except TimeoutError:
            return

    async def _look(self, active: Active) -> None:
        now, intent = self._clock.monotonic(), active.intent
        info = self.client.known_order(intent.client_order_id)
        if self._must_ask(active, info):
            active.last_query_s = now
            info = await self.client.get_order_info(intent.client_order_id, force_refresh=True, contract_id=self.instrument.contract_id)
            self.venue_up = True
            if info is None:
                await self._maybe_absent(active)
        if info is None:
            return
        if info.status is OrderStatus.NOT_SENT and info.filled_size == 0:
            await self._maybe_absent(active)
            return
        active.absent_since_s = None
        await self._note(info)
        booked = self.filled(intent.client_order_id)
        if info.filled_size > booked:
            active.short_since_s = now if active.short_since_s is None else active.short_since_s
            if now - active.short_since_s >= LATE_FILL_S and now >= self._next_pull_s:
                await self.pull_fills()
                booked = self.filled(intent.client_order_id)
        if info.status.is_terminal and booked >= info.filled_size:
            refused = info.status is OrderStatus.REJECTED and booked == 0
            await self._become(IntentState.REFUSED if refused else IntentState.SETTLED, info.cancel_reason or "")
            self.say("order.done", id=intent.client_order_id, filled=booked, status=info.status.value)
        elif not info.status.is_terminal and (active.cancel_wanted or self._overdue(active, info)) and now >= active.next_cancel_s:
            await self._cancel(active)

    def _must_ask(self, active: Active, known: OrderInfo | None) -> bool:
        """Streams tell; the venue is asked where they may have lost something: at once after a lost answer, then with growing pauses."""
        if known is not None and known.status.is_terminal and known.status is not OrderStatus.NOT_SENT:
            return False
        now, last = self._clock.monotonic(), active.last_query_s
        if last is None and (known is None or active.intent.state is IntentState.UNKNOWN):
            return True
        on_book = known is not None and known.status not in (OrderStatus.SUBMITTED, OrderStatus.UNKNOWN, OrderStatus.NOT_SENT)
        steady = on_book or active.absent_since_s is not None
        pause = FIRST_LOOK_S if steady else min(max(FIRST_ASK_S, (now - active.sent_s) / 4), MAX_ASK_S)
        return now - (active.sent_s if last is None else last) >= pause

    def _overdue(self, active: Active, info: OrderInfo) -> bool:
        """Whether the order has had its time: one that rests by the plan, an immediate one when it stands on the book nevertheless.

        One that the venue has only queued is not late before the venue's own grace is over.
        """
        now = self._clock.monotonic()
        if active.rests_until_s is not None:
            return now >= active.rests_until_s
        queued = info.status in (OrderStatus.SUBMITTED, OrderStatus.UNKNOWN)
        return now - active.sent_s >= (self._grace_s if queued else FIRST_LOOK_S)

    @property
    def _grace_s(self) -> float:
        """For so long after a send the venue's silence about an order proves nothing."""
        return max(FIRST_LOOK_S, self.client.capabilities.lookup_grace_s)

    async def _maybe_absent(self, active: Active) -> None:
        """The venue does not know the order. Believed when it says so twice with time between, nothing else speaks for the order, and the
        venue has had its grace: an order that was queued just before a restart may still come to life."""
        now = self._clock.monotonic()
        age_s = (self._clock.time_ns() - active.intent.created_at) / NS_PER_S
        if max(age_s, now - active.sent_s) < self._grace_s:
            return
        if active.absent_since_s is None:
            active.absent_since_s = now
        if now - active.absent_since_s < self._limits.absent_grace_s:
            return
        if not await self.reconcile():
            return  # the position moved: unknown stays unknown until records explain it, ours or others'
        if self.filled(active.intent.client_order_id) > 0:
            active.absent_since_s = None
            return
        self.say("order.absent", id=active.intent.client_order_id)
        await self._become(IntentState.ABSENT, "the venue never had it")

    async def _cancel(self, active: Active) -> None:
        """Ask for the end of the order. Whatever the answer, only `_look` decides what became of it (E4)."""
        now = active.last_query_s = self._clock.monotonic()
        active.next_cancel_s = now + min(self._limits.poll_s * 2**active.cancels, MAX_BACKOFF_S)
        active.cancels += 1
        try:
            await self.client.cancel_order(active.intent.client_order_id, contract_id=self.instrument.contract_id)
        except VenueError as e:
            log.info("cancel.unproved pair=%s id=%s error=%s", self.pair_id, active.intent.client_order_id, e)
            if isinstance(e, TransportError | VenueUnavailable | RateLimited):
                raise
        active.last_query_s = None

    def cancel(self) -> None:
        """Have the active order taken off the book; asking again changes nothing."""
        if self.active is not None and not self.active.cancel_wanted:
            self.active.cancel_wanted = True
            self._wake.set()

    # ---- evidence

    def wake(self) -> None:
        """Something about our orders came in: look now."""
        self._wake.set()

    async def take_fill(self, fill: Fill) -> None:
        """One execution on the account, perhaps seen before; ours is booked once, another's is remembered apart."""
        if fill.instrument != self.instrument.id:
            return
        async with self._booking:
            await self._take(fill)

    async def _take(self, fill: Fill) -> None:
        key = (fill.trade_id, fill.side.value)
        if key in self.fills or key in self._explained:
            return
        owner = self._owner(fill)
        forced = fill.kind is not FillKind.TRADE and fill.side.sign != self.leg.sign
        if owner is not None or (forced and self.foreign == 0 and fill.quantity <= self.own):
            await self._book(fill, owner, FillCause(fill.kind.value))
        elif fill.ts_venue_ns >= self.created_ns - LOOKBACK_NS:
            if forced and key not in self._orphans:
                self._forced_looks = FORCED_LOOKS
                self._on_change()
            self._orphans[key] = fill
            if len(self._orphans) > MAX_ORPHANS:
                self._orphans.popitem(last=False)

    async def _book(self, fill: Fill, owner: str | None, cause: FillCause) -> None:
        record = FillRecord(
            venue=self.venue,
            account=self.account,
            trade_id=fill.trade_id,
            pair_id=self.pair_id,
            leg=self.leg,
            instrument=str(self.instrument.id),
            intent_id=self.intents[owner].intent_id if owner is not None else None,
            client_order_id=owner,
            order_id=fill.order_id,
            side=fill.side.value,
            price=fill.price,
            quantity=fill.quantity,
            fee=fill.fee,
            fee_asset=fill.fee_asset,
            liquidity=fill.liquidity.value,
            kind=cause,
            ts_venue=fill.ts_venue_ns,
            recorded_at=self._clock.time_ns(),
        )
        try:
            await self._journal.write(record, pair_id=self.pair_id, or_fallback=True)
        except JournalError as e:
            log.error("journal.lost pair=%s trade=%s error=%s", self.pair_id, fill.trade_id, e)
        self.fills[fill.trade_id, record.side] = record
        self._pull_gap_s = MIN_PULL_GAP_S
        self._orphans.pop((fill.trade_id, record.side), None)
        self.last_price = fill.price
        if fill.order_id is not None and owner is not None:
            self._owners[fill.order_id] = owner
        self.say("fill", side=fill.side.value, quantity=fill.quantity, price=fill.price, fee=fill.fee, cause=cause.value)
        self._wake.set()
        self._on_change()

    def _owner(self, fill: Fill) -> str | None:
        """The client order id of ours that a fill belongs to."""
        if fill.client_order_id is not None and fill.client_order_id in self.intents:
            return fill.client_order_id
        return self._owners.get(fill.order_id) if fill.order_id is not None else None

    async def _learn(self, order_id: str, client_order_id: str) -> None:
        """The venue's name of our order. Fills that came under it before it was known are ours."""
        if self._owners.get(order_id) == client_order_id:
            return
        self._owners[order_id] = client_order_id
        async with self._booking:
            for fill in [f for f in self._orphans.values() if f.order_id == order_id]:
                await self._take(fill)

    async def pull_fills(self) -> None:
        """Ask the venue for all fills since the pair began; book what is ours and new.

        The most expensive question there is on some venues, so the pauses between two of them grow until a new fill comes.
        """
        self._next_pull_s = self._clock.monotonic() + self._pull_gap_s
        self._pull_gap_s = min(self._pull_gap_s * 2, MAX_PULL_GAP_S)
        fills = await self.client.get_user_trade_history(self.instrument.contract_id, since_ns=self.created_ns - LOOKBACK_NS)
        self.venue_up = True
        async with self._booking:
            for fill in fills:
                if fill.instrument == self.instrument.id:
                    await self._take(fill)

    async def position(self) -> Decimal:
        """The venue's signed position now; zero only when it says so."""
        snapshot = await self.client.get_position_snapshot(self.instrument.contract_id)
        self.venue_up = True
        return ZERO if snapshot is None else snapshot.quantity

    async def reconcile(self) -> bool:
        """Whether the venue's position is what we account for, if need be after taking in the fills it has on record.

        A difference that fills of others explain is theirs: it changes the foreign share; what goes beyond the foreign share reduced ours
        (closed by hand: EXTERNAL; by the venue: booked as what it was). An unexplained difference stays one.
        """
        self._forced_looks = max(self._forced_looks - 1, 0)
        if await self.position() == self.expected_position:
            return True
        if self._clock.monotonic() < self._next_pull_s:
            return False
        await self.pull_fills()
        missing = await self.position() - self.expected_position
        if missing == 0:
            return True
        others = self._explaining(missing)
        if others is None:
            return False
        async with self._booking:
            ours = self._ours_of(-self.leg.sign * missing)
            self.foreign += missing + self.leg.sign * ours
            for fill in reversed(others):
                ours -= await self._explain(fill, ours)
            while len(self._explained) > MAX_ORPHANS:
                self._explained.popitem(last=False)
        self._forced_looks = 0
        self.say("position.external", change=missing, foreign=self.foreign)
        return True

    def _ours_of(self, against: Decimal) -> Decimal:
        """How much of a change against the leg is taken from us: what is left once nothing foreign stands in the leg's direction."""
        theirs = self.leg.sign * self.foreign
        return min(max(against - theirs, ZERO), self.own) if theirs >= 0 else ZERO

    async def _explain(self, fill: Fill, ours: Decimal) -> Decimal:
        """A fill of others: up to `ours` of it closed our share and is booked, the rest is theirs. Returns what was ours."""
        taken = min(fill.quantity, ours) if fill.side.sign != self.leg.sign else ZERO
        if taken > 0:
            fee = fill.fee if taken == fill.quantity else (fill.fee * taken / fill.quantity).quantize(FEE_UNIT)
            cause = FillCause.EXTERNAL if fill.kind is FillKind.TRADE else FillCause(fill.kind.value)
            await self._book(msgspec.structs.replace(fill, quantity=taken, fee=fee), None, cause)
        else:
            key = (fill.trade_id, fill.side.value)
            del self._orphans[key]
            self._explained[key] = None
        return taken

    def _explaining(self, missing: Decimal) -> list[Fill] | None:
        """The newest fills of others that add up to exactly that change, or None. Older ones may have been explained before a restart."""
        found: list[Fill] = []
        total = ZERO
        for fill in sorted(self._orphans.values(), key=lambda f: (f.ts_venue_ns, f.trade_id), reverse=True):
            found.append(fill)
            total += fill.signed_quantity
            if total == missing:
                return found
        return None

    # ---- small things

    async def quote(self, *, reduce: bool) -> Quote:
        """The touch. An exit takes what it can get: the book, else the mark price, else our own last fill (E18)."""
        try:
            bid, ask = await self.client.fetch_bbo_prices(self.instrument.contract_id)
            self.last_price = (bid + ask) / 2
            return Quote(bid, ask)
        except (NotReady, TransportError, ProtocolError, VenueUnavailable, RateLimited):
            if not reduce:
                raise
        try:
            mark = await self.client.fetch_mark_price(self.instrument.contract_id)
            return Quote(mark, mark, "mark")
        except (NotReady, TransportError, ProtocolError, VenueUnavailable, RateLimited, UnsupportedCapability):
            if self.last_price is None:
                raise
            return Quote(self.last_price, self.last_price, "last fill")

    async def _reducible(self, quantity: Decimal) -> Decimal:
        """Never more than the venue shows of our share, read now (E17); our own count where it cannot be read but honours reduce-only."""
        try:
            shown = self.leg.sign * (await self.position() - self.foreign)
        except VenueError as e:
            self.mark(e)
            if not self.client.capabilities.reduce_only:
                raise
            return min(quantity, self.own)
        return min(quantity, self.own, max(shown, ZERO))

    async def _note(self, info: OrderInfo) -> None:
        """Journal the venue's word on our order when it changed."""
        active = self.active
        if active is None:
            return
        coid = active.intent.client_order_id
        if info.order_id is not None:
            await self._learn(info.order_id, coid)
        record = OrderRecord(
            venue=self.venue,
            account=self.account,
            client_order_id=coid,
            intent_id=active.intent.intent_id,
            pair_id=self.pair_id,
            order_id=info.order_id,
            status=info.status.value,
            filled_size=info.filled_size,
            average_price=info.average_price,
            cancel_reason=info.cancel_reason,
            updated_at=self._clock.time_ns(),
        )
        held = self._orders.get(coid)
        if held is None or msgspec.structs.replace(held, updated_at=0) != msgspec.structs.replace(record, updated_at=0):
            self._orders[coid] = record
            await self._journal_fact(record)

    async def _become(self, state: IntentState, note: str) -> None:
        active = self.active
        if active is None:
            return
        active.intent = msgspec.structs.replace(active.intent, state=state, note=note[:500], updated_at=self._clock.time_ns())
        self.intents[active.intent.client_order_id] = active.intent
        await self._journal_fact(active.intent)
        if state.resolved:
            self.active = None
            self._on_change()

    async def _journal_fact(self, record: OrderRecord | IntentRecord) -> None:
        try:
            await self._journal.write(record, pair_id=self.pair_id, or_fallback=True)
        except JournalError as e:
            log.error("journal.lost pair=%s record=%s error=%s", self.pair_id, type(record).__name__, e)

    def _count(self, step: Send, *, progressed: bool) -> None:
        if step.reduce:
            self.reduce_failures = 0 if progressed else self.reduce_failures + 1
            failures = self.reduce_failures
        else:
            self.add_failures = 0 if progressed else self.add_failures + 1
            failures = self.add_failures
        if failures:
            self.ready_s = self._clock.monotonic() + min(self._limits.poll_s * 2 ** (failures - 1), MAX_BACKOFF_S)

    def failed(self, step: Send) -> None:
        """An order that was not even tried, because the other leg could not have followed: an entry gives up by count, an exit waits."""
        if step.reduce:
            self.ready_s = self._clock.monotonic() + FIRST_LOOK_S
        else:
            self._count(step, progressed=False)

    def mark(self, error: VenueError) -> None:
        """A call to the venue failed."""
        if isinstance(error, TransportError | VenueUnavailable):
            self.venue_up = False
        log.warning("venue.error pair=%s leg=%s venue=%s error=%s", self.pair_id, self.leg, self.venue, error)

    def say(self, event: str, **facts: object) -> None:
        """Tell the observer."""
        self._observer(event, self.pair_id, leg=self.leg.value, venue=self.venue, **facts)
