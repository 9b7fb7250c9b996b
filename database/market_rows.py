"""How records of market data become rows, and rows become records."""

from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

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


def put(connection: "Connection", name: str, rows: Sequence[dict[str, Any]], *, keep: Sequence[str] = (), newer: str | None = None) -> int:
    """Insert rows; how many were new or replaced one.

    Args:
        keep: columns that a known row keeps.
        newer: replace a known row only by one that is later in this column.
    """
    if not rows:
        return 0
    into = table(name)
    keys = [column.name for column in into.primary_key.columns] if name != "venue_symbols" else ["instrument"]
    statement = import_module(f"sqlalchemy.dialects.{connection.dialect.name}").insert(into)
    changed = {column: statement.excluded[column] for column in rows[0] if column not in (*keys, *keep)}
    statement = statement.on_conflict_do_update(
        index_elements=keys, set_=changed, where=None if newer is None else statement.excluded[newer] > into.c[newer]
    )
    return int(connection.execute(statement, list(rows)).rowcount)


def put_new(connection: "Connection", name: str, rows: Sequence[dict[str, Any]]) -> int:
    """Insert the rows that are not known yet; how many they were."""
    if not rows:
        return 0
    statement = import_module(f"sqlalchemy.dialects.{connection.dialect.name}").insert(table(name))
    return int(connection.execute(statement.on_conflict_do_nothing(), list(rows)).rowcount)


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
