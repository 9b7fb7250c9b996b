"""The journal: durable before it returns, once-only facts, clear errors, a fallback for what reduces risk."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from database.connect import sqlite_url
from database.database import Database
from database.errors import JournalBroken, JournalBusy, JournalFull, JournalOwned, JournalReadOnly
from database.fallback import FallbackFile, fallback_of
from database.ids import DurableIds
from database.journal import Journal
from database.records import IntentState, PairState, StateRecord
from tests.database.rows import NOW, fill, intent, pair


def _pragma(journal: Journal, text: str) -> object:
    with journal._connection.begin():
        answer = journal._connection.exec_driver_sql(f"PRAGMA {text}")
        return answer.scalar() if answer.returns_rows else None


def test_what_was_written_is_read_back_exactly(url: str) -> None:
    journal = Journal.open(url)
    assert journal.write(pair(), intent(), fill()) == (True, True, True)
    journal.close()
    again = Journal.open(url)
    assert again.pair("p1") == pair()
    assert again.intents("p1") == [intent()]
    assert again.fills("p1") == [fill()]
    assert again.pairs(PairState.PLANNED, PairState.OPENING) == [pair()]
    assert again.pairs(PairState.CLOSED) == []
    again.close()


def test_pairs_and_intents_are_replaced_by_key(url: str) -> None:
    journal = Journal.open(url)
    journal.write(pair(), intent())
    journal.write(pair(state=PairState.HEDGED), msgspec.structs.replace(intent(), state=IntentState.SETTLED))
    assert [p.state for p in journal.pairs()] == [PairState.HEDGED]
    assert [i.state for i in journal.intents("p1")] == [IntentState.SETTLED]
    journal.close()


def test_e05_a_fill_is_taken_once_whatever_comes_again(url: str) -> None:
    journal = Journal.open(url)
    journal.write(pair(), intent())
    assert journal.write(fill("t1"), fill("t2"), fill("t1")) == (True, True, False)
    assert journal.write(fill("t1", quantity="9")) == (False,)
    journal.close()
    journal = Journal.open(url)
    assert journal.write(fill("t2")) == (False,)
    assert [f.trade_id for f in journal.fills("p1")] == ["t1", "t2"]
    assert {str(f.quantity) for f in journal.fills("p1")} == {"0.004"}
    journal.close()


def test_one_write_is_all_or_nothing(url: str) -> None:
    journal = Journal.open(url)
    with pytest.raises(JournalBroken):
        journal.write(pair(), fill(intent_id="no such intent"))
    assert journal.pairs() == []
    journal.close()


def test_e03_a_client_order_id_belongs_to_one_intent(url: str) -> None:
    journal = Journal.open(url)
    journal.write(pair(), intent("i1", client_order_id="77"))
    with pytest.raises(JournalBroken, match=r"(?i)unique.*client_order_id"):
        journal.write(intent("i2", client_order_id="77"))
    journal.close()


def test_sqlite_is_set_up_to_survive_power_loss(sqlite: str) -> None:
    journal = Journal.open(sqlite)
    assert _pragma(journal, "synchronous") == 2
    assert _pragma(journal, "journal_mode") == "wal"
    assert _pragma(journal, "foreign_keys") == 1
    journal.close()


def test_only_one_process_owns_a_journal(url: str) -> None:
    journal = Journal.open(url)
    code = f"from database.journal import Journal; Journal.open({url!r})"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert other.returncode != 0
    assert "JournalOwned" in other.stderr
    with pytest.raises(JournalOwned, match="another process owns"):
        Journal.open(url)
    journal.close()
    Journal.open(url).close()


def test_readers_do_not_need_ownership_and_cannot_write(url: str) -> None:
    journal = Journal.open(url)
    journal.write(pair())
    reader = Journal.open(url, read_only=True)
    assert reader.pair("p1") == pair()
    with pytest.raises(JournalReadOnly, match="cannot be written"):
        reader.write(pair("p2"))
    reader.close()
    journal.close()


def test_a_missing_database_is_named(tmp_path: Path) -> None:
    with pytest.raises(JournalReadOnly, match="no database at"):
        Journal.open(sqlite_url(tmp_path / "none.db"), read_only=True)


def test_a_folder_that_cannot_be_created_is_one_clear_error() -> None:
    with pytest.raises(JournalReadOnly, match="cannot be created"):
        Journal.open(sqlite_url(Path("/proc/perpkit/journal.db")))


def test_a_file_that_is_no_database_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "journal.db").write_bytes(b"this is text, and long enough to be read as a header" * 40)
    with pytest.raises(JournalBroken, match="not a database"):
        Journal.open(sqlite_url(tmp_path / "journal.db"))


def test_a_schema_from_the_future_is_refused(url: str) -> None:
    Journal.open(url).close()
    with Database.open(url) as database, database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num='9999'")
    with pytest.raises(JournalBroken, match="9999"):
        Journal.open(url)


def test_a_busy_database_is_waited_for_then_named(url: str) -> None:
    journal = Journal.open(url, busy_timeout_s=0.05)
    with Database.open(url) as database:
        with database.write() as other:
            if database.dialect == "postgresql":
                other.exec_driver_sql("LOCK TABLE pairs")
            with pytest.raises(JournalBusy, match="locked"):
                journal.write(pair())
        journal.write(pair())
    assert journal.pair("p1") == pair()
    journal.close()


def test_a_busy_database_that_is_released_in_time_is_no_error(sqlite: str, tmp_path: Path) -> None:
    journal = Journal.open(sqlite, busy_timeout_s=2)
    other = sqlite3.connect(tmp_path / "journal.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.02, lambda: other.execute("ROLLBACK"))
    release.start()
    journal.write(pair())
    release.join()
    other.close()
    journal.close()


def _fill_disk(journal: Journal) -> None:
    """SQLite's own limit gives the very error of a full disk."""
    _pragma(journal, f"max_page_count={_pragma(journal, 'page_count')}")


def _assert_degraded(journal: Journal, expected: bool) -> None:
    assert journal.degraded is expected


def _refuse_writes(journal: Journal) -> None:
    """The database still reads, and says no to every write."""
    lite = journal._connection.dialect.name == "sqlite"
    with journal._connection.begin():
        journal._connection.exec_driver_sql("PRAGMA query_only=ON" if lite else "SET default_transaction_read_only = on")


def _free_disk(journal: Journal) -> None:
    _pragma(journal, "max_page_count=1000000")


def test_e08_a_full_disk_stops_entries_and_records_exits_elsewhere(sqlite: str) -> None:
    journal = Journal.open(sqlite)
    journal.write(pair(), intent("i0", client_order_id="1"))
    _fill_disk(journal)
    long_note = "x" * 20_000
    entry = msgspec.structs.replace(intent(), note=long_note)
    with pytest.raises(JournalFull, match="no space left"):
        journal.write(entry)
    _assert_degraded(journal, False)
    unwind = msgspec.structs.replace(intent("i2", client_order_id="2", reduce_only=True), note=long_note)
    assert journal.write(unwind, fill("t1", intent_id="i2"), or_fallback=True) == (True, True)
    assert journal.write(fill("t1", intent_id="i2"), or_fallback=True) == (False,)
    _assert_degraded(journal, True)
    with pytest.raises(JournalFull):
        journal.write(intent("i3", client_order_id="3"))
    _free_disk(journal)
    journal.write(msgspec.structs.replace(pair(), state=PairState.CLOSING))
    _assert_degraded(journal, False)
    assert [i.intent_id for i in journal.intents("p1")] == ["i0", "i2"]
    assert [f.trade_id for f in journal.fills("p1")] == ["t1"]
    journal.close()


def test_e08_the_fallback_survives_a_crash_and_a_fill_known_to_the_database_is_not_new(url: str, tmp_path: Path) -> None:
    spare = fallback_of(url, tmp_path)
    journal = Journal.open(url, fallback=spare)
    journal.write(pair(), intent(), fill("t1"))
    _refuse_writes(journal)
    with pytest.raises(JournalReadOnly, match="cannot be written"):
        journal.write(intent("i9", client_order_id="9"))
    unwind = intent("i2", client_order_id="2", reduce_only=True)
    assert journal.write(unwind, fill("t1"), fill("t2", intent_id="i2"), or_fallback=True) == (True, False, True)
    journal.close()
    again = Journal.open(url, fallback=spare)
    assert not again.degraded
    assert [i.intent_id for i in again.intents("p1")] == ["i1", "i2"]
    assert [f.trade_id for f in again.fills("p1")] == ["t1", "t2"]
    again.close()


def test_a_fallback_record_without_a_place_is_set_aside_and_the_rest_is_restored(url: str, tmp_path: Path) -> None:
    """Its intent was lost with the disk; the fill must not keep the journal from opening."""
    spare = fallback_of(url, tmp_path)
    journal = Journal.open(url, fallback=spare)
    journal.write(pair())
    _refuse_writes(journal)
    unwind = intent("i2", client_order_id="2", reduce_only=True)
    journal.write(fill("t1", intent_id="lost"), unwind, fill("t2", intent_id="i2"), or_fallback=True)
    journal.close()
    again = Journal.open(url, fallback=spare)
    assert not again.degraded
    assert [f.trade_id for f in again.fills("p1")] == ["t2"]
    assert [i.intent_id for i in again.intents("p1")] == ["i2"]
    rejected = spare.with_name(spare.name + ".rejected").read_text()
    assert '"t1"' in rejected
    assert rejected.count("\n") == 1
    again.close()


def test_a_fallback_line_cut_by_a_crash_was_never_promised(tmp_path: Path) -> None:
    spare = FallbackFile(tmp_path / "f", size=4096)
    spare.append([{"a": 1}])
    end = spare._end
    spare.append([{"b": 2}])
    spare.close()
    with open(tmp_path / "f", "r+b") as f:
        f.seek(end + 3)
        f.write(bytes(100))
    assert FallbackFile(tmp_path / "f", size=4096).lines() == [{"a": 1}]
    assert os.path.getsize(tmp_path / "f") == 4096


def test_ids_never_repeat_even_when_blocks_are_lost(url: str) -> None:
    journal = Journal.open(url)
    ids = DurableIds(journal, "toy", block=3)
    first = [ids.next(NOW) for _ in range(5)]
    journal.close()
    journal = Journal.open(url)
    second = [DurableIds(journal, "toy", block=3).next(NOW) for _ in range(4)]
    assert first == [1, 2, 3, 4, 5]
    assert len({*first, *second}) == len(first) + len(second)
    journal.close()


WRITER = """
import sys
from database.journal import Journal
from database.records import StateRecord
journal = Journal.open(sys.argv[1])
i = 0
while True:
    i += 1
    journal.write(StateRecord(strategy="s", account="a", key=f"{i:06d}", version=1, value=str(i), updated_at=i))
    print(i, flush=True)
"""


@pytest.mark.slow
def test_e08_kill_nine_loses_nothing_that_write_returned(url: str) -> None:
    for wanted in (1, 7, 40):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, url], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        seen = 0
        while seen < wanted:
            seen = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        seen = max([seen, *(int(line) for line in writer.stdout if line.endswith("\n"))])
        writer.wait()
        writer.stdout.close()
        journal = Journal.open(url)
        assert len(journal.states("s", "a")) >= seen
        journal.close()


def test_state_is_versioned(url: str) -> None:
    journal = Journal.open(url)
    journal.write(StateRecord(strategy="s", account="a", key="k", version=1, value="{}", updated_at=NOW))
    journal.write(StateRecord(strategy="s", account="a", key="k", version=2, value="[]", updated_at=NOW + 1))
    held = journal.state("s", "a", "k")
    assert held is not None
    assert (held.version, held.value) == (2, "[]")
    assert journal.state("s", "b", "k") is None
    journal.close()


def test_records_alone_do_not_load_sqlalchemy() -> None:
    code = "import sys, database, database.records, database.journal; sys.exit('sqlalchemy' in sys.modules or 'alembic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_closed_journal_says_so(url: str) -> None:
    journal = Journal.open(url)
    journal.close()
    with pytest.raises(JournalBroken, match="journal is closed"):
        journal.write(pair())
    with pytest.raises(JournalBroken, match="journal is closed"):
        journal.pairs()
