"""Sequence rules, feeds and the states of a book."""

from collections.abc import Sequence
from decimal import Decimal

import pytest

from exchange_clients.book import (
    BookFeed,
    BookGap,
    BookState,
    BookStatus,
    MantissaLevel,
    OrderBook,
    Overlaps,
    PlusOne,
    PrevEquals,
    Resync,
    SequenceRule,
    SnapshotOnly,
    SnapshotSource,
    Step,
    Uncross,
    from_mantissas,
)
from exchange_clients.errors import DecodeError, NotReady, ProtocolError, SequenceGap
from exchange_clients.model import Instrument, InstrumentId

D = Decimal


def instrument(tick: str = "0.1", multiplier: str = "1", contract_size: str = "1") -> Instrument:
    return Instrument(
        id=InstrumentId("BTC", "USDC", "toy"),
        venue_symbol="BTC",
        contract_id="1",
        settle="USDC",
        tick_size=D(tick),
        step_size=D("0.001"),
        min_quantity=D("0.001"),
        multiplier=D(multiplier),
        contract_size=D(contract_size),
    )


def lv(*levels: tuple[float, float]) -> list[MantissaLevel]:
    return [MantissaLevel(px, sz) for px, sz in levels]


class Harness:
    """A feed and the gaps it reported."""

    def __init__(self, rule: SequenceRule, *, max_depth: int | None = None, max_buffered: int = 1000) -> None:
        self.gaps: list[BookGap] = []
        self.feed = BookFeed(instrument(), rule, self.gaps.append, max_depth=max_depth, max_buffered=max_buffered)
        self.book = self.feed.book

    def snapshot(self, sequence: int, bids: Sequence[MantissaLevel] = (), asks: Sequence[MantissaLevel] = ()) -> bool | None:
        bids, asks = bids or lv((100.0, 1.0)), asks or lv((101.0, 2.0))
        change = self.feed.snapshot(bids, asks, sequence=sequence, ts_recv_ns=sequence)
        return None if change is None else change.best_changed

    def delta(
        self,
        final: int,
        *,
        first: int | None = None,
        prev: int | None = None,
        bids: Sequence[MantissaLevel] = (),
        asks: Sequence[MantissaLevel] = (),
    ) -> bool | None:
        change = self.feed.delta(bids, asks, final=final, first=first, prev=prev, ts_recv_ns=final)
        return None if change is None else change.best_changed


def state(sequence: int | None, *, joined: bool = True) -> BookState:
    s = BookState()
    s.sequence, s.joined = sequence, joined
    return s


REST = SnapshotSource.REST


@pytest.mark.parametrize(
    ("rule", "last", "joined", "update", "expected"),
    [
        (PlusOne(), None, False, (5, 5, None), Step.SKIP),
        (PlusOne(REST), None, False, (5, 5, None), Step.BUFFER),
        (PlusOne(), 4, True, (5, 5, None), Step.APPLY),
        (PlusOne(), 5, True, (5, 5, None), Step.SKIP),
        (PlusOne(), 4, True, (6, 6, None), Step.GAP),
        (PlusOne(), 9, True, (3, 3, None), Step.GAP),
        (PlusOne(REST), 9, False, (3, 3, None), Step.SKIP),
        (PrevEquals(), None, False, (5, 5, 4), Step.SKIP),
        (PrevEquals(), 10, True, (15, 15, 10), Step.APPLY),
        (PrevEquals(), 15, True, (15, 15, 15), Step.APPLY),  # keep-alive
        (PrevEquals(), 15, True, (3, 3, 15), Step.APPLY),  # maintenance reset
        (PrevEquals(), 3, True, (5, 5, 3), Step.APPLY),
        (PrevEquals(), 5, True, (9, 9, 7), Step.GAP),
        (PrevEquals(), 5, True, (9, 9, None), Step.GAP),
        (PrevEquals(REST), None, False, (5, 5, 4), Step.BUFFER),
        (PrevEquals(REST), 10, False, (9, 9, 8), Step.SKIP),
        (PrevEquals(REST), 10, False, (12, 12, 9), Step.APPLY),
        (PrevEquals(REST), 10, False, (14, 14, 12), Step.GAP),
        (PrevEquals(REST), 10, True, (12, 12, 9), Step.GAP),
        (Overlaps(), None, False, (1, 5, 0), Step.BUFFER),
        (Overlaps(), 10, False, (5, 9, 4), Step.SKIP),
        (Overlaps(), 10, False, (8, 12, 7), Step.APPLY),
        (Overlaps(), 10, False, (11, 12, 10), Step.APPLY),  # it names the snapshot as its predecessor
        (Overlaps(), 10, False, (12, 14, 11), Step.GAP),
        (Overlaps(), 10, False, (12, 14, 9), Step.APPLY),  # the snapshot's number lies between two updates
        (Overlaps(), 12, True, (14, 15, 12), Step.APPLY),
        (Overlaps(), 12, True, (13, 15, 11), Step.GAP),
        (Overlaps(offset=1), 10, False, (8, 10, None), Step.SKIP),
        (Overlaps(offset=1), 10, False, (11, 13, None), Step.APPLY),
        (Overlaps(offset=1), 10, False, (9, 13, None), Step.APPLY),
        (Overlaps(offset=1), 10, False, (12, 13, None), Step.GAP),
        (Overlaps(offset=1), 13, True, (14, 16, None), Step.APPLY),
        (Overlaps(offset=1), 13, True, (15, 16, None), Step.GAP),
        (SnapshotOnly(), None, False, (7, 7, None), Step.APPLY),
        (SnapshotOnly(), 7, False, (7, 7, None), Step.APPLY),
        (SnapshotOnly(), 7, False, (6, 6, None), Step.SKIP),
        (Uncross(), None, False, (7, 7, None), Step.SKIP),
        (Uncross(), 9, False, (7, 7, None), Step.APPLY),
    ],
)
def test_rules(rule: SequenceRule, last: int | None, joined: bool, update: tuple[int, int, int | None], expected: Step) -> None:
    assert rule.step(state(last, joined=joined), *update) is expected


def test_reads_of_a_fresh_book() -> None:
    h = Harness(PlusOne())
    assert h.snapshot(1, lv((99.9, 3.0), (100.0, 1.5)), lv((101.0, 2.0), (100.5, 0.25))) is True
    best_bid, best_ask = h.book.best_bid(), h.book.best_ask()
    assert best_bid is not None
    assert best_ask is not None
    assert (best_bid.price, best_bid.size, best_ask.price, best_ask.size) == (D("100.0"), D("1.5"), D("100.5"), D("0.25"))
    assert h.book.best_ticks() == (1000, 1005)
    read = h.feed.read(1)
    assert [(x.price, x.size) for x in read.bids + read.asks] == [(D(100), D("1.5")), (D("100.5"), D("0.25"))]
    assert [x.price for x in h.book.depth().asks] == [D("100.5"), D(101)]
    bbo = h.feed.bbo()
    assert bbo is not None
    assert (bbo.bid, bbo.ask, bbo.ts_recv_ns) == (D(100), D("100.5"), 1)


def test_best_levels_skip_dust() -> None:
    h = Harness(PlusOne())
    h.snapshot(1, lv((100.0, 0.01), (99.0, 5.0)), lv((101.0, 10.0)))
    bid, ask = h.book.best_levels(D(100))
    assert bid is not None
    assert ask is not None
    assert (bid.price, ask.price) == (D(99), D(101))
    assert h.book.best_levels(D(100_000)) == (None, None)


def test_units_of_kilo_and_contract_markets() -> None:
    book = OrderBook(D("0.00000001"), multiplier=D(1000), contract_size=D(1000))  # kPEPE: wire tick 0.00001, sizes in thousands
    book.apply_snapshot(lv((0.00721, 12.5)), lv((0.00722, 1.0)))
    bid = book.best_bid()
    assert bid is not None
    assert (bid.price, bid.size) == (D("0.00000721"), D(12_500))


def test_ticks_above_one_and_odd_ticks() -> None:
    for tick, px, ticks in (("5", 103_005.0, 20601), ("0.25", 10.75, 43), ("0.5", 1.5, 3), ("10", 30.0, 3)):
        book = OrderBook(D(tick))
        book.apply_snapshot(lv((px, 1.0)), [])
        assert book.best_ticks() == (ticks, None)
    with pytest.raises(DecodeError):
        OrderBook(D(5)).apply_snapshot(lv((103_003.0, 1.0)), [])


def test_binary_levels_equal_text_levels() -> None:
    book = OrderBook(D("0.1"))
    book.apply_snapshot(from_mantissas([(8_420_930_000_000, 50_000_000)], 10**8), from_mantissas([(8_420_940_000_000, 125_000_000)], 10**8))
    bid, ask = book.best_bid(), book.best_ask()
    assert bid is not None
    assert ask is not None
    assert (bid.price, bid.size, ask.price, ask.size) == (D("84209.3"), D("0.5"), D("84209.4"), D("1.25"))


BAD_LEVELS = [
    (float("nan"), 1.0),
    (float("inf"), 1.0),
    (-100.0, 1.0),
    (0.0, 1.0),
    (100.05, 1.0),
    (1e15, 1.0),
    (99.0, float("nan")),
    (99.0, float("inf")),
    (99.0, -1.0),
    (99.0, 1e16),
    (100.0, float("nan")),
    (100.0, -1.0),
    (float("nan"), 0.0),
    (-5.0, 0.0),
]


@pytest.mark.parametrize("bad", BAD_LEVELS)
@pytest.mark.parametrize("as_snapshot", [True, False])
def test_e26_garbage_levels_invalidate_the_book(bad: tuple[float, float], as_snapshot: bool) -> None:
    h = Harness(PlusOne())
    h.snapshot(1)
    if as_snapshot:
        assert h.snapshot(2, lv((99.0, 1.0), bad)) is None
    else:
        assert h.delta(2, bids=lv(bad)) is None
    assert [(g.resync, g.was_ready) for g in h.gaps] == [(Resync.RESUBSCRIBE, True)]
    assert h.book.state.status is BookStatus.STALE
    with pytest.raises(NotReady):
        h.book.best_bid()


def test_e31_no_reads_unless_contiguous() -> None:
    h = Harness(PlusOne())
    with pytest.raises(NotReady, match="empty"):
        h.book.depth()
    h.snapshot(1)
    assert h.delta(2, bids=lv((100.0, 7.0))) is True
    assert h.delta(3, bids=lv((95.0, 7.0))) is False
    assert h.delta(5) is None
    assert len(h.gaps) == 1
    assert "5..5" in h.gaps[0].reason
    for read in (h.book.depth, h.book.best_ask, h.book.best_ticks, h.feed.bbo, h.feed.read):
        with pytest.raises(NotReady, match="does not follow"):
            read()
    assert h.delta(6) is None
    assert len(h.gaps) == 1, "one report per loss"
    h.snapshot(9)
    assert h.book.ready
    assert h.delta(10) is False


def test_connection_loss_is_silent_and_immediate() -> None:
    h = Harness(PlusOne())
    h.snapshot(1)
    h.feed.lost("socket closed")
    assert h.gaps == []
    with pytest.raises(NotReady, match="socket closed"):
        h.book.best_bid()
    h.book.syncing()
    assert h.book.state.status is BookStatus.SYNCING


@pytest.mark.parametrize("ask", [100.0, 99.5])
def test_crossed_or_locked_book_is_a_gap(ask: float) -> None:
    h = Harness(PlusOne())
    h.snapshot(1)
    assert h.delta(2, asks=lv((ask, 1.0))) is None
    assert "crossed" in h.gaps[0].reason
    assert not h.book.ready


def test_crossed_periodic_snapshot_waits_for_the_next() -> None:
    h = Harness(SnapshotOnly())
    assert h.snapshot(5) is True
    assert h.snapshot(4) is None
    assert h.book.ready, "an older snapshot changes nothing"
    assert h.snapshot(6, lv((102.0, 1.0))) is None
    assert [(g.resync, g.was_ready) for g in h.gaps] == [(Resync.NONE, True)]
    assert h.snapshot(7) is False
    assert h.book.ready


def test_age() -> None:
    h = Harness(PlusOne())
    h.snapshot(1_000)
    h.book.require_ready(now_ns=2_000, max_age_ns=1_000)
    with pytest.raises(NotReady, match="old"):
        h.book.require_ready(now_ns=2_001, max_age_ns=1_000)


def test_rest_snapshot_joins_buffered_updates() -> None:
    h = Harness(Overlaps())
    assert h.delta(9, first=5, prev=4) is None
    assert [(g.resync, g.was_ready) for g in h.gaps] == [(Resync.SNAPSHOT, False)]
    assert h.delta(12, first=10, prev=9, bids=lv((100.0, 4.0))) is None
    assert h.delta(15, first=13, prev=12, bids=lv((100.0, 5.0))) is None
    assert h.book.state.status is BookStatus.SYNCING
    assert len(h.gaps) == 1, "asked once"
    assert h.snapshot(11) is True
    bid = h.book.best_bid()
    assert bid is not None
    assert bid.size == D(5)
    assert h.book.state.sequence == 15
    assert h.delta(20, first=16, prev=15) is False


def test_rest_snapshot_too_old_is_asked_for_again_and_nothing_is_lost() -> None:
    h = Harness(Overlaps(offset=1))
    h.delta(9, first=8, bids=lv((100.0, 4.0)))
    h.delta(12, first=10, bids=lv((100.0, 5.0)))
    assert h.snapshot(3) is None
    assert not h.book.ready
    assert [g.resync for g in h.gaps] == [Resync.SNAPSHOT, Resync.SNAPSHOT]
    h.delta(13, first=13, bids=lv((100.0, 6.0)))
    assert h.snapshot(8) is True
    bid = h.book.best_bid()
    assert bid is not None
    assert (bid.size, h.book.state.sequence, len(h.gaps)) == (D(6), 13, 2)


def test_snapshot_without_buffer_then_a_hole() -> None:
    h = Harness(Overlaps())
    h.snapshot(10)
    assert h.book.ready
    assert h.delta(20, first=15, prev=14) is None
    assert h.gaps[0].resync is Resync.SNAPSHOT
    assert h.snapshot(16) is not None
    assert h.book.state.sequence == 20


def test_hole_inside_the_buffer() -> None:
    h = Harness(Overlaps())
    h.delta(12, first=10, prev=9)
    h.delta(20, first=18, prev=17)
    assert h.snapshot(11) is None
    assert len(h.gaps) == 2
    assert not h.book.ready


def test_buffer_is_bounded_and_keeps_the_newest() -> None:
    h = Harness(Overlaps(offset=1), max_buffered=3)
    for n in range(1, 10):
        h.delta(n, bids=lv((100.0, float(n))))
    assert h.snapshot(2) is None, "updates 3..6 were dropped"
    assert h.snapshot(6) is True
    assert h.book.state.sequence == 9


def test_depth_cap_never_shows_what_it_forgot() -> None:
    h = Harness(PlusOne(), max_depth=4)
    h.snapshot(1, lv(*[(100.0 - i, 1.0) for i in range(10)]))
    assert [x.price for x in h.book.depth().bids] == [D(100), D(99), D(98), D(97)]
    assert h.delta(2, bids=lv((92.0, 9.0), (98.5, 1.0))) is False
    assert [x.price for x in h.book.depth().bids] == [D(100), D(99), D("98.5"), D(98), D(97)]
    assert h.delta(3, bids=lv(*[(px, 0.0) for px in (100.0, 99.0, 98.5)])) is True
    assert h.delta(4, bids=lv((98.0, 0.0))) is True
    assert h.delta(5, bids=lv((97.0, 0.0))) is None
    assert "trimmed" in h.gaps[0].reason
    assert isinstance(h.gaps[0], BookGap)
    assert not h.book.ready


def test_depth_cap_trims_as_it_grows() -> None:
    h = Harness(PlusOne(), max_depth=4)
    h.snapshot(1)
    for n in range(2, 400):
        h.delta(n, bids=lv((100.0 - n / 10, 1.0)), asks=lv((101.0 + n / 10, 1.0)))
    assert max(h.book.counts()) <= 40
    assert h.book.best_ticks() == (1000, 1010)


def test_flickering_levels_do_not_pile_up() -> None:
    h = Harness(PlusOne())
    h.snapshot(1)
    for n in range(2, 3000):
        px = 90.0 - n % 500 / 10
        h.delta(n, bids=lv((px, 1.0), (px + 5.0, 0.0)))
    bids = h.book._bids
    assert h.book.counts() == (51, 1)
    assert len(bids.keys) == len(bids.sizes) < 200, "500 prices were quoted"


def test_an_endless_side_is_garbage() -> None:
    with pytest.raises(DecodeError, match="levels"):
        OrderBook(D("0.1")).apply_snapshot(lv(*[(n / 10, 1.0) for n in range(1, 60_000)]), [])


def test_trimmed_books_report_a_sequence_gap() -> None:
    book = OrderBook(D(1), max_depth=4)
    book.apply_snapshot(lv(*[(float(n), 1.0) for n in range(1, 10)]), [])
    with pytest.raises(SequenceGap):
        book.apply_delta(lv(*[(float(n), 0.0) for n in range(1, 10)]), [])


def test_uncross_drops_the_older_side() -> None:
    h = Harness(Uncross())
    h.snapshot(10, lv((100.0, 1.0), (99.0, 5.0)), lv((101.0, 2.0), (102.0, 3.0)))
    assert h.delta(11, bids=lv((101.5, 4.0))) is True
    assert h.book.best_ticks() == (1015, 1020)
    assert h.delta(12, asks=lv((99.5, 1.0))) is True
    assert h.book.best_ticks() == (990, 995)
    assert h.gaps == []


def test_uncross_trades_levels_of_one_message_against_each_other() -> None:
    h = Harness(Uncross())
    h.snapshot(10, lv((101.0, 4.76), (99.0, 5.0)), lv((101.0, 3.21), (102.0, 3.0)))
    bid, ask = h.book.best_bid(), h.book.best_ask()
    assert bid is not None
    assert ask is not None
    assert (bid.price, bid.size, ask.price) == (D(101), D("1.55"), D(102))
    h.delta(11, bids=lv((101.0, 2.0)), asks=lv((101.0, 2.0)))
    assert h.book.best_ticks() == (990, 1020)


def test_the_venues_own_check_can_fail_a_feed() -> None:
    h = Harness(PlusOne())
    h.snapshot(1)
    h.feed.gap("checksum")
    assert (h.gaps[0].reason, h.gaps[0].was_ready) == ("checksum", True)
    with pytest.raises(NotReady, match="checksum"):
        h.book.best_bid()


def test_one_sided_and_empty_books() -> None:
    book = OrderBook(D("0.1"))
    book.apply_snapshot([], lv((101.0, 2.0)))
    assert book.best_bid() is None
    assert book.apply_delta([], lv((101.0, 0.0), (55.0, 0.0)))
    assert book.depth() == ((), ())


@pytest.mark.parametrize("tick", ["0", "-0.1", "NaN"])
def test_nonsense_ticks(tick: str) -> None:
    with pytest.raises(ValueError, match="positive"):
        OrderBook(D(tick))


def test_errors_of_the_engine_are_protocol_errors() -> None:
    with pytest.raises(ProtocolError):
        OrderBook(D("0.1")).apply_snapshot(lv((100.0, 1.0)), lv((100.0, 1.0)))
