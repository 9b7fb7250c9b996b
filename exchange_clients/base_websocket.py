"""Streams of one client: sockets, subscriptions, books, and events to whoever watches.

A venue adds a dialect (url, login, topics), a message handler (frame -> message -> handler table) and a sequence rule. Frames of
books go straight into the book; everything else becomes one domain event, built only when somebody listens.
"""

from __future__ import annotations

import asyncio
import logging
import random
import zlib
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import msgspec

from exchange_clients.book import BookChange, BookFeed, BookGap, Resync, SequenceRule, SnapshotSource
from exchange_clients.context import ClientContext
from exchange_clients.errors import ConfigError, DecodeError, NotReady, SubscriptionRefused, UnsupportedCapability, VenueError
from exchange_clients.events import Listener, Subscription
from exchange_clients.model import (
    NS_PER_S,
    ZERO,
    Bbo,
    BookLevel,
    BookSnapshot,
    Candle,
    Fill,
    FillKind,
    FundingRateSample,
    Gap,
    IndexPrice,
    Instrument,
    InstrumentId,
    LiquidationEvent,
    MarkPrice,
    Position,
    Trade,
)
from exchange_clients.spec import Stream
from exchange_clients.subscriptions import SubscriptionRegistry, Topic
from exchange_clients.transport.dialect import Heartbeat, Socket

if TYPE_CHECKING:
    from exchange_clients.transport.stream import StreamSocket

_CHATTY = (Stream.BOOK, Stream.BBO)
_BAD_FRAMES_BEFORE_RECONNECT = 20
SNAPSHOT_WITHIN_S = 5.0
"""A confirmed book that a stream starts with a snapshot, and that has none by then, is subscribed anew."""

Handler = Callable[[str, Any, int], object]
"""What a message does: handler(role, message, ts_recv_ns)."""


def event_key(stream: Stream, instrument: InstrumentId | None = None, parameter: str = "") -> tuple[object, ...]:
    """The hub's key of a stream."""
    return (stream, instrument, parameter)


class Decode(Protocol):
    """Frame -> typed message; raises `msgspec.DecodeError` (`ValidationError` included), `DecodeError` or `UnicodeDecodeError`."""

    def __call__(self, data: str | bytes, /) -> Any: ...


def own_liquidation(fill: Fill) -> LiquidationEvent | None:
    """The event of an own fill that was forced on us; None for an ordinary one."""
    if fill.kind not in (FillKind.LIQUIDATION, FillKind.ADL):
        return None
    return LiquidationEvent(
        instrument=fill.instrument,
        side=fill.side,
        quantity=fill.quantity,
        price=fill.price,
        ts_venue_ns=fill.ts_venue_ns,
        kind=fill.kind,
        metadata={"trade_id": fill.trade_id},
    )


class BaseMessageHandler:
    """Turns frames into effects. A venue sets `decode` (typed, one call per frame) and returns its table from `handlers()`.

    A frame that does not decode is counted, logged and skipped; the book it may have been for finds the hole by its numbering.
    """

    decode: ClassVar[Decode]

    def __init__(self, manager: BaseWebSocketManager) -> None:
        self.manager = manager
        self.context = manager.context
        self._table = self.handlers()
        self.undecoded = 0
        self.unknown = 0
        self._in_a_row = 0

    def handlers(self) -> dict[type, Handler]:
        """What each type of message does."""
        raise NotImplementedError

    def nothing(self, role: str, message: Any, ts_recv_ns: int) -> None:
        """For messages that only prove the connection."""

    def feed(self, role: str, data: str | bytes, ts_recv_ns: int) -> None:
        """One frame. The seam for a faster decoder: whatever stands behind it, books and events change as if this code had run."""
        try:
            message = type(self).decode(data)
        except (msgspec.DecodeError, DecodeError, UnicodeDecodeError, RecursionError) as e:
            self._bad_frame(role, data, e)
            return
        self._in_a_row = 0
        handler = self._table.get(type(message))
        if handler is None:
            self.unknown += 1
            return
        try:
            handler(role, message, ts_recv_ns)
        except (DecodeError, ArithmeticError, ValueError, LookupError) as e:
            self._bad_frame(role, data, e)

    def _bad_frame(self, role: str, data: str | bytes, error: Exception) -> None:
        self.undecoded += 1
        self._in_a_row += 1
        if self.undecoded == 1 or self.undecoded % 1000 == 0:
            self.context.log.warning("frame.undecoded role=%s count=%d bytes=%d reason=%s", role, self.undecoded, len(data), error)
        if self._in_a_row == _BAD_FRAMES_BEFORE_RECONNECT:
            self._in_a_row = 0
            self.manager.reconnect(role, "the venue sends frames that do not decode")


class BaseDialect:
    """How a venue's sockets speak (`transport.dialect.Dialect`), with the usual answers: addresses from the spec, no login."""

    heartbeat: Heartbeat
    max_age_s: float | None = None

    def __init__(self, context: ClientContext) -> None:
        self.context = context

    async def url(self, role: str) -> str:
        try:
            return self.context.endpoints.ws[role]
        except KeyError:
            raise ConfigError(f"endpoints.ws gives no address for socket {role!r}", venue=self.context.name) from None

    async def login(self, role: str, socket: Socket) -> None:
        """Nothing to do before subscribing."""

    def topic(self, stream: Stream, instrument: Instrument | None, parameter: str = "") -> Topic:
        raise NotImplementedError

    async def subscribe(self, topics: Sequence[Topic]) -> list[str | bytes]:
        raise NotImplementedError

    async def unsubscribe(self, topics: Sequence[Topic]) -> list[str | bytes]:
        raise NotImplementedError

    def silence_s(self, topic: Topic) -> float | None:
        return None

    def is_heartbeat(self, data: str | bytes) -> bool:
        return False


class BaseWebSocketManager:
    """All streams of one client."""

    dialect_class: ClassVar[type[BaseDialect]]
    message_handler_class: ClassVar[type[BaseMessageHandler]]
    sequence_rule: SequenceRule
    exact_books: bool = True
    """False: streamed books are grouped, or show what our orders cannot hit. They are read as books; prices never come from them."""
    max_depth: ClassVar[int | None] = None

    def __init__(self, context: ClientContext) -> None:
        self.context = context
        self.registry = SubscriptionRegistry()
        self.feeds: dict[str, BookFeed] = {}
        self._book_refs: dict[str, int] = {}
        self._bbos: dict[InstrumentId, Bbo] = {}
        self._book_waiters: dict[InstrumentId, list[asyncio.Future[None]]] = {}
        self._sockets: dict[str, StreamSocket] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._errands: set[asyncio.Task[None]] = set()
        self._started = False
        self._snapshots: dict[str, asyncio.Task[None]] = {}
        self.on_private_gap: Callable[[str], None] = lambda reason: None
        self.on_own_liquidation: Callable[[LiquidationEvent], None] = lambda event: None
        self.socket_factory: Callable[..., StreamSocket] | None = None
        """Makes the sockets, with the arguments of `VenueSocket`: the seam of recording and playback. Set before connecting."""
        self.dialect = self.dialect_class(context)
        self.handler = self.message_handler_class(self)

    # ---- connecting

    @property
    def private_role(self) -> str:
        return self.context.spec.private_role or self.context.spec.roles[0]

    def _roles(self) -> tuple[str, ...]:
        separate = self.context.spec.private_role
        return tuple(r for r in self.context.spec.roles if r != separate or self.context.signer is not None)

    async def connect(self, *, timeout_s: float = 15.0) -> None:
        """Open every socket and have the account's streams confirmed.

        Raises:
            AuthError: the venue refused the login.
            NotReady: not connected and confirmed in time; the sockets go on trying until `disconnect`.
        """
        if self.context.signer is not None:
            now, wanted = self.context.runtime.clock.monotonic(), set(self.registry.wanted())
            for topic in self.private_topics():
                if topic not in wanted:
                    self.registry.want(topic, now)
        self._started = True
        for role in self._roles():
            if role not in self.context.spec.on_demand_roles or self.registry.wanted(role):
                self._open(role)
        clock = self.context.runtime.clock
        end = clock.monotonic() + timeout_s
        while not self._connected_and_confirmed():
            self._raise_if_refused()
            if clock.monotonic() > end:
                waiting = [r for r, s in self._sockets.items() if not s.is_connected] or [t.label for t in self._private_unconfirmed()]
                raise NotReady(f"streams are not up after {timeout_s:g} s: {', '.join(waiting)}", venue=self.context.name)
            await clock.sleep(0.01)

    def _open(self, role: str) -> None:
        if (task := self._tasks.get(role)) is None or task.done():
            self._sockets[role] = self._make_socket(role)
            self._tasks[role] = asyncio.create_task(self._sockets[role].run(), name=f"{self.context.name}-{role}")

    def private_topics(self) -> list[Topic]:
        """What a signed client always watches."""
        streams = [s for s in (Stream.ORDERS, Stream.FILLS, Stream.POSITIONS, Stream.ACCOUNT) if s in self.context.spec.streams]
        return list(dict.fromkeys(self.dialect.topic(stream, None) for stream in streams))

    def _private_unconfirmed(self) -> list[Topic]:
        return [t for t in self.registry.wanted() if t.stream.is_private and not self.registry.is_confirmed(t)]

    def _connected_and_confirmed(self) -> bool:
        return all(s.is_connected for s in self._sockets.values()) and not self._private_unconfirmed()

    def _raise_if_refused(self) -> None:
        for role in self._tasks:
            self._raise_if_ended(role)
        for topic in self._private_unconfirmed():
            if reason := self.registry.refusal(topic):
                raise SubscriptionRefused(f"{topic.label}: {reason}", venue=self.context.name)

    def _raise_if_ended(self, role: str) -> None:
        """The socket gave up: trying again cannot help."""
        task = self._tasks.get(role)
        if task is not None and task.done() and not task.cancelled() and (error := task.exception()) is not None:
            raise error

    async def disconnect(self) -> None:
        tasks = [*self._tasks.values(), *self._errands]
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._sockets.clear()
        self._started = False
        for role in self._roles():
            self.registry.lost_connection(role, self.context.runtime.clock.monotonic())
        self.context.socket_commands.lost("disconnected by us")
        for feed in self.feeds.values():
            feed.lost("disconnected")
        self._bbos.clear()

    @property
    def is_connected(self) -> bool:
        return self._started and all(s.is_connected for s in self._sockets.values())

    @property
    def subscription_count(self) -> int:
        """Confirmed ones only."""
        return self.registry.confirmed_count

    def _make_socket(self, role: str) -> StreamSocket:
        from exchange_clients.transport.stream import VenueSocket  # aiohttp comes with it

        context = self.context
        carries_commands = role == self.private_role
        socket: StreamSocket

        def opened() -> None:
            if carries_commands:
                context.socket_commands.opened(socket.send)
            context.log.info("stream.open role=%s connects=%d", role, socket.connects)

        socket = (self.socket_factory or VenueSocket)(
            context.name,
            role,
            self.dialect,
            self.registry,
            context.runtime,
            context.limiter,
            lambda: context.rest.session,
            on_frame=lambda data, ts: self.handler.feed(role, data, ts),
            on_open=opened,
            on_lost=lambda reason: self._lost(role, reason),
            on_silence=self._confirmed,
            expects_data=lambda: any(
                t.role == role and t.stream in _CHATTY and self.registry.is_confirmed(t) for t in self.registry.wanted(role)
            ),
            stale_after_s=context.config.stale_after_s,
            message_cost={self._pool_of(pool, role): weight for pool, weight in context.spec.ws_message_cost.items()},
            rng=random.Random(zlib.crc32(f"{context.name}/{role}".encode())),  # noqa: S311 - jitter, not secrecy
            proxy=context.config.proxy_address,
        )
        return socket

    def _pool_of(self, pool: str, role: str) -> str:
        """A pool per connection counts each socket by itself."""
        return f"{pool}/{role}" if self.context.spec.pools[pool].scope == "connection" else pool

    def reconnect(self, role: str, reason: str) -> None:
        """Give up this connection now; the next one comes after the pause that the last losses ask for."""
        self.context.log.warning("stream.reconnect role=%s reason=%s", role, reason)
        if (socket := self._sockets.get(role)) is not None:
            socket.end(reason)

    def _lost(self, role: str, reason: str) -> None:
        """Everything this socket carried is unproven from here on, and every reader is told."""
        context = self.context
        now_ns = context.runtime.clock.time_ns()
        if role == self.private_role:
            context.socket_commands.lost(reason)
        private = False
        for topic in self.registry.lost_connection(role, context.runtime.clock.monotonic()):
            private = private or topic.stream.is_private
            if topic.instrument is not None:
                instrument = context.instruments.get(topic.instrument)
                if (feed := self.feeds.get(instrument.contract_id)) is not None:
                    feed.lost(reason)
                    self._abandon_snapshot(instrument.contract_id)
                self._bbos.pop(topic.instrument, None)
        context.hub.publish_gap(Gap(venue=context.name, topic=role, reason=reason, ts_ns=now_ns))
        if private:
            self.on_private_gap(reason)

    def say(self, role: str, message: str) -> None:
        """Answer the venue, outside of any subscription or command; lost with the connection."""
        if (socket := self._sockets.get(role)) is not None and socket.is_connected:
            self.errand(socket.send(message))

    # ---- subscribing

    def want(self, topic: Topic) -> None:
        if not self.registry.want(topic, self.context.runtime.clock.monotonic()):
            return
        if (socket := self._sockets.get(topic.role)) is not None:
            self.errand(socket.flush())
        elif self._started and topic.role in self.context.spec.on_demand_roles:
            self._open(topic.role)

    def release(self, topic: Topic) -> None:
        if self.registry.release(topic):
            if topic.stream is Stream.BBO and topic.instrument is not None:
                self._bbos.pop(topic.instrument, None)
            if (socket := self._sockets.get(topic.role)) is not None:
                self.errand(socket.drop([topic]))

    def errand(self, work: Any) -> asyncio.Task[None]:
        """Run a coroutine beside the caller until it ends or the client disconnects; a failure is logged."""
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._errands.add(task)

        def done(t: asyncio.Task[None]) -> None:
            self._errands.discard(t)
            if not t.cancelled() and (error := t.exception()) is not None:
                self.context.log.error("stream.errand_failed reason=%s", error)

        task.add_done_callback(done)
        return task

    def _topics(self, stream: Stream, instrument: Instrument | None, parameter: str) -> list[Topic]:
        if stream is Stream.BBO and Stream.BBO not in self.context.spec.streams:
            stream = Stream.BOOK
        if stream not in self.context.spec.streams:
            raise UnsupportedCapability(f"there is no {stream} stream", venue=self.context.name)
        return [self.dialect.topic(stream, instrument, parameter)]

    def watch(
        self, stream: Stream, instrument: Instrument | None = None, *, parameter: str = "", coalesce: bool = False, maxsize: int = 10_000
    ) -> Subscription:
        """A consumer of a stream; ending it releases what it needed from the venue.

        Raises UnsupportedCapability when the venue has no such stream.
        """
        topics = self._topics(stream, instrument, parameter)
        uses_book = instrument is not None and any(t.stream is Stream.BOOK for t in topics)

        def release() -> None:
            for topic in topics:
                self.release(topic)
            if uses_book and instrument is not None:
                self._drop_book(instrument)

        if uses_book and instrument is not None:
            self._hold_book(instrument)
        for topic in topics:
            self.want(topic)
        key = event_key(stream, instrument.id if instrument is not None else None, parameter)
        return self.context.hub.subscribe(key, coalesce=coalesce, maxsize=maxsize, on_close=release)

    # ---- books

    def _hold_book(self, instrument: Instrument) -> BookFeed:
        feed = self.feeds.get(instrument.contract_id)
        if feed is None:
            feed = BookFeed(instrument, self.sequence_rule, self._on_book_gap, max_depth=self.max_depth)
            self.feeds[instrument.contract_id] = feed
        self._book_refs[instrument.contract_id] = self._book_refs.get(instrument.contract_id, 0) + 1
        return feed

    def _drop_book(self, instrument: Instrument) -> None:
        left = self._book_refs.get(instrument.contract_id, 0) - 1
        if left > 0:
            self._book_refs[instrument.contract_id] = left
        else:
            self._book_refs.pop(instrument.contract_id, None)
            self.feeds.pop(instrument.contract_id, None)

    async def prepare_market_feed(self, instrument: Instrument, *, timeout_s: float = 10.0) -> None:
        """Keep this market's book (and best prices) streaming until `release_market_feed`; returns when the book is ready.

        Raises:
            NotReady: not ready in time; the feed goes on trying.
            SubscriptionRefused: the venue will not stream it.
        """
        feed = self._hold_book(instrument)
        book_topic = self._topics(Stream.BOOK, instrument, "")[0]
        self.want(book_topic)
        if Stream.BBO in self.context.spec.streams:
            self.want(self.dialect.topic(Stream.BBO, instrument))
        clock = self.context.runtime.clock
        end = clock.monotonic() + timeout_s
        while not feed.book.ready:
            if reason := self.registry.refusal(book_topic):
                raise SubscriptionRefused(f"{book_topic.channel}: {reason}", venue=self.context.name)
            self._raise_if_ended(book_topic.role)
            left = end - clock.monotonic()
            if left <= 0:
                raise NotReady(f"{instrument.id}: no book after {timeout_s:g} s ({feed.book.state.reason})", venue=self.context.name)
            await self._book_changed(instrument.id, min(left, 0.5))

    def release_market_feed(self, instrument: Instrument) -> None:
        self.release(self.dialect.topic(Stream.BOOK, instrument))
        if Stream.BBO in self.context.spec.streams:
            self.release(self.dialect.topic(Stream.BBO, instrument))
        self._drop_book(instrument)

    async def _book_changed(self, instrument: InstrumentId, timeout_s: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiters = self._book_waiters.setdefault(instrument, [])
        waiters.append(future)
        try:
            async with asyncio.timeout(timeout_s):
                await future
        except TimeoutError:
            pass
        finally:
            waiters.remove(future)
            if not waiters:
                self._book_waiters.pop(instrument, None)

    def order_book_ready(self, instrument: Instrument) -> bool:
        feed = self.feeds.get(instrument.contract_id)
        return feed is not None and feed.book.ready

    def get_order_book(self, instrument: Instrument, levels: int | None = None) -> BookSnapshot:
        """The streamed book as it stands.

        Raises NotReady when it is not streaming, syncing or stale.
        """
        feed = self.feeds.get(instrument.contract_id)
        if feed is None:
            raise NotReady(f"{instrument.id} is not streaming: await prepare_market_feed first", venue=self.context.name)
        return feed.read(levels)

    def get_best_levels(self, instrument: Instrument, min_size_usd: Decimal = Decimal(0)) -> tuple[BookLevel | None, BookLevel | None]:
        """The best bid and ask that are worth at least `min_size_usd` by themselves."""
        feed = self.feeds.get(instrument.contract_id)
        if feed is None:
            raise NotReady(f"{instrument.id} is not streaming: await prepare_market_feed first", venue=self.context.name)
        return feed.book.best_levels(min_size_usd)

    def get_latest_bbo(self, instrument: Instrument) -> Bbo | None:
        """What the BBO stream said last, else the best of a ready book; None when neither is there. Look at its time."""
        if (bbo := self._bbos.get(instrument.id)) is not None:
            return bbo
        feed = self.feeds.get(instrument.contract_id)
        return feed.bbo() if feed is not None and feed.book.ready and self.exact_books else None

    def fresh_bbo(self, instrument: InstrumentId) -> Bbo | None:
        """The newest usable best prices not older than the configured age, from the BBO stream or a ready book."""
        limit_ns = self.context.runtime.clock.time_ns() - round(self.context.config.max_book_age_s * NS_PER_S)
        feed = self.feeds.get(self.context.instruments.get(instrument).contract_id) if self.feeds else None
        book = feed.bbo() if feed is not None and feed.book.ready and self.exact_books else None
        candidates = [b for b in (self._bbos.get(instrument), book) if b is not None and b.ts_recv_ns >= limit_ns]
        return max(candidates, key=lambda b: b.ts_recv_ns, default=None)

    def fresh_book(self, instrument: InstrumentId, levels: int) -> BookSnapshot | None:
        feed = self.feeds.get(self.context.instruments.get(instrument).contract_id) if self.feeds else None
        if feed is None or not feed.book.ready or not self.exact_books:
            return None
        age_ns = self.context.runtime.clock.time_ns() - feed.book.state.ts_recv_ns
        return feed.read(levels) if age_ns <= self.context.config.max_book_age_s * NS_PER_S else None

    def register_bbo_listener(self, instrument: Instrument, listener: Listener) -> Callable[[], None]:
        """Call `listener(Bbo)` on each change while the market streams; the returned function ends it."""
        return self.context.hub.listen(event_key(Stream.BBO, instrument.id), listener)

    async def fetch_snapshot(self, feed: BookFeed) -> None:
        """Bring a REST snapshot into the feed (`feed.snapshot(...)`): venues whose rule says so."""
        raise NotImplementedError

    def _on_book_gap(self, gap: BookGap) -> None:
        context = self.context
        level = logging.WARNING if gap.was_ready else logging.INFO  # a book that only begins has lost nothing
        context.log.log(level, "book.gap instrument=%s reason=%s resync=%s", gap.instrument, gap.reason, gap.resync)
        if gap.was_ready:
            event = Gap(
                venue=context.name, topic=Stream.BOOK, reason=gap.reason, ts_ns=context.runtime.clock.time_ns(), instrument=gap.instrument
            )
            for stream in (Stream.BOOK, Stream.BBO):
                context.hub.publish(event_key(stream, gap.instrument), event)
        instrument = context.instruments.get(gap.instrument)
        if gap.resync is Resync.RESUBSCRIBE:
            self.errand(self._resubscribe(self.dialect.topic(Stream.BOOK, instrument)))
        elif gap.resync is Resync.SNAPSHOT:
            self._abandon_snapshot(instrument.contract_id)
            self._snapshots[instrument.contract_id] = self.errand(self._snapshot(self.feeds[instrument.contract_id]))

    def _abandon_snapshot(self, contract_id: str) -> None:
        """One that is still on its way was taken before what it was asked for."""
        task = self._snapshots.pop(contract_id, None)
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    async def _resubscribe(self, topic: Topic) -> None:
        socket = self._sockets.get(topic.role)
        if socket is not None and socket.is_connected:
            await socket.drop([topic])
            self.registry.again(topic, self.context.runtime.clock.monotonic())
            await socket.flush()

    async def _snapshot(self, feed: BookFeed) -> None:
        try:
            await self.fetch_snapshot(feed)
        except VenueError as e:
            self.context.log.warning("book.snapshot_failed instrument=%s reason=%s", feed.instrument, e)
            await self.context.runtime.clock.sleep(1.0)
            feed.gap(f"snapshot failed: {e}")

    # ---- what message handlers tell

    def confirm(self, role: str, channel: str) -> bool:
        """The venue confirmed a channel; False when nobody wants it any more."""
        topic = self.registry.find(role, channel)
        return topic is not None and self._confirmed(topic)

    def _confirmed(self, topic: Topic) -> bool:
        if not self.registry.confirmed(topic, self.context.runtime.clock.monotonic()):
            return False
        if topic.stream is Stream.BOOK and topic.instrument is not None:
            feed = self.feeds.get(self.context.instruments.get(topic.instrument).contract_id)
            if feed is not None:
                feed.begin()
                if feed.rule.source is SnapshotSource.STREAM:
                    self.errand(self._expect_snapshot(topic, feed))
        return True

    async def _expect_snapshot(self, topic: Topic, feed: BookFeed) -> None:
        """Updates of a book whose first message was lost prove nothing: it is asked for again."""
        await self.context.runtime.clock.sleep(SNAPSHOT_WITHIN_S)
        if feed.book.state.sequence is None and self.registry.is_confirmed(topic) and feed in self.feeds.values():
            feed.gap(f"no snapshot came in {SNAPSHOT_WITHIN_S:g} s")

    def refuse(self, role: str, channel: str, reason: str) -> None:
        topic = self.registry.find(role, channel)
        label = topic.label if topic is not None else "unknown"
        self.context.log.warning("subscription.refused role=%s channel=%s reason=%s", role, label, reason)
        if topic is not None:
            self.registry.refused(topic, reason)

    def feed_of(self, contract_id: str) -> BookFeed | None:
        """The book of a venue's market name, None when nobody wants it (a late frame)."""
        return self.feeds.get(contract_id)

    def book_changed(self, change: BookChange | None) -> None:
        """After each message of a book."""
        if change is None:
            return
        hub, instrument = self.context.hub, change.instrument
        for future in self._book_waiters.get(instrument, ()):
            if not future.done():
                future.set_result(None)
        key = event_key(Stream.BOOK, instrument)
        if hub.wanted(key):
            hub.publish(key, change, instrument)
        if change.best_changed and self.exact_books and instrument not in self._bbos:
            key = event_key(Stream.BBO, instrument)
            if hub.wanted(key):
                feed = self.feeds.get(self.context.instruments.get(instrument).contract_id)
                bbo = feed.bbo() if feed is not None else None
                if bbo is not None:
                    hub.publish(key, bbo, instrument)

    def bbo(self, bbo: Bbo) -> None:
        """From a BBO stream."""
        self._bbos[bbo.instrument] = bbo
        self.context.hub.publish(event_key(Stream.BBO, bbo.instrument), bbo, bbo.instrument)

    def no_bbo(self, instrument: InstrumentId) -> None:
        """The BBO stream says that a side is empty: what it said before is no price any more."""
        self._bbos.pop(instrument, None)

    def trade(self, trade: Trade) -> None:
        self.context.hub.publish(event_key(Stream.TRADES, trade.instrument), trade)

    def candle(self, candle: Candle) -> None:
        self.context.hub.publish(event_key(Stream.CANDLES, candle.instrument, candle.interval), candle, candle.open_ns)

    def mark(self, mark: MarkPrice) -> None:
        self.context.hub.publish(event_key(Stream.MARK, mark.instrument), mark, mark.instrument)

    def index(self, index: IndexPrice) -> None:
        self.context.hub.publish(event_key(Stream.INDEX, index.instrument), index, index.instrument)

    def funding(self, instrument: InstrumentId, sample: FundingRateSample) -> None:
        self.context.hub.publish(event_key(Stream.FUNDING, instrument), sample, instrument)

    def fill(self, fill: Fill) -> bool:
        """An own execution: into the tracker, which tells watchers of new ones; a forced one is a liquidation too. False when known."""
        if not self.context.tracker.on_fill(fill):
            return False
        if (event := own_liquidation(fill)) is not None:
            self.liquidation(event)
        return True

    def position(self, position: Position) -> None:
        """One position as the venue sees it now; zero quantity means flat."""
        if position.quantity:
            self.context.positions[position.instrument] = position
        else:
            self.context.positions.pop(position.instrument, None)
        self.context.hub.publish(event_key(Stream.POSITIONS), position, position.instrument)

    def positions(self, listed: Iterable[Position], ts_ns: int, *, dex: str | None = None) -> None:
        """All positions of the account, or of one `dex`: what is known and no longer listed is flat."""
        told = {position.instrument: position for position in listed}
        for key in [key for key in self.context.positions if key not in told and dex in (None, key.dex)]:
            told[key] = Position(instrument=key, quantity=ZERO, ts_ns=ts_ns)
        for position in told.values():
            self.position(position)

    def account(self, state: Any) -> None:
        self.context.hub.publish(event_key(Stream.ACCOUNT), state, "account")

    def liquidation(self, event: LiquidationEvent) -> None:
        if event.own:
            self.on_own_liquidation(event)
        self.context.hub.publish(event_key(Stream.LIQUIDATIONS), event)
