"""ccxt's side, in its own environment: `python peer_ccxt.py CASE [ARGUMENT]`."""

from __future__ import annotations

import asyncio
import json
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

    keys = {
        "privateKey": KEY,
        "walletAddress": ADDRESS,
        "apiKey": "key",
        "secret": "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=",
        "password": "word",
    }
    exchange = getattr(ccxt.pro, venue)({"enableRateLimit": False, "newUpdates": False, **keys})
    exchange.options["watchOrderBook"] = {**exchange.options.get("watchOrderBook", {}), "checksum": False}  # OKX's is dead
    exchange.set_markets([market(base, id) for base, id in markets])
    return exchange


def receiver(exchange: Any) -> Any:
    """Its own socket client, fed by hand: text -> json -> handler -> book."""
    from ccxt.async_support.base.ws.client import Client

    def nothing(*_: Any) -> None:
        return None

    return Client("ws://bench", exchange.handle_message, nothing, nothing, nothing, {"verbose": False})


IDS = {
    "hyperliquid": "0",
    "lighter": "1",
    "okx": "BTC-USDT-SWAP",
    "aster": "BTCUSDT",
    "backpack": "BTC_USDC_PERP",
    "dydx": "BTC-USD",
    "paradex": "BTC-USD-PERP",
}


async def frames(venue: str) -> dict[str, float]:
    texts = wire.FRAMES[venue](MESSAGES)
    exchange = exchange_of(venue, [("BTC", IDS[venue])])
    feed = receiver(exchange).handle_text_or_binary_message
    symbol = "BTC/USDC:USDC"
    if venue in ("aster", "backpack"):  # their books begin with a snapshot by request
        first = json.loads(texts[0])
        book = exchange.order_book({})
        book.reset({"bids": floats(first["bids"]), "asks": floats(first["asks"]), "nonce": int(first["lastUpdateId"]), "symbol": symbol})
        exchange.orderbooks[symbol] = book
    else:
        feed(texts[0])

    def work() -> None:
        for text in texts[1:]:
            feed(text)
            book = exchange.orderbooks[symbol]
            _ = book["bids"][0][0], book["asks"][0][0]

    per_message = timing.cpu_us(work, MESSAGES - 1)
    best = exchange.orderbooks[symbol]["bids"][0][0], exchange.orderbooks[symbol]["asks"][0][0]
    await exchange.close()
    return {"frame": per_message, "bid": best[0], "ask": best[1]}


def floats(levels: list[list[str]]) -> list[list[float]]:
    return [[float(price), float(size)] for price, size in levels]


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


class Reached(Exception):
    """The request would go out now."""


async def sign(venue: str) -> dict[str, float]:
    """From the order to the bytes of its request."""
    exchange = exchange_of(venue, [("BTC", IDS[venue])])
    if venue == "hyperliquid":
        wire_order = exchange.create_order_request("BTC/USDC:USDC", "limit", "buy", "0.01", "60000", {})
        action = {"type": "order", "orders": [wire_order], "grouping": "na"}

        def work() -> None:
            for n in range(100):
                exchange.sign_l1_action(action, 1_790_000_000_000 + n, None)

        figure = timing.cpu_us(work, 100)
        await exchange.close()
        return {"sign": figure}

    if venue == "paradex":
        figure = await paradex(exchange)
        await exchange.close()
        return {"sign": figure}

    async def out(*_: Any) -> Any:
        raise Reached

    exchange.fetch = out

    async def once() -> None:
        try:
            await exchange.create_order("BTC/USDC:USDC", "limit", "buy", 0.01, 60000)
        except Reached:
            return
        raise AssertionError("nothing was sent")

    await once()
    cpu = time.process_time()
    for _ in range(100):
        await once()
    figure = (time.process_time() - cpu) * 1e6 / 100
    await exchange.close()
    return {"sign": figure}


async def paradex(exchange: Any) -> float:
    """The part of its order that signs: the key it derived before, and the domain of the chain."""
    exchange.options["systemConfig"] = {
        "starknet_chain_id": "PRIVATE_SN_POTC_SEPOLIA",
        "l1_chain_id": "11155111",
        "paraclear_account_hash": "0x41cb0280ebadaa75f996d8d92c6f265f6d040bb3ba442e5f86a554f1765244e",
        "paraclear_account_proxy_hash": "0x3530cc4759d78042f1b543bf797f5f3d647cde0388c33734cf91b7f7b9314a9",
    }
    account, domain = await exchange.retrieve_account(), await exchange.prepare_paradex_domain()
    fields = [{"name": name, "type": "felt"} for name in ("timestamp", "market", "side", "orderType", "size", "price")]

    def work() -> None:
        for n in range(20):
            message = {
                "timestamp": 1_790_000_000_000 + n,
                "market": exchange.string_to_base16("BTC-USD-PERP"),
                "side": "1",
                "orderType": exchange.string_to_base16("LIMIT"),
                "size": exchange.scale_number("0.01"),
                "price": exchange.scale_number("60000"),
            }
            digest = exchange.starknet_encode_structured_data(domain, {"Order": fields}, message, account["address"])
            exchange.starknet_sign(digest, account["privateKey"])

    return timing.cpu_us(work, 20)


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
