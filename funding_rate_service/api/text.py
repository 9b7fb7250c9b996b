"""Figures and times as the API writes them: plain decimals, UTC with `Z`."""

from datetime import UTC, datetime
from decimal import Context, Decimal
from functools import lru_cache

from exchange_clients.model import NS_PER_MS, NS_PER_S

DERIVED = Context(prec=15)
"""What is calculated from given figures carries so many significant digits; what a venue said is never rounded."""


def plain(value: Decimal) -> str:
    """All digits, no exponent."""
    return format(value, "f")


def derived(value: Decimal) -> str:
    """To 15 significant digits, without trailing zeros."""
    rounded = DERIVED.plus(value)
    if not rounded:
        return "0"
    text = format(rounded, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def plain_or_none(value: Decimal | None) -> str | None:
    return None if value is None else plain(value)


def derived_or_none(value: Decimal | None) -> str | None:
    return None if value is None else derived(value)


@lru_cache(4096)
def _second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def iso(ts_ns: int) -> str:
    """`2026-11-21T20:48:06.123Z`."""
    seconds, rest = divmod(ts_ns, NS_PER_S)
    return f"{_second(seconds)}.{rest // NS_PER_MS:03d}Z"


def iso_or_none(ts_ns: int | None) -> str | None:
    return None if ts_ns is None else iso(ts_ns)
