"""What happened on an exchange, kept for questions: trades, candles, fills, funding, ended orders. Bounded, venue-neutral."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from exchange_simulator.core.events import (
    AnyEvent,
    Event,
    FundingPaid,
    FundingSettled,
    OrderCancelled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    Trade,
)
from exchange_simulator.core.types import ANONYMOUS, Liquidity, TradeKind

MINUTE_NS = 60 * 10**9
DAY_NS = 24 * 60 * MINUTE_NS


@dataclass(slots=True)
class Candle:
    """Prices in ticks, volume in steps, value = sum of price x size."""

    start_ns: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    value: int
    trades: int
    last_trade_id: int

    def add(self, other: Candle) -> None:
        self.high, self.low, self.close = max(self.high, other.high), min(self.low, other.low), other.close
        self.volume += other.volume
        self.value += other.value
        self.trades += other.trades
        self.last_trade_id = other.last_trade_id


@dataclass(frozen=True, slots=True)
class DayStats:
    """The last 24 hours up to the minute; zeros when nothing traded."""

    open: int = 0
    high: int = 0
    low: int = 0
    close: int = 0
    volume: int = 0
    value: int = 0
    trades: int = 0


@dataclass(frozen=True, slots=True)
class PastFunding:
    """One settled interval; `rate` in fraction units per interval, `ref_price` in ref units."""

    ts_ns: int
    rate: int
    ref_price: int
    interval_ns: int


class History:
    """Newest last everywhere. `keep` bounds each list, a day of candles times `days` each market."""

    def __init__(self, *, keep: int = 20_000, days: int = 60) -> None:
        self.trades: dict[str, deque[Trade]] = defaultdict(lambda: deque(maxlen=keep))
        self.fills: dict[int, deque[OrderFilled]] = defaultdict(lambda: deque(maxlen=keep))
        self.funding: dict[str, deque[PastFunding]] = defaultdict(lambda: deque(maxlen=keep))
        self.payments: dict[int, deque[FundingPaid]] = defaultdict(lambda: deque(maxlen=keep))
        self.ended: dict[int, deque[int]] = defaultdict(lambda: deque(maxlen=keep))
        """Ids of an account's ended orders, refused ones included, in order of their end."""
        self.trade: dict[int, Trade] = {}
        """The print of each kept fill, by trade id. A settlement has no public one: what stands here is made of the fill."""
        self.sides: dict[int, dict[Liquidity, OrderFilled]] = {}
        """Both sides of each of those, as far as somebody owns them."""
        self._keep = keep
        self._minutes: dict[str, deque[Candle]] = defaultdict(lambda: deque(maxlen=days * 24 * 60))
        self._readers: dict[type[Event], Callable[[Any], None]] = {
            Trade: self._on_trade,
            OrderFilled: self._on_fill,
            OrderCancelled: self._on_end,
            OrderExpired: self._on_end,
            OrderRejected: self._on_rejected,
            FundingSettled: self._on_funding,
            FundingPaid: self._on_payment,
        }

    def read(self, event: AnyEvent) -> None:
        reader = self._readers.get(type(event))
        if reader is not None:
            reader(event)

    def _on_trade(self, trade: Trade) -> None:
        self.trades[trade.market].append(trade)
        price, size = trade.price, trade.size
        self._add(
            trade.market, Candle(trade.ts_ns // MINUTE_NS * MINUTE_NS, price, price, price, price, size, price * size, 1, trade.trade_id)
        )
        if trade.maker_account or trade.taker_account:
            self._keep_print(trade)

    def _keep_print(self, trade: Trade) -> None:
        self.trade[trade.trade_id] = trade
        self.sides[trade.trade_id] = {}
        if len(self.trade) > 4 * self._keep:
            oldest = next(iter(self.trade))
            del self.trade[oldest], self.sides[oldest]

    def _add(self, market: str, candle: Candle) -> None:
        minutes = self._minutes[market]
        if minutes and minutes[-1].start_ns == candle.start_ns:
            minutes[-1].add(candle)
        else:
            minutes.append(candle)

    def _on_fill(self, fill: OrderFilled) -> None:
        self.fills[fill.account].append(fill)
        if fill.kind is TradeKind.SETTLEMENT:
            f = fill
            self._keep_print(
                Trade(f.seq, f.ts_ns, f.trade_id, f.market, f.side, f.price, f.size, f.kind, ANONYMOUS, f.account, ANONYMOUS, f.order_id)
            )
        self.sides.setdefault(fill.trade_id, {})[fill.liquidity] = fill
        if fill.remaining == 0 and fill.order_id:
            self.ended[fill.account].append(fill.order_id)

    def _on_end(self, event: OrderCancelled | OrderExpired) -> None:
        self.ended[event.account].append(event.order_id)

    def _on_rejected(self, event: OrderRejected) -> None:
        self.ended[event.order.account].append(event.order_id)

    def _on_funding(self, event: FundingSettled) -> None:
        self.funding[event.market].append(PastFunding(event.ts_ns, event.rate, event.ref_price, event.interval_ns))

    def _on_payment(self, event: FundingPaid) -> None:
        self.payments[event.account].append(event)

    def seed(self, market: str, *, funding: Iterable[PastFunding] = (), candles: Iterable[Candle] = ()) -> None:
        """A past before the simulation began: funding rows, and candles of one minute, oldest first."""
        self.funding[market].extendleft(reversed(list(funding)))
        self._minutes[market].extendleft(reversed(list(candles)))

    def candles(self, market: str, interval_ns: int, start_ns: int, end_ns: int) -> list[Candle]:
        """Whole intervals (multiples in UTC) that start in [start, end] and traded, oldest first."""
        found: list[Candle] = []
        for minute in self._since(market, start_ns // interval_ns * interval_ns):
            start = minute.start_ns // interval_ns * interval_ns
            if start < start_ns:
                continue
            if start > end_ns:
                break
            if found and found[-1].start_ns == start:
                found[-1].add(minute)
            else:
                found.append(_copy(minute, start))
        return found

    def day(self, market: str, now_ns: int) -> DayStats:
        total: Candle | None = None
        for minute in self._since(market, now_ns - DAY_NS):
            if total is None:
                total = _copy(minute, minute.start_ns)
            else:
                total.add(minute)
        if total is None:
            return DayStats()
        return DayStats(total.open, total.high, total.low, total.close, total.volume, total.value, total.trades)

    def _since(self, market: str, start_ns: int) -> Sequence[Candle]:
        minutes = self._minutes.get(market)
        if not minutes:
            return ()
        if minutes[0].start_ns >= start_ns:
            return minutes
        kept = list(minutes)
        return kept[bisect_left(kept, start_ns, key=lambda c: c.start_ns) :]


def _copy(candle: Candle, start_ns: int) -> Candle:
    c = candle
    return Candle(start_ns, c.open, c.high, c.low, c.close, c.volume, c.value, c.trades, c.last_trade_id)
