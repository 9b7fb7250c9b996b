"""Orders: our intents as transactions of three kinds, and what proves what became of them.

*Short-term* orders live in the validators' memory until their last block (about ten seconds); *long-term* and *conditional* ones in the
chain's state until a time. A broadcast that passed is queued, nothing more. What the indexer tells later is the proof, and where it stays
silent, the height: an order is dead once the indexer has processed its last block without knowing more. Transactions of stateful orders
carry a last block for the same reason.

A broadcast whose answer was lost is not repeated. It would be safe (the chain keeps order ids and sequences), but it could place an order
long after its caller gave up on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec

from exchange_clients.base_managers import LANES, BaseOrderManager, ids_of
from exchange_clients.context import ClientContext
from exchange_clients.dydx import chain
from exchange_clients.dydx import messages as m
from exchange_clients.dydx.chain import Flags, OrderRef
from exchange_clients.dydx.client.managers.market_data import PAGE
from exchange_clients.dydx.client.utils.bookkeeping import OrderBookkeeping
from exchange_clients.dydx.client.utils.caching import (
    BLOCK_S,
    GUARD_BLOCKS,
    HEIGHT_MAX_AGE_S,
    OrderFacts,
    VenueCache,
    uuids_of,
    venue_cache,
)
from exchange_clients.dydx.client.utils.encoding import chain_order, flags_for, transaction
from exchange_clients.dydx.client.utils.fees import learn_rates
from exchange_clients.dydx.client.utils.helpers import iso_of, ns_of, order_uuid, seconds_after, subaccount_uuid
from exchange_clients.dydx.client.utils.options import MAX_BLOCKS, MAX_DAYS, Rules
from exchange_clients.dydx.common import BATCH, BLOCK_IS_FULL, STALE_HEIGHT
from exchange_clients.dydx.signing import signer_of
from exchange_clients.errors import (
    DecodeError,
    InsufficientMargin,
    NotReady,
    OrderDenied,
    OrderNotFound,
    OrderOutcomeUnknown,
    RateLimited,
    RequestRefused,
    VenueError,
)
from exchange_clients.model import (
    NS_PER_S,
    TRIGGER_TYPES,
    Fill,
    Instrument,
    Lane,
    OrderAck,
    OrderInfo,
    OrderIntent,
    OrderStatus,
    TimeInForce,
    WaitFor,
)
from exchange_clients.orders import Order
from exchange_clients.paging import newest_first
from exchange_clients.signing import Command
from exchange_clients.transport.grpc import MAX_LAG

CANCEL_BLOCKS: Final = 10
"""A cancel lives so long at least: the order that it is to end may not have reached every validator yet."""
NEXT_BLOCK_S: Final = 2.0
OPEN_BLOCKS: Final = 3
"""Within so many blocks a stateful order is told."""
SWEEP_S: Final = 60
"""After this the records of a short-term order that has outlived its last block say so."""
_OPEN: Final = "OPEN,UNTRIGGERED,BEST_EFFORT_OPENED,BEST_EFFORT_CANCELED"


class Plan(msgspec.Struct, frozen=True):
    """How one order goes to the chain: chosen before it is tracked, taken up when it is encoded."""

    flags: Flags
    blocks: int


class DydxOrderManager(BaseOrderManager):
    """`place` chooses the kind by time in force; `submit_*` name it."""

    def __init__(self, context: ClientContext) -> None:
        super().__init__(context)
        self.rules = Rules.of(context)
        self.books = OrderBookkeeping(context)
        self._plans: dict[str, Plan] = {}
        self._subaccount: str | None = None

    @property
    def cache(self) -> VenueCache:
        return venue_cache(self.context)

    @property
    def subaccount(self) -> str:
        """The indexer's id of our subaccount."""
        if self._subaccount is None:
            signer = signer_of(self.context)
            self._subaccount = subaccount_uuid(signer.address, signer.number)
        return self._subaccount

    # ---- placing

    async def place(self, intent: OrderIntent, *, wait_for: WaitFor = WaitFor.ACK, timeout_s: float | None = None) -> OrderInfo:
        intent = self.bounded(intent)
        flags = flags_for(intent)
        if flags is Flags.SHORT_TERM:
            return await self.submit_short_term_order(intent, wait_for=wait_for, timeout_s=timeout_s)
        if flags is Flags.CONDITIONAL:
            return await self.submit_conditional_order(intent, wait_for=wait_for, timeout_s=timeout_s)
        return await self.submit_long_term_order(intent, wait_for=wait_for, timeout_s=timeout_s)

    async def submit_short_term_order(
        self, intent: OrderIntent, *, blocks: int | None = None, wait_for: WaitFor = WaitFor.ACK, timeout_s: float | None = None
    ) -> OrderInfo:
        """An order that lives in the validators' memory for at most `blocks` (1 to 20) more: IOC, or resting (GTC) until then.

        One that rests and was given no number of `blocks` is canceled when it is not filled within `cancel_unfilled_after_s`.

        Raises:
            OrderDenied: too many blocks, or a trigger.
            VenueError: as `place`.
        """
        intent = self.bounded(intent)
        wait_s = self.rules.cancel_unfilled_after_s if blocks is None else None
        if blocks is None:
            blocks = self.rules.ioc_blocks if intent.time_in_force is TimeInForce.IOC else self.rules.short_term_blocks
        if not 1 <= blocks <= MAX_BLOCKS:
            raise OrderDenied(f"a short-term order lives 1 to {MAX_BLOCKS} blocks, not {blocks}", venue=self.context.name)
        if intent.order_type in TRIGGER_TYPES or intent.time_in_force is TimeInForce.GTT:
            raise OrderDenied("short-term orders are IOC, or rest until their last block", venue=self.context.name)
        info = await self._submit(intent, Plan(Flags.SHORT_TERM, blocks), wait_for, timeout_s)
        if wait_s is not None and intent.time_in_force is not TimeInForce.IOC and not info.status.is_terminal:
            self.context.websocket.errand(self._cancel_unfilled(info.client_order_id or "", wait_s))
        return info

    async def submit_long_term_order(
        self, intent: OrderIntent, *, wait_for: WaitFor = WaitFor.ACK, timeout_s: float | None = None
    ) -> OrderInfo:
        """An order in the chain's state: GTT until its expiry, GTC for `long_term_days`. Free collateral is looked at first.

        Raises:
            OrderDenied: immediate or a trigger.
            InsufficientMargin: the collateral does not carry it, by our own check or the chain's.
            VenueError: as `place`.
        """
        if flags_for(intent) is not Flags.LONG_TERM:
            raise OrderDenied("long-term orders rest: immediate ones are short-term, triggers conditional", venue=self.context.name)
        self.check(intent, self.context.instruments.get(intent.instrument))
        await self._check_collateral(intent)
        return await self._submit(intent, Plan(Flags.LONG_TERM, 0), wait_for, timeout_s)

    async def submit_conditional_order(
        self, intent: OrderIntent, *, wait_for: WaitFor = WaitFor.ACK, timeout_s: float | None = None
    ) -> OrderInfo:
        """A stop or take-profit order, waiting in the chain's state for the oracle price.

        Raises:
            OrderDenied: it has no trigger.
            VenueError: as `place`.
        """
        if intent.order_type not in TRIGGER_TYPES:
            raise OrderDenied("a conditional order is a stop or a take-profit", venue=self.context.name)
        return await self._submit(intent, Plan(Flags.CONDITIONAL, 0), wait_for, timeout_s)

    async def _submit(self, intent: OrderIntent, plan: Plan, wait_for: WaitFor, timeout_s: float | None) -> OrderInfo:
        """Once more under the same id when nothing was done: the last block was too near or too far, or this block's orders are used up."""
        instrument = self.context.instruments.get(intent.instrument)
        self.check(intent, instrument)
        await self.ready()
        learn_rates(self.context, instrument)  # before the first fill of a market: the stream tells no fees
        intent = msgspec.structs.replace(intent, client_order_id=intent.client_order_id or self.context.ids.next_id())
        key = intent.client_order_id or ""
        self._plans[key] = plan
        try:
            try:
                return await super().place(intent, wait_for=wait_for, timeout_s=timeout_s)
            except (NotReady, RateLimited) as e:
                if e.code not in (*STALE_HEIGHT, BLOCK_IS_FULL):
                    raise
                self.context.log.warning("order.again code=%s height=%d", e.code, self.cache.height)
                if e.code == BLOCK_IS_FULL:
                    await self._next_block()
                await self._ask_height()
                self._plans[key] = plan
                return await super().place(intent, wait_for=wait_for, timeout_s=timeout_s)
        finally:
            self._plans.pop(key, None)

    async def _next_block(self) -> None:
        """At most two seconds of waiting: then the node is asked."""
        clock, height = self.context.runtime.clock, self.cache.height
        end = clock.monotonic() + NEXT_BLOCK_S
        while self.cache.height <= height and clock.monotonic() < end:
            await clock.sleep(0.05)

    def check(self, intent: OrderIntent, instrument: Instrument) -> None:
        super().check(intent, instrument)
        given = intent.client_order_id
        if given is not None and not self._looks_like_client_id(given):
            raise OrderDenied(f"client order id {given!r} is no number below 2**32", venue=self.context.name)
        if intent.expire_ns is not None:
            left_s = (intent.expire_ns - self.context.venue_time.now_ns()) / NS_PER_S
            if not 0 < left_s <= (MAX_DAYS + 1) * 86_400:
                raise OrderDenied(f"an order lives up to {MAX_DAYS + 1} days, not {left_s:.0f} s", venue=self.context.name)
        if not intent.reduce_only:
            self._check_isolation(instrument)

    def _check_isolation(self, instrument: Instrument) -> None:
        """The chain finds out when it matches: the order would be taken, and vanish."""
        others = [held for held in self.context.positions if held != instrument.id]
        if not others:
            return
        isolated = {each.id for each in self.context.instruments.all() if each.only_isolated}
        if alone := [key for key in (instrument.id, *others) if key in isolated]:
            raise OrderDenied(f"{alone[0]} is held alone: this subaccount has a position in {others[0]}", venue=self.context.name)

    def _looks_like_client_id(self, any_id: str) -> bool:
        return any_id.isascii() and any_id.isdecimal() and int(any_id) < 2**32

    async def _check_collateral(self, intent: OrderIntent) -> None:
        """Resting orders bind nothing until they match: this asks whether the order alone would be carried."""
        instrument = self.context.instruments.get(intent.instrument)
        if not self.rules.check_collateral or instrument.initial_margin is None or intent.price is None or self._reduces(intent):
            return
        needed = intent.quantity * intent.price * instrument.initial_margin
        signer = signer_of(self.context)
        reply: m.SubaccountReply = await self.rest.query("subaccount", address=signer.address, number=signer.number)
        if reply.subaccount.freeCollateral < needed:
            raise InsufficientMargin(
                f"{instrument.id}: the order needs {needed.normalize():f}, free collateral is {reply.subaccount.freeCollateral:f} "
                "(our own check, nothing was sent)",
                venue=self.context.name,
            )

    def _reduces(self, intent: OrderIntent) -> bool:
        held = self.context.positions.get(intent.instrument)
        return held is not None and held.quantity * intent.side.sign < 0 and intent.quantity <= abs(held.quantity)

    async def _cancel_unfilled(self, client_order_id: str, after_s: float) -> None:
        await self.context.runtime.clock.sleep(after_s)
        order = self.context.tracker.find(client_order_id)
        if order is None or order.status.is_terminal:
            return
        try:
            await self.cancel(client_order_id)
        except VenueError as e:
            self.context.log.info("order.unfilled_not_canceled id=%s reason=%s", client_order_id, e)

    # ---- what the chain must be known for

    async def ready(self) -> None:
        """Account number and a fresh height, from the node unless the stream has just told."""
        if self.cache.account_number is None:
            account: chain.Account = await self.rest.query("account", address=signer_of(self.context).address)
            self.cache.account_number = account.account_number
        if self.context.runtime.clock.monotonic() - self.cache.height_s > HEIGHT_MAX_AGE_S:
            await self._ask_height()

    async def _ask_height(self) -> None:
        """Of the node that is asked first. One that is found far behind is not believed, and used last from then on."""
        block: chain.Block = await self.rest.query("latestBlock", lane=Lane.CANCEL)
        node = self.rest.nodes.answered
        behind = self.cache.corrected(block.height, self.context.runtime.clock.monotonic())
        if node is not None:
            node.lag = behind
            if behind > MAX_LAG:
                self.context.log.warning("node.behind address=%s blocks=%d", node.address, behind)

    # ---- encoding

    def encode_place(self, order: Order, instrument: Instrument) -> Command:
        """The order's venue id follows from what is sent: streams and queries know it under that id from the start.

        The last block of a short-term order is chosen when it is signed: its blocks do not pass while it waits for its turn to be sent.
        """
        intent = order.intent
        plan = self._plans.get(order.client_order_id or "", Plan(flags_for(intent), self.rules.short_term_blocks))
        signer, now_ns = signer_of(self.context), self.context.venue_time.now_ns()
        ref = OrderRef(int(order.client_order_id or 0), plan.flags, self.cache.grid(instrument).clob_pair_id)
        stateful = plan.flags.is_stateful
        if stateful:
            life_ns = self.rules.long_term_days * 86_400 * NS_PER_S
            good_til = seconds_after(intent.expire_ns if intent.expire_ns is not None else now_ns + life_ns)
        else:
            good_til = self._last_block(plan)
        wire = chain_order(intent, ref, self.cache.grid(instrument), good_til)
        command = transaction(
            self.context,
            [chain.place_order(signer.subaccount, wire)],
            LANES[intent.purpose],
            stateful=stateful,
            placed=1,
            ids=ids_of([order]),
        )
        uuid = order_uuid(self.subaccount, ref)
        facts = self.cache.note(
            uuid,
            OrderFacts(
                ref,
                client_order_id=order.client_order_id,
                good_til_block=0 if stateful else good_til,
                good_til_s=good_til if stateful else 0,
                last_block=command.payload.timeout_height if stateful else good_til,
                blocks=plan.blocks,
            ),
        )
        self.context.tracker.named(order, uuid)
        if stateful:
            return command

        def when_signed() -> chain.Transaction:
            facts.good_til_block = facts.last_block = self._last_block(plan)
            fresh = msgspec.structs.replace(wire, good_til=facts.last_block)
            payload: chain.Transaction = command.payload
            return msgspec.structs.replace(payload, messages=(chain.place_order(signer.subaccount, fresh),))

        return replace(command, payload=when_signed)

    def _last_block(self, plan: Plan) -> int:
        """Its blocks from now on; never more from the known height than a node takes."""
        expected = self.cache.expected(self.context.runtime.clock.monotonic())
        return min(expected + plan.blocks, self.cache.height + MAX_BLOCKS)

    def decode_place(self, reply: chain.Broadcast, order: Order) -> OrderAck:
        """Passed one node's check: not on a book, not in a block."""
        if (facts := self.cache.facts_of(order)) is not None:
            facts.acked = True
        return OrderAck(client_order_id=order.client_order_id or "", order_id=order.order_id, status=OrderStatus.SUBMITTED)

    def encode_cancel(self, order: Order, instrument: Instrument) -> Command:
        return self.encode_cancel_many([order], [instrument])

    def encode_cancel_many(self, orders: Sequence[Order], instruments: Sequence[Instrument]) -> Command:
        """All short-term, in one message; or all stateful, a message each in one transaction, which fails as a whole."""
        account, found = signer_of(self.context).subaccount, [self._facts(order) for order in orders]
        for facts in found:
            facts.cancel_asked = True
        if found[0].is_short_term:
            last = max([self.cache.height + CANCEL_BLOCKS, *(facts.good_til_block for facts in found)])
            if len(found) == 1:
                messages = [chain.cancel_order(account, found[0].ref, last)]
            else:
                pairs: dict[int, list[int]] = {}
                for facts in found:
                    pairs.setdefault(facts.ref.clob_pair_id, []).append(facts.ref.client_id)
                messages = [chain.batch_cancel(account, pairs, last)]
        else:
            soon = self.context.venue_time.now_ns() // NS_PER_S + 60
            messages = [chain.cancel_order(account, facts.ref, max(facts.good_til_s, soon)) for facts in found]
        return transaction(self.context, messages, Lane.CANCEL, stateful=not found[0].is_short_term, ids=ids_of(orders))

    def _facts(self, order: Order) -> OrderFacts:
        facts = self.cache.facts_of(order)
        if facts is None:
            raise OrderNotFound(f"order {order.order_id or order.client_order_id} is not known to the indexer yet", venue=self.context.name)
        return facts

    # ---- canceling

    async def cancel(self, any_id: str, *, instrument: Instrument | None = None, timeout_s: float | None = None) -> OrderInfo:
        """The end of a short-term order is proved by its fills and its last block, which may take more than ten seconds to pass."""
        await self.ready()
        if timeout_s is None:
            order = self.context.tracker.find(any_id)
            timeout_s = self._patience_s([order] if order is not None else [])
        try:
            return await super().cancel(any_id, instrument=instrument, timeout_s=timeout_s)
        except NotReady as e:
            if e.code not in STALE_HEIGHT:
                raise
            await self._ask_height()
            return await super().cancel(any_id, instrument=instrument, timeout_s=timeout_s)

    async def place_instead(self, order: Order, intent: OrderIntent) -> OrderInfo:
        """A quote that was to die in seconds does not become an order of weeks."""
        if not self._is_short_term(order):
            return await super().place_instead(order, intent)
        facts = self._facts(order)
        return await self.submit_short_term_order(intent, blocks=facts.blocks or None)

    async def cancel_many(self, ids: Sequence[str]) -> list[OrderInfo | VenueError]:
        """Short-term and stateful orders do not fit into one transaction; what befalls those of one kind does not concern the other."""
        await self.ready()
        short = [any_id for any_id in ids if self._is_short_term(self.context.tracker.find(any_id))]
        others = [any_id for any_id in ids if any_id not in short]
        told = await asyncio.gather(super().cancel_many(short), self._cancel_stateful(others))
        outcomes = dict(zip([*short, *others], [*told[0], *told[1]], strict=True))
        return [outcomes[any_id] for any_id in ids]

    async def _send_cancels(self, orders: Sequence[Order]) -> None:
        """Once more when the last block was too near or too far: nothing was done."""
        try:
            await super()._send_cancels(orders)
        except NotReady as e:
            if e.code not in STALE_HEIGHT:
                raise
            await self._ask_height()
            await super()._send_cancels(orders)

    def _is_short_term(self, order: Order | None) -> bool:
        facts = self.cache.facts_of(order) if order is not None else None
        return facts is not None and facts.is_short_term

    async def _cancel_stateful(self, ids: Sequence[str]) -> list[OrderInfo | VenueError]:
        """In one transaction, which the chain does wholly or not at all: what it leaves open is canceled one by one."""
        found = (self.context.tracker.find(any_id) for any_id in ids)
        orders = [order for order in found if order is not None and not order.status.is_terminal]
        for start in range(0, len(orders), BATCH):
            batch = orders[start : start + BATCH]
            if len(batch) > 1:
                try:
                    await self._send_cancels(batch)
                except VenueError as e:
                    self.context.log.info("cancel.not_together orders=%d reason=%s", len(batch), e)
                else:
                    await self._wait_for_ends(batch)
        return await asyncio.gather(*(self._cancel_or_error(any_id) for any_id in ids))

    async def _wait_for_ends(self, orders: Sequence[Order]) -> None:
        """As long as a block takes to be told."""
        clock = self.context.runtime.clock
        end = clock.monotonic() + 2 * BLOCK_S * OPEN_BLOCKS
        for order in orders:
            await self.context.tracker.wait(order, _has_ended, max(0.0, end - clock.monotonic()))

    async def _cancel_or_error(self, any_id: str) -> OrderInfo | VenueError:
        try:
            return await self.cancel(any_id)
        except VenueError as e:
            return e

    def _patience_s(self, orders: Sequence[Order]) -> float:
        """At least the configured time; for short-term orders also the blocks they may still live, at twice the usual pace."""
        blocks = 0
        for order in orders:
            facts = self.cache.facts_of(order)
            if facts is None or facts.is_short_term:
                left = facts.last_block - self.cache.height if facts is not None else MAX_BLOCKS
                blocks = max(blocks, left + GUARD_BLOCKS + 1)
        return self.context.config.command_timeout_s + 2 * BLOCK_S * max(0, blocks)

    async def await_state(self, order: Order, wait_for: WaitFor, timeout_s: float | None) -> OrderInfo:
        if timeout_s is None and wait_for is WaitFor.TERMINAL:
            timeout_s = self._patience_s([order])
        elif timeout_s is None and wait_for is WaitFor.OPEN:
            timeout_s = self.context.config.command_timeout_s + 2 * BLOCK_S * OPEN_BLOCKS
        return await super().await_state(order, wait_for, timeout_s)

    def decode_cancel(self, reply: chain.Broadcast, order: Order) -> None:
        """Passed one node's check."""

    def decode_cancel_many(self, reply: chain.Broadcast, orders: Sequence[Order]) -> list[VenueError | None]:
        return [None] * len(orders)

    # ---- finding out

    async def _refresh_quietly(self, order: Order) -> None:
        """Of a short-term order on the book nothing can be concluded before its last block has passed, and the stream tells the rest: while
        it speaks, nobody is asked.
        """
        facts = self.cache.facts_of(order)
        alive = self.context.runtime.clock.monotonic() - self.cache.indexed_s <= HEIGHT_MAX_AGE_S
        if alive and facts is not None and facts.is_short_term and not order.is_unresolved and not self._is_over(facts):
            return
        await super()._refresh_quietly(order)

    def _is_over(self, facts: OrderFacts) -> bool:
        return max(self.cache.indexed, self.cache.height) > facts.last_block + GUARD_BLOCKS

    async def refresh(self, order: Order) -> OrderInfo:
        """Ask the indexer, and when it has processed the order's last block, conclude.

        The height is asked for before the records: they are then at least as new.
        """
        facts = self.cache.facts_of(order)
        if facts is None or order.status.is_terminal or not facts.last_block:
            return await super().refresh(order)
        over = self._is_over(facts)
        if over:
            told: m.Height = await self.rest.query("height")
            self.cache.saw(told.number, self.context.runtime.clock.monotonic())
            over = told.number > facts.last_block + GUARD_BLOCKS
        instrument = self.context.instruments.get(order.intent.instrument)
        found = await self.fetch_order(instrument, order_id=order.order_id, client_order_id=order.client_order_id)
        if found is not None:
            self.books.take(found)
        if over and not _has_ended(order) and (facts.is_short_term or found is None):
            await self._conclude(order, facts, instrument, known=found is not None)
        return order.info()

    async def _conclude(self, order: Order, facts: OrderFacts, instrument: Instrument, *, known: bool) -> None:
        """No block can hold any more of it than the indexer's fills tell."""
        for fill in await self.fetch_fills(since_ns=order.created_ns - 60 * NS_PER_S, instrument=instrument):
            self.context.tracker.on_fill(fill)
        if _has_ended(order):
            return
        if facts.removal is not None:
            self.books.end(order, facts.removal.status, facts.removal.reason)
        elif facts.cancel_asked and (known or facts.acked or order.filled):
            self.books.end(order, OrderStatus.CANCELED, None)
        elif not facts.acked and not known and not order.filled and order.is_unresolved:
            self.context.tracker.never_existed(order)
        else:
            self.books.end(order, OrderStatus.EXPIRED, "its last block has passed")

    async def check_unresolved(self, older_than_s: float = 2.0) -> None:
        """Also short-term orders whose last block has passed: nobody need tell of that."""
        await super().check_unresolved(older_than_s)
        for order in self.context.tracker.live():
            facts = self.cache.facts_of(order)
            if (
                facts is not None
                and facts.is_short_term
                and self.cache.height > facts.last_block + GUARD_BLOCKS
                and not order.is_unresolved
            ):
                await self._refresh_quietly(order)

    async def fetch_order(
        self, instrument: Instrument | None, *, order_id: str | None = None, client_order_id: str | None = None
    ) -> OrderInfo | None:
        """By the indexer's id, which follows from client id, kind and market; None while the indexer does not know it.

        Raises:
            OrderOutcomeUnknown: neither id nor market are given, and of the many orders there are the first 1,000 do not show it.
        """
        if order_id is not None:
            return await self._by_uuid(order_id)
        if client_order_id is None or not self._looks_like_client_id(client_order_id):
            return None
        if instrument is not None:
            pair = self.cache.grid(instrument).clob_pair_id
            for uuid in uuids_of(self.subaccount, int(client_order_id), pair).values():
                if (found := await self._by_uuid(uuid)) is not None:
                    return found
            return None
        full = False
        for bound, last in self._ends().items():
            rows = await self._rows(**{bound: last})
            full = full or len(rows) >= PAGE
            for row in rows:
                if row.clientId == client_order_id and (info := self.books.info(row)) is not None:
                    return info
        if not full:
            return None
        raise OrderOutcomeUnknown(
            f"order {client_order_id} is not among the {PAGE} that end last: say in which market it is",
            client_order_id=client_order_id,
            venue=self.context.name,
        )

    async def _by_uuid(self, uuid: str) -> OrderInfo | None:
        if len(uuid) != 36:
            return None
        try:
            row: m.OrderRow = await self.rest.query("order", id=uuid)
        except RequestRefused as e:
            if e.code == "http404":
                return None
            raise
        if self._is_ours(row):
            return self.books.info(row)
        return None

    def _is_ours(self, row: m.OrderRow) -> bool:
        """Anybody's order can be asked for by its id."""
        return row.subaccountId is None or row.subaccountId == self.subaccount

    async def _rows(self, **arguments: Any) -> list[m.OrderRow]:
        signer = signer_of(self.context)
        rows: list[m.OrderRow] = await self.rest.query(
            "orders", address=signer.address, subaccountNumber=signer.number, limit=PAGE, **arguments
        )
        return rows

    async def fetch_open_orders(self, instrument: Instrument | None = None) -> list[OrderInfo]:
        """What the indexer holds for live; a node's "best effort" counts."""
        rows = await self._rows(status=_OPEN, ticker=instrument.contract_id if instrument is not None else None)
        infos = [info for row in rows if (info := self.books.info(row)) is not None]
        return [info for info in infos if not info.status.is_terminal]

    async def open_orders(self, instrument: Instrument | None = None) -> list[OrderInfo]:
        """A removed short-term order still counts until what was matched of it is told, or its last block has passed."""
        listed = await super().open_orders(instrument)
        for info in listed:
            self.books.settle_removal(self.context.tracker.find(info.order_id or ""))
        return [
            order.info()
            for info in listed
            if (order := self.context.tracker.find(info.order_id or "")) is not None and not order.status.is_terminal
        ]

    async def fetch_order_history(self, *, since_ns: int, instrument: Instrument | None = None) -> list[OrderInfo]:
        """The venue lists by when an order's life ends, not by age: each kind is paged down until what follows was over before."""
        ticker = instrument.contract_id if instrument is not None else None
        rows = [row for bound, last in self._ends().items() for row in await self._down_from(bound, last, since_ns, ticker)]
        infos = (info for row in rows if (info := self.books.info(row)) is not None)
        return [info for info in infos if info.updated_ns is None or info.updated_ns >= since_ns]

    def _ends(self) -> dict[str, str]:
        """Bounds that every order of a kind is within: short-term, then stateful ones. Without them the stateful ones are listed first."""
        last_ns = self.context.venue_time.now_ns() + (MAX_DAYS + 2) * 86_400 * NS_PER_S
        return {"goodTilBlockBeforeOrAt": str(2**31 - 1), "goodTilBlockTimeBeforeOrAt": iso_of(last_ns)}

    async def _down_from(self, bound: str, last: str, since_ns: int, ticker: str | None) -> list[m.OrderRow]:
        """Rows of one kind, until all that follow were over before `since_ns`. A page may have split the orders of one end."""
        found: dict[str, m.OrderRow] = {}
        while True:
            rows = await self._rows(ticker=ticker, **{bound: last})
            found |= {row.id: row for row in rows}
            if len(rows) < PAGE or any(_is_before(row, since_ns - SWEEP_S * NS_PER_S) for row in rows):
                return list(found.values())
            end = rows[-1].goodTilBlock or rows[-1].goodTilBlockTime or ""
            if end == last:
                self.context.log.warning("history.cut end=%s reason=%r", end, f"more than {PAGE} orders end there")
                end = str(int(end) - 1) if end.isdecimal() else iso_of(ns_of(end) - NS_PER_S)
            last = end

    async def fetch_fills(self, *, since_ns: int, until_ns: int | None = None, instrument: Instrument | None = None) -> list[Fill]:
        """Fills that are in a block; what a node has only matched is not among them.

        Page by page down the blocks: with `page` the venue tells the oldest fills first.
        """
        signer = signer_of(self.context)
        market = instrument.contract_id if instrument is not None else None

        async def ask(height: str | None) -> tuple[list[Fill], str | None]:
            reply: m.Fills = await self.rest.query(
                "fills",
                address=signer.address,
                subaccountNumber=signer.number,
                market=market,
                marketType="PERPETUAL" if market is not None else None,
                limit=PAGE,
                createdBeforeOrAtHeight=height,
            )
            pairs = self.context.instruments.known(reply.fills, lambda row: row.market or row.ticker)
            return [self.books.fill(row, i) for row, i in pairs], _height_below(reply.fills, height)

        return await newest_first(ask, key=lambda f: f.trade_id, time_ns=lambda f: f.ts_venue_ns, since_ns=since_ns, until_ns=until_ns)


def _is_before(row: m.OrderRow, ns: int) -> bool:
    """A short-term order ends within blocks of its last change, a stateful one at its expiry."""
    told = row.goodTilBlockTime or row.updatedAt
    return told is not None and ns_of(told) < ns


def _has_ended(order: Order) -> bool:
    """Asked again after something was learned."""
    return order.status.is_terminal


def _height_below(rows: Sequence[m.FillRow], asked: str | None) -> str | None:
    """The block in which a full page ended, of which it may have told only a part; the one below it when it told of no other."""
    if len(rows) < PAGE:
        return None
    last = rows[-1].createdAtHeight
    if last is None:
        raise DecodeError(f"fill {rows[-1].id} names no block", venue="dydx")
    return last if last != asked else str(int(last) - 1)
