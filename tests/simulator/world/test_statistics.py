"""The process has the moments it was fitted to. Seeds are fixed; tolerances say how far a sample of this length may stray."""

from __future__ import annotations

import math
import statistics
from itertools import pairwise

import pytest

from exchange_simulator.core.types import Side
from exchange_simulator.world.funding import FundingField
from exchange_simulator.world.grid import CELL_NS, STEPS
from exchange_simulator.world.liquidity import BookState, ListingLiquidity
from exchange_simulator.world.params import REACH_BPS, fitted
from exchange_simulator.world.prices import PriceField
from exchange_simulator.world.profiles import Scenario, VenueProfile
from tests.simulator.world.worlds import EIGHT, FIGURES, HOUR_NS, START_NS, TICKS

FIRST_CELL = START_NS // CELL_NS


def rms(values: list[float]) -> float:
    return math.sqrt(statistics.fmean(v * v for v in values))


def kurtosis(values: list[float]) -> float:
    return statistics.fmean(v**4 for v in values) / statistics.fmean(v * v for v in values) ** 2


@pytest.mark.slow
def test_eight_hour_returns_have_the_recorded_size_and_tails() -> None:
    returns = []
    for seed in range(3):
        prices = PriceField(seed, ["BTC"], START_NS, fitted(), Scenario())
        logs = [math.log(prices.at_cell("BTC", FIRST_CELL + 480 * k)) for k in range(301)]
        returns += [b - a for a, b in pairwise(logs)]
    jumps = fitted().number("price.jumps_per_day") / 3 * fitted().number("price.jump_sd") ** 2
    assert rms(returns) == pytest.approx(math.sqrt(fitted().number("price.vol_8h") ** 2 + jumps), rel=0.12)
    assert 4 < kurtosis(returns) < 20
    assert abs(statistics.fmean(returns)) < 4 * rms(returns) / math.sqrt(len(returns))


def test_scenario_scales_volatility_and_switches_jumps_off() -> None:
    wild, calm = (PriceField(4, ["SOL"], START_NS, fitted(), s) for s in (Scenario(), Scenario(volatility=0.5, jumps=0.0)))
    ratio = []
    for k in range(1, 3_000):
        moves = [math.log(p.at_cell("SOL", FIRST_CELL + k + 1) / p.at_cell("SOL", FIRST_CELL + k)) for p in (wild, calm)]
        if moves[1]:
            ratio.append(moves[0] / moves[1])
    assert statistics.median(ratio) == pytest.approx(2.0, rel=1e-6)


def test_assets_move_together() -> None:
    prices = PriceField(8, ["BTC", "SOL"], START_NS, fitted(), Scenario(jumps=0.0))
    paths = [[math.log(prices.at_cell(a, FIRST_CELL + k)) for k in range(4_000)] for a in ("BTC", "SOL")]
    btc, sol = ([b - a for a, b in pairwise(path)] for path in paths)
    assert statistics.correlation(btc, sol) == pytest.approx(fitted().number("price.asset_correlation"), abs=0.04)
    assert rms(sol) / rms(btc) == pytest.approx(fitted().number("price.vol_ratio.SOL"), rel=0.06)


def test_fine_steps_stand_still_as_often_as_recorded_and_join_their_minutes() -> None:
    prices = PriceField(3, ["BTC"], START_NS, fitted(), Scenario())
    moves: list[float] = []
    for k in range(40):
        cell = prices.cell("BTC", FIRST_CELL + k)
        assert len(cell.prices) == STEPS + 1
        assert cell.prices[0] == prices.at_cell("BTC", FIRST_CELL + k)
        assert cell.prices[-1] == pytest.approx(prices.at_cell("BTC", FIRST_CELL + k + 1), rel=1e-12)
        moves += [math.log(b / a) for a, b in pairwise(cell.prices)]
    assert sum(m == 0 for m in moves) / len(moves) == pytest.approx(0.78, abs=0.03)  # recorded: 0.778 of 250 ms steps
    assert kurtosis(moves) > 30  # recorded: 95


@pytest.mark.slow
def test_premiums_follow_the_recorded_distribution_and_persistence() -> None:
    field = FundingField(2, [FIGURES, TICKS], START_NS, fitted(), Scenario(), history_hours=20_000)
    hours = range(field.first_hour, field.first_hour + 20_000)
    scores = {v: [field.score(v, "BTC", h) for h in hours] for v in ("figures", "ticks")}
    own = scores["figures"]
    weight = fitted().number("funding.slow_weight.hourly")
    for lag in (1, 8):
        expected = weight * math.exp(-lag / fitted().number("funding.slow_hours"))
        expected += (1 - weight) * math.exp(-lag / fitted().number("funding.fast_hours"))
        assert statistics.correlation(own[:-lag], own[lag:]) == pytest.approx(expected, abs=0.07)
    venue = fitted().number("funding.venue_correlation")
    assert statistics.correlation(own, scores["ticks"]) == pytest.approx(venue, abs=0.1)
    premiums = [field.premium_of("figures", "BTC", h * HOUR_NS) for h in hours]
    assert statistics.median(premiums) == pytest.approx(fitted().table("funding.premium_z.hyperliquid")[16], abs=0.0001)


@pytest.mark.slow
def test_eight_hour_rates_sit_at_the_interest_rate_as_often_as_recorded() -> None:
    share, spread = [], []
    for seed in range(4):
        field = FundingField(seed, [EIGHT], START_NS, fitted(), Scenario(), history_hours=8 * 1_500)
        rates = [field.rate("eight", "BTC", h * HOUR_NS) for h in range(field.first_hour, field.first_hour + 12_000) if h % 8 == 0]
        share.append(sum(abs(r - 0.0001) < 1e-9 for r in rates) / len(rates))
        spread.append(statistics.pstdev(rates))
    assert statistics.fmean(share) == pytest.approx(0.407, abs=0.08)  # binance 2020-2023
    assert statistics.fmean(spread) == pytest.approx(0.000257, rel=0.35)


def books(venue: VenueProfile, asset: str, fair: float, *, count: int = 400, every: int = 25) -> tuple[ListingLiquidity, list[BookState]]:
    listing = venue.listing(asset)
    assert listing is not None
    process = ListingLiquidity(6, venue, listing, fitted())
    return process, [process.book(fair * (1 + (k % 17) * 1e-5), k * every) for k in range(count)]


def test_depth_behind_the_touch_is_the_recorded_one() -> None:
    process, states = books(FIGURES, "BTC", 100_000.0)
    tick, step = float(process.listing.tick_size), float(process.listing.step_size)
    for reach in (2.0, 8.0, 32.0):
        depth = []
        for state in states:
            for rows in (state.bids, state.asks):
                touch = rows[0][0]
                depth.append(sum(p * tick * s * step for p, s in rows[1:] if abs(p - touch) / touch * 1e4 <= reach))
        expected = fitted().liquidity("dex").depth_usd[REACH_BPS.index(reach)]
        assert statistics.fmean(depth) == pytest.approx(expected, rel=0.3)


@pytest.mark.parametrize(("venue", "asset", "fair"), [(FIGURES, "BTC", 100_000.0), (TICKS, "SOL", 180.0), (FIGURES, "PEPE", 0.0000125)])
def test_books_are_sound(venue: VenueProfile, asset: str, fair: float) -> None:
    process, states = books(venue, asset, fair, count=100)
    for state in states:
        bids, asks = [p for p, _ in state.bids], [p for p, _ in state.asks]
        assert bids == sorted(set(bids), reverse=True)
        assert asks == sorted(set(asks))
        assert 0 < bids[0] < asks[0]
        assert all(s > 0 for _, s in (*state.bids, *state.asks))
        assert all(p % process.listing.quantum(p) == 0 for p in (*bids, *asks))
        assert len(bids) >= 15
        assert len(asks) >= 15
        ratio = (bids[0] + asks[0]) / 2 * float(process.listing.tick_size) / process.listing.tokens / fair
        assert ratio == pytest.approx(1.0, abs=0.002)


@pytest.mark.slow
def test_spreads_follow_the_recorded_quantiles() -> None:
    _, states = books(FIGURES, "PEPE", 0.0000125, count=1_500, every=4)
    widths = sorted((s.asks[0][0] - s.bids[0][0]) / s.bids[0][0] * 1e4 for s in states)
    table = fitted().liquidity("small").spread_bps
    factor = fitted().asset("PEPE").spread_factor
    for u in (0.25, 0.5, 0.75):
        assert widths[int(u * len(widths))] == pytest.approx(table[int(u * 32)] * factor, abs=0.8)  # one tick is 0.8 bps


def test_levels_persist_and_change_one_by_one() -> None:
    listing = FIGURES.listings[0]
    process = ListingLiquidity(6, FIGURES, listing, fitted())
    before = dict(process.book(100_000.0, 0).bids)
    soon, late = dict(process.book(100_000.0, 1).bids), dict(process.book(100_000.0, 240).bids)
    assert 0.6 < sum(soon.get(p) == s for p, s in before.items()) / len(before) < 1.0
    assert sum(late.get(p) == s for p, s in before.items()) / len(before) < 0.5


def test_orders_arrive_as_recorded() -> None:
    large = VenueProfile("large", FIGURES.listings[:1], trade_rate=1.0)
    prices = PriceField(3, ["BTC"], START_NS, fitted(), Scenario())
    process = ListingLiquidity(6, large, large.listings[0], fitted())
    counts, with_move = [], []
    for k in range(30):
        cell = prices.cell("BTC", FIRST_CELL + k)
        for i, orders in enumerate(process.orders(cell, FIRST_CELL + k)):
            counts.append(len(orders))
            move = cell.prices[i + 1] - cell.prices[i]
            with_move += [(o.side is Side.BUY) == (move > 0) for o in orders if move]
    assert statistics.fmean(counts) == pytest.approx(3.9, rel=0.25)  # recorded: 3.90 per 250 ms
    assert statistics.pvariance(counts) / statistics.fmean(counts) > 3  # recorded: 11.6, far from Poisson
    assert statistics.fmean(with_move) == pytest.approx(fitted().number("trades.with_move"), abs=0.05)
