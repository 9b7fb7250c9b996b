"""The official Hyperliquid SDK's side, in its own environment: `python peer_hyperliquid.py CASE [ARGUMENT]`."""

from __future__ import annotations

import sys
import time
from typing import Any

import timing

KEY = "0x0123456789012345678901234567890123456789012345678901234567890123"
ORDERS = 100
META: Any = {"universe": [{"name": "BTC", "szDecimals": 5, "maxLeverage": 40}]}
SPOT_META: Any = {"universe": [], "tokens": []}


def sign(_: str) -> dict[str, float]:
    from eth_account import Account
    from hyperliquid.utils import signing as s

    wallet = Account.from_key(KEY)

    def once(n: int) -> None:
        request: Any = {
            "coin": "BTC",
            "is_buy": True,
            "sz": 0.01,
            "limit_px": 60000.0,
            "order_type": {"limit": {"tif": "Gtc"}},
            "reduce_only": False,
            "cloid": s.Cloid.from_int(n + 1),
        }
        action = s.order_wires_to_order_action([s.order_request_to_order_wire(request, 0)], None)
        s.sign_l1_action(wallet, action, None, 1_790_000_000_000 + n, None, True)

    once(0)
    return {"sign": timing.cpu_us(lambda: [once(n) for n in range(300)], 300)}


def orders(url: str) -> dict[str, float]:
    from eth_account import Account
    from hyperliquid.exchange import Exchange

    exchange = Exchange(Account.from_key(KEY), url, meta=META, spot_meta=SPOT_META)
    lengths = []
    for n in range(ORDERS + 10):
        start = time.perf_counter()
        reply = exchange.order("BTC", True, 0.01, 60000.0, {"limit": {"tif": "Gtc"}})
        assert reply["status"] == "ok"
        if n >= 10:
            lengths.append(time.perf_counter() - start)
    return {"order": timing.wall_us(lengths)}


CASES = {"sign": sign, "orders": orders}

if __name__ == "__main__":
    timing.answer(CASES[sys.argv[1]](sys.argv[2]))
