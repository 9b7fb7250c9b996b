"""The touch of a market, for pricing one order."""

from decimal import Decimal
from typing import TYPE_CHECKING

from exchange_clients.errors import VenueError
from exchange_clients.model import Instrument

from .pricing import Quote

if TYPE_CHECKING:
    from exchange_clients.base_client import BaseExchangeClient


PULLED = Decimal("0.03")
"""Of the bid: a wider touch is a side whose quotes were pulled, and no price to sell or buy back at."""


async def touch(client: "BaseExchangeClient", instrument: Instrument, *, reduce: bool, last: Decimal | None) -> Quote:
    """The book. An exit takes what it can get: the book, else the mark price, else `last`, our own last price there (E18).

    Of a book with a pulled side an exit believes the mark instead: within 20 bps of a bid at half the price is half the price.

    Raises:
        VenueError: there is no book, and for an exit none of the others either.
    """
    book: Quote | None = None
    try:
        bid, ask = await client.fetch_bbo_prices(instrument.contract_id)
        book = Quote(bid, ask)
    except VenueError:
        if not reduce:
            raise
    if book is not None and (not reduce or book.ask - book.bid <= PULLED * book.bid):
        return book
    try:
        mark = await client.fetch_mark_price(instrument.contract_id)
        return Quote(mark, mark, "mark")
    except VenueError:
        if last is not None:
            return Quote(last, last, "last fill")
        if book is not None:
            return book
        raise
