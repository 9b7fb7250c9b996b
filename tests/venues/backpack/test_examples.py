"""The examples, run as a user would, against the dialect; and the venue page against the spec."""

from __future__ import annotations

import asyncio
import os
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from exchange_clients.backpack import SPEC
from exchange_clients.transport.runtime import Runtime
from exchange_simulator.core.exchange import Exchange
from exchange_simulator.core.types import Side
from exchange_simulator.dialects.backpack import BackpackDialect
from exchange_simulator.dialects.base import DialectServer

ROOT = Path(__file__).resolve().parents[3]


async def run(script: str, *arguments: str) -> str:
    exchange = Exchange(BackpackDialect.rules())
    dialect = BackpackDialect(exchange, Runtime.system())
    now = dialect.now_ns()
    for base, tick, step in (("BTC", "0.1", "0.001"), ("kBONK", "0.1", "0.001")):
        market = BackpackDialect.listing(base, tick_size=Decimal(tick), step_size=Decimal(step))
        exchange.add_market(now, market, mark=market.to_ref(Decimal(500)))
        for n in range(1, 4):
            exchange.set_level(now, market.symbol, Side.BUY, market.to_ticks(Decimal(500 - n)), 5000)
            exchange.set_level(now, market.symbol, Side.SELL, market.to_ticks(Decimal(500 + n)), 5000)
    account = dialect.open_account(Decimal(1000))
    async with DialectServer(dialect) as server:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(ROOT / "examples" / "backpack" / script),
            f"--rest={server.rest}",
            f"--ws={server.ws['public']}",
            *arguments,
            env={**os.environ, **account.environ, "PYTHONPATH": str(ROOT)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        done = asyncio.ensure_future(process.communicate())
        ticks = 0
        while not (await asyncio.wait([done], timeout=0.3))[0]:
            ticks += 1
            assert ticks < 100, "the example does not end"
            exchange.set_level(dialect.now_ns(), "kBONK_USDC_PERP", Side.BUY, 4990, 4000 + ticks)  # a market lives
        out, err = await done
    assert process.returncode == 0, err.decode()[-2000:]
    return out.decode()


@pytest.mark.slow
async def test_market_data() -> None:
    said = await run("market_data.py", "--symbol=BONK")
    assert "2 markets; BONK-USDC-PERP.backpack: tick 0.0001, step 1" in said
    assert "ask         0.5010         5000.0" in said
    assert "best: Bbo(" in said
    assert "an hour" in said


@pytest.mark.slow
async def test_orders() -> None:
    said = await run("orders.py")
    assert "placed   open 0.001 at 449.1: order 1" in said
    assert "replaced open 0.001 at 444.6: order 2" in said
    assert "ended    canceled, filled 0" in said


def test_the_page_names_everything_of_the_spec() -> None:
    page = (ROOT / "docs" / "venues" / "backpack.md").read_text()
    for name in [*SPEC.endpoints, *SPEC.streams.values(), *(item.variable.format(env="") for item in SPEC.credentials)]:
        assert f"`{name}`" in page, name
