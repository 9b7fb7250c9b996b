"""A book equals a replayed dict of Decimals, to the last digit; recorded streams end in the recorded book."""

import json
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange_clients.book import BookFeed, BookGap, OrderBook, Overlaps, PlusOne, SnapshotOnly
from exchange_clients.errors import DecodeError, ProtocolError
from exchange_clients.model import BookLevel, Instrument, InstrumentId

Row = tuple[Decimal, Decimal]


class WireRow(msgspec.Struct, frozen=True, gc=False, array_like=True):
    px: float
    sz: float


rows = msgspec.json.Decoder(list[WireRow], strict=False).decode


def wire(levels: list[Row]) -> list[WireRow]:
    """Through JSON text, as from a venue."""
    return rows(json.dumps([[format(price, "f"), format(size, "f")] for price, size in levels]))


def as_rows(levels: tuple[BookLevel, ...]) -> list[Row]:
    return [(level.price, level.size) for level in levels]


ticks_sizes = st.sampled_from(
    [Decimal(t) for t in ("0.1", "0.01", "0.5", "0.05", "0.25", "1", "5", "10", "0.0001", "0.0000000001", "0.00000007")]
)


@given(tick=ticks_sizes, count=st.integers(1, 10**15), size=st.decimals("0.000000001", "99999", places=9))
def test_any_tick_price_and_size_survive_exactly(tick: Decimal, count: int, size: Decimal) -> None:
    price = count * tick
    book = OrderBook(tick)
    if price.scaleb(max(0, -int(tick.as_tuple().exponent))) >= 10**15:
        with pytest.raises(DecodeError):
            book.apply_snapshot(wire([(price, size)]), [])
        return
    book.apply_snapshot(wire([(price, size)]), [])
    assert as_rows(book.depth().bids) == [(price, size)]
    assert book.best_ticks() == (count, None)


@given(tick=ticks_sizes, count=st.integers(0, 10**9), part=st.integers(1, 9))
def test_any_price_between_ticks_is_refused(tick: Decimal, count: int, part: int) -> None:
    with pytest.raises(DecodeError):
        OrderBook(tick).apply_snapshot(wire([(count * tick + tick * part / 10, Decimal(1))]), [])


@given(px=st.floats(), sz=st.floats())
def test_any_float_is_exact_or_refused(px: float, sz: float) -> None:
    book = OrderBook(Decimal("0.01"))
    try:
        book.apply_snapshot([WireRow(px, sz)], [])
    except ProtocolError:
        assert not book.ready
    else:
        for level in book.depth().bids:
            assert level.price > 0
            assert float(level.price) == px
            assert float(level.size) == sz


deltas = st.lists(
    st.tuples(st.booleans(), st.integers(1, 60), st.integers(0, 4)),
    max_size=12,
)


@given(start=deltas, updates=st.lists(deltas, max_size=25), tick=st.sampled_from(["0.1", "0.5", "5", "0.0007"]))
@settings(max_examples=150)
def test_book_equals_replayed_dict(start: list[tuple[bool, int, int]], updates: list[list[tuple[bool, int, int]]], tick: str) -> None:
    step = Decimal(tick)
    gaps: list[BookGap] = []
    feed = BookFeed(make_instrument(step), PlusOne(), gaps.append)
    model: dict[bool, dict[Decimal, Decimal]] = {True: {}, False: {}}

    def split(levels: list[tuple[bool, int, int]]) -> tuple[list[WireRow], list[WireRow]]:
        sides: dict[bool, list[Row]] = {True: [], False: []}
        for is_bid, n, size in levels:
            row = (step * (n if is_bid else n + 55), Decimal(size) / 8)
            sides[is_bid].append(row)
            if size:
                model[is_bid][row[0]] = row[1]
            else:
                model[is_bid].pop(row[0], None)
        return wire(sides[True]), wire(sides[False])

    bids, asks = split(start)
    feed.snapshot(bids, asks, sequence=0, ts_recv_ns=0)
    for sequence, update in enumerate([[], *updates]):
        if sequence:
            before = best(model)
            bids, asks = split(update)
            change = feed.delta(bids, asks, final=sequence, ts_recv_ns=sequence)
            if change is not None:
                assert change.best_changed == (before != best(model))
        if model[True] and model[False] and max(model[True]) >= min(model[False]):
            assert not feed.book.ready
            assert "crossed" in gaps[-1].reason
            return
        assert as_rows(feed.book.depth().bids) == sorted(model[True].items(), reverse=True)
        assert as_rows(feed.book.depth().asks) == sorted(model[False].items())
        assert feed.book.counts() == (len(model[True]), len(model[False]))
    assert gaps == []


def best(model: dict[bool, dict[Decimal, Decimal]]) -> tuple[Row | None, Row | None]:
    return max(model[True].items(), default=None), min(model[False].items(), default=None)


@given(updates=st.lists(st.lists(st.tuples(st.integers(1, 200), st.integers(0, 3)), max_size=30), max_size=20))
@settings(max_examples=60)
def test_capped_book_is_the_top_of_the_full_one(updates: list[list[tuple[int, int]]]) -> None:
    """Whatever a capped book shows are the full book's best levels without a hole."""
    full, capped = OrderBook(Decimal(1)), OrderBook(Decimal(1), max_depth=8)
    full.apply_snapshot([], [])
    capped.apply_snapshot([], [])
    for update in updates:
        levels = [WireRow(float(n), float(size)) for n, size in update]
        full.apply_delta(levels, [])
        try:
            capped.apply_delta(levels, [])
        except ProtocolError:
            assert not capped.ready
            return
        shown = capped.depth().bids
        assert shown == full.depth(len(shown)).bids
        assert len(shown) <= 3 * 8 + 32


# ---- recorded streams


def make_instrument(tick: Decimal, symbol: str = "BTC") -> Instrument:
    return Instrument(
        id=InstrumentId(symbol, "USDT", "recorded"),
        venue_symbol=symbol,
        contract_id=symbol,
        settle="USDT",
        tick_size=tick,
        step_size=Decimal(1),
        min_quantity=Decimal(1),
    )


def top(levels: tuple[BookLevel, ...], count: int = 10) -> list[Row]:
    return as_rows(levels[:count])


def expected_rows(levels: list[list[str]]) -> list[Row]:
    return [(Decimal(price), Decimal(size)) for price, size in levels]


class Diff(msgspec.Struct, gc=False):
    first: int = msgspec.field(name="U")
    final: int = msgspec.field(name="u")
    prev: int = msgspec.field(name="pu")
    bids: list[WireRow] = msgspec.field(name="b")
    asks: list[WireRow] = msgspec.field(name="a")


class Rest(msgspec.Struct, gc=False):
    last: int = msgspec.field(name="lastUpdateId")
    bids: list[WireRow]
    asks: list[WireRow]


def feed_diff(feed: BookFeed, message: object, ts: int) -> bool:
    d = msgspec.convert(message, Diff, strict=False)
    return feed.delta(d.bids, d.asks, first=d.first, final=d.final, prev=d.prev, ts_recv_ns=ts) is not None


def feed_rest(feed: BookFeed, message: object, ts: int) -> None:
    r = msgspec.convert(message, Rest, strict=False)
    feed.snapshot(r.bids, r.asks, sequence=r.last, ts_recv_ns=ts)


def test_recorded_diff_stream_with_buffered_snapshot(payloads: Path) -> None:
    stream = payloads / "streams" / "binance_usdm_btcusdt_20240808_depth.jsonl"
    expected = json.loads(stream.with_suffix(".expected.json").read_text())
    checkpoints = {c["u"]: c for c in expected["checkpoints"]}
    gaps: list[BookGap] = []
    feed = BookFeed(make_instrument(Decimal("0.1")), Overlaps(), gaps.append)
    seen = 0
    with stream.open() as lines:
        for n, line in enumerate(lines):
            message = json.loads(line)["msg"]
            if "data" in message:
                feed_diff(feed, message["data"], n)
            else:
                feed_rest(feed, message, n)
            if feed.book.ready and (c := checkpoints.pop(feed.book.state.sequence, None)) is not None:
                seen += 1
                depth = feed.book.depth(1)
                assert top(depth.bids) + top(depth.asks) == expected_rows([c["best_bid"], c["best_ask"]])
                assert feed.book.counts() == (c["n_bids"], c["n_asks"])
    assert seen == len(expected["checkpoints"])
    assert [g.was_ready for g in gaps] == [False]
    assert feed.book.state.sequence == expected["final_u"]
    depth = feed.book.depth(10)
    assert top(depth.bids) == expected_rows(expected["final_bids"])
    assert top(depth.asks) == expected_rows(expected["final_asks"])


def test_recorded_streams_of_several_markets_on_one_socket(payloads: Path) -> None:
    stream = payloads / "streams" / "binance_usdm_4symbols_20210722_with_rest_snapshots.jsonl"
    expected = json.loads(stream.with_suffix(".expected.json").read_text())
    gaps: list[BookGap] = []
    tick = {"SUSHIUSDT": "0.001", "AKROUSDT": "0.00001", "KEEPUSDT": "0.0001", "CTKUSDT": "0.00001"}
    feeds = {s: BookFeed(make_instrument(Decimal(tick[s]), s), Overlaps(), gaps.append) for s in expected}
    applied = dict.fromkeys(feeds, 0)
    with stream.open() as lines:
        for n, line in enumerate(lines):
            row = json.loads(line)
            if row["kind"] == "http_response" and "/depth?" in row["url"]:
                symbol = row["url"].split("symbol=")[1].split("&")[0]
                feed_rest(feeds[symbol], row["msg"], n)
            elif row["kind"] == "ws_recv" and "@depth" in row["msg"].get("stream", ""):
                symbol = row["msg"]["data"]["s"]
                applied[symbol] += feed_diff(feeds[symbol], row["msg"]["data"], n)
    for symbol, feed in feeds.items():
        want = expected[symbol]
        depth = feed.book.depth(10)
        assert feed.book.state.sequence == want["final_u"]
        assert top(depth.bids) == expected_rows(want["final_bids"])
        assert top(depth.asks) == expected_rows(want["final_asks"])
        assert applied[symbol] <= want["applied"]
    assert all(not g.was_ready for g in gaps)


@pytest.mark.parametrize(("symbol", "tick"), [("UNI-USD-SWAP", "0.001"), ("BTC-USDT", "0.1")])
def test_recorded_checksummed_stream(payloads: Path, symbol: str, tick: str) -> None:
    stream = payloads / "streams" / "okx_books_20220513_BTC-USDT_UNI-USD-SWAP.jsonl"
    want = json.loads(stream.with_suffix(".expected.json").read_text())[symbol]
    feed = BookFeed(make_instrument(Decimal(tick), symbol), PlusOne(), lambda gap: pytest.fail(gap.reason))
    count = 0
    with stream.open() as lines:
        for line in lines:
            message = json.loads(line).get("msg", {})
            if message.get("arg", {}) != {"channel": "books", "instId": symbol} or "data" not in message:
                continue
            count += 1
            data = message["data"][0]
            bids, asks = ([WireRow(float(row[0]), float(row[1])) for row in data[side]] for side in ("bids", "asks"))
            if message["action"] == "snapshot":
                feed.snapshot(bids, asks, sequence=count, ts_recv_ns=count)
            else:
                feed.delta(bids, asks, final=count, ts_recv_ns=count)
    depth = feed.book.depth(10)
    assert count == want["book_messages"]
    assert top(depth.bids) == expected_rows(want["final_bids"])
    assert top(depth.asks) == expected_rows(want["final_asks"])
    assert feed.book.counts() == (want["n_bids"], want["n_asks"])


def test_recorded_full_snapshots(payloads: Path) -> None:
    """Every recorded snapshot is shown exactly as its own text says."""
    stream = payloads / "streams" / "hyperliquid_btc_l2book_trades_20250126_a.jsonl"
    feed = BookFeed(make_instrument(Decimal("0.1")), SnapshotOnly(), lambda gap: pytest.fail(gap.reason))
    books = 0
    with stream.open() as lines:
        for line in lines:
            message = json.loads(line)["msg"]
            if message["channel"] != "l2Book":
                continue
            books += 1
            sides = message["data"]["levels"]
            bids, asks = ([WireRow(float(x["px"]), float(x["sz"])) for x in side] for side in sides)
            assert feed.snapshot(bids, asks, sequence=message["data"]["time"], ts_recv_ns=books) is not None
            depth = feed.book.depth()
            for shown, sent in zip((depth.bids, depth.asks), sides, strict=True):
                assert as_rows(shown) == [(Decimal(x["px"]), Decimal(x["sz"])) for x in sent]
    assert books > 10


def test_levels_never_share_a_tick() -> None:
    """The bijection the engine rests on: at fifteen digits neighbouring ticks are still different floats."""
    edge = 10**15 - 1
    for divisor in (1, 10**3, 10**8, 10**15):
        assert len({n / divisor for n in range(edge - 1000, edge)}) == 1000
