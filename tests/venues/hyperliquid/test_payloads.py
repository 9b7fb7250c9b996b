"""Every recorded message: decoded without losing a field or a value, and turned into exactly the events it should yield."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from exchange_clients.book import BookFeed, OrderBook, SnapshotOnly
from exchange_clients.hyperliquid import messages as m
from exchange_clients.hyperliquid.client.utils import converters as c
from exchange_clients.model import Instrument

# (file, name) or file -> type of the payload. "frame" is a socket frame, "reply" an answer of POST /exchange.
TYPES: dict[str, Any] = {
    "rest/account:info:userRateLimit": m.UserRateLimit,
    "rest/account:Spot/Account/GetRateLimits": m.UserRateLimit,
    "rest/account:info:userRole": m.UserRole,
    "rest/account:Spot/Account/GetExtraAgents": list[m.ExtraAgent],
    "rest/account:Spot/Account/GetSubAccounts": list[m.SubAccount],
    "rest/account:Spot/Account/GetSubAccounts2": list[m.SubAccount],
    "rest/account:approve_builder_fee": m.Reply,
    "rest/account:create_vault": m.Reply,
    "rest/account:TestSpotTokenInfo_MarshalJSON": m.SpotToken,
    "rest/account:TestSpotTokenInfo_UnmarshalJSON": m.SpotToken,
    "rest/account": m.SpotState,
    "rest/candles:parse_ohlcv": m.CandleData,
    "rest/candles": list[m.CandleData],
    "rest/error": m.Reply,
    "rest/fills": list[m.FillData],
    "rest/fills:parse_order": m.FillData,
    "rest/fills:parse_trade": m.FillData,
    "rest/funding_history": list[m.FundingRow],
    "rest/funding_history:fetch_funding_history": list[m.UserFundingRow],
    "rest/funding_history:Futures/Account/GetFundingHistory": list[m.UserFundingRow],
    "rest/funding_history:parse_income": m.UserFundingRow,
    "rest/funding_rate": list[m.LedgerRow],
    "rest/markets": tuple[m.Meta, list[m.AssetCtx]],
    "rest/markets:fetch_currencies": tuple[m.Meta],
    "rest/markets-002": list[m.PerpDex | None],
    "rest/markets:info:meta": m.Meta,
    "rest/markets:meta_perp_sample": m.Meta,
    "rest/markets:all_perp_metas_non_usdc_collateral": list[m.Meta],
    "rest/markets:test_initialize_trading_pair_symbol_map_with_dex_markets.dex_response": list[m.Meta],
    "rest/markets:test_update_trading_rules_with_dex_markets.dex_response": list[m.Meta],
    "rest/markets:info:spotMeta": m.SpotMeta,
    "rest/markets:Spot/ExchangeData/GetExchangeInfo": m.SpotMeta,
    "rest/markets:TestSpotMeta_MarshalJSON": m.SpotMeta,
    "rest/markets:Spot/ExchangeData/GetExchangeInfoAndTickers": tuple[m.SpotMeta, list[m.SpotAssetCtx]],
    "rest/order_ack": m.Reply,
    "rest/orderbook": m.L2Snapshot,
    "rest/orders": list[m.OrderData],
    "rest/orders:parse_order": m.OrderData,
    "rest/orders:TestOpenOrder_MarshalJSON": m.OrderData,
    "rest/orders:info:historicalOrders": list[m.OrderUpdate],
    "rest/orders:info:orderStatus": m.OrderStatusReply,
    "rest/other:test_perp_asset_hip3_fields": m.AssetMeta,
    "rest/positions": m.ClearinghouseState,
    "rest/positions:info:activeAssetData": m.ActiveAssetData,
    "rest/positions:TestPosition_MarshalJSON": m.PositionData,
    "rest/ticker": dict[str, Decimal],
    "rest/ticker:parse_ticker": m.SpotAssetCtx,
    "rest/ticker:TestSpotAssetCtx_MarshalJSON": m.SpotAssetCtx,
    "rest/trades": list[m.TradeData],
    "rest/transfers": list[m.LedgerRow],
    "rest/transfers:parse_transaction": m.LedgerRow,
    "rest/transfers:TestLedgerDelta_UnmarshalJSON": m.LedgerDelta,
    "ws": m.Frame,
    "ws/account:parse_ws_balance": m.SpotBalance,
    "ws/fills:parse_ws_trade": m.FillData,
    "ws/markets": tuple[m.Meta, list[m.AssetCtx]],
    "ws/orderbook:book_data": m.L2Book,
    "ws/orderbook:get_rest_snapshot_msg": m.L2Book,
    "ws/orderbook:test_ws_book_data_deserialization": m.L2Book,
    "ws/positions:handle_my_liquidations": m.FillLiquidation,
    "ws/positions:parse_ws_balance": m.ClearinghouseState,
    "ws/trades:parse_ws_trade": m.TradeData,
    "ws/trades:test_ws_trade_data_deserialization": m.TradeData,
}

# Whole messages that no verb and no documented endpoint of ours asks for, with the reason.
IGNORED_MESSAGES = {
    "rest/account:info:portfolio": "the web page's chart of account value",
    "rest/account:info:userVaultEquities": "deposits in other people's vaults",
    "rest/markets:info:perpDexLimits": "caps of a builder's dex",
    "rest/markets:Spot/ExchangeData/GetAssetInfo": "details of a spot token",
    "rest/orders:test_sign_order_params_post_request.params": "another library's arguments, not a message",
    "rest/other:test_outcome_meta_defaults_missing_side_specs": "outcome markets",
    "rest/status:info:perpDeployAuctionStatus": "auction for listing a builder's dex",
    "rest/transfers:info:delegatorHistory": "staking",
    "ws/other:test_ws_trigger_triggered_data_deserialization": "not a channel: triggers are told by orderUpdates",
    "ws/error:test_listen_for_trades_logs_exception.incomplete_resp": "another venue's message, no channel",
}

# Single fields that are left unread, with the reason.
IGNORED_FIELDS = {
    "rest/order_ack:exchange:perpDeploy data": "answer of a dex deployer's action",
}


def records(payloads: Path, *folders: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(file without suffix, "file:name", record) of every recorded message in `folders`."""
    for folder in folders:
        for file in sorted((payloads / "hyperliquid" / folder).glob("*.jsonl")):
            kind = f"{folder}/{file.stem}"
            for line in file.read_text().splitlines():
                record = json.loads(line)
                yield kind, f"{kind}:{record['name']}", record


def type_of(kind: str, key: str, record: dict[str, Any]) -> Any:
    by_id = f"{kind.partition('/')[0]}/{record['id'].partition('-' + kind.partition('/')[0] + '-')[2]}"
    return TYPES.get(by_id) or TYPES.get(key) or TYPES.get(kind) or TYPES[kind.partition("/")[0]]


def decoded(kind: str, key: str, record: dict[str, Any]) -> Any:
    return msgspec.json.decode(json.dumps(record["payload"]), type=type_of(kind, key, record), strict=False)


def lost(sent: Any, read: Any, path: str = "") -> Iterator[str]:
    """Where `sent` says something that `read`, what we decoded and encoded again, does not."""
    if isinstance(sent, dict):
        for key, value in sent.items():
            if not isinstance(read, dict) or key not in read:
                yield f"{path} {key}".strip()
            else:
                yield from lost(value, read[key], f"{path} {key}")
    elif isinstance(sent, list):
        if not isinstance(read, list) or len(sent) != len(read):
            yield f"{path} length"
        else:
            for a, b in zip(sent, read, strict=True):
                yield from lost(a, b, path)
    elif sent != read and not (sent is not None and read is not None and Decimal(str(sent)) == Decimal(str(read))):
        yield f"{path} is {sent!r}, read {read!r}"


def find_all(coin: str) -> Instrument | None:
    """An instrument for any perpetual coin; spot coins have none."""
    if coin.startswith("@") or "/" in coin:
        return None
    meta = m.Meta([m.AssetMeta(coin, szDecimals=0, maxLeverage=10)])
    return c.instruments(meta, dex=coin.rpartition(":")[0], quote="USDC")[0]


def perp(coin: str) -> Instrument:
    instrument = find_all(coin)
    assert instrument is not None
    return instrument


def test_every_recorded_message_is_read_whole(payloads: Path) -> None:
    seen: Counter[str] = Counter()
    problems: list[str] = []
    for kind, key, record in records(payloads, "rest", "ws"):
        if key in IGNORED_MESSAGES:
            seen["ignored"] += 1
            continue
        try:
            again = json.loads(msgspec.json.encode(decoded(kind, key, record)))
        except msgspec.ValidationError as e:
            problems.append(f"{record['id']} {key} {e}")
            continue
        problems += [f"{record['id']} {where}" for where in lost(record["payload"], again) if f"{key} {where}" not in IGNORED_FIELDS]
        seen[kind.partition("/")[0]] += 1
    assert not problems, "\n".join(problems[:40])
    assert seen == {"rest": 110, "ws": 44, "ignored": 10}


def test_an_unread_field_would_be_noticed() -> None:
    assert list(lost({"a": 1, "b": "2.0"}, {"a": 1})) == ["b"]
    assert list(lost([{"a": "1.0"}], [{"a": "1"}])) == []
    assert list(lost({"a": "1"}, {"a": "2"})) == [" a is '1', read '2'"]
    assert list(lost([1, 2], [1])) == [" length"]


# ---- what each message yields

ACCOUNT = "0x15f43d1f2dee81424afd891943262aa90f22cc2a"


def yields(kind: str, value: Any) -> Counter[str]:
    """Run every converter that applies to a decoded message and count the domain events."""
    made: Counter[str] = Counter()
    match value:
        case m.L2Snapshot():
            made["book"] += bool(c.book(value, perp(value.coin), 1))
        case m.L2Book():
            made["book"] += streamed_book(value).ready
        case m.BboData():
            made["bbo"] += c.bbo(value, perp(value.coin), 1) is not None
        case m.TradeData():
            made["trade"] += bool(c.trade(value, perp(value.coin)))
        case m.CandleData():
            instrument = find_all(value.s)
            made["candle"] += instrument is not None and bool(c.candle(value, instrument, 2 * 10**18))
        case m.Meta():
            made["instrument"] += sum(i is not None for i in c.instruments(value, dex="", quote="USDC"))
        case m.AssetCtx():
            made["ticker"] += bool(c.ticker(value, perp("X"), 1))
            made["funding"] += c.funding_now(value, perp("X"), 1) is not None
        case m.ActiveAssetCtx():
            made["funding"] += c.funding_now(value.ctx, perp(value.coin), 1) is not None
        case m.FundingRow():
            made["settled"] += bool(c.funding_settled(value, perp(value.coin)))
        case m.UserFundingRow():
            made["payment"] += bool(c.funding_payment(value.delta, value.time, perp(value.delta.coin)))
        case m.OrderUpdate():
            instrument = find_all(value.order.coin)
            made["order"] += instrument is not None and bool(c.order_update(value, instrument))
        case m.OrderData():
            made["order"] += bool(c.order(value, perp(value.coin)))
        case m.FillData():
            made["fill"] += len(c.fills([value], find_all, ACCOUNT))
        case m.ClearinghouseState():
            made["position"] += len(c.positions(value, find_all, 1))
            if value.marginSummary is not None:
                made["account"] += bool(c.account([value], None, asset="USDC", ts_ns=1))
        case m.UserFills() | m.UserEvent():
            made["fill"] += len(c.fills(value.fills or [], find_all, ACCOUNT))
        case m.ClearinghouseStateData():
            made += yields(kind, value.clearinghouseState)
        case list() | tuple():
            for item in value:
                made += yields(kind, item)
        case msgspec.Struct() if kind == "frame" and hasattr(value, "data"):
            made += yields("", value.data)
    return made


def streamed_book(data: m.L2Book) -> OrderBook:
    feed = BookFeed(perp(data.coin), SnapshotOnly(), lambda gap: pytest.fail(gap.reason))
    bids, asks = data.levels
    feed.snapshot(bids, asks, sequence=data.time, ts_recv_ns=1)
    assert feed.book.counts() == (len(bids), len(asks))
    return feed.book


def test_what_the_recorded_messages_yield(payloads: Path) -> None:
    made: dict[str, Counter[str]] = {}
    for kind, key, record in records(payloads, "rest", "ws"):
        if key in IGNORED_MESSAGES:
            continue
        value = decoded(kind, key, record)
        made.setdefault(kind, Counter()).update(yields("frame" if type_of(kind, key, record) is m.Frame else "", value))
    assert {kind: dict(+count) for kind, count in made.items() if +count} == EXPECTED


# Counted by hand where the messages are few. Spot candles, fills and orders, unpriced books and bare acks yield nothing.
EXPECTED = {
    "rest/candles": {"candle": 2},
    "rest/fills": {"fill": 9},
    "rest/funding_history": {"payment": 3, "settled": 1073},
    "rest/markets": {"instrument": 1277, "ticker": 449, "funding": 446},
    "rest/orderbook": {"book": 4},
    "rest/orders": {"order": 208},
    "rest/positions": {"position": 15, "account": 6},
    "rest/ticker": {"ticker": 2, "funding": 1},
    "rest/trades": {"trade": 3},
    "ws/account": {"fill": 4},
    "ws/candles": {"candle": 1},
    "ws/fills": {"fill": 2},
    "ws/markets": {"instrument": 1, "ticker": 1, "funding": 1},
    "ws/orderbook": {"bbo": 1, "book": 10},
    "ws/orders": {"order": 2},
    "ws/positions": {"account": 2},
    "ws/ticker": {"funding": 3},
    "ws/trades": {"trade": 8},
}


@pytest.mark.parametrize("key", sorted(IGNORED_MESSAGES))
def test_an_ignored_message_is_really_there(payloads: Path, key: str) -> None:
    assert key in {name for _, name, _ in records(payloads, "rest", "ws")}


@pytest.mark.parametrize("frame", ['{"channel":"error","data":"Already subscribed"}', '{"channel":"pong"}'])
def test_control_frames_are_no_data(frame: str) -> None:
    assert isinstance(m.decode_frame(frame), m.ErrorFrame | m.PongFrame)


@pytest.mark.parametrize(
    "frame",
    [
        "Websocket connection established.",
        '{"channel":"news","data":{}}',
        '{"channel":"l2Book","data":{"coin":"BTC","time":1,"levels":[[]]}}',
        '{"channel":"l2Book","data":{"coin":"BTC","time":1,"levels":[[{"px":"abc","sz":"1"}],[]]}}',
        '{"channel":"trades","data":[{"coin":"BTC","side":"A","px":"1","sz":"1"}]}',
        '{"channel":"l2Book","data":',
        "null",
    ],
)
def test_garbage_frames_do_not_decode(frame: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        m.decode_frame(frame)
