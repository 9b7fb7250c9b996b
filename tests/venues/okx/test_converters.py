"""From OKX's words to ours: units, signs, intervals, states. Figures of the dossier and of recordings."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from exchange_clients.errors import DecodeError
from exchange_clients.model import FillKind, Instrument, Liquidity, MarketStatus, OrderStatus, OrderType, RateKind, Side, TimeInForce
from exchange_clients.okx import get_okx_symbol_format, normalize_symbol
from exchange_clients.okx import messages as m
from exchange_clients.okx.client.utils import converters as c

D = Decimal
HOUR_MS = 3_600_000
BTC_USDT = m.InstrumentRow(
    instType="SWAP",
    instId="BTC-USDT-SWAP",
    instFamily="BTC-USDT",
    uly="BTC-USDT",
    ctType="linear",
    ctVal="0.01",
    ctMult="1",
    ctValCcy="BTC",
    settleCcy="USDT",
    lotSz="0.01",
    minSz="0.01",
    tickSz="0.1",
    lever="100",
    state="live",
    groupId="4",
    instIdCode=10458,
)
BTC_USD = msgspec.structs.replace(
    BTC_USDT,
    instId="BTC-USD-SWAP",
    instFamily="BTC-USD",
    uly="BTC-USD",
    ctType="inverse",
    ctVal="100",
    ctValCcy="USD",
    settleCcy="BTC",
    lotSz="1",
    minSz="1",
)
PEPE = msgspec.structs.replace(
    BTC_USDT,
    instId="PEPE-USDT-SWAP",
    instFamily="PEPE-USDT",
    uly="PEPE-USDT",
    ctVal="10000000",
    ctValCcy="PEPE",
    lotSz="0.1",
    minSz="0.1",
    tickSz="0.000000001",
)
USDC = msgspec.structs.replace(
    BTC_USDT, instId="BTC-USDC-SWAP", instFamily="BTC-USDC", uly="BTC-USDC", ctVal="0.0001", settleCcy="USDC", lotSz="1", minSz="1"
)


def instrument(row: m.InstrumentRow) -> Instrument:
    found = c.instrument(row)
    assert found is not None
    return found


# ---- every type of market


def test_a_linear_market() -> None:
    found = instrument(BTC_USDT)
    assert str(found.id) == "BTC-USDT-PERP.okx"
    assert (found.contract_size, found.step_size, found.min_quantity, found.tick_size) == (D("0.01"), D("0.0001"), D("0.0001"), D("0.1"))
    assert (found.settle, found.max_leverage, found.initial_margin, found.status) == ("USDT", D(100), D("0.01"), MarketStatus.ACTIVE)
    assert (found.to_venue_size(D("0.005")), found.from_venue_size(D("0.5"))) == (D("0.5"), D("0.005"))


def test_a_linear_market_in_usdc() -> None:
    found = instrument(USDC)
    assert (str(found.id), found.settle, found.step_size) == ("BTC-USDC-PERP.okx", "USDC", D("0.0001"))


def test_a_low_priced_coin_is_scaled_by_its_contract_and_never_by_its_name() -> None:
    found = instrument(PEPE)
    assert (str(found.id), found.multiplier, found.contract_size, found.step_size) == (
        "PEPE-USDT-PERP.okx",
        D(1),
        D(10_000_000),
        D(1_000_000),
    )


def test_an_inverse_market_counts_in_quote() -> None:
    found = instrument(BTC_USD)
    assert str(found.id) == "BTC-USD-PERP-INV.okx"
    assert (found.contract_size, found.step_size, found.settle) == (D(100), D(100), "BTC")
    assert found.value(D(-500), D(50_000)) == D(500)


@pytest.mark.parametrize(
    "changed",
    [
        {"instType": "FUTURES"},
        {"instFamily": "", "uly": ""},
        {"ctVal": ""},
        {"ctType": ""},
        {"tickSz": ""},
        {"ctValCcy": "USDT"},
        {"lotSz": "0"},
    ],
)
def test_what_is_no_swap_or_says_too_little_is_left_out(changed: dict[str, str]) -> None:
    assert c.instrument(msgspec.structs.replace(BTC_USDT, **changed)) is None


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("suspend", MarketStatus.HALTED),
        ("preopen", MarketStatus.HALTED),
        ("post_only", MarketStatus.POST_ONLY),
        ("new_word", MarketStatus.UNKNOWN),
    ],
)
def test_only_live_markets_are_tradable(state: str, status: MarketStatus) -> None:
    found = instrument(msgspec.structs.replace(BTC_USDT, state=state))
    assert (found.status, found.tradable) == (status, False)


def test_symbols() -> None:
    assert (normalize_symbol("BTC-USDT-SWAP"), normalize_symbol("BTCDOM-USDT-SWAP"), normalize_symbol("2Z-USDT-SWAP")) == (
        "BTC",
        "BTCDOM",
        "2Z",
    )
    assert (get_okx_symbol_format("BTC"), get_okx_symbol_format("BTC", quote="USD")) == ("BTC-USDT-SWAP", "BTC-USD-SWAP")


# ---- funding


def test_a_recorded_rate() -> None:
    """The documentation's page of August 2026: an estimate for the settlement at `fundingTime`, per eight hours there."""
    row = m.FundingRow(
        instId="BTC-USDT-SWAP",
        fundingRate="0.0000182221218054",
        fundingTime=1_743_609_600_000,
        nextFundingTime="1743638400000",
        maxFundingRate="0.00375",
        ts="1743588686291",
    )
    sample = c.funding_now(row, instrument(BTC_USDT))
    assert sample is not None
    assert (sample.raw_rate, sample.interval_hours, sample.kind) == (D("0.0000182221218054"), D(8), RateKind.PREDICTED)
    assert (sample.next_funding_time, sample.source_timestamp) == (1_743_609_600_000 * 10**6, 1_743_588_686_291 * 10**6)
    assert (sample.cap, sample.normalized_rate) == (D("0.00375"), D("0.0000182221218054"))


@pytest.mark.parametrize("hours", [1, 2, 4, 6, 8])
def test_the_interval_is_the_markets_own(hours: int) -> None:
    row = m.FundingRow(instId="X", fundingRate="0.0001", fundingTime=HOUR_MS, nextFundingTime=str(HOUR_MS * (1 + hours)))
    sample = c.funding_now(row, instrument(BTC_USDT))
    assert sample is not None
    assert (sample.interval_hours, sample.hourly_rate) == (D(hours), D("0.0001") / hours)
    found = c.instrument(BTC_USDT, row)
    assert found is not None
    assert found.funding_interval_hours == hours


def test_a_row_without_a_rate_is_no_rate() -> None:
    assert c.funding_now(m.FundingRow(instId="X", fundingTime=1, nextFundingRate="0.0003"), instrument(BTC_USDT)) is None


def test_settled_rates_are_what_was_charged_and_take_their_interval_from_their_neighbours() -> None:
    times = [0, 8, 12, 16]
    rows = [
        m.PastFundingRow(instId="X", fundingTime=h * HOUR_MS, realizedRate=f"0.000{n}5", fundingRate="0.9") for n, h in enumerate(times)
    ]
    found = c.funding_settled(rows, instrument(BTC_USDT))
    assert [s.raw_rate for s in found] == [D("0.00005"), D("0.00015"), D("0.00025"), D("0.00035")]
    assert [s.interval_hours for s in found] == [8, 8, 4, 4]
    assert {s.kind for s in found} == {RateKind.SETTLED}
    known = msgspec.structs.replace(instrument(BTC_USDT), funding_interval_hours=D(8))
    assert c.funding_settled(rows[:1], known)[0].interval_hours == 8
    hole = [rows[0], msgspec.structs.replace(rows[1], fundingTime=24 * HOUR_MS)]
    assert [s.interval_hours for s in c.funding_settled(hole, known)] == [8, 8], "missing rows are no interval"
    unknown = msgspec.structs.replace(known, funding_interval_hours=None)
    with pytest.raises(DecodeError, match="tell no interval"):
        c.funding_settled(hole, unknown)
    assert c.funding_settled([], unknown) == []


@pytest.mark.parametrize(
    ("subtype", "fields", "amount"),
    [
        ("173", {"balChg": "-0.02", "pnl": "-0.02"}, D("-0.02")),
        ("174", {"balChg": "0.02", "pnl": "0.02"}, D("0.02")),
        ("173", {"balChg": "0", "posBalChg": "-0.5", "pnl": "-0.5"}, D("-0.5")),
    ],
)
def test_a_funding_bill(subtype: str, fields: dict[str, str], amount: Decimal) -> None:
    """Negative was paid, as on the wire; an isolated position pays from its own balance."""
    row = m.BillRow(
        billId="623950854533513219", ts=1_695_033_476_167, type="8", subType=subtype, instId="BTC-USDT-SWAP", ccy="USDT", **fields
    )
    payment = c.funding_payment(row, instrument(BTC_USDT))
    assert (payment.amount, payment.asset, payment.payment_id) == (amount, "USDT", "623950854533513219")
    assert payment.ts_venue_ns == 1_695_033_476_167 * 10**6


# ---- market figures


def test_volume_is_coins_times_price_and_interest_the_venues_usd() -> None:
    row = m.TickerRow(instId="BTC-USDT-SWAP", ts=1, last="50000", volCcy24h="2222", vol24h="222200")
    interest = m.OpenInterestRow(instId="BTC-USDT-SWAP", ts=1, oi="100", oiCcy="1")
    found = c.ticker(row, instrument(BTC_USDT), interest)
    assert (found.volume_24h, found.open_interest) == (D(111_100_000), D(50_000))
    named = msgspec.structs.replace(interest, oiUsd="49999")
    assert c.ticker(row, instrument(BTC_USDT), named).open_interest == D(49_999)
    assert c.ticker(msgspec.structs.replace(row, last=""), instrument(BTC_USDT), None).volume_24h is None


def test_a_book_of_one_side_has_no_best_prices() -> None:
    data = m.Quotes(asks=[["0.0015", "8", "0", "1"]], bids=[], ts=1)
    assert c.bbo(data, instrument(BTC_USDT), 1) is None


def test_candles_say_contracts_and_whether_they_are_closed() -> None:
    found = c.candle(
        ["1678928700000", "24324.1", "24347.6", "24321.7", "24341.4", "2565", "10.5401", "256500", "1"], instrument(BTC_USDT), "1m"
    )
    assert (found.volume, found.closed, found.close) == (D("25.65"), True, D("24341.4"))
    assert c.candle(["1662716640000", "1", "1", "1", "1", "1400", "6.7"], instrument(BTC_USDT), "1m").closed is False
    with pytest.raises(DecodeError):
        c.candle(["1", "2"], instrument(BTC_USDT), "1m")


# ---- orders


def order_row(**more: Any) -> m.OrderRow:
    base: dict[str, Any] = {
        "instId": "BTC-USDT-SWAP",
        "ordId": "1",
        "clOrdId": "a1",
        "state": "live",
        "side": "buy",
        "sz": "0.5",
        "ordType": "limit",
    }
    return m.OrderRow(**{**base, "px": "41000", "accFillSz": "0", "cTime": "1", "uTime": "2", **more})


@pytest.mark.parametrize(
    ("row", "status", "reason"),
    [
        ({"state": "live"}, OrderStatus.OPEN, None),
        ({"state": "partially_filled", "accFillSz": "0.1"}, OrderStatus.PARTIALLY_FILLED, None),
        ({"state": "filled", "accFillSz": "0.5"}, OrderStatus.FILLED, None),
        ({"state": "canceled", "cancelSource": "1"}, OrderStatus.CANCELED, None),
        ({"state": "mmp_canceled"}, OrderStatus.CANCELED, None),
        ({"state": "canceled", "cancelSource": "31"}, OrderStatus.REJECTED, "post-only order would have taken liquidity"),
        (
            {"state": "canceled", "cancelSource": "31", "accFillSz": "0.1"},
            OrderStatus.CANCELED,
            "post-only order would have taken liquidity",
        ),
        ({"state": "canceled", "cancelSource": "14"}, OrderStatus.CANCELED, "remainder of an immediate order"),
        ({"state": "canceled", "cancelSource": "20"}, OrderStatus.CANCELED, "cancel-all-after"),
        ({"state": "canceled", "cancelSource": "99", "cancelSourceReason": "new"}, OrderStatus.CANCELED, "new"),
        ({"state": "a_new_word"}, OrderStatus.UNKNOWN, None),
    ],
)
def test_states_of_orders(row: dict[str, str], status: OrderStatus, reason: str | None) -> None:
    found = c.order(order_row(**row), instrument(BTC_USDT))
    assert (found.status, found.cancel_reason) == (status, reason)
    assert (found.size, found.price, found.filled_size + found.remaining_size) == (D("0.005"), D(41_000), D("0.005"))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("limit", (OrderType.LIMIT, TimeInForce.GTC, False)),
        ("post_only", (OrderType.LIMIT, TimeInForce.GTC, True)),
        ("ioc", (OrderType.LIMIT, TimeInForce.IOC, False)),
        ("fok", (OrderType.LIMIT, TimeInForce.FOK, False)),
        ("optimal_limit_ioc", (OrderType.MARKET, TimeInForce.IOC, False)),
    ],
)
def test_kinds_of_orders(kind: str, expected: tuple[OrderType, TimeInForce, bool]) -> None:
    found = c.order(order_row(ordType=kind), instrument(BTC_USDT))
    assert (found.order_type, found.time_in_force, found.post_only) == expected


def fill_row(**more: str) -> m.OrderRow:
    base = {"state": "partially_filled", "accFillSz": "0.3", "fillSz": "0.1", "fillPx": "41000", "tradeId": "7", "execType": "M"}
    return order_row(**{**base, "fillFee": "-0.0062", "fillFeeCcy": "USDT", "fee": "-0.02", "feeCcy": "USDT", "fillTime": "5", **more})


def test_a_streamed_fill() -> None:
    """The fill's own size and fee, not the order's; a fee is negative on the wire."""
    found = c.streamed_fill(fill_row(), instrument(BTC_USDT))
    assert found is not None
    assert (found.quantity, found.price, found.fee, found.fee_asset) == (D("0.001"), D(41_000), D("0.0062"), "USDT")
    assert (found.liquidity, found.trade_id, found.client_order_id, found.side) == (Liquidity.MAKER, "7", "a1", Side.BUY)
    rebate = c.streamed_fill(fill_row(fillFee="0.001"), instrument(BTC_USDT))
    assert rebate is not None
    assert rebate.fee == D("-0.001")


@pytest.mark.parametrize("row", [{"tradeId": ""}, {"fillSz": "0"}, {"fillSz": ""}])
def test_a_change_without_an_execution_yields_no_fill(row: dict[str, str]) -> None:
    assert c.streamed_fill(fill_row(**row), instrument(BTC_USDT)) is None


def test_a_fee_is_never_guessed() -> None:
    first = c.streamed_fill(fill_row(fillFee="", accFillSz="0.1", fee="-0.02"), instrument(BTC_USDT))
    assert first is not None
    assert first.fee == D("0.02")
    with pytest.raises(DecodeError, match="no fee"):
        c.streamed_fill(fill_row(fillFee=""), instrument(BTC_USDT))


@pytest.mark.parametrize(
    ("category", "kind"),
    [
        ("normal", FillKind.TRADE),
        ("full_liquidation", FillKind.LIQUIDATION),
        ("partial_liquidation", FillKind.LIQUIDATION),
        ("adl", FillKind.ADL),
        ("delivery", FillKind.SETTLEMENT),
    ],
)
def test_forced_fills(category: str, kind: FillKind) -> None:
    found = c.streamed_fill(fill_row(category=category), instrument(BTC_USDT))
    assert found is not None
    assert found.kind is kind


def algo_row(**more: str) -> m.AlgoRow:
    base = {
        "instId": "BTC-USDT-SWAP",
        "algoId": "9",
        "algoClOrdId": "s1",
        "state": "live",
        "side": "sell",
        "ordType": "conditional",
        "sz": "1",
    }
    return m.AlgoRow(**{**base, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("row", "kind", "trigger"),
    [
        ({"slTriggerPx": "49000", "slOrdPx": "-1"}, OrderType.STOP_MARKET, 49_000),
        ({"slTriggerPx": "49000", "slOrdPx": "48900"}, OrderType.STOP_LIMIT, 49_000),
        ({"tpTriggerPx": "51000", "tpOrdPx": "-1"}, OrderType.TAKE_PROFIT_MARKET, 51_000),
        ({"tpTriggerPx": "51000", "tpOrdPx": "51100"}, OrderType.TAKE_PROFIT_LIMIT, 51_000),
        (
            {"ordType": "oco", "tpTriggerPx": "51000", "tpOrdPx": "-1", "slTriggerPx": "49000", "slOrdPx": "-1"},
            OrderType.STOP_MARKET,
            49_000,
        ),
        ({"ordType": "trigger", "triggerPx": "49000", "ordPx": "-1", "last": "50000"}, OrderType.STOP_MARKET, 49_000),
        ({"ordType": "trigger", "triggerPx": "51000", "ordPx": "51000", "last": "50000"}, OrderType.TAKE_PROFIT_LIMIT, 51_000),
        ({"ordType": "trigger", "triggerPx": "51000", "ordPx": "-1", "last": "50000", "side": "buy"}, OrderType.STOP_MARKET, 51_000),
    ],
)
def test_trigger_orders(row: dict[str, str], kind: OrderType, trigger: int) -> None:
    found = c.algo_order(algo_row(**row), instrument(BTC_USDT))
    assert (found.order_type, found.trigger_price, found.status, found.client_order_id) == (kind, D(trigger), OrderStatus.PENDING, "s1")


def test_a_released_trigger_order_names_the_order_it_became() -> None:
    row = algo_row(state="effective", ordId="77", slTriggerPx="49000", slOrdPx="-1")
    found = c.algo_order(row, instrument(BTC_USDT))
    assert (found.order_id, found.status) == ("77", OrderStatus.OPEN)
    failed = c.algo_order(algo_row(state="order_failed", failCode="51008", slTriggerPx="49000"), instrument(BTC_USDT))
    assert (failed.order_id, failed.status, failed.cancel_reason) == ("9", OrderStatus.REJECTED, "the trigger failed with 51008")


# ---- account


def test_a_position() -> None:
    row = m.PositionRow(
        instId="BTC-USDT-SWAP",
        pos="-0.5",
        posSide="net",
        mgnMode="cross",
        avgPx="10000",
        markPx="10100",
        upl="-0.5",
        imr="5",
        margin="",
        lever="10",
        liqPx="",
        fundingFee="-0.2",
        uTime="1622559930237",
    )
    found = c.position(row, instrument(BTC_USDT), 1)
    assert (found.quantity, found.entry_price, found.mark_price, found.margin_used) == (D("-0.005"), D(10_000), D(10_100), D(5))
    assert (found.cumulative_funding, found.liquidation_price, found.leverage) == (D("-0.2"), None, D(10))
    flat = c.position(msgspec.structs.replace(row, pos="0", avgPx=""), instrument(BTC_USDT), 1)
    assert flat.quantity == 0
    short = c.position(msgspec.structs.replace(row, pos="0.5", posSide="short"), instrument(BTC_USDT), 1)
    assert short.quantity == D("-0.005")


def test_an_inverse_position_is_in_quote_and_its_profit_in_coin() -> None:
    row = m.PositionRow(instId="BTC-USD-SWAP", pos="50", posSide="net", mgnMode="cross", avgPx="50000", upl="0.02", ccy="BTC")
    found = c.position(row, instrument(BTC_USD), 1)
    assert (found.quantity, found.unrealized_pnl) == (D(5_000), D("0.02"))


def test_fees_of_the_markets_group_and_their_sign() -> None:
    """Negative is a charge."""
    groups = [m.FeeGroup("1", "-0.0008", "-0.001"), m.FeeGroup("4", "0.00005", "-0.0005")]
    found = c.fee_rates(m.FeeRow(instType="SWAP", feeGroup=groups, makerU="-0.9", takerU="-0.9"), "4")
    assert (found.maker, found.taker) == (D("-0.00005"), D("0.0005"))
    legacy = c.fee_rates(m.FeeRow(instType="SWAP", maker="-0.0002", taker="-0.0005"), "4")
    assert (legacy.maker, legacy.taker) == (D("0.0002"), D("0.0005"))


def test_the_account_in_futures_mode_is_one_currency() -> None:
    details = [
        m.BalanceDetail(ccy="BTC", eq="1", availEq="1"),
        m.BalanceDetail(ccy="USDT", eq="100", availEq="60", upl="-2", imr="40", mmr="8"),
    ]
    found = c.account(m.Balance(details=details, totalEq="50100"), "USDT", 1)
    assert (found.equity, found.available, found.unrealized_pnl, found.margin_used, found.asset) == (D(100), D(60), D(-2), D(40), "USDT")
    empty = c.account(m.Balance(details=[], totalEq="0"), "USDT", 1)
    assert (empty.equity, empty.available) == (D(0), D(0))


def test_the_account_in_margin_modes_is_the_whole_in_usd() -> None:
    found = c.account(m.Balance(details=[], totalEq="55868.06", adjEq="55444.12", imr="8.57", mmr="0.34", upl="-7.47"), "USDT", 1)
    assert (found.equity, found.available, found.asset) == (D("55868.06"), D("55435.55"), "USD")


@pytest.mark.parametrize("text", ["NaN", "Infinity", "1e99", "abc", "28 .2"])
def test_numbers_that_nobody_can_have_meant(text: str) -> None:
    with pytest.raises(DecodeError):
        c.number(text, "figure")


def test_nothing_is_no_number() -> None:
    assert c.maybe("", "figure") is None
    with pytest.raises(DecodeError):
        c.number("", "figure")


def test_maintenance_margin_is_that_of_the_smallest_tier() -> None:
    """OKX lists no margin fractions with its markets, only tiers by contracts."""
    rows = [
        m.TierRow(tier=tier, minSz=least, maxSz="9", imr="0.01", mmr=mmr, maxLever=most, instFamily="BTC-USDT")
        for tier, least, mmr, most in (("2", "1000", "0.006", "66.66"), ("1", "0", "0.004", "100"))
    ]
    found = c.leverage_info(None, rows, D(100_000), instrument(BTC_USDT))
    assert found.maintenance_margin == D("0.004")
    assert found.brackets == ((D(0), D(100)), (D(1_000_000), D("66.66")))
    assert c.leverage_info(None, [], D(100_000), instrument(BTC_USDT)).maintenance_margin is None


def test_a_swap_that_goes_offline_says_when() -> None:
    assert instrument(BTC_USDT).ends_ns is None
    assert instrument(msgspec.structs.replace(BTC_USDT, expTime="1798704000000")).ends_ns == 1_798_704_000_000_000_000
