"""Our signed requests against ccxt's EIP-712 code, on random orders of random keys, both ways.

ccxt lives in an environment of its own, see `peers.py`.
"""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from exchange_clients.aster.client.utils.helpers import wire_number
from exchange_clients.aster.common import ENDPOINTS
from exchange_clients.aster.signing import AsterSigner, parameters, sign_message
from exchange_clients.crypto.secp256k1 import SigningKey
from exchange_clients.signing import Credentials
from exchange_clients.transport.offload import InlineOffload
from exchange_clients.transport.rest import build_request
from exchange_simulator.dialects.aster.signatures import recover

ORDERS = 200

CCXT = """
import json, sys
import ccxt

for line in sys.stdin:
    case = json.loads(line)
    ex = ccxt.aster({"privateKey": case["key"]})
    ex.options["v3ChainId"] = case["chain"]
    domain = {"name": "AsterSignTransaction", "version": "1", "chainId": case["chain"], "verifyingContract": "0x" + "0" * 40}
    encoded = ex.eth_encode_structured_data(domain, {"Message": [{"name": "msg", "type": "string"}]}, {"msg": case["message"]})
    ex.milliseconds = lambda: case["now_ms"]
    theirs = ex.sign("v3/order", ["fapiPrivate"], "POST", dict(case["form"]))
    print(json.dumps({"signature": ex.sign_message(encoded, case["key"]), "body": theirs["body"]}))
"""


def random_form(rng: random.Random) -> dict[str, str]:
    """An order as our manager writes one."""
    form = {
        "symbol": rng.choice(["BTCUSDT", "1000PEPEUSDT", "ASTERUSDT"]),
        "side": rng.choice(["BUY", "SELL"]),
        "type": "LIMIT",
        "timeInForce": rng.choice(["GTC", "IOC", "FOK", "GTX"]),
        "price": wire_number(Decimal(rng.randint(1, 99999)).scaleb(rng.randint(-6, 2))),
        "quantity": wire_number(Decimal(rng.randint(1, 10**6)).scaleb(-rng.randint(0, 5))),
    }
    if rng.random() < 0.3:
        form["reduceOnly"] = "true"
    form["newClientOrderId"] = "".join(rng.choices("abcXYZ019.:/_-", k=rng.randint(1, 36)))
    return form


@pytest.mark.slow
def test_200_random_orders_have_the_same_signatures(peer: Callable[[str], Path]) -> None:
    python, rng = peer("ccxt"), random.Random(20261121)
    cases: list[dict[str, Any]] = []
    ours: list[str] = []
    for n in range(ORDERS):
        key, chain, now_ms = f"0x{rng.getrandbits(255) + 1:064x}", rng.choice([1666, 714]), 1_763_164_800_000 + n
        user = SigningKey(key).address
        signer = AsterSigner(
            Credentials("aster", {"user_address": user, "signer_private_key": key}), InlineOffload(), chain_id=chain, scope="parity"
        )
        form = random_form(rng)
        text = parameters(signer.sign(build_request(ENDPOINTS["placeOrder"], form), now_ms * 1000))
        message, _, signature = text.rpartition("&signature=")
        ours.append(signature)
        cases.append({"key": key, "chain": chain, "message": message, "form": form, "now_ms": now_ms})
    lines = "\n".join(json.dumps(case) for case in cases)
    done = subprocess.run([python, "-c", CCXT], input=lines, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    for case, signature, theirs in zip(cases, ours, found, strict=True):
        assert theirs["signature"].lower() == signature
        message, _, signed = theirs["body"].rpartition("&signature=")
        assert sign_message(SigningKey(case["key"]), message, case["chain"]) == signed.lower()
        assert recover(message, signed, case["chain"]) == SigningKey(case["key"]).address
