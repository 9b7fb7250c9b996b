"""Market data of the funding-rate service, accounts with sealed credentials, configurations and notifications of bots."""

import sqlalchemy as sa
from alembic import op

from database.types import DecimalText, EpochNs, UtcNs

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward."""
    op.create_table(
        "accounts",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("created_at", UtcNs(), nullable=False),
        sa.Column("updated_at", UtcNs(), nullable=False),
        sa.Column("key_id", sa.String(length=32), nullable=False),
        sa.Column("seal", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_accounts")),
    )
    op.create_table(
        "notifications",
        sa.Column("notification_id", sa.String(length=64), nullable=False),
        sa.Column("strategy", sa.String(length=64), nullable=False),
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("ts", UtcNs(), nullable=False),
        sa.PrimaryKeyConstraint("notification_id", name=op.f("pk_notifications")),
    )
    op.create_index(op.f("ix_notifications_ts"), "notifications", ["ts"], unique=False)
    op.create_table(
        "strategy_configs",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("strategy", sa.String(length=64), nullable=False),
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("environment", sa.String(length=16), nullable=False),
        sa.Column("config", sa.Text(), nullable=False),
        sa.Column("first_used_at", UtcNs(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_strategy_configs")),
    )
    op.create_table(
        "symbols",
        sa.Column("symbol", sa.String(length=64), nullable=False),
        sa.Column("first_seen", EpochNs(), nullable=False),
        sa.PrimaryKeyConstraint("symbol", name=op.f("pk_symbols")),
    )
    op.create_table(
        "vault_keys",
        sa.Column("key_id", sa.String(length=32), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("kdf", sa.Text(), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=True),
        sa.Column("created_at", UtcNs(), nullable=False),
        sa.Column("retired_at", UtcNs(), nullable=True),
        sa.Column("seal", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_vault_keys")),
        sa.UniqueConstraint("active", name=op.f("uq_vault_keys_active")),
    )
    op.create_table(
        "venues",
        sa.Column("venue", sa.String(length=64), nullable=False),
        sa.Column("first_seen", EpochNs(), nullable=False),
        sa.PrimaryKeyConstraint("venue", name=op.f("pk_venues")),
    )
    op.create_table(
        "account_credentials",
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("venue", sa.String(length=64), nullable=False),
        sa.Column("environment", sa.String(length=16), nullable=False),
        sa.Column("field", sa.String(length=64), nullable=False),
        sa.Column("key_id", sa.String(length=32), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("nonce", sa.LargeBinary(), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.Column("updated_at", UtcNs(), nullable=False),
        sa.ForeignKeyConstraint(["account"], ["accounts.name"], name=op.f("fk_account_credentials_account_accounts")),
        sa.PrimaryKeyConstraint("account", "venue", "environment", "field", name=op.f("pk_account_credentials")),
    )
    op.create_table(
        "collection_logs",
        sa.Column("venue", sa.String(length=64), nullable=False),
        sa.Column("started_at", EpochNs(), nullable=False),
        sa.Column("ended_at", EpochNs(), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("markets", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("latency_ms", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["venue"], ["venues.venue"], name=op.f("fk_collection_logs_venue_venues")),
        sa.PrimaryKeyConstraint("venue", "started_at", name=op.f("pk_collection_logs")),
    )
    op.create_index(op.f("ix_collection_logs_started_at"), "collection_logs", ["started_at"], unique=False)
    op.create_table(
        "proxies",
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("venue", sa.String(length=64), nullable=False),
        sa.Column("shown", sa.String(length=256), nullable=False),
        sa.Column("key_id", sa.String(length=32), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("nonce", sa.LargeBinary(), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.Column("updated_at", UtcNs(), nullable=False),
        sa.ForeignKeyConstraint(["account"], ["accounts.name"], name=op.f("fk_proxies_account_accounts")),
        sa.PrimaryKeyConstraint("account", "venue", name=op.f("pk_proxies")),
    )
    op.create_table(
        "venue_symbols",
        sa.Column("market_id", sa.Integer(), nullable=False),
        sa.Column("venue", sa.String(length=64), nullable=False),
        sa.Column("instrument", sa.String(length=96), nullable=False),
        sa.Column("symbol", sa.String(length=64), nullable=False),
        sa.Column("venue_symbol", sa.String(length=96), nullable=True),
        sa.Column("multiplier", DecimalText(), nullable=True),
        sa.Column("contract_size", DecimalText(), nullable=True),
        sa.Column("tick_size", DecimalText(), nullable=True),
        sa.Column("step_size", DecimalText(), nullable=True),
        sa.Column("min_quantity", DecimalText(), nullable=True),
        sa.Column("min_notional", DecimalText(), nullable=True),
        sa.Column("maker_fee", DecimalText(), nullable=True),
        sa.Column("taker_fee", DecimalText(), nullable=True),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("open_interest_usd", DecimalText(), nullable=True),
        sa.Column("volume_24h_usd", DecimalText(), nullable=True),
        sa.Column("first_seen", EpochNs(), nullable=False),
        sa.Column("last_seen", EpochNs(), nullable=False),
        sa.Column("rolled_until", EpochNs(), nullable=True),
        sa.ForeignKeyConstraint(["symbol"], ["symbols.symbol"], name=op.f("fk_venue_symbols_symbol_symbols")),
        sa.ForeignKeyConstraint(["venue"], ["venues.venue"], name=op.f("fk_venue_symbols_venue_venues")),
        sa.PrimaryKeyConstraint("market_id", name=op.f("pk_venue_symbols")),
        sa.UniqueConstraint("instrument", name=op.f("uq_venue_symbols_instrument")),
    )
    op.create_index(op.f("ix_venue_symbols_symbol"), "venue_symbols", ["symbol"], unique=False)
    op.create_index(op.f("ix_venue_symbols_venue"), "venue_symbols", ["venue"], unique=False)
    op.create_table(
        "funding_history",
        sa.Column("market_id", sa.Integer(), nullable=False),
        sa.Column("settled_at", EpochNs(), nullable=False),
        sa.Column("rate", DecimalText(), nullable=False),
        sa.Column("interval_hours", DecimalText(), nullable=False),
        sa.ForeignKeyConstraint(["market_id"], ["venue_symbols.market_id"], name=op.f("fk_funding_history_market_id_venue_symbols")),
        sa.PrimaryKeyConstraint("market_id", "settled_at", name=op.f("pk_funding_history")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "funding_rates",
        sa.Column("market_id", sa.Integer(), nullable=False),
        sa.Column("observed_at", EpochNs(), nullable=False),
        sa.Column("rate", DecimalText(), nullable=False),
        sa.Column("interval_hours", DecimalText(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("next_funding_at", EpochNs(), nullable=True),
        sa.Column("cap", DecimalText(), nullable=True),
        sa.Column("mark", DecimalText(), nullable=True),
        sa.Column("index", DecimalText(), nullable=True),
        sa.Column("bid", DecimalText(), nullable=True),
        sa.Column("ask", DecimalText(), nullable=True),
        sa.Column("open_interest_usd", DecimalText(), nullable=True),
        sa.Column("volume_24h_usd", DecimalText(), nullable=True),
        sa.Column("latency_ms", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["market_id"], ["venue_symbols.market_id"], name=op.f("fk_funding_rates_market_id_venue_symbols")),
        sa.PrimaryKeyConstraint("market_id", "observed_at", name=op.f("pk_funding_rates")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "funding_rates_hourly",
        sa.Column("market_id", sa.Integer(), nullable=False),
        sa.Column("hour", EpochNs(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("samples", sa.Integer(), nullable=False),
        sa.Column("mean", DecimalText(), nullable=False),
        sa.Column("low", DecimalText(), nullable=False),
        sa.Column("high", DecimalText(), nullable=False),
        sa.Column("last", DecimalText(), nullable=False),
        sa.Column("interval_hours", DecimalText(), nullable=False),
        sa.Column("open_interest_usd", DecimalText(), nullable=True),
        sa.Column("volume_24h_usd", DecimalText(), nullable=True),
        sa.ForeignKeyConstraint(["market_id"], ["venue_symbols.market_id"], name=op.f("fk_funding_rates_hourly_market_id_venue_symbols")),
        sa.PrimaryKeyConstraint("market_id", "hour", "kind", name=op.f("pk_funding_rates_hourly")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "latest_funding_rates",
        sa.Column("market_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("observed_at", EpochNs(), nullable=False),
        sa.Column("rate", DecimalText(), nullable=False),
        sa.Column("interval_hours", DecimalText(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("next_funding_at", EpochNs(), nullable=True),
        sa.Column("cap", DecimalText(), nullable=True),
        sa.Column("mark", DecimalText(), nullable=True),
        sa.Column("index", DecimalText(), nullable=True),
        sa.Column("bid", DecimalText(), nullable=True),
        sa.Column("ask", DecimalText(), nullable=True),
        sa.Column("open_interest_usd", DecimalText(), nullable=True),
        sa.Column("volume_24h_usd", DecimalText(), nullable=True),
        sa.Column("latency_ms", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["market_id"], ["venue_symbols.market_id"], name=op.f("fk_latest_funding_rates_market_id_venue_symbols")),
        sa.PrimaryKeyConstraint("market_id", name=op.f("pk_latest_funding_rates")),
    )
    op.create_table(
        "opportunities",
        sa.Column("ts", EpochNs(), nullable=False),
        sa.Column("long_market_id", sa.Integer(), nullable=False),
        sa.Column("short_market_id", sa.Integer(), nullable=False),
        sa.Column("symbol", sa.String(length=64), nullable=False),
        sa.Column("hourly", DecimalText(), nullable=False),
        sa.Column("net", DecimalText(), nullable=False),
        sa.Column("costs", DecimalText(), nullable=False),
        sa.Column("horizon_hours", DecimalText(), nullable=False),
        sa.Column("break_even_hours", DecimalText(), nullable=True),
        sa.ForeignKeyConstraint(
            ["long_market_id"], ["venue_symbols.market_id"], name=op.f("fk_opportunities_long_market_id_venue_symbols")
        ),
        sa.ForeignKeyConstraint(
            ["short_market_id"], ["venue_symbols.market_id"], name=op.f("fk_opportunities_short_market_id_venue_symbols")
        ),
        sa.ForeignKeyConstraint(["symbol"], ["symbols.symbol"], name=op.f("fk_opportunities_symbol_symbols")),
        sa.PrimaryKeyConstraint("ts", "long_market_id", "short_market_id", name=op.f("pk_opportunities")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_opportunities_symbol_ts"), "opportunities", ["symbol", "ts"], unique=False)


def downgrade() -> None:
    """Back. Market data, accounts, configurations and notifications are lost; everything of trading stays."""
    op.drop_index(op.f("ix_opportunities_symbol_ts"), table_name="opportunities")
    op.drop_table("opportunities")
    op.drop_table("latest_funding_rates")
    op.drop_table("funding_rates_hourly")
    op.drop_table("funding_rates")
    op.drop_table("funding_history")
    op.drop_index(op.f("ix_venue_symbols_venue"), table_name="venue_symbols")
    op.drop_index(op.f("ix_venue_symbols_symbol"), table_name="venue_symbols")
    op.drop_table("venue_symbols")
    op.drop_table("proxies")
    op.drop_index(op.f("ix_collection_logs_started_at"), table_name="collection_logs")
    op.drop_table("collection_logs")
    op.drop_table("account_credentials")
    op.drop_table("venues")
    op.drop_table("vault_keys")
    op.drop_table("symbols")
    op.drop_table("strategy_configs")
    op.drop_index(op.f("ix_notifications_ts"), table_name="notifications")
    op.drop_table("notifications")
    op.drop_table("accounts")
