"""The dialect proved by clients that we did not write: the venue's own SDK over gRPC, ccxt over the nodes' HTTP.

The SDK derives its key from a mnemonic, reads account and markets, streams with its own socket client, and signs with its own protobufs;
ccxt encodes and signs by itself and broadcasts through the Tendermint RPC. Neither needs TLS here.
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
from exchange_simulator.dialects.dydx import DydxDialect
from exchange_simulator.pytest_plugin import MakeVenue
from exchange_simulator.ready import ReadyVenue

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

MNEMONIC = (
    "mandate glove carry despair area gloom sting round toddler deal face vague receive shallow confirm south green cup rain drill monkey "
    "method tongue fence"
)
PRIVATE_KEY = "0a7ff605269ed00853a425beda719da038a11792f6dddf31c087b2988b4dc8fe"
ADDRESS = "dydx1wldnytkerzs39rs28djn0p9vvqer2x2k5x8hjy"
"""The public test account of the venue's client repository."""

SDK = """
import asyncio, json, os, sys, threading, time
from dydx_v4_client import OrderFlags
from dydx_v4_client.indexer.rest.constants import OrderType
from dydx_v4_client.indexer.rest.indexer_client import IndexerClient
from dydx_v4_client.indexer.socket.websocket import IndexerSocket
from dydx_v4_client.network import make_insecure, mainnet_node
from dydx_v4_client.node.authenticators import Authenticator, AuthenticatorType
from dydx_v4_client.node.builder import TxOptions
from dydx_v4_client.node.client import NodeClient
from dydx_v4_client.node.market import Market, since_now
from dydx_v4_client.key_pair import KeyPair
from dydx_v4_client.wallet import Wallet
from v4_proto.dydxprotocol.clob.order_pb2 import Order
from v4_proto.dydxprotocol.clob.tx_pb2 import OrderBatch
from v4_proto.dydxprotocol.subaccounts.subaccount_pb2 import SubaccountId

GTT = Order.TIME_IN_FORCE_UNSPECIFIED

async def main():
    rest, ws, grpc = sys.argv[1:4]
    address = os.environ["PEER_ADDRESS"]
    network = make_insecure(mainnet_node, rest_indexer=rest, websocket_indexer=ws, node_url=grpc)
    node = await NodeClient.connect(network.node)
    indexer = IndexerClient(network.rest_indexer)
    wallet = await Wallet.from_mnemonic(node, os.environ["PEER_MNEMONIC"], address)
    said = {"address": wallet.address, "account": [wallet.account_number, wallet.sequence]}
    markets = (await indexer.markets.get_perpetual_markets())["markets"]
    said["markets"] = sorted(markets)
    info = markets["BTC-USD"]
    market = Market(info)
    said["grid"] = [info["tickSize"], info["stepSize"], info["clobPairId"]]
    pairs = (await node.get_clob_pairs()).clob_pair
    said["pairs"] = [[p.id, p.step_base_quantums, p.subticks_per_tick, p.quantum_conversion_exponent, p.status] for p in pairs]
    perpetual = (await node.get_perpetual(pairs[0].perpetual_clob_metadata.perpetual_id)).perpetual.params
    said["perpetual"] = [perpetual.ticker, perpetual.atomic_resolution]
    said["price"] = (await node.get_price(perpetual.market_id)).price
    tier = await node.get_user_fee_tier(address)
    said["fees"] = [tier.tier.maker_fee_ppm, tier.tier.taker_fee_ppm]
    tiers = (await node.get_equity_tier_limit_config()).stateful_order_equity_tiers
    said["tiers"] = [t.limit for t in tiers]
    said["usdc"] = (await node.get_account_balance(address, network.node.usdc_denom)).balance.amount

    heard, opened = [], threading.Event()
    def on_message(app, message):
        heard.append(message)
        if message["type"] == "connected":
            app.order_book.subscribe(id="BTC-USD", batched=False)
            app.trades.subscribe(id="BTC-USD")
            app.markets.subscribe()
            app.subaccounts.subscribe(address=address, subaccount_number=0)
            opened.set()
    socket = IndexerSocket(network.websocket_indexer, on_message=on_message)
    thread = threading.Thread(target=lambda: asyncio.run(socket.connect()), daemon=True)
    thread.start()

    async def until(true, what):
        for _ in range(600):
            found = true()
            if found:
                return found
            await asyncio.sleep(0.02)
        raise AssertionError(f"waited in vain: {what}")

    def snapshot(channel):
        return next((m["contents"] for m in list(heard) if m["type"] == "subscribed" and m["channel"] == channel), None)

    def contents(channel):
        for message in list(heard):
            if message.get("channel") == channel and message["type"].startswith("channel_"):
                yield from message["contents"] if message["type"] == "channel_batch_data" else [message["contents"]]

    def rows(client_id, status):
        told = [r for c in contents("v4_subaccounts") for r in c.get("orders", [])]
        return [r for r in told if r["clientId"] == str(client_id) and r["status"] == status]

    book = await until(lambda: snapshot("v4_orderbook"), "the book")
    said["book"] = [book["bids"][0]["price"], book["asks"][0]["price"]]
    said["rest_book"] = [(await indexer.markets.get_perpetual_market_orderbook("BTC-USD"))[s][0]["price"] for s in ("bids", "asks")]
    account = await until(lambda: snapshot("v4_subaccounts"), "the account")
    said["equity"] = account["subaccount"]["equity"]

    async def short(client_id, side, size, price, tif, blocks=10):
        height = await node.latest_block_height()
        identity = market.order_id(address, 0, client_id, OrderFlags.SHORT_TERM)
        order = market.order(identity, OrderType.LIMIT, side, size=size, price=price, time_in_force=tif, reduce_only=False,
                             good_til_block=height + blocks)
        return (await node.place_order(wallet, order)).tx_response, identity, height + blocks

    placed, identity, until_block = await short(101, Order.SIDE_BUY, 0.01, 59000, GTT)
    said["placed"] = [placed.code, len(placed.txhash)]
    row = (await until(lambda: rows(101, "BEST_EFFORT_OPENED"), "the order is told"))[0]
    said["seen"] = [row["side"], row["price"], row["size"], row["orderFlags"]]
    levels = lambda: [p for c in contents("v4_orderbook") for p, s in c.get("bids", [])]
    said["streamed"] = bool(await until(lambda: "59000" in levels(), "its level"))
    said["order"] = (await indexer.account.get_order(row["id"]))["clientId"]
    cancelled = (await node.cancel_order(wallet, identity, good_til_block=until_block + 1)).tx_response
    said["cancelled"] = cancelled.code
    await until(lambda: rows(101, "BEST_EFFORT_CANCELED"), "the cancel is told")
    for client_id in (102, 103):
        await short(client_id, Order.SIDE_BUY, 0.01, 58000, GTT)
    batch = OrderBatch(clob_pair_id=int(info["clobPairId"]), client_ids=[102, 103])
    answer = await node.batch_cancel_orders(wallet, SubaccountId(owner=address, number=0), [batch], await node.latest_block_height() + 15)
    said["batch"] = answer.tx_response.code
    await until(lambda: rows(102, "BEST_EFFORT_CANCELED") and rows(103, "BEST_EFFORT_CANCELED"), "both cancels are told")

    identity = market.order_id(address, 0, 201, OrderFlags.LONG_TERM)
    lasting = market.order(identity, OrderType.LIMIT, Order.SIDE_SELL, size=0.02, price=61000, time_in_force=GTT, reduce_only=False,
                           good_til_block_time=since_now(seconds=600))
    answer = (await node.place_order(wallet, lasting)).tx_response
    said["long"] = answer.code
    await until(lambda: rows(201, "OPEN"), "the long-term order is open")
    said["tx"] = len((await node.query_transaction(answer.txhash)).body.messages)
    said["sequence"] = (await node.get_account(address)).sequence
    again = (await node.place_order(wallet, lasting)).tx_response
    said["again"] = [again.codespace, again.code]
    answer = (await node.cancel_order(wallet, identity, good_til_block_time=since_now(seconds=900))).tx_response
    said["long_cancelled"] = answer.code
    await until(lambda: rows(201, "CANCELED"), "the long-term order is cancelled")

    answer, _, _ = await short(301, Order.SIDE_BUY, 0.01, 60100, Order.TIME_IN_FORCE_IOC)
    filled = (await until(lambda: rows(301, "FILLED"), "the taker order is filled"))[0]
    said["filled"] = filled["totalFilled"]
    fills = (await indexer.account.get_subaccount_fills(address, 0))["fills"]
    said["fills"] = [[f["price"], f["size"], f["liquidity"], f["fee"]] for f in fills]
    positions = (await indexer.account.get_subaccount_perpetual_positions(address, 0))["positions"]
    said["position"] = [[p["market"], p["side"], p["size"], p["entryPrice"]] for p in positions]
    said["trade"] = bool(await until(lambda: [1 for c in contents("v4_trades") for t in c["trades"] if t["size"] == "0.01"], "the print"))
    refused, _, _ = await short(302, Order.SIDE_BUY, 0.01, 60100, Order.TIME_IN_FORCE_POST_ONLY)
    said["post_only"] = [refused.codespace, refused.code]
    refused, _, _ = await short(303, Order.SIDE_BUY, 0.01, 59000, GTT, blocks=60)
    said["too_far"] = [refused.codespace, refused.code]
    ours = [SubaccountId(owner=address, number=n) for n in (0, 1)]
    said["transfer"] = (await node.transfer(wallet, *ours, 0, 5_000_000)).tx_response.code
    async def child():
        try:
            return (await indexer.account.get_subaccount(address, 1))["subaccount"]["equity"]
        except Exception:
            return None
    for _ in range(100):
        said["child"] = await child()
        if said["child"]:
            break
        await asyncio.sleep(0.05)

    trader = Wallet(KeyPair.from_hex("11" * 32), 0, 0)
    allowed = Authenticator.compose(AuthenticatorType.AllOf, [
        Authenticator.signature_verification(trader.public_key.key),
        Authenticator.message_filter("/dydxprotocol.clob.MsgPlaceOrder"),
    ])
    said["authenticator"] = (await node.add_authenticator(wallet, allowed)).tx_response.code
    for _ in range(100):
        found = (await node.get_authenticators(address)).account_authenticators
        if found:
            break
        await asyncio.sleep(0.05)
    owner = await node.get_account(address)
    options = TxOptions([found[0].id], owner.sequence, owner.account_number)
    height = await node.latest_block_height()
    identity = market.order_id(address, 0, 401, OrderFlags.SHORT_TERM)
    order = market.order(identity, OrderType.LIMIT, Order.SIDE_BUY, size=0.01, price=59000, time_in_force=GTT, reduce_only=False,
                         good_til_block=height + 10)
    said["by_trader"] = (await node.place_order(trader, order, tx_options=options)).tx_response.code
    denied = (await node.cancel_order(trader, identity, good_til_block=height + 12, tx_options=options)).tx_response
    said["denied"] = [denied.codespace, denied.code]
    funding = await indexer.markets.get_perpetual_market_historical_funding("BTC-USD")
    said["funding"] = len(funding["historicalFunding"])
    said["time"] = "epoch" in await indexer.utility.get_time()
    socket.close()
    print(json.dumps(said))

asyncio.run(main())
"""

CCXT = """
import asyncio, json, os, sys
import ccxt.pro as ccxt

async def main():
    rest, ws = sys.argv[1:3]
    options = {"privateKey": os.environ["PEER_KEY"]}
    ex = ccxt.dydx({"walletAddress": os.environ["PEER_ADDRESS"], "enableRateLimit": False, "options": options})
    ex.on_json_response = lambda body: json.loads(body, parse_float=str, parse_int=str)  # its order code wants numbers as text
    ex.urls["api"] = {"indexer": rest + "/v4", "nodeRpc": rest, "nodeRest": rest, "ws": ws}
    said, symbol = {}, "BTC/USDC:USDC"
    try:
        markets = await ex.load_markets()
        symbol = next(m["symbol"] for m in markets.values() if m["id"] == "BTC-USD")
        said["symbol"] = symbol
        said["precision"] = [markets[symbol]["precision"]["amount"], markets[symbol]["precision"]["price"]]
        book = await asyncio.wait_for(ex.watch_order_book(symbol), 10)
        said["book"] = [book["bids"][0][:2], book["asks"][0][:2], len(book["bids"])]
        rest_book = await ex.fetch_order_book(symbol)
        said["rest_book"] = [rest_book["bids"][0][:2], rest_book["asks"][0][:2]]
        watching = asyncio.ensure_future(ex.watch_order_book(symbol))
        await asyncio.sleep(0.1)
        await ex.create_order(symbol, "limit", "buy", 0.01, 59000, {"clientOrderId": 77})
        for _ in range(100):
            opened = await ex.fetch_open_orders(symbol)
            if opened:
                break
            await asyncio.sleep(0.05)
        row = opened[0]
        said["seen"] = [row["clientOrderId"], row["status"], row["price"], row["amount"], row["side"], row["info"]["orderFlags"]]
        said["streamed"] = 59000.0 in [level[0] for level in (await asyncio.wait_for(watching, 10))["bids"]]
        ex.options["dydxAccount"] = None
        cancelled = await ex.cancel_order("77", symbol, {"clientOrderId": 77, "goodTillBlockTimeInSeconds": 2600000})
        said["cancelled"] = cancelled["info"]["code"]
        for _ in range(100):
            if not await ex.fetch_open_orders(symbol):
                break
            await asyncio.sleep(0.05)
        said["open_after"] = len(await ex.fetch_open_orders(symbol))
        ex.options["dydxAccount"] = None
        await ex.create_order(symbol, "market", "buy", 0.01, 60500, {"clientOrderId": 78})
        for _ in range(100):
            positions = await ex.fetch_positions([symbol])
            if positions:
                break
            await asyncio.sleep(0.05)
        said["position"] = [[p["side"], p["contracts"], p["entryPrice"]] for p in positions]
        fills = (await ex.indexerGetFills({"address": os.environ["PEER_ADDRESS"], "subaccountNumber": 0}))["fills"]
        said["fills"] = [[f["side"], f["price"], f["size"], f["liquidity"]] for f in fills]
        try:
            await ex.create_order(symbol, "limit", "buy", 5000, 59000, {"clientOrderId": 79})
        except ccxt.BaseError as e:
            said["refused"] = "3007" in str(e)
        said["height"] = await ex.fetch_latest_block_height() > 60_000_000
    finally:
        await ex.close()
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


async def test_the_venues_own_sdk_trades_from_a_mnemonic(simulated_venue: MakeVenue, peer: Callable[[str], Path]) -> None:
    python = peer("dydx-sdk")
    venue = await simulated_venue("dydx")
    assert isinstance(venue.dialect, DydxDialect)
    account = venue.dialect.open_address(PRIVATE_KEY, Decimal(50_000))
    (grpc,) = venue.endpoints["grpc"]
    said = await run_peer(python, SDK, venue, grpc, PEER_MNEMONIC=MNEMONIC, PEER_ADDRESS=ADDRESS)

    assert said["address"] == account.environ["DYDX_ADDRESS"] == ADDRESS
    assert said["account"][1] == 0
    assert said["markets"] == ["BTC-USD", "ETH-USD"]
    assert said["grid"] == ["0.1", "0.00001", "0"]
    assert said["pairs"] == [[0, 10**6, 1000, -9, 1], [1, 10**6, 1000, -9, 1]]
    assert said["perpetual"] == ["BTC-USD", -11]
    assert said["price"] == 60_000 * 10**8
    assert said["fees"] == [100, 500]
    assert said["tiers"] == [0, 10, 20, 40, 100, 200]
    assert said["usdc"] == str(1_000 * 10**6)
    assert said["book"] == said["rest_book"] == ["59994", "60006"]
    assert said["equity"] == "50000"
    assert said["placed"] == [0, 64]
    assert said["seen"] == ["BUY", "59000", "0.01", "0"]
    assert said["streamed"] is True
    assert said["order"] == "101"
    assert (said["cancelled"], said["batch"]) == (0, 0)
    assert (said["long"], said["tx"], said["sequence"]) == (0, 1, 1)
    assert said["again"] == ["clob", 3005]
    assert said["long_cancelled"] == 0
    assert said["filled"] == "0.01"
    assert said["fills"] == [["60006", "0.01", "TAKER", "0.30003"]]
    assert said["position"] == [["BTC-USD", "LONG", "0.01", "60006"]]
    assert said["trade"] is True
    assert said["post_only"] == ["clob", 2003]
    assert said["too_far"] == ["clob", 11]
    assert (said["transfer"], said["child"]) == (0, "5")
    assert (said["authenticator"], said["by_trader"], said["denied"]) == (0, 0, ["accountplus", 104])
    assert said["time"] is True
    calls = {received.path for received in venue.dialect.requests(kind=Kind.HTTP) if received.method == "GRPC"}
    assert "/cosmos.tx.v1beta1.Service/BroadcastTx" in calls


async def test_ccxt_trades_through_the_nodes_http(simulated_venue: MakeVenue, peer: Callable[[str], Path]) -> None:
    python = peer("ccxt")
    venue = await simulated_venue("dydx")
    assert isinstance(venue.dialect, DydxDialect)
    venue.dialect.open_address(PRIVATE_KEY, Decimal(50_000))
    said = await run_peer(python, CCXT, venue, PEER_KEY="0x" + PRIVATE_KEY, PEER_ADDRESS=ADDRESS)
    assert venue.dialect.chain.wallets[ADDRESS].sequence == 0, "it numbers its transactions by time"

    assert said["precision"] == [0.00001, 0.1]
    assert said["book"][:2] == said["rest_book"] == [[59_994.0, 0.83333], [60_006.0, 0.83333]]
    assert said["book"][2] == 20
    assert said["seen"] == ["77", "open", 59_000.0, 0.01, "buy", "64"]
    assert said["streamed"] is True
    assert (said["cancelled"], said["open_after"]) == ("0", 0)
    assert said["fills"] == [["BUY", "60006", "0.01", "TAKER"]]
    assert said["position"] == [["long", 0.01, 60_006.0]]
    assert said["refused"] is True
    assert said["height"] is True
