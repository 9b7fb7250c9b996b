"""The examples, run as a user would, against the dialect; and the venue page against the spec."""

from __future__ import annotations

import asyncio
import os
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from exchange_clients.okx import SPEC
from exchange_clients.okx.client.utils.converters import CANCEL_SOURCES
from exchange_clients.transport.runtime import Runtime
from exchange_simulator.core.exchange import Exchange
from exchange_simulator.core.types import Side
from exchange_simulator.dialects.base import DialectServer
from exchange_simulator.dialects.okx import OkxDialect

ROOT = Path(__file__).resolve().parents[3]


async def run(script: str, *arguments: str) -> str:
    exchange = Exchange(OkxDialect.rules())
    dialect = OkxDialect(exchange, Runtime.system())
    now = dialect.now_ns()
    linear = OkxDialect.listing("BTC", tick_size=Decimal("0.1"), step_size=Decimal("0.00001"))
    for market in (linear, OkxDialect.inverse_listing("BTC", tick_size=Decimal("0.1"))):
        exchange.add_market(now, market, mark=market.to_ref(Decimal(50_000)))
        for n in range(1, 4):
            exchange.set_level(now, market.symbol, Side.BUY, 500_000 - 10 * n, 5_000)
            exchange.set_level(now, market.symbol, Side.SELL, 500_000 + 10 * n, 5_000)
    account = dialect.open_account(Decimal(1000))
    async with DialectServer(dialect) as server:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(ROOT / "examples" / "okx" / script),
            "--environment=mainnet",
            f"--rest={server.rest}",
            f"--ws={server.ws['public'].removesuffix('/public')}",
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
            for symbol in exchange.markets:
                exchange.set_level(dialect.now_ns(), symbol, Side.BUY, 499_990, 4_000 + ticks)  # a market lives
        out, err = await done
    assert process.returncode == 0, err.decode()[-2000:]
    return out.decode()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("symbol", "words"),
    [
        ("BTC", ["2 markets; BTC-USDT-PERP.okx: tick 0.1, step 0.00001", "one contract is 0.01", "BTC; funding every 8 hours", "ask"]),
        ("BTC-USD-SWAP", ["BTC-USD-PERP-INV.okx: tick 0.1, step 100 USD", "one contract is 100 USD"]),
    ],
)
async def test_market_data(symbol: str, words: list[str]) -> None:
    said = await run("market_data.py", f"--symbol={symbol}")
    for word in [*words, "best: ", "BTC-USD-PERP-INV.okx +0.000000%"]:
        assert word in said, said


@pytest.mark.slow
@pytest.mark.parametrize("channel", ["rest", "ws"])
async def test_orders(channel: str) -> None:
    said = await run("orders.py", f"--channel={channel}")
    assert "placed  open 0.00001 at 47999" in said
    assert "amended open 0.00001" in said
    assert "ended   canceled, filled 0" in said


def test_the_page_names_everything_of_the_spec() -> None:
    page = (ROOT / "docs" / "venues" / "okx.md").read_text()
    variables = [item.variable.format(env=env) for item in SPEC.credentials for env in ("", "_DEMO")]
    for name in [*SPEC.endpoints, *SPEC.streams.values(), *variables]:
        assert f"`{name}`" in page, name


def test_every_reason_of_a_cancel_has_words() -> None:
    assert all(words and not words.endswith(".") for words in CANCEL_SOURCES.values())
