"""The examples, run as a user would, against the dialect; and the venue page against the spec."""

from __future__ import annotations

import asyncio
import os
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from exchange_clients.hyperliquid import SPEC
from exchange_clients.transport.runtime import Runtime
from exchange_simulator.core.exchange import Exchange
from exchange_simulator.core.types import Side
from exchange_simulator.dialects.base import DialectServer
from exchange_simulator.dialects.hyperliquid import HyperliquidDialect

ROOT = Path(__file__).resolve().parents[3]


async def run(script: str, *arguments: str) -> str:
    exchange = Exchange(HyperliquidDialect.rules())
    dialect = HyperliquidDialect(exchange, Runtime.system())
    now = dialect.now_ns()
    for coin in ("BTC", "xyz:TSLA"):
        market = HyperliquidDialect.listing(coin, tick_size=Decimal(1), step_size=Decimal("0.001"))
        exchange.add_market(now, market, mark=market.to_ref(Decimal(500)))
        for n in range(1, 4):
            exchange.set_level(now, coin, Side.BUY, market.to_ticks(Decimal(500 - n)), 5000)
            exchange.set_level(now, coin, Side.SELL, market.to_ticks(Decimal(500 + n)), 5000)
    account = dialect.open_account(Decimal(1000))
    async with DialectServer(dialect) as server:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(ROOT / "examples" / "hyperliquid" / script),
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
            exchange.set_level(dialect.now_ns(), "xyz:TSLA", Side.BUY, 499_000, 4000 + ticks)  # a market lives
        out, err = await done
    assert process.returncode == 0, err.decode()[-2000:]
    return out.decode()


@pytest.mark.slow
async def test_market_data() -> None:
    said = await run("market_data.py", "--dex=xyz", "--symbol=xyz:TSLA")
    assert "2 markets; TSLA-USDC-PERP@xyz.hyperliquid: tick 0.001, step 0.001" in said
    assert "best: Bbo(" in said
    assert "an hour" in said


@pytest.mark.slow
@pytest.mark.parametrize("channel", ["rest", "ws"])
async def test_orders(channel: str) -> None:
    said = await run("orders.py", f"--channel={channel}")
    assert "placed  open 0.025 at 449.10: order 1" in said
    assert "amended open 0.025 at 444.60: now order 2" in said
    assert "ended   canceled, filled 0" in said


def test_the_page_names_everything_of_the_spec() -> None:
    page = (ROOT / "docs" / "venues" / "hyperliquid.md").read_text()
    for name in [*SPEC.endpoints, *SPEC.streams.values(), *(item.variable.format(env="") for item in SPEC.credentials)]:
        assert f"`{name}`" in page, name
