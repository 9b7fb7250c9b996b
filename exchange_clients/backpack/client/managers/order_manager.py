"""Orders: our intents as Backpack's payloads, its answers as ours.

An order is listed live only while it is open; how it ended is told by the stream, or by a history that may be asked thirty times a minute.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec

from exchange_clients.backpack import messages as m
from exchange_clients.backpack.client.managers.market_data import PAGE, by_offset
from exchange_clients.backpack.client.utils import converters
from exchange_clients.backpack.client.utils.caching import PastOrders
from exchange_clients.backpack.client.utils.helpers import wire_number
from exchange_clients.backpack.common import refusal
from exchange_clients.base_managers import LANES, BaseOrderManager, ids_of, most_urgent
from exchange_clients.context import ClientContext
from exchange_clients.errors import DecodeError, NotReady, OrderDenied, OrderNotFound, VenueError
from exchange_clients.model import (
    MARKET_TYPES,
    NS_PER_MS,
    TRIGGER_TYPES,
    Fill,
    Instrument,
    Lane,
    OrderAck,
    OrderInfo,
    OrderIntent,
    OrderStatus,
    OrderType,
    Side,
    TimeInForce,
    WaitFor,
)
from exchange_clients.orders import Order
from exchange_clients.paging import newest_first
from exchange_clients.signing import Command

Payload = dict[str, str | int | bool]

MAX_CLIENT_ID: Final = 2**32 - 1
TRIGGER_BY: Final = "MarkPrice"
_SIDES: Final = {Side.BUY: "Bid", Side.SELL: "Ask"}
_STOPS: Final = frozenset({OrderType.STOP_MARKET, OrderType.STOP_LIMIT})
_decode_order: Final = msgspec.json.Decoder(m.OrderRow, strict=False).decode
_decode_orders: Final = msgspec.json.Decoder(list[m.OrderRow], strict=False).decode
_decode_outcome: Final = msgspec.json.Decoder(m.BatchOutcome, strict=False).decode


class BackpackOrderManager(BaseOrderManager):
    def __init__(self, context: ClientContext) -> None:
        super().__init__(context)
        self._asking_history = asyncio.Lock()
        self._page: tuple[float, str, list[m.OrderRow]] = (-1.0, "", [])
        self._past = PastOrders()
        self._exits: dict[str, Payload] = {}

    # ---- checks

    def check(self, intent: OrderIntent, instrument: Instrument) -> None:
        super().check(intent, instrument)
        if intent.client_order_id is not None and not self._looks_like_client_id(intent.client_order_id):
            raise OrderDenied(
                f"client order id {intent.client_order_id!r} is not a whole number up to {MAX_CLIENT_ID}", venue=self.context.name
            )

    def _looks_like_client_id(self, any_id: str) -> bool:
        return any_id.isdecimal() and any_id.isascii() and len(any_id) <= 10 and str(int(any_id)) == any_id and int(any_id) <= MAX_CLIENT_ID

    async def _mark(self, instrument: Instrument) -> Decimal:
        """Raises NotReady when it cannot be had: nothing was sent, whatever became of this question."""
        try:
            rows: list[m.MarkPriceRow] = await self.rest.query("markPrices", symbol=instrument.venue_symbol)
        except VenueError as e:
            raise NotReady(f"{instrument.id}: no mark price to compare a trigger with: {e.message}", venue=self.context.name) from e
        mark = next((row.markPrice for row in rows if row.symbol == instrument.venue_symbol), None)
        if mark is None:
            raise NotReady(f"{instrument.id}: no mark price to compare a trigger with", venue=self.context.name)
        return converters.price_of(mark, instrument, "markPrice")

    def _check_trigger_side(self, intent: OrderIntent, mark: Decimal) -> None:
        """The venue knows no stop and no take-profit, only a price to be reached: on which side the market stands decides which it is."""
        above = (intent.side is Side.BUY) == (intent.order_type in _STOPS)
        trigger = intent.trigger_price
        if trigger is not None and (trigger <= mark if above else trigger >= mark):
            where = "above" if above else "below"
            raise OrderDenied(
                f"{intent.instrument}: the trigger {trigger} of a {intent.side} {intent.order_type} must be {where} the mark {mark}: "
                "the venue would wait for the other direction",
                venue=self.context.name,
            )

    # ---- place

    async def place(self, intent: OrderIntent, *, wait_for: WaitFor = WaitFor.ACK, timeout_s: float | None = None) -> OrderInfo:
        if intent.order_type in TRIGGER_TYPES:
            instrument = self.context.instruments.get(intent.instrument)
            self.check(intent, instrument)
            self._check_trigger_side(intent, await self._mark(instrument))
        return await super().place(intent, wait_for=wait_for, timeout_s=timeout_s)

    async def place_many(self, intents: Sequence[OrderIntent]) -> list[OrderInfo | VenueError]:
        """Trigger orders are compared with the mark first, so they go one by one."""
        if any(intent.order_type in TRIGGER_TYPES for intent in intents):
            return [await self._place_or_error(intent) for intent in intents]
        return await super().place_many(intents)

    async def place_with_exits(
        self,
        entry: OrderIntent,
        *,
        take_profit: OrderIntent | None = None,
        stop_loss: OrderIntent | None = None,
        wait_for: WaitFor = WaitFor.ACK,
        timeout_s: float | None = None,
    ) -> OrderInfo:
        """An entry that carries its exits; returns the entry. Raises as `place`.

        The venue makes the exits itself, under ids of its own and without client ids: they appear as external orders once it tells of them.
        Of an exit its trigger and, for a limit type, its price count; side, quantity and reduce-only are the venue's.
        """
        mark = await self._mark(self.context.instruments.get(entry.instrument))
        fields: Payload = {}
        for name, exit_ in (("takeProfit", take_profit), ("stopLoss", stop_loss)):
            if exit_ is not None:
                fields |= self._exit_fields(name, entry, exit_, mark)
        client_order_id = entry.client_order_id or self.context.ids.next_id()
        self._exits[client_order_id] = fields
        try:
            named = msgspec.structs.replace(entry, client_order_id=client_order_id)
            return await self.place(named, wait_for=wait_for, timeout_s=timeout_s)
        finally:
            del self._exits[client_order_id]

    def _exit_fields(self, name: str, entry: OrderIntent, exit_: OrderIntent, mark: Decimal) -> Payload:
        instrument = self.context.instruments.get(entry.instrument)
        self.check(exit_, instrument)
        stops = exit_.order_type in _STOPS
        if exit_.order_type not in TRIGGER_TYPES or stops != (name == "stopLoss") or exit_.side is entry.side:
            raise OrderDenied(f"{entry.instrument}: a {name} closes the entry with a trigger of its kind", venue=self.context.name)
        self._check_trigger_side(exit_, mark)
        assert exit_.trigger_price is not None  # `check` saw to it
        assert exit_.price is not None
        fields: Payload = {
            f"{name}TriggerPrice": _price(exit_.trigger_price, instrument),
            f"{name}TriggerBy": TRIGGER_BY,
        }
        if exit_.order_type not in MARKET_TYPES:
            fields[f"{name}LimitPrice"] = _price(exit_.price, instrument)
        return fields

    def encode_place(self, order: Order, instrument: Instrument) -> Command:
        payload = self._payload(order, instrument)
        return Command("orderExecute", payload, LANES[order.intent.purpose], client_order_ids=ids_of([order]))

    def encode_place_many(self, orders: Sequence[Order], instruments: Sequence[Instrument]) -> Command:
        payload = [self._payload(order, instrument) for order, instrument in zip(orders, instruments, strict=True)]
        return Command("orderExecuteBatch", payload, most_urgent(orders), client_order_ids=ids_of(orders))

    def _payload(self, order: Order, instrument: Instrument) -> Payload:
        """A trigger order says `triggerQuantity` instead of `quantity`; its price, where it is a limit, and its trigger go together."""
        intent = order.intent
        assert intent.price is not None  # `check` saw to it
        quantity = wire_number(instrument.to_venue_size(intent.quantity))
        payload: Payload = {
            "clientId": int(order.client_order_id or 0),
            "orderType": "Market" if intent.order_type in MARKET_TYPES else "Limit",
            "side": _SIDES[intent.side],
            "symbol": instrument.venue_symbol,
            **self._exits.get(order.client_order_id or "", {}),
        }
        if intent.order_type not in MARKET_TYPES:
            payload["price"] = _price(intent.price, instrument)
            payload["timeInForce"] = intent.time_in_force.value
        if intent.order_type in TRIGGER_TYPES:
            assert intent.trigger_price is not None
            payload["triggerPrice"] = _price(intent.trigger_price, instrument)
            payload["triggerQuantity"] = quantity
            payload["triggerBy"] = TRIGGER_BY
        else:
            payload["quantity"] = quantity
        if intent.post_only:
            payload["postOnly"] = True
        if intent.reduce_only:
            payload["reduceOnly"] = True
        return dict(sorted(payload.items()))

    def decode_place(self, reply: m.OrderRow, order: Order) -> OrderAck:
        instrument = self.context.instruments.get(order.intent.instrument)
        info = converters.order(reply, instrument)
        if reply.clientId is not None and info.client_order_id != order.client_order_id:
            raise DecodeError(f"answer for order {info.client_order_id}, not {order.client_order_id}", venue=self.context.name)
        return OrderAck(
            client_order_id=order.client_order_id or "",
            order_id=info.order_id,
            status=self._acked_status(reply, order, info),
            filled_size=info.filled_size,
            average_price=info.average_price,
        )

    @staticmethod
    def _acked_status(reply: m.OrderRow, order: Order, info: OrderInfo) -> OrderStatus:
        """An answer says that an order expired, but not why. With fills an immediate order just ended; without any it may have been
        refused, and the stream, or else the history, tells."""
        if reply.status != "Expired":
            return info.status
        immediate = order.intent.time_in_force in (TimeInForce.IOC, TimeInForce.FOK)
        return OrderStatus.CANCELED if immediate and info.filled_size else OrderStatus.SUBMITTED

    def decode_place_many(self, reply: list[msgspec.Raw], orders: Sequence[Order]) -> list[OrderAck | VenueError]:
        if len(reply) != len(orders):
            raise DecodeError(f"{len(reply)} outcomes for {len(orders)} orders", venue=self.context.name)
        return [self._outcome(raw, order) for raw, order in zip(reply, orders, strict=True)]

    def _outcome(self, raw: msgspec.Raw, order: Order) -> OrderAck | VenueError:
        try:
            outcome = _decode_outcome(raw)
            if outcome.operation == "Err":
                return refusal(outcome.code, outcome.message)
            return self.decode_place(_decode_order(raw), order)
        except msgspec.DecodeError as e:
            return DecodeError(f"outcome of {order.client_order_id}: {e}", venue=self.context.name)
        except DecodeError as e:
            return e

    # ---- cancel

    def encode_cancel(self, order: Order, instrument: Instrument) -> Command:
        payload: Payload = {"symbol": instrument.venue_symbol}
        if order.order_id is not None:
            payload["orderId"] = order.order_id
        else:
            payload["clientId"] = int(order.client_order_id or 0)
        return Command("orderCancel", dict(sorted(payload.items())), Lane.CANCEL, client_order_ids=ids_of([order]))

    def decode_cancel(self, reply: bytes, order: Order) -> None:
        """The canceled order, or nothing (202: queued; the stream tells the end)."""
        self._learn(reply, lambda body: [_decode_order(body)])

    def encode_cancel_all(self, instrument: Instrument | None) -> Command:
        """Resting and conditional orders of one market."""
        symbol = instrument.venue_symbol if instrument is not None else ""
        return Command("orderCancelAll", {"symbol": symbol}, Lane.CANCEL)

    def decode_cancel_all(self, reply: bytes) -> None:
        self._learn(reply, _decode_orders)

    def _learn(self, reply: bytes, decode: Callable[[bytes], list[m.OrderRow]]) -> None:
        """The success is in the status; orders in the body are evidence, and what else is there is none."""
        try:
            rows = decode(reply) if reply.strip() else []
        except (msgspec.DecodeError, UnicodeDecodeError) as e:
            self.context.log.info("cancel.answer_unread bytes=%d reason=%s", len(reply), e)
            rows = []
        for row, instrument in self.context.instruments.known(rows, lambda row: row.symbol):
            self.context.tracker.on_order(converters.order(row, instrument))

    # ---- queries

    async def fetch_order(
        self, instrument: Instrument | None, *, order_id: str | None = None, client_order_id: str | None = None
    ) -> OrderInfo | None:
        """Live, else from history: the newest thousand orders of the market where only the client id is known."""
        if client_order_id is None and not (order_id or "").isdecimal():
            return None  # the venue's own ids are numbers
        row = await self._live(instrument, order_id, client_order_id)
        if row is None:
            row = await self._ended(instrument, order_id, client_order_id)
        found = self.context.instruments.by_contract(row.symbol) if row is not None else None
        return converters.order(row, found) if row is not None and found is not None else None

    async def _live(self, instrument: Instrument | None, order_id: str | None, client_order_id: str | None) -> m.OrderRow | None:
        if instrument is None:
            rows: list[m.OrderRow] = await self.rest.query("orderQueryAll", marketType=converters.PERP)
            return next((row for row in rows if _is(row, order_id, client_order_id)), None)
        name: dict[str, Any] = {"orderId": order_id} if order_id is not None else {"clientId": client_order_id}
        try:
            row: m.OrderRow = await self.rest.query("orderQuery", symbol=instrument.venue_symbol, **name)
        except OrderNotFound:
            return None
        return row

    async def _ended(self, instrument: Instrument | None, order_id: str | None, client_order_id: str | None) -> m.OrderRow | None:
        """History has the one limit that is tight: an end that was read once is kept, and a page is shared by all who came before it was
        asked for."""
        if (past := self._past.get(order_id)) is not None:
            return past
        symbol = instrument.venue_symbol if instrument is not None else ""
        clock = self.context.runtime.clock
        came_s = clock.elapsed()
        async with self._asking_history:
            asked_s, of_symbol, rows = self._page
            if asked_s < came_s or of_symbol != symbol:
                asked_s = clock.elapsed()
                rows = await self._history_page(symbol or None, 0)
                self._page = (asked_s, symbol, rows)
        found = next((row for row in rows if _is(row, order_id, client_order_id)), None)
        if found is None and order_id is not None and len(rows) >= PAGE:
            older: list[m.OrderRow] = await self.rest.query("orderHistoryQueryAll", orderId=order_id, symbol=symbol or None)
            found = next((row for row in older if row.id == order_id), None)
        return found

    async def _history_page(self, symbol: str | None, offset: int) -> list[m.OrderRow]:
        rows: list[m.OrderRow] = await self.rest.query(
            "orderHistoryQueryAll", symbol=symbol, marketType=converters.PERP, limit=PAGE, offset=offset, sortDirection="Desc"
        )
        self._past.keep(rows)
        return rows

    async def fetch_open_orders(self, instrument: Instrument | None = None) -> list[OrderInfo]:
        symbol = instrument.venue_symbol if instrument is not None else None
        rows: list[m.OrderRow] = await self.rest.query("orderQueryAll", symbol=symbol, marketType=converters.PERP)
        return [converters.order(row, i) for row, i in self.context.instruments.known(rows, lambda row: row.symbol)]

    async def fetch_order_history(self, *, since_ns: int, instrument: Instrument | None = None) -> list[OrderInfo]:
        """Rows tell when an order was made, not when it ended: of the last page all are given, older ones that ended since among them."""
        symbol = instrument.venue_symbol if instrument is not None else None
        found: dict[str, m.OrderRow] = {}
        offset = 0
        while True:
            rows = await self._history_page(symbol, offset)
            found |= {row.id: row for row in rows}
            offset += PAGE
            if len(rows) < PAGE or any((converters.moment_ns(row.createdAt) or 0) < since_ns for row in rows):
                break
        pairs = self.context.instruments.known(found.values(), lambda row: row.symbol)
        return [converters.order(row, i) for row, i in pairs]

    async def fetch_fills(self, *, since_ns: int, until_ns: int | None = None, instrument: Instrument | None = None) -> list[Fill]:
        symbol = instrument.venue_symbol if instrument is not None else None
        last_ms = None if until_ns is None else -(-until_ns // NS_PER_MS)

        window: dict[str, Any] = {"from": max(0, since_ns // NS_PER_MS), "to": last_ms}

        async def ask(offset: int) -> list[m.FillRow]:
            rows: list[m.FillRow] = await self.rest.query(
                "fillHistoryQueryAll", symbol=symbol, limit=PAGE, offset=offset, sortDirection="Desc", **window
            )
            return rows

        rows = await newest_first(
            by_offset(ask),
            key=lambda row: (row.symbol, row.tradeId, row.orderId, row.side, row.timestamp),
            time_ns=lambda row: converters.text_ns(row.timestamp),
            since_ns=since_ns // NS_PER_MS * NS_PER_MS,
            until_ns=until_ns,
        )
        return [converters.fill(row, i) for row, i in self.context.instruments.known(rows, lambda row: row.symbol)]


def _is(row: m.OrderRow, order_id: str | None, client_order_id: str | None) -> bool:
    return row.id == order_id if order_id is not None else str(row.clientId) == client_order_id


def _price(price: Decimal, instrument: Instrument) -> str:
    return wire_number(instrument.to_venue_price(price))
