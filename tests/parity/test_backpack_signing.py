"""Our requests against those of ccxt and of the documented Python client, on random orders: the same body, the same signature.

Both live in environments of their own, see `peers.py`. ED25519 is deterministic, so equal texts have equal signatures.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import subprocess
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from exchange_clients.backpack import SPEC, BackpackClient
from exchange_clients.backpack.signing import signer_of
from exchange_clients.model import InstrumentId, OrderIntent, OrderType, Purpose, Side, TimeInForce
from exchange_clients.orders import Order
from exchange_clients.signing import Command, Credentials, HttpRequest, SignContext
from tests.venues.backpack.test_converters import BONK, SOL
from tests.venues.backpack.test_signing import API_KEY, SECRET

ORDERS = 240

CCXT = """
import asyncio, json, sys
import ccxt.async_support as ccxt

async def main():
    ex = ccxt.backpack({"apiKey": sys.argv[1], "secret": sys.argv[2]})
    ex.set_markets([ex.parse_market(row) for row in json.loads(sys.argv[3])])
    for line in sys.stdin:
        case = json.loads(line)
        ex.nonce = lambda: case["now_ms"]
        if "orders" in case:
            names = ("symbol", "type", "side", "amount", "price", "params")
            made = [ex.create_order_request(*(order[name] for name in names)) for order in case["orders"]]
            signed = ex.sign("api/v1/orders" if len(made) > 1 else "api/v1/order", ["private"], "POST", made if len(made) > 1 else made[0])
        else:
            signed = ex.sign(case["path"], ["private"], case["method"], case["params"])
        print(json.dumps(signed))
    await ex.close()

asyncio.run(main())
"""

BPX = """
import json, sys
from bpx.base.base_account import BaseAccount

account = BaseAccount(sys.argv[1], sys.argv[2], 5000, False)
for line in sys.stdin:
    case = json.loads(line)
    print(json.dumps({"signature": account._sign(case["params"], case["instruction"], case["now_ms"], 5000)}))
"""

MARKETS = [
    {
        "symbol": symbol,
        "baseSymbol": base,
        "quoteSymbol": "USDC",
        "marketType": "PERP",
        "filters": {"price": {"tickSize": tick, "minPrice": tick}, "quantity": {"minQuantity": step, "stepSize": step}},
        "orderBookState": "Open",
        "visible": True,
        "createdAt": "2025-01-21T06:34:54.691858",
    }
    for symbol, base, tick, step in (("SOL_USDC_PERP", "SOL", "0.01", "0.01"), ("kBONK_USDC_PERP", "kBONK", "0.000001", "1"))
]


def ask(python: Path, script: str, cases: list[dict[str, Any]], *arguments: str) -> list[dict[str, Any]]:
    text = "\n".join(json.dumps(case) for case in cases)
    done = subprocess.run([python, "-c", script, *arguments], input=text, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def random_order(rng: random.Random, number: int) -> tuple[dict[str, Any], OrderIntent]:
    """The same order for ccxt (the venue's units, as texts) and for us (base units)."""
    market = rng.choice([SOL, BONK])
    price = Decimal(rng.randint(1, 10**6)) * market.to_venue_price(market.tick_size)
    size = Decimal(rng.randint(1, 10**5)) * market.step_size / market.contract_size
    side = rng.choice([Side.BUY, Side.SELL])
    kind = rng.choice([OrderType.LIMIT, OrderType.LIMIT, OrderType.STOP_MARKET, OrderType.STOP_LIMIT, OrderType.TAKE_PROFIT_LIMIT])
    tif = rng.choice(list(SPEC.capabilities.times_in_force)) if kind is OrderType.LIMIT else TimeInForce.GTC
    post_only = kind is OrderType.LIMIT and tif is TimeInForce.GTC and rng.random() < 0.5
    reduce_only = rng.random() < 0.5
    waits = kind is not OrderType.LIMIT
    trigger = price if waits else None
    limited = kind is not OrderType.STOP_MARKET
    params: dict[str, Any] = {"clientOrderId": number}
    params |= {"timeInForce": tif.value} if limited else {}
    params |= {"postOnly": True} if post_only else {}
    params |= {"reduceOnly": True} if reduce_only else {}
    params |= {"triggerPrice": format(price, "f"), "triggerBy": "MarkPrice"} if waits else {}
    theirs = {
        "symbol": "SOL/USDC:USDC" if market is SOL else "KBONK/USDC:USDC",
        "type": "limit" if limited else "market",
        "side": side.value,
        "amount": format(size, "f"),
        "price": format(price, "f") if limited else None,
        "params": params,
    }
    intent = OrderIntent(
        instrument=market.id,
        side=side,
        quantity=market.from_venue_size(size),
        price=market.from_venue_price(price),
        order_type=kind,
        time_in_force=tif,
        post_only=post_only,
        reduce_only=reduce_only,
        trigger_price=market.from_venue_price(trigger) if trigger is not None else None,
        client_order_id=str(number),
        purpose=Purpose.HEDGE,
    )
    return theirs, intent


def a_client() -> BackpackClient:
    return BackpackClient({}, Credentials(SPEC.name, {"api_key": API_KEY, "api_secret": SECRET}))


def signed(client: BackpackClient, command: Command, now_ms: int) -> HttpRequest:
    request = asyncio.run(signer_of(client.context).sign_command(command, SignContext(now_ms))).request
    assert request is not None
    return request


def same(ours: HttpRequest, theirs: dict[str, Any]) -> None:
    assert ours.body is not None
    assert json.loads(ours.body) == json.loads(theirs["body"])
    for name in ("X-API-Key", "X-Signature", "X-Timestamp", "X-Window"):
        assert ours.headers[name] == theirs["headers"][name]
    assert (ours.method, ours.path) == (theirs["method"], theirs["url"].removeprefix("https://api.backpack.exchange"))


def test_random_orders_are_those_of_ccxt(peer: Callable[[str], Path]) -> None:
    rng, now_ms = random.Random(7), 1_763_164_800_000
    made = [random_order(rng, number + 1) for number in range(ORDERS)]
    sizes = [1] * (ORDERS - 60) + [3] * 20
    cases, batches, start = [], [], 0
    for place, size in enumerate(sizes):
        group = made[start : start + size]
        start += size
        batches.append([intent for _, intent in group])
        cases.append({"orders": [theirs for theirs, _ in group], "now_ms": now_ms + place})
    told = ask(peer("ccxt"), CCXT, cases, API_KEY, SECRET, json.dumps(MARKETS))
    client = a_client()
    markets = {market.id: market for market in (SOL, BONK)}
    for place, (batch, theirs) in enumerate(zip(batches, told, strict=True)):
        orders = [Order(intent.client_order_id, intent, 0) for intent in batch]
        instruments = [markets[intent.instrument] for intent in batch]
        encode = client.order_manager
        command = encode.encode_place(orders[0], instruments[0]) if len(orders) == 1 else encode.encode_place_many(orders, instruments)
        same(signed(client, command, now_ms + place), theirs)
    assert start == ORDERS


def test_cancels_settings_and_queries_are_those_of_ccxt(peer: Callable[[str], Path]) -> None:
    now_ms, client = 1_763_164_800_000, a_client()
    order = Order("77", random_order(random.Random(1), 77)[1], 0)
    nameless = client.order_manager.encode_cancel(order, SOL)
    order.order_id = "8284661092"
    commands = {
        "api/v1/order": [nameless, client.order_manager.encode_cancel(order, SOL)],
        "api/v1/orders": [client.order_manager.encode_cancel_all(SOL)],
    }
    flat = [(path, command) for path, found in commands.items() for command in found]
    cases = [{"path": path, "method": "DELETE", "params": command.payload, "now_ms": now_ms} for path, command in flat]
    queries: list[tuple[str, dict[str, Any]]] = [
        (
            "wapi/v1/history/fills",
            {"symbol": "SOL_USDC_PERP", "from": "1763000000000", "limit": "1000", "offset": "0", "sortDirection": "Desc"},
        ),
        ("api/v1/order", {"symbol": "NVDA.US_USDC_PERP", "clientId": "4294967295"}),
        ("api/v1/position", {}),
    ]
    cases += [{"path": path, "method": "GET", "params": params, "now_ms": now_ms} for path, params in queries]
    told = ask(peer("ccxt"), CCXT, cases, API_KEY, SECRET, json.dumps(MARKETS))
    for (_, command), theirs in zip(flat, told, strict=False):
        same(signed(client, command, now_ms), theirs)
    for (path, params), theirs in zip(queries, told[len(flat) :], strict=True):
        ours = asyncio.run(signer_of(client.context).authorize(HttpRequest("GET", f"/{path}", query=tuple(params.items())), now_ms))
        assert ours.headers["X-Signature"] == theirs["headers"]["X-Signature"]


def test_random_orders_are_signed_as_by_the_documented_python_client(peer: Callable[[str], Path]) -> None:
    rng, client = random.Random(8), a_client()
    markets = {market.id: market for market in (SOL, BONK)}
    commands = []
    for number in range(ORDERS):
        _, intent = random_order(rng, number + 1)
        commands.append(client.order_manager.encode_place(Order(intent.client_order_id, intent, 0), markets[intent.instrument]))
    cases = [{"instruction": "orderExecute", "params": c.payload, "now_ms": 1_763_164_800_000 + n} for n, c in enumerate(commands)]
    told = ask(peer("bpx-py"), BPX, cases, API_KEY, SECRET)
    for case, command, theirs in zip(cases, commands, told, strict=True):
        assert signed(client, command, case["now_ms"]).headers["X-Signature"] == theirs["signature"]


def test_the_key_of_these_tests_is_the_published_one() -> None:
    """RFC 8032, section 7.1, test 1."""
    assert base64.b64decode(SECRET).hex() == "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
    assert isinstance(SOL.id, InstrumentId)
