"""Funding histories from the database of the funding-rate service, where there is one.

What a run needs of it is `FundingReader`; `SqlFunding` reads the table `funding_rates` (columns venue, symbol, settled_at as UTC
nanoseconds or ISO text with a zone, rate as text, interval_hours) of any database that SQLAlchemy opens.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field

from perpkit.backtest.data.funding import FundingHistory, FundingTable, settled
from perpkit.backtest.data.tables import Cells, DataError

TABLE = "funding_rates"
COLUMNS = ("venue", "symbol", "settled_at", "rate", "interval_hours")


class FundingDatabase(BaseModel):
    """Settlements of one market in the service's database; `database` is an SQLAlchemy URL. `offset_hours` as in FundingTable."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    database: str
    venue: str
    symbol: str
    offset_hours: Decimal = Field(default=Decimal(0), ge=0)

    @property
    def told(self) -> str:
        """For people, without a password."""
        return f"the service's database ({self.venue} {self.symbol})"

    def read(self) -> FundingHistory:
        """Raises DataError when it is not there."""
        return SqlFunding(self.database).read(self.venue, self.symbol, offset_hours=self.offset_hours)


class FundingReader(Protocol):
    """A place that knows what was settled."""

    def read(self, venue: str, symbol: str, *, offset_hours: Decimal = Decimal(0)) -> FundingHistory:
        """All settlements of one market, oldest first.

        Raises:
            DataError: there are none, or they cannot be right.
        """
        ...


class SqlFunding:
    """Reads a database by its SQLAlchemy URL.

    Raises:
        DataError: it cannot be opened, or has no such table: the service has not written here.
    """

    def __init__(self, url: str) -> None:
        from sqlalchemy import create_engine, inspect
        from sqlalchemy.exc import SQLAlchemyError

        try:
            self._engine = create_engine(url)
            self.name = self._engine.url.render_as_string(hide_password=True)
            columns: Sequence[str] = ()
            if inspect(self._engine).has_table(TABLE):
                columns = [c["name"] for c in inspect(self._engine).get_columns(TABLE)]
        except SQLAlchemyError as e:
            raise DataError(url.partition("://")[0], f"the database cannot be read: {type(e).__name__}") from e
        missing = [name for name in COLUMNS if name not in columns]
        if missing:
            what = f"there is no table {TABLE}" if not columns else f"{TABLE} has no column {', '.join(missing)}"
            raise DataError(self.name, f"{what}: the funding-rate service has not written here", "give CSV or Parquet files")

    def read(self, venue: str, symbol: str, *, offset_hours: Decimal = Decimal(0)) -> FundingHistory:
        from sqlalchemy import column, select, table

        rates = table(TABLE, *(column(name) for name in COLUMNS))
        query = select(rates).where(rates.c.venue == venue, rates.c.symbol == symbol).order_by(rates.c.settled_at)
        wanted = FundingTable(file=f"{self.name} {venue} {symbol}", columns={"time": "settled_at"}, offset_hours=offset_hours)
        names = {name: name for name in COLUMNS}
        with self._engine.connect() as connection:
            cells = [
                Cells(wanted, f"{wanted.file}:{line}", dict(row._mapping), names) for line, row in enumerate(connection.execute(query), 1)
            ]
        if not cells:
            raise DataError(wanted.file, "no settlements")
        return settled(wanted, cells)
