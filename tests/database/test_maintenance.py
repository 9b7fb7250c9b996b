"""`perpkit db` and what is behind it, on both databases."""

import json
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from database.connect import sqlite_url
from database.database import Database
from database.errors import JournalOwned
from database.funding_store import FundingStore
from database.journal import Journal
from perpkit.cli.main import run
from tests.database.market_rows import HOUR, MINUTE, T0, collection, sample
from tests.database.rows import pair


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    code = run(["db", *arguments, "--json"])
    out = capsys.readouterr().out
    return code, json.loads(out)


@pytest.fixture
def filled(url: str) -> str:
    with Database.open(url) as database:
        store = FundingStore(database)
        for minute in range(12):
            store.record_collection(collection(at=T0 + minute * MINUTE), [sample(at=T0 + minute * MINUTE)])
    return url


def test_status_tells_version_rows_spans_and_rounds(filled: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, answer = told(capsys, "status", "--database", filled)
    assert (code, answer["version"], answer["newest"]) == (0, "0003", "0003")
    by_table = {t["table"]: t for t in answer["tables"]}
    assert by_table["funding_rates"]["rows"] == 12
    assert by_table["funding_rates"]["first"] == "2026-11-21T11:00:00.000Z"
    assert answer["rounds"] == [{"venue": "toy", "at": "2026-11-21T11:11:00.000Z", "outcome": "ok", "markets": 1, "error": ""}]
    assert answer["bytes"] > 100_000
    assert run(["db", "status", "--database", filled]) == 0
    assert "funding_rates_hourly" in capsys.readouterr().out


def test_upgrade_makes_it_and_downgrade_asks_first(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, "upgrade", "--database", url)[1]["to"] == "0003"
    assert told(capsys, "upgrade", "--database", url)[1]["from"] == "0003"
    code, answer = told(capsys, "downgrade", "0002", "--database", url)
    assert code == 2
    assert "Market data, accounts" in answer["error"]["message"]
    assert "--yes" in answer["error"]["hint"]
    code, answer = told(capsys, "downgrade", "0002", "--yes", "--database", url)
    assert (code, answer["from"], answer["to"]) == (0, "0003", "0002")
    assert told(capsys, "status", "--database", url)[0] == 1
    code, answer = told(capsys, "downgrade", "0099", "--yes", "--database", url)
    assert "versions: 0003, 0002, 0001, base" in answer["error"]["message"]
    assert told(capsys, "upgrade", "--database", url)[1] | {"database": ""} == {"database": "", "from": "0002", "to": "0003"}


def test_no_schema_is_changed_under_a_bot(url: str) -> None:
    from database import maintenance

    with Journal.open(url) as journal:
        with pytest.raises(JournalOwned):
            maintenance.downgrade(url, "0002")
        journal.write(pair())
    assert maintenance.downgrade(url, "base").at is None


def test_upkeep_sums_up_before_it_deletes(filled: str, capsys: pytest.CaptureFixture[str]) -> None:
    with Database.open(filled) as database:
        store = FundingStore(database)
        store.add_samples([sample(at=T0 - 100 * 24 * HOUR)])
    assert told(capsys, "roll-up", "--database", filled)[1]["hours_written"] >= 1
    code, answer = told(capsys, "retain", "--raw-days", "1", "--database", filled)
    assert code == 0
    assert answer["deleted"]["samples"] >= 1
    assert told(capsys, "retain", "--raw-days", "0", "--database", filled)[0] == 2


def test_check_says_what_is_wrong(filled: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, "check", "--database", filled)[1]["problems"] == []
    with Database.open(filled) as database, database.write() as connection:
        connection.execute(text("UPDATE latest_funding_rates SET observed_at = observed_at - 1"))
        connection.execute(text("UPDATE venue_symbols SET rolled_until = NULL"))
    code, answer = told(capsys, "check", "--database", filled)
    assert code == 1
    assert answer["problems"] == [
        "BTC-USDC-PERP.toy: its latest sample is not its newest",
        "BTC-USDC-PERP.toy: its samples would never be rolled up",
    ]


def test_a_damaged_file_is_found(sqlite: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Database.open(sqlite) as database:
        FundingStore(database).add_samples([sample(at=T0 + i) for i in range(5_000)])
    with open(tmp_path / "journal.db", "r+b") as file:
        file.seek(file.seek(0, 2) - 30 * 4096)
        file.write(b"\xee" * 4096 * 8)
    code, _ = told(capsys, "check", "--database", sqlite)
    assert code != 0


def test_a_copy_made_while_others_write_is_one_moment_of_it(filled: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "copy.db"
    if filled.startswith("postgresql"):
        code, answer = told(capsys, "backup", str(target), "--database", filled)
        assert code != 0
        assert "pg_dump" in answer["error"]["message"]
        return
    stop = threading.Event()

    def write() -> None:
        with Database.open(filled) as database:
            store, minute = FundingStore(database), 12
            while not stop.is_set():
                store.record_collection(collection(at=T0 + minute * MINUTE), [sample(at=T0 + minute * MINUTE)])
                minute += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        code, answer = told(capsys, "backup", str(target), "--database", filled)
    finally:
        stop.set()
        writer.join()
    assert (code, answer["backup"]) == (0, str(target))
    assert target.stat().st_mode & 0o077 == 0
    assert not target.with_name("copy.db.partial").exists()
    with Database.open(sqlite_url(target)) as copy, copy.read() as connection:
        counts = {t: connection.execute(text(f"SELECT count(*) FROM {t}")).scalar_one() for t in ("funding_rates", "collection_logs")}  # noqa: S608
    assert counts["funding_rates"] == counts["collection_logs"] >= 12
    code, answer = told(capsys, "backup", str(target), "--database", filled)
    assert code == 2
    assert "exists already" in answer["error"]["message"]


def test_a_database_that_is_not_there_is_not_made_by_looking(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "none.db"
    for command in (["status"], ["check"], ["roll-up"], ["retain"], ["backup", str(tmp_path / "x")], ["downgrade", "base", "--yes"]):
        code, answer = told(capsys, *command, "--database", str(place))
        assert code == 2, command
        assert "perpkit db upgrade" in answer["error"]["hint"]
    assert not place.exists()


def test_going_back_to_a_version_that_is_not_there_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "made.db"
    Database.open(sqlite_url(place)).close()
    code, answer = told(capsys, "downgrade", "0009", "--yes", "--database", str(place))
    assert (code, "versions: 0003" in answer["error"]["message"]) == (2, True)


def test_a_file_of_something_else_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "other.db"
    sqlite3.connect(place).execute("CREATE TABLE t (x)").connection.close()
    code, answer = told(capsys, "status", "--database", str(place))
    assert (code, answer["version"]) == (1, None)
