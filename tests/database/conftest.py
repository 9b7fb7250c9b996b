"""A journal file of its own for every test."""

from pathlib import Path

import pytest

from database.connect import sqlite_url


@pytest.fixture
def url(tmp_path: Path) -> str:
    return sqlite_url(tmp_path / "journal.db")
