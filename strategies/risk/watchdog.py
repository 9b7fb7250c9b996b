"""The watchdog: acts for a bot that has fallen silent, from another process and with a key of its own.

It does what the bot itself would do after a crash, and less: the rules of recovery run over a copy of the journal, with entries blocked.
Working entry orders come off, the larger leg of an unbalanced pair is reduced to the smaller by what its own fills and the venue prove;
nothing is added, nothing that is not ours is touched, a pair that is hedged is left alone, and so is one in ALERT. Every order is on disk
(`watchdog.jsonl`) before it is sent; the bot takes that into its journal when it comes back. It acts with keys of the bot's own
accounts only: with others it would find nothing held on one venue and reduce the other leg.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from database.journal import Journal, Record
from database.records import HoldingState, IntentRecord, IntentState, Leg, PairRecord, PairState, StateRecord
from exchange_clients.errors import VenueError
from exchange_clients.transport.runtime import Runtime
from strategies.execution.desk import Desk
from strategies.execution.engine import ExecutionEngine
from strategies.execution.guard import OrderCheck
from strategies.execution.journaling import Observer, nobody
from strategies.execution.ownership import COUNTER

from . import takeover
from .fence import Beat, Fence, Heartbeat, heartbeats
from .identity import WrongAccount, require_known, require_same

if TYPE_CHECKING:
    from exchange_clients.base_client import BaseExchangeClient

log = logging.getLogger("strategies.risk")

SILENCE_S = 30.0
LOOK_S = 1.0
HANDOVER_S = 2.0
"""Between taking the fence and the last look at the beat: longer than a living bot takes to see the fence."""
WATCH_S = 0.25
AGAIN_S = 60.0
"""As long as the bot stays silent everything is proved again this often: what was hedged may be liquidated."""
RETRY_S = 10.0
"""After an attempt that came to nothing: while it tries, nobody of the state folder enters."""
OPEN_PAIRS = tuple(state for state in PairState if state is not PairState.CLOSED)
OPEN_HOLDINGS = tuple(state for state in HoldingState if state is not HoldingState.CLOSED)

OpenClients = Callable[[str, set[str]], AbstractAsyncContextManager[Mapping[str, "BaseExchangeClient"]]]
"""(account of the bot, venues) -> connected clients of these, for as long as the watchdog acts."""


class Withdrawn(Exception):
    """The bot is back, or what is done cannot be written down: nothing more is sent."""


class NoEntries:
    """The watchdog's guard: it never adds."""

    def entry_block(self, *venues: str) -> str | None:
        """Never."""
        return "a watchdog enters nothing"

    async def admit(self, *legs: OrderCheck) -> str | None:
        """Never."""
        return self.entry_block()

    def order_block(self, order: OrderCheck) -> str | None:
        """Never."""
        return self.entry_block()


class Scratch(Journal):
    """A copy in memory that the engine writes to. Before an order of the watchdog is sent it is on disk, and the bot is still silent."""

    folder: Path
    silent: Callable[[], bool]
    theirs: frozenset[str] = frozenset()

    def write(self, *records: Record, or_fallback: bool = False) -> tuple[bool, ...]:
        for record in records:
            if isinstance(record, IntentRecord) and record.intent_id not in self.theirs:
                if record.state is IntentState.PREPARED and not self.silent():
                    raise Withdrawn("the bot is back")
                try:
                    takeover.record(self.folder, record)
                except OSError as e:
                    raise Withdrawn(f"what the watchdog does cannot be recorded: {e}") from e
        return super().write(*records, or_fallback=or_fallback)


class Watchdog:
    """Over one state folder. `read` opens the bots' journal for reading; it is closed again at once."""

    def __init__(
        self,
        folder: Path,
        read: Callable[[], Journal],
        clients: OpenClients,
        runtime: Runtime,
        *,
        silence_s: float = SILENCE_S,
        observer: Observer = nobody,
    ) -> None:
        self._folder, self._read, self._clients, self._runtime = folder, read, clients, runtime
        self._silence_s, self._observer = silence_s, observer
        self._fence = Fence(folder)
        self.refused: dict[tuple[str, str], str] = {}
        """Bots that it could not act for when it last tried: its keys are of other accounts, or theirs are not known."""
        self._done_s: dict[tuple[str, str], float] = {}
        self._seen: dict[tuple[str, str], tuple[int, float]] = {}

    async def run(self) -> None:
        """Watch until canceled. What fails is logged and tried again."""
        while True:
            await self._runtime.clock.sleep(LOOK_S)
            try:
                await self.look()
            except Exception:
                log.exception("watchdog.failed")

    async def look(self, *, again: bool = False) -> list[str]:
        """Act for every bot that is silent; what was done, in words. `again`: also where that was done a moment ago."""
        told: list[str] = []
        for heart in heartbeats(self._folder):
            beat = heart.read()
            if beat is None or self._silent_s(beat) < self._silence_s:
                self._done_s.pop((heart.strategy, heart.account), None)
                self.refused.pop((heart.strategy, heart.account), None)
                continue
            done_s = self._done_s.get((beat.strategy, beat.account))
            if again or done_s is None or self._runtime.clock.monotonic() - done_s >= AGAIN_S:
                told += await self._act_for(heart, beat)
        return told

    def _silent_s(self, beat: Beat) -> float:
        """Since the beat last changed, by our own clock: the bot's may be another machine's. At first sight its own time has to do."""
        now_s, key = self._runtime.clock.monotonic(), (beat.strategy, beat.account)
        seen = self._seen.get(key)
        if seen is None or seen[0] != beat.at:
            since_s = now_s - (beat.silent_s(self._runtime.clock.time_ns()) if seen is None else 0.0)
            seen = self._seen[key] = (beat.at, since_s)
        return 0.0 if beat.ended else now_s - seen[1]

    async def _act_for(self, heart: Heartbeat, beat: Beat) -> list[str]:
        """From the fence to the end of the fence."""
        name, clock = f"{beat.strategy}:{beat.account}", self._runtime.clock
        silent_s = self._silent_s(beat)

        def still_silent() -> bool:
            found = heart.read()
            return found is not None and found.at == beat.at and not found.ended

        venues = self._concerned(beat)
        if not venues:
            self._done_s[beat.strategy, beat.account] = clock.monotonic()
            return []
        try:
            require_known(name, beat.accounts, venues)
        except WrongAccount as e:
            return [self._refuse(beat, e)]
        if not self._fence.take(f"{name} is silent for {silent_s:.0f} s"):
            return [f"{name}: another watchdog acts"]
        self._done_s[beat.strategy, beat.account] = clock.monotonic() - AGAIN_S + RETRY_S
        try:
            await clock.sleep(HANDOVER_S)
            if not still_silent():
                return [f"{name} is back; nothing was done"]
            self._say("watchdog.acts", "", strategy=beat.strategy, account=beat.account, silent_s=silent_s)
            told = await self._recover(heart, beat, venues, still_silent)
            self._done_s[beat.strategy, beat.account] = clock.monotonic()
            self.refused.pop((beat.strategy, beat.account), None)
        except WrongAccount as e:
            told = [self._refuse(beat, e)]
        except VenueError as e:
            told = [f"{name}: {e}; tried again"]
            log.warning("watchdog.venue_failed bot=%s reason=%s", name, e)
        finally:
            self._fence.drop()
        return told

    def _refuse(self, beat: Beat, why: WrongAccount) -> str:
        """Said again each time it would have acted; nothing changes before somebody gives it other keys."""
        self._done_s[beat.strategy, beat.account] = self._runtime.clock.monotonic()
        told = f"{beat.strategy}:{beat.account} is silent, and nothing was done: {why}"
        log.error("watchdog.refused bot=%s:%s reason=%s", beat.strategy, beat.account, why)
        self._observer("watchdog.refused", "", strategy=beat.strategy, account=beat.account, reason=str(why))
        self.refused[beat.strategy, beat.account] = told
        return told

    def _concerned(self, beat: Beat) -> set[str]:
        """Venues on which the bot may have something."""
        journal = self._read()
        try:
            pairs = [p for p in journal.pairs(*OPEN_PAIRS) if (p.strategy, p.account) == (beat.strategy, beat.account)]
            held = [h for h in journal.holdings(*OPEN_HOLDINGS) if (h.strategy, h.account) == (beat.strategy, beat.account)]
        finally:
            journal.close()
        return {pair.venue(leg) for pair in pairs for leg in Leg} | {holding.venue for holding in held}

    async def _recover(self, heart: Heartbeat, beat: Beat, venues: set[str], still_silent: Callable[[], bool]) -> list[str]:
        """Bring the bot's pairs to hedged, flat or a proved wait; stop at once when it is back."""
        async with self._clients(beat.account, venues) as clients:
            require_same(heart, beat.accounts, clients)
            scratch = self._copy(beat.account, still_silent)
            engine = ExecutionEngine(
                scratch, clients, self._runtime, strategy=beat.strategy, account=beat.account, observer=self._say, guard=NoEntries()
            )
            desk = Desk.beside(engine, self._runtime, observer=self._say)
            working = asyncio.create_task(self._work(engine, desk), name="watchdog:work")
            try:
                while not working.done() and still_silent():
                    await asyncio.wait({working}, timeout=WATCH_S)
                if working.done():
                    working.result()
                else:
                    log.info("watchdog.withdraws bot=%s:%s", beat.strategy, beat.account)
            finally:
                working.cancel()
                await asyncio.gather(working, return_exceptions=True)
                await desk.drop()
                states = await engine.stop(grace_s=0.0)
                scratch.close()
        back = "" if still_silent() else " (the bot is back)"
        return [f"{pair_id}: {state}{back}" for pair_id, state in states.items()] or [
            f"entry orders of {beat.strategy}:{beat.account} are off"
        ]

    async def _work(self, engine: ExecutionEngine, desk: Desk) -> None:
        """Until every pair is at rest and no entry order of a holding works any more."""
        await engine.start()
        await desk.start()
        desk.wake()
        await asyncio.gather(*(runner.until_rest() for runner in engine.pairs.values()))
        while any(not order.intent.reduce_only for held in desk.holdings.values() for order in held.orders(live=True)):
            desk.wake()
            await self._runtime.clock.sleep(WATCH_S)

    def _copy(self, account: str, still_silent: Callable[[], bool]) -> Scratch:
        """Everything open on the account, whoever's it is: whose a position is takes all shares to know.

        A decided exit is not gone on with: a pair that was closing is only balanced.
        """
        journal = self._read()
        try:
            pairs = [_balanced_only(p) for p in journal.pairs(*OPEN_PAIRS) if p.account == account]
            held = [h for h in journal.holdings(*OPEN_HOLDINGS) if h.account == account]
            owners = [*(p.pair_id for p in pairs), *(h.holding_id for h in held)]
            intents = [intent for owner in owners for intent in journal.intents(owner)]
            orders = [order for owner in owners for order in journal.orders(owner)]
            fills = [fill for owner in owners for fill in journal.fills(owner)]
        finally:
            journal.close()
        known = {intent.intent_id for intent in intents}
        intents += [intent for intent in takeover.read(self._folder) if intent.pair_id in owners and intent.intent_id not in known]
        now_ns = self._runtime.clock.time_ns()
        above = StateRecord(strategy="ids", account="", key=COUNTER, version=1, value=str(now_ns // 1_000), updated_at=now_ns)
        scratch = Scratch.open("sqlite:///:memory:")
        assert isinstance(scratch, Scratch)
        scratch.folder, scratch.silent, scratch.theirs = self._folder, still_silent, frozenset(known)
        Journal.write(scratch, above, *pairs, *held, *intents, *orders, *fills)
        return scratch

    def _say(self, event: str, pair_id: str, **facts: object) -> None:
        if event.startswith(("watchdog.", "order.", "pair.", "holding.", "recovery.")):
            log.info("%s pair=%s %s", event, pair_id, " ".join(f"{name}={value}" for name, value in facts.items()))
        self._observer(event, pair_id, **facts)


def _balanced_only(pair: PairRecord) -> PairRecord:
    """As recovery finds it, without its wish to close."""
    return msgspec.structs.replace(pair, state=PairState.REPAIRING) if pair.state is PairState.CLOSING else pair
