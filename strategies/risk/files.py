"""Small files in the state folder that processes tell each other things by: whole or not at all, on disk when the call returns."""

import contextlib
import errno
import os
from pathlib import Path
from typing import Any

import msgspec


def put(path: Path, value: Any, *, sync: bool = True) -> None:
    """Replace the file by the value as JSON, atomically. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(handle, msgspec.json.encode(value))
        if sync:
            os.fsync(handle)
    finally:
        os.close(handle)
    os.replace(beside, path)
    if sync:
        _sync(path.parent)


def append(path: Path, value: Any) -> None:
    """Add the value as one line of JSON. Raises OSError, also when only a part of it could be written."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        line = msgspec.json.encode(value) + b"\n"
        if _torn(handle):
            line = b"\n" + line
        if os.write(handle, line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        os.fsync(handle)
    finally:
        os.close(handle)


def _torn(handle: int) -> bool:
    """The last line has no end: a crash cut it off."""
    end = os.lseek(handle, 0, os.SEEK_END)
    if not end:
        return False
    os.lseek(handle, end - 1, os.SEEK_SET)
    return os.read(handle, 1) != b"\n"


def lines(path: Path) -> list[bytes]:
    """The complete lines of a file, none when there is no file; those that a crash cut off are left out. Raises OSError."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return []
    return [line for line in text.rpartition(b"\n")[0].split(b"\n") if line and _whole(line)]


def _whole(line: bytes) -> bool:
    try:
        msgspec.json.decode(line, type=msgspec.Raw)
    except msgspec.DecodeError:
        return False
    return True


def remove(path: Path) -> bool:
    """Durably gone; False when it was not there. Raises OSError."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    _sync(path.parent)
    return True


def _sync(folder: Path) -> None:
    with contextlib.suppress(OSError):  # a file system that cannot do it has nothing to add
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
