"""Tables of trading: one class per record of `database.records`, same field names; a test holds the two together.

Where orders, fills, payments and ledger lines say `pair_id`, that is their owner: a pair, or a holding of one market.
"""

from decimal import Decimal

from sqlalchemy import ForeignKey, Index, Integer, PrimaryKeyConstraint, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from database.types import UtcNs

from .base import ID, NAME, Base


class PairRow(Base):
    """Two-leg positions."""

    __tablename__ = "pairs"
    pair_id: Mapped[str] = mapped_column(ID, primary_key=True)
    strategy: Mapped[str] = mapped_column(NAME)
    account: Mapped[str] = mapped_column(NAME)
    symbol: Mapped[str] = mapped_column(NAME)
    state: Mapped[str] = mapped_column(String(16), index=True)
    long_venue: Mapped[str] = mapped_column(NAME)
    long_instrument: Mapped[str] = mapped_column(String(96))
    short_venue: Mapped[str] = mapped_column(NAME)
    short_instrument: Mapped[str] = mapped_column(String(96))
    first_leg: Mapped[str] = mapped_column(String(8))
    quantity: Mapped[Decimal]
    foreign_long: Mapped[Decimal]
    foreign_short: Mapped[Decimal]
    plan: Mapped[str] = mapped_column(Text)
    created_at: Mapped[int] = mapped_column(UtcNs)
    updated_at: Mapped[int] = mapped_column(UtcNs)
    opened_at: Mapped[int | None] = mapped_column(UtcNs)
    closed_at: Mapped[int | None] = mapped_column(UtcNs)
    reason: Mapped[str] = mapped_column(Text)
    residual_long: Mapped[Decimal | None]
    residual_short: Mapped[Decimal | None]


class IntentRow(Base):
    """Orders the engine decided to send."""

    __tablename__ = "intents"
    __table_args__ = (UniqueConstraint("venue", "account", "client_order_id"), Index(None, "pair_id", "created_at"))
    intent_id: Mapped[str] = mapped_column(ID, primary_key=True)
    pair_id: Mapped[str] = mapped_column(ID)
    leg: Mapped[str] = mapped_column(String(8))
    venue: Mapped[str] = mapped_column(NAME)
    account: Mapped[str] = mapped_column(NAME)
    instrument: Mapped[str] = mapped_column(String(96))
    client_order_id: Mapped[str] = mapped_column(String(96))
    side: Mapped[str] = mapped_column(String(8))
    quantity: Mapped[Decimal]
    limit_price: Mapped[Decimal | None]
    reference_price: Mapped[Decimal | None]
    reduce_only: Mapped[bool]
    time_in_force: Mapped[str] = mapped_column(String(16))
    purpose: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(16), index=True)
    created_at: Mapped[int] = mapped_column(UtcNs)
    updated_at: Mapped[int] = mapped_column(UtcNs)
    note: Mapped[str] = mapped_column(Text)
    tag: Mapped[str] = mapped_column(NAME, server_default="")
    order_type: Mapped[str] = mapped_column(String(32), server_default="limit")
    trigger_price: Mapped[Decimal | None]


class OrderRow(Base):
    """What the venue last said about an order of ours."""

    __tablename__ = "orders"
    __table_args__ = (Index(None, "venue", "account", "order_id"), Index(None, "pair_id"))
    venue: Mapped[str] = mapped_column(NAME, primary_key=True)
    account: Mapped[str] = mapped_column(NAME, primary_key=True)
    client_order_id: Mapped[str] = mapped_column(String(96), primary_key=True)
    intent_id: Mapped[str] = mapped_column(ForeignKey("intents.intent_id"))
    pair_id: Mapped[str] = mapped_column(ID)
    order_id: Mapped[str | None] = mapped_column(String(96))
    status: Mapped[str] = mapped_column(String(32))
    filled_size: Mapped[Decimal]
    average_price: Mapped[Decimal | None]
    cancel_reason: Mapped[str | None] = mapped_column(Text)
    updated_at: Mapped[int] = mapped_column(UtcNs)


class FillRow(Base):
    """Executions, once per venue trade id, side and owner: two owners may trade with each other, or share a liquidation."""

    __tablename__ = "fills"
    __table_args__ = (PrimaryKeyConstraint("venue", "account", "trade_id", "side", "pair_id"), Index(None, "pair_id", "ts_venue"))
    venue: Mapped[str] = mapped_column(NAME)
    account: Mapped[str] = mapped_column(NAME)
    trade_id: Mapped[str] = mapped_column(String(96))
    pair_id: Mapped[str] = mapped_column(ID)
    leg: Mapped[str] = mapped_column(String(8))
    instrument: Mapped[str] = mapped_column(String(96))
    intent_id: Mapped[str | None] = mapped_column(ForeignKey("intents.intent_id"))
    client_order_id: Mapped[str | None] = mapped_column(String(96))
    order_id: Mapped[str | None] = mapped_column(String(96))
    side: Mapped[str] = mapped_column(String(8))
    price: Mapped[Decimal]
    quantity: Mapped[Decimal]
    fee: Mapped[Decimal]
    fee_asset: Mapped[str] = mapped_column(String(16))
    liquidity: Mapped[str] = mapped_column(String(16))
    kind: Mapped[str] = mapped_column(String(16))
    ts_venue: Mapped[int] = mapped_column(UtcNs)
    recorded_at: Mapped[int] = mapped_column(UtcNs)


class FundingPaymentRow(Base):
    """Funding as booked by the venue, once per record and owner, who may have a share of it."""

    __tablename__ = "funding_payments"
    __table_args__ = (Index(None, "pair_id", "ts_venue"),)
    venue: Mapped[str] = mapped_column(NAME, primary_key=True)
    account: Mapped[str] = mapped_column(NAME, primary_key=True)
    record_id: Mapped[str] = mapped_column(String(128), primary_key=True)
    pair_id: Mapped[str] = mapped_column(ID, primary_key=True)
    leg: Mapped[str] = mapped_column(String(8))
    instrument: Mapped[str] = mapped_column(String(96))
    amount: Mapped[Decimal]
    rate: Mapped[Decimal | None]
    position: Mapped[Decimal | None]
    ts_venue: Mapped[int] = mapped_column(UtcNs)
    recorded_at: Mapped[int] = mapped_column(UtcNs)


class LedgerRow(Base):
    """Parts of a pair's result."""

    __tablename__ = "pair_ledger"
    __table_args__ = (UniqueConstraint("pair_id", "kind", "venue", "record_id"),)
    line_id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    pair_id: Mapped[str] = mapped_column(ID)
    kind: Mapped[str] = mapped_column(String(16))
    venue: Mapped[str] = mapped_column(NAME)
    record_id: Mapped[str] = mapped_column(String(128))
    amount: Mapped[Decimal]
    asset: Mapped[str] = mapped_column(String(16))
    ts: Mapped[int] = mapped_column(UtcNs)
    note: Mapped[str] = mapped_column(Text)


class DecisionRow(Base):
    """Decisions with everything that led to them."""

    __tablename__ = "decisions"
    __table_args__ = (Index(None, "pair_id", "ts"),)
    decision_id: Mapped[str] = mapped_column(ID, primary_key=True)
    strategy: Mapped[str] = mapped_column(NAME)
    account: Mapped[str] = mapped_column(NAME)
    pair_id: Mapped[str | None] = mapped_column(ID)
    symbol: Mapped[str] = mapped_column(NAME)
    kind: Mapped[str] = mapped_column(String(16))
    rule: Mapped[str] = mapped_column(String(64))
    outcome: Mapped[str] = mapped_column(Text)
    inputs: Mapped[str] = mapped_column(Text)
    thresholds: Mapped[str] = mapped_column(Text)
    ages: Mapped[str] = mapped_column(Text)
    ts: Mapped[int] = mapped_column(UtcNs)


class StrategyStateRow(Base):
    """Versioned state of strategies."""

    __tablename__ = "strategy_state"
    strategy: Mapped[str] = mapped_column(NAME, primary_key=True)
    account: Mapped[str] = mapped_column(NAME, primary_key=True)
    key: Mapped[str] = mapped_column(String(96), primary_key=True)
    version: Mapped[int] = mapped_column(Integer)
    value: Mapped[str] = mapped_column(Text)
    updated_at: Mapped[int] = mapped_column(UtcNs)


class HoldingRow(Base):
    """One market, one owner, many orders."""

    __tablename__ = "holdings"
    holding_id: Mapped[str] = mapped_column(ID, primary_key=True)
    strategy: Mapped[str] = mapped_column(NAME)
    account: Mapped[str] = mapped_column(NAME)
    venue: Mapped[str] = mapped_column(NAME)
    instrument: Mapped[str] = mapped_column(String(96))
    foreign_quantity: Mapped[Decimal]
    state: Mapped[str] = mapped_column(String(16), index=True)
    plan: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    created_at: Mapped[int] = mapped_column(UtcNs)
    updated_at: Mapped[int] = mapped_column(UtcNs)
    closed_at: Mapped[int | None] = mapped_column(UtcNs)
