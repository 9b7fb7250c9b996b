"""What only a journal on a server meets: lost connections, taken ownership, an operator beside it."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from database.database import Database
from database.errors import JournalBroken, JournalFull, JournalOwned, JournalReadOnly, JournalUnreachable
from database.fallback import fallback_of
from database.journal import Journal
from database.records import AuditRecord, PairState
from tests.database.rows import NOW, fill, intent, pair
from tests.postgres import Server

AUDIT = AuditRecord(entry_id="a1", actor="me", action="close", detail="{}", ts=NOW)


def test_a_connection_lost_in_the_middle_leaves_nothing_half_written(postgres: Server, server_url: str) -> None:
    journal = Journal.open(server_url)
    journal.write(pair())
    put, calls = journal._put, []

    def put_then_lose(record: object) -> bool:
        calls.append(record)
        if len(calls) == 2:
            postgres.cut()
        return put(record)  # type: ignore[arg-type]

    journal._put = put_then_lose  # type: ignore[method-assign]
    with pytest.raises(JournalUnreachable, match="cannot be reached"):
        journal.write(msgspec.structs.replace(pair(), state=PairState.HEDGED), intent(), fill())
    assert [p.state for p in journal.pairs()] == [PairState.PLANNED]
    assert journal.intents("p1") == []
    journal.write(intent(), fill())
    assert journal.fills("p1") == [fill()]
    journal.close()


def test_after_a_restart_of_the_server_the_owner_goes_on(postgres: Server, server_url: str) -> None:
    journal = Journal.open(server_url)
    for _ in range(2):
        postgres.cut()
        with pytest.raises(JournalUnreachable):
            journal.write(pair())
        journal.write(pair())
        with pytest.raises(JournalOwned, match="another process owns"):
            Journal.open(server_url)
    journal.close()
    Journal.open(server_url).close()


def test_an_owner_that_lost_its_place_to_another_never_writes_again(postgres: Server, server_url: str) -> None:
    journal = Journal.open(server_url)
    postgres.cut()
    other = Journal.open(server_url)
    with pytest.raises(JournalUnreachable):
        journal.write(pair())
    with pytest.raises(JournalOwned, match="another process owns"):
        journal.write(pair())
    other.write(pair("theirs"))
    other.close()
    for _ in range(2):
        with pytest.raises(JournalOwned, match="stop this one"):
            journal.write(pair())
    journal.close()
    with Journal.open(server_url) as again:
        assert [p.pair_id for p in again.pairs()] == ["theirs"]


def test_exits_are_recorded_while_the_server_is_away_and_known_fills_stay_known(postgres: Server, server_url: str, tmp_path: Path) -> None:
    """Whether a fill was known cannot be asked then; taking it as new would count it twice."""
    before = Journal.open(server_url, fallback=fallback_of(server_url, tmp_path))
    before.write(pair(), intent(), fill("t0"))
    before.close()
    journal = Journal.open(server_url, fallback=fallback_of(server_url, tmp_path))
    assert len(journal.fills("p1")) == 1
    journal.write(fill("t1"))
    with postgres.away():
        unwind = intent("i2", client_order_id="2", reduce_only=True)
        assert journal.write(unwind, fill("t0"), fill("t1"), fill("t2"), or_fallback=True) == (True, False, False, True)
        while_away = journal.degraded
        with pytest.raises(JournalUnreachable):
            journal.write(intent("i3", client_order_id="3"))
    journal.write()
    assert (while_away, journal.degraded) == (True, False)
    assert [f.trade_id for f in journal.fills("p1")] == ["t0", "t1", "t2"]
    journal.close()


def test_two_schemas_are_two_journals(postgres: Server, server_url: str) -> None:
    with Journal.open(server_url) as one, Journal.open(postgres.schema()) as two:
        one.write(pair())
        assert two.pairs() == []


def test_a_reader_cannot_write_and_an_empty_database_is_named(postgres: Server, server_url: str) -> None:
    with pytest.raises(JournalBroken, match="holds no journal"):
        Journal.open(server_url, read_only=True)
    with Journal.open(server_url) as journal, Journal.open(server_url, read_only=True) as reader:
        journal.write(pair())
        assert reader.pairs() == [pair()]
        with pytest.raises(JournalReadOnly, match="cannot be written"):
            reader.write(pair("p2"))


def test_beside_the_owner_only_keys_and_audit_entries_are_written(server_url: str) -> None:
    with Journal.open(server_url) as journal:
        beside = Journal.beside(server_url)
        beside.write(AUDIT)
        with pytest.raises(JournalReadOnly, match="owner"):
            beside.write(pair())
        beside.close()
        assert journal.audit() == [AUDIT]


def test_a_full_server_is_told_as_such(postgres: Server, server_url: str) -> None:
    """The server's own error code of a full disk, raised by the server."""
    with Journal.open(server_url) as journal:
        with Database.open(server_url) as database, database.write() as connection:
            connection.exec_driver_sql(
                "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$"
            )
            connection.exec_driver_sql("CREATE TRIGGER t BEFORE INSERT ON pairs FOR EACH ROW EXECUTE FUNCTION full_disk()")
        with pytest.raises(JournalFull, match="no space left"):
            journal.write(pair())


@pytest.mark.parametrize("url", ["postgresql://someone:hunter2@127.0.0.1:1/none", "postgresql://someone:hunter2@256.1.1.1/none"])
def test_a_server_that_is_not_there_is_one_line_without_the_password(url: str) -> None:
    for opening in (Journal.open, Database.open):
        with pytest.raises(JournalUnreachable, match="cannot be reached") as told:
            opening(url)
        assert "hunter2" not in str(told.value)
        assert "\n" not in str(told.value)


@pytest.mark.parametrize("url", ["mysql://me:hunter2@localhost/db", "no url with hunter2", "postgresql+asyncpg://me:hunter2@h/db"])
def test_another_database_is_refused_without_repeating_the_url(url: str) -> None:
    with pytest.raises(JournalBroken, match="sqlite:///FILE") as told:
        Database.open(url)
    assert "hunter2" not in str(told.value)


def test_a_killed_owner_leaves_the_journal_to_the_next(server_url: str) -> None:
    code = (
        "import sys, time; from database.journal import Journal; j = Journal.open(sys.argv[1]); print('owned', flush=True); time.sleep(60)"
    )
    owner = subprocess.Popen([sys.executable, "-c", code, server_url], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    assert owner.stdout.readline() == "owned\n"
    with pytest.raises(JournalOwned):
        Journal.open(server_url)
    owner.kill()
    owner.wait()
    owner.stdout.close()
    for _ in range(200):  # the server learns of it by the closed socket
        try:
            Journal.open(server_url).close()
            return
        except JournalOwned:
            pass
    pytest.fail("still owned by the dead")
