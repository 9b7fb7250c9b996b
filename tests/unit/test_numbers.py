"""Numbers from the wire."""

from decimal import Decimal

import pytest

from exchange_clients.errors import DecodeError
from exchange_clients.numbers import WireNumbers


@pytest.mark.parametrize(
    "value", [None, Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), Decimal("-Infinity"), Decimal("1e40"), Decimal("1e-40")]
)
def test_e26_what_no_venue_can_have_meant_is_refused_by_name(value: Decimal | None) -> None:
    with pytest.raises(DecodeError, match="margin"):
        WireNumbers("toy").number(value, "margin")


@pytest.mark.parametrize("value", [Decimal(0), Decimal("-1.5"), Decimal("0.00000001"), Decimal("123456789.123")])
def test_e26_what_it_can_have_meant_stays_as_it_is(value: Decimal) -> None:
    assert str(WireNumbers("toy").number(value, "margin")) == str(value)
