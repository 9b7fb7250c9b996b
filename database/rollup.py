"""Samples summed up by hour, and deleted when they are old and summed up."""

from collections.abc import Callable, Iterable, Iterator
from decimal import Context, Decimal, Inexact
from fractions import Fraction
from functools import reduce
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from .database import Database
from .market_rows import put, table

if TYPE_CHECKING:
    from sqlalchemy import Connection

T = TypeVar("T")
HOUR = 3_600_000_000_000
DAY = 24 * HOUR
CHUNK = 40
"""Markets per transaction: so long no other writer gets a turn."""
EXACT = Context(prec=400, traps=[Inexact])
ROUNDED = Context(prec=28)
"""A rate per hour may have no end (1/3); it is rounded once, here."""


class Retained(msgspec.Struct, frozen=True, kw_only=True):
    """What retention deleted; `kept` are samples that are old and not in the hourly table."""

    samples: int
    opportunities: int
    collections: int
    kept: int


def hour_of(ts_ns: int) -> int:
    """The beginning of the hour."""
    return ts_ns - ts_ns % HOUR


def summed(rows: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Rows of the hourly table from samples of one market in their order; every kind of rate by itself."""
    for (hour, kind), group in groupby(sorted(rows, key=lambda row: (hour_of(row.observed_at), row.kind)), key=_hour_and_kind):
        samples = list(group)
        hourly = [ROUNDED.divide(row.rate, row.interval_hours) for row in samples]
        newest = samples[-1]
        yield {
            "market_id": newest.market_id,
            "hour": hour,
            "kind": kind,
            "samples": len(samples),
            "mean": _mean(samples),
            "low": min(hourly),
            "high": max(hourly),
            "last": hourly[-1],
            "interval_hours": newest.interval_hours,
            "open_interest_usd": newest.open_interest_usd,
            "volume_24h_usd": newest.volume_24h_usd,
        }


def _hour_and_kind(row: Any) -> tuple[int, str]:
    return hour_of(row.observed_at), row.kind


def _mean(samples: list[Any]) -> Decimal:
    """Of rates per hour; exact until one division at the end."""
    by_interval: dict[Decimal, list[Decimal]] = {}
    for row in samples:
        by_interval.setdefault(row.interval_hours, []).append(row.rate)
    total = sum((Fraction(reduce(EXACT.add, rates)) / Fraction(interval) for interval, rates in by_interval.items()), Fraction(0))
    mean = total / len(samples)
    return ROUNDED.divide(Decimal(mean.numerator), Decimal(mean.denominator))


def roll_up(database: Database, until_ns: int) -> int:
    """Bring every market's hours up to `until_ns`; how many rows are new or changed.

    An hour whose samples were deleted and that gets late ones keeps what it says: retention leaves those samples where they are.
    """
    from sqlalchemy import update

    until, written = hour_of(until_ns), 0
    markets, rows = table("venue_symbols"), table("funding_rates")
    behind = markets.c.rolled_until < until

    def bring_up(connection: "Connection", market_id: int, rolled_until: int) -> int:
        query = _span(rows, market_id).where(rows.c.observed_at >= rolled_until, rows.c.observed_at < until)
        changed = put(connection, "funding_rates_hourly", list(summed(connection.execute(query))), newer="samples")
        connection.execute(update(markets).where(markets.c.market_id == market_id).values(rolled_until=until))
        return changed

    for changed in _by_market(database, behind, bring_up):
        written += changed
    return written


def retain(database: Database, now_ns: int, *, raw_days: int, opportunity_days: int, log_days: int) -> Retained:
    """Delete what is older than its time. A sample goes with its whole hour, and only when the hourly table has counted that hour."""
    from sqlalchemy import delete

    cutoff = hour_of(now_ns - raw_days * DAY)
    deleted = kept = 0
    has_samples = table("venue_symbols").c.rolled_until.is_not(None)

    def clear(connection: "Connection", market_id: int, rolled_until: int) -> tuple[int, int]:
        return _clear(connection, market_id, min(cutoff, rolled_until))

    for gone, left in _by_market(database, has_samples, clear):
        deleted += gone
        kept += left
    old = {"opportunities": ("ts", opportunity_days), "collection_logs": ("started_at", log_days)}
    counts = {}
    for name, (time, days) in old.items():
        rows = table(name)
        with database.write() as connection:
            counts[name] = int(connection.execute(delete(rows).where(rows.c[time] < now_ns - days * DAY)).rowcount)
    return Retained(samples=deleted, opportunities=counts["opportunities"], collections=counts["collection_logs"], kept=kept)


def _by_market(database: Database, where: Any, work: Callable[["Connection", int, int], T]) -> Iterator[T]:
    """Do the work for each market in turn, a chunk per transaction; its markets are locked against samples that come meanwhile."""
    from sqlalchemy import select

    markets = table("venue_symbols")
    done = 0
    while True:
        query = select(markets.c.market_id, markets.c.rolled_until).where(where, markets.c.market_id > done)
        with database.write() as connection:
            chunk = connection.execute(query.order_by(markets.c.market_id).limit(CHUNK).with_for_update()).all()
            found = [work(connection, market_id, rolled_until) for market_id, rolled_until in chunk]
        yield from found
        if not chunk:
            return
        done = chunk[-1][0]


def _span(rows: Any, market_id: int) -> Any:
    from sqlalchemy import select

    names = ("market_id", "observed_at", "rate", "interval_hours", "kind", "open_interest_usd", "volume_24h_usd")
    return select(*(rows.c[name] for name in names)).where(rows.c.market_id == market_id).order_by(rows.c.observed_at)


def _clear(connection: "Connection", market_id: int, before: int) -> tuple[int, int]:
    """(deleted, kept) samples of one market before a time."""
    from sqlalchemy import delete, func, select

    rows, hours = table("funding_rates"), table("funding_rates_hourly")
    mine = (rows.c.market_id == market_id, rows.c.observed_at < before)
    hour = (rows.c.observed_at - rows.c.observed_at % HOUR).label("hour")
    raw = connection.execute(select(hour, rows.c.kind, func.count()).where(*mine).group_by(hour, rows.c.kind)).all()
    if not raw:
        return 0, 0
    counted = select(hours.c.hour, hours.c.kind, hours.c.samples).where(hours.c.market_id == market_id, hours.c.hour < before)
    summed_up = {(at, kind): samples for at, kind, samples in connection.execute(counted)}
    whole = {at: True for at, _, _ in raw}
    for at, kind, count in raw:
        whole[at] &= summed_up.get((at, kind)) == count
    kept = sum(count for at, _, count in raw if not whole[at])
    deleted = 0
    for counted_all, run in groupby(sorted(whole), key=whole.__getitem__):
        if not counted_all:
            continue
        at = list(run)
        gone = delete(rows).where(rows.c.market_id == market_id, rows.c.observed_at >= at[0], rows.c.observed_at < at[-1] + HOUR)
        deleted += int(connection.execute(gone).rowcount)
    return deleted, kept
