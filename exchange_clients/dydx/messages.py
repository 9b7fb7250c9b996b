"""Wire structs of the indexer: its HTTP answers and its socket's frames.

Numbers come as text. Optional fields are those that recorded messages leave out or send as null.

Source: dossier sections 3 and 4; https://docs.dydx.xyz/indexer-client, read 2026-11.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec


class Row(msgspec.Struct, frozen=True, gc=False):
    """Base of all wire structs; unknown fields are ignored."""


# ---- market data


class Market(Row, frozen=True, gc=False):
    """One of /v4/perpetualMarkets. `openInterest` in base units, `volume24H` in USD; the oracle price may be missing on a dead market."""

    clobPairId: str
    ticker: str
    status: str
    atomicResolution: int
    quantumConversionExponent: int
    tickSize: Decimal
    stepSize: Decimal
    stepBaseQuantums: int
    subticksPerTick: int
    oraclePrice: Decimal | None = None
    priceChange24H: Decimal | None = None
    volume24H: Decimal | None = None
    trades24H: int | None = None
    nextFundingRate: Decimal | None = None
    initialMarginFraction: Decimal | None = None
    maintenanceMarginFraction: Decimal | None = None
    openInterest: Decimal | None = None
    marketType: str = "CROSS"
    openInterestLowerCap: Decimal | None = None
    openInterestUpperCap: Decimal | None = None
    baseOpenInterest: Decimal | None = None
    defaultFundingRate1H: Decimal | None = None


class Markets(Row, frozen=True, gc=False):
    markets: dict[str, Market]


class MarketUpdate(Row, frozen=True, gc=False):
    """Only what changed."""

    id: str | None = None
    clobPairId: str | None = None
    status: str | None = None
    oraclePrice: Decimal | None = None
    nextFundingRate: Decimal | None = None
    openInterest: Decimal | None = None
    volume24H: Decimal | None = None
    tickSize: Decimal | None = None
    stepSize: Decimal | None = None


class OraclePrice(Row, frozen=True, gc=False):
    oraclePrice: Decimal
    effectiveAt: str | None = None
    effectiveAtHeight: int | None = None
    marketId: int | None = None


class MarketsContents(Row, frozen=True, gc=False):
    """Of v4_markets: `markets` at first, then the others."""

    markets: dict[str, Market] | None = None
    trading: dict[str, MarketUpdate] | None = None
    oraclePrices: dict[str, OraclePrice] | None = None


class Level(msgspec.Struct, frozen=True, gc=False):
    """A level of a snapshot; lax floats become integer ticks in the book."""

    px: float = msgspec.field(name="price")
    sz: float = msgspec.field(name="size")


class LevelChange(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A level of an update: absolute size, 0 removes."""

    px: float
    sz: float


class PricedLevel(Row, frozen=True, gc=False):
    price: Decimal
    size: Decimal


class Book(Row, frozen=True, gc=False):
    """/v4/orderbooks: at most 100 levels a side, uncrossed by the server, up to a second old."""

    bids: list[PricedLevel]
    asks: list[PricedLevel]


class BookContents(Row, frozen=True, gc=False):
    bids: list[Level] = []
    asks: list[Level] = []


class BookChanges(Row, frozen=True, gc=False):
    bids: list[LevelChange] = []
    asks: list[LevelChange] = []


class Trade(Row, frozen=True, gc=False):
    id: str
    side: str
    size: Decimal
    price: Decimal
    createdAt: str
    type: str = "LIMIT"
    createdAtHeight: str | None = None


class Trades(Row, frozen=True, gc=False):
    trades: list[Trade]


class Candle(Row, frozen=True, gc=False):
    startedAt: str
    ticker: str
    resolution: str
    low: Decimal
    high: Decimal
    open: Decimal
    close: Decimal
    baseTokenVolume: Decimal
    usdVolume: Decimal | None = None
    trades: int | None = None
    startingOpenInterest: Decimal | None = None
    orderbookMidPriceOpen: Decimal | None = None
    orderbookMidPriceClose: Decimal | None = None


class Candles(Row, frozen=True, gc=False):
    candles: list[Candle]


class FundingRow(Row, frozen=True, gc=False):
    """`rate` is a fraction per hour."""

    ticker: str
    rate: Decimal
    effectiveAt: str
    price: Decimal | None = None
    effectiveAtHeight: str | None = None


class FundingHistory(Row, frozen=True, gc=False):
    historicalFunding: list[FundingRow]


class Time(Row, frozen=True, gc=False):
    """`epoch` is in seconds, with a fraction."""

    iso: str
    epoch: float


class Height(Row, frozen=True, gc=False):
    """What the indexer has processed. The socket's updates call it `blockHeight`."""

    height: int | None = None
    blockHeight: int | None = None
    time: str | None = None

    @property
    def number(self) -> int:
        return self.height or self.blockHeight or 0


# ---- account


class PositionRow(Row, frozen=True, gc=False):
    """`size` is negative for shorts on some endpoints: `side` tells. Settled once when closed."""

    market: str
    status: str
    side: str
    size: Decimal
    entryPrice: Decimal | None = None
    maxSize: Decimal | None = None
    exitPrice: Decimal | None = None
    realizedPnl: Decimal | None = None
    unrealizedPnl: Decimal | None = None
    createdAt: str | None = None
    createdAtHeight: str | None = None
    closedAt: str | None = None
    sumOpen: Decimal | None = None
    sumClose: Decimal | None = None
    netFunding: Decimal | None = None
    subaccountNumber: int | None = None


class AssetPosition(Row, frozen=True, gc=False):
    symbol: str
    side: str
    size: Decimal
    assetId: str | None = None
    subaccountNumber: int | None = None


class Subaccount(Row, frozen=True, gc=False):
    address: str
    subaccountNumber: int
    equity: Decimal
    freeCollateral: Decimal
    openPerpetualPositions: dict[str, PositionRow] = {}
    assetPositions: dict[str, AssetPosition] = {}
    marginEnabled: bool | None = None
    updatedAtHeight: str | None = None
    latestProcessedBlockHeight: str | None = None


class SubaccountReply(Row, frozen=True, gc=False):
    subaccount: Subaccount


class SubaccountsReply(Row, frozen=True, gc=False):
    subaccounts: list[Subaccount]


class Positions(Row, frozen=True, gc=False):
    positions: list[PositionRow]


class OrderRow(Row, frozen=True, gc=False):
    """An order, whole by HTTP and at first; a removal on the socket has little more than ids, status and reason."""

    id: str
    status: str
    clientId: str | None = None
    clobPairId: str | None = None
    orderFlags: str | None = None
    ticker: str | None = None
    side: str | None = None
    size: Decimal | None = None
    totalFilled: Decimal | None = None
    totalOptimisticFilled: Decimal | None = None
    price: Decimal | None = None
    type: str | None = None
    timeInForce: str | None = None
    postOnly: bool | None = None
    reduceOnly: bool | None = None
    goodTilBlock: str | None = None
    goodTilBlockTime: str | None = None
    triggerPrice: Decimal | None = None
    removalReason: str | None = None
    clientMetadata: str | None = None
    subaccountId: str | None = None
    createdAtHeight: str | None = None
    updatedAt: str | None = None
    updatedAtHeight: str | None = None
    orderRouterAddress: str | None = None
    subaccountNumber: int | None = None


class FillRow(Row, frozen=True, gc=False):
    """An execution of ours. HTTP names the market `market`, the socket `ticker`."""

    id: str
    side: str
    size: Decimal
    price: Decimal
    createdAt: str
    liquidity: str | None = None
    type: str = "LIMIT"
    market: str | None = None
    ticker: str | None = None
    marketType: str | None = None
    clobPairId: str | None = None
    fee: Decimal | None = None
    affiliateRevShare: Decimal | None = None
    orderId: str | None = None
    quoteAmount: Decimal | None = None
    transactionHash: str | None = None
    eventId: Any = None
    createdAtHeight: str | None = None
    clientMetadata: str | None = None
    subaccountId: str | None = None
    subaccountNumber: int | None = None


class Fills(Row, frozen=True, gc=False):
    fills: list[FillRow]


class PaymentRow(Row, frozen=True, gc=False):
    """`payment` > 0 was received; `size` is signed by `side`."""

    createdAt: str
    ticker: str
    rate: Decimal
    payment: Decimal
    size: Decimal
    side: str
    createdAtHeight: str | None = None
    perpetualId: str | None = None
    oraclePrice: Decimal | None = None
    subaccountNumber: str | None = None
    fundingIndex: Decimal | None = None


class Payments(Row, frozen=True, gc=False):
    fundingPayments: list[PaymentRow]


class TransferParty(Row, frozen=True, gc=False):
    address: str
    subaccountNumber: int | None = None


class TransferRow(Row, frozen=True, gc=False):
    id: str
    sender: TransferParty
    recipient: TransferParty
    size: Decimal
    createdAt: str
    symbol: str
    type: str
    createdAtHeight: str | None = None
    transactionHash: str | None = None


class Transfers(Row, frozen=True, gc=False):
    transfers: list[TransferRow]


class SubaccountContents(Row, frozen=True, gc=False):
    """Of v4_subaccounts: `subaccount` with its open orders at first, then what changed."""

    subaccount: Subaccount | None = None
    orders: list[OrderRow] | None = None
    fills: list[FillRow] | None = None
    perpetualPositions: list[PositionRow] | None = None
    assetPositions: list[AssetPosition] | None = None
    transfers: Any = None
    tradingReward: Any = None
    blockHeight: int | None = None


# ---- errors


class ErrorEntry(Row, frozen=True, gc=False):
    msg: str = ""
    code: str | None = None
    param: str | None = None
    location: str | None = None


class Errors(Row, frozen=True, gc=False):
    errors: list[ErrorEntry]


# ---- frames


class Frame(Row, frozen=True, gc=False, tag_field="type"):
    """A message of the socket; `message_id` counts per connection and orders what it says."""

    message_id: int


class Connected(Frame, frozen=True, gc=False, tag="connected"):
    connection_id: str | None = None


class Subscribed(Frame, frozen=True, gc=False, tag="subscribed"):
    channel: str
    contents: msgspec.Raw
    id: str | None = None
    connection_id: str | None = None


class Unsubscribed(Frame, frozen=True, gc=False, tag="unsubscribed"):
    channel: str
    id: str | None = None
    connection_id: str | None = None


class Update(Frame, frozen=True, gc=False, tag="channel_data"):
    channel: str
    contents: msgspec.Raw
    id: str | None = None
    version: str | None = None
    subaccountNumber: int | None = None
    connection_id: str | None = None


class Batch(Frame, frozen=True, gc=False, tag="channel_batch_data"):
    channel: str
    contents: list[msgspec.Raw]
    id: str | None = None
    version: str | None = None
    subaccountNumber: int | None = None
    connection_id: str | None = None


class Failure(Frame, frozen=True, gc=False, tag="error"):
    message: str
    connection_id: str | None = None
    channel: str | None = None
    id: str | None = None


Frames = Connected | Subscribed | Unsubscribed | Update | Batch | Failure
decode_frame = msgspec.json.Decoder(Frames, strict=False).decode
decode_book = msgspec.json.Decoder(BookContents, strict=False).decode
decode_changes = msgspec.json.Decoder(BookChanges, strict=False).decode
decode_trades = msgspec.json.Decoder(Trades, strict=False).decode
decode_candles = msgspec.json.Decoder(Candles, strict=False).decode
decode_candle = msgspec.json.Decoder(Candle, strict=False).decode
decode_markets = msgspec.json.Decoder(MarketsContents, strict=False).decode
decode_subaccount = msgspec.json.Decoder(SubaccountContents, strict=False).decode
decode_height = msgspec.json.Decoder(Height, strict=False).decode
decode_errors = msgspec.json.Decoder(Errors, strict=False).decode
