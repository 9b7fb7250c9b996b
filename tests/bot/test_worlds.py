"""A journal belongs to one world: positions of another environment are never taken for those of this one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from database.journal import Journal
from database.records import PairState
from perpkit.bot.environments import Environment
from perpkit.bot.runner import NotAllowed
from tests.bot.test_runner import HOLDING, Playing, play


async def _hold(p: Playing, environment: Environment) -> None:
    """A run that leaves a hedged pair in its journal."""
    life = p.begin(environment)
    await p.until(lambda: p.heard.bots is not None and PairState.HEDGED in p.states())
    p.stopper.ask("SIGTERM")
    await life


@pytest.mark.parametrize(("first", "then"), [(Environment.PAPER, Environment.LIVE), (Environment.LIVE, Environment.PAPER)])
def test_a_journal_of_another_environment_is_refused(tmp_path: Path, first: Environment, then: Environment) -> None:
    """`--journal` can name any: a live engine would answer virtual positions with real orders, a paper engine would book real ones away."""

    async def act(p: Playing) -> None:
        url = f"sqlite:///{tmp_path / 'one.db'}"
        p.journal_url = url
        await _hold(p, first)
        held, sent = p.stack.positions(), sum(truth.commands() for truth in p.stack.venues.values())
        with pytest.raises(NotAllowed, match=f"was written in {first}.*--journal"):
            await asyncio.wait_for(p.begin(then), 30)
        assert p.stack.positions() == held
        assert sum(truth.commands() for truth in p.stack.venues.values()) == sent
        journal = Journal.open(url, read_only=True)
        assert [pair.state for pair in journal.pairs()] == [PairState.HEDGED]
        journal.close()

    play(tmp_path, act)


def test_what_is_open_on_a_testnet_is_not_taken_over_at_the_mainnet(tmp_path: Path) -> None:
    """Both are `--env live` and have one journal; the file of the bot says which world it is in."""

    async def act(p: Playing) -> None:
        await _hold(p, Environment.LIVE)
        sent = sum(truth.commands() for truth in p.stack.venues.values())
        p.file.write_text(HOLDING.replace("lighter: {}", "lighter: {environment: mainnet}"))
        with pytest.raises(NotAllowed, match=r"open on lighter testnet.*environment: testnet"):
            await asyncio.wait_for(p.begin(), 30)
        assert sum(truth.commands() for truth in p.stack.venues.values()) == sent

    play(tmp_path, act, HOLDING.replace("lighter: {}", "lighter: {environment: testnet}"))
