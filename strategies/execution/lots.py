"""How much: a base quantity that is exact on both venues, above both minima, and can be closed on both."""

from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from fractions import Fraction
from math import gcd, lcm

from exchange_clients.model import Instrument

CLOSABLE_MARGIN = Decimal("1.5")
"""A lot must be worth this multiple of the minimum notional, so that it can still be closed after the price fell by a third."""


@dataclass(frozen=True, slots=True)
class LotRefused(Exception):
    """No quantity fits; `rule` names the limit, `detail` says the figures."""

    rule: str
    detail: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.detail}"


def common_step(a: Decimal, b: Decimal) -> Decimal:
    """The smallest quantity that is a whole number of both steps.

    Raises:
        LotRefused: a step is not positive.
    """
    if a <= 0 or b <= 0:
        raise LotRefused("step", f"steps must be positive, got {a} and {b}")
    x, y = Fraction(a), Fraction(b)
    both = Fraction(lcm(x.numerator, y.numerator), gcd(x.denominator, y.denominator))
    return Decimal(both.numerator) / Decimal(both.denominator)


def floor_to(quantity: Decimal, step: Decimal) -> Decimal:
    """`quantity` rounded down (towards zero) to a multiple of `step`."""
    return (quantity / step).to_integral_value(ROUND_DOWN) * step


def tradable(instrument: Instrument, quantity: Decimal, price: Decimal | None) -> bool:
    """Whether an order of that size, not reduce-only, is above the venue's minima; without a price only the quantity is compared."""
    if quantity <= 0 or quantity < instrument.min_quantity:
        return False
    return price is None or quantity * price >= instrument.min_notional


def common_lot(wanted: Decimal, long: Instrument, short: Instrument, *, long_price: Decimal, short_price: Decimal) -> Decimal:
    """The largest quantity not above `wanted` that both venues accept exactly, to open and later to close (E23).

    Raises:
        LotRefused: there is none; nothing is ever rounded up.
    """
    for instrument in (long, short):
        if instrument.id.inverse:
            raise LotRefused("inverse", f"the quantity of {instrument.id} is in quote currency")
    if not wanted.is_finite() or wanted <= 0:
        raise LotRefused("quantity", f"wanted {wanted}")
    step = common_step(long.step_size, short.step_size)
    quantity = floor_to(wanted, step)
    for limit in (long.max_quantity, short.max_quantity):
        if limit is not None:
            quantity = min(quantity, floor_to(limit, step))
    if quantity <= 0:
        raise LotRefused("step", f"{wanted} is below the common step {step}")
    for instrument, price in ((long, long_price), (short, short_price)):
        if price <= 0:
            raise LotRefused("price", f"{instrument.id} has no price")
        if quantity < instrument.min_quantity:
            raise LotRefused("min_quantity", f"{quantity} is below {instrument.min_quantity} of {instrument.id}")
        if quantity * price < instrument.min_notional * CLOSABLE_MARGIN:
            raise LotRefused(
                "min_notional",
                f"{quantity} is worth {quantity * price:.2f}, {instrument.id} needs {CLOSABLE_MARGIN} x {instrument.min_notional}",
            )
    return quantity
