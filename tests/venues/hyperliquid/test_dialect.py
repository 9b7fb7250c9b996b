"""The simulated venue's own rules, asked with bare requests: content types, nonces, canonical bytes, expiry, batches, sockets."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal as D
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from exchange_clients.hyperliquid import messages as m
from exchange_clients.hyperliquid.signing import SigningKey, sign_l1_action, sign_user_action
from exchange_simulator.core.types import Side
from exchange_simulator.dialects.base import Budget, Refusal
from exchange_simulator.dialects.hyperliquid import signatures
from exchange_simulator.dialects.hyperliquid.wallets import KEPT_NONCES, Nonces
from tests.venues.hyperliquid.harness import Bench, virtual

DAY_MS = 86_400_000


class Wire:
    """Bare requests of the account's agent."""

    def __init__(self, bench: Bench, session: aiohttp.ClientSession) -> None:
        self.bench = bench
        self.session = session
        self.key = SigningKey(bench.account.environ["HYPERLIQUID_PRIVATE_KEY"])
        self.user = bench.account.environ["HYPERLIQUID_ACCOUNT_ADDRESS"]
        self._nonce = 0

    async def post(self, path: str, body: Any, **headers: str) -> tuple[int, str]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
        async with self.session.post(self.bench.server.rest + path, data=data, headers=sent) as response:
            return response.status, await response.text()

    def envelope(self, action: Any, *, sent: Any = None, nonce: int | None = None, **more: Any) -> dict[str, Any]:
        """`sent` replaces the action on the wire after signing."""
        self._nonce = max(self._nonce + 1, self.bench.dialect.now_ms())
        nonce = self._nonce if nonce is None else nonce
        vault, expires = more.get("vaultAddress"), more.get("expiresAfter")
        signature = sign_l1_action(self.key, action, nonce, mainnet=True, vault=vault, expires_after_ms=expires)
        wired = json.loads(msgspec.json.encode(sent if sent is not None else action))
        return {"action": wired, "nonce": nonce, "signature": msgspec.to_builtins(signature), **more}

    async def act(self, action: Any, **more: Any) -> Any:
        status, text = await self.post("/exchange", self.envelope(action, **more))
        assert status == 200, text
        return json.loads(text)

    async def statuses(self, action: Any) -> list[Any]:
        answer = await self.act(action)
        assert answer["status"] == "ok", answer
        return list(answer["response"]["data"]["statuses"])


@asynccontextmanager
async def wire(bench: Bench) -> AsyncIterator[Wire]:
    async with aiohttp.ClientSession(connector=bench.runtime.connector()) as session:
        yield Wire(bench, session)


def order(price: str = "49000", size: str = "0.01", *, asset: int = 0, buy: bool = True, tif: str = "Gtc", **more: Any) -> m.OrderWire:
    return m.OrderWire(asset, buy, price, size, more.get("reduce_only", False), m.OrderKind(limit=m.LimitSpec(tif)), more.get("cloid"))


def place(*orders: m.OrderWire, grouping: str = "na") -> m.PlaceOrders:
    return m.PlaceOrders(list(orders), grouping)


@virtual
async def test_http_rules(bench: Bench) -> None:
    async with wire(bench) as w:
        assert await w.post("/info", {"type": "allMids"}, Content_Type="text/plain") == (
            415,
            "Expected request with `Content-Type: application/json`",
        )
        assert (await w.post("/info", b"{"))[0] == 400
        bodies: list[Any] = [{"type": "nonsense"}, {}, [], {"type": "clearinghouseState"}, {"type": "clearinghouseState", "user": "0x12"}]
        for body in bodies:
            status, text = await w.post("/info", body)
            assert (status, text.startswith("Failed to deserialize the JSON body into the target type")) == (422, True)
        assert await w.post("/info", {"type": "l2Book", "coin": "NOPE"}) == (200, "null")
        assert await w.post("/info", {"type": "meta", "dex": "nope"}) == (500, "null")
        assert await w.post("/info", {"type": "fundingHistory", "coin": "NOPE", "startTime": 0}) == (500, "null")
        async with w.session.get(bench.server.rest + "/info") as response:
            assert response.status == 405


@virtual
async def test_weights_and_the_limit_of_an_address(bench: Bench) -> None:
    bench.dialect.budget = Budget(100)
    async with wire(bench) as w:
        for _ in range(20):
            assert (await w.post("/info", {"type": "allMids"}))[0] == 200
        assert (await w.post("/info", {"type": "userRole", "user": w.user}))[0] == 200
        assert await w.post("/info", {"type": "allMids"}) == (429, "null")


@virtual
async def test_nonces_count_once_even_for_refused_actions(bench: Bench) -> None:
    async with wire(bench) as w:
        now = bench.dialect.now_ms()
        dust = place(order(size="0.0001"))
        assert "minimum value" in json.dumps(await w.act(dust, nonce=now))
        assert await w.act(place(order()), nonce=now) == {"status": "err", "response": f"Invalid nonce: duplicate nonce {now}"}
        for wrong in (now - 2 * DAY_MS, now + DAY_MS):
            assert "Invalid nonce" in (await w.act(place(order()), nonce=wrong))["response"]
        assert (await w.act(place(order()), nonce=now - DAY_MS))["status"] == "ok"
        assert len(bench.exchange.open_orders(bench.account.account)) == 1


def test_the_hundred_highest_nonces_are_kept() -> None:
    nonces, now = Nonces(), 10 * DAY_MS
    for n in range(KEPT_NONCES):
        nonces.use(now + 2 * n, now)
    nonces.use(now + 3, now)
    with pytest.raises(Refusal, match="too low"):
        nonces.use(now + 1, now)
    with pytest.raises(Refusal, match="duplicate nonce"):
        nonces.use(now + 3, now)


@pytest.mark.parametrize(
    ("signed", "sent"),
    [
        ({"p": "49000.0"}, {"p": "49000.0"}),
        ({"c": None}, {"c": None}),
        ({"c": "0x" + "AB" * 16}, {"c": "0x" + "AB" * 16}),
        ({"p": "49001"}, {}),
        ({"s": "0.010"}, {"s": "0.010"}),
    ],
)
def test_other_bytes_than_the_venue_s_own_make_a_stranger(signed: dict[str, Any], sent: dict[str, Any]) -> None:
    @virtual
    async def test(bench: Bench) -> None:
        base = {"a": 0, "b": True, "p": "49000", "s": "0.01", "r": False, "t": {"limit": {"tif": "Gtc"}}}
        async with wire(bench) as w:
            action = {"type": "order", "orders": [{**base, **signed}], "grouping": "na"}
            wired = {"type": "order", "orders": [{**base, **sent}], "grouping": "na"}
            assert "does not exist" in (await w.act(action, sent=wired))["response"]

    test()


@virtual
async def test_key_order_on_the_wire_does_not_matter_but_in_the_hash_it_does(bench: Bench) -> None:
    async with wire(bench) as w:
        action = place(order())
        shuffled = json.loads(msgspec.json.encode(action))
        shuffled = {name: shuffled[name] for name in ("grouping", "orders", "type")}
        assert (await w.act(action, sent=shuffled))["status"] == "ok"
        assert "does not exist" in (await w.act(shuffled, sent=shuffled))["response"]


@virtual
async def test_vault_expiry_and_agents(bench: Bench) -> None:
    async with wire(bench) as w:
        now = bench.dialect.now_ms()
        assert "expired" in (await w.act(place(order()), expiresAfter=now - 1))["response"]
        assert (await w.act(place(order()), expiresAfter=now + 5000))["status"] == "ok"
        assert "Vault not registered" in (await w.act(place(order()), vaultAddress="0x" + "12" * 20))["response"]
        sub = bench.dialect.open_sub_account(bench.account, D(1000))
        answer = await w.act(place(order()), vaultAddress=sub.environ["HYPERLIQUID_VAULT_ADDRESS"])
        assert answer["status"] == "ok"
        assert len(bench.exchange.open_orders(sub.account)) == 1


@virtual
async def test_approving_an_agent_needs_the_account_s_key_and_replaces_the_one_of_its_name(bench: Bench) -> None:
    async with wire(bench) as w:
        master, fresh = SigningKey(bench.dialect.master_key(bench.account)), SigningKey("0x" + "34" * 32)
        nonce = bench.dialect.now_ms()
        chain = {"signatureChainId": "0x66eee", "hyperliquidChain": "Mainnet"}
        action = {"type": "approveAgent", **chain, "agentAddress": fresh.address, "agentName": "bot", "nonce": nonce}
        for key, accepted in ((w.key, False), (master, True)):
            signature = msgspec.to_builtins(sign_user_action(key, action))
            status, text = await w.post("/exchange", {"action": action, "nonce": nonce, "signature": signature})
            assert (status, json.loads(text)["status"] == "ok") == (200, accepted), text
        assert "does not exist" in (await w.act(place(order())))["response"]
        w.key = fresh
        assert (await w.act(place(order())))["status"] == "ok"


@virtual
async def test_one_bad_payload_stops_the_batch_and_one_bad_order_does_not(bench: Bench) -> None:
    async with wire(bench) as w:
        off_tick = await w.statuses(place(order(), order(price="49000.12"), order()))
        assert off_tick == [{"error": "Price must be divisible by tick size. asset=0"}]
        assert bench.exchange.open_orders(bench.account.account) == []
        mixed = await w.statuses(place(order(), order(size="0.0001"), order("50050", tif="Alo"), order("49000", tif="Ioc")))
        assert [next(iter(status)) for status in mixed] == ["resting", "error", "error", "error"]
        assert mixed[1]["error"] == "Order must have minimum value of $10. asset=0"
        assert mixed[2]["error"] == "Post only order would have immediately matched, bbo was 49950@50050. asset=0"
        assert mixed[3]["error"] == "Order could not immediately match against any resting orders. asset=0"


@pytest.mark.parametrize(
    ("wired", "text"),
    [
        (order(price="123456.5"), "Price must be divisible by tick size. asset=0"),
        (order(price="50001.5"), "Price must be divisible by tick size. asset=0"),
        (order(size="0.000001"), "Order has invalid size. asset=0"),
        (order(size="0"), "Order has zero size. asset=0"),
        (order(price="9000"), "Order price cannot be more than 80% away from the reference price. asset=0"),
        (order(price="300000", buy=False), "Order price cannot be more than 80% away from the reference price. asset=0"),
        (order(buy=False, price="50100", reduce_only=True), "Reduce only order would increase position. asset=0"),
        (order(price="49000", size="90"), "Insufficient margin to place order. asset=0"),
    ],
)
def test_refusals_of_one_order(wired: m.OrderWire, text: str) -> None:
    @virtual
    async def test(bench: Bench) -> None:
        async with wire(bench) as w:
            assert await w.statuses(place(wired)) == [{"error": text}]

    test()


@virtual
async def test_cancels_and_modifies(bench: Bench) -> None:
    async with wire(bench) as w:
        cloid = "0x" + "01" * 16
        ((first,), gone) = (await w.statuses(place(order(cloid=cloid))), "Order was never placed, already canceled, or filled. asset=0")
        oid = first["resting"]["oid"]
        assert first["resting"]["cloid"] == cloid
        (amended,) = await w.statuses(m.BatchModify([m.ModifyWire(cloid, order("48000", cloid=cloid))]))
        assert amended["resting"]["oid"] > oid
        assert await w.statuses(m.BatchModify([m.ModifyWire(oid, order("48000"))])) == [
            {"error": "Cannot modify canceled or filled order asset=0"}
        ]
        cancels = [m.CancelWire(0, oid), m.CancelWire(1, amended["resting"]["oid"]), m.CancelWire(0, amended["resting"]["oid"])]
        assert await w.statuses(m.CancelOrders(cancels)) == [{"error": gone}, {"error": gone.replace("=0", "=1")}, "success"]
        assert await w.statuses(m.CancelByCloid([m.CancelByCloidWire(0, cloid)])) == [{"error": gone}]
        _, text = await w.post("/info", {"type": "orderStatus", "user": w.user, "oid": cloid})
        assert json.loads(text)["status"] == "unknownOid", "too fresh to be found"


@virtual
async def test_a_lookup_finds_an_order_only_after_a_while(bench: Bench) -> None:
    async with wire(bench) as w:
        await w.statuses(place(order()))
        ask = {"type": "orderStatus", "user": w.user, "oid": 1}
        assert json.loads((await w.post("/info", ask))[1]) == {"status": "unknownOid"}
        await bench.runtime.clock.sleep(0.5)
        found = json.loads((await w.post("/info", ask))[1])
        assert (found["status"], found["order"]["status"], found["order"]["order"]["tif"]) == ("order", "open", "Gtc")
        assert json.loads((await w.post("/info", {**ask, "user": "0x" + "0" * 40}))[1]) == {"status": "unknownOid"}


@virtual
async def test_the_socket_s_words(bench: Bench) -> None:
    async with wire(bench) as w, w.session.ws_connect(bench.server.ws["public"]) as ws:

        async def ask(message: Any) -> Any:
            await ws.send_str(message if isinstance(message, str) else json.dumps(message))
            return json.loads((await ws.receive(2)).data)

        def subscribe(**subscription: Any) -> dict[str, Any]:
            return {"method": "subscribe", "subscription": subscription}

        assert await ask({"method": "ping"}) == {"channel": "pong"}
        assert (await ask("{}"))["data"] == "Error parsing JSON into valid websocket request: {}"
        assert (await ask(subscribe(type="trades", coin="NOPE")))["data"].startswith("Invalid subscription {")
        ack = await ask(subscribe(type="l2Book", coin="BTC"))
        assert ack["data"]["subscription"] == {"type": "l2Book", "coin": "BTC", "nSigFigs": None, "mantissa": None}
        book = json.loads((await ws.receive(2)).data)
        assert (book["channel"], len(book["data"]["levels"][0])) == ("l2Book", 10)
        assert (await ask(subscribe(type="l2Book", coin="BTC")))["data"].startswith("Already subscribed: {")
        await bench.runtime.clock.sleep(0.2)
        posted = await ask({"method": "post", "id": 7, "request": {"type": "info", "payload": {"type": "allMids"}}})
        assert posted["data"]["response"]["payload"]["data"]["BTC"] == "50000.0"
        wrong = await ask({"method": "post", "id": 8, "request": {"type": "info", "payload": {"type": "nonsense"}}})
        assert (wrong["data"]["id"], wrong["data"]["response"]["type"]) == (8, "error")
        request = {"type": "action", "payload": w.envelope(place(order()))}
        done = await ask({"method": "post", "id": 9, "request": request})
        assert done["data"]["response"]["payload"]["response"]["data"]["statuses"] == [{"resting": {"oid": 1}}]
        again = await ask({"method": "post", "id": 10, "request": request})
        assert again["data"]["response"]["payload"]["status"] == "err"


@virtual
async def test_ten_users_and_a_minute_of_silence(bench: Bench) -> None:
    async with wire(bench) as w, w.session.ws_connect(bench.server.ws["public"]) as ws:
        for n in range(11):
            await ws.send_str(json.dumps({"method": "subscribe", "subscription": {"type": "orderUpdates", "user": f"0x{n:040x}"}}))
            answer = json.loads((await ws.receive(2)).data)
            assert answer["channel"] == ("subscriptionResponse" if n < 10 else "error")
        message = await ws.receive(80)
        assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING)


@virtual
async def test_books_come_whole_and_not_more_often_than_twice_a_second(bench: Bench) -> None:
    async with wire(bench) as w, w.session.ws_connect(bench.server.ws["public"]) as ws:
        await ws.send_str(json.dumps({"method": "subscribe", "subscription": {"type": "l2Book", "coin": "BTC", "fast": True}}))
        times: list[float] = []
        market = bench.exchange.markets["BTC"].spec
        for n in range(40):
            bench.exchange.set_level(bench.now(), "BTC", Side.BUY, market.to_ticks(D(49_950)), 1000 + n)
            await bench.runtime.clock.sleep(0.1)
        while len(times) < 6:
            frame = json.loads((await ws.receive(2)).data)
            if frame["channel"] == "l2Book":
                times.append(frame["data"]["time"])
                assert len(frame["data"]["levels"][0]) == 5
        assert all(b - a >= 499 for a, b in pairwise(times[1:]))


def test_the_verifier_agrees_with_every_vector() -> None:
    """Vectors made by others, recovered by the dialect's own code: none of it shares a line with the client's signer."""
    lines = (Path(__file__).parent / "golden" / "signing_vectors.jsonl").read_text().splitlines()
    checked = 0
    for vector in map(json.loads, lines):
        kind = vector["action"]["type"]
        if "r" not in vector or kind in ("dummy", "createSubAccount", "subAccountTransfer", "claimRewards", "withdraw3"):
            continue
        signature = signatures.SignatureWire(vector["r"], vector["s"], vector["v"])
        address = SigningKey(vector["key"]).address
        if kind in signatures.USER_SIGNED:
            assert signatures.recover_user_signed(vector["action"], signature) == address
        elif any(o.get("p", "").endswith(".0") for o in vector["action"].get("orders", ())):
            continue  # these hash a number that the venue writes otherwise
        else:
            action = signatures.decode_action(json.dumps(vector["action"]).encode())
            envelope = signatures.Envelope(
                msgspec.Raw(b"{}"), vector["nonce"], signature, vector.get("vault"), vector.get("expires_after_ms")
            )
            assert signatures.recover_l1(action, envelope, mainnet=vector["network"] == "mainnet") == address, vector["name"]
        checked += 1
    assert checked == 26
