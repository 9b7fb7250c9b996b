"""The vault: secrets encrypted where they lie, each bound to its place.

AES-256-GCM with a random nonce. What is authenticated beside the text: account, venue, environment, field, key id and version, so that a
ciphertext which was copied to another row or field does not open. A seal over all rows of an account finds what is missing, added or
taken from an older copy of a row.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from exchange_clients.secret import Secret

from .keys import KeyRecord, Keys, KeyUnavailable, MasterKey, Source, VaultDamaged, VaultError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

__all__ = ["Box", "KeyUnavailable", "Place", "Vault", "VaultDamaged", "VaultError", "seal_of"]

VERSION = 1
NONCE_BYTES = 12
LOCK_TRIES = 10
PROXY = "proxy"
"""The field under which a proxy's address is locked."""


class Place(NamedTuple):
    """Where a secret lies."""

    account: str
    venue: str
    environment: str
    field: str

    def __str__(self) -> str:
        return "/".join(part for part in self if part)


class Box(msgspec.Struct, frozen=True):
    """A locked secret as it is stored."""

    key_id: str
    version: int
    nonce: bytes
    ciphertext: bytes

    @classmethod
    def lock(cls, key: MasterKey, secret: Secret, place: Place) -> Box:
        nonce = os.urandom(NONCE_BYTES)
        ciphertext = key.encryption.encrypt(nonce, secret.reveal().encode(), _bound(place, key.key_id, VERSION))
        return cls(key.key_id, VERSION, nonce, ciphertext)

    def open(self, key: MasterKey, place: Place) -> Secret:
        """The secret.

        Raises:
            VaultDamaged: it is not what was locked there with this key.
        """
        from cryptography.exceptions import InvalidTag

        if self.key_id == key.key_id and self.version == VERSION and len(self.nonce) == NONCE_BYTES:
            try:
                return Secret(key.encryption.decrypt(self.nonce, self.ciphertext, _bound(place, self.key_id, self.version)).decode())
            except (InvalidTag, ValueError):
                pass
        raise damaged(place.account, f"{place} does not open")


def _bound(place: Place, key_id: str, version: int) -> bytes:
    return msgspec.msgpack.encode(("perpkit", *place, key_id, version))


@contextmanager
def readable(what: str) -> Iterator[None]:
    """Raises VaultDamaged where a column holds what cannot be of its type."""
    try:
        yield
    except (ValueError, TypeError, OverflowError, LookupError):
        pass
    else:
        return
    raise VaultDamaged(f"{what} cannot be understood: bring a copy of the database back")


def damaged(account: str, what: str) -> VaultDamaged:
    """One error for everything that is not as it was stored."""
    return VaultDamaged(
        f"account {account}: {what}: the database was changed by something else than perpkit, or is damaged; nothing of it is used. "
        f"Bring a copy of the database back, or remove the account and add it again"
    )


def seal_of(key: MasterKey, what: str, rows: Iterable[Mapping[str, Any]]) -> bytes:
    """A code over rows as they are stored, their seals left out; they come in the order of their keys."""
    columns = [sorted((k, v if isinstance(v, bytes) else str(v)) for k, v in row.items() if k != "seal") for row in rows]
    return key.seal(msgspec.msgpack.encode((what, columns)))


class Vault:
    """The keys of a database's vault, within the caller's transaction."""

    def __init__(self, keys: Keys, now_ns: Callable[[], int]) -> None:
        self.keys = keys
        self._now_ns = now_ns

    @property
    def _table(self) -> Table:
        from .models import Base

        return Base.metadata.tables["vault_keys"]

    def active(self, connection: Connection, *, lock: bool = False) -> Mapping[str, Any] | None:
        """The row of the key in use, None in an empty vault. `lock`: nobody else writes to the vault until the transaction ends."""
        from sqlalchemy import select

        query = select(self._table).where(self._table.c.active.is_(True))
        with readable("the row of the key in use"):
            for _ in range(
                LOCK_TRIES if lock else 1
            ):  # PostgreSQL finds none where it waited for a rotation: the next look sees the new one
                row = connection.execute(query.with_for_update() if lock else query).mappings().one_or_none()
                if row is not None:
                    return dict(row)
        return None

    def key(self, connection: Connection, *, asking: bool = True, lock: bool = False) -> MasterKey | None:
        """The key in use; None when there is none yet.

        Raises:
            KeyUnavailable, KeyUnsafe: there is one, and it cannot be had.
            VaultDamaged: the row about it was changed.
        """
        row = self.active(connection, lock=lock)
        if row is None:
            return None
        key = self.keys.find(record_of(row), asking=asking)
        if seal_of(key, "key", [row]) != row["seal"]:
            raise VaultDamaged(f"what the database says of key {key.key_id} was changed: bring a copy of the database back")
        return key

    def created(self, connection: Connection, source: Source | None = None, *, rotating: bool = False) -> MasterKey:
        """A new key in use, made where `source` says. It is durable before the row is written."""
        from sqlalchemy import select

        key, record = self.keys.make(source or self.keys.default_source, rotating=rotating)
        if connection.execute(select(self._table.c.key_id).where(self._table.c.key_id == key.key_id)).first() is not None:
            raise VaultError("that key was in use here before: give another; nothing was changed")
        row = {**msgspec.structs.asdict(record), "active": True, "created_at": self._now_ns(), "retired_at": None}
        connection.execute(self._table.insert().values(**row, seal=seal_of(key, "key", [row])))
        return key

    def retire(self, connection: Connection, key: MasterKey) -> None:
        """Nothing is locked with it any more once this transaction is through."""
        change = {"active": None, "retired_at": self._now_ns()}
        row = self.active(connection)
        assert row is not None
        connection.execute(
            self._table.update().where(self._table.c.key_id == key.key_id).values(**change, seal=seal_of(key, "key", [{**row, **change}]))
        )

    def retired(self, connection: Connection) -> list[KeyRecord]:
        """Keys that may be forgotten."""
        from sqlalchemy import select

        rows = connection.execute(select(self._table).where(self._table.c.active.is_(None)).order_by(self._table.c.key_id)).mappings()
        return [record_of(dict(row)) for row in rows]

    def forget(self, connection: Connection, records: Iterable[KeyRecord]) -> None:
        """Rows of keys that were forgotten."""
        for record in records:
            connection.execute(self._table.delete().where(self._table.c.key_id == record.key_id))


def record_of(row: Mapping[str, Any]) -> KeyRecord:
    """What a row says of a key."""
    return KeyRecord(key_id=row["key_id"], source=row["source"], kdf=row["kdf"], salt=bytes(row["salt"]))
