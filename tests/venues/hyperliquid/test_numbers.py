"""Numbers as the wire wants them."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange_clients.hyperliquid.client.utils.helpers import wire_number


@given(value=st.decimals(min_value=-(10**9), max_value=10**9, places=8))
def test_wire_numbers_are_canonical_and_lossless(value: Decimal) -> None:
    text = wire_number(value)
    assert Decimal(text) == value
    assert "E" not in text
    assert "e" not in text
    assert text != "-0"
    assert "." not in text or text[-1] not in ".0"


@pytest.mark.parametrize(
    ("value", "text"),
    [("0.0001", "0.0001"), ("1E-8", "0.00000001"), ("100.0", "100"), ("1670.1", "1670.1"), ("1E+5", "100000"), ("-0", "0"), ("-0.00", "0")],
)
def test_wire_number_examples(value: str, text: str) -> None:
    assert wire_number(Decimal(value)) == text


@pytest.mark.parametrize("value", ["0.000012312312", "NaN", "Infinity", "1E-9"])
def test_what_cannot_be_said_exactly_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=value.replace("+", r"\+")):
        wire_number(Decimal(value))
