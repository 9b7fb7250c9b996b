"""Market data out of the database into files and back, a piece at a time: memory does not grow with what is moved.

CSV and Parquet have the same columns. Decimals are text in both, so that no digit is lost; times are ISO 8601 UTC in CSV and timestamps in
nanoseconds in Parquet; what is not known is empty (null).
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from functools import cache
from itertools import islice
from pathlib import Path
from types import UnionType
from typing import Any, Final, NamedTuple, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from database.funding_store import FundingStore
from database.market_data import HourlyRate, RateSample, SettledRate
from exchange_clients.model import NS_PER_HOUR, NS_PER_S

T = TypeVar("T")
Record = SettledRate | RateSample | HourlyRate
Write = Callable[[Sequence[Record]], None]

NS_PER_DAY: Final = 24 * NS_PER_HOUR
BATCH: Final = 5_000
TIMES: Final = frozenset({"settled_at", "observed_at", "hour", "next_funding_at"})


class What(StrEnum):
    """What is moved. Hours are worked out from samples, so they only go out."""

    SETTLED = "settled"
    SAMPLES = "samples"
    HOURLY = "hourly"


@dataclass(frozen=True, slots=True)
class _Kind:
    record: type[Any]
    time: str
    span_ns: int
    """So much of one market is in memory at a time."""


KINDS: Final[Mapping[What, _Kind]] = {
    What.SETTLED: _Kind(SettledRate, "settled_at", 365 * NS_PER_DAY),
    What.SAMPLES: _Kind(RateSample, "observed_at", 3 * NS_PER_DAY),
    What.HOURLY: _Kind(HourlyRate, "hour", 365 * NS_PER_DAY),
}


class Format(StrEnum):
    CSV = "csv"
    PARQUET = "parquet"


def columns(what: What) -> tuple[str, ...]:
    """Names of the columns, in order."""
    return tuple(column.name for column in fields(what))


def pieces(
    store: FundingStore, what: What, start_ns: int, end_ns: int, *, venue: str | None = None, symbol: str | None = None
) -> Iterator[tuple[float, Sequence[Record]]]:
    """How much is done (0 to 1) and the next rows: market by market by name, each oldest first. Times from `start_ns`, before `end_ns`."""
    markets = [m for m in store.markets(venue) if symbol in (None, m.symbol, m.instrument)]
    read: Callable[[str, int, int], Sequence[Record]]
    read = store.settled if what is What.SETTLED else store.samples if what is What.SAMPLES else store.hourly
    first, last = bounds(store, what)
    start_ns, end_ns = max(start_ns, first), min(end_ns, last + 1)
    span_ns = KINDS[what].span_ns
    for place, market in enumerate(markets):
        at_ns = start_ns
        while at_ns < end_ns:
            stop_ns = min(at_ns + span_ns, end_ns)
            found = read(market.instrument, at_ns, stop_ns)
            yield (place + (stop_ns - start_ns) / (end_ns - start_ns)) / len(markets), found
            at_ns = stop_ns


def bounds(store: FundingStore, what: What) -> tuple[int, int]:
    """Times of the first and the last row there are; (0, -1) without any."""
    tables = {What.SETTLED: "funding_history", What.SAMPLES: "funding_rates", What.HOURLY: "funding_rates_hourly"}
    found = next((f for f in store.figures() if f.table == tables[what]), None)
    return (0, -1) if found is None or found.first is None or found.last is None else (found.first, found.last)


# ---- out


@contextmanager
def writer(path: Path, what: What, format: Format) -> Iterator[Write]:
    """Writes rows into a file that is there, whole, once the block has ended; after an error there is none.

    Raises:
        ImportError: Parquet needs pyarrow.
        OSError: the file cannot be written.
    """
    beside = path.with_name(f".{path.name}.part")
    open_: Callable[[Path, What], AbstractContextManager[Write]] = _csv_writer if format is Format.CSV else _parquet_writer
    try:
        with ExitStack() as stack:
            write = stack.enter_context(open_(beside, what))
            yield write
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def _csv_writer(path: Path, what: What) -> Iterator[Write]:
    names = columns(what)
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(names)

        def write(rows: Sequence[Record]) -> None:
            out.writerows([_cell(name, getattr(row, name)) for name in names] for row in rows)

        yield write


@contextmanager
def _parquet_writer(path: Path, what: What) -> Iterator[Write]:
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    schema = pa.schema([pa.field(column.name, _arrow_type(pa, column)) for column in fields(what)])
    with pq.ParquetWriter(path, schema, compression="zstd") as out:

        def write(rows: Sequence[Record]) -> None:
            if rows:
                arrays = [
                    pa.array([_plain(getattr(row, name)) for row in rows], type=field.type)
                    for name, field in zip(schema.names, schema, strict=True)
                ]
                out.write_table(pa.Table.from_arrays(arrays, schema=schema))

        yield write


def _arrow_type(pa: Any, column: Column) -> Any:
    if column.name in TIMES:
        return pa.timestamp("ns", tz="UTC")
    return pa.int64() if column.kind is int else pa.string()


class Column(NamedTuple):
    """One field of a record."""

    name: str
    kind: type[Any]
    optional: bool


@cache
def fields(what: What) -> tuple[Column, ...]:
    """The fields of a record with their types, in order."""
    found = []
    for name, hint in get_type_hints(KINDS[what].record).items():
        kinds = [one for one in get_args(hint) if one is not type(None)] if get_origin(hint) in (Union, UnionType) else [hint]
        found.append(Column(name, kinds[0], type(None) in get_args(hint)))
    return tuple(found)


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    return iso_ns(value) if name in TIMES else str(_plain(value))


def _plain(value: Any) -> Any:
    return format(value, "f") if isinstance(value, Decimal) else value


def iso_ns(ts_ns: int) -> str:
    """ISO 8601 UTC to the last nanosecond, without zeros that say nothing."""
    seconds, ns = divmod(ts_ns, NS_PER_S)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{ns:09d}".rstrip("0") + "Z" if ns else f"{text}Z"


# ---- in


def store_rows(store: FundingStore, what: What, rows: Iterable[Record], moved: Callable[[int], None] = lambda _: None) -> int:
    """Write rows in batches; how many were new. Those that are there stay as they are, so an import that was cut short is simply repeated.

    `moved(count)` hears of every batch.
    """
    new, left = 0, iter(rows)
    while batch := list(islice(left, BATCH)):
        new += (
            store.add_settled(cast("list[SettledRate]", batch))
            if what is What.SETTLED
            else store.add_samples(cast("list[RateSample]", batch))
        )
        moved(len(batch))
    return new
