"""The order desk over real clients and dialects on virtual time: one test per invariant, named after it."""

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from database.errors import JournalError
from database.records import HoldingState, IntentState
from exchange_clients.model import Side, TimeInForce
from exchange_simulator.core.types import Side as SimSide
from strategies.execution.desk import Holding, Ticket, TicketRefused
from tests.strategies.desk_stack import DeskStack, Halted, run_desk, until
from tests.strategies.stack import accepted_by_client_id, commands_of

D = Decimal
NAMES = ("hyperliquid", "lighter", "okx", "dydx")


@pytest.mark.parametrize("name", NAMES)
def test_a_holding_trades_rests_reduces_and_closes(tmp_path: Path, name: str) -> None:
    async def main(d: DeskStack) -> None:
        holding = await d.open(sign=1)
        told: list[Decimal] = []
        holding.listen(lambda h: told.append(h.own))
        taken = await holding.place(Ticket(side=Side.BUY, quantity=D("0.01"), tag="in"))
        resting = await holding.place(Ticket(side=Side.BUY, quantity=D("0.02"), price=D(99_000), post_only=True, tag="rest"))
        await asyncio.wait_for(taken.ended(), 20)
        assert (taken.filled, taken.live, taken.state) == (D("0.01"), False, IntentState.SETTLED)
        assert holding.own == d.position == D("0.01") == told[-1]
        assert resting.live
        d.stranger_takes(SimSide.SELL, "5.005", D(98_000))
        await asyncio.sleep(5)
        assert resting.filled > 0
        assert holding.own == d.position
        exit_ = await holding.place(
            Ticket(side=Side.SELL, quantity=D("0.005"), price=D(98_500), time_in_force=TimeInForce.IOC, reduce_only=True)
        )
        await asyncio.wait_for(exit_.ended(), 20)
        d.price()
        record = await asyncio.wait_for(holding.close("test"), 60)
        assert record.state is HoldingState.CLOSED, record.reason
        assert d.position == 0
        assert set(accepted_by_client_id(d.venue).values()) == {1}

    run_desk(tmp_path, main, name=name)


def test_the_decision_that_opened_a_holding_is_found_under_it(tmp_path: Path) -> None:
    async def main(d: DeskStack) -> None:
        holding = await d.open(sign=1, decision=d.s.decision("enter"))
        assert d.s.journal is not None
        (found,) = d.s.journal.decisions(holding.holding_id)
        assert found.kind == "enter"

    run_desk(tmp_path, main)


def limit(side: Side, price: int, quantity: str = "0.01", **more: object) -> Ticket:
    return Ticket(side=side, quantity=D(quantity), price=D(price), **more)  # type: ignore[arg-type]


async def bought(d: DeskStack, quantity: str = "0.01") -> Holding:
    holding = await d.open(sign=1)
    order = await holding.place(Ticket(side=Side.BUY, quantity=D(quantity)))
    await asyncio.wait_for(order.ended(), 40)
    assert holding.own == D(quantity)
    return holding


def once_each(d: DeskStack) -> None:
    assert set(accepted_by_client_id(d.venue).values()) <= {1}


def read_only(d: DeskStack, on: bool) -> None:
    assert d.s.journal is not None
    with d.s.journal._connection.begin():
        d.s.journal._connection.exec_driver_sql(f"PRAGMA query_only={'ON' if on else 'OFF'}")


@pytest.mark.parametrize("kind", ["lost_ack", "lost_request", "server_error"])
@pytest.mark.parametrize("name", ["hyperliquid", "dydx"])
def test_e02_an_ambiguous_submit_blocks_its_tag_until_the_client_id_tells(tmp_path: Path, name: str, kind: str) -> None:
    async def main(d: DeskStack) -> None:
        holding = await d.open()
        d.venue.faults(f"{kind} where={commands_of(name)} nth=1")
        order = await holding.place(limit(Side.BUY, 99_000, tag="in"))
        if order.unproved:
            with pytest.raises(TicketRefused, match="unproved"):
                await holding.place(limit(Side.BUY, 99_000, tag="in"))
        await until(lambda: not order.unproved)
        assert order.live == bool(d.venue.ready.exchange.open_orders(d.venue.account.account)), "what the venue has is what we follow"
        again = order if order.live else await holding.place(limit(Side.BUY, 99_000, tag="in"))
        again.cancel()
        await asyncio.wait_for(again.ended(), 60)
        assert (again.state, again.filled) == (IntentState.SETTLED, D(0))
        once_each(d)

    run_desk(tmp_path, main, name=name)


@pytest.mark.parametrize("kind", ["late_fill delay=2", "duplicate_fill delay=0.2 times=0", "out_of_order_fills times=0"])
def test_e04_e05_fills_count_once_however_they_come_and_a_cancel_proves_nothing(tmp_path: Path, kind: str) -> None:
    async def main(d: DeskStack) -> None:
        holding = await d.open(sign=1)
        d.venue.faults(f"{kind} account={d.venue.account.account}")
        orders = [await holding.place(limit(Side.BUY, price, post_only=True)) for price in (99_995, 99_992)]
        d.stranger_takes(SimSide.SELL, "0.015", D(99_990))
        for order in orders:
            order.cancel()
        for order in orders:
            await asyncio.wait_for(order.ended(), 60)
        await asyncio.sleep(3)
        assert holding.own == d.position == sum(o.filled for o in orders) == D("0.015")
        assert d.s.journal is not None
        fills = d.s.journal.fills(holding.holding_id)
        assert len({f.trade_id for f in fills}) == len(fills)

    run_desk(tmp_path, main)


def test_e08_what_cannot_be_recorded_is_not_sent_unless_it_reduces(tmp_path: Path) -> None:
    async def main(d: DeskStack) -> None:
        holding = await bought(d)
        before = d.venue.commands()
        read_only(d, True)
        with pytest.raises(JournalError):
            await holding.place(limit(Side.BUY, 99_000))
        assert d.venue.commands() == before
        assert holding.orders(live=True) == []
        exit_ = await holding.place(Ticket(side=Side.SELL, quantity=D("0.01"), reduce_only=True))
        await asyncio.wait_for(exit_.ended(), 20)
        assert holding.own == d.position == 0
        with pytest.raises(TicketRefused, match="fallback"):
            await holding.place(limit(Side.BUY, 99_000))
        read_only(d, False)
        await d.restart()
        assert d.desk.holdings[holding.holding_id].own == 0, "the exit is on record too"

    run_desk(tmp_path, main)


def test_e08_a_disk_that_takes_nothing_at_all_does_not_hold_up_an_exit(tmp_path: Path) -> None:
    async def main(d: DeskStack) -> None:
        holding = await bought(d)
        read_only(d, True)
        assert d.s.journal is not None
        assert d.s.journal._fallback is not None
        d.s.journal._fallback.close()
        record = await asyncio.wait_for(holding.close("test"), 60)
        assert record.state is HoldingState.CLOSED
        assert d.position == 0

    run_desk(tmp_path, main)


@pytest.mark.parametrize("name", ["hyperliquid", "lighter", "dydx"])
def test_e09_e10_after_a_restart_orders_are_known_again_and_nothing_is_added_before_that(tmp_path: Path, name: str) -> None:
    async def main(d: DeskStack) -> None:
        holding = await bought(d)
        resting = await holding.place(limit(Side.BUY, 98_000, tag="low"))
        await until(lambda: not resting.unproved)
        gone = await holding.place(limit(Side.BUY, 99_000, tag="high"))
        await until(lambda: not gone.unproved)
        await d.down()
        d.stranger_takes(SimSide.SELL, "6", D(98_500))
        await asyncio.sleep(30)
        d.price()
        desk = await d.up(start=False)
        with pytest.raises(TicketRefused, match="not reconciled since the start"):
            await desk.open_holding(d.instrument)
        await desk.start()
        await until(lambda: desk.entry_block() is None)
        again = desk.find(d.instrument)
        assert again is not None
        await until(lambda: [o.live for o in again.orders(tag="high")] == [False])
        assert again.orders(tag="high")[0].state is IntentState.SETTLED, "its end is proved, not assumed"
        assert {o.tag: (o.live, o.filled) for o in again.orders() if o.tag} == {"low": (True, D(0)), "high": (False, D("0.01"))}
        assert again.own == d.position == D("0.02")
        assert (await asyncio.wait_for(again.close("test"), 90)).state is HoldingState.CLOSED
        assert d.position == 0
        once_each(d)

    run_desk(tmp_path, main, name=name)


def test_e10_nothing_is_added_after_a_gap_until_it_is_reconciled(tmp_path: Path) -> None:
    async def main(d: DeskStack) -> None:
        holding = await bought(d)
        d.venue.host.drop_connections()
        await asyncio.sleep(0.01)
        with pytest.raises(TicketRefused, match="not reconciled"):
            await holding.place(limit(Side.BUY, 99_000))
        exit_ = await holding.place(Ticket(side=Side.SELL, quantity=D("0.004"), reduce_only=True))
        await asyncio.wait_for(exit_.ended(), 30)
        assert d.position == D("0.006"), "an exit does not wait for that"
        await until(lambda: holding.entry_block() is None)
        await holding.place(limit(Side.BUY, 99_000))

    run_desk(tmp_path, main)


def test_e11_what_is_not_ours_is_neither_closed_nor_canceled_nor_traded_against(tmp_path: Path) -> None:
    async def main(d: DeskStack) -> None:
        client = d.s.clients[d.name]
        await client.place_limit_order("BTC", D("0.02"), D(100_500), Side.BUY, time_in_force="IOC", wait_for="terminal")
        theirs = await client.place_limit_order("BTC", D("0.02"), D(90_000), Side.BUY, wait_for="open")
        for sign in (-1, 0):
            with pytest.raises(TicketRefused, match="ownership"):
                await d.open(sign=sign)
        holding = await bought(d)
        assert holding.foreign == D("0.02")
        with pytest.raises(TicketRefused, match="direction"):
            await holding.place(limit(Side.SELL, 101_000, "0.02"))
        with pytest.raises(TicketRefused, match="ownership"):
            await d.open(sign=-1)
        assert (await holding.close("test")).state is HoldingState.CLOSED
        assert d.position == D("0.02")
        assert [o.client_order_id for o in await client.get_active_orders("BTC")] == [theirs.client_order_id]

    run_desk(tmp_path, main)


@pytest.mark.parametrize("ignored", [True, False])
@pytest.mark.parametrize("name", ["hyperliquid", "dydx"])
def test_e17_reducing_orders_never_exceed_the_own_share(tmp_path: Path, name: str, ignored: bool) -> None:
    """Also on a venue that ignores reduce-only, and while somebody closes a part by hand."""

    async def main(d: DeskStack) -> None:
        if ignored:
            d.venue.faults("reduce_only_ignored")
        holding = await bought(d)
        seen: list[Decimal] = []
        d.venue.exchange.subscribe(lambda _: seen.append(d.position))
        first, second = await asyncio.gather(
            holding.place(limit(Side.SELL, 101_000, "0.007", reduce_only=True)),
            holding.place(limit(Side.SELL, 101_000, "0.007", reduce_only=True)),
        )
        assert first.quantity + second.quantity == D("0.01")
        with pytest.raises(TicketRefused, match="own_share"):
            await holding.place(limit(Side.SELL, 101_000, "0.001", reduce_only=True))
        await until(lambda: not first.unproved and not second.unproved)
        client = d.s.clients[d.name]
        await client.place_limit_order("BTC", D("0.006"), D(99_000), Side.SELL, time_in_force="IOC", wait_for="terminal")
        await until(lambda: holding.working(Side.SELL) <= D("0.004"), 120)
        d.price(D(102_000))
        await asyncio.sleep(10)
        assert (await asyncio.wait_for(holding.close("test"), 90)).state is HoldingState.CLOSED
        assert d.position == 0
        assert min(seen) >= 0

    run_desk(tmp_path, main, name=name)


def test_e18_e42_a_halt_takes_entries_off_and_leaves_exits_alone(tmp_path: Path) -> None:
    guard = Halted()

    async def main(d: DeskStack) -> None:
        holding = await bought(d)
        with pytest.raises(TicketRefused, match="too large"):
            await holding.place(limit(Side.BUY, 99_000, "2"))
        entry = await holding.place(limit(Side.BUY, 99_000))
        protects = await holding.place(limit(Side.SELL, 105_000, reduce_only=True))
        guard.reason = "halted: test"
        d.desk.wake()
        await asyncio.wait_for(entry.ended(), 1)
        assert protects.live
        with pytest.raises(TicketRefused, match="halted"):
            await holding.place(limit(Side.BUY, 99_000))
        assert (await holding.close("test")).state is HoldingState.CLOSED
        assert d.position == 0

    run_desk(tmp_path, main, guard=guard)


def test_e16_e20_a_close_without_a_counterparty_ends_in_alert_with_the_rest(tmp_path: Path) -> None:
    async def main(d: DeskStack) -> None:
        holding = await bought(d)
        d.venue.one_sided()
        record = await asyncio.wait_for(holding.close("test"), 300)
        assert record.state is HoldingState.ALERT
        assert "own 0.01" in record.reason
        sent = len(d.s.story.of("order.send"))
        assert sent <= 1 + holding.limits.max_reduce_attempts
        await asyncio.sleep(300)
        assert len(d.s.story.of("order.send")) == sent, "no silent loop"
        with pytest.raises(TicketRefused, match="alert"):
            await holding.place(limit(Side.BUY, 99_000))
        d.price()
        await d.desk.resume(holding.holding_id)
        assert (await holding.close("again")).state is HoldingState.CLOSED

    run_desk(tmp_path, main)


def test_e19_the_reason_of_a_close_is_on_disk_first_and_two_requests_are_one(tmp_path: Path) -> None:
    async def main(d: DeskStack) -> None:
        holding = await bought(d)
        order: list[str] = []

        def note(event: str, _: str, facts: dict[str, object]) -> None:
            if event == "journal.after" and facts["records"] == "HoldingRecord":
                order.append("reason")
            elif event == "order.send":
                order.append("send")

        d.s.story.hook = note
        one, two = await asyncio.gather(d.desk.close(holding.holding_id, "one"), d.desk.close(holding.holding_id, "two"))
        assert one == two
        assert one.state is HoldingState.CLOSED
        assert order[0] == "reason"
        assert order.count("send") == 1

    run_desk(tmp_path, main)


def test_e09_a_decided_close_goes_on_after_a_restart(tmp_path: Path) -> None:
    async def main(d: DeskStack) -> None:
        holding = await bought(d)
        d.venue.one_sided()
        closing = asyncio.create_task(holding.close("test"))
        await asyncio.sleep(1)
        await d.down()
        closing.cancel()
        d.price()
        await d.up()
        again = d.desk.holdings[holding.holding_id]
        await until(lambda: again.state is HoldingState.CLOSED)
        assert d.position == 0

    run_desk(tmp_path, main)


def test_e01_a_close_sends_nothing_while_an_order_is_unknown_and_says_so(tmp_path: Path) -> None:
    async def main(d: DeskStack) -> None:
        holding = await bought(d)
        resting = await holding.place(limit(Side.BUY, 99_000))
        d.venue.host.set_black_hole(True)
        closing = asyncio.create_task(holding.close("test"))
        await asyncio.sleep(50)
        assert holding.state is HoldingState.CLOSING
        assert resting.live, "silence proves nothing"
        assert d.s.story.of("close.waits")
        assert len(d.s.story.of("order.send")) == 2
        d.venue.host.set_black_hole(False)
        assert (await asyncio.wait_for(closing, 120)).state is HoldingState.CLOSED
        assert d.position == 0

    run_desk(tmp_path, main)


def test_e35_a_stop_takes_entries_off_and_leaves_what_reduces(tmp_path: Path) -> None:
    async def main(d: DeskStack) -> None:
        holding = await bought(d)
        entry = await holding.place(limit(Side.BUY, 99_000))
        protects = await holding.place(limit(Side.SELL, 105_000, reduce_only=True))
        states = await d.desk.stop(5)
        assert states == {holding.holding_id: HoldingState.OPEN}
        assert not entry.live
        client = d.s.clients[d.name]
        assert [o.client_order_id for o in await client.get_active_orders("BTC")] == [protects.client_order_id]
        with pytest.raises(TicketRefused, match="stopping"):
            await holding.place(limit(Side.BUY, 99_000))

    run_desk(tmp_path, main)


def test_a_place_that_nobody_waits_for_any_more_is_still_followed_to_its_end(tmp_path: Path) -> None:
    async def main(d: DeskStack) -> None:
        holding = await d.open(sign=1)
        d.venue.faults(f"lost_ack where={commands_of(d.name)} nth=1")
        placing = asyncio.create_task(holding.place(Ticket(side=Side.BUY, quantity=D("0.01"))))
        await asyncio.sleep(0.2)
        placing.cancel()
        await until(lambda: holding.own == D("0.01"))
        assert holding.orders(live=True) == []
        once_each(d)

    run_desk(tmp_path, main)
