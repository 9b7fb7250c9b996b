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

from exchange_clients.book import BookFeed
from exchange_clients.dydx import messages as m
from exchange_clients.dydx.client.utils import converters as c
from exchange_clients.dydx.websocket import order_book
from exchange_clients.model import Instrument, InstrumentId

TYPES: dict[str, Any] = {
    "rest/account": m.SubaccountReply,
    "rest/account:fetch_accounts": m.SubaccountsReply,
    "rest/account:feeds:Connect": m.Frames,
    "rest/candles": m.Candles,
    "rest/fills": m.Fills,
    "rest/funding_history": m.FundingHistory,
    "rest/markets": m.Markets,
    "rest/markets:parse_market": m.Market,
    "rest/orderbook": m.Book,
    "rest/orders": list[m.OrderRow],
    "rest/other:test_get_snapshot_successful.mock_response": m.Book,
    "rest/positions": m.Positions,
    "rest/positions:parse_position": m.PositionRow,
    "rest/status": m.Time,
    "rest/trades": m.Trades,
    "rest/transfers": m.Transfers,
    "rest/transfers:parse_ledger_entry": m.TransferRow,
    "ws": m.Frames,
}

# Whole messages that nothing of ours asks for or receives, with the reason.
IGNORED_MESSAGES = {
    "rest/account:fetch_dydx_account": "the account by the chain's REST server: ours comes by gRPC",
    "rest/error:order_creation_request_erroneous_mock_response": "another library's digest of a broadcast",
    "rest/order_ack:create_order": "a broadcast over Tendermint RPC: ours goes by gRPC",
    "rest/order_ack:order_creation_request_successful_mock_response": "another library's digest of a broadcast",
    "rest/other:Schemas/AffiliateSnapshotResponseObject": "affiliates",
    "rest/other:GetSnapshot/Parameters": "affiliates",
    "rest/other:GetTotalVolume/Parameters": "affiliates",
    "rest/trades:feeds:CLI example": "a request",
    "rest/trades:test_get_last_trade_prices.mock_response": "a market of the predecessor, v3",
    "rest/transfers:skipgofast:Example deposit": "another service's route for deposits",
    "ws/trades:intro:JSON Schema": "requests",
    "ws/trades:test_listen_for_trades_successful.trade_event": "made by hand, without ids",
    "ws/trades:test_listen_for_trades_logs_exception.incomplete_resp": "made to be broken",
    "ws/orderbook:test_listen_for_order_book_snapshots_log_exception.incomplete_resp": "made to be broken",
}

# Single fields that are left unread, with the reason.
IGNORED_FIELDS = {
    *(f"ws/ticker:Markets/Example contents markets {coin} {name}" for coin in ("BTC-USD", "ETH-USD") for name in (
        "baseAsset", "quoteAsset", "basePositionSize", "incrementalPositionSize", "maxPositionSize")),  # of the indexer's first version
    "ws/candles:candles_update contents id",  # made up by the recording library
    "ws/orderbook:test_listen_for_subscriptions_successful.mock_response contents offset",  # of the predecessor, v3
}  # fmt: skip

CONTENTS: dict[tuple[type, str], Any] = {
    (m.Subscribed, "v4_orderbook"): m.BookContents,
    (m.Update, "v4_orderbook"): m.BookChanges,
    (m.Subscribed, "v4_trades"): m.Trades,
    (m.Update, "v4_trades"): m.Trades,
    (m.Subscribed, "v4_candles"): m.Candles,
    (m.Update, "v4_candles"): m.Candle,
    (m.Subscribed, "v4_markets"): m.MarketsContents,
    (m.Update, "v4_markets"): m.MarketsContents,
    (m.Subscribed, "v4_subaccounts"): m.SubaccountContents,
    (m.Update, "v4_subaccounts"): m.SubaccountContents,
    (m.Subscribed, "v4_block_height"): m.Height,
    (m.Update, "v4_block_height"): m.Height,
}


def records(payloads: Path, *folders: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(file without suffix, "file:name", record) of every recorded message in `folders`."""
    for folder in folders:
        for file in sorted((payloads / "dydx" / folder).glob("*.jsonl")):
            kind = f"{folder}/{file.stem}"
            for line in file.read_text().splitlines():
                record = json.loads(line)
                yield kind, f"{kind}:{record['name']}", record


def answer(record: dict[str, Any]) -> Any:
    """What the venue said: some recordings keep it in an envelope of the library that made them."""
    payload = record["payload"]
    return payload["result"] if isinstance(payload, dict) and "requestId" in payload else payload


def decoded(kind: str, key: str, record: dict[str, Any]) -> Any:
    wanted = TYPES.get(key) or TYPES.get(kind) or TYPES[kind.partition("/")[0]]
    return msgspec.json.decode(json.dumps(answer(record)), type=wanted, strict=False)


def contents_of(frame: Any) -> Any:
    """What a frame carries, typed; None for frames that carry nothing."""
    wanted = CONTENTS.get((type(frame), getattr(frame, "channel", "")))
    return msgspec.json.decode(frame.contents, type=wanted, strict=False) if wanted is not None else None


def written(value: Any) -> Any:
    """A decoded message as JSON again, with the contents of a frame as we read them."""
    again = json.loads(msgspec.json.encode(value))
    if (inside := contents_of(value)) is not None:
        again["contents"] = json.loads(msgspec.json.encode(inside))
    return again


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


def market(ticker: str) -> Instrument:
    """An instrument for any market, on a grid that everything recorded is on."""
    tick = Decimal("0.0001")
    return Instrument(
        id=InstrumentId(c.base_of(ticker), "USD", "dydx"),
        venue_symbol=ticker,
        contract_id=ticker,
        settle="USDC",
        tick_size=tick,
        step_size=tick,
        min_quantity=tick,
    )


def test_every_recorded_message_is_read_whole(payloads: Path) -> None:
    seen: Counter[str] = Counter()
    problems: list[str] = []
    for kind, key, record in records(payloads, "rest", "ws"):
        if key in IGNORED_MESSAGES:
            seen["ignored"] += 1
            continue
        try:
            again = written(decoded(kind, key, record))
        except msgspec.ValidationError as e:
            problems.append(f"{record['id']} {key} {e}")
            continue
        problems += [f"{key} {w}" for where in lost(answer(record), again) if f"{key} {(w := where.strip())}" not in IGNORED_FIELDS]
        seen[kind.partition("/")[0]] += 1
    assert not problems, "\n".join(problems[:40])
    assert seen == {"rest": 18, "ws": 23, "ignored": 15}


def test_an_unread_field_would_be_noticed() -> None:
    assert list(lost({"a": 1, "b": "2.0"}, {"a": 1})) == ["b"]
    assert list(lost([{"a": "1.0"}], [{"a": "1"}])) == []
    assert list(lost({"a": "1"}, {"a": "2"})) == [" a is '1', read '2'"]


@pytest.mark.parametrize("key", sorted(IGNORED_MESSAGES))
def test_an_ignored_message_is_really_there(payloads: Path, key: str) -> None:
    assert key in {name for _, name, _ in records(payloads, "rest", "ws")}


# ---- what each message yields


def yields(value: Any) -> Counter[str]:
    """Run every converter that applies to a decoded message and count the domain events."""
    made: Counter[str] = Counter()
    match value:
        case m.Markets():
            for row in value.markets.values():
                made += yields(row)
        case m.Market():
            instrument = c.instrument(value)
            made["instrument"] += 1
            made["ticker"] += c.ticker(value, instrument, 1).volume_24h is not None
            made["funding"] += c.funding_now(value.nextFundingRate, instrument, 1) is not None
        case m.MarketsContents():
            for row in (value.markets or {}).values():
                made += yields(row)
            made["price"] += len(value.oraclePrices or {})
            made["change"] += len(value.trading or {})
        case m.Book():
            made["book"] += bool(c.book(value, market("X-USD"), 100, 1).bids)
        case m.Trades():
            made["trade"] += len([c.trade(row, market("X-USD")) for row in value.trades])
        case m.Candles():
            made["candle"] += len([c.candle(row, market(row.ticker), 1) for row in value.candles])
        case m.Candle():
            made["candle"] += bool(c.candle(value, market(value.ticker), 1))
        case m.FundingHistory():
            made["settled"] += len([c.funding_settled(row, market(row.ticker)) for row in value.historicalFunding])
        case m.SubaccountsReply():
            for state in value.subaccounts:
                made += yields(state)
        case m.SubaccountReply():
            made += yields(value.subaccount)
        case m.Subaccount():
            made["account"] += bool(c.account(value, 1))
            made["position"] += len(c.positions(value.openPerpetualPositions.values(), market, 1))
        case m.Positions():
            made["position"] += len(c.positions(value.positions, market, 1))
        case m.PositionRow():
            made["position"] += bool(c.position(value, market(value.market), 1).quantity)
        case m.Fills():
            made["fill"] += len([c.fill(row, market(row.market or ""), client_order_id=None) for row in value.fills])
        case m.SubaccountContents():
            if value.subaccount is not None:
                made += yields(value.subaccount)
            made["order"] += len([c.order(row, market(row.ticker or ""), client_order_id=None) for row in value.orders or ()])
            made["fill"] += len([c.fill(row, market(row.ticker or ""), client_order_id=None) for row in value.fills or ()])
        case m.Height():
            made["height"] += value.number > 0
        case m.Subscribed() | m.Update():
            made += yields(contents_of(value))
        case list():
            made["order"] += len([c.order(row, market(row.ticker), client_order_id=None) for row in value])
    return made


def test_what_the_recorded_messages_yield(payloads: Path) -> None:
    made: dict[str, Counter[str]] = {}
    for kind, key, record in records(payloads, "rest", "ws"):
        if key not in IGNORED_MESSAGES:
            made.setdefault(kind, Counter()).update(yields(decoded(kind, key, record)))
    assert {kind: dict(+count) for kind, count in made.items() if +count} == EXPECTED


# Counted by hand where the messages are few. Greetings, refusals, books and transfers yield nothing here.
EXPECTED = {
    "rest/account": {"account": 2, "position": 1},
    "rest/candles": {"candle": 3},
    "rest/fills": {"fill": 3},
    "rest/funding_history": {"settled": 1},
    "rest/markets": {"instrument": 2, "ticker": 2, "funding": 2},
    "rest/orderbook": {"book": 1},
    "rest/orders": {"order": 3},
    "rest/other": {"book": 1},
    "rest/positions": {"position": 2},
    "rest/trades": {"trade": 3},
    "ws/account": {"account": 2, "position": 2, "order": 1, "fill": 1},
    "ws/candles": {"candle": 3},
    "ws/status": {"height": 1},
    "ws/ticker": {"instrument": 4, "ticker": 4, "funding": 4, "change": 1, "price": 1},
    "ws/trades": {"trade": 8},
}


def test_recorded_books_are_applied(payloads: Path) -> None:
    """A snapshot, and an update of it that removes the best ask."""
    frames = {
        record["name"]: decoded(kind, key, record)
        for kind, key, record in records(payloads, "ws")
        if kind == "ws/orderbook" and key not in IGNORED_MESSAGES
    }
    feed = BookFeed(market("BTC-USD"), order_book.RULE, lambda gap: pytest.fail(gap.reason))
    first, later = frames["orderbook_subscribed"], frames["orderbook_update"]
    order_book.snapshot(feed, m.decode_book(first.contents), first.message_id, 1)
    assert feed.book.counts() == (3, 3)
    order_book.update(feed, m.decode_changes(later.contents), later.message_id, 2)
    book = feed.read()
    assert [(level.price, level.size) for level in book.asks[:2]] == [(Decimal(43252), Decimal(3)), (Decimal(43255), Decimal(2))]
    assert [(level.price, level.size) for level in book.bids[:2]] == [(Decimal(43240), Decimal(2)), (Decimal(43238), Decimal("1.5"))]


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "null",
        "[]",
        '{"type":"news","message_id":1}',
        '{"type":"channel_data","message_id":1,"channel":"v4_trades"}',
        '{"type":"subscribed","message_id":"x","channel":"v4_trades","contents":{}}',
        '{"type":"channel_data","message_id":1,',
    ],
)
def test_garbage_frames_do_not_decode(frame: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        m.decode_frame(frame)
