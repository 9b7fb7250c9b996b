"""Our bytes and signatures against the official SDK's, on random orders.

The SDK lives in an environment of its own, see `peers.py`.
"""

from __future__ import annotations

import json
import random
import subprocess
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from exchange_clients.hyperliquid import messages as m
from exchange_clients.hyperliquid.client.utils.helpers import wire_number
from exchange_clients.hyperliquid.signing import SigningKey, action_hash, sign_l1_action, sign_user_action
from tests.parity import peers

ENVS = peers.folder()
PYTHON = ENVS / "hyperliquid-sdk" / "bin" / "python"
ORDERS = 200

pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason=f"the official SDK is not installed in {PYTHON.parent.parent}")

SDK = """
import json, sys
from eth_account import Account
from hyperliquid.utils import signing as s

for line in sys.stdin:
    case = json.loads(line)
    wallet = Account.from_key(case["key"])
    if "user_action" in case:
        sign = {"usdSend": s.sign_usd_transfer_action, "withdraw3": s.sign_withdraw_from_bridge_action,
                "usdClassTransfer": s.sign_usd_class_transfer_action, "spotSend": s.sign_spot_transfer_action,
                "sendAsset": s.sign_send_asset_action, "approveAgent": s.sign_agent, "approveBuilderFee": s.sign_approve_builder_fee,
                "tokenDelegate": s.sign_token_delegate_action}[case["user_action"]["type"]]
        action = dict(case["user_action"])
        print(json.dumps({"signature": sign(wallet, action, case["mainnet"]), "chain": action["signatureChainId"]}))
        continue
    if "orders" in case:
        wires = []
        for o in case["orders"]:
            cloid = s.Cloid.from_str(o["cloid"]) if o["cloid"] else None
            request = {"coin": "X", "is_buy": o["is_buy"], "sz": float(o["sz"]), "limit_px": float(o["px"]),
                       "order_type": o["order_type"], "reduce_only": o["reduce_only"], "cloid": cloid}
            if "trigger" in request["order_type"]:
                request["order_type"]["trigger"]["triggerPx"] = float(request["order_type"]["trigger"]["triggerPx"])
            wires.append(s.order_request_to_order_wire(request, o["asset"]))
        action = s.order_wires_to_order_action(wires, case["builder"])
    else:
        action = case["action"]
    digest = s.action_hash(action, case["vault"], case["nonce"], case["expires"])
    signature = s.sign_l1_action(wallet, action, case["vault"], case["nonce"], case["expires"], case["mainnet"])
    print(json.dumps({"action": action, "hash": digest.hex(), "signature": signature}))
"""


def ask(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    text = "\n".join(json.dumps(case) for case in cases)
    done = subprocess.run([PYTHON, "-c", SDK], input=text, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def random_order(rng: random.Random) -> tuple[dict[str, Any], m.OrderWire]:
    """The same order for the SDK (floats, as it wants them) and for us (Decimals)."""
    px = Decimal(rng.randint(1, 99999)).scaleb(rng.randint(-6, 2))
    sz = Decimal(rng.randint(1, 10**6)).scaleb(-rng.randint(0, 5))
    cloid = f"0x{rng.getrandbits(128):032x}" if rng.random() < 0.5 else None
    asset, buy, reduce_only = rng.choice([0, 1, 173, 110_000, 110_042]), rng.random() < 0.5, rng.random() < 0.5
    spec: dict[str, Any]
    ours: m.OrderKind
    if rng.random() < 0.7:
        tif = rng.choice(["Gtc", "Ioc", "Alo"])
        spec, ours = {"limit": {"tif": tif}}, m.OrderKind(limit=m.LimitSpec(tif))
    else:
        trigger = Decimal(rng.randint(1, 99999)).scaleb(rng.randint(-4, 0))
        market, kind = rng.random() < 0.5, rng.choice(["tp", "sl"])
        spec = {"trigger": {"triggerPx": str(trigger), "isMarket": market, "tpsl": kind}}
        ours = m.OrderKind(trigger=m.TriggerSpec(market, wire_number(trigger), kind))
    theirs = {"asset": asset, "is_buy": buy, "px": str(px), "sz": str(sz), "order_type": spec, "reduce_only": reduce_only, "cloid": cloid}
    return theirs, m.OrderWire(asset, buy, wire_number(px), wire_number(sz), reduce_only, ours, cloid)


@pytest.mark.slow
def test_200_random_orders_are_byte_identical() -> None:
    rng = random.Random(20261121)
    cases: list[dict[str, Any]] = []
    actions: list[m.PlaceOrders] = []
    left = ORDERS
    while left:
        pairs = [random_order(rng) for _ in range(min(left, rng.choice([1, 1, 1, 2, 15, 16, 17])))]
        left -= len(pairs)
        builder: dict[str, Any] | None = {"b": f"0x{rng.getrandbits(160):040x}", "f": rng.randint(1, 100)} if rng.random() < 0.2 else None
        actions.append(m.PlaceOrders([ours for _, ours in pairs], "na", m.Builder(**builder) if builder else None))
        cases.append(
            {
                "key": f"0x{rng.getrandbits(255) + 1:064x}",
                "orders": [theirs for theirs, _ in pairs],
                "builder": builder,
                "vault": f"0x{rng.getrandbits(160):040x}" if rng.random() < 0.3 else None,
                "expires": rng.randint(1, 2**41) if rng.random() < 0.3 else None,
                "nonce": rng.randint(1, 2**41),
                "mainnet": rng.random() < 0.5,
            }
        )
    for case, action, theirs in zip(cases, actions, ask(cases), strict=True):
        assert json.loads(msgspec.json.encode(action)) == theirs["action"]
        assert list(json.loads(msgspec.json.encode(action))["orders"][0]) == list(theirs["action"]["orders"][0])
        vault, expires, nonce = case["vault"], case["expires"], case["nonce"]
        assert action_hash(action, nonce, vault=vault, expires_after_ms=expires).hex() == theirs["hash"]
        key = SigningKey(case["key"])
        ours = sign_l1_action(key, action, nonce, mainnet=case["mainnet"], vault=vault, expires_after_ms=expires)
        same(ours, theirs["signature"])


def same(ours: Any, theirs: dict[str, Any]) -> None:
    assert (int(ours.r, 16), int(ours.s, 16), ours.v) == (int(theirs["r"], 16), int(theirs["s"], 16), theirs["v"])


ACTIONS: list[Any] = [
    m.CancelOrders([m.CancelWire(0, n) for n in (0, 127, 128, 255, 256, 65535, 65536, 2**32, 2**53)]),
    m.CancelByCloid([m.CancelByCloidWire(3, "0x" + "ab" * 16)]),
    m.BatchModify([m.ModifyWire(5, m.OrderWire(1, True, "1", "2", False, m.OrderKind(limit=m.LimitSpec("Alo")), "0x" + "01" * 16))]),
    m.UpdateLeverage(110_003, False, 7),
    m.UpdateIsolatedMargin(4, True, -1_000_000),
    m.UpdateIsolatedMargin(4, True, 31),
    m.ScheduleCancel(),
    m.ScheduleCancel(1_700_000_000_000),
    m.ReserveRequestWeight(300),
    m.Noop(),
]


def test_every_other_action_hashes_alike() -> None:
    cases = [
        {"key": "0x" + "11" * 32, "action": json.loads(msgspec.json.encode(a)), "vault": None, "expires": None, "nonce": 7, "mainnet": True}
        for a in ACTIONS
    ]
    for action, theirs in zip(ACTIONS, ask(cases), strict=True):
        assert action_hash(action, 7).hex() == theirs["hash"], action
        same(sign_l1_action(SigningKey("0x" + "11" * 32), action, 7, mainnet=True), theirs["signature"])


def test_user_signed_actions_sign_alike() -> None:
    address, key = "0x" + "ab" * 20, "0x" + "22" * 32
    fields: list[dict[str, Any]] = [
        {"type": "usdSend", "destination": address, "amount": "1.5", "time": 1687816341423},
        {"type": "withdraw3", "destination": address, "amount": "2", "time": 5},
        {"type": "spotSend", "destination": address, "token": "PURR:0xc4bf", "amount": "3", "time": 6},
        {"type": "usdClassTransfer", "amount": "10 subaccount:" + address, "toPerp": True, "nonce": 7},
        {
            "type": "sendAsset",
            "destination": address,
            "sourceDex": "",
            "destinationDex": "xyz",
            "token": "USDC:0x6d",
            "amount": "4",
            "fromSubAccount": "",
            "nonce": 8,
        },
        {"type": "approveAgent", "agentAddress": address, "agentName": "bot", "nonce": 9},
        {"type": "approveBuilderFee", "maxFeeRate": "0.001%", "builder": address, "nonce": 10},
        {"type": "tokenDelegate", "validator": address, "wei": 11, "isUndelegate": False, "nonce": 12},
    ]
    cases: list[dict[str, Any]] = [
        {"key": key, "user_action": action, "mainnet": mainnet} for action in fields for mainnet in (True, False)
    ]
    for case, theirs in zip(cases, ask(cases), strict=True):
        chain = "Mainnet" if case["mainnet"] else "Testnet"
        action: dict[str, object] = {**case["user_action"], "signatureChainId": theirs["chain"], "hyperliquidChain": chain}
        same(sign_user_action(SigningKey(key), action), theirs["signature"])
