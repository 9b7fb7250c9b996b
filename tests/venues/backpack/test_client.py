"""What is true of this client and of no other, against the dialect: silence as a yes, queued cancels, a history that is asked sparingly."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from decimal import Decimal as D
from typing import Any

import msgspec
import pytest

from exchange_clients.backpack import BackpackFundingAdapter
from exchange_clients.errors import (
    ConfigError,
    InvalidOrder,
    NonceError,
    NotReady,
    OrderDenied,
    OrderOutcomeUnknown,
    Outcome,
    PermissionDenied,
    SubscriptionRefused,
    Throttled,
    UnsupportedCapability,
)
from exchange_clients.model import (
    NS_PER_HOUR,
    NS_PER_S,
    Fill,
    KeyInfo,
    MarketStatus,
    OrderInfo,
    OrderIntent,
    OrderStatus,
    OrderType,
    PositionMode,
    Purpose,
    Side,
    TimeInForce,
)
from exchange_clients.spec import Stream
from exchange_simulator.conformance.bench import buffered
from exchange_simulator.core import types as core
from exchange_simulator.core.types import PostOnly
from exchange_simulator.dialects.base import Lose, Received, RequestFault
from exchange_simulator.dialects.history import PastFunding
from tests.venues.backpack.harness import BONK, BTC, NVDA, Bench, symbol, virtual

HISTORY = "/wapi/v1/history/orders"
STOP, TAKE = OrderType.STOP_MARKET, OrderType.TAKE_PROFIT_MARKET


def intent(bench: Bench, client: Any, side: Side, quantity: str, price: str, kind: OrderType = OrderType.LIMIT, **more: Any) -> OrderIntent:
    market = client.instruments.get(BTC).id
    return OrderIntent(instrument=market, side=side, quantity=D(quantity), price=D(price), order_type=kind, **more)


# ---- keys


@virtual
async def test_a_key_that_the_venue_does_not_know_is_refused_at_the_start(bench: Bench) -> None:
    bench.dialect.owners.clear()
    with pytest.raises(PermissionDenied):
        await bench.client().connect()


@virtual
async def test_a_late_request_is_refused_and_proves_that_nothing_happened(bench: Bench) -> None:
    client = await bench.connected()
    bench.faults.request = lambda r: RequestFault(before_s=9.0) if r.method == "POST" else None
    result = await client.place_limit_order(BTC, D("0.01"), D(49_000), "buy")
    assert (result.success, result.outcome) == (False, "refused")
    assert isinstance(result.error, NonceError)
    assert not bench.exchange.open_orders(bench.account.account)


@virtual
async def test_a_time_that_the_venue_refuses_has_its_clock_measured_soon(bench: Bench) -> None:
    client = await bench.connected()
    for method in ("GET", "POST"):
        measured = len(bench.asked("/api/v1/time"))
        bench.faults.request = lambda r, m=method: RequestFault(before_s=9.0) if (r.method, r.path) == (m, "/api/v1/order") else None  # type: ignore[misc]
        if method == "GET":
            with pytest.raises(NonceError):
                await client.get_order_info("123", contract_id=BTC)
        else:
            await client.place_limit_order(BTC, D("0.01"), D(49_000), "buy")
        await bench.sleep(10)
        assert len(bench.asked("/api/v1/time")) == measured + 1


@virtual
async def test_a_clock_that_cannot_be_measured_keeps_no_order_unproven(bench: Bench) -> None:
    client = await bench.connected()
    bench.faults.push = lambda channel, payload: [] if channel.startswith("account.") else None
    bench.faults.request = lambda r: RequestFault(status=503) if r.path == "/api/v1/time" else None
    await bench.sleep(700)
    bench.faults.request = lambda r: (
        RequestFault(status=503) if r.path == "/api/v1/time" else RequestFault(lose=Lose.REPLY) if r.method == "POST" else None
    )
    with pytest.raises(OrderOutcomeUnknown) as caught:
        await client.place_limit_order(BTC, D("0.01"), D(49_000), "buy")
    await bench.sleep(30)
    order = client.context.tracker.find(caught.value.client_order_id)
    assert order is not None
    assert order.status is OrderStatus.OPEN


# ---- what is sent


@virtual
async def test_reduce_only_is_sent_whenever_it_is_asked_for(bench: Bench) -> None:
    client = await bench.connected()
    await client.place_limit_order(BTC, D("0.01"), D(50_050), "buy", time_in_force="IOC", wait_for="terminal")
    await client.place_limit_order(BTC, D("0.01"), D(52_000), "sell", True, wait_for="open")
    await client.place_market_order(BTC, D("0.004"), "sell", True, wait_for="terminal")
    await client.place_trigger_order(BTC, D("0.003"), D(48_000), "sell", STOP, wait_for="open")
    intents = [intent(bench, client, Side.SELL, "0.001", "53000", reduce_only=True, purpose=Purpose.CLOSE)] * 2
    await client.place_orders(intents)
    bodies = [r.json() for r in bench.asked("/api/v1/order", "POST")[1:]] + bench.asked("/api/v1/orders", "POST")[0].json()
    assert [body.get("reduceOnly") for body in bodies] == [True] * 5


@virtual
async def test_the_shape_of_an_order(bench: Bench) -> None:
    client = await bench.connected()
    await client.place_limit_order(BTC, D("0.0100"), D("49000.0"), "buy", post_only=True, client_order_id="7", wait_for="open")
    (sent,) = bench.asked("/api/v1/order", "POST")
    assert sent.json() == {
        "clientId": 7,
        "orderType": "Limit",
        "postOnly": True,
        "price": "49000",
        "quantity": "0.01",
        "side": "Bid",
        "symbol": "BTC_USDC_PERP",
        "timeInForce": "GTC",
    }
    assert sent.headers["Content-Type"] == "application/json; charset=utf-8"
    (order,) = bench.exchange.open_orders(bench.account.account)
    assert (order.client_id, order.request.post_only) == ("7", PostOnly.REJECT)


@virtual
async def test_a_market_intent_goes_out_with_its_worst_price(bench: Bench) -> None:
    client = await bench.connected()
    market = [
        intent(bench, client, Side.BUY, "0.01", "50000", OrderType.MARKET, time_in_force=t) for t in (TimeInForce.GTC, TimeInForce.FOK)
    ]
    await client.order_manager.place(market[0])
    await client.order_manager.place_many(market)
    bodies = [bench.asked("/api/v1/order", "POST")[0].json(), *bench.asked("/api/v1/orders", "POST")[0].json()]
    assert [(sent["orderType"], sent["price"], sent["timeInForce"]) for sent in bodies] == [
        ("Limit", "50000", "IOC"),
        ("Limit", "50000", "IOC"),
        ("Limit", "50000", "FOK"),
    ]
    assert not bench.exchange.open_orders(bench.account.account)


@pytest.mark.parametrize("client_id", ["4294967296", "-1", "0x1", "1763164800000", "007", "abc", "\uff11"])
def test_a_client_id_that_is_no_32_bit_number_is_denied(client_id: str) -> None:
    @virtual
    async def main(bench: Bench) -> None:
        client = await bench.connected()
        with pytest.raises(OrderDenied, match="whole number"):
            await client.place_limit_order(BTC, D("0.01"), D(49_000), "buy", client_order_id=client_id)
        assert not bench.asked("/api/v1/order", "POST")

    main()


@virtual
async def test_kilo_markets_are_traded_in_tokens(bench: Bench) -> None:
    client = await bench.connected()
    placed = await client.place_limit_order(BONK, D(5_000), D("0.000019"), "buy", wait_for="open")
    sent = bench.asked("/api/v1/order", "POST")[0].json()
    assert (sent["symbol"], sent["quantity"], sent["price"]) == ("kBONK_USDC_PERP", "5", "0.019")
    assert (placed.size, placed.price) == (D(5_000), D("0.000019"))
    taken = await client.place_limit_order(BONK, D(7_000), D("0.000021"), "buy", time_in_force="IOC", wait_for="terminal")
    assert (taken.filled_size, taken.average_price) == (D(7_000), D("0.00002002"))
    (position,) = await client.get_open_positions()
    assert (position.symbol, position.quantity, position.entry_price) == ("BONK", D(7_000), D("0.00002002"))
    (fill,) = await client.get_user_trade_history(BONK, since_ns=0)
    assert (fill.quantity, fill.price) == (D(7_000), D("0.00002002"))
    await client.ws_manager.prepare_market_feed(client.instruments.get(BONK))
    book = client.ws_manager.get_order_book(client.instruments.get(BONK), 1)
    assert (book.asks[0].price, book.asks[0].size) == (D("0.00002002"), D(99_993_000))


@virtual
async def test_a_market_with_a_dot_in_its_name_streams_and_trades(bench: Bench) -> None:
    client = await bench.connected()
    nvda = client.instruments.get(NVDA)
    assert str(nvda.id) == "NVDA.US-USDC-PERP.backpack"
    heard = {stream: buffered(client.ws_manager.watch(stream, nvda)) for stream in (Stream.TRADES, Stream.MARK, Stream.BBO)}
    await client.ws_manager.prepare_market_feed(nvda)
    result = await client.place_limit_order(NVDA, D(1), D("180.50"), "buy", time_in_force="IOC", wait_for="terminal")
    assert result.filled_size == 1
    bench.set_mark(181, NVDA)
    await bench.sleep(2)
    assert all(heard.values()), {stream: len(events) for stream, events in heard.items()}


# ---- answers


@virtual
async def test_a_reduce_only_order_without_a_position_ends_with_its_reason(bench: Bench) -> None:
    """The answer says that it expired, the stream why; the history does where the stream is silent."""
    client = await bench.connected()
    result = await client.place_limit_order(BTC, D("0.01"), D(49_900), "sell", True, time_in_force="IOC", wait_for="terminal")
    assert (result.status, result.filled_size, result.error_message) == (OrderStatus.REJECTED, D(0), "ReduceOnlyNotReduced")
    assert not bench.asked(HISTORY)[1:], "the start asked once; the stream told the rest"
    bench.faults.push = lambda channel, payload: [] if channel.startswith("account.orderUpdate") else None
    silent = await client.place_limit_order(BTC, D("0.01"), D(49_900), "sell", True, time_in_force="IOC", wait_for="terminal")
    assert (silent.status, silent.error_message) == (OrderStatus.REJECTED, "ReduceOnlyNotReduced")
    assert len(bench.asked(HISTORY)) == 2


@virtual
async def test_post_only_may_also_end_later_as_taker(bench: Bench) -> None:
    """Refused by HTTP 400 as a rule; where it comes as Expired/PostOnlyTaker on the stream it is refused just the same."""
    client = await bench.connected()
    row: dict[str, Any] = {}

    def expired(received: Any) -> RequestFault | None:
        if received.method != "POST":
            return None
        body = received.json()
        row.update(body)
        answer = {"id": "77", **body, "status": "Expired", "executedQuantity": "0", "executedQuoteQuantity": "0", "createdAt": 1}
        return RequestFault(status=200, body=json.dumps(answer).encode())

    bench.faults.request = expired
    placed = await client.place_limit_order(BTC, D("0.01"), D(51_000), "buy", post_only=True)
    assert (placed.success, placed.status) == (True, OrderStatus.SUBMITTED), "not proven either way yet"
    event = {
        "e": "orderExpired",
        "s": symbol(BTC),
        "i": "77",
        "c": row["clientId"],
        "S": "Bid",
        "X": "Expired",
        "R": "PostOnlyTaker",
        "T": 1,
    }
    client.ws_manager.handler.feed("public", json.dumps({"stream": "account.orderUpdate", "data": event}), bench.now())
    info = await client.get_order_info(str(row["clientId"]))
    assert info is not None
    assert (info.status, info.cancel_reason) == (OrderStatus.REJECTED, "PostOnlyTaker")


@virtual
async def test_one_bad_order_of_a_batch_is_refused_in_its_own_words(bench: Bench) -> None:
    client = await bench.connected()
    intents = [
        intent(bench, client, Side.BUY, "0.01", "49000"),
        intent(bench, client, Side.BUY, "0.01", "30000"),
        intent(bench, client, Side.SELL, "0.01", "51000", post_only=True),
    ]
    first, second, third = await client.place_orders(intents)
    assert (first.success, third.success) == (True, True)
    assert (second.success, second.outcome) == (False, "refused")
    assert "too far from the last active price" in (second.error_message or "")
    assert len(bench.asked("/api/v1/orders", "POST")) == 1


@virtual
async def test_an_empty_answer_to_a_placement_proves_nothing(bench: Bench) -> None:
    """As a 202 would be, which no document promises here: unknown, until the stream or a query tells."""
    client = await bench.connected()
    bench.faults.request = lambda r: RequestFault(status=202, body=b"") if r.method == "POST" else None
    with pytest.raises(OrderOutcomeUnknown):
        await client.place_limit_order(BTC, D("0.01"), D(49_000), "buy", client_order_id="11")
    spec = bench.exchange.markets[symbol(BTC)].spec
    new = core.NewOrder(bench.account.account, spec.symbol, core.Side.BUY, 1_000, spec.to_ticks(D(49_000)), client_id="11")
    bench.exchange.submit(bench.now(), new)
    await bench.sleep(1)
    told = await client.get_order_info("11")
    assert told is not None
    assert (told.status, told.order_id) == (OrderStatus.OPEN, "1")


@virtual
async def test_public_trades_reach_back_page_by_page(bench: Bench) -> None:
    for n in range(2_200):
        if n % 50 == 0:
            bench.stock(BTC)
            await bench.sleep(1)
        bench.trade(core.Side.BUY, D("0.0001"))
    client = bench.client(signed=False)
    market = await client.instruments.load(BTC)
    found = await client.market_data.fetch_trades(market, limit=5_000, start_ns=1)
    assert len({trade.trade_id for trade in found}) == len(found) == 2_200
    assert [int(trade.trade_id) for trade in found] == sorted(int(trade.trade_id) for trade in found)
    newest = await client.fetch_trades(BTC, limit=5)
    assert [trade.trade_id for trade in newest] == [trade.trade_id for trade in found[-5:]]


@virtual
async def test_an_answer_for_another_order_is_no_answer(bench: Bench) -> None:
    client = await bench.connected()
    answer = {
        "id": "9",
        "clientId": 5,
        "symbol": symbol(BTC),
        "side": "Bid",
        "orderType": "Limit",
        "status": "New",
        "quantity": "1",
        "price": "1",
    }
    bench.faults.request = lambda r: RequestFault(status=200, body=json.dumps(answer).encode()) if r.method == "POST" else None
    with pytest.raises(OrderOutcomeUnknown):
        await client.place_limit_order(BTC, D("0.01"), D(49_000), "buy")


# ---- cancels


@virtual
async def test_a_queued_cancel_waits_for_the_stream(bench: Bench) -> None:
    client = await bench.connected()
    bench.dialect.cancel_delay_s = 0.4
    placed = await client.place_limit_order(BTC, D("0.01"), D(49_950), "buy", wait_for="open")
    assert placed.order_id is not None
    ended = await client.cancel_order(placed.order_id)
    assert (ended.status, ended.filled_size) == (OrderStatus.CANCELED, D(0))
    (sent,) = bench.asked("/api/v1/order", "DELETE")
    assert sent.json() == {"orderId": placed.order_id, "symbol": symbol(BTC)}


@virtual
async def test_an_order_that_fills_while_its_cancel_is_queued_is_filled(bench: Bench) -> None:
    client = await bench.connected()
    bench.dialect.cancel_delay_s = 0.4
    placed = await client.place_limit_order(BTC, D("0.01"), D(49_999), "buy", wait_for="open")
    bench.dialect.agenda.after(0.2, bench.trade, core.Side.SELL, D("0.01"))
    assert placed.client_order_id is not None
    ended = await client.cancel_order(placed.client_order_id)
    assert (ended.status, ended.filled_size) == (OrderStatus.FILLED, D("0.01"))


@virtual
async def test_cancel_all_goes_market_by_market(bench: Bench) -> None:
    client = await bench.connected()
    for delay_s in (0.0, 0.3):
        bench.dialect.cancel_delay_s = delay_s
        await client.place_limit_order(BTC, D("0.01"), D(49_000), "buy", wait_for="open")
        await client.place_limit_order(NVDA, D(1), D(170), "buy", wait_for="open")
        await client.place_trigger_order(BTC, D("0.01"), D(52_000), "sell", TAKE, wait_for="open")
        ended = await client.cancel_all_orders()
        assert [one.status for one in ended] == [OrderStatus.CANCELED] * 3
        assert not bench.exchange.open_orders(bench.account.account)
    symbols = [r.json()["symbol"] for r in bench.asked("/api/v1/orders", "DELETE")]
    assert sorted(symbols) == [symbol(BTC)] * 2 + [symbol(NVDA)] * 2


@virtual
async def test_cancel_all_reaches_what_is_not_listed_yet_and_no_market_stops_another(bench: Bench) -> None:
    client = await bench.connected()
    bench.faults.push = lambda channel, payload: [] if channel.startswith("account.") else None
    bench.faults.request = lambda r: RequestFault(lose=Lose.REPLY) if r.method == "POST" else None
    for base, quantity, price in ((NVDA, D(1), D(170)), (BTC, D("0.01"), D(49_000))):
        with pytest.raises(OrderOutcomeUnknown):
            await client.place_limit_order(base, quantity, price, "buy")

    def lagging(received: Received) -> RequestFault | None:
        if (received.method, received.path) == ("GET", "/api/v1/orders"):
            return RequestFault(status=200, body=b"[]")
        if received.method == "DELETE" and received.json()["symbol"] == symbol(NVDA):
            return RequestFault(status=400, body=b'{"code":"INVALID_MARKET","message":"Invalid market"}')
        return None

    bench.faults.request = lagging
    failed, ended = await client.cancel_all_orders()
    assert (failed.success, failed.outcome) == (False, "refused")
    assert (ended.status, ended.filled_size) == (OrderStatus.CANCELED, D(0))
    assert [r.json()["symbol"] for r in bench.asked("/api/v1/orders", "DELETE")] == [symbol(NVDA), symbol(BTC)]
    assert len(bench.exchange.open_orders(bench.account.account)) == 1


# ---- finding out


@virtual
async def test_a_lost_answer_is_found_among_the_open_orders_and_the_ended_ones(bench: Bench) -> None:
    client = await bench.connected()
    bench.faults.push = lambda channel, payload: [] if channel.startswith("account.") else None
    bench.faults.request = lambda r: RequestFault(lose=Lose.REPLY) if r.method == "POST" else None
    found = []
    for price, tif in ((49_000, "GTC"), (50_100, "IOC")):
        with pytest.raises(OrderOutcomeUnknown) as caught:
            await client.place_limit_order(BTC, D("0.01"), D(price), "buy", time_in_force=tif)
        info = await client.get_order_info(caught.value.client_order_id, force_refresh=True)
        assert info is not None
        found.append((info.status, info.filled_size))
    assert found == [(OrderStatus.OPEN, D(0)), (OrderStatus.FILLED, D("0.01"))]


@virtual
async def test_many_orders_that_ended_unseen_cost_few_questions_about_the_past(bench: Bench) -> None:
    """Thirty a minute is all that the venue answers."""
    client = await bench.connected()
    placed = [await client.place_limit_order(BTC, D("0.001"), D(49_000 + n), "buy", wait_for="open") for n in range(40)]
    bench.faults.push = lambda channel, payload: [] if channel.startswith("account.") else None
    for order in bench.exchange.open_orders(bench.account.account):
        bench.exchange.cancel(bench.now(), bench.account.account, order.id)
    await bench.sleep(1)
    before = len(bench.asked(HISTORY))
    assert await client.get_active_orders() == []
    states = {client.context.tracker.find(one.order_id or "").status for one in placed}  # type: ignore[union-attr]
    assert states == {OrderStatus.CANCELED}
    assert len(bench.asked(HISTORY)) - before == 1


@virtual
async def test_the_limit_of_the_history_is_kept_by_us(bench: Bench) -> None:
    """What does not fit into a minute is held back or refused here; the venue never has to say it."""
    client = await bench.connected()
    asked = [client.order_manager.fetch_order_history(since_ns=0) for _ in range(40)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    before = 2
    assert sum(isinstance(answer, list) for answer in answers) == 30 - before
    assert {type(answer) for answer in answers} == {list, Throttled}
    await bench.sleep(61)
    assert await client.order_manager.fetch_order_history(since_ns=0) == []


@virtual
async def test_order_history_reaches_back_page_by_page(bench: Bench) -> None:
    client = await bench.connected()
    spec = bench.exchange.markets[symbol(BTC)].spec
    started = bench.now()
    for n in range(2_300):
        new = core.NewOrder(bench.account.account, spec.symbol, core.Side.BUY, 100, spec.to_ticks(D(49_000)), client_id=str(n + 1))
        order = bench.exchange.submit(bench.now(), new)
        bench.exchange.cancel(bench.now(), bench.account.account, order.id)
        if n % 100 == 0:
            await bench.sleep(1)
    found = await client.order_manager.fetch_order_history(since_ns=started)
    assert len({info.order_id for info in found}) == len(found) == 2_300


# ---- triggers and exits


@virtual
async def test_a_trigger_on_the_wrong_side_is_denied(bench: Bench) -> None:
    """The venue would wait for the price to come back: a stop that is reached already protects nobody."""
    client = await bench.connected()
    for kind, side, trigger in (
        (STOP, "sell", 51_000),
        (STOP, "buy", 49_000),
        (TAKE, "sell", 49_000),
        (TAKE, "buy", 51_000),
        (STOP, "sell", 50_000),
    ):
        with pytest.raises(OrderDenied, match="other direction"):
            await client.place_trigger_order(BTC, D("0.01"), D(trigger), side, kind)
    assert not bench.asked("/api/v1/order", "POST")


@virtual
async def test_a_trigger_that_cannot_be_compared_with_the_mark_is_proved_not_sent(bench: Bench) -> None:
    client = await bench.connected()
    stop = intent(bench, client, Side.SELL, "0.01", "48000", STOP, trigger_price=D(49_000), reduce_only=True, purpose=Purpose.CLOSE)
    entry = intent(bench, client, Side.BUY, "0.01", "50100", time_in_force=TimeInForce.IOC)
    faults = (RequestFault(lose=Lose.REPLY), RequestFault(status=503), RequestFault(status=429), RequestFault(before_s=60.0))
    for fault in faults:
        bench.faults.request = lambda r, fault=fault: fault if r.path == "/api/v1/markPrices" else None  # type: ignore[misc]
        for attempt in (client.order_manager.place(stop), client.order_manager.place_with_exits(entry, stop_loss=stop)):
            with pytest.raises(NotReady, match="no mark price") as caught:
                await attempt
            assert caught.value.outcome is Outcome.NOT_SENT
        (alone,) = await client.order_manager.place_many([stop])
        assert isinstance(alone, NotReady)
    assert not bench.asked("/api/v1/order", "POST")


@virtual
async def test_a_trigger_says_trigger_quantity_and_no_quantity(bench: Bench) -> None:
    client = await bench.connected()
    await client.place_trigger_order(BTC, D("0.01"), D(49_000), "sell", STOP, wait_for="open")
    await client.place_trigger_order(BTC, D("0.01"), D(49_000), "sell", OrderType.STOP_LIMIT, price=D(48_900), wait_for="open")
    market, limit = (r.json() for r in bench.asked("/api/v1/order", "POST"))
    assert {k: v for k, v in market.items() if k != "clientId"} == {
        "orderType": "Market",
        "reduceOnly": True,
        "side": "Ask",
        "symbol": symbol(BTC),
        "triggerBy": "MarkPrice",
        "triggerPrice": "49000",
        "triggerQuantity": "0.01",
    }
    assert (limit["orderType"], limit["price"], limit["triggerPrice"], limit["timeInForce"]) == ("Limit", "48900", "49000", "GTC")
    assert "quantity" not in limit


@virtual
async def test_a_trigger_alone_is_refused_in_the_venues_words(bench: Bench) -> None:
    client = await bench.connected()
    manager = client.order_manager
    order, instrument = manager.prepare(intent(bench, client, Side.SELL, "0.01", "48000", STOP, trigger_price=D(49_000), reduce_only=True))
    command = manager.encode_place(order, instrument)
    payload = {key: value for key, value in command.payload.items() if key != "triggerQuantity"}
    from dataclasses import replace

    from exchange_clients.transport.command import Progress

    with pytest.raises(InvalidOrder, match="both `triggerPrice` and `triggerQuantity`"):
        await client.context.port.send(replace(command, payload=payload), Progress())


@virtual
async def test_an_entry_carries_its_exits(bench: Bench) -> None:
    client = await bench.connected()
    heard: list[OrderInfo] = []
    client.register_order_listener(lambda event: heard.append(event) if isinstance(event, OrderInfo) else None)
    entry = intent(bench, client, Side.BUY, "0.01", "50100", time_in_force=TimeInForce.IOC)
    exits: dict[str, Any] = {
        "take_profit": intent(bench, client, Side.SELL, "0.01", "50000", TAKE, trigger_price=D(51_000), reduce_only=True),
        "stop_loss": intent(bench, client, Side.SELL, "0.01", "48000", OrderType.STOP_LIMIT, trigger_price=D(49_000), reduce_only=True),
    }
    info = await client.order_manager.place_with_exits(entry, **exits)
    assert (info.status, info.filled_size) == (OrderStatus.FILLED, D("0.01"))
    sent = bench.asked("/api/v1/order", "POST")[0].json()
    assert {k: v for k, v in sent.items() if k.startswith(("stop", "take"))} == {
        "takeProfitTriggerPrice": "51000",
        "takeProfitTriggerBy": "MarkPrice",
        "stopLossTriggerPrice": "49000",
        "stopLossTriggerBy": "MarkPrice",
        "stopLossLimitPrice": "48000",
    }
    await bench.sleep(0.5)
    waiting = await client.get_active_orders(BTC)
    assert {(one.trigger_price, one.external, one.status) for one in waiting} == {
        (D(51_000), True, OrderStatus.PENDING),
        (D(49_000), True, OrderStatus.PENDING),
    }
    bench.set_mark(51_100)
    await bench.sleep(0.5)
    assert await client.get_open_positions() == []
    assert await client.get_active_orders(BTC) == []
    wrongs: list[dict[str, Any]] = [
        {"take_profit": exits["stop_loss"]},
        {"stop_loss": msgspec.structs.replace(exits["stop_loss"], side=Side.BUY)},
        {"stop_loss": msgspec.structs.replace(exits["stop_loss"], trigger_price=D(52_000))},
    ]
    for wrong in wrongs:
        with pytest.raises(OrderDenied):
            await client.order_manager.place_with_exits(entry, **wrong)
    assert not client.capabilities.native_bracket


# ---- account


@virtual
async def test_the_position_is_not_the_exposure(bench: Bench) -> None:
    client = await bench.connected()
    await client.place_limit_order(BTC, D("0.01"), D(50_100), "buy", time_in_force="IOC", wait_for="terminal")
    await client.place_limit_order(BTC, D("0.05"), D(49_000), "buy", wait_for="open")
    row = (await client.raw.positionQuery())[0]
    assert (row.netQuantity, row.netExposureQuantity) == (D("0.01"), D("0.06"))
    assert await client.get_account_positions(BTC) == D("0.01")
    assert [p.quantity for p in client.context.positions.values()] == [D("0.01")]


@virtual
async def test_open_positions_come_with_the_subscription(bench: Bench) -> None:
    first = await bench.connected()
    await first.place_limit_order(BTC, D("0.01"), D(50_100), "buy", time_in_force="IOC", wait_for="terminal")
    second = bench.client()
    heard = buffered(second.watch_positions())
    await second.connect()
    assert [(p.instrument.base, p.quantity) for p in heard] == [("BTC", D("0.01"))]


@virtual
async def test_no_position_may_be_told_as_not_found(bench: Bench) -> None:
    client = await bench.connected()
    words = b'{"code":"RESOURCE_NOT_FOUND","message":"Not Found"}'
    bench.faults.request = lambda r: RequestFault(status=404, body=words) if r.path == "/api/v1/position" else None
    assert await client.get_open_positions() == []
    bench.faults.request = lambda r: RequestFault(status=404, body=b"<html>") if r.path == "/api/v1/position" else None
    with pytest.raises(Exception, match="html"):
        await client.get_open_positions()


@virtual
async def test_leverage_is_the_accounts_and_its_answer_is_empty(bench: Bench) -> None:
    client = await bench.connected()
    now = await client.set_leverage(BTC, D("7.5"))
    assert now.account_leverage == D("7.5")
    (sent,) = bench.asked("/api/v1/account", "PATCH")
    assert sent.json() == {"leverageLimit": "7.5"}
    assert (await client.get_leverage_info(NVDA))["account_leverage"] == D("7.5"), "of every market"
    with pytest.raises(ConfigError):
        await client.set_leverage(BTC, D("0.5"))
    with pytest.raises(ConfigError, match="above the maximum"):
        await client.set_leverage(NVDA, 11)


@virtual
async def test_there_is_no_dead_man_switch(bench: Bench) -> None:
    with pytest.raises(UnsupportedCapability):
        await (await bench.connected()).arm_dead_man_switch(60)


@virtual
async def test_a_market_that_takes_cancels_only_takes_no_entry(bench: Bench) -> None:
    client = await bench.connected()
    for status, ours in ((core.MarketStatus.CANCEL_ONLY, MarketStatus.CANCEL_ONLY), (core.MarketStatus.POST_ONLY, MarketStatus.POST_ONLY)):
        bench.exchange.set_status(bench.now(), symbol(BTC), status)
        await client.instruments.load_all(force=True)
        assert client.instruments.get(BTC).status is ours
        with pytest.raises(OrderDenied, match=ours.value):
            await client.place_limit_order(BTC, D("0.01"), D(49_000), "buy")


# ---- streams


@virtual
async def test_the_account_is_confirmed_by_a_second_of_silence(bench: Bench) -> None:
    client = bench.client()
    started = bench.now()
    await client.connect()
    assert NS_PER_S <= bench.now() - started < 2 * NS_PER_S
    frames = [r.json() for r in bench.dialect.received if r.body.startswith(b'{"method"')]
    assert len(frames) == 1, "one frame, one signature"
    assert sorted(frames[0]["params"]) == ["account.orderUpdate", "account.positionUpdate"]
    assert len(frames[0]["signature"]) == 4


@virtual
async def test_a_refused_signature_is_no_connection(bench: Bench) -> None:
    client = bench.client()
    bench.faults.request = lambda r: (
        RequestFault(body=b'{"id":null,"error":{"code":4002,"message":"Invalid signature"}}') if r.body[:9] == b'{"method"' else None
    )
    with pytest.raises(SubscriptionRefused, match="Invalid signature"):
        await client.connect()
    assert not client.context.entries_allowed


@virtual
async def test_a_refusal_that_comes_late_takes_the_account_down(bench: Bench) -> None:
    client = await bench.connected()
    before = client.ws_manager._sockets["public"].connects
    late = '{"id":null,"error":{"code":4002,"message":"Invalid signature"}}'
    client.ws_manager.handler.feed("public", late, bench.now())
    states = [client.context.entries_allowed]
    await bench.sleep(5)
    assert [*states, client.context.entries_allowed] == [False, True]
    assert client.ws_manager._sockets["public"].connects == before + 1


@virtual
async def test_a_market_that_is_gone_takes_nobody_with_it(bench: Bench) -> None:
    """After a drop its streams do not exist any more, and the venue does not say whose it means."""
    client = await bench.connected()
    btc, nvda = client.instruments.get(BTC), client.instruments.get(NVDA)
    for market in (btc, nvda):
        await client.ws_manager.prepare_market_feed(market)
    bench.exchange.delist(bench.now(), symbol(NVDA))
    for session in list(bench.dialect.sessions.values()):
        session.drop()
    await bench.sleep(10)
    assert client.is_connected
    assert client.context.entries_allowed
    assert client.ws_manager.order_book_ready(btc)
    assert not client.ws_manager.order_book_ready(nvda)
    assert client.ws_manager.registry.refusal(client.ws_manager.dialect.topic(Stream.BOOK, nvda)) == "Invalid stream (4006)"
    assert len([r for r in bench.dialect.received if r.kind == "connect"]) == 2, "one reconnect, not a row of them"
    with pytest.raises(SubscriptionRefused, match="Invalid stream"):
        await client.ws_manager.prepare_market_feed(nvda, timeout_s=3)


@virtual
async def test_an_unknown_candle_interval_is_never_asked_for(bench: Bench) -> None:
    client = await bench.connected(signed=False)
    with pytest.raises(ConfigError, match="7m"):
        client.watch_candles(BTC, "7m")
    with pytest.raises(ConfigError, match="7m"):
        await client.fetch_candles(BTC, "7m", start_ns=0, end_ns=1)


@virtual
async def test_somebody_elses_liquidation_is_heard_and_is_not_ours(bench: Bench) -> None:
    client = await bench.connected()
    heard = buffered(client.ws_manager.watch(Stream.LIQUIDATIONS))
    await bench.sleep(1)
    frame = {"e": "liquidation", "s": symbol(BTC), "S": "Ask", "p": "49000", "q": "0.5", "T": 1694688638090000}
    bench.dialect.tell("liquidation", frame)
    await bench.sleep(1)
    (event,) = heard
    assert (event.own, event.side, event.quantity) == (False, Side.SELL, D("0.5"))
    assert client.liquidation_events_queue.empty()


@virtual
async def test_a_side_that_empties_leaves_no_best_price(bench: Bench) -> None:
    client = await bench.connected(signed=False)
    market = client.instruments.get(BTC)
    await client.ws_manager.prepare_market_feed(market)
    bench.exchange.set_level(bench.now(), symbol(BTC), core.Side.BUY, 499_600, 7)
    await bench.sleep(0.2)
    assert client.ws_manager.get_latest_bbo(market) is not None
    bench.exchange.set_levels(bench.now(), symbol(BTC), [], [(500_100, 7)])
    await bench.sleep(0.2)
    assert client.ws_manager.get_latest_bbo(market) is None
    with pytest.raises(NotReady):
        await client.fetch_bbo_prices(BTC)


@virtual
async def test_the_venue_says_nothing_of_what_a_key_may_do(bench: Bench) -> None:
    client = await bench.connected()
    assert await client.get_key_info() == KeyInfo(position_mode=PositionMode.ONE_WAY)


@virtual
async def test_a_hole_in_the_numbers_brings_a_new_snapshot(bench: Bench) -> None:
    client = await bench.connected(signed=False)
    market = client.instruments.get(BTC)
    await client.ws_manager.prepare_market_feed(market)
    snapshots = len(bench.asked("/api/v1/depth"))
    assert snapshots == 1
    lost: list[bytes] = []

    def lose_one(channel: str, payload: bytes) -> Sequence[tuple[float, bytes]] | None:
        if channel.startswith("depth.") and not lost:
            lost.append(payload)
            return []
        return None

    bench.faults.push = lose_one
    for price in (49_900, 49_850):
        spec = bench.exchange.markets[symbol(BTC)].spec
        bench.exchange.set_level(bench.now(), spec.symbol, core.Side.BUY, spec.to_ticks(D(price)), 100)
        await bench.sleep(0.2)
    await bench.sleep(1)
    assert lost
    assert len(bench.asked("/api/v1/depth")) == snapshots + 1
    found = client.ws_manager.get_order_book(market)
    assert {level.price for level in found.bids} >= {D(49_900), D(49_850)}


# ---- funding


@virtual
async def test_rates_history_and_payments_agree_with_the_venue(bench: Bench) -> None:
    bench.exchange.set_funding_rate(bench.now(), symbol(BTC), core.to_fraction(D("0.000125")))
    client = await bench.connected()
    await client.place_limit_order(BTC, D("0.02"), D(50_100), "buy", time_in_force="IOC", wait_for="terminal")
    rate = await client.fetch_funding_rate(BTC)
    assert (rate.raw_rate, rate.interval_hours, rate.cap) == (D("0.000125"), D(1), D("0.01"))
    assert rate.next_funding_time is not None
    assert 0 < rate.next_funding_time - bench.now() <= NS_PER_HOUR
    await bench.runtime.clock.sleep_until_ns(rate.next_funding_time + 60 * NS_PER_S)
    assert await client.fetch_funding_history(BTC, start_ns=0) == [], "for ten minutes it may still move"
    await bench.sleep(600)
    (settled,) = await client.fetch_funding_history(BTC, start_ns=0)
    assert (settled.raw_rate, settled.settled_at) == (D("0.000125"), rate.next_funding_time)
    (payment,) = await client.get_funding_payments(BTC, since_ns=0)
    assert payment.amount == D("-0.125"), "a long pays a positive rate: 0.02 x 50,000 x 0.000125"
    assert (payment.ts_venue_ns, payment.asset) == (rate.next_funding_time, "USDC")


@virtual
async def test_the_past_before_august_2025_was_charged_every_eight_hours(bench: Bench) -> None:
    change = 1_755_676_800 * NS_PER_S
    past = [PastFunding(change - n * 8 * NS_PER_HOUR, 100 * 10**6, 1, 8 * NS_PER_HOUR) for n in (2, 1, 0)]
    past += [PastFunding(change + n * NS_PER_HOUR, 10 * 10**6, 1, NS_PER_HOUR) for n in (1, 2)]
    bench.dialect.history.seed(symbol(BTC), funding=past)
    client = bench.client(signed=False)
    await client.instruments.load_all()
    found = await client.fetch_funding_history(BTC, start_ns=0)
    assert [s.interval_hours for s in found] == [8, 8, 8, 1, 1]
    assert {s.hourly_rate for s in found} == {D("0.0000125"), D("0.00001")}
    only = await client.fetch_funding_history(BTC, start_ns=change + NS_PER_HOUR)
    assert [s.interval_hours for s in only] == [1, 1]


@virtual
async def test_the_adapter_reads_all_markets_in_five_requests(bench: Bench) -> None:
    async with BackpackFundingAdapter({"endpoints": bench.server.endpoints}, runtime=bench.runtime) as adapter:
        rates = await adapter.fetch_funding_rates()
        figures = await adapter.fetch_market_data()
        assert set(rates) == set(figures) == {"BTC", "BONK", "NVDA.US"}
        assert adapter.get_dex_symbol_format("BONK") == "kBONK_USDC_PERP"
        assert adapter.normalize_symbol("kBONK_USDC_PERP") == "BONK"
    assert len(bench.dialect.received) == 5


@virtual
async def test_forced_fills_are_told_with_their_kind(bench: Bench) -> None:
    client = await bench.connected()
    heard = buffered(client.watch_fills())
    await client.place_limit_order(NVDA, D(2), D(181), "buy", time_in_force="IOC", wait_for="terminal")
    bench.exchange.delist(bench.now(), symbol(NVDA))
    await bench.sleep(1)
    assert [(fill.kind.value, fill.signed_quantity) for fill in heard if isinstance(fill, Fill)] == [("trade", D(2)), ("settlement", D(-2))]
    recorded = await client.get_user_trade_history(NVDA, since_ns=0)
    assert [(fill.kind.value, fill.trade_id) for fill in recorded] == [(fill.kind.value, fill.trade_id) for fill in heard]
