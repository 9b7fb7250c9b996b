"""Aster's wire messages. Numbers come as text, times as milliseconds; unknown fields are ignored.

Source: dossier sections 3-5; https://github.com/asterdex/api-docs (V3 futures), read 2026-11.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

import msgspec

ZERO: Final = Decimal(0)


class Struct(msgspec.Struct, frozen=True, kw_only=True):
    """Field names are the venue's."""


# ---- public REST


class ErrorBody(Struct, frozen=True, kw_only=True):
    """`{"code":-1121,"msg":"Invalid symbol."}`; the answer of a cancel-all is one too, with code 200 as number or text."""

    code: int
    msg: str = ""


class ServerTime(Struct, frozen=True, kw_only=True):
    serverTime: int


class Filter(Struct, frozen=True, kw_only=True):
    """PRICE_FILTER, LOT_SIZE, MARKET_LOT_SIZE, MAX_NUM_ORDERS, MAX_NUM_ALGO_ORDERS, MIN_NOTIONAL, PERCENT_PRICE."""

    filterType: str
    minPrice: Decimal | None = None
    maxPrice: Decimal | None = None
    tickSize: Decimal | None = None
    minQty: Decimal | None = None
    maxQty: Decimal | None = None
    stepSize: Decimal | None = None
    limit: int | None = None
    notional: Decimal | None = None
    multiplierUp: Decimal | None = None
    multiplierDown: Decimal | None = None
    multiplierDecimal: int | None = None


class RateLimit(Struct, frozen=True, kw_only=True):
    """`interval` SECOND, MINUTE, DAY."""

    rateLimitType: str
    interval: str
    intervalNum: int
    limit: int


class Symbol(Struct, frozen=True, kw_only=True):
    """One market. Precisions and margin percents are not what they seem: filters and brackets count."""

    symbol: str
    status: str
    baseAsset: str = ""
    quoteAsset: str = ""
    marginAsset: str = ""
    contractType: str = ""
    pair: str = ""
    deliveryDate: int = 0
    onboardDate: int = 0
    maintMarginPercent: Decimal | None = None
    requiredMarginPercent: Decimal | None = None
    pricePrecision: int = 0
    quantityPrecision: int = 0
    baseAssetPrecision: int = 0
    quotePrecision: int = 0
    underlyingType: str = ""
    underlyingSubType: list[str] = []
    settlePlan: int = 0
    triggerProtect: Decimal | None = None
    liquidationFee: Decimal | None = None
    marketTakeBound: Decimal | None = None
    imn: Decimal | None = None
    filters: list[Filter] = []
    orderTypes: list[str] = []
    timeInForce: list[str] = []


class Asset(Struct, frozen=True, kw_only=True):
    asset: str
    marginAvailable: bool = False
    autoAssetExchange: Decimal | None = None


class ExchangeInfo(Struct, frozen=True, kw_only=True):
    symbols: list[Symbol]
    timezone: str = "UTC"
    serverTime: int = 0
    futuresType: str = ""
    rateLimits: list[RateLimit] = []
    exchangeFilters: list[Any] = []
    assets: list[Asset] = []


class Level(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Absolute size at a price; 0 removes it. Floats go no further than into the book's ticks."""

    px: float
    sz: float


class DecimalLevel(msgspec.Struct, frozen=True, array_like=True):
    px: Decimal
    sz: Decimal


class Depth(Struct, frozen=True, kw_only=True):
    lastUpdateId: int
    bids: list[Level]
    asks: list[Level]
    E: int = 0
    T: int = 0


class DepthView(Struct, frozen=True, kw_only=True):
    """`Depth` for readers of exact figures."""

    lastUpdateId: int
    bids: list[DecimalLevel]
    asks: list[DecimalLevel]
    E: int = 0
    T: int = 0


class PublicTrade(Struct, frozen=True, kw_only=True):
    id: int
    price: Decimal
    qty: Decimal
    quoteQty: Decimal
    time: int
    isBuyerMaker: bool


class AggTrade(Struct, frozen=True, kw_only=True):
    a: int
    p: Decimal
    q: Decimal
    f: int
    l: int  # noqa: E741 - the venue's name
    T: int
    m: bool


class Kline(msgspec.Struct, frozen=True, array_like=True):
    """Twelve elements; of index and mark candles only times and prices mean anything."""

    open_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    close_ms: int
    quote_volume: Decimal
    trades: int
    taker_volume: Decimal
    taker_quote_volume: Decimal
    unused: Decimal = ZERO


class PremiumIndex(Struct, frozen=True, kw_only=True):
    """Prices and the running funding rate, a fraction per the market's own interval."""

    symbol: str
    markPrice: Decimal
    indexPrice: Decimal
    time: int
    estimatedSettlePrice: Decimal | None = None
    lastFundingRate: Decimal | None = None
    interestRate: Decimal | None = None
    nextFundingTime: int = 0


class FundingInfo(Struct, frozen=True, kw_only=True):
    symbol: str
    fundingIntervalHours: int
    interestRate: Decimal | None = None
    time: int = 0
    fundingFeeCap: Decimal | None = None
    fundingFeeFloor: Decimal | None = None


class FundingRow(Struct, frozen=True, kw_only=True):
    symbol: str
    fundingRate: Decimal
    fundingTime: int


class DayTicker(Struct, frozen=True, kw_only=True):
    symbol: str
    lastPrice: Decimal
    volume: Decimal
    quoteVolume: Decimal
    priceChange: Decimal | None = None
    priceChangePercent: Decimal | None = None
    weightedAvgPrice: Decimal | None = None
    prevClosePrice: Decimal | None = None
    lastQty: Decimal | None = None
    openPrice: Decimal | None = None
    highPrice: Decimal | None = None
    lowPrice: Decimal | None = None
    openTime: int = 0
    closeTime: int = 0
    firstId: int = 0
    lastId: int = 0
    count: int = 0
    baseAsset: str = ""
    quoteAsset: str = ""
    bidPrice: Decimal | None = None
    bidQty: Decimal | None = None
    askPrice: Decimal | None = None
    askQty: Decimal | None = None


class PriceTicker(Struct, frozen=True, kw_only=True):
    symbol: str
    price: Decimal
    time: int = 0


class BookTickerRow(Struct, frozen=True, kw_only=True):
    symbol: str
    bidPrice: Decimal
    bidQty: Decimal
    askPrice: Decimal
    askQty: Decimal
    time: int = 0


class OpenInterest(Struct, frozen=True, kw_only=True):
    """Base units of the venue, one side."""

    symbol: str
    openInterest: Decimal
    time: int = 0


# ---- signed REST


class ChainData(Struct, frozen=True, kw_only=True):
    hash: str


class Order(Struct, frozen=True, kw_only=True):
    """An order in every REST answer that has one. `type` changes when a trigger fires, `origType` does not."""

    symbol: str
    orderId: int
    status: str
    side: str
    type: str
    origQty: Decimal
    executedQty: Decimal
    clientOrderId: str = ""
    price: Decimal = ZERO
    avgPrice: Decimal = ZERO
    cumQty: Decimal | None = None
    cumQuote: Decimal | None = None
    timeInForce: str = "GTC"
    origType: str = ""
    positionSide: str = "BOTH"
    reduceOnly: bool = False
    closePosition: bool = False
    stopPrice: Decimal = ZERO
    workingType: str = ""
    priceProtect: bool = False
    activatePrice: Decimal | None = None
    priceRate: Decimal | None = None
    time: int = 0
    updateTime: int = 0
    orderListId: int | None = None
    newChainData: ChainData | None = None


class UserTrade(Struct, frozen=True, kw_only=True):
    symbol: str
    id: int
    orderId: int
    side: str
    price: Decimal
    qty: Decimal
    commission: Decimal
    commissionAsset: str
    time: int
    maker: bool
    buyer: bool = False
    quoteQty: Decimal | None = None
    realizedPnl: Decimal | None = None
    marginAsset: str = ""
    positionSide: str = "BOTH"
    counterpartyId: int | None = None
    createUpdateId: int | None = None


class PositionRisk(Struct, frozen=True, kw_only=True):
    """Of every market, flat ones included. `positionAmt` is signed."""

    symbol: str
    positionAmt: Decimal
    entryPrice: Decimal
    markPrice: Decimal
    unRealizedProfit: Decimal
    liquidationPrice: Decimal
    leverage: Decimal
    marginType: str
    positionSide: str = "BOTH"
    maxNotionalValue: Decimal | None = None
    isolatedMargin: Decimal | None = None
    isAutoAddMargin: bool = False
    notional: Decimal | None = None
    isolatedWallet: Decimal | None = None
    updateTime: int = 0


class Balance(Struct, frozen=True, kw_only=True):
    asset: str
    balance: Decimal
    accountAlias: str = ""
    crossWalletBalance: Decimal | None = None
    crossUnPnl: Decimal | None = None
    availableBalance: Decimal | None = None
    maxWithdrawAmount: Decimal | None = None
    marginAvailable: bool = False
    updateTime: int = 0


class AccountAsset(Struct, frozen=True, kw_only=True):
    asset: str
    walletBalance: Decimal
    unrealizedProfit: Decimal | None = None
    marginBalance: Decimal | None = None
    maintMargin: Decimal | None = None
    initialMargin: Decimal | None = None
    positionInitialMargin: Decimal | None = None
    openOrderInitialMargin: Decimal | None = None
    crossWalletBalance: Decimal | None = None
    crossUnPnl: Decimal | None = None
    availableBalance: Decimal | None = None
    maxWithdrawAmount: Decimal | None = None
    marginAvailable: bool = False
    updateTime: int = 0


class AccountPosition(Struct, frozen=True, kw_only=True):
    symbol: str
    positionAmt: Decimal
    initialMargin: Decimal | None = None
    maintMargin: Decimal | None = None
    unrealizedProfit: Decimal | None = None
    positionInitialMargin: Decimal | None = None
    openOrderInitialMargin: Decimal | None = None
    leverage: Decimal | None = None
    isolated: bool = False
    entryPrice: Decimal | None = None
    maxNotional: Decimal | None = None
    positionSide: str = "BOTH"
    updateTime: int = 0


class Account(Struct, frozen=True, kw_only=True):
    """Totals count every asset in USD where margin is shared by assets, else the main one."""

    availableBalance: Decimal
    totalMarginBalance: Decimal
    totalUnrealizedProfit: Decimal
    totalInitialMargin: Decimal
    totalMaintMargin: Decimal
    canTrade: bool = True
    canDeposit: bool = True
    canWithdraw: bool = True
    feeTier: int = 0
    updateTime: int = 0
    totalWalletBalance: Decimal | None = None
    totalPositionInitialMargin: Decimal | None = None
    totalOpenOrderInitialMargin: Decimal | None = None
    totalCrossWalletBalance: Decimal | None = None
    totalCrossUnPnl: Decimal | None = None
    maxWithdrawAmount: Decimal | None = None
    assets: list[AccountAsset] = []
    positions: list[AccountPosition] = []


class Bracket(Struct, frozen=True, kw_only=True):
    bracket: int
    initialLeverage: Decimal
    notionalCap: Decimal
    notionalFloor: Decimal
    maintMarginRatio: Decimal
    cum: Decimal = ZERO


class Brackets(Struct, frozen=True, kw_only=True):
    symbol: str
    brackets: list[Bracket]


class Income(Struct, frozen=True, kw_only=True):
    """`income` is signed: negative was paid."""

    incomeType: str
    income: Decimal
    asset: str
    time: int
    tranId: int
    symbol: str = ""
    info: str = ""
    tradeId: str = ""


class CommissionRate(Struct, frozen=True, kw_only=True):
    symbol: str
    makerCommissionRate: Decimal
    takerCommissionRate: Decimal


class PositionMode(Struct, frozen=True, kw_only=True):
    """True: hedge mode, long and short side by side."""

    dualSidePosition: bool


class MultiAssets(Struct, frozen=True, kw_only=True):
    multiAssetsMargin: bool


class ListenKey(Struct, frozen=True, kw_only=True):
    listenKey: str = ""


class LeverageSet(Struct, frozen=True, kw_only=True):
    symbol: str
    leverage: Decimal
    maxNotionalValue: Decimal | None = None


class MarginChange(Struct, frozen=True, kw_only=True):
    amount: Decimal
    type: int
    code: int = 200
    msg: str = ""


class Countdown(Struct, frozen=True, kw_only=True):
    symbol: str
    countdownTime: int


class AdlQuantiles(Struct, frozen=True, kw_only=True):
    symbol: str
    adlQuantile: dict[str, int]


class Protection(Struct, frozen=True, kw_only=True):
    """Market-maker protection."""

    symbol: str
    windowTimeInMilliseconds: int
    frozenTimeInMilliseconds: int
    qtyLimit: Decimal
    valueLimit: Decimal
    deltaLimit: Decimal


# ---- streams


class Event(Struct, frozen=True, kw_only=True, tag_field="e"):
    """Every event has its time in `E`, most the time of what happened in `T`."""


class DepthUpdate(Event, frozen=True, kw_only=True, tag="depthUpdate", gc=False):
    """`U`..`u` covers the update's numbers, `pu` is the previous one's `u`."""

    E: int
    s: str
    U: int
    u: int
    pu: int
    b: list[Level]
    a: list[Level]
    T: int = 0


class BookTicker(Event, frozen=True, kw_only=True, tag="bookTicker"):
    u: int
    s: str
    b: Decimal
    B: Decimal
    a: Decimal
    A: Decimal
    E: int = 0
    T: int = 0


class AggTradeEvent(Event, frozen=True, kw_only=True, tag="aggTrade"):
    """`m`: the buyer was the maker, so the taker sold."""

    E: int
    s: str
    a: int
    p: Decimal
    q: Decimal
    f: int
    l: int  # noqa: E741 - the venue's name
    T: int
    m: bool


class TradeEvent(Event, frozen=True, kw_only=True, tag="trade"):
    """`X`: MARKET, or INSURANCE_FUND and ADL for what no book matched."""

    E: int
    s: str
    t: int
    p: Decimal
    q: Decimal
    T: int
    m: bool
    X: str = "MARKET"


class TradePro(Event, frozen=True, kw_only=True, tag="tradepro"):
    E: int
    T: int
    s: str
    t: int
    p: Decimal
    q: Decimal
    h: str
    m: list[str]


class MarkPriceEvent(Event, frozen=True, kw_only=True, tag="markPriceUpdate"):
    """`r`: the running rate, `T`: when it is charged."""

    E: int
    s: str
    p: Decimal
    i: Decimal | None = None
    P: Decimal | None = None
    r: Decimal | None = None
    T: int = 0


class KlineData(Struct, frozen=True, kw_only=True):
    t: int
    T: int
    s: str
    i: str
    o: Decimal
    c: Decimal
    h: Decimal
    l: Decimal  # noqa: E741 - the venue's name
    v: Decimal
    x: bool
    f: int = 0
    L: int = 0
    n: int = 0
    q: Decimal = ZERO
    V: Decimal = ZERO
    Q: Decimal = ZERO
    B: Decimal = ZERO


class KlineEvent(Event, frozen=True, kw_only=True, tag="kline"):
    E: int
    s: str
    k: KlineData


class MiniTicker(Event, frozen=True, kw_only=True, tag="24hrMiniTicker"):
    E: int
    s: str
    c: Decimal
    o: Decimal
    h: Decimal
    l: Decimal  # noqa: E741 - the venue's name
    v: Decimal
    q: Decimal


class TickerEvent(Event, frozen=True, kw_only=True, tag="24hrTicker"):
    E: int
    s: str
    p: Decimal
    P: Decimal
    w: Decimal
    c: Decimal
    Q: Decimal
    o: Decimal
    h: Decimal
    l: Decimal  # noqa: E741 - the venue's name
    v: Decimal
    q: Decimal
    O: int  # noqa: E741 - the venue's name
    C: int
    F: int
    L: int
    n: int


class ForcedOrder(Struct, frozen=True, kw_only=True):
    s: str
    S: str
    o: str
    f: str
    q: Decimal
    p: Decimal
    ap: Decimal
    X: str
    l: Decimal  # noqa: E741 - the venue's name
    z: Decimal
    T: int


class ForceOrderEvent(Event, frozen=True, kw_only=True, tag="forceOrder"):
    """Somebody's liquidation."""

    E: int
    o: ForcedOrder


class OrderUpdate(Struct, frozen=True, kw_only=True):
    """`x` what happened, `X` the state after it; `l`, `L`, `t`, `n` the last fill; `z`, `ap` all of them."""

    s: str
    c: str
    S: str
    o: str
    f: str
    q: Decimal
    p: Decimal
    x: str
    X: str
    i: int
    z: Decimal
    T: int
    ap: Decimal = ZERO
    sp: Decimal = ZERO
    l: Decimal = ZERO  # noqa: E741 - the venue's name
    L: Decimal = ZERO
    N: str = ""
    n: Decimal = ZERO
    t: int = 0
    b: Decimal = ZERO
    a: Decimal = ZERO
    m: bool = False
    R: bool = False
    wt: str = ""
    ot: str = ""
    ps: str = "BOTH"
    cp: bool = False
    AP: Decimal | None = None
    cr: Decimal | None = None
    rp: Decimal = ZERO
    pP: bool = False
    si: int = 0
    ss: int = 0


class OrderTradeUpdate(Event, frozen=True, kw_only=True, tag="ORDER_TRADE_UPDATE"):
    E: int
    T: int
    o: OrderUpdate


class BalanceChange(Struct, frozen=True, kw_only=True):
    """`bc`: the change that is neither PnL nor commission."""

    a: str
    wb: Decimal
    cw: Decimal
    bc: Decimal = ZERO


class PositionChange(Struct, frozen=True, kw_only=True):
    s: str
    pa: Decimal
    ep: Decimal
    up: Decimal
    mt: str
    cr: Decimal = ZERO
    iw: Decimal = ZERO
    ps: str = "BOTH"
    ma: str = ""


class AccountChange(Struct, frozen=True, kw_only=True):
    """`m`: why: ORDER, FUNDING_FEE, DEPOSIT ..."""

    m: str
    B: list[BalanceChange] = []
    P: list[PositionChange] = []


class AccountUpdate(Event, frozen=True, kw_only=True, tag="ACCOUNT_UPDATE"):
    E: int
    T: int
    a: AccountChange


class LeverageChange(Struct, frozen=True, kw_only=True):
    s: str
    l: int  # noqa: E741 - the venue's name


class ModeChange(Struct, frozen=True, kw_only=True):
    """`j`: multi-asset margin."""

    j: bool | None = None
    f: bool | None = None
    d: bool | None = None


class AccountConfigUpdate(Event, frozen=True, kw_only=True, tag="ACCOUNT_CONFIG_UPDATE"):
    E: int
    T: int = 0
    ac: LeverageChange | None = None
    ai: ModeChange | None = None


class MarginCallPosition(Struct, frozen=True, kw_only=True):
    s: str
    ps: str
    pa: Decimal
    mt: str
    mp: Decimal
    up: Decimal
    mm: Decimal
    iw: Decimal = ZERO


class MarginCall(Event, frozen=True, kw_only=True, tag="MARGIN_CALL"):
    E: int
    cw: Decimal | None = None
    p: list[MarginCallPosition] = []


class ListenKeyExpired(Event, frozen=True, kw_only=True, tag="listenKeyExpired"):
    """No further events come, although the socket stays open."""

    E: int = 0


class AnnouncementText(Struct, frozen=True, kw_only=True):
    i: int
    t: str
    s: str
    c: str
    d: int
    S: bool
    j: str
    C: str


class Announcement(Event, frozen=True, kw_only=True, tag="announcement"):
    en: AnnouncementText | None = None
    zh: AnnouncementText | None = None


AnyEvent = (
    DepthUpdate
    | BookTicker
    | AggTradeEvent
    | TradeEvent
    | TradePro
    | MarkPriceEvent
    | KlineEvent
    | MiniTicker
    | TickerEvent
    | ForceOrderEvent
    | OrderTradeUpdate
    | AccountUpdate
    | AccountConfigUpdate
    | MarginCall
    | ListenKeyExpired
    | Announcement
)


class OtherEvent(Struct, frozen=True, kw_only=True):
    """One that we have no use for."""

    e: str


class Combined(Struct, frozen=True, kw_only=True):
    """A frame of a combined stream, an answer to a request of ours (`id`), or a bare event (`e`)."""

    stream: str = ""
    data: AnyEvent | list[AnyEvent] | None = None
    id: int | None = None
    result: Any = None
    code: int | None = None
    msg: str = ""
    e: str = ""
    generated: bool = False


class _Peek(msgspec.Struct):
    e: str = ""


class _PeekCombined(msgspec.Struct):
    data: _Peek | list[_Peek] | None = None


Frame = Combined | AnyEvent | OtherEvent | list[AnyEvent]

_combined: Final = msgspec.json.Decoder(Combined, strict=False)
_event: Final = msgspec.json.Decoder(AnyEvent, strict=False)
_events: Final = msgspec.json.Decoder(list[AnyEvent], strict=False)
_peek: Final = msgspec.json.Decoder(_PeekCombined, strict=False)
_row: Final = msgspec.json.Decoder(Order, strict=False)
_error: Final = msgspec.json.Decoder(ErrorBody, strict=False)
EVENT_NAMES: Final = frozenset(str(kind.__struct_config__.tag) for kind in AnyEvent.__args__)


def decode_frame(data: str | bytes) -> Frame:
    """The message of one frame; an event of the combined form comes without its wrapper, answers to requests as `Combined`.

    Raises:
        msgspec.DecodeError: no JSON, or not of the event's form. Events that this library does not know are `OtherEvent`.
    """
    if data[:1] in ("[", b"["):
        return _events.decode(data)
    try:
        frame = _combined.decode(data)
    except msgspec.ValidationError:
        inner = _peek.decode(data).data
        name = inner.e if isinstance(inner, _Peek) else inner[0].e if inner else ""
        if not name or name in EVENT_NAMES:
            raise
        return OtherEvent(e=name)
    if frame.data is not None:
        return frame.data
    if frame.e:
        return _event.decode(data) if frame.e in EVENT_NAMES else OtherEvent(e=frame.e)
    return frame


def decode_row(data: msgspec.Raw) -> Order | ErrorBody:
    """One row of a batch: the order, or why there is none."""
    raw = bytes(data)
    return _error.decode(raw) if b'"code"' in raw and b'"orderId"' not in raw else _row.decode(raw)
