"""Orders: our intents as Paradex's, its answers as ours. Every yes is a yes to a queue; the streams and queries tell the rest."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final
from urllib.parse import quote

import msgspec

from exchange_clients.base_managers import LANES, BaseOrderManager, ids_of, most_urgent
from exchange_clients.context import ClientContext
from exchange_clients.errors import DecodeError, OrderDenied, OrderNotFound, OrderRefused, RequestTimeout, VenueError, classify
from exchange_clients.model import (
    MARKET_TYPES,
    NS_PER_S,
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
)
from exchange_clients.orders import Order
from exchange_clients.paradex import messages as m
from exchange_clients.paradex.client.managers.market_data import fetch_pages
from exchange_clients.paradex.client.utils import converters
from exchange_clients.paradex.client.utils.helpers import wire_number
from exchange_clients.paradex.common import ERRORS, ORDER_COST, ORDER_LIFE_MS, SOCKET_COST
from exchange_clients.signing import Channel, Command

FILLS_PAGE: Final = 1_000
HISTORY_PAGE: Final = 1_000
AMEND_QUERY_EVERY_S: Final = 0.5
MAX_CLIENT_ID: Final = 64
VENUE_ID: Final = 28
_QUEUED: Final = "QUEUED_FOR_CANCELLATION"
_TAKE_PROFITS: Final = frozenset({OrderType.TAKE_PROFIT_MARKET, OrderType.TAKE_PROFIT_LIMIT})
_PRICELESS: Final = MARKET_TYPES - {OrderType.MARKET}
_TYPES: Final = {
    OrderType.LIMIT: "LIMIT",
    OrderType.MARKET: "LIMIT",
    OrderType.STOP_LIMIT: "STOP_LIMIT",
    OrderType.STOP_MARKET: "STOP_MARKET",
    OrderType.TAKE_PROFIT_LIMIT: "TAKE_PROFIT_LIMIT",
    OrderType.TAKE_PROFIT_MARKET: "TAKE_PROFIT_MARKET",
}
_REDUCING: Final = {OrderType.STOP_LIMIT: "STOP_LOSS_LIMIT", OrderType.STOP_MARKET: "STOP_LOSS_MARKET"}


class ParadexOrderManager(BaseOrderManager):
    """Market orders are IOC limits with a bound of ours; triggers are the venue's own, on mark price."""

    def __init__(self, context: ClientContext) -> None:
        super().__init__(context)
        self._asked: dict[str, str] = {}
        """Venue id of an order -> id of the amend that the venue queued for it last."""
        self._judged: deque[str] = deque(maxlen=1_000)
        """Amends whose refusal was told."""

    # ---- place

    def check(self, intent: OrderIntent, instrument: Instrument) -> None:
        super().check(intent, instrument)
        if intent.order_type in _TAKE_PROFITS and not intent.reduce_only:
            raise OrderDenied(f"{instrument.id}: a take-profit is reduce-only here", venue=self.context.name)
        if intent.order_type is OrderType.MARKET and intent.price is None:
            raise OrderDenied(f"{instrument.id}: a market order needs its worst price", venue=self.context.name)
        if instrument.only_isolated and not intent.reduce_only:
            raise OrderDenied(f"{instrument.id} trades in an isolated account only, which is not supported", venue=self.context.name)
        client_id = intent.client_order_id
        if client_id is not None and not (client_id.isascii() and client_id.isprintable() and 0 < len(client_id) <= MAX_CLIENT_ID):
            raise OrderDenied(f"client order id {client_id!r} is not 1 to {MAX_CLIENT_ID} printable characters", venue=self.context.name)

    def _looks_like_client_id(self, any_id: str) -> bool:
        """The venue's own ids are numbers of 28 digits."""
        return not (len(any_id) == VENUE_ID and any_id.isdigit())

    def _wire(self, order: Order, instrument: Instrument) -> m.NewOrder:
        intent = order.intent
        instruction = "GTC"
        if intent.order_type is OrderType.MARKET or (intent.order_type is OrderType.LIMIT and intent.time_in_force is TimeInForce.IOC):
            instruction = "IOC"
        elif intent.post_only:
            instruction = "POST_ONLY"
        return m.NewOrder(
            market=instrument.venue_symbol,
            side=intent.side.value.upper(),
            type=_type(intent),
            size=wire_number(instrument.to_venue_size(intent.quantity)),
            price=_price(intent, instrument),
            instruction=instruction,
            client_id=order.client_order_id or "",
            flags=_flags(intent),
            trigger_price=_trigger(intent, instrument),
            recv_window=ORDER_LIFE_MS,
        )

    def encode_place(self, order: Order, instrument: Instrument) -> Command:
        action = m.Action("POST", "/v1/orders", body=self._wire(order, instrument), rpc="order.create")
        return self._command("place", action, LANES[order.intent.purpose], [order])

    def _command(self, endpoint: str, action: m.Action, lane: Lane, orders: Sequence[Order] = ()) -> Command:
        channel = self.context.command_channel
        cost = SOCKET_COST if channel is Channel.WS else ORDER_COST
        return Command(endpoint=endpoint, payload=action, lane=lane, channel=channel, cost=cost, client_order_ids=ids_of(orders))

    def decode_place(self, reply: Any, order: Order) -> OrderAck:
        """NEW: taken into the queue. Whatever else it says already, the order itself is told by streams and queries."""
        placed = _order_of(reply)
        self._same(placed, order)
        return OrderAck(client_order_id=order.client_order_id or "", order_id=placed.id, status=OrderStatus.SUBMITTED)

    def _same(self, placed: m.Order, order: Order) -> None:
        if placed.client_id not in ("", order.client_order_id):
            raise DecodeError(f"the answer speaks of order {placed.client_id!r}", venue=self.context.name)

    def encode_place_many(self, orders: Sequence[Order], instruments: Sequence[Instrument]) -> Command:
        body = [self._wire(order, instrument) for order, instrument in zip(orders, instruments, strict=True)]
        action = m.Action("POST", "/v1/orders/batch", body=body, rpc="order.create_batch")
        return self._command("place_batch", action, most_urgent(orders), orders)

    def decode_place_many(self, reply: Any, orders: Sequence[Order]) -> list[OrderAck | VenueError]:
        """Accepted orders are found by client id. The refusals of the others come in a list of their own, in order."""
        if isinstance(reply, msgspec.Raw):
            placed = _decode(reply, m.PlacedMany).results
            answer = m.BatchAnswer([one.order for one in placed], [m.Failure(one.error, one.error) for one in placed if one.error])
        else:
            answer = reply
        taken = {one.client_id: one for one in answer.orders or [] if one is not None}
        failures = [one for one in answer.errors or [] if one is not None]
        missing = [order for order in orders if order.client_order_id not in taken]
        if len(missing) != len(failures):
            unknown = DecodeError(f"{len(failures)} refusals for {len(missing)} orders that were not taken", venue=self.context.name)
            failed: dict[Order, VenueError] = dict.fromkeys(missing, unknown)
        else:
            failed = {order: self._refusal(one.error, one.message) for order, one in zip(missing, failures, strict=True)}
        outcomes: list[OrderAck | VenueError] = []
        for order in orders:
            found = taken.get(order.client_order_id or "")
            if found is None:
                outcomes.append(failed[order])
            else:
                outcomes.append(OrderAck(client_order_id=found.client_id, order_id=found.id, status=OrderStatus.SUBMITTED))
        return outcomes

    def _refusal(self, code: str, message: str) -> VenueError:
        """Of one row of a batch. Words that we do not know, and those of an outage, refuse nothing: the order is looked up."""
        return classify(ERRORS, venue=self.context.name, code=code, message=message or code)

    # ---- cancel

    def encode_cancel(self, order: Order, instrument: Instrument) -> Command:
        """By venue id, else by client id and market."""
        if order.order_id is not None:
            action = m.Action("DELETE", f"/v1/orders/{quote(order.order_id, safe='')}", rpc="order.cancel", params={"id": order.order_id})
            return self._command("cancel", action, Lane.CANCEL, [order])
        client_id, market = order.client_order_id or "", instrument.venue_symbol
        action = m.Action(
            "DELETE",
            f"/v1/orders/by_client_id/{quote(client_id, safe='')}",
            query=(("market", market),),
            rpc="order.cancel",
            params={"client_id": client_id, "market": market},
        )
        return self._command("cancel_by_client_id", action, Lane.CANCEL, [order])

    def decode_cancel(self, reply: Any, order: Order) -> None:
        """204, or QUEUED_FOR_CANCELLATION on the socket: queued, not done."""
        if isinstance(reply, msgspec.Raw):
            _cancelled(_decode(reply, m.Cancelled).status)

    def encode_cancel_many(self, orders: Sequence[Order], instruments: Sequence[Instrument]) -> Command:
        """Over REST always: on the socket the batch takes no client ids."""
        body = {
            "order_ids": [order.order_id for order in orders if order.order_id is not None],
            "client_order_ids": [order.client_order_id for order in orders if order.order_id is None],
        }
        action = m.Action("DELETE", "/v1/orders/batch", body={name: ids for name, ids in body.items() if ids})
        return Command(endpoint="cancel_batch", payload=action, lane=Lane.CANCEL, cost=ORDER_COST, client_order_ids=ids_of(orders))

    def decode_cancel_many(self, reply: m.CancelResults, orders: Sequence[Order]) -> list[VenueError | None]:
        by_id = {any_id: row.status for row in reply.results for any_id in (row.id, row.client_id) if any_id}
        outcomes: list[VenueError | None] = []
        for order in orders:
            status = by_id.get(order.order_id or "") or by_id.get(order.client_order_id or "")
            try:
                _cancelled(status or "absent from the answer")
            except VenueError as e:
                outcomes.append(e)
            else:
                outcomes.append(None)
        return outcomes

    def encode_cancel_all(self, instrument: Instrument | None) -> Command:
        query = (("market", instrument.venue_symbol),) if instrument is not None else ()
        action = m.Action("DELETE", "/v1/orders", query=query, rpc="order.cancel_all", params=dict(query))
        return self._command("cancel_all", action, Lane.CANCEL)

    # ---- amend

    def encode_amend(self, order: Order, intent: OrderIntent, instrument: Instrument) -> Command:
        """All terms again, signed with the order's id, which it keeps."""
        if order.order_id is None:
            raise OrderDenied(f"order {order.client_order_id} has no venue id yet: it is only queued", venue=self.context.name)
        body = m.ModifyOrder(
            id=order.order_id,
            market=instrument.venue_symbol,
            side=intent.side.value.upper(),
            type=_type(intent),
            size=wire_number(instrument.to_venue_size(intent.quantity)),
            price=_price(intent, instrument),
            trigger_price=_trigger(intent, instrument),
        )
        action = m.Action("PUT", f"/v1/orders/{quote(order.order_id, safe='')}", body=body, rpc="order.modify")
        return self._command("modify", action, LANES[intent.purpose], [order])

    def decode_amend(self, reply: Any, order: Order) -> str | None:
        amended = _order_of(reply)
        request = amended.request_info
        self._asked[amended.id] = request.id if request is not None and request.status != "REJECTED" else ""
        return amended.id

    async def prove_amend(self, order: Order, intent: OrderIntent) -> None:
        """The yes only queued it: the order shows the new terms, or `request_info` says that it was refused, it and no earlier one."""
        asked = self._asked.pop(order.order_id or "", "")
        clock = self.context.runtime.clock
        end = clock.monotonic() + self.context.config.command_timeout_s
        instrument = self.context.instruments.get(intent.instrument)
        while True:
            row = await self._order_row(order.order_id, order.client_order_id)
            if row is not None:
                info, request = converters.order(row, instrument), row.request_info
                self.context.tracker.on_order(info)
                if (info.price, info.size, info.trigger_price) == (_told(intent), intent.quantity, intent.trigger_price):
                    return
                if request is not None and _rejected(request) and (request.id == asked or not asked) and request.id not in self._judged:
                    self._judged += [request.id] if request.id else []
                    raise OrderRefused(f"the amend was refused: {request.message or 'no reason given'}", venue=self.context.name)
                if info.status.is_terminal:
                    raise OrderNotFound(f"the order ended before it was amended ({info.status})", venue=self.context.name)
            if clock.monotonic() > end:
                raise RequestTimeout("the order does not show its new terms", venue=self.context.name)
            await clock.sleep(AMEND_QUERY_EVERY_S)

    # ---- queries

    async def _order_row(self, order_id: str | None, client_id: str | None) -> m.Order | None:
        """By client id where there is one: by its own id the venue knows an order only while it is open."""
        try:
            if client_id:
                row: m.Order = await self.rest.query("order/by_client_id", client_id=client_id)
            else:
                row = await self.rest.query("order", order_id=order_id)
        except OrderNotFound:
            return None
        return row

    async def fetch_order(
        self, instrument: Instrument | None, *, order_id: str | None = None, client_order_id: str | None = None
    ) -> OrderInfo | None:
        """Open or queued ones by id; ended ones by client id, then in the history (of the last week where only the venue id is known)."""
        if not client_order_id and not order_id:
            return None
        row = await self._order_row(order_id, client_order_id)
        if row is None and client_order_id:
            rows: m.Results[m.Order] = await self.rest.query("orders-history", client_id=client_order_id, page_size=HISTORY_PAGE)
            wanted = [one for one in rows.results if one.client_id == client_order_id and order_id in (None, one.id)]
            row = max(wanted, key=lambda one: one.created_at, default=None)
        if row is None and order_id:
            row = await self._in_history(order_id, instrument)
        if row is None:
            return None
        return self._info(row)

    async def _in_history(self, order_id: str, instrument: Instrument | None) -> m.Order | None:
        """Of the last week, or as far back as the order that we know."""
        since_ns = self.context.venue_time.now_ns() - 7 * 86_400 * NS_PER_S
        known = self.context.tracker.find(order_id)
        if known is not None and known.created_ns:
            since_ns = min(since_ns, known.created_ns - 60 * NS_PER_S)
        market = instrument.venue_symbol if instrument is not None else None
        for row in await fetch_pages(self.rest, "orders-history", HISTORY_PAGE, since_ns, None, market=market):
            if row.id == order_id:
                found: m.Order = row
                return found
        return None

    def _info(self, row: m.Order) -> OrderInfo:
        instrument = self.context.instruments.by_contract(row.market)
        if instrument is None:
            raise DecodeError(f"order {row.id} is in {row.market}, which is not listed here", venue=self.context.name)
        return converters.order(row, instrument)

    async def fetch_open_orders(self, instrument: Instrument | None = None) -> list[OrderInfo]:
        market = instrument.venue_symbol if instrument is not None else None
        rows: m.Results[m.Order] = await self.rest.query("open_orders", market=market)
        return [converters.order(row, listed) for row, listed in self.context.instruments.known(rows.results, lambda row: row.market)]

    async def fetch_order_history(self, *, since_ns: int, instrument: Instrument | None = None) -> list[OrderInfo]:
        market = instrument.venue_symbol if instrument is not None else None
        rows = await fetch_pages(self.rest, "orders-history", HISTORY_PAGE, since_ns, None, market=market)
        return [converters.order(row, listed) for row, listed in self.context.instruments.known(rows, lambda row: row.market)]

    async def fetch_fills(self, *, since_ns: int, until_ns: int | None = None, instrument: Instrument | None = None) -> list[Fill]:
        market = instrument.venue_symbol if instrument is not None else None
        rows = await fetch_pages(self.rest, "fills", FILLS_PAGE, since_ns, until_ns, market=market)
        pairs = self.context.instruments.known(rows, lambda row: row.market)
        return [own_side(self.context, converters.fill(row, listed)) for row, listed in pairs]


def own_side(context: ClientContext, fill: Fill) -> Fill:
    """The venue's text calls a fill's side "taker side" in one place: where we know the order, its side is the truth."""
    order = context.tracker.order_of(fill)
    if order is None or order.intent.side is fill.side:
        return fill
    context.log.warning("fill.side_of_taker")
    return msgspec.structs.replace(fill, side=order.intent.side)


def _type(intent: OrderIntent) -> str:
    """Stops that only reduce are the venue's STOP_LOSS types, which say their direction by themselves."""
    return _REDUCING.get(intent.order_type, _TYPES[intent.order_type]) if intent.reduce_only else _TYPES[intent.order_type]


def _rejected(request: m.RequestInfo) -> bool:
    return request.request_type.startswith("MODIFY") and request.status == "REJECTED"


def _flags(intent: OrderIntent) -> list[str]:
    flags = ["REDUCE_ONLY"] if intent.reduce_only else []
    if intent.order_type in _REDUCING and not intent.reduce_only:
        flags.append("STOP_CONDITION_ABOVE_TRIGGER" if intent.side is Side.BUY else "STOP_CONDITION_BELOW_TRIGGER")
    return flags


def _price(intent: OrderIntent, instrument: Instrument) -> str:
    """Triggered market orders have none, in the message as in the hash."""
    if intent.order_type in _PRICELESS or intent.price is None:
        return "0"
    return wire_number(instrument.to_venue_price(intent.price))


def _told(intent: OrderIntent) -> Decimal | None:
    """The price that the venue will show."""
    return None if intent.order_type in _PRICELESS else intent.price


def _trigger(intent: OrderIntent, instrument: Instrument) -> str:
    if intent.order_type not in TRIGGER_TYPES or intent.trigger_price is None:
        return ""
    return wire_number(instrument.to_venue_price(intent.trigger_price))


def _decode(reply: msgspec.Raw, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(reply, type=kind, strict=False)
    except msgspec.DecodeError as e:
        raise DecodeError(f"answer on the socket: {e}", venue="paradex") from e


def _order_of(reply: Any) -> m.Order:
    """By REST the order itself, on the socket in an envelope."""
    if isinstance(reply, m.Order):
        return reply
    order: m.Order | None = _decode(reply, m.Placed).order
    if order is None:
        raise DecodeError("an answer without an order", venue="paradex")
    return order


def _cancelled(status: str) -> None:
    if status != _QUEUED:
        raise OrderNotFound(f"not canceled: {status}", venue="paradex", code=status)
