"""Orders: our intents as Hyperliquid's actions, its answers as ours."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

import msgspec

from exchange_clients.base_managers import LANES, BaseOrderManager, ids_of, most_urgent
from exchange_clients.context import ClientContext
from exchange_clients.errors import DecodeError, OrderDenied, OrderOutcomeUnknown, Outcome, RequestTimeout, UnknownInstrument, VenueError
from exchange_clients.hyperliquid import messages as m
from exchange_clients.hyperliquid.client.managers.market_data import configured_dexes, fetch_rows, fetch_since
from exchange_clients.hyperliquid.client.utils import converters
from exchange_clients.hyperliquid.client.utils.caching import venue_cache
from exchange_clients.hyperliquid.client.utils.helpers import wire_number
from exchange_clients.hyperliquid.common import LOOKUP_GRACE_S, refusal
from exchange_clients.hyperliquid.signing import NONCE_SCOPE, trading_address
from exchange_clients.model import (
    MARKET_TYPES,
    NS_PER_MS,
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
    Side,
    TimeInForce,
)
from exchange_clients.orders import Order
from exchange_clients.signing import Channel, Command

FILLS_PAGE: Final = 2000
AMEND_QUERY_EVERY_S: Final = 1.0
SHORTEST_SWITCH_S: Final = 5.0
_CLIENT_ID: Final = re.compile(r"0x[0-9a-f]{32}")
_UNTRIGGERED: Final = frozenset({OrderStatus.SUBMITTED, OrderStatus.UNKNOWN, OrderStatus.PENDING})
_TAKE_PROFITS: Final = frozenset({OrderType.TAKE_PROFIT_MARKET, OrderType.TAKE_PROFIT_LIMIT})


def command(
    context: ClientContext, action: m.Action, lane: Lane, *, weight: int = 1, counted: int = 0, ids: tuple[str, ...] = ()
) -> Command:
    """An action over the configured channel. `counted` ones draw on the address budget, for which cancels, that have more, never wait."""
    if lane is Lane.CANCEL and context.limiter.headroom("address") < counted:
        counted = 0
    cost = {"ip": weight, "address": counted} | ({"ws": 1, "posts": 1} if context.command_channel is Channel.WS else {})
    return Command(
        endpoint="exchange",
        payload=action,
        lane=lane,
        channel=context.command_channel,
        nonce_scope=NONCE_SCOPE,
        cost=cost,
        client_order_ids=ids,
    )


def order_info(context: ClientContext, update: m.OrderUpdate) -> OrderInfo | None:
    """An order as ours, with what was filled before an amend; None for markets that this client does not list."""
    instrument = context.instruments.by_contract(update.order.coin)
    if instrument is None:
        return None
    info = converters.order_update(update, instrument, filled_before=venue_cache(context).filled_before(update.order))
    known = context.tracker.find(info.client_order_id or info.order_id or "")
    if update.order.orderType is None and update.status == "open" and _waits_for_trigger(known, info):
        return msgspec.structs.replace(info, status=OrderStatus.PENDING)
    if known is not None and known.status.is_terminal and info.order_id not in (known.order_id, *known.previous_ids):
        # Client ids may be used again, and somebody else may amend our order: what lives under the id of one that ended is another order.
        return msgspec.structs.replace(info, client_order_id=None)
    return info


def _waits_for_trigger(known: Order | None, info: OrderInfo) -> bool:
    """The short form of the stream does not say that it speaks of a trigger order; what we sent does."""
    trigger = known is not None and known.intent.order_type in TRIGGER_TYPES and known.status in _UNTRIGGERED
    return trigger and info.status is OrderStatus.OPEN


class HyperliquidOrderManager(BaseOrderManager):
    """One action carries up to `max_batch` orders and has one status per order. Market orders are IOC limits; amends replace the order."""

    # ---- place

    def check(self, intent: OrderIntent, instrument: Instrument) -> None:
        super().check(intent, instrument)
        if intent.client_order_id is not None and not self._looks_like_client_id(intent.client_order_id):
            raise OrderDenied(f"client order id {intent.client_order_id!r} is not 0x and 32 lower-case hex digits", venue=self.context.name)

    def _looks_like_client_id(self, any_id: str) -> bool:
        return _CLIENT_ID.fullmatch(any_id) is not None

    def encode_place(self, order: Order, instrument: Instrument) -> Command:
        return self.encode_place_many([order], [instrument])

    def encode_place_many(self, orders: Sequence[Order], instruments: Sequence[Instrument]) -> Command:
        wires = [self._wire(order, order.intent, instrument) for order, instrument in zip(orders, instruments, strict=True)]
        return self._place(m.PlaceOrders(wires, "na"), orders)

    def encode_bracket(self, entry: Order, take_profit: Order | None, stop_loss: Order | None, instrument: Instrument) -> Command:
        """Group normalTpsl: the exits wait for the entry's fill and cancel each other."""
        orders = [order for order in (entry, take_profit, stop_loss) if order is not None]
        return self._place(m.PlaceOrders([self._wire(order, order.intent, instrument) for order in orders], "normalTpsl"), orders)

    async def place_position_exits(self, exits: Sequence[OrderIntent]) -> list[OrderInfo | VenueError]:
        """Take profit and stop loss of the whole position (group positionTpsl): their size follows the position.

        One outcome per exit; raises as `place` when one of them is refused before sending.
        """
        prepared = self.prepare_together(exits)
        orders = [order for order, _ in prepared]
        with self.unsent(orders):
            wires = [self._wire(order, order.intent, instrument) for order, instrument in prepared]
            group = self._place(m.PlaceOrders(wires, "positionTpsl"), orders)
        return await self._send_together(orders, group)

    def _place(self, action: m.PlaceOrders, orders: Sequence[Order]) -> Command:
        return command(self.context, action, most_urgent(orders), weight=1 + len(orders) // 40, counted=len(orders), ids=ids_of(orders))

    def _wire(self, order: Order, intent: OrderIntent, instrument: Instrument, *, filled: Decimal = ZERO) -> m.OrderWire:
        assert intent.price is not None  # `check` saw to it
        kind: m.OrderKind
        if intent.order_type in TRIGGER_TYPES:
            assert intent.trigger_price is not None
            trigger = wire_number(instrument.to_venue_price(intent.trigger_price))
            tpsl = "tp" if intent.order_type in _TAKE_PROFITS else "sl"
            kind = m.OrderKind(trigger=m.TriggerSpec(intent.order_type in MARKET_TYPES, trigger, tpsl))
        elif intent.time_in_force is TimeInForce.IOC:
            kind = m.OrderKind(limit=m.LimitSpec("Ioc"))
        else:
            kind = m.OrderKind(limit=m.LimitSpec("Alo" if intent.post_only else "Gtc"))
        return m.OrderWire(
            a=venue_cache(self.context).number(instrument),
            b=intent.side is Side.BUY,
            p=wire_number(instrument.to_venue_price(intent.price)),
            s=wire_number(instrument.to_venue_size(intent.quantity - filled)),
            r=intent.reduce_only,
            t=kind,
            c=order.client_order_id,
        )

    def decode_place(self, reply: m.Reply, order: Order) -> OrderAck:
        outcome = self.decode_place_many(reply, [order])[0]
        if isinstance(outcome, VenueError):
            raise outcome
        return outcome

    def decode_place_many(self, reply: m.Reply, orders: Sequence[Order]) -> list[OrderAck | VenueError]:
        """A check that fails before the orders are looked at is told once and stops all of them."""
        statuses = self._statuses(reply)
        if len(statuses) == 1 and len(orders) > 1 and isinstance(statuses[0], m.Status) and statuses[0].error is not None:
            statuses = statuses * len(orders)
        if len(statuses) != len(orders):
            raise DecodeError(f"{len(statuses)} statuses for {len(orders)} orders", venue=self.context.name)
        return [self._outcome(status, order) for status, order in zip(statuses, orders, strict=True)]

    def _statuses(self, reply: m.Reply) -> list[m.Status | str]:
        body = reply.response
        if reply.status == "err":
            raise refusal(str(body))
        if reply.status != "ok" or not isinstance(body, m.ReplyBody) or not isinstance(body.data, m.ReplyData):
            raise DecodeError(f"answer {reply.status!r} has no statuses", venue=self.context.name)
        return body.data.statuses

    def _outcome(self, status: m.Status | str, order: Order) -> OrderAck | VenueError:
        client_id = order.client_order_id or ""
        if isinstance(status, str):
            if status in ("waitingForFill", "waitingForTrigger"):
                return OrderAck(client_order_id=client_id, order_id=None, status=OrderStatus.PENDING)
            return DecodeError(f"status {status!r} of a placed order", venue=self.context.name)
        if status.error is not None:
            return refusal(status.error)
        if status.resting is not None:
            waits = order.intent.order_type in TRIGGER_TYPES
            state = OrderStatus.PENDING if waits else OrderStatus.OPEN
            return OrderAck(client_order_id=client_id, order_id=str(status.resting.oid), status=state)
        if status.filled is None:
            return DecodeError("empty status of a placed order", venue=self.context.name)
        instrument = self.context.instruments.get(order.intent.instrument)
        filled = converters.size_of(status.filled.totalSz, instrument, "totalSz")
        state = OrderStatus.FILLED
        if filled < order.intent.quantity:
            # "filled" is also said of an IOC that was filled in part; what was left of it is gone.
            state = OrderStatus.CANCELED if order.intent.time_in_force is TimeInForce.IOC else OrderStatus.PARTIALLY_FILLED
        return OrderAck(
            client_order_id=client_id,
            order_id=str(status.filled.oid),
            status=state,
            filled_size=filled,
            average_price=converters.price_of(status.filled.avgPx, instrument, "avgPx"),
        )

    # ---- cancel

    def encode_cancel(self, order: Order, instrument: Instrument) -> Command:
        return self.encode_cancel_many([order], [instrument])

    def encode_cancel_many(self, orders: Sequence[Order], instruments: Sequence[Instrument]) -> Command:
        """By venue id; all by client id when one of them has no venue id yet."""
        numbers = [venue_cache(self.context).number(instrument) for instrument in instruments]
        action: m.Action
        if all(order.order_id is not None for order in orders):
            action = m.CancelOrders([m.CancelWire(a, int(o.order_id or 0)) for a, o in zip(numbers, orders, strict=True)])
        else:
            action = m.CancelByCloid([m.CancelByCloidWire(a, o.client_order_id or "") for a, o in zip(numbers, orders, strict=True)])
        return command(self.context, action, Lane.CANCEL, weight=1 + len(orders) // 40, counted=len(orders), ids=ids_of(orders))

    def decode_cancel(self, reply: m.Reply, order: Order) -> None:
        error = self.decode_cancel_many(reply, [order])[0]
        if error is not None:
            raise error

    def decode_cancel_many(self, reply: m.Reply, orders: Sequence[Order]) -> list[VenueError | None]:
        statuses = self._statuses(reply)
        if len(statuses) != len(orders):
            raise DecodeError(f"{len(statuses)} statuses for {len(orders)} cancels", venue=self.context.name)
        return [refusal(s.error) if isinstance(s, m.Status) and s.error is not None else None for s in statuses]

    async def _send_cancels(self, orders: Sequence[Order]) -> None:
        """Orders that are not ours may have no client id and new ones no venue id: they do not fit into one action."""
        named = [order for order in orders if order.order_id is not None]
        unnamed = [order for order in orders if order.order_id is None]
        for group in (named, unnamed):
            if group:
                await super()._send_cancels(group)

    # ---- amend

    def encode_amend(self, order: Order, intent: OrderIntent, instrument: Instrument) -> Command:
        """The new order is counted from zero: it gets what is left. Only a resting limit order can take the other's place."""
        if intent.order_type is not OrderType.LIMIT or intent.time_in_force is not TimeInForce.GTC:
            raise OrderDenied(f"{instrument.id}: only resting limit orders can be amended", venue=self.context.name)
        oid: int | str = int(order.order_id) if order.order_id is not None else order.client_order_id or ""
        modify = m.ModifyWire(oid, self._wire(order, intent, instrument, filled=order.filled))
        return command(self.context, m.BatchModify([modify]), LANES[intent.purpose], counted=1, ids=ids_of([order]))

    def decode_amend(self, reply: m.Reply, order: Order) -> str | None:
        status = self._statuses(reply)[0]
        if isinstance(status, str):
            return None
        if status.error is not None:
            raise refusal(status.error)
        placed = status.resting or status.filled
        if placed is None:
            raise DecodeError("empty status of an amended order", venue=self.context.name)
        venue_cache(self.context).succeeded(str(placed.oid), order.client_order_id or "")
        return str(placed.oid)

    async def amend(self, any_id: str, *, price: Decimal | None = None, quantity: Decimal | None = None) -> OrderInfo:
        """The venue ends the order and puts another in its place, with the same client id; both appear in the stream in any order.

        A fill that happens while the amend travels adds to what the new order may fill: the venue knows no total.
        """
        amending = asyncio.ensure_future(self._amend(any_id, price, quantity))
        try:
            return await asyncio.shield(amending)
        except asyncio.CancelledError:
            self.context.websocket.errand(self._finish(amending, any_id))
            raise

    async def _finish(self, amending: asyncio.Future[OrderInfo], any_id: str) -> None:
        """The caller was canceled, and the successor may be in the book already: it is found out all the same (E35)."""
        try:
            await amending
        except VenueError as e:
            self.context.log.info("amend.failed id=%s reason=%s", any_id, e)

    async def _amend(self, any_id: str, price: Decimal | None, quantity: Decimal | None) -> OrderInfo:
        order = self.context.tracker.find(any_id)
        if order is None or order.client_order_id is None:
            return await super().amend(any_id, price=price, quantity=quantity)
        replaced = order.order_id
        venue_cache(self.context).begin_amend(order.client_order_id, replaced, order.filled)
        try:
            return await super().amend(any_id, price=price, quantity=quantity)
        except OrderOutcomeUnknown as e:
            return await self._find_out_amend(order, replaced, e)
        except VenueError:
            await self._refresh_quietly(order)
            raise
        finally:
            venue_cache(self.context).end_amend(order.client_order_id)

    async def _find_out_amend(self, order: Order, replaced: str | None, error: OrderOutcomeUnknown) -> OrderInfo:
        """Ask until the successor shows, or until the amend could no longer arrive: then nothing was changed, and that is raised."""
        clock = self.context.runtime.clock
        end = clock.monotonic() + LOOKUP_GRACE_S
        while clock.monotonic() < end:
            await clock.sleep(AMEND_QUERY_EVERY_S)
            try:
                found = await self.fetch_order(None, client_order_id=order.client_order_id)
            except VenueError as e:
                self.context.log.debug("amend.query_failed id=%s reason=%s", order.client_order_id, e)
                continue
            if found is not None and found.order_id != replaced:
                intent = msgspec.structs.replace(order.intent, price=found.price, quantity=found.size)
                self.context.tracker.amended(order, intent, found.order_id)
                return self.context.tracker.on_order(found).info()
            if found is not None and found.status is OrderStatus.FILLED:
                break  # there is nothing left to amend
        await self._refresh_quietly(order)
        raise RequestTimeout(
            f"the amend of {order.client_order_id} did not arrive: {error.message}", venue=self.context.name, outcome=Outcome.NOT_SENT
        ) from error

    # ---- dead-man switch

    def encode_dead_man_switch(self, timeout_s: float | None) -> Command:
        if timeout_s is None:
            return command(self.context, m.ScheduleCancel(), Lane.CANCEL)
        if timeout_s < SHORTEST_SWITCH_S:
            raise OrderDenied(f"the switch needs at least {SHORTEST_SWITCH_S:g} s", venue=self.context.name)
        return command(self.context, m.ScheduleCancel(self.context.venue_time.now_ms() + round(timeout_s * 1000)), Lane.CANCEL)

    def decode_cancel_all(self, reply: m.Reply) -> None:
        """The answer to the switch."""
        if reply.status != "ok":
            raise refusal(str(reply.response))

    # ---- queries

    async def fetch_order(
        self, instrument: Instrument | None, *, order_id: str | None = None, client_order_id: str | None = None
    ) -> OrderInfo | None:
        """By client id where there is one: after an amend it finds the newest order. Says "unknown" for up to a second after placing."""
        if client_order_id is None and not (order_id or "").isdigit():
            return None  # the venue's own ids are numbers
        oid: int | str = client_order_id if client_order_id is not None else int(order_id or 0)
        reply: m.OrderStatusReply = await self.rest.query("orderStatus", user=trading_address(self.context), oid=oid)
        if reply.order is None:
            return None
        if (info := order_info(self.context, reply.order)) is None:
            raise UnknownInstrument(f"order {oid} is in {reply.order.order.coin}, which is not listed here", venue=self.context.name)
        return info

    async def fetch_open_orders(self, instrument: Instrument | None = None) -> list[OrderInfo]:
        """One request per dex. Orders that wait for their entry are listed as its children."""
        found: list[OrderInfo] = []
        for dex in configured_dexes(self.context) if instrument is None else (instrument.id.dex,):
            rows: list[m.OrderData] = await self.rest.query("frontendOpenOrders", user=trading_address(self.context), dex=dex)
            every = [entry for row in rows for entry in (row, *row.children)]
            infos = (order_info(self.context, m.OrderUpdate(row, "open", row.timestamp)) for row in every)
            found += [info for info in infos if info is not None and (instrument is None or info.instrument == instrument.id)]
        return found

    async def fetch_order_history(self, *, since_ns: int, instrument: Instrument | None = None) -> list[OrderInfo]:
        """The newest 2000 orders."""
        rows: list[m.OrderUpdate] = await fetch_rows(self.context, "historicalOrders", user=trading_address(self.context))
        infos = (order_info(self.context, row) for row in rows if row.statusTimestamp * NS_PER_MS >= since_ns)
        return [info for info in infos if info is not None and (instrument is None or info.instrument == instrument.id)]

    async def fetch_fills(self, *, since_ns: int, until_ns: int | None = None, instrument: Instrument | None = None) -> list[Fill]:
        """The newest 10,000 are reachable."""
        user, find = trading_address(self.context), self.context.instruments.by_contract
        rows: list[m.FillData] = await fetch_since(self.context, "userFillsByTime", FILLS_PAGE, since_ns, until_ns, user=user)
        fills = [fill for fill in converters.fills(rows, find, user) if instrument is None or fill.instrument == instrument.id]
        return sorted({(f.instrument, f.trade_id, f.ts_venue_ns): f for f in fills}.values(), key=lambda fill: fill.ts_venue_ns)
