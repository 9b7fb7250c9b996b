"""What settled history says about markets and pairs: read from the store, worked out by the pure functions. Blocking; for a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from math import inf

import msgspec

from database.funding_store import FundingStore
from database.market_data import SettledRate
from exchange_clients.model import NS_PER_HOUR, ZERO, FundingRateSample, InstrumentId, RateKind
from funding_rate_service.opportunity import Persistence, persistence
from funding_rate_service.opportunity.persistence import hourly

HOURS = 7 * 24
"""How far back the persistence of a pair looks."""
SERIES = 48
"""Hours that are shown of it."""

ONE = Decimal(1)
MARKETS_S = 60.0
MISSING_S = 2.0

Pair = tuple[InstrumentId, InstrumentId]
"""Long, short."""


class PairHistory(msgspec.Struct, frozen=True, kw_only=True):
    """Settled rates per hour of both legs, oldest first, from `start_ns` (a whole hour) on; None: no record of that hour."""

    start_ns: int
    long: list[Decimal | None]
    short: list[Decimal | None]
    statistics: Persistence | None

    @property
    def differences(self) -> list[Decimal | None]:
        """Short minus long."""
        return [None if x is None or s is None else s - x for x, s in zip(self.long, self.short, strict=True)]


class MarketHistory(msgspec.Struct, frozen=True, kw_only=True):
    """One market's settlements of a period and its known hours, oldest first; the statistics know where hours are missing."""

    settled: list[SettledRate]
    series: list[Decimal]
    statistics: Persistence | None

    @property
    def mean(self) -> Decimal | None:
        """Per hour; None without a record."""
        return sum(self.series, ZERO) / len(self.series) if self.series else None


def sample_of(row: SettledRate) -> FundingRateSample:
    """The row as the pure functions take it."""
    return FundingRateSample(
        raw_rate=row.rate,
        interval_hours=row.interval_hours,
        kind=RateKind.SETTLED,
        settled_at=row.settled_at,
        instrument=InstrumentId.parse(row.instrument),
    )


def series_of(store: FundingStore, instrument: InstrumentId, start_ns: int, end_ns: int) -> list[Decimal | None]:
    """The settled rate of each full hour in [start, end), as it was known at the end: what settles later is not."""
    rows = store.settled(str(instrument), start_ns, end_ns + 1)
    return hourly([sample_of(row) for row in rows], start_ns, end_ns)


def market_history(store: FundingStore, instrument: InstrumentId, start_ns: int, end_ns: int) -> MarketHistory:
    """A market's settlements in [start, end) and their statistics."""
    rows = store.settled(str(instrument), start_ns, end_ns)
    hours = hourly([sample_of(row) for row in rows], start_ns, end_ns)
    return MarketHistory(settled=rows, series=[rate for rate in hours if rate is not None], statistics=persistence(hours))


def pair_histories(store: FundingStore, pairs: Iterable[Pair], end_ns: int, hours: int = HOURS) -> dict[Pair, PairHistory]:
    """Each pair's last `hours` full hours before `end_ns`, as they were known then; every market is read once."""
    start_ns = end_ns - end_ns % NS_PER_HOUR - hours * NS_PER_HOUR
    known: dict[InstrumentId, list[Decimal | None]] = {}
    found: dict[Pair, PairHistory] = {}
    for pair in pairs:
        for leg in pair:
            if leg not in known:
                known[leg] = series_of(store, leg, start_ns, end_ns)
        long, short = known[pair[0]], known[pair[1]]
        both = [None if x is None or s is None else s - x for x, s in zip(long, short, strict=True)]
        found[pair] = PairHistory(start_ns=start_ns, long=long, short=short, statistics=persistence(both))
    return found


class Markets:
    """Markets of the store by symbol, also those that nobody collects any more. Blocking; for workers, several at once."""

    def __init__(self, store: FundingStore, monotonic: Callable[[], float]) -> None:
        self._store, self._monotonic = store, monotonic
        self._known: dict[str, list[InstrumentId]] = {}
        self._read_at = -inf

    def find(self, dex: str | None, symbol: str) -> list[InstrumentId]:
        """By canonical base, by full id, or by the base in capitals; of one venue the one with the most open interest first.

        The list of markets is read each minute, and sooner when something is not in it.
        """
        found = self._look(dex, symbol, MARKETS_S)
        return found or self._look(dex, symbol, MISSING_S)

    def _look(self, dex: str | None, symbol: str, most_s: float) -> list[InstrumentId]:
        now_s = self._monotonic()
        if now_s - self._read_at >= most_s:
            self._known, self._read_at = self._index(), now_s
        known = self._known
        found = known.get(symbol) or known.get(symbol.upper(), [])
        return found if dex is None else [id for id in found if id.venue == dex]

    def _index(self) -> dict[str, list[InstrumentId]]:
        rows = {InstrumentId.parse(row.instrument): row for row in self._store.markets()}
        index: dict[str, list[InstrumentId]] = {}
        for id in sorted(rows, key=lambda id: (id.venue, id.inverse, -(rows[id].open_interest_usd or ZERO), id)):
            index.setdefault(id.base, []).append(id)
            index.setdefault(str(id), []).append(id)
        return index


class RateAt(msgspec.Struct, frozen=True):
    """A rate at a moment."""

    at: int
    rate: Decimal
    interval_hours: Decimal
    kind: str


def history_points(store: FundingStore, instrument: InstrumentId, resolution: str, start_ns: int, end_ns: int, limit: int) -> list[RateAt]:
    """The newest `limit` points of a period, oldest first; `resolution` settled, raw or hourly (a rate per hour then)."""
    name = str(instrument)
    match resolution:
        case "settled":
            found = [RateAt(r.settled_at, r.rate, r.interval_hours, RateKind.SETTLED.value) for r in store.settled(name, start_ns, end_ns)]
        case "hourly":
            found = [
                RateAt(r.hour, r.mean, ONE, r.kind.value) for r in store.hourly(name, start_ns, end_ns) if r.kind is RateKind.PREDICTED
            ]
        case "raw":
            rows = store.samples(name, start_ns, end_ns, limit, newest_first=True)
            found = [RateAt(r.observed_at, r.rate, r.interval_hours, r.kind.value) for r in reversed(rows)]
        case _:
            raise ValueError(f"no resolution {resolution!r}")
    return found[-limit:]


def market_histories(
    store: FundingStore, instruments: Iterable[InstrumentId], start_ns: int, end_ns: int
) -> dict[InstrumentId, MarketHistory]:
    """Each market's, as `market_history`."""
    return {instrument: market_history(store, instrument, start_ns, end_ns) for instrument in instruments}
