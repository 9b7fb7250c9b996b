"""Engines and connections: SQLite set up to lose nothing, PostgreSQL through psycopg, and their errors in one clear line each."""

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import JournalBroken, JournalBusy, JournalConflict, JournalError, JournalFull, JournalReadOnly, JournalUnreachable
from .owner import SessionLock

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine, Pool

POSTGRES = "postgresql"
PATIENCE = {"connect_timeout": 10, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 20_000}
"""How long a silent network is believed (libpq; seconds, the last in ms)."""


class Use(Enum):
    """What a connection is for. WRITE takes SQLite's write lock at its beginning, so that it never fails half way for being late."""

    READ = "read"
    WRITE = "write"
    JOURNAL = "journal"


@dataclass(frozen=True, slots=True)
class Opened:
    """A connection, its database for human eyes and, for an SQLite file, where it is."""

    connection: "Connection"
    shown: str
    path: Path | None
    lock: "SessionLock | None" = None


def sqlite_url(path: Path) -> str:
    """The URL of an SQLite file."""
    return f"sqlite:///{path.absolute().as_posix()}"


def parse(url: str) -> "URL":
    """A database URL as SQLAlchemy reads it; `postgres://` and `postgresql://` mean psycopg 3.

    Raises:
        JournalBroken: it is none, or of a database that is not supported. The URL is not repeated: it may hold a password.
    """
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as e:
        raise JournalBroken("not a database URL: write sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE") from e
    if parsed.drivername in ("postgres", POSTGRES):
        parsed = parsed.set(drivername=f"{POSTGRES}+psycopg")
    if parsed.drivername not in ("sqlite", f"{POSTGRES}+psycopg"):
        raise JournalBroken(f"{parsed.drivername} is not a database that can be used here: write sqlite:///FILE or postgresql://...")
    return parsed


def shown(url: "URL") -> str:
    """A URL for human eyes, without its password."""
    return file_of(url) or url.set(drivername=url.get_backend_name(), query={}).render_as_string(hide_password=True)


def file_of(url: "URL") -> str | None:
    """The file of an SQLite database; None for one in memory or on a server."""
    return url.database if url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:") else None


class Place:
    """Where an SQLite file is. One that is removed or replaced while it is open takes writes as before, and nobody sees them again."""

    def __init__(self, path: Path) -> None:
        self._path, self._file = path.absolute(), _identity(path)

    def check(self) -> None:
        """Raises JournalBroken when the file is no longer the one that was opened."""
        if _identity(self._path) != self._file:
            raise JournalBroken(f"{self._path} was removed or replaced while it was in use: put it back, or not, and start again")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def make_engine(url: "URL", use: Use, *, read_only: bool, busy_timeout_s: float, pool: "type[Pool]", **sizes: int) -> "Engine":
    """An engine whose connections are set up for their use. Statements' parameters appear in no error.

    Raises:
        JournalError: a file that is not there, a folder that cannot be made, a driver that is not installed.
    """
    from sqlalchemy import create_engine

    postgres = url.get_backend_name() == POSTGRES
    if not postgres:
        url = _place(url, read_only=read_only)
    arguments: dict[str, Any] = dict(PATIENCE) if postgres else {"timeout": busy_timeout_s, "check_same_thread": False}
    try:
        engine = create_engine(
            url, poolclass=pool, connect_args=arguments, hide_parameters=True, execution_options={"preserve_rowcount": True}, **sizes
        )
    except ModuleNotFoundError as e:
        raise JournalBroken('PostgreSQL needs psycopg: pip install "perpkit[postgres]"') from e
    if postgres:
        _set_up_postgres(engine, read_only=read_only, busy_timeout_s=busy_timeout_s)
    else:
        _set_up_sqlite(engine, use, read_only=read_only)
    return engine


def _place(url: "URL", *, read_only: bool) -> "URL":
    file = file_of(url)
    if file is None:
        return url
    path = Path(file)
    if read_only:
        if not path.exists():
            raise JournalReadOnly(f"there is no database at {path}")
        return url.set(database=f"file:{path.absolute().as_posix()}").update_query_dict({"mode": "ro", "uri": "true"})
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as e:
        raise JournalReadOnly(f"the folder of the database cannot be created: {e}") from e
    with suppress(OSError):  # what the driver says of it is told when it connects
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))  # its owner's alone, and so are the files beside it
    return url


def _set_up_sqlite(engine: "Engine", use: Use, *, read_only: bool) -> None:
    from sqlalchemy import event

    @event.listens_for(engine, "connect")
    def set_up(raw: sqlite3.Connection, _record: object) -> None:
        raw.isolation_level = None
        if not read_only:
            raw.execute("PRAGMA journal_mode=WAL")
            raw.execute("PRAGMA synchronous=FULL")
        raw.execute("PRAGMA foreign_keys=ON")
        if use is not Use.JOURNAL:
            raw.execute("PRAGMA cache_size=-65536")
        if use is Use.READ:
            raw.execute("PRAGMA query_only=ON")

    @event.listens_for(engine, "begin")
    def begin(connection: "Connection") -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if use is Use.WRITE else "BEGIN")


def _set_up_postgres(engine: "Engine", *, read_only: bool, busy_timeout_s: float) -> None:
    from sqlalchemy import event

    @event.listens_for(engine, "connect")
    def set_up(raw: Any, _record: object) -> None:
        with raw.cursor() as cursor:
            cursor.execute(f"SET lock_timeout = {max(1, round(busy_timeout_s * 1000))}")
            if read_only:
                cursor.execute("SET default_transaction_read_only = on")
        raw.commit()


def connect(url: str, *, read_only: bool = False, own: bool = False, busy_timeout_s: float = 5.0) -> Opened:
    """One connection for one user, that of a journal.

    Args:
        own: on PostgreSQL, as the journal's one owner (an SQLite file has its lock beside it).

    Raises:
        JournalError: it cannot be opened.
    """
    from sqlalchemy.pool import StaticPool

    parsed = parse(url)
    engine = make_engine(parsed, Use.JOURNAL, read_only=read_only, busy_timeout_s=busy_timeout_s, pool=StaticPool)
    lock = SessionLock(engine) if own and engine.dialect.name == POSTGRES else None
    file, name = file_of(parsed), shown(parsed)
    with error_of(name):
        return Opened(engine.connect(), name, None if file is None else Path(file), lock)


@contextmanager
def error_of(what: str) -> Iterator[None]:
    """Turn the database driver's errors into ours."""
    from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, InterfaceError, OperationalError, StatementError, TimeoutError

    try:
        yield
    except (IntegrityError, DataError) as e:
        raise JournalConflict(f"{what}: {_line(e.orig)}") from e
    except DBAPIError as e:
        raise _classify(e.orig or e, what, link=isinstance(e, OperationalError | InterfaceError)) from e
    except StatementError as e:  # a value that no column takes
        raise JournalConflict(f"{what}: {_line(e.orig)}") from e
    except TimeoutError as e:
        raise JournalBusy(f"{what}: all connections are in use") from e
    except sqlite3.Error as e:
        raise _classify(e, what, link=False) from e


def _line(error: object) -> str:
    return " ".join(str(error).split())


def _classify(error: BaseException, what: str, *, link: bool) -> JournalError:
    """`link`: an error of the connection, unless the server gave it a code."""
    text = _line(error)
    if isinstance(error, sqlite3.Error):
        return _classify_sqlite(text, what)
    state = getattr(error, "sqlstate", None) or ""
    if (link and not state) or re.match("08|57P0", state):
        return JournalUnreachable(f"{what} cannot be reached ({text})")
    match state:
        case "25006" | "42501":
            return JournalReadOnly(f"{what} cannot be written ({text}); check the rights of the user")
        case "53100":
            return JournalFull(f"{what}: no space left ({text}); free some and start again, nothing was half written")
        case "55P03" | "40P01" | "40001" | "53300":
            return JournalBusy(f"{what} stayed locked by another process ({text})")
    return JournalBroken(f"{what}: {text}")


def _classify_sqlite(text: str, what: str) -> JournalError:
    words = text.lower()
    if "readonly" in words or "read-only" in words or "unable to open database file" in words:
        return JournalReadOnly(f"{what} cannot be written ({text}); check the permissions of the file and its folder")
    if "full" in words or "quota" in words:
        return JournalFull(f"{what}: no space left ({text}); free some and start again, nothing was half written")
    if "locked" in words or "busy" in words:
        return JournalBusy(f"{what} stayed locked by another process ({text})")
    return JournalBroken(f"{what}: {text}")
