"""Topics and channels: subscribed to with '/', answered with ':', and our topics carry the answer's form."""

from __future__ import annotations

import json
from typing import Final

from exchange_clients.errors import UnsupportedCapability
from exchange_clients.lighter.common import ROLE, SPEC
from exchange_clients.model import Instrument
from exchange_clients.spec import Stream
from exchange_clients.subscriptions import Topic

ALL: Final = "all"


def topic_for(stream: Stream, instrument: Instrument | None, parameter: str, account_index: int | None) -> Topic:
    """`parameter`: the interval of candles. Without an instrument, mark, index and funding of every market."""
    chosen = SPEC.carrier(stream)
    parts = [SPEC.streams[chosen]]
    if chosen.is_private:
        parts.append(str(account_index))
    elif instrument is not None:
        parts += [instrument.contract_id, *([parameter] if parameter else [])]
    elif chosen is Stream.MARK:
        parts.append(ALL)
    else:
        raise UnsupportedCapability(f"{stream} is streamed market by market", venue=SPEC.name)
    return Topic(chosen, ROLE, ":".join(parts), instrument.id if instrument is not None and not chosen.is_private else None, parameter)


def message(kind: str, topic: Topic, token: str | None = None) -> str:
    body = {"type": kind, "channel": topic.channel.replace(":", "/")}
    return json.dumps(body if token is None else {**body, "auth": token})
