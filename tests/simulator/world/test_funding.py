"""Units, intervals and formula of the rates, and what an exchange charges with them."""

from __future__ import annotations

from itertools import pairwise

import pytest

from exchange_simulator.core.events import FundingSettled
from exchange_simulator.core.types import UNIT
from exchange_simulator.world.exact import stream
from exchange_simulator.world.funding import FundingField, TwoScale
from exchange_simulator.world.params import fitted
from exchange_simulator.world.profiles import FundingEdge, Scenario, demo_scenario
from tests.simulator.world.worlds import EIGHT, FIGURES, HOUR_NS, START_NS, TICKS, build

INTEREST_8H = 0.0001


def test_the_rate_is_the_published_formula_of_the_premium() -> None:
    field = FundingField(3, [FIGURES], START_NS, fitted(), Scenario(), history_hours=5_000)
    kinds = set()
    for hour in range(field.first_hour, field.first_hour + 5_000):
        premium = field.premium_of("figures", "BTC", hour * HOUR_NS)
        pull = min(0.0005, max(-0.0005, INTEREST_8H - premium))
        assert field.rate("figures", "BTC", hour * HOUR_NS) == pytest.approx((premium + pull) / 8, abs=1e-15)
        kinds.add("interest" if abs(INTEREST_8H - premium) <= 0.0005 else "clamped")
    assert kinds == {"interest", "clamped"}


def test_calm_markets_pay_exactly_the_interest_rate() -> None:
    world, _ = build(3)
    rates = [rate for _, rate in world.funding("ticks").history("1", START_NS - 500 * HOUR_NS, START_NS)]
    assert rates.count(UNIT * 125 // 10**7) > 250


def test_an_exchange_charges_what_the_history_says() -> None:
    world, exchanges = build(5)
    exchanges["figures"].drain()
    world.advance_to(START_NS + 5 * HOUR_NS)
    settled = [(e.ts_ns, e.rate) for e in exchanges["figures"].drain() if isinstance(e, FundingSettled) and e.market == "SOL"]
    assert len(settled) == 5
    assert settled == world.funding("figures").history("SOL", START_NS + 1, START_NS + 5 * HOUR_NS)


def test_settlements_see_the_index_of_their_own_moment() -> None:
    world, exchanges = build(5)
    exchanges["figures"].drain()
    world.advance_to(START_NS + HOUR_NS)
    settled = next(e for e in exchanges["figures"].drain() if isinstance(e, FundingSettled) and e.market == "SOL")
    assert settled.ref_price == world.state("figures", "SOL", START_NS + HOUR_NS).index


def test_eight_hour_venues_settle_on_their_grid_with_whole_rates() -> None:
    world, exchanges = build(4, EIGHT)
    exchanges["eight"].drain()
    world.advance_to(START_NS + 48 * HOUR_NS)
    settled = [e for e in exchanges["eight"].drain() if isinstance(e, FundingSettled)]
    assert [e.ts_ns // HOUR_NS % 24 for e in settled] in ([0, 8, 16] * 2, [8, 16, 0] * 2, [16, 0, 8] * 2)
    history = world.funding("eight").history("BTC-8", START_NS - 700 * HOUR_NS, START_NS)
    assert len(history) == 87
    assert sum(rate == UNIT // 10_000 for _, rate in history) > 10


def test_the_estimate_becomes_the_settled_rate() -> None:
    world, _ = build(5)
    funding, settles = world.funding("figures"), START_NS + 7 * HOUR_NS
    charged = funding.settle("BTC", settles, HOUR_NS)
    assert funding.estimate("BTC", settles, HOUR_NS) == charged
    assert funding.estimate("BTC", settles - 1, HOUR_NS) == pytest.approx(charged, abs=UNIT / 10**9)


def test_a_rate_for_another_interval_is_scaled() -> None:
    world, _ = build(5)
    funding = world.funding("figures")
    hourly = funding.settle("BTC", START_NS + HOUR_NS, HOUR_NS)
    assert funding.settle("BTC", START_NS + HOUR_NS, 4 * HOUR_NS) == pytest.approx(4 * hourly, abs=4 * UNIT / 10**10)


def test_an_edge_raises_rate_and_premium_and_then_fades() -> None:
    edge = FundingEdge("SOL", "figures", edge_per_hour=0.0001, hold_hours=10, half_life_hours=2)
    plain = FundingField(9, [FIGURES, TICKS], START_NS, fitted(), Scenario())
    shaped = FundingField(9, [FIGURES, TICKS], START_NS, fitted(), Scenario(edges=(edge,)))

    def added(venue: str, asset: str, hours: float) -> float:
        at = START_NS + round(hours * HOUR_NS)
        return shaped.rate(venue, asset, at) - plain.rate(venue, asset, at)

    assert added("figures", "SOL", 1) == pytest.approx(0.0001)
    assert added("figures", "SOL", 10) == pytest.approx(0.0001)
    assert added("figures", "SOL", 14) == pytest.approx(0.000025)
    assert added("ticks", "SOL", 1) == 0
    assert added("figures", "BTC", 1) == 0
    at = START_NS + HOUR_NS
    assert shaped.premium("figures", "SOL", at) - plain.premium("figures", "SOL", at) == pytest.approx(0.0008)


@pytest.mark.parametrize("seed", range(1, 13))
def test_the_demo_scenario_has_a_clear_edge_for_any_seed(seed: int) -> None:
    """A day of funding pays more than two taker fees of 4.5 bps on one leg, and the difference is nothing absurd."""
    field = FundingField(seed, [FIGURES, TICKS], START_NS, fitted(), demo_scenario("SOL", "figures"))
    hours = [START_NS + h * HOUR_NS for h in range(1, 25)]
    earned = sum(field.rate("figures", "SOL", h) - field.rate("ticks", "SOL", h) for h in hours)
    assert 0.0010 < earned < 0.0060
    later = field.edge("figures", "SOL", START_NS + 36 * HOUR_NS)
    assert later < 0.00001


def test_two_scales_are_stationary_and_forget_at_their_own_pace() -> None:
    pair = TwoScale(stream(1), 50.0, 2.0)
    values = [pair.at(k) for k in range(40_000)]
    for which, keep in ((0, 0.9802), (1, 0.6065)):
        xs = [v[which] for v in values]
        mean = sum(xs) / len(xs)
        variance = sum((x - mean) ** 2 for x in xs) / len(xs)
        lag = sum((a - mean) * (b - mean) for a, b in pairwise(xs)) / len(xs)
        assert variance == pytest.approx(1.0, abs=0.15)
        assert lag / variance == pytest.approx(keep, abs=0.01)


def test_no_history_before_the_history() -> None:
    world, _ = build(5, history_hours=24)
    assert len(world.funding("figures").history("BTC", 0, START_NS)) == 25
    with pytest.raises(ValueError, match="before the world's history"):
        world.rates.score("figures", "BTC", START_NS // HOUR_NS - 25)
