"""What may say no to an order before it exists: limits, breakers, halts. Only ever asked about what adds to a position (E18)."""

from decimal import Decimal
from typing import Protocol

import msgspec

from exchange_clients.model import Instrument, Purpose, Side


class OrderCheck(msgspec.Struct, frozen=True, kw_only=True):
    """An order that somebody wants to send; `owner` is the id of the pair or holding, `price` its worst, None at market.

    `client_order_id` is empty where a whole position is asked about instead of one order.
    """

    venue: str
    instrument: Instrument
    side: Side
    quantity: Decimal
    price: Decimal | None
    reduce_only: bool
    purpose: Purpose
    owner: str
    client_order_id: str = ""


class Guard(Protocol):
    """Asked by engine and desk; answers at once, from what it knows, with the reason for a no."""

    def entry_block(self, *venues: str) -> str | None:
        """Why nothing may be entered on these venues (none given: anywhere), or None."""
        ...

    async def admit(self, *legs: OrderCheck) -> str | None:
        """Why a position may not be opened, or None: all its legs at once and in full, before anything is recorded. May ask the venues."""
        ...

    def order_block(self, order: OrderCheck) -> str | None:
        """Why this order may not be sent, or None. Asked before its intent is journaled."""
        ...


class _Open:
    def entry_block(self, *venues: str) -> str | None:
        return None

    async def admit(self, *legs: OrderCheck) -> str | None:
        return None

    def order_block(self, order: OrderCheck) -> str | None:
        return None


NO_GUARD: Guard = _Open()
"""Lets everything pass."""
