"""Our signatures and those of ccxt, which hashes and signs with pure Python of its own: equal hashes, and each verifies the other's."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fast_stark_crypto import verify

from exchange_clients.paradex import messages as m
from exchange_clients.paradex import signing as s

ETH_KEY = "0xf8e4d1d772cdd44e5e77615ad11cc071c94e4c06dc21150d903f28e6aa6abdff"
"""Published in the official SDK's tests."""
CONFIG = {
    "starknet_chain_id": "PRIVATE_SN_POTC_SEPOLIA",
    "l1_chain_id": "11155111",
    "paraclear_account_hash": "0x41cb0280ebadaa75f996d8d92c6f265f6d040bb3ba442e5f86a554f1765244e",
    "paraclear_account_proxy_hash": "0x3530cc4759d78042f1b543bf797f5f3d647cde0388c33734cf91b7f7b9314a9",
}
ORDERS = 240
pytestmark = pytest.mark.timeout(180)
TYPES = ("LIMIT", "MARKET", "STOP_LIMIT", "STOP_LOSS_MARKET", "TAKE_PROFIT_LIMIT")

PEER = """
import asyncio, json, sys
import ccxt.async_support as ccxt

async def main():
    asked = json.load(sys.stdin)
    ex = ccxt.paradex({"walletAddress": "0xd2c7314539dCe7752c8120af4eC2AA750Cf2035e", "privateKey": asked["key"],
                       "options": {"systemConfig": asked["config"]}})
    account = await ex.retrieve_account()
    domain = await ex.prepare_paradex_domain()
    said = {"account": {k: str(v) for k, v in account.items()}, "orders": []}
    for n, order in enumerate(asked["orders"]):
        fields = [{"name": name, "type": "felt"} for name in order["fields"]]
        message = {"timestamp": order["timestamp"], "market": ex.string_to_base16(order["market"]), "side": order["side"],
                   "orderType": ex.string_to_base16(order["type"]), "size": ex.scale_number(order["size"]),
                   "price": ex.scale_number(order["price"])}
        if "id" in order:
            message["id"] = order["id"]
        digest = ex.starknet_encode_structured_data(domain, {order["primary"]: fields}, message, account["address"])
        signature = ex.starknet_sign(digest, account["privateKey"]) if n % 20 == 0 else None
        said["orders"].append([str(digest), signature])
    await ex.close()
    print(json.dumps(said))

asyncio.run(main())
"""


def random_order(dice: random.Random) -> tuple[m.NewOrder | m.ModifyOrder, int]:
    kind = dice.choice(TYPES)
    size, price = (format(Decimal(dice.randrange(1, 10 ** dice.randrange(1, 16))).scaleb(-8), "f") for _ in range(2))
    price = "0" if "MARKET" in kind else price
    market, side = dice.choice(("BTC-USD-PERP", "kPEPE-USD-PERP", "1000CAT-USD-PERP")), dice.choice(("BUY", "SELL"))
    stamp = dice.randrange(1_600_000_000_000, 1_900_000_000_000)
    if dice.random() < 0.25:
        return m.ModifyOrder(str(dice.randrange(10**27, 10**28)), market, side, kind, size, price), stamp
    return m.NewOrder(market, side, kind, size, price, "GTC"), stamp


def asked_of(order: m.NewOrder | m.ModifyOrder, stamp: int) -> dict[str, Any]:
    fields = ["timestamp", "market", "side", "orderType", "size", "price"]
    asked = {
        "timestamp": stamp,
        "market": order.market,
        "side": str(s.SIDES[order.side]),
        "type": order.type,
        "size": order.size,
        "price": order.price,
        "primary": "Order",
        "fields": fields,
    }
    if isinstance(order, m.ModifyOrder):
        asked |= {"primary": "ModifyOrder", "fields": [*fields, "id"], "id": order.id}
    return asked


@pytest.mark.slow
def test_hashes_of_random_orders_equal_ccxts_and_signatures_verify_both_ways(peer: Callable[[str], Path]) -> None:
    dice = random.Random(20261121)
    orders = [random_order(dice) for _ in range(ORDERS)]
    asked = {"key": ETH_KEY, "config": CONFIG, "orders": [asked_of(*order) for order in orders]}
    done = subprocess.run([peer("ccxt"), "-c", PEER], input=json.dumps(asked), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])

    key = s.derive_key(ETH_KEY, 11155111)
    public = s.public_key(key)
    account = s.account_address(public, int(CONFIG["paraclear_account_proxy_hash"], 16), int(CONFIG["paraclear_account_hash"], 16))
    assert int(said["account"]["privateKey"], 0) == key
    assert int(said["account"]["publicKey"], 0) == public
    assert int(said["account"]["address"], 0) == account

    signed = 0
    for (order, stamp), (digest, theirs) in zip(orders, said["orders"], strict=True):
        ours = s.order_hash(order, stamp, CONFIG["starknet_chain_id"], account)
        assert ours == int(digest, 0), order
        r, sig = (int(part) for part in json.loads(s.sign(key, ours)))
        assert verify(public, int(digest, 0), r, sig)
        if theirs is not None:
            signed += 1
            r, sig = (int(part, 0) for part in json.loads(theirs))
            assert verify(public, ours, r, sig)
    assert signed == ORDERS // 20
