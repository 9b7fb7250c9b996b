"""Our signed requests, byte for byte as ccxt and the venue's own SDK make them from the same rows, keys and times."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from exchange_clients.model import InstrumentId, OrderIntent, OrderType, Side, TimeInForce
from exchange_clients.okx.client.managers.order_manager import OkxOrderManager
from exchange_clients.okx.client.utils import converters
from exchange_clients.okx.messages import InstrumentRow
from exchange_clients.okx.signing import OkxSigner, Operation
from exchange_clients.orders import Order
from exchange_clients.signing import Command, Credentials, HttpRequest, SignContext

KEYS = {"api_key": "a1b2c3d4-0000-1111-2222-333344445555", "api_secret": "7C3F0A9D5B1E4826AF93D0C7E5128B64", "passphrase": "passPhrase-01"}
COUNT = 300

CCXT = """
import json, sys
import ccxt
keys, jobs = json.load(sys.stdin)
ex = ccxt.okx({"apiKey": keys["api_key"], "secret": keys["api_secret"], "password": keys["passphrase"]})
found = []
for job in jobs:
    ex.milliseconds = lambda: job["ms"]
    signed = ex.sign(job["path"].removeprefix("/api/v5/"), ["private"], job["method"], job["params"])
    head = signed["headers"]
    found.append([signed["body"], head["OK-ACCESS-SIGN"], head["OK-ACCESS-TIMESTAMP"]])
print(json.dumps(found))
"""

SDK = """
import json, sys
from okx import utils
keys, jobs = json.load(sys.stdin)
found = []
for job in jobs:
    path = job["path"]
    body = json.dumps(job["params"], separators=(",", ":")) if job["method"] == "POST" else ""
    if job["method"] == "GET":
        path += utils.parse_params_to_str(job["params"])
    stamp = job["stamp"]
    signature = utils.sign(utils.pre_hash(stamp, job["method"], path, body), keys["api_secret"])
    found.append([body or None, signature.decode(), stamp])
print(json.dumps(found))
"""


def swap(kind: str) -> Any:
    row = InstrumentRow(
        instType="SWAP",
        instId="BTC-USDT-SWAP" if kind == "linear" else "BTC-USD-SWAP",
        instFamily="BTC-USDT" if kind == "linear" else "BTC-USD",
        ctType=kind,
        ctVal="0.01" if kind == "linear" else "100",
        ctMult="1",
        ctValCcy="BTC" if kind == "linear" else "USD",
        settleCcy="USDT" if kind == "linear" else "BTC",
        lotSz="0.01" if kind == "linear" else "1",
        minSz="0.01" if kind == "linear" else "1",
        tickSz="0.1",
        lever="100",
        state="live",
    )
    found = converters.instrument(row)
    assert found is not None
    return found


def random_rows(dice: random.Random) -> tuple[str, list[dict[str, Any]]]:
    """One order or a batch, of any kind, as our client writes it."""
    kind = dice.choice(["linear", "inverse"])
    instrument = swap(kind)
    algo = dice.random() < 0.25
    rows = []
    for _ in range(1 if algo else dice.choice([1, 1, 2, 5])):
        tif = dice.choice([TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK])
        order_type = dice.choice([OrderType.STOP_MARKET, OrderType.TAKE_PROFIT_LIMIT]) if algo else OrderType.LIMIT
        intent = OrderIntent(
            instrument=InstrumentId("BTC", "USDT", "okx"),
            side=dice.choice(list(Side)),
            quantity=instrument.step_size * dice.randint(1, 10**6),
            price=Decimal(dice.randint(1, 10**7)) / 10,
            order_type=order_type,
            time_in_force=tif,
            post_only=tif is TimeInForce.GTC and dice.random() < 0.5,
            reduce_only=dice.random() < 0.5,
            trigger_price=Decimal(dice.randint(1, 10**7)) / 10 if algo else None,
        )
        order = Order(f"p{dice.getrandbits(96):x}", intent, 0)
        make = OkxOrderManager._algo if algo else OkxOrderManager._order
        rows.append({"instId": instrument.venue_symbol, **make(order, instrument)})
    if algo:
        return "/api/v5/trade/order-algo", rows
    return ("/api/v5/trade/order" if len(rows) == 1 else "/api/v5/trade/batch-orders"), rows


def jobs_and_ours() -> tuple[list[dict[str, Any]], list[HttpRequest]]:
    dice, signer = random.Random(20261121), OkxSigner(Credentials("okx", KEYS))
    jobs, ours = [], []
    for _ in range(COUNT):
        ms = 1_763_164_800_000 + dice.randint(0, 10**10)
        path, rows = random_rows(dice)
        operation = Operation(path, rows, batch=len(rows) > 1)
        signed = asyncio.run(signer.sign_command(Command(endpoint="order", payload=operation, lane="entry"), SignContext(ms)))
        assert signed.request is not None
        jobs.append({"path": path, "method": "POST", "params": rows if len(rows) > 1 else rows[0], "ms": ms})
        ours.append(signed.request)
    for _ in range(40):
        ms = 1_763_164_800_000 + dice.randint(0, 10**10)
        query = {"instType": "SWAP", "instId": "BTC-USDT-SWAP", "after": str(dice.getrandbits(60)), "limit": "100"}
        request = HttpRequest("GET", "/api/v5/trade/orders-history", query=tuple(query.items()))
        jobs.append({"path": request.path, "method": "GET", "params": query, "ms": ms})
        ours.append(signer.signed(request, ms))
    for job, request in zip(jobs, ours, strict=True):
        job["stamp"] = request.headers["OK-ACCESS-TIMESTAMP"]
    return jobs, ours


@pytest.mark.slow
@pytest.mark.parametrize(("name", "script"), [("ccxt", CCXT), ("python-okx", SDK)])
def test_signed_bytes_are_equal(peer: Callable[[str], Path], name: str, script: str) -> None:
    jobs, ours = jobs_and_ours()
    done = subprocess.run(
        [peer(name), "-c", script], input=json.dumps([KEYS, jobs]), capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    theirs = json.loads(done.stdout)
    assert len(theirs) == len(ours) > 240
    for mine, (body, signature, stamp) in zip(ours, theirs, strict=True):
        assert (mine.body.decode() if mine.body else None) == body
        assert (mine.headers["OK-ACCESS-SIGN"], mine.headers["OK-ACCESS-TIMESTAMP"]) == (signature, stamp)
