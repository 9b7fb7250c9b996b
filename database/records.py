"""Rows of the journal as plain frozen structs: what strategies read and write. Field names are column names.

Times are int nanoseconds UTC, amounts Decimal, quantities base units, positions signed (long > 0).
"""

import hashlib
from decimal import Decimal
from enum import StrEnum

import msgspec


class PairState(StrEnum):
    """Where a pair stands; only CLOSED is final."""

    PLANNED = "planned"
    OPENING = "opening"
    HEDGED = "hedged"
    REPAIRING = "repairing"
    CLOSING = "closing"
    CLOSED = "closed"
    ALERT = "alert"


class Leg(StrEnum):
    """Which of the two legs of a pair."""

    LONG = "long"
    SHORT = "short"

    @property
    def other(self) -> "Leg":
        """The opposite leg."""
        return Leg.SHORT if self is Leg.LONG else Leg.LONG

    @property
    def sign(self) -> int:
        """+1 for long, -1 for short."""
        return 1 if self is Leg.LONG else -1


class IntentState(StrEnum):
    """What is proved about an intent to send one order.

    PREPARED: journaled, bytes may or may not have left. WORKING: the venue has it. UNKNOWN: outcome ambiguous.
    SETTLED: terminal and its cumulative fill is booked. REFUSED: the venue (or our own check) refused it.
    ABSENT: proved never to have reached the venue.
    """

    PREPARED = "prepared"
    WORKING = "working"
    UNKNOWN = "unknown"
    SETTLED = "settled"
    REFUSED = "refused"
    ABSENT = "absent"

    @property
    def resolved(self) -> bool:
        """True when nothing about the order can change a position any more."""
        return self in (IntentState.SETTLED, IntentState.REFUSED, IntentState.ABSENT)


class FillCause(StrEnum):
    """How a position changed: by our order, or by the venue or somebody else without one."""

    TRADE = "trade"
    LIQUIDATION = "liquidation"
    ADL = "adl"
    SETTLEMENT = "settlement"
    EXTERNAL = "external"


class LedgerKind(StrEnum):
    """Parts of a pair's result; amounts are signed, gain positive."""

    PRICE = "price"
    SLIPPAGE = "slippage"
    FEE = "fee"
    FUNDING = "funding"
    UNWIND = "unwind"
    UNEXPLAINED = "unexplained"


class HoldingState(StrEnum):
    """Where a holding stands; only CLOSED is final."""

    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"
    ALERT = "alert"


class PairRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One two-leg position of one strategy, from plan to close."""

    pair_id: str
    strategy: str
    account: str
    symbol: str
    state: PairState
    long_venue: str
    long_instrument: str
    short_venue: str
    short_instrument: str
    first_leg: Leg
    quantity: Decimal
    foreign_long: Decimal
    foreign_short: Decimal
    plan: str
    created_at: int
    updated_at: int
    opened_at: int | None = None
    closed_at: int | None = None
    reason: str = ""
    residual_long: Decimal | None = None
    residual_short: Decimal | None = None

    def venue(self, leg: Leg) -> str:
        """The venue of a leg."""
        return self.long_venue if leg is Leg.LONG else self.short_venue

    def instrument(self, leg: Leg) -> str:
        """The instrument of a leg, as its InstrumentId text."""
        return self.long_instrument if leg is Leg.LONG else self.short_instrument

    def foreign(self, leg: Leg) -> Decimal:
        """What the account held in that instrument before the pair, signed; never touched by the pair."""
        return self.foreign_long if leg is Leg.LONG else self.foreign_short


class IntentRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One order that the engine decided to send; durable before its first byte leaves."""

    intent_id: str
    pair_id: str
    leg: Leg
    venue: str
    account: str
    instrument: str
    client_order_id: str
    side: str
    quantity: Decimal
    limit_price: Decimal | None
    reference_price: Decimal | None
    reduce_only: bool
    time_in_force: str
    purpose: str
    reason: str
    state: IntentState
    created_at: int
    updated_at: int
    note: str = ""
    tag: str = ""
    """What a strategy calls the order."""
    order_type: str = "limit"
    trigger_price: Decimal | None = None


class OrderRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The last that the venue said about an order."""

    venue: str
    account: str
    client_order_id: str
    intent_id: str
    pair_id: str
    order_id: str | None
    status: str
    filled_size: Decimal
    average_price: Decimal | None
    cancel_reason: str | None
    updated_at: int


class FillRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One execution, or an owner's share of one, once per (venue, account, trade id, side, owner)."""

    venue: str
    account: str
    trade_id: str
    pair_id: str
    leg: Leg
    instrument: str
    intent_id: str | None
    client_order_id: str | None
    order_id: str | None
    side: str
    price: Decimal
    quantity: Decimal
    fee: Decimal
    fee_asset: str
    liquidity: str
    kind: FillCause
    ts_venue: int
    recorded_at: int

    @property
    def signed(self) -> Decimal:
        """Quantity with the sign of what it did to the position."""
        return self.quantity if self.side == "buy" else -self.quantity


class FundingRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One funding payment as the venue booked it, or an owner's share of one; amount > 0 was received."""

    venue: str
    account: str
    record_id: str
    pair_id: str
    leg: Leg
    instrument: str
    amount: Decimal
    rate: Decimal | None
    position: Decimal | None
    ts_venue: int
    recorded_at: int


class LedgerLine(msgspec.Struct, frozen=True, kw_only=True):
    """One part of a pair's result on one venue; `record_id` makes it once-only within (pair, kind, venue)."""

    pair_id: str
    kind: LedgerKind
    venue: str
    record_id: str
    amount: Decimal
    asset: str
    ts: int
    note: str = ""


class DecisionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Why something was done or left: inputs, thresholds and data ages as JSON texts; written before it is acted upon."""

    decision_id: str
    strategy: str
    account: str
    pair_id: str | None
    symbol: str
    kind: str
    rule: str
    outcome: str
    inputs: str
    thresholds: str
    ages: str
    ts: int


class StateRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A versioned value of a strategy that survives a restart."""

    strategy: str
    account: str
    key: str
    version: int
    value: str
    updated_at: int


class HoldingRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One market held by one owner with many orders (a grid, a protected position), from its first order to its end.

    Its id stands where orders, fills, payments and ledger lines name their pair; their leg is LONG, quantities count long as positive.
    `foreign_quantity` is what the account held there before, signed.
    """

    holding_id: str
    strategy: str
    account: str
    venue: str
    instrument: str
    foreign_quantity: Decimal
    state: HoldingState
    plan: str
    reason: str
    created_at: int
    updated_at: int
    closed_at: int | None = None


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One life of a strategy's process; `ending` is empty while it runs, and after a crash."""

    run_id: str
    strategy: str
    account: str
    environment: str
    config: str
    started_at: int
    heartbeat_at: int
    ended_at: int | None = None
    ending: str = ""


class ConfigRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration that a bot ran with, once; `digest` is the SHA-256 of strategy, account, environment and text."""

    digest: str
    strategy: str
    account: str
    environment: str
    config: str
    first_used_at: int

    @classmethod
    def of(cls, run: RunRecord) -> "ConfigRecord":
        """That of a run."""
        text = "\n".join((run.strategy, run.account, run.environment, run.config))
        return cls(
            digest=hashlib.sha256(text.encode()).hexdigest(),
            strategy=run.strategy,
            account=run.account,
            environment=run.environment,
            config=run.config,
            first_used_at=run.started_at,
        )


class DeadLetterRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An event whose handler raised, with the traceback; `event` is JSON."""

    letter_id: str
    strategy: str
    account: str
    kind: str
    event: str
    error: str
    ts: int


class ApiKeyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A key of the control API; `scopes` are words with spaces between."""

    name: str
    hash: str
    scopes: str
    created_at: int
    revoked_at: int | None = None


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody had done to the bot; `detail` is JSON without secrets."""

    entry_id: str
    actor: str
    action: str
    detail: str
    ts: int
