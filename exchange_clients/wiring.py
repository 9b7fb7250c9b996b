"""Builds the shared parts of a client from its configuration. Nothing is opened and nothing is asked here.

What only a client needs (pydantic, aiohttp) is imported when the first one is built: importing a venue stays cheap.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from exchange_clients.context import ClientContext
from exchange_clients.errors import ConfigError
from exchange_clients.events import EventHub
from exchange_clients.model import Fill, Lane, OrderInfo
from exchange_clients.orders import FileIdStore, IdStore, MemoryIdStore, OrderTracker
from exchange_clients.ratelimit import Limiter
from exchange_clients.signing import Credentials, NonceSource, Signer, require
from exchange_clients.spec import Endpoints, Stream, VenueSpec
from exchange_clients.transport.command import SocketCommands, VenuePort
from exchange_clients.transport.grpc import GrpcNodes
from exchange_clients.transport.runtime import Runtime
from exchange_clients.transport.venue_time import VenueTime

if TYPE_CHECKING:
    from exchange_clients.config import ClientConfig

SignerFactory = Callable[[Credentials, Endpoints, "ClientConfig", Runtime], Signer]


class _KeyValues(logging.LoggerAdapter[logging.Logger]):
    """Binds the venue to every record: `stream.gap reason=... venue=lighter`."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        return f"{msg} venue={self.extra['venue'] if self.extra else ''}", kwargs


def get_exchange_logger(venue: str) -> logging.LoggerAdapter[logging.Logger]:
    """The library's logger of one venue: standard logging, no handlers configured."""
    return _KeyValues(logging.getLogger(f"exchange_clients.{venue}"), {"venue": venue})


def parse_config(spec: VenueSpec, config: ClientConfig | Mapping[str, Any] | None) -> ClientConfig:
    """A validated configuration whose environment the venue has.

    Raises:
        ConfigError: one line naming the field; nothing of the input is echoed back.
    """
    from pydantic import ValidationError

    from exchange_clients.config import ClientConfig

    if isinstance(config, ClientConfig):
        parsed = config
    else:
        try:
            parsed = ClientConfig.model_validate(dict(config or {}))
        except ValidationError as e:
            detail = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in e.errors())
            raise ConfigError(f"configuration: {detail}", venue=spec.name) from None
    if parsed.environment not in spec.environments:
        there = ", ".join(spec.environments)
        raise ConfigError(f"no environment {parsed.environment!r}; there are {there}", venue=spec.name)
    return parsed


def resolve_endpoints(spec: VenueSpec, config: ClientConfig) -> Endpoints:
    """The environment's addresses with the configured overrides.

    An overridden `rest` leaves the environment: sockets that the override does not name have no address then, instead of the real one.

    Raises:
        ConfigError: the override names a socket that the venue does not have.
    """
    base, override = spec.environments[config.environment], config.endpoints
    if unknown := set(override.ws) - set(base.ws):
        there = ", ".join(base.ws)
        raise ConfigError(f"endpoints.ws: no socket {', '.join(sorted(unknown))}; there are {there}", venue=spec.name)
    return Endpoints(
        rest=override.rest or base.rest,
        ws=dict(override.ws) if override.rest else {**base.ws, **override.ws},
        grpc=override.grpc or (() if override.rest else base.grpc),
        chain_id=override.chain_id if override.chain_id is not None else base.chain_id,
        headers=base.headers,
    )


def _digest(proxy: str | None) -> str:
    """Names a way to the venue in the limiter's tables, where its password has no place. The user belongs to it: some proxies choose the
    address they leave from by that."""
    return "" if proxy is None else hashlib.sha256(proxy.encode()).hexdigest()[:16]


def build_context(
    spec: VenueSpec,
    config: ClientConfig | Mapping[str, Any] | None,
    credentials: Credentials | None,
    make_signer: SignerFactory | None,
    runtime: Runtime | None,
    *,
    lane: Lane = Lane.QUERY,
) -> ClientContext:
    """Everything the parts of one client share. Unusable credentials give a read-only context; the first signed call says why.

    `lane`: the urgency of its queries.
    """
    from exchange_clients.transport.rest import RestTransport

    parsed = parse_config(spec, config)
    endpoints = resolve_endpoints(spec, parsed)
    owns_runtime = runtime is None
    runtime = runtime or Runtime.system()
    log = get_exchange_logger(spec.name)
    signer: Signer | None = None
    problem: str | None = None
    if credentials is not None and make_signer is not None:
        if (problem := credentials.problem(spec, parsed.environment)) is None:
            signer = make_signer(require(credentials, spec, parsed.environment), endpoints, parsed, runtime)
        else:
            log.warning("credentials.unusable reason=%s", problem)
    if parsed.proxy is not None and signer is not None and endpoints.grpc:
        raise ConfigError(
            "its chain is reached by gRPC, which goes through no proxy: an order would show this machine's address", venue=spec.name
        )
    account = signer.address if signer is not None else ""
    limiter = Limiter(
        spec.name,
        spec.pools,
        runtime.clock,
        environment=endpoints.rest,
        address=_digest(parsed.proxy_address),
        account=account,
        key=account,
        share=parsed.limits_share,
    )
    venue_time = VenueTime(runtime.clock)
    rest = RestTransport(
        spec,
        endpoints.rest,
        runtime,
        limiter,
        venue_time,
        signer=signer,
        timeout_s=parsed.request_timeout_s,
        proxy=parsed.proxy_address,
        nodes=GrpcNodes(spec.name, endpoints.grpc, runtime),
        headers=endpoints.headers,
        problem=problem,
        lane=lane,
    )
    nonces: dict[str, NonceSource] = {}
    socket = SocketCommands(spec.name)
    hub = EventHub(spec.name, runtime.clock.time_ns)

    def on_order(info: OrderInfo) -> None:
        hub.publish((Stream.ORDERS, None, ""), info)

    def on_fill(fill: Fill) -> None:
        hub.publish((Stream.FILLS, None, ""), fill)

    ids: IdStore
    if parsed.state_directory is not None:
        ids = FileIdStore(
            parsed.state_directory / f"{spec.name}-{parsed.environment}-{account or 'none'}.ids", spec.client_id, runtime.clock
        )
    else:
        if signer is not None:
            log.info("client_ids.in_memory hint=set state_directory to keep them unique when the clock is set back between runs")
        ids = MemoryIdStore(spec.client_id, runtime.clock)
    return ClientContext(
        spec=spec,
        config=parsed,
        endpoints=endpoints,
        runtime=runtime,
        credentials=credentials,
        signer=signer,
        limiter=limiter,
        venue_time=venue_time,
        rest=rest,
        nonces=nonces,
        socket_commands=socket,
        port=VenuePort(
            rest,
            limiter,
            venue_time,
            signer,
            nonces,
            socket,
            timeout_s=parsed.command_timeout_s,
            limiter_wait_s=spec.limiter_wait_s,
        ),
        hub=hub,
        tracker=OrderTracker(runtime.clock, on_order, on_fill),
        ids=ids,
        log=log,
        owns_runtime=owns_runtime,
    )
