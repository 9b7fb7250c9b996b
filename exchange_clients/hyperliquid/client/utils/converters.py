"""Hyperliquid's words turned into ours: pure functions, no I/O, no clock, no log.

Units: wire prices are per price unit (kPEPE: 1000 PEPE) and wire sizes count such units; the instrument's multiplier and contract size
turn both into base units. Wire times are milliseconds. `openInterest` is base units, `dayNtlVlm` USD, funding an hourly fraction.
Every price from the wire is checked to be a positive number and every size a number: anything else is a `DecodeError`, never a zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Final

from exchange_clients.errors import DecodeError
from exchange_clients.hyperliquid import messages as m
from exchange_clients.model import (
    NS_PER_HOUR,
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
    PriceRule,
    RateKind,
    Side,
    Ticker,
    TimeInForce,
    Trade,
)
from exchange_clients.numbers import WireNumbers

VENUE: Final = "hyperliquid"
_WIRE: Final = WireNumbers(VENUE)
number, price_of, size_of, signed_size_of = _WIRE.number, _WIRE.price_of, _WIRE.size_of, _WIRE.signed_size_of
FUNDING_INTERVAL_HOURS: Final = Decimal(1)
FUNDING_CAP: Final = Decimal("0.04")
MIN_NOTIONAL: Final = Decimal(10)
PRICE_DECIMALS: Final = 6
PRICE_RULE: Final = PriceRule(significant_figures=5)
HOURLY_SINCE_MS: Final = 1_686_184_200_000
"""2023-06-08 00:30 UTC: rows of `fundingHistory` before it were charged every 8 hours (recorded series, row spacing)."""

Find = Callable[[str], Instrument | None]
"""The instrument of a wire coin; None for spot, outcome and unlisted ones, whose messages yield nothing."""

SIDES: Final = {"B": Side.BUY, "A": Side.SELL}

_RESTING: Final = frozenset({OrderStatus.OPEN, OrderStatus.PARTIALLY_FILLED})
_STATUS: Final[dict[str, OrderStatus]] = {
    "open": OrderStatus.OPEN,
    "triggered": OrderStatus.OPEN,
    "filled": OrderStatus.FILLED,
    **dict.fromkeys(
        (
            "canceled",
            "marginCanceled",
            "vaultWithdrawalCanceled",
            "openInterestCapCanceled",
            "selfTradeCanceled",
            "reduceOnlyCanceled",
            "siblingFilledCanceled",
            "delistedCanceled",
            "liquidatedCanceled",
            "outcomeSettledCanceled",
            "scheduledCancel",
            "internalCancel",
            "iocCancelRejected",  # an IOC that met nobody: an order that ended, not one that was wrong
        ),
        OrderStatus.CANCELED,
    ),
    **dict.fromkeys(
        (
            "rejected",
            "tickRejected",
            "minTradeNtlRejected",
            "perpMarginRejected",
            "reduceOnlyRejected",
            "badAloPxRejected",
            "badTriggerPxRejected",
            "marketOrderNoLiquidityRejected",
            "positionIncreaseAtOpenInterestCapRejected",
            "positionFlipAtOpenInterestCapRejected",
            "tooAggressiveAtOpenInterestCapRejected",
            "openInterestIncreaseRejected",
            "insufficientSpotBalanceRejected",
            "oracleRejected",
            "perpMaxPositionRejected",
            "tooManyOpenOrdersRejected",
        ),
        OrderStatus.REJECTED,
    ),
}

_ORDER_TYPES: Final = {
    "Limit": OrderType.LIMIT,
    "Market": OrderType.MARKET,
    "Stop Market": OrderType.STOP_MARKET,
    "Stop Limit": OrderType.STOP_LIMIT,
    "Take Profit Market": OrderType.TAKE_PROFIT_MARKET,
    "Take Profit Limit": OrderType.TAKE_PROFIT_LIMIT,
}
_TIMES_IN_FORCE: Final = {"Ioc": TimeInForce.IOC, "FrontendMarket": TimeInForce.IOC, "LiquidationMarket": TimeInForce.IOC}


def side_of(text: str) -> Side:
    try:
        return SIDES[text]
    except KeyError:
        raise DecodeError(f"side {text!r}", venue=VENUE) from None


# ---- instruments


def instruments(meta: m.Meta, *, dex: str, quote: str) -> list[Instrument | None]:
    """One per entry of the universe, at its index; None where an entry says too little to trade it.

    `quote` names the collateral token of the dex. A coin of the form kX is a thousand X in price and size.
    """
    tables = dict(meta.marginTables)
    return [_instrument(asset, tables.get(asset.marginTableId or 0), dex, quote) for asset in meta.universe]


def _instrument(asset: m.AssetMeta, table: m.MarginTable | None, dex: str, quote: str) -> Instrument | None:
    if asset.szDecimals is None or not 0 <= asset.szDecimals <= PRICE_DECIMALS:
        return None
    coin = asset.name.rpartition(":")[2]
    thousand = coin[:1] == "k" and coin[1:2].isupper()
    multiplier = Decimal(1000 if thousand else 1)
    step = Decimal(1).scaleb(-asset.szDecimals) * multiplier
    leverage = Decimal(asset.maxLeverage) if asset.maxLeverage else None
    return Instrument(
        id=InstrumentId(coin[1:] if thousand else coin, quote, VENUE, dex),
        venue_symbol=asset.name,
        contract_id=asset.name,
        settle=quote,
        tick_size=Decimal(1).scaleb(asset.szDecimals - PRICE_DECIMALS) / multiplier,
        step_size=step,
        min_quantity=step,
        min_notional=MIN_NOTIONAL,
        multiplier=multiplier,
        contract_size=multiplier,
        price_rule=PRICE_RULE,
        initial_margin=1 / leverage if leverage else None,
        maintenance_margin=1 / (2 * leverage) if leverage else None,
        max_leverage=leverage,
        funding_interval_hours=FUNDING_INTERVAL_HOURS,
        funding_cap=FUNDING_CAP,
        only_isolated=bool(asset.onlyIsolated) or asset.marginMode in ("strictIsolated", "noCross"),
        status=MarketStatus.DELISTED if asset.isDelisted else MarketStatus.ACTIVE,
    )


def brackets(table: m.MarginTable) -> tuple[tuple[Decimal, Decimal], ...]:
    """(notional from which it applies, maximum leverage) of each tier."""
    return tuple((number(tier.lowerBound, "lowerBound"), Decimal(tier.maxLeverage)) for tier in table.marginTiers)


# ---- market data


def book(data: m.L2Snapshot, instrument: Instrument, ts_recv_ns: int) -> BookSnapshot:
    bids, asks = (tuple(BookLevel(price_of(level.px, instrument), size_of(level.sz, instrument)) for level in side) for side in data.levels)
    return BookSnapshot(instrument=instrument.id, bids=bids, asks=asks, ts_venue_ns=data.time * NS_PER_MS, ts_recv_ns=ts_recv_ns)


def bbo(data: m.BboData, instrument: Instrument, ts_recv_ns: int) -> Bbo | None:
    """None when a side is empty: a one-sided market has no BBO."""
    if len(data.bbo) != 2 or data.bbo[0] is None or data.bbo[1] is None:
        return None
    bid, ask = data.bbo[0], data.bbo[1]
    return Bbo(
        instrument.id,
        price_of(bid.px, instrument),
        size_of(bid.sz, instrument),
        price_of(ask.px, instrument),
        size_of(ask.sz, instrument),
        data.time * NS_PER_MS,
        ts_recv_ns,
    )


def trade(data: m.TradeData, instrument: Instrument) -> Trade:
    """Messages without `tid` (before 2024) are named by transaction and time."""
    trade_id = str(data.tid) if data.tid is not None else f"{data.hash}:{data.time}"
    return Trade(
        instrument.id,
        trade_id,
        price_of(data.px, instrument),
        size_of(data.sz, instrument),
        side_of(data.side),
        data.time * NS_PER_MS,
    )


def candle(data: m.CandleData, instrument: Instrument, now_ns: int) -> Candle:
    """`closed` once its last millisecond is past."""
    return Candle(
        instrument=instrument.id,
        interval=data.i,
        open_ns=data.t * NS_PER_MS,
        open=price_of(data.o, instrument),
        high=price_of(data.h, instrument),
        low=price_of(data.l, instrument),
        close=price_of(data.c, instrument),
        volume=size_of(data.v, instrument),
        closed=now_ns >= (data.T + 1) * NS_PER_MS,
    )


def ticker(ctx: m.AssetCtx, instrument: Instrument, ts_ns: int) -> Ticker:
    """Volume and open interest in USD, the latter valued at mark. The context tells no last price."""
    mark = mark_price(ctx, instrument)
    return Ticker(
        instrument=instrument.id,
        mark=mark,
        index=index_price(ctx, instrument),
        volume_24h=number(ctx.dayNtlVlm, "dayNtlVlm") if ctx.dayNtlVlm is not None else None,
        open_interest=size_of(ctx.openInterest, instrument) * mark if ctx.openInterest is not None and mark is not None else None,
        ts_ns=ts_ns,
    )


def mark_price(ctx: m.AssetCtx, instrument: Instrument) -> Decimal | None:
    return price_of(ctx.markPx, instrument, "markPx") if ctx.markPx else None


def index_price(ctx: m.AssetCtx, instrument: Instrument) -> Decimal | None:
    return price_of(ctx.oraclePx, instrument, "oraclePx") if ctx.oraclePx else None


# ---- funding


def funding_now(ctx: m.AssetCtx, instrument: Instrument, now_ns: int) -> FundingRateSample | None:
    """The running estimate for the current hour, charged at the next whole hour UTC. None for a market without one."""
    if ctx.funding is None or instrument.status is MarketStatus.DELISTED:
        return None
    return FundingRateSample(
        raw_rate=number(ctx.funding, "funding"),
        interval_hours=FUNDING_INTERVAL_HOURS,
        kind=RateKind.PREDICTED,
        next_funding_time=(now_ns // NS_PER_HOUR + 1) * NS_PER_HOUR,
        source_timestamp=now_ns,
        cap=FUNDING_CAP,
        instrument=instrument.id,
    )


def funding_settled(row: m.FundingRow, instrument: Instrument) -> FundingRateSample:
    """What was charged at `settled_at`, with the interval of its day."""
    return FundingRateSample(
        raw_rate=number(row.fundingRate, "fundingRate"),
        interval_hours=FUNDING_INTERVAL_HOURS if row.time >= HOURLY_SINCE_MS else Decimal(8),
        kind=RateKind.SETTLED,
        settled_at=row.time * NS_PER_MS,
        source_timestamp=row.time * NS_PER_MS,
        instrument=instrument.id,
    )


def funding_payment(data: m.UserFundingData | m.FundingDelta, time_ms: int, instrument: Instrument) -> FundingPayment:
    """`amount` > 0 was received, as on the wire. Payments carry no hash: time and coin name one."""
    return FundingPayment(
        instrument=instrument.id,
        payment_id=f"{time_ms}:{data.coin}",
        amount=number(data.usdc, "usdc"),
        asset=instrument.settle,
        rate=number(data.fundingRate, "fundingRate"),
        position_quantity=signed_size_of(data.szi, instrument, "szi"),
        ts_venue_ns=time_ms * NS_PER_MS,
    )


# ---- orders and fills


def order_status(text: str, data: m.OrderData) -> OrderStatus:
    """A word we do not know is UNKNOWN: it has to be asked about, never taken for filled."""
    status = _STATUS.get(text, OrderStatus.UNKNOWN)
    if status is not OrderStatus.OPEN:
        return status
    if data.isTrigger and text == "open":
        return OrderStatus.PENDING
    return OrderStatus.PARTIALLY_FILLED if data.origSz is not None and data.sz < data.origSz else OrderStatus.OPEN


def order(
    data: m.OrderData,
    instrument: Instrument,
    *,
    status: str = "open",
    updated_ms: int | None = None,
    filled_before: Decimal = ZERO,
) -> OrderInfo:
    """`sz` is what remains; a filled order's remaining size is nothing whatever the message repeats.

    `filled_before`: fills of the orders that amends replaced by this one.
    """
    left = size_of(data.sz, instrument)
    size = size_of(data.origSz, instrument, "origSz") if data.origSz is not None else left
    state = order_status(status, data)
    if size > left == ZERO and state in _RESTING:
        raise DecodeError(f"order {data.oid} is {status} with nothing left of {size}", venue=VENUE)
    remaining = ZERO if state is OrderStatus.FILLED else left
    trigger = data.triggerPx if data.isTrigger and data.triggerPx else None
    kind = _ORDER_TYPES.get(data.orderType or "Limit", OrderType.LIMIT)
    return OrderInfo(
        instrument=instrument.id,
        order_id=str(data.oid),
        client_order_id=data.cloid.lower() if data.cloid else None,
        side=side_of(data.side),
        size=size + filled_before,
        price=price_of(data.limitPx, instrument) if data.limitPx else None,
        status=state,
        filled_size=size - remaining + filled_before,
        remaining_size=remaining,
        order_type=kind,
        time_in_force=_TIMES_IN_FORCE.get(data.tif or "", TimeInForce.GTC),
        post_only=data.tif == "Alo",
        reduce_only=bool(data.reduceOnly),
        trigger_price=price_of(trigger, instrument, "triggerPx") if trigger else None,
        cancel_reason=status if state in (OrderStatus.CANCELED, OrderStatus.REJECTED) and status != "canceled" else None,
        created_ns=data.timestamp * NS_PER_MS,
        updated_ns=(updated_ms if updated_ms is not None else data.timestamp) * NS_PER_MS,
    )


def order_update(data: m.OrderUpdate, instrument: Instrument, *, filled_before: Decimal = ZERO) -> OrderInfo:
    return order(data.order, instrument, status=data.status, updated_ms=data.statusTimestamp, filled_before=filled_before)


def fill(data: m.FillData, instrument: Instrument, account: str) -> Fill:
    """`account` tells a liquidation of ours from one that we were only the other side of."""
    trade_id = str(data.tid) if data.tid is not None else f"{data.oid}:{data.time}:{data.sz}"
    return Fill(
        instrument=instrument.id,
        trade_id=trade_id,
        order_id=str(data.oid),
        client_order_id=data.cloid.lower() if data.cloid else None,
        side=side_of(data.side),
        price=price_of(data.px, instrument),
        quantity=size_of(data.sz, instrument),
        fee=number(data.fee, "fee"),
        fee_asset=data.feeToken,
        liquidity=Liquidity.TAKER if data.crossed else Liquidity.MAKER,
        ts_venue_ns=data.time * NS_PER_MS,
        kind=fill_kind(data, account),
        realized_pnl=number(data.closedPnl, "closedPnl") if data.closedPnl is not None else None,
    )


def fill_kind(data: m.FillData, account: str) -> FillKind:
    if data.liquidation is not None and data.liquidation.liquidatedUser.lower() == account.lower():
        return FillKind.LIQUIDATION
    if data.dir == "Auto-Deleveraging":
        return FillKind.ADL
    return FillKind.SETTLEMENT if data.dir == "Settlement" else FillKind.TRADE


def fills(rows: Iterable[m.FillData], find: Find, account: str) -> list[Fill]:
    """Fills of perpetuals; spot fills and vault nettings without an instrument of ours yield nothing."""
    return [fill(row, instrument, account) for row in rows if (instrument := find(row.coin)) is not None]


# ---- account


def position(data: m.PositionData, instrument: Instrument, ts_ns: int) -> Position:
    """The mark is implied by value and size. Funding: the wire counts what was paid, we count what was received."""
    quantity = signed_size_of(data.szi, instrument, "szi")
    leverage = data.leverage
    return Position(
        instrument=instrument.id,
        quantity=quantity,
        entry_price=price_of(data.entryPx, instrument, "entryPx") if data.entryPx else None,
        mark_price=number(data.positionValue, "positionValue") / abs(quantity) if data.positionValue and quantity else None,
        unrealized_pnl=number(data.unrealizedPnl, "unrealizedPnl") if data.unrealizedPnl is not None else None,
        cumulative_funding=-number(data.cumFunding.sinceOpen, "sinceOpen") if data.cumFunding is not None else None,
        margin_used=number(data.marginUsed, "marginUsed") if data.marginUsed is not None else None,
        leverage=Decimal(leverage.value) if leverage is not None else None,
        liquidation_price=price_of(data.liquidationPx, instrument, "liquidationPx") if data.liquidationPx else None,
        margin_mode=margin_mode(leverage),
        ts_ns=ts_ns,
    )


def positions(state: m.ClearinghouseState, find: Find, ts_ns: int) -> list[Position]:
    """Open positions of one dex; zero sizes and coins without an instrument yield nothing."""
    stamp = state.time * NS_PER_MS if state.time else ts_ns
    found = ((entry.position, find(entry.position.coin)) for entry in state.assetPositions)
    return [position(data, instrument, stamp) for data, instrument in found if instrument is not None and data.szi]


def margin_mode(leverage: m.Leverage | None) -> MarginMode | None:
    if leverage is None or leverage.type is None:
        return None
    return MarginMode.CROSS if leverage.type == "cross" else MarginMode.ISOLATED


def account(states: Sequence[m.ClearinghouseState], spot: m.SpotState | None, *, asset: str, ts_ns: int) -> AccountState:
    """One view over all dexes that share a collateral.

    `spot` is given for unified and portfolio-margin accounts only: there the collateral is the spot balance and the dexes hold positions.
    """
    pnl = sum((number(p.position.unrealizedPnl or ZERO, "unrealizedPnl") for s in states for p in s.assetPositions), ZERO)
    used = sum((number(s.marginSummary.totalMarginUsed, "totalMarginUsed") for s in states if s.marginSummary), ZERO)
    maintenance = [s.crossMaintenanceMarginUsed for s in states if s.crossMaintenanceMarginUsed is not None]
    if spot is None:
        available = sum((number(s.withdrawable, "withdrawable") for s in states), ZERO)
        equity = sum((number(s.marginSummary.accountValue, "accountValue") for s in states if s.marginSummary), ZERO)
    else:
        held = next((b for b in spot.balances if b.coin == asset), None)
        equity = number(held.total, "total") if held is not None else ZERO
        available = max(ZERO, equity - number(held.hold, "hold")) if held is not None else ZERO
    return AccountState(
        available=available,
        equity=equity,
        unrealized_pnl=pnl,
        margin_used=used,
        maintenance_margin=sum(maintenance, ZERO) if maintenance else None,
        asset=asset,
        ts_ns=ts_ns,
    )


def fee_rates(data: m.UserFees) -> FeeRates:
    return FeeRates(maker=number(data.userAddRate, "userAddRate"), taker=number(data.userCrossRate, "userCrossRate"))


def leverage_info(data: m.ActiveAssetData, instrument: Instrument, tiers: tuple[tuple[Decimal, Decimal], ...]) -> LeverageInfo:
    return LeverageInfo(
        max_leverage=instrument.max_leverage,
        margin_requirement=1 / Decimal(data.leverage.value) if data.leverage.value else None,
        brackets=tiers,
        account_leverage=Decimal(data.leverage.value),
        margin_mode=margin_mode(data.leverage),
    )
