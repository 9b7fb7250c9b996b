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

from exchange_clients.aster import messages as m
from exchange_clients.aster.client.utils import converters as c
from exchange_clients.aster.common import split_base
from exchange_clients.aster.websocket.order_book import RULE, apply, start
from exchange_clients.book import BookFeed, BookGap
from exchange_clients.model import Instrument, InstrumentId

# (file, name) or file -> type of the payload. "frame" stands for a socket frame, read as the handler reads it.
TYPES: dict[str, Any] = {
    "rest/account:fetch_trading_fee": m.CommissionRate,
    "rest/account:Futures/Account/GetAccountInfo": m.Account,
    "rest/account:Futures/Account/GetBalances": list[m.Balance],
    "rest/account:v3:Get User MMP (USER_DATA)": list[m.Protection],
    "rest/account:v3:Notional and Leverage Brackets (USER_DATA)": m.Brackets,
    "rest/candles": list[m.Kline],
    "rest/candles:parse_ohlcv": m.Kline,
    "rest/error": m.ErrorBody,
    "rest/funding_history": list[m.FundingRow],
    "rest/funding_history:parse_funding_rate_history": m.FundingRow,
    "rest/funding_rate": list[m.FundingInfo],
    "rest/funding_rate:parse_funding_rate": m.FundingInfo,
    "rest/funding_rate:GET /fapi/v1/premiumIndex (fetchFundingRate)": m.PremiumIndex,
    "rest/funding_rate:Futures/ExchangeData/GetFundingRates": list[m.FundingRow],
    "rest/markets:fetch_currencies": list[m.Asset],
    "rest/order_ack": m.Order,
    "rest/order_ack:create_orders": list[m.Order],
    "rest/orderbook:Futures/ExchangeData/GetBookTicker": m.BookTickerRow,
    "rest/orderbook:Futures/ExchangeData/GetBookTickers": list[m.BookTickerRow],
    "rest/orderbook:l2_snapshot:linear_swap": m.DepthView,
    "rest/orders": m.Order,
    "rest/orders:Futures/Trading/GetOpenOrders": list[m.Order],
    "rest/orders:Spot/Trading/GetOpenOrders": list[m.Order],
    "rest/positions": list[m.PositionRisk],
    "rest/positions:parse_leverage": m.PositionRisk,
    "rest/positions:parse_position_risk": m.PositionRisk,
    "rest/positions:GET /fapi/v1/positionSide/dual (fetchPositionMode)": m.PositionMode,
    "rest/positions:Futures/Account/GetLeverageBrackets": list[m.Brackets],
    "rest/positions:Futures/Account/GetPositionAdlQuantileEstimation": list[m.AdlQuantiles],
    "rest/status": m.ServerTime,
    "rest/ticker": list[m.DayTicker],
    "rest/ticker:parse_ticker": m.DayTicker,
    "rest/ticker:Futures/ExchangeData/GetTicker": m.DayTicker,
    "rest/ticker:Futures/ExchangeData/GetPrice": m.PriceTicker,
    "rest/ticker:Futures/ExchangeData/GetPrices": list[m.PriceTicker],
    "rest/ticker:Futures/ExchangeData/GetIndexPriceKlines": list[m.Kline],
    "rest/ticker:v3:Index Price References": m.ErrorBody,
    "rest/ticker:open_interest:linear_swap": m.OpenInterest,
    "rest/trades": list[m.PublicTrade],
    "rest/trades:parse_trade": m.UserTrade,
    "rest/trades-010": m.AggTrade,
    "rest/trades:v3:Cancel Multiple Orders (TRADE)": list[msgspec.Raw],
    "rest/trades:v3:Place Multiple Orders  (TRADE)": list[msgspec.Raw],
    "rest/transfers": list[m.Income],
    "rest/transfers:parse_ledger_entry": m.Income,
    "ws": "frame",
    "ws/orders:handle_order": m.OrderUpdate,
    "ws/trades:parse_ws_trade": m.OrderUpdate,
    "ws/positions:parse_ws_position": m.PositionChange,
}

# Whole messages that no verb and no endpoint of ours asks for, with the reason.
SPOT = "the spot market"
DEPTH_SNAPSHOT = "a recorder's own message, no stream of the venue"
IGNORED_MESSAGES = {
    "rest/account:fetch_balance": SPOT,
    "rest/account:Spot/Account/GetAccountInfo": SPOT,
    "rest/account:v3:Get Direct Announcement By ID (USER_DATA)": "announcements",
    "rest/account:v3:Get Direct Announcements (USER_DATA)": "announcements",
    "rest/account:v3:Migrate User Assets History (USER_DATA)": "moving funds between accounts",
    "rest/account:v3:Query Strategy Open Order (USER_DATA)": "the venue's own strategy orders",
    "rest/account:spot_v3:24h price change": SPOT,
    "rest/account:spot_v3:Query Current Open Order (USER\\_DATA)": SPOT,
    "rest/account:spot_v3:Withdraw (USER_DATA)": SPOT,
    "rest/candles:Spot/ExchangeData/GetKlines": SPOT,
    "rest/fills:Spot/Trading/GetUserTrades": SPOT,
    "rest/markets:Spot/ExchangeData/GetExchangeInfo": SPOT,
    "rest/markets:spot_v3:Trading specification information": SPOT,
    "rest/orderbook:Spot/ExchangeData/GetBookTicker": SPOT,
    "rest/orders:spot_v3:Current best order": SPOT,
    "rest/other:initialize_client": "builder fees",
    "rest/other:funds:response:": "withdrawals",
    "rest/positions:parse_margin_modification": "history of isolated margin",
    "rest/ticker:Spot/ExchangeData/GetTicker": SPOT,
    "rest/trades:Spot/ExchangeData/GetAggregatedTradeHistory": SPOT,
    "rest/trades:v3:Place Chase Order (TRADE)": "the venue's own strategy orders",
    "rest/trades:v3:Place Strategy Order (TRADE)": "the venue's own strategy orders",
    "rest/trades:v3:Update Strategy Order (TRADE)": "the venue's own strategy orders",
    "rest/transfers:Futures/Account/Transfer": "transfers",
    "rest/transfers:Spot/Account/GetWithdrawFee": SPOT,
    "rest/transfers:v3:Migrate User Assets (WITHDRAW)": "moving funds between accounts",
    "ws/account:Spot/AccountUpdate": SPOT,
    "ws/markets:spot_v3:Compact tickers for all symbols in the entire market": SPOT,
    "ws/orderbook:spot_v3:Best order book information by symbol": SPOT,
    "ws/orderbook:btcusdt@depthSnapshot": DEPTH_SNAPSHOT,
    "ws/orderbook:ethusdt@depthSnapshot": DEPTH_SNAPSHOT,
    "ws/ticker:btcusdt@openInterest": DEPTH_SNAPSHOT,
}


def records(payloads: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(file without suffix, "file:name", record) of every recorded message, those of the venue's relative among them."""
    for venue in ("aster", "binance_compatible"):
        for file in sorted((payloads / venue).glob("*/*.jsonl")):
            kind = f"{file.parent.name}/{file.stem}"
            if kind.startswith("sign/") or kind == "rest/request_vectors":
                continue
            for line in file.read_text().splitlines():
                record = json.loads(line)
                yield kind, f"{kind}:{record['name']}", record


def is_ignored(key: str, record: dict[str, Any]) -> bool:
    return key in IGNORED_MESSAGES or record["direction"] == "request"


def type_of(kind: str, key: str, record: dict[str, Any]) -> Any:
    by_id = f"{kind}-{record['id'].rpartition('-')[2]}" if record["venue"] == "aster" else ""
    return TYPES.get(by_id) or TYPES.get(key) or TYPES.get(kind) or TYPES[kind.partition("/")[0]]


def decoded(kind: str, key: str, record: dict[str, Any]) -> Any:
    text, wanted = json.dumps(record["payload"]), type_of(kind, key, record)
    if wanted == "frame":
        return m.decode_frame(text)
    value = msgspec.json.decode(text, type=wanted, strict=False)
    return [m.decode_row(row) for row in value] if wanted == list[msgspec.Raw] else value


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
    elif sent != read and not (sent is not None and read is not None and Decimal(str(sent).lower().replace("false", "0")) == _number(read)):
        yield f"{path} is {sent!r}, read {read!r}"


def _number(read: Any) -> Decimal:
    return Decimal(int(read)) if isinstance(read, bool) else Decimal(str(read))


def market(symbol: str) -> Instrument:
    """An instrument for any symbol, as the table would have it."""
    base, multiplier = split_base(symbol.removesuffix("USDT"))
    return Instrument(
        id=InstrumentId(base, "USDT", "aster"),
        venue_symbol=symbol,
        contract_id=symbol,
        settle="USDT",
        tick_size=Decimal("0.00001"),
        step_size=Decimal("0.001"),
        min_quantity=Decimal("0.001"),
        multiplier=multiplier,
        contract_size=multiplier,
        funding_interval_hours=Decimal(8),
    )


def test_every_recorded_message_is_read_whole(payloads: Path) -> None:
    seen: Counter[str] = Counter()
    problems: list[str] = []
    for kind, key, record in records(payloads):
        if is_ignored(key, record):
            seen["request" if record["direction"] == "request" else "ignored"] += 1
            continue
        sent = record["payload"]
        if isinstance(sent, dict) and "stream" in sent and isinstance(sent.get("data"), dict | list):
            sent = sent["data"]  # the wrapper's name says nothing that the event does not
        try:
            again = json.loads(msgspec.json.encode(decoded(kind, key, record)))
        except msgspec.ValidationError as e:
            problems.append(f"{record['id']} {key} {e}")
            continue
        problems += [f"{record['id']} {key}: {where}" for where in lost(sent, again)]
        seen[kind.partition("/")[0]] += 1
    assert not problems, "\n".join(problems[:40])
    assert seen == {"rest": 61, "ws": 48, "ignored": 35, "request": 8}


def test_an_unread_field_would_be_noticed() -> None:
    assert list(lost({"a": 1, "b": "2.0"}, {"a": 1})) == ["b"]
    assert list(lost([{"a": "1.0"}], [{"a": "1"}])) == []
    assert list(lost({"a": "1"}, {"a": "2"})) == [" a is '1', read '2'"]
    assert list(lost([1, 2], [1])) == [" length"]


@pytest.mark.parametrize("key", sorted(IGNORED_MESSAGES))
def test_an_ignored_message_is_really_there(payloads: Path, key: str) -> None:
    assert key in {name for _, name, _ in records(payloads)}


# ---- what each message yields


def yields(value: Any) -> Counter[str]:
    """Run every converter that applies to a decoded message and count the domain events."""
    made: Counter[str] = Counter()
    match value:
        case m.DepthView():
            made["book"] += len(c.book(value, market("BTCUSDT"), 20, 1).bids)
        case m.BookTicker():
            made["bbo"] += c.bbo(value, market(value.s), 1) is not None
        case m.PublicTrade():
            made["trade"] += bool(c.trade(value, market("BTCUSDT")))
        case m.AggTrade():
            made["trade"] += bool(c.agg_trade(value, market("BTCUSDT")))
        case m.AggTradeEvent():
            made["trade"] += bool(c.agg_trade(value, market(value.s)))
        case m.Kline():
            made["candle"] += bool(c.candle(value, market("BTCUSDT"), "1m", 2 * 10**18))
        case m.KlineEvent():
            made["candle"] += bool(c.streamed_candle(value.k, market(value.s)))
        case m.DayTicker():
            made["ticker"] += bool(c.ticker(market(value.symbol), None, value, None, 1))
        case m.PremiumIndex():
            interval = m.FundingInfo(symbol=value.symbol, fundingIntervalHours=8)
            made["funding"] += c.funding_now(value, interval, market(value.symbol)) is not None
        case m.MarkPriceEvent():
            interval = m.FundingInfo(symbol=value.s, fundingIntervalHours=8)
            made["funding"] += c.streamed_funding(value, interval, market(value.s)) is not None
        case m.FundingRow():
            made["settled"] += len(c.funding_settled([value], market(value.symbol)))
        case m.Order():
            made["order"] += bool(c.order(value, market(value.symbol)))
        case m.OrderUpdate():
            made["order"] += bool(c.order_update(value, market(value.s)))
            made["fill"] += c.streamed_fill(value, market(value.s)) is not None
        case m.OrderTradeUpdate():
            made += yields(value.o)
        case m.UserTrade():
            made["fill"] += bool(c.fill(value, market(value.symbol)))
        case m.PositionRisk():
            made["position"] += len(c.positions([value], market))
        case m.PositionChange():
            made["position"] += bool(c.streamed_position(value, market(value.s), 1))
        case m.AccountUpdate():
            made += yields(value.a.P)
        case m.Account():
            made["account"] += bool(c.account(value, asset="USDT", ts_ns=1))
        case m.CommissionRate():
            made["fees"] += bool(c.fee_rates(value))
        case list():
            for item in value:
                made += yields(item)
    return made


def test_what_the_recorded_messages_yield(payloads: Path) -> None:
    made: dict[str, Counter[str]] = {}
    for kind, key, record in records(payloads):
        if not is_ignored(key, record):
            made.setdefault(kind, Counter()).update(yields(decoded(kind, key, record)))
    assert {kind: dict(+count) for kind, count in made.items() if +count} == EXPECTED


# Counted by hand where the messages are few. Flat positions, acks, intervals and other people's events yield nothing.
EXPECTED: dict[str, dict[str, int]] = {
    "rest/account": {"fees": 1, "account": 1},
    "rest/candles": {"candle": 3},
    "rest/funding_history": {"settled": 2},
    "rest/funding_rate": {"funding": 1, "settled": 2},
    "rest/order_ack": {"order": 8},
    "rest/orderbook": {"book": 3},
    "rest/orders": {"order": 5},
    "rest/positions": {"position": 4},
    "rest/ticker": {"ticker": 4, "candle": 1},
    "rest/trades": {"fill": 1, "trade": 3, "order": 2},
    "ws/account": {"position": 1},
    "ws/candles": {"candle": 2},
    "ws/funding_rate": {"funding": 3},
    "ws/orderbook": {"bbo": 4},
    "ws/orders": {"order": 3},
    "ws/positions": {"position": 1},
    "ws/trades": {"trade": 2, "order": 1, "fill": 1},
    "ws/other": {"funding": 2},
}


@pytest.mark.parametrize(
    "frame",
    [
        '{"e":"depthUpdate","s":"BTCUSDT"}',
        '{"stream":"btcusdt@depth","data":{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":1,"u":1,"pu":0,"b":[["abc","1"]],"a":[]}}',
        '{"stream":"btcusdt@depth","data":{}}',
        '{"stream":"btcusdt@depth","data":',
        "null",
        "7",
        '"text"',
    ],
)
def test_garbage_frames_do_not_decode(frame: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        m.decode_frame(frame)


def test_events_of_no_use_are_told_apart_from_garbage() -> None:
    assert m.decode_frame('{"e":"STRATEGY_UPDATE","E":1,"su":{}}') == m.OtherEvent(e="STRATEGY_UPDATE")
    assert m.decode_frame('{"stream":"x","data":{"e":"GRID_UPDATE","E":1}}') == m.OtherEvent(e="GRID_UPDATE")


# ---- recorded books of the venue's relative: the same protocol, with what an independent builder made of them


def replay(path: Path, ticks: dict[str, str]) -> tuple[dict[str, BookFeed], list[BookGap]]:
    """Our decoder and rule over a recording: every diff in order, each snapshot where it came."""
    gaps: list[BookGap] = []
    feeds = {
        symbol: BookFeed(msgspec.structs.replace(market(symbol), tick_size=Decimal(tick)), RULE, gaps.append)
        for symbol, tick in ticks.items()
    }
    with path.open() as lines:
        for line in lines:
            row = json.loads(line)
            message = row.get("msg")
            if not isinstance(message, dict):
                continue
            if "lastUpdateId" in message:
                symbol = row.get("url", "").partition("symbol=")[2].partition("&")[0] or next(iter(feeds))
                start(feeds[symbol], msgspec.convert(message, m.Depth, strict=False), 1)
            elif isinstance(event := m.decode_frame(json.dumps(message)), m.DepthUpdate):
                apply(feeds[event.s], event, 1)
    return feeds, gaps


def top(feed: BookFeed) -> list[list[tuple[Decimal, Decimal]]]:
    book = feed.read(10)
    return [[(level.price, level.size) for level in side] for side in (book.bids, book.asks)]


def expected_top(row: dict[str, Any]) -> list[list[tuple[Decimal, Decimal]]]:
    return [[(Decimal(price), Decimal(size)) for price, size in row[side]] for side in ("final_bids", "final_asks")]


@pytest.mark.parametrize(
    ("name", "ticks"),
    [
        ("binance_usdm_btcusdt_20240808_depth", {"BTCUSDT": "0.1"}),
        (
            "binance_usdm_4symbols_20210722_with_rest_snapshots",
            {"SUSHIUSDT": "0.001", "AKROUSDT": "0.00001", "KEEPUSDT": "0.0001", "CTKUSDT": "0.00001"},
        ),
    ],
)
def test_recorded_books_end_as_an_independent_builder_says(payloads: Path, name: str, ticks: dict[str, str]) -> None:
    path = payloads / "streams" / f"{name}.jsonl"
    told = json.loads(path.with_suffix(".expected.json").read_text())
    expected = told if "symbol" not in told else {told["symbol"]: told}
    feeds, gaps = replay(path, ticks)
    assert set(feeds) == set(expected)
    for symbol, feed in feeds.items():
        assert feed.book.state.sequence == expected[symbol]["final_u"]
        assert top(feed) == expected_top(expected[symbol])
    assert not any(gap.was_ready for gap in gaps)
