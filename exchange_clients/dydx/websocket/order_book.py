"""Books without numbering: message ids order what was said, and the older side of a crossing gives way."""

from __future__ import annotations

from typing import Final

from exchange_clients.book import BookChange, BookFeed, Uncross
from exchange_clients.dydx import messages as m

RULE: Final = Uncross()


def snapshot(feed: BookFeed, book: m.BookContents, message_id: int, ts_recv_ns: int) -> BookChange | None:
    """The id was reserved when the subscription arrived: updates that were sent before it may have a higher one."""
    return feed.snapshot(book.bids, book.asks, sequence=message_id, ts_recv_ns=ts_recv_ns)


def update(feed: BookFeed, book: m.BookChanges, message_id: int, ts_recv_ns: int) -> BookChange | None:
    return feed.delta(book.bids, book.asks, final=message_id, ts_recv_ns=ts_recv_ns)
