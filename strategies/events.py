"""What happens, told to a strategy: one queue in order of arrival, timers, and the events whose handler failed."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import traceback
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

from database.errors import JournalError
from database.records import DeadLetterRecord
from exchange_clients.book import BookChange
from exchange_clients.events import Subscription
from exchange_clients.model import (
    NS_PER_S,
    Bbo,
    Candle,
    Fill,
    FundingRateSample,
    Gap,
    LiquidationEvent,
    OrderInfo,
    OrderStatus,
    Position,
    Trade,
)
from exchange_clients.spec import Stream
from exchange_clients.transport.clock import Clock

if TYPE_CHECKING:
    from exchange_clients.base_client import BaseExchangeClient

    from .execution.journaling import AsyncJournal

log = logging.getLogger("strategies")

MAX_WAITING = 50_000
"""Unread events of the account; more means that the strategy does not keep up: they are dropped and told as a gap and a reset."""
KEEP_LETTERS = 200
MAX_LETTERS_WRITTEN = 1_000
"""Per life of the process; what fails more often than that is only counted."""
WATCH_VENUES_S = 1.0


class EventKind(StrEnum):
    """The handler is `on_<kind>`."""

    BOOK = "book"
    BBO = "bbo"
    TRADE = "trade"
    BAR = "bar"
    FUNDING = "funding"
    ORDER = "order"
    REJECTION = "rejection"
    FILL = "fill"
    POSITION = "position"
    LIQUIDATION = "liquidation"
    GAP = "gap"
    VENUE_OFFLINE = "venue_offline"
    VENUE_ONLINE = "venue_online"
    TIMER = "timer"
    RESET = "reset"


class TimerEvent(msgspec.Struct, frozen=True):
    """A timer or alert is due; `due_ns` is when it was to fire, `ts_ns` when it did."""

    name: str
    due_ns: int
    ts_ns: int


class VenueEvent(msgspec.Struct, frozen=True):
    """A venue went offline or came back; with a reset: what was built from its streams must be built anew."""

    venue: str
    reason: str
    ts_ns: int


TYPES: dict[EventKind, type[Any]] = {
    EventKind.BOOK: BookChange,
    EventKind.BBO: Bbo,
    EventKind.TRADE: Trade,
    EventKind.BAR: Candle,
    EventKind.FUNDING: FundingRateSample,
    EventKind.ORDER: OrderInfo,
    EventKind.REJECTION: OrderInfo,
    EventKind.FILL: Fill,
    EventKind.POSITION: Position,
    EventKind.LIQUIDATION: LiquidationEvent,
    EventKind.GAP: Gap,
    EventKind.VENUE_OFFLINE: VenueEvent,
    EventKind.VENUE_ONLINE: VenueEvent,
    EventKind.TIMER: TimerEvent,
    EventKind.RESET: VenueEvent,
}
MARKET: dict[EventKind, Stream] = {
    EventKind.BOOK: Stream.BOOK,
    EventKind.BBO: Stream.BBO,
    EventKind.TRADE: Stream.TRADES,
    EventKind.BAR: Stream.CANDLES,
    EventKind.FUNDING: Stream.FUNDING,
}
"""Of the markets a strategy follows. Unread books, quotes and rates are coalesced to the newest per market; trades and bars are not."""
PRIVATE: dict[EventKind, Stream] = {
    EventKind.ORDER: Stream.ORDERS,
    EventKind.FILL: Stream.FILLS,
    EventKind.POSITION: Stream.POSITIONS,
    EventKind.LIQUIDATION: Stream.LIQUIDATIONS,
}
_COALESCED = frozenset({EventKind.BOOK, EventKind.BBO, EventKind.FUNDING})

Handler = Callable[[EventKind, Any], None]


class Timers:
    """Fires `on_timer` when wall time is there; of two that are due together the one that was set first fires first."""

    def __init__(self, clock: Clock, fire: Callable[[TimerEvent], None]) -> None:
        self._clock = clock
        self._fire = fire
        self._due: list[tuple[int, int, str, int]] = []
        self._set: dict[str, int] = {}
        self._order = itertools.count()
        self._changed = asyncio.Event()

    def set_timer(self, name: str, every_s: float) -> None:
        """Every `every_s` seconds from now; replaces what had that name. Moments that were slept through fire once, not each."""
        if every_s <= 0:
            raise ValueError(f"timer {name}: every_s must be positive")
        every_ns = round(every_s * NS_PER_S)
        self._add(name, self._clock.time_ns() + every_ns, every_ns)

    def set_time_alert(self, name: str, at_ns: int) -> None:
        """Once, at wall time `at_ns` (at once when that is past); replaces what had that name."""
        self._add(name, at_ns, 0)

    def cancel(self, name: str) -> None:
        """Nothing happens when there is none."""
        self._set.pop(name, None)

    @property
    def names(self) -> list[str]:
        return sorted(self._set)

    def _add(self, name: str, due_ns: int, every_ns: int) -> None:
        number = next(self._order)
        self._set[name] = number
        heapq.heappush(self._due, (due_ns, number, name, every_ns))
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._changed.clear()
            while self._due and self._set.get(self._due[0][2]) != self._due[0][1]:
                heapq.heappop(self._due)  # cancelled or set anew
            waiting: list[asyncio.Task[Any]] = [asyncio.create_task(self._changed.wait())]
            if self._due:
                waiting.append(asyncio.create_task(self._until(self._due[0][0])))
            try:
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in waiting:
                    task.cancel()
                await asyncio.gather(*waiting, return_exceptions=True)
            self._fire_due()

    async def _until(self, ts_ns: int) -> None:
        await self._clock.sleep_until_ns(ts_ns)

    def _fire_due(self) -> None:
        now_ns = self._clock.time_ns()
        while self._due and self._due[0][0] <= now_ns:
            due_ns, number, name, every_ns = heapq.heappop(self._due)
            if self._set.get(name) != number:
                continue
            if every_ns:
                missed = (now_ns - due_ns) // every_ns
                heapq.heappush(self._due, (due_ns + (missed + 1) * every_ns, number, name, every_ns))
            else:
                del self._set[name]
            self._fire(TimerEvent(name, due_ns, now_ns))


class DeadLetters:
    """Events whose handler raised: the newest in memory, all (up to a bound) in the journal."""

    def __init__(self, journal: AsyncJournal, clock: Clock, *, strategy: str, account: str, new_id: Callable[[int], str]) -> None:
        self._journal, self._clock, self._new_id = journal, clock, new_id
        self._strategy, self._account = strategy, account
        self._kept: deque[DeadLetterRecord] = deque(maxlen=KEEP_LETTERS)
        self._writing: set[asyncio.Task[None]] = set()
        self.count = 0

    def add(self, kind: EventKind, event: object, error: BaseException) -> DeadLetterRecord | None:
        """Keep it; None when nothing new can be numbered because the journal cannot be written (it is in the log then)."""
        self.count += 1
        log.error("event.failed strategy=%s kind=%s count=%d", self._strategy, kind, self.count, exc_info=error)
        now_ns = self._clock.time_ns()
        try:
            letter_id = self._new_id(now_ns)
        except JournalError:
            return None
        letter = DeadLetterRecord(
            letter_id=letter_id,
            strategy=self._strategy,
            account=self._account,
            kind=kind.value,
            event=msgspec.json.encode(event).decode(),
            error="".join(traceback.format_exception(error)),
            ts=now_ns,
        )
        self._kept.append(letter)
        if self.count <= MAX_LETTERS_WRITTEN:
            task = asyncio.create_task(self._write(letter))
            self._writing.add(task)
            task.add_done_callback(self._writing.discard)
        return letter

    async def _write(self, letter: DeadLetterRecord) -> None:
        try:
            await self._journal.write(letter, or_fallback=True)
        except JournalError as e:
            log.warning("dead_letter.not_written letter=%s reason=%s", letter.letter_id, e)

    def recent(self) -> list[DeadLetterRecord]:
        """Of this life, oldest first."""
        return list(self._kept)

    def find(self, letter_id: str) -> tuple[EventKind, Any]:
        """What happened then.

        Raises:
            LookupError: there is no such letter of this strategy and account.
        """
        kept = next((x for x in self._kept if x.letter_id == letter_id), None)
        if kept is None:
            written = self._journal.sync.dead_letters(self._strategy, self._account)
            kept = next((x for x in written if x.letter_id == letter_id), None)
        if kept is None:
            raise LookupError(f"there is no dead letter {letter_id} of {self._strategy} on {self._account}")
        kind = EventKind(kept.kind)
        return kind, msgspec.json.decode(kept.event, type=TYPES[kind])

    async def flush(self) -> None:
        """Until all are on disk or given up."""
        await asyncio.gather(*self._writing)


class EventFeed:
    """Brings the events of clients to a handler: one at a time, in the order in which the clients told them."""

    def __init__(self, clients: Mapping[str, BaseExchangeClient], clock: Clock, wanted: frozenset[EventKind], handle: Handler) -> None:
        self._clients, self._clock, self._wanted, self._handle = clients, clock, wanted, handle
        self._waiting: deque[tuple[EventKind, Any]] = deque()
        self._latest: dict[tuple[EventKind, Hashable], Any] = {}
        """The newest event of each market whose place is kept in the queue."""
        self._arrived = asyncio.Event()
        self._stops: list[Callable[[], None]] = []
        self._held: dict[tuple[str, str, str], list[Subscription | Callable[[], None]]] = {}
        self._last_gap: dict[str, Gap] = {}
        self._online: dict[str, bool] = {}
        self.dropped = 0

    # ---- what is heard

    def open(self) -> None:
        """Hear of the account on every venue, as far as anything is wanted."""
        for venue, client in self._clients.items():
            self._online[venue] = True  # one that is not is told as gone
            hub = client.context.hub
            for kind, stream in PRIVATE.items():
                heard = kind in self._wanted or (kind is EventKind.ORDER and EventKind.REJECTION in self._wanted)
                if heard or (kind is EventKind.FILL and self._wanted & {EventKind.GAP, EventKind.RESET}):
                    self._stops.append(hub.listen((stream, None, ""), self._listener(venue, kind)))

    def follow(self, venue: str, symbol: str, *, bars: str = "1m") -> None:
        """Market events of one market, as far as anything of it is wanted; a second time changes nothing.

        Raises:
            UnsupportedCapability: the venue has no such stream.
            UnknownInstrument: not listed there.
        """
        client = self._clients[venue]
        instrument = client.instruments.get(symbol)
        key = (venue, instrument.contract_id, bars)
        if key in self._held:
            return
        held: list[Subscription | Callable[[], None]] = []
        for kind, stream in MARKET.items():
            if kind in self._wanted:
                parameter = bars if kind is EventKind.BAR else ""
                # held open for the venue's sake only: what it tells is heard below, in the order of everything else
                held.append(client.ws_manager.watch(stream, instrument, parameter=parameter, coalesce=True, maxsize=100))
                held.append(client.context.hub.listen((stream, instrument.id, parameter), self._listener(venue, kind)))
        self._held[key] = held

    def unfollow(self, venue: str, symbol: str, *, bars: str = "1m") -> None:
        for part in self._held.pop((venue, self._clients[venue].instruments.get(symbol).contract_id, bars), ()):
            part.close() if isinstance(part, Subscription) else part()

    def close(self) -> None:
        """Hear nothing more."""
        for stop in self._stops:
            stop()
        self._stops.clear()
        for held in self._held.values():
            for part in held:
                part.close() if isinstance(part, Subscription) else part()
        self._held.clear()

    def _listener(self, venue: str, kind: EventKind) -> Callable[[Any], None]:
        def hear(event: Any) -> None:
            if isinstance(event, Gap):
                if self._last_gap.get(venue) is not event:  # one gap is told on every topic
                    self._last_gap[venue] = event
                    self.put(EventKind.GAP, event)
            elif kind is EventKind.ORDER and event.status is OrderStatus.REJECTED:
                self.put(EventKind.REJECTION, event)
            else:
                self.put(kind, event)

        return hear

    # ---- the queue

    def put(self, kind: EventKind, event: Any) -> None:
        """Last in the queue, if anybody wants it."""
        if kind not in self._wanted:
            return
        if kind in _COALESCED:
            known = (kind, event.instrument) in self._latest
            self._latest[kind, event.instrument] = event
            if known:
                return
            self._waiting.append((kind, event.instrument))
        elif len(self._waiting) >= MAX_WAITING:
            self._overflow()
        else:
            self._waiting.append((kind, event))
        self._arrived.set()

    def _overflow(self) -> None:
        self.dropped += len(self._waiting) + 1
        log.warning("events.overflow dropped=%d", self.dropped)
        self._waiting.clear()
        self._latest.clear()
        now_ns = self._clock.time_ns()
        for venue in self._clients:
            gap = Gap(venue=venue, topic="strategy", reason="the strategy does not keep up: events were dropped", ts_ns=now_ns)
            for kind, event in ((EventKind.GAP, gap), (EventKind.RESET, VenueEvent(venue, gap.reason, now_ns))):
                if kind in self._wanted:
                    self._waiting.append((kind, event))

    async def run(self) -> None:
        """Hand over, until cancelled. Between two events others get their turn."""
        while True:
            while self._waiting:
                kind, event = self._waiting.popleft()
                self._handle(kind, self._latest.pop((kind, event)) if kind in _COALESCED else event)
                await asyncio.sleep(0)
            self._arrived.clear()
            await self._arrived.wait()

    async def watch_venues(self) -> None:
        """Tell when a venue goes offline and when it is back, until cancelled."""
        while True:
            await self._clock.sleep(WATCH_VENUES_S)
            for venue, client in self._clients.items():
                now = online(client)
                if now is self._online[venue]:
                    continue
                self._online[venue] = now
                reason = "reconciled" if now else "its streams are down, or the account is not reconciled"
                event = VenueEvent(venue, reason, self._clock.time_ns())
                self.put(EventKind.VENUE_ONLINE if now else EventKind.VENUE_OFFLINE, event)
                if now:
                    self.put(EventKind.RESET, VenueEvent(venue, "it was offline", event.ts_ns))


def online(client: BaseExchangeClient) -> bool:
    """Streams are up and, where there is an account, it is reconciled."""
    return client.is_connected and (client.context.signer is None or client.context.entries_allowed)
