"""Column types that keep money and time exact on every database."""

from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, Dialect, String, TypeDecorator

from .times import ns_to_text, text_to_ns

LONGEST = 80


def exact_text(value: Decimal) -> str:
    """A finite Decimal digit for digit, without an exponent.

    Raises:
        TypeError, ValueError: it is no Decimal, not finite, or too long to be kept.
    """
    if not isinstance(value, Decimal):
        raise TypeError(f"Decimal expected, got {type(value).__name__}")
    if not value.is_finite():
        raise ValueError(f"not a finite amount: {value}")
    text = str(value)
    if "E" in text:
        text = format(value, "f")
    if len(text) > LONGEST:
        raise ValueError(f"an amount of more than {LONGEST} characters: {value}")
    return text


def epoch_ns(value: int) -> int:
    """A time that fits a 64-bit column.

    Raises:
        ValueError: it does not, or is no int.
    """
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise ValueError(f"not a time in nanoseconds since 1970: {value!r}")
    return value


class DecimalText(TypeDecorator[Decimal]):
    """A finite Decimal kept digit for digit (`1.10` stays `1.10`); arithmetic belongs to Python, not to SQL."""

    impl = String(LONGEST)
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> str | None:
        return None if value is None else exact_text(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        return None if value is None else Decimal(value)


class UtcNs(TypeDecorator[int]):
    """An int of nanoseconds since 1970 UTC in Python, zoned ISO 8601 text with nine decimals in the database."""

    impl = String(30)
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> str | None:
        return None if value is None else ns_to_text(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> int | None:
        return None if value is None else text_to_ns(value)


class EpochNs(TypeDecorator[int]):
    """An int of nanoseconds since 1970 UTC, as a number: for tables of many rows. Years 1970 to 2262."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> int | None:
        return None if value is None else epoch_ns(value)
