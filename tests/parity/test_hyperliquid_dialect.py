"""The dialect proved by clients that we did not write: ccxt and the venue's own SDK trade against it over loopback.

Both live in environments of their own, see `peers.py`.
"""

from __future__ import annotations

import asyncio
import json
import os
from decimal import Decimal
from typing import Any

import pytest

from exchange_clients.transport.runtime import Runtime
from exchange_simulator.core.exchange import Exchange
from exchange_simulator.core.types import Side, to_money
from exchange_simulator.dialects.base import DialectServer
from exchange_simulator.dialects.hyperliquid import HyperliquidDialect
from tests.parity import peers

ENVS = peers.folder()

CCXT = """
import asyncio, json, os, sys
import ccxt.pro as ccxt

async def main():
    rest, ws = sys.argv[1], sys.argv[2]
    ex = ccxt.hyperliquid({"walletAddress": os.environ["ACCOUNT"], "privateKey": os.environ["KEY"], "options": {"builderFee": False}})
    ex.urls["api"] = {"public": rest, "private": rest, "ws": {"public": ws}}
    said = {}
    try:
        markets = await ex.load_markets()
        said["markets"] = sorted(m["symbol"] for m in markets.values() if m["swap"])
        symbol = "BTC/USDC:USDC"
        said["fee_taker"] = markets[symbol]["taker"]
        said["precision"] = [markets[symbol]["precision"]["amount"], markets[symbol]["precision"]["price"]]
        book = await asyncio.wait_for(ex.watch_order_book(symbol), 10)
        said["book"] = [book["bids"][0][:2], book["asks"][0][:2], len(book["bids"])]
        said["rate"] = (await ex.fetch_funding_rates([symbol]))[symbol]["fundingRate"]
        order = await ex.create_order(symbol, "limit", "buy", 0.01, 49000, {"clientOrderId": "0x" + "0" * 31 + "a"})
        said["placed"] = order["id"]
        await asyncio.sleep(0.5)
        seen = await ex.fetch_order(order["id"], symbol)
        said["seen"] = [seen["status"], seen["price"], seen["amount"], seen["clientOrderId"]]
        said["open"] = [o["id"] for o in await ex.fetch_open_orders(symbol)]
        amended = await ex.edit_order(order["id"], symbol, "limit", "buy", 0.02, 48500)
        said["amended"] = amended["id"]
        watching = asyncio.ensure_future(ex.watch_orders(symbol))
        await asyncio.sleep(0.3)
        await ex.cancel_order(amended["id"], symbol)
        said["watched"] = [[o["id"], o["status"]] for o in await asyncio.wait_for(watching, 10)]
        said["open_after"] = len(await ex.fetch_open_orders(symbol))
        try:
            await ex.cancel_order(amended["id"], symbol)
        except ccxt.OrderNotFound as e:
            said["cancel_again"] = "OrderNotFound"
        try:
            await ex.create_order(symbol, "limit", "buy", 0.01, 50001, {"postOnly": True})
        except ccxt.InvalidOrder as e:
            said["post_only"] = type(e).__name__
        taken = await ex.create_order(symbol, "market", "buy", 0.01, 50001)
        said["taken"] = [taken["status"], taken["filled"], taken["average"]]
        said["position"] = [[p["symbol"], p["side"], p["contracts"], p["entryPrice"]] for p in await ex.fetch_positions([symbol])]
        trades = await ex.fetch_my_trades(symbol)
        said["trades"] = [[t["side"], t["price"], t["amount"], t["takerOrMaker"], t["fee"]["cost"]] for t in trades]
        said["leverage"] = (await ex.set_leverage(5, symbol))["status"]
        balance = await ex.fetch_balance()
        said["balance"] = balance["USDC"]["total"]
    finally:
        await ex.close()
    print(json.dumps(said))

asyncio.run(main())
"""

SDK = """
import json, os, sys, time
from eth_account import Account
from hyperliquid.exchange import Exchange
from hyperliquid.info import Info
from hyperliquid.utils.types import Cloid

rest = sys.argv[1]
info = Info(rest)
exchange = Exchange(Account.from_key(os.environ["KEY"]), rest, account_address=os.environ["ACCOUNT"])
user = os.environ["ACCOUNT"]
said, books, updates, fills = {}, [], [], []
said["markets"] = [a["name"] for a in info.meta()["universe"]]
info.subscribe({"type": "l2Book", "coin": "BTC"}, books.append)
info.subscribe({"type": "orderUpdates", "user": user}, updates.append)
info.subscribe({"type": "userFills", "user": user}, fills.append)

def until(true):
    end = time.time() + 10
    while not true():
        assert time.time() < end
        time.sleep(0.02)

until(lambda: books)
said["book"] = [side[0]["px"] for side in books[0]["data"]["levels"]]
cloid = Cloid.from_int(77)
placed = exchange.order("BTC", True, 0.01, 49000, {"limit": {"tif": "Gtc"}}, cloid=cloid)
oid = placed["response"]["data"]["statuses"][0]["resting"]["oid"]
time.sleep(0.5)
said["seen"] = info.query_order_by_cloid(user, cloid)["order"]["status"]
said["open"] = [o["oid"] == oid for o in info.frontend_open_orders(user)]
amended = exchange.bulk_modify_orders_new([{"oid": oid, "order": {"coin": "BTC", "is_buy": True, "sz": 0.02, "limit_px": 48500,
          "order_type": {"limit": {"tif": "Alo"}}, "reduce_only": False, "cloid": cloid}}])
said["amended"] = amended["response"]["data"]["statuses"][0]["resting"]["oid"] != oid
said["canceled"] = exchange.cancel_by_cloid("BTC", cloid)["response"]["data"]["statuses"]
said["again"] = exchange.cancel("BTC", oid)["response"]["data"]["statuses"][0]["error"]
said["taken"] = exchange.market_open("BTC", True, 0.01, slippage=0.001)["response"]["data"]["statuses"][0]["filled"]["totalSz"]
until(lambda: any(not f["data"].get("isSnapshot") for f in fills))
said["fill"] = [f["data"]["fills"][0]["px"] for f in fills if not f["data"].get("isSnapshot")]
said["bracket"] = exchange.order("BTC", False, 0.01, 45000, {"trigger": {"triggerPx": 46000, "isMarket": True, "tpsl": "sl"}},
          reduce_only=True)["response"]["data"]["statuses"]
said["leverage"] = exchange.update_leverage(7, "BTC")
said["shown"] = info.user_state(user)["assetPositions"][0]["position"]["leverage"]
said["closed"] = exchange.market_close("BTC")["response"]["data"]["statuses"][0]["filled"]["totalSz"]
said["switch"] = exchange.schedule_cancel(int(time.time() * 1000) + 10000)["status"]
said["dust"] = exchange.order("BTC", True, 0.0001, 49000, {"limit": {"tif": "Gtc"}})["response"]["data"]["statuses"][0]["error"]
stranger = Exchange(Account.from_key("0x" + "77" * 32), rest, account_address=user)
said["stranger"] = stranger.order("BTC", True, 0.01, 49000, {"limit": {"tif": "Gtc"}})
until(lambda: sum(len(u["data"]) for u in updates) >= 5)
said["updates"] = [o["status"] for u in updates for o in u["data"]][:4]
info.disconnect_websocket()
print(json.dumps(said))
os._exit(0)
"""


async def run(script: str, env: str, *, mainnet: bool) -> dict[str, Any]:
    """What the foreign client says about a fresh dialect with a market, a book and an account."""
    python = ENVS / env / "bin" / "python"
    if not python.exists():
        pytest.skip(f"{env} is not installed in {python.parent.parent}")
    exchange = Exchange(HyperliquidDialect.rules())
    dialect = HyperliquidDialect(exchange, Runtime.system(), mainnet=mainnet)
    now = dialect.now_ns()
    for coin, step, mark in (("BTC", "0.00001", "50000"), ("kPEPE", "1", "0.02")):
        market = HyperliquidDialect.listing(coin, tick_size=Decimal(1), step_size=Decimal(step))
        exchange.add_market(now, market, mark=market.to_ref(Decimal(mark)))
    for n in range(10):  # ticks of 0.1, steps of 0.00001
        exchange.set_level(now, "BTC", Side.BUY, 499_990 - 10 * n, 200_000)
        exchange.set_level(now, "BTC", Side.SELL, 500_010 + 10 * n, 200_000)
    exchange.set_funding_rate(now, "BTC", 12_500_000)
    exchange.fund_insurance(now, to_money(1000))
    account = dialect.open_account(Decimal(10_000))
    async with DialectServer(dialect) as server:
        keys = {"KEY": account.environ["HYPERLIQUID_PRIVATE_KEY"], "ACCOUNT": account.environ["HYPERLIQUID_ACCOUNT_ADDRESS"]}
        process = await asyncio.create_subprocess_exec(
            python,
            "-c",
            script,
            server.rest,
            server.ws["public"],
            env={**os.environ, **keys},
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
async def test_ccxt_trades_against_the_dialect() -> None:
    """Load markets, stream a book, place, see, amend, watch, cancel, take, and read the account."""
    assert await run(CCXT, "ccxt", mainnet=True) == {
        "markets": ["BTC/USDC:USDC", "KPEPE/USDC:USDC"],
        "fee_taker": 0.00045,
        "precision": [1e-05, 1.0],
        "book": [[49999.0, 2.0], [50001.0, 2.0], 10],
        "rate": 1.25e-05,
        "placed": "1",
        "seen": ["open", 49000.0, 0.01, "0x0000000000000000000000000000000a"],
        "open": ["1"],
        "amended": "2",
        "watched": [["2", "canceled"]],
        "open_after": 0,
        "cancel_again": "OrderNotFound",
        "post_only": "InvalidOrder",
        "taken": [None, 0.01, 50001.0],
        "position": [["BTC/USDC:USDC", "long", 0.01, 50001.0]],
        "trades": [["buy", 50001.0, 0.01, "taker", 0.225004]],
        "leverage": "ok",
        "balance": 9999.764995,
    }


@pytest.mark.slow
async def test_the_official_sdk_trades_against_the_dialect() -> None:
    """The same with the venue's own client, which signs for testnet, plus a trigger, the switch, and a key that nobody knows."""
    said = await run(SDK, "hyperliquid-sdk", mainnet=False)
    stranger = said.pop("stranger")
    assert stranger["status"] == "err"
    assert stranger["response"] == "User or API Wallet 0xae72a48c1a36bd18af168541c53037965d26e4a8 does not exist."
    assert said == {
        "markets": ["BTC", "kPEPE"],
        "book": ["49999.0", "50001.0"],
        "seen": "open",
        "open": [True],
        "amended": True,
        "canceled": ["success"],
        "again": "Order was never placed, already canceled, or filled. asset=0",
        "taken": "0.01",
        "fill": ["50001.0"],
        "bracket": ["waitingForTrigger"],
        "leverage": {"status": "ok", "response": {"type": "default"}},
        "shown": {"type": "cross", "value": 7},
        "closed": "0.01",
        "switch": "ok",
        "dust": "Order must have minimum value of $10. asset=0",
        "updates": ["open", "canceled", "open", "canceled"],
    }
