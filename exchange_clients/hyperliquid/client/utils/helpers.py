"""Hyperliquid's number format: exact decimal strings that the venue would write the same way.

Source: dossier 3.2; https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/tick-and-lot-size, read 2026-11.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

MAX_DECIMALS: Final = 8


def wire_number(value: Decimal) -> str:
    """The canonical string: no exponent, no trailing zeros, "0" and never "-0".

    Raises:
        ValueError: not finite, or more than 8 decimals (the venue answers 422; rounding here would change the order).
    """
    if not value.is_finite():
        raise ValueError(f"{value} is no number for the wire")
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    if len(text.partition(".")[2]) > MAX_DECIMALS:
        raise ValueError(f"{value} has more than {MAX_DECIMALS} decimals")
    return "0" if text in ("-0", "") else text
