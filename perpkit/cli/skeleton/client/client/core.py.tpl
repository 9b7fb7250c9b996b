"""The $title client: composition."""

from __future__ import annotations

from typing import TYPE_CHECKING

from $package.client.managers.account_manager import ${Name}AccountManager
from $package.client.managers.market_data import ${Name}MarketData
from $package.client.managers.order_manager import ${Name}OrderManager
from $package.client.managers.position_manager import ${Name}PositionManager
from $package.common import SPEC
from $package.signing import ${Name}Signer
from $package.websocket.manager import ${Name}WebSocketManager
from exchange_clients.base_client import BaseExchangeClient
from exchange_clients.signing import Credentials, Signer
from exchange_clients.spec import Endpoints
from exchange_clients.transport.runtime import Runtime

if TYPE_CHECKING:
    from exchange_clients.config import ClientConfig


class ${Name}Client(BaseExchangeClient):
    spec = SPEC
    market_data_class = ${Name}MarketData
    order_manager_class = ${Name}OrderManager
    position_manager_class = ${Name}PositionManager
    account_manager_class = ${Name}AccountManager
    websocket_class = ${Name}WebSocketManager

    @classmethod
    def make_signer(cls, credentials: Credentials, endpoints: Endpoints, config: ClientConfig, runtime: Runtime) -> Signer:
        return ${Name}Signer(credentials)
