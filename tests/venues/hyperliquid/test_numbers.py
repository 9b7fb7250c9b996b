"""Wire numbers and the five-significant-figure rule: properties over every price a venue could show."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange_clients.hyperliquid.client.utils.helpers import price_step, round_price, wire_number

prices = st.decimals(min_value=Decimal("0.000001"), max_value=Decimal("9999999"), places=10, allow_nan=False, allow_infinity=False)
size_decimals = st.integers(0, 6)


def acceptable(price: Decimal, decimals: int) -> bool:
    """The rule as the venue words it, written a second way: from the digits of the number."""
    _, digits, exponent = price.normalize().as_tuple()
    assert isinstance(exponent, int)
    if exponent >= 0:
        return True
    return -exponent <= 6 - decimals and len(digits) <= 5


@given(price=prices, decimals=size_decimals, rounding=st.sampled_from([ROUND_FLOOR, ROUND_CEILING, ROUND_HALF_EVEN]))
def test_a_rounded_price_is_acceptable_near_and_on_the_right_side(price: Decimal, decimals: int, rounding: str) -> None:
    rounded = round_price(price, decimals, rounding)
    assert acceptable(rounded, decimals)
    assert abs(rounded - price) < price_step(price, decimals)
    if rounding == ROUND_FLOOR:
        assert rounded <= price
    if rounding == ROUND_CEILING:
        assert rounded >= price


@given(price=prices, decimals=size_decimals)
def test_rounding_is_idempotent_and_leaves_acceptable_prices_alone(price: Decimal, decimals: int) -> None:
    once = round_price(price, decimals)
    if once:
        assert round_price(once, decimals, ROUND_FLOOR) == round_price(once, decimals, ROUND_CEILING) == once
    if acceptable(price, decimals):
        assert once == price


@pytest.mark.parametrize(
    ("price", "decimals", "expected"),
    [
        ("97123.4", 5, "97123"),
        ("123456", 5, "123456"),
        ("123456.7", 0, "123457"),
        ("0.012345678", 1, "0.01235"),
        ("99999.6", 0, "100000"),
        ("9999.96", 0, "10000"),
        ("1670.15", 4, "1670.2"),
        ("0.0000007465", 0, "0.000001"),
    ],
)
def test_rounding_examples(price: str, decimals: int, expected: str) -> None:
    assert wire_number(round_price(Decimal(price), decimals)) == expected


def test_rounding_down_example_of_the_documentation() -> None:
    assert round_price(Decimal("0.012345678"), 1, ROUND_FLOOR) == Decimal("0.01234")


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
