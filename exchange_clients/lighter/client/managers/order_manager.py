"""Orders: our intents as transactions, queued answers, and the records that prove what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from exchange_clients.base_managers import LANES, BaseOrderManager, ids_of, most_urgent
from exchange_clients.context import ClientContext
from exchange_clients.errors import DecodeError, OrderDenied, OrderOutcomeUnknown, VenueError
from exchange_clients.lighter import messages as m
from exchange_clients.lighter.client.utils import converters
from exchange_clients.lighter.client.utils.caching import identity_of
from exchange_clients.lighter.client.utils.helpers import base_amount, wire_price
from exchange_clients.lighter.common import DEFAULT_LIFE_S, FIRST_VENUE_ID, LONGEST_LIFE_S, NONCE_SCOPE, SHORTEST_LIFE_S, SWITCH_S
from exchange_clients.lighter.signing import Attribute, Tx, TxType
from exchange_clients.model import (
    MARKET_TYPES,
    NS_PER_MS,
    NS_PER_S,
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
from exchange_clients.paging import newest_first
from exchange_clients.signing import Command

PAGE: Final = 100
LOOKUP_PAGES: Final = 10
_TYPES: Final = {
    OrderType.LIMIT: 0,
    OrderType.MARKET: 1,
    OrderType.STOP_MARKET: 2,
    OrderType.STOP_LIMIT: 3,
    OrderType.TAKE_PROFIT_MARKET: 4,
    OrderType.TAKE_PROFIT_LIMIT: 5,
}
_IMMEDIATE, _GOOD_TILL_TIME, _POST_ONLY = 0, 1, 2
_ONE_TRIGGERS_OTHER, _ONE_CANCELS_OTHER, _ONE_TRIGGERS_PAIR = 1, 2, 3
_NOW, _SCHEDULED, _ABORT = 0, 1, 2


def command(context: ClientContext, payload: Tx | Sequence[Tx], lane: Lane, *, ids: tuple[str, ...] = ()) -> Command:
    """A transaction, or several as one batch, over the configured channel."""
    txs = [payload] if isinstance(payload, Tx) else list(payload)
    if context.config.venue_options.get("skip_nonce"):
        txs = [tx.with_attribute(Attribute.SKIP_NONCE, 1) for tx in txs]
    batch = not isinstance(payload, Tx)
    return Command(
        endpoint="sendTxBatch" if batch else "sendTx",
        payload=tuple(txs) if batch else txs[0],
        lane=lane,
        channel=context.command_channel,
        nonce_scope=NONCE_SCOPE,
        nonces=len(txs),
        client_order_ids=ids,
    )


async def fetch_page(context: ClientContext, endpoint: str, instrument: Instrument | None, cursor: str | None, **arguments: Any) -> Any:
    """A page of the account's records, newest first."""
    return await context.rest.query(
        endpoint,
        account_index=identity_of(context).account_index,
        limit=PAGE,
        market_id=instrument.contract_id if instrument is not None else None,
        cursor=cursor,
        **arguments,
    )


class LighterOrderManager(BaseOrderManager):
    """A yes of the venue means queued: streams and look-ups prove the order. Cancels and amends name it by either id."""

    def check(self, intent: OrderIntent, instrument: Instrument) -> None:
        """Also what would not fit into the wire's integers."""
        super().check(intent, instrument)
        client_id = intent.client_order_id
        if client_id is not None and not (client_id.isdecimal() and 0 < int(client_id) < FIRST_VENUE_ID):
            raise OrderDenied(f"client order id {client_id!r} is not a number from 1 to 2^48 - 1", venue=self.context.name)
        base_amount(intent.quantity, instrument)
        for price in (intent.price, intent.trigger_price):
            if price is not None:
                wire_price(price, instrument)

    def prepare(self, intent: OrderIntent) -> tuple[Order, Instrument]:
        if intent.expire_ns is not None:
            life_s = (intent.expire_ns - self.context.venue_time.now_ns()) / NS_PER_S
            if not SHORTEST_LIFE_S <= life_s <= LONGEST_LIFE_S:
                raise OrderDenied(
                    f"an order lives {SHORTEST_LIFE_S:g} s to {LONGEST_LIFE_S:g} s, not {life_s:g} s", venue=self.context.name
                )
        return super().prepare(intent)

    # ---- place

    def encode_place(self, order: Order, instrument: Instrument) -> Command:
        return command(self.context, self._create(order, instrument), LANES[order.intent.purpose], ids=ids_of([order]))

    def encode_place_many(self, orders: Sequence[Order], instruments: Sequence[Instrument]) -> Command:
        txs = [self._create(order, instrument) for order, instrument in zip(orders, instruments, strict=True)]
        return command(self.context, txs, most_urgent(orders), ids=ids_of(orders))

    def encode_bracket(self, entry: Order, take_profit: Order | None, stop_loss: Order | None, instrument: Instrument) -> Command:
        """The exits wait for the entry and cancel each other. They close what the entry opened: their size follows it."""
        exits = [order for order in (stop_loss, take_profit) if order is not None]
        expiry = self._expiry_ms(entry.intent) or self._expiry_ms(exits[0].intent, always=True)
        children = [{**self._fields(order, instrument), "BaseAmount": 0, "OrderExpiry": expiry} for order in exits]
        kind = _ONE_TRIGGERS_PAIR if len(exits) == 2 else _ONE_TRIGGERS_OTHER
        group = Tx(TxType.CREATE_GROUPED_ORDERS, {"GroupingType": kind}, (self._fields(entry, instrument), *children))
        return command(self.context, group, LANES[entry.intent.purpose], ids=ids_of([entry, *exits]))

    async def place_bracket(
        self, entry: OrderIntent, take_profit: OrderIntent | None, stop_loss: OrderIntent | None
    ) -> list[OrderInfo | VenueError]:
        exits = [intent for intent in (take_profit, stop_loss) if intent is not None]
        if not exits or any(not intent.reduce_only or intent.side is entry.side for intent in exits):
            raise OrderDenied("a bracket has one or two reduce-only exits on the other side", venue=self.context.name)
        return await super().place_bracket(entry, take_profit, stop_loss)

    async def place_exits(self, take_profit: OrderIntent, stop_loss: OrderIntent) -> list[OrderInfo | VenueError]:
        """A reduce-only take-profit and stop-loss of equal size that cancel each other (OCO).

        One outcome per exit; raises as `place` when one of them is refused before sending.
        """
        alike = (take_profit.side, take_profit.quantity) == (stop_loss.side, stop_loss.quantity)
        if not alike or not (take_profit.reduce_only and stop_loss.reduce_only):
            raise OrderDenied("two exits are reduce-only, of one side and of one size", venue=self.context.name)
        prepared = self.prepare_together([take_profit, stop_loss])
        orders = [order for order, _ in prepared]
        expiry = self._expiry_ms(stop_loss, always=True)
        with self.unsent(orders):
            legs = tuple({**self._fields(order, instrument), "OrderExpiry": expiry} for order, instrument in prepared)
        group = Tx(TxType.CREATE_GROUPED_ORDERS, {"GroupingType": _ONE_CANCELS_OTHER}, legs)
        return await self._send_together(orders, command(self.context, group, most_urgent(orders), ids=ids_of(orders)))

    def _create(self, order: Order, instrument: Instrument) -> Tx:
        return Tx(TxType.CREATE_ORDER, self._fields(order, instrument))

    def _fields(self, order: Order, instrument: Instrument) -> dict[str, int]:
        intent = order.intent
        assert intent.price is not None  # `check` saw to it
        return {
            "MarketIndex": int(instrument.contract_id),
            "ClientOrderIndex": int(order.client_order_id or 0),
            "BaseAmount": base_amount(intent.quantity, instrument),
            "Price": wire_price(intent.price, instrument),
            "IsAsk": int(intent.side is Side.SELL),
            "Type": _TYPES[intent.order_type],
            "TimeInForce": _IMMEDIATE if _is_immediate(intent) else _POST_ONLY if intent.post_only else _GOOD_TILL_TIME,
            "ReduceOnly": int(intent.reduce_only),
            "TriggerPrice": wire_price(intent.trigger_price, instrument) if intent.trigger_price is not None else 0,
            "OrderExpiry": self._expiry_ms(intent),
        }

    def _expiry_ms(self, intent: OrderIntent, *, always: bool = False) -> int:
        """0 for what ends at once; triggers end even when what they send is immediate."""
        if _is_immediate(intent) and intent.trigger_price is None and not always:
            return 0
        if intent.expire_ns is not None:
            return intent.expire_ns // NS_PER_MS
        return self.context.venue_time.now_ms() + round(DEFAULT_LIFE_S * 1000)

    def decode_place(self, reply: m.Sent, order: Order) -> OrderAck:
        return OrderAck(client_order_id=order.client_order_id or "", order_id=None, status=OrderStatus.SUBMITTED)

    def decode_place_many(self, reply: m.Sent, orders: Sequence[Order]) -> list[OrderAck | VenueError]:
        """All were queued: a batch that is not wholly valid is refused as one. A group is one transaction for all its orders."""
        if isinstance(reply.tx_hash, list) and len(reply.tx_hash) != len(orders):
            raise DecodeError(f"{len(reply.tx_hash)} hashes for {len(orders)} orders", venue=self.context.name)
        return [self.decode_place(reply, order) for order in orders]

    # ---- cancel and amend

    def encode_cancel(self, order: Order, instrument: Instrument) -> Command:
        return command(self.context, self._cancel(order, instrument), Lane.CANCEL, ids=ids_of([order]))

    def encode_cancel_many(self, orders: Sequence[Order], instruments: Sequence[Instrument]) -> Command:
        txs = [self._cancel(order, instrument) for order, instrument in zip(orders, instruments, strict=True)]
        return command(self.context, txs, Lane.CANCEL, ids=ids_of(orders))

    def decode_cancel_many(self, reply: m.Sent, orders: Sequence[Order]) -> list[VenueError | None]:
        return [None] * len(orders)

    def _cancel(self, order: Order, instrument: Instrument) -> Tx:
        return Tx(TxType.CANCEL_ORDER, {"MarketIndex": int(instrument.contract_id), "Index": _index(order)})

    def encode_cancel_all(self, instrument: Instrument | None) -> Command:
        tx = Tx(TxType.CANCEL_ALL_ORDERS, {"TimeInForce": _NOW, "Time": 0})
        if instrument is not None:
            tx = tx.with_attribute(Attribute.CANCEL_ALL_MARKET_INDEX, int(instrument.contract_id))
        return command(self.context, tx, Lane.CANCEL)

    def encode_dead_man_switch(self, timeout_s: float | None) -> Command:
        if timeout_s is None:
            return command(self.context, Tx(TxType.CANCEL_ALL_ORDERS, {"TimeInForce": _ABORT, "Time": 0}), Lane.CANCEL)
        shortest, longest = SWITCH_S
        if not shortest <= timeout_s <= longest:
            raise OrderDenied(f"the switch waits {shortest:g} s to {longest:g} s", venue=self.context.name)
        time_ms = self.context.venue_time.now_ms() + round(timeout_s * 1000)
        return command(self.context, Tx(TxType.CANCEL_ALL_ORDERS, {"TimeInForce": _SCHEDULED, "Time": time_ms}), Lane.CANCEL)

    def encode_amend(self, order: Order, intent: OrderIntent, instrument: Instrument) -> Command:
        """The amount is the order's whole size, fills included."""
        assert intent.price is not None
        fields = {
            "MarketIndex": int(instrument.contract_id),
            "Index": _index(order),
            "BaseAmount": base_amount(intent.quantity, instrument),
            "Price": wire_price(intent.price, instrument),
            "TriggerPrice": wire_price(intent.trigger_price, instrument) if intent.trigger_price is not None else 0,
        }
        return command(self.context, Tx(TxType.MODIFY_ORDER, fields), LANES[intent.purpose], ids=ids_of([order]))

    # ---- records

    def _looks_like_client_id(self, any_id: str) -> bool:
        return any_id.isdecimal() and int(any_id) < FIRST_VENUE_ID

    async def fetch_order(
        self, instrument: Instrument | None, *, order_id: str | None = None, client_order_id: str | None = None
    ) -> OrderInfo | None:
        """By client id where there is one: a look-up of its own. Else among open orders, then in the newest of the history.

        Raises:
            OrderOutcomeUnknown: the venue has no look-up by its own id, and the newest 1,000 ended orders do not show it.
        """
        account = identity_of(self.context).account_index
        if client_order_id is not None:
            reply: m.Orders = await self.rest.query("accountOrders", account_index=account, client_order_indexes=client_order_id)
            found = [info for info in self._infos(reply.orders) if info.client_order_id == client_order_id]
            if order_id is not None:
                found = [info for info in found if info.order_id == order_id] or found
            return max(found, key=lambda info: info.created_ns or 0, default=None)
        if order_id is None or not order_id.isdecimal() or int(order_id) < FIRST_VENUE_ID:
            return None
        for info in await self.fetch_open_orders(instrument):
            if info.order_id == order_id:
                return info
        cursor: str | None = None
        for _ in range(LOOKUP_PAGES):
            infos, cursor = await self._ended(instrument, cursor)
            for info in infos:
                if info.order_id == order_id:
                    return info
            if not cursor:
                return None
        raise OrderOutcomeUnknown(
            f"order {order_id} is too old to be found", client_order_id="", order_id=order_id, venue=self.context.name
        )

    async def fetch_open_orders(self, instrument: Instrument | None = None) -> list[OrderInfo]:
        market = instrument.contract_id if instrument is not None else None
        reply: m.Orders = await self.rest.query(
            "accountActiveOrders", account_index=identity_of(self.context).account_index, market_id=market
        )
        return self._infos(reply.orders)

    async def fetch_order_history(self, *, since_ns: int, instrument: Instrument | None = None) -> list[OrderInfo]:
        async def ask(cursor: str | None) -> tuple[list[OrderInfo], str | None]:
            return await self._ended(instrument, cursor)

        return await newest_first(ask, key=lambda i: i.order_id, time_ns=lambda i: i.updated_ns or 0, since_ns=since_ns)

    async def _ended(self, instrument: Instrument | None, cursor: str | None) -> tuple[list[OrderInfo], str | None]:
        """A page of ended orders and where the next begins."""
        reply: m.Orders = await fetch_page(self.context, "accountInactiveOrders", instrument, cursor)
        return self._infos(reply.orders), reply.next_cursor if reply.orders else None

    def _infos(self, rows: Sequence[m.OrderRow]) -> list[OrderInfo]:
        return [converters.order(row, i) for row, i in self.context.instruments.known(rows, lambda row: row.market_index)]

    async def fetch_fills(self, *, since_ns: int, until_ns: int | None = None, instrument: Instrument | None = None) -> list[Fill]:
        account, find = identity_of(self.context).account_index, self.context.instruments.by_contract

        async def ask(cursor: str | None) -> tuple[list[Fill], str | None]:
            reply: m.Trades = await fetch_page(self.context, "trades", instrument, cursor, sort_by="timestamp")
            return converters.fills(reply.trades, find, account), reply.next_cursor if reply.trades else None

        return await newest_first(
            ask, key=lambda f: (f.instrument, f.trade_id, f.side), time_ns=lambda f: f.ts_venue_ns, since_ns=since_ns, until_ns=until_ns
        )


def _is_immediate(intent: OrderIntent) -> bool:
    """Whether what reaches the book takes at once or ends: market orders do, whatever time in force is said."""
    return intent.time_in_force is TimeInForce.IOC or intent.order_type in MARKET_TYPES


def _index(order: Order) -> int:
    """The venue's id once it is known, else the client's."""
    return int(order.order_id or order.client_order_id or 0)
