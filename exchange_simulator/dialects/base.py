"""What all dialects share: an aiohttp application over an exchange, socket sessions, timing, limits, faults, a log of what was received.

A dialect adds only its venue's words: routes, channels, encodings, signatures, refusals. The way of a request:

    socket -> Received (log) -> fault? -> rate limit -> handler -> exchange -> reply -> fault? -> socket
    exchange event -> history -> fault? -> `publish` -> Session.send -> fault? -> per-session queue -> socket

Time is the runtime's clock for stamps and for what the exchange has due, asyncio time for delays, so a dialect runs the same on real
sockets and under SimLoop.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import json
import random
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from email.utils import formatdate
from enum import StrEnum
from types import TracebackType
from typing import Any, ClassVar, Final, Generic, Protocol, Self, TypeVar

import msgspec
from aiohttp import WSMsgType, web

from exchange_clients.transport.runtime import Runtime
from exchange_simulator.core.events import AnyEvent
from exchange_simulator.core.exchange import Exchange
from exchange_simulator.core.types import Market, Rules
from exchange_simulator.dialects.history import History
from exchange_simulator.simloop import GRPC_STATUS_HEADER, Link, SimHost, SimNetwork

K = TypeVar("K")
V = TypeVar("V")

encode_json = msgspec.json.encode
"""Decimals become strings."""
MAX_FRAME_BYTES = 1 << 20


# What went wrong on purpose


class Lose(StrEnum):
    """Which half of an exchange of messages never arrives. Either way the connection breaks."""

    REQUEST = "request"
    """The venue never saw it."""
    REPLY = "reply"
    """The venue did it; the client does not know."""


@dataclass(frozen=True, slots=True)
class RequestFault:
    """What happens to one request. Without `status` it is handled, after `before_s`, and answered after `after_s` more."""

    status: int | None = None
    """Answered with this instead of being handled; `body` as it is, None for the venue's own words for that status."""
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    before_s: float = 0.0
    after_s: float = 0.0
    lose: Lose | None = None


@dataclass(frozen=True, slots=True)
class ConnectFault:
    """What happens to one socket: refused with `status`, closed after `close_after_s` seconds, or accepted and never spoken on."""

    status: int | None = None
    close_after_s: float | None = None
    silent: bool = False


class Faults(Protocol):
    """Asked at the fixed points of every dialect; None means nothing happens. Decisions may depend on anything but the machine."""

    def on_request(self, received: Received) -> RequestFault | None:
        """One HTTP request, or one message on a socket (`received.kind`), before it is counted or handled.

        On a socket `body` is sent instead of the answer, `status` is told in the venue's words, and `headers` mean nothing.
        """
        ...

    def on_connect(self, received: Received) -> ConnectFault | None:
        """One socket opens."""
        ...

    def on_push(self, session: int, channel: str, payload: bytes) -> Sequence[tuple[float, bytes]] | None:
        """One message to a session that no request asked for: what is sent instead, each after a delay. Empty drops it."""
        ...

    def on_event(self, event: AnyEvent) -> Sequence[tuple[float, AnyEvent]] | None:
        """One event of the exchange: what is published instead, each after a delay (late, twice, never). Queries tell the truth."""
        ...


class NoFaults:
    """Everything works."""

    def on_request(self, received: Received) -> RequestFault | None:
        return None

    def on_connect(self, received: Received) -> ConnectFault | None:
        return None

    def on_push(self, session: int, channel: str, payload: bytes) -> Sequence[tuple[float, bytes]] | None:
        return None

    def on_event(self, event: AnyEvent) -> Sequence[tuple[float, AnyEvent]] | None:
        return None


# What came in and what goes out


class Kind(StrEnum):
    HTTP = "http"
    CONNECT = "connect"
    MESSAGE = "message"


@dataclass(frozen=True, slots=True)
class Received:
    """One thing a client sent. `session` is 0 for HTTP; `params` are query and form fields."""

    number: int
    ts_ns: int
    kind: Kind
    session: int
    remote: str
    method: str
    path: str
    params: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    query: str = ""
    """The query string as it was sent."""

    def json(self) -> Any:
        """The body decoded.

        Raises:
            ValueError: it is no JSON.
        """
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Reply:
    """Body: bytes as they are, anything else as JSON."""

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    def encoded(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else encode_json(self.body)


class Refusal(Exception):
    """The venue says no. `status` is the HTTP status; a dialect words it in `refuse`."""

    def __init__(self, code: int | str, message: str, *, status: int = 200) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status


Handler = Callable[[Received], Awaitable[Reply]]


GRPC: Final = "GRPC"
GRPC_STATUS: Final[Mapping[int, str]] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""How a reply's status is told to a gRPC caller; 200 is OK, any other UNKNOWN."""


@dataclass(frozen=True, slots=True)
class Route:
    """`path` as aiohttp routes it; `cost` is charged to the dialect's budget of requests.

    With the method "GRPC" it is a unary gRPC method by its full name: the handler's reply is bytes, and a reply whose status is not 200
    ends the call with that of `GRPC_STATUS`, its body being the details.
    """

    method: str
    path: str
    handler: Handler
    cost: int = 1


# Time


class Agenda:
    """Calls to make later, in order of their time, and of their making where the time is equal."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._number = itertools.count()
        self._timer: asyncio.TimerHandle | None = None

    def after(self, delay_s: float, fn: Callable[..., None], *args: Any) -> None:
        """Call `fn` from the running loop once `delay_s` has passed (at the next turn when 0)."""
        loop = asyncio.get_running_loop()
        entry = (loop.time() + max(0.0, delay_s), next(self._number), fn, args)
        heapq.heappush(self._due, entry)
        if self._due[0] is entry:
            self._arm(loop)

    def clear(self) -> None:
        """Nothing pending is called any more."""
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(self._due[0][0], self._run, loop) if self._due else None

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        try:
            while self._due and self._due[0][0] <= loop.time():
                _, _, fn, args = heapq.heappop(self._due)
                fn(*args)
        finally:
            self._arm(loop)


class Batch(Generic[K, V]):
    """Collects the newest value per key and hands all over on a beat of `interval_s`, as venues do with book updates.

    With interval 0 at the next turn of the loop: what one call caused goes out together.
    """

    def __init__(self, agenda: Agenda, interval_s: float, flush: Callable[[dict[K, V]], None]) -> None:
        self._agenda = agenda
        self._interval_s = interval_s
        self._flush = flush
        self._pending: dict[K, V] = {}

    def put(self, key: K, value: V) -> None:
        if not self._pending:
            now = asyncio.get_running_loop().time()
            self._agenda.after(self._interval_s - now % self._interval_s if self._interval_s else 0.0, self.flush)
        self._pending[key] = value

    def flush(self) -> None:
        if self._pending:
            pending, self._pending = self._pending, {}
            self._flush(pending)

    def clear(self) -> None:
        self._pending = {}


class Budget:
    """A sliding window: at most `limit` weight per `period_s` for each key."""

    def __init__(self, limit: int, period_s: float = 60.0) -> None:
        self.limit = limit
        self.period_s = period_s
        self._spent: dict[str, deque[tuple[float, int]]] = {}
        self._total: dict[str, int] = {}

    def charge(self, key: str, cost: int, now_s: float) -> float:
        """0 when it fits, and is then counted; else the seconds until it would. What never fits is let through on an empty window."""
        spent = self._spent.setdefault(key, deque())
        total = self._total.get(key, 0)
        while spent and spent[0][0] <= now_s - self.period_s:
            total -= spent.popleft()[1]
        fits = total + cost <= self.limit or not spent
        if fits:
            spent.append((now_s, cost))
            total += cost
        self._total[key] = total
        if fits:
            return 0.0
        freed = 0
        for ts, weight in spent:
            freed += weight
            if total - freed + cost <= self.limit:
                return ts + self.period_s - now_s
        return spent[-1][0] + self.period_s - now_s

    def left(self, key: str) -> int:
        return self.limit - self._total.get(key, 0)


# Sockets


class Binary(bytes):
    """A message that goes out as a binary frame."""


class Session:
    """One client socket: what it subscribed to, and an ordered queue of what it has yet to be sent."""

    def __init__(
        self, dialect: Dialect, number: int, request: web.Request, ws: web.WebSocketResponse, received: Received, *, silent: bool
    ) -> None:
        self.number = number
        self.path = received.path
        self.params = received.params
        self.remote = received.remote
        self.subscriptions: dict[str, Any] = {}
        """Channel -> whatever the venue keeps for it, in order of subscription."""
        self.silent = silent
        self.open = True
        self._dialect = dialect
        self._request = request
        self._ws = ws
        self._queue: deque[bytes | int] = deque()  # an int is a close code
        self._wake = asyncio.Event()

    def send(self, message: Any, *, channel: str = "") -> None:
        """Queue one message: bytes as they are, anything else as JSON. `channel` marks a push; replies to requests have none."""
        if not self.open or self.silent:
            return
        payload = message if isinstance(message, bytes) else encode_json(message)
        replaced = self._dialect.faults.on_push(self.number, channel, payload) if channel else None
        if replaced is None:
            self._put(payload)
            return
        for delay_s, other in replaced:
            made = Binary(other) if isinstance(payload, Binary) else other
            if delay_s > 0:
                self._dialect.agenda.after(delay_s, self._put, made)
            else:
                self._put(made)

    def _put(self, payload: bytes) -> None:
        if not self.open:
            return
        self._queue.append(payload)
        self._wake.set()
        if len(self._queue) > self._dialect.max_backlog:
            self.drop()  # a client that does not read

    def drop(self) -> None:
        """The connection breaks without a word."""
        self.open = False
        if isinstance(self._request.transport, asyncio.WriteTransport):
            self._request.transport.abort()

    def close(self, code: int = 1000) -> None:
        """A close handshake after what is queued."""
        if self.open:
            self.open = False
            self._queue.append(code)
            self._wake.set()

    async def write(self) -> None:
        """Sends what is queued, in order, until the connection ends."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                item = self._queue.popleft()
                try:
                    if isinstance(item, int):
                        await self._ws.close(code=item)
                        return
                    await self._ws.send_frame(item, WSMsgType.BINARY if isinstance(item, Binary) else WSMsgType.TEXT)
                except ConnectionError:
                    return  # the reader sees the same and ends the session
                except Exception:
                    self.drop()
                    raise


# The dialect


@dataclass(frozen=True, slots=True)
class SimAccount:
    """An account somebody may trade with. `environ` holds its credentials under the variables that clients read them from."""

    account: int
    environ: Mapping[str, str]


class Dialect(ABC):
    """One venue's wire protocol over one exchange.

    A venue implements `routes`, `on_message`, `publish`, `refuse`, `limited`, `rules`, `listing` and `open_account`; the rest is here.
    """

    name: ClassVar[str]
    ws_paths: ClassVar[Mapping[str, str]]
    """Socket role -> path, as clients' endpoint overrides name them."""
    chain_id: int | str | None = None
    compress: ClassVar[bool] = True
    heartbeat_s: ClassVar[float | None] = None
    """Interval of protocol-level pings the venue sends; most send their own words instead."""
    significant_figures: ClassVar[int] = 0
    """Prices have at most so many figures, whole numbers always; 0 for no such rule."""
    max_backlog: int = 100_000

    def __init__(
        self,
        exchange: Exchange,
        runtime: Runtime,
        *,
        seed: int = 0,
        faults: Faults | None = None,
        budget: Budget | None = None,
        log_size: int = 20_000,
    ) -> None:
        """`budget` None: requests are not limited."""
        self.exchange = exchange
        self.runtime = runtime
        self.clock = runtime.clock
        self.rng = random.Random(f"{self.name}-{seed}")
        self.faults: Faults = faults or NoFaults()
        self.budget = budget
        self.history = History()
        self.agenda = Agenda()
        self.sessions: dict[int, Session] = {}
        self.received: deque[Received] = deque(maxlen=log_size)
        """Everything clients sent, oldest first. It holds credentials: never print it."""
        self.serving = False
        self.deflate = self.compress
        """Whether sockets offer compression; off where there is no wire to save."""
        self._numbers = itertools.count(1)
        self._session_numbers = itertools.count(1)
        self._nearer: asyncio.Event | None = None
        self._waiting_for_ns: int | None = None
        exchange.subscribe(self._on_event)

    # what a venue is

    @classmethod
    @abstractmethod
    def rules(cls) -> Rules:
        """How the exchange must behave to be this venue."""

    @classmethod
    @abstractmethod
    def listing(cls, base: str, *, tick_size: Decimal, step_size: Decimal) -> Market:
        """A market of this venue as it lists them: symbol, fees, margins, minima."""

    @abstractmethod
    def open_account(self, deposit: Decimal) -> SimAccount:
        """A funded account with working credentials; the same ones for the same seed."""

    @abstractmethod
    def routes(self) -> Sequence[Route]:
        """Every HTTP endpoint and gRPC method."""

    @abstractmethod
    async def on_message(self, session: Session, received: Received) -> None:
        """One frame from a client; answers go through `session.send`. A `Refusal` goes to `refuse_message`."""

    @abstractmethod
    def publish(self, event: AnyEvent) -> None:
        """An event of the exchange, history already knows it. Called also when nobody is connected."""

    @abstractmethod
    def refuse(self, refusal: Refusal, received: Received) -> Reply:
        """The venue's words for a refusal over HTTP."""

    @abstractmethod
    def refuse_message(self, refusal: Refusal, session: Session, received: Received) -> None:
        """The same on a socket."""

    @abstractmethod
    def limited(self, retry_after_s: float, received: Received) -> Reply:
        """The venue's answer to one request too many."""

    def unavailable(self, status: int, received: Received) -> Reply:
        """The venue's words for a fault of that status; a bare page where it has none."""
        return Reply(f"<html><body>{status}</body></html>".encode(), status, {"Content-Type": "text/html"})

    def unavailable_message(self, status: int, session: Session, received: Received) -> None:
        """The same for one message on a socket; by default the socket breaks."""
        session.drop()

    def fault_headers(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        """A fault's headers in the venue's own units; faults give Retry-After in seconds."""
        return headers

    def admit(self, received: Received) -> Reply | None:
        """Asked before a socket opens: None lets it, else what the venue answers instead (too many connections)."""
        return None

    def budget_key(self, received: Received) -> str:
        """Who pays for a request."""
        return received.remote

    def expire_tokens(self) -> None:  # noqa: B027 - a hook many venues leave empty, as those below
        """Every session token and listen key given out so far is void from now on; venues without any do nothing."""

    def on_connect(self, session: Session) -> None:  # noqa: B027
        """A socket opened."""

    def on_disconnect(self, session: Session) -> None:  # noqa: B027
        """A socket is gone."""

    # time

    def now_ns(self) -> int:
        """Wall time for stamps and for the exchange, which never goes back even where the machine's clock does."""
        return max(self.clock.time_ns(), self.exchange.now_ns)

    # events

    def _on_event(self, event: AnyEvent) -> None:
        self.history.read(event)
        replaced = self.faults.on_event(event)
        if replaced is None:
            self.publish(event)
        else:
            for delay_s, other in replaced:
                if delay_s > 0:
                    self.agenda.after(delay_s, self.publish, other)
                else:
                    self.publish(other)
        due = self.exchange.next_due_ns
        if self._nearer is not None and due is not None and (self._waiting_for_ns is None or due < self._waiting_for_ns):
            self._nearer.set()

    async def _drive(self) -> None:
        """Does what the exchange has due (settlements, expiries, dead-man switches) when it is due."""
        self._nearer = asyncio.Event()
        while True:
            self.exchange.advance(self.now_ns())
            self._nearer.clear()
            due = self._waiting_for_ns = self.exchange.next_due_ns
            waiting: list[asyncio.Task[Any]] = [asyncio.create_task(self._nearer.wait())]
            if due is not None:
                waiting.append(asyncio.create_task(self._until(due)))
            try:
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in waiting:
                    task.cancel()

    async def _until(self, ts_ns: int) -> None:
        await self.clock.sleep_until_ns(ts_ns)

    # HTTP

    def app(self, *, tunnel: bool = False) -> web.Application:
        """A new application; a dialect that was stopped serves again with another one, its state unchanged.

        `tunnel`: gRPC methods are served as POST to their names too, as the channels of a simulated network call them.
        """
        app = web.Application(client_max_size=MAX_FRAME_BYTES)
        for route in self.routes():
            if route.method != GRPC:
                app.router.add_route(route.method, route.path, self._http_handler(route))
            elif tunnel:
                app.router.add_post(route.path, self._tunnelled(route))
        for path in dict.fromkeys(self.ws_paths.values()):
            app.router.add_get(path, self._socket)
        app.cleanup_ctx.append(self._lifetime)
        app.on_response_prepare.append(self._stamp_date)
        return app

    async def _stamp_date(self, _: web.BaseRequest, response: web.StreamResponse) -> None:
        # aiohttp stamps the machine's time; clients measure their clock's offset from this header.
        response.headers["Date"] = formatdate(self.clock.time_ns() // 10**9, usegmt=True)

    async def _lifetime(self, _: web.Application) -> AsyncIterator[None]:
        driver = asyncio.create_task(self._drive(), name=f"{self.name}-driver")
        self.serving = True
        self.on_start()
        yield
        self.serving = False
        self.agenda.clear()
        self.on_stop()
        driver.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await driver

    def on_start(self) -> None:  # noqa: B027
        """Serving begins, on the running loop."""

    def on_stop(self) -> None:  # noqa: B027
        """Serving ended; what the agenda held is gone."""

    def _http_handler(self, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            reply = await self._reply(route, await self._receive(request))
            if reply is None:
                return _break(request)
            headers = {"Content-Type": "application/json; charset=utf-8", **reply.headers}
            return web.Response(body=reply.encoded(), status=reply.status, headers=headers)

        return handle

    def _tunnelled(self, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            received = self._note(Kind.HTTP, 0, request.remote or "", GRPC, route.path, {}, request.headers, await request.read())
            reply = await self._reply(route, received)
            if reply is None:
                return _break(request)
            return web.Response(body=reply.encoded(), headers={GRPC_STATUS_HEADER: grpc_status(reply)})

        return handle

    async def grpc_call(self, route: Route, remote: str, headers: Mapping[str, str], body: bytes) -> Reply | None:
        """One call over a real channel; None: the connection broke."""
        return await self._reply(route, self._note(Kind.HTTP, 0, remote, GRPC, route.path, {}, headers, body))

    async def _reply(self, route: Route, received: Received) -> Reply | None:
        """The answer after what `faults` do to it; None: the connection breaks."""
        fault = self.faults.on_request(received) or _NOTHING
        if fault.before_s:
            await asyncio.sleep(fault.before_s)
        if fault.lose is Lose.REQUEST:
            return None
        if fault.status is not None:
            reply = self.unavailable(fault.status, received) if fault.body is None else Reply(fault.body, fault.status)
        else:
            reply = await self._answer(route, received)
        if fault.after_s:
            await asyncio.sleep(fault.after_s)
        if fault.lose is Lose.REPLY:
            return None
        return replace(reply, headers={**reply.headers, **self.fault_headers(fault.headers)}) if fault.headers else reply

    async def _answer(self, route: Route, received: Received) -> Reply:
        if self.budget is not None:
            wait_s = self.budget.charge(self.budget_key(received), route.cost, self.clock.elapsed())
            if wait_s:
                return self.limited(wait_s, received)
        try:
            return await route.handler(received)
        except Refusal as refusal:
            return self.refuse(refusal, received)

    async def _receive(self, request: web.Request) -> Received:
        params = dict(request.query)
        body = b""
        if request.content_type == "multipart/form-data":
            params.update((k, v) for k, v in (await request.post()).items() if isinstance(v, str))
        else:
            body = await request.read()
            if request.content_type == "application/x-www-form-urlencoded":
                params.update((k, v) for k, v in (await request.post()).items() if isinstance(v, str))
        return self._log(Kind.HTTP, 0, request, params, body)

    def _log(self, kind: Kind, session: int, request: web.Request, params: Mapping[str, str], body: bytes) -> Received:
        query = request.rel_url.raw_query_string
        return self._note(kind, session, request.remote or "", request.method, request.path, params, request.headers, body, query)

    def _note(
        self,
        kind: Kind,
        session: int,
        remote: str,
        method: str,
        path: str,
        params: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes,
        query: str = "",
    ) -> Received:
        received = Received(next(self._numbers), self.clock.time_ns(), kind, session, remote, method, path, params, headers, body, query)
        self.received.append(received)
        return received

    def requests(self, path: str = "", *, kind: Kind | None = None) -> list[Received]:
        """What was received under that path ("" for any), oldest first."""
        return [r for r in self.received if path in ("", r.path) and kind in (None, r.kind)]

    # sockets

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        number = next(self._session_numbers)
        received = self._log(Kind.CONNECT, number, request, dict(request.query), b"")
        fault = self.faults.on_connect(received) or _NO_CONNECT_FAULT
        if fault.status is not None:
            reply = self.unavailable(fault.status, received)
            return web.Response(body=reply.encoded(), status=reply.status, headers=reply.headers)
        refused = self.admit(received)
        if refused is not None:
            return web.Response(body=refused.encoded(), status=refused.status, headers=refused.headers)
        ws = web.WebSocketResponse(compress=self.deflate, heartbeat=self.heartbeat_s, autoping=False, max_msg_size=MAX_FRAME_BYTES)
        await ws.prepare(request)
        session = Session(self, number, request, ws, received, silent=fault.silent)
        self.sessions[number] = session
        writer = asyncio.create_task(session.write(), name=f"{self.name}-session-{number}")
        if fault.close_after_s is not None:
            self.agenda.after(fault.close_after_s, session.close, 1001)
        try:
            self.on_connect(session)
            await self._read(session, ws, request)
        finally:
            session.open = False
            del self.sessions[number]
            self.on_disconnect(session)
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writer
        return ws

    async def _read(self, session: Session, ws: web.WebSocketResponse, request: web.Request) -> None:
        async for message in ws:
            if message.type is WSMsgType.PING and not session.silent:
                await ws.pong(message.data)
            elif message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                body = message.data.encode() if isinstance(message.data, str) else message.data
                received = self._log(Kind.MESSAGE, session.number, request, {}, body)
                fault = self.faults.on_request(received) or _NOTHING
                if fault.before_s:
                    await asyncio.sleep(fault.before_s)
                if fault.lose is not Lose.REQUEST:
                    await self._handle_message(session, received, fault)
                if fault.lose is not None:
                    session.drop()

    async def _handle_message(self, session: Session, received: Received, fault: RequestFault) -> None:
        if fault.body is not None:
            session.send(fault.body)
            return
        if fault.status is not None:
            self.unavailable_message(fault.status, session, received)
            return
        was_silent = session.silent
        session.silent = was_silent or fault.lose is Lose.REPLY
        try:
            await self.on_message(session, received)
        except Refusal as refusal:
            self.refuse_message(refusal, session, received)
        finally:
            session.silent = was_silent

    def subscribers(self, channel: str) -> Iterator[Session]:
        """Sessions subscribed to that channel, oldest first."""
        return (s for s in self.sessions.values() if channel in s.subscriptions)

    def push(self, channel: str, message: Any) -> None:
        """To every subscriber, encoded once."""
        payload: bytes | None = None
        for session in self.subscribers(channel):
            if payload is None:
                payload = message if isinstance(message, bytes) else encode_json(message)
            session.send(payload, channel=channel)


_NOTHING = RequestFault()
_NO_CONNECT_FAULT = ConnectFault()


def grpc_status(reply: Reply) -> str:
    """The name of the status that a gRPC caller sees."""
    return "OK" if reply.status == 200 else GRPC_STATUS.get(reply.status, "UNKNOWN")


def _break(request: web.Request) -> web.StreamResponse:
    """Ends the connection; what is returned reaches nobody."""
    if isinstance(request.transport, asyncio.WriteTransport):
        request.transport.abort()
    return web.Response()


def _calls_of(dialect: Dialect) -> list[Route]:
    return [route for route in dialect.routes() if route.method == GRPC]


class GrpcServer:
    """A dialect's gRPC methods on a real port of its own, without TLS. Started again it takes the same port."""

    def __init__(self, dialect: Dialect, host: str) -> None:
        self._dialect = dialect
        self._host = host
        self._server: Any = None
        self.port = 0

    async def start(self) -> None:
        import grpc  # type: ignore[import-untyped]

        self._server = grpc.aio.server()
        methods: dict[str, dict[str, Any]] = {}
        for route in _calls_of(self._dialect):
            service, _, method = route.path.strip("/").rpartition("/")
            methods.setdefault(service, {})[method] = grpc.unary_unary_rpc_method_handler(self._handler(route))
        for service, handlers in methods.items():
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        self.port = self._server.add_insecure_port(f"{self._host}:{self.port}")
        await self._server.start()

    def _handler(self, route: Route) -> Callable[[bytes, Any], Awaitable[bytes]]:
        async def handle(request: bytes, context: Any) -> bytes:
            import grpc

            metadata = {str(name): str(value) for name, value in context.invocation_metadata() or ()}
            remote = context.peer().removeprefix("ipv4:").rpartition(":")[0]
            reply = await self._dialect.grpc_call(route, remote, metadata, request)
            if reply is None:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "Connection reset by peer")
            elif reply.status != 200:
                details = reply.encoded().decode("utf-8", "replace")
                await context.abort(grpc.StatusCode[grpc_status(reply)], details, tuple((k.lower(), v) for k, v in reply.headers.items()))
            else:
                return reply.encoded()
            raise AssertionError("aborted")

        return handle

    async def stop(self) -> None:
        """Calls under way are cancelled."""
        if self._server is not None:
            server, self._server = self._server, None
            await server.stop(0)


class DialectServer:
    """A dialect that clients can reach: over real sockets on 127.0.0.1, or on a simulated network under a host name.

    async with DialectServer(dialect) as server:
        LighterClient({"endpoints": server.endpoints}, credentials)
    """

    def __init__(
        self,
        dialect: Dialect,
        *,
        port: int = 0,
        network: SimNetwork | None = None,
        host: str = "",
        link: Link | None = None,
    ) -> None:
        """`port` 0 takes a free one. On a network `host` defaults to `<name>.sim`."""
        self.dialect = dialect
        self.sim_host: SimHost | None = None
        self._network = network
        self._host = host or (f"{dialect.name}.sim" if network is not None else "127.0.0.1")
        self._port = port
        self._link = link
        self._runner: web.AppRunner | None = None
        self._calls: GrpcServer | None = None

    @property
    def address(self) -> str:
        return self._host if self._network is not None else f"{self._host}:{self._port}"

    @property
    def rest(self) -> str:
        return f"http://{self.address}"

    @property
    def ws(self) -> dict[str, str]:
        return {role: f"ws://{self.address}{path}" for role, path in self.dialect.ws_paths.items()}

    @property
    def endpoints(self) -> dict[str, Any]:
        """As a client's `endpoints` setting wants it."""
        found: dict[str, Any] = {"rest": self.rest, "ws": self.ws}
        if self.dialect.chain_id is not None:
            found["chain_id"] = self.dialect.chain_id
        if self._calls is not None:
            found["grpc"] = [f"{self._host}:{self._calls.port}"]
        elif self._network is not None and _calls_of(self.dialect):
            found["grpc"] = [self._host]
        return found

    async def start(self) -> None:
        """Listen; a stopped server listens again at the same address."""
        self.dialect.deflate = self.dialect.compress and self._network is None
        if self._network is not None:
            self.sim_host = await self._network.serve(self._host, self.dialect.app(tunnel=True), link=self._link)
            return
        runner = web.AppRunner(self.dialect.app(), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        site = web.TCPSite(runner, self._host, self._port, reuse_address=True)
        await site.start()
        self._runner = runner
        self._port = runner.addresses[0][1]
        if _calls_of(self.dialect):
            self._calls = self._calls or GrpcServer(self.dialect, self._host)
            await self._calls.start()

    async def stop(self) -> None:
        """Every connection ends; the dialect keeps its state."""
        for session in list(self.dialect.sessions.values()):
            session.drop()
        if self._network is not None:
            if self.sim_host is not None and self._network.hosts.get(self._host) is self.sim_host:
                await self._network.stop(self._host)
            self.sim_host = None
        elif self._runner is not None:
            if self._calls is not None:
                await self._calls.stop()
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        await self.stop()
