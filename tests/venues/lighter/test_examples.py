"""The examples run as a user would start them, against the simulated venue."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "expected"),
    [("market_data.py", ["2 markets", "bid", "best:", "a year"]), ("orders.py", ["placed  open", "amended", "ended   canceled"])],
)
async def test_the_example_runs(script: str, expected: list[str], simulated_venue: Any) -> None:
    venue = await simulated_venue("lighter")
    endpoints = venue.endpoints
    arguments = ["--environment", "mainnet", "--rest", endpoints["rest"], "--ws", endpoints["ws"]["public"]]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "examples" / "lighter" / script),
        *arguments,
        cwd=ROOT,
        env={**os.environ, **venue.environ, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    if script == "market_data.py":
        for step in range(100):
            if process.returncode is not None:
                break
            venue.set_price("BTC", 60_000 + 10 * step)
            await asyncio.sleep(0.1)
    output = (await process.communicate())[0].decode()
    assert process.returncode == 0, output
    assert [words for words in expected if words not in output] == [], output
