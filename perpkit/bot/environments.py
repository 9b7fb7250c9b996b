"""Where a bot runs: the clients it gets in demo, paper, shadow and live. The bot itself cannot tell them apart.

| environment | data | orders |
|---|---|---|
| demo | simulated venues behind their wire protocols, a seeded market | real clients, real wire, simulated venues |
| paper | live venues, public data | a virtual account, filled from the live book |
| shadow | live venues, public data | recorded as decided; settled in a virtual account of their own |
| live | mainnet or testnet, as the settings of each venue say | sent |

In paper and shadow no signer is made and no credentials are read: the live client that brings the data is built without, and the client
that the bot gets can only reach the virtual account.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from database.errors import JournalOwned
from database.owner import OwnerLock
from exchange_clients import venues
from exchange_clients.base_client import BaseExchangeClient
from exchange_clients.signing import Credentials, require
from exchange_clients.spec import VenueSpec
from exchange_clients.transport.runtime import Runtime
from funding_rate_service.fees import BASE_TIER
from perpkit.bot.config import BotConfig, InvalidConfig, PaperConfig
from strategies.execution.engine import ExecutionEngine

if TYPE_CHECKING:
    from exchange_simulator.paper_client import PaperClient
    from exchange_simulator.ready import ReadyVenue
    from exchange_simulator.simloop import SimNetwork

Resolver = Callable[[VenueSpec, str, str], Credentials]
"""(venue, its environment, account of the bot) -> the keys to trade with; may give credentials that miss something."""
SettingsOf = Callable[[str, str, Mapping[str, Any]], dict[str, Any]]
"""(account of the bot, venue, settings as the file has them) -> with the account's proxy; ValueError where they name another."""
DEMO_DEPOSIT = Decimal(20_000)


class Environment(StrEnum):
    """How a bot meets the world. Backtests have a command of their own."""

    DEMO = "demo"
    PAPER = "paper"
    SHADOW = "shadow"
    LIVE = "live"

    @property
    def journal_file(self) -> str:
        """Virtual positions are never in the journal of real ones."""
        return "journal.db" if self is Environment.LIVE else f"{self}.db"

    @property
    def sends(self) -> bool:
        """Orders leave this machine."""
        return self is Environment.LIVE


def names_of_environment(environ: Mapping[str, str]) -> Resolver:
    """Who an account is, from variables that hold no secret: enough to look at it where the venue shows accounts to anybody."""

    def resolve(spec: VenueSpec, environment: str, account: str) -> Credentials:
        public = tuple(item for item in spec.credentials if not item.secret)
        return Credentials.from_env(replace(spec, credentials=public), environment, environ=environ)

    return resolve


def keys_of_environment(environ: Mapping[str, str]) -> Resolver:
    """Credentials from variables, the same for every account name."""

    def resolve(spec: VenueSpec, environment: str, account: str) -> Credentials:
        return Credentials.from_env(spec, environment, environ=environ)

    return resolve


@dataclass(slots=True)
class Surroundings:
    """What `assembled` needs. `runtime` is the one to use: a demo may have a clock of its own."""

    environment: Environment
    clients: dict[str, dict[str, BaseExchangeClient]]
    runtime: Runtime
    engine_class: Callable[..., ExecutionEngine] = ExecutionEngine
    venues: dict[str, ReadyVenue] = field(default_factory=dict)
    """The simulated venues of a demo."""
    notes: list[str] = field(default_factory=list)
    """For people: where a virtual account's balance comes from."""


@asynccontextmanager
async def surroundings(
    environment: Environment,
    configs: Sequence[BotConfig],
    runtime: Runtime,
    *,
    home: Path,
    resolve: Resolver,
    names: Resolver | None = None,
    settings_of: SettingsOf | None = None,
    endpoints: Mapping[str, Mapping[str, Any]] | None = None,
    network: SimNetwork | None = None,
    seed: int = 7,
) -> AsyncIterator[Surroundings]:
    """Clients for every bot, ended with the block. Those of live are not connected yet; paper and shadow have connected their data.

    `endpoints`: venue -> addresses that replace the venue's own. `resolve` is asked in live only, `names` in shadow only: for fields that
    are no secret; `settings_of` everywhere but in the demo. `network`, `seed`: for the demo, in memory instead of on loopback, and its
    market.

    Raises:
        InvalidConfig: two bots want one venue's client set in different ways, or something else that the configuration must say.
        MissingCredentials: live, and a venue's keys are not there.
        VenueError: paper or shadow, and a venue cannot be reached.
    """
    wanted = _settings(configs, endpoints or {}, None if environment is Environment.DEMO else settings_of)
    async with AsyncExitStack() as stack:
        match environment:
            case Environment.LIVE:
                clients = {
                    (account, venue): _live(venue, account, settings, runtime, home, resolve)
                    for (account, venue), settings in wanted.items()
                }
                for client in clients.values():
                    stack.push_async_callback(client.disconnect)
                _one_account_each(clients)
                _one_process_each(clients.values(), home, stack)
                found = Surroundings(environment, _by_account(clients), runtime)
            case Environment.PAPER | Environment.SHADOW:
                papers = await _virtual(environment, configs, wanted, runtime, home, stack)
                found = Surroundings(environment, _by_account(papers), runtime)
                if environment is Environment.SHADOW:
                    if names is not None:
                        found.notes = [await _mirror(account, client, names) for (account, _), client in papers.items()]
                    from perpkit.bot.shadow import ShadowEngine

                    found.engine_class = ShadowEngine
            case _:
                found = await _demo(configs, wanted, runtime, home, stack, network=network, seed=seed)
        yield found


Wanted = dict[tuple[str, str], dict[str, Any]]
"""(account, venue) -> settings of the client."""


def _settings(configs: Sequence[BotConfig], endpoints: Mapping[str, Mapping[str, Any]], settings_of: SettingsOf | None) -> Wanted:
    wanted: Wanted = {}
    for config in configs:
        for venue in config.venues:
            settings = config.client_settings(venue)
            if venue in endpoints:
                settings["endpoints"] = dict(endpoints[venue])
            if settings_of is not None:
                try:
                    settings = settings_of(config.account, venue, settings)
                except ValueError as e:
                    raise InvalidConfig([f"venues.{e}"]) from None
            if wanted.setdefault((config.account, venue), settings) != settings:
                raise InvalidConfig([f"venues.{venue}: two bots of account {config.account} share its client and set it differently"])
    return wanted


def _by_account(clients: Mapping[tuple[str, str], BaseExchangeClient]) -> dict[str, dict[str, BaseExchangeClient]]:
    found: dict[str, dict[str, BaseExchangeClient]] = {}
    for (account, venue), client in clients.items():
        found.setdefault(account, {})[venue] = client
    return found


# ---- live


def _live(venue: str, account: str, settings: Mapping[str, Any], runtime: Runtime, home: Path, resolve: Resolver) -> BaseExchangeClient:
    spec = venues.get(venue).spec
    environment = str(settings.get("environment", "mainnet")).replace("prod", "mainnet")
    keys = require(resolve(spec, environment, account), spec, environment)
    return venues.create_client(venue, {"state_directory": home / "ids", **settings}, keys, runtime=runtime)


def _one_account_each(clients: Mapping[tuple[str, str], BaseExchangeClient]) -> None:
    """Two account names with the same keys would each take the other's positions for a stranger's."""
    seen: dict[tuple[str, str], str] = {}
    for (account, venue), client in clients.items():
        signer = client.context.signer
        address = signer.address if signer is not None else ""
        other = seen.setdefault((venue, address), account)
        if other != account:
            raise InvalidConfig([f"accounts {other} and {account} have the same keys on {venue}: give them one name, or keys of their own"])


def _one_process_each(clients: Iterable[BaseExchangeClient], home: Path, stack: AsyncExitStack) -> None:
    """Two engines on one account, each with a journal of its own, would each take the other's positions for a stranger's (E11).

    Raises:
        InvalidConfig: another process of this state folder trades the account.
    """
    folder = home / "ids"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for client in clients:
        signer = client.context.signer
        name = f"{client.get_exchange_name()}-{client.config.environment}-{signer.address if signer is not None else 'none'}"
        try:
            stack.callback(OwnerLock(folder / f"{name}.lock").release)
        except JournalOwned:
            raise InvalidConfig(
                [f"another process trades this account on {client.get_exchange_name()}: give it this bot's file too, or stop it first"]
            ) from None


# ---- paper and shadow


async def _virtual(
    environment: Environment, configs: Sequence[BotConfig], wanted: Wanted, runtime: Runtime, home: Path, stack: AsyncExitStack
) -> dict[tuple[str, str], PaperClient]:
    """One public client per venue brings the data; each account has a virtual account there."""
    from exchange_simulator.paper import PaperSettings, PaperVenue
    from exchange_simulator.paper_client import PaperClient

    paper_of: dict[str, PaperConfig] = {}
    for config in configs:
        if paper_of.setdefault(config.account, config.paper) != config.paper:
            raise InvalidConfig([f"paper: two bots of account {config.account} share a virtual account and declare it differently"])
    public: list[tuple[str, dict[str, Any], BaseExchangeClient]] = []
    """(venue, settings, client that brings the data): accounts with one set of settings share it."""
    made: dict[tuple[str, str], PaperClient] = {}
    for (account, venue), settings in wanted.items():
        live = next((client for name, given, client in public if (name, given) == (venue, settings)), None)
        if live is None:
            live = venues.create_client(venue, settings, None, runtime=runtime)
            stack.push_async_callback(live.disconnect)
            await live.connect()
            public.append((venue, settings, live))
        paper = paper_of[account]
        maker, taker = BASE_TIER.get(venue, (None, None))
        chosen = PaperSettings(
            deposit=paper.deposit(venue),
            maker_fee=maker if paper.maker_fee is None else paper.maker_fee,
            taker_fee=taker if paper.taker_fee is None else paper.taker_fee,
            entry_latency_s=paper.entry_latency_ms / 1000,
            report_latency_s=paper.report_latency_ms / 1000,
            book_levels=paper.book_levels,
            trade_grace_s=paper.trade_grace_ms / 1000,
            file=home / f"{environment}-accounts" / account / f"{venue}.json",
        )
        try:
            simulated = PaperVenue(live, runtime.clock, chosen)
        except ValueError as e:
            raise InvalidConfig([str(e)]) from e
        own = {"state_directory": home / f"{environment}-accounts" / account, **{k: v for k, v in settings.items() if k != "endpoints"}}
        virtual = PaperClient(simulated, runtime=runtime, config=own)
        stack.push_async_callback(virtual.disconnect)
        made[account, venue] = virtual
    return made


async def _mirror(account: str, client: PaperClient, names: Resolver) -> str:
    """The virtual account gets the real one's equity, where the venue shows it without a key."""
    live = client.paper.live
    known = await live.account_manager.fetch_public_account(names(live.spec, live.config.environment, account))
    where = f"{live.spec.name} ({account})"
    if known is None or known.equity is None:
        return f"{where}: the account cannot be seen without a key; the declared balance is used"
    if known.equity <= 0:
        return f"{where}: the account shows no equity; the declared balance is used"
    if not client.paper.declare(known.equity):
        return f"{where}: the shadow holds something, so its balance goes on from where it was"
    return f"{where}: balance {known.equity} as the account shows"


# ---- demo


async def _demo(
    configs: Sequence[BotConfig],
    wanted: Wanted,
    runtime: Runtime,
    home: Path,
    stack: AsyncExitStack,
    *,
    network: SimNetwork | None,
    seed: int,
) -> Surroundings:
    """One seeded world moves all venues; every account has an account of its own on each."""
    from exchange_simulator import dialects
    from exchange_simulator.ready import MARKETS, build_venue, seed_funding
    from exchange_simulator.simulated_client import NoLag
    from exchange_simulator.world.feed import drive
    from exchange_simulator.world.profiles import Listing, VenueProfile
    from exchange_simulator.world.world import World

    names = list(dict.fromkeys(venue for _, venue in wanted))
    missing = [name for name in names if name not in dialects.names()]
    if missing:
        raise InvalidConfig([f"venues.{name}: there is no simulated venue of that name, so no demo" for name in missing])
    kinds = {name: dialects.get(name) for name in names}
    listed = {
        name: {base: kind.listing(base, tick_size=tick, step_size=step) for base, (tick, step, _) in MARKETS.items()}
        for name, kind in kinds.items()
    }
    profiles = [
        VenueProfile(
            name, tuple(Listing.of(m, base, significant_figures=kinds[name].significant_figures) for base, m in listed[name].items())
        )
        for name in names
    ]
    start_ns = runtime.clock.time_ns()
    world = World(seed, profiles, start_ns)
    made: dict[tuple[str, str], BaseExchangeClient] = {}
    ready: dict[str, ReadyVenue] = {}
    for name, kind in kinds.items():
        funding = world.funding(name)
        venue = build_venue(kind, runtime, listed[name], deposit=DEMO_DEPOSIT, seed=seed, funding=funding, network=network)
        world.attach(name, venue.exchange)
        for market in listed[name].values():
            seed_funding(venue.dialect, funding, market.symbol, start_ns)
        await stack.enter_async_context(venue.server)
        ready[name] = venue
    driving = asyncio.create_task(drive(world, runtime.clock), name="demo-market")
    stack.push_async_callback(_ended, driving)
    first: dict[str, str] = {}
    for (account, name), settings in wanted.items():
        venue = ready[name]
        owner = venue.account if first.setdefault(name, account) == account else venue.dialect.open_account(DEMO_DEPOSIT)
        own = {key: value for key, value in settings.items() if key not in ("environment", "endpoints")}
        client = venue.client(account=owner, runtime=runtime, **{"state_directory": home / "ids", **own})
        client.loop_lag = NoLag(runtime.clock)  # the venues compute on the bot's own loop: its lateness is mostly theirs
        stack.push_async_callback(client.disconnect)
        made[account, name] = client
    return Surroundings(Environment.DEMO, _by_account(made), runtime, venues=ready)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
