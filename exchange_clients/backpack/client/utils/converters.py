"""Backpack's words turned into ours: pure functions, no I/O, no clock, no log.

Units: wire prices are per price unit (kBONK: 1000 BONK) and wire sizes count such units; the instrument's multiplier and contract size turn
both into base units. Rates are fractions per interval of the market, their bounds and all fees basis points. Naive texts are UTC.
Every price from the wire is checked to be a positive number and every size a number: anything else is a `DecodeError`, never a zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Final

from exchange_clients.backpack import messages as m
from exchange_clients.backpack.common import is_thousand
from exchange_clients.errors import DecodeError
from exchange_clients.model import (
    NS_PER_HOUR,
    NS_PER_MS,
    NS_PER_S,
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
    LiquidationEvent,
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

VENUE: Final = "backpack"
_WIRE: Final = WireNumbers(VENUE)
number, price_of, size_of, signed_size_of = _WIRE.number, _WIRE.price_of, _WIRE.size_of, _WIRE.signed_size_of
PERP: Final = "PERP"
BPS: Final = Decimal(10_000)
NS_PER_US: Final = 1_000
EIGHT_HOURS: Final = Decimal(8)
HOURLY_SINCE_NS: Final = 1_755_676_800 * NS_PER_S
"""2025-08-20 08:00 UTC: what was charged up to here was charged every 8 hours (the venue's announcement)."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Find = Callable[[str], Instrument | None]
"""The instrument of a wire symbol; None for spot and unlisted ones, whose messages yield nothing."""

SIDES: Final = {"Bid": Side.BUY, "Ask": Side.SELL}
_MARKET_STATUS: Final = {
    "Open": MarketStatus.ACTIVE,
    "PostOnly": MarketStatus.POST_ONLY,
    "CancelOnly": MarketStatus.CANCEL_ONLY,
    "Closed": MarketStatus.HALTED,
}
_STATUS: Final = {
    "New": OrderStatus.OPEN,
    "PartiallyFilled": OrderStatus.PARTIALLY_FILLED,
    "Filled": OrderStatus.FILLED,
    "Cancelled": OrderStatus.CANCELED,
    "TriggerPending": OrderStatus.PENDING,
    "Triggered": OrderStatus.PENDING,
    "TriggerFailed": OrderStatus.REJECTED,
}
_NOTHING_LEFT_TO_TAKE: Final = frozenset(
    {"ImmediateOrCancel", "FillOrKill", "InsufficientLiquidity", "PriceImpact", "SlippageToleranceExceeded", "Liquidation"}
)
_REFUSED: Final = frozenset(
    {
        "AccountTradingSuspended",
        "BorrowRequiresLendRedeem",
        "InsufficientBorrowableQuantity",
        "InsufficientFunds",
        "InsufficientMargin",
        "InvalidPrice",
        "InvalidQuantity",
        "MaxStopOrdersPerPosition",
        "NegativeEquity",
        "PositionLimit",
        "PostOnlyMode",
        "PostOnlyTaker",
        "PriceOutOfBounds",
        "ReduceOnlyNotReduced",
        "SelfTradePrevention",
        "StopWithoutPosition",
        "UserPermissions",
    }
)
_TIMES_IN_FORCE: Final = {"IOC": TimeInForce.IOC, "FOK": TimeInForce.FOK}
_ORDER_TYPES: Final = {
    ("limit", False): OrderType.LIMIT,
    ("market", False): OrderType.MARKET,
    ("limit", True): OrderType.STOP_LIMIT,
    ("market", True): OrderType.STOP_MARKET,
}
_ORIGINS: Final = {
    "LIQUIDATION_AUTOCLOSE": FillKind.LIQUIDATION,
    "ADL_AUTOCLOSE": FillKind.ADL,
    "SETTLEMENT_AUTOCLOSE": FillKind.SETTLEMENT,
}
_SYSTEM_ORDERS: Final = {
    "LiquidatePositionOnBook": FillKind.LIQUIDATION,
    "LiquidatePositionOnBackstop": FillKind.LIQUIDATION,
    "LiquidatePositionOnAdl": FillKind.ADL,
    "FutureExpiry": FillKind.SETTLEMENT,
    "OrderBookClosed": FillKind.SETTLEMENT,
}


def side_of(text: str) -> Side:
    try:
        return SIDES[text]
    except KeyError:
        raise DecodeError(f"side {text!r}", venue=VENUE) from None


def text_ns(text: str) -> int:
    """Naive UTC text ("2025-07-27T18:05:40.897", with a space too) in ns."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise DecodeError(f"time {text!r}", venue=VENUE) from None
    since = moment.replace(tzinfo=moment.tzinfo or UTC) - _EPOCH
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * NS_PER_US


def moment_ns(value: str | int | None) -> int | None:
    """A time of an order: ms (as number or digits) while it is live, naive UTC text in history."""
    if value is None:
        return None
    if isinstance(value, str) and not value.isdecimal():
        return text_ns(value)
    return int(value) * NS_PER_MS


# ---- instruments


def instrument(row: m.Market, now_ns: int) -> Instrument | None:
    """None for what is no perpetual. Markets that are hidden, or will open later, are not tradable."""
    if row.marketType != PERP:
        return None
    multiplier = Decimal(1000 if is_thousand(row.baseSymbol) else 1)
    price, quantity = row.filters.price, row.filters.quantity
    initial, maintenance = (f.base if f is not None else None for f in (row.imfFunction, row.mmfFunction))
    largest = quantity.maxQuantity
    return Instrument(
        id=InstrumentId(row.baseSymbol[1:] if multiplier > 1 else row.baseSymbol, row.quoteSymbol, VENUE),
        venue_symbol=row.symbol,
        contract_id=row.symbol,
        settle=row.quoteSymbol,
        tick_size=number(price.tickSize, "tickSize") / multiplier,
        step_size=number(quantity.stepSize, "stepSize") * multiplier,
        min_quantity=number(quantity.minQuantity, "minQuantity") * multiplier,
        max_quantity=number(largest, "maxQuantity") * multiplier if largest else None,
        multiplier=multiplier,
        contract_size=multiplier,
        initial_margin=initial,
        maintenance_margin=maintenance,
        max_leverage=1 / initial if initial else None,
        funding_interval_hours=Decimal(row.fundingInterval) * NS_PER_MS / NS_PER_HOUR if row.fundingInterval else None,
        funding_cap=row.fundingRateUpperBound / BPS if row.fundingRateUpperBound else None,
        status=_market_status(row, now_ns),
    )


def _market_status(row: m.Market, now_ns: int) -> MarketStatus:
    if not row.visible:
        return MarketStatus.DELISTED
    if row.createdAt is not None and text_ns(row.createdAt) > now_ns:
        return MarketStatus.HALTED
    return _MARKET_STATUS.get(row.orderBookState, MarketStatus.UNKNOWN)


# ---- market data


def book(data: m.Depth, instrument: Instrument, depth: int, ts_recv_ns: int) -> BookSnapshot:
    """Sorted here: the venue promises no order."""
    bids, asks = (
        [BookLevel(price_of(level.px, instrument), size_of(level.sz, instrument)) for level in side if level.sz]
        for side in (data.bids, data.asks)
    )
    bids.sort(key=lambda level: level.price, reverse=True)
    asks.sort(key=lambda level: level.price)
    return BookSnapshot(
        instrument=instrument.id,
        bids=tuple(bids[:depth]),
        asks=tuple(asks[:depth]),
        ts_venue_ns=data.timestamp * NS_PER_US if data.timestamp else None,
        ts_recv_ns=ts_recv_ns,
        sequence=data.lastUpdateId,
    )


def bbo(data: m.BookTicker, instrument: Instrument, ts_recv_ns: int) -> Bbo | None:
    """None when a side is empty: a one-sided market has no BBO."""
    if data.bid is None or data.ask is None:
        return None
    return Bbo(
        instrument.id,
        price_of(data.bid, instrument),
        size_of(data.bid_size, instrument),
        price_of(data.ask, instrument),
        size_of(data.ask_size, instrument),
        data.time_us * NS_PER_US if data.time_us else None,
        ts_recv_ns,
    )


def trade(row: m.TradeRow, instrument: Instrument) -> Trade:
    side = Side.SELL if row.isBuyerMaker else Side.BUY
    price, size = price_of(row.price, instrument), size_of(row.quantity, instrument)
    return Trade(instrument.id, str(row.id), price, size, side, row.timestamp * NS_PER_MS)


def trade_event(data: m.TradeEvent, instrument: Instrument) -> Trade:
    side = Side.SELL if data.buyer_is_maker else Side.BUY
    price, size = price_of(data.price, instrument), size_of(data.quantity, instrument)
    return Trade(instrument.id, str(data.trade_id), price, size, side, data.time_us * NS_PER_US)


def candle(row: m.KlineRow | m.KlineEvent, instrument: Instrument, interval: str, *, closed: bool) -> Candle | None:
    """None for an interval in which nothing traded."""
    if row.open is None or row.high is None or row.low is None or row.close is None:
        return None
    return Candle(
        instrument=instrument.id,
        interval=interval,
        open_ns=text_ns(row.start),
        open=price_of(row.open, instrument),
        high=price_of(row.high, instrument),
        low=price_of(row.low, instrument),
        close=price_of(row.close, instrument),
        volume=size_of(row.volume or ZERO, instrument),
        closed=closed,
    )


def ticker(
    instrument: Instrument, day: m.TickerRow | None, marks: m.MarkPriceRow | None, interest: m.OpenInterestRow | None, ts_ns: int
) -> Ticker:
    """Joined from three answers. Open interest counts base units and is valued at mark; the quote currency stands for USD."""
    mark = price_of(marks.markPrice, instrument, "markPrice") if marks is not None and marks.markPrice else None
    index = price_of(marks.indexPrice, instrument, "indexPrice") if marks is not None and marks.indexPrice else None
    open_size = interest.openInterest if interest is not None else None
    return Ticker(
        instrument=instrument.id,
        last=price_of(day.lastPrice, instrument, "lastPrice") if day is not None and day.lastPrice else None,
        mark=mark,
        index=index,
        volume_24h=number(day.quoteVolume, "quoteVolume") if day is not None and day.quoteVolume is not None else None,
        open_interest=size_of(open_size, instrument, "openInterest") * mark if open_size is not None and mark is not None else None,
        ts_ns=ts_ns,
    )


def liquidation(data: m.LiquidationEvent, instrument: Instrument) -> LiquidationEvent:
    """Of some account, not ours."""
    return LiquidationEvent(
        instrument=instrument.id,
        side=side_of(data.side),
        quantity=size_of(data.quantity, instrument),
        price=price_of(data.price, instrument),
        ts_venue_ns=data.time_us * NS_PER_US,
        own=False,
    )


# ---- funding


def funding_now(rate: Decimal | None, next_ms: int | None, instrument: Instrument, now_ns: int) -> FundingRateSample | None:
    """The running estimate for the interval that ends at `next_ms`, in which it is charged. None for a market without one."""
    if rate is None or instrument.funding_interval_hours is None:
        return None
    return FundingRateSample(
        raw_rate=number(rate, "fundingRate"),
        interval_hours=instrument.funding_interval_hours,
        kind=RateKind.PREDICTED,
        next_funding_time=next_ms * NS_PER_MS if next_ms else None,
        source_timestamp=now_ns,
        cap=instrument.funding_cap,
        instrument=instrument.id,
    )


def funding_settled(rows: Sequence[m.FundingRow], instrument: Instrument, until_ns: int) -> list[FundingRateSample]:
    """What was charged up to `until_ns`, oldest first; what ends later is still running or may still move.

    A row does not say its interval: it is the distance from the row before it, where that is one that the venue has had (8 hours until
    2025-08-20, the market's own since).
    """
    found: list[FundingRateSample] = []
    before_ns: int | None = None
    for settled_ns, row in sorted({text_ns(row.intervalEndTimestamp): row for row in rows}.items()):
        if settled_ns <= until_ns:
            hours = _interval(settled_ns, before_ns, instrument)
            found.append(
                FundingRateSample(
                    raw_rate=number(row.fundingRate, "fundingRate"),
                    interval_hours=hours,
                    kind=RateKind.SETTLED,
                    settled_at=settled_ns,
                    source_timestamp=settled_ns,
                    instrument=instrument.id,
                )
            )
        before_ns = settled_ns
    return found


def _interval(settled_ns: int, before_ns: int | None, instrument: Instrument) -> Decimal:
    own = instrument.funding_interval_hours or Decimal(1)
    distance = Decimal(settled_ns - before_ns) / NS_PER_HOUR if before_ns is not None else None
    if distance is not None and (distance == own or (distance == EIGHT_HOURS and settled_ns <= HOURLY_SINCE_NS)):
        return distance
    return own if settled_ns > HOURLY_SINCE_NS else EIGHT_HOURS


def funding_payment(row: m.FundingPaymentRow, instrument: Instrument) -> FundingPayment:
    """`amount` > 0 was received, as on the wire. Payments have no id: market and time name one."""
    settled_ns = text_ns(row.intervalEndTimestamp)
    return FundingPayment(
        instrument=instrument.id,
        payment_id=f"{row.symbol}:{settled_ns // NS_PER_S}",
        amount=number(row.quantity, "quantity"),
        asset=instrument.settle,
        rate=row.fundingRate,
        position_quantity=None,
        ts_venue_ns=settled_ns,
    )


# ---- orders and fills


def order_status(text: str, reason: str | None, filled: Decimal) -> OrderStatus:
    """A word that we do not know is UNKNOWN: it has to be asked about, never taken for filled."""
    if text != "Expired":
        return _STATUS.get(text, OrderStatus.UNKNOWN)
    if reason in _NOTHING_LEFT_TO_TAKE:
        return OrderStatus.CANCELED
    if reason in _REFUSED:
        return OrderStatus.CANCELED if filled else OrderStatus.REJECTED
    return OrderStatus.EXPIRED


def _trigger_size(text: str | None) -> Decimal | None:
    """A share of the position ("50%") is no size."""
    if not text or text.endswith("%"):
        return None
    try:
        return Decimal(text)
    except InvalidOperation:
        raise DecodeError(f"trigger quantity {text!r}", venue=VENUE) from None


def order(row: m.OrderRow, instrument: Instrument) -> OrderInfo:
    """Live or from history. The venue does not say whether a trigger was meant as stop or as take-profit: taken for a stop."""
    return _order(
        instrument,
        order_id=row.id,
        client_id=row.clientId,
        side=row.side,
        kind=row.orderType,
        status=row.status,
        reason=row.expiryReason,
        quantity=row.quantity or _trigger_size(row.triggerQuantity),
        executed=row.executedQuantity,
        value=row.executedQuoteQuantity,
        price=row.price,
        trigger=row.triggerPrice,
        time_in_force=row.timeInForce,
        post_only=row.postOnly,
        reduce_only=row.reduceOnly,
        created_ns=moment_ns(row.createdAt),
    )


def order_event(data: m.OrderEvent, instrument: Instrument) -> OrderInfo:
    """As `order`, from the stream."""
    return _order(
        instrument,
        order_id=data.order_id,
        client_id=data.client_id,
        side=data.side,
        kind=data.order_type,
        status=data.status,
        reason=data.expiry_reason,
        quantity=data.quantity or _trigger_size(data.trigger_quantity),
        executed=data.executed,
        value=data.executed_quote,
        price=data.price,
        trigger=data.trigger_price,
        time_in_force=data.time_in_force,
        post_only=data.post_only,
        reduce_only=data.reduce_only,
        updated_ns=data.time_us * NS_PER_US,
    )


def _order(
    instrument: Instrument,
    *,
    order_id: str,
    client_id: int | None,
    side: str,
    kind: str | None,
    status: str,
    reason: str | None,
    quantity: Decimal | None,
    executed: Decimal | None,
    value: Decimal | None,
    price: Decimal | None,
    trigger: Decimal | None,
    time_in_force: str | None,
    post_only: bool | None,
    reduce_only: bool | None,
    created_ns: int | None = None,
    updated_ns: int | None = None,
) -> OrderInfo:
    """The average is the executed value by the executed quantity. An order by value has the size that it executed.

    Nothing executes more than it asked for, except what the venue cut (reduce-only).
    """
    filled = size_of(executed or ZERO, instrument, "executed quantity")
    size = size_of(quantity, instrument, "quantity") if quantity is not None else filled
    if filled > size and not reduce_only:
        raise DecodeError(f"order {order_id} executed {filled} of {size}", venue=VENUE)
    state = order_status(status, reason, filled)
    return OrderInfo(
        instrument=instrument.id,
        order_id=order_id,
        client_order_id=str(client_id) if client_id is not None else None,
        side=side_of(side),
        size=size,
        price=price_of(price, instrument) if price else None,
        status=state,
        filled_size=filled,
        remaining_size=ZERO if state is OrderStatus.FILLED else max(ZERO, size - filled),
        average_price=number(value, "executed value") / filled if filled and value else None,
        order_type=_ORDER_TYPES.get(((kind or "").lower(), bool(trigger)), OrderType.LIMIT),
        time_in_force=_TIMES_IN_FORCE.get(time_in_force or "", TimeInForce.GTC),
        post_only=bool(post_only),
        reduce_only=bool(reduce_only),
        trigger_price=price_of(trigger, instrument, "trigger price") if trigger else None,
        cancel_reason=reason or ("TriggerFailed" if status == "TriggerFailed" else None),
        created_ns=created_ns,
        updated_ns=updated_ns,
    )


def fill_event(data: m.OrderEvent, instrument: Instrument) -> Fill | None:
    """The execution that an order event tells, None where it tells none, or not what a trade cost: then the records do."""
    kind = _ORIGINS.get(data.origin, FillKind.TRADE)
    if data.kind != "orderFill" or data.fill_quantity is None or (data.fee is None and kind is FillKind.TRADE):
        return None
    return Fill(
        instrument=instrument.id,
        trade_id=str(data.trade_id) if data.trade_id is not None else f"{data.order_id}:{data.time_us // 1000}",
        order_id=data.order_id,
        client_order_id=str(data.client_id) if data.client_id is not None else None,
        side=side_of(data.side),
        price=price_of(data.fill_price, instrument, "fill price"),
        quantity=size_of(data.fill_quantity, instrument, "fill quantity"),
        fee=number(data.fee, "fee") if data.fee is not None else ZERO,
        fee_asset=data.fee_asset or instrument.settle,
        liquidity=Liquidity.UNKNOWN if data.is_maker is None else Liquidity.MAKER if data.is_maker else Liquidity.TAKER,
        ts_venue_ns=data.time_us * NS_PER_US,
        kind=kind,
    )


def fill(row: m.FillRow, instrument: Instrument) -> Fill:
    """From history."""
    stamp = text_ns(row.timestamp)
    return Fill(
        instrument=instrument.id,
        trade_id=str(row.tradeId) if row.tradeId is not None else f"{row.orderId}:{stamp // NS_PER_MS}",
        order_id=row.orderId,
        client_order_id=str(row.clientId) if row.clientId is not None else None,
        side=side_of(row.side),
        price=price_of(row.price, instrument),
        quantity=size_of(row.quantity, instrument),
        fee=number(row.fee, "fee"),
        fee_asset=row.feeSymbol,
        liquidity=Liquidity.MAKER if row.isMaker else Liquidity.TAKER,
        ts_venue_ns=stamp,
        kind=_SYSTEM_ORDERS.get(row.systemOrderType or "", FillKind.TRADE),
    )


# ---- account


def position(row: m.PositionRow, instrument: Instrument, ts_ns: int) -> Position:
    """The net quantity: exposure with open orders is another figure."""
    return Position(
        instrument=instrument.id,
        quantity=signed_size_of(row.netQuantity, instrument, "netQuantity"),
        entry_price=price_of(row.entryPrice, instrument, "entryPrice") if row.entryPrice else None,
        mark_price=price_of(row.markPrice, instrument, "markPrice") if row.markPrice else None,
        unrealized_pnl=row.pnlUnrealized,
        realized_pnl=row.pnlRealized,
        cumulative_funding=row.cumulativeFundingPayment,
        liquidation_price=price_of(row.estLiquidationPrice, instrument, "estLiquidationPrice") if row.estLiquidationPrice else None,
        margin_mode=MarginMode.CROSS,
        ts_ns=ts_ns,
    )


def position_event(data: m.PositionEvent, instrument: Instrument, ts_recv_ns: int) -> Position:
    return Position(
        instrument=instrument.id,
        quantity=signed_size_of(data.quantity, instrument, "quantity"),
        entry_price=price_of(data.entry_price, instrument, "entry price") if data.entry_price else None,
        mark_price=price_of(data.mark_price, instrument, "mark price") if data.mark_price else None,
        unrealized_pnl=data.unrealized_pnl,
        realized_pnl=data.realized_pnl,
        liquidation_price=price_of(data.liquidation_price, instrument, "liquidation price") if data.liquidation_price else None,
        margin_mode=MarginMode.CROSS,
        ts_ns=data.time_us * NS_PER_US if data.time_us else ts_recv_ns,
    )


def account(data: m.Collateral, *, asset: str, ts_ns: int) -> AccountState:
    """All collateral together, valued by the venue."""
    return AccountState(
        available=number(data.netEquityAvailable, "netEquityAvailable"),
        equity=number(data.netEquity, "netEquity"),
        unrealized_pnl=data.pnlUnrealized,
        margin_used=data.netEquityLocked,
        asset=asset,
        ts_ns=ts_ns,
    )


def fee_rates(data: m.Account) -> FeeRates:
    return FeeRates(
        maker=number(data.futuresMakerFee, "futuresMakerFee") / BPS, taker=number(data.futuresTakerFee, "futuresTakerFee") / BPS
    )


def leverage_info(data: m.Account, instrument: Instrument) -> LeverageInfo:
    """The limit is the account's: it holds in every market, up to the market's own."""
    return LeverageInfo(
        max_leverage=instrument.max_leverage,
        margin_requirement=instrument.initial_margin,
        account_leverage=number(data.leverageLimit, "leverageLimit"),
        margin_mode=MarginMode.CROSS,
    )
