"""Laws of the exchange on random streams of calls: the naive matcher agrees, nothing is lost, the log tells everything."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exchange_simulator.core.events import (
    Adl,
    AnyEvent,
    FundingPaid,
    InsuranceChanged,
    Liquidated,
    OrderAmended,
    OrderExpired,
    OrderTriggered,
    Trade,
)
from exchange_simulator.core.exchange import Exchange
from exchange_simulator.core.funding import PremiumFunding
from exchange_simulator.core.snapshot import snapshot, state_hash
from exchange_simulator.core.types import (
    REF,
    AmendMode,
    ClientIds,
    GroupKind,
    MarginMode,
    MarginTier,
    Market,
    MarketStatus,
    NewOrder,
    OrderStatus,
    OrderType,
    PostOnly,
    PriceSource,
    QueueModel,
    ReduceOnlyMode,
    Rules,
    SelfTrade,
    Side,
    TimeInForce,
    Trigger,
    TriggerKind,
    to_fraction,
    to_money,
)
from tests.simulator.core.reference import Reference
from tests.simulator.core.world import MARK, Witness, exchange

QUICK = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
CALLS = st.lists(
    st.tuples(
        st.integers(0, 23), st.integers(1, 3), st.integers(-6, 6), st.integers(1, 12), st.integers(0, 7), st.sampled_from(list(Side))
    ),
    min_size=1,
    max_size=60,
)
Call = tuple[int, int, int, int, int, Side]


def _levels(first: int, step: int, seed: int) -> dict[int, int]:
    return {first + step * i: 1 + (seed * (i + 3)) % 9 for i in range(seed % 4)}


@QUICK
@given(CALLS)
def test_matches_as_the_naive_matcher_does(calls: list[Call]) -> None:
    made = exchange(Rules(reduce_only=ReduceOnlyMode.IGNORE), deposit=10**9)
    made.drain()
    reference = Reference()
    trades: list[tuple[int, int, int, int, int, int]] = []
    for ts, (kind, account, offset, size, extra, side) in enumerate(calls):
        price = MARK + offset
        if kind < 12:
            _submit_both(made, reference, ts, (kind, account, offset, size, extra, side))
        elif kind < 15:
            live = made.open_orders(account)
            if live:
                order = live[size % len(live)]
                assert made.cancel(ts, account, order.id) is None
                reference.cancel(order.id)
        elif kind < 18:
            _amend_both(made, reference, ts, (kind, account, offset, size, extra, side))
        elif kind < 20:
            bids, asks = _levels(price - 1, -1, size + extra), _levels(price + 1, 1, size * 3 + extra)
            made.set_levels(ts, "BTC", list(bids.items()), list(asks.items()))
            reference.replace(bids, asks)
        elif kind < 22:
            _set_level_both(made, reference, ts, side, price, extra)
        else:
            limit = price if extra % 2 else 0
            taken = made.external_trade(ts, "BTC", side, size, limit=limit)
            assert taken == size - reference.take(side, size, limit, 0, 0)
        events: list[AnyEvent] = made.drain()
        trades += [
            (e.price, e.size, e.maker_account, e.maker_order_id, e.taker_account, e.taker_order_id) for e in events if isinstance(e, Trade)
        ]
        assert trades == reference.trades
        for s in Side:
            assert [(p, n) for p, n, _ in made.depth("BTC", s)] == reference.depth(s)
        assert {o.id: o.remaining for a in (1, 2, 3) for o in made.open_orders(a)} == reference.users()


def _submit_both(made: Exchange, reference: Reference, ts: int, call: Call) -> None:
    kind, account, offset, size, extra, side = call
    price = MARK + offset
    market = kind == 0
    limit = 0 if market and extra % 2 else price
    tif = {1: TimeInForce.IOC, 2: TimeInForce.FOK}.get(kind, TimeInForce.GTC)
    post = PostOnly.REJECT if kind in (3, 4) else PostOnly.OFF
    type_ = OrderType.MARKET if market else OrderType.LIMIT
    order = made.submit(ts, NewOrder(account, "BTC", side, size, limit, type_, tif, post))
    if post is PostOnly.REJECT and reference.crosses(side, price):
        assert order.status is OrderStatus.REJECTED
        return
    if tif is TimeInForce.FOK and reference.available(side, price, account) < size:
        assert (order.status, order.filled) == (OrderStatus.CANCELLED, 0)
        return
    left = reference.take(side, size, limit, account, order.id)
    assert order.filled == size - left
    if left and not market and tif is TimeInForce.GTC:
        reference.rest(side, left, price, account, order.id)
        assert order.status is OrderStatus.OPEN
    else:
        assert order.status is (OrderStatus.CANCELLED if left else OrderStatus.FILLED)


def _amend_both(made: Exchange, reference: Reference, ts: int, call: Call) -> None:
    kind, account, offset, size, _, _ = call
    live = made.open_orders(account)
    if not live:
        return
    order = live[size % len(live)]
    price = order.price if kind == 15 else MARK + offset
    remaining, filled = order.remaining, order.filled
    result = made.amend(ts, account, order.id, price=price, size=filled + size)
    if result is not order:
        assert order.request.post_only is PostOnly.REJECT  # it would have taken
        assert reference.crosses(order.side, price)
        return
    if price == made_price(reference, order.id, order.side) and size <= remaining:
        reference.reduce(order.id, size)
        return
    reference.cancel(order.id)
    left = reference.take(order.side, size, price, account, order.id)
    if left:
        reference.rest(order.side, left, price, account, order.id)


def made_price(reference: Reference, order_id: int, side: Side) -> int:
    return next(p for p, queue in reference.queues[side].items() for e in queue if e.owner and e.order_id == order_id)


def _set_level_both(made: Exchange, reference: Reference, ts: int, side: Side, price: int, size: int) -> None:
    opposite = made.markets["BTC"].book.side(side.opposite)
    if size and any((p <= price) if side is Side.BUY else (p >= price) for p in opposite.anonymous):
        with pytest.raises(ValueError, match="crosses anonymous"):
            made.set_level(ts, "BTC", side, price, size)
        return
    made.set_level(ts, "BTC", side, price, size)
    if size and reference.crosses(side, price):
        left = reference.take(side, size, price, 0, 0)
        if left:
            reference.rest(side, left, price, 0, 0)
    else:
        reference.set_anonymous(side, price, size)


ETH = Market(
    "ETH",
    Decimal("0.1"),
    Decimal("0.01"),
    tiers=(
        MarginTier(0, to_fraction("0.04"), to_fraction("0.02")),
        MarginTier(to_money(300), to_fraction("0.1"), to_fraction("0.05")),
    ),
    maker_fee=to_fraction("-0.00005"),
    taker_fee=to_fraction("0.000333"),
    liquidation_fee=to_fraction("0.01"),
    funding_price=PriceSource.MARK,
)
INVERSE = replace(ETH, step_size=Decimal("0.7"), min_notional=0, inverse=True)
"""In place of ETH: sizes are quote currency, and a step is worth a prime number of cents, so that coin never divides evenly."""
SMALL = Market(
    "BTC",
    Decimal("0.5"),
    Decimal("0.001"),
    tiers=(MarginTier(0, to_fraction("0.05"), to_fraction("0.025")),),
    maker_fee=to_fraction("0.0001"),
    taker_fee=to_fraction("0.0005"),
    liquidation_fee=to_fraction("0.005"),
)
RULES = st.builds(
    Rules,
    reduce_only=st.sampled_from(list(ReduceOnlyMode)),
    self_trade=st.sampled_from(list(SelfTrade)),
    amend=st.sampled_from(list(AmendMode)),
    client_ids=st.sampled_from(list(ClientIds)),
    post_only_late=st.booleans(),
    queue=st.sampled_from(list(QueueModel)),
    untriggered_need_position=st.booleans(),
    children_of_partial_parent=st.booleans(),
    liquidation_chunk=st.sampled_from([to_fraction("0.2"), to_fraction(1)]),
    max_open_orders=st.sampled_from([0, 6]),
)
WIDE_CALLS = st.lists(
    st.tuples(
        st.integers(0, 39), st.integers(1, 4), st.integers(-8, 8), st.integers(1, 30), st.integers(0, 15), st.sampled_from(list(Side))
    ),
    min_size=5,
    max_size=120,
)


def play(rules: Rules, calls: list[Call], *, premium: bool, inverse: bool = False) -> tuple[Exchange, Witness]:
    """Everything at once on two markets and four thinly funded accounts, checked after each call."""
    made = Exchange(rules, funding=PremiumFunding(sample_interval_ns=600 * 10**9) if premium else None)
    made.add_market(0, SMALL, mark=MARK * REF)
    made.add_market(0, INVERSE if inverse else ETH, mark=MARK * REF)
    for account, deposit in ((1, 3), (2, 10), (3, 2), (4, 100)):
        made.open_account(0, account, deposit=to_money(deposit))
    made.set_fees(0, 4, to_fraction("-0.0001"), to_fraction("0.0001"))
    made.fund_insurance(0, to_money(1))
    witness = Witness(made)
    ts = 0
    for call in calls:
        ts += 1_900 * 10**9 if call[0] == 30 else 10**9
        _do(made, ts, call)
        witness.check()
    return made, witness


def _order(call: Call, symbol: str, mid: int, ts: int) -> NewOrder:
    kind, account, offset, size, extra, side = call
    trigger = None
    if kind in (6, 7, 8):
        source = list(PriceSource)[extra % 3]
        trigger = Trigger(max(1, mid + offset * 2), extra % 2 == 0, source, TriggerKind.STOP)
    return NewOrder(
        account,
        symbol,
        side,
        0 if kind == 8 else size,
        0 if kind == 9 else max(1, mid + offset),
        OrderType.MARKET if kind == 9 else OrderType.LIMIT,
        {1: TimeInForce.IOC, 2: TimeInForce.FOK}.get(kind, TimeInForce.GTC),
        {3: PostOnly.REJECT, 4: PostOnly.SLIDE}.get(kind, PostOnly.OFF),
        reduce_only=kind in (5, 7),
        client_id=str(extra) if extra > 11 else "",
        expires_ns=ts + 10**9 * (size - 2) if extra in (9, 10) else 0,
        trigger=trigger,
        close_position=kind == 8,
    )


def _do(made: Exchange, ts: int, call: Call) -> None:
    kind, account, offset, size, extra, side = call
    symbol = "BTC" if (size + extra) % 3 else "ETH"
    market = made.markets[symbol]
    mid = market.mark // REF
    live = made.open_orders(account)
    position = made.position(account, symbol)
    if kind < 12:
        made.submit(ts, _order(call, symbol, mid, ts))
    elif kind < 15 and live:
        made.cancel(ts, account, live[size % len(live)].id)
    elif kind < 18 and live:
        order = live[size % len(live)]
        made.amend(ts, account, order.id, price=max(1, mid + offset), size=size, trigger_price=max(1, mid - offset) if extra % 2 else 0)
    elif kind < 22:
        bids, asks = _levels(max(5, mid + offset - 1), -1, size + extra), _levels(max(6, mid + offset + 1), 1, size * 3 + extra)
        made.set_levels(ts, symbol, list(bids.items()), list(asks.items()))
    elif kind < 25:
        made.external_trade(ts, symbol, side, size, limit=max(1, mid + offset) if extra % 2 else 0)
    elif kind < 29:
        made.set_mark(ts, symbol, max(REF * 20, market.mark * (100 + offset * (1 + extra % 3)) // 100 + extra), market.mark + extra * 77)
    elif kind == 29 and not isinstance(made.funding, PremiumFunding):
        made.set_funding_rate(ts, symbol, to_fraction("0.001") * offset + extra)
    elif kind == 30:
        made.advance(ts)
    elif kind == 31:
        made.set_leverage(ts, account, symbol, to_fraction("0.01") * size)
    elif kind == 32:
        made.set_margin_mode(ts, account, symbol, list(MarginMode)[extra % 2])
    elif kind == 33:
        made.move_isolated_margin(ts, account, symbol, to_money(1) * offset // 7)
    elif kind == 34:
        made.schedule_cancel_all(ts, account, ts + extra * 10**9 if extra else 0)
    elif kind == 35:
        made.withdraw(ts, account, to_money(1) * size // 5)
    elif kind == 36:
        _group(made, ts, call, symbol, mid)
    elif kind == 37:
        made.cancel_all(ts, account, symbol if extra % 2 else "")
    elif kind == 38 and market.spec.status is not MarketStatus.DELISTED:
        made.set_status(ts, symbol, list(MarketStatus)[extra % 5])
    elif kind == 39 and extra == 0 and market.spec.status is not MarketStatus.DELISTED:
        made.delist(ts, symbol)
    else:
        made.submit(ts, NewOrder(account, symbol, side, size, position.market.mark // REF + (offset if side is Side.BUY else -offset)))


def _group(made: Exchange, ts: int, call: Call, symbol: str, mid: int) -> None:
    _, account, offset, size, extra, side = call
    kind = list(GroupKind)[extra % 3]
    out = side.opposite
    above = out is Side.SELL
    take = NewOrder(account, symbol, out, size, mid + (3 if above else -3), reduce_only=kind is not GroupKind.OCO)
    stop_at = Trigger(mid - 3 if above else mid + 3, not above, PriceSource.MARK)
    stop = NewOrder(account, symbol, out, size, type=OrderType.MARKET, trigger=stop_at, reduce_only=kind is not GroupKind.OCO)
    parent = NewOrder(account, symbol, side, size, mid + offset)
    orders = {GroupKind.OTO: [parent, stop], GroupKind.OCO: [take, stop], GroupKind.OTOCO: [parent, take, stop]}[kind]
    made.submit_group(ts, kind, orders)


@QUICK
@given(RULES, WIDE_CALLS, st.booleans(), st.booleans())
def test_nothing_is_lost_whatever_happens(rules: Rules, calls: list[Call], premium: bool, inverse: bool) -> None:
    play(rules, calls, premium=premium, inverse=inverse)


@settings(max_examples=15, deadline=None)
@given(RULES, WIDE_CALLS)
def test_same_calls_give_the_same_bytes(rules: Rules, calls: list[Call]) -> None:
    first, second = play(rules, calls, premium=True)[0], play(rules, calls, premium=True)[0]
    assert snapshot(first) == snapshot(second)
    assert state_hash(first) == state_hash(second)


@pytest.mark.slow
@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("first_seed", range(0, 40, 10))
def test_nothing_is_lost_in_long_runs(first_seed: int, inverse: bool) -> None:
    """Long enough that positions build up, go through liquidation and ADL, and markets end; and that each of these really happened."""
    kinds: Counter[str] = Counter()
    for seed in range(first_seed, first_seed + 10):
        rng = random.Random(seed)
        rules = Rules(
            rng.choice(list(ReduceOnlyMode)),
            self_trade=rng.choice(list(SelfTrade)),
            amend=rng.choice(list(AmendMode)),
            client_ids=rng.choice(list(ClientIds)),
            queue=rng.choice(list(QueueModel)),
            liquidation_chunk=to_fraction(rng.choice(["0.2", "1"])),
        )
        sides = list(Side)
        draws = (
            (rng.randint(0, 39), rng.randint(1, 4), rng.randint(-8, 8), rng.randint(1, 30), rng.randint(0, 15), rng.choice(sides))
            for _ in range(200)
        )
        calls = [call for call in draws if call[0] < 38 or rng.random() < 0.1]
        kinds += play(rules, calls, premium=seed % 2 == 0, inverse=inverse)[1].kinds
    for event in (Liquidated, Adl, FundingPaid, OrderTriggered, OrderAmended, OrderExpired, InsuranceChanged):
        assert kinds[event.__name__] > 0
