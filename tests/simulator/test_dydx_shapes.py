"""What the dialect says has every field of what the venue was recorded saying, of the same JSON type."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from exchange_simulator.core.types import REF, Side
from exchange_simulator.dialects.dydx import DydxDialect
from exchange_simulator.ready import ready_venue
from exchange_simulator.simloop import Simulation, run
from tests.simulator.dydx_bot import IOC, Bot
from tests.simulator.test_lighter_shapes import compare

BTC = "BTC-USD"
GONE = ("goodTilBlockTime: missing", "eventId: missing", "instead of NoneType None")
"""Said by the version 2.1.0 of the documentation and by no later message; and what was null there."""


def recorded(payloads: Path, kind: str, name: str) -> Any:
    """The payload of the first record of that name which came off the wire, or which the venue's documentation shows."""
    for line in (payloads / "dydx" / f"{kind}.jsonl").read_text().splitlines():
        record = json.loads(line)
        if name in record["name"] and record["provenance"] in ("recorded", "documentation"):
            payload = record["payload"]
            return payload["result"] if "requestId" in payload else payload
    raise AssertionError(f"no record {name} in {kind}")


@pytest.fixture(scope="module")
def said() -> dict[str, Any]:
    """One of everything the dialect says."""

    async def main(sim: Simulation) -> dict[str, Any]:
        found: dict[str, Any] = {}
        async with (
            ready_venue(DydxDialect, sim.runtime, network=sim.network, late_removals=0.0) as venue,
            Bot(venue.server, venue.account, sim.runtime) as bot,
        ):
            owner = {"owner": bot.address, "number": 0}
            transfer = {"sender": owner, "recipient": {**owner, "number": 1}, "amount": 10**6}
            await bot.send(("/dydxprotocol.sending.MsgCreateTransfer", {"transfer": transfer}), fee=25_000)
            await bot.short(1, "sell", 1000, 590_000, time_in_force=IOC)
            await asyncio.sleep(1)
            await bot.short(4, "buy", 100, 610_000, time_in_force=IOC)
            await asyncio.sleep(3600)
            stream = await bot.stream()
            subscribed = {
                "book": await stream.subscribe("v4_orderbook", BTC),
                "trades": await stream.subscribe("v4_trades", BTC),
                "candles": await stream.subscribe("v4_candles", f"{BTC}/1MIN"),
                "markets": await stream.subscribe("v4_markets"),
                "height": await stream.subscribe("v4_block_height"),
                "account": await stream.subscribe("v4_subaccounts", f"{bot.address}/0"),
            }
            found.update({f"subscribed/{name}": message for name, message in subscribed.items()})
            venue.exchange.set_level(venue.dialect.now_ns(), BTC, Side.BUY, 599_000, 5)
            venue.exchange.set_mark(venue.dialect.now_ns(), BTC, 600_100 * REF)
            await bot.short(2, "buy", 1000, 610_000, time_in_force=IOC)
            filled = await stream.order(bot.uuid(2), "FILLED")
            await asyncio.sleep(6)
            await bot.short(3, "buy", 1000, 590_000)
            await stream.order(bot.uuid(3), "BEST_EFFORT_OPENED")
            for message in stream.seen:
                if message["type"] == "channel_data":
                    found.setdefault(f"data/{message['channel']}", message)
                    if message["channel"] == "v4_markets":
                        found["oracle" if "oraclePrices" in message["contents"] else "trading"] = message
            account = next(m for m in stream.seen if m.get("contents", {}).get("fills"))
            assert account["contents"]["orders"][0]["id"] == filled["id"]
            found["fill"] = account
            await stream.send(type="subscribe", channel="invalid_channel")
            found["error"] = await stream.next()
            reads: list[tuple[str, str, dict[str, Any]]] = [
                ("markets", "perpetualMarkets", {"ticker": BTC}),
                ("book", f"orderbooks/perpetualMarket/{BTC}", {}),
                ("trades", f"trades/perpetualMarket/{BTC}", {}),
                ("candles", f"candles/perpetualMarkets/{BTC}", {"resolution": "1MIN"}),
                ("funding", f"historicalFunding/{BTC}", {}),
                ("subaccount", f"addresses/{bot.address}/subaccountNumber/0", {}),
                ("subaccounts", f"addresses/{bot.address}", {}),
                ("time", "time", {}),
            ]
            for name, path, params in reads:
                found[name] = await bot.get(path, **params)
            for name, path in (("positions", "perpetualPositions"), ("fills", "fills"), ("transfers", "transfers")):
                found[name] = await bot.mine(path)
            found["orders"] = await bot.mine("orders", status="FILLED")
        return found

    return run(main)


@pytest.mark.parametrize(
    ("ours", "kind", "name"),
    [
        ("markets", "rest/markets", "fetch_markets"),
        ("book", "rest/orderbook", "get_orderbook"),
        ("trades", "rest/trades", "get_trades"),
        ("candles", "rest/candles", "get_candles"),
        ("funding", "rest/funding_history", "fetch_funding_rate_history"),
        ("subaccount", "rest/account", "get_subaccount"),
        ("subaccounts", "rest/account", "fetch_accounts"),
        ("positions", "rest/positions", "fetch_positions"),
        ("orders", "rest/orders", "get_orders"),
        ("fills", "rest/fills", "get_fills"),
        ("transfers", "rest/transfers", "fetch_transactions_helper"),
        ("time", "rest/status", "get_time"),
        ("error", "ws/error", "error"),
        ("subscribed/book", "ws/orderbook", "orderbook_subscribed"),
        ("data/v4_orderbook", "ws/orderbook", "v4_orderbook"),
        ("subscribed/trades", "ws/trades", "handle_trades"),
        ("data/v4_trades", "ws/trades", "v4_trades"),
        ("subscribed/candles", "ws/candles", "handle_ohlcv"),
        ("subscribed/markets", "ws/ticker", "v4_markets"),
        ("subscribed/height", "ws/status", "block_height_subscribed"),
        ("subscribed/account", "ws/account", "subaccounts_subscribed"),
        ("fill", "ws/account", "Subaccounts/Example"),
    ],
)
def test_every_recorded_field_is_said(said: dict[str, Any], payloads: Path, ours: str, kind: str, name: str) -> None:
    problems = compare(said[ours], recorded(payloads, kind, name), name)
    assert [problem for problem in problems if not problem.endswith(GONE)] == []


def test_trading_and_oracle_updates_are_told_apart(said: dict[str, Any], payloads: Path) -> None:
    lines = (payloads / "dydx/ws/ticker.jsonl").read_text().splitlines()
    contents = [json.loads(line)["payload"]["contents"] for line in lines]
    oracle = next(each for each in contents if "oraclePrices" in each)
    fields = set(next(iter(oracle["oraclePrices"].values())))
    assert set(next(iter(said["oracle"]["contents"]["oraclePrices"].values()))) == fields
    changed = said["trading"]["contents"]["trading"][BTC]
    assert "id" in changed
    assert Decimal(changed["volume24H"]) > 0
    assert "initialMarginFraction" not in changed
