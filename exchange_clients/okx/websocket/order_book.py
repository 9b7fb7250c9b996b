"""Books: a snapshot by stream, then updates that name their predecessor. The checksum is dead and not looked at.

Source: dossier 4.1. The venue announced that the stream's snapshots may end; they have not. Should updates come without one, the book goes
on with snapshots by request.
"""

from __future__ import annotations

from typing import Final

from exchange_clients.book import BookChange, BookFeed, PrevEquals, SnapshotSource
from exchange_clients.model import NS_PER_MS, NS_PER_S
from exchange_clients.okx import messages as m

RULE: Final = PrevEquals()
BY_REQUEST: Final = PrevEquals(SnapshotSource.REST)
PATIENCE_NS: Final = 15 * NS_PER_S
"""Longer than the pause between two subscriptions of a book: until then updates without a book are those of the last one."""


class Books:
    """Feeds updates in, and notices a market whose snapshot does not come."""

    def __init__(self) -> None:
        self._waiting: dict[str, int] = {}

    def apply(self, feed: BookFeed, name: str, action: str, data: m.BookData, ts_recv_ns: int) -> BookChange | None:
        if action == "snapshot":
            self._waiting.pop(name, None)
            return whole(feed, data, ts_recv_ns)
        if feed.book.state.sequence is None and ts_recv_ns - self._waiting.setdefault(name, ts_recv_ns) > PATIENCE_NS:
            feed.rule = BY_REQUEST
        final = data.seqId if data.seqId is not None else -1
        ts_venue_ns = data.ts * NS_PER_MS
        return feed.delta(data.bids, data.asks, final=final, prev=data.prevSeqId, ts_recv_ns=ts_recv_ns, ts_venue_ns=ts_venue_ns)


def whole(feed: BookFeed, data: m.BookData, ts_recv_ns: int) -> BookChange | None:
    """A snapshot, by stream or by request."""
    sequence = data.seqId if data.seqId is not None else 0
    return feed.snapshot(data.bids, data.asks, sequence=sequence, ts_recv_ns=ts_recv_ns, ts_venue_ns=data.ts * NS_PER_MS)
