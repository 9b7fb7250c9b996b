"""The engine opens, holds and closes a pair on every registered venue with another one, whatever they are."""

import asyncio
from decimal import Decimal as D
from pathlib import Path

import pytest

from database.records import Leg, PairState
from exchange_clients import venues
from exchange_simulator import dialects
from tests.strategies.stack import Stack, run_stack

NAMES = [name for name in venues.names() if name in dialects.names()]
PAIRS = [(name, NAMES[(number + 1) % len(NAMES)]) for number, name in enumerate(NAMES)]
"""Each once on the long side and once on the short side."""


@pytest.mark.slow
@pytest.mark.parametrize("names", PAIRS, ids="-".join)
@pytest.mark.parametrize("first", list(Leg))
def test_a_pair_is_opened_held_and_closed(tmp_path: Path, names: tuple[str, str], first: Leg) -> None:
    long, short = names

    async def main(s: Stack) -> None:
        opened = await s.open(first=first, quantity="0.02", slice_="0.01")
        assert opened.state is PairState.HEDGED
        assert s.positions() == {long: D("0.02"), short: D("-0.02")}
        await s.settle(60)
        assert s.engine is not None
        assert s.engine.pairs[opened.pair_id].state is PairState.HEDGED
        closed = await s.close(opened.pair_id)
        assert closed.state is PairState.CLOSED
        assert s.positions() == {long: 0, short: 0}
        assert not any(venue.exchange.open_orders(venue.account.account) for venue in s.venues.values())

    run_stack(tmp_path, main, names=names)


@pytest.mark.slow
@pytest.mark.parametrize("names", PAIRS, ids="-".join)
def test_a_restart_finds_the_pair_as_it_is(tmp_path: Path, names: tuple[str, str]) -> None:
    async def main(s: Stack) -> None:
        opened = await s.open(quantity="0.02")
        engine = await s.restart()
        async with asyncio.timeout(60):
            await engine.pairs[opened.pair_id].until_rest()
        assert engine.pairs[opened.pair_id].state is PairState.HEDGED
        await s.close(opened.pair_id)
        assert not any(s.positions().values())

    run_stack(tmp_path, main, names=names)
