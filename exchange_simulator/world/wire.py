"""The format of recordings: every frame of a client's public sockets as it came off the wire, and what is needed to hear them again.

A recording is a text of JSON lines, plain while it is written and gzip when it is finished; docs/recording.md describes it. Lines stand in
the order in which the client was affected. `msg` is the venue's own text, byte for byte; a frame that is not JSON on one line stands in
`text`, a binary one in `data` (base64).
"""

from __future__ import annotations

import base64
import gzip
import zlib
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from exchange_clients.model import Instrument, InstrumentId
from exchange_clients.nesting import bounded_nesting
from exchange_clients.spec import Stream
from exchange_clients.subscriptions import Topic

FORMAT = "perpkit-recording/1"
SUFFIXES = (".jsonl", ".jsonl.gz")
MAX_LINE = 64 * 1024 * 1024
"""Bytes: no answer of a venue is near it, and a small gzip file may hold a line that fills the memory."""


class Kind(StrEnum):
    """What a line tells."""

    HEADER = "header"
    """First line: format, venue, environment, configuration, markets, streams, number of the part."""
    HTTP_RESPONSE = "http_response"
    """The body of a successful answer, at the moment when the client got it."""
    INSTRUMENTS = "instruments"
    """The venue's table as this library understood it."""
    WS_CONNECT = "ws_connect"
    WS_SEND = "ws_send"
    """A message of ours; the first of a batch names the topics it is for and whether they were subscribed or dropped."""
    WS_RECV = "ws_recv"
    WS_CONFIRMED = "ws_confirmed"
    """A topic of a venue that acknowledges nothing counts as confirmed from here on."""
    WS_LOST = "ws_lost"
    READY = "ready"
    """Every book stood; the part before this one ends here."""
    END = "end"


class TopicRef(msgspec.Struct, frozen=True, omit_defaults=True):
    """A topic by what it carries; the venue's own name is made from it again."""

    stream: Stream
    instrument: str = ""
    parameter: str = ""

    @classmethod
    def of(cls, topic: Topic) -> TopicRef:
        return cls(topic.stream, str(topic.instrument) if topic.instrument is not None else "", topic.parameter)


class Header(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was recorded, and how the client was set. `settings` go into the client that hears the recording."""

    format: str
    venue: str
    environment: str
    instruments: tuple[str, ...]
    streams: tuple[Stream, ...]
    settings: dict[str, Any] = {}
    session: str = ""
    part: int = 0
    made_by: str = ""


class Line(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One line. Times in ns UTC by the recorder's clock."""

    t_ns: int
    kind: Kind
    role: str = ""
    msg: msgspec.Raw = msgspec.Raw()
    text: str | None = None
    data: str | None = None
    url: str = ""
    method: str = ""
    sent: str = ""
    """Body of the request, its bytes as Latin-1."""
    topics: tuple[TopicRef, ...] = ()
    op: str = ""
    reason: str = ""
    header: Header | None = None
    instruments: tuple[Instrument, ...] = ()

    @property
    def payload(self) -> str | bytes:
        """The frame, or the body of an answer, as it came."""
        if self.data is not None:
            return base64.b64decode(self.data)
        return self.text if self.text is not None else bytes(self.msg).decode()

    @property
    def body(self) -> bytes:
        """The payload as bytes."""
        payload = self.payload
        return payload.encode() if isinstance(payload, str) else payload


class WireError(ValueError):
    """A file is no recording, or is broken in its middle: where and why, in one line."""


_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Line)
_any_json = msgspec.json.Decoder(msgspec.Raw)


def line_with(payload: str | bytes, *, t_ns: int, kind: Kind, role: str = "", **more: Any) -> Line:
    """A line that carries a payload so that it comes back byte for byte."""
    if isinstance(payload, str):
        raw = payload.encode()
        if _one_line_of_json(raw):
            return Line(t_ns=t_ns, kind=kind, role=role, msg=msgspec.Raw(raw), **more)
        return Line(t_ns=t_ns, kind=kind, role=role, text=payload, **more)
    return Line(t_ns=t_ns, kind=kind, role=role, data=base64.b64encode(payload).decode(), **more)


def body_line(body: bytes, *, t_ns: int, **more: Any) -> Line:
    """The line of an answer by request: text where it is text."""
    try:
        payload: str | bytes = body.decode()
    except UnicodeDecodeError:
        payload = body
    return line_with(payload, t_ns=t_ns, kind=Kind.HTTP_RESPONSE, **more)


def _one_line_of_json(raw: bytes) -> bool:
    if not raw or raw[:1].isspace() or raw[-1:].isspace() or b"\n" in raw or b"\r" in raw:
        return False
    try:
        with bounded_nesting():
            _any_json.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def encode(line: Line) -> bytes:
    """With its line end."""
    return _encode(line) + b"\n"


def decode(raw: bytes) -> Line:
    """Raises msgspec.DecodeError, or RecursionError for what nests without end."""
    with bounded_nesting():
        return _decoder.decode(raw)


def is_recording(path: Path) -> bool:
    """Whether the file begins as one."""
    try:
        with _open(path) as file:
            return f'"{FORMAT}"'.encode() in file.readline(4096)
    except (OSError, EOFError, zlib.error):
        return False


def _open(path: Path) -> Any:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")


def read(path: Path) -> Iterator[Line]:
    """The lines of one file. A last line that was not written whole (the recorder was killed) is left out.

    Raises:
        WireError: no recording, or a line in its middle cannot be read.
        OSError: the file cannot be opened.
    """
    number = 0
    try:
        with _open(path) as file:
            while raw := file.readline(MAX_LINE):
                number += 1
                if len(raw) == MAX_LINE:
                    raise WireError(f"{path}:{number}: the line is too long for a recording")
                if not raw.endswith(b"\n"):
                    if number == 1:
                        raise WireError(f"{path}: not a recording of the format {FORMAT}")
                    break  # cut off in the middle of a write
                line = decode(raw)
                if number == 1 and (line.header is None or line.header.format != FORMAT):
                    raise WireError(f"{path}: not a recording of the format {FORMAT}")
                yield line
    except (EOFError, zlib.error, gzip.BadGzipFile) as e:
        raise WireError(f"{path}:{number + 1}: the compressed file is broken: {e}") from e
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        if number == 1:
            raise WireError(f"{path}: not a recording of the format {FORMAT}") from e
        raise WireError(f"{path}:{number}: not a line of a recording: {e}") from e
    if not number:
        raise WireError(f"{path}: the file is empty")


def header_of(path: Path) -> Header:
    """Raises WireError or OSError as `read` does."""
    for line in read(path):
        if line.header is not None:
            return line.header
        break
    raise WireError(f"{path}: not a recording of the format {FORMAT}")


def parts_of(path: Path) -> list[Path]:
    """The files of one recording session, in order: those of a folder, or the one file given.

    Raises:
        WireError: no recording is there, or a folder holds several sessions.
        OSError: it cannot be read.
    """
    if not path.is_dir():
        if not path.exists():
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return [path]
    found: dict[str, dict[int, Path]] = {}
    for file in sorted(path.iterdir()):
        if file.name.endswith(SUFFIXES) and is_recording(file):
            header = header_of(file)
            found.setdefault(header.session, {}).setdefault(header.part, file)  # .jsonl sorts before its .jsonl.gz: the whole one wins
    if not found:
        raise WireError(f"{path}: the folder holds no recording")
    if len(found) > 1:
        raise WireError(f"{path}: the folder holds {len(found)} recordings ({', '.join(sorted(found))}): name the files of one")
    (parts,) = found.values()
    return [parts[number] for number in sorted(parts)]


def instrument_ids(names: Sequence[str]) -> list[InstrumentId]:
    return [InstrumentId.parse(name) for name in names]
