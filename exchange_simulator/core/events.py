"""What happened on the simulated exchange, in order.

Every change of state is one event with a global sequence number (from 1, no gaps) and the time of the call that caused it.
Units as in `types.py`: ticks, steps, ref, money, fractions. Dialects turn these into wire messages; `replay.py` turns them
back into books, positions and balances, which proves that nothing is missing.

Order of events of one order: OrderAccepted or OrderRejected; then, as it goes, OrderTriggered, OrderFilled..., OrderOpened (once it
rests), OrderAmended; then one of OrderCancelled, OrderExpired, or the OrderFilled whose `remaining` is 0. A trade is emitted as Trade, then
OrderFilled, PositionChanged, BalanceChanged of the maker and of the taker (anonymous liquidity has none of these), and one BookDelta when
its level is done.
"""

from __future__ import annotations

import msgspec

from exchange_simulator.core.types import (
    BalanceReason,
    CancelReason,
    GroupKind,
    Liquidity,
    MarginMode,
    Market,
    MarketStatus,
    NewOrder,
    PositionReason,
    RejectReason,
    Side,
    TradeKind,
)


class Event(msgspec.Struct, frozen=True, gc=False, tag=True):
    seq: int
    ts_ns: int


class OrderAccepted(Event, frozen=True, gc=False, tag=True):
    order_id: int
    order: NewOrder
    group_id: int = 0
    """Orders submitted together as a group share one; 0 for none."""
    group: GroupKind | None = None
    replaces: int = 0
    """Order id this one replaces (amend by replacement); 0 for none."""


class OrderRejected(Event, frozen=True, gc=False, tag=True):
    order_id: int
    order: NewOrder
    reason: RejectReason


class OrderOpened(Event, frozen=True, gc=False, tag=True):
    """The order rests in the book from now on."""

    order_id: int
    account: int
    market: str
    client_id: str
    side: Side
    price: int
    remaining: int


class OrderTriggered(Event, frozen=True, gc=False, tag=True):
    order_id: int
    account: int
    market: str
    client_id: str
    ref_price: int
    """The price that reached the trigger, in ref units."""


class OrderFilled(Event, frozen=True, gc=False, tag=True):
    """One account's side of a trade, or (kind SETTLEMENT) what closed its position when the market ended: that has no Trade."""

    trade_id: int
    order_id: int
    """0 for a fill no order asked for (liquidation, ADL, settlement)."""
    account: int
    market: str
    client_id: str
    side: Side
    price: int
    size: int
    fee: int
    """Money; negative is a rebate."""
    liquidity: Liquidity
    kind: TradeKind
    position_before: int
    realised: int
    """Money; PnL of what this fill closed, before the fee."""
    filled: int
    """Of the order so far."""
    remaining: int


class OrderCancelled(Event, frozen=True, gc=False, tag=True):
    order_id: int
    account: int
    market: str
    client_id: str
    reason: CancelReason
    filled: int
    remaining: int
    """What was cancelled."""
    detail: RejectReason | None = None


class OrderExpired(Event, frozen=True, gc=False, tag=True):
    order_id: int
    account: int
    market: str
    client_id: str
    filled: int
    remaining: int


class OrderAmended(Event, frozen=True, gc=False, tag=True):
    """The order has these terms now: by request, or (`by_venue`) because its position, its sibling or its own other side shrank it."""

    order_id: int
    account: int
    market: str
    client_id: str
    price: int
    size: int
    """Filled plus remaining."""
    remaining: int
    trigger_price: int
    by_venue: bool


class Trade(Event, frozen=True, gc=False, tag=True):
    """The public print."""

    trade_id: int
    market: str
    taker_side: Side
    price: int
    size: int
    kind: TradeKind
    maker_account: int
    taker_account: int
    maker_order_id: int
    """0 for anonymous liquidity, also below."""
    taker_order_id: int


class BookDelta(Event, frozen=True, gc=False, tag=True):
    """New absolute size of one level, users and anonymous together; 0 removes it."""

    market: str
    side: Side
    price: int
    size: int


class PositionChanged(Event, frozen=True, gc=False, tag=True):
    account: int
    market: str
    size: int
    cost: int
    """Money paid for the size held, signed like it; entry price = cost / size."""
    margin: int
    """Isolated margin; 0 when cross."""
    reason: PositionReason


class BalanceChanged(Event, frozen=True, gc=False, tag=True):
    account: int
    balance: int
    """Cross collateral without unrealised PnL and without isolated margins."""
    delta: int
    reason: BalanceReason


class InsuranceChanged(Event, frozen=True, gc=False, tag=True):
    balance: int
    delta: int


class FundingSettled(Event, frozen=True, gc=False, tag=True):
    """Public: the rate charged for the interval that ended now."""

    market: str
    rate: int
    ref_price: int
    """The price payments were computed with (`Market.funding_price`)."""
    interval_ns: int
    next_ns: int


class FundingPaid(Event, frozen=True, gc=False, tag=True):
    account: int
    market: str
    size: int
    rate: int
    ref_price: int
    amount: int
    """Money; positive is received."""
    interval_ns: int


class MarkChanged(Event, frozen=True, gc=False, tag=True):
    market: str
    mark: int
    index: int


class MarketChanged(Event, frozen=True, gc=False, tag=True):
    """Listed, or changed in anything but its status."""

    market: Market
    next_funding_ns: int


class MarketStatusChanged(Event, frozen=True, gc=False, tag=True):
    market: str
    status: MarketStatus


class LeverageChanged(Event, frozen=True, gc=False, tag=True):
    account: int
    market: str
    initial: int
    """Initial margin fraction; leverage = 1 / fraction."""
    mode: MarginMode


class CancelAllScheduled(Event, frozen=True, gc=False, tag=True):
    account: int
    at_ns: int
    """0: the schedule was taken back."""
    market: str = ""


class Liquidated(Event, frozen=True, gc=False, tag=True):
    """One step of a liquidation is done; its fills came just before this."""

    account: int
    market: str
    side: Side
    """Of the closing trade."""
    size: int
    price: int
    """Worst price of the step, ticks."""
    mark: int
    fee: int
    bankrupt: bool
    """Insurance fund or ADL had to step in."""


class Adl(Event, frozen=True, gc=False, tag=True):
    """A counterparty's position was reduced to close a bankrupt one."""

    account: int
    market: str
    side: Side
    """Of the fill on this account."""
    size: int
    price: int
    bankrupt_account: int


AnyEvent = (
    OrderAccepted
    | OrderRejected
    | OrderOpened
    | OrderTriggered
    | OrderFilled
    | OrderCancelled
    | OrderExpired
    | OrderAmended
    | Trade
    | BookDelta
    | PositionChanged
    | BalanceChanged
    | InsuranceChanged
    | FundingSettled
    | FundingPaid
    | MarkChanged
    | MarketChanged
    | MarketStatusChanged
    | LeverageChanged
    | CancelAllScheduled
    | Liquidated
    | Adl
)
