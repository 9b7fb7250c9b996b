"""Orders: our intents as OKX's, its answers as ours.

Two kinds of orders with identities of their own: orders, and trigger orders ("algo"), which become an order when they are released. A
trigger order keeps its client id; its venue id changes with the release.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from operator import attrgetter
from typing import Any, Final

import msgspec

from exchange_clients.base_managers import LANES, BaseOrderManager, ids_of, most_urgent
from exchange_clients.errors import DecodeError, OrderDenied, OrderNotFound, OrderRefused, RequestTimeout, VenueError
from exchange_clients.model import (
    MARKET_TYPES,
    NS_PER_MS,
    NS_PER_S,
    TRIGGER_TYPES,
    ZERO,
    Fill,
    Instrument,
    Lane,
    OrderAck,
    OrderInfo,
    OrderIntent,
    OrderStatus,
    OrderType,
    TimeInForce,
)
from exchange_clients.okx import messages as m
from exchange_clients.okx.client.utils import converters
from exchange_clients.okx.client.utils.caching import venue_cache
from exchange_clients.okx.client.utils.helpers import wire_number
from exchange_clients.okx.common import ENDPOINTS, SUB_ACCOUNT, UNTRIGGERED, refusal
from exchange_clients.okx.signing import NONCE_SCOPE, Operation
from exchange_clients.orders import Order
from exchange_clients.paging import newest_first
from exchange_clients.signing import Channel, Command

PAGE: Final = 100
ALGO_BATCH: Final = 10
AMEND_ASK_EVERY_S: Final = 1.0
SHORTEST_SWITCH_S, LONGEST_SWITCH_S = 10.0, 120.0
FORGOTTEN_NS: Final = 2 * 3_600 * NS_PER_S
"""Orders canceled unfilled are kept for two hours."""
RECENT_FILLS_NS: Final = (3 * 86_400 - 3_600) * NS_PER_S
RECENT_ORDERS_NS: Final = (7 * 86_400 - 3_600) * NS_PER_S
ALGO_KINDS: Final = ("conditional,oco", "trigger")
"""What `algos_pending` is asked for: only the first two kinds can be asked for together."""
_SOCKET_OPS: Final = {
    "order": "order",
    "batch_orders": "batch-orders",
    "cancel_order": "cancel-order",
    "cancel_batch_orders": "batch-cancel-orders",
    "amend_order": "amend-order",
}
_TIMES: Final = {TimeInForce.GTC: "limit", TimeInForce.IOC: "ioc", TimeInForce.FOK: "fok"}
_STOPS: Final = frozenset({OrderType.STOP_MARKET, OrderType.STOP_LIMIT})
_AT_MARKET: Final = "-1"
_ORDER_ID: Final = attrgetter("ordId")
_ALGO_ID: Final = attrgetter("algoId")


def is_algo(order: Order) -> bool:
    """Waits for its trigger, as far as we know: then its venue id and its cancel are those of a trigger order."""
    return order.intent.order_type in TRIGGER_TYPES and order.status in UNTRIGGERED


def key_of(order: Order) -> str:
    """What an amend is remembered by until its end: the name that does not change."""
    return order.client_order_id or order.order_id or ""


class OkxOrderManager(BaseOrderManager):
    """Orders may travel over the private socket, trigger orders and the switch by REST only. All of them in cross margin."""

    def check(self, intent: OrderIntent, instrument: Instrument) -> None:
        super().check(intent, instrument)
        given = intent.client_order_id
        if given is not None and not (given.isascii() and given.isalnum() and len(given) <= 32):
            raise OrderDenied(f"client order id {given!r} is not 1 to 32 letters and digits", venue=self.context.name)

    def _looks_like_client_id(self, any_id: str) -> bool:
        return any_id.isascii() and any_id.isalnum() and len(any_id) <= 32

    # ---- commands

    def _command(
        self,
        endpoint: str,
        rows: Sequence[dict[str, Any]],
        markets: Sequence[Instrument],
        lane: Lane,
        orders: Sequence[Order] = (),
        *,
        batch: bool = False,
        entering: bool = False,
    ) -> Command:
        """Limits are counted per market; new orders and amends (`entering`) also for the whole sub-account. `rows` name no market yet.

        Trigger orders know no `expTime`.
        """
        on_socket = endpoint in _SOCKET_OPS and self.context.command_channel is Channel.WS
        cost = {f"{endpoint}/{name}": count for name, count in Counter(market.contract_id for market in markets).items()}
        if entering:
            cost[SUB_ACCOUNT] = len(rows)
        named = [{**self._name(market, on_socket), **row} for market, row in zip(markets, rows, strict=True)]
        return Command(
            endpoint=endpoint,
            payload=Operation(
                ENDPOINTS[endpoint].path, named, _SOCKET_OPS.get(endpoint, ""), batch, perishable=entering and endpoint in _SOCKET_OPS
            ),
            lane=lane,
            channel=Channel.WS if on_socket else Channel.REST,
            nonce_scope=NONCE_SCOPE if on_socket else None,
            cost=cost,
            client_order_ids=ids_of(orders),
        )

    def _name(self, market: Instrument, on_socket: bool) -> dict[str, Any]:
        """Commands on the socket name the market by its code."""
        if not on_socket:
            return {"instId": market.venue_symbol}
        code = venue_cache(self.context).names(market).code
        if code is None:
            raise OrderDenied(f"{market.id} has no code for commands on the socket", venue=self.context.name)
        return {"instIdCode": code}

    @staticmethod
    def _id(order: Order, *, algo: bool = False) -> dict[str, str]:
        """The venue's id where it is known, else ours."""
        if order.order_id is not None:
            return {"algoId" if algo else "ordId": order.order_id}
        return {"algoClOrdId" if algo else "clOrdId": order.client_order_id or ""}

    def _refused(self, row: m.Ack) -> VenueError | None:
        """A row without a code proves nothing."""
        if not row.sCode:
            return DecodeError("a row that tells no outcome", venue=self.context.name)
        return refusal(row.sCode, row.sMsg) if row.sCode != "0" else None

    def _acks(self, reply: m.Acks, count: int) -> list[m.Ack]:
        if not reply.data and reply.code != "0":
            raise refusal(reply.code, reply.msg)
        if len(reply.data) != count:
            raise DecodeError(f"{len(reply.data)} rows for {count} orders", venue=self.context.name)
        return reply.data

    # ---- place

    def encode_place(self, order: Order, instrument: Instrument) -> Command:
        if order.intent.order_type in TRIGGER_TYPES:
            row = self._algo(order, instrument)
            return self._command("order_algo", [row], [instrument], LANES[order.intent.purpose], [order], entering=True)
        return self._command("order", [self._order(order, instrument)], [instrument], LANES[order.intent.purpose], [order], entering=True)

    def encode_place_many(self, orders: Sequence[Order], instruments: Sequence[Instrument]) -> Command:
        if len(orders) == 1:
            return self.encode_place(orders[0], instruments[0])
        rows = [self._order(order, instrument) for order, instrument in zip(orders, instruments, strict=True)]
        return self._command("batch_orders", rows, instruments, most_urgent(orders), orders, batch=True, entering=True)

    async def _place_batch(self, intents: Sequence[OrderIntent]) -> list[OrderInfo | VenueError]:
        """Trigger orders have no batches: with one among them each goes alone."""
        if any(intent.order_type in TRIGGER_TYPES for intent in intents):
            return [await self._place_or_error(intent) for intent in intents]
        return await super()._place_batch(intents)

    @staticmethod
    def _order(order: Order, instrument: Instrument) -> dict[str, Any]:
        """The venue may move the bound of an IOC order into its price band: an exit must not fail for a bound that is too generous."""
        intent = order.intent
        assert intent.price is not None  # `check` saw to it
        row = {
            "tdMode": "cross",
            "side": intent.side.value,
            "ordType": "post_only" if intent.post_only else _TIMES[intent.time_in_force],
            "px": wire_number(instrument.to_venue_price(intent.price)),
            "sz": wire_number(instrument.to_venue_size(intent.quantity)),
            "clOrdId": order.client_order_id,
            "reduceOnly": intent.reduce_only,
        }
        if row["ordType"] == "ioc":
            row["pxAmendType"] = "1"
        return row

    @staticmethod
    def _algo(order: Order, instrument: Instrument) -> dict[str, Any]:
        """A one-way stop or take-profit: its direction is said, so that one that is late is refused and never waits for the way back."""
        intent = order.intent
        assert intent.trigger_price is not None  # `check` saw to it
        assert intent.price is not None
        kind = "sl" if intent.order_type in _STOPS else "tp"
        price = _AT_MARKET if intent.order_type in MARKET_TYPES else wire_number(instrument.to_venue_price(intent.price))
        return {
            "tdMode": "cross",
            "side": intent.side.value,
            "ordType": "conditional",
            "sz": wire_number(instrument.to_venue_size(intent.quantity)),
            f"{kind}TriggerPx": wire_number(instrument.to_venue_price(intent.trigger_price)),
            f"{kind}TriggerPxType": "mark",
            f"{kind}OrdPx": price,
            "algoClOrdId": order.client_order_id,
            "reduceOnly": intent.reduce_only,
        }

    def decode_place(self, reply: m.Acks, order: Order) -> OrderAck:
        outcome = self.decode_place_many(reply, [order])[0]
        if isinstance(outcome, VenueError):
            raise outcome
        return outcome

    def decode_place_many(self, reply: m.Acks, orders: Sequence[Order]) -> list[OrderAck | VenueError]:
        return [self._placed(row, order) for row, order in zip(self._acks(reply, len(orders)), orders, strict=True)]

    def _placed(self, row: m.Ack, order: Order) -> OrderAck | VenueError:
        """Yes means that it passed the gateway: whether it rests, filled or was canceled is told by the stream."""
        if (refused := self._refused(row)) is not None:
            return refused
        status = OrderStatus.PENDING if row.algoId else OrderStatus.SUBMITTED
        return OrderAck(client_order_id=order.client_order_id or "", order_id=row.ordId or row.algoId or None, status=status)

    # ---- cancel

    def encode_cancel(self, order: Order, instrument: Instrument) -> Command:
        if is_algo(order):
            row = self._id(order, algo=True)
            return self._command("cancel_algos", [row], [instrument], Lane.CANCEL, [order], batch=True)
        return self._command("cancel_order", [self._id(order)], [instrument], Lane.CANCEL, [order])

    def decode_cancel(self, reply: m.Acks, order: Order) -> None:
        refused = self.decode_cancel_many(reply, [order])[0]
        if refused is not None:
            raise refused

    def encode_cancel_many(self, orders: Sequence[Order], instruments: Sequence[Instrument]) -> Command:
        """Orders of one kind, see `_send_cancels`."""
        if len(orders) == 1:
            return self.encode_cancel(orders[0], instruments[0])
        algo = is_algo(orders[0])
        endpoint = "cancel_algos" if algo else "cancel_batch_orders"
        return self._command(endpoint, [self._id(order, algo=algo) for order in orders], instruments, Lane.CANCEL, orders, batch=True)

    def decode_cancel_many(self, reply: m.Acks, orders: Sequence[Order]) -> list[VenueError | None]:
        return [self._refused(row) for row in self._acks(reply, len(orders))]

    async def _send_cancels(self, orders: Sequence[Order]) -> None:
        """Orders and trigger orders apart, the latter ten at a time."""
        algos = [order for order in orders if is_algo(order)]
        plain = [order for order in orders if not is_algo(order)]
        groups = (plain, *(algos[start : start + ALGO_BATCH] for start in range(0, len(algos), ALGO_BATCH)))
        failed = None
        for group in filter(None, groups):
            try:
                await super()._send_cancels(group)
            except VenueError as e:  # of this group: the others go all the same
                failed = e
        if failed is not None:
            raise failed

    # ---- amend

    def encode_amend(self, order: Order, intent: OrderIntent, instrument: Instrument) -> Command:
        """`newSz` counts what is filled. A failed amend leaves the order as it was (`cxlOnFail` false)."""
        if is_algo(order):
            raise OrderDenied(f"{instrument.id}: a trigger order cannot be amended: cancel it and place another", venue=self.context.name)
        assert intent.price is not None  # `check` saw to it
        number = venue_cache(self.context).begin_amend(key_of(order), self.context.venue_time.now_ms())
        row = {**self._id(order), "reqId": number, "cxlOnFail": False}
        if intent.price != order.intent.price:
            row["newPx"] = wire_number(instrument.to_venue_price(intent.price))
        if intent.quantity != order.intent.quantity or "newPx" not in row:
            row["newSz"] = wire_number(instrument.to_venue_size(intent.quantity))
        return self._command("amend_order", [row], [instrument], LANES[intent.purpose], [order], entering=True)

    def decode_amend(self, reply: m.Acks, order: Order) -> str | None:
        if (refused := self._refused(self._acks(reply, 1)[0])) is not None:
            raise refused
        return None

    async def amend(self, any_id: str, *, price: Decimal | None = None, quantity: Decimal | None = None) -> OrderInfo:
        order = self.context.tracker.find(any_id)
        try:
            return await super().amend(any_id, price=price, quantity=quantity)
        finally:
            if order is not None:
                venue_cache(self.context).end_amend(key_of(order))

    async def prove_amend(self, order: Order, intent: OrderIntent) -> None:
        """The stream names the result; while it is silent the order itself is asked."""
        told = venue_cache(self.context).amend_of(key_of(order))
        clock = self.context.runtime.clock
        end = clock.monotonic() + self.context.config.command_timeout_s
        while told is not None and clock.monotonic() < end:
            try:
                async with asyncio.timeout(AMEND_ASK_EVERY_S):
                    error = await asyncio.shield(told)
            except TimeoutError:
                if await self._shows(order, intent):
                    return
                continue
            if error is not None:
                raise error
            return
        raise RequestTimeout(f"the amend of {order.client_order_id or order.order_id} was accepted and never told", venue=self.context.name)

    async def _shows(self, order: Order, intent: OrderIntent) -> bool:
        """Whether the order has the new terms.

        Raises:
            OrderNotFound: it has ended.
        """
        try:
            found = await self.fetch_order(
                self.context.instruments.get(intent.instrument), order_id=order.order_id, client_order_id=order.client_order_id
            )
        except OrderRefused:
            raise
        except VenueError as e:
            self.context.log.debug("amend.query_failed id=%s reason=%s", order.client_order_id, e)
            return False
        if found is not None and found.status.is_terminal:
            self.context.tracker.on_order(found)
            raise OrderNotFound(f"order {found.order_id} ended before it was amended", venue=self.context.name)
        return found is not None and (found.price, found.size) == (intent.price, intent.quantity)

    # ---- dead-man switch

    def encode_dead_man_switch(self, timeout_s: float | None) -> Command:
        """Of the whole sub-account: also of orders of other programs."""
        if timeout_s is not None and not SHORTEST_SWITCH_S <= timeout_s <= LONGEST_SWITCH_S:
            raise OrderDenied(f"the switch takes {SHORTEST_SWITCH_S:g} to {LONGEST_SWITCH_S:g} s", venue=self.context.name)
        row = {"timeOut": "0" if timeout_s is None else str(int(timeout_s))}
        return Command(endpoint="cancel_all_after", payload=Operation(ENDPOINTS["cancel_all_after"].path, [row]), lane=Lane.CANCEL)

    def decode_cancel_all(self, reply: m.Reply[list[m.Armed]]) -> None:
        """The answer to the switch."""
        if reply.code != "0":
            raise refusal(reply.code, reply.msg)

    # ---- queries

    async def fetch_order(
        self, instrument: Instrument | None, *, order_id: str | None = None, client_order_id: str | None = None
    ) -> OrderInfo | None:
        """The venue forgets orders canceled unfilled after two hours. Without a market open and recent orders are looked through."""
        if instrument is None:
            return await self._look_through(order_id, client_order_id)
        order = self.context.tracker.find(client_order_id or order_id or "")
        first_algo = order is not None and order.intent.order_type in TRIGGER_TYPES
        asks = (self._fetch_algo, self._fetch_plain) if first_algo else (self._fetch_plain, self._fetch_algo)
        for ask in asks:
            for name, value in (("order_id", order_id), ("client_order_id", client_order_id)):
                if value is not None and (name == "client_order_id" or value.isdigit()):
                    found = await ask(instrument, name, value)
                    if found is not None:
                        return found
        if order is None or order.order_id is None or order.status.is_terminal:
            return None
        if self.context.runtime.clock.time_ns() - order.updated_ns < FORGOTTEN_NS:
            return None
        return await self._forgotten(order, instrument)

    async def _forgotten(self, order: Order, instrument: Instrument) -> OrderInfo | None:
        """An order that the venue took, that is not open and that it does not know any more: it was canceled, maybe after fills."""
        for info in await self.fetch_open_orders(instrument):
            if (order.client_order_id is not None and info.client_order_id == order.client_order_id) or info.order_id == order.order_id:
                return info
        fills = [
            fill for fill in await self.fetch_fills(since_ns=order.created_ns, instrument=instrument) if fill.order_id == order.order_id
        ]
        filled = sum((fill.quantity for fill in fills), ZERO)
        self.context.log.warning("order.forgotten id=%s filled=%s hint=%r", order.order_id, filled, "canceled more than two hours ago")
        return msgspec.structs.replace(
            order.info(),
            status=OrderStatus.CANCELED,
            filled_size=filled,
            remaining_size=ZERO,
            cancel_reason="unknown: the venue has forgotten it",
        )

    async def _fetch_plain(self, instrument: Instrument, kind: str, value: str) -> OrderInfo | None:
        which: dict[str, Any] = {"ordId" if kind == "order_id" else "clOrdId": value}
        name = instrument.venue_symbol
        try:
            reply: m.Reply[list[m.OrderRow]] = await self.rest.query("order_info", instId=name, cost={f"order_info/{name}": 1}, **which)
        except OrderNotFound:
            return None
        return converters.order(reply.data[0], instrument) if reply.data else None

    async def _fetch_algo(self, instrument: Instrument, kind: str, value: str) -> OrderInfo | None:
        """A released one is told by the order that it became."""
        which: dict[str, Any] = {"algoId" if kind == "order_id" else "algoClOrdId": value}
        try:
            reply: m.Reply[list[m.AlgoRow]] = await self.rest.query("algo_info", **which)
        except OrderNotFound:
            return None
        if not reply.data or reply.data[0].instId != instrument.contract_id:
            return None
        info = converters.algo_order(reply.data[0], instrument)
        if info.status is OrderStatus.OPEN and info.order_id is not None:
            return await self._fetch_plain(instrument, "order_id", info.order_id) or info
        return info

    async def _look_through(self, order_id: str | None, client_order_id: str | None) -> OrderInfo | None:
        recent = self.context.venue_time.now_ns() - RECENT_ORDERS_NS
        for infos in (await self.fetch_open_orders(), await self.fetch_order_history(since_ns=recent)):
            for info in infos:
                if (order_id is not None and info.order_id == order_id) or (
                    client_order_id is not None and info.client_order_id == client_order_id
                ):
                    return info
        return None

    async def _pages(self, endpoint: str, id_of: Callable[[Any], str], since_ns: int = 0, **arguments: Any) -> list[Any]:
        """All rows, newest first at the venue, each id once."""

        async def ask(cursor: str | None) -> tuple[list[Any], str | None]:
            reply: m.Reply[list[Any]] = await self.rest.query(endpoint, after=cursor, limit=PAGE, **arguments)
            return reply.data, id_of(reply.data[-1]) if len(reply.data) == PAGE else None

        return await newest_first(ask, key=id_of, time_ns=lambda row: converters.ns(row.uTime or row.cTime) or 0, since_ns=since_ns)

    async def fetch_open_orders(self, instrument: Instrument | None = None) -> list[OrderInfo]:
        """Orders and trigger orders that wait."""
        name = instrument.venue_symbol if instrument is not None else None
        plain = await self._pages("orders_pending", _ORDER_ID, instType="SWAP", instId=name)
        algos = [
            row for kind in ALGO_KINDS for row in await self._pages("algos_pending", _ALGO_ID, ordType=kind, instType="SWAP", instId=name)
        ]
        known = self.context.instruments.known
        found = [converters.order(row, i) for row, i in known(plain, lambda row: row.instId)]
        return found + [converters.algo_order(row, i) for row, i in known(algos, lambda row: row.instId)]

    async def fetch_order_history(self, *, since_ns: int, instrument: Instrument | None = None) -> list[OrderInfo]:
        """Ended orders of a week or of three months; canceled unfilled ones for two hours. Trigger orders once they were released."""
        recent = self.context.venue_time.now_ns() - since_ns < RECENT_ORDERS_NS
        rows = await self._pages(
            "orders_history" if recent else "orders_history_archive",
            _ORDER_ID,
            since_ns,
            instType="SWAP",
            instId=instrument.venue_symbol if instrument is not None else None,
        )
        return [converters.order(row, i) for row, i in self.context.instruments.known(rows, lambda row: row.instId)]

    async def fetch_fills(self, *, since_ns: int, until_ns: int | None = None, instrument: Instrument | None = None) -> list[Fill]:
        """Of three days, or of three months."""
        endpoint = "fills" if self.context.venue_time.now_ns() - since_ns < RECENT_FILLS_NS else "fills_history"
        name = instrument.venue_symbol if instrument is not None else None

        async def ask(cursor: str | None) -> tuple[list[m.FillRow], str | None]:
            reply: m.Reply[list[m.FillRow]] = await self.rest.query(endpoint, instType="SWAP", instId=name, after=cursor, limit=PAGE)
            return reply.data, reply.data[-1].billId if len(reply.data) == PAGE else None

        rows = await newest_first(
            ask,
            key=lambda row: (row.instId, row.tradeId, row.side),
            time_ns=lambda row: row.ts * NS_PER_MS,
            since_ns=since_ns,
            until_ns=until_ns,
        )
        return [converters.fill(row, i) for row, i in self.context.instruments.known(rows, lambda row: row.instId)]
