"""Fees of a market: the account's own, else what the venue publishes with it, else the venue's published base tier.

Fractions of notional; a negative maker fee is a rebate. Unknown stays None: costs that need it are then unknown too.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final, NamedTuple

D = Decimal
MOST_KEPT: Final = 10_000


class MarketFees(NamedTuple):
    """What trading one market costs."""

    maker: Decimal | None
    taker: Decimal | None


UNKNOWN: Final = MarketFees(None, None)

BASE_TIER: Final[Mapping[str, tuple[Decimal, Decimal]]] = {
    "aster": (D("0.0001"), D("0.00035")),
    "backpack": (D("0.0002"), D("0.0005")),
    "dydx": (D("0.0001"), D("0.0005")),
    "hyperliquid": (D("0.00015"), D("0.00045")),
    "okx": (D("0.0002"), D("0.0005")),
}
"""Maker and taker at the lowest tier of each venue's published table, read 2026-11. Lighter and Paradex state fees with their markets."""


class FeeTable:
    """`accounts`: fees of configured accounts by venue; they stand above everything else."""

    def __init__(self, accounts: Mapping[str, MarketFees] | None = None) -> None:
        self._accounts = dict(accounts or {})
        self._told: dict[tuple[str, str, Decimal | None, Decimal | None], MarketFees] = {}

    def of(self, venue: str, maker: Decimal | None = None, taker: Decimal | None = None, *, dex: str = "") -> MarketFees:
        """Fees of a market whose own, as the venue publishes them, are `maker` and `taker`.

        On a builder's `dex` fees are a multiple of the venue's that its builder sets: those of account and base tier are not its own.
        """
        asked = venue, dex, maker, taker
        if (told := self._told.get(asked)) is not None:
            return told
        own = UNKNOWN if dex else self._accounts.get(venue, UNKNOWN)
        base = UNKNOWN if dex else BASE_TIER.get(venue, UNKNOWN)
        found = MarketFees(_first(own.maker, maker, base[0]), _first(own.taker, taker, base[1]))
        if len(self._told) < MOST_KEPT:
            self._told[asked] = found
        return found


def _first(*values: Decimal | None) -> Decimal | None:
    return next((value for value in values if value is not None), None)
