"""The Aster client: composition."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exchange_clients.aster.client.managers.account_manager import AsterAccountManager
from exchange_clients.aster.client.managers.market_data import AsterMarketData
from exchange_clients.aster.client.managers.order_manager import AsterOrderManager
from exchange_clients.aster.client.managers.position_manager import AsterPositionManager
from exchange_clients.aster.common import SPEC
from exchange_clients.aster.signing import NONCE_SCOPE, AsterKeySigner, AsterSigner, chooses_v3
from exchange_clients.aster.websocket.manager import AsterWebSocketManager
from exchange_clients.base_client import BaseExchangeClient, get_exchange_logger
from exchange_clients.crypto.secp256k1 import FAST_BACKEND, backend_name
from exchange_clients.signing import Credentials, Signer, TimeNonces
from exchange_clients.spec import Endpoints
from exchange_clients.transport.runtime import Runtime

if TYPE_CHECKING:
    from exchange_clients.config import ClientConfig


class AsterClient(BaseExchangeClient):
    spec = SPEC
    market_data_class = AsterMarketData
    order_manager_class = AsterOrderManager
    position_manager_class = AsterPositionManager
    account_manager_class = AsterAccountManager
    websocket_class = AsterWebSocketManager

    @classmethod
    def make_signer(cls, credentials: Credentials, endpoints: Endpoints, config: ClientConfig, runtime: Runtime) -> Signer:
        """Of API v3 or v1, whichever credentials are set."""
        if not chooses_v3(credentials):
            return AsterKeySigner(credentials)
        signer = AsterSigner(credentials, runtime.offload, chain_id=int(endpoints.chain_id or 0), scope=endpoints.rest)
        if (backend := backend_name()) != FAST_BACKEND:
            get_exchange_logger(SPEC.name).warning(
                "signer.slow backend=%s hint=%r", backend, f"install {FAST_BACKEND}: requests are signed thirty times faster"
            )
        return signer

    def _installed_nonces(self) -> None:
        signer = self.context.signer
        if isinstance(signer, AsterSigner):
            venue_time = self.context.venue_time
            self.context.nonces[NONCE_SCOPE] = TimeNonces(signer.nonce_key, lambda: venue_time.now_ns() // 1000)
