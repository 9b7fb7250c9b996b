"""What only this venue has to remember: names beside the instrument's id, the account's modes, amends whose end is awaited."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING, NamedTuple, cast

from exchange_clients.errors import UnknownInstrument, VenueError
from exchange_clients.model import Instrument, InstrumentId
from exchange_clients.okx import messages as m

if TYPE_CHECKING:
    from exchange_clients.context import ClientContext
    from exchange_clients.okx.client.managers.market_data import OkxMarketData


class Names(NamedTuple):
    """Other names of one market. `code` stands for it in commands on the socket; it differs between demo and production."""

    family: str
    index_name: str
    code: int | None
    fee_group: str


class VenueCache:
    def __init__(self) -> None:
        self._names: dict[InstrumentId, Names] = {}
        self._by_index: dict[str, InstrumentId] = {}
        self._amends: dict[str, tuple[str, asyncio.Future[VenueError | None]]] = {}
        self._amend_ids = count(1)

    def add(self, row: m.InstrumentRow, instrument: Instrument) -> None:
        names = Names(row.instFamily or row.uly, row.uly or row.instFamily, row.instIdCode, row.groupId)
        self._names[instrument.id] = names
        self._by_index[names.index_name] = instrument.id

    def names(self, instrument: Instrument) -> Names:
        try:
            return self._names[instrument.id]
        except KeyError:
            raise UnknownInstrument(f"{instrument.id} is not listed", venue=instrument.id.venue) from None

    def by_index(self, index: str) -> InstrumentId | None:
        """The market that an index belongs to."""
        return self._by_index.get(index)

    # ---- amends: the answer is the gateway's yes, the stream tells what became of it

    def begin_amend(self, order_key: str, now_ms: int) -> str:
        """A request id that no other amend of this client has."""
        number = f"{order_key[-12:]}{now_ms % 10**9}{next(self._amend_ids)}"[-32:]
        self._amends[order_key] = number, asyncio.get_running_loop().create_future()
        return number

    def amend_of(self, order_key: str) -> asyncio.Future[VenueError | None] | None:
        found = self._amends.get(order_key)
        return found[1] if found is not None else None

    def end_amend(self, order_key: str) -> None:
        self._amends.pop(order_key, None)

    def amend_told(self, order_key: str, number: str, error: VenueError | None) -> None:
        """The end of that request; others amend too."""
        found = self._amends.get(order_key)
        if found is not None and found[0] == number and not found[1].done():
            found[1].set_result(error)


def venue_cache(context: ClientContext) -> VenueCache:
    """The one of this client."""
    return cast("OkxMarketData", context.market_data).cache
