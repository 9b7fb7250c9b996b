"""The examples, run as a user would, against the dialect; and the venue page against the spec."""

from __future__ import annotations

import asyncio
import os
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from exchange_clients.aster import SPEC
from exchange_clients.transport.runtime import Runtime
from exchange_simulator.core.exchange import Exchange
from exchange_simulator.core.types import Side
from exchange_simulator.dialects.aster import AsterDialect
from exchange_simulator.dialects.base import DialectServer

ROOT = Path(__file__).resolve().parents[3]


async def run(script: str, *arguments: str, legacy: bool = False, private: bool = False) -> str:
    exchange = Exchange(AsterDialect.rules())
    dialect = AsterDialect(exchange, Runtime.system())
    now = dialect.now_ns()
    for base, tick, step, mark in (("BTC", "0.01", "0.001", "500"), ("1000PEPE", "0.00001", "1", "0.02")):
        market = AsterDialect.listing(base, tick_size=Decimal(tick), step_size=Decimal(step))
        exchange.add_market(now, market, mark=market.to_ref(Decimal(mark)))
        middle = market.to_ticks(Decimal(mark))
        for n in range(1, 4):
            exchange.set_level(now, market.symbol, Side.BUY, middle - middle * n // 500, 5000)
            exchange.set_level(now, market.symbol, Side.SELL, middle + middle * n // 500, 5000)
    account = dialect.open_account(Decimal(1000))
    if legacy:
        account = dialect.legacy_keys(account)
    async with DialectServer(dialect) as server:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(ROOT / "examples" / "aster" / script),
            "--environment=mainnet",
            f"--rest={server.rest}",
            f"--ws={server.ws['public']}",
            *([f"--account={server.ws['private']}"] if private else []),
            *arguments,
            env={**os.environ, **account.environ, "PYTHONPATH": str(ROOT)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        done = asyncio.ensure_future(process.communicate())
        try:
            await asyncio.wait_for(asyncio.shield(done), 40)
        except TimeoutError:
            process.kill()
        out, err = await done
    assert process.returncode == 0, err.decode()[-2000:]
    return out.decode()


@pytest.mark.slow
async def test_market_data() -> None:
    said = await run("market_data.py")
    assert "2 markets; BTC-USDT-PERP.aster: tick 0.01, step 0.001" in said
    assert "mark: MarkPrice(" in said
    assert "every 8 h" in said


@pytest.mark.slow
async def test_market_data_in_tokens() -> None:
    said = await run("market_data.py", "--symbol=PEPE")
    assert "PEPE-USDT-PERP.aster: tick 0.00000001, step 1000" in said
    assert "0.00002004" in said


@pytest.mark.slow
@pytest.mark.parametrize("legacy", [False, True])
async def test_orders(legacy: bool) -> None:
    said = await run("orders.py", legacy=legacy, private=True)
    assert "placed  open 0.013 at 449.1: order 1" in said
    assert "amended open 0.013 at 444.60: still order 1" in said
    assert "ended   canceled, filled 0" in said


def test_the_page_names_everything_of_the_spec() -> None:
    page = (ROOT / "docs" / "venues" / "aster.md").read_text()
    for name in [*SPEC.endpoints, *SPEC.streams.values(), *(item.variable.format(env="") for item in SPEC.credentials)]:
        assert f"`{name}`" in page, name
