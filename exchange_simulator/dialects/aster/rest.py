"""REST: markets for everybody, the account for who signs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from exchange_simulator.core.market import MarketState
from exchange_simulator.core.types import UNIT, MarginMode, RejectReason, Side, TradeKind
from exchange_simulator.dialects.aster import wire
from exchange_simulator.dialects.aster.signatures import missing
from exchange_simulator.dialects.aster.trading import Trading
from exchange_simulator.dialects.aster.wallets import Wallet
from exchange_simulator.dialects.base import Received, Refusal, Reply, Route

if TYPE_CHECKING:
    from exchange_simulator.dialects.aster.dialect import AsterDialect

MS: Final = 10**6
MINUTE_NS: Final = 60 * 10**9
WEEK_MS: Final = 7 * 86_400_000
FOREVER_MS: Final = 2**53
INTERVALS: Final = {
    "1m": 1,
    "3m": 3,
    "5m": 5,
    "15m": 15,
    "30m": 30,
    "1h": 60,
    "2h": 120,
    "4h": 240,
    "6h": 360,
    "8h": 480,
    "12h": 720,
    "1d": 1440,
    "3d": 4320,
    "1w": 10080,
    "1M": 43200,
}
"""Minutes; a month has thirty days here."""
DEPTHS: Final = {5: 2, 10: 2, 20: 2, 50: 2, 100: 5, 500: 10, 1000: 20}

V1_NAMES: Final = {"balance": "/fapi/v2/balance", "positionRisk": "/fapi/v2/positionRisk", "accountWithJoinMargin": "/fapi/v4/account"}
GHOSTS: Final = (
    {"symbol": "OLDUSDT", "status": "CLOSE", "contractType": "PERPETUAL", "filters": []},
    {
        "symbol": "TESTUSDT",
        "status": "TRADING",
        "contractType": "PERPETUAL",
        "baseAsset": "TEST",
        "quoteAsset": "USDT",
        "marginAsset": "USDT",
        "filters": [],
    },
)
"""Rows that are no markets: without assets, and of a test asset."""

Public = Callable[[Mapping[str, str]], Any]
Private = Callable[[Wallet, Mapping[str, str]], Any]


def invalid_symbol() -> Refusal:
    return Refusal(-1121, "Invalid symbol.", status=400)


def too_long() -> Refusal:
    return Refusal(-1127, "Lookup interval is too big.", status=400)


class Rest:
    """Answers of one dialect. Weights are charged here: some follow from the arguments."""

    def __init__(self, dialect: AsterDialect) -> None:
        self.dialect = dialect
        self.exchange = dialect.exchange
        self.history = dialect.history
        self.trading = Trading(dialect)

    def routes(self) -> Sequence[Route]:
        public: dict[str, tuple[Public, int]] = {
            "ping": (lambda q: {}, 1),
            "time": (lambda q: {"serverTime": self.dialect.now_ms()}, 1),
            "exchangeInfo": (self._exchange_info, 1),
            "depth": (self._depth, 0),
            "trades": (self._trades, 1),
            "historicalTrades": (self._trades, 20),
            "aggTrades": (self._agg_trades, 20),
            "klines": (self._klines, 10),
            "premiumIndex": (self._premium, 1),
            "fundingInfo": (self._funding_info, 1),
            "fundingRate": (self._funding_rate, 1),
            "ticker/24hr": (self._day, 0),
            "ticker/price": (self._prices, 2),
            "ticker/bookTicker": (self._best, 2),
            "openInterest": (self._open_interest, 1),
        }
        private: list[tuple[str, str, Private, int]] = [
            ("GET", "balance", self._balance, 5),
            ("GET", "accountWithJoinMargin", self._account, 5),
            ("GET", "positionRisk", self._risk, 5),
            ("GET", "openOrders", self._open_orders, 0),
            ("GET", "openOrder", self._open_order, 1),
            ("GET", "order", self._order, 1),
            ("GET", "allOrders", self._all_orders, 5),
            ("GET", "userTrades", self._user_trades, 5),
            ("GET", "forceOrders", self._forced, 20),
            ("GET", "income", self._income, 30),
            ("GET", "leverageBracket", self._brackets, 1),
            ("GET", "commissionRate", self._commission, 20),
            ("GET", "positionSide/dual", lambda w, q: {"dualSidePosition": w.hedge}, 30),
            ("GET", "multiAssetsMargin", lambda w, q: {"multiAssetsMargin": w.multi_assets}, 30),
            ("GET", "adlQuantile", self._adl, 5),
            ("POST", "order", self.trading.place, 1),
            ("POST", "order/test", self.trading.try_out, 1),
            ("PUT", "order", self.trading.amend, 1),
            ("DELETE", "order", self.trading.cancel, 1),
            ("POST", "batchOrders", self.trading.place_many, 5),
            ("DELETE", "batchOrders", self.trading.cancel_many, 1),
            ("DELETE", "allOpenOrders", self.trading.cancel_all, 1),
            ("POST", "countdownCancelAll", self.trading.countdown, 10),
            ("POST", "leverage", self._set_leverage, 1),
            ("POST", "marginType", self._set_margin_type, 1),
            ("POST", "positionMargin", self._move_margin, 1),
            ("POST", "positionSide/dual", self._set_mode, 1),
            ("POST", "noop", lambda w, q: {"code": 200, "msg": "success"}, 1),
            ("POST", "listenKey", self._start_key, 1),
            ("PUT", "listenKey", self._extend_key, 1),
            ("DELETE", "listenKey", self._close_key, 1),
        ]
        routes: list[Route] = []
        for name, (ask, weight) in public.items():
            routes += [Route("GET", f"/fapi/{version}/{name}", self._public(ask, weight), cost=0) for version in ("v1", "v3")]
        for method, name, do, weight in private:
            handler = self._private(do, weight, stream=name == "listenKey")
            old = V1_NAMES.get(name, f"/fapi/v1/{name}")
            routes += [Route(method, path, handler, cost=0) for path in (f"/fapi/v3/{name}", old)]
        return routes

    def _public(self, ask: Public, weight: int) -> Callable[[Received], Any]:
        async def handle(received: Received) -> Reply:
            self.dialect.charge(received, weight or self._weight(received))
            return self._reply(received, ask(received.params))

        return handle

    def _private(self, do: Private, weight: int, *, stream: bool) -> Callable[[Received], Any]:
        async def handle(received: Received) -> Reply:
            self.dialect.charge(received, weight or self._weight(received))
            wallet = self.dialect.authenticate(received, stream=stream)
            return self._reply(received, do(wallet, received.params), wallet)

        return handle

    @staticmethod
    def _weight(received: Received) -> int:
        if received.path.endswith("depth"):
            return DEPTHS.get(_int(received.params, "limit", 500), 10)
        return 1 if "symbol" in received.params else 40

    def _reply(self, received: Received, body: Any, wallet: Wallet | None = None) -> Reply:
        return Reply(body, headers=self.dialect.usage(received, wallet))

    # ---- markets

    def market(self, query: Mapping[str, str]) -> MarketState:
        if not query.get("symbol"):
            raise missing("symbol")
        found = self.exchange.markets.get(query["symbol"])
        if found is None:
            raise invalid_symbol()
        return found

    def _each(self, query: Mapping[str, str], make: Callable[[MarketState], Any]) -> Any:
        """One object for a symbol, a list for all."""
        if query.get("symbol"):
            return make(self.market(query))
        return [make(market) for market in self.exchange.markets.values()]

    def _exchange_info(self, query: Mapping[str, str]) -> Any:
        limits = [("REQUEST_WEIGHT", "MINUTE", 1, 2400), ("ORDERS", "MINUTE", 1, 1200), ("ORDERS", "SECOND", 10, 300)]
        return {
            "timezone": "UTC",
            "serverTime": self.dialect.now_ms(),
            "futuresType": "U_MARGINED",
            "rateLimits": [{"rateLimitType": k, "interval": i, "intervalNum": n, "limit": limit} for k, i, n, limit in limits],
            "exchangeFilters": [],
            "assets": [{"asset": "USDT", "marginAvailable": True, "autoAssetExchange": "-10000"}],
            "symbols": [*(wire.symbol(m.spec, self.dialect.born_ms) for m in self.exchange.markets.values()), *GHOSTS],
        }

    def _depth(self, query: Mapping[str, str]) -> Any:
        market, limit, now = self.market(query).spec, _int(query, "limit", 500), self.dialect.now_ms()
        if limit not in DEPTHS:
            raise Refusal(-4021, f"{limit} is not valid depth limit.", status=400)
        sides = {name: wire.levels(self.exchange, market, side, limit) for name, side in (("bids", Side.BUY), ("asks", Side.SELL))}
        return {"lastUpdateId": self.dialect.streams.number(market.symbol), "E": now, "T": now, **sides}

    def _trades(self, query: Mapping[str, str]) -> Any:
        market = self.market(query).spec
        return [wire.trade(one, market) for one in list(self.history.trades[market.symbol])[-_limit(query, 500, 1000) :]]

    def _agg_trades(self, query: Mapping[str, str]) -> Any:
        market = self.market(query).spec
        rows = [wire.agg_trade(one, market) for one in self.history.trades[market.symbol]]
        if "fromId" in query:
            return [row for row in rows if row["a"] >= _int(query, "fromId", 0)][: _limit(query, 500, 1000)]
        return _page(rows, query, "T", _limit(query, 500, 1000))

    def _klines(self, query: Mapping[str, str]) -> Any:
        market = self.market(query).spec
        if query.get("interval") not in INTERVALS:
            raise Refusal(-1120, "Invalid interval.", status=400)
        interval_ns, limit = INTERVALS[query["interval"]] * MINUTE_NS, _limit(query, 500, 1500)
        start, end = _int(query, "startTime", 0), _int(query, "endTime", FOREVER_MS)
        found = self.history.candles(market.symbol, interval_ns, start * MS, end * MS)
        chosen = found[:limit] if "startTime" in query else found[-limit:]
        return [wire.kline(candle, market, interval_ns) for candle in chosen]

    def _premium(self, query: Mapping[str, str]) -> Any:
        rows = self._each(query, lambda market: wire.premium(self.exchange, market, self.dialect.now_ms()))
        if isinstance(rows, list) and rows:
            rows.append({**rows[0], "symbol": "OLDUSDT"})  # more rows than markets
        return rows

    def _funding_info(self, query: Mapping[str, str]) -> Any:
        listed = [m.spec for m in self.exchange.markets.values() if m.symbol not in self.dialect.untold_intervals]
        return [wire.funding_info(m, self.dialect.now_ms()) for m in listed if query.get("symbol") in (None, "", m.symbol)]

    def _funding_rate(self, query: Mapping[str, str]) -> Any:
        symbol = self.market(query).symbol
        rows = [
            {"symbol": symbol, "fundingRate": wire.rate(past.rate), "fundingTime": past.ts_ns // MS}
            for past in self.history.funding[symbol]
        ]
        return _page(rows, query, "fundingTime", _limit(query, 100, 1000))

    def _day(self, query: Mapping[str, str]) -> Any:
        now = self.dialect.now_ns()
        return self._each(query, lambda market: wire.day_ticker(market, self.history.day(market.symbol, now), now // MS))

    def _prices(self, query: Mapping[str, str]) -> Any:
        return self._each(
            query,
            lambda market: {
                "symbol": market.symbol,
                "price": wire.text(market.spec.price(market.last) if market.last else market.spec.ref_price(market.mark)),
                "time": self.dialect.now_ms(),
            },
        )

    def _best(self, query: Mapping[str, str]) -> Any:
        return self._each(query, self.best)

    def best(self, market: MarketState) -> dict[str, Any]:
        found: dict[str, str] = {}
        for name, side in (("bid", Side.BUY), ("ask", Side.SELL)):
            best = wire.levels(self.exchange, market.spec, side, 1)
            found |= {f"{name}Price": best[0][0] if best else "0", f"{name}Qty": best[0][1] if best else "0"}
        return {"symbol": market.symbol, **found, "time": self.dialect.now_ms()}

    def _open_interest(self, query: Mapping[str, str]) -> Any:
        market = self.market(query).spec
        steps = self.exchange.open_interest(market.symbol)
        return {"symbol": market.symbol, "openInterest": wire.text(market.size(steps)), "time": self.dialect.now_ms()}

    # ---- the account

    def _balance(self, wallet: Wallet, query: Mapping[str, str]) -> Any:
        whole = self._account(wallet, query)
        names = ("asset", "crossWalletBalance", "crossUnPnl", "availableBalance", "maxWithdrawAmount", "marginAvailable", "updateTime")
        return [{"accountAlias": "SgsR", "balance": row["walletBalance"], **{n: row[n] for n in names}} for row in whole["assets"]]

    def _account(self, wallet: Wallet, query: Mapping[str, str]) -> Any:
        held = [self.exchange.position(wallet.account, symbol) for symbol in self.exchange.markets]
        return wire.account(self.exchange, wallet.account, held, can_trade=wallet.can_trade, now_ms=self.dialect.now_ms())

    def _risk(self, wallet: Wallet, query: Mapping[str, str]) -> Any:
        symbols = [self.market(query).symbol] if query.get("symbol") else list(self.exchange.markets)
        return [
            wire.position_risk(
                self.exchange,
                wallet.account,
                self.exchange.position(wallet.account, symbol),
                wallet.touched_ns.get(symbol, 0) // MS,
            )
            for symbol in symbols
        ]

    def _rows(self, orders: Iterable[Any]) -> list[dict[str, Any]]:
        return [self.trading.row(order) for order in orders]

    def _open_orders(self, wallet: Wallet, query: Mapping[str, str]) -> Any:
        symbol = self.market(query).symbol if query.get("symbol") else ""
        return self._rows(self.exchange.open_orders(wallet.account, symbol))

    def _open_order(self, wallet: Wallet, query: Mapping[str, str]) -> Any:
        order = self.trading.find(wallet, query)
        if order.status.terminal:
            raise Refusal(-2013, "Order does not exist.", status=400)
        return self.trading.row(order)

    def _order(self, wallet: Wallet, query: Mapping[str, str]) -> Any:
        return self.trading.row(self.trading.find(wallet, query))

    def _all_orders(self, wallet: Wallet, query: Mapping[str, str]) -> Any:
        symbol = self.market(query).symbol
        ended = [order for number in self.history.ended[wallet.account] if (order := self.exchange.order(number)) is not None]
        known = {order.id: order for order in [*ended, *self.exchange.open_orders(wallet.account)] if order.market.symbol == symbol}
        rows = self._rows(order for _, order in sorted(known.items()) if order.reject_reason is None)
        return _page(rows, self._week(query), "time", _limit(query, 500, 1000))

    def _user_trades(self, wallet: Wallet, query: Mapping[str, str]) -> Any:
        market = self.market(query).spec
        rows = [wire.user_trade(fill, market) for fill in self.history.fills[wallet.account] if fill.market == market.symbol]
        if "fromId" in query:
            return [row for row in rows if row["id"] >= _int(query, "fromId", 0)][: _limit(query, 500, 1000)]
        return _page(rows, self._week(query), "time", _limit(query, 500, 1000))

    def _forced(self, wallet: Wallet, query: Mapping[str, str]) -> Any:
        symbol = self.market(query).symbol if query.get("symbol") else ""
        fills = [f for f in self.history.fills[wallet.account] if f.kind is not TradeKind.NORMAL and f.order_id == 0]
        rows = [wire.forced_order(f, self.exchange.markets[f.market].spec) for f in fills if symbol in ("", f.market)]
        return _page(rows, self._week(query), "time", _limit(query, 50, 100))

    def _income(self, wallet: Wallet, query: Mapping[str, str]) -> Any:
        rows: list[dict[str, Any]] = [
            _income(paid.market, "FUNDING_FEE", wire.usd(paid.amount), paid.ts_ns, paid.seq)
            for paid in self.history.payments[wallet.account]
        ]
        for fill in self.history.fills[wallet.account]:
            if fill.fee:
                rows.append(_income(fill.market, "COMMISSION", wire.usd(-fill.fee), fill.ts_ns, fill.seq, str(fill.trade_id)))
            if fill.realised:
                rows.append(_income(fill.market, "REALIZED_PNL", wire.usd(fill.realised), fill.ts_ns, fill.seq, str(fill.trade_id)))
        wanted = query.get("incomeType"), query.get("symbol")
        kept = [row for row in rows if wanted[0] in (None, "", row["incomeType"]) and wanted[1] in (None, "", row["symbol"])]
        return _page(sorted(kept, key=lambda row: int(row["time"])), self._week(query), "time", _limit(query, 100, 1000))

    def _week(self, query: Mapping[str, str]) -> Mapping[str, str]:
        """The last seven days, or at most seven from where they begin."""
        now = self.dialect.now_ms()
        if "startTime" not in query:
            return {**query, "startTime": str(_int(query, "endTime", now) - WEEK_MS)}
        start, end = _int(query, "startTime", 0), _int(query, "endTime", FOREVER_MS)
        if end != FOREVER_MS and end - start > WEEK_MS:
            raise too_long()
        return {**query, "endTime": str(min(end, start + WEEK_MS))}

    def _brackets(self, wallet: Wallet, query: Mapping[str, str]) -> Any:
        return self._each(query, lambda market: wire.brackets(market.spec))

    def _commission(self, wallet: Wallet, query: Mapping[str, str]) -> Any:
        market = self.market(query).spec
        fees = self.exchange.account(wallet.account).fees
        maker, taker = fees.get(market.symbol) or fees.get("") or (market.maker_fee, market.taker_fee)
        return {"symbol": market.symbol, "makerCommissionRate": wire.rate(maker), "takerCommissionRate": wire.rate(taker)}

    def _adl(self, wallet: Wallet, query: Mapping[str, str]) -> Any:
        held = [s for s in self.exchange.markets if self.exchange.position(wallet.account, s).size]
        return [{"symbol": symbol, "adlQuantile": {"LONG": 1, "SHORT": 1, "BOTH": 1}} for symbol in held]

    # ---- settings

    def _set_leverage(self, wallet: Wallet, query: Mapping[str, str]) -> Any:
        market, leverage = self.market(query), _int(query, "leverage", 0)
        if leverage < 1:
            raise wire.refused(RejectReason.BAD_LEVERAGE)
        reason = self.exchange.set_leverage(self.dialect.now_ns(), wallet.account, market.symbol, UNIT // leverage)
        if reason is not None:
            raise wire.refused(reason)
        return {"symbol": market.symbol, "leverage": leverage, "maxNotionalValue": "100000000"}

    def _set_margin_type(self, wallet: Wallet, query: Mapping[str, str]) -> Any:
        market, word = self.market(query), query.get("marginType")
        if word not in ("ISOLATED", "CROSSED"):
            raise missing("marginType")
        mode = MarginMode.ISOLATED if word == "ISOLATED" else MarginMode.CROSS
        if self.exchange.position(wallet.account, market.symbol).mode is mode:
            raise Refusal(-4046, "No need to change margin type.", status=400)
        if self.exchange.open_orders(wallet.account, market.symbol):
            raise Refusal(-4047, "Margin type cannot be changed if there exists open orders.", status=400)
        reason = self.exchange.set_margin_mode(self.dialect.now_ns(), wallet.account, market.symbol, mode)
        if reason is not None:
            raise wire.refused(reason)
        return {"code": 200, "msg": "success"}

    def _move_margin(self, wallet: Wallet, query: Mapping[str, str]) -> Any:
        market, kind = self.market(query), _int(query, "type", 0)
        amount = self.trading.number(query, "amount")
        if kind not in (1, 2):
            raise missing("type")
        units = int(amount * UNIT) * (1 if kind == 1 else -1)
        if self.exchange.move_isolated_margin(self.dialect.now_ns(), wallet.account, market.symbol, units) is not None:
            raise Refusal(-4051, "Isolated balance insufficient.", status=400)
        return {"amount": float(amount), "code": 200, "msg": "Successfully modify position margin.", "type": kind}

    def _set_mode(self, wallet: Wallet, query: Mapping[str, str]) -> Any:
        wanted = query.get("dualSidePosition") == "true"
        if wanted == wallet.hedge:
            raise Refusal(-4059, "No need to change position side.", status=400)
        if self.exchange.open_orders(wallet.account):
            raise Refusal(-4067, "Position side cannot be changed if there exists open orders.", status=400)
        wallet.hedge = wanted
        return {"code": 200, "msg": "success"}

    # ---- the stream's key

    def _start_key(self, wallet: Wallet, query: Mapping[str, str]) -> Any:
        return {"listenKey": self.dialect.listen_key(wallet, new=True)}

    def _extend_key(self, wallet: Wallet, query: Mapping[str, str]) -> Any:
        self.dialect.listen_key(wallet, new=False)
        return {}

    def _close_key(self, wallet: Wallet, query: Mapping[str, str]) -> Any:
        self.dialect.end_listen_key(wallet)
        return {}


def _income(symbol: str, kind: str, amount: str, ts_ns: int, number: int, trade_id: str = "") -> dict[str, Any]:
    return {
        "symbol": symbol,
        "incomeType": kind,
        "income": amount,
        "asset": wire.base_of(symbol)[1],
        "time": ts_ns // MS,
        "info": kind,
        "tranId": number,
        "tradeId": trade_id,
    }


def _int(query: Mapping[str, str], name: str, default: int) -> int:
    if not query.get(name):
        return default
    try:
        return int(query[name])
    except ValueError:
        raise missing(name) from None


def _limit(query: Mapping[str, str], default: int, most: int) -> int:
    return max(1, min(_int(query, "limit", default), most))


def _page(rows: Sequence[dict[str, Any]], query: Mapping[str, str], stamp: str, limit: int) -> list[dict[str, Any]]:
    """With a start the first rows from there, else the newest; ascending either way."""
    start, end = _int(query, "startTime", 0), _int(query, "endTime", FOREVER_MS)
    found = [row for row in rows if start <= row[stamp] <= end]
    return found[:limit] if "startTime" in query else found[-limit:]
