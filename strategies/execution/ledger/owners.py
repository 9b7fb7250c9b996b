"""Whose account it is: a pair with two legs, or a holding with one market; and which assets count as money."""

from collections.abc import Iterable

import msgspec

from database.records import FillRecord, HoldingRecord, Leg, PairRecord
from exchange_clients.model import InstrumentId

Owner = PairRecord | HoldingRecord

DOLLARS = frozenset({"USD", "USDC", "USDT", "USDE", "USDG", "USDH", "USDF", "USDS", "USD1", "FDUSD", "DAI"})
"""Counted one to one, as the venues themselves do with their collateral; everything else needs a recorded price."""


class Market(msgspec.Struct, frozen=True):
    """One leg: where it is, and in which currency its prices are."""

    leg: Leg
    venue: str
    instrument: str

    @property
    def currency(self) -> str:
        """The market's quote currency; empty when the instrument is no full id."""
        try:
            return InstrumentId.parse(self.instrument).quote
        except ValueError:
            return ""

    @property
    def base(self) -> str:
        """The traded asset; empty when the instrument is no full id."""
        try:
            return InstrumentId.parse(self.instrument).base
        except ValueError:
            return ""

    def is_money(self, asset: str) -> bool:
        """Whether amounts in this asset may be added to the result as they are."""
        return asset in DOLLARS or (asset != "" and asset == self.currency)


def owner_id(owner: Owner) -> str:
    """The id that fills, orders and payments name."""
    return owner.pair_id if isinstance(owner, PairRecord) else owner.holding_id


def markets(owner: Owner) -> tuple[Market, ...]:
    """The legs, long first; a holding has one."""
    if isinstance(owner, PairRecord):
        return tuple(Market(leg, owner.venue(leg), owner.instrument(leg)) for leg in Leg)
    return (Market(Leg.LONG, owner.venue, owner.instrument),)


def of_leg(owner: Owner, market: Market, fills: Iterable[FillRecord]) -> list[FillRecord]:
    """The fills of one leg in venue time; all of a holding's."""
    taken = fills if isinstance(owner, HoldingRecord) else (f for f in fills if f.leg is market.leg)
    return sorted(taken, key=lambda f: f.ts_venue)
