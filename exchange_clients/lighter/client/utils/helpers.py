"""Our quantities and prices as the integers of a transaction."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from exchange_clients.errors import OrderDenied
from exchange_clients.model import Instrument

MAX_PRICE: Final = 2**32 - 1


def _whole(value: Decimal, unit: Decimal, highest: int, what: str) -> int:
    count = value / unit
    if count != count.to_integral_value() or not 1 <= count <= highest:
        raise OrderDenied(f"{what} {value} is not 1 to {highest} times {unit}", venue="lighter")
    return int(count)


def base_amount(quantity: Decimal, instrument: Instrument) -> int:
    return _whole(quantity, instrument.step_size, 2**48 - 1, "quantity")


def wire_price(price: Decimal, instrument: Instrument) -> int:
    return _whole(price, instrument.tick_size, MAX_PRICE, "price")


def usdc_amount(amount: Decimal) -> int:
    """Millionths of a USDC."""
    return _whole(amount, Decimal("0.000001"), 2**63 - 1, "amount")
