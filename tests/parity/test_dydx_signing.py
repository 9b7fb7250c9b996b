"""Our transactions against the official SDK's, byte for byte, on random orders.

The SDK lives in an environment of its own, see `peers.py`. It sets client_metadata itself and quantises with floats: the messages are made
with its protobuf types from the same integers as ours, the transactions with its builder.
"""

from __future__ import annotations

import json
import random
import subprocess
from typing import Any

import pytest

from exchange_clients.dydx import chain, signing
from exchange_clients.dydx.chain import ChainOrder, ChainSide, ChainTif, Condition, Flags, OrderRef
from exchange_clients.signing import Credentials
from exchange_clients.spec import Endpoints
from tests.parity import peers

PYTHON = peers.folder() / "dydx-sdk" / "bin" / "python"
CASES = 300
CHAIN_ID = "dydx-testnet-4"

pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason=f"the official SDK is not installed in {PYTHON.parent.parent}")

SDK = """
import hashlib, json, sys, time
from dydx_v4_client.key_pair import KeyPair
from dydx_v4_client import OrderFlags
from dydx_v4_client.indexer.rest.constants import OrderType
from dydx_v4_client.node.builder import Builder, TxOptions
from dydx_v4_client.node.market import Market
from dydx_v4_client.node.message import place_order
from dydx_v4_client.wallet import Wallet
from v4_proto.dydxprotocol.clob.order_pb2 import Order, OrderId
from v4_proto.dydxprotocol.clob.tx_pb2 import MsgBatchCancel, MsgCancelOrder, MsgPlaceOrder, OrderBatch
from v4_proto.dydxprotocol.subaccounts.subaccount_pb2 import SubaccountId

def message(case):
    o = case["order"]
    account = SubaccountId(owner=case["owner"], number=case["subaccount"])
    if case["kind"] == "batch":
        batches = [OrderBatch(clob_pair_id=int(pair), client_ids=ids) for pair, ids in case["batch"].items()]
        return MsgBatchCancel(subaccount_id=account, short_term_cancels=batches, good_til_block=o["good_til"])
    key = OrderId(subaccount_id=account, client_id=o["client_id"], order_flags=o["flags"], clob_pair_id=o["pair"])
    til = {"good_til_block": o["good_til"]} if o["flags"] == 0 else {"good_til_block_time": o["good_til"]}
    if case["kind"] == "cancel":
        return MsgCancelOrder(order_id=key, **til)
    return MsgPlaceOrder(order=Order(order_id=key, side=o["side"], quantums=o["quantums"], subticks=o["subticks"], time_in_force=o["tif"],
        reduce_only=o["reduce_only"], client_metadata=o["metadata"], condition_type=o["condition"],
        conditional_order_trigger_subticks=o["trigger"], **til))

def transaction(case):
    pair = KeyPair.from_mnemonic(case["mnemonic"]) if "mnemonic" in case else KeyPair.from_hex(case["key"])
    wallet = Wallet(pair, case["account_number"], case["sequence"])
    builder = Builder(case["chain_id"], "", memo="")
    options = None
    if case["authenticator"] is not None:
        options = TxOptions([case["authenticator"]], case["sequence"], case["account_number"])
    return wallet, lambda: builder.build(wallet, message(case), tx_options=options).SerializeToString()

for line in sys.stdin:
    case = json.loads(line)
    wallet, build = transaction(case)
    raw = build()
    print(json.dumps({"tx": raw.hex(), "hash": hashlib.sha256(raw).hexdigest().upper(), "address": wallet.address}))
"""


def ask(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    text = "\n".join(json.dumps(case) for case in cases)
    done = subprocess.run([PYTHON, "-c", SDK], input=text, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def random_case(rng: random.Random, kind: str) -> dict[str, Any]:
    """Numbers of every length, zeros included."""
    flags = rng.choice([0, 32, 64]) if kind != "batch" else 0
    conditional = flags == 32
    order = {
        "client_id": rng.choice([0, rng.getrandbits(32), rng.randrange(256)]),
        "flags": flags,
        "pair": rng.choice([0, 1, 5, 127, 128, 901, 70_000]),
        "side": rng.choice([1, 2]),
        "quantums": rng.randint(1, 10 ** rng.randint(1, 18)),
        "subticks": rng.randint(1, 10 ** rng.randint(1, 18)),
        "good_til": rng.randint(1, 2**31) if flags else rng.randint(1, 10**8),
        "tif": rng.choice([0, 1, 2]),
        "reduce_only": rng.random() < 0.5,
        "metadata": rng.choice([0, 1, rng.getrandbits(32)]),
        "condition": rng.choice([1, 2]) if conditional else 0,
        "trigger": rng.randint(1, 10**15) if conditional else 0,
    }
    key = f"{rng.randrange(1, 2**250):064x}"
    owner = signing.address_of(signing._public_key(bytes.fromhex(key)))
    return {
        "kind": kind,
        "key": key,
        "owner": owner,
        "subaccount": rng.choice([0, 1, 127, 128, 128_000]),
        "chain_id": rng.choice([CHAIN_ID, "dydx-mainnet-1"]),
        "account_number": rng.choice([0, 11, rng.getrandbits(40)]),
        "sequence": 0 if flags == 0 else rng.randrange(1, 10**6),
        "authenticator": rng.choice([None, None, 0, 5, rng.getrandbits(40)]),
        "order": order,
        "batch": {str(pair): [rng.getrandbits(32) for _ in range(rng.randint(1, 20))] for pair in rng.sample([0, 1, 5, 901], 2)},
    }


def signer_for(case: dict[str, Any]) -> signing.DydxSigner:
    fields = {"private_key": case["key"], "address": case["owner"], "subaccount_number": str(case["subaccount"])}
    if case["authenticator"] is not None:
        fields["authenticator_id"] = str(case["authenticator"])
    return signing.DydxSigner(Credentials("dydx", fields), Endpoints(rest="", chain_id=case["chain_id"]))


def message_of(case: dict[str, Any], own: signing.DydxSigner) -> chain.Message:
    o = case["order"]
    ref = OrderRef(o["client_id"], Flags(o["flags"]), o["pair"])
    if case["kind"] == "batch":
        return chain.batch_cancel(own.subaccount, {int(pair): ids for pair, ids in case["batch"].items()}, o["good_til"])
    if case["kind"] == "cancel":
        return chain.cancel_order(own.subaccount, ref, o["good_til"])
    order = ChainOrder(
        ref=ref,
        side=ChainSide(o["side"]),
        quantums=o["quantums"],
        subticks=o["subticks"],
        good_til=o["good_til"],
        time_in_force=ChainTif(o["tif"]),
        reduce_only=o["reduce_only"],
        client_metadata=o["metadata"],
        condition=Condition(o["condition"]),
        trigger_subticks=o["trigger"],
    )
    return chain.place_order(own.subaccount, order)


def ours(case: dict[str, Any]) -> bytes:
    own = signer_for(case)
    tx = chain.Transaction(messages=(message_of(case, own),), account_number=case["account_number"])
    return own.sign_transaction(tx, case["sequence"] or None)


@pytest.mark.slow
def test_random_transactions_are_equal_byte_for_byte() -> None:
    rng = random.Random(4)
    kinds = ["place", "place", "place", "cancel", "batch"]
    cases = [random_case(rng, kinds[n % len(kinds)]) for n in range(CASES)]
    for case, theirs in zip(cases, ask(cases), strict=True):
        assert ours(case).hex() == theirs["tx"], case
        assert theirs["address"] == case["owner"]


@pytest.mark.slow
def test_keys_from_words_are_equal() -> None:
    words = (
        "mirror actor skill push coach wait confirm orchard lunch mobile athlete gossip awake miracle matter bus reopen team ladder "
        "lazy list timber render wait"
    )
    case = random_case(random.Random(1), "place")
    (theirs,) = ask([{**case, "mnemonic": words, "authenticator": None}])
    assert theirs["address"] == signing.address_of(signing._public_key(signing.key_from_mnemonic(words)))
