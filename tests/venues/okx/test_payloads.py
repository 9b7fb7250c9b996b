"""Every recorded message: decoded without losing a field or a value, and turned into exactly the events it should yield."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from exchange_clients.errors import DecodeError
from exchange_clients.model import Instrument
from exchange_clients.okx import messages as m
from exchange_clients.okx.client.utils import converters as c

# Record (file-number) or file -> type of one row. A record of several numbers lists them: "rest-orders-1 3".
ROWS: dict[type[Any], str] = {
    m.Config: "rest-account-1 7",
    m.Balance: "rest-account-2 3 17 18, rest-positions-17, rest-markets-23",
    m.BalanceDetail: "rest-account-6",
    m.FeeRow: "rest-account-4 5, rest-trades-6 13",
    m.Ack: "rest-error-1, rest-order_ack-1 2 3 4 7 8 12, rest-orders-4 5 9, rest-positions-2, rest-trades-12",
    m.FillRow: "rest-fills-1 2 3, rest-trades-4",
    m.PastFundingRow: "rest-funding_history-1 3 4",
    m.BillRow: "rest-funding_history-2",
    m.FundingRow: "rest-funding_rate-1 2 4",
    m.InstrumentRow: "rest-error-3, rest-markets-3 4 5 15 20 21 22, rest-order_ack-11",
    m.TierRow: "rest-markets-6",
    m.IndexRow: "rest-markets-11, rest-ticker-11",
    m.TickerRow: "rest-markets-9 16 17, rest-ticker-3 4 5 6 7 21",
    m.AlgoRow: "rest-order_ack-5, rest-orders-2 10 11 12, rest-trades-8 9",
    m.Quotes: "rest-orderbook-1 2 3 4 6",
    m.OrderRow: "rest-orders-1 3 6 7 8, rest-trades-11",
    m.LeverageRow: "rest-positions-3 10 16",
    m.PositionRow: "rest-positions-4 6 12 14",
    m.OpenInterestRow: "rest-ticker-2 8 9 10 17",
    m.PriceLimitRow: "rest-ticker-15",
    m.MarkRow: "rest-ticker-12 16",
    m.TradeRow: "rest-trades-2 3",
    m.Time: "rest-status-1",
    list: "rest-candles-1 2 3 4",
}
# Whole messages that no verb and no documented endpoint of ours asks for, with the reason.
IGNORED = {
    "borrowing, saving, conversion and repayment": (
        "rest-account-8 9 10 11 12 13 15, rest-markets-1 19, rest-other-1 2 3 8 10, rest-positions-1 8, rest-trades-1 10"
    ),
    "switching the account's mode, which is the owner's": "rest-account-14 16, rest-ticker-13",
    "announcements and index components": "rest-markets-7 8 10 18",
    "options": "rest-markets-12, rest-other-4",
    "statistics": "rest-markets-13 14, rest-funding_rate-3, rest-status-2, rest-ticker-1 18 19 20",
    "dated futures": "rest-other-5 7 9, rest-ticker-14",
    "spreads, block trades, grids": "rest-other-6 11, rest-order_ack-10, rest-orders-13, rest-positions-15, rest-trades-5",
    "isolated margin, which we do not use": "rest-order_ack-6, rest-positions-5",
    "closed positions and estimates": "rest-positions-7 9 11 13, rest-trades-7",
    "another library's request": "rest-order_ack-9, rest-orders-14, rest-other-12 13, ws-account-8 9",
    "an error without data": "rest-error-2, rest-markets-2",
    "version 3 of the API": "rest-orderbook-5",
    "deposits and withdrawals": "rest-transfers-1 2 3 4 5 6 7 8 9 10 11 12 13",
    "rows without their frame": "ws-funding_rate-1, ws-ticker-5 38, ws-ticker-33, ws-orderbook-22, ws-positions-5",
}
# Single fields that are left unread, by type.
_PAIR = "tpTriggerPx tpOrdPx tpTriggerPxType slTriggerPx slOrdPx slTriggerPxType"
_OPTION = "pxType pxUsd pxVol fillPxUsd fillPxVol fillFwdPx fillMarkPx fillMarkVol"
UNREAD: dict[type[Any], str] = {
    m.Config: (
        "autoLoan ctIsoMode enableSpotBorrow feeType greeksType levelTmp liquidationGear mgnIsoMode opAuth roleType settleCcy "
        "settleCcyList spotBorrowAutoRepay spotOffsetType spotRoleType spotTraderInsts traderInsts type"
    ),
    m.Balance: (
        "isoEq notionalUsd ordFroz borrowFroz availEq notionalUsdForBorrow notionalUsdForFutures notionalUsdForOption notionalUsdForSwap"
    ),
    m.BalanceDetail: (
        "accAvgPx borrowFroz clSpotInUse clSpotInUseAmt crossLiab disEq fixedBal interest isoEq isoLiab isoUpl liab maxLoan maxSpotInUse "
        "maxSpotInUseAmt mgnRatio notionalLever openAvgPx rewardBal smtSyncEq spotBal spotCopyTradingEq spotInUse spotInUseAmt spotIsoBal "
        "spotUpl spotUplRatio stgyEq totalPnl totalPnlRatio twap uplLiab coinUsdPrice colBorrAutoConversion collateralEnabled "
        "collateralRestrict colRes autoLendStatus autoLendMtAmt autoLendAmt frpType"
    ),
    m.FeeRow: "category delivery exercise fiat makerUSDC takerUSDC uly",
    m.FillRow: "tag",
    m.BillRow: "clOrdId execType fillFwdPx fillIdxPx fillMarkPx fillMarkVol fillPxUsd fillPxVol fillTime from interest notes tag to",
    m.InstrumentRow: (
        "alias auctionEndTime baseCcy category contTdSwTime maxIcebergSz maxLmtAmt maxMktAmt maxMktSz maxStopSz maxTriggerSz maxTwapSz "
        "optType quoteCcy stk"
    ),
    m.TierRow: "baseMaxLoan optMgnFactor quoteMaxLoan",
    m.AlgoRow: (
        "activePx activePxType amendPxOnTriggerType amendResult attachAlgoOrds callbackRatio callbackSpread ccy clOrdId ctVal lever "
        "linkedOrd moveTriggerPx notionalUsd pxLimit pxSpread pxVar quickMgnType reqId szLimit tag tgtCcy timeInterval uly"
    ),
    m.OrderRow: f"{_PAIR} {_OPTION} attachAlgoClOrdId attachAlgoOrds ccy fillNotionalUsd isTpLimit lastPx quickMgnType stpId tag tgtCcy",
    m.PositionRow: (
        "availPos baseBal baseBorrowed baseInterest bePx bizRefId bizRefType clSpotInUseAmt closeOrderAlgo deltaBS deltaPA gammaBS gammaPA "
        "idxPx interest liab liabCcy maxSpotInUseAmt optVal pTime pendingCloseOrdLiabVal posCcy quoteBal quoteBorrowed quoteInterest "
        "spotInUseAmt spotInUseCcy thetaBS thetaPA tradeId uplLastPx uplRatio uplRatioLastPx usdPx vegaBS vegaPA"
    ),
    m.BookData: "checksum instId",
    m.Quotes: "checksum instId prevSeqId",
}
_UNREAD = {kind: set(names.split()) for kind, names in UNREAD.items()}
UNKNOWN_CHANNELS = {
    "algo-advance",
    "algo-recurring-buy",
    "balance_and_position",
    "block-tickers",
    "deposit-info",
    "estimated-price",
    "fills",
    "grid-orders-spot",
    "grid-sub-orders",
    "liquidation-orders",
    "liquidation-warning",
    "liquidations",
    "mark-price-candle1D",
    "opt-summary",
    "option-trades",
    "public-block-trades",
    "quotes",
    "some-channel",
    "sprd-orders",
    "sprd-tickers",
    "sprd-trades",
    "status",
    "",
}
"""Never subscribed to; what comes of them is counted and dropped."""


def expand(text: str) -> Iterator[str]:
    """ "rest-a-1 2, ws-b-3" -> rest-a-001, rest-a-002, ws-b-003."""
    for group in text.split(", "):
        head, *more = group.split()
        stem, _, first = head.rpartition("-")
        yield from (f"{stem}-{int(number):03d}" for number in (first, *more))


TYPES = {name: kind for kind, text in ROWS.items() for name in expand(text)}
REASONS = {name: reason for reason, text in IGNORED.items() for name in expand(text)}


def records(payloads: Path, folder: str) -> Iterator[tuple[str, Any]]:
    """(name, payload) of every recorded message."""
    for file in sorted((payloads / "okx" / folder).glob("*.jsonl")):
        for line in file.read_text().splitlines():
            record = json.loads(line)
            yield record["id"].removeprefix("S-okx-"), record["payload"]


def rows_of(payload: Any, kind: type[Any]) -> tuple[list[Any], list[Any]]:
    """The rows as sent and as read: of an answer, or bare."""
    sent = payload["data"] if isinstance(payload, dict) and "data" in payload else payload
    sent = sent if isinstance(sent, list) else [sent]
    row_type: Any = list[str] if kind is list else kind
    return sent, msgspec.json.decode(json.dumps(sent), type=list[row_type], strict=False)


def lost(sent: Any, read: Any, path: str = "") -> Iterator[str]:
    """Where `sent` says something that `read` does not, apart from what is listed as unread."""
    if isinstance(read, m.Level):
        if (float(sent[0]), float(sent[1])) != (read.px, read.sz):
            yield f"{path} level {sent} read {read}"
    elif isinstance(sent, dict):
        unread = _UNREAD.get(type(read), set())
        for key, value in sent.items():
            if hasattr(read, key):
                yield from lost(value, getattr(read, key), f"{path} {key}")
            elif key not in unread:
                yield f"{path} {type(read).__name__}.{key}"
    elif isinstance(sent, list):
        if not isinstance(read, list) or len(sent) != len(read):
            yield f"{path} length"
        else:
            for a, b in zip(sent, read, strict=True):
                yield from lost(a, b, path)
    elif str(sent) != str(read) and not (sent == "" and not read):
        yield f"{path} is {sent!r}, read {read!r}"


def test_every_recorded_answer_is_read_whole(payloads: Path) -> None:
    seen: Counter[str] = Counter()
    problems: list[str] = []
    for name, payload in records(payloads, "rest"):
        if name in REASONS:
            seen["ignored"] += 1
            continue
        try:
            sent, read = rows_of(payload, TYPES[name])
        except (msgspec.ValidationError, KeyError) as e:
            problems.append(f"{name} {e!r}")
            continue
        problems += [f"{name} {where}" for where in lost(sent, read)]
        seen["read"] += 1
    assert not problems, "\n".join(problems[:60])
    assert seen == {"read": 98, "ignored": 72}


def test_every_recorded_frame_is_read_whole(payloads: Path) -> None:
    seen: Counter[str] = Counter()
    problems: list[str] = []
    for name, payload in records(payloads, "ws"):
        if name in REASONS:
            seen["ignored"] += 1
            continue
        try:
            frame = m.decode_frame(json.dumps(payload))
        except (msgspec.DecodeError, DecodeError) as e:
            problems.append(f"{name} {e!r}")
            continue
        seen[type(frame).__name__] += 1
        if isinstance(frame, m.UnknownPush):
            if frame.arg.channel not in UNKNOWN_CHANNELS:
                problems.append(f"{name} channel {frame.arg.channel}")
        elif isinstance(frame, m.Push):
            problems += [f"{name} {where}" for where in lost(payload["data"], frame.data)]  # type: ignore[attr-defined]
    assert not problems, "\n".join(problems[:60])
    assert seen == EXPECTED_FRAMES


EXPECTED_FRAMES = {
    "ignored": 8,
    "UnknownPush": 32,
    "Event": 12,
    "OpReply": 3,
    "AccountPush": 3,
    "AlgoPush": 1,
    "BboPush": 7,
    "BookPush": 15,
    "CandlePush": 8,
    "FundingPush": 7,
    "IndexPush": 8,
    "InstrumentsPush": 2,
    "MarkPush": 2,
    "OpenInterestPush": 4,
    "OrdersPush": 13,
    "PositionsPush": 3,
    "PriceLimitPush": 3,
    "TickerPush": 8,
    "TradesPush": 11,
}


def test_an_unread_field_would_be_noticed() -> None:
    row = msgspec.convert({"instId": "X", "markPx": "1", "ts": 1}, m.MarkRow)
    assert list(lost({"instId": "X", "new": "1"}, row)) == [" MarkRow.new"]
    assert list(lost({"markPx": "2"}, row)) == [" markPx is '2', read '1'"]
    assert list(lost([["8476.98", "415", "0", "13"]], [m.Level(8476.98, 414.0)]))


def test_no_list_names_what_is_not_there(payloads: Path) -> None:
    there = {name for folder in ("rest", "ws") for name, _ in records(payloads, folder)}
    assert set(TYPES) | set(REASONS) <= there
    assert not set(TYPES) & set(REASONS)


# ---- what each message yields


def swap(name: str) -> Instrument | None:
    """An instrument for any swap; others have none."""
    base, _, rest = name.partition("-")
    quote, _, kind = rest.partition("-")
    if kind != "SWAP":
        return None
    inverse = quote == "USD"
    return c.instrument(
        m.InstrumentRow(
            instType="SWAP",
            instId=name,
            instFamily=f"{base}-{quote}",
            ctType="inverse" if inverse else "linear",
            ctVal="100" if inverse else "0.01",
            ctValCcy=quote if inverse else base,
            settleCcy=base if inverse else quote,
            lotSz="0.01",
            minSz="0.01",
            tickSz="0.00000001",
            lever="100",
            state="live",
        )
    )


def yields(row: Any, *, streamed: bool) -> Counter[str]:
    """Run every converter that applies to a decoded row and count the domain events."""
    made: Counter[str] = Counter()
    instrument = swap(getattr(row, "instId", "")) if not isinstance(row, m.InstrumentRow) else None
    match row:
        case m.InstrumentRow():
            made["instrument"] += c.instrument(row) is not None
        case m.Balance():
            made["account"] += bool(c.account(row, "USDT", 1))
        case m.FeeRow():
            made["fees"] += c.fee_rates(row, "4").taker > 0
    if instrument is None:
        return made
    known = msgspec.structs.replace(instrument, funding_interval_hours=Decimal(8))
    match row:
        case m.OrderRow():
            made["order"] += bool(c.order(row, instrument))
            made["fill"] += streamed and c.streamed_fill(row, instrument) is not None
        case m.AlgoRow():
            made["trigger order"] += bool(c.algo_order(row, instrument))
        case m.PositionRow():
            made["position"] += bool(c.position(row, instrument, 1))
        case m.TickerRow():
            made["ticker"] += bool(c.ticker(row, instrument, None))
        case m.FundingRow():
            made["funding"] += c.funding_now(row, known) is not None
        case m.PastFundingRow():
            made["settled"] += len(c.funding_settled([row], known))
        case m.TradeRow():
            made["trade"] += bool(c.trade(row, instrument))
        case m.FillRow():
            made["fill"] += bool(c.fill(row, instrument))
        case m.MarkRow():
            made["mark"] += c.price_of(row.markPx, instrument) > 0
    return made


def test_what_the_recorded_messages_yield(payloads: Path) -> None:
    made: dict[str, Counter[str]] = {}
    for name, payload in records(payloads, "rest"):
        if name in TYPES and name != "rest-account-002":  # a number with a space in it: a slip of whoever wrote it down
            for row in rows_of(payload, TYPES[name])[1]:
                made.setdefault(name.rpartition("-")[0], Counter()).update(yields(row, streamed=False))
    for name, payload in records(payloads, "ws"):
        frame = m.decode_frame(json.dumps(payload)) if name not in REASONS else None
        if isinstance(frame, m.Push) and hasattr(frame, "data"):
            for row in frame.data:
                made.setdefault(name.rpartition("-")[0], Counter()).update(yields(row, streamed=True))
    assert {name: dict(+count) for name, count in made.items() if +count} == EXPECTED


# Spot, options and dated futures yield nothing.
EXPECTED = {
    "rest-account": {"account": 3, "fees": 2},
    "rest-funding_history": {"settled": 6},
    "rest-funding_rate": {"funding": 3},
    "rest-markets": {"account": 1, "ticker": 4},
    "rest-order_ack": {"instrument": 1, "trigger order": 1},
    "rest-orders": {"order": 2, "trigger order": 4},
    "rest-positions": {"account": 1, "position": 2},
    "rest-ticker": {"mark": 2},
    "rest-trades": {"fees": 2},
    "ws-account": {"account": 3},
    "ws-funding_rate": {"funding": 5},
    "ws-orders": {"fill": 5, "order": 6},
    "ws-positions": {"position": 1},
    "ws-ticker": {"mark": 1, "ticker": 5},
    "ws-trades": {"trade": 2},
}


def test_a_number_that_is_none_is_no_zero() -> None:
    bad = m.Balance(details=[m.BalanceDetail(ccy="USDT", eq="28 .21006347", availEq="1")])
    with pytest.raises(DecodeError, match="eq is"):
        c.account(bad, "USDT", 1)


@pytest.mark.parametrize(
    "frame",
    [
        "{}",
        "null",
        '{"arg":{"channel":"books"},"data":[{"asks":[["x","1"]],"bids":[],"ts":"1"}]}',
        '{"arg":{"channel":"trades","instId":"X"},"data":[{"px":"1"}]}',
        '{"arg":{"channel":"trades","instId":"X"},"data":7}',
        '{"id":"1","op":"order","data":{}}',
        '{"arg":',
    ],
)
def test_garbage_frames_do_not_decode(frame: str) -> None:
    with pytest.raises((msgspec.DecodeError, DecodeError)):
        m.decode_frame(frame)


def test_the_answer_to_a_ping_is_no_data() -> None:
    assert m.decode_frame("pong") is None
    assert m.decode_frame(b"pong") is None
