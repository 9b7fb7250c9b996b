"""Domain events to many consumers: bounded queues, async iterators, listeners."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Hashable, Iterable
from typing import Any

from exchange_clients.model import Gap

log = logging.getLogger("exchange_clients.events")

Listener = Callable[[Any], None]


class Subscription:
    """One consumer's queue: `async for event in subscription`. `close()` ends the iteration.

    `coalesce` keeps only the newest unread event per key (market data whose reader wants the present); otherwise every event is kept up to
    `maxsize`. Overflow of a lossless queue is told as a `Gap` in place of what was dropped, never silently; `dropped` counts.
    """

    def __init__(self, *, maxsize: int, coalesce: bool, on_overflow: Callable[[], Gap], on_close: Callable[[Subscription], None]) -> None:
        self._queue: deque[Any] = deque()
        self._latest: dict[Hashable, Any] = {}
        self._maxsize = maxsize
        self._coalesce = coalesce
        self._on_overflow = on_overflow
        self._on_close = on_close
        self._wake: asyncio.Future[None] | None = None
        self._closed = False
        self.dropped = 0

    def push(self, event: Any, key: Hashable = None) -> None:
        if self._closed:
            return
        if isinstance(event, Gap) and self._latest:
            # What came before the gap stays before it: later events of the same key queue anew.
            self._queue = deque(self._latest[e[0]] if type(e) is tuple else e for e in self._queue)
            self._latest.clear()
        if self._coalesce and not isinstance(event, Gap):
            if key in self._latest:
                self.dropped += 1
            else:
                self._queue.append((key,))
            self._latest[key] = event
        elif len(self._queue) >= self._maxsize:
            self.dropped += len(self._queue) + 1
            self._queue.clear()
            self._latest.clear()
            self._queue.append(self._on_overflow())
        else:
            self._queue.append(event)
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._on_close(self)
            if self._wake is not None and not self._wake.done():
                self._wake.set_result(None)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        while not self._queue:
            if self._closed:
                raise StopAsyncIteration
            self._wake = asyncio.get_running_loop().create_future()
            try:
                await self._wake
            finally:
                self._wake = None
        event = self._queue.popleft()
        return self._latest.pop(event[0]) if type(event) is tuple else event

    async def __aenter__(self) -> Subscription:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


class EventHub:
    """Publishes by topic key to subscriptions and listeners. A listener that raises is logged with its traceback; the others still hear."""

    def __init__(self, venue: str, now_ns: Callable[[], int]) -> None:
        self._venue = venue
        self._now_ns = now_ns
        self._subscriptions: dict[Hashable, list[Subscription]] = {}
        self._listeners: dict[Hashable, list[Listener]] = {}

    def subscribe(
        self, topic: Hashable, *, maxsize: int = 10_000, coalesce: bool = False, on_close: Callable[[], None] | None = None
    ) -> Subscription:
        """A new consumer of `topic`; `on_close` runs once when it ends."""

        def closed(subscription: Subscription) -> None:
            self._subscriptions.get(topic, []).remove(subscription)
            if on_close is not None:
                on_close()

        def overflow() -> Gap:
            gap = Gap(venue=self._venue, topic=str(topic), reason="consumer too slow: events were dropped", ts_ns=self._now_ns())
            log.warning("queue.overflow venue=%s topic=%s", self._venue, topic)
            self.publish(("overflow",), gap)
            return gap

        subscription = Subscription(maxsize=maxsize, coalesce=coalesce, on_overflow=overflow, on_close=closed)
        self._subscriptions.setdefault(topic, []).append(subscription)
        return subscription

    def listen(self, topic: Hashable, listener: Listener) -> Callable[[], None]:
        """Call `listener(event)` synchronously for each event; the returned function ends it."""
        listeners = self._listeners.setdefault(topic, [])
        listeners.append(listener)

        def stop() -> None:
            if listener in listeners:
                listeners.remove(listener)

        return stop

    def wanted(self, topic: Hashable) -> bool:
        """Somebody would hear an event of `topic`: lets a producer skip building it."""
        return bool(self._subscriptions.get(topic) or self._listeners.get(topic))

    def readers(self, topic: Hashable) -> tuple[list[Subscription], list[Listener]]:
        """Who hears `topic`, as lists that live on: for a producer that asks `wanted` a million times. Valid until `close`."""
        return self._subscriptions.setdefault(topic, []), self._listeners.setdefault(topic, [])

    def publish(self, topic: Hashable, event: Any, key: Hashable = None) -> None:
        self.publish_to(self._subscriptions.get(topic, ()), self._listeners.get(topic, ()), topic, event, key)

    def publish_to(
        self, subscriptions: Iterable[Subscription], listeners: Iterable[Listener], topic: Hashable, event: Any, key: Hashable = None
    ) -> None:
        """`publish` for a producer that holds the `readers` of its topic."""
        for listener in tuple(listeners):
            try:
                listener(event)
            except Exception:
                log.exception("listener.failed venue=%s topic=%s", self._venue, topic)
        for subscription in tuple(subscriptions):
            subscription.push(event, key)

    def publish_gap(self, gap: Gap) -> None:
        """A gap concerns every consumer of every topic."""
        for topic in dict.fromkeys((*self._subscriptions, *self._listeners)):
            self.publish(topic, gap)

    def close(self) -> None:
        for subscriptions in tuple(self._subscriptions.values()):
            for subscription in tuple(subscriptions):
                subscription.close()
        self._listeners.clear()
