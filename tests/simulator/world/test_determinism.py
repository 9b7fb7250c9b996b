"""Same seed, same world: whatever the call pattern, the process, or what was asked before."""

from __future__ import annotations

import random

import pytest

from exchange_simulator.core.events import Trade
from exchange_simulator.core.exchange import Exchange
from exchange_simulator.world.grid import CELL_NS, FINE_NS
from tests.simulator.world.worlds import EIGHT, FIGURES, HOUR_NS, START_NS, TICKS, build, snapshot

SECOND_NS = 1_000_000_000


@pytest.mark.slow
def test_one_call_and_many_reach_the_same_state() -> None:
    target = START_NS + 2 * HOUR_NS + 137 * FINE_NS + 5
    whole, at_once = build(7)
    whole.advance_to(target)
    pieces, stepwise = build(7)
    rng = random.Random(3)
    now = START_NS
    while now < target:
        now = min(target, now + rng.choice((FINE_NS, SECOND_NS, 59 * SECOND_NS, 61 * SECOND_NS, 17 * CELL_NS)))
        pieces.advance_to(now)
    assert snapshot(at_once) == snapshot(stepwise)


@pytest.mark.slow
def test_fine_steps_print_the_same_trades_in_any_call_pattern() -> None:
    def trades(exchanges: dict[str, Exchange]) -> list[tuple[str, str, int, int]]:
        return [(n, e.market, e.price, e.size) for n, x in exchanges.items() for e in x.drain() if isinstance(e, Trade)]

    first, one = build(11)
    second, two = build(11)
    for exchanges in (one, two):
        for exchange in exchanges.values():
            exchange.drain()
    first.advance_to(START_NS + 60 * SECOND_NS)
    for k in range(1, 121):
        second.advance_to(START_NS + k * 500_000_000)
    printed = trades(one)
    assert len(printed) > 20
    assert printed == trades(two)


def test_seeds_differ() -> None:
    one, two = build(1), build(2)
    for world, _ in (one, two):
        world.advance_to(START_NS + HOUR_NS)
    assert snapshot(one[1]) != snapshot(two[1])


def test_venues_do_not_disturb_each_other() -> None:
    alone, few = build(5, FIGURES)
    together, many = build(5, EIGHT, TICKS, FIGURES)
    for world in (alone, together):
        world.advance_to(START_NS + 90 * SECOND_NS)
    assert snapshot(few)["figures", "SOL"] == snapshot(many)["figures", "SOL"]


@pytest.mark.slow
def test_going_back_changes_nothing() -> None:
    world, exchanges = build(7)
    world.advance_to(START_NS + 30 * SECOND_NS)
    before = snapshot(exchanges)
    world.advance_to(START_NS + 10 * SECOND_NS)
    assert snapshot(exchanges) == before
    assert world.now_ns == START_NS + 30 * SECOND_NS


def test_a_world_asks_nothing_of_the_past() -> None:
    world, _ = build(7)
    with pytest.raises(ValueError, match="before its start"):
        world.prices.cell("BTC", START_NS // CELL_NS - 1)
