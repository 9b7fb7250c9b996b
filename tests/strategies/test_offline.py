"""A venue that pauses or cannot be reached: nobody's failure, exits go on trying, and what becomes of the other leg is declared (E18)."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from database.records import Leg, PairState
from exchange_clients.model import Purpose
from strategies.execution.decide import Move, Pause, Send, decide
from strategies.execution.engine import EntryRefused
from strategies.execution.plan import ExecutionLimits, OfflinePolicy
from tests.strategies.instruments import instrument
from tests.strategies.stack import VENUES, NakedWatch, Stack, run_stack
from tests.strategies.test_decide import leg, view

D = Decimal
LONG, SHORT = VENUES
PAUSING = ("hyperliquid", "paradex")
"""Paradex has modes in which the whole venue refuses orders."""


def mode(s: Stack, status: str) -> None:
    dialect: Any = s.venues["paradex"].dialect
    dialect.system_status = status


@pytest.mark.parametrize("first", list(Leg))
def test_e18_a_close_waits_out_a_paused_venue_without_spending_its_tries(tmp_path: Path, first: Leg) -> None:
    async def main(s: Stack) -> None:
        record = await s.open(first=first, slice_="0.005", max_reduce_attempts=3, max_orders=10)
        assert record.state is PairState.HEDGED, record.reason
        watch = NakedWatch(s)
        mode(s, "cancel_only")
        closing = asyncio.create_task(s.close(record.pair_id))
        await asyncio.sleep(120)
        assert s.engine is not None
        runner = s.engine.pairs[record.pair_id]
        assert runner.state is PairState.CLOSING, "neither given up nor an alert"
        assert watch.worst <= D("0.005"), "at most one slice before the venue said so"
        tries = [f for f in s.story.of("order.send") if f["purpose"] == "close" and f["venue"] == "paradex"]
        assert 4 <= len(tries) <= 15, "tried, with growing pauses"
        with pytest.raises(EntryRefused, match="paused"):
            await s.open()
        mode(s, "ok")
        for venue in s.venues.values():
            venue.book()
        assert (await closing).state is PairState.CLOSED
        assert set(s.positions().values()) == {D(0)}

    run_stack(tmp_path, main, names=PAUSING)


def test_e18_a_hedge_on_a_paused_venue_is_unwound_at_once(tmp_path: Path) -> None:
    async def main(s: Stack) -> None:
        watch = NakedWatch(s)
        s.story.hook = lambda event, *_: mode(s, "cancel_only") if event == "fill" else None
        record = await s.open(long="hyperliquid", short="paradex", first=Leg.LONG, slice_="0.005")
        assert record.state is PairState.CLOSED, record.reason
        assert "venue of the hedge is down" in " ".join(str(f["reason"]) for f in s.story.of("pair.state"))
        assert set(s.positions().values()) == {D(0)}
        assert watch.longest_open_s(D("0.00001")) <= 5

    run_stack(tmp_path, main, names=PAUSING)


@pytest.mark.parametrize("policy", list(OfflinePolicy))
def test_e18_a_pair_whose_venue_is_gone_follows_its_policy(tmp_path: Path, policy: OfflinePolicy) -> None:
    async def main(s: Stack) -> None:
        record = await s.open(
            quantity="0.04",
            slice_="0.01",
            naked_cap_usd=D(1_050),
            offline_policy=policy,
            offline_reduce_s=120.0,
            resolve_deadline_s=3_000.0,
        )
        assert s.engine is not None
        runner = s.engine.pairs[record.pair_id]
        s.venues[SHORT].host.set_black_hole(True)
        await asyncio.sleep(100)
        assert s.positions() == {LONG: D("0.04"), SHORT: D("-0.04")}
        await asyncio.sleep(200)
        if policy is OfflinePolicy.HOLD_HEDGED:
            assert runner.state is PairState.HEDGED
            assert s.positions()[LONG] == D("0.04")
        else:
            assert s.positions()[LONG] * 100_000 <= 1_050, "what may stand naked"
            assert s.positions()[LONG] > 0
        left = s.positions()[LONG]
        s.venues[SHORT].host.set_black_hole(False)
        await asyncio.sleep(60)
        assert runner.state is PairState.HEDGED, runner.record.reason
        assert s.positions() == {LONG: left, SHORT: -left}

    run_stack(tmp_path, main)


def test_e18_the_rules_of_a_leg_that_is_left_alone() -> None:
    b = instrument("b", step="0.001", min_notional="10")
    limits = ExecutionLimits(offline_policy=OfflinePolicy.REDUCE, offline_reduce_s=60.0, naked_cap_usd=D(200))
    gone = replace(view(PairState.HEDGED, "0.008", leg(b, "0.008", venue_up=False, offline_s=61.0)), limits=limits)
    (step,) = decide(gone)
    assert isinstance(step, Move)
    assert step.state is PairState.REPAIRING
    repairing = replace(gone, state=PairState.REPAIRING)
    assert decide(repairing) == [Send(Leg.LONG, D("0.005"), True, Purpose.UNWIND, 0)], "slice by slice"
    assert decide(replace(repairing, long=leg(instrument("a", step="0.0001"), "0.002"))) == [Pause.WAIT], "the cap may stand"
    assert decide(replace(gone, short=leg(b, "0.008", venue_up=False, offline_s=59.0))) == [Pause.REST]
    assert decide(replace(gone, limits=ExecutionLimits())) == [Pause.REST], "by default it is held"
    naked = replace(repairing, short=leg(b, "0", venue_up=False, offline_s=90.0))
    assert decide(naked) == [Send(Leg.LONG, D("0.008"), True, Purpose.UNWIND, 0)], "with nothing on the other side nothing is kept"
    closing = replace(gone, state=PairState.CLOSING)
    assert decide(closing) == [Send(Leg.LONG, D("0.005"), True, Purpose.UNWIND, 0)]
    both = replace(repairing, long=leg(instrument("a", step="0.0001"), "0.008", venue_up=False, offline_s=90.0))
    assert not any(isinstance(step, Send) for step in decide(both)), "nothing is known, nothing is sent"
