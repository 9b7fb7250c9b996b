"""The vault on a real PostgreSQL: the same rows, the same locks, the same seals."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text

from database.accounts import Accounts
from database.database import Database
from database.keys import KeyFile, Keys, VaultDamaged
from tests.accounts.vaults import CHEAP, Times, change, filled, plain
from tests.postgres import Server, postgres

__all__ = ["postgres"]


@pytest.fixture
def server(postgres: Server) -> Iterator[Database]:
    with Database.open(postgres.schema()) as opened:
        yield opened


def vault(database: Database, folder: Path) -> Accounts:
    return Accounts(database, Keys(folder, work=CHEAP), now_ns=Times(), actor="tester")


def test_storing_rotating_and_removing(server: Database, tmp_path: Path) -> None:
    accounts = vault(server, tmp_path)
    filled(accounts)
    held = [plain(accounts.open(name)) for name in ("main", "second")]
    assert held[1] == {("okx", "mainnet"): {"api_key": "key-2", "api_secret": "secret-2", "passphrase": "pass-2"}}
    old, new, count = accounts.rotate()
    assert (count, set(KeyFile(tmp_path / "vault.key").read())) == (9, {new})
    assert old != new
    assert [plain(vault(server, tmp_path).open(name)) for name in ("main", "second")] == held
    accounts.update("main", [change(api_secret="changed")])
    assert plain(accounts.open("main"))["okx", "mainnet"] == {"api_key": "key-1", "api_secret": "changed", "passphrase": "pass-1"}
    assert accounts.remove("main", ["okx"]) is False
    assert accounts.remove("main", ["lighter"]) is True
    assert [view.name for view in accounts.views()] == ["second"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE account_credentials SET ciphertext = set_bit(ciphertext, 3, 1 - get_bit(ciphertext, 3)) WHERE account = 'main'",
        "DELETE FROM proxies",
        "UPDATE accounts SET seal = set_bit(seal, 0, 1 - get_bit(seal, 0))",
        "UPDATE vault_keys SET source = 'keyring'",
        "UPDATE accounts SET updated_at = 'yesterday'",
    ],
)
def test_what_others_change_is_found(server: Database, tmp_path: Path, statement: str) -> None:
    accounts = vault(server, tmp_path)
    filled(accounts)
    with server.write() as connection:
        connection.execute(text(statement))
    with pytest.raises(VaultDamaged):
        accounts.open("main")


def test_many_that_begin_at_once_make_one_key(server: Database, tmp_path: Path) -> None:
    """Writers wait for each other, or one is told that another was first; two keys in use are not possible."""

    def add(number: int) -> str:
        try:
            vault(server, tmp_path).update(f"a{number}", [change(api_key=f"k{number}")])
        except Exception as e:
            return type(e).__name__
        return "added"

    with ThreadPoolExecutor(4) as pool:
        first = list(pool.map(add, range(4)))
    assert "added" in first
    assert set(first) <= {"added", "JournalConflict"}
    accounts = vault(server, tmp_path)
    assert len({view.key_id for view in accounts.views()}) == 1
    for number in range(4):
        add(number)
        assert plain(accounts.open(f"a{number}")) == {("okx", "mainnet"): {"api_key": f"k{number}"}}


def test_changes_and_rotations_at_once_lose_nothing(server: Database, tmp_path: Path) -> None:
    vault(server, tmp_path).update("a0", [change(api_key="k0")])

    def work(number: int) -> None:
        mine = vault(server, tmp_path)
        if number % 3 == 0:
            mine.rotate(keep_old=True)
        else:
            mine.update(f"a{number}", [change(api_key=f"k{number}")])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(1, 10)))
    accounts = vault(server, tmp_path)
    assert sorted(view.name for view in accounts.views()) == ["a0", "a1", "a2", "a4", "a5", "a7", "a8"]
    for view in accounts.views():
        assert plain(accounts.open(view.name)) == {("okx", "mainnet"): {"api_key": f"k{view.name[1:]}"}}
