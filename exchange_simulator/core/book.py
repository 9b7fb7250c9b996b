"""One market's book: price-time priority over users' orders and anonymous depth.

At each price there is one queue in time order. Users' orders stand in it one by one; anonymous size is not kept as orders, each user's
order only remembers how much of it stands `ahead`:

    queue:      [anonymous 7] [user A] [anonymous 3] [user B] [anonymous 5]
    kept as:    anonymous = 15,   A.ahead = 7,   B.ahead = 10

- A user's order joins at the end: everything anonymous at that price is ahead of it.
- Anonymous size that is added joins at the end, behind every order that is there.
- A trade takes from the front, whoever stands there.
- Anonymous size that goes away without a trade leaves from behind users' orders first (QueueModel.BEHIND: their place in the queue
  improves only when nothing is left behind them), or evenly (QueueModel.PROPORTIONAL).

So users never overtake size that was there before them, and nobody who comes later overtakes them.

Anonymous sizes and users' orders are kept apart, so that replacing all anonymous depth costs nothing per user and little per level.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping

from exchange_simulator.core.orders import Order
from exchange_simulator.core.types import QueueModel, Side


class Level:
    """Users' orders at one price, in time order."""

    __slots__ = ("orders", "resting")

    def __init__(self) -> None:
        self.orders: list[Order] = []
        self.resting = 0
        """Sum of their `remaining`."""


class BookSide:
    """`anonymous`: price -> size; `levels`: price -> users' orders. Each with keys that ascend to the best (bids: price, asks: -price)."""

    __slots__ = ("anonymous", "anonymous_keys", "keys", "levels", "side", "sign")

    def __init__(self, side: Side) -> None:
        self.side = side
        self.sign = 1 if side is Side.BUY else -1
        self.anonymous: dict[int, int] = {}
        self.anonymous_keys: list[int] = []
        self.levels: dict[int, Level] = {}
        self.keys: list[int] = []

    def best_key(self) -> int | None:
        if self.anonymous_keys:
            best = self.anonymous_keys[-1]
            return best if not self.keys or self.keys[-1] < best else self.keys[-1]
        return self.keys[-1] if self.keys else None

    def best(self) -> int:
        """Best price, 0 when empty."""
        key = self.best_key()
        return 0 if key is None else key * self.sign

    def reached_by(self, limit: int) -> bool:
        """Would an opposite order with this limit (0: any price) take from this side?"""
        key = self.best_key()
        return key is not None and (limit == 0 or limit * self.sign <= key)

    def total(self, price: int) -> int:
        level = self.levels.get(price)
        return self.anonymous.get(price, 0) + (0 if level is None else level.resting)

    # users

    def add(self, order: Order) -> None:
        price = order.price
        level = self.levels.get(price)
        if level is None:
            level = self.levels[price] = Level()
            insort(self.keys, price * self.sign)
        order.ahead = self.anonymous.get(price, 0)
        level.orders.append(order)
        level.resting += order.remaining

    def remove(self, order: Order) -> None:
        level = self.levels[order.price]
        level.orders.remove(order)
        level.resting -= order.remaining
        if not level.orders:
            self.drop(order.price)

    def drop(self, price: int) -> None:
        """Forgets a level without orders."""
        del self.levels[price]
        key, keys = price * self.sign, self.keys
        if keys[-1] == key:
            del keys[-1]
        else:
            del keys[bisect_left(keys, key)]

    # anonymous size

    def take_anonymous(self, price: int, size: int) -> None:
        """A trade consumed anonymous size from the front of the queue."""
        self._put(price, self.anonymous[price] - size)
        level = self.levels.get(price)
        if level is not None:
            for order in level.orders:
                order.ahead -= size

    def set_anonymous(self, price: int, size: int, queue: QueueModel) -> None:
        """Anonymous size at one price changed without a trade."""
        before = self.anonymous.get(price, 0)
        if size != before:
            self._put(price, size)
            if price in self.levels:
                self._requeue(price, before, size, queue)

    def replace_anonymous(self, sizes: dict[int, int], queue: QueueModel) -> None:
        """All anonymous sizes changed without a trade. Takes over the dict; sizes are positive."""
        before = self.anonymous
        self.anonymous = sizes
        self.anonymous_keys = sorted(sizes) if self.sign > 0 else [-price for price in sorted(sizes, reverse=True)]
        for price in self.levels:
            self._requeue(price, before.get(price, 0), sizes.get(price, 0), queue)

    def _requeue(self, price: int, before: int, size: int, queue: QueueModel) -> None:
        if size >= before:
            return
        for order in self.levels[price].orders:
            order.ahead = min(order.ahead, size) if queue is QueueModel.BEHIND else order.ahead * size // before

    def _put(self, price: int, size: int) -> None:
        key, keys = price * self.sign, self.anonymous_keys
        if size == 0:
            del self.anonymous[price]
            if keys[-1] == key:
                del keys[-1]
            else:
                del keys[bisect_left(keys, key)]
            return
        if price not in self.anonymous:
            insort(keys, key)
        self.anonymous[price] = size

    # reading

    def best_first(self) -> Iterator[tuple[int, int, list[Order]]]:
        """(price, anonymous size, users' orders in time order)."""
        sign = self.sign
        keys = sorted({*self.anonymous_keys, *self.keys}, reverse=True) if self.keys else reversed(self.anonymous_keys)
        for key in keys:
            price = key * sign
            level = self.levels.get(price)
            yield price, self.anonymous.get(price, 0), [] if level is None else level.orders

    def depth(self, levels: int) -> list[tuple[int, int, int]]:
        """(price, size, number of orders) best first; anonymous size counts as one order. `levels` 0 for all."""
        found = []
        for price, anonymous, orders in self.best_first():
            resting = self.levels[price].resting if orders else 0
            found.append((price, anonymous + resting, len(orders) + (anonymous > 0)))
            if len(found) == levels:
                break
        return found

    def changed(self, before: Mapping[int, int]) -> list[int]:
        """Prices whose anonymous size is not what it was."""
        now = self.anonymous
        gone = [price for price in before if price not in now]
        return gone + [price for price, size in now.items() if before.get(price) != size]


class Book:
    __slots__ = ("asks", "bids")

    def __init__(self) -> None:
        self.bids = BookSide(Side.BUY)
        self.asks = BookSide(Side.SELL)

    def side(self, side: Side) -> BookSide:
        return self.bids if side is Side.BUY else self.asks
