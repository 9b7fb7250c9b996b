"""One account as plain data, and back into another exchange: how a virtual account outlives the process that keeps it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count

import msgspec

from exchange_simulator.core.exchange import Exchange
from exchange_simulator.core.orders import Group, Order, Position
from exchange_simulator.core.types import CancelReason, GroupKind, MarginMode, NewOrder, OrderStatus, RejectReason, Side


class SavedOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Ticks and steps of its market; `ahead` is what is believed to stand before it in its level, `group` 0 for none."""

    id: int
    request: NewOrder
    side: Side
    price: int
    size: int
    remaining: int
    created_ns: int
    updated_ns: int
    status: OrderStatus
    reject_reason: RejectReason | None = None
    cancel_reason: CancelReason | None = None
    reduce_only: bool = False
    trigger_price: int = 0
    filled: int = 0
    value: int = 0
    fee: int = 0
    ahead: int = 0
    group: int = 0
    group_kind: GroupKind | None = None


class SavedPosition(msgspec.Struct, frozen=True, kw_only=True):
    """Settings and size in one market."""

    market: str
    initial: int
    mode: MarginMode
    size: int
    cost: int
    margin: int
    realised: int
    funding: int
    opened_ns: int


class SavedAccount(msgspec.Struct, frozen=True, kw_only=True):
    """`grids`: market -> (tick, step) as texts, in whose units everything here is; `next_*`: numbers not given yet."""

    id: int
    saved_ns: int
    balance: int
    fees_paid: int
    client_ids: dict[str, int]
    cancel_all_ns: int
    positions: list[SavedPosition]
    live: list[SavedOrder]
    ended: list[SavedOrder]
    grids: dict[str, tuple[str, str]]
    next_order: int
    next_trade: int
    next_group: int


class GridChanged(Exception):
    """A market in which the account holds something has another tick or step now."""


def save(exchange: Exchange, account_id: int, *, ended: Iterable[int], next_trade: int) -> SavedAccount:
    """The account as it is; `ended` are ids of ended orders to keep, `next_trade` the first trade id that no fill of it has."""
    account = exchange.account(account_id)
    kept = [order for order_id in ended if (order := exchange.order(order_id)) is not None and order.status.terminal]
    live = list(account.orders.values())
    everything = [*live, *kept]
    markets = {o.market.symbol for o in everything} | set(account.positions)
    groups = [o.group.id for o in everything if o.group is not None]
    return SavedAccount(
        id=account_id,
        saved_ns=exchange.now_ns,
        balance=account.balance,
        fees_paid=account.fees_paid,
        client_ids=dict(account.client_ids),
        cancel_all_ns=account.cancel_all_ns,
        positions=[_position(p) for p in account.positions.values()],
        live=[_order(o) for o in live],
        ended=[_order(o) for o in kept],
        grids={m: (str(exchange.markets[m].spec.tick_size), str(exchange.markets[m].spec.step_size)) for m in sorted(markets)},
        next_order=max([0, *(o.id for o in everything), *account.client_ids.values()]) + 1,
        next_trade=next_trade,
        next_group=max([0, *groups]) + 1,
    )


def restore(exchange: Exchange, ts_ns: int, saved: SavedAccount) -> list[str]:
    """Into an exchange that lists the markets and does not know the account. Nothing is told: no event is made.

    Returns the markets that are listed no more and whose past is left out.

    Raises:
        GridChanged: a position or live order cannot be expressed any more; nothing was changed.
    """
    exchange.advance(ts_ns)
    gone = {m for m, grid in saved.grids.items() if not _same_grid(exchange, m, grid)}
    held = {p.market for p in saved.positions if p.size} | {o.request.market for o in saved.live}
    if lost := sorted(held & gone):
        raise GridChanged(f"tick or step of {', '.join(lost)} changed, or it is listed no more")
    account = exchange.ledger.open(saved.id)
    account.balance, account.fees_paid = saved.balance, saved.fees_paid
    account.client_ids.update(saved.client_ids)
    exchange.ledger.deposited += saved.balance + sum(p.margin for p in saved.positions)
    for kept in saved.positions:
        if kept.market in gone:
            continue
        position = exchange.position(saved.id, kept.market)
        position.initial, position.mode, position.size, position.cost = kept.initial, kept.mode, kept.size, kept.cost
        position.margin, position.realised, position.funding = kept.margin, kept.realised, kept.funding
        position.opened_ns = kept.opened_ns
        if kept.size:
            position.market.holders[saved.id] = position
            anonymous = position.market.anonymous
            anonymous.size -= kept.size
            anonymous.cost -= kept.cost
    groups: dict[int, list[Order]] = {}
    for row in [*saved.ended, *saved.live]:
        if row.request.market not in gone:
            order = _revive(exchange, saved.id, row)
            if row.group:
                groups.setdefault(row.group, []).append(order)
    for group_id, members in groups.items():
        members.sort(key=lambda o: o.id)
        kind = next(r.group_kind for r in [*saved.ended, *saved.live] if r.group == group_id)
        group = Group(group_id, kind or GroupKind.OCO, tuple(members))
        for member in members:
            member.group = group
    exchange._order_id = count(saved.next_order).__next__
    exchange._trade_id = count(saved.next_trade).__next__
    exchange._group_id = count(saved.next_group).__next__
    if saved.cancel_all_ns > ts_ns:
        exchange.schedule_cancel_all(ts_ns, saved.id, saved.cancel_all_ns)
    elif saved.cancel_all_ns:
        exchange.cancel_all(ts_ns, saved.id)  # the switch fired while nobody ran the exchange
    return sorted(gone)


def _same_grid(exchange: Exchange, market: str, grid: tuple[str, str]) -> bool:
    state = exchange.markets.get(market)
    return state is not None and (str(state.spec.tick_size), str(state.spec.step_size)) == grid


def _revive(exchange: Exchange, account_id: int, row: SavedOrder) -> Order:
    account, market = exchange.account(account_id), exchange.markets[row.request.market]
    position = exchange.position(account_id, market.symbol)
    order = Order(
        row.id, row.request, account, market, position, row.side, row.price, row.size, row.remaining, row.created_ns, row.updated_ns
    )
    order.status, order.reject_reason, order.cancel_reason = row.status, row.reject_reason, row.cancel_reason
    order.reduce_only, order.trigger_price = row.reduce_only, row.trigger_price
    order.self_trade = row.request.self_trade or exchange.rules.self_trade
    order.filled, order.value, order.fee = row.filled, row.value, row.fee
    if order.status.terminal:
        exchange._closed[order.id] = order
        return order
    exchange._live[order.id] = account.orders[order.id] = order
    if order.reduce_only:
        position.reducing[order.id] = order
    if order.status is OrderStatus.OPEN:
        market.book.side(order.side).add(order)
        order.ahead = row.ahead
        exchange._reserve(order, order.remaining)
    elif order.status is OrderStatus.UNTRIGGERED:
        market.triggers.add(order)
    if order.request.expires_ns:
        exchange._expire_later(order)
    return order


def _position(position: Position) -> SavedPosition:
    p = position
    return SavedPosition(
        market=p.market.symbol,
        initial=p.initial,
        mode=p.mode,
        size=p.size,
        cost=p.cost,
        margin=p.margin,
        realised=p.realised,
        funding=p.funding,
        opened_ns=p.opened_ns,
    )


def _order(order: Order) -> SavedOrder:
    o = order
    return SavedOrder(
        id=o.id,
        request=o.request,
        side=o.side,
        price=o.price,
        size=o.size,
        remaining=o.remaining,
        created_ns=o.created_ns,
        updated_ns=o.updated_ns,
        status=o.status,
        reject_reason=o.reject_reason,
        cancel_reason=o.cancel_reason,
        reduce_only=o.reduce_only,
        trigger_price=o.trigger_price,
        filled=o.filled,
        value=o.value,
        fee=o.fee,
        ahead=o.ahead,
        group=o.group.id if o.group is not None else 0,
        group_kind=o.group.kind if o.group is not None else None,
    )
