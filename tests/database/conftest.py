"""A database of its own for every test, on SQLite and on PostgreSQL."""

from pathlib import Path

import pytest

from database.connect import sqlite_url
from tests.postgres import Server, postgres

__all__ = ["postgres"]


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    return sqlite_url(tmp_path / "journal.db")


@pytest.fixture
def server_url(postgres: Server) -> str:
    return postgres.schema()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("sqlite" if request.param == "sqlite" else "server_url"))
