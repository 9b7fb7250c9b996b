"""One leg of a pair on one venue: at most one order at a time, from a durable intent to its proved end."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from decimal import Decimal
from functools import partial

from database.errors import JournalError
from database.ids import DurableIds
from database.records import FillRecord, IntentRecord, IntentState, Leg, OrderRecord, PairRecord
from exchange_clients.errors import MinNotional, OrderDenied, VenueError
from exchange_clients.model import ZERO, Purpose, Side
from exchange_clients.transport.clock import Clock

from .decide import LegView, Send
from .guard import Guard, OrderCheck
from .journaling import AsyncJournal, Observer
from .market import SharedMarket
from .pauses import growing
from .plan import ExecutionLimits, Tactic
from .pricing import Quote, rung, terms
from .proof import FIRST_LOOK_S, MAX_BACKOFF_S, OrderProof
from .quotes import touch

log = logging.getLogger("strategies.execution")


class LegTrader:
    """Sends at most one order at a time, and knows what the leg holds from its own fills alone."""

    def __init__(
        self,
        pair: PairRecord,
        leg: Leg,
        market: SharedMarket,
        *,
        journal: AsyncJournal,
        ids: DurableIds,
        clock: Clock,
        limits: ExecutionLimits,
        observer: Observer,
        guard: Guard,
        on_change: Callable[[], None],
        entry_block: Callable[[], str | None],
    ) -> None:
        self.pair_id, self.leg, self.market = pair.pair_id, leg, market
        self.client, self.instrument = market.client, market.instrument
        self.venue, self.account = pair.venue(leg), pair.account
        self._journal, self._ids, self._clock, self._limits = journal, ids, clock, limits
        self._guard, self._on_change, self._entry_block = guard, on_change, entry_block
        self.share = market.join(
            pair.pair_id, leg, sign=leg.sign, created_ns=pair.created_at, observer=observer, on_change=on_change, journal=journal
        )
        self.add_failures = self.reduce_failures = 0
        self.ready_s = 0.0
        self._waits = 0
        self.excused = 0
        """Orders that a venue which is paused or gone cost no try."""
        self._step: Send | None = None

    # ---- what is proved

    @property
    def own(self) -> Decimal:
        """What the leg holds by its fills: positive in its direction; negative would be a flipped leg."""
        return self.leg.sign * self.share.own

    @property
    def active(self) -> OrderProof | None:
        """The one order of this leg that is not proved finished."""
        return next(iter(self.share.proofs.values()), None)

    @property
    def intents(self) -> dict[str, IntentRecord]:
        """Every order of this leg, by client order id."""
        return self.share.intents

    @property
    def foreign(self) -> Decimal:
        """What the account holds in the market and is not ours, signed."""
        return self.market.foreign

    @property
    def expected_position(self) -> Decimal:
        """What the venue must show: our share and what was there before."""
        return self.market.expected_position

    @property
    def suspect(self) -> bool:
        """The venue closed something and it is not known yet whose it was."""
        return self.market.suspect

    @property
    def venue_up(self) -> bool:
        """False: reads from the venue fail at present."""
        return self.market.venue_up

    @property
    def last_price(self) -> Decimal | None:
        """The last price that is known, for values only."""
        return self.market.last_price

    def view(self) -> LegView:
        """For the rules."""
        active = self.active
        return LegView(
            instrument=self.instrument,
            price=self.last_price,
            own=self.own,
            busy=active is not None or self._step is not None,
            adding=not active.intent.reduce_only if active is not None else self._step is not None and not self._step.reduce,
            stuck=active is not None and active.waiting_s > self._limits.resolve_deadline_s,
            add_failures=self.add_failures,
            reduce_failures=self.reduce_failures,
            venue_up=self.venue_up,
            offline_s=self.market.offline_s,
            paused=self.market.paused,
            was_paused=self.market.pauses > 0,
        )

    def restore(self, intents: Iterable[IntentRecord], orders: Iterable[OrderRecord], fills: Iterable[FillRecord]) -> None:
        """Take over what the journal holds; the unresolved order, if any, becomes the active one."""
        intents, fills = list(intents), list(fills)
        self.share.restore(intents, orders, fills)
        for intent in intents:
            if not intent.state.resolved:
                self._prove(intent, cancel_wanted=True)
        if fills:
            self.market.last_price = fills[-1].price

    def _prove(self, intent: IntentRecord, *, rests_until_s: float | None = None, cancel_wanted: bool = False) -> OrderProof:
        return OrderProof(
            self.share,
            self.market,
            intent,
            clock=self._clock,
            limits=self._limits,
            rests_until_s=rests_until_s,
            cancel_wanted=cancel_wanted,
        )

    # ---- one order

    def begin(self, step: Send, tactic: Tactic, worst: Decimal | None = None) -> asyncio.Task[None]:
        """Start an order, never priced beyond `worst`; the leg is busy until the task ends."""
        self._step = step
        return asyncio.create_task(self._order(step, tactic, worst), name=f"{self.pair_id}:{self.leg}")

    async def _order(self, step: Send, tactic: Tactic, worst: Decimal | None) -> None:
        before = self.own
        try:
            await self._prepare_and_send(step, tactic, worst)
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

    def side(self, *, reduce: bool) -> Side:
        """Of the orders that add, or reduce."""
        return Side.BUY if (self.leg is Leg.LONG) != reduce else Side.SELL

    @property
    def paid(self) -> Decimal | None:
        """The average price of what was added by our orders, None before the first fill."""
        added = [f for f in self.share.fills.values() if f.client_order_id is not None and f.signed * self.leg.sign > 0]
        return sum((f.price * f.quantity for f in added), ZERO) / sum((f.quantity for f in added), ZERO) if added else None

    async def _prepare_and_send(self, step: Send, tactic: Tactic, worst: Decimal | None) -> None:
        side = self.side(reduce=step.reduce)
        quantity = await self._reducible(step.quantity) if step.reduce else step.quantity
        if quantity <= 0:
            self.say("order.blocked", reason="the venue shows nothing of ours to reduce")
            return
        quote = await self.quote(reduce=step.reduce)
        ladder = self._limits.reduce_bps if step.reduce else self._limits.entry_bps if step.purpose == "entry" else self._limits.hedge_bps
        bps = ladder[-1] if tactic is Tactic.MARKET or quote.source != "book" else rung(ladder, step.attempt)
        how = terms(self.instrument, side, tactic, quote, bps, worst=worst, offset=self._limits.maker_offset)
        client_order_id = self.client.new_client_order_id()
        if not step.reduce and (block := self._order_block(side, quantity, how.price, step, client_order_id)) is not None:
            self.say("order.blocked", reason=block)
            return
        now_ns = self._clock.time_ns()
        intent = IntentRecord(
            intent_id=self._intent_id(now_ns, step),
            pair_id=self.pair_id,
            leg=self.leg,
            venue=self.venue,
            account=self.account,
            instrument=str(self.instrument.id),
            client_order_id=client_order_id,
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
        proof = self._prove(intent, rests_until_s=rests_until)
        if step.purpose is Purpose.ENTRY and (block := self._entry_block()) is not None:
            await proof.withhold(block)
            return
        self.say(
            "order.send",
            side=side.value,
            quantity=quantity,
            price=how.price,
            purpose=intent.purpose,
            id=intent.client_order_id,
            why=intent.reason,
        )
        place = partial(
            self.client.place_limit_order,
            self.instrument.contract_id,
            quantity,
            how.price,
            side,
            step.reduce and self.client.capabilities.reduce_only,
            time_in_force=how.time_in_force,
            post_only=how.post_only,
            client_order_id=intent.client_order_id,
            purpose=step.purpose,
        )
        await proof.send(place)
        if step.reduce and self.view().small and isinstance(proof.refusal, MinNotional | OrderDenied):
            self.reduce_failures = self._limits.max_reduce_attempts  # dust: the venue will not take less tomorrow

    def _order_block(self, side: Side, quantity: Decimal, price: Decimal, step: Send, client_order_id: str) -> str | None:
        """What is against an order that adds, now: since the rules looked, venues were asked and the disk was waited for."""
        block = self._entry_block() if step.purpose is Purpose.ENTRY else None
        return block or self._guard.order_block(
            OrderCheck(
                venue=self.venue,
                instrument=self.instrument,
                side=side,
                quantity=quantity,
                price=price,
                reduce_only=False,
                purpose=step.purpose,
                owner=self.pair_id,
                client_order_id=client_order_id,
            )
        )

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

    async def settle(self) -> None:
        """Until the active order, if any, is proved finished. Never gives up by itself; see `stuck`."""
        while (active := self.active) is not None:
            await active.settle()

    async def settle_within(self, seconds: float) -> None:
        """As `settle`, but return after a while even if the order is still unresolved (it stays so)."""
        try:
            async with asyncio.timeout(seconds):
                await self.settle()
        except TimeoutError:
            return

    def cancel(self) -> None:
        """Have the active order taken off the book; asking again changes nothing."""
        if self.active is not None:
            self.active.cancel()

    def hurry(self) -> None:
        """An exit that rests on the book is taken off: it has to be done now."""
        if self.active is not None and self.active.intent.reduce_only and self.active.rests_until_s is not None:
            self.active.cancel()

    # ---- evidence

    def wake(self) -> None:
        """Something about our orders came in: look now."""
        self.share.wake()

    async def position(self) -> Decimal:
        """The venue's signed position now; zero only when it says so."""
        return await self.market.position()

    async def reconcile(self) -> bool:
        """Whether the venue's position is what we account for; see `SharedMarket.reconcile`."""
        return await self.market.reconcile()

    # ---- small things

    async def quote(self, *, reduce: bool) -> Quote:
        """The touch. An exit takes what it can get: the book, else the mark price, else our own last fill (E18)."""
        quote = await touch(self.client, self.instrument, reduce=reduce, last=self.last_price)
        if quote.source == "book":
            self.market.last_price = quote.mid
        return quote

    async def _reducible(self, quantity: Decimal) -> Decimal:
        """Never more than the venue shows of our share, read now (E17); our own count where it cannot be read but honours reduce-only."""
        before = self.own
        try:
            shown = self.leg.sign * await self.market.shown(self.share)
        except VenueError as e:
            self.mark(e)
            if not self.client.capabilities.reduce_only:
                raise
            return min(quantity, self.own)
        if shown != before:
            try:
                await self.market.reconcile()
                if self.own != before:
                    return ZERO  # somebody reduced it already: the rules look again
                shown = self.leg.sign * await self.market.shown(self.share)
            except VenueError as e:
                self.mark(e)  # why it differs is not known yet; how much there is, is
        return min(quantity, self.own, max(shown, ZERO))

    def _count(self, step: Send, *, progressed: bool) -> None:
        """How often in a row nothing came of it. A venue that is paused or cannot be reached spends no tries of an exit: it waits, longer
        each time, and goes on (E18)."""
        if self.market.paused or (step.reduce and not self.venue_up):
            self._waits += 1
            self.excused += 1
            pause = growing(self._limits.poll_s, self._waits, MAX_BACKOFF_S)
            self.ready_s = max(self.market.paused_until_s, self._clock.monotonic() + pause)
            return
        self._waits = 0
        if step.reduce:
            self.reduce_failures = 0 if progressed else self.reduce_failures + 1
            failures = self.reduce_failures
        else:
            self.add_failures = 0 if progressed else self.add_failures + 1
            failures = self.add_failures
        if failures:
            self.ready_s = self._clock.monotonic() + growing(self._limits.poll_s, failures - 1, MAX_BACKOFF_S)

    def failed(self, step: Send) -> None:
        """An order that was not even tried, because the other leg could not have followed: an entry gives up by count, an exit waits."""
        if step.reduce:
            self.ready_s = self._clock.monotonic() + FIRST_LOOK_S
        else:
            self._count(step, progressed=False)

    def mark(self, error: VenueError) -> None:
        """A call to the venue failed."""
        self.market.mark(error, self.pair_id)

    def say(self, event: str, **facts: object) -> None:
        """Tell the observer."""
        self.share.say(event, **facts)
