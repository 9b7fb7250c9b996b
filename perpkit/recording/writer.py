"""The file of a recording while it is made: plain lines, each written at once; compressed when it is finished."""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
from pathlib import Path

from exchange_simulator.world.wire import Line, encode

COPY_BYTES = 1 << 20
GZIP_LEVEL = 6


class RecordingWriter:
    """One part. Every line is one write of the operating system: a process that is killed loses the line it was writing, and no other."""

    def __init__(self, path: Path) -> None:
        """Raises FileExistsError when there is such a file; OSError when it cannot be made."""
        self.path = path
        self.bytes = 0
        self.lines = 0
        self.failed: OSError | None = None
        """Why nothing more is written."""
        self._fd: int | None = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def write(self, line: Line) -> None:
        """Nothing is raised into the socket that is being recorded: see `failed`."""
        if self._fd is None or self.failed is not None:
            return
        data = encode(line)
        try:
            written = os.write(self._fd, data)
            while written < len(data):
                written += os.write(self._fd, data[written:])
        except OSError as e:
            self.failed = OSError(e.errno, e.strerror, str(self.path))
            return
        self.bytes += len(data)
        self.lines += 1

    def close(self) -> None:
        """Nothing more is written; what was is on the disk. Blocks."""
        fd, self._fd = self._fd, None
        if fd is not None:
            try:
                os.fsync(fd)
            finally:
                os.close(fd)


def compress(path: Path) -> Path:
    """The finished file as gzip in the place of the plain one, which stays until the other is whole and on the disk. Blocks."""
    target, making = path.with_name(path.name + ".gz"), path.with_name(path.name + ".gz.part")
    with path.open("rb") as plain, making.open("wb") as raw:
        with gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=GZIP_LEVEL, mtime=0, filename=path.name) as packed:
            shutil.copyfileobj(plain, packed, COPY_BYTES)
        raw.flush()
        os.fsync(raw.fileno())
    making.replace(target)
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    return target
