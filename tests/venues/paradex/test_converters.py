"""The venue's words turned into ours: how orders end, errors, funding, positions, units."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from exchange_clients.errors import (
    ApiError,
    BadSignature,
    DecodeError,
    DuplicateClientOrderId,
    InsufficientMargin,
    InvalidOrder,
    MarketClosed,
    MinNotional,
    OrderNotFound,
    OrderRefused,
    Outcome,
    PermissionDenied,
    PostOnlyWouldCross,
    PriceOutOfBand,
    RateLimited,
    ReduceOnlyViolation,
    RequestRefused,
    TokenRefused,
    TooManyOrders,
    VenueError,
    VenuePaused,
    VenueUnavailable,
    classify,
)
from exchange_clients.model import NS_PER_MS, FillKind, Instrument, InstrumentId, Liquidity, OrderStatus, OrderType, RateKind, TimeInForce
from exchange_clients.paradex import SPEC, sbe
from exchange_clients.paradex import messages as m
from exchange_clients.paradex.client.utils import converters as c
from exchange_clients.paradex.common import ERRORS, get_paradex_symbol_format, normalize_symbol, read_error
from exchange_clients.paradex.websocket.connection import rpc_error

D = Decimal


def instrument(base: str = "BTC", multiplier: int = 1, hours: int = 8) -> Instrument:
    name = f"{'k' if multiplier == 1000 else ''}{base}-USD-PERP"
    return Instrument(
        id=InstrumentId(base, "USD", "paradex"),
        venue_symbol=name,
        contract_id=name,
        settle="USDC",
        tick_size=D("0.1"),
        step_size=D("0.00001"),
        min_quantity=D("0.00001"),
        multiplier=D(multiplier),
        contract_size=D(multiplier),
        funding_interval_hours=D(hours),
    )


# ---- errors: the dossier's catalogue, each code to one class

CATALOGUE: dict[type[VenueError], tuple[str, ...]] = {
    RequestRefused: (
        "VALIDATION_ERROR",
        "BINDING_ERROR",
        "INVALID_REQUEST_PARAMETER",
        "INVALID_SYMBOL",
        "INVALID_TIMESTAMP",
        "BATCH_SIZE_OUT_OF_RANGE",
        "-32700",
        "-32600",
        "-32601",
        "-32602",
    ),
    InvalidOrder: ("INVALID_ORDER_SIZE", "INVALID_PRICE_PRECISION"),
    TokenRefused: ("INVALID_TOKEN", "UNAUTHORIZED_ERROR", "40110", "40111"),
    PermissionDenied: (
        "NOT_ONBOARDED",
        "ACCOUNT_NOT_FOUND",
        "PUBLIC_KEY_INVALID",
        "INVALID_STARKNET_ADDRESS",
        "INVALID_SUBKEY",
        "IP_NOT_ALLOWED",
        "GEO_IP_BLOCK",
        "40112",
        "40300",
        "RPI_ACCOUNT_NOT_WHITELISTED",
    ),
    BadSignature: ("INVALID_STARKNET_SIGNATURE", "STARKNET_SIGNATURE_VERIFICATION_FAILED", "INVALID_ORDER_SIGNATURE"),
    OrderNotFound: ("ORDER_ID_NOT_FOUND", "CLIENT_ORDER_ID_NOT_FOUND", "NOT_FOUND", "ORDER_IS_CLOSED", "ORDER_IS_NOT_OPEN"),
    DuplicateClientOrderId: ("DUPLICATED_CLIENT_ID",),
    MarketClosed: ("MARKET_NOT_OPEN", "MARKET_NOT_FOUND", "NO_ACCESS_TO_MARKET", "MARKET_MARGIN_RESTRICTED"),
    VenuePaused: ("SYSTEM_STATUS_POST_ONLY", "SYSTEM_STATUS_CANCEL_ONLY"),
    VenueUnavailable: ("SERVICE_UNAVAILABLE", "INTERNAL_ERROR", "-32603"),
    OrderRefused: ("ISOLATED_MARKET_ACCOUNT_MISMATCH", "ORDER_EXCEEDS_POSITION_LIMIT"),
    RateLimited: ("42901",),
    InsufficientMargin: ("NOT_ENOUGH_MARGIN",),
    PostOnlyWouldCross: ("POST_ONLY_WOULD_CROSS",),
    MinNotional: ("ORDER_SIZE_BELOW_MIN",),
}
UNKNOWN = (RateLimited, VenueUnavailable)


@pytest.mark.parametrize(("code", "kind"), [(code, kind) for kind, codes in CATALOGUE.items() for code in codes])
def test_every_wire_error_has_one_class(code: str, kind: type[VenueError]) -> None:
    body = json.dumps({"error": code, "message": "words", "data": None}).encode()
    found = read_error(400, body)
    assert found == (code, "words")
    error = classify(ERRORS, venue="paradex", code=code, message="words", http_status=400)
    assert type(error) is kind
    assert (error.outcome is Outcome.UNKNOWN) == (kind in UNKNOWN)
    if code.lstrip("-").isdigit():
        told: VenueError = rpc_error(m.RpcError(int(code), "words"))
    else:
        told = rpc_error(m.RpcError(100, "words", code))
    assert type(told) is kind, "the same on a socket"


def test_the_catalogue_is_all_that_the_spec_knows() -> None:
    codes = {code for codes in CATALOGUE.values() for code in codes}
    others = {code for code in ERRORS if code not in codes}
    assert others == {
        "INVALID_TOKEN_SCOPE",
        "REQUEST_NOT_ALLOWED",
        "missing or malformed jwt",
        "max_open_orders",
        "reduce_only",
        "price_band",
        "no_liquidity",
        "market_state",
    }


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, b'{"message":"missing or malformed jwt"}', TokenRefused),
        (401, b"unauthorized", TokenRefused),
        (401, b'{"error":"INVALID_TOKEN","message":"x"}', TokenRefused),
        (401, b"<html>unauthorized</html>", ApiError),
        (429, b'{"error":"TOO_MANY","message":"DUPLICATED_CLIENT_ID"}', RateLimited),
        (503, b"<html>", VenueUnavailable),
        (502, b'{"error":"NOT_FOUND_IN_THE_TABLE","message":"x"}', VenueUnavailable),
        (400, b"<html>bad</html>", ApiError),
        (404, b"404 page not found", ApiError),
        (404, b'{"error":"NOT_FOUND","message":"no such order"}', OrderNotFound),
        (403, b'{"error":"GEO_IP_BLOCK","message":"x"}', PermissionDenied),
    ],
)
def test_answers_by_status(status: int, body: bytes, kind: type[VenueError]) -> None:
    found = read_error(status, body)
    assert found is not None
    assert type(classify(ERRORS, venue="paradex", code=found[0], message=found[1], http_status=status)) is kind


def test_a_success_is_no_error_and_an_unknown_code_proves_nothing() -> None:
    assert read_error(201, b'{"error":"x","message":"y"}') is None
    error = classify(ERRORS, venue="paradex", code="SOMETHING_NEW", message="new", http_status=400)
    assert (type(error).__name__, error.outcome) == ("ApiError", Outcome.UNKNOWN)


def test_the_recorded_errors(payloads: Path) -> None:
    record = json.loads((payloads / "paradex/rest/error.jsonl").read_text())
    found = read_error(400, json.dumps(record["payload"]).encode())
    assert found is not None
    assert type(classify(ERRORS, venue="paradex", code=found[0], message=found[1])) is PermissionDenied
    frame = m.decode_text(json.dumps(json.loads((payloads / "paradex/ws/error.jsonl").read_text())["payload"]))
    error = rpc_error(frame.error)
    assert (type(error), error.message) == (RequestRefused, "invalid subscribe request: invalid channel")


# ---- how orders stand and end


def order(status: str, reason: str = "", left: str = "1", **more: Any) -> Any:
    row = m.Order("7", "BTC-USD-PERP", "BUY", "LIMIT", D(1), status, remaining_size=D(left), cancel_reason=reason, price="50000")
    return c.order(msgspec.structs.replace(row, **more), instrument())


@pytest.mark.parametrize(
    ("status", "reason", "left", "expected"),
    [
        ("NEW", "", "1", OrderStatus.SUBMITTED),
        ("UNTRIGGERED", "", "1", OrderStatus.PENDING),
        ("OPEN", "", "1", OrderStatus.OPEN),
        ("OPEN", "", "0.4", OrderStatus.PARTIALLY_FILLED),
        ("CLOSED", "", "0", OrderStatus.FILLED),
        ("CLOSED", "", "1", OrderStatus.CANCELED),
        ("CLOSED", "NOT_ENOUGH_MARGIN", "1", OrderStatus.REJECTED),
        ("CLOSED", "NOT_ENOUGH_MARGIN", "0.5", OrderStatus.CANCELED),
        ("CLOSED", "POST_ONLY_WOULD_CROSS", "1", OrderStatus.REJECTED),
        ("CLOSED", "ORDER_EXCEEDS_POSITION_LIMIT", "1", OrderStatus.REJECTED),
        ("CLOSED", "EXCEEDS_MAX_OPEN_ORDERS", "1", OrderStatus.REJECTED),
        ("CLOSED", "ORDER_SIZE_BELOW_MIN", "1", OrderStatus.REJECTED),
        ("CLOSED", "SOMETHING_NEW", "1", OrderStatus.REJECTED),
        ("CLOSED", "SOMETHING_NEW", "0.9", OrderStatus.CANCELED),
        ("CLOSED", "USER_CANCELED", "1", OrderStatus.CANCELED),
        ("CLOSED", "MMP_TRIGGERED", "1", OrderStatus.CANCELED),
        ("CLOSED", "CANCEL_ON_DISCONNECT", "1", OrderStatus.CANCELED),
        ("CLOSED", "STP_EXPIRE_TAKER", "1", OrderStatus.CANCELED),
        ("CLOSED", "IOC_REMAINDER", "0.5", OrderStatus.CANCELED),
        ("CLOSED", "ORDER_EXPIRED", "1", OrderStatus.EXPIRED),
        ("CLOSED", "MARKET_SETTLED", "1", OrderStatus.EXPIRED),
        ("SOMETHING", "", "1", OrderStatus.UNKNOWN),
    ],
)
def test_order_states(status: str, reason: str, left: str, expected: OrderStatus) -> None:
    info = order(status, reason, left)
    assert info.status is expected
    assert info.filled_size == 1 - D(left)
    assert info.cancel_reason == (reason or None)


def test_an_end_with_a_reason_and_nothing_left_needs_a_price_to_be_a_fill() -> None:
    whole = order("CLOSED", "NOT_ENOUGH_MARGIN", "0", avg_fill_price="50000")
    assert (whole.status, whole.filled_size) == (OrderStatus.FILLED, D(1))
    for nothing in ("", "0"):
        odd = order("CLOSED", "USER_CANCELED", "0", avg_fill_price=nothing)
        assert (odd.status, odd.filled_size) == (OrderStatus.UNKNOWN, D(0))


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("NOT_ENOUGH_MARGIN", InsufficientMargin),
        ("POST_ONLY_WOULD_CROSS", PostOnlyWouldCross),
        ("REDUCE_ONLY_WOULD_INCREASE", ReduceOnlyViolation),
        ("EXCEEDS_MAX_OPEN_ORDERS", TooManyOrders),
        ("PRICE_BAND_BREACHED", PriceOutOfBand),
        ("INVALID_MARKET_STATE", MarketClosed),
        ("ORDER_SIZE_BELOW_MIN", MinNotional),
    ],
)
def test_reasons_are_classified(reason: str, kind: type[VenueError]) -> None:
    assert type(classify(ERRORS, venue="paradex", code=reason, message=reason)) is kind


def test_order_fields() -> None:
    info = order("OPEN", instruction="POST_ONLY", flags=["REDUCE_ONLY"], client_id="x1", created_at=5, last_updated_at=6, avg_fill_price="")
    assert (info.post_only, info.reduce_only, info.client_order_id, info.average_price) == (True, True, "x1", None)
    assert (info.created_ns, info.updated_ns, info.price) == (5 * NS_PER_MS, 6 * NS_PER_MS, D(50000))
    stop = order("UNTRIGGERED", type="STOP_LOSS_MARKET", price="0", trigger_price="49000.5", flags='["REDUCE_ONLY"]')
    assert (stop.order_type, stop.price, stop.trigger_price, stop.reduce_only) == (OrderType.STOP_MARKET, None, D("49000.5"), True)
    assert order("OPEN", instruction="IOC").time_in_force is TimeInForce.IOC
    assert order("OPEN", trigger_price="0").trigger_price is None
    for wrong in ({"type": "ICEBERG"}, {"side": "LONG"}, {"remaining_size": D(2)}, {"price": "abc"}, {"remaining_size": D("NaN")}):
        with pytest.raises(DecodeError):
            order("OPEN", **wrong)


def test_a_thousand_counts_in_tokens() -> None:
    pepe = instrument("PEPE", 1000)
    row = m.Order("7", "kPEPE-USD-PERP", "SELL", "LIMIT", D(5), "OPEN", remaining_size=D(3), price="0.02")
    info = c.order(row, pepe)
    assert (info.size, info.remaining_size, info.filled_size, info.price) == (D(5000), D(3000), D(2000), D("0.00002"))
    fill = c.fill(m.Fill("1", "kPEPE-USD-PERP", "SELL", D("0.02"), D(2), 1, liquidity="MAKER", fee=D("-0.1")), pepe)
    assert (fill.quantity, fill.price, fill.liquidity, fill.fee, fill.fee_asset) == (
        D(2000),
        D("0.00002"),
        Liquidity.MAKER,
        D("-0.1"),
        "USDC",
    )
    assert (normalize_symbol("kPEPE-USD-PERP"), normalize_symbol("BTC-USD-PERP")) == ("PEPE", "BTC")
    assert (get_paradex_symbol_format("PEPE", thousand=True), get_paradex_symbol_format("BTC")) == ("kPEPE-USD-PERP", "BTC-USD-PERP")


@pytest.mark.parametrize(
    ("word", "number", "kind"),
    [
        ("FILL", 1, FillKind.TRADE),
        ("LIQUIDATION", 2, FillKind.LIQUIDATION),
        ("UNWIND_TRANSFER", 3, FillKind.ADL),
        ("SETTLE_MARKET", 4, FillKind.SETTLEMENT),
        ("RPI", 5, FillKind.TRADE),
        ("BLOCK_TRADE", 6, FillKind.TRADE),
    ],
)
def test_kinds_of_fills_and_trades(word: str, number: int, kind: FillKind) -> None:
    assert c.fill(m.Fill("1", "BTC-USD-PERP", "BUY", D(1), D(1), 1, fill_type=word), instrument()).kind is kind
    assert c.streamed_trade(sbe.Trade("BTC-USD-PERP", "1", 2, 10**8, 10**8, 1, number), instrument()).kind is kind


# ---- positions and the account


def position(side: str, size: str, **more: Any) -> Any:
    row = msgspec.structs.replace(m.Position("BTC-USD-PERP", side, D(size), average_entry_price="50000"), **more)
    return c.position(row, instrument(), 9, D(50100))


def test_positions_are_signed_by_their_side() -> None:
    assert position("LONG", "0.5").quantity == D("0.5")
    assert position("SHORT", "-0.5").quantity == D("-0.5")
    assert position("SHORT", "0.5").quantity == D("-0.5"), "absolute, as SBE has it"
    assert position("LONG", "0", status="CLOSED").quantity == 0
    assert (position("LONG", "0.5").mark_price, position("LONG", "0.5", mark_price="7").mark_price) == (50100, 7)
    assert position("", "0", status="CLOSED").quantity == 0, "flat has no side"
    assert position("", "0").quantity == 0
    for side, size in (("LONG", "-0.5"), ("", "1"), ("BUY", "1"), ("LONG", "NaN")):
        with pytest.raises(DecodeError):
            position(side, size)


def test_empty_figures_of_a_position_are_none() -> None:
    found = position("LONG", "1", liquidation_price="", leverage=None)
    assert (found.liquidation_price, found.leverage, found.unrealized_pnl, found.cumulative_funding) == (None, None, None, None)
    told = position("LONG", "1", realized_positional_funding_pnl="-2", unrealized_funding_pnl="0.5")
    assert told.cumulative_funding == D("-1.5"), "received is positive"


# ---- funding: sign, unit, interval, next time


def test_a_recorded_rate(payloads: Path) -> None:
    """TRUMP, February 2026: -0.00014969570582 for eight hours: shorts pay."""
    row = json.loads((payloads / "paradex/ws/funding_rate.jsonl").read_text().splitlines()[1])["payload"]
    sample = c.funding_past(msgspec.convert(row, m.Funding, strict=False), instrument("TRUMP"))
    assert (sample.raw_rate, sample.interval_hours, sample.kind) == (D("-0.00014969570582"), D(8), RateKind.SETTLED)
    assert sample.hourly_rate == D("-0.00014969570582") / 8
    assert sample.normalized_rate == D("-0.00014969570582")
    assert (sample.next_funding_time, sample.settled_at) == (None, 1771506636154 * NS_PER_MS)
    assert sample.metadata["funding_index"] == "-0.551694014226244835"


def test_a_payment_is_what_the_venue_recorded() -> None:
    """The official specification's example: received is positive; there is neither a rate nor a size in it."""
    row = {"id": "1681375578221101699352320000", "market": "BTC-USD-PERP", "payment": "34.4490622", "index": "-2819.53434361"}
    found = c.funding_payment(msgspec.convert({**row, "created_at": 1681375481000}, m.FundingPayment), instrument())
    assert (found.amount, found.asset, found.rate, found.position_quantity) == (D("34.4490622"), "USDC", None, None)
    assert (found.payment_id, found.ts_venue_ns) == (row["id"], 1681375481000 * NS_PER_MS)


def test_the_documentations_worked_example_of_accrual() -> None:
    """Rate 0.0003, spot 60,000, half a bitcoin long for 60 s: the index rises by 0.0375, the position loses 0.01875."""
    rate, spot, period_s = D("0.0003"), D(60_000), 8 * 3600
    rows = [m.Funding("BTC-USD-PERP", rate, at * 1000, funding_index=str(rate * spot * at / period_s)) for at in (0, 60)]
    before, after = (D(c.funding_past(row, instrument()).metadata["funding_index"]) for row in rows)
    assert after - before == D("0.0375")
    assert -D("0.5") * (after - before) == D("-0.01875")


@pytest.mark.parametrize(("hours", "told", "expected"), [(8, 0, 8), (1, 0, 1), (8, 4, 4), (4, None, 4)])
def test_the_period_is_the_markets_own(hours: int, told: int | None, expected: int) -> None:
    market = instrument(hours=hours)
    row = m.Funding("BTC-USD-PERP", D("0.0001"), 1, funding_period_hours=None if told is None else D(told))
    assert c.funding_past(row, market).interval_hours == expected
    streamed = c.streamed_funding(sbe.Funding("BTC-USD-PERP", 10000, 0, 1, 0, 0, told or 0), market)
    assert streamed is not None
    assert (streamed.raw_rate, streamed.interval_hours, streamed.next_funding_time) == (D("0.0001"), D(expected), None)
    now = c.funding_now(m.Summary("BTC-USD-PERP", funding_rate="0.0001"), market)
    assert now is not None
    assert (now.interval_hours, now.next_funding_time) == (D(hours), None)


def test_volume_is_that_of_a_day_and_open_interest_in_dollars() -> None:
    row = m.Summary("BTC-USD-PERP", mark_price="50000", volume_24h="12", total_volume="99999", open_interest="3", funding_rate="")
    found = c.ticker(row, instrument(), 1)
    assert (found.volume_24h, found.open_interest, found.last, found.index) == (D(12), D(150_000), None, None)
    assert c.funding_now(row, instrument()) is None
    assert c.ticker(msgspec.structs.replace(row, volume_24h=""), instrument(), 1).volume_24h is None, "never the volume of its life"


def test_the_spec_has_what_the_design_names() -> None:
    variables = [item.variable for item in SPEC.credentials]
    assert variables == [f"PARADEX{{env}}_{name}" for name in ("L2_PRIVATE_KEY", "L1_ADDRESS", "L2_ADDRESS", "L1_PRIVATE_KEY")]
    assert SPEC.credentials[0].aliases == ("PARADEX{env}_L2_PRIVATE_KEY_HEX",)
    assert SPEC.funding_interval_hours is None
    assert not SPEC.capabilities.dead_man_switch, "cancel-on-disconnect is no switch with a time"
