"""The examples, run as a user would, against the dialect."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from $dialect import ${Name}Dialect
from exchange_clients.transport.runtime import Runtime
from exchange_simulator.ready import ready_venue

ROOT = Path(__file__).resolve().parents[$depth]


async def run(script: str) -> str:
    runtime = Runtime.system()
    try:
        async with ready_venue(${Name}Dialect, runtime, live=True) as venue:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                str(ROOT / "$examples" / script),
                "--environment=mainnet",
                f"--rest={venue.server.rest}",
                *(f"--ws={role}={address}" for role, address in venue.server.ws.items()),
                env={**os.environ, **venue.environ, "PYTHONPATH": str(ROOT)},
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            out, err = await asyncio.wait_for(process.communicate(), 30)
    finally:
        runtime.offload.close()
    assert process.returncode == 0, err.decode()[-2000:]
    return out.decode()


@pytest.mark.slow
async def test_market_data() -> None:
    said = await run("market_data.py")
    assert "2 markets" in said
    assert "best: Bbo(" in said
    assert "an hour" in said


@pytest.mark.slow
async def test_orders() -> None:
    said = await run("orders.py")
    assert "placed  open" in said
    assert "ended   canceled, filled 0" in said
