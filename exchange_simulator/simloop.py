"""An asyncio event loop on virtual time, with an in-memory network: real client and server code, no sockets, no threads, no waiting.

The seam is asyncio itself. `SimLoop.time()` is virtual; when nothing is ready to run, its selector advances the clock to the next timer
instead of waiting, and raises `Deadlock` when there is none. Connections are pairs of asyncio transports keyed by host name, so aiohttp's
client and an aiohttp application run unchanged, HTTP and WebSocket alike, and all their timeouts and heartbeats run on virtual time.

    async def main(sim: Simulation) -> None:
        await sim.network.serve("api.venue.example", app)
        async with aiohttp.ClientSession(connector=sim.runtime.connector()) as session:
            ...

    run(main, seed=7)

The same seed gives the same schedule and the same bytes, except what libraries take from the operating system's randomness (WebSocket
masks and keys, multipart boundaries: same lengths, other bytes). Cost: see benchmarks/simloop.py.
"""

from __future__ import annotations

import asyncio
import errno
import math
import random
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from email.utils import formatdate
from types import CoroutineType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import aiohttp
from aiohttp import web

from exchange_clients.errors import ConnectFailed
from exchange_clients.transport.clock import NS_PER_S, Clock, VirtualClock
from exchange_clients.transport.grpc import GrpcStatus
from exchange_clients.transport.offload import InlineOffload
from exchange_clients.transport.runtime import Runtime

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.tracing import Trace as ClientTrace

T = TypeVar("T")

EPOCH_NS = 1_767_225_600 * NS_PER_S  # 2026-01-01T00:00:00Z, a whole hour: where simulated time starts unless told otherwise
MAX_TURNS_PER_INSTANT = 1_000_000
_HIGH_WATER = 64 * 1024
_UP, _DOWN = "up", "down"
GRPC_STATUS_HEADER = "grpc-status"
"""What a served host says of a tunnelled call: the status by name."""
_COMPRESSORS = {"zlib", "isal.isal_zlib", "zlib_ng.zlib_ng"}


class SimError(RuntimeError):
    """The simulated run cannot go on, or ended unclean."""


class Deadlock(SimError):
    """Nothing is ready and no timer is set: every task waits for something that can no longer happen."""


class Livelock(SimError):
    """The loop turned a million times without time passing: some task spins."""


class Leak(SimError):
    """The main coroutine ended, and tasks or connections of its making did not."""


class LostError(SimError):
    """A task or callback failed and nobody looked at its exception."""


class _VirtualSelector:
    """What the loop asks "is anything ready, and how long may I wait?": no file is ever ready, and waiting is free."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop
        self._turns = 0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise Deadlock(_deadlock_report(self._loop))
        if timeout <= 0:
            if (
                not self._loop.ready
            ):  # after half a year a float second is coarser than a nanosecond: the timer that is due needs a step more
                self._loop.advance(math.ulp(self._loop.time()))
            self._turns += 1
            if self._turns > MAX_TURNS_PER_INSTANT:
                raise Livelock(f"{self._turns} turns of the loop at {self._loop.time():.9f} s; tasks: {_tasks_of(self._loop)}")
            return []
        self._turns = 0
        self._loop.advance(timeout)
        return []


class SimLoop(asyncio.BaseEventLoop):
    """An event loop whose time is an integer count of nanoseconds that moves only when nothing is left to do."""

    def __init__(self) -> None:
        super().__init__()
        self._now_ns = 0
        self._clock_resolution = 1e-9
        self._selector = _VirtualSelector(self)
        self._ready: deque[asyncio.Handle]
        self._scheduled: list[asyncio.TimerHandle]
        self.unhandled: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _, context: self.unhandled.append(context))

    def time(self) -> float:
        return self._now_ns / NS_PER_S

    def time_ns(self) -> int:
        """Nanoseconds since the loop was made."""
        return self._now_ns

    def advance(self, seconds: float) -> None:
        """Rounded up to whole nanoseconds, so that a timer is never left a fraction short."""
        self._now_ns += max(1, -int(-seconds * NS_PER_S // 1))

    def busy_by(self, ts_ns: int) -> bool:
        """Whether anything is ready now, or due until `ts_ns` (of `time_ns`)."""
        if self._ready:
            return True
        return bool(self._scheduled) and self._scheduled[0].when() * NS_PER_S <= ts_ns + 1

    @property
    def ready(self) -> bool:
        """Whether anything waits for its turn at this instant, besides whoever asks."""
        return bool(self._ready)

    def _process_events(self, event_list: list[Any]) -> None:
        """No file descriptors, no events."""

    def _write_to_self(self) -> None:
        """Wakes a loop that sleeps in `select`; this one never does."""

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        if type(getattr(func, "__self__", None)).__module__ in _COMPRESSORS:  # aiohttp, large compressed frames: pure work, done at once
            done = self.create_future()
            done.set_result(func(*args))
            return done
        raise SimError(f"{func!r} wants a thread, which would break virtual time: use Runtime.offload")

    async def getaddrinfo(self, host: Any, port: Any, **_: Any) -> NoReturn:
        raise SimError(f"{host}:{port}: no real network under virtual time: use Runtime.connector")

    async def create_connection(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise SimError("no real sockets under virtual time: use Runtime.connector")

    async def create_server(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise SimError("no real sockets under virtual time: use SimNetwork.serve")

    def add_signal_handler(self, *args: Any, **kwargs: Any) -> NoReturn:  # type: ignore[override]
        raise NotImplementedError


def _tasks_of(loop: asyncio.AbstractEventLoop) -> str:
    return ", ".join(sorted(_describe(t) for t in asyncio.all_tasks(loop))) or "none"


def _describe(task: asyncio.Task[Any]) -> str:
    chain: list[str] = []
    waiting: Any = task.get_coro()
    while isinstance(waiting, CoroutineType):
        line = waiting.cr_frame.f_lineno if waiting.cr_frame is not None else 0
        chain.append(f"{waiting.__qualname__}:{line}")
        waiting = waiting.cr_await
    return f"{task.get_name()} ({' > '.join(chain) or repr(task.get_coro())})"


def _deadlock_report(loop: asyncio.AbstractEventLoop) -> str:
    return f"nothing is ready and no timer is set at {loop.time():.9f} s; waiting tasks: {_tasks_of(loop)}"


@dataclass(frozen=True, slots=True)
class Link:
    """One-way delays in seconds, drawn uniformly per chunk of bytes from (low, high); order is always kept."""

    up_s: tuple[float, float] = (0.0, 0.0)
    down_s: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes handed to the reader: what a tap on the simulated wire sees."""

    ts_ns: int
    host: str
    connection: int
    direction: str
    data: bytes


class _Pipe:
    """One direction of a connection: chunks from one transport to the protocol behind the other, in order, delayed, flow-controlled."""

    def __init__(self, loop: SimLoop, connection: _Connection, direction: str, delay_s: tuple[float, float]) -> None:
        self._loop = loop
        self.connection = connection
        self._direction = direction
        self._delay_s = delay_s
        self._queue: deque[tuple[int, bytes | None]] = deque()  # (due, bytes or None for end of file)
        self._last_due_ns = 0
        self._delivery: asyncio.Handle | None = None
        self.size = 0
        self.high_water, self.low_water = _HIGH_WATER, _HIGH_WATER // 4
        self.reader: _SimTransport
        self.writer: _SimTransport

    def put(self, data: bytes | None) -> None:
        low, high = self._delay_s
        delay_ns = int(self.connection.network.rng.uniform(low, high) * NS_PER_S) if high > 0 else 0
        self._last_due_ns = max(self._last_due_ns, self._loop.time_ns() + delay_ns)
        self._queue.append((self._last_due_ns, data))
        self.size += len(data) if data else 0
        self.pump()

    def pump(self) -> None:
        """Deliver when due, unless the reader pauses or the host is a black hole; whoever ends that calls again."""
        if self._delivery is not None or not self._queue or self.reader.paused or self.connection.host.black_hole:
            return
        due_ns = self._queue[0][0]
        if due_ns <= self._loop.time_ns():
            self._delivery = self._loop.call_soon(self._deliver)
        else:
            self._delivery = self._loop.call_at(due_ns / NS_PER_S, self._deliver)

    def _deliver(self) -> None:
        self._delivery = None
        if self.reader.paused or self.connection.host.black_hole:
            return
        now_ns = self._loop.time_ns()
        parts: list[bytes] = []
        at_end = False
        while self._queue and self._queue[0][0] <= now_ns and not at_end:
            data = self._queue.popleft()[1]
            if data is None:
                at_end = True
            else:
                parts.append(data)
        if parts:
            chunk = b"".join(parts) if len(parts) > 1 else parts[0]
            self.size -= len(chunk)
            self.connection.tap(self._direction, chunk)
            self.reader.receive(chunk)
            self.writer.on_drained()
        if at_end:
            self.reader.receive_eof()
        self.pump()

    def discard(self) -> None:
        """Nothing more arrives."""
        self._queue.clear()
        self.size = 0
        if self._delivery is not None:
            self._delivery.cancel()
            self._delivery = None


class _SimTransport(asyncio.Transport):
    """One end of an in-memory connection."""

    def __init__(self, loop: SimLoop, protocol: asyncio.Protocol, outgoing: _Pipe, incoming: _Pipe, extra: dict[str, Any]) -> None:
        super().__init__(extra)
        self._loop = loop
        self._protocol: asyncio.BaseProtocol = protocol
        self._outgoing = outgoing
        self._incoming = incoming
        self._closing = False
        self._lost = False
        self._eof_sent = False
        self._writing_paused = False
        self.paused = False
        outgoing.writer = self
        incoming.reader = self

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    # Writing

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if self._eof_sent:
            raise RuntimeError("Cannot call write() after write_eof()")
        if self._closing or not data:
            return
        self._outgoing.put(bytes(data))
        if not self._writing_paused and self._outgoing.size > self._outgoing.high_water:
            self._writing_paused = True
            self._protocol.pause_writing()

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def on_drained(self) -> None:
        if self._writing_paused and not self._closing and self._outgoing.size <= self._outgoing.low_water:
            self._writing_paused = False
            self._protocol.resume_writing()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        if not self._closing and not self._eof_sent:
            self._eof_sent = True
            self._outgoing.put(None)

    def get_write_buffer_size(self) -> int:
        return self._outgoing.size

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._outgoing.low_water, self._outgoing.high_water

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if high is None:
            high = _HIGH_WATER if low is None else 4 * low
        if low is None:
            low = high // 4
        if not 0 <= low <= high:
            raise ValueError(f"high ({high}) must be >= low ({low}) must be >= 0")
        self._outgoing.high_water, self._outgoing.low_water = high, low

    # Reading

    def is_reading(self) -> bool:
        return not self.paused and not self._closing

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        if self.paused:
            self.paused = False
            self._incoming.pump()

    def receive(self, data: bytes) -> None:
        if not self._closing:
            assert isinstance(self._protocol, asyncio.Protocol)
            self._protocol.data_received(data)

    def receive_eof(self) -> None:
        if self._closing:
            return
        assert isinstance(self._protocol, asyncio.Protocol)
        if not self._protocol.eof_received():
            self.close()

    # Ending

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """What was written still arrives, then the peer sees the end of the stream; nothing more is read."""
        if self._closing:
            return
        self._closing = True
        if not self._eof_sent:
            self._eof_sent = True
            self._outgoing.put(None)
        self._incoming.discard()
        self._loop.call_soon(self.lose, None)

    def abort(self) -> None:
        self.reset()
        self._outgoing.reader.reset(ConnectionResetError(errno.ECONNRESET, "connection reset by peer"))

    def reset(self, reason: Exception | None = None) -> None:
        """This end is gone: neither direction delivers any more."""
        self._closing = True
        self._outgoing.discard()
        self._incoming.discard()
        self._loop.call_soon(self.lose, reason)

    def lose(self, reason: Exception | None) -> None:
        if not self._lost:
            self._lost = True
            self._protocol.connection_lost(reason)
            self._outgoing.connection.end_closed()


class _Connection:
    """Two transports, two pipes, one host."""

    def __init__(self, network: SimNetwork, host: SimHost, number: int, client: asyncio.Protocol, server: asyncio.Protocol) -> None:
        self.network = network
        self.host = host
        self.number = number
        self._open_ends = 2
        loop = network.loop
        up = _Pipe(loop, self, _UP, host.link.up_s)
        down = _Pipe(loop, self, _DOWN, host.link.down_s)
        here, there = ("127.0.0.1", 50_000 + number), ("127.0.0.1", 80)
        self.pipes = (up, down)
        self.client = _SimTransport(loop, client, up, down, {"peername": there, "sockname": here})
        self.server = _SimTransport(loop, server, down, up, {"peername": here, "sockname": there})
        host.connections.add(self)
        server.connection_made(self.server)
        client.connection_made(self.client)

    def tap(self, direction: str, data: bytes) -> None:
        if self.network.tap is not None:
            self.network.tap(Chunk(self.network.loop.time_ns(), self.host.name, self.number, direction, data))

    def reset(self) -> None:
        reason = ConnectionResetError(errno.ECONNRESET, "connection reset by peer")
        self.client.reset(reason)
        self.server.reset(reason)

    def end_closed(self) -> None:
        self._open_ends -= 1
        if not self._open_ends:
            self.host.connections.discard(self)


class SimHost:
    """A served host, and the faults of the road to it."""

    def __init__(self, name: str, runner: web.AppRunner, link: Link) -> None:
        self.name = name
        self.link = link
        self.runner = runner
        self.refusing = False
        self.connections: set[_Connection] = set()
        self.accepted = 0
        self.handlers: dict[asyncio.Task[Any], None] = {}
        self._passable = asyncio.Event()
        self._passable.set()

    @property
    def black_hole(self) -> bool:
        return not self._passable.is_set()

    @web.middleware
    async def track(self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
        """Remembers running handlers: aiohttp forgets those whose client went away, and they must end with the host."""
        task = asyncio.current_task()
        assert task is not None
        self.handlers[task] = None
        try:
            return await handler(request)
        except (web.HTTPException, ConnectionError):
            raise
        except Exception as e:  # aiohttp would answer 500 and say so in a log that nobody reads
            context = {"message": f"handler of {request.path} failed", "exception": e}
            asyncio.get_running_loop().call_exception_handler(context)
            raise
        finally:
            del self.handlers[task]

    def drop_connections(self) -> int:
        """Both ends of every connection see a reset, as when a router forgets them. Returns how many."""
        dropped = sorted(self.connections, key=lambda c: c.number)
        for connection in dropped:
            connection.reset()
        return len(dropped)

    def set_black_hole(self, on: bool) -> None:
        """Bytes and new connections silently go nowhere; when the road heals, what TCP would have retransmitted arrives."""
        if on:
            self._passable.clear()
            return
        self._passable.set()
        for connection in sorted(self.connections, key=lambda c: c.number):
            for pipe in connection.pipes:
                pipe.pump()

    async def passable(self) -> None:
        await self._passable.wait()


class SimNetwork:
    """Hosts by name, and the connectors that reach them. Ports and TLS do not exist: https and wss arrive as they are."""

    def __init__(self, loop: SimLoop, clock: Clock, rng: random.Random) -> None:
        self.loop = loop
        self.clock = clock
        self.rng = rng
        self.hosts: dict[str, SimHost] = {}
        self.tap: Callable[[Chunk], None] | None = None
        """Sees every chunk as it is delivered; one reader at a time."""
        self._connections = 0

    async def serve(self, host: str, app: web.Application, *, link: Link | None = None) -> SimHost:
        """Start `app` under a host name. It must not have been started before."""
        if host in self.hosts:
            raise ValueError(f"{host} is served already")
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        served = SimHost(host, runner, link or Link())
        app.on_response_prepare.insert(0, self._stamp_date)  # the application may know better
        app.middlewares.insert(0, served.track)
        await runner.setup()
        self.hosts[host] = served
        return served

    async def _stamp_date(self, _: web.BaseRequest, response: web.StreamResponse) -> None:
        # aiohttp stamps the machine's time; clients measure clock offsets from this header.
        response.headers["Date"] = formatdate(self.clock.time_ns() // NS_PER_S, usegmt=True)

    async def stop(self, host: str) -> None:
        """Take a host down as its process would end: handlers are cancelled, sockets closed, later connections refused."""
        served = self.hosts.pop(host)
        served.refusing = True
        served.set_black_hole(False)
        await served.runner.cleanup()
        served.drop_connections()
        orphans = list(served.handlers)
        for task in orphans:
            task.cancel()
        await asyncio.gather(*orphans, return_exceptions=True)

    async def close(self) -> None:
        for host in list(self.hosts):
            await self.stop(host)

    def connector(self) -> aiohttp.BaseConnector:
        """A connector for one aiohttp session."""
        return SimConnector(self)

    def channel(self, address: str) -> SimChannel:
        """A channel to a served host; a port in the address means nothing."""
        return SimChannel(self, address)

    async def connect(self, host: str, factory: Callable[[], asyncio.Protocol]) -> tuple[asyncio.Transport, asyncio.Protocol]:
        """A connection to a served host, after one round trip; for clients other than aiohttp's.

        Raises:
            ConnectionRefusedError: the host refuses, or is not up.
        """
        served = self.hosts.get(host)
        if served is None:
            raise ConnectionRefusedError(errno.ECONNREFUSED, f"nothing is served at {host}")
        round_trip_s = self.rng.uniform(*served.link.up_s) + self.rng.uniform(*served.link.down_s)
        if round_trip_s:
            await asyncio.sleep(round_trip_s)
        await served.passable()
        server = served.runner.server
        if served.refusing or server is None:
            raise ConnectionRefusedError(errno.ECONNREFUSED, f"connection to {host} refused")
        self._connections += 1
        served.accepted += 1
        protocol = factory()
        connection = _Connection(self, served, self._connections, protocol, server())
        return connection.client, protocol


class SimConnector(aiohttp.BaseConnector):
    """aiohttp's own seam for other transports (its Unix-socket connector uses the same): pooling and limits stay aiohttp's."""

    def __init__(self, network: SimNetwork) -> None:
        # Idle connections end when the server ends them: the pool ages them by the machine's clock, which does not count here.
        super().__init__(limit=0, keepalive_timeout=None)
        self._network = network

    async def _create_connection(
        self, req: aiohttp.ClientRequest, traces: list[ClientTrace], timeout: aiohttp.ClientTimeout
    ) -> ResponseHandler:
        host = req.url.host or ""
        try:
            async with asyncio.timeout(timeout.sock_connect):
                _, protocol = await self._network.connect(host, self._factory)
        except TimeoutError as e:
            raise aiohttp.ConnectionTimeoutError(f"Connection timeout to host {req.url}") from e
        except OSError as e:
            raise aiohttp.ClientConnectorError(req.connection_key, e) from e
        return protocol  # type: ignore[return-value]  # what our own factory made


class SimChannel:
    """Unary gRPC calls to one host of the network, each as an HTTP POST to the method's name: the same delays and faults of the road."""

    def __init__(self, network: SimNetwork, address: str) -> None:
        self._network = network
        self._host = address.partition(":")[0]
        self._session: aiohttp.ClientSession | None = None

    async def call(self, method: str, request: bytes, *, timeout_s: float) -> bytes:
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=self._network.connector(), cookie_jar=aiohttp.DummyCookieJar())
        headers = {"Content-Type": "application/grpc"}
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        try:
            async with self._session.post(f"http://{self._host}{method}", data=request, headers=headers, timeout=timeout) as response:
                body = await response.read()
                status = response.headers.get(GRPC_STATUS_HEADER, "UNIMPLEMENTED")
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as e:
            raise ConnectFailed(f"cannot connect to {self._host}: {e}") from e
        except TimeoutError as e:
            raise GrpcStatus("DEADLINE_EXCEEDED", "Deadline Exceeded") from e
        except aiohttp.ClientError as e:
            raise GrpcStatus("UNAVAILABLE", f"Connection reset by peer: {e}") from e
        if status != "OK":
            raise GrpcStatus(status, body.decode("utf-8", "replace"))
        return body

    async def close(self) -> None:
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()


@dataclass(frozen=True, slots=True)
class Simulation:
    """What a simulated run is given."""

    loop: SimLoop
    runtime: Runtime
    network: SimNetwork
    rng: random.Random
    """Seeded by `run`; separate from the network's own draws."""


def run(
    main: Callable[[Simulation], Coroutine[Any, Any, T]],
    *,
    seed: int = 0,
    epoch_ns: int = EPOCH_NS,
    check_leaks: bool = True,
) -> T:
    """Run `main` to its end on a fresh virtual loop and return its result.

    Servers started on the network are stopped for it. Everything else it must end itself.

    Raises:
        Deadlock: all tasks wait, and no timer is set.
        Leak: a task or connection is left.
        LostError: a task or callback failed unseen.
    """
    with asyncio.Runner(loop_factory=SimLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, SimLoop)
        clock = VirtualClock(epoch_ns)
        network = SimNetwork(loop, clock, random.Random(f"network-{seed}"))
        runtime = Runtime(clock=clock, offload=InlineOffload(), connector=network.connector, grpc=network.channel)
        simulation = Simulation(loop, runtime, network, random.Random(seed))
        result = runner.run(_supervise(main, simulation, check_leaks=check_leaks))
    if loop.unhandled:
        _raise_lost(loop.unhandled)
    return result


async def _supervise(main: Callable[[Simulation], Awaitable[T]], sim: Simulation, *, check_leaks: bool) -> T:
    clients_left = 0
    try:
        result = await main(sim)
        for _ in range(3):  # transports close through callbacks: let what is already closing finish
            await asyncio.sleep(0)
        clients_left = sum(not c.client.is_closing() for h in sim.network.hosts.values() for c in h.connections)
    finally:
        await sim.network.close()
    for _ in range(3):
        await asyncio.sleep(0)
    tasks = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
    if check_leaks and (tasks or clients_left):
        names = ", ".join(sorted(map(_describe, tasks))) or "none"
        raise Leak(f"{clients_left} client connections left open; tasks left: {names}")
    return result


def _raise_lost(contexts: list[dict[str, Any]]) -> NoReturn:
    errors = [c["exception"] for c in contexts if isinstance(c.get("exception"), Exception)]
    summary = "; ".join(str(c.get("message")) for c in contexts)
    raise LostError(f"{len(contexts)} unhandled: {summary}") from (ExceptionGroup("unhandled in the loop", errors) if errors else None)
