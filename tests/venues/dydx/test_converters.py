"""Wire to domain, piece by piece: grids, statuses, funding, fees, leverage; and the catalogue of refusals."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange_clients.dydx import SPEC, chain, get_dydx_symbol_format, normalize_symbol
from exchange_clients.dydx import messages as m
from exchange_clients.dydx.chain import MarketDiscount
from exchange_clients.dydx.client.utils import converters as c
from exchange_clients.dydx.client.utils.helpers import Grid, iso_of, ns_of, seconds_after
from exchange_clients.dydx.common import ERRORS, read_error
from exchange_clients.errors import (
    BadSignature,
    DecodeError,
    InsufficientMargin,
    InvalidOrder,
    NotReady,
    OrderDenied,
    OrderRefused,
    Outcome,
    PostOnlyWouldCross,
    RateLimited,
    classify,
)
from exchange_clients.model import (
    NS_PER_HOUR,
    NS_PER_S,
    FillKind,
    Instrument,
    MarginMode,
    MarketStatus,
    OrderStatus,
    OrderType,
    Position,
    RateKind,
    Side,
)

D = Decimal
BTC: dict[str, Any] = {
    "clobPairId": "0", "ticker": "BTC-USD", "status": "ACTIVE", "oraclePrice": "89919.2", "priceChange24H": "701.10762",
    "volume24H": "247500844.6834", "trades24H": 63065, "nextFundingRate": "0.00000254545454545455", "initialMarginFraction": "0.02",
    "maintenanceMarginFraction": "0.012", "openInterest": "381.7348", "atomicResolution": -10, "quantumConversionExponent": -9,
    "tickSize": "1", "stepSize": "0.0001", "stepBaseQuantums": 1000000, "subticksPerTick": 100000, "marketType": "CROSS",
    "openInterestLowerCap": "0", "openInterestUpperCap": "0", "baseOpenInterest": "782.0931", "defaultFundingRate1H": "0",
}  # fmt: skip
"""A capture of 2025-12-08."""
ISOLATED: dict[str, Any] = {
    **BTC, "clobPairId": "901", "ticker": "BUFFI,UNISWAP_V3,0X4C1B1302220D7DE5C22B495E78B72F2DD2457D45-USD", "oraclePrice": None,
    "marketType": "ISOLATED", "initialMarginFraction": "0.2", "maintenanceMarginFraction": "0.1", "defaultFundingRate1H": "0.0000125",
    "openInterestLowerCap": "20000000", "openInterestUpperCap": "50000000", "volume24H": None, "nextFundingRate": "0.0000125",
}  # fmt: skip


def market(row: dict[str, Any] = BTC, **changed: Any) -> m.Market:
    return msgspec.convert({**row, **changed}, m.Market, strict=False)


@pytest.fixture
def btc() -> Instrument:
    return c.instrument(market())


def order_row(**fields: Any) -> m.OrderRow:
    row = {
        "id": "0f0981cb-152e-57d3-bea9-4d8e0dd5ed35", "clientId": "1700756032", "clobPairId": "0", "side": "BUY", "size": "0.5",
        "totalFilled": "0", "price": "90000", "type": "LIMIT", "status": "OPEN", "timeInForce": "GTT", "reduceOnly": False,
        "orderFlags": "64", "goodTilBlockTime": "2026-01-01T00:00:00.000Z", "postOnly": False, "ticker": "BTC-USD",
    }  # fmt: skip
    return msgspec.convert({**row, **fields}, m.OrderRow, strict=False)


# ---- a fixture for every market type


def test_a_cross_market(btc: Instrument) -> None:
    assert str(btc.id) == "BTC-USD-PERP.dydx"
    assert (btc.contract_id, btc.settle, btc.tick_size, btc.step_size, btc.min_quantity) == (
        "BTC-USD",
        "USDC",
        D(1),
        D("0.0001"),
        D("0.0001"),
    )
    assert (btc.max_leverage, btc.maintenance_margin, btc.only_isolated, btc.tradable) == (D(50), D("0.012"), False, True)
    assert btc.funding_cap == D("0.006"), "0.6 % an hour"
    grid = Grid.of(market())
    assert (grid.tick, grid.step) == (btc.tick_size, btc.step_size)


def test_an_isolated_market_of_a_pool_without_an_oracle_price() -> None:
    found = c.instrument(market(ISOLATED))
    assert str(found.id) == "BUFFI-USD-PERP.dydx"
    assert found.contract_id == ISOLATED["ticker"]
    assert found.only_isolated
    ticker = c.ticker(market(ISOLATED), found, 1)
    assert (ticker.mark, ticker.open_interest, ticker.volume_24h) == (None, None, None)


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("ACTIVE", MarketStatus.ACTIVE),
        ("PAUSED", MarketStatus.HALTED),
        ("CANCEL_ONLY", MarketStatus.CANCEL_ONLY),
        ("POST_ONLY", MarketStatus.POST_ONLY),
        ("INITIALIZING", MarketStatus.POST_ONLY),
        ("FINAL_SETTLEMENT", MarketStatus.DELISTED),
        ("SOMETHING_NEW", MarketStatus.UNKNOWN),
    ],
)
def test_market_status(word: str, status: MarketStatus) -> None:
    assert c.instrument(market(status=word)).status is status


def test_symbols_go_both_ways() -> None:
    assert normalize_symbol("BTC-USD") == "BTC"
    assert normalize_symbol(ISOLATED["ticker"]) == "BUFFI"
    assert get_dydx_symbol_format("ETH") == "ETH-USD"


# ---- units


@pytest.mark.parametrize(("size", "quantums"), [("0.0003", 3_000_000), ("0.57", 5_700_000_000), ("0.01", 100_000_000)])
def test_sizes_are_exact_where_floats_are_not(size: str, quantums: int) -> None:
    assert Grid.of(market()).quantums(D(size)) == quantums


@pytest.mark.parametrize(
    ("ar", "qce", "tick", "step", "sbq", "spt"),
    [(-10, -9, "1", "0.0001", 10**6, 10**5), (-9, -9, "0.1", "0.001", 10**6, 10**5), (-7, -9, "0.01", "0.1", 10**6, 10**6)],
)
def test_real_grids_agree_with_their_ticks(ar: int, qce: int, tick: str, step: str, sbq: int, spt: int) -> None:
    grid = Grid(0, ar, qce, sbq, spt)
    assert (grid.tick, grid.step) == (D(tick), D(step))


@given(st.integers(1, 10**9), st.integers(1, 10**9))
def test_units_come_back(steps: int, ticks: int) -> None:
    grid = Grid.of(market())
    size, price = grid.step * steps, grid.tick * ticks
    assert (grid.size(grid.quantums(size)), grid.price(grid.subticks(price))) == (size, price)


@pytest.mark.parametrize("value", ["0", "-1", "0.00005", "1.00001", "1e20"])
def test_what_is_off_the_grid_is_denied(value: str) -> None:
    with pytest.raises(OrderDenied):
        Grid.of(market()).quantums(D(value))


def test_times() -> None:
    assert ns_of("2025-12-08T16:11:30.590Z") == 1_765_210_290_590_000_000
    assert iso_of(1_765_210_290_590_000_000) == "2025-12-08T16:11:30.590Z"
    assert seconds_after(1_500_000_000) == 2
    for wrong in ("", "yesterday", "2025-12-08T16:11:30.590"):
        with pytest.raises(DecodeError):
            ns_of(wrong)


# ---- funding: sign, unit, interval, next time


def test_the_running_rate_is_per_hour_and_charged_at_the_next_hour(btc: Instrument) -> None:
    now_ns = ns_of("2025-12-08T16:11:56.125Z")
    sample = c.funding_now(market().nextFundingRate, btc, now_ns)
    assert sample is not None
    assert (sample.raw_rate, sample.interval_hours, sample.kind) == (D("0.00000254545454545455"), D(1), RateKind.PREDICTED)
    assert sample.normalized_rate == 8 * sample.raw_rate
    assert sample.next_funding_time == ns_of("2025-12-08T17:00:00.000Z")
    assert sample.cap == D("0.006")


def test_a_recorded_settled_rate(btc: Instrument) -> None:
    """Captured 2025-12-08: effective at the hour, positive, so longs pay."""
    row = m.FundingRow("BTC-USD", D("0.000002375"), "2025-12-08T16:00:00.219Z", D("89993.8"), "66622979")
    sample = c.funding_settled(row, btc)
    assert (sample.raw_rate, sample.interval_hours, sample.kind) == (D("0.000002375"), D(1), RateKind.SETTLED)
    assert sample.settled_at == ns_of("2025-12-08T16:00:00.219Z")
    assert sample.settled_at - NS_PER_S < (sample.settled_at // NS_PER_HOUR) * NS_PER_HOUR


def test_a_recorded_payment(btc: Instrument) -> None:
    """A long half a bitcoin pays a positive rate: the venue says a negative payment, and so do we."""
    row = msgspec.convert(
        {
            "createdAt": "2025-12-08T16:00:00.219Z", "createdAtHeight": "66622979", "perpetualId": "0", "ticker": "BTC-USD",
            "oraclePrice": "89993.8", "size": "0.5", "side": "LONG", "rate": "0.000002375", "payment": "-0.1068",
            "subaccountNumber": "0", "fundingIndex": "1234",
        },
        m.PaymentRow,
        strict=False,
    )  # fmt: skip
    payment = c.funding_payment(row, btc)
    assert (payment.amount, payment.asset, payment.position_quantity) == (D("-0.1068"), "USDC", D("0.5"))
    assert payment.rate is not None
    assert payment.amount == pytest.approx(-D("0.5") * D("89993.8") * payment.rate, abs=D("0.001"))
    short = c.funding_payment(msgspec.structs.replace(row, side="SHORT", payment=D("0.1068")), btc)
    assert (short.amount, short.position_quantity) == (D("0.1068"), D("-0.5"))


# ---- orders


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"status": "BEST_EFFORT_OPENED", "orderFlags": "0"}, OrderStatus.OPEN),
        ({"status": "BEST_EFFORT_OPENED", "orderFlags": "0", "totalFilled": "0.2"}, OrderStatus.PARTIALLY_FILLED),
        ({"status": "OPEN"}, OrderStatus.OPEN),
        ({"status": "OPEN", "totalFilled": "0.2"}, OrderStatus.PARTIALLY_FILLED),
        ({"status": "UNTRIGGERED", "orderFlags": "32"}, OrderStatus.PENDING),
        ({"status": "FILLED", "totalFilled": "0.5"}, OrderStatus.FILLED),
        ({"status": "CANCELED"}, OrderStatus.CANCELED),
        ({"status": "BEST_EFFORT_CANCELED", "orderFlags": "0"}, OrderStatus.OPEN),
        ({"status": "BEST_EFFORT_CANCELED", "orderFlags": "0", "removalReason": "USER_CANCELED"}, OrderStatus.OPEN),
        ({"status": "BEST_EFFORT_CANCELED", "orderFlags": "0", "removalReason": "USER_CANCELED", "totalFilled": "0.1"},
         OrderStatus.PARTIALLY_FILLED),
        ({"status": "BEST_EFFORT_CANCELED", "orderFlags": "0", "removalReason": "INDEXER_EXPIRED"}, OrderStatus.OPEN),
        ({"status": "BEST_EFFORT_CANCELED", "orderFlags": "0", "removalReason": "IMMEDIATE_OR_CANCEL_WOULD_REST_ON_BOOK"},
         OrderStatus.CANCELED),
        ({"status": "BEST_EFFORT_CANCELED", "orderFlags": "0", "removalReason": "UNDERCOLLATERALIZED"}, OrderStatus.REJECTED),
        ({"status": "CANCELED", "removalReason": "USER_CANCELED"}, OrderStatus.CANCELED),
        ({"status": "CANCELED", "removalReason": "EXPIRED"}, OrderStatus.EXPIRED),
        ({"status": "CANCELED", "removalReason": "INDEXER_EXPIRED"}, OrderStatus.EXPIRED),
        ({"status": "CANCELED", "removalReason": "POST_ONLY_WOULD_CROSS_MAKER_ORDER"}, OrderStatus.REJECTED),
        ({"status": "CANCELED", "removalReason": "SELF_TRADE_ERROR"}, OrderStatus.REJECTED),
        ({"status": "CANCELED", "removalReason": "EQUITY_TIER"}, OrderStatus.REJECTED),
        ({"status": "CANCELED", "removalReason": "VIOLATES_ISOLATED_SUBACCOUNT_CONSTRAINTS"}, OrderStatus.REJECTED),
        ({"status": "CANCELED", "removalReason": "INTERNAL_ERROR"}, OrderStatus.REJECTED),
        ({"status": "CANCELED", "removalReason": "INTERNAL_ERROR", "totalFilled": "0.1"}, OrderStatus.CANCELED),
        ({"status": "CANCELED", "removalReason": "REPLACED"}, OrderStatus.CANCELED),
        ({"status": "CANCELED", "removalReason": "REDUCE_ONLY_RESIZE"}, OrderStatus.CANCELED),
        ({"status": "CANCELED", "removalReason": "FINAL_SETTLEMENT"}, OrderStatus.CANCELED),
        ({"status": "A_NEW_WORD"}, OrderStatus.UNKNOWN),
    ],
)  # fmt: skip
def test_order_status(fields: dict[str, Any], status: OrderStatus, btc: Instrument) -> None:
    if "removalReason" in fields:
        fields = {**fields, "removalReason": f"ORDER_REMOVAL_REASON_{fields['removalReason']}"}
    assert c.order(order_row(**fields), btc, client_order_id="1").status is status


def test_fills_that_no_block_has_yet_are_not_booked(btc: Instrument) -> None:
    info = c.order(order_row(status="BEST_EFFORT_CANCELED", orderFlags="0", totalOptimisticFilled="0.3"), btc, client_order_id="1")
    assert info.filled_size == 0


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"type": "STOP_LIMIT", "timeInForce": "GTT"}, OrderType.STOP_LIMIT),
        ({"type": "STOP_LIMIT", "timeInForce": "IOC"}, OrderType.STOP_MARKET),
        ({"type": "TAKE_PROFIT", "timeInForce": "GTT"}, OrderType.TAKE_PROFIT_LIMIT),
        ({"type": "TAKE_PROFIT", "timeInForce": "IOC"}, OrderType.TAKE_PROFIT_MARKET),
    ],
)
def test_triggers(fields: dict[str, str], kind: OrderType, btc: Instrument) -> None:
    info = c.order(order_row(status="UNTRIGGERED", orderFlags="32", triggerPrice="85000", **fields), btc, client_order_id=None)
    assert (info.order_type, info.trigger_price, info.status) == (kind, D(85000), OrderStatus.PENDING)


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("LIMIT", FillKind.TRADE),
        ("LIQUIDATION", FillKind.TRADE),
        ("LIQUIDATED", FillKind.LIQUIDATION),
        ("DELEVERAGED", FillKind.ADL),
        ("OFFSETTING", FillKind.ADL),
    ],
)
def test_fills_by_force_are_told_apart(word: str, kind: FillKind, btc: Instrument) -> None:
    row = m.FillRow("id", "SELL", D("0.1"), D(90000), "2025-12-08T16:00:00.219Z", type=word, fee=D("-0.01"), liquidity="MAKER")
    fill = c.fill(row, btc, client_order_id=None)
    assert (fill.kind, fill.side, fill.fee, fill.fee_asset, fill.order_id) == (kind, Side.SELL, D("-0.01"), "USDC", None)


# ---- account


@pytest.mark.parametrize("size", ["-0.407", "0.407"])
def test_a_short_is_negative_whatever_sign_the_size_has(size: str, btc: Instrument) -> None:
    row = m.PositionRow("BTC-USD", "OPEN", "SHORT", D(size), entryPrice=D(118692), unrealizedPnl=D("-57.27"), netFunding=D("503.13"))
    found = c.position(row, btc, 1)
    assert found.quantity == D("-0.407")
    assert found.mark_price == pytest.approx(D(118692) + D("57.27") / D("0.407"))
    assert found.cumulative_funding == D("503.13"), "received, as the venue says it"


def test_a_closed_position_is_flat(btc: Instrument) -> None:
    row = m.PositionRow("BTC-USD", "CLOSED", "LONG", D("0.5"), entryPrice=D(43000))
    assert c.position(row, btc, 7) == Position(instrument=btc.id, quantity=D(0), margin_mode=MarginMode.CROSS, ts_ns=7)


@pytest.mark.parametrize(
    ("maker", "taker", "staking", "discount", "rates"),
    [
        (100, 500, 0, None, ("0.0001", "0.0005")),
        (-110, 250, 0, None, ("-0.00011", "0.00025")),
        (-110, 500, 200_000, None, ("-0.00011", "0.0004")),
        (100, 500, 0, MarketDiscount(0, 0, 2_000, 0), ("0", "0")),
        (100, 501, 0, MarketDiscount(0, 0, 2_000, 500_000), ("0.00005", "0.00025")),
        (100, 500, 0, MarketDiscount(0, 0, 999, 0), ("0.0001", "0.0005")),
    ],
)
def test_fees_from_the_chain(maker: int, taker: int, staking: int, discount: MarketDiscount | None, rates: tuple[str, str]) -> None:
    found = c.fee_rates(maker, taker, staking, discount, now_s=1_000.0)
    assert (found.maker, found.taker) == (D(rates[0]), D(rates[1]))


@pytest.mark.parametrize("leverage", ["1", "2.5", "3", "3.3", "7", "12.25", "49", "50"])
def test_leverage_comes_back_as_it_was_asked_for(leverage: str) -> None:
    ppm = c.margin_ppm(D(leverage))
    assert D(10**6) / ppm <= D(leverage), "never more than asked for"
    assert c.leverage_of(ppm) == D(leverage)
    assert c.leverage_info(market(), ppm).account_leverage == D(leverage)


def test_margin_rises_with_open_interest() -> None:
    row = market(ISOLATED, oraclePrice="1000", openInterest="20000")
    assert c.margin_now(row) == D("0.2"), "at the lower cap"
    assert c.margin_now(market(ISOLATED, oraclePrice="1000", openInterest="35000")) == D("0.6")
    assert c.margin_now(market(ISOLATED, oraclePrice="1000", openInterest="99000")) == 1
    assert c.margin_now(market()) == D("0.02"), "no caps, no scaling"


# ---- refusals


def catalogue() -> list[str]:
    """Every codespace:code of the dossier's section 9, in its own words."""
    rows = """
    sdk:32|sdk:3|sdk:4|sdk:19|sdk:20|sdk:5, 13|sdk:30|accountplus:1
    accountplus:100, 101, 102, 103, 104, 105|clob:9|clob:3006, 3010, 2|clob:10|clob:11
    clob:7, 24, 30, 3005, 3008, 3009|clob:20
    clob:4, 5, 6, 8, 12, 3000, 3001, 3003, 3004, 44, 48, 3002, 6000, 6001, 9003|clob:2003|clob:2001, 2002
    clob:2000, 2004|clob:3007|clob:10001|clob:5001|clob:34, 36, 47|clob:2005|clob:11002, 11003, 11004
    """
    found: list[str] = []
    for row in re.split(r"[|\n]", rows):
        space, _, codes = row.strip().partition(":")
        found += [f"{space}:{code.strip()}" for code in codes.split(",") if code.strip()]
    return found


@pytest.mark.parametrize("code", catalogue())
def test_every_refusal_of_the_catalogue_has_one_class(code: str) -> None:
    space, _, number = code.partition(":")
    answer = chain.Broadcast(int(number), space, "", "some words of the chain")
    found = chain.broadcast_refusal(answer)
    if code == "sdk:19":
        assert found is None, "the node has this very transaction"
    else:
        assert found is not None
        error = classify(ERRORS, venue="dydx", code=found[0], message=found[1])
        assert type(error) is ERRORS[code]


def test_the_catalogue_is_the_dossiers() -> None:
    assert len(catalogue()) == 58
    assert set(catalogue()) | {"sdk:2"} == {key for key in ERRORS if re.fullmatch(r"[a-z]+:\d+", key)}


def test_the_same_number_means_other_things_elsewhere() -> None:
    assert issubclass(ERRORS["sdk:4"], BadSignature)
    assert issubclass(ERRORS["clob:4"], InvalidOrder)


def test_collateral_that_fails_while_matching_is_told_in_words() -> None:
    for word in ("NewlyUndercollateralized", "StillUndercollateralized"):
        error = classify(ERRORS, venue="dydx", code="clob:9999", message=f"order failed: {word}")
        assert isinstance(error, InsufficientMargin)


def test_an_unknown_code_refuses_nothing() -> None:
    error = classify(ERRORS, venue="dydx", code="clob:9999", message="something new")
    assert error.outcome is Outcome.UNKNOWN


def test_a_stale_height_proves_that_nothing_was_done() -> None:
    for code in ("clob:10", "clob:11"):
        error = classify(ERRORS, venue="dydx", code=code, message="height")
        assert isinstance(error, NotReady)
        assert error.outcome is Outcome.NOT_SENT


def test_why_the_chain_took_an_order_off_again() -> None:
    reasons = {
        "post_only_would_cross_maker_order": PostOnlyWouldCross,
        "undercollateralized": InsufficientMargin,
        "self_trade_error": OrderRefused,
    }
    for reason, kind in reasons.items():
        assert type(classify(ERRORS, venue="dydx", code="", message=reason)) is kind


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (404, '{"errors":[{"msg":"No subaccount found with address x and subaccountNumber 0"}]}', "http404"),
        (400, '{"errors":[{"msg":"limit must be a positive integer","param":"limit","location":"query"}]}', "http400"),
        (403, '{"errors":[{"code":"GEOBLOCKED","msg":"not from here"}]}', "GEOBLOCKED"),
        (403, '{"errors":[{"code":"COMPLIANCE_BLOCKED","msg":"not you"}]}', "COMPLIANCE_BLOCKED"),
        (429, '{"errors":[{"msg":"Too many requests"}]}', ""),
        (500, '{"errors":[{"msg":"Internal Server Error"}]}', ""),
        (502, "<html>Bad Gateway</html>", ""),
    ],
)
def test_refusals_of_the_indexer(status: int, body: str, code: str) -> None:
    found = read_error(status, body.encode())
    assert found is not None
    assert found[0] == code
    error = classify(ERRORS, venue="dydx", code=found[0], message=found[1], http_status=status)
    assert error.outcome in (Outcome.REFUSED, Outcome.UNKNOWN)
    assert isinstance(error, RateLimited) == (status == 429)


def test_the_page_names_everything_of_the_spec() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "venues" / "dydx.md").read_text()
    for name in [*SPEC.endpoints, *SPEC.streams.values(), *(item.variable.format(env="") for item in SPEC.credentials)]:
        assert f"`{name}`" in page, name
