"""One market's book: price-time priority over users' orders and anonymous depth.

A level is one queue in time order. Users' orders stand in it one by one; anonymous size is not kept as orders, each user's order only
remembers how much of it stands `ahead`:

    queue:      [anonymous 7] [user A] [anonymous 3] [user B] [anonymous 5]
    kept as:    anonymous = 15,   A.ahead = 7,   B.ahead = 10

- A user's order joins at the end: everything anonymous at that price is ahead of it.
- Anonymous size that is added joins at the end, behind every order that is there.
- A trade takes from the front, whoever stands there.
- Anonymous size that goes away without a trade leaves from behind users' orders first (QueueModel.BEHIND: their place in the queue
  improves only when nothing is left behind them), or evenly (QueueModel.PROPORTIONAL).

So users never overtake size that was there before them, and nobody who comes later overtakes them.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator

from exchange_simulator.core.orders import Order
from exchange_simulator.core.types import QueueModel, Side


class Level:
    __slots__ = ("anonymous", "orders", "resting")

    def __init__(self) -> None:
        self.anonymous = 0
        self.resting = 0
        """Sum of `remaining` of the users' orders."""
        self.orders: list[Order] = []

    def take_anonymous(self, size: int) -> None:
        """A trade consumed anonymous size from the front of the queue."""
        self.anonymous -= size
        for order in self.orders:
            order.ahead -= size

    def set_anonymous(self, size: int, queue: QueueModel) -> None:
        """Anonymous size changed without a trade."""
        if self.orders and size < self.anonymous:
            if queue is QueueModel.BEHIND:
                for order in self.orders:
                    order.ahead = min(order.ahead, size)
            else:
                for order in self.orders:
                    order.ahead = order.ahead * size // self.anonymous
        self.anonymous = size


class BookSide:
    """Levels by price in ticks; `keys` ascend to the best one (bids: price, asks: -price), so the best is cheap to reach and drop."""

    __slots__ = ("keys", "levels", "side", "sign")

    def __init__(self, side: Side) -> None:
        self.side = side
        self.sign = 1 if side is Side.BUY else -1
        self.levels: dict[int, Level] = {}
        self.keys: list[int] = []

    def best(self) -> int:
        """Best price, 0 when empty."""
        return self.keys[-1] * self.sign if self.keys else 0

    def reached_by(self, limit: int) -> bool:
        """Would an opposite order with this limit (0: any price) take from this side?"""
        return bool(self.keys) and (limit == 0 or limit * self.sign <= self.keys[-1])

    def level(self, price: int) -> Level:
        level = self.levels.get(price)
        if level is None:
            level = self.levels[price] = Level()
            insort(self.keys, price * self.sign)
        return level

    def total(self, price: int) -> int:
        level = self.levels.get(price)
        return 0 if level is None else level.anonymous + level.resting

    def drop_if_empty(self, price: int) -> None:
        level = self.levels[price]
        if not level.orders and level.anonymous == 0:
            del self.levels[price]
            key = price * self.sign
            del self.keys[bisect_left(self.keys, key)]

    def add(self, order: Order) -> None:
        level = self.level(order.price)
        order.ahead = level.anonymous
        level.orders.append(order)
        level.resting += order.remaining

    def remove(self, order: Order) -> None:
        level = self.levels[order.price]
        level.orders.remove(order)
        level.resting -= order.remaining
        self.drop_if_empty(order.price)

    def best_first(self) -> Iterator[tuple[int, Level]]:
        for key in reversed(self.keys):
            price = key * self.sign
            yield price, self.levels[price]

    def depth(self, levels: int) -> list[tuple[int, int, int]]:
        """(price, size, number of orders) best first; anonymous size counts as one order. `levels` 0 for all."""
        keys = reversed(self.keys[-levels:]) if levels else reversed(self.keys)
        found = []
        for key in keys:
            level = self.levels[key * self.sign]
            found.append((key * self.sign, level.anonymous + level.resting, len(level.orders) + (level.anonymous > 0)))
        return found


class Book:
    __slots__ = ("asks", "bids")

    def __init__(self) -> None:
        self.bids = BookSide(Side.BUY)
        self.asks = BookSide(Side.SELL)

    def side(self, side: Side) -> BookSide:
        return self.bids if side is Side.BUY else self.asks
