"""The dialect proved by clients that we did not write: ccxt and the venue's own SDK trade against it over loopback.

ccxt starts from an Ethereum key alone: it makes an API key, registers it, has itself approved as integrator, and signs with the venue's
library. The SDK uses the API key of the simulated account, its own nonce management and its own socket client.
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

from exchange_simulator.dialects.base import Kind
from exchange_simulator.dialects.lighter import LighterDialect
from exchange_simulator.pytest_plugin import MakeVenue
from exchange_simulator.ready import ReadyVenue

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

CCXT = """
import asyncio, json, os, sys
import ccxt.pro as ccxt

async def main():
    rest, ws, library = sys.argv[1:4]
    account = int(os.environ["ACCOUNT"])
    options = {"libraryPath": library, "apiKeyIndex": 77, "accountIndex": account}
    ex = ccxt.lighter({"privateKey": os.environ["L1_KEY"], "enableRateLimit": False, "options": options})
    ex.urls["api"] = {"root": rest, "public": rest, "private": rest, "ws": ws}
    said = {}
    symbol = "BTC/USDC:USDC"
    try:
        markets = await ex.load_markets()
        said["markets"] = sorted(m["symbol"] for m in markets.values() if m["swap"])
        said["precision"] = [markets[symbol]["precision"]["amount"], markets[symbol]["precision"]["price"]]
        book = await asyncio.wait_for(ex.watch_order_book(symbol), 10)
        said["book"] = [book["bids"][0][:2], book["asks"][0][:2], len(book["bids"])]
        rest_book = await ex.fetch_order_book(symbol)
        said["rest_book"] = [rest_book["bids"][0][:2], rest_book["asks"][0][:2]]
        said["mark"] = (await asyncio.wait_for(ex.watch_ticker(symbol), 10))["markPrice"]
        said["rate"] = (await ex.fetch_funding_rates([symbol]))[symbol]["fundingRate"]

        watching = asyncio.ensure_future(ex.watch_orders())
        await asyncio.sleep(0.3)
        order = await ex.create_order(symbol, "limit", "buy", 0.01, 59000, {"clientOrderId": 77})
        said["watched"] = [[o["clientOrderId"], o["status"]] for o in await asyncio.wait_for(watching, 10)]
        opened = (await ex.fetch_open_orders(symbol))[0]
        said["seen"] = [opened["clientOrderId"], opened["status"], opened["price"], opened["amount"], opened["side"], opened["timeInForce"]]

        watching = asyncio.ensure_future(ex.watch_order_book(symbol))
        await ex.edit_order(opened["id"], symbol, "limit", "buy", 0.02, 58500)
        await asyncio.sleep(0.3)
        amended = (await ex.fetch_open_orders(symbol))[0]
        said["amended"] = [amended["id"] == opened["id"], amended["price"], amended["amount"]]
        said["streamed"] = 58500.0 in [level[0] for level in (await asyncio.wait_for(watching, 10))["bids"]]

        await ex.cancel_order(opened["id"], symbol)
        await asyncio.sleep(0.3)
        said["open_after"] = len(await ex.fetch_open_orders(symbol))
        said["closed"] = [[o["clientOrderId"], o["status"]] for o in await ex.fetch_closed_orders(symbol)]
        try:
            await ex.cancel_order(opened["id"], symbol)
        except ccxt.ExchangeError as e:
            said["cancel_again"] = type(e).__name__
        try:
            await ex.create_order(symbol, "limit", "buy", 0.0000001, 59000)
        except ccxt.BaseError as e:
            said["too_small"] = type(e).__name__

        await ex.create_order(symbol, "limit", "buy", 0.01, 60100, {"postOnly": True, "clientOrderId": 78})
        await asyncio.sleep(0.4)
        said["post_only"] = [o["info"]["status"] for o in await ex.fetch_closed_orders(symbol) if o["clientOrderId"] == "78"]

        await ex.set_leverage(10, symbol, {"marginMode": "cross"})
        await asyncio.sleep(0.3)
        await ex.create_order(symbol, "market", "buy", 0.01, 60500)
        await asyncio.sleep(0.5)
        positions = [p for p in await ex.fetch_positions([symbol]) if p["contracts"]]
        said["position"] = [[p["side"], p["contracts"], p["entryPrice"]] for p in positions]
        said["trades"] = [[t["side"], t["price"], t["amount"]] for t in await ex.fetch_my_trades(symbol)]
        balance = await ex.fetch_balance({"type": "swap"})
        said["balance"] = balance["USDC"]["total"]

        over_socket = await ex.create_order_ws(symbol, "limit", "buy", 0.01, 58000, {"clientOrderId": 80})
        said["over_socket"] = over_socket["info"]["code"]
        await asyncio.sleep(0.3)
        said["before_cancel_all"] = len(await ex.fetch_open_orders(symbol))
        await ex.cancel_all_orders(symbol)
        await asyncio.sleep(0.3)
        said["after_cancel_all"] = len(await ex.fetch_open_orders(symbol))
    finally:
        await ex.close()
    print(json.dumps(said))

asyncio.run(main())
"""

SDK = """
import asyncio, json, os, sys, threading
import lighter

async def main():
    rest, ws = sys.argv[1:3]
    account, key = int(os.environ["LIGHTER_ACCOUNT_INDEX"]), int(os.environ["LIGHTER_API_KEY_INDEX"])
    api = lighter.ApiClient(configuration=lighter.Configuration(host=rest))
    orders, accounts = lighter.OrderApi(api), lighter.AccountApi(api)
    said, books, mine = {}, [], []
    market = {b.symbol: b for b in (await orders.order_books()).order_books}["BTC"]
    said["market"] = [market.market_id, market.supported_price_decimals, market.supported_size_decimals, market.min_base_amount]
    details = (await orders.order_book_details(market_id=market.market_id)).order_book_details[0]
    said["margins"] = [details.min_initial_margin_fraction, details.maintenance_margin_fraction]
    depth = await orders.order_book_orders(market.market_id, 2)
    said["depth"] = [depth.bids[0].price, depth.asks[0].price]
    loop = asyncio.get_running_loop()
    stream = lighter.WsClient(
        ws_url=ws, order_book_ids=[market.market_id], account_ids=[account],
        on_order_book_update=lambda m, book: books.append(book), on_account_update=lambda a, state: mine.append(state),
    )
    running = asyncio.ensure_future(stream.run_async())

    async def until(true):
        for _ in range(500):
            if true():
                return
            await asyncio.sleep(0.02)
        raise AssertionError("waited ten seconds in vain")

    await until(lambda: books and mine)
    said["book"] = [max(float(b["price"]) for b in books[0]["bids"]), min(float(a["price"]) for a in books[0]["asks"])]

    client = lighter.SignerClient(url=rest, account_index=account, api_private_keys={key: os.environ["LIGHTER_API_KEY_PRIVATE_KEY"]})
    said["check"] = client.check_client()
    token, error = client.create_auth_token_with_expiry(600)
    assert error is None, error

    async def place(index, price, **more):
        args = dict(market_index=market.market_id, client_order_index=index, base_amount=1000, price=price, is_ask=False,
                    order_type=client.ORDER_TYPE_LIMIT, time_in_force=client.ORDER_TIME_IN_FORCE_GOOD_TILL_TIME)
        return await client.create_order(**{**args, "reduce_only": False, "trigger_price": 0, **more})

    async def active():
        await asyncio.sleep(0.3)
        return (await orders.account_active_orders(account_index=account, market_id=market.market_id, authorization=token)).orders

    _, sent, error = await place(5, 590000)
    said["placed"] = [error, sent.code, len(sent.tx_hash)]
    row = (await active())[0]
    said["seen"] = [row.client_order_index, row.status, row.price, row.initial_base_amount, row.is_ask]
    _, sent, error = await client.modify_order(market.market_id, order_index=5, base_amount=2000, price=585000, trigger_price=0)
    said["modified"] = error
    row = (await active())[0]
    said["amended"] = [row.price, row.remaining_base_amount]
    await until(lambda: any(float(b["price"]) == 58500.0 and float(b["size"]) >= 0.02 for b in books[-1]["bids"]))
    _, sent, error = await client.cancel_order(market_index=market.market_id, order_index=5)
    said["cancelled"] = [error, len(await active())]

    at_market = {"order_type": client.ORDER_TYPE_MARKET, "time_in_force": client.ORDER_TIME_IN_FORCE_IMMEDIATE_OR_CANCEL}
    _, sent, error = await place(6, 605000, **at_market, order_expiry=client.DEFAULT_IOC_EXPIRY)
    said["market_order"] = error
    await until(lambda: any(state.get("trades") for state in mine))
    detail = (await accounts.account(by="index", value=str(account))).accounts[0]
    said["position"] = [[p.symbol, p.sign, p.position] for p in detail.positions if float(p.position)]
    trades = (await orders.trades(sort_by="timestamp", limit=10, account_index=account, authorization=token)).trades
    said["trades"] = [[t.size, t.price, t.is_maker_ask] for t in trades]
    _, sent, error = await client.update_leverage(market.market_id, client.CROSS_MARGIN_MODE, 10)
    said["leverage"] = error
    _, sent, error = await place(7, 580000)
    _, sent, error = await client.cancel_all_orders(time_in_force=client.CANCEL_ALL_TIF_IMMEDIATE, timestamp_ms=0)
    said["cancel_all"] = [error, len(await active())]
    _, sent, error = await place(8, 580000, base_amount=1)
    said["refused"] = "21706" in str(error)
    funding = await lighter.FundingApi(api).funding_rates()
    said["funding"] = sorted({r.exchange for r in funding.funding_rates})
    said["nonce"] = (await lighter.TransactionApi(api).next_nonce(account, key)).nonce
    running.cancel()
    await client.close()
    await api.close()
    print(json.dumps(said))

asyncio.run(main())
"""


async def run_peer(python: Path, script: str, venue: ReadyVenue, *arguments: str, **environ: str) -> dict[str, Any]:
    """What the peer's script said on its last line."""
    process = await asyncio.create_subprocess_exec(
        str(python),
        "-c",
        script,
        venue.server.rest,
        venue.server.ws["public"],
        *arguments,
        env={**os.environ, **venue.environ, **environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0, err.decode()[-4000:]
    said: dict[str, Any] = json.loads(out.decode().strip().splitlines()[-1])
    return said


def signer_library(python: Path) -> str:
    """The venue's shared library, which ccxt needs too."""
    found = sorted(python.parent.parent.glob("lib/python*/site-packages/lighter/signers/lighter-signer-linux-amd64.so"))
    if not found:
        pytest.skip("the venue's signer library does not exist for this machine")
    return str(found[0])


async def test_ccxt_trades_from_an_ethereum_key_alone(simulated_venue: MakeVenue, peer: Callable[[str], Path]) -> None:
    from eth_account import Account

    python, library = peer("ccxt"), signer_library(peer("lighter-sdk"))
    venue = await simulated_venue("lighter")
    assert isinstance(venue.dialect, LighterDialect)
    wallet = Account.from_key("0x" + "22" * 32)
    account = venue.dialect.open_account(Decimal(50_000), l1_address=wallet.address)
    said = await run_peer(python, CCXT, venue, library, L1_KEY="0x" + "22" * 32, ACCOUNT=str(account.account))

    assert said["markets"] == ["BTC/USDC:USDC", "ETH/USDC:USDC"]
    assert said["precision"] == [0.00001, 0.1]
    assert said["book"][:2] == said["rest_book"] == [[59_994.0, 0.83333], [60_006.0, 0.83333]]
    assert said["book"][2] == 20
    assert said["mark"] == 60_000.0
    assert said["rate"] == 0.0
    assert said["watched"] == [["77", "open"]]
    assert said["seen"] == ["77", "open", 59_000.0, 0.01, "buy", "GTC"]
    assert said["amended"] == [True, 58_500.0, 0.02]
    assert said["streamed"] is True
    assert said["open_after"] == 0
    assert said["closed"] == [["77", "canceled"]]
    assert said["cancel_again"]
    assert said["too_small"]
    assert said["post_only"] == ["canceled-post-only"]
    assert said["position"] == [["long", 0.01, 60_006.0]]
    assert said["trades"] == [["buy", 60_006.0, 0.01]]
    assert 49_999 < said["balance"] < 50_000
    assert said["over_socket"] == 200
    assert (said["before_cancel_all"], said["after_cancel_all"]) == (1, 0)
    owner = venue.dialect.owners.get(account.account)
    assert sorted(owner.keys) == [4, 77]
    assert owner.integrators == {718718}


async def test_the_official_sdk_trades(simulated_venue: MakeVenue, peer: Callable[[str], Path]) -> None:
    venue = await simulated_venue("lighter")
    said = await run_peer(peer("lighter-sdk"), SDK, venue)

    assert said["market"] == [1, 1, 5, "0.00020"]
    assert said["margins"] == [200, 120]
    assert said["depth"] == ["59994.0", "60006.0"]
    assert said["book"] == [59_994.0, 60_006.0]
    assert said["check"] is None
    assert said["placed"] == [None, 200, 80]
    assert said["seen"] == [5, "open", "59000.0", "0.01000", False]
    assert said["modified"] is None
    assert said["amended"] == ["58500.0", "0.02000"]
    assert said["cancelled"] == [None, 0]
    assert said["market_order"] is None
    assert said["position"] == [["BTC", 1, "0.01000"]]
    assert said["trades"] == [["0.01000", "60006.0", True]]
    assert said["leverage"] is None
    assert said["cancel_all"] == [None, 0]
    assert said["refused"] is True
    assert "lighter" in said["funding"]
    sent = [r for r in venue.dialect.requests("/api/v1/sendTx", kind=Kind.HTTP)]
    assert said["nonce"] == len(sent) - 1  # the refused one used none
