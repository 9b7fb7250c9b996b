"""The OKX client: composition."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exchange_clients.base_client import BaseExchangeClient
from exchange_clients.okx.client.managers.account_manager import OkxAccountManager
from exchange_clients.okx.client.managers.market_data import OkxMarketData
from exchange_clients.okx.client.managers.order_manager import OkxOrderManager
from exchange_clients.okx.client.managers.position_manager import OkxPositionManager
from exchange_clients.okx.common import SPEC
from exchange_clients.okx.signing import NONCE_SCOPE, OkxSigner
from exchange_clients.okx.websocket.manager import OkxWebSocketManager
from exchange_clients.signing import Credentials, Signer, TimeNonces
from exchange_clients.spec import Endpoints
from exchange_clients.transport.runtime import Runtime

if TYPE_CHECKING:
    from exchange_clients.config import ClientConfig


class OkxClient(BaseExchangeClient):
    spec = SPEC
    market_data_class = OkxMarketData
    order_manager_class = OkxOrderManager
    position_manager_class = OkxPositionManager
    account_manager_class = OkxAccountManager
    websocket_class = OkxWebSocketManager

    @classmethod
    def make_signer(cls, credentials: Credentials, endpoints: Endpoints, config: ClientConfig, runtime: Runtime) -> Signer:
        return OkxSigner(credentials)

    def _installed_nonces(self) -> None:
        """Only to tell answers on the socket apart."""
        self.context.nonces[NONCE_SCOPE] = TimeNonces(f"{SPEC.name}-{NONCE_SCOPE}", self.context.venue_time.now_ms)
