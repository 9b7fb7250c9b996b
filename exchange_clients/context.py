"""What the parts of one client share."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from exchange_clients.errors import MissingCredentials, UnsupportedCapability
from exchange_clients.events import EventHub
from exchange_clients.instruments import InstrumentProvider
from exchange_clients.model import InstrumentId, Position
from exchange_clients.orders import IdStore, OrderTracker
from exchange_clients.ratelimit import Limiter
from exchange_clients.signing import Channel, Credentials, NonceSource, Signer, require
from exchange_clients.spec import Endpoints, VenueSpec
from exchange_clients.transport.command import CommandPort, SocketCommands
from exchange_clients.transport.runtime import Runtime
from exchange_clients.transport.venue_time import VenueTime

if TYPE_CHECKING:
    from exchange_clients.base_managers import BaseMarketData
    from exchange_clients.base_websocket import BaseWebSocketManager
    from exchange_clients.config import ClientConfig
    from exchange_clients.transport.rest import RestTransport


@dataclass(slots=True)
class ClientContext:
    """Complete after the client's `__init__`; parts read it and never replace one another's."""

    spec: VenueSpec
    config: ClientConfig
    endpoints: Endpoints
    runtime: Runtime
    credentials: Credentials | None
    signer: Signer | None
    limiter: Limiter
    venue_time: VenueTime
    rest: RestTransport
    nonces: dict[str, NonceSource]
    socket_commands: SocketCommands
    port: CommandPort
    hub: EventHub
    tracker: OrderTracker
    ids: IdStore
    log: logging.LoggerAdapter[logging.Logger]
    instruments: InstrumentProvider = field(init=False)
    websocket: BaseWebSocketManager = field(init=False)
    market_data: BaseMarketData = field(init=False)
    positions: dict[InstrumentId, Position] = field(default_factory=dict)
    owns_runtime: bool = False
    entries_allowed: bool = False
    """False until credentials, instruments, streams and reconciliation stand; exits never ask."""

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def command_channel(self) -> Channel:
        """Where commands go now: over the socket where that is asked for and open."""
        return Channel.WS if self.config.command_channel == "ws" and self.socket_commands.is_open else Channel.REST

    def attach_instruments(self, market_data: BaseMarketData) -> None:
        """Instruments come from the venue's market data, whose parts need this context first."""
        self.market_data = market_data
        self.instruments = InstrumentProvider(self.spec, self.runtime.clock, self.hub, market_data.fetch_instruments)

    def require_signer(self) -> Signer:
        """The signer, or MissingCredentials naming what to set."""
        if self.signer is None:
            require(self.credentials, self.spec, self.config.environment)
            raise MissingCredentials("this client is read-only", venue=self.spec.name)
        return self.signer

    def supports(self, able: bool, what: str) -> None:
        """Raise `UnsupportedCapability` unless `able`."""
        if not able:
            raise UnsupportedCapability(f"{what} is not supported", venue=self.spec.name)
