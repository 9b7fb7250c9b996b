"""kill -9 of a real collector at any moment: what it said was committed is there, the database is whole, the next one goes on."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sqlite3
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from database.database import Database
from database.funding_store import FundingStore
from exchange_clients.transport.runtime import Runtime
from exchange_simulator import dialects
from exchange_simulator.ready import ready_venue

VENUES = ("dydx", "lighter", "okx")
KILLS = 8
SCRIPT = Path(__file__).with_name("collecting.py")
ROOT = Path(__file__).parents[2]


async def collected(url: str, settings: str, rng: random.Random) -> list[tuple[str, int, int]]:
    """Run a collector and kill it at some moment after its third committed round; what it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SCRIPT), url, settings, stdout=asyncio.subprocess.PIPE, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}
    )
    assert process.stdout is not None
    told: list[tuple[str, int, int]] = []

    async def read() -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            if line.endswith(b"\n"):
                name, at, count = line.decode().split()
                told.append((name, int(at), int(count)))

    reading = asyncio.create_task(read())
    async with asyncio.timeout(60):
        while len(told) < 4:
            assert process.returncode is None
            await asyncio.sleep(0.02)
        await asyncio.sleep(rng.uniform(0.0, 1.5))
        process.kill()
        assert await process.wait() == -signal.SIGKILL
        await reading
    return told


@pytest.mark.soak
def test_what_was_committed_outlives_every_kill(tmp_path: Path) -> None:
    url, rng = f"sqlite:///{tmp_path / 'perpkit.db'}", random.Random(11)

    async def main() -> None:
        runtime = Runtime.system()
        promised: list[tuple[str, int, int]] = []
        async with AsyncExitStack() as stack:
            venues = [await stack.enter_async_context(ready_venue(dialects.get(name), runtime)) for name in VENUES]
            given = {v.spec.name: {"environment": v.environment, "endpoints": v.settings()["endpoints"], "deadline_s": 30} for v in venues}
            expected = 0
            settings = json.dumps({"venues": given, "interval_s": 1, "backfill_days": 2, "backfill_pause_s": 0})
            for _ in range(KILLS):
                (_, restored, _), *told = await collected(url, settings, rng)
                assert restored == expected, "a restart begins with what is there"
                assert {name for name, _, _ in told} <= set(VENUES)
                promised += told
                with sqlite3.connect(tmp_path / "perpkit.db") as raw:
                    assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
                    assert raw.execute("PRAGMA foreign_key_check").fetchall() == []
                raw.close()
                with Database.open(url) as database:
                    store = FundingStore(database)
                    there = {(entry.venue, entry.started_at): entry for entry in store.collections(last=10**6)}
                    for name, at, count in promised:
                        assert there[name, at].markets == count
                        ended = there[name, at].ended_at
                        rows = [store.samples(market.instrument, ended, ended + 1) for market in store.markets(name)]
                        assert sum(map(len, rows)) == count
                    newest = {name: max((at for n, at, count in promised if n == name and count), default=0) for name in VENUES}
                    expected = len(store.latest())
                    for row in store.latest():
                        assert row.observed_at >= newest[row.venue], "the newest is no older than what was committed last"
        runtime.offload.close()
        assert len(promised) >= 3 * KILLS

    asyncio.run(main())
