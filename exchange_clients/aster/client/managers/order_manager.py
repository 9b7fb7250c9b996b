"""Orders: our intents as Aster's forms, its answers as ours. Everything travels by REST; there is no order entry on sockets."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import msgspec

from exchange_clients.aster import messages as m
from exchange_clients.aster.client.utils import converters
from exchange_clients.aster.client.utils.helpers import wire_number
from exchange_clients.aster.common import ENDPOINTS, refusal
from exchange_clients.aster.signing import NONCE_SCOPE
from exchange_clients.base_managers import LANES, BaseOrderManager, ids_of, most_urgent
from exchange_clients.context import ClientContext
from exchange_clients.errors import (
    ConfigError,
    DecodeError,
    NotReady,
    OrderDenied,
    OrderNotFound,
    PostOnlyWouldCross,
    RequestRefused,
    VenueError,
)
from exchange_clients.model import (
    NS_PER_MS,
    TRIGGER_TYPES,
    Fill,
    FillKind,
    Instrument,
    InstrumentId,
    Lane,
    OrderAck,
    OrderInfo,
    OrderIntent,
    OrderStatus,
    OrderType,
    Purpose,
    TimeInForce,
    WaitFor,
)
from exchange_clients.orders import Order
from exchange_clients.paging import oldest_first
from exchange_clients.signing import Command
from exchange_clients.transport.command import Progress

if TYPE_CHECKING:
    from exchange_clients.aster.client.managers.market_data import AsterMarketData

Row = TypeVar("Row")

WEEK_MS: Final = 7 * 86_400_000 - 1
DAY_MS: Final = 86_400_000
PAGE: Final = 1000
FORCED_PAGE: Final = 100
GENESIS_MS: Final = 1_600_000_000_000
"""Before anything that the venue could tell of."""
_CLIENT_ID: Final = re.compile(r"[.A-Z:/a-z0-9_-]{1,36}")
_TYPES: Final = {
    OrderType.LIMIT: "LIMIT",
    OrderType.MARKET: "LIMIT",
    OrderType.STOP_MARKET: "STOP_MARKET",
    OrderType.STOP_LIMIT: "STOP",
    OrderType.TAKE_PROFIT_MARKET: "TAKE_PROFIT_MARKET",
    OrderType.TAKE_PROFIT_LIMIT: "TAKE_PROFIT",
}
_PRICED: Final = frozenset({OrderType.LIMIT, OrderType.MARKET, OrderType.STOP_LIMIT, OrderType.TAKE_PROFIT_LIMIT})


def command(
    context: ClientContext, endpoint: str, lane: Lane, *, ids: tuple[str, ...] = (), orders: int | None = None, **arguments: Any
) -> Command:
    """The unsigned request of a command; the signer adds to it and sends exactly that. `orders`: how many count against order limits."""
    from exchange_clients.transport.rest import build_request  # aiohttp comes with it

    cost = None if orders is None else {**ENDPOINTS[endpoint].cost, "orders_1m": orders, "orders_10s": orders}
    return Command(
        endpoint=endpoint,
        payload=build_request(ENDPOINTS[endpoint], arguments),
        lane=lane,
        nonce_scope=NONCE_SCOPE if NONCE_SCOPE in context.nonces else None,
        cost=cost,
        client_order_ids=ids,
    )


async def fetch_weeks(
    ask: Callable[[int, int], Awaitable[Sequence[Row]]], *, time: Callable[[Row], int], since_ms: int, until_ms: int, size: int = PAGE
) -> list[Row]:
    """Rows of a query that reaches over seven days at most, oldest first; some may come twice."""
    found: list[Row] = []
    start = since_ms
    while start <= until_ms:
        end = min(start + WEEK_MS, until_ms)

        async def page(first: int, last: int = end) -> Sequence[Row]:
            return await ask(first, last)

        found += await oldest_first(page, time=time, start=start, size=size)
        start = end + 1
    return found


def since_of(context: ClientContext, since_ns: int, instrument: Instrument | None) -> int:
    """In ms; not before the market (or the first of all markets) began."""
    dates = cast("AsterMarketData", context.market_data).onboarded_ms
    began = dates.get(instrument.venue_symbol, 0) if instrument is not None else min(filter(None, dates.values()), default=0)
    return max(since_ns // NS_PER_MS, began, GENESIS_MS)


class AsterOrderManager(BaseOrderManager):
    """Queries for orders and fills name a market: without one, the markets where the account did anything are asked."""

    def __init__(self, context: ClientContext) -> None:
        super().__init__(context)
        self._armed_until_s: float | None = None
        self._armed: dict[InstrumentId, float] = {}
        """When the countdown of a market runs out: one that a renewal did not reach ends earlier than the switch."""

    # ---- place

    def check(self, intent: OrderIntent, instrument: Instrument) -> None:
        super().check(intent, instrument)
        if intent.client_order_id is not None and not self._looks_like_client_id(intent.client_order_id):
            raise OrderDenied(
                f"client order id {intent.client_order_id!r} is not 1 to 36 of letters, digits and .:/_-", venue=self.context.name
            )

    def _looks_like_client_id(self, any_id: str) -> bool:
        return _CLIENT_ID.fullmatch(any_id) is not None

    async def place(self, intent: OrderIntent, *, wait_for: WaitFor = WaitFor.ACK, timeout_s: float | None = None) -> OrderInfo:
        if (error := (await self._not_covered([intent]))[0]) is not None:
            raise error
        return await super().place(intent, wait_for=wait_for, timeout_s=timeout_s)

    async def place_many(self, intents: Sequence[OrderIntent]) -> list[OrderInfo | VenueError]:
        errors = await self._not_covered(intents)
        outcomes = iter(await super().place_many([intent for intent, error in zip(intents, errors, strict=True) if error is None]))
        return [next(outcomes) if error is None else error for error in errors]

    def encode_place(self, order: Order, instrument: Instrument) -> Command:
        lane = LANES[order.intent.purpose]
        return command(self.context, "placeOrder", lane, ids=ids_of([order]), **self._form(order, instrument))

    def encode_place_many(self, orders: Sequence[Order], instruments: Sequence[Instrument]) -> Command:
        rows = [self._form(order, instrument) for order, instrument in zip(orders, instruments, strict=True)]
        text = msgspec.json.encode(rows).decode()
        return command(self.context, "placeOrders", most_urgent(orders), ids=ids_of(orders), orders=len(orders), batchOrders=text)

    def _form(self, order: Order, instrument: Instrument) -> dict[str, Any]:
        """A market order is an IOC limit at its worst price: the venue's own has no bound of ours."""
        intent = order.intent
        form: dict[str, Any] = {"symbol": instrument.venue_symbol, "side": intent.side.upper(), "type": _TYPES[intent.order_type]}
        if intent.order_type in _PRICED:
            assert intent.price is not None  # `check` saw to it
            lasts = TimeInForce.IOC if intent.order_type is OrderType.MARKET else intent.time_in_force
            form["timeInForce"] = "GTX" if intent.post_only else lasts
            form["price"] = wire_number(instrument.to_venue_price(intent.price))
        form["quantity"] = wire_number(instrument.to_venue_size(intent.quantity))
        if intent.order_type in TRIGGER_TYPES:
            assert intent.trigger_price is not None
            form["stopPrice"] = wire_number(instrument.to_venue_price(intent.trigger_price))
            form["workingType"] = "MARK_PRICE"
        if intent.reduce_only:
            form["reduceOnly"] = "true"
        form["newClientOrderId"] = order.client_order_id or ""
        form["newOrderRespType"] = "RESULT"
        return form

    def decode_place(self, reply: m.Order, order: Order) -> OrderAck:
        """A post-only order that would have taken may be told as an order that expired with nothing."""
        info = self._info(reply, order)
        if info.status is OrderStatus.REJECTED:
            kind = PostOnlyWouldCross if info.post_only else RequestRefused
            raise kind(info.cancel_reason or "rejected", venue=self.context.name, code=reply.status)
        return OrderAck(
            client_order_id=order.client_order_id or "",
            order_id=info.order_id,
            status=info.status,
            filled_size=info.filled_size,
            average_price=info.average_price,
            ts_venue_ns=info.updated_ns,
        )

    def decode_place_many(self, reply: Sequence[msgspec.Raw], orders: Sequence[Order]) -> list[OrderAck | VenueError]:
        rows = self._rows(reply, orders)
        return [
            refusal(row) if isinstance(row, m.ErrorBody) else self._ack_or_error(row, order)
            for row, order in zip(rows, orders, strict=True)
        ]

    def _ack_or_error(self, row: m.Order, order: Order) -> OrderAck | VenueError:
        try:
            return self.decode_place(row, order)
        except VenueError as e:
            return e

    def _rows(self, reply: Sequence[msgspec.Raw], orders: Sequence[Order]) -> list[m.Order | m.ErrorBody]:
        if len(reply) != len(orders):
            raise DecodeError(f"{len(reply)} rows for {len(orders)} orders", venue=self.context.name)
        try:
            return [m.decode_row(row) for row in reply]
        except msgspec.DecodeError as e:
            raise DecodeError(f"row of a batch: {e}", venue=self.context.name) from e

    def _info(self, reply: m.Order, order: Order) -> OrderInfo:
        return converters.order(reply, self.context.instruments.get(order.intent.instrument))

    # ---- cancel

    def encode_cancel(self, order: Order, instrument: Instrument) -> Command:
        return command(
            self.context, "cancelOrder", Lane.CANCEL, ids=ids_of([order]), symbol=instrument.venue_symbol, **self._name_of(order)
        )

    @staticmethod
    def _name_of(order: Order) -> dict[str, Any]:
        if order.order_id is not None:
            return {"orderId": order.order_id}
        return {"origClientOrderId": order.client_order_id or ""}

    def decode_cancel(self, reply: m.Order, order: Order) -> None:
        """The answer shows the order as it ended, with what it filled."""
        self.context.tracker.on_order(self._info(reply, order))

    def encode_cancel_many(self, orders: Sequence[Order], instruments: Sequence[Instrument]) -> Command:
        """Of one market, and named one way: `_send_cancels` sees to it."""
        named = {"orderIdList": [int(o.order_id) for o in orders if o.order_id is not None]}
        lists: dict[str, Any] = named if orders[0].order_id is not None else {"origClientOrderIdList": [o.client_order_id for o in orders]}
        texts: dict[str, Any] = {name: msgspec.json.encode(ids).decode() for name, ids in lists.items()}
        return command(self.context, "cancelOrders", Lane.CANCEL, ids=ids_of(orders), symbol=instruments[0].venue_symbol, **texts)

    def decode_cancel_many(self, reply: Sequence[msgspec.Raw], orders: Sequence[Order]) -> list[VenueError | None]:
        errors: list[VenueError | None] = []
        for row, order in zip(self._rows(reply, orders), orders, strict=True):
            if isinstance(row, m.ErrorBody):
                errors.append(refusal(row))
            else:
                self.decode_cancel(row, order)
                errors.append(None)
        return errors

    async def _send_cancels(self, orders: Sequence[Order]) -> None:
        groups: dict[tuple[InstrumentId, bool], list[Order]] = {}
        for order in orders:
            groups.setdefault((order.intent.instrument, order.order_id is not None), []).append(order)
        for group in groups.values():
            await super()._send_cancels(group)

    def encode_cancel_all(self, instrument: Instrument | None) -> Command:
        assert instrument is not None  # capability: cancel_all_per_market
        return command(self.context, "cancelAll", Lane.CANCEL, symbol=instrument.venue_symbol)

    def decode_cancel_all(self, reply: m.ErrorBody | m.Countdown) -> None:
        if isinstance(reply, m.ErrorBody) and reply.code != 200:
            raise refusal(reply)

    # ---- amend

    def encode_amend(self, order: Order, intent: OrderIntent, instrument: Instrument) -> Command:
        """The venue wants both price and total quantity, and takes limit orders only."""
        if intent.order_type is not OrderType.LIMIT or intent.time_in_force is not TimeInForce.GTC or intent.price is None:
            raise OrderDenied(f"{instrument.id}: only resting limit orders can be amended", venue=self.context.name)
        return command(
            self.context,
            "amendOrder",
            LANES[intent.purpose],
            ids=ids_of([order]),
            symbol=instrument.venue_symbol,
            quantity=wire_number(instrument.to_venue_size(intent.quantity)),
            price=wire_number(instrument.to_venue_price(intent.price)),
            **self._name_of(order),
        )

    def decode_amend(self, reply: m.Order, order: Order) -> str | None:
        return str(reply.orderId)

    # ---- the dead-man switch, one per market

    async def arm_dead_man_switch(self, timeout_s: float | None) -> None:
        """Arms every market with an open order or a running countdown; a market that gets its first entry later is armed before it is sent.

        Raises what a market's switch raises: those before it are armed then.
        """
        listed = {info.instrument for info in await self.fetch_open_orders()}
        now_s = self.context.runtime.clock.elapsed()
        self._forget_ended(now_s)
        self._armed_until_s = None if timeout_s is None else now_s + timeout_s
        for market in sorted(listed | {order.intent.instrument for order in self.context.tracker.live()} | set(self._armed)):
            await self._arm(market, timeout_s)

    async def _arm(self, market: InstrumentId, timeout_s: float | None) -> None:
        until_s = self._armed_until_s
        arming = command(
            self.context,
            "countdownCancelAll",
            Lane.CANCEL,
            symbol=self.context.instruments.get(market).venue_symbol,
            countdownTime=0 if timeout_s is None else max(1, round(timeout_s * 1000)),
        )
        self.decode_cancel_all(await self.context.port.send(arming, Progress()))
        if timeout_s is None or until_s is None:
            self._armed.pop(market, None)
        else:
            self._armed[market] = until_s

    def _forget_ended(self, now_s: float) -> None:
        self._armed = {market: until_s for market, until_s in self._armed.items() if until_s > now_s}

    async def _not_covered(self, intents: Sequence[OrderIntent]) -> list[VenueError | None]:
        """While a switch is armed no entry goes out that it would not cancel: why not, for each. Exits do not wait for it."""
        if self._armed_until_s is None:
            return [None] * len(intents)
        left_s = self._armed_until_s - self.context.runtime.clock.elapsed()
        if left_s <= 0:
            self._armed_until_s = None
            return [None] * len(intents)
        failed: dict[InstrumentId, VenueError] = {}
        entered = dict.fromkeys(intent.instrument for intent in intents if intent.purpose is Purpose.ENTRY)
        for market in [market for market in entered if self._armed.get(market) != self._armed_until_s]:
            try:
                await self._arm(market, left_s)
            except VenueError as e:
                self.context.log.warning("dead_man.not_armed instrument=%s reason=%s", market, e)
                failed[market] = NotReady(f"{market}: the dead-man switch could not be armed: {e.message}", venue=self.context.name)
        return [failed.get(intent.instrument) if intent.purpose is Purpose.ENTRY else None for intent in intents]

    # ---- queries

    def _infos(self, rows: Iterable[m.Order]) -> list[OrderInfo]:
        return [converters.order(row, instrument) for row, instrument in self.context.instruments.known(rows, lambda row: row.symbol)]

    async def fetch_order(
        self, instrument: Instrument | None, *, order_id: str | None = None, client_order_id: str | None = None
    ) -> OrderInfo | None:
        if instrument is None:
            raise ConfigError("orders are looked up by market: name it (contract_id)", venue=self.context.name)
        name: dict[str, Any]
        if order_id is not None and order_id.isdecimal():
            name = {"orderId": order_id}
        elif client_order_id is not None and self._looks_like_client_id(client_order_id):
            name = {"origClientOrderId": client_order_id}
        else:
            return None
        try:
            row: m.Order = await self.rest.query("order", symbol=instrument.venue_symbol, **name)
        except OrderNotFound:
            return None
        return converters.order(row, instrument)

    async def fetch_open_orders(self, instrument: Instrument | None = None) -> list[OrderInfo]:
        symbol = instrument.venue_symbol if instrument is not None else None
        rows: list[m.Order] = await self.rest.query("openOrders", cost={"ip": 1 if symbol is not None else 40}, symbol=symbol)
        return self._infos(rows)

    async def fetch_order_history(self, *, since_ns: int, instrument: Instrument | None = None) -> list[OrderInfo]:
        """Orders that changed since then and were placed at most a day before. Without a market: those of `touched` ones."""
        markets = [instrument] if instrument is not None else await self.touched(since_ns)
        found: list[OrderInfo] = []
        for market in markets:
            symbol = market.venue_symbol

            async def ask(start_ms: int, end_ms: int, symbol: str = symbol) -> list[m.Order]:
                rows: list[m.Order] = await self.rest.query("allOrders", symbol=symbol, startTime=start_ms, endTime=end_ms, limit=PAGE)
                return rows

            start_ms = since_of(self.context, since_ns - DAY_MS * NS_PER_MS, market)
            rows = await fetch_weeks(ask, time=lambda row: row.time, since_ms=start_ms, until_ms=self._now_ms())
            found += self._infos({row.orderId: row for row in rows if row.updateTime * NS_PER_MS >= since_ns}.values())
        return found

    async def fetch_fills(self, *, since_ns: int, until_ns: int | None = None, instrument: Instrument | None = None) -> list[Fill]:
        """Without a market: those of `touched` ones. Fills that the venue forced on us are told from others by their orders."""
        markets = [instrument] if instrument is not None else await self.touched(since_ns)
        until_ms = self._now_ms() if until_ns is None else min(until_ns // NS_PER_MS, self._now_ms())
        found: list[Fill] = []
        for market in markets:
            symbol, since_ms = market.venue_symbol, since_of(self.context, since_ns, market)

            async def ask(start_ms: int, end_ms: int, symbol: str = symbol) -> list[m.UserTrade]:
                rows: list[m.UserTrade] = await self.rest.query("userTrades", symbol=symbol, startTime=start_ms, endTime=end_ms, limit=PAGE)
                return rows

            rows = await fetch_weeks(ask, time=lambda row: row.time, since_ms=since_ms, until_ms=until_ms)
            unique = {(row.id, row.side): row for row in rows}
            kinds = await self._kinds(market, unique.values(), since_ms, until_ms)
            found += [converters.fill(row, market, kinds.get(row.orderId, FillKind.TRADE)) for row in unique.values()]
        return sorted(found, key=lambda fill: fill.ts_venue_ns)

    async def _kinds(self, market: Instrument, rows: Iterable[m.UserTrade], since_ms: int, until_ms: int) -> dict[int, FillKind]:
        """By venue order id, of the orders that are not ours: fills do not name the client id that tells."""
        kinds: dict[int, FillKind] = {}
        unknown = False
        for row in rows:
            order = self.context.tracker.find(str(row.orderId))
            if order is not None:
                kinds[row.orderId] = converters.fill_kind(order.client_order_id or "")
            else:
                unknown = True
        if unknown:

            async def ask(start_ms: int, end_ms: int) -> list[m.Order]:
                forced: list[m.Order] = await self.rest.query(
                    "forceOrders", cost={"ip": 20}, symbol=market.venue_symbol, startTime=start_ms, endTime=end_ms, limit=FORCED_PAGE
                )
                return forced

            forced = await fetch_weeks(ask, time=lambda row: row.time, since_ms=since_ms, until_ms=until_ms, size=FORCED_PAGE)
            kinds |= {row.orderId: converters.fill_kind(row.clientOrderId, "CALCULATED") for row in forced}
        return kinds

    async def touched(self, since_ns: int) -> list[Instrument]:
        """Where the account has an order, or had a position or money moved since then: positions and income tell, for 35 together."""
        names = {order.intent.instrument for order in self.context.tracker.live()}
        risks: list[m.PositionRisk] = await self.rest.query("positionRisk")
        since_ms = since_of(self.context, since_ns, None)

        async def ask(start_ms: int, end_ms: int) -> list[m.Income]:
            rows: list[m.Income] = await self.rest.query("income", startTime=start_ms, endTime=end_ms, limit=PAGE)
            return rows

        incomes = await fetch_weeks(ask, time=lambda row: row.time, since_ms=since_ms, until_ms=self._now_ms())
        moved = [row.symbol for row in risks if row.positionAmt or row.updateTime >= since_ms]
        moved += [row.symbol for row in incomes if row.symbol]
        names |= {instrument.id for _, instrument in self.context.instruments.known(dict.fromkeys(moved), lambda symbol: symbol)}
        return [self.context.instruments.get(name) for name in sorted(names)]

    def _now_ms(self) -> int:
        """Venue time, and a second more: rows of this very moment count."""
        return self.context.venue_time.now_ms() + 1000
