"""The order book engine: level-2 books on a tick grid, and the feeds that keep them contiguous.

Inside a book a level lives under the float its wire price decodes to. That float is a tick count in disguise: when a price is first seen
it is scaled to an integer number of ticks, scaled back by one correctly rounded division, and must give the very same float. Below
`MAX_MANTISSA` (fifteen significant digits) a decimal and its nearest float determine each other, so equal keys mean equal ticks, and prices
read from the book are Decimals built from the integer. Later updates of a known price need no arithmetic at all. Sizes come back through
their shortest decimal form, which is the wire's own number up to fifteen significant digits.

A book is read only while it is READY: fed without a gap since a snapshot, uncrossed. Every other state raises `NotReady` with its reason.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from enum import StrEnum
from itertools import islice
from math import inf
from typing import NamedTuple, Protocol

import msgspec

from exchange_clients.errors import DecodeError, NotReady, ProtocolError, SequenceGap
from exchange_clients.model import ZERO, Bbo, BookLevel, BookSnapshot, Instrument, InstrumentId

MAX_MANTISSA = 10**15
MAX_SIZE = 1e15
MAX_LEVELS = 50_000
"""Levels of one side beyond which a book without `max_depth` is taken for garbage."""


class WireLevel(Protocol):
    """A level as the venue sends it: price per venue price unit, absolute size in venue size units, size 0 removes."""

    @property
    def px(self) -> float: ...
    @property
    def sz(self) -> float: ...


class Depth(NamedTuple):
    """Both sides, best first."""

    bids: tuple[BookLevel, ...]
    asks: tuple[BookLevel, ...]


class MantissaLevel(msgspec.Struct, frozen=True, gc=False):
    """A level made from the integers of a binary protocol."""

    px: float
    sz: float


def from_mantissas(pairs: Iterable[tuple[int, int]], divisor: int) -> list[MantissaLevel]:
    """Levels of a binary venue whose (price, size) integers count units of 1/divisor.

    Dividing integers rounds correctly, so the floats are those the decimal text would have given.
    """
    return [MantissaLevel(price / divisor, size / divisor) for price, size in pairs]


class BookStatus(StrEnum):
    """EMPTY: never fed. SYNCING: waiting for a snapshot. READY: usable. STALE: was usable, is not any more."""

    EMPTY = "empty"
    SYNCING = "syncing"
    READY = "ready"
    STALE = "stale"


class BookState:
    """Where a book stands. `sequence`: last applied update, None before a snapshot; `joined`: an update has followed the snapshot."""

    __slots__ = ("joined", "reason", "sequence", "status", "ts_recv_ns", "ts_venue_ns")

    def __init__(self) -> None:
        self.status = BookStatus.EMPTY
        self.reason = "no data yet"
        self.sequence: int | None = None
        self.joined = False
        self.ts_recv_ns = 0
        self.ts_venue_ns: int | None = None


class _Side:
    """One side. `keys` are sorted so that the best price is the last: prices of bids, negated prices of asks.

    A removed level keeps its place with size 0 (levels flicker, and setting a size is the cheapest thing a side can do) until it comes to
    be the best, or the side has grown by half since `compact` last swept.
    """

    __slots__ = ("capped", "divisor", "factor", "floor", "keep", "keys", "limit", "price_bound", "scale", "sign", "sizes")

    def __init__(self, sign: int, wire_tick: Decimal, max_depth: int | None) -> None:
        decimals = max(0, -int(wire_tick.normalize().as_tuple().exponent))
        self.factor = float(wire_tick.scaleb(decimals))
        self.divisor = float(10**decimals)
        self.scale = self.divisor / self.factor
        self.price_bound = MAX_MANTISSA / self.divisor
        self.sign = sign
        self.keep = max_depth
        self.sizes: dict[float, float] = {}
        self.keys: list[float] = []
        self.replace(())

    def ticks(self, px: float) -> int:
        """The price in whole ticks; raises for anything that is not exactly one of the grid's prices."""
        if 0.0 < px < self.price_bound:
            ticks = (px * self.scale + 0.5) // 1.0
            if ticks * self.factor / self.divisor == px:
                return int(ticks)
        raise DecodeError(f"price {px!r} is not on the grid of {self.factor:g}/{self.divisor:g}")

    def replace(self, levels: Iterable[WireLevel]) -> None:
        known = self.sizes
        bound, scale, factor, divisor = self.price_bound, self.scale, self.factor, self.divisor
        sizes: dict[float, float] = {}
        for level in levels:
            px = level.px
            sz = level.sz
            if px not in known and (not 0.0 < px < bound or (px * scale + 0.5) // 1.0 * factor / divisor != px):
                self.ticks(px)
            if 0.0 < sz < MAX_SIZE:
                sizes[px] = sz
            elif sz == 0.0:
                sizes.pop(px, None)
            else:
                raise DecodeError(f"size {sz!r} at price {px!r}")
        self.sizes = sizes
        self.keys = sorted(sizes) if self.sign > 0 else sorted([-px for px in sizes])
        self.floor = -inf
        self.capped = False
        self.fit(self.keep)

    def update(self, levels: Iterable[WireLevel]) -> None:
        sizes, keys, sign = self.sizes, self.keys, self.sign
        bound, scale, factor, divisor = self.price_bound, self.scale, self.factor, self.divisor
        for level in levels:
            px = level.px
            sz = level.sz
            if px in sizes:
                if not 0.0 <= sz < MAX_SIZE:
                    raise DecodeError(f"size {sz!r} at price {px!r}")
                sizes[px] = sz
            else:
                if not 0.0 < px < bound or (px * scale + 0.5) // 1.0 * factor / divisor != px:
                    self.ticks(px)
                if 0.0 < sz < MAX_SIZE:
                    key = px * sign
                    if key >= self.floor:
                        sizes[px] = sz
                        insort(keys, key)
                        if len(keys) > self.limit:
                            self.compact()
                            sizes, keys = self.sizes, self.keys
                elif sz != 0.0:
                    raise DecodeError(f"size {sz!r} at price {px!r}")

    def best(self) -> float:
        """The best price with a size, 0.0 when there is none."""
        sizes, keys, sign = self.sizes, self.keys, self.sign
        while keys:
            px = keys[-1] * sign
            if sizes[px]:
                return px
            del sizes[px]
            keys.pop()
        return 0.0

    def compact(self) -> None:
        """Sweep removed levels out."""
        self.sizes = {px: sz for px, sz in self.sizes.items() if sz}
        self.keys = sorted(self.sizes) if self.sign > 0 else sorted([-px for px in self.sizes])
        self.fit(2 * self.keep if self.keep is not None else None)

    def fit(self, allowed: int | None) -> None:
        """Forget the worst when more than `allowed` are left: beyond the floor nothing is known or shown."""
        keys = self.keys
        if allowed is not None and self.keep is not None and len(keys) > allowed:
            for key in keys[: -self.keep]:
                del self.sizes[key * self.sign]
            del keys[: -self.keep]
            self.floor = keys[0]
            self.capped = True
        elif len(keys) > MAX_LEVELS:
            raise DecodeError(f"more than {MAX_LEVELS} levels on one side")
        self.limit = len(keys) * 3 // 2 + 32

    def exhausted(self) -> bool:
        """True when a trimmed side has been eaten down to a quarter: the forgotten levels may matter soon."""
        return self.capped and self.keep is not None and 4 * len(self.keys) < self.keep

    def best_first(self) -> Iterator[tuple[float, float]]:
        for key in reversed(self.keys):
            px = key * self.sign
            if sz := self.sizes[px]:
                yield px, sz


class OrderBook:
    """One market's levels.

    `tick_size`, `multiplier` and `contract_size` are the instrument's: wire levels stay in the venue's units, everything read out is quote
    per base unit and base units (`inverse`: quote units, which are their own worth).
    With `max_depth` the book forgets the worst levels when a side grows beyond about twice that many.
    """

    __slots__ = (
        "_ask_px",
        "_ask_sz",
        "_asks",
        "_best_ask",
        "_best_bid",
        "_bid_px",
        "_bid_sz",
        "_bids",
        "_contract_size",
        "_inverse",
        "state",
        "tick_size",
    )

    def __init__(
        self,
        tick_size: Decimal,
        *,
        multiplier: Decimal = Decimal(1),
        contract_size: Decimal = Decimal(1),
        max_depth: int | None = None,
        inverse: bool = False,
    ) -> None:
        if not (tick_size.is_finite() and tick_size > 0 and multiplier > 0 and contract_size > 0):
            raise ValueError("tick size, multiplier and contract size must be positive")
        self.tick_size = tick_size
        self._contract_size = contract_size
        self._inverse = inverse
        wire_tick = tick_size * multiplier
        self._bids = _Side(1, wire_tick, max_depth)
        self._asks = _Side(-1, wire_tick, max_depth)
        self._bid_px = self._bid_sz = self._ask_px = self._ask_sz = 0.0
        self._best_bid: BookLevel | None = None  # made from the line above when first asked for
        self._best_ask: BookLevel | None = None
        self.state = BookState()

    def apply_snapshot(self, bids: Iterable[WireLevel], asks: Iterable[WireLevel]) -> bool:
        """Replace both sides, in any order; of equal prices the last counts. Returns whether the best price or size of a side changed.

        Raises:
            ProtocolError: a price is not positive and on the grid, a size not finite and >= 0, or the book is crossed. It is then STALE.
        """
        try:
            self._bids.replace(bids)
            self._asks.replace(asks)
            changed = self._settle()
        except ProtocolError as e:
            self.invalidate(e.message)
            raise
        self.state.status = BookStatus.READY
        self.state.reason = ""
        return changed

    def apply_delta(self, bids: Iterable[WireLevel], asks: Iterable[WireLevel]) -> bool:
        """Set absolute sizes, 0 removes (also a level that is not there). Returns and raises as `apply_snapshot`."""
        try:
            self._bids.update(bids)
            self._asks.update(asks)
            return self._settle()
        except ProtocolError as e:
            self.invalidate(e.message)
            raise

    def invalidate(self, reason: str) -> None:
        """No reads until the next snapshot. Before the first snapshot the book stays EMPTY or SYNCING."""
        state = self.state
        if state.status is BookStatus.READY:
            state.status = BookStatus.STALE
        state.reason = reason
        state.sequence = None
        state.joined = False

    def syncing(self) -> None:
        """A new snapshot has been asked for."""
        self.invalidate("waiting for a snapshot")
        self.state.status = BookStatus.SYNCING

    @property
    def ready(self) -> bool:
        return self.state.status is BookStatus.READY

    def require_ready(self, *, now_ns: int | None = None, max_age_ns: int | None = None) -> None:
        """Raise `NotReady` unless the book is usable; with both arguments also when nothing was received for longer than `max_age_ns`."""
        state = self.state
        if state.status is not BookStatus.READY:
            raise NotReady(f"book {state.status}: {state.reason}")
        if now_ns is not None and max_age_ns is not None and now_ns - state.ts_recv_ns > max_age_ns:
            raise NotReady(f"book is {(now_ns - state.ts_recv_ns) / 1e9:.3f} s old")

    def best_bid(self) -> BookLevel | None:
        """None when nobody bids."""
        if self.state.status is not BookStatus.READY:
            self.require_ready()
        if self._best_bid is None and self._bid_px:
            self._best_bid = self._level(self._bids, self._bid_px, self._bid_sz)
        return self._best_bid

    def best_ask(self) -> BookLevel | None:
        """None when nobody offers."""
        if self.state.status is not BookStatus.READY:
            self.require_ready()
        if self._best_ask is None and self._ask_px:
            self._best_ask = self._level(self._asks, self._ask_px, self._ask_sz)
        return self._best_ask

    def best_ticks(self) -> tuple[int | None, int | None]:
        """Best bid and best ask in whole ticks."""
        self.require_ready()
        bid = self._bids.ticks(self._bid_px) if self._bid_px else None
        return bid, self._asks.ticks(self._ask_px) if self._ask_px else None

    def depth(self, levels: int | None = None) -> Depth:
        """The best `levels` of each side (all when None), built on demand."""
        self.require_ready()
        return Depth(self._read(self._bids, levels), self._read(self._asks, levels))

    def best_levels(self, min_size_usd: Decimal) -> tuple[BookLevel | None, BookLevel | None]:
        """The best bid and the best ask that is itself worth at least `min_size_usd`; None where no level is."""
        self.require_ready()
        return self._first_worth(self._bids, min_size_usd), self._first_worth(self._asks, min_size_usd)

    def counts(self) -> tuple[int, int]:
        """Levels held on the bid and the ask side, whatever the status."""
        return sum(1 for _ in self._bids.best_first()), sum(1 for _ in self._asks.best_first())

    def _settle(self) -> bool:
        """Check both sides after an update and note the best levels."""
        bids, asks = self._bids, self._asks
        bid_px = bids.best()
        ask_px = asks.best()
        if bid_px >= ask_px > 0.0:
            raise ProtocolError(f"crossed: bid {bid_px!r}, ask {ask_px!r}")
        bid_sz = bids.sizes[bid_px] if bid_px else 0.0
        ask_sz = asks.sizes[ask_px] if ask_px else 0.0
        if (bids.capped or asks.capped) and (bids.exhausted() or asks.exhausted()):
            raise SequenceGap("too few levels left of a trimmed book")
        changed = False
        if bid_px != self._bid_px or bid_sz != self._bid_sz:
            self._bid_px, self._bid_sz, self._best_bid = bid_px, bid_sz, None
            changed = True
        if ask_px != self._ask_px or ask_sz != self._ask_sz:
            self._ask_px, self._ask_sz, self._best_ask = ask_px, ask_sz, None
            changed = True
        return changed

    def _level(self, side: _Side, px: float, sz: float) -> BookLevel:
        return BookLevel(side.ticks(px) * self.tick_size, Decimal(repr(sz)) * self._contract_size)

    def _read(self, side: _Side, levels: int | None) -> tuple[BookLevel, ...]:
        return tuple([self._level(side, px, sz) for px, sz in islice(side.best_first(), levels)])

    def _first_worth(self, side: _Side, min_size_usd: Decimal) -> BookLevel | None:
        for px, sz in side.best_first():
            level = self._level(side, px, sz)
            if (level.size if self._inverse else level.price * level.size) >= min_size_usd:
                return level
        return None


class UncrossingBook(OrderBook):
    """A book of a venue whose stream crosses by design: every level remembers the message that set it (the state's sequence), and the older
    side of a crossing gives way.

    Two levels of the same message trade against each other: the smaller size is taken from both.
    """

    __slots__ = ("_marks",)

    def __init__(self, tick_size: Decimal, *, multiplier: Decimal = Decimal(1), contract_size: Decimal = Decimal(1)) -> None:
        super().__init__(tick_size, multiplier=multiplier, contract_size=contract_size)
        self._marks: dict[float, int] = {}

    def apply_snapshot(self, bids: Iterable[WireLevel], asks: Iterable[WireLevel]) -> bool:
        self._marks.clear()
        return super().apply_snapshot(self._marked(bids, 1), self._marked(asks, -1))

    def apply_delta(self, bids: Iterable[WireLevel], asks: Iterable[WireLevel]) -> bool:
        return super().apply_delta(self._marked(bids, 1), self._marked(asks, -1))

    def _marked(self, levels: Iterable[WireLevel], sign: int) -> Iterator[WireLevel]:
        message_id = self.state.sequence or 0
        for level in levels:
            if level.sz == 0.0:
                self._marks.pop(level.px * sign, None)
            else:
                self._marks[level.px * sign] = message_id
            yield level

    def _settle(self) -> bool:
        bids, asks, marks = self._bids, self._asks, self._marks
        while (bid := bids.best()) >= (ask := asks.best()) > 0.0:
            bid_mark, ask_mark = marks[bid], marks[-ask]
            rest = ZERO
            if bid_mark == ask_mark:
                rest = Decimal(repr(bids.sizes[bid])) - Decimal(repr(asks.sizes[ask]))
            bids.sizes[bid] = float(max(rest, ZERO)) if bid_mark <= ask_mark else bids.sizes[bid]
            asks.sizes[ask] = float(max(-rest, ZERO)) if ask_mark <= bid_mark else asks.sizes[ask]
        return super()._settle()


class Step(StrEnum):
    """What to do with an update. GAP: updates are missing, or the snapshot is too old to be continued."""

    APPLY = "apply"
    SKIP = "skip"
    BUFFER = "buffer"
    GAP = "gap"


class SnapshotSource(StrEnum):
    """STREAM: first message of a subscription. REST: fetched while updates are buffered. PERIODIC: every message is one."""

    STREAM = "stream"
    REST = "rest"
    PERIODIC = "periodic"


class SequenceRule(Protocol):
    """How a venue numbers its book updates: first and last number of the update at hand, and the one it names as its predecessor."""

    @property
    def source(self) -> SnapshotSource: ...
    def step(self, state: BookState, first: int, final: int, prev: int | None) -> Step: ...


class PlusOne(msgspec.Struct, frozen=True):
    """Every update is numbered one more than the last. A repeat of the last one is skipped."""

    source: SnapshotSource = SnapshotSource.STREAM

    def step(self, state: BookState, first: int, final: int, prev: int | None) -> Step:
        last = state.sequence
        if last is None:
            return Step.BUFFER if self.source is SnapshotSource.REST else Step.SKIP
        if first == last + 1:
            return Step.APPLY
        stale = final <= last if self.source is SnapshotSource.REST and not state.joined else final == last
        return Step.SKIP if stale else Step.GAP


class PrevEquals(msgspec.Struct, frozen=True):
    """Every update names its predecessor; its own number may repeat (keep-alive) or fall (maintenance reset).

    With source REST the first update after the snapshot may reach back over it.
    """

    source: SnapshotSource = SnapshotSource.STREAM

    def step(self, state: BookState, first: int, final: int, prev: int | None) -> Step:
        last = state.sequence
        if prev == last and last is not None:
            return Step.APPLY
        if self.source is not SnapshotSource.REST:
            return Step.SKIP if last is None else Step.GAP
        if last is None:
            return Step.BUFFER
        if not state.joined and prev is not None:
            if final <= last:
                return Step.SKIP
            if prev < last:
                return Step.APPLY
        return Step.GAP


class Overlaps(msgspec.Struct, frozen=True):
    """Updates cover a range of numbers; the first one kept spans the snapshot's number + `offset`, later ones follow without a hole.

    Where updates name their predecessor's last number, `prev` must equal it and the offset is 0; the first one kept may then also begin
    after the snapshot, if its predecessor ended before it (numbers that belong to no update). Where ranges join end to end the offset is 1.
    """

    offset: int = 0
    source: SnapshotSource = SnapshotSource.REST

    def step(self, state: BookState, first: int, final: int, prev: int | None) -> Step:
        last = state.sequence
        if last is None:
            return Step.BUFFER if self.source is SnapshotSource.REST else Step.SKIP
        follows = prev == last if prev is not None else first == last + 1
        if follows:
            return Step.APPLY
        if state.joined:
            return Step.GAP
        if final < last + self.offset:
            return Step.SKIP
        return Step.APPLY if first <= last + self.offset or (prev is not None and prev < last) else Step.GAP


class SnapshotOnly(msgspec.Struct, frozen=True):
    """Every message is a whole book; one that is older than what we have is skipped. The number is the venue's time."""

    source: SnapshotSource = SnapshotSource.PERIODIC

    def step(self, state: BookState, first: int, final: int, prev: int | None) -> Step:
        return Step.APPLY if state.sequence is None or final >= state.sequence else Step.SKIP


class Uncross(msgspec.Struct, frozen=True):
    """No numbering: the transport's order is trusted and crossings heal inside an `UncrossingBook`. The number is the message id."""

    source: SnapshotSource = SnapshotSource.STREAM

    def step(self, state: BookState, first: int, final: int, prev: int | None) -> Step:
        return Step.SKIP if state.sequence is None else Step.APPLY


class Resync(StrEnum):
    """What heals a gap: nothing but the next message, a fresh subscription of the one topic, or a snapshot by REST."""

    NONE = "none"
    RESUBSCRIBE = "resubscribe"
    SNAPSHOT = "snapshot"


_HEALS = {SnapshotSource.STREAM: Resync.RESUBSCRIBE, SnapshotSource.REST: Resync.SNAPSHOT, SnapshotSource.PERIODIC: Resync.NONE}


class BookChange(msgspec.Struct, frozen=True, gc=False):
    """A book was updated. Readers take what they need from the book itself."""

    instrument: InstrumentId
    best_changed: bool
    sequence: int | None
    ts_recv_ns: int
    ts_venue_ns: int | None


class BookGap(msgspec.Struct, frozen=True, gc=False):
    """A book cannot go on without `resync`. `was_ready` tells a loss (strategies must hear of it) from a start."""

    instrument: InstrumentId
    reason: str
    resync: Resync
    was_ready: bool


class _Pending(NamedTuple):
    bids: Sequence[WireLevel]
    asks: Sequence[WireLevel]
    first: int
    final: int
    prev: int | None
    ts_recv_ns: int
    ts_venue_ns: int | None


class BookFeed:
    """Keeps one book contiguous: numbers through the rule, levels into the book, gaps to `on_gap`, at most one `BookChange` per message.

    `on_gap` is called once per loss; until a snapshot arrives further updates are skipped or, with source REST, buffered (the newest
    `max_buffered`: a snapshot too old for what is left of them is asked for again).
    """

    __slots__ = ("_asked", "_on_gap", "_pending", "book", "instrument", "rule")

    def __init__(
        self,
        instrument: Instrument,
        rule: SequenceRule,
        on_gap: Callable[[BookGap], None],
        *,
        max_depth: int | None = None,
        max_buffered: int = 1000,
    ) -> None:
        self.instrument = instrument.id
        self.book = book_for(instrument, rule, max_depth=max_depth)
        self.rule = rule
        self._on_gap = on_gap
        self._pending: deque[_Pending] = deque(maxlen=max_buffered)
        self._asked = False

    def begin(self) -> None:
        """The venue streams this book from now on. A snapshot by REST is asked for at once: a quiet market has no first update."""
        if self.rule.source is SnapshotSource.REST and self.book.state.sequence is None and not self._asked:
            self._ask()

    def snapshot(
        self,
        bids: Iterable[WireLevel],
        asks: Iterable[WireLevel],
        *,
        sequence: int,
        ts_recv_ns: int,
        ts_venue_ns: int | None = None,
    ) -> BookChange | None:
        """A whole book, then whatever was buffered behind it. None when it is older than the book, or a gap was found."""
        book = self.book
        state = book.state
        if self.rule.source is SnapshotSource.PERIODIC and self.rule.step(state, sequence, sequence, None) is Step.SKIP:
            return None
        was_ready = book.ready
        self._asked = False
        state.sequence = sequence
        try:
            changed = book.apply_snapshot(bids, asks)
        except ProtocolError as e:
            self._lose(e.message, was_ready)
            return None
        state.joined = False
        state.ts_recv_ns = ts_recv_ns
        state.ts_venue_ns = ts_venue_ns
        while self._pending:
            bids, asks, first, final, prev, recv_ns, venue_ns = self._pending.popleft()
            late = self.delta(bids, asks, first=first, final=final, prev=prev, ts_recv_ns=recv_ns, ts_venue_ns=venue_ns)
            if not book.ready:
                return None
            changed = changed or (late is not None and late.best_changed)
        return BookChange(self.instrument, changed, state.sequence, state.ts_recv_ns, state.ts_venue_ns)

    def delta(
        self,
        bids: Sequence[WireLevel],
        asks: Sequence[WireLevel],
        *,
        final: int,
        first: int | None = None,
        prev: int | None = None,
        ts_recv_ns: int,
        ts_venue_ns: int | None = None,
    ) -> BookChange | None:
        """One update of the stream, numbered `first`..`final` (one number when `first` is None). None when nothing was applied."""
        book = self.book
        state = book.state
        if first is None:
            first = final
        step = self.rule.step(state, first, final, prev)
        if step is Step.APPLY:
            state.sequence = final
            try:
                changed = book.apply_delta(bids, asks)
            except ProtocolError as e:
                self._lose(e.message, True)
                return None
            state.joined = True
            state.ts_recv_ns = ts_recv_ns
            state.ts_venue_ns = ts_venue_ns
            return BookChange(self.instrument, changed, final, ts_recv_ns, ts_venue_ns)
        if step is Step.SKIP:
            return None
        held = _Pending(bids, asks, first, final, prev, ts_recv_ns, ts_venue_ns)
        if step is Step.BUFFER:
            self._pending.append(held)
            if not self._asked:
                self._ask()
        elif self.rule.source is SnapshotSource.REST and not state.joined:
            self._pending.appendleft(held)
            self._lose(f"snapshot {state.sequence} is older than update {first}..{final}", True, keep_pending=True)
        else:
            self._lose(f"update {first}..{final} (after {prev}) does not follow {state.sequence}", True)
        return None

    def lost(self, reason: str) -> None:
        """The connection or subscription ended: the book is invalid at once. Whoever says so also resubscribes: `on_gap` is not called."""
        self._pending.clear()
        self._asked = False
        self.book.invalidate(reason)

    def gap(self, reason: str) -> None:
        """The venue's own check failed (a checksum, a field): treat it as a sequence gap."""
        self._lose(reason, self.book.ready)

    def bbo(self) -> Bbo | None:
        """Best bid and ask of a usable book; None when a side is empty."""
        bid, ask, state = self.book.best_bid(), self.book.best_ask(), self.book.state
        if bid is None or ask is None:
            return None
        return Bbo(self.instrument, bid.price, bid.size, ask.price, ask.size, state.ts_venue_ns, state.ts_recv_ns)

    def read(self, levels: int | None = None) -> BookSnapshot:
        """The best `levels` of both sides of a usable book."""
        depth, state = self.book.depth(levels), self.book.state
        return BookSnapshot(
            instrument=self.instrument,
            bids=depth.bids,
            asks=depth.asks,
            ts_venue_ns=state.ts_venue_ns,
            ts_recv_ns=state.ts_recv_ns,
            sequence=state.sequence,
        )

    def _ask(self) -> None:
        self._asked = True
        self.book.syncing()
        self._on_gap(BookGap(self.instrument, self.book.state.reason, Resync.SNAPSHOT, False))

    def _lose(self, reason: str, was_ready: bool, *, keep_pending: bool = False) -> None:
        if not keep_pending:
            self._pending.clear()
        self.book.invalidate(reason)
        resync = _HEALS[self.rule.source]
        self._asked = resync is Resync.SNAPSHOT
        self._on_gap(BookGap(self.instrument, reason, resync, was_ready))


def book_for(instrument: Instrument, rule: SequenceRule, *, max_depth: int | None = None) -> OrderBook:
    """The kind of book a rule needs, in the instrument's units."""
    if isinstance(rule, Uncross):
        return UncrossingBook(instrument.tick_size, multiplier=instrument.multiplier, contract_size=instrument.contract_size)
    return OrderBook(
        instrument.tick_size,
        multiplier=instrument.multiplier,
        contract_size=instrument.contract_size,
        max_depth=max_depth,
        inverse=instrument.id.inverse,
    )
