"""The REST endpoints: what is asked and commanded by request."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

from exchange_simulator.core.market import MarketState
from exchange_simulator.core.orders import Order
from exchange_simulator.core.types import (
    UNIT,
    GroupKind,
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
    fraction,
    money,
)
from exchange_simulator.dialects.backpack import wire
from exchange_simulator.dialects.backpack.signatures import authenticate, invalid
from exchange_simulator.dialects.base import Received, Refusal, Reply, Route

if TYPE_CHECKING:
    from exchange_simulator.dialects.backpack.dialect import BackpackDialect, Owner

MINUTE_NS: Final = 60 * 10**9
DEPTH_LIMITS: Final = ("5", "10", "20", "50", "100", "500", "1000")
INTERVALS_S: Final = {
    "1m": 60,
    "3m": 180,
    "5m": 300,
    "15m": 900,
    "30m": 1800,
    "1h": 3600,
    "2h": 7200,
    "4h": 14400,
    "6h": 21600,
    "8h": 28800,
    "12h": 43200,
    "1d": 86400,
    "3d": 259200,
    "1w": 604800,
    "1month": 2592000,
}
KLINES: Final = 1000
HISTORY: Final = "/wapi/v1/history/"
ROWS: Final = 1000
FUNDING_ROWS: Final = 10_000
MAX_BATCH: Final = 50
IMPACT: Final = Decimal("0.03")
SIDES: Final = {"Bid": Side.BUY, "Ask": Side.SELL}
TIMES: Final = {"GTC": TimeInForce.GTC, "IOC": TimeInForce.IOC, "FOK": TimeInForce.FOK}

REFUSALS: Final = {
    RejectReason.MARKET_STATUS: ("TRADING_PAUSED", "Trading is paused"),
    RejectReason.NO_MARK_PRICE: ("TRADING_PAUSED", "Trading is paused"),
    RejectReason.BAD_SIZE: ("INVALID_QUANTITY", "Invalid quantity"),
    RejectReason.MIN_SIZE: ("INVALID_QUANTITY", "Quantity is below the minimum quantity"),
    RejectReason.MAX_SIZE: ("INVALID_QUANTITY", "Quantity is above the maximum quantity"),
    RejectReason.BAD_PRICE: ("INVALID_PRICE", "Invalid price"),
    RejectReason.PRICE_BAND: ("INVALID_PRICE", "Price is too far from the last active price"),
    RejectReason.BAD_TRIGGER: ("INVALID_ORDER", "Invalid trigger price"),
    RejectReason.BAD_GROUP: ("INVALID_ORDER", "Invalid take profit or stop loss"),
    RejectReason.POST_ONLY_WOULD_CROSS: ("INVALID_ORDER", "Order would immediately match and take"),
    RejectReason.INSUFFICIENT_MARGIN: ("INSUFFICIENT_MARGIN", "Insufficient margin"),
    RejectReason.DUPLICATE_CLIENT_ID: ("INVALID_ORDER", "Duplicate clientId"),
    RejectReason.TOO_MANY_ORDERS: ("ORDER_LIMIT", "Too many open orders"),
}


def not_found() -> Refusal:
    return Refusal("RESOURCE_NOT_FOUND", "Not Found", status=404)


class Rest:
    """Handlers of one dialect."""

    def __init__(self, dialect: BackpackDialect) -> None:
        self.dialect = dialect
        self.exchange = dialect.exchange

    def routes(self) -> list[Route]:
        api: dict[str, Callable[[Received], Any]] = {
            "status": lambda _: {"status": "Ok", "message": None},
            "markets": lambda r: [self._market_row(m) for m in self._markets(r)],
            "market": lambda r: self._market_row(self._market(r)),
            "ticker": lambda r: self._ticker(self._market(r)),
            "tickers": lambda _: [self._ticker(m) for m in self.exchange.markets.values()],
            "depth": self._depth,
            "klines": self._klines,
            "markPrices": lambda r: [self._mark_price(m) for m in self._asked(r)],
            "openInterest": lambda r: [self._open_interest(m) for m in self._asked(r)],
            "fundingRates": self._funding_rates,
            "trades": self._trades,
            "trades/history": self._trades,
            "assets": lambda _: [{"symbol": "USDC", "displayName": "USD Coin", "coingeckoId": "usd-coin", "tokens": []}],
            "collateral": lambda _: [{"symbol": "USDC", "imfFunction": None, "mmfFunction": None, "haircutFunction": None}],
            "borrowLend/markets": lambda _: [],
            "securities": lambda _: [],
        }
        signed: dict[str, Callable[[Owner, dict[str, Any]], Any]] = {
            "GET /api/v1/account": self._account,
            "PATCH /api/v1/account": self._update_account,
            "GET /api/v1/account/limits/order": self._max_order,
            "GET /api/v1/capital": self._capital,
            "GET /api/v1/capital/collateral": self._collateral,
            "GET /api/v1/position": self._positions,
            "GET /api/v1/order": self._order,
            "GET /api/v1/orders": self._orders,
            "POST /api/v1/order": self._place,
            "DELETE /api/v1/order": self._cancel,
            "DELETE /api/v1/orders": self._cancel_all,
            f"GET {HISTORY}orders": self._order_history,
            f"GET {HISTORY}fills": self._fill_history,
            f"GET {HISTORY}funding": self._funding_history,
            f"GET {HISTORY}settlement": lambda owner, _: [],
            f"GET {HISTORY}position": lambda owner, _: [],
        }
        text = {"ping": lambda: b"pong", "time": lambda: str(self.dialect.now_ns() // wire.MS).encode()}
        return [
            *(Route("GET", f"/api/v1/{name}", self._public(answer)) for name, answer in api.items()),
            *(Route("GET", f"/api/v1/{name}", self._plain(answer)) for name, answer in text.items()),
            *(Route(key.partition(" ")[0], key.partition(" ")[2], self._private(answer)) for key, answer in signed.items()),
            Route("POST", "/api/v1/orders", self._batch),
        ]

    # ---- around a handler

    @staticmethod
    def _public(answer: Callable[[Received], Any]) -> Any:
        async def handle(received: Received) -> Reply:
            return Reply(answer(received))

        return handle

    @staticmethod
    def _plain(answer: Callable[[], bytes]) -> Any:
        async def handle(received: Received) -> Reply:
            return Reply(answer(), headers={"Content-Type": "text/plain; charset=utf-8"})

        return handle

    def _private(self, answer: Callable[[Owner, dict[str, Any]], Any]) -> Any:
        """Parameters are those of the query, or of the body of anything but a GET."""

        async def handle(received: Received) -> Reply:
            parameters = dict(received.params) if received.method == "GET" else _body(received, dict)
            owner = self._owner(received, [parameters])
            if received.path.startswith(HISTORY) and self.dialect.history_budget.charge(owner.api_key, 1, self.dialect.clock.elapsed()):
                return self.dialect.limited(0, received)
            found = answer(owner, parameters)
            return found if isinstance(found, Reply) else Reply(found)

        return handle

    def _owner(self, received: Received, sets: list[dict[str, Any]]) -> Owner:
        owner = self.dialect.owners.get(authenticate(received, sets, self.dialect.now_ns() // wire.MS))
        if owner is None:
            raise Refusal("UNAUTHORIZED", "Unauthorized", status=401)
        return owner

    def _market(self, parameters: Received | dict[str, Any]) -> MarketState:
        symbol = (parameters.params if isinstance(parameters, Received) else parameters).get("symbol")
        if not symbol:
            raise invalid("missing field `symbol`")
        state = self.exchange.markets.get(str(symbol))
        if state is None:
            raise Refusal("INVALID_MARKET", "Invalid market", status=400)
        return state

    def _asked(self, received: Received) -> Iterable[MarketState]:
        """An unknown symbol is no error here: nothing is found."""
        symbol = received.params.get("symbol")
        if symbol is None:
            return self.exchange.markets.values()
        state = self.exchange.markets.get(symbol)
        return [state] if state is not None else []

    # ---- public

    def _markets(self, received: Received) -> Iterable[MarketState]:
        return self.exchange.markets.values() if received.params.get("marketType", "PERP") == "PERP" else ()

    def _market_row(self, state: MarketState) -> dict[str, Any]:
        return wire.market(state, self.dialect.base_of(state.spec.symbol))

    def _ticker(self, state: MarketState) -> dict[str, Any]:
        spec, day = state.spec, self.dialect.history.day(state.spec.symbol, self.dialect.now_ns())
        return {
            "symbol": spec.symbol,
            "firstPrice": wire.text(spec.price(day.open)),
            "lastPrice": wire.text(spec.price(day.close)),
            "high": wire.text(spec.price(day.high)),
            "low": wire.text(spec.price(day.low)),
            "priceChange": wire.text(spec.price(day.close - day.open)),
            "priceChangePercent": wire.text(round(Decimal(day.close - day.open) / day.open, 6)) if day.open else "0",
            "volume": wire.text(spec.size(day.volume)),
            "quoteVolume": wire.usd(day.value * spec.notional_unit),
            "trades": str(day.trades),
        }

    def _depth(self, received: Received) -> dict[str, Any]:
        """The bids ascend, so the best one is the last."""
        limit = received.params.get("limit", "1000")
        if limit not in DEPTH_LIMITS:
            raise invalid(f"unknown variant `{limit}`, expected one of {', '.join(DEPTH_LIMITS)}")
        state = self._market(received)
        spec = state.spec
        bids, asks = (
            [[wire.text(spec.price(p)), wire.text(spec.size(s))] for p, s, _ in self.exchange.depth(spec.symbol, side, int(limit))]
            for side in (Side.BUY, Side.SELL)
        )
        return {
            "asks": asks,
            "bids": bids[::-1],
            "lastUpdateId": str(self.dialect.number(spec.symbol)),
            "timestamp": self.dialect.now_ns() // wire.US,
        }

    def _klines(self, received: Received) -> list[dict[str, Any]]:
        """At most a thousand from the start on."""
        state, params = self._market(received), received.params
        length_s = INTERVALS_S.get(params.get("interval", ""))
        if length_s is None:
            raise invalid("Invalid interval")
        start, end = _whole(params, "startTime"), _whole(params, "endTime", default=self.dialect.now_ns() // 10**9)
        if end - start > 10**9:
            raise Refusal("INVALID_RANGE", "startTime and endTime are in seconds", status=400)
        found = self.dialect.history.candles(state.spec.symbol, length_s * 10**9, start * 10**9, end * 10**9)
        return [self.kline_row(state, candle, length_s) for candle in found[:KLINES]]

    @staticmethod
    def kline_row(state: MarketState, candle: Any, length_s: int) -> dict[str, Any]:
        spec = state.spec
        return {
            "start": wire.naive(candle.start_ns, separator=" ", millis=False),
            "end": wire.naive(candle.start_ns + length_s * 10**9, separator=" ", millis=False),
            "open": wire.text(spec.price(candle.open)),
            "high": wire.text(spec.price(candle.high)),
            "low": wire.text(spec.price(candle.low)),
            "close": wire.text(spec.price(candle.close)),
            "volume": wire.text(spec.size(candle.volume)),
            "quoteVolume": wire.usd(candle.value * spec.notional_unit),
            "trades": str(candle.trades),
        }

    def _mark_price(self, state: MarketState) -> dict[str, Any]:
        spec = state.spec
        return {
            "symbol": spec.symbol,
            "fundingRate": wire.text(fraction(self.exchange.funding_estimate(spec.symbol))),
            "indexPrice": wire.text(spec.ref_price(state.index)),
            "markPrice": wire.text(spec.ref_price(state.mark)),
            "nextFundingTimestamp": state.next_funding_ns // wire.MS,
        }

    def _open_interest(self, state: MarketState) -> dict[str, Any]:
        steps = self.exchange.open_interest(state.spec.symbol)
        now_ms = self.dialect.now_ns() // wire.MS
        return {"symbol": state.spec.symbol, "openInterest": wire.text(state.spec.size(steps)), "timestamp": str(now_ms)}

    def _funding_rates(self, received: Received) -> list[dict[str, Any]]:
        """Newest first, the running interval on top of them; nothing for an unknown symbol."""
        symbol = received.params.get("symbol", "")
        if not symbol:
            raise invalid("missing field `symbol`")
        state = self.exchange.markets.get(symbol)
        if state is None:
            return []
        rows = [(past.ts_ns, past.rate) for past in self.dialect.history.funding[symbol]]
        rows.append((state.next_funding_ns, self.exchange.funding_estimate(symbol)))
        found = [
            {"symbol": symbol, "fundingRate": wire.text(fraction(rate)), "intervalEndTimestamp": wire.naive(ts)} for ts, rate in rows[::-1]
        ]
        return _page(found, received.params, most=FUNDING_ROWS)

    def _trades(self, received: Received) -> list[dict[str, Any]]:
        spec = self._market(received).spec
        rows = list(reversed(self.dialect.history.trades[spec.symbol]))
        return [
            {
                "id": t.trade_id,
                "isBuyerMaker": t.taker_side is Side.SELL,
                "price": wire.text(spec.price(t.price)),
                "quantity": wire.text(spec.size(t.size)),
                "quoteQuantity": wire.usd(t.price * t.size * spec.notional_unit),
                "timestamp": t.ts_ns // wire.MS,
            }
            for t in _page(rows, received.params)
        ]

    # ---- account

    def _account(self, owner: Owner, _: dict[str, Any]) -> dict[str, Any]:
        fees = self.dialect.fees(owner.account)
        live = self.exchange.open_orders(owner.account)
        return {
            "autoBorrowSettlements": True,
            "autoLend": False,
            "autoRealizePnl": True,
            "autoRepayBorrows": True,
            "borrowLimit": "0",
            "futuresMakerFee": wire.text(fraction(fees[0]) * 10_000),
            "futuresTakerFee": wire.text(fraction(fees[1]) * 10_000),
            "leverageLimit": owner.leverage_limit,
            "limitOrders": sum(order.request.trigger is None for order in live),
            "liquidating": False,
            "positionLimit": "0",
            "spotMakerFee": "8",
            "spotTakerFee": "10",
            "triggerOrders": sum(order.request.trigger is not None for order in live),
        }

    def _update_account(self, owner: Owner, body: dict[str, Any]) -> Reply:
        """The leverage limit holds in every market, up to the market's own. The answer has no body."""
        if "leverageLimit" in body:
            leverage = _number(body, "leverageLimit")
            if leverage is None or not 1 <= leverage <= 100:
                raise invalid("Invalid leverage limit")
            for symbol, state in self.exchange.markets.items():
                initial = max(int(UNIT / leverage), state.spec.tiers[0].initial)
                if self.exchange.set_leverage(self.dialect.now_ns(), owner.account, symbol, initial) is not None:
                    raise Refusal("INSUFFICIENT_MARGIN", "Insufficient margin", status=400)
            owner.leverage_limit = wire.text(leverage)
        return Reply(b"")

    def _max_order(self, owner: Owner, params: dict[str, Any]) -> dict[str, Any]:
        state = self._market(params)
        initial = self.exchange.position(owner.account, state.spec.symbol).initial
        mark = state.spec.ref_price(state.mark)
        available = money(max(0, self.exchange.available(owner.account))) / fraction(initial)
        steps = int(available / mark / state.spec.step_size) if mark else 0
        return {"symbol": state.spec.symbol, "side": params.get("side"), "maxOrderQuantity": wire.text(state.spec.size(steps))}

    def _capital(self, owner: Owner, _: dict[str, Any]) -> dict[str, Any]:
        balance = wire.usd(max(0, self.exchange.account(owner.account).balance))
        return {"USDC": {"available": balance, "locked": "0", "staked": "0"}}

    def _collateral(self, owner: Owner, _: dict[str, Any]) -> dict[str, Any]:
        account = self.exchange.account(owner.account)
        equity, available = self.exchange.equity(owner.account), max(0, self.exchange.available(owner.account))
        held = [p for p in account.positions.values() if p.size]
        exposure = sum((abs(p.market.spec.size(p.size)) * p.market.spec.ref_price(p.market.mark) for p in held), Decimal(0))
        balance = wire.usd(account.balance)
        return {
            "assetsValue": balance,
            "borrowLiability": "0",
            "collateral": [
                {
                    "symbol": "USDC",
                    "assetMarkPrice": "1",
                    "totalQuantity": balance,
                    "balanceNotional": balance,
                    "collateralWeight": "1",
                    "collateralValue": balance,
                    "openOrderQuantity": "0",
                    "lendQuantity": "0",
                    "availableQuantity": balance,
                }
            ],
            "imf": "0.02",
            "mmf": "0.0125",
            "liabilitiesValue": "0",
            "marginFraction": wire.text(round(money(equity) / exposure, 6)) if exposure else None,
            "netEquity": wire.usd(equity),
            "netEquityAvailable": wire.usd(available),
            "netEquityLocked": wire.usd(equity - available),
            "netExposureFutures": wire.text(round(exposure, 6)),
            "pnlUnrealized": wire.usd(sum(p.market.unrealised(p) for p in held)),
            "unsettledEquity": "0",
        }

    def _positions(self, owner: Owner, params: dict[str, Any]) -> list[dict[str, Any]]:
        symbol = params.get("symbol")
        account = self.exchange.account(owner.account)
        return [self.position_row(p) for p in account.positions.values() if p.size and symbol in (None, p.market.spec.symbol)]

    def position_row(self, position: Any) -> dict[str, Any]:
        """The exposure adds what resting orders may do to it: the position is `netQuantity`."""
        state, spec = position.market, position.market.spec
        size, mark = spec.size(position.size), spec.ref_price(state.mark)
        worst = max(position.size + position.buying, position.size - position.selling, key=abs)
        entry = money(position.cost) / size
        liquidation = self.exchange.liquidation_price(position.account.id, spec.symbol)
        function = {"type": "sqrt", "factor": "0.0000935"}
        tier = spec.tiers[0]
        return {
            "symbol": spec.symbol,
            "positionId": str(4_238_420_454 + position.account.id),
            "netQuantity": wire.text(size),
            "netExposureQuantity": wire.text(abs(spec.size(worst))),
            "netExposureNotional": wire.text(abs(spec.size(worst)) * mark),
            "netCost": wire.usd(position.cost),
            "entryPrice": wire.text(entry),
            "breakEvenPrice": wire.text(entry),
            "markPrice": wire.text(mark),
            "estLiquidationPrice": wire.text(spec.ref_price(liquidation)) if liquidation is not None else "0",
            "pnlUnrealized": wire.usd(state.unrealised(position)),
            "pnlRealized": wire.usd(position.realised),
            "cumulativeFundingPayment": wire.usd(position.funding),
            "cumulativeInterest": "0",
            "imf": wire.text(fraction(tier.initial)),
            "mmf": wire.text(fraction(tier.maintenance)),
            "imfFunction": {**function, "base": wire.text(fraction(tier.initial))},
            "mmfFunction": {**function, "base": wire.text(fraction(tier.maintenance))},
            "subaccountId": None,
            "userId": 1_813_870,
        }

    # ---- orders: queries

    def _find(self, owner: Owner, params: dict[str, Any]) -> Order:
        """A live order of that market by exactly one of its ids.

        Raises:
            Refusal: none or both ids given; not there (any more).
        """
        state = self._market(params)
        order_id, client_id = params.get("orderId"), params.get("clientId")
        if (order_id is None) == (client_id is None):
            raise invalid("Must specify exactly one of `orderId` or `clientId`")
        if order_id is not None:
            order = self.exchange.order(int(order_id)) if str(order_id).isdecimal() else None
        else:
            order = self.exchange.order_by_client_id(owner.account, str(client_id))
        if order is None or order.account.id != owner.account or order.market is not state or order.status not in _LIVE:
            raise not_found()
        return order

    def row(self, order: Order, *, past: bool = False) -> dict[str, Any]:
        return wire.order_row(order, related=self.dialect.related(order), exits=self.dialect.exits.get(order.id), past=past)

    def _order(self, owner: Owner, params: dict[str, Any]) -> dict[str, Any]:
        return self.row(self._find(owner, params))

    def _orders(self, owner: Owner, params: dict[str, Any]) -> list[dict[str, Any]]:
        symbol = self._market(params).spec.symbol if params.get("symbol") else ""
        return [self.row(order) for order in self.exchange.open_orders(owner.account, symbol) if order.status in _LIVE]

    def _order_history(self, owner: Owner, params: dict[str, Any]) -> list[dict[str, Any]]:
        """Ended ones, by the time they were made; what was refused outright was never an order."""
        ended = (self.exchange.order(number) for number in self.dialect.history.ended[owner.account])
        rows = [
            order for order in ended if order is not None and (order.status is not OrderStatus.REJECTED or wire.expiry(order) != "Unknown")
        ]
        symbol, order_id = params.get("symbol"), params.get("orderId")
        rows = [o for o in rows if symbol in (None, o.market.spec.symbol) and order_id in (None, str(o.id))]
        rows.sort(key=lambda order: order.id, reverse=params.get("sortDirection", "Desc") == "Desc")
        return [self.row(order, past=True) for order in _page(rows, params)]

    def _fill_history(self, owner: Owner, params: dict[str, Any]) -> list[dict[str, Any]]:
        start = _whole(params, "from", default=0) * wire.MS
        end = _whole(params, "to", default=2**62 // wire.MS) * wire.MS
        symbol, order_id, kind = params.get("symbol"), params.get("orderId"), params.get("fillType")
        rows = [
            wire.fill_row(fill, self.exchange.markets[fill.market])
            for fill in self.dialect.history.fills[owner.account]
            if start <= fill.ts_ns <= end and symbol in (None, fill.market)
        ]
        rows = [row for row in rows if order_id in (None, row["orderId"]) and (kind != "User" or row["systemOrderType"] is None)]
        return _page(rows if params.get("sortDirection") == "Asc" else rows[::-1], params)

    def _funding_history(self, owner: Owner, params: dict[str, Any]) -> list[dict[str, Any]]:
        symbol = params.get("symbol")
        rows = [
            {
                "userId": 1_813_870,
                "subaccountId": 0,
                "symbol": paid.market,
                "quantity": wire.usd(paid.amount),
                "intervalEndTimestamp": wire.naive(paid.ts_ns),
                "fundingRate": wire.text(fraction(paid.rate)),
            }
            for paid in self.dialect.history.payments[owner.account]
            if symbol in (None, paid.market)
        ]
        return _page(rows if params.get("sortDirection") == "Asc" else rows[::-1], params)

    # ---- orders: commands

    def _place(self, owner: Owner, body: dict[str, Any]) -> dict[str, Any]:
        """The order as it is now.

        Raises:
            Refusal: it is none.
        """
        state = self._market(body)
        new, children = self._new(owner, state, body)
        now = self.dialect.now_ns()
        exits = {name: str(body[name]) for name in wire.EXITS if body.get(name) is not None}
        if children:
            kind = GroupKind.OTOCO if len(children) > 1 else GroupKind.OTO
            with self.dialect.placing(exits):
                order = self.exchange.submit_group(now, kind, [new, *children])[0]
        else:
            order = self.exchange.submit(now, new)
        reason = order.reject_reason
        if order.status is OrderStatus.REJECTED and reason is not None and reason is not RejectReason.REDUCE_ONLY:
            code, message = REFUSALS.get(reason, ("INVALID_ORDER", "Invalid order"))
            raise Refusal(code, message, status=400)
        row = self.row(order)
        return row

    async def _batch(self, received: Received) -> Reply:
        bodies = _body(received, list)
        if not bodies or len(bodies) > MAX_BATCH or not all(isinstance(body, dict) for body in bodies):
            raise invalid(f"expected 1 to {MAX_BATCH} orders")
        owner = self._owner(received, bodies)
        found: list[dict[str, Any]] = []
        for body in bodies:
            try:
                found.append({"operation": "Ok", **self._place(owner, body)})
            except Refusal as refusal:
                found.append({"operation": "Err", "code": refusal.code, "message": refusal.message})
        return Reply(found)

    def _new(self, owner: Owner, state: MarketState, body: dict[str, Any]) -> tuple[NewOrder, list[NewOrder]]:
        side, kind = SIDES.get(body.get("side", "")), body.get("orderType")
        tif = TIMES.get(body.get("timeInForce", "GTC"))
        if side is None or kind not in ("Limit", "Market") or tif is None:
            raise invalid("unknown variant")
        client_id = body.get("clientId")
        if client_id is not None and (type(client_id) is not int or not 0 <= client_id < 2**32):
            raise invalid("Invalid clientId: expected u32")
        for flag in ("postOnly", "reduceOnly"):
            if type(body.get(flag, False)) is not bool:
                raise invalid(f"Invalid {flag}: expected a boolean")
        if (body.get("triggerPrice") is None) != (body.get("triggerQuantity") is None):
            raise invalid("Must specify both `triggerPrice` and `triggerQuantity` or neither")
        waits = body.get("triggerPrice") is not None
        price = self._price(state, body, "price")
        if (kind == "Limit") == (price is None):
            raise invalid("Limit orders have a price, market orders none")
        size = self._trigger_size(owner, state, body, side) if waits else self._size(state, body, price)
        trigger = self._trigger(state, body, "triggerPrice", side) if waits else None
        if kind == "Market" and not waits:
            price = self._worst(state, side, body)
            tif = TimeInForce.IOC
        rule = wire.SELF_TRADE.get(body.get("selfTradePrevention", "RejectTaker"))
        if rule is None:
            raise invalid("unknown variant")
        new = NewOrder(
            account=owner.account,
            market=state.spec.symbol,
            side=side,
            size=size,
            price=price or 0,
            type=OrderType.LIMIT if kind == "Limit" else OrderType.MARKET,
            time_in_force=tif,
            post_only=PostOnly.REJECT if body.get("postOnly") else PostOnly.OFF,
            reduce_only=body.get("reduceOnly", False),
            client_id=str(client_id) if client_id is not None else "",
            trigger=trigger,
            self_trade=rule,
        )
        return new, self._children(state, body, new)

    def _children(self, state: MarketState, body: dict[str, Any], parent: NewOrder) -> list[NewOrder]:
        """The exits of an attached bracket: reduce-only triggers that wait for the entry."""
        found: list[NewOrder] = []
        for name in ("takeProfit", "stopLoss"):
            if body.get(f"{name}TriggerPrice") is None:
                continue
            side = parent.side.opposite
            limit = self._price(state, body, f"{name}LimitPrice")
            kind = TriggerKind.TAKE_PROFIT if name == "takeProfit" else TriggerKind.STOP
            at = self._price(state, body, f"{name}TriggerPrice") or 0
            above = (side is Side.BUY) == (kind is TriggerKind.STOP)
            found.append(
                NewOrder(
                    account=parent.account,
                    market=parent.market,
                    side=side,
                    size=parent.size,
                    price=limit or 0,
                    type=OrderType.LIMIT if limit else OrderType.MARKET,
                    time_in_force=TimeInForce.GTC if limit else TimeInForce.IOC,
                    reduce_only=True,
                    trigger=Trigger(at, above, PriceSource.MARK, kind),
                )
            )
        return found

    def _trigger(self, state: MarketState, body: dict[str, Any], name: str, side: Side) -> Trigger:
        """Reached from where the market stands now: the venue knows no stop and no take-profit."""
        at = self._price(state, body, name) or 0
        above = state.spec.price(at) > state.spec.ref_price(state.mark)
        kind = TriggerKind.STOP if above == (side is Side.BUY) else TriggerKind.TAKE_PROFIT
        source = {"LastPrice": PriceSource.LAST, "IndexPrice": PriceSource.INDEX}.get(body.get("triggerBy", ""), PriceSource.MARK)
        return Trigger(at, above, source, kind)

    def _worst(self, state: MarketState, side: Side, body: dict[str, Any]) -> int:
        """How far a market order may walk: the venue's impact band, or the caller's tolerance."""
        spec = state.spec
        best = self.exchange.best(spec.symbol)[1 if side is Side.BUY else 0]
        if not best:
            return 0
        tolerance, kind = _number(body, "slippageTolerance"), body.get("slippageToleranceType")
        if (tolerance is None) != (kind is None):
            raise invalid("Must specify both `slippageTolerance` and `slippageToleranceType` or neither")
        if kind == "TickSize" and tolerance is not None:
            return best + side.sign * int(tolerance)
        part = min(IMPACT, tolerance / 100) if tolerance is not None else IMPACT
        worst = Decimal(best) * (1 + side.sign * part)
        return int(worst.to_integral_value(ROUND_FLOOR if side is Side.BUY else ROUND_CEILING))

    def _price(self, state: MarketState, body: dict[str, Any], name: str) -> int | None:
        value = _number(body, name)
        if value is None:
            return None
        if value <= 0:
            raise Refusal("INVALID_PRICE", "Invalid price", status=400)
        if value % state.spec.tick_size:
            raise invalid("Price decimal too long")
        return state.spec.to_ticks(value)

    def _size(self, state: MarketState, body: dict[str, Any], price: int | None) -> int:
        value, quote = _number(body, "quantity"), _number(body, "quoteQuantity")
        if (value is None) == (quote is None):
            raise invalid("Must specify exactly one of `quantity` or `quoteQuantity`")
        if quote is not None:
            at = state.spec.price(price) if price else state.spec.ref_price(state.mark)
            return int(quote / at / state.spec.step_size)
        assert value is not None
        return self._steps(state, value)

    @staticmethod
    def _steps(state: MarketState, value: Decimal) -> int:
        if value <= 0:
            raise Refusal("INVALID_QUANTITY", "Invalid quantity", status=400)
        if value % state.spec.step_size:
            raise invalid("Quantity decimal too long")
        return state.spec.to_steps(value)

    def _trigger_size(self, owner: Owner, state: MarketState, body: dict[str, Any], side: Side) -> int:
        """An amount, or a share of the position."""
        said = str(body["triggerQuantity"])
        if said.endswith("%"):
            held = self.exchange.position(owner.account, state.spec.symbol).closable(side)
            return int(held * Decimal(said[:-1]) / 100)
        value = _number(body, "triggerQuantity")
        assert value is not None
        return self._steps(state, value)

    def _cancel(self, owner: Owner, body: dict[str, Any]) -> Reply | dict[str, Any]:
        order = self._find(owner, body)
        if self.dialect.cancel_delay_s:
            self.dialect.agenda.after(self.dialect.cancel_delay_s, self._cancel_late, owner, [order])
            return Reply(b"", 202)
        self._end(owner, order)
        return self.row(order)

    def _cancel_all(self, owner: Owner, body: dict[str, Any]) -> Reply | list[dict[str, Any]]:
        symbol, kind = self._market(body).spec.symbol, body.get("orderType")
        if kind not in (None, "RestingLimitOrder", "ConditionalOrder"):
            raise invalid("unknown variant")
        orders = [o for o in self.exchange.open_orders(owner.account, symbol) if o.status in _LIVE]
        if kind is not None:
            orders = [o for o in orders if (o.request.trigger is not None) == (kind == "ConditionalOrder")]
        if self.dialect.cancel_delay_s and orders:
            self.dialect.agenda.after(self.dialect.cancel_delay_s, self._cancel_late, owner, orders)
            return Reply(b"", 202)
        for order in orders:
            self._end(owner, order)
        return [self.row(order) for order in orders]

    def _end(self, owner: Owner, order: Order) -> None:
        reason = self.exchange.cancel(self.dialect.now_ns(), owner.account, order.id)
        if reason is RejectReason.MARKET_STATUS:
            raise Refusal("TRADING_PAUSED", "Trading is paused", status=400)

    def _cancel_late(self, owner: Owner, orders: list[Order]) -> None:
        for order in orders:
            if not order.status.terminal:
                self.exchange.cancel(self.dialect.now_ns(), owner.account, order.id)


_LIVE: Final = frozenset({OrderStatus.OPEN, OrderStatus.UNTRIGGERED})


def _body(received: Received, kind: type[Any]) -> Any:
    try:
        body = received.json()
    except ValueError:
        raise invalid("Failed to parse the request body as JSON") from None
    if not isinstance(body, kind):
        raise invalid("Failed to parse the request body as JSON")
    return body


def _number(params: dict[str, Any], name: str) -> Decimal | None:
    value = params.get(name)
    if value is None:
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise invalid(f"Invalid {name}: expected a decimal") from None
    if not number.is_finite():
        raise invalid(f"Invalid {name}: expected a decimal")
    return number


def _whole(params: Any, name: str, *, default: int | None = None) -> int:
    value = params.get(name)
    if value is None and default is not None:
        return default
    if value is None or not str(value).isdecimal():
        raise invalid(f"Invalid {name}: expected a whole number")
    return int(value)


def _page(rows: list[Any], params: Any, *, most: int = ROWS) -> list[Any]:
    limit, offset = _whole(params, "limit", default=100), _whole(params, "offset", default=0)
    if limit > most:
        raise invalid(f"limit must be at most {most}")
    return rows[offset : offset + limit]
