"""One collecting service per database: two would write everything twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from database.connect import Use, make_engine, parse
from database.database import Database
from database.errors import JournalOwned
from database.owner import OwnerLock

_TAKE = "SELECT pg_try_advisory_lock(hashtextextended('perpkit.service ' || coalesce(current_schema(), ''), 0))"


class AnotherService(Exception):
    """A service that collects into this database is running."""


@contextmanager
def only_service(database: Database, url: str) -> Iterator[None]:
    """Hold the database's collecting side until the block, or this process, ends.

    Raises:
        AnotherService: somebody else does.
    """
    if database.path is not None:
        try:
            lock = OwnerLock(database.path.with_name(database.path.name + ".service.lock"))
        except JournalOwned:
            raise AnotherService(database.shown) from None
        try:
            yield
        finally:
            lock.release()
        return
    from sqlalchemy.pool import StaticPool

    engine = make_engine(parse(url), Use.WRITE, read_only=False, busy_timeout_s=5.0, pool=StaticPool)
    try:
        with engine.connect() as connection:
            if not connection.exec_driver_sql(_TAKE).scalar_one():
                raise AnotherService(database.shown)
            connection.commit()
            yield
    finally:
        engine.dispose()
