"""Topics and the names of the streams that carry them. Names are lower-case, what they bring is upper-case."""

from __future__ import annotations

from exchange_clients.aster.common import PRIVATE, PUBLIC, SPEC, USER_DATA
from exchange_clients.model import Instrument
from exchange_clients.spec import Stream
from exchange_clients.subscriptions import Topic


def topic_for(stream: Stream, instrument: Instrument | None, parameter: str = "") -> Topic:
    """`parameter`: the interval of candles. Everything of the account is one topic."""
    chosen, name = SPEC.carrier(stream), SPEC.streams[stream]
    if name == USER_DATA:
        return Topic(chosen, PRIVATE, USER_DATA)
    suffix = f"_{parameter}" if stream is Stream.CANDLES else ""
    symbol = instrument.venue_symbol.lower() if instrument is not None else ""
    return Topic(chosen, PUBLIC, f"{symbol}{name}{suffix}", instrument.id if instrument is not None else None, parameter)
