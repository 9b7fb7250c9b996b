"""The domain: instruments, orders, fills, positions, market data, funding.

Everywhere in this module and above it: prices are quote per ONE base unit, quantities base units, positions signed (long > 0), times
int nanoseconds UTC, money and rates Decimal. A venue's own units (contracts, thousands of tokens, percent) live in its converters only.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, Decimal, InvalidOperation
from enum import StrEnum
from typing import Any, Final

import msgspec

ZERO = Decimal(0)
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
NS_PER_HOUR = 3_600 * NS_PER_S

CANONICAL_INTERVAL_HOURS = Decimal(8)
HOURS_PER_YEAR = Decimal(8760)


class Side(StrEnum):
    """Side of an order; of a public trade: the taker's."""

    BUY = "buy"
    SELL = "sell"

    @property
    def sign(self) -> int:
        """+1 for BUY, -1 for SELL."""
        return 1 if self is Side.BUY else -1

    @property
    def opposite(self) -> Side:
        return Side.SELL if self is Side.BUY else Side.BUY


class OrderType(StrEnum):
    LIMIT = "limit"
    MARKET = "market"
    STOP_MARKET = "stop_market"
    STOP_LIMIT = "stop_limit"
    TAKE_PROFIT_MARKET = "take_profit_market"
    TAKE_PROFIT_LIMIT = "take_profit_limit"


TRIGGER_TYPES = frozenset({OrderType.STOP_MARKET, OrderType.STOP_LIMIT, OrderType.TAKE_PROFIT_MARKET, OrderType.TAKE_PROFIT_LIMIT})
MARKET_TYPES = frozenset({OrderType.MARKET, OrderType.STOP_MARKET, OrderType.TAKE_PROFIT_MARKET})


class TimeInForce(StrEnum):
    GTC = "GTC"
    GTT = "GTT"  # good till time: carries an expiry
    IOC = "IOC"
    FOK = "FOK"


class OrderStatus(StrEnum):
    """SUBMITTED: sent or queued, not proven on the book. PENDING: a trigger order waits, or a child waits for its parent.
    UNKNOWN: not proven (E1). The five last are terminal."""

    SUBMITTED = "submitted"
    PENDING = "pending"
    OPEN = "open"
    PARTIALLY_FILLED = "partially_filled"
    UNKNOWN = "unknown"
    FILLED = "filled"
    CANCELED = "canceled"
    REJECTED = "rejected"
    EXPIRED = "expired"
    NOT_SENT = "not_sent"

    @property
    def is_terminal(self) -> bool:
        return self in _TERMINAL


_TERMINAL = frozenset({OrderStatus.FILLED, OrderStatus.CANCELED, OrderStatus.REJECTED, OrderStatus.EXPIRED, OrderStatus.NOT_SENT})


class Purpose(StrEnum):
    """Why an order is sent; chooses its rate-limit lane."""

    ENTRY = "entry"
    CLOSE = "close"
    HEDGE = "hedge"
    UNWIND = "unwind"


class Lane(StrEnum):
    """Rate-limit lanes, most urgent first. ENTRY and SCAN cannot use the last 30 % of a pool."""

    UNWIND = "unwind"
    CANCEL = "cancel"
    CLOSE = "close"
    HEDGE = "hedge"
    QUERY = "query"
    ENTRY = "entry"
    SCAN = "scan"


class WaitFor(StrEnum):
    """How far `place_*` waits: the venue's synchronous answer, proof on the book, or a terminal state."""

    ACK = "ack"
    OPEN = "open"
    TERMINAL = "terminal"


class Ack(StrEnum):
    """What a venue's synchronous yes means. QUEUED: accepted into a queue, the order may still be refused."""

    FINAL = "final"
    QUEUED = "queued"


class Liquidity(StrEnum):
    MAKER = "maker"
    TAKER = "taker"
    UNKNOWN = "unknown"


class FillKind(StrEnum):
    TRADE = "trade"
    LIQUIDATION = "liquidation"
    ADL = "adl"
    SETTLEMENT = "settlement"


class MarginMode(StrEnum):
    CROSS = "cross"
    ISOLATED = "isolated"


class PositionMode(StrEnum):
    """ONE_WAY: a market has one signed position. HEDGE: a long and a short side by side, which pairs cannot be built on."""

    ONE_WAY = "one_way"
    HEDGE = "hedge"


class MarketStatus(StrEnum):
    ACTIVE = "active"
    POST_ONLY = "post_only"
    CANCEL_ONLY = "cancel_only"
    REDUCE_ONLY = "reduce_only"
    HALTED = "halted"
    DELISTED = "delisted"
    UNKNOWN = "unknown"


class RateKind(StrEnum):
    """PREDICTED: what the running interval would charge. SETTLED: what was charged."""

    PREDICTED = "predicted"
    SETTLED = "settled"


class InstrumentId(msgspec.Struct, frozen=True, cache_hash=True, order=True):
    """`{BASE}-{QUOTE}-PERP[-INV][@{dex}].{venue}`; `base` is canonical (PEPE, not kPEPE)."""

    base: str
    quote: str
    venue: str
    dex: str = ""
    inverse: bool = False

    def __str__(self) -> str:
        inverse = "-INV" if self.inverse else ""
        dex = f"@{self.dex}" if self.dex else ""
        return f"{self.base}-{self.quote}-PERP{inverse}{dex}.{self.venue}"

    @classmethod
    def parse(cls, text: str) -> InstrumentId:
        """The id written as text. Raises ValueError when it is not of the full form (aliases are resolved by the instrument provider)."""
        head, dot, venue = text.rpartition(".")
        body, _, dex = head.partition("@")
        parts = body.split("-")
        inverse = parts[-1] == "INV"
        if inverse:
            parts = parts[:-1]
        if not dot or not venue or len(parts) < 3 or parts[-1] != "PERP" or not all(parts):
            raise ValueError(f"{text!r} is not an instrument id: write BASE-QUOTE-PERP[@dex].venue, for example BTC-USDC-PERP.hyperliquid")
        return cls("-".join(parts[:-2]), parts[-2], venue, dex, inverse)


def round_to_increment(value: Decimal, increment: Decimal, rounding: str) -> Decimal:
    """`value` moved to a multiple of `increment` in the given decimal rounding mode."""
    return (value / increment).to_integral_value(rounding) * increment


MAX_EXPONENT: Final = 30
"""Nothing that is traded has a figure beyond 1e30 or, unless zero, below 1e-30: a venue that sends one sends garbage."""


def is_multiple(value: Decimal, increment: Decimal) -> bool:
    """Whether `value` is a whole number of increments; no number that is too long to tell is."""
    try:
        return value % increment == 0
    except InvalidOperation:
        return False


class PriceRule(msgspec.Struct, frozen=True):
    """Prices of at most `significant_figures` figures on top of the tick; whole numbers are always valid (Hyperliquid)."""

    significant_figures: int

    def increment_at(self, price: Decimal, tick: Decimal) -> Decimal:
        """The price step that applies at `price`."""
        exponent = price.adjusted() - self.significant_figures + 1
        return max(tick, min(Decimal(1).scaleb(exponent), Decimal(1)))


class Instrument(msgspec.Struct, frozen=True, kw_only=True):
    """One perpetual market as the venue trades it.

    `multiplier`: tokens of base per price unit of the venue (kPEPE: 1000). `contract_size`: base units per one venue size unit
    (kPEPE 1000, OKX BTC 0.01, most 1). All other figures are per base unit. None means the venue does not say.
    `ends_ns`: when trading ends, where the venue has announced it (a delisting).

    Inverse markets (`id.inverse`): a contract is a fixed amount of quote currency, so quantities (step, minimum, orders, fills, positions)
    are QUOTE units, `contract_size` is quote per contract (100 USD), and margin, PnL, fees and funding are in the base coin (`settle`).
    """

    id: InstrumentId
    venue_symbol: str
    contract_id: str
    settle: str
    tick_size: Decimal
    step_size: Decimal
    min_quantity: Decimal
    min_notional: Decimal = ZERO
    max_quantity: Decimal | None = None
    multiplier: Decimal = Decimal(1)
    contract_size: Decimal = Decimal(1)
    price_rule: PriceRule | None = None
    initial_margin: Decimal | None = None
    maintenance_margin: Decimal | None = None
    max_leverage: Decimal | None = None
    maker_fee: Decimal | None = None
    taker_fee: Decimal | None = None
    funding_interval_hours: Decimal | None = None
    funding_cap: Decimal | None = None
    only_isolated: bool = False
    status: MarketStatus = MarketStatus.ACTIVE
    ends_ns: int | None = None

    @property
    def symbol(self) -> str:
        return self.id.base

    @property
    def tradable(self) -> bool:
        return self.status is MarketStatus.ACTIVE

    def price_increment(self, price: Decimal) -> Decimal:
        """The step of valid order prices around `price`."""
        return (
            self.price_rule.increment_at(price * self.multiplier, self.tick_size * self.multiplier) / self.multiplier
            if self.price_rule
            else self.tick_size
        )

    def round_price(self, price: Decimal, rounding: str) -> Decimal:
        """The nearest valid order price in the given direction (`decimal` rounding mode)."""
        rounded = round_to_increment(price, self.price_increment(price), rounding)
        return round_to_increment(rounded, self.price_increment(rounded), rounding) if rounded else rounded

    def price_for(self, side: Side, price: Decimal, *, aggressive: bool = False) -> Decimal:
        """A valid price near `price`: never beyond it for the caller (BUY down, SELL up), or, `aggressive`, never short of it."""
        down = (side is Side.BUY) != aggressive
        return self.round_price(price, ROUND_FLOOR if down else ROUND_CEILING)

    def round_quantity(self, quantity: Decimal) -> Decimal:
        """Downward to the step: never more than asked for (E23)."""
        return round_to_increment(quantity, self.step_size, ROUND_DOWN)

    def is_valid_price(self, price: Decimal) -> bool:
        return price > 0 and is_multiple(price, self.price_increment(price))

    def value(self, quantity: Decimal, price: Decimal) -> Decimal:
        """Absolute worth in quote currency of a quantity at a price."""
        return abs(quantity) if self.id.inverse else abs(quantity) * price

    def to_venue_price(self, price: Decimal) -> Decimal:
        return price * self.multiplier

    def from_venue_price(self, price: Decimal) -> Decimal:
        return price / self.multiplier

    def to_venue_size(self, quantity: Decimal) -> Decimal:
        return quantity / self.contract_size

    def from_venue_size(self, size: Decimal) -> Decimal:
        return size * self.contract_size


# ---- orders


class OrderIntent(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller wants, before any check. `price` is the limit, or the worst price of a market order; `expire_ns` belongs to GTT."""

    instrument: InstrumentId
    side: Side
    quantity: Decimal
    price: Decimal | None = None
    order_type: OrderType = OrderType.LIMIT
    time_in_force: TimeInForce = TimeInForce.GTC
    post_only: bool = False
    reduce_only: bool = False
    trigger_price: Decimal | None = None
    expire_ns: int | None = None
    client_order_id: str | None = None
    purpose: Purpose = Purpose.ENTRY


class OrderAck(msgspec.Struct, frozen=True, kw_only=True):
    """The venue's synchronous yes. `order_id` is None where it comes later; fills told in the answer itself are in `filled_size`."""

    client_order_id: str
    order_id: str | None
    status: OrderStatus
    filled_size: Decimal = ZERO
    average_price: Decimal | None = None
    ts_venue_ns: int | None = None


class OrderInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The state of one order as far as it is proven."""

    instrument: InstrumentId
    order_id: str | None
    client_order_id: str | None
    side: Side
    size: Decimal
    price: Decimal | None
    status: OrderStatus
    filled_size: Decimal = ZERO
    remaining_size: Decimal = ZERO
    average_price: Decimal | None = None
    order_type: OrderType = OrderType.LIMIT
    time_in_force: TimeInForce = TimeInForce.GTC
    post_only: bool = False
    reduce_only: bool = False
    trigger_price: Decimal | None = None
    cancel_reason: str | None = None
    external: bool = False
    created_ns: int | None = None
    updated_ns: int | None = None


class OrderResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a flat verb of the client returns. `success` is the venue's synchronous acceptance; a definite refusal has it False.

    `order_id` may be None while a venue has only queued the order; `client_order_id` names it from the start, everywhere.
    `outcome` is "accepted", or the outcome of the error that `error` holds.
    """

    success: bool
    order_id: str | None = None
    client_order_id: str | None = None
    side: Side | None = None
    size: Decimal | None = None
    price: Decimal | None = None
    status: OrderStatus | None = None
    filled_size: Decimal = ZERO
    average_price: Decimal | None = None
    error_message: str | None = None
    outcome: str = "accepted"
    error: Exception | None = None


class Fill(msgspec.Struct, frozen=True, kw_only=True):
    """One execution of ours; the ledger's only source of price and fee. `fee` > 0 is paid, in `fee_asset`."""

    instrument: InstrumentId
    trade_id: str
    order_id: str | None
    client_order_id: str | None
    side: Side
    price: Decimal
    quantity: Decimal
    fee: Decimal
    fee_asset: str
    liquidity: Liquidity
    ts_venue_ns: int
    kind: FillKind = FillKind.TRADE
    realized_pnl: Decimal | None = None

    @property
    def signed_quantity(self) -> Decimal:
        return self.quantity * self.side.sign


TradeData = Fill
"""Given name: own trades of `get_user_trade_history`."""


# ---- account


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """One position; `quantity` signed in base units. None: the venue does not say. `cumulative_funding` > 0 was received."""

    instrument: InstrumentId
    quantity: Decimal
    entry_price: Decimal | None = None
    mark_price: Decimal | None = None
    unrealized_pnl: Decimal | None = None
    realized_pnl: Decimal | None = None
    cumulative_funding: Decimal | None = None
    margin_used: Decimal | None = None
    leverage: Decimal | None = None
    liquidation_price: Decimal | None = None
    margin_mode: MarginMode | None = None
    ts_ns: int = 0


class ExchangePositionSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Given name: a position with its valuation. `quantity` signed; `exposure_usd` absolute."""

    symbol: str
    quantity: Decimal
    side: str
    entry_price: Decimal | None
    mark_price: Decimal | None
    exposure_usd: Decimal | None
    unrealized_pnl: Decimal | None
    realized_pnl: Decimal | None
    cumulative_funding: Decimal | None
    margin_used: Decimal | None
    leverage: Decimal | None
    liquidation_price: Decimal | None
    timestamp: int
    metadata: dict[str, Any] = {}


class AccountState(msgspec.Struct, frozen=True, kw_only=True):
    """`available`: collateral free for new orders. `equity`: total value with unrealised PnL. None: the venue has no such figure."""

    available: Decimal | None
    equity: Decimal | None
    unrealized_pnl: Decimal | None = None
    margin_used: Decimal | None = None
    maintenance_margin: Decimal | None = None
    asset: str = "USDC"
    ts_ns: int = 0


class FundingPayment(msgspec.Struct, frozen=True, kw_only=True):
    """One funding payment of ours from the venue's records. `amount` > 0 was received."""

    instrument: InstrumentId
    payment_id: str
    amount: Decimal
    asset: str
    rate: Decimal | None
    position_quantity: Decimal | None
    ts_venue_ns: int


class FeeRates(msgspec.Struct, frozen=True, kw_only=True):
    """This account's own rates as fractions; negative maker is a rebate."""

    maker: Decimal
    taker: Decimal


class KeyInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What the key in use may do, for how long, and how its account holds positions. None: the venue does not say.

    `expires_ns`: None where the key has no end that the venue knows of. `can_withdraw`: it can move funds to somebody else, not only
    back to the owner's own address.
    """

    expires_ns: int | None = None
    can_trade: bool | None = None
    can_withdraw: bool | None = None
    position_mode: PositionMode | None = None


class LeverageInfo(msgspec.Struct, frozen=True, kw_only=True):
    """`brackets`: (notional from which on, most leverage). `maintenance_margin`: of the first one, where the market says none."""

    max_leverage: Decimal | None
    max_notional: Decimal | None = None
    margin_requirement: Decimal | None = None
    brackets: tuple[tuple[Decimal, Decimal], ...] = ()
    account_leverage: Decimal | None = None
    margin_mode: MarginMode | None = None
    maintenance_margin: Decimal | None = None


class LiquidationEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A liquidation or ADL of our own position, or (public streams) of somebody's."""

    instrument: InstrumentId
    side: Side
    quantity: Decimal
    price: Decimal | None
    ts_venue_ns: int
    kind: FillKind = FillKind.LIQUIDATION
    own: bool = True
    metadata: dict[str, Any] = {}


class MassStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the venue knows of us, for reconciliation: orders (open and recent), fills and positions, as of `ts_ns`."""

    orders: tuple[OrderInfo, ...]
    fills: tuple[Fill, ...]
    positions: tuple[Position, ...]
    ts_ns: int


# ---- market data


class Bbo(msgspec.Struct, frozen=True):
    """Best bid and ask with sizes."""

    instrument: InstrumentId
    bid: Decimal
    bid_size: Decimal
    ask: Decimal
    ask_size: Decimal
    ts_venue_ns: int | None
    ts_recv_ns: int


BBOData = Bbo
"""Given name."""


class BookLevel(msgspec.Struct, frozen=True):
    price: Decimal
    size: Decimal


class BookSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Best level first on both sides."""

    instrument: InstrumentId
    bids: tuple[BookLevel, ...]
    asks: tuple[BookLevel, ...]
    ts_venue_ns: int | None
    ts_recv_ns: int
    sequence: int | None = None


class Trade(msgspec.Struct, frozen=True):
    """A public trade; `side` is the taker's."""

    instrument: InstrumentId
    trade_id: str
    price: Decimal
    quantity: Decimal
    side: Side
    ts_venue_ns: int
    kind: FillKind = FillKind.TRADE


class Candle(msgspec.Struct, frozen=True, kw_only=True):
    """`volume` in base units; `open_ns` is the start of the interval."""

    instrument: InstrumentId
    interval: str
    open_ns: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    closed: bool = True


class Ticker(msgspec.Struct, frozen=True, kw_only=True):
    """24 h view. `volume_24h` and `open_interest` in USD (one-sided); None: the venue does not say, or not in this answer."""

    instrument: InstrumentId
    last: Decimal | None = None
    mark: Decimal | None = None
    index: Decimal | None = None
    bid: Decimal | None = None
    ask: Decimal | None = None
    volume_24h: Decimal | None = None
    open_interest: Decimal | None = None
    ts_ns: int = 0


class MarkPrice(msgspec.Struct, frozen=True):
    instrument: InstrumentId
    price: Decimal
    ts_ns: int


class IndexPrice(msgspec.Struct, frozen=True):
    instrument: InstrumentId
    price: Decimal
    ts_ns: int


class FundingRateSample(msgspec.Struct, frozen=True, kw_only=True):
    """One funding rate with its own interval; positive: longs pay shorts (E28).

    `raw_rate` is a fraction per `interval_hours`. `next_funding_time` and `source_timestamp` are ns UTC; None where the venue has none
    (continuous funding) or does not say.
    """

    raw_rate: Decimal
    interval_hours: Decimal
    kind: RateKind
    next_funding_time: int | None = None
    settled_at: int | None = None
    source_timestamp: int | None = None
    cap: Decimal | None = None
    instrument: InstrumentId | None = None
    metadata: dict[str, Any] = {}

    @property
    def hourly_rate(self) -> Decimal:
        return self.raw_rate / self.interval_hours

    @property
    def normalized_rate(self) -> Decimal:
        """Per 8 hours."""
        return self.raw_rate * CANONICAL_INTERVAL_HOURS / self.interval_hours

    @property
    def annual_rate(self) -> Decimal:
        """Simple, not compounded."""
        return self.raw_rate * HOURS_PER_YEAR / self.interval_hours


class MarketSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What a venue said about one market's funding at one moment. `sample` is None where it named no rate, or one that cannot be: then
    `problem` says why."""

    instrument: Instrument
    sample: FundingRateSample | None = None
    ticker: Ticker | None = None
    problem: str | None = None


class VenueSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """All markets of a venue. `missing`: answers that did not come, for which the markets lack figures."""

    markets: tuple[MarketSnapshot, ...]
    missing: tuple[str, ...] = ()


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """Something may have been missed on this stream: state built from it is not proven until it is rebuilt."""

    venue: str
    topic: str
    reason: str
    ts_ns: int
    instrument: InstrumentId | None = None
