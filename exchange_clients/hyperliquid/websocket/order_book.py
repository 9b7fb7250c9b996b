"""Books arrive whole; the venue's time is their only number, and age the only sign of trouble."""

from __future__ import annotations

from typing import Final

from exchange_clients.book import BookChange, BookFeed, SnapshotOnly
from exchange_clients.hyperliquid import messages as m
from exchange_clients.model import NS_PER_MS

RULE: Final = SnapshotOnly()


def apply(feed: BookFeed, data: m.L2Book, ts_recv_ns: int) -> BookChange | None:
    bids, asks = data.levels
    return feed.snapshot(bids, asks, sequence=data.time, ts_recv_ns=ts_recv_ns, ts_venue_ns=data.time * NS_PER_MS)
