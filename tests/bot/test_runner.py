"""A run from start checks to its declared end: against dialects that stand for the real venues, on virtual time and as a process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from database.connect import sqlite_url
from database.errors import JournalOwned
from database.journal import Journal
from database.records import PairState
from exchange_simulator.core.types import to_fraction
from perpkit.bot.assemble import Bots
from perpkit.bot.config import load
from perpkit.bot.connecting import NotAllowed
from perpkit.bot.environments import Environment
from perpkit.bot.runner import Run, Stopper
from perpkit.bot.view import JsonLines, shown
from tests.bot.test_environments import YAML, keys_of
from tests.strategies.stack import VENUES, Stack, run_stack

RESTING = YAML.replace("execution: {naked_cap_usd: 2000}", "execution: {naked_cap_usd: 2000, mode: limit_only, maker_timeout_seconds: 600}")
HOLDING = YAML.replace('max_position_age_hours: "0.01"', 'max_position_age_hours: "100"')


@dataclass
class Heard:
    """A view that keeps what it was told."""

    said: list[str] = field(default_factory=list)
    events: list[tuple[str, str]] = field(default_factory=list)
    bots: Bots | None = None

    def __call__(self, event: str, pair_id: str, **facts: object) -> None:
        self.events.append((event, pair_id))

    def say(self, text: str, *, kind: str = "") -> None:
        self.said.append(text)

    def refresh(self, bots: Bots) -> None:
        self.bots = bots
        list(shown(bots))

    def close(self) -> None: ...


@dataclass
class Playing:
    """`begin` starts a run in the background, as a process would be started."""

    stack: Stack
    file: Path
    heard: Heard = field(default_factory=Heard)
    stopper: Stopper = field(default_factory=Stopper)
    journal_url: str | None = None

    def begin(self, environment: Environment = Environment.LIVE, *, view: Heard | None = None) -> asyncio.Task[bool]:
        self.heard, self.stopper = view or Heard(), Stopper()
        self.plan = Run(
            configs=[load(self.file)],
            environment=environment,
            home=self.file.parent / "home",
            view=self.heard,
            resolve=keys_of(self.stack),
            reload=lambda: [load(self.file)],
            endpoints={name: truth.ready.endpoints for name, truth in self.stack.venues.items()},
            journal_url=self.journal_url,
        )
        return asyncio.create_task(self.plan.run(self.stack.runtime, self.stopper))

    async def until(self, what: Callable[[], bool], seconds: float = 120) -> None:
        async with asyncio.timeout(seconds):
            while not what():
                await self.stack.settle(0.1)

    def states(self) -> list[PairState]:
        assert self.heard.bots is not None
        return [runner.state for bot in self.heard.bots for runner in bot.engine.pairs.values()]

    def resting(self) -> int:
        """Open orders of ours at the venues: the truth."""
        return sum(len(v.exchange.open_orders(v.account.account)) for v in self.stack.venues.values())

    def journal(self) -> Journal:
        return Journal.open(sqlite_url(self.file.parent / "home" / "journal.db"), read_only=True)


def play(folder: Path, act: Callable[[Playing], Coroutine[Any, Any, None]], text: str = HOLDING, names: Sequence[str] = VENUES) -> None:
    file = folder / "bot.yaml"
    file.write_text(text)

    async def main(stack: Stack) -> None:
        for name, rate in zip(names, ("0.0004", "-0.0004"), strict=True):
            truth = stack.venues[name]
            truth.exchange.set_funding_rate(truth.now(), truth.symbol, to_fraction(rate))
        async with asyncio.timeout(3_600):  # virtual: a run that nobody stops beats for ever
            await act(Playing(stack, file))

    run_stack(folder / "stack", main, start=False, names=names)


def test_e35_a_stop_takes_entry_orders_off_and_declares_where_everything_was_left(tmp_path: Path) -> None:
    async def act(p: Playing) -> None:
        life = p.begin()
        await p.until(lambda: p.resting() > 0)
        asked = p.stack.runtime.clock.time_ns()
        p.stopper.ask("SIGTERM")
        await p.until(lambda: p.resting() == 0, 5.0)
        settled = await life
        assert (p.stack.runtime.clock.time_ns() - asked) / 1e9 <= 8
        journal = p.journal()
        (run,) = journal.runs()
        left = {pair.state for pair in journal.pairs()}
        journal.close()
        assert run.ended_at is not None
        assert run.environment == "live"
        assert left <= {PairState.CLOSED, PairState.HEDGED, PairState.ALERT}
        assert settled
        assert run.ending == "flat"
        assert p.plan.endings == {"funding_arbitrage:main": "flat"}
        assert set(p.stack.positions().values()) == {0}

    play(tmp_path, act, RESTING)


def test_a_hedged_pair_is_held_over_a_stop_and_taken_over_by_the_next_run(tmp_path: Path) -> None:
    async def act(p: Playing) -> None:
        life = p.begin()
        await p.until(lambda: p.heard.bots is not None and PairState.HEDGED in p.states())
        held = p.stack.positions()
        p.stopper.ask("SIGINT")
        p.stopper.ask("SIGINT")
        assert await life
        assert "hedged hold" in p.plan.endings["funding_arbitrage:main"]
        assert p.stack.positions() == held
        life = p.begin()
        await p.until(lambda: p.heard.bots is not None and PairState.HEDGED in p.states())
        assert p.stack.positions() == held
        await p.stack.settle(3)
        journal = p.journal()
        beats = journal.runs()[-1]
        journal.close()
        assert beats.heartbeat_at > beats.started_at
        assert beats.ended_at is None
        p.stopper.ask("SIGTERM")
        await life

    play(tmp_path, act)


def test_a_run_that_was_killed_is_recovered_by_the_next(tmp_path: Path) -> None:
    async def act(p: Playing) -> None:
        life = p.begin()
        await p.until(lambda: p.resting() > 0 or (p.heard.bots is not None and bool(p.states())))
        life.cancel()  # nobody asked: as close to a kill as one process gets; the crash tests kill real ones
        with pytest.raises(asyncio.CancelledError):
            await life
        life = p.begin()
        await p.until(lambda: p.heard.bots is not None and all(s in (PairState.HEDGED, PairState.CLOSED) for s in p.states()))
        one, other = p.stack.positions().values()
        assert one + other == 0
        p.stopper.ask("SIGTERM")
        assert await life

    play(tmp_path, act)


def test_a_view_that_breaks_does_not_stop_trading(tmp_path: Path) -> None:
    class Broken(Heard):
        def __call__(self, event: str, pair_id: str, **facts: object) -> None:
            raise RuntimeError("no terminal")

        def refresh(self, bots: Bots) -> None:
            super().refresh(bots)
            raise RuntimeError("no terminal")

    async def act(p: Playing) -> None:
        life = p.begin(view=Broken())
        await p.until(lambda: p.heard.bots is not None and PairState.HEDGED in p.states())
        p.stopper.ask("SIGTERM")
        await life

    play(tmp_path, act)


def test_json_lines_tell_every_fact_whatever_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    view = JsonLines(lambda: 1_700_000_000 * 10**9)
    view("order.send", "p1", id="7", type="limit", at=3)
    view("journal.before", "p1", records="PairRecord")
    view.say("hello")
    event, message = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert event["facts"] == {"id": "7", "type": "limit", "at": "3"}
    assert (event["type"], event["id"], event["event"]) == ("event", "p1", "order.send")
    assert message == {"type": "message", "at": event["at"], "text": "hello"}


def test_a_stop_while_starting_enters_nothing(tmp_path: Path) -> None:
    async def act(p: Playing) -> None:
        life = p.begin()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        p.stopper.ask("SIGINT")
        assert await life
        assert any("nothing was entered" in line for line in p.heard.said)
        assert sum(v.commands() for v in p.stack.venues.values()) == 0

    play(tmp_path, act)


def test_two_runs_never_share_a_journal(tmp_path: Path) -> None:
    async def act(p: Playing) -> None:
        life, first = p.begin(), p.stopper
        await p.until(lambda: p.heard.bots is not None)
        second = p.begin()
        with pytest.raises(JournalOwned):
            await second
        first.ask("SIGTERM")
        await life

    play(tmp_path, act)


@pytest.mark.parametrize("allowed", [False, True])
def test_a_key_that_may_withdraw_is_refused_unless_allowed(tmp_path: Path, allowed: bool) -> None:
    """A dYdX account's own key can; one of its authenticators could not."""

    async def act(p: Playing) -> None:
        life = p.begin()
        if not allowed:
            with pytest.raises(NotAllowed, match=r"dydx \(main\): the key may withdraw.*allow_withdraw_keys"):
                await life
            assert sum(v.commands() for v in p.stack.venues.values()) == 0
            return
        await p.until(lambda: p.heard.bots is not None)
        p.stopper.ask("SIGTERM")
        await life

    text = HOLDING.replace("hyperliquid: {max", "dydx: {max").split("backtest:")[0]
    play(tmp_path, act, f"allow_withdraw_keys: {str(allowed).lower()}\n{text}", names=("lighter", "dydx"))
