"""Every kind of order, flag and refusal, one small scene each."""

from __future__ import annotations

from dataclasses import replace

import pytest

from exchange_simulator.core.events import (
    AnyEvent,
    OrderAccepted,
    OrderAmended,
    OrderCancelled,
    OrderFilled,
    OrderOpened,
    OrderRejected,
    OrderTriggered,
    Trade,
)
from exchange_simulator.core.exchange import Exchange
from exchange_simulator.core.orders import Order
from exchange_simulator.core.types import (
    REF,
    AmendMode,
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
    QueueModel,
    ReduceOnlyMode,
    RejectReason,
    Rules,
    SelfTrade,
    Side,
    TimeInForce,
    Trigger,
    TriggerKind,
    to_fraction,
    to_money,
)
from tests.simulator.core.world import BTC, MARK, Witness, buy, exchange, sell

S = 10**9


def names(events: list[AnyEvent]) -> list[str]:
    return [type(e).__name__ for e in events]


def state(order: Order) -> tuple[str, int, int]:
    return order.status.value, order.filled, order.remaining


def cancelled(order: Order) -> CancelReason | None:
    assert order.status is OrderStatus.CANCELLED
    return order.cancel_reason


def refused(order: Order) -> RejectReason | None:
    assert order.status is OrderStatus.REJECTED
    return order.reject_reason


def long(made: Exchange, account: int, size: int) -> None:
    """Gives the account a long position at mark against anonymous liquidity, and leaves an empty book."""
    made.set_levels(made.now_ns, "BTC", [], [(MARK, size)])
    assert made.submit(made.now_ns, buy(account, size, MARK)).filled == size


# matching and time in force


def test_price_then_time() -> None:
    made = exchange(accounts=4)
    first, better, second = (made.submit(0, sell(a, 10, p)) for a, p in ((1, 1_002), (2, 1_001), (3, 1_002)))
    made.drain()
    taker = made.submit(0, buy(4, 25, 1_005))
    trades = [e for e in made.drain() if isinstance(e, Trade)]
    assert [(t.maker_order_id, t.price, t.size) for t in trades] == [(better.id, 1_001, 10), (first.id, 1_002, 10), (second.id, 1_002, 5)]
    assert state(taker) == ("filled", 25, 0)
    assert taker.value == 1_001 * 10 + 1_002 * 15
    assert state(second) == ("open", 5, 5)


def test_events_of_a_fill_in_order() -> None:
    made = exchange()
    maker = made.submit(0, sell(1, 10, 1_000))
    made.drain()
    made.submit(0, buy(2, 4, 1_000, client_id="x"))
    events = made.drain()
    who = ["OrderFilled", "PositionChanged", "BalanceChanged"]
    assert names(events) == ["OrderAccepted", "Trade", *who, *who, "BookDelta"]
    trade, fill, other = events[1], events[2], events[5]
    assert isinstance(trade, Trade)
    assert isinstance(fill, OrderFilled)
    assert isinstance(other, OrderFilled)
    assert (trade.taker_side, trade.maker_account, trade.taker_account) == (Side.BUY, 1, 2)
    assert (fill.order_id, fill.liquidity, fill.side, fill.remaining) == (maker.id, Liquidity.MAKER, Side.SELL, 6)
    assert (other.client_id, other.liquidity, other.side, other.filled) == ("x", Liquidity.TAKER, Side.BUY, 4)
    assert fill.fee == to_money("0.0002")  # 4 steps x 1000 ticks = 2 USD at 1 bp
    assert other.fee == to_money("0.001")


def test_limit_rests_what_it_does_not_take() -> None:
    made = exchange()
    made.set_level(0, "BTC", Side.SELL, 1_001, 4)
    made.drain()
    order = made.submit(0, buy(1, 10, 1_001))
    assert state(order) == ("open", 4, 6)
    opened = [e for e in made.drain() if isinstance(e, OrderOpened)]
    assert [(e.price, e.remaining) for e in opened] == [(1_001, 6)]
    assert made.best("BTC") == (1_001, 0)


@pytest.mark.parametrize(
    ("asks", "tif", "expected", "reason"),
    [
        ([(1_001, 4)], TimeInForce.IOC, ("cancelled", 4, 6), CancelReason.IOC),
        ([(1_003, 4)], TimeInForce.IOC, ("cancelled", 0, 10), CancelReason.NO_LIQUIDITY),
        ([(1_001, 4), (1_002, 6)], TimeInForce.IOC, ("filled", 10, 0), None),
        ([(1_001, 4), (1_002, 5)], TimeInForce.FOK, ("cancelled", 0, 10), CancelReason.FOK),
        ([(1_001, 4), (1_003, 6)], TimeInForce.FOK, ("cancelled", 0, 10), CancelReason.FOK),
        ([(1_001, 4), (1_002, 6)], TimeInForce.FOK, ("filled", 10, 0), None),
    ],
)
def test_immediate_orders(
    asks: list[tuple[int, int]], tif: TimeInForce, expected: tuple[str, int, int], reason: CancelReason | None
) -> None:
    made = exchange()
    made.set_levels(0, "BTC", [], asks)
    order = made.submit(0, buy(1, 10, 1_002, time_in_force=tif))
    assert state(order) == expected
    assert order.cancel_reason is reason


def test_market_order_stops_at_its_worst_price() -> None:
    made = exchange()
    made.set_levels(0, "BTC", [], [(1_001, 4), (1_010, 50)])
    bounded = made.submit(0, buy(1, 10, 1_005, type=OrderType.MARKET))
    assert state(bounded) == ("cancelled", 4, 6)
    assert cancelled(bounded) is CancelReason.SLIPPAGE
    free = made.submit(0, buy(1, 10, 0, type=OrderType.MARKET))
    assert state(free) == ("filled", 10, 0)
    made.set_levels(0, "BTC", [], [])
    assert cancelled(made.submit(0, buy(1, 1, 0, type=OrderType.MARKET))) is CancelReason.NO_LIQUIDITY


def test_expires_at_its_time_and_not_before() -> None:
    made = exchange()
    order = made.submit(0, buy(1, 10, 900, expires_ns=5 * S))
    made.advance(5 * S - 1)
    assert order.status is OrderStatus.OPEN
    assert made.next_due_ns == 5 * S
    made.drain()
    made.advance(9 * S)
    assert state(order)[0] == OrderStatus.EXPIRED
    assert [(type(e).__name__, e.ts_ns) for e in made.drain()] == [("OrderExpired", 5 * S), ("BookDelta", 5 * S)]
    assert refused(made.submit(9 * S, buy(1, 10, 900, expires_ns=9 * S))) is RejectReason.BAD_EXPIRY


def test_timers_of_ended_orders_do_not_pile_up() -> None:
    made = exchange()
    for n in range(3_000):
        order = made.submit(n, buy(1, 1, 900, expires_ns=10**18))
        made.cancel(n, 1, order.id)
    assert len(made._timers) < 700


def test_triggers_of_ended_orders_do_not_pile_up() -> None:
    made = exchange()
    for n in range(1_000):
        order = made.submit(n, sell(1, 1, 900, trigger=Trigger(800, above=False)))
        made.cancel(n, 1, order.id)
    heaps = made.markets["BTC"].triggers._heaps
    assert sum(map(len, heaps.values())) < 200


# post-only


def test_post_only_that_would_take_is_refused_or_cancelled_late() -> None:
    made = exchange()
    made.set_level(0, "BTC", Side.SELL, 1_001, 5)
    assert refused(made.submit(0, buy(1, 1, 1_001, post_only=PostOnly.REJECT))) is RejectReason.POST_ONLY_WOULD_CROSS
    assert made.submit(0, buy(1, 1, 1_000, post_only=PostOnly.REJECT)).status is OrderStatus.OPEN
    late = exchange(Rules(post_only_late=True))
    late.set_level(0, "BTC", Side.SELL, 1_001, 5)
    late.drain()
    order = late.submit(0, buy(1, 1, 1_001, post_only=PostOnly.REJECT))
    assert cancelled(order) is CancelReason.POST_ONLY
    assert names(late.drain()) == ["OrderAccepted", "OrderCancelled"]


def test_post_only_slides_to_the_tick_before_the_other_side() -> None:
    made = exchange()
    made.set_levels(0, "BTC", [(990, 5)], [(1_001, 5)])
    assert made.submit(0, buy(1, 1, 1_005, post_only=PostOnly.SLIDE)).price == 1_000
    assert made.submit(0, sell(2, 1, 980, post_only=PostOnly.SLIDE)).price == 1_001
    made.cancel_all(0, 1)
    assert made.submit(0, sell(2, 1, 980, post_only=PostOnly.SLIDE)).price == 991
    assert made.best("BTC") == (990, 991)


# anonymous liquidity and the queue


def test_user_waits_behind_what_was_there_and_before_what_comes() -> None:
    made = exchange()
    made.set_level(0, "BTC", Side.BUY, 1_000, 7)
    order = made.submit(0, buy(1, 10, 1_000))
    made.set_level(0, "BTC", Side.BUY, 1_000, 20)  # 13 more, behind the user
    assert made.external_trade(0, "BTC", Side.SELL, 7) == 7
    assert order.filled == 0
    assert made.external_trade(0, "BTC", Side.SELL, 4) == 4
    assert order.filled == 4
    assert made.depth("BTC", Side.BUY) == [(1_000, 19, 2)]


@pytest.mark.parametrize(("model", "ahead"), [(QueueModel.BEHIND, 6), (QueueModel.PROPORTIONAL, 4)])
def test_queue_position_when_anonymous_size_is_cancelled(model: QueueModel, ahead: int) -> None:
    made = exchange(Rules(queue=model))
    made.set_level(0, "BTC", Side.BUY, 1_000, 8)
    order = made.submit(0, buy(1, 10, 1_000))
    made.set_level(0, "BTC", Side.BUY, 1_000, 12)
    made.set_level(0, "BTC", Side.BUY, 1_000, 6)
    assert order.ahead == ahead
    made.external_trade(0, "BTC", Side.SELL, 6)
    assert order.filled == 6 - ahead


def test_levels_that_reach_users_trade_with_them_first() -> None:
    made = exchange()
    order = made.submit(0, sell(1, 10, 1_001))
    made.set_levels(1, "BTC", [(1_003, 4), (1_002, 3), (999, 1)], [(1_004, 5)])
    assert (order.filled, order.value) == (7, 7 * 1_001)  # at the user's price
    assert made.depth("BTC", Side.BUY) == [(999, 1, 1)]
    made.set_quote(2, "BTC", 1_001, 8, 1_002, 5)
    assert state(order) == ("filled", 10, 0)
    assert made.depth("BTC", Side.BUY) == [(1_001, 5, 1)]


@pytest.mark.parametrize(
    ("bids", "asks"), [([(1_001, 1)], [(1_001, 1)]), ([(999, 0)], []), ([], [(1_001, -1)]), ([(0, 1)], []), ([], [(-3, 1)])]
)
def test_impossible_levels_are_refused(bids: list[tuple[int, int]], asks: list[tuple[int, int]]) -> None:
    made = exchange()
    with pytest.raises(ValueError, match=r"cross|positive"):
        made.set_levels(0, "BTC", bids, asks)


def test_quote_is_the_same_as_one_level_each() -> None:
    quoted, levelled = Exchange(publish_book=False), Exchange(publish_book=False)
    for made in (quoted, levelled):
        made.add_market(0, BTC, mark=MARK * REF)
        made.open_account(0, 1, deposit=to_money(1_000))
        made.submit(0, buy(1, 5, 995))
    for n, (bid, ask) in enumerate([(999, 1_001), (995, 997), (996, 1_000), (990, 995), (999, 1_001)]):
        quoted.set_quote(n, "BTC", bid, 3 + n, ask, 4 + n)
        levelled.set_levels(n, "BTC", [(bid, 3 + n)], [(ask, 4 + n)])
        for side in Side:
            assert quoted.depth("BTC", side) == levelled.depth("BTC", side)
    assert quoted.order(1) is not None
    assert quoted.drain() == levelled.drain()


# self-trade prevention


@pytest.mark.parametrize(
    ("policy", "maker", "taker"),
    [
        (SelfTrade.CANCEL_MAKER, ("cancelled", 0, 6), ("open", 4, 6)),
        (SelfTrade.CANCEL_TAKER, ("open", 0, 6), ("cancelled", 0, 10)),
        (SelfTrade.CANCEL_BOTH, ("cancelled", 0, 6), ("cancelled", 0, 10)),
        (SelfTrade.REDUCE, ("cancelled", 0, 6), ("filled", 4, 0)),
        (SelfTrade.ALLOW, ("filled", 6, 0), ("filled", 10, 0)),
    ],
)
def test_self_trade_policies(policy: SelfTrade, maker: tuple[str, int, int], taker: tuple[str, int, int]) -> None:
    made = exchange(Rules(self_trade=policy))
    mine = made.submit(0, sell(1, 6, 1_000))
    other = made.submit(0, sell(2, 4, 1_001))
    order = made.submit(0, buy(1, 10, 1_001))
    assert state(mine) == maker
    assert state(order) == taker
    assert other.filled == order.filled - (6 if policy is SelfTrade.ALLOW else 0)


def test_self_trade_reduce_cancels_the_smaller_taker() -> None:
    made = exchange(Rules(self_trade=SelfTrade.REDUCE))
    mine = made.submit(0, sell(1, 6, 1_000))
    order = made.submit(0, buy(1, 4, 1_000))
    assert cancelled(order) is CancelReason.SELF_TRADE
    assert state(mine) == ("open", 0, 2)


def test_accounts_of_one_group_do_not_trade_with_each_other() -> None:
    made = exchange()
    made.open_account(0, 11, deposit=to_money(100), self_trade_group=1)
    mine = made.submit(0, sell(1, 6, 1_000))
    made.submit(0, buy(11, 6, 1_000, self_trade=SelfTrade.CANCEL_TAKER))
    assert state(mine) == ("open", 0, 6)


# reduce-only


@pytest.mark.parametrize(
    ("mode", "size", "status"),
    [
        (ReduceOnlyMode.REJECT, 0, OrderStatus.REJECTED),
        (ReduceOnlyMode.CLAMP, 5, OrderStatus.OPEN),
        (ReduceOnlyMode.AT_MATCH, 8, OrderStatus.OPEN),
        (ReduceOnlyMode.IGNORE, 8, OrderStatus.OPEN),
    ],
)
def test_reduce_only_larger_than_the_position(mode: ReduceOnlyMode, size: int, status: OrderStatus) -> None:
    made = exchange(Rules(reduce_only=mode))
    long(made, 1, 5)
    order = made.submit(0, sell(1, 8, 1_001, reduce_only=True))
    assert order.status is status
    if size:
        assert order.remaining == size
        made.external_trade(0, "BTC", Side.BUY, 8)
        assert made.position(1, "BTC").size == (-3 if mode is ReduceOnlyMode.IGNORE else 0)
        Witness(made)


def test_reduce_only_without_a_position_is_refused() -> None:
    for mode in (ReduceOnlyMode.REJECT, ReduceOnlyMode.CLAMP, ReduceOnlyMode.AT_MATCH):
        made = exchange(Rules(reduce_only=mode))
        assert refused(made.submit(0, sell(1, 1, 1_001, reduce_only=True))) is RejectReason.REDUCE_ONLY
        long(made, 1, 5)
        assert refused(made.submit(0, buy(1, 1, 900, reduce_only=True))) is RejectReason.REDUCE_ONLY


def test_resting_reduce_only_shrinks_with_the_position_and_keeps_its_place() -> None:
    made = exchange()
    long(made, 1, 10)
    order = made.submit(0, sell(1, 10, 1_005, reduce_only=True))
    behind = made.submit(0, sell(2, 3, 1_005))
    made.set_level(0, "BTC", Side.BUY, 1_000, 20)
    made.drain()
    made.submit(0, sell(1, 6, 1_000))
    assert state(order) == ("open", 0, 4)
    assert [(e.remaining, e.by_venue) for e in made.drain() if isinstance(e, OrderAmended)] == [(4, True)]
    made.submit(0, sell(1, 1, 1_000))
    assert state(order) == ("open", 0, 3)
    made.external_trade(0, "BTC", Side.BUY, 4)
    assert state(order) == ("filled", 3, 0)
    assert behind.filled == 1


def test_resting_reduce_only_goes_with_the_position() -> None:
    made = exchange()
    long(made, 1, 10)
    order = made.submit(0, sell(1, 10, 1_005, reduce_only=True))
    made.set_level(0, "BTC", Side.BUY, 1_000, 20)
    made.submit(0, sell(1, 15, 1_000))
    assert made.position(1, "BTC").size == -5
    assert cancelled(order) is CancelReason.REDUCE_ONLY


def test_two_reduce_only_orders_in_one_sweep_do_not_flip() -> None:
    made = exchange()
    long(made, 1, 10)
    first, second = (made.submit(0, sell(1, 10, p, reduce_only=True)) for p in (1_001, 1_002))
    made.external_trade(0, "BTC", Side.BUY, 20)
    assert made.position(1, "BTC").size == 0
    assert (first.filled, second.filled) == (10, 0)
    assert cancelled(second) is CancelReason.REDUCE_ONLY


def test_reduce_only_that_trades_with_itself_goes_on_while_it_may() -> None:
    made = exchange(Rules(self_trade=SelfTrade.ALLOW, reduce_only=ReduceOnlyMode.AT_MATCH))
    long(made, 1, 5)
    made.submit(0, buy(1, 5, 1_000))
    made.set_level(0, "BTC", Side.BUY, 999, 10)
    order = made.submit(0, sell(1, 8, 999, reduce_only=True))  # 5 against its own bid leave the position as it was
    assert state(order) == ("filled", 8, 0)
    assert made.position(1, "BTC").size == 2
    Witness(made)


# triggers


@pytest.mark.parametrize("source", list(PriceSource))
@pytest.mark.parametrize("above", [True, False])
def test_trigger_fires_at_its_price_and_not_before(source: PriceSource, above: bool) -> None:
    made = exchange()
    made.set_levels(0, "BTC", [(900, 10), (899, 9)], [(1_100, 10), (1_101, 9)])
    price = 1_100 if above else 900
    order = made.submit(0, buy(1, 2, 0, type=OrderType.MARKET, trigger=Trigger(price, above, source)))
    near = price * REF - 1 if above else price * REF + 1

    def move(ref: int) -> None:
        if source is PriceSource.MARK:
            made.set_mark(1, "BTC", ref)
        elif source is PriceSource.INDEX:
            made.set_mark(1, "BTC", MARK * REF, ref)
        elif ref == price * REF:
            made.external_trade(1, "BTC", Side.BUY if above else Side.SELL, 1)

    move(near)
    assert order.status is OrderStatus.UNTRIGGERED
    made.drain()
    move(price * REF)
    assert state(order) == ("filled", 2, 0)
    assert [e.ref_price for e in made.drain() if isinstance(e, OrderTriggered)] == [price * REF]


def test_stop_limit_rests_after_its_trigger() -> None:
    made = exchange()
    order = made.submit(0, sell(1, 5, 950, trigger=Trigger(960, above=False)))
    assert order.status is OrderStatus.UNTRIGGERED
    assert made.best("BTC") == (0, 0)
    made.set_mark(1, "BTC", 955 * REF)
    assert state(order) == ("open", 0, 5)
    assert made.best("BTC") == (0, 950)


def test_one_stop_sets_off_the_next() -> None:
    made = exchange()
    made.set_levels(0, "BTC", [(995, 1), (990, 1), (985, 5)], [])
    on_last = PriceSource.LAST
    first = made.submit(0, sell(1, 1, 0, type=OrderType.MARKET, trigger=Trigger(995, False, on_last)))
    second = made.submit(0, sell(2, 1, 0, type=OrderType.MARKET, trigger=Trigger(990, False, on_last)))
    third = made.submit(0, sell(3, 1, 0, type=OrderType.MARKET, trigger=Trigger(980, False, on_last)))
    made.external_trade(1, "BTC", Side.SELL, 1)
    assert (first.value, second.value) == (990, 985)
    assert third.status is OrderStatus.UNTRIGGERED


def test_trigger_that_is_met_fires_at_once_or_is_refused() -> None:
    made = exchange()
    assert made.submit(0, buy(1, 1, 990, trigger=Trigger(1_000, above=True))).status is OrderStatus.OPEN
    assert made.submit(0, buy(1, 1, 990, trigger=Trigger(1_001, above=True))).status is OrderStatus.UNTRIGGERED
    assert made.submit(0, buy(1, 1, 990, trigger=Trigger(999, above=False))).status is OrderStatus.UNTRIGGERED
    assert made.submit(0, buy(1, 1, 990, trigger=Trigger(1_000, above=False))).status is OrderStatus.OPEN
    strict = exchange(Rules(refuse_met_trigger=True))
    assert refused(strict.submit(0, buy(1, 1, 990, trigger=Trigger(1_000, above=False)))) is RejectReason.BAD_TRIGGER


def test_triggered_order_that_is_refused_is_cancelled_with_the_reason() -> None:
    made = exchange(deposit=10)
    order = made.submit(0, buy(1, 10_000, 1_000, trigger=Trigger(1_010, above=True)))
    made.drain()
    made.set_mark(1, "BTC", 1_010 * REF)
    events = [e for e in made.drain() if isinstance(e, OrderCancelled)]
    assert [(e.reason, e.detail) for e in events] == [(CancelReason.REJECTED_ON_TRIGGER, RejectReason.INSUFFICIENT_MARGIN)]
    assert order.status is OrderStatus.CANCELLED


def test_close_position_takes_the_size_of_that_moment_and_goes_with_the_position() -> None:
    made = exchange()
    long(made, 1, 10)
    stop = made.submit(
        0, sell(1, 0, 0, type=OrderType.MARKET, trigger=Trigger(950, above=False, kind=TriggerKind.STOP), close_position=True)
    )
    made.set_level(0, "BTC", Side.BUY, 940, 50)
    made.submit(0, sell(1, 3, 940))
    made.set_mark(1, "BTC", 950 * REF)
    assert state(stop) == ("filled", 7, 0)
    assert made.position(1, "BTC").size == 0
    long(made, 1, 4)
    orphan = made.submit(1, sell(1, 0, 0, type=OrderType.MARKET, trigger=Trigger(900, above=False), close_position=True))
    made.set_level(1, "BTC", Side.BUY, 940, 50)
    made.submit(1, sell(1, 4, 940))
    assert cancelled(orphan) is CancelReason.REDUCE_ONLY


def test_conditional_reduce_only_by_rule() -> None:
    loose = exchange()
    order = loose.submit(0, sell(1, 5, 900, reduce_only=True, trigger=Trigger(950, above=False)))
    assert order.status is OrderStatus.UNTRIGGERED
    loose.set_mark(1, "BTC", 940 * REF)
    assert cancelled(order) is CancelReason.REDUCE_ONLY
    strict = exchange(Rules(untriggered_need_position=True))
    assert refused(strict.submit(0, sell(1, 5, 900, reduce_only=True, trigger=Trigger(950, above=False)))) is RejectReason.REDUCE_ONLY


# groups


def bracket(size: int = 10) -> list[NewOrder]:
    return [
        buy(1, size, 1_000),
        sell(1, size, 1_050, reduce_only=True),
        sell(1, size, 0, type=OrderType.MARKET, reduce_only=True, trigger=Trigger(950, above=False)),
    ]


def test_bracket_starts_when_the_parent_is_full_and_one_leg_ends_the_other() -> None:
    made = exchange()
    parent, take, stop = made.submit_group(0, GroupKind.OTOCO, bracket())
    assert [o.status for o in (take, stop)] == [OrderStatus.WAITING] * 2
    made.external_trade(1, "BTC", Side.SELL, 6)
    assert [o.status for o in (parent, take, stop)] == [OrderStatus.OPEN, OrderStatus.WAITING, OrderStatus.WAITING]
    made.external_trade(1, "BTC", Side.SELL, 4)
    assert [o.status for o in (parent, take, stop)] == [OrderStatus.FILLED, OrderStatus.OPEN, OrderStatus.UNTRIGGERED]
    made.external_trade(2, "BTC", Side.BUY, 4)
    assert (take.remaining, stop.remaining) == (6, 6)
    made.external_trade(3, "BTC", Side.BUY, 6)
    assert cancelled(stop) is CancelReason.SIBLING_FILLED
    Witness(made)


def test_stop_of_a_bracket_ends_the_take_profit() -> None:
    made = exchange()
    _, take, stop = made.submit_group(0, GroupKind.OTOCO, bracket())
    made.external_trade(1, "BTC", Side.SELL, 10)
    made.set_level(1, "BTC", Side.BUY, 940, 50)
    made.set_mark(2, "BTC", 949 * REF)
    assert state(stop) == ("filled", 10, 0)
    assert take.status is OrderStatus.CANCELLED
    assert made.position(1, "BTC").size == 0


def test_order_that_replaces_a_leg_takes_its_place_in_the_group() -> None:
    made = exchange(Rules(amend=AmendMode.REPLACE))
    _, take, stop = made.submit_group(0, GroupKind.OTOCO, bracket())
    while_waiting = made.amend(0, 1, take.id, price=1_060)
    assert isinstance(while_waiting, Order)
    assert while_waiting.status is OrderStatus.WAITING
    made.external_trade(1, "BTC", Side.SELL, 10)
    moved = made.amend(1, 1, while_waiting.id, price=1_055)
    assert isinstance(moved, Order)
    assert state(moved) == ("open", 0, 10)
    made.external_trade(2, "BTC", Side.BUY, 10)
    assert state(moved) == ("filled", 10, 0)
    assert cancelled(stop) is CancelReason.SIBLING_FILLED
    Witness(made)


@pytest.mark.parametrize(("starts", "status"), [(True, OrderStatus.OPEN), (False, OrderStatus.CANCELLED)])
def test_children_of_a_parent_that_ended_partly_filled(starts: bool, status: OrderStatus) -> None:
    made = exchange(Rules(children_of_partial_parent=starts))
    parent, take, _ = made.submit_group(0, GroupKind.OTOCO, bracket())
    made.external_trade(1, "BTC", Side.SELL, 4)
    made.cancel(2, 1, parent.id)
    assert take.status is status
    if starts:
        assert take.remaining == 4


def test_children_go_with_an_unfilled_parent() -> None:
    made = exchange()
    parent, take, stop = made.submit_group(0, GroupKind.OTOCO, bracket())
    made.cancel(1, 1, parent.id)
    assert cancelled(take) is cancelled(stop) is CancelReason.PARENT_CANCELLED


def test_group_with_a_refused_member_has_none() -> None:
    made = exchange()
    made.set_level(0, "BTC", Side.SELL, 1_000, 5)
    orders = [buy(1, 10, 1_000, post_only=PostOnly.REJECT), sell(1, 10, 1_050, reduce_only=True)]
    parent, child = made.submit_group(0, GroupKind.OTO, orders)
    assert refused(parent) is RejectReason.POST_ONLY_WOULD_CROSS
    assert child.status is OrderStatus.CANCELLED
    with pytest.raises(ValueError, match="OTOCO three"):
        made.submit_group(0, GroupKind.OTOCO, orders)


# cancel, cancel-all, dead man


def test_cancel_names_what_it_cannot_cancel() -> None:
    made = exchange()
    order = made.submit(0, buy(1, 10, 900))
    assert made.cancel(0, 2, order.id) is RejectReason.UNKNOWN_ORDER
    assert made.cancel(0, 1, order.id) is None
    assert made.cancel(0, 1, order.id) is RejectReason.UNKNOWN_ORDER
    assert made.cancel(0, 1, 999) is RejectReason.UNKNOWN_ORDER
    assert made.order(order.id) is order


def test_cancel_all_takes_conditional_orders_too() -> None:
    made = exchange()
    resting = made.submit(0, buy(1, 10, 900))
    waiting = made.submit(0, sell(1, 10, 900, trigger=Trigger(800, above=False)))
    other = made.submit(0, buy(2, 10, 900))
    assert made.cancel_all(0, 1) == [resting.id, waiting.id]
    assert other.status is OrderStatus.OPEN


def test_dead_man_switch_fires_at_the_last_time_set_or_never() -> None:
    made = exchange()
    order = made.submit(0, buy(1, 10, 900))
    made.schedule_cancel_all(0, 1, 10 * S)
    made.schedule_cancel_all(5 * S, 1, 20 * S)
    made.advance(15 * S)
    assert order.status is OrderStatus.OPEN
    made.advance(20 * S)
    assert cancelled(order) is CancelReason.SCHEDULED
    again = made.submit(20 * S, buy(1, 10, 900))
    made.schedule_cancel_all(20 * S, 1, 30 * S)
    made.schedule_cancel_all(21 * S, 1, 0)
    made.advance(40 * S)
    assert again.status is OrderStatus.OPEN
    with pytest.raises(ValueError, match="past"):
        made.schedule_cancel_all(40 * S, 1, 39 * S)


def test_a_dead_man_switch_of_one_market_leaves_the_others() -> None:
    made = exchange()
    order = made.submit(0, buy(1, 10, 900))
    made.schedule_cancel_all(0, 1, 10 * S, market="OTHER")
    made.advance(15 * S)
    assert order.status is OrderStatus.OPEN
    made.schedule_cancel_all(15 * S, 1, 20 * S, market=order.market.symbol)
    made.schedule_cancel_all(15 * S, 1, 0)
    made.advance(20 * S)
    assert cancelled(order) is CancelReason.SCHEDULED


# amend


def test_amend_in_place_keeps_its_place_only_when_it_shrinks() -> None:
    made = exchange()
    first, second = (made.submit(0, buy(a, 10, 1_000)) for a in (1, 2))
    assert made.amend(0, 1, first.id, size=6) is first
    made.external_trade(0, "BTC", Side.SELL, 1)
    assert (first.filled, second.filled) == (1, 0)
    assert made.amend(0, 1, first.id, size=8) is first  # filled 1, remaining 7
    assert first.remaining == 7
    made.external_trade(0, "BTC", Side.SELL, 1)
    assert (first.filled, second.filled) == (1, 1)
    Witness(made)


def test_amend_that_crosses_takes_unless_post_only() -> None:
    made = exchange()
    made.set_level(0, "BTC", Side.SELL, 1_001, 4)
    order = made.submit(0, buy(1, 10, 990))
    shy = made.submit(0, buy(2, 10, 990, post_only=PostOnly.REJECT))
    assert made.amend(0, 2, shy.id, price=1_001) is RejectReason.POST_ONLY_WOULD_CROSS
    assert (shy.price, shy.status) == (990, OrderStatus.OPEN)
    assert made.amend(0, 1, order.id, price=1_001) is order
    assert state(order) == ("open", 4, 6)
    assert made.amend(0, 1, order.id, size=4) is RejectReason.BAD_SIZE


def test_amend_by_replacement_gives_a_new_id_and_the_same_client_id() -> None:
    made = exchange(Rules(amend=AmendMode.REPLACE))
    order = made.submit(0, buy(1, 10, 990, client_id="c"))
    made.drain()
    new = made.amend(0, 1, order.id, price=995)
    assert isinstance(new, Order)
    assert (new.id, new.price, new.remaining, new.client_id) == (order.id + 1, 995, 10, "c")
    assert cancelled(order) is CancelReason.REPLACED
    assert order.replaced_by == new.id
    assert made.order_by_client_id(1, "c") is new
    accepted = [e for e in made.drain() if isinstance(e, OrderAccepted)]
    assert [e.replaces for e in accepted] == [order.id]
    made.set_level(0, "BTC", Side.SELL, 1_001, 4)
    made.submit(0, buy(2, 5, 1_000, post_only=PostOnly.REJECT, client_id="d"))
    assert made.amend(0, 1, new.id, price=0, size=10**9) is RejectReason.INSUFFICIENT_MARGIN
    assert new.status is OrderStatus.OPEN


def test_amend_moves_a_trigger() -> None:
    for mode in AmendMode:
        made = exchange(Rules(amend=mode))
        order = made.submit(0, sell(1, 5, 900, trigger=Trigger(950, above=False)))
        moved = made.amend(0, 1, order.id, trigger_price=930)
        assert isinstance(moved, Order)
        made.set_mark(1, "BTC", 940 * REF)
        assert moved.status is OrderStatus.UNTRIGGERED
        made.set_mark(1, "BTC", 930 * REF)
        assert state(moved) == ("open", 0, 5)


def test_margin_of_the_old_order_does_not_count_against_the_amended_one() -> None:
    for mode in AmendMode:
        made = exchange(Rules(amend=mode), deposit=26)  # 1 BTC at 500 needs 25 and 0.25 of fee
        order = made.submit(0, buy(1, 1_000, 990))
        assert isinstance(made.amend(0, 1, order.id, price=995), Order)
        Witness(made)


# refusals


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        (buy(1, 0, 1_000), RejectReason.BAD_SIZE),
        (buy(1, -5, 1_000), RejectReason.BAD_SIZE),
        (buy(1, 10, 0), RejectReason.BAD_PRICE),
        (buy(1, 10, -1), RejectReason.BAD_PRICE),
        (buy(1, 4, 1_000), RejectReason.MIN_SIZE),
        (buy(1, 2_001, 1_000), RejectReason.MAX_SIZE),
        (buy(1, 19, 1_000), RejectReason.MIN_NOTIONAL),
        (buy(1, 50, 1_101), RejectReason.PRICE_BAND),
        (buy(1, 50, 899), RejectReason.PRICE_BAND),
        (buy(1, 50, 1_000, trigger=Trigger(0, above=True)), RejectReason.BAD_TRIGGER),
        (buy(1, 5, 0, trigger=Trigger(900, above=False), close_position=True), RejectReason.BAD_SIZE),
        (buy(1, 50, 1_000, post_only=PostOnly.REJECT, time_in_force=TimeInForce.IOC), RejectReason.POST_ONLY_WOULD_CROSS),
    ],
)
def test_refusals(order: NewOrder, reason: RejectReason) -> None:
    market = replace(BTC, min_size=5, max_size=2_000, min_notional=to_money(10), price_band=to_fraction("0.1"))
    made = exchange(market=market)
    made.drain()
    assert refused(made.submit(0, order)) is reason
    events = made.drain()
    assert [type(e) for e in events] == [OrderRejected]
    assert made.open_orders(1) == []


def test_limits_that_just_hold() -> None:
    market = replace(BTC, min_size=5, max_size=2_000, min_notional=to_money(10), price_band=to_fraction("0.1"))
    made = exchange(market=market)
    for order in (buy(1, 20, 1_000), buy(1, 2_000, 1_000), buy(1, 50, 900), sell(2, 50, 1_100)):
        assert made.submit(0, order).status is OrderStatus.OPEN


def test_reduce_only_may_be_smaller_than_the_minimum_by_rule() -> None:
    market = replace(BTC, min_size=5)
    for exempt in (True, False):
        made = exchange(Rules(reduce_only_ignores_minimum=exempt), market=market)
        long(made, 1, 7)
        made.set_level(0, "BTC", Side.BUY, 1_000, 9)
        made.submit(0, sell(1, 5, 1_000))
        order = made.submit(0, sell(1, 2, 1_000, reduce_only=True))
        assert order.status is (OrderStatus.FILLED if exempt else OrderStatus.REJECTED)


def test_no_order_before_the_first_mark() -> None:
    made = Exchange()
    made.add_market(0, BTC)
    made.open_account(0, 1, deposit=to_money(100))
    assert refused(made.submit(0, buy(1, 1, 1_000))) is RejectReason.NO_MARK_PRICE
    made.set_mark(1, "BTC", MARK * REF)
    assert made.submit(1, buy(1, 1, 1_000)).status is OrderStatus.OPEN


@pytest.mark.parametrize(
    ("policy", "again_open", "again_closed"),
    [(ClientIds.ANY, True, True), (ClientIds.OPEN, False, True), (ClientIds.EVER, False, False)],
)
def test_client_id_policies(policy: ClientIds, again_open: bool, again_closed: bool) -> None:
    made = exchange(Rules(client_ids=policy))
    first = made.submit(0, buy(1, 10, 900, client_id="a"))
    assert made.submit(0, buy(2, 10, 900, client_id="a")).status is OrderStatus.OPEN
    second = made.submit(0, buy(1, 10, 900, client_id="a"))
    assert (second.status is OrderStatus.OPEN) == again_open
    made.cancel_all(0, 1)
    third = made.submit(0, buy(1, 10, 900, client_id="a"))
    assert (third.status is OrderStatus.OPEN) == again_closed
    if not again_closed:
        assert refused(third) is RejectReason.DUPLICATE_CLIENT_ID
    assert made.order_by_client_id(1, "a") is (third if again_closed else first)
    assert made.order_by_client_id(1, "b") is None


def test_client_ids_are_never_reused_even_when_the_order_is_forgotten() -> None:
    made = Exchange(Rules(client_ids=ClientIds.EVER), closed_orders_kept=0)
    made.add_market(0, BTC, mark=MARK * REF)
    made.open_account(0, 1, deposit=to_money(100))
    made.submit(0, buy(1, 10, 900, client_id="a"))
    made.cancel_all(0, 1)
    assert refused(made.submit(0, buy(1, 10, 900, client_id="a"))) is RejectReason.DUPLICATE_CLIENT_ID


def test_ended_orders_are_kept_up_to_the_bound() -> None:
    made = Exchange(closed_orders_kept=2)
    made.add_market(0, BTC, mark=MARK * REF)
    made.open_account(0, 1, deposit=to_money(100))
    orders = [made.submit(0, buy(1, 10, 900, client_id=str(n), time_in_force=TimeInForce.IOC)) for n in range(3)]
    assert [made.order(o.id) is o for o in orders] == [False, True, True]
    assert made.order_by_client_id(1, "0") is None
    assert list(made.account(1).client_ids) == ["1", "2"]


def test_open_order_limits() -> None:
    made = exchange(Rules(max_open_orders=3, max_open_orders_per_market=2))
    made.submit(0, buy(1, 10, 900))
    made.submit(0, buy(1, 10, 900, trigger=Trigger(800, above=False)))
    assert refused(made.submit(0, buy(1, 10, 900))) is RejectReason.TOO_MANY_ORDERS
    assert made.submit(0, buy(2, 10, 900)).status is OrderStatus.OPEN


@pytest.mark.parametrize(
    ("status", "plain", "post_only", "reducing", "cancel"),
    [
        (MarketStatus.ACTIVE, True, True, True, True),
        (MarketStatus.POST_ONLY, False, True, False, True),
        (MarketStatus.REDUCE_ONLY, False, False, True, True),
        (MarketStatus.CANCEL_ONLY, False, False, False, True),
        (MarketStatus.HALTED, False, False, False, False),
    ],
)
def test_market_status_decides_what_is_taken(status: MarketStatus, plain: bool, post_only: bool, reducing: bool, cancel: bool) -> None:
    made = exchange()
    long(made, 1, 5)
    resting = made.submit(0, buy(1, 1, 900))
    made.set_status(0, "BTC", status)
    asked = (buy(1, 1, 900), buy(1, 1, 900, post_only=PostOnly.REJECT), sell(1, 1, 1_100, reduce_only=True))
    assert [made.submit(0, o).status is OrderStatus.OPEN for o in asked] == [plain, post_only, reducing]
    assert (made.cancel(0, 1, resting.id) is None) == cancel
    assert isinstance(made.amend(0, 1, resting.id, price=901), RejectReason)


def test_unknown_market_or_account_is_a_key_error() -> None:
    made = exchange()
    with pytest.raises(KeyError):
        made.submit(0, replace_market(buy(1, 1, 1)))
    with pytest.raises(KeyError):
        made.submit(0, buy(99, 1, 1))


def replace_market(order: NewOrder) -> NewOrder:
    return NewOrder(order.account, "DOGE", order.side, order.size, order.price)


# events and time


def test_time_never_goes_back() -> None:
    made = exchange()
    made.advance(5)
    with pytest.raises(ValueError, match="time goes back"):
        made.submit(4, buy(1, 1, 900))


def test_subscribers_get_everything_in_order_and_may_call_back() -> None:
    made = exchange()
    made.drain()
    seen: list[int] = []
    seen_too: list[int] = []

    def reader(event: AnyEvent) -> None:
        seen.append(event.seq)
        if isinstance(event, OrderOpened) and event.account == 1:
            made.submit(event.ts_ns, sell(2, 3, event.price))  # from inside the delivery

    unsubscribe = made.subscribe(reader)
    made.subscribe(lambda event: seen_too.append(event.seq))
    order = made.submit(1, buy(1, 5, 1_000))
    assert order.filled == 3
    assert seen == seen_too == list(range(seen[0], seen[0] + len(seen)))
    assert made.drain() == []
    unsubscribe()
    made.submit(2, buy(3, 5, 900))
    assert seen_too[-1] > seen[-1]


def test_a_failing_subscriber_does_not_make_events_come_twice() -> None:
    made = exchange()
    made.drain()

    def failing(event: AnyEvent) -> None:
        raise RuntimeError("reader broke")

    unsubscribe = made.subscribe(failing)
    with pytest.raises(RuntimeError, match="reader broke"):
        made.submit(1, buy(1, 5, 900))
    unsubscribe()
    told: list[AnyEvent] = []
    made.subscribe(told.append)
    made.submit(2, buy(1, 5, 901))
    assert names(told) == ["OrderAccepted", "OrderOpened", "BookDelta"]
