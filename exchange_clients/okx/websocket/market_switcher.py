"""Topics and the subscriptions that stand for them; the venue's echo is matched by what it says."""

from __future__ import annotations

from typing import Final

from exchange_clients.model import Instrument
from exchange_clients.okx.common import BARS, BUSINESS, PRIVATE, PUBLIC, SPEC
from exchange_clients.spec import Stream
from exchange_clients.subscriptions import Topic

SWAP: Final = "SWAP"
ALGO: Final = "orders-algo"
ONLY_EVENTS: Final = '{"updateInterval":"0"}'
"""JSON inside a string. Without it every position is told again each five seconds."""

Argument = dict[str, str]


def algo_topic() -> Topic:
    """Trigger orders."""
    return Topic(Stream.ORDERS, BUSINESS, f"{ALGO}:{SWAP}", parameter=ALGO)


def topic_for(stream: Stream, instrument: Instrument | None, parameter: str, index: str) -> Topic:
    """`parameter`: the interval of candles. `index`: the name of the market's index."""
    chosen = SPEC.carrier(stream)
    channel = SPEC.streams[chosen]
    if chosen.is_private:
        return Topic(chosen, PRIVATE, f"{channel}:{'' if chosen is Stream.ACCOUNT else SWAP}")
    name = instrument.venue_symbol if instrument is not None else ""
    if chosen is Stream.INDEX:
        name = index
    if chosen is Stream.CANDLES:
        channel += BARS[parameter]
    role = BUSINESS if chosen is Stream.CANDLES else PUBLIC
    return Topic(chosen, role, f"{channel}:{name}", instrument.id if instrument is not None else None, parameter)


def argument_of(topic: Topic) -> Argument:
    """What is sent for a topic; the same object unsubscribes."""
    channel, _, name = topic.channel.partition(":")
    argument: Argument = {"channel": channel}
    if topic.stream.is_private:
        if name:
            argument["instType"] = name
        if topic.stream is Stream.POSITIONS:
            argument["extraParams"] = ONLY_EVENTS
    else:
        argument["instId"] = name
    return argument
