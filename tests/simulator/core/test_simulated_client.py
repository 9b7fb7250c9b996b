"""The client contract over the core, on virtual time: the same verbs, checks, reports and streams as over a wire."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

from exchange_clients.base_client import BaseExchangeClient
from exchange_clients.book import BookChange
from exchange_clients.errors import (
    AuthError,
    ConfigError,
    InsufficientMargin,
    NotReady,
    OrderDenied,
    OrderOutcomeUnknown,
    PostOnlyWouldCross,
    UnsupportedCapability,
)
from exchange_clients.hyperliquid.common import SPEC as HYPERLIQUID
from exchange_clients.lighter.common import SPEC as LIGHTER
from exchange_clients.model import (
    NS_PER_HOUR,
    NS_PER_S,
    Bbo,
    Fill,
    FillKind,
    Gap,
    Instrument,
    InstrumentId,
    Liquidity,
    MarginMode,
    MarketStatus,
    OrderIntent,
    OrderStatus,
    OrderType,
    RateKind,
    Side,
)
from exchange_simulator.core.types import AmendMode, Rules, to_fraction
from exchange_simulator.simloop import Simulation, run
from exchange_simulator.simulated_client import SimulatedClient
from exchange_simulator.simulated_venue import SimulatedVenue, market_of, simulated_spec

D = Decimal
BTC = Instrument(
    id=InstrumentId("BTC", "USDC", "sim"),
    venue_symbol="BTC",
    contract_id="1",
    settle="USDC",
    tick_size=D("0.5"),
    step_size=D("0.001"),
    min_quantity=D("0.001"),
    min_notional=D(10),
    initial_margin=D("0.05"),
    maintenance_margin=D("0.025"),
    maker_fee=D("0.0001"),
    taker_fee=D("0.0005"),
    funding_interval_hours=D(1),
)


@dataclass
class Scene:
    sim: Simulation
    venue: SimulatedVenue
    client: SimulatedClient

    def book(self, bid: str = "499.5", ask: str = "500.5", size: str = "2") -> None:
        spec, now = self.venue.exchange.markets["1"].spec, self.venue.now_ns()
        bids, asks = [(spec.to_ticks(D(bid)), spec.to_steps(D(size)))], [(spec.to_ticks(D(ask)), spec.to_steps(D(size)))]
        self.venue.exchange.set_levels(now, "1", bids, asks)

    async def sleep(self, seconds: float) -> None:
        await self.sim.runtime.clock.sleep(seconds)


def scene(play: Callable[[Scene], Coroutine[Any, Any, None]], *, connect: bool = True, **options: Any) -> None:
    """Plays it with a connected client of account 1 (10,000 USDC), a book of 2 BTC at 499.5/500.5 and mark 500."""

    async def main(sim: Simulation) -> None:
        like = options.pop("like", None)
        venue = SimulatedVenue(simulated_spec("sim", like=like), [BTC], sim.runtime.clock, **options)
        venue.open_account(1, D(10_000))
        venue.set_mark("1", D(500))
        client = SimulatedClient(venue, 1, runtime=sim.runtime, config={"ticker": "BTC"})
        made = Scene(sim, venue, client)
        made.book()
        try:
            if connect:
                await client.connect()
            await play(made)
        finally:
            await client.disconnect()

    run(main)


def test_limit_order_rests_fills_and_is_reported_everywhere() -> None:
    async def play(s: Scene) -> None:
        fills, orders, positions = s.client.watch_fills(), s.client.watch_orders(), s.client.watch_positions()
        placed = await s.client.place_limit_order("BTC", D("0.5"), D("499.7"), "buy")
        assert (placed.success, placed.status, placed.price) == (True, OrderStatus.OPEN, D("499.5"))  # rounded to the tick, down
        assert placed.order_id is not None
        s.venue.exchange.external_trade(s.venue.now_ns(), "1", Side.SELL, 2_100)  # 2 were there before
        info = await s.client.get_order_info(placed.order_id)
        assert info is not None
        assert (info.status, info.filled_size) == (OrderStatus.PARTIALLY_FILLED, D("0.1"))
        fill = await anext(fills)
        assert isinstance(fill, Fill)
        assert (fill.price, fill.quantity, fill.fee, fill.liquidity) == (D("499.5"), D("0.1"), D("0.004995"), Liquidity.MAKER)
        assert fill.client_order_id == placed.client_order_id
        ended = await s.client.cancel_order(placed.order_id)
        assert (ended.status, ended.filled_size) == (OrderStatus.CANCELED, D("0.1"))
        seen = [(await anext(orders)).status]
        while seen[-1] is not OrderStatus.CANCELED:
            seen.append((await anext(orders)).status)
        assert seen == [OrderStatus.OPEN, OrderStatus.PARTIALLY_FILLED, OrderStatus.CANCELED]
        assert (await anext(positions)).quantity == D("0.1")
        assert await s.client.get_account_positions("BTC") == D("0.1")
        snapshot = await s.client.get_position_snapshot("BTC")
        assert snapshot is not None
        assert (snapshot.quantity, snapshot.entry_price, snapshot.mark_price) == (D("0.1"), D("499.5"), D(500))
        assert snapshot.unrealized_pnl == D("0.05")
        assert await s.client.get_total_asset_value() == D(10_000) + D("0.05") - D("0.004995")
        assert await s.client.get_account_balance() == D(10_000) + D("0.05") - D("0.004995") - D("2.5")
        assert await s.client.generate_fill_reports() == [fill]
        report = (await s.client.generate_order_reports())[0]
        assert (report.order_id, report.status, report.cancel_reason) == (placed.order_id, OrderStatus.CANCELED, "user")
        status = await s.client.generate_mass_status()
        assert (len(status.orders), len(status.fills), len(status.positions)) == (1, 1, 1)
        for watcher in (fills, orders, positions):
            watcher.close()

    scene(play)


def test_market_order_takes_within_its_slippage() -> None:
    async def play(s: Scene) -> None:
        done = await s.client.place_market_order("BTC", D(1), "buy", wait_for="terminal")
        assert (done.status, done.average_price) == (OrderStatus.FILLED, D("500.5"))
        s.book(bid="400", ask="401")
        part = await s.client.place_market_order("BTC", D(3), "sell", reduce_only=True, wait_for="terminal")
        assert (part.status, part.filled_size) == (OrderStatus.FILLED, D(1))
        assert await s.client.get_open_positions() == []

    scene(play)


def test_refusals_keep_their_class() -> None:
    async def play(s: Scene) -> None:
        crossing = await s.client.place_limit_order("BTC", D("0.1"), D(501), "buy", post_only=True)
        assert (crossing.success, crossing.outcome, type(crossing.error)) == (False, "refused", PostOnlyWouldCross)
        poor = await s.client.place_limit_order("BTC", D(1_000), D(400), "buy")
        assert isinstance(poor.error, InsufficientMargin)
        with pytest.raises(OrderDenied, match="below the minimum 10"):
            await s.client.place_limit_order("BTC", D("0.001"), D(400), "buy")
        assert await s.client.get_active_orders() == []

    scene(play)


def test_amend_cancel_all_and_dead_man_switch() -> None:
    async def play(s: Scene) -> None:
        for mode in AmendMode:
            s.venue.exchange.rules = Rules(amend=mode)
            placed = await s.client.place_limit_order("BTC", D("0.5"), D(490), "buy")
            assert placed.order_id is not None
            amended = await s.client.amend_order(placed.order_id, price=D(491), quantity=D("0.4"))
            assert (amended.status, amended.price, amended.size) == (OrderStatus.OPEN, D(491), D("0.4"))
            assert (amended.order_id == placed.order_id) == (mode is AmendMode.IN_PLACE)
            assert [o.order_id for o in await s.client.get_active_orders()] == [amended.order_id]
            ended = await s.client.cancel_all_orders()
            assert [o.status for o in ended] == [OrderStatus.CANCELED]
        await s.client.place_limit_order("BTC", D("0.5"), D(490), "buy")
        await s.client.arm_dead_man_switch(10)
        await s.sleep(8)
        await s.client.arm_dead_man_switch(10)
        await s.sleep(8)
        assert len(await s.client.get_active_orders()) == 1
        await s.sleep(3)
        assert await s.client.get_active_orders() == []

    scene(play)


def test_bracket_and_triggers() -> None:
    async def play(s: Scene) -> None:
        def leg(side: Side, kind: OrderType, **more: Any) -> OrderIntent:
            return OrderIntent(instrument=BTC.id, side=side, quantity=D(1), order_type=kind, **more)

        entry = leg(Side.BUY, OrderType.LIMIT, price=D("500.5"))
        take = leg(Side.SELL, OrderType.LIMIT, price=D(520), reduce_only=True)
        stop = leg(Side.SELL, OrderType.STOP_MARKET, price=D(400), trigger_price=D(480), reduce_only=True)
        results = await s.client.place_bracket(entry, take_profit=take, stop_loss=stop)
        assert [r.status for r in results] == [OrderStatus.FILLED, OrderStatus.OPEN, OrderStatus.PENDING]
        s.venue.set_mark("1", D(479))
        infos = [await s.client.get_order_info(r.order_id or "") for r in results]
        assert [i.status for i in infos if i is not None] == [OrderStatus.FILLED, OrderStatus.CANCELED, OrderStatus.FILLED]
        assert await s.client.get_account_positions() == 0
        trigger = await s.client.place_trigger_order("BTC", D(1), D(510), "buy", "stop_limit", price=D(511), reduce_only=False)
        assert trigger.status is OrderStatus.PENDING

    scene(play)


def test_funding_is_paid_on_time_by_itself() -> None:
    async def play(s: Scene) -> None:
        now = s.venue.now_ns()
        s.venue.exchange.set_funding_rate(now, "1", to_fraction("0.0001"))
        sample = await s.client.fetch_funding_rate("BTC")
        assert (sample.raw_rate, sample.interval_hours, sample.kind) == (D("0.0001"), D(1), RateKind.PREDICTED)
        assert sample.next_funding_time == (now // NS_PER_HOUR + 1) * NS_PER_HOUR
        await s.client.place_market_order("BTC", D(1), "buy", wait_for="terminal")
        await s.sleep(2 * 3_600 + 1)
        payments = await s.client.get_funding_payments("BTC", since_ns=now)
        assert [p.amount for p in payments] == [D("-0.05"), D("-0.05")]
        assert [p.ts_venue_ns % NS_PER_HOUR for p in payments] == [0, 0]
        history = await s.client.fetch_funding_history("BTC", start_ns=now)
        assert [(h.raw_rate, h.kind) for h in history] == [(D("0.0001"), RateKind.SETTLED)] * 2
        snapshot = await s.client.get_position_snapshot("BTC", position_opened_at=now)
        assert snapshot is not None
        assert snapshot.cumulative_funding == D("-0.1")

    scene(play)


def test_leverage_margin_mode_and_fees() -> None:
    async def play(s: Scene) -> None:
        assert (await s.client.get_leverage_info("BTC"))["max_leverage"] == 20
        for leverage in (3, 7, 20, 1):
            assert (await s.client.set_leverage("BTC", leverage)).account_leverage == leverage
        with pytest.raises(ConfigError, match="above the maximum"):
            await s.client.set_leverage("BTC", 21)
        isolated = await s.client.set_leverage("BTC", 10, MarginMode.ISOLATED)
        assert (isolated.account_leverage, isolated.margin_mode) == (D(10), MarginMode.ISOLATED)
        await s.client.place_market_order("BTC", D(1), "buy", wait_for="terminal")
        await s.client.account_manager.move_isolated_margin(BTC, D(25))
        position = (await s.client.generate_position_reports())[0]
        assert (position.margin_used, position.leverage, position.margin_mode) == (D("75.05"), D(10), MarginMode.ISOLATED)
        fees = await s.client.get_fee_rates("BTC")
        assert (fees.maker, fees.taker) == (D("0.0001"), D("0.0005"))

    scene(play)


def test_books_and_streams() -> None:
    async def play(s: Scene) -> None:
        bbos, books, trades, marks = (
            s.client.watch_bbo("BTC"),
            s.client.watch_book("BTC"),
            s.client.watch_trades("BTC"),
            s.client.watch_mark(),
        )
        assert await s.client.fetch_bbo_prices("BTC") == (D("499.5"), D("500.5"))
        s.book(bid="501", ask="502")
        bbo = await anext(bbos)
        assert isinstance(bbo, Bbo)
        assert (bbo.bid, bbo.bid_size, bbo.ask) == (D(501), D(2), D(502))
        change = await anext(books)
        assert isinstance(change, BookChange)
        s.venue.exchange.external_trade(s.venue.now_ns(), "1", Side.BUY, 5)
        trade = await anext(trades)
        assert (trade.price, trade.quantity, trade.side) == (D(502), D("0.005"), Side.BUY)
        s.venue.set_mark("1", D("501.5"), D("501.25"))
        assert (await anext(marks)).price == D("501.5")
        ticker = await s.client.fetch_ticker("BTC")
        assert (ticker.last, ticker.mark, ticker.index, ticker.volume_24h) == (D(502), D("501.5"), D("501.25"), D("2.51"))
        depth = await s.client.get_order_book_depth("BTC", 1)
        assert depth["asks"] == [{"price": D(502), "size": D("1.995")}]
        assert len(await s.client.fetch_trades("BTC")) == 1
        for watcher in (bbos, books, trades, marks):
            watcher.close()

    scene(play)


def test_quotes_without_book_events_reach_watchers() -> None:
    async def play(s: Scene) -> None:
        bbos = s.client.watch_bbo("BTC")
        s.venue.exchange.set_quote(s.venue.now_ns(), "1", 980, 10, 990, 10)
        s.venue.quote_changed("1")
        assert (await anext(bbos)).bid == D(490)
        bbos.close()

    scene(play, publish_book=False)


def test_a_stale_book_is_not_read() -> None:
    async def play(s: Scene) -> None:
        bbos = s.client.watch_bbo("BTC")
        await s.client.ws_manager.prepare_market_feed(BTC)
        s.venue.suspend("1", "the live feed is silent")
        assert isinstance(await anext(bbos), Gap)
        assert not s.client.ws_manager.order_book_ready(BTC)
        with pytest.raises(NotReady, match="silent"):
            await s.client.fetch_bbo_prices("BTC")
        with pytest.raises(NotReady, match="silent"):
            s.client.ws_manager.get_order_book(BTC)
        with pytest.raises(NotReady, match="silent"):
            await s.client.place_market_order("BTC", D(1), "buy")
        s.venue.resume("1")
        assert await s.client.fetch_bbo_prices("BTC") == (D("499.5"), D("500.5"))
        bbos.close()

    scene(play)


def test_latency_delays_the_order_and_its_report() -> None:
    async def play(s: Scene) -> None:
        clock = s.sim.runtime.clock
        start = clock.time_ns()
        task = asyncio.create_task(s.client.place_market_order("BTC", D(1), "buy"))
        await s.sleep(0.15)
        assert s.venue.exchange.open_orders(1) == []
        assert s.venue.exchange.position(1, "1").size == 0
        await s.sleep(0.1)
        assert s.venue.exchange.position(1, "1").size == 1_000
        assert not task.done()
        done = await task
        assert done.status is OrderStatus.FILLED
        assert abs(clock.time_ns() - start - round(0.5 * NS_PER_S)) < 1_000
        impatient = asyncio.create_task(s.client.place_limit_order("BTC", D(1), D(450), "buy", client_order_id="77"))
        await s.sleep(0.25)
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
        order = s.client.context.tracker.find("77")
        assert order is not None
        assert order.status is OrderStatus.UNKNOWN
        await s.sleep(5)
        assert order.info().status is OrderStatus.OPEN  # its event came

    scene(play, entry_latency_s=0.2, report_latency_s=0.3)


def test_outcome_is_unknown_when_the_end_is_not_seen_in_time() -> None:
    async def play(s: Scene) -> None:
        with pytest.raises(OrderOutcomeUnknown):
            await s.client.place_limit_order("BTC", D(1), D(450), "buy", wait_for="terminal", timeout_s=1.5)

    scene(play)


def test_liquidation_is_told() -> None:
    async def play(s: Scene) -> None:
        watcher = s.client.watch_liquidations()
        await s.client.set_leverage("BTC", 20)
        s.venue.exchange.withdraw(s.venue.now_ns(), 1, 9_900 * 10**12)
        await s.client.place_market_order("BTC", D(1), "buy", wait_for="terminal")
        s.book(bid="420", ask="421")
        s.venue.set_mark("1", D(411))
        event = await anext(watcher)
        assert (event.own, event.kind, event.side, event.quantity, event.price) == (True, FillKind.LIQUIDATION, Side.SELL, D(1), D(420))
        assert await s.client.get_account_positions() == 0
        fills = await s.client.get_user_trade_history("BTC", since_ns=0)
        assert [f.kind for f in fills] == [FillKind.TRADE, FillKind.LIQUIDATION]
        watcher.close()

    scene(play)


def test_market_changes_reach_the_instrument_table() -> None:
    async def play(s: Scene) -> None:
        s.venue.exchange.set_status(s.venue.now_ns(), "1", MarketStatus.HALTED)
        assert s.client.instruments.get("BTC").status is MarketStatus.HALTED
        with pytest.raises(OrderDenied, match="halted"):
            await s.client.place_limit_order("BTC", D(1), D(450), "buy")

    scene(play)


def test_two_accounts_trade_with_each_other_and_hear_only_their_own() -> None:
    async def play(s: Scene) -> None:
        s.venue.open_account(2, D(1_000))
        async with SimulatedClient(s.venue, 2, runtime=s.sim.runtime) as other:
            fills = other.watch_fills()
            maker = await other.place_limit_order("BTC", D("0.2"), D(500), "sell")
            taker = await s.client.place_limit_order("BTC", D("0.5"), D(500), "buy", time_in_force="IOC", wait_for="terminal")
            assert (taker.status, taker.filled_size) == (OrderStatus.CANCELED, D("0.2"))
            fill = await anext(fills)
            assert (fill.order_id, fill.side, fill.liquidity) == (maker.order_id, Side.SELL, Liquidity.MAKER)
            assert await other.get_order_info(taker.order_id or "") is None
            fills.close()

    scene(play)


def test_entries_are_refused_before_connect_and_for_unknown_accounts() -> None:
    async def play(s: Scene) -> None:
        await s.client.instruments.load_all()
        with pytest.raises(NotReady, match="not connected"):
            await s.client.place_limit_order("BTC", D(1), D(450), "buy")
        with pytest.raises(AuthError, match="no account 9"):
            await SimulatedClient(s.venue, 9, runtime=s.sim.runtime).connect()

    scene(play, connect=False)


def test_nothing_in_a_simulated_client_can_sign() -> None:
    async def play(s: Scene) -> None:
        from exchange_clients.signing import Command, HttpRequest, SignContext

        signer = s.client.context.require_signer()
        for signing in (
            signer.authorize(HttpRequest("GET", "/"), 0),
            signer.sign_command(Command("x", None, "entry"), SignContext(0)),
            signer.ws_login("public", 0),
        ):
            with pytest.raises(ConfigError, match="signs nothing"):
                await signing

    scene(play)


def test_a_venue_like_lighter_has_lighters_limits() -> None:
    async def play(s: Scene) -> None:
        with pytest.raises(UnsupportedCapability, match="FOK"):
            await s.client.place_limit_order("BTC", D(1), D(450), "buy", time_in_force="FOK")
        assert s.client.spec.client_id is LIGHTER.client_id

    scene(play, like=LIGHTER)
    assert simulated_spec("hyperliquid", like=HYPERLIQUID).collateral == HYPERLIQUID.collateral


def test_market_of_an_instrument_that_says_little() -> None:
    bare = Instrument(
        id=BTC.id,
        venue_symbol="X",
        contract_id="X",
        settle="USDC",
        tick_size=D("0.01"),
        step_size=D(1),
        min_quantity=D(5),
        max_leverage=D(10),
    )
    market = market_of(bare)
    assert (market.min_size, market.max_leverage, market.tiers[0].maintenance) == (5, D(10), 10**12 // 20)


def test_simulated_client_is_a_client() -> None:
    assert issubclass(SimulatedClient, BaseExchangeClient)
