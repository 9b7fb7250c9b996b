"""Tables of running bots: their lives and configurations, what went wrong, who may command them, what they were told and told us."""

from sqlalchemy import Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from database.types import UtcNs

from .base import ID, NAME, Base


class RunRow(Base):
    """Lives of a strategy's process."""

    __tablename__ = "strategy_runs"
    run_id: Mapped[str] = mapped_column(ID, primary_key=True)
    strategy: Mapped[str] = mapped_column(NAME)
    account: Mapped[str] = mapped_column(NAME)
    environment: Mapped[str] = mapped_column(String(16))
    config: Mapped[str] = mapped_column(Text)
    started_at: Mapped[int] = mapped_column(UtcNs)
    heartbeat_at: Mapped[int] = mapped_column(UtcNs)
    ended_at: Mapped[int | None] = mapped_column(UtcNs)
    ending: Mapped[str] = mapped_column(Text)


class DeadLetterRow(Base):
    """Events whose handler raised."""

    __tablename__ = "dead_letters"
    letter_id: Mapped[str] = mapped_column(ID, primary_key=True)
    strategy: Mapped[str] = mapped_column(NAME)
    account: Mapped[str] = mapped_column(NAME)
    kind: Mapped[str] = mapped_column(String(32))
    event: Mapped[str] = mapped_column(Text)
    error: Mapped[str] = mapped_column(Text)
    ts: Mapped[int] = mapped_column(UtcNs)


class ApiKeyRow(Base):
    """Who may speak to the control API; of a key only its hash is kept."""

    __tablename__ = "api_keys"
    name: Mapped[str] = mapped_column(NAME, primary_key=True)
    hash: Mapped[str] = mapped_column(String(256))
    scopes: Mapped[str] = mapped_column(String(256))
    created_at: Mapped[int] = mapped_column(UtcNs)
    revoked_at: Mapped[int | None] = mapped_column(UtcNs)


class AuditRow(Base):
    """What operators did."""

    __tablename__ = "audit_log"
    entry_id: Mapped[str] = mapped_column(ID, primary_key=True)
    actor: Mapped[str] = mapped_column(NAME)
    action: Mapped[str] = mapped_column(NAME)
    detail: Mapped[str] = mapped_column(Text)
    ts: Mapped[int] = mapped_column(UtcNs)


class StrategyConfigRow(Base):
    """Configurations that bots ran with, each once; a run names its own by the digest."""

    __tablename__ = "strategy_configs"
    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    strategy: Mapped[str] = mapped_column(NAME)
    account: Mapped[str] = mapped_column(NAME)
    environment: Mapped[str] = mapped_column(String(16))
    config: Mapped[str] = mapped_column(Text)
    first_used_at: Mapped[int] = mapped_column(UtcNs)


class NotificationRow(Base):
    """Messages to people, and whether they left."""

    __tablename__ = "notifications"
    __table_args__ = (Index(None, "ts"),)
    notification_id: Mapped[str] = mapped_column(ID, primary_key=True)
    strategy: Mapped[str] = mapped_column(NAME)
    account: Mapped[str] = mapped_column(NAME)
    kind: Mapped[str] = mapped_column(String(32))
    title: Mapped[str] = mapped_column(Text)
    body: Mapped[str] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(Integer)
    error: Mapped[str] = mapped_column(Text)
    ts: Mapped[int] = mapped_column(UtcNs)
