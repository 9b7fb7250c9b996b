"""Venues served by hand, by fixture, and on virtual time."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import aiohttp
import pytest

from exchange_simulator import __main__, dialects
from exchange_simulator.core.types import Side
from exchange_simulator.dialects import UnknownDialect
from exchange_simulator.dialects.lighter import LighterDialect
from exchange_simulator.pytest_plugin import MakeVenue
from exchange_simulator.ready import MARKETS, ReadyVenue, ready_venue
from exchange_simulator.simloop import Simulation


def test_registered_dialects_are_found_and_others_are_not() -> None:
    assert set(dialects.names()) >= {"lighter", "hyperliquid"}
    assert dialects.get("lighter") is LighterDialect
    with pytest.raises(UnknownDialect, match="lighter"):
        dialects.get("lihgter")


async def order_books(venue: ReadyVenue) -> dict[str, Any]:
    async with aiohttp.ClientSession() as session, session.get(f"{venue.server.rest}/api/v1/orderBooks") as response:
        found: dict[str, Any] = await response.json()
        return found


async def test_fixture_serves_the_venue(lighter_server: ReadyVenue) -> None:
    books = (await order_books(lighter_server))["order_books"]
    assert {b["symbol"] for b in books} == {"BTC", "ETH"}
    assert lighter_server.environ["LIGHTER_ACCOUNT_INDEX"] == str(lighter_server.account.account)
    lighter_server.set_price("BTC", 50_000)
    best = lighter_server.exchange.depth("BTC", Side.BUY, 1)[0]
    assert 49_900 < lighter_server.exchange.markets["BTC"].spec.price(best[0]) < 50_000


async def test_factory_serves_several_at_once(simulated_venue: MakeVenue) -> None:
    first = await simulated_venue("lighter", bases=["SOL"], seed=1)
    second = await simulated_venue("lighter", bases=["ETH"], seed=2)
    assert [b["symbol"] for b in (await order_books(first))["order_books"]] == ["SOL"]
    assert [b["symbol"] for b in (await order_books(second))["order_books"]] == ["ETH"]
    assert first.environ["LIGHTER_API_KEY_PRIVATE_KEY"] != second.environ["LIGHTER_API_KEY_PRIVATE_KEY"]


@pytest.mark.parametrize("name", ["lighter", "hyperliquid"])
def test_a_live_market_moves_and_is_the_same_for_the_same_seed(name: str, simulate: Callable[..., Any]) -> None:
    async def main(sim: Simulation) -> list[Any]:
        seen: list[Any] = []
        async with ready_venue(dialects.get(name), sim.runtime, live=True, seed=5, network=sim.network) as venue:
            for _ in range(5):
                await asyncio.sleep(7)
                market = venue.exchange.markets["BTC"]
                seen.append((market.mark, market.index, venue.exchange.depth("BTC", Side.BUY, 5)))
        assert len({str(x) for x in seen}) == 5
        return seen

    assert simulate(main) == simulate(main)


async def start(*arguments: str) -> tuple[asyncio.subprocess.Process, dict[str, Any]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "exchange_simulator", "--json", "--still", *arguments, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 30)
    found: dict[str, Any] = json.loads(line)
    return process, found


@pytest.mark.slow
async def test_command_serves_until_interrupted_and_ends_clean() -> None:
    process, venues = await start("--venue", "lighter", "--markets", "eth", "--deposit", "5")
    lighter = venues["lighter"]
    async with aiohttp.ClientSession() as session:
        index = lighter["environ"]["LIGHTER_ACCOUNT_INDEX"]
        async with session.get(f"{lighter['endpoints']['rest']}/api/v1/account", params={"by": "index", "value": index}) as response:
            assert Decimal((await response.json())["accounts"][0]["collateral"]) == 5
    process.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(process.wait(), 10) == 0


@pytest.mark.slow
async def test_command_ends_by_itself() -> None:
    process, _ = await start("--venue", "lighter", "--minutes", "0.001")
    assert await asyncio.wait_for(process.wait(), 10) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["--venue", "nowhere"],
        ["--markets", "DOGE"],
        ["--markets", ","],
        ["--deposit", "much"],
        ["--fault", "bogus"],
        ["--minutes", "0"],
    ],
)
def test_command_refuses_nonsense(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        __main__.main(arguments)
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_every_market_can_be_listed_by_every_dialect() -> None:
    for name in dialects.names():
        for base, (tick, step, price) in MARKETS.items():
            market = dialects.get(name).listing(base, tick_size=tick, step_size=step)
            assert Decimal(price) % market.tick_size == 0
