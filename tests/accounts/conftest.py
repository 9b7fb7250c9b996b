"""A vault of its own for every test, and simulated venues in a process of their own."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

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


class Venues(NamedTuple):
    """Simulated venues, as a user reaches them."""

    endpoints: Mapping[str, str]
    environ: Mapping[str, str]

    def options(self, *names: str) -> list[str]:
        """`--endpoint` of these."""
        return [word for name in names for word in ("--endpoint", f"{name}={self.endpoints[name]}")]


@pytest.fixture(scope="session")
def venues() -> Iterator[Venues]:
    names = ("okx", "lighter", "hyperliquid")
    line = [sys.executable, "-m", "exchange_simulator", "--json", "--still", "--markets", "BTC", "--minutes", "10"]
    line += [word for name in names for word in ("--venue", name)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            told = json.loads(process.stdout.readline())
            environ = {name: value for venue in told.values() for name, value in venue["environ"].items()}
            yield Venues({name: told[name]["endpoints"]["rest"] for name in names}, environ)
        finally:
            process.kill()
