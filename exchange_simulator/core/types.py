"""Words of the simulated exchange: units, enums, what a market is, what a venue's rules are, what an order asks for.

Everything inside the core is an integer, so equal inputs give equal outputs to the last unit:

    price       ticks                    `Market.tick_size` of quote currency each
    size        steps                    `Market.step_size` of base currency each (a position is signed, long > 0)
    mark, index "ref" units              thousandths of a tick, because venues publish them finer than the tick
    money       1e-12 of the settlement asset                                     (`money`, `to_money`)
    fraction    1e-12: fees, margin fractions, funding rates, price bands         (`fraction`, `to_fraction`)
    coin        1e-18 of what one step is at a price of one tick: what an inverse position was opened with (`Market.inverse`)
    time        nanoseconds, UTC

price x size must be settlement currency; whether the size unit is one token or one thousand is the caller's choice.
Decimal stands only at the edge, in the helpers here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

import msgspec

from exchange_clients.model import Liquidity as Liquidity
from exchange_clients.model import MarginMode as MarginMode
from exchange_clients.model import MarketStatus as MarketStatus
from exchange_clients.model import Side as Side

UNIT = 10**12
"""Money units in one settlement unit; fraction units in 1."""
REF = 1000
"""Ref units (mark, index) in one tick."""
NANOS_PER_HOUR = 3_600 * 10**9
COIN = 10**18
"""Coin units that one step of an inverse market has at a price of one tick."""
ANONYMOUS = 0
"""The account that owns all liquidity without an owner: never charged, never liquidated, no margin."""


def to_money(value: Decimal | int | str) -> int:
    """Money units of an amount of the settlement asset. Raises ValueError when it is finer than one unit."""
    return _exact(Decimal(value) * UNIT, "amount")


def money(units: int) -> Decimal:
    """Amount of the settlement asset, exact."""
    return Decimal(units).scaleb(-12)


def to_fraction(value: Decimal | int | str) -> int:
    """Fraction units of a plain fraction ("0.0005" is 5 bps). Raises ValueError when it is finer than one unit."""
    return _exact(Decimal(value) * UNIT, "fraction")


def fraction(units: int) -> Decimal:
    """Plain fraction, exact."""
    return Decimal(units).scaleb(-12)


def _exact(value: Decimal, what: str) -> int:
    whole = int(value)
    if whole != value:
        raise ValueError(f"{what} {value} is not a whole number of units")
    return whole


class OrderType(StrEnum):
    LIMIT = "limit"
    MARKET = "market"
    """Takes what it can at once; `price` is the worst acceptable one, 0 for none."""


class TimeInForce(StrEnum):
    GTC = "gtc"
    """Rests until cancelled, or until `NewOrder.expires_ns` when that is set."""
    IOC = "ioc"
    FOK = "fok"


class PostOnly(StrEnum):
    OFF = "off"
    REJECT = "reject"
    """Never takes; what happens when it would is `Rules.post_only_late`."""
    SLIDE = "slide"
    """Moves to one tick from the best opposite price when it would take."""


class OrderStatus(StrEnum):
    NEW = "new"
    WAITING = "waiting"
    """Child of a parent that has not filled."""
    UNTRIGGERED = "untriggered"
    OPEN = "open"
    FILLED = "filled"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REJECTED = "rejected"

    @property
    def terminal(self) -> bool:
        return self in _TERMINAL


_TERMINAL = frozenset({OrderStatus.FILLED, OrderStatus.CANCELLED, OrderStatus.EXPIRED, OrderStatus.REJECTED})


class PriceSource(StrEnum):
    MARK = "mark"
    INDEX = "index"
    LAST = "last"


class TriggerKind(StrEnum):
    """How the trader calls it; the direction of the trigger is `Trigger.above`."""

    STOP = "stop"
    TAKE_PROFIT = "take_profit"


class TradeKind(StrEnum):
    NORMAL = "normal"
    LIQUIDATION = "liquidation"
    ADL = "adl"
    SETTLEMENT = "settlement"
    """The end of a market closed the position; nobody traded."""


class RejectReason(StrEnum):
    """Why a request changed nothing."""

    UNKNOWN_ORDER = "unknown_order"
    """Never existed, is another account's, or is closed already."""
    MARKET_STATUS = "market_status"
    NO_MARK_PRICE = "no_mark_price"
    BAD_SIZE = "bad_size"
    MIN_SIZE = "min_size"
    MAX_SIZE = "max_size"
    MIN_NOTIONAL = "min_notional"
    BAD_PRICE = "bad_price"
    PRICE_BAND = "price_band"
    BAD_EXPIRY = "bad_expiry"
    BAD_TRIGGER = "bad_trigger"
    BAD_GROUP = "bad_group"
    POST_ONLY_WOULD_CROSS = "post_only_would_cross"
    INSUFFICIENT_MARGIN = "insufficient_margin"
    REDUCE_ONLY = "reduce_only"
    DUPLICATE_CLIENT_ID = "duplicate_client_id"
    TOO_MANY_ORDERS = "too_many_orders"
    BAD_LEVERAGE = "bad_leverage"
    MARGIN_MODE = "margin_mode"
    """The mode cannot change while there is a position or an order, or the market allows isolated only."""


class CancelReason(StrEnum):
    USER = "user"
    SCHEDULED = "scheduled"
    """The account's dead-man switch fired."""
    IOC = "ioc"
    """Remainder of an immediate order after something was found."""
    NO_LIQUIDITY = "no_liquidity"
    """Immediate order that met an empty book or none within its price."""
    SLIPPAGE = "slippage"
    """Market order whose worst price was reached."""
    FOK = "fok"
    POST_ONLY = "post_only"
    SELF_TRADE = "self_trade"
    REDUCE_ONLY = "reduce_only"
    MARGIN = "margin"
    LIQUIDATION = "liquidation"
    SIBLING_FILLED = "sibling_filled"
    PARENT_CANCELLED = "parent_cancelled"
    REPLACED = "replaced"
    REJECTED_ON_TRIGGER = "rejected_on_trigger"
    """The order a trigger released was refused; `OrderCancelled.detail` has the reason."""
    DELISTED = "delisted"


class PositionReason(StrEnum):
    TRADE = "trade"
    LIQUIDATION = "liquidation"
    ADL = "adl"
    FUNDING = "funding"
    MARGIN = "margin"
    """Isolated margin moved in or out by the owner."""
    SETTLEMENT = "settlement"


class BalanceReason(StrEnum):
    DEPOSIT = "deposit"
    WITHDRAWAL = "withdrawal"
    TRADE = "trade"
    """Realised PnL, fee and isolated margin of one fill, in one step."""
    FUNDING = "funding"
    MARGIN = "margin"
    LIQUIDATION_FEE = "liquidation_fee"
    INSURANCE = "insurance"
    SETTLEMENT = "settlement"


class ReduceOnlyMode(StrEnum):
    """What a venue does with a reduce-only order larger than the position. Without a position to reduce all refuse it."""

    REJECT = "reject"
    CLAMP = "clamp"
    """Cut to the position at entry."""
    AT_MATCH = "at_match"
    """Kept at its size; never executes beyond the position at that moment."""
    IGNORE = "ignore"
    """The venue has no reduce-only: the flag does nothing."""


class SelfTrade(StrEnum):
    CANCEL_MAKER = "cancel_maker"
    CANCEL_TAKER = "cancel_taker"
    CANCEL_BOTH = "cancel_both"
    REDUCE = "reduce"
    """Both lose the smaller of the two sizes, without a trade."""
    ALLOW = "allow"


class AmendMode(StrEnum):
    IN_PLACE = "in_place"
    """Same order id; queue priority is kept when only the size falls."""
    REPLACE = "replace"
    """Cancel and a new order with a new id and the same client id; always behind the queue."""


class ClientIds(StrEnum):
    """Among which orders of an account a client id must be new."""

    ANY = "any"
    OPEN = "open"
    EVER = "ever"


class QueueModel(StrEnum):
    """Where anonymous size that disappears without a trade stood relative to users' orders (see `book.py`)."""

    BEHIND = "behind"
    """Behind them as long as anything is there: users never gain priority by luck. The careful choice."""
    PROPORTIONAL = "proportional"
    """Evenly over the queue."""


class GroupKind(StrEnum):
    OTO = "oto"
    """First order; the others start when it has filled."""
    OCO = "oco"
    """What one fills the others lose."""
    OTOCO = "otoco"
    """First order; the others start as OCO when it has filled."""


@dataclass(frozen=True, slots=True)
class MarginTier:
    """Margin fractions that hold from a notional (money units) on. Fractions apply to the whole position."""

    floor: int
    initial: int
    maintenance: int


@dataclass(frozen=True, slots=True)
class Market:
    """One perpetual market. `notional_unit` is the money of one tick times one step, `ref_unit` that of one ref times one step.

    `inverse`: sizes count quote currency, so a size is worth the same at every price, and what moves is the coin. A position then holds
    the coin of its entries (`Position.cost`, in coin units). Profit is made in coin and turned into the collateral at the price of the fill
    that makes it; `notional_unit` is the money of one step, `ref_unit` 0.

    Raises:
        ValueError: tick times step is finer than 1e-9 settlement units, or a figure is out of range.
    """

    symbol: str
    tick_size: Decimal
    step_size: Decimal
    tiers: tuple[MarginTier, ...] = (MarginTier(0, UNIT // 20, UNIT // 40),)
    maker_fee: int = 0
    taker_fee: int = 0
    min_size: int = 1
    max_size: int = 0
    """Largest order in steps, 0 for none."""
    min_notional: int = 0
    funding_interval_ns: int = NANOS_PER_HOUR
    funding_offset_ns: int = 0
    """How long after whole multiples of the interval in UTC it settles: 4 h for settlements at 04, 12 and 20 o'clock."""
    funding_cap: int = 0
    """Largest absolute rate per interval, 0 for none."""
    funding_price: PriceSource = PriceSource.INDEX
    price_band: int = 0
    """Largest distance of a limit price from mark, as a fraction of mark; 0 for none."""
    liquidation_fee: int = 0
    """Of the notional a liquidation closes, to the insurance fund, never more than what the account has left."""
    isolated_only: bool = False
    impact_notional: int = 0
    """Money a premium sample's impact prices are taken for; 0 for the best prices."""
    status: MarketStatus = MarketStatus.ACTIVE
    inverse: bool = False
    notional_unit: int = field(init=False)
    ref_unit: int = field(init=False)

    def __post_init__(self) -> None:
        if not (self.tick_size > 0 and self.step_size > 0):
            raise ValueError("tick_size and step_size must be positive")
        unit = self.step_size * UNIT if self.inverse else self.tick_size * self.step_size * UNIT
        if unit % REF != 0:
            raise ValueError("tick_size * step_size must be a multiple of 1e-9")
        object.__setattr__(self, "notional_unit", int(unit))
        object.__setattr__(self, "ref_unit", 0 if self.inverse else int(unit) // REF)
        if not self.tiers or self.tiers[0].floor != 0 or [t.floor for t in self.tiers] != sorted({t.floor for t in self.tiers}):
            raise ValueError("margin tiers must start at 0 and ascend")
        if any(not 0 < t.maintenance <= t.initial <= UNIT for t in self.tiers):
            raise ValueError("0 < maintenance <= initial <= 1 must hold in every margin tier")
        if self.funding_interval_ns <= 0 or self.min_size < 1:
            raise ValueError("funding_interval_ns and min_size must be positive")
        if not 0 <= self.funding_offset_ns < self.funding_interval_ns:
            raise ValueError("funding_offset_ns must be less than the interval")

    @property
    def max_leverage(self) -> Decimal:
        return UNIT / Decimal(self.tiers[0].initial)

    def tier(self, notional: int) -> MarginTier:
        """The margin tier of a position of that notional."""
        tiers = self.tiers
        found = tiers[0]
        if len(tiers) > 1:
            for tier in tiers:
                if tier.floor <= notional:
                    found = tier
        return found

    def notional(self, price: int, size: int) -> int:
        """Money of a size at a price in ticks."""
        return size * self.notional_unit if self.inverse else price * size * self.notional_unit

    def worth(self, coins: int, ref: int) -> int:
        """Money of coin units of an inverse market at a price in ref units."""
        return coins * ref * self.notional_unit // (COIN * REF)

    def entry_price(self, size: int, cost: int) -> Decimal:
        """Average entry price of a position that is not flat."""
        if self.inverse:
            return self.tick_size * size * COIN / cost
        return money(cost) / self.size(size)

    def to_ticks(self, price: Decimal) -> int:
        """Raises ValueError when the price is off tick."""
        return _exact(price / self.tick_size, "price in ticks")

    def to_steps(self, size: Decimal) -> int:
        """Raises ValueError when the size is off step."""
        return _exact(size / self.step_size, "size in steps")

    def to_ref(self, price: Decimal) -> int:
        """Mark or index in ref units, rounded half even."""
        return int((price / self.tick_size * REF).to_integral_value())

    def price(self, ticks: int) -> Decimal:
        return ticks * self.tick_size

    def size(self, steps: int) -> Decimal:
        return steps * self.step_size

    def ref_price(self, ref: int) -> Decimal:
        return ref * self.tick_size / REF


@dataclass(frozen=True, slots=True)
class Rules:
    """How one venue differs from another. Latency, rate limits and wording are the dialect's, not the core's."""

    reduce_only: ReduceOnlyMode = ReduceOnlyMode.CLAMP
    reduce_only_ignores_minimum: bool = True
    self_trade: SelfTrade = SelfTrade.CANCEL_MAKER
    amend: AmendMode = AmendMode.IN_PLACE
    client_ids: ClientIds = ClientIds.OPEN
    post_only_late: bool = False
    """A post-only order that would take is acknowledged and then cancelled, instead of refused."""
    queue: QueueModel = QueueModel.BEHIND
    untriggered_need_position: bool = False
    """Conditional reduce-only orders need a position when they come and go when it closes, instead of when they trigger."""
    refuse_met_trigger: bool = False
    """A trigger whose price is reached already is refused, instead of released at once."""
    max_open_orders: int = 0
    """Resting and untriggered orders of an account, 0 for no limit."""
    max_open_orders_per_market: int = 0
    children_of_partial_parent: bool = True
    """A parent that ends partly filled starts its children, cut to what it filled; else they are cancelled."""
    liquidation_chunk: int = UNIT
    """Fraction of a position each liquidation step closes."""
    closeout: int = UNIT * 2 // 3
    """Below this fraction of maintenance margin the insurance fund and then ADL take what the book did not."""
    default_initial: int = 0
    """Initial margin fraction of an account that never set leverage; 0 for the market's lowest."""


class Trigger(msgspec.Struct, frozen=True, gc=False):
    """Releases the order when `source` reaches `price` (ticks) from below (`above=True`) or from above."""

    price: int
    above: bool
    source: PriceSource = PriceSource.MARK
    kind: TriggerKind = TriggerKind.STOP


class NewOrder(msgspec.Struct, frozen=True, gc=False):
    """What an account asks for. Sizes in steps, prices in ticks."""

    account: int
    market: str
    side: Side
    size: int
    price: int = 0
    """Limit price; for MARKET the worst acceptable price, 0 for none."""
    type: OrderType = OrderType.LIMIT
    time_in_force: TimeInForce = TimeInForce.GTC
    post_only: PostOnly = PostOnly.OFF
    reduce_only: bool = False
    client_id: str = ""
    """Opaque; "" for none."""
    expires_ns: int = 0
    """0 for never."""
    trigger: Trigger | None = None
    close_position: bool = False
    """With a trigger: size is 0, and the whole position of that moment is closed."""
    self_trade: SelfTrade | None = None
    """Overrides `Rules.self_trade` while this order takes."""
