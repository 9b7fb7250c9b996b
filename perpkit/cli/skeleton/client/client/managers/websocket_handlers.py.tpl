"""The account's stream messages as domain events. Phase 3, step 4."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exchange_clients.base_websocket import BaseWebSocketManager


class ${Name}WebSocketHandlers:
    """One method per private message: orders to the tracker, fills by `manager.fill`, positions by `manager.positions`."""

    def __init__(self, manager: BaseWebSocketManager) -> None:
        self.manager = manager
        self.context = manager.context
