"""The dialect proved by clients that we did not write: ccxt and the Python client that the venue's documents point to, over loopback.

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
from exchange_simulator.core.types import Side, to_money
from exchange_simulator.dialects.backpack import BackpackDialect
from exchange_simulator.dialects.base import DialectServer

CCXT = """
import asyncio, json, os, sys
import ccxt.pro as ccxt

async def main():
    rest, ws = sys.argv[1], sys.argv[2]
    ex = ccxt.backpack({"apiKey": os.environ["KEY"], "secret": os.environ["SECRET"],
                        "options": {"watchOrderBook": {"snapshotDelay": 1}}})
    ex.urls["api"] = {"public": rest, "private": rest, "ws": {"public": ws, "private": ws}}
    said = {}
    try:
        markets = await ex.load_markets()
        said["markets"] = sorted(m["symbol"] for m in markets.values() if m["swap"])
        symbol = "BTC/USDC:USDC"
        said["precision"] = [markets[symbol]["precision"]["amount"], markets[symbol]["precision"]["price"]]
        book = await asyncio.wait_for(ex.watch_order_book(symbol), 10)
        said["book"] = [book["bids"][0][:2], book["asks"][0][:2]]
        rest_book = await ex.fetch_order_book(symbol, 5)
        said["rest_book"] = [rest_book["bids"][0][0], rest_book["asks"][0][0], len(rest_book["bids"])]
        rate = await ex.fetch_funding_rate(symbol)
        said["rate"] = [rate["fundingRate"], rate["markPrice"]]
        said["status"] = (await ex.fetch_status())["status"]
        watching = asyncio.ensure_future(ex.watch_orders(symbol))
        await asyncio.sleep(0.3)
        order = await ex.create_order(symbol, "limit", "buy", 0.01, 49000, {"clientOrderId": 77, "postOnly": True})
        said["watched"] = [[o["id"] == order["id"], o["status"]] for o in await asyncio.wait_for(watching, 10)]
        seen = await ex.fetch_open_order(order["id"], symbol)
        said["seen"] = [seen["status"], seen["price"], seen["amount"], seen["clientOrderId"], seen["postOnly"]]
        said["open"] = [o["id"] == order["id"] for o in await ex.fetch_open_orders(symbol)]
        canceled = await ex.cancel_order(order["id"], symbol)
        said["canceled"] = [canceled["id"] == order["id"], canceled["status"]]
        said["open_after"] = len(await ex.fetch_open_orders(symbol))
        try:
            await ex.cancel_order(order["id"], symbol)
        except ccxt.BaseError as e:
            said["cancel_again"] = "RESOURCE_NOT_FOUND" in str(e)
        try:
            await ex.create_order(symbol, "limit", "buy", 0.01, 50010, {"postOnly": True})
        except ccxt.BaseError as e:
            said["post_only"] = "Order would immediately match and take" in str(e)
        bid = {"symbol": symbol, "type": "limit", "side": "buy", "amount": 0.01}
        batch = await ex.create_orders([{**bid, "price": p} for p in (49100, 49200)])
        said["batch"] = [o["status"] for o in batch]
        said["all"] = sorted(o["price"] for o in await ex.cancel_all_orders(symbol))
        trigger = await ex.create_order(symbol, "limit", "sell", 0.01, 48000, {"triggerPrice": 48500})
        said["trigger"] = [trigger["triggerPrice"], len(await ex.fetch_open_orders(symbol))]
        await ex.cancel_all_orders(symbol)
        taken = await ex.create_order(symbol, "market", "buy", 0.01)
        said["taken"] = [taken["status"], taken["filled"], taken["average"]]
        said["position"] = [[p["symbol"], p["side"], p["contracts"], p["entryPrice"]] for p in await ex.fetch_positions()]
        trades = await ex.fetch_my_trades(symbol)
        said["trades"] = [[t["side"], t["price"], t["amount"], t["takerOrMaker"], t["fee"]["cost"]] for t in trades]
        said["history"] = sorted({o["status"] for o in await ex.fetch_orders(symbol)})
        said["balance"] = (await ex.fetch_balance())["USDC"]["total"]
    finally:
        await ex.close()
    print(json.dumps(said))

asyncio.run(main())
"""

BPX = """
import json, os, sys
from bpx.account import Account
from bpx.public import Public

rest = sys.argv[1]
account, public = Account(os.environ["KEY"], os.environ["SECRET"]), Public()
account.BPX_API_URL = public.BASE_URL = rest + "/"
said = {}
symbol = "BTC_USDC_PERP"
said["markets"] = sorted(m["symbol"] for m in public.get_markets())
said["depth"] = [public.get_depth(symbol)["asks"][0][0], public.get_depth(symbol)["bids"][-1][0]]
said["trades"] = public.get_recent_trades(symbol)
said["leverage"] = account.get_account()["leverageLimit"]
placed = account.execute_order(symbol, "Bid", "Limit", price="49000", quantity="0.01", client_id=9, post_only=True, time_in_force="GTC")
said["placed"] = [placed["status"], placed["clientId"], placed["postOnly"]]
said["found"] = account.get_open_order(symbol, order_id=placed["id"])["quantity"]
said["open"] = len(account.get_open_orders(market_type="PERP"))
said["canceled"] = account.cancel_order(symbol, order_id=placed["id"])["status"]
said["again"] = account.cancel_order(symbol, order_id=placed["id"])
said["taken"] = account.execute_order(symbol, "Bid", "Market", quantity="0.01")["executedQuantity"]
closed = account.execute_order(symbol, "Ask", "Limit", price="49000", quantity="0.004", reduce_only=True, time_in_force="IOC")
said["closed"] = closed["status"]
said["position"] = account.get_open_positions()[0]["netQuantity"]
said["fills"] = [f["quantity"] for f in account.get_fill_history(symbol)]
said["equity"] = account.get_collateral()["netEquity"]
said["set"] = [account.update_account(leverage_limit="7"), account.get_account()["leverageLimit"]]
said["none"] = account.cancel_all_orders(symbol)
print(json.dumps(said))
"""


async def run(script: str, python: Path) -> dict[str, Any]:
    """What the foreign client says about a fresh dialect with markets, a book that moves and an account."""
    exchange = Exchange(BackpackDialect.rules())
    dialect = BackpackDialect(exchange, Runtime.system())
    now = dialect.now_ns()
    for base, tick, step, mark in (("BTC", "0.1", "0.00001", "50000"), ("kBONK", "0.000001", "1", "0.02")):
        market = BackpackDialect.listing(base, tick_size=Decimal(tick), step_size=Decimal(step))
        exchange.add_market(now, market, mark=market.to_ref(Decimal(mark)))
    symbol = "BTC_USDC_PERP"
    for n in range(10):  # ticks of 0.1, steps of 0.00001
        exchange.set_level(now, symbol, Side.BUY, 499_990 - 10 * n, 200_000)
        exchange.set_level(now, symbol, Side.SELL, 500_010 + 10 * n, 200_000)
    exchange.set_funding_rate(now, symbol, 12_500_000)
    exchange.fund_insurance(now, to_money(1000))
    account = dialect.open_account(Decimal(10_000))
    async with DialectServer(dialect) as server:
        keys = {"KEY": account.environ["BACKPACK_API_KEY"], "SECRET": account.environ["BACKPACK_API_SECRET"]}
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
        done = asyncio.ensure_future(process.communicate())
        try:
            for beat in range(250):
                if (await asyncio.wait([done], timeout=0.2))[0]:
                    break
                exchange.set_level(dialect.now_ns(), symbol, Side.BUY, 499_000, 1_000 + beat)  # far from the best: a market lives
            out, err = await asyncio.wait_for(done, 1)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert process.returncode == 0, err.decode()[-3000:]
    said: dict[str, Any] = json.loads(out.decode().splitlines()[-1])
    return said


@pytest.mark.slow
async def test_ccxt_trades_against_the_dialect(peer: Callable[[str], Path]) -> None:
    """Load markets, stream a book, place, see, watch, cancel, batch, trigger, take, and read the account."""
    assert await run(CCXT, peer("ccxt")) == {
        "markets": ["BTC/USDC:USDC", "KBONK/USDC:USDC"],
        "precision": [1e-05, 0.1],
        "book": [[49999.0, 2.0], [50001.0, 2.0]],
        "rest_book": [49999.0, 50001.0, 5],
        "rate": [1.25e-05, 50000.0],
        "status": "ok",
        "watched": [[True, "open"]],
        "seen": ["open", 49000.0, 0.01, "77", True],
        "open": [True],
        "canceled": [True, "canceled"],
        "open_after": 0,
        "cancel_again": True,
        "post_only": True,
        "batch": ["open", "open"],
        "all": [49100.0, 49200.0],
        "trigger": [48500.0, 1],
        "taken": ["closed", 0.01, 50001.0],
        "position": [["BTC/USDC:USDC", "long", "0.01", "50001"]],
        "trades": [["buy", 50001.0, 0.01, "taker", 0.250005]],
        "history": ["canceled", "closed"],
        "balance": 9999.749995,
    }


@pytest.mark.slow
async def test_the_documented_python_client_trades_against_the_dialect(peer: Callable[[str], Path]) -> None:
    """The same by requests alone: it has no socket and no batch."""
    assert await run(BPX, peer("bpx-py")) == {
        "markets": ["BTC_USDC_PERP", "kBONK_USDC_PERP"],
        "depth": ["50001", "49999"],
        "trades": [],
        "leverage": "20",
        "placed": ["New", 9, True],
        "found": "0.01",
        "open": 1,
        "canceled": "Cancelled",
        "again": {"code": "RESOURCE_NOT_FOUND", "message": "Not Found"},
        "taken": "0.01",
        "closed": "Filled",
        "position": "0.006",
        "fills": ["0.004", "0.01"],
        "equity": "9999.635997",
        "set": ["", "7"],
        "none": [],
    }
