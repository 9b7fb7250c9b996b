"""The stream's middle: changes in, few shared messages out, and a bounded memory of what each slow reader still has to see.

Changes are gathered for a moment, then encoded once and handed to everybody. A reader that has not taken the last message when the next
one comes gets no queue: the keys it missed are remembered, and what it is sent later is their newest state, after a `resync`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum

import msgspec

from exchange_clients.model import InstrumentId

FLUSH_S = 0.25
MOST_SUBSCRIBERS = 512

encode = msgspec.json.Encoder().encode


class Topic(StrEnum):
    """What a reader may ask for."""

    RATES = "rates"
    OPPORTUNITIES = "opportunities"
    HEALTH = "health"


class Resync(msgspec.Struct, frozen=True, kw_only=True, tag="resync"):
    """You were too slow for `missed` messages; what follows is the newest state of everything in them."""

    missed: int


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True, tag="heartbeat"):
    """Nothing changed; the connection lives."""

    generated_at: str


class Full(Exception):
    """There are as many readers as there may be."""


class Subscriber:
    """One reader's place: at most one shared message per topic, or the keys of what it missed."""

    def __init__(self, hub: StreamHub, topics: frozenset[Topic]) -> None:
        self._hub, self.topics = hub, topics
        self._shared: dict[Topic, str] = {}
        self._late: set[InstrumentId] = set()
        self._last: frozenset[InstrumentId] = frozenset()
        self._missed = 0
        self._waiting = asyncio.Event()
        self.beat: str | None = None

    def offer(self, topic: Topic, message: str, keys: frozenset[InstrumentId] = frozenset()) -> None:
        """A message for everybody; one that was not taken yet is replaced, and its keys are kept."""
        if topic not in self.topics:
            return
        if topic in self._shared or (topic is Topic.RATES and self._late):
            self._missed += 1
            self._hub.missed += 1
        if topic is not Topic.RATES:
            self._shared[topic] = message
        elif self._late or topic in self._shared:
            self._late |= self._last | keys
            self._shared.pop(topic, None)
            self._last = frozenset()
        else:
            self._shared[topic], self._last = message, keys
        self._waiting.set()

    def keep_alive(self, message: str) -> None:
        """Sent when nothing else waits."""
        self.beat = message
        self._waiting.set()

    async def next(self) -> list[str]:
        """What to send now, in order; waits until there is something."""
        await self._waiting.wait()
        self._waiting.clear()
        messages: list[str] = []
        if self._missed:
            messages.append(encode(Resync(missed=self._missed)).decode())
        if self._late:
            messages.append(self._hub.rates_message(self._late))
        messages.extend(self._shared.values())
        if not messages and self.beat is not None:
            messages.append(self.beat)
        self._late, self._shared, self._last, self._missed, self.beat = set(), {}, frozenset(), 0, None
        return messages


class StreamHub:
    """Changes in, subscribers out. Call everything on the loop.

    Args:
        render: the newest state of these markets, each as JSON.
        snapshot: the first message of a new reader.
        now: the time as text.
    """

    def __init__(
        self,
        render: Callable[[Iterable[InstrumentId]], Mapping[InstrumentId, bytes]],
        snapshot: Callable[[frozenset[Topic]], bytes],
        now: Callable[[], str],
        *,
        most: int = MOST_SUBSCRIBERS,
        flush_s: float = FLUSH_S,
    ) -> None:
        self._render, self._snapshot, self._now = render, snapshot, now
        self._most, self._flush_s = most, flush_s
        self._subscribers: set[Subscriber] = set()
        self._changed: set[InstrumentId] = set()
        self._news: dict[Topic, bytes] = {}
        self._wanted = asyncio.Event()
        self._first: dict[frozenset[Topic], str] = {}
        self.sent = 0
        """Messages made, each counted once however many read it."""
        self.missed = 0
        """Messages that slow readers got as newest state instead."""

    def __len__(self) -> int:
        return len(self._subscribers)

    def rates_changed(self, instruments: Iterable[InstrumentId]) -> None:
        """These have a new state; told with the next flush."""
        self._changed.update(instruments)
        self._first.clear()
        if self._changed:
            self._wanted.set()

    def publish(self, topic: Topic, body: bytes) -> None:
        """The newest of a topic that has one state; `body` is the message."""
        self._news[topic] = body
        self._first.clear()
        self._wanted.set()

    def subscribe(self, topics: frozenset[Topic]) -> Subscriber:
        """A place for a reader.

        Raises:
            Full: no more than so many at once.
        """
        if len(self._subscribers) >= self._most:
            raise Full
        subscriber = Subscriber(self, topics)
        self._subscribers.add(subscriber)
        return subscriber

    def leave(self, subscriber: Subscriber) -> None:
        """The reader is gone."""
        self._subscribers.discard(subscriber)

    def first(self, topics: frozenset[Topic]) -> str:
        """The snapshot of these topics, made once for all who come until something changes."""
        if topics not in self._first:
            self._first[topics] = self._snapshot(topics).decode()
        return self._first[topics]

    async def run(self) -> None:
        """Flush for as long as the service runs."""
        while True:
            await self._wanted.wait()
            await asyncio.sleep(self._flush_s)
            self.flush()

    def flush(self) -> None:
        """Tell every reader what changed since the last time."""
        self._wanted.clear()
        changed, self._changed = frozenset(self._changed), set()
        news, self._news = self._news, {}
        if not self._subscribers:
            return
        if changed and any(Topic.RATES in s.topics for s in self._subscribers):
            message = self.rates_message(changed)
            self.sent += 1
            for subscriber in self._subscribers:
                subscriber.offer(Topic.RATES, message, changed)
        for topic, body in news.items():
            text = body.decode()
            self.sent += 1
            for subscriber in self._subscribers:
                subscriber.offer(topic, text)

    def heartbeat(self) -> None:
        """Something for those who would hear nothing."""
        message = encode(Heartbeat(generated_at=self._now())).decode()
        for subscriber in self._subscribers:
            if Topic.HEALTH not in subscriber.topics:
                subscriber.keep_alive(message)

    def rates_message(self, instruments: Iterable[InstrumentId]) -> str:
        """The newest state of these markets as one message."""
        items = b",".join(self._render(instruments).values())
        return f'{{"type":"rates","generated_at":"{self._now()}","rates":[{items.decode()}]}}'
