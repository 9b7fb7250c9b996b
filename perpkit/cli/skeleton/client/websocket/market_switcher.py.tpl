"""Topic to subscription payload. Phase 3, step 1."""

from __future__ import annotations

from exchange_clients.model import Instrument
from exchange_clients.spec import Stream
from exchange_clients.subscriptions import Topic


def topic_of(stream: Stream, instrument: Instrument | None, parameter: str) -> Topic:
    """The channel that carries a stream; streams that share one share its topic (`SPEC.carrier`)."""
    raise NotImplementedError("phase 3, step 1: stream to channel")


def payload_of(operation: str, topic: Topic) -> str:
    """What is sent for a topic, from the arguments that it keeps."""
    raise NotImplementedError("phase 3, step 1: topic to payload")
