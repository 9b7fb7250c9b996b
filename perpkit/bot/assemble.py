"""Puts bots together over given clients, journal and runtime: what `run`, the demo, backtests and tests all use.

    async with assembled([config], {"main": clients}, journal, runtime, environment="demo") as bots:
        await bots.run()

Order of the start: clients connect as far as their venues answer, engines recover what the journal says, strategies initialize.
Order of the stop: no new cycles, resting entries come off, every pair is left in a declared state, which is logged and written to
`strategy_runs`; clients go last.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from database.errors import JournalError
from database.journal import Journal
from database.records import ConfigRecord, RunRecord
from exchange_clients.base_client import BaseExchangeClient
from exchange_clients.errors import VenueError
from exchange_clients.transport.runtime import Runtime
from perpkit.bot.closing import open_owners
from perpkit.bot.config import BotConfig, InvalidConfig
from perpkit.bot.connecting import RETRY_S, Check, Connection, Connections, is_outage, nothing_forbids
from strategies.base_strategy import BaseStrategy, StrategyContext
from strategies.execution.desk import Desk
from strategies.execution.engine import CHECK_S, SHUTDOWN_S, ExecutionEngine
from strategies.execution.journaling import AsyncJournal, Observer, nobody
from strategies.execution.ledger.owners import Owner, markets, owner_id
from strategies.execution.ownership import Ownership
from strategies.risk import RiskEngine, tee

log = logging.getLogger("perpkit.bot")

Clients = Mapping[str, Mapping[str, BaseExchangeClient]]
"""Account -> venue -> client."""
ENDINGS = {"closed": "flat", "hedged": "hedged hold", "open": "held", "alert": "alert"}
"""The states a pair or (open) a holding may be left in (E35); whatever else is found at the end is told as unsettled."""
CALM = ("flat", "hedged hold", "held")
DECLARED = (*CALM, "alert")
CYCLE_GRACE_S = 1.0
"""A cycle that is still busy this long after its engine has stopped is cut short."""


@dataclass(slots=True)
class Bot:
    """One strategy with what it needs."""

    config: BotConfig
    clients: Mapping[str, BaseExchangeClient]
    engine: ExecutionEngine
    desk: Desk
    risk: RiskEngine
    strategy: BaseStrategy[Any]
    run: RunRecord
    initialized: bool = False
    endings: dict[str, str] = field(default_factory=dict)
    """Pair or holding -> the state it was left in; filled by the stop."""

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def left_unsettled(self) -> bool:
        """Something was neither hedged nor flat at the end."""
        return any(ending not in CALM for ending in self.endings.values())


class Bots:
    """All bots of a process."""

    def __init__(self, bots: Sequence[Bot], journal: Journal, runtime: Runtime, ownership: Ownership, environment: str) -> None:
        self.all = tuple(bots)
        self.journal = journal
        self.runtime = runtime
        self.ownership = ownership
        self.environment = environment
        self._stopping = asyncio.Event()
        self._cycles: list[asyncio.Task[None]] = []
        self._beating: asyncio.Task[None] | None = None
        self._stopped = False

    def __iter__(self) -> Iterator[Bot]:
        return iter(self.all)

    def __getitem__(self, name: str) -> Bot:
        """By `strategy:account`."""
        return next(bot for bot in self.all if bot.name == name)

    async def run(self) -> None:
        """Cycles of all strategies until `ask_to_stop`. A strategy that ends by itself lets the others go on.

        Raises:
            Exception: a strategy could not go on; the others are stopped too.
        """
        self._cycles = [asyncio.create_task(self._live(bot), name=f"strategy:{bot.name}") for bot in self.all]
        asked = asyncio.create_task(self._stopping.wait())
        try:
            waiting: set[asyncio.Task[Any]] = {asked, *self._cycles}
            while waiting - {asked} and not asked.done():
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done - {asked}:
                    task.result()
        finally:
            asked.cancel()

    async def _live(self, bot: Bot) -> None:
        while not bot.initialized:
            await self.runtime.clock.sleep(RETRY_S[1])
            await self.initialize(bot, patient=True)
        await bot.strategy.start()

    async def initialize(self, bot: Bot, *, patient: bool) -> None:
        """`patient`: a strategy that cannot begin while a venue does not answer is asked again; what is open is looked after meanwhile."""
        try:
            await bot.strategy.initialize()
        except VenueError as e:
            if not (patient and is_outage(e)):
                raise
            log.warning("strategy.waits bot=%s reason=%s", bot.name, e)
            return
        bot.initialized = True

    def ask_to_stop(self) -> None:
        """`run` returns; what follows is the stop."""
        self._stopping.set()

    def beat(self, every_s: float) -> None:
        """Write a sign of life into every run."""
        self._beating = asyncio.create_task(self._beat(every_s), name="heartbeat")

    async def _beat(self, every_s: float) -> None:
        while True:
            await self.runtime.clock.sleep(every_s)
            for bot in self.all:
                bot.run = msgspec.structs.replace(bot.run, heartbeat_at=self.runtime.clock.time_ns())
                try:
                    await bot.engine.journal.write(bot.run)
                except JournalError as e:
                    log.warning("heartbeat.lost bot=%s reason=%s", bot.name, e)

    async def stop(self, grace_s: float = SHUTDOWN_S) -> None:
        """The declared end; a second call does nothing."""
        if self._stopped:
            return
        self._stopped = True
        self._stopping.set()
        for bot in self.all:
            await bot.strategy.stop()
        await asyncio.gather(*(self._stop_one(bot, grace_s) for bot in self.all))
        await self._end_cycles()
        for bot in self.all:
            try:
                await bot.strategy.cleanup()
            except Exception:
                log.exception("cleanup.failed bot=%s", bot.name)
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)
        for bot in self.all:
            self._declare(bot)

    async def _stop_one(self, bot: Bot, grace_s: float) -> None:
        holdings, pairs = await asyncio.gather(bot.desk.stop(grace_s), bot.engine.stop(grace_s))
        states = {**pairs, **holdings}
        unproved = {owner_id(o): f"unsettled ({o.state}, not proved)" for o in self._left_open(bot) if owner_id(o) not in states}
        bot.endings = {**unproved, **{owner: ENDINGS.get(state.value, f"unsettled ({state})") for owner, state in states.items()}}
        for name, holding in bot.desk.holdings.items():
            if bot.endings.get(name) == "held" and not holding.own and not holding.orders(live=True):
                bot.endings[name] = "flat"
        await bot.risk.stop(ended=all(ending in DECLARED for ending in bot.endings.values()))

    def _left_open(self, bot: Bot) -> list[Owner]:
        """By the journal: what an earlier run left is there before the engine has looked at it."""
        try:
            return [o for o in open_owners(self.journal) if (o.strategy, o.account) == (bot.config.strategy, bot.config.account)]
        except JournalError as e:
            log.error("journal.unread bot=%s reason=%s", bot.name, e)
            return []

    async def _end_cycles(self) -> None:
        running = [task for task in self._cycles if not task.done()]
        if running:
            _, late = await asyncio.wait(running, timeout=CYCLE_GRACE_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _declare(self, bot: Bot) -> None:
        """Synchronously, as the last word: also when the loop is about to go."""
        for pair_id, ending in bot.endings.items():
            if ending != "flat":
                log.info("pair.left bot=%s pair=%s state=%s", bot.name, pair_id, ending)
        now_ns = self.runtime.clock.time_ns()
        left = "; ".join(f"{pair_id}: {ending}" for pair_id, ending in bot.endings.items() if ending != "flat") or "flat"
        bot.run = msgspec.structs.replace(bot.run, heartbeat_at=now_ns, ended_at=now_ns, ending=left)
        try:
            self.journal.write(bot.run, or_fallback=True)
        except JournalError as e:
            log.error("run.ending_lost bot=%s ending=%s reason=%s", bot.name, left, e)


@asynccontextmanager
async def assembled(
    configs: Sequence[BotConfig],
    clients: Clients,
    journal: Journal,
    runtime: Runtime,
    *,
    environment: str,
    observer: Observer = nobody,
    engine_class: Callable[..., ExecutionEngine] = ExecutionEngine,
    heartbeat_s: float | None = None,
    folder: Path | None = None,
    check_s: float = CHECK_S,
    check: Check = nothing_forbids,
) -> AsyncIterator[Bots]:
    """Bots that are started but do not cycle yet (`Bots.run`); stopped in order when the block ends, whatever ended it.

    Clients that are not connected are connected here and disconnected at the end; connected ones stay as they are. The journal stays open.
    One whose venue does not answer is tried again in the background, and nothing is entered there; `check` is asked once it is connected.
    `folder` is the state folder with halt, fence and heartbeats of the risk engine; None where no other process can be (backtests).
    `check_s`: how often what is held is compared with its venues.

    Raises:
        InvalidConfig: two bots that could not be told apart, a venue without a client, or something open on a venue that is not there.
        NotAllowed: `check` says no.
        VenueError: keys or configuration are wrong, or no venue answers.
    """
    _check(configs, clients)
    check_open(configs, journal)
    async with AsyncExitStack() as stack:
        connections = Connections(_needed(configs, clients), runtime.clock, observer, check)
        stack.push_async_callback(connections.close)
        await connections.open()
        ownership = Ownership(journal)
        bots = [
            _build(config, clients[config.account], journal, runtime, ownership, environment, observer, engine_class, folder, check_s)
            for config in configs
        ]
        for bot in bots:
            bot.engine.barred = bot.desk.barred = connections.barred[bot.config.account]
        together = Bots(bots, journal, runtime, ownership, environment)
        stack.push_async_callback(together.stop)
        for bot in bots:
            journal.write(ConfigRecord.of(bot.run), bot.run)
        for bot in bots:
            await bot.risk.start()
        for bot in bots:
            await bot.engine.start()
            await bot.desk.start()
        for bot in bots:
            bot.strategy.restore_configs()
            await together.initialize(bot, patient=bool(bot.engine.barred.keys() & bot.clients.keys()))
        if heartbeat_s is not None:
            together.beat(heartbeat_s)
        yield together


def _build(
    config: BotConfig,
    clients: Mapping[str, BaseExchangeClient],
    journal: Journal,
    runtime: Runtime,
    ownership: Ownership,
    environment: str,
    observer: Observer,
    engine_class: Callable[..., ExecutionEngine],
    folder: Path | None,
    check_s: float,
) -> Bot:
    own = {venue: clients[venue] for venue in config.venues}
    names: dict[str, Any] = {"strategy": config.strategy, "account": config.account}
    risk = RiskEngine(
        config.risk,
        own,
        runtime,
        journal=AsyncJournal(journal, runtime.offload, observer),
        folder=folder,
        watched=environment == "live",
        observer=observer,
        **names,
    )
    watching = tee(risk.observe, observer)
    engine = engine_class(journal, own, runtime, observer=watching, guard=risk, ownership=ownership, check_s=check_s, **names)
    desk = Desk.beside(engine, runtime, observer=watching, check_s=check_s)
    risk.attach(engine=engine, desk=desk)
    context = StrategyContext(clients=own, engine=engine, journal=engine.journal, clock=runtime.clock, account=config.account, desk=desk)
    strategy = config.strategy_class(config.strategy_config, context)
    now_ns = runtime.clock.time_ns()
    run = RunRecord(
        run_id=f"r{engine.ids.next(now_ns)}",
        strategy=config.strategy,
        account=config.account,
        environment=environment,
        config=config.record,
        started_at=now_ns,
        heartbeat_at=now_ns,
    )
    return Bot(config, own, engine, desk, risk, strategy, run)


def _check(configs: Sequence[BotConfig], clients: Clients) -> None:
    names = [config.name for config in configs]
    problems = [
        f"{names.count(name)} bots are {name}, and the journal could not tell them apart: give one another account name"
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]
    for config in configs:
        missing = [venue for venue in config.venues if venue not in clients.get(config.account, {})]
        problems += [f"{config.name}: no client for {venue} on account {config.account}" for venue in missing]
    if problems:
        raise InvalidConfig(problems)


def check_open(configs: Sequence[BotConfig], journal: Journal) -> None:
    """A leg on a venue that its bot does not know any more would be managed by nobody.

    Raises:
        InvalidConfig: there is one; says which, and what to do.
    """
    problems = [
        f"{config.name}: {owner_id(owner)} is open on {venue}, which is not among its venues: put {venue} back, "
        f"or end it first with `perpkit close {owner_id(owner)}`"
        for config in configs
        for owner in open_owners(journal)
        if (owner.strategy, owner.account) == (config.strategy, config.account)
        for venue in dict.fromkeys(market.venue for market in markets(owner))
        if venue not in config.venues
    ]
    if problems:
        raise InvalidConfig(problems)


def _needed(configs: Sequence[BotConfig], clients: Clients) -> list[Connection]:
    """Each client once."""
    found = {id(client := clients[c.account][venue]): Connection(c.account, venue, client) for c in configs for venue in c.venues}
    return list(found.values())
