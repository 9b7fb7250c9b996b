"""Topics and subscriptions: a channel and, for most, an id."""

from __future__ import annotations

import json
from typing import Final

from exchange_clients.dydx.client.utils.converters import INTERVALS
from exchange_clients.dydx.common import ROLE, SPEC
from exchange_clients.errors import UnsupportedCapability
from exchange_clients.model import Instrument
from exchange_clients.spec import Stream
from exchange_clients.subscriptions import Topic

BLOCKS: Final = "v4_block_height"
BLOCKS_TOPIC: Final = Topic(Stream.INDEX, ROLE, BLOCKS, parameter=BLOCKS)
"""Heights: no stream of ours, but every signed client follows them."""


_WITHOUT_ID: Final = frozenset({BLOCKS, "v4_markets"})


def topic_for(stream: Stream, instrument: Instrument | None, parameter: str, account: str) -> Topic:
    """`parameter`: the interval of candles; `account`: address/number. One v4_markets tells of all markets."""
    chosen = SPEC.carrier(stream)
    channel = SPEC.streams[chosen]
    if chosen.is_private:
        return Topic(chosen, ROLE, channel_of(channel, account))
    if chosen is Stream.INDEX:
        return Topic(chosen, ROLE, channel_of(channel, None))
    if instrument is None:
        raise UnsupportedCapability(f"{stream} is streamed market by market", venue=SPEC.name)
    name = instrument.contract_id
    if chosen is Stream.CANDLES:
        if parameter not in INTERVALS:
            raise UnsupportedCapability(f"no candles of {parameter!r}; there are {', '.join(INTERVALS)}", venue=SPEC.name)
        name = f"{name}/{INTERVALS[parameter]}"
    return Topic(chosen, ROLE, channel_of(channel, name), instrument.id, parameter)


def channel_of(channel: str, id: str | None) -> str:
    """The name under which topics and answers meet; the venue repeats a channel's own name where there is no id."""
    return channel if id is None or channel in _WITHOUT_ID else f"{channel} {id}"


def message(kind: str, topic: Topic, *, batched: bool | None = None) -> str:
    channel, _, id = topic.channel.partition(" ")
    body: dict[str, str | bool] = {"type": kind, "channel": channel}
    if id:
        body["id"] = id
    if batched is not None and topic.stream is Stream.BOOK:
        body["batched"] = batched
    return json.dumps(body)
