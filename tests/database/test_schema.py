"""Models, records and migrations say the same."""

from decimal import Decimal

import msgspec
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Column, MetaData, Table, create_engine, inspect, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import StatementError
from sqlalchemy.schema import CreateTable

from database import migrate
from database.connect import connect
from database.errors import JournalBroken
from database.journal import _TABLES, Journal, upsert
from database.models import Base
from database.times import ns_to_text, text_to_ns
from database.types import DecimalText, UtcNs
from tests.database.rows import fill, intent, pair


@pytest.mark.parametrize("from_the_first", [True, False])
def test_migrations_and_a_new_database_are_what_the_models_declare(from_the_first: bool) -> None:
    with create_engine("sqlite://").connect() as connection:
        if from_the_first:
            migrate.upgrade(connection, "0001")
        migrate.upgrade(connection)
        context = MigrationContext.configure(connection, opts={"compare_type": True, "target_metadata": Base.metadata})
        assert compare_metadata(context, Base.metadata) == []
        for table in Base.metadata.sorted_tables:
            assert set(inspect(connection).get_pk_constraint(table.name)["constrained_columns"]) == set(table.primary_key.columns.keys())
        assert migrate.current(connection) == migrate.HEAD


def test_the_rows_of_the_first_version_live_on(url: str) -> None:
    with create_engine(url).connect() as connection, connection.begin():
        migrate.upgrade(connection, "0001")
    opened = connect(url)
    with opened.connection.begin():
        for record in (pair(), intent(), fill()):
            table = Base.metadata.tables[_TABLES[type(record)][0]]
            known = {c["name"] for c in inspect(opened.connection).get_columns(table.name)}
            opened.connection.execute(table.insert(), {name: v for name, v in msgspec.structs.asdict(record).items() if name in known})
    opened.connection.close()
    opened.connection.engine.dispose()
    with pytest.raises(JournalBroken, match=r"version 0001.*recover --apply"):
        Journal.open(url, read_only=True)
    journal = Journal.open(url)
    assert (journal.pairs(), journal.intents("p1"), journal.fills("p1")) == ([pair()], [intent()], [fill()])
    journal.write(msgspec.structs.replace(intent("i2", client_order_id="78"), pair_id="a holding"))
    assert journal.write(msgspec.structs.replace(fill(), pair_id="a holding"), fill()) == (True, False)
    with pytest.raises(JournalBroken, match="FOREIGN KEY"):
        journal.write(msgspec.structs.replace(fill("t2"), intent_id="no such intent"))
    journal.close()
    opened = connect(url)
    with opened.connection.begin():
        migrate.downgrade(opened.connection, "0001")
    left = opened.connection.execute(select(Base.metadata.tables["intents"].c.intent_id)).scalars().all()
    opened.connection.close()
    opened.connection.engine.dispose()
    assert left == ["i1"], "what belongs to no pair has no place in the first version"


def test_migrations_go_back_to_nothing_and_forward_again() -> None:
    with create_engine("sqlite://").connect() as connection:
        migrate.upgrade(connection)
        assert set(Base.metadata.tables) <= set(inspect(connection).get_table_names())
        migrate.downgrade(connection, "base")
        assert set(inspect(connection).get_table_names()) == {"alembic_version"}
        migrate.upgrade(connection)
        assert set(Base.metadata.tables) <= set(inspect(connection).get_table_names())


def test_records_and_tables_have_the_same_columns() -> None:
    for record, (name, _) in _TABLES.items():
        table = Base.metadata.tables[name]
        own_key = {"line_id"} if name == "pair_ledger" else set()
        assert {c.name for c in table.c} - own_key == set(record.__struct_fields__), name
        optional = {f.name for f in msgspec.structs.fields(record) if "None" in str(f.type)}
        assert {c.name for c in table.c if c.nullable} == optional, name


def test_the_names_of_the_tables() -> None:
    wanted = {"pairs", "intents", "orders", "fills", "funding_payments", "pair_ledger", "decisions", "strategy_state"}
    wanted |= {"holdings", "strategy_runs", "dead_letters", "api_keys", "audit_log"}
    wanted |= {"strategy_configs", "notifications", "accounts", "account_credentials", "vault_keys", "proxies"}
    wanted |= {"venues", "symbols", "venue_symbols", "collection_logs", "opportunities"}
    wanted |= {"funding_rates", "latest_funding_rates", "funding_rates_hourly", "funding_history"}
    assert set(Base.metadata.tables) == wanted


@pytest.mark.parametrize("ts_ns", [0, 1, 999_999_999, 1_795_260_000_123_456_789, 253_402_300_799_999_999_999])
def test_times_round_trip_and_sort(ts_ns: int) -> None:
    assert text_to_ns(ns_to_text(ts_ns)) == ts_ns
    assert ts_ns == 0 or ns_to_text(ts_ns - 1) < ns_to_text(ts_ns)


@pytest.mark.parametrize("text", ["", "2026-11-21T11:19:20Z", "2026-11-21T11:19:20.123456789", "2026-11-21 11:19:20.12345678Z"])
def test_a_time_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"UTC time|does not match"):
        text_to_ns(text)


def test_column_types_are_exact_and_refuse_floats_and_nan() -> None:
    table = Table("t", MetaData(), Column("amount", DecimalText()), Column("ts", UtcNs()))
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        table.create(connection)
        for amount in ("1.10", "0.000000000000000001", "-123456789012345678901234567890.5", "1E+3"):
            connection.execute(table.delete())
            connection.execute(table.insert().values(amount=Decimal(amount), ts=1_795_260_000_123_456_789))
            row = connection.execute(select(table)).one()
            assert row.amount == Decimal(amount)
            assert row.ts == 1_795_260_000_123_456_789
        for bad in (1.5, Decimal("NaN"), Decimal("Infinity")):
            with pytest.raises(StatementError):
                connection.execute(table.insert().values(amount=bad, ts=0))


def test_the_schema_and_the_writes_are_valid_postgresql() -> None:
    """Compiled only; a server is not started here."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    for record, (name, replaced) in _TABLES.items():
        table = Base.metadata.tables[name]
        assert f"CREATE TABLE {name}" in str(CreateTable(table).compile(dialect=dialect))
        statement = upsert("postgresql", table, replace=replaced)
        assert "ON CONFLICT" in str(statement.compile(dialect=dialect)), record
