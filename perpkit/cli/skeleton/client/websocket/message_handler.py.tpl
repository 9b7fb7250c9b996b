"""Frame -> message -> effect."""

from __future__ import annotations

from typing import Any

from $package.client.managers.websocket_handlers import ${Name}WebSocketHandlers
from exchange_clients.base_websocket import BaseMessageHandler, BaseWebSocketManager, Handler


def decode(data: str | bytes) -> Any:
    """One typed message per frame."""
    raise NotImplementedError("phase 3, step 3: a decoder of messages.py, built once")


class ${Name}MessageHandler(BaseMessageHandler):
    decode = staticmethod(decode)

    def __init__(self, manager: BaseWebSocketManager) -> None:
        self.account = ${Name}WebSocketHandlers(manager)
        super().__init__(manager)

    def handlers(self) -> dict[type, Handler]:
        """Phase 3, step 3: what each type of message does."""
        return {}
