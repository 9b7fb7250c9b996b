"""Settled history, fetched little by little: the markets that matter first, each from where the database ends.

Requests are the least urgent of all, one at a time per venue, and only while most of the venue's limits are free. What a venue does not
have is a gap in the history, told and counted, never filled with something else.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise
from typing import Final

import msgspec

from database.funding_store import FundingStore
from database.market_data import SettledRate
from exchange_clients.errors import RateLimited, VenueError
from exchange_clients.model import NS_PER_HOUR, NS_PER_S, FundingRateSample, Instrument, RateKind
from exchange_clients.transport.runtime import Runtime
from funding_rate_service.board import Board
from funding_rate_service.collector.sound import is_number
from funding_rate_service.collector.venue import VenueCollector
from funding_rate_service.config import ServiceConfig
from funding_rate_service.opportunity import disbelief
from funding_rate_service.tasks import told

log = logging.getLogger("funding_rate_service.backfill")

NS_PER_DAY: Final = 24 * NS_PER_HOUR
ROWS_A_PAGE: Final = 400
PROBE_NS: Final = 2 * NS_PER_HOUR
DENSE_ROWS_AN_HOUR: Final = 2
LONGEST_SPAN_NS: Final = 60 * NS_PER_DAY
PAGES_A_PASS: Final = 60
"""Requests for one market until the others have had their turn."""
FREE_PART: Final = 0.6
BUSY_PAUSE_S: Final = 3.0
AFTER_HOUR_NS: Final = 12 * 60 * NS_PER_S
"""Venues settle on the hour, and a little later what they settled is final."""
LATE_NS: Final = NS_PER_DAY
"""A settlement may be published so late: the time before it is asked for once in a life of the service."""
WRITE_DEADLINE_S: Final = 60.0
GAPS_TOLD: Final = 20
TOLERANCE: Final = Decimal("1.5")


class HistoryGap(msgspec.Struct, frozen=True, kw_only=True):
    """A venue told nothing of this market between two settlements. Times ns UTC."""

    instrument: str
    from_ns: int
    to_ns: int


class BackfillStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One venue's. `done` of `markets` are as new as the venue's own history."""

    venue: str
    markets: int = 0
    done: int = 0
    rows: int = 0
    requests: int = 0
    gaps: int = 0
    last_gaps: tuple[HistoryGap, ...] = ()
    last_error: str | None = None


@dataclass(slots=True)
class _Venue:
    markets: int = 0
    done: int = 0
    rows: int = 0
    requests: int = 0
    gaps: int = 0
    last_gaps: deque[HistoryGap] = field(default_factory=lambda: deque(maxlen=GAPS_TOLD))
    last_error: str | None = None
    row_ns: int | None = None
    """Between two rows of the venue's history, as its first answer showed."""
    days: int | None = None
    """How far back somebody asked for, instead of the configured days."""
    wanted: asyncio.Event = field(default_factory=asyncio.Event)
    asked: dict[str, int] = field(default_factory=dict)
    """Market -> until when the venue was asked for all that is not known: what it did not tell then it does not have."""


class Backfill:
    """`venues` by name; each is filled by itself (`run`)."""

    def __init__(
        self, venues: Iterable[VenueCollector], config: ServiceConfig, runtime: Runtime, board: Board, store: FundingStore
    ) -> None:
        self._venues = {venue.name: venue for venue in venues}
        self._states = {name: _Venue() for name in self._venues}
        self._config, self._runtime, self._board, self._store = config, runtime, board, store

    def status(self) -> tuple[BackfillStatus, ...]:
        return tuple(
            BackfillStatus(
                venue=name,
                markets=state.markets,
                done=state.done,
                rows=state.rows,
                requests=state.requests,
                gaps=state.gaps,
                last_gaps=tuple(state.last_gaps),
                last_error=state.last_error,
            )
            for name, state in self._states.items()
        )

    def again(self, venue: str, days: int | None = None) -> bool:
        """Begin a pass over a venue at once, or after the one that runs; False where nothing is backfilled."""
        if not self._config.backfill_days_of(venue) or not self._config.backfill_markets:
            return False
        state = self._states[venue]
        if days is not None and days > (state.days or self._config.backfill_days_of(venue)):
            state.asked = {}  # not of use for the longer time, nor what the pass that runs adds to it
            state.days = days
        state.wanted.set()
        return True

    async def run(self, venue: str) -> None:
        """Fill one venue's history, and keep it filled hour by hour, until cancelled."""
        clock = self._runtime.clock
        if not self._config.backfill_days_of(venue) or not self._config.backfill_markets:
            await asyncio.Event().wait()
        while True:
            try:
                complete = await self._pass(venue)
            except VenueError as e:
                complete = False
                self._states[venue].last_error = told(e)
                await clock.sleep(e.retry_after_s or 60.0 if isinstance(e, RateLimited) else 60.0)
            if complete:
                now_ns = clock.time_ns()
                await self._rest(venue, (now_ns - AFTER_HOUR_NS) // NS_PER_HOUR * NS_PER_HOUR + NS_PER_HOUR + AFTER_HOUR_NS)
            else:
                await clock.sleep(max(1.0, self._config.backfill_pause_s))

    async def _rest(self, venue: str, until_ns: int) -> None:
        """Until then, or until somebody wants history."""
        wanted = self._states[venue].wanted
        waits = [asyncio.ensure_future(self._runtime.clock.sleep_until_ns(until_ns)), asyncio.ensure_future(wanted.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        wanted.clear()

    async def _pass(self, venue: str) -> bool:
        """Every market once; whether all are as new as the venue's history."""
        collector, state = self._venues[venue], self._states[venue]
        while not collector.is_well:
            await self._runtime.clock.sleep(BUSY_PAUSE_S)
        markets = self._important(venue)
        state.markets, state.done = len(markets), 0
        complete = True
        for instrument in markets:
            try:
                if await self._fill(collector, state, instrument):
                    state.done += 1
                else:
                    complete = False
            except RateLimited:
                raise
            except VenueError as e:
                state.last_error = f"{instrument.id}: {told(e)}"
                log.warning("backfill.failed instrument=%s error=%s", instrument.id, told(e))
        return complete and bool(markets)

    def _important(self, venue: str) -> list[Instrument]:
        """The busiest markets first, by volume and then by open interest, as they are now."""
        listed = {instrument.id: instrument for instrument in self._venues[venue].adapter.client.context.instruments.all()}
        nothing = Decimal(-1)
        quotes = [quote for quote in self._board.quotes(fresh_only=False) if quote.instrument.venue == venue and quote.tradable]
        quotes.sort(key=lambda q: (-(q.volume_24h_usd or nothing), -(q.open_interest_usd or nothing), q.instrument))
        return [listed[quote.instrument] for quote in quotes if quote.instrument in listed][: self._config.backfill_markets]

    # ---- one market

    async def _fill(self, collector: VenueCollector, state: _Venue, instrument: Instrument) -> bool:
        """Whether nothing is left to ask for."""
        now_ns = self._runtime.clock.time_ns()
        start_ns = now_ns - (state.days or self._config.backfill_days_of(collector.name)) * NS_PER_DAY
        known = await self._offload_settled(instrument, start_ns, now_ns + 1)
        pages = 0
        name, asked = str(instrument.id), state.asked
        for from_ns, to_ns in _unknown(known, start_ns, now_ns, asked.get(name, 0)):
            at_ns = from_ns // NS_PER_HOUR * NS_PER_HOUR  # whole hours: what is published all the time is summed up by them
            last = max((row.settled_at for row in known if row.settled_at <= from_ns), default=None)
            while at_ns < to_ns:
                if pages >= PAGES_A_PASS:
                    return False
                span_ns = PROBE_NS if state.row_ns is None else min(max(state.row_ns * ROWS_A_PAGE, NS_PER_HOUR), LONGEST_SPAN_NS)
                stop_ns = min((at_ns + span_ns) // NS_PER_HOUR * NS_PER_HOUR, to_ns)
                if state.row_ns is None and stop_ns < to_ns:
                    at_probe = now_ns - PROBE_NS  # how dense rows are shows in the newest hours, where every venue has some
                    await self._page(collector, state, instrument, at_probe, now_ns)
                    pages += 1
                    continue
                samples = await self._page(collector, state, instrument, at_ns, stop_ns)
                pages += 1
                rows = settled_rows(samples, instrument, min(stop_ns, now_ns))
                await self._save(state, instrument, rows, last)
                last = max((row.settled_at for row in rows), default=last)
                at_ns = stop_ns
                asked[name] = max(asked.get(name, 0), min(stop_ns, now_ns - LATE_NS))
        return True

    async def _page(
        self, collector: VenueCollector, state: _Venue, instrument: Instrument, from_ns: int, to_ns: int
    ) -> list[FundingRateSample]:
        """The venue's settlements after `from_ns`, up to `to_ns`; asked for when its limits have room."""
        clock, context = self._runtime.clock, collector.adapter.client.context
        await clock.sleep(self._config.backfill_pause_s)
        pools = [name for name, pool in context.spec.pools.items() if pool.kind == "rate" and pool.scope == "ip"]
        while any(context.limiter.headroom(name) < FREE_PART * context.limiter.limit(name) for name in pools):
            await clock.sleep(BUSY_PAUSE_S)
        state.requests += 1
        found = await collector.adapter.client.market_data.fetch_funding_history(instrument, start_ns=from_ns + 1, end_ns=to_ns)
        if state.row_ns is None:
            interval = instrument.funding_interval_hours or Decimal(1)
            dense = len(found) > DENSE_ROWS_AN_HOUR * PROBE_NS // NS_PER_HOUR
            state.row_ns = PROBE_NS // len(found) if dense else int(interval * NS_PER_HOUR)
        return found

    async def _save(self, state: _Venue, instrument: Instrument, rows: Sequence[SettledRate], last_ns: int | None) -> None:
        times = [last_ns, *(row.settled_at for row in rows)] if last_ns is not None else [row.settled_at for row in rows]
        for (before, after), row in zip(pairwise(times), rows[len(rows) - len(times) + 1 :], strict=True):
            if _apart(before, row):
                state.gaps += 1
                state.last_gaps.append(HistoryGap(instrument=str(instrument.id), from_ns=before, to_ns=after))
                log.info("backfill.gap instrument=%s from_ns=%d to_ns=%d", instrument.id, before, after)
        if rows:
            state.rows += await self._runtime.offload.run(self._store.add_settled, rows, deadline_s=WRITE_DEADLINE_S)

    async def _offload_settled(self, instrument: Instrument, start_ns: int, end_ns: int) -> list[SettledRate]:
        return await self._runtime.offload.run(self._store.settled, str(instrument.id), start_ns, end_ns, deadline_s=WRITE_DEADLINE_S)


def _unknown(known: Sequence[SettledRate], start_ns: int, now_ns: int, asked_ns: int) -> list[tuple[int, int]]:
    """Spans to ask for, oldest first: before what is known, its holes (older history comes oldest first and may have been cut short), and
    after it; not what lies before `asked_ns`."""
    if not known:
        return [(max(start_ns, asked_ns), now_ns)]
    first, last = known[0], known[-1]
    spans = []
    if first.settled_at - int(first.interval_hours * NS_PER_HOUR) > start_ns:
        spans.append((start_ns, first.settled_at - 1))
    spans += [(before.settled_at, after.settled_at - 1) for before, after in pairwise(known) if _apart(before.settled_at, after)]
    if last.settled_at + int(last.interval_hours * NS_PER_HOUR) <= now_ns:
        spans.append((last.settled_at, now_ns))
    return [(max(from_ns, asked_ns), to_ns) for from_ns, to_ns in spans if to_ns > asked_ns]


def _apart(before_ns: int, row: SettledRate) -> bool:
    """Whether a settlement is missing between a time and a row."""
    return row.settled_at - before_ns > int(row.interval_hours * TOLERANCE * NS_PER_HOUR)


def settled_rows(samples: Sequence[FundingRateSample], instrument: Instrument, until_ns: int) -> list[SettledRate]:
    """What a venue's history says was charged, oldest first, each time once; what cannot be believed is left out.

    Where funding is charged all the time and the venue publishes rates far closer together than their interval, a row is the mean of a
    whole hour, per hour: rows that overlap would be counted several times over.
    """
    good: dict[int, FundingRateSample] = {}
    for sample in samples:
        if sample.kind is RateKind.SETTLED and sample.settled_at is not None and sample.settled_at <= until_ns:
            reason = disbelief(sample)
            if reason is None and not is_number(sample.raw_rate):
                reason = "too many digits"
            if reason is None:
                good[sample.settled_at] = sample
            else:
                log.warning("backfill.not_believed instrument=%s at_ns=%d reason=%s", instrument.id, sample.settled_at, reason)
    ordered = sorted(good.items())
    if _overlaps(ordered):
        return _by_hour(ordered, instrument, until_ns)
    return [_row(instrument, at_ns, sample.raw_rate, sample.interval_hours) for at_ns, sample in ordered]


def _overlaps(rows: Sequence[tuple[int, FundingRateSample]]) -> bool:
    """Whether the rows stand closer together than half of their interval, most of them."""
    close = sum(after - before < int(sample.interval_hours * NS_PER_HOUR) // 2 for (before, _), (after, sample) in pairwise(rows))
    return len(rows) > DENSE_ROWS_AN_HOUR and close > len(rows) // 2


def _by_hour(rows: Sequence[tuple[int, FundingRateSample]], instrument: Instrument, until_ns: int) -> list[SettledRate]:
    """The mean rate of every hour that is covered from its beginning to its end."""
    steps = sorted(after - before for (before, _), (after, _) in pairwise(rows))
    longest_ns = 2 * steps[len(steps) // 2]
    hours: dict[int, list[tuple[int, Decimal]]] = {}
    for at_ns, sample in rows:
        hours.setdefault((at_ns - 1) // NS_PER_HOUR, []).append((at_ns, sample.hourly_rate))
    found = []
    for hour, entries in sorted(hours.items()):
        begin, end = hour * NS_PER_HOUR, (hour + 1) * NS_PER_HOUR
        times = [begin, *(at_ns for at_ns, _ in entries), end]
        if end <= until_ns and all(after - before <= longest_ns for before, after in pairwise(times)):
            mean = sum((rate for _, rate in entries), Decimal(0)) / len(entries)
            found.append(_row(instrument, end, mean, Decimal(1)))
    return found


def _row(instrument: Instrument, at_ns: int, rate: Decimal, interval_hours: Decimal) -> SettledRate:
    return SettledRate(
        venue=instrument.id.venue,
        instrument=str(instrument.id),
        symbol=instrument.id.base,
        settled_at=at_ns,
        rate=rate,
        interval_hours=interval_hours,
    )
