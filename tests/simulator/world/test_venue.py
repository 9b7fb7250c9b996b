"""A world and an exchange together: users' orders meet the moving market."""

from __future__ import annotations

import asyncio

import pytest

from exchange_clients.transport.clock import SteppingClock
from exchange_simulator import simloop
from exchange_simulator.core.events import Liquidated, OrderFilled
from exchange_simulator.core.types import UNIT, NewOrder, OrderStatus, OrderType, Side, to_money
from exchange_simulator.simloop import Simulation
from exchange_simulator.world.feed import drive
from exchange_simulator.world.grid import FINE_NS
from exchange_simulator.world.profiles import Scenario
from tests.simulator.world.worlds import FIGURES, HOUR_NS, START_NS, build

SECOND_NS = 10**9
ME = 5


def test_what_a_user_takes_is_back_at_the_next_step() -> None:
    world, exchanges = build(7, FIGURES)
    exchange = exchanges["figures"]
    exchange.open_account(START_NS, ME, deposit=to_money(1_000_000))
    before = exchange.depth("SOL", Side.SELL)
    size = before[0][1] + before[1][1]
    order = exchange.submit(START_NS, NewOrder(ME, "SOL", Side.BUY, size, type=OrderType.MARKET))
    assert order.status is OrderStatus.FILLED
    assert exchange.best("SOL")[1] > before[1][0]
    assert len(exchange.depth("SOL", Side.SELL)) == len(before) - 2
    world.advance_to(START_NS + FINE_NS)
    fresh, _ = build(7, FIGURES)
    expected = fresh.state("figures", "SOL", START_NS + FINE_NS).book.asks
    assert tuple((p, s) for p, s, _ in exchange.depth("SOL", Side.SELL)) == expected


def test_a_resting_order_fills_when_the_market_comes_to_it() -> None:
    world, exchanges = build(7, FIGURES)
    exchange = exchanges["figures"]
    exchange.open_account(START_NS, ME, deposit=to_money(1_000_000))
    bid, _ = exchange.best("SOL")
    order = exchange.submit(START_NS, NewOrder(ME, "SOL", Side.BUY, 500, bid - 20))
    assert exchange.open_orders(ME) == [order]
    exchange.drain()
    for k in range(1, 1_200):
        world.advance_to(START_NS + k * FINE_NS)
        if not exchange.open_orders(ME):
            break
    assert order.status is OrderStatus.FILLED
    fills = [e for e in exchange.drain() if isinstance(e, OrderFilled) and e.account == ME]
    assert sum(f.size for f in fills) == 500
    assert {f.price for f in fills} == {bid - 20}


@pytest.mark.slow
def test_a_resting_order_is_not_passed_over_by_a_jump() -> None:
    world, exchanges = build(7, FIGURES, scenario=Scenario(volatility=3.0))
    exchange = exchanges["figures"]
    exchange.open_account(START_NS, ME, deposit=to_money(1_000_000))
    orders = []
    for side, shift in ((Side.BUY, -0.01), (Side.SELL, 0.01)):
        price = round(exchange.best("SOL")[0] * (1 + shift) / 10) * 10
        orders.append(exchange.submit(START_NS, NewOrder(ME, "SOL", side, 500, price)))
    world.advance_to(START_NS + 8 * HOUR_NS)
    assert OrderStatus.FILLED in {o.status for o in orders}
    bid, ask = exchange.best("SOL")
    assert bid < ask


@pytest.mark.slow
def test_a_jump_liquidates_on_the_way_and_near_the_mark() -> None:
    """Whatever way the price goes in eight wild hours, one of two opposite highly leveraged positions does not live to see the end."""
    world, exchanges = build(3, FIGURES, scenario=Scenario(volatility=3.0))
    exchange = exchanges["figures"]
    for account, side in ((ME, Side.BUY), (ME + 1, Side.SELL)):
        exchange.open_account(START_NS, account, deposit=to_money(100))
        assert exchange.set_leverage(START_NS, account, "SOL", UNIT // 20) is None
        order = exchange.submit(START_NS, NewOrder(account, "SOL", side, 1_000, type=OrderType.MARKET))  # 10 SOL, 1 800 USD
        assert order.status is OrderStatus.FILLED
    exchange.drain()
    world.advance_to(START_NS + 8 * HOUR_NS)
    liquidated = [e for e in exchange.drain() if isinstance(e, Liquidated)]
    assert liquidated
    for event in liquidated:
        assert START_NS < event.ts_ns < START_NS + 8 * HOUR_NS
        assert event.price * 1_000 == pytest.approx(event.mark, rel=0.01)


def test_an_exchange_ahead_of_the_grid_is_caught_up() -> None:
    world, exchanges = build(7, FIGURES)
    exchange = exchanges["figures"]
    exchange.advance(START_NS + 3 * FINE_NS + 77)
    world.advance_to(START_NS + 4 * FINE_NS - 1)
    assert exchange.now_ns == START_NS + 3 * FINE_NS + 77
    world.advance_to(START_NS + 5 * FINE_NS)
    assert exchange.now_ns == START_NS + 5 * FINE_NS


def test_the_driver_follows_a_clock_and_its_jumps() -> None:
    async def main(sim: Simulation) -> tuple[int, int]:
        clock = SteppingClock(START_NS, elapsed=asyncio.get_running_loop().time)
        world, _ = build(7, FIGURES)
        driver = asyncio.create_task(drive(world, clock))
        await asyncio.sleep(2.1)
        walked = world.now_ns
        world.advance_to(START_NS + 3 * HOUR_NS)
        clock.step_to(START_NS + 3 * HOUR_NS)
        await asyncio.sleep(1.0)
        driver.cancel()
        await asyncio.gather(driver, return_exceptions=True)
        return walked, world.now_ns

    walked, jumped = simloop.run(main, seed=1)
    assert walked == START_NS + 2 * SECOND_NS
    assert START_NS + 3 * HOUR_NS + SECOND_NS - FINE_NS <= jumped <= START_NS + 3 * HOUR_NS + SECOND_NS
