"""A snapshot per subscription, then updates that name the nonce of the one before. `offset` proves nothing; there is no checksum."""

from __future__ import annotations

from typing import Final

from exchange_clients.book import BookChange, BookFeed, PrevEquals, SnapshotSource
from exchange_clients.lighter import messages as m

RULE: Final = PrevEquals(SnapshotSource.STREAM)


def _time_ns(book: m.Book) -> int | None:
    return book.last_updated_at * 1_000 if book.last_updated_at is not None else None


def snapshot(feed: BookFeed, book: m.Book, ts_recv_ns: int) -> BookChange | None:
    return feed.snapshot(book.bids, book.asks, sequence=book.nonce, ts_recv_ns=ts_recv_ns, ts_venue_ns=_time_ns(book))


def update(feed: BookFeed, book: m.Book, ts_recv_ns: int) -> BookChange | None:
    return feed.delta(book.bids, book.asks, final=book.nonce, prev=book.begin_nonce, ts_recv_ns=ts_recv_ns, ts_venue_ns=_time_ns(book))
