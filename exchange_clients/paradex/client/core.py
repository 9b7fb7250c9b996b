"""The Paradex client: composition."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exchange_clients.base_client import BaseExchangeClient, get_exchange_logger
from exchange_clients.paradex.client.managers.account_manager import ParadexAccountManager
from exchange_clients.paradex.client.managers.market_data import ParadexMarketData
from exchange_clients.paradex.client.managers.order_manager import ParadexOrderManager
from exchange_clients.paradex.client.managers.position_manager import ParadexPositionManager
from exchange_clients.paradex.common import SPEC
from exchange_clients.paradex.signing import Identity, ParadexSigner, signer_of
from exchange_clients.paradex.websocket.manager import ParadexWebSocketManager
from exchange_clients.signing import Credentials, Signer
from exchange_clients.spec import Endpoints
from exchange_clients.transport.runtime import Runtime

if TYPE_CHECKING:
    from exchange_clients.config import ClientConfig


class ParadexClient(BaseExchangeClient):
    spec = SPEC
    market_data_class = ParadexMarketData
    order_manager_class = ParadexOrderManager
    position_manager_class = ParadexPositionManager
    account_manager_class = ParadexAccountManager
    websocket_class = ParadexWebSocketManager

    @classmethod
    def make_signer(cls, credentials: Credentials, endpoints: Endpoints, config: ClientConfig, runtime: Runtime) -> Signer:
        identity = Identity.of(credentials, config.environment)
        return ParadexSigner(identity, str(endpoints.chain_id), get_exchange_logger(SPEC.name).warning)

    def _installed_nonces(self) -> None:
        """Orders carry a time, not a number; what the signer needs instead is the way to the venue that gives it tokens."""
        if self.context.signer is not None:
            signer_of(self.context).attach(self.context.rest, self.context.limiter)
