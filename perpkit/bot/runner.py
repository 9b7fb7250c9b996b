"""Runs bots from start checks to a declared end: one process, one journal, until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from database.connect import sqlite_url
from database.fallback import fallback_of
from database.journal import Journal
from exchange_clients.base_client import BaseExchangeClient
from exchange_clients.errors import VenueError
from exchange_clients.model import NS_PER_MS, PositionMode
from exchange_clients.transport.runtime import Runtime
from perpkit.bot.assemble import Bots, assembled, check_open
from perpkit.bot.closing import open_owners, world_of
from perpkit.bot.config import BotConfig, InvalidConfig
from perpkit.bot.connecting import Connection, NotAllowed, is_outage
from perpkit.bot.control import ControlConfig, ControlServer
from perpkit.bot.environments import Environment, Resolver, SettingsOf, surroundings
from perpkit.bot.notify import Notifier, Target
from perpkit.bot.operations import Operations
from perpkit.bot.view import View
from perpkit.bot.watch import Watch
from strategies.execution.ledger.owners import markets, owner_id
from strategies.risk import tee

log = logging.getLogger("perpkit.bot")

HEARTBEAT_S = 1.0
REFRESH_S = 1.0


class Stopper:
    """Remembers that the end was asked for, also while the bots are still being started."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self._bots: Bots | None = None
        self._starting: asyncio.Task[Any] | None = None

    def ask(self, reason: str) -> None:
        """A second time changes nothing: the stop is on its way."""
        if self.reason is not None:
            return
        self.reason = reason
        log.info("stop.asked reason=%s", reason)
        if self._bots is not None:
            self._bots.ask_to_stop()
        elif self._starting is not None:
            self._starting.cancel()

    def starting(self) -> None:
        """From here until `started` the stop cancels the running task: nothing was entered yet."""
        self._starting = asyncio.current_task()

    def started(self, bots: Bots) -> None:
        self._bots = bots
        if self.reason is not None:
            bots.ask_to_stop()


class Careful:
    """A view that cannot harm what it shows: a closed pipe or a bug in it is logged, and the bots go on."""

    def __init__(self, view: View) -> None:
        self._view = view

    def __call__(self, event: str, pair_id: str, **facts: object) -> None:
        self._try(lambda: self._view(event, pair_id, **facts))

    def say(self, text: str, *, kind: str = "") -> None:
        self._try(lambda: self._view.say(text, kind=kind))

    def refresh(self, bots: Bots) -> None:
        self._try(lambda: self._view.refresh(bots))

    def close(self) -> None:
        self._try(self._view.close)

    def _try(self, show: Callable[[], None]) -> None:
        try:
            show()
        except Exception:
            log.exception("view.failed")


@dataclass(slots=True)
class Run:
    """What is run, and how.

    `reload` reads the configurations anew; `targets` get notifications; `journal_url` replaces the journal of the state folder.
    """

    configs: Sequence[BotConfig]
    environment: Environment
    home: Path
    view: View
    resolve: Resolver
    reload: Callable[[], Sequence[BotConfig]]
    names: Resolver | None = None
    settings_of: SettingsOf | None = None
    targets: Sequence[Target] = ()
    endpoints: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    journal_url: str | None = None
    state: Path | None = None
    """Where halts are looked for; the home unless another is said."""
    seed: int = 7
    network: Any = None
    endings: dict[str, str] = field(default_factory=dict)
    """Bot -> how it was left; filled at the end."""
    _watch: Watch | None = None
    _open: Sequence[str] = ()
    """What earlier runs of these bots left open."""

    def __post_init__(self) -> None:
        self.view = Careful(self.view)

    async def run(self, runtime: Runtime, stopper: Stopper) -> bool:
        """Until asked to stop. True when everything was left flat or held as meant.

        Raises:
            NotAllowed: the start checks say no; nothing was entered.
            InvalidConfig, JournalError, VenueError: it could not be started.
        """
        stopper.starting()
        try:
            async with self._running(runtime) as (bots, operations):
                stopper.started(bots)
                self.view.say(f"running {', '.join(bot.name for bot in bots)} in {self.environment}")
                with _hangup(operations):
                    showing = asyncio.create_task(self._show(bots, runtime))
                    try:
                        await bots.run()
                    finally:
                        showing.cancel()
                        await asyncio.gather(showing, return_exceptions=True)
                self.view.say(f"stopping: {stopper.reason or 'a strategy ended'}; entry orders come off")
                await bots.stop()
                self.view.refresh(bots)
                self._tell_endings(bots)
                return not any(bot.left_unsettled for bot in bots)
        except asyncio.CancelledError:
            if stopper.reason is None:
                raise
            self.view.say(f"stopped while starting: {stopper.reason}; nothing was entered")
            if self._open:
                self.view.say(f"{', '.join(self._open)}: open since an earlier run, and was not proved: start again, or perpkit recover")
            return not self._open

    @asynccontextmanager
    async def _running(self, runtime: Runtime) -> AsyncIterator[tuple[Bots, Operations]]:
        async with AsyncExitStack() as stack:
            self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
            url = self.journal_url or sqlite_url(self.home / self.environment.journal_file)
            journal = Journal.open(url, fallback=fallback_of(url, self.home))
            stack.callback(journal.close)
            check_journal(journal, self.environment, self.configs)
            check_open(self.configs, journal)
            control = control_of(self.configs)
            mine = {(config.strategy, config.account) for config in self.configs}
            self._open = [owner_id(owner) for owner in open_owners(journal) if (owner.strategy, owner.account) in mine]
            around = await stack.enter_async_context(
                surroundings(
                    self.environment,
                    self.configs,
                    runtime,
                    home=self.home,
                    resolve=self.resolve,
                    names=self.names,
                    settings_of=self.settings_of,
                    endpoints=self.endpoints,
                    network=self.network,
                    seed=self.seed,
                )
            )
            for note in around.notes:
                self.view.say(note)
            notifier = await stack.enter_async_context(Notifier(list(self.targets), around.runtime.clock))
            watch = Watch(notifier, around.runtime.clock)
            stack.callback(watch.close)
            bots = await stack.enter_async_context(
                assembled(
                    self.configs,
                    around.clients,
                    journal,
                    around.runtime,
                    environment=self.environment,
                    observer=tee(watch, self.view),
                    engine_class=around.engine_class,
                    heartbeat_s=HEARTBEAT_S,
                    folder=self.state or self.home,
                    check=self._check,
                )
            )
            operations = Operations(bots, folder=self.state or self.home, configs=self.reload)
            if control is not None:
                local = Path(url.removeprefix("sqlite:///") + ".control") if url.startswith("sqlite:///") else None
                server = await stack.enter_async_context(ControlServer(control, operations, journal, runtime, local_file=local))
                self.view.say(f"control API at {server.url}")
            self._watch = watch
            yield bots, operations

    async def _check(self, one: Connection) -> Sequence[str]:
        """The start checks of a client that has connected; live ones ask more."""
        allowed = any(c.allow_withdraw_keys for c in self.configs if c.account == one.account)
        told, problems = await start_checks(one.client, live=self.environment.sends, allow_withdraw_keys=allowed)
        self.view.say(f"{one.venue} ({one.account}): {told}")
        return problems

    async def _show(self, bots: Bots, runtime: Runtime) -> None:
        while True:
            self.view.refresh(bots)
            await runtime.clock.sleep(REFRESH_S)

    def _tell_endings(self, bots: Bots) -> None:
        for bot in bots:
            self.endings[bot.name] = bot.run.ending
            if self._watch is not None:
                self._watch.stopped(bot.name, bot.run.ending)
            self.view.say(f"{bot.name}: left {bot.run.ending}")


def control_of(configs: Sequence[BotConfig]) -> ControlConfig | None:
    """Where the control API of the process listens: one serves all its bots.

    Raises:
        InvalidConfig: two bots ask for different ones.
    """
    asked = [control for config in configs if (control := config.control_config) is not None]
    if any(control != asked[0] for control in asked):
        raise InvalidConfig(["control: bots of one process share one control API, and these ask for different ones: say it in one file"])
    return asked[0] if asked else None


def check_journal(journal: Journal, environment: Environment, configs: Sequence[BotConfig]) -> None:
    """Real and virtual positions, those of a testnet and those of the mainnet: what is open elsewhere is nothing that this run may act on.

    Raises:
        NotAllowed: the journal is of another environment, or something is open in another world of a venue.
    """
    others = sorted({run.environment for run in journal.runs()} - {environment.value})
    if others:
        raise NotAllowed(
            f"this journal was written in {', '.join(others)}, and its positions are none of {environment}: "
            "leave --journal out, or give each environment its own"
        )
    problems = []
    for owner in open_owners(journal):
        for market in markets(owner):
            for config in configs:
                if config.account != owner.account or market.venue not in config.venues:
                    continue
                was, now = world_of(journal, owner, market.venue), client_environment(config, market.venue)
                if was != now:
                    problems.append(
                        f"{owner_id(owner)} is open on {market.venue} {was}, but {config.name} is set to {now}: close it first "
                        f"(with environment: {was}), or give the other world a state folder of its own (--home)"
                    )
    if problems:
        raise NotAllowed("\n".join(dict.fromkeys(problems)))


def client_environment(config: BotConfig, venue: str) -> str:
    """The environment of a venue's client as the file says."""
    named = str(config.venues[venue].get("environment", "mainnet"))
    return "mainnet" if named == "prod" else named


async def start_checks(client: BaseExchangeClient, *, live: bool, allow_withdraw_keys: bool) -> tuple[str, list[str]]:
    """(what was found, what forbids a start) of one connected client.

    Raises:
        VenueError: the venue does not answer now.
    """
    problems: list[str] = []
    found = [client.config.environment]
    offset_ns = client.context.venue_time.offset_ns
    if offset_ns is not None:
        found.append(f"clock {offset_ns / NS_PER_MS:+.0f} ms")
    try:
        account = await client.account_manager.fetch_account()
        found.append(f"equity {account.equity}, available {account.available} {account.asset or ''}".rstrip())
        if live and client.capabilities.key_info:
            key = await client.get_key_info()
            if key.can_trade is False:
                problems.append("the key may not trade: make one that may")
            if key.can_withdraw and not allow_withdraw_keys:
                problems.append("the key may withdraw: make one that may only trade, or set allow_withdraw_keys: true")
            if key.position_mode is PositionMode.HEDGE:
                problems.append("the account is in hedge mode: switch it to one-way positions")
            if key.can_withdraw is None:
                found.append("the venue does not say whether the key may withdraw")
        elif live:
            found.append("the venue tells nothing of its keys")
    except VenueError as e:
        if is_outage(e):
            raise
        problems.append(f"the account cannot be read: {e.message}")
    return ", ".join(found), problems


@contextmanager
def _hangup(operations: Operations) -> Iterator[None]:
    """SIGHUP reads the configurations anew, where there is such a signal and this thread may have it."""
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[Any]] = set()

    def reload() -> None:
        task = asyncio.ensure_future(operations.reload("SIGHUP"))
        tasks.add(task)
        task.add_done_callback(_reloaded)
        task.add_done_callback(tasks.discard)

    _on_hangup(loop, reload)
    try:
        yield
    finally:
        _on_hangup(loop, _nothing)


def _on_hangup(loop: asyncio.AbstractEventLoop, act: Callable[[], None]) -> None:
    with suppress(AttributeError, NotImplementedError, RuntimeError, ValueError):
        loop.add_signal_handler(signal.SIGHUP, act)


def _nothing() -> None:
    """A terminal that closes while bots start or stop must not end them halfway."""


def _reloaded(task: asyncio.Future[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("reload.failed reason=%s", error)


@contextmanager
def signals(stopper: Stopper) -> Iterator[None]:
    """SIGINT and SIGTERM ask for the end; SIGHUP, whose default is to kill, does nothing but what `_hangup` makes of it."""
    loop = asyncio.get_running_loop()
    taken = (signal.SIGINT, signal.SIGTERM)
    for one in taken:
        loop.add_signal_handler(one, stopper.ask, one.name)
    _on_hangup(loop, _nothing)
    try:
        yield
    finally:
        for one in taken:
            loop.remove_signal_handler(one)
        with suppress(AttributeError, NotImplementedError):
            loop.remove_signal_handler(signal.SIGHUP)
