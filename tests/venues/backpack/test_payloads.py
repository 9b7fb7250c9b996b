"""Every recorded message: decoded without losing a field or a value, and turned into exactly the events it should yield."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from exchange_clients.backpack import messages as m
from exchange_clients.backpack.client.utils import converters as c
from exchange_clients.backpack.common import ENDPOINTS
from exchange_clients.model import Instrument, InstrumentId

# "file:name" or file -> type of the payload. "frame" is a whole socket frame.
TYPES: dict[str, Any] = {
    "rest/account:parse_balance": dict[str, m.Balance],
    "rest/account": m.Collateral,
    "rest/candles": list[m.KlineRow],
    "rest/error": m.Failure,
    "rest/fills": list[m.FillRow],
    "rest/funding_history:fetch_funding_rate_history": list[m.FundingRow],
    "rest/funding_history:parse_income": m.FundingPaymentRow,
    "rest/funding_history:_get_income_history_dict.income_history": list[m.FundingPaymentRow],
    "rest/funding_rate:parse_funding_rate": m.MarkPriceRow,
    "rest/funding_rate": list[m.MarkPriceRow],
    "rest/markets:parse_market": list[m.Market],
    "rest/markets": list[m.Asset],
    "rest/order_ack:DELETE /api/v1/orders (cancelAllOrders)": list[m.OrderRow],
    "rest/order_ack": m.OrderRow,
    "rest/orders": m.OrderRow,
    "rest/other": m.Depth,
    "rest/positions:parse_position": m.PositionRow,
    "rest/positions": list[m.PositionRow],
    "rest/status": m.Status,
    "rest/ticker:parse_ticker": m.TickerRow,
    "rest/ticker:GET /api/v1/openInterest (fetchOpenInterest)": list[m.OpenInterestRow],
    "rest/ticker:GET /api/v1/tickers (fetchTickers)": list[m.TickerRow],
    "rest/ticker": m.TickerRow,
    "rest/trades": m.FillRow,
    "rest/transfers:parse_deposit_address": m.DepositAddress,
    "rest/transfers": list[m.Deposit],
    "ws": "frame",
    "ws/orderbook:get_cache_index": m.DepthUpdate,
}

# Whole messages that are no message of the venue, or none that we read, with the reason.
IGNORED_MESSAGES = {
    "rest/account:test_rest_authenticate_post_request_with_body.body_data": "another library's arguments, not an answer",
    "rest/error:test_format_trading_rules_with_exception.malformed_info": "a market without its filters, made to break a parser",
    "ws/orders:_order_update_event.resp": "invented: the venue's keys are single letters",
    "ws/funding_history:test_listen_for_subscriptions_subscribes_to_channels.expected_funding_subscription": "a request",
    "ws/status:test_listen_for_subscriptions_subscribes_to_channels.expected_diff_subscription": "a request",
    "ws/trades:test_listen_for_subscriptions_subscribes_to_channels.expected_trade_subscription": "a request",
}

# Single fields that are left unread, with the reason.
IGNORED_FIELDS = {
    "ws/trades:_trade_update_event.resp data M": "of another venue's trades; in no document of this one",
    "ws/trades:test_trade_message_buy_side.trade_update data M": "the same",
    "ws/trades:test_trade_message_from_exchange.trade_update data M": "the same",
}


def records(payloads: Path, *folders: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(file without suffix, "file:name", record) of every recorded message in `folders`."""
    for folder in folders:
        for file in sorted((payloads / "backpack" / folder).glob("*.jsonl")):
            if file.stem == "request_vectors":
                continue  # requests: below
            kind = f"{folder}/{file.stem}"
            for line in file.read_text().splitlines():
                record = json.loads(line)
                yield kind, f"{kind}:{record['name']}", record


def type_of(kind: str, key: str) -> Any:
    return TYPES.get(key) or TYPES.get(kind) or TYPES[kind.partition("/")[0]]


def decoded(kind: str, key: str, record: dict[str, Any]) -> Any:
    wanted, body = type_of(kind, key), json.dumps(record["payload"])
    return m.decode_frame(body) if wanted == "frame" else msgspec.json.decode(body, type=wanted, strict=False)


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
    elif sent != read and not same_number(sent, read):
        yield f"{path} is {sent!r}, read {read!r}"


def same_number(a: Any, b: Any) -> bool:
    try:
        return a is not None and b is not None and Decimal(str(a)) == Decimal(str(b))
    except ArithmeticError:
        return False


def test_every_recorded_message_is_read_whole(payloads: Path) -> None:
    seen: Counter[str] = Counter()
    problems: list[str] = []
    for kind, key, record in records(payloads, "rest", "ws"):
        if key in IGNORED_MESSAGES:
            seen["ignored"] += 1
            continue
        again = json.loads(msgspec.json.encode(decoded(kind, key, record)))
        if type_of(kind, key) == "frame":
            again = {"stream": record["payload"]["stream"], "data": again}
        problems += [f"{record['id']} {where}" for where in lost(record["payload"], again) if f"{key} {where}" not in IGNORED_FIELDS]
        seen[kind.partition("/")[0]] += 1
    assert not problems, "\n".join(problems[:40])
    assert seen == {"rest": 34, "ws": 7, "ignored": 6}


def test_an_unread_field_would_be_noticed() -> None:
    assert list(lost({"a": 1, "b": "2.0"}, {"a": 1})) == ["b"]
    assert list(lost([{"a": "1.0"}], [{"a": "1"}])) == []
    assert list(lost({"a": "1"}, {"a": "2"})) == [" a is '1', read '2'"]


def find(symbol: str) -> Instrument | None:
    """An instrument for any perpetual; spot has none."""
    if not symbol.endswith("_PERP"):
        return None
    base, quote = symbol.removesuffix("_PERP").split("_")
    one = Decimal("0.0001")
    return Instrument(
        id=InstrumentId(base, quote, "backpack"),
        venue_symbol=symbol,
        contract_id=symbol,
        settle=quote,
        tick_size=one,
        step_size=one,
        min_quantity=one,
        funding_interval_hours=Decimal(1),
    )


def yields(value: Any) -> Counter[str]:
    """Run every converter that applies to a decoded message and count the domain events."""
    made: Counter[str] = Counter()
    instrument = find(getattr(value, "symbol", ""))
    match value:
        case list():
            for item in value:
                made += yields(item)
        case m.Market():
            made["instrument"] += c.instrument(value, 2 * 10**18) is not None
        case m.Depth():
            made["book"] += bool(c.book(value, perp(), 5, 1).bids)
        case m.KlineRow():
            made["candle"] += c.candle(value, perp(), "1m", closed=True) is not None
        case m.Collateral():
            made["account"] += bool(c.account(value, asset="USDC", ts_ns=1))
        case _ if instrument is None:
            made["of no market of ours"] += isinstance(value, m.OrderRow | m.FillRow | m.TickerRow | m.TradeEvent)
        case m.FundingRow():
            made["settled"] += len(c.funding_settled([value], instrument, 2 * 10**18))
        case m.FundingPaymentRow():
            made["payment"] += bool(c.funding_payment(value, instrument))
        case m.MarkPriceRow():
            made["funding"] += c.funding_now(value.fundingRate, value.nextFundingTimestamp, instrument, 1) is not None
            made["ticker"] += bool(c.ticker(instrument, None, value, None, 1).mark)
        case m.OpenInterestRow():
            made["ticker"] += bool(c.ticker(instrument, None, m.MarkPriceRow(value.symbol, Decimal(2)), value, 1).open_interest)
        case m.OrderRow():
            made["order"] += bool(c.order(value, instrument))
        case m.FillRow():
            made["fill"] += bool(c.fill(value, instrument))
        case m.PositionRow():
            made["position"] += bool(c.position(value, instrument, 1).quantity)
        case m.PositionEvent():
            made["position"] += bool(c.position_event(value, instrument, 1).quantity)
        case m.OrderEvent():
            made["order"] += bool(c.order_event(value, instrument))
            made["fill"] += c.fill_event(value, instrument) is not None
        case m.TradeEvent():
            made["trade"] += bool(c.trade_event(value, instrument))
    return made


def perp() -> Instrument:
    found = find("X_USDC_PERP")
    assert found is not None
    return found


def test_what_the_recorded_messages_yield(payloads: Path) -> None:
    made: dict[str, Counter[str]] = {}
    for kind, key, record in records(payloads, "rest", "ws"):
        if key not in IGNORED_MESSAGES:
            made.setdefault(kind, Counter()).update(yields(decoded(kind, key, record)))
    assert {kind: dict(+count) for kind, count in made.items() if +count} == EXPECTED


OTHER = "of no market of ours"
EXPECTED = {
    "rest/account": {"account": 2},
    "rest/candles": {"candle": 2},
    "rest/fills": {OTHER: 4},
    "rest/funding_history": {"settled": 1, "payment": 2},
    "rest/funding_rate": {"funding": 2, "ticker": 2},
    "rest/markets": {"instrument": 1},
    "rest/order_ack": {"order": 1},
    "rest/orders": {OTHER: 2},
    "rest/other": {"book": 1},
    "rest/positions": {"position": 2},
    "rest/ticker": {"ticker": 1, OTHER: 4},
    "rest/trades": {"fill": 1},
    "ws/other": {"order": 1},
    "ws/positions": {"position": 1},
    "ws/trades": {"trade": 1, OTHER: 2},
}


# Recorded requests of endpoints that a trader of perpetuals does not need.
OTHERS_REQUESTS = {"POST /wapi/v1/capital/withdrawals", "GET /wapi/v1/capital/withdrawals"}


def test_recorded_requests_go_where_ours_go(payloads: Path) -> None:
    """Method, path and names of the parameters of each are among those of an endpoint of ours."""
    lines = (payloads / "backpack/rest/request_vectors.jsonl").read_text().splitlines()
    known = {f"{endpoint.method} {endpoint.path}": endpoint for endpoint in ENDPOINTS.values()}
    met = set()
    for line in lines:
        expected = json.loads(line)["payload"]["expected"]
        url = urlsplit(expected["url"])
        name = f"{expected['method']} {url.path}"
        if name in OTHERS_REQUESTS:
            continue
        met.add(name)
        assert name in known, name
        if known[name].doc and url.query:
            assert all(key in known[name].doc for key in parse_qs(url.query)), (url.query, known[name].doc)
    assert len(lines) == 22
    assert len(met) >= 14


@pytest.mark.parametrize("key", sorted(IGNORED_MESSAGES))
def test_an_ignored_message_is_really_there(payloads: Path, key: str) -> None:
    assert key in {name for _, name, _ in records(payloads, "rest", "ws")}


@pytest.mark.parametrize(
    "frame",
    [
        '{"stream":"news.BTC_USDC_PERP","data":{}}',
        '{"stream":"depth.BTC_USDC_PERP","data":{"s":"BTC_USDC_PERP","U":1,"u":1,"a":[["1"]],"b":[]}}',
        '{"stream":"depth.BTC_USDC_PERP","data":{"s":"BTC_USDC_PERP","U":1,"u":1,"a":[["abc","1"]],"b":[]}}',
        '{"stream":"account.orderUpdate","data":{"e":"orderFill"}}',
        '{"stream":"depth.BTC_USDC_PERP","data":',
        "null",
    ],
)
def test_garbage_frames_do_not_decode(frame: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        m.decode_frame(frame)


def test_a_symbol_with_a_dot_does_not_confuse_the_stream() -> None:
    frame = '{"stream":"%s","data":{"e":"%s","s":"NVDA.US_USDC_PERP","p":"180.5","q":"1","t":1,"m":true,"T":1694688638089000}}'
    trade = m.decode_frame(frame % ("trade.NVDA.US_USDC_PERP", "trade"))
    assert isinstance(trade, m.TradeEvent)
    assert trade.symbol == "NVDA.US_USDC_PERP"
    order = m.decode_frame(
        '{"stream":"account.orderUpdate.NVDA.US_USDC_PERP","data":{"e":"orderAccepted","s":"NVDA.US_USDC_PERP","i":"1","S":"Bid","X":"New","T":1}}'
    )
    assert isinstance(order, m.OrderEvent)
