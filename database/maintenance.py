"""Looking after a database: its version, its size, a copy of it, whether it is whole."""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from . import migrate
from .connect import connect, error_of, file_of, parse, shown
from .errors import JournalBroken, JournalReadOnly
from .owner import OwnerLock

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from .database import Database


SCHEMA_BYTES = """SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND n.nspname = current_schema()"""


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """The schema of a database (None: it has none of our tables) beside the newest."""

    at: str | None
    newest: str


@contextmanager
def bare(url: str, *, read_only: bool = False, own: bool = False) -> Iterator["Connection"]:
    """One transaction on a database of any version.

    Args:
        own: fail while a bot owns a journal there.

    Raises:
        JournalError: it cannot be opened.
    """
    opened = connect(url, read_only=read_only, own=own)
    with contextlib.ExitStack() as stack:
        stack.callback(opened.connection.engine.dispose)
        stack.callback(opened.connection.close)
        if own and opened.path is not None:
            stack.callback(OwnerLock(opened.path.with_name(opened.path.name + ".lock")).release)
        stack.enter_context(error_of(opened.shown))
        stack.enter_context(opened.connection.begin())
        yield opened.connection


def version(url: str) -> Version:
    """Which schema a database has."""
    with bare(url, read_only=True) as connection:
        return Version(at=migrate.current(connection), newest=migrate.HEAD)


def downgrade(url: str, revision: str) -> Version:
    """Take the schema back, whatever is lost with it (`migrate.losses`).

    Raises:
        JournalError: it cannot be opened, a bot owns it, or there is no such version below the present one.
    """
    with bare(url, own=True) as connection:
        migrate.downgrade(connection, revision)
        return Version(at=migrate.current(connection), newest=migrate.HEAD)


def size(connection: "Connection") -> int:
    """Bytes of the whole database, of the schema on a server."""
    if connection.dialect.name == "sqlite":
        pages, page = (connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in ("page_count", "page_size"))
        return int(pages) * int(page)
    return int(connection.exec_driver_sql(SCHEMA_BYTES).scalar_one())


def backup(url: str, target: Path) -> int:
    """Copy an SQLite database as it is at one moment, while others write to it; the bytes of the copy, which is checked.

    Raises:
        JournalError: it is on a server (its own tools do it), the target exists, or one of the two fails.
    """
    file = file_of(parse(url))
    if file is None:
        name = shown(parse(url))
        raise JournalBroken(f"{name} is on a server, whose own tool copies it: pg_dump --format=custom --file {target} {name}")
    if target.exists():
        raise JournalReadOnly(f"{target} exists already; name another file")
    if not Path(file).exists():
        raise JournalReadOnly(f"there is no database at {file}")
    partial = target.with_name(target.name + ".partial")
    with error_of(str(target)), contextlib.closing(_opened(partial)) as copy:
        with contextlib.closing(sqlite3.connect(f"file:{Path(file).absolute().as_posix()}?mode=ro", uri=True)) as source:
            source.backup(copy)
        answer = copy.execute("PRAGMA integrity_check").fetchone()[0]
    if answer != "ok":
        raise JournalBroken(f"the copy is damaged, as {file} may be ({answer}): perpkit db check")
    os.replace(partial, target)
    return target.stat().st_size


def _opened(path: Path) -> sqlite3.Connection:
    """A new, empty file that only its owner reads."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_RDWR, 0o600))
    except OSError as e:
        raise JournalReadOnly(f"{path} cannot be created: {e.strerror}") from e
    return sqlite3.connect(path)


def problems(database: "Database") -> list[str]:
    """What is wrong with a database; nothing, if all is well. Reads all of it."""
    found: list[str] = []
    with database.read() as connection:
        if database.dialect == "sqlite":
            answers = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
            found += [f"damaged: {answer}" for answer in answers if answer != "ok"]
            broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
            found += [f"{row[0]}: a row points at nothing in {row[2]}" for row in broken]
        late = connection.exec_driver_sql(
            "SELECT m.instrument FROM venue_symbols m LEFT JOIN latest_funding_rates l ON l.market_id = m.market_id WHERE "
            "(SELECT max(observed_at) FROM funding_rates f WHERE f.market_id = m.market_id) > coalesce(l.observed_at, 0)"
        )
        found += [f"{instrument}: its latest sample is not its newest" for instrument in late.scalars()]
        gone = connection.exec_driver_sql(
            "SELECT m.instrument FROM venue_symbols m WHERE m.rolled_until IS NULL AND "
            "EXISTS (SELECT 1 FROM funding_rates f WHERE f.market_id = m.market_id)"
        )
        found += [f"{instrument}: its samples would never be rolled up" for instrument in gone.scalars()]
    return found
