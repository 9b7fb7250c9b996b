"""Funding histories from the database of the funding-rate service, where there is one.

What a run needs of it is `FundingReader`; `SqlFunding` reads the settled rates that the service backfilled, or that `perpkit db import`
brought in.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Protocol

from msgspec import structs
from pydantic import BaseModel, ConfigDict, Field

from database.connect import sqlite_url
from database.database import Database
from database.errors import JournalError
from database.funding_store import FundingStore
from perpkit.backtest.data.funding import FundingHistory, FundingTable, settled
from perpkit.backtest.data.tables import Cells, DataError

COLUMNS = ("settled_at", "rate", "interval_hours")
FAR_NS = 2**62
HINT = "perpkit db import brings histories in; perpkit serve backfills them"


class FundingDatabase(BaseModel):
    """Settlements of one market in the service's database; `database` is a file or an SQLAlchemy URL. `offset_hours` as in FundingTable.

    `symbol`: the asset, or the full id of a market where the venue has several of it.
    """

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
    """Reads a database by its file or SQLAlchemy URL; nothing is kept open.

    Raises:
        DataError: it is not there, or is none of the service's.
    """

    def __init__(self, url: str) -> None:
        self._url = url if "://" in url else sqlite_url(Path(url).expanduser())
        self.name = url.rpartition("@")[2] if "://" in url else url
        with self._opened() as database:
            self.name = database.shown

    def read(self, venue: str, symbol: str, *, offset_hours: Decimal = Decimal(0)) -> FundingHistory:
        wanted = FundingTable(file=f"{self.name} {venue} {symbol}", columns={"time": "settled_at"}, offset_hours=offset_hours)
        names = {name: name for name in COLUMNS}
        with self._opened() as database:
            store = FundingStore(database)
            try:
                market = self._market(store, venue, symbol)
                rows = store.settled(market, 0, FAR_NS)
            except JournalError as e:
                raise DataError(self.name, f"the database cannot be read: {e}") from e
        if not rows:
            raise DataError(wanted.file, "no settlements", HINT)
        return settled(wanted, [Cells(wanted, f"{wanted.file}:{line}", structs.asdict(row), names) for line, row in enumerate(rows, 1)])

    def _opened(self) -> Database:
        try:
            return Database.open(self._url, read_only=True)
        except JournalError as e:
            raise DataError(self.name, f"the database cannot be read: {e}", HINT) from e

    def _market(self, store: FundingStore, venue: str, symbol: str) -> str:
        found = [m.instrument for m in store.markets(venue) if symbol in (m.symbol, m.instrument)]
        if not found:
            raise DataError(f"{self.name} {venue} {symbol}", "no such market in the database", HINT)
        charged = [name for name in found if name in store.newest_settled()]
        if len(charged) > 1:
            raise DataError(f"{self.name} {venue} {symbol}", f"{venue} has several markets of it", f"name one: {', '.join(charged)}")
        return (charged or found)[0]
