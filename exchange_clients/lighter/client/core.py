"""The Lighter client: composition."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from exchange_clients.base_client import BaseExchangeClient, get_exchange_logger
from exchange_clients.errors import ConfigError
from exchange_clients.lighter.client.managers.account_manager import LighterAccountManager
from exchange_clients.lighter.client.managers.market_data import LighterMarketData
from exchange_clients.lighter.client.managers.order_manager import LighterOrderManager
from exchange_clients.lighter.client.managers.position_manager import LighterPositionManager
from exchange_clients.lighter.client.utils.caching import SkippingNonces, identity_of
from exchange_clients.lighter.common import NONCE_SCOPE, SPEC
from exchange_clients.lighter.signing import Identity, LighterSigner
from exchange_clients.lighter.websocket.manager import LighterWebSocketManager
from exchange_clients.signing import Credentials, SequentialNonces, Signer
from exchange_clients.spec import Endpoints
from exchange_clients.transport.clock import SystemClock
from exchange_clients.transport.runtime import Runtime

if TYPE_CHECKING:
    from exchange_clients.config import ClientConfig

OPTIONS: Final = frozenset({"signer", "signer_library", "skip_nonce"})
"""`venue_options`: "signer" auto, library or python; "signer_library" its file; "skip_nonce" for several senders on one key."""


class LighterClient(BaseExchangeClient):
    spec = SPEC
    market_data_class = LighterMarketData
    order_manager_class = LighterOrderManager
    position_manager_class = LighterPositionManager
    account_manager_class = LighterAccountManager
    websocket_class = LighterWebSocketManager
    order_manager: LighterOrderManager
    ws_manager: LighterWebSocketManager

    @classmethod
    def make_signer(cls, credentials: Credentials, endpoints: Endpoints, config: ClientConfig, runtime: Runtime) -> Signer:
        options = config.venue_options
        if unknown := set(options) - OPTIONS:
            raise ConfigError(f"no option {', '.join(sorted(unknown))}; there are {', '.join(sorted(OPTIONS))}", venue=SPEC.name)
        # The library stamps with the machine's clock: under any other clock only ours can sign.
        choice = options.get("signer", "auto") if isinstance(runtime.clock, SystemClock) else "python"
        if choice not in ("auto", "library", "python"):
            raise ConfigError(f"signer is auto, library or python, not {choice!r}", venue=SPEC.name)
        library = Path(options["signer_library"]) if "signer_library" in options else None
        warn = get_exchange_logger(SPEC.name).warning
        return LighterSigner(Identity.of(credentials, endpoints.chain_id), runtime.offload, warn, choice=choice, library=library)

    def _installed_nonces(self) -> None:
        if self.config.venue_options.get("skip_nonce"):
            self.context.nonces[NONCE_SCOPE] = SkippingNonces(self.context.runtime.clock)
        else:
            self.context.nonces[NONCE_SCOPE] = SequentialNonces(self._next_nonce)

    async def _next_nonce(self) -> int:
        identity = identity_of(self.context)
        reply = await self.context.rest.query("nextNonce", account_index=identity.account_index, api_key_index=identity.api_key_index)
        return int(reply.nonce)
