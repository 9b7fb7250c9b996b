"""The account's stream messages as domain events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from exchange_clients.lighter import messages as m
from exchange_clients.lighter.client.utils import converters
from exchange_clients.lighter.client.utils.caching import identity_of
from exchange_clients.model import NS_PER_S

if TYPE_CHECKING:
    from exchange_clients.base_websocket import BaseWebSocketManager

REPLAYED_NS: Final = 60 * NS_PER_S
"""How far before our start the fills of a first message may concern us."""


class LighterWebSocketHandlers:
    """Every channel names its account; there is one account per client."""

    def __init__(self, manager: BaseWebSocketManager) -> None:
        self.manager = manager
        self.context = manager.context
        self._since_ns = self.context.runtime.clock.time_ns() - REPLAYED_NS

    def orders(self, role: str, message: m.OrdersFrame, ts_recv_ns: int) -> None:
        rows = (row for of_market in (message.orders or {}).values() for row in of_market)
        for row, instrument in self.context.instruments.known(rows, lambda row: row.market_index):
            self.context.tracker.on_order(converters.order(row, instrument))

    def fills(self, role: str, message: m.FillsFrame, ts_recv_ns: int) -> None:
        """A first message replays history: what is older than us happened to somebody else."""
        trades = message.trades or {}
        rows = trades if isinstance(trades, list) else [row for part in trades.values() for row in part]
        for fill in converters.fills(rows, self.context.instruments.by_contract, identity_of(self.context).account_index):
            if fill.ts_venue_ns >= self._since_ns:
                self.manager.fill(fill)

    def positions(self, role: str, message: m.PositionsFrame, ts_recv_ns: int) -> None:
        pairs = self.context.instruments.known((message.positions or {}).values(), lambda row: row.market_id)
        self.manager.positions([converters.position(row, instrument, ts_recv_ns) for row, instrument in pairs], ts_recv_ns)

    def stats(self, role: str, message: m.StatsFrame, ts_recv_ns: int) -> None:
        self.manager.account(converters.account_streamed(message.stats, ts_recv_ns))
