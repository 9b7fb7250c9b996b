"""Records the public streams of one venue: every frame as it comes off the socket, before anything looks at it.

A part of a recording is one client's life, from its first request on: so each file can be heard alone. When a part is full, a second client
comes up beside the first, and the first one goes when the second one's books stand: both files have what came in between.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from exchange_clients import venues
from exchange_clients.base_client import BaseExchangeClient
from exchange_clients.base_websocket import event_key
from exchange_clients.errors import NotReady, SubscriptionRefused, VenueError
from exchange_clients.model import NS_PER_S, Gap, Instrument
from exchange_clients.signing import HttpRequest
from exchange_clients.spec import Stream
from exchange_clients.subscriptions import Topic
from exchange_clients.transport.dialect import Dialect, Heartbeat, Socket
from exchange_clients.transport.runtime import Runtime
from exchange_clients.transport.stream import VenueSocket
from exchange_simulator.world.playback import request_key, watch_all
from exchange_simulator.world.wire import FORMAT, Header, Kind, Line, TopicRef, body_line, line_with
from perpkit import __version__
from perpkit.recording.writer import RecordingWriter, compress

UP_WITHIN_S = 30.0
LOOK_EVERY_S = 0.1
PART_BYTES = 64 * 1024 * 1024
PACK_WITHIN_S = 600.0
REPLAYED_SETTINGS = ("venue_options",)
"""Of a client's settings, those that change how frames are understood."""


OnLoaded = Callable[[BaseExchangeClient, list[Instrument]], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to record, and where. `settings` are the client's; a part ends at `part_bytes` or after `part_s`."""

    venue: str
    symbols: tuple[str, ...]
    streams: tuple[Stream, ...]
    folder: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    part_bytes: int = PART_BYTES
    part_s: float = 3600.0


@dataclass(slots=True)
class Progress:
    """What has been recorded so far, over all parts."""

    frames: int = 0
    bytes: int = 0
    seen: Counter[tuple[str, Stream]] = field(default_factory=Counter)
    """Events by market and stream."""
    gaps: int = 0
    last_gap: str = ""
    files: list[Path] = field(default_factory=list)
    session: str = ""


class _TappedDialect:
    """The venue's dialect; what it has sent is written down."""

    def __init__(self, inner: Dialect, role: str, tap: Tap) -> None:
        self._inner, self._role, self._tap = inner, role, tap
        self.heartbeat: Heartbeat = inner.heartbeat
        self.max_age_s = inner.max_age_s

    async def url(self, role: str) -> str:
        url = await self._inner.url(role)
        self._tap.line(Kind.WS_CONNECT, role=role, url=url)
        return url

    async def login(self, role: str, socket: Socket) -> None:
        await self._inner.login(role, socket)

    def topic(self, stream: Stream, instrument: Instrument | None, parameter: str = "") -> Topic:
        return self._inner.topic(stream, instrument, parameter)

    async def subscribe(self, topics: Sequence[Topic]) -> list[str | bytes]:
        return self._told(topics, await self._inner.subscribe(topics), "subscribe")

    async def unsubscribe(self, topics: Sequence[Topic]) -> list[str | bytes]:
        return self._told(topics, await self._inner.unsubscribe(topics), "unsubscribe")

    def _told(self, topics: Sequence[Topic], messages: list[str | bytes], op: str) -> list[str | bytes]:
        about: dict[str, Any] = {"op": op, "topics": tuple(TopicRef.of(topic) for topic in topics)}
        for message in messages:
            self._tap.write(line_with(message, t_ns=self._tap.now(), kind=Kind.WS_SEND, role=self._role, **about))
            about = {}
        return messages

    def silence_s(self, topic: Topic) -> float | None:
        return self._inner.silence_s(topic)

    def is_heartbeat(self, data: str | bytes) -> bool:
        return self._inner.is_heartbeat(data)


class Tap:
    """One part: a client, and the file that everything of it goes to."""

    def __init__(self, wanted: Wanted, part: int, progress: Progress, runtime: Runtime, on_loaded: OnLoaded | None) -> None:
        self._on_loaded = on_loaded
        self.progress = progress
        self._runtime = runtime
        self.began = runtime.clock.monotonic()
        settings = {**wanted.settings}
        self.client: BaseExchangeClient = venues.get(wanted.venue).client(settings, None, runtime=runtime)
        self.client.context.rest.around = self._around
        self.client.ws_manager.socket_factory = self._socket
        self.wanted, self.part = wanted, part
        self.instruments: list[Instrument] = []
        name = f"{wanted.venue}-{progress.session}-{part:03d}.jsonl"
        self.writer = RecordingWriter(wanted.folder / name)
        self._held: list[Line] = []
        self._begun = False
        self._stops: list[Callable[[], None]] = []

    def now(self) -> int:
        return self._runtime.clock.time_ns()

    # ---- what goes to the file

    def write(self, line: Line) -> None:
        if not self._begun:
            self._held.append(line)  # the header names the markets, which are known when the table is loaded
            return
        self.writer.write(line)

    def line(self, kind: Kind, **more: Any) -> None:
        self.write(Line(t_ns=self.now(), kind=kind, **more))

    def _begin(self) -> None:
        config = self.client.config
        kept = {name: dict(value) if isinstance(value := getattr(config, name), Mapping) else value for name in REPLAYED_SETTINGS}
        header = Header(
            format=FORMAT,
            venue=self.wanted.venue,
            environment=config.environment,
            instruments=tuple(str(i.id) for i in self.instruments),
            streams=self.wanted.streams,
            settings=kept,
            session=self.progress.session,
            part=self.part,
            made_by=f"perpkit {__version__}",
        )
        began_ns = self._held[0].t_ns if self._held else self.now()
        self._begun = True
        held, self._held = self._held, []
        self.write(Line(t_ns=began_ns, kind=Kind.HEADER, header=header))
        for line in held:
            self.write(line)
        self.line(Kind.INSTRUMENTS, instruments=tuple(self.client.instruments.all()))

    async def _around(self, request: HttpRequest, send: Callable[[], Awaitable[bytes]]) -> bytes:
        body = await send()
        method, url, sent = request_key(request)
        self.write(body_line(body, t_ns=self.now(), method=method, url=url, sent=sent))
        return body

    def _socket(
        self,
        venue: str,
        role: str,
        dialect: Dialect,
        *arguments: Any,
        on_frame: Callable[[str | bytes, int], None],
        on_lost: Callable[[str], None],
        on_silence: Callable[[Topic], object],
        **more: Any,
    ) -> VenueSocket:
        progress = self.progress

        def frame(data: str | bytes, ts_recv_ns: int) -> None:
            progress.frames += 1
            progress.bytes += len(data)
            self.write(line_with(data, t_ns=ts_recv_ns, kind=Kind.WS_RECV, role=role))
            on_frame(data, ts_recv_ns)

        def lost(reason: str) -> None:
            self.line(Kind.WS_LOST, role=role, reason=reason)
            on_lost(reason)

        def silence(topic: Topic) -> object:
            self.line(Kind.WS_CONFIRMED, role=role, topics=(TopicRef.of(topic),))
            return on_silence(topic)

        tapped = _TappedDialect(dialect, role, self)
        return VenueSocket(venue, role, tapped, *arguments, on_frame=frame, on_lost=lost, on_silence=silence, **more)

    # ---- its life

    async def open(self) -> None:
        """Load the table, subscribe, connect, and wait for every book.

        Raises:
            UnknownInstrument: a symbol is not listed.
            UnsupportedCapability: the venue has no such stream.
            VenueError: the venue is not reached, or refuses a stream.
        """
        client, wanted = self.client, self.wanted
        await client.instruments.load_all()
        self.instruments = list({i.id: i for i in (client.instruments.get(symbol) for symbol in wanted.symbols)}.values())
        self._begin()
        self._count()
        if self._on_loaded is not None:
            self._on_loaded(client, self.instruments)
        watch_all(client, self.instruments, wanted.streams)
        await client.ws_manager.connect(timeout_s=UP_WITHIN_S)
        await self._all_up()
        self.line(Kind.READY)

    async def _all_up(self) -> None:
        manager, clock = self.client.ws_manager, self._runtime.clock
        end = clock.monotonic() + UP_WITHIN_S
        while True:
            for topic in manager.registry.wanted():
                if reason := manager.registry.refusal(topic):
                    raise SubscriptionRefused(f"{topic.channel}: {reason}", venue=self.wanted.venue)
            books = self.instruments if Stream.BOOK in self.wanted.streams else []
            waiting = [str(i.id) for i in books if not manager.order_book_ready(i)]
            waiting += [t.channel for t in manager.registry.wanted() if not manager.registry.is_confirmed(t)]
            if not waiting:
                return
            if clock.monotonic() > end:
                raise NotReady(f"not streaming after {UP_WITHIN_S:g} s: {', '.join(waiting[:5])}", venue=self.wanted.venue)
            await clock.sleep(LOOK_EVERY_S / 10)

    def _count(self) -> None:
        """Every event, also those that a slow reader would not see."""
        progress = self.progress

        def counter(name: str, stream: Stream) -> Callable[[Any], None]:
            def heard(event: Any) -> None:
                if not isinstance(event, Gap):
                    progress.seen[name, stream] += 1
                elif stream is self.wanted.streams[0]:
                    progress.gaps += 1
                    progress.last_gap = event.reason

            return heard

        for instrument in self.instruments:
            for stream in self.wanted.streams:
                key = event_key(stream, instrument.id)
                self._stops.append(self.client.context.hub.listen(key, counter(instrument.id.base, stream)))

    def full(self) -> bool:
        return self.writer.bytes >= self.wanted.part_bytes or self._runtime.clock.monotonic() - self.began >= self.wanted.part_s

    async def close(self, reason: str) -> None:
        """No socket is left, and the file is whole."""
        for stop in self._stops:
            stop()
        self.line(Kind.END, reason=reason)
        await self.client.disconnect()
        await self._runtime.offload.run(self.writer.close)

    def discard(self) -> None:
        """A part that never came up: its file helps nobody."""
        self.writer.close()
        self.writer.path.unlink(missing_ok=True)


class Recorder:
    """Records until it is cancelled or `run` is told to end. `progress` may be read at any time."""

    def __init__(self, wanted: Wanted, runtime: Runtime, *, on_loaded: OnLoaded | None = None) -> None:
        """`on_loaded(client, markets)` is called for each part before anything is subscribed."""
        self._on_loaded = on_loaded
        self.wanted = wanted
        self.progress = Progress(session=datetime.fromtimestamp(runtime.clock.time_ns() // NS_PER_S, UTC).strftime("%Y%m%dT%H%M%SZ"))
        self._runtime = runtime
        self._parts = 0
        self.part: Tap | None = None
        """The one that is being written."""
        self._packing: set[asyncio.Task[None]] = set()
        self.problem = ""
        """Why the next part could not be begun, while the last one goes on."""

    async def run(self, seconds: float | None = None) -> None:
        """Record, for so long or until cancelled.

        Raises:
            VenueError: the venue is not reached at the start; later losses are part of the recording.
            OSError: the file cannot be written.
        """
        clock = self._runtime.clock
        part = self.part = await self._next()
        end = clock.monotonic() + seconds if seconds is not None else None
        reason = "interrupted"
        retry_at = 0.0
        try:
            while end is None or clock.monotonic() < end:
                left = LOOK_EVERY_S if end is None else min(LOOK_EVERY_S, max(0.0, end - clock.monotonic()))
                await clock.sleep(left)
                if part.writer.failed is not None:
                    raise part.writer.failed
                if part.full() and clock.monotonic() >= retry_at:
                    try:
                        following = await self._next()
                    except VenueError as e:
                        self.problem, retry_at = str(e), clock.monotonic() + UP_WITHIN_S
                        continue
                    self.problem = ""
                    last, part = part, following
                    self.part = part
                    await self._finish(last, "the next part goes on")
            reason = "done"
        finally:
            await asyncio.shield(self._finish(part, reason))
            if self._packing:
                await asyncio.gather(*self._packing)

    async def _next(self) -> Tap:
        part = Tap(self.wanted, self._parts, self.progress, self._runtime, self._on_loaded)
        try:
            await part.open()
        except BaseException:
            await part.client.disconnect()
            part.discard()
            raise
        self._parts += 1
        self.progress.files.append(part.writer.path)
        return part

    async def _finish(self, part: Tap, reason: str) -> None:
        await part.close(reason)
        task = asyncio.create_task(self._pack(part.writer.path), name="recording-pack")
        self._packing.add(task)
        task.add_done_callback(self._packing.discard)

    async def _pack(self, path: Path) -> None:
        packed = await self._runtime.offload.run(compress, path, deadline_s=PACK_WITHIN_S)
        self.progress.files[self.progress.files.index(path)] = packed


def streams_of(venue: str, asked: Sequence[str]) -> tuple[Stream, ...]:
    """The streams to record; without a wish book, trades, best prices and funding, as far as the venue has them.

    Raises:
        ValueError: no such stream, or the venue does not have it: the message names those it has.
    """
    from exchange_simulator.world.playback import HEARD

    there = [stream for stream in HEARD if stream in venues.get(venue).spec.streams]
    if not asked:
        return tuple(s for s in there if s in (Stream.BOOK, Stream.TRADES, Stream.BBO, Stream.FUNDING))
    found = []
    for name in asked:
        if name not in [stream.value for stream in there]:
            raise ValueError(f"{venue} has no public stream {name!r} to record: there are {', '.join(there)}")
        found.append(Stream(name))
    return tuple(dict.fromkeys(found))


@asynccontextmanager
async def recording(wanted: Wanted, runtime: Runtime) -> AsyncIterator[Recorder]:
    """Records beside the block, and ends with it."""
    recorder = Recorder(wanted, runtime)
    task = asyncio.create_task(recorder.run(), name="recording")
    try:
        yield recorder
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
