"""The ordered event log: the exchange's clock, its sequence numbers, and delivery to whoever listens."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from exchange_simulator.core.events import AnyEvent

Sink = Callable[[AnyEvent], None]


class Log:
    """Collects events; with subscribers they are delivered in order after the call that caused them, else kept for `drain`.

    `put(Event(log.seq(), log.now, ...))` is the one way to add: both are C calls, the log is on the hot path.
    """

    __slots__ = ("_delivering", "_events", "_sinks", "now", "put", "seq")

    def __init__(self) -> None:
        self.now = 0
        self.seq = count(1).__next__
        self._events: list[AnyEvent] = []
        self.put = self._events.append
        self._sinks: list[Sink] = []
        self._delivering = False

    def subscribe(self, sink: Sink) -> Callable[[], None]:
        """Every later event goes to `sink`, which may call the exchange again. Returns the unsubscribe function."""
        self._sinks.append(sink)
        return lambda: self._sinks.remove(sink)

    def drain(self) -> list[AnyEvent]:
        """Events since the last drain; always empty while someone is subscribed."""
        drained = self._events.copy()
        self._events.clear()
        return drained

    def deliver(self) -> None:
        if not self._sinks or self._delivering:
            return
        self._delivering = True
        try:
            position = 0
            while position < len(self._events):  # grows when a sink calls the exchange
                event = self._events[position]
                position += 1
                for sink in tuple(self._sinks):
                    sink(event)
        finally:
            self._events.clear()
            self._delivering = False
