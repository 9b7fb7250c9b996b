"""What is wanted and what the venue confirmed are two sets; the socket loop works off the difference."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from exchange_clients.model import InstrumentId
from exchange_clients.spec import Stream


@dataclass(frozen=True, slots=True)
class Topic:
    """One channel of a venue's socket. `role` names the socket, `channel` is the venue's own name, kept and never parsed back.

    Streams that share a channel share its topic: `stream` is then the one the dialect chose. `parameter` belongs to streams that come in
    kinds (a candle interval).
    """

    stream: Stream
    role: str
    channel: str
    instrument: InstrumentId | None = None
    parameter: str = ""

    @property
    def label(self) -> str:
        """For logs and errors: the channel of an account names the account, so its stream stands for it."""
        return f"{self.stream} {self.parameter}".rstrip() if self.stream.is_private else self.channel


class TopicState(StrEnum):
    PENDING = "pending"
    SENT = "sent"
    CONFIRMED = "confirmed"


class _Entry:
    __slots__ = ("count", "refusal", "since", "state")

    def __init__(self, since: float) -> None:
        self.count = 0
        self.state = TopicState.PENDING
        self.since = since
        self.refusal: str | None = None


class SubscriptionRegistry:
    """Reference-counted wishes and their state per topic. Times are asyncio seconds given by the caller.

    Only a topic that was sent on this connection can be confirmed or refused: a late reply to an earlier subscription, whether nobody wants
    the topic any more or somebody wants it again, is ignored. A refused topic stays wanted and is tried after the next connect.
    """

    def __init__(self) -> None:
        self._entries: dict[Topic, _Entry] = {}
        self._by_channel: dict[tuple[str, Hashable], Topic] = {}

    def want(self, topic: Topic, now: float) -> bool:
        """One more reader; True when it is the first."""
        entry = self._entries.get(topic)
        if entry is None:
            entry = self._entries[topic] = _Entry(now)
            self._by_channel[topic.role, topic.channel] = topic
        entry.count += 1
        return entry.count == 1

    def release(self, topic: Topic) -> bool:
        """One reader less; True when it was the last and the venue must be told, because the topic was sent on this connection."""
        entry = self._entries.get(topic)
        if entry is None:
            return False
        entry.count -= 1
        if entry.count > 0:
            return False
        del self._entries[topic]
        self._by_channel.pop((topic.role, topic.channel), None)
        return entry.state is not TopicState.PENDING

    def find(self, role: str, channel: str) -> Topic | None:
        """The wanted topic of a venue's channel name."""
        return self._by_channel.get((role, channel))

    def pending(self, role: str) -> list[Topic]:
        """What is wanted on this socket and neither sent nor confirmed; refused topics wait for the next connect."""
        return [t for t, e in self._entries.items() if t.role == role and e.state is TopicState.PENDING and e.refusal is None]

    def sent(self, topics: Iterable[Topic], now: float) -> None:
        """They are on their way; `now` may be infinite until they are `written`."""
        for topic in topics:
            if (entry := self._entries.get(topic)) is not None:
                entry.state, entry.since = TopicState.SENT, now

    def written(self, topics: Iterable[Topic], now: float) -> None:
        """From now on an answer is due."""
        for topic in topics:
            if (entry := self._entries.get(topic)) is not None and entry.state is TopicState.SENT:
                entry.since = now

    def confirmed(self, topic: Topic, now: float) -> bool:
        """False when nobody wants it (any more), or it was not sent on this connection."""
        entry = self._entries.get(topic)
        if entry is None or entry.state is TopicState.PENDING:
            return False
        entry.state, entry.since, entry.refusal = TopicState.CONFIRMED, now, None
        return True

    def refused(self, topic: Topic, reason: str) -> None:
        """The venue's no, in its words."""
        entry = self._entries.get(topic)
        if entry is not None and entry.state is not TopicState.PENDING:
            entry.state, entry.refusal = TopicState.PENDING, reason

    def again(self, topic: Topic, now: float) -> None:
        """The topic needs a fresh subscription (a gap)."""
        if (entry := self._entries.get(topic)) is not None:
            entry.state, entry.since, entry.refusal = TopicState.PENDING, now, None

    def lost_connection(self, role: str, now: float) -> list[Topic]:
        """Nothing of this socket is confirmed any more; the topics it carried."""
        lost = [t for t in self._entries if t.role == role]
        for topic in lost:
            entry = self._entries[topic]
            entry.state, entry.since, entry.refusal = TopicState.PENDING, now, None
        return lost

    def refusal(self, topic: Topic) -> str | None:
        """The venue's words, when it refused the topic on this connection."""
        entry = self._entries.get(topic)
        return entry.refusal if entry else None

    def is_sent(self, topic: Topic) -> bool:
        """Sent on this connection and not answered yet."""
        entry = self._entries.get(topic)
        return entry is not None and entry.state is TopicState.SENT

    def is_confirmed(self, topic: Topic) -> bool:
        entry = self._entries.get(topic)
        return entry is not None and entry.state is TopicState.CONFIRMED

    def wanted(self, role: str | None = None) -> tuple[Topic, ...]:
        return tuple(t for t in self._entries if role is None or t.role == role)

    @property
    def confirmed_count(self) -> int:
        return sum(1 for e in self._entries.values() if e.state is TopicState.CONFIRMED)

    def overdue(self, now: float, after_s: float) -> list[Topic]:
        """Wanted for longer than `after_s` without confirmation (E32)."""
        return [t for t, e in self._entries.items() if e.state is not TopicState.CONFIRMED and now - e.since > after_s]
