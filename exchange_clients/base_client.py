"""One client of one venue: its parts, its life, and the flat verbs that mean the same everywhere."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from decimal import ROUND_DOWN, Decimal
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self

import msgspec

from exchange_clients.base_managers import BaseAccountManager, BaseMarketData, BaseOrderManager, BasePositionManager
from exchange_clients.base_websocket import BaseWebSocketManager, event_key
from exchange_clients.errors import (
    ConfigError,
    NotReady,
    OrderDenied,
    OrderOutcomeUnknown,
    Outcome,
    ProtocolError,
    VenueError,
)
from exchange_clients.events import Listener, Subscription
from exchange_clients.model import (
    NS_PER_S,
    Candle,
    ExchangePositionSnapshot,
    FeeRates,
    Fill,
    FundingPayment,
    FundingRateSample,
    Instrument,
    InstrumentId,
    KeyInfo,
    LeverageInfo,
    LiquidationEvent,
    MarginMode,
    MassStatus,
    OrderInfo,
    OrderIntent,
    OrderResult,
    OrderType,
    Position,
    Purpose,
    Side,
    Ticker,
    TimeInForce,
    Trade,
    TradeData,
    WaitFor,
    round_to_increment,
)
from exchange_clients.signing import Credentials, Signer
from exchange_clients.spec import Capabilities, Endpoints, Stream, VenueSpec
from exchange_clients.transport.backoff import Backoff
from exchange_clients.transport.loop_lag import LoopLag
from exchange_clients.transport.runtime import Runtime
from exchange_clients.transport.venue_time import MAX_OFFSET_NS
from exchange_clients.wiring import build_context, get_exchange_logger

if TYPE_CHECKING:
    from exchange_clients.config import ClientConfig

Symbol = InstrumentId | str
_INFLIGHT_EVERY_S = 2.0
_FIRST_LOOKBACK_S = 7 * 86_400.0
_RECONCILE_RETRY_S = (1.0, 30.0)
_CLOCK_JUMP_S = 0.5
_CLOCK_EVERY_S = 600.0

__all__ = ["BaseExchangeClient", "get_exchange_logger"]


class BaseExchangeClient:
    """Composition plus the flat verbs. A venue names its parts in class attributes and adds nothing here but its signer and nonces.

    Symbols may be an instrument id, the venue's own name, its contract id or an unambiguous alias; None means `config.ticker`. A definite
    refusal of an order is an `OrderResult` with `success=False`; everything else raises a `VenueError`.
    """

    spec: ClassVar[VenueSpec]
    market_data_class: ClassVar[type[BaseMarketData]]
    order_manager_class: ClassVar[type[BaseOrderManager]]
    position_manager_class: ClassVar[type[BasePositionManager]]
    account_manager_class: ClassVar[type[BaseAccountManager]]
    websocket_class: ClassVar[type[BaseWebSocketManager]]

    def __init__(
        self,
        config: ClientConfig | Mapping[str, Any] | None = None,
        credentials: Credentials | None = None,
        *,
        runtime: Runtime | None = None,
    ) -> None:
        self.context = build_context(self.spec, config, credentials, self.make_signer, runtime)
        self.market_data = self.market_data_class(self.context)
        self.context.attach_instruments(self.market_data)
        self.ws_manager = self.websocket_class(self.context)
        self.context.websocket = self.ws_manager
        self.order_manager = self.order_manager_class(self.context)
        self.position_manager = self.position_manager_class(self.context)
        self.account_manager = self.account_manager_class(self.context)
        self.ws_manager.on_private_gap = self._private_gap
        self.ws_manager.on_own_liquidation = self._queue_liquidation
        self.instruments = self.context.instruments
        self.raw = self.context.rest.raw
        self.loop_lag = LoopLag(self.context.runtime.clock)
        self.liquidation_events_queue: asyncio.Queue[LiquidationEvent] = asyncio.Queue(maxsize=1_000)
        self._tasks: list[asyncio.Task[None]] = []
        self._reconcile_wanted = asyncio.Event()
        self._last_proven_ns = 0
        self.expected_account = ""
        """The `account_identity` with which alone `connect` succeeds; "" where any is right."""
        self._installed_nonces()

    # ---- what a venue adds

    @classmethod
    def make_signer(cls, credentials: Credentials, endpoints: Endpoints, config: ClientConfig, runtime: Runtime) -> Signer:
        """The venue's signer for these credentials. Raises MissingCredentials or ConfigError for keys that cannot work."""
        raise NotImplementedError

    def _installed_nonces(self) -> None:
        """A venue with nonces fills `self.context.nonces` here."""

    # ---- identity

    @property
    def config(self) -> ClientConfig:
        return self.context.config

    @property
    def capabilities(self) -> Capabilities:
        return self.spec.capabilities

    @property
    def account_identity(self) -> str:
        """Which account of which environment this client acts for, in public words: equal for all keys of one account, as far as a venue
        lets keys be told from accounts. "" while it is not known, at the latest known once connected with keys."""
        identity = self.account_manager.identity
        return f"{self.config.environment}:{identity}" if identity else ""

    def get_exchange_name(self) -> str:
        return self.spec.name

    def _instrument(self, symbol: Symbol | None) -> Instrument:
        if symbol is None:
            if self.config.ticker is None:
                raise ConfigError("no market named: pass one, or set `ticker` in the configuration", venue=self.spec.name)
            symbol = self.config.ticker
        return self.instruments.get(symbol)

    # ---- life

    async def connect(self, *, timeout_s: float = 15.0) -> None:
        """Prove the credentials, measure the clock, load instruments, connect streams, reconcile. Entries are accepted only afterwards.

        Raises:
            AuthError: the key does not act for the account.
            VenueError: anything else that failed; what was opened is closed again. Whoever watches stays subscribed: it may be tried again.
        """
        try:
            await self.measure_clock_offset()
            await self.instruments.load_all()
            signed = self.context.signer is not None
            if signed:
                await self.account_manager.verify_credentials()
            if self.expected_account and self.account_identity != self.expected_account:
                raise ConfigError(f"these keys are of {self.account_identity}, not of {self.expected_account}", venue=self.spec.name)
            await self.ws_manager.connect(timeout_s=timeout_s)
            if signed:
                await self.reconcile()
                self.context.entries_allowed = True
                self._tasks.append(asyncio.create_task(self._keep_proven(), name=f"{self.spec.name}-in-flight"))
                self._tasks.append(asyncio.create_task(self._reconcile_after_gaps(), name=f"{self.spec.name}-reconcile"))
            self._tasks.append(asyncio.create_task(self.loop_lag.run(), name=f"{self.spec.name}-loop-lag"))
        except BaseException:
            await self._close()
            raise

    async def disconnect(self) -> None:
        """Leaves no task, socket or thread. Orders stay at the venue: cancel first what should not."""
        await self._close()
        self.context.hub.close()

    async def _close(self) -> None:
        self.context.entries_allowed = False
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.ws_manager.disconnect()
        await self.context.rest.close()
        if self.context.owns_runtime:
            self.context.runtime.offload.close()

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.disconnect()

    async def measure_clock_offset(self) -> int | None:
        """Venue time minus ours in ns, from one exchange with the venue; None where it has no clock to ask.

        Raises ProtocolError when the two are more than a day apart: what was measured before stays.
        """
        sent_ns = self.context.runtime.clock.time_ns()
        venue_ns = await self.market_data.fetch_server_time_ns()
        if venue_ns is not None:
            received_ns = self.context.runtime.clock.time_ns()
            if abs(venue_ns - sent_ns) > MAX_OFFSET_NS:
                days = (venue_ns - sent_ns) / NS_PER_S / 86_400
                raise ProtocolError(
                    f"the venue's clock is {days:.1f} days from this machine's: set the machine's clock", venue=self.spec.name
                )
            resolution_ns = self.market_data.server_time_resolution_ns
            self.context.venue_time.observe(venue_ns, sent_ns, received_ns, resolution_ns=resolution_ns)
        return self.context.venue_time.offset_ns

    @property
    def is_connected(self) -> bool:
        return self.ws_manager.is_connected

    def _private_gap(self, reason: str) -> None:
        self.context.entries_allowed = False
        self._reconcile_wanted.set()

    async def reconcile(self) -> MassStatus:
        """Orders, fills since the last proof (the first time: of a week) and positions from the venue, merged into the tracker."""
        status = await self.generate_mass_status(
            lookback_s=_FIRST_LOOKBACK_S
            if not self._last_proven_ns
            else max(60.0, (self.context.runtime.clock.time_ns() - self._last_proven_ns) / NS_PER_S + 60)
        )
        for fill in status.fills:
            self.context.tracker.on_fill(fill)
        self._last_proven_ns = status.ts_ns
        return status

    async def _reconcile_after_gaps(self) -> None:
        """After a loss of the account's stream: no entries until streams are back and everything missed is known (E10)."""
        first_s, cap_s = _RECONCILE_RETRY_S
        backoff = Backoff(random.Random(self.spec.name), first_s=first_s, cap_s=cap_s)  # noqa: S311 - jitter, not secrecy
        while True:
            await self._reconcile_wanted.wait()
            self._reconcile_wanted.clear()
            try:
                await self.ws_manager.connect()
                await self.reconcile()
            except Exception as e:
                if not isinstance(e, VenueError):
                    self.context.log.exception("reconcile.broken")
                delay = backoff.next()
                self.context.log.warning("reconcile.failed attempt=%d wait_s=%.2f reason=%s", backoff.attempt, delay, e)
                self._reconcile_wanted.set()
                await self.context.runtime.clock.sleep(delay)
                continue
            backoff.reset()
            if not self._reconcile_wanted.is_set():
                self.context.entries_allowed = True
                self.context.log.info("reconcile.done")

    async def _keep_proven(self) -> None:
        """Looks up orders that stay unproven: an accepted order that no stream ever mentions is not assumed to exist.

        Also measures the venue's clock again when somebody has set ours, when the venue refused a time of ours, and now and then: what is
        signed names a time.
        """
        clock, venue_time = self.context.runtime.clock, self.context.venue_time
        set_to, measured_s = self._wall_ahead_s(), clock.elapsed()
        while True:
            await clock.sleep(_INFLIGHT_EVERY_S)
            try:
                await self.account_manager.keep_session()
            except VenueError as e:
                self.context.log.warning("session.not_renewed reason=%s", e)
            except Exception:
                self.context.log.exception("session.broken")
            try:
                ahead, now_s = self._wall_ahead_s(), clock.elapsed()
                doubted, venue_time.doubted = venue_time.doubted, False
                if doubted or abs(ahead - set_to) > _CLOCK_JUMP_S or now_s - measured_s > _CLOCK_EVERY_S:
                    await self.measure_clock_offset()
                    set_to, measured_s = ahead, now_s
            except VenueError as e:
                self.context.log.warning("clock.not_measured reason=%s", e)
            except Exception:
                self.context.log.exception("clock.broken")
            try:
                await self.order_manager.check_unresolved()
            except Exception:
                self.context.log.exception("in_flight.broken")  # an order that cannot be read must not end the look-out for the others

    def _wall_ahead_s(self) -> float:
        """Changes only when somebody sets the machine's clock."""
        clock = self.context.runtime.clock
        return clock.time_ns() / NS_PER_S - clock.elapsed()

    # ---- markets

    async def get_contract_attributes(self, ticker: Symbol | None = None) -> tuple[str, Decimal]:
        """`(contract_id, tick_size)` of a tradable market."""
        await self.instruments.load_all()
        instrument = self.instruments.get_tradable(ticker or self._instrument(None).id)
        return instrument.contract_id, instrument.tick_size

    async def get_market_metadata(self, contract_id: Symbol | None = None) -> Instrument:
        """Tick, step, minima, margin fractions, leverage, fees, funding interval, multiplier, status."""
        await self.instruments.load_all()
        return self._instrument(contract_id)

    async def fetch_bbo_prices(self, contract_id: Symbol | None = None) -> tuple[Decimal, Decimal]:
        """`(bid, ask)`: the fresh stream, else a fresh book, else REST.

        Raises NotReady when a side is empty; never returns a zero.
        """
        bbo = await self.market_data.bbo(self._instrument(contract_id))
        return bbo.bid, bbo.ask

    async def get_order_book_depth(self, contract_id: Symbol | None = None, levels: int = 10) -> dict[str, list[dict[str, Decimal]]]:
        """`{"bids": [{"price", "size"}], "asks": [...]}`, best first."""
        book = await self.market_data.depth(self._instrument(contract_id), levels)
        return {
            side: [{"price": level.price, "size": level.size} for level in found[:levels]]
            for side, found in (("bids", book.bids), ("asks", book.asks))
        }

    async def fetch_trades(self, contract_id: Symbol | None = None, *, limit: int = 100) -> list[Trade]:
        return await self.market_data.fetch_trades(self._instrument(contract_id), limit=limit)

    async def fetch_candles(self, contract_id: Symbol | None, interval: str, *, start_ns: int, end_ns: int) -> list[Candle]:
        return await self.market_data.fetch_candles(self._instrument(contract_id), interval, start_ns=start_ns, end_ns=end_ns)

    async def fetch_ticker(self, contract_id: Symbol | None = None) -> Ticker:
        return await self.market_data.fetch_ticker(self._instrument(contract_id))

    async def fetch_mark_price(self, contract_id: Symbol | None = None) -> Decimal:
        """Raises NotReady when the venue gives none."""
        return self._known((await self.fetch_ticker(contract_id)).mark, "mark price")

    async def fetch_index_price(self, contract_id: Symbol | None = None) -> Decimal:
        """Raises NotReady when the venue gives none."""
        return self._known((await self.fetch_ticker(contract_id)).index, "index price")

    def _known(self, value: Decimal | None, what: str) -> Decimal:
        if value is None:
            raise NotReady(f"the venue gives no {what}", venue=self.spec.name)
        return value

    async def fetch_funding_rate(self, contract_id: Symbol | None = None) -> FundingRateSample:
        return await self.market_data.fetch_funding_rate(self._instrument(contract_id))

    async def fetch_funding_rates(self) -> dict[InstrumentId, FundingRateSample]:
        return await self.market_data.fetch_funding_rates()

    async def fetch_funding_history(
        self, contract_id: Symbol | None = None, *, start_ns: int, end_ns: int | None = None
    ) -> list[FundingRateSample]:
        return await self.market_data.fetch_funding_history(self._instrument(contract_id), start_ns=start_ns, end_ns=end_ns)

    def get_min_order_notional(self, symbol: Symbol | None = None) -> Decimal:
        return self._instrument(symbol).min_notional

    def get_quantity_multiplier(self, symbol: Symbol | None = None) -> Decimal:
        """Tokens of base per price unit of the venue's own market name (kPEPE: 1000). Our quantities are base units already."""
        return self._instrument(symbol).multiplier

    def round_to_tick(self, price: Decimal, symbol: Symbol | None = None, *, rounding: str = ROUND_DOWN) -> Decimal:
        """A valid order price, moved in the given direction (`decimal` rounding mode; down unless said)."""
        return self._instrument(symbol).round_price(price, rounding)

    def round_to_step(self, quantity: Decimal, symbol: Symbol | None = None, *, rounding: str = ROUND_DOWN) -> Decimal:
        """A valid quantity; down unless said."""
        return round_to_increment(quantity, self._instrument(symbol).step_size, rounding)

    # ---- orders

    def new_client_order_id(self) -> str:
        """An id that no order of this account ever had, for callers that write it down before they send."""
        return self.context.ids.next_id()

    async def place_limit_order(
        self,
        contract_id: Symbol | None,
        quantity: Decimal,
        price: Decimal,
        side: Side | str,
        reduce_only: bool = False,
        *,
        time_in_force: TimeInForce | str = TimeInForce.GTC,
        post_only: bool = False,
        expire_ns: int | None = None,
        client_order_id: str | None = None,
        purpose: Purpose | None = None,
        wait_for: WaitFor | str = WaitFor.ACK,
        timeout_s: float | None = None,
    ) -> OrderResult:
        """A limit order; quantity rounds down to the step, the price never beyond `price` (BUY down, SELL up).

        Raises:
            OrderOutcomeUnknown: not proven whether the venue has it; carries the client order id.
            VenueError: nothing was sent (outcome NOT_SENT), or the account was refused.
        """
        instrument = self._instrument(contract_id)
        direction = Side(side)
        intent = OrderIntent(
            instrument=instrument.id,
            side=direction,
            quantity=instrument.round_quantity(_number(quantity, "quantity")),
            price=instrument.price_for(direction, _number(price, "price")),
            time_in_force=TimeInForce(time_in_force),
            post_only=post_only,
            reduce_only=reduce_only,
            expire_ns=expire_ns,
            client_order_id=client_order_id,
            purpose=_purpose(purpose, reduce_only),
        )
        return await self._place(intent, WaitFor(wait_for), timeout_s)

    async def place_market_order(
        self,
        contract_id: Symbol | None,
        quantity: Decimal,
        side: Side | str,
        reduce_only: bool = False,
        *,
        max_slippage: Decimal | None = None,
        client_order_id: str | None = None,
        purpose: Purpose | None = None,
        wait_for: WaitFor | str = WaitFor.ACK,
        timeout_s: float | None = None,
    ) -> OrderResult:
        """Takes liquidity now, at most `max_slippage` (fraction, default from the configuration) beyond the best opposite price."""
        instrument = self._instrument(contract_id)
        intent = await self.order_manager.market_intent(
            instrument, Side(side), _number(quantity, "quantity"), reduce_only=reduce_only, max_slippage=max_slippage
        )
        intent = msgspec.structs.replace(intent, client_order_id=client_order_id, purpose=_purpose(purpose, reduce_only))
        return await self._place(intent, WaitFor(wait_for), timeout_s)

    async def place_trigger_order(
        self,
        contract_id: Symbol | None,
        quantity: Decimal,
        trigger_price: Decimal,
        side: Side | str,
        order_type: OrderType | str,
        *,
        price: Decimal | None = None,
        reduce_only: bool = True,
        client_order_id: str | None = None,
        purpose: Purpose | None = None,
        expire_ns: int | None = None,
        wait_for: WaitFor | str = WaitFor.ACK,
        timeout_s: float | None = None,
    ) -> OrderResult:
        """A stop or take-profit order, native. `price` is the limit; for the market types the worst price (default: slippage bound)."""
        instrument = self._instrument(contract_id)
        direction, kind = Side(side), OrderType(order_type)
        trigger = _number(trigger_price, "trigger_price")
        market = kind in (OrderType.STOP_MARKET, OrderType.TAKE_PROFIT_MARKET)
        if price is None:
            if not market:
                raise OrderDenied(f"{kind} needs a limit price", venue=self.spec.name)
            price = trigger * (1 + 10 * self.config.max_market_slippage * direction.sign)
        intent = OrderIntent(
            instrument=instrument.id,
            side=direction,
            quantity=instrument.round_quantity(_number(quantity, "quantity")),
            price=instrument.price_for(direction, _number(price, "price")),
            order_type=kind,
            time_in_force=TimeInForce.IOC if market else TimeInForce.GTC,
            reduce_only=reduce_only,
            trigger_price=instrument.price_for(direction, trigger),
            expire_ns=expire_ns,
            client_order_id=client_order_id,
            purpose=_purpose(purpose, reduce_only),
        )
        return await self._place(intent, WaitFor(wait_for), timeout_s)

    async def place_bracket(
        self, entry: OrderIntent, *, take_profit: OrderIntent | None = None, stop_loss: OrderIntent | None = None
    ) -> list[OrderResult]:
        """Entry and exits as one native group. Raises UnsupportedCapability where the venue has none."""
        outcomes = await self.order_manager.place_bracket(entry, take_profit, stop_loss)
        intents = [i for i in (entry, take_profit, stop_loss) if i is not None]
        return [_result(intent, outcome) for intent, outcome in zip(intents, outcomes, strict=True)]

    async def _place(self, intent: OrderIntent, wait_for: WaitFor, timeout_s: float | None) -> OrderResult:
        try:
            info = await self.order_manager.place(intent, wait_for=wait_for, timeout_s=timeout_s)
            return msgspec.structs.replace(_info_result(info), error=self.order_manager.refusal_of(info))
        except OrderOutcomeUnknown:
            raise
        except VenueError as e:
            if e.outcome is not Outcome.REFUSED:
                raise
            return _result(intent, e)

    async def place_orders(self, intents: Sequence[OrderIntent]) -> list[OrderResult]:
        """One result per intent, in order; an unproven one has outcome "unknown"."""
        outcomes = await self.order_manager.place_many(intents)
        return [_result(intent, outcome) for intent, outcome in zip(intents, outcomes, strict=True)]

    async def cancel_order(self, order_id: str, *, contract_id: Symbol | None = None, timeout_s: float | None = None) -> OrderResult:
        """By venue or client id. Waits for the proven end: `filled_size` is final.

        Raises OrderOutcomeUnknown when the end is not proven in time.
        """
        instrument = self._instrument(contract_id) if contract_id is not None else None
        return _info_result(await self.order_manager.cancel(_order_id(order_id), instrument=instrument, timeout_s=timeout_s))

    async def cancel_orders(self, order_ids: Sequence[str]) -> list[OrderResult]:
        outcomes = await self.order_manager.cancel_many([_order_id(one) for one in order_ids])
        return [
            _info_result(o) if isinstance(o, OrderInfo) else _error_result(o, any_id) for any_id, o in zip(order_ids, outcomes, strict=True)
        ]

    async def cancel_all_orders(self, contract_id: Symbol | None = None) -> list[OrderResult]:
        """Every open order of the account (or of one market), ours or not."""
        outcomes = await self.order_manager.cancel_all(self._instrument(contract_id) if contract_id is not None else None)
        return [_info_result(o) if isinstance(o, OrderInfo) else _error_result(o, None) for o in outcomes]

    async def amend_order(self, order_id: str, *, price: Decimal | None = None, quantity: Decimal | None = None) -> OrderResult:
        """New price or total quantity (fills included)."""
        new_price = None if price is None else _number(price, "price")
        new_quantity = None if quantity is None else _number(quantity, "quantity")
        return _info_result(await self.order_manager.amend(_order_id(order_id), price=new_price, quantity=new_quantity))

    async def get_order_info(self, order_id: str, *, force_refresh: bool = False, contract_id: Symbol | None = None) -> OrderInfo | None:
        """By venue or client id; None only when the venue proves that it never existed."""
        instrument = self._instrument(contract_id) if contract_id is not None else None
        return await self.order_manager.get(_order_id(order_id), force_refresh=force_refresh, instrument=instrument)

    def known_order(self, order_id: str) -> OrderInfo | None:
        """What is proven about an order so far, without asking; None when nothing is known of it."""
        order = self.context.tracker.find(order_id)
        return None if order is None else order.info()

    async def get_active_orders(self, contract_id: Symbol | None = None) -> list[OrderInfo]:
        return await self.order_manager.open_orders(self._instrument(contract_id) if contract_id is not None else None)

    async def await_order_update(self, order_id: str, timeout: float) -> OrderInfo | None:
        """The order after its next change, or None when nothing changed in `timeout` seconds."""
        order = self.context.tracker.find(_order_id(order_id))
        if order is None:
            raise ConfigError(f"order {order_id} is not tracked: ask get_order_info first", venue=self.spec.name)
        before = order.info()
        changed = await self.context.tracker.wait(order, lambda o: o.info() != before, timeout)
        return order.info() if changed else None

    async def arm_dead_man_switch(self, timeout_s: float | None) -> None:
        """The venue cancels everything `timeout_s` from now unless called again; None disarms."""
        await self.order_manager.arm_dead_man_switch(timeout_s)

    # ---- account

    async def get_account_positions(self, contract_id: Symbol | None = None) -> Decimal:
        """Absolute size in one market, base units."""
        position = await self.position_manager.position(self._instrument(contract_id))
        return abs(position.quantity) if position is not None else Decimal(0)

    async def get_position_snapshot(
        self, symbol: Symbol | None = None, position_opened_at: int | None = None
    ) -> ExchangePositionSnapshot | None:
        """None only when the venue lists no position. With `position_opened_at` (ns), funding since then is summed from its records."""
        instrument = self._instrument(symbol)
        position = await self.position_manager.position(instrument)
        if position is None:
            return None
        funding = position.cumulative_funding
        if position_opened_at is not None and self.capabilities.funding_payments:
            payments = await self.position_manager.fetch_funding_payments(since_ns=position_opened_at, instrument=instrument)
            funding = sum((p.amount for p in payments), Decimal(0))
        return _snapshot(instrument, position, funding)

    async def get_open_positions(self) -> list[ExchangePositionSnapshot]:
        positions = await self.position_manager.open_positions()
        return [_snapshot(self.instruments.get(p.instrument), p, p.cumulative_funding) for p in positions]

    async def get_account_balance(self) -> Decimal | None:
        """Collateral available for new orders."""
        return (await self.account_manager.fetch_account()).available

    async def get_account_pnl(self) -> Decimal | None:
        """Unrealised PnL."""
        return (await self.account_manager.fetch_account()).unrealized_pnl

    async def get_total_asset_value(self) -> Decimal | None:
        """Equity."""
        return (await self.account_manager.fetch_account()).equity

    async def get_leverage_info(self, symbol: Symbol | None = None) -> dict[str, Any]:
        """`max_leverage, max_notional, margin_requirement, brackets, account_leverage, error`.

        The one verb that reports a failure in its `error` field; `account_manager.fetch_leverage` raises.
        """
        names = ("max_leverage", "max_notional", "margin_requirement", "brackets", "account_leverage")
        try:
            info = await self.account_manager.fetch_leverage(self._instrument(symbol))
        except VenueError as e:
            return {**dict.fromkeys(names), "error": str(e)}
        return {**{name: getattr(info, name) for name in names}, "error": None}

    async def set_leverage(self, symbol: Symbol | None, leverage: Decimal | int, mode: MarginMode | None = None) -> LeverageInfo:
        """Sets, reads back and raises on mismatch."""
        return await self.account_manager.set_leverage(self._instrument(symbol), Decimal(leverage), mode)

    async def set_margin_mode(self, symbol: Symbol | None, mode: MarginMode | str) -> LeverageInfo:
        return await self.account_manager.set_margin_mode(self._instrument(symbol), MarginMode(mode))

    async def get_user_trade_history(self, symbol: Symbol | None = None, *, since_ns: int, until_ns: int | None = None) -> list[TradeData]:
        """Own executions from the venue's records, oldest first, each once; of all markets when no symbol is given."""
        instrument = self._instrument(symbol) if symbol is not None else None
        return await self.order_manager.fetch_fills(since_ns=since_ns, until_ns=until_ns, instrument=instrument)

    async def get_funding_payments(
        self, symbol: Symbol | None = None, *, since_ns: int, until_ns: int | None = None
    ) -> list[FundingPayment]:
        """From the venue's records, oldest first, each once; positive was received."""
        instrument = self._instrument(symbol) if symbol is not None else None
        return await self.position_manager.fetch_funding_payments(since_ns=since_ns, until_ns=until_ns, instrument=instrument)

    async def get_fee_rates(self, symbol: Symbol | None = None) -> FeeRates:
        """This account's own rates."""
        return await self.account_manager.fetch_fee_rates(self._instrument(symbol))

    async def get_key_info(self) -> KeyInfo:
        """What the key may do, until when, and the account's position mode; an entry whose hold outlives the key must not be made."""
        self.context.supports(self.capabilities.key_info, "telling about the key")
        self.context.require_signer()
        return await self.account_manager.fetch_key_info()

    # ---- reconciliation

    async def generate_order_reports(self, *, lookback_s: float = 3600.0) -> list[OrderInfo]:
        """Open orders, and closed ones of the last `lookback_s`."""
        since_ns = self.context.venue_time.now_ns() - round(lookback_s * NS_PER_S)
        reports = {(o.instrument, o.order_id): o for o in await self.order_manager.fetch_order_history(since_ns=since_ns)}
        for info in await self.order_manager.open_orders():
            reports[(info.instrument, info.order_id)] = info
        return list(reports.values())

    async def generate_fill_reports(self, *, lookback_s: float = 3600.0) -> list[Fill]:
        since_ns = self.context.venue_time.now_ns() - round(lookback_s * NS_PER_S)
        return await self.order_manager.fetch_fills(since_ns=since_ns)

    async def generate_position_reports(self) -> list[Position]:
        return await self.position_manager.open_positions()

    async def generate_mass_status(self, lookback_s: float = 3600.0) -> MassStatus:
        """Orders before fills before positions, so that nothing can slip between them unseen."""
        orders = await self.generate_order_reports(lookback_s=lookback_s)
        fills = await self.generate_fill_reports(lookback_s=lookback_s)
        positions = await self.generate_position_reports()
        return MassStatus(orders=tuple(orders), fills=tuple(fills), positions=tuple(positions), ts_ns=self.context.runtime.clock.time_ns())

    # ---- streams

    def watch_book(self, contract_id: Symbol | None = None, *, coalesce: bool = True) -> Subscription:
        """`BookChange` notices (read the book from `ws_manager.get_order_book`) and `Gap`s."""
        return self.ws_manager.watch(Stream.BOOK, self._instrument(contract_id), coalesce=coalesce)

    def watch_bbo(self, contract_id: Symbol | None = None, *, coalesce: bool = True) -> Subscription:
        return self.ws_manager.watch(Stream.BBO, self._instrument(contract_id), coalesce=coalesce)

    def watch_trades(self, contract_id: Symbol | None = None) -> Subscription:
        return self.ws_manager.watch(Stream.TRADES, self._instrument(contract_id))

    def watch_candles(self, contract_id: Symbol | None = None, interval: str = "1m") -> Subscription:
        return self.ws_manager.watch(Stream.CANDLES, self._instrument(contract_id), parameter=interval)

    def watch_mark(self, contract_id: Symbol | None = None, *, coalesce: bool = True) -> Subscription:
        return self.ws_manager.watch(Stream.MARK, self._instrument(contract_id), coalesce=coalesce)

    def watch_index(self, contract_id: Symbol | None = None, *, coalesce: bool = True) -> Subscription:
        return self.ws_manager.watch(Stream.INDEX, self._instrument(contract_id), coalesce=coalesce)

    def watch_funding(self, contract_id: Symbol | None = None, *, coalesce: bool = True) -> Subscription:
        return self.ws_manager.watch(Stream.FUNDING, self._instrument(contract_id), coalesce=coalesce)

    def watch_orders(self) -> Subscription:
        """Every change of every order of the account as `OrderInfo`; a `Gap` when something may be missing."""
        return self._watch_private(Stream.ORDERS)

    def watch_fills(self) -> Subscription:
        """Each own execution once."""
        return self._watch_private(Stream.FILLS)

    def watch_positions(self) -> Subscription:
        return self._watch_private(Stream.POSITIONS)

    def watch_account(self) -> Subscription:
        return self._watch_private(Stream.ACCOUNT)

    def watch_liquidations(self) -> Subscription:
        return self.context.hub.subscribe(event_key(Stream.LIQUIDATIONS))

    def _watch_private(self, stream: Stream) -> Subscription:
        self.context.require_signer()
        self.context.supports(stream in self.spec.streams, f"a {stream} stream")
        return self.context.hub.subscribe(event_key(stream))

    def register_order_listener(self, listener: Listener) -> Callable[[], None]:
        """Call `listener(OrderInfo | Gap)` on each change; the returned function ends it. Many listeners may be registered."""
        return self.context.hub.listen(event_key(Stream.ORDERS), listener)

    def emit_liquidation_event(self, event: LiquidationEvent) -> None:
        """Tell all who watch, and the queue if it is our own."""
        self.ws_manager.liquidation(event)

    def _queue_liquidation(self, event: LiquidationEvent) -> None:
        """A full queue drops its oldest with a warning; watchers still hear everything."""
        if self.liquidation_events_queue.full():
            self.liquidation_events_queue.get_nowait()
            self.context.log.warning("liquidation_queue.full")
        self.liquidation_events_queue.put_nowait(event)


def _order_id(given: str | None) -> str:
    """The id, where there is one: the result of a placement that the venue has only queued names none of its own yet."""
    if not given:
        raise OrderDenied("no order id was given: an order that is only queued has none of the venue's yet, but it has its client_order_id")
    return given


def _number(value: Any, name: str) -> Decimal:
    """A finite Decimal. Floats are refused: their decimal form is not what was typed."""
    if isinstance(value, float):
        raise OrderDenied(f"{name} must be a Decimal, int or str, not a float ({value!r})")
    try:
        number = Decimal(value)
    except (ArithmeticError, TypeError, ValueError):
        raise OrderDenied(f"{name} {value!r} is not a number") from None
    if not number.is_finite():
        raise OrderDenied(f"{name} {value} is not finite")
    return number


def _purpose(purpose: Purpose | None, reduce_only: bool) -> Purpose:
    return purpose or (Purpose.CLOSE if reduce_only else Purpose.ENTRY)


def _result(intent: OrderIntent, outcome: OrderInfo | VenueError) -> OrderResult:
    if isinstance(outcome, OrderInfo):
        return _info_result(outcome)
    return OrderResult(
        success=False,
        client_order_id=getattr(outcome, "client_order_id", intent.client_order_id),
        side=intent.side,
        size=intent.quantity,
        price=intent.price,
        error_message=str(outcome),
        outcome=outcome.outcome.value,
        error=outcome,
    )


def _error_result(error: VenueError, any_id: str | None) -> OrderResult:
    return OrderResult(success=False, order_id=any_id, error_message=str(error), outcome=error.outcome.value, error=error)


def _info_result(info: OrderInfo) -> OrderResult:
    return OrderResult(
        success=True,
        order_id=info.order_id,
        client_order_id=info.client_order_id,
        side=info.side,
        size=info.size,
        price=info.price,
        status=info.status,
        filled_size=info.filled_size,
        average_price=info.average_price,
        error_message=info.cancel_reason,
    )


def _snapshot(instrument: Instrument, position: Position, funding: Decimal | None) -> ExchangePositionSnapshot:
    mark = position.mark_price
    return ExchangePositionSnapshot(
        symbol=instrument.id.base,
        quantity=position.quantity,
        side="long" if position.quantity > 0 else "short",
        entry_price=position.entry_price,
        mark_price=mark,
        exposure_usd=instrument.value(position.quantity, mark) if mark is not None else None,
        unrealized_pnl=position.unrealized_pnl,
        realized_pnl=position.realized_pnl,
        cumulative_funding=funding,
        margin_used=position.margin_used,
        leverage=position.leverage,
        liquidation_price=position.liquidation_price,
        timestamp=position.ts_ns,
        metadata={"instrument": str(instrument.id)},
    )
