"""The client against the dialect, where OKX differs from others: modes, contracts, two command channels, late refusals, its limits."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from exchange_clients.errors import (
    BadSignature,
    ConfigError,
    DecodeError,
    InsufficientMargin,
    OrderDenied,
    OrderOutcomeUnknown,
    Outcome,
    PermissionDenied,
    PostOnlyWouldCross,
    RateLimited,
    Throttled,
    VenueError,
)
from exchange_clients.model import (
    AccountState,
    FillKind,
    Lane,
    MarginMode,
    OrderIntent,
    OrderStatus,
    OrderType,
    PositionMode,
    Purpose,
    Side,
    TimeInForce,
)
from exchange_clients.okx import messages as m
from exchange_clients.okx.client.managers.websocket_handlers import OkxWebSocketHandlers
from exchange_clients.orders import Order
from exchange_clients.signing import Credentials
from exchange_simulator.core import types as core
from exchange_simulator.dialects.base import Lose, Reply, RequestFault
from tests.venues.okx.harness import INVERSE, INVERSE_ID, LINEAR, Bench, D, virtual, virtual_with

QUANTITY = D("0.01")


async def rest_order(client: Any, *, price: str = "49000", quantity: Decimal = QUANTITY, **more: Any) -> Any:
    result = await client.place_limit_order("BTC", quantity, D(price), "buy", wait_for="open", **more)
    assert result.success, result.error_message
    return result


# ---- the account's settings


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("account_mode", "1", "account mode 'spot'"),
        ("account_mode", "4", "portfolio margin.*reduce-only"),
        ("position_mode", "long_short_mode", "choose net_mode"),
        ("permissions", "read_only,trade,withdraw", "can withdraw"),
    ],
)
def test_an_account_that_does_not_fit_is_refused_with_one_clear_error(setting: str, value: str, words: str) -> None:
    @virtual
    async def main(bench: Bench) -> None:
        setattr(bench.keys, setting, value)
        client = bench.client()
        with pytest.raises(ConfigError, match=words):
            await client.connect()
        assert not client.is_connected
        assert not client.context.entries_allowed

    main()


@virtual
async def test_all_that_does_not_fit_is_told_at_once(bench: Bench) -> None:
    bench.keys.account_mode, bench.keys.position_mode = "1", "long_short_mode"
    with pytest.raises(ConfigError, match=r"account mode.*position mode"):
        await bench.client().connect()


@virtual
async def test_a_key_that_may_only_read_is_refused(bench: Bench) -> None:
    bench.keys.permissions = "read_only"
    with pytest.raises(PermissionDenied, match="may not trade"):
        await bench.client().connect()


@virtual
async def test_a_key_that_may_withdraw_needs_a_word(bench: Bench) -> None:
    bench.keys.permissions = "read_only,withdraw,trade"
    client = await bench.connected(venue_options={"allow_withdrawal_key": True})
    info = await client.get_key_info()
    assert (info.can_trade, info.can_withdraw, info.position_mode) == (True, True, PositionMode.ONE_WAY)
    with pytest.raises(ConfigError, match="no such venue option"):
        bench.client(venue_options={"nonsense": 1})


@virtual
async def test_margin_modes_tell_the_account_in_usd(bench: Bench) -> None:
    bench.keys.account_mode = "3"
    client = await bench.connected()
    state = await client.account_manager.fetch_account()
    assert (state.asset, state.equity, state.available) == ("USD", D(100_000), D(100_000))


@virtual_with(demo=True)
async def test_demo_trading_is_named_in_every_request(bench: Bench) -> None:
    client = await bench.connected(environment="demo")
    await rest_order(client)
    assert bench.dialect.received
    rest = [r for r in bench.dialect.received if r.kind.value == "http"]
    assert {r.headers.get("x-simulated-trading") for r in rest} == {"1"}
    with pytest.raises(PermissionDenied, match="environment"):
        await bench.client(environment="mainnet").instruments.load_all()


def test_demo_keys_have_variables_of_their_own() -> None:
    from exchange_clients.okx import SPEC

    given = {"OKX_DEMO_API_KEY": "a", "OKX_DEMO_API_SECRET": "b", "OKX_DEMO_API_PASSPHRASE": "c", "OKX_API_KEY": "wrong"}
    keys = Credentials.from_env(SPEC, "demo", environ=given)
    assert (keys["api_key"], keys["api_secret"], keys["passphrase"]) == ("a", "b", "c")
    assert SPEC.environments["demo"].ws["private"] == "wss://wspap.okx.com/ws/v5/private"
    assert "8443" not in str([*SPEC.environments["mainnet"].ws.values(), *SPEC.environments["demo"].ws.values()])


@virtual
async def test_a_wrong_passphrase_is_a_refused_login(bench: Bench) -> None:
    client = bench.client()
    client.context.signer._passphrase = "wrong"  # type: ignore[union-attr]
    with pytest.raises(BadSignature):
        await client.connect()


# ---- contracts


@virtual
async def test_sizes_travel_as_contracts(bench: Bench) -> None:
    """A contract is 0.01 BTC: 0.025 BTC are 2.5 of them."""
    client = await bench.connected()
    await rest_order(client, quantity=D("0.025"))
    (body,) = bench.bodies("/trade/order")
    assert (body["sz"], body["px"], body["tdMode"], body["ordType"], body["reduceOnly"]) == ("2.5", "49000", "cross", "limit", False)
    assert "posSide" not in body
    (shown,) = await client.get_active_orders("BTC")
    assert shown.size == D("0.025")


@virtual
async def test_an_inverse_market_counts_in_quote_and_earns_coin(bench: Bench) -> None:
    client = await bench.connected()
    instrument = client.instruments.get(INVERSE)
    assert (str(instrument.id), instrument.settle, instrument.contract_size, instrument.step_size) == (INVERSE_ID, "BTC", D(100), D(100))
    assert client.instruments.get("BTC").venue_symbol == LINEAR, "the alias is the linear one"
    fills: list[Any] = []
    client.context.hub.listen(("fills", None, ""), fills.append)
    result = await client.place_limit_order(INVERSE, D(5_049), D(50_001), "buy", time_in_force="IOC", wait_for="terminal")
    assert result.filled_size == D(5_000), "50 contracts of 100 USD, rounded down"
    assert bench.bodies("/trade/order")[-1]["sz"] == "50"
    assert bench.position(INVERSE) == 5_000
    bench.set_mark(62_500, INVERSE)
    snapshot = await client.get_position_snapshot(INVERSE)
    assert snapshot is not None
    assert (snapshot.quantity, snapshot.exposure_usd) == (D(5_000), D(5_000))
    assert snapshot.entry_price == pytest.approx(D(50_001), abs=D("0.0001"))
    assert snapshot.unrealized_pnl == pytest.approx(D(5_000) / 50_001 - D(5_000) / 62_500, abs=D("1e-8")), "in coin"
    (recorded,) = await client.get_user_trade_history(INVERSE, since_ns=0)
    assert recorded.fee_asset == "BTC"
    assert recorded.fee == pytest.approx(D("2.5") / 50_000, abs=D("1e-9"))
    await client.ws_manager.prepare_market_feed(instrument)
    book = client.ws_manager.get_order_book(instrument, 1)
    assert book.bids[0].size == D(100_000), "1,000 contracts"
    bid, _ = client.ws_manager.get_best_levels(instrument, D(100_001))
    assert bid is None, "no level is worth more than its size"
    ticker = await client.fetch_ticker(INVERSE)
    assert ticker.open_interest == D(5_000)
    assert ticker.volume_24h == pytest.approx(D(5_000), rel=D("0.001"))


@virtual
async def test_inverse_funding_is_paid_in_coin(bench: Bench) -> None:
    client = await bench.connected()
    await client.place_limit_order(INVERSE, D(5_000), D(50_001), "buy", time_in_force="IOC", wait_for="terminal")
    bench.exchange.set_funding_rate(bench.now(), INVERSE, core.to_fraction("0.0001"))
    opened = bench.now()
    await bench.runtime.clock.sleep_until_ns(bench.exchange.markets[INVERSE].next_funding_ns + 2 * 10**9)
    (payment,) = await client.get_funding_payments(INVERSE, since_ns=opened)
    assert (payment.asset, payment.amount) == ("BTC", -D("0.00001"))


# ---- commands on the socket


@virtual
async def test_commands_travel_over_the_private_socket_by_code(bench: Bench) -> None:
    client = await bench.connected(command_channel="ws")
    placed = await rest_order(client)
    (message,) = bench.messages("order")
    (row,) = message["args"]
    assert row["instIdCode"] == bench.dialect.code_of(LINEAR)
    assert "instId" not in row
    assert int(message["expTime"]) > bench.now() // 10**6
    await client.amend_order(placed.client_order_id, price=D(48_000), quantity=D("0.02"))
    intents = [
        OrderIntent(instrument=client.instruments.get("BTC").id, side=Side.BUY, quantity=QUANTITY, price=D(47_000 + n)) for n in range(3)
    ]
    results = await client.place_orders(intents)
    assert [r.success for r in results] == [True] * 3
    ended = await client.cancel_order(placed.client_order_id)
    assert ended.status is OrderStatus.CANCELED
    await client.cancel_all_orders()
    assert [m["op"] for m in bench.messages() if m["op"] not in ("login", "subscribe")] == [
        "order",
        "amend-order",
        "batch-orders",
        "cancel-order",
        "batch-cancel-orders",
    ]
    assert bench.bodies("/trade/order") == []
    assert bench.exchange.open_orders(bench.account.account) == []
    numbers = [m["id"] for m in bench.messages() if "id" in m]
    assert len(set(numbers)) == len(numbers)


@virtual
async def test_a_refusal_on_the_socket_is_the_venues_word(bench: Bench) -> None:
    client = await bench.connected(command_channel="ws")
    result = await client.place_limit_order("BTC", D(500), D(49_000), "buy")
    assert isinstance(result.error, InsufficientMargin)
    assert (result.success, result.outcome) == (False, "refused")


@virtual
async def test_an_answer_lost_on_the_socket_is_unknown_and_found(bench: Bench) -> None:
    client = await bench.connected(command_channel="ws")
    bench.faults.request = lambda r: RequestFault(lose=Lose.REPLY) if b'"op":"order"' in r.body else None
    with pytest.raises(OrderOutcomeUnknown) as caught:
        await client.place_limit_order("BTC", QUANTITY, D(49_000), "buy")
    bench.faults.request = lambda r: None
    info = await client.get_order_info(caught.value.client_order_id, force_refresh=True)
    assert info is not None
    assert info.status is OrderStatus.OPEN


@virtual
async def test_trigger_orders_go_by_request_also_when_orders_use_the_socket(bench: Bench) -> None:
    client = await bench.connected(command_channel="ws")
    await client.place_limit_order("BTC", QUANTITY, D(50_001), "buy", time_in_force="IOC", wait_for="terminal")
    result = await client.place_trigger_order("BTC", QUANTITY, D(49_000), "sell", OrderType.STOP_MARKET, wait_for="open")
    assert result.success
    (body,) = bench.bodies("/trade/order-algo")
    assert {k: body[k] for k in ("ordType", "slTriggerPx", "slOrdPx", "slTriggerPxType", "sz", "reduceOnly")} == {
        "ordType": "conditional",
        "slTriggerPx": "49000",
        "slOrdPx": "-1",
        "slTriggerPxType": "mark",
        "sz": "1",
        "reduceOnly": True,
    }


# ---- what the venue says later


@virtual
async def test_a_post_only_order_that_would_take_is_accepted_and_then_refused(bench: Bench) -> None:
    client = await bench.connected()
    result = await client.place_limit_order("BTC", QUANTITY, D(50_100), "buy", post_only=True, wait_for="terminal")
    assert (result.status, result.filled_size) == (OrderStatus.REJECTED, D(0))
    assert result.error_message == "post-only order would have taken liquidity"
    assert isinstance(result.error, PostOnlyWouldCross)
    assert bench.position() == 0


@virtual
async def test_an_amend_that_fails_later_leaves_the_order_as_it_was(bench: Bench) -> None:
    client = await bench.connected()
    bench.dialect.trading.late_amends = True
    placed = await rest_order(client)
    with pytest.raises(InsufficientMargin):
        await client.amend_order(placed.client_order_id, quantity=D(1_000))
    (shown,) = await client.get_active_orders("BTC")
    assert (shown.price, shown.size) == (D(49_000), QUANTITY)
    await client.amend_order(placed.client_order_id, quantity=D("0.02"))
    (shown,) = await client.get_active_orders("BTC")
    assert (shown.price, shown.size) == (D(49_000), D("0.02"))


@virtual
async def test_an_amend_whose_end_the_stream_never_tells_is_asked_about(bench: Bench) -> None:
    client = await bench.connected()
    placed = await rest_order(client)
    bench.faults.push = lambda channel, payload: [] if b'"amendResult":"0"' in payload else None
    amended = await client.amend_order(placed.client_order_id, price=D(48_500))
    assert amended.price == D(48_500)


@virtual
async def test_a_released_trigger_order_goes_on_under_its_client_id(bench: Bench) -> None:
    """It has another venue id then; the fill names the new one, the cancel too."""
    client = await bench.connected()
    await client.place_limit_order("BTC", D("0.02"), D(50_001), "buy", time_in_force="IOC", wait_for="terminal")
    result = await client.place_trigger_order("BTC", D("0.02"), D(49_000), "sell", OrderType.STOP_LIMIT, price=D(52_000), wait_for="open")
    assert result.client_order_id is not None
    waiting = await client.get_order_info(result.client_order_id, force_refresh=True)
    assert waiting is not None
    assert (waiting.status, waiting.order_type) == (OrderStatus.PENDING, OrderType.STOP_LIMIT)
    bench.set_mark(48_900)
    released = await client.await_order_update(result.client_order_id, 5)
    assert released is not None
    assert (released.status, released.order_id != waiting.order_id) == (OrderStatus.OPEN, True)
    assert [o.order_id for o in await client.get_active_orders()] == [released.order_id]
    ended = await client.cancel_order(result.client_order_id)
    assert ended.status is OrderStatus.CANCELED
    assert bench.bodies("/trade/cancel-order")[-1]["ordId"] == released.order_id


@virtual
async def test_a_late_stop_is_refused_and_never_waits_for_the_way_back(bench: Bench) -> None:
    """The price is there already: a plain trigger would now wait for it from the other side."""
    client = await bench.connected()
    await client.place_limit_order("BTC", QUANTITY, D(50_001), "buy", time_in_force="IOC", wait_for="terminal")
    bench.set_mark(48_900)
    result = await client.place_trigger_order("BTC", QUANTITY, D(49_000), "sell", OrderType.STOP_MARKET)
    assert result.success is False
    assert bench.exchange.open_orders(bench.account.account) == []


@virtual
async def test_orders_and_trigger_orders_are_canceled_together(bench: Bench) -> None:
    client = await bench.connected()
    await client.place_limit_order("BTC", D("0.02"), D(50_001), "buy", time_in_force="IOC", wait_for="terminal")
    for price in (48_000, 48_500):
        await rest_order(client, price=str(price))
        result = await client.place_trigger_order("BTC", QUANTITY, D(price), "sell", OrderType.STOP_MARKET, wait_for="open")
        assert result.success
    ended = await client.cancel_all_orders()
    assert [e.status for e in ended] == [OrderStatus.CANCELED] * 4
    assert bench.exchange.open_orders(bench.account.account) == []


@virtual
async def test_a_batch_with_a_trigger_order_goes_one_by_one(bench: Bench) -> None:
    client = await bench.connected()
    await client.place_limit_order("BTC", D("0.02"), D(50_001), "buy", time_in_force="IOC", wait_for="terminal")
    btc = client.instruments.get("BTC").id
    stop = OrderIntent(
        instrument=btc,
        side=Side.SELL,
        quantity=QUANTITY,
        price=D(45_000),
        order_type=OrderType.STOP_MARKET,
        reduce_only=True,
        trigger_price=D(48_000),
        purpose=Purpose.CLOSE,
    )
    results = await client.place_orders([OrderIntent(instrument=btc, side=Side.BUY, quantity=QUANTITY, price=D(47_000)), stop])
    assert [r.success for r in results] == [True, True]
    assert {o.status for o in await client.get_active_orders()} == {OrderStatus.OPEN, OrderStatus.PENDING}


@virtual
async def test_an_adl_is_told_as_such(bench: Bench) -> None:
    client = await bench.connected()
    heard: list[Any] = []
    client.context.hub.listen(("fills", None, ""), heard.append)
    await client.place_limit_order("BTC", D("0.02"), D(50_001), "buy", time_in_force="IOC", wait_for="terminal")
    bench.exchange.deleverage(bench.now(), bench.account.account, LINEAR, 500)
    await bench.until(lambda: len(heard) == 2)
    assert heard[1].kind is FillKind.ADL
    assert heard[1].quantity == D("0.005")
    records = await client.get_user_trade_history(since_ns=0)
    assert [f.kind for f in records] == [FillKind.TRADE, FillKind.ADL]


# ---- what the venue forgets


@virtual
async def test_an_unfilled_order_is_forgotten_two_hours_after_its_cancel(bench: Bench) -> None:
    client = await bench.connected()
    placed = await rest_order(client)
    await client.cancel_order(placed.client_order_id)
    instrument = client.instruments.get("BTC")
    known = await client.order_manager.fetch_order(instrument, client_order_id=placed.client_order_id)
    assert known is not None
    await bench.runtime.clock.sleep(2 * 3600 + 60)
    assert await client.order_manager.fetch_order(instrument, client_order_id=placed.client_order_id) is None
    info = await client.get_order_info(placed.client_order_id)
    assert info is not None
    assert info.status is OrderStatus.CANCELED, "what was proven stays"


@virtual
async def test_an_order_is_found_without_its_market(bench: Bench) -> None:
    first = await bench.connected()
    placed = await rest_order(first)
    second = await bench.connected()
    assert placed.order_id is not None
    found = await second.order_manager.fetch_order(None, order_id=placed.order_id)
    assert found is not None
    assert found.client_order_id == placed.client_order_id
    assert await second.order_manager.fetch_order(None, order_id="123") is None


# ---- limits


@virtual
async def test_each_market_has_a_limit_of_its_own(bench: Bench) -> None:
    """60 orders in two seconds per market; the venue never has to say no, and one market does not wait for another."""
    client = await bench.connected()
    limiter = client.context.limiter
    await limiter.acquire({f"order/{LINEAR}": 60}, Lane.UNWIND, timeout_s=0)
    before = bench.runtime.clock.monotonic()
    other = await client.place_limit_order(INVERSE, D(100), D(49_000), "buy")
    assert other.success
    assert bench.runtime.clock.monotonic() - before < 0.5
    assert (await client.place_limit_order("BTC", QUANTITY, D(49_000), "buy")).success
    assert bench.runtime.clock.monotonic() - before >= 1.9


@virtual
async def test_a_burst_of_orders_is_held_to_the_limit(bench: Bench) -> None:
    client = await bench.connected()
    prices = [D(40_000 + n) for n in range(90)]
    results = await asyncio.gather(*(client.place_limit_order("BTC", QUANTITY, p, "buy", purpose=Purpose.HEDGE) for p in prices))
    assert all(r.success for r in results)
    assert len(bench.exchange.open_orders(bench.account.account)) == 90


@virtual
async def test_the_venues_no_is_a_limit_and_slows_us(bench: Bench) -> None:
    client = await bench.connected()
    bench.faults.request = lambda r: RequestFault(status=429) if r.path.endswith("/market/books") else None
    with pytest.raises(RateLimited):
        await client.market_data.fetch_book(client.instruments.get("BTC"))


@virtual
async def test_too_much_for_the_sub_account_is_held_back(bench: Bench) -> None:
    client = await bench.connected()
    await client.context.limiter.acquire({"sub_account": 1000}, Lane.UNWIND, timeout_s=0)
    with pytest.raises(Throttled):
        await client.context.limiter.acquire({"sub_account": 1}, Lane.UNWIND, timeout_s=1.0)


@virtual
async def test_many_topics_cost_few_of_the_480_operations(bench: Bench) -> None:
    client = await bench.connected(signed=False)
    for stream in (client.watch_trades, client.watch_mark, client.watch_funding, client.watch_bbo, client.watch_book):
        stream("BTC")
        stream(INVERSE)
    await bench.until(lambda: client.ws_manager.subscription_count == 10)
    bench.dialect.received.clear()
    for session in list(bench.dialect.sessions.values()):
        session.drop()
    await bench.until(lambda: client.ws_manager.subscription_count == 0)
    await bench.until(lambda: client.ws_manager.subscription_count == 10)
    (message,) = bench.messages("subscribe")
    assert len(message["args"]) == 10


@virtual
async def test_a_book_that_keeps_breaking_is_subscribed_at_most_every_ten_seconds(bench: Bench) -> None:
    client = await bench.connected(signed=False)
    instrument = client.instruments.get("BTC")
    await client.ws_manager.prepare_market_feed(instrument)

    def cut(channel: str, payload: bytes) -> Any:
        message = json.loads(payload)
        if message.get("action") != "update":
            return None
        message["data"][0]["prevSeqId"] -= 1
        return [(0.0, json.dumps(message).encode())]

    bench.faults.push = cut
    bench.dialect.received.clear()
    for n in range(600):
        bench.exchange.set_level(bench.now(), LINEAR, core.Side.BUY, 499_990, 100_000 + n)
        await bench.runtime.clock.sleep(0.2)
    tries = len(bench.messages("subscribe"))
    assert 8 <= tries <= 14, f"{tries} subscriptions in two minutes"
    bench.faults.push = lambda channel, payload: None
    await bench.until(lambda: client.ws_manager.order_book_ready(instrument))


# ---- books


@virtual
async def test_numbers_that_fall_after_maintenance_are_followed(bench: Bench) -> None:
    client = await bench.connected(signed=False)
    instrument = client.instruments.get("BTC")
    await client.ws_manager.prepare_market_feed(instrument)
    bench.dialect.restart_numbers(LINEAR)
    bench.exchange.set_level(bench.now(), LINEAR, core.Side.BUY, 500_000, 7_000)
    await bench.until(lambda: client.ws_manager.get_order_book(instrument, 1).bids[0].price == D(50_000))
    assert len(bench.messages("subscribe")) <= 2, "no resubscription"


@virtual
async def test_a_quiet_book_stays_ready(bench: Bench) -> None:
    client = await bench.connected(signed=False)
    instrument = client.instruments.get("BTC")
    await client.ws_manager.prepare_market_feed(instrument)
    before = client.ws_manager.get_order_book(instrument).sequence
    await bench.runtime.clock.sleep(65)
    assert client.ws_manager.get_order_book(instrument).sequence == before


@virtual_with(snapshots=False)
async def test_without_a_snapshot_by_stream_it_is_asked_for(bench: Bench) -> None:
    client = await bench.connected(signed=False)
    instrument = client.instruments.get("BTC")
    client.watch_book("BTC")
    for n in range(200):
        bench.exchange.set_level(bench.now(), LINEAR, core.Side.BUY, 499_990, 100_000 + n)
        await bench.runtime.clock.sleep(0.15)
        if client.ws_manager.order_book_ready(instrument):
            break
    assert client.ws_manager.order_book_ready(instrument)
    bench.exchange.set_level(bench.now(), LINEAR, core.Side.BUY, 500_000, 7_000)
    await bench.until(lambda: client.ws_manager.get_order_book(instrument, 1).bids[0].price == D(50_000))
    assert client.ws_manager.get_order_book(instrument, 1).bids[0].size == D("0.07")


@virtual
async def test_one_empty_side_ends_the_best_prices(bench: Bench) -> None:
    client = await bench.connected(signed=False)
    instrument = client.instruments.get("BTC")
    await client.ws_manager.prepare_market_feed(instrument)
    await bench.until(lambda: client.ws_manager.get_latest_bbo(instrument) is not None)
    for n in range(1, 11):
        bench.exchange.set_level(bench.now(), LINEAR, core.Side.SELL, 10 * (50_000 + n), 0)
    await bench.until(lambda: client.ws_manager.get_latest_bbo(instrument) is None)


# ---- sockets


@virtual
async def test_sockets_are_opened_when_something_is_wanted(bench: Bench) -> None:
    """The venue closes one on which nobody subscribes for half a minute."""
    client = await bench.connected(signed=False)
    assert client.is_connected
    await bench.runtime.clock.sleep(60)
    assert bench.dialect.sessions == {}
    client.watch_candles("BTC", "1h")
    await bench.until(lambda: client.ws_manager.subscription_count == 1)
    (session,) = bench.dialect.sessions.values()
    assert (session.path, list(session.subscriptions)) == ("/ws/v5/business", [f"candle1H:{LINEAR}"])
    with pytest.raises(ConfigError, match="no candles"):
        client.watch_candles("BTC", "7m")


@virtual
async def test_an_upgrade_notice_moves_the_connection(bench: Bench) -> None:
    client = await bench.connected()
    for session in list(bench.dialect.sessions.values()):
        session.send(
            {"event": "notice", "code": "64008", "msg": "The connection will soon be closed for a service upgrade.", "connId": "x"}
        )
    await bench.until(lambda: not client.context.entries_allowed)
    await bench.until(lambda: client.context.entries_allowed, 60)
    await rest_order(client)


@virtual
async def test_a_channel_that_the_venue_refuses_is_told(bench: Bench) -> None:
    client = await bench.connected(signed=False)
    bench.dialect._codes.clear()
    instrument = client.instruments.get("BTC")
    topic = client.ws_manager.dialect.topic  # the market ends between our table and the subscription
    del bench.exchange.markets[LINEAR]
    client.watch_trades("BTC")
    wanted = topic(next(iter(client.spec.streams)).TRADES, instrument)
    await bench.until(lambda: client.ws_manager.registry.refusal(wanted) is not None)
    assert "60018" in str(client.ws_manager.registry.refusal(wanted))


@virtual
async def test_the_switch_takes_ten_seconds_to_two_minutes(bench: Bench) -> None:
    client = await bench.connected()
    for seconds in (5, 121):
        with pytest.raises(OrderDenied, match="10 to 120"):
            await client.arm_dead_man_switch(seconds)
    await client.arm_dead_man_switch(30)
    assert bench.bodies("/trade/cancel-all-after") == [{"timeOut": "30"}]


@virtual
async def test_client_ids_are_letters_and_digits(bench: Bench) -> None:
    client = await bench.connected()
    with pytest.raises(OrderDenied, match="letters and digits"):
        await client.place_limit_order("BTC", QUANTITY, D(49_000), "buy", client_order_id="with-dash")
    assert client.new_client_order_id().isalnum()


@virtual
async def test_an_order_held_up_on_the_way_is_void(bench: Bench) -> None:
    """expTime: what arrives later than five seconds after signing is not taken."""
    client = await bench.connected(command_timeout_s=20.0)
    bench.faults.request = lambda r: RequestFault(before_s=6.0) if r.path.endswith("/trade/order") and r.method == "POST" else None
    result = await client.place_limit_order("BTC", QUANTITY, D(49_000), "buy")
    assert (result.success, result.outcome) == (False, "refused")
    assert bench.exchange.open_orders(bench.account.account) == []


# ---- what a review found


@virtual
async def test_an_isolated_position_is_refused_at_the_start_and_never_taken_for_the_cross_one(bench: Bench) -> None:
    """Both can be held in one market; no cross order closes the isolated one."""
    client = await bench.connected()
    await client.place_limit_order("BTC", QUANTITY, D(50_001), "buy", time_in_force="IOC", wait_for="terminal")
    honest = bench.dialect._answer

    async def answer(route: Any, request: Any) -> Reply:
        reply = await honest(route, request)
        if not request.path.endswith("/account/positions"):
            return reply
        body = json.loads(reply.encoded())
        body["data"].append({**body["data"][0], "mgnMode": "isolated", "pos": size})
        return Reply(body, reply.status, reply.headers)

    bench.dialect._answer = answer  # type: ignore[method-assign, assignment]
    told: list[Any] = []
    client.ws_manager.position = told.append  # type: ignore[method-assign, assignment]
    for size in ("0", "700"):
        (held,) = await client.get_open_positions()
        assert held.quantity == QUANTITY
        push = m.PositionsPush(m.Arg("positions"), [m.PositionRow(instId=LINEAR, pos=size, posSide="net", mgnMode="isolated")])
        OkxWebSocketHandlers(client.ws_manager).positions("private", push, bench.now())
    assert {position.margin_mode for position in told} <= {MarginMode.CROSS}
    with pytest.raises(ConfigError, match="isolated position is open"):
        await client.account_manager.verify_credentials()


@virtual
async def test_trigger_orders_carry_no_end_and_are_looked_for_until_their_request_has_expired(bench: Bench) -> None:
    client = await bench.connected()
    await client.place_limit_order("BTC", QUANTITY, D(50_001), "buy", time_in_force="IOC", wait_for="terminal")
    await client.place_trigger_order("BTC", QUANTITY, D(49_000), "sell", OrderType.STOP_MARKET, wait_for="open")
    (algo,) = bench.dialect.requests("/api/v5/trade/order-algo")
    assert "expTime" not in algo.headers
    assert client.context.spec.capabilities.lookup_grace_s >= 30 + 5


@virtual
async def test_an_exit_whose_bound_is_outside_the_price_band_is_moved_into_it(bench: Bench) -> None:
    client = await bench.connected()
    bench.exchange.change_market(bench.now(), replace(bench.exchange.markets[LINEAR].spec, price_band=core.to_fraction("0.001")))
    bought = await client.place_limit_order("BTC", QUANTITY, D(52_000), "buy", time_in_force="IOC", wait_for="terminal")
    sold = await client.place_limit_order("BTC", QUANTITY, D(48_000), "sell", time_in_force="IOC", wait_for="terminal", reduce_only=True)
    assert (bought.success, sold.success, bench.position()) == (True, True, D(0))
    assert [body["pxAmendType"] for body in bench.bodies("/trade/order")] == ["1", "1"]
    resting = await client.place_limit_order("BTC", QUANTITY, D(48_000), "buy")
    assert not resting.success, "only what ends at once may be moved"


@virtual
async def test_an_order_that_the_venue_has_forgotten_was_canceled(bench: Bench) -> None:
    """Unfilled canceled orders are gone after two hours; one canceled while nobody listened must not stay open here for ever."""
    client = await bench.connected()
    result = await rest_order(client)
    honest = bench.dialect._answer

    async def answer(route: Any, request: Any) -> Reply:
        if request.method == "GET" and request.path.endswith(("/trade/order", "/trade/order-algo")):
            return Reply({"code": "51603", "msg": "Order does not exist", "data": []})
        reply: Reply = await honest(route, request)
        if request.path.endswith("/trade/orders-pending") and gone:
            return Reply({"code": "0", "msg": "", "data": []})
        return reply

    bench.dialect._answer = answer  # type: ignore[method-assign, assignment]
    gone, asked = True, client.order_manager.fetch_order
    btc = client.instruments.get("BTC")
    assert await asked(btc, order_id=result.order_id) is None, "it may still be on its way"
    order = client.context.tracker.find(result.order_id)
    assert order is not None
    order.updated_ns -= 3 * 3_600 * 10**9
    gone = False
    found = await asked(btc, order_id=result.order_id)
    assert found is not None
    assert found.status is OrderStatus.OPEN
    gone = True
    found = await asked(btc, order_id=result.order_id)
    assert found is not None
    assert (found.status, found.filled_size) == (OrderStatus.CANCELED, D(0))


@virtual
async def test_a_row_without_a_code_proves_nothing(bench: Bench) -> None:
    client = await bench.connected()
    order = Order("a1", OrderIntent(instrument=client.instruments.get("BTC").id, side=Side.BUY, quantity=QUANTITY, price=D(1)), 0)
    outcome = client.order_manager.decode_place_many(m.Acks(code="0", data=[m.Ack()]), [order])[0]
    assert isinstance(outcome, VenueError)
    assert outcome.outcome is Outcome.UNKNOWN
    with pytest.raises(DecodeError):
        client.order_manager.decode_cancel(m.Acks(code="0", data=[m.Ack()]), order)


@virtual
async def test_a_message_of_another_currency_does_not_empty_the_account(bench: Bench) -> None:
    client = await bench.connected()
    before = await client.get_account_balance()
    push = m.AccountPush(m.Arg("account"), [m.Balance(details=[m.BalanceDetail(ccy="BTC", eq="1")], totalEq="60000")])
    told: list[Any] = []
    client.ws_manager.account = told.append  # type: ignore[method-assign, assignment]
    OkxWebSocketHandlers(client.ws_manager).account("private", push, bench.now())
    assert told == []
    assert await client.get_account_balance() == before


@virtual
async def test_inverse_trades_never_tell_an_empty_account(bench: Bench) -> None:
    client = await bench.connected()
    told = client.watch_account()
    await client.place_limit_order(INVERSE, D(5_000), D(50_001), "buy", time_in_force="IOC", wait_for="terminal")
    await bench.runtime.clock.sleep(2)
    told.close()
    equities = [state.equity async for state in told if isinstance(state, AccountState)]
    assert equities
    assert all(equity is not None and equity > 99_000 for equity in equities)


@virtual
async def test_a_market_order_with_a_worst_price_never_rests(bench: Bench) -> None:
    client = await bench.connected()
    btc = client.instruments.get("BTC").id
    for lasts in (TimeInForce.IOC, TimeInForce.GTC):
        await client.order_manager.place(
            OrderIntent(instrument=btc, side=Side.BUY, quantity=QUANTITY, price=D(49_000), order_type=OrderType.MARKET, time_in_force=lasts)
        )
    assert bench.exchange.open_orders(bench.account.account) == []
    assert {(body["ordType"], body["px"]) for body in bench.bodies("/trade/order")} == {("ioc", "49000")}


@virtual
async def test_trigger_orders_are_canceled_also_when_the_cancel_of_the_orders_fails(bench: Bench) -> None:
    client = await bench.connected()
    await client.place_limit_order("BTC", QUANTITY, D(50_001), "buy", time_in_force="IOC", wait_for="terminal")
    await rest_order(client)
    await client.place_trigger_order("BTC", QUANTITY, D(49_000), "sell", OrderType.STOP_MARKET, wait_for="open")
    bench.faults.request = lambda r: (
        RequestFault(status=400, body=b'{"code":"50014","msg":"no","data":[]}') if r.path.endswith("/cancel-order") else None
    )
    await client.cancel_all_orders()
    assert [order.request.type for order in bench.exchange.open_orders(bench.account.account)] == [core.OrderType.LIMIT]
