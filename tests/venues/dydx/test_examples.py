"""The examples, run as a user would, against the dialect."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from exchange_clients.transport.runtime import Runtime
from exchange_simulator.core.types import Side
from exchange_simulator.dialects.dydx import DydxDialect
from exchange_simulator.ready import ready_venue

ROOT = Path(__file__).resolve().parents[3]


async def run(script: str, *arguments: str, grpc: bool = False) -> str:
    runtime = Runtime.system()
    async with ready_venue(DydxDialect, runtime) as venue:
        ends = venue.endpoints
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(ROOT / "examples" / "dydx" / script),
            "--environment=mainnet",
            f"--rest={ends['rest']}",
            f"--ws={ends['ws']['public']}",
            *([f"--grpc={ends['grpc'][0]}"] if grpc else []),
            *arguments,
            env={**os.environ, **venue.environ, "PYTHONPATH": str(ROOT)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        done = asyncio.ensure_future(process.communicate())
        ticks, market = 0, venue.markets["BTC"]
        while not (await asyncio.wait([done], timeout=0.3))[0]:
            ticks += 1
            assert ticks < 150, "the example does not end"
            best = venue.true_book("BTC", 1)[0][0][0]
            venue.exchange.set_level(venue.now(), market.symbol, Side.BUY, market.to_ticks(best), 4000 + ticks)  # a market lives
        out, err = await done
    runtime.offload.close()
    assert process.returncode == 0, err.decode()[-2000:]
    return out.decode()


@pytest.mark.slow
async def test_market_data() -> None:
    said = await run("market_data.py")
    assert "2 markets; BTC-USD-PERP.dydx: tick 0.1, step 0.00001" in said
    assert "best: Bbo(" in said
    assert "an hour" in said


@pytest.mark.slow
async def test_orders() -> None:
    said = await run("orders.py", grpc=True)
    assert "fees    maker 0.0100%, taker 0.0500%" in said
    assert "placed  open 0.00001 at 53994.6" in said
    assert "ended   canceled" in said
    assert "ended   expired: nobody took it" in said
    assert "quoted  open 0.00001" in said
