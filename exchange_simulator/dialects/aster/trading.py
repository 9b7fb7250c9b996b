"""Orders: from a form to what the exchange does, and the venue's words for it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

from exchange_simulator.core.market import MarketState
from exchange_simulator.core.orders import Order
from exchange_simulator.core.types import (
    NewOrder,
    OrderStatus,
    OrderType,
    PostOnly,
    PriceSource,
    RejectReason,
    Side,
    TimeInForce,
    Trigger,
    TriggerKind,
)
from exchange_simulator.dialects.aster import wire
from exchange_simulator.dialects.aster.signatures import missing
from exchange_simulator.dialects.aster.wallets import Wallet
from exchange_simulator.dialects.base import Refusal

if TYPE_CHECKING:
    from exchange_simulator.dialects.aster.dialect import AsterDialect

MS: Final = 10**6
CLIENT_ID: Final = re.compile(r"[.A-Z:/a-z0-9_-]{1,36}")
PLAIN: Final = re.compile(r"\d{1,20}(\.\d{1,20})?")
TYPES: Final = {
    "LIMIT": (OrderType.LIMIT, None),
    "MARKET": (OrderType.MARKET, None),
    "STOP": (OrderType.LIMIT, TriggerKind.STOP),
    "STOP_MARKET": (OrderType.MARKET, TriggerKind.STOP),
    "TAKE_PROFIT": (OrderType.LIMIT, TriggerKind.TAKE_PROFIT),
    "TAKE_PROFIT_MARKET": (OrderType.MARKET, TriggerKind.TAKE_PROFIT),
}
TIMES: Final = {"GTC": TimeInForce.GTC, "IOC": TimeInForce.IOC, "FOK": TimeInForce.FOK, "GTX": TimeInForce.GTC}


def unknown_order() -> Refusal:
    return Refusal(-2011, "Unknown order sent.", status=400)


def no_such_order() -> Refusal:
    return Refusal(-2013, "Order does not exist.", status=400)


class Trading:
    """What signed forms do. One dialect has one."""

    def __init__(self, dialect: AsterDialect) -> None:
        self.dialect = dialect
        self.exchange = dialect.exchange

    def row(self, order: Order) -> dict[str, Any]:
        return wire.order(order, triggered=order.id in self.dialect.triggered)

    def number(self, form: Mapping[str, Any], name: str) -> Decimal:
        """Plain digits; the venue takes no exponent."""
        text = str(form.get(name, ""))
        if not PLAIN.fullmatch(text):
            raise missing(name)
        try:
            return Decimal(text)
        except InvalidOperation:
            raise missing(name) from None

    def _market(self, form: Mapping[str, Any]) -> MarketState:
        return self.dialect.rest.market(form)

    def find(self, wallet: Wallet, form: Mapping[str, Any]) -> Order:
        """By venue id, else by client id; of the market that is named."""
        market = self._market(form)
        order: Order | None = None
        if form.get("orderId"):
            try:
                order = self.exchange.order(int(form["orderId"]))
            except ValueError:
                raise missing("orderId") from None
        elif form.get("origClientOrderId"):
            order = self.exchange.order_by_client_id(wallet.account, str(form["origClientOrderId"]))
        else:
            raise missing("orderId")
        if order is None or order.account.id != wallet.account or order.market is not market or order.status is OrderStatus.REJECTED:
            raise no_such_order()
        return order

    # ---- placing

    def place(self, wallet: Wallet, form: Mapping[str, Any]) -> dict[str, Any]:
        self.dialect.count_orders(wallet, 1)
        return self._place(wallet, form)

    def try_out(self, wallet: Wallet, form: Mapping[str, Any]) -> dict[str, Any]:
        self._new(wallet, form)
        return {}

    def _place(self, wallet: Wallet, form: Mapping[str, Any]) -> dict[str, Any]:
        order = self.exchange.submit(self.dialect.now_ns(), self._new(wallet, form))
        if order.status is OrderStatus.REJECTED:
            raise wire.refused(order.reject_reason)
        row = self.row(order)
        if form.get("newOrderRespType", "ACK") == "ACK":  # says that it came, not what became of it
            row |= {"status": "NEW", "executedQty": "0", "cumQty": "0", "cumQuote": "0", "avgPrice": "0"}
        return row

    def place_many(self, wallet: Wallet, form: Mapping[str, Any]) -> list[Any]:
        rows = _list(form, "batchOrders")
        if not 1 <= len(rows) <= 5 or not all(isinstance(row, dict) for row in rows):
            raise Refusal(-4082, "Invalid number of batch place orders.", status=400)
        self.dialect.count_orders(wallet, len(rows))
        found: list[Any] = []
        for row in rows:
            try:
                found.append(self._place(wallet, row))
            except Refusal as refusal:
                found.append({"code": refusal.code, "msg": refusal.message})
        return found

    def _new(self, wallet: Wallet, form: Mapping[str, Any]) -> NewOrder:
        market = self._market(form)
        spec = market.spec
        if wallet.hedge != (form.get("positionSide", "BOTH") in ("LONG", "SHORT")):
            raise Refusal(-4061, "Order's position side does not match user's setting.", status=400)
        if form.get("side") not in ("BUY", "SELL"):
            raise missing("side")
        if form.get("type") not in TYPES:
            raise Refusal(-1116, "Invalid orderType.", status=400)
        side = Side.BUY if form["side"] == "BUY" else Side.SELL
        kind, conditional = TYPES[form["type"]]
        word = form.get("timeInForce")
        if kind is OrderType.LIMIT and conditional is None and word is None:
            raise missing("timeInForce")
        if word is not None and word not in TIMES:
            raise Refusal(-1115, "Invalid timeInForce.", status=400)
        client_id = str(form.get("newClientOrderId") or f"auto{self.dialect.next_client_id()}")
        if not CLIENT_ID.fullmatch(client_id):
            raise Refusal(-4015, "Client order id is not valid.", status=400)
        whole = _true(form, "closePosition")
        if whole and (conditional is None or kind is not OrderType.MARKET or form.get("quantity") or _true(form, "reduceOnly")):
            raise Refusal(-1106, "Parameter 'quantity' sent when not required.", status=400)
        size = Decimal(0) if whole else self.number(form, "quantity")
        if size % spec.step_size:
            raise Refusal(-4023, "Qty not increased by step size.", status=400)
        price = self._price(market, form, "price") if kind is OrderType.LIMIT else self._bound(market, side, conditional)
        return NewOrder(
            account=wallet.account,
            market=spec.symbol,
            side=side,
            size=spec.to_steps(size),
            price=price,
            type=kind,
            time_in_force=TIMES[word] if word is not None and kind is OrderType.LIMIT else TimeInForce.GTC,
            post_only=PostOnly.REJECT if word == "GTX" else PostOnly.OFF,
            reduce_only=_true(form, "reduceOnly"),
            client_id=client_id,
            trigger=self._trigger(market, form, side, conditional) if conditional is not None else None,
            close_position=whole,
        )

    def _price(self, market: MarketState, form: Mapping[str, Any], name: str) -> int:
        price = self.number(form, name)
        if price <= 0:
            raise wire.refused(RejectReason.BAD_PRICE)
        if price % market.spec.tick_size:
            raise Refusal(-4014, "Price not increased by tick size.", status=400)
        return market.spec.to_ticks(price)

    @staticmethod
    def _bound(market: MarketState, side: Side, conditional: TriggerKind | None) -> int:
        """How far from mark a market order may take; one that waits is not bound yet."""
        if conditional is not None:
            return 0
        far = market.spec.ref_price(market.mark) * (1 + wire.TAKE_BOUND * side.sign)
        return max(1, int(far / market.spec.tick_size))

    def _trigger(self, market: MarketState, form: Mapping[str, Any], side: Side, kind: TriggerKind) -> Trigger:
        at = self._price(market, form, "stopPrice")
        above = (kind is TriggerKind.STOP) == (side is Side.BUY)
        source = PriceSource.MARK if form.get("workingType") == "MARK_PRICE" else PriceSource.LAST
        return Trigger(at, above, source=source, kind=kind)

    # ---- what is there already

    def cancel(self, wallet: Wallet, form: Mapping[str, Any]) -> dict[str, Any]:
        try:
            order = self.find(wallet, form)
        except Refusal as refusal:
            raise unknown_order() if refusal.code == no_such_order().code else refusal from None
        reason = self.exchange.cancel(self.dialect.now_ns(), wallet.account, order.id)
        if reason is not None:
            raise wire.refused(reason)
        return self.row(order)

    def cancel_many(self, wallet: Wallet, form: Mapping[str, Any]) -> list[Any]:
        name = "orderIdList" if form.get("orderIdList") else "origClientOrderIdList"
        key = "orderId" if name == "orderIdList" else "origClientOrderId"
        ids = _list(form, name)
        if not 1 <= len(ids) <= 10:
            raise Refusal(-4032, "Exceed maximum cancel order size.", status=400)
        found: list[Any] = []
        for one in ids:
            try:
                found.append(self.cancel(wallet, {"symbol": form.get("symbol", ""), key: str(one)}))
            except Refusal as refusal:
                found.append({"code": refusal.code, "msg": refusal.message})
        return found

    def cancel_all(self, wallet: Wallet, form: Mapping[str, Any]) -> dict[str, Any]:
        self.exchange.cancel_all(self.dialect.now_ns(), wallet.account, self._market(form).symbol)
        return {"code": "200", "msg": "The operation of cancel all open order is done."}

    def countdown(self, wallet: Wallet, form: Mapping[str, Any]) -> dict[str, Any]:
        market = self._market(form)
        text = str(form.get("countdownTime", ""))
        if not text.isdecimal():
            raise missing("countdownTime")
        now = self.dialect.now_ns()
        self.exchange.schedule_cancel_all(now, wallet.account, now + int(text) * MS if int(text) else 0, market=market.symbol)
        return {"symbol": market.symbol, "countdownTime": text}

    def amend(self, wallet: Wallet, form: Mapping[str, Any]) -> dict[str, Any]:
        self.dialect.count_orders(wallet, 1)
        order = self.find(wallet, form)
        if order.request.type is not OrderType.LIMIT or order.request.trigger is not None:
            raise Refusal(-4084, "Method is not allowed currently. Only limit orders can be modified.", status=400)
        size = self.number(form, "quantity")
        if size % order.market.spec.step_size:
            raise Refusal(-4023, "Qty not increased by step size.", status=400)
        price = self._price(order.market, form, "price")
        steps = order.market.spec.to_steps(size)
        found = self.exchange.amend(self.dialect.now_ns(), wallet.account, order.id, price=price, size=steps)
        if isinstance(found, RejectReason):
            raise wire.refused(found) if found is not RejectReason.UNKNOWN_ORDER else no_such_order()
        return self.row(found)


def _true(form: Mapping[str, Any], name: str) -> bool:
    return str(form.get(name, "")).lower() == "true"


def _list(form: Mapping[str, Any], name: str) -> list[Any]:
    """A parameter that is JSON text."""
    try:
        found = json.loads(form[name])
    except (KeyError, ValueError):
        raise missing(name) from None
    if not isinstance(found, list):
        raise missing(name)
    return found
