"""Numbers as the venue writes them."""

from __future__ import annotations

from decimal import Decimal


def wire_number(value: Decimal) -> str:
    """Plain decimal text, no exponent and no trailing zeros."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
