"""SIGTERM while the bots still prove what an earlier run left: nothing is entered, and what is open is said."""

from __future__ import annotations

import asyncio
from pathlib import Path

from perpkit.bot.environments import Environment
from strategies.risk.fence import Fence, heartbeats
from tests.bot.test_runner import Playing, play
from tests.bot.test_worlds import hold


def test_e35_a_stop_before_anything_was_proved_calls_nothing_flat_and_leaves_the_watchdog_to_its_work(tmp_path: Path) -> None:
    """The bot waits at the fence: a watchdog acts for it. Ended by itself it would be nobody's any more."""

    async def act(p: Playing) -> None:
        await hold(p, Environment.LIVE)
        fence = Fence(tmp_path / "home")
        assert fence.take("funding_arbitrage:main is silent for 31 s")
        life = p.begin()
        await p.until(lambda: any("hyperliquid (main)" in line for line in p.heard.said))
        await asyncio.sleep(5)
        p.stopper.ask("SIGTERM")
        settled = await asyncio.wait_for(life, 60)
        fence.drop()
        journal = p.journal()
        (pair,) = journal.pairs()
        ending = journal.runs()[-1].ending
        journal.close()
        assert ending == f"{pair.pair_id}: unsettled (hedged, not proved)"
        assert not settled
        assert any(pair.pair_id in line and "was not proved" in line for line in p.heard.said)
        (heart,) = heartbeats(tmp_path / "home")
        beat = heart.read()
        assert beat is not None
        assert not beat.ended

    play(tmp_path, act)
