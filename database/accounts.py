"""Accounts by name: credentials per venue and environment, proxies, and the record of who changed them."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import msgspec

from exchange_clients.secret import Secret
from exchange_clients.signing import Credentials

from .keys import Keys, KeyUnavailable, MasterKey, Source, VaultError
from .vault import PROXY, Box, Place, Vault, damaged, readable, seal_of

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

    from .database import Database

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,40}")
"""As configurations name accounts."""


class NoSuchAccount(VaultError):
    """There is none of that name, or it holds nothing of what was named."""


class VenueView(msgspec.Struct, frozen=True):
    """What an account holds for a venue: names of fields, no values."""

    venue: str
    environment: str
    fields: tuple[str, ...]
    updated_at: int


class ProxyView(msgspec.Struct, frozen=True):
    """`address` has neither user nor password; `venue` is empty where it is for all of the account's."""

    venue: str
    address: str


class AccountView(msgspec.Struct, frozen=True):
    """One account as anybody may see it."""

    name: str
    created_at: int
    updated_at: int
    venues: tuple[VenueView, ...]
    proxies: tuple[ProxyView, ...]
    key_id: str


@dataclass(frozen=True, slots=True)
class Change:
    """New values of some fields at one venue; None removes a field. What is not named stays."""

    venue: str
    environment: str
    values: Mapping[str, Secret | None]


@dataclass(frozen=True, slots=True)
class Opened:
    """One account, decrypted. `credentials` by (venue, environment), `proxies` by venue ("": all of the account's)."""

    name: str
    credentials: Mapping[tuple[str, str], Credentials]
    proxies: Mapping[str, Secret]

    def proxy(self, venue: str) -> Secret | None:
        """The proxy for one venue."""
        return self.proxies.get(venue) or self.proxies.get("")


class Accounts:
    """Over one database. Calls block and may come from any thread.

    A change checks the seal of what it changes, and is one transaction with its entry in `audit_log`, which holds names only.
    """

    def __init__(self, database: Database, keys: Keys, *, now_ns: Callable[[], int], actor: str) -> None:
        self._database = database
        self._now_ns = now_ns
        self._actor = actor
        self.vault = Vault(keys, now_ns)

    # ---- reading

    def views(self) -> tuple[AccountView, ...]:
        """Every account; needs no key, and therefore proves nothing about what it shows."""
        with self._database.read() as connection:
            found = []
            for account in self._rows(connection, "accounts"):
                credentials, proxies = self._held(connection, account["name"])
                venues: dict[tuple[str, str], tuple[list[str], int]] = {}
                for row in credentials:
                    fields, at = venues.get((row["venue"], row["environment"]), ([], 0))
                    venues[row["venue"], row["environment"]] = ([*fields, row["field"]], max(at, row["updated_at"]))
                found.append(
                    AccountView(
                        account["name"],
                        account["created_at"],
                        account["updated_at"],
                        tuple(VenueView(*of, tuple(fields), at) for of, (fields, at) in venues.items()),
                        tuple(ProxyView(row["venue"], row["shown"]) for row in proxies),
                        account["key_id"],
                    )
                )
            return tuple(found)

    def open(self, name: str, *, asking: bool = True) -> Opened | None:
        """An account with its secrets, None when there is none of that name. `asking` False: nobody is asked for a passphrase.

        Raises:
            VaultDamaged: a row was changed, removed, added or brought back from a copy by somebody without the key.
            KeyUnavailable, KeyUnsafe: the key cannot be had.
        """
        with self._database.read() as connection:
            return self._opened(connection, name, asking=asking)

    def public(self, name: str, venue: str, environment: str, fields: Collection[str]) -> Credentials | None:
        """These fields of an account at a venue; None where the vault has no credentials of the account. No other field is decrypted."""
        with self._database.read() as connection:
            opened = self._opened(connection, name, wanted=lambda place: place[1:3] == (venue, environment) and place.field in fields)
            if opened is None or not self._rows(connection, "account_credentials", account=name):
                return None
        return opened.credentials.get((venue, environment), Credentials(venue, {}))

    def has_proxy(self, name: str) -> bool:
        """Needs no key, and proves nothing."""
        with self._database.read() as connection:
            return bool(self._rows(connection, "proxies", account=name))

    def _opened(
        self,
        connection: Connection,
        name: str,
        *,
        key: MasterKey | None = None,
        asking: bool = True,
        wanted: Callable[[Place], bool] = lambda _: True,
    ) -> Opened | None:
        account = next(iter(self._rows(connection, "accounts", name=name)), None)
        credentials, proxies = self._held(connection, name)
        if account is None:
            if credentials or proxies:
                raise damaged(name, "its own row is missing")
            return None
        key = key or self.vault.key(connection, asking=asking)
        if key is None:
            raise damaged(name, "the vault's key is not named any more")
        if account["seal"] != _seal(key, account, credentials, proxies):
            raise damaged(name, "its rows are not those that were stored")
        values: dict[tuple[str, str], dict[str, Secret]] = {}
        for row in credentials:
            place = Place(name, row["venue"], row["environment"], row["field"])
            if wanted(place):
                values.setdefault((row["venue"], row["environment"]), {})[row["field"]] = _box(row).open(key, place)
        return Opened(
            name,
            {of: Credentials(of[0], fields) for of, fields in values.items()},
            {row["venue"]: _box(row).open(key, place) for row in proxies if wanted(place := Place(name, row["venue"], "", PROXY))},
        )

    # ---- changing

    def update(
        self, name: str, changes: Sequence[Change] = (), proxies: Mapping[str, Secret | None] | None = None, *, source: Source | None = None
    ) -> AccountView:
        """Add an account, or change what is named of it: all or nothing. The vault's key is made with the first one, where `source` says.

        `proxies`: venue ("": all of the account's) -> its address, None to remove it.

        Raises:
            VaultError: the name is none, or the vault cannot be used; nothing was changed.
        """
        if not NAME.fullmatch(name):
            raise VaultError(f"{name!r} is no name for an account: letters, digits, and . _ - between them, at most 41")
        from exchange_clients.config import proxy_problem

        for address in (proxies or {}).values():
            if address is not None and (problem := proxy_problem(address.reveal())):
                raise VaultError(problem)
        with self._database.write() as connection:
            key = self._key(connection, source)
            before = self._opened(connection, name, key=key)
            now_ns = self._now_ns()
            if before is None:
                row = {"name": name, "created_at": now_ns, "updated_at": now_ns, "key_id": key.key_id, "seal": b""}
                connection.execute(_table("accounts").insert().values(row))
            for change in changes:
                for field, value in change.values.items():
                    place = Place(name, change.venue, change.environment, field)
                    self._put(connection, "account_credentials", place._asdict(), key, place, value)
            for venue, address in (proxies or {}).items():
                shown = {"shown": without_password(address)} if address is not None else {}
                self._put(connection, "proxies", {"account": name, "venue": venue}, key, Place(name, venue, "", PROXY), address, more=shown)
            self._sealed(connection, name, key)
            detail = [
                {"venue": c.venue, "environment": c.environment, "set": sorted(f for f, v in c.values.items() if v is not None)}
                | ({"removed": gone} if (gone := sorted(f for f, v in c.values.items() if v is None)) else {})
                for c in changes
            ]
            told = {venue or "all": "set" if address is not None else "removed" for venue, address in (proxies or {}).items()}
            what = "accounts.add" if before is None else "accounts.update"
            self._audit(connection, what, {"account": name, "venues": detail, "proxies": told})
        return next(view for view in self.views() if view.name == name)

    def remove(self, name: str, venues: Iterable[str] = (), environment: str | None = None) -> bool:
        """Forget an account, or its credentials and proxies at some venues. True when nothing of it is left.

        The key is not needed for a whole account: what cannot be read any more can still be removed.

        Raises:
            NoSuchAccount: there is nothing of that kind.
        """
        wanted = sorted(set(venues))
        with self._database.write() as connection:
            credentials, proxies = self._held(connection, name)
            if not wanted and environment is None:
                if not credentials and not proxies and not self._rows(connection, "accounts", name=name):
                    raise NoSuchAccount(f"there is no account {name!r}")
                self._delete(connection, name)
                self._audit(connection, "accounts.remove", {"account": name})
                return True
            key = self._key(connection, None)
            if self._opened(connection, name, key=key) is None:
                raise NoSuchAccount(f"there is no account {name!r}")
            gone = [
                row
                for row in credentials
                if (not wanted or row["venue"] in wanted) and (environment is None or row["environment"] == environment)
            ]
            if not gone:
                what = f"{', '.join(wanted) or 'any venue'}" + (f" {environment}" if environment else "")
                raise NoSuchAccount(f"account {name} holds nothing for {what}")
            for row in gone:
                self._put(connection, "account_credentials", Place(*(row[k] for k in Place._fields))._asdict(), key, None, None)
            left = {row["venue"] for row in credentials if row not in gone}
            for row in proxies:
                if row["venue"] and row["venue"] not in left:
                    self._put(connection, "proxies", {"account": name, "venue": row["venue"]}, key, None, None)
            self._audit(
                connection, "accounts.remove", {"account": name, "venues": sorted({f"{r['venue']} {r['environment']}" for r in gone})}
            )
            if left:
                self._sealed(connection, name, key)
            else:
                self._delete(connection, name)
            return not left

    def empty(self) -> int:
        """Forget everything, keys included: for a vault whose key is lost. How many accounts that were."""
        with self._database.write() as connection:
            names = [row["name"] for row in self._rows(connection, "accounts")]
            for table in ("account_credentials", "proxies", "accounts", "vault_keys"):
                connection.execute(_table(table).delete())
            self._audit(connection, "accounts.empty", {"accounts": names})
        return len(names)

    def rotate(self, source: Source | None = None, *, keep_old: bool = False) -> tuple[str, str, int]:
        """Lock everything anew under a new key: (id of the old key, of the new one, how many secrets).

        One transaction. The new key is durable before it begins, the old one is forgotten after it is committed; killed at any moment, the
        vault opens with what is there. `keep_old`: the old key stays where it is, for copies of the database.

        Raises:
            VaultError: something does not open, or the new key cannot be kept; nothing was changed.
        """
        with self._database.write() as connection:
            row = self.vault.active(connection, lock=True)
            old = self.vault.key(connection)
            if row is None or old is None:
                raise NoSuchAccount("there is nothing to lock anew: no account was added yet")
            names = [account["name"] for account in self._rows(connection, "accounts")]
            opened = [found for name in names if (found := self._opened(connection, name, key=old)) is not None]
            self.vault.retire(connection, old)
            new = self.vault.created(connection, source or Source(row["source"]), rotating=True)
            count = sum(self._relock(connection, account, new) for account in opened)
            self._audit(connection, "accounts.rotate", {"from": old.key_id, "to": new.key_id, "accounts": names})
        if not keep_old:
            self.forget_retired()
        return old.key_id, new.key_id, count

    def forget_retired(self) -> None:
        """Keys that nothing is locked with any more, also those that a rotation which was killed has left."""
        with self._database.read() as connection:
            retired = self.vault.retired(connection)
        for record in retired:
            self.vault.keys.drop(record)
        if retired:
            with self._database.write() as connection:
                self.vault.forget(connection, retired)

    def _relock(self, connection: Connection, account: Opened, key: MasterKey) -> int:
        count = 0
        for (venue, environment), held in account.credentials.items():
            for field in held.names:
                place = Place(account.name, venue, environment, field)
                self._put(connection, "account_credentials", place._asdict(), key, place, held.secret(field), touch=False)
                count += 1
        for venue, address in account.proxies.items():
            place = Place(account.name, venue, "", PROXY)
            self._put(connection, "proxies", {"account": account.name, "venue": venue}, key, place, address, touch=False)
            count += 1
        self._sealed(connection, account.name, key, touch=False)
        return count

    @property
    def source(self) -> Source | None:
        """Where the key is kept; None in an empty vault."""
        with self._database.read() as connection:
            row = self.vault.active(connection)
        return None if row is None else Source(row["source"])

    # ---- rows

    def _key(self, connection: Connection, source: Source | None) -> MasterKey:
        key = self.vault.key(connection, lock=True)
        if key is None:
            if self._rows(connection, "accounts"):
                raise KeyUnavailable("the database does not say with which key its accounts are locked: bring a copy of it back")
            return self.vault.created(connection, source)
        if source is not None and (row := self.vault.active(connection)) is not None and row["source"] != source:
            raise VaultError(f"the vault has a key already, kept in: {row['source']}; `perpkit accounts rotate --key {source}` moves it")
        return key

    def _rows(self, connection: Connection, table: str, **where: str) -> list[dict[str, Any]]:
        """In the order of their keys."""
        from sqlalchemy import select

        of = _table(table)
        query = select(of).filter_by(**where)
        with readable(f"a row of {table}"):
            rows = [dict(row) for row in connection.execute(query).mappings()]
            return sorted(rows, key=lambda row: [row[column.name] for column in of.primary_key])

    def _held(self, connection: Connection, name: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        return self._rows(connection, "account_credentials", account=name), self._rows(connection, "proxies", account=name)

    def _put(
        self,
        connection: Connection,
        table: str,
        where: Mapping[str, str],
        key: MasterKey,
        place: Place | None,
        secret: Secret | None,
        *,
        touch: bool = True,
        more: Mapping[str, str] | None = None,
    ) -> None:
        """Lock a secret there; None removes what is there."""
        of = _table(table)
        here = [of.c[name] == value for name, value in where.items()]
        if secret is None or place is None:
            connection.execute(of.delete().where(*here))
            return
        row = {**msgspec.structs.asdict(Box.lock(key, secret, place)), **(more or {})}
        if touch:
            row["updated_at"] = self._now_ns()
        if not connection.execute(of.update().where(*here).values(**row)).rowcount:
            connection.execute(of.insert().values(**where, **row))

    def _sealed(self, connection: Connection, name: str, key: MasterKey, *, touch: bool = True) -> None:
        """The account's rows belong together as they are now."""
        of = _table("accounts")
        account = {**self._rows(connection, "accounts", name=name)[0], "key_id": key.key_id}
        if touch:
            account["updated_at"] = self._now_ns()
        account["seal"] = _seal(key, account, *self._held(connection, name))
        connection.execute(of.update().where(of.c.name == name).values(account))

    def _delete(self, connection: Connection, name: str) -> None:
        for table in ("account_credentials", "proxies"):
            connection.execute(_table(table).delete().where(_table(table).c.account == name))
        connection.execute(_table("accounts").delete().where(_table("accounts").c.name == name))

    def _audit(self, connection: Connection, action: str, detail: Mapping[str, object]) -> None:
        now_ns = self._now_ns()
        row = {"entry_id": f"account-{now_ns}-{secrets.token_hex(4)}", "actor": self._actor, "action": action, "ts": now_ns}
        connection.execute(_table("audit_log").insert().values(**row, detail=msgspec.json.encode(detail).decode()))


def without_password(address: Secret) -> str:
    """A proxy's address for human eyes: user and password, if there are any, are stars."""
    parts = urlsplit(address.reveal())
    host = f"{parts.hostname or ''}" + (f":{parts.port}" if parts.port else "")
    return urlunsplit((parts.scheme, f"***@{host}" if "@" in parts.netloc else host, "", "", ""))


def _table(name: str) -> Table:
    from .models import Base

    return Base.metadata.tables[name]


def _box(row: Mapping[str, Any]) -> Box:
    return Box(row["key_id"], row["version"], bytes(row["nonce"]), bytes(row["ciphertext"]))


def _seal(
    key: MasterKey, account: Mapping[str, Any], credentials: Sequence[Mapping[str, Any]], proxies: Sequence[Mapping[str, Any]]
) -> bytes:
    return seal_of(key, "account", [account, *credentials, *proxies])
