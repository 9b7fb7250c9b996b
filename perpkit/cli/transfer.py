"""`perpkit db import` and `perpkit db export`: histories of funding rates from files into the database, and out of it."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from exchange_clients.model import NS_PER_HOUR, NS_PER_S, InstrumentId, RateKind
from perpkit.cli.failure import OK, Failure
from perpkit.cli.options import DatabaseOption
from perpkit.cli.output import counted, emit_json

if TYPE_CHECKING:
    from database.market_data import RateSample, SettledRate
    from funding_rate_service.transfer import Record, What
    from perpkit.backtest.data.funding import FundingTable
    from perpkit.backtest.data.tables import Cells

STEPS = 1000
FAR_NS = 2**62
SHORTEST_HOURS, LONGEST_HOURS = Decimal("0.001"), Decimal(24 * 31)
"""Between settlements."""
AHEAD_NS = 366 * 24 * NS_PER_HOUR
"""A rate so far ahead is a mistake, and nothing before it would ever be fetched."""


def import_rates(
    files: list[Path],
    /,
    *,
    what: Literal["settled", "samples"] = "settled",
    venue: str | None = None,
    symbol: str | None = None,
    columns: list[str] | None = None,
    where: list[str] | None = None,
    time_zone: str | None = None,
    interval_hours: str | None = None,
    offset_hours: Decimal = Decimal(0),
    place: DatabaseOption | None = None,
    json: bool = False,
) -> int:
    """Histories from CSV, Parquet or JSON files into the database. Files are checked to the last row before anything is written.

    What `perpkit db export` wrote is read as it is. Any other file is the settled rates of one market, named with --venue and --symbol:
    columns time and rate, perhaps interval_hours. What is known already stays as it is, so an import may be repeated.

    Parameters
    ----------
    files:
        The files.
    what:
        Settled rates, or samples that were exported.
    venue:
        Whose rates they are, where the file does not say it itself.
    symbol:
        The market: BTC (with the venue's default quote), BTC-USDT, or a full id, BTC-USDT-PERP.binance.
    columns:
        A column that is called otherwise: --columns time=Date --columns "rate=Funding Rate".
    where:
        Only rows with this text in a column: --where Symbol=BTC/USDT:USDT.
    time_zone:
        Of times that do not say theirs: UTC, +03:00, Europe/London.
    interval_hours:
        Of rows that do not say theirs: a number, or auto (from the spacing of the rows).
    offset_hours:
        For a venue that settles so much after whole multiples of its interval.
    json:
        Print JSON.
    """
    from database.funding_store import FundingStore
    from funding_rate_service.transfer import What, store_rows
    from perpkit.backtest.data.tables import DataError

    if not files:
        raise Failure("name the files to import")
    asked = _Asked(
        What(what), venue, symbol, _pairs(columns, "--columns"), _pairs(where, "--where"), time_zone, interval_hours, offset_hours
    )
    began = time.monotonic()
    with _errors(DataError):
        counts = [sum(1 for _ in asked.rows(file)) for file in files]
    total, new = sum(counts), 0
    with (place or DatabaseOption()).open() as database, _bar("importing", total, quiet=json) as bar, _errors(DataError):
        store, done = FundingStore(database), 0

        def moved(count: int) -> None:
            nonlocal done
            done += count
            bar(done)

        for file in files:
            new += store_rows(store, asked.what, asked.rows(file), moved)
        shown = database.shown
    seconds = time.monotonic() - began
    if json:
        found = [{"file": str(file), "rows": count} for file, count in zip(files, counts, strict=True)]
        emit_json({"database": shown, "files": found, "rows": total, "new": new, "seconds": round(seconds, 3)})
    else:
        print(f"{counted(total, 'row')} of {counted(len(files), 'file')}, {new:,} of them new, into {shown} in {seconds:.1f} s")
    return OK


def export_rates(
    file: Path | None = None,
    /,
    *,
    what: Literal["settled", "samples", "hourly"] = "settled",
    format: Literal["csv", "parquet"] | None = None,
    from_: str | None = None,
    to: str | None = None,
    venue: str | None = None,
    symbol: str | None = None,
    place: DatabaseOption | None = None,
    json: bool = False,
) -> int:
    """Rates out of the database into a CSV or Parquet file. Decimals are text, times UTC; nothing is rounded.

    Parameters
    ----------
    file:
        Where to; default perpkit-WHAT.FORMAT here.
    what:
        Settled rates, samples as collected, or hours worked out of them.
    format:
        Default: by the file's name, else csv.
    from_:
        The first moment: 2026-11-01, 2026-11-01T08:00Z; default all.
    to:
        The end, not included.
    venue:
        Only this venue.
    symbol:
        Only this asset (BTC) or market (a full id).
    json:
        Print JSON.
    """
    from database.funding_store import FundingStore
    from funding_rate_service.transfer import Format, What, pieces, writer

    wanted, kind = What(what), _format(file, format)
    path = file or Path(f"perpkit-{wanted}.{kind}")
    where = place or DatabaseOption()
    where.must_exist()
    start_ns, end_ns = _moment(from_, "--from", 0), _moment(to, "--to", FAR_NS)
    if start_ns >= end_ns:
        raise Failure(f"--from {from_} is not before --to {to}")
    rows, began = 0, time.monotonic()
    with where.open(read_only=True) as database, _bar("exporting", STEPS, quiet=json) as bar:
        store = FundingStore(database)
        try:
            with writer(path, wanted, Format(kind)) as write:
                for part, found in pieces(store, wanted, start_ns, end_ns, venue=venue, symbol=symbol):
                    write(found)
                    rows += len(found)
                    bar(int(part * STEPS))
                if not rows:
                    raise Failure(
                        f"{database.shown} has no {wanted} rates of that", hint="perpkit db status shows what there is", kind="nothing"
                    )
        except ImportError as e:
            raise Failure("Parquet needs pyarrow", hint='pip install "perpkit[backtest]"') from e
    seconds = time.monotonic() - began
    if json:
        emit_json({"file": str(path), "what": wanted, "format": kind, "rows": rows, "bytes": path.stat().st_size})
    else:
        print(f"{path}: {counted(rows, 'row')}, {path.stat().st_size:,} bytes, in {seconds:.1f} s")
    return OK


class _Asked:
    """How files are to be read."""

    def __init__(
        self,
        what: "What",
        venue: str | None,
        symbol: str | None,
        columns: dict[str, str],
        where: dict[str, str],
        time_zone: str | None,
        interval_hours: str | None,
        offset_hours: Decimal,
    ) -> None:
        self.what, self._columns, self._where = what, columns, where
        self._time_zone, self._interval, self._offset = time_zone, interval_hours, offset_hours
        if (venue is None) != (symbol is None):
            raise Failure("--venue and --symbol belong together", hint="a file of perpkit db export needs neither")
        self._market = instrument_of(venue, symbol) if venue is not None and symbol is not None else None
        if self._market is not None and what != "settled":
            raise Failure("--venue and --symbol are for settled rates of one market; samples say theirs themselves")

    def rows(self, file: Path) -> "Iterator[Record]":
        """The rows of a file, checked.

        Raises:
            DataError: with file and line.
        """
        if self._market is not None:
            yield from self._of_one_market(file, self._market)
        else:
            yield from self._exported(file)

    def _table(self, file: Path) -> "FundingTable":
        from pydantic import ValidationError

        from perpkit.backtest.data.funding import FundingTable

        given: dict[str, Any] = {"file": file.name, "columns": self._columns, "where": self._where, "time_zone": self._time_zone}
        if self._interval is not None:
            given["interval_hours"] = self._interval
        try:
            return FundingTable.model_validate({**given, "offset_hours": self._offset})
        except ValidationError as e:
            name = str(e.errors()[0]["loc"][0]).replace("_", "-")
            raise Failure(f"--{name}: {e.errors()[0]['msg'].removeprefix('Value error, ')}") from None

    def _of_one_market(self, file: Path, market: InstrumentId) -> "Iterator[SettledRate]":
        from database.market_data import SettledRate
        from perpkit.backtest.data.funding import read_funding

        for found in read_funding(file.parent, self._table(file)).settlements:
            yield SettledRate(
                venue=market.venue,
                instrument=str(market),
                symbol=market.base,
                settled_at=found.ts_ns,
                rate=found.rate,
                interval_hours=Decimal(found.interval_ns) / NS_PER_HOUR,
            )

    def _exported(self, file: Path) -> "Iterator[SettledRate | RateSample]":
        from perpkit.backtest.data.tables import rows

        latest_ns = time.time_ns() + AHEAD_NS
        for cells in rows(file.parent, self._table(file)):
            yield _record(cells, self.what, latest_ns)


def _record(cells: "Cells", what: "What", latest_ns: int) -> "SettledRate | RateSample":
    """One row of an exported file."""
    from funding_rate_service.transfer import KINDS, TIMES, fields
    from perpkit.backtest.data.tables import DataError

    values: dict[str, Any] = {}
    for name, kind, optional in fields(what):
        raw = cells.raw(name)
        if raw is None:
            if not optional:
                hint = "is it a file of perpkit db export? of any other, name the market: --venue and --symbol"
                raise DataError(cells.place, f"no value in column {name!r}", hint)
            values[name] = None
        elif name in TIMES:
            values[name] = cells.time_ns(name)
        elif kind is Decimal:
            values[name] = cells.decimal(name)
        elif kind is int:
            values[name] = int(cells.decimal(name))
        elif kind is RateKind:
            if str(raw) not in list(RateKind):
                raise DataError(cells.place, f"kind is {raw!r}", f"it is one of {', '.join(RateKind)}")
            values[name] = RateKind(str(raw))
        else:
            values[name] = str(raw)
    try:
        id = InstrumentId.parse(values["instrument"])
    except ValueError as e:
        raise DataError(cells.place, str(e)) from e
    if (id.venue, id.base) != (values["venue"], values["symbol"]):
        raise DataError(cells.place, f"{id} is not {values['symbol']} at {values['venue']}")
    if abs(values["rate"]) >= 1 or not SHORTEST_HOURS <= values["interval_hours"] <= LONGEST_HOURS:
        what_of = f"a funding rate of {values['rate']} per {values['interval_hours']} h"
        raise DataError(cells.place, what_of, "rates are fractions: 0.0001 is one basis point")
    if values[KINDS[what].time] > latest_ns:
        raise DataError(cells.place, f"{cells.raw(KINDS[what].time)} lies in the far future", "mend or remove the row")
    found: SettledRate | RateSample = KINDS[what].record(**values)
    return found


def instrument_of(venue: str, symbol: str) -> InstrumentId:
    """The market that is meant; of a venue that is not installed the quote must be said.

    Raises:
        Failure: it cannot be told.
    """
    from exchange_clients.venues import get, names

    if "." in symbol:
        try:
            id = InstrumentId.parse(symbol)
        except ValueError as e:
            raise Failure(str(e)) from None
        if id.venue != venue:
            raise Failure(f"--symbol {symbol} is of {id.venue}, --venue says {venue}")
        return id
    base, dash, quote = symbol.removesuffix("-PERP").rpartition("-")
    if dash:
        return InstrumentId(base, quote, venue)
    if venue not in names():
        raise Failure(f"--symbol {symbol} does not say its quote, and {venue} is not installed", hint=f"write --symbol {symbol}-USDT")
    spec = get(venue).spec
    return InstrumentId(symbol, spec.default_quote, venue, spec.default_dex)


def _pairs(given: Sequence[str] | None, option: str) -> dict[str, str]:
    found = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise Failure(f"{option} {text!r} is not NAME=VALUE")
        found[name] = value
    return found


def _format(file: Path | None, given: str | None) -> str:
    suffix = file.suffix.lower().removeprefix(".") if file is not None else ""
    by_name = {"csv": "csv", "parquet": "parquet", "pq": "parquet"}.get(suffix)
    if given and by_name and given != by_name:
        raise Failure(f"{file} is named like {by_name}, --format says {given}")
    return given or by_name or "csv"


def _moment(text: str | None, option: str, default: int) -> int:
    if text is None:
        return default
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Failure(f"{option} {text!r} is no time", hint="write 2026-11-01 or 2026-11-01T08:00Z") from None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * NS_PER_S + moment.microsecond * 1000


class _Move(Protocol):
    def __call__(self, done: int, /) -> None: ...


@contextmanager
def _bar(what: str, total: int, *, quiet: bool) -> Iterator[_Move]:
    """A bar on stderr where a person watches."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=quiet or not sys.stderr.isatty()) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done: progress.update(task, completed=done)


@contextmanager
def _errors(kind: type[Exception]) -> Iterator[None]:
    """What is wrong with a file, as a wrong use of the command."""
    try:
        yield
    except kind as e:
        raise Failure(str(e), hint="nothing was imported", kind="file") from e
