"""Speed of the simulator core: `python -m benchmarks.simulator_core [--json]`. CPU time, best of five, no I/O.

Quotes replace a one-level and a ten-level book; orders rest and are cancelled, or take; "backtest" mixes quotes of four markets with an
order, its fill and mark changes as a backtest would.
"""

from __future__ import annotations

import gc
import json
import random
import sys
import time
from collections.abc import Callable
from decimal import Decimal

from exchange_simulator.core.exchange import Exchange
from exchange_simulator.core.types import Market, NewOrder, Side, TimeInForce, to_fraction, to_money

ROUNDS = 5
COUNT = 20_000


def _exchange(markets: int = 1, *, publish_book: bool = True) -> Exchange:
    exchange = Exchange(publish_book=publish_book, closed_orders_kept=1_000)
    for n in range(markets):
        spec = Market(f"M{n}", Decimal("0.1"), Decimal("0.001"), taker_fee=to_fraction("0.0005"), maker_fee=to_fraction("0.0002"))
        exchange.add_market(0, spec, mark=10_000_000)
        exchange.set_levels(0, spec.symbol, [(9_999, 10_000)], [(10_001, 10_000)])
    exchange.open_account(0, 1, deposit=to_money(1_000_000_000))
    exchange.drain()
    return exchange


def quotes(levels: int, *, publish_book: bool) -> tuple[int, float]:
    rng = random.Random(1)
    books = []
    for _ in range(200):
        mid = 10_000 + rng.randrange(-3, 4)
        bids = [(mid - 1 - i, rng.randrange(1, 500)) for i in range(levels)]
        asks = [(mid + 1 + i, rng.randrange(1, 500)) for i in range(levels)]
        books.append((bids, asks))
    exchange = _exchange(publish_book=publish_book)
    exchange.open_account(0, 2, deposit=to_money(1_000))
    start = time.process_time()
    for n in range(COUNT):
        bids, asks = books[n % 200]
        exchange.set_levels(n, "M0", bids, asks)
        if publish_book and n % 1_000 == 999:
            exchange.drain()
    return COUNT, time.process_time() - start


def rest_and_cancel() -> tuple[int, float]:
    exchange = _exchange()
    new = NewOrder(1, "M0", Side.BUY, 10, 9_990)
    start = time.process_time()
    for n in range(COUNT):
        order = exchange.submit(n, new)
        exchange.cancel(n, 1, order.id)
        if n % 1_000 == 999:
            exchange.drain()
    return 2 * COUNT, time.process_time() - start


def take() -> tuple[int, float]:
    exchange = _exchange()
    sides = (
        NewOrder(1, "M0", Side.BUY, 10, 10_001, time_in_force=TimeInForce.IOC),
        NewOrder(1, "M0", Side.SELL, 10, 9_999, time_in_force=TimeInForce.IOC),
    )
    start = time.process_time()
    for n in range(COUNT):
        exchange.submit(n, sides[n & 1])
        if n % 500 == 499:
            exchange.set_levels(n, "M0", [(9_999, 10_000)], [(10_001, 10_000)])
            exchange.drain()
    return COUNT, time.process_time() - start


def backtest(*, with_orders: bool) -> tuple[int, float]:
    """Events: quotes, and with orders every hundredth quote an order and a mark change too."""
    rng = random.Random(2)
    path = [(rng.randrange(4), 10_000 + rng.randrange(-5, 6), rng.randrange(1, 300)) for _ in range(2_000)]
    exchange = _exchange(4, publish_book=False)
    symbols = [f"M{n}" for n in range(4)]
    quoters = [exchange.quoter(symbol) for symbol in symbols]
    events = 0
    start = time.process_time()
    for n in range(COUNT * 2):
        market, mid, size = path[n % 2_000]
        symbol = symbols[market]
        quoters[market](n, mid - 1, size, mid + 1, size)
        events += 1
        if with_orders and n % 100 == 0:
            exchange.set_mark(n, symbol, mid * 1_000)
            side = Side.BUY if n % 200 else Side.SELL
            exchange.submit(n, NewOrder(1, symbol, side, 5, mid + (1 if side is Side.BUY else -1), time_in_force=TimeInForce.IOC))
            exchange.drain()
            events += 2
    return events, time.process_time() - start


CASES: dict[str, Callable[[], tuple[int, float]]] = {
    "quotes, 1 level, events": lambda: quotes(1, publish_book=True),
    "quotes, 1 level, no book events": lambda: quotes(1, publish_book=False),
    "quotes, 10 levels, events": lambda: quotes(10, publish_book=True),
    "orders, rest + cancel": rest_and_cancel,
    "orders, take one level": take,
    "backtest, quotes of 4 markets": lambda: backtest(with_orders=False),
    "backtest, with orders and marks": lambda: backtest(with_orders=True),
}


def measure() -> dict[str, float]:
    """Calls per CPU second by case."""
    results = {}
    for name, case in CASES.items():
        rates = []
        for _ in range(ROUNDS):
            gc.collect()
            done, seconds = case()
            rates.append(done / seconds)
        results[name] = max(rates)
    return results


if __name__ == "__main__":
    measured = measure()
    if "--json" in sys.argv:
        print(json.dumps(measured))
    else:
        for name, rate in measured.items():
            print(f"{name:<34}{rate:>12,.0f} /s")
