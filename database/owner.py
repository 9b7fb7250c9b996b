"""One engine process per journal, enforced by a lock that the operating system drops when the process dies."""

import os
import sys
from pathlib import Path

from .errors import JournalOwned, JournalReadOnly


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
