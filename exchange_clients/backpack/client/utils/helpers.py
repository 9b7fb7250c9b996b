"""Backpack's numbers: plain decimal text."""

from __future__ import annotations

from decimal import Decimal


def wire_number(value: Decimal) -> str:
    """Without exponent and without trailing zeros: what is signed is what is sent."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
