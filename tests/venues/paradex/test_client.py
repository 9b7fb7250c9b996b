"""The client against the dialect: tokens, keys, queued orders and late refusals, what lives with a connection, books and prices."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote

import msgspec
import pytest
from fast_stark_crypto import verify

from exchange_clients.errors import (
    AuthError,
    ConfigError,
    ConnectFailed,
    DuplicateClientOrderId,
    InsufficientMargin,
    NotReady,
    OrderDenied,
    OrderNotFound,
    OrderOutcomeUnknown,
    OrderRefused,
    Outcome,
    PermissionDenied,
    PostOnlyWouldCross,
    RequestRefused,
    UnsupportedCapability,
    VenueError,
    VenuePaused,
)
from exchange_clients.model import Gap, MarginMode, MarketStatus, OrderIntent, OrderStatus, OrderType, Purpose, Side, TimeInForce, WaitFor
from exchange_clients.paradex import messages as m
from exchange_clients.paradex import signing as s
from exchange_clients.paradex.client.managers.market_data import ParadexMarketData
from exchange_simulator.core import types as core
from exchange_simulator.dialects.base import Lose, Received, RequestFault
from tests.venues.paradex.harness import Bench, D, virtual

QUANTITY = D("0.01")
ETH_KEY = "0xf8e4d1d772cdd44e5e77615ad11cc071c94e4c06dc21150d903f28e6aa6abdff"
ETH_ADDRESS = "0x511671d631CEA1E4C66f8b93bc467646C8E994B9"


def place_body(received: Received) -> dict[str, Any]:
    body: dict[str, Any] = received.json()
    return body


# ---- tokens


@virtual()
async def test_a_token_is_renewed_well_before_it_ends_and_once_at_a_time(bench: Bench) -> None:
    client = await bench.connected()
    started = bench.now()
    for _ in range(40):
        await bench.runtime.clock.sleep(30)
        await asyncio.gather(*(client.get_account_balance() for _ in range(10)))
    asked = [one for one in bench.requests("/v1/auth") if one.ts_ns > started]
    assert 5 <= len(asked) <= 8, "twenty minutes, a token each three"
    gaps = [(b.ts_ns - a.ts_ns) / 1e9 for a, b in pairwise(asked)]
    assert all(170 <= gap <= 240 for gap in gaps), gaps


@virtual()
async def test_an_idle_client_has_a_fresh_token_when_an_order_comes(bench: Bench) -> None:
    client = await bench.connected()
    await bench.runtime.clock.sleep(3_600)
    before = len(bench.requests("/v1/auth"))
    result = await client.place_limit_order("BTC", QUANTITY, D(49_000), "buy")
    assert result.success
    assert len(bench.requests("/v1/auth")) == before, "no order waits for a token"


@virtual()
async def test_a_token_that_the_venue_ended_is_dropped_and_renewed_once(bench: Bench) -> None:
    client = await bench.connected()
    before = len(bench.requests("/v1/auth"))
    bench.dialect.owners.revoke_all()
    balances = await asyncio.gather(*(client.get_account_balance() for _ in range(8)))
    assert set(balances) == {D(100_000)}
    assert len(bench.requests("/v1/auth")) == before + 1
    bench.dialect.owners.revoke_all()
    result = await client.place_limit_order("BTC", QUANTITY, D(49_000), "buy", wait_for="open")
    assert result.status is OrderStatus.OPEN
    assert len(bench.requests("/v1/orders", "POST")) == 2, "refused once, signed again once"
    assert len(bench.exchange.open_orders(bench.account.account)) == 1


@virtual()
async def test_a_token_that_is_refused_again_is_told(bench: Bench) -> None:
    client = await bench.connected()
    bench.faults.request = lambda r: (
        RequestFault(status=401, body=b'{"error":"INVALID_TOKEN","message":"no"}') if r.method == "POST" else None
    )
    with pytest.raises(AuthError) as caught:
        await client.order_manager.place(intent(client, D(49_000)))
    assert caught.value.outcome in (Outcome.REFUSED, Outcome.NOT_SENT)
    assert len(bench.requests("/v1/orders", "POST")) <= 2


@virtual()
async def test_while_the_venue_gives_no_token_the_old_one_serves_and_then_nothing_is_sent(bench: Bench) -> None:
    client = await bench.connected()
    bench.faults.request = lambda r: RequestFault(status=503) if r.path.startswith("/v1/auth") else None
    await bench.runtime.clock.sleep(240)
    assert (await client.place_limit_order("BTC", QUANTITY, D(49_000), "buy")).success
    await bench.runtime.clock.sleep(120)
    before = len(bench.requests("/v1/orders", "POST"))
    with pytest.raises(VenueError) as caught:
        await client.place_limit_order("BTC", QUANTITY, D(48_000), "buy", reduce_only=False, purpose=Purpose.HEDGE)
    assert caught.value.outcome is Outcome.NOT_SENT, "what fails while signing never left"
    assert len(bench.requests("/v1/orders", "POST")) == before


@virtual()
async def test_a_socket_logs_in_with_a_new_token_when_the_venue_ended_the_old(bench: Bench) -> None:
    client = await bench.connected()
    bench.dialect.owners.revoke_all()
    for session in list(bench.dialect.sessions.values()):
        session.drop()
    await bench.until(lambda: not client.is_connected, "the loss is noticed")
    await bench.until(lambda: client.is_connected and client.context.entries_allowed, "connected again", timeout_s=60)
    bearers = [one["params"]["bearer"] for one in bench.messages("auth")]
    assert len(bearers) >= 2
    assert bearers[-1] != bearers[0]


# ---- keys


@virtual()
async def test_the_account_is_derived_and_the_token_request_is_what_the_venue_documents(bench: Bench) -> None:
    client = await bench.connected()
    signer = s.signer_of(client.context)
    owner = bench.dialect.owners.of_account(bench.account.account)
    assert owner is not None
    assert await signer.account() == int(owner.address, 16)
    request = bench.requests("/v1/auth")[0]
    headers = {name: request.headers[f"PARADEX-{name}"] for name in ("STARKNET-ACCOUNT", "TIMESTAMP", "SIGNATURE-EXPIRATION")}
    assert request.path == f"/v1/auth/0x{signer.identity.public_key:x}"
    assert (request.body, headers["STARKNET-ACCOUNT"]) == (b"", owner.address)
    stamps = int(headers["TIMESTAMP"]), int(headers["SIGNATURE-EXPIRATION"])
    digest = s.auth_hash(*stamps, str(bench.dialect.chain_id), int(owner.address, 16))
    assert verify(signer.identity.public_key, digest, *(int(part) for part in json.loads(request.headers["PARADEX-STARKNET-SIGNATURE"])))


@virtual()
async def test_a_subkey_signs_for_the_main_account(bench: Bench) -> None:
    sub = bench.dialect.add_subkey(bench.account)
    client = await bench.connected(bench.credentials(sub))
    owner = bench.dialect.owners.of_account(bench.account.account)
    assert owner is not None
    result = await client.place_limit_order("BTC", QUANTITY, D(49_000), "buy", wait_for="open")
    assert result.status is OrderStatus.OPEN
    assert bench.requests("/v1/auth")[-1].headers["PARADEX-STARKNET-ACCOUNT"] == owner.address
    sent = place_body(bench.requests("/v1/orders", "POST")[-1])
    order = m.NewOrder(sent["market"], sent["side"], sent["type"], sent["size"], sent["price"], sent["instruction"])
    digest = s.order_hash(order, sent["signature_timestamp"], str(bench.dialect.chain_id), int(owner.address, 16))
    assert verify(owner.keys[1], digest, *(int(part) for part in json.loads(sent["signature"])))
    assert (await client.get_key_info()).can_withdraw is False
    main = await bench.connected()
    assert (await main.get_key_info()).can_withdraw is True


@virtual()
async def test_a_subkey_without_the_accounts_address_is_refused_at_connect(bench: Bench) -> None:
    sub = bench.dialect.add_subkey(bench.account)
    client = bench.client(bench.credentials(sub, l2_address=""))
    with pytest.raises(PermissionDenied, match="onboarding"):
        await client.connect()


@virtual()
async def test_an_ethereum_key_alone_trades(bench: Bench) -> None:
    bench.dialect.adopt(s.derive_key(ETH_KEY, 1), D(5_000))
    keys = bench.credentials(l1_private_key=ETH_KEY, l1_address=ETH_ADDRESS, l2_private_key="")
    client = await bench.connected(keys)
    assert await client.get_account_balance() == 5_000


# ---- orders


def intent(client: Any, price: Decimal, quantity: Decimal = QUANTITY, **more: Any) -> OrderIntent:
    return OrderIntent(instrument=client.instruments.get("BTC").id, side=Side.BUY, quantity=quantity, price=price, **more)


@virtual()
async def test_what_is_sent_is_what_the_venue_documents(bench: Bench) -> None:
    client = await bench.connected()
    await client.place_limit_order("BTC", D("0.0100"), D("49000.0"), "buy", post_only=True, client_order_id="x1")
    await client.place_limit_order("PEPE", D(600_000), D("0.00002"), "sell", time_in_force="IOC", client_order_id="x2")
    await client.place_market_order("BTC", QUANTITY, "buy", client_order_id="x3", wait_for="terminal")
    await client.place_trigger_order("BTC", QUANTITY, D(49_000), "sell", OrderType.STOP_MARKET, client_order_id="x4")
    stop = intent(client, D(52_000), order_type=OrderType.STOP_LIMIT, trigger_price=D(51_000), client_order_id="x5")
    await client.order_manager.place(stop)
    bodies = [place_body(one) for one in bench.requests("/v1/orders", "POST")]
    for body in bodies:
        assert len(json.loads(body.pop("signature"))) == 2
        assert abs(body.pop("signature_timestamp") - bench.dialect.now_ms()) < 60_000
        assert body.pop("recv_window") == 5_000
    assert bodies == [
        {
            "market": "BTC-USD-PERP",
            "side": "BUY",
            "type": "LIMIT",
            "size": "0.01",
            "price": "49000",
            "instruction": "POST_ONLY",
            "client_id": "x1",
        },
        {
            "market": "kPEPE-USD-PERP",
            "side": "SELL",
            "type": "LIMIT",
            "size": "600",
            "price": "0.02",
            "instruction": "IOC",
            "client_id": "x2",
        },
        {
            "market": "BTC-USD-PERP",
            "side": "BUY",
            "type": "LIMIT",
            "size": "0.01",
            "price": "50300.2",
            "instruction": "IOC",
            "client_id": "x3",
        },
        {
            "market": "BTC-USD-PERP",
            "side": "SELL",
            "type": "STOP_LOSS_MARKET",
            "size": "0.01",
            "price": "0",
            "instruction": "GTC",
            "client_id": "x4",
            "flags": ["REDUCE_ONLY"],
            "trigger_price": "49000",
        },
        {
            "market": "BTC-USD-PERP",
            "side": "BUY",
            "type": "STOP_LIMIT",
            "size": "0.01",
            "price": "52000",
            "instruction": "GTC",
            "client_id": "x5",
            "flags": ["STOP_CONDITION_ABOVE_TRIGGER"],
            "trigger_price": "51000",
        },
    ]


def test_our_fields_are_those_of_the_documented_requests(payloads: Path) -> None:
    """Bodies of orders, batches, cancels, amends, margins; paths of ccxt's recorded requests."""
    rest = {one["id"][-3:]: one["payload"] for one in map(json.loads, (payloads / "paradex/rest/orders.jsonl").read_text().splitlines())}
    order = set(m.NewOrder.__struct_fields__)
    assert order - set(rest["004"]) == set()
    assert order - set(rest["005"][0]) == set()
    rpc = {one["name"]: one["payload"] for one in map(json.loads, (payloads / "paradex/ws/orders.jsonl").read_text().splitlines())}
    assert order - set(rpc["order.create:params"]) == set()
    assert order - set(rpc["order.create_batch:params"]["orders"][0]) == set()
    acks = {one["name"]: one["payload"] for one in map(json.loads, (payloads / "paradex/ws/order_ack.jsonl").read_text().splitlines())}
    assert set(m.ModifyOrder.__struct_fields__) - set(acks["order.modify:params"]) == set()
    assert {"id", "client_id", "market"} == set(acks["order.cancel:params"])
    margins = [json.loads(line) for line in (payloads / "paradex/rest/positions.jsonl").read_text().splitlines()]
    assert {"leverage", "margin_type"} <= set(next(one["payload"] for one in margins if one["name"].startswith("POST")))
    paths = [
        json.loads(line)["payload"]["expected"]["url"]
        for line in (payloads / "paradex/rest/request_vectors.jsonl").read_text().splitlines()
    ]
    from exchange_clients.paradex.common import ENDPOINTS

    known = [endpoint.path.replace("{market}", "BTC-USD-PERP") for endpoint in ENDPOINTS.values()]
    assert all(path.removeprefix("https://api.testnet.paradex.trade").partition("?")[0] in known for path in paths)


@virtual()
async def test_refusals_that_come_later_are_classified(bench: Bench) -> None:
    client = await bench.connected()
    late = await client.place_limit_order("BTC", QUANTITY, D(50_200), "buy", post_only=True, wait_for="terminal")
    assert (late.success, late.status, late.error_message) == (True, OrderStatus.REJECTED, "POST_ONLY_WOULD_CROSS")
    assert isinstance(late.error, PostOnlyWouldCross)
    poor = await client.place_limit_order("BTC", D(500), D(49_000), "buy", wait_for="terminal")
    assert (poor.status, type(poor.error)) == (OrderStatus.REJECTED, InsufficientMargin)
    fine = await client.place_limit_order("BTC", QUANTITY, D(49_000), "buy", wait_for="open")
    assert (fine.status, fine.error) == (OrderStatus.OPEN, None)


def elsewhere(bench: Bench, client_id: str) -> None:
    """An order of the account that no stream tells of: its client id is in use, and the client cannot know."""
    bench.faults.push = lambda channel, payload: [] if channel.startswith("orders") else None
    new = core.NewOrder(bench.account.account, "BTC-USD-PERP", core.Side.BUY, 1_000, 490_000, client_id=client_id)
    bench.exchange.submit(bench.now(), new)


@virtual()
async def test_a_refusal_at_the_gate_is_told_at_once(bench: Bench) -> None:
    client = await bench.connected()
    elsewhere(bench, "same")
    again = await client.place_limit_order("BTC", QUANTITY, D(48_000), "buy", client_order_id="same")
    assert (again.success, type(again.error), again.outcome) == (False, DuplicateClientOrderId, "refused")


@virtual()
async def test_an_order_held_up_on_its_way_is_void(bench: Bench) -> None:
    """`recv_window`: five seconds later nobody wants it any more, and its absence is a proof."""
    client = await bench.connected()
    bench.faults.request = lambda r: RequestFault(before_s=6.0) if r.method == "POST" and r.path == "/v1/orders" else None
    result = await client.place_limit_order("BTC", QUANTITY, D(49_000), "buy")
    assert (result.success, type(result.error)) == (False, RequestRefused)
    assert bench.exchange.open_orders(bench.account.account) == []


@virtual()
async def test_a_take_profit_that_could_open_is_denied_unsent(bench: Bench) -> None:
    client = await bench.connected()
    with pytest.raises(OrderDenied, match="reduce-only"):
        await client.place_trigger_order("BTC", QUANTITY, D(51_000), "sell", OrderType.TAKE_PROFIT_MARKET, reduce_only=False)
    for wrong in ("", "x" * 65, "schön", "a\nb"):
        with pytest.raises(OrderDenied, match="client order id"):
            await client.order_manager.place(intent(client, D(49_000), client_order_id=wrong or "\t"))
    assert bench.requests("/v1/orders", "POST") == []


@virtual()
async def test_a_cancel_is_queued_and_waited_for(bench: Bench) -> None:
    client = await bench.connected()
    placed = await client.place_limit_order("BTC", QUANTITY, D(49_000), "buy", wait_for="open")
    assert placed.client_order_id is not None
    ended = await client.cancel_order(placed.client_order_id)
    assert (ended.status, ended.error_message) == (OrderStatus.CANCELED, "USER_CANCELED")
    assert bench.requests("/v1/orders/", "DELETE")[-1].path == f"/v1/orders/{placed.order_id}"
    unacked = client.context.tracker.submitted("p-unacked", intent(client, D(48_000)))
    command = client.order_manager.encode_cancel(unacked, client.instruments.get("BTC"))
    assert (command.payload.path, command.payload.query) == ("/v1/orders/by_client_id/p-unacked", (("market", "BTC-USD-PERP"),))
    client.context.tracker.settle(unacked, Outcome.NOT_SENT, None)


@virtual()
async def test_an_old_order_is_sought_in_the_history_since_it_was_made(bench: Bench) -> None:
    client = await bench.connected()
    placed = await client.place_limit_order("BTC", QUANTITY, D(49_000), "buy", wait_for="open")
    order = client.context.tracker.find(placed.client_order_id or "")
    assert order is not None
    await client.cancel_order(placed.client_order_id or "")
    month_ago = bench.now() - 30 * 86_400 * 10**9
    order.created_ns = month_ago
    assert await client.order_manager.fetch_order(None, order_id=placed.order_id) is not None
    asked = bench.requests("/v1/orders-history")[-1]
    assert int(dict(parse_qsl(asked.query))["start_at"]) < month_ago // 10**6


@virtual()
async def test_client_ids_are_quoted_in_paths(bench: Bench) -> None:
    """Else "my#1" cancels "my"."""
    client = await bench.connected()
    btc = client.instruments.get("BTC")
    for odd in ("my#1", "a?b", "a/b", "a b", "50%"):
        resting = await client.place_limit_order("BTC", QUANTITY, D(49_000), "buy", client_order_id=odd, wait_for="open")
        assert resting.client_order_id == odd
        unacked = client.context.tracker.submitted(f"{odd} ", intent(client, D(48_000)))
        unacked.client_order_id = odd
        command = client.order_manager.encode_cancel(unacked, btc)
        assert command.payload.path == f"/v1/orders/by_client_id/{quote(odd, safe='')}"
        found = await client.get_order_info(odd)
        assert found is not None
        assert found.order_id == resting.order_id
        unacked.client_order_id = f"{odd} "
        client.context.tracker.settle(unacked, Outcome.NOT_SENT, None)


@virtual()
async def test_a_market_order_with_its_worst_price_keeps_it(bench: Bench) -> None:
    client = await bench.connected()
    result = await client.order_manager.place(
        intent(client, D(50_000), order_type=OrderType.MARKET, time_in_force=TimeInForce.IOC), wait_for=WaitFor.TERMINAL
    )
    sent = place_body(bench.requests("/v1/orders", "POST")[-1])
    assert (sent["type"], sent["price"], sent["instruction"]) == ("LIMIT", "50000", "IOC")
    assert result.client_order_id
    with pytest.raises(OrderDenied):
        await client.order_manager.place(
            OrderIntent(
                instrument=client.instruments.get("BTC").id,
                side=Side.BUY,
                quantity=QUANTITY,
                order_type=OrderType.MARKET,
                time_in_force=TimeInForce.IOC,
            )
        )


@virtual()
async def test_what_trades_in_isolated_accounts_only_is_not_opened(bench: Bench) -> None:
    client = await bench.connected()
    alone = msgspec.structs.replace(client.instruments.get("BTC"), only_isolated=True)
    with pytest.raises(OrderDenied, match="isolated"):
        client.order_manager.check(intent(client, D(49_000)), alone)
    client.order_manager.check(intent(client, D(49_000), reduce_only=True), alone)
    with pytest.raises(UnsupportedCapability):
        await client.set_margin_mode("BTC", MarginMode.ISOLATED)


@virtual()
async def test_an_amend_is_not_refused_by_the_words_for_an_earlier_one(bench: Bench) -> None:
    client = await bench.connected()
    placed = await client.place_limit_order("BTC", QUANTITY, D(49_000), "buy", wait_for="open")
    assert placed.client_order_id is not None
    with pytest.raises(OrderRefused, match="NOT_ENOUGH_MARGIN"):
        await client.amend_order(placed.client_order_id, quantity=D(500))
    manager: Any = client.order_manager
    order = client.context.tracker.find(placed.client_order_id)
    assert order is not None
    row = await manager._order_row(order.order_id, order.client_order_id)
    assert row is not None
    assert row.request_info is not None
    assert row.request_info.status == "REJECTED"
    wanted = intent(client, D(48_900))
    later = msgspec.structs.replace(row, price="48900")
    for asked in ("", "another"):
        shown = iter([row, later])
        manager._order_row = lambda *ids, shown=shown: asyncio.sleep(0, next(shown))
        manager._asked[order.order_id] = asked
        await manager.prove_amend(order, wanted)


@virtual()
async def test_positions_do_not_wait_for_their_marks(bench: Bench) -> None:
    client = await bench.connected()
    await client.place_limit_order("BTC", QUANTITY, D(50_200), "buy", time_in_force="IOC", wait_for="terminal")
    bench.faults.request = lambda r: RequestFault(status=503, body=b"") if r.path.startswith("/v1/markets/summary") else None
    before = bench.now()
    (found,) = await client.position_manager.fetch_positions()
    assert found.quantity == QUANTITY
    assert bench.now() - before < 4 * 10**9


@virtual()
async def test_closed_orders_are_found_by_either_id(bench: Bench) -> None:
    """By its own id the venue forgets an order that closed."""
    client = await bench.connected()
    placed = await client.place_limit_order("BTC", QUANTITY, D(49_000), "buy", wait_for="open")
    assert placed.client_order_id is not None
    await client.cancel_order(placed.client_order_id)
    for by in ({"order_id": placed.order_id}, {"client_order_id": placed.client_order_id}):
        found = await client.order_manager.fetch_order(client.instruments.get("BTC"), **by)
        assert found is not None
        assert (found.status, found.order_id) == (OrderStatus.CANCELED, placed.order_id)
    assert await client.order_manager.fetch_order(None, order_id="1", client_order_id="nobody") is None


@virtual()
async def test_an_amend_is_proved_or_refused(bench: Bench) -> None:
    client = await bench.connected()
    placed = await client.place_limit_order("BTC", QUANTITY, D(49_000), "buy", wait_for="open")
    assert placed.client_order_id is not None
    now = await client.amend_order(placed.client_order_id, price=D("48900.5"), quantity=D("0.02"))
    assert (now.order_id, now.price, now.size) == (placed.order_id, D("48900.5"), D("0.02"))
    with pytest.raises(OrderRefused, match="NOT_ENOUGH_MARGIN"):
        await client.amend_order(placed.client_order_id, quantity=D(500))
    (kept,) = await client.get_active_orders("BTC")
    assert (kept.price, kept.size) == (D("48900.5"), D("0.02"))


@virtual()
async def test_a_batch_tells_who_was_refused(bench: Bench) -> None:
    client = await bench.connected()
    elsewhere(bench, "taken")
    results = await client.place_orders(
        [intent(client, D(48_000)), intent(client, D(47_900), client_order_id="taken"), intent(client, D(47_800))]
    )
    assert [result.success for result in results] == [True, False, True]
    assert isinstance(results[1].error, DuplicateClientOrderId)
    assert len(bench.requests("/v1/orders/batch", "POST")) == 1


@virtual()
async def test_a_batch_whose_refusals_cannot_be_told_apart_is_unknown(bench: Bench) -> None:
    client = await bench.connected()
    body = b'{"orders":[],"errors":[{"error":"VALIDATION_ERROR","message":"x"}]}'
    bench.faults.request = lambda r: RequestFault(status=201, body=body) if r.path == "/v1/orders/batch" else None
    results = await client.place_orders([intent(client, D(48_000)), intent(client, D(47_900))])
    assert {result.outcome for result in results} == {"unknown"}


@pytest.mark.parametrize(
    "error", ["INTERNAL_ERROR", "INTERNAL_ERROR: try later", "SERVICE_UNAVAILABLE: x", "TOO_MANY_REQUESTS", "request timeout"]
)
def test_a_row_with_words_of_an_outage_or_unknown_ones_is_not_refused(error: str) -> None:
    @virtual()
    async def check(bench: Bench) -> None:
        client = await bench.connected()
        row = {"error": error, "message": error}
        resting = await client.place_limit_order("BTC", QUANTITY, D(49_000), "buy", wait_for="open")
        body = json.dumps({"orders": [], "errors": [row, row]}).encode()
        bench.faults.request = lambda r: RequestFault(status=201, body=body) if r.path == "/v1/orders/batch" else None
        results = await client.place_orders([intent(client, D(48_000)), intent(client, D(47_900))])
        assert {result.outcome for result in results} == {"unknown"}
        known = client.context.tracker.find(resting.client_order_id or "")
        assert known is not None
        told = msgspec.Raw(json.dumps({"results": [{"order": None, "error": error}]}).encode())
        (outcome,) = client.order_manager.decode_place_many(told, [known])
        assert isinstance(outcome, VenueError)
        assert outcome.outcome is Outcome.UNKNOWN, "the same on a socket"

    check()


@virtual()
async def test_an_order_that_the_venue_calls_not_found_is_sought_in_the_history(bench: Bench) -> None:
    client = await bench.connected()
    placed = await client.place_limit_order("BTC", QUANTITY, D(50_200), "buy", time_in_force="IOC", wait_for="terminal")
    body = b'{"error":"NOT_FOUND","message":"no such order"}'
    bench.faults.request = lambda r: RequestFault(status=404, body=body) if r.path.startswith("/v1/orders/by_client_id/") else None
    manager = client.order_manager
    found = await manager.fetch_order(None, client_order_id=placed.client_order_id)
    assert found is not None
    assert found.status is OrderStatus.FILLED


@virtual()
async def test_releases_pause_the_venue_in_a_class_of_their_own(bench: Bench) -> None:
    client = await bench.connected()
    placed = await client.place_limit_order("BTC", QUANTITY, D(49_000), "buy", wait_for="open")
    assert placed.client_order_id is not None
    market_data = client.market_data
    assert isinstance(market_data, ParadexMarketData)
    bench.dialect.system_status = "cancel_only"
    assert await market_data.fetch_venue_status() is MarketStatus.CANCEL_ONLY
    refused = await client.place_limit_order("BTC", QUANTITY, D(48_000), "buy")
    assert (refused.success, type(refused.error), refused.outcome) == (False, VenuePaused, "refused")
    assert (await client.cancel_order(placed.client_order_id)).status is OrderStatus.CANCELED
    bench.dialect.system_status = "post_only"
    assert type((await client.place_limit_order("BTC", QUANTITY, D(48_000), "buy")).error) is VenuePaused
    assert (await client.place_limit_order("BTC", QUANTITY, D(48_000), "buy", post_only=True)).success
    bench.dialect.system_status = "ok"
    assert await market_data.fetch_venue_status() is MarketStatus.ACTIVE


@virtual()
async def test_a_fill_that_names_the_takers_side_is_counted_on_ours(bench: Bench) -> None:
    client = await bench.connected()
    placed = await client.place_limit_order("BTC", QUANTITY, D("50000"), "buy", wait_for="open")
    assert placed.client_order_id is not None

    def takers(channel: str, payload: bytes) -> Any:
        return [(0.0, payload.replace(b'"side":"BUY"', b'"side":"SELL"'))] if channel == "fills.ALL" else None

    bench.faults.push = takers
    bench.exchange.external_trade(bench.now(), "BTC-USD-PERP", core.Side.SELL, 1_000)
    await bench.until(lambda: client.context.tracker.find(placed.client_order_id or "").status is OrderStatus.FILLED, "filled")  # type: ignore[union-attr]
    (fill,) = await client.get_user_trade_history("BTC", since_ns=0)
    assert (fill.side, fill.liquidity.value) == (Side.BUY, "maker")


@virtual()
async def test_e06_fills_by_hand_under_one_client_id_keep_their_sides(bench: Bench) -> None:
    """Somebody names all of his orders alike: the side of one of them says nothing about the fills of the others."""
    client = await bench.connected()
    account = bench.account.account
    for side, price in ((core.Side.SELL, 490_000), (core.Side.BUY, 510_000), (core.Side.BUY, 490_000)):
        bench.exchange.submit(bench.now(), core.NewOrder(account, "BTC-USD-PERP", side, 1_000, price, client_id="777"))
        await asyncio.sleep(1)
    fills = await client.get_user_trade_history("BTC", since_ns=0)
    assert [fill.side for fill in sorted(fills, key=lambda fill: fill.ts_venue_ns)] == [Side.SELL, Side.BUY]


# ---- over the socket


@virtual()
async def test_orders_travel_over_the_socket(bench: Bench) -> None:
    client = await bench.connected(command_channel="ws")
    placed = await client.place_limit_order("BTC", QUANTITY, D(49_000), "buy", wait_for="open")
    assert placed.client_order_id is not None
    now = await client.amend_order(placed.client_order_id, price=D(48_900))
    assert now.price == D(48_900)
    ended = await client.cancel_order(placed.client_order_id)
    assert ended.status is OrderStatus.CANCELED
    results = await client.place_orders([intent(client, D(48_000)), intent(client, D(47_900))])
    assert [result.success for result in results] == [True, True]
    await client.cancel_all_orders("BTC")
    assert bench.exchange.open_orders(bench.account.account) == []
    assert bench.requests("/v1/orders", "POST") == bench.requests("/v1/orders/", "PUT") == []
    assert [len(bench.messages(f"order.{name}")) for name in ("create", "modify", "cancel", "create_batch", "cancel_all")] == [1] * 5
    late = await client.place_limit_order("BTC", QUANTITY, D(50_200), "buy", post_only=True, wait_for="terminal")
    assert isinstance(late.error, PostOnlyWouldCross)
    bench.dialect.system_status = "cancel_only"
    assert type((await client.place_limit_order("BTC", QUANTITY, D(48_000), "buy")).error) is VenuePaused


@virtual()
async def test_an_answer_that_the_socket_loses_is_unknown(bench: Bench) -> None:
    client = await bench.connected(command_channel="ws")
    lost = iter([RequestFault(lose=Lose.REPLY)])
    bench.faults.request = lambda r: next(lost, None) if b"order.create" in r.body else None
    with pytest.raises(OrderOutcomeUnknown) as caught:
        await client.place_limit_order("BTC", QUANTITY, D(49_000), "buy")
    await bench.until(lambda: client.context.entries_allowed, "connected and reconciled again", timeout_s=60)
    info = await client.get_order_info(caught.value.client_order_id, force_refresh=True)
    assert info is not None
    assert info.status is OrderStatus.OPEN


# ---- what lives with a connection


@virtual()
async def test_cancel_on_disconnect_is_armed_on_every_connection(bench: Bench) -> None:
    client = await bench.connected(venue_options={"cancel_on_disconnect": True})
    for times in (1, 2, 3):
        assert len(bench.messages("order.cancel_on_disconnect")) == times
        placed = await client.place_limit_order("BTC", QUANTITY, D(49_000), "buy", wait_for="open")
        assert placed.client_order_id is not None
        for session in list(bench.dialect.sessions.values()):
            session.drop()
        await bench.until(lambda: not client.is_connected, "the loss is noticed")
        await bench.until(lambda: client.is_connected and client.context.entries_allowed, "connected again", timeout_s=60)
        info = await client.get_order_info(placed.client_order_id, force_refresh=True)
        assert info is not None
        assert (info.status, info.cancel_reason) == (OrderStatus.CANCELED, "CANCEL_ON_DISCONNECT")


@virtual()
async def test_without_the_option_orders_outlive_the_connection(bench: Bench) -> None:
    client = await bench.connected()
    placed = await client.place_limit_order("BTC", QUANTITY, D(49_000), "buy", wait_for="open")
    await client.disconnect()
    await bench.runtime.clock.sleep(5)
    assert bench.messages("order.cancel_on_disconnect") == []
    assert [order.client_id for order in bench.exchange.open_orders(bench.account.account)] == [placed.client_order_id]


@virtual()
async def test_losing_market_data_cancels_nothing(bench: Bench) -> None:
    """Two sockets: what the account has does not hang on the one that carries books."""
    client = await bench.connected(venue_options={"cancel_on_disconnect": True})
    await client.ws_manager.prepare_market_feed(client.instruments.get("BTC"))
    await client.place_limit_order("BTC", QUANTITY, D(49_000), "buy", wait_for="open")
    for session in list(bench.dialect.sessions.values()):
        if any(channel.startswith("order_book") for channel in session.subscriptions):
            session.drop()
    await bench.runtime.clock.sleep(5)
    assert len(bench.exchange.open_orders(bench.account.account)) == 1


# ---- binary streams


@virtual()
async def test_a_socket_names_the_schema_and_an_unknown_version_ends_at_once(bench: Bench) -> None:
    await bench.connected(signed=False)
    asked = [one.params for one in bench.dialect.received if one.kind.value == "connect"]
    assert asked[0] == {"sbeSchemaId": "1", "sbeSchemaVersion": "1"}
    client = bench.client(signed=False, venue_options={"sbe_version": 9})
    started = bench.runtime.clock.monotonic()
    with pytest.raises(ConnectFailed, match="400"):
        await client.connect()
    assert bench.runtime.clock.monotonic() - started < 5


@virtual()
async def test_trade_ids_are_the_venues_own_from_version_two_on(bench: Bench) -> None:
    client = await bench.connected(signed=False, venue_options={"sbe_version": 2})
    heard: list[Any] = []
    stream = client.watch_trades("BTC")

    async def listen() -> None:
        async for trade in stream:
            heard.append(trade)  # noqa: PERF401 - read while it grows

    task = asyncio.ensure_future(listen())
    await bench.until(lambda: client.ws_manager.subscription_count == 1, "subscribed")
    bench.exchange.external_trade(bench.now(), "BTC-USD-PERP", core.Side.BUY, 100)
    await bench.until(lambda: heard, "the trade is heard")
    assert [trade.trade_id for trade in await client.fetch_trades("BTC")] == [heard[0].trade_id]
    assert len(heard[0].trade_id) == 28
    stream.close()
    await task


async def whole_life(bench: Bench, **options: Any) -> None:
    client = await bench.connected(**options)
    seen: dict[str, list[Any]] = {}
    streams = {
        "orders": client.watch_orders(),
        "fills": client.watch_fills(),
        "positions": client.watch_positions(),
        "account": client.watch_account(),
    }

    async def listen(name: str) -> None:
        async for event in streams[name]:
            seen.setdefault(name, []).append(event)

    tasks = [asyncio.ensure_future(listen(name)) for name in streams]
    taken = await client.place_limit_order("BTC", QUANTITY, D(50_200), "buy", time_in_force="IOC", wait_for="terminal")
    assert (taken.status, taken.filled_size, taken.average_price) == (OrderStatus.FILLED, QUANTITY, D(50_050))
    closed = await client.place_limit_order("BTC", QUANTITY, D(49_900), "sell", True, time_in_force="IOC", wait_for="terminal")
    assert closed.status is OrderStatus.FILLED
    await bench.until(lambda: len(seen.get("fills", [])) == 2 and "account" in seen, "all of it is told")
    await bench.until(lambda: seen["positions"][-1].quantity == 0, "flat is told")
    assert [fill.side for fill in seen["fills"]] == [Side.BUY, Side.SELL]
    assert seen["fills"][0].fee == D("0.01") * 50_050 * D("0.00045")
    assert any(position.quantity == QUANTITY for position in seen["positions"])
    assert client.ws_manager.handler.undecoded == client.ws_manager.handler.unknown == 0
    for stream in streams.values():
        stream.close()
    await asyncio.gather(*tasks)


@virtual(private_sbe=True)
async def test_the_accounts_events_may_be_binary(bench: Bench) -> None:
    await whole_life(bench)


@virtual(private_sbe=True)
async def test_the_accounts_events_may_be_binary_in_version_two(bench: Bench) -> None:
    await whole_life(bench, venue_options={"sbe_version": 2})


@virtual()
async def test_the_accounts_events_may_be_text(bench: Bench) -> None:
    await whole_life(bench)


@virtual(private_sbe=True)
async def test_a_short_position_is_short_in_binary_too(bench: Bench) -> None:
    client = await bench.connected()
    await client.place_limit_order("BTC", QUANTITY, D(49_900), "sell", time_in_force="IOC", wait_for="terminal")
    key = client.instruments.get("BTC").id
    await bench.until(lambda: key in client.context.positions, "the position is streamed")
    streamed = client.context.positions[key]
    (asked,) = await client.get_open_positions()
    assert (streamed.quantity, streamed.mark_price, asked.quantity, asked.mark_price) == (-QUANTITY, D(50_000), -QUANTITY, D(50_000))


# ---- books and prices


@virtual()
async def test_a_grouped_book_is_never_a_price(bench: Bench) -> None:
    """Interactive, in steps of a thousand ticks: its best level is a bucket; the best prices are those of the BBO stream."""
    client = await bench.connected(signed=False, venue_options={"book": "interactive", "book_group": 1_000})
    instrument = client.instruments.get("BTC")
    told: list[Any] = []
    client.ws_manager.register_bbo_listener(instrument, told.append)
    await client.ws_manager.prepare_market_feed(instrument)
    session = next(iter(bench.dialect.sessions.values()))
    assert set(session.subscriptions) == {"order_book.BTC-USD-PERP.interactive@15@100ms@100", "bbo.BTC-USD-PERP"}
    await bench.until(lambda: told, "the BBO stream speaks")
    grouped = client.ws_manager.get_order_book(instrument)
    assert (grouped.bids[0].price, grouped.asks[0].price) == (D(49_900), D(50_100))
    assert await client.fetch_bbo_prices("BTC") == (D(49_950), D(50_050))
    bench.exchange.set_level(bench.now(), "BTC-USD-PERP", core.Side.BUY, 499_990, 100_000)
    await bench.until(lambda: told[-1].bid == 49_999, "the new best bid is told")
    assert all(bbo.bid in (49_950, 49_999) for bbo in told if not isinstance(bbo, Gap)), "no bucket was ever told as a price"
    assert (await client.fetch_bbo_prices("BTC"))[0] == 49_999
    depth = await client.get_order_book_depth("BTC", 1)
    assert depth["bids"][0]["price"] == 49_999, "depth for orders is asked for, not read from buckets"


@virtual()
async def test_a_tick_below_one_is_written_with_an_underscore(bench: Bench) -> None:
    client = await bench.connected(signed=False, venue_options={"book": "interactive", "book_group": 5})
    await client.ws_manager.prepare_market_feed(client.instruments.get("BTC"))
    await client.ws_manager.prepare_market_feed(client.instruments.get("PEPE"))
    (session,) = bench.dialect.sessions.values()
    books = {channel for channel in session.subscriptions if channel.startswith("order_book")}
    assert books == {"order_book.BTC-USD-PERP.interactive@15@100ms@0_5", "order_book.kPEPE-USD-PERP.interactive@15@100ms@0_0000005"}


@virtual()
async def test_an_emptied_side_takes_the_price_away(bench: Bench) -> None:
    client = await bench.connected(signed=False)
    instrument = client.instruments.get("BTC")
    await client.ws_manager.prepare_market_feed(instrument)
    await bench.until(lambda: client.ws_manager.get_latest_bbo(instrument) is not None, "a price is known")
    bids = [(price, size) for price, size, _ in bench.exchange.depth("BTC-USD-PERP", core.Side.BUY)]
    bench.exchange.set_levels(bench.now(), "BTC-USD-PERP", bids, [])
    await bench.until(lambda: client.ws_manager.get_latest_bbo(instrument) is None, "no side, no price")
    with pytest.raises(NotReady):
        await client.fetch_bbo_prices("BTC")


@virtual()
async def test_a_refused_channel_is_told(bench: Bench) -> None:
    client = await bench.connected(signed=False)
    instrument = client.instruments.get("BTC")
    bench.exchange.delist(bench.now(), "BTC-USD-PERP")
    session_faults = b'{"jsonrpc":"2.0","error":{"code":-32600,"message":"invalid subscribe request","data":"invalid channel"},"id":2}'
    bench.faults.request = lambda r: RequestFault(body=session_faults) if b"order_book" in r.body else None
    with pytest.raises(VenueError, match="invalid channel"):
        await client.ws_manager.prepare_market_feed(instrument, timeout_s=5)


@pytest.mark.parametrize(
    "options",
    [
        {"nonsense": 1},
        {"book": "snapshot"},
        {"book_group": 10},
        {"book": "interactive", "book_group": 0},
        {"sbe_version": "1"},
        {"sbe_version": True},
        {"cancel_on_disconnect": "yes"},
    ],
)
def test_wrong_options_are_errors(options: dict[str, Any]) -> None:
    @virtual()
    async def main(bench: Bench) -> None:
        with pytest.raises(ConfigError, match="option"):
            bench.client(signed=False, venue_options=options)

    main()


# ---- the account


@virtual()
async def test_payments_of_all_markets_are_found(bench: Bench) -> None:
    """The venue lists them market by market: those that were traded or are held."""
    client = await bench.connected()
    opened = bench.now()
    await client.place_limit_order("BTC", D("0.5"), D(50_200), "buy", time_in_force="IOC", wait_for="terminal")
    await client.place_limit_order("PEPE", D(1_000_000), D("0.000019"), "sell", time_in_force="IOC", wait_for="terminal")
    for symbol, rate in (("BTC-USD-PERP", "0.0001"), ("kPEPE-USD-PERP", "0.0002")):
        bench.exchange.set_funding_rate(bench.now(), symbol, core.to_fraction(rate))
    await bench.runtime.clock.sleep_until_ns(bench.exchange.markets["BTC-USD-PERP"].next_funding_ns + 10**9)
    found = await client.get_funding_payments(since_ns=opened)
    assert {payment.instrument.base: payment.amount for payment in found} == {"BTC": D("-2.5"), "PEPE": D("0.004")}
    (history,) = await client.fetch_funding_history("BTC", start_ns=opened)
    assert (history.raw_rate, history.interval_hours, history.metadata["funding_index"]) == (D("0.0001"), D(8), "5")
    assert found[0].amount == -D("0.5") * D(history.metadata["funding_index"]) or found[0].instrument.base == "PEPE"


@virtual()
async def test_leverage_and_margin_type_go_together(bench: Bench) -> None:
    client = await bench.connected()
    await client.set_leverage("BTC", 5)
    (sent,) = [place_body(one) for one in bench.requests("/v1/account/margin/", "POST")]
    assert sent == {"leverage": 5, "margin_type": "CROSS"}
    with pytest.raises(ConfigError):
        await client.set_leverage("BTC", D("2.5"))


@virtual()
async def test_an_order_that_is_unknown_cannot_be_canceled_into_being(bench: Bench) -> None:
    client = await bench.connected()
    with pytest.raises(OrderNotFound):
        await client.cancel_order("1681462103821101699438490000")
