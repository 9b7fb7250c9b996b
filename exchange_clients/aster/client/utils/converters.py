"""Aster's words turned into ours: pure functions, no I/O, no clock, no log.

Units: a 1000X market counts a thousand X in price and size; the instrument's multiplier and contract size turn both into base units. Wire
times are milliseconds. Funding rates are fractions of the market's own interval, `fundingInfo` tells which. Open interest is one-sided.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Final

from exchange_clients.aster import messages as m
from exchange_clients.aster.common import split_base
from exchange_clients.errors import DecodeError
from exchange_clients.model import (
    NS_PER_MS,
    ZERO,
    AccountState,
    Bbo,
    BookLevel,
    BookSnapshot,
    Candle,
    FeeRates,
    Fill,
    FillKind,
    FundingPayment,
    FundingRateSample,
    Instrument,
    InstrumentId,
    LeverageInfo,
    Liquidity,
    MarginMode,
    MarketStatus,
    OrderInfo,
    OrderStatus,
    OrderType,
    Position,
    RateKind,
    Side,
    Ticker,
    TimeInForce,
    Trade,
)
from exchange_clients.numbers import WireNumbers

VENUE: Final = "aster"
_WIRE: Final = WireNumbers(VENUE)
number, price_of, size_of, signed_size_of = _WIRE.number, _WIRE.price_of, _WIRE.size_of, _WIRE.signed_size_of
INTERVALS_HOURS: Final = frozenset({1, 2, 4, 8})
HOUR_MS: Final = 3_600_000
NEVER_MS: Final = 4_102_444_800_000
"""Markets without an end carry a delivery date in December 2100."""
WOULD_CROSS: Final = "post-only order would have taken liquidity"

Find = Callable[[str], Instrument | None]
"""The instrument of a wire symbol; None for unlisted ones, whose messages yield nothing."""

_MARKET_STATUS: Final = {
    "TRADING": MarketStatus.ACTIVE,
    "PENDING_TRADING": MarketStatus.HALTED,
    "PRE_SETTLE": MarketStatus.REDUCE_ONLY,
    "SETTLING": MarketStatus.DELISTED,
    "CLOSE": MarketStatus.DELISTED,
}
_SIDES: Final = {"BUY": Side.BUY, "SELL": Side.SELL}
_ORDER_TYPES: Final = {
    "LIMIT": OrderType.LIMIT,
    "MARKET": OrderType.MARKET,
    "STOP": OrderType.STOP_LIMIT,
    "STOP_MARKET": OrderType.STOP_MARKET,
    "TRAILING_STOP_MARKET": OrderType.STOP_MARKET,
    "TAKE_PROFIT": OrderType.TAKE_PROFIT_LIMIT,
    "TAKE_PROFIT_MARKET": OrderType.TAKE_PROFIT_MARKET,
}
TRIGGER_WORDS: Final = frozenset({"STOP", "STOP_MARKET", "TRAILING_STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET"})
_IMMEDIATE: Final = frozenset({"IOC", "FOK"})
_TIMES_IN_FORCE: Final = {"IOC": TimeInForce.IOC, "FOK": TimeInForce.FOK}
_STATUS: Final = {
    "NEW": OrderStatus.OPEN,
    "PARTIALLY_FILLED": OrderStatus.PARTIALLY_FILLED,
    "FILLED": OrderStatus.FILLED,
    "CANCELED": OrderStatus.CANCELED,
    "REJECTED": OrderStatus.REJECTED,
    "NEW_INSURANCE": OrderStatus.OPEN,
    "NEW_ADL": OrderStatus.OPEN,
}


def side_of(text: str) -> Side:
    try:
        return _SIDES[text]
    except KeyError:
        raise DecodeError(f"side {text!r}", venue=VENUE) from None


# ---- instruments


def instruments(
    info: m.ExchangeInfo, intervals: Mapping[str, m.FundingInfo], brackets: Mapping[str, Sequence[m.Bracket]]
) -> list[Instrument]:
    """Perpetual markets. Those of test assets and rows without assets or filters yield nothing.

    The funding interval is None where the venue names none; margins are known where `brackets`, which need a key, are.
    """
    found = (_instrument(s, intervals.get(s.symbol), brackets.get(s.symbol, ())) for s in info.symbols if s.contractType == "PERPETUAL")
    return [instrument for instrument in found if instrument is not None]


def _instrument(row: m.Symbol, funding: m.FundingInfo | None, brackets: Sequence[m.Bracket]) -> Instrument | None:
    rules = {f.filterType: f for f in row.filters}
    price, lot, least = rules.get("PRICE_FILTER"), rules.get("LOT_SIZE"), rules.get("MIN_NOTIONAL")
    if not row.baseAsset or not row.quoteAsset or row.baseAsset.startswith("TEST") or price is None or lot is None:
        return None
    if not price.tickSize or not lot.stepSize:
        return None
    base, multiplier = split_base(row.baseAsset)
    first = brackets[0] if brackets else None
    return Instrument(
        id=InstrumentId(base, row.quoteAsset, VENUE),
        venue_symbol=row.symbol,
        contract_id=row.symbol,
        settle=row.marginAsset or row.quoteAsset,
        tick_size=number(price.tickSize, "tickSize").normalize() / multiplier,
        step_size=number(lot.stepSize, "stepSize").normalize() * multiplier,
        min_quantity=max(lot.minQty or ZERO, lot.stepSize) * multiplier,
        max_quantity=lot.maxQty * multiplier if lot.maxQty else None,
        min_notional=(least.notional if least is not None else None) or ZERO,
        multiplier=multiplier,
        contract_size=multiplier,
        initial_margin=1 / first.initialLeverage if first is not None and first.initialLeverage else None,
        maintenance_margin=first.maintMarginRatio if first is not None else None,
        max_leverage=first.initialLeverage if first is not None else None,
        funding_interval_hours=Decimal(funding.fundingIntervalHours) if funding is not None else None,
        funding_cap=funding.fundingFeeCap if funding is not None else None,
        status=_MARKET_STATUS.get(row.status, MarketStatus.UNKNOWN),
        ends_ns=row.deliveryDate * NS_PER_MS if 0 < row.deliveryDate < NEVER_MS else None,
    )


# ---- market data


def book(data: m.DepthView, instrument: Instrument, depth: int, ts_recv_ns: int) -> BookSnapshot:
    bids, asks = (
        tuple(BookLevel(price_of(level.px, instrument), size_of(level.sz, instrument)) for level in side[:depth])
        for side in (data.bids, data.asks)
    )
    return BookSnapshot(
        instrument=instrument.id,
        bids=bids,
        asks=asks,
        ts_venue_ns=(data.T or data.E) * NS_PER_MS or None,
        ts_recv_ns=ts_recv_ns,
        sequence=data.lastUpdateId,
    )


def bbo(data: m.BookTicker, instrument: Instrument, ts_recv_ns: int) -> Bbo | None:
    """None when a side is empty: its price is 0."""
    if not data.b or not data.a:
        return None
    return Bbo(
        instrument.id,
        price_of(data.b, instrument),
        size_of(data.B, instrument),
        price_of(data.a, instrument),
        size_of(data.A, instrument),
        (data.T or data.E) * NS_PER_MS or None,
        ts_recv_ns,
    )


def _taker(buyer_is_maker: bool) -> Side:
    return Side.SELL if buyer_is_maker else Side.BUY


def trade(data: m.PublicTrade, instrument: Instrument) -> Trade:
    return Trade(
        instrument.id,
        str(data.id),
        price_of(data.price, instrument),
        size_of(data.qty, instrument),
        _taker(data.isBuyerMaker),
        data.time * NS_PER_MS,
    )


def agg_trade(data: m.AggTradeEvent | m.AggTrade, instrument: Instrument) -> Trade:
    """Fills of one taker order at one price; its id is of another count than that of single trades."""
    return Trade(instrument.id, f"a{data.a}", price_of(data.p, instrument), size_of(data.q, instrument), _taker(data.m), data.T * NS_PER_MS)


def candle(row: m.Kline, instrument: Instrument, interval: str, now_ns: int) -> Candle:
    """`closed` once its last millisecond is past."""
    return Candle(
        instrument=instrument.id,
        interval=interval,
        open_ns=row.open_ms * NS_PER_MS,
        open=price_of(row.open, instrument),
        high=price_of(row.high, instrument),
        low=price_of(row.low, instrument),
        close=price_of(row.close, instrument),
        volume=size_of(row.volume, instrument),
        closed=now_ns >= (row.close_ms + 1) * NS_PER_MS,
    )


def streamed_candle(data: m.KlineData, instrument: Instrument) -> Candle:
    return Candle(
        instrument=instrument.id,
        interval=data.i,
        open_ns=data.t * NS_PER_MS,
        open=price_of(data.o, instrument),
        high=price_of(data.h, instrument),
        low=price_of(data.l, instrument),
        close=price_of(data.c, instrument),
        volume=size_of(data.v, instrument),
        closed=data.x,
    )


def ticker(
    instrument: Instrument, premium: m.PremiumIndex | None, day: m.DayTicker | None, interest: m.OpenInterest | None, ts_ns: int
) -> Ticker:
    """Volume and open interest in USD, the latter one-sided and valued at mark."""
    mark = price_of(premium.markPrice, instrument, "markPrice") if premium is not None and premium.markPrice else None
    return Ticker(
        instrument=instrument.id,
        last=price_of(day.lastPrice, instrument, "lastPrice") if day is not None and day.lastPrice else None,
        mark=mark,
        index=price_of(premium.indexPrice, instrument, "indexPrice") if premium is not None and premium.indexPrice else None,
        volume_24h=number(day.quoteVolume, "quoteVolume") if day is not None else None,
        open_interest=size_of(interest.openInterest, instrument, "openInterest") * mark
        if interest is not None and mark is not None
        else None,
        ts_ns=ts_ns,
    )


# ---- funding


def funding_now(data: m.PremiumIndex, interval: m.FundingInfo, instrument: Instrument) -> FundingRateSample | None:
    """The running rate, charged at `nextFundingTime`. None for a market that has none."""
    if data.lastFundingRate is None or not data.nextFundingTime:
        return None
    return FundingRateSample(
        raw_rate=number(data.lastFundingRate, "lastFundingRate"),
        interval_hours=Decimal(interval.fundingIntervalHours),
        kind=RateKind.PREDICTED,
        next_funding_time=data.nextFundingTime * NS_PER_MS,
        source_timestamp=data.time * NS_PER_MS,
        cap=interval.fundingFeeCap,
        instrument=instrument.id,
    )


def streamed_funding(data: m.MarkPriceEvent, interval: m.FundingInfo | None, instrument: Instrument) -> FundingRateSample | None:
    """None while the market's interval is not known: a rate without one says nothing."""
    if data.r is None or not data.T or interval is None:
        return None
    return FundingRateSample(
        raw_rate=number(data.r, "r"),
        interval_hours=Decimal(interval.fundingIntervalHours),
        kind=RateKind.PREDICTED,
        next_funding_time=data.T * NS_PER_MS,
        source_timestamp=data.E * NS_PER_MS,
        cap=interval.fundingFeeCap,
        instrument=instrument.id,
    )


def funding_settled(rows: Sequence[m.FundingRow], instrument: Instrument) -> list[FundingRateSample]:
    """Rows oldest first. Each has the interval that ended with it: the distance from the row before.

    The first row has that of the second; a row behind a hole has the market's own of today.

    Raises:
        DecodeError: neither tells.
    """
    found: list[FundingRateSample] = []
    for place, row in enumerate(rows):
        before, after = (rows[place - 1], row) if place else (row, rows[1] if len(rows) > 1 else row)
        hours = round((after.fundingTime - before.fundingTime) / HOUR_MS)
        interval = Decimal(hours) if hours in INTERVALS_HOURS else instrument.funding_interval_hours
        if interval is None:
            raise DecodeError(f"funding interval of {instrument.venue_symbol} at {row.fundingTime} is not known", venue=VENUE)
        stamp = row.fundingTime * NS_PER_MS
        found.append(
            FundingRateSample(
                raw_rate=number(row.fundingRate, "fundingRate"),
                interval_hours=interval,
                kind=RateKind.SETTLED,
                settled_at=stamp,
                source_timestamp=stamp,
                instrument=instrument.id,
            )
        )
    return found


def funding_payment(row: m.Income, instrument: Instrument) -> FundingPayment:
    """`amount` > 0 was received, as on the wire. The record names neither rate nor position."""
    return FundingPayment(
        instrument=instrument.id,
        payment_id=str(row.tranId),
        amount=number(row.income, "income"),
        asset=row.asset,
        rate=None,
        position_quantity=None,
        ts_venue_ns=row.time * NS_PER_MS,
    )


# ---- orders and fills


def order_status(status: str, kind: str, time_in_force: str, filled: Decimal) -> OrderStatus:
    """`kind` is the order's type of now. A word we do not know is UNKNOWN: it has to be asked about, never taken for filled."""
    if status == "EXPIRED":
        if time_in_force in _IMMEDIATE or kind == "MARKET":
            return OrderStatus.CANCELED
        return OrderStatus.REJECTED if time_in_force == "GTX" and not filled else OrderStatus.EXPIRED
    if status == "NEW" and kind in TRIGGER_WORDS:
        return OrderStatus.PENDING
    return _STATUS.get(status, OrderStatus.UNKNOWN)


def _reason(state: OrderStatus, status: str) -> str | None:
    if state is OrderStatus.REJECTED:
        return WOULD_CROSS if status == "EXPIRED" else status.lower()
    return status.lower() if state in (OrderStatus.EXPIRED, OrderStatus.CANCELED) and status != "CANCELED" else None


def _sizes(size: Decimal, filled: Decimal, order_id: int) -> tuple[Decimal, Decimal]:
    """No order fills more than it is; one that closes a whole position has no size."""
    if filled > size > ZERO:
        raise DecodeError(f"order {order_id} has filled {filled} of {size}", venue=VENUE)
    return size, filled


def _order_type(text: str) -> OrderType:
    return _ORDER_TYPES.get(text, OrderType.LIMIT)


def order(data: m.Order, instrument: Instrument) -> OrderInfo:
    """`origQty` is 0 for orders that close the whole position."""
    size, filled = _sizes(size_of(data.origQty, instrument, "origQty"), size_of(data.executedQty, instrument, "executedQty"), data.orderId)
    state = order_status(data.status, data.type, data.timeInForce, filled)
    return OrderInfo(
        instrument=instrument.id,
        order_id=str(data.orderId),
        client_order_id=data.clientOrderId or None,
        side=side_of(data.side),
        size=size,
        price=price_of(data.price, instrument) if data.price else None,
        status=state,
        filled_size=filled,
        remaining_size=max(ZERO, size - filled),
        average_price=price_of(data.avgPrice, instrument, "avgPrice") if data.avgPrice else None,
        order_type=_order_type(data.origType or data.type),
        time_in_force=_TIMES_IN_FORCE.get(data.timeInForce, TimeInForce.GTC),
        post_only=data.timeInForce == "GTX",
        reduce_only=data.reduceOnly or data.closePosition,
        trigger_price=price_of(data.stopPrice, instrument, "stopPrice") if data.stopPrice else None,
        cancel_reason=_reason(state, data.status),
        created_ns=data.time * NS_PER_MS or None,
        updated_ns=data.updateTime * NS_PER_MS or None,
    )


def order_update(data: m.OrderUpdate, instrument: Instrument) -> OrderInfo:
    """A trigger that fires may be told as the end of the conditional order before its successor comes: such an end proves nothing."""
    size, filled = _sizes(size_of(data.q, instrument, "q"), size_of(data.z, instrument, "z"), data.i)
    state = order_status(data.X, data.o, data.f, filled)
    if data.o in TRIGGER_WORDS and data.X == "EXPIRED":
        state = OrderStatus.UNKNOWN
    return OrderInfo(
        instrument=instrument.id,
        order_id=str(data.i),
        client_order_id=data.c or None,
        side=side_of(data.S),
        size=size,
        price=price_of(data.p, instrument) if data.p else None,
        status=state,
        filled_size=filled,
        remaining_size=max(ZERO, size - filled),
        average_price=price_of(data.ap, instrument, "ap") if data.ap else None,
        order_type=_order_type(data.ot or data.o),
        time_in_force=_TIMES_IN_FORCE.get(data.f, TimeInForce.GTC),
        post_only=data.f == "GTX",
        reduce_only=data.R or data.cp,
        trigger_price=price_of(data.sp, instrument, "sp") if data.sp else None,
        cancel_reason=_reason(state, data.X),
        updated_ns=data.T * NS_PER_MS,
    )


def fill_kind(client_order_id: str, execution: str = "TRADE") -> FillKind:
    """The venue's own orders name what they are for."""
    if client_order_id == "adl_autoclose":
        return FillKind.ADL
    if client_order_id.startswith("settlement_autoclose-"):
        return FillKind.SETTLEMENT
    return FillKind.LIQUIDATION if client_order_id.startswith("autoclose-") or execution == "CALCULATED" else FillKind.TRADE


def streamed_fill(data: m.OrderUpdate, instrument: Instrument) -> Fill | None:
    """None when the message tells of no execution."""
    if data.x not in ("TRADE", "CALCULATED") or not data.l:
        return None
    kind = fill_kind(data.c, data.x)
    return Fill(
        instrument=instrument.id,
        trade_id=str(data.t),
        order_id=str(data.i),
        client_order_id=data.c or None,
        side=side_of(data.S),
        price=price_of(data.L, instrument, "L"),
        quantity=size_of(data.l, instrument, "l"),
        fee=abs(number(data.n, "n")),
        fee_asset=data.N or instrument.settle,
        liquidity=Liquidity.MAKER if data.m else Liquidity.TAKER,
        ts_venue_ns=data.T * NS_PER_MS,
        kind=kind,
        realized_pnl=number(data.rp, "rp"),
    )


def fill(row: m.UserTrade, instrument: Instrument, kind: FillKind = FillKind.TRADE) -> Fill:
    return Fill(
        instrument=instrument.id,
        trade_id=str(row.id),
        order_id=str(row.orderId),
        client_order_id=None,
        side=side_of(row.side),
        price=price_of(row.price, instrument),
        quantity=size_of(row.qty, instrument, "qty"),
        fee=abs(number(row.commission, "commission")),
        fee_asset=row.commissionAsset,
        liquidity=Liquidity.MAKER if row.maker else Liquidity.TAKER,
        ts_venue_ns=row.time * NS_PER_MS,
        kind=kind,
        realized_pnl=number(row.realizedPnl, "realizedPnl") if row.realizedPnl is not None else None,
    )


# ---- account


def margin_mode(text: str) -> MarginMode:
    """`cross` and `isolated` in answers and events, in some `CROSSED`."""
    return MarginMode.ISOLATED if text.lower() == "isolated" else MarginMode.CROSS


def position(row: m.PositionRisk, instrument: Instrument) -> Position:
    """What the venue calls leverage is the setting. Margin is told for isolated positions only."""
    quantity = signed_size_of(row.positionAmt, instrument, "positionAmt")
    mode = margin_mode(row.marginType)
    return Position(
        instrument=instrument.id,
        quantity=quantity,
        entry_price=price_of(row.entryPrice, instrument, "entryPrice") if row.entryPrice else None,
        mark_price=price_of(row.markPrice, instrument, "markPrice") if row.markPrice else None,
        unrealized_pnl=number(row.unRealizedProfit, "unRealizedProfit"),
        margin_used=row.isolatedMargin if mode is MarginMode.ISOLATED else None,
        leverage=row.leverage or None,
        liquidation_price=price_of(row.liquidationPrice, instrument, "liquidationPrice") if row.liquidationPrice else None,
        margin_mode=mode,
        ts_ns=row.updateTime * NS_PER_MS,
    )


def positions(rows: Iterable[m.PositionRisk], find: Find) -> list[Position]:
    """Open ones: the venue lists every market."""
    return [position(row, instrument) for row in rows if row.positionAmt and (instrument := find(row.symbol)) is not None]


def streamed_position(data: m.PositionChange, instrument: Instrument, ts_ns: int) -> Position:
    return Position(
        instrument=instrument.id,
        quantity=signed_size_of(data.pa, instrument, "pa"),
        entry_price=price_of(data.ep, instrument, "ep") if data.ep else None,
        unrealized_pnl=number(data.up, "up"),
        margin_used=data.iw if data.mt == "isolated" else None,
        margin_mode=margin_mode(data.mt),
        ts_ns=ts_ns,
    )


def account(data: m.Account, *, asset: str, ts_ns: int) -> AccountState:
    """The account's own totals: with margin shared by assets each asset shows the joint figure, so they are never summed."""
    return AccountState(
        available=number(data.availableBalance, "availableBalance"),
        equity=number(data.totalMarginBalance, "totalMarginBalance"),
        unrealized_pnl=number(data.totalUnrealizedProfit, "totalUnrealizedProfit"),
        margin_used=number(data.totalInitialMargin, "totalInitialMargin"),
        maintenance_margin=number(data.totalMaintMargin, "totalMaintMargin"),
        asset=asset,
        ts_ns=ts_ns,
    )


def fee_rates(data: m.CommissionRate) -> FeeRates:
    return FeeRates(
        maker=number(data.makerCommissionRate, "makerCommissionRate"), taker=number(data.takerCommissionRate, "takerCommissionRate")
    )


def leverage_info(row: m.PositionRisk, brackets: Sequence[m.Bracket]) -> LeverageInfo:
    return LeverageInfo(
        max_leverage=brackets[0].initialLeverage if brackets else None,
        max_notional=row.maxNotionalValue,
        margin_requirement=1 / row.leverage if row.leverage else None,
        brackets=tuple((b.notionalFloor, b.initialLeverage) for b in brackets),
        account_leverage=row.leverage or None,
        margin_mode=margin_mode(row.marginType),
    )
