"""Tables of accounts: what is secret is sealed before it comes here (`database.vault`)."""

from sqlalchemy import ForeignKey, Integer, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from database.types import UtcNs

from .base import NAME, Base

KEY_ID = String(32)


class VaultKeyRow(Base):
    """Keys that credentials were sealed with, never the keys themselves. `active` is true for the one in use and NULL for the others."""

    __tablename__ = "vault_keys"
    __table_args__ = (UniqueConstraint("active"),)
    key_id: Mapped[str] = mapped_column(KEY_ID, primary_key=True)
    source: Mapped[str] = mapped_column(String(16))
    kdf: Mapped[str] = mapped_column(Text)
    salt: Mapped[bytes] = mapped_column(LargeBinary)
    active: Mapped[bool | None]
    created_at: Mapped[int] = mapped_column(UtcNs)
    retired_at: Mapped[int | None] = mapped_column(UtcNs)
    seal: Mapped[bytes] = mapped_column(LargeBinary)


class AccountRow(Base):
    """Accounts by name; `seal` authenticates all rows of the account."""

    __tablename__ = "accounts"
    name: Mapped[str] = mapped_column(NAME, primary_key=True)
    created_at: Mapped[int] = mapped_column(UtcNs)
    updated_at: Mapped[int] = mapped_column(UtcNs)
    key_id: Mapped[str] = mapped_column(KEY_ID)
    seal: Mapped[bytes] = mapped_column(LargeBinary)


class CredentialRow(Base):
    """One sealed field of one account at one venue."""

    __tablename__ = "account_credentials"
    account: Mapped[str] = mapped_column(ForeignKey("accounts.name"), primary_key=True)
    venue: Mapped[str] = mapped_column(NAME, primary_key=True)
    environment: Mapped[str] = mapped_column(String(16), primary_key=True)
    field: Mapped[str] = mapped_column(NAME, primary_key=True)
    key_id: Mapped[str] = mapped_column(KEY_ID)
    version: Mapped[int] = mapped_column(Integer)
    nonce: Mapped[bytes] = mapped_column(LargeBinary)
    ciphertext: Mapped[bytes] = mapped_column(LargeBinary)
    updated_at: Mapped[int] = mapped_column(UtcNs)


class ProxyRow(Base):
    """The sealed proxy of an account at one venue, or (venue empty) at all of them; `shown` has no user and no password."""

    __tablename__ = "proxies"
    account: Mapped[str] = mapped_column(ForeignKey("accounts.name"), primary_key=True)
    venue: Mapped[str] = mapped_column(NAME, primary_key=True)
    shown: Mapped[str] = mapped_column(String(256))
    key_id: Mapped[str] = mapped_column(KEY_ID)
    version: Mapped[int] = mapped_column(Integer)
    nonce: Mapped[bytes] = mapped_column(LargeBinary)
    ciphertext: Mapped[bytes] = mapped_column(LargeBinary)
    updated_at: Mapped[int] = mapped_column(UtcNs)
