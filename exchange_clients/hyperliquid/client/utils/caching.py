"""What only this venue has to remember: asset numbers, margin tiers, the account's margin regime, and amends that replace orders."""

from __future__ import annotations

from collections import OrderedDict
from decimal import Decimal
from typing import TYPE_CHECKING, Final, cast

from exchange_clients.errors import UnknownInstrument
from exchange_clients.hyperliquid import messages as m
from exchange_clients.hyperliquid.client.utils import converters
from exchange_clients.model import ZERO, Instrument, InstrumentId

if TYPE_CHECKING:
    from exchange_clients.context import ClientContext
    from exchange_clients.hyperliquid.client.managers.market_data import HyperliquidMarketData

FIRST_BUILDER_ASSET: Final = 100_000
ASSETS_PER_DEX: Final = 10_000
ONE: Final = Decimal(1)
BUILDER_SCALE: Final = Decimal(2)
GROWTH_SCALE: Final = Decimal("0.1")
MAX_REPLACED: Final = 5_000


class VenueCache:
    """Asset numbers differ between networks and move with listings, so they always come from `meta`."""

    def __init__(self) -> None:
        self.shared_collateral = False
        """Unified or portfolio margin: the collateral of all dexes is the spot balance."""
        self.action_cap: Decimal | None = None
        """Actions that the account may send in its life; grows by one per USD traded."""
        self._numbers: dict[InstrumentId, int] = {}
        self._fee_scales: dict[InstrumentId, Decimal] = {}
        self._tiers: dict[InstrumentId, tuple[tuple[Decimal, Decimal], ...]] = {}
        self._amending: dict[str, tuple[str | None, Decimal]] = {}
        self._replaced: OrderedDict[str, Decimal] = OrderedDict()

    def add(self, meta: m.Meta, found: list[Instrument | None], dex_index: int, fee_scale: Decimal = ONE) -> None:
        """The universe of one dex; 0 is the main one. Fees in growth mode are a tenth."""
        first = FIRST_BUILDER_ASSET + dex_index * ASSETS_PER_DEX if dex_index else 0
        tables = dict(meta.marginTables)
        for index, (asset, instrument) in enumerate(zip(meta.universe, found, strict=True)):
            if instrument is not None:
                self._numbers[instrument.id] = first + index
                self._fee_scales[instrument.id] = fee_scale * GROWTH_SCALE if asset.growthMode == "enabled" else fee_scale
                table = tables.get(asset.marginTableId) if asset.marginTableId is not None else None
                self._tiers[instrument.id] = converters.brackets(table) if table is not None else ()

    def number(self, instrument: Instrument) -> int:
        try:
            return self._numbers[instrument.id]
        except KeyError:
            raise UnknownInstrument(f"{instrument.id} has no asset number", venue=instrument.id.venue) from None

    def tiers(self, instrument: Instrument) -> tuple[tuple[Decimal, Decimal], ...]:
        return self._tiers.get(instrument.id, ())

    def fee_scale(self, instrument: Instrument) -> Decimal:
        """By what the account's fee rates are multiplied in this market."""
        return self._fee_scales.get(instrument.id, ONE)

    def begin_amend(self, client_order_id: str, order_id: str | None, filled: Decimal) -> None:
        """Until `end_amend` the end of `order_id` is no end of the order, and another id under the same client id is its successor."""
        self._amending[client_order_id] = (order_id, filled)

    def end_amend(self, client_order_id: str) -> None:
        self._amending.pop(client_order_id, None)

    def is_being_replaced(self, order: m.OrderData) -> bool:
        entry = self._amending.get((order.cloid or "").lower())
        return entry is not None and entry[0] == str(order.oid)

    def succeeded(self, order_id: str, client_order_id: str) -> None:
        """An amend was answered with the successor's id."""
        if (entry := self._amending.get(client_order_id)) is not None and entry[0] != order_id:
            self._remember(order_id, entry[1])

    def filled_before(self, order: m.OrderData) -> Decimal:
        """What the order had filled before an amend made this venue order of it: the venue counts the successor from zero."""
        if order.cloid:
            self.succeeded(str(order.oid), order.cloid.lower())
        return self._replaced.get(str(order.oid), ZERO)

    def _remember(self, order_id: str, filled: Decimal) -> None:
        self._replaced.setdefault(order_id, filled)
        if len(self._replaced) > MAX_REPLACED:
            self._replaced.popitem(last=False)


def venue_cache(context: ClientContext) -> VenueCache:
    """The one of this client."""
    return cast("HyperliquidMarketData", context.market_data).cache
