"""The Hyperliquid client: composition."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from exchange_clients.base_client import BaseExchangeClient, get_exchange_logger
from exchange_clients.hyperliquid.client.managers.account_manager import HyperliquidAccountManager
from exchange_clients.hyperliquid.client.managers.market_data import HyperliquidMarketData
from exchange_clients.hyperliquid.client.managers.order_manager import HyperliquidOrderManager
from exchange_clients.hyperliquid.client.managers.position_manager import HyperliquidPositionManager
from exchange_clients.hyperliquid.common import SPEC
from exchange_clients.hyperliquid.signing import FAST_BACKEND, NONCE_SCOPE, HyperliquidSigner, backend_name
from exchange_clients.hyperliquid.websocket.manager import HyperliquidWebSocketManager
from exchange_clients.signing import Credentials, Signer, TimeNonces
from exchange_clients.spec import Endpoints
from exchange_clients.transport.runtime import Runtime

if TYPE_CHECKING:
    from exchange_clients.config import ClientConfig


class HyperliquidClient(BaseExchangeClient):
    spec = SPEC
    market_data_class = HyperliquidMarketData
    order_manager_class = HyperliquidOrderManager
    position_manager_class = HyperliquidPositionManager
    account_manager_class = HyperliquidAccountManager
    websocket_class = HyperliquidWebSocketManager

    @classmethod
    def make_signer(cls, credentials: Credentials, endpoints: Endpoints, config: ClientConfig, runtime: Runtime) -> Signer:
        signer = HyperliquidSigner(credentials, runtime.offload, mainnet=config.environment == "mainnet")
        if (backend := backend_name()) != FAST_BACKEND:
            get_exchange_logger(SPEC.name).warning(
                "signer.slow backend=%s hint=%r", backend, f"install {FAST_BACKEND}: orders are signed thirty times faster"
            )
        return signer

    def _installed_nonces(self) -> None:
        if (signer := self.context.signer) is not None:
            key = cast(HyperliquidSigner, signer).key_address
            self.context.nonces[NONCE_SCOPE] = TimeNonces(f"{self.context.endpoints.rest}/{key}", self.context.venue_time.now_ms)
