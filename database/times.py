"""Nanosecond UTC times as text: exact, readable, and ordered like the numbers they stand for."""

from datetime import UTC, datetime

NS = 1_000_000_000


def ns_to_text(ts_ns: int) -> str:
    """`2026-11-21T11:19:20.123456789Z`; years 1970 to 9999."""
    if ts_ns < 0:
        raise ValueError(f"time before 1970: {ts_ns}")
    seconds, fraction = divmod(ts_ns, NS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"


def text_to_ns(text: str) -> int:
    """The exact inverse of `ns_to_text`.

    Raises:
        ValueError: not of that form.
    """
    if len(text) != 30 or text[19] != "." or text[29] != "Z":
        raise ValueError(f"not a UTC time with nanoseconds: {text!r}")
    if text[10] != "T":
        raise ValueError(f"not a UTC time with nanoseconds: {text!r}")
    seconds = datetime.fromisoformat(text[:19]).replace(tzinfo=UTC)
    return int(seconds.timestamp()) * NS + int(text[20:29])
