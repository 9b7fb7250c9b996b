"""Paradex's number format: plain decimal text, at most eight decimals, as it is signed."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from exchange_clients.errors import OrderDenied

MAX_DECIMALS: Final = 8


def wire_number(value: Decimal) -> str:
    """No exponent, no trailing zeros.

    Raises:
        OrderDenied: finer than the venue can sign; cutting it would send another order.
    """
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    if not value.is_finite() or len(text.partition(".")[2]) > MAX_DECIMALS:
        raise OrderDenied(f"{value} has more than {MAX_DECIMALS} decimals", venue="paradex")
    return text
