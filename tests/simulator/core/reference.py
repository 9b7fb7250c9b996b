"""A matcher so simple that it is right by reading: one list per price, every piece of size its own entry, no index, no cache."""

from __future__ import annotations

from dataclasses import dataclass, field

BUY, SELL = "buy", "sell"


@dataclass
class Entry:
    owner: int
    """0 is anonymous."""
    order_id: int
    size: int


@dataclass
class Reference:
    queues: dict[str, dict[int, list[Entry]]] = field(default_factory=lambda: {BUY: {}, SELL: {}})
    trades: list[tuple[int, int, int, int, int, int]] = field(default_factory=list)
    """(price, size, maker account, maker order, taker account, taker order)."""

    def best(self, side: str) -> int | None:
        prices = [price for price, queue in self.queues[side].items() if queue]
        if not prices:
            return None
        return max(prices) if side == BUY else min(prices)

    def crosses(self, side: str, price: int) -> bool:
        """Would an order of `side` at `price` (0: any) take?"""
        best = self.best(SELL if side == BUY else BUY)
        if best is None:
            return False
        return price == 0 or (best <= price if side == BUY else best >= price)

    def take(self, side: str, size: int, price: int, owner: int, order_id: int) -> int:
        """Takes; the taker's own resting orders that it meets are cancelled. Returns what is left."""
        opposite = SELL if side == BUY else BUY
        while size and self.crosses(side, price):
            best = self.best(opposite)
            assert best is not None
            first = self.queues[opposite][best][0]
            if owner and first.owner == owner:
                self.queues[opposite][best].pop(0)
                continue
            traded = min(size, first.size)
            previous = self.trades[-1] if self.trades else None
            row = (best, traded, first.owner, first.order_id, owner, order_id)
            if previous is not None and first.owner == 0 and (previous[0], *previous[2:]) == (row[0], *row[2:]) and self._joined:
                self.trades[-1] = (best, previous[1] + traded, *row[2:])  # neighbouring anonymous pieces are one print
            else:
                self.trades.append(row)
            self._joined = first.owner == 0
            size -= traded
            first.size -= traded
            if first.size == 0:
                self.queues[opposite][best].pop(0)
        self._joined = False
        return size

    _joined: bool = False

    def rest(self, side: str, size: int, price: int, owner: int, order_id: int) -> None:
        self.queues[side].setdefault(price, []).append(Entry(owner, order_id, size))

    def available(self, side: str, price: int, owner: int) -> int:
        """What a fill-or-kill of `owner` could get."""
        opposite = self.queues[SELL if side == BUY else BUY]
        reached = [q for p, q in opposite.items() if price == 0 or (p <= price if side == BUY else p >= price)]
        return sum(e.size for queue in reached for e in queue if e.owner != owner)

    def cancel(self, order_id: int) -> None:
        for side in self.queues.values():
            for queue in side.values():
                queue[:] = [e for e in queue if e.order_id != order_id or e.owner == 0]

    def reduce(self, order_id: int, remaining: int) -> None:
        for side in self.queues.values():
            for queue in side.values():
                for entry in queue:
                    if entry.owner and entry.order_id == order_id:
                        entry.size = remaining

    def anonymous(self, side: str, price: int) -> int:
        return sum(e.size for e in self.queues[side].get(price, []) if e.owner == 0)

    def set_anonymous(self, side: str, price: int, size: int) -> None:
        """Growth joins at the back; what goes away goes from the back."""
        queue = self.queues[side].setdefault(price, [])
        change = size - self.anonymous(side, price)
        if change > 0:
            queue.append(Entry(0, 0, change))
        for entry in [e for e in reversed(queue) if e.owner == 0]:
            if change >= 0:
                break
            cut = min(entry.size, -change)
            entry.size -= cut
            change += cut
        queue[:] = [e for e in queue if e.size]

    def replace(self, bids: dict[int, int], asks: dict[int, int]) -> None:
        wanted = {BUY: bids, SELL: asks}
        reaching: list[tuple[str, int, int]] = []
        for side, levels in wanted.items():
            opposite = self.queues[SELL if side == BUY else BUY]
            users = [p for p, queue in opposite.items() if any(e.owner for e in queue)]
            for price, size in levels.items():
                if any(u <= price if side == BUY else u >= price for u in users):
                    reaching.append((side, price, size))
        for side, levels in wanted.items():
            for price in set(self.queues[side]) | set(levels):
                reaches = any((s, p) == (side, price) for s, p, _ in reaching)
                self.set_anonymous(side, price, 0 if reaches else levels.get(price, 0))
        for side in (BUY, SELL):
            for _, price, size in sorted((r for r in reaching if r[0] == side), key=lambda r: -r[1] if side == BUY else r[1]):
                left = self.take(side, size, price, 0, 0)
                if left:
                    self.rest(side, left, price, 0, 0)

    def depth(self, side: str) -> list[tuple[int, int]]:
        totals = [(price, sum(e.size for e in queue)) for price, queue in self.queues[side].items() if queue]
        return sorted(totals, reverse=side == BUY)

    def users(self) -> dict[int, int]:
        """order id -> remaining."""
        return {e.order_id: e.size for side in self.queues.values() for queue in side.values() for e in queue if e.owner}
