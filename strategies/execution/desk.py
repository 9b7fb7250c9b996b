"""The order desk: all holdings of one strategy on one account, and the gates before anything is added."""

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from database.errors import JournalError
from database.ids import DurableIds
from database.records import DecisionRecord, HoldingRecord, HoldingState, Leg
from exchange_clients.model import Fill, Instrument, OrderInfo
from exchange_clients.transport.runtime import Runtime

from .emulated.emulator import Emulator
from .engine import ExecutionEngine
from .feeds import Feeds
from .guard import NO_GUARD, Guard
from .holding import Holding
from .journaling import AsyncJournal, Observer, guarded, nobody
from .market import SharedMarket
from .ownership import Ownership
from .plan import ExecutionLimits
from .ticket import DeskOrder, Ticket, TicketRefused
from .together import together

if TYPE_CHECKING:
    from exchange_clients.base_client import BaseExchangeClient

__all__ = ["Desk", "DeskOrder", "Holding", "HoldingPlan", "Ticket", "TicketRefused"]

log = logging.getLogger("strategies.execution")

CHECK_S = 30.0
SUSPECT_S = 1.0
SHUTDOWN_S = 5.0
UNFINISHED = tuple(state for state in HoldingState if state is not HoldingState.CLOSED)


class HoldingPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Journaled with a holding. `sign`: +1 long only, -1 short only, 0 either. `listing` is the market as it was; `text` is the owner's."""

    sign: int
    listing: Instrument
    limits: ExecutionLimits
    text: str = ""


class Desk:
    """Opens holdings, restores them after a crash, and keeps their account true. Start it before use (E10).

    `clients` by venue name, connected by the caller; `journal`, `ids` and `ownership` are those of the engine beside it.
    """

    def __init__(
        self,
        journal: AsyncJournal,
        clients: Mapping[str, "BaseExchangeClient"],
        runtime: Runtime,
        *,
        strategy: str,
        account: str,
        ids: DurableIds,
        ownership: Ownership,
        guard: Guard = NO_GUARD,
        observer: Observer = nobody,
        check_s: float = CHECK_S,
    ) -> None:
        self.strategy, self.account, self.guard, self.ownership = strategy, account, guard, ownership
        self.clients, self.clock, self.journal, self.ids = dict(clients), runtime.clock, journal, ids
        self.barred: Mapping[str, str] = {}
        """Venue -> why nothing may be added there, as long as whoever connects the clients says so."""
        self.holdings: dict[str, Holding] = {}
        self.emulated = Emulator(self)
        """Brackets, OCO, trailing stops and icebergs over these holdings; restored with them."""
        self._observer, self._check_s = guarded(observer), check_s
        self.feeds = Feeds(
            self.clients, self.clock, name="desk", take_fill=self._take_fill, take_order=self._take_order, reconcile=self._reconcile
        )
        self._watching: asyncio.Task[None] | None = None
        self._opening = asyncio.Lock()
        self._stopping = False

    @classmethod
    def beside(cls, engine: ExecutionEngine, runtime: Runtime, *, observer: Observer = nobody, check_s: float = CHECK_S) -> "Desk":
        """The desk of an engine's strategy and account, over the same journal, clients, counter, guard and ownership."""
        return cls(
            engine.journal,
            engine.clients,
            runtime,
            strategy=engine.strategy,
            account=engine.account,
            ids=engine.ids,
            ownership=engine.ownership,
            guard=engine.guard,
            observer=observer,
            check_s=check_s,
        )

    # ---- life

    async def start(self) -> None:
        """Follow the venues' events, take over unfinished holdings, and try once to prove each; what is not proved goes on being tried."""
        self.feeds.start()
        for record in self.journal.sync.holdings(*UNFINISHED):
            if record.strategy == self.strategy and record.account == self.account and record.venue in self.clients:
                await self._restore(record)
        await self.feeds.prove()
        await self.emulated.start()
        self._watching = asyncio.create_task(self._watch(), name="desk:watch")
        self.feeds.go_on()

    async def _restore(self, record: HoldingRecord) -> None:
        plan = msgspec.json.decode(record.plan, type=HoldingPlan)
        client = self.clients[record.venue]
        holding = self._holding(record, plan, client.instruments.remember(plan.listing))
        share = holding.share
        if not share.intents:  # else the market has read them already, when it was rebuilt
            sync = self.journal.sync
            share.restore(sync.intents(record.holding_id), sync.orders(record.holding_id), sync.fills(record.holding_id))
        holding.restore(list(share.intents.values()), (), list(share.fills.values()))
        self._observer("recovery.begins", record.holding_id, state=record.state.value)

    async def stop(self, grace_s: float = SHUTDOWN_S) -> dict[str, HoldingState]:
        """Take off what adds, let it find its end for `grace_s`, then stop; the state each holding is left in (E35). Orders that only
        reduce (take-profits, stops) stay at the venues."""
        self._stopping = True
        await self.emulated.stop()
        held = list(self.holdings.values())
        try:
            async with asyncio.timeout(grace_s):
                await asyncio.gather(*(h.cancel_all(adding_only=True) for h in held))
        except TimeoutError:
            log.warning("desk.stopped_busy holdings=%s", [h.holding_id for h in held if h.orders(live=True)])
        await self.drop()
        return {h.holding_id: h.state for h in held}

    async def drop(self) -> None:
        """End all tasks; every order stays as it is."""
        self._stopping = True
        await self.emulated.drop()
        tasks = [] if self._watching is None else [self._watching]
        for task in tasks:
            task.cancel()
        await asyncio.gather(self.feeds.stop(), *tasks, *(h.drop() for h in self.holdings.values()), return_exceptions=True)

    # ---- gates

    def entry_block(self, *venues: str) -> str | None:
        """Why nothing may be added now on these venues (none given: all), or None."""
        if self._stopping:
            return "the desk is stopping"
        if self.journal.degraded:
            return "the journal cannot be written; records are in the fallback file"
        for venue in venues or self.clients:
            if venue in self.barred:
                return f"{venue}: {self.barred[venue]}"
            if venue in self.feeds.unproved:
                return f"{venue}: {self.feeds.unproved[venue]}"
        return self.guard.entry_block(*venues)

    def wake(self) -> None:
        """The guard may have changed its mind: where it wants no entries, orders that add come off the book. Nothing is placed again."""
        for holding in self.holdings.values():
            if self.guard.entry_block(holding.record.venue) is not None:
                holding.withdraw_entries()

    # ---- holdings

    def find(self, instrument: str) -> Holding | None:
        """The holding of this desk in a market that is not closed, if there is one (after a restart too)."""
        return next((h for h in self.holdings.values() if h.record.instrument == instrument and h.state is not HoldingState.CLOSED), None)

    async def open_holding(
        self,
        instrument: str,
        plan: str = "",
        *,
        sign: int = 0,
        reason: str = "",
        limits: ExecutionLimits | None = None,
        decision: DecisionRecord | None = None,
    ) -> Holding:
        """A new holding in a market, journaled with what the account holds there already; nothing is sent.

        Args:
            instrument: as the text of its InstrumentId.
            plan: the owner's own words, for himself.
            sign: +1 for one that is only ever long, -1 only short, 0 either way (then nobody else may be in that market).
            decision: why; written in the same transaction, as one about this holding.

        Raises:
            TicketRefused: a gate is closed, somebody else of ours or a foreign position stands against it, or the market is inverse.
            JournalError: it cannot be recorded.
            VenueError: the venue could not be asked.
        """
        async with self._opening:
            venue = instrument.rpartition(".")[2]
            if venue not in self.clients:
                raise TicketRefused("venue", f"{venue!r} of {instrument} is not one of {', '.join(self.clients)}")
            block = self.entry_block(venue)
            if block is not None:
                raise TicketRefused("entry_block", block)
            listing = await self.clients[venue].instruments.load(instrument)
            if listing.id.inverse:
                raise TicketRefused("inverse", f"{listing.id} is inverse: its quantity is in quote currency, not base units")
            market = self._market(listing)
            if not await market.prove():
                raise TicketRefused("position", f"the position in {instrument} is not explained yet; try again in a minute")
            now_ns = self.clock.time_ns()
            holding_id = f"h{self.ids.next(now_ns)}"
            conflict = market.conflict(holding_id, sign)
            if conflict is not None:
                raise TicketRefused("ownership", conflict)
            kept = HoldingPlan(sign=sign, listing=listing, limits=limits or ExecutionLimits(), text=plan)
            record = HoldingRecord(
                holding_id=holding_id,
                strategy=self.strategy,
                account=self.account,
                venue=venue,
                instrument=str(listing.id),
                foreign_quantity=market.foreign,
                state=HoldingState.OPEN,
                plan=msgspec.json.encode(kept).decode(),
                reason=reason,
                created_at=now_ns,
                updated_at=now_ns,
            )
            holding = self._holding(record, kept, listing)
            try:
                why = () if decision is None else (msgspec.structs.replace(decision, pair_id=holding_id),)
                await self.journal.write(record, *why, pair_id=holding_id)
            except BaseException:
                del self.holdings[holding_id]
                market.leave(holding.share)
                raise
            return holding

    async def close(self, holding_id: str, reason: str, decision: DecisionRecord | None = None) -> HoldingRecord:
        """Close a holding whatever triggered it; the decision is durable before anything is sent (E19). See `Holding.close`."""
        if decision is not None:
            try:
                await self.journal.write(decision, pair_id=holding_id, or_fallback=True)
            except JournalError as e:
                log.error("journal.lost holding=%s decision=%s error=%s", holding_id, decision.rule, e)
        return await self.holdings[holding_id].close(reason)

    async def resume(self, holding_id: str) -> HoldingRecord:
        """The operator has looked at a holding in ALERT: open again once the venue agrees with our account of it.

        Raises:
            ValueError: it is not in ALERT, or the venue does not agree.
        """
        holding = self.holdings[holding_id]
        if holding.state is not HoldingState.ALERT or not await holding.check():
            raise ValueError(f"holding {holding_id} is {holding.state}, and its venue must agree with our account before it goes on")
        await holding.move(HoldingState.OPEN, "resumed by the operator")
        return holding.record

    def _market(self, listing: Instrument) -> SharedMarket:
        client = self.clients[listing.id.venue]
        return self.ownership.market(self.account, client, listing, journal=self.journal, clock=self.clock)

    def _holding(self, record: HoldingRecord, plan: HoldingPlan, listing: Instrument) -> Holding:
        market = self._market(listing)
        share = market.join(
            record.holding_id,
            Leg.LONG,
            sign=plan.sign,
            created_ns=record.created_at,
            observer=self._observer,
            on_change=lambda: None,
            journal=self.journal,
        )
        holding = Holding(
            record,
            self.clients[record.venue],
            listing,
            market,
            share,
            journal=self.journal,
            ids=self.ids,
            clock=self.clock,
            limits=plan.limits,
            guard=self.guard,
            gate=lambda h: self.entry_block(h.record.venue),
        )
        self.holdings[record.holding_id] = holding
        return holding

    # ---- events and proof

    async def _take_fill(self, fill: Fill) -> None:
        await self.ownership.take_fill(self.account, fill)

    def _take_order(self, venue: str, order: OrderInfo) -> None:
        for holding in list(self.holdings.values()):
            if holding.record.venue == venue:
                holding.share.wake(order.client_order_id)

    async def _reconcile(self, venues: frozenset[str]) -> set[str]:
        """Reconcile the holdings of these venues, all venues at once; returns those where one does not agree."""
        asked = sorted(venues)
        agreed = await together(*map(self._agrees, asked))
        return {venue for venue, good in zip(asked, agreed, strict=True) if not good}

    async def _agrees(self, venue: str) -> bool:
        held = [h for h in self.holdings.values() if h.record.venue == venue and h.state is not HoldingState.CLOSED]
        return self.clients[venue].is_connected and all([await self._prove_one(h) for h in held])

    async def _prove_one(self, holding: Holding) -> bool:
        good = await holding.check()
        if good and not holding.recovered:
            holding.recovered = True
            self._observer("recovery.proved", holding.holding_id, state=holding.state.value, own=holding.own)
            if holding.state is HoldingState.CLOSING:
                holding.resume_close()
        return good

    async def _watch(self) -> None:
        """Now and then, and at once where something speaks for it, prove that the venues still agree (PAINS 6)."""
        next_s: dict[str, float] = {}
        while True:
            await self.clock.sleep(min(SUSPECT_S, self._check_s))
            now = self.clock.monotonic()
            for holding in list(self.holdings.values()):
                if holding.state is HoldingState.CLOSED or not holding.recovered:
                    continue
                if holding.suspect or holding.share.changed or now >= next_s.setdefault(holding.holding_id, now + self._check_s):
                    holding.share.changed = False
                    next_s[holding.holding_id] = now + (self._check_s if await holding.check() else SUSPECT_S)
