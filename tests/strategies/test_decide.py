"""The pure rules of the two legs: every reachable step keeps the invariants, whatever the venues do."""

import random
from dataclasses import replace
from decimal import Decimal

import pytest

from database.records import Leg, PairState
from exchange_clients.model import Instrument, Purpose
from strategies.execution.decide import Cancel, LegView, Move, PairView, Pause, Send, decide
from strategies.execution.lots import floor_to
from strategies.execution.plan import ExecutionLimits
from tests.strategies.instruments import instrument

A, B = instrument("a", step="0.0001", min_notional="10"), instrument("b", step="0.001", min_notional="10")
PRICE = Decimal(100_000)
D = Decimal


def leg(which: Instrument, own: str = "0", **changes: object) -> LegView:
    return replace(LegView(which, PRICE, D(own)), **changes)  # type: ignore[arg-type]


def view(state: PairState, long: str | LegView = "0", short: str | LegView = "0", **changes: object) -> PairView:
    base = PairView(
        state=state,
        long=long if isinstance(long, LegView) else leg(A, long),
        short=short if isinstance(short, LegView) else leg(B, short),
        first_leg=Leg.LONG,
        target=D("0.010"),
        slice_quantity=D("0.005"),
        tactics=3,
        limits=ExecutionLimits(),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def test_e13_the_hedge_is_what_the_first_leg_filled_and_no_more() -> None:
    assert decide(view(PairState.OPENING, "0.0043", "0.001")) == [Send(Leg.SHORT, D("0.003"), False, Purpose.HEDGE, 0)]


def test_e02_nothing_is_sent_on_a_busy_leg() -> None:
    busy = view(PairState.OPENING, "0.004", leg(B, busy=True, adding=True))
    assert decide(busy) == [Pause.WAIT]
    late = replace(busy, open_delta_s=60.0)
    assert decide(late) == [Pause.WAIT]


def test_e12_a_late_hedge_takes_the_resting_order_off_then_unwinds() -> None:
    resting = view(PairState.OPENING, leg(A, "0.004", busy=True, adding=True), open_delta_s=5.0)
    assert decide(resting) == [Cancel(Leg.LONG)]
    done = replace(resting, long=leg(A, "0.004"))
    assert decide(done) == [Move(PairState.REPAIRING, "hedge deadline passed: 0.004 is not hedged")]
    assert decide(replace(done, state=PairState.REPAIRING)) == [Send(Leg.LONG, D("0.004"), True, Purpose.UNWIND, 0)]


def test_e14_repair_reduces_the_larger_leg_to_the_smaller() -> None:
    assert decide(view(PairState.REPAIRING, "0.004", "0.007")) == [Send(Leg.SHORT, D("0.003"), True, Purpose.UNWIND, 0)]


def test_e16_a_failed_open_ends_flat_or_in_alert_with_the_residual() -> None:
    assert decide(view(PairState.REPAIRING)) == [Move(PairState.CLOSED, "failed open: ended flat")]
    worn = view(PairState.REPAIRING, leg(A, "0.004", reduce_failures=8))
    assert decide(worn) == [Move(PairState.ALERT, "long leg cannot be reduced any further: long 0.004, short 0 remain")]


def test_e18_a_hedged_pair_is_held_while_one_venue_is_down() -> None:
    down = view(PairState.CLOSING, "0.004", leg(B, "0.004", venue_up=False))
    assert decide(down) == [Pause.WAIT]
    gone = replace(down, short=leg(B, venue_up=False))
    assert decide(gone) == [Send(Leg.LONG, D("0.004"), True, Purpose.CLOSE, 0)]


def test_e20_an_outcome_that_stays_unknown_is_an_alert() -> None:
    stuck = view(PairState.CLOSING, "0", leg(B, "0.004", busy=True, stuck=True))
    (step,) = decide(stuck)
    assert isinstance(step, Move)
    assert step.state is PairState.ALERT


def test_e18_exits_do_not_ask_whether_entries_are_allowed() -> None:
    assert decide(view(PairState.CLOSING, "0.004", "0.004", may_enter=False)) == [Send(Leg.LONG, D("0.004"), True, Purpose.CLOSE, 0)]
    assert decide(view(PairState.OPENING, may_enter=False)) == [Move(PairState.CLOSED, "failed open: entries are blocked")]


def test_dust_is_closed_with_its_name_not_tried_for_ever() -> None:
    fine = instrument("a", step="0.00001")
    assert decide(view(PairState.CLOSING, leg(fine, "0.00004")))[0] == Send(Leg.LONG, D("0.00004"), True, Purpose.CLOSE, 0)
    (step,) = decide(view(PairState.CLOSING, leg(fine, "0.00004", reduce_failures=8)))
    assert step == Move(PairState.CLOSED, "dust below the venue's minimum: 0.00004 on the long leg")
    (step,) = decide(view(PairState.CLOSING, leg(fine, "0.00004", reduce_failures=8), "0.004"))
    assert step == Send(Leg.SHORT, D("0.004"), True, Purpose.CLOSE, 0), "the other leg is still closed"


def test_a_delta_too_small_to_trade_alone_is_closed_together_with_the_rest() -> None:
    fine = instrument("a", step="0.00001")
    lopsided = view(PairState.REPAIRING, leg(fine, "0.00505", reduce_failures=1), leg(fine, "0.005"))
    assert decide(lopsided) == [Move(PairState.CLOSING, "a delta of 0.00005 is too small to be traded alone")]
    assert decide(replace(lopsided, state=PairState.CLOSING)) == [Send(Leg.LONG, D("0.00257"), True, Purpose.CLOSE, 1)], "with a half"
    first_try = replace(lopsided, state=PairState.CLOSING, long=leg(fine, "0.00505"))
    assert decide(first_try) == [Send(Leg.LONG, D("0.00005"), True, Purpose.CLOSE, 0)]


def test_e12_a_last_rest_too_small_to_trade_is_closed_in_halves_and_never_in_more_than_a_slice() -> None:
    fine = instrument("a", step="0.00001", min_quantity="0.0002")
    held = replace(view(PairState.CLOSING, leg(fine, "0.0083"), leg(fine, "0.0083")), slice_quantity=D("0.00815"))
    assert decide(held) == [Send(Leg.LONG, D("0.00415"), True, Purpose.CLOSE, 0)]
    tiny = replace(view(PairState.CLOSING, leg(fine, "0.00035"), leg(fine, "0.00035")), slice_quantity=D("0.0002"))
    assert decide(tiny) == [Send(Leg.LONG, D("0.00035"), True, Purpose.CLOSE, 0)], "halves are below the minimum"


class World:
    """Two venues as far as the rules see them: orders fill in random parts, rest, vanish, and may be found out late."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.own = {Leg.LONG: D(0), Leg.SHORT: D(0)}
        self.order: dict[Leg, Send | None] = {Leg.LONG: None, Leg.SHORT: None}
        self.done: dict[Leg, Decimal] = {Leg.LONG: D(0), Leg.SHORT: D(0)}
        self.add_failures = {Leg.LONG: 0, Leg.SHORT: 0}
        self.reduce_failures = {Leg.LONG: 0, Leg.SHORT: 0}
        self.sent = 0
        self.steps = {Leg.LONG: D(self.rng.choice(["0.0001", "0.001", "0.01"])), Leg.SHORT: D(self.rng.choice(["0.0001", "0.001", "0.01"]))}
        self.fill_chance = self.rng.choice([0.1, 0.5, 0.9])

    def move(self) -> None:
        """Each order in flight fills a random part (lots of the venue's step) or ends."""
        for side in Leg:
            order = self.order[side]
            if order is None:
                continue
            rest = order.quantity - self.done[side]
            if self.rng.random() < self.fill_chance:
                part = floor_to(rest * D(self.rng.choice(["0.3", "0.7", "1"])), self.steps[side])
                self.own[side] += -part if order.reduce else part
                self.done[side] += part
                rest -= part
            if rest == 0 or self.rng.random() < 0.5:
                self.end(side)

    def end(self, side: Leg) -> None:
        order = self.order[side]
        assert order is not None
        failures = self.reduce_failures if order.reduce else self.add_failures
        failures[side] = 0 if self.done[side] > 0 else failures[side] + 1
        self.order[side], self.done[side] = None, D(0)


@pytest.mark.parametrize("first", list(Leg))
@pytest.mark.parametrize("batch", range(4))
def test_e13_e14_e15_e17_hold_over_random_lives(first: Leg, batch: int) -> None:
    ends = set()
    for seed in range(batch * 150, batch * 150 + 150):
        ends.add(_live(seed, first))
    assert {PairState.CLOSED} <= ends


def _live(seed: int, first: Leg) -> PairState:
    world = World(seed)
    instruments = {side: instrument(side, step=str(world.steps[side]), min_quantity=str(world.steps[side])) for side in Leg}
    state, hedged_once, cap = PairState.OPENING, False, D("0.05")
    open_delta_s = 0.0
    for tick in range(3_000):
        legs = {
            side: LegView(
                instruments[side],
                PRICE,
                world.own[side],
                busy=world.order[side] is not None,
                adding=(o := world.order[side]) is not None and not o.reduce,
                add_failures=world.add_failures[side],
                reduce_failures=world.reduce_failures[side],
            )
            for side in Leg
        }
        now = PairView(
            state=state,
            long=legs[Leg.LONG],
            short=legs[Leg.SHORT],
            first_leg=first,
            target=D("0.2"),
            slice_quantity=cap,
            tactics=3,
            limits=ExecutionLimits(),
            orders_sent=world.sent,
            open_delta_s=open_delta_s,
            opening_s=float(tick),
        )
        open_delta_s = 0.0 if now.balanced else open_delta_s + 0.5
        for step in decide(now):
            if isinstance(step, Send):
                assert world.order[step.leg] is None, "E2: one order per leg"
                assert step.quantity > 0
                assert step.quantity % world.steps[step.leg] == 0
                if step.reduce:
                    assert step.quantity <= world.own[step.leg], "E15, E17: never more than the leg holds"
                    if state is PairState.REPAIRING:
                        assert step.quantity <= world.own[step.leg] - world.own[step.leg.other], "E14: only down to the smaller leg"
                else:
                    assert state is PairState.OPENING
                    if step.purpose is Purpose.HEDGE:
                        assert step.leg is not first
                        assert world.own[step.leg] + step.quantity <= world.own[first], "E13: hedges never exceed the first leg"
                    else:
                        assert now.balanced, "E12: the last slice is hedged before the next"
                        assert step.quantity <= cap
                world.order[step.leg] = step
                world.sent += 1
            elif isinstance(step, Cancel):
                assert world.order[step.leg] is not None
                world.end(step.leg)
            elif isinstance(step, Move):
                state = step.state
                if state is PairState.HEDGED:
                    assert now.balanced
                    assert now.idle
                    state, hedged_once = (PairState.CLOSING, True) if hedged_once or seed % 2 else (PairState.HEDGED, True)
                if state is PairState.CLOSED:
                    assert now.idle
                    assert now.flat or "dust" in step.reason
                if state in (PairState.CLOSED, PairState.ALERT):
                    return state
        if state is PairState.HEDGED:
            state = PairState.CLOSING
        assert abs(world.own[Leg.LONG] - world.own[Leg.SHORT]) <= cap + now.tolerance, "E12: the naked part is at most one slice"
        world.move()
    raise AssertionError(f"seed {seed}: no end, state {state}")
