"""What the engine finds out by itself: silent orders, changes by hand, markets that end, venues with any kind of reduce-only."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from database.records import FillCause, Leg, PairState
from exchange_clients.model import Side
from exchange_simulator.core.types import MarketStatus, NewOrder, ReduceOnlyMode, TimeInForce
from exchange_simulator.core.types import Side as SimSide
from exchange_simulator.simloop import Link
from strategies.execution.plan import ExternalPolicy, Tactic
from tests.strategies.stack import VENUES, NakedWatch, Stack, accepted_by_client_id, run_stack

D = Decimal
LONG, SHORT = VENUES
STEP = D("0.00001")
HISTORY = {LONG: "'POST /info' contains=userFills", SHORT: "/api/v1/trades"}
"""Where a venue is asked for our fills."""


def by_hand(s: Stack, where: str, quantity: str) -> None:
    """Somebody closes a part of the leg on the venue's own page."""
    venue = s.venues[where]
    market = venue.exchange.markets[venue.symbol].spec
    side, price = (SimSide.SELL, D(99_000)) if where == LONG else (SimSide.BUY, D(101_000))
    order = NewOrder(
        venue.account.account,
        venue.symbol,
        side,
        market.to_steps(D(quantity)),
        market.to_ticks(price),
        time_in_force=TimeInForce.IOC,
        client_id="777",
    )
    venue.exchange.submit(venue.now(), order)
    venue.book()


@pytest.mark.parametrize("mode", [*(m.value for m in ReduceOnlyMode), "absent", "ignore, told late"])
@pytest.mark.parametrize("where", VENUES)
def test_e17_a_close_never_flips_whatever_the_venue_makes_of_reduce_only(tmp_path: Path, where: str, mode: str) -> None:
    """While the pair closes in slices, somebody closes a part by hand; "absent": the client says that the venue has no such flag;
    "told late": for seconds neither stream nor history, only the position, speaks of what was done by hand."""

    async def main(s: Stack) -> None:
        for name, venue in s.venues.items():
            kind = ReduceOnlyMode.IGNORE if mode == "absent" else ReduceOnlyMode(mode.partition(",")[0])
            venue.exchange.rules = replace(venue.exchange.rules, reduce_only=kind)
            if mode == "absent":
                client: Any = s.clients[name]
                spec = client.spec
                client.spec = client.context.spec = replace(spec, capabilities=replace(spec.capabilities, reduce_only=False))
                assert not s.clients[name].capabilities.reduce_only
        record = await s.open(quantity="0.02", slice_="0.004")
        assert record.state is PairState.HEDGED
        seen: list[Decimal] = []
        s.venues[where].exchange.subscribe(lambda _: seen.append(s.positions()[where]))

        def hand(event: str, _: str, facts: dict[str, object]) -> None:
            if event == "order.done" and facts["venue"] == where:
                s.story.hook = None
                if "late" in mode:
                    late = f"late_fill delay=4 account={s.venues[where].account.account}"
                    s.venues[where].faults(late, f"server_error where={HISTORY[where]} times=0 lasting=4")
                asyncio.get_running_loop().call_soon(by_hand, s, where, "0.013")

        s.story.hook = hand
        closed = await s.close(record.pair_id)
        assert closed.state is PairState.CLOSED, closed.reason
        assert s.positions() == {LONG: D(0), SHORT: D(0)}
        sign = 1 if where == LONG else -1
        assert min(sign * position for position in seen) >= 0, "the position never flipped"
        assert s.journal is not None
        booked = [f.quantity for f in s.journal.fills(record.pair_id) if f.kind is FillCause.EXTERNAL]
        assert sum(booked) == D("0.013")

    run_stack(tmp_path, main)


@pytest.mark.parametrize("where", VENUES)
def test_a_resting_order_that_nobody_speaks_of_is_asked_for(tmp_path: Path, where: str) -> None:
    """PAINS 20, 22: the socket lives and pushes nothing; the maker order fills; the hedge does not wait for the stream."""

    async def main(s: Stack) -> None:
        venue = s.venues[where]
        first = Leg.LONG if where == LONG else Leg.SHORT
        watch = NakedWatch(s)
        opening = asyncio.create_task(s.open(first=first, tactics=(Tactic.INSIDE,), maker_timeout_s=60.0))
        await asyncio.sleep(3)
        venue.faults("frozen_stream times=0 lasting=300")
        market = venue.exchange.markets[venue.symbol].spec
        side = SimSide.SELL if where == LONG else SimSide.BUY
        venue.exchange.external_trade(venue.now(), venue.symbol, side, market.to_steps(D("0.01")))
        await asyncio.sleep(5)
        assert s.positions() == {LONG: D("0.01"), SHORT: D("-0.01")}
        assert (await opening).state is PairState.HEDGED
        assert watch.longest_open_s(STEP) <= 5

    run_stack(tmp_path, main)


@pytest.mark.parametrize("policy", list(ExternalPolicy))
@pytest.mark.parametrize("where", VENUES)
def test_a_leg_closed_by_hand_is_noticed_named_and_follows_the_policy(tmp_path: Path, where: str, policy: ExternalPolicy) -> None:
    """PAINS 6: the record says that somebody else did it; the other leg comes down to the smaller one, or a human is called."""

    async def main(s: Stack) -> None:
        record = await s.open(external_policy=policy)
        by_hand(s, where, "0.006")
        await asyncio.sleep(45)
        reasons = [str(f["reason"]) for f in s.story.of("pair.state")]
        assert any(reason.startswith("externally changed") for reason in reasons)
        assert s.engine is not None
        runner = s.engine.pairs[record.pair_id]
        if policy is ExternalPolicy.REBALANCE:
            assert runner.state is PairState.HEDGED
            assert s.positions() == {LONG: D("0.004"), SHORT: D("-0.004")}
            return
        assert runner.state is PairState.ALERT
        left = {LONG: D("0.01"), SHORT: D("-0.01")}
        left[where] = left[where] * 4 / 10
        assert s.positions() == left
        assert (runner.record.residual_long, runner.record.residual_short) == (left[LONG], left[SHORT])
        resumed = await s.engine.resume_pair(record.pair_id)
        assert resumed.state is PairState.HEDGED
        assert s.positions() == {LONG: D("0.004"), SHORT: D("-0.004")}

    run_stack(tmp_path, main)


def test_a_liquidation_does_not_wait_for_the_policy_on_changes_by_hand(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        record = await s.open(external_policy=ExternalPolicy.ALERT)
        venue = s.venues[LONG]
        market = venue.exchange.markets[venue.symbol].spec
        venue.exchange.deleverage(venue.now(), venue.account.account, venue.symbol, market.to_steps(D("0.006")))
        await asyncio.sleep(6)
        assert s.engine is not None
        assert s.engine.pairs[record.pair_id].state is PairState.HEDGED
        assert s.positions() == {LONG: D("0.004"), SHORT: D("-0.004")}

    run_stack(tmp_path, main)


@pytest.mark.parametrize("where", VENUES)
def test_e09_fills_that_come_while_the_engine_recovers_count_once(tmp_path: Path, where: str) -> None:
    """The process dies with a maker order on the book; it fills while the next one is asking, over a slow line."""

    async def main(s: Stack) -> None:
        venue = s.venues[where]
        first = Leg.LONG if where == LONG else Leg.SHORT
        opening = asyncio.create_task(s.open(first=first, tactics=(Tactic.INSIDE,), maker_timeout_s=600.0))
        await asyncio.sleep(3)
        await s.die()
        opening.cancel()
        venue.host.link = Link(up_s=(0.3, 0.3), down_s=(0.3, 0.3))
        up = asyncio.create_task(s.up())
        market = venue.exchange.markets[venue.symbol].spec
        side = SimSide.SELL if where == LONG else SimSide.BUY
        for _ in range(4):
            await asyncio.sleep(0.2)
            venue.exchange.external_trade(venue.now(), venue.symbol, side, market.to_steps(D("0.002")))
        await up
        await asyncio.sleep(40)
        assert s.engine is not None
        (runner,) = s.engine.pairs.values()
        assert runner.state is PairState.CLOSED, "nothing was hedged, so what had filled is unwound"
        assert s.positions() == {LONG: D(0), SHORT: D(0)}
        assert s.journal is not None
        fills = s.journal.fills(runner.record.pair_id)
        assert sum(f.signed for f in fills) == 0
        assert sum(f.quantity for f in fills) > 0
        assert set(accepted_by_client_id(venue).values()) == {1}

    run_stack(tmp_path, main)


@pytest.mark.parametrize("where", VENUES)
def test_e16_a_close_of_a_halted_market_is_an_alert_with_the_rest_and_goes_on_when_asked(tmp_path: Path, where: str) -> None:
    """PAINS 28: nothing crashes, nothing is hidden, the leg that can trade is not closed alone beyond one slice."""

    async def main(s: Stack) -> None:
        record = await s.open(slice_="0.004")
        venue = s.venues[where]
        venue.exchange.set_status(venue.now(), venue.symbol, MarketStatus.HALTED)
        closed = await s.close(record.pair_id)
        positions = s.positions()
        assert closed.state is PairState.ALERT
        assert (closed.residual_long, closed.residual_short) == (positions[LONG], positions[SHORT])
        assert abs(positions[LONG] + positions[SHORT]) <= D("0.004")
        venue.exchange.set_status(venue.now(), venue.symbol, MarketStatus.ACTIVE)
        venue.book()
        assert s.engine is not None
        resumed = await s.engine.resume_pair(record.pair_id)
        assert resumed.state is PairState.CLOSED, resumed.reason
        assert s.positions() == {LONG: D(0), SHORT: D(0)}

    run_stack(tmp_path, main)


def test_a_rest_that_the_venue_does_not_take_is_dust_and_says_how_much(tmp_path: Path) -> None:
    """PAINS 15: somebody left less than the minimum on a venue that minds it for reduce-only orders too."""

    async def main(s: Stack) -> None:
        record = await s.open()
        by_hand(s, SHORT, "0.00998")
        await asyncio.sleep(60)
        assert s.engine is not None
        runner = s.engine.pairs[record.pair_id]
        assert runner.state is PairState.CLOSED, runner.record.reason
        left = s.positions()
        if any(left.values()):
            assert "dust" in runner.record.reason
            assert (runner.record.residual_long, runner.record.residual_short) == (left[LONG], left[SHORT])
        assert abs(left[SHORT]) <= D("0.00002")
        assert left[LONG] == 0
        again = await s.clients[SHORT].place_limit_order("BTC", D("0.01"), D(99_000), Side.SELL, time_in_force="IOC", wait_for="terminal")
        assert again.filled_size == D("0.01")
        await asyncio.sleep(5)
        assert s.positions()[SHORT] == left[SHORT] - D("0.01"), "a closed pair touches nothing any more"

    run_stack(tmp_path, main)
