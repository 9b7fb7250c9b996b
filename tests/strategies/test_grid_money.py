"""Ways in which a grid could lose the deposit: money counted twice, exits that wait for entries, positions that nobody looks after."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from exchange_clients.model import NS_PER_S, FeeRates, MarginMode, Side
from exchange_simulator.core.types import Side as SimSide
from strategies.base_strategy import InvalidParameters
from strategies.gate import LegFacts
from strategies.implementations.grid.config import GridConfig
from strategies.implementations.grid.gate import fee_check, money_checks
from strategies.implementations.grid.state import GridOrder, GridState, Lot, Phase, Role, Seen, absorb
from tests.strategies.grid_stack import GridStack, run_grid
from tests.strategies.instruments import instrument

D = Decimal
VENUE = "hyperliquid"
QUIET = 100_000


async def entered(g: GridStack) -> None:
    """One entry filled in full, its take-profit on the book."""
    await g.until(lambda: bool(g.standing()))
    g.price("0.998")
    await g.until(lambda: any(o.role is Role.TAKE_PROFIT for o in g.standing()) and g.agreed())


def hang(g: GridStack, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """The venue does not answer what it is asked about the account; the returned function ends that."""
    manager = g.s.clients[VENUE].account_manager
    answer, free = manager.fetch_account, asyncio.Event()

    async def slow() -> Any:
        await free.wait()
        return await answer()

    monkeypatch.setattr(manager, "fetch_account", slow)
    return free.set


def test_e21_grids_that_enter_at_once_do_not_spend_the_same_money(tmp_path: Path) -> None:
    async def main(g: GridStack) -> None:
        room = g.cash() * D("0.9") / (D("0.15") + D("0.05"))
        await g.up(order_notional_usd=str(int(room * D("0.6"))))
        await g.s.settle(8)
        assert sum(len(g.open_orders(symbol)) for symbol in g.symbols) == 1
        assert sum((r.resting_usd for r in g.grid.grids.values()), D(0)) < room

    run_grid(tmp_path, main, up=False, symbols=("BTC", "ETH", "SOL"))


def test_e18_a_take_profit_does_not_wait_for_the_gate_of_the_next_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(g: GridStack) -> None:
        await g.until(lambda: bool(g.standing()))
        await g.s.settle(3)
        answer = hang(g, monkeypatch)
        g.price("0.99")
        await g.until(lambda: any(o.side == SimSide.SELL for o in g.open_orders()), 3)
        assert len(g.runner().state.lots) == 1
        answer()
        await g.until(lambda: any(o.side == SimSide.BUY for o in g.open_orders()), 20)

    run_grid(tmp_path, main)


def test_e18_a_stop_does_not_wait_for_the_gate_of_an_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(g: GridStack) -> None:
        await entered(g)
        await g.s.settle(3)
        hang(g, monkeypatch)
        g.price("0.99")
        await g.s.settle(2)
        g.price("0.97")
        await g.until(lambda: g.position() == 0, 5)
        await g.until_phase(Phase.HALTED)

    run_grid(tmp_path, main, stop_price="98000")


def test_a_liquidation_while_the_process_was_away_stops_the_grid(tmp_path: Path) -> None:
    async def main(g: GridStack) -> None:
        await entered(g)
        await g.down()
        account = g.venue.account.account
        assert g.venue.exchange.withdraw(g.venue.now(), account, g.venue.exchange.available(account)) is None
        g.price("0.93")
        await g.s.settle(5)
        assert g.position() == 0
        await g.up()
        await g.until_phase(Phase.HALTED)
        assert "liquidation" in g.runner().state.reason
        assert not g.open_orders()

    run_grid(tmp_path, main, wait_time=QUIET)


def test_entries_of_a_market_that_is_not_configured_any_more_come_off(tmp_path: Path) -> None:
    async def main(g: GridStack) -> None:
        await g.until(lambda: bool(g.open_orders("ETH")) and bool(g.open_orders("BTC")))
        holding = g.runner("ETH").state.holding_id
        await g.restart(symbols=("BTC",))
        await g.until(lambda: not g.open_orders("ETH"), 20)
        assert g.open_orders("BTC")
        assert holding in g.desk.holdings
        assert g.s.story.of("grid.left_alone")

    run_grid(tmp_path, main, symbols=("BTC", "ETH"), wait_time=QUIET)


@pytest.mark.parametrize("changes", [{"direction": "sell"}, {"mode": "two_sided", "take_profit": None, "max_orders": 10}])
def test_what_is_held_is_not_sold_because_the_file_says_another_direction(tmp_path: Path, changes: dict[str, Any]) -> None:
    async def main(g: GridStack) -> None:
        await entered(g)
        kept = {**g.parameters}
        with pytest.raises(InvalidParameters, match="close it first"):
            await g.restart(**changes)
        await g.s.settle(5)
        assert g.position() == D("0.01")
        g.parameters = kept
        await g.restart()
        await g.until(g.agreed)

    run_grid(tmp_path, main, wait_time=QUIET)


def test_a_price_that_stood_in_for_a_book_grows_old(tmp_path: Path) -> None:
    async def main(g: GridStack) -> None:
        await entered(g)
        g.hide_book("0.99")
        prices = g.runner()._prices
        await g.until(lambda: prices.stand_in is not None)
        assert g._running is not None
        g._running.cancel()
        await asyncio.gather(g._running, return_exceptions=True)
        await g.s.settle(20)
        assert prices.stand_in is None

    run_grid(tmp_path, main, stop_loss_enabled=True, stop_loss_percentage="5", wait_time=QUIET)


def facts(**more: Any) -> LegFacts:
    listed = msgspec.structs.replace(instrument("toy"), initial_margin=D("0.02"), maintenance_margin=D("0.01"))
    return LegFacts(
        **{
            "instrument": listed, "connected": True, "clock_skew_ms": 0, "loop_lag_ms": D(0), "rooms": {}, "bids": (), "asks": (),
            "book_age_s": D(0), "available": D(100_000), "equity": D(100_000), "fees": FeeRates(maker=D("0.0002"), taker=D("0.0005")),
            "key": None, "venue_now_ns": 0, "held_leverage": D(10), "held_margin_mode": MarginMode.CROSS, "max_leverage": D(50),
            "can_set_leverage": True, "margin_modes": (), "holds": False, "maintenance_margin": D("0.01"), **more,
        }
    )  # fmt: skip


def config(**more: Any) -> GridConfig:
    base = {"exchange": "toy", "symbols": ["BTC"], "grid_step": "0.5", "take_profit": "0.5", "order_notional_usd": "1000"}
    return GridConfig.model_validate({**base, **more})


def test_e24_an_isolated_position_keeps_its_distance_by_its_own_leverage() -> None:
    def refused(leverage: str | None, c: GridConfig, **more: Any) -> list[str]:
        held = None if leverage is None else D(leverage)
        found = money_checks(facts(**more), held, c, exposure=D(0), adding=D(1000))
        return [x.rule for x in found if not x.ok]

    isolated = config(margin_mode="isolated")
    assert refused("20", config()) == []
    assert refused("20", isolated) == ["isolated_leverage"]  # liquidated four percent away, fifteen are asked for
    assert refused("20", config(), held_margin_mode=MarginMode.ISOLATED) == ["isolated_leverage"]
    assert refused("20", config(), instrument=msgspec.structs.replace(facts().instrument, only_isolated=True)) == ["isolated_leverage"]
    assert refused(None, isolated) == ["isolated_leverage"]
    assert refused("6.25", isolated) == []
    assert refused("6.26", isolated) == ["isolated_leverage"]


def test_e25_no_entry_whose_take_profit_does_not_pay_its_fees() -> None:
    def ok(c: GridConfig, leverage: str | None = None) -> bool:
        return all(x.ok for x in fee_check(facts(), None if leverage is None else D(leverage), c))

    assert ok(config())
    assert not ok(config(take_profit="0.04"))
    assert ok(config(take_profit="0.05"))
    assert not ok(config(take_profit="0.4", take_profit_basis="margin"), "10")
    assert ok(config(take_profit="0.5", take_profit_basis="margin"), "10")
    assert ok(config(take_profit="0.01", boost_mode=True))  # volume for a price, by choice
    ladder = GridConfig.model_validate(
        {"exchange": "toy", "symbols": ["BTC"], "mode": "two_sided", "grid_step": "0.03", "order_notional_usd": "1000"}
    )
    assert not ok(ladder)


def test_e20_an_exit_that_stood_on_the_book_for_a_while_begins_the_count_of_failures_anew() -> None:
    now_ns = 1_000 * NS_PER_S
    held = Lot(lot_id="a", side=Side.BUY, quantity=D(1), cost=D(100), opened_ns=0, failures=7)
    exit_ = GridOrder(
        client_order_id="tp", role=Role.TAKE_PROFIT, side=Side.SELL, price=D(101), quantity=D(1), lot="a", placed_ns=now_ns - 61 * NS_PER_S
    )
    gone = {"tp": Seen(client_order_id="tp", finished=True)}
    at_once = msgspec.structs.replace(exit_, placed_ns=now_ns - NS_PER_S)
    for order, failures in ((exit_, 1), (at_once, 8)):
        after, _ = absorb(GridState(lots=(held,), orders=(order,)), gone, D(1), now_ns=now_ns, price=D(100))
        assert after.lots[0].failures == failures


def test_what_ended_long_ago_leaves_memory_and_is_not_booked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strategies.implementations.grid.runner.FORGET_AFTER_NS", 60 * NS_PER_S)
    monkeypatch.setattr("strategies.implementations.grid.runner.FORGET_EVERY_S", 5.0)

    async def main(g: GridStack) -> None:
        for trip in range(4):
            at = D("1.01") ** trip
            await g.until(lambda: any(abs(o.price / g.mids["BTC"] - 1) < D("0.001") for o in g.standing()))
            g.price(at * D("0.998"))
            await g.until(lambda: any(o.role is Role.TAKE_PROFIT for o in g.standing()) and g.agreed())
            if trip < 3:
                g.price(at * D("1.01"))
                await g.until(lambda n=trip: g.runner().state.round_trips > n)  # type: ignore[misc]
        holding = g.runner().holding
        assert holding is not None
        await g.s.settle(240)
        kept = {o.client_order_id for o in g.runner().state.orders}
        assert len(holding.orders()) <= len(kept) + 1
        assert len(holding.share.intents) == len(holding.orders())
        client, began_ns = g.s.clients[VENUE], holding.record.created_at
        told = await client.get_user_trade_history(g.instrument().contract_id, since_ns=began_ns)
        assert len(told) >= 7
        own = holding.own
        for fill in told:
            assert g.s.engine is not None
            await g.s.engine.ownership.take_fill("main", fill)
        await g.s.settle(40)
        assert holding.own == own == g.position()
        assert g.agreed()
        await g.restart()
        await g.until(g.agreed)
        assert g.runner().state.round_trips == 3

    run_grid(tmp_path, main)


def test_a_book_whose_quotes_are_pulled_is_no_price_for_a_stop(tmp_path: Path) -> None:
    async def main(g: GridStack) -> None:
        await entered(g)
        before, market, exchange = g.cash(), g.market(), g.venue.exchange

        def wide(mark: str) -> None:
            ref, size = market.to_ref(D(mark)), market.to_steps(D(1))
            exchange.set_mark(g.venue.now(), market.symbol, ref, ref)
            exchange.set_levels(g.venue.now(), market.symbol, [(market.to_ticks(D(50_000)), size)], [(market.to_ticks(D(100_020)), size)])

        del g.mids["BTC"]
        for _ in range(10):
            wide("99800")
            await g.s.settle(1)
        assert g.runner().state.phase is Phase.RUNNING
        assert g.position() == D("0.01")
        wide("97000")
        await g.until(lambda: g.runner().state.phase is Phase.STOPPING, 10)
        await g.s.settle(2)
        assert g.position() == D("0.01"), "nothing is sold at half the mark"
        g.price("0.97")
        await g.until_phase(Phase.HALTED)
        assert g.position() == 0
        assert before - g.cash() < D(35)

    run_grid(tmp_path, main, stop_price="98000", wait_time=QUIET)


def test_the_age_of_a_position_counts_from_its_fill_also_when_the_process_was_away(tmp_path: Path) -> None:
    async def main(g: GridStack) -> None:
        await g.until(lambda: bool(g.standing()))
        await g.down()
        g.price("0.998")
        await g.s.settle(120)
        assert g.position() == D("0.01")
        await g.up()
        await g.until(lambda: g.position() == 0, 30)

    run_grid(tmp_path, main, wait_time=QUIET, position_timeout_minutes="2", recovery_mode="aggressive")
