"""Units, signs and states, on recorded figures."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange_clients.base_websocket import own_liquidation
from exchange_clients.errors import DecodeError, OrderDenied
from exchange_clients.lighter import messages as m
from exchange_clients.lighter.client.utils import converters, helpers
from exchange_clients.lighter.common import get_lighter_symbol_format, normalize_symbol
from exchange_clients.model import (
    NS_PER_HOUR,
    NS_PER_S,
    FillKind,
    Instrument,
    Liquidity,
    MarginMode,
    MarketStatus,
    OrderStatus,
    OrderType,
    RateKind,
    Side,
    TimeInForce,
)

D = Decimal


def market(**changes: Any) -> m.Market:
    """ETH as recorded on mainnet 2026-05-05, or a change of it."""
    fields: dict[str, Any] = {
        "symbol": "ETH", "market_id": 0, "status": "active", "taker_fee": "0.0000", "maker_fee": "0.0000", "min_base_amount": "0.0050",
        "min_quote_amount": "10.000000", "supported_size_decimals": 4, "supported_price_decimals": 2,
        "default_initial_margin_fraction": 500, "min_initial_margin_fraction": 200,
        "maintenance_margin_fraction": 120, "last_trade_price": 2361.31,
        "daily_quote_token_volume": 460664167.955905, "open_interest": 27350.8981,
    }  # fmt: skip
    return msgspec.convert({**fields, **changes}, m.Market, strict=False)


ETH = converters.instrument(market())
PEPE = converters.instrument(
    market(symbol="1000PEPE", market_id=4, supported_size_decimals=0, supported_price_decimals=6, min_base_amount="500")
)


def decode(kind: type, **fields: Any) -> Any:
    return msgspec.json.decode(json.dumps(fields), type=kind, strict=False)


def test_instrument() -> None:
    assert str(ETH.id) == "ETH-USDC-PERP.lighter"
    assert (ETH.contract_id, ETH.venue_symbol) == ("0", "ETH")
    assert (ETH.tick_size, ETH.step_size, ETH.min_quantity, ETH.min_notional) == (D("0.01"), D("0.0001"), D("0.005"), D(10))
    assert (ETH.initial_margin, ETH.maintenance_margin, ETH.max_leverage) == (D("0.02"), D("0.012"), D(50))
    assert ETH.funding_interval_hours == 1
    assert converters.instrument(market(funding_clamp_big="4.0000")).funding_cap == D("0.005")
    assert converters.instrument(market(taker_fee="0.0280")).taker_fee == D("0.00028")
    assert converters.instrument(market(status="inactive")).status is MarketStatus.HALTED
    assert converters.instrument(market(market_config={"force_reduce_only": True})).status is MarketStatus.REDUCE_ONLY


def test_a_thousand_tokens_are_one_unit() -> None:
    assert str(PEPE.id) == "PEPE-USDC-PERP.lighter"
    assert PEPE.multiplier == PEPE.contract_size == 1000
    assert (PEPE.tick_size, PEPE.step_size, PEPE.min_quantity) == (D("0.000000001"), D(1000), D(500_000))
    assert helpers.base_amount(D(2_000_000), PEPE) == 2000
    assert helpers.wire_price(D("0.000012345"), PEPE) == 12345
    row = decode(m.TradeRow, trade_id=1, size="500", price="0.012345", is_maker_ask=True, timestamp=1792497687525, usd_amount="6.17")
    trade = converters.trade(row, PEPE)
    assert (trade.price, trade.quantity) == (D("0.000012345"), D(500_000))


@pytest.mark.parametrize(
    ("venue", "ours", "thousand"),
    [("BTC", "BTC", False), ("1000PEPE", "PEPE", True), ("1000BONK", "BONK", True), ("2Z", "2Z", False), ("1INCH", "1INCH", False)],
)
def test_symbols(venue: str, ours: str, thousand: bool) -> None:
    assert normalize_symbol(venue) == ours
    assert get_lighter_symbol_format(ours, thousand=thousand) == venue


def test_numbers_that_do_not_fit_are_refused() -> None:
    for quantity in ("0.00001", "0", "-1", "28147497671.0656"):
        with pytest.raises(OrderDenied):
            helpers.base_amount(D(quantity), ETH)
    for price in ("0.001", "0", "42949672.96"):
        with pytest.raises(OrderDenied):
            helpers.wire_price(D(price), ETH)
    assert helpers.base_amount(D("28147497671.0655"), ETH) == 2**48 - 1
    assert helpers.wire_price(D("42949672.95"), ETH) == 2**32 - 1
    assert helpers.usdc_amount(D("5.000001")) == 5_000_001


@given(st.integers(1, 2**48 - 1), st.integers(1, 2**32 - 1), st.sampled_from([ETH, PEPE]))
def test_what_is_sent_reads_back(amount: int, price: int, instrument: Instrument) -> None:
    quantity, worth = amount * instrument.step_size, price * instrument.tick_size
    assert (helpers.base_amount(quantity, instrument), helpers.wire_price(worth, instrument)) == (amount, price)
    wire_size, wire_price = instrument.to_venue_size(quantity), instrument.to_venue_price(worth)
    row = order_row(initial_base_amount=str(wire_size), price=str(wire_price), filled_base_amount="0", filled_quote_amount="0")
    assert (converters.order(row, instrument).size, converters.order(row, instrument).price) == (quantity, worth)


# ---- funding: three units on three channels

HOUR_NS = 1_778_702_400 * NS_PER_S


def test_three_sources_state_the_same_rate_in_three_units() -> None:
    """0.0012 % per hour is 0.000012, and 0.000096 per 8 hours: read in the wrong unit, rates are off by 8, 12.5 or 100."""
    streamed = converters.funding_streamed(decode(m.MarketStats, market_id=0, current_funding_rate="0.0012"), ETH, HOUR_NS + 1)
    listed = converters.funding_listed(decode(m.FundingRate, market_id=0, exchange="lighter", rate=0.000096), ETH, HOUR_NS + 1)
    settled = converters.funding_settled(
        decode(m.FundingRow, timestamp=1778702400, value="0.02707872", rate="0.0012", direction="long"), ETH
    )
    for sample in (streamed, listed, settled):
        assert sample is not None
        assert (sample.raw_rate, sample.interval_hours) == (D("0.000012"), D(1))
        assert sample.normalized_rate == D("0.000096")
        assert sample.hourly_rate == D("0.000012")
        assert sample.annual_rate == D("0.10512")
    assert streamed is not None
    assert (streamed.kind, listed.kind, settled.kind) == (RateKind.PREDICTED, RateKind.PREDICTED, RateKind.SETTLED)
    assert streamed.next_funding_time == listed.next_funding_time == HOUR_NS + NS_PER_HOUR
    assert settled.settled_at == HOUR_NS


def test_a_recorded_rate_explains_its_recorded_payment() -> None:
    """`value` is USDC per ETH: divided by our rate it must be the index of that hour (about 2256 USDC), not 8 or 100 times as much."""
    row = {"timestamp": 1778702400, "value": "0.02707872", "rate": "0.0012", "direction": "long"}
    sample = converters.funding_settled(decode(m.FundingRow, **row), ETH)
    assert D(2200) < D(str(row["value"])) / sample.raw_rate < D(2300)


def test_shorts_pay_on_a_negative_rate() -> None:
    sample = converters.funding_settled(
        decode(m.FundingRow, timestamp=1778706000, value="0.00452778", rate="0.0002", direction="short"), ETH
    )
    assert sample.raw_rate == D("-0.000002")
    with pytest.raises(DecodeError, match="direction"):
        converters.funding_settled(decode(m.FundingRow, timestamp=1, value="0", rate="0", direction="up"), ETH)


def test_recorded_market_stats(payloads: Path) -> None:
    """BTC and ETH of `market_stats:all`, mainnet 2026-04-20."""
    lines = (payloads / "lighter" / "ws" / "ticker.jsonl").read_text().splitlines()
    record = next(json.loads(line) for line in lines if "ticker-002" in line)
    frame = m.decode_frame(json.dumps(record["payload"]))
    rows = m.decode_all_stats(frame.market_stats)
    running = converters.funding_streamed(rows["1"], ETH, record["payload"]["timestamp"] * 1_000_000)
    last = converters.funding_last(rows["1"], ETH)
    assert running is not None
    assert last is not None
    assert (running.raw_rate, running.cap, running.kind) == (D("0.000012"), D("0.005"), RateKind.PREDICTED)
    assert (last.raw_rate, last.kind) == (D("0.000008"), RateKind.SETTLED)
    assert last.settled_at == 1776693600 * NS_PER_S
    assert running.next_funding_time == 1776697200 * NS_PER_S
    mark, index = converters.mark_price(rows["1"], ETH, 0), converters.index_price(rows["1"], ETH, 0)
    assert mark is not None
    assert index is not None
    assert (mark.price, index.price) == (D("75241.1"), D("75281.9"))


def test_the_settlement_stamp_may_trail_the_hour() -> None:
    """Recorded: 1763532000004, four milliseconds late."""
    sample = converters.funding_last(decode(m.MarketStats, market_id=0, funding_rate="0.0012", funding_timestamp=1763532000004), ETH)
    assert sample is not None
    assert sample.settled_at == 1763532000 * NS_PER_S


def test_payments_are_signed_from_our_side() -> None:
    row = {"timestamp": 1778702400, "market_id": 0, "funding_id": 9, "rate": "0.0012", "position_size": "1.5000", "discount": "0"}
    paid = converters.funding_payment(decode(m.PaymentRow, **row, change="-0.040618", position_side="long"), ETH)
    assert (paid.amount, paid.position_quantity, paid.rate, paid.payment_id) == (D("-0.040618"), D("1.5"), D("0.000012"), "9")
    assert paid.ts_venue_ns == HOUR_NS
    received = converters.funding_payment(decode(m.PaymentRow, **row, change="0.040618", position_side="short"), ETH)
    assert (received.amount, received.position_quantity) == (D("0.040618"), D("-1.5"))


# ---- orders


def order_row(**changes: Any) -> m.OrderRow:
    """Recorded shape, payloads/lighter/ws/orders."""
    fields: dict[str, Any] = {
        "order_index": 281476929510110, "client_order_index": 42, "order_id": "281476929510110", "client_order_id": "42", "market_index": 0,
        "initial_base_amount": "0.0050", "price": "2352.74", "filled_base_amount": "0.0020", "filled_quote_amount": "4.705480",
        "is_ask": True, "side": "", "type": "limit", "time_in_force": "good-till-time", "reduce_only": False, "trigger_price": "0.00",
        "status": "open", "created_at": 1777941383576, "updated_at": 1777941383900, "transaction_time": 1777941383576735,
    }  # fmt: skip
    return msgspec.convert({**fields, **changes}, m.OrderRow, strict=False)


def test_order() -> None:
    info = converters.order(order_row(), ETH)
    assert (info.order_id, info.client_order_id, info.side) == ("281476929510110", "42", Side.SELL)
    assert (info.size, info.filled_size, info.remaining_size) == (D("0.005"), D("0.002"), D("0.003"))
    assert (info.price, info.average_price, info.trigger_price) == (D("2352.74"), D("2352.74"), None)
    assert (info.status, info.cancel_reason) == (OrderStatus.PARTIALLY_FILLED, None)
    assert (info.created_ns, info.updated_ns) == (1777941383576_000_000, 1777941383576735_000)
    nobody = converters.order(order_row(client_order_id="0"), ETH)
    assert nobody.client_order_id is None
    early = converters.order(order_row(created_at=1766387932, updated_at=1766387932, transaction_time=0), ETH)
    assert early.updated_ns == 1766387932 * NS_PER_S


@pytest.mark.parametrize(
    ("text", "filled", "status", "reason"),
    [
        ("in-progress", "0", OrderStatus.SUBMITTED, None),
        ("pending", "0", OrderStatus.PENDING, None),
        ("open", "0", OrderStatus.OPEN, None),
        ("open", "0.002", OrderStatus.PARTIALLY_FILLED, None),
        ("filled", "0.005", OrderStatus.FILLED, None),
        ("canceled", "0", OrderStatus.CANCELED, "canceled"),
        ("canceled-post-only", "0", OrderStatus.REJECTED, "canceled-post-only"),
        ("canceled-margin-not-allowed", "0", OrderStatus.REJECTED, "canceled-margin-not-allowed"),
        ("canceled-margin-not-allowed", "0.002", OrderStatus.CANCELED, "canceled-margin-not-allowed"),
        ("canceled-invalid-balance", "0", OrderStatus.REJECTED, "canceled-invalid-balance"),
        ("canceled-reduce-only", "0", OrderStatus.REJECTED, "canceled-reduce-only"),
        ("canceled-position-not-allowed", "0", OrderStatus.REJECTED, "canceled-position-not-allowed"),
        ("canceled-too-much-slippage", "0", OrderStatus.CANCELED, "canceled-too-much-slippage"),
        ("canceled-not-enough-liquidity", "0.002", OrderStatus.CANCELED, "canceled-not-enough-liquidity"),
        ("canceled-self-trade", "0", OrderStatus.CANCELED, "canceled-self-trade"),
        ("canceled-expired", "0", OrderStatus.EXPIRED, "canceled-expired"),
        ("canceled-oco", "0", OrderStatus.CANCELED, "canceled-oco"),
        ("canceled-child", "0", OrderStatus.CANCELED, "canceled-child"),
        ("canceled-liquidation", "0", OrderStatus.CANCELED, "canceled-liquidation"),
        ("canceled-for-a-new-reason", "0", OrderStatus.CANCELED, "canceled-for-a-new-reason"),
        ("something-new", "0", OrderStatus.UNKNOWN, None),
    ],
)
def test_every_status(text: str, filled: str, status: OrderStatus, reason: str | None) -> None:
    info = converters.order(order_row(status=text, filled_base_amount=filled), ETH)
    assert (info.status, info.cancel_reason) == (status, reason)


@pytest.mark.parametrize(
    ("type", "tif", "expected"),
    [
        ("limit", "good-till-time", (OrderType.LIMIT, TimeInForce.GTC, False)),
        ("limit", "post-only", (OrderType.LIMIT, TimeInForce.GTC, True)),
        ("market", "immediate-or-cancel", (OrderType.MARKET, TimeInForce.IOC, False)),
        ("stop-loss", "immediate-or-cancel", (OrderType.STOP_MARKET, TimeInForce.IOC, False)),
        ("stop-loss-limit", "good-till-time", (OrderType.STOP_LIMIT, TimeInForce.GTC, False)),
        ("take-profit", "immediate-or-cancel", (OrderType.TAKE_PROFIT_MARKET, TimeInForce.IOC, False)),
        ("take-profit-limit", "good-till-time", (OrderType.TAKE_PROFIT_LIMIT, TimeInForce.GTC, False)),
    ],
)
def test_every_type(type: str, tif: str, expected: tuple[OrderType, TimeInForce, bool]) -> None:
    info = converters.order(order_row(type=type, time_in_force=tif), ETH)
    assert (info.order_type, info.time_in_force, info.post_only) == expected


# ---- fills


def trade_row(**changes: Any) -> m.TradeRow:
    """Recorded, payloads/lighter/ws/fills."""
    fields: dict[str, Any] = {
        "trade_id": 19209006902, "type": "trade", "market_id": 0, "size": "0.1336", "price": "2352.73", "usd_amount": "314.324728",
        "ask_id": 281476929510102, "bid_id": 562947905631053, "ask_client_id": 0, "bid_client_id": 7001011966, "ask_account_id": 91249,
        "bid_account_id": 1234, "is_maker_ask": True, "timestamp": 1777941384181, "taker_fee": 196, "maker_fee": 28,
        "transaction_time": 1777941384181586,
    }  # fmt: skip
    return msgspec.convert({**fields, **changes}, m.TradeRow, strict=False)


def fills_of(account: int, **changes: Any) -> Any:
    return converters.fills([trade_row(**changes)], {"0": ETH}.get, account)


def test_our_side_of_a_trade() -> None:
    (taker,) = fills_of(1234)
    assert (taker.side, taker.liquidity, taker.client_order_id) == (Side.BUY, Liquidity.TAKER, "7001011966")
    assert (taker.order_id, taker.trade_id) == ("562947905631053", "19209006902")
    assert taker.fee == D("314.324728") * D("0.000196")
    assert taker.ts_venue_ns == 1777941384181586_000
    (maker,) = fills_of(91249)
    assert (maker.side, maker.liquidity, maker.client_order_id) == (Side.SELL, Liquidity.MAKER, None)
    assert maker.fee == D("314.324728") * D("0.000028")
    assert fills_of(5) == []
    assert fills_of(1234, market_id=2048) == []
    assert converters.trade(trade_row(), ETH).side is Side.BUY


def test_a_missing_fee_is_zero_and_both_sides_may_be_ours() -> None:
    row = {"trade_id": 1, "size": "1", "price": "2", "is_maker_ask": False, "market_id": 0, "usd_amount": "2", "timestamp": 1777941384181}
    both = converters.fills([decode(m.TradeRow, **row, ask_account_id=7, bid_account_id=7, ask_id=1, bid_id=2)], {"0": ETH}.get, 7)
    assert [(f.side, f.liquidity, f.fee) for f in both] == [(Side.SELL, Liquidity.TAKER, D(0)), (Side.BUY, Liquidity.MAKER, D(0))]


def test_only_who_is_liquidated_is_told_so() -> None:
    """Our resting order may meet somebody's liquidation: that is a trade. Deleveraging hits both sides."""
    (taker,), (maker,) = fills_of(1234, type="liquidation"), fills_of(91249, type="liquidation")
    assert (taker.kind, maker.kind) == (FillKind.LIQUIDATION, FillKind.TRADE)
    event = own_liquidation(taker)
    assert event is not None
    assert (event.side, event.quantity, event.own, event.kind) == (Side.BUY, D("0.1336"), True, FillKind.LIQUIDATION)
    assert own_liquidation(maker) is None
    assert [fills_of(a, type="deleverage")[0].kind for a in (1234, 91249)] == [FillKind.ADL] * 2
    assert fills_of(1234, type="market-settlement")[0].kind is FillKind.SETTLEMENT
    public = converters.public_liquidation(trade_row(type="liquidation"), ETH)
    assert (public.own, public.side) == (False, Side.BUY)


# ---- account


def position_row(**changes: Any) -> m.PositionRow:
    """Recorded, payloads/lighter/rest/positions."""
    fields: dict[str, Any] = {
        "market_id": 0, "symbol": "ETH", "initial_margin_fraction": "5.00", "sign": 1, "position": "18.0193", "avg_entry_price": "2669.84",
        "position_value": "54306.566340", "unrealized_pnl": "6197.829558", "realized_pnl": "0.000000",
        "liquidation_price": "2191.1107231380406", "margin_mode": 0, "allocated_margin": "0.000000",
    }  # fmt: skip
    return msgspec.convert({**fields, **changes}, m.PositionRow, strict=False)


def test_position() -> None:
    long = converters.position(position_row(), ETH, 5, margin_percent=D("5.00"))
    assert (long.quantity, long.entry_price, long.leverage) == (D("18.0193"), D("2669.84"), D(20))
    assert long.mark_price is not None
    assert abs(long.mark_price - D("3013.8")) < D("0.1")
    assert long.margin_used == D("54306.566340") * D("0.05")
    assert (long.margin_mode, long.cumulative_funding) == (MarginMode.CROSS, None)
    short = converters.position(position_row(sign=-1, total_funding_paid_out="0.05", liquidation_price="0"), ETH, 5)
    assert (short.quantity, short.cumulative_funding, short.liquidation_price) == (D("-18.0193"), D("-0.05"), None)
    assert (short.leverage, short.margin_used) == (None, None), "the socket's fraction is in an unproven unit"
    isolated = converters.position(position_row(margin_mode=1, allocated_margin="176.25"), ETH, 5, margin_percent=D("5.00"))
    assert (isolated.margin_mode, isolated.margin_used) == (MarginMode.ISOLATED, D("176.25"))
    flat = converters.position(position_row(position="0.0000", avg_entry_price="0.0", position_value="0.000000"), ETH, 5)
    assert (flat.quantity, flat.entry_price, flat.mark_price) == (D(0), None, None)


@pytest.mark.parametrize("leverage", [1, 2, 3, 5, 7, 10, 20, 25, 33, 50])
def test_leverage_survives_the_venues_rounding(leverage: int) -> None:
    """A third is sent as 33.34 %, and read back as threefold."""
    fraction = converters.margin_fraction(D(leverage))
    assert converters.leverage_of(D(fraction) / 100) == leverage
    assert D(10_000) / fraction <= leverage


def test_settings_of_a_market_without_any() -> None:
    info = converters.leverage_unset(market(), ETH)
    assert (info.account_leverage, info.max_leverage, info.margin_mode) == (D(20), D(50), MarginMode.CROSS)


def test_account_and_fees() -> None:
    row = decode(m.AccountRow, index=1077, available_balance="12582.743947", total_asset_value="15298.072264000002", positions=[])
    state = converters.account(row, 7)
    assert (state.available, state.equity, state.unrealized_pnl) == (D("12582.743947"), D("15298.072264000002"), D(0))
    assert (state.margin_used, state.maintenance_margin) == (None, None)
    rates = converters.fee_rates(decode(m.AccountLimits, user_tier="premium", current_maker_fee_tick=40, current_taker_fee_tick=280))
    assert (rates.maker, rates.taker) == (D("0.00004"), D("0.00028"))


def test_open_interest_is_valued_once() -> None:
    seen = converters.ticker(market(mark_price="2360"), ETH, 0)
    assert seen.open_interest == D("27350.8981") * 2360
    assert seen.volume_24h == D("460664167.955905")
    assert converters.ticker(market(), ETH, 0).open_interest == D("27350.8981") * D("2361.31")
    assert converters.ticker(market(open_interest=None), ETH, 0).open_interest is None


def test_single_orders_become_levels() -> None:
    def row(price: str, size: str) -> dict[str, str]:
        return {"price": price, "remaining_base_amount": size}

    orders = decode(
        m.RestingOrders,
        bids=[row("3429.80", "1.3237"), row("3429.80", "1"), row("3429.70", "2")],
        asks=[row("3430.10", "1"), row("3430.00", "0.2")],
    )
    book = converters.book(orders, ETH, 1, 9)
    assert [(level.price, level.size) for level in book.bids] == [(D("3429.80"), D("2.3237"))]
    assert [(level.price, level.size) for level in book.asks] == [(D("3430.00"), D("0.2"))]


def test_a_one_sided_ticker_has_no_best_prices() -> None:
    for ticker in (None, {}, {"s": "BTC", "b": {}}, {"a": {"price": "1", "size": "1"}}):
        data = msgspec.convert(ticker, m.TickerData | None, strict=False)
        assert converters.bbo(data, ETH, 1) is None
    data = decode(m.TickerData, s="ETH", a={"price": "2064.48", "size": "0.4950"}, b={"price": "2064.30", "size": "1.0392"})
    bbo = converters.bbo(data, ETH, 1)
    assert bbo is not None
    assert (bbo.bid, bbo.ask, bbo.ts_venue_ns) == (D("2064.30"), D("2064.48"), None)


@pytest.mark.parametrize("bad", ["NaN", "Infinity", "-1", "0"])
def test_impossible_prices_are_decode_errors(bad: str) -> None:
    with pytest.raises(DecodeError):
        converters.trade(trade_row(price=bad), ETH)
    if bad in ("NaN", "Infinity"):
        with pytest.raises(DecodeError):
            converters.position(position_row(position=bad), ETH, 0)
        with pytest.raises(DecodeError):
            converters.funding_streamed(decode(m.MarketStats, market_id=0, current_funding_rate=bad), ETH, 0)
