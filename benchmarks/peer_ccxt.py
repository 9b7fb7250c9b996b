"""ccxt's side, in its own environment: `python peer_ccxt.py CASE [ARGUMENT]`."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

import timing
import wire

KEY = "0x0123456789012345678901234567890123456789012345678901234567890123"
ADDRESS = "0x14791697260e4c9a71f18484c9f997b308e59325"
MESSAGES = 4_000
ORDERS = 300


def market(base: str, id: str) -> dict[str, Any]:
    symbol = f"{base}/USDC:USDC"
    return {
        "id": id,
        "symbol": symbol,
        "base": base,
        "baseName": base,
        "quote": "USDC",
        "settle": "USDC",
        "baseId": id,
        "quoteId": "USDC",
        "settleId": "USDC",
        "type": "swap",
        "spot": False,
        "margin": False,
        "swap": True,
        "future": False,
        "option": False,
        "active": True,
        "contract": True,
        "linear": True,
        "inverse": False,
        "contractSize": 1.0,
        "taker": 0.00045,
        "maker": 0.00015,
        "precision": {"amount": 0.00001, "price": 0.1},
        "limits": {"amount": {"min": None, "max": None}, "price": {}, "cost": {}, "leverage": {}},
        "info": {},
    }


def exchange_of(venue: str, markets: list[tuple[str, str]]) -> Any:
    import ccxt.pro

    exchange = getattr(ccxt.pro, venue)({"enableRateLimit": False, "privateKey": KEY, "walletAddress": ADDRESS, "newUpdates": False})
    exchange.set_markets([market(base, id) for base, id in markets])
    return exchange


def receiver(exchange: Any) -> Any:
    """Its own socket client, fed by hand: text -> json -> handler -> book."""
    from ccxt.async_support.base.ws.client import Client

    def nothing(*_: Any) -> None:
        return None

    return Client("ws://bench", exchange.handle_message, nothing, nothing, nothing, {"verbose": False})


async def frames(venue: str) -> dict[str, float]:
    hyperliquid = venue == "hyperliquid"
    texts = wire.hyperliquid_frames(MESSAGES) if hyperliquid else wire.lighter_frames(MESSAGES)
    exchange = exchange_of(venue, [("BTC", "0" if hyperliquid else "1")])
    feed = receiver(exchange).handle_text_or_binary_message
    symbol = "BTC/USDC:USDC"

    def work() -> None:
        for text in texts:
            feed(text)
            book = exchange.orderbooks[symbol]
            _ = book["bids"][0][0], book["asks"][0][0]

    per_message = timing.cpu_us(work, MESSAGES)
    await exchange.close()
    return {"frame": per_message}


async def books(count: str) -> dict[str, float]:
    number = int(count)
    exchange = exchange_of("lighter", [(f"M{n}", str(n)) for n in range(number)])
    feed = receiver(exchange).handle_text_or_binary_message
    per_book = max(20, MESSAGES // number)
    streams = [wire.lighter_frames(per_book, market_id=n, seed=n) for n in range(number)]
    before = timing.current_rss_kib()
    for stream in streams:
        feed(stream[0])
    memory = timing.current_rss_kib() - before
    queue = [stream[n] for n in range(1, per_book) for stream in streams]

    def work() -> None:
        for text in queue:
            feed(text)

    per_message = timing.cpu_us(work, len(queue))
    await exchange.close()
    return {"frame": per_message, "kib_per_book": memory / number}


async def sign(venue: str) -> dict[str, float]:
    exchange = exchange_of(venue, [("BTC", "0")])
    wire_order = exchange.create_order_request("BTC/USDC:USDC", "limit", "buy", "0.01", "60000", {})
    action = {"type": "order", "orders": [wire_order], "grouping": "na"}

    def work() -> None:
        for n in range(100):
            exchange.sign_l1_action(action, 1_790_000_000_000 + n, None)

    figure = timing.cpu_us(work, 100)
    await exchange.close()
    return {"sign": figure}


async def orders(url: str) -> dict[str, float]:
    exchange = exchange_of("hyperliquid", [("BTC", "0")])
    exchange.urls["api"] = {"public": url, "private": url}
    exchange.options["builderFee"] = False
    exchange.options["approvedBuilderFee"] = True
    lengths = []
    for n in range(60):
        start = time.perf_counter()
        placed = await exchange.create_order("BTC/USDC:USDC", "limit", "buy", 0.01, 60000)
        assert placed["id"] == "77738308"
        if n >= 10:
            lengths.append(time.perf_counter() - start)
    await exchange.close()
    return {"order": timing.wall_us(lengths)}


CASES = {"frames": frames, "books": books, "sign": sign, "orders": orders}

if __name__ == "__main__":
    timing.answer(asyncio.run(CASES[sys.argv[1]](sys.argv[2])))
