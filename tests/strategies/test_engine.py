"""The execution engine over real clients and dialects on virtual time: one test per invariant, named after it."""

import asyncio
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from database.errors import JournalError
from database.journal import Journal
from database.records import FillCause, IntentState, Leg, PairState
from exchange_clients.model import Purpose, Side
from exchange_clients.transport.clock import VirtualClock
from exchange_simulator import simloop
from exchange_simulator.core import types as core
from exchange_simulator.core.events import FundingPaid
from exchange_simulator.core.types import NewOrder
from exchange_simulator.core.types import Side as SimSide
from exchange_simulator.simloop import EPOCH_NS
from strategies.execution.engine import EntryRefused
from strategies.execution.ledger import book_funding, result
from strategies.execution.plan import Tactic
from tests.strategies.stack import COMMAND_PATHS, VENUES, NakedWatch, Stack, accepted_by_client_id, run_stack

D = Decimal
LONG, SHORT = VENUES
STEP = D("0.00001")


def hedged(s: Stack, quantity: str = "0.01") -> None:
    assert s.positions() == {LONG: D(quantity), SHORT: -D(quantity)}


def flat(s: Stack) -> None:
    assert s.positions() == {LONG: D(0), SHORT: D(0)}


def once_each(s: Stack) -> None:
    for venue in s.venues.values():
        assert set(accepted_by_client_id(venue).values()) <= {1}


def read_only(journal: Journal, on: bool) -> None:
    with journal._connection.begin():
        journal._connection.exec_driver_sql(f"PRAGMA query_only={'ON' if on else 'OFF'}")


@pytest.mark.parametrize("first", list(Leg))
def test_a_pair_opens_hedges_and_closes(tmp_path: Path, first: Leg) -> None:
    async def main(s: Stack) -> None:
        record = await s.open(first=first, slice_="0.004")
        assert (record.state, record.residual_long) == (PairState.HEDGED, None)
        hedged(s)
        closed = await s.close(record.pair_id)
        assert closed.state is PairState.CLOSED, closed.reason
        flat(s)
        once_each(s)
        assert s.journal is not None
        assert {i.state for i in s.journal.intents(record.pair_id)} == {IntentState.SETTLED}
        assert all(i.reduce_only for i in s.journal.intents(record.pair_id) if i.purpose in (Purpose.CLOSE, Purpose.UNWIND))
        assert s.story.of("order.unknown") == []

    run_stack(tmp_path, main)


def test_e01_unreadable_venues_never_mean_flat(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        record = await s.open()
        s.venues[SHORT].faults("server_error times=0")
        s.venues[LONG].faults("server_error times=0")
        before = {v: s.venues[v].commands() for v in VENUES}
        await asyncio.sleep(120)
        assert s.engine is not None
        assert s.engine.pairs[record.pair_id].state is PairState.HEDGED
        closing = asyncio.create_task(s.close(record.pair_id))
        await asyncio.sleep(5)
        assert s.engine.pairs[record.pair_id].state is PairState.CLOSING
        hedged(s)
        assert {v: s.venues[v].commands() for v in VENUES} == before, "nothing is sent while nothing is known"
        for venue in s.venues.values():
            venue.calm()
        assert (await closing).state is PairState.CLOSED
        flat(s)

    run_stack(tmp_path, main)


@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize("kind", ["lost_ack", "lost_request", "server_error", "rate_limited retry_after=1"])
@pytest.mark.parametrize("where", VENUES)
def test_e02_ambiguous_submit_is_resolved_by_client_id(tmp_path: Path, where: str, kind: str, nth: int) -> None:
    async def main(s: Stack) -> None:
        s.venues[where].faults(f"{kind} where={COMMAND_PATHS[where]} nth={nth}")
        watch = NakedWatch(s)
        record = await s.open(slice_="0.004")
        assert record.state in (PairState.HEDGED, PairState.CLOSED), record.reason
        closed = await s.close(record.pair_id) if record.state is PairState.HEDGED else record
        assert closed.state is PairState.CLOSED, closed.reason
        flat(s)
        once_each(s)
        assert watch.worst <= D("0.004")
        plan = s.venues[where].plan
        assert plan is not None
        if plan.strikes:
            assert s.journal is not None
            assert all(i.state.resolved for i in s.journal.intents(record.pair_id))

    run_stack(tmp_path, main)


@pytest.mark.parametrize("where", VENUES)
def test_e02_a_lost_answer_whose_fill_is_told_late_is_not_sent_again(tmp_path: Path, where: str) -> None:
    """Nothing speaks for the order at first: no answer, no fill. Only asking by client id shows that it was done."""

    async def main(s: Stack) -> None:
        venue = s.venues[where]
        venue.faults(f"lost_ack where={COMMAND_PATHS[where]} nth=1", f"late_fill delay=3 account={venue.account.account}")
        watch = NakedWatch(s)
        record = await s.open(slice_="0.004", hedge_deadline_s=8.0)
        assert record.state is PairState.HEDGED, record.reason
        hedged(s)
        once_each(s)
        assert watch.worst <= D("0.004"), "one slice, once"

    run_stack(tmp_path, main)


@pytest.mark.parametrize("seed", range(6))
def test_e02_random_lost_acks_never_double_an_order(tmp_path: Path, seed: int) -> None:
    async def main(s: Stack) -> None:
        for name, venue in s.venues.items():
            venue.faults(f"lost_ack where={COMMAND_PATHS[name]} probability=0.4 times=0 lasting=60")
        record = await s.open(slice_="0.003", hedge_deadline_s=20.0)
        if record.state is PairState.HEDGED:
            record = await s.close(record.pair_id)
        assert record.state is PairState.CLOSED, record.reason
        flat(s)
        once_each(s)

    run_stack(tmp_path, main, seed=seed)


def test_e03_client_ids_never_repeat_over_restarts(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        for _ in range(3):
            record = await s.open()
            await s.close(record.pair_id)
            await asyncio.sleep(60)
            await s.restart()
        once_each(s)
        assert s.journal is not None
        ids = [(i.venue, i.client_order_id) for p in s.journal.pairs() for i in s.journal.intents(p.pair_id)]
        assert len(ids) == len(set(ids)) == 12

    run_stack(tmp_path, main)


@pytest.mark.parametrize("delay", ["0.3", "1.5", "4"])
def test_e04_a_fill_told_after_the_cancel_is_hedged_exactly_once(tmp_path: Path, delay: str) -> None:
    """The maker order fills while it is being cancelled; the stream tells late."""

    async def main(s: Stack) -> None:
        s.venues[LONG].faults(f"late_fill delay={delay} account={s.venues[LONG].account.account}")
        opening = asyncio.create_task(s.open(tactics=(Tactic.TOUCH,), maker_timeout_s=3.0, hedge_deadline_s=8.0))
        await asyncio.sleep(2.95)
        venue = s.venues[LONG]
        market = venue.exchange.markets[venue.symbol].spec
        venue.exchange.external_trade(venue.now(), venue.symbol, SimSide.SELL, market.to_steps(D("1.006")))
        record = await opening
        assert record.state in (PairState.HEDGED, PairState.CLOSED), record.reason
        positions = s.positions()
        assert positions[LONG] == -positions[SHORT]
        assert positions[LONG] >= 0
        once_each(s)

    run_stack(tmp_path, main)


@pytest.mark.parametrize(
    "kind", ["duplicate_fill delay=0.2 times=0", "out_of_order_fills times=0", "late_fill delay=0.4 times=0 probability=0.5"]
)
def test_e05_repeated_late_and_disordered_fills_count_once(tmp_path: Path, kind: str) -> None:
    async def main(s: Stack) -> None:
        for venue in s.venues.values():
            venue.faults(kind)
            venue.book(size="0.001", levels=30)
        record = await s.open(slice_="0.005", hedge_deadline_s=10.0)
        assert record.state is PairState.HEDGED, record.reason
        hedged(s)
        assert s.journal is not None
        fills = s.journal.fills(record.pair_id)
        assert len({(f.venue, f.trade_id) for f in fills}) == len(fills)
        assert {leg: sum(f.quantity for f in fills if f.leg is leg) for leg in Leg} == {Leg.LONG: D("0.01"), Leg.SHORT: D("0.01")}
        for venue in s.venues.values():
            venue.book()
        assert (await s.close(record.pair_id)).state is PairState.CLOSED
        flat(s)

    run_stack(tmp_path, main)


def test_e06_what_counts_as_filled_are_fills(tmp_path: Path) -> None:
    """While the fill has not been told, the first leg is not hedged, whatever the order's status says; then it is."""

    async def main(s: Stack) -> None:
        seen: list[tuple[str, object]] = []
        s.story.hook = lambda event, _, facts: seen.append((event, facts.get("leg")))
        record = await s.open()
        assert record.state is PairState.HEDGED
        fill = seen.index(("fill", "long"))
        hedge = seen.index(("order.send", "short"))
        assert fill < hedge

    run_stack(tmp_path, main)


def test_e07_closed_only_when_both_venues_prove_it(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        record = await s.open()
        proved: list[bool] = []

        def cut(event: str, _: str, facts: dict[str, object]) -> None:
            if event == "fill" and facts["leg"] == "short" and facts["side"] == "buy":
                s.venues[LONG].host.set_black_hole(True)
            if event == "pair.state" and facts["state"] == "closed":
                proved.append(s.venues[LONG].host.black_hole)

        s.story.hook = cut
        closing = asyncio.create_task(s.close(record.pair_id))
        await asyncio.sleep(18)
        assert s.engine is not None
        assert s.engine.pairs[record.pair_id].state is PairState.CLOSING, "one venue cannot be asked"
        s.venues[LONG].host.set_black_hole(False)
        assert (await closing).state is PairState.CLOSED
        assert proved == [False]
        flat(s)

    run_stack(tmp_path, main)


def test_e08_what_cannot_be_recorded_is_not_sent(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        assert s.journal is not None
        before = {v: s.venues[v].commands() for v in VENUES}
        plan, decision = s.plan(), s.decision()
        read_only(s.journal, True)
        assert s.engine is not None
        with pytest.raises(Exception, match="cannot be written"):
            await s.engine.open(plan, decision)
        assert {v: s.venues[v].commands() for v in VENUES} == before
        assert s.engine.pairs == {}
        flat(s)

    run_stack(tmp_path, main)


def test_e08_the_journal_fails_while_opening_the_pair_ends_balanced_and_exits_still_work(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        journal = s.journal
        assert journal is not None

        def fail(event: str, _: str, facts: dict[str, object]) -> None:
            if event == "fill" and facts["leg"] == "long" and facts["side"] == "buy":
                s.story.hook = None
                read_only(journal, True)

        s.story.hook = fail
        record = await s.open(slice_="0.004")
        assert record.state is PairState.CLOSED, "the hedge could not be recorded, so the first leg was unwound"
        assert "failed open" in record.reason
        flat(s)
        assert s.engine is not None
        assert "journal" in (s.engine.entry_block() or "")
        assert journal.degraded
        read_only(journal, False)
        await s.restart()
        assert s.journal is not None
        held = s.journal.pair(record.pair_id)
        assert held is not None
        assert held.state is PairState.CLOSED
        bought = sum(f.signed for f in s.journal.fills(record.pair_id) if f.leg is Leg.LONG)
        assert bought == 0, "the unwind is on record too"

    run_stack(tmp_path, main)


def test_e08_an_exit_is_sent_and_recorded_although_the_database_is_read_only(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        record = await s.open()
        assert s.journal is not None
        decision = s.decision("exit", record.pair_id)
        read_only(s.journal, True)
        assert s.engine is not None
        closed = await s.engine.close(record.pair_id, "test", decision)
        assert closed.state is PairState.CLOSED
        flat(s)
        read_only(s.journal, False)
        await s.restart()
        assert s.journal is not None
        assert sum(f.signed for f in s.journal.fills(record.pair_id)) == 0
        assert {i.purpose for i in s.journal.intents(record.pair_id)} == {"entry", "hedge", "close"}

    run_stack(tmp_path, main)


def test_e10_no_entry_before_every_venue_of_the_pair_is_reconciled(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        assert s.engine is None
        engine = await s.up(start=False)
        with pytest.raises(EntryRefused, match="not reconciled since the start"):
            await s.open()
        s.venues[SHORT].faults("server_error times=0")
        await engine.start()
        with pytest.raises(EntryRefused, match=SHORT):
            await s.open()
        s.venues[SHORT].calm()
        await asyncio.sleep(15)
        assert (await s.open()).state is PairState.HEDGED
        s.venues[SHORT].host.drop_connections()
        await asyncio.sleep(0.01)
        with pytest.raises(EntryRefused):
            await s.open()
        await asyncio.sleep(30)
        assert engine.entry_block() is None

    run_stack(tmp_path, main, start=False)


def test_e11_what_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    """The account holds a position and an order of its own before, during and after."""

    async def main(s: Stack) -> None:
        client = s.clients[LONG]
        bought = await client.place_limit_order("BTC", D("0.02"), D(100_500), Side.BUY, time_in_force="IOC", wait_for="terminal")
        assert bought.filled_size == D("0.02")
        resting = await client.place_limit_order("BTC", D("0.02"), D(90_000), Side.BUY, wait_for="open")
        record = await s.open()
        assert (record.state, record.foreign_long, record.foreign_short) == (PairState.HEDGED, D("0.02"), D(0))
        assert s.positions()[LONG] == D("0.03")
        await client.place_limit_order("BTC", D("0.005"), D(100_500), Side.BUY, time_in_force="IOC", wait_for="terminal")
        await asyncio.sleep(45)
        assert s.positions() == {LONG: D("0.035"), SHORT: D("-0.01")}, "bought by hand meanwhile: not ours, nothing to repair"
        closed = await s.close(record.pair_id)
        assert closed.state is PairState.CLOSED, closed.reason
        assert s.positions() == {LONG: D("0.025"), SHORT: D(0)}
        assert [o.client_order_id for o in await client.get_active_orders("BTC")] == [resting.client_order_id]

    run_stack(tmp_path, main)


def test_e11_a_foreign_position_against_the_leg_refuses_the_plan(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        await s.clients[LONG].place_limit_order("BTC", D("0.02"), D(99_000), Side.SELL, time_in_force="IOC", wait_for="terminal")
        with pytest.raises(EntryRefused, match="foreign_position"):
            await s.open()
        assert s.positions() == {LONG: D("-0.02"), SHORT: D(0)}

    run_stack(tmp_path, main)


def test_e12_the_naked_part_stays_within_the_cap_and_returns_in_time(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        watch = NakedWatch(s)
        with pytest.raises(EntryRefused, match="naked_cap"):
            await s.open(quantity="0.1", slice_="0.06", naked_cap_usd=D(5_000))
        record = await s.open(quantity="0.1", slice_="0.02", naked_cap_usd=D(2_500))
        assert record.state is PairState.HEDGED
        assert watch.worst * 100_000 <= 2_500
        assert watch.longest_open_s(STEP) < 5

    run_stack(tmp_path, main)


@pytest.mark.parametrize("first", list(Leg))
def test_e12_e14_e15_e16_a_hedge_that_cannot_be_done_is_unwound(tmp_path: Path, first: Leg) -> None:
    async def main(s: Stack) -> None:
        hedge_venue = s.venues[SHORT if first is Leg.LONG else LONG]
        watch = NakedWatch(s)
        s.story.hook = lambda event, *_: hedge_venue.one_sided() if event == "fill" and not watch.history[2:] else None
        record = await s.open(first=first, slice_="0.004")
        assert record.state is PairState.CLOSED, record.reason
        assert record.reason.startswith("failed open")
        flat(s)
        assert watch.worst == D("0.004"), "one slice"
        assert watch.longest_open_s(STEP) < 5 + 5
        assert s.journal is not None
        fills = s.journal.fills(record.pair_id)
        assert sum(f.quantity for f in fills if f.side == "buy") == sum(f.quantity for f in fills if f.side == "sell") == D("0.004")
        assert all(i.reduce_only for i in s.journal.intents(record.pair_id) if i.purpose == "unwind")

    run_stack(tmp_path, main)


def test_e14_a_half_hedge_is_reduced_to_the_smaller_leg(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        s.venues[SHORT].book(size="0.0015", levels=2)
        record = await s.open(slice_="0.01")
        assert record.state is PairState.HEDGED, record.reason
        assert s.positions() == {LONG: D("0.003"), SHORT: D("-0.003")}
        s.venues[SHORT].book()
        assert (await s.close(record.pair_id)).state is PairState.CLOSED
        flat(s)

    run_stack(tmp_path, main)


@pytest.mark.parametrize("where", VENUES)
def test_e16_a_market_that_halts_after_a_partial_fill(tmp_path: Path, where: str) -> None:
    """The rest cannot be traded: flat, balanced, or an alert that names the exact residual."""

    async def main(s: Stack) -> None:
        s.venues[where].book(size="0.002", levels=10)
        s.venues[where].faults(f"partial_then_halt account={s.venues[where].account.account} lasting=600")
        record = await s.open(slice_="0.01", max_reduce_attempts=3)
        positions = s.positions()
        if record.state is PairState.ALERT:
            assert (record.residual_long, record.residual_short) == (positions[LONG], positions[SHORT])
        else:
            assert record.state in (PairState.HEDGED, PairState.CLOSED)
            assert positions[LONG] == -positions[SHORT]

    run_stack(tmp_path, main)


@pytest.mark.parametrize("where", VENUES)
def test_e17_a_venue_that_ignores_reduce_only_never_flips_the_position(tmp_path: Path, where: str) -> None:
    """While the pair closes in slices, somebody closes a part by hand."""

    async def main(s: Stack) -> None:
        for venue in s.venues.values():
            venue.faults("reduce_only_ignored")
        record = await s.open()
        watch: list[Decimal] = []
        s.venues[where].exchange.subscribe(lambda _: watch.append(s.venues[where].position()))
        sign = 1 if where == LONG else -1

        by_hand = s.clients[where].place_limit_order(
            "BTC",
            D("0.007"),
            D(99_000) if where == LONG else D(101_000),
            Side.SELL if where == LONG else Side.BUY,
            time_in_force="IOC",
            wait_for="terminal",
        )
        await by_hand
        closed = await s.close(record.pair_id)
        assert closed.state is PairState.CLOSED, closed.reason
        flat(s)
        assert min(sign * p for p in watch) >= 0, "the position never flipped"
        assert s.journal is not None
        causes = [f.kind for f in s.journal.fills(record.pair_id)]
        assert FillCause.EXTERNAL in causes

    run_stack(tmp_path, main)


def test_e18_a_hedged_pair_is_held_while_one_venue_is_down_and_closed_when_it_is_back(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        record = await s.open()
        s.venues[SHORT].host.set_black_hole(True)
        await asyncio.sleep(20)
        before = s.venues[LONG].commands()
        closing = asyncio.create_task(s.close(record.pair_id))
        await asyncio.sleep(20)
        hedged(s)
        assert s.venues[LONG].commands() == before
        s.venues[SHORT].host.set_black_hole(False)
        closed = await closing
        assert closed.state is PairState.CLOSED, closed.reason
        flat(s)

    run_stack(tmp_path, main)


def test_e18_exits_work_while_entries_are_halted_and_without_an_entry_price(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        record = await s.open()
        assert s.engine is not None
        s.engine.halt("test")
        with pytest.raises(EntryRefused, match="halted"):
            await s.open()
        s.venues[LONG].one_sided()
        closing = asyncio.create_task(s.close(record.pair_id))
        await asyncio.sleep(1)
        s.venues[LONG].book()
        assert (await closing).state is PairState.CLOSED
        flat(s)
        assert s.journal is not None
        assert any("mark" in i.reason for i in s.journal.intents(record.pair_id)), "the first try had no book and used the mark price"

    run_stack(tmp_path, main)


def test_e19_the_reason_is_on_disk_before_the_exit_and_two_triggers_are_one_exit(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        record = await s.open()
        order: list[str] = []

        def note(event: str, _: str, facts: dict[str, object]) -> None:
            if event == "journal.after" and facts["records"] == "DecisionRecord":
                order.append("decision")
            elif event == "order.send":
                order.append("send")

        s.story.hook = note
        first, second = await asyncio.gather(s.close(record.pair_id, "one"), s.close(record.pair_id, "two"))
        assert first == second
        assert order[0] == "decision"
        assert order.count("send") == 2, "one order per leg"
        flat(s)
        assert s.journal is not None
        assert [d.kind for d in s.journal.decisions(record.pair_id)][-2:] == ["exit", "exit"]

    run_stack(tmp_path, main)


def test_e20_an_exit_without_a_counterparty_ends_in_alert_with_the_residual(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        record = await s.open()
        for venue in s.venues.values():
            venue.one_sided()
        closed = await s.close(record.pair_id)
        assert closed.state is PairState.ALERT
        assert (closed.residual_long, closed.residual_short) == (D("0.01"), D("-0.01"))
        hedged(s)
        sent = len(s.story.of("order.send"))
        assert sent <= 2 + 8
        await asyncio.sleep(600)
        assert len(s.story.of("order.send")) == sent, "no silent loop"

    run_stack(tmp_path, main)


def test_closing_by_hand_on_one_leg_reduces_the_other(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        record = await s.open()
        await s.clients[LONG].place_limit_order("BTC", D("0.004"), D(99_000), Side.SELL, time_in_force="IOC", wait_for="terminal")
        await asyncio.sleep(45)
        assert s.positions() == {LONG: D("0.006"), SHORT: D("-0.006")}
        assert s.engine is not None
        assert s.engine.pairs[record.pair_id].state is PairState.HEDGED
        assert (await s.close(record.pair_id)).state is PairState.CLOSED
        flat(s)

    run_stack(tmp_path, main)


def test_adl_of_one_leg_reduces_the_other_at_once(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        record = await s.open()
        venue = s.venues[SHORT]
        market = venue.exchange.markets[venue.symbol].spec
        venue.exchange.open_account(venue.now(), 9_999, deposit=10**18)
        venue.exchange.deleverage(venue.now(), venue.account.account, venue.symbol, market.to_steps(D("0.004")))
        await asyncio.sleep(5)
        positions = s.positions()
        assert positions[LONG] == -positions[SHORT] == D("0.006")
        assert s.engine is not None
        assert s.engine.pairs[record.pair_id].state is PairState.HEDGED

    run_stack(tmp_path, main)


def test_e12_what_is_taken_beyond_the_foreign_share_is_ours_and_the_other_leg_follows(tmp_path: Path) -> None:
    """The account held 0.003 before; 0.009 of the 0.013 together are deleveraged, then the rest."""

    async def main(s: Stack) -> None:
        venue = s.venues[LONG]
        market = venue.exchange.markets[venue.symbol].spec
        foreign = NewOrder(
            venue.account.account, venue.symbol, SimSide.BUY, market.to_steps(D("0.003")), market.to_ticks(D(101_000)), client_id="777"
        )
        venue.exchange.submit(venue.now(), foreign)
        venue.book()
        record = await s.open()
        assert s.positions() == {LONG: D("0.013"), SHORT: D("-0.01")}
        for taken, left in (("0.009", "0.004"), ("0.004", "0")):
            venue.exchange.deleverage(venue.now(), venue.account.account, venue.symbol, market.to_steps(D(taken)))
            await asyncio.sleep(4)
            assert s.positions() == {LONG: D(left), SHORT: -D(left)}, "found at the event, not at the next check"
        assert s.engine is not None
        runner = s.engine.pairs[record.pair_id]
        assert runner.state is PairState.CLOSED
        assert runner.record.foreign_long == 0
        assert s.journal is not None
        booked = [(f.kind, f.quantity) for f in s.journal.fills(record.pair_id) if f.kind is not FillCause.TRADE]
        assert booked == [(FillCause.ADL, D("0.006")), (FillCause.ADL, D("0.004"))]

    run_stack(tmp_path, main)


def delist(s: Stack, where: str, price: str = "100500") -> None:
    venue = s.venues[where]
    venue.exchange.delist(venue.now(), venue.symbol, settlement=venue.exchange.markets[venue.symbol].spec.to_ref(D(price)))


def settled(s: Stack, pair_id: str, where: str, price: str = "100500") -> None:
    """The pair is closed, one leg by the venue at that price, and what the records say is what the accounts have."""
    assert s.engine is not None
    assert s.journal is not None
    runner = s.engine.pairs[pair_id]
    assert runner.state is PairState.CLOSED, runner.record.reason
    flat(s)
    fills = s.journal.fills(pair_id)
    leg = Leg.LONG if where == LONG else Leg.SHORT
    forced = [(f.leg, f.price, f.fee, f.intent_id) for f in fills if f.kind is not FillCause.TRADE]
    assert forced == [(leg, D(price), D(0), None)]
    found = result(runner.record, s.journal.intents(pair_id), fills, [])
    for part in found.venues:
        venue = s.venues[part.venue]
        earned = core.money(venue.exchange.account(venue.account.account).balance) - D(100_000)
        assert abs(earned - part.total) < D("0.01"), "nothing unexplained"


@pytest.mark.parametrize("where", VENUES)
def test_e12_a_delisting_settles_one_leg_and_the_other_is_unwound(tmp_path: Path, where: str) -> None:
    async def main(s: Stack) -> None:
        watch = NakedWatch(s)
        record = await s.open()
        delist(s, where)
        await asyncio.sleep(5)
        settled(s, record.pair_id, where)
        assert watch.longest_open_s(STEP) <= 5.0
        exits = [facts for facts in s.story.of("order.send") if facts["purpose"] == "unwind"]
        assert exits
        assert {facts["venue"] for facts in exits} == set(VENUES) - {where}

    run_stack(tmp_path, main)


@pytest.mark.parametrize("where", VENUES)
def test_a_settlement_that_no_stream_told_is_found_in_the_records(tmp_path: Path, where: str) -> None:
    async def main(s: Stack) -> None:
        record = await s.open()
        s.venues[where].faults("frozen_stream times=0 lasting=600")
        delist(s, where)
        await asyncio.sleep(45)
        settled(s, record.pair_id, where)

    run_stack(tmp_path, main)


@pytest.mark.parametrize("where", VENUES)
def test_e09_a_market_that_ended_while_the_process_was_down_is_settled_after_the_restart(tmp_path: Path, where: str) -> None:
    async def main(s: Stack) -> None:
        record = await s.open()
        await s.down()
        delist(s, where)
        await asyncio.sleep(60)
        await s.up()
        await asyncio.sleep(30)
        settled(s, record.pair_id, where)

    run_stack(tmp_path, main)


@pytest.mark.parametrize("where", VENUES)
@pytest.mark.parametrize("when", ["entry", "hedge", "close"])
def test_e20_a_market_that_ends_under_an_order_leaves_no_leg_behind(tmp_path: Path, where: str, when: str) -> None:
    async def main(s: Stack) -> None:
        def end(event: str, _: str, facts: dict[str, object]) -> None:
            if event == "order.send" and facts["purpose"] == when and len(s.story.of("order.send")) >= 3:
                s.story.hook = None
                asyncio.get_running_loop().call_later(0.02, delist, s, where, "100000")

        s.story.hook = end
        record = await s.open(slice_="0.004")
        if record.state is PairState.HEDGED:
            record = await s.close(record.pair_id)
        assert record.state is PairState.CLOSED, record.reason
        flat(s)
        once_each(s)

    run_stack(tmp_path, main)


@pytest.mark.parametrize("where", VENUES)
def test_e27_funding_is_booked_by_the_venues_own_time_and_after_the_market_ended(tmp_path: Path, where: str) -> None:
    """The venue's clock is three seconds behind: it pays, by its stamp, before the pair began by ours."""

    async def main(s: Stack) -> None:
        venue = s.venues[where]
        venue.dialect.clock = VirtualClock(EPOCH_NS - 3_000_000_000)
        venue.exchange.set_funding_rate(venue.now(), venue.symbol, core.to_fraction("0.0001"))
        await asyncio.sleep(3_600.5)
        for each in s.venues.values():
            each.book()
        await s.up()
        record = await s.open()
        await asyncio.sleep(5)
        delist(s, where)
        await asyncio.sleep(5)
        engine = await s.restart()
        await asyncio.sleep(5)
        assert s.journal is not None
        closed = s.journal.pair(record.pair_id)
        assert closed is not None
        assert closed.state is PairState.CLOSED
        await book_funding(closed, s.clients, engine.journal, s.runtime.clock.time_ns())
        paid = [e for e in venue.events if isinstance(e, FundingPaid) and e.account == venue.account.account]
        assert len(paid) == 1
        (booked,) = [f.amount for f in s.journal.funding(record.pair_id) if f.venue == where]
        assert abs(booked - core.money(paid[0].amount)) < D("0.00001")

    run_stack(tmp_path, main, start=False)


def test_a_settlement_of_a_shared_position_takes_the_foreign_share_and_ours(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        venue = s.venues[LONG]
        market = venue.exchange.markets[venue.symbol].spec
        foreign = NewOrder(
            venue.account.account, venue.symbol, SimSide.BUY, market.to_steps(D("0.003")), market.to_ticks(D(101_000)), client_id="777"
        )
        venue.exchange.submit(venue.now(), foreign)
        venue.book()
        record = await s.open()
        delist(s, LONG)
        await asyncio.sleep(5)
        flat(s)
        assert s.engine is not None
        runner = s.engine.pairs[record.pair_id]
        assert (runner.state, runner.record.foreign_long) == (PairState.CLOSED, D(0))
        assert s.journal is not None
        booked = [(f.kind, f.quantity) for f in s.journal.fills(record.pair_id) if f.kind is not FillCause.TRADE]
        assert booked == [(FillCause.SETTLEMENT, D("0.01"))]

    run_stack(tmp_path, main)


def test_an_outcome_unknown_for_too_long_is_an_alert_and_is_repaired_once_it_is_proved(tmp_path: Path) -> None:
    """The venue of the hedge takes the order and falls silent for two minutes."""

    async def main(s: Stack) -> None:
        def cut(event: str, _: str, facts: dict[str, object]) -> None:
            if event == "order.send" and facts["purpose"] == "hedge":
                s.story.hook = None
                s.venues[SHORT].host.set_black_hole(True)

        s.story.hook = cut
        record = await s.open(slice_="0.004", resolve_deadline_s=20.0)
        assert record.state is PairState.ALERT
        assert (record.residual_long, record.residual_short) == (D("0.004"), D(0))
        sent = len(s.story.of("order.send"))
        await asyncio.sleep(90)
        assert len(s.story.of("order.send")) == sent, "nothing is sent while the hedge is unknown"
        s.venues[SHORT].host.set_black_hole(False)
        await asyncio.sleep(30)
        positions = s.positions()
        assert positions[LONG] == -positions[SHORT]
        assert s.engine is not None
        assert s.engine.pairs[record.pair_id].state in (PairState.HEDGED, PairState.CLOSED)
        once_each(s)

    run_stack(tmp_path, main)


def test_the_operator_resumes_an_alert(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        record = await s.open()
        for venue in s.venues.values():
            venue.one_sided()
        closed = await s.close(record.pair_id)
        assert closed.state is PairState.ALERT
        for venue in s.venues.values():
            venue.book()
        await asyncio.sleep(60)
        hedged(s)
        assert s.engine is not None
        resumed = await s.engine.resume_pair(record.pair_id)
        assert resumed.state is PairState.CLOSED, "what was asked for before the alert is done now"
        flat(s)

    run_stack(tmp_path, main)


@pytest.mark.parametrize("where", VENUES)
def test_e21_an_inverse_market_is_refused_as_a_leg(tmp_path: Path, where: str) -> None:
    async def main(s: Stack) -> None:
        table = s.clients[where].instruments
        listed = table.get("BTC")
        inverse = msgspec.structs.replace(
            listed, id=msgspec.structs.replace(listed.id, inverse=True), contract_id="77", venue_symbol="BTC-INVERSE"
        )
        table.update(inverse)
        plan = s.plan()
        name = "long_instrument" if where == LONG else "short_instrument"
        assert s.engine is not None
        with pytest.raises(EntryRefused, match=r"inverse: .* is inverse: its quantity is in quote currency"):
            await s.engine.open(msgspec.structs.replace(plan, **{name: str(inverse.id)}), s.decision())
        flat(s)
        assert s.engine.pairs == {}

    run_stack(tmp_path, main)


def test_e08_once_the_disk_is_well_again_entries_are_free_without_anybody_writing(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        record = await s.open()
        assert s.journal is not None
        assert s.engine is not None
        decision = s.decision("exit", record.pair_id)
        read_only(s.journal, True)
        assert (await s.engine.close(record.pair_id, "test", decision)).state is PairState.CLOSED
        await asyncio.sleep(300)
        assert "journal" in (s.engine.entry_block() or "")
        tries = len([1 for facts in s.story.of("journal.before") if facts["records"] == ""])
        assert 5 <= tries <= 20, "tried with growing pauses"
        read_only(s.journal, False)
        await asyncio.sleep(30)
        assert s.engine.entry_block() is None
        assert sum(f.signed for f in s.journal.fills(record.pair_id)) == 0, "what waited is in the database"
        assert (await s.open()).state is PairState.HEDGED

    run_stack(tmp_path, main)


def test_e08_a_disk_that_takes_nothing_at_all_does_not_hold_up_an_exit(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        record = await s.open()
        assert s.journal is not None
        decision = s.decision("exit", record.pair_id)
        read_only(s.journal, True)
        assert s.journal._fallback is not None
        s.journal._fallback.close()
        assert s.engine is not None
        closed = await s.engine.close(record.pair_id, "test", decision)
        assert closed.state is PairState.CLOSED
        flat(s)
        with pytest.raises(JournalError):
            await s.engine.open(s.plan(), decision)
        flat(s)

    run_stack(tmp_path, main)


def test_e35_stopping_leaves_declared_states_and_no_resting_entry(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        opening = asyncio.create_task(s.open(tactics=(Tactic.TOUCH, Tactic.TOUCH), maker_timeout_s=60.0))
        await asyncio.sleep(3)
        assert len(await s.clients[LONG].get_active_orders("BTC")) == 1
        assert s.engine is not None
        began = asyncio.get_running_loop().time()
        states = await s.engine.stop()
        assert asyncio.get_running_loop().time() - began <= 5.0
        assert set(states.values()) == {PairState.CLOSED}
        assert await s.clients[LONG].get_active_orders("BTC") == []
        assert (await opening).state is PairState.CLOSED

    run_stack(tmp_path, main)


def test_a_pair_of_maker_orders_hedges_each_partial_fill(tmp_path: Path) -> None:
    """E13: the resting first leg fills in three parts; each is hedged when it comes."""

    async def main(s: Stack) -> None:
        venue = s.venues[LONG]
        market = venue.exchange.markets[venue.symbol].spec
        watch = NakedWatch(s)
        opening = asyncio.create_task(s.open(tactics=(Tactic.INSIDE, Tactic.CROSS), maker_timeout_s=30.0))
        await asyncio.sleep(1)
        for part in ("0.003", "0.004", "0.003"):
            venue.exchange.external_trade(venue.now(), venue.symbol, SimSide.SELL, market.to_steps(D(part)))
            await asyncio.sleep(1)
        assert (await opening).state is PairState.HEDGED
        hedged(s)
        assert watch.worst == D("0.004")
        assert [facts["quantity"] for facts in s.story.of("order.send") if facts["purpose"] == "hedge"] == [
            D("0.003"),
            D("0.004"),
            D("0.003"),
        ]

    run_stack(tmp_path, main)


@pytest.mark.parametrize("kind", ["server_error times=0", "rate_limited times=0 retry_after=5", "lost_request times=0"])
@pytest.mark.parametrize("where", VENUES)
def test_e20_a_cancel_that_fails_is_repeated_with_patience(tmp_path: Path, where: str, kind: str) -> None:
    async def main(s: Stack) -> None:
        first = Leg.LONG if where == LONG else Leg.SHORT
        opening = asyncio.create_task(s.open(first=first, tactics=(Tactic.TOUCH,), maker_timeout_s=60.0))
        await asyncio.sleep(2)
        assert len(await s.clients[where].get_active_orders("BTC")) == 1
        s.venues[where].faults(f"{kind} where={COMMAND_PATHS[where]}")
        assert s.engine is not None
        s.engine.halt("test")
        before, turns = s.venues[where].commands(), len(s.story.events)
        await asyncio.sleep(10)
        assert 1 <= s.venues[where].commands() - before <= 8
        assert len(s.story.events) - turns < 50
        s.venues[where].calm()
        record = await opening
        assert record.state is PairState.CLOSED, record.reason
        assert await s.clients[where].get_active_orders("BTC") == []

    run_stack(tmp_path, main)


@pytest.mark.parametrize("tactic", [Tactic.CROSS, Tactic.TOUCH])
@pytest.mark.parametrize("where", VENUES)
def test_e20_stopping_an_order_that_is_still_on_its_way_does_not_spin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, tactic: Tactic
) -> None:
    """Rules and order woke each other without end, while no time passed."""
    monkeypatch.setattr(simloop, "MAX_TURNS_PER_INSTANT", 5_000)

    async def main(s: Stack) -> None:
        s.venues[where].faults(f"slow where={COMMAND_PATHS[where]} delay=2", "frozen_stream times=0 lasting=3")
        opening = asyncio.create_task(s.open(first=Leg.LONG if where == LONG else Leg.SHORT, tactics=(tactic,)))
        await asyncio.sleep(0.1)
        assert s.engine is not None
        s.engine.halt("test")
        record = await opening
        assert record.state in (PairState.CLOSED, PairState.HEDGED), record.reason
        positions = s.positions()
        assert positions[LONG] == -positions[SHORT]
        once_each(s)

    run_stack(tmp_path, main)
