"""Engine and strategy open, hold and close pairs on every registered venue with another one, whatever they are."""

import asyncio
from decimal import Decimal as D
from pathlib import Path

import pytest

from database.records import Leg, PairState
from exchange_clients import venues
from exchange_clients.model import NS_PER_HOUR
from exchange_simulator import dialects
from exchange_simulator.core.types import to_fraction
from tests.strategies.stack import Stack, run_stack
from tests.strategies.test_funding_arbitrage import strategy

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


@pytest.mark.slow
@pytest.mark.parametrize("names", PAIRS, ids="-".join)
def test_funding_arbitrage_opens_holds_and_closes_two_assets_at_once(tmp_path: Path, names: tuple[str, str]) -> None:
    """BTC long on the first venue, ETH long on the second, side by side; after the age limit both are left."""

    async def main(s: Stack) -> None:
        for venue, (btc, eth) in zip(s.venues.values(), (("0", "0.0002"), ("0.0002", "0")), strict=True):
            venue.list_too("ETH", D(3000))
            for base, hourly in (("BTC", btc), ("ETH", eth)):
                market = venue.ready.markets[base]
                hours = market.funding_interval_ns // NS_PER_HOUR
                venue.exchange.set_funding_rate(venue.now(), market.symbol, to_fraction(str(D(hourly) * hours)))
        await s.up()
        await asyncio.sleep(2)
        bot = await strategy(
            s,
            exchanges=names,
            enable_exit_polling=False,
            risk_config={"min_hold_hours": 0, "max_position_age_hours": "0.02"},
        )
        await bot.run_cycle()
        assert s.engine is not None
        held = {r.record.symbol: r.record for r in s.engine.pairs.values() if r.state is PairState.HEDGED}
        assert {symbol: (r.long_venue, r.short_venue) for symbol, r in held.items()} == {"BTC": names, "ETH": names[::-1]}
        signs = {(name, base): s.venues[name].ready.position(base) for name in names for base in ("BTC", "ETH")}
        long, short = names
        assert signs[long, "BTC"] == -signs[short, "BTC"] > 0
        assert signs[short, "ETH"] == -signs[long, "ETH"] > 0
        await asyncio.sleep(90)
        for venue in s.venues.values():
            venue.book()
            venue.refresh("ETH", D(3000))
        await asyncio.sleep(2)
        s.engine.halt("no new pair after these")
        await bot.run_cycle()
        assert {r.state for r in s.engine.pairs.values()} == {PairState.CLOSED}
        assert all(s.venues[name].ready.position(base) == 0 for name in names for base in ("BTC", "ETH"))
        assert all(bot.results[r.pair_id].sum("fee") < 0 for r in held.values())

    run_stack(tmp_path, main, names=names, start=False)
