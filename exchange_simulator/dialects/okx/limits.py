"""How often each endpoint may be asked, and by whom it is counted.

Source: dossier sections 3 and 7.
"""

from __future__ import annotations

from typing import Final

from exchange_simulator.dialects.base import Budget, Refusal

BY_ADDRESS: Final = {
    "/public/instruments": 20,
    "/public/time": 10,
    "/market/ticker": 20,
    "/market/tickers": 20,
    "/market/books": 40,
    "/market/books-full": 10,
    "/market/trades": 100,
    "/market/history-trades": 20,
    "/market/candles": 40,
    "/market/history-candles": 20,
    "/public/mark-price": 10,
    "/market/index-tickers": 20,
    "/public/funding-rate": 10,
    "/public/funding-rate-history": 10,
    "/public/open-interest": 20,
    "/public/price-limit": 20,
    "/public/position-tiers": 10,
}
BY_ACCOUNT: Final = {
    "/account/config": 5,
    "/account/balance": 10,
    "/account/positions": 10,
    "/account/instruments": 20,
    "/account/leverage-info": 20,
    "/account/trade-fee": 5,
    "/account/bills": 10,
    "/account/bills-archive": 5,
    "/account/set-leverage": 20,
    "/account/set-position-mode": 5,
    "/trade/orders-pending": 60,
    "/trade/orders-history": 40,
    "/trade/orders-history-archive": 20,
    "/trade/fills": 60,
    "/trade/fills-history": 10,
    "/trade/order-algo": 20,
    "/trade/cancel-algos": 20,
    "/trade/orders-algo-pending": 20,
    "/trade/orders-algo-history": 20,
    "/trade/cancel-all-after": 2,
}
BY_MARKET: Final = {
    "order": 60,
    "cancel-order": 60,
    "amend-order": 60,
    "batch-orders": 300,
    "cancel-batch-orders": 300,
    "amend-batch-orders": 300,
}
"""Per account and instrument, REST and socket together; a batch of one counts as a single order."""
SINGLE: Final = {"batch-orders": "order", "cancel-batch-orders": "cancel-order", "amend-batch-orders": "amend-order"}
WINDOW_S: Final = 2.0
SUB_ACCOUNT: Final = 1000
"""New orders and amends of one sub-account, all markets together."""
OPERATIONS: Final = 480
"""Of one connection in an hour."""


class Limits:
    def __init__(self) -> None:
        self._budgets: dict[int, Budget] = {}
        self._sub_account = Budget(SUB_ACCOUNT, WINDOW_S)
        self._operations = Budget(OPERATIONS, 3600.0)

    def request(self, path: str, who: str, part: str, now_s: float) -> None:
        """One request. `part` is the instrument where that is counted apart."""
        limit = BY_ADDRESS.get(path) or BY_ACCOUNT.get(path) or 60
        self._charge(limit, f"{path}/{who}/{part}", 1, now_s)

    def orders(self, kind: str, who: str, markets: dict[str, int], now_s: float) -> None:
        """Rows of one command, by instrument."""
        total = sum(markets.values())
        name = SINGLE.get(kind, kind) if total == 1 else kind
        for market, count in markets.items():
            self._charge(BY_MARKET[name], f"{name}/{who}/{market}", count, now_s)
        if not name.startswith("cancel") and self._sub_account.charge(who, total, now_s):
            raise Refusal(50061, "You've reached the maximum order rate limit for this account.", status=429)

    def operation(self, session: int, now_s: float) -> bool:
        """Whether one more subscribe, unsubscribe or login fits."""
        return not self._operations.charge(str(session), 1, now_s)

    def _charge(self, limit: int, key: str, count: int, now_s: float) -> None:
        budget = self._budgets.setdefault(limit, Budget(limit, WINDOW_S))
        if budget.charge(key, count, now_s):
            raise Refusal(50011, "Too Many Requests", status=429)
