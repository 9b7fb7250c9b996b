"""The managers of a client: what happens over time is here once; a venue fills in requests and converters.

A venue overrides the methods that raise `UnsupportedCapability` here. `fetch_*` are single REST reads (pagination included), `encode_*`
build commands, `decode_*` read the venue's synchronous answer and raise the error it means. Managers raise; only the flat verbs of the
client turn a definite refusal into an `OrderResult`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any, ClassVar, Final

import msgspec

from exchange_clients.context import ClientContext
from exchange_clients.errors import (
    ConfigError,
    NotReady,
    OrderDenied,
    OrderNotFound,
    OrderOutcomeUnknown,
    OrderRefused,
    Outcome,
    ProtocolError,
    TransportError,
    UnsupportedCapability,
    VenueError,
    classify,
)
from exchange_clients.model import (
    NS_PER_MS,
    NS_PER_S,
    TRIGGER_TYPES,
    AccountState,
    Ack,
    Bbo,
    BookSnapshot,
    Candle,
    FeeRates,
    Fill,
    FundingPayment,
    FundingRateSample,
    Instrument,
    InstrumentId,
    KeyInfo,
    Lane,
    LeverageInfo,
    MarginMode,
    OrderAck,
    OrderInfo,
    OrderIntent,
    OrderStatus,
    OrderType,
    Position,
    Purpose,
    Side,
    Ticker,
    TimeInForce,
    Trade,
    WaitFor,
    is_multiple,
)
from exchange_clients.orders import Order
from exchange_clients.signing import Command, Credentials
from exchange_clients.transport.command import Progress

_QUERY_EVERY_S = 1.0
_FALLBACK_SLIPPAGE = Decimal("0.02")
LANES: Final = {Purpose.ENTRY: Lane.ENTRY, Purpose.CLOSE: Lane.CLOSE, Purpose.HEDGE: Lane.HEDGE, Purpose.UNWIND: Lane.UNWIND}


def ids_of(orders: Sequence[Order]) -> tuple[str, ...]:
    return tuple(order.client_order_id or "" for order in orders)


def most_urgent(orders: Sequence[Order]) -> Lane:
    """The lane of orders that travel together."""
    return min((LANES[order.intent.purpose] for order in orders), key=list(Lane).index)


class BaseManager:
    """Holds the client's shared parts."""

    def __init__(self, context: ClientContext) -> None:
        self.context = context
        self.rest = context.rest

    def _unsupported(self, what: str) -> UnsupportedCapability:
        return UnsupportedCapability(f"{what} is not supported", venue=self.context.name)


class BaseMarketData(BaseManager):
    """Public data."""

    server_time_resolution_ns: ClassVar[int] = NS_PER_MS

    async def fetch_instruments(self) -> Sequence[Instrument]:
        """Every perpetual market, delisted ones included where the venue still lists them."""
        raise self._unsupported("fetch_instruments")

    async def fetch_server_time_ns(self) -> int | None:
        """The venue's clock, rounded down to `server_time_resolution_ns`; None where it has none to ask."""
        return None

    async def fetch_book(self, instrument: Instrument, *, depth: int = 20) -> BookSnapshot:
        raise self._unsupported("fetch_book")

    async def fetch_trades(
        self, instrument: Instrument, *, limit: int = 100, start_ns: int | None = None, end_ns: int | None = None
    ) -> list[Trade]:
        """Newest last."""
        raise self._unsupported("fetch_trades")

    async def fetch_candles(self, instrument: Instrument, interval: str, *, start_ns: int, end_ns: int) -> list[Candle]:
        """Oldest first, `start_ns` <= open < `end_ns`."""
        raise self._unsupported("fetch_candles")

    async def fetch_ticker(self, instrument: Instrument) -> Ticker:
        raise self._unsupported("fetch_ticker")

    async def fetch_tickers(self) -> list[Ticker]:
        """Of every market, in as few requests as the venue allows."""
        raise self._unsupported("fetch_tickers")

    async def fetch_funding_rates(self) -> dict[InstrumentId, FundingRateSample]:
        """The running rate of every market, in as few requests as the venue allows."""
        raise self._unsupported("fetch_funding_rates")

    async def fetch_funding_rate(self, instrument: Instrument) -> FundingRateSample:
        try:
            return (await self.fetch_funding_rates())[instrument.id]
        except KeyError:
            raise ProtocolError(f"no funding rate of {instrument.id}", venue=self.context.name) from None

    async def fetch_funding_history(self, instrument: Instrument, *, start_ns: int, end_ns: int | None = None) -> list[FundingRateSample]:
        """Settled rates, oldest first."""
        raise self._unsupported("fetch_funding_history")

    async def bbo(self, instrument: Instrument) -> Bbo:
        """Best bid and ask: the stream's if fresh, else a fresh streamed book's, else by REST.

        Raises:
            NotReady: a side is empty. Never a zero.
        """
        streamed = self.context.websocket.fresh_bbo(instrument.id)
        if streamed is not None:
            return streamed
        book = await self.fetch_book(instrument, depth=1)
        if not book.bids or not book.asks:
            raise NotReady(f"{instrument.id}: a side of the book is empty", venue=self.context.name)
        bid, ask = book.bids[0], book.asks[0]
        return Bbo(instrument.id, bid.price, bid.size, ask.price, ask.size, book.ts_venue_ns, book.ts_recv_ns)

    async def depth(self, instrument: Instrument, levels: int = 10) -> BookSnapshot:
        """The streamed book if it is usable and fresh, else by REST."""
        streamed = self.context.websocket.fresh_book(instrument.id, levels)
        return streamed if streamed is not None else await self.fetch_book(instrument, depth=levels)


class BaseOrderManager(BaseManager):
    """The order path: check, round, id, track, send once, and find out what became of it."""

    # ---- what a venue fills in

    def encode_place(self, order: Order, instrument: Instrument) -> Command:
        raise self._unsupported("placing orders")

    def decode_place(self, reply: Any, order: Order) -> OrderAck:
        raise self._unsupported("placing orders")

    def encode_place_many(self, orders: Sequence[Order], instruments: Sequence[Instrument]) -> Command:
        raise self._unsupported("batch placing")

    def decode_place_many(self, reply: Any, orders: Sequence[Order]) -> list[OrderAck | VenueError]:
        """One outcome per order, in order."""
        raise self._unsupported("batch placing")

    def encode_cancel(self, order: Order, instrument: Instrument) -> Command:
        raise self._unsupported("canceling orders")

    def decode_cancel(self, reply: Any, order: Order) -> None:
        """Returns when the cancel was accepted; raises OrderNotFound or another refusal."""

    def encode_cancel_many(self, orders: Sequence[Order], instruments: Sequence[Instrument]) -> Command:
        raise self._unsupported("batch canceling")

    def decode_cancel_many(self, reply: Any, orders: Sequence[Order]) -> list[VenueError | None]:
        raise self._unsupported("batch canceling")

    def encode_cancel_all(self, instrument: Instrument | None) -> Command:
        raise self._unsupported("native cancel-all")

    def decode_cancel_all(self, reply: Any) -> None:
        """Returns when accepted."""

    def encode_amend(self, order: Order, intent: OrderIntent, instrument: Instrument) -> Command:
        raise self._unsupported("amending orders")

    def decode_amend(self, reply: Any, order: Order) -> str | None:
        """The order's new venue id, None where it keeps its id or does not say."""
        return None

    async def prove_amend(self, order: Order, intent: OrderIntent) -> None:
        """Returns once the accepted amend is proved to have happened: for venues that tell it later than the answer.

        Raises:
            OrderRefused: it did not happen, and the order is as it was.
            VenueError: not proven (outcome UNKNOWN).
        """

    def encode_bracket(self, entry: Order, take_profit: Order | None, stop_loss: Order | None, instrument: Instrument) -> Command:
        raise self._unsupported("native brackets")

    def encode_dead_man_switch(self, timeout_s: float | None) -> Command:
        """Cancel everything `timeout_s` from now unless armed again; None disarms."""
        raise self._unsupported("a dead-man switch")

    async def fetch_order(
        self, instrument: Instrument | None, *, order_id: str | None = None, client_order_id: str | None = None
    ) -> OrderInfo | None:
        """One order by either id; None when the venue says that it does not know it."""
        raise self._unsupported("order lookup")

    async def fetch_open_orders(self, instrument: Instrument | None = None) -> list[OrderInfo]:
        raise self._unsupported("listing open orders")

    async def fetch_order_history(self, *, since_ns: int, instrument: Instrument | None = None) -> list[OrderInfo]:
        """Closed orders, as far back as the venue goes."""
        raise self._unsupported("order history")

    async def fetch_fills(self, *, since_ns: int, until_ns: int | None = None, instrument: Instrument | None = None) -> list[Fill]:
        """Own executions, oldest first, each once."""
        raise self._unsupported("own trades")

    # ---- placing

    async def place(self, intent: OrderIntent, *, wait_for: WaitFor = WaitFor.ACK, timeout_s: float | None = None) -> OrderInfo:
        """Send one order; returns its state as far as `wait_for` asked.

        Raises:
            OrderDenied, UnsupportedCapability, UnknownInstrument, Throttled, ConnectFailed: nothing was sent.
            OrderRefused, AuthError: the venue's own words.
            OrderOutcomeUnknown: not proven; the tracker goes on looking.
        """
        order, instrument = self.prepare(intent)
        progress = Progress()
        try:
            reply = await self.context.port.send(self.encode_place(order, instrument), progress)
            self.context.tracker.acked(order, self.decode_place(reply, order))
        except VenueError as e:
            raise self._settle(order, e) from e
        except BaseException:
            self.context.tracker.settle(order, progress.outcome, None)
            raise
        return await self.await_state(order, wait_for, timeout_s)

    def prepare(self, intent: OrderIntent) -> tuple[Order, Instrument]:
        """Check the intent, give it an id and track it. Nothing is sent."""
        instrument = self.context.instruments.get(intent.instrument)
        intent = self.bounded(intent)
        self.check(intent, instrument)
        client_order_id = intent.client_order_id or self.context.ids.next_id()
        return self.context.tracker.submitted(client_order_id, msgspec.structs.replace(intent, client_order_id=client_order_id)), instrument

    def bounded(self, intent: OrderIntent) -> OrderIntent:
        """A market order as the venue can take it: where it has none with a worst price, an immediate limit at that price."""
        if intent.order_type is not OrderType.MARKET or self.context.spec.capabilities.native_market:
            return intent
        lasts = TimeInForce.FOK if intent.time_in_force is TimeInForce.FOK else TimeInForce.IOC
        return msgspec.structs.replace(intent, order_type=OrderType.LIMIT, time_in_force=lasts)

    def prepare_together(self, intents: Sequence[OrderIntent]) -> list[tuple[Order, Instrument]]:
        """As `prepare`, all or none."""
        prepared: list[tuple[Order, Instrument]] = []
        for intent in intents:
            with self.unsent([order for order, _ in prepared]):
                prepared.append(self.prepare(intent))
        return prepared

    @contextmanager
    def unsent(self, orders: Sequence[Order]) -> Iterator[None]:
        """Around what comes before sending: its errors prove that none of `orders` left."""
        try:
            yield
        except BaseException as e:
            for order in orders:
                self.context.tracker.settle(order, Outcome.NOT_SENT, e if isinstance(e, VenueError) else None)
            raise

    def _settle(self, order: Order, error: VenueError) -> VenueError:
        """Track how the send ended; the error to raise for it."""
        self.context.tracker.settle(order, error.outcome, error)
        if error.outcome is not Outcome.UNKNOWN:
            return error
        return OrderOutcomeUnknown(
            f"not known what became of order {order.client_order_id}: {error.message}",
            client_order_id=order.client_order_id or "",
            order_id=order.order_id,
            venue=self.context.name,
            code=error.code,
        )

    async def place_many(self, intents: Sequence[OrderIntent]) -> list[OrderInfo | VenueError]:
        """One outcome per intent, in order: the acked order, or the error that `place` would have raised. Never stops half-way."""
        able = self.context.spec.capabilities
        if not able.native_batch_place:
            return [await self._place_or_error(intent) for intent in intents]
        results: list[OrderInfo | VenueError] = []
        for start in range(0, len(intents), able.max_batch):
            results += await self._place_batch(intents[start : start + able.max_batch])
        return results

    async def _place_or_error(self, intent: OrderIntent) -> OrderInfo | VenueError:
        try:
            return await self.place(intent)
        except VenueError as e:
            return e

    async def _place_batch(self, intents: Sequence[OrderIntent]) -> list[OrderInfo | VenueError]:
        prepared: list[tuple[Order, Instrument] | VenueError] = []
        for intent in intents:
            try:
                prepared.append(self.prepare(intent))
            except VenueError as e:
                prepared.append(e)
        good = [item for item in prepared if not isinstance(item, VenueError)]
        orders = [order for order, _ in good]
        outcomes: list[OrderInfo | VenueError] = []
        if orders:
            try:
                with self.unsent(orders):
                    command = self.encode_place_many(orders, [instrument for _, instrument in good])
            except VenueError as e:
                outcomes = [e] * len(orders)
            else:
                outcomes = await self._send_together(orders, command)
        left = iter(outcomes)
        return [item if isinstance(item, VenueError) else next(left) for item in prepared]

    async def _send_together(self, orders: Sequence[Order], command: Command) -> list[OrderInfo | VenueError]:
        progress = Progress()
        try:
            reply = await self.context.port.send(command, progress)
            outcomes = self.decode_place_many(reply, orders)
        except VenueError as e:
            return [self._settle(order, e) for order in orders]
        except BaseException:
            for order in orders:
                self.context.tracker.settle(order, progress.outcome, None)
            raise
        results: list[OrderInfo | VenueError] = []
        for order, outcome in zip(orders, outcomes, strict=True):
            if isinstance(outcome, VenueError):
                results.append(self._settle(order, outcome))
            else:
                self.context.tracker.acked(order, outcome)
                results.append(order.info())
        return results

    async def place_bracket(
        self, entry: OrderIntent, take_profit: OrderIntent | None, stop_loss: OrderIntent | None
    ) -> list[OrderInfo | VenueError]:
        """Entry with its exits as one native group. Emulation is the execution engine's, where it survives a crash.

        Raises:
            OrderDenied: one of them fails our checks; nothing was sent.
        """
        self.context.supports(self.context.spec.capabilities.native_bracket, "a native bracket")
        prepared = self.prepare_together([intent for intent in (entry, take_profit, stop_loss) if intent is not None])
        orders = [order for order, _ in prepared]
        exits = orders[1:]
        with self.unsent(orders):
            first = exits.pop(0) if take_profit is not None else None
            command = self.encode_bracket(orders[0], first, exits.pop(0) if stop_loss is not None else None, prepared[0][1])
        return await self._send_together(orders, command)

    # ---- checks and rounding

    def check(self, intent: OrderIntent, instrument: Instrument) -> None:
        """Raise `OrderDenied` or `UnsupportedCapability` for what the venue would refuse, before anything is sent."""
        able, name = self.context.spec.capabilities, self.context.name

        def deny(message: str) -> OrderDenied:
            return OrderDenied(f"{instrument.id}: {message}", venue=name)

        self.context.require_signer()
        if intent.order_type not in able.order_types and intent.order_type is not OrderType.MARKET:
            raise self._unsupported(f"order type {intent.order_type}")
        if intent.time_in_force not in able.times_in_force:
            raise self._unsupported(f"time in force {intent.time_in_force}")
        if intent.post_only and (not able.post_only or intent.time_in_force in (TimeInForce.IOC, TimeInForce.FOK)):
            raise self._unsupported(f"post-only with {intent.time_in_force}")
        if intent.reduce_only and not able.reduce_only_resting and intent.time_in_force is not TimeInForce.IOC:
            raise self._unsupported("reduce-only with an order that may rest")
        if not intent.reduce_only:
            if not self.context.entries_allowed and intent.purpose is Purpose.ENTRY:
                raise NotReady("not connected and reconciled yet: only cancels and reduce-only orders are accepted", venue=name)
            if not instrument.tradable:
                raise deny(f"market is {instrument.status}")
        if not intent.quantity.is_finite() or intent.quantity <= 0:
            raise deny(f"quantity {intent.quantity} must be positive (after rounding down to the step {instrument.step_size})")
        if not is_multiple(intent.quantity, instrument.step_size):
            raise deny(f"quantity {intent.quantity} is not a multiple of the step {instrument.step_size}")
        if instrument.max_quantity is not None and intent.quantity > instrument.max_quantity:
            raise deny(f"quantity {intent.quantity} is above the maximum {instrument.max_quantity}")
        if intent.price is None:
            raise deny("a price (or the worst price of a market order) is required")
        for label, price in (("price", intent.price), ("trigger price", intent.trigger_price)):
            if price is None:
                continue
            if not price.is_finite() or price <= 0:
                raise deny(f"{label} {price} must be positive")
            if not instrument.is_valid_price(price):
                raise deny(f"{label} {price} is off the tick ({instrument.price_increment(price).normalize():f} at this price)")
        if (intent.trigger_price is None) == (intent.order_type in TRIGGER_TYPES):
            raise deny("a trigger price belongs to trigger orders, and they need one")
        if intent.time_in_force is TimeInForce.GTT and intent.expire_ns is None:
            raise deny("GTT needs an expiry")
        if not (intent.reduce_only and able.reduce_only_below_minimum):
            if intent.quantity < instrument.min_quantity:
                raise deny(f"quantity {intent.quantity} is below the minimum {instrument.min_quantity}")
            if (value := instrument.value(intent.quantity, intent.price)) < instrument.min_notional:
                raise deny(f"order value {value.normalize():f} is below the minimum {instrument.min_notional.normalize():f}")

    async def market_intent(
        self, instrument: Instrument, side: Side, quantity: Decimal, *, reduce_only: bool, max_slippage: Decimal | None = None
    ) -> OrderIntent:
        """A market order with its worst price: `max_slippage` (fraction) beyond the best opposite price of a fresh book.

        An order that reduces may fall back on the mark price with a wider bound: an exit does not depend on a healthy book (E18).
        """
        slippage = self.context.config.max_market_slippage if max_slippage is None else max_slippage
        try:
            bbo = await self.context.market_data.bbo(instrument)
            reference = bbo.ask if side is Side.BUY else bbo.bid
        except (NotReady, TransportError, ProtocolError):
            if not reduce_only:
                raise
            ticker = await self.context.market_data.fetch_ticker(instrument)
            if ticker.mark is None:
                raise
            reference, slippage = ticker.mark, max(slippage, _FALLBACK_SLIPPAGE)
        bound = instrument.round_price(reference * (1 + slippage * side.sign), ROUND_FLOOR if side is Side.BUY else ROUND_CEILING)
        native = self.context.spec.capabilities.native_market
        return OrderIntent(
            instrument=instrument.id,
            side=side,
            quantity=instrument.round_quantity(quantity),
            price=bound,
            order_type=OrderType.MARKET if native else OrderType.LIMIT,
            time_in_force=TimeInForce.IOC,
            reduce_only=reduce_only,
        )

    # ---- waiting and finding out

    async def await_state(self, order: Order, wait_for: WaitFor, timeout_s: float | None) -> OrderInfo:
        """Wait until the order is as far as asked; streams tell first, queries fill their silence.

        Raises:
            OrderOutcomeUnknown: not proven in `timeout_s` (default: the command timeout).
        """
        if wait_for is WaitFor.ACK:
            return order.info()

        def reached(o: Order) -> bool:
            return o.status.is_terminal or (wait_for is WaitFor.OPEN and not o.is_unresolved)

        limit = self.context.config.command_timeout_s if timeout_s is None else timeout_s
        clock = self.context.runtime.clock
        end = clock.monotonic() + limit
        while not reached(order):
            left = end - clock.monotonic()
            if left <= 0:
                raise OrderOutcomeUnknown(
                    f"order {order.client_order_id} is not {wait_for} after {limit:g} s (last known: {order.status})",
                    client_order_id=order.client_order_id or "",
                    order_id=order.order_id,
                    venue=self.context.name,
                )
            if not await self.context.tracker.wait(order, reached, min(left, _QUERY_EVERY_S)) and end > clock.monotonic():
                await self._refresh_quietly(order)
        return order.info()

    async def _refresh_quietly(self, order: Order) -> None:
        try:
            await self.refresh(order)
        except (TransportError, ProtocolError, VenueError) as e:
            self.context.log.debug("order.refresh_failed id=%s reason=%s", order.client_order_id, e)

    async def refresh(self, order: Order) -> OrderInfo:
        """Ask the venue about one order and take its answer as evidence.

        An unknown order is declared never sent only when the grace time of the venue is over, the lookup by client id finds nothing and no
        fill names it.
        """
        tracker = self.context.tracker
        instrument = self.context.instruments.get(order.intent.instrument)
        found = await self.fetch_order(instrument, order_id=order.order_id, client_order_id=order.client_order_id)
        if found is not None:
            tracker.on_order(found)
        elif order.is_unresolved and not order.external and self._age_s(order) > self.context.spec.capabilities.lookup_grace_s:
            for fill in await self.fetch_fills(since_ns=order.created_ns - 60 * NS_PER_S, instrument=instrument):
                tracker.on_fill(fill)
            tracker.never_existed(order)
        return order.info()

    def _age_s(self, order: Order) -> float:
        """For how long it is tracked, whatever was done to the machine's clock meanwhile."""
        return self.context.runtime.clock.elapsed() - order.tracked_s

    def refusal_of(self, info: OrderInfo) -> VenueError | None:
        """What the venue's reason means, of an order that it took and refused later; None for every other order."""
        if info.status is not OrderStatus.REJECTED or not info.cancel_reason:
            return None
        error = classify(self.context.spec.errors, venue=self.context.name, code=info.cancel_reason, message=info.cancel_reason)
        return error if error.outcome is Outcome.REFUSED else OrderRefused(error.message, venue=self.context.name, code=error.code)

    async def get(self, any_id: str, *, force_refresh: bool = False, instrument: Instrument | None = None) -> OrderInfo | None:
        """One order by venue or client id; None only when the venue proves that it never existed."""
        order = self.context.tracker.find(any_id)
        if order is not None:
            if force_refresh or order.is_unresolved:
                await self.refresh(order)
            return order.info()
        found = await self.fetch_order(instrument, client_order_id=any_id) if self._looks_like_client_id(any_id) else None
        if found is None:
            found = await self.fetch_order(instrument, order_id=any_id)
        return self.context.tracker.on_order(found).info() if found is not None else None

    def _looks_like_client_id(self, any_id: str) -> bool:
        return self.context.spec.capabilities.lookup_by_client_id

    async def open_orders(self, instrument: Instrument | None = None) -> list[OrderInfo]:
        """The venue's open orders, each merged into what we know; what we hold live and the venue does not list is looked up."""
        asked_ns = self.context.runtime.clock.time_ns()
        listed = await self.fetch_open_orders(instrument)
        seen = dict.fromkeys(self.context.tracker.on_order(info) for info in listed)  # their order, not that of addresses
        for order in self.context.tracker.live():
            wanted = instrument is None or order.intent.instrument == instrument.id
            if wanted and order not in seen and order.created_ns < asked_ns and not order.is_unresolved:
                await self._refresh_quietly(order)
        return [order.info() for order in seen if not order.status.is_terminal]

    # ---- canceling and amending

    async def cancel(self, any_id: str, *, instrument: Instrument | None = None, timeout_s: float | None = None) -> OrderInfo:
        """Cancel and wait for the proven end; `filled_size` of the result is final.

        Raises:
            OrderNotFound: the venue never knew such an order.
            OrderOutcomeUnknown: no proof of the end in time.
        """
        order = self.context.tracker.find(any_id)
        if order is None:
            if await self.get(any_id, instrument=instrument) is None:
                raise OrderNotFound(f"no order {any_id}", venue=self.context.name)
            order = self.context.tracker.find(any_id)
            if order is None:
                raise OrderNotFound(f"no order {any_id}", venue=self.context.name)
        if order.status.is_terminal:
            return order.info()
        market = self.context.instruments.get(order.intent.instrument)
        try:
            reply = await self.context.port.send(self.encode_cancel(order, market), Progress())
            self.decode_cancel(reply, order)
        except OrderRefused as e:
            # "Not found" may mean filled, canceled or not yet known: the order itself tells (E4).
            self.context.log.info("cancel.refused id=%s reason=%s", order.client_order_id, e)
            await self._refresh_quietly(order)
        except VenueError as e:
            if e.outcome is not Outcome.UNKNOWN:
                raise
            self.context.log.warning("cancel.unknown id=%s reason=%s", order.client_order_id, e)
        return await self.await_state(order, WaitFor.TERMINAL, timeout_s)

    async def cancel_many(self, ids: Sequence[str]) -> list[OrderInfo | VenueError]:
        """One outcome per id, in order; natively together where the venue can."""
        able = self.context.spec.capabilities
        results: dict[str, OrderInfo | VenueError] = {}
        orders = [order for any_id in ids if (order := self.context.tracker.find(any_id)) is not None and not order.status.is_terminal]
        failed: dict[Order, VenueError] = {}
        if able.native_batch_cancel:
            for start in range(0, len(orders), able.max_batch):
                batch = orders[start : start + able.max_batch]
                try:
                    await self._send_cancels(batch)
                except VenueError as e:
                    failed |= dict.fromkeys(batch, e)
        for any_id in ids:
            order = self.context.tracker.find(any_id)
            try:
                if order is not None and order in failed and not order.status.is_terminal:
                    results[any_id] = failed[order]
                elif able.native_batch_cancel and order is not None:
                    results[any_id] = await self.await_state(order, WaitFor.TERMINAL, None)
                else:
                    results[any_id] = await self.cancel(any_id)
            except VenueError as e:
                results[any_id] = e
        return [results[any_id] for any_id in ids]

    async def _send_cancels(self, orders: Sequence[Order]) -> None:
        markets = [self.context.instruments.get(order.intent.instrument) for order in orders]
        try:
            reply = await self.context.port.send(self.encode_cancel_many(orders, markets), Progress())
            refusals = self.decode_cancel_many(reply, orders)
        except VenueError as e:
            if e.outcome is not Outcome.UNKNOWN:
                raise
            refusals = [e] * len(orders)
        for order, refusal in zip(orders, refusals, strict=True):
            if refusal is not None:
                await self._refresh_quietly(order)

    async def cancel_all(self, instrument: Instrument | None = None) -> list[OrderInfo | VenueError]:
        """Cancel every order of the account (of one market) that is open or not proven to be none, ours or not; natively where the venue
        can, else one by one. One outcome per order; a market whose cancel fails keeps no other from its own."""
        listed = [info.client_order_id or info.order_id or "" for info in await self.open_orders(instrument)]
        unproven = [
            order.client_order_id or order.order_id or ""  # lists lag, and it may be on its way
            for order in self.context.tracker.unresolved()
            if instrument is None or order.intent.instrument == instrument.id
        ]
        ids = list(dict.fromkeys([*listed, *unproven]))
        able = self.context.spec.capabilities
        if not able.native_cancel_all:
            return await self.cancel_many(ids)
        results: list[OrderInfo | VenueError] = []
        if able.cancel_all_per_market and instrument is None:
            for market in dict.fromkeys(order.intent.instrument for any_id in ids if (order := self.context.tracker.find(any_id))):
                try:
                    results += await self.cancel_all(self.context.instruments.get(market))
                except VenueError as e:
                    results.append(e)
            return results
        reply = await self.context.port.send(self.encode_cancel_all(instrument), Progress())
        self.decode_cancel_all(reply)
        return await asyncio.gather(*(self._end_of(any_id) for any_id in ids))

    async def _end_of(self, any_id: str) -> OrderInfo | VenueError:
        """Of an order whose cancel was accepted together with others."""
        order = self.context.tracker.find(any_id)
        try:
            return await self.await_state(order, WaitFor.TERMINAL, None) if order else await self.cancel(any_id)
        except VenueError as e:
            return e

    async def amend(self, any_id: str, *, price: Decimal | None = None, quantity: Decimal | None = None) -> OrderInfo:
        """Change price or total quantity (fills included) of an open order; natively, else cancel and replace with a new client id.

        Raises:
            OrderNotFound: not open any more. The emulated form replaces only what the cancel proved unfilled.
        """
        order = self.context.tracker.find(any_id)
        if order is None or order.status.is_terminal:
            raise OrderNotFound(f"no open order {any_id}", venue=self.context.name)
        instrument = self.context.instruments.get(order.intent.instrument)
        intent = msgspec.structs.replace(
            order.intent,
            price=order.intent.price if price is None else instrument.price_for(order.intent.side, price),
            quantity=order.intent.quantity if quantity is None else instrument.round_quantity(quantity),
        )
        if intent.quantity <= order.filled:
            raise OrderDenied(f"new quantity {intent.quantity} is not above the filled {order.filled}", venue=self.context.name)
        self.check(intent, instrument)
        if not self.context.spec.capabilities.native_amend:
            ended = await self.cancel(any_id)
            left = intent.quantity - ended.filled_size
            return await self.place_instead(order, msgspec.structs.replace(intent, quantity=left, client_order_id=None))
        try:
            with self.context.tracker.amending(order):
                reply = await self.context.port.send(self.encode_amend(order, intent, instrument), Progress())
                new_id = self.decode_amend(reply, order)
                await self.prove_amend(order, intent)
                self.context.tracker.amended(order, intent, new_id)
        except VenueError as e:
            if e.outcome is not Outcome.UNKNOWN:
                raise
            raise OrderOutcomeUnknown(
                f"not known whether order {any_id} was amended: {e.message}",
                client_order_id=order.client_order_id or "",
                order_id=order.order_id,
                venue=self.context.name,
            ) from e
        return order.info()

    async def place_instead(self, order: Order, intent: OrderIntent) -> OrderInfo:
        """What takes the place of the canceled `order` where an amend is emulated: of the same kind, where a venue has several."""
        return await self.place(intent)

    async def arm_dead_man_switch(self, timeout_s: float | None) -> None:
        """Have the venue cancel everything `timeout_s` from now; call again to move it, with None to disarm."""
        self.context.supports(self.context.spec.capabilities.dead_man_switch, "a dead-man switch")
        reply = await self.context.port.send(self.encode_dead_man_switch(timeout_s), Progress())
        self.decode_cancel_all(reply)

    async def check_unresolved(self, older_than_s: float = 2.0) -> None:
        """Look up every order whose fate is not proven for longer than `older_than_s`: an ack is not an order on the book."""
        for order in self.context.tracker.unresolved():
            if self._age_s(order) > older_than_s:
                await self._refresh_quietly(order)


class BasePositionManager(BaseManager):
    """Positions and funding payments."""

    async def fetch_positions(self) -> list[Position]:
        """Every open position of the account."""
        raise self._unsupported("positions")

    async def fetch_funding_payments(
        self, *, since_ns: int, until_ns: int | None = None, instrument: Instrument | None = None
    ) -> list[FundingPayment]:
        """Oldest first, each once."""
        raise self._unsupported("funding payments")

    async def open_positions(self) -> list[Position]:
        """The venue's own list, now. Also corrects what streams told."""
        positions = [p for p in await self.fetch_positions() if p.quantity]
        self.context.positions.clear()
        self.context.positions.update({p.instrument: p for p in positions})
        return positions

    async def position(self, instrument: Instrument) -> Position | None:
        """None only when the venue lists no such position."""
        return next((p for p in await self.open_positions() if p.instrument == instrument.id), None)


class BaseAccountManager(BaseManager):
    """Balance, fees, leverage and margin."""

    @property
    def identity(self) -> str:
        """Names the account in public, whichever of its keys signs; "" without keys, or where only the venue knows and was not asked yet.

        It begins with `key-` where nothing tells two keys of one account from keys of two accounts.
        """
        signer = self.context.signer
        address = "" if signer is None else signer.address
        return address.lower() if address.startswith("0x") else address

    async def verify_credentials(self) -> None:
        """Prove that the key acts for the account.

        Raises:
            AuthError: it does not, or has expired.
        """
        raise self._unsupported("verifying credentials")

    async def fetch_key_info(self) -> KeyInfo:
        """What the key may do and until when, asked now."""
        raise self._unsupported("telling about the key")

    async def keep_session(self) -> None:
        """Every two seconds while connected: a venue whose session token or listen key ends renews it here, well before that."""

    async def fetch_account(self) -> AccountState:
        raise self._unsupported("account state")

    async def fetch_public_account(self, names: Credentials) -> AccountState | None:
        """The account that these fields name, as the venue shows it to anybody; needs no key and reads no secret one of them.

        None where the venue shows accounts to their owners only, or a field that it needs is not there.
        """
        return None

    async def fetch_fee_rates(self, instrument: Instrument) -> FeeRates:
        raise self._unsupported("fee rates")

    async def fetch_leverage(self, instrument: Instrument) -> LeverageInfo:
        """The venue's limits and this account's setting; max leverage from 1/IMF where that is published."""
        maximum = instrument.max_leverage or (1 / instrument.initial_margin if instrument.initial_margin else None)
        return LeverageInfo(max_leverage=maximum, margin_requirement=instrument.initial_margin)

    def encode_leverage(self, instrument: Instrument, leverage: Decimal, mode: MarginMode) -> Command:
        raise self._unsupported("setting leverage")

    def encode_settings(self, instrument: Instrument, before: LeverageInfo, leverage: Decimal, mode: MarginMode) -> Sequence[Command]:
        """What brings leverage and margin mode about, in order: one command where the venue sets both together."""
        return [self.encode_leverage(instrument, leverage, mode)]

    def encode_isolated_margin(self, instrument: Instrument, amount: Decimal) -> Command:
        """Move `amount` (quote; negative takes out) to the isolated position."""
        raise self._unsupported("moving isolated margin")

    def decode_setting(self, reply: Any) -> None:
        """Returns when the venue accepted a setting."""

    async def set_leverage(self, instrument: Instrument, leverage: Decimal, mode: MarginMode | None = None) -> LeverageInfo:
        """Set, read back, and raise unless the venue shows what was asked for. Nothing is sent when it already does."""
        able = self.context.spec.capabilities
        self.context.supports(able.set_leverage, "setting leverage")
        before = await self.fetch_leverage(instrument)
        wanted_mode = mode or before.margin_mode or MarginMode.CROSS
        self.context.supports(wanted_mode in able.margin_modes, f"margin mode {wanted_mode}")
        if before.max_leverage is not None and leverage > before.max_leverage:
            raise ConfigError(f"{instrument.id}: leverage {leverage} is above the maximum {before.max_leverage}", venue=self.context.name)
        if before.account_leverage == leverage and before.margin_mode == wanted_mode:
            return before
        for command in self.encode_settings(instrument, before, leverage, wanted_mode):
            self.decode_setting(await self.context.port.send(command, Progress()))
        after = await self._read_back(instrument, leverage, wanted_mode)
        if after.account_leverage != leverage or after.margin_mode not in (wanted_mode, None):
            raise ProtocolError(
                f"{instrument.id}: asked for {leverage}x {wanted_mode}, the venue shows {after.account_leverage}x {after.margin_mode}",
                venue=self.context.name,
            )
        return after

    async def _read_back(self, instrument: Instrument, leverage: Decimal, mode: MarginMode) -> LeverageInfo:
        """A queued setting may show late: look up to five times."""
        info = await self.fetch_leverage(instrument)
        tries = 5 if self.context.spec.capabilities.ack is Ack.QUEUED else 2
        for _ in range(tries - 1):
            if info.account_leverage == leverage and info.margin_mode in (mode, None):
                break
            await self.context.runtime.clock.sleep(0.3)
            info = await self.fetch_leverage(instrument)
        return info

    async def set_margin_mode(self, instrument: Instrument, mode: MarginMode) -> LeverageInfo:
        current = await self.fetch_leverage(instrument)
        leverage = current.account_leverage or Decimal(1)
        return await self.set_leverage(instrument, leverage, mode)

    async def move_isolated_margin(self, instrument: Instrument, amount: Decimal) -> None:
        self.context.supports(self.context.spec.capabilities.isolated_margin_transfer, "moving isolated margin")
        self.decode_setting(await self.context.port.send(self.encode_isolated_margin(instrument, amount), Progress()))
