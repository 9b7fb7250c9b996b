"""What the core's tests share: a market, an exchange with funded accounts, and the invariants that must hold after every call."""

from __future__ import annotations

from collections import Counter, defaultdict
from decimal import Decimal
from typing import TypeVar

from exchange_simulator.core.events import (
    AnyEvent,
    OrderAccepted,
    OrderAmended,
    OrderCancelled,
    OrderExpired,
    OrderFilled,
    Trade,
)
from exchange_simulator.core.exchange import Exchange
from exchange_simulator.core.orders import Order
from exchange_simulator.core.replay import Replay
from exchange_simulator.core.types import (
    ANONYMOUS,
    REF,
    MarginMode,
    MarginTier,
    Market,
    MarketStatus,
    NewOrder,
    OrderStatus,
    ReduceOnlyMode,
    Rules,
    Side,
    TradeKind,
    to_fraction,
    to_money,
)

E = TypeVar("E")

BTC = Market(
    "BTC",
    Decimal("0.5"),
    Decimal("0.001"),
    tiers=(MarginTier(0, to_fraction("0.05"), to_fraction("0.025")),),
    maker_fee=to_fraction("0.0001"),
    taker_fee=to_fraction("0.0005"),
)
MARK = 1_000
"""Ticks: 500 USD."""


class Recorded(Exchange):
    """Remembers what was drained, so that a `Witness` can come late."""

    def __init__(self, rules: Rules | None = None) -> None:
        super().__init__(rules)
        self.past: list[AnyEvent] = []

    def drain(self) -> list[AnyEvent]:
        events = super().drain()
        self.past += events
        return events


def exchange(rules: Rules | None = None, *, market: Market = BTC, accounts: int = 3, deposit: int = 1_000_000) -> Exchange:
    """Accounts 1, 2, ... with `deposit` USD each; the market's mark is 1000 ticks."""
    made = Recorded(rules)
    made.add_market(0, market, mark=MARK * REF)
    for account in range(1, accounts + 1):
        made.open_account(0, account, deposit=to_money(deposit))
    return made


def buy(account: int, size: int, price: int, **more: object) -> NewOrder:
    return NewOrder(account, "BTC", Side.BUY, size, price, **more)  # type: ignore[arg-type]


def sell(account: int, size: int, price: int, **more: object) -> NewOrder:
    return NewOrder(account, "BTC", Side.SELL, size, price, **more)  # type: ignore[arg-type]


def of(kind: type[E], events: list[AnyEvent]) -> list[E]:
    return [event for event in events if isinstance(event, kind)]


class Witness:
    """Reads every event and checks after each call that the exchange, its log and the laws agree."""

    def __init__(self, made: Exchange) -> None:
        self.exchange = made
        self.replay = Replay()
        self.orders: dict[int, Order] = {}
        self.left: dict[int, int] = {}
        self.terminal: Counter[int] = Counter()
        self.kinds: Counter[str] = Counter()
        self.check()

    def check(self) -> list[AnyEvent]:
        events = self.exchange.drain()
        if self.replay.seq == 0 and isinstance(self.exchange, Recorded):
            events = self.exchange.past.copy()
        self.kinds.update(type(event).__name__ for event in events)
        self.replay.feed(events)
        self._orders(events)
        self._fills_equal_trades(events)
        self._money()
        for market in self.exchange.markets:
            self._book(market)
        self._log_tells_all()
        self._solvency()
        return events

    def _orders(self, events: list[AnyEvent]) -> None:
        """Filled + remaining + cancelled = original, one end per order, reduce-only never grows or flips a position."""
        for event in events:
            if isinstance(event, OrderAccepted):
                order = self.exchange.order(event.order_id)
                assert order is not None
                self.orders[event.order_id] = order
                self.left[event.order_id] = event.order.size
            elif isinstance(event, OrderAmended):
                self.left[event.order_id] = event.remaining
            elif isinstance(event, OrderFilled) and event.order_id:
                order = self.orders[event.order_id]
                self.left[event.order_id] -= event.size
                if order.request.close_position or self.left[event.order_id] < 0 or order.reduce_only:
                    self.left[event.order_id] = event.remaining  # cut at entry or release, told by the fill
                assert event.remaining == self.left[event.order_id] >= 0
                self.terminal[event.order_id] += event.remaining == 0
                if order.reduce_only:
                    signed = event.size if event.side is Side.BUY else -event.size
                    after = event.position_before + signed
                    assert event.position_before * signed < 0
                    assert after * event.position_before >= 0
            elif isinstance(event, OrderCancelled | OrderExpired):
                self.terminal[event.order_id] += 1
                order = self.orders[event.order_id]
                assert order.filled + event.remaining == order.size
        for order_id, order in self.orders.items():
            assert order.filled + order.remaining == order.size
            assert self.terminal[order_id] == order.status.terminal, order
        for order_id in [i for i, order in self.orders.items() if order.status.terminal]:
            del self.orders[order_id], self.left[order_id], self.terminal[order_id]

    def _fills_equal_trades(self, events: list[AnyEvent]) -> None:
        sides: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
        for event in events:
            if isinstance(event, OrderFilled) and event.kind is not TradeKind.SETTLEMENT:
                sides[event.trade_id].append((event.account, event.price, event.size))
        for event in events:
            if isinstance(event, Trade):
                anonymous_only = event.maker_account == event.taker_account == ANONYMOUS
                who = [] if anonymous_only else [a for a in (event.maker_account, event.taker_account) if a != ANONYMOUS]
                assert sides.pop(event.trade_id, []) == [(a, event.price, event.size) for a in who]
        assert not sides, "fills without a trade"

    def _money(self) -> None:
        ledger = self.exchange.ledger
        total = ledger.fees_collected + ledger.insurance + ledger.converted
        sizes: Counter[str] = Counter()
        coins = Counter({symbol: market.converted for symbol, market in self.exchange.markets.items()})
        for account in ledger.accounts.values():
            total += account.balance
            for symbol, position in account.positions.items():
                total += position.margin
                if position.market.spec.inverse:
                    coins[symbol] += position.cost
                else:
                    total -= position.cost
                sizes[symbol] += position.size
                assert position.size or position.cost == position.margin == 0
                held = position.size != 0 and account.id != ANONYMOUS
                assert (self.exchange.markets[symbol].holders.get(account.id) is position) == held
                if position.mode is MarginMode.CROSS:
                    assert position.margin == 0
        assert total == ledger.deposited
        assert not any(sizes.values())
        assert not any(coins.values())

    def _book(self, symbol: str) -> None:
        market = self.exchange.markets[symbol]
        bid, ask = self.exchange.best(symbol)
        assert not (bid and ask) or bid < ask
        resting = {}
        for side in (market.book.bids, market.book.asks):
            assert side.keys == sorted(price * side.sign for price in side.levels)
            assert side.anonymous_keys == sorted(price * side.sign for price in side.anonymous)
            assert all(size > 0 for size in side.anonymous.values())
            for price, level in side.levels.items():
                assert level.orders
                assert level.resting == sum(o.remaining for o in level.orders)
                ahead = [o.ahead for o in level.orders]
                assert ahead == sorted(ahead)
                assert ahead[0] >= 0
                assert ahead[-1] <= side.anonymous.get(price, 0)
                for order in level.orders:
                    assert (order.price, order.side, order.status) == (price, side.side, OrderStatus.OPEN)
                    resting[order.id] = order
        live = [o for a in self.exchange.ledger.accounts.values() for o in a.orders.values() if o.market is market]
        assert resting == {o.id: o for o in live if o.status is OrderStatus.OPEN}
        reserved: Counter[tuple[int, Side]] = Counter()
        for order in resting.values():
            if not order.reduce_only:
                reserved[order.account.id, order.side] += order.remaining
            elif self.exchange.rules.reduce_only is not ReduceOnlyMode.AT_MATCH:
                assert order.remaining <= order.position.closable(order.side)
        for account in self.exchange.ledger.accounts.values():
            position = account.positions.get(symbol)
            if position is not None:
                assert (position.buying, position.selling) == (reserved[account.id, Side.BUY], reserved[account.id, Side.SELL])
                reducing = {o.id for o in account.orders.values() if o.market is market and o.reduce_only}
                assert set(position.reducing) == reducing

    def _log_tells_all(self) -> None:
        made, replay = self.exchange, self.replay
        for symbol, market in made.markets.items():
            for side in Side:
                book = {price: size for price, size, _ in made.depth(symbol, side)}
                assert replay.books.get((symbol, side), {}) == book
            assert replay.marks[symbol] == (market.mark, market.index)
        assert replay.insurance == made.ledger.insurance
        live: dict[int, Order] = {}
        for account in made.ledger.accounts.values():
            if account.id == ANONYMOUS:
                continue
            live |= account.orders
            assert replay.balances.get(account.id, 0) == account.balance
            for symbol, position in account.positions.items():
                told = replay.positions.get((account.id, symbol), (0, 0, 0))
                assert told == (position.size, position.cost, position.margin)
        assert set(replay.orders) == set(live)
        for order_id, open_order in replay.orders.items():
            order = live[order_id]
            if order.status is OrderStatus.OPEN:
                assert (open_order.resting, open_order.price, open_order.remaining) == (True, order.price, order.remaining)

    def _solvency(self) -> None:
        """Who has nothing open owes nothing; nobody in an open market is left below close-out."""
        made = self.exchange
        for account in made.ledger.accounts.values():
            cross = [p for p in account.positions.values() if p.size and p.mode is MarginMode.CROSS]
            if account.id == ANONYMOUS:
                continue
            if not cross:
                assert account.balance >= 0
            frozen = any(p.market.spec.status in (MarketStatus.HALTED, MarketStatus.DELISTED) for p in cross)
            if cross and not frozen:
                floor = made.ledger.cross_maintenance(account) * made.rules.closeout // 10**12
                assert made.ledger.cross_equity(account) >= floor
