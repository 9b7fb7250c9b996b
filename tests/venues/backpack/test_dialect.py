"""The simulated venue's own rules, asked with bare requests: signatures, windows, numbers, sockets; and the shapes of what it says."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal as D
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from exchange_simulator.core.types import Side
from exchange_simulator.dialects.backpack import signatures
from tests.venues.backpack.harness import BTC, Bench, symbol, virtual

LIMIT = {"symbol": symbol(BTC), "side": "Bid", "orderType": "Limit", "price": "49000", "quantity": "0.01"}


class Wire:
    """Bare requests of the account's key."""

    def __init__(self, bench: Bench, session: aiohttp.ClientSession) -> None:
        self.bench = bench
        self.session = session
        self.api_key = bench.account.environ["BACKPACK_API_KEY"]
        self._key = Ed25519PrivateKey.from_private_bytes(base64.b64decode(bench.account.environ["BACKPACK_API_SECRET"]))

    def now_ms(self) -> int:
        return self.bench.now() // 10**6

    def sign(self, text: str) -> str:
        return base64.b64encode(self._key.sign(text.encode())).decode()

    async def ask(
        self, method: str, path: str, sent: Any = None, *, signed: Any = None, late_ms: int = 0, window: str | None = None
    ) -> tuple[int, Any]:
        """`signed` replaces what is signed; `late_ms` dates the request back; `window` None leaves its header out."""
        parameters = sent if signed is None else signed
        sets = parameters if isinstance(parameters, list) else [parameters or {}]
        stamp = str(self.now_ms() - late_ms)
        name = signatures.INSTRUCTIONS[f"{method} {path}"]
        headers = {"X-API-Key": self.api_key, "X-Timestamp": stamp}
        headers["X-Signature"] = self.sign(signatures.signed_text(name, sets, stamp, window or "5000"))
        if window is not None:
            headers["X-Window"] = window
        how = {"params": sent} if method == "GET" else {"json": sent}
        async with self.session.request(method, self.bench.server.rest + path, headers=headers, **how) as response:
            text = await response.text()
            return response.status, json.loads(text) if text else text

    async def public(self, path: str, **params: str) -> tuple[int, Any]:
        async with self.session.get(f"{self.bench.server.rest}/api/v1/{path}", params=params) as response:
            return response.status, await response.json(content_type=None)


@asynccontextmanager
async def wire(bench: Bench) -> AsyncIterator[Wire]:
    async with aiohttp.ClientSession(connector=bench.runtime.connector()) as session:
        yield Wire(bench, session)


# ---- signatures


@virtual
async def test_what_was_not_signed_is_refused(bench: Bench) -> None:
    async with wire(bench) as w:
        status, placed = await w.ask("POST", "/api/v1/order", LIMIT)
        assert (status, placed["status"]) == (200, "New")
        for sent, signed in ((LIMIT, {**LIMIT, "price": "49001"}), ({**LIMIT, "postOnly": True}, {**LIMIT, "postOnly": "True"})):
            status, said = await w.ask("POST", "/api/v1/order", sent, signed=signed)
            assert (status, said) == (400, {"code": "INVALID_CLIENT_REQUEST", "message": "Invalid signature"})
        assert len(bench.exchange.open_orders(bench.account.account)) == 1


@virtual
async def test_a_request_lives_for_its_window(bench: Bench) -> None:
    async with wire(bench) as w:
        assert (await w.ask("GET", "/api/v1/account", late_ms=4_900))[0] == 200
        for late_ms, window in ((5_100, None), (5_100, "5000"), (-2_000, None)):
            status, said = await w.ask("GET", "/api/v1/account", late_ms=late_ms, window=window)
            assert (status, said["message"]) == (400, "Request has expired")
        assert (await w.ask("GET", "/api/v1/account", late_ms=20_000, window="30000"))[0] == 200
        assert (await w.ask("GET", "/api/v1/account", window="60001"))[0] == 400


@virtual
async def test_a_stranger_is_unauthorized(bench: Bench) -> None:
    async with wire(bench) as w:
        bench.dialect.owners.clear()
        assert await w.ask("GET", "/api/v1/account") == (401, {"code": "UNAUTHORIZED", "message": "Unauthorized"})


# ---- orders


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"triggerPrice": "48000"}, "INVALID_CLIENT_REQUEST", "both `triggerPrice` and `triggerQuantity`"),
        ({"price": "49000.05"}, "INVALID_CLIENT_REQUEST", "Price decimal too long"),
        ({"quantity": "0.010001"}, "INVALID_CLIENT_REQUEST", "Quantity decimal too long"),
        ({"quantity": "0"}, "INVALID_QUANTITY", "Invalid quantity"),
        ({"price": "10000"}, "INVALID_PRICE", "too far from the last active price"),
        ({"price": "50100", "postOnly": True}, "INVALID_ORDER", "would immediately match"),
        ({"quantity": "900"}, "INSUFFICIENT_MARGIN", "Insufficient margin"),
        ({"clientId": "7"}, "INVALID_CLIENT_REQUEST", "u32"),
        ({"clientId": 2**32}, "INVALID_CLIENT_REQUEST", "u32"),
        ({"side": "Buy"}, "INVALID_CLIENT_REQUEST", "unknown variant"),
        ({"postOnly": "true"}, "INVALID_CLIENT_REQUEST", "boolean"),
        ({"symbol": "NO_USDC_PERP"}, "INVALID_MARKET", "Invalid market"),
        ({"orderType": "Market"}, "INVALID_CLIENT_REQUEST", "market orders none"),
    ],
)
def test_what_is_wrong_with_an_order_is_said(change: dict[str, Any], code: str, words: str) -> None:
    @virtual
    async def main(bench: Bench) -> None:
        async with wire(bench) as w:
            status, said = await w.ask("POST", "/api/v1/order", {**LIMIT, **change})
            assert status == 400
            assert said["code"] == code
            assert words in said["message"]
            assert not bench.exchange.open_orders(bench.account.account)

    main()


@virtual
async def test_an_ended_order_is_found_in_history_alone(bench: Bench) -> None:
    async with wire(bench) as w:
        _, placed = await w.ask("POST", "/api/v1/order", {**LIMIT, "clientId": 5})
        name = {"symbol": symbol(BTC), "orderId": placed["id"]}
        assert (await w.ask("GET", "/api/v1/order", name))[0] == 200
        assert (await w.ask("DELETE", "/api/v1/order", {"symbol": symbol(BTC), "clientId": 5}))[1]["status"] == "Cancelled"
        gone = (404, {"code": "RESOURCE_NOT_FOUND", "message": "Not Found"})
        assert await w.ask("GET", "/api/v1/order", name) == gone
        assert await w.ask("DELETE", "/api/v1/order", name) == gone
        _, (row,) = await w.ask("GET", "/wapi/v1/history/orders", {"orderId": placed["id"]})
        assert (row["status"], row["clientId"], type(placed["createdAt"]), type(row["createdAt"])) == ("Cancelled", 5, int, str)
        status, said = await w.ask("DELETE", "/api/v1/order", {**name, "clientId": 5})
        assert (status, said["message"]) == (400, "Must specify exactly one of `orderId` or `clientId`")


@virtual
async def test_an_expired_order_says_why_in_history_only(bench: Bench) -> None:
    async with wire(bench) as w:
        _, answer = await w.ask("POST", "/api/v1/order", {**LIMIT, "timeInForce": "IOC"})
        assert (answer["status"], answer.get("expiryReason")) == ("Expired", None)
        _, refused = await w.ask("POST", "/api/v1/order", {**LIMIT, "side": "Ask", "price": "51000", "reduceOnly": True})
        assert refused["status"] == "Expired"
        _, rows = await w.ask("GET", "/wapi/v1/history/orders", {"symbol": symbol(BTC)})
        assert [row["expiryReason"] for row in rows] == ["ReduceOnlyNotReduced", "ImmediateOrCancel"]


@virtual
async def test_a_market_order_walks_no_farther_than_it_may(bench: Bench) -> None:
    async with wire(bench) as w:
        bench.exchange.set_levels(bench.now(), symbol(BTC), [], [(500_000, 1_000), (510_000, 1_000), (520_000, 1_000)])
        market = {"symbol": symbol(BTC), "side": "Bid", "orderType": "Market", "quantity": "0.02"}
        _, bounded = await w.ask("POST", "/api/v1/order", {**market, "slippageTolerance": "1", "slippageToleranceType": "Percent"})
        assert (bounded["status"], bounded["executedQuantity"]) == ("Expired", "0.01")
        _, free = await w.ask("POST", "/api/v1/order", market)
        assert (free["status"], free["executedQuantity"]) == ("Filled", "0.02"), "three percent above 51,000 is more than 52,000"


@virtual
async def test_a_batch_is_signed_order_by_order(bench: Bench) -> None:
    async with wire(bench) as w:
        _, outcomes = await w.ask("POST", "/api/v1/orders", [LIMIT, {**LIMIT, "price": "1"}, {**LIMIT, "price": "48000"}])
        assert [one["operation"] for one in outcomes] == ["Ok", "Err", "Ok"]
        assert outcomes[1]["code"] == "INVALID_PRICE"


@virtual
async def test_half_of_the_position_may_be_a_trigger_quantity(bench: Bench) -> None:
    async with wire(bench) as w:
        await w.ask("POST", "/api/v1/order", {**LIMIT, "price": "50100", "timeInForce": "IOC", "quantity": "0.02"})
        stop = {
            "symbol": symbol(BTC),
            "side": "Ask",
            "orderType": "Market",
            "triggerPrice": "49000",
            "triggerQuantity": "50%",
            "reduceOnly": True,
        }
        _, placed = await w.ask("POST", "/api/v1/order", stop)
        assert (placed["status"], placed["triggerQuantity"]) == ("TriggerPending", "0.01")


@virtual
async def test_history_is_answered_thirty_times_a_minute(bench: Bench) -> None:
    async with wire(bench) as w:
        answers = [(await w.ask("GET", "/wapi/v1/history/fills"))[0] for _ in range(31)]
        assert answers == [200] * 30 + [429]
        await asyncio.sleep(61)
        assert (await w.ask("GET", "/wapi/v1/history/fills"))[0] == 200


# ---- public


@virtual
async def test_public_answers_keep_the_venues_habits(bench: Bench) -> None:
    async with wire(bench) as w:
        status, said = await w.public("depth", symbol=symbol(BTC), limit="7")
        assert (status, said["code"]) == (400, "INVALID_CLIENT_REQUEST"), "an enum of texts"
        _, book = await w.public("depth", symbol=symbol(BTC), limit="5")
        assert [D(level[0]) for level in book["bids"]] == sorted(D(level[0]) for level in book["bids"]), "the best bid is the last"
        assert isinstance(book["lastUpdateId"], str)
        assert isinstance((await w.public("time"))[1], int)
        async with w.session.get(f"{bench.server.rest}/api/v1/ping") as response:
            assert await response.text() == "pong"
        assert isinstance((await w.public("markPrices", symbol=symbol(BTC)))[1], list)
        assert await w.public("fundingRates", symbol="NO_USDC_PERP") == (200, [])
        _, (running,) = await w.public("fundingRates", symbol=symbol(BTC))
        assert running["intervalEndTimestamp"] == "2026-01-01T01:00:00", "of the interval that has not ended"
        assert (await w.public("klines", symbol=symbol(BTC), interval="1m", startTime="1", endTime=str(w.now_ms())))[1][
            "code"
        ] == "INVALID_RANGE"


# ---- socket


@virtual
async def test_a_subscription_is_not_acknowledged_and_a_wrong_one_is_not_named(bench: Bench) -> None:
    async with wire(bench) as w, w.session.ws_connect(bench.server.ws["public"]) as ws:
        await ws.send_json({"method": "SUBSCRIBE", "params": [f"trade.{symbol(BTC)}", "trade.NO_USDC_PERP"]})
        said = await ws.receive_json()
        assert said == {"id": None, "error": {"code": 4006, "message": "Invalid stream"}}
        await ws.send_json({"method": "SUBSCRIBE", "params": ["account.orderUpdate"]})
        assert (await ws.receive_json())["error"]["message"] == "Invalid signature"
        bench.trade(Side.BUY, D("0.01"))
        assert (await ws.receive_json())["stream"] == f"trade.{symbol(BTC)}"


@virtual
async def test_an_old_signature_opens_no_account(bench: Bench) -> None:
    async with wire(bench) as w, w.session.ws_connect(bench.server.ws["public"]) as ws:
        for late_ms, accepted in ((6_000, False), (0, True)):
            stamp = str(w.now_ms() - late_ms)
            signature = [w.api_key, w.sign(f"instruction=subscribe&timestamp={stamp}&window=5000"), stamp, "5000"]
            await ws.send_json({"method": "SUBSCRIBE", "params": ["account.orderUpdate"], "signature": signature})
            if not accepted:
                assert (await ws.receive_json())["error"]["message"] == "Request has expired"
        await asyncio.sleep(0.1)
        await w.ask("POST", "/api/v1/order", LIMIT)
        event = await ws.receive_json()
        assert (event["stream"], event["data"]["e"], event["data"]["o"]) == ("account.orderUpdate", "orderAccepted", "LIMIT")


@virtual
async def test_every_speed_of_a_book_numbers_without_a_hole(bench: Bench) -> None:
    names = ["depth", "depth.200ms", "depth.600ms", "depth.1000ms"]
    async with wire(bench) as w, w.session.ws_connect(bench.server.ws["public"]) as ws:
        await ws.send_json({"method": "SUBSCRIBE", "params": [f"{name}.{symbol(BTC)}" for name in names]})
        await asyncio.sleep(0.1)
        start = bench.dialect.number(symbol(BTC))
        for n in range(40):
            bench.exchange.set_level(bench.now(), symbol(BTC), Side.BUY, 499_000 + n % 7, 100 + n)
            await asyncio.sleep(0.09)
        await asyncio.sleep(1.5)
        heard: dict[str, list[tuple[int, int]]] = {}
        while True:
            try:
                frame = await ws.receive_json(timeout=0.5)
            except TimeoutError:
                break
            heard.setdefault(frame["stream"], []).append((frame["data"]["U"], frame["data"]["u"]))
        assert len(heard) == 4
        for ranges in heard.values():
            assert ranges[0][0] == start + 1
            assert ranges[-1][1] == bench.dialect.number(symbol(BTC))
            assert all(after[0] == before[1] + 1 for before, after in pairwise(ranges))
        assert len(heard[f"depth.{symbol(BTC)}"]) > len(heard[f"depth.1000ms.{symbol(BTC)}"]) > 2


# ---- shapes

# Fields that a recording has and the dialect does not, with the reason; "+" the other way round.
KNOWN = {
    "market + visible": "newer than the recording",
    "past order + reduceOnly": "the recorded one is of spot",
    "past order + triggeredAt": "the same",
    "past order + relatedOrderId": "the same",
    "order systemOrderType": "null in the recording",
    "taken quoteQuantity": "of orders by value",
}


def record(payloads: Path, file: str, number: int = 0) -> Any:
    found = json.loads((payloads / "backpack" / f"{file}.jsonl").read_text().splitlines()[number])["payload"]
    return found[-1] if isinstance(found, list) and found else found


def differences(what: str, ours: Any, theirs: Any) -> Iterator[str]:
    for key in sorted(set(theirs) - set(ours)):
        yield f"{what} {key}"
    for key in sorted(set(ours) - set(theirs)):
        yield f"{what} + {key}"


def test_every_shape(payloads: Path) -> None:
    @virtual
    async def main(bench: Bench) -> None:
        async with wire(bench) as w:
            _, order = await w.ask("POST", "/api/v1/order", LIMIT)
            _, taken = await w.ask(
                "POST", "/api/v1/order", {"symbol": symbol(BTC), "side": "Bid", "orderType": "Market", "quantity": "0.01"}
            )
            await w.ask("DELETE", "/api/v1/order", {"symbol": symbol(BTC), "orderId": order["id"]})
            bench.exchange.set_funding_rate(bench.now(), symbol(BTC), 12_500_000)
            await asyncio.sleep(3_700)
            history = {name: (await w.ask("GET", f"/wapi/v1/history/{name}"))[1][-1] for name in ("orders", "fills", "funding")}
            ours = {
                "market": (await w.public("markets"))[1][0],
                "ticker": (await w.public("tickers"))[1][0],
                "interest": (await w.public("openInterest"))[1][0],
                "mark": (await w.public("markPrices"))[1][0],
                "rate": (await w.public("fundingRates", symbol=symbol(BTC)))[1][0],
                "kline": (await w.public("klines", symbol=symbol(BTC), interval="1h", startTime="1767225600"))[1][0],
                "status": (await w.public("status"))[1],
                "position": (await w.ask("GET", "/api/v1/position"))[1][0],
                "capital": (await w.ask("GET", "/api/v1/capital"))[1]["USDC"],
                "order": order,
                "taken": taken,
                "past order": history["orders"],
                "fill": history["fills"],
                "payment": history["funding"],
            }
        theirs = {
            "market": record(payloads, "rest/markets"),
            "ticker": record(payloads, "rest/ticker"),
            "interest": record(payloads, "rest/ticker", 1),
            "mark": record(payloads, "rest/funding_rate"),
            "rate": record(payloads, "rest/funding_history"),
            "kline": record(payloads, "rest/candles"),
            "status": record(payloads, "rest/status"),
            "position": record(payloads, "rest/positions"),
            "capital": record(payloads, "rest/account")["USDC"],
            "order": record(payloads, "rest/orders"),
            "taken": record(payloads, "rest/order_ack", 1),
            "past order": record(payloads, "rest/orders", 1),
            "fill": record(payloads, "rest/fills"),
            "payment": record(payloads, "rest/funding_history", 1),
        }
        found = {line for what in theirs for line in differences(what, ours[what], theirs[what])}
        assert found == set(KNOWN)

    main()
