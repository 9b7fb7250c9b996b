"""Models, records and migrations say the same, forward and back, with data, on every database."""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Boolean, Connection, Integer, LargeBinary, String, Table, inspect, select, text
from sqlalchemy.types import TypeEngine

from database import migrate
from database.connect import connect
from database.errors import JournalBroken
from database.journal import _TABLES, Journal
from database.models import Base
from database.types import DecimalText, EpochNs, UtcNs
from tests.database.rows import NOW, fill, intent, pair

FIRST = {"pairs", "intents", "orders", "fills", "funding_payments", "pair_ledger", "decisions", "strategy_state"}
SECOND = {"holdings", "strategy_runs", "dead_letters", "api_keys", "audit_log"}
THIRD = {"strategy_configs", "notifications", "accounts", "account_credentials", "vault_keys", "proxies"}
THIRD |= {"venues", "symbols", "venue_symbols", "collection_logs", "opportunities"}
THIRD |= {"funding_rates", "latest_funding_rates", "funding_rates_hourly", "funding_history"}


@contextmanager
def bare(url: str) -> Iterator[Connection]:
    """A transaction on a database as it is."""
    opened = connect(url)
    try:
        with opened.connection.begin():
            yield opened.connection
    finally:
        opened.connection.close()
        opened.connection.engine.dispose()


def described(connection: Connection) -> dict[str, Any]:
    """Everything a database tells of its tables."""
    look = inspect(connection)
    found: dict[str, Any] = {}
    for table in sorted(set(look.get_table_names()) - {"alembic_version"}):
        columns = {c["name"]: (str(c["type"]), c["nullable"], c["default"]) for c in look.get_columns(table)}
        indexes = {(i["name"], tuple(i["column_names"]), bool(i["unique"])) for i in look.get_indexes(table)}
        unique = {(u["name"], tuple(u["column_names"])) for u in look.get_unique_constraints(table)}
        foreign = {
            (f["name"], tuple(f["constrained_columns"]), f["referred_table"], tuple(f["referred_columns"]))
            for f in look.get_foreign_keys(table)
        }
        key = look.get_pk_constraint(table)
        found[table] = (columns, (key["name"], tuple(key["constrained_columns"])), indexes, unique, foreign)
    if connection.dialect.name == "sqlite":
        without = "SELECT name FROM sqlite_master WHERE sql LIKE '%WITHOUT ROWID%'"
        found["without rowid"] = sorted(connection.execute(text(without)).scalars())
    return found


def test_migrations_build_what_a_new_database_is_and_the_models_declare(url: str) -> None:
    with bare(url) as connection:
        migrate.upgrade(connection)
        new = described(connection)
        context = MigrationContext.configure(connection, opts={"compare_type": True, "target_metadata": Base.metadata})
        assert compare_metadata(context, Base.metadata) == []
        migrate.downgrade(connection, "base")
        assert set(inspect(connection).get_table_names()) == {"alembic_version"}
        migrate.upgrade(connection)
        assert described(connection) == new
        assert compare_metadata(context, Base.metadata) == []
        assert migrate.current(connection) == migrate.HEAD


def _value(kind: TypeEngine[Any]) -> Any:
    match kind:
        case DecimalText():
            return Decimal("-0.10")
        case UtcNs() | EpochNs():
            return NOW
        case Boolean():
            return True
        case Integer():
            return 1
        case LargeBinary():
            return b"\x00\xff"
        case String():
            return "a"
    raise AssertionError(kind)


def _contents(connection: Connection, tables: set[str]) -> dict[str, list[tuple[Any, ...]]]:
    return {name: [tuple(row) for row in connection.execute(select(Base.metadata.tables[name]))] for name in tables}


def test_a_step_back_loses_what_it_says_and_a_step_forward_nothing(url: str) -> None:
    """One row in every table, no column empty."""
    with bare(url) as connection:
        migrate.upgrade(connection)
        for table in Base.metadata.sorted_tables:
            connection.execute(table.insert(), {column.name: _value(column.type) for column in table.c})
        trading = _contents(connection, FIRST | SECOND)
    with bare(url) as connection:
        migrate.downgrade(connection, "0002")
    with bare(url) as connection:
        assert set(inspect(connection).get_table_names()) == FIRST | SECOND | {"alembic_version"}
        assert _contents(connection, FIRST | SECOND) == trading
        migrate.upgrade(connection)
    with bare(url) as connection:
        assert _contents(connection, FIRST | SECOND) == trading
        assert not any(_contents(connection, THIRD).values())
    with bare(url) as connection:
        migrate.downgrade(connection, "0001")
        migrate.upgrade(connection)
        fresh = _contents(connection, FIRST)
        assert {name: rows for name, rows in fresh.items() if name != "intents"} == {n: trading[n] for n in FIRST - {"intents"}}
        assert [row[:19] for row in fresh["intents"]] == [row[:19] for row in trading["intents"]], "all but what the first version lacked"


def test_the_rows_of_the_first_version_live_on(url: str) -> None:
    with bare(url) as connection:
        migrate.upgrade(connection, "0001")
        for record in (pair(), intent(), fill()):
            table = Base.metadata.tables[_TABLES[type(record)][0]]
            known = {c["name"] for c in inspect(connection).get_columns(table.name)}
            connection.execute(table.insert(), {name: v for name, v in msgspec.structs.asdict(record).items() if name in known})
    with pytest.raises(JournalBroken, match=r"version 0001.*recover --apply"):
        Journal.open(url, read_only=True)
    with Journal.open(url) as journal:
        assert (journal.pairs(), journal.intents("p1"), journal.fills("p1")) == ([pair()], [intent()], [fill()])
        journal.write(msgspec.structs.replace(intent("i2", client_order_id="78"), pair_id="a holding"))
        assert journal.write(msgspec.structs.replace(fill(), pair_id="a holding"), fill()) == (True, False)
        with pytest.raises(JournalBroken, match=r"(?i)foreign key"):
            journal.write(msgspec.structs.replace(fill("t2"), intent_id="no such intent"))
    with bare(url) as connection:
        migrate.downgrade(connection, "0001")
    with bare(url) as connection:
        left = connection.execute(select(Base.metadata.tables["intents"].c.intent_id)).scalars().all()
        assert left == ["i1"], "what belongs to no pair has no place in the first version"


def test_records_and_tables_have_the_same_columns() -> None:
    for record, (name, _) in _TABLES.items():
        table = Base.metadata.tables[name]
        own_key = {"line_id"} if name == "pair_ledger" else set()
        assert {c.name for c in table.c} - own_key == set(record.__struct_fields__), name
        optional = {f.name for f in msgspec.structs.fields(record) if "None" in str(f.type)}
        assert {c.name for c in table.c if c.nullable} == optional, name


def test_the_names_of_the_tables() -> None:
    assert set(Base.metadata.tables) == FIRST | SECOND | THIRD


def test_every_reference_is_to_a_key_or_something_unique() -> None:
    """SQLite takes any column when the table is made, and fails at the first row."""

    def unique(table: Table) -> list[set[str]]:
        from sqlalchemy import UniqueConstraint

        named = [{c.name for c in one.columns} for one in table.constraints if isinstance(one, UniqueConstraint)]
        return [{c.name for c in table.primary_key}, *named]

    for table in Base.metadata.sorted_tables:
        for constraint in table.foreign_key_constraints:
            assert {e.column.name for e in constraint.elements} in unique(constraint.referred_table), constraint.name
