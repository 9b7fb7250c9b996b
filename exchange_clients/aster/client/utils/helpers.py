"""Aster's number format: plain decimals. An exponent ("1e-05") is refused by the venue."""

from __future__ import annotations

from decimal import Decimal


def wire_number(value: Decimal) -> str:
    """No exponent, no trailing zeros.

    Raises:
        ValueError: not finite.
    """
    if not value.is_finite():
        raise ValueError(f"{value} is no number for the wire")
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text
