"""Orders from admission to their end: checks, matching, triggers, groups, reduce-only upkeep.

Work that one step causes in others (a shrunk position, a filled sibling, a released trigger, an account near liquidation) is queued and
done by `_settle` before the public call returns, always in the same order, so no caller ever sees a half-done state.
"""

from __future__ import annotations

from collections import deque
from itertools import count

from exchange_simulator.core.book import BookSide, Level
from exchange_simulator.core.events import (
    BookDelta,
    OrderAccepted,
    OrderAmended,
    OrderCancelled,
    OrderExpired,
    OrderOpened,
    OrderRejected,
    OrderTriggered,
    Trade,
)
from exchange_simulator.core.ledger import Ledger
from exchange_simulator.core.log import Log
from exchange_simulator.core.market import MarketState
from exchange_simulator.core.orders import Account, Group, Order, Position
from exchange_simulator.core.types import (
    REF,
    UNIT,
    CancelReason,
    ClientIds,
    GroupKind,
    Liquidity,
    MarketStatus,
    NewOrder,
    OrderStatus,
    OrderType,
    PostOnly,
    PriceSource,
    ReduceOnlyMode,
    RejectReason,
    Rules,
    SelfTrade,
    Side,
    TimeInForce,
    TradeKind,
)

# Reaching an enum member through its class costs 140 ns on CPython 3.11, a global 18: these stand on the path of every order.
_BUY = Side.BUY
_OPEN, _FILLED, _CANCELLED, _UNTRIGGERED, _EXPIRED = (
    OrderStatus.OPEN,
    OrderStatus.FILLED,
    OrderStatus.CANCELLED,
    OrderStatus.UNTRIGGERED,
    OrderStatus.EXPIRED,
)
_GTC, _FOK = TimeInForce.GTC, TimeInForce.FOK
_MARKET, _LIMIT = OrderType.MARKET, OrderType.LIMIT
_POST_ONLY_OFF, _POST_ONLY_REJECT = PostOnly.OFF, PostOnly.REJECT
_ALLOW = SelfTrade.ALLOW
_IGNORE = ReduceOnlyMode.IGNORE
_ACTIVE = MarketStatus.ACTIVE
_NORMAL, _ADL = TradeKind.NORMAL, TradeKind.ADL
_MAKER, _TAKER = Liquidity.MAKER, Liquidity.TAKER
_ANY_CLIENT_ID, _EVER_CLIENT_ID = ClientIds.ANY, ClientIds.EVER
_LAST = PriceSource.LAST


class Engine:
    def __init__(self, rules: Rules, *, publish_book: bool, closed_orders_kept: int) -> None:
        self.rules = rules
        self.log = Log()
        self.ledger = Ledger(self.log, default_initial=rules.default_initial)
        self.markets: dict[str, MarketState] = {}
        self._live: dict[int, Order] = {}
        self._closed: dict[int, Order] = {}
        self._closed_kept = closed_orders_kept
        self._publish_book = publish_book
        self._order_id = count(1).__next__
        self._trade_id = count(1).__next__
        self._group_id = count(1).__next__
        self._stale_timers = 0
        # work for _settle; dicts because they keep order and forget duplicates
        self._shrunk: dict[int, Position] = {}
        self._grouped: deque[Order] = deque()
        self._released: deque[tuple[Order, int]] = deque()
        self._moved: dict[str, MarketState] = {}
        self._exposed: dict[int, Account] = {}

    # admission

    def _admit(self, new: NewOrder, *, group: Group | None = None, child: bool = False, replaces: Order | None = None) -> Order:
        account, market = self.ledger.accounts[new.account], self.markets[new.market]
        position = self.ledger.position(account, market)
        now = self.log.now
        order = Order(self._order_id(), new, account, market, position, new.side, new.price, new.size, new.size, now, now)
        order.reduce_only = new.close_position or (new.reduce_only and self.rules.reduce_only is not _IGNORE)
        order.self_trade = new.self_trade or self.rules.self_trade
        order.trigger_price = new.trigger.price if new.trigger is not None else 0
        reason = self._refusal(order, child=child, replaces=replaces)
        if reason is not None:
            order.status, order.reject_reason = OrderStatus.REJECTED, reason
            self._keep(order)
            self.log.put(OrderRejected(self.log.seq(), now, order.id, new, reason))
            return order
        order.group = group
        self._live[order.id] = account.orders[order.id] = order
        if new.client_id:
            account.client_ids[new.client_id] = order.id
        if order.reduce_only:
            position.reducing[order.id] = order
        self.log.put(
            OrderAccepted(
                self.log.seq(),
                now,
                order.id,
                new,
                group.id if group is not None else 0,
                group.kind if group is not None else None,
                replaces.id if replaces is not None else 0,
            )
        )
        return order

    def _refusal(self, order: Order, *, child: bool, replaces: Order | None) -> RejectReason | None:
        new, spec = order.request, order.market.spec
        status = spec.status
        if status is not _ACTIVE:
            allowed = (status is MarketStatus.POST_ONLY and new.post_only is not _POST_ONLY_OFF) or (
                status is MarketStatus.REDUCE_ONLY and new.reduce_only
            )
            if not allowed:
                return RejectReason.MARKET_STATUS
        if order.market.mark == 0:
            return RejectReason.NO_MARK_PRICE
        return (
            self._malformed(order)
            or self._id_or_limit(order, replaces)
            or (None if child else self._trigger_refusal(order))
            or self._limits(order)
            or (None if child or (new.trigger is not None and not self.rules.untriggered_need_position) else self._clamp_reduce_only(order))
            or (None if child or new.trigger is not None else self._entry_refusal(order, late=self.rules.post_only_late))
        )

    def _malformed(self, order: Order) -> RejectReason | None:
        new, now = order.request, self.log.now
        if new.close_position:
            if new.trigger is None or new.size != 0:
                return RejectReason.BAD_SIZE
        elif new.size <= 0:
            return RejectReason.BAD_SIZE
        if new.price < 0 or (new.price == 0 and new.type is _LIMIT):
            return RejectReason.BAD_PRICE
        if new.post_only is not _POST_ONLY_OFF and (new.type is _MARKET or new.time_in_force is not _GTC):
            return RejectReason.POST_ONLY_WOULD_CROSS
        if new.expires_ns and new.expires_ns <= now:
            return RejectReason.BAD_EXPIRY
        return None

    def _id_or_limit(self, order: Order, replaces: Order | None) -> RejectReason | None:
        rules, account, client_id = self.rules, order.account, order.request.client_id
        if client_id and rules.client_ids is not _ANY_CLIENT_ID:
            used = account.client_ids.get(client_id)
            taken = used is not None and (rules.client_ids is _EVER_CLIENT_ID or used in self._live)
            if taken and (replaces is None or used != replaces.id):
                return RejectReason.DUPLICATE_CLIENT_ID
        if replaces is None:
            if rules.max_open_orders and len(account.orders) >= rules.max_open_orders:
                return RejectReason.TOO_MANY_ORDERS
            if rules.max_open_orders_per_market:
                here = sum(1 for o in account.orders.values() if o.market is order.market)
                if here >= rules.max_open_orders_per_market:
                    return RejectReason.TOO_MANY_ORDERS
        return None

    def _trigger_refusal(self, order: Order) -> RejectReason | None:
        trigger = order.request.trigger
        if trigger is None:
            return None
        if order.trigger_price <= 0 or (self.rules.refuse_met_trigger and self._trigger_met(order)):
            return RejectReason.BAD_TRIGGER
        return None

    def _trigger_met(self, order: Order) -> bool:
        trigger = order.request.trigger
        assert trigger is not None
        ref = order.market.ref(trigger.source)
        if ref == 0:
            return False
        return ref >= order.trigger_price * REF if trigger.above else ref <= order.trigger_price * REF

    def _limits(self, order: Order) -> RejectReason | None:
        """Size, notional and price against the market's bounds."""
        spec, mark = order.market.spec, order.market.mark
        if order.request.close_position:
            return None
        if not (order.reduce_only and self.rules.reduce_only_ignores_minimum):
            if order.remaining < spec.min_size:
                return RejectReason.MIN_SIZE
            if spec.min_notional:
                value = order.price * REF if order.price and order.request.type is _LIMIT else mark
                if order.remaining * (spec.notional_unit if spec.inverse else value * spec.ref_unit) < spec.min_notional:
                    return RejectReason.MIN_NOTIONAL
        if spec.max_size and order.remaining > spec.max_size:
            return RejectReason.MAX_SIZE
        banded = spec.price_band and order.price and order.request.trigger is None
        if banded and abs(order.price * REF - mark) * UNIT > mark * spec.price_band:
            return RejectReason.PRICE_BAND
        return None

    def _clamp_reduce_only(self, order: Order) -> RejectReason | None:
        if not order.reduce_only:
            return None
        closable = order.position.closable(order.side)
        if closable == 0:
            return RejectReason.REDUCE_ONLY
        if order.remaining > closable:
            mode = self.rules.reduce_only
            if mode is ReduceOnlyMode.REJECT:
                return RejectReason.REDUCE_ONLY
            if mode is not ReduceOnlyMode.AT_MATCH:
                order.size -= order.remaining - closable
                order.remaining = closable
        return None

    def _entry_refusal(self, order: Order, *, late: bool) -> RejectReason | None:
        """What can only be judged against the book and the account as they are when the order becomes active."""
        opposite = order.market.book.side(order.side.opposite)
        if order.request.post_only is _POST_ONLY_REJECT and not late and opposite.reached_by(order.price):
            return RejectReason.POST_ONLY_WOULD_CROSS
        if not order.reduce_only:
            price = order.price or opposite.best() or order.market.mark // REF
            if not self.ledger.affords(order.position, order.side, order.remaining, price):
                return RejectReason.INSUFFICIENT_MARGIN
        return None

    # life

    def _activate(self, order: Order) -> None:
        """Parks a conditional order, places any other."""
        if order.request.trigger is None:
            self._place(order)
            return
        order.status = _UNTRIGGERED
        order.market.triggers.add(order)
        if self._trigger_met(order):
            self._released.append((order, order.market.ref(order.request.trigger.source)))

    def _release(self, order: Order, ref: int) -> None:
        """A trigger, or (`ref` 0) a parent, lets the order go."""
        if ref == 0:
            if order.status is OrderStatus.WAITING:
                self._start_child(order)
            return
        if order.status is not OrderStatus.UNTRIGGERED:
            return
        market, position = order.market, order.position
        if market.spec.status in (MarketStatus.HALTED, MarketStatus.DELISTED):
            self.close_order(order, OrderStatus.CANCELLED, CancelReason.REJECTED_ON_TRIGGER, RejectReason.MARKET_STATUS)
            return
        market.triggers.forget()
        order.status = OrderStatus.NEW
        order.updated_ns = self.log.now
        self.log.put(OrderTriggered(self.log.seq(), self.log.now, order.id, order.account.id, market.symbol, order.client_id, ref))
        if order.request.close_position:
            order.size = order.remaining = position.closable(order.side)
        if order.reduce_only and position.closable(order.side) == 0:
            self.close_order(order, OrderStatus.CANCELLED, CancelReason.REDUCE_ONLY)
            return
        reason = self._clamp_reduce_only(order) or self._entry_refusal(order, late=True)
        if reason is not None:
            self.close_order(order, OrderStatus.CANCELLED, CancelReason.REJECTED_ON_TRIGGER, reason)
            return
        self._place(order)

    def _start_child(self, order: Order) -> None:
        reason = self._trigger_refusal(order)
        if reason is None and order.request.trigger is None:
            reason = self._clamp_reduce_only(order) or self._entry_refusal(order, late=True)
        order.status = OrderStatus.NEW
        if reason is not None:
            self.close_order(order, OrderStatus.CANCELLED, CancelReason.REJECTED_ON_TRIGGER, reason)
            return
        self._activate(order)

    def _place(self, order: Order) -> None:
        """Takes what it may, rests what it should."""
        request, position = order.request, order.position
        opposite = order.market.book.side(order.side.opposite)
        reachable = opposite.reached_by(order.price)
        if reachable and request.post_only is not _POST_ONLY_OFF:
            if request.post_only is PostOnly.SLIDE:
                order.price = opposite.best() + opposite.sign
            if request.post_only is _POST_ONLY_REJECT or order.price <= 0:
                self.close_order(order, _CANCELLED, CancelReason.POST_ONLY)
                return
            reachable = False
        want = order.remaining
        if order.reduce_only:
            want = min(want, position.closable(order.side))
        if request.time_in_force is _FOK and min(want, self._fillable(order, opposite)) < order.remaining:
            self.close_order(order, _CANCELLED, CancelReason.FOK)
            return
        stopped = False
        while reachable and want and not stopped:
            left, stopped = self.match(position, order.side, want, order.price, order=order, kind=_NORMAL)
            if left:
                break
            # trading with itself, where that is allowed, a reduce-only order may have room again
            want = min(order.remaining, position.closable(order.side)) if order.reduce_only else 0
        if order.remaining == 0:
            self.close_order(order, _FILLED)
        elif stopped:
            self.close_order(order, _CANCELLED, CancelReason.SELF_TRADE)
        elif order.reduce_only and position.closable(order.side) == 0:
            self.close_order(order, _CANCELLED, CancelReason.REDUCE_ONLY)
        elif request.type is _MARKET or request.time_in_force is not _GTC:
            self.close_order(order, _CANCELLED, self._unfilled(order, opposite, reachable))
        else:
            self._rest(order)

    def _unfilled(self, order: Order, opposite: BookSide, reachable: bool) -> CancelReason:
        if order.request.type is _MARKET:
            return CancelReason.SLIPPAGE if opposite.best() else CancelReason.NO_LIQUIDITY
        return CancelReason.IOC if reachable else CancelReason.NO_LIQUIDITY

    def _rest(self, order: Order) -> None:
        order.status = _OPEN
        book = order.market.book.side(order.side)
        book.add(order)
        self._reserve(order, order.remaining)
        log, symbol = self.log, order.market.symbol
        log.put(
            OrderOpened(
                log.seq(), log.now, order.id, order.account.id, symbol, order.request.client_id, order.side, order.price, order.remaining
            )
        )
        self._tell_level(order.market, book, order.price)

    def _reserve(self, order: Order, size: int) -> None:
        if not order.reduce_only:
            if order.side is _BUY:
                order.position.buying += size
            else:
                order.position.selling += size

    def _tell_level(self, market: MarketState, book: BookSide, price: int) -> None:
        if self._publish_book:
            log = self.log
            log.put(BookDelta(log.seq(), log.now, market.symbol, book.side, price, book.total(price)))

    def close_order(
        self, order: Order, status: OrderStatus, reason: CancelReason | None = None, detail: RejectReason | None = None
    ) -> None:
        """The order ends. Filled makers were taken out of their level by `match`."""
        was, order.status = order.status, status
        order.cancel_reason, order.updated_ns = reason, self.log.now
        account = order.account
        del self._live[order.id], account.orders[order.id]
        if order.reduce_only:
            order.position.reducing.pop(order.id, None)
        if was is _UNTRIGGERED:
            order.market.triggers.forget()
        if order.request.expires_ns:
            self._stale_timers += 1
        self._keep(order)
        if order.group is not None:
            self._grouped.append(order)
        log, symbol, client_id = self.log, order.market.symbol, order.request.client_id
        if status is _CANCELLED:
            assert reason is not None
            log.put(
                OrderCancelled(log.seq(), log.now, order.id, account.id, symbol, client_id, reason, order.filled, order.remaining, detail)
            )
        elif status is _EXPIRED:
            log.put(OrderExpired(log.seq(), log.now, order.id, account.id, symbol, client_id, order.filled, order.remaining))
        if was is _OPEN and status is not _FILLED:
            book = order.market.book.side(order.side)
            self._reserve(order, -order.remaining)
            book.remove(order)
            self._tell_level(order.market, book, order.price)

    def _keep(self, order: Order) -> None:
        if self._closed_kept:
            self._closed[order.id] = order
            if len(self._closed) <= self._closed_kept:
                return
            order = self._closed.pop(next(iter(self._closed)))
        ids = order.account.client_ids
        if self.rules.client_ids is not _EVER_CLIENT_ID and ids.get(order.request.client_id) == order.id:
            del ids[order.request.client_id]

    def _shrink(self, order: Order, remaining: int) -> None:
        """The venue cuts a live order; its place in the queue stays."""
        cut = order.remaining - remaining
        order.size -= cut
        order.remaining = remaining
        order.updated_ns = self.log.now
        resting = order.status is _OPEN
        if resting:
            self._reserve(order, -cut)
            book = order.market.book.side(order.side)
            book.levels[order.price].resting -= cut
            self._tell_level(order.market, book, order.price)
        self._tell_amended(order, by_venue=True)

    def _tell_amended(self, order: Order, *, by_venue: bool) -> None:
        log, symbol, client_id = self.log, order.market.symbol, order.request.client_id
        size, remaining = order.filled + order.remaining, order.remaining
        account = order.account.id
        log.put(
            OrderAmended(
                log.seq(), log.now, order.id, account, symbol, client_id, order.price, size, remaining, order.trigger_price, by_venue
            )
        )

    # matching

    def match(self, position: Position, side: Side, want: int, limit: int, *, order: Order | None, kind: TradeKind) -> tuple[int, bool]:
        """Takes up to `want` at `limit` (0: any) or better. Returns what is left, and whether self-trade prevention stopped it."""
        market = position.market
        book = market.book.asks if side is _BUY else market.book.bids
        sign = book.sign
        stopped = False
        while want and not stopped:
            key = book.best_key()
            if key is None or (limit and limit * sign > key):
                break
            want, stopped = self._match_level(position, side, want, key * sign, book, order, kind)
            self._tell_level(market, book, key * sign)
        return want, stopped

    def _match_level(
        self, position: Position, side: Side, want: int, price: int, book: BookSide, order: Order | None, kind: TradeKind
    ) -> tuple[int, bool]:
        market, level = position.market, book.levels.get(price)
        orders = level.orders if level is not None else []
        stopped = False
        while want and not stopped:
            maker = orders[0] if orders else None
            free = book.anonymous.get(price, 0) if maker is None else maker.ahead
            if free:
                size = min(free, want)
                book.take_anonymous(price, size)
                want -= size
                self.trade(market.anonymous, None, position, order, side, price, size, kind)
                continue
            if maker is None:
                break
            assert level is not None
            if order is not None and maker.account.self_trade_group == position.account.self_trade_group:
                policy = order.self_trade
                if policy is not _ALLOW:
                    left = self._prevent_self_trade(maker, order, level, want, policy)
                    stopped = left is None
                    want = want if left is None else left
                    continue
            size = min(maker.remaining, want)
            if maker.reduce_only:
                size = min(size, maker.position.closable(maker.side))
                if size == 0:
                    self._take_out(maker, level, CancelReason.REDUCE_ONLY)
                    continue
            want -= size
            level.resting -= size
            self._reserve(maker, -size)
            self.trade(maker.position, maker, position, order, side, price, size, kind)
            if maker.remaining == 0:
                del orders[0]
                self.close_order(maker, _FILLED)
        if level is not None and not orders:
            book.drop(price)
        return want, stopped

    def _take_out(self, maker: Order, level: Level, reason: CancelReason) -> None:
        """Cancels the first order of the level that is being matched, which `_match_level` drops when it is empty."""
        del level.orders[0]
        level.resting -= maker.remaining
        self._reserve(maker, -maker.remaining)
        maker.status = OrderStatus.NEW
        self.close_order(maker, OrderStatus.CANCELLED, reason)

    def _prevent_self_trade(self, maker: Order, taker: Order, level: Level, want: int, policy: SelfTrade) -> int | None:
        """Returns what the taker still wants, None when it must stop."""
        if policy is SelfTrade.REDUCE:
            cut = min(maker.remaining, want)
            if cut == maker.remaining:
                self._take_out(maker, level, CancelReason.SELF_TRADE)
            else:
                self._shrink(maker, maker.remaining - cut)
            if cut == want:
                return None
            taker.size -= cut
            taker.remaining -= cut
            self._tell_amended(taker, by_venue=True)
            return want - cut
        if policy is not SelfTrade.CANCEL_TAKER:
            self._take_out(maker, level, CancelReason.SELF_TRADE)
        return want if policy is SelfTrade.CANCEL_MAKER else None

    def trade(
        self,
        maker_position: Position,
        maker: Order | None,
        taker_position: Position,
        taker: Order | None,
        side: Side,
        price: int,
        size: int,
        kind: TradeKind,
    ) -> None:
        """One trade; `side` is the taker's. Anonymous with anonymous is a print and nothing else."""
        market, log = maker_position.market, self.log
        trade_id = self._trade_id()
        maker_account, taker_account = maker_position.account, taker_position.account
        log.put(
            Trade(
                log.seq(),
                log.now,
                trade_id,
                market.symbol,
                side,
                price,
                size,
                kind,
                maker_account.id,
                taker_account.id,
                maker.id if maker is not None else 0,
                taker.id if taker is not None else 0,
            )
        )
        if kind is not _ADL:
            market.last = price
            if market.triggers.watches(_LAST):
                self._moved[market.symbol] = market
        if maker_account is taker_account is self.ledger.anonymous:
            return
        fill = self.ledger.fill
        opposite = side.opposite
        fill(maker_position, opposite, price, size, trade_id=trade_id, order=maker, liquidity=_MAKER, kind=kind)
        fill(taker_position, side, price, size, trade_id=trade_id, order=taker, liquidity=_TAKER, kind=kind)
        for position, order in ((maker_position, maker), (taker_position, taker)):
            account = position.account
            if account is not self.ledger.anonymous:
                if position.reducing:
                    self._shrunk[id(position)] = position
                self._exposed[account.id] = account
                if order is not None and order.group is not None:
                    self._grouped.append(order)

    def settle_position(self, position: Position, price: int) -> None:
        """Closes the whole position at that price, without another side."""
        side = Side.SELL if position.size > 0 else Side.BUY
        size, trade_id = abs(position.size), self._trade_id()
        self.ledger.fill(position, side, price, size, trade_id=trade_id, order=None, liquidity=_TAKER, kind=TradeKind.SETTLEMENT)
        if position.account is not self.ledger.anonymous:
            self._exposed[position.account.id] = position.account

    def _fillable(self, order: Order, opposite: BookSide) -> int:
        """Steps a fill-or-kill would get, without its own resting orders."""
        found = 0
        for price, anonymous, makers in opposite.best_first():
            if found >= order.remaining or (order.price and order.price * opposite.sign > price * opposite.sign):
                break
            found += anonymous
            for maker in makers:
                own = maker.account.self_trade_group == order.account.self_trade_group and order.self_trade is not SelfTrade.ALLOW
                if own and order.self_trade is not SelfTrade.CANCEL_MAKER:
                    return found if found < order.remaining else order.remaining
                if not own:
                    closable = maker.position.closable(maker.side) if maker.reduce_only else maker.remaining
                    found += min(maker.remaining, closable)
        return found

    # consequences

    def _settle(self) -> None:
        """Works off what the last step caused in others, then delivers the events."""
        while True:
            if self._shrunk:
                self._keep_reducing(self._shrunk.pop(next(iter(self._shrunk))))
            elif self._grouped:
                self._follow_group(self._grouped.popleft())
            elif self._released:
                self._release(*self._released.popleft())
            elif self._moved:
                market = self._moved.pop(next(iter(self._moved)))
                self._fire(market, PriceSource.LAST)
            elif self._exposed:
                self._check_margin(self._exposed.pop(next(iter(self._exposed))))
            else:
                break
        self.log.deliver()

    def _check_margin(self, account: Account) -> None:
        raise NotImplementedError

    def _fire(self, market: MarketState, source: PriceSource) -> None:
        ref = market.ref(source)
        self._released.extend((order, ref) for order in market.triggers.due(source, ref))

    def _keep_reducing(self, position: Position) -> None:
        """Reduce-only orders never outlive or outgrow the position they reduce."""
        for order in tuple(position.reducing.values()):
            closable = position.closable(order.side)
            if order.status is OrderStatus.OPEN:
                if closable == 0:
                    self.close_order(order, OrderStatus.CANCELLED, CancelReason.REDUCE_ONLY)
                elif order.remaining > closable and self.rules.reduce_only is not ReduceOnlyMode.AT_MATCH:
                    self._shrink(order, closable)
            elif order.status is OrderStatus.UNTRIGGERED and closable == 0 and self._needs_position(order):
                self.close_order(order, OrderStatus.CANCELLED, CancelReason.REDUCE_ONLY)

    def _needs_position(self, order: Order) -> bool:
        return self.rules.untriggered_need_position or order.request.close_position

    def _follow_group(self, order: Order) -> None:
        """A grouped order filled a bit or ended: its siblings shrink, its children start or go."""
        group = order.group
        assert group is not None
        if order is group.parent:
            self._follow_parent(order, group)
            return
        if order.filled == 0:
            return
        for sibling in group.siblings(order):
            if sibling.status.terminal:
                continue
            if order.status is OrderStatus.FILLED:
                self.close_order(sibling, OrderStatus.CANCELLED, CancelReason.SIBLING_FILLED)
            elif not order.status.terminal and not sibling.request.close_position and sibling.remaining > order.remaining:
                self._shrink(sibling, order.remaining)

    def _follow_parent(self, parent: Order, group: Group) -> None:
        if not parent.status.terminal:
            return
        start = parent.status is OrderStatus.FILLED or (parent.filled > 0 and self.rules.children_of_partial_parent)
        for child in group.orders[1:]:
            if child.status is not OrderStatus.WAITING:
                continue
            if not start:
                self.close_order(child, OrderStatus.CANCELLED, CancelReason.PARENT_CANCELLED)
                continue
            if child.remaining > parent.filled and not child.request.close_position:
                self._shrink(child, parent.filled)
            self._released.append((child, 0))

    def _group(self, kind: GroupKind) -> Group:
        return Group(self._group_id(), kind)
