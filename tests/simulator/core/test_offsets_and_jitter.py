"""Settlements off whole hours, and events that keep their order under random delays."""

from __future__ import annotations

import random
from decimal import Decimal

import pytest

from exchange_simulator.core.events import FundingSettled
from exchange_simulator.core.exchange import Exchange
from exchange_simulator.core.types import NANOS_PER_HOUR as H
from exchange_simulator.core.types import Market
from exchange_simulator.simloop import Simulation, run
from exchange_simulator.simulated_venue import SimulatedVenue, simulated_spec
from tests.simulator.core.test_simulated_client import BTC


def test_a_market_settles_at_its_offset_also_after_its_interval_changed() -> None:
    market = Market("X", Decimal("0.1"), Decimal("0.001"), funding_interval_ns=8 * H, funding_offset_ns=4 * H)
    exchange = Exchange()
    exchange.add_market(0, market, mark=1_000)
    exchange.advance(24 * H)
    shorter = Market("X", Decimal("0.1"), Decimal("0.001"), funding_interval_ns=2 * H, funding_offset_ns=H)
    exchange.change_market(24 * H, shorter)
    exchange.advance(30 * H)
    assert [e.ts_ns // H for e in exchange.drain() if isinstance(e, FundingSettled)] == [4, 12, 20, 25, 27, 29]
    with pytest.raises(ValueError, match="less than the interval"):
        Market("X", Decimal("0.1"), Decimal("0.001"), funding_interval_ns=H, funding_offset_ns=H)


def test_random_delays_do_not_turn_events_around() -> None:
    async def main(sim: Simulation) -> list[int]:
        clock = sim.runtime.clock
        venue = SimulatedVenue(simulated_spec("sim"), [BTC], clock, report_latency_s=0.01, jitter_s=0.5, rng=random.Random(3))
        heard: list[int] = []

        class Ear:
            def on_event(self, event: object) -> None:
                heard.append(getattr(event, "seq", 0))

            def on_quote(self, contract_id: str) -> None: ...

            def suspended(self, contract_id: str, reason: str) -> None: ...

        stop = venue.listen(Ear())
        for n in range(30):
            venue.set_mark("1", Decimal(500 + n))
            await clock.sleep(0.02)
        await clock.sleep(1)
        stop()
        await venue.close()
        return heard

    heard = run(main)
    assert len(heard) >= 30
    assert heard == sorted(heard)
    with pytest.raises(ValueError, match="jitter needs an rng"):
        run(lambda sim: _made(sim))


async def _made(sim: Simulation) -> None:
    SimulatedVenue(simulated_spec("sim"), [BTC], sim.runtime.clock, jitter_s=1)
