"""What is proved of one order, and of one owner's share in a market.

Pairs and holdings both stand on this file. Nothing here decides what is sent.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from database.errors import JournalError
from database.records import FillCause, FillRecord, IntentRecord, IntentState, Leg, OrderRecord
from exchange_clients.errors import DuplicateClientOrderId, Outcome, RateLimited, TransportError, VenueError, VenuePaused, VenueUnavailable
from exchange_clients.model import NS_PER_S, ZERO, Fill, FillKind, Instrument, OrderInfo, OrderResult, OrderStatus
from exchange_clients.transport.clock import Clock

from .journaling import AsyncJournal, Observer
from .pauses import growing
from .plan import ExecutionLimits

if TYPE_CHECKING:
    from .market import SharedMarket

log = logging.getLogger("strategies.execution")

FIRST_LOOK_S = 1.0
FIRST_ASK_S = 0.5
MAX_ASK_S = 5.0
LATE_FILL_S = 0.3
MAX_BACKOFF_S = 10.0
LOOKBACK_NS = 60 * 1_000_000_000
ON_BOOK = frozenset({OrderStatus.PENDING, OrderStatus.OPEN, OrderStatus.PARTIALLY_FILLED})

Execution = tuple[str, str]
"""Trade id and side: an account that trades with itself has both sides of one trade."""


class Share:
    """What one owner (a leg of a pair, a holding) has in one market, by its own fills alone.

    `sign`: +1 or -1 for an owner that is only ever long or short, 0 for one that may be either.
    """

    def __init__(
        self,
        owner: str,
        leg: Leg,
        venue: str,
        account: str,
        instrument: Instrument,
        *,
        sign: int,
        created_ns: int,
        journal: AsyncJournal,
        clock: Clock,
        observer: Observer,
        on_change: Callable[[], None],
    ) -> None:
        self.owner, self.leg, self.venue, self.account, self.instrument = owner, leg, venue, account, instrument
        self.sign, self.created_ns, self.on_change = sign, created_ns, on_change
        self._journal, self._clock, self._observer = journal, clock, observer
        self.ended = False
        """The owner is closed: its fills are still its own, its rest counts as foreign."""
        self.changed = False
        """Somebody else changed what the owner holds; the owner takes note and clears this."""
        self.intents: dict[str, IntentRecord] = {}
        self.orders: dict[str, OrderRecord] = {}
        self.fills: dict[Execution, FillRecord] = {}
        self.proofs: dict[str, OrderProof] = {}
        """Orders that are not proved finished, by client order id."""
        self.version = 0
        """Counts what was learned: fills, and changes in what is proved of orders."""
        self._clients: dict[str, str] = {}
        self._held = ZERO
        self._filled: dict[str, tuple[Decimal, Decimal]] = {}

    def follow(self, observer: Observer, on_change: Callable[[], None], journal: AsyncJournal) -> None:
        """Somebody takes the share over: after a restart it stood here by the journal alone."""
        self._observer, self.on_change, self._journal = observer, on_change, journal

    @property
    def own(self) -> Decimal:
        """Signed, long positive."""
        return self._held

    @property
    def direction(self) -> int:
        """In which direction the share stands; for an owner of either side and nothing held, 0."""
        return self.sign or (self.own > 0) - (self.own < 0)

    def filled(self, client_order_id: str) -> Decimal:
        """Cumulative own fill of one order."""
        return self._filled.get(client_order_id, (ZERO, ZERO))[0]

    def cost(self, client_order_id: str) -> Decimal:
        """Price times quantity, summed over the fills of one order."""
        return self._filled.get(client_order_id, (ZERO, ZERO))[1]

    def owner_of(self, fill: Fill) -> str | None:
        """The client order id of ours that a fill belongs to."""
        if fill.client_order_id is not None and fill.client_order_id in self.intents:
            return fill.client_order_id
        return self._clients.get(fill.order_id) if fill.order_id is not None else None

    def may_own(self, fill: Fill, absent: "OrderProof | None" = None) -> bool:
        """Whether a fill that names no client order id may be of an order of ours whose id at the venue is not known yet.

        `absent`: one that the venue says it does not have.
        """
        if fill.client_order_id is not None or fill.kind is not FillKind.TRADE:
            return False
        named = set(self._clients.values())
        return any(
            proof is not absent and client_order_id not in named and proof.intent.side == fill.side.value
            for client_order_id, proof in self.proofs.items()
        )

    def name(self, order_id: str, client_order_id: str) -> bool:
        """Remember the venue's name of our order; False when it was known."""
        if self._clients.get(order_id) == client_order_id:
            return False
        self._clients[order_id] = client_order_id
        return True

    def restore(self, intents: Iterable[IntentRecord], orders: Iterable[OrderRecord], fills: Iterable[FillRecord]) -> None:
        """Take over what the journal holds."""
        for intent in intents:
            self.intents[intent.client_order_id] = intent
        for order in orders:
            self.orders[order.client_order_id] = order
            if order.order_id is not None:
                self.name(order.order_id, order.client_order_id)
        for fill in fills:
            self._keep(fill)

    def forget(self, gone: Collection[str]) -> None:
        """Orders that ended long ago leave memory; what they filled stays in `own`, and all of them stay in the journal."""
        for client_order_id in gone:
            for known in (self.intents, self.orders, self._filled):
                known.pop(client_order_id, None)
        self.fills = {key: fill for key, fill in self.fills.items() if fill.client_order_id not in gone}
        self._clients = {order_id: name for order_id, name in self._clients.items() if name not in gone}

    def _keep(self, fill: FillRecord) -> None:
        if (fill.trade_id, fill.side) in self.fills:
            return
        self.version += 1
        self.fills[fill.trade_id, fill.side] = fill
        self._held += fill.signed
        if fill.client_order_id is not None:
            filled, cost = self._filled.get(fill.client_order_id, (ZERO, ZERO))
            self._filled[fill.client_order_id] = (filled + fill.quantity, cost + fill.quantity * fill.price)

    async def book(self, fill: Fill, client_order_id: str | None, cause: FillCause) -> None:
        """A fill is ours: on disk, or at least in memory; what happened at the venue is not undone by a full disk."""
        record = FillRecord(
            venue=self.venue,
            account=self.account,
            trade_id=fill.trade_id,
            pair_id=self.owner,
            leg=self.leg,
            instrument=str(self.instrument.id),
            intent_id=self.intents[client_order_id].intent_id if client_order_id is not None else None,
            client_order_id=client_order_id,
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
            await self._journal.write(record, pair_id=self.owner, or_fallback=True)
        except JournalError as e:
            log.error("journal.lost pair=%s trade=%s error=%s", self.owner, fill.trade_id, e)
        self._keep(record)
        if fill.order_id is not None and client_order_id is not None:
            self.name(fill.order_id, client_order_id)
        self.say("fill", side=fill.side.value, quantity=fill.quantity, price=fill.price, fee=fill.fee, cause=cause.value)
        self.wake(client_order_id)
        self.on_change()

    def wake(self, client_order_id: str | None = None) -> None:
        """Something about an order came in (None: about any): whoever waits for its end looks now."""
        for proof in list(self.proofs.values()):
            if client_order_id is None or client_order_id == proof.intent.client_order_id:
                proof.wake()

    def say(self, event: str, **facts: object) -> None:
        """Tell the observer."""
        self._observer(event, self.owner, leg=self.leg.value, venue=self.venue, **facts)

    async def journal_fact(self, record: OrderRecord | IntentRecord) -> None:
        """Something seen at a venue: never held up by the disk."""
        try:
            await self._journal.write(record, pair_id=self.owner, or_fallback=True)
        except JournalError as e:
            log.error("journal.lost pair=%s record=%s error=%s", self.owner, type(record).__name__, e)


class OrderProof:
    """One order, from before its first byte until its end *and* its cumulative fill are proved (E2, E4). Times are seconds of asyncio time.

    `rests_until_s`: None for an order that is done at once, infinite for one that stays until it is canceled. `look_s`: how often the
    venue is asked about an order that is known to stand on its book; streams tell the rest.
    """

    def __init__(
        self,
        share: Share,
        market: "SharedMarket",
        intent: IntentRecord,
        *,
        clock: Clock,
        limits: ExecutionLimits,
        rests_until_s: float | None = None,
        cancel_wanted: bool = False,
        look_s: float = FIRST_LOOK_S,
    ) -> None:
        self.share, self.market, self.intent = share, market, intent
        self._clock, self._limits, self._look_s = clock, limits, look_s
        self.sent_s = clock.monotonic()
        self.proved_ns = intent.created_at
        """All of its fills until then are booked: the venue was asked."""
        self.rests_until_s = rests_until_s
        self.cancel_wanted = cancel_wanted
        self.refusal: VenueError | None = None
        """The error that a refused order was refused with, where there was one."""
        self._cancels = 0
        self._next_cancel_s = 0.0
        self._absent_since_s: float | None = None
        self._last_query_s: float | None = None
        self._short_since_s: float | None = None
        """Since when the venue has reported more filled than we have fills of."""
        self._steady = False
        """Known to stand on the book, with every fill it reports booked."""
        self._wake = asyncio.Event()
        share.intents[intent.client_order_id] = intent
        share.proofs[intent.client_order_id] = self

    @property
    def client_order_id(self) -> str:
        """Ours, for the life of the order."""
        return self.intent.client_order_id

    @property
    def resolved(self) -> bool:
        """Nothing about the order can change a position any more."""
        return self.intent.state.resolved

    @property
    def waiting_s(self) -> float:
        """For how long its outcome has been due."""
        return self._clock.monotonic() - max(self.sent_s, self.rests_until_s or 0.0)

    async def send(self, place: Callable[[], Awaitable[OrderResult]]) -> None:
        """Let `place` put it on the venue, and remember which of the three answers came. The intent must be durable (E8)."""
        try:
            result = await place()
        except VenueError as e:
            self.market.mark(e, self.share.owner)
            if e.outcome is Outcome.UNKNOWN or isinstance(e, DuplicateClientOrderId):
                self.share.say("order.unknown", id=self.client_order_id, reason=str(e))
                await self._become(IntentState.UNKNOWN, str(e))
            else:
                await self._refused(str(e), e)
            return
        except Exception as e:
            log.exception("order.send_failed pair=%s id=%s", self.share.owner, self.client_order_id)
            self.share.say("order.unknown", id=self.client_order_id, reason=repr(e))
            await self._become(IntentState.UNKNOWN, repr(e))
            return
        if result.success:
            self.market.answered()
            self.market.resumed()
            if result.order_id is not None:
                await self.market.learn(self.share, result.order_id, self.client_order_id)
            await self._become(IntentState.WORKING, "")
            return
        error = result.error
        if result.outcome == Outcome.UNKNOWN or isinstance(error, DuplicateClientOrderId):
            self.share.say("order.unknown", id=self.client_order_id, reason=str(result.error_message))
            await self._become(IntentState.UNKNOWN, str(result.error_message))
        else:
            await self._refused(str(result.error_message), error if isinstance(error, VenueError) else None)

    async def withhold(self, reason: str) -> None:
        """It is written down but not sent: something came between."""
        await self._refused(reason, None)

    async def _refused(self, reason: str, error: VenueError | None) -> None:
        """A definite no: the venue's own words, or our own check."""
        self.refusal = error
        if isinstance(error, VenuePaused):
            self.market.pause()
        await self._become(IntentState.REFUSED, reason)
        self.share.say("order.refused", reason=reason)

    async def settle(self) -> None:
        """Until the order is proved finished: its end *and* its cumulative fill. Never gives up by itself."""
        while not self.intent.state.resolved:
            self._wake.clear()
            pause_s = None
            try:
                await self.look()
            except VenueError as e:
                self.market.mark(e, self.share.owner)
            except Exception:
                log.exception("order.look_failed pair=%s id=%s", self.share.owner, self.client_order_id)
                pause_s = MAX_ASK_S
            self.share.on_change()
            if self.resolved:
                return
            try:
                async with asyncio.timeout(self._pause_s if pause_s is None else pause_s):
                    await self._wake.wait()
            except TimeoutError:
                pass

    @property
    def _pause_s(self) -> float:
        """Until the next look, if nothing comes in: short while something is expected, long for an order that only waits on the book."""
        if self._steady and not self.cancel_wanted and self._look_s > FIRST_LOOK_S:
            return self._look_s
        return self._limits.poll_s if self.market.venue_up else self._limits.poll_s * 4

    def wake(self) -> None:
        """Something about the order came in: look now."""
        self._wake.set()

    def doubt(self) -> None:
        """What is known of the order may be old: the next look asks the venue."""
        self._last_query_s = -self._look_s
        self._wake.set()

    async def look(self) -> None:
        """One look at what is known, asking the venue where that may be too little."""
        now, intent = self._clock.monotonic(), self.intent
        self._steady = False
        asked_ns = None
        info = self.market.client.known_order(intent.client_order_id)
        if self._must_ask(info):
            self._last_query_s = now
            asked_ns = self._clock.time_ns()
            contract = self.market.instrument.contract_id
            info = await self.market.client.get_order_info(intent.client_order_id, force_refresh=True, contract_id=contract)
            self.market.answered()
            if info is None:
                await self._maybe_absent()
        if info is None:
            return
        if info.status is OrderStatus.NOT_SENT and info.filled_size == 0:
            await self._maybe_absent()
            return
        self._absent_since_s = None
        await self._note(info)
        if info.status in ON_BOOK and intent.state in (IntentState.PREPARED, IntentState.UNKNOWN):
            await self._become(IntentState.WORKING, "found at the venue")
        booked = self.share.filled(intent.client_order_id)
        if info.filled_size > booked:
            self._short_since_s = now if self._short_since_s is None else self._short_since_s
            if now - self._short_since_s >= LATE_FILL_S and now >= self.market.next_pull_s:
                await self.market.pull_fills(intent.created_at - LOOKBACK_NS)
                booked = self.share.filled(intent.client_order_id)
        if info.status.is_terminal and booked >= info.filled_size:
            refused = info.status is OrderStatus.REJECTED and booked == 0
            await self._become(IntentState.REFUSED if refused else IntentState.SETTLED, info.cancel_reason or "")
            self.share.say("order.done", id=intent.client_order_id, filled=booked, status=info.status.value)
        elif not info.status.is_terminal and (self.cancel_wanted or self._overdue(info)):
            if now >= self._next_cancel_s:
                await self._cancel()
        else:
            self._steady = booked >= info.filled_size and info.status in ON_BOOK
            if self._steady and asked_ns is not None:
                self.proved_ns = asked_ns

    def _must_ask(self, known: OrderInfo | None) -> bool:
        """Streams tell; the venue is asked where they may have lost something: at once after a lost answer, then with growing pauses."""
        if known is not None and known.status.is_terminal and known.status is not OrderStatus.NOT_SENT:
            return False
        now, last = self._clock.monotonic(), self._last_query_s
        if last is None and (known is None or self.intent.state is IntentState.UNKNOWN):
            return True
        if known is not None and known.status in ON_BOOK:
            pause = FIRST_LOOK_S if self.cancel_wanted else self._look_s
        elif self._absent_since_s is not None:
            pause = FIRST_LOOK_S
        else:
            pause = min(max(FIRST_ASK_S, (now - self.sent_s) / 4), MAX_ASK_S)
        return now - (self.sent_s if last is None else last) >= pause

    def _overdue(self, info: OrderInfo) -> bool:
        """Whether the order has had its time: one that rests by the plan, an immediate one when it stands on the book nevertheless.

        One that the venue has only queued is not late before the venue's own grace is over.
        """
        now = self._clock.monotonic()
        if self.rests_until_s is not None:
            return now >= self.rests_until_s
        queued = info.status in (OrderStatus.SUBMITTED, OrderStatus.UNKNOWN)
        return now - self.sent_s >= (self._grace_s if queued else FIRST_LOOK_S)

    @property
    def _grace_s(self) -> float:
        """For so long after a send the venue's silence about an order proves nothing."""
        return max(FIRST_LOOK_S, self.market.client.capabilities.lookup_grace_s)

    async def _maybe_absent(self) -> None:
        """The venue does not know the order. Believed when it says so twice with time between, nothing else speaks for the order, and the
        venue has had its grace: an order that was queued just before a restart may still come to life."""
        now = self._clock.monotonic()
        age_s = (self._clock.time_ns() - self.intent.created_at) / NS_PER_S
        if max(age_s, now - self.sent_s) < self._grace_s:
            return
        if self._absent_since_s is None:
            self._absent_since_s = now
        if now - self._absent_since_s < self._limits.absent_grace_s:
            return
        if not await self.market.reconcile(absent=self):
            return  # the position moved: unknown stays unknown until records explain it, ours or others'
        if self.share.filled(self.client_order_id) > 0:
            self._absent_since_s = None
            return
        self.share.say("order.absent", id=self.client_order_id)
        await self._become(IntentState.ABSENT, "the venue never had it")

    async def _cancel(self) -> None:
        """Ask for the end of the order. Whatever the answer, only `look` decides what became of it (E4)."""
        now = self._last_query_s = self._clock.monotonic()
        self._next_cancel_s = now + growing(self._limits.poll_s, self._cancels, MAX_BACKOFF_S)
        self._cancels += 1
        try:
            await self.market.client.cancel_order(self.client_order_id, contract_id=self.market.instrument.contract_id)
        except VenueError as e:
            log.info("cancel.unproved pair=%s id=%s error=%s", self.share.owner, self.client_order_id, e)
            if isinstance(e, TransportError | VenueUnavailable | RateLimited):
                raise
        self._last_query_s = None

    def cancel(self) -> None:
        """Have the order taken off the book; asking again changes nothing."""
        if not self.resolved and not self.cancel_wanted:
            self.cancel_wanted = True
            self._wake.set()

    async def _note(self, info: OrderInfo) -> None:
        """Journal the venue's word on our order when it changed."""
        coid, share = self.client_order_id, self.share
        if info.order_id is not None:
            await self.market.learn(share, info.order_id, coid)
        record = OrderRecord(
            venue=share.venue,
            account=share.account,
            client_order_id=coid,
            intent_id=self.intent.intent_id,
            pair_id=share.owner,
            order_id=info.order_id,
            status=info.status.value,
            filled_size=info.filled_size,
            average_price=info.average_price,
            cancel_reason=info.cancel_reason,
            updated_at=self._clock.time_ns(),
        )
        held = share.orders.get(coid)
        if held is None or msgspec.structs.replace(held, updated_at=0) != msgspec.structs.replace(record, updated_at=0):
            share.orders[coid] = record
            await share.journal_fact(record)

    async def _become(self, state: IntentState, note: str) -> None:
        if self.resolved:
            return
        self.share.version += 1
        intent = msgspec.structs.replace(self.intent, state=state, note=note[:500], updated_at=self._clock.time_ns())
        self.share.intents[self.client_order_id] = intent
        if not state.resolved:
            self.intent = intent
        await self.share.journal_fact(intent)
        if state.resolved:
            self.intent = intent
            self.share.proofs.pop(self.client_order_id, None)
            self.share.on_change()
