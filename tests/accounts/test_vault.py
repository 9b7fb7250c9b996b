"""The vault: what is stored comes back exactly, and nothing that somebody else changed is used."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from database.accounts import Accounts, Change, NoSuchAccount, without_password
from database.connect import sqlite_url
from database.database import Database
from database.errors import JournalError
from database.keys import KeyFile, Keys, KeyUnavailable, MasterKey, Source, VaultDamaged, VaultError
from database.vault import Box, Place
from exchange_clients.secret import Secret
from tests.accounts.vaults import CHEAP, Times, change, filled, plain

# ---- one secret


@given(text=st.text(min_size=1).filter(lambda text: text.isprintable()), names=st.lists(st.text(max_size=12), min_size=4, max_size=4))
@settings(max_examples=50)
def test_a_locked_secret_opens_in_its_place_alone(text: str, names: list[str]) -> None:
    key, place = MasterKey.random(), Place(*names)
    box = Box.lock(key, Secret(text), place)
    assert box.open(key, place).reveal() == text
    assert text.encode() not in box.ciphertext or len(text) < 3
    for number in range(4):
        other = Place(*(name + "x" if at == number else name for at, name in enumerate(place)))
        with pytest.raises(VaultDamaged):
            box.open(key, other)
    with pytest.raises(VaultDamaged):
        box.open(MasterKey.random(), place)


def test_parts_of_a_place_do_not_run_together() -> None:
    key = MasterKey.random()
    box = Box.lock(key, Secret("x"), Place("ab", "c", "", "d"))
    with pytest.raises(VaultDamaged):
        box.open(key, Place("a", "bc", "", "d"))


@given(data=st.data())
@settings(max_examples=60)
def test_any_changed_bit_of_a_box_is_found(data: st.DataObject) -> None:
    key, place = MasterKey.random(), Place("main", "okx", "mainnet", "api_key")
    box = Box.lock(key, Secret("a secret of some length"), place)
    field = data.draw(st.sampled_from(["nonce", "ciphertext"]))
    raw = bytearray(getattr(box, field))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(VaultDamaged, match="does not open"):
        msgspec.structs.replace(box, **{field: bytes(raw)}).open(key, place)
    others: list[dict[str, Any]] = [{"version": 2}, {"key_id": "0" * 16}, {"nonce": b""}, {"ciphertext": b""}]
    for values in others:
        with pytest.raises(VaultDamaged):
            msgspec.structs.replace(box, **values).open(key, place)


def test_nonces_do_not_repeat() -> None:
    key, place = MasterKey.random(), Place("a", "b", "c", "d")
    boxes = [Box.lock(key, Secret("same"), place) for _ in range(500)]
    assert len({box.nonce for box in boxes}) == len({box.ciphertext for box in boxes}) == 500


# ---- accounts


def test_what_was_stored_comes_back(accounts: Accounts) -> None:
    assert accounts.open("main") is None
    filled(accounts)
    assert plain(accounts.open("main")) == {
        ("okx", "mainnet"): {"api_key": "key-1", "api_secret": "secret-1", "passphrase": "pass-1"},
        ("lighter", "testnet"): {"api_key_private_key": "ab" * 40},
        "": "http://user:pw@proxy.example:3128",
        "lighter": "http://other.example:1",
    }
    main = accounts.open("main")
    assert main is not None
    assert [(address := main.proxy(venue)) and address.reveal() for venue in ("okx", "lighter")] == [
        "http://user:pw@proxy.example:3128",
        "http://other.example:1",
    ]
    second = accounts.open("second")
    assert second is not None
    assert second.proxy("okx") is None, "a proxy is of one account"


def test_a_second_time_changes_what_is_given_and_nothing_else(accounts: Accounts) -> None:
    filled(accounts)
    accounts.update("main", [change(api_secret="new", passphrase=None)], {"lighter": None})
    assert plain(accounts.open("main")) == {
        ("okx", "mainnet"): {"api_key": "key-1", "api_secret": "new"},
        ("lighter", "testnet"): {"api_key_private_key": "ab" * 40},
        "": "http://user:pw@proxy.example:3128",
    }
    assert plain(accounts.open("second")) == {("okx", "mainnet"): {"api_key": "key-2", "api_secret": "secret-2", "passphrase": "pass-2"}}


def test_views_show_names_and_hosts(accounts: Accounts) -> None:
    filled(accounts)
    main, second = accounts.views()
    assert (main.name, second.name) == ("main", "second")
    assert [(v.venue, v.environment, v.fields) for v in main.venues] == [
        ("lighter", "testnet", ("api_key_private_key",)),
        ("okx", "mainnet", ("api_key", "api_secret", "passphrase")),
    ]
    assert [(p.venue, p.address) for p in main.proxies] == [("", "http://***@proxy.example:3128"), ("lighter", "http://other.example:1")]
    assert main.updated_at > main.created_at
    assert all(word not in repr(accounts.views()) for word in ("key-1", "secret-1", "pw", "user"))


@pytest.mark.parametrize("name", ["", "-x", "a b", "a/b", "ä", "x" * 42, "a\n"])
def test_a_bad_name_is_refused_before_anything_is_made(accounts: Accounts, tmp_path: Path, name: str) -> None:
    with pytest.raises(VaultError, match="no name for an account"):
        accounts.update(name, [change(api_key="k")])
    assert not (tmp_path / "vault.key").exists()


def test_removing(accounts: Accounts) -> None:
    filled(accounts)
    with pytest.raises(NoSuchAccount):
        accounts.remove("third")
    with pytest.raises(NoSuchAccount, match="nothing for aster"):
        accounts.remove("main", ["aster"])
    with pytest.raises(NoSuchAccount):
        accounts.remove("main", ["okx"], "testnet")
    assert accounts.remove("main", ["lighter"]) is False
    assert plain(accounts.open("main")).keys() == {("okx", "mainnet"), ""}
    assert accounts.remove("main", ["okx"], "mainnet") is True
    assert accounts.open("main") is None
    assert accounts.remove("second") is True
    assert accounts.views() == ()


def test_the_record_has_names_and_no_values(accounts: Accounts, database: Database, tmp_path: Path) -> None:
    filled(accounts)
    accounts.update("main", [change(api_secret="secret-3")])
    accounts.rotate()
    accounts.remove("second")
    with sqlite3.connect(tmp_path / "perpkit.db") as raw:
        rows = raw.execute("SELECT actor, action, detail FROM audit_log ORDER BY ts").fetchall()
    assert [row[1] for row in rows] == ["accounts.add", "accounts.add", "accounts.update", "accounts.rotate", "accounts.remove"]
    assert {row[0] for row in rows} == {"tester"}
    assert '"set":["api_secret"]' in rows[2][2]
    assert all(word not in str(rows) for word in ("secret-", "key-1", "pw@", "ab" * 20))


def test_a_failure_in_the_middle_changes_nothing(accounts: Accounts) -> None:
    filled(accounts)
    before = plain(accounts.open("main"))

    class Broken(Secret):
        def reveal(self) -> str:
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        accounts.update("main", [change(api_key="changed"), Change("okx", "mainnet", {"api_secret": Broken("x")})])
    assert plain(accounts.open("main")) == before


# ---- the key


def test_the_first_secret_makes_the_key_and_the_next_ones_use_it(accounts: Accounts, tmp_path: Path) -> None:
    filled(accounts)
    assert len(KeyFile(tmp_path / "vault.key").read()) == 1
    assert {view.key_id for view in accounts.views()} == set(KeyFile(tmp_path / "vault.key").read())


def test_a_wrong_or_lost_key_is_one_clear_error_and_destroys_nothing(accounts: Accounts, database: Database, tmp_path: Path) -> None:
    filled(accounts)
    (tmp_path / "vault.key").rename(tmp_path / "elsewhere")
    for folder_has in (False, True):
        if folder_has:
            KeyFile(tmp_path / "vault.key").add(MasterKey.random())
        stranger = Accounts(database, Keys(tmp_path, work=CHEAP), now_ns=Times(), actor="x")
        with pytest.raises(KeyUnavailable, match="Bring the key back"):
            stranger.open("main")
        with pytest.raises(KeyUnavailable):
            stranger.update("main", [change(api_key="k")])
        with pytest.raises(KeyUnavailable):
            stranger.rotate()
        assert len(stranger.views()) == 2, "what is there can be seen"
    (tmp_path / "elsewhere").rename(tmp_path / "vault.key")
    assert plain(Accounts(database, Keys(tmp_path), now_ns=Times(), actor="x").open("second"))


def test_a_vault_whose_key_is_lost_can_be_emptied(accounts: Accounts, database: Database, tmp_path: Path) -> None:
    filled(accounts)
    (tmp_path / "vault.key").unlink()
    stranger = Accounts(database, Keys(tmp_path, work=CHEAP), now_ns=Times(), actor="x")
    assert stranger.empty() == 2
    assert stranger.views() == ()
    filled(stranger)
    assert plain(stranger.open("main"))


def test_another_place_for_the_key_is_said_with_a_rotation(accounts: Accounts) -> None:
    filled(accounts)
    with pytest.raises(VaultError, match="rotate --key keyring"):
        accounts.update("main", [change(api_key="k")], source=Source.KEYRING)


# ---- rotation


@pytest.mark.parametrize("source", [Source.FILE, Source.PASSPHRASE, Source.ENVIRONMENT])
def test_rotation_locks_everything_anew(accounts: Accounts, database: Database, tmp_path: Path, source: Source) -> None:
    filled(accounts)
    with sqlite3.connect(tmp_path / "perpkit.db") as raw:
        before = {row[0] for table in ("account_credentials", "proxies") for row in raw.execute(f"SELECT ciphertext FROM {table}")}  # noqa: S608
    held = {name: plain(accounts.open(name)) for name in ("main", "second")}
    fresh = MasterKey.random()
    keys = accounts.vault.keys
    keys.new_variable, keys.new_passphrase = fresh.text, Secret("correct horse battery")
    old, new, count = accounts.rotate(source)
    assert old != new
    assert count == 9
    assert {view.key_id for view in accounts.views()} == {new}
    with sqlite3.connect(tmp_path / "perpkit.db") as raw:
        after = {row[0] for table in ("account_credentials", "proxies") for row in raw.execute(f"SELECT ciphertext FROM {table}")}  # noqa: S608
        assert raw.execute("SELECT key_id FROM vault_keys").fetchall() == [(new,)]
    assert len(before) == len(after) == 9
    assert not before & after
    assert set(KeyFile(tmp_path / "vault.key").read()) == ({new} if source is Source.FILE else set()), "the old key is forgotten"
    again = Accounts(database, Keys(tmp_path, variable=fresh.text, passphrase=Secret("correct horse battery")), now_ns=Times(), actor="x")
    assert {name: plain(again.open(name)) for name in ("main", "second")} == held


def test_the_old_key_can_be_kept_and_goes_with_the_next_rotation(accounts: Accounts, tmp_path: Path) -> None:
    filled(accounts)
    first, second, _ = accounts.rotate(keep_old=True)
    assert set(KeyFile(tmp_path / "vault.key").read()) == {first, second}
    _, third, _ = accounts.rotate()
    assert set(KeyFile(tmp_path / "vault.key").read()) == {third}


def test_an_empty_vault_has_nothing_to_rotate(accounts: Accounts, tmp_path: Path) -> None:
    with pytest.raises(NoSuchAccount):
        accounts.rotate()
    assert not (tmp_path / "vault.key").exists()


def test_rotation_refuses_what_does_not_open(accounts: Accounts, tmp_path: Path) -> None:
    filled(accounts)
    with sqlite3.connect(tmp_path / "perpkit.db") as raw:
        raw.execute("UPDATE account_credentials SET ciphertext = zeroblob(20) WHERE account = 'second' AND field = 'passphrase'")
    held = plain(accounts.open("main"))
    with pytest.raises(VaultDamaged, match="account second"):
        accounts.rotate()
    assert plain(accounts.open("main")) == held


def test_the_same_key_twice_is_no_rotation(accounts: Accounts, tmp_path: Path) -> None:
    key = MasterKey.random()
    accounts.vault.keys.variable = accounts.vault.keys.new_variable = key.text
    filled(accounts)
    with pytest.raises(VaultError, match="give another"):
        accounts.rotate(Source.ENVIRONMENT)
    assert plain(accounts.open("main"))


# ---- what others change


COLUMNS = {
    "accounts": ("name", "created_at", "updated_at", "key_id", "seal"),
    "account_credentials": ("account", "venue", "environment", "field", "key_id", "version", "nonce", "ciphertext", "updated_at"),
    "proxies": ("account", "venue", "shown", "key_id", "version", "nonce", "ciphertext", "updated_at"),
    "vault_keys": ("key_id", "source", "kdf", "salt", "active", "created_at", "seal"),
}


def test_every_column_is_looked_at() -> None:
    from database.models import Base

    for table, columns in COLUMNS.items():
        there = {column.name for column in Base.metadata.tables[table].columns}
        assert there - set(columns) == ({"retired_at"} if table == "vault_keys" else set())


def tampered(path: Path, table: str, column: str, row: int, bit: int) -> Callable[[], None] | None:
    """Flip one bit of what the file has there, whatever its type; what brings it back, None where there is nothing to flip."""
    with sqlite3.connect(path, isolation_level=None) as raw:
        raw.execute("PRAGMA foreign_keys=OFF")
        found = raw.execute(f"SELECT rowid, typeof({column}), CAST({column} AS BLOB) FROM {table} ORDER BY rowid").fetchall()  # noqa: S608
        rowid, kind, held = found[row % len(found)]
        if not held:
            return None
        value: int | bytes
        if kind == "integer":
            sql, was, value = "?", int(held), int(held) ^ (1 << (bit % 8))
        else:
            changed = bytearray(held)
            changed[bit // 8 % len(changed)] ^= 1 << (bit % 8)
            sql, was, value = ("CAST(? AS TEXT)" if kind == "text" else "?"), held, bytes(changed)

        def put(what: int | bytes) -> None:
            with sqlite3.connect(path, isolation_level=None) as raw:
                raw.execute(f"UPDATE {table} SET {column} = {sql} WHERE rowid = ?", (what, rowid))  # noqa: S608

        put(value)
        return lambda: put(was)


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Accounts]]:
    """Behind a passphrase, so that every column has something to change."""
    folder = tmp_path_factory.mktemp("vault")
    with Database.open(sqlite_url(folder / "perpkit.db")) as database:
        accounts = Accounts(database, Keys(folder, passphrase=Secret("correct horse battery"), work=CHEAP), now_ns=Times(), actor="tester")
        filled(accounts)
        yield folder / "perpkit.db", accounts


@given(
    place=st.sampled_from([(table, column) for table, columns in COLUMNS.items() for column in columns]),
    row=st.integers(0, 20),
    bit=st.integers(0, 10_000),
)
@settings(max_examples=150, deadline=None)
def test_any_changed_bit_of_any_column_is_found(vault: tuple[Path, Accounts], place: tuple[str, str], row: int, bit: int) -> None:
    path, accounts = vault
    restore = tampered(path, *place, row, bit)
    if restore is None:
        return
    accounts.vault.keys.forget()
    try:
        with pytest.raises((VaultError, JournalError)) as caught:  # noqa: PT012 - one of the two accounts was changed
            accounts.open("main")
            accounts.open("second")
        said = str(caught.value)
        assert "\n" not in said
        assert all(word not in said for word in ("secret-", "key-1", "key-2", "horse"))
        with pytest.raises((VaultError, JournalError)):
            accounts.rotate()
    finally:
        restore()
    assert plain(accounts.open("main"))
    assert plain(accounts.open("second"))


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM account_credentials WHERE account = 'main' AND field = 'passphrase'",
        "DELETE FROM account_credentials WHERE account = 'main'",
        "DELETE FROM proxies WHERE account = 'main'",
        "DELETE FROM accounts WHERE name = 'main'",
        "DELETE FROM vault_keys",
        "UPDATE vault_keys SET active = NULL",
        "UPDATE proxies SET venue = 'okx' WHERE venue = ''",
        "UPDATE account_credentials SET environment = 'mainnet' WHERE environment = 'testnet'",
        "INSERT INTO account_credentials SELECT 'main', venue, environment, 'extra', key_id, version, nonce, ciphertext, updated_at "
        "FROM account_credentials WHERE account = 'second' AND field = 'api_key'",
        "UPDATE account_credentials SET (nonce, ciphertext) = (SELECT nonce, ciphertext FROM account_credentials WHERE account = 'second' "
        "AND field = 'api_key') WHERE account = 'main' AND field = 'api_key'",
        "UPDATE account_credentials SET (nonce, ciphertext) = (SELECT nonce, ciphertext FROM account_credentials WHERE account = 'main' "
        "AND field = 'api_secret') WHERE account = 'main' AND field = 'api_key'",
    ],
)
def test_rows_that_somebody_moves_removes_or_adds_are_found(accounts: Accounts, tmp_path: Path, statement: str) -> None:
    filled(accounts)
    with sqlite3.connect(tmp_path / "perpkit.db", isolation_level=None) as raw:
        raw.execute(statement)
    with pytest.raises(VaultError, match=r"changed|was not stored|is not named|was not found|bring a copy|copy of"):
        accounts.open("main")


def test_an_old_row_does_not_come_back(accounts: Accounts, tmp_path: Path) -> None:
    filled(accounts)
    where = "WHERE account = 'main' AND field = 'api_key'"
    with sqlite3.connect(tmp_path / "perpkit.db", isolation_level=None) as raw:
        old = raw.execute(f"SELECT nonce, ciphertext, updated_at FROM account_credentials {where}").fetchone()  # noqa: S608
        accounts.update("main", [change(api_key="renewed")])
        raw.execute(f"UPDATE account_credentials SET nonce = ?, ciphertext = ?, updated_at = ? {where}", old)  # noqa: S608
    with pytest.raises(VaultDamaged):
        accounts.open("main")


def test_the_seal_is_not_the_only_lock(accounts: Accounts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each ciphertext is bound to its place by itself: with the seals switched off, a moved one does not open either."""
    import database.accounts as module

    filled(accounts)
    monkeypatch.setattr(module, "_seal", lambda *_: b"")
    with sqlite3.connect(tmp_path / "perpkit.db", isolation_level=None) as raw:
        raw.execute("UPDATE accounts SET seal = x''")
        raw.execute("UPDATE account_credentials SET environment = 'mainnet' WHERE environment = 'testnet'")
    with pytest.raises(VaultDamaged, match="main/lighter/mainnet/api_key_private_key does not open"):
        accounts.open("main")


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://user:pw@host.example:3128", "http://***@host.example:3128"),
        ("http://host.example:3128/path?token=x", "http://host.example:3128"),
        ("https://user@host.example", "https://***@host.example"),
    ],
)
def test_a_proxy_is_shown_without_user_and_password(address: str, shown: str) -> None:
    assert without_password(Secret(address)) == shown
