"""Books: a snapshot per subscription and deltas numbered one by one; periodic ones arrive whole."""

from __future__ import annotations

from itertools import islice
from typing import Final

from exchange_clients.book import BookChange, BookFeed, MantissaLevel, PlusOne, SnapshotOnly, from_mantissas
from exchange_clients.paradex import sbe

DELTAS: Final = PlusOne()
PERIODIC: Final = SnapshotOnly()


def _levels(flat: tuple[int, ...]) -> list[MantissaLevel]:
    return from_mantissas(zip(islice(flat, 0, None, 2), islice(flat, 1, None, 2), strict=True), sbe.UNIT)


def apply(feed: BookFeed, data: sbe.Book, ts_recv_ns: int) -> BookChange | None:
    bids, asks, ts_venue_ns = _levels(data.bids), _levels(data.asks), data.ts_us * 1_000
    if data.is_snapshot:
        return feed.snapshot(bids, asks, sequence=data.sequence, ts_recv_ns=ts_recv_ns, ts_venue_ns=ts_venue_ns)
    return feed.delta(bids, asks, final=data.sequence, ts_recv_ns=ts_recv_ns, ts_venue_ns=ts_venue_ns)
