"""The meaning of each message, value by value: signs, units, multipliers, times, statuses, and refusal of what is no number."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange_clients.backpack import get_backpack_symbol_format, normalize_symbol
from exchange_clients.backpack import messages as m
from exchange_clients.backpack.client.utils import converters as c
from exchange_clients.backpack.websocket.order_book import RULE
from exchange_clients.base_websocket import own_liquidation
from exchange_clients.book import BookFeed, Resync
from exchange_clients.errors import DecodeError
from exchange_clients.model import (
    NS_PER_HOUR,
    NS_PER_MS,
    NS_PER_S,
    FillKind,
    Instrument,
    Liquidity,
    MarketStatus,
    OrderStatus,
    OrderType,
    RateKind,
    Side,
    TimeInForce,
)

NOW_NS = 1_763_164_800 * NS_PER_S  # 2025-11-15


def of(kind: Any, **fields: Any) -> Any:
    return msgspec.convert(fields, kind, strict=False)


def a_market(**fields: Any) -> m.Market:
    row = {
        "symbol": "SOL_USDC_PERP",
        "baseSymbol": "SOL",
        "quoteSymbol": "USDC",
        "marketType": "PERP",
        "createdAt": "2025-01-21T06:34:54.691858",
        "filters": {
            "price": {"tickSize": "0.01", "minPrice": "0.01", "maxPrice": "1000"},
            "quantity": {"minQuantity": "0.01", "maxQuantity": None, "stepSize": "0.01"},
        },
        "imfFunction": {"type": "sqrt", "base": "0.02", "factor": "0.0001275"},
        "mmfFunction": {"type": "sqrt", "base": "0.0125", "factor": "0.0000765"},
        "fundingInterval": 3600000,
        "fundingRateUpperBound": "100",
        "fundingRateLowerBound": "-100",
        "orderBookState": "Open",
    }
    return of(m.Market, **{**row, **fields})  # type: ignore[no-any-return]


def instrument(**fields: Any) -> Instrument:
    found = c.instrument(a_market(**fields), NOW_NS)
    assert found is not None
    return found


SOL = instrument()
BONK = instrument(
    symbol="kBONK_USDC_PERP",
    baseSymbol="kBONK",
    filters={"price": {"tickSize": "0.000001"}, "quantity": {"minQuantity": "10", "stepSize": "1"}},
)


def a_row(**fields: Any) -> m.OrderRow:
    row = {
        "id": "4228978331",
        "clientId": 123456789,
        "createdAt": 1753626206762,
        "symbol": "SOL_USDC_PERP",
        "orderType": "Limit",
        "side": "Bid",
        "status": "New",
        "price": "20",
        "quantity": "0.5",
        "executedQuantity": "0",
        "executedQuoteQuantity": "0",
        "timeInForce": "GTC",
        "postOnly": True,
        "reduceOnly": None,
    }
    return of(m.OrderRow, **{**row, **fields})  # type: ignore[no-any-return]


FILL_FRAME = {
    "e": "orderFill",
    "E": 1754939110175879,
    "s": "SOL_USDC_PERP",
    "c": 123,
    "S": "Bid",
    "o": "LIMIT",
    "f": "GTC",
    "q": "0.50",
    "p": "20",
    "X": "PartiallyFilled",
    "i": "5406825793",
    "t": 2888471,
    "l": "0.10",
    "z": "0.10",
    "Z": "2.00",
    "L": "20",
    "m": False,
    "n": "0.001",
    "N": "USDC",
    "V": "RejectTaker",
    "T": 1754939110174705,
    "O": "USER",
    "r": False,
    "y": False,
}


def an_event(**fields: Any) -> m.OrderEvent:
    wire = {key: value for key, value in {**FILL_FRAME, **fields}.items() if value is not None}
    return msgspec.json.decode(json.dumps(wire), type=m.OrderEvent, strict=False)


# ---- instruments: one fixture for every kind of market


def test_a_market_in_its_units() -> None:
    assert str(SOL.id) == "SOL-USDC-PERP.backpack"
    assert (SOL.tick_size, SOL.step_size, SOL.min_quantity, SOL.max_quantity) == (D("0.01"), D("0.01"), D("0.01"), None)
    assert (SOL.initial_margin, SOL.maintenance_margin, SOL.max_leverage) == (D("0.02"), D("0.0125"), D(50))
    assert SOL.funding_interval_hours == 1
    assert SOL.funding_cap == D("0.01"), "the bound is in basis points, the rate a fraction"
    assert SOL.status is MarketStatus.ACTIVE


def test_kilo_markets_count_thousands() -> None:
    assert str(BONK.id) == "BONK-USDC-PERP.backpack"
    assert (BONK.multiplier, BONK.contract_size) == (D(1000), D(1000))
    assert (BONK.tick_size, BONK.step_size, BONK.min_quantity) == (D("0.000000001"), D(1000), D(10_000))
    assert BONK.to_venue_price(D("0.00002")) == D("0.02")
    assert BONK.to_venue_size(D(5000)) == 5


def test_a_dot_in_the_symbol_belongs_to_the_base() -> None:
    nvda = instrument(symbol="NVDA.US_USDC_PERP", baseSymbol="NVDA.US")
    assert str(nvda.id) == "NVDA.US-USDC-PERP.backpack"
    assert nvda.multiplier == 1


@pytest.mark.parametrize("base", ["KAITO", "kaito", "K", "k", "kX1a"])
def test_not_every_k_is_a_thousand(base: str) -> None:
    assert instrument(symbol=f"{base}_USDC_PERP", baseSymbol=base).multiplier == 1


@pytest.mark.parametrize("kind", ["SPOT", "IPERP", "DATED", "PREDICTION", "RFQ"])
def test_what_is_no_perpetual_is_no_instrument(kind: str) -> None:
    assert c.instrument(a_market(marketType=kind), NOW_NS) is None


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"orderBookState": "PostOnly"}, MarketStatus.POST_ONLY),
        ({"orderBookState": "CancelOnly"}, MarketStatus.CANCEL_ONLY),
        ({"orderBookState": "Closed"}, MarketStatus.HALTED),
        ({"orderBookState": "LimitOnly"}, MarketStatus.UNKNOWN),
        ({"orderBookState": "Whatever"}, MarketStatus.UNKNOWN),
        ({"visible": False}, MarketStatus.DELISTED),
        ({"createdAt": "2026-01-01T00:00:00"}, MarketStatus.HALTED),
    ],
)
def test_markets_that_take_no_entries(fields: dict[str, Any], status: MarketStatus) -> None:
    found = instrument(**fields)
    assert found.status is status
    assert not found.tradable


def test_symbols_go_both_ways() -> None:
    assert [normalize_symbol(s) for s in ("BTC_USDC_PERP", "kBONK_USDC_PERP", "NVDA.US_USDC_PERP", "kPEPE")] == [
        "BTC",
        "BONK",
        "NVDA.US",
        "PEPE",
    ]
    assert get_backpack_symbol_format("BTC") == "BTC_USDC_PERP"
    assert get_backpack_symbol_format("BONK", thousand=True) == "kBONK_USDC_PERP"


# ---- time


@given(st.integers(0, 4_000_000_000_000))
def test_naive_text_is_utc(ms: int) -> None:
    text = datetime.fromtimestamp(ms / 1000, UTC).replace(tzinfo=None).isoformat()
    assert abs(c.text_ns(text) - ms * NS_PER_MS) < 1_000
    assert c.text_ns(text.replace("T", " ")) == c.text_ns(text)


def test_an_order_is_dated_in_three_ways() -> None:
    assert c.moment_ns(1753626206762) == c.moment_ns("1753626206762") == 1753626206762 * NS_PER_MS
    assert c.moment_ns("2025-07-27T14:23:26.762") == 1753626206762 * NS_PER_MS
    assert c.moment_ns(None) is None
    with pytest.raises(DecodeError):
        c.text_ns("yesterday")


# ---- market data


def test_the_best_bid_may_be_the_last_one() -> None:
    data = of(m.Depth, asks=[["21", "1"], ["20.5", "2"]], bids=[["19", "3"], ["20", "1"], ["18", "0"]], lastUpdateId="7", timestamp=5)
    book = c.book(data, SOL, 5, NOW_NS)
    assert [level.price for level in book.bids] == [20, 19]
    assert [level.price for level in book.asks] == [D("20.5"), 21]
    assert (book.sequence, book.ts_venue_ns) == (7, 5_000)


def test_an_empty_side_has_no_best_prices() -> None:
    assert c.bbo(of(m.BookTicker, s="SOL_USDC_PERP", a="18.7", A="1", b=None, B=None), SOL, 1) is None


def test_a_buyer_who_was_maker_means_that_the_taker_sold() -> None:
    event = of(m.TradeEvent, s="SOL_USDC_PERP", p="18.68", q="0.12", t=12345, T=1694688638089000, m=True)
    trade = c.trade_event(event, SOL)
    assert (trade.side, trade.price, trade.trade_id, trade.ts_venue_ns) == (Side.SELL, D("18.68"), "12345", 1694688638089000 * 1_000)
    row = of(m.TradeRow, id=1, isBuyerMaker=False, price="2", quantity="1", timestamp=1753123916819)
    assert c.trade(row, SOL).side is Side.BUY


def test_figures_of_a_kilo_market_are_of_one_token() -> None:
    marks = m.MarkPriceRow("kBONK_USDC_PERP", markPrice=D("0.02"), indexPrice=D("0.021"))
    day = m.TickerRow("kBONK_USDC_PERP", lastPrice=D("0.019"), quoteVolume=D(1234))
    ticker = c.ticker(BONK, day, marks, m.OpenInterestRow("kBONK_USDC_PERP", D(50)), 1)
    assert (ticker.mark, ticker.index, ticker.last) == (D("0.00002"), D("0.000021"), D("0.000019"))
    assert (ticker.volume_24h, ticker.open_interest) == (D(1234), D(1)), "50 thousand tokens at 0.00002"


def test_an_interval_without_trades_is_no_candle() -> None:
    assert c.candle(of(m.KlineRow, start="2025-07-19 13:09:00", open=None, volume="0"), SOL, "1m", closed=True) is None


@pytest.mark.parametrize("price", ["NaN", "-1", "0", "Infinity"])
def test_what_is_no_price_is_no_trade(price: str) -> None:
    with pytest.raises(DecodeError):
        c.trade(of(m.TradeRow, id=1, isBuyerMaker=False, price=price, quantity="1", timestamp=1), SOL)


def feed() -> tuple[BookFeed, list[Resync]]:
    asked: list[Resync] = []
    return BookFeed(SOL, RULE, lambda gap: asked.append(gap.resync)), asked


def ready(book: BookFeed) -> bool:
    return book.book.ready


def level(px: float, sz: float) -> m.Level:
    return m.Level(px, sz)


def test_updates_join_the_snapshot_end_to_end() -> None:
    """U <= S+1 <= u for the first, U == u+1 ever after."""
    book, asked = feed()
    book.delta([level(19.0, 1.0)], [], first=8, final=10, ts_recv_ns=1)
    book.delta([level(18.0, 5.0)], [], first=11, final=11, ts_recv_ns=1)
    book.delta([level(18.0, 0.0)], [], first=12, final=14, ts_recv_ns=1)
    assert asked == [Resync.SNAPSHOT], "the first update asks for the snapshot, once"
    book.snapshot([level(19.0, 2.0), level(18.0, 4.0)], [level(21.0, 1.0)], sequence=10, ts_recv_ns=2)
    assert ready(book)
    assert [(one.price, one.size) for one in book.read().bids] == [(D(19), D(2))], (
        "what the snapshot had is skipped, what it had not is applied"
    )
    book.delta([], [level(21.0, 3.0)], first=15, final=15, ts_recv_ns=3)
    assert ready(book)
    book.delta([], [level(21.0, 4.0)], first=17, final=17, ts_recv_ns=4)
    assert not ready(book)
    assert asked == [Resync.SNAPSHOT] * 2


def test_a_snapshot_that_is_too_old_is_asked_for_again() -> None:
    book, asked = feed()
    book.delta([level(19.0, 1.0)], [], first=20, final=21, ts_recv_ns=1)
    book.snapshot([level(19.0, 2.0)], [level(21.0, 1.0)], sequence=10, ts_recv_ns=2)
    assert not ready(book)
    assert asked == [Resync.SNAPSHOT] * 2
    book.snapshot([level(19.0, 2.0)], [level(21.0, 1.0)], sequence=20, ts_recv_ns=2)
    assert ready(book)
    assert book.read().bids[0].size == 1, "the update that had to wait"


def test_a_quiet_market_gets_its_snapshot_without_an_update() -> None:
    book, asked = feed()
    book.begin()
    book.begin()
    assert asked == [Resync.SNAPSHOT]


# ---- funding


def test_a_recorded_rate_sign_unit_interval_and_next_time(payloads: Path) -> None:
    lines = (payloads / "backpack/rest/funding_rate.jsonl").read_text().splitlines()
    recorded = json.loads(lines[0])["payload"]
    row = of(m.MarkPriceRow, **recorded)
    sample = c.funding_now(row.fundingRate, row.nextFundingTimestamp, SOL, NOW_NS)
    assert sample is not None
    assert (sample.raw_rate, sample.interval_hours, sample.kind) == (D("0.0001"), D(1), RateKind.PREDICTED)
    assert sample.normalized_rate == D("0.0008"), "longs pay eight times that in 8 hours"
    assert sample.next_funding_time == 1753113600000 * NS_PER_MS
    assert sample.next_funding_time % NS_PER_HOUR == 0
    assert sample.cap == D("0.01")


def test_the_interval_is_the_markets_own() -> None:
    market = instrument(fundingInterval="28800000")
    sample = c.funding_now(D("0.0001"), None, market, NOW_NS)
    assert sample is not None
    assert (sample.interval_hours, sample.normalized_rate, sample.next_funding_time) == (D(8), D("0.0001"), None)


def test_a_recorded_payment_was_paid_by_a_long_at_a_positive_rate(payloads: Path) -> None:
    rows = [json.loads(line)["payload"] for line in (payloads / "backpack/rest/funding_history.jsonl").read_text().splitlines()]
    payment = c.funding_payment(of(m.FundingPaymentRow, **rows[1]), SOL)
    assert (payment.amount, payment.asset, payment.rate) == (D("-0.001301"), "USDC", D("0.0001"))
    assert payment.ts_venue_ns == c.text_ns("2025-08-01T16:00:00")
    assert payment.payment_id == "ETH_USDC_PERP:1754064000"


def rows(*ends: str) -> list[m.FundingRow]:
    return [m.FundingRow("SOL_USDC_PERP", D("0.0001"), end) for end in ends]


def test_the_change_from_eight_hours_to_one_is_seen_in_the_distance_of_the_rows() -> None:
    ends = ("2025-08-20T10:00:00", "2025-08-20T09:00:00", "2025-08-20T08:00:00", "2025-08-20T00:00:00", "2025-08-19T16:00:00")
    found = c.funding_settled(rows(*ends), SOL, NOW_NS)
    assert [s.interval_hours for s in found] == [8, 8, 8, 1, 1]
    assert [s.settled_at for s in found] == sorted(c.text_ns(end) for end in ends)
    assert {s.kind for s in found} == {RateKind.SETTLED}


def test_a_missing_row_makes_no_interval_of_its_own() -> None:
    found = c.funding_settled(rows("2025-11-01T05:00:00", "2025-11-01T03:00:00", "2025-11-01T02:00:00"), SOL, NOW_NS)
    assert [s.interval_hours for s in found] == [1, 1, 1]


def test_the_running_interval_is_not_settled() -> None:
    until = c.text_ns("2025-11-01T04:30:00")
    found = c.funding_settled(rows("2025-11-01T05:00:00", "2025-11-01T04:00:00"), SOL, until)
    assert [s.settled_at for s in found] == [c.text_ns("2025-11-01T04:00:00")]


# ---- orders and fills


def test_a_live_order() -> None:
    info = c.order(a_row(), SOL)
    assert (info.order_id, info.client_order_id, info.side, info.price, info.size) == ("4228978331", "123456789", Side.BUY, D(20), D("0.5"))
    assert (info.status, info.post_only, info.reduce_only, info.time_in_force) == (OrderStatus.OPEN, True, False, TimeInForce.GTC)
    assert info.created_ns == 1753626206762 * NS_PER_MS


def test_the_average_is_value_by_quantity() -> None:
    info = c.order(a_row(status="Filled", executedQuantity="0.5", executedQuoteQuantity="9.9"), SOL)
    assert (info.status, info.average_price, info.remaining_size) == (OrderStatus.FILLED, D("19.8"), D(0))
    kilo = c.order(a_row(symbol="kBONK_USDC_PERP", price="0.02", quantity="5", executedQuantity="5", executedQuoteQuantity="0.1"), BONK)
    assert (kilo.size, kilo.filled_size, kilo.price, kilo.average_price) == (D(5000), D(5000), D("0.00002"), D("0.00002"))


def test_a_market_order_by_value_has_the_size_it_executed() -> None:
    info = c.order(
        a_row(orderType="Market", price=None, quantity=None, quoteQuantity="4.43", status="Filled", executedQuantity="0.01"), SOL
    )
    assert (info.order_type, info.size, info.filled_size, info.price) == (OrderType.MARKET, D("0.01"), D("0.01"), None)


@pytest.mark.parametrize("kind", ["Limit", "Market"])
def test_a_trigger_order_has_its_size_elsewhere(kind: str) -> None:
    info = c.order(a_row(orderType=kind, quantity=None, triggerPrice="18", triggerQuantity="0.25", status="TriggerPending"), SOL)
    assert (info.size, info.trigger_price, info.status) == (D("0.25"), D(18), OrderStatus.PENDING)
    assert info.order_type is (OrderType.STOP_LIMIT if kind == "Limit" else OrderType.STOP_MARKET)


def test_nothing_executes_more_than_it_asked_for() -> None:
    with pytest.raises(DecodeError, match="executed"):
        c.order(a_row(executedQuantity="0.6"), SOL)
    assert c.order(a_row(executedQuantity="0.6", reduceOnly=True), SOL).filled_size == D("0.6"), "the venue may have cut it"


def test_half_of_a_position_is_no_size() -> None:
    assert c.order(a_row(quantity=None, triggerPrice="18", triggerQuantity="50%", status="TriggerPending"), SOL).size == 0
    with pytest.raises(DecodeError):
        c.order(a_row(quantity=None, triggerPrice="18", triggerQuantity="some", status="TriggerPending"), SOL)


@pytest.mark.parametrize(
    ("text", "reason", "filled", "status"),
    [
        ("New", None, 0, OrderStatus.OPEN),
        ("PartiallyFilled", None, 1, OrderStatus.PARTIALLY_FILLED),
        ("Cancelled", None, 0, OrderStatus.CANCELED),
        ("Triggered", None, 0, OrderStatus.PENDING),
        ("TriggerFailed", None, 0, OrderStatus.REJECTED),
        ("Expired", "ImmediateOrCancel", 0, OrderStatus.CANCELED),
        ("Expired", "ImmediateOrCancel", 1, OrderStatus.CANCELED),
        ("Expired", "FillOrKill", 0, OrderStatus.CANCELED),
        ("Expired", "PriceImpact", 1, OrderStatus.CANCELED),
        ("Expired", "PostOnlyTaker", 0, OrderStatus.REJECTED),
        ("Expired", "InsufficientMargin", 0, OrderStatus.REJECTED),
        ("Expired", "ReduceOnlyNotReduced", 0, OrderStatus.REJECTED),
        ("Expired", "ReduceOnlyNotReduced", 1, OrderStatus.CANCELED),
        ("Expired", "Liquidation", 0, OrderStatus.CANCELED),
        ("Expired", "Unknown", 0, OrderStatus.EXPIRED),
        ("Expired", None, 0, OrderStatus.EXPIRED),
        ("Sleeping", None, 0, OrderStatus.UNKNOWN),
    ],
)
def test_statuses(text: str, reason: str | None, filled: int, status: OrderStatus) -> None:
    assert c.order_status(text, reason, D(filled)) is status


REASONS = [
    "AccountTradingSuspended",
    "BorrowRequiresLendRedeem",
    "FillOrKill",
    "InsufficientBorrowableQuantity",
    "InsufficientFunds",
    "InsufficientLiquidity",
    "InvalidPrice",
    "InvalidQuantity",
    "ImmediateOrCancel",
    "InsufficientMargin",
    "Liquidation",
    "NegativeEquity",
    "PostOnlyMode",
    "PostOnlyTaker",
    "PriceOutOfBounds",
    "ReduceOnlyNotReduced",
    "SelfTradePrevention",
    "StopWithoutPosition",
    "PriceImpact",
    "UserPermissions",
    "MaxStopOrdersPerPosition",
    "PositionLimit",
    "SlippageToleranceExceeded",
]


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_of_the_catalogue_has_its_status(reason: str) -> None:
    assert c.order_status("Expired", reason, D(0)) in (OrderStatus.CANCELED, OrderStatus.REJECTED)
    assert c.order_status("Expired", reason, D(1)) is OrderStatus.CANCELED


def test_a_fill_on_the_stream() -> None:
    event = an_event()
    fill, info = c.fill_event(event, SOL), c.order_event(event, SOL)
    assert fill is not None
    assert (fill.trade_id, fill.order_id, fill.client_order_id, fill.side) == ("2888471", "5406825793", "123", Side.BUY)
    assert (fill.price, fill.quantity, fill.fee, fill.fee_asset, fill.liquidity) == (D(20), D("0.1"), D("0.001"), "USDC", Liquidity.TAKER)
    assert fill.ts_venue_ns == 1754939110174705 * 1_000
    assert (info.status, info.filled_size, info.remaining_size, info.size) == (OrderStatus.PARTIALLY_FILLED, D("0.1"), D("0.4"), D("0.5"))


def test_an_event_without_a_trade_is_no_fill() -> None:
    event = an_event(e="orderExpired", X="Expired", R="ImmediateOrCancel", t=None, l=None, L=None, n=None)
    assert c.fill_event(event, SOL) is None
    assert (c.order_event(event, SOL).status, c.order_event(event, SOL).cancel_reason) == (OrderStatus.CANCELED, "ImmediateOrCancel")


def test_a_trade_is_not_told_without_its_fee() -> None:
    """A fee of 0 would stay in the ledger. What the venue closed itself is told at once all the same."""
    assert c.fill_event(an_event(n=None), SOL) is None
    assert c.order_event(an_event(n=None), SOL).filled_size == D("0.1")
    assert c.fill_event(an_event(n=None, O="ADL_AUTOCLOSE"), SOL) is not None


@pytest.mark.parametrize(
    ("origin", "kind"),
    [
        ("USER", FillKind.TRADE),
        ("LIQUIDATION_AUTOCLOSE", FillKind.LIQUIDATION),
        ("ADL_AUTOCLOSE", FillKind.ADL),
        ("SETTLEMENT_AUTOCLOSE", FillKind.SETTLEMENT),
        ("COLLATERAL_CONVERSION", FillKind.TRADE),
        ("BACKSTOP_LIQUIDITY_PROVIDER", FillKind.TRADE),
    ],
)
def test_who_ordered_the_fill(origin: str, kind: FillKind) -> None:
    fill = c.fill_event(an_event(O=origin), SOL)
    assert fill is not None
    assert fill.kind is kind
    assert (own_liquidation(fill) is not None) == (kind in (FillKind.LIQUIDATION, FillKind.ADL))


def test_a_fill_in_history_is_the_same_trade() -> None:
    row = of(
        m.FillRow,
        tradeId="2888471",
        orderId="5406825793",
        clientId="123",
        symbol="SOL_USDC_PERP",
        side="Bid",
        price="20",
        quantity="0.10",
        fee="0.001",
        feeSymbol="USDC",
        isMaker=False,
        systemOrderType=None,
        timestamp="2025-08-11T19:05:10.174",
    )
    told, recorded = c.fill_event(an_event(), SOL), c.fill(row, SOL)
    assert told is not None
    assert recorded == msgspec.structs.replace(told, ts_venue_ns=recorded.ts_venue_ns)
    assert abs(told.ts_venue_ns - recorded.ts_venue_ns) < NS_PER_MS


@pytest.mark.parametrize(
    ("system", "kind"),
    [("LiquidatePositionOnBook", FillKind.LIQUIDATION), ("LiquidatePositionOnAdl", FillKind.ADL), ("OrderBookClosed", FillKind.SETTLEMENT)],
)
def test_history_names_what_the_venue_traded_for_us(system: str, kind: FillKind) -> None:
    row = {"orderId": "1", "symbol": "SOL_USDC_PERP", "side": "Ask", "price": "1", "quantity": "1", "fee": "0", "feeSymbol": "USDC"}
    found = c.fill(of(m.FillRow, **row, timestamp="2025-08-11T19:05:10", isMaker=False, tradeId=None, systemOrderType=system), SOL)
    assert found.kind is kind
    assert found.trade_id, "without an id of its own it is named by order and time"


@pytest.mark.parametrize("text", ["Buy", "", "bid"])
def test_an_unknown_side_is_refused(text: str) -> None:
    with pytest.raises(DecodeError):
        c.side_of(text)


# ---- account


def test_the_position_is_the_net_quantity() -> None:
    row = of(
        m.PositionRow,
        symbol="SOL_USDC_PERP",
        netQuantity="-2",
        netExposureQuantity="7",
        entryPrice="20",
        markPrice="19",
        estLiquidationPrice="0",
        pnlUnrealized="2",
        pnlRealized="1",
        cumulativeFundingPayment="-0.5",
    )
    position = c.position(row, SOL, NOW_NS)
    assert (position.quantity, position.entry_price, position.mark_price) == (D(-2), D(20), D(19))
    assert (position.unrealized_pnl, position.realized_pnl, position.cumulative_funding) == (D(2), D(1), D("-0.5"))
    assert position.liquidation_price is None, "0 is none"


def test_positions_on_the_stream_may_come_without_a_name() -> None:
    frame = (
        '{"data":{"B":"126.97","E":1769366599828079,"M":"120.96","P":"0.0009","Q":"0.5","T":1769366599828078,"i":28563667732,"l":"150",'
        '"n":"1.2096","p":"0.0592","q":"-0.01","s":"SOL_USDC_PERP"},"stream":"account.positionUpdate"}'
    )
    event = m.decode_frame(frame)
    assert isinstance(event, m.PositionEvent)
    position = c.position_event(event, SOL, 1)
    assert (position.quantity, position.entry_price, position.liquidation_price) == (D("-0.01"), D("126.97"), D(150))
    assert (position.unrealized_pnl, position.realized_pnl) == (D("0.0009"), D("0.0592"))
    assert position.ts_ns == 1769366599828078 * 1_000


def test_fees_are_in_basis_points() -> None:
    rates = c.fee_rates(of(m.Account, leverageLimit="10", futuresMakerFee="-0.5", futuresTakerFee="5"))
    assert (rates.maker, rates.taker) == (D("-0.00005"), D("0.0005"))


def test_what_is_available_is_not_what_is_there() -> None:
    state = c.account(of(m.Collateral, netEquity="151", netEquityAvailable="100.5", netEquityLocked="50.5"), asset="USDC", ts_ns=1)
    assert (state.equity, state.available, state.margin_used) == (D(151), D("100.5"), D("50.5"))
