"""Every recorded message: decoded without losing a field or a value, and turned into exactly the events it should yield."""

from __future__ import annotations

import ast
import csv
import json
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from exchange_clients.errors import DecodeError
from exchange_clients.model import Instrument, InstrumentId
from exchange_clients.paradex import messages as m
from exchange_clients.paradex.client.utils import converters as c

# Record id without its common head, or file -> type of the payload; "frame" is a whole socket frame.
TYPES: dict[str, Any] = {
    "rest/account-001": m.Results[m.Balance],
    "rest/account-002": m.Results[m.Balance],
    "rest/account-003": m.Account,
    "rest/account-005": m.Results[m.Subkey],
    "rest/account-009": m.Subkey,
    "rest/account-018": m.Results[m.Balance],
    "rest/candles": m.Results[m.Kline],
    "rest/error": m.Failure,
    "rest/fills": m.Results[m.Fill],
    "rest/funding_history": m.Results[m.Funding],
    "rest/funding_rate": m.Summary,
    "rest/markets-001": m.Results[m.Market],
    "rest/markets-002": m.Market,
    "rest/markets-003": m.SystemConfig,
    "rest/markets-004": m.Results[m.Market],
    "rest/order_ack": m.BatchAnswer,
    "rest/orderbook-001": m.Book,
    "rest/orderbook-002": m.Bbo,
    "rest/orders-001": m.Order,
    "rest/orders-002": m.Results[m.Order],
    "rest/positions-001": m.MarginConfigs,
    "rest/positions-002": m.Results[m.Position],
    "rest/positions-003": m.Position,
    "rest/positions-004": m.Liquidation,
    "rest/positions-006": m.Results[m.Liquidation],
    "rest/positions-007": m.Results[m.Position],
    "rest/status-001": m.SystemState,
    "rest/status-002": m.ServerTime,
    "rest/ticker-001": m.Results[m.Summary],
    "rest/ticker-002": m.Results[m.Summary],
    "rest/ticker-003": m.Summary,
    "rest/ticker-004": m.Summary,
    "rest/ticker-005": m.Summary,
    "rest/ticker-006": m.Results[m.Summary],
    "rest/ticker-007": m.Results[m.Account],
    "rest/ticker-008": m.Results[m.Summary],
    "rest/trades-001": m.Fill,
    "rest/trades-002": m.Results[m.Trade],
    "rest/trades-008": m.Results[m.Tradebust],
    "rest/transfers-001": m.Results[m.Transfer],
    "rest/transfers-002": m.Results[m.Transaction],
    "rest/transfers-003": m.Results[m.Transfer],
    "rest/transfers-004": m.Results[m.Transfer],
    "ws/account-001": "frame",
    "ws/account-002": m.Account,
    "ws/account-003": m.BalanceEvent,
    "ws/error": m.Frame,
    "ws/fills": "frame",
    "ws/funding_rate-001": ("params", m.Funding),
    "ws/funding_rate-002": m.Funding,
    "ws/markets": m.Summary,
    "ws/order_ack-002": m.CancelResults,
    "ws/order_ack-003": m.Placed,
    "ws/orderbook-002": m.Bbo,
    "ws/orders-001": m.Placed,
    "ws/orders-003": m.PlacedMany,
    "ws/positions-001": "frame",
    "ws/positions-002": m.Position,
    "ws/ticker-001": ("params", m.Summary),
    "ws/trades": ("params", m.Trade),
    "ws/transfers": m.Transaction,
}

# Whole messages that no verb and no documented endpoint of ours asks for, with the reason.
IGNORED_MESSAGES = {
    "rest/account-004": "compliance",
    "rest/account-006": "request that registers a subkey: done on the venue's page, with the account's own key",
    "rest/account-007": "activating a subkey",
    "rest/account-008": "activating a subkey",
    "rest/account-010": "profile",
    "rest/account-011": "profile",
    "rest/account-012": "profile",
    "rest/account-013": "long-lived tokens",
    "rest/account-014": "long-lived tokens",
    "rest/account-015": "long-lived tokens",
    "rest/account-016": "long-lived tokens",
    "rest/account-017": "long-lived tokens",
    "rest/account-019": "vaults",
    "rest/markets-005": "options",
    "rest/markets-006": "fee tiers",
    "rest/orderbook-003": "impact price",
    "rest/orderbook-004": "requests for quotes",
    "rest/orders-003": "TWAP",
    "rest/orders-004": "request: compared with ours in test_client",
    "rest/orders-005": "request: compared with ours in test_client",
    "rest/other-001": "requests for quotes",
    "rest/other-002": "requests for quotes",
    "rest/other-003": "requests for quotes",
    "rest/other-004": "staking",
    "rest/positions-005": "request: compared with ours in test_client",
    "rest/request_vectors-001": "request: compared with ours in test_client",
    "rest/request_vectors-002": "request: compared with ours in test_client",
    "rest/request_vectors-003": "request: compared with ours in test_client",
    "rest/ticker-009": "staking",
    "rest/ticker-010": "vaults",
    "rest/trades-003": "block trades",
    "rest/trades-004": "block trades",
    "rest/trades-005": "block trades",
    "rest/trades-006": "block trades",
    "rest/trades-007": "block trades",
    "rest/transfers-005": "XP points",
    "ws/order_ack-001": "request: compared with ours in test_client",
    "ws/order_ack-004": "request: compared with ours in test_client",
    "ws/orderbook-001": "the JSON book of before September 2026: books are binary now",
    "ws/orders-002": "request: compared with ours in test_client",
    "ws/orders-004": "request: compared with ours in test_client",
    "ws/ticker-002": "request that changes a filter of markets_summary: we subscribe market by market",
}

# Single fields that are left unread, with the reason: parts of an address.
_OPTIONS = ("ask_iv", "bid_iv", "delta", "greeks", "last_iv", "mark_iv")
IGNORED_FIELDS = {
    *(f"rest/markets-004 results {name}" for name in ("iv_bands_width", "option_cross_margin_params", "option_type", "strike_price")),
    *(f"{record} {name}" for record in ("rest/ticker-003", "ws/markets-001") for name in _OPTIONS),
    *(f"{record} results {name}" for record in ("rest/ticker-001", "rest/ticker-008") for name in _OPTIONS),
    "rest/ticker-008 results rolling_details",  # contracts on commodities
    "ws/markets-001 rolling_details",
    "ws/error-001 jsonrpc",
    "ws/error-001 usIn",
    "ws/error-001 usDiff",
    "ws/error-001 usOut",
}


def records(payloads: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(short id, record) of every recorded message."""
    for folder in ("rest", "ws"):
        for file in sorted((payloads / "paradex" / folder).glob("*.jsonl")):
            for line in file.read_text().splitlines():
                record = json.loads(line)
                yield record["id"].replace(f"S-paradex-{folder}-", f"{folder}/"), record


def decoded(key: str, record: dict[str, Any]) -> tuple[Any, Any]:
    """(what was sent, what we read) of one record."""
    kind = TYPES.get(key) or TYPES[key.rpartition("-")[0]]
    sent = record["payload"]
    if kind == "frame":
        return sent["params"]["data"], m.decode_text(json.dumps(sent))
    if isinstance(kind, tuple):
        sent, kind = sent[kind[0]]["data"], kind[1]
    return sent, msgspec.json.decode(json.dumps(sent), type=kind, strict=False)


def lost(sent: Any, read: Any, path: str = "") -> Iterator[str]:
    """Where `sent` says something that `read`, what we decoded and encoded again, does not. Null is nothing said."""
    if isinstance(sent, dict):
        for key, value in sent.items():
            if not isinstance(read, dict) or key not in read:
                yield f"{path} {key}".strip()
            else:
                yield from lost(value, read[key], f"{path} {key}".strip())
    elif isinstance(sent, list):
        if not isinstance(read, list) or len(sent) != len(read):
            yield f"{path} length"
        else:
            for a, b in zip(sent, read, strict=True):
                yield from lost(a, b, path)
    elif sent != read and sent is not None and not (read is not None and str(sent) and Decimal(str(sent)) == Decimal(str(read))):
        yield f"{path} is {sent!r}, read {read!r}"


def find(name: str) -> Instrument | None:
    """An instrument for any perpetual; options have none."""
    base, _, rest = name.partition("-")
    if rest != "USD-PERP":
        return None
    multiplier = Decimal(1000 if base.startswith("k") else 1)
    return Instrument(
        id=InstrumentId(base.removeprefix("k"), "USD", "paradex"),
        venue_symbol=name,
        contract_id=name,
        settle="USDC",
        tick_size=Decimal("0.1"),
        step_size=Decimal(1),
        min_quantity=Decimal(1),
        multiplier=multiplier,
        contract_size=multiplier,
        funding_interval_hours=Decimal(8),
    )


def test_every_recorded_message_is_read_whole(payloads: Path) -> None:
    seen: Counter[str] = Counter()
    problems: list[str] = []
    for key, record in records(payloads):
        if key in IGNORED_MESSAGES:
            seen["ignored"] += 1
            continue
        try:
            sent, read = decoded(key, record)
        except msgspec.ValidationError as e:
            problems.append(f"{key} {e}")
            continue
        again = json.loads(msgspec.json.encode(read))
        problems += [f"{key} {where}" for where in lost(sent, again) if f"{key} {where}" not in IGNORED_FIELDS]
        seen[key.partition("/")[0]] += 1
    assert not problems, "\n".join(problems[:40])
    assert seen == {"rest": 43, "ws": 18, "ignored": 42}


def test_an_unread_field_would_be_noticed() -> None:
    assert list(lost({"a": 1, "b": "2.0"}, {"a": 1})) == ["b"]
    assert list(lost([{"a": "1.0"}], [{"a": "1"}])) == []
    assert list(lost({"a": "1"}, {"a": "2"})) == ["a is '1', read '2'"]
    assert list(lost([1, 2], [1])) == [" length"]


def test_ignored_messages_and_fields_are_really_there(payloads: Path) -> None:
    known = dict(records(payloads))
    assert set(IGNORED_MESSAGES) <= set(known)
    unread = set()
    for key, record in known.items():
        if key not in IGNORED_MESSAGES:
            sent, read = decoded(key, record)
            unread |= {f"{key} {where}" for where in lost(sent, json.loads(msgspec.json.encode(read)))}
    assert unread == IGNORED_FIELDS


# ---- what each message yields


def yields(value: Any) -> Counter[str]:
    """Run every converter that applies to a decoded message and count the domain events."""
    made: Counter[str] = Counter()
    match value:
        case m.Results():
            for row in value.results:
                made += yields(row)
        case m.Market():
            made["instrument"] += c.instrument(value) is not None
        case m.Summary():
            if (found := find(value.symbol)) is not None:
                made["ticker"] += bool(c.ticker(value, found, 1))
                made["funding"] += c.funding_now(value, found) is not None
        case m.Book():
            made["book"] += bool(c.book(value, _perp(value.market), 20, 1).bids)
        case m.Trade():
            made["trade"] += bool(c.trade(value, _perp(value.market)))
        case tuple():
            made["candle"] += bool(c.candle(value, _perp("BTC-USD-PERP"), "1m", 60 * 10**9, 2 * 10**18))
        case m.Funding():
            made["settled"] += bool(c.funding_past(value, _perp(value.market)))
        case m.Order():
            made["order"] += bool(c.order(value, _perp(value.market)))
        case m.Placed() if value.order is not None:
            made += yields(value.order)
        case m.PlacedMany():
            for one in value.results:
                made += yields(one)
        case m.BatchAnswer():
            for order in value.orders or []:
                made += yields(order)
        case m.Fill():
            made["fill"] += bool(c.fill(value, _perp(value.market)))
        case m.Position():
            made["position"] += bool(c.position(value, _perp(value.market), 1))
        case m.Account():
            made["account"] += bool(c.account(value))
        case m.MarginConfigs():
            made["leverage"] += sum(c.leverage_info(entry, _perp(entry.market)).account_leverage is not None for entry in value.configs)
    return made


def _perp(name: str) -> Instrument:
    found = find(name)
    assert found is not None
    return found


def test_what_the_recorded_messages_yield(payloads: Path) -> None:
    made: dict[str, Counter[str]] = {}
    for key, record in records(payloads):
        if key not in IGNORED_MESSAGES:
            made.setdefault(key.rpartition("-")[0], Counter()).update(yields(decoded(key, record)[1]))
    assert {kind: dict(+count) for kind, count in made.items() if +count} == EXPECTED


# Counted by hand. Options yield nothing; transfers, transactions and keys have no events of ours.
EXPECTED = {
    "rest/account": {"account": 1},
    "rest/candles": {"candle": 1},
    "rest/fills": {"fill": 1},
    "rest/funding_history": {"settled": 1},
    "rest/funding_rate": {"ticker": 1, "funding": 1},
    "rest/markets": {"instrument": 3},
    "rest/order_ack": {"order": 1},
    "rest/orderbook": {"book": 1},
    "rest/orders": {"order": 2},
    "rest/positions": {"position": 3, "leverage": 1},
    "rest/ticker": {"ticker": 5, "funding": 5, "account": 1},
    "rest/trades": {"trade": 1, "fill": 1},
    "ws/account": {"account": 2},
    "ws/fills": {"fill": 1},
    "ws/funding_rate": {"settled": 2},
    "ws/markets": {"ticker": 1, "funding": 1},
    "ws/order_ack": {"order": 1},
    "ws/orders": {"order": 2},
    "ws/positions": {"position": 2},
    "ws/ticker": {"ticker": 1, "funding": 1},
    "ws/trades": {"trade": 1},
}


# ---- a whole listing of the venue


def flat_markets(payloads: Path) -> Iterator[m.Market]:
    """The listing of July 2025, which somebody wrote to a table: nested objects are Python literals in it."""
    with (payloads / "paradex" / "rest" / "markets_flat_202507.csv").open() as file:
        for row in csv.DictReader(file):
            named = {name: value for name, value in row.items() if value}
            for name in ("delta1_cross_margin_params", "option_cross_margin_params", "tags"):
                if name in named:
                    named[name] = ast.literal_eval(named[name])
            yield msgspec.convert(named, m.Market, strict=False)


def test_a_whole_listing_has_a_fixture_for_every_market_type(payloads: Path) -> None:
    rows = list(flat_markets(payloads))
    found = {one.venue_symbol: one for row in rows if (one := c.instrument(row)) is not None}
    assert (len(rows), len(found)) == (213, 59)
    assert {row.asset_kind for row in rows} == {"PERP", "PERP_OPTION"}
    btc, bonk = found["BTC-USD-PERP"], found["kBONK-USD-PERP"]
    assert (btc.tick_size, btc.step_size, btc.min_notional, btc.max_leverage) == (
        Decimal("0.1"),
        Decimal("0.00001"),
        Decimal(100),
        Decimal(50),
    )
    assert (btc.initial_margin, btc.maintenance_margin, btc.funding_cap) == (Decimal("0.02"), Decimal("0.01"), Decimal("0.02"))
    assert (str(bonk.id), bonk.multiplier, bonk.contract_size) == ("BONK-USD-PERP.paradex", Decimal(1000), Decimal(1000))
    assert (bonk.tick_size, bonk.step_size, bonk.max_quantity) == (Decimal("1e-9"), Decimal(100), Decimal(17_000_000_000))
    hourly = [one for one in found.values() if one.funding_interval_hours == 1]
    assert len(hourly) == 1
    assert hourly[0].funding_cap is None, "the published cap is per 8 h"
    assert len({one.id for one in found.values()}) == len(found)


@pytest.mark.parametrize("frame", ["{}", "null", "[1]", '{"jsonrpc":"2.0"}', '{"params":{"data":1}}', '{"id":"x"}', "WebSocket"])
def test_garbage_frames_do_not_decode(frame: str) -> None:
    with pytest.raises((msgspec.DecodeError, DecodeError)):
        m.decode_text(frame)


def test_events_of_other_channels_yield_nothing() -> None:
    frame = '{"method":"subscription","params":{"channel":"tradebusts","data":{"account":"0x1"}}}'
    assert m.decode_text(frame) == m.Event("tradebusts")
