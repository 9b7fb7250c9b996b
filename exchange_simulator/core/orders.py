"""Mutable state of orders, positions and accounts. Owned by the exchange: others read it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from exchange_simulator.core.types import (
    CancelReason,
    GroupKind,
    MarginMode,
    NewOrder,
    OrderStatus,
    RejectReason,
    SelfTrade,
    Side,
)

if TYPE_CHECKING:
    from exchange_simulator.core.market import MarketState


@dataclass(slots=True, eq=False)
class Position:
    """What one account holds in one market, and the settings and reservations that go with it. Kept when flat."""

    account: Account = field(repr=False)
    market: MarketState = field(repr=False)
    initial: int
    """Initial margin fraction the account chose."""
    mode: MarginMode
    size: int = 0
    cost: int = 0
    margin: int = 0
    """Isolated margin, moved out of the balance."""
    realised: int = 0
    """PnL since the account exists, before fees and funding."""
    funding: int = 0
    """Received (positive) or paid since the account exists."""
    opened_ns: int = 0
    """When it last left zero or changed sign; 0 when flat."""
    buying: int = 0
    """Steps of resting orders that are not reduce-only."""
    selling: int = 0
    reducing: dict[int, Order] = field(default_factory=dict, repr=False)
    """Live reduce-only orders, resting or untriggered."""

    def closable(self, side: Side) -> int:
        """Steps an order of that side may close."""
        if side is Side.SELL:
            return self.size if self.size > 0 else 0
        return -self.size if self.size < 0 else 0

    def worst(self) -> int:
        """Largest absolute size if one side of the resting orders fills."""
        return max(abs(self.size + self.buying), abs(self.size - self.selling))


@dataclass(slots=True, eq=False)
class Account:
    id: int
    balance: int = 0
    """Money: cross collateral without unrealised PnL and isolated margins."""
    positions: dict[str, Position] = field(default_factory=dict)
    orders: dict[int, Order] = field(default_factory=dict, repr=False)
    """Live ones, oldest first."""
    client_ids: dict[str, int] = field(default_factory=dict)
    """Newest order that used the id."""
    fees: dict[str, tuple[int, int]] = field(default_factory=dict)
    """(maker, taker) by market, "" for all others; the market's own where absent."""
    self_trade_group: int = 0
    """Accounts of one group count as one for self-trade prevention; by default each is its own."""
    cancel_all_ns: int = 0
    cancel_market_ns: dict[str, int] = field(default_factory=dict)
    """Dead-man switches of single markets."""
    fees_paid: int = 0


@dataclass(slots=True, eq=False)
class Group:
    id: int
    kind: GroupKind
    orders: tuple[Order, ...] = field(default=(), repr=False)

    @property
    def parent(self) -> Order | None:
        return None if self.kind is GroupKind.OCO else self.orders[0]

    def siblings(self, order: Order) -> list[Order]:
        """The others whose size is tied to this one's: none for a parent and for the children of a plain OTO."""
        if self.kind is GroupKind.OTO or order is self.parent:
            return []
        return [o for o in self.orders if o is not order and o is not self.parent]


@dataclass(slots=True, eq=False)
class Order:
    id: int
    request: NewOrder
    account: Account = field(repr=False)
    market: MarketState = field(repr=False)
    position: Position = field(repr=False)
    side: Side
    price: int
    size: int
    """As amended and clamped: filled plus remaining, plus cancelled once it is closed."""
    remaining: int
    created_ns: int
    updated_ns: int
    status: OrderStatus = OrderStatus.NEW
    reject_reason: RejectReason | None = None
    cancel_reason: CancelReason | None = None
    reduce_only: bool = False
    self_trade: SelfTrade = SelfTrade.CANCEL_MAKER
    trigger_price: int = 0
    filled: int = 0
    value: int = 0
    """Sum of price x size of the fills; average price = value / filled ticks."""
    fee: int = 0
    ahead: int = 0
    """Anonymous steps that stand before this order in its level."""
    group: Group | None = None
    replaced_by: int = 0

    @property
    def client_id(self) -> str:
        return self.request.client_id
