"""A database holds locked credentials, hashes of keys and positions: who else uses the machine cannot copy it."""

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from database.connect import sqlite_url
from database.database import Database
from database.journal import Journal

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no such permissions")


@pytest.fixture(autouse=True)
def _open_to_all() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("kind", [Database, Journal])
def test_a_new_database_is_its_owners_alone(tmp_path: Path, kind: type[Database | Journal]) -> None:
    file = tmp_path / "state" / "perpkit.db"
    opened = kind.open(sqlite_url(file))
    try:
        assert mode(file.parent) == 0o700
        assert {path.name: mode(path) for path in file.parent.iterdir()} == dict.fromkeys((p.name for p in file.parent.iterdir()), 0o600)
        assert file.with_name("perpkit.db-wal").exists()
    finally:
        opened.close()


def test_what_its_owner_allows_stays_allowed(tmp_path: Path) -> None:
    file = tmp_path / "perpkit.db"
    Database.open(sqlite_url(file)).close()
    file.chmod(0o640)
    with Database.open(sqlite_url(file)):
        assert mode(file) == 0o640
