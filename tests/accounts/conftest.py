"""A vault of its own for every test, on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from database.accounts import Accounts
from database.connect import sqlite_url
from database.database import Database
from database.keys import Keys
from tests.accounts.vaults import CHEAP, Times


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database.open(sqlite_url(tmp_path / "perpkit.db")) as opened:
        yield opened


@pytest.fixture
def accounts(database: Database, tmp_path: Path) -> Accounts:
    return Accounts(database, Keys(tmp_path, work=CHEAP), now_ns=Times(), actor="tester")
