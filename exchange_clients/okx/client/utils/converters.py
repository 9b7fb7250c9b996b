"""OKX's words turned into ours: pure functions, no I/O, no clock, no log.

Units: wire sizes are contracts; the instrument's `contract_size` (ctVal x ctMult) turns them into base units of a linear market and into
quote units of an inverse one, where margin, PnL, fees and funding are in the coin. Prices are quote per coin in both. Times are
milliseconds. Fees and funding are negative when paid: fees change sign here, funding does not. "" means that there is no figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from itertools import pairwise
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
    KeyInfo,
    LeverageInfo,
    Liquidity,
    MarginMode,
    MarketStatus,
    OrderInfo,
    OrderStatus,
    OrderType,
    Position,
    PositionMode,
    RateKind,
    Side,
    Ticker,
    TimeInForce,
    Trade,
)
from exchange_clients.numbers import WireNumbers
from exchange_clients.okx import messages as m

_WIRE: Final = WireNumbers(m.VENUE)
MS_PER_HOUR: Final = 3_600_000
INTERVALS_HOURS: Final = frozenset(map(Decimal, (1, 2, 4, 6, 8)))
WOULD_TAKE: Final = "31"
"""cancelSource of a post-only order that would have taken."""

_MARKET_STATUS: Final = {
    "live": MarketStatus.ACTIVE,
    "post_only": MarketStatus.POST_ONLY,
    "suspend": MarketStatus.HALTED,
    "preopen": MarketStatus.HALTED,
    "rebase": MarketStatus.HALTED,
    "test": MarketStatus.HALTED,
    "expired": MarketStatus.DELISTED,
}
_STATUS: Final = {
    "live": OrderStatus.OPEN,
    "partially_filled": OrderStatus.PARTIALLY_FILLED,
    "filled": OrderStatus.FILLED,
    "canceled": OrderStatus.CANCELED,
    "mmp_canceled": OrderStatus.CANCELED,
}
_ALGO_STATUS: Final = {
    "live": OrderStatus.PENDING,
    "pause": OrderStatus.PENDING,
    "partially_effective": OrderStatus.PENDING,
    "effective": OrderStatus.OPEN,
    "canceled": OrderStatus.CANCELED,
    "order_failed": OrderStatus.REJECTED,
}
CANCEL_SOURCES: Final = {
    "0": "by the venue",
    "2": "reduce-only order cut for margin",
    "3": "risk of liquidation",
    "4": "borrowing limit",
    "6": "margin ratio low (ADL)",
    "7": "delivery",
    "9": "balance too small after funding",
    "13": "fill-or-kill could not be filled",
    "14": "remainder of an immediate order",
    "15": "price beyond the limit",
    "17": "position is closed already",
    "20": "cancel-all-after",
    "21": "take-profit or stop-loss is void",
    "22": "reduce-only order displaced by a better one",
    "23": "reduce-only order displaced by a better one",
    "27": "price too far from the index",
    "31": "post-only order would have taken liquidity",
    "32": "self-trade prevention",
    "33": "too many matches",
    "36": "the other exit was triggered",
    "37": "the other exit was triggered",
    "43": "price too far from the index",
    "44": "conversion of the currency",
}
"""1 (by the user) needs no words."""
_TYPES: Final = {
    "limit": (OrderType.LIMIT, TimeInForce.GTC),
    "post_only": (OrderType.LIMIT, TimeInForce.GTC),
    "ioc": (OrderType.LIMIT, TimeInForce.IOC),
    "fok": (OrderType.LIMIT, TimeInForce.FOK),
    "market": (OrderType.MARKET, TimeInForce.IOC),
    "optimal_limit_ioc": (OrderType.MARKET, TimeInForce.IOC),
}
_FORCED: Final = {
    "full_liquidation": FillKind.LIQUIDATION,
    "partial_liquidation": FillKind.LIQUIDATION,
    "adl": FillKind.ADL,
    "delivery": FillKind.SETTLEMENT,
}
"""`category` of an order that nobody sent."""
_FORCED_FILLS: Final = {
    **dict.fromkeys(("100", "101", "102", "103", "104", "105", "106", "107"), FillKind.LIQUIDATION),
    **dict.fromkeys(("125", "126", "127", "128"), FillKind.ADL),
    **dict.fromkeys(("112", "113"), FillKind.SETTLEMENT),
}
"""`subType` of an execution."""
FUNDING_SUBTYPES: Final = ("173", "174")


# ---- numbers


def maybe(text: str, what: str) -> Decimal | None:
    """None for ""."""
    if not text:
        return None
    try:
        return _WIRE.number(Decimal(text), what)
    except InvalidOperation:
        raise DecodeError(f"{what} is {text!r}", venue=m.VENUE) from None


def number(text: str, what: str) -> Decimal:
    return _WIRE.number(maybe(text, what), what)


def price_of(text: str, instrument: Instrument, what: str = "price") -> Decimal:
    return _WIRE.price_of(maybe(text, what), instrument, what)


def maybe_price(text: str, instrument: Instrument, what: str) -> Decimal | None:
    """None for "", "0" and "-1" (a market price): what has no price."""
    value = maybe(text, what)
    return instrument.from_venue_price(value) if value is not None and value > 0 else None


def size_of(text: str, instrument: Instrument, what: str = "size") -> Decimal:
    """Contracts as base units (quote units of an inverse market)."""
    return _WIRE.size_of(maybe(text, what), instrument, what)


def side_of(text: str) -> Side:
    try:
        return Side(text)
    except ValueError:
        raise DecodeError(f"side {text!r}", venue=m.VENUE) from None


def whole(text: str, what: str) -> int:
    """Milliseconds and other whole numbers."""
    if not (text.isascii() and text.isdigit()):
        raise DecodeError(f"{what} is {text[:40]!r}", venue=m.VENUE)
    return int(text)


def ns(text: str) -> int | None:
    return whole(text, "time") * NS_PER_MS if text else None


# ---- instruments


def interval_hours(row: m.FundingRow) -> Decimal | None:
    """The market's own, which may change any time; None where the row does not say."""
    ms = whole(row.nextFundingTime or "0", "nextFundingTime") - row.fundingTime
    return Decimal(ms) / MS_PER_HOUR if ms > 0 else None


def instrument(row: m.InstrumentRow, funding: m.FundingRow | None = None) -> Instrument | None:
    """None for what is no perpetual swap, or does not say enough to trade it (pre-open)."""
    base, dash, quote = (row.instFamily or row.uly).partition("-")
    contract, multiplier = maybe(row.ctVal, "ctVal"), maybe(row.ctMult, "ctMult") or Decimal(1)
    tick, lot, smallest = (maybe(text, what) for text, what in ((row.tickSz, "tickSz"), (row.lotSz, "lotSz"), (row.minSz, "minSz")))
    if row.instType != "SWAP" or not dash or row.ctType not in ("linear", "inverse") or not (contract and tick and lot and smallest):
        return None
    inverse = row.ctType == "inverse"
    if row.ctValCcy != (quote if inverse else base):
        return None  # a contract of something else: its size cannot be told
    contract *= multiplier
    leverage, largest = maybe(row.lever, "lever"), maybe(row.maxLmtSz, "maxLmtSz")
    return Instrument(
        id=InstrumentId(base, quote, m.VENUE, inverse=inverse),
        venue_symbol=row.instId,
        contract_id=row.instId,
        settle=row.settleCcy,
        tick_size=tick,
        step_size=lot * contract,
        min_quantity=smallest * contract,
        max_quantity=largest * contract if largest else None,
        contract_size=contract,
        initial_margin=1 / leverage if leverage else None,
        max_leverage=leverage,
        funding_interval_hours=interval_hours(funding) if funding is not None else None,
        funding_cap=maybe(funding.maxFundingRate, "maxFundingRate") if funding is not None else None,
        status=_MARKET_STATUS.get(row.state, MarketStatus.UNKNOWN),
        ends_ns=ns(row.expTime),  # of a swap: when it goes offline
    )


# ---- market data


def book(data: m.Quotes, instrument: Instrument, ts_recv_ns: int) -> BookSnapshot:
    bids, asks = (
        tuple(BookLevel(price_of(row[0], instrument), size_of(row[1], instrument)) for row in side) for side in (data.bids, data.asks)
    )
    return BookSnapshot(
        instrument=instrument.id, bids=bids, asks=asks, ts_venue_ns=data.ts * NS_PER_MS, ts_recv_ns=ts_recv_ns, sequence=data.seqId
    )


def bbo(data: m.Quotes, instrument: Instrument, ts_recv_ns: int) -> Bbo | None:
    """None when a side is empty: a one-sided market has no BBO."""
    if not data.bids or not data.asks:
        return None
    found = book(data, instrument, ts_recv_ns)
    bid, ask = found.bids[0], found.asks[0]
    return Bbo(instrument.id, bid.price, bid.size, ask.price, ask.size, found.ts_venue_ns, ts_recv_ns)


def trade(row: m.TradeRow, instrument: Instrument) -> Trade:
    price, size = price_of(row.px, instrument), size_of(row.sz, instrument)
    return Trade(instrument.id, row.tradeId, price, size, side_of(row.side), row.ts * NS_PER_MS)


def candle(row: m.Candle, instrument: Instrument, interval: str) -> Candle:
    """Contracts are field 5, whether it is closed field 8 (old streams leave that out: never closed)."""
    if len(row) < 7:
        raise DecodeError(f"a candle of {len(row)} fields", venue=m.VENUE)
    opened, high, low, close = (price_of(text, instrument) for text in row[1:5])
    return Candle(
        instrument=instrument.id,
        interval=interval,
        open_ns=whole(row[0], "time") * NS_PER_MS,
        open=opened,
        high=high,
        low=low,
        close=close,
        volume=size_of(row[5], instrument, "volume"),
        closed=len(row) > 8 and row[8] == "1",
    )


def ticker(
    row: m.TickerRow,
    instrument: Instrument,
    interest: m.OpenInterestRow | None,
    *,
    mark: Decimal | None = None,
    index: Decimal | None = None,
) -> Ticker:
    """Volume and open interest in USD: coins times the last price. `volCcy24h` is coins for swaps of both kinds."""
    last = maybe_price(row.last, instrument, "last")
    coins, held = maybe(row.volCcy24h, "volCcy24h"), maybe(interest.oiCcy, "oiCcy") if interest is not None else None
    worth = maybe(interest.oiUsd, "oiUsd") if interest is not None else None
    return Ticker(
        instrument=instrument.id,
        last=last,
        mark=mark,
        index=index,
        bid=maybe_price(row.bidPx, instrument, "bidPx"),
        ask=maybe_price(row.askPx, instrument, "askPx"),
        volume_24h=coins * last if coins is not None and last is not None else None,
        open_interest=worth if worth is not None else held * last if held is not None and last is not None else None,
        ts_ns=row.ts * NS_PER_MS,
    )


# ---- funding


def funding_now(row: m.FundingRow, instrument: Instrument) -> FundingRateSample | None:
    """The estimate for the settlement at `fundingTime`, per the market's own interval. None without a rate or interval."""
    rate, hours = maybe(row.fundingRate, "fundingRate"), interval_hours(row) or instrument.funding_interval_hours
    if rate is None or hours is None:
        return None
    return FundingRateSample(
        raw_rate=rate,
        interval_hours=hours,
        kind=RateKind.PREDICTED,
        next_funding_time=row.fundingTime * NS_PER_MS,
        source_timestamp=ns(row.ts),
        cap=maybe(row.maxFundingRate, "maxFundingRate"),
        instrument=instrument.id,
    )


def funding_settled(rows: Sequence[m.PastFundingRow], instrument: Instrument) -> list[FundingRateSample]:
    """Of rows in order of time. A row's interval is its distance from the one before, the first one's that of the second.

    Where rows are missing between two of them, it is the market's own of today.
    """
    times = [row.fundingTime for row in rows]
    gaps = [Decimal(later - earlier) / MS_PER_HOUR for earlier, later in pairwise(times)]
    hours = [_interval(gap, instrument) for gap in (gaps[:1] or [ZERO]) + gaps] if rows else []
    return [
        FundingRateSample(
            raw_rate=number(row.realizedRate, "realizedRate"),
            interval_hours=interval,
            kind=RateKind.SETTLED,
            settled_at=row.fundingTime * NS_PER_MS,
            source_timestamp=row.fundingTime * NS_PER_MS,
            instrument=instrument.id,
        )
        for row, interval in zip(rows, hours, strict=False)
    ]


def _interval(gap: Decimal, instrument: Instrument) -> Decimal:
    if gap in INTERVALS_HOURS:
        return gap
    if instrument.funding_interval_hours is None:
        raise DecodeError(f"{instrument.id}: settlements {gap} h apart tell no interval", venue=m.VENUE)
    return instrument.funding_interval_hours


def funding_payment(row: m.BillRow, instrument: Instrument) -> FundingPayment:
    """`amount` > 0 was received, as on the wire. An isolated position's payment changes its own balance, not the account's."""
    amount = maybe(row.balChg, "balChg") or maybe(row.posBalChg, "posBalChg") or maybe(row.pnl, "pnl") or ZERO
    return FundingPayment(
        instrument=instrument.id,
        payment_id=row.billId,
        amount=amount,
        asset=row.ccy,
        rate=None,
        position_quantity=None,
        ts_venue_ns=row.ts * NS_PER_MS,
    )


# ---- orders and fills


def order(row: m.OrderRow, instrument: Instrument) -> OrderInfo:
    """A post-only order that the venue accepted and canceled because it would take was refused. Orders of a trigger keep its client id."""
    kind, tif = _TYPES.get(row.ordType, (OrderType.LIMIT, TimeInForce.GTC))
    size, filled = size_of(row.sz, instrument, "sz"), size_of(row.accFillSz or "0", instrument, "accFillSz")
    state = _STATUS.get(row.state, OrderStatus.UNKNOWN)
    if state is OrderStatus.CANCELED and row.cancelSource == WOULD_TAKE and not filled:
        state = OrderStatus.REJECTED
    ended = state in (OrderStatus.CANCELED, OrderStatus.REJECTED)
    return OrderInfo(
        instrument=instrument.id,
        order_id=row.ordId,
        client_order_id=row.algoClOrdId or row.clOrdId or None,
        side=side_of(row.side),
        size=size,
        price=maybe_price(row.px, instrument, "px"),
        status=state,
        filled_size=filled,
        remaining_size=size - filled,
        average_price=maybe_price(row.avgPx, instrument, "avgPx"),
        order_type=kind,
        time_in_force=tif,
        post_only=row.ordType == "post_only",
        reduce_only=row.reduceOnly == "true",
        cancel_reason=(CANCEL_SOURCES.get(row.cancelSource) or row.cancelSourceReason or None) if ended else None,
        created_ns=ns(row.cTime),
        updated_ns=ns(row.uTime),
    )


def algo_order(row: m.AlgoRow, instrument: Instrument) -> OrderInfo:
    """A trigger order. Of a pair (`oco`) the stop is shown. Released, it goes on as the order that it names.

    `closeFraction` closes the whole position of that moment: such an order has no size of its own.
    """
    stop, profit = maybe_price(row.slTriggerPx, instrument, "slTriggerPx"), maybe_price(row.tpTriggerPx, instrument, "tpTriggerPx")
    plain = maybe_price(row.triggerPx, instrument, "triggerPx")
    side = side_of(row.side)
    last = maybe_price(row.last, instrument, "last")
    if stop is not None:
        is_stop, limit = True, row.slOrdPx
    elif profit is not None or plain is None:
        is_stop, limit = False, row.tpOrdPx
    else:  # of a plain trigger the side on which the market stood tells what it is
        is_stop, limit = last is None or (plain > last) == (side is Side.BUY), row.ordPx
    trigger = stop or profit or plain
    price = maybe_price(limit, instrument, "ordPx")
    market, limited = (
        (OrderType.STOP_MARKET, OrderType.STOP_LIMIT) if is_stop else (OrderType.TAKE_PROFIT_MARKET, OrderType.TAKE_PROFIT_LIMIT)
    )
    state = _ALGO_STATUS.get(row.state, OrderStatus.UNKNOWN)
    size = size_of(row.sz or "0", instrument, "sz")
    released = row.ordId or (row.ordIdList[0] if row.ordIdList else "")
    return OrderInfo(
        instrument=instrument.id,
        order_id=released if state is OrderStatus.OPEN and released else row.algoId,
        client_order_id=row.algoClOrdId or None,
        side=side,
        size=size,
        price=price,
        status=state,
        remaining_size=size,
        order_type=market if price is None else limited,
        reduce_only=row.reduceOnly == "true" or bool(row.closeFraction),
        trigger_price=trigger,
        cancel_reason=f"the trigger failed with {row.failCode}" if state is OrderStatus.REJECTED else None,
        created_ns=ns(row.cTime),
        updated_ns=ns(row.uTime) or ns(row.cTime),
    )


def streamed_fill(row: m.OrderRow, instrument: Instrument) -> Fill | None:
    """The execution that this message tells; None when it tells none.

    Messages of old leave out the fill's own fee: the order's is it while there was only one fill.
    """
    if not row.tradeId or not maybe(row.fillSz, "fillSz"):
        return None
    fee, asset = row.fillFee, row.fillFeeCcy
    if not fee:
        if number(row.accFillSz, "accFillSz") != number(row.fillSz, "fillSz"):
            raise DecodeError(f"fill {row.tradeId} tells no fee", venue=m.VENUE)
        fee, asset = row.fee, row.feeCcy
    return Fill(
        instrument=instrument.id,
        trade_id=row.tradeId,
        order_id=row.ordId,
        client_order_id=row.algoClOrdId or row.clOrdId or None,
        side=side_of(row.side),
        price=price_of(row.fillPx, instrument, "fillPx"),
        quantity=size_of(row.fillSz, instrument, "fillSz"),
        fee=-number(fee, "fillFee"),
        fee_asset=asset,
        liquidity=_liquidity(row.execType),
        ts_venue_ns=ns(row.fillTime) or ns(row.uTime) or 0,
        kind=_FORCED.get(row.category, FillKind.TRADE),
        realized_pnl=maybe(row.fillPnl, "fillPnl"),
    )


def fill(row: m.FillRow, instrument: Instrument) -> Fill:
    return Fill(
        instrument=instrument.id,
        trade_id=row.tradeId,
        order_id=row.ordId,
        client_order_id=row.clOrdId or None,
        side=side_of(row.side),
        price=price_of(row.fillPx, instrument, "fillPx"),
        quantity=size_of(row.fillSz, instrument, "fillSz"),
        fee=-(maybe(row.fee, "fee") or ZERO),
        fee_asset=row.feeCcy,
        liquidity=_liquidity(row.execType),
        ts_venue_ns=ns(row.fillTime) or row.ts * NS_PER_MS,
        kind=_FORCED_FILLS.get(row.subType, FillKind.TRADE),
        realized_pnl=maybe(row.fillPnl, "fillPnl"),
    )


def _liquidity(text: str) -> Liquidity:
    return {"M": Liquidity.MAKER, "T": Liquidity.TAKER}.get(text, Liquidity.UNKNOWN)


# ---- account


def position(row: m.PositionRow, instrument: Instrument, ts_ns: int) -> Position:
    """Signed in net mode; a row of the long/short mode names its side instead. Quantity 0: flat."""
    contracts = number(row.pos or "0", "pos")
    quantity = instrument.from_venue_size(-abs(contracts) if row.posSide == "short" else contracts)
    return Position(
        instrument=instrument.id,
        quantity=quantity,
        entry_price=maybe_price(row.avgPx, instrument, "avgPx"),
        mark_price=maybe_price(row.markPx, instrument, "markPx"),
        unrealized_pnl=maybe(row.upl, "upl"),
        realized_pnl=maybe(row.pnl, "pnl"),
        cumulative_funding=maybe(row.fundingFee, "fundingFee"),
        margin_used=maybe(row.imr, "imr") if row.mgnMode == "cross" else maybe(row.margin, "margin"),
        leverage=maybe(row.lever, "lever"),
        liquidation_price=maybe_price(row.liqPx, instrument, "liqPx"),
        margin_mode=MarginMode.CROSS if row.mgnMode == "cross" else MarginMode.ISOLATED,
        ts_ns=ns(row.uTime) or ts_ns,
    )


def permissions(config: m.Config) -> list[str]:
    return [word.strip() for word in config.perm.split(",")]


def key_info(config: m.Config) -> KeyInfo:
    """Withdrawals of this venue go anywhere."""
    able = permissions(config)
    mode = {"net_mode": PositionMode.ONE_WAY, "long_short_mode": PositionMode.HEDGE}.get(config.posMode)
    return KeyInfo(can_trade="trade" in able, can_withdraw="withdraw" in able, position_mode=mode)


def account(data: m.Balance, asset: str, ts_ns: int) -> AccountState:
    """In multi-currency mode the whole account in USD; in futures mode, where currencies do not help each other, `asset`.

    `data` is whole, see `changed_account`.
    """
    if data.adjEq:
        equity, used = number(data.totalEq, "totalEq"), maybe(data.imr, "imr") or ZERO
        return AccountState(
            available=max(ZERO, number(data.adjEq, "adjEq") - used),
            equity=equity,
            unrealized_pnl=maybe(data.upl, "upl"),
            margin_used=used,
            maintenance_margin=maybe(data.mmr, "mmr"),
            asset="USD",
            ts_ns=ns(data.uTime) or ts_ns,
        )
    row = next((detail for detail in data.details if detail.ccy == asset), None)
    if row is None:
        return AccountState(available=ZERO, equity=ZERO, unrealized_pnl=ZERO, margin_used=ZERO, asset=asset, ts_ns=ns(data.uTime) or ts_ns)
    return AccountState(
        available=maybe(row.availEq, "availEq") if row.availEq else maybe(row.availBal, "availBal"),
        equity=maybe(row.eq, "eq"),
        unrealized_pnl=maybe(row.upl, "upl"),
        margin_used=maybe(row.imr, "imr"),
        maintenance_margin=maybe(row.mmr, "mmr"),
        asset=asset,
        ts_ns=ns(row.uTime) or ts_ns,
    )


def changed_account(data: m.Balance, asset: str, ts_ns: int) -> AccountState | None:
    """A message of the stream has only the currencies that changed: None when it says nothing of `asset`."""
    if not data.adjEq and all(detail.ccy != asset for detail in data.details):
        return None
    return account(data, asset, ts_ns)


def isolated(row: m.PositionRow) -> bool:
    """An isolated position is another one than the cross position of the same market, and no cross order closes it."""
    return row.mgnMode == "isolated"


def fee_rates(row: m.FeeRow, group: str) -> FeeRates:
    """The wire's negative is a charge."""
    found = next((entry for entry in row.feeGroup if entry.groupId == group), None)
    maker, taker = (found.maker, found.taker) if found is not None else (row.makerU or row.maker, row.takerU or row.taker)
    return FeeRates(maker=-number(maker, "maker"), taker=-number(taker, "taker"))


def leverage_info(row: m.LeverageRow | None, tiers: Sequence[m.TierRow], mark: Decimal, instrument: Instrument) -> LeverageInfo:
    """Tiers begin at contracts, told here as notional at `mark`."""
    leverage = maybe(row.lever, "lever") if row is not None else None
    brackets, kept = [], []
    for tier in tiers:
        size, most, least = maybe(tier.minSz, "minSz"), maybe(tier.maxLever, "maxLever"), maybe(tier.mmr, "mmr")
        if size is not None and most:
            brackets.append((instrument.value(instrument.from_venue_size(size), mark), most))
            if least is not None:
                kept.append((size, least))
    return LeverageInfo(
        max_leverage=instrument.max_leverage,
        margin_requirement=1 / leverage if leverage else None,
        brackets=tuple(sorted(brackets)),
        account_leverage=leverage,
        margin_mode=MarginMode.CROSS,
        maintenance_margin=min(kept)[1] if kept else None,
    )
