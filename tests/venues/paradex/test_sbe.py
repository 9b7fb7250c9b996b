"""Binary frames: the dossier's, read by us and written by the dialect; what newer and older versions add and leave out; garbage."""

from __future__ import annotations

import contextlib
import struct
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange_clients.book import BookFeed, from_mantissas
from exchange_clients.errors import DecodeError
from exchange_clients.model import Instrument, InstrumentId
from exchange_clients.paradex import messages as m
from exchange_clients.paradex import sbe
from exchange_clients.paradex.client.utils import converters as c
from exchange_clients.paradex.websocket.order_book import DELTAS, apply
from exchange_simulator.dialects.paradex import sbe as writer

D = Decimal
TS_US = 1790187959762000
BTC = "BTC-USD-PERP"
BBO = (
    "3000020001000100503c6c9d2a5c060028e2aac90100000080948aa6a807000080f0fa0200000000002b23a7a8070000405973070000"
    "00000c4254432d5553442d50455250"
)
ONE_SIDED = (
    "3000020001000100503c6c9d2a5c060029e2aac90100000080948aa6a807000080f0fa0200000000000000000000008000000000000000"
    "800c4254432d5553442d50455250"
)
SNAPSHOT = (
    "5900030001000100503c6c9d2a5c060027e2aac9010000000080948aa6a807000080f0fa020000000080c1bba7a807000000c2eb0b00000000"
    "770000000000000080948aa6a807000080f0fa020000000080c1bba7a807000000c2eb0b000000001000020080948aa6a807000080f0fa0200"
    "00000000fef1a5a807000000e1f5050000000010000200002b23a7a8070000405973070000000080c1bba7a807000000c2eb0b000000000c42"
    "54432d5553442d50455250"
)
DELTA = (
    "5900030001000100503c6c9d2a5c060028e2aac9010000000180948aa6a807000080f0fa020000000080c1bba7a807000000c2eb0b00000000"
    "770000000000000080948aa6a807000080f0fa020000000080c1bba7a807000000c2eb0b000000001000000010000100002b23a7a807000000"
    "000000000000000c4254432d5553442d50455250"
)
FUNDING = (
    "4200050001000100503c6c9d2a5c06002a00000000000000102700000000000000e8dadf02000000c09b609d2a5c0600204e00000000000010"
    "270000000000000800983a0000000000000c4554482d5553442d50455250"
)
TRADE = (
    "3200010001000200503c6c9d2a5c060007000000000000007b0000000000000001002b23a7a807000040420f00000000005c3a6c9d2a5c0600"
    "010c4254432d5553442d504552501c31373930313837393539373630323031373039323839333430303031"
)
HEARTBEAT = "1000280001000100503c6c9d2a5c06000100000000000000"


def read(text: str) -> Any:
    return sbe.decode(bytes.fromhex(text))


def instrument() -> Instrument:
    return Instrument(
        id=InstrumentId("BTC", "USD", "paradex"),
        venue_symbol=BTC,
        contract_id=BTC,
        settle="USDC",
        tick_size=D("0.1"),
        step_size=D("0.00001"),
        min_quantity=D("0.00001"),
        funding_interval_hours=D(8),
    )


# ---- the dossier's frames


def test_the_dossiers_frames_are_read() -> None:
    best = c.bbo(read(BBO), instrument(), 5)
    assert best is not None
    assert (best.bid, best.bid_size, best.ask, best.ask_size) == (D("84209.3"), D("0.5"), D("84209.4"), D("1.25"))
    assert (best.ts_venue_ns, best.ts_recv_ns) == (TS_US * 1000, 5)
    assert c.bbo(read(ONE_SIDED), instrument(), 5) is None
    funding = read(FUNDING)
    assert (funding.market, sbe.decimal(funding.rate), sbe.decimal(funding.funding_index)) == ("ETH-USD-PERP", D("0.0001"), D("123.456"))
    assert (sbe.decimal(funding.premium), funding.period_hours) == (D("0.0002"), 8)
    trade = c.streamed_trade(read(TRADE), instrument())
    assert (trade.trade_id, trade.price, trade.quantity, trade.side.value) == (
        "1790187959760201709289340001",
        D("84209.4"),
        D("0.01"),
        "buy",
    )
    assert read(HEARTBEAT) == sbe.Heartbeat(TS_US)


def test_the_dossiers_book_lives_in_a_book() -> None:
    gaps: list[Any] = []
    feed = BookFeed(instrument(), DELTAS, gaps.append)
    assert apply(feed, read(SNAPSHOT), 1) is not None
    assert [(level.price, level.size) for level in feed.read().bids] == [(D("84209.3"), D("0.5")), (D("84209.2"), D(1))]
    assert apply(feed, read(DELTA), 2) is not None
    assert [(level.price, level.size) for level in feed.read().asks] == [(D("84209.5"), D(2))]
    assert (feed.book.state.sequence, feed.book.state.ts_venue_ns) == (7678386728, TS_US * 1000)
    later = read(DELTA)._replace(sequence=7678386730)
    assert apply(feed, later, 3) is None
    assert len(gaps) == 1
    assert not feed.book.ready


def test_the_dialect_writes_the_dossiers_frames() -> None:
    e = writer.e8
    best = (e("84209.3"), e("0.5"), e("84209.4"), e("1.25"))
    assert writer.bbo(1, TS_US, 7678386728, BTC, best).hex() == BBO
    assert writer.bbo(1, TS_US, 7678386729, BTC, (*best[:2], writer.NULL, writer.NULL)).hex() == ONE_SIDED
    bids = [(e("84209.3"), e("0.5")), (e("84209.2"), e("1"))]
    asks = [(e("84209.4"), e("1.25")), (e("84209.5"), e("2"))]
    snapshot = writer.book(1, TS_US, 7678386727, BTC, snapshot=True, bids=bids, asks=asks, best=best)
    known = bytes.fromhex(SNAPSHOT)
    assert snapshot[:25] == known[:25]
    assert snapshot[8 + 89 :] == known[8 + 89 :], "groups and market, to the last byte"
    delta = writer.book(1, TS_US, 7678386728, BTC, snapshot=False, bids=[], asks=[(e("84209.4"), 0)], best=best)
    assert delta[8 + 89 :] == bytes.fromhex(DELTA)[8 + 89 :]
    assert writer.heartbeat(1, TS_US, 1).hex() == HEARTBEAT


# ---- versions


@pytest.mark.parametrize("text", [BBO, SNAPSHOT, DELTA, FUNDING, TRADE, HEARTBEAT])
def test_unknown_bytes_at_the_end_of_a_block_are_skipped(text: str) -> None:
    """A newer version appends fields; offsets of texts and groups follow the block's own length."""
    frame = bytearray.fromhex(text)
    length = int.from_bytes(frame[:2], "little")
    longer = (length + 9).to_bytes(2, "little") + frame[2 : 8 + length] + b"\xff" * 9 + frame[8 + length :]
    assert sbe.decode(bytes(longer)) == read(text)


def test_longer_levels_are_read_by_their_own_length() -> None:
    frame = bytes.fromhex(DELTA)
    at = 8 + 89
    levels = (24).to_bytes(2, "little") + b"\x00\x00" + (24).to_bytes(2, "little") + b"\x01\x00" + frame[at + 8 : at + 24] + b"\x07" * 8
    assert sbe.decode(frame[:at] + levels + frame[at + 24 :]) == read(DELTA)


def test_texts_that_an_older_version_lacks_are_empty() -> None:
    without = bytes.fromhex(TRADE)[: 8 + 50 + 13]
    assert sbe.decode(without).id == "123", "the shortened number stands in for the missing text"
    row: dict[str, object] = {
        "id": "9",
        "client_id": "p1",
        "market": BTC,
        "account": "0x1",
        "side": "BUY",
        "type": "LIMIT",
        "instruction": "GTC",
        "size": "1",
        "remaining_size": "1",
        "price": "5",
        "trigger_price": "0",
        "avg_fill_price": "",
        "status": "OPEN",
        "cancel_reason": "",
        "created_at": 1,
        "last_updated_at": 2,
        "received_at": 1,
        "published_at": 2,
        "seq_no": 3,
        "stp": "EXPIRE_TAKER",
        "flags": [],
    }
    for version in (0, 1, 2, 3):
        order = sbe.decode(writer.order(version, TS_US, row))
        assert isinstance(order, m.Order)
        assert (order.id, order.client_id, order.avg_fill_price, order.request_info) == ("9", "p1", "", None)


def test_a_precise_rate_counts_where_the_version_has_it() -> None:
    row: dict[str, str | int] = dict.fromkeys(
        ("mark_price", "underlying_price", "last_traded_price", "volume_24h", "open_interest", "bid", "ask", "bid_size", "ask_size"), "1"
    )
    row |= {"funding_rate": "0.00044360", "total_volume": "1", "price_change_rate_24h": "0", "symbol": BTC}
    assert sbe.decode(writer.summary(0, TS_US, 1, row, 443605046)).funding_rate == 443600000
    assert sbe.decode(writer.summary(1, TS_US, 1, row, 443605046)).funding_rate == 443605046
    assert sbe.decode(writer.summary(3, TS_US, 1, row, 443605046)).market == BTC


# ---- garbage


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"{}",
        b'{"channel"',
        bytes.fromhex(BBO)[:40],
        bytes.fromhex(SNAPSHOT)[:120],
        bytes.fromhex(BBO)[:-3],
        b"\x10\x00\x02\x00\x01\x00\x01\x00" + bytes(60),
        bytes.fromhex(BBO).replace(b"\x01\x00\x01\x00", b"\x02\x00\x01\x00", 1),
        bytes.fromhex(SNAPSHOT)[:24] + b"\x07" + bytes.fromhex(SNAPSHOT)[25:],
    ],
)
def test_garbage_is_a_decode_error(frame: bytes) -> None:
    with pytest.raises((DecodeError, UnicodeDecodeError)):
        sbe.decode(frame)


@given(st.binary(max_size=300))
def test_no_bytes_do_anything_but_decode_or_fail(noise: bytes) -> None:
    for head in (b"", bytes.fromhex("5900030001000100"), bytes.fromhex("7e00140001000100"), bytes.fromhex("9a00160001000100")):
        with contextlib.suppress(DecodeError, UnicodeDecodeError):
            sbe.decode(head + noise)


@pytest.mark.parametrize(
    ("template", "length", "ones", "null"), [(22, 154, {16: 2}, 17), (23, 113, {}, 16), (23, 113, {}, 24), (21, 107, {16: 1, 17: 1}, 19)]
)
def test_a_missing_number_that_must_be_there_is_no_number(template: int, length: int, ones: dict[int, int], null: int) -> None:
    def frame(at: int | None) -> bytes:
        block = bytearray(length)
        for offset, value in ones.items():
            block[offset] = value
        if at is not None:
            block[at : at + 8] = struct.pack("<q", sbe.NULL)
        return struct.pack("<HHHH", length, template, 1, 1) + bytes(block)

    sbe.decode(frame(None))
    with pytest.raises(DecodeError, match="missing"):
        sbe.decode(frame(null))


def test_a_missing_fee_is_none() -> None:
    block = bytearray(107)
    block[16] = block[17] = 1
    block[35:43] = struct.pack("<q", sbe.NULL)
    assert sbe.decode(struct.pack("<HHHH", 107, 21, 1, 1) + bytes(block)).fee == 0


def test_an_unknown_template_is_no_error() -> None:
    assert sbe.decode(bytes.fromhex("1000630001000100") + bytes(16)) == sbe.Unknown(99)


@given(st.integers(1, 10**14), st.integers(0, 10**14))
def test_mantissas_become_the_floats_of_their_decimals(price: int, size: int) -> None:
    (level,) = from_mantissas([(price, size)], sbe.UNIT)
    assert level.px == float(str(D(price).scaleb(-8)))
    assert level.sz == float(str(D(size).scaleb(-8)))
