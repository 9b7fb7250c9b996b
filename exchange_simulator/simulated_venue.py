"""An exchange of the core as clients see it without a wire: instruments and Decimals outside, ticks and steps inside.

One `SimulatedVenue` stands for one venue; any number of `SimulatedClient`s share it. Somebody else moves its market: a backtest from
recordings, paper trading from a live feed, a seeded world. Prices are quote per base unit and sizes base units on both sides.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from functools import lru_cache
from typing import Any, Protocol

import msgspec

from exchange_clients import errors
from exchange_clients.model import (
    NS_PER_HOUR,
    ZERO,
    AccountState,
    Ack,
    Bbo,
    BookLevel,
    BookSnapshot,
    Fill,
    FillKind,
    FundingPayment,
    FundingRateSample,
    Instrument,
    MarginMode,
    OrderAck,
    OrderInfo,
    OrderIntent,
    OrderStatus,
    OrderType,
    Position,
    RateKind,
    Side,
    Ticker,
    TimeInForce,
    Trade,
)
from exchange_clients.spec import Capabilities, CredentialField, Endpoints, IdFormat, Stream, VenueSpec
from exchange_clients.transport.clock import Clock
from exchange_simulator.core import events as ev
from exchange_simulator.core import types as core
from exchange_simulator.core.exchange import Exchange
from exchange_simulator.core.funding import FundingSource
from exchange_simulator.core.orders import Order
from exchange_simulator.core.orders import Position as CorePosition
from exchange_simulator.core.types import UNIT, fraction, money, to_fraction, to_money
from exchange_simulator.dialects.history import History, PastFunding

ACCOUNT = CredentialField("account", "SIMULATED{env}_ACCOUNT", secret=False, help="number of the simulated account")
ALL_TYPES = frozenset(OrderType)
ALL_TIMES = frozenset(TimeInForce)
STREAMS: dict[Stream, str] = {stream: stream.value for stream in Stream if stream is not Stream.CANDLES}

_DEFAULT_INITIAL = Decimal("0.05")
_KINDS = {
    core.TradeKind.NORMAL: FillKind.TRADE,
    core.TradeKind.LIQUIDATION: FillKind.LIQUIDATION,
    core.TradeKind.ADL: FillKind.ADL,
    core.TradeKind.SETTLEMENT: FillKind.SETTLEMENT,
}
_STATUS = {
    core.OrderStatus.NEW: OrderStatus.SUBMITTED,
    core.OrderStatus.WAITING: OrderStatus.PENDING,
    core.OrderStatus.UNTRIGGERED: OrderStatus.PENDING,
    core.OrderStatus.OPEN: OrderStatus.OPEN,
    core.OrderStatus.FILLED: OrderStatus.FILLED,
    core.OrderStatus.CANCELLED: OrderStatus.CANCELED,
    core.OrderStatus.EXPIRED: OrderStatus.EXPIRED,
    core.OrderStatus.REJECTED: OrderStatus.REJECTED,
}
_TYPES = {
    (core.OrderType.LIMIT, None): OrderType.LIMIT,
    (core.OrderType.MARKET, None): OrderType.MARKET,
    (core.OrderType.LIMIT, core.TriggerKind.STOP): OrderType.STOP_LIMIT,
    (core.OrderType.MARKET, core.TriggerKind.STOP): OrderType.STOP_MARKET,
    (core.OrderType.LIMIT, core.TriggerKind.TAKE_PROFIT): OrderType.TAKE_PROFIT_LIMIT,
    (core.OrderType.MARKET, core.TriggerKind.TAKE_PROFIT): OrderType.TAKE_PROFIT_MARKET,
}
_CORE_TYPES = {ours: theirs for theirs, ours in _TYPES.items()}
_CORE_TIMES = {
    TimeInForce.GTC: core.TimeInForce.GTC,
    TimeInForce.GTT: core.TimeInForce.GTC,
    TimeInForce.IOC: core.TimeInForce.IOC,
    TimeInForce.FOK: core.TimeInForce.FOK,
}
_RELISTED = (ev.MarketStatusChanged, ev.MarketChanged)
_R = core.RejectReason
ERRORS: dict[core.RejectReason, type[errors.VenueError]] = {
    **dict.fromkeys(_R, errors.InvalidOrder),
    _R.POST_ONLY_WOULD_CROSS: errors.PostOnlyWouldCross,
    _R.INSUFFICIENT_MARGIN: errors.InsufficientMargin,
    _R.REDUCE_ONLY: errors.ReduceOnlyViolation,
    _R.MIN_NOTIONAL: errors.MinNotional,
    _R.PRICE_BAND: errors.PriceOutOfBand,
    _R.DUPLICATE_CLIENT_ID: errors.DuplicateClientOrderId,
    _R.UNKNOWN_ORDER: errors.OrderNotFound,
    _R.TOO_MANY_ORDERS: errors.TooManyOrders,
    _R.MARKET_STATUS: errors.MarketClosed,
    _R.NO_MARK_PRICE: errors.MarketClosed,
    _R.BAD_LEVERAGE: errors.RequestRefused,
    _R.MARGIN_MODE: errors.RequestRefused,
}


def simulated_spec(name: str, *, like: VenueSpec | None = None) -> VenueSpec:
    """What a simulated venue is and can do.

    `like` a real venue it has that one's quote, collateral, ids, order types and times in force, so that a strategy meets the same limits;
    without, everything the core can do. Answers are final, and there is no rate limit.
    """
    able = Capabilities(
        ack=Ack.FINAL,
        order_types=ALL_TYPES,
        times_in_force=ALL_TIMES,
        native_market=True,
        native_amend=True,
        native_cancel_all=True,
        native_bracket=True,
        dead_man_switch=True,
        set_leverage=True,
        set_margin_mode=True,
        margin_modes=frozenset({MarginMode.CROSS, MarginMode.ISOLATED}),
        isolated_margin_transfer=True,
        key_info=True,
        candles=False,
        reduce_only_below_minimum=True,
        lookup_grace_s=0.0,
    )
    if like is not None:
        theirs = like.capabilities
        able = replace(
            able,
            order_types=theirs.order_types,
            times_in_force=theirs.times_in_force,
            post_only=theirs.post_only,
            reduce_only=theirs.reduce_only,
            native_market=theirs.native_market,
            native_bracket=theirs.native_bracket,
            dead_man_switch=theirs.dead_man_switch,
            margin_modes=theirs.margin_modes,
            reduce_only_below_minimum=theirs.reduce_only_below_minimum,
            min_gtt_s=theirs.min_gtt_s,
            max_gtt_s=theirs.max_gtt_s,
        )
    environments = like.environments if like is not None else ("mainnet",)
    return VenueSpec(
        name=name,
        title=f"{like.title if like is not None else name} (simulated)",
        environments={environment: Endpoints(rest="") for environment in environments},
        default_quote=like.default_quote if like is not None else "USDC",
        credentials=(ACCOUNT,),
        pools={},
        endpoints={},
        errors={},
        read_error=lambda status, body: None,
        streams=STREAMS,
        capabilities=able,
        client_id=like.client_id if like is not None else IdFormat.UINT48,
        funding_interval_hours=like.funding_interval_hours if like is not None else Decimal(1),
        collateral=like.collateral if like is not None else "USDC",
        default_dex=like.default_dex if like is not None else "",
        account_field="account",
    )


def market_of(instrument: Instrument) -> core.Market:
    """The core's market of an instrument; its symbol is the contract id.

    What the instrument does not say is taken on the careful side: 5 % initial margin, half of it for maintenance, fees of 0.
    Raises ValueError when tick x step is finer than the core's money, and for inverse markets: they need a wire that tells coins.
    """
    if instrument.id.inverse:
        raise ValueError(f"{instrument.id}: inverse markets are simulated behind a dialect only")
    initial = instrument.initial_margin or (1 / instrument.max_leverage if instrument.max_leverage else _DEFAULT_INITIAL)
    maintenance = instrument.maintenance_margin or initial / 2
    hours = instrument.funding_interval_hours or Decimal(1)
    return core.Market(
        symbol=instrument.contract_id,
        tick_size=instrument.tick_size,
        step_size=instrument.step_size,
        tiers=(core.MarginTier(0, int(initial * UNIT), int(maintenance * UNIT)),),
        maker_fee=to_fraction(instrument.maker_fee or ZERO),
        taker_fee=to_fraction(instrument.taker_fee or ZERO),
        min_size=max(1, int(instrument.min_quantity / instrument.step_size)),
        max_size=int(instrument.max_quantity / instrument.step_size) if instrument.max_quantity else 0,
        min_notional=to_money(instrument.min_notional),
        funding_interval_ns=int(hours * NS_PER_HOUR),
        funding_cap=to_fraction(instrument.funding_cap or ZERO),
        isolated_only=instrument.only_isolated,
        status=instrument.status,
    )


def _status(order: Order) -> OrderStatus:
    status = _STATUS[order.status]
    return OrderStatus.PARTIALLY_FILLED if status is OrderStatus.OPEN and order.filled else status


def _average(order: Order) -> Decimal | None:
    return order.value * order.market.spec.tick_size / order.filled if order.filled else None


@lru_cache(maxsize=1_024)
def leverage_of(initial: int) -> Decimal:
    """1 / initial margin fraction, free of the last digit that the fraction cannot hold (3x)."""
    return (UNIT / Decimal(initial)).quantize(Decimal("1e-8")).normalize() + 0


class Listener(Protocol):
    """A connected client."""

    def on_event(self, event: ev.AnyEvent) -> None: ...

    def on_quote(self, contract_id: str) -> None:
        """The best prices may have changed."""
        ...

    def suspended(self, contract_id: str, reason: str) -> None:
        """The book is not to be relied on from here."""
        ...


class SimulatedVenue:
    """Instruments, exchange and records of one simulated venue.

    `entry_latency_s` passes before a command reaches the exchange, `report_latency_s` before its answer and its events reach the client.
    To each way up to `jitter_s` is added, drawn from `rng`; events keep their order.
    While clients are connected, what the exchange has due is done on time by itself.
    """

    def __init__(
        self,
        spec: VenueSpec,
        instruments: Iterable[Instrument],
        clock: Clock,
        *,
        rules: core.Rules | None = None,
        funding: FundingSource | None = None,
        publish_book: bool = True,
        entry_latency_s: float = 0.0,
        report_latency_s: float = 0.0,
        jitter_s: float = 0.0,
        rng: random.Random | None = None,
        keep: int = 20_000,
    ) -> None:
        if jitter_s and rng is None:
            raise ValueError("jitter needs an rng")
        self.spec = spec
        self.clock = clock
        self.entry_latency_s = entry_latency_s
        self.report_latency_s = report_latency_s
        self.jitter_s = jitter_s
        self._rng = rng
        self._told_at = 0.0
        self._under_way: deque[ev.AnyEvent] = deque()
        self.exchange = Exchange(rules, funding=funding, publish_book=publish_book, closed_orders_kept=keep)
        self.history = History(keep=keep)
        self.instruments = {i.contract_id: i for i in instruments}
        self._listeners: tuple[Listener, ...] = ()
        """Replaced, never changed: it is walked at every event and quote."""
        self._suspended: dict[str, str] = {}
        self._driver: asyncio.Task[None] | None = None
        self._sooner = asyncio.Event()
        self._waiting_for_ns: int | None = None
        for instrument in self.instruments.values():
            self.exchange.add_market(self.now_ns(), market_of(instrument))
        self.exchange.subscribe(self._on_event)

    def entry_delay_s(self) -> float:
        """How long the next command is under way."""
        return self.entry_latency_s if self._rng is None else self.entry_latency_s + self._rng.random() * self.jitter_s

    def report_delay_s(self) -> float:
        """How long the next answer or event is under way."""
        return self.report_latency_s if self._rng is None else self.report_latency_s + self._rng.random() * self.jitter_s

    def now_ns(self) -> int:
        """The clock's time, but never before what the exchange has seen."""
        return max(self.clock.time_ns(), self.exchange.now_ns)

    def open_account(self, account: int, deposit: Decimal) -> None:
        self.exchange.open_account(self.now_ns(), account, deposit=to_money(deposit))

    # ---- what moves the market

    def set_mark(self, contract_id: str, mark: Decimal, index: Decimal | None = None) -> None:
        spec = self.exchange.markets[contract_id].spec
        self.exchange.set_mark(self.now_ns(), contract_id, spec.to_ref(mark), spec.to_ref(index) if index is not None else 0)

    def suspend(self, contract_id: str, reason: str) -> None:
        """The book is not what the market is (its feed is stale): readers get NotReady until `resume`. Matching goes on."""
        self._suspended[contract_id] = reason
        for listener in self._listeners:
            listener.suspended(contract_id, reason)

    def resume(self, contract_id: str) -> None:
        self._suspended.pop(contract_id, None)

    @property
    def suspensions(self) -> Mapping[str, str]:
        """Books that are not to be relied on, and why; stays the same object."""
        return self._suspended

    def suspended(self, contract_id: str) -> str | None:
        return self._suspended.get(contract_id)

    # ---- events and time

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Every event of the exchange, `report_latency_s` late. The first listener starts the driver; the returned function ends it."""
        self._listeners = (*self._listeners, listener)
        if self._driver is None:
            self._driver = asyncio.create_task(self._drive(), name=f"{self.spec.name}-simulated")

        def stop() -> None:
            self._listeners = tuple(one for one in self._listeners if one is not listener)

        return stop

    async def close(self) -> None:
        """Ends the driver when nobody listens any more."""
        if not self._listeners and self._driver is not None:
            driver, self._driver = self._driver, None
            driver.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await driver

    def _on_event(self, event: ev.AnyEvent) -> None:
        self.history.read(event)
        if isinstance(event, _RELISTED):
            self._update_instrument(event)
        if self._listeners:
            if delay_s := self.report_delay_s():
                loop = asyncio.get_running_loop()
                self._told_at = max(self._told_at, loop.time() + delay_s)
                self._under_way.append(event)  # timers of one moment run in any order: the oldest event goes first
                loop.call_at(self._told_at, self._tell_oldest)
            else:
                self._tell(event)
        due = self.exchange.next_due_ns
        if due is not None and (self._waiting_for_ns is None or due < self._waiting_for_ns):
            self._sooner.set()

    def _tell_oldest(self) -> None:
        self._tell(self._under_way.popleft())

    def _tell(self, event: ev.AnyEvent) -> None:
        for listener in self._listeners:
            listener.on_event(event)

    def quote_changed(self, contract_id: str) -> None:
        """For who moves the market with `publish_book=False`, where no event tells of it."""
        for listener in self._listeners:
            listener.on_quote(contract_id)

    def _update_instrument(self, event: ev.MarketStatusChanged | ev.MarketChanged) -> None:
        if isinstance(event, ev.MarketStatusChanged):
            changed = msgspec.structs.replace(self.instruments[event.market], status=event.status)
        else:
            hours = Decimal(event.market.funding_interval_ns) / NS_PER_HOUR
            changed = msgspec.structs.replace(self.instruments[event.market.symbol], funding_interval_hours=hours)
        self.instruments[changed.contract_id] = changed

    async def _drive(self) -> None:
        """Settlements, expiries and dead-man switches at their time."""
        while True:
            self.exchange.advance(self.now_ns())
            self._sooner.clear()
            due = self._waiting_for_ns = self.exchange.next_due_ns
            waiting: list[asyncio.Task[Any]] = [asyncio.create_task(self._sooner.wait())]
            if due is not None:
                waiting.append(asyncio.create_task(self._until(due)))
            try:
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in waiting:
                    task.cancel()

    async def _until(self, ts_ns: int) -> None:
        await self.clock.sleep_until_ns(ts_ns)

    # ---- orders

    def refusal(self, reason: core.RejectReason, message: str = "") -> errors.VenueError:
        text = message or str(reason).replace("_", " ")
        return ERRORS[reason](text, venue=self.spec.name, code=reason.value, outcome=errors.Outcome.REFUSED)

    def new_order(self, account: int, intent: OrderIntent, instrument: Instrument) -> core.NewOrder:
        spec = self.exchange.markets[instrument.contract_id].spec
        kind, trigger_kind = _CORE_TYPES[intent.order_type]
        trigger = None
        if trigger_kind is not None:
            assert intent.trigger_price is not None
            above = (intent.side is Side.BUY) == (trigger_kind is core.TriggerKind.STOP)
            trigger = core.Trigger(spec.to_ticks(intent.trigger_price), above, core.PriceSource.MARK, trigger_kind)
        return core.NewOrder(
            account=account,
            market=spec.symbol,
            side=intent.side,
            size=spec.to_steps(intent.quantity),
            price=spec.to_ticks(intent.price) if intent.price is not None else 0,
            type=kind,
            time_in_force=_CORE_TIMES[intent.time_in_force],
            post_only=core.PostOnly.REJECT if intent.post_only else core.PostOnly.OFF,
            reduce_only=intent.reduce_only,
            client_id=intent.client_order_id or "",
            expires_ns=intent.expire_ns or 0,
            trigger=trigger,
        )

    def order_info(self, order: Order) -> OrderInfo:
        spec, request = order.market.spec, order.request
        trigger_kind = request.trigger.kind if request.trigger is not None else None
        reason = order.reject_reason or order.cancel_reason
        time_in_force = TimeInForce(request.time_in_force.value.upper())
        return OrderInfo(
            instrument=self.instruments[spec.symbol].id,
            order_id=str(order.id),
            client_order_id=request.client_id or None,
            side=order.side,
            size=spec.size(order.size),
            price=spec.price(order.price) if order.price else None,
            status=_status(order),
            filled_size=spec.size(order.filled),
            remaining_size=spec.size(order.remaining),
            average_price=_average(order),
            order_type=_TYPES[request.type, trigger_kind],
            time_in_force=TimeInForce.GTT if request.expires_ns and time_in_force is TimeInForce.GTC else time_in_force,
            post_only=request.post_only is not core.PostOnly.OFF,
            reduce_only=order.reduce_only,
            trigger_price=spec.price(order.trigger_price) if order.trigger_price else None,
            cancel_reason=reason.value if reason is not None else None,
            created_ns=order.created_ns,
            updated_ns=order.updated_ns,
        )

    def ack(self, order: Order, client_order_id: str) -> OrderAck:
        """What the answer to placing it says."""
        return OrderAck(
            client_order_id=client_order_id,
            order_id=str(order.id),
            status=_status(order),
            filled_size=order.market.spec.size(order.filled),
            average_price=_average(order),
            ts_venue_ns=order.updated_ns,
        )

    def fill(self, event: ev.OrderFilled) -> Fill:
        spec = self.exchange.markets[event.market].spec
        return Fill(
            instrument=self.instruments[event.market].id,
            trade_id=str(event.trade_id),
            order_id=str(event.order_id) if event.order_id else None,
            client_order_id=event.client_id or None,
            side=event.side,
            price=spec.price(event.price),
            quantity=spec.size(event.size),
            fee=money(event.fee),
            fee_asset=self.spec.collateral,
            liquidity=event.liquidity,
            ts_venue_ns=event.ts_ns,
            kind=_KINDS[event.kind],
            realized_pnl=money(event.realised),
        )

    # ---- markets

    def trade(self, event: ev.Trade) -> Trade:
        spec = self.exchange.markets[event.market].spec
        instrument = self.instruments[event.market].id
        price, size = spec.price(event.price), spec.size(event.size)
        return Trade(instrument, str(event.trade_id), price, size, event.taker_side, event.ts_ns, _KINDS[event.kind])

    def bbo(self, contract_id: str) -> Bbo | None:
        """None when a side is empty or the book is suspended."""
        if contract_id in self._suspended:
            return None
        state = self.exchange.markets[contract_id]
        bid, ask = state.book.bids.best(), state.book.asks.best()
        if not (bid and ask):
            return None
        spec, now = state.spec, self.now_ns()
        bid_size, ask_size = spec.size(state.book.bids.total(bid)), spec.size(state.book.asks.total(ask))
        return Bbo(self.instruments[contract_id].id, spec.price(bid), bid_size, spec.price(ask), ask_size, now, now)

    def book(self, contract_id: str, levels: int) -> BookSnapshot:
        """Raises NotReady while the book is suspended."""
        if (reason := self._suspended.get(contract_id)) is not None:
            raise errors.NotReady(f"{self.instruments[contract_id].id}: {reason}", venue=self.spec.name)
        spec, now = self.exchange.markets[contract_id].spec, self.now_ns()
        bids, asks = (
            tuple(BookLevel(spec.price(p), spec.size(s)) for p, s, _ in self.exchange.depth(contract_id, side, levels))
            for side in (Side.BUY, Side.SELL)
        )
        return BookSnapshot(instrument=self.instruments[contract_id].id, bids=bids, asks=asks, ts_venue_ns=now, ts_recv_ns=now)

    def ticker(self, contract_id: str) -> Ticker:
        state = self.exchange.markets[contract_id]
        spec, day = state.spec, self.history.day(contract_id, self.now_ns())
        mark = spec.ref_price(state.mark) if state.mark else None
        return Ticker(
            instrument=self.instruments[contract_id].id,
            last=spec.price(state.last) if state.last else None,
            mark=mark,
            index=spec.ref_price(state.index) if state.index else None,
            volume_24h=money(day.value * spec.notional_unit),
            open_interest=spec.size(self.exchange.open_interest(contract_id)) * mark if mark is not None else None,
            ts_ns=self.now_ns(),
        )

    def funding(self, contract_id: str) -> FundingRateSample:
        state = self.exchange.markets[contract_id]
        return FundingRateSample(
            raw_rate=fraction(self.exchange.funding_estimate(contract_id)),
            interval_hours=Decimal(state.spec.funding_interval_ns) / NS_PER_HOUR,
            kind=RateKind.PREDICTED,
            next_funding_time=state.next_funding_ns,
            source_timestamp=self.now_ns(),
            cap=fraction(state.spec.funding_cap) if state.spec.funding_cap else None,
            instrument=self.instruments[contract_id].id,
        )

    def past_funding(self, contract_id: str, past: PastFunding | ev.FundingSettled) -> FundingRateSample:
        return FundingRateSample(
            raw_rate=fraction(past.rate),
            interval_hours=Decimal(past.interval_ns) / NS_PER_HOUR,
            kind=RateKind.SETTLED,
            settled_at=past.ts_ns,
            source_timestamp=past.ts_ns,
            instrument=self.instruments[contract_id].id,
        )

    # ---- accounts

    def position(self, position: CorePosition) -> Position:
        state, account = position.market, position.account.id
        spec, size = state.spec, position.size
        liquidation = self.exchange.liquidation_price(account, spec.symbol)
        isolated = position.mode is MarginMode.ISOLATED
        return Position(
            instrument=self.instruments[spec.symbol].id,
            quantity=spec.size(size),
            entry_price=money(position.cost) / spec.size(size) if size else None,
            mark_price=spec.ref_price(state.mark),
            unrealized_pnl=money(state.unrealised(position)),
            realized_pnl=money(position.realised),
            cumulative_funding=money(position.funding),
            margin_used=money(position.margin if isolated else state.initial_margin(abs(size), position.initial)),
            leverage=leverage_of(position.initial),
            liquidation_price=spec.ref_price(liquidation) if liquidation is not None else None,
            margin_mode=position.mode,
            ts_ns=self.now_ns(),
        )

    def account_state(self, account: int) -> AccountState:
        exchange = self.exchange
        owner = exchange.account(account)
        unrealized = sum(p.market.unrealised(p) for p in owner.positions.values() if p.size)
        isolated = sum(p.margin for p in owner.positions.values())
        return AccountState(
            available=money(max(0, exchange.available(account))),
            equity=money(exchange.equity(account)),
            unrealized_pnl=money(unrealized),
            margin_used=money(exchange.initial_margin(account) + isolated),
            maintenance_margin=money(exchange.maintenance_margin(account)),
            asset=self.spec.collateral,
            ts_ns=self.now_ns(),
        )

    def payment(self, event: ev.FundingPaid) -> FundingPayment:
        return FundingPayment(
            instrument=self.instruments[event.market].id,
            payment_id=f"{event.market}-{event.ts_ns}",
            amount=money(event.amount),
            asset=self.spec.collateral,
            rate=fraction(event.rate),
            position_quantity=self.exchange.markets[event.market].spec.size(event.size),
            ts_venue_ns=event.ts_ns,
        )
