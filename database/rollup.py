"""Samples summed up by hour, and deleted when they are old and summed up."""

from collections.abc import Iterable, Iterator, Sequence
from decimal import Context, Decimal, Inexact
from fractions import Fraction
from functools import reduce
from itertools import groupby
from typing import TYPE_CHECKING, Any

import msgspec

from .database import Database
from .market_rows import put, table

if TYPE_CHECKING:
    from sqlalchemy import Connection

HOUR = 3_600_000_000_000
DAY = 24 * HOUR
CHUNK = 40
"""Markets per transaction, of a day at most: so long no other writer gets a turn."""
EXACT = Context(prec=400, traps=[Inexact])
ROUNDED = Context(prec=28)
"""A rate per hour may have no end (1/3); it is rounded once, here."""
FINEST_DIGITS = 76
FINEST = Decimal(1).scaleb(-FINEST_DIGITS)
"""Nothing smaller is kept of it: what follows so many zeros is no rate, and would be longer than a column."""


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
    """Rows of the hourly table from samples in the order of (market, time); every kind of rate by itself."""
    for (market_id, hour), group in groupby(rows, key=lambda row: (row.market_id, hour_of(row.observed_at))):
        by_kind: dict[str, list[Any]] = {}
        for row in group:
            by_kind.setdefault(row.kind, []).append(row)
        for kind, samples in by_kind.items():
            hourly = [_rounded(row.rate, row.interval_hours) for row in samples]
            newest = samples[-1]
            yield {
                "market_id": market_id,
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


def _mean(samples: list[Any]) -> Decimal:
    """Of rates per hour; exact until one division at the end."""
    by_interval: dict[Decimal, list[Decimal]] = {}
    for row in samples:
        by_interval.setdefault(row.interval_hours, []).append(row.rate)
    total = sum((Fraction(reduce(EXACT.add, rates)) / Fraction(interval) for interval, rates in by_interval.items()), Fraction(0))
    mean = total / len(samples)
    return _rounded(Decimal(mean.numerator), Decimal(mean.denominator))


def _rounded(amount: Decimal, parts: Decimal) -> Decimal:
    found = ROUNDED.divide(amount, parts)
    exponent = found.as_tuple().exponent
    return found.quantize(FINEST, context=ROUNDED) if isinstance(exponent, int) and exponent < -FINEST_DIGITS else found


def roll_up(database: Database, until_ns: int) -> int:
    """Bring every market's hours up to `until_ns`; how many rows are new or changed.

    An hour whose samples were deleted and that gets late ones keeps what it says: retention leaves those samples where they are.
    """
    until, written = hour_of(until_ns), 0
    while True:
        with database.write() as connection:
            changed = _roll_up_some(connection, until)
        if changed is None:
            return written
        written += changed


def _roll_up_some(connection: "Connection", until: int) -> int | None:
    """A day at most of those markets that are furthest behind; None when none is. They are locked against samples that come meanwhile."""
    from sqlalchemy import select, update

    markets, rows = table("venue_symbols"), table("funding_rates")
    behind = select(markets.c.market_id, markets.c.rolled_until).where(markets.c.rolled_until < until)
    chunk = connection.execute(behind.order_by(markets.c.rolled_until, markets.c.market_id).limit(CHUNK).with_for_update()).all()
    if not chunk:
        return None
    start = chunk[0].rolled_until
    end = min(until, start + DAY)
    if end < until:
        first = _first(connection, [row.market_id for row in chunk], start)
        end = until if first is None else max(end, min(until, hour_of(first)))  # past a time without samples in one step
    ids = [row.market_id for row in chunk if row.rolled_until < end]
    names = ("market_id", "observed_at", "rate", "interval_hours", "kind", "open_interest_usd", "volume_24h_usd")
    span = select(*(rows.c[name] for name in names)).where(rows.c.market_id.in_(ids), rows.c.observed_at >= start, rows.c.observed_at < end)
    samples = connection.execute(span.order_by(rows.c.market_id, rows.c.observed_at))
    changed = put(connection, "funding_rates_hourly", list(summed(samples)), newer="samples")
    connection.execute(update(markets).where(markets.c.market_id.in_(ids)).values(rolled_until=end))
    return changed


def _first(connection: "Connection", ids: Sequence[int], start: int) -> int | None:
    """The time of the first sample of some markets from `start` on."""
    from sqlalchemy import func, select

    markets, rows = table("venue_symbols"), table("funding_rates")
    mine = (rows.c.market_id == markets.c.market_id, rows.c.observed_at >= start)
    first = select(func.min(rows.c.observed_at)).where(*mine).scalar_subquery().label("first")
    each = select(first).where(markets.c.market_id.in_(ids)).subquery()
    found: int | None = connection.execute(select(func.min(each.c.first))).scalar_one()
    return found


def retain(database: Database, now_ns: int, *, raw_days: int, opportunity_days: int, log_days: int) -> Retained:
    """Delete what is older than its time. A sample goes with its whole hour, and only when the hourly table has counted that hour."""
    from sqlalchemy import delete

    cutoff = hour_of(now_ns - raw_days * DAY)
    gone = kept = 0
    for ids, start in _old(database, cutoff):
        at: int | None = start
        while at is not None and at < cutoff:
            begin = hour_of(at)
            with database.write() as connection:
                deleted, left = _clear(connection, ids, begin, min(begin + DAY, cutoff))
                at = _first(connection, ids, begin + DAY)
            gone += deleted
            kept += left
    counts = {}
    for name, (time, days) in {"opportunities": ("ts", opportunity_days), "collection_logs": ("started_at", log_days)}.items():
        rows = table(name)
        with database.write() as connection:
            counts[name] = int(connection.execute(delete(rows).where(rows.c[time] < now_ns - days * DAY)).rowcount)
    return Retained(samples=gone, opportunities=counts["opportunities"], collections=counts["collection_logs"], kept=kept)


def _old(database: Database, cutoff: int) -> Iterator[tuple[list[int], int]]:
    """Markets with samples before the cutoff, in chunks, with the hour of the oldest one."""
    from sqlalchemy import func, select

    markets, rows = table("venue_symbols"), table("funding_rates")
    oldest = select(func.min(rows.c.observed_at)).where(rows.c.market_id == markets.c.market_id).scalar_subquery()
    with database.read() as connection:
        found = connection.execute(select(markets.c.market_id, oldest.label("oldest")).order_by(markets.c.market_id)).all()
    old = [(market_id, at) for market_id, at in found if at is not None and at < cutoff]
    for i in range(0, len(old), CHUNK):
        chunk = old[i : i + CHUNK]
        yield [market_id for market_id, _ in chunk], hour_of(min(at for _, at in chunk))


def _clear(connection: "Connection", ids: Sequence[int], start: int, end: int) -> tuple[int, int]:
    """(deleted, kept) samples of some markets in a span of whole hours."""
    from sqlalchemy import bindparam, delete, func, select

    markets, rows, hours = table("venue_symbols"), table("funding_rates"), table("funding_rates_hourly")
    connection.execute(select(markets.c.market_id).where(markets.c.market_id.in_(ids)).order_by(markets.c.market_id).with_for_update())
    hour = (rows.c.observed_at - rows.c.observed_at % HOUR).label("hour")
    mine = (rows.c.market_id.in_(ids), rows.c.observed_at >= start, rows.c.observed_at < end)
    count = func.count().label("samples")
    raw = connection.execute(select(rows.c.market_id, hour, rows.c.kind, count).where(*mine).group_by(rows.c.market_id, hour, rows.c.kind))
    counted = select(hours.c.market_id, hours.c.hour, hours.c.kind, hours.c.samples)
    counted = counted.where(hours.c.market_id.in_(ids), hours.c.hour >= start, hours.c.hour < end)
    known = {tuple(row) for row in connection.execute(counted)}
    whole: dict[tuple[int, int], bool] = {}
    samples: dict[tuple[int, int], int] = {}
    for row in raw:
        at = (row.market_id, row.hour)
        whole[at] = whole.get(at, True) and tuple(row) in known
        samples[at] = samples.get(at, 0) + row.samples
    gone = [{"of": market_id, "start": at, "end": at + HOUR} for (market_id, at), counted_all in whole.items() if counted_all]
    if gone:
        span = (rows.c.market_id == bindparam("of"), rows.c.observed_at >= bindparam("start"), rows.c.observed_at < bindparam("end"))
        connection.execute(delete(rows).where(*span), gone)
    kept = sum(samples[at] for at, counted_all in whole.items() if not counted_all)
    return sum(samples.values()) - kept, kept
