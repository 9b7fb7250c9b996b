"""The dialect's messages have the fields of the recorded ones, no more and no fewer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import pytest

from tests.venues.hyperliquid.harness import Bench, virtual

# Fields that a recording has and the dialect does not, with the reason; "+" the other way round.
KNOWN = {
    "fill + cloid": "the recorded orders had none",
    "fill liquidation": "only of liquidations",
    "fill builderFee": "no builder fees here",
    "asset marginMode": "only of isolated markets",
    "asset onlyIsolated": "only of isolated markets",
    "asset isDelisted": "only of delisted markets",
    "update + cloid": "the recorded order had none",
}


def records(payloads: Path, file: str, name: str) -> Iterator[Any]:
    for line in (payloads / "hyperliquid" / f"{file}.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record["name"] == name:
            yield record["payload"]


def differences(what: str, ours: Any, theirs: Any) -> set[str]:
    found = {f"{what} {key}" for key in set(theirs) - set(ours)} | {f"{what} + {key}" for key in set(ours) - set(theirs)}
    return found - set(KNOWN)


def test_every_shape(payloads: Path) -> None:
    @virtual
    async def test(bench: Bench) -> None:
        client = await bench.connected()
        user = bench.account.environ["HYPERLIQUID_ACCOUNT_ADDRESS"]
        await client.set_leverage("PEPE", 3, None)
        await client.place_limit_order("BTC", D("0.01"), D(50_100), "buy", time_in_force="IOC", wait_for="terminal")
        await client.place_limit_order("BTC", D("0.01"), D(49_000), "buy")
        await client.place_trigger_order("BTC", D("0.01"), D(45_000), "sell", "stop_market")
        bench.exchange.set_funding_rate(bench.now(), "BTC", 12_500_000)
        await asyncio.sleep(3600)
        info = bench.dialect._info
        loc = {"coin": "BTC", "startTime": 0, "user": user, "req": {"coin": "BTC", "interval": "1h", "startTime": 0}, "oid": 2}

        def ask(kind: str) -> Any:
            return json.loads(json.dumps(info.kinds[kind]({"type": kind, **loc}), default=str))

        meta, contexts = ask("metaAndAssetCtxs")
        recorded_meta, recorded_contexts = list(records(payloads, "rest/markets", "info:metaAndAssetCtxs"))[1]
        (state,) = records(payloads, "rest/positions", "balance_request_mock_response_for_base_and_quote.mock_response")
        (history,) = records(payloads, "rest/orders", "info:historicalOrders")
        (open_orders,) = records(payloads, "rest/orders", "Spot/Trading/GetOpenOrdersExtended")
        (fills,) = records(payloads, "rest/fills", "user_fills_dust_conversion")
        (funding,) = records(payloads, "rest/funding_history", "fetch_funding_history")
        (rates,) = records(payloads, "rest/funding_history", "fetch_funding_rate_history")
        (candles,) = records(payloads, "rest/candles", "fetch_ohlcv")
        (trades,) = records(payloads, "rest/trades", "recent_trades_btc")
        (active,) = records(payloads, "rest/positions", "info:activeAssetData")
        (limits,) = list(records(payloads, "rest/account", "info:userRateLimit"))
        (update,) = records(payloads, "ws/orders", "Order")
        mine = ask("clearinghouseState")
        pairs = {
            "meta": (meta, recorded_meta),
            "asset": (meta["universe"][0], recorded_meta["universe"][0]),
            "table": (meta["marginTables"][0][1], recorded_meta["marginTables"][0][1]),
            "tier": (meta["marginTables"][0][1]["marginTiers"][0], recorded_meta["marginTables"][0][1]["marginTiers"][0]),
            "ctx": (contexts[0], recorded_contexts[0]),
            "state": (mine, state),
            "summary": (mine["marginSummary"], state["marginSummary"]),
            "position": (mine["assetPositions"][0]["position"], state["assetPositions"][0]["position"]),
            "cumFunding": (mine["assetPositions"][0]["position"]["cumFunding"], state["assetPositions"][0]["position"]["cumFunding"]),
            "history": (ask("historicalOrders")[0], history[0]),
            "order": (ask("historicalOrders")[0]["order"], history[0]["order"]),
            "open": (ask("frontendOpenOrders")[0], open_orders[0]),
            "fill": (ask("userFills")[0], fills[0]),
            "payment": (ask("userFunding")[0], funding[0]),
            "delta": (ask("userFunding")[0]["delta"], funding[0]["delta"]),
            "rate": (ask("fundingHistory")[0], rates[0]),
            "candle": (ask("candleSnapshot")[0], candles[0]),
            "trade": (ask("recentTrades")[0], trades[0]),
            "active": (ask("activeAssetData"), active),
            "limits": (ask("userRateLimit"), {**limits, "nRequestsSurplus": 0}),
        }
        found: set[str] = set()
        for what, (ours, theirs) in pairs.items():
            found |= differences(what, ours, theirs)
        order = bench.exchange.order(2)
        assert order is not None
        from exchange_simulator.dialects.hyperliquid import wire

        found |= differences("update", wire.update_order(order, order.remaining), update["data"][0]["order"])
        assert found == set()
        assert len(active["maxTradeSzs"]) == len(ask("activeAssetData")["maxTradeSzs"]) == 2

    test()


def test_a_missing_field_would_be_seen() -> None:
    assert differences("x", {"a": 1, "c": 1}, {"a": 1, "b": 1}) == {"x b", "x + c"}


@pytest.mark.parametrize("name", ["BTC", "kPEPE", "xyz:TSLA"])
def test_numbers_are_written_as_the_venue_writes_them(name: str) -> None:
    @virtual
    async def test(bench: Bench) -> None:
        book = bench.dialect._info.kinds["l2Book"]({"type": "l2Book", "coin": name})
        for level in book["levels"][0] + book["levels"][1]:
            for text in (level["px"], level["sz"]):
                assert "." in text
                assert "E" not in text
                assert text.endswith(".0") or not text.endswith("0")

    test()
