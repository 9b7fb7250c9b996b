"""Unary gRPC calls with bodies as bytes, over several nodes of one network.

A venue writes its own protobuf bodies; here are channels, the choice of the node, and what a failure proves. Another node is tried where
nothing was executed and only this node is to blame: no connection was made, or it (or the proxy before it, by HTTP 401, 403, 404) serves us
not. A query is repeated by its caller, which finds the next node, and a command whose answer was lost is never repeated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from exchange_clients.errors import (
    ConfigError,
    ConnectFailed,
    Disconnected,
    PermissionDenied,
    RateLimited,
    RequestRefused,
    RequestTimeout,
    VenueError,
    VenueUnavailable,
)

if TYPE_CHECKING:
    from exchange_clients.transport.runtime import Runtime

MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
_CONNECT_S: Final = 5.0
_PAUSE_S: Final = 2.0
_LONGEST_PAUSE_S: Final = 60.0
MAX_LAG: Final = 3
"""Blocks that a node may be behind before the others are preferred."""


class GrpcStatus(Exception):
    """A call ended without an answer. `code` is the status by name ("UNAVAILABLE"), `details` the server's words."""

    def __init__(self, code: str, details: str) -> None:
        super().__init__(f"{code}: {details}")
        self.code = code
        self.details = details


class UnaryChannel(Protocol):
    """One node."""

    async def call(self, method: str, request: bytes, *, timeout_s: float) -> bytes:
        """The answer's body. `method` is the full path, "/cosmos.tx.v1beta1.Service/BroadcastTx".

        Raises:
            ConnectFailed: nothing can have been sent.
            GrpcStatus: anything else.
        """
        ...

    async def close(self) -> None: ...


class SystemChannel:
    """A channel of `grpc.aio`: TLS, except to this machine. No proxy is looked for."""

    def __init__(self, address: str) -> None:
        import grpc  # type: ignore[import-untyped]

        self._address = address
        self._ready: Any = grpc.ChannelConnectivity.READY
        self._error: type[Any] = grpc.aio.AioRpcError
        options = [
            ("grpc.enable_http_proxy", 0),
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.max_reconnect_backoff_ms", 5_000),
            ("grpc.initial_reconnect_backoff_ms", 200),
        ]
        host = address.rpartition(":")[0].strip("[]")
        if host in ("127.0.0.1", "localhost", "::1"):
            self._channel: Any = grpc.aio.insecure_channel(address, options=options)
        else:
            self._channel = grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(), options=options)
        self._methods: dict[str, Any] = {}

    async def call(self, method: str, request: bytes, *, timeout_s: float) -> bytes:
        if self._channel.get_state(try_to_connect=True) is not self._ready:
            await self._connect(min(timeout_s, _CONNECT_S))
        if method not in self._methods:
            self._methods[method] = self._channel.unary_unary(method)  # no serializers: bytes in, bytes out
        try:
            return cast("bytes", await self._methods[method](request, timeout=timeout_s))
        except self._error as e:
            status = GrpcStatus(e.code().name, e.details() or "")
        raise status  # out here it does not keep the library's own frames, and with them the channel and its thread

    async def _connect(self, timeout_s: float) -> None:
        import asyncio

        import grpc

        failed = grpc.ChannelConnectivity.TRANSIENT_FAILURE
        try:
            async with asyncio.timeout(timeout_s):
                while (state := self._channel.get_state(try_to_connect=True)) is not self._ready:
                    if state in (failed, grpc.ChannelConnectivity.SHUTDOWN):
                        raise ConnectFailed(f"cannot connect to {self._address}")
                    await self._channel.wait_for_state_change(state)
        except TimeoutError:
            raise ConnectFailed(f"cannot connect to {self._address}: timed out") from None

    async def close(self) -> None:
        channel, self._channel = self._channel, None
        self._methods.clear()
        if channel is not None:
            await channel.close()


def system_channel(address: str) -> UnaryChannel:
    """A real channel to `host:port`; made on the running loop."""
    return SystemChannel(address)


@dataclass(slots=True)
class Node:
    """One address and what is known of its health: `lag` is by how many blocks it was behind when it was asked last, `rest_until` when it
    may be asked again by choice.
    """

    address: str
    channel: UnaryChannel | None = None
    failures: int = 0
    rest_until: float = 0.0
    lag: int = 0


class GrpcNodes:
    """Nodes of one network, the first healthy one in the configured order being used.

    A node rests after a failure, longer each time, and one that is behind the others by more than a few blocks is used last.
    """

    def __init__(self, venue: str, addresses: Sequence[str], runtime: Runtime) -> None:
        self._venue = venue
        self._runtime = runtime
        self.nodes = [Node(address) for address in addresses]
        self.answered: Node | None = None
        """Whose answer came last."""

    def ranked(self) -> list[Node]:
        """Best first: not resting, not behind, then as configured. A node that rests comes last, but comes."""
        now = self._runtime.clock.monotonic()
        return sorted(self.nodes, key=lambda n: (n.rest_until > now, n.lag > MAX_LAG))

    async def call(self, method: str, request: bytes, *, timeout_s: float) -> bytes:
        """One call; the next node is tried only where no connection was made, or this one does not serve us.

        Raises:
            ConnectFailed: no node could be reached; nothing was sent.
            VenueError: what the status means. Its outcome is UNKNOWN, unless the status proves that nothing was executed.
        """
        if not self.nodes:
            raise ConfigError("endpoints.grpc gives no address", venue=self._venue)
        *others, last = self.ranked()
        for node in others:
            try:
                return await self.call_node(node, method, request, timeout_s=timeout_s)
            except ConnectFailed:
                continue
            except (PermissionDenied, RequestRefused) as e:
                if e.code not in _NOT_SERVED:
                    raise
        return await self.call_node(last, method, request, timeout_s=timeout_s)

    async def call_node(self, node: Node, method: str, request: bytes, *, timeout_s: float) -> bytes:
        """One call at this node."""
        if node.channel is None:
            node.channel = self._runtime.grpc(node.address)
        try:
            answer = await node.channel.call(method, request, timeout_s=timeout_s)
        except ConnectFailed as e:
            self._failed(node)
            raise ConnectFailed(e.message, venue=self._venue) from e
        except GrpcStatus as e:
            error = error_of(e, venue=self._venue)
            if not isinstance(error, RequestRefused):
                self._failed(node)
            raise error from e
        node.failures, node.rest_until = 0, 0.0
        self.answered = node
        return answer

    def _failed(self, node: Node) -> None:
        node.failures += 1
        pause = min(_LONGEST_PAUSE_S, _PAUSE_S * 2.0 ** (min(node.failures, 10) - 1))
        node.rest_until = self._runtime.clock.monotonic() + pause

    async def close(self) -> None:
        for node in self.nodes:
            channel, node.channel = node.channel, None
            if channel is not None:
                await channel.close()


_MEANING: Final[Mapping[str, type[VenueError]]] = {
    "INVALID_ARGUMENT": RequestRefused,
    "NOT_FOUND": RequestRefused,
    "UNIMPLEMENTED": RequestRefused,
    "OUT_OF_RANGE": RequestRefused,
    "FAILED_PRECONDITION": RequestRefused,
    "UNAUTHENTICATED": PermissionDenied,
    "PERMISSION_DENIED": PermissionDenied,
    "RESOURCE_EXHAUSTED": RateLimited,
    "DEADLINE_EXCEEDED": RequestTimeout,
    "UNAVAILABLE": VenueUnavailable,
}

_NOT_SERVED: Final = frozenset({"grpc:UNAUTHENTICATED", "grpc:PERMISSION_DENIED", "grpc:UNIMPLEMENTED"})
"""Nothing was executed, and another node may think otherwise."""


def error_of(status: GrpcStatus, *, venue: str) -> VenueError:
    """What a status means: a refusal in words for what the server rejected before doing anything, else an unknown outcome."""
    kind = _MEANING.get(status.code, Disconnected)
    return kind(status.details or status.code.lower().replace("_", " "), venue=venue, code=f"grpc:{status.code}")
