"""Many orders of one owner in one market: each journaled before it is sent and followed to its end, the share counted from own fills."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from database.errors import JournalError
from database.ids import DurableIds
from database.records import FillRecord, HoldingRecord, HoldingState, IntentRecord, IntentState, Leg, OrderRecord
from exchange_clients.errors import VenueError
from exchange_clients.model import TRIGGER_TYPES, ZERO, Instrument, OrderIntent, OrderResult, OrderType, Side, TimeInForce
from exchange_clients.transport.clock import Clock

from .closing import close_out
from .guard import Guard, OrderCheck
from .journaling import AsyncJournal
from .lots import floor_to
from .market import SharedMarket
from .plan import ExecutionLimits
from .pricing import bound
from .proof import OrderProof, Share
from .quotes import touch
from .ticket import IMMEDIATE, DeskOrder, Ticket, TicketRefused

if TYPE_CHECKING:
    from exchange_clients.base_client import BaseExchangeClient

log = logging.getLogger("strategies.execution")

RESTING_LOOK_S = 60.0
FOREVER = float("inf")


class Gate(Protocol):
    """What the desk says before an order that adds."""

    def __call__(self, holding: "Holding") -> str | None:
        """Why nothing may be added now, or None."""
        ...


class Holding:
    """One market, one owner, many orders. Made by `Desk.open_holding`, and again by `Desk.start` after a restart.

    `own` and the fills of `orders()` come from the same fills and always agree; what a liquidation, a deleveraging or a hand closed
    changes `own` only.
    """

    def __init__(
        self,
        record: HoldingRecord,
        client: "BaseExchangeClient",
        instrument: Instrument,
        market: SharedMarket,
        share: Share,
        *,
        journal: AsyncJournal,
        ids: DurableIds,
        clock: Clock,
        limits: ExecutionLimits,
        guard: Guard,
        gate: Gate,
    ) -> None:
        self.record, self.client, self.instrument, self.market, self.share = record, client, instrument, market, share
        self.limits = limits
        self._journal, self._ids, self._clock, self._guard, self._gate = journal, ids, clock, guard, gate
        self.recovered = True
        self._orders: dict[str, DeskOrder] = {}
        self._proofs: dict[str, OrderProof] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._listeners: list[Callable[[Holding], None]] = []
        self._changed = asyncio.Event()
        self._saving = asyncio.Lock()
        self._told = -1
        self._closing: asyncio.Task[None] | None = None
        self._disagrees_since_s: float | None = None
        self._admitted = False
        share.on_change = self._note_change

    # ---- what is proved

    @property
    def holding_id(self) -> str:
        """Its key in the journal."""
        return self.record.holding_id

    @property
    def state(self) -> HoldingState:
        """Where it stands."""
        return self.record.state

    @property
    def own(self) -> Decimal:
        """What it holds by its own fills, signed, long positive."""
        return self.share.own

    @property
    def foreign(self) -> Decimal:
        """What the account holds in this market and is nobody's of ours, signed."""
        return self.market.foreign

    @property
    def suspect(self) -> bool:
        """The venue closed something here and it is not known yet whose it was."""
        return self.market.suspect

    def orders(self, *, tag: str | None = None, live: bool | None = None) -> list[DeskOrder]:
        """Its orders, oldest first, also those that ended and those of before a restart."""
        among = list(self._orders.values()) if not live else [self._orders[i] for i in self.share.proofs if i in self._orders]
        return [o for o in among if (tag is None or o.tag == tag) and (live is None or o.live is live)]

    def order(self, client_order_id: str) -> DeskOrder | None:
        """One of them; None: the desk never journaled it, so it was never sent."""
        return self._orders.get(client_order_id)

    def working(self, side: Side, *, reduce_only: bool | None = None) -> Decimal:
        """What live orders of a side may still fill, whatever is not proved counted in full; without the exits of a venue's own group."""
        live = (o for o in self.orders(live=True) if o.side is side and not o.grouped)
        return sum((o.remaining for o in live if reduce_only in (None, o.intent.reduce_only)), ZERO)

    def reducible(self, side: Side) -> Decimal:
        """How much a new reducing order of that side may be: the own share less what live reducing orders may still take of it (E17)."""
        return max(-side.sign * self.own - self.working(side, reduce_only=True), ZERO)

    def entry_block(self) -> str | None:
        """Why nothing may be added now, or None."""
        if self.state is not HoldingState.OPEN:
            return f"holding {self.holding_id} is {self.state}"
        if not self.recovered:
            return f"holding {self.holding_id} is not reconciled yet"
        if self._disagrees_since_s is not None:
            return f"holding {self.holding_id}: {self.record.venue} shows a position that is not explained yet"
        return self._gate(self)

    def listen(self, listener: Callable[["Holding"], None]) -> Callable[[], None]:
        """Call `listener(holding)` at once after each change of fills, orders or state; the returned function ends it."""
        self._listeners.append(listener)

        def end() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return end

    # ---- orders

    async def place(self, ticket: Ticket) -> DeskOrder:
        """Send an order; returns once the venue has answered, or its answer is lost (then the order is found out about, and stays `live`).

        Raises:
            TicketRefused: a rule of ours is against it; nothing was sent.
            JournalError: it adds and cannot be recorded; nothing was sent.
            VenueError: it needs a price or a position that cannot be read; nothing was sent.
        """
        ticket = self._named(ticket)
        price, reference = await self._priced(ticket)
        shown = await self._shown(ticket) if ticket.reduce_only else None
        if not ticket.reduce_only:
            await self._ask_guard(ticket, price)
        # From here to the order that counts in `working`, nothing is awaited.
        quantity = self._allowed(ticket, price, shown)
        proof = self._prepared(ticket, quantity, price, reference)
        try:
            await self._durable(proof.intent)
        except BaseException:
            self._forget(proof)
            raise
        self.share.say(
            "order.send",
            side=ticket.side.value,
            quantity=quantity,
            price=price,
            purpose=ticket.why.value,
            id=proof.client_order_id,
            why=ticket.reason,
            tag=ticket.tag,
        )
        answered = asyncio.Event()
        self._follow(proof, partial(self._send, proof, partial(self._call, proof, ticket, quantity, price), answered))
        await answered.wait()
        return self._orders[proof.client_order_id]

    async def place_group(self, entry: Ticket, exits: Sequence[Ticket]) -> list[DeskOrder]:
        """An entry with its exits (take-profit, stop) as one native group; the tags of the exits end in `GROUPED`. As `place`.

        Raises:
            TicketRefused, JournalError, VenueError: as `place`; nothing was sent.
        """
        entry = self._named(entry)
        tickets = [entry, *exits]
        priced = [await self._priced(t) for t in tickets]
        await self._ask_guard(entry, priced[0][0])
        quantity = self._allowed(entry, priced[0][0], None)
        proofs = [self._prepared(t, quantity, *p) for t, p in zip(tickets, priced, strict=True)]
        try:
            await self._journal.write(*(p.intent for p in proofs), pair_id=self.holding_id)
        except BaseException:
            for proof in proofs:
                self._forget(proof)
            raise
        intents = [self._wire(p.intent, t) for p, t in zip(proofs, tickets, strict=True)]
        kinds = {t.order_type: i for t, i in zip(exits, intents[1:], strict=True)}
        sending = asyncio.ensure_future(
            self.client.place_bracket(
                intents[0], take_profit=kinds.get(OrderType.TAKE_PROFIT_MARKET), stop_loss=kinds.get(OrderType.STOP_MARKET)
            )
        )
        order = [intents[0], kinds.get(OrderType.TAKE_PROFIT_MARKET), kinds.get(OrderType.STOP_MARKET)]
        sent = [i.client_order_id for i in order if i is not None]

        async def mine(client_order_id: str) -> OrderResult:
            return (await asyncio.shield(sending))[sent.index(client_order_id)]

        answers = [asyncio.Event() for _ in proofs]
        for proof, ticket, answered in zip(proofs, tickets, answers, strict=True):
            self.share.say(
                "order.send",
                side=ticket.side.value,
                quantity=quantity,
                price=proof.intent.limit_price,
                purpose=ticket.why.value,
                id=proof.client_order_id,
                why=ticket.reason,
                tag=ticket.tag,
            )
            self._follow(proof, partial(self._send, proof, partial(mine, proof.client_order_id), answered))
        for answered in answers:
            await answered.wait()
        return [self._orders[p.client_order_id] for p in proofs]

    def _wire(self, intent: IntentRecord, ticket: Ticket) -> OrderIntent:
        return OrderIntent(
            instrument=self.instrument.id,
            side=ticket.side,
            quantity=intent.quantity,
            price=intent.limit_price,
            order_type=ticket.order_type,
            time_in_force=TimeInForce(intent.time_in_force),
            post_only=ticket.post_only,
            reduce_only=self._flagged(ticket),
            trigger_price=intent.trigger_price,
            client_order_id=intent.client_order_id,
            purpose=ticket.why,
        )

    def _free(self, tag: str) -> None:
        """E2: nothing else under a tag before it is known what became of the last order under it."""
        for order in self.orders(tag=tag, live=True):
            if order.unproved:
                raise TicketRefused("unproved", f"it is not known yet what became of order {order.client_order_id} ({tag})")

    async def _shown(self, ticket: Ticket) -> Decimal | None:
        """What the venue shows of our share, read now before a reducing order takes it at once or unguarded (E17); None: not needed.

        Where it cannot be read, our own count is enough on a venue that itself keeps a reducing order from going too far.
        """
        flagged = self._flagged(ticket)
        if ticket.rests and flagged:
            return None
        try:
            shown = await self.market.shown(self.share)
            if shown != self.own:
                await self.market.reconcile()
        except VenueError as e:
            self.market.mark(e, self.holding_id)
            if not flagged:
                raise
            return None
        return shown

    def _allowed(self, ticket: Ticket, price: Decimal, shown: Decimal | None) -> Decimal:
        """Every rule of ours about an order; the quantity that may be sent."""
        if ticket.tag:
            self._free(ticket.tag)
        quantity = ticket.quantity
        if ticket.reduce_only:
            quantity = min(quantity, self.reducible(ticket.side))
            if shown is not None:
                quantity = min(quantity, max(-ticket.side.sign * shown, ZERO))
            if self.instrument.max_quantity is not None:
                quantity = min(quantity, self.instrument.max_quantity)
            if quantity <= 0:
                taking = self.working(ticket.side, reduce_only=True)
                raise TicketRefused("own_share", f"own {self.own}, the venue shows {shown}, other orders may take {taking}")
        quantity = floor_to(quantity, self.instrument.step_size)
        if quantity <= 0:
            raise TicketRefused("quantity", f"{ticket.quantity} is nothing in steps of {self.instrument.step_size}")
        if not ticket.reduce_only:
            self._addable(ticket, quantity, price)
        return quantity

    def _flagged(self, ticket: Ticket) -> bool:
        """Whether the venue itself keeps a reducing order from growing the position."""
        able = self.client.capabilities
        return (
            ticket.reduce_only and able.reduce_only and (able.reduce_only_resting or not ticket.rests or ticket.order_type in TRIGGER_TYPES)
        )

    async def _priced(self, ticket: Ticket) -> tuple[Decimal, Decimal | None]:
        """The limit as it is sent, and the mid at the moment of decision where it was asked for."""
        if ticket.price is not None:
            return self.instrument.price_for(ticket.side, ticket.price), None
        if ticket.order_type in TRIGGER_TYPES and ticket.trigger_price is not None:
            worst = ticket.trigger_price * (1 + ticket.side.sign * self.limits.reduce_bps[-1] / 10_000)
            return self.instrument.price_for(ticket.side, worst), ticket.trigger_price
        quote = await touch(self.client, self.instrument, reduce=ticket.reduce_only, last=self.market.last_price)
        self.market.last_price = quote.mid
        ladder = self.limits.reduce_bps if ticket.reduce_only else self.limits.entry_bps
        bps = ticket.within_bps if ticket.within_bps is not None else ladder[-1] if quote.source != "book" else ladder[0]
        return self.instrument.price_for(ticket.side, bound(ticket.side, quote, bps)), quote.mid

    def _named(self, ticket: Ticket) -> Ticket:
        """What adds has its id before the guard is asked: the guard follows it to its end."""
        if ticket.reduce_only or ticket.client_order_id is not None:
            return ticket
        return msgspec.structs.replace(ticket, client_order_id=self.client.new_client_order_id())

    def _check(self, ticket: Ticket, quantity: Decimal, price: Decimal, client_order_id: str = "") -> OrderCheck:
        return OrderCheck(
            venue=self.record.venue,
            instrument=self.instrument,
            side=ticket.side,
            quantity=quantity,
            price=price,
            reduce_only=False,
            purpose=ticket.why,
            owner=self.holding_id,
            client_order_id=client_order_id,
        )

    async def _ask_guard(self, ticket: Ticket, price: Decimal) -> None:
        """Once, before the first order that adds: the guard may look at the venue."""
        if not self._admitted:
            block = await self._guard.admit(self._check(ticket, ticket.quantity, price))
            if block is not None:
                raise TicketRefused("guard", block)
            self._admitted = True

    def _addable(self, ticket: Ticket, quantity: Decimal, price: Decimal) -> None:
        """Every gate before an order that adds. Reducing orders are never asked (E18)."""
        block = self.entry_block()
        if block is not None:
            raise TicketRefused("entry_block", block)
        sign = ticket.side.sign
        crosses = sign * self.own + quantity + self.working(ticket.side) > 0
        if crosses and self.share.sign == -sign:
            raise TicketRefused("direction", f"the holding was opened for {'shorts' if sign > 0 else 'longs'} only")
        if crosses and self.foreign * sign < 0:
            raise TicketRefused("foreign_position", f"the account holds {self.foreign} of {self.instrument.id}, not ours, the other way")
        block = self._guard.order_block(self._check(ticket, quantity, price, ticket.client_order_id or ""))
        if block is not None:
            raise TicketRefused("guard", block)

    def _prepared(self, ticket: Ticket, quantity: Decimal, price: Decimal, reference: Decimal | None) -> OrderProof:
        now_ns = self._clock.time_ns()
        if ticket.client_order_id is not None and ticket.client_order_id in self._orders:
            raise TicketRefused("client_order_id", f"{ticket.client_order_id} was used before")
        immediate = ticket.price is None or ticket.order_type in (OrderType.STOP_MARKET, OrderType.TAKE_PROFIT_MARKET)
        intent = IntentRecord(
            intent_id=self._intent_id(now_ns, ticket),
            pair_id=self.holding_id,
            leg=Leg.LONG,
            venue=self.record.venue,
            account=self.record.account,
            instrument=self.record.instrument,
            client_order_id=ticket.client_order_id or self.client.new_client_order_id(),
            side=ticket.side.value,
            quantity=quantity,
            limit_price=price,
            reference_price=reference,
            reduce_only=ticket.reduce_only,
            time_in_force=(TimeInForce.IOC if immediate else ticket.time_in_force).value,
            purpose=ticket.why.value,
            reason=ticket.reason,
            state=IntentState.PREPARED,
            created_at=now_ns,
            updated_at=now_ns,
            tag=ticket.tag,
            order_type=ticket.order_type.value,
            trigger_price=None if ticket.trigger_price is None else self.instrument.price_for(ticket.side, ticket.trigger_price),
        )
        return self._prove(intent)

    def _intent_id(self, now_ns: int, ticket: Ticket) -> str:
        """From the durable counter; a reducing order goes out even when the counter cannot be advanced any more."""
        try:
            return f"i{self._ids.next(now_ns)}"
        except JournalError:
            if not ticket.reduce_only:
                raise
            return f"i{self.holding_id}{now_ns}{len(self._orders)}"

    async def _durable(self, intent: IntentRecord) -> None:
        """E8: on disk before a byte leaves. A reducing order is sent even if nothing can be written any more."""
        try:
            await self._journal.write(intent, pair_id=self.holding_id, or_fallback=intent.reduce_only)
        except JournalError as e:
            if not intent.reduce_only:
                raise
            log.error("journal.lost pair=%s intent=%s error=%s", self.holding_id, intent.intent_id, e)

    async def _send(self, proof: OrderProof, place: Callable[[], Awaitable[OrderResult]], answered: asyncio.Event) -> None:
        try:
            await proof.send(place)
        finally:
            answered.set()

    async def _call(self, proof: OrderProof, ticket: Ticket, quantity: Decimal, price: Decimal) -> OrderResult:
        flagged = self._flagged(ticket)
        if ticket.order_type in TRIGGER_TYPES and ticket.trigger_price is not None:
            return await self.client.place_trigger_order(
                self.instrument.contract_id,
                quantity,
                ticket.trigger_price,
                ticket.side,
                ticket.order_type,
                price=price,
                reduce_only=flagged,
                client_order_id=proof.client_order_id,
                purpose=ticket.why,
            )
        return await self.client.place_limit_order(
            self.instrument.contract_id,
            quantity,
            price,
            ticket.side,
            flagged,
            time_in_force=TimeInForce(proof.intent.time_in_force),
            post_only=ticket.post_only,
            client_order_id=proof.client_order_id,
            purpose=ticket.why,
        )

    def _prove(self, intent: IntentRecord) -> OrderProof:
        rests = OrderType(intent.order_type) in TRIGGER_TYPES or TimeInForce(intent.time_in_force) not in IMMEDIATE
        proof = OrderProof(
            self.share,
            self.market,
            intent,
            clock=self._clock,
            limits=self.limits,
            rests_until_s=FOREVER if rests else None,
            look_s=RESTING_LOOK_S,
        )
        self._keep(intent, proof)
        return proof

    def _keep(self, intent: IntentRecord, proof: OrderProof | None) -> None:
        self._orders[intent.client_order_id] = DeskOrder(self.share, intent.client_order_id, proof)

    def _forget(self, proof: OrderProof) -> None:
        """It could not be recorded and was never sent."""
        self._orders[proof.client_order_id].end()
        for known in (self.share.proofs, self.share.intents, self._orders):
            known.pop(proof.client_order_id, None)

    def _follow(self, proof: OrderProof, send: Callable[[], Awaitable[None]] | None = None) -> None:
        """One task per order, from its send to its proved end; whoever waited for the answer may go away."""

        async def life() -> None:
            if send is not None:
                await send()
            await proof.settle()

        def over(task: asyncio.Task[None]) -> None:
            self._tasks.pop(proof.client_order_id, None)
            self._orders[proof.client_order_id].end()
            if not task.cancelled() and task.exception() is not None:
                log.error("order.failed pair=%s id=%s", self.holding_id, proof.client_order_id, exc_info=task.exception())

        task = asyncio.create_task(life(), name=f"{self.holding_id}:{proof.client_order_id}")
        self._tasks[proof.client_order_id] = task
        task.add_done_callback(over)

    def forget(self, before_ns: int, *, keep: Collection[str]) -> int:
        """Orders that ended before then leave memory, but for those in `keep`; how many did. For owners that live long.

        Not before the venue's position has agreed with our account after their end: until then their fills may be told again.
        """
        settled_ns = self.market.settled_ns
        if settled_ns is None:
            return 0
        before_ns = min(before_ns, settled_ns)
        gone = {i for i, o in self._orders.items() if not o.live and o.intent.updated_at < before_ns and i not in keep}
        for client_order_id in gone:
            del self._orders[client_order_id]
        if gone:
            self.share.forget(gone)
        return len(gone)

    def cancel(self, order: DeskOrder) -> None:
        """As `DeskOrder.cancel`."""
        order.cancel()

    async def cancel_all(self, *, adding_only: bool = False) -> None:
        """Every order off the book, or all that add; returns when each end is proved."""
        orders = [o for o in self.orders(live=True) if not (adding_only and o.intent.reduce_only)]
        for order in orders:
            order.cancel()
        await asyncio.gather(*(o.ended() for o in orders))

    # ---- life

    def restore(self, intents: Iterable[IntentRecord], orders: Iterable[OrderRecord], fills: Iterable[FillRecord]) -> None:
        """Take over what the journal holds. What is not proved finished is looked for by client order id before anything is placed."""
        intents, fills = list(intents), list(fills)
        self.share.restore(intents, orders, fills)
        self.recovered = False
        if fills:
            self.market.last_price = fills[-1].price
        for intent in intents:
            if intent.state.resolved:
                self._keep(intent, None)
            else:
                self._follow(self._prove(intent))

    def _note_change(self) -> None:
        self._changed.set()
        if self._told != self.share.version:
            self._told = self.share.version
            self._within_share()
            self._tell()

    def _tell(self) -> None:
        for listener in list(self._listeners):
            try:
                listener(self)
            except Exception:
                log.exception("listener.failed pair=%s", self.holding_id)

    def _within_share(self) -> None:
        """The own share shrank (a hand, a liquidation): reducing orders that together could take more than it come off, newest first."""
        for side in Side:
            excess = self.working(side, reduce_only=True) - max(-side.sign * self.own, ZERO)
            for order in reversed(self.orders(live=True)):
                if excess <= 0:
                    break
                if order.side is side and order.intent.reduce_only and not order.grouped:
                    self.share.say("order.excess", id=order.client_order_id, own=self.own)
                    order.cancel()
                    excess -= order.remaining

    def withdraw_entries(self) -> None:
        """Ask for every order that adds to come off the book."""
        for order in self.orders(live=True):
            if not order.intent.reduce_only:
                order.cancel()

    async def reconcile(self) -> bool:
        """Whether the venue's open orders and position are what we account for. Its open orders of ours are taken up again, and those of
        ours that it does not list are asked for one by one."""
        listed = {o.client_order_id for o in await self.client.get_active_orders(self.instrument.contract_id)}
        for order in self.orders():
            known = order.client_order_id in listed
            proof = self.share.proofs.get(order.client_order_id)
            if proof is not None and not known:
                proof.doubt()
            elif proof is None and known:
                log.warning("order.reopened pair=%s id=%s", self.holding_id, order.client_order_id)
                self._follow(self._prove(msgspec.structs.replace(order.intent, state=IntentState.WORKING)))
        if any(o.unproved for o in self.orders(live=True)):
            return False
        agreed = await self.market.reconcile()
        await self._save_foreign()
        return agreed

    async def check(self) -> bool:
        """One reconciliation; a position that stays unexplained for longer than the limits allow is an ALERT."""
        try:
            agreed = await self.reconcile()
        except VenueError as e:
            self.market.mark(e, self.holding_id)
            self._disagrees_since_s = None
            return False
        except Exception:
            log.exception("check.failed holding=%s", self.holding_id)
            return False
        now = self._clock.monotonic()
        unproved = [o for o in self.orders(live=True) if o.unproved]
        if agreed:
            self._disagrees_since_s = None
            return True
        if self._disagrees_since_s is None:
            self._disagrees_since_s = now
        if now - self._disagrees_since_s > self.limits.resolve_deadline_s and self.state is HoldingState.OPEN and not unproved:
            self.share.say("position.unexplained", expected=self.market.expected_position)
            await self.move(HoldingState.ALERT, f"{self.record.venue} shows a position that no record explains")
        return False

    async def _save_foreign(self) -> None:
        foreign = self.foreign
        if foreign != self.record.foreign_quantity:
            await self._save()

    async def move(self, state: HoldingState, reason: str) -> None:
        """Go to another state, durably; with the exact rest where something is left (E16)."""
        now_ns = self._clock.time_ns()
        before = self.state
        left = f"; own {self.own}" if self.own and state in (HoldingState.ALERT, HoldingState.CLOSED) else ""
        closed_at = now_ns if state is HoldingState.CLOSED else None
        await self._save(state=state, reason=reason + left, closed_at=closed_at)
        if state is HoldingState.ALERT:
            self.withdraw_entries()
        log.info("holding.%s holding=%s reason=%s", state, self.holding_id, reason + left)
        self.share.say("holding.state", before=before.value, state=state.value, reason=reason + left)
        self._changed.set()
        self._tell()

    async def _save(self, **changes: Any) -> None:
        """On disk, or at least in memory; with what is foreign now, because the owner written last is believed about that. One after the
        other, each on top of the last: a check that notes what is foreign takes back no state."""
        async with self._saving:
            record = msgspec.structs.replace(self.record, updated_at=self._clock.time_ns(), **changes)
            if record.state is not HoldingState.CLOSED:
                record = msgspec.structs.replace(record, foreign_quantity=self.foreign)
            try:
                await self._journal.write(record, pair_id=self.holding_id, or_fallback=True)
            except JournalError as e:
                log.error("journal.lost holding=%s state=%s error=%s", self.holding_id, record.state, e)
            self.record = record
            self.share.ended = record.state is HoldingState.CLOSED

    # ---- the end

    async def close(self, reason: str) -> HoldingRecord:
        """Everything off the book, the own share sold reduce-only in bounded steps, the end proved; a second request joins the first.

        Returns the record: CLOSED (a rest below the venue's minimum is named), or ALERT with the exact rest.
        """
        await self.begin_close(reason)
        if self._closing is not None:
            await asyncio.shield(self._closing)
        return self.record

    async def begin_close(self, reason: str) -> None:
        """As `close`, without waiting; the reason is on disk before anything is sent (E19)."""
        if self.state is HoldingState.CLOSED or (self._closing is not None and not self._closing.done()):
            return
        await self.move(HoldingState.CLOSING, reason)
        self.resume_close()

    def resume_close(self) -> None:
        """A decided exit goes on, also after a restart."""
        if self._closing is None or self._closing.done():
            self._closing = asyncio.create_task(close_out(self, self._clock, self.record.reason), name=f"{self.holding_id}:close")

    async def drop(self) -> None:
        """End the tasks; orders stay as they are."""
        tasks = [*self._tasks.values(), *([self._closing] if self._closing is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
