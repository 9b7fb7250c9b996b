"""Topics: the stream's name, which is what is subscribed to and what frames bear."""

from __future__ import annotations

from exchange_clients.backpack.common import INTERVALS_S, ROLE, SPEC
from exchange_clients.errors import ConfigError, UnsupportedCapability
from exchange_clients.model import Instrument
from exchange_clients.spec import Stream
from exchange_clients.subscriptions import Topic


def topic_for(stream: Stream, instrument: Instrument | None, parameter: str) -> Topic:
    """`parameter`: the interval of candles. Streams of the account and liquidations cover all markets."""
    chosen = SPEC.carrier(stream)
    name = SPEC.streams[chosen]
    if chosen.is_private or chosen is Stream.LIQUIDATIONS:
        return Topic(chosen, ROLE, name)
    if instrument is None:
        raise UnsupportedCapability(f"{stream} is streamed market by market", venue=SPEC.name)
    if chosen is Stream.CANDLES:
        if parameter not in INTERVALS_S:
            raise ConfigError(f"no candle interval {parameter!r}; there are {', '.join(INTERVALS_S)}", venue=SPEC.name)
        name = f"{name}.{parameter}"
    return Topic(chosen, ROLE, f"{name}.{instrument.venue_symbol}", instrument.id, parameter)
