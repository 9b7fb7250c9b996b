"""The dYdX client: composition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from exchange_clients.base_client import BaseExchangeClient, get_exchange_logger
from exchange_clients.dydx.client.managers.account_manager import DydxAccountManager
from exchange_clients.dydx.client.managers.market_data import DydxMarketData
from exchange_clients.dydx.client.managers.order_manager import DydxOrderManager
from exchange_clients.dydx.client.managers.position_manager import DydxPositionManager
from exchange_clients.dydx.common import SPEC
from exchange_clients.dydx.signing import SEQUENCE_SCOPE, DydxSigner, backend_name, signer_of
from exchange_clients.dydx.websocket.manager import DydxWebSocketManager
from exchange_clients.signing import Credentials, SequentialNonces, Signer
from exchange_clients.spec import Endpoints
from exchange_clients.transport.runtime import Runtime

if TYPE_CHECKING:
    from exchange_clients.config import ClientConfig

SETTLED_S: Final = 1.5
"""After this a transaction that was under way is in a block: nodes tell the sequence of the last one."""


class DydxClient(BaseExchangeClient):
    spec = SPEC
    market_data_class = DydxMarketData
    order_manager_class = DydxOrderManager
    position_manager_class = DydxPositionManager
    account_manager_class = DydxAccountManager
    websocket_class = DydxWebSocketManager
    market_data: DydxMarketData
    order_manager: DydxOrderManager
    account_manager: DydxAccountManager
    ws_manager: DydxWebSocketManager
    _asked_before = False

    @classmethod
    def make_signer(cls, credentials: Credentials, endpoints: Endpoints, config: ClientConfig, runtime: Runtime) -> Signer:
        signer = DydxSigner(credentials, endpoints)
        if (backend := backend_name()) != "coincurve":
            get_exchange_logger(SPEC.name).warning("signer.slow backend=%s hint=%r", backend, "install coincurve")
        return signer

    def _installed_nonces(self) -> None:
        self.context.nonces[SEQUENCE_SCOPE] = SequentialNonces(self._next_sequence)

    async def _next_sequence(self) -> int:
        """The account's sequence as of the last block: asked again only once what we sent before can be in it."""
        if self._asked_before:
            await self.context.runtime.clock.sleep(SETTLED_S)
        self._asked_before = True
        account = await self.context.rest.query("account", address=signer_of(self.context).address)
        return int(account.sequence)
