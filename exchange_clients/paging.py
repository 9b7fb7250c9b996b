"""Records that a venue hands out page by page, in the two ways there are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import TypeVar

T = TypeVar("T")


async def newest_first(
    ask: Callable[[str | None], Awaitable[tuple[Sequence[T], str | None]]],
    *,
    key: Callable[[T], Hashable],
    time_ns: Callable[[T], int],
    since_ns: int,
    until_ns: int | None = None,
) -> list[T]:
    """Records since `since_ns` and before `until_ns`, oldest first, each `key` once: new records push old ones onto the next page.

    `ask(cursor)` gives the records of a page and the cursor of the next one, None after the last. A page that reaches back beyond
    `since_ns` is the last that is asked for.
    """
    found: dict[Hashable, T] = {}
    cursor: str | None = None
    while True:
        records, cursor = await ask(cursor)
        found |= {key(r): r for r in records if time_ns(r) >= since_ns and (until_ns is None or time_ns(r) < until_ns)}
        if not cursor or any(time_ns(r) < since_ns for r in records):
            return sorted(reversed(found.values()), key=time_ns)  # of one instant too the last record is the oldest


async def oldest_first(ask: Callable[[int], Awaitable[Sequence[T]]], *, time: Callable[[T], int], start: int, size: int) -> list[T]:
    """Rows from `start` on, in the venue's own unit of time. `ask(start)` gives the first `size` rows from there.

    A full page may have split its last instant, which is asked for again: rows of it come twice.
    """
    found: list[T] = []
    while True:
        rows = await ask(start)
        found += rows
        if len(rows) < size:
            return found
        start = max(max(time(row) for row in rows), start + 1)
