"""One engine process per journal, enforced by a lock that the operating system or the server drops when the process dies."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import JournalOwned, JournalReadOnly

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine


class OwnerLock:
    """An exclusive lock on `<database>.lock`, held until `release` or the death of the process."""

    def __init__(self, path: Path) -> None:
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as e:
            raise JournalReadOnly(f"{path} cannot be created: {e.strerror}; choose a folder that can be written") from e
        try:
            if sys.platform == "win32":
                import msvcrt

                msvcrt.locking(self._fd, msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            os.close(self._fd)
            raise JournalOwned(f"another process owns the journal ({path}); stop it first or use another state folder") from e

    def release(self) -> None:
        """Let another process own the journal."""
        os.close(self._fd)


class SessionLock:
    """Ownership on PostgreSQL: an advisory lock of the writer's own session, for the schema that it works in.

    It ends with the connection. One that was lost may be made again, and the lock taken again, only while nobody owned the journal
    in between: what this process remembers of it would be old. The last owner's session is written down for that.
    """

    LOCK = "SELECT pg_try_advisory_lock(hashtextextended('perpkit.journal ' || coalesce(current_schema(), ''), 0))"
    LAST = "SELECT value FROM strategy_state WHERE strategy = 'journal' AND account = '' AND key = 'owner'"
    FORGET = "DELETE FROM strategy_state WHERE strategy = 'journal' AND account = '' AND key = 'owner'"
    WRITE = """INSERT INTO strategy_state (strategy, account, key, version, value, updated_at)
        SELECT 'journal', '', 'owner', 1, pid || ' since ' || backend_start, '1970-01-01T00:00:00.000000000Z'
        FROM pg_stat_activity WHERE pid = pg_backend_pid() RETURNING value"""

    def __init__(self, engine: "Engine") -> None:
        from sqlalchemy import event

        self._session: str | None = None
        event.listen(engine, "connect", self._take)

    def claim(self, connection: "Connection") -> None:
        """Write down that this session is the owner; the tables must be there."""
        connection.exec_driver_sql(self.FORGET)
        self._session = str(connection.exec_driver_sql(self.WRITE).scalar_one())

    def _take(self, raw: Any, _record: object) -> None:
        try:
            with raw.cursor() as cursor:
                if not cursor.execute(self.LOCK).fetchone()[0]:
                    raise JournalOwned("another process owns the journal of this database and schema; stop it first or use another schema")
                if self._session is not None:
                    last = cursor.execute(self.LAST).fetchone()
                    if last is None or last[0] != self._session:
                        raise JournalOwned("the connection was lost and another process owned the journal since: stop this one")
                    cursor.execute(self.FORGET)
                    self._session = cursor.execute(self.WRITE).fetchone()[0]
            raw.commit()
        except BaseException:
            raw.close()
            raise

    def release(self) -> None:
        """The end of the connection is the end of the lock."""
