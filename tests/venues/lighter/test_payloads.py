"""Every recorded message of Lighter decodes; every field is read or listed as ignored; what must say nothing says nothing."""

import json
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec
import pytest

from exchange_clients.lighter import messages as m
from exchange_clients.lighter.client.utils import converters
from exchange_clients.model import Instrument

# Fields that the venue sends and nothing needs, by type. Fees and limits of integrators, pools and invitations; numbers that repeat a text;
# figures "before" a trade.
IGNORED: dict[type, set[str]] = {
    m.PositionRow: {"symbol", "open_order_count", "pending_order_count", "position_tied_order_count", "total_discount"},
    m.AccountRow: {
        "code", "account_type", "l1_address", "cancel_all_time", "total_order_count", "total_isolated_order_count", "pending_order_count",
        "status", "collateral", "account_index", "name", "description", "can_invite", "referral_points_percentage", "assets",
        "cross_asset_value", "shares", "transaction_time", "account_trading_mode", "can_rfq", "can_rfq_market_ids", "created_at",
        "metadata", "pending_unlocks", "approved_integrators", "pool_info",
    },
    m.Accounts: {"code", "message", "total", "next_cursor"},
    m.SubAccounts: {"code", "l1_address"},
    m.AccountLimits: {
        "code", "message", "max_llp_percentage", "max_llp_amount", "can_create_public_pool", "user_tier_name", "leased_lit",
        "effective_lit_stakes", "user_tier_last_update",
    },
    m.ApiKeys: {"code", "message"},
    m.ApiKey: {"account_index", "nonce", "transaction_time"},
    m.MarketConfig: {
        "market_margin_mode", "insurance_fund_account_index", "liquidation_mode", "trading_hours", "funding_fee_discounts_enabled",
        "hidden", "rfq_enabled",
    },
    m.Market: {
        "base_asset_id", "quote_asset_id", "is_taker_fee_enabled", "is_maker_fee_enabled", "liquidation_fee", "order_quote_limit",
        "supported_quote_decimals", "size_decimals", "price_decimals", "quote_multiplier", "closeout_margin_fraction", "daily_trades_count",
        "daily_base_token_volume", "daily_price_low", "daily_price_high", "daily_price_change", "daily_chart", "strategy_index",
    },
    m.Markets: {"code", "spot_order_book_details"},
    m.MarketList: {"code"},
    m.RestingOrder: {"order_index", "order_id", "owner_account_index", "initial_base_amount", "order_expiry", "transaction_time"},
    m.RestingOrders: {"code", "message", "total_asks", "total_bids"},
    m.ExchangeStats: {"code", "total"},
    m.Assets: {"code", "message"},
    m.Asset: {
        "l1_decimals", "l1_address", "global_supply_cap", "liquidation_fee", "liquidation_threshold", "loan_to_value", "price_decimals",
        "total_supplied", "user_supply_cap",
    },
    m.Status: {"network_id"},
    m.CandleRow: {"V", "i"},
    m.Candles: {"code", "r"},
    m.Candlesticks: {"code", "resolution"},
    m.Candlestick: {"open_raw", "high_raw", "low_raw", "close_raw", "volume1", "last_trade_id"},
    m.FundingRow: {"value"},
    m.Fundings: {"code", "message", "resolution"},
    m.FundingRate: {"symbol"},
    m.FundingRates: {"code"},
    m.PaymentRow: {"discount"},
    m.Payments: {"code", "message"},
    m.OrderRow: {
        "order_index", "client_order_index", "owner_account_index", "nonce", "remaining_base_amount", "base_size", "base_price", "side",
        "order_expiry", "trigger_status", "trigger_time", "parent_order_index", "parent_order_id", "to_trigger_order_id_0",
        "to_trigger_order_id_1", "to_cancel_order_id_0", "block_height", "timestamp", "integrator_fee_collector_index",
        "integrator_taker_fee", "integrator_maker_fee", "order_flags",
    },
    m.Orders: {"code", "message"},
    m.TradeRow: {
        "trade_id_str", "tx_hash", "ask_id_str", "bid_id_str", "ask_client_id_str", "bid_client_id_str", "block_height",
        "taker_position_size_before", "taker_entry_quote_before", "taker_initial_margin_fraction_before", "taker_position_sign_changed",
        "maker_position_size_before", "maker_entry_quote_before", "maker_initial_margin_fraction_before", "maker_position_sign_changed",
        "taker_allocated_margin_usdc_before", "taker_allocated_margin_usdc_after", "maker_allocated_margin_usdc_before",
        "maker_allocated_margin_usdc_after", "integrator_maker_fee", "integrator_maker_fee_collector_index", "integrator_taker_fee",
        "integrator_taker_fee_collector_index",
    },
    m.Trades: {"code", "message"},
    m.LiquidationTrade: {"transaction_time"},
    m.Liquidation: {"info", "executed_at"},
    m.Liquidations: {"code", "message"},
    m.Deposits: {"code", "message"},
    m.Withdrawals: {"code", "message"},
    m.Sent: {"code", "message", "predicted_execution_time_ms"},
    m.Book: {"code", "offset"},
    m.BookSnapshot: {"type", "last_updated_at", "offset", "timestamp"},
    m.BookUpdate: {"type", "last_updated_at", "offset", "timestamp"},
    m.TickerData: {"s"},
    m.Ticker: {"type", "last_updated_at", "nonce", "timestamp"},
    m.TickerUpdate: {"type", "last_updated_at", "nonce", "timestamp"},
    m.MarketStats: {
        "symbol", "mid_price", "open_interest", "open_interest_limit", "funding_clamp_small", "last_trade_price", "daily_base_token_volume",
        "daily_quote_token_volume", "daily_price_low", "daily_price_high", "daily_price_change",
    },
    m.MarketStatsFrame: {"type", "timestamp"},
    m.MarketStatsUpdate: {"type", "timestamp"},
    m.TradesFrame: {"type", "nonce"},
    m.TradesUpdate: {"type", "nonce"},
    m.CandlesFrame: {"type", "timestamp"},
    m.OrdersUpdate: {"type"},
    m.MarketOrdersUpdate: {"type", "account", "nonce"},
    m.FillsFrame: {"type", "total_volume", "monthly_volume", "weekly_volume", "daily_volume"},
    m.FillsUpdate: {"type"},
    m.PositionsUpdate: {"type", "shares", "last_funding_round", "last_funding_discount"},
    m.Stats: {"account_trading_mode", "buying_power", "collateral", "leverage", "margin_usage", "cross_stats", "total_stats"},
    m.StatsFrame: {"type", "timestamp"},
    m.Connected: {"type", "session_id"},
    m.Loose: {"predicted_execution_time_ms"},
}  # fmt: skip


def records(payloads: Path, folder: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted((payloads / "lighter" / folder).glob("*.jsonl")):
        for line in path.read_text().splitlines():
            record = json.loads(line)
            yield f"{path.stem}: {record['name']}", record


def wire_names(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.encode_name: hints[field.name] for field in msgspec.structs.fields(kind)}


def structs_in(hint: Any) -> list[type]:
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return [hint]
    return [found for part in get_args(hint) for found in structs_in(part)]


def unread(kind: type, value: Any, where: str = "") -> list[str]:
    """Paths of fields that are neither read nor listed, at any depth."""
    found: list[str] = []
    if isinstance(value, list):
        return [path for item in value for path in unread(kind, item, where)]
    if not isinstance(value, dict):
        return found
    names = wire_names(kind)
    if not any(name in names or name in IGNORED.get(kind, ()) for name in value) and all(
        isinstance(v, dict | list) for v in value.values()
    ):
        return [path for item in value.values() for path in unread(kind, item, where)]  # keyed by market
    for name, item in value.items():
        path = f"{where}{kind.__name__}.{name}"
        if name in IGNORED.get(kind, ()):
            continue
        if name not in names:
            found.append(path)
            continue
        for inner in structs_in(names[name]):
            found += unread(inner, item, f"{path} > ")
    return found


REST = {
    "account: check_if_standard_tier": m.AccountLimits,
    "account: handle_account_index": m.SubAccounts,
    "account: Exchange/Account/GetAccountLimits": m.AccountLimits,
    "account: Exchange/Account/GetApiKeys": m.ApiKeys,
    "account: test_extract_account_snapshot_by_l1_address_from_sub_accounts_response.response": m.SubAccounts,
    "candles: GET /api/v1/candlesticks (fetchOHLCV)": m.Candlesticks,
    "funding_history: Exchange/Account/GetFundingHistory": m.Payments,
    "funding_rate: parse_funding_rate": m.FundingRate,
    "markets: fetch_currencies": m.Assets,
    "markets: Exchange/ExchangeData/GetAssets": m.Assets,
    "orderbook: order_book_details": m.Markets,
    "orderbook: order_books": m.MarketList,
    "orderbook: Exchange/ExchangeData/GetSymbols": m.MarketList,
    "orders: parse_order": m.OrderRow,
    "other: Exchange/ExchangeData/GetExchangeStats": m.ExchangeStats,
    "positions: parse_position": m.PositionRow,
    "positions: Exchange/Account/GetLiquidations": m.Liquidations,
    "ticker: fetch_ticker": m.Markets,
    "trades: parse_trade": m.TradeRow,
    "transfers: fetch_deposits": m.Deposits,
    "transfers: Exchange/Account/GetDepositHistory": m.Deposits,
    "transfers: Exchange/Account/GetWithdrawHistory": m.Withdrawals,
    "transfers: fetch_withdrawals": m.Withdrawals,
}
BY_FILE = {
    "account": m.Accounts,
    "candles": m.Candles,
    "fills": m.Trades,
    "funding_history": m.Fundings,
    "funding_rate": m.FundingRates,
    "order_ack": m.Sent,
    "orderbook": m.RestingOrders,
    "orders": m.Orders,
    "positions": m.Accounts,
    "status": m.Status,
    "trades": m.Trades,
}
NOT_OURS = {
    "error: trading_rules_request_erroneous_mock_response": "another project's mock of a broken answer",
    "orderbook: order_book_depth": "no endpoint of the venue answers so",
    "other: Exchange/ExchangeData/GetLayer1BasicInfo": "the settlement chain: nothing here reads it",
}


def rest_type(name: str, payload: dict[str, Any]) -> type | None:
    if name in NOT_OURS:
        return None
    if name == "ticker: parse_ticker":
        return m.Market if "min_base_amount" in payload else m.MarketStats
    if name == "transfers: parse_transaction":
        return m.Transfer
    return REST.get(name) or BY_FILE[name.split(":")[0]]


def test_every_answer_decodes_and_no_field_is_lost(payloads: Path) -> None:
    counts: Counter[str] = Counter()
    lost: list[str] = []
    for name, record in records(payloads, "rest"):
        if record["direction"] == "request":
            counts["requests"] += 1
            continue
        payload = record["payload"]
        kind = rest_type(name, payload)
        if kind is None:
            counts["not ours"] += 1
            continue
        msgspec.json.decode(msgspec.json.encode(payload), type=kind, strict=False)
        lost += [f"{record['id']} {path}" for path in unread(kind, payload)]
        counts[kind.__name__] += 1
    assert not lost, "\n".join(lost)
    assert counts == {
        "AccountLimits": 2, "SubAccounts": 2, "Accounts": 4, "ApiKeys": 1, "Candlesticks": 1, "Candles": 1, "Trades": 4, "TradeRow": 1,
        "Payments": 1, "Fundings": 2, "FundingRates": 2, "FundingRate": 1, "Assets": 2, "Sent": 1, "RestingOrders": 3, "Markets": 2,
        "MarketList": 2, "Orders": 4, "OrderRow": 1, "ExchangeStats": 1, "PositionRow": 1, "Liquidations": 1, "Status": 1, "Market": 1,
        "MarketStats": 1, "Deposits": 2, "Withdrawals": 2, "Transfer": 2, "not ours": 3, "requests": 7,
    }  # fmt: skip


# Frames that yield nothing, and why.
UNREAD_FRAMES = {
    "account: handle_balance": "account_all_assets is not subscribed: user_stats has the balance",
    "account: account_all_assets_update": "not subscribed",
    "account: account_all_assets_with_position": "not subscribed",
    "account: account_all_assets:1234:handle_frame_account_assets_invalid_timestamp_returns_empty": "not subscribed",
    "orderbook: test_parse_order_book_and_trade_messages.snapshot_message": "invented by a test: no type",
    "ticker: Exchange/SpotTicker": "spot",
    "ticker: spot_market_stats_subscribed_single": "spot",
    "ticker: spot_market_stats_update_all": "spot",
    "ticker: spot_market_stats_update_single": "spot",
    "ticker: test_parse_funding_info_message_uses_nested_market_stats_payload.raw_message": "invented by a test: no type",
    "trades: test_parse_order_book_and_trade_messages.trade_message": "invented by a test: no type",
}


def test_every_frame_decodes_and_no_field_is_lost(payloads: Path) -> None:
    counts: Counter[str] = Counter()
    lost: list[str] = []
    for name, record in records(payloads, "ws"):
        payload = record["payload"]
        frame = m.decode_frame(json.dumps(payload))
        counts[type(frame).__name__] += 1
        if name in UNREAD_FRAMES:
            assert isinstance(frame, m.Loose)
            assert (frame.error, frame.tx_hash) == (None, "")
            counts["yield nothing"] += 1
            continue
        lost += [f"{record['id']} {path}" for path in unread(type(frame), payload)]
        if isinstance(frame, m.MarketStatsFrame):
            rows = payload["market_stats"]
            lost += unread(m.MarketStats, rows if "market_id" in rows else list(rows.values()))
            decode = m.decode_stats if "market_id" in rows else m.decode_all_stats
            assert decode(frame.market_stats)
    assert not lost, "\n".join(lost)
    assert counts == {
        "Loose": 14, "yield nothing": 11, "StatsFrame": 1, "CandlesFrame": 2, "FillsUpdate": 1, "FillsFrame": 1, "BookUpdate": 3,
        "BookSnapshot": 3, "MarketOrdersUpdate": 1, "OrdersUpdate": 1, "PositionsUpdate": 1, "Connected": 1, "MarketStatsUpdate": 2,
        "MarketStatsFrame": 1, "Ticker": 2, "TickerUpdate": 3, "TradesFrame": 1, "TradesUpdate": 3,
    }  # fmt: skip


@pytest.mark.parametrize("data", ['{"type":"update/order_book"}', '{"type":"update/trade","channel":5}', "[]", "", "{", '"x"', b"\xff\xfe"])
def test_broken_frames_are_decode_errors(data: str | bytes) -> None:
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
        m.decode_frame(data)


def eth(payloads: Path) -> Instrument:
    record = next(r for name, r in records(payloads, "rest") if name == "orderbook: order_book_details")
    (market,) = msgspec.json.decode(msgspec.json.encode(record["payload"]), type=m.Markets, strict=False).order_book_details
    return converters.instrument(market)


def test_every_row_converts(payloads: Path) -> None:
    """What decodes also converts, into the stated number of events."""
    instrument = eth(payloads)
    counts: Counter[str] = Counter()
    for name, record in records(payloads, "rest"):
        if record["direction"] == "request" or (kind := rest_type(name, record["payload"])) is None:
            continue
        value: Any = msgspec.json.decode(msgspec.json.encode(record["payload"]), type=kind, strict=False)
        match value:
            case m.Orders(orders=rows):
                counts["orders"] += len([converters.order(row, instrument) for row in rows])
            case m.Trades(trades=rows):
                counts["trades"] += len([converters.trade(row, instrument) for row in rows])
                counts["fills"] += len(converters.fills(rows, lambda _: instrument, 1077))
            case m.RestingOrders():
                book = converters.book(value, instrument, 5, 1)
                counts["levels"] += len(book.bids) + len(book.asks)
            case m.Fundings(fundings=rows):
                counts["settled"] += len([converters.funding_settled(row, instrument) for row in rows])
            case m.FundingRates(funding_rates=rows):
                counts["listed"] += len([converters.funding_listed(row, instrument, 0) for row in rows])
            case m.Payments(position_fundings=rows):
                counts["payments"] += len([converters.funding_payment(row, instrument) for row in rows])
            case m.Candles(c=rows):
                counts["candles"] += len([converters.candle(row, instrument, "1m", closed=True) for row in rows])
            case m.Markets(order_book_details=rows):
                counts["markets"] += len([converters.ticker(row, converters.instrument(row), 0) for row in rows])
            case m.MarketList(order_books=rows):
                counts["markets"] += len([converters.instrument(row) for row in rows])
            case m.Accounts(accounts=rows):
                counts["accounts"] += len([converters.account(row, 0) for row in rows])
                positions = [
                    converters.position(p, instrument, 0, margin_percent=p.initial_margin_fraction) for r in rows for p in r.positions
                ]
                counts["positions"] += len(positions)
                assert all(p.quantity.is_finite() and isinstance(p.leverage, Decimal) for p in positions)
            case m.AccountLimits():
                counts["fees"] += len([converters.fee_rates(value)])
            case _:
                counts["other"] += 1
    assert counts == {
        "orders": 4, "trades": 4, "fills": 1, "levels": 6, "settled": 3, "listed": 3, "payments": 1, "candles": 2, "markets": 4,
        "accounts": 5, "positions": 3, "fees": 2, "other": 22,
    }  # fmt: skip
