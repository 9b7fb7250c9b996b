"""Positions, balances, leverage, reports; starting with what is already there."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from exchange_clients.errors import ConfigError, UnsupportedCapability, VenueError
from exchange_clients.model import FillKind, MarginMode, OrderStatus, PositionMode, Side
from exchange_simulator.conformance.bench import BTC, DEPOSIT, ETH, Bench, buffered, needs, rest_order, take, virtual
from exchange_simulator.core import types as core
from exchange_simulator.dialects.base import RequestFault

CENT = Decimal("0.01")


@virtual
async def test_flat_is_none_and_a_failed_query_is_not_flat(bench: Bench) -> None:
    client = await bench.connected()
    assert await client.get_position_snapshot(BTC) is None
    assert await client.get_open_positions() == []
    assert await client.get_account_positions(BTC) == 0
    await take(client, "buy", "0.5")
    bench.hands.requests(RequestFault(status=503), times=1_000)
    with pytest.raises(VenueError):
        await client.get_position_snapshot(BTC)
    with pytest.raises(VenueError):
        await client.get_open_positions()
    with pytest.raises(VenueError):
        await client.get_account_positions(BTC)


@virtual
async def test_positions_and_valuation_agree_with_the_exchange(bench: Bench) -> None:
    client = await bench.connected()
    await take(client, "sell", "0.5")
    bench.set_mark(50_200)
    snapshot = await client.get_position_snapshot(BTC)
    assert snapshot is not None
    assert (snapshot.quantity, snapshot.side, snapshot.entry_price) == (Decimal("-0.5"), "short", Decimal(49_999))
    assert snapshot.unrealized_pnl == pytest.approx(Decimal("-100.5"), abs=CENT)
    assert snapshot.exposure_usd is None or snapshot.exposure_usd == pytest.approx(Decimal(25_100), rel=Decimal("0.001"))
    truth = bench.exchange.liquidation_price(bench.account.account, bench.symbol())
    if snapshot.liquidation_price is not None and truth is not None:
        assert snapshot.liquidation_price == pytest.approx(bench.market().ref_price(truth), rel=Decimal("0.01"))
    assert await client.get_account_positions(BTC) == Decimal("0.5")


@virtual
async def test_balance_equity_and_pnl_agree_with_the_exchange(bench: Bench) -> None:
    client = await bench.connected()
    assert await client.get_account_balance() == pytest.approx(DEPOSIT, abs=CENT)
    await take(client, "buy", "0.5")
    bench.set_mark(50_101)
    account = bench.account.account
    assert await client.get_total_asset_value() == pytest.approx(core.money(bench.exchange.equity(account)), abs=CENT)
    assert await client.get_account_pnl() == pytest.approx(Decimal(50), abs=CENT)
    available = await client.get_account_balance()
    assert available is not None
    assert available == pytest.approx(core.money(bench.exchange.available(account)), rel=Decimal("0.01"))


@virtual
async def test_a_client_starts_with_open_orders_and_positions(bench: Bench) -> None:
    first = await bench.connected()
    resting = await rest_order(first)
    await take(first, "buy", "0.5")
    await first.disconnect()
    second = await bench.connected()
    (order,) = await second.get_active_orders()
    assert (order.order_id, order.status, order.size) == (resting.order_id, OrderStatus.OPEN, Decimal("0.01"))
    (position,) = await second.get_open_positions()
    assert (position.quantity, position.entry_price) == (Decimal("0.5"), Decimal(50_001))
    assert order.order_id is not None
    ended = await second.cancel_order(order.order_id)
    assert ended.status is OrderStatus.CANCELED
    assert bench.orders() == []


@virtual
async def test_what_happened_while_away_is_reported(bench: Bench) -> None:
    first = await bench.connected()
    resting = await rest_order(first, price="50000")
    await first.disconnect()
    bench.trade(core.Side.SELL, Decimal("0.01"))
    await bench.records_are_in()
    second = await bench.connected()
    status = await second.generate_mass_status(lookback_s=3600)
    assert [fill.order_id for fill in status.fills] == [resting.order_id]
    assert resting.order_id in {order.order_id for order in status.orders}
    ended = next(order for order in status.orders if order.order_id == resting.order_id)
    assert (ended.status, ended.filled_size) == (OrderStatus.FILLED, Decimal("0.01"))


@virtual
async def test_mass_status_is_complete(bench: Bench) -> None:
    client = await bench.connected()
    open_one = await rest_order(client)
    closed = await rest_order(client, price="48000")
    assert closed.client_order_id is not None
    await client.cancel_order(closed.client_order_id)
    await take(client, "buy", "0.5")
    await take(client, "sell", "0.2")
    eth = await client.place_limit_order(ETH, Decimal(1), Decimal(2_600), "buy", time_in_force="IOC", wait_for="terminal")
    assert eth.filled_size == 1
    status = await client.generate_mass_status()
    orders = {order.order_id: order.status for order in status.orders}
    assert orders[open_one.order_id] is OrderStatus.OPEN
    assert orders[closed.order_id] is OrderStatus.CANCELED
    assert len(orders) == len(status.orders) == 5
    assert sum(fill.signed_quantity for fill in status.fills if fill.instrument.base == BTC) == Decimal("0.3")
    assert {position.instrument.base: position.quantity for position in status.positions} == {BTC: Decimal("0.3"), ETH: Decimal(1)}


@virtual
async def test_position_and_account_streams_follow(bench: Bench) -> None:
    client = await bench.connected()
    able = bench.spec.streams
    positions = buffered(client.watch_positions()) if "positions" in able else None
    account = buffered(client.watch_account()) if "account" in able else None
    needs(positions is not None or account is not None, "position or account stream")
    await take(client, "buy", "0.5")
    if positions is not None:
        await bench.until(lambda: any(p.quantity == Decimal("0.5") for p in positions), "the position is streamed")
    if account is not None:
        await bench.until(lambda: account, "the account is streamed")
    await take(client, "sell", "0.5", reduce_only=True)
    if positions is not None:
        await bench.until(lambda: positions[-1].quantity == 0, "flat is streamed as zero")


@virtual
async def test_fee_rates_are_the_accounts_own(bench: Bench) -> None:
    client = await bench.connected()
    needs(client.capabilities.fee_rates, "fee rates")
    await take(client, "buy", "0.5")
    paid = core.money(bench.exchange.account(bench.account.account).fees_paid)
    rates = await client.get_fee_rates(BTC)
    assert rates.taker == pytest.approx(paid / Decimal("25000.5"), abs=Decimal("0.0000001"))
    assert rates.maker <= rates.taker


@virtual
async def test_the_key_says_what_it_may_and_until_when(bench: Bench) -> None:
    client = await bench.connected()
    if not client.capabilities.key_info:
        with pytest.raises(UnsupportedCapability):
            await client.get_key_info()
        needs(False, "word about its keys")
    info = await client.get_key_info()
    assert info.can_trade is not False
    assert info.expires_ns is None or info.expires_ns > bench.now()
    assert info.position_mode in (None, PositionMode.ONE_WAY)
    bench.hands.requests(RequestFault(status=503), times=1_000)
    with pytest.raises(VenueError):
        await client.get_key_info()


@virtual
async def test_leverage_is_set_and_read_back(bench: Bench) -> None:
    client = await bench.connected()
    info = await client.get_leverage_info(BTC)
    assert info["error"] is None
    assert info["max_leverage"] == pytest.approx(bench.market().max_leverage, rel=Decimal("0.01"))
    if not client.capabilities.set_leverage:
        with pytest.raises(UnsupportedCapability):
            await client.set_leverage(BTC, 5)
        needs(False, "setting of leverage")
    now = await client.set_leverage(BTC, 5)
    assert now.account_leverage == 5
    assert bench.exchange.position(bench.account.account, bench.symbol()).initial == pytest.approx(core.UNIT // 5, abs=core.UNIT // 1000)
    before = len(bench.commands())
    await client.set_leverage(BTC, 5)
    assert len(bench.commands()) == before, "nothing is sent when it is so already"
    with pytest.raises((ConfigError, VenueError)):
        await client.set_leverage(BTC, 100_000)


@virtual
async def test_margin_mode_is_set_and_read_back(bench: Bench) -> None:
    client = await bench.connected()
    needs(client.capabilities.set_margin_mode and MarginMode.ISOLATED in client.capabilities.margin_modes, "setting of margin mode")
    now = await client.set_margin_mode(BTC, MarginMode.ISOLATED)
    assert now.margin_mode is MarginMode.ISOLATED
    assert bench.exchange.position(bench.account.account, bench.symbol()).mode is core.MarginMode.ISOLATED


@virtual
async def test_several_markets_at_once_do_not_mix(bench: Bench) -> None:
    client = await bench.connected()
    await asyncio.gather(
        client.place_limit_order(BTC, Decimal("0.1"), Decimal(50_100), "buy", time_in_force="IOC", wait_for="terminal"),
        client.place_limit_order(ETH, Decimal(2), Decimal(2_400), "sell", time_in_force="IOC", wait_for="terminal"),
    )
    assert {p.symbol: p.quantity for p in await client.get_open_positions()} == {BTC: Decimal("0.1"), ETH: Decimal(-2)}
    assert [f.quantity for f in await client.get_user_trade_history(ETH, since_ns=0)] == [Decimal(2)]


@virtual
async def test_a_liquidation_of_our_own_is_told(bench: Bench) -> None:
    poor = bench.another_account(Decimal(3_000))
    client = await bench.connected(account=poor)
    heard = buffered(client.watch_liquidations())
    fills = buffered(client.watch_fills())
    result = await client.place_limit_order(BTC, Decimal("0.9"), Decimal(50_100), "buy", time_in_force="IOC", wait_for="terminal")
    assert result.filled_size == Decimal("0.9"), result.error_message
    bench.exchange.set_levels(
        bench.now(), bench.symbol(), [(bench.market().to_ticks(Decimal(46_500)), bench.market().to_steps(Decimal(5)))], []
    )
    bench.set_mark(46_600)
    await bench.until(lambda: bench.exchange.position(poor.account, bench.symbol()).size == 0, "the exchange liquidated")
    await bench.until(lambda: heard or any(f.kind.value == "liquidation" for f in fills), "the client is told")
    assert heard, "as a liquidation event"
    assert heard[0].own
    assert client.liquidation_events_queue.qsize() >= 1
    assert await client.get_position_snapshot(BTC) is None


@virtual
async def test_a_market_that_is_delisted_settles_the_position_and_the_fill_is_told(bench: Bench) -> None:
    """On the stream and in the records, as forced; where the wire has one word for both, a settlement may read as ADL."""
    client = await bench.connected()
    fills = buffered(client.watch_fills())
    await take(client, "buy", "0.5")
    bench.exchange.delist(bench.now(), bench.symbol(), settlement=bench.market().to_ref(Decimal(50_500)))
    forced = (FillKind.SETTLEMENT, FillKind.ADL)
    await bench.until(lambda: any(f.kind in forced for f in fills), "the settlement is told as a fill")
    (told,) = (f for f in fills if f.kind in forced)
    assert (told.side, told.quantity, told.price, told.fee) == (Side.SELL, Decimal("0.5"), Decimal(50_500), 0)
    assert await client.get_position_snapshot(BTC) is None
    assert await client.get_open_positions() == []
    (recorded,) = (f for f in await client.get_user_trade_history(BTC, since_ns=0) if f.kind in forced)
    assert (recorded.trade_id, recorded.side, recorded.quantity, recorded.price) == (told.trade_id, told.side, told.quantity, told.price)
    assert await client.get_total_asset_value() == pytest.approx(core.money(bench.exchange.equity(bench.account.account)), abs=CENT)


@virtual
async def test_longs_pay_when_the_rate_is_positive(bench: Bench) -> None:
    """A payment of ours, from the venue's records: sign, amount, position."""
    client = await bench.connected()
    opened = bench.now()
    await take(client, "buy", "0.5")
    rate = Decimal("0.00012")
    bench.exchange.set_funding_rate(bench.now(), bench.symbol(), core.to_fraction(rate))
    state = bench.exchange.markets[bench.symbol()]
    await bench.runtime.clock.sleep_until_ns(state.next_funding_ns + 2_000_000_000)
    (payment,) = await client.get_funding_payments(BTC, since_ns=opened)
    assert payment.amount == pytest.approx(-rate * 50_000 * Decimal("0.5"), rel=Decimal("0.0001"))
    assert payment.position_quantity in (None, Decimal("0.5"))
    assert payment.rate is None or payment.rate > 0
    await take(client, "sell", "1", reduce_only=False)
    reversed_at = bench.now()
    await bench.runtime.clock.sleep_until_ns(bench.exchange.markets[bench.symbol()].next_funding_ns + 2_000_000_000)
    (received,) = await client.get_funding_payments(BTC, since_ns=reversed_at)
    assert received.amount == pytest.approx(rate * 50_000 * Decimal("0.5"), rel=Decimal("0.0001"))
    assert received.payment_id != payment.payment_id
