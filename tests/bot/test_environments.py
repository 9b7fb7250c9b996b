"""One file, every environment: the same bot opens, holds and closes; only in live does anything reach the venues."""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from database.connect import sqlite_url
from database.journal import Journal
from database.records import PairState
from exchange_clients import venues
from exchange_clients.errors import MissingCredentials
from exchange_clients.model import NS_PER_HOUR, NS_PER_S
from exchange_clients.signing import Credentials
from exchange_clients.spec import VenueSpec
from exchange_simulator.core.types import to_fraction
from exchange_simulator.simloop import EPOCH_NS, Simulation, run
from perpkit.backtest.runner import RunSpec, run_one
from perpkit.bot.assemble import Bots, assembled
from perpkit.bot.config import BotConfig, InvalidConfig, load
from perpkit.bot.environments import Environment, Surroundings, names_of_environment, surroundings
from tests.strategies.stack import VENUES, Stack, run_stack

YAML = """\
strategy: funding_arbitrage
account: main
venues:
  lighter: {}
  hyperliquid: {max_book_age_s: 5}
parameters:
  symbols: [BTC, ETH]
  min_profit: "0.0001"
  max_positions: 1
  profitability_horizon_hours: 168
  default_position_size_usd: 1000
  max_rate_age_seconds: 600
  max_loop_lag_ms: 500
  enable_exit_polling: false
  execution: {naked_cap_usd: 2000}
  risk_config: {strategy: time_based, max_position_age_hours: "0.01", min_hold_hours: "0", check_interval_seconds: 15}
paper:
  balance_usd: 20000
  entry_latency_ms: 20
  report_latency_ms: 20
backtest:
  rates: coming
  venues:
    lighter:
      deposit_usd: 20000
      markets:
        BTC: &market
          tick_size: "0.1"
          step_size: "0.00001"
          maker_fee: "0"
          taker_fee: "0.0002"
          candles: {file: candles.csv, interval_hours: 1}
          funding: {file: lighter.csv, interval_hours: 1}
    hyperliquid:
      deposit_usd: 20000
      markets:
        BTC:
          <<: *market
          funding: {file: hyperliquid.csv, interval_hours: 1}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "bot.yaml"
    path.write_text(YAML)
    return path


def no_keys(spec: VenueSpec, environment: str, account: str) -> Credentials:
    raise AssertionError(f"credentials of {spec.name} were asked for")


def keys_of(stack: Stack) -> Callable[[VenueSpec, str, str], Credentials]:
    return lambda spec, environment, account: stack.venues[spec.name].ready.credentials()


@dataclass
class Seen:
    """What a run left."""

    states: list[PairState] = field(default_factory=list)
    kinds: set[str] = field(default_factory=set)
    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Kind of decision -> inputs of the newest."""
    intents: int = 0
    endings: dict[str, str] = field(default_factory=dict)
    environments: set[str] = field(default_factory=set)


async def open_hold_close(bots: Bots, settle: Callable[[float], Awaitable[None]], seconds: int = 180) -> None:
    """Until a pair was opened and closed again; then no more."""
    (bot,) = bots
    life = asyncio.create_task(bots.run())
    for _ in range(seconds):
        await settle(1.0)
        if any(runner.state is PairState.HEDGED for runner in bot.engine.pairs.values()):
            bot.engine.halt("one pair is enough")
        if any(runner.state is PairState.CLOSED for runner in bot.engine.pairs.values()):
            break
    bots.ask_to_stop()
    await life


def look(journal: Journal, bots: Bots) -> Seen:
    seen = Seen(states=[pair.state for pair in journal.pairs()])
    for decision in journal.decisions():
        seen.kinds.add(decision.kind)
        seen.inputs[decision.kind] = msgspec.json.decode(decision.inputs)
    seen.intents = sum(len(journal.intents(pair.pair_id)) for pair in journal.pairs())
    seen.environments = {record.environment for record in journal.runs()}
    return seen


async def live_through(around: Surroundings, configs: list[BotConfig], home: Path, settle: Callable[[float], Awaitable[None]]) -> Seen:
    journal = Journal.open(sqlite_url(home / around.environment.journal_file))
    try:
        async with assembled(
            configs, around.clients, journal, around.runtime, environment=around.environment, engine_class=around.engine_class, folder=home
        ) as bots:
            await open_hold_close(bots, settle)
            await bots.stop()
            seen = look(journal, bots)
            seen.endings = {bot.name: bot.run.ending for bot in bots}
            return seen
    finally:
        journal.close()


def against_dialects(file: Path, environment: Environment, **options: Any) -> tuple[Seen, dict[str, int], dict[str, Decimal]]:
    """(what was left, orders that reached each venue, true positions): the dialects stand for the real venues."""
    found: list[Seen] = []
    commands: dict[str, int] = {}

    async def main(stack: Stack) -> dict[str, Decimal]:
        for name, rate in zip(VENUES, ("0.0004", "-0.0004"), strict=True):
            truth = stack.venues[name]
            truth.exchange.set_funding_rate(truth.now(), truth.symbol, to_fraction(rate))
        ends = {name: truth.ready.endpoints for name, truth in stack.venues.items()}
        config = load(file)
        resolve = keys_of(stack) if environment is Environment.LIVE else no_keys
        async with surroundings(environment, [config], stack.runtime, home=file.parent, resolve=resolve, endpoints=ends) as around:
            found.append(await live_through(around, [config], file.parent, stack.settle))
        commands.update({name: truth.commands() for name, truth in stack.venues.items()})
        return stack.positions()

    positions = run_stack(file.parent / "stack", main, start=False, **options)
    return found[0], commands, positions


def check(seen: Seen, environment: str) -> None:
    assert PairState.CLOSED in seen.states
    assert {"enter", "exit"} <= seen.kinds
    assert seen.intents >= 4
    assert seen.environments == {environment}
    assert seen.endings == {"funding_arbitrage:main": "flat"}


def test_live_sends_orders_and_ends_flat(file: Path) -> None:
    seen, commands, positions = against_dialects(file, Environment.LIVE)
    check(seen, "live")
    assert all(count >= 2 for count in commands.values())
    assert set(positions.values()) == {Decimal(0)}


def test_paper_trades_and_nothing_reaches_the_venues(file: Path) -> None:
    seen, commands, positions = against_dialects(file, Environment.PAPER)
    check(seen, "paper")
    assert set(commands.values()) == {0}
    assert set(positions.values()) == {Decimal(0)}


def test_shadow_records_what_live_would_have_sent(file: Path) -> None:
    seen, commands, _ = against_dialects(file, Environment.SHADOW)
    check(seen, "shadow")
    assert set(commands.values()) == {0}
    entered, left = seen.inputs["enter"], seen.inputs["exit"]
    assert {inputs.get("environment") for inputs in seen.inputs.values()} == {"shadow"}
    assert "hold" in seen.kinds
    assert entered["plan"]["symbol"] == "BTC"
    assert Decimal(entered["plan"]["quantity"]) > 0
    assert set(entered["plan"]) >= {"long_instrument", "short_instrument", "first_leg", "tactics", "worst_naked_usd"}
    assert set(left["plan"]["close"]) == {"long", "short"}


def test_a_shadow_is_worth_what_the_real_account_shows(file: Path) -> None:
    """Where venues show accounts to anybody, and only by fields that are no secret."""
    seen = ("dydx", "hyperliquid", "lighter")
    text = YAML.split("backtest:")[0]
    file.write_text(text.replace("  lighter: {}\n", "  lighter: {}\n  dydx: {}\n  okx: {}\n"))
    asked: list[str] = []

    async def main(stack: Stack) -> None:
        def names(spec: VenueSpec, environment: str, account: str) -> Credentials:
            asked.append(spec.name)
            return names_of_environment(stack.venues[spec.name].ready.environ)(spec, environment, account)

        ends = {name: truth.ready.endpoints for name, truth in stack.venues.items()}
        for _ in range(2):
            async with surroundings(
                Environment.SHADOW, [load(file)], stack.runtime, home=file.parent, resolve=no_keys, names=names, endpoints=ends
            ) as around:
                worth = {}
                for name, client in around.clients["main"].items():
                    await client.connect()
                    worth[name] = await client.get_total_asset_value()
                assert worth == {**dict.fromkeys(seen, Decimal(60_000)), "okx": Decimal(20_000)}
                assert any("okx" in note and "cannot be seen without a key" in note for note in around.notes)

    run_stack(file.parent / "stack", main, names=(*seen, "okx"), start=False, deposit="60000")
    assert set(asked) == {*seen, "okx"}


def test_demo_needs_nothing_but_the_file(file: Path) -> None:
    async def main(sim: Simulation) -> Seen:
        config = load(file)
        async with surroundings(
            Environment.DEMO, [config], sim.runtime, home=file.parent, resolve=no_keys, network=sim.network, seed=7
        ) as around:
            return await live_through(around, [config], file.parent, sim.runtime.clock.sleep)

    check(run(main, seed=7), "demo")


def test_backtest_runs_the_same_file_over_history(file: Path) -> None:
    hours = [EPOCH_NS + n * NS_PER_HOUR for n in range(12)]
    times = [datetime.fromtimestamp(ts // NS_PER_S, UTC).isoformat() for ts in hours]
    (file.parent / "candles.csv").write_text("date,open,high,low,close\n" + "".join(f"{t},100000,100010,99990,100000\n" for t in times))
    for name, rate in (("lighter", "-0.0004"), ("hyperliquid", "0.0004")):
        (file.parent / f"{name}.csv").write_text("date,funding_rate\n" + "".join(f"{t},{rate}\n" for t in times))
    bot = yaml.safe_load(file.read_text())
    result = run_one(RunSpec(bot=bot, data=str(file.parent), from_ns=hours[1] - 60 * NS_PER_S, to_ns=hours[1] + 60 * NS_PER_S))
    assert result.decisions["enter: edge"] >= 1
    assert result.decisions["exit: age"] >= 1
    assert result.positions[0].symbol == "BTC"


# ---- no signer


def signer_classes() -> set[type]:
    """Every class of every venue package that can sign."""
    found = set()
    for name in venues.names():
        package = venues.get(name).client.__module__.split(".client")[0]
        for module in ("signing", "client.core"):
            for kind in vars(import_module(f"{package}.{module}")).values():
                if inspect.isclass(kind) and "sign_command" in dir(kind) and not getattr(kind, "_is_protocol", False):
                    found.add(kind)
    return found


@contextmanager
def spied(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of signers as they are made, and of clients that were asked to make one."""
    made: list[str] = []
    for kind in signer_classes():
        original = kind.__init__  # type: ignore[misc]

        def spy(self: Any, *args: Any, __original: Any = original, __name: str = kind.__name__, **options: Any) -> None:
            made.append(__name)
            __original(self, *args, **options)

        monkeypatch.setattr(kind, "__init__", spy)
    for name in venues.names():
        client = venues.get(name).client
        factory = client.make_signer

        def make(*args: Any, __factory: Any = factory, __name: str = name, **options: Any) -> Any:
            made.append(f"make_signer of {__name}")
            return __factory(*args, **options)

        monkeypatch.setattr(client, "make_signer", staticmethod(make))
    yield made


def reachable(root: object, kinds: tuple[type, ...], *, limit: int = 2_000_000) -> list[object]:
    """Objects of these kinds that can be reached from an object without leaving through a module, or a function's view of one."""
    seen, waiting, found = {id(root), *(id(vars(module)) for module in tuple(sys.modules.values()))}, deque([root]), []
    while waiting and len(seen) < limit:
        for other in gc.get_referents(waiting.popleft()):
            if id(other) in seen or inspect.ismodule(other) or inspect.isclass(other):
                continue
            seen.add(id(other))
            if isinstance(other, kinds):
                found.append(other)
            waiting.append(other)
    return found


@pytest.mark.parametrize("environment", [Environment.PAPER, Environment.SHADOW])
def test_e40_no_signer_is_constructed(file: Path, monkeypatch: pytest.MonkeyPatch, environment: Environment) -> None:
    kinds = signer_classes()
    assert len({kind.__module__.split(".")[1] for kind in kinds}) == len(venues.names()), "every venue has a signer to spy on"
    everything = tuple(venues.names())
    others = "".join(f"  {name}: {{}}\n" for name in everything if name not in VENUES)
    text = YAML.replace("  hyperliquid: {max", f"{others}  hyperliquid: {{max").replace(
        "parameters:", "parameters:\n  exchanges: [lighter, hyperliquid]"
    )
    file.write_text(text)

    async def main(stack: Stack) -> None:
        for name in everything:
            prefix = name.upper()
            for item in venues.get(name).spec.credentials:
                monkeypatch.setenv(item.variable.format(env=""), stack.venues[name].ready.environ.get(f"{prefix}_X", "0x" + "12" * 32))
        ends = {name: truth.ready.endpoints for name, truth in stack.venues.items()}
        config = load(file)
        async with surroundings(environment, [config], stack.runtime, home=file.parent, resolve=no_keys, endpoints=ends) as around:
            journal = Journal.open(sqlite_url(file.parent / "spy.db"))
            async with assembled(
                [config], around.clients, journal, around.runtime, environment=environment, engine_class=around.engine_class
            ) as bots:
                (bot,) = bots
                await bot.strategy.run_cycle()
                assert set(bot.clients) == set(everything)
                for client in bot.clients.values():
                    public: Any = client
                    with pytest.raises(MissingCredentials):
                        await public.venue.live.place_limit_order("BTC", Decimal("0.001"), Decimal(100_000), "buy")
                found = reachable(bot, tuple(kinds))
            journal.close()
        assert found == []

    with spied(monkeypatch) as made:
        run_stack(file.parent / "stack", main, names=everything, start=False)
    assert made == []


def test_the_spy_sees_a_signer(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with spied(monkeypatch) as made:
        seen, _, _ = against_dialects(file, Environment.LIVE)
    assert seen.states
    assert {"make_signer of lighter", "make_signer of hyperliquid"} <= set(made)


def test_live_without_keys_says_which_to_set(file: Path) -> None:
    def empty(spec: VenueSpec, environment: str, account: str) -> Credentials:
        return Credentials(spec.name, {})

    async def main(sim: Simulation) -> None:
        with pytest.raises(MissingCredentials, match="LIGHTER_API_KEY_PRIVATE_KEY"):
            async with surroundings(Environment.LIVE, [load(file)], sim.runtime, home=file.parent, resolve=empty):
                raise AssertionError

    run(main)


def test_two_bots_share_a_client_only_when_they_agree(file: Path) -> None:
    other = file.with_name("other.yaml")
    other.write_text(YAML.replace("max_book_age_s: 5", "max_book_age_s: 6"))

    async def main(sim: Simulation) -> None:
        with pytest.raises(InvalidConfig, match="share its client"):
            async with surroundings(Environment.PAPER, [load(file), load(other)], sim.runtime, home=file.parent, resolve=no_keys):
                raise AssertionError
        other.write_text(YAML.replace("balance_usd: 20000", "balance_usd: 30000"))
        with pytest.raises(InvalidConfig, match="declare it differently"):
            async with surroundings(Environment.PAPER, [load(file), load(other)], sim.runtime, home=file.parent, resolve=no_keys):
                raise AssertionError

    run(main)
