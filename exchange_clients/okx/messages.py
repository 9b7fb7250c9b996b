"""OKX's messages as types: REST answers, socket frames, command answers.

Wire names are the venue's own. Nearly every number is text, and "" means that there is none: such fields stay `str` here and are read by
the converters; book levels are lax floats on their way to integer ticks. Above each group: where recorded examples are (folders of
`payloads/okx`). Sizes of swaps are contracts everywhere.

Source: dossier sections 3-6; https://www.okx.com/docs-v5/en, read 2026-08.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Generic, TypeVar

import msgspec

from exchange_clients.errors import DecodeError

T = TypeVar("T")

Texts = Annotated[list[str], msgspec.Meta(min_length=2)]

VENUE: Final = "okx"
PONG: Final = "pong"


class Wire(msgspec.Struct, frozen=True, gc=False):
    """Base of everything that arrives: unknown fields are ignored."""


class Reply(msgspec.Struct, Generic[T], frozen=True):
    """The envelope of every REST answer. "0" is success; order endpoints say "1" (all failed) or "2" (some failed) and tell each row."""

    code: str
    data: T
    msg: str = ""


# ---- markets: rest/markets, ws/markets


class InstrumentRow(Wire, frozen=True):
    """`instIdCode` names it in socket orders and differs between demo and production; `groupId` finds its fees."""

    instType: str
    instId: str
    instFamily: str = ""
    uly: str = ""
    ctType: str = ""
    ctVal: str = ""
    ctMult: str = ""
    ctValCcy: str = ""
    settleCcy: str = ""
    lotSz: str = ""
    minSz: str = ""
    tickSz: str = ""
    lever: str = ""
    state: str = ""
    ruleType: str = ""
    maxLmtSz: str = ""
    groupId: str = ""
    instIdCode: int | None = None
    listTime: str = ""
    expTime: str = ""


class Time(Wire, frozen=True):
    ts: int


class TierRow(Wire, frozen=True):
    """Contracts from `minSz` to `maxSz` may have at most `maxLever`."""

    tier: str
    minSz: str
    maxSz: str
    imr: str
    mmr: str
    maxLever: str
    instId: str = ""
    instFamily: str = ""
    uly: str = ""


# ---- market data: rest/orderbook, ws/orderbook, rest/trades, ws/trades, rest/candles, ws/candles


class Level(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Price and contracts; what follows (a deprecated zero, the number of orders) is not read."""

    px: float
    sz: float


class BookData(Wire, frozen=True):
    """`prevSeqId` -1 (or absent) belongs to a snapshot. `checksum` is dead: always 0."""

    asks: list[Level]
    bids: list[Level]
    ts: int
    seqId: int | None = None
    prevSeqId: int | None = None


class Quotes(Wire, frozen=True):
    """The same for callers, and of best prices: exact text, `[px, sz, ...]` per level."""

    asks: list[Texts]
    bids: list[Texts]
    ts: int
    seqId: int | None = None


class TradeRow(Wire, frozen=True):
    """`side` is the taker's. One row of the stream stands for `count` fills at one price and carries the last one's id."""

    instId: str
    tradeId: str
    px: str
    sz: str
    side: str
    ts: int
    count: str = ""
    seqId: int | None = None
    source: str = ""


Candle = list[str]
"""`[ts, open, high, low, close, contracts, base, quote, confirm]`; old streams end after base."""


class TickerRow(Wire, frozen=True):
    """`vol24h` contracts, `volCcy24h` base coins (quote for spot)."""

    instId: str
    ts: int
    instType: str = ""
    last: str = ""
    lastSz: str = ""
    askPx: str = ""
    askSz: str = ""
    bidPx: str = ""
    bidSz: str = ""
    open24h: str = ""
    high24h: str = ""
    low24h: str = ""
    volCcy24h: str = ""
    vol24h: str = ""
    sodUtc0: str = ""
    sodUtc8: str = ""


class MarkRow(Wire, frozen=True):
    instId: str
    markPx: str
    ts: int
    instType: str = ""


class IndexRow(Wire, frozen=True):
    """`instId` is the index, BTC-USDT for BTC-USDT-SWAP."""

    instId: str
    idxPx: str
    ts: int
    open24h: str = ""
    high24h: str = ""
    low24h: str = ""
    sodUtc0: str = ""
    sodUtc8: str = ""


class OpenInterestRow(Wire, frozen=True):
    """`oi` contracts, `oiCcy` base coins."""

    instId: str
    ts: int
    instType: str = ""
    oi: str = ""
    oiCcy: str = ""
    oiUsd: str = ""


class PriceLimitRow(Wire, frozen=True):
    instId: str
    ts: int
    instType: str = ""
    buyLmt: str = ""
    sellLmt: str = ""
    enabled: bool = True


# ---- funding: rest/funding_rate, rest/funding_history, ws/funding_rate


class FundingRow(Wire, frozen=True):
    """`fundingRate` is the estimate for the settlement at `fundingTime`; the interval is `nextFundingTime - fundingTime`.

    `nextFundingRate` was filled before 2024 and is "" since.
    """

    instId: str
    fundingTime: int
    fundingRate: str = ""
    nextFundingTime: str = ""
    prevFundingTime: str = ""
    nextFundingRate: str = ""
    instType: str = ""
    method: str = ""
    formulaType: str = ""
    minFundingRate: str = ""
    maxFundingRate: str = ""
    premium: str = ""
    settState: str = ""
    settFundingRate: str = ""
    interestRate: str = ""
    impactValue: str = ""
    ts: str = ""


class PastFundingRow(Wire, frozen=True):
    """`realizedRate` was charged; `fundingRate` was the last forecast."""

    instId: str
    fundingTime: int
    realizedRate: str
    fundingRate: str = ""
    instType: str = ""
    method: str = ""
    formulaType: str = ""


class BillRow(Wire, frozen=True):
    """Type 8 is funding: subType 173 paid, 174 received."""

    billId: str
    ts: int
    type: str = ""
    subType: str = ""
    instId: str = ""
    instType: str = ""
    ccy: str = ""
    balChg: str = ""
    bal: str = ""
    posBalChg: str = ""
    posBal: str = ""
    pnl: str = ""
    fee: str = ""
    px: str = ""
    sz: str = ""
    ordId: str = ""
    tradeId: str = ""
    mgnMode: str = ""


# ---- account: rest/account, rest/positions, ws/account, ws/positions


class Config(Wire, frozen=True):
    """`acctLv` 1 spot, 2 futures, 3 multi-currency, 4 portfolio; `posMode` net_mode or long_short_mode; `perm` of this key."""

    uid: str
    acctLv: str
    posMode: str
    perm: str = ""
    level: str = ""
    mainUid: str = ""
    kycLv: str = ""
    acctStpMode: str = ""
    label: str = ""
    ip: str = ""


class BalanceDetail(Wire, frozen=True):
    ccy: str
    eq: str = ""
    cashBal: str = ""
    availBal: str = ""
    availEq: str = ""
    frozenBal: str = ""
    ordFrozen: str = ""
    upl: str = ""
    imr: str = ""
    mmr: str = ""
    eqUsd: str = ""
    uTime: str = ""


class Balance(Wire, frozen=True):
    """The figures of the whole account are USD; `adjEq`, `imr`, `mmr` are "" in futures mode, where each currency stands for itself."""

    details: list[BalanceDetail]
    totalEq: str = ""
    adjEq: str = ""
    imr: str = ""
    mmr: str = ""
    mgnRatio: str = ""
    upl: str = ""
    uTime: str = ""


class PositionRow(Wire, frozen=True):
    """`pos` is signed in net mode; "0" is told once when it closed. `fundingFee` negative: paid."""

    instId: str
    pos: str
    posSide: str
    mgnMode: str
    instType: str = ""
    posId: str = ""
    avgPx: str = ""
    markPx: str = ""
    last: str = ""
    lever: str = ""
    liqPx: str = ""
    imr: str = ""
    mmr: str = ""
    margin: str = ""
    mgnRatio: str = ""
    notionalUsd: str = ""
    upl: str = ""
    realizedPnl: str = ""
    pnl: str = ""
    fee: str = ""
    fundingFee: str = ""
    liqPenalty: str = ""
    adl: str = ""
    ccy: str = ""
    cTime: str = ""
    uTime: str = ""


class LeverageRow(Wire, frozen=True):
    instId: str
    lever: str
    mgnMode: str
    posSide: str = ""


class FeeGroup(Wire, frozen=True):
    groupId: str
    maker: str
    taker: str


class FeeRow(Wire, frozen=True):
    """Negative is charged, positive a rebate. The legacy figures hold where there is no group."""

    instType: str
    feeGroup: list[FeeGroup] = []
    maker: str = ""
    taker: str = ""
    makerU: str = ""
    takerU: str = ""
    level: str = ""
    ts: str = ""


# ---- orders and fills: rest/orders, ws/orders, rest/fills, rest/order_ack, ws/order_ack


class LinkedAlgo(Wire, frozen=True):
    algoId: str = ""


class OrderRow(Wire, frozen=True):
    """An order by REST and, with what this message adds, by stream: `fillSz`, `fillPx`, `tradeId`, `fillFee` are the last fill's.

    `fee` is the whole order's, negative when charged. `algoClOrdId` is the client id of the trigger order that released it.
    """

    instId: str
    ordId: str
    state: str
    side: str
    sz: str
    ordType: str
    instType: str = ""
    clOrdId: str = ""
    px: str = ""
    posSide: str = ""
    tdMode: str = ""
    accFillSz: str = ""
    avgPx: str = ""
    fillPx: str = ""
    fillSz: str = ""
    fillTime: str = ""
    fillFee: str = ""
    fillFeeCcy: str = ""
    fillPnl: str = ""
    tradeId: str = ""
    execType: str = ""
    fee: str = ""
    feeCcy: str = ""
    rebate: str = ""
    rebateCcy: str = ""
    pnl: str = ""
    lever: str = ""
    reduceOnly: str = ""
    category: str = ""
    source: str = ""
    cancelSource: str = ""
    cancelSourceReason: str = ""
    amendResult: str = ""
    amendSource: str = ""
    reqId: str = ""
    code: str = ""
    msg: str = ""
    algoId: str = ""
    algoClOrdId: str = ""
    linkedAlgoOrd: LinkedAlgo | None = None
    stpMode: str = ""
    notionalUsd: str = ""
    cTime: str = ""
    uTime: str = ""


class AlgoRow(Wire, frozen=True):
    """A trigger order. `state` live, pause, partially_effective, effective (released: `ordId` names the order), canceled, order_failed."""

    instId: str
    algoId: str
    state: str
    side: str
    ordType: str
    sz: str = ""
    instType: str = ""
    algoClOrdId: str = ""
    ordId: str = ""
    ordIdList: list[str] = []
    ordPx: str = ""
    triggerPx: str = ""
    triggerPxType: str = ""
    tpTriggerPx: str = ""
    tpOrdPx: str = ""
    tpTriggerPxType: str = ""
    slTriggerPx: str = ""
    slOrdPx: str = ""
    slTriggerPxType: str = ""
    posSide: str = ""
    tdMode: str = ""
    reduceOnly: str = ""
    closeFraction: str = ""
    actualSz: str = ""
    actualPx: str = ""
    actualSide: str = ""
    failCode: str = ""
    last: str = ""
    triggerTime: str = ""
    cTime: str = ""
    uTime: str = ""


class FillRow(Wire, frozen=True):
    """`execType` M or T. `subType` tells forced closes."""

    instId: str
    tradeId: str
    ordId: str
    side: str
    fillPx: str
    fillSz: str
    fee: str
    feeCcy: str
    ts: int
    instType: str = ""
    clOrdId: str = ""
    billId: str = ""
    posSide: str = ""
    fillPnl: str = ""
    feeRate: str = ""
    execType: str = ""
    subType: str = ""
    fillTime: str = ""


class Ack(Wire, frozen=True):
    """One row of a command's answer. "0" is the gateway's yes; what became of the order is told by the stream. Without a code: unknown."""

    sCode: str = ""
    sMsg: str = ""
    subCode: str = ""
    ordId: str = ""
    clOrdId: str = ""
    algoId: str = ""
    algoClOrdId: str = ""
    reqId: str = ""
    tag: str = ""
    ts: str = ""


class Armed(Wire, frozen=True):
    """The dead-man switch: `triggerTime` 0 when it is off."""

    triggerTime: str = ""
    ts: str = ""
    tag: str = ""


Acks = Reply[list[Ack]]


# ---- socket frames: ws/status, ws/error, ws/order_ack


class Arg(Wire, frozen=True):
    channel: str = ""
    instId: str = ""
    instType: str = ""
    instFamily: str = ""
    ccy: str = ""
    uid: str = ""

    @property
    def key(self) -> str:
        """The name of a subscription, equal for ours and for the venue's echo."""
        return f"{self.channel}:{self.instId or self.instType}"


class _Frame(Wire, frozen=True):
    """Every frame; which fields are there tells what it is."""

    arg: Arg | None = None
    event: str = ""
    op: str = ""
    id: str = ""
    code: str = ""
    msg: str = ""
    action: str = ""
    data: msgspec.Raw = msgspec.Raw(b"")


class Event(Wire, frozen=True):
    """Acknowledgements, errors, notices: subscribe, unsubscribe, login, error, notice, channel-conn-count."""

    event: str
    code: str = ""
    msg: str = ""
    arg: Arg | None = None


class OpReply(Wire, frozen=True):
    """The answer to a command on the socket; `data` is empty when the request as a whole was refused."""

    id: str
    op: str
    reply: Acks


class Push(msgspec.Struct, frozen=True):
    arg: Arg


class BookPush(Push, frozen=True):
    data: list[BookData]
    action: str


class BboPush(Push, frozen=True):
    data: list[Quotes]


class TradesPush(Push, frozen=True):
    data: list[TradeRow]


class CandlePush(Push, frozen=True):
    data: list[Candle]


class TickerPush(Push, frozen=True):
    data: list[TickerRow]


class MarkPush(Push, frozen=True):
    data: list[MarkRow]


class IndexPush(Push, frozen=True):
    data: list[IndexRow]


class FundingPush(Push, frozen=True):
    data: list[FundingRow]


class OpenInterestPush(Push, frozen=True):
    data: list[OpenInterestRow]


class PriceLimitPush(Push, frozen=True):
    data: list[PriceLimitRow]


class InstrumentsPush(Push, frozen=True):
    data: list[InstrumentRow]


class OrdersPush(Push, frozen=True):
    data: list[OrderRow]


class AlgoPush(Push, frozen=True):
    data: list[AlgoRow]


class PositionsPush(Push, frozen=True):
    data: list[PositionRow]


class AccountPush(Push, frozen=True):
    data: list[Balance]


class UnknownPush(Push, frozen=True):
    """A channel that we never asked for."""


Frame = Event | OpReply | Push


def _decoder(kind: Any) -> Any:
    return msgspec.json.Decoder(kind, strict=False).decode


_BOOKS: Final = ("books", "books5", "books-l2-tbt", "books50-l2-tbt")
_decode_frame: Final = _decoder(_Frame)
_decode_acks: Final = _decoder(list[Ack])
_decode_books: Final = _decoder(list[BookData])
_decode_candles: Final = _decoder(list[Candle])
_PUSHES: Final[dict[str, tuple[type[Any], Any]]] = {
    "bbo-tbt": (BboPush, _decoder(list[Quotes])),
    "trades": (TradesPush, _decoder(list[TradeRow])),
    "trades-all": (TradesPush, _decoder(list[TradeRow])),
    "tickers": (TickerPush, _decoder(list[TickerRow])),
    "mark-price": (MarkPush, _decoder(list[MarkRow])),
    "index-tickers": (IndexPush, _decoder(list[IndexRow])),
    "funding-rate": (FundingPush, _decoder(list[FundingRow])),
    "open-interest": (OpenInterestPush, _decoder(list[OpenInterestRow])),
    "price-limit": (PriceLimitPush, _decoder(list[PriceLimitRow])),
    "instruments": (InstrumentsPush, _decoder(list[InstrumentRow])),
    "orders": (OrdersPush, _decoder(list[OrderRow])),
    "orders-algo": (AlgoPush, _decoder(list[AlgoRow])),
    "positions": (PositionsPush, _decoder(list[PositionRow])),
    "account": (AccountPush, _decoder(list[Balance])),
}


def decode_frame(data: str | bytes) -> Frame | None:
    """None for the plain-text answer to a ping.

    Raises:
        DecodeError, msgspec.DecodeError: it fits nothing.
    """
    if data in (PONG, b"pong"):
        return None
    frame: _Frame = _decode_frame(data)
    if frame.arg is not None and not frame.event:
        return _push(frame, frame.arg)
    if frame.event:
        return Event(frame.event, frame.code, frame.msg, frame.arg)
    if frame.op:
        return OpReply(frame.id, frame.op, Reply(frame.code, _decode_acks(frame.data) if frame.data else [], frame.msg))
    raise DecodeError("a frame without arg, event and op", venue=VENUE)


def _push(frame: _Frame, arg: Arg) -> Push:
    if arg.channel in _BOOKS:
        return BookPush(arg, _decode_books(frame.data), frame.action)
    if arg.channel.startswith("candle"):
        return CandlePush(arg, _decode_candles(frame.data))
    found = _PUSHES.get(arg.channel)
    push: Push = UnknownPush(arg) if found is None else found[0](arg, found[1](frame.data))
    return push
