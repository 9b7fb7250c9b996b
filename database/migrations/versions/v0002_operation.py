"""Orders that belong to a holding instead of a pair; runs, dead letters, keys of the control API, audit log."""

import sqlalchemy as sa
from alembic import op
from alembic.operations.base import BatchOperations

from database.types import DecimalText, UtcNs

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

OWNED = ("funding_payments", "pair_ledger")
FOLLOWERS = ("orders", "fills")
"""Tables that point at intents; SQLite rebuilds a table to change it, which nothing may point at meanwhile."""


KEYS = {
    "fills": (("venue", "account", "trade_id"), ("side", "pair_id")),
    "funding_payments": (("venue", "account", "record_id"), ("pair_id",)),
}
"""What names a row: first version, and what came to it, since several owners share one market, its liquidations and its payments."""


def upgrade() -> None:
    """Forward."""
    _rebuild(to_pairs=False)
    op.add_column("intents", sa.Column("tag", sa.String(length=64), server_default="", nullable=False))
    op.add_column("intents", sa.Column("order_type", sa.String(length=32), server_default="limit", nullable=False))
    op.add_column("intents", sa.Column("trigger_price", DecimalText(length=80), nullable=True))
    op.create_table(
        "holdings",
        sa.Column("holding_id", sa.String(length=64), nullable=False),
        sa.Column("strategy", sa.String(length=64), nullable=False),
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("venue", sa.String(length=64), nullable=False),
        sa.Column("instrument", sa.String(length=96), nullable=False),
        sa.Column("foreign_quantity", DecimalText(length=80), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", UtcNs(length=30), nullable=False),
        sa.Column("updated_at", UtcNs(length=30), nullable=False),
        sa.Column("closed_at", UtcNs(length=30), nullable=True),
        sa.PrimaryKeyConstraint("holding_id", name=op.f("pk_holdings")),
    )
    op.create_index(op.f("ix_holdings_state"), "holdings", ["state"], unique=False)
    op.create_table(
        "strategy_runs",
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("strategy", sa.String(length=64), nullable=False),
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("environment", sa.String(length=16), nullable=False),
        sa.Column("config", sa.Text(), nullable=False),
        sa.Column("started_at", UtcNs(length=30), nullable=False),
        sa.Column("heartbeat_at", UtcNs(length=30), nullable=False),
        sa.Column("ended_at", UtcNs(length=30), nullable=True),
        sa.Column("ending", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_strategy_runs")),
    )
    op.create_table(
        "dead_letters",
        sa.Column("letter_id", sa.String(length=64), nullable=False),
        sa.Column("strategy", sa.String(length=64), nullable=False),
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("ts", UtcNs(length=30), nullable=False),
        sa.PrimaryKeyConstraint("letter_id", name=op.f("pk_dead_letters")),
    )
    op.create_table(
        "api_keys",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=256), nullable=False),
        sa.Column("scopes", sa.String(length=256), nullable=False),
        sa.Column("created_at", UtcNs(length=30), nullable=False),
        sa.Column("revoked_at", UtcNs(length=30), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_api_keys")),
    )
    op.create_table(
        "audit_log",
        sa.Column("entry_id", sa.String(length=64), nullable=False),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("ts", UtcNs(length=30), nullable=False),
        sa.PrimaryKeyConstraint("entry_id", name=op.f("pk_audit_log")),
    )


def downgrade() -> None:
    """Back. Holdings and all that belongs to them are lost: the older version has no place for them."""
    kept = "pair_id IN (SELECT pair_id FROM pairs)"
    for table in (*FOLLOWERS, "intents", *OWNED):
        op.execute(f"DELETE FROM {table} WHERE NOT ({kept})")  # noqa: S608 - names of our own tables
    for table, (first, added) in KEYS.items():
        same = " AND ".join(f"other.{column} = {table}.{column}" for column in first)
        less = " || ".join(f"other.{column}" for column in added), " || ".join(f"{table}.{column}" for column in added)
        op.execute(f"DELETE FROM {table} WHERE EXISTS (SELECT 1 FROM {table} other WHERE {same} AND {less[0]} < {less[1]})")  # noqa: S608
    for table in ("audit_log", "api_keys", "dead_letters", "strategy_runs"):
        op.drop_table(table)
    op.drop_index(op.f("ix_holdings_state"), table_name="holdings")
    op.drop_table("holdings")
    for column in ("trigger_price", "order_type", "tag"):
        op.drop_column("intents", column)
    _rebuild(to_pairs=True)


def _rebuild(*, to_pairs: bool) -> None:
    """Drop, or put back, the references to pairs."""
    for table in FOLLOWERS:
        with op.batch_alter_table(table) as batch:
            batch.drop_constraint(f"fk_{table}_intent_id_intents", type_="foreignkey")
            _reference(batch, table, to_pairs=to_pairs)
            _key(batch, table, shared=not to_pairs)
    for table in ("intents", *OWNED):
        with op.batch_alter_table(table) as batch:
            _reference(batch, table, to_pairs=to_pairs)
            _key(batch, table, shared=not to_pairs)
    for table in FOLLOWERS:
        with op.batch_alter_table(table) as batch:
            batch.create_foreign_key(f"fk_{table}_intent_id_intents", "intents", ["intent_id"], ["intent_id"])


def _reference(batch: BatchOperations, table: str, *, to_pairs: bool) -> None:
    name = f"fk_{table}_pair_id_pairs"
    if to_pairs:
        batch.create_foreign_key(name, "pairs", ["pair_id"], ["pair_id"])
    else:
        batch.drop_constraint(name, type_="foreignkey")


def _key(batch: BatchOperations, table: str, *, shared: bool) -> None:
    if table in KEYS:
        first, added = KEYS[table]
        batch.drop_constraint(f"pk_{table}", type_="primary")
        batch.create_primary_key(f"pk_{table}", [*first, *added] if shared else list(first))
