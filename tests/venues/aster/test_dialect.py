"""The simulated venue by bare requests: what it believes, what it refuses, how it numbers and words things."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
from yarl import URL

from exchange_clients.aster.signing import sign_message
from exchange_clients.crypto.secp256k1 import SigningKey
from exchange_simulator.conformance.bench import Bench
from exchange_simulator.core import types as core
from exchange_simulator.dialects.aster.wallets import KEPT_NONCES, NONCE_WINDOW_US, Nonces
from exchange_simulator.dialects.base import Budget, Refusal
from tests.venues.aster.harness import D, dialect_of, virtual


class Wire:
    """A client that knows nothing but HTTP."""

    def __init__(self, bench: Bench, session: aiohttp.ClientSession) -> None:
        self.bench = bench
        self.session = session
        self.key = SigningKey(bench.account.environ["ASTER_SIGNER_PRIVATE_KEY"])
        self.user = bench.account.environ["ASTER_USER_ADDRESS"]
        self.headers: dict[str, str] = {}
        self._nonce = 0

    def nonce(self) -> int:
        self._nonce = max(self._nonce + 1, self.bench.now() // 1000)
        return self._nonce

    async def ask(self, method: str, path: str, text: str = "", headers: dict[str, str] | None = None) -> tuple[int, Any]:
        url = f"{self.bench.server.rest}/fapi/{path}"
        form = {"Content-Type": "application/x-www-form-urlencoded", **(headers or {})}
        if method == "GET":
            url, text = f"{url}?{text}", ""
        async with self.session.request(method, URL(url, encoded=True), data=text or None, headers=form) as response:
            self.headers = dict(response.headers)
            return response.status, await response.json()

    async def signed(self, method: str, path: str, *, nonce: int | None = None, **arguments: Any) -> tuple[int, Any]:
        pairs = {**arguments, "nonce": nonce or self.nonce(), "user": self.user, "signer": self.key.address}
        message = urlencode(pairs)
        return await self.ask(method, f"v3/{path}", f"{message}&signature={sign_message(self.key, message, 1666)}")

    async def order(self, **more: Any) -> tuple[int, Any]:
        form = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01", "price": "49000", **more}
        return await self.signed("POST", "order", **{k: v for k, v in form.items() if v is not None})


def wired(test: Any) -> Any:
    """A test with a bare client on virtual time."""

    @virtual
    async def run(bench: Bench) -> None:
        async with aiohttp.ClientSession(connector=bench.runtime.connector()) as session:
            await test(Wire(bench, session))

    return run


def code(answer: tuple[int, Any]) -> int:
    status, body = answer
    assert status >= 400, body
    return int(body["code"])


# ---- signatures


@wired
async def test_any_order_of_parameters_is_right_if_it_is_what_was_signed(wire: Wire) -> None:
    names = ["signer", "symbol", "user", "nonce"]
    values = {"symbol": "BTCUSDT", "user": wire.user, "signer": wire.key.address, "nonce": wire.nonce()}
    message = "&".join(f"{name}={values[name]}" for name in names)
    signature = sign_message(wire.key, message, 1666)
    assert (await wire.ask("GET", "v3/positionRisk", f"{message}&signature={signature}"))[0] == 200
    fresh = message.replace(str(values["nonce"]), str(wire.nonce()))
    assert code(await wire.ask("GET", "v3/positionRisk", f"{fresh}&signature={signature}")) == -1022, "another string"


@wired
async def test_the_same_words_encoded_otherwise_are_another_string(wire: Wire) -> None:
    message = urlencode({"symbol": "BTCUSDT", "orderIdList": "[1]", "nonce": wire.nonce(), "user": wire.user, "signer": wire.key.address})
    signature = sign_message(wire.key, message, 1666)
    sent = message.replace("%5B1%5D", "[1]")
    assert code(await wire.ask("DELETE", "v3/batchOrders", f"{sent}&signature={signature}")) == -1022


@wired
async def test_strangers_and_wrong_chains_are_refused(wire: Wire) -> None:
    wire.key = SigningKey("0x" + "77" * 32)
    assert code(await wire.signed("GET", "balance")) == -2015
    wire.key = SigningKey(wire.bench.account.environ["ASTER_SIGNER_PRIVATE_KEY"])
    dialect_of(wire.bench).chain_id = 714
    assert code(await wire.signed("GET", "balance")) == -1022


@wired
async def test_an_agent_acts_for_its_own_user_only(wire: Wire) -> None:
    wire.user = wire.bench.another_account().environ["ASTER_USER_ADDRESS"]
    assert code(await wire.signed("GET", "balance")) == -2015


@wired
async def test_garbage_signatures_are_refused(wire: Wire) -> None:
    message = urlencode({"nonce": wire.nonce(), "user": wire.user, "signer": wire.key.address})
    for signature in ("0x", "zz", "0x" + "00" * 65, "0x" + "ff" * 65):
        assert code(await wire.ask("GET", "v3/balance", f"{message}&signature={signature}")) == -1022
    assert code(await wire.ask("GET", "v3/balance", message)) == -1102


@wired
async def test_a_nonce_counts_once_and_near_the_clock(wire: Wire) -> None:
    nonce = wire.nonce()
    assert (await wire.signed("GET", "balance", nonce=nonce))[0] == 200
    assert code(await wire.signed("GET", "balance", nonce=nonce)) == -4225
    assert code(await wire.signed("GET", "balance", nonce=nonce + 61_000_000)) == -4225
    assert code(await wire.signed("GET", "balance", nonce=nonce - 61_000_000)) == -4225
    assert code(await wire.signed("GET", "balance", nonce=nonce // 1000)) == -4225, "milliseconds"
    assert code(await wire.signed("POST", "noop", nonce=nonce)) == -4225, "what was done cannot be voided"
    assert (await wire.signed("POST", "noop"))[0] == 200


def test_the_hundred_newest_nonces_are_kept() -> None:
    now, kept = 10**15, Nonces()
    for n in range(KEPT_NONCES):
        kept.use(now + n, now)
    with pytest.raises(Refusal):
        kept.use(now - 1, now)
    kept.use(now + KEPT_NONCES + 5, now)
    with pytest.raises(Refusal):
        kept.use(now, now)
    kept.use(now + KEPT_NONCES + 1, now)
    with pytest.raises(Refusal):
        kept.use(now + NONCE_WINDOW_US + 1, now)


def test_nonces_out_of_order_are_taken_while_there_is_room() -> None:
    kept = Nonces()
    for nonce in (10**15 + 5, 10**15 + 1, 10**15 + 3):
        kept.use(nonce, 10**15)


@wired
async def test_v1_keys(wire: Wire) -> None:
    keys = dialect_of(wire.bench).legacy_keys(wire.bench.account).environ
    header = {"X-MBX-APIKEY": keys["ASTER_API_KEY"]}
    now = wire.bench.now() // 1_000_000

    def signed(text: str) -> str:
        return f"{text}&signature={hmac.new(keys['ASTER_API_SECRET'].encode(), text.encode(), hashlib.sha256).hexdigest()}"

    assert (await wire.ask("GET", "v2/balance", signed(f"timestamp={now}"), header))[0] == 200
    assert code(await wire.ask("GET", "v2/balance", signed(f"timestamp={now - 6_000}"), header)) == -1021
    assert (await wire.ask("GET", "v2/balance", signed(f"timestamp={now - 6_000}&recvWindow=10000"), header))[0] == 200
    assert code(await wire.ask("GET", "v2/balance", signed(f"timestamp={now + 2_000}"), header)) == -1021
    assert code(await wire.ask("GET", "v2/balance", signed(f"timestamp={now}") + "0", header)) == -1022
    assert code(await wire.ask("GET", "v2/balance", signed(f"timestamp={now}"), {"X-MBX-APIKEY": "nobody"})) == -2015
    assert (await wire.ask("POST", "v1/listenKey", "", header))[0] == 200


# ---- orders


@wired
async def test_the_default_answer_says_that_it_came_and_no_more(wire: Wire) -> None:
    """A market order that has filled: NEW, with nothing executed. The record and the longer answer know better."""
    status, short = await wire.order(type="MARKET", price=None, timeInForce=None)
    assert (status, short["status"], short["executedQty"]) == (200, "NEW", "0")
    assert (await wire.signed("GET", "order", symbol="BTCUSDT", orderId=short["orderId"]))[1]["status"] == "FILLED"
    status, whole = await wire.order(type="MARKET", price=None, timeInForce=None, newOrderRespType="RESULT")
    assert (whole["status"], whole["executedQty"], whole["avgPrice"]) == ("FILLED", "0.01", "50001")


@pytest.mark.parametrize(
    ("more", "wanted"),
    [
        ({"price": "4.9e4"}, -1102),
        ({"quantity": "1e-2"}, -1102),
        ({"price": "49000.05"}, -4014),
        ({"quantity": "0.0100001"}, -4023),
        ({"quantity": "0.00001", "price": "49000"}, -4164),
        ({"price": "30000"}, -4016),
        ({"symbol": "NOSUCHUSDT"}, -1121),
        ({"symbol": None}, -1102),
        ({"side": "LONG"}, -1102),
        ({"type": "ICEBERG"}, -1116),
        ({"timeInForce": "DAY"}, -1115),
        ({"timeInForce": None}, -1102),
        ({"newClientOrderId": "a b"}, -4015),
        ({"newClientOrderId": "x" * 37}, -4015),
        ({"quantity": "500"}, -2019),
        ({"reduceOnly": "true"}, -2022),
        ({"positionSide": "LONG"}, -4061),
        ({"timeInForce": "GTX", "price": "50001"}, -5022),
        ({"type": "STOP_MARKET", "side": "SELL", "stopPrice": "51000", "workingType": "MARK_PRICE"}, -2021),
        ({"type": "STOP_MARKET", "stopPrice": "51000", "closePosition": "true"}, -1106),
    ],
)
def test_what_is_wrong_with_an_order_is_told_by_its_code(more: dict[str, Any], wanted: int) -> None:
    @wired
    async def main(wire: Wire) -> None:
        assert code(await wire.order(**more)) == wanted
        assert wire.bench.orders() == []

    main()


@wired
async def test_a_client_id_is_one_orders_while_it_is_open(wire: Wire) -> None:
    assert (await wire.order(newClientOrderId="mine"))[0] == 200
    assert code(await wire.order(newClientOrderId="mine")) == -4116
    assert (await wire.signed("DELETE", "order", symbol="BTCUSDT", origClientOrderId="mine"))[1]["status"] == "CANCELED"
    assert code(await wire.signed("DELETE", "order", symbol="BTCUSDT", origClientOrderId="mine")) == -2011
    assert (await wire.order(newClientOrderId="mine"))[0] == 200
    assert code(await wire.signed("GET", "order", symbol="BTCUSDT", orderId=999)) == -2013
    assert code(await wire.signed("GET", "order", symbol="ETHUSDT", origClientOrderId="mine")) == -2013, "of another market"


@wired
async def test_hedge_mode_wants_a_side(wire: Wire) -> None:
    assert (await wire.signed("POST", "positionSide/dual", dualSidePosition="true"))[0] == 200
    assert code(await wire.signed("POST", "positionSide/dual", dualSidePosition="true")) == -4059
    assert code(await wire.order()) == -4061
    assert (await wire.signed("GET", "positionSide/dual"))[1] == {"dualSidePosition": True}


@wired
async def test_batches_have_a_size_and_a_row_for_each(wire: Wire) -> None:
    row = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01", "price": "49000"}
    rows = [row, {**row, "quantity": "500"}, {**row, "symbol": "X"}]
    status, body = await wire.signed("POST", "batchOrders", batchOrders=json.dumps(rows, separators=(",", ":")))
    assert (status, [found.get("code", found.get("status")) for found in body]) == (200, ["NEW", -2019, -1121])
    assert code(await wire.signed("POST", "batchOrders", batchOrders=json.dumps([row] * 6))) == -4082
    assert code(await wire.signed("POST", "batchOrders", batchOrders="nonsense")) == -1102
    ids = f"[{body[0]['orderId']},77]"
    status, body = await wire.signed("DELETE", "batchOrders", symbol="BTCUSDT", orderIdList=ids)
    assert [found.get("code", found.get("status")) for found in body] == ["CANCELED", -2011]
    assert code(await wire.signed("DELETE", "batchOrders", symbol="BTCUSDT", orderIdList=str(list(range(11))))) == -4032


@wired
async def test_a_position_can_be_closed_whole_by_a_trigger(wire: Wire) -> None:
    await wire.order(type="MARKET", price=None, timeInForce=None, quantity="0.02")
    status, row = await wire.order(
        side="SELL",
        type="STOP_MARKET",
        stopPrice="49000",
        closePosition="true",
        workingType="MARK_PRICE",
        quantity=None,
        price=None,
        timeInForce=None,
    )
    assert (status, row["origQty"], row["closePosition"]) == (200, "0", True)
    wire.bench.set_mark(48_900)
    assert wire.bench.position() == 0


@wired
async def test_orders_have_limits_of_their_own(wire: Wire) -> None:
    dialect_of(wire.bench).order_limits["10s"] = Budget(3, 10.0)
    for _ in range(3):
        assert (await wire.order())[0] == 200
    assert wire.headers["X-MBX-ORDER-COUNT-10S"] == "3"
    status, body = await wire.order()
    assert (status, body["code"]) == (429, -1015)
    assert int(wire.headers["Retry-After"]) >= 1


# ---- reads


@wired
async def test_weights_follow_the_arguments_and_are_told(wire: Wire) -> None:
    wire.bench.dialect.budget = Budget(2400)
    for text, used in (
        ("symbol=BTCUSDT&limit=5", 2),
        ("symbol=BTCUSDT&limit=100", 7),
        ("symbol=BTCUSDT&limit=1000", 27),
        ("symbol=BTCUSDT", 37),
    ):
        assert (await wire.ask("GET", "v3/depth", text))[0] == 200
        assert wire.headers["X-MBX-USED-WEIGHT-1M"] == str(used)
    await wire.ask("GET", "v3/ticker/24hr")
    assert wire.headers["X-MBX-USED-WEIGHT-1M"] == "77"
    wire.bench.dialect.budget = Budget(20)
    status, body = await wire.ask("GET", "v3/depth", "symbol=BTCUSDT&limit=1000")
    status, body = await wire.ask("GET", "v3/time")
    assert (status, body["code"]) == (429, -1003)


@wired
async def test_questions_reach_over_seven_days_at_most(wire: Wire) -> None:
    now, day = wire.bench.now() // 1_000_000, 86_400_000
    for path in ("userTrades", "allOrders", "income", "forceOrders"):
        assert code(await wire.signed("GET", path, symbol="BTCUSDT", startTime=now - 8 * day, endTime=now)) == -1127
        assert (await wire.signed("GET", path, symbol="BTCUSDT", startTime=now - 7 * day, endTime=now))[0] == 200


@wired
async def test_lists_hold_more_than_markets(wire: Wire) -> None:
    _, info = await wire.ask("GET", "v3/exchangeInfo")
    assert {row["symbol"] for row in info["symbols"]} == {"BTCUSDT", "ETHUSDT", "OLDUSDT", "TESTUSDT"}
    assert {row["symbol"] for row in (await wire.ask("GET", "v3/premiumIndex"))[1]} == {"BTCUSDT", "ETHUSDT", "OLDUSDT"}
    _, risks = await wire.signed("GET", "positionRisk")
    assert [row["positionAmt"] for row in risks] == ["0", "0"], "flat markets too"


# ---- sockets


async def frames(ws: aiohttp.ClientWebSocketResponse, count: int) -> list[Any]:
    return [json.loads((await ws.receive(10)).data) for _ in range(count)]


@wired
async def test_diffs_are_numbered_with_holes_and_name_what_came_before(wire: Wire) -> None:
    async with wire.session.ws_connect(f"{wire.bench.server.ws['public']}?streams=btcusdt@depth@100ms/btcusdt@depth5@100ms") as ws:
        found: list[Any] = []
        for n in range(4):
            wire.bench.set_level(core.Side.BUY, 49_990 - n, 3 + n)
            wire.bench.set_level(core.Side.SELL, 50_010 + n, 3 + n)
            found += await frames(ws, 2)
    diffs = [f["data"] for f in found if f["stream"] == "btcusdt@depth@100ms"]
    tops = [f["data"] for f in found if f["stream"] == "btcusdt@depth5@100ms"]
    assert (len(diffs), len(tops)) == (4, 4)
    assert all(after["pu"] == before["u"] for before, after in itertools.pairwise(diffs))
    assert all(d["pu"] < d["U"] <= d["u"] for d in diffs)
    assert all(len(t["b"]) == len(t["a"]) == 5 for t in tops), "a whole book under the same event name"
    _, book = await wire.ask("GET", "v3/depth", "symbol=BTCUSDT&limit=5")
    assert book["lastUpdateId"] == diffs[-1]["u"]


@wired
async def test_single_streams_are_bare_and_combined_ones_wrapped(wire: Wire) -> None:
    base = wire.bench.server.ws["private"]
    async with wire.session.ws_connect(f"{base}/btcusdt@aggTrade") as bare:
        wire.bench.trade(core.Side.SELL, D("0.1"))
        (event,) = await frames(bare, 1)
        assert (event["e"], event["m"]) == ("aggTrade", True)
        await bare.send_json({"method": "SET_PROPERTY", "params": ["combined", True], "id": 5})
        assert await frames(bare, 1) == [{"result": None, "id": 5}]
        wire.bench.trade(core.Side.BUY, D("0.1"))
        (event,) = await frames(bare, 1)
        assert event["stream"] == "btcusdt@aggTrade"


@wired
async def test_words_of_the_socket(wire: Wire) -> None:
    async with wire.session.ws_connect(wire.bench.server.ws["public"]) as ws:
        for message, answer in (
            ({"method": "SUBSCRIBE", "params": ["btcusdt@aggTrade"], "id": 1}, {"result": None, "id": 1}),
            ({"method": "LIST_SUBSCRIPTIONS", "id": 3}, {"result": ["btcusdt@aggTrade"], "id": 3}),
            ({"method": "UNSUBSCRIBE", "params": ["btcusdt@aggTrade"], "id": 312}, {"result": None, "id": 312}),
            ({"method": "GET_PROPERTY", "params": ["combined"], "id": 2}, {"result": True, "id": 2}),
        ):
            await ws.send_json(message)
            assert await frames(ws, 1) == [answer]
        await ws.send_json({"method": "DANCE", "id": 4})
        assert (await frames(ws, 1))[0]["code"] == 2
        await ws.send_str("{nonsense")
        assert (await frames(ws, 1))[0]["code"] == 3


@wired
async def test_who_talks_too_much_is_hung_up_on(wire: Wire) -> None:
    async with wire.session.ws_connect(wire.bench.server.ws["public"]) as ws:
        for n in range(11):
            await ws.send_json({"method": "LIST_SUBSCRIPTIONS", "id": n})
        kinds = [(await ws.receive(10)).type for _ in range(11)]
        assert kinds[-1] in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
        assert ws.close_code == 1008


@wired
async def test_an_unknown_listen_key_opens_a_socket_that_says_nothing(wire: Wire) -> None:
    async with wire.session.ws_connect(f"{wire.bench.server.ws['private']}/{'0' * 64}") as ws:
        await wire.order()
        with pytest.raises(TimeoutError):
            await ws.receive(5)


@wired
async def test_a_listen_key_is_one_an_hour_and_extended_by_asking(wire: Wire) -> None:
    first = (await wire.signed("POST", "listenKey"))[1]["listenKey"]
    await wire.bench.runtime.clock.sleep(3_000)
    assert (await wire.signed("POST", "listenKey"))[1]["listenKey"] == first
    await wire.bench.runtime.clock.sleep(3_000)
    assert (await wire.signed("PUT", "listenKey"))[0] == 200
    await wire.bench.runtime.clock.sleep(3_601)
    assert code(await wire.signed("PUT", "listenKey")) == -1125
    assert (await wire.signed("POST", "listenKey"))[1]["listenKey"] != first


@wired
async def test_a_trigger_ends_one_order_and_begins_another_under_its_ids(wire: Wire) -> None:
    await wire.order(type="MARKET", price=None, timeInForce=None, quantity="0.02")
    key = (await wire.signed("POST", "listenKey"))[1]["listenKey"]
    async with wire.session.ws_connect(f"{wire.bench.server.ws['private']}/{key}") as ws:
        await wire.order(
            side="SELL", type="STOP_MARKET", stopPrice="49000", workingType="MARK_PRICE", quantity="0.02", price=None, timeInForce=None
        )
        wire.bench.set_mark(48_900)
        events = [f["o"] for f in await frames(ws, 5) if f["e"] == "ORDER_TRADE_UPDATE"]
    told = [(o["x"], o["X"], o["o"], o["ot"]) for o in events]
    assert told == [
        ("NEW", "NEW", "STOP_MARKET", "STOP_MARKET"),
        ("EXPIRED", "EXPIRED", "STOP_MARKET", "STOP_MARKET"),
        ("NEW", "NEW", "MARKET", "STOP_MARKET"),
        ("TRADE", "FILLED", "MARKET", "STOP_MARKET"),
    ]
    assert len({(o["i"], o["c"]) for o in events}) == 1


@wired
async def test_funding_of_a_cross_position_tells_of_money_alone(wire: Wire) -> None:
    await wire.order(type="MARKET", price=None, timeInForce=None, quantity="0.5")
    rate = core.to_fraction("0.0001")
    wire.bench.exchange.set_funding_rate(wire.bench.now(), "BTCUSDT", rate)
    state = wire.bench.exchange.markets["BTCUSDT"]
    await wire.bench.runtime.clock.sleep_until_ns(state.next_funding_ns - 10**9)
    key = (await wire.signed("POST", "listenKey"))[1]["listenKey"]
    async with wire.session.ws_connect(f"{wire.bench.server.ws['private']}/{key}") as ws:
        (event,) = await frames(ws, 1)
    assert (event["e"], event["a"]["m"], event["a"]["P"]) == ("ACCOUNT_UPDATE", "FUNDING_FEE", [])
    assert D(event["a"]["B"][0]["bc"]) == D("-2.5")
    (row,) = (await wire.signed("GET", "income", incomeType="FUNDING_FEE"))[1]
    assert (row["symbol"], D(row["income"])) == ("BTCUSDT", D("-2.5"))
