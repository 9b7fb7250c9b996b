"""Diffs with ranges of numbers over a snapshot by REST: each names the last number of the one before it."""

from __future__ import annotations

from typing import Final

from exchange_clients.aster import messages as m
from exchange_clients.book import BookChange, BookFeed, Overlaps
from exchange_clients.model import NS_PER_MS

RULE: Final = Overlaps()
SNAPSHOT_LEVELS: Final = 1000


def apply(feed: BookFeed, data: m.DepthUpdate, ts_recv_ns: int) -> BookChange | None:
    return feed.delta(
        data.b, data.a, first=data.U, final=data.u, prev=data.pu, ts_recv_ns=ts_recv_ns, ts_venue_ns=(data.T or data.E) * NS_PER_MS
    )


def start(feed: BookFeed, data: m.Depth, ts_recv_ns: int) -> BookChange | None:
    stamp = (data.T or data.E) * NS_PER_MS or None
    return feed.snapshot(data.bids, data.asks, sequence=data.lastUpdateId, ts_recv_ns=ts_recv_ns, ts_venue_ns=stamp)
