"""Paradex's words turned into ours: pure functions, no I/O, no clock, no log.

Units: wire prices are per price unit (kPEPE: 1000 PEPE), wire sizes count such units. REST times are milliseconds, SBE times microseconds.
`open_interest` is in base units, one-sided; `volume_24h` USD. A rate is a fraction for the market's own `funding_period_hours`; positive:
longs pay. Funding accrues continuously, so there is no next funding time. Empty text means that the venue has no such figure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Final

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
from exchange_clients.paradex import messages as m
from exchange_clients.paradex import sbe
from exchange_clients.paradex.common import is_thousand

VENUE: Final = "paradex"
_WIRE: Final = WireNumbers(VENUE)
number, price_of, size_of, signed_size_of = _WIRE.number, _WIRE.price_of, _WIRE.size_of, _WIRE.signed_size_of
DEFAULT_PERIOD_HOURS: Final = Decimal(8)
NS_PER_US: Final = 1_000

Find = Callable[[str], Instrument | None]
"""The instrument of a market's name; None for options, spot and unlisted ones, whose messages yield nothing."""

SIDES: Final = {"BUY": Side.BUY, "SELL": Side.SELL}
_SBE_SIDES: Final = {1: Side.BUY, 2: Side.SELL}
ORDER_TYPES: Final = {
    "LIMIT": OrderType.LIMIT,
    "MARKET": OrderType.MARKET,
    "STOP_LIMIT": OrderType.STOP_LIMIT,
    "STOP_MARKET": OrderType.STOP_MARKET,
    "STOP_LOSS_LIMIT": OrderType.STOP_LIMIT,
    "STOP_LOSS_MARKET": OrderType.STOP_MARKET,
    "TAKE_PROFIT_LIMIT": OrderType.TAKE_PROFIT_LIMIT,
    "TAKE_PROFIT_MARKET": OrderType.TAKE_PROFIT_MARKET,
}
_FILL_KINDS: Final = {"LIQUIDATION": FillKind.LIQUIDATION, "UNWIND_TRANSFER": FillKind.ADL, "SETTLE_MARKET": FillKind.SETTLEMENT}
_TRADE_KINDS: Final = {2: FillKind.LIQUIDATION, 3: FillKind.ADL, 4: FillKind.SETTLEMENT}
_LIQUIDITY: Final = {"MAKER": Liquidity.MAKER, "TAKER": Liquidity.TAKER}
_STATUS: Final = {"NEW": OrderStatus.SUBMITTED, "UNTRIGGERED": OrderStatus.PENDING, "OPEN": OrderStatus.OPEN}
_SELF_TRADE: Final = ("SELF_TRADE", "STP", "EXPIRE_MAKER", "EXPIRE_TAKER", "EXPIRE_BOTH")
_ASKED_FOR: Final = ("USER_CANCEL", "MMP_", "DISCONNECT", "IOC", "LIQUIDAT", *_SELF_TRADE)
"""Parts of reasons that end an order without refusing it. The venue publishes no list."""
_RAN_OUT: Final = ("EXPIR", "SETTLE", "DELIST")


def side_of(text: str) -> Side:
    try:
        return SIDES[text]
    except KeyError:
        raise DecodeError(f"side {text!r}", venue=VENUE) from None


def given(text: str | None, what: str) -> Decimal | None:
    """The number in a text; None for an empty one."""
    if not text:
        return None
    try:
        return number(Decimal(text), what)
    except InvalidOperation:
        raise DecodeError(f"{what} is {text!r}", venue=VENUE) from None


def _price(text: str | None, instrument: Instrument, what: str) -> Decimal | None:
    """A price; empty and 0 both mean none."""
    value = given(text, what)
    return price_of(value, instrument, what) if value else None


# ---- instruments


def instrument(market: m.Market, state: MarketStatus = MarketStatus.ACTIVE) -> Instrument | None:
    """None for everything that is no perpetual traded in a book (options, spot, by quote only)."""
    if market.asset_kind != "PERP" or market.trading_mode == "RFQ_ONLY":
        return None
    base = market.base_currency
    thousand = is_thousand(base)
    multiplier = Decimal(1000 if thousand else 1)
    tick, step = number(market.price_tick_size, "price_tick_size"), number(market.order_size_increment, "order_size_increment")
    if tick <= 0 or step <= 0:
        raise DecodeError(f"{market.symbol}: tick {tick}, step {step}", venue=VENUE)
    margins = market.delta1_cross_margin_params
    initial = margins.imf_base if margins is not None and margins.imf_base > 0 else None
    fees = market.fee_config.api_fee if market.fee_config is not None else None
    largest = given(market.max_order_size, "max_order_size")
    period = market.funding_period_hours or DEFAULT_PERIOD_HOURS
    cap = given(market.max_funding_rate, "max_funding_rate")
    return Instrument(
        id=InstrumentId(base[1:] if thousand else base, market.quote_currency, VENUE),
        venue_symbol=market.symbol,
        contract_id=market.symbol,
        settle=market.settlement_currency,
        tick_size=tick / multiplier,
        step_size=step * multiplier,
        min_quantity=step * multiplier,
        min_notional=market.min_notional,
        max_quantity=largest * multiplier if largest else None,
        multiplier=multiplier,
        contract_size=multiplier,
        initial_margin=initial,
        maintenance_margin=initial * margins.mmf_factor if initial is not None and margins is not None else None,
        max_leverage=1 / initial if initial is not None else None,
        maker_fee=fees.maker_fee.fee if fees is not None and fees.maker_fee is not None else None,
        taker_fee=fees.taker_fee.fee if fees is not None and fees.taker_fee is not None else None,
        funding_interval_hours=period,
        funding_cap=cap if cap and period == DEFAULT_PERIOD_HOURS else None,
        only_isolated=market.market_kind == "isolated",
        status=state,
    )


# ---- market data


def book(data: m.Book, instrument: Instrument, depth: int, ts_recv_ns: int) -> BookSnapshot:
    """The number of a book by REST is not that of the stream: it is left out."""

    def side(levels: list[tuple[Decimal, Decimal]]) -> tuple[BookLevel, ...]:
        return tuple(BookLevel(price_of(price, instrument), size_of(size, instrument)) for price, size in levels[:depth])

    return BookSnapshot(
        instrument=instrument.id,
        bids=side(data.bids),
        asks=side(data.asks),
        ts_venue_ns=data.last_updated_at * NS_PER_MS,
        ts_recv_ns=ts_recv_ns,
    )


def bbo(data: sbe.Bbo, instrument: Instrument, ts_recv_ns: int) -> Bbo | None:
    """None when a side is empty: a one-sided market has no BBO."""
    bid, ask = sbe.decimal(data.bid), sbe.decimal(data.ask)
    if not bid or not ask:
        return None
    return Bbo(
        instrument.id,
        price_of(bid, instrument),
        size_of(sbe.decimal(data.bid_size), instrument),
        price_of(ask, instrument),
        size_of(sbe.decimal(data.ask_size), instrument),
        data.ts_us * NS_PER_US,
        ts_recv_ns,
    )


def trade(data: m.Trade, instrument: Instrument) -> Trade:
    return Trade(
        instrument.id,
        data.id,
        price_of(data.price, instrument),
        size_of(data.size, instrument),
        side_of(data.side),
        data.created_at * NS_PER_MS,
        _FILL_KINDS.get(data.trade_type, FillKind.TRADE),
    )


def streamed_trade(data: sbe.Trade, instrument: Instrument) -> Trade:
    """Before schema version 2 its id is a shortened number, not the one that REST tells."""
    side = _SBE_SIDES.get(data.side)
    if side is None:
        raise DecodeError(f"side {data.side}", venue=VENUE)
    return Trade(
        instrument.id,
        data.id,
        price_of(sbe.decimal(data.price), instrument),
        size_of(sbe.decimal(data.size), instrument),
        side,
        data.created_us * NS_PER_US,
        _TRADE_KINDS.get(data.kind, FillKind.TRADE),
    )


def candle(row: m.Kline, instrument: Instrument, interval: str, interval_ns: int, now_ns: int) -> Candle:
    start_ns = row[0] * NS_PER_MS
    return Candle(
        instrument=instrument.id,
        interval=interval,
        open_ns=start_ns,
        open=price_of(row[1], instrument),
        high=price_of(row[2], instrument),
        low=price_of(row[3], instrument),
        close=price_of(row[4], instrument),
        volume=size_of(row[5], instrument),
        closed=now_ns >= start_ns + interval_ns,
    )


def ticker(data: m.Summary, instrument: Instrument, now_ns: int) -> Ticker:
    """Open interest is base units, valued at mark. `total_volume` is never the volume of a day."""
    mark = _price(data.mark_price, instrument, "mark_price")
    interest = given(data.open_interest, "open_interest")
    return Ticker(
        instrument=instrument.id,
        last=_price(data.last_traded_price, instrument, "last_traded_price"),
        mark=mark,
        index=_price(data.underlying_price, instrument, "underlying_price"),
        bid=_price(data.bid, instrument, "bid"),
        ask=_price(data.ask, instrument, "ask"),
        volume_24h=given(data.volume_24h, "volume_24h"),
        open_interest=size_of(interest, instrument) * mark if interest is not None and mark is not None else None,
        ts_ns=data.created_at * NS_PER_MS if data.created_at else now_ns,
    )


# ---- funding


def _sample(rate: Decimal, period: Decimal | None, instrument: Instrument, ts_ns: int | None, **more: str) -> FundingRateSample:
    return FundingRateSample(
        raw_rate=rate,
        interval_hours=period or instrument.funding_interval_hours or DEFAULT_PERIOD_HOURS,
        kind=RateKind.PREDICTED,
        source_timestamp=ts_ns,
        cap=instrument.funding_cap,
        instrument=instrument.id,
        metadata={name: text for name, text in more.items() if text},
    )


def funding_now(data: m.Summary, instrument: Instrument) -> FundingRateSample | None:
    """The running rate, for the market's own period. It is charged by the second: no next funding time. None for a market without one."""
    rate = given(data.funding_rate, "funding_rate")
    if rate is None or instrument.status is MarketStatus.DELISTED:
        return None
    return _sample(rate, None, instrument, data.created_at * NS_PER_MS if data.created_at else None)


def streamed_funding(data: sbe.Funding, instrument: Instrument) -> FundingRateSample | None:
    rate = sbe.decimal(data.rate)
    if rate is None:
        return None
    index = sbe.decimal(data.funding_index)
    period = Decimal(data.period_hours) if data.period_hours > 0 else None
    return _sample(number(rate, "fundingRate"), period, instrument, data.created_us * NS_PER_US, funding_index=str(index or ""))


def funding_past(row: m.Funding, instrument: Instrument) -> FundingRateSample:
    """What was charged at that moment; `metadata["funding_index"]` is what a payment is computed from: -size x (index now - index then)."""
    return FundingRateSample(
        raw_rate=number(row.funding_rate, "funding_rate"),
        interval_hours=row.funding_period_hours or instrument.funding_interval_hours or DEFAULT_PERIOD_HOURS,
        kind=RateKind.SETTLED,
        settled_at=row.created_at * NS_PER_MS,
        source_timestamp=row.created_at * NS_PER_MS,
        instrument=instrument.id,
        metadata={"funding_index": row.funding_index} if row.funding_index else {},
    )


def funding_payment(row: m.FundingPayment, instrument: Instrument) -> FundingPayment:
    """`amount` > 0 was received. A payment is realised by a fill; neither rate nor position is told."""
    return FundingPayment(
        instrument=instrument.id,
        payment_id=row.id,
        amount=number(row.payment, "payment"),
        asset=instrument.settle,
        rate=None,
        position_quantity=None,
        ts_venue_ns=row.created_at * NS_PER_MS,
    )


# ---- orders and fills


def order_status(data: m.Order, filled: Decimal, left: Decimal) -> OrderStatus:
    """CLOSED says nothing by itself: what is left, then the reason decide.

    A reason that we do not know refused the order, unless something was filled or somebody asked for the end. Nothing left, a reason and no
    price of any fill contradict each other: that has to be asked about.
    """
    if data.status != "CLOSED":
        status = _STATUS.get(data.status, OrderStatus.UNKNOWN)
        return OrderStatus.PARTIALLY_FILLED if status is OrderStatus.OPEN and filled else status
    if not left:
        contradicts = data.cancel_reason and not given(data.avg_fill_price, "avg_fill_price")
        return OrderStatus.UNKNOWN if contradicts else OrderStatus.FILLED
    reason = data.cancel_reason.upper()
    if not reason or any(part in reason for part in _ASKED_FOR):
        return OrderStatus.CANCELED
    if any(part in reason for part in _RAN_OUT):
        return OrderStatus.EXPIRED
    return OrderStatus.CANCELED if filled else OrderStatus.REJECTED


def order(data: m.Order, instrument: Instrument) -> OrderInfo:
    size = size_of(data.size, instrument)
    left = size_of(data.remaining_size, instrument, "remaining_size") if data.remaining_size is not None else size
    if left > size:
        raise DecodeError(f"order {data.id} has {left} left of {size}", venue=VENUE)
    filled = size - left
    kind = ORDER_TYPES.get(data.type)
    if kind is None:
        raise DecodeError(f"order type {data.type!r}", venue=VENUE)
    immediate = data.instruction == "IOC" or kind is OrderType.MARKET
    status = order_status(data, filled, left)
    if status is OrderStatus.UNKNOWN:
        filled = ZERO
    return OrderInfo(
        instrument=instrument.id,
        order_id=data.id,
        client_order_id=data.client_id or None,
        side=side_of(data.side),
        size=size,
        price=_price(data.price, instrument, "price"),
        status=status,
        filled_size=filled,
        remaining_size=size - filled,
        average_price=_price(data.avg_fill_price, instrument, "avg_fill_price"),
        order_type=kind,
        time_in_force=TimeInForce.IOC if immediate else TimeInForce.GTC,
        post_only=data.instruction == "POST_ONLY",
        reduce_only="REDUCE_ONLY" in data.flags,
        trigger_price=_price(data.trigger_price, instrument, "trigger_price"),
        cancel_reason=data.cancel_reason or None,
        created_ns=data.created_at * NS_PER_MS or None,
        updated_ns=data.last_updated_at * NS_PER_MS or None,
    )


def fill(data: m.Fill, instrument: Instrument) -> Fill:
    return Fill(
        instrument=instrument.id,
        trade_id=data.id,
        order_id=data.order_id or None,
        client_order_id=data.client_id or None,
        side=side_of(data.side),
        price=price_of(data.price, instrument),
        quantity=size_of(data.size, instrument),
        fee=number(data.fee, "fee"),
        fee_asset=data.fee_currency or instrument.settle,
        liquidity=_LIQUIDITY.get(data.liquidity, Liquidity.UNKNOWN),
        ts_venue_ns=data.created_at * NS_PER_MS,
        kind=_FILL_KINDS.get(data.fill_type, FillKind.TRADE),
        realized_pnl=given(data.realized_pnl, "realized_pnl"),
    )


# ---- account


def position(data: m.Position, instrument: Instrument, now_ns: int, mark: Decimal | None = None) -> Position:
    """Signed by the side; a size that says otherwise is garbage. Zero, or CLOSED, is flat."""
    size = ZERO if data.status == "CLOSED" else signed_size_of(data.size, instrument)
    if size and (data.side not in ("LONG", "SHORT") or (size < 0 and data.side == "LONG")):
        raise DecodeError(f"position of {data.size} is {data.side!r}", venue=VENUE)
    quantity = -abs(size) if data.side == "SHORT" else size
    margin_leverage = given(data.leverage, "leverage")
    return Position(
        instrument=instrument.id,
        quantity=quantity,
        entry_price=_price(data.average_entry_price, instrument, "average_entry_price") if quantity else None,
        mark_price=_price(data.mark_price, instrument, "mark_price") or mark,
        unrealized_pnl=given(data.unrealized_pnl, "unrealized_pnl"),
        realized_pnl=given(data.realized_positional_pnl or data.realized_pnl, "realized_pnl"),
        cumulative_funding=_funding_of(data),
        leverage=margin_leverage or None,
        liquidation_price=_price(data.liquidation_price, instrument, "liquidation_price"),
        ts_ns=data.last_updated_at * NS_PER_MS or now_ns,
    )


def _funding_of(data: m.Position) -> Decimal | None:
    """Realised since the position was opened, and running; > 0 was received."""
    parts = [given(data.realized_positional_funding_pnl, "realised funding"), given(data.unrealized_funding_pnl, "running funding")]
    known = [part for part in parts if part is not None]
    return sum(known, ZERO) if known else None


def account(data: m.Account) -> AccountState:
    return AccountState(
        available=number(data.free_collateral, "free_collateral"),
        equity=number(data.account_value, "account_value"),
        unrealized_pnl=number(data.account_value, "account_value") - number(data.total_collateral, "total_collateral"),
        margin_used=number(data.initial_margin_requirement, "initial_margin_requirement"),
        maintenance_margin=number(data.maintenance_margin_requirement, "maintenance_margin_requirement"),
        asset=data.settlement_asset or "USDC",
        ts_ns=data.updated_at * NS_PER_MS,
    )


def fee_rates(data: m.Fees) -> FeeRates:
    return FeeRates(maker=number(data.maker_rate, "maker_rate"), taker=number(data.taker_rate, "taker_rate"))


def margin_mode(text: str) -> MarginMode:
    modes: Mapping[str, MarginMode] = {"CROSS": MarginMode.CROSS, "ISOLATED": MarginMode.ISOLATED}
    try:
        return modes[text]
    except KeyError:
        raise DecodeError(f"margin type {text!r}", venue=VENUE) from None


def leverage_info(entry: m.MarginEntry | None, instrument: Instrument) -> LeverageInfo:
    """A market that was never set is at its maximum, crossed."""
    setting = entry.leverage if entry is not None else 0
    if entry is not None and entry.margin_type == "ISOLATED" and entry.isolated_margin_leverage:
        setting = entry.isolated_margin_leverage
    return LeverageInfo(
        max_leverage=instrument.max_leverage,
        margin_requirement=instrument.initial_margin,
        account_leverage=Decimal(setting) if setting else None,
        margin_mode=margin_mode(entry.margin_type) if entry is not None else MarginMode.CROSS,
    )
