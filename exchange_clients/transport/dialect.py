"""How a venue's sockets speak: what the socket loop (`transport.stream`) asks of a venue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from exchange_clients.model import Instrument
from exchange_clients.spec import Stream
from exchange_clients.subscriptions import Topic


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """`message` is sent every `every_s`, and the connection is dead after `timeout_s` without any frame. With None the ping frames of the
    protocol do both."""

    every_s: float
    message: str | None
    timeout_s: float


class Socket(Protocol):
    """What a login may do with a fresh connection. Frames it reads and does not need go to `keep`."""

    async def send(self, message: str | bytes) -> None: ...
    async def recv(self) -> str | bytes: ...
    def keep(self, data: str | bytes) -> None: ...


class Dialect(Protocol):
    """How a venue's sockets speak. Several sockets (roles) are possible."""

    heartbeat: Heartbeat
    max_age_s: float | None
    """A connection of that age is replaced by a new one, for venues that end all of them after a day at a moment of their own."""

    async def url(self, role: str) -> str:
        """Where to connect; a listen key may be in it."""
        ...

    async def login(self, role: str, socket: Socket) -> None:
        """Whatever must happen before subscribing. Raises AuthError when the venue refuses the account."""
        ...

    def topic(self, stream: Stream, instrument: Instrument | None, parameter: str = "") -> Topic:
        """The topic that carries `stream`. Raises UnsupportedCapability."""
        ...

    async def subscribe(self, topics: Sequence[Topic]) -> list[str | bytes]:
        """Messages that subscribe; may fetch a fresh token."""
        ...

    async def unsubscribe(self, topics: Sequence[Topic]) -> list[str | bytes]: ...
    def silence_s(self, topic: Topic) -> float | None:
        """Where the venue acknowledges no subscription: the silence after which one counts as confirmed. None where it does."""
        ...

    def is_heartbeat(self, data: str | bytes) -> bool:
        """A frame that proves the connection but carries no data."""
        ...
