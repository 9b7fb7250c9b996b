"""The examples, run as a user would, against the dialect; and the venue page against the spec."""

from __future__ import annotations

import asyncio
import os
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from exchange_clients.paradex import SPEC
from exchange_clients.paradex.common import Options
from exchange_clients.transport.runtime import Runtime
from exchange_simulator.core.exchange import Exchange
from exchange_simulator.core.types import Side
from exchange_simulator.dialects.base import DialectServer
from exchange_simulator.dialects.paradex import ParadexDialect

ROOT = Path(__file__).resolve().parents[3]


async def run(script: str, *arguments: str) -> str:
    exchange = Exchange(ParadexDialect.rules())
    dialect = ParadexDialect(exchange, Runtime.system())
    now = dialect.now_ns()
    market = ParadexDialect.listing("BTC", tick_size=Decimal("0.1"), step_size=Decimal("0.001"))
    exchange.add_market(now, market, mark=market.to_ref(Decimal(500)))
    for n in range(1, 4):
        exchange.set_level(now, market.symbol, Side.BUY, market.to_ticks(Decimal(500 - n)), 5000)
        exchange.set_level(now, market.symbol, Side.SELL, market.to_ticks(Decimal(500 + n)), 5000)
    account = dialect.open_account(Decimal(1000))
    async with DialectServer(dialect) as server:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(ROOT / "examples" / "paradex" / script),
            "--environment=mainnet",
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
            exchange.set_level(dialect.now_ns(), market.symbol, Side.BUY, 4990, 5000 + ticks)  # a market lives
        out, err = await done
    assert process.returncode == 0, err.decode()[-2000:]
    return out.decode()


@pytest.mark.slow
async def test_market_data() -> None:
    said = await run("market_data.py", "--book=interactive", "--group=20")
    assert "1 markets; BTC-USD-PERP.paradex: tick 0.1, step 0.001" in said
    assert "bid        498.0 " in said, "a step of two dollars"
    assert "best: Bbo(" in said
    assert "bid=Decimal('499" in said, "and the exact price beside it"
    assert "accrued by the second" in said


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [("--channel=rest",), ("--channel=ws", "--guard")])
async def test_orders(arguments: tuple[str, ...]) -> None:
    said = await run("orders.py", *arguments)
    assert "placed  open 0.025 at 449.1: client id p" in said
    assert "amended open 0.025 at 444.6: same order True" in said
    assert "ended   canceled, filled 0, because USER_CANCELED" in said


def test_the_page_names_everything_of_the_spec() -> None:
    page = (ROOT / "docs" / "venues" / "paradex.md").read_text()
    names = [*SPEC.endpoints, *SPEC.streams.values(), *(item.variable.format(env="") for item in SPEC.credentials), *Options.__slots__]
    for name in names:
        assert f"`{name}`" in page, name
