"""Kill a bot with SIGKILL at a point drawn from a seed, start it again, and hold what it does against the exchanges' own truth (E9).

    python -m tests.strategies.crash --kills 0:300 --jobs 2
    python -m tests.strategies.crash --kills 17

Bot and venues are different processes that talk over sockets; the two venues are drawn from the seed, the point is a step of the journal
or a moment. A kill that fails prints the command that repeats it (as far as real time repeats).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path

from exchange_clients.transport.runtime import Runtime
from tests.strategies.crash_bot import ALIVE
from tests.strategies.stack import NakedWatch, Stack, accepted_by_client_id, stack

SLICE = Decimal("0.005")
STEPS = 70
"""About as many steps as the journal takes for one open and close."""
LONGEST_S = 3.0
"""After the bot came up; one open and close take less."""
ARRIVES_S = 1.0
"""What had left the bot when it died has arrived by then."""


@dataclass(frozen=True, slots=True)
class Point:
    """Where a bot dies: at the n-th step of its journal, or so many seconds after it came up."""

    step: int | None = None
    after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """`killed` False: the life was over before the point."""

    killed: bool
    states: tuple[str, ...]


def exposure(positions: dict[str, Decimal]) -> tuple[Decimal, Decimal]:
    """Delta and gross size, both absolute."""
    return abs(sum(positions.values(), Decimal(0))), sum((abs(p) for p in positions.values()), Decimal(0))


def step_of(s: Stack) -> Decimal:
    """The larger quantity step of the two markets."""
    return max(venue.ready.markets["BTC"].step_size for venue in s.venues.values())


async def kill_and_restart(folder: Path, names: tuple[str, str], point: Point) -> Outcome:
    """One life cut short and one that recovers.

    Raises:
        AssertionError: something that was sent after the restart added delta or exposure, or the end is not hedged or flat.
    """
    runtime = Runtime.system()
    try:
        async with stack(runtime, folder, names=names, start=False) as s:
            code, out = await _bot(s, folder, point)
            assert code == -signal.SIGKILL, out
            await asyncio.sleep(ARRIVES_S)
            before = s.positions()
            watch = NakedWatch(s)
            code, out = await _bot(s, folder, None)
            assert code == 0, out
            states = tuple(json.loads(out.strip().splitlines()[-1]).values())
            assert set(states) <= {"hedged", "closed"}, states
            delta, gross = exposure(before)
            if "closed" in states:
                delta = max(delta, SLICE)  # an exit that was decided goes on, slice by slice
            assert watch.worst <= delta, f"an order increased the delta from {delta} to {watch.worst}"
            assert watch.worst_gross <= gross, f"an order increased exposure from {gross} to {watch.worst_gross}"
            assert exposure(s.positions())[0] < step_of(s), s.positions()
            for venue in s.venues.values():
                assert set(accepted_by_client_id(venue).values()) <= {1}, f"{venue.name} accepted an order twice"
            return Outcome(True, states)
    finally:
        runtime.offload.close()


async def _bot(s: Stack, folder: Path, point: Point | None) -> tuple[int, str]:
    task = {
        "folder": str(folder),
        "lives": point is not None,
        "kill_at": point.step if point is not None else None,
        "venues": {n: {"endpoints": v.server.endpoints, "environ": dict(v.account.environ)} for n, v in s.venues.items()},
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.strategies.crash_bot",
        json.dumps(task),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    if point is not None and point.after_s is not None:
        assert process.stdout is not None
        while line := await process.stdout.readline():  # the clock of the kill starts when the bot has come up
            if line.strip() == ALIVE:
                break
        await asyncio.sleep(point.after_s)
        if process.returncode is None:
            process.kill()
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


def drawn(seed: int) -> tuple[tuple[str, str], Point]:
    """The venues of a seed and where its bot dies."""
    from exchange_clients import venues as registry
    from exchange_simulator import dialects

    rng = random.Random(f"kill-{seed}")
    one, other = rng.sample([name for name in registry.names() if name in dialects.names()], 2)
    point = Point(step=rng.randrange(STEPS)) if rng.random() < 0.5 else Point(after_s=rng.uniform(0, LONGEST_S))
    return (one, other), point


def _one(seed: int) -> tuple[int, str, str]:
    """The seed, how it ended, what broke."""
    logging.disable()
    names, point = drawn(seed)
    with tempfile.TemporaryDirectory(prefix="crash-") as folder:
        try:
            outcome = asyncio.run(kill_and_restart(Path(folder), names, point))
        except Exception as e:
            return seed, "failed", f"{names} {point}\n{traceback.format_exc(limit=-2)}\n{e}"
    return seed, f"ended {' and '.join(sorted(set(outcome.states))) or 'with nothing begun'}", ""


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill bots at random points and see what their successors do.")
    parser.add_argument("--kills", default="0:100", help="first:last+1, or one")
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    first, _, last = options.kills.partition(":")
    seeds = range(int(first), int(last) if last else int(first) + 1)
    began, failed = time.monotonic(), []
    totals: Counter[str] = Counter()
    with ProcessPoolExecutor(options.jobs) as pool:
        for done, (seed, ending, error) in enumerate(pool.map(partial(_one), seeds), 1):
            totals[ending] += 1
            if error:
                failed.append(seed)
                print(f"\nkill {seed} failed: python -m tests.strategies.crash --kills {seed}\n{error}", flush=True)
            rate = (time.monotonic() - began) / done
            print(f"\r{done}/{len(seeds)} kills, {len(failed)} failed, {rate:.1f} s a kill", end="", flush=True)
    print(f"\n{', '.join(f'{what} {n}' for what, n in totals.most_common())}")
    print(f"{len(failed)} of {len(seeds)} failed{': ' + ', '.join(map(str, failed)) if failed else ''}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
