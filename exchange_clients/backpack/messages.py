"""Backpack's messages as types: what arrives by REST and on the socket.

Wire names are the venue's own, also where they are not Python's style. Numbers come as text; those that are money, prices or sizes are
Decimal, except book levels (`Level`), which are lax floats on their way to integer ticks. `None` means absent or null.
Three units of time: ms in live answers, naive UTC text in history and candles, microseconds on the socket. Above each group: where recorded
examples are (folders of `payloads/backpack`) or the page that shows the shape.

Source: dossier sections 3-5; https://docs.backpack.exchange, read 2026-11.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

import msgspec

__all__ = ["Frame", "decode_frame"]


class Wire(msgspec.Struct, frozen=True, gc=False):
    """Base of everything that arrives: unknown fields are ignored."""


class Level(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Price and absolute size; size 0 removes the level."""

    px: float
    sz: float


class Quote(msgspec.Struct, frozen=True, gc=False, array_like=True):
    px: Decimal
    sz: Decimal


# ---- markets: rest/markets


class MultiplierBand(Wire, frozen=True):
    minMultiplier: Decimal | None = None
    maxMultiplier: Decimal | None = None


class PremiumBand(Wire, frozen=True):
    tolerancePct: Decimal | None = None


class PriceFilter(Wire, frozen=True):
    """Multipliers are relative to the last active price; impact ones bound how far a market order walks."""

    tickSize: Decimal
    minPrice: Decimal | None = None
    maxPrice: Decimal | None = None
    minMultiplier: Decimal | None = None
    maxMultiplier: Decimal | None = None
    minImpactMultiplier: Decimal | None = None
    maxImpactMultiplier: Decimal | None = None
    meanMarkPriceBand: MultiplierBand | None = None
    meanPremiumBand: PremiumBand | None = None
    borrowEntryFeeMinMultiplier: Decimal | None = None
    borrowEntryFeeMaxMultiplier: Decimal | None = None
    borrowmarketFeeMinMultiplier: Decimal | None = None
    borrowmarketFeeMaxMultiplier: Decimal | None = None


class QuantityFilter(Wire, frozen=True):
    stepSize: Decimal
    minQuantity: Decimal
    maxQuantity: Decimal | None = None


class Filters(Wire, frozen=True):
    price: PriceFilter
    quantity: QuantityFilter


class MarginFunction(Wire, frozen=True):
    """The fraction grows with the root of the exposure; `base` is its floor."""

    type: str
    base: Decimal
    factor: Decimal


class Market(Wire, frozen=True):
    """`fundingInterval` in ms; the bounds of the rate in basis points per interval."""

    symbol: str
    baseSymbol: str
    quoteSymbol: str
    marketType: str
    filters: Filters
    imfFunction: MarginFunction | None = None
    mmfFunction: MarginFunction | None = None
    fundingInterval: int | None = None
    fundingRateUpperBound: Decimal | None = None
    fundingRateLowerBound: Decimal | None = None
    openInterestLimit: Decimal | None = None
    orderBookState: str = "Open"
    createdAt: str | None = None
    visible: bool = True


class Token(Wire, frozen=True):
    """A coin on one chain."""

    blockchain: str
    displayName: str | None = None
    contractAddress: str | None = None
    depositEnabled: bool | None = None
    minimumDeposit: Decimal | None = None
    withdrawEnabled: bool | None = None
    minimumWithdrawal: Decimal | None = None
    maximumWithdrawal: Decimal | None = None
    withdrawalFee: Decimal | None = None
    nativeDecimals: int | None = None


class Asset(Wire, frozen=True):
    symbol: str
    displayName: str | None = None
    coingeckoId: str | None = None
    tokens: list[Token] = []


# ---- market data: rest/other, rest/ticker, rest/trades, rest/candles, rest/funding_rate, rest/funding_history, rest/status


class Depth(Wire, frozen=True):
    """A whole book; the order of levels is not promised (bids were seen ascending). `timestamp` in microseconds."""

    asks: list[Quote]
    bids: list[Quote]
    lastUpdateId: int
    timestamp: int | None = None


class TickerRow(Wire, frozen=True):
    """`volume` in base units, `quoteVolume` in the quote currency."""

    symbol: str
    lastPrice: Decimal | None = None
    firstPrice: Decimal | None = None
    high: Decimal | None = None
    low: Decimal | None = None
    priceChange: Decimal | None = None
    priceChangePercent: str | None = None
    volume: Decimal | None = None
    quoteVolume: Decimal | None = None
    trades: int | None = None


class MarkPriceRow(Wire, frozen=True):
    """`fundingRate`: the estimate for the interval that ends at `nextFundingTimestamp` (ms)."""

    symbol: str
    markPrice: Decimal | None = None
    indexPrice: Decimal | None = None
    fundingRate: Decimal | None = None
    nextFundingTimestamp: int | None = None


class OpenInterestRow(Wire, frozen=True):
    """In units of the base."""

    symbol: str
    openInterest: Decimal | None = None
    timestamp: int | None = None


class FundingRow(Wire, frozen=True):
    symbol: str
    fundingRate: Decimal
    intervalEndTimestamp: str


class TradeRow(Wire, frozen=True):
    """A public trade. `timestamp` in ms; a buyer who was the maker means that the taker sold."""

    id: int
    isBuyerMaker: bool
    price: Decimal
    quantity: Decimal
    timestamp: int
    quoteQuantity: Decimal | None = None


class KlineRow(Wire, frozen=True):
    """`start` and `end` are naive UTC text; prices are absent where nothing traded."""

    start: str
    end: str | None = None
    open: Decimal | None = None
    high: Decimal | None = None
    low: Decimal | None = None
    close: Decimal | None = None
    volume: Decimal | None = None
    quoteVolume: Decimal | None = None
    trades: int | None = None


class Status(Wire, frozen=True):
    status: str
    message: str | None = None


# ---- account: rest/account, rest/positions, rest/transfers; https://docs.backpack.exchange/#tag/Account


class Account(Wire, frozen=True):
    """Fees in basis points, negative ones are rebates."""

    leverageLimit: Decimal
    futuresMakerFee: Decimal
    futuresTakerFee: Decimal
    spotMakerFee: Decimal | None = None
    spotTakerFee: Decimal | None = None
    autoBorrowSettlements: bool | None = None
    autoLend: bool | None = None
    autoRealizePnl: bool | None = None
    autoRepayBorrows: bool | None = None
    borrowLimit: Decimal | None = None
    limitOrders: int | None = None
    triggerOrders: int | None = None
    positionLimit: Decimal | None = None
    liquidating: bool = False


class Balance(Wire, frozen=True):
    available: Decimal
    locked: Decimal
    staked: Decimal


class CollateralAsset(Wire, frozen=True):
    symbol: str
    totalQuantity: Decimal | None = None
    availableQuantity: Decimal | None = None
    lendQuantity: Decimal | None = None
    openOrderQuantity: Decimal | None = None
    assetMarkPrice: Decimal | None = None
    collateralWeight: Decimal | None = None
    collateralValue: Decimal | None = None
    balanceNotional: Decimal | None = None


class Collateral(Wire, frozen=True):
    """`netEquityAvailable`: free after positions and open orders. Margin fractions are null while flat."""

    netEquity: Decimal
    netEquityAvailable: Decimal
    netEquityLocked: Decimal | None = None
    assetsValue: Decimal | None = None
    liabilitiesValue: Decimal | None = None
    borrowLiability: Decimal | None = None
    pnlUnrealized: Decimal | None = None
    unsettledEquity: Decimal | None = None
    netExposureFutures: Decimal | None = None
    imf: Decimal | None = None
    mmf: Decimal | None = None
    marginFraction: Decimal | None = None
    collateral: list[CollateralAsset] = []


class PositionRow(Wire, frozen=True):
    """`netQuantity` is the position; `netExposureQuantity` adds what open orders may do to it. A liquidation price of 0 is none."""

    symbol: str
    netQuantity: Decimal
    positionId: str | int | None = None
    entryPrice: Decimal | None = None
    breakEvenPrice: Decimal | None = None
    markPrice: Decimal | None = None
    estLiquidationPrice: Decimal | None = None
    pnlUnrealized: Decimal | None = None
    pnlRealized: Decimal | None = None
    cumulativeFundingPayment: Decimal | None = None
    cumulativeInterest: Decimal | None = None
    netCost: Decimal | None = None
    netExposureQuantity: Decimal | None = None
    netExposureNotional: Decimal | None = None
    imf: Decimal | None = None
    mmf: Decimal | None = None
    imfFunction: MarginFunction | None = None
    mmfFunction: MarginFunction | None = None
    subaccountId: int | None = None
    userId: int | None = None


class MaxOrder(Wire, frozen=True):
    maxOrderQuantity: Decimal
    symbol: str | None = None
    side: str | None = None
    price: Decimal | None = None
    reduceOnly: bool | None = None


class Deposit(Wire, frozen=True):
    id: int
    symbol: str
    quantity: Decimal
    status: str
    createdAt: str
    source: str | None = None
    fromAddress: str | None = None
    toAddress: str | None = None
    transactionHash: str | None = None
    fiatAmount: Decimal | None = None
    fiatCurrency: str | None = None
    institutionBic: str | None = None
    platformMemo: str | None = None


class DepositAddress(Wire, frozen=True):
    address: str


# ---- orders and history: rest/orders, rest/order_ack, rest/fills, rest/trades, rest/funding_history, rest/error


class OrderRow(Wire, frozen=True):
    """An order, live or in history. `createdAt` is ms when live, naive UTC text in history, where `expiryReason` is told too.

    A trigger order has `triggerQuantity` instead of `quantity`. There is no average price and no fee.
    """

    id: str
    symbol: str
    side: str
    orderType: str
    status: str
    clientId: int | None = None
    createdAt: str | int | None = None
    price: Decimal | None = None
    quantity: Decimal | None = None
    quoteQuantity: Decimal | None = None
    executedQuantity: Decimal | None = None
    executedQuoteQuantity: Decimal | None = None
    timeInForce: str | None = None
    postOnly: bool | None = None
    reduceOnly: bool | None = None
    selfTradePrevention: str | None = None
    expiryReason: str | None = None
    systemOrderType: str | None = None
    triggerPrice: Decimal | None = None
    triggerBy: str | None = None
    triggerQuantity: str | None = None
    triggeredAt: str | int | None = None
    relatedOrderId: str | int | None = None
    strategyId: str | int | None = None
    stopLossTriggerPrice: Decimal | None = None
    stopLossLimitPrice: Decimal | None = None
    stopLossTriggerBy: str | None = None
    takeProfitTriggerPrice: Decimal | None = None
    takeProfitLimitPrice: Decimal | None = None
    takeProfitTriggerBy: str | None = None
    slippageTolerance: Decimal | None = None
    slippageToleranceType: str | None = None


class FillRow(Wire, frozen=True):
    """`timestamp` is naive UTC text; `clientId` may be text here; `systemOrderType` names what the venue traded for us."""

    orderId: str
    symbol: str
    side: str
    price: Decimal
    quantity: Decimal
    fee: Decimal
    feeSymbol: str
    timestamp: str
    isMaker: bool
    tradeId: int | None = None
    clientId: int | None = None
    systemOrderType: str | None = None


class FundingPaymentRow(Wire, frozen=True):
    """`quantity` > 0 was received."""

    symbol: str
    quantity: Decimal
    intervalEndTimestamp: str
    fundingRate: Decimal | None = None
    subaccountId: int | None = None
    userId: int | None = None


class Failure(Wire, frozen=True):
    code: str = ""
    message: str = ""


class BatchOutcome(Wire, frozen=True):
    """One order of a batch: `operation` "Ok" with the fields of an order, or "Err" with a code and a message."""

    operation: str
    code: str = ""
    message: str = ""


# ---- socket: ws/*; the wire's keys are single letters, its times microseconds


class Event(msgspec.Struct, frozen=True, gc=False):
    """Base of everything that is pushed. Each class says which letter each field is."""


class DepthUpdate(
    Event,
    frozen=True,
    rename={"symbol": "s", "first": "U", "final": "u", "asks": "a", "bids": "b", "time_us": "T", "sent_us": "E", "kind": "e"},
):
    """Numbered `first`..`final`; each level replaces the size at its price."""

    symbol: str
    first: int
    final: int
    asks: list[Level]
    bids: list[Level]
    time_us: int | None = None
    sent_us: int | None = None
    kind: str | None = None


class BookTicker(
    Event,
    frozen=True,
    rename={
        "symbol": "s",
        "ask": "a",
        "ask_size": "A",
        "bid": "b",
        "bid_size": "B",
        "update": "u",
        "time_us": "T",
        "sent_us": "E",
        "kind": "e",
    },
):
    """Best prices; null on an empty side."""

    symbol: str
    ask: Decimal | None = None
    ask_size: Decimal | None = None
    bid: Decimal | None = None
    bid_size: Decimal | None = None
    update: int | None = None
    time_us: int | None = None
    sent_us: int | None = None
    kind: str | None = None


class TradeEvent(
    Event,
    frozen=True,
    rename={
        "symbol": "s",
        "price": "p",
        "quantity": "q",
        "trade_id": "t",
        "buyer_is_maker": "m",
        "time_us": "T",
        "seller_order": "a",
        "buyer_order": "b",
        "sent_us": "E",
        "kind": "e",
    },
):
    symbol: str
    price: Decimal
    quantity: Decimal
    trade_id: int
    buyer_is_maker: bool
    time_us: int
    seller_order: str | int | None = None
    buyer_order: str | int | None = None
    sent_us: int | None = None
    kind: str | None = None


class MarkPriceEvent(
    Event,
    frozen=True,
    rename={"symbol": "s", "mark": "p", "index": "i", "rate": "f", "next_ms": "n", "time_us": "T", "sent_us": "E", "kind": "e"},
):
    """`rate`: the estimate of what is charged at `next_ms`."""

    symbol: str
    mark: Decimal | None = None
    index: Decimal | None = None
    rate: Decimal | None = None
    next_ms: int | None = None
    time_us: int | None = None
    sent_us: int | None = None
    kind: str | None = None


class KlineEvent(
    Event,
    frozen=True,
    rename={
        "symbol": "s",
        "start": "t",
        "end": "T",
        "open": "o",
        "high": "h",
        "low": "l",
        "close": "c",
        "volume": "v",
        "trades": "n",
        "closed": "X",
        "sent_us": "E",
        "kind": "e",
    },
):
    """`start` and `end` are naive UTC text."""

    symbol: str
    start: str
    end: str | None = None
    open: Decimal | None = None
    high: Decimal | None = None
    low: Decimal | None = None
    close: Decimal | None = None
    volume: Decimal | None = None
    trades: int | None = None
    closed: bool = False
    sent_us: int | None = None
    kind: str | None = None


class KlineFrame(msgspec.Struct, frozen=True, gc=False):
    """An event does not say its interval: the stream's topic does."""

    stream: str
    event: KlineEvent


class LiquidationEvent(
    Event,
    frozen=True,
    rename={"symbol": "s", "side": "S", "price": "p", "quantity": "q", "time_us": "T", "sent_us": "E", "kind": "e"},
):
    """Somebody's."""

    symbol: str
    side: str
    price: Decimal
    quantity: Decimal
    time_us: int
    sent_us: int | None = None
    kind: str | None = None


class OrderEvent(
    Event,
    frozen=True,
    rename={
        "kind": "e",
        "symbol": "s",
        "order_id": "i",
        "side": "S",
        "status": "X",
        "time_us": "T",
        "client_id": "c",
        "order_type": "o",
        "time_in_force": "f",
        "quantity": "q",
        "quote_quantity": "Q",
        "price": "p",
        "executed": "z",
        "executed_quote": "Z",
        "expiry_reason": "R",
        "trade_id": "t",
        "fill_quantity": "l",
        "fill_price": "L",
        "is_maker": "m",
        "fee": "n",
        "fee_asset": "N",
        "trigger_price": "P",
        "trigger_by": "B",
        "trigger_quantity": "Y",
        "take_profit_price": "a",
        "take_profit_limit": "j",
        "take_profit_by": "d",
        "stop_loss_price": "b",
        "stop_loss_limit": "k",
        "stop_loss_by": "g",
        "self_trade": "V",
        "reduce_only": "r",
        "post_only": "y",
        "origin": "O",
        "related_order_id": "I",
        "strategy_id": "H",
        "sent_us": "E",
    },
):
    """Every change of an order; a fill is one that has a trade. `order_type` is in upper case here, in title case by REST."""

    kind: str
    symbol: str
    order_id: str
    side: str
    status: str
    time_us: int
    client_id: int | None = None
    order_type: str | None = None
    time_in_force: str | None = None
    quantity: Decimal | None = None
    quote_quantity: Decimal | None = None
    price: Decimal | None = None
    executed: Decimal | None = None
    executed_quote: Decimal | None = None
    expiry_reason: str | None = None
    trade_id: int | None = None
    fill_quantity: Decimal | None = None
    fill_price: Decimal | None = None
    is_maker: bool | None = None
    fee: Decimal | None = None
    fee_asset: str | None = None
    trigger_price: Decimal | None = None
    trigger_by: str | None = None
    trigger_quantity: str | None = None
    take_profit_price: Decimal | None = None
    take_profit_limit: Decimal | None = None
    take_profit_by: str | None = None
    stop_loss_price: Decimal | None = None
    stop_loss_limit: Decimal | None = None
    stop_loss_by: str | None = None
    self_trade: str | None = None
    reduce_only: bool | None = None
    post_only: bool | None = None
    origin: str = "USER"
    related_order_id: str | int | None = None
    strategy_id: str | int | None = None
    sent_us: int | None = None


class PositionEvent(
    Event,
    frozen=True,
    rename={
        "symbol": "s",
        "quantity": "q",
        "entry_price": "B",
        "mark_price": "M",
        "unrealized_pnl": "P",
        "realized_pnl": "p",
        "liquidation_price": "l",
        "break_even_price": "b",
        "exposure_quantity": "Q",
        "exposure_notional": "n",
        "initial_fraction": "f",
        "maintenance_fraction": "m",
        "position_id": "i",
        "time_us": "T",
        "sent_us": "E",
        "kind": "e",
    },
):
    """`quantity` is the position, `exposure_quantity` adds open orders. On subscribing every open one comes, without `e`."""

    symbol: str
    quantity: Decimal
    entry_price: Decimal | None = None
    mark_price: Decimal | None = None
    unrealized_pnl: Decimal | None = None
    realized_pnl: Decimal | None = None
    liquidation_price: Decimal | None = None
    break_even_price: Decimal | None = None
    exposure_quantity: Decimal | None = None
    exposure_notional: Decimal | None = None
    initial_fraction: Decimal | None = None
    maintenance_fraction: Decimal | None = None
    position_id: int | None = None
    time_us: int | None = None
    sent_us: int | None = None
    kind: str | None = None


class StreamError(Wire, frozen=True):
    """A refused subscription; it does not say which."""

    code: int
    message: str


class _Envelope(msgspec.Struct, frozen=True, gc=False):
    stream: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")
    error: StreamError | None = None


Frame = DepthUpdate | BookTicker | TradeEvent | MarkPriceEvent | KlineFrame | LiquidationEvent | OrderEvent | PositionEvent | StreamError

_STREAMS: Final[dict[str, type[Any]]] = {
    "depth": DepthUpdate,
    "bookTicker": BookTicker,
    "trade": TradeEvent,
    "markPrice": MarkPriceEvent,
    "kline": KlineEvent,
    "liquidation": LiquidationEvent,
    "account.orderUpdate": OrderEvent,
    "account.positionUpdate": PositionEvent,
}
_DECODERS: Final = {name: msgspec.json.Decoder(kind, strict=False) for name, kind in _STREAMS.items()}
_envelope: Final = msgspec.json.Decoder(_Envelope)


def decode_frame(data: str | bytes) -> Frame:
    """The message of a socket frame. The stream's name is cut at its known beginning: symbols have dots too.

    Raises:
        msgspec.DecodeError: no frame of this venue, or of a stream that we never ask for.
    """
    envelope = _envelope.decode(data)
    if envelope.error is not None:
        return envelope.error
    name, _, rest = envelope.stream.partition(".")
    if name == "account":
        name = f"account.{rest.partition('.')[0]}"
    decoder = _DECODERS.get(name)
    if decoder is None:
        raise msgspec.DecodeError(f"stream {envelope.stream[:50]!r}")
    event: Any = decoder.decode(envelope.data)
    return KlineFrame(envelope.stream, event) if name == "kline" else event
