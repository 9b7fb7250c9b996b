"""The grid over real clients and dialects on virtual time: what it does when things do not go as they should."""

import asyncio
from collections import Counter
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from database.records import DecisionRecord, HoldingState
from exchange_clients.model import NS_PER_S, FeeRates, Purpose
from exchange_simulator.core.events import OrderAccepted, OrderRejected, PositionChanged
from exchange_simulator.core.types import RejectReason
from exchange_simulator.core.types import Side as SimSide
from strategies.base_strategy import InvalidParameters
from strategies.execution.guard import OrderCheck
from strategies.gate import LegFacts
from strategies.implementations.grid.config import GridConfig
from strategies.implementations.grid.gate import money_checks
from strategies.implementations.grid.state import GridState, Phase, Role
from strategies.implementations.grid.strategy import Grid
from tests.strategies.grid_stack import GridStack, run_grid
from tests.strategies.instruments import instrument
from tests.strategies.stack import accepted_by_client_id, commands_of

D = Decimal
VENUE = "hyperliquid"
QUIET = 100_000
"""A wait between entries that no test outlasts."""


def decisions(g: GridStack, kind: str) -> list[DecisionRecord]:
    assert g.s.journal is not None
    return [d for d in g.s.journal.decisions(strategy="grid") if d.kind == kind]


def at_venue(g: GridStack, role: Role) -> list[Any]:
    """Orders of a role in the exchange's own book."""
    sides = {Role.ENTRY: SimSide.BUY, Role.TAKE_PROFIT: SimSide.SELL}
    return [o for o in g.open_orders() if o.side == sides[role]]


async def entered(g: GridStack) -> None:
    """One entry filled in full, its take-profit on the book."""
    await g.until(lambda: bool(g.standing()))
    g.price("0.998")
    await g.until(lambda: any(o.role is Role.TAKE_PROFIT for o in g.standing()) and g.agreed())


def enters_near(g: GridStack, price: Decimal) -> bool:
    return any(o.role is Role.ENTRY and abs(o.price / price - 1) < D("0.001") for o in g.standing())


# ---- every fill is protected


def test_partial_fills_are_protected_as_they_come_and_dust_is_collected(tmp_path: Path) -> None:
    async def main(g: GridStack) -> None:
        await g.until(lambda: bool(g.standing()))
        order = g.open_orders()[0]
        g.fill(order, "0.00005")  # five dollars, below the venue's minimum
        await g.until(lambda: g.runner().state.own == D("0.00005"))
        await g.s.settle(3)
        assert not at_venue(g, Role.TAKE_PROFIT)
        assert g.runner().status()["waiting_for_more"] == "0.00005"
        assert g.s.story.of("grid.waiting")[-1]["quantity"] == D("0.00005")
        g.fill(order, "0.00400")
        await g.until(lambda: sum(o.quantity for o in g.standing() if o.role is Role.TAKE_PROFIT) == D("0.00405"))
        g.fill(order, "0.00590")
        await g.until(lambda: sum(o.remaining for o in g.standing() if o.role is Role.TAKE_PROFIT) == D("0.00995"))
        g.fill(order, "0.00005")  # the last of it: put into a standing take-profit
        await g.until(lambda: sum(o.remaining for o in g.standing() if o.role is Role.TAKE_PROFIT) == D("0.01"))
        assert g.agreed()
        market = g.market()
        resting = [(market.size(o.size), o.request.reduce_only) for o in at_venue(g, Role.TAKE_PROFIT)]
        assert sum(size for size, _ in resting) == g.position() == D("0.01")
        assert all(reduce_only for _, reduce_only in resting)

    run_grid(tmp_path, main, wait_time=QUIET)


def test_e17_exits_never_exceed_the_position_when_somebody_closes_by_hand(tmp_path: Path) -> None:
    async def main(g: GridStack) -> None:
        await entered(g)
        worst: list[Decimal] = []
        g.venue.exchange.subscribe(lambda e: worst.append(g.position()) if isinstance(e, PositionChanged) else None)
        client = g.s.clients[VENUE]
        await client.place_market_order("BTC", D("0.004"), "sell", reduce_only=True)
        await g.until(lambda: g.position() == D("0.006") and g.agreed())
        await g.until(lambda: sum(g.market().size(o.size) for o in at_venue(g, Role.TAKE_PROFIT)) == D("0.006"))
        g.price("1.01")
        await g.until(lambda: g.position() == 0)
        await g.s.settle(5)
        assert min(worst) >= 0
        assert not g.open_orders()

    run_grid(tmp_path, main, wait_time=QUIET)


# ---- stop, pause, halt


def test_the_stop_price_ends_flat_and_stays_so_until_resumed(tmp_path: Path) -> None:
    async def main(g: GridStack) -> None:
        await entered(g)
        holding = g.runner().state.holding_id
        g.price("0.97")
        await g.until_phase(Phase.HALTED)
        assert g.position() == 0
        assert not g.open_orders()
        assert g.s.journal is not None
        record = next(h for h in g.s.journal.holdings() if h.holding_id == holding)
        assert record.state is HoldingState.CLOSED
        assert "stop_price" in g.grid.halted[record.instrument]
        stop = decisions(g, "stop")[0]
        assert (stop.pair_id, stop.rule) == (holding, "stop_price")
        assert msgspec.json.decode(stop.thresholds)["stop_price"] == "98000"
        assert float(msgspec.json.decode(stop.ages)["book_s"]) <= 15
        g.price("1")
        await g.s.settle(20)
        assert not g.open_orders()
        await g.restart()
        await g.s.settle(20)
        assert not g.open_orders(), "a halt survives a restart"
        await g.grid.resume("BTC")
        await g.until(lambda: bool(at_venue(g, Role.ENTRY)))
        with pytest.raises(ValueError, match="nothing to resume"):
            await g.grid.resume("BTC")
        with pytest.raises(LookupError, match="there are BTC"):
            await g.grid.resume("DOGE")

    run_grid(tmp_path, main, stop_price="98000")


def test_e18_a_stop_without_a_book_goes_by_the_mark_and_ends_in_alert_with_the_rest(tmp_path: Path) -> None:
    async def main(g: GridStack) -> None:
        await entered(g)
        g.hide_book("0.97")
        await g.until_phase(Phase.ALERT)
        assert g.position() == D("0.01"), "nobody was there to sell to"
        assert not g.open_orders()
        assert decisions(g, "stop")[0].rule == "stop_price"
        assert msgspec.json.decode(decisions(g, "stop")[0].inputs)["price_from"] == "mark"
        assert "0.01" in decisions(g, "alert")[0].outcome
        sent = len(accepted_by_client_id(g.venue))
        await g.s.settle(30)
        assert len(accepted_by_client_id(g.venue)) == sent, "an alert sends nothing"
        g.price("0.97")
        await g.grid.resume("BTC")
        await g.until_phase(Phase.HALTED)
        assert g.position() == 0

    run_grid(tmp_path, main, stop_price="98000", wait_time=QUIET)


def test_a_holding_that_the_desk_closes_halts_its_grid(tmp_path: Path) -> None:
    async def main(g: GridStack) -> None:
        await entered(g)
        record = await g.desk.close(g.runner().state.holding_id, "asked elsewhere")
        assert record.state is HoldingState.CLOSED
        await g.until_phase(Phase.HALTED)
        await g.s.settle(10)
        assert g.position() == 0
        assert not g.open_orders()
        assert "asked elsewhere" in g.runner().state.reason

    run_grid(tmp_path, main)


def test_the_pause_price_takes_entries_off_and_leaves_take_profits(tmp_path: Path) -> None:
    async def main(g: GridStack) -> None:
        await entered(g)
        await g.until(lambda: str(g.runner().status()["waits"]).startswith("grid_step: "))
        g.price("0.9945")
        await g.until(lambda: any(o.role is Role.ENTRY for o in g.standing()))
        g.price("0.9895")
        await g.until(lambda: g.runner().state.paused == "pause_price")
        await g.until(lambda: not at_venue(g, Role.ENTRY))
        assert at_venue(g, Role.TAKE_PROFIT)
        assert decisions(g, "pause")[-1].rule == "pause_price"
        g.price("0.9925")
        await g.until(lambda: g.runner().state.paused == "")

    run_grid(tmp_path, main, pause_price="99000")


class Switch:
    """A guard that somebody turns."""

    reason: str | None = None

    def entry_block(self, *venues: str) -> str | None:
        return self.reason

    async def admit(self, *legs: OrderCheck) -> str | None:
        return self.reason

    def order_block(self, order: OrderCheck) -> str | None:
        assert order.purpose is Purpose.ENTRY, "reducing orders are never asked about"
        return self.reason


def test_e42_a_halt_takes_entries_off_within_a_second_and_leaves_exits_working(tmp_path: Path) -> None:
    guard = Switch()

    async def main(g: GridStack) -> None:
        await entered(g)
        g.price("0.990")
        await g.until(lambda: any(o.role is Role.ENTRY for o in g.standing()) and len(g.runner().state.lots) == 1)
        guard.reason = "halted by the operator"
        g.grid.wake()
        await g.until(lambda: not at_venue(g, Role.ENTRY), 1.0)
        g.price("1.01")
        await g.until(lambda: g.position() == 0)
        await g.s.settle(15)
        assert not g.open_orders()
        assert decisions(g, "skip")[-1].rule == "entry_block"
        guard.reason = None
        await g.until(lambda: bool(at_venue(g, Role.ENTRY)))

    run_grid(tmp_path, main, guard=guard)


def test_a_liquidated_grid_does_not_go_on_by_itself(tmp_path: Path) -> None:
    async def main(g: GridStack) -> None:
        await entered(g)
        market = g.market().symbol
        account = g.venue.account.account
        assert g.venue.exchange.withdraw(g.venue.now(), account, g.venue.exchange.available(account)) is None
        g.price("0.93")
        await g.until(lambda: g.position() == 0)
        await g.until_phase(Phase.HALTED)
        assert "liquidation" in g.runner().state.reason
        assert not g.venue.exchange.open_orders(account, market)

    run_grid(tmp_path, main, wait_time=QUIET)


# ---- one lot


def test_a_stop_loss_closes_its_lot_alone(tmp_path: Path) -> None:
    async def main(g: GridStack) -> None:
        await entered(g)
        first = g.runner().state.lots[0]
        g.price("0.985")
        await g.until(lambda: any(o.role is Role.ENTRY for o in g.standing()))
        g.price("0.9835")
        await g.until(lambda: len(g.runner().state.lots) == 2)
        g.price("0.979")
        await g.until(
            lambda: [x.lot_id for x in g.runner().state.lots] != [] and first.lot_id not in {x.lot_id for x in g.runner().state.lots}
        )
        await g.until(lambda: g.agreed() and g.position() > 0)
        exit_ = decisions(g, "exit")[0]
        assert exit_.rule == "stop_loss"
        assert msgspec.json.decode(exit_.thresholds)["stop_loss_percentage"] == "2"
        assert g.runner().state.phase is Phase.RUNNING

    run_grid(tmp_path, main, stop_loss_enabled=True, stop_loss_percentage="2", max_orders=2)


@pytest.mark.parametrize("mode", ["none", "aggressive"])
def test_an_old_position_is_told_or_closed_by_market(tmp_path: Path, mode: str) -> None:
    async def main(g: GridStack) -> None:
        await entered(g)
        await g.until(lambda: bool(decisions(g, "hold" if mode == "none" else "exit")))
        await g.s.settle(5)
        assert (g.position() > 0) is (mode == "none")
        assert bool(at_venue(g, Role.TAKE_PROFIT)) is (mode == "none")

    run_grid(tmp_path, main, wait_time=QUIET, position_timeout_minutes="1", recovery_mode=mode)


def test_boost_closes_by_market_at_the_take_profit(tmp_path: Path) -> None:
    async def main(g: GridStack) -> None:
        await g.until(lambda: bool(g.standing()))
        g.price("0.998")
        await g.until(lambda: g.position() > 0 and g.agreed())
        await g.s.settle(5)
        assert not g.open_orders()
        g.price("1.006")
        await g.until(lambda: g.position() == 0)
        assert decisions(g, "exit")[0].rule == "boost"

    run_grid(tmp_path, main, wait_time=QUIET, boost_mode=True)


# ---- entering


def test_e31_no_entry_while_the_book_has_a_gap(tmp_path: Path) -> None:
    async def main(g: GridStack) -> None:
        await g.up(run=False)
        await g.s.settle(1)
        g.price("1.0001")
        await g.s.settle(1)
        g.runner()._prices.take_streamed()
        assert g.runner()._prices.fresh(2) is not None
        feed = g.s.clients[VENUE].ws_manager.feeds[g.instrument().contract_id]
        feed.gap("a test tears it")
        assert not feed.book.ready
        await g.grid.run_cycle()
        assert g.grid.get_status()["grids"][str(g.instrument().id)]["waits"].startswith("book: ")
        assert not g.open_orders()

    run_grid(tmp_path, main, up=False)


def test_e21_leverage_is_set_and_read_back_before_the_first_entry(tmp_path: Path) -> None:
    async def main(g: GridStack) -> None:
        await g.until(lambda: bool(g.open_orders()))
        assert g.runner().state.leverage == 7
        held = await g.s.clients[VENUE].account_manager.fetch_leverage(g.instrument())
        assert held.account_leverage == 7

    run_grid(tmp_path, main, target_leverage="7")


@pytest.mark.parametrize(
    ("changes", "rule"),
    [({"order_notional_usd": "900000"}, "liquidation_distance"), ({"target_leverage": "5000"}, "leverage")],
)
def test_e24_no_entry_that_the_money_does_not_carry(tmp_path: Path, changes: dict[str, Any], rule: str) -> None:
    async def main(g: GridStack) -> None:
        await g.until(lambda: bool(decisions(g, "skip")))
        assert rule in decisions(g, "skip")[0].outcome
        assert not any(isinstance(e, OrderAccepted) and e.order.account == g.venue.account.account for e in g.venue.events)

    run_grid(tmp_path, main, **changes)


def test_e24_the_money_is_counted_after_everything_has_filled() -> None:
    listed = msgspec.structs.replace(instrument("toy"), initial_margin=D("0.05"), maintenance_margin=D("0.03"))
    facts = LegFacts(
        instrument=listed, connected=True, clock_skew_ms=0, loop_lag_ms=D(0), rooms={}, bids=(), asks=(), book_age_s=D(0), available=D(100),
        equity=D(1000), fees=FeeRates(maker=D(0), taker=D(0)), key=None, venue_now_ns=0, held_leverage=D(10), held_margin_mode=None,
        max_leverage=D(20), can_set_leverage=True, margin_modes=(), holds=False, maintenance_margin=D("0.03"),
    )  # fmt: skip
    c = GridConfig.model_validate({"exchange": "toy", "symbols": ["BTC"], "grid_step": 1, "take_profit": 1, "order_notional_usd": 10})

    def refused(adding: str, exposure: str = "0", leverage: str = "10") -> list[str]:
        found = money_checks(facts, D(leverage), c, exposure=D(exposure), adding=D(adding))
        return [x.rule for x in found if not x.ok]

    assert refused("900") == []  # ninety of the hundred that are free, at ten times
    assert refused("901") == ["margin"]
    assert refused("901", leverage="20") == []
    assert refused("901", leverage="50") == []  # the market allows twenty
    assert refused("500", "4500") == []  # 1000 x 0.9 / (0.1 x 1.5 + 0.03)
    assert refused("501", "4500") == ["liquidation_distance"]
    unknown = msgspec.structs.replace(facts, instrument=msgspec.structs.replace(listed, initial_margin=None))
    assert [x.rule for x in money_checks(unknown, None, c, exposure=D(0), adding=D(1)) if not x.ok] == ["margin"]


def test_a_post_only_that_would_cross_is_priced_again_from_a_newer_book(tmp_path: Path) -> None:
    async def main(g: GridStack) -> None:
        await g.up(run=False)
        await g.s.settle(1)
        g.price("1.001")
        await g.s.settle(0.5)
        runner = g.runner()
        await runner._book()
        actions = await runner._decide()
        g.price("0.99")  # the market falls between the look and the order
        await runner._act(actions)
        await g.until(lambda: any(isinstance(e, OrderRejected) for e in g.venue.events))
        assert next(e for e in g.venue.events if isinstance(e, OrderRejected)).reason is RejectReason.POST_ONLY_WOULD_CROSS
        await g.s.settle(1)
        await g.grid.run_cycle()
        assert runner.state.retries == 1
        g.price("0.9901")
        await g.s.settle(0.5)
        await g.grid.run_cycle()
        await g.s.settle(1)
        await g.grid.run_cycle()
        assert len(g.open_orders()) == 1
        assert runner.state.entries()[0].price < D("99100")

    run_grid(tmp_path, main, up=False)


def test_a_dry_run_sends_nothing_and_says_what_it_would_have_done(tmp_path: Path) -> None:
    async def main(g: GridStack) -> None:
        await g.until(lambda: bool(decisions(g, "skip")))
        assert decisions(g, "skip")[0].rule == "dry_run"
        assert "buy 0.01" in decisions(g, "skip")[0].outcome
        assert g.venue.commands() == 0

    run_grid(tmp_path, main, dry_run=True)


# ---- faults and restarts


@pytest.mark.parametrize("name", [VENUE, "lighter", "dydx"])
def test_e02_lost_answers_make_no_second_order(tmp_path: Path, name: str) -> None:
    async def main(g: GridStack) -> None:
        g.venue.faults(f"lost_ack where={commands_of(name)} probability=0.4 times=0 lasting=30")
        for level in ("1", "0.994", "0.988"):
            await g.until(partial(enters_near, g, 100_000 * D(level)))
            g.price(D(level) * D("0.998"))
            await g.until(lambda: g.position() > 0 and g.agreed())
            g.price(D(level) * D("0.994"))
        g.venue.calm()
        await g.until(lambda: g.agreed() and g.runner().state.waiting() == 0 and len(g.runner().state.lots) >= 3)
        assert set(accepted_by_client_id(g.venue).values()) == {1}
        await g.grid.begin_close(g.runner().state.holding_id, "the test is over")
        await g.until_phase(Phase.HALTED)
        assert g.position() == 0
        assert not g.open_orders()

    run_grid(tmp_path, main, name=name, wait_time=1)


def test_e09_a_restart_knows_every_order_and_protects_what_filled_meanwhile(tmp_path: Path) -> None:
    async def main(g: GridStack) -> None:
        await entered(g)
        g.price("0.990")
        await g.until(lambda: any(o.role is Role.ENTRY for o in g.standing()))
        before = g.runner().state
        await g.down()
        g.price("0.9885")
        assert g.position() > before.own, "the entry has filled while nobody looked"
        await g.up()
        await g.until(lambda: g.agreed() and g.runner().state.waiting() == 0)
        assert {x.lot_id for x in before.lots} < {x.lot_id for x in g.runner().state.lots}
        assert g.s.journal is not None
        assert len(g.s.journal.holdings()) == 1
        assert set(accepted_by_client_id(g.venue).values()) == {1}

    run_grid(tmp_path, main)


@pytest.mark.parametrize("name", [VENUE, "dydx"])
def test_a_cancel_that_came_before_its_order_or_a_restart_is_not_lost(tmp_path: Path, name: str) -> None:
    async def main(g: GridStack) -> None:
        await g.until(lambda: bool(g.standing()))
        g.price("0.998")
        await g.until(lambda: any(o.role is Role.TAKE_PROFIT for o in g.runner().state.orders))
        await g.grid.begin_close(g.runner().state.holding_id, "while the take-profit is on its way")
        await g.until_phase(Phase.HALTED)
        assert g.position() == 0
        assert not g.open_orders()
        g.price("1")
        await g.s.settle(1)
        await g.grid.resume("BTC")
        await entered(g)
        g.venue.faults("server_error times=0")
        await g.grid.begin_close(g.runner().state.holding_id, "while the venue is down")
        await g.until(lambda: all(o.cancelling for o in g.runner().state.orders))
        await g.down()
        g.venue.calm()
        await g.up()
        await g.until_phase(Phase.HALTED)
        assert g.position() == 0
        assert not g.open_orders()

    run_grid(tmp_path, main, name=name)


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("steps", [3, 7, 11, 14, 17, 21, 27, 33, 41, 54])
def test_e09_a_kill_at_any_journal_step_leaves_nothing_unprotected(tmp_path: Path, steps: int) -> None:
    left: list[int | None] = [None]
    died = asyncio.Event()

    def reaper(event: str, owner: str, facts: dict[str, object]) -> None:
        if left[0] is None or not event.startswith("journal."):
            return
        left[0] -= 1
        if left[0] < 0:
            died.set()
            task = asyncio.current_task()
            if task is not None:
                task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # nobody asks the dead
            raise Killed(event)

    async def main(g: GridStack) -> None:
        g.s.story.hook = reaper
        await g.up()
        left[0] = steps
        try:
            async with asyncio.timeout(45):
                for level in ("0.998", "0.992", "0.991", "0.985", "1.002"):
                    await g.s.settle(8)
                    g.price(level)
                await died.wait()
        except TimeoutError:
            pass
        exposure = g.position()
        left[0] = None
        await g.restart()
        await g.until(lambda: g.agreed() and not g.runner()._sending)
        assert abs(g.position()) <= abs(exposure) + D("0.02"), "what rested may fill, nothing is bought twice"
        await g.until(lambda: g.runner().state.waiting() == 0)
        assert set(accepted_by_client_id(g.venue).values()) <= {1}
        holding = g.runner().state.holding_id
        if holding:
            await g.grid.begin_close(holding, "the test is over")
            await g.until_phase(Phase.HALTED)
        assert g.position() == 0
        assert g.s.journal is not None
        assert all(h.state is HoldingState.CLOSED for h in g.s.journal.holdings()) or not holding

    run_grid(tmp_path, main, up=False, wait_time=2)


def test_state_that_was_lost_is_found_again_at_the_desk(tmp_path: Path) -> None:
    async def main(g: GridStack) -> None:
        await entered(g)
        own, runner = g.position(), g.runner()
        holding = runner.state.holding_id
        await runner.strategy.save_state(runner.key, GridState())
        runner._saved = runner.state
        await g.restart()
        await g.until(lambda: g.agreed() and g.runner().state.waiting() == 0)
        assert (g.runner().state.holding_id, g.runner().state.own) == (holding, own)

    run_grid(tmp_path, main, wait_time=QUIET)


def test_many_orders_start_a_new_holding_when_the_grid_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strategies.implementations.grid.runner.KEEP_ORDERS", 2)

    async def main(g: GridStack) -> None:
        await entered(g)
        first = g.runner().state.holding_id
        g.price("1.01")
        await g.until(lambda: g.runner().state.round_trips == 1 and bool(at_venue(g, Role.ENTRY)))
        assert g.runner().state.holding_id != first
        assert g.s.journal is not None
        assert Counter(h.state for h in g.s.journal.holdings()) == {HoldingState.CLOSED: 1, HoldingState.OPEN: 1}

    run_grid(tmp_path, main)


# ---- configuration


def test_wrong_names_are_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameters, match="did you mean wait_time"):
        Grid.validate_parameters({"exchange": "toy", "symbols": ["BTC"], "grid_step": "1", "order_notional_usd": "9", "wait_tim": 3})

    async def main(g: GridStack) -> None:
        with pytest.raises(InvalidParameters, match="not among the venues of this bot: hyperliquid"):
            await g.up(exchange="okx")

    run_grid(tmp_path, main, up=False)


def test_e39_what_grids_there_are_does_not_change_while_they_run(tmp_path: Path) -> None:
    async def main(g: GridStack) -> None:
        await entered(g)
        with pytest.raises(InvalidParameters, match="symbols, direction: cannot change"):
            await g.grid.reload(GridConfig.model_validate({**g.parameters, "symbols": ["ETH"], "direction": "sell"}))
        await g.grid.reload(GridConfig.model_validate({**g.parameters, "max_orders": 9, "stop_price": "99500"}))
        assert (g.runner().config.max_orders, g.grid.config.max_orders) == (4, 9)
        assert g.runner().config.stop_price is None, "what is open keeps its stop; the next holding gets the new one"
        await g.restart()
        assert g.runner().config.max_orders == 4

    run_grid(tmp_path, main, wait_time=QUIET)


def test_decisions_carry_inputs_thresholds_and_ages(tmp_path: Path) -> None:
    async def main(g: GridStack) -> None:
        await g.until(lambda: bool(g.open_orders()))
        enter = decisions(g, "enter")[0]
        assert enter.pair_id == g.runner().state.holding_id
        assert msgspec.json.decode(enter.inputs)["own"] == "0"
        limits = msgspec.json.decode(enter.thresholds)
        assert limits["grid_step"] == "0.5"
        assert "liquidation_distance" in limits["checks"]
        assert 0 <= float(msgspec.json.decode(enter.ages)["book_s"]) <= 2
        assert enter.ts <= min(o.placed_ns for o in g.runner().state.orders) + NS_PER_S

    run_grid(tmp_path, main)
