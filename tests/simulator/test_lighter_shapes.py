"""What the dialect says has every field of what the venue was recorded saying, of the same JSON type."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from exchange_simulator.core.types import Side
from exchange_simulator.dialects.lighter import LighterDialect
from exchange_simulator.ready import ready_venue
from exchange_simulator.simloop import Simulation, run
from tests.simulator.lighter_bot import Bot

BTC = 1


def recorded(payloads: Path, kind: str, name: str) -> Any:
    """The payload of the first record of that name which came off the wire, or which the venue's documentation shows."""
    for line in (payloads / "lighter" / f"{kind}.jsonl").read_text().splitlines():
        record = json.loads(line)
        if name in record["name"] and record["provenance"] in ("recorded", "documentation"):
            return record["payload"]
    raise AssertionError(f"no record {name} in {kind}")


@pytest.fixture(scope="module")
def said() -> dict[str, Any]:
    """One of everything the dialect says."""

    async def main(sim: Simulation) -> dict[str, Any]:
        found: dict[str, Any] = {}
        async with (
            ready_venue(LighterDialect, sim.runtime, network=sim.network) as venue,
            Bot(venue.server, venue.account, sim.runtime) as bot,
        ):
            await asyncio.sleep(3600)
            stream = await bot.stream()
            token = bot.token()
            for channel in ("order_book/1", "ticker/1", "market_stats/1", "market_stats/all", "trade/1", "candle/1/1m"):
                await stream.subscribe(channel)
            for channel in ("account_all_orders", "account_all_trades", "account_all_positions", "account_all_assets", "user_stats"):
                await stream.subscribe(f"{channel}/{bot.account}", auth=token)
            found["ack"] = await bot.place(BTC, "buy", 1000, 605_000, client=1, Type=1)
            await bot.place(BTC, "buy", 1000, 590_000, client=2)
            venue.exchange.set_level(venue.dialect.now_ns(), "BTC", Side.BUY, 599_000, 5)
            await asyncio.sleep(1)
            await asyncio.sleep(3600)
            stream_messages: list[dict[str, Any]] = []
            while True:
                message = await stream.ws.receive()
                if message.type is not aiohttp.WSMsgType.TEXT:
                    break
                stream_messages.append(json.loads(message.data))
            for message_ in [*stream.seen, *stream_messages]:
                found[str(message_.get("type"))] = message_
            span = {"start_timestamp": 0, "end_timestamp": bot.now_ms}
            found["fundings"] = await bot.get("fundings", market_id=BTC, resolution="1h", count_back=5, **span)
            found["candles"] = await bot.get("candles", market_id=BTC, resolution="1m", count_back=5, **span)
            for name in ("orderBooks", "orderBookDetails", "funding-rates", "exchangeStats", "assetDetails"):
                found[name] = await bot.get(name)
            found["orderBookOrders"] = await bot.get("orderBookOrders", market_id=BTC, limit=5)
            found["recentTrades"] = await bot.get("recentTrades", market_id=BTC, limit=5)
            found["account"] = await bot.get("account", by="index", value=bot.account)
            for name in ("accountLimits", "accountActiveOrders"):
                found[name] = await bot.get(name, True, account_index=bot.account)
            found["positionFunding"] = await bot.get("positionFunding", True, account_index=bot.account, limit=5)
        return found

    return run(main)


OPTIONAL = {
    "shares", "pool_info", "message", "next_cursor", "daily_returns",
    "liquidation_trades",
    # present only where a margin or an integrator fee is at stake
    "taker_entry_quote_before", "taker_initial_margin_fraction_before", "taker_position_sign_changed", "maker_entry_quote_before",
    "maker_initial_margin_fraction_before", "maker_position_sign_changed", "maker_position_size_before", "maker_fee", "taker_fee",
    "bid_account_pnl", "ask_account_pnl",
}  # fmt: skip


def compare(ours: Any, theirs: Any, where: str) -> list[str]:
    """Fields of `theirs` that `ours` lacks or has with another JSON type."""
    if isinstance(theirs, dict):
        if not isinstance(ours, dict):
            return [f"{where}: {type(ours).__name__} instead of an object"]
        if theirs and all(key.isdigit() for key in theirs):  # keyed by an id
            return compare(next(iter(ours.values()), None), next(iter(theirs.values())), f"{where}.*") if ours else [f"{where}: empty"]
        return [
            problem
            for key, value in theirs.items()
            if key not in OPTIONAL
            for problem in ([f"{where}.{key}: missing"] if key not in ours else compare(ours[key], value, f"{where}.{key}"))
        ]
    if isinstance(theirs, list):
        if not isinstance(ours, list):
            return [f"{where}: {type(ours).__name__} instead of a list"]
        if not theirs or not isinstance(theirs[0], dict):
            return []
        return compare(ours[0], theirs[0], f"{where}[]") if ours else [f"{where}: empty"]
    same = type(ours) is type(theirs) or ours is None or {type(ours), type(theirs)} <= {int, float}
    return [] if same else [f"{where}: {type(ours).__name__} {ours!r} instead of {type(theirs).__name__} {theirs!r}"]


@pytest.mark.parametrize(
    ("ours", "kind", "name"),
    [
        ("ack", "rest/order_ack", "create_order"),
        ("orderBookDetails", "rest/orderbook", "order_book_details"),
        ("orderBooks", "rest/orderbook", "order_books"),
        ("assetDetails", "rest/markets", "fetch_currencies"),
        ("orderBookOrders", "rest/orderbook", "fetch_order_book"),
        ("recentTrades", "rest/trades", "fetch_trades"),
        ("funding-rates", "rest/funding_rate", "fetch_funding_rates"),
        ("exchangeStats", "rest/other", "GetExchangeStats"),
        ("accountLimits", "rest/account", "check_if_standard_tier"),
        ("account", "rest/positions", "fetch_positions"),
        ("accountActiveOrders", "rest/orders", "fetch_open_orders"),
        ("connected", "ws/status", "handle_subscription_status"),
        ("subscribed/order_book", "ws/orderbook", "order_book:1"),
        ("update/order_book", "ws/orderbook", "order_book_update"),
        ("subscribed/ticker", "ws/ticker", "ticker:1"),
        ("update/ticker", "ws/ticker", "ticker_update"),
        ("subscribed/market_stats", "ws/ticker", "market_stats:all"),
        ("update/trade", "ws/trades", "trade:1"),
        ("update/candle", "ws/candles", "candle_subscribed"),
        ("update/account_all_orders", "ws/orders", "account_orders_update"),
        ("update/account_all_trades", "ws/fills", "account_all_trades_update"),
        ("update/account_all_positions", "ws/positions", "account_all_positions_update"),
        ("update/account_all_assets", "ws/account", "account_all_assets_update"),
        ("update/user_stats", "ws/account", "user_stats_update"),
    ],
)
def test_every_recorded_field_is_said(said: dict[str, Any], payloads: Path, ours: str, kind: str, name: str) -> None:
    theirs = recorded(payloads, kind, name)
    mine = said[ours]
    if ours == "update/account_all_orders":  # recorded for one market: the same but for the envelope
        theirs = {"orders": theirs["orders"]}
    assert compare(mine, theirs, ours) == []


def test_the_figures_of_one_hour_agree(said: dict[str, Any]) -> None:
    assert said["fundings"]["fundings"][-1].keys() == {"timestamp", "value", "rate", "direction"}
    assert said["candles"]["c"][0].keys() == {"t", "o", "h", "l", "c", "v", "V", "i"}
    payment = said["positionFunding"]["position_fundings"][0]
    assert payment.keys() == {"timestamp", "market_id", "funding_id", "change", "discount", "rate", "position_size", "position_side"}
    account = said["account"]["accounts"][0]
    position = account["positions"][0]
    assert Decimal(position["position_value"]) == Decimal(position["position"]) * 60_000
    assert Decimal(account["total_asset_value"]) == Decimal(account["collateral"]) + Decimal(position["unrealized_pnl"])
