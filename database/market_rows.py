"""How records of market data become rows, and rows become records."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from functools import cache
from importlib import import_module
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from .market_data import RateSample

if TYPE_CHECKING:
    from sqlalchemy import Connection, Select, Table

R = TypeVar("R")
NAMED = ("venue", "instrument", "symbol")
"""What a record says in words and a row by its market's number."""


def table(name: str) -> "Table":
    """A table of ours by name."""
    from .models import Base

    return Base.metadata.tables[name]


def select_records(kind: type[Any], name: str) -> "Select[Any]":
    """All columns of a record, its market by name."""
    from sqlalchemy import select

    rows, markets = table(name), table("venue_symbols")
    fields = [(markets if field in NAMED else rows).c[field] for field in kind.__struct_fields__]
    return select(*fields).join_from(rows, markets, rows.c.market_id == markets.c.market_id)


def records(connection: "Connection", kind: type[R], query: "Select[Any]") -> list[R]:
    """The rows of a query whose columns are the fields of a record, in any order."""
    answer = connection.execute(query)
    names = list(answer.keys())
    return [msgspec.convert(dict(zip(names, row, strict=True)), kind) for row in answer]


def values(record: Any, market_id: int) -> dict[str, Any]:
    """A record as a row of its market."""
    found = {name: getattr(record, name) for name in record.__struct_fields__ if name not in NAMED}
    found["market_id"] = market_id
    return found


def put(
    connection: "Connection", name: str, rows: Sequence[dict[str, Any]], *, keep: tuple[str, ...] = (), newer: str | None = None
) -> int:
    """Insert rows; how many were new or replaced one.

    Args:
        keep: columns that a known row keeps.
        newer: replace a known row only by one that is larger in this column.
    """
    if not rows:
        return 0
    return int(connection.execute(_upsert(connection.dialect.name, name, tuple(rows[0]), keep, newer), list(rows)).rowcount)


def put_new(connection: "Connection", name: str, rows: Sequence[dict[str, Any]]) -> int:
    """Insert the rows that are not known yet; how many they were."""
    return int(connection.execute(_insert_new(connection.dialect.name, name), list(rows)).rowcount) if rows else 0


def put_samples(connection: "Connection", samples: Iterable[RateSample], ids: Mapping[str, int]) -> int:
    """`put_new` for the one table of very many rows, past the layers that take most of its time."""
    from .types import epoch_ns, exact_text

    def opt(value: Decimal | None) -> str | None:
        return None if value is None else exact_text(value)

    rows = [
        (
            ids[s.instrument],
            epoch_ns(s.observed_at),
            exact_text(s.rate),
            exact_text(s.interval_hours),
            str(s.kind),
            None if s.next_funding_at is None else epoch_ns(s.next_funding_at),
            opt(s.cap),
            opt(s.mark),
            opt(s.index),
            opt(s.bid),
            opt(s.ask),
            opt(s.open_interest_usd),
            opt(s.volume_24h_usd),
            s.latency_ms,
        )
        for s in samples
    ]
    rows.sort(key=itemgetter(0, 1))  # in the order of their key, so that two writers never wait for each other in a circle
    return int(connection.exec_driver_sql(_insert_samples(connection.dialect.name), rows).rowcount)


@cache
def _insert_samples(dialect: str) -> str:
    names = ("market_id", *(name for name in RateSample.__struct_fields__ if name not in NAMED))
    marks = ", ".join(["?" if dialect == "sqlite" else "%s"] * len(names))
    columns = ", ".join(f'"{name}"' for name in names)
    return f"INSERT INTO funding_rates ({columns}) VALUES ({marks}) ON CONFLICT DO NOTHING"  # noqa: S608 - names of our own columns


def put_latest(connection: "Connection", market_ids: Sequence[int]) -> None:
    """Bring the latest samples of some markets up to their history."""
    from sqlalchemy import func, select

    history = table("funding_rates")
    other = history.alias()
    newest = select(func.max(other.c.observed_at)).where(other.c.market_id == history.c.market_id).scalar_subquery()
    names = tuple(column.name for column in table("latest_funding_rates").columns)
    found = select(*(history.c[name] for name in names)).where(history.c.market_id.in_(market_ids), history.c.observed_at == newest)
    connection.execute(_upsert(connection.dialect.name, "latest_funding_rates", names, (), "observed_at").from_select(names, found))


@cache
def _upsert(dialect: str, name: str, columns: tuple[str, ...], keep: tuple[str, ...], newer: str | None) -> Any:
    into = table(name)
    keys = ["instrument"] if name == "venue_symbols" else [column.name for column in into.primary_key.columns]
    statement = import_module(f"sqlalchemy.dialects.{dialect}").insert(into)
    changed = {column: statement.excluded[column] for column in columns if column not in (*keys, *keep)}
    where = None if newer is None else statement.excluded[newer] > into.c[newer]
    return statement.on_conflict_do_update(index_elements=keys, set_=changed, where=where)


@cache
def _insert_new(dialect: str, name: str) -> Any:
    return import_module(f"sqlalchemy.dialects.{dialect}").insert(table(name)).on_conflict_do_nothing()


def markets_of(connection: "Connection", named: Iterable[Any], at_ns: int) -> dict[str, int]:
    """The numbers of markets, locked against other writers until the transaction ends; unknown ones are made by name alone."""
    from sqlalchemy import select

    markets = table("venue_symbols")
    wanted = {record.instrument: record for record in named}
    query = select(markets.c.instrument, markets.c.market_id).order_by(markets.c.market_id).with_for_update()
    query = query.where(markets.c.venue.in_({record.venue for record in wanted.values()}))

    def known() -> dict[str, int]:
        return {instrument: number for instrument, number in connection.execute(query) if instrument in wanted}

    found = known()
    new = [wanted[instrument] for instrument in sorted(wanted.keys() - found.keys())]
    if not new:
        return found
    put_parents(connection, new, at_ns)
    rows = [
        {name: getattr(record, name) for name in NAMED} | {"status": "unknown", "first_seen": at_ns, "last_seen": at_ns} for record in new
    ]
    put_new(connection, "venue_symbols", rows)
    return known()


def put_parents(connection: "Connection", named: Iterable[Any], at_ns: int) -> None:
    """The venues and symbols that markets point at."""
    named = list(named)
    put_new(connection, "venues", [{"venue": venue, "first_seen": at_ns} for venue in sorted({record.venue for record in named})])
    put_new(connection, "symbols", [{"symbol": symbol, "first_seen": at_ns} for symbol in sorted({record.symbol for record in named})])
