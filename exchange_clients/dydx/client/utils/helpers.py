"""Our numbers as the chain's integers, times as the indexer writes them, and the names that the indexer gives to orders.

Source: dossier sections 5.2 and 5.4.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

import msgspec

from exchange_clients.dydx import messages as m
from exchange_clients.dydx.chain import OrderRef
from exchange_clients.errors import DecodeError, OrderDenied
from exchange_clients.model import NS_PER_S

_NAMESPACE: Final = uuid.UUID("0f9da948-a6fb-4c45-9edc-4685c3f3317d")
_QUOTE_DECIMALS: Final = 6
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Grid(msgspec.Struct, frozen=True):
    """How one market counts: base quantums and subticks."""

    clob_pair_id: int
    atomic_resolution: int
    quantum_conversion_exponent: int
    step_base_quantums: int
    subticks_per_tick: int

    @classmethod
    def of(cls, market: m.Market) -> Grid:
        return cls(
            int(market.clobPairId),
            market.atomicResolution,
            market.quantumConversionExponent,
            market.stepBaseQuantums,
            market.subticksPerTick,
        )

    @property
    def step(self) -> Decimal:
        return Decimal(self.step_base_quantums).scaleb(self.atomic_resolution)

    @property
    def tick(self) -> Decimal:
        return Decimal(self.subticks_per_tick).scaleb(-self._price_shift)

    @property
    def _price_shift(self) -> int:
        return self.atomic_resolution - self.quantum_conversion_exponent + _QUOTE_DECIMALS

    def quantums(self, size: Decimal) -> int:
        """Exact.

        Raises OrderDenied for a size that is not a multiple of the step: the chain refuses it too (code 4).
        """
        return _whole(size.scaleb(-self.atomic_resolution), self.step_base_quantums, "quantity", size)

    def subticks(self, price: Decimal) -> int:
        """Exact.

        Raises OrderDenied for a price that is not a multiple of the tick: the chain refuses it too (code 6).
        """
        return _whole(price.scaleb(self._price_shift), self.subticks_per_tick, "price", price)

    def size(self, quantums: int) -> Decimal:
        return Decimal(quantums).scaleb(self.atomic_resolution)

    def price(self, subticks: int) -> Decimal:
        return Decimal(subticks).scaleb(-self._price_shift)


def _whole(count: Decimal, unit: int, what: str, value: Decimal) -> int:
    if count != count.to_integral_value() or int(count) % unit or not 0 < count < 2**64:
        raise OrderDenied(f"{what} {value} is no whole number of the chain's units", venue="dydx")
    return int(count)


def subaccount_uuid(address: str, number: int) -> str:
    return str(uuid.uuid5(_NAMESPACE, f"{address}-{number}"))


def order_uuid(subaccount: str, ref: OrderRef) -> str:
    """The indexer's id of an order, known before it is sent. `subaccount` is the id of the subaccount."""
    return str(uuid.uuid5(_NAMESPACE, f"{subaccount}-{ref.client_id}-{ref.clob_pair_id}-{int(ref.flags)}"))


def ns_of(text: str) -> int:
    """ "2025-12-08T16:11:30.590Z" as ns UTC. Raises DecodeError."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError as e:
        raise DecodeError(f"{text[:40]!r} is no time", venue="dydx") from e
    if at.tzinfo is None:
        raise DecodeError(f"time {text[:40]!r} has no zone", venue="dydx")
    return (at - _EPOCH) // _MICROSECOND * 1_000


def iso_of(ns: int) -> str:
    """ns UTC as the indexer reads it, down to the millisecond."""
    return (_EPOCH + timedelta(microseconds=ns // 1_000)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds_after(ns: int) -> int:
    """The first whole second not before `ns`."""
    return -(-ns // NS_PER_S)
