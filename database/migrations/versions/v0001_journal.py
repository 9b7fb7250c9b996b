"""First tables: pairs, intents, orders, fills, funding payments, ledger, decisions, strategy state."""

import sqlalchemy as sa
from alembic import op

from database.types import DecimalText, UtcNs

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward."""
    op.create_table(
        "decisions",
        sa.Column("decision_id", sa.String(length=64), nullable=False),
        sa.Column("strategy", sa.String(length=64), nullable=False),
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("pair_id", sa.String(length=64), nullable=True),
        sa.Column("symbol", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("rule", sa.String(length=64), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("inputs", sa.Text(), nullable=False),
        sa.Column("thresholds", sa.Text(), nullable=False),
        sa.Column("ages", sa.Text(), nullable=False),
        sa.Column("ts", UtcNs(length=30), nullable=False),
        sa.PrimaryKeyConstraint("decision_id", name=op.f("pk_decisions")),
    )
    op.create_index(op.f("ix_decisions_pair_id_ts"), "decisions", ["pair_id", "ts"], unique=False)
    op.create_table(
        "pairs",
        sa.Column("pair_id", sa.String(length=64), nullable=False),
        sa.Column("strategy", sa.String(length=64), nullable=False),
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("symbol", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("long_venue", sa.String(length=64), nullable=False),
        sa.Column("long_instrument", sa.String(length=96), nullable=False),
        sa.Column("short_venue", sa.String(length=64), nullable=False),
        sa.Column("short_instrument", sa.String(length=96), nullable=False),
        sa.Column("first_leg", sa.String(length=8), nullable=False),
        sa.Column("quantity", DecimalText(length=80), nullable=False),
        sa.Column("foreign_long", DecimalText(length=80), nullable=False),
        sa.Column("foreign_short", DecimalText(length=80), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("created_at", UtcNs(length=30), nullable=False),
        sa.Column("updated_at", UtcNs(length=30), nullable=False),
        sa.Column("opened_at", UtcNs(length=30), nullable=True),
        sa.Column("closed_at", UtcNs(length=30), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("residual_long", DecimalText(length=80), nullable=True),
        sa.Column("residual_short", DecimalText(length=80), nullable=True),
        sa.PrimaryKeyConstraint("pair_id", name=op.f("pk_pairs")),
    )
    op.create_index(op.f("ix_pairs_state"), "pairs", ["state"], unique=False)
    op.create_table(
        "strategy_state",
        sa.Column("strategy", sa.String(length=64), nullable=False),
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=96), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("updated_at", UtcNs(length=30), nullable=False),
        sa.PrimaryKeyConstraint("strategy", "account", "key", name=op.f("pk_strategy_state")),
    )
    op.create_table(
        "funding_payments",
        sa.Column("venue", sa.String(length=64), nullable=False),
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("record_id", sa.String(length=128), nullable=False),
        sa.Column("pair_id", sa.String(length=64), nullable=False),
        sa.Column("leg", sa.String(length=8), nullable=False),
        sa.Column("instrument", sa.String(length=96), nullable=False),
        sa.Column("amount", DecimalText(length=80), nullable=False),
        sa.Column("rate", DecimalText(length=80), nullable=True),
        sa.Column("position", DecimalText(length=80), nullable=True),
        sa.Column("ts_venue", UtcNs(length=30), nullable=False),
        sa.Column("recorded_at", UtcNs(length=30), nullable=False),
        sa.ForeignKeyConstraint(["pair_id"], ["pairs.pair_id"], name=op.f("fk_funding_payments_pair_id_pairs")),
        sa.PrimaryKeyConstraint("venue", "account", "record_id", name=op.f("pk_funding_payments")),
    )
    op.create_index(op.f("ix_funding_payments_pair_id_ts_venue"), "funding_payments", ["pair_id", "ts_venue"], unique=False)
    op.create_table(
        "intents",
        sa.Column("intent_id", sa.String(length=64), nullable=False),
        sa.Column("pair_id", sa.String(length=64), nullable=False),
        sa.Column("leg", sa.String(length=8), nullable=False),
        sa.Column("venue", sa.String(length=64), nullable=False),
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("instrument", sa.String(length=96), nullable=False),
        sa.Column("client_order_id", sa.String(length=96), nullable=False),
        sa.Column("side", sa.String(length=8), nullable=False),
        sa.Column("quantity", DecimalText(length=80), nullable=False),
        sa.Column("limit_price", DecimalText(length=80), nullable=True),
        sa.Column("reference_price", DecimalText(length=80), nullable=True),
        sa.Column("reduce_only", sa.Boolean(), nullable=False),
        sa.Column("time_in_force", sa.String(length=16), nullable=False),
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("created_at", UtcNs(length=30), nullable=False),
        sa.Column("updated_at", UtcNs(length=30), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["pair_id"], ["pairs.pair_id"], name=op.f("fk_intents_pair_id_pairs")),
        sa.PrimaryKeyConstraint("intent_id", name=op.f("pk_intents")),
        sa.UniqueConstraint("venue", "account", "client_order_id", name=op.f("uq_intents_venue_account_client_order_id")),
    )
    op.create_index(op.f("ix_intents_pair_id_created_at"), "intents", ["pair_id", "created_at"], unique=False)
    op.create_index(op.f("ix_intents_state"), "intents", ["state"], unique=False)
    op.create_table(
        "pair_ledger",
        sa.Column("line_id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("pair_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("venue", sa.String(length=64), nullable=False),
        sa.Column("record_id", sa.String(length=128), nullable=False),
        sa.Column("amount", DecimalText(length=80), nullable=False),
        sa.Column("asset", sa.String(length=16), nullable=False),
        sa.Column("ts", UtcNs(length=30), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["pair_id"], ["pairs.pair_id"], name=op.f("fk_pair_ledger_pair_id_pairs")),
        sa.PrimaryKeyConstraint("line_id", name=op.f("pk_pair_ledger")),
        sa.UniqueConstraint("pair_id", "kind", "venue", "record_id", name=op.f("uq_pair_ledger_pair_id_kind_venue_record_id")),
    )
    op.create_table(
        "fills",
        sa.Column("venue", sa.String(length=64), nullable=False),
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("trade_id", sa.String(length=96), nullable=False),
        sa.Column("pair_id", sa.String(length=64), nullable=False),
        sa.Column("leg", sa.String(length=8), nullable=False),
        sa.Column("instrument", sa.String(length=96), nullable=False),
        sa.Column("intent_id", sa.String(length=64), nullable=True),
        sa.Column("client_order_id", sa.String(length=96), nullable=True),
        sa.Column("order_id", sa.String(length=96), nullable=True),
        sa.Column("side", sa.String(length=8), nullable=False),
        sa.Column("price", DecimalText(length=80), nullable=False),
        sa.Column("quantity", DecimalText(length=80), nullable=False),
        sa.Column("fee", DecimalText(length=80), nullable=False),
        sa.Column("fee_asset", sa.String(length=16), nullable=False),
        sa.Column("liquidity", sa.String(length=16), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("ts_venue", UtcNs(length=30), nullable=False),
        sa.Column("recorded_at", UtcNs(length=30), nullable=False),
        sa.ForeignKeyConstraint(["intent_id"], ["intents.intent_id"], name=op.f("fk_fills_intent_id_intents")),
        sa.ForeignKeyConstraint(["pair_id"], ["pairs.pair_id"], name=op.f("fk_fills_pair_id_pairs")),
        sa.PrimaryKeyConstraint("venue", "account", "trade_id", name=op.f("pk_fills")),
    )
    op.create_index(op.f("ix_fills_pair_id_ts_venue"), "fills", ["pair_id", "ts_venue"], unique=False)
    op.create_table(
        "orders",
        sa.Column("venue", sa.String(length=64), nullable=False),
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("client_order_id", sa.String(length=96), nullable=False),
        sa.Column("intent_id", sa.String(length=64), nullable=False),
        sa.Column("pair_id", sa.String(length=64), nullable=False),
        sa.Column("order_id", sa.String(length=96), nullable=True),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("filled_size", DecimalText(length=80), nullable=False),
        sa.Column("average_price", DecimalText(length=80), nullable=True),
        sa.Column("cancel_reason", sa.Text(), nullable=True),
        sa.Column("updated_at", UtcNs(length=30), nullable=False),
        sa.ForeignKeyConstraint(["intent_id"], ["intents.intent_id"], name=op.f("fk_orders_intent_id_intents")),
        sa.ForeignKeyConstraint(["pair_id"], ["pairs.pair_id"], name=op.f("fk_orders_pair_id_pairs")),
        sa.PrimaryKeyConstraint("venue", "account", "client_order_id", name=op.f("pk_orders")),
    )
    op.create_index(op.f("ix_orders_pair_id"), "orders", ["pair_id"], unique=False)
    op.create_index(op.f("ix_orders_venue_account_order_id"), "orders", ["venue", "account", "order_id"], unique=False)


def downgrade() -> None:
    """Back."""
    op.drop_index(op.f("ix_orders_venue_account_order_id"), table_name="orders")
    op.drop_index(op.f("ix_orders_pair_id"), table_name="orders")
    op.drop_table("orders")
    op.drop_index(op.f("ix_fills_pair_id_ts_venue"), table_name="fills")
    op.drop_table("fills")
    op.drop_table("pair_ledger")
    op.drop_index(op.f("ix_intents_state"), table_name="intents")
    op.drop_index(op.f("ix_intents_pair_id_created_at"), table_name="intents")
    op.drop_table("intents")
    op.drop_index(op.f("ix_funding_payments_pair_id_ts_venue"), table_name="funding_payments")
    op.drop_table("funding_payments")
    op.drop_table("strategy_state")
    op.drop_index(op.f("ix_pairs_state"), table_name="pairs")
    op.drop_table("pairs")
    op.drop_index(op.f("ix_decisions_pair_id_ts"), table_name="decisions")
    op.drop_table("decisions")
