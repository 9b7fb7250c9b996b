"""What the indexer tells of orders, by stream or by request, into the tracker; and when a removal is an end.

A removal is told in two steps: one node took the order off its book ("best effort"), later the chain's own end. The first names the
reason, the second proves it. What the node had matched by then comes as fills of a later block, so that an end waits for them.
"""

from __future__ import annotations

import msgspec

from exchange_clients.context import ClientContext
from exchange_clients.dydx import messages as m
from exchange_clients.dydx.client.utils import converters
from exchange_clients.dydx.client.utils.caching import OrderFacts, Removal, VenueCache, venue_cache
from exchange_clients.dydx.client.utils.options import Rules
from exchange_clients.model import ZERO, Fill, Instrument, OrderInfo, OrderStatus
from exchange_clients.orders import Order


class OrderBookkeeping:
    """Rows of the indexer, from the stream or by request, into the tracker."""

    def __init__(self, context: ClientContext) -> None:
        self.context = context
        self._trusting = Rules.of(context).trust_removals

    @property
    def cache(self) -> VenueCache:
        return venue_cache(self.context)

    def instrument_of(self, row: m.OrderRow) -> Instrument | None:
        return self.context.instruments.by_contract(row.ticker or "")

    def info(self, row: m.OrderRow) -> OrderInfo | None:
        """A row as ours; None for a market that is not listed, or a removal of an order that nobody told of before.

        The id is the tracker's only while it names this very order: another of the account's programs may have used the same client id
        in another market or for another kind of order.
        """
        facts = self.cache.learn(row)
        order = self.context.tracker.find(row.id)
        if row.size is None or row.price is None or row.side is None:
            return self._removed(row, facts, order)
        instrument = self.instrument_of(row)
        if instrument is None:
            return None
        client_order_id = facts.client_order_id if facts is not None else None
        if client_order_id is None and row.clientId is not None:
            known = self.context.tracker.find(row.clientId)
            if known is None or known.order_id == row.id:
                client_order_id = row.clientId
                if facts is not None:
                    facts.client_order_id = client_order_id
        info = converters.order(row, instrument, client_order_id=client_order_id)
        if info.status.is_terminal and not self._is_final(row):
            live = OrderStatus.PARTIALLY_FILLED if info.filled_size else OrderStatus.OPEN
            info = msgspec.structs.replace(info, status=live, cancel_reason=None)
        if facts is not None and info.status in (OrderStatus.EXPIRED, OrderStatus.CANCELED):
            status, reason = self._how_it_ended(row, facts, info)
            info = msgspec.structs.replace(info, status=status, cancel_reason=reason)
        if order is not None and not order.external and order.intent.order_type is not info.order_type:
            info = msgspec.structs.replace(info, order_type=order.intent.order_type)
        return info

    def _is_final(self, row: m.OrderRow) -> bool:
        return self._trusting or row.status != "BEST_EFFORT_CANCELED"

    def _how_it_ended(self, row: m.OrderRow, facts: OrderFacts, info: OrderInfo) -> tuple[OrderStatus, str | None]:
        """The records say "canceled" of all ends, and the sweep "expired" of what was removed long before: the first word counts.

        An order of ours that nobody canceled or removed has outlived its last block.
        """
        if facts.removal is not None:
            refused = facts.removal.status is OrderStatus.REJECTED and not info.filled_size
            return (OrderStatus.REJECTED if refused else OrderStatus.CANCELED), facts.removal.reason
        if info.status is OrderStatus.EXPIRED:
            return (OrderStatus.CANCELED if facts.cancel_asked else OrderStatus.EXPIRED), info.cancel_reason
        outlived = facts.is_short_term and self.cache.height > facts.last_block > 0 and row.timeInForce != "IOC"
        unexplained = row.removalReason is None and not facts.cancel_asked and facts.acked
        return (OrderStatus.EXPIRED if outlived and unexplained else OrderStatus.CANCELED), info.cancel_reason

    def _removed(self, row: m.OrderRow, facts: OrderFacts | None, order: Order | None) -> OrderInfo | None:
        if facts is None or order is None:
            return None
        matched = row.totalOptimisticFilled if row.totalOptimisticFilled is not None else row.totalFilled or ZERO
        reason = converters.reason_of(row)
        status = converters.order_status(row, max(order.filled, matched))
        if status is OrderStatus.EXPIRED and facts.cancel_asked:
            status = OrderStatus.CANCELED
        if status.is_terminal:
            first = facts.removal or Removal(status, reason.lower() if reason else None, matched)
            final = first.final or self._is_final(row)
            facts.removal = msgspec.structs.replace(first, matched=max(first.matched, matched), final=final)
        live = OrderStatus.PARTIALLY_FILLED if order.filled else OrderStatus.OPEN
        return msgspec.structs.replace(order.info(), order_id=row.id, status=live if order.is_unresolved else order.status)

    def take(self, info: OrderInfo) -> Order:
        """Into the tracker, and its end with it if only fills were missing."""
        order = self.context.tracker.on_order(info)
        self.settle_removal(order)
        return order

    def settle_removal(self, order: Order | None) -> None:
        """An order whose removal is final has ended once all that was matched of it has been told as fills."""
        if order is None or order.status.is_terminal or (facts := self.cache.facts_of(order)) is None:
            return
        if facts.removal is None or not facts.removal.final or order.filled < facts.removal.matched:
            return
        self.end(order, facts.removal.status, facts.removal.reason)

    def end(self, order: Order, status: OrderStatus, reason: str | None) -> None:
        if status is OrderStatus.REJECTED and order.filled:
            status = OrderStatus.CANCELED
        self.context.tracker.on_order(msgspec.structs.replace(order.info(), status=status, cancel_reason=reason))

    def fill(self, row: m.FillRow, instrument: Instrument) -> Fill:
        return converters.fill(row, instrument, client_order_id=self.cache.client_order_id(row.orderId))
