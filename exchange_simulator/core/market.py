"""Mutable state of one market: its book, prices, waiting triggers and holders."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from itertools import count

from exchange_simulator.core.book import Book
from exchange_simulator.core.orders import Order, Position
from exchange_simulator.core.types import REF, UNIT, Market, OrderStatus, PriceSource


class Triggers:
    """Untriggered orders of one market, by price source and direction. Entries of orders that ended or moved their trigger are skipped."""

    __slots__ = ("_added", "_heaps", "_stale")

    def __init__(self) -> None:
        self._heaps: dict[tuple[PriceSource, bool], list[tuple[int, int, Order]]] = {}
        self._added = count()
        self._stale = 0

    def add(self, order: Order) -> None:
        trigger = order.request.trigger
        assert trigger is not None
        key = order.trigger_price if trigger.above else -order.trigger_price
        heappush(self._heaps.setdefault((trigger.source, trigger.above), []), (key, next(self._added), order))

    def forget(self) -> None:
        """One entry became void; when most are, they go."""
        self._stale += 1
        if self._stale > 64 and self._stale * 2 > sum(map(len, self._heaps.values())):
            for heap in self._heaps.values():
                heap[:] = [entry for entry in heap if _waits(entry[2], entry[0])]
                heapify(heap)
            self._stale = 0

    def due(self, source: PriceSource, ref: int) -> list[Order]:
        """Orders released by that price, oldest first; they are out of the heap then."""
        released: dict[int, Order] = {}
        for above in (True, False):
            heap = self._heaps.get((source, above))
            bound = ref if above else -ref
            while heap and heap[0][0] * REF <= bound:
                key, _, order = heappop(heap)
                if _waits(order, key):
                    released[order.id] = order
        return [released[order_id] for order_id in sorted(released)]

    def watches(self, source: PriceSource) -> bool:
        heaps = self._heaps
        return bool(heaps and (heaps.get((source, True)) or heaps.get((source, False))))


def _waits(order: Order, key: int) -> bool:
    return order.status is OrderStatus.UNTRIGGERED and order.trigger_price == abs(key)


class MarketState:
    __slots__ = ("anonymous", "book", "converted", "holders", "index", "last", "mark", "next_funding_ns", "spec", "symbol", "triggers")

    anonymous: Position
    """What owner-less liquidity holds; set when the exchange lists the market."""

    def __init__(self, spec: Market, *, mark: int, index: int, next_funding_ns: int) -> None:
        self.spec = spec
        self.symbol = spec.symbol
        self.book = Book()
        self.mark = mark
        self.index = index
        self.last = 0
        """Price of the last trade in ticks, 0 before the first."""
        self.next_funding_ns = next_funding_ns
        self.triggers = Triggers()
        self.converted = 0
        """Coin units that profits brought, less those that losses took: the ledger turned them into collateral."""
        self.holders: dict[int, Position] = {}
        """Positions that are not flat, by account, without the anonymous one."""

    def ref(self, source: PriceSource) -> int:
        """Mark, index or last in ref units."""
        if source is PriceSource.MARK:
            return self.mark
        return self.index if source is PriceSource.INDEX else self.last * REF

    def initial_margin(self, steps: int, fraction: int) -> int:
        """Initial margin of that absolute size at mark, for an account that chose `fraction`."""
        notional = self.notional(steps)
        return notional * max(fraction, self.spec.tier(notional).initial) // UNIT

    def maintenance_margin(self, size: int) -> int:
        notional = self.notional(size)
        return notional * self.spec.tier(notional).maintenance // UNIT

    def standing(self, position: Position) -> tuple[int, int]:
        """(unrealised PnL, maintenance margin) at mark, in one go: asked for every position of an account at each mark."""
        spec, size = self.spec, position.size
        if spec.inverse:
            return self.unrealised(position), self.maintenance_margin(size)
        value = size * self.mark * spec.ref_unit
        notional = abs(value)
        tiers = spec.tiers
        tier = tiers[0] if len(tiers) == 1 else spec.tier(notional)
        return value - position.cost, notional * tier.maintenance // UNIT

    def notional(self, size: int) -> int:
        """Absolute money of a size at mark."""
        spec = self.spec
        return abs(size) * (spec.notional_unit if spec.inverse else self.mark * spec.ref_unit)

    def unrealised(self, position: Position) -> int:
        spec = self.spec
        if spec.inverse:
            return spec.worth(position.cost, self.mark) - position.size * spec.notional_unit
        return position.size * self.mark * spec.ref_unit - position.cost
