"""Rows of CSV, Parquet and JSON files with the line they stand on, and cells that must be what they claim."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field, field_validator

from exchange_clients.model import NS_PER_S
from exchange_clients.nesting import bounded_nesting

_OFFSET = re.compile(r"^(?:UTC)?([+-])(\d{2}):?(\d{2})$")
_BEYOND_MICROSECONDS = re.compile(r"[.,]\d{6}(\d{1,3})")
_DIGITS = 60
"""More digits than this, before the point or behind it, no figure of a market has."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = ((10**17, 1), (10**14, 10**3), (10**11, 10**6), (10**8, 10**9))
"""Numbers from the first figure on are times in units of the second (ns): the four scales do not meet between 1973 and 5138."""


class DataError(ValueError):
    """A file cannot be used: where, what is wrong, what to do, in one line."""

    def __init__(self, where: str, what: str, hint: str = "") -> None:
        super().__init__(f"{where}: {what}" + (f"; {hint}" if hint else ""))


class Table(BaseModel):
    """A file of rows. `where` picks rows by the text of their cells, `columns` names columns that are called otherwise.

    `time_zone`: of times that do not say theirs: UTC, +03:00 or a name like Europe/London. Without it such a time is an error.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    where: dict[str, str] = Field(default_factory=dict)
    columns: dict[str, str] = Field(default_factory=dict)
    time_zone: str | None = None

    @field_validator("time_zone")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value is not None:
            zone_of(value)
        return value

    @property
    def told(self) -> str:
        """For people: the file and what is picked from it."""
        picked = ", ".join(f"{k} {v}" for k, v in self.where.items())
        return f"{self.file} ({picked})" if picked else self.file


def zone_of(name: str) -> tzinfo:
    """The time zone of that name or offset. Raises ValueError for one that is not known here."""
    if name.upper() in ("UTC", "Z"):
        return UTC
    if (found := _OFFSET.match(name)) is not None:
        minutes = int(found[2]) * 60 + int(found[3])
        return timezone(timedelta(minutes=minutes if found[1] == "+" else -minutes))
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as e:
        raise ValueError(f"no time zone {name!r} here: write UTC, +03:00 or a name like Europe/London (pip install tzdata)") from e


class Cells:
    """One row: cells by what they mean, errors with the place."""

    __slots__ = ("_names", "_table", "place", "values")

    def __init__(self, table: Table, place: str, values: Mapping[str, Any], names: Mapping[str, str]) -> None:
        self._table, self.place, self.values, self._names = table, place, values, names

    def raw(self, name: str, aliases: Sequence[str] = ()) -> Any:
        """The cell; None when there is no such column or nothing in it."""
        for candidate in (self._table.columns.get(name, name), *aliases):
            column = self._names.get(candidate.lower())
            if column is not None:
                value = self.values.get(column)
                return None if value is None or value == "" else value
        return None

    def need(self, name: str, aliases: Sequence[str] = ()) -> Any:
        """Raises DataError without a value."""
        value = self.raw(name, aliases)
        if value is None:
            wanted = self._table.columns.get(name, name)
            known = ", ".join(self._names.values())
            raise DataError(
                self.place, f"no value in column {wanted!r}", f"columns are {known}; name another with columns: {{{name}: ...}}"
            )
        return value

    def decimal(self, name: str, aliases: Sequence[str] = ()) -> Decimal:
        """A finite number, exact as written."""
        return self._number(name, self.need(name, aliases))

    def maybe(self, name: str, aliases: Sequence[str] = ()) -> Decimal | None:
        """As `decimal`; None without a value."""
        value = self.raw(name, aliases)
        return None if value is None else self._number(name, value)

    def _number(self, name: str, value: Any) -> Decimal:
        try:
            found = value if isinstance(value, Decimal) else Decimal(repr(value) if isinstance(value, float) else str(value).strip())
        except InvalidOperation:
            found = Decimal("nan")
        if not found.is_finite() or len(found.as_tuple().digits) > _DIGITS or abs(found.adjusted()) > _DIGITS:
            raise DataError(self.place, f"{name} is {repr(value)[:40]}, not a number that can be meant", "mend or remove the row")
        return found

    def time_ns(self, name: str = "time", aliases: Sequence[str] = ()) -> int:
        """UTC nanoseconds of an ISO time or an epoch number (s, ms, us or ns)."""
        value = self.need(name, aliases)
        if isinstance(value, datetime):
            return self._aware(value)
        text = str(value).strip()
        if re.fullmatch(r"\d{1,20}(\.0+)?", text, re.ASCII):
            number = int(text.split(".", maxsplit=1)[0])
            for limit, unit in _UNITS:
                if number >= limit:
                    return number * unit
            raise DataError(self.place, f"{name} {text} is no time", "epoch seconds, ms, us or ns, or ISO 8601")
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise DataError(self.place, f"{name} {text[:40]!r} is no time", "epoch seconds, ms, us or ns, or ISO 8601") from None
        rest = _BEYOND_MICROSECONDS.search(text)
        return self._aware(moment) + (int(rest[1].ljust(3, "0")) if rest is not None else 0)

    def _aware(self, moment: datetime) -> int:
        try:
            return self._since_epoch(moment)
        except OverflowError:
            raise DataError(self.place, f"the time {moment} lies beyond all calendars", "mend or remove the row") from None

    def _since_epoch(self, moment: datetime) -> int:
        if moment.tzinfo is None:
            if self._table.time_zone is None:
                hint = "say it: time_zone: UTC (or +03:00, Europe/London)"
                raise DataError(self.place, f"the time {moment} does not say its zone", hint)
            moment = moment.replace(tzinfo=zone_of(self._table.time_zone))
            if moment.astimezone(UTC).astimezone(moment.tzinfo).replace(fold=0) != moment.replace(fold=0):
                raise DataError(self.place, f"{moment.replace(tzinfo=None)} does not exist in {self._table.time_zone}", "wrong time zone?")
        since = moment.astimezone(UTC) - _EPOCH
        return (since.days * 86_400 + since.seconds) * NS_PER_S + since.microseconds * 1_000


def rows(root: Path, table: Table) -> Iterator[Cells]:
    """The picked rows of a file, in its order.

    Raises:
        DataError: the file is missing or no table, a `where` column does not exist, no row is picked.
    """
    path = root / table.file
    if not path.is_file():
        raise DataError(str(table.file), "there is no such file", f"looked in {root.absolute()}; --data names the folder")
    picked = 0
    names: dict[str, str] | None = None
    for line, values in _read(path, table.file):
        if names is None:
            names = {str(k).strip().lower(): k for k in values}
            for column in (*table.where, *table.columns.values()):
                if column.lower() not in names:
                    raise DataError(table.file, f"there is no column {column!r}", f"columns are {', '.join(map(str, values))}")
        if all(str(values[names[k.lower()]]) == v for k, v in table.where.items()):
            picked += 1
            yield Cells(table, f"{table.file}:{line}", values, names)
    if not picked:
        picks = f"no row where {', '.join(f'{k} is {v}' for k, v in table.where.items())}" if table.where else "no rows"
        raise DataError(table.file, picks)


def _read(path: Path, name: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    kind = path.suffix.lower()
    if kind == ".csv":
        yield from _csv(path, name)
    elif kind in (".parquet", ".pq"):
        yield from _parquet(path, name)
    elif kind == ".json":
        yield from _json(path, name)
    else:
        raise DataError(name, f"cannot read {kind or 'a file without a suffix'}", "give CSV, Parquet or a JSON array of objects")


def _csv(path: Path, name: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        try:
            for values in reader:
                if None in values or None in values.values():
                    raise DataError(f"{name}:{reader.line_num}", "the row has not as many cells as the header")
                yield reader.line_num, values
        except (UnicodeDecodeError, csv.Error) as e:
            raise DataError(f"{name}:{reader.line_num}", f"not a CSV text: {e}") from e


def _parquet(path: Path, name: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        import pyarrow as pa  # type: ignore[import-untyped]
        import pyarrow.parquet as pq  # type: ignore[import-untyped]
    except ImportError as e:
        raise DataError(name, "Parquet needs pyarrow", 'pip install "perpkit[backtest]"') from e
    try:
        file = pq.ParquetFile(path)
        line = 0
        for batch in file.iter_batches():
            for place, column in enumerate(batch.schema):
                if pa.types.is_timestamp(column.type) and column.type.tz is not None:  # to the nanosecond, which datetime cannot hold
                    exact = batch.column(place).cast(pa.timestamp("ns", tz="UTC")).cast(pa.int64())
                    batch = batch.set_column(place, column.name, exact)
            for values in batch.to_pylist():
                line += 1
                yield line, values
    except (OSError, ValueError, OverflowError) as e:
        raise DataError(name, f"not a Parquet file that can be used: {' '.join(str(e).split())}") from e


def _json(path: Path, name: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        with bounded_nesting():
            found = msgspec.json.decode(path.read_bytes(), type=list[dict[str, Any]])
    except (msgspec.DecodeError, RecursionError) as e:
        raise DataError(name, f"not a JSON array of objects: {e}") from e
    yield from enumerate(found, 1)
