"""Hyperliquid's number formats: exact decimal strings on the wire, prices of at most five significant figures.

Source: dossier 3.2; https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/tick-and-lot-size, read 2026-11.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

PERP_DECIMALS: Final = 6
MAX_WIRE_DECIMALS: Final = 8
SIGNIFICANT_FIGURES: Final = 5


def wire_number(value: Decimal) -> str:
    """The canonical string the venue re-serialises to: no exponent, no trailing zeros, "0" and never "-0".

    Raises:
        ValueError: not finite, or more than 8 decimals (the venue answers 422; rounding here would change the order).
    """
    if not value.is_finite():
        raise ValueError(f"{value} is no number for the wire")
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    if len(text.partition(".")[2]) > MAX_WIRE_DECIMALS:
        raise ValueError(f"{value} has more than {MAX_WIRE_DECIMALS} decimals")
    return "0" if text in ("-0", "") else text


def round_price(price: Decimal, size_decimals: int, rounding: str = ROUND_HALF_EVEN, *, max_decimals: int = PERP_DECIMALS) -> Decimal:
    """The nearest price the venue accepts, in the direction of `rounding` (a `decimal` rounding mode).

    At most `max_decimals - size_decimals` decimals and at most five significant figures; integers are always allowed.
    """
    step = price_step(price, size_decimals, max_decimals=max_decimals)
    return (price / step).to_integral_value(rounding) * step


def price_step(price: Decimal, size_decimals: int, *, max_decimals: int = PERP_DECIMALS) -> Decimal:
    """Distance between acceptable prices around `price`: it grows tenfold at every power of ten, up to 1."""
    decimals = max(0, min(max_decimals - size_decimals, SIGNIFICANT_FIGURES - 1 - price.adjusted()))
    return Decimal(1).scaleb(-decimals)
