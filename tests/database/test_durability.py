"""Many at once, and killed at any moment: what was reported written is there, whole rounds only, and nobody waits in a circle."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import text

from database.connect import sqlite_url
from database.database import Database
from database.errors import JournalBroken, JournalBusy, JournalConflict, JournalReadOnly
from database.funding_store import FundingStore
from database.journal import Journal
from database.maintenance import problems
from database.records import StateRecord
from tests.database.market_rows import HOUR, MINUTE, T0, collection, market, sample

MARKETS = 30

REST = "SELECT count(*) FROM funding_rates f JOIN venue_symbols m ON m.market_id = f.market_id WHERE f.observed_at >= m.rolled_until"
WRITER = """
import sys
from database.database import Database
from database.funding_store import FundingStore
from tests.database.market_rows import MINUTE, T0, collection, sample
store = FundingStore(Database.open(sys.argv[1]))
first = len(store.collections(last=10**6))
for number in range(first, first + 10**6):
    at = T0 + number * MINUTE
    store.record_collection(collection(at=at, markets=30), [sample(symbol=f"S{n}", at=at) for n in range(30)])
    print(number, flush=True)
    if number % 7 == 0:
        store.roll_up(at)
        store.retain(at, raw_days=1)
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_kill_nine_at_any_moment_loses_nothing_reported_and_corrupts_nothing(url: str) -> None:
    """Also in the middle of roll-up and retention."""
    rng, reported = random.Random(11), -1
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, url], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        assert writer.stdout.readline()
        time.sleep(rng.uniform(0, 0.3))
        writer.send_signal(signal.SIGKILL)
        lines = [line for line in writer.stdout if line.endswith("\n")]
        writer.wait()
        writer.stdout.close()
        reported = max(reported, int(lines[-1]) if lines else reported)
        with Database.open(url) as database:
            assert problems(database) == []
            store = FundingStore(database)
            written = store.collections(last=10**6)
            assert len(written) > reported, "every round that was reported"
            newest = written[0].started_at
            assert [s.observed_at for s in store.latest()] == [newest] * MARKETS, "whole rounds only"
            with database.read() as connection:
                raw = connection.execute(text("SELECT count(*) FROM funding_rates")).scalar_one()
                hours = connection.execute(text("SELECT coalesce(sum(samples), 0) FROM funding_rates_hourly")).scalar_one()
                rest = connection.execute(text(REST)).scalar_one()
            assert hours + rest == len(written) * MARKETS >= raw, "each sample is raw, or counted in its hour"


def _all(*work: Callable[[], None]) -> None:
    with ThreadPoolExecutor(len(work)) as threads:
        for done in [threads.submit(one) for one in work]:
            done.result()


def test_writers_and_readers_at_once_see_whole_rounds(url: str) -> None:
    with Database.open(url, busy_timeout_s=30) as one, Database.open(url, busy_timeout_s=30) as two:
        stop = threading.Event()

        def write(database: Database, venue: str) -> None:
            store = FundingStore(database)
            for minute in range(12):
                at = T0 + minute * MINUTE
                store.record_collection(collection(venue, at), [sample(venue, f"S{n}", at) for n in range(5)])

        def read(database: Database) -> None:
            while not stop.is_set():
                with database.read() as connection:
                    rates = connection.execute(text("SELECT count(*) FROM funding_rates")).scalar_one()
                    logs = connection.execute(text("SELECT count(*) FROM collection_logs")).scalar_one()
                assert rates == 5 * logs

        def writers() -> None:
            try:
                _all(*(lambda d=d, v=v: write(d, v) for d, v in ((one, "a"), (one, "b"), (two, "c"))))
            finally:
                stop.set()

        _all(writers, lambda: read(one), lambda: read(two))
        assert len(FundingStore(one).collections()) == 36


def test_writers_of_the_same_markets_in_other_orders_do_not_wait_in_a_circle(url: str) -> None:
    with Database.open(url, busy_timeout_s=30) as one, Database.open(url, busy_timeout_s=30) as two:
        stores = [FundingStore(one), FundingStore(two), FundingStore(one)]
        venues = ["a", "b", "c"]

        def write(number: int) -> None:
            for turn in range(6):
                order = random.Random(number * 100 + turn).sample(venues, 3)
                at = T0 + turn * MINUTE
                stores[number].add_samples([sample(v, f"S{n}", at + number) for v in order for n in range(4)])
                stores[number].put_markets([market(v, f"S{n}") for v in reversed(order) for n in range(4)], at)
            stores[number].roll_up(T0 + HOUR)

        _all(*(lambda n=n: write(n) for n in range(3)))
        FundingStore(one).roll_up(T0 + HOUR)
        assert [h.samples for v in venues for h in stores[0].hourly(f"S0-USDC-PERP.{v}", 0, T0 + HOUR)] == [18] * 3


def test_a_database_held_by_another_is_waited_for_then_named(sqlite: str) -> None:
    with Database.open(sqlite, busy_timeout_s=0.05) as one, Database.open(sqlite, busy_timeout_s=0.05) as two:
        with two.write():
            with pytest.raises(JournalBusy, match="locked"):
                FundingStore(one).add_samples([sample()])
            assert FundingStore(one).latest() == [], "readers never wait"
        with one.write(), ThreadPoolExecutor(1) as thread, pytest.raises(JournalBusy, match="this process"):
            thread.submit(FundingStore(one).add_samples, [sample()]).result()
        FundingStore(one).add_samples([sample()])


def test_reading_cannot_write(url: str) -> None:
    with Database.open(url) as database:
        insert = text("INSERT INTO venues (venue, first_seen) VALUES ('a', 1)")
        with pytest.raises(JournalReadOnly), database.read() as connection:
            connection.execute(insert)
    with Database.open(url, read_only=True) as database:
        assert FundingStore(database).latest() == []
        with pytest.raises(JournalReadOnly, match="opened for reading"):
            FundingStore(database).add_samples([sample()])


def test_two_who_make_the_database_at_once_make_it_once(url: str) -> None:
    _all(*(lambda: Database.open(url, busy_timeout_s=30).close() for _ in range(4)))
    with Database.open(url, read_only=True) as database:
        assert FundingStore(database).figures()[0].rows == 0


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_was_taken_away_takes_no_more_writes(sqlite: str, tmp_path: Path, replaced: bool) -> None:
    """They would go into a file that nobody can open any more."""
    with Database.open(sqlite) as database:
        store = FundingStore(database)
        store.record_collection(collection(), [sample()])
        assert database.path is not None
        if replaced:
            Database.open(sqlite_url(tmp_path / "other.db")).close()
            os.replace(tmp_path / "other.db", database.path)
        else:
            database.path.unlink()
        with pytest.raises(JournalBroken, match="start again"):
            store.record_collection(collection(at=T0 + MINUTE), [sample(at=T0 + MINUTE)])
        with pytest.raises(JournalBroken, match="start again"):
            store.latest()
        assert replaced or not database.path.exists(), "and none is made in its place"


def test_a_journal_whose_file_was_taken_away_takes_no_entry(sqlite: str, tmp_path: Path) -> None:
    """What reduces risk still finds its place, in the fallback file."""
    with Journal.open(sqlite) as journal:
        (tmp_path / "journal.db").unlink()
        value = StateRecord(strategy="s", account="a", key="k", version=1, value="v", updated_at=1)
        with pytest.raises(JournalBroken, match="start again"):
            journal.write(value)
        journal.write(value, or_fallback=True)
        assert journal.degraded
    with Journal.open(sqlite) as journal:
        assert journal.state("s", "a", "k") == value


def test_what_does_not_fit_a_column_is_the_records_fault(url: str) -> None:
    """Not the database's: a writer that waits for a better time would wait for ever."""
    with Database.open(url) as database:
        store = FundingStore(database)
        with pytest.raises(JournalConflict):
            store.put_markets([market(tick_size=Decimal("0." + "1" * 100))], T0)
        if database.dialect != "sqlite":  # which keeps a text of any length
            with pytest.raises(JournalConflict):
                store.put_markets([market(venue_symbol="X" * 97)], T0)
        failed = msgspec.structs.replace(collection(), error="no \0 text")
        store.record_collection(failed, [sample()])
        assert store.collections()[0].error == "no  text"
