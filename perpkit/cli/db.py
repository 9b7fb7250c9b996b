"""`perpkit db`: look after the database of market data and accounts, or any journal."""

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from cyclopts import App

from perpkit.cli.failure import OK, WRONG, Failure
from perpkit.cli.options import DatabaseOption
from perpkit.cli.output import emit_json, emit_table, iso, terminal

db = App(name="db", help="The database of market data and accounts (or, with --database, a journal): version, size, copies, upkeep.")
db.command("perpkit.cli.transfer:import_rates", name="import", help="Settled rates, or what export wrote, from CSV, Parquet or JSON.")
db.command("perpkit.cli.transfer:export_rates", name="export", help="Settled rates, samples or hours to CSV or Parquet.")


@db.command
def status(*, place: DatabaseOption | None = None, json: bool = False) -> int:
    """What is in the database: its version, its tables with their spans, the newest round of each venue.

    Parameters
    ----------
    json:
        Print JSON.
    """
    from database.funding_store import FundingStore
    from database.maintenance import size, version

    where = place or DatabaseOption()
    where.must_exist()
    known = version(where.url)
    if known.at != known.newest:
        if json:
            emit_json({"database": where.shown, "version": known.at, "newest": known.newest})
        else:
            print(f"{where.shown}: version {known.at or 'none'}, newest {known.newest}; perpkit db upgrade brings it forward")
        return WRONG
    with where.open(read_only=True) as database:
        store = FundingStore(database)
        figures = store.figures()
        rounds: dict[str, Any] = {}
        for one in store.collections(last=500):
            rounds.setdefault(one.venue, one)
        with database.read() as connection:
            size_bytes = size(connection)
    if json:
        emit_json(
            {
                "database": where.shown,
                "version": known.at,
                "newest": known.newest,
                "bytes": size_bytes,
                "tables": [
                    {"table": f.table, "rows": f.rows, "bytes": f.bytes, "first": iso(f.first), "last": iso(f.last)} for f in figures
                ],
                "rounds": [
                    {"venue": r.venue, "at": iso(r.started_at), "outcome": r.outcome, "markets": r.markets, "error": r.error}
                    for r in rounds.values()
                ],
            }
        )
        return OK
    rows = [(f.table, f"{f.rows:,}", _bytes(f.bytes), iso(f.first) or "-", iso(f.last) or "-") for f in figures]
    emit_table(f"{where.shown}: version {known.at}, {_bytes(size_bytes)}", ("table", ">rows", ">size", "first", "last"), rows)
    if rounds:
        last = [(r.venue, iso(r.started_at) or "", r.outcome, str(r.markets), r.error) for r in rounds.values()]
        emit_table("Newest round of each venue", ("venue", "at", "outcome", ">markets", "error"), sorted(last))
    return OK


@db.command
def upgrade(*, place: DatabaseOption | None = None, json: bool = False) -> int:
    """Make the database, or bring it to the newest version. Opening it for writing does the same.

    Parameters
    ----------
    json:
        Print JSON.
    """
    from database.maintenance import version

    where = place or DatabaseOption()
    before = version(where.url).at if where.exists() else None
    where.open().close()
    after = version(where.url).at
    if json:
        emit_json({"database": where.shown, "from": before, "to": after})
    else:
        print(f"{where.shown}: " + (f"already at {after}" if before == after else f"brought from {before or 'nothing'} to {after}"))
    return OK


@db.command
def downgrade(revision: str, /, *, yes: bool = False, place: DatabaseOption | None = None, json: bool = False) -> int:
    """Take the database back to an older version, for an older perpkit; says what is lost, and does it only with --yes.

    Parameters
    ----------
    revision:
        The version, for example 0002, or base for none.
    yes:
        Lose what has no place in the older version.
    json:
        Print JSON.
    """
    from database import maintenance, migrate
    from database.errors import JournalBroken

    where = place or DatabaseOption()
    where.must_exist()
    at = maintenance.version(where.url).at
    if at is None:
        raise Failure(f"{where.shown} has no tables of ours")
    try:
        lost = migrate.losses(at, revision)
    except JournalBroken as e:
        raise Failure(str(e)) from None
    if not lost:
        raise Failure(f"{where.shown} is at {at} already")
    if not yes:
        raise Failure(f"going back from {at} to {revision} loses data ({' '.join(lost)})", hint="perpkit db backup first, then add --yes")
    after = maintenance.downgrade(where.url, revision).at
    if json:
        emit_json({"database": where.shown, "from": at, "to": after, "lost": lost})
    else:
        print(f"{where.shown}: taken back from {at} to {after or 'nothing'}")
    return OK


@db.command
def roll_up(*, place: DatabaseOption | None = None, json: bool = False) -> int:
    """Sum up the samples of every hour that has ended. The service does it by itself.

    Parameters
    ----------
    json:
        Print JSON.
    """
    from database.funding_store import FundingStore

    where = place or DatabaseOption()
    where.must_exist()
    with where.open() as database, _working("summing up hours", json):
        written = FundingStore(database).roll_up(time.time_ns())
    if json:
        emit_json({"database": where.shown, "hours_written": written})
    else:
        print(f"{where.shown}: {written:,} hours of markets are new or changed")
    return OK


@db.command
def retain(
    *, raw_days: int = 90, opportunity_days: int = 90, log_days: int = 30, place: DatabaseOption | None = None, json: bool = False
) -> int:
    """Delete what is too old: samples that are summed up by hour, opportunities, logs. The service does it by itself.

    Parameters
    ----------
    raw_days:
        Days for which every sample is kept; afterwards there is one row per hour, for good.
    opportunity_days:
        Days for which opportunities are kept.
    log_days:
        Days for which the log of collections is kept.
    json:
        Print JSON.
    """
    from database.funding_store import FundingStore

    if min(raw_days, opportunity_days, log_days) < 1:
        raise Failure("at least one day is kept")
    where = place or DatabaseOption()
    where.must_exist()
    with where.open() as database, _working("deleting what is too old", json):
        store = FundingStore(database)
        now_ns = time.time_ns()
        store.roll_up(now_ns)
        gone = store.retain(now_ns, raw_days=raw_days, opportunity_days=opportunity_days, log_days=log_days)
    if json:
        emit_json({"database": where.shown, "deleted": gone})
    else:
        kept = f"; {gone.kept:,} old samples stay, of hours that were summed up without them" if gone.kept else ""
        told = f"{gone.samples:,} samples, {gone.opportunities:,} opportunities, {gone.collections:,} log lines"
        print(f"{where.shown}: deleted {told}{kept}")
    return OK


@db.command
def backup(target: Path, /, *, place: DatabaseOption | None = None, json: bool = False) -> int:
    """Copy an SQLite database as it is at this moment, while bots and the service write to it. The copy is checked.

    Parameters
    ----------
    target:
        A file that does not exist yet.
    json:
        Print JSON.
    """
    from database import maintenance

    where = place or DatabaseOption()
    where.must_exist()
    if target.exists():
        raise Failure(f"{target} exists already", hint="name another file")
    with _working("copying", json):
        size_bytes = maintenance.backup(where.url, target)
    if json:
        emit_json({"database": where.shown, "backup": str(target), "bytes": size_bytes})
    else:
        print(f"{target}: {_bytes(size_bytes)}, whole; to use it: --database {target}")
    return OK


@db.command
def check(*, place: DatabaseOption | None = None, json: bool = False) -> int:
    """Read all of the database and say what is wrong with it: damage, rows that point at nothing, figures that disagree.

    Parameters
    ----------
    json:
        Print JSON.
    """
    from database.maintenance import problems

    where = place or DatabaseOption()
    with where.open(read_only=True) as database, _working("reading everything", json):
        found = problems(database)
    if json:
        emit_json({"database": where.shown, "ok": not found, "problems": found})
    else:
        print(f"{where.shown}: whole" if not found else "\n".join(f"{where.shown}: {problem}" for problem in found))
    return WRONG if found else OK


def _working(what: str, json: bool) -> Any:
    """Something that moves, where a person watches."""
    return nullcontext() if json else terminal().status(what)


def _bytes(count: int | None) -> str:
    if count is None:
        return "-"
    for limit, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= limit:
            return f"{count / limit:.1f} {unit}"
    return f"{count} B"
