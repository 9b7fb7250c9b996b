"""Hears a recording again with the venue's real client code: sockets and requests are answered from the file, on the recording's own time.

Everything above the wire is the code that trades: decoder, message handler, sequence rule, book, subscriptions, instrument table. Only two
things are replaced, at their seams: who makes the sockets (`BaseWebSocketManager.socket_factory`), and what stands around a request
(`RestTransport.around`).
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exchange_clients import venues
from exchange_clients.base_client import BaseExchangeClient
from exchange_clients.base_websocket import event_key
from exchange_clients.book import BookChange
from exchange_clients.errors import ConnectFailed
from exchange_clients.events import Subscription
from exchange_clients.model import NS_PER_S, Bbo, FundingRateSample, Gap, Instrument, InstrumentId, Trade
from exchange_clients.signing import HttpRequest
from exchange_clients.spec import Stream
from exchange_clients.subscriptions import SubscriptionRegistry, Topic
from exchange_clients.transport.clock import VirtualClock
from exchange_clients.transport.dialect import Dialect
from exchange_clients.transport.offload import InlineOffload
from exchange_clients.transport.runtime import Runtime
from exchange_simulator.simloop import SimLoop, SimNetwork
from exchange_simulator.world.wire import Header, Kind, Line, TopicRef, WireError, parts_of, read

HEARD = (Stream.BOOK, Stream.BBO, Stream.TRADES, Stream.FUNDING, Stream.MARK, Stream.INDEX)
"""Streams that can be recorded."""


def watch_all(client: BaseExchangeClient, instruments: Sequence[Instrument], streams: Sequence[Stream]) -> list[Subscription]:
    """Want every stream of every market: the same in the same order for who records and who plays."""
    watch = client.ws_manager.watch
    return [watch(stream, instrument, coalesce=True) for instrument in instruments for stream in streams]


def request_key(request: HttpRequest) -> tuple[str, str, str]:
    """What makes two requests the same: method, address with its query, body (its bytes as Latin-1)."""
    query = "&".join(f"{name}={value}" for name, value in request.query)
    return request.method, request.path + ("?" + query if query else ""), (request.body or b"").decode("latin-1")


@dataclass(slots=True)
class Step:
    """What one line did: the books that changed, and the events a consumer would have been given."""

    line: Line
    books: list[BookChange] = field(default_factory=list)
    trades: list[Trade] = field(default_factory=list)
    bbos: list[Bbo] = field(default_factory=list)
    rates: list[tuple[InstrumentId, FundingRateSample]] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)

    @property
    def t_ns(self) -> int:
        return self.line.t_ns


class PlayedSocket:
    """A socket whose other end is a recording: it connects, carries and breaks when the file says so, and sends nothing."""

    def __init__(
        self,
        venue: str,
        role: str,
        dialect: Dialect,
        registry: SubscriptionRegistry,
        runtime: Runtime,
        *_: Any,
        on_frame: Callable[[str | bytes, int], None],
        on_open: Callable[[], None],
        on_lost: Callable[[str], None],
        on_silence: Callable[[Topic], object],
        **__: Any,
    ) -> None:
        self.venue, self.role = venue, role
        self.dialect, self.registry, self.clock = dialect, registry, runtime.clock
        self.on_frame, self.on_open, self.on_lost, self.on_silence = on_frame, on_open, on_lost, on_silence
        self.connects = 0
        self._connected = False

    @property
    def is_connected(self) -> bool:
        return self._connected

    async def run(self) -> None:
        await asyncio.get_running_loop().create_future()

    def opened(self) -> None:
        self.connects += 1
        self._connected = True
        self.on_open()

    def lost(self, reason: str) -> None:
        self._connected = False
        self.on_lost(reason)

    def end(self, reason: str) -> None:
        """The recording has the loss itself, where there was one."""

    async def send(self, message: str | bytes) -> None:
        if not self._connected:
            raise ConnectFailed(f"socket {self.role} is not connected", venue=self.venue)

    async def flush(self) -> None:
        """What is wanted was sent when the recording says so."""

    async def drop(self, topics: Sequence[Topic]) -> None:
        """As `flush`."""

    async def sent(self, topics: Sequence[Topic], op: str) -> list[str | bytes]:
        """The moment of sending: the registry and the dialect live through it; the messages as they would be now."""
        if op == "unsubscribe":
            return await self.dialect.unsubscribe(topics)
        pending = set(self.registry.pending(self.role))
        for topic in topics:
            if topic not in pending:
                self.registry.again(topic, self.clock.monotonic())
        self.registry.sent(topics, math.inf)
        messages = await self.dialect.subscribe(topics)
        self.registry.written(topics, self.clock.monotonic())
        return messages


class _PlayedClock(VirtualClock):
    """The recording's time, also where no loop runs."""

    def __init__(self, loop: SimLoop, epoch_ns: int) -> None:
        super().__init__(epoch_ns)
        self._loop = loop

    def time_ns(self) -> int:
        return self._epoch_ns + self._loop.time_ns()

    def monotonic(self) -> float:
        return self._loop.time()


class Playback:
    """One file, heard from its beginning. Iterate `steps()` once; `client` shows after each step what a live client would have shown.

    Works with or without a running event loop around it: the client lives on a virtual loop of its own that turns only inside `steps`.

    Raises:
        WireError: the file is no recording, or was made of a client that cannot be built here.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines = read(path)
        first = next(self._lines)
        if first.header is None:
            raise WireError(f"{path}: the first line is no header")
        self.header: Header = first.header
        self.instruments: list[Instrument] = []
        self.unasked = 0
        """Recorded answers that nobody waited for here."""
        self.different = 0
        """Messages that this version of the client would have sent otherwise."""
        self._loop = SimLoop()
        clock = _PlayedClock(self._loop, first.t_ns)
        network = SimNetwork(self._loop, clock, random.Random(0))
        runtime = Runtime(clock=clock, offload=InlineOffload(), connector=network.connector, grpc=network.channel)
        self._epoch_ns = first.t_ns
        self._sockets: dict[str, PlayedSocket] = {}
        self._waiting: dict[tuple[str, str, str], deque[asyncio.Future[bytes]]] = {}
        self._step = Step(first)
        settings = {**self.header.settings, "environment": self.header.environment}
        self.session: asyncio.Task[None] | None = None
        self.client = venues.get(self.header.venue).client(settings, None, runtime=runtime)
        self.client.context.rest.around = self._answered
        self.client.ws_manager.socket_factory = self._socket
        self._expected: deque[str | bytes] = deque()

    # ---- the seams

    async def _answered(self, request: HttpRequest, _: Callable[[], Any]) -> bytes:
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(request_key(request), deque()).append(future)
        return await future

    def _socket(self, *arguments: Any, **more: Any) -> PlayedSocket:
        socket = PlayedSocket(*arguments, **more)
        self._sockets[socket.role] = socket
        return socket

    # ---- time

    @contextmanager
    def _inside(self) -> Iterator[None]:
        """Our loop is the running one; whatever ran before goes on afterwards."""
        around = asyncio._get_running_loop()
        asyncio._set_running_loop(self._loop)
        try:
            yield
        finally:
            asyncio._set_running_loop(around)

    def _run(self, work: Any) -> Any:
        around = asyncio._get_running_loop()
        asyncio._set_running_loop(None)
        try:
            return self._loop.run_until_complete(work)
        finally:
            asyncio._set_running_loop(around)

    async def _until(self, due_ns: int) -> None:
        """Timers up to then, and everything they set off."""
        while self._loop.busy_by(due_ns) and (left_ns := due_ns - self._loop.time_ns()) > 0:  # noqa: ASYNC110 - of a virtual loop
            await asyncio.sleep(left_ns / NS_PER_S)
        await self._drain()

    async def _drain(self) -> None:
        while self._loop.ready:  # noqa: ASYNC110 - turns of a virtual loop
            await asyncio.sleep(0)

    def _reach(self, t_ns: int) -> None:
        due_ns = max(self._loop.time_ns(), t_ns - self._epoch_ns)
        if self._loop.busy_by(due_ns):
            self._run(self._until(due_ns))
        self._loop._now_ns = due_ns  # exactly: a timer in float seconds ends a nanosecond late

    # ---- playing

    def steps(self) -> Iterator[Step]:
        """Every line that a client could notice, with what it did.

        Raises:
            WireError: the file is broken in its middle, or names what this client does not know.
        """
        session = self.session = self._loop.create_task(self._session(), name="playback")
        try:
            for line in self._lines:
                self._step = step = Step(line)
                self._reach(line.t_ns)
                if line.kind is Kind.WS_RECV:
                    with self._inside():
                        self._socket_of(line).on_frame(line.payload, line.t_ns)
                else:
                    self._apply(line)
                if self._loop.ready:
                    self._run(self._drain())
                if session.done() and (error := session.exception()) is not None:
                    raise WireError(f"{self.path}: the client does not come up with this recording: {error}") from error
                yield step
        finally:
            self.close()

    async def _session(self) -> None:
        """What the recorder's client did."""
        await self.client.instruments.load_all()
        self.instruments = [self.client.instruments.get(InstrumentId.parse(name)) for name in self.header.instruments]
        self._listen()
        watch_all(self.client, self.instruments, self.header.streams)
        await self.client.ws_manager.connect(timeout_s=math.inf)

    def _listen(self) -> None:
        def bbo(event: Bbo | Gap) -> None:
            if isinstance(event, Bbo):
                self._step.bbos.append(event)

        def trade(event: Trade | Gap) -> None:
            if isinstance(event, Trade):
                self._step.trades.append(event)

        def rate(key: InstrumentId) -> Callable[[Any], None]:
            def heard(event: FundingRateSample | Gap) -> None:
                if isinstance(event, FundingRateSample):
                    self._step.rates.append((key, event))

            return heard

        def book(event: BookChange | Gap) -> None:
            (self._step.gaps if isinstance(event, Gap) else self._step.books).append(event)  # type: ignore[arg-type]  # each to its own

        listen = self.client.context.hub.listen
        for one in self.instruments:
            listen(event_key(Stream.BOOK, one.id), book)
            listen(event_key(Stream.BBO, one.id), bbo)
            listen(event_key(Stream.TRADES, one.id), trade)
            listen(event_key(Stream.FUNDING, one.id), rate(one.id))

    def _apply(self, line: Line) -> None:
        match line.kind:
            case Kind.HTTP_RESPONSE:
                waiting = self._waiting.get((line.method, line.url, line.sent))
                if waiting:
                    with self._inside():
                        waiting.popleft().set_result(line.body)
                else:
                    self.unasked += 1
            case Kind.WS_CONNECT:
                with self._inside():
                    self._socket_of(line).opened()
            case Kind.WS_SEND:
                if line.op:
                    self._differ()
                    self._expected = deque(self._run(self._socket_of(line).sent([self._topic(ref) for ref in line.topics], line.op)))
                if not self._expected or self._expected.popleft() != line.payload:
                    self.different += 1
            case Kind.WS_CONFIRMED:
                with self._inside():
                    for ref in line.topics:
                        self._socket_of(line).on_silence(self._topic(ref))
            case Kind.WS_LOST:
                with self._inside():
                    self._socket_of(line).lost(line.reason)
            case _:
                pass

    def standing(self) -> list[BookChange]:
        """Every book as it is."""
        feeds = self.client.ws_manager.feeds.values()
        return [
            BookChange(f.instrument, True, f.book.state.sequence, f.book.state.ts_recv_ns, f.book.state.ts_venue_ns)
            for f in feeds
            if f.book.ready
        ]

    def _differ(self) -> None:
        self.different += len(self._expected)
        self._expected.clear()

    def _socket_of(self, line: Line) -> PlayedSocket:
        try:
            return self._sockets[line.role]
        except KeyError:
            raise WireError(f"{self.path}: a line of socket {line.role!r}, which this client has not opened") from None

    def _topic(self, ref: TopicRef) -> Topic:
        instrument = self.client.instruments.get(InstrumentId.parse(ref.instrument)) if ref.instrument else None
        return self.client.ws_manager.dialect.topic(ref.stream, instrument, ref.parameter)

    def close(self) -> None:
        """Called by the end of `steps`; needed only where they were never begun."""
        if not self._loop.is_closed():
            self._run(self._end())
            self._loop.close()

    async def _end(self) -> None:
        if self.session is not None:
            self.session.cancel()
            await asyncio.gather(self.session, return_exceptions=True)
        self.client.ws_manager.feeds.clear()  # whoever holds a book keeps it as the recording left it
        await self.client.disconnect()
        await self._drain()


def play(path: Path) -> Iterator[tuple[Playback, Step]]:
    """All parts of a recording (a file, or the folder of one session) as one: each part from where its books stand up to where the next
    one's do. What came in while two were open is told once.

    Raises:
        WireError, OSError: as `Playback`.
    """
    files = parts_of(path)
    ready = [ready_ns(file) for file in files]
    for number, file in enumerate(files):
        until_ns = min((ns for ns in ready[number + 1 :] if ns is not None), default=math.inf)
        shown = number == 0
        playback = Playback(file)
        try:
            for step in playback.steps():
                if step.t_ns >= until_ns:
                    break
                if not shown and step.line.kind is Kind.READY:
                    shown = True
                    step.books = playback.standing()
                if shown:
                    yield playback, step
        finally:
            playback.close()


def ready_ns(path: Path) -> int | None:
    """When every book of a part stood; None when that never was."""
    return next((line.t_ns for line in read(path) if line.kind is Kind.READY), None)
