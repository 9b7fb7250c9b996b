"""One market of a paper venue: the live book taken over, what we took from it kept back, and our orders' places in its queues."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from exchange_clients.base_websocket import event_key
from exchange_clients.errors import NotReady, VenueError
from exchange_clients.events import Subscription
from exchange_clients.model import NS_PER_S, BookLevel, BookSnapshot, Gap, Instrument, MarkPrice, Side, Trade
from exchange_clients.spec import Stream
from exchange_simulator.core.orders import Order
from exchange_simulator.core.types import OrderStatus

if TYPE_CHECKING:
    from exchange_simulator.paper import PaperVenue

log = logging.getLogger("exchange_simulator.paper")

ACCOUNT = 1
"""The virtual account's number: one per file."""
TICKER_EVERY_S = 5.0


class Queue:
    """How much stands before one resting order, at most. Sizes in steps."""

    __slots__ = ("_first", "_low", "_recent", "_traded")

    def __init__(self, first: int | None) -> None:
        self._first = first
        """The level when the order arrived; None: not seen yet."""
        self._traded = 0
        self._low: int | None = None
        self._recent: deque[tuple[int, int]] = deque()

    def saw(self, size: int, now_ns: int) -> None:
        """The live level shows this much."""
        if self._first is None:
            self._first = size
        elif not self._recent or self._recent[-1][1] != size:
            self._recent.append((now_ns, size))

    def traded(self, size: int) -> None:
        self._traded += size

    def ahead(self, now_ns: int, grace_ns: int) -> int | None:
        """None: the level was never seen."""
        while self._recent and now_ns - self._recent[0][0] >= grace_ns:
            size = self._recent.popleft()[1]
            self._low = size if self._low is None else min(self._low, size)
        if self._first is None:
            return None
        left = max(0, self._first - self._traded)
        return left if self._low is None else min(left, self._low)


class LiveMarket:
    """One market, moved by the live one."""

    def __init__(self, venue: PaperVenue, instrument: Instrument) -> None:
        self.venue, self.instrument = venue, instrument
        self.contract_id = instrument.contract_id
        self.spec = venue.exchange.markets[self.contract_id].spec
        self._live = venue.live
        self._sizes: dict[Side, dict[int, int]] = {Side.BUY: {}, Side.SELL: {}}
        """The live book as last seen."""
        self._taken: dict[tuple[Side, int], tuple[int, int]] = {}
        """(side, price) of a live level -> (its size then, how much of it we took)."""
        self._queues: dict[int, Queue] = {}
        self._stops: list[Callable[[], None]] = []
        self._held: list[Subscription] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._looking = self._feeding = False

    # ---- following

    async def start(self) -> None:
        """Returns when the live book is there and taken over.

        Raises:
            VenueError: the venue does not stream it, or cannot be asked for its mark.
        """
        await self._take_ticker()
        self._feeding = True
        await self._live.ws_manager.prepare_market_feed(self.instrument)
        hub, streams = self._live.context.hub, self._live.spec.streams
        self._stops.append(hub.listen(event_key(Stream.BOOK, self.instrument.id), self._on_book))
        if Stream.TRADES in streams:
            self._hold(Stream.TRADES, self._on_trade)
        if Stream.MARK in streams:
            self._hold(Stream.MARK, self._on_mark)
        else:
            self._tasks.append(asyncio.create_task(self._poll_ticker(), name=f"paper-mark:{self.instrument.id}"))
        self.look()

    def _hold(self, stream: Stream, listener: Callable[[Any], None]) -> None:
        self._held.append(self._live.ws_manager.watch(stream, self.instrument, coalesce=True, maxsize=10))
        self._stops.append(self._live.context.hub.listen(event_key(stream, self.instrument.id), listener))

    async def stop(self) -> None:
        for stop in self._stops:
            stop()
        for held in self._held:
            held.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._feeding:
            self._live.ws_manager.release_market_feed(self.instrument)
        self._stops, self._held, self._tasks, self._feeding = [], [], [], False

    async def _take_ticker(self) -> None:
        ticker = await self._live.market_data.fetch_ticker(self.instrument)
        mark = ticker.mark or ticker.index or ticker.last
        if mark is not None:
            self.venue.set_mark(self.contract_id, mark, ticker.index)

    async def _poll_ticker(self) -> None:
        while True:
            await self.venue.clock.sleep(TICKER_EVERY_S)
            try:
                await self._take_ticker()
            except VenueError as e:
                log.warning("paper.mark_unknown market=%s reason=%s", self.instrument.id, e)

    def _on_mark(self, event: MarkPrice | Gap) -> None:
        if not isinstance(event, Gap):
            self.venue.set_mark(self.contract_id, event.price)

    # ---- the book

    def _on_book(self, event: object) -> None:
        """At the end of the turn: of several changes only the last counts, and trades that came with it are known by then."""
        if isinstance(event, Gap):
            self.venue.suspend(self.contract_id, f"the live book has a gap: {event.reason}")
        elif not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_soon(self.look)

    def look(self) -> None:
        """Take over the live book as streamed."""
        self._looking = False
        if not self._stops:
            return
        try:
            book = self._live.ws_manager.get_order_book(self.instrument, self.venue.settings.book_levels)
        except NotReady as e:
            self.venue.suspend(self.contract_id, e.message)
            return
        self.take(book)

    def take(self, book: BookSnapshot) -> None:
        """Take over a live book: fill what it reaches, keep back what was taken from it, note where orders stand in their levels."""
        if not book.bids or not book.asks or book.bids[0].price >= book.asks[0].price:
            self.venue.suspend(self.contract_id, "the live book is empty on a side or crossed")
            return
        now_ns = self.venue.now_ns()
        self._sizes = {Side.BUY: self._steps(book.bids), Side.SELL: self._steps(book.asks)}
        for key, (seen, _) in list(self._taken.items()):
            size = self._sizes[key[0]].get(key[1], 0)
            if size == 0 or size > seen:
                del self._taken[key]
        self._see_levels(now_ns)
        self._reach(now_ns)
        bids, asks = ([(p, left) for p in self._sizes[side] if (left := self._left(side, p)) > 0] for side in (Side.BUY, Side.SELL))
        self.venue.exchange.set_levels(now_ns, self.contract_id, bids, asks)
        self.venue.resume(self.contract_id)
        self.venue.quote_changed(self.contract_id)

    def _steps(self, levels: Iterable[BookLevel]) -> dict[int, int]:
        """Prices to whole ticks, sizes down to whole steps."""
        tick, step = self.spec.tick_size, self.spec.step_size
        found: dict[int, int] = {}
        for level in levels:
            price, size = int(level.price / tick), int(level.size / step)
            if size > 0:
                found[price] = found.get(price, 0) + size
        return found

    def _left(self, side: Side, price: int) -> int:
        return self._sizes[side].get(price, 0) - self._taken.get((side, price), (0, 0))[1]

    def took(self, side: Side, price: int, size: int) -> None:
        """An order of ours took this from the live level of that side."""
        seen, taken = self._taken.get((side, price), (self._sizes[side].get(price, 0), 0))
        self._taken[side, price] = (seen, taken + size)

    def _visible(self, side: Side, price: int) -> bool:
        """Within the levels that are followed: a price that is not listed there has nothing."""
        prices = self._sizes[side]
        return bool(prices) and (price >= min(prices) if side is Side.BUY else price <= max(prices))

    # ---- own resting orders

    def _resting(self, side: Side) -> list[Order]:
        """Best price first, then oldest."""
        found = [o for o in self.venue.exchange.open_orders(ACCOUNT, self.contract_id) if o.status is OrderStatus.OPEN and o.side is side]
        return sorted(found, key=lambda o: (-o.price * side.sign, o.id))

    def opened(self, order: Order, *, known: int | None = None) -> None:
        """An order of ours rests now. `known`: what stood before it when the account was saved."""
        first = self._sizes[order.side].get(order.price, 0) if self._visible(order.side, order.price) else None
        self._queues[order.id] = Queue(first if known is None else known)

    def _queue(self, order: Order) -> Queue:
        if order.id not in self._queues:
            self.opened(order, known=order.ahead or None)
        return self._queues[order.id]

    def _see_levels(self, now_ns: int) -> None:
        live = set()
        for side in Side:
            for order in self._resting(side):
                live.add(order.id)
                if self._visible(side, order.price):
                    self._queue(order).saw(self._sizes[side].get(order.price, 0), now_ns)
                order.ahead = self._queue(order).ahead(now_ns, self.venue.grace_ns) or 0
        for gone in self._queues.keys() - live:
            del self._queues[gone]

    def _reach(self, now_ns: int) -> None:
        """Live orders that rest at or through the price of ours would have met it first."""
        for side in Side:
            for order in self._resting(side):
                for price in sorted(self._sizes[side.opposite], key=lambda p: p * side.sign):
                    if price * side.sign > order.price * side.sign:
                        break
                    size = min(self._left(side.opposite, price), order.remaining)
                    if size > 0 and (filled := self.venue.exchange.fill_resting(now_ns, order.id, size)):
                        self.took(side.opposite, price, filled)

    def _on_trade(self, trade: Trade | Gap) -> None:
        """A live trade meets our orders at better prices first, and at its own price what is beyond their place in the queue."""
        if isinstance(trade, Gap):
            return
        now_ns = self.venue.now_ns()
        price, left = int(trade.price / self.spec.tick_size), int(trade.quantity / self.spec.step_size)
        side = trade.side.opposite
        offset_ns = self._live.context.venue_time.offset_ns or 0
        for order in self._resting(side):
            if left <= 0 or price * side.sign > order.price * side.sign:
                break
            if trade.ts_venue_ns < order.created_ns + offset_ns:
                continue  # it happened before the order was there
            ahead: int | None = 0
            if price == order.price:
                queue = self._queue(order)
                ahead = queue.ahead(now_ns, self.venue.grace_ns)
                queue.traded(left)
            if ahead is not None and left > ahead:
                left -= self.venue.exchange.fill_resting(now_ns, order.id, left - ahead)

    @property
    def age_s(self) -> float:
        """Of the live book."""
        feed = self._live.ws_manager.feed_of(self.contract_id)
        return float("inf") if feed is None else (self.venue.clock.time_ns() - feed.book.state.ts_recv_ns) / NS_PER_S
