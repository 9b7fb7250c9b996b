"""Every documented read, by its path."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from exchange_simulator.core.events import OrderFilled
from exchange_simulator.core.orders import Order
from exchange_simulator.core.types import UNIT, Market, MarketStatus, OrderStatus, Side, fraction
from exchange_simulator.dialects.base import Refusal
from exchange_simulator.dialects.okx import wire
from exchange_simulator.dialects.okx.keys import Keys

if TYPE_CHECKING:
    from exchange_simulator.dialects.okx.dialect import OkxDialect

MS: Final = 10**6
MINUTE_NS: Final = 60 * 10**9
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
FORGOTTEN_MS: Final = 2 * HOUR_MS
"""For so long the venue knows an order that was canceled unfilled."""
RECENT_CANDLES: Final = 1440
BARS: Final = {
    **{f"{n}m": n for n in (1, 3, 5, 15, 30)},
    **{f"{n}H": 60 * n for n in (1, 2, 4)},
    **{f"{n}Hutc": 60 * n for n in (6, 12)},
    **{f"{n}Dutc": 1440 * n for n in (1, 3)},
    "1Wutc": 10080,
    "1Mutc": 43200,
}
"""Minutes; days of UTC. A month has thirty days here."""
Query = dict[str, str]
Rows = list[Any]


class Reads:
    """Answers of one dialect."""

    def __init__(self, dialect: OkxDialect) -> None:
        self.dialect = dialect
        self.exchange = dialect.exchange
        self.history = dialect.history
        self.public: dict[str, Callable[[Query], Rows]] = {
            "/public/instruments": self._instruments,
            "/public/time": lambda q: [{"ts": str(self.dialect.now_ms())}],
            "/market/ticker": lambda q: [self.ticker(self._market(q))],
            "/market/tickers": lambda q: [self.ticker(m) for m in self._swaps(q)],
            "/market/books": lambda q: [self._book(q, 400, 1)],
            "/market/books-full": lambda q: [self._book(q, 5000, 1)],
            "/market/trades": self._trades,
            "/market/history-trades": self._trades,
            "/market/candles": lambda q: self._candles(q, recent=True),
            "/market/history-candles": lambda q: self._candles(q, recent=False),
            "/public/mark-price": lambda q: [
                wire.mark_price(self.exchange.markets[m.symbol], self.dialect.now_ms()) for m in self._swaps(q)
            ],
            "/market/index-tickers": self._indices,
            "/public/funding-rate": self._funding,
            "/public/funding-rate-history": self._funding_history,
            "/public/open-interest": lambda q: [
                wire.open_interest(self.exchange, self.exchange.markets[m.symbol], self.dialect.now_ms()) for m in self._swaps(q)
            ],
            "/public/price-limit": self._price_limit,
            "/public/position-tiers": self._tiers,
        }
        self.private: dict[str, Callable[[Keys, Query], Rows]] = {
            "/account/config": self._config,
            "/account/instruments": lambda owner, q: self._instruments(q),
            "/account/balance": lambda owner, q: [self.balance(owner)],
            "/account/positions": self._positions,
            "/account/leverage-info": self._leverage,
            "/account/trade-fee": self._fees,
            "/account/bills": lambda owner, q: self._bills(owner, q, 7),
            "/account/bills-archive": lambda owner, q: self._bills(owner, q, 90),
            "/trade/order": self._order,
            "/trade/orders-pending": self._pending,
            "/trade/orders-history": lambda owner, q: self._ended(owner, q, 7),
            "/trade/orders-history-archive": lambda owner, q: self._ended(owner, q, 90),
            "/trade/fills": lambda owner, q: self._fills(owner, q, 3),
            "/trade/fills-history": lambda owner, q: self._fills(owner, q, 90),
            "/trade/order-algo": self._algo,
            "/trade/orders-algo-pending": self._algos_pending,
            "/trade/orders-algo-history": self._algos_history,
        }

    # ---- markets

    def listed(self) -> list[Market]:
        """Ended markets are gone."""
        return [state.spec for state in self.exchange.markets.values() if state.spec.status is not MarketStatus.DELISTED]

    def _swaps(self, query: Query) -> list[Market]:
        if "instType" in query and query["instType"] != "SWAP":
            return []
        found = [m for m in self.listed() if query.get("instId", m.symbol) == m.symbol]
        return [m for m in found if query.get("instFamily", wire.family(m)) == wire.family(m) == query.get("uly", wire.family(m))]

    def _market(self, query: Query) -> Market:
        state = self.exchange.markets.get(query.get("instId", ""))
        if state is None or state.spec.status is MarketStatus.DELISTED:
            raise Refusal(51001, "Instrument ID does not exist")
        return state.spec

    def _instruments(self, query: Query) -> Rows:
        if "instType" not in query:
            raise Refusal(50014, "Parameter instType can not be empty.", status=400)
        return [wire.instrument(m, self.dialect.code_of(m.symbol)) for m in self._swaps(query)]

    def ticker(self, market: Market) -> dict[str, Any]:
        day = self.history.day(market.symbol, self.dialect.now_ns())
        return wire.ticker(self.exchange, self.exchange.markets[market.symbol], day, self.dialect.now_ms())

    def _book(self, query: Query, most: int, default: int) -> dict[str, Any]:
        market = self._market(query)
        depth = min(most, int(query.get("sz", default)))
        return wire.quotes(self.exchange, market, self.dialect.now_ms(), self.dialect.sequence(market.symbol), depth=depth)

    def _trades(self, query: Query) -> Rows:
        market = self._market(query)
        rows = [wire.trade(t, market) for t in reversed(self.history.trades[market.symbol])]
        return _page(rows, query, "ts" if query.get("type") == "2" else "tradeId", most=500)

    def _candles(self, query: Query, *, recent: bool) -> Rows:
        market = self._market(query)
        rows = self.candles(market, query.get("bar", "1m"))
        if recent:
            oldest = self.dialect.now_ms() - RECENT_CANDLES * self.bar_ns(query.get("bar", "1m")) // MS
            rows = [row for row in rows if int(row[0]) > oldest]
        after, before = int(query.get("after", 2**62)), int(query.get("before", 0))
        return [row for row in rows if before < int(row[0]) < after][: min(300, int(query.get("limit", 100)))]

    @staticmethod
    def bar_ns(bar: str) -> int:
        if bar not in BARS:
            raise Refusal(51000, "Parameter bar error")
        return BARS[bar] * MINUTE_NS

    def candles(self, market: Market, bar: str, since_ns: int = 0) -> list[list[str]]:
        """Newest first."""
        length, now = self.bar_ns(bar), self.dialect.now_ns()
        found = self.history.candles(market.symbol, length, since_ns, now)
        return [wire.candle(c, market, closed=c.start_ns + length <= now) for c in reversed(found)]

    def _indices(self, query: Query) -> Rows:
        wanted = query.get("instId")
        states = [self.exchange.markets[m.symbol] for m in self.listed() if wanted in (None, wire.family(m))]
        return [wire.index_ticker(state, self.dialect.now_ms()) for state in states]

    def funding(self, market: Market) -> dict[str, Any]:
        past = self.history.funding[market.symbol]
        last = past[-1].rate if past else 0
        return wire.funding(self.exchange, self.exchange.markets[market.symbol], last, self.dialect.now_ms())

    def _funding(self, query: Query) -> Rows:
        markets = self.listed() if query.get("instId") == "ANY" else [self._market(query)]
        return [self.funding(m) for m in markets]

    def _funding_history(self, query: Query) -> Rows:
        market = self._market(query)
        after, before = int(query.get("after", 2**62)), int(query.get("before", 0))
        rows = [
            {
                "instType": "SWAP",
                "instId": market.symbol,
                "formulaType": "noRate",
                "method": "current_period",
                "fundingRate": wire.text(fraction(row.rate)),
                "realizedRate": wire.text(fraction(row.rate)),
                "fundingTime": str(row.ts_ns // MS),
            }
            for row in reversed(self.history.funding[market.symbol])
            if before < row.ts_ns // MS < after
        ]
        return rows[: min(400, int(query.get("limit", 100)))]

    def _price_limit(self, query: Query) -> Rows:
        market = self._market(query)
        mark = market.ref_price(self.exchange.markets[market.symbol].mark)
        bounds = {"buyLmt": wire.text(mark * Decimal("1.05")), "sellLmt": wire.text(mark * Decimal("0.95"))}
        return [{"instType": "SWAP", "instId": market.symbol, **bounds, "ts": str(self.dialect.now_ms()), "enabled": True}]

    def _tiers(self, query: Query) -> Rows:
        rows: Rows = []
        for market in self._swaps({k: v for k, v in query.items() if k in ("instType", "instFamily", "uly")}):
            floors = [tier.floor for tier in market.tiers]
            for number, tier in enumerate(market.tiers, 1):
                step = market.notional(1, 1) if market.inverse else self.exchange.markets[market.symbol].notional(1)
                top = floors[number] // step if number < len(floors) else 10**9
                rows.append(
                    {
                        "instId": "",
                        "instFamily": wire.family(market),
                        "uly": wire.family(market),
                        "tier": str(number),
                        "minSz": wire.contracts(market, tier.floor // step),
                        "maxSz": wire.contracts(market, top),
                        "imr": wire.text(fraction(tier.initial)),
                        "mmr": wire.text(fraction(tier.maintenance)),
                        "maxLever": wire.text(round(UNIT / Decimal(tier.initial), 2)),
                    }
                )
        return rows

    # ---- account

    def _config(self, owner: Keys, query: Query) -> Rows:
        return [
            {
                "uid": str(44705892343619584 + owner.account),
                "mainUid": str(44705892343619584 + owner.account),
                "acctLv": owner.account_mode,
                "posMode": owner.position_mode,
                "perm": owner.permissions,
                "acctStpMode": "cancel_maker",
                "autoLoan": False,
                "kycLv": "3",
                "label": "simulated",
                "level": "Lv1",
                "ip": "",
            }
        ]

    def balance(self, owner: Keys) -> dict[str, Any]:
        return wire.balance(self.exchange, owner.account, owner.account_mode, self.dialect.now_ms())

    def _positions(self, owner: Keys, query: Query) -> Rows:
        held = [p for p in self.exchange.account(owner.account).positions.values() if p.size]
        wanted = query.get("instId", "").split(",") if query.get("instId") else None
        return [wire.position(self.exchange, p, self.dialect.now_ms()) for p in held if wanted is None or p.market.symbol in wanted]

    def _leverage(self, owner: Keys, query: Query) -> Rows:
        market = self._market(query)
        position = self.exchange.position(owner.account, market.symbol)
        return [{"instId": market.symbol, "mgnMode": query.get("mgnMode", "cross"), "posSide": "net", "lever": wire.leverage(position)}]

    def _fees(self, owner: Keys, query: Query) -> Rows:
        fees = self.exchange.account(owner.account).fees
        listed = self.listed()
        maker, taker = fees.get("") or ((listed[0].maker_fee, listed[0].taker_fee) if listed else (0, 0))
        pair = {"maker": wire.text(-fraction(maker)), "taker": wire.text(-fraction(taker))}
        group = {"groupId": wire.FEE_GROUP, **pair}
        legacy = {"makerU": pair["maker"], "takerU": pair["taker"], **pair}
        return [{"instType": "SWAP", "level": "Lv1", "feeGroup": [group], **legacy, "ts": str(self.dialect.now_ms())}]

    def _bills(self, owner: Keys, query: Query, days: int) -> Rows:
        if query.get("type") not in (None, "8"):
            return []
        oldest = self.dialect.now_ms() - days * DAY_MS
        rows = [wire.bill(e, self.exchange.markets[e.market]) for e in reversed(self.history.payments[owner.account])]
        return _page([row for row in rows if int(row["ts"]) >= oldest], query, "billId")

    # ---- orders and executions

    def _known(self, order: Order | None) -> bool:
        """Unfilled orders that were canceled are forgotten, refused ones never were."""
        if order is None or order.status is OrderStatus.REJECTED:
            return False
        ended = order.status.terminal and not order.filled
        return not (ended and self.dialect.now_ms() - order.updated_ns // MS > FORGOTTEN_MS)

    def _order(self, owner: Keys, query: Query) -> Rows:
        order = self.dialect.trading.find(owner, dict(query), self._any_market(query))
        if order is None or not self._known(order):
            raise Refusal(51603, "Order does not exist")
        return [wire.order(order)]

    def _any_market(self, query: Query) -> str:
        symbol = query.get("instId", "")
        if symbol not in self.exchange.markets:
            raise Refusal(51001, "Instrument ID does not exist")
        return symbol

    def _matching(self, orders: Iterable[Order], query: Query) -> list[Order]:
        if query.get("instType", "SWAP") != "SWAP":
            return []
        return [o for o in orders if query.get("instId", o.market.symbol) == o.market.symbol]

    def _pending(self, owner: Keys, query: Query) -> Rows:
        live = [o for o in self.exchange.open_orders(owner.account) if not self.dialect.is_waiting_algo(o)]
        return _page([wire.order(o) for o in reversed(self._matching(live, query))], query, "ordId")

    def _ended(self, owner: Keys, query: Query, days: int) -> Rows:
        ids = dict.fromkeys(reversed(self.history.ended[owner.account]))
        found = [o for i in ids if (o := self.exchange.order(i)) is not None and self._known(o) and not self.dialect.is_waiting_algo(o)]
        oldest = (self.dialect.now_ms() - days * DAY_MS) * MS
        kept = sorted((o for o in self._matching(found, query) if o.created_ns >= oldest), key=lambda o: -o.id)
        return _page([wire.order(o) for o in kept], query, "ordId")

    def _fills(self, owner: Keys, query: Query, days: int) -> Rows:
        oldest = (self.dialect.now_ms() - days * DAY_MS) * MS
        events = [e for e in reversed(self.history.fills[owner.account]) if e.ts_ns >= oldest]
        rows = [self._fill(e) for e in events if query.get("instId", e.market) == e.market]
        return _page(rows, query, "billId")

    def _fill(self, event: OrderFilled) -> dict[str, Any]:
        order = self.exchange.order(event.order_id) if event.order_id else None
        triggered = order is not None and order.request.trigger is not None
        return wire.fill(event, self.exchange.markets[event.market], "" if triggered else event.client_id)

    def _algo(self, owner: Keys, query: Query) -> Rows:
        order = self.dialect.trading.find(owner, dict(query), "", algo=True)
        if order is None or order.request.trigger is None or not self._known(order):
            raise Refusal(51603, "Order does not exist")
        return [wire.algo(order, self.dialect.algo_state(order))]

    def _algos_pending(self, owner: Keys, query: Query) -> Rows:
        kinds = query.get("ordType", "").split(",")
        if "conditional" not in kinds:
            return []
        waiting = [o for o in self.exchange.open_orders(owner.account) if self.dialect.is_waiting_algo(o)]
        return _page([wire.algo(o, "live") for o in reversed(self._matching(waiting, query))], query, "algoId")

    def _algos_history(self, owner: Keys, query: Query) -> Rows:
        ids = dict.fromkeys(reversed(self.history.ended[owner.account]))
        ended = [o for i in ids if (o := self.exchange.order(i)) is not None and o.request.trigger is not None]
        rows = [wire.algo(o, self.dialect.algo_state(o)) for o in self._matching(ended, query)]
        return _page([row for row in rows if query.get("state", row["state"]) == row["state"]], query, "algoId")

    def book_side(self, market: Market, side: Side) -> list[list[str]]:
        return wire.levels(self.exchange, market, side, 400)


def _page(rows: Sequence[dict[str, Any]], query: Query, cursor: str, *, most: int = 100) -> Rows:
    """Newest first: older than `after`, newer than `before`, from `begin` to `end`."""
    after, before = int(query.get("after", 2**62)), int(query.get("before", 0))
    begin, end = int(query.get("begin", 0)), int(query.get("end", 2**62))
    stamp = "ts" if rows and "ts" in rows[0] else "cTime"
    found = [row for row in rows if before < int(row[cursor]) < after and begin <= int(row[stamp]) <= end]
    return found[: min(most, int(query.get("limit", 100)))]
