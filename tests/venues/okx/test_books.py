"""Books: the numbering of the documentation, and a recorded stream whose end an independent book builder computed."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from exchange_clients.book import BookFeed, BookGap
from exchange_clients.model import Instrument, InstrumentId
from exchange_clients.okx import messages as m
from exchange_clients.okx.websocket.order_book import BY_REQUEST, PATIENCE_NS, RULE, Books

STREAM = "okx_books_20220513_BTC-USDT_UNI-USD-SWAP"


def market(name: str, tick: str) -> Instrument:
    base, quote = name.split("-")[:2]
    step = Decimal("0.00000001")
    return Instrument(
        id=InstrumentId(base, quote, "okx"),
        venue_symbol=name,
        contract_id=name,
        settle=quote,
        tick_size=Decimal(tick),
        step_size=step,
        min_quantity=step,
    )


def message(prev: int, seq: int, bids: list[tuple[float, float]] = [], asks: list[tuple[float, float]] = []) -> m.BookData:  # noqa: B006
    return m.BookData(asks=[m.Level(*a) for a in asks], bids=[m.Level(*b) for b in bids], ts=1, seqId=seq, prevSeqId=prev)


class Feed:
    def __init__(self) -> None:
        self.gaps: list[BookGap] = []
        self.feed = BookFeed(market("BTC-USDT-SWAP", "0.1"), RULE, self.gaps.append)
        self.books = Books()

    def say(self, action: str, data: m.BookData, at_ns: int = 1) -> None:
        self.books.apply(self.feed, "BTC-USDT-SWAP", action, data, at_ns)


def test_the_numbering_of_the_documentation() -> None:
    """Snapshot (-1, 10), update (10, 15), idle (15, 15), maintenance (15, 3), update (3, 5); then one is missing."""
    one = Feed()
    one.say("snapshot", message(-1, 10, [(100.0, 1.0)], [(101.0, 1.0)]))
    for prev, seq in ((10, 15), (15, 15), (15, 3), (3, 5)):
        one.say("update", message(prev, seq, [(99.0, float(seq))]))
        assert one.feed.book.ready
    assert one.feed.book.state.sequence == 5
    one.say("update", message(6, 7))
    assert not one.feed.book.ready
    assert len(one.gaps) == 1
    one.say("update", message(7, 8))
    assert len(one.gaps) == 1, "until the next snapshot nothing is said again"
    one.say("snapshot", message(-1, 20, [(100.0, 1.0)], [(101.0, 1.0)]))
    assert one.feed.book.ready


def test_a_dead_checksum_is_not_looked_at() -> None:
    row = '{"asks":[["8476.98","415","0","13"]],"bids":[],"ts":"1","checksum":0,"prevSeqId":-1,"seqId":7}'
    text = f'{{"arg":{{"channel":"books","instId":"X"}},"action":"snapshot","data":[{row}]}}'
    frame = m.decode_frame(text)
    assert isinstance(frame, m.BookPush)
    assert (frame.action, frame.data[0].seqId, frame.data[0].asks[0]) == ("snapshot", 7, m.Level(8476.98, 415.0))


def test_updates_without_a_book_are_waited_out_and_then_asked_for() -> None:
    one = Feed()
    one.say("update", message(1, 2), at_ns=0)
    one.say("update", message(2, 3), at_ns=PATIENCE_NS - 1)
    assert one.feed.rule == RULE
    one.say("update", message(3, 4), at_ns=PATIENCE_NS + 1)
    assert one.feed.rule == BY_REQUEST
    assert one.gaps[-1].resync.value == "snapshot"


@pytest.mark.parametrize(("name", "tick"), [("UNI-USD-SWAP", "0.001"), ("BTC-USDT", "0.1")])
def test_a_recorded_stream_ends_as_another_builder_says(payloads: Path, name: str, tick: str) -> None:
    """Recorded before the venue numbered its updates: here they are numbered as they came."""
    folder = payloads / "streams"
    expected: dict[str, Any] = json.loads((folder / f"{STREAM}.expected.json").read_text())[name]
    feed = BookFeed(market(name, tick), RULE, lambda gap: pytest.fail(gap.reason))
    books, seen, last = Books(), 0, -1
    for line in (folder / f"{STREAM}.jsonl").read_text().splitlines():
        record = json.loads(line)
        sent = record.get("msg")
        if (
            record.get("kind") != "ws_recv"
            or not isinstance(sent, dict)
            or sent.get("arg", {}).get("channel") != "books"
            or "data" not in sent
        ):
            continue
        frame = m.decode_frame(json.dumps(sent))
        assert isinstance(frame, m.BookPush)
        if frame.arg.instId != name:
            continue
        for data in frame.data:
            numbered = m.BookData(data.asks, data.bids, data.ts, seqId=last + 1, prevSeqId=last)
            books.apply(feed, name, frame.action, numbered, data.ts * 10**6)
            last, seen = last + 1, seen + 1
    assert seen == expected["book_messages"]
    assert feed.book.counts() == (expected["n_bids"], expected["n_asks"])
    depth = feed.book.depth(10)
    for side, wanted in ((depth.bids, expected["final_bids"]), (depth.asks, expected["final_asks"])):
        assert [(level.price, level.size) for level in side] == [(Decimal(price), Decimal(size)) for price, size in wanted]
