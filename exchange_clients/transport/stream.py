"""The only socket loop in the library: connect, log in, subscribe, read; and after any loss wait, then all of it again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import aiohttp

from exchange_clients.errors import AuthError, ConfigError, ConnectFailed, Disconnected, VenueError
from exchange_clients.model import Lane
from exchange_clients.ratelimit import Limiter
from exchange_clients.secret import bare
from exchange_clients.subscriptions import SubscriptionRegistry, Topic
from exchange_clients.transport.backoff import Backoff
from exchange_clients.transport.dialect import Dialect
from exchange_clients.transport.runtime import Runtime

MAX_FRAME_BYTES = 16 * 1024 * 1024
CONFIRM_WITHIN_S = 10.0
"""A topic that the venue neither confirms nor refuses for so long is asked for again (E32)."""
MUTE_AFTER_S = 12.0
"""A connection on which an answer is due and that has not said anything at all for so long is given up."""
HEALTHY_AFTER_S = 10.0
"""A connection that carried data for so long is taken for a good one: the next loss waits briefly again."""
_FATAL_STATUS = ("400", "401", "403", "404")
_DATA = (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY)
_CONTROL = (aiohttp.WSMsgType.PING, aiohttp.WSMsgType.PONG)
_LOOK_EVERY_S = 0.05

log = logging.getLogger("exchange_clients.stream")


class _Login:
    """A `Socket` over a connection that is not reading yet."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse, timeout_s: float) -> None:
        self._ws = ws
        self._timeout_s = timeout_s
        self.kept: list[str | bytes] = []

    async def send(self, message: str | bytes) -> None:
        await _write(self._ws, message)

    async def recv(self) -> str | bytes:
        message = await self._ws.receive(self._timeout_s)
        while message.type in _CONTROL:
            await _answer(self._ws, message)
            message = await self._ws.receive(self._timeout_s)
        if message.type not in _DATA:
            raise Disconnected("the connection closed during login")
        data: str | bytes = message.data
        return data

    def keep(self, data: str | bytes) -> None:
        self.kept.append(data)


async def _write(ws: aiohttp.ClientWebSocketResponse, message: str | bytes) -> None:
    if isinstance(message, str):
        await ws.send_str(message)
    else:
        await ws.send_bytes(message)


async def _answer(ws: aiohttp.ClientWebSocketResponse, message: aiohttp.WSMessage) -> None:
    """A ping is answered; where that fails the reader sees the loss itself."""
    if message.type is aiohttp.WSMsgType.PING:
        with contextlib.suppress(aiohttp.ClientError, ConnectionError):
            await ws.pong(message.data)


class StreamSocket(Protocol):
    """What a manager needs of a socket; `VenueSocket` is one, and so is the other end of a recording."""

    connects: int

    @property
    def is_connected(self) -> bool: ...
    async def run(self) -> None: ...
    def end(self, reason: str) -> None: ...
    async def send(self, message: str | bytes) -> None: ...
    async def flush(self) -> None: ...
    async def drop(self, topics: Sequence[Topic]) -> None: ...


class VenueSocket:
    """One socket of one role, kept connected by `run()` until it is canceled.

    `on_frame(data, ts_recv_ns)` gets every frame, `on_open()` runs after the first subscriptions were written, `on_lost(reason)` after each
    loss, `on_silence(topic)` when a venue that acknowledges nothing has not refused a topic in time. Silence is a loss: no frame at all for
    the heartbeat's timeout, or for `MUTE_AFTER_S` while an answer is due, or no data for `stale_after_s` while `expects_data()`. An
    error of our own while a frame is handled is logged and ends the connection like any other loss.
    """

    def __init__(
        self,
        venue: str,
        role: str,
        dialect: Dialect,
        registry: SubscriptionRegistry,
        runtime: Runtime,
        limiter: Limiter,
        session: Callable[[], aiohttp.ClientSession],
        *,
        on_frame: Callable[[str | bytes, int], None],
        on_open: Callable[[], None],
        on_lost: Callable[[str], None],
        on_silence: Callable[[Topic], object],
        expects_data: Callable[[], bool],
        stale_after_s: float,
        message_cost: Mapping[str, int],
        rng: random.Random,
        proxy: str | None = None,
        connect_timeout_s: float = 10.0,
    ) -> None:
        self.venue = venue
        self.role = role
        self._dialect = dialect
        self._registry = registry
        self._runtime = runtime
        self._limiter = limiter
        self._session = session
        self._on_frame = on_frame
        self._on_open = on_open
        self._on_lost = on_lost
        self._on_silence = on_silence
        self._expects_data = expects_data
        self._stale_after_s = stale_after_s
        self._message_cost = message_cost
        self._proxy = proxy
        self._connect_timeout_s = connect_timeout_s
        self._backoff = Backoff(rng)
        self._ws: aiohttp.ClientWebSocketResponse | None = None
        self._sending = asyncio.Lock()
        self._last_frame = 0.0
        self._last_data = 0.0
        self._signs = 0
        """Of life: frames of any kind, pings and pongs too."""
        self.connects = 0
        self._opened = 0.0
        self._reason = ""
        self._told = False
        self._closing: asyncio.Task[bool] | None = None
        self._waits: set[asyncio.Task[None]] = set()

    @property
    def is_connected(self) -> bool:
        return self._ws is not None

    async def run(self) -> None:
        """Connect again and again. Raises for what trying again cannot mend: a login refused, or a first connection refused for good."""
        while True:
            self._reason, self._told = "", False
            try:
                reason = await self._one_connection()
            except VenueError as e:
                reason = str(e)
                refused = isinstance(e, AuthError) and (e.code or not self.connects)  # a page without a code is a proxy's bad minute
                if refused or (not self.connects and (isinstance(e, ConfigError) or e.code in _FATAL_STATUS)):
                    self._lost(reason)
                    raise
            except Exception as e:
                log.exception("stream.failed venue=%s role=%s", self.venue, self.role)
                reason = f"{type(e).__name__} in our own code"
            self._lost(reason)
            delay = self._backoff.next()
            log.warning(
                "stream.lost venue=%s role=%s attempt=%d wait_s=%.2f reason=%s", self.venue, self.role, self._backoff.attempt, delay, reason
            )
            await self._runtime.clock.sleep(delay)

    def end(self, reason: str) -> None:
        """Give up this connection now; the loop makes the next one after its pause."""
        ws = self._ws
        if ws is not None:
            self._reason = reason
            self._closing = asyncio.create_task(ws.close(), name=f"{self.venue}-{self.role}-close")
            self._lost(reason)

    def _lost(self, reason: str) -> None:
        self._ws = None
        if not self._told:
            self._told = True
            self._on_lost(reason)

    async def send(self, message: str | bytes) -> None:
        """Write one message. Raises ConnectFailed when there is no connection: nothing was sent."""
        ws = self._ws
        if ws is None:
            raise ConnectFailed(f"socket {self.role} is not connected", venue=self.venue)
        try:
            await _write(ws, message)
        except (aiohttp.ClientError, ConnectionError) as e:
            raise Disconnected(f"socket {self.role} broke while writing", venue=self.venue) from e

    async def flush(self) -> None:
        """Subscribe to whatever is wanted and not sent yet; does nothing while disconnected (the next connect does it)."""
        async with self._sending:
            while self._ws is not None and (topics := self._registry.pending(self.role)):
                self._registry.sent(topics, math.inf)  # no answer is due while the limiter holds them back
                await self._say(await self._dialect.subscribe(topics))
                self._registry.written(topics, self._runtime.clock.monotonic())
                self._await_silence(topics)

    def _await_silence(self, topics: Sequence[Topic]) -> None:
        """Of a venue that acknowledges nothing: what it does not refuse in time counts as confirmed."""
        waiting: dict[float, list[Topic]] = {}
        for topic in topics:
            if (after_s := self._dialect.silence_s(topic)) is not None:
                waiting.setdefault(after_s, []).append(topic)
        for after_s, together in waiting.items():
            task = asyncio.create_task(self._silence(together, after_s), name=f"{self.venue}-{self.role}-silence")
            self._waits.add(task)
            task.add_done_callback(self._waits.discard)

    async def _silence(self, topics: Sequence[Topic], after_s: float) -> None:
        """Silence of a connection that is dead says nothing: it must have answered a ping, or said anything, since."""
        ws, signs, clock = self._ws, self._signs, self._runtime.clock
        if ws is None:
            return
        with contextlib.suppress(aiohttp.ClientError, ConnectionError):
            await ws.ping()
        await clock.sleep(after_s)
        while self._signs == signs:
            await clock.sleep(_LOOK_EVERY_S)
        for topic in topics:
            self._on_silence(topic)

    async def drop(self, topics: Sequence[Topic]) -> None:
        """Unsubscribe; silent when disconnected."""
        if self._ws is not None:
            async with self._sending:
                await self._say(await self._dialect.unsubscribe(topics))

    async def _say(self, messages: Sequence[str | bytes]) -> None:
        ws = self._ws
        for message in messages:
            await self._limiter.acquire(self._message_cost, Lane.QUERY, timeout_s=120.0)
            if self._ws is not ws:
                return  # meant for a connection that is gone
            try:
                await self.send(message)
            except (ConnectFailed, Disconnected):
                return  # the connection is gone: what is wanted is sent after the next connect

    async def _one_connection(self) -> str:
        """Returns why the connection ended."""
        clock = self._runtime.clock
        ws: aiohttp.ClientWebSocketResponse | None = None
        status = 0
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                ws = await self._session().ws_connect(
                    await self._dialect.url(self.role),
                    compress=15,
                    heartbeat=None if self._dialect.heartbeat.message is not None else self._dialect.heartbeat.every_s,
                    autoping=False,
                    max_msg_size=MAX_FRAME_BYTES,
                    proxy=self._proxy,
                    timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
                )
        except TimeoutError:
            return "connecting timed out"
        except aiohttp.WSServerHandshakeError as e:
            status = e.status
        except aiohttp.ClientHttpProxyError as e:  # its own words repeat the proxy's address
            return f"cannot connect: the proxy answers HTTP {e.status}"
        except (aiohttp.ClientError, OSError) as e:
            return f"cannot connect: {e}"
        if ws is None:  # out here it does not keep the library's error, which holds the request's headers
            raise ConnectFailed(f"socket {self.role}: HTTP {status} at the handshake", venue=self.venue, code=str(status))
        tasks: list[asyncio.Task[Any]] = []
        try:
            login = _Login(ws, self._connect_timeout_s)
            try:
                await self._dialect.login(self.role, login)
            except VenueError as e:
                raise bare(e) from None  # what was sent is in the frames below
            self._ws = ws
            self.connects += 1
            self._opened = self._last_frame = self._last_data = clock.monotonic()
            for data in login.kept:
                self._on_frame(data, clock.time_ns())
            tasks.append(asyncio.create_task(self._watch(ws), name=f"{self.venue}-{self.role}-watch"))
            opening = asyncio.create_task(self._open(), name=f"{self.venue}-{self.role}-open")
            reading = asyncio.create_task(self._read(ws), name=f"{self.venue}-{self.role}-read")
            tasks += [opening, reading]  # subscriptions may wait for the limiter: what has come is read meanwhile
            await asyncio.wait((opening, reading), return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                opening.result()
            return await reading
        except TimeoutError:
            return "login timed out"
        finally:
            tasks += self._waits
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._ws = None
            if self._closing is not None:
                closing, self._closing = self._closing, None
                await asyncio.gather(closing, return_exceptions=True)
            await ws.close()

    async def _open(self) -> None:
        await self.flush()
        self._on_open()

    async def _read(self, ws: aiohttp.ClientWebSocketResponse) -> str:
        clock, on_frame, is_heartbeat = self._runtime.clock, self._on_frame, self._dialect.is_heartbeat
        while True:
            message = await ws.receive()
            if message.type in _CONTROL:
                self._signs += 1
                await _answer(ws, message)
            elif message.type in _DATA:
                ts_recv_ns = clock.time_ns()
                self._last_frame = clock.monotonic()
                self._signs += 1
                on_frame(message.data, ts_recv_ns)
                if self._reason:
                    return self._reason
                if not is_heartbeat(message.data):
                    self._last_data = self._last_frame
                    if self._backoff.attempt and self._last_data - self._opened > HEALTHY_AFTER_S:
                        self._backoff.reset()
            elif message.type is aiohttp.WSMsgType.ERROR:
                return f"broken frame: {message.data}"
            else:
                return self._reason or f"closed by the venue (code {ws.close_code})"

    async def _watch(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        """Send heartbeats and end the connection when it has gone silent, or when this cannot be watched any more."""
        asking: asyncio.Task[None] | None = None
        heartbeat, clock = self._dialect.heartbeat, self._runtime.clock
        tick = min(1.0, heartbeat.every_s, self._stale_after_s / 4)
        next_beat = clock.monotonic() + heartbeat.every_s
        try:
            while not self._reason:
                await clock.sleep(tick)
                now = clock.monotonic()
                if heartbeat.message is not None and now - self._last_frame > heartbeat.timeout_s:
                    self.end(f"silent for {now - self._last_frame:.1f} s")
                elif now - self._last_data > self._stale_after_s and self._expects_data():
                    self.end(f"no data for {now - self._last_data:.1f} s")
                elif self._dialect.max_age_s is not None and now - self._opened > self._dialect.max_age_s:
                    self.end(f"replaced after {now - self._opened:.0f} s")
                elif (lost := self._unanswered(now)) and self._mute(lost, now):
                    self.end(f"no answer and no word for {now - self._last_frame:.1f} s")
                elif asking is None and lost:
                    asking = asyncio.create_task(
                        self._ask_again(lost, now), name=f"{self.venue}-{self.role}-ask"
                    )  # may wait for the limiter
                elif asking is not None and asking.done():
                    asking.result()
                    asking = None
                if heartbeat.message is not None and now >= next_beat and not self._reason:
                    next_beat = now + heartbeat.every_s
                    await ws.send_str(heartbeat.message)
        except (aiohttp.ClientError, ConnectionError):
            return  # the reader sees the loss itself
        except VenueError as e:
            self.end(str(e))
        except Exception as e:
            log.exception("stream.watch_failed venue=%s role=%s", self.venue, self.role)
            self.end(f"{type(e).__name__} in our own code")
        finally:
            if asking is not None:
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)

    def _unanswered(self, now: float) -> list[Topic]:
        registry = self._registry
        return [t for t in registry.overdue(now, CONFIRM_WITHIN_S) if t.role == self.role and registry.refusal(t) is None]

    def _mute(self, lost: Sequence[Topic], now: float) -> bool:
        """Asked, and not a word since: asking this connection again is of no use."""
        return now - self._last_frame > MUTE_AFTER_S and any(self._registry.is_sent(topic) for topic in lost)

    async def _ask_again(self, lost: Sequence[Topic], now: float) -> None:
        """Subscribe anew to what was sent and never answered."""
        log.warning("stream.unconfirmed venue=%s role=%s channels=%s", self.venue, self.role, [t.label for t in lost])
        for topic in lost:
            self._registry.again(topic, now)
        await self.flush()
