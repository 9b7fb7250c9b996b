"""Lighter's words turned into ours: pure functions, no I/O, no clock, no log.

Units: wire prices are per price unit (1000PEPE: 1000 PEPE) and wire sizes count such units; the instrument's multiplier and contract size
turn both into base units. Funding: the socket and `fundings` speak of percent per hour, `funding-rates` of a fraction per 8 hours.
Open interest is base units by REST and USD on the socket. What the wire cannot mean is a `DecodeError`, never a zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import ROUND_CEILING, Decimal
from typing import Final

from exchange_clients.errors import DecodeError
from exchange_clients.lighter import messages as m
from exchange_clients.lighter.common import is_thousand, normalize_symbol
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
    IndexPrice,
    Instrument,
    InstrumentId,
    LeverageInfo,
    LiquidationEvent,
    Liquidity,
    MarginMode,
    MarketStatus,
    MarkPrice,
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

VENUE: Final = "lighter"
_WIRE: Final = WireNumbers(VENUE)
number, price_of, size_of = _WIRE.number, _WIRE.price_of, _WIRE.size_of
HOUR: Final = Decimal(1)
EIGHT_HOURS: Final = Decimal(8)
PERCENT: Final = Decimal("0.01")
MILLIONTH: Final = Decimal("0.000001")
BASIS_POINTS: Final = 10_000
MAX_BASE_AMOUNT: Final = 2**48 - 1
_NS_PER_US: Final = 1_000

Find = Callable[[str], Instrument | None]
"""The instrument of a market id as text; None for spot and unlisted markets, whose messages yield nothing."""

_TYPES: Final = {
    "limit": OrderType.LIMIT,
    "market": OrderType.MARKET,
    "stop-loss": OrderType.STOP_MARKET,
    "stop-loss-limit": OrderType.STOP_LIMIT,
    "take-profit": OrderType.TAKE_PROFIT_MARKET,
    "take-profit-limit": OrderType.TAKE_PROFIT_LIMIT,
}
_STATUSES: Final = {
    "in-progress": OrderStatus.SUBMITTED,
    "pending": OrderStatus.PENDING,
    "open": OrderStatus.OPEN,
    "filled": OrderStatus.FILLED,
    "canceled-expired": OrderStatus.EXPIRED,
    "canceled-post-only": OrderStatus.REJECTED,
    "canceled-margin-not-allowed": OrderStatus.REJECTED,
    "canceled-invalid-balance": OrderStatus.REJECTED,
    "canceled-reduce-only": OrderStatus.REJECTED,
    "canceled-position-not-allowed": OrderStatus.REJECTED,
}
_KINDS: Final = {
    "liquidation": FillKind.LIQUIDATION,
    "deleverage": FillKind.ADL,
    "market-settlement": FillKind.SETTLEMENT,
}


def money(text: str) -> Decimal | None:
    """None for the empty text."""
    return number(Decimal(text), "amount") if text else None


def _price_or_none(value: Decimal | None, instrument: Instrument) -> Decimal | None:
    """Zero and absent mean none."""
    return price_of(value, instrument) if value else None


def _time_ns(value: int) -> int:
    """Nanoseconds of a stamp in seconds (early records) or milliseconds."""
    return value * (NS_PER_S if value < 10**11 else NS_PER_MS)


# ---- instruments


def instrument(market: m.Market) -> Instrument:
    multiplier = Decimal(1000 if is_thousand(market.symbol) else 1)
    step = Decimal(1).scaleb(-market.supported_size_decimals) * multiplier
    imf = market.min_initial_margin_fraction
    mmf = market.maintenance_margin_fraction
    return Instrument(
        id=InstrumentId(normalize_symbol(market.symbol), "USDC", VENUE),
        venue_symbol=market.symbol,
        contract_id=str(market.market_id),
        settle="USDC",
        tick_size=Decimal(1).scaleb(-market.supported_price_decimals) / multiplier,
        step_size=step,
        min_quantity=number(market.min_base_amount, "min_base_amount") * multiplier,
        min_notional=number(market.min_quote_amount, "min_quote_amount"),
        max_quantity=MAX_BASE_AMOUNT * step,
        multiplier=multiplier,
        contract_size=multiplier,
        initial_margin=Decimal(imf) / BASIS_POINTS if imf else None,
        maintenance_margin=Decimal(mmf) / BASIS_POINTS if mmf else None,
        max_leverage=BASIS_POINTS / Decimal(imf) if imf else None,
        maker_fee=number(market.maker_fee, "maker_fee") * PERCENT,
        taker_fee=number(market.taker_fee, "taker_fee") * PERCENT,
        funding_interval_hours=HOUR,
        funding_cap=_cap(market.funding_clamp_big),
        status=_market_status(market),
    )


def _market_status(market: m.Market) -> MarketStatus:
    if market.status != "active":
        return MarketStatus.HALTED
    return MarketStatus.REDUCE_ONLY if market.market_config.force_reduce_only else MarketStatus.ACTIVE


def _cap(clamp_percent: Decimal | None) -> Decimal | None:
    """The highest hourly rate: an eighth of the clamp."""
    return number(clamp_percent, "funding_clamp_big") * PERCENT / EIGHT_HOURS if clamp_percent else None


# ---- market data


def book(orders: m.RestingOrders, instrument: Instrument, depth: int, ts_recv_ns: int) -> BookSnapshot:
    """Levels out of single orders."""
    return BookSnapshot(
        instrument=instrument.id,
        bids=_levels(orders.bids, instrument, depth, best_is_highest=True),
        asks=_levels(orders.asks, instrument, depth, best_is_highest=False),
        ts_venue_ns=None,
        ts_recv_ns=ts_recv_ns,
    )


def _levels(orders: Iterable[m.RestingOrder], instrument: Instrument, depth: int, *, best_is_highest: bool) -> tuple[BookLevel, ...]:
    sums: dict[Decimal, Decimal] = {}
    for order in orders:
        price = price_of(order.price, instrument)
        sums[price] = sums.get(price, ZERO) + size_of(order.remaining_base_amount, instrument)
    return tuple(BookLevel(price, sums[price]) for price in sorted(sums, reverse=best_is_highest)[:depth])


def bbo(ticker: m.TickerData | None, instrument: Instrument, ts_recv_ns: int) -> Bbo | None:
    """None unless both sides are there."""
    if ticker is None or ticker.a.price is None or ticker.b.price is None or ticker.a.size is None or ticker.b.size is None:
        return None
    return Bbo(
        instrument.id,
        price_of(ticker.b.price, instrument),
        size_of(ticker.b.size, instrument),
        price_of(ticker.a.price, instrument),
        size_of(ticker.a.size, instrument),
        ticker.last_updated_at * _NS_PER_US if ticker.last_updated_at is not None else None,
        ts_recv_ns,
    )


def trade(row: m.TradeRow, instrument: Instrument) -> Trade:
    return Trade(
        instrument.id,
        str(row.trade_id),
        price_of(row.price, instrument),
        size_of(row.size, instrument),
        Side.BUY if row.is_maker_ask else Side.SELL,
        _trade_time_ns(row),
        _KINDS.get(row.type, FillKind.TRADE),
    )


def _trade_time_ns(row: m.TradeRow) -> int:
    return row.transaction_time * _NS_PER_US if row.transaction_time else _time_ns(row.timestamp)


def candle(row: m.CandleRow, instrument: Instrument, interval: str, *, closed: bool) -> Candle:
    return Candle(
        instrument=instrument.id,
        interval=interval,
        open_ns=row.t * NS_PER_MS,
        open=instrument.from_venue_price(number(row.o, "open")),
        high=instrument.from_venue_price(number(row.h, "high")),
        low=instrument.from_venue_price(number(row.l, "low")),
        close=instrument.from_venue_price(number(row.c, "close")),
        volume=size_of(row.v, instrument, "volume"),
        closed=closed,
    )


def ticker(market: m.Market, instrument: Instrument, ts_ns: int) -> Ticker:
    """Open interest is valued at mark, or, from answers without one, at the last price."""
    last, mark = _price_or_none(market.last_trade_price, instrument), _price_or_none(market.mark_price, instrument)
    value = mark or last
    interest = size_of(market.open_interest, instrument, "open_interest") if market.open_interest is not None else None
    return Ticker(
        instrument=instrument.id,
        last=last,
        mark=mark,
        index=_price_or_none(market.index_price, instrument),
        volume_24h=market.daily_quote_token_volume,
        open_interest=interest * value if interest is not None and value is not None else None,
        ts_ns=ts_ns,
    )


def mark_price(stats: m.MarketStats, instrument: Instrument, ts_ns: int) -> MarkPrice | None:
    price = _price_or_none(stats.mark_price, instrument)
    return MarkPrice(instrument.id, price, ts_ns) if price is not None else None


def index_price(stats: m.MarketStats, instrument: Instrument, ts_ns: int) -> IndexPrice | None:
    price = _price_or_none(stats.index_price, instrument)
    return IndexPrice(instrument.id, price, ts_ns) if price is not None else None


# ---- funding


def next_hour_ns(now_ns: int) -> int:
    """Funding is charged on the hour; the venue does not publish when."""
    return (now_ns // NS_PER_HOUR + 1) * NS_PER_HOUR


def funding_streamed(stats: m.MarketStats, instrument: Instrument, now_ns: int) -> FundingRateSample | None:
    """The running hour's estimate, percent per hour on the wire."""
    if stats.current_funding_rate is None:
        return None
    return FundingRateSample(
        raw_rate=number(stats.current_funding_rate, "current_funding_rate") * PERCENT,
        interval_hours=HOUR,
        kind=RateKind.PREDICTED,
        next_funding_time=next_hour_ns(now_ns),
        source_timestamp=now_ns,
        cap=_cap(stats.funding_clamp_big),
        instrument=instrument.id,
    )


def funding_last(stats: m.MarketStats, instrument: Instrument) -> FundingRateSample | None:
    """The rate charged last, at the full hour that `funding_timestamp` just passed."""
    if stats.funding_rate is None or stats.funding_timestamp is None:
        return None
    settled = stats.funding_timestamp * NS_PER_MS // NS_PER_HOUR * NS_PER_HOUR
    return FundingRateSample(
        raw_rate=number(stats.funding_rate, "funding_rate") * PERCENT,
        interval_hours=HOUR,
        kind=RateKind.SETTLED,
        settled_at=settled,
        source_timestamp=settled,
        instrument=instrument.id,
    )


def funding_listed(row: m.FundingRate, instrument: Instrument, now_ns: int) -> FundingRateSample:
    """A row of `funding-rates`: a fraction per 8 hours, which is eight times the hourly rate; kept as the venue's own hour."""
    return FundingRateSample(
        raw_rate=number(row.rate, "rate") / EIGHT_HOURS,
        interval_hours=HOUR,
        kind=RateKind.PREDICTED,
        next_funding_time=next_hour_ns(now_ns),
        source_timestamp=now_ns,
        cap=instrument.funding_cap,
        instrument=instrument.id,
    )


def funding_settled(row: m.FundingRow, instrument: Instrument) -> FundingRateSample:
    """A row of `fundings`: unsigned percent per hour and who paid."""
    sign = {"long": 1, "short": -1}.get(row.direction)
    if sign is None:
        raise DecodeError(f"funding direction {row.direction!r}", venue=VENUE)
    return FundingRateSample(
        raw_rate=sign * number(row.rate, "rate") * PERCENT,
        interval_hours=HOUR,
        kind=RateKind.SETTLED,
        settled_at=_time_ns(row.timestamp),
        source_timestamp=_time_ns(row.timestamp),
        instrument=instrument.id,
    )


def funding_payment(row: m.PaymentRow, instrument: Instrument) -> FundingPayment:
    """`rate` is taken for percent like the other rates of this interface (no recording shows otherwise)."""
    sign = -1 if row.position_side == "short" else 1
    return FundingPayment(
        instrument=instrument.id,
        payment_id=str(row.funding_id),
        amount=number(row.change, "change"),
        asset="USDC",
        rate=number(row.rate, "rate") * PERCENT,
        position_quantity=sign * size_of(row.position_size, instrument),
        ts_venue_ns=_time_ns(row.timestamp),
    )


# ---- orders and fills


def order(row: m.OrderRow, instrument: Instrument) -> OrderInfo:
    size, filled = size_of(row.initial_base_amount, instrument), size_of(row.filled_base_amount, instrument)
    if filled > size > ZERO:
        raise DecodeError(f"order {row.order_id} of {size} has filled {filled}", venue=VENUE)
    updated = row.transaction_time * _NS_PER_US if row.transaction_time else _time_ns(row.updated_at)
    return OrderInfo(
        instrument=instrument.id,
        order_id=row.order_id,
        client_order_id=row.client_order_id if row.client_order_id != "0" else None,
        side=Side.SELL if row.is_ask else Side.BUY,
        size=size,
        price=_price_or_none(row.price, instrument),
        status=order_status(row.status, filled),
        filled_size=filled,
        remaining_size=max(ZERO, size - filled),
        average_price=number(row.filled_quote_amount, "filled_quote_amount") / filled if filled else None,
        order_type=_TYPES.get(row.type, OrderType.LIMIT),
        time_in_force=TimeInForce.IOC if row.time_in_force == "immediate-or-cancel" else TimeInForce.GTC,
        post_only=row.time_in_force == "post-only",
        reduce_only=row.reduce_only,
        trigger_price=_price_or_none(row.trigger_price, instrument),
        cancel_reason=row.status if row.status.startswith("canceled") else None,
        created_ns=_time_ns(row.created_at),
        updated_ns=updated,
    )


def order_status(text: str, filled: Decimal) -> OrderStatus:
    """A rejection that left fills behind is a cancel of the rest."""
    status = _STATUSES.get(text)
    if status is None:
        return OrderStatus.CANCELED if text.startswith("canceled") else OrderStatus.UNKNOWN
    if filled > 0:
        if status is OrderStatus.OPEN:
            return OrderStatus.PARTIALLY_FILLED
        if status is OrderStatus.REJECTED:
            return OrderStatus.CANCELED
    return status


def fills(rows: Iterable[m.TradeRow], find: Find, account_index: int) -> list[Fill]:
    """Our side of each trade; both sides of one with ourselves."""
    found: list[Fill] = []
    for row in rows:
        instrument = find(str(row.market_id))
        if instrument is not None:
            found += [
                _fill(row, instrument, ask) for ask in (True, False) if account_index == (row.ask_account_id if ask else row.bid_account_id)
            ]
    return found


def _fill(row: m.TradeRow, instrument: Instrument, ask: bool) -> Fill:
    maker = row.is_maker_ask == ask
    client_id = row.ask_client_id if ask else row.bid_client_id
    pnl = row.ask_account_pnl if ask else row.bid_account_pnl
    kind = _KINDS.get(row.type, FillKind.TRADE)
    if kind is FillKind.LIQUIDATION and maker:
        kind = FillKind.TRADE  # our resting order met somebody's liquidation
    return Fill(
        instrument=instrument.id,
        trade_id=str(row.trade_id),
        order_id=str(row.ask_id if ask else row.bid_id),
        client_order_id=str(client_id) if client_id else None,
        side=Side.SELL if ask else Side.BUY,
        price=price_of(row.price, instrument),
        quantity=size_of(row.size, instrument),
        fee=number(row.usd_amount, "usd_amount") * (row.maker_fee if maker else row.taker_fee) * MILLIONTH,
        fee_asset="USDC",
        liquidity=Liquidity.MAKER if maker else Liquidity.TAKER,
        ts_venue_ns=_trade_time_ns(row),
        kind=kind,
        realized_pnl=pnl,
    )


def public_liquidation(row: m.TradeRow, instrument: Instrument) -> LiquidationEvent:
    """Somebody's; `side` is what the liquidation did."""
    seen = trade(row, instrument)
    kind = FillKind.ADL if seen.kind is FillKind.ADL else FillKind.LIQUIDATION
    return LiquidationEvent(
        instrument=seen.instrument,
        side=seen.side,
        quantity=seen.quantity,
        price=seen.price,
        ts_venue_ns=seen.ts_venue_ns,
        kind=kind,
        own=False,
        metadata={"trade_id": seen.trade_id},
    )


# ---- account


def position(row: m.PositionRow, instrument: Instrument, ts_ns: int, *, margin_percent: Decimal | None = None) -> Position:
    """`margin_percent` gives leverage and margin: only REST states the fraction in a unit that is proven."""
    size = size_of(row.position, instrument, "position")
    value = number(row.position_value, "position_value")
    isolated = row.margin_mode == 1
    margin = value * margin_percent * PERCENT if margin_percent is not None and size else None
    return Position(
        instrument=instrument.id,
        quantity=size if row.sign >= 0 else -size,
        entry_price=_price_or_none(row.avg_entry_price, instrument) if size else None,
        mark_price=value / size if size and value else None,
        unrealized_pnl=number(row.unrealized_pnl, "unrealized_pnl"),
        realized_pnl=number(row.realized_pnl, "realized_pnl"),
        cumulative_funding=-number(row.total_funding_paid_out, "funding") if row.total_funding_paid_out is not None else None,
        margin_used=number(row.allocated_margin, "allocated_margin") if isolated else margin,
        leverage=leverage_of(margin_percent) if margin_percent else None,
        liquidation_price=_price_or_none(row.liquidation_price, instrument),
        margin_mode=MarginMode.ISOLATED if isolated else MarginMode.CROSS,
        ts_ns=ts_ns,
    )


def margin_fraction(leverage: Decimal) -> int:
    """The initial margin fraction in 1e-4 that allows at most `leverage`."""
    return int((BASIS_POINTS / leverage).to_integral_value(ROUND_CEILING))


def leverage_of(margin_percent: Decimal) -> Decimal:
    """The leverage of an initial margin in percent; 33.34 % is how the venue writes 3x."""
    fraction = number(margin_percent, "initial_margin_fraction") * 100
    if fraction <= 0:
        raise DecodeError(f"initial margin of {margin_percent} %", venue=VENUE)
    whole = (BASIS_POINTS / fraction).to_integral_value()
    return whole if whole and margin_fraction(whole) == fraction else BASIS_POINTS / fraction


def leverage_info(row: m.PositionRow, instrument: Instrument) -> LeverageInfo:
    return LeverageInfo(
        max_leverage=instrument.max_leverage,
        margin_requirement=instrument.initial_margin,
        account_leverage=leverage_of(row.initial_margin_fraction),
        margin_mode=MarginMode.ISOLATED if row.margin_mode == 1 else MarginMode.CROSS,
    )


def leverage_unset(market: m.Market, instrument: Instrument) -> LeverageInfo:
    """Of a market in which the account never set or held anything: cross, with the market's default fraction."""
    default = market.default_initial_margin_fraction
    return LeverageInfo(
        max_leverage=instrument.max_leverage,
        margin_requirement=instrument.initial_margin,
        account_leverage=leverage_of(Decimal(default) / 100) if default else None,
        margin_mode=MarginMode.CROSS,
    )


def account(row: m.AccountRow, ts_ns: int) -> AccountState:
    return AccountState(
        available=money(row.available_balance),
        equity=money(row.total_asset_value),
        unrealized_pnl=sum((number(p.unrealized_pnl, "unrealized_pnl") for p in row.positions), ZERO),
        margin_used=money(row.cross_initial_margin_requirement),
        maintenance_margin=money(row.cross_maintenance_margin_requirement),
        asset="USDC",
        ts_ns=ts_ns,
    )


def account_streamed(stats: m.Stats, ts_ns: int) -> AccountState:
    return AccountState(
        available=number(stats.available_balance, "available_balance"), equity=number(stats.portfolio_value, "portfolio_value"), ts_ns=ts_ns
    )


def fee_rates(limits: m.AccountLimits) -> FeeRates:
    return FeeRates(maker=limits.current_maker_fee_tick * MILLIONTH, taker=limits.current_taker_fee_tick * MILLIONTH)
