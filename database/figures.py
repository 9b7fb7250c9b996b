"""How much the tables of market data hold."""

from typing import TYPE_CHECKING

from .market_data import Figures
from .market_rows import table

if TYPE_CHECKING:
    from sqlalchemy import Connection

BY_MARKET = {"funding_rates": "observed_at", "funding_rates_hourly": "hour", "funding_history": "settled_at"}
"""Tables clustered by market: the ends of their time are found market by market."""
OTHERS = {"latest_funding_rates": "observed_at", "opportunities": "ts", "collection_logs": "started_at", "venue_symbols": "first_seen"}


def figures(connection: "Connection") -> list[Figures]:
    """Rows, bytes and span of each table."""
    from sqlalchemy import func, select

    markets = table("venue_symbols")
    found = []
    for name, time in {**BY_MARKET, **OTHERS}.items():
        rows = table(name)
        count = connection.execute(select(func.count()).select_from(rows)).scalar_one()
        if name in BY_MARKET:
            mine = rows.c.market_id == markets.c.market_id
            ends = select(
                select(func.min(rows.c[time])).where(mine).scalar_subquery().label("first"),
                select(func.max(rows.c[time])).where(mine).scalar_subquery().label("last"),
            ).select_from(markets)
            spans = ends.subquery()
            first, last = connection.execute(select(func.min(spans.c.first), func.max(spans.c.last))).one()
        else:
            first, last = connection.execute(select(func.min(rows.c[time]), func.max(rows.c[time]))).one()
        found.append(Figures(table=name, rows=count, bytes=_bytes(connection, name), first=first, last=last))
    return found


def _bytes(connection: "Connection", name: str) -> int | None:
    """With its indexes; SQLite does not tell it for one table."""
    from sqlalchemy import func, select

    if connection.dialect.name == "sqlite":
        return None
    return int(connection.execute(select(func.pg_total_relation_size(name))).scalar_one())
