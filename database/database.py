"""A database for many threads: pooled readers, writers one at a time, each `with` block one transaction."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

from . import migrate
from .connect import POSTGRES, Place, Use, error_of, file_of, make_engine, parse, shown
from .errors import JournalBroken, JournalBusy, JournalReadOnly

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine

READERS = 8


class Database:
    """One database behind a URL. Calls block: asynchronous callers go through `Offload`."""

    def __init__(self, reader: "Engine", writer: "Engine | None", url: "URL", *, busy_timeout_s: float) -> None:
        self._reader, self._writer = reader, writer
        self._busy_timeout_s = busy_timeout_s
        self._turn = threading.Lock()
        self.shown = shown(url)
        """The URL without password, or the file."""
        file = file_of(url)
        self.path = None if file is None else Path(file)
        """The file of an SQLite database."""
        self._place: Place | None = None

    @classmethod
    def open(cls, url: str, *, read_only: bool = False, busy_timeout_s: float = 5.0) -> Self:
        """Open the database; a writer makes it or brings its schema forward.

        Args:
            busy_timeout_s: how long a writer waits for another one.

        Raises:
            JournalError: it cannot be used, with the reason in one line.
        """
        from sqlalchemy.pool import QueuePool

        parsed = parse(url)
        postgres = parsed.get_backend_name() == POSTGRES
        if not postgres and file_of(parsed) is None:
            raise JournalBroken("a database in memory cannot be shared by its readers and its writer: name a file")
        sizes = {"pool_size": READERS, "max_overflow": READERS} | ({"pool_pre_ping": True} if postgres else {})
        writer = None
        if not read_only:
            writer = make_engine(parsed, Use.WRITE, read_only=False, busy_timeout_s=busy_timeout_s, pool=QueuePool, **sizes)
        reader = writer if postgres and writer else None
        if reader is None:
            reader = make_engine(parsed, Use.READ, read_only=read_only, busy_timeout_s=busy_timeout_s, pool=QueuePool, **sizes)
        database = cls(reader, writer, parsed, busy_timeout_s=busy_timeout_s)
        try:
            database._check_schema()
            database._place = None if database.path is None else Place(database.path)
        except BaseException:
            database.close()
            raise
        return database

    def _check_schema(self) -> None:
        if self._writer is not None:
            with self.write() as connection:
                migrate.upgrade(connection)
            return
        with self.read() as connection:
            at = migrate.current(connection)
        if at != migrate.HEAD:
            was = "has no tables of ours" if at is None else f"is of version {at}, this is {migrate.HEAD}"
            raise JournalBroken(f"{self.shown} {was}: `perpkit db upgrade` brings it forward")

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self._reader.dialect.name

    @contextmanager
    def read(self) -> Iterator["Connection"]:
        """A connection that sees one state and can write nothing.

        Raises:
            JournalError: the database cannot be read.
        """
        if self._place is not None:
            self._place.check()
        with error_of(self.shown), self._reader.connect() as connection:
            snapshot = {"postgresql_readonly": True, "isolation_level": "REPEATABLE READ"} if self.dialect == POSTGRES else {}
            with connection.execution_options(**snapshot).begin():
                yield connection

    @contextmanager
    def write(self) -> Iterator["Connection"]:
        """One transaction, committed at the end of the block or, on any error, undone.

        Raises:
            JournalError: nothing was written.
        """
        if self._writer is None:
            raise JournalReadOnly(f"{self.shown} was opened for reading")
        alone = self.dialect == "sqlite"
        if alone and not self._turn.acquire(timeout=self._busy_timeout_s):
            raise JournalBusy(f"{self.shown} stayed locked by another writer of this process")
        try:
            if self._place is not None:
                self._place.check()
            with error_of(self.shown), self._writer.begin() as connection:
                yield connection
        finally:
            if alone:
                self._turn.release()

    def close(self) -> None:
        """Give up all connections."""
        self._reader.dispose()
        if self._writer is not None:
            self._writer.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
