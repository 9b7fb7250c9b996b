"""The last resort of the journal: an append-only file whose space is taken in advance, so that a full disk does not stop it."""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from .errors import JournalBroken, JournalFull

SIZE = 1 << 20


def fallback_of(url: str, folder: Path) -> Path:
    """Where the fallback file of a journal is: beside an SQLite file, for a database on a server in a folder of this machine."""
    from .connect import file_of, parse

    parsed = parse(url)
    file = file_of(parsed)
    if file is not None:
        return Path(file + ".fallback")
    place = f"{parsed.host} {parsed.port} {parsed.database} {sorted(parsed.query.items())}"
    return folder / f"journal-{hashlib.sha256(place.encode()).hexdigest()[:12]}.fallback"


class FallbackFile:
    """JSON lines in a preallocated file, each on disk when `append` returns; emptied once its lines are in the database again.

    Not safe for two writers: the journal that owns it holds the owner lock.
    """

    def __init__(self, path: Path, *, size: int = SIZE) -> None:
        self._path = path
        existed = path.exists()
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self._size = size
        if not existed or os.fstat(self._fd).st_size < size:
            self._allocate()
        self._end = len(self._text())

    def _allocate(self) -> None:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(self._fd, 0, self._size)
        else:
            held = os.fstat(self._fd).st_size
            os.pwrite(self._fd, bytes(self._size - held), held)
        os.fsync(self._fd)

    def _text(self) -> bytes:
        data = os.pread(self._fd, max(self._size, os.fstat(self._fd).st_size), 0)
        end = data.find(b"\0")
        return data if end < 0 else data[:end]

    @property
    def empty(self) -> bool:
        """True when nothing waits to be moved into the database."""
        return self._end == 0

    def append(self, lines: list[Any]) -> None:
        """Write the values, one JSON line each, and wait for the disk.

        Raises:
            JournalFull: the prepared space is used up and no more can be had.
        """
        data = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
        self._write(data, self._end)
        self._end += len(data)

    def _write(self, data: bytes, at: int) -> None:
        with self._errors():
            view = memoryview(data)
            while view:
                n = os.pwrite(self._fd, view, at)
                view, at = view[n:], at + n
            os.fsync(self._fd)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as e:
            raise JournalFull(f"the fallback journal {self._path} cannot be written: {e.strerror}") from e

    def lines(self) -> list[Any]:
        """Everything appended and not cleared; a last line cut by a crash is dropped (its append never returned).

        Raises:
            JournalBroken: a complete line is not JSON.
        """
        complete = self._text().rpartition(b"\n")[0]
        try:
            return [msgspec.json.decode(line) for line in complete.split(b"\n") if line]
        except msgspec.DecodeError as e:
            raise JournalBroken(f"the fallback journal {self._path} is damaged: {e}") from e

    def set_aside(self, lines: list[Any]) -> None:
        """Keep lines that found no place in the database in a file beside this one, for a human.

        Raises:
            JournalFull: they cannot be kept; they stay where they are.
        """
        with self._errors(), open(self._path.with_name(self._path.name + ".rejected"), "ab") as rejected:
            rejected.writelines(msgspec.json.encode(line) + b"\n" for line in lines)
            rejected.flush()
            os.fsync(rejected.fileno())

    def clear(self) -> None:
        """Forget all lines, keeping the space.

        Raises:
            JournalFull: they cannot be forgotten; they will be taken into the database once more.
        """
        self._write(bytes(self._end), 0)
        self._end = 0

    def close(self) -> None:
        """Release the file."""
        with contextlib.suppress(OSError):
            os.close(self._fd)
