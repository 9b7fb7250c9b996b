"""Numbers from the wire, checked: what a venue cannot have meant is a `DecodeError`, never a zero."""

from __future__ import annotations

from decimal import Decimal

from exchange_clients.errors import DecodeError
from exchange_clients.model import MAX_EXPONENT, Instrument


class WireNumbers:
    """Of one venue, whose name its errors carry. `what` names the field."""

    def __init__(self, venue: str) -> None:
        self._venue = venue

    def number(self, value: Decimal | None, what: str) -> Decimal:
        """A finite number of a size that something may have."""
        if value is None or not value.is_finite() or (value and abs(value.adjusted()) > MAX_EXPONENT):
            raise DecodeError(f"{what} is {value}", venue=self._venue)
        return value

    def price_of(self, value: Decimal | None, instrument: Instrument, what: str = "price") -> Decimal:
        """A positive wire price as quote per base unit."""
        price = self.number(value, what)
        if price <= 0:
            raise DecodeError(f"{what} of {instrument.venue_symbol} is {price}", venue=self._venue)
        return instrument.from_venue_price(price)

    def signed_size_of(self, value: Decimal | None, instrument: Instrument, what: str = "size") -> Decimal:
        """A wire size that has a direction, in base units."""
        return instrument.from_venue_size(self.number(value, what))

    def size_of(self, value: Decimal | None, instrument: Instrument, what: str = "size") -> Decimal:
        """A wire size that cannot be negative, in base units."""
        size = self.signed_size_of(value, instrument, what)
        if size < 0:
            raise DecodeError(f"{what} of {instrument.venue_symbol} is {value}", venue=self._venue)
        return size
