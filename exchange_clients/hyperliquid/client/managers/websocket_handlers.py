"""The account's stream messages as domain events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from exchange_clients.hyperliquid import messages as m
from exchange_clients.hyperliquid.client.managers.market_data import collateral_dexes
from exchange_clients.hyperliquid.client.managers.order_manager import order_info
from exchange_clients.hyperliquid.client.utils import converters
from exchange_clients.hyperliquid.client.utils.caching import venue_cache
from exchange_clients.hyperliquid.signing import trading_address
from exchange_clients.model import NS_PER_MS, Fill, OrderStatus

if TYPE_CHECKING:
    from exchange_clients.base_websocket import BaseWebSocketManager

REPLAYED_MS: Final = 60_000
"""How far before our start the replayed fills of a subscription may concern us."""


class HyperliquidWebSocketHandlers:
    """Streams of one account: those that do not name it (`orderUpdates`, `user`) can only be this one's."""

    def __init__(self, manager: BaseWebSocketManager) -> None:
        self.manager = manager
        self.context = manager.context
        self._since_ms: int | None = None
        self._states: dict[str, m.ClearinghouseState] = {}
        self._spot: m.SpotState | None = None

    def order_updates(self, role: str, message: m.OrderUpdatesFrame, ts_recv_ns: int) -> None:
        cache = venue_cache(self.context)
        for update in message.data:
            info = order_info(self.context, update)
            if info is None or (info.status is OrderStatus.CANCELED and cache.is_being_replaced(update.order)):
                continue  # another market, or the old half of an amend whose answer is on its way
            self.context.tracker.on_order(info)

    def user_fills(self, role: str, message: m.UserFillsFrame, ts_recv_ns: int) -> None:
        """The first message after subscribing replays history: what is older than our first subscription happened to somebody else."""
        rows = message.data.fills
        if message.data.isSnapshot:
            if self._since_ms is None:
                self._since_ms = self.context.venue_time.now_ms() - REPLAYED_MS
            rows = [row for row in rows if row.time >= self._since_ms]
        self._fills(rows)

    def user_event(self, role: str, message: m.UserFrame, ts_recv_ns: int) -> None:
        self._fills(message.data.fills or [])
        if (event := message.data.liquidation) is not None:
            self.context.log.error("account.liquidated id=%d notional=%s", event.lid, event.liquidated_ntl_pos)

    def _fills(self, rows: list[m.FillData]) -> None:
        for fill in converters.fills(rows, self.context.instruments.by_contract, trading_address(self.context)):
            self.fill(fill)

    def fill(self, fill: Fill) -> None:
        """Each once, whichever channel brought it. What was traded raises the action budget."""
        cache = venue_cache(self.context)
        if self.manager.fill(fill) and cache.action_cap is not None:
            cache.action_cap += fill.price * fill.quantity
            self.context.limiter.observe("address", limit=float(cache.action_cap))

    def clearinghouse_state(self, role: str, message: m.ClearinghouseStateFrame, ts_recv_ns: int) -> None:
        data = message.data
        self._states[data.dex] = data.clearinghouseState
        stamp = (data.clearinghouseState.time or 0) * NS_PER_MS or ts_recv_ns
        found = converters.positions(data.clearinghouseState, self.context.instruments.by_contract, stamp)
        self.manager.positions(found, stamp, dex=data.dex)
        self._account(stamp)

    def spot_state(self, role: str, message: m.SpotStateFrame, ts_recv_ns: int) -> None:
        self._spot = message.data.spotState
        self._account(ts_recv_ns)

    def _account(self, ts_ns: int) -> None:
        """Once every part of the sum is known."""
        shared = venue_cache(self.context).shared_collateral
        collateral = self.context.spec.collateral
        wanted = collateral_dexes(self.context)
        if (shared and self._spot is None) or any(dex not in self._states for dex in wanted):
            return
        states = [self._states[dex] for dex in wanted]
        self.manager.account(converters.account(states, self._spot if shared else None, asset=collateral, ts_ns=ts_ns))
