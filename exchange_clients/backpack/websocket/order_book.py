"""Updates cover the numbers U..u and join end to end; the snapshot comes by REST. There is no checksum."""

from __future__ import annotations

from typing import Final

from exchange_clients.backpack import messages as m
from exchange_clients.book import BookChange, BookFeed, Overlaps

RULE: Final = Overlaps(offset=1)
SNAPSHOT_LEVELS: Final = 1000
_US: Final = 1_000


def snapshot(feed: BookFeed, data: m.Depth, ts_recv_ns: int) -> BookChange | None:
    stamp = data.timestamp * _US if data.timestamp else None
    bids, asks = ([m.Level(float(level.px), float(level.sz)) for level in side] for side in (data.bids, data.asks))
    return feed.snapshot(bids, asks, sequence=data.lastUpdateId, ts_recv_ns=ts_recv_ns, ts_venue_ns=stamp)


def update(feed: BookFeed, data: m.DepthUpdate, ts_recv_ns: int) -> BookChange | None:
    stamp = data.time_us * _US if data.time_us else None
    return feed.delta(data.bids, data.asks, first=data.first, final=data.final, ts_recv_ns=ts_recv_ns, ts_venue_ns=stamp)
