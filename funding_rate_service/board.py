"""The newest rate of every market, with its age, and how each venue is doing: what the service answers from.

A rate older than its venue's limit is stale: it stays visible, marked so, and is no leg of an opportunity any more. Ages count by the wall
clock and by the time that really passed, whichever says more, so that a clock that is set back makes nothing look young.

One event loop owns a board. `quotes` and the rest may be read from other threads; what they return is never changed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf

import msgspec

from database.market_data import Market, RateSample
from exchange_clients.model import NS_PER_S, FundingRateSample, InstrumentId, MarketStatus
from exchange_clients.transport.clock import Clock
from funding_rate_service.fees import FeeTable
from funding_rate_service.opportunity.quotes import FundingQuote

log = logging.getLogger("funding_rate_service.board")

STALE_AFTER_S = 150.0
FORGOTTEN_AFTER_S = 24 * 3600.0
"""A market of which nothing was heard for so long is no longer shown."""
MAX_ERROR = 200

Changed = Callable[[str, tuple[FundingQuote, ...]], None]


class VenueState(StrEnum):
    """OK: it has fresh rates. STALE: what it has is too old. DOWN: that, and asking fails. WAITING: nothing was heard yet."""

    OK = "ok"
    STALE = "stale"
    DOWN = "down"
    WAITING = "waiting"


class VenueHealth(msgspec.Struct, frozen=True, kw_only=True):
    """How collection at one venue goes. Times ns UTC. `rejected` and `missing`: what the last answer lacked."""

    venue: str
    state: VenueState
    markets: int = 0
    fresh: int = 0
    last_ok_ns: int | None = None
    last_error: str | None = None
    last_error_ns: int | None = None
    consecutive_failures: int = 0
    latency_ms: int | None = None
    next_at_ns: int | None = None
    rejected: int = 0
    missing: tuple[str, ...] = ()
    stale_after_s: float = STALE_AFTER_S


@dataclass(frozen=True, slots=True)
class Limits:
    """After how many seconds a rate is stale, by venue."""

    default_s: float = STALE_AFTER_S
    by_venue: Mapping[str, float] = field(default_factory=dict)

    def of(self, venue: str) -> float:
        return self.by_venue.get(venue, self.default_s)


@dataclass(slots=True)
class _Held:
    quote: FundingQuote
    at_s: float
    """`Clock.elapsed` when the rate was observed."""
    fresh: bool = True


@dataclass(slots=True)
class _Venue:
    held: dict[InstrumentId, _Held] = field(default_factory=dict)
    last_ok_ns: int | None = None
    last_error: str | None = None
    last_error_ns: int | None = None
    failures: int = 0
    latency_ms: int | None = None
    next_at_ns: int | None = None
    rejected: int = 0
    missing: tuple[str, ...] = ()


class Board:
    """`venues` are known from the start: one that never answers is seen as such."""

    def __init__(self, clock: Clock, limits: Limits | None = None, venues: Iterable[str] = ()) -> None:
        self._clock = clock
        self._limits = limits or Limits()
        self._venues: dict[str, _Venue] = {name: _Venue() for name in venues}
        self._watchers: list[Changed] = []
        self._cached: dict[bool, tuple[int, tuple[FundingQuote, ...]]] = {}
        self._generation = 0

    @property
    def generation(self) -> int:
        """Grows with every change."""
        return self._generation

    # ---- what comes in

    def put(
        self,
        venue: str,
        quotes: Sequence[FundingQuote],
        at_ns: int,
        *,
        latency_ms: int | None = None,
        rejected: int = 0,
        missing: tuple[str, ...] = (),
        ended: Iterable[InstrumentId] = (),
    ) -> tuple[FundingQuote, ...]:
        """An answer of the venue. Markets that it does not name keep what they have, and age; `ended` ones are gone.

        A quote that is older by the venue's own stamp than the one we have came late and is left out: the rest is returned.
        """
        known = self._venues.setdefault(venue, _Venue())
        taken = [quote for quote in quotes if not _came_late(quote, known.held.get(quote.instrument))]
        now_ns, now_s = self._clock.time_ns(), self._clock.elapsed()
        for quote in taken:
            new = known.held[quote.instrument] = _Held(quote, now_s)
            new.fresh = self._is_fresh(new, now_ns, now_s)
        known.last_ok_ns, known.latency_ms, known.rejected, known.missing = at_ns, latency_ms, rejected, missing
        known.failures = 0
        gone = [msgspec.structs.replace(held.quote, tradable=False) for one in ended if (held := known.held.pop(one, None)) is not None]
        self._tell(venue, (*taken, *gone))
        return tuple(taken)

    def restore(self, quotes: Iterable[FundingQuote]) -> int:
        """Rates of an earlier run at their true ages; what was heard since is newer. How many were taken."""
        now_ns, now_s, count = self._clock.time_ns(), self._clock.elapsed(), 0
        for quote in quotes:
            venue = quote.instrument.venue
            known = self._venues.setdefault(venue, _Venue())
            if quote.instrument in known.held:
                continue
            age_s = (now_ns - quote.observed_ns) / NS_PER_S
            if age_s > FORGOTTEN_AFTER_S:
                continue
            held = _Held(quote, now_s - age_s if age_s >= 0 else -inf)  # from the future: our clock was wrong, the age is not known
            held.fresh = self._is_fresh(held, now_ns, now_s)
            known.held[quote.instrument] = held
            known.last_ok_ns = max(known.last_ok_ns or 0, quote.observed_ns)
            count += 1
        if count:
            self._generation += 1
        return count

    def fail(self, venue: str, error: str, at_ns: int) -> None:
        """A round that brought nothing. `error` is shown to anybody."""
        known = self._venues.setdefault(venue, _Venue())
        known.failures += 1
        known.last_error, known.last_error_ns = error[:MAX_ERROR], at_ns
        self._tell(venue, ())

    def plan(self, venue: str, next_at_ns: int) -> None:
        """When the venue is asked next."""
        self._venues.setdefault(venue, _Venue()).next_at_ns = next_at_ns

    def sweep(self) -> None:
        """Mark what has become too old. Call it every second or so."""
        now_ns, now_s = self._clock.time_ns(), self._clock.elapsed()
        for venue, known in self._venues.items():
            aged = []
            for held in [held for held in known.held.values() if held.fresh]:
                if not self._is_fresh(held, now_ns, now_s):
                    held.fresh = False
                    aged.append(held.quote)
            forgotten = [key for key, held in known.held.items() if not held.fresh and now_s - held.at_s > FORGOTTEN_AFTER_S]
            for key in forgotten:
                del known.held[key]
            if aged or forgotten:
                self._tell(venue, tuple(aged))

    def subscribe(self, callback: Changed) -> Callable[[], None]:
        """`callback(venue, quotes)` after every change: new quotes, and those that have just become stale or ended (`is_fresh` tells); none
        when only the venue's health changed. Call what is returned to end it."""
        self._watchers.append(callback)

        def end() -> None:
            if callback in self._watchers:
                self._watchers.remove(callback)

        return end

    # ---- what is read

    def quotes(self, *, fresh_only: bool = True) -> tuple[FundingQuote, ...]:
        """Of all venues; the same tuple until something changes."""
        generation = self._generation
        cached = self._cached.get(fresh_only)
        if cached is None or cached[0] != generation:
            found = tuple(
                held.quote
                for known in list(self._venues.values())
                for held in list(known.held.values())
                if not fresh_only or (held.fresh and held.quote.tradable)
            )
            cached = self._cached[fresh_only] = generation, found
        return cached[1]

    def quote(self, instrument: InstrumentId) -> FundingQuote | None:
        """The newest of one market, stale or not."""
        known = self._venues.get(instrument.venue)
        held = known.held.get(instrument) if known is not None else None
        return held.quote if held is not None else None

    def age_s(self, quote: FundingQuote, now_ns: int | None = None) -> float:
        """How old a rate is, in seconds; infinite where that is not known."""
        now_ns = self._clock.time_ns() if now_ns is None else now_ns
        known = self._venues.get(quote.instrument.venue)
        held = known.held.get(quote.instrument) if known is not None else None
        by_wall = (now_ns - quote.observed_ns) / NS_PER_S
        passed = self._clock.elapsed() - held.at_s if held is not None and held.quote is quote else 0.0
        return max(by_wall, passed, 0.0)

    def is_fresh(self, quote: FundingQuote, now_ns: int | None = None) -> bool:
        """Whether a rate may still be a leg."""
        return quote.tradable and self.age_s(quote, now_ns) <= self._limits.of(quote.instrument.venue)

    def stale_after_s(self, venue: str) -> float:
        return self._limits.of(venue)

    @property
    def names(self) -> tuple[str, ...]:
        """Every venue, sorted."""
        return tuple(sorted(self._venues))

    def venues(self) -> dict[str, VenueHealth]:
        """Health by venue, sorted by name."""
        return {name: self._health(name, known) for name, known in sorted(self._venues.items())}

    # ---- inside

    def _is_fresh(self, held: _Held, now_ns: int, now_s: float) -> bool:
        limit = self._limits.of(held.quote.instrument.venue)
        return max((now_ns - held.quote.observed_ns) / NS_PER_S, now_s - held.at_s) <= limit

    def _health(self, name: str, known: _Venue) -> VenueHealth:
        now_ns, now_s = self._clock.time_ns(), self._clock.elapsed()
        fresh = sum(self._is_fresh(held, now_ns, now_s) for held in known.held.values())
        if fresh:
            state = VenueState.OK
        elif known.failures:
            state = VenueState.DOWN
        else:
            state = VenueState.STALE if known.held else VenueState.WAITING
        return VenueHealth(
            venue=name,
            state=state,
            markets=len(known.held),
            fresh=fresh,
            last_ok_ns=known.last_ok_ns,
            last_error=known.last_error,
            last_error_ns=known.last_error_ns,
            consecutive_failures=known.failures,
            latency_ms=known.latency_ms,
            next_at_ns=known.next_at_ns,
            rejected=known.rejected,
            missing=known.missing,
            stale_after_s=self._limits.of(name),
        )

    def _tell(self, venue: str, changed: tuple[FundingQuote, ...]) -> None:
        self._generation += 1
        for callback in list(self._watchers):
            try:
                callback(venue, changed)
            except Exception:  # a watcher's fault is not the collector's
                log.exception("board.watcher_failed venue=%s", venue)


def _came_late(quote: FundingQuote, held: _Held | None) -> bool:
    """By the venue's own stamps, where it stamps."""
    if held is None:
        return False
    old, new = held.quote.sample.source_timestamp, quote.sample.source_timestamp
    return old is not None and new is not None and new < old


# ---- quotes and what is stored of them


def sample_of(quote: FundingQuote, latency_ms: int | None = None) -> RateSample:
    """What the database keeps of a quote; fees are the market's and the account's, not the sample's."""
    sample, id = quote.sample, quote.instrument
    return RateSample(
        venue=id.venue,
        instrument=str(id),
        symbol=id.base,
        observed_at=quote.observed_ns,
        rate=sample.raw_rate,
        interval_hours=sample.interval_hours,
        kind=sample.kind,
        next_funding_at=sample.next_funding_time,
        cap=sample.cap,
        mark=quote.mark,
        index=quote.index,
        bid=quote.bid,
        ask=quote.ask,
        open_interest_usd=quote.open_interest_usd,
        volume_24h_usd=quote.volume_24h_usd,
        latency_ms=latency_ms,
    )


def quote_of(sample: RateSample, fees: FeeTable, market: Market | None = None) -> FundingQuote:
    """A stored rate as a quote. Without its `market` it counts as tradable, at the fees of account or base tier.

    Raises:
        ValueError: the instrument's name is none.
    """
    id = InstrumentId.parse(sample.instrument)
    told = (market.maker_fee, market.taker_fee) if market is not None else ()
    cost = fees.of(id.venue, *told, dex=id.dex)
    return FundingQuote(
        instrument=id,
        sample=FundingRateSample(
            raw_rate=sample.rate,
            interval_hours=sample.interval_hours,
            kind=sample.kind,
            next_funding_time=sample.next_funding_at,
            cap=sample.cap,
            instrument=id,
        ),
        observed_ns=sample.observed_at,
        taker_fee=cost.taker,
        maker_fee=cost.maker,
        mark=sample.mark,
        index=sample.index,
        bid=sample.bid,
        ask=sample.ask,
        volume_24h_usd=sample.volume_24h_usd,
        open_interest_usd=sample.open_interest_usd,
        tradable=market is None or market.status is MarketStatus.ACTIVE,
    )
