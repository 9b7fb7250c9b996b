"""The shared machinery over real loopback sockets, with the smallest venue."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from decimal import Decimal as D
from typing import Any

import pytest
from aiohttp import web

from exchange_clients.errors import (
    AuthError,
    BadSignature,
    ConfigError,
    ConnectFailed,
    DecodeError,
    Disconnected,
    MissingCredentials,
    NotReady,
    OrderDenied,
    OrderOutcomeUnknown,
    RateLimited,
    SubscriptionRefused,
    UnknownInstrument,
    UnsupportedCapability,
    VenueUnavailable,
)
from exchange_clients.model import Gap, OrderStatus, Side
from exchange_clients.signing import Credentials, HttpRequest
from tests.toy.server import ToyServer, answer, drop, hang
from tests.toy.venue import SPEC, ToyClient

KEYS = Credentials("toy", {"key": "good-toy-key"})


@pytest.fixture
async def server() -> AsyncIterator[ToyServer]:
    async with ToyServer() as running:
        yield running


@pytest.fixture
async def client(server: ToyServer) -> AsyncIterator[ToyClient]:
    async with ToyClient(server.config, KEYS) as connected:
        yield connected


async def until(condition: Callable[[], Any], timeout_s: float = 5.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - what is waited for happens at the other end of a socket
            await asyncio.sleep(0.005)


async def buy(client: ToyClient, price: str = "100", **kwargs: Any) -> Any:
    return await client.place_limit_order("BTC", D("0.5"), D(price), "buy", **kwargs)


# ---- REST


async def test_queries_repeat_on_trouble_and_keep_the_last_error(server: ToyServer) -> None:
    client = ToyClient(server.config)
    server.fault("/markets", drop, answer(503, '{"error":{"code":"down","message":"maintenance"}}'), None)
    assert len(await client.instruments.load_all()) == 2
    server.fault("/markets", *[answer(503, '{"error":{"code":"down","message":"maintenance"}}')] * 3)
    with pytest.raises(VenueUnavailable, match="maintenance"):
        await client.instruments.load_all(force=True)
    await client.disconnect()


async def test_the_venues_retry_after_is_respected_by_every_user_of_the_pool(server: ToyServer) -> None:
    client = ToyClient(server.config)
    loop = asyncio.get_running_loop()
    began = loop.time()
    server.fault("/markets", answer(429, '{"error":{"code":"limit","message":"slow down"}}', {"Retry-After": "0.4"}), None)
    await client.instruments.load_all()
    assert loop.time() - began >= 0.4
    await client.disconnect()


async def test_a_ban_that_the_text_dates_is_a_word_to_wait(server: ToyServer) -> None:
    client = ToyClient(server.config)
    until_ms = client.context.runtime.clock.time_ns() // 1_000_000 + 3_000_000
    server.fault("/markets", answer(418, f'{{"error":{{"code":"limit","message":"IP banned until {until_ms}. Use streams."}}}}'))
    with pytest.raises(RateLimited) as caught:
        await client.instruments.load_all()
    assert caught.value.retry_after_s == pytest.approx(3000, abs=5)
    await client.disconnect()


async def test_what_the_venue_counts_for_everybody_is_taken_over(server: ToyServer) -> None:
    client = ToyClient(server.config)
    server.fault("/markets", answer(200, "[]", {"X-Used": "700"}), answer(200, "[]", {"X-Used": "lots"}))
    await client.instruments.load_all()
    assert client.context.limiter.headroom("ip") == pytest.approx(300)
    await client.instruments.load_all(force=True)
    assert client.context.limiter.headroom("ip") == pytest.approx(299)
    await client.disconnect()


@pytest.mark.parametrize("body", [b"", b"<html>", b"[{]", b'[{"name":"BTC","tick":"NaN?","step":"1"}]', b'{"name": 1}', b"\xff\xfe"])
async def test_garbage_answers_are_decode_errors(server: ToyServer, body: bytes) -> None:
    client = ToyClient(server.config)
    server.fault("/markets", answer(200, body))
    with pytest.raises(DecodeError):
        await client.instruments.load_all()
    await client.disconnect()


async def test_nobody_listens() -> None:
    client = ToyClient({"endpoints": {"rest": "http://127.0.0.1:9"}})
    with pytest.raises(ConnectFailed, match="cannot connect"):
        await client.instruments.load_all()
    await client.disconnect()


def test_configuration_mistakes_are_named() -> None:
    with pytest.raises(ConfigError, match="environmant"):
        ToyClient({"environmant": "mainnet"})
    with pytest.raises(ConfigError, match="there are mainnet"):
        ToyClient({"environment": "testnet"})


# ---- credentials and life


async def test_placeholder_and_missing_credentials_make_a_read_only_client(server: ToyServer) -> None:
    for credentials, words in ((None, "read-only"), (Credentials("toy", {"key": "your_key_here"}), "TOY_KEY")):
        client = ToyClient(server.config, credentials)
        await client.connect()
        with pytest.raises(MissingCredentials, match=words):
            await buy(client)
        await client.disconnect()


async def test_a_key_that_does_not_match_is_refused_at_connect(server: ToyServer) -> None:
    client = ToyClient(server.config, Credentials("toy", {"key": "other-key"}))
    with pytest.raises(BadSignature):
        await client.connect()


async def test_environment_names_follow_the_venue() -> None:
    assert Credentials.from_env(SPEC, "mainnet", environ={"TOY_SECRET": "k1"})["key"] == "k1"
    assert Credentials.from_env(SPEC, "testnet", environ={"TOY_TESTNET_KEY": "k2", "TOY_KEY": "k1"})["key"] == "k2"
    assert "k1" not in repr(Credentials("toy", {"key": "k1"}))


async def test_unknown_symbols_are_named(client: ToyClient) -> None:
    for symbol in ("ETH", "BTCDOM", "BT", "BTC-USD-PERP.other"):
        with pytest.raises(UnknownInstrument, match="toy"):
            await client.fetch_bbo_prices(symbol)
    with pytest.raises(UnknownInstrument, match="delisted"):
        await client.get_contract_attributes("OLD")
    for symbol in ("BTC", "BTC-PERP", "BTC-PERP.toy", "BTC-USD-PERP.toy", "BTC/USD"):
        assert await client.get_contract_attributes(symbol) == ("BTC/USD", D("0.1"))


# ---- orders


async def test_an_order_from_placing_to_its_fill(client: ToyClient, server: ToyServer) -> None:
    watched = client.watch_orders()
    result = await buy(client, "100.07", wait_for="open")
    assert result.success
    assert (result.price, result.size, result.status) == (D("100.0"), D("0.5"), OrderStatus.OPEN)
    await server.fill(result.client_order_id, "0.2", "t1")
    await server.fill(result.client_order_id, "0.3", "t2")
    await server.push({"type": "fill", "fill": server.fills[0]})
    async with asyncio.timeout(2):
        async for event in watched:
            if event.status is OrderStatus.FILLED:
                break
    info = await client.get_order_info(result.order_id)
    assert info is not None
    assert (info.filled_size, info.average_price, info.remaining_size) == (D("0.5"), D("100.0"), D(0))
    assert await client.get_account_positions("BTC") == D("0.5")


@pytest.mark.parametrize(
    ("quantity", "price", "words"),
    [
        ("0.0004", "100", "must be positive"),
        ("0.05", "100", "below the minimum"),
        ("0.5", "-1", "must be positive"),
        ("0.5", "NaN", "not finite"),
        ("x", "1", "not a number"),
    ],
)
async def test_bad_orders_never_leave(client: ToyClient, server: ToyServer, quantity: str, price: str, words: str) -> None:
    with pytest.raises(OrderDenied, match=words):
        await client.place_limit_order("BTC", quantity, price, "buy")  # type: ignore[arg-type]
    assert not [r for r in server.requests if r[0] == "/place"]


async def test_an_id_that_is_none_is_told_and_never_sent(client: ToyClient, server: ToyServer) -> None:
    nothing: Any = None
    for verb in (client.cancel_order, client.get_order_info, client.amend_order):
        with pytest.raises(OrderDenied, match="client_order_id"):
            await verb(nothing)
    with pytest.raises(OrderDenied, match="client_order_id"):
        await client.cancel_orders([nothing])
    with pytest.raises(OrderDenied, match="client_order_id"):
        await client.await_order_update(nothing, 0.1)


async def test_floats_are_refused(client: ToyClient) -> None:
    with pytest.raises(OrderDenied, match="float"):
        await client.place_limit_order("BTC", 0.1, D(100), "buy")  # type: ignore[arg-type]


async def test_what_the_venue_cannot_do_is_said_before(client: ToyClient) -> None:
    with pytest.raises(UnsupportedCapability):
        await client.place_trigger_order("BTC", D(1), D(90), "sell", "stop_market")
    with pytest.raises(UnsupportedCapability):
        client.watch_trades("BTC")


async def test_a_definite_refusal_is_a_result_not_an_exception(client: ToyClient) -> None:
    result = await buy(client, "101", post_only=True)
    assert not result.success
    assert result.outcome == "refused"
    assert "would cross" in str(result.error_message)


@pytest.mark.parametrize("trouble", [drop, hang, answer(502, "bad gateway"), answer(429, "{}"), answer(200, b"{nonsense")])
async def test_e02_ambiguous_submit_is_resolved_by_client_id(server: ToyServer, trouble: Any) -> None:
    """The order was accepted, its answer was lost: UNKNOWN, then found by its client id; never a second one."""

    async def accepted_but_unanswered(request: web.Request) -> web.StreamResponse:
        await server.accept(server.requests[-1][1])
        return await trouble(request)  # type: ignore[no-any-return]

    config = {**server.config, "command_timeout_s": 0.3}
    async with ToyClient(config, KEYS) as client:
        server.quiet_account = True
        server.fault("/place", accepted_but_unanswered)
        with pytest.raises(OrderOutcomeUnknown) as caught:
            await buy(client)
        info = await client.get_order_info(caught.value.client_order_id, force_refresh=True)
        assert info is not None
        assert info.status is OrderStatus.OPEN
        assert len(server.orders) == 1


async def test_an_order_that_never_arrived_is_proven_absent_only_after_the_grace(client: ToyClient, server: ToyServer) -> None:
    server.fault("/place", drop)
    with pytest.raises(OrderOutcomeUnknown) as caught:
        await buy(client)
    cid = caught.value.client_order_id
    early = await client.get_order_info(cid, force_refresh=True)
    assert early is not None
    assert early.status is OrderStatus.UNKNOWN
    await asyncio.sleep(0.25)
    late = await client.get_order_info(cid, force_refresh=True)
    assert late is not None
    assert late.status is OrderStatus.NOT_SENT


async def test_e34_a_nonce_error_never_causes_a_second_accepted_order(client: ToyClient, server: ToyServer) -> None:
    await buy(client)
    server.nonce += 3  # another process used the key
    result = await buy(client)
    assert result.success
    assert len(server.orders) == 2
    results = await asyncio.gather(*(buy(client) for _ in range(10)))
    assert all(r.success for r in results)
    assert len(server.orders) == 12


async def test_cancel_returns_the_proven_fill(client: ToyClient, server: ToyServer) -> None:
    placed = await buy(client)
    await server.fill(placed.client_order_id, "0.2", "t1", told=False)
    result = await client.cancel_order(placed.order_id)
    assert (result.status, result.filled_size) == (OrderStatus.CANCELED, D("0.2"))


async def test_e04_cancel_of_a_filled_order_is_a_fill(client: ToyClient, server: ToyServer) -> None:
    placed = await buy(client)
    server.quiet_account = True
    await server.fill(placed.client_order_id, "0.5", "t1", told=False)
    result = await client.cancel_order(placed.order_id)
    assert (result.status, result.filled_size) == (OrderStatus.FILLED, D("0.5"))


async def test_cancel_all_reaches_an_order_that_is_not_listed_yet(client: ToyClient, server: ToyServer) -> None:
    async def accepted_but_unanswered(request: web.Request) -> web.StreamResponse:
        await server.accept(server.requests[-1][1])
        return await drop(request)

    server.quiet_account = True
    server.fault("/place", accepted_but_unanswered)
    with pytest.raises(OrderOutcomeUnknown):
        await buy(client)
    server.fault("/orders", answer(200, b"[]"))
    (result,) = await client.cancel_all_orders()
    assert result.status is OrderStatus.CANCELED
    assert [order["status"] for order in server.orders.values()] == ["canceled"]


async def test_emulated_amend_replaces_only_what_is_proven_unfilled(client: ToyClient, server: ToyServer) -> None:
    placed = await buy(client)
    await server.fill(placed.client_order_id, "0.2", "t1", told=False)
    result = await client.amend_order(placed.order_id, price=D("99.5"))
    assert (result.size, result.price) == (D("0.3"), D("99.5"))


async def test_entries_wait_for_reconciliation_after_a_gap(client: ToyClient, server: ToyServer) -> None:
    placed = await buy(client)
    server.quiet_account = True
    server.fault("/orders", hang)
    await server.fill(placed.client_order_id, "0.5", "t1", told=False)
    for ws in list(server.sockets):
        await ws.close()
    await until(lambda: not client.context.entries_allowed)
    with pytest.raises(NotReady, match="reconciled"):
        await buy(client)
    server.faults.clear()
    await until(lambda: client.context.entries_allowed, 15.0)
    info = await client.get_order_info(placed.order_id)
    assert info is not None
    assert info.status is OrderStatus.FILLED


# ---- streams


async def test_first_book_and_a_sequence_gap_heal(client: ToyClient, server: ToyServer) -> None:
    instrument = client.instruments.get("BTC")
    await client.ws_manager.prepare_market_feed(instrument)
    events = client.watch_book("BTC", coalesce=False)
    await server.push({"type": "book", "channel": "book:BTC", "seq": 11, "snapshot": False, "bids": [["100.2", "5"]], "asks": []})
    await until(lambda: client.ws_manager.get_order_book(instrument).bids[0].price == D("100.2"))
    await server.push({"type": "book", "channel": "book:BTC", "seq": 13, "snapshot": False, "bids": [["100.0", "5"]], "asks": []})
    async with asyncio.timeout(2):
        async for event in events:
            if isinstance(event, Gap):
                break
    await until(lambda: client.ws_manager.order_book_ready(instrument))
    assert client.ws_manager.get_order_book(instrument).bids[0].price == D("100.1")
    assert [m["channel"] for m in server.received if m["op"] == "unsubscribe"] == ["book:BTC"]


async def test_reconnect_logs_in_before_it_replays_and_leaves_out_what_was_dropped(client: ToyClient, server: ToyServer) -> None:
    btc = client.instruments.get("BTC")
    await client.ws_manager.prepare_market_feed(btc)
    client.ws_manager.release_market_feed(btc)
    await until(lambda: any(m["op"] == "unsubscribe" for m in server.received))
    server.received.clear()
    for ws in list(server.sockets):
        await ws.close()
    await until(lambda: len([m for m in server.received if m["op"] == "subscribe"]) >= 1)
    assert [m["op"] for m in server.received][:2] == ["login", "subscribe"]
    assert {m["channel"] for m in server.received if m["op"] == "subscribe"} == {"account"}


async def test_frames_before_the_login_answer_are_not_lost(server: ToyServer) -> None:
    server.before_ack = [
        '{"type":"pong"}',
        '{"type":"order","order":{"id":"v9","cid":"9","market":"BTC","side":"buy","size":"1","price":"1","filled":"0","status":"open"}}',
    ]
    async with ToyClient(server.config, KEYS) as client:
        assert client.context.tracker.find("9") is not None


async def test_login_refused_is_not_authenticated(server: ToyServer) -> None:
    client = ToyClient(server.config, KEYS)
    server.fault("/nonce", answer(200, '{"nonce":1}'))
    server.key = "changed"
    with pytest.raises(AuthError):
        await client.connect()


async def test_a_refused_handshake_that_cannot_heal_is_raised(server: ToyServer) -> None:
    server.handshake_status = 403
    with pytest.raises(ConnectFailed, match="403"):
        await ToyClient(server.config, KEYS).connect()


async def test_accept_then_close_backs_off(server: ToyServer) -> None:
    server.close_at_once = True
    client = ToyClient(server.config)
    with contextlib.suppress(NotReady):  # a connection that lasts a moment is one
        await client.connect(timeout_s=1.5)
    await asyncio.sleep(1.0)
    await client.disconnect()
    assert 1 <= server.connections <= 6


async def test_a_silent_socket_is_given_up(server: ToyServer) -> None:
    async with ToyClient(server.config, KEYS) as client:
        server.mute = True
        await until(lambda: not client.is_connected, 6.0)
        server.mute = False
        await until(lambda: client.context.entries_allowed, 6.0)


async def test_a_refused_subscription_is_raised_and_stays_wanted(client: ToyClient, server: ToyServer) -> None:
    server.refuse_channels.add("book:BTC")
    with pytest.raises(SubscriptionRefused, match="no"):
        await client.ws_manager.prepare_market_feed(client.instruments.get("BTC"))
    server.refuse_channels.clear()
    for ws in list(server.sockets):
        await ws.close()
    await until(lambda: client.ws_manager.order_book_ready(client.instruments.get("BTC")))


@pytest.mark.parametrize(
    "frame",
    [
        "not json",
        '{"type":"book"',
        '{"type":"nothing"}',
        '{"type":"book","channel":"book:BTC","seq":11,"snapshot":false,"bids":[["NaN","1"]],"asks":[]}',
        '{"type":"book","channel":"book:BTC","seq":11,"snapshot":false,"bids":[["-5","1"]],"asks":[]}',
        '{"type":"book","channel":"book:BTC","seq":11,"snapshot":false,"bids":[["1e300","1"]],"asks":[]}',
        '{"type":"book","channel":"book:BTC","seq":"x","snapshot":false,"bids":[],"asks":[]}',
        '{"type":"order","order":{"id":5}}',
        "x" * 10_000_000,
    ],
)
async def test_garbage_frames_never_become_prices(client: ToyClient, server: ToyServer, frame: str) -> None:
    instrument = client.instruments.get("BTC")
    await client.ws_manager.prepare_market_feed(instrument)
    await server.push(frame)
    await asyncio.sleep(0.05)
    await until(lambda: client.ws_manager.order_book_ready(instrument))
    book = client.ws_manager.get_order_book(instrument)
    assert (book.bids[0].price, book.asks[0].price) == (D("100.1"), D("100.3"))


async def test_e37_a_slow_reader_is_told(client: ToyClient, server: ToyServer) -> None:
    watched = client.context.hub.subscribe(("orders", None, ""), maxsize=2)
    for _ in range(3):
        await buy(client)
    watched.close()
    events = [event async for event in watched]
    assert watched.dropped >= 2
    assert any(isinstance(event, Gap) for event in events), "what was dropped is told in its place"


async def test_one_client_serves_many_orders_at_once(client: ToyClient, server: ToyServer) -> None:
    """E33: concurrent calls give what serial ones give."""
    results = await asyncio.gather(*(client.place_limit_order("BTC", D("0.5"), D(90 + n), Side.BUY) for n in range(8)))
    assert {r.price for r in results} == {D(90 + n) for n in range(8)}
    assert len({r.client_order_id for r in results}) == 8


async def test_a_connection_that_is_too_old_is_replaced(server: ToyServer) -> None:
    client = ToyClient(server.config)
    client.ws_manager.dialect.max_age_s = 0.5
    await client.connect()
    loop = asyncio.get_running_loop()
    end = loop.time() + 5
    while server.connections < 2:
        assert loop.time() < end
        await asyncio.sleep(0.02)
    client.ws_manager.dialect.max_age_s = None
    while not client.is_connected:
        assert loop.time() < end
        await asyncio.sleep(0.02)
    await client.disconnect()


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST"])
async def test_no_request_is_sent_twice_by_the_http_library(server: ToyServer, method: str) -> None:
    """Not even over a kept connection that the venue closes instead of answering."""
    client = ToyClient(server.config)
    await client.instruments.load_all()
    before = len(server.requests)
    server.fault("/anything", drop, drop, drop)
    with pytest.raises(Disconnected):
        await client.context.rest.send(HttpRequest(method, "/anything"))
    assert len(server.requests) - before == 1
    await client.disconnect()
