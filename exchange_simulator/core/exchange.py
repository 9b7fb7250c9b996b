"""The exchange: everything the outside may do to it and ask of it.

Every call that changes something takes `ts_ns` first; time never goes back. Before the call is done, whatever was due until then is done
(settlements, expiries, dead-man switches), each at its own time. A driver that must not be late reads `next_due_ns` and calls `advance`.
Nothing here waits, reads a clock or draws a random number: the same calls give the same events.

Funding settles at whole multiples of the market's interval in UTC, plus its offset. Marks and indices are set from outside, before
the time they count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from heapq import heapify, heappop, heappush
from itertools import count

import msgspec

from exchange_simulator.core.book import BookSide
from exchange_simulator.core.engine import Engine
from exchange_simulator.core.events import (
    Adl,
    AnyEvent,
    BookDelta,
    CancelAllScheduled,
    FundingPaid,
    FundingSettled,
    LeverageChanged,
    MarkChanged,
    MarketChanged,
    MarketStatusChanged,
)
from exchange_simulator.core.funding import FundingSource, PostedFunding, clamp
from exchange_simulator.core.liquidation import Liquidator
from exchange_simulator.core.log import Sink
from exchange_simulator.core.market import MarketState
from exchange_simulator.core.orders import Account, Order, Position
from exchange_simulator.core.types import (
    ANONYMOUS,
    COIN,
    REF,
    UNIT,
    AmendMode,
    BalanceReason,
    CancelReason,
    GroupKind,
    MarginMode,
    Market,
    MarketStatus,
    NewOrder,
    OrderStatus,
    PositionReason,
    PriceSource,
    RejectReason,
    Rules,
    Side,
    TradeKind,
)

Levels = Sequence[tuple[int, int]]
"""(price in ticks, size in steps), in any order."""
Quoter = Callable[[int, int, int, int, int], None]
"""Takes time, bid in ticks, its size in steps, ask, its size."""


class Exchange(Engine):
    """One venue.

    `funding` defaults to posted rates (`set_funding_rate`). Without `publish_book` no BookDelta events are made, for backtests that read
    the book directly. `closed_orders_kept` bounds how many ended orders stay findable by id.
    """

    def __init__(
        self,
        rules: Rules | None = None,
        *,
        funding: FundingSource | None = None,
        publish_book: bool = True,
        closed_orders_kept: int = 100_000,
    ) -> None:
        super().__init__(rules or Rules(), publish_book=publish_book, closed_orders_kept=closed_orders_kept)
        self._posted = PostedFunding()
        self.funding: FundingSource = funding or self._posted
        self._liquidator = Liquidator(self)
        self._timers: list[tuple[int, int, Callable[[], None], Order | None]] = []
        self._timer_id = count().__next__

    # events

    def subscribe(self, sink: Sink) -> Callable[[], None]:
        """Every event goes to `sink` after the call that caused it, in order; `sink` may call the exchange. Returns unsubscribe."""
        return self.log.subscribe(sink)

    def drain(self) -> list[AnyEvent]:
        """Events since the last drain. Nothing is kept for this while someone is subscribed."""
        return self.log.drain()

    # time

    @property
    def now_ns(self) -> int:
        return self.log.now

    @property
    def next_due_ns(self) -> int | None:
        """When `advance` will have something to do; None when nothing is scheduled. May name a moment whose cause is gone."""
        return self._timers[0][0] if self._timers else None

    def advance(self, ts_ns: int) -> None:
        """Does what is due up to and including `ts_ns`.

        Raises:
            ValueError: time would go back.
        """
        log, timers = self.log, self._timers
        if ts_ns < log.now:
            raise ValueError(f"time goes back from {log.now} to {ts_ns}")
        while timers and timers[0][0] <= ts_ns:
            due, _, action, _ = heappop(timers)
            log.now = max(log.now, due)
            action()
            self._settle()
        log.now = ts_ns

    def _at(self, due_ns: int, action: Callable[[], None], order: Order | None = None) -> None:
        """`order`: the timer is void when it has ended; when most timers are, they go."""
        if self._stale_timers > 256 and self._stale_timers * 2 > len(self._timers):
            self._timers[:] = [timer for timer in self._timers if timer[3] is None or not timer[3].status.terminal]
            heapify(self._timers)
            self._stale_timers = 0
        heappush(self._timers, (due_ns, self._timer_id(), action, order))

    def call_at(self, due_ns: int, action: Callable[[int], None]) -> None:
        """Calls `action` with the time when the exchange gets there; it may call the exchange with that time. For scripts of events."""
        self._at(due_ns, lambda: action(self.log.now))

    # markets

    def add_market(self, ts_ns: int, market: Market, *, mark: int = 0, index: int = 0) -> None:
        """Lists a market. Orders are refused until it has a mark price (ref units); `index` defaults to `mark`."""
        self.advance(ts_ns)
        if market.symbol in self.markets:
            raise ValueError(f"{market.symbol} is listed already")
        state = MarketState(market, mark=mark, index=index or mark, next_funding_ns=0)
        self.markets[market.symbol] = state
        state.anonymous = self.ledger.position(self.ledger.anonymous, state)
        self._schedule_funding(state)
        self._tell_market(state)
        if mark:
            self.log.put(MarkChanged(self.log.seq(), ts_ns, market.symbol, mark, state.index))
        if self.funding.sample_interval_ns:
            self._schedule_sample(state)
        self._settle()

    def _tell_market(self, market: MarketState) -> None:
        self.log.put(MarketChanged(self.log.seq(), self.log.now, market.spec, market.next_funding_ns))

    def change_market(self, ts_ns: int, market: Market) -> None:
        """Any of its parameters but tick, step and status: fees, tiers, caps, bands, minima, funding interval.

        A new funding interval counts from the next whole multiple of it (plus the offset).
        """
        self.advance(ts_ns)
        state = self.markets[market.symbol]
        old = state.spec
        if (market.tick_size, market.step_size, market.status) != (old.tick_size, old.step_size, old.status):
            raise ValueError("tick, step and status of a listed market do not change here")
        state.spec = market
        if (market.funding_interval_ns, market.funding_offset_ns) != (old.funding_interval_ns, old.funding_offset_ns):
            self._schedule_funding(state)
        self._tell_market(state)
        self._expose_holders(state)
        self._settle()

    def set_status(self, ts_ns: int, market: str, status: MarketStatus) -> None:
        """POST_ONLY and REDUCE_ONLY take only such orders, CANCEL_ONLY none; HALTED takes not even cancels. Resting orders stay.

        Raises:
            ValueError: DELISTED, which is `delist`'s; UNKNOWN; the market is delisted.
        """
        if status in (MarketStatus.DELISTED, MarketStatus.UNKNOWN):
            raise ValueError(f"{status} cannot be set: use delist to end a market")
        self.advance(ts_ns)
        state = self.markets[market]
        self._change_status(state, status)
        self._expose_holders(state)  # what a halt kept from being liquidated
        self._settle()

    def _change_status(self, market: MarketState, status: MarketStatus) -> None:
        if market.spec.status is MarketStatus.DELISTED:
            raise ValueError(f"{market.symbol} is delisted")
        if market.spec.status is not status:
            market.spec = replace(market.spec, status=status)
            self.log.put(MarketStatusChanged(self.log.seq(), self.log.now, market.symbol, status))

    def delist(self, ts_ns: int, market: str, *, settlement: int = 0) -> None:
        """Cancels every order, ends the market, closes every position at `settlement` (ref units; default mark) to the nearest tick.

        Each owner gets a fill of kind SETTLEMENT, without a fee, an order or a public trade.
        """
        self.advance(ts_ns)
        state = self.markets[market]
        self._change_status(state, MarketStatus.DELISTED)
        price = max(1, ((settlement or state.mark) + REF // 2) // REF)
        for order in [o for o in self._live.values() if o.market is state]:
            if not order.status.terminal:
                self.close_order(order, OrderStatus.CANCELLED, CancelReason.DELISTED)
        for side in (state.book.bids, state.book.asks):
            self._replace_anonymous(state, side, {})
        for _, position in sorted(state.holders.items()):
            self.settle_position(position, price)
        if state.anonymous.size:
            self.settle_position(state.anonymous, price)
        self._settle()

    def set_mark(self, ts_ns: int, market: str, mark: int, index: int = 0) -> None:
        """New mark price, and index when it moved too (ref units). Releases triggers, checks margins."""
        self.advance(ts_ns)
        if mark <= 0 or index < 0:
            raise ValueError("mark and index must be positive")
        state = self.markets[market]
        new_index = index or state.index or mark
        if mark == state.mark and new_index == state.index:
            return
        state.mark, state.index = mark, new_index
        self.log.put(MarkChanged(self.log.seq(), ts_ns, market, mark, new_index))
        if state.triggers.watches(PriceSource.MARK):
            self._fire(state, PriceSource.MARK)
        if state.triggers.watches(PriceSource.INDEX):
            self._fire(state, PriceSource.INDEX)
        self._expose_holders(state)
        self._settle()

    def _expose_holders(self, market: MarketState) -> None:
        for account_id, position in market.holders.items():
            self._exposed[account_id] = position.account

    # liquidity without an owner

    def set_levels(self, ts_ns: int, market: str, bids: Levels, asks: Levels) -> None:
        """Replaces all anonymous depth; users' orders keep their place in the queue as `book.py` describes.

        Sizes are anonymous only, without users' orders. Anonymous levels that reach users' orders trade with them first, at the users'
        prices; what is left of such a level rests. To replay a recording, feed trades before the depth that they changed.

        Raises:
            ValueError: a size or price is not positive, or the new bids and asks cross each other.
        """
        self.advance(ts_ns)
        state = self.markets[market]
        bid_side, ask_side = state.book.bids, state.book.asks
        new_bids, new_asks = dict(bids), dict(asks)
        if (new_bids and (min(new_bids) <= 0 or min(new_bids.values()) <= 0)) or (
            new_asks and (min(new_asks) <= 0 or min(new_asks.values()) <= 0)
        ):
            raise ValueError("a price or size is not positive")
        best_bid = max(new_bids) if new_bids else 0
        best_ask = min(new_asks) if new_asks else 0
        if best_ask and best_bid >= best_ask:
            raise ValueError("bids and asks cross")
        bought = sold = None
        if ask_side.keys and best_bid >= -ask_side.keys[-1]:
            bought = _split(new_bids, lambda price: price >= -ask_side.keys[-1])
        if bid_side.keys and best_ask and best_ask <= bid_side.keys[-1]:
            sold = _split(new_asks, lambda price: price <= bid_side.keys[-1])
        self._replace_anonymous(state, bid_side, new_bids)
        self._replace_anonymous(state, ask_side, new_asks)
        if bought or sold:
            self._reach(state, bid_side, bought or {})
            self._reach(state, ask_side, sold or {})
            self._settle()
        elif self._publish_book:
            self.log.deliver()

    def set_quote(self, ts_ns: int, market: str, bid: int, bid_size: int, ask: int, ask_size: int) -> None:
        """`set_levels` with one level on each side."""
        self.quoter(market)(ts_ns, bid, bid_size, ask, ask_size)

    def quoter(self, market: str) -> Quoter:
        """`set_quote` of one market for replaying millions: what it needs is looked up once."""
        log, timers, book = self.log, self._timers, self.markets[market].book
        bids, asks, publish, queue = book.bids, book.asks, self._publish_book, self.rules.queue

        def set_quote(ts_ns: int, bid: int, bid_size: int, ask: int, ask_size: int) -> None:
            if ts_ns < log.now or (timers and timers[0][0] <= ts_ns):
                self.advance(ts_ns)
            reaching = (asks.keys and bid >= -asks.keys[-1]) or (bids.keys and ask <= bids.keys[-1])
            if reaching or publish or not 0 < bid < ask or bid_size <= 0 or ask_size <= 0:
                self.set_levels(ts_ns, market, ((bid, bid_size),), ((ask, ask_size),))
                return
            log.now = ts_ns
            if bids.levels:
                bids.replace_anonymous({bid: bid_size}, queue)
            else:
                bids.anonymous, bids.anonymous_keys = {bid: bid_size}, [bid]
            if asks.levels:
                asks.replace_anonymous({ask: ask_size}, queue)
            else:
                asks.anonymous, asks.anonymous_keys = {ask: ask_size}, [-ask]

        return set_quote

    def _replace_anonymous(self, market: MarketState, side: BookSide, sizes: dict[int, int]) -> None:
        before = side.anonymous
        side.replace_anonymous(sizes, self.rules.queue)
        if self._publish_book:
            log, symbol, which, levels = self.log, market.symbol, side.side, side.levels
            for price in side.changed(before):
                size = sizes.get(price, 0) if price not in levels else side.total(price)
                log.put(BookDelta(log.seq(), log.now, symbol, which, price, size))

    def _reach(self, market: MarketState, side: BookSide, levels: Mapping[int, int]) -> None:
        """Anonymous levels of `side` that reach users' orders on the other: they trade, best first, and what is left rests."""
        for price in sorted(levels, reverse=side.sign > 0):
            left, _ = self.match(market.anonymous, side.side, levels[price], price, order=None, kind=TradeKind.NORMAL)
            if left:
                self._set_anonymous(market, side, price, side.anonymous.get(price, 0) + left)

    def _set_anonymous(self, market: MarketState, side: BookSide, price: int, size: int) -> None:
        if side.anonymous.get(price, 0) != size:
            side.set_anonymous(price, size, self.rules.queue)
            self._tell_level(market, side, price)

    def set_level(self, ts_ns: int, market: str, side: Side, price: int, size: int) -> None:
        """Sets the anonymous size of one level (0 removes it); reaching users' orders it trades as in `set_levels`.

        Raises:
            ValueError: it would cross anonymous depth of the other side.
        """
        self.advance(ts_ns)
        state = self.markets[market]
        own, opposite = state.book.side(side), state.book.side(side.opposite)
        if size < 0 or price <= 0:
            raise ValueError("a level has a positive price and a size that is not negative")
        if size and opposite.anonymous_keys and opposite.anonymous_keys[-1] >= price * opposite.sign:
            raise ValueError("the level crosses anonymous depth of the other side")
        if size and opposite.reached_by(price):
            self._reach(state, own, {price: size})
        else:
            self._set_anonymous(state, own, price, size)
        self._settle()

    def external_trade(self, ts_ns: int, market: str, side: Side, size: int, *, limit: int = 0) -> int:
        """Someone without an account takes `size` from the book, best price first up to `limit` (0: any). Returns what was taken."""
        self.advance(ts_ns)
        state = self.markets[market]
        left, _ = self.match(state.anonymous, side, size, limit, order=None, kind=TradeKind.NORMAL)
        self._settle()
        return size - left

    def fill_resting(self, ts_ns: int, order_id: int, size: int) -> int:
        """Someone without an account trades with this very order at its price, whatever stands before it. Returns what was filled.

        For books whose queues somebody else keeps: a live venue's, of which only sizes and trades are seen.
        """
        self.advance(ts_ns)
        order = self._live.get(order_id)
        if order is None or order.status is not OrderStatus.OPEN:
            return 0
        market, book = order.market, order.market.book.side(order.side)
        size = min(size, order.remaining)
        if order.reduce_only:
            size = min(size, order.position.closable(order.side))
        if size > 0:
            level = book.levels[order.price]
            level.resting -= size
            self._reserve(order, -size)
            self.trade(order.position, order, market.anonymous, None, order.side.opposite, order.price, size, TradeKind.NORMAL)
            if order.remaining == 0:
                level.orders.remove(order)
                if not level.orders:
                    book.drop(order.price)
                self.close_order(order, OrderStatus.FILLED)
            self._tell_level(market, book, order.price)
        self._settle()
        return max(0, size)

    # accounts

    def open_account(self, ts_ns: int, account: int, *, deposit: int = 0, self_trade_group: int | None = None) -> Account:
        """`self_trade_group`: accounts of one group never trade with each other (sub-accounts of one master)."""
        self.advance(ts_ns)
        if account in self.ledger.accounts or account == ANONYMOUS:
            raise ValueError(f"account {account} exists")
        opened = self.ledger.open(account)
        if self_trade_group is not None:
            opened.self_trade_group = self_trade_group
        if deposit:
            self.deposit(ts_ns, account, deposit)
        return opened

    def deposit(self, ts_ns: int, account: int, amount: int) -> None:
        self.advance(ts_ns)
        if amount <= 0:
            raise ValueError("a deposit is positive")
        self.ledger.deposited += amount
        self.ledger.credit(self.ledger.accounts[account], amount, BalanceReason.DEPOSIT)
        self._settle()

    def withdraw(self, ts_ns: int, account: int, amount: int) -> RejectReason | None:
        """None when done."""
        self.advance(ts_ns)
        if amount <= 0:
            raise ValueError("a withdrawal is positive")
        owner = self.ledger.accounts[account]
        if amount > self.ledger.available(owner):
            return RejectReason.INSUFFICIENT_MARGIN
        self.ledger.deposited -= amount
        self.ledger.credit(owner, -amount, BalanceReason.WITHDRAWAL)
        self._settle()
        return None

    def deleverage(self, ts_ns: int, account: int, market: str, size: int) -> int:
        """An ADL as the account sees it, without anyone bankrupt: that much of its position is closed at mark. Returns what was closed."""
        self.advance(ts_ns)
        position = self.position(account, market)
        closed = min(size, abs(position.size))
        if closed:
            state = position.market
            side = Side.BUY if position.size > 0 else Side.SELL  # the other side's
            price = max(1, state.mark // REF)
            self.trade(position, None, state.anonymous, None, side, price, closed, TradeKind.ADL)
            self.log.put(Adl(self.log.seq(), ts_ns, account, market, side.opposite, closed, price, ANONYMOUS))
        self._settle()
        return closed

    def fund_insurance(self, ts_ns: int, amount: int) -> None:
        self.advance(ts_ns)
        self.ledger.deposited += amount
        self.ledger.insure(amount)
        self._settle()

    def set_fees(self, ts_ns: int, account: int, maker: int, taker: int, *, market: str = "") -> None:
        """Fee fractions of one account, for one market or ("") all; maker may be negative."""
        self.advance(ts_ns)
        self.ledger.accounts[account].fees[market] = (maker, taker)

    def set_leverage(self, ts_ns: int, account: int, market: str, initial: int) -> RejectReason | None:
        """Initial margin fraction the account wants in that market (leverage = 1 / fraction). None when done."""
        self.advance(ts_ns)
        position = self.position(account, market)
        if not position.market.spec.tiers[0].initial <= initial <= UNIT:
            return RejectReason.BAD_LEVERAGE
        old = position.initial
        if position.mode is MarginMode.ISOLATED and position.size:
            return self._relever(position, initial)
        position.initial = initial
        if initial > old and self.ledger.available(position.account) < 0:
            position.initial = old
            return RejectReason.INSUFFICIENT_MARGIN
        self._tell_leverage(position)
        return None

    def _relever(self, position: Position, initial: int) -> RejectReason | None:
        """An isolated position takes the margin that higher requirements need; lower ones give nothing back by themselves."""
        needed = position.market.initial_margin(abs(position.size), initial) - position.margin
        if needed > 0:
            if needed > self.ledger.available(position.account):
                return RejectReason.INSUFFICIENT_MARGIN
            self._shift_margin(position, needed)
        position.initial = initial
        self._tell_leverage(position)
        return None

    def set_margin_mode(self, ts_ns: int, account: int, market: str, mode: MarginMode) -> RejectReason | None:
        """Only while there is neither position nor order. None when done."""
        self.advance(ts_ns)
        position = self.position(account, market)
        if position.mode is mode:
            return None
        orders = any(o.position is position for o in position.account.orders.values())
        if position.size or orders or (mode is MarginMode.CROSS and position.market.spec.isolated_only):
            return RejectReason.MARGIN_MODE
        position.mode = mode
        self._tell_leverage(position)
        return None

    def _tell_leverage(self, position: Position) -> None:
        account, symbol = position.account.id, position.market.symbol
        self.log.put(LeverageChanged(self.log.seq(), self.log.now, account, symbol, position.initial, position.mode))
        self._settle()

    def move_isolated_margin(self, ts_ns: int, account: int, market: str, amount: int) -> RejectReason | None:
        """Into (positive) or out of the margin of an isolated position; never below its initial margin. None when done."""
        self.advance(ts_ns)
        position = self.position(account, market)
        if position.mode is not MarginMode.ISOLATED or position.size == 0:
            return RejectReason.MARGIN_MODE
        spare = position.margin + min(0, position.market.unrealised(position))
        spare -= position.market.initial_margin(abs(position.size), position.initial)
        if amount > self.ledger.available(position.account) or -amount > max(0, spare):
            return RejectReason.INSUFFICIENT_MARGIN
        self._shift_margin(position, amount)
        self._settle()
        return None

    def _shift_margin(self, position: Position, amount: int) -> None:
        position.margin += amount
        self.ledger.put_position(position, PositionReason.MARGIN)
        self.ledger.credit(position.account, -amount, BalanceReason.MARGIN)

    # orders

    def submit(self, ts_ns: int, new: NewOrder) -> Order:
        """One order, done as far as it goes at once: read `status`, `reject_reason`, `filled`, `remaining` of what comes back.

        Raises:
            KeyError: no such market or account.
        """
        self.advance(ts_ns)
        order = self._admit(new)
        if order.status is OrderStatus.NEW:
            self._expire_later(order)
            self._activate(order)
        self._settle()
        return order

    def submit_group(self, ts_ns: int, kind: GroupKind, orders: Sequence[NewOrder]) -> list[Order]:
        """Orders that belong together, of one account and market. One that is refused takes the others with it.

        Raises:
            ValueError: fewer than two orders, or of several accounts or markets; OTOCO needs three.
        """
        self.advance(ts_ns)
        if len(orders) < (3 if kind is GroupKind.OTOCO else 2) or len({(o.account, o.market) for o in orders}) != 1:
            raise ValueError("a group has two or more orders of one account and market; OTOCO three")
        group = self._group(kind)
        has_parent = kind is not GroupKind.OCO
        admitted = [self._admit(new, group=group, child=has_parent and i > 0) for i, new in enumerate(orders)]
        group.orders = tuple(admitted)
        if any(order.status is OrderStatus.REJECTED for order in admitted):
            for order in admitted:
                if order.status is OrderStatus.NEW:
                    self.close_order(order, OrderStatus.CANCELLED, CancelReason.PARENT_CANCELLED, RejectReason.BAD_GROUP)
        else:
            if has_parent:
                for child in admitted[1:]:
                    child.status = OrderStatus.WAITING
            for order in admitted:
                self._expire_later(order)
                if order.status is OrderStatus.NEW:
                    self._activate(order)
        self._settle()
        return admitted

    def _expire_later(self, order: Order) -> None:
        expires = order.request.expires_ns
        if expires and not order.status.terminal:
            self._at(expires, lambda: self._expire(order), order)

    def _expire(self, order: Order) -> None:
        if not order.status.terminal:
            self.close_order(order, OrderStatus.EXPIRED)

    def cancel(self, ts_ns: int, account: int, order_id: int) -> RejectReason | None:
        """None when it was cancelled now."""
        self.advance(ts_ns)
        order = self._live.get(order_id)
        if order is None or order.account.id != account:
            return RejectReason.UNKNOWN_ORDER
        if order.market.spec.status is MarketStatus.HALTED:
            return RejectReason.MARKET_STATUS
        self.close_order(order, OrderStatus.CANCELLED, CancelReason.USER)
        self._settle()
        return None

    def cancel_all(self, ts_ns: int, account: int, market: str = "") -> list[int]:
        """Resting, untriggered and waiting orders, of one market or ("") all. Returns the ids, oldest first."""
        self.advance(ts_ns)
        gone = self._cancel_all(self.ledger.accounts[account], market, CancelReason.USER)
        self._settle()
        return gone

    def _cancel_all(self, account: Account, market: str, reason: CancelReason) -> list[int]:
        gone = []
        for order in tuple(account.orders.values()):
            if market in ("", order.market.symbol) and order.market.spec.status is not MarketStatus.HALTED:
                self.close_order(order, OrderStatus.CANCELLED, reason)
                gone.append(order.id)
        return gone

    def schedule_cancel_all(self, ts_ns: int, account: int, at_ns: int, *, market: str = "") -> None:
        """The dead-man switch: cancels everything of the account at `at_ns`; a new time replaces the old one, 0 takes it back.

        `market`: a switch of its own, for that market's orders only.
        """
        self.advance(ts_ns)
        owner = self.ledger.accounts[account]
        if at_ns and at_ns <= ts_ns:
            raise ValueError("the time is past")
        if market:
            owner.cancel_market_ns[market] = at_ns
        else:
            owner.cancel_all_ns = at_ns
        if at_ns:
            self._at(at_ns, lambda: self._dead_man(owner, market, at_ns))
        self.log.put(CancelAllScheduled(self.log.seq(), ts_ns, account, at_ns, market))
        self._settle()

    def _dead_man(self, account: Account, market: str, at_ns: int) -> None:
        if at_ns != (account.cancel_market_ns.get(market, 0) if market else account.cancel_all_ns):
            return
        if market:
            del account.cancel_market_ns[market]
        else:
            account.cancel_all_ns = 0
        self._cancel_all(account, market, CancelReason.SCHEDULED)

    def amend(
        self,
        ts_ns: int,
        account: int,
        order_id: int,
        *,
        price: int = 0,
        size: int = 0,
        trigger_price: int = 0,
        client_id: str | None = None,
    ) -> Order | RejectReason:
        """Changes what is given (0: as it is). A refusal leaves the order as it was.

        IN_PLACE: `size` is filled plus remaining; the same order comes back. REPLACE: `size` is that of the new order (default: what
        remains), and the new order comes back; `client_id` defaults to the old one.
        """
        self.advance(ts_ns)
        order = self._live.get(order_id)
        if order is None or order.account.id != account:
            return RejectReason.UNKNOWN_ORDER
        if order.market.spec.status in (MarketStatus.HALTED, MarketStatus.CANCEL_ONLY):
            return RejectReason.MARKET_STATUS
        if self.rules.amend is AmendMode.REPLACE:
            result = self._replace(order, price, size, trigger_price, client_id)
        else:
            result = self._change(order, price or order.price, size or order.filled + order.remaining, trigger_price)
        self._settle()
        return result

    def _replace(self, order: Order, price: int, size: int, trigger_price: int, client_id: str | None) -> Order | RejectReason:
        request = order.request
        trigger = request.trigger
        if order.status is OrderStatus.OPEN:
            trigger = None
        elif trigger is not None and trigger_price:
            trigger = msgspec.structs.replace(trigger, price=trigger_price)
        new = msgspec.structs.replace(
            request,
            price=price or order.price,
            size=0 if request.close_position and trigger is not None else size or order.remaining,
            trigger=trigger,
            client_id=request.client_id if client_id is None else client_id,
            close_position=request.close_position and trigger is not None,
            reduce_only=request.reduce_only or request.close_position,
        )
        resting, waiting, group = order.status is OrderStatus.OPEN, order.status is OrderStatus.WAITING, order.group
        if resting:
            self._reserve(order, -order.remaining)  # the old order must not count against the new one
        replacement = self._admit(new, group=group, child=waiting, replaces=order)
        if resting:
            self._reserve(order, order.remaining)
        if replacement.status is OrderStatus.REJECTED:
            assert replacement.reject_reason is not None
            return replacement.reject_reason
        order.replaced_by = replacement.id
        if group is not None:  # it takes the old one's place
            group.orders = tuple(replacement if o is order else o for o in group.orders)
            order.group = None
        self.close_order(order, OrderStatus.CANCELLED, CancelReason.REPLACED)
        self._expire_later(replacement)
        if waiting:
            replacement.status = OrderStatus.WAITING
        else:
            self._activate(replacement)
        return replacement

    def _change(self, order: Order, price: int, size: int, trigger_price: int) -> Order | RejectReason:
        remaining = size - order.filled
        old = (order.price, order.remaining, order.size, order.trigger_price)
        if remaining <= 0:
            return RejectReason.BAD_SIZE
        resting = order.status is OrderStatus.OPEN
        if resting and price == order.price and remaining <= order.remaining:
            cut = order.remaining - remaining
            if cut:
                book = order.market.book.side(order.side)
                self._reserve(order, -cut)
                book.levels[price].resting -= cut
                order.size, order.remaining, order.updated_ns = order.size - cut, remaining, self.log.now
                self._tell_level(order.market, book, price)
            self._tell_amended(order, by_venue=False)
            return order
        if resting:
            self._reserve(order, -order.remaining)
        order.size += remaining - order.remaining
        order.price, order.remaining, order.trigger_price = price, remaining, trigger_price or order.trigger_price
        reason = self._limits(order)
        if reason is None and resting:
            reason = self._clamp_reduce_only(order) or self._entry_refusal(order, late=False)
        new = (order.price, order.remaining, order.size, order.trigger_price)
        order.price, order.remaining, order.size, order.trigger_price = old
        if resting:
            self._reserve(order, order.remaining)
        if reason is not None:
            return reason
        if resting:
            self._lift(order)
        order.price, order.remaining, order.size, order.trigger_price = new
        order.updated_ns = self.log.now
        self._tell_amended(order, by_venue=False)
        if resting:
            order.status = OrderStatus.NEW
            self._place(order)
        elif order.status is OrderStatus.UNTRIGGERED and order.trigger_price != old[3]:
            order.market.triggers.forget()
            self._activate(order)
        return order

    def _lift(self, order: Order) -> None:
        """Takes a resting order out of the book to place it anew."""
        book = order.market.book.side(order.side)
        self._reserve(order, -order.remaining)
        book.remove(order)
        self._tell_level(order.market, book, order.price)

    # funding

    def set_funding_rate(self, ts_ns: int, market: str, rate: int) -> None:
        """The rate (fraction units per interval) charged from now on at each settlement. Only with the default, posted funding."""
        self.advance(ts_ns)
        if self.funding is not self._posted:
            raise ValueError("this exchange takes its funding rates from a source")
        self._posted.post(self.markets[market].symbol, rate)

    def funding_estimate(self, market: str) -> int:
        """What would be charged if the running interval ended now, capped."""
        state = self.markets[market]
        return self._capped(state, self.funding.estimate(market, self.log.now, state.spec.funding_interval_ns))

    def _capped(self, market: MarketState, rate: int) -> int:
        return clamp(rate, market.spec.funding_cap) if market.spec.funding_cap else rate

    def _schedule_funding(self, market: MarketState) -> None:
        interval = market.spec.funding_interval_ns
        offset = market.spec.funding_offset_ns
        due = ((self.log.now - offset) // interval + 1) * interval + offset
        market.next_funding_ns = due
        self._at(due, lambda: self._settle_funding(market, due))

    def _settle_funding(self, market: MarketState, due: int) -> None:
        if market.next_funding_ns != due or market.spec.status is MarketStatus.DELISTED:
            return
        interval = market.spec.funding_interval_ns
        rate = self._capped(market, self.funding.settle(market.symbol, due, interval))
        self._schedule_funding(market)
        ref = market.ref(market.spec.funding_price)
        log = self.log
        log.put(FundingSettled(log.seq(), log.now, market.symbol, rate, ref, interval, market.next_funding_ns))
        paid = 0
        for account_id, position in sorted(market.holders.items()):
            amount = self._funding_of(position, ref, rate)
            paid += amount
            self.ledger.pay_funding(position, amount)
            log.put(FundingPaid(log.seq(), log.now, account_id, market.symbol, position.size, rate, ref, amount, interval))
            self._exposed[account_id] = position.account
        if market.anonymous.size:
            self.ledger.pay_funding(market.anonymous, -paid)
        else:
            self.ledger.insure(-paid)  # what rounding left over, a few units at most

    def pay_missed_funding(self, ts_ns: int, account: int, market: str, *, settled_ns: int, rate: int, ref: int, interval_ns: int) -> None:
        """A settlement that nobody ran when it was due, booked now for the position of now; the record carries the time it was due."""
        self.advance(ts_ns)
        position = self.position(account, market)
        amount = self._funding_of(position, ref, self._capped(position.market, rate))
        self.ledger.pay_funding(position, amount)
        self.ledger.pay_funding(position.market.anonymous, -amount)
        self.log.put(FundingPaid(self.log.seq(), settled_ns, account, market, position.size, rate, ref, amount, interval_ns))
        self._exposed[account] = position.account
        self._settle()

    def _funding_of(self, position: Position, ref: int, rate: int) -> int:
        """Positive is received; a fraction of a unit is always rounded against the account."""
        spec = position.market.spec
        return -position.size * (spec.notional_unit if spec.inverse else ref * spec.ref_unit) * rate // UNIT

    def _schedule_sample(self, market: MarketState) -> None:
        step = self.funding.sample_interval_ns
        self._at((self.log.now // step + 1) * step, lambda: self._sample(market))

    def _sample(self, market: MarketState) -> None:
        if market.spec.status is MarketStatus.DELISTED:
            return
        self._schedule_sample(market)
        if market.index:
            bid, ask = self._impact(market, market.book.bids), self._impact(market, market.book.asks)
            over = max(0, bid - market.index) if bid else 0
            under = max(0, market.index - ask) if ask else 0
            self.funding.sample(market.symbol, (over - under) * UNIT // market.index)

    def _impact(self, market: MarketState, side: BookSide) -> int:
        """Average price (ref) to trade the market's impact notional; the last level reached when the book is thinner, 0 when empty."""
        wanted = market.spec.impact_notional
        if not wanted:
            return side.best() * REF
        value = steps = paid = 0
        for price, _, _ in side.best_first():
            size = side.total(price)
            missing = -(-(wanted - paid) // market.spec.notional(price, 1))
            size = min(size, missing)
            value, steps, paid = value + price * size, steps + size, paid + market.spec.notional(price, size)
            if paid >= wanted:
                break
        return value * REF // steps if steps else 0

    # questions

    def account(self, account: int) -> Account:
        return self.ledger.accounts[account]

    def position(self, account: int, market: str) -> Position:
        """Also when flat: it carries the account's leverage and margin mode."""
        return self.ledger.position(self.ledger.accounts[account], self.markets[market])

    def order(self, order_id: int) -> Order | None:
        """Live, or among the ended ones still kept."""
        return self._live.get(order_id) or self._closed.get(order_id)

    def order_by_client_id(self, account: int, client_id: str) -> Order | None:
        """The newest order that used the id."""
        order_id = self.ledger.accounts[account].client_ids.get(client_id)
        return None if order_id is None else self.order(order_id)

    def open_orders(self, account: int, market: str = "") -> list[Order]:
        """Resting, untriggered and waiting ones, oldest first."""
        return [o for o in self.ledger.accounts[account].orders.values() if market in ("", o.market.symbol)]

    def depth(self, market: str, side: Side, levels: int = 0) -> list[tuple[int, int, int]]:
        """(price, size, number of orders) best first; `levels` 0 for all."""
        return self.markets[market].book.side(side).depth(levels)

    def best(self, market: str) -> tuple[int, int]:
        """Best bid and ask in ticks, 0 where there is none."""
        book = self.markets[market].book
        return book.bids.best(), book.asks.best()

    def open_interest(self, market: str) -> int:
        """Steps, one side."""
        state = self.markets[market]
        longs = sum(p.size for p in state.holders.values() if p.size > 0)
        return longs + max(0, state.anonymous.size)

    def equity(self, account: int) -> int:
        return self.ledger.equity(self.ledger.accounts[account])

    def available(self, account: int) -> int:
        """Money for new orders or withdrawal."""
        return self.ledger.available(self.ledger.accounts[account])

    def initial_margin(self, account: int) -> int:
        return self.ledger.initial_margin(self.ledger.accounts[account])

    def maintenance_margin(self, account: int) -> int:
        """Cross and isolated together."""
        positions = self.ledger.accounts[account].positions.values()
        return sum(p.market.maintenance_margin(p.size) for p in positions if p.size)

    def liquidation_price(self, account: int, market: str) -> int | None:
        """Mark (ref units) at which this position would be liquidated if all other marks stood still; None without one above zero."""
        position = self.position(account, market)
        state, size = position.market, position.size
        if size == 0:
            return None
        fraction = state.spec.tier(state.notional(size)).maintenance
        if position.mode is MarginMode.ISOLATED:
            equity, others = position.margin + state.unrealised(position), 0
        else:
            equity, maintenance = self.ledger.cross_standing(position.account)
            others = maintenance - state.maintenance_margin(size)
        # equity + worth(p) - worth(mark) = others + maintenance(p), solved for p; an inverse position's maintenance does not move
        spec = state.spec
        if spec.inverse:
            fixed = (others + state.maintenance_margin(size) - equity + spec.worth(position.cost, state.mark)) * COIN * REF
            per_ref = position.cost * spec.notional_unit
        else:
            unit = spec.ref_unit
            fixed = (others - equity + size * state.mark * unit) * UNIT
            per_ref = unit * (size * UNIT - abs(size) * fraction)
        if per_ref == 0:
            return None
        price = fixed // per_ref
        return price if price > 0 else None

    def _check_margin(self, account: Account) -> None:
        self._liquidator.check(account)


def _split(levels: dict[int, int], reaches: Callable[[int], bool]) -> dict[int, int]:
    """Takes the levels that reach out of `levels`."""
    return {price: levels.pop(price) for price in list(levels) if reaches(price)}
