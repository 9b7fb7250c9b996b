"""POST /info: every documented read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from exchange_simulator.core.events import OrderFilled
from exchange_simulator.core.orders import Order
from exchange_simulator.core.types import UNIT, OrderStatus, money
from exchange_simulator.dialects.base import Refusal
from exchange_simulator.dialects.hyperliquid import wire
from exchange_simulator.dialects.hyperliquid.signatures import SCHEMA_TEXT, schema_error
from exchange_simulator.dialects.hyperliquid.wallets import Wallet

if TYPE_CHECKING:
    from exchange_simulator.dialects.hyperliquid.dialect import HyperliquidDialect

MS: Final = 10**6
FOREVER_MS: Final = 2**53
HOUR_MS: Final = 3_600_000
MINUTE_NS: Final = 60 * 10**9
INTERVALS: Final = {
    "1m": 1,
    "3m": 3,
    "5m": 5,
    "15m": 15,
    "30m": 30,
    "1h": 60,
    "2h": 120,
    "4h": 240,
    "8h": 480,
    "12h": 720,
    "1d": 1440,
    "3d": 4320,
    "1w": 10080,
    "1M": 43200,
}
"""Minutes; a month has thirty days here."""
LIGHT: Final = {"l2Book", "allMids", "clearinghouseState", "orderStatus", "spotClearinghouseState", "exchangeStatus"}
FILLS_PAGE: Final = 2000
FUNDING_PAGE: Final = 500
TOKENS: Final = [
    {
        "name": "USDC",
        "szDecimals": 8,
        "weiDecimals": 8,
        "index": 0,
        "tokenId": "0x6d1e7cde53ba9467b783cb7c530ce054",
        "isCanonical": True,
        "evmContract": None,
        "fullName": None,
        "deployerTradingFeeShare": "0.0",
    },
    {
        "name": "PURR",
        "szDecimals": 0,
        "weiDecimals": 5,
        "index": 1,
        "tokenId": "0xc1fb593aeffbeb02f85e0308e9956a90",
        "isCanonical": True,
        "evmContract": None,
        "fullName": None,
        "deployerTradingFeeShare": "0.0",
    },
]
SPOT_META: Final = {"universe": [{"tokens": [1, 0], "name": "PURR/USDC", "index": 0, "isCanonical": True}], "tokens": TOKENS}


def no_such() -> Refusal:
    """An unknown coin or dex where the venue answers 500 with the body `null`."""
    return Refusal("null", "null", status=500)


class Info:
    """Reads of one dialect."""

    def __init__(self, dialect: HyperliquidDialect) -> None:
        self.dialect = dialect
        self.exchange = dialect.exchange
        self.history = dialect.history
        self.kinds: dict[str, Callable[[dict[str, Any]], Any]] = {
            "allMids": lambda q: self.mids(q.get("dex") or ""),
            "l2Book": self._book,
            "recentTrades": self._trades,
            "candleSnapshot": self._candles,
            "meta": lambda q: wire.meta(self._markets(q)),
            "allPerpMetas": lambda q: [wire.meta(self.dialect.markets_of(dex)) for dex in self.dialect.dexes()],
            "metaAndAssetCtxs": lambda q: [wire.meta(self._markets(q)), [self.ctx(market.symbol) for market in self._markets(q)]],
            "perpDexs": self._dexes,
            "spotMeta": lambda q: SPOT_META,
            "spotMetaAndAssetCtxs": lambda q: [SPOT_META, [{"coin": "PURR/USDC", **SPOT_CTX}]],
            "fundingHistory": self._funding_history,
            "predictedFundings": self._predicted,
            "exchangeStatus": lambda q: {"specialStatuses": None, "time": self.dialect.now_ms()},
            "clearinghouseState": lambda q: self.state(self._user(q), self._dex(q)),
            "spotClearinghouseState": lambda q: self.spot_state(self._user(q)),
            "openOrders": lambda q: [_short(row) for row in self.open_orders(self._user(q), self._dex(q))],
            "frontendOpenOrders": lambda q: self.open_orders(self._user(q), self._dex(q)),
            "orderStatus": self._order_status,
            "historicalOrders": self._order_history,
            "userFills": lambda q: list(reversed(self.fills(self._user(q))[-FILLS_PAGE:])),
            "userFillsByTime": lambda q: _between(self.fills(self._user(q)), q)[:FILLS_PAGE],
            "userFunding": lambda q: _between(self.fundings(self._user(q)), q)[:FUNDING_PAGE],
            "userNonFundingLedgerUpdates": lambda q: [],
            "userFees": self._fees,
            "userRateLimit": self._rate_limit,
            "activeAssetData": self._asset_data,
            "userRole": self._role,
            "extraAgents": self._agents,
            "subAccounts": self._sub_accounts,
            "userAbstraction": self._abstraction,
            "maxBuilderFee": lambda q: 0,
            "referral": lambda q: {"referredBy": None},
        }

    def answer(self, query: Any, remote: str) -> Any:
        """The decoded reply.

        Raises:
            Refusal: 422 for an unknown type or a missing field, 429, or 500 `null`.
        """
        kind = query.get("type") if isinstance(query, dict) else None
        if kind not in self.kinds:
            raise schema_error("")
        self.dialect.charge(remote, 2 if kind in LIGHT else 60 if kind == "userRole" else 20)
        try:
            return self.kinds[kind](query)
        except (KeyError, TypeError, ValueError) as e:
            raise Refusal("schema", f"{SCHEMA_TEXT}: {e}", status=422) from None

    # ---- arguments

    def _user(self, query: dict[str, Any]) -> str:
        user = query["user"]
        if not isinstance(user, str) or len(user) != 42:
            raise schema_error("user")
        return user.lower()

    def _dex(self, query: dict[str, Any]) -> str:
        dex = query.get("dex") or ""
        if dex not in self.dialect.dexes():
            raise no_such()
        return str(dex)

    def _markets(self, query: dict[str, Any]) -> list[Any]:
        return self.dialect.markets_of(self._dex(query))

    # ---- markets

    def mids(self, dex: str) -> dict[str, str]:
        found = {}
        for market in self.dialect.markets_of(dex):
            bid, ask = self.exchange.best(market.symbol)
            last = self.exchange.markets[market.symbol].last
            if bid and ask:
                found[market.symbol] = wire.text(market.price(bid + ask) / 2)
            elif last:
                found[market.symbol] = wire.text(market.price(last))
        return found

    def ctx(self, symbol: str) -> dict[str, Any]:
        market = self.exchange.markets[symbol]
        return wire.asset_ctx(self.exchange, market, self.history.day(symbol, self.dialect.now_ns()))

    def _book(self, query: dict[str, Any]) -> Any:
        market = self.exchange.markets.get(query["coin"])
        return wire.book(self.exchange, market.spec, self.dialect.now_ms()) if market is not None else None

    def _trades(self, query: dict[str, Any]) -> Any:
        if query["coin"] not in self.exchange.markets:
            raise no_such()
        return [self.dialect.trade_row(trade) for trade in reversed(list(self.history.trades[query["coin"]])[-10:])]

    def _candles(self, query: dict[str, Any]) -> Any:
        wanted = query["req"]
        market = self.exchange.markets.get(wanted["coin"])
        if market is None:
            raise no_such()
        interval_ns = INTERVALS[wanted["interval"]] * MINUTE_NS
        end_ns = int(wanted.get("endTime") or FOREVER_MS) * MS
        found = self.history.candles(market.symbol, interval_ns, int(wanted["startTime"]) * MS, end_ns)[-5000:]
        return [wire.candle(candle, market.spec, wanted["interval"], interval_ns) for candle in found]

    def _dexes(self, query: dict[str, Any]) -> Any:
        builders = [dex for dex in self.dialect.dexes() if dex]
        rows = [
            {
                "name": dex,
                "fullName": dex.upper(),
                "deployer": wire.HOUSE,
                "oracleUpdater": None,
                "feeRecipient": None,
                "assetToStreamingOiCap": [[market.symbol, "10000000.0"] for market in self.dialect.markets_of(dex)],
            }
            for dex in builders
        ]
        return [None, *rows]

    def _funding_history(self, query: dict[str, Any]) -> Any:
        if query["coin"] not in self.exchange.markets:
            raise no_such()
        rows = [
            {"coin": query["coin"], "fundingRate": wire.rate(past.rate), "premium": wire.rate(past.rate * 8), "time": past.ts_ns // MS}
            for past in self.history.funding[query["coin"]]
        ]
        return _between(rows, query)[:FUNDING_PAGE]

    def _predicted(self, query: dict[str, Any]) -> Any:
        next_ms = (self.dialect.now_ms() // HOUR_MS + 1) * HOUR_MS
        return [
            [
                market.symbol,
                [
                    [
                        "HlPerp",
                        {
                            "fundingRate": wire.rate(self.exchange.funding_estimate(market.symbol)),
                            "nextFundingTime": next_ms,
                            "fundingIntervalHours": 1,
                        },
                    ]
                ],
            ]
            for market in self.dialect.markets_of("")
        ]

    # ---- orders

    def open_orders(self, user: str, dex: str) -> list[dict[str, Any]]:
        """Newest first; orders that wait for their parent are its children."""
        wallet = self.dialect.wallets.get(user)
        if wallet is None:
            return []
        rows = []
        for order in reversed(self.exchange.open_orders(wallet.account)):
            if wire.dex_of(order.market.symbol) != dex or order.status is OrderStatus.WAITING:
                continue
            row = wire.order(order)
            if order.group is not None and order is order.group.parent:
                row["children"] = [wire.order(child) for child in order.group.orders[1:] if not child.status.terminal]
            rows.append(row)
        return rows

    def _order_status(self, query: dict[str, Any]) -> Any:
        """A new order is not found at once."""
        wallet, oid = self.dialect.wallets.get(self._user(query)), query["oid"]
        order: Order | None = None
        if wallet is not None:
            found = self.exchange.order_by_client_id(wallet.account, oid.lower()) if isinstance(oid, str) else self.exchange.order(oid)
            order = found if found is not None and found.account.id == wallet.account else None
        if order is None or self.dialect.now_ns() - order.created_ns < self.dialect.lookup_lag_s * 1e9:
            return {"status": "unknownOid"}
        return {"status": "order", "order": self._with_status(order)}

    def _with_status(self, order: Order) -> dict[str, Any]:
        return {"order": wire.order(order), "status": wire.status_word(order), "statusTimestamp": order.updated_ns // MS}

    def _order_history(self, query: dict[str, Any]) -> Any:
        wallet = self.dialect.wallets.get(self._user(query))
        if wallet is None:
            return []
        ended = [order for oid in reversed(self.history.ended[wallet.account]) if (order := self.exchange.order(oid)) is not None]
        live = reversed(self.exchange.open_orders(wallet.account))
        return [self._with_status(order) for order in [*live, *ended][:2000]]

    # ---- account

    def state(self, user: str, dex: str) -> dict[str, Any]:
        wallet = self.dialect.wallets.get(user)
        return wire.clearinghouse(self.exchange, wallet.account if wallet is not None else None, dex, self.dialect.now_ms())

    def spot_state(self, user: str) -> dict[str, Any]:
        """The collateral of unified accounts; nothing else is held in spot here."""
        wallet = self.dialect.wallets.get(user)
        if wallet is None or wallet.abstraction == "default":
            return {"balances": []}
        total, free = self.exchange.equity(wallet.account), self.exchange.available(wallet.account)
        balance = {"coin": "USDC", "token": 0, "total": wire.usd(total), "hold": wire.usd(max(0, total - free)), "entryNtl": "0.0"}
        return {"balances": [balance]}

    def _abstraction(self, query: dict[str, Any]) -> Any:
        wallet = self.dialect.wallets.get(self._user(query))
        return wallet.abstraction if wallet is not None else "default"

    def fills(self, user: str) -> list[dict[str, Any]]:
        """Oldest first."""
        wallet = self.dialect.wallets.get(user)
        return [self.dialect.fill_row(event) for event in self.history.fills[wallet.account]] if wallet is not None else []

    def fundings(self, user: str) -> list[dict[str, Any]]:
        wallet = self.dialect.wallets.get(user)
        if wallet is None:
            return []
        return [
            {
                "time": event.ts_ns // MS,
                "hash": wire.ZERO_HASH,
                "delta": {"type": "funding", **wire.funding_delta(event, self.exchange.markets[event.market].spec)},
            }
            for event in self.history.payments[wallet.account]
        ]

    def volume(self, wallet: Wallet) -> int:
        """Money units traded, as far as history goes."""
        fills: list[OrderFilled] = list(self.history.fills[wallet.account])
        return sum(event.price * event.size * self.exchange.markets[event.market].spec.notional_unit for event in fills)

    def _fees(self, query: dict[str, Any]) -> Any:
        wallet = self.dialect.wallets.get(self._user(query))
        own = self.exchange.account(wallet.account).fees.get("") if wallet is not None else None
        maker, taker = own if own is not None else self.dialect.base_fees
        schedule = {"cross": wire.rate(self.dialect.base_fees[1]), "add": wire.rate(self.dialect.base_fees[0])}
        return {"userCrossRate": wire.rate(taker), "userAddRate": wire.rate(maker), "feeSchedule": schedule}

    def _rate_limit(self, query: dict[str, Any]) -> Any:
        wallet = self.dialect.wallets.get(self._user(query))
        if wallet is None:
            return {"cumVlm": "0.0", "nRequestsUsed": 0, "nRequestsCap": self.dialect.initial_actions, "nRequestsSurplus": 0}
        cap, volume = self.dialect.action_budget(wallet)
        return {
            "cumVlm": volume,
            "nRequestsUsed": max(0, wallet.requests),
            "nRequestsCap": cap,
            "nRequestsSurplus": max(0, -wallet.requests),
        }

    def _asset_data(self, query: dict[str, Any]) -> Any:
        return self.asset_data(self._user(query), query["coin"])

    def asset_data(self, user: str, coin: str) -> dict[str, Any]:
        wallet, market = self.dialect.wallets.get(user), self.exchange.markets.get(coin)
        if market is None:
            raise no_such()
        mark = market.spec.ref_price(market.mark)
        if wallet is None:
            value = min(20, wire.leverage_limit(market.spec))
            empty = {"leverage": {"type": "cross", "value": value}, "maxTradeSzs": ["0.0", "0.0"], "availableToTrade": ["0.0", "0.0"]}
            return {"user": user, "coin": coin, **empty, "markPx": wire.text(mark)}
        position = self.exchange.position(wallet.account, coin)
        available = max(0, self.exchange.available(wallet.account))
        most = money(available * UNIT // max(position.initial, market.spec.tiers[0].initial)) / mark if mark else money(0)
        size = wire.text(most // market.spec.step_size * market.spec.step_size)
        leverage = wire.leverage(position)
        both = [wire.usd(available)] * 2
        return {
            "user": user,
            "coin": coin,
            "leverage": leverage,
            "maxTradeSzs": [size, size],
            "availableToTrade": both,
            "markPx": wire.text(mark),
        }

    def _role(self, query: dict[str, Any]) -> Any:
        address = self._user(query)
        wallet = self.dialect.wallets.get(address)
        if wallet is not None:
            return {"role": "subAccount", "data": {"master": wallet.master}} if wallet.master else {"role": "user"}
        now_ms = self.dialect.now_ms()
        master = next((w for w in self.dialect.wallets.values() if address in w.agents and w.agents[address][1] > now_ms), None)
        return {"role": "agent", "data": {"user": master.address}} if master is not None else {"role": "missing"}

    def _agents(self, query: dict[str, Any]) -> Any:
        wallet = self.dialect.wallets.get(self._user(query))
        agents = wallet.agents.items() if wallet is not None else ()
        return [{"name": name, "address": address, "validUntil": until} for address, (name, until) in agents]

    def _sub_accounts(self, query: dict[str, Any]) -> Any:
        master = self._user(query)
        rows = [
            {
                "name": wallet.name,
                "subAccountUser": wallet.address,
                "master": master,
                "clearinghouseState": self.state(wallet.address, ""),
                "spotState": self.spot_state(wallet.address),
            }
            for wallet in self.dialect.wallets.values()
            if wallet.master == master
        ]
        return rows or None


SPOT_CTX: Final = {
    "prevDayPx": "0.2",
    "dayNtlVlm": "0.0",
    "markPx": "0.2",
    "midPx": None,
    "circulatingSupply": "0.0",
    "totalSupply": "0.0",
    "dayBaseVlm": "0.0",
}


def _between(rows: list[dict[str, Any]], query: dict[str, Any]) -> list[dict[str, Any]]:
    start, end = int(query["startTime"]), int(query.get("endTime") or FOREVER_MS)
    return [row for row in rows if start <= row["time"] <= end]


def _short(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("coin", "side", "limitPx", "sz", "oid", "timestamp", "origSz", "cloid", "reduceOnly")}
