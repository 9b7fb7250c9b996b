"""A start while one venue does not answer: what is open on the other one is looked after, and nothing is entered until both are proved."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from database.connect import sqlite_url
from database.journal import Journal
from database.records import Leg, PairState
from exchange_clients.errors import AuthError, VenueError
from exchange_simulator.core.types import to_fraction
from perpkit.bot.assemble import Bot, assembled
from perpkit.bot.config import BotConfig, InvalidConfig, parse
from perpkit.bot.environments import Environment, surroundings
from strategies.execution.engine import ExecutionEngine
from tests.bot.test_assemble import FUNDING
from tests.bot.test_environments import keys_of
from tests.strategies.stack import VENUES, Stack, Story, run_stack

D = Decimal
UP, DOWN = VENUES


@asynccontextmanager
async def bot_of(stack: Stack, home: Path, story: Story, config: BotConfig = FUNDING) -> AsyncIterator[Bot]:
    ends = {name: truth.ready.endpoints for name, truth in stack.venues.items()}
    around = surroundings(Environment.LIVE, [config], stack.runtime, home=home, resolve=keys_of(stack), endpoints=ends)
    journal = Journal.open(sqlite_url(home / "journal.db"))
    try:
        async with around as found:
            running = assembled([config], found.clients, journal, found.runtime, environment="live", observer=story)
            async with running as bots:
                life = asyncio.create_task(bots.run())
                yield next(iter(bots))
                bots.ask_to_stop()
                await life
    finally:
        journal.close()


async def hedged(stack: Stack, home: Path) -> str:
    """A pair that an earlier process left; returns its id."""
    for name, rate in zip(VENUES, ("0.0004", "-0.0004"), strict=True):
        truth = stack.venues[name]
        truth.exchange.set_funding_rate(truth.now(), truth.symbol, to_fraction(rate))
    async with bot_of(stack, home, Story()) as bot:
        await stack.settle(40)
        (runner,) = bot.engine.pairs.values()
        assert runner.state is PairState.HEDGED
    return runner.record.pair_id


def test_e18_a_bot_starts_while_one_venue_is_down_and_reconciles_it_when_it_is_back(tmp_path: Path) -> None:
    async def main(stack: Stack) -> None:
        pair_id = await hedged(stack, tmp_path)
        held = stack.positions()
        stack.venues[DOWN].host.set_black_hole(True)
        story = Story()
        async with bot_of(stack, tmp_path, story) as bot:
            runner = bot.engine.pairs[pair_id]
            assert runner.recovered
            assert {runner.record.venue(leg) for leg in runner.away} == {DOWN}
            for gate in (bot.engine, bot.desk):
                assert "not connected" in (gate.entry_block(DOWN) or "")
                assert gate.entry_block(UP) is None
            assert {f["venue"] for f in story.of("venue.not_connected")} == {DOWN}
            await stack.settle(120)
            assert runner.state is PairState.HEDGED
            assert stack.positions() == held
            assert "not connected" in (bot.engine.entry_block(DOWN) or ""), "tried, and still down"
            stack.venues[DOWN].host.set_black_hole(False)
            await stack.settle(120)
            assert bot.clients[DOWN].is_connected
            assert not runner.away
            assert bot.engine.entry_block() is None
            assert bot.desk.entry_block() is None
            assert [f["venue"] for f in story.of("venue.connected")] == [DOWN]
            names = [name for name, _, facts in story.events if facts.get("venue") == DOWN or name == "recovery.proved"]
            assert names.index("recovery.proved") < names.index("venue.proved"), "proved before entries (E10)"
            stack.venues[DOWN].one_sided()
            assert (await bot.engine.clients[DOWN].get_open_positions())[0].quantity == held[DOWN]

    run_stack(tmp_path / "stack", main, start=False)


def test_e18_wrong_keys_end_the_start_and_so_does_the_outage_of_all_venues(tmp_path: Path) -> None:
    async def main(stack: Stack) -> None:
        lighter = stack.venues["lighter"]
        mine = lighter.account
        strange = {name: text for name, text in lighter.stranger.environ.items() if "PRIVATE_KEY" in name}
        lighter.ready.account = replace(mine, environ={**mine.environ, **strange})
        with pytest.raises(AuthError, match="another key"):
            async with bot_of(stack, tmp_path, Story()):
                raise AssertionError
        lighter.ready.account = mine
        for truth in stack.venues.values():
            truth.host.set_black_hole(True)
        with pytest.raises(VenueError):
            async with bot_of(stack, tmp_path, Story()):
                raise AssertionError

    run_stack(tmp_path / "stack", main, start=False)


def test_a_venue_that_left_the_file_while_a_pair_is_open_there_is_one_clear_error(tmp_path: Path) -> None:
    async def main(stack: Stack) -> None:
        pair_id = await hedged(stack, tmp_path)
        left = parse({**FUNDING.model_dump(exclude={"risk", "paper"}), "venues": [UP, "paradex"]})
        before = len(stack.venues[UP].dialect.received)
        with pytest.raises(InvalidConfig, match=rf"{pair_id} is open on {DOWN}.*put {DOWN} back.*perpkit close {pair_id}"):
            async with bot_of(stack, tmp_path, Story(), left):
                raise AssertionError
        assert len(stack.venues[UP].dialect.received) == before, "nothing was asked or sent"

    run_stack(tmp_path / "stack", main, start=False, names=(*VENUES, "paradex"))


class Crash(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("first", list(Leg))
def test_e18_a_naked_leg_is_reduced_after_a_restart_whatever_the_other_venue_does(tmp_path: Path, first: Leg) -> None:
    async def main(stack: Stack) -> None:
        def crash(event: str, *_: object) -> None:
            if event == "order.done":
                raise Crash

        stack.story.hook = crash
        assert stack.engine is not None
        lead, gone = (UP, DOWN) if first is Leg.LONG else (DOWN, UP)
        runner = await stack.engine.begin(stack.plan(first=first), stack.decision())
        await stack.settle(1)
        await stack.die()
        stack.story.hook = None
        assert abs(stack.positions()[lead]) == D("0.01")
        assert stack.positions()[gone] == 0
        stack.venues[gone].host.set_black_hole(True)
        clients = {
            name: truth.ready.client(runtime=stack.runtime, state_directory=stack.folder / "ids") for name, truth in stack.venues.items()
        }
        await clients[lead].connect()
        journal = Journal.open(sqlite_url(stack.folder / "journal.db"))
        engine = ExecutionEngine(journal, clients, stack.runtime, strategy="test", account="main", observer=stack.story)
        begun = stack.runtime.clock.monotonic()
        await engine.start()
        assert stack.runtime.clock.monotonic() - begun < 5, "no wait for the dead venue"
        await stack.settle(5)
        assert set(stack.positions().values()) == {D(0)}
        assert engine.pairs[runner.record.pair_id].state is not PairState.CLOSED, "the other venue did not prove its side (E7)"
        stack.venues[gone].host.set_black_hole(False)
        await clients[gone].connect()
        await stack.settle(30)
        assert engine.pairs[runner.record.pair_id].state is PairState.CLOSED
        assert engine.entry_block() is None
        await engine.stop()
        for client in clients.values():
            await client.disconnect()
        journal.close()

    run_stack(tmp_path / "stack", main)
