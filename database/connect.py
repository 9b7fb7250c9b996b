"""Connections: SQLite set up for a journal, other databases by URL, and their errors in one clear line each."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import JournalBroken, JournalBusy, JournalConflict, JournalError, JournalFull, JournalReadOnly

if TYPE_CHECKING:
    from sqlalchemy import Connection


@dataclass(frozen=True, slots=True)
class Opened:
    """A connection and, for an SQLite file, where it is."""

    connection: "Connection"
    path: Path | None


def sqlite_url(path: Path) -> str:
    """The URL of an SQLite file."""
    return f"sqlite:///{path.absolute().as_posix()}"


def connect(url: str, *, read_only: bool = False, busy_timeout_s: float = 5.0) -> Opened:
    """One connection for one user; SQLite: WAL, every commit on disk, foreign keys on.

    Raises:
        JournalError: it cannot be opened.
    """
    from sqlalchemy import create_engine, event, make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError
    from sqlalchemy.pool import StaticPool

    try:
        parsed = make_url(url)
        lite = parsed.get_backend_name() == "sqlite"
        arguments: dict[str, Any] = {}
        path: Path | None = None
        if lite:
            arguments = {"timeout": busy_timeout_s, "check_same_thread": False}
            if parsed.database not in (None, "", ":memory:"):
                path = Path(str(parsed.database))
                if read_only:
                    if not path.exists():
                        raise JournalReadOnly(f"there is no database at {path}")
                    parsed = parsed.set(database=f"file:{path.absolute().as_posix()}").update_query_dict({"mode": "ro", "uri": "true"})
                else:
                    path.parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(parsed, poolclass=StaticPool, connect_args=arguments)
    except (ArgumentError, NoSuchModuleError) as e:
        raise JournalBroken(f"not a database URL that can be used here: {e}") from e
    except OSError as e:
        raise JournalReadOnly(f"the folder of the database cannot be created: {e}") from e
    if lite:

        @event.listens_for(engine, "connect")
        def set_up(raw: sqlite3.Connection, _record: object) -> None:
            raw.isolation_level = None
            if not read_only:
                raw.execute("PRAGMA journal_mode=WAL")
                raw.execute("PRAGMA synchronous=FULL")
            raw.execute("PRAGMA foreign_keys=ON")

        @event.listens_for(engine, "begin")
        def begin(connection: "Connection") -> None:
            connection.exec_driver_sql("BEGIN")

    with error_of(url):
        return Opened(engine.connect(), path)


@contextmanager
def error_of(what: str) -> Iterator[None]:
    """Turn the database driver's errors into ours."""
    from sqlalchemy.exc import DatabaseError, IntegrityError, InterfaceError

    try:
        yield
    except IntegrityError as e:
        raise JournalConflict(f"{what}: {e.orig}") from e
    except (DatabaseError, InterfaceError, sqlite3.Error) as e:
        raise _classify(str(getattr(e, "orig", e)), what) from e


def _classify(text: str, what: str) -> JournalError:
    words = text.lower()
    if "readonly" in words or "read-only" in words or "unable to open database file" in words:
        return JournalReadOnly(f"{what} cannot be written ({text}); check the permissions of the file and its folder")
    if "full" in words or "quota" in words:
        return JournalFull(f"{what}: no space left ({text}); free some and start again, nothing was half written")
    if "locked" in words or "busy" in words:
        return JournalBusy(f"{what} stayed locked by another process ({text})")
    return JournalBroken(f"{what}: {text}")
