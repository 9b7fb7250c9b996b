"""What commands do: rows as they come by REST and over the socket, and the venue's words for what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

from exchange_simulator.core.orders import Order
from exchange_simulator.core.types import (
    REF,
    UNIT,
    NewOrder,
    OrderStatus,
    OrderType,
    PostOnly,
    PriceSource,
    RejectReason,
    SelfTrade,
    Side,
    TimeInForce,
    Trigger,
    TriggerKind,
)
from exchange_simulator.dialects.base import Refusal
from exchange_simulator.dialects.okx import wire
from exchange_simulator.dialects.okx.keys import Keys

if TYPE_CHECKING:
    from exchange_simulator.dialects.okx.dialect import OkxDialect

Row = dict[str, Any]
MARKET_TYPES: Final = ("market", "optimal_limit_ioc")
TYPES: Final = {
    "limit": (OrderType.LIMIT, TimeInForce.GTC, PostOnly.OFF),
    "post_only": (OrderType.LIMIT, TimeInForce.GTC, PostOnly.REJECT),
    "ioc": (OrderType.LIMIT, TimeInForce.IOC, PostOnly.OFF),
    "fok": (OrderType.LIMIT, TimeInForce.FOK, PostOnly.OFF),
    "market": (OrderType.MARKET, TimeInForce.GTC, PostOnly.OFF),
    "optimal_limit_ioc": (OrderType.MARKET, TimeInForce.IOC, PostOnly.OFF),
}
SOURCES: Final = {"last": PriceSource.LAST, "mark": PriceSource.MARK, "index": PriceSource.INDEX, "": PriceSource.LAST}
WORDS: Final = {
    RejectReason.INSUFFICIENT_MARGIN: (51008, "Order failed. Insufficient USDT margin in account"),
    RejectReason.REDUCE_ONLY: (51169, "Order failed because you don't have any positions in this direction to reduce."),
    RejectReason.MIN_SIZE: (51020, "Your order should meet or exceed the minimum order amount."),
    RejectReason.MIN_NOTIONAL: (51020, "Your order should meet or exceed the minimum order amount."),
    RejectReason.MAX_SIZE: (51101, "The maximum amount per order is exceeded"),
    RejectReason.BAD_SIZE: (51000, "Parameter sz error"),
    RejectReason.BAD_PRICE: (51000, "Parameter px error"),
    RejectReason.PRICE_BAND: (51137, "Your order price is beyond the price limit."),
    RejectReason.BAD_TRIGGER: (51280, "The trigger price must be on the other side of the last price"),
    RejectReason.DUPLICATE_CLIENT_ID: (51016, "Client order ID already exists."),
    RejectReason.TOO_MANY_ORDERS: (51025, "Order count exceeds the limit"),
    RejectReason.MARKET_STATUS: (51022, "Instrument is suspended."),
    RejectReason.NO_MARK_PRICE: (51021, "Instrument is not listed yet."),
    RejectReason.POST_ONLY_WOULD_CROSS: (51511, "Operation failed as the order would take liquidity (post only)."),
    RejectReason.UNKNOWN_ORDER: (51503, "Your order has already been filled, canceled or does not exist."),
}
GONE: Final = (51400, "Order cancellation failed as the order has been filled, canceled or does not exist.")


class Trading:
    """Commands of one dialect. Each takes an owner and a row and gives the row of the answer."""

    def __init__(self, dialect: OkxDialect) -> None:
        self.dialect = dialect
        self.exchange = dialect.exchange
        self.late_amends = False
        """A refused amend is accepted first, and its failure told by the stream."""

    def rows(self, do: Callable[[Keys, Row, bool], Row], owner: Keys, rows: list[Row], *, coded: bool) -> tuple[str, str, list[Row]]:
        """(code, msg, data) of an answer: "1" when every row failed, "2" when some did."""
        answers: list[Row] = []
        for row in rows:
            own = {"clOrdId": str(row.get("clOrdId", "")), "ordId": str(row.get("ordId", "")), "tag": "", "ts": str(self.dialect.now_ms())}
            try:
                answers.append({**own, **do(owner, row, coded), "sCode": "0", "sMsg": "", "subCode": ""})
            except Refusal as refusal:
                answers.append({**own, "sCode": str(refusal.code), "sMsg": refusal.message, "subCode": ""})
        failed = sum(answer["sCode"] != "0" for answer in answers)
        if not failed:
            return "0", "", answers
        return ("1", "All operations failed", answers) if failed == len(answers) else ("2", "Bulk operation partially succeeded", answers)

    def market_of(self, row: Row, coded: bool) -> str:
        """Commands on the socket name the market by its code only."""
        if coded:
            symbol = self.dialect.symbol_of_code(row.get("instIdCode"))
            if symbol is None:
                raise Refusal(51000, "Parameter instIdCode error")
            return symbol
        symbol = str(row.get("instId", ""))
        if symbol not in self.exchange.markets:
            raise Refusal(51001, "Instrument ID does not exist")
        return symbol

    # ---- new orders

    def place(self, owner: Keys, row: Row, coded: bool) -> Row:
        symbol = self.market_of(row, coded)
        spec = self.exchange.markets[symbol].spec
        kind = str(row.get("ordType", ""))
        if kind not in TYPES:
            raise Refusal(51000, "Parameter ordType error")
        order_type, tif, post_only = TYPES[kind]
        price = 0 if kind in MARKET_TYPES else self._ticks(spec.symbol, row.get("px"), "px")
        if price and row.get("pxAmendType") == "1":
            price = self._into_band(symbol, price)
        common = self._common(owner, row, symbol)
        new = NewOrder(
            price=price, type=order_type, time_in_force=tif, post_only=post_only, client_id=self._client_id(row, "clOrdId"), **common
        )
        order = self.exchange.submit(self.dialect.now_ns(), new)
        if order.status is OrderStatus.REJECTED:
            raise self._refused(order.reject_reason)
        return {"ordId": wire.order_id(order), "clOrdId": order.client_id}

    def _into_band(self, symbol: str, price: int) -> int:
        """The venue moves a price that is too far away to the end of the band, where the row allows it."""
        market = self.exchange.markets[symbol]
        band = market.spec.price_band
        if not band:
            return price
        lowest = -(-market.mark * (UNIT - band) // (UNIT * REF))
        return min(max(price, lowest), market.mark * (UNIT + band) // (UNIT * REF))

    def place_algo(self, owner: Keys, row: Row, coded: bool) -> Row:
        """One-way stops and take-profits (`conditional`), and plain triggers."""
        symbol = self.market_of(row, coded)
        kind = str(row.get("ordType", ""))
        side = self._side(row)
        market = self.exchange.markets[symbol]
        if kind == "conditional":
            leg = "sl" if row.get("slTriggerPx") else "tp"
            trigger_at, limit, source = (row.get(f"{leg}{name}", "") for name in ("TriggerPx", "OrdPx", "TriggerPxType"))
            stop = leg == "sl"
            above = stop == (side is Side.BUY)
        elif kind == "trigger":
            trigger_at, limit, source = row.get("triggerPx"), row.get("orderPx"), row.get("triggerPxType", "")
            above = Decimal(str(trigger_at)) > market.spec.price(market.last)
            stop = above == (side is Side.BUY)
        else:
            raise Refusal(51000, "Parameter ordType error")
        at_market = str(limit) == "-1"
        trigger = Trigger(
            self._ticks(symbol, trigger_at, "triggerPx"),
            above,
            SOURCES.get(str(source or ""), PriceSource.LAST),
            TriggerKind.STOP if stop else TriggerKind.TAKE_PROFIT,
        )
        new = NewOrder(
            price=0 if at_market else self._ticks(symbol, limit, "orderPx"),
            type=OrderType.MARKET if at_market else OrderType.LIMIT,
            client_id=self._client_id(row, "algoClOrdId"),
            trigger=trigger,
            **self._common(owner, row, symbol),
        )
        order = self.exchange.submit(self.dialect.now_ns(), new)
        if order.status is OrderStatus.REJECTED:
            raise self._refused(order.reject_reason)
        return {"algoId": wire.algo_id(order), "algoClOrdId": order.client_id, "ordId": "", "clOrdId": ""}

    def _common(self, owner: Keys, row: Row, symbol: str) -> dict[str, Any]:
        if row.get("tdMode") not in ("cross", "isolated"):
            raise Refusal(51000, "Parameter tdMode error ")
        if owner.position_mode != "net_mode" and row.get("posSide") not in ("long", "short"):
            raise Refusal(51000, "Parameter posSide error ")
        prevention = str(row.get("stpMode", ""))
        return {
            "account": owner.account,
            "market": symbol,
            "side": self._side(row),
            "size": self._steps(symbol, row.get("sz")),
            "reduce_only": row.get("reduceOnly") in (True, "true"),
            "self_trade": SelfTrade(prevention) if prevention else None,
        }

    @staticmethod
    def _side(row: Row) -> Side:
        if row.get("side") not in ("buy", "sell"):
            raise Refusal(51000, "Parameter side error ")
        return Side(str(row["side"]))

    @staticmethod
    def _client_id(row: Row, name: str) -> str:
        given = str(row.get(name) or "")
        if given and not (given.isascii() and given.isalnum() and len(given) <= 32):
            raise Refusal(51000, f"Parameter {name} error")
        return given

    def _ticks(self, symbol: str, given: Any, name: str) -> int:
        price = _number(given, name)
        spec = self.exchange.markets[symbol].spec
        if price <= 0:
            raise Refusal(51000, f"Parameter {name} error")
        if price % spec.tick_size != 0:
            raise Refusal(51150, "The precision of the price is invalid: not a multiple of the tick size.")
        return spec.to_ticks(price)

    def _steps(self, symbol: str, given: Any) -> int:
        size = _number(given, "sz")
        lot = wire.lot(self.exchange.markets[symbol].spec)
        if size <= 0:
            raise Refusal(51000, "Parameter sz error")
        if size % lot != 0:
            raise Refusal(51121, "Order quantity must be a multiple of the lot size.")
        return int(size / lot)

    @staticmethod
    def _refused(reason: RejectReason | None) -> Refusal:
        code, words = WORDS.get(reason, (51000, "Parameter error")) if reason is not None else (51000, "Parameter error")
        return Refusal(code, words)

    # ---- changes of orders

    def find(self, owner: Keys, row: Row, symbol: str, *, algo: bool = False) -> Order | None:
        """By the venue's id, which wins, or the client's; None where it is no order of that kind."""
        given, named = (row.get("algoId"), row.get("algoClOrdId")) if algo else (row.get("ordId"), row.get("clOrdId"))
        if given:
            base = wire.ALGO_BASE if algo else wire.ORDER_BASE
            order = self.exchange.order(int(given) - base) if str(given).isdigit() else None
        else:
            order = self.exchange.order_by_client_id(owner.account, str(named)) if named else None
        if order is None or order.account.id != owner.account or (symbol and order.market.symbol != symbol):
            return None
        waits = self.dialect.is_waiting_algo(order)
        return order if waits == algo or (algo and order.request.trigger is not None) else None

    def cancel(self, owner: Keys, row: Row, coded: bool) -> Row:
        order = self.find(owner, row, self.market_of(row, coded))
        if order is None or self.exchange.cancel(self.dialect.now_ns(), owner.account, order.id) is not None:
            raise Refusal(*GONE)
        return {"ordId": wire.order_id(order), "clOrdId": "" if order.request.trigger is not None else order.client_id}

    def cancel_algo(self, owner: Keys, row: Row, coded: bool) -> Row:
        order = self.find(owner, row, self.market_of(row, coded), algo=True)
        if order is None or not self.dialect.is_waiting_algo(order) or order.status.terminal:
            raise Refusal(*GONE)
        self.exchange.cancel(self.dialect.now_ns(), owner.account, order.id)
        return {"algoId": wire.algo_id(order), "algoClOrdId": order.client_id, "ordId": "", "clOrdId": ""}

    def amend(self, owner: Keys, row: Row, coded: bool) -> Row:
        """`newSz` is filled plus remaining."""
        symbol = self.market_of(row, coded)
        order = self.find(owner, row, symbol)
        request_id = str(row.get("reqId", ""))
        if order is None or order.status.terminal:
            raise self._refused(RejectReason.UNKNOWN_ORDER)
        if not row.get("newPx") and not row.get("newSz"):
            raise Refusal(51000, "Parameter newSz or newPx error")
        price = self._ticks(symbol, row["newPx"], "newPx") if row.get("newPx") else 0
        size = self._steps(symbol, row["newSz"]) if row.get("newSz") else 0
        answer = {"ordId": wire.order_id(order), "clOrdId": order.client_id, "reqId": request_id}
        with self.dialect.amending(order, request_id):
            done = self.exchange.amend(self.dialect.now_ns(), owner.account, order.id, price=price, size=size)
        if isinstance(done, RejectReason):
            refused = self._refused(done)
            if not self.late_amends:
                raise refused
            self.dialect.tell_amend_failed(order, request_id, refused)
        return answer


def _number(given: Any, name: str) -> Decimal:
    try:
        value = Decimal(str(given))
    except InvalidOperation:
        raise Refusal(51000, f"Parameter {name} error") from None
    if not value.is_finite():
        raise Refusal(51000, f"Parameter {name} error")
    return value
