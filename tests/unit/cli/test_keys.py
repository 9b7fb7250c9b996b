"""`perpkit keys`: shown once, kept as a hash, also while a bot owns the journal."""

import json
from pathlib import Path
from typing import Any

import pytest

from database import apikeys
from database.apikeys import KeyTable, Scope
from database.connect import sqlite_url
from database.database import Database
from database.errors import JournalReadOnly
from database.journal import Journal
from perpkit.cli.main import run
from tests.strategies.test_ledger import PAIR

pytestmark = pytest.mark.slow


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    code = run([*arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_e41_a_key_is_shown_once_works_and_is_taken_back_while_a_bot_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    owner = Journal.open(sqlite_url(tmp_path / "journal.db"))  # a bot
    try:
        code, told = call(capsys, "keys", "add", "ops", "--scope", "write", "--home", str(tmp_path))
        assert (code, told["scopes"]) == (0, ["write"])
        key = apikeys.find(told["key"], owner.api_keys())
        assert key is not None
        assert (key.name, key.may(Scope.READ), key.may(Scope.WRITE)) == ("ops", True, True)
        owner.write(PAIR)  # the bot writes on
        assert call(capsys, "keys", "add", "ops", "--home", str(tmp_path))[0] == 2
        code, listed = call(capsys, "keys", "list", "--home", str(tmp_path))
        assert [(k["name"], k["revoked_at"]) for k in listed["keys"]] == [("ops", None)]
        assert told["key"] not in json.dumps(listed)
        assert call(capsys, "keys", "revoke", "ops", "--home", str(tmp_path))[0] == 0
        assert apikeys.find(told["key"], owner.api_keys()) is None
    finally:
        owner.close()
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert told["key"].encode() not in stored


def test_a_key_of_the_service_is_in_its_database(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = call(capsys, "keys", "add", "ops", "--scope", "write", "--service", "--home", str(tmp_path))
    assert code == 0
    with Database.open(sqlite_url(tmp_path / "perpkit.db")) as database:
        keys = KeyTable(database)
        assert apikeys.find(told["key"], keys.keys()) is not None
        assert [k["name"] for k in call(capsys, "keys", "list", "--service", "--home", str(tmp_path))[1]["keys"]] == ["ops"]
        assert call(capsys, "keys", "revoke", "ops", "--service", "--home", str(tmp_path))[0] == 0
        assert apikeys.find(told["key"], keys.keys()) is None
    assert not (tmp_path / "journal.db").exists()


def test_the_service_is_named_with_its_database_and_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["keys", "add", "ops", "--service", "--home", str(tmp_path)]) == 0
    assert str(tmp_path / "perpkit.db") in capsys.readouterr().out.replace("\n", "")
    (tmp_path / "perpkit.db").unlink()
    Database.open(sqlite_url(tmp_path / "perpkit.db")).close()
    assert run(["keys", "list", "--service", "--home", str(tmp_path)]) == 0
    assert "perpkit keys add NAME --service" in capsys.readouterr().out


def test_an_operator_beside_a_bot_writes_nothing_of_trading(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "journal.db")
    beside = Journal.beside(url)  # nobody owns it: made
    try:
        with pytest.raises(JournalReadOnly, match="only the journal's owner"):
            beside.write(PAIR)
        shown, record = apikeys.create("mon", [Scope.READ], 1)
        owner = Journal.open(url)  # it does not stand in the way of a bot
        owner.write(PAIR)
        beside.write(record)
        assert apikeys.find(shown, owner.api_keys()) is not None
        owner.close()
    finally:
        beside.close()


@pytest.mark.parametrize(("name", "scopes"), [("Bad Name", [Scope.READ]), ("", [Scope.READ]), ("ok", [])])
def test_a_key_needs_a_name_and_a_scope(name: str, scopes: list[Scope]) -> None:
    with pytest.raises(ValueError, match="key"):
        apikeys.create(name, scopes, 1)


def test_revoking_what_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = call(capsys, "keys", "revoke", "nosuch", "--home", str(tmp_path))
    assert (code, told["error"]["hint"]) == (2, "perpkit keys list shows them")
