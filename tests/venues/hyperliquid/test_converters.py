"""The meaning of each message, value by value: signs, units, multipliers, statuses, and refusal of what is no number."""

from __future__ import annotations

from decimal import Decimal as D
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange_clients.base_websocket import own_liquidation
from exchange_clients.book import BookFeed, SnapshotOnly
from exchange_clients.errors import DecodeError
from exchange_clients.hyperliquid import messages as m
from exchange_clients.hyperliquid.client.utils import converters as c
from exchange_clients.model import (
    NS_PER_HOUR,
    FillKind,
    Instrument,
    Liquidity,
    MarginMode,
    MarketStatus,
    OrderStatus,
    OrderType,
    Side,
    TimeInForce,
)

META = m.Meta(
    [
        m.AssetMeta("BTC", szDecimals=5, maxLeverage=40, marginTableId=56),
        m.AssetMeta("kPEPE", szDecimals=0, maxLeverage=10),
        m.AssetMeta("OLD", szDecimals=1, maxLeverage=3, isDelisted=True, onlyIsolated=True),
        m.AssetMeta("ODD"),
        m.AssetMeta("2Z", szDecimals=0, maxLeverage=5, marginMode="strictIsolated"),
    ],
    [(56, m.MarginTable("", [m.MarginTier(D("0.0"), 40), m.MarginTier(D("150000000.0"), 20)]))],
)


def market(coin: str) -> Instrument:
    found = next(i for i in c.instruments(META, dex="", quote="USDC") if i is not None and i.venue_symbol == coin)
    return found


BTC, PEPE = market("BTC"), market("kPEPE")
ACCOUNT = "0xAbC0000000000000000000000000000000000001"


def of(kind: Any, **fields: Any) -> Any:
    return msgspec.convert(fields, kind, strict=False)


def an_order(**fields: Any) -> m.OrderData:
    base = {"coin": "BTC", "side": "B", "limitPx": "29792.0", "sz": "5.0", "origSz": "5.0", "oid": 91490942, "timestamp": 1681247412573}
    return of(m.OrderData, **{**base, **fields})  # type: ignore[no-any-return]


def a_fill(**fields: Any) -> m.FillData:
    base = {"coin": "BTC", "px": "66653.0", "sz": "0.001", "side": "A", "time": 1781528065899, "oid": 55, "crossed": False, "fee": "-0.01"}
    return of(m.FillData, **{"tid": 745, "dir": "Open Short", "closedPnl": "0.0", **base, **fields})  # type: ignore[no-any-return]


def test_instruments() -> None:
    found = c.instruments(META, dex="", quote="USDC")
    assert [str(i.id) if i else None for i in found] == [
        "BTC-USDC-PERP.hyperliquid",
        "PEPE-USDC-PERP.hyperliquid",
        "OLD-USDC-PERP.hyperliquid",
        None,
        "2Z-USDC-PERP.hyperliquid",
    ]
    assert (BTC.tick_size, BTC.step_size, BTC.min_quantity, BTC.min_notional) == (
        D("0.1"),
        D("0.00001"),
        D("0.00001"),
        D(10),
    )
    assert (BTC.max_leverage, BTC.initial_margin, BTC.maintenance_margin) == (D(40), D("0.025"), D("0.0125"))
    assert BTC.price_rule is not None
    assert market("OLD").status is MarketStatus.DELISTED
    assert market("OLD").only_isolated
    assert market("2Z").only_isolated
    assert not BTC.only_isolated
    assert c.brackets(META.marginTables[0][1]) == ((D(0), D(40)), (D(150000000), D(20)))


def test_a_thousand_tokens_are_counted_singly() -> None:
    assert (PEPE.multiplier, PEPE.contract_size, PEPE.venue_symbol, PEPE.id.base) == (D(1000), D(1000), "kPEPE", "PEPE")
    assert (PEPE.tick_size, PEPE.step_size) == (D("1E-9"), D(1000))
    fill = c.fill(a_fill(coin="kPEPE", px="0.012345", sz="7"), PEPE, ACCOUNT)
    assert (fill.price, fill.quantity) == (D("0.000012345"), D(7000))
    ticker = c.ticker(of(m.AssetCtx, openInterest="100", markPx="0.01"), PEPE, 1)
    assert ticker.open_interest == D(1)
    assert ticker.mark == D("0.00001")


@pytest.mark.parametrize("coin", ["kava", "KAVA", "k", "kaito", "xyz:kX2"])
def test_only_the_k_form_has_a_multiplier(coin: str) -> None:
    instrument = c.instruments(m.Meta([m.AssetMeta(coin, szDecimals=1, maxLeverage=3)]), dex="", quote="USDC")[0]
    assert instrument is not None
    assert (instrument.multiplier == 1000) is (coin == "xyz:kX2")


def test_builder_markets_keep_their_dex_and_collateral() -> None:
    instrument = c.instruments(m.Meta([m.AssetMeta("xyz:TSLA", szDecimals=3, maxLeverage=10)]), dex="xyz", quote="USDC")[0]
    assert instrument is not None
    assert str(instrument.id) == "TSLA-USDC-PERP@xyz.hyperliquid"
    assert instrument.contract_id == "xyz:TSLA"


@given(
    price=st.decimals(min_value=D("0.000001"), max_value=D("9999999"), places=9, allow_nan=False, allow_infinity=False),
    decimals=st.integers(0, 6),
    thousand=st.booleans(),
    side=st.sampled_from(list(Side)),
    aggressive=st.booleans(),
)
def test_order_prices_follow_the_five_figure_rule(price: D, decimals: int, thousand: bool, side: Side, aggressive: bool) -> None:
    """The venue's rule written a second way, from the digits of the number it would see."""
    name = "kAAA" if thousand else "AAA"
    instrument = c.instruments(m.Meta([m.AssetMeta(name, szDecimals=decimals, maxLeverage=3)]), dex="", quote="USDC")[0]
    assert instrument is not None
    rounded = instrument.price_for(side, instrument.from_venue_price(price), aggressive=aggressive)
    wire = instrument.to_venue_price(rounded).normalize()
    _, digits, exponent = wire.as_tuple()
    assert isinstance(exponent, int)
    assert exponent >= 0 or (-exponent <= 6 - decimals and len(digits) <= 5)
    down = (side is Side.BUY) != aggressive
    assert wire <= price if down else wire >= price
    step = max(D(1).scaleb(decimals - 6), min(D(1), D(1).scaleb(price.adjusted() - 4)))
    assert abs(wire - price) < 10 * step


@pytest.mark.parametrize(
    ("decimals", "price", "side", "expected"),
    [
        (5, "97123.4", Side.BUY, "97123"),
        (5, "97123.4", Side.SELL, "97124"),
        (5, "123456", Side.BUY, "123456"),
        (0, "123456.7", Side.SELL, "123457"),
        (1, "0.012345678", Side.BUY, "0.01234"),
        (0, "99999.6", Side.SELL, "100000"),
        (0, "9999.96", Side.SELL, "10000"),
        (4, "1670.15", Side.SELL, "1670.2"),
    ],
)
def test_order_price_examples(decimals: int, price: str, side: Side, expected: str) -> None:
    instrument = c.instruments(m.Meta([m.AssetMeta("AAA", szDecimals=decimals, maxLeverage=3)]), dex="", quote="USDC")[0]
    assert instrument is not None
    assert instrument.price_for(side, D(price)) == D(expected)


def test_bbo_needs_both_sides() -> None:
    bid, ask = {"px": "1.5", "sz": "2", "n": 1}, {"px": "1.6", "sz": "3", "n": 1}
    full = c.bbo(of(m.BboData, coin="BTC", time=5, bbo=[bid, ask]), BTC, 9)
    assert full is not None
    assert (full.bid, full.bid_size, full.ask, full.ask_size) == (D("1.5"), D(2), D("1.6"), D(3))
    assert (full.ts_venue_ns, full.ts_recv_ns) == (5_000_000, 9)
    for one_sided in ([bid], [bid, None], [None, ask], [None, None], []):
        assert c.bbo(of(m.BboData, coin="BTC", time=5, bbo=one_sided), BTC, 9) is None


@pytest.mark.parametrize("bad", ["NaN", "Infinity", "-Infinity", "0", "-5"])
def test_a_price_that_is_none_is_refused(bad: str) -> None:
    quote = {"px": bad, "sz": "1", "n": 1}
    with pytest.raises(DecodeError):
        c.bbo(of(m.BboData, coin="BTC", time=5, bbo=[quote, quote]), BTC, 9)
    with pytest.raises(DecodeError):
        c.trade(of(m.TradeData, coin="BTC", side="A", px=bad, sz="1", time=1), BTC)
    with pytest.raises(DecodeError):
        c.fill(a_fill(px=bad), BTC, ACCOUNT)
    with pytest.raises(DecodeError):
        c.book(of(m.L2Snapshot, coin="BTC", time=1, levels=[[quote], []]), BTC, 1)


@pytest.mark.parametrize("bad", ["NaN", "Infinity"])
def test_a_size_or_rate_that_is_no_number_is_refused(bad: str) -> None:
    for make in (
        lambda: c.order(an_order(sz=bad), BTC),
        lambda: c.fill(a_fill(fee=bad), BTC, ACCOUNT),
        lambda: c.funding_now(of(m.AssetCtx, funding=bad), BTC, 1),
        lambda: c.position(of(m.PositionData, coin="BTC", szi=bad), BTC, 1),
        lambda: c.fee_rates(of(m.UserFees, userCrossRate=bad, userAddRate="0")),
    ):
        with pytest.raises(DecodeError):
            make()


def test_only_positions_have_a_sign() -> None:
    for make in (
        lambda: c.order(an_order(sz="-1"), BTC),
        lambda: c.fill(a_fill(sz="-0.001"), BTC, ACCOUNT),
        lambda: c.trade(of(m.TradeData, coin="BTC", side="A", px="1", sz="-1", time=1), BTC),
        lambda: c.ticker(of(m.AssetCtx, openInterest="-1", markPx="1"), BTC, 1),
    ):
        with pytest.raises(DecodeError):
            make()
    assert c.position(of(m.PositionData, coin="BTC", szi="-1"), BTC, 1).quantity == D(-1)


def test_sides() -> None:
    assert c.trade(of(m.TradeData, coin="BTC", side="A", px="1", sz="1", time=1, tid=7), BTC).side is Side.SELL
    assert c.trade(of(m.TradeData, coin="BTC", side="B", px="1", sz="1", time=1, tid=7), BTC).side is Side.BUY
    with pytest.raises(DecodeError):
        c.side_of("buy")


@given(
    ticks=st.lists(st.integers(1, 99_999), min_size=1, max_size=20, unique=True),
    sizes=st.lists(st.integers(1, 10**9), min_size=20, max_size=20),
    decimals=st.integers(0, 6),
)
def test_streamed_books_are_exact(ticks: list[int], sizes: list[int], decimals: int) -> None:
    """Floats on the wire, Decimals out of the book: equal to what Decimal would have read."""
    instrument = c.instruments(m.Meta([m.AssetMeta("AAA", szDecimals=decimals, maxLeverage=3)]), dex="", quote="USDC")[0]
    assert instrument is not None
    levels: list[dict[str, Any]] = [
        {"px": str(D(t).scaleb(decimals - 6)), "sz": str(D(s).scaleb(-decimals)), "n": 1}
        for t, s in zip(sorted(ticks, reverse=True), sizes, strict=False)
    ]
    frame = msgspec.json.encode({"channel": "l2Book", "data": {"coin": "AAA", "time": 3, "levels": [levels, []]}})
    decoded = m.decode_frame(frame)
    assert isinstance(decoded, m.L2BookFrame)
    feed = BookFeed(instrument, SnapshotOnly(), lambda gap: pytest.fail(gap.reason))
    feed.snapshot(*decoded.data.levels, sequence=decoded.data.time, ts_recv_ns=1)
    read = [(level.price, level.size) for level in feed.read().bids]
    assert read == [(D(level["px"]), D(level["sz"])) for level in levels]


# ---- funding


def test_funding_now_is_hourly_and_due_at_the_next_whole_hour() -> None:
    now = 1_700_000_000 * 10**9
    sample = c.funding_now(of(m.AssetCtx, funding="0.0000125"), BTC, now)
    assert sample is not None
    assert (sample.raw_rate, sample.interval_hours, sample.normalized_rate) == (D("0.0000125"), D(1), D("0.0001"))
    assert sample.annual_rate == D("0.0000125") * 8760
    assert sample.next_funding_time == (now // NS_PER_HOUR + 1) * NS_PER_HOUR
    on_the_hour = c.funding_now(of(m.AssetCtx, funding="0"), BTC, 3 * NS_PER_HOUR)
    assert on_the_hour is not None
    assert on_the_hour.next_funding_time == 4 * NS_PER_HOUR


def test_no_funding_where_there_is_no_market() -> None:
    assert c.funding_now(of(m.AssetCtx), BTC, 1) is None
    assert c.funding_now(of(m.AssetCtx, funding="0.0"), market("OLD"), 1) is None


def test_settled_rates_of_the_first_weeks_were_eight_hourly() -> None:
    old = c.funding_settled(of(m.FundingRow, coin="BTC", fundingRate="0.0001", premium="0", time=1683878400388), BTC)
    new = c.funding_settled(of(m.FundingRow, coin="BTC", fundingRate="0.0000125", premium="0", time=1686186000054), BTC)
    assert (old.interval_hours, new.interval_hours) == (D(8), D(1))
    assert old.hourly_rate == new.hourly_rate


def test_a_payment_has_the_sign_of_what_was_received() -> None:
    """E28: a long pays a positive rate."""
    row = of(m.UserFundingRow, time=5, hash="0x0", delta={"coin": "ETH", "usdc": "-3.625312", "szi": "49.1477", "fundingRate": "0.0000417"})
    payment = c.funding_payment(row.delta, row.time, BTC)
    assert (payment.amount, payment.rate, payment.position_quantity) == (D("-3.625312"), D("0.0000417"), D("49.1477"))
    assert payment.payment_id == "5:ETH"


# ---- orders and fills


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("open", OrderStatus.OPEN),
        ("triggered", OrderStatus.OPEN),
        ("filled", OrderStatus.FILLED),
        ("canceled", OrderStatus.CANCELED),
        ("marginCanceled", OrderStatus.CANCELED),
        ("vaultWithdrawalCanceled", OrderStatus.CANCELED),
        ("openInterestCapCanceled", OrderStatus.CANCELED),
        ("selfTradeCanceled", OrderStatus.CANCELED),
        ("reduceOnlyCanceled", OrderStatus.CANCELED),
        ("siblingFilledCanceled", OrderStatus.CANCELED),
        ("delistedCanceled", OrderStatus.CANCELED),
        ("liquidatedCanceled", OrderStatus.CANCELED),
        ("outcomeSettledCanceled", OrderStatus.CANCELED),
        ("scheduledCancel", OrderStatus.CANCELED),
        ("internalCancel", OrderStatus.CANCELED),
        ("iocCancelRejected", OrderStatus.CANCELED),
        ("rejected", OrderStatus.REJECTED),
        ("tickRejected", OrderStatus.REJECTED),
        ("minTradeNtlRejected", OrderStatus.REJECTED),
        ("perpMarginRejected", OrderStatus.REJECTED),
        ("reduceOnlyRejected", OrderStatus.REJECTED),
        ("badAloPxRejected", OrderStatus.REJECTED),
        ("badTriggerPxRejected", OrderStatus.REJECTED),
        ("marketOrderNoLiquidityRejected", OrderStatus.REJECTED),
        ("positionIncreaseAtOpenInterestCapRejected", OrderStatus.REJECTED),
        ("positionFlipAtOpenInterestCapRejected", OrderStatus.REJECTED),
        ("tooAggressiveAtOpenInterestCapRejected", OrderStatus.REJECTED),
        ("openInterestIncreaseRejected", OrderStatus.REJECTED),
        ("insufficientSpotBalanceRejected", OrderStatus.REJECTED),
        ("oracleRejected", OrderStatus.REJECTED),
        ("perpMaxPositionRejected", OrderStatus.REJECTED),
        ("tooManyOpenOrdersRejected", OrderStatus.REJECTED),
        ("somethingNew", OrderStatus.UNKNOWN),
        ("Filled", OrderStatus.UNKNOWN),
        ("", OrderStatus.UNKNOWN),
    ],
)
def test_status_words(word: str, status: OrderStatus) -> None:
    info = c.order_update(m.OrderUpdate(an_order(), word, 7), BTC)
    assert info.status is status
    keeps_reason = status in (OrderStatus.CANCELED, OrderStatus.REJECTED) and word != "canceled"
    assert info.cancel_reason == (word if keeps_reason else None)


def test_sz_is_what_remains() -> None:
    info = c.order_update(m.OrderUpdate(an_order(sz="2.0", cloid="0xABC"), "open", 1681247412999), BTC)
    assert (info.size, info.filled_size, info.remaining_size, info.status) == (D(5), D(3), D(2), OrderStatus.PARTIALLY_FILLED)
    assert (info.order_id, info.client_order_id, info.price) == ("91490942", "0xabc", D("29792.0"))
    assert (info.created_ns, info.updated_ns) == (1681247412573 * 10**6, 1681247412999 * 10**6)
    filled = c.order_update(m.OrderUpdate(an_order(sz="0.0"), "filled", 1), BTC)
    assert (filled.filled_size, filled.remaining_size) == (D(5), D(0))
    canceled = c.order_update(m.OrderUpdate(an_order(sz="4.0"), "canceled", 1), BTC)
    assert (canceled.filled_size, canceled.remaining_size, canceled.status) == (D(1), D(4), OrderStatus.CANCELED)


@pytest.mark.parametrize(
    ("fields", "kind", "tif", "post_only", "status"),
    [
        ({"orderType": "Limit", "tif": "Gtc"}, OrderType.LIMIT, TimeInForce.GTC, False, OrderStatus.OPEN),
        ({"orderType": "Limit", "tif": "Alo"}, OrderType.LIMIT, TimeInForce.GTC, True, OrderStatus.OPEN),
        ({"orderType": "Limit", "tif": "Ioc"}, OrderType.LIMIT, TimeInForce.IOC, False, OrderStatus.OPEN),
        ({"orderType": "Market", "tif": "FrontendMarket"}, OrderType.MARKET, TimeInForce.IOC, False, OrderStatus.OPEN),
        (
            {"orderType": "Stop Market", "isTrigger": True, "triggerPx": "9"},
            OrderType.STOP_MARKET,
            TimeInForce.GTC,
            False,
            OrderStatus.PENDING,
        ),
        (
            {"orderType": "Take Profit Limit", "isTrigger": True, "triggerPx": "9", "reduceOnly": True},
            OrderType.TAKE_PROFIT_LIMIT,
            TimeInForce.GTC,
            False,
            OrderStatus.PENDING,
        ),
    ],
)
def test_open_order_kinds(fields: dict[str, Any], kind: OrderType, tif: TimeInForce, post_only: bool, status: OrderStatus) -> None:
    info = c.order(an_order(**fields), BTC)
    assert (info.order_type, info.time_in_force, info.post_only, info.status) == (kind, tif, post_only, status)
    assert info.trigger_price == (D(9) if "triggerPx" in fields else None)
    assert info.reduce_only is bool(fields.get("reduceOnly"))


def test_fill() -> None:
    fill = c.fill(a_fill(cloid="0xE8D5", builderFee="0.001"), BTC, ACCOUNT)
    assert (fill.trade_id, fill.order_id, fill.client_order_id) == ("745", "55", "0xe8d5")
    assert (fill.side, fill.price, fill.quantity, fill.signed_quantity) == (
        Side.SELL,
        D("66653.0"),
        D("0.001"),
        D("-0.001"),
    )
    assert (fill.fee, fill.fee_asset, fill.liquidity, fill.kind) == (D("-0.01"), "USDC", Liquidity.MAKER, FillKind.TRADE)
    assert fill.ts_venue_ns == 1781528065899 * 10**6
    assert c.fill(a_fill(crossed=True), BTC, ACCOUNT).liquidity is Liquidity.TAKER


def test_only_our_own_liquidation_is_one() -> None:
    def liquidated(user: str) -> FillKind:
        return c.fill(a_fill(liquidation={"liquidatedUser": user, "markPx": "1", "method": "market"}), BTC, ACCOUNT).kind

    assert liquidated(ACCOUNT.lower()) is FillKind.LIQUIDATION
    assert liquidated("0x360878d351f05975e25f1807a27895e1e5e004fb") is FillKind.TRADE
    ours = c.fill(a_fill(liquidation={"liquidatedUser": ACCOUNT, "markPx": "1", "method": "market"}), BTC, ACCOUNT)
    event = own_liquidation(ours)
    assert event is not None
    assert (event.quantity, event.side, event.own, event.kind) == (D("0.001"), Side.SELL, True, FillKind.LIQUIDATION)
    assert own_liquidation(c.fill(a_fill(), BTC, ACCOUNT)) is None
    adl = own_liquidation(c.fill(a_fill(dir="Auto-Deleveraging"), BTC, ACCOUNT))
    assert adl is not None
    assert adl.kind is FillKind.ADL


# ---- account


def a_state(**fields: Any) -> m.ClearinghouseState:
    position = {
        "coin": "BTC",
        "szi": "-0.00785",
        "entryPx": "26951.0",
        "positionValue": "211.64542",
        "unrealizedPnl": "-0.08007",
        "liquidationPx": "173198.69",
        "marginUsed": "10.58",
        "leverage": {"type": "cross", "value": 20},
        "cumFunding": {"allTime": "514.08", "sinceOpen": "1.5", "sinceChange": "0.0"},
    }
    summary = {"accountValue": "100.0", "totalNtlPos": "211.6", "totalRawUsd": "-111.6", "totalMarginUsed": "10.6"}
    base = {"marginSummary": summary, "crossMaintenanceMarginUsed": "2.1", "withdrawable": "89.4", "time": 1708622398623}
    return of(m.ClearinghouseState, **{**base, "assetPositions": [{"type": "oneWay", "position": position}], **fields})  # type: ignore[no-any-return]


def test_position() -> None:
    found = c.positions(a_state(), lambda coin: BTC if coin == "BTC" else None, 1)
    assert len(found) == 1
    p = found[0]
    assert (p.quantity, p.entry_price, p.unrealized_pnl) == (D("-0.00785"), D("26951.0"), D("-0.08007"))
    assert p.mark_price == D("211.64542") / D("0.00785")
    assert (p.leverage, p.margin_mode, p.liquidation_price) == (D(20), MarginMode.CROSS, D("173198.69"))
    assert p.cumulative_funding == D("-1.5")
    assert p.ts_ns == 1708622398623 * 10**6
    assert c.positions(a_state(), lambda coin: None, 1) == []


def test_account_of_one_and_of_several_dexes() -> None:
    one = c.account([a_state()], None, asset="USDC", ts_ns=3)
    assert (one.available, one.equity, one.unrealized_pnl) == (D("89.4"), D("100.0"), D("-0.08007"))
    assert (one.margin_used, one.maintenance_margin) == (D("10.6"), D("2.1"))
    two = c.account([a_state(), a_state()], None, asset="USDC", ts_ns=3)
    assert (two.available, two.equity) == (D("178.8"), D("200.0"))


def test_account_under_unified_margin_is_the_spot_balance() -> None:
    spot = of(m.SpotState, balances=[{"coin": "USDC", "token": 0, "total": "894.08996004", "hold": "140.43677994"}])
    unified = c.account([a_state()], spot, asset="USDC", ts_ns=3)
    assert (unified.equity, unified.available) == (D("894.08996004"), D("753.65318010"))
    empty = c.account([a_state(assetPositions=[])], of(m.SpotState, balances=[]), asset="USDC", ts_ns=3)
    assert (empty.equity, empty.available) == (D(0), D(0))


def test_fee_rates_and_leverage() -> None:
    fees = c.fee_rates(of(m.UserFees, userCrossRate="0.00045", userAddRate="-0.00001"))
    assert (fees.taker, fees.maker) == (D("0.00045"), D("-0.00001"))
    data = of(m.ActiveAssetData, user="0x", coin="BTC", leverage={"type": "isolated", "value": 5, "rawUsd": "1"})
    info = c.leverage_info(data, BTC, ((D(0), D(40)),))
    assert (info.max_leverage, info.account_leverage) == (D(40), D(5))
    assert (info.margin_requirement, info.margin_mode) == (D("0.2"), MarginMode.ISOLATED)
