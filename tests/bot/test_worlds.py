"""A journal belongs to one world: positions of another environment are never taken for those of this one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from database.journal import Journal
from database.records import Leg, PairRecord, PairState, RunRecord
from exchange_clients.base_client import BaseExchangeClient
from exchange_clients.errors import MissingCredentials
from exchange_clients.signing import Credentials
from exchange_clients.spec import VenueSpec
from exchange_simulator.paper_client import PaperClient
from perpkit.bot.closing import NotReal, check_real
from perpkit.bot.config import BotConfig, InvalidConfig, load, parse
from perpkit.bot.connecting import NotAllowed
from perpkit.bot.environments import Environment, surroundings
from perpkit.bot.runner import control_of
from perpkit.cli.failure import Failure
from perpkit.cli.options import Store
from perpkit.cli.positions import positions
from perpkit.cli.recover import recover
from perpkit.cli.stress import stress
from tests.bot.test_environments import keys_of
from tests.bot.test_runner import HOLDING, Playing, play


async def hold(p: Playing, environment: Environment) -> None:
    """A run that leaves a hedged pair in its journal."""
    life = p.begin(environment)
    await p.until(lambda: p.heard.bots is not None and PairState.HEDGED in p.states())
    p.stopper.ask("SIGTERM")
    await life


@pytest.mark.parametrize(("first", "then"), [(Environment.PAPER, Environment.LIVE), (Environment.LIVE, Environment.PAPER)])
def test_a_journal_of_another_environment_is_refused(tmp_path: Path, first: Environment, then: Environment) -> None:
    """`--journal` can name any: a live engine would answer virtual positions with real orders, a paper engine would book real ones away."""

    async def act(p: Playing) -> None:
        url = f"sqlite:///{tmp_path / 'one.db'}"
        p.journal_url = url
        await hold(p, first)
        held, sent = p.stack.positions(), sum(truth.commands() for truth in p.stack.venues.values())
        with pytest.raises(NotAllowed, match=f"was written in {first}.*--journal"):
            await asyncio.wait_for(p.begin(then), 30)
        assert p.stack.positions() == held
        assert sum(truth.commands() for truth in p.stack.venues.values()) == sent
        journal = Journal.open(url, read_only=True)
        assert [pair.state for pair in journal.pairs()] == [PairState.HEDGED]
        journal.close()

    play(tmp_path, act)


def test_what_is_open_on_a_testnet_is_not_taken_over_at_the_mainnet(tmp_path: Path) -> None:
    """Both are `--env live` and have one journal; the file of the bot says which world it is in."""

    async def act(p: Playing) -> None:
        await hold(p, Environment.LIVE)
        sent = sum(truth.commands() for truth in p.stack.venues.values())
        p.file.write_text(HOLDING.replace("lighter: {}", "lighter: {environment: mainnet}"))
        with pytest.raises(NotAllowed, match=r"open on lighter testnet.*environment: testnet"):
            await asyncio.wait_for(p.begin(), 30)
        assert sum(truth.commands() for truth in p.stack.venues.values()) == sent

    play(tmp_path, act, HOLDING.replace("lighter: {}", "lighter: {environment: testnet}"))


def test_e11_two_processes_never_trade_one_account_whatever_their_journals(tmp_path: Path) -> None:
    async def act(p: Playing) -> None:
        first = p.begin()
        await p.until(lambda: any("running" in line for line in p.heard.said))
        stopper = p.stopper
        p.journal_url = f"sqlite:///{tmp_path / 'another.db'}"
        with pytest.raises(InvalidConfig, match="another process trades this account on lighter"):
            await asyncio.wait_for(p.begin(), 30)
        stopper.ask("SIGTERM")
        await first
        again = p.begin()
        await p.until(lambda: any("running" in line for line in p.heard.said))
        p.stopper.ask("SIGTERM")
        await again

    play(tmp_path, act)


@pytest.mark.parametrize(
    "act", [lambda place: recover(store=place), lambda place: positions(store=place), lambda place: stress(store=place)]
)
def test_a_command_about_a_bot_on_a_testnet_asks_the_testnet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: Callable[[Store], int]
) -> None:
    """The keys of the mainnet would prove that nothing is there; `recover --apply` and the watchdog would act upon that."""
    asked: list[tuple[str, str]] = []

    def keys(spec: VenueSpec, environment: str = "mainnet", **_: object) -> Credentials:
        asked.append((spec.name, environment))
        raise MissingCredentials("enough seen", venue=spec.name)

    _a_pair(tmp_path, "venues: {lighter: {environment: testnet}, hyperliquid: {environment: prod}}")
    monkeypatch.setattr(Credentials, "from_env", keys)
    with contextlib.suppress(MissingCredentials):
        act(Store(home=tmp_path))
    assert set(asked) <= {("lighter", "testnet"), ("hyperliquid", "mainnet")}
    assert asked


def test_two_paper_accounts_in_different_worlds_each_see_their_own(tmp_path: Path) -> None:
    """The data of the first account's testnet is nothing to judge the second account's mainnet by."""
    text = HOLDING.replace("lighter: {}", "lighter: {environment: testnet}")
    (tmp_path / "other.yaml").write_text(HOLDING.replace("account: main", "account: other"))

    async def act(p: Playing) -> None:
        configs = [load(p.file), load(tmp_path / "other.yaml")]
        ends = {name: truth.ready.endpoints for name, truth in p.stack.venues.items()}
        async with surroundings(
            Environment.PAPER, configs, p.stack.runtime, home=tmp_path, resolve=keys_of(p.stack), endpoints=ends
        ) as around:
            live: dict[tuple[str, str], BaseExchangeClient] = {}
            for account, clients in around.clients.items():
                for venue, client in clients.items():
                    assert isinstance(client, PaperClient)
                    live[account, venue] = client.paper.live
            found = {account: live[account, "lighter"].config.environment for account in ("main", "other")}
            assert found == {"main": "testnet", "other": "mainnet"}
            assert live["main", "hyperliquid"] is live["other", "hyperliquid"], "what is the same is shared"

    play(tmp_path, act, text)


def test_positions_of_one_venue_in_two_worlds_need_a_word(tmp_path: Path) -> None:
    _a_pair(tmp_path, "venues: {lighter: {environment: testnet}}")
    _a_pair(tmp_path, "venues: {lighter: {}}", account="other")
    with pytest.raises(Failure, match="lighter is used in testnet and in mainnet"):
        recover(store=Store(home=tmp_path))


@pytest.mark.parametrize("started_at", [1, 3])
def test_real_orders_never_answer_virtual_positions_whatever_the_clock_said(tmp_path: Path, started_at: int) -> None:
    """A clock that was set back lets a pair begin before its bot did."""
    _a_pair(tmp_path, "venues: {lighter: {}}", environment="paper", started_at=started_at)
    journal = Journal.open(f"sqlite:///{tmp_path / 'journal.db'}", read_only=True)
    with pytest.raises(NotReal, match="was opened in paper"):
        check_real(journal, journal.pairs())
    journal.close()


def test_a_control_api_that_would_be_passed_over_is_told() -> None:
    def bot(account: str, **more: Any) -> BotConfig:
        return parse({"strategy": "funding_arbitrage", "account": account, "venues": ["lighter", "hyperliquid"], **more})

    one = control_of([bot("a"), bot("b", control={"port": 9000}), bot("c", control={"port": 9000})])
    assert one is not None
    assert one.port == 9000
    with pytest.raises(InvalidConfig, match="share one control API"):
        control_of([bot("a", control={"port": 9000}), bot("b", control={"port": 9000, "reads_without_key": True})])


def _a_pair(home: Path, config: str, account: str = "main", *, environment: str = "live", started_at: int = 1) -> None:
    """One that a bot with this file left open."""
    journal = Journal.open(f"sqlite:///{home / 'journal.db'}")
    ids = ("BTC-USDC-PERP.lighter", "BTC-USDC-PERP.hyperliquid")
    pair = PairRecord(
        pair_id=f"p-{account}",
        strategy="funding_arbitrage",
        account=account,
        symbol="BTC",
        state=PairState.HEDGED,
        long_venue="lighter",
        long_instrument=ids[0],
        short_venue="hyperliquid",
        short_instrument=ids[1],
        first_leg=Leg.LONG,
        quantity=Decimal("0.01"),
        foreign_long=Decimal(0),
        foreign_short=Decimal(0),
        plan="{}",
        created_at=2,
        updated_at=2,
    )
    run = RunRecord(
        run_id=f"r-{account}",
        strategy=pair.strategy,
        account=account,
        environment=environment,
        config=config,
        started_at=started_at,
        heartbeat_at=started_at,
    )
    journal.write(pair, run)
    journal.close()
