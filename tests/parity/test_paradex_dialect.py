"""The dialect proved by a client that we did not write: ccxt derives its key, signs with its own curve and trades over loopback.

Its streams ask for version 3 of the binary schema. The official SDK does not install here (no wheel of what it signs with); its frame
decoder does, see `test_paradex_sbe`.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from exchange_clients.paradex.signing import derive_key
from exchange_clients.transport.runtime import Runtime
from exchange_simulator.core.exchange import Exchange
from exchange_simulator.core.types import Side, to_fraction, to_money
from exchange_simulator.dialects.base import DialectServer
from exchange_simulator.dialects.paradex import ParadexDialect

ETH_KEY = "0xf8e4d1d772cdd44e5e77615ad11cc071c94e4c06dc21150d903f28e6aa6abdff"
"""Published in the official SDK's tests."""

CCXT = """
import asyncio, json, os, sys
import ccxt.pro as ccxt

async def main():
    rest, ws = sys.argv[1], sys.argv[2]
    ex = ccxt.paradex({"walletAddress": "0xd2c7314539dCe7752c8120af4eC2AA750Cf2035e", "privateKey": os.environ["KEY"]})
    ex.urls["api"] = {"v1": rest + "/v1", "v2": rest + "/v2", "ws": ws}
    said = {}
    try:
        await ex.onboarding()
        markets = await ex.load_markets()
        said["markets"] = sorted(m["symbol"] for m in markets.values() if m["swap"])
        symbol = "BTC/USD:USDC"
        said["precision"] = [markets[symbol]["precision"]["amount"], markets[symbol]["precision"]["price"]]
        book = await asyncio.wait_for(ex.watch_order_book(symbol), 10)
        said["book"] = [book["bids"][0][:2], book["asks"][0][:2], len(book["bids"])]
        ticker = await asyncio.wait_for(ex.watch_ticker(symbol), 10)
        said["ticker"] = [ticker["bid"], ticker["ask"], ticker["markPrice"]]
        rate = (await ex.fetch_funding_rates([symbol]))[symbol]
        said["rate"] = [rate["fundingRate"], rate["nextFundingTimestamp"]]
        orders = []
        async def listen():
            while True:
                for o in await ex.watch_orders(symbol):
                    orders.append([o["status"], o["price"], o["amount"], o["filled"]])
        listening = asyncio.ensure_future(listen())
        await asyncio.sleep(0.5)
        order = await ex.create_order(symbol, "limit", "buy", 0.01, 49000, {"clientOrderId": "c1"})
        said["placed"] = [order["status"], order["clientOrderId"]]
        await asyncio.sleep(0.3)
        seen = await ex.fetch_order(order["id"], symbol)
        said["seen"] = [seen["status"], seen["price"], seen["amount"], seen["clientOrderId"]]
        said["open"] = [o["id"] == order["id"] for o in await ex.fetch_open_orders(symbol)]
        amended = await ex.edit_order(order["id"], symbol, "limit", "buy", 0.02, 48500)
        said["amended"] = amended["id"] == order["id"]
        await asyncio.sleep(0.3)
        now = await ex.fetch_order(order["id"], symbol)
        said["now"] = [now["price"], now["amount"]]
        await ex.cancel_order(order["id"], symbol)
        await asyncio.sleep(0.3)
        said["open_after"] = len(await ex.fetch_open_orders(symbol))
        try:
            await ex.cancel_order(order["id"], symbol)
        except ccxt.BaseError as e:
            said["cancel_again"] = type(e).__name__
        late = await ex.create_order(symbol, "limit", "buy", 0.01, 50001, {"postOnly": True, "clientOrderId": "c2"})
        await asyncio.sleep(0.3)
        said["post_only"] = (await ex.fetch_order(None, symbol, {"clientOrderId": "c2"}))["status"]
        taken = await ex.create_order(symbol, "market", "buy", 0.01)
        await asyncio.sleep(0.3)
        said["position"] = [[p["symbol"], p["side"], p["contracts"], p["entryPrice"]] for p in await ex.fetch_positions([symbol])]
        trades = await ex.fetch_my_trades(symbol)
        said["trades"] = [[t["side"], t["price"], t["amount"], t["takerOrMaker"], t["fee"]["cost"]] for t in trades]
        batch = await ex.create_orders([
            {"symbol": symbol, "type": "limit", "side": "buy", "amount": 0.01, "price": 48000 + n, "params": {"clientOrderId": f"b{n}"}}
            for n in range(2)])
        said["batch"] = [o["clientOrderId"] for o in batch]
        await asyncio.sleep(0.3)
        await ex.cancel_all_orders(symbol)
        await asyncio.sleep(0.3)
        said["canceled_all"] = len(await ex.fetch_open_orders(symbol))
        await ex.set_leverage(7, symbol, {"marginMode": "cross"})
        said["leverage"] = (await ex.fetch_leverage(symbol))["longLeverage"]
        said["balance"] = (await ex.fetch_balance())["USDC"]["total"]
        listening.cancel()
        said["watched"] = [o for n, o in enumerate(orders) if n == 0 or o != orders[n - 1]][:5]
    finally:
        await ex.close()
    print(json.dumps(said))

asyncio.run(main())
"""


async def run(python: Path) -> dict[str, Any]:
    exchange = Exchange(ParadexDialect.rules())
    dialect = ParadexDialect(exchange, Runtime.system(), versions=(3,), private_sbe=True)
    now = dialect.now_ns()
    for base, tick, step, mark in (("BTC", "0.1", "0.00001", "50000"), ("kPEPE", "0.0000001", "1", "0.02")):
        market = ParadexDialect.listing(base, tick_size=Decimal(tick), step_size=Decimal(step))
        exchange.add_market(now, market, mark=market.to_ref(Decimal(mark)))
    for n in range(10):  # ticks of 0.1, steps of 0.00001
        exchange.set_level(now, "BTC-USD-PERP", Side.BUY, 499_990 - 10 * n, 200_000)
        exchange.set_level(now, "BTC-USD-PERP", Side.SELL, 500_010 + 10 * n, 200_000)
    exchange.set_funding_rate(now, "BTC-USD-PERP", to_fraction("0.0001"))
    exchange.fund_insurance(now, to_money(1000))
    dialect.adopt(derive_key(ETH_KEY, 1), Decimal(10_000))
    async with DialectServer(dialect) as server:
        process = await asyncio.create_subprocess_exec(
            python,
            "-c",
            CCXT,
            server.rest,
            server.ws["public"],
            env={**os.environ, "KEY": ETH_KEY},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            out, err = await asyncio.wait_for(process.communicate(), 50)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert process.returncode == 0, err.decode()[-3000:]
    said: dict[str, Any] = json.loads(out.decode().splitlines()[-1])
    return said


@pytest.mark.slow
async def test_ccxt_trades_against_the_dialect(peer: Callable[[str], Path]) -> None:
    """Derive the key, log in, load markets, stream, place, see, amend, cancel, take, and read the account."""
    assert await run(peer("ccxt")) == {
        "markets": ["BTC/USD:USDC", "KPEPE/USD:USDC"],
        "precision": [1e-05, 0.1],
        "book": [[49999.0, 2.0], [50001.0, 2.0], 10],
        "ticker": [49999.0, 50001.0, 50000.0],
        "rate": [0.0001, None],
        "placed": ["open", "c1"],
        "seen": ["open", 49000.0, 0.01, "c1"],
        "open": [True],
        "amended": True,
        "now": [48500.0, 0.02],
        "open_after": 0,
        "cancel_again": "InvalidOrder",
        "post_only": "canceled",
        "position": [["BTC/USD:USDC", "long", 0.01, 50001.0]],
        "trades": [["buy", 50001.0, 0.01, "taker", 0.2250045]],
        "batch": ["b0", "b1"],
        "canceled_all": 0,
        "leverage": 7,
        "balance": 9999.7749955,
        "watched": [
            ["open", 49000.0, 0.01, 0.0],
            ["open", 48500.0, 0.02, 0.0],
            ["canceled", 48500.0, 0.02, 0.0],
            ["open", 50001.0, 0.01, 0.0],
            ["canceled", 50001.0, 0.01, 0.0],
        ],
    }
