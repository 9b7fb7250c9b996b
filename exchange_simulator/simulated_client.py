"""The client contract straight over a simulated venue, without a wire: for backtests and paper trading.

    venue = SimulatedVenue(simulated_spec("lighter"), instruments, runtime.clock)
    venue.open_account(1, Decimal(10_000))
    async with SimulatedClient(venue, 1, runtime=runtime) as client: ...

Everything above the managers is the code that runs live: checks, rounding, tracking, reports. There is no key and nothing that could sign;
an answer is the venue's and final, so an outcome is unknown only when the caller gave up waiting. Not simulated: rate limits, lost
messages (the dialects do that), candles.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import cached_property
from typing import Any, ClassVar

import msgspec

from exchange_clients.base_client import BaseExchangeClient
from exchange_clients.base_managers import LANES, BaseAccountManager, BaseManager, BaseMarketData, BaseOrderManager, BasePositionManager
from exchange_clients.base_websocket import BaseDialect, BaseMessageHandler, BaseWebSocketManager, Decode, event_key
from exchange_clients.book import BookChange, SnapshotOnly
from exchange_clients.config import ClientConfig
from exchange_clients.context import ClientContext
from exchange_clients.errors import AuthError, ConfigError, NotReady, VenueError
from exchange_clients.events import EventHub
from exchange_clients.model import (
    NS_PER_S,
    Bbo,
    BookLevel,
    BookSnapshot,
    FeeRates,
    Fill,
    FillKind,
    FundingPayment,
    FundingRateSample,
    Gap,
    IndexPrice,
    Instrument,
    InstrumentId,
    KeyInfo,
    Lane,
    LeverageInfo,
    LiquidationEvent,
    MarginMode,
    MarkPrice,
    OrderAck,
    OrderInfo,
    OrderIntent,
    Position,
    PositionMode,
    Ticker,
    Trade,
)
from exchange_clients.orders import Order
from exchange_clients.signing import Command, Credentials, HttpRequest, SignContext, SignedCommand, Signer
from exchange_clients.spec import Endpoints, Stream
from exchange_clients.subscriptions import Topic
from exchange_clients.transport.command import Progress
from exchange_clients.transport.dialect import Heartbeat
from exchange_clients.transport.loop_lag import LoopLag
from exchange_clients.transport.runtime import Runtime
from exchange_simulator.core import events as ev
from exchange_simulator.core import types as core
from exchange_simulator.core.orders import Order as CoreOrder
from exchange_simulator.core.types import UNIT, fraction, to_money
from exchange_simulator.simulated_venue import SimulatedVenue, leverage_of

_MARK, _INDEX = Stream.MARK, Stream.INDEX  # globals: a member reached through its class is dear on CPython 3.11
_PARKED = (core.OrderStatus.UNTRIGGERED, core.OrderStatus.WAITING)
Action = Callable[[int], Any]
"""What a command does to the exchange, at the time it gets there."""


class SimulatedAccount:
    """Names the account where a live client has a signer. It holds no key, and everything that would sign raises."""

    def __init__(self, number: str) -> None:
        self._number = number

    @property
    def address(self) -> str:
        return f"simulated-{self._number}"

    async def authorize(self, request: HttpRequest, now_ms: int) -> HttpRequest:
        raise ConfigError("a simulated account signs nothing")

    async def sign_command(self, command: Command, context: SignContext) -> SignedCommand:
        raise ConfigError("a simulated account signs nothing")

    async def ws_login(self, role: str, now_ms: int) -> tuple[str | bytes, ...]:
        raise ConfigError("a simulated account signs nothing")


class SimulatedPort:
    """Carries commands to the exchange and answers back, each with its latency."""

    def __init__(self, venue: SimulatedVenue, account: int) -> None:
        self.venue = venue
        self.account = account

    async def send(self, command: Command, progress: Progress) -> Any:
        venue = self.venue
        progress.wrote = True
        if delay_s := venue.entry_delay_s():
            await venue.clock.sleep(delay_s)
        action: Action = command.payload
        reply = action(venue.now_ns())
        if delay_s := venue.report_delay_s():
            await venue.clock.sleep(delay_s)
        return reply


def _port(manager: BaseManager) -> SimulatedPort:
    port = manager.context.port
    assert isinstance(port, SimulatedPort)
    return port


class SimulatedMarketData(BaseMarketData):
    @property
    def _venue(self) -> SimulatedVenue:
        return _port(self).venue

    async def fetch_instruments(self) -> list[Instrument]:
        return list(self._venue.instruments.values())

    async def fetch_server_time_ns(self) -> int | None:
        return self._venue.now_ns()

    async def fetch_book(self, instrument: Instrument, *, depth: int = 20) -> BookSnapshot:
        return self._venue.book(instrument.contract_id, depth)

    async def fetch_trades(
        self, instrument: Instrument, *, limit: int = 100, start_ns: int | None = None, end_ns: int | None = None
    ) -> list[Trade]:
        kept = self._venue.history.trades[instrument.contract_id]
        trades = [t for t in kept if (start_ns is None or t.ts_ns >= start_ns) and (end_ns is None or t.ts_ns <= end_ns)]
        return [self._venue.trade(t) for t in trades[-limit:]]

    async def fetch_ticker(self, instrument: Instrument) -> Ticker:
        return self._venue.ticker(instrument.contract_id)

    async def fetch_funding_rates(self) -> dict[InstrumentId, FundingRateSample]:
        return {i.id: self._venue.funding(contract_id) for contract_id, i in self._venue.instruments.items()}

    async def fetch_funding_history(self, instrument: Instrument, *, start_ns: int, end_ns: int | None = None) -> list[FundingRateSample]:
        venue = self._venue
        past = venue.history.funding[instrument.contract_id]
        return [
            venue.past_funding(instrument.contract_id, p) for p in past if p.ts_ns >= start_ns and (end_ns is None or p.ts_ns <= end_ns)
        ]


class SimulatedOrderManager(BaseOrderManager):
    def _command(self, lane: Lane, action: Action) -> Command:
        return Command("simulated", action, lane)

    def encode_place(self, order: Order, instrument: Instrument) -> Command:
        port = _port(self)
        new, exchange = port.venue.new_order(port.account, order.intent, instrument), port.venue.exchange
        return self._command(LANES[order.intent.purpose], lambda now_ns: exchange.submit(now_ns, new))

    def encode_bracket(self, entry: Order, take_profit: Order | None, stop_loss: Order | None, instrument: Instrument) -> Command:
        port = _port(self)
        orders = [port.venue.new_order(port.account, o.intent, instrument) for o in (entry, take_profit, stop_loss) if o is not None]
        kind = core.GroupKind.OTOCO if len(orders) == 3 else core.GroupKind.OTO
        return self._command(LANES[entry.intent.purpose], lambda now_ns: port.venue.exchange.submit_group(now_ns, kind, orders))

    def decode_place_many(self, reply: Any, orders: Sequence[Order]) -> list[OrderAck | VenueError]:
        return [self._ack_or_error(placed, order) for placed, order in zip(reply, orders, strict=True)]

    def _ack_or_error(self, placed: CoreOrder, order: Order) -> OrderAck | VenueError:
        try:
            return self.decode_place(placed, order)
        except VenueError as e:
            return e

    def decode_place(self, reply: Any, order: Order) -> OrderAck:
        placed: CoreOrder = reply
        venue = _port(self).venue
        if placed.reject_reason is not None:
            raise venue.refusal(placed.reject_reason)
        return venue.ack(placed, order.client_order_id or "")

    def encode_cancel(self, order: Order, instrument: Instrument) -> Command:
        port = _port(self)
        exchange, client_order_id, order_id = port.venue.exchange, order.client_order_id, order.order_id

        def cancel(now_ns: int) -> core.RejectReason | None:
            known = exchange.order_by_client_id(port.account, client_order_id) if client_order_id else None
            number = known.id if known is not None else int(order_id or 0)
            return exchange.cancel(now_ns, port.account, number)

        return self._command(Lane.CANCEL, cancel)

    def decode_cancel(self, reply: Any, order: Order) -> None:
        if reply is not None:
            raise _port(self).venue.refusal(reply)

    def encode_cancel_all(self, instrument: Instrument | None) -> Command:
        port = _port(self)
        market = instrument.contract_id if instrument is not None else ""
        return self._command(Lane.CANCEL, lambda now_ns: port.venue.exchange.cancel_all(now_ns, port.account, market))

    def encode_amend(self, order: Order, intent: OrderIntent, instrument: Instrument) -> Command:
        port = _port(self)
        exchange, spec = port.venue.exchange, port.venue.exchange.markets[instrument.contract_id].spec
        price = spec.to_ticks(intent.price) if intent.price is not None else 0
        total, order_id = spec.to_steps(intent.quantity), int(order.order_id or 0)

        def amend(now_ns: int) -> CoreOrder | core.RejectReason:
            known = exchange.order(order_id)
            filled = known.filled if known is not None else 0
            replacing = exchange.rules.amend is core.AmendMode.REPLACE
            return exchange.amend(now_ns, port.account, order_id, price=price, size=total - filled if replacing else total)

        return self._command(Lane.ENTRY, amend)

    def decode_amend(self, reply: Any, order: Order) -> str | None:
        if isinstance(reply, core.RejectReason):
            raise _port(self).venue.refusal(reply)
        placed: CoreOrder = reply
        return str(placed.id)

    def encode_dead_man_switch(self, timeout_s: float | None) -> Command:
        port = _port(self)

        def arm(now_ns: int) -> None:
            at_ns = now_ns + round(timeout_s * NS_PER_S) if timeout_s is not None else 0
            port.venue.exchange.schedule_cancel_all(now_ns, port.account, at_ns)

        return self._command(Lane.CANCEL, arm)

    async def fetch_order(
        self, instrument: Instrument | None, *, order_id: str | None = None, client_order_id: str | None = None
    ) -> OrderInfo | None:
        port = _port(self)
        exchange = port.venue.exchange
        found = exchange.order_by_client_id(port.account, client_order_id) if client_order_id else None
        if found is None and order_id is not None and order_id.isdecimal():
            found = exchange.order(int(order_id))
        return port.venue.order_info(found) if found is not None and found.account.id == port.account else None

    async def fetch_open_orders(self, instrument: Instrument | None = None) -> list[OrderInfo]:
        port = _port(self)
        market = instrument.contract_id if instrument is not None else ""
        return [port.venue.order_info(o) for o in port.venue.exchange.open_orders(port.account, market)]

    async def fetch_order_history(self, *, since_ns: int, instrument: Instrument | None = None) -> list[OrderInfo]:
        port = _port(self)
        ended = (port.venue.exchange.order(order_id) for order_id in port.venue.history.ended[port.account])
        infos = [port.venue.order_info(o) for o in ended if o is not None and o.updated_ns >= since_ns]
        return [i for i in infos if instrument is None or i.instrument == instrument.id]

    async def fetch_fills(self, *, since_ns: int, until_ns: int | None = None, instrument: Instrument | None = None) -> list[Fill]:
        port = _port(self)
        kept = port.venue.history.fills[port.account]
        fills = [f for f in kept if f.ts_ns >= since_ns and (until_ns is None or f.ts_ns <= until_ns)]
        return [port.venue.fill(f) for f in fills if instrument is None or f.market == instrument.contract_id]


class SimulatedPositionManager(BasePositionManager):
    async def fetch_positions(self) -> list[Position]:
        port = _port(self)
        return [port.venue.position(p) for p in port.venue.exchange.account(port.account).positions.values() if p.size]

    async def fetch_funding_payments(
        self, *, since_ns: int, until_ns: int | None = None, instrument: Instrument | None = None
    ) -> list[FundingPayment]:
        port = _port(self)
        kept = port.venue.history.payments[port.account]
        paid = [p for p in kept if p.ts_ns >= since_ns and (until_ns is None or p.ts_ns <= until_ns)]
        return [port.venue.payment(p) for p in paid if instrument is None or p.market == instrument.contract_id]


class SimulatedAccountManager(BaseAccountManager):
    async def verify_credentials(self) -> None:
        port = _port(self)
        if port.account not in port.venue.exchange.ledger.accounts:
            raise AuthError(f"there is no account {port.account}", venue=self.context.name)

    async def fetch_account(self) -> Any:
        port = _port(self)
        return port.venue.account_state(port.account)

    async def fetch_key_info(self) -> KeyInfo:
        """There is no key to end; positions are one-way."""
        return KeyInfo(can_trade=True, can_withdraw=False, position_mode=PositionMode.ONE_WAY)

    async def fetch_fee_rates(self, instrument: Instrument) -> FeeRates:
        port = _port(self)
        fees = port.venue.exchange.account(port.account).fees
        spec = port.venue.exchange.markets[instrument.contract_id].spec
        maker, taker = fees.get(spec.symbol) or fees.get("") or (spec.maker_fee, spec.taker_fee)
        return FeeRates(maker=fraction(maker), taker=fraction(taker))

    async def fetch_leverage(self, instrument: Instrument) -> LeverageInfo:
        port = _port(self)
        position = port.venue.exchange.position(port.account, instrument.contract_id)
        tier = position.market.spec.tiers[0]
        return LeverageInfo(
            max_leverage=leverage_of(tier.initial),
            margin_requirement=fraction(tier.initial),
            account_leverage=leverage_of(position.initial),
            margin_mode=position.mode,
        )

    def encode_leverage(self, instrument: Instrument, leverage: Decimal, mode: MarginMode) -> Command:
        port = _port(self)
        exchange, symbol = port.venue.exchange, instrument.contract_id
        lowest = exchange.markets[symbol].spec.tiers[0].initial

        def change(now_ns: int) -> core.RejectReason | None:
            # up: a margin fraction rounded down would be more than the leverage asked for
            initial = max(lowest, int((UNIT / leverage).to_integral_value("ROUND_CEILING")))
            return exchange.set_margin_mode(now_ns, port.account, symbol, mode) or exchange.set_leverage(
                now_ns, port.account, symbol, initial
            )

        return Command("simulated", change, Lane.QUERY)

    def encode_isolated_margin(self, instrument: Instrument, amount: Decimal) -> Command:
        port = _port(self)
        return Command(
            "simulated",
            lambda now_ns: port.venue.exchange.move_isolated_margin(now_ns, port.account, instrument.contract_id, to_money(amount)),
            Lane.QUERY,
        )

    def decode_setting(self, reply: Any) -> None:
        if reply is not None:
            raise _port(self).venue.refusal(reply)


class _NoWire(BaseDialect):
    heartbeat = Heartbeat(60.0, None, 60.0)

    def topic(self, stream: Stream, instrument: Instrument | None, parameter: str = "") -> Topic:
        name = f"{stream}/{instrument.contract_id if instrument is not None else ''}"
        return Topic(stream, "public", name, instrument.id if instrument is not None else None, parameter)

    async def subscribe(self, topics: Sequence[Topic]) -> list[str | bytes]:
        return []

    async def unsubscribe(self, topics: Sequence[Topic]) -> list[str | bytes]:
        return []


class _NoFrames(BaseMessageHandler):
    decode: ClassVar[Decode] = msgspec.json.Decoder().decode

    def handlers(self) -> dict[type, Callable[[str, Any, int], object]]:
        return {}


class SimulatedStreams(BaseWebSocketManager):
    """Events of the exchange as streams. Books are read from the exchange itself, so they are as fresh as whoever feeds it."""

    dialect_class = _NoWire
    message_handler_class = _NoFrames
    sequence_rule = SnapshotOnly()

    def __init__(self, context: ClientContext) -> None:
        super().__init__(context)
        self._stop: Callable[[], None] | None = None
        self._quoted: dict[str, _Quoted] = {}
        self._readers: dict[type[ev.Event], Callable[[Any], None]] = {
            ev.OrderAccepted: self._on_accepted,
            ev.OrderOpened: self._on_order,
            ev.OrderTriggered: self._on_order,
            ev.OrderAmended: self._on_order,
            ev.OrderCancelled: self._on_order,
            ev.OrderExpired: self._on_order,
            ev.OrderFilled: self._on_fill,
            ev.PositionChanged: self._on_position,
            ev.BalanceChanged: self._on_balance,
            ev.Trade: self._on_trade,
            ev.BookDelta: lambda event: self.on_quote(event.market),
            ev.MarkChanged: self._on_mark,
            ev.FundingSettled: self._on_funding,
            ev.Liquidated: self._on_liquidation,
            ev.Adl: self._on_liquidation,
            ev.MarketStatusChanged: lambda event: self._on_instrument(event.market),
            ev.MarketChanged: lambda event: self._on_instrument(event.market.symbol),
        }

    @cached_property
    def _port(self) -> SimulatedPort:
        port = self.context.port
        assert isinstance(port, SimulatedPort)
        return port

    @cached_property
    def _venue(self) -> SimulatedVenue:
        return self._port.venue

    # ---- connecting

    async def connect(self, *, timeout_s: float = 15.0) -> None:
        if self._stop is None:
            self._stop = self._venue.listen(self)
            for topic in self.private_topics():
                self.want(topic)

    async def disconnect(self) -> None:
        if self._stop is not None:
            self._stop()
            self._stop = None
            self._quoted.clear()
            await self._venue.close()

    @property
    def is_connected(self) -> bool:
        return self._stop is not None

    def want(self, topic: Topic) -> None:
        now = self.context.runtime.clock.monotonic()
        if self.registry.want(topic, now):
            self.registry.sent([topic], now)
            self.registry.confirmed(topic, now)

    # ---- books

    async def prepare_market_feed(self, instrument: Instrument, *, timeout_s: float = 10.0) -> None:
        self.want(self.dialect.topic(Stream.BOOK, instrument))
        self.want(self.dialect.topic(Stream.BBO, instrument))
        if not self.order_book_ready(instrument):
            raise NotReady(f"{instrument.id}: {self._venue.suspended(instrument.contract_id)}", venue=self.context.name)

    def release_market_feed(self, instrument: Instrument) -> None:
        self.release(self.dialect.topic(Stream.BOOK, instrument))
        self.release(self.dialect.topic(Stream.BBO, instrument))

    def order_book_ready(self, instrument: Instrument) -> bool:
        return self._venue.suspended(instrument.contract_id) is None

    def get_order_book(self, instrument: Instrument, levels: int | None = None) -> BookSnapshot:
        return self._venue.book(instrument.contract_id, levels or 0)

    def get_best_levels(self, instrument: Instrument, min_size_usd: Decimal = Decimal(0)) -> tuple[BookLevel | None, BookLevel | None]:
        book = self._venue.book(instrument.contract_id, 0)
        bid, ask = (next((x for x in side if x.price * x.size >= min_size_usd), None) for side in (book.bids, book.asks))
        return bid, ask

    def get_latest_bbo(self, instrument: Instrument) -> Bbo | None:
        return self._venue.bbo(instrument.contract_id)

    def fresh_bbo(self, instrument: InstrumentId) -> Bbo | None:
        return self._venue.bbo(self.context.instruments.get(instrument).contract_id)

    def fresh_book(self, instrument: InstrumentId, levels: int) -> BookSnapshot | None:
        contract_id = self.context.instruments.get(instrument).contract_id
        return None if self._venue.suspended(contract_id) is not None else self._venue.book(contract_id, levels)

    # ---- events

    def on_event(self, event: ev.AnyEvent) -> None:
        reader = self._readers.get(type(event))
        if reader is not None:
            reader(event)

    def on_quote(self, contract_id: str) -> None:
        quoted = self._quoted.get(contract_id)
        if quoted is None:
            quoted = self._quoted[contract_id] = _Quoted(self._venue, contract_id, self.context.hub)
        quoted.tell()

    def suspended(self, contract_id: str, reason: str) -> None:
        """The venue's feed of that book broke."""
        instrument = self._venue.instruments[contract_id].id
        gap = Gap(venue=self.context.name, topic=Stream.BOOK, reason=reason, ts_ns=self._venue.now_ns(), instrument=instrument)
        self._quoted.pop(contract_id, None)
        for stream in (Stream.BOOK, Stream.BBO):
            self.context.hub.publish(event_key(stream, instrument), gap)

    def _on_order(self, event: Any) -> None:
        if event.account == self._port.account and (order := self._venue.exchange.order(event.order_id)) is not None:
            self.context.tracker.on_order(self._venue.order_info(order))

    def _on_accepted(self, event: ev.OrderAccepted) -> None:
        """Only conditional orders stop here; of all others a later event tells more."""
        order = self._venue.exchange.order(event.order_id)
        if event.order.account == self._port.account and order is not None and not order.filled and order.status in _PARKED:
            self.context.tracker.on_order(self._venue.order_info(order))

    def _on_fill(self, event: ev.OrderFilled) -> None:
        if event.account != self._port.account:
            return
        self.context.tracker.on_fill(self._venue.fill(event))  # the core tells of liquidations by an event of their own
        order = self._venue.exchange.order(event.order_id) if event.remaining == 0 else None
        if order is not None and order.size != order.request.size:  # the venue cut it: what filled is all there is
            self.context.tracker.on_order(self._venue.order_info(order))

    def _on_position(self, event: ev.PositionChanged) -> None:
        if event.account == self._port.account:
            self.position(self._venue.position(self._venue.exchange.position(event.account, event.market)))

    def _on_balance(self, event: ev.BalanceChanged) -> None:
        if event.account == self._port.account and self.context.hub.wanted(event_key(Stream.ACCOUNT)):
            self.account(self._venue.account_state(event.account))

    def _on_trade(self, event: ev.Trade) -> None:
        if self.context.hub.wanted(event_key(Stream.TRADES, self._venue.instruments[event.market].id)):
            self.trade(self._venue.trade(event))

    def _on_mark(self, event: ev.MarkChanged) -> None:
        venue, wanted = self._venue, self.context.hub.wanted
        instrument = venue.instruments[event.market].id
        if wanted((_MARK, instrument, "")):
            self.mark(MarkPrice(instrument, venue.exchange.markets[event.market].spec.ref_price(event.mark), event.ts_ns))
        if wanted((_INDEX, instrument, "")):
            self.index(IndexPrice(instrument, venue.exchange.markets[event.market].spec.ref_price(event.index), event.ts_ns))

    def _on_funding(self, event: ev.FundingSettled) -> None:
        self.funding(self._venue.instruments[event.market].id, self._venue.funding(event.market))

    def _on_liquidation(self, event: ev.Liquidated | ev.Adl) -> None:
        spec = self._venue.exchange.markets[event.market].spec
        self.liquidation(
            LiquidationEvent(
                instrument=self._venue.instruments[event.market].id,
                side=event.side,
                quantity=spec.size(event.size),
                price=spec.price(event.price),
                ts_venue_ns=event.ts_ns,
                kind=FillKind.ADL if isinstance(event, ev.Adl) else FillKind.LIQUIDATION,
                own=event.account == self._port.account,
            )
        )

    def _on_instrument(self, contract_id: str) -> None:
        if self.context.instruments.is_loaded:
            self.context.instruments.update(self._venue.instruments[contract_id])


Best = tuple[int, int, int, int]
"""Bid in ticks, its size in steps, ask, its size."""


class _Quoted:
    """What a stream of quotes of one market needs at every change; figures that were told before are not built anew."""

    __slots__ = (
        "_asks",
        "_bbo_key",
        "_bbo_listeners",
        "_bbo_queues",
        "_bids",
        "_book_key",
        "_book_listeners",
        "_book_queues",
        "_hub",
        "_instrument",
        "_kept",
        "_log",
        "_prices",
        "_sizes",
        "_spec",
        "_suspended",
        "_told",
        "_venue",
    )

    def __init__(self, venue: SimulatedVenue, contract_id: str, hub: EventHub) -> None:
        state = venue.exchange.markets[contract_id]
        self._venue, self._hub = venue, hub
        self._instrument = venue.instruments[contract_id].id
        self._book_key, self._bbo_key = event_key(Stream.BOOK, self._instrument), event_key(Stream.BBO, self._instrument)
        self._book_queues, self._book_listeners = hub.readers(self._book_key)
        self._bbo_queues, self._bbo_listeners = hub.readers(self._bbo_key)
        self._told: Best | None = None
        self._suspended = venue.suspensions
        self._log = venue.exchange.log
        self._spec = state.spec
        self._bids, self._asks = state.book.bids, state.book.asks
        self._prices: dict[int, Decimal] = {}
        self._sizes: dict[int, Decimal] = {}
        self._kept = 10_000

    def tell(self) -> None:
        """The best prices may have changed. In one piece, for it runs at every quote of a year."""
        bbo_listeners, bbo_queues = self._bbo_listeners, self._bbo_queues
        wants_bbo = bbo_listeners or bbo_queues
        wants_book = self._book_listeners or self._book_queues
        if not (wants_bbo or wants_book):
            return
        bids, asks = self._bids, self._asks
        if bids.keys or asks.keys or self._suspended or not (bids.anonymous_keys and asks.anonymous_keys):
            best = self._read()
        else:  # nobody's orders rest: the shape of most quotes
            bid, ask = bids.anonymous_keys[-1], -asks.anonymous_keys[-1]
            best = bid, bids.anonymous[bid], ask, asks.anonymous[ask]
        changed = best is not None and best != self._told
        if best is not None and changed:
            self._told = best
            if wants_bbo:
                bid, bid_size, ask, ask_size = best
                now, prices, sizes = self._log.now, self._prices, self._sizes
                bbo = Bbo(
                    self._instrument,
                    prices.get(bid) or self._price(bid),
                    sizes.get(bid_size) or self._size(bid_size),
                    prices.get(ask) or self._price(ask),
                    sizes.get(ask_size) or self._size(ask_size),
                    now,
                    now,
                )
                self._hub.publish_to(bbo_queues, bbo_listeners, self._bbo_key, bbo, self._instrument)
        if wants_book:
            now = self._venue.now_ns()
            change = BookChange(self._instrument, changed, None, now, now)
            self._hub.publish_to(self._book_queues, self._book_listeners, self._book_key, change, self._instrument)

    def _read(self) -> Best | None:
        """None when a side is empty or the book is suspended."""
        bids, asks = self._bids, self._asks
        bid, ask = bids.best(), asks.best()
        if not (bid and ask) or self._spec.symbol in self._suspended:
            return None
        return bid, bids.total(bid), ask, asks.total(ask)

    def _price(self, ticks: int) -> Decimal:
        if len(self._prices) >= self._kept:
            self._prices.clear()
        price = self._prices[ticks] = self._spec.price(ticks)
        return price

    def _size(self, steps: int) -> Decimal:
        if len(self._sizes) >= self._kept:
            self._sizes.clear()
        size = self._sizes[steps] = self._spec.size(steps)
        return size


class NoLag(LoopLag):
    """The lag of a loop says nothing about a simulated venue, and ten timers a second are most of the work of a quiet simulated day."""

    async def run(self) -> None:
        await asyncio.Event().wait()


class SimulatedClient(BaseExchangeClient):
    """One account of a simulated venue; its spec is the venue's."""

    market_data_class = SimulatedMarketData
    order_manager_class = SimulatedOrderManager
    position_manager_class = SimulatedPositionManager
    account_manager_class = SimulatedAccountManager
    websocket_class = SimulatedStreams

    def __init__(
        self, venue: SimulatedVenue, account: int, *, runtime: Runtime, config: ClientConfig | Mapping[str, Any] | None = None
    ) -> None:
        self.spec = venue.spec  # type: ignore[misc]  # this one class serves venues of any spec
        self.venue = venue
        super().__init__(config, Credentials(venue.spec.name, {"account": str(account)}), runtime=runtime)
        self.context.port = SimulatedPort(venue, account)
        self.loop_lag = NoLag(runtime.clock)

    @classmethod
    def make_signer(cls, credentials: Credentials, endpoints: Endpoints, config: ClientConfig, runtime: Runtime) -> Signer:
        return SimulatedAccount(credentials["account"])
