"""Keys of the HTTP APIs: made once, shown once, kept as a hash.

A key is 256 random bits, so its SHA-256 is kept and not a slow hash: those make guessing of human passwords dear, and there is nothing here
that could be guessed. The comparison takes the same time for every key.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from .market_rows import records, table
from .records import ApiKeyRecord, AuditRecord

if TYPE_CHECKING:
    from .database import Database

PREFIX = "ppk_"
SECRET_BYTES = 32
NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,39}")


class Scope(StrEnum):
    """What a key may do; `write` includes `read`."""

    READ = "read"
    WRITE = "write"


class ApiKey(msgspec.Struct, frozen=True):
    """A valid key that came with a request."""

    name: str
    scopes: frozenset[Scope]

    def may(self, scope: Scope) -> bool:
        """Whether this key is enough."""
        return scope in self.scopes or Scope.WRITE in self.scopes


class KeyTable:
    """Keys and the audit log in a database that others write as well. Calls block, each is one transaction."""

    def __init__(self, database: "Database") -> None:
        self._database = database

    def keys(self) -> list[ApiKeyRecord]:
        """Every key, revoked ones too."""
        from sqlalchemy import select

        rows = table("api_keys")
        with self._database.read() as connection:
            return records(connection, ApiKeyRecord, select(rows).order_by(rows.c.name))

    def add(self, record: ApiKeyRecord) -> None:
        """Keep a new key.

        Raises:
            JournalConflict: there is one of that name.
        """
        with self._database.write() as connection:
            connection.execute(table("api_keys").insert().values(**msgspec.structs.asdict(record)))

    def revoke(self, name: str, now_ns: int) -> None:
        """Take a key back."""
        rows = table("api_keys")
        with self._database.write() as connection:
            connection.execute(rows.update().where(rows.c.name == name, rows.c.revoked_at.is_(None)).values(revoked_at=now_ns))

    def audit(self, record: AuditRecord) -> None:
        """Write down what somebody is about to have done."""
        with self._database.write() as connection:
            connection.execute(table("audit_log").insert().values(**msgspec.structs.asdict(record)))

    def audited(self) -> list[AuditRecord]:
        """What was written down, oldest first."""
        from sqlalchemy import select

        rows = table("audit_log")
        with self._database.read() as connection:
            return records(connection, AuditRecord, select(rows).order_by(rows.c.ts, rows.c.entry_id))


def create(name: str, scopes: Iterable[Scope], now_ns: int) -> tuple[str, ApiKeyRecord]:
    """A new key, (what is shown once, what is kept).

    Raises:
        ValueError: the name is not one, or no scope is given.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name for a key: small letters, digits, and . _ - between them, at most 40")
    wanted = sorted({Scope(scope) for scope in scopes})
    if not wanted:
        raise ValueError("a key needs a scope: read or write")
    shown = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    return shown, ApiKeyRecord(name=name, hash=digest(shown), scopes=" ".join(wanted), created_at=now_ns)


def digest(shown: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(shown.encode(errors="surrogateescape")).hexdigest()


def find(shown: str, known: Sequence[ApiKeyRecord]) -> ApiKey | None:
    """The key behind a text, None when there is none or it was revoked. Looks at every record, whatever it finds."""
    mine, found = digest(shown), None
    for record in known:
        if hmac.compare_digest(mine, record.hash) and record.revoked_at is None:
            found = ApiKey(record.name, frozenset(Scope(word) for word in record.scopes.split()))
    return found
