"""What a client or a simulated venue needs from the world around it, in one value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exchange_clients.transport.clock import Clock, SystemClock
from exchange_clients.transport.grpc import UnaryChannel, system_channel
from exchange_clients.transport.offload import Offload, ThreadOffload

if TYPE_CHECKING:
    import aiohttp


def _tcp_connector() -> aiohttp.BaseConnector:
    import aiohttp

    # No connection cap here: venues count requests and sockets, and those limits live in the rate limiter.
    return aiohttp.TCPConnector(limit=0, ttl_dns_cache=300)


@dataclass(frozen=True, slots=True)
class Runtime:
    """Time, threads and network.

    The same client code runs on the real ones (`Runtime.system()`) and, under a simulation, on virtual time with in-memory connections.
    """

    clock: Clock
    offload: Offload
    connector: Callable[[], aiohttp.BaseConnector]
    """A new connector for one session, which closes it. Call it on the running loop."""
    grpc: Callable[[str], UnaryChannel] = system_channel
    """A new channel to `host:port`, closed by whoever asked for it. Call it on the running loop."""

    @classmethod
    def system(cls) -> Runtime:
        """The machine's clock, a thread pool of its own, real sockets."""
        return cls(clock=SystemClock(), offload=ThreadOffload(), connector=_tcp_connector)
