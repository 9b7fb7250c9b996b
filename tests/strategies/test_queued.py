"""Venues whose yes means "queued": the answer comes in seconds or never, refusals come late, a cancel is only a wish.

Lighter's dialect with a slow queue stands for all of them (a chain that includes orders block by block behaves the same way).
"""

import asyncio
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from database.records import IntentState, Leg, PairState
from exchange_simulator.core.events import AnyEvent, OrderAccepted
from exchange_simulator.core.types import MarketStatus, Side, to_money
from strategies.execution.plan import Tactic
from tests.strategies.stack import NakedWatch, SimVenue, Stack, accepted_by_client_id, run_stack

D = Decimal
CHAIN, OTHER = "lighter", "hyperliquid"
STEP = D("0.00001")


def queue(s: Stack, seconds: float, *, cancels: float | None = None) -> SimVenue:
    """From now on the chain executes what it accepted so much later."""
    venue = s.venues[CHAIN]
    owner = venue.dialect.owners.get(venue.account.account)  # type: ignore[attr-defined]
    owner.tier = replace(owner.tier, taker_s=seconds, maker_s=seconds, cancel_s=seconds if cancels is None else cancels)
    return venue


def once_each(s: Stack) -> None:
    for venue in s.venues.values():
        assert set(accepted_by_client_id(venue).values()) <= {1}


def flat(s: Stack) -> None:
    assert set(s.positions().values()) == {D(0)}


def poor(s: Stack) -> None:
    """The chain's account can afford nothing more; it says so only when it executes."""
    venue = s.venues[CHAIN]
    free = venue.exchange.available(venue.account.account)
    assert venue.exchange.withdraw(venue.now(), venue.account.account, free - to_money(D("0.5"))) is None


@pytest.mark.parametrize("first", [CHAIN, OTHER])
@pytest.mark.parametrize("seconds", [0.3, 1.5, 4.0, 8.0])
def test_a_slow_queue_opens_and_closes_each_order_once(tmp_path: Path, seconds: float, first: str) -> None:
    async def main(s: Stack) -> None:
        queue(s, seconds)
        watch = NakedWatch(s)
        keep = asyncio.create_task(keep_books(s))
        record = await s.open(first=Leg.LONG if first == OTHER else Leg.SHORT, slice_="0.005")
        assert record.state is PairState.HEDGED, record.reason
        closed = await s.close(record.pair_id)
        assert closed.state is PairState.CLOSED, closed.reason
        keep.cancel()
        flat(s)
        once_each(s)
        assert watch.worst <= D("0.005")
        assert watch.longest_open_s(STEP) <= seconds + 1.5, "no longer than the chain took"
        assert s.journal is not None
        assert {i.state for i in s.journal.intents(record.pair_id)} == {IntentState.SETTLED}
        assert len(s.story.of("order.send")) == 8, "nothing was sent again for being slow"
        assert s.venues[CHAIN].commands() == 4, "nothing was canceled for being slow"

    run_stack(tmp_path, main)


async def keep_books(s: Stack) -> None:
    while True:
        for venue in s.venues.values():
            venue.book()
        await asyncio.sleep(1)


@pytest.mark.parametrize("seconds", [0.3, 2.0])
def test_e12_a_hedge_that_is_accepted_and_refused_later_is_unwound(tmp_path: Path, seconds: float) -> None:
    async def main(s: Stack) -> None:
        queue(s, seconds)
        watch = NakedWatch(s)
        keep = asyncio.create_task(keep_books(s))
        poor(s)
        record = await s.open(first=Leg.LONG, slice_="0.005")
        keep.cancel()
        assert record.state is PairState.CLOSED, record.reason
        flat(s)
        once_each(s)
        assert watch.worst == D("0.005"), "one slice"
        assert watch.longest_open_s(STEP) <= 5.0 + seconds + 1.0, "the deadline, and what was under way then"
        assert s.journal is not None
        hedges = [i for i in s.journal.intents(record.pair_id) if i.purpose == "hedge"]
        assert 1 <= len(hedges) <= 3
        assert {i.state for i in hedges} <= {IntentState.REFUSED, IntentState.SETTLED}
        assert all(i.note for i in hedges), "in the venue's words"

    run_stack(tmp_path, main)


def test_an_entry_that_is_accepted_and_refused_later_opens_nothing(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        queue(s, 1.0)
        poor(s)
        record = await s.open(first=Leg.SHORT, slice_="0.005")
        assert record.state is PairState.CLOSED
        assert record.reason == "failed open: the first leg does not fill"
        flat(s)
        assert s.venues[OTHER].commands() == 0
        assert len(s.story.of("order.send")) == 3

    run_stack(tmp_path, main)


@pytest.mark.parametrize("told", [True, False])
def test_e17_an_exit_that_is_accepted_and_refused_later_is_tried_within_bounds(tmp_path: Path, told: bool) -> None:
    """The market halts while the exit is queued; it may vanish without a word."""

    async def main(s: Stack) -> None:
        record = await s.open()
        venue = queue(s, 1.0)
        venue.dialect.mute_reduce_only = not told  # type: ignore[attr-defined]
        watch = NakedWatch(s)
        keep = asyncio.create_task(keep_books(s))
        closing = asyncio.create_task(s.close(record.pair_id))
        for _ in range(3):
            await asyncio.sleep(0.7)
            venue.exchange.set_status(venue.now(), venue.symbol, MarketStatus.HALTED)
            await asyncio.sleep(1.0)
            venue.exchange.set_status(venue.now(), venue.symbol, MarketStatus.ACTIVE)
        closed = await closing
        keep.cancel()
        assert closed.state is PairState.CLOSED, closed.reason
        flat(s)
        once_each(s)
        assert watch.worst <= D("0.01")
        assert len(s.story.of("order.send")) <= 12

    run_stack(tmp_path, main)


def test_e13_fills_that_come_while_a_cancel_is_queued_are_hedged_once(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        venue = queue(s, 0.2, cancels=3.0)
        market = venue.exchange.markets[venue.symbol].spec
        watch = NakedWatch(s)
        opening = asyncio.create_task(s.open(first=Leg.SHORT, tactics=(Tactic.INSIDE,), maker_timeout_s=4.0))
        await asyncio.sleep(5.5)
        assert len(s.story.of("order.done")) == 0, "the cancel is under way"
        for part in ("0.002", "0.003"):
            venue.exchange.external_trade(venue.now(), venue.symbol, Side.BUY, market.to_steps(D(part)))
            await asyncio.sleep(0.5)
        record = await opening
        assert record.state is PairState.HEDGED, record.reason
        assert s.positions() == {OTHER: D("0.005"), CHAIN: D("-0.005")}
        assert watch.worst <= D("0.003")
        assert [facts["quantity"] for facts in s.story.of("order.send") if facts["purpose"] == "hedge"] == [D("0.002"), D("0.003")]
        once_each(s)

    run_stack(tmp_path, main)


@pytest.mark.parametrize("filled", ["0", "0.002"])
def test_an_order_that_the_venue_takes_off_is_ended_with_what_it_filled(tmp_path: Path, filled: str) -> None:
    """A resting order runs out (by block height, or by the venue's will) with nobody of ours asking for it."""

    async def main(s: Stack) -> None:
        venue = s.venues[CHAIN]
        market = venue.exchange.markets[venue.symbol].spec
        opening = asyncio.create_task(s.open(first=Leg.SHORT, tactics=(Tactic.INSIDE,), maker_timeout_s=4.0))
        await asyncio.sleep(2)
        if D(filled):
            venue.exchange.external_trade(venue.now(), venue.symbol, Side.BUY, market.to_steps(D(filled)))
            await asyncio.sleep(0.1)
        (resting,) = venue.exchange.open_orders(venue.account.account)
        venue.exchange.cancel(venue.now(), venue.account.account, resting.id)
        async with asyncio.timeout(10):
            record = await opening
        assert record.state is (PairState.HEDGED if D(filled) else PairState.CLOSED), record.reason
        assert s.positions() == {OTHER: D(filled), CHAIN: -D(filled)}
        once_each(s)

    run_stack(tmp_path, main)


@pytest.mark.parametrize("purpose", ["entry", "hedge", "close"])
def test_e02_e09_killed_with_an_order_in_the_queue_it_is_not_believed_absent_too_early(tmp_path: Path, purpose: str) -> None:
    """The process dies with an order accepted, and another starts at once. The venue knows nothing of the order until it executes, by
    when a second one would stand beside it."""

    async def main(s: Stack) -> None:
        queue(s, 11.0)
        first = Leg.SHORT if purpose == "entry" else Leg.LONG
        watch = NakedWatch(s)
        if purpose == "close":
            queue(s, 0.3)
            record = await s.open(first=first)
            queue(s, 11.0)
            working = asyncio.create_task(s.close(record.pair_id))
        else:
            working = asyncio.create_task(s.open(first=first))
        accepted = asyncio.Event()

        def told(event: str, _: str, facts: dict[str, object]) -> None:
            if event == "order.send" and (facts["venue"], facts["purpose"]) == (CHAIN, purpose):
                accepted.set()

        s.story.hook = told
        await accepted.wait()
        await asyncio.sleep(0.3)
        sent = len(s.story.of("order.send"))
        working.cancel()
        await s.down()
        sent_when_executed: list[int] = []

        def executed(event: AnyEvent) -> None:
            if isinstance(event, OrderAccepted):
                sent_when_executed.append(len([f for f in s.story.of("order.send")[sent:] if f["venue"] == CHAIN]))

        s.venues[CHAIN].exchange.subscribe(executed)
        engine = await s.up()
        keep = asyncio.create_task(keep_books(s))
        await asyncio.sleep(60)
        assert sent_when_executed[0] == 0, "nothing was sent to the chain while the order was in its queue"
        assert s.story.of("order.absent") == []
        keep.cancel()
        (runner,) = engine.pairs.values()
        assert runner.state in (PairState.HEDGED, PairState.CLOSED), runner.record.reason
        positions = s.positions()
        assert positions[OTHER] == -positions[CHAIN]
        assert watch.worst <= D("0.01")
        once_each(s)

    run_stack(tmp_path, main)
