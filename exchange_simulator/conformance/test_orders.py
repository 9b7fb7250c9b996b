"""Orders that work as they should: every type, time in force and expiry, partial fills, batches, amends, cancels."""

from __future__ import annotations

from decimal import Decimal

import pytest

from exchange_clients.base_client import BaseExchangeClient
from exchange_clients.errors import OrderDenied, OrderNotFound, UnsupportedCapability
from exchange_clients.model import (
    NS_PER_S,
    Ack,
    Fill,
    OrderInfo,
    OrderIntent,
    OrderStatus,
    OrderType,
    Purpose,
    Side,
    TimeInForce,
    WaitFor,
)
from exchange_simulator.conformance.bench import BTC, ETH, Bench, buffered, each, needs, rest_order, take, virtual
from exchange_simulator.core import types as core

QUANTITY = Decimal("0.01")


# ---- limit orders: time in force x post-only x expiry


@virtual
async def test_gtc_rests_and_is_seen_by_everyone(bench: Bench) -> None:
    client = await bench.connected()
    info = await rest_order(client)
    (order,) = bench.orders()
    market = bench.market()
    assert (market.price(order.price), market.size(order.size), order.side.value) == (Decimal(49_000), QUANTITY, "buy")
    assert (info.status, info.size, info.price, info.side) == (OrderStatus.OPEN, QUANTITY, Decimal(49_000), Side.BUY)
    assert (info.filled_size, info.remaining_size, info.order_type) == (Decimal(0), QUANTITY, OrderType.LIMIT)
    assert info.order_id is not None
    by_venue_id = await client.get_order_info(info.order_id, force_refresh=True)
    assert by_venue_id is not None
    assert by_venue_id.client_order_id == info.client_order_id
    assert [one.order_id for one in await client.get_active_orders(BTC)] == [info.order_id]
    assert await client.get_active_orders(ETH) == []


@virtual
async def test_ioc_takes_what_is_there_and_leaves_nothing(bench: Bench) -> None:
    client = await bench.connected()
    info = await take(client, "buy", "0.02")
    assert (info.status, info.filled_size, info.average_price) == (OrderStatus.FILLED, Decimal("0.02"), Decimal(50_001))
    assert bench.position() == Decimal("0.02")
    assert bench.orders() == []


@virtual
async def test_ioc_that_finds_half_ends_canceled_with_what_it_found(bench: Bench) -> None:
    client = await bench.connected()
    result = await client.place_limit_order(BTC, Decimal(3), Decimal(50_001), "buy", time_in_force="IOC", wait_for="terminal", timeout_s=20)
    assert result.client_order_id is not None
    info = await client.get_order_info(result.client_order_id)
    assert info is not None
    assert (info.status, info.filled_size) == (OrderStatus.CANCELED, Decimal(2))
    assert bench.position() == Decimal(2)


@virtual
async def test_ioc_that_finds_nothing_ends_with_nothing(bench: Bench) -> None:
    client = await bench.connected()
    result = await client.place_limit_order(BTC, QUANTITY, Decimal(49_000), "buy", time_in_force="IOC", wait_for="terminal")
    assert result.filled_size == 0
    assert result.status in (OrderStatus.CANCELED, None), "an immediate order that met nothing: canceled, or refused by the venue's words"
    assert bench.orders() == []
    assert bench.position() == 0


@virtual
async def test_fok_fills_whole_or_not_at_all(bench: Bench) -> None:
    client = await bench.connected()
    if TimeInForce.FOK not in client.capabilities.times_in_force:
        with pytest.raises(UnsupportedCapability):
            await client.place_limit_order(BTC, QUANTITY, Decimal(50_100), "buy", time_in_force="FOK")
        assert bench.commands() == []
        needs(False, "FOK")
    whole = await client.place_limit_order(BTC, QUANTITY, Decimal(50_001), "buy", time_in_force="FOK", wait_for="terminal")
    assert whole.filled_size == QUANTITY
    nothing = await client.place_limit_order(BTC, Decimal(3), Decimal(50_001), "buy", time_in_force="FOK", wait_for="terminal")
    assert nothing.filled_size == 0
    assert bench.position() == QUANTITY


@virtual
async def test_gtt_ends_by_itself(bench: Bench) -> None:
    client = await bench.connected()
    life_s = max(90.0, client.capabilities.min_gtt_s + 30)
    expire_ns = bench.now() + round(life_s * NS_PER_S)
    if TimeInForce.GTT not in client.capabilities.times_in_force:
        with pytest.raises(UnsupportedCapability):
            await client.place_limit_order(BTC, QUANTITY, Decimal(49_000), "buy", time_in_force="GTT", expire_ns=expire_ns)
        assert bench.commands() == []
        needs(False, "GTT")
    info = await rest_order(client, time_in_force="GTT", expire_ns=expire_ns)
    assert info.status is OrderStatus.OPEN
    await bench.runtime.clock.sleep_until_ns(expire_ns + 2 * NS_PER_S)
    assert bench.orders() == []
    assert info.client_order_id is not None
    ended = await client.get_order_info(info.client_order_id, force_refresh=True)
    assert ended is not None
    assert ended.status in (OrderStatus.EXPIRED, OrderStatus.CANCELED)


@virtual
async def test_gtt_without_expiry_is_denied(bench: Bench) -> None:
    client = await bench.connected()
    with pytest.raises((OrderDenied, UnsupportedCapability)):
        await client.place_limit_order(BTC, QUANTITY, Decimal(49_000), "buy", time_in_force="GTT")
    assert bench.commands() == []


@virtual
async def test_post_only_rests_as_maker(bench: Bench) -> None:
    client = await bench.connected()
    needs(client.capabilities.post_only, "post-only")
    info = await rest_order(client, price="50000", post_only=True)
    assert info.post_only
    assert bench.trade(core.Side.SELL, QUANTITY) == QUANTITY
    assert info.client_order_id is not None
    await bench.until(lambda: bench.position() == QUANTITY, "the maker order is filled")
    await bench.records_are_in()
    fills = await client.get_user_trade_history(BTC, since_ns=0)
    assert [fill.liquidity.value for fill in fills] == ["maker"]


@virtual
async def test_post_only_with_immediate_is_a_contradiction(bench: Bench) -> None:
    client = await bench.connected()
    with pytest.raises(UnsupportedCapability):
        await client.place_limit_order(BTC, QUANTITY, Decimal(50_100), "buy", time_in_force="IOC", post_only=True)
    assert bench.commands() == []


@virtual
async def test_reduce_only_closes_and_never_turns_the_position(bench: Bench) -> None:
    client = await bench.connected()
    needs(client.capabilities.reduce_only, "reduce-only")
    await take(client, "buy", "0.02")
    await take(client, "sell", "0.02", reduce_only=True)
    assert bench.position() == 0
    await take(client, "buy", "0.02")
    result = await client.place_limit_order(
        BTC, Decimal("0.05"), Decimal(49_900), "sell", reduce_only=True, time_in_force="IOC", wait_for="terminal"
    )
    assert bench.position() in (Decimal(0), Decimal("0.02"))
    assert result.filled_size == Decimal("0.02") - bench.position()


@virtual
async def test_prices_and_quantities_are_rounded_to_the_callers_side(bench: Bench) -> None:
    """Never beyond the price asked for, never more than the quantity asked for."""
    client = await bench.connected()
    bought = await client.place_limit_order(BTC, Decimal("0.010009"), Decimal("48000.987654"), "buy", wait_for="open")
    sold = await client.place_limit_order(BTC, Decimal("0.010009"), Decimal("52000.123456"), "sell", wait_for="open")
    assert bought.price is not None
    assert sold.price is not None
    assert Decimal(48_000) <= bought.price <= Decimal("48000.987654")
    assert Decimal("52000.123456") <= sold.price <= Decimal(52_001)
    assert bought.size == sold.size == Decimal("0.01")
    market = bench.market()
    assert {market.price(order.price) for order in bench.orders()} == {bought.price, sold.price}


# ---- market and trigger orders


@virtual
async def test_market_orders_fill_within_their_slippage(bench: Bench) -> None:
    client = await bench.connected()
    result = await client.place_market_order(BTC, Decimal("0.02"), "buy", wait_for="terminal")
    assert (result.success, result.filled_size) == (True, Decimal("0.02"))
    assert bench.position() == Decimal("0.02")
    bench.clear_book()
    bench.set_level(core.Side.BUY, 49_000, 1)
    bench.set_level(core.Side.SELL, 50_500, Decimal("0.01"))
    bench.set_level(core.Side.SELL, 56_000, 5)
    far = await client.place_market_order(BTC, Decimal("0.02"), "buy", max_slippage=Decimal("0.01"), wait_for="terminal")
    assert far.filled_size == Decimal("0.01"), "nothing beyond one percent of the touch"


@virtual
async def test_a_market_intent_never_executes_beyond_its_price_nor_rests(bench: Bench) -> None:
    """The price of a market intent is the worst one, whatever its time in force says and whatever the venue's own band would allow."""
    client = await bench.connected()
    bench.clear_book()
    bench.set_level(core.Side.SELL, 50_200, QUANTITY)
    bench.set_level(core.Side.SELL, 50_900, 5)
    bench.set_level(core.Side.BUY, 49_800, QUANTITY)
    bench.set_level(core.Side.BUY, 49_100, 5)
    market = client.instruments.get(BTC).id
    for side, worst, held in each([(Side.BUY, 50_500, QUANTITY), (Side.SELL, 49_500, Decimal(0))]):
        intent = OrderIntent(
            instrument=market, side=side, quantity=QUANTITY * 2, price=Decimal(worst), order_type=OrderType.MARKET, purpose=Purpose.HEDGE
        )
        info = await client.order_manager.place(intent, wait_for=WaitFor.TERMINAL, timeout_s=20)
        assert info.filled_size == QUANTITY, "what lies beyond the worst price is not taken"
        assert (bench.position(), bench.orders()) == (held, [])


TRIGGERS = {
    OrderType.STOP_MARKET: (Decimal(49_000), Decimal(48_900)),
    OrderType.STOP_LIMIT: (Decimal(49_000), Decimal(48_900)),
    OrderType.TAKE_PROFIT_MARKET: (Decimal(51_000), Decimal(51_100)),
    OrderType.TAKE_PROFIT_LIMIT: (Decimal(51_000), Decimal(51_100)),
}


@virtual
async def test_trigger_orders_wait_fire_and_close(bench: Bench) -> None:
    able = bench.spec.capabilities.order_types
    needs(bool(able & set(TRIGGERS)), "trigger orders")
    client = await bench.connected()
    for kind in each(sorted(able & set(TRIGGERS))):
        bench.fill_book()
        bench.set_mark(50_000)
        await take(client, "buy", "0.02")
        trigger, reached = TRIGGERS[kind]
        limited = kind in (OrderType.STOP_LIMIT, OrderType.TAKE_PROFIT_LIMIT)
        closes = client.capabilities.reduce_only_resting or not limited
        result = await client.place_trigger_order(
            BTC,
            Decimal("0.02"),
            trigger,
            "sell",
            kind,
            price=Decimal(48_000) if limited else None,
            reduce_only=closes,
            wait_for="open",
        )
        assert result.success, (kind, result.error_message)
        (waiting,) = await client.get_active_orders(BTC)
        assert (waiting.order_type, waiting.trigger_price, waiting.reduce_only) == (kind, trigger, closes)
        assert waiting.status is OrderStatus.PENDING
        assert bench.position() == Decimal("0.02")
        bench.set_mark(reached)
        await bench.until(lambda: bench.position() == 0, f"{kind} closed the position")
        assert result.client_order_id is not None
        await client.await_order_update(result.client_order_id, 5)
        ended = await client.get_order_info(result.client_order_id, force_refresh=True)
        assert ended is not None
        assert (ended.status, ended.filled_size) == (OrderStatus.FILLED, Decimal("0.02")), kind


@virtual
async def test_trigger_types_that_a_venue_lacks_are_refused_unsent(bench: Bench) -> None:
    client = await bench.connected()
    missing = set(TRIGGERS) - bench.spec.capabilities.order_types
    needs(bool(missing), "trigger type that is missing: it has them all")
    for kind in each(sorted(missing)):
        with pytest.raises(UnsupportedCapability):
            await client.place_trigger_order(BTC, QUANTITY, Decimal(49_000), "sell", kind, price=Decimal(48_900))
    assert bench.commands() == []


@virtual
async def test_a_trigger_order_can_be_canceled(bench: Bench) -> None:
    needs(OrderType.STOP_MARKET in bench.spec.capabilities.order_types, "stop orders")
    client = await bench.connected()
    await take(client, "buy", "0.02")
    result = await client.place_trigger_order(BTC, Decimal("0.02"), Decimal(49_000), "sell", OrderType.STOP_MARKET, wait_for="open")
    assert result.client_order_id is not None
    ended = await client.cancel_order(result.client_order_id)
    assert (ended.status, ended.filled_size) == (OrderStatus.CANCELED, Decimal(0))
    assert bench.orders() == []


@virtual
async def test_a_native_bracket_enters_and_leaves(bench: Bench) -> None:
    client = await bench.connected()
    instrument = client.instruments.get(BTC).id
    entry = OrderIntent(instrument=instrument, side=Side.BUY, quantity=Decimal("0.02"), price=Decimal(50_001))
    exit_of = {
        kind: OrderIntent(
            instrument=instrument,
            side=Side.SELL,
            quantity=Decimal("0.02"),
            price=Decimal(45_000),
            order_type=kind,
            time_in_force=TimeInForce.IOC,
            reduce_only=True,
            trigger_price=TRIGGERS[kind][0],
            purpose=Purpose.CLOSE,
        )
        for kind in (OrderType.TAKE_PROFIT_MARKET, OrderType.STOP_MARKET)
    }
    take_profit, stop = exit_of[OrderType.TAKE_PROFIT_MARKET], exit_of[OrderType.STOP_MARKET]
    if not client.capabilities.native_bracket:
        with pytest.raises(UnsupportedCapability):
            await client.place_bracket(entry, take_profit=take_profit, stop_loss=stop)
        needs(False, "native bracket")
    results = await client.place_bracket(entry, take_profit=take_profit, stop_loss=stop)
    assert [result.success for result in results] == [True, True, True], results
    await bench.until(lambda: bench.position() == Decimal("0.02"), "the entry filled")
    bench.set_mark(51_100)
    await bench.until(lambda: bench.position() == 0, "the take-profit closed")
    await bench.until(lambda: bench.orders() == [], "the stop went with it")


# ---- fills


@virtual
async def test_partial_fills_add_up(bench: Bench) -> None:
    client = await bench.connected()
    heard = buffered(client.watch_fills())
    info = await rest_order(client, quantity="0.03", price="50000")
    assert info.client_order_id is not None
    for n in (1, 2, 3):
        assert bench.trade(core.Side.SELL, QUANTITY) == QUANTITY
        await bench.until(lambda n=n: len(heard) == n, f"fill {n} is heard")  # type: ignore[misc]
        now = await client.get_order_info(info.client_order_id)
        assert now is not None
        assert (now.filled_size, now.remaining_size) == (QUANTITY * n, Decimal("0.03") - QUANTITY * n)
        assert now.status is (OrderStatus.FILLED if n == 3 else OrderStatus.PARTIALLY_FILLED)
    assert len({fill.trade_id for fill in heard}) == 3
    assert sum(fill.quantity for fill in heard) == Decimal("0.03")


@virtual
async def test_fills_carry_price_fee_side_and_ids(bench: Bench) -> None:
    client = await bench.connected()
    heard = buffered(client.watch_fills())
    info = await take(client, "sell", "0.5")
    await bench.until(lambda: heard, "the fill is heard")
    (fill,) = heard
    assert isinstance(fill, Fill)
    fee = bench.exchange.account(bench.account.account).fees_paid
    assert (fill.price, fill.quantity, fill.side) == (Decimal(49_999), Decimal("0.5"), Side.SELL)
    assert fill.fee == pytest.approx(core.money(fee), abs=Decimal("0.000001"))
    assert fill.fee_asset == bench.spec.collateral
    assert (fill.order_id, fill.client_order_id) == (info.order_id, info.client_order_id)
    (recorded,) = await client.get_user_trade_history(BTC, since_ns=0)
    assert (recorded.trade_id, recorded.price, recorded.quantity, recorded.fee) == (fill.trade_id, fill.price, fill.quantity, fill.fee)


@virtual
async def test_trade_history_is_paginated_without_hole_or_double(bench: Bench) -> None:
    client = await bench.connected()
    start = bench.now()
    count = 250
    for _ in range(count):
        bench.submit(core.Side.BUY, Decimal("0.001"), Decimal(50_001))
        await bench.runtime.clock.sleep(0.05)
    await bench.records_are_in()
    found = await client.get_user_trade_history(BTC, since_ns=start)
    assert len(found) == count
    assert len({fill.trade_id for fill in found}) == count
    assert [fill.ts_venue_ns for fill in found] == sorted(fill.ts_venue_ns for fill in found)


# ---- batches, amends, cancels


def limit_buy(client: BaseExchangeClient, price: int, quantity: str = "0.01") -> OrderIntent:
    return OrderIntent(instrument=client.instruments.get(BTC).id, side=Side.BUY, quantity=Decimal(quantity), price=Decimal(price))


def resting(bench: Bench) -> list[Decimal]:
    return sorted(bench.market().price(order.price) for order in bench.orders())


@virtual
async def test_a_batch_rests_and_is_canceled_together(bench: Bench) -> None:
    client = await bench.connected()
    prices = [49_000, 49_100, 49_200]
    results = await client.place_orders([limit_buy(client, price) for price in prices])
    assert [result.success for result in results] == [True] * 3, results
    await bench.until(lambda: resting(bench) == prices, "all three rest")
    ids = [result.client_order_id for result in results if result.client_order_id is not None]
    ended = await client.cancel_orders(ids)
    assert [one.status for one in ended] == [OrderStatus.CANCELED] * 3
    assert bench.orders() == []


@virtual
async def test_a_batch_has_one_outcome_per_order_and_it_is_true(bench: Bench) -> None:
    """One is too large, one not valid: whether a venue takes the others is its own rule; what it did is what is told."""
    client = await bench.connected()
    intents = [
        limit_buy(client, 49_000),
        limit_buy(client, 49_100, "1000"),
        limit_buy(client, 49_200),
        limit_buy(client, 49_300, "0.000001"),
    ]
    results = await client.place_orders(intents)
    await bench.runtime.clock.sleep(15)
    told = []
    for intent, result in zip(intents, results, strict=True):
        info = await client.get_order_info(result.client_order_id) if result.success and result.client_order_id is not None else None
        if info is not None and info.status is OrderStatus.OPEN:
            told.append(intent.price)
    assert told == resting(bench)
    assert Decimal(49_100) not in told
    assert (results[3].success, results[3].outcome) == (False, "not_sent")
    if client.capabilities.ack is Ack.FINAL:
        assert (results[1].success, results[1].outcome) == (False, "refused")


@virtual
async def test_cancel_proves_the_end(bench: Bench) -> None:
    client = await bench.connected()
    info = await rest_order(client, quantity="0.03", price="50000")
    bench.trade(core.Side.SELL, QUANTITY)
    assert info.order_id is not None
    ended = await client.cancel_order(info.order_id)
    assert (ended.status, ended.filled_size) == (OrderStatus.CANCELED, QUANTITY)
    assert bench.orders() == []


@virtual
async def test_cancel_of_what_never_was_says_so(bench: Bench) -> None:
    client = await bench.connected()
    with pytest.raises(OrderNotFound):
        await client.cancel_order("987654321", contract_id=BTC)


@virtual
async def test_an_order_that_never_was_is_none(bench: Bench) -> None:
    client = await bench.connected()
    assert await client.get_order_info("987654321", contract_id=BTC) is None


@virtual
async def test_cancel_all_of_one_market_and_of_all(bench: Bench) -> None:
    client = await bench.connected()
    await rest_order(client)
    await rest_order(client, price="48000")
    eth = await client.place_limit_order(ETH, Decimal("0.1"), Decimal(2_400), "buy", wait_for="open")
    assert eth.success, eth.error_message
    ended = await client.cancel_all_orders(BTC)
    assert [one.status for one in ended] == [OrderStatus.CANCELED] * 2
    assert (bench.orders(), len(bench.orders(ETH))) == ([], 1)
    await rest_order(client)
    await client.cancel_all_orders()
    assert (bench.orders(), bench.orders(ETH)) == ([], [])


@virtual
async def test_amend_changes_price_and_quantity(bench: Bench) -> None:
    client = await bench.connected()
    info = await rest_order(client)
    assert info.client_order_id is not None
    await client.amend_order(info.client_order_id, price=Decimal(49_500), quantity=Decimal("0.02"))

    def amended() -> bool:
        market = bench.market()
        return [(market.price(one.price), market.size(one.size)) for one in bench.orders()] == [(Decimal(49_500), Decimal("0.02"))]

    await bench.until(amended, "exactly one order with the new figures")
    await bench.records_are_in()
    (now,) = await client.get_active_orders(BTC)
    assert (now.price, now.size) == (Decimal(49_500), Decimal("0.02"))
    assert now.client_order_id is not None
    ended = await client.cancel_order(now.client_order_id)
    assert ended.status is OrderStatus.CANCELED
    assert bench.orders() == []


@virtual
async def test_amend_of_an_ended_order_is_refused(bench: Bench) -> None:
    client = await bench.connected()
    info = await take(client, "buy")
    assert info.client_order_id is not None
    with pytest.raises(OrderNotFound):
        await client.amend_order(info.client_order_id, price=Decimal(49_500))


@virtual
async def test_dead_man_switch_cancels_when_not_renewed(bench: Bench) -> None:
    client = await bench.connected()
    if not client.capabilities.dead_man_switch:
        with pytest.raises(UnsupportedCapability):
            await client.arm_dead_man_switch(600)
        needs(False, "dead-man switch")
    life_s = client.capabilities.max_dead_man_s or 600
    await rest_order(client)
    await client.arm_dead_man_switch(life_s)
    await client.arm_dead_man_switch(None)
    await bench.runtime.clock.sleep(life_s + 100)
    assert len(bench.orders()) == 1
    await client.arm_dead_man_switch(life_s)
    await bench.runtime.clock.sleep(life_s + 100)
    assert bench.orders() == []


@virtual
async def test_order_events_reach_watchers_and_listeners(bench: Bench) -> None:
    client = await bench.connected()
    watched = buffered(client.watch_orders())
    listened: list[object] = []
    stop = client.register_order_listener(listened.append)
    info = await rest_order(client)
    assert info.client_order_id is not None
    await client.cancel_order(info.client_order_id)
    await bench.until(lambda: any(isinstance(e, OrderInfo) and e.status is OrderStatus.CANCELED for e in watched), "the end is heard")
    assert [e for e in listened if isinstance(e, OrderInfo)] == [e for e in watched if isinstance(e, OrderInfo)]
    stop()
    before = len(listened)
    await rest_order(client)
    assert len(listened) == before
