"""The dialect proved by clients that we did not write: ccxt and the venue's own SDK trade against it over loopback.

Both live in environments of their own, see `peers.py`.
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

from exchange_clients.transport.runtime import Runtime
from exchange_simulator.core.exchange import Exchange
from exchange_simulator.core.types import Side, to_fraction, to_money
from exchange_simulator.dialects.base import DialectServer
from exchange_simulator.dialects.okx import OkxDialect

CCXT = """
import asyncio, json, os, sys
import ccxt.pro as ccxt

async def main():
    rest, ws = sys.argv[1], sys.argv[2]
    keys = {"apiKey": os.environ["OKX_API_KEY"], "secret": os.environ["OKX_API_SECRET"], "password": os.environ["OKX_API_PASSPHRASE"]}
    ex = ccxt.okx({**keys, "options": {"fetchMarkets": {"types": ["swap"]}, "defaultType": "swap"}})
    ex.has["fetchCurrencies"] = False
    ex.urls["api"] = {"rest": rest, "ws": ws}
    said = {}
    try:
        markets = await ex.load_markets()
        said["markets"] = [[m["symbol"], m["linear"], m["contractSize"], m["precision"]["amount"], m["precision"]["price"]]
                           for m in sorted(markets.values(), key=lambda m: m["symbol"])]
        symbol, inverse = "BTC/USDT:USDT", "BTC/USD:BTC"
        book = await asyncio.wait_for(ex.watch_order_book(symbol), 10)
        said["book"] = [book["bids"][0][:2], book["asks"][0][:2], len(book["bids"])]
        rate = await ex.fetch_funding_rate(symbol)
        said["rate"] = [rate["fundingRate"], rate["interval"]]
        order = await ex.create_order(symbol, "limit", "buy", 1, 49000, {"clientOrderId": "parity1"})
        seen = await ex.fetch_order(order["id"], symbol)
        said["seen"] = [seen["status"], seen["price"], seen["amount"], seen["clientOrderId"]]
        said["open"] = [o["id"] == order["id"] for o in await ex.fetch_open_orders(symbol)]
        watching = asyncio.ensure_future(ex.watch_orders(symbol))
        await asyncio.sleep(0.5)
        await ex.edit_order(order["id"], symbol, "limit", "buy", 2, 48500)
        said["watched"] = [[o["status"], o["price"], o["amount"]] for o in await asyncio.wait_for(watching, 10)]
        await ex.cancel_order(order["id"], symbol)
        said["open_after"] = len(await ex.fetch_open_orders(symbol))
        try:
            await ex.cancel_order(order["id"], symbol)
        except ccxt.OrderNotFound as e:
            said["cancel_again"] = "OrderNotFound"
        try:
            await ex.create_order(symbol, "limit", "buy", 100000, 49000)
        except ccxt.InsufficientFunds as e:
            said["too_much"] = "InsufficientFunds"
        post = await ex.create_order(symbol, "limit", "buy", 1, 50001, {"postOnly": True})
        said["post_only"] = (await ex.fetch_order(post["id"], symbol))["status"]
        by_socket = await ex.create_order_ws(symbol, "limit", "buy", 1, 47000)
        said["by_socket"] = (await ex.fetch_order(by_socket["id"], symbol))["price"]
        await ex.cancel_order_ws(by_socket["id"], symbol)
        taken = await ex.create_order(symbol, "market", "buy", 1)
        inv = await ex.create_order(inverse, "market", "sell", 3)
        said["taken"] = [(await ex.fetch_order(taken["id"], symbol))["average"], (await ex.fetch_order(inv["id"], inverse))["filled"]]
        said["positions"] = sorted([p["symbol"], p["side"], p["contracts"], p["entryPrice"]] for p in await ex.fetch_positions())
        stop = await ex.create_order(symbol, "market", "sell", 1, None, {"stopLossPrice": 49000, "reduceOnly": True})
        waiting = await ex.fetch_open_orders(symbol, params={"trigger": True, "ordType": "conditional"})
        said["stop"] = [[o["id"] == stop["id"], o["stopLossPrice"], o["side"]] for o in waiting]
        await ex.cancel_order(stop["id"], symbol, {"trigger": True})
        trades = await ex.fetch_my_trades(symbol)
        said["trades"] = [[t["side"], t["price"], t["amount"], t["takerOrMaker"], t["fee"]["cost"], t["fee"]["currency"]] for t in trades]
        said["leverage"] = (await ex.set_leverage(5, symbol, {"mgnMode": "cross"}))["code"]
        said["balance"] = round((await ex.fetch_balance())["USDT"]["total"], 2)
        said["fee"] = [(await ex.fetch_trading_fee(symbol))["maker"], (await ex.fetch_trading_fee(symbol))["taker"]]
    finally:
        await ex.close()
    print(json.dumps(said))

asyncio.run(main())
"""

SDK = """
import json, os, sys, time
from okx import Account, MarketData, PublicData, Trade

rest = sys.argv[1]
keys = (os.environ["OKX_API_KEY"], os.environ["OKX_API_SECRET"], os.environ["OKX_API_PASSPHRASE"], False, "0", rest)
account, trade = Account.AccountAPI(*keys), Trade.TradeAPI(*keys)
market, public = MarketData.MarketAPI(flag="0", domain=rest), PublicData.PublicAPI(flag="0", domain=rest)
swap = "BTC-USDT-SWAP"
said = {}
said["config"] = {k: account.get_account_config()["data"][0][k] for k in ("acctLv", "posMode")}
said["instruments"] = [[i["instId"], i["ctType"], i["ctVal"], i["settleCcy"]] for i in public.get_instruments("SWAP")["data"]]
book = market.get_orderbook(swap, "1")["data"][0]
said["book"] = [book["bids"][0][:2], book["asks"][0][:2]]
said["funding"] = public.get_funding_rate(swap)["data"][0]["fundingRate"]
placed = trade.place_order(instId=swap, tdMode="cross", side="buy", ordType="limit", px="49000", sz="1", clOrdId="sdk1")
said["placed"] = [placed["code"], placed["data"][0]["sCode"]]
seen = trade.get_order(swap, clOrdId="sdk1")["data"][0]
said["seen"] = [seen["state"], seen["px"], seen["sz"], seen["ordId"] == placed["data"][0]["ordId"]]
said["amended"] = trade.amend_order(swap, clOrdId="sdk1", newPx="48500", newSz="2")["data"][0]["sCode"]
said["open"] = [[o["px"], o["sz"]] for o in trade.get_order_list("SWAP")["data"]]
said["canceled"] = trade.cancel_order(swap, clOrdId="sdk1")["data"][0]["sCode"]
said["again"] = trade.cancel_order(swap, clOrdId="sdk1")["data"][0]["sCode"]
batch = [dict(instId=swap, tdMode="cross", side="buy", ordType="post_only", px=str(47000 + n), sz="1") for n in range(2)]
rows = trade.place_multiple_orders(batch)["data"]
said["batch"] = [r["sCode"] for r in rows]
said["batch_canceled"] = [r["sCode"] for r in trade.cancel_multiple_orders([dict(instId=swap, ordId=r["ordId"]) for r in rows])["data"]]
trade.place_order(instId=swap, tdMode="cross", side="buy", ordType="optimal_limit_ioc", sz="1")
position = account.get_positions("SWAP")["data"][0]
said["position"] = [position["pos"], position["avgPx"]]
said["fills"] = [[f["fillPx"], f["fillSz"], f["execType"], f["fee"]] for f in trade.get_fills("SWAP")["data"]]
stop = trade.place_algo_order(instId=swap, tdMode="cross", side="sell", ordType="conditional", sz="1", slTriggerPx="49000", slOrdPx="-1")
algo = stop["data"][0]["algoId"]
said["stop"] = [stop["data"][0]["sCode"], trade.cancel_algo_order([dict(instId=swap, algoId=algo)])["data"][0]["sCode"]]
said["leverage"] = account.set_leverage(lever="7", mgnMode="cross", instId=swap)["data"][0]["lever"]
said["switch"] = trade.cancel_all_after(timeOut="30")["code"] if hasattr(trade, "cancel_all_after") else "0"
wrong = Account.AccountAPI(keys[0], "0" * 32, keys[2], False, "0", rest)
said["wrong_key"] = wrong.get_account_balance()["code"]
print(json.dumps(said))
"""


async def run(python: Path, script: str) -> dict[str, Any]:
    """What the foreign client says about a fresh dialect with two markets, books and an account."""
    exchange = Exchange(OkxDialect.rules())
    dialect = OkxDialect(exchange, Runtime.system())
    now = dialect.now_ns()
    linear = OkxDialect.listing("BTC", tick_size=Decimal("0.1"), step_size=Decimal("0.00001"))
    for market in (linear, OkxDialect.inverse_listing("BTC", tick_size=Decimal("0.1"))):
        exchange.add_market(now, market, mark=market.to_ref(Decimal(50_000)))
        for n in range(10):
            size = 1_000 if market.inverse else 200_000
            exchange.set_level(now, market.symbol, Side.BUY, 499_990 - 10 * n, size)
            exchange.set_level(now, market.symbol, Side.SELL, 500_010 + 10 * n, size)
    exchange.set_funding_rate(now, linear.symbol, to_fraction("0.0001"))
    exchange.fund_insurance(now, to_money(1000))
    account = dialect.open_account(Decimal(10_000))
    async with DialectServer(dialect) as server:
        process = await asyncio.create_subprocess_exec(
            python,
            "-c",
            script,
            server.rest,
            server.ws["public"].removesuffix("/public"),
            env={**os.environ, **account.environ},
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
    """Markets of both kinds, a streamed book, an order's life by request and by socket, a stop, positions, records. Sizes are contracts."""
    assert await run(peer("ccxt"), CCXT) == {
        "markets": [["BTC/USD:BTC", False, 100.0, 1.0, 0.1], ["BTC/USDT:USDT", True, 0.01, 0.001, 0.1]],
        "book": [[49999.0, 200.0], [50001.0, 200.0], 10],
        "rate": [0.0001, "8h"],
        "seen": ["open", 49000.0, 1.0, "parity1"],
        "open": [True],
        "watched": [["open", 48500.0, 2.0]],
        "open_after": 0,
        "cancel_again": "OrderNotFound",
        "too_much": "InsufficientFunds",
        "post_only": "canceled",
        "by_socket": 47000.0,
        "taken": [50001.0, 3.0],
        "positions": [["BTC/USD:BTC", "short", 3.0, 49999.0], ["BTC/USDT:USDT", "long", 1.0, 50001.0]],
        "stop": [[True, 49000.0, "sell"]],
        "trades": [["buy", 50001.0, 1.0, "taker", 0.250005, "USDT"]],
        "leverage": "0",
        "balance": 9999.58,
        "fee": [0.0002, 0.0005],
    }


@pytest.mark.slow
async def test_the_official_sdk_trades_against_the_dialect(peer: Callable[[str], Path]) -> None:
    """The same by the venue's own client, by request alone: its socket client sends no pings and has production's addresses inside."""
    assert await run(peer("python-okx"), SDK) == {
        "config": {"acctLv": "2", "posMode": "net_mode"},
        "instruments": [["BTC-USDT-SWAP", "linear", "0.01", "USDT"], ["BTC-USD-SWAP", "inverse", "100", "BTC"]],
        "book": [["49999", "200"], ["50001", "200"]],
        "funding": "0.0001",
        "placed": ["0", "0"],
        "seen": ["live", "49000", "1", True],
        "amended": "0",
        "open": [["48500", "2"]],
        "canceled": "0",
        "again": "51400",
        "batch": ["0", "0"],
        "batch_canceled": ["0", "0"],
        "position": ["1", "50001"],
        "fills": [["50001", "1", "T", "-0.250005"]],
        "stop": ["0", "0"],
        "leverage": "7",
        "switch": "0",
        "wrong_key": "50113",
    }
