"""The market data of the funding-rate service: written by the collector, asked by everyone.

Every method is one transaction. Spans of time are half open: from `start_ns`, before `end_ns`.
"""

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Self, TypeVar

import msgspec

from exchange_clients.model import InstrumentId

from .database import Database
from .market_data import Collection, Figures, FoundOpportunity, HourlyRate, Market, RatePoint, RateSample, SettledRate
from .market_rows import markets_of, put, put_latest, put_new, put_samples, records, select_records, table, values
from .rollup import Retained, hour_of, retain, roll_up

if TYPE_CHECKING:
    from sqlalchemy import Connection, Select

R = TypeVar("R")
KEPT = ("market_id", "first_seen", "open_interest_usd", "volume_24h_usd", "rolled_until")
"""What the store knows of a market and a venue's list of markets does not."""


class _Named(msgspec.Struct, frozen=True):
    """A market by its names."""

    venue: str
    instrument: str
    symbol: str

    @classmethod
    def of(cls, instrument: str) -> Self:
        parsed = InstrumentId.parse(instrument)
        return cls(parsed.venue, instrument, parsed.base)


class FundingStore:
    """Funding rates, markets and opportunities in one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put_markets(self, markets: Iterable[Market], at_ns: int) -> None:
        """What a venue says of its markets now; what it no longer says of a market is no longer known."""
        found = sorted(markets, key=lambda market: market.instrument)
        rows = [
            {name: getattr(m, name) for name in m.__struct_fields__ if name not in KEPT} | {"first_seen": at_ns, "last_seen": at_ns}
            for m in found
        ]
        with self._database.write() as connection:
            markets_of(connection, found, at_ns)
            put(connection, "venue_symbols", rows, keep=("first_seen",))

    def record_collection(self, collection: Collection, samples: Sequence[RateSample]) -> int:
        """One round at one venue: its samples as history and as the latest, and that it happened. All or nothing, and once.

        Returns:
            How many samples were new.
        """
        with self._database.write() as connection:
            new = _add_samples(connection, samples)
            put_new(connection, "venues", [{"venue": collection.venue, "first_seen": collection.started_at}])
            row = msgspec.structs.asdict(collection)
            row["error"] = collection.error.replace("\0", "")  # of a venue's words; PostgreSQL keeps no such text
            put(connection, "collection_logs", [row])
        return new

    def add_samples(self, samples: Sequence[RateSample]) -> int:
        """Samples from elsewhere, of any venues and times; how many were new."""
        with self._database.write() as connection:
            return _add_samples(connection, samples)

    def add_settled(self, rows: Sequence[SettledRate]) -> int:
        """Rates that were charged; how many were new. One that is known stays as it is."""
        with self._database.write() as connection:
            ids = markets_of(connection, rows, min((row.settled_at for row in rows), default=0))
            known = sorted((values(row, ids[row.instrument]) for row in rows), key=itemgetter("market_id", "settled_at"))
            return put_new(connection, "funding_history", known)

    def add_opportunities(self, rows: Sequence[FoundOpportunity]) -> int:
        """Pairs worth showing; how many were new."""
        legs = {name: _Named.of(name) for row in rows for name in (row.long_instrument, row.short_instrument)}
        with self._database.write() as connection:
            ids = markets_of(connection, legs.values(), min((row.ts for row in rows), default=0))
            found = [
                {name: getattr(row, name) for name in row.__struct_fields__ if not name.endswith("_instrument")}
                | {"long_market_id": ids[row.long_instrument], "short_market_id": ids[row.short_instrument]}
                for row in rows
            ]
            return put_new(connection, "opportunities", found)

    def markets(self, venue: str | None = None) -> list[Market]:
        """Markets that were ever collected, by instrument."""
        markets = table("venue_symbols")
        query = _columns(markets, *Market.__struct_fields__).order_by(markets.c.instrument)
        return self._records(Market, query if venue is None else query.where(markets.c.venue == venue))

    def latest(self, venue: str | None = None, symbol: str | None = None) -> list[RateSample]:
        """The newest sample of every market, by instrument."""
        markets = table("venue_symbols")
        query = select_records(RateSample, "latest_funding_rates").order_by(markets.c.instrument)
        for column, wanted in ((markets.c.venue, venue), (markets.c.symbol, symbol)):
            query = query if wanted is None else query.where(column == wanted)
        return self._records(RateSample, query)

    def samples(
        self, instrument: str, start_ns: int, end_ns: int, limit: int | None = None, *, newest_first: bool = False
    ) -> list[RateSample]:
        """Samples of one market, oldest first."""
        query = _of_market(RateSample, "funding_rates", "observed_at", instrument, start_ns, end_ns, newest_first=newest_first)
        return self._records(RateSample, query.limit(limit))

    def rates(self, instruments: Iterable[str], start_ns: int, end_ns: int) -> dict[str, list[RatePoint]]:
        """Only the rates of some markets, oldest first: for charts and statistics over many samples."""
        rows, markets = table("funding_rates"), table("venue_symbols")
        found: dict[str, list[RatePoint]] = {instrument: [] for instrument in instruments}
        query = _columns(markets, "instrument", "market_id").where(markets.c.instrument.in_(found))
        columns = ("observed_at", "rate", "interval_hours", "kind")
        with self._database.read() as connection:
            for instrument, market_id in connection.execute(query).all():
                span = _columns(rows, *columns).where(rows.c.market_id == market_id)
                span = span.where(rows.c.observed_at >= start_ns, rows.c.observed_at < end_ns).order_by(rows.c.observed_at)
                found[instrument] = [RatePoint(*row) for row in connection.execute(span)]
        return found

    def hourly(self, instrument: str, start_ns: int, end_ns: int) -> list[HourlyRate]:
        """Hours of one market, oldest first, as far as they are rolled up."""
        return self._records(HourlyRate, _of_market(HourlyRate, "funding_rates_hourly", "hour", instrument, start_ns, end_ns))

    def settled(self, instrument: str, start_ns: int, end_ns: int) -> list[SettledRate]:
        """What one market charged, oldest first."""
        return self._records(SettledRate, _of_market(SettledRate, "funding_history", "settled_at", instrument, start_ns, end_ns))

    def newest_settled(self) -> Mapping[str, int]:
        """When each market was last known to charge."""
        from sqlalchemy import func, select

        history, markets = table("funding_history"), table("venue_symbols")
        newest = select(func.max(history.c.settled_at)).where(history.c.market_id == markets.c.market_id).scalar_subquery()
        with self._database.read() as connection:
            return {instrument: at for instrument, at in connection.execute(select(markets.c.instrument, newest)) if at is not None}

    def as_of(self, ts_ns: int, max_age_s: int) -> list[RateSample]:
        """Every market's newest sample at a past time, not older than `max_age_s` then; by instrument."""
        from sqlalchemy import func, select

        rows, markets = table("funding_rates"), table("venue_symbols")
        before = rows.alias()
        newest = (
            select(func.max(before.c.observed_at))
            .where(before.c.market_id == markets.c.market_id)
            .where(before.c.observed_at <= ts_ns, before.c.observed_at >= ts_ns - max_age_s * 1_000_000_000)
            .scalar_subquery()
        )
        query = select_records(RateSample, "funding_rates").where(rows.c.observed_at == newest)
        return self._records(RateSample, query.order_by(markets.c.instrument))

    def opportunities(self, start_ns: int, end_ns: int, symbol: str | None = None) -> list[FoundOpportunity]:
        """Pairs that were worth showing, oldest first."""
        from sqlalchemy import select

        rows, markets = table("opportunities"), table("venue_symbols")
        long, short = markets.alias(), markets.alias()
        sides = {"long_instrument": long.c.instrument, "short_instrument": short.c.instrument}
        names = FoundOpportunity.__struct_fields__
        query = select(*(sides[name].label(name) if name in sides else rows.c[name] for name in names))
        query = query.join_from(rows, long, rows.c.long_market_id == long.c.market_id)
        query = query.join(short, rows.c.short_market_id == short.c.market_id).where(rows.c.ts >= start_ns, rows.c.ts < end_ns)
        query = query if symbol is None else query.where(rows.c.symbol == symbol)
        return self._records(FoundOpportunity, query.order_by(rows.c.ts, rows.c.long_market_id, rows.c.short_market_id))

    def collections(self, venue: str | None = None, last: int = 100) -> list[Collection]:
        """The newest rounds of collection, newest first."""
        rows = table("collection_logs")
        query = _columns(rows, *Collection.__struct_fields__).order_by(rows.c.started_at.desc(), rows.c.venue).limit(last)
        return self._records(Collection, query if venue is None else query.where(rows.c.venue == venue))

    def roll_up(self, until_ns: int) -> int:
        """Sum up every hour that ended by `until_ns` and is not summed up yet; how many rows came of it. May be stopped and begun again."""
        return roll_up(self._database, until_ns)

    def retain(self, now_ns: int, *, raw_days: int = 90, opportunity_days: int = 90, log_days: int = 30) -> Retained:
        """Delete what is too old. Samples go only when the hourly table has them; hours and settled rates stay."""
        return retain(self._database, now_ns, raw_days=raw_days, opportunity_days=opportunity_days, log_days=log_days)

    def figures(self) -> list[Figures]:
        """What the tables of market data hold. Counts every row: seconds where there are many millions."""
        from .figures import figures

        with self._database.read() as connection:
            return figures(connection)

    def _records(self, kind: type[R], query: "Select[Any]") -> list[R]:
        with self._database.read() as connection:
            return records(connection, kind, query)


def _add_samples(connection: "Connection", samples: Sequence[RateSample]) -> int:
    if not samples:
        return 0
    earliest = min(sample.observed_at for sample in samples)
    ids = markets_of(connection, samples, earliest)
    new = put_samples(connection, samples, ids)
    market_ids = sorted({ids[sample.instrument] for sample in samples})
    put_latest(connection, market_ids)
    _touch(connection, market_ids, hour_of(earliest))
    return new


def _touch(connection: "Connection", market_ids: Sequence[int], hour: int) -> None:
    """Bring markets up to their latest sample, and have them rolled up again from the hour of the earliest one that came."""
    from sqlalchemy import case, or_, update

    markets, latest = table("venue_symbols"), table("latest_funding_rates")
    late = or_(markets.c.rolled_until.is_(None), markets.c.rolled_until > hour)
    connection.execute(
        update(markets)
        .where(markets.c.market_id == latest.c.market_id, markets.c.market_id.in_(market_ids))
        .values(
            open_interest_usd=latest.c.open_interest_usd,
            volume_24h_usd=latest.c.volume_24h_usd,
            last_seen=case((latest.c.observed_at > markets.c.last_seen, latest.c.observed_at), else_=markets.c.last_seen),
            rolled_until=case((late, hour), else_=markets.c.rolled_until),
        )
    )


def _columns(of: Any, *names: str) -> "Select[Any]":
    from sqlalchemy import select

    return select(*(of.c[name] for name in names))


def _of_market(
    kind: type[Any], name: str, time: str, instrument: str, start_ns: int, end_ns: int, *, newest_first: bool = False
) -> "Select[Any]":
    at, markets = table(name).c[time], table("venue_symbols")
    query = select_records(kind, name).where(markets.c.instrument == instrument, at >= start_ns, at < end_ns)
    return query.order_by(at.desc() if newest_first else at)
