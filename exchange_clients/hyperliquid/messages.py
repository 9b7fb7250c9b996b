"""Hyperliquid's messages as types: what arrives (info replies, socket frames, command answers) and what is sent (actions).

Wire names are the venue's own, also where they are not Python's style. Numbers that are money, prices or sizes are Decimal, except book
levels (`Level`), which are lax floats on their way to integer ticks. `None` means the venue left the field out or sent null.
Above each group: where recorded examples are (folders of `payloads/hyperliquid`) or the page that shows the shape.

Actions are hashed as msgpack in exactly the field order declared here; fields with a default are absent on the wire while they have it.

Source: dossier sections 3-6; https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api, read 2026-11.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

__all__ = ["Action", "Frame", "Reply", "decode_frame", "decode_reply"]


class Wire(msgspec.Struct, frozen=True, gc=False):
    """Base of everything that arrives: unknown fields are ignored."""


# ---- market data: rest/orderbook, ws/orderbook, rest/trades, ws/trades, rest/candles, ws/candles


class Level(msgspec.Struct, frozen=True, gc=False):
    px: float
    sz: float
    n: int = 0


class L2Book(Wire, frozen=True):
    """A whole book, bids then asks, best first: there are no deltas."""

    coin: str
    time: int
    levels: tuple[list[Level], list[Level]]


class Quote(Wire, frozen=True):
    px: Decimal
    sz: Decimal
    n: int = 0


class L2Snapshot(Wire, frozen=True):
    """The same by REST, for callers: exact decimals."""

    coin: str
    time: int
    levels: tuple[list[Quote], list[Quote]]


class BboData(Wire, frozen=True):
    """`bbo` is [bid, ask]; either may be null, and the ask may be missing altogether."""

    coin: str
    time: int
    bbo: list[Quote | None]


class TradeData(Wire, frozen=True):
    """`side` is the aggressor's. `tid` is absent in messages before 2024."""

    coin: str
    side: str
    px: Decimal
    sz: Decimal
    time: int
    hash: str = ""
    tid: int | None = None
    users: list[str] = []


class CandleData(Wire, frozen=True):
    """`t` and `T` are first and last millisecond, `v` base volume, `n` trades."""

    t: int
    T: int
    s: str
    i: str
    o: Decimal
    c: Decimal
    h: Decimal
    l: Decimal  # noqa: E741 - the venue's name
    v: Decimal
    n: int


# ---- instruments and their state: rest/markets, rest/ticker, ws/ticker, rest/funding_rate


class AssetMeta(Wire, frozen=True):
    """One entry of `meta.universe`; its index in that list is the asset's number."""

    name: str
    szDecimals: int | None = None
    maxLeverage: int | None = None
    marginTableId: int | None = None
    onlyIsolated: bool | None = None
    isDelisted: bool | None = None
    marginMode: str | None = None
    growthMode: str | None = None
    lastGrowthModeChangeTime: str | None = None


class MarginTier(Wire, frozen=True):
    lowerBound: Decimal
    maxLeverage: int


class MarginTable(Wire, frozen=True):
    description: str = ""
    marginTiers: list[MarginTier] = []


class Meta(Wire, frozen=True):
    universe: list[AssetMeta]
    marginTables: list[tuple[int, MarginTable]] = []
    collateralToken: int = 0


class AssetCtx(Wire, frozen=True):
    """`funding` is an hourly fraction, `openInterest` base units, `dayNtlVlm` USD; `midPx` and `premium` are null for a dead market."""

    funding: Decimal | None = None
    openInterest: Decimal | None = None
    prevDayPx: Decimal | None = None
    dayNtlVlm: Decimal | None = None
    premium: Decimal | None = None
    oraclePx: Decimal | None = None
    markPx: Decimal | None = None
    midPx: Decimal | None = None
    impactPxs: list[Decimal] | None = None
    dayBaseVlm: Decimal | None = None


class SpotAssetCtx(AssetCtx, frozen=True):
    coin: str | None = None
    circulatingSupply: Decimal | None = None
    totalSupply: Decimal | None = None


class ActiveAssetCtx(Wire, frozen=True):
    coin: str
    ctx: AssetCtx


class ActiveSpotAssetCtx(Wire, frozen=True):
    coin: str
    ctx: SpotAssetCtx


class AllMids(Wire, frozen=True):
    mids: dict[str, Decimal]
    dex: str | None = None


class PerpDex(Wire, frozen=True):
    """A builder's dex (HIP-3); the main dex is null in `perpDexs`."""

    name: str
    fullName: str = ""
    deployer: str = ""
    oracleUpdater: str | None = None
    feeRecipient: str | None = None
    assetToStreamingOiCap: list[tuple[str, Decimal]] = []
    assetToFundingMultiplier: list[tuple[str, Decimal]] = []
    deployerFeeScale: Decimal | None = None
    lastDeployerFeeScaleChangeTime: str | None = None
    subDeployers: list[tuple[str, list[str]]] = []


class EvmContract(Wire, frozen=True):
    address: str
    evm_extra_wei_decimals: int = 0


class SpotToken(Wire, frozen=True):
    """`collateralToken` of a dex is the `index` of one of these."""

    name: str
    szDecimals: int
    weiDecimals: int
    index: int
    tokenId: str
    isCanonical: bool
    evmContract: EvmContract | None = None
    fullName: str | None = None
    deployerTradingFeeShare: Decimal | None = None


class SpotPair(Wire, frozen=True):
    name: str
    tokens: list[int]
    index: int
    isCanonical: bool


class SpotMeta(Wire, frozen=True):
    universe: list[SpotPair]
    tokens: list[SpotToken]


class FundingRow(Wire, frozen=True):
    """What was charged; rows of 2023 are 8-hourly."""

    coin: str
    fundingRate: Decimal
    premium: Decimal
    time: int


class PredictedFunding(Wire, frozen=True):
    """`nextFundingTime` of venue HlPerp may name an hour already settled: not used."""

    fundingRate: Decimal
    nextFundingTime: int
    fundingIntervalHours: int | None = None


class ExchangeStatus(Wire, frozen=True):
    """The only server clock."""

    time: int
    specialStatuses: msgspec.Raw = msgspec.Raw(b"null")


# ---- orders and fills: rest/orders, ws/orders, rest/fills, ws/fills, ws/account


class OrderData(Wire, frozen=True):
    """`sz` is what remains, `origSz` what was ordered (absent in `openOrders`). `tif`, `orderType` and the trigger fields are missing in
    `orderUpdates`."""

    coin: str
    side: str
    limitPx: Decimal
    sz: Decimal
    oid: int
    timestamp: int
    origSz: Decimal | None = None
    cloid: str | None = None
    reduceOnly: bool | None = None
    tif: str | None = None
    orderType: str | None = None
    isTrigger: bool = False
    triggerPx: Decimal | None = None
    triggerCondition: str | None = None
    isPositionTpsl: bool = False
    children: list[OrderData] = []


class OrderUpdate(Wire, frozen=True):
    order: OrderData
    status: str
    statusTimestamp: int


class OrderStatusReply(Wire, frozen=True):
    """`status` "order", or "unknownOid" - also said for 0.4-1 s after a placement."""

    status: str
    order: OrderUpdate | None = None


class FillLiquidation(Wire, frozen=True):
    liquidatedUser: str
    markPx: Decimal
    method: str


class FillData(Wire, frozen=True):
    """`crossed`: taker. `fee` is negative for a rebate and contains `builderFee`. Unique by `tid` together with time and coin."""

    coin: str
    px: Decimal
    sz: Decimal
    side: str
    time: int
    oid: int
    crossed: bool
    fee: Decimal
    startPosition: Decimal | None = None
    dir: str = ""
    closedPnl: Decimal | None = None
    hash: str = ""
    tid: int | None = None
    cloid: str | None = None
    liquidation: FillLiquidation | None = None
    liquidationMarkPx: Decimal | None = None
    feeToken: str = "USDC"
    builderFee: Decimal | None = None
    twapId: int | None = None


class UserFills(Wire, frozen=True):
    fills: list[FillData]
    user: str = ""
    isSnapshot: bool = False


class UserLiquidation(Wire, frozen=True):
    lid: int
    liquidator: str
    liquidated_user: str
    liquidated_ntl_pos: Decimal
    liquidated_account_value: Decimal


class NonUserCancel(Wire, frozen=True):
    coin: str
    oid: int


class UserFundingData(Wire, frozen=True):
    """`usdc` negative: paid. `szi` the signed position that paid or received."""

    time: int
    coin: str
    usdc: Decimal
    szi: Decimal
    fundingRate: Decimal
    nSamples: int | None = None


class UserFundings(Wire, frozen=True):
    fundings: list[UserFundingData]
    user: str = ""
    isSnapshot: bool = False


class UserEvent(Wire, frozen=True):
    """Exactly one field is set. It does not say whose event it is: one connection per account."""

    fills: list[FillData] | None = None
    funding: UserFundingData | None = None
    liquidation: UserLiquidation | None = None
    nonUserCancel: list[NonUserCancel] | None = None


# ---- account: rest/account, rest/positions, ws/positions, rest/funding_history, rest/transfers


class Leverage(Wire, frozen=True):
    """`rawUsd` belongs to isolated positions."""

    value: int
    type: str | None = None
    rawUsd: Decimal | None = None


class CumFunding(Wire, frozen=True):
    """Positive = paid: the opposite sign of `userFunding`'s `usdc` (unverified)."""

    allTime: Decimal
    sinceOpen: Decimal
    sinceChange: Decimal


class PositionData(Wire, frozen=True):
    """`szi` is signed; sums are in the collateral of the dex."""

    coin: str
    szi: Decimal
    entryPx: Decimal | None = None
    positionValue: Decimal | None = None
    unrealizedPnl: Decimal | None = None
    returnOnEquity: Decimal | None = None
    liquidationPx: Decimal | None = None
    marginUsed: Decimal | None = None
    maxLeverage: int | None = None
    leverage: Leverage | None = None
    cumFunding: CumFunding | None = None
    maxTradeSzs: list[Decimal] = []


class AssetPosition(Wire, frozen=True):
    position: PositionData
    type: str = "oneWay"


class MarginSummary(Wire, frozen=True):
    accountValue: Decimal | None = None
    totalNtlPos: Decimal | None = None
    totalRawUsd: Decimal | None = None
    totalMarginUsed: Decimal | None = None
    withdrawable: Decimal | None = None


class ClearinghouseState(Wire, frozen=True):
    """One dex's account. Under unified or portfolio margin the collateral is in the spot balances instead."""

    assetPositions: list[AssetPosition]
    marginSummary: MarginSummary | None = None
    crossMarginSummary: MarginSummary | None = None
    crossMaintenanceMarginUsed: Decimal | None = None
    withdrawable: Decimal | None = None
    time: int | None = None


class SpotBalance(Wire, frozen=True):
    coin: str
    token: int
    total: Decimal
    hold: Decimal
    entryNtl: Decimal | None = None
    ltv: Decimal | None = None
    supplied: Decimal | None = None


class SpotState(Wire, frozen=True):
    balances: list[SpotBalance]
    tokenToAvailableAfterMaintenance: list[tuple[int, Decimal]] = []
    portfolioMarginEnabled: bool = False
    portfolioMarginRatio: Decimal | None = None
    tokenToPortfolioBorrowRatio: list[tuple[int, Decimal]] = []
    tokenToPortfolioSupplyRatio: list[tuple[int, Decimal]] = []


class ClearinghouseStateData(Wire, frozen=True):
    clearinghouseState: ClearinghouseState
    user: str = ""
    dex: str = ""


class SpotStateData(Wire, frozen=True):
    spotState: SpotState
    user: str = ""


class OpenOrdersData(Wire, frozen=True):
    orders: list[OrderData]
    user: str = ""
    dex: str = ""


class ActiveAssetData(Wire, frozen=True):
    """`maxTradeSzs` and `availableToTrade` are for buying and selling."""

    user: str
    coin: str
    leverage: Leverage
    maxTradeSzs: list[Decimal] = []
    availableToTrade: list[Decimal] = []
    markPx: Decimal | None = None


class FundingDelta(Wire, frozen=True):
    coin: str
    usdc: Decimal
    szi: Decimal
    fundingRate: Decimal
    type: str = "funding"
    nSamples: int | None = None


class UserFundingRow(Wire, frozen=True):
    time: int
    hash: str
    delta: FundingDelta


class LiquidatedPosition(Wire, frozen=True):
    coin: str
    szi: Decimal


class LedgerDelta(Wire, frozen=True):
    """Deposits, withdrawals, transfers, liquidations: which fields are set depends on `type`."""

    type: str
    usdc: Decimal | None = None
    toPerp: bool | None = None
    token: str | None = None
    amount: Decimal | None = None
    usdcValue: Decimal | None = None
    user: str | None = None
    destination: str | None = None
    sourceDex: str | None = None
    destinationDex: str | None = None
    fee: Decimal | None = None
    nativeTokenFee: Decimal | None = None
    feeToken: str | None = None
    nonce: int | None = None
    liquidatedNtlPos: Decimal | None = None
    accountValue: Decimal | None = None
    leverageType: str | None = None
    liquidatedPositions: list[LiquidatedPosition] = []
    vault: str | None = None
    requestedUsd: Decimal | None = None
    commission: Decimal | None = None
    closingCost: Decimal | None = None
    basis: Decimal | None = None
    netWithdrawnUsd: Decimal | None = None


class LedgerRow(Wire, frozen=True):
    time: int
    hash: str
    delta: LedgerDelta


class UserFees(Wire, frozen=True):
    """This account's rates as fractions: cross = taker, add = maker (negative: rebate)."""

    userCrossRate: Decimal
    userAddRate: Decimal
    feeSchedule: msgspec.Raw = msgspec.Raw(b"null")


class UserRateLimit(Wire, frozen=True):
    """Per-address budget of actions; `nRequestsSurplus` was bought with `reserveRequestWeight`."""

    cumVlm: Decimal
    nRequestsUsed: int
    nRequestsCap: int
    nRequestsSurplus: int = 0


class RoleData(Wire, frozen=True):
    """`user`: the master of an agent; `master`: that of a sub-account."""

    user: str | None = None
    master: str | None = None


class UserRole(Wire, frozen=True):
    """`role`: user, agent, vault, subAccount or missing."""

    role: str
    data: RoleData | None = None


class ExtraAgent(Wire, frozen=True):
    name: str
    address: str
    validUntil: int


class SubAccount(Wire, frozen=True):
    """The address to query and to name as `vaultAddress` is `subAccountUser`."""

    name: str = ""
    subAccountUser: str = ""
    master: str = ""
    clearinghouseState: ClearinghouseState | None = None
    dexToClearinghouseState: list[tuple[str, ClearinghouseState]] = []
    spotState: SpotState | None = None
    abstraction: str | None = None


# ---- socket frames: {"channel": ..., "data": ...}; ws/status, ws/error, ws/order_ack


class _Frame(Wire, frozen=True, tag_field="channel"):
    """Base of the tagged union below."""


class L2BookFrame(_Frame, frozen=True, tag="l2Book"):
    data: L2Book


class BboFrame(_Frame, frozen=True, tag="bbo"):
    data: BboData


class TradesFrame(_Frame, frozen=True, tag="trades"):
    data: list[TradeData]


class CandleFrame(_Frame, frozen=True, tag="candle"):
    data: CandleData | list[CandleData]


class AllMidsFrame(_Frame, frozen=True, tag="allMids"):
    data: AllMids


class ActiveAssetCtxFrame(_Frame, frozen=True, tag="activeAssetCtx"):
    data: ActiveAssetCtx


class ActiveSpotAssetCtxFrame(_Frame, frozen=True, tag="activeSpotAssetCtx"):
    data: ActiveSpotAssetCtx


class OrderUpdatesFrame(_Frame, frozen=True, tag="orderUpdates"):
    data: list[OrderUpdate]


class UserFillsFrame(_Frame, frozen=True, tag="userFills"):
    data: UserFills


class UserFrame(_Frame, frozen=True, tag="user"):
    """The channel of subscription `userEvents`."""

    data: UserEvent


class UserFundingsFrame(_Frame, frozen=True, tag="userFundings"):
    data: UserFundings


class ClearinghouseStateFrame(_Frame, frozen=True, tag="clearinghouseState"):
    data: ClearinghouseStateData


class SpotStateFrame(_Frame, frozen=True, tag="spotState"):
    data: SpotStateData


class OpenOrdersFrame(_Frame, frozen=True, tag="openOrders"):
    data: OpenOrdersData


class ActiveAssetDataFrame(_Frame, frozen=True, tag="activeAssetData"):
    data: ActiveAssetData


class SubscriptionData(Wire, frozen=True):
    """`subscription` is an echo, perhaps with defaults added."""

    method: str
    subscription: dict[str, str | int | bool | None]


class SubscriptionFrame(_Frame, frozen=True, tag="subscriptionResponse"):
    data: SubscriptionData


class ErrorFrame(_Frame, frozen=True, tag="error"):
    data: str


class PongFrame(_Frame, frozen=True, tag="pong"):
    pass


class PostResponse(Wire, frozen=True):
    """`type` "action" or "info" with the reply as over REST, or "error" with a text."""

    type: str
    payload: msgspec.Raw


class PostData(Wire, frozen=True):
    id: int
    response: PostResponse


class PostFrame(_Frame, frozen=True, tag="post"):
    data: PostData


Frame = (
    L2BookFrame
    | BboFrame
    | TradesFrame
    | CandleFrame
    | AllMidsFrame
    | ActiveAssetCtxFrame
    | ActiveSpotAssetCtxFrame
    | OrderUpdatesFrame
    | UserFillsFrame
    | UserFrame
    | UserFundingsFrame
    | ClearinghouseStateFrame
    | SpotStateFrame
    | OpenOrdersFrame
    | ActiveAssetDataFrame
    | SubscriptionFrame
    | ErrorFrame
    | PongFrame
    | PostFrame
)
decode_frame: Final = msgspec.json.Decoder(Frame, strict=False).decode


# ---- answers of POST /exchange: rest/order_ack, rest/error


class Resting(Wire, frozen=True):
    oid: int
    cloid: str | None = None


class Filled(Wire, frozen=True):
    """Also the answer of a partly filled IOC: compare `totalSz` with what was asked."""

    totalSz: Decimal
    avgPx: Decimal
    oid: int
    cloid: str | None = None


class Status(Wire, frozen=True):
    """One order's answer: exactly one field is set."""

    resting: Resting | None = None
    filled: Filled | None = None
    error: str | None = None


class ReplyData(Wire, frozen=True):
    """A status is a plain word ("success", "waitingForFill", "waitingForTrigger") or an object."""

    statuses: list[Status | str] = []
    status: Status | str | None = None


class ReplyBody(Wire, frozen=True):
    type: str
    data: ReplyData | str | None = None


class Reply(Wire, frozen=True):
    """`status` "ok" does not mean accepted: read each of the statuses. With "err", `response` is the text."""

    status: str
    response: ReplyBody | str | None = None


decode_reply: Final = msgspec.json.Decoder(Reply, strict=False).decode


# ---- actions: field order is part of the signature; vectors in sign/


class Sent(msgspec.Struct, frozen=True, omit_defaults=True):
    """Base of everything that is signed."""


class LimitSpec(Sent, frozen=True):
    tif: str


class TriggerSpec(Sent, frozen=True):
    isMarket: bool
    triggerPx: str
    tpsl: str


class OrderKind(Sent, frozen=True):
    """Exactly one is set."""

    limit: LimitSpec | None = None
    trigger: TriggerSpec | None = None


class OrderWire(Sent, frozen=True):
    """a asset, b buy, p price, s size, r reduce-only, t type, c client order id."""

    a: int
    b: bool
    p: str
    s: str
    r: bool
    t: OrderKind
    c: str | None = None


class Builder(Sent, frozen=True):
    """b lower-case address, f fee in tenths of a basis point."""

    b: str
    f: int


class PlaceOrders(Sent, frozen=True, tag_field="type", tag="order"):
    orders: list[OrderWire]
    grouping: str
    builder: Builder | None = None


class CancelWire(Sent, frozen=True):
    a: int
    o: int


class CancelOrders(Sent, frozen=True, tag_field="type", tag="cancel"):
    cancels: list[CancelWire]


class CancelByCloidWire(Sent, frozen=True):
    asset: int
    cloid: str


class CancelByCloid(Sent, frozen=True, tag_field="type", tag="cancelByCloid"):
    cancels: list[CancelByCloidWire]


class ModifyWire(Sent, frozen=True):
    oid: int | str
    order: OrderWire


class BatchModify(Sent, frozen=True, tag_field="type", tag="batchModify"):
    modifies: list[ModifyWire]


class UpdateLeverage(Sent, frozen=True, tag_field="type", tag="updateLeverage"):
    asset: int
    isCross: bool
    leverage: int


class UpdateIsolatedMargin(Sent, frozen=True, tag_field="type", tag="updateIsolatedMargin"):
    """`ntli` in 1e-6 USD, negative takes margin out; `isBuy` is always true."""

    asset: int
    isBuy: bool
    ntli: int


class ScheduleCancel(Sent, frozen=True, tag_field="type", tag="scheduleCancel"):
    """Without `time` the switch is cleared."""

    time: int | None = None


class ReserveRequestWeight(Sent, frozen=True, tag_field="type", tag="reserveRequestWeight"):
    weight: int


class Noop(Sent, frozen=True, tag_field="type", tag="noop"):
    """Uses up a nonce: invalidates an action in flight that has the same one."""


Action = (
    PlaceOrders
    | CancelOrders
    | CancelByCloid
    | BatchModify
    | UpdateLeverage
    | UpdateIsolatedMargin
    | ScheduleCancel
    | ReserveRequestWeight
    | Noop
)
