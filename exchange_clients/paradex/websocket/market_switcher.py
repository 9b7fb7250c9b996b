"""Topics: channel names as the venue writes them, kept and compared, never taken apart."""

from __future__ import annotations

from typing import Final

from exchange_clients.errors import UnsupportedCapability
from exchange_clients.model import Instrument
from exchange_clients.paradex.client.utils.helpers import wire_number
from exchange_clients.paradex.common import PRIVATE, PUBLIC, SPEC, Options
from exchange_clients.spec import Stream
from exchange_clients.subscriptions import Topic

_ACCOUNT: Final = {Stream.ORDERS: "orders.ALL", Stream.FILLS: "fills.ALL", Stream.POSITIONS: "positions", Stream.ACCOUNT: "account"}
_PERIODIC: Final = "interactive@15@100ms"


def topic_for(stream: Stream, instrument: Instrument | None, options: Options) -> Topic:
    if stream in _ACCOUNT:
        return Topic(stream, PRIVATE, _ACCOUNT[stream])
    if instrument is None:
        raise UnsupportedCapability(f"{stream} is streamed market by market", venue=SPEC.name)
    chosen = SPEC.carrier(stream)
    channel = f"{SPEC.streams[chosen]}.{instrument.venue_symbol}"
    return Topic(chosen, PUBLIC, channel + (book_suffix(instrument, options) if chosen is Stream.BOOK else ""), instrument.id)


def book_suffix(instrument: Instrument, options: Options) -> str:
    """A grouped book names the size of its steps, with an underscore for the point."""
    if options.book != "interactive":
        return f".{options.book}"
    if options.book_group == 1:
        return f".{_PERIODIC}"
    step = wire_number(instrument.to_venue_price(instrument.tick_size * options.book_group))
    return f".{_PERIODIC}@{step.replace('.', '_')}"
