"""What lasts for hours or breaks in an unexpected way: exits go on, nothing dies without a word, and watchers hold up nobody."""

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from database.records import HoldingState, Leg, PairState
from exchange_clients.errors import Throttled
from exchange_clients.model import Purpose, Side
from exchange_simulator.core.types import Side as SimSide
from strategies.execution.decide import Cancel, Move, Send, decide
from strategies.execution.desk import Ticket
from strategies.execution.emulated.base import OrderView, Place, Price, RoleView, Seen
from strategies.execution.emulated.exits import STOP, Exits, decide_exits
from strategies.execution.emulated.trailing import Trailing
from strategies.execution.engine import EntryRefused
from strategies.execution.plan import Tactic
from tests.strategies.desk_stack import DeskStack, run_desk, until
from tests.strategies.stack import MID, Stack, commands_of, run_stack
from tests.strategies.test_decide import A, leg, view

D = Decimal
HALF_A_DAY = 1_500
"""Tries in a row, ten to thirty seconds apart."""


def test_e18_an_exit_goes_on_after_a_pause_of_half_a_day(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        record = await s.open()
        assert s.engine is not None
        dialect: Any = s.venues["paradex"].dialect
        dialect.system_status = "cancel_only"
        closing = asyncio.create_task(s.close(record.pair_id))
        await asyncio.sleep(5)
        for trader in s.engine.pairs[record.pair_id].legs.values():
            trader._waits = trader.market.pauses = HALF_A_DAY
        await asyncio.sleep(90)
        assert s.engine.pairs[record.pair_id].state is PairState.CLOSING, s.engine.pairs[record.pair_id].record.reason
        dialect.system_status = "ok"
        assert (await closing).state is PairState.CLOSED
        assert set(s.positions().values()) == {D(0)}

    run_stack(tmp_path, main, names=("hyperliquid", "paradex"))


def test_e20_a_cancel_and_a_stop_are_asked_for_also_after_half_a_day(tmp_path: Path) -> None:
    async def main(d: DeskStack) -> None:
        holding = await d.open(sign=1)
        await (await holding.place(Ticket(side=Side.BUY, quantity=D("0.01")))).ended()
        oco = await d.desk.emulated.oco(holding, quantity=D("0.01"), take_profit=D(103_000), stop=D(98_000), at_venue=False)
        order = await holding.place(Ticket(side=Side.BUY, quantity=D("0.001"), price=D(90_000)))
        await asyncio.sleep(2)
        d.venue.faults(f"server_error where={commands_of(d.name)} times=0")
        holding.share.proofs[order.client_order_id]._cancels = HALF_A_DAY
        order.cancel()
        for role in ("exit", "tp"):
            oco._denied[role] = (HALF_A_DAY, "")
            oco._deny(role, "the venue cannot be reached")
        await asyncio.sleep(20)
        d.venue.calm()
        await until(lambda: not order.live)
        d.price(D(97_500))
        assert await asyncio.wait_for(oco.ended(), 60) == "all of it is out"
        assert d.position == holding.own == 0

    run_desk(tmp_path, main)


def test_an_observer_that_fails_holds_up_nothing(tmp_path: Path) -> None:
    def fail(event: str, owner: str, facts: dict[str, object]) -> None:
        raise KeyError(event)

    async def main(d: DeskStack) -> None:
        d.s.story.hook = fail
        holding = await d.open(sign=1)
        await (await holding.place(Ticket(side=Side.BUY, quantity=D("0.01")))).ended()
        d.venue.host.drop_connections()
        await asyncio.sleep(5)
        assert (await holding.close("done")).state is HoldingState.CLOSED
        assert d.position == 0

    async def pair(s: Stack) -> None:
        s.story.hook = fail
        record = await s.open()
        assert record.state is PairState.HEDGED
        assert (await s.close(record.pair_id)).state is PairState.CLOSED
        assert set(s.positions().values()) == {D(0)}

    (tmp_path / "pair").mkdir()
    run_desk(tmp_path, main)
    run_stack(tmp_path / "pair", pair)


@pytest.mark.parametrize("when", ["while the other venue is asked", "while the disk is waited for"])
def test_e42_an_entry_that_was_decided_before_a_halt_is_not_sent(tmp_path: Path, when: str) -> None:
    async def main(s: Stack) -> None:
        assert s.engine is not None
        engine = s.engine
        client: Any = s.clients["lighter"]
        ask = client.fetch_bbo_prices

        async def slow(*args: Any) -> Any:
            if engine.pairs:
                await asyncio.sleep(2)
            return await ask(*args)

        def halt(event: str, _: str, facts: dict[str, object]) -> None:
            if event == "journal.before" and facts["records"] == "IntentRecord":
                engine.halt("now")

        if "disk" in when:
            s.story.hook = halt
        else:
            client.fetch_bbo_prices = slow
        opening = asyncio.create_task(s.open())
        await asyncio.sleep(1)
        engine.halt("now")
        record = await opening
        assert (record.state, record.reason) == (PairState.CLOSED, "failed open: entries are blocked")
        assert sum(venue.commands() for venue in s.venues.values()) == 0

    run_stack(tmp_path, main)


def test_e42_a_resting_entry_comes_off_also_while_its_last_fill_is_hedged() -> None:
    halted = view(state=PairState.OPENING, long=leg(A, "0.003", busy=True, adding=True), may_enter=False)
    assert Cancel(Leg.LONG) in decide(halted)
    assert any(isinstance(step, Send) and step.leg is Leg.SHORT and step.purpose is Purpose.HEDGE for step in decide(halted))


def test_a_bug_in_the_engine_leaves_no_entry_on_the_book(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        opening = asyncio.create_task(s.open(tactics=(Tactic.TOUCH, Tactic.TOUCH), maker_timeout_s=600.0))
        await asyncio.sleep(3)
        assert s.engine is not None
        (runner,) = s.engine.pairs.values()

        async def broken() -> None:
            raise KeyError("a bug")

        runner._look_at_prices = broken  # type: ignore[method-assign]
        runner.wake()
        assert (await opening).state is PairState.ALERT
        await asyncio.sleep(5)
        assert await s.clients["hyperliquid"].get_active_orders("BTC") == []

    run_stack(tmp_path, main)


def test_e18_an_exit_takes_the_next_best_price_whatever_is_wrong_with_the_book(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        record = await s.open()

        async def throttled(*_: Any) -> Any:
            raise Throttled("our own limiter is full")

        for client in s.clients.values():
            client.fetch_bbo_prices = throttled  # type: ignore[method-assign, assignment]
        assert (await s.close(record.pair_id)).state is PairState.CLOSED
        assert set(s.positions().values()) == {D(0)}

    run_stack(tmp_path, main)


def test_e02_an_order_is_followed_to_its_end_also_when_a_look_at_it_breaks(tmp_path: Path) -> None:
    async def main(d: DeskStack) -> None:
        holding = await d.open(sign=1)
        client: Any = holding.client
        known, left = client.known_order, 3

        def broken(client_order_id: str) -> Any:
            nonlocal left
            left -= 1
            if left >= 0:
                raise KeyError("a field that was never there")
            return known(client_order_id)

        client.known_order = broken
        order = await holding.place(Ticket(side=Side.BUY, quantity=D("0.01")))
        await asyncio.wait_for(order.ended(), 60)
        assert left < 0
        assert not order.live
        assert holding.own == order.filled == D("0.01")

    run_desk(tmp_path, main)


def test_e16_what_a_check_writes_down_takes_back_no_state_of_a_pair(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        record = await s.open()
        assert s.engine is not None
        runner = s.engine.pairs[record.pair_id]
        async with s.engine.journal._order:
            moving = asyncio.create_task(runner.move(Move(PairState.ALERT, "a human has to look")))
            await asyncio.sleep(0.1)
            runner.legs[Leg.LONG].market.foreign += D("0.001")
            saving = asyncio.create_task(runner.save_foreign())
            await asyncio.sleep(0.1)
        await asyncio.gather(moving, saving)
        assert s.journal is not None
        (kept,) = s.journal.pairs()
        for seen in (runner.record, kept):
            assert (seen.state, seen.foreign_long) == (PairState.ALERT, D("0.001"))

    run_stack(tmp_path, main)


def test_e07_what_a_check_writes_down_takes_back_no_state_of_a_holding(tmp_path: Path) -> None:
    async def main(d: DeskStack) -> None:
        holding = await d.open(sign=1)
        async with d.desk.journal._order:
            moving = asyncio.create_task(holding.move(HoldingState.CLOSED, "done"))
            await asyncio.sleep(0.1)
            holding.market.foreign += D("0.001")
            saving = asyncio.create_task(holding._save_foreign())
            await asyncio.sleep(0.1)
        await asyncio.gather(moving, saving)
        assert holding.state is HoldingState.CLOSED
        assert holding.share.ended
        assert d.s.journal is not None
        assert [h.state for h in d.s.journal.holdings()] == [HoldingState.CLOSED]

    run_desk(tmp_path, main)


def breaks(times: int, call: Any) -> Any:
    """The call, but the first ones meet a bug."""
    left = times

    async def broken(*args: Any, **how: Any) -> Any:
        nonlocal left
        left -= 1
        if left >= 0:
            raise KeyError("a bug")
        return await call(*args, **how)

    return broken


def test_e10_a_bug_while_proving_does_not_end_the_proving(tmp_path: Path) -> None:
    async def main(d: DeskStack) -> None:
        holding = await d.open(sign=1)
        assert d.s.engine is not None
        client: Any = holding.client
        client.get_open_positions = breaks(4, client.get_open_positions)
        holding.market.reconcile = breaks(4, holding.market.reconcile)  # type: ignore[method-assign]
        d.venue.host.drop_connections()
        await asyncio.sleep(70)
        assert d.s.engine.entry_block() is None
        assert d.desk.entry_block() is None
        assert holding.entry_block() is None
        assert not [task for task in d.desk.feeds.tasks if task.done() and "prove" not in task.get_name()]

    run_desk(tmp_path, main)


def test_e16_a_close_that_meets_a_bug_is_an_alert(tmp_path: Path) -> None:
    async def main(d: DeskStack) -> None:
        holding = await d.open(sign=1)
        await (await holding.place(Ticket(side=Side.BUY, quantity=D("0.01")))).ended()
        working = holding.market.reconcile
        holding.market.reconcile = breaks(1_000, working)  # type: ignore[method-assign]
        record = await asyncio.wait_for(holding.close("done"), 120)
        assert record.state is HoldingState.ALERT
        holding.market.reconcile = working  # type: ignore[method-assign]
        assert (await holding.close("again")).state is HoldingState.CLOSED

    run_desk(tmp_path, main)


def test_e16_an_alert_takes_what_adds_off_the_book(tmp_path: Path) -> None:
    async def main(d: DeskStack) -> None:
        holding = await d.open(sign=1)
        bracket = await d.desk.emulated.bracket(holding, side=Side.BUY, quantity=D("0.01"), price=D(99_000), stop=D(98_000), native=False)
        await until(lambda: len(holding.orders(live=True)) == 1)
        bracket._watch.read = breaks(1, bracket._watch.read)  # type: ignore[method-assign, union-attr]
        await until(lambda: holding.orders(live=True) == [])
        other = await holding.place(Ticket(side=Side.BUY, quantity=D("0.01"), price=D(99_000)))
        await holding.move(HoldingState.ALERT, "a human has to look")
        await asyncio.wait_for(other.ended(), 30)

    run_desk(tmp_path, main, name="okx")


def test_a_way_out_larger_than_the_venues_largest_order_goes_in_parts(tmp_path: Path) -> None:
    async def main(d: DeskStack) -> None:
        holding = await d.open(sign=1)
        await (await holding.place(Ticket(side=Side.BUY, quantity=D("0.01")))).ended()
        holding.instrument = msgspec.structs.replace(holding.instrument, max_quantity=D("0.004"))
        oco = await d.desk.emulated.oco(holding, quantity=D("0.01"), take_profit=D(103_000), stop=D(98_000), at_venue=False)
        await asyncio.sleep(2)
        d.price(D(97_500))
        assert await asyncio.wait_for(oco.ended(), 60) == "all of it is out"
        assert max(o.quantity for o in holding.orders() if o.intent.reduce_only) == D("0.004")
        assert d.position == holding.own == 0

    run_desk(tmp_path, main)


def test_e31_a_crossed_touch_neither_moves_nor_pulls_a_stop(tmp_path: Path) -> None:
    async def main(d: DeskStack) -> None:
        holding = await d.open(sign=1)
        await (await holding.place(Ticket(side=Side.BUY, quantity=D("0.01")))).ended()
        order = await d.desk.emulated.trailing(holding, quantity=D("0.01"), fraction=D("0.01"))
        await asyncio.sleep(2)
        watch: Any = order._watch
        for bid, ask in ((150_000, 100_005), (0, 100_005), (90_000, 80_000)):
            watch._take(Price(D(bid), D(ask)))
            order._changed.set()
            await asyncio.sleep(3)
        assert order.over is None
        assert isinstance(order.state, Trailing)
        assert order.state.best is not None
        assert order.state.best < 100_100
        assert d.position == D("0.01")

    run_desk(tmp_path, main)


@pytest.mark.parametrize("state", [PairState.OPENING, PairState.ALERT])
def test_e19_a_close_that_has_to_wait_is_not_forgotten_by_a_crash(tmp_path: Path, state: PairState) -> None:
    async def main(s: Stack) -> None:
        assert s.engine is not None
        opening = asyncio.create_task(s.open(tactics=(Tactic.INSIDE, Tactic.CROSS), maker_timeout_s=600.0))
        await asyncio.sleep(1)
        venue = s.venues["hyperliquid"]
        market = venue.exchange.markets[venue.symbol].spec
        part = "0.004" if state is PairState.OPENING else "0.01"
        venue.exchange.external_trade(venue.now(), venue.symbol, SimSide.SELL, market.to_steps(D(part)))
        await asyncio.sleep(2)
        (runner,) = s.engine.pairs.values()
        assert {leg.own for leg in runner.legs.values()} == {D(part)}
        if state is PairState.ALERT:
            await opening
            await runner.move(Move(PairState.ALERT, "a human has to look"))
        assert runner.state is state
        pair_id = runner.record.pair_id
        await s.engine.begin_close(pair_id, "too near to liquidation", s.decision("exit", pair_id))
        opening.cancel()
        await s.die()
        engine = await s.up()
        if state is PairState.ALERT:
            assert engine.pairs[pair_id].state is PairState.ALERT
            await engine.resume_pair(pair_id)
        record = await asyncio.wait_for(engine.pairs[pair_id].until_rest(), 60)
        assert (record.state, record.reason) == (PairState.CLOSED, "closed")
        assert set(s.positions().values()) == {D(0)}

    run_stack(tmp_path, main)


def test_e20_protection_that_our_own_rules_refuse_is_cried_out(tmp_path: Path) -> None:
    """The strategy's own take-profit takes all that may be sold: the stop has nothing left to sell."""

    async def main(d: DeskStack) -> None:
        holding = await d.open(sign=1)
        await (await holding.place(Ticket(side=Side.BUY, quantity=D("0.01")))).ended()
        mine = await holding.place(Ticket(side=Side.SELL, quantity=D("0.01"), price=D(105_000), reduce_only=True))
        oco = await d.desk.emulated.oco(holding, quantity=D("0.01"), take_profit=D(103_000), stop=D(98_000), at_venue=False)
        d.price(D(97_500))
        await until(lambda: holding.state is HoldingState.ALERT, 90)
        assert d.s.story.of("protection.failed")
        mine.cancel()
        assert await asyncio.wait_for(oco.ended(), 60) == "all of it is out"
        assert d.position == holding.own == 0

    run_desk(tmp_path, main)


def test_a_part_too_small_for_a_stop_costs_the_rest_no_stop_at_the_venue() -> None:
    exits = Exits(side=Side.SELL, stop=D(98), take_profit=D(103), at_venue=True)
    calm = Seen(now_ns=1, own=D("0.91"), price=Price(D(100), D(100)))
    standing = RoleView(live=(OrderView(remaining=D("0.9"), trigger_price=D(98)),), refused=3, most_refused=D("0.01"))
    assert decide_exits(exits, msgspec.structs.replace(calm, roles={STOP: standing}), D("0.91")) == (exits, [])
    refused = RoleView(refused=3, most_refused=D("0.01"))
    here, told = decide_exits(exits, msgspec.structs.replace(calm, own=D("0.01"), roles={STOP: refused}), D("0.01"))
    assert (here.at_venue, len(told)) == (False, 1)
    again, (place,) = decide_exits(here, msgspec.structs.replace(calm, roles={STOP: refused}), D("0.91"))
    assert again.at_venue
    assert isinstance(place, Place)
    assert (place.role, place.quantity, place.trigger_price) == (STOP, D("0.91"), D(98))


def test_e19_two_operators_that_resume_at_once_start_one_task(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        record = await s.open()
        assert s.engine is not None
        runner = s.engine.pairs[record.pair_id]
        await runner.move(Move(PairState.ALERT, "a human has to look"))
        await asyncio.sleep(1)
        async with s.engine.journal._order:
            both = [asyncio.create_task(s.engine.resume_pair(record.pair_id)) for _ in range(2)]
            await asyncio.sleep(1)
        await asyncio.sleep(1)
        assert len([t for t in asyncio.all_tasks() if t.get_name() == f"pair:{record.pair_id}"]) == 1
        found = await asyncio.gather(*both, return_exceptions=True)
        assert sorted(type(each).__name__ for each in found) == ["PairRecord", "ValueError"]
        assert runner.state is PairState.HEDGED

    run_stack(tmp_path, main)


def test_e08_e18_a_disk_that_never_answers_holds_up_an_exit_once(tmp_path: Path) -> None:
    class Hung:
        async def run(self, fn: Any, *args: Any, deadline_s: float = 10.0) -> Any:
            await asyncio.sleep(deadline_s)
            raise TimeoutError

        def close(self) -> None: ...

    async def main(s: Stack) -> None:
        record = await s.open(quantity="0.02", slice_="0.005")
        assert s.engine is not None
        journal: Any = s.engine.journal
        working, journal._offload = journal._offload, Hung()
        began = asyncio.get_running_loop().time()
        closing = asyncio.create_task(s.close(record.pair_id))
        await until(lambda: set(s.positions().values()) == {D(0)}, 600)
        assert asyncio.get_running_loop().time() - began < 60
        assert (await closing).state is PairState.CLOSED
        assert s.engine.entry_block() == "the journal cannot be written; records are in the fallback file"
        journal._offload = working
        await asyncio.sleep(40)
        assert s.engine.entry_block() is None

    run_stack(tmp_path, main)


def test_a_market_is_no_hedge_of_itself(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        with pytest.raises(EntryRefused, match="cannot hedge itself"):
            await s.open(long="lighter", short="lighter")
        assert sum(venue.commands() for venue in s.venues.values()) == 0

    run_stack(tmp_path, main)


def test_e18_an_exit_does_not_follow_quotes_that_were_pulled(tmp_path: Path) -> None:
    """The bid stands at half the mark for some seconds: what is held is not sold there, and is sold when the bids are back."""

    async def main(s: Stack) -> None:
        record = await s.open()
        venue = s.venues[record.long_venue]
        market = venue.exchange.markets[venue.symbol].spec
        half, ask = market.to_ticks(MID / 2), market.to_ticks(MID * D("1.0001"))
        size = market.to_steps(D(1))
        venue.exchange.set_levels(venue.now(), venue.symbol, [(half, size)], [(ask, size)])
        await asyncio.sleep(1)
        closing = asyncio.create_task(s.close(record.pair_id))
        await asyncio.sleep(4)
        venue.book()
        assert (await closing).state is PairState.CLOSED
        assert s.journal is not None
        sold = [f.price for f in s.journal.fills(record.pair_id) if f.leg is Leg.LONG and f.side == "sell"]
        assert min(sold) > MID * D("0.96"), sold

    run_stack(tmp_path, main)
