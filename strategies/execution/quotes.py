"""The touch of a market, for pricing one order."""

from decimal import Decimal
from typing import TYPE_CHECKING

from exchange_clients.errors import VenueError
from exchange_clients.model import Instrument

from .pricing import Quote

if TYPE_CHECKING:
    from exchange_clients.base_client import BaseExchangeClient


async def touch(client: "BaseExchangeClient", instrument: Instrument, *, reduce: bool, last: Decimal | None) -> Quote:
    """The book. An exit takes what it can get: the book, else the mark price, else `last`, our own last price there (E18).

    Raises:
        VenueError: there is no book, and for an exit none of the others either.
    """
    try:
        bid, ask = await client.fetch_bbo_prices(instrument.contract_id)
        return Quote(bid, ask)
    except VenueError:
        if not reduce:
            raise
    try:
        mark = await client.fetch_mark_price(instrument.contract_id)
        return Quote(mark, mark, "mark")
    except VenueError:
        if last is None:
            raise
        return Quote(last, last, "last fill")
