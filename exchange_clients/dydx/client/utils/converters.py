"""Wire to domain: pure functions, no I/O, no clock.

A short-term order's "best effort" states are one node's view. A cancel told so is not final: the order may still fill until its last block
has passed. A removal for another reason (nothing to take, too little collateral, post-only) ends it; should another proposer have filled it
all the same, the fill is counted when it is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import ROUND_CEILING, ROUND_DOWN, Decimal
from typing import Final

from exchange_clients.dydx import messages as m
from exchange_clients.dydx.chain import Flags, MarketDiscount
from exchange_clients.dydx.client.utils.helpers import ns_of
from exchange_clients.errors import DecodeError
from exchange_clients.model import (
    NS_PER_HOUR,
    NS_PER_S,
    ZERO,
    AccountState,
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

VENUE: Final = "dydx"
INTERVAL_HOURS: Final = Decimal(1)
ONE: Final = Decimal(1)
MILLION: Final = Decimal(1_000_000)
REASON_PREFIX: Final = "ORDER_REMOVAL_REASON_"
USER_CANCELED: Final = "USER_CANCELED"
INTERVALS: Final = {"1m": "1MIN", "5m": "5MINS", "15m": "15MINS", "30m": "30MINS", "1h": "1HOUR", "4h": "4HOURS", "1d": "1DAY"}
INTERVAL_OF: Final = {name: interval for interval, name in INTERVALS.items()}
WIDTH_S: Final = {"1m": 60, "5m": 300, "15m": 900, "30m": 1_800, "1h": 3_600, "4h": 14_400, "1d": 86_400}

_NUMBERS: Final = WireNumbers(VENUE)
number, price_of, size_of = _NUMBERS.number, _NUMBERS.price_of, _NUMBERS.size_of

Find = Callable[[str], Instrument | None]

_MARKET_STATUS: Final = {
    "ACTIVE": MarketStatus.ACTIVE,
    "PAUSED": MarketStatus.HALTED,
    "CANCEL_ONLY": MarketStatus.CANCEL_ONLY,
    "POST_ONLY": MarketStatus.POST_ONLY,
    "INITIALIZING": MarketStatus.POST_ONLY,
    "FINAL_SETTLEMENT": MarketStatus.DELISTED,
}
_SIDES: Final = {"BUY": Side.BUY, "SELL": Side.SELL}
_DIRECTIONS: Final = {"LONG": 1, "SHORT": -1}
_STATUS: Final = {
    "BEST_EFFORT_OPENED": OrderStatus.OPEN,
    "OPEN": OrderStatus.OPEN,
    "UNTRIGGERED": OrderStatus.PENDING,
    "FILLED": OrderStatus.FILLED,
    "BEST_EFFORT_CANCELED": OrderStatus.OPEN,
    "CANCELED": OrderStatus.CANCELED,
}
_EXPIRED: Final = frozenset({"EXPIRED", "INDEXER_EXPIRED"})
_REFUSED: Final = frozenset(
    {
        "UNDERCOLLATERALIZED",
        "POST_ONLY_WOULD_CROSS_MAKER_ORDER",
        "SELF_TRADE_ERROR",
        "EQUITY_TIER",
        "VIOLATES_ISOLATED_SUBACCOUNT_CONSTRAINTS",
        "INTERNAL_ERROR",
    }
)
_TRIGGERS: Final = {
    ("STOP_LIMIT", False): OrderType.STOP_LIMIT,
    ("STOP_LIMIT", True): OrderType.STOP_MARKET,
    ("STOP_MARKET", False): OrderType.STOP_MARKET,
    ("STOP_MARKET", True): OrderType.STOP_MARKET,
    ("TAKE_PROFIT", False): OrderType.TAKE_PROFIT_LIMIT,
    ("TAKE_PROFIT", True): OrderType.TAKE_PROFIT_MARKET,
    ("TAKE_PROFIT_MARKET", False): OrderType.TAKE_PROFIT_MARKET,
    ("TAKE_PROFIT_MARKET", True): OrderType.TAKE_PROFIT_MARKET,
}
_KINDS: Final = {
    "LIQUIDATED": FillKind.LIQUIDATION,  # of ours; the other side of somebody's is "LIQUIDATION"
    "DELEVERAGED": FillKind.ADL,
    "OFFSETTING": FillKind.ADL,
}


def side_of(text: str | None) -> Side:
    try:
        return _SIDES[text or ""]
    except KeyError:
        raise DecodeError(f"side is {text!r}", venue=VENUE) from None


def base_of(ticker: str) -> str:
    """The asset of a market: "BTC-USD" -> "BTC"; of one made from a pool, "BUFFI,UNISWAP_V3,0X4C...-USD", the part that names it."""
    return ticker.removesuffix("-USD").partition(",")[0]


# ---- instruments


def instrument(market: m.Market) -> Instrument:
    """IMF is the base one: it rises with the open interest beyond a cap, which leverage shows."""
    imf, mmf = market.initialMarginFraction, market.maintenanceMarginFraction
    return Instrument(
        id=InstrumentId(base_of(market.ticker), "USD", VENUE),
        venue_symbol=market.ticker,
        contract_id=market.ticker,
        settle="USDC",
        tick_size=number(market.tickSize, "tickSize"),
        step_size=number(market.stepSize, "stepSize"),
        min_quantity=number(market.stepSize, "stepSize"),
        initial_margin=imf,
        maintenance_margin=mmf,
        max_leverage=ONE / imf if imf else None,
        funding_interval_hours=INTERVAL_HOURS,
        funding_cap=funding_cap(imf, mmf),
        only_isolated=market.marketType == "ISOLATED",
        status=_MARKET_STATUS.get(market.status, MarketStatus.UNKNOWN),
    )


def funding_cap(imf: Decimal | None, mmf: Decimal | None) -> Decimal | None:
    """Per hour: 600 % of IMF - MMF is the bound of eight hours."""
    return 6 * (imf - mmf) / 8 if imf is not None and mmf is not None else None


def margin_now(market: m.Market) -> Decimal | None:
    """IMF at today's open interest: from the base IMF at the lower cap linearly to 1 at the upper one (both USD; 0: no scaling)."""
    imf, lower, upper = market.initialMarginFraction, market.openInterestLowerCap, market.openInterestUpperCap
    if not imf or not upper or lower is None or upper <= lower or market.openInterest is None or market.oraclePrice is None:
        return imf
    share = (market.openInterest * market.oraclePrice - lower) / (upper - lower)
    return imf + (1 - imf) * min(ONE, max(ZERO, share))


# ---- market data


def book(data: m.Book, instrument: Instrument, depth: int, ts_recv_ns: int) -> BookSnapshot:
    bids, asks = (
        tuple(BookLevel(price_of(level.price, instrument), size_of(level.size, instrument)) for level in side[:depth])
        for side in (data.bids, data.asks)
    )
    return BookSnapshot(instrument=instrument.id, bids=bids, asks=asks, ts_venue_ns=None, ts_recv_ns=ts_recv_ns)


def trade(row: m.Trade, instrument: Instrument) -> Trade:
    return Trade(
        instrument.id,
        row.id,
        price_of(row.price, instrument),
        size_of(row.size, instrument),
        side_of(row.side),
        ns_of(row.createdAt),
        {"LIQUIDATED": FillKind.LIQUIDATION, "DELEVERAGED": FillKind.ADL}.get(row.type, FillKind.TRADE),
    )


def public_liquidation(trade: Trade) -> LiquidationEvent:
    return LiquidationEvent(
        instrument=trade.instrument,
        side=trade.side,
        quantity=trade.quantity,
        price=trade.price,
        ts_venue_ns=trade.ts_venue_ns,
        kind=trade.kind,
        own=False,
        metadata={"trade_id": trade.trade_id},
    )


def candle(row: m.Candle, instrument: Instrument, now_ns: int) -> Candle:
    """`closed` once its interval is over by `now_ns`."""
    interval = INTERVAL_OF.get(row.resolution)
    if interval is None:
        raise DecodeError(f"resolution is {row.resolution!r}", venue=VENUE)
    open_ns = ns_of(row.startedAt)
    return Candle(
        instrument=instrument.id,
        interval=interval,
        open_ns=open_ns,
        open=price_of(row.open, instrument, "open"),
        high=price_of(row.high, instrument, "high"),
        low=price_of(row.low, instrument, "low"),
        close=price_of(row.close, instrument, "close"),
        volume=size_of(row.baseTokenVolume, instrument, "baseTokenVolume"),
        closed=open_ns + WIDTH_S[interval] * NS_PER_S <= now_ns,
    )


def ticker(market: m.Market, instrument: Instrument, ts_ns: int) -> Ticker:
    """The oracle price is index and mark in one; open interest is valued at it. There is no last price."""
    oracle = price_of(market.oraclePrice, instrument, "oraclePrice") if market.oraclePrice is not None else None
    interest = market.openInterest
    return Ticker(
        instrument=instrument.id,
        mark=oracle,
        index=oracle,
        volume_24h=number(market.volume24H, "volume24H") if market.volume24H is not None else None,
        open_interest=size_of(interest, instrument, "openInterest") * oracle if interest is not None and oracle is not None else None,
        ts_ns=ts_ns,
    )


def funding_now(rate: Decimal | None, instrument: Instrument, now_ns: int) -> FundingRateSample | None:
    """The running estimate of the current hour, charged at the next whole hour UTC; a fraction per hour. None where there is none."""
    if rate is None or instrument.status is MarketStatus.DELISTED:
        return None
    return FundingRateSample(
        raw_rate=number(rate, "nextFundingRate"),
        interval_hours=INTERVAL_HOURS,
        kind=RateKind.PREDICTED,
        next_funding_time=(now_ns // NS_PER_HOUR + 1) * NS_PER_HOUR,
        source_timestamp=now_ns,
        cap=instrument.funding_cap,
        instrument=instrument.id,
    )


def funding_settled(row: m.FundingRow, instrument: Instrument) -> FundingRateSample:
    """What was charged per hour at `settled_at`."""
    at_ns = ns_of(row.effectiveAt)
    return FundingRateSample(
        raw_rate=number(row.rate, "rate"),
        interval_hours=INTERVAL_HOURS,
        kind=RateKind.SETTLED,
        settled_at=at_ns,
        source_timestamp=at_ns,
        instrument=instrument.id,
    )


def funding_payment(row: m.PaymentRow, instrument: Instrument) -> FundingPayment:
    """`amount` > 0 was received, as on the wire. Payments have no id: market and time name one."""
    return FundingPayment(
        instrument=instrument.id,
        payment_id=f"{row.ticker}:{row.createdAtHeight or row.createdAt}",
        amount=number(row.payment, "payment"),
        asset=instrument.settle,
        rate=number(row.rate, "rate"),
        position_quantity=abs(number(row.size, "size")) * _direction(row.side),
        ts_venue_ns=ns_of(row.createdAt),
    )


# ---- orders and fills


def _direction(side: str) -> int:
    try:
        return _DIRECTIONS[side]
    except KeyError:
        raise DecodeError(f"side of a position is {side!r}", venue=VENUE) from None


def reason_of(row: m.OrderRow) -> str | None:
    return row.removalReason.removeprefix(REASON_PREFIX) if row.removalReason else None


def order_status(row: m.OrderRow, filled: Decimal) -> OrderStatus:
    """A word we do not know is UNKNOWN: it has to be asked about."""
    status, reason = _STATUS.get(row.status, OrderStatus.UNKNOWN), reason_of(row)
    ended = row.status == "CANCELED" or (row.status == "BEST_EFFORT_CANCELED" and reason not in (None, USER_CANCELED))
    if ended and row.orderFlags == str(int(Flags.SHORT_TERM)) and row.status != "CANCELED" and reason in _EXPIRED:
        ended = False  # one node has swept it; what the chain says comes with the height
    if ended:
        if reason in _EXPIRED:
            return OrderStatus.EXPIRED
        return OrderStatus.REJECTED if reason in _REFUSED and not filled else OrderStatus.CANCELED
    if status is OrderStatus.OPEN and filled:
        return OrderStatus.PARTIALLY_FILLED
    return status


def order(row: m.OrderRow, instrument: Instrument, *, client_order_id: str | None) -> OrderInfo:
    """A whole row. `client_order_id`: as the tracker knows it, see `OrderBookkeeping`."""
    size = size_of(row.size, instrument)
    filled = size_of(row.totalFilled if row.totalFilled is not None else ZERO, instrument, "totalFilled")
    status = order_status(row, filled)
    immediate = row.timeInForce == "IOC"
    kind = OrderType.LIMIT
    if row.orderFlags == str(int(Flags.CONDITIONAL)):
        kind = _TRIGGERS.get((row.type or "", immediate), OrderType.STOP_LIMIT)
    good_til_s = ns_of(row.goodTilBlockTime) if row.goodTilBlockTime else None
    reason = reason_of(row)
    return OrderInfo(
        instrument=instrument.id,
        order_id=row.id,
        client_order_id=client_order_id,
        side=side_of(row.side),
        size=size,
        price=price_of(row.price, instrument),
        status=status,
        filled_size=filled,
        remaining_size=max(ZERO, size - filled),
        order_type=kind,
        time_in_force=TimeInForce.IOC if immediate else TimeInForce.GTT if good_til_s is None else TimeInForce.GTC,
        post_only=bool(row.postOnly) or row.timeInForce == "POST_ONLY",
        reduce_only=bool(row.reduceOnly),
        trigger_price=price_of(row.triggerPrice, instrument, "triggerPrice") if row.triggerPrice else None,
        cancel_reason=reason.lower() if reason is not None and status.is_terminal else None,
        updated_ns=ns_of(row.updatedAt) if row.updatedAt else None,
    )


def fill(row: m.FillRow, instrument: Instrument, *, client_order_id: str | None) -> Fill:
    """A negative fee is a rebate."""
    return Fill(
        instrument=instrument.id,
        trade_id=row.id,
        order_id=row.orderId,
        client_order_id=client_order_id,
        side=side_of(row.side),
        price=price_of(row.price, instrument),
        quantity=size_of(row.size, instrument),
        fee=number(row.fee, "fee") if row.fee is not None else ZERO,
        fee_asset=instrument.settle,
        liquidity={"TAKER": Liquidity.TAKER, "MAKER": Liquidity.MAKER}.get(row.liquidity or "", Liquidity.UNKNOWN),
        ts_venue_ns=ns_of(row.createdAt),
        kind=_KINDS.get(row.type, FillKind.TRADE),
    )


# ---- account


def position(row: m.PositionRow, instrument: Instrument, ts_ns: int) -> Position:
    """The mark is what the unrealised PnL implies: the indexer values at the oracle price. Closed rows are flat."""
    size = abs(number(row.size, "size")) if row.status == "OPEN" else ZERO
    quantity = size * _direction(row.side)
    entry, pnl = row.entryPrice, row.unrealizedPnl
    mark = entry + pnl / quantity if quantity and entry is not None and pnl is not None else None
    return Position(
        instrument=instrument.id,
        quantity=quantity,
        entry_price=price_of(entry, instrument, "entryPrice") if quantity and entry is not None else None,
        mark_price=mark if mark is not None and mark > 0 else None,
        unrealized_pnl=number(pnl, "unrealizedPnl") if pnl is not None else None,
        realized_pnl=number(row.realizedPnl, "realizedPnl") if row.realizedPnl is not None else None,
        cumulative_funding=number(row.netFunding, "netFunding") if row.netFunding is not None else None,
        margin_mode=MarginMode.CROSS,
        ts_ns=ts_ns,
    )


def positions(rows: Iterable[m.PositionRow], find: Find, ts_ns: int) -> list[Position]:
    return [position(row, found, ts_ns) for row in rows if (found := find(row.market)) is not None]


def account(state: m.Subaccount, ts_ns: int) -> AccountState:
    """Free collateral leaves out what open positions need; resting orders bind nothing."""
    equity, free = number(state.equity, "equity"), number(state.freeCollateral, "freeCollateral")
    known = [p.unrealizedPnl for p in state.openPerpetualPositions.values()]
    return AccountState(
        available=max(ZERO, free),
        equity=equity,
        unrealized_pnl=sum((number(pnl, "unrealizedPnl") for pnl in known if pnl is not None), ZERO),
        margin_used=equity - free,
        asset="USDC",
        ts_ns=ts_ns,
    )


def fee_rates(maker_ppm: int, taker_ppm: int, staking_ppm: int, discount: MarketDiscount | None, now_s: float) -> FeeRates:
    """The market's discount first, cutting to whole millionths, then the staker's, on what is positive."""
    charge = discount.charge_ppm if discount is not None and discount.start_s <= now_s < discount.end_s else 1_000_000

    def rate(ppm: int) -> Decimal:
        left = (Decimal(ppm) * charge / MILLION).to_integral_value(ROUND_DOWN)
        if left > 0:
            left = (left * (1_000_000 - min(staking_ppm, 1_000_000)) / MILLION).to_integral_value(ROUND_DOWN)
        return left / MILLION

    return FeeRates(maker=rate(maker_ppm), taker=rate(taker_ppm))


def margin_ppm(leverage: Decimal) -> int:
    """The chain keeps a margin fraction in whole millionths: rounded up, never more leverage than asked for."""
    return int((MILLION / leverage).to_integral_value(ROUND_CEILING))


def leverage_of(ppm: int) -> Decimal:
    """The roundest leverage that has this fraction: 333334 is 3, not 2.999994."""
    exact = MILLION / ppm
    rounded = (exact.quantize(unit) for unit in (ONE, Decimal("0.1"), Decimal("0.01")))
    return next((value for value in rounded if value and margin_ppm(value) == ppm), exact)


def leverage_info(market: m.Market, chosen_ppm: int | None) -> LeverageInfo:
    """`chosen_ppm`: the account's own IMF for the market; without one the market's applies."""
    floor = margin_now(market)
    maximum = ONE / floor if floor else None
    own = leverage_of(chosen_ppm) if chosen_ppm else None
    return LeverageInfo(
        max_leverage=maximum,
        margin_requirement=max(floor or ZERO, Decimal(chosen_ppm or 0) / MILLION) or None,
        account_leverage=own if own is not None else maximum,
        margin_mode=MarginMode.CROSS,
    )
