"""One venue, asked again and again: rounds, their deadlines, and when to ask next."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Final

import msgspec

from database.market_data import Collection, Market, Outcome
from exchange_clients import venues
from exchange_clients.base_funding_adapter import BaseFundingAdapter
from exchange_clients.errors import RateLimited, VenueError
from exchange_clients.model import NS_PER_S, Instrument, MarketStatus, VenueSnapshot
from exchange_clients.transport.backoff import Backoff
from exchange_clients.transport.runtime import Runtime
from funding_rate_service.board import Board, sample_of
from funding_rate_service.collector.sound import quote_of_market
from funding_rate_service.collector.writer import Round, Writer
from funding_rate_service.config import ServiceConfig
from funding_rate_service.opportunity import FundingQuote
from funding_rate_service.tasks import told

log = logging.getLogger("funding_rate_service.collector")

FIRST_PAUSE_S: Final = 5.0
LONGEST_PAUSE_S: Final = 120.0
MOST_PROBLEMS: Final = 5
MAX_ERROR: Final = 500


class VenueRounds(msgspec.Struct, frozen=True, kw_only=True):
    """What collection at one venue has come to. Times ns UTC."""

    venue: str
    rounds: int
    failures: int
    rejected: int
    last_round_ns: int | None
    next_at_ns: int | None
    last_error: str | None


class VenueCollector:
    """Rounds of one venue. Whatever happens in one ends with that round."""

    def __init__(self, name: str, config: ServiceConfig, runtime: Runtime, board: Board, writer: Writer, rng: random.Random) -> None:
        self.name = name
        self._config, self._runtime, self._board, self._writer = config, runtime, board, writer
        self._interval_s = config.interval_of(name)
        self._fees = config.fees()
        self._backoff = Backoff(rng, first_s=FIRST_PAUSE_S, cap_s=max(LONGEST_PAUSE_S, self._interval_s))
        self._adapter: BaseFundingAdapter | None = None
        self._written: dict[str, Market] = {}
        self._rounds = self._failures = self._rejected = 0
        self._last_round_ns: int | None = None
        self._next_at_ns: int | None = None
        self._last_error: str | None = None

    @property
    def adapter(self) -> BaseFundingAdapter:
        """The venue's adapter: one for all who ask it, so that they share its table of instruments.

        Raises:
            ConfigError: the venue does not load, or its settings do not fit.
        """
        if self._adapter is None:
            self._adapter = venues.get(self.name).funding(self._config.client_of(self.name), runtime=self._runtime)
        return self._adapter

    @property
    def is_well(self) -> bool:
        """The last round brought rates."""
        return self._rounds > 0 and self._backoff.attempt == 0

    def status(self) -> VenueRounds:
        return VenueRounds(
            venue=self.name,
            rounds=self._rounds,
            failures=self._failures,
            rejected=self._rejected,
            last_round_ns=self._last_round_ns,
            next_at_ns=self._next_at_ns,
            last_error=self._last_error,
        )

    async def run(self, first_after_s: float = 0.0) -> None:
        """Rounds until cancelled, at an even pace while they succeed."""
        clock = self._runtime.clock
        await self._pause(first_after_s)
        due_s = clock.monotonic()
        while True:
            pause_s = await self.round()
            now_s = clock.monotonic()
            due_s = max(due_s + self._interval_s, now_s) if pause_s is None else now_s + pause_s
            await self._pause(due_s - now_s)

    async def _pause(self, seconds: float) -> None:
        self._next_at_ns = self._runtime.clock.time_ns() + int(seconds * NS_PER_S)
        self._board.plan(self.name, self._next_at_ns)
        await self._runtime.clock.sleep(seconds)

    async def round(self) -> float | None:
        """Ask once. Seconds to wait after a failure; None when all went well."""
        clock = self._runtime.clock
        started_ns, started_s = clock.time_ns(), clock.monotonic()
        deadline_s = self._config.deadline_of(self.name)
        self._rounds += 1
        self._last_round_ns = started_ns
        retry_after_s = 0.0
        try:
            async with asyncio.timeout(deadline_s):
                snapshot = await self.adapter.fetch_snapshot()
        except TimeoutError:
            error = f"no answer within {deadline_s:g} s"
        except VenueError as e:
            error = told(e)
            if isinstance(e, RateLimited) and e.retry_after_s is not None:
                retry_after_s = e.retry_after_s
        except Exception as e:  # a venue's answer that its decoder was not made for: that venue's trouble alone
            log.exception("collector.round_failed venue=%s", self.name)
            error = told(e)
        else:
            latency_ms = round((clock.monotonic() - started_s) * 1000)
            if self._take(snapshot, started_ns, latency_ms):
                self._backoff.reset()
                self._last_error = None
                return None
            error = "its answer has no rate that can be believed" if snapshot.markets else "it names no markets"
        self._fail(error, started_ns, round((clock.monotonic() - started_s) * 1000))
        return max(self._backoff.next(), retry_after_s)

    # ---- a good round

    def _take(self, snapshot: VenueSnapshot, started_ns: int, latency_ms: int) -> bool:
        """Onto the board and into the queue of the writer; False: there was nothing good in it."""
        now_ns = self._runtime.clock.time_ns()
        quotes: list[FundingQuote] = []
        problems: list[str] = []
        rejected = 0
        for market in snapshot.markets:
            quote, wrong = quote_of_market(market, self._fees, now_ns, self._config.max_clock_error_s)
            if quote is not None:
                quotes.append(quote)
            elif wrong:
                rejected += 1
            problems += [f"{market.instrument.id}: {what}" for what in wrong]
        if not quotes:
            return False
        self._rejected += rejected
        listed = self.adapter.client.context.instruments.all()
        ended = [i.id for i in listed if i.status is MarketStatus.DELISTED]
        taken = self._board.put(self.name, quotes, now_ns, latency_ms=latency_ms, rejected=rejected, missing=snapshot.missing, ended=ended)
        faults = [*snapshot.missing, *problems]
        if late := len(quotes) - len(taken):
            faults.append(f"{late} rates older than those before")
        if faults:
            log.warning("collector.partial venue=%s rejected=%d faults=%s", self.name, rejected, _told_briefly(faults))
        collection = Collection(
            venue=self.name,
            started_at=started_ns,
            ended_at=now_ns,
            outcome=Outcome.PARTIAL if faults else Outcome.OK,
            markets=len(taken),
            error=_told_briefly(faults),
            latency_ms=latency_ms,
        )
        self._writer.add(Round(collection, [sample_of(quote, latency_ms) for quote in taken]), self._changed(listed))
        return True

    def _changed(self, listed: tuple[Instrument, ...]) -> list[Market]:
        """Markets that are new, or other than they were last written."""
        found = [market_of(instrument) for instrument in listed]
        changed = [market for market in found if self._written.get(market.instrument) != market]
        self._written |= {market.instrument: market for market in changed}
        return changed

    # ---- a bad one

    def _fail(self, error: str, started_ns: int, latency_ms: int) -> None:
        now_ns = self._runtime.clock.time_ns()
        self._failures += 1
        self._last_error = error
        level = logging.WARNING if self._backoff.attempt == 0 else logging.INFO
        log.log(level, "collector.failed venue=%s times=%d error=%s", self.name, self._backoff.attempt + 1, error)
        self._board.fail(self.name, error, now_ns)
        self._writer.add(
            Round(
                Collection(
                    venue=self.name,
                    started_at=started_ns,
                    ended_at=now_ns,
                    outcome=Outcome.FAILED,
                    markets=0,
                    error=error[:MAX_ERROR],
                    latency_ms=latency_ms,
                ),
                (),
            )
        )

    async def close(self) -> None:
        if self._adapter is not None:
            adapter, self._adapter = self._adapter, None
            await adapter.close()


def market_of(instrument: Instrument) -> Market:
    """What the database keeps of an instrument."""
    return Market(
        venue=instrument.id.venue,
        instrument=str(instrument.id),
        symbol=instrument.id.base,
        venue_symbol=instrument.venue_symbol,
        multiplier=instrument.multiplier,
        contract_size=instrument.contract_size,
        tick_size=instrument.tick_size,
        step_size=instrument.step_size,
        min_quantity=instrument.min_quantity,
        min_notional=instrument.min_notional,
        maker_fee=instrument.maker_fee,
        taker_fee=instrument.taker_fee,
        status=instrument.status,
    )


def _told_briefly(faults: list[str]) -> str:
    shown = "; ".join(faults[:MOST_PROBLEMS])
    more = len(faults) - MOST_PROBLEMS
    return (f"{shown}; and {more} more" if more > 0 else shown)[:MAX_ERROR]
