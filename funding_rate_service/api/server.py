"""The application behind a socket: uvicorn on the loop that is running, started and ended by the caller, signals left alone."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import uvicorn
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from funding_rate_service.api.access import ServeConfig
from funding_rate_service.api.app import create_app
from funding_rate_service.service import Service

log = logging.getLogger("funding_rate_service.api")

MAX_MESSAGE = 4_096
"""Bytes; readers of the stream have nothing to say."""
GRACE_S = 1.0
"""Open answers may take so long to end when the service does."""
FLUSH_S = 2.0
"""A stream that was closed and whose reader takes nothing is broken off after so long."""
PATIENCE_S = 30.0
"""A caller says something, and then all of it, in so long."""
TAKE_S = 60.0
"""A caller that takes nothing of its answer is broken off after so long."""
MAX_REQUEST = 128 * 1024
"""Bytes of one request with its head, body and trailer; bodies that are read end far below."""
MAX_HEADERS = 100
SPARE = 64
"""Connections beyond the limit that are told so; more are closed unheard."""


class _Requests(HttpToolsProtocol):
    """Lets go of callers that say nothing, never come to an end, or take nothing: each holds memory and a place."""

    _timers: dict[str, asyncio.TimerHandle]
    _taken = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._timers = {}
        super().connection_made(transport)  # type: ignore[arg-type]
        if self.limit_concurrency is not None and len(self.connections) > self.limit_concurrency + SPARE:
            self.transport.abort()
        self._wait("request", PATIENCE_S)

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_for_nothing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._taken += len(data)
        if self._taken > MAX_REQUEST:
            self.transport.abort()
            return
        super().data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._taken = 0
        self._wait("request", PATIENCE_S)

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.headers) >= MAX_HEADERS:
            raise ValueError("too many headers")
        super().on_header(name, value)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._taken = 0
        self._wait("request", PATIENCE_S if getattr(self.cycle, "response_complete", True) else None)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.pipeline and not self.transport.is_closing():
            self._wait("request", PATIENCE_S)

    def handle_websocket_upgrade(self) -> None:
        self._wait_for_nothing()
        super().handle_websocket_upgrade()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._wait("taking", TAKE_S)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._wait("taking", None)

    def _wait(self, what: str, seconds: float | None) -> None:
        """Break off when it has not come after so long; None: it has."""
        if (timer := self._timers.pop(what, None)) is not None:
            timer.cancel()
        if seconds is not None:
            self._timers[what] = self.loop.call_later(seconds, self.transport.abort)

    def _wait_for_nothing(self) -> None:
        for what in tuple(self._timers):
            self._wait(what, None)


class _Stream(WebSocketsSansIOProtocol):
    """Does not wait for ever for a reader that takes nothing; a refused handshake is complete and no error."""

    async def send(self, message: ASGISendEvent) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        super().on_task_complete(task)
        self.loop.call_later(FLUSH_S, self.transport.abort)


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Whoever runs us minds the signals."""
        yield


@dataclass(frozen=True, slots=True)
class Serving:
    """Where it listens."""

    url: str


@asynccontextmanager
async def serving(service: Service, config: ServeConfig, *, local_key: str | None = None, page: bool = True) -> AsyncIterator[Serving]:
    """Serve inside the block.

    Raises:
        OSError: the address is in use, or not ours.
    """
    app = create_app(service, config, local_key=local_key, page=page)
    listening = _listen(config)
    server = _Server(
        uvicorn.Config(
            app,
            http=_Requests,
            ws=_Stream,
            ws_max_size=MAX_MESSAGE,
            ws_per_message_deflate=False,
            lifespan="off",
            access_log=False,
            log_config=None,
            log_level="warning",
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_room(config.connections),
            timeout_keep_alive=30,
            timeout_graceful_shutdown=int(GRACE_S),
            backlog=1_024,
            ssl_certfile=config.tls_cert,
            ssl_keyfile=config.tls_key,
        )
    )
    running = asyncio.create_task(server.serve(sockets=[listening]), name="http server")
    try:
        while not server.started:
            if running.done():
                await running
                raise OSError("the server ended before it began")
            await asyncio.sleep(0.01)
        host, port = listening.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        url = f"{'http' if config.tls_cert is None else 'https'}://{shown}:{port}"
        log.info("api.listening url=%s", url)
        yield Serving(url)
    finally:
        server.should_exit = True
        await asyncio.gather(running, return_exceptions=True)
        listening.close()


def _room(connections: int) -> int:
    """No more than leaves half of the files this process may open to the venues and the database."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return connections
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return connections if files == resource.RLIM_INFINITY else min(connections, files // 2)


def _listen(config: ServeConfig) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(1_024)
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    return listening
