"""Topics and the subscriptions that stand for them; the venue's echo is matched by what it says, not by how it spells it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from exchange_clients.hyperliquid.common import ROLE, SPEC
from exchange_clients.model import Instrument
from exchange_clients.spec import Stream
from exchange_clients.subscriptions import Topic

Subscription = dict[str, str | bool]

_BY_USER: Final = frozenset({Stream.ORDERS, Stream.FILLS, Stream.POSITIONS, Stream.LIQUIDATIONS})
_NAMING: Final = ("coin", "interval", "user", "dex")
SPOT_STATE: Final = "spotState"


def topic_for(stream: Stream, instrument: Instrument | None, parameter: str, user: str | None) -> Topic:
    """`parameter`: the interval of candles, the dex of account states, or `SPOT_STATE` for the spot balance."""
    chosen = SPEC.carrier(stream)
    subscription = _subscription(chosen, instrument.venue_symbol if instrument is not None else "", parameter, user)
    return Topic(chosen, ROLE, channel_of(subscription), instrument.id if instrument is not None else None, parameter)


def subscription_for(topic: Topic, coin: str, user: str | None, *, fast: bool) -> Subscription:
    """What is sent for a topic; the same object unsubscribes. `fast` books have 5 levels and come about every half second."""
    found = _subscription(topic.stream, coin, topic.parameter, user)
    return {**found, "fast": True} if fast and topic.stream is Stream.BOOK else found


def _subscription(stream: Stream, coin: str, parameter: str, user: str | None) -> Subscription:
    if parameter == SPOT_STATE:
        return {"type": SPOT_STATE, "user": user or ""}
    found: Subscription = {"type": SPEC.streams[stream]}
    if stream in _BY_USER:
        found["user"] = user or ""
        if stream is Stream.POSITIONS:
            found["dex"] = parameter
    else:
        found["coin"] = coin
        if stream is Stream.CANDLES:
            found["interval"] = parameter
    return found


def channel_of(subscription: Mapping[str, str | int | bool | None]) -> str:
    """The name of a subscription, equal for ours and for the venue's echo with its added defaults."""
    return ":".join([str(subscription.get("type")), *(str(subscription.get(name) or "") for name in _NAMING)])
