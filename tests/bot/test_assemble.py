"""Bots of one process: what they share, what keeps them apart, and a configuration that could not be told apart."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from database.connect import sqlite_url
from database.journal import Journal
from exchange_clients.model import Side
from exchange_simulator.core.types import to_fraction
from perpkit.bot.assemble import assembled
from perpkit.bot.config import InvalidConfig, parse
from perpkit.bot.environments import Environment, surroundings
from strategies.execution.ticket import Ticket
from tests.bot.test_environments import keys_of
from tests.strategies.stack import MID, VENUES, Stack, run_stack

FUNDING = parse(
    {
        "strategy": "funding_arbitrage",
        "venues": list(VENUES),
        "parameters": {
            "symbols": ["BTC"],
            "min_profit": "0.0001",
            "profitability_horizon_hours": 168,
            "default_position_size_usd": 1000,
            "execution": {"naked_cap_usd": 2000},
        },
    }
)
GRID = parse(
    {
        "strategy": "grid",
        "venues": ["lighter"],
        "parameters": {"symbols": ["BTC"], "grid_step": "0.3", "take_profit": "0.3", "order_notional_usd": "1000", "max_orders": 3},
    }
)


def test_two_bots_share_journal_clients_and_ownership_and_keep_apart(tmp_path: Path) -> None:
    async def main(stack: Stack) -> None:
        for name, rate in zip(VENUES, ("0.0004", "-0.0004"), strict=True):
            truth = stack.venues[name]
            truth.exchange.set_funding_rate(truth.now(), truth.symbol, to_fraction(rate))
        ends = {name: truth.ready.endpoints for name, truth in stack.venues.items()}
        both = [FUNDING, GRID]
        async with surroundings(Environment.LIVE, both, stack.runtime, home=tmp_path, resolve=keys_of(stack), endpoints=ends) as around:
            journal = Journal.open(sqlite_url(tmp_path / "journal.db"))
            async with assembled(both, around.clients, journal, around.runtime, environment="live", heartbeat_s=1.0) as bots:
                funding, grid = bots["funding_arbitrage:main"], bots["grid:main"]
                assert funding.clients["lighter"] is grid.clients["lighter"]
                assert funding.engine.ownership is grid.desk.ownership is bots.ownership
                life = asyncio.create_task(bots.run())
                await stack.settle(40)
                assert [record.state.value for record in journal.pairs()] == ["hedged"]
                assert [record.strategy for record in journal.holdings()] == ["grid"]
                (pair,) = funding.engine.pairs.values()
                (holding,) = grid.desk.holdings.values()
                own = sum(trader.own for leg, trader in pair.legs.items() if pair.record.venue(leg) == "lighter")
                assert stack.venues["lighter"].position() == holding.own + own
                bots.ask_to_stop()
                await life
                await bots.stop()
                decisions = journal.decisions()
                assert {d.strategy for d in decisions} >= {"funding_arbitrage", "grid"}
                assert len({d.decision_id for d in decisions}) == len(decisions)
                runs = journal.runs()
                assert len({run.run_id for run in runs}) == 2
                assert all(run.ended_at is not None and run.heartbeat_at > run.started_at for run in runs)
                assert {run.strategy: run.ending.rpartition(": ")[2] for run in runs}["funding_arbitrage"] == "hedged hold"
            journal.close()

    run_stack(tmp_path / "stack", main, start=False)


def test_bots_that_could_not_be_told_apart_are_refused(tmp_path: Path) -> None:
    async def main(stack: Stack) -> None:
        journal = Journal.open(sqlite_url(tmp_path / "journal.db"))
        with pytest.raises(InvalidConfig, match="another account name"):
            async with assembled([GRID, GRID], {}, journal, stack.runtime, environment="live"):
                raise AssertionError
        with pytest.raises(InvalidConfig, match="no client for lighter on account main"):
            async with assembled([GRID], {}, journal, stack.runtime, environment="live"):
                raise AssertionError
        journal.close()

    run_stack(tmp_path / "stack", main, names=(), start=False)


def test_two_account_names_with_the_same_keys_are_refused(tmp_path: Path) -> None:
    other = parse({**GRID.model_dump(exclude={"risk", "paper"}), "account": "second"})

    async def main(stack: Stack) -> None:
        ends = {name: truth.ready.endpoints for name, truth in stack.venues.items()}
        with pytest.raises(InvalidConfig, match="same keys on lighter"):
            async with surroundings(Environment.LIVE, [GRID, other], stack.runtime, home=tmp_path, resolve=keys_of(stack), endpoints=ends):
                raise AssertionError

    run_stack(tmp_path / "stack", main, names=("lighter",), start=False)


@pytest.mark.parametrize(("quantity", "ending"), [("0", "flat"), ("0.01", "held")])
def test_a_holding_that_is_empty_at_the_end_is_flat(tmp_path: Path, quantity: str, ending: str) -> None:
    """Its resting entry came off with the stop."""

    async def main(stack: Stack) -> None:
        ends = {name: truth.ready.endpoints for name, truth in stack.venues.items()}
        async with surroundings(Environment.LIVE, [GRID], stack.runtime, home=tmp_path, resolve=keys_of(stack), endpoints=ends) as around:
            journal = Journal.open(sqlite_url(tmp_path / "journal.db"))
            async with assembled([GRID], around.clients, journal, around.runtime, environment="live") as bots:
                (bot,) = bots
                holding = await bot.desk.open_holding(str(around.clients["main"]["lighter"].instruments.get("BTC").id), sign=1)
                await holding.place(Ticket(side=Side.BUY, quantity=Decimal("0.01"), price=MID * Decimal("0.9"), post_only=True))
                if Decimal(quantity):
                    await holding.place(Ticket(side=Side.BUY, quantity=Decimal(quantity)))
                await stack.settle(5)
                assert holding.own == Decimal(quantity)
                await bots.stop()
                assert bot.endings == {holding.holding_id: ending}
                (run,) = journal.runs()
                assert (run.ending == "flat") is (ending == "flat")
            journal.close()

    run_stack(tmp_path / "stack", main, start=False)
