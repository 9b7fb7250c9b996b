"""The Backpack client: composition."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exchange_clients.backpack.client.managers.account_manager import BackpackAccountManager
from exchange_clients.backpack.client.managers.market_data import BackpackMarketData
from exchange_clients.backpack.client.managers.order_manager import BackpackOrderManager
from exchange_clients.backpack.client.managers.position_manager import BackpackPositionManager
from exchange_clients.backpack.common import SPEC
from exchange_clients.backpack.signing import BackpackSigner
from exchange_clients.backpack.websocket.manager import BackpackWebSocketManager
from exchange_clients.base_client import BaseExchangeClient
from exchange_clients.signing import Credentials, Signer
from exchange_clients.spec import Endpoints
from exchange_clients.transport.runtime import Runtime

if TYPE_CHECKING:
    from exchange_clients.config import ClientConfig


class BackpackClient(BaseExchangeClient):
    spec = SPEC
    market_data_class = BackpackMarketData
    order_manager_class = BackpackOrderManager
    position_manager_class = BackpackPositionManager
    account_manager_class = BackpackAccountManager
    websocket_class = BackpackWebSocketManager

    order_manager: BackpackOrderManager

    @classmethod
    def make_signer(cls, credentials: Credentials, endpoints: Endpoints, config: ClientConfig, runtime: Runtime) -> Signer:
        return BackpackSigner(credentials)
