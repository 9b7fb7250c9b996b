"""The dialect proved by a client that we did not write: ccxt trades against it over loopback, by API v3.

It lives in an environment of its own, see `peers.py`. It has no amend for futures of this venue and no dead-man switch.
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
from exchange_simulator.dialects.aster import AsterDialect
from exchange_simulator.dialects.base import DialectServer

CCXT = """
import asyncio, json, os, sys
import ccxt.pro as ccxt

async def nothing(params={}):
    return {"symbols": []}

async def main():
    rest, public, private = sys.argv[1:4]
    ex = ccxt.aster({"privateKey": os.environ["KEY"], "options": {"builderFee": False, "defaultType": "swap"}})
    ex.urls["api"] = {"fapiPublic": rest + "/fapi", "fapiPrivate": rest + "/fapi",
                      "sapiPublic": rest + "/api", "sapiPrivate": rest + "/api",
                      "ws": {"public": {"spot": public, "swap": public}, "private": {"spot": private, "swap": private}}}
    ex.sapiPublicGetV3ExchangeInfo = nothing
    ex.balance |= {"spot": {}, "swap": {}}  # its handler wants them although nobody watches balances
    said = {}
    try:
        markets = await ex.load_markets()
        said["markets"] = sorted(m["symbol"] for m in markets.values() if m["swap"] and m["active"])
        symbol = "BTC/USDT:USDT"
        said["precision"] = [markets[symbol]["precision"]["amount"], markets[symbol]["precision"]["price"]]
        said["min_cost"] = markets[symbol]["limits"]["cost"]["min"]
        watching = asyncio.ensure_future(ex.watch_order_book(symbol))
        book = await asyncio.wait_for(watching, 10)
        said["book"] = [book["bids"][0][:2], book["asks"][0][:2]]
        rate = await ex.fetch_funding_rate(symbol)
        said["rate"] = [rate["fundingRate"], rate["markPrice"]]
        said["interval"] = (await ex.fetch_funding_intervals([symbol]))[symbol]["interval"]
        said["mode"] = (await ex.fetch_position_mode())["hedged"]
        ex.options["watchPositions"] = {"fetchPositionsSnapshot": False, "awaitPositionsSnapshot": False}
        positions = asyncio.ensure_future(ex.watch_positions([symbol]))  # watch_orders raises in this version, whatever it is given
        await asyncio.sleep(0.7)
        order = await ex.create_order(symbol, "limit", "buy", 0.01, 49000, {"clientOrderId": "mine-1"})
        said["placed"] = [order["id"], order["status"]]
        await asyncio.sleep(0.3)
        said["watched"] = [[o["id"], o["status"]] for o in ex.orders]
        seen = await ex.fetch_order(order["id"], symbol)
        said["seen"] = [seen["status"], seen["price"], seen["amount"], seen["clientOrderId"]]
        said["open"] = [o["id"] for o in await ex.fetch_open_orders(symbol)]
        said["canceled"] = (await ex.cancel_order(order["id"], symbol))["status"]
        said["open_after"] = len(await ex.fetch_open_orders(symbol))
        try:
            await ex.cancel_order(order["id"], symbol)
        except ccxt.OrderNotFound as e:
            said["cancel_again"] = "OrderNotFound"
        try:
            await ex.create_order(symbol, "limit", "buy", 0.01, 50001, {"postOnly": True})
        except ccxt.BaseError as e:
            said["post_only"] = "-5022" in str(e)
        try:
            await ex.create_order(symbol, "limit", "buy", 100, 49000)
        except ccxt.InsufficientFunds as e:
            said["too_much"] = "InsufficientFunds"
        rows = [{"symbol": symbol, "type": "limit", "side": "buy", "amount": 0.01, "price": 48000 + n} for n in range(3)]
        batch = await ex.create_orders(rows)
        said["batch"] = [o["id"] for o in batch]
        await ex.cancel_orders([o["id"] for o in batch], symbol)
        said["batch_after"] = len(await ex.fetch_open_orders(symbol))
        await ex.create_order(symbol, "limit", "buy", 0.01, 48000)
        await ex.cancel_all_orders(symbol)
        said["all_after"] = len(await ex.fetch_open_orders(symbol))
        taken = await ex.create_order(symbol, "market", "buy", 0.01)
        said["taken"] = (await ex.fetch_order(taken["id"], symbol))["filled"]
        await asyncio.wait_for(positions, 10)
        said["streamed"] = [[p["symbol"], p["contracts"], p["entryPrice"]] for p in ex.positions]
        stop = await ex.create_order(symbol, "market", "sell", 0.01, None, {"stopLossPrice": 45000, "reduceOnly": True})
        said["stop"] = [(await ex.fetch_order(stop["id"], symbol))[k] for k in ("type", "triggerPrice", "reduceOnly", "status")]
        await ex.cancel_order(stop["id"], symbol)
        positions = [p for p in await ex.fetch_positions([symbol]) if p["contracts"]]
        said["position"] = [[p["symbol"], p["side"], p["contracts"], p["entryPrice"]] for p in positions]
        trades = await ex.fetch_my_trades(symbol)
        said["trades"] = [[t["side"], t["price"], t["amount"], t["takerOrMaker"], t["fee"]["cost"]] for t in trades]
        said["leverage"] = (await ex.set_leverage(5, symbol))["leverage"]
        fee = await ex.fetch_trading_fee(symbol)
        said["fee"] = [fee["maker"], fee["taker"]]
        said["balance"] = (await ex.fetch_balance())["USDT"]["total"]
        said["income"] = sorted({row["info"]["incomeType"] for row in await ex.fetch_ledger("USDT")})
        said["trades_public"] = len(await ex.fetch_trades(symbol))
        said["candles"] = len(await ex.fetch_ohlcv(symbol, "1m"))
    finally:
        await ex.close()
    print(json.dumps(said))

asyncio.run(main())
"""


async def run(script: str, python: Path) -> dict[str, Any]:
    """What the foreign client says about a fresh dialect with two markets, a book and an account."""
    exchange = Exchange(AsterDialect.rules())
    dialect = AsterDialect(exchange, Runtime.system())
    now = dialect.now_ns()
    for base, tick, step, mark in (("BTC", "0.1", "0.00001", "50000"), ("1000PEPE", "0.00001", "1", "0.02")):
        market = AsterDialect.listing(base, tick_size=Decimal(tick), step_size=Decimal(step))
        exchange.add_market(now, market, mark=market.to_ref(Decimal(mark)))
    for n in range(10):  # ticks of 0.1, steps of 0.00001
        exchange.set_level(now, "BTCUSDT", Side.BUY, 499_990 - 10 * n, 200_000)
        exchange.set_level(now, "BTCUSDT", Side.SELL, 500_010 + 10 * n, 200_000)
    exchange.set_funding_rate(now, "BTCUSDT", 100_000_000)
    exchange.fund_insurance(now, to_money(1000))
    account = dialect.open_account(Decimal(10_000))
    async with DialectServer(dialect) as server:
        ticking = asyncio.create_task(_tick(exchange, dialect))
        process = await asyncio.create_subprocess_exec(
            python,
            "-c",
            script,
            server.rest,
            server.ws["public"],
            server.ws["private"],
            env={**os.environ, "KEY": dialect.user_key(account)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            out, err = await asyncio.wait_for(process.communicate(), 50)
        finally:
            ticking.cancel()
            await asyncio.gather(ticking, return_exceptions=True)
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert process.returncode == 0, err.decode()[-3000:]
    said: dict[str, Any] = json.loads(out.decode().splitlines()[-1])
    return said


async def _tick(exchange: Exchange, dialect: AsterDialect) -> None:
    """A level far from the touch that changes, so that the streamed book speaks."""
    n = 0
    while True:
        n += 1
        exchange.set_level(dialect.now_ns(), "BTCUSDT", Side.BUY, 490_000, 1_000 + n % 7)
        await asyncio.sleep(0.1)


@pytest.mark.slow
async def test_ccxt_trades_against_the_dialect(peer: Callable[[str], Path]) -> None:
    """Load markets, stream a book, place, see, watch, cancel, take, stop, and read the account."""
    assert await run(CCXT, peer("ccxt")) == {
        "markets": ["1000PEPE/USDT:USDT", "BTC/USDT:USDT", "TEST/USDT:USDT"],  # we leave the test asset out
        "precision": [1e-05, 0.1],
        "min_cost": 5.0,
        "book": [[49999.0, 2.0], [50001.0, 2.0]],
        "rate": [0.0001, 50000.0],
        "interval": "8h",
        "mode": False,
        "placed": ["1", "open"],
        "watched": [["1", "open"]],
        "seen": ["open", 49000.0, 0.01, "mine-1"],
        "open": ["1"],
        "canceled": "canceled",
        "open_after": 0,
        "cancel_again": "OrderNotFound",
        "post_only": True,
        "too_much": "InsufficientFunds",
        "batch": ["4", "5", "6"],
        "batch_after": 0,
        "all_after": 0,
        "taken": 0.01,
        "streamed": [["BTC/USDT:USDT", 0.01, 50001.0]],
        "stop": ["market", 45000.0, True, "open"],
        "position": [["BTC/USDT:USDT", "long", 0.01, 50001.0]],
        "trades": [["buy", 50001.0, 0.01, "taker", 0.1750035]],
        "leverage": 5,
        "fee": [0.0001, 0.00035],
        "balance": 9999.8249965,
        "income": ["COMMISSION"],
        "trades_public": 1,
        "candles": 1,
    }
