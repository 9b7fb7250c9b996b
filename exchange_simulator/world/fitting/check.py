"""The fitted process beside the recordings: the same figures of both."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

from exchange_simulator.world.fitting.funding import INTEREST, load_funding
from exchange_simulator.world.fitting.tables import (
    BINANCE_FULL,
    THREE_VENUES,
    cross_correlation,
    lag_correlation,
    normal_scores,
    percentile,
)
from exchange_simulator.world.fitting.trades import binance_touch_and_trades, on_grid
from exchange_simulator.world.funding import FundingField
from exchange_simulator.world.grid import CELL_NS
from exchange_simulator.world.params import Params
from exchange_simulator.world.prices import PriceField
from exchange_simulator.world.profiles import Listing, Scenario, VenueProfile
from exchange_simulator.world.recordings import HOUR_NS, read_three_venue_bars

START_NS = 1_780_000_000 * 10**9 // (8 * HOUR_NS) * (8 * HOUR_NS)
SEEDS = range(6)
_BTC = (Listing("BTC", "BTC", Decimal("0.1"), Decimal("0.001")),)


def compare(root: Path, params: Params) -> str:
    """A Markdown table; simulated figures are means over six fixed seeds."""
    rows = [*_returns(root, params), *_fine(root, params), *_hourly(root, params), *_eight_hourly(root, params)]
    lines = [f"| {what} | {recorded:.3g} | {simulated:.3g} |" for what, recorded, simulated in rows]
    return "\n".join(["| figure | recorded | simulated |", "|---|---|---|", *lines])


def kurtosis(values: Sequence[float]) -> float:
    return statistics.fmean(v**4 for v in values) / statistics.fmean(v * v for v in values) ** 2


def _rms(values: Sequence[float]) -> float:
    return math.sqrt(statistics.fmean(v * v for v in values))


def _returns(root: Path, params: Params) -> list[tuple[str, float, float]]:
    bars = read_three_venue_bars(root / THREE_VENUES)["binance", "BTCUSDT", "perpetual"]
    recorded = [math.log(b.close / a.close) for a, b in pairwise(bars)]
    first = START_NS // CELL_NS
    simulated: list[float] = []
    for seed in SEEDS:
        prices = PriceField(seed, ["BTC"], START_NS, params, Scenario())
        logs = [math.log(prices.at_cell("BTC", first + 480 * k)) for k in range(400)]
        simulated += [b - a for a, b in pairwise(logs)]
    return [
        ("8 h return of BTC: root mean square, %", _rms(recorded) * 100, _rms(simulated) * 100),
        ("8 h return of BTC: kurtosis", kurtosis(recorded), kurtosis(simulated)),
        ("8 h return of BTC: 1 % quantile, %", percentile(recorded, 0.01) * 100, percentile(simulated, 0.01) * 100),
        ("8 h return of BTC: 99 % quantile, %", percentile(recorded, 0.99) * 100, percentile(simulated, 0.99) * 100),
    ]


def _fine(root: Path, params: Params) -> list[tuple[str, float, float]]:
    mids = [(ts, mid) for ts, _, _, mid in binance_touch_and_trades(root / BINANCE_FULL) if mid]
    grid = on_grid(mids, mids[0][0], 250, (mids[-1][0] - mids[0][0]) // 250)
    recorded = [math.log(b / a) for a, b in pairwise(grid)]
    simulated: list[float] = []
    for seed in SEEDS:
        prices = PriceField(seed, ["BTC"], START_NS, params, Scenario())
        for k in range(6):
            simulated += [math.log(b / a) for a, b in pairwise(prices.cell("BTC", START_NS // CELL_NS + k).prices)]
    still = [sum(m == 0 for m in x) / len(x) for x in (recorded, simulated)]
    return [
        ("250 ms return of BTC: share of zeros", still[0], still[1]),
        ("250 ms return of BTC: kurtosis", kurtosis(recorded), kurtosis(simulated)),
    ]


def _hourly(root: Path, params: Params) -> list[tuple[str, float, float]]:
    points = [p for p in load_funding(root)["hyperliquid"].points if p.interval_hours == 1]
    recorded = {p.ts_ns // HOUR_NS: float(p.premium) for p in points if p.premium is not None}
    found = []
    for seed in SEEDS:
        field = FundingField(seed, [VenueProfile("x", _BTC)], START_NS, params, Scenario(), history_hours=5_000)
        premiums = {h: field.premium_of("x", "BTC", h * HOUR_NS) for h in range(field.first_hour, field.first_hour + 5_000)}
        found.append((_spread(premiums.values()), *(lag_correlation(premiums, lag) for lag in (1, 8, 24))))
    means = [statistics.fmean(x) for x in zip(*found, strict=True)]
    own = [_spread(recorded.values()), *(lag_correlation(recorded, lag) for lag in (1, 8, 24))]
    names = ["sd, bps", "correlation after 1 h", "after 8 h", "after 24 h"]
    rows = [(f"hourly premium: {n}", a, b) for n, a, b in zip(names, own, means, strict=True)]
    return [(rows[0][0], rows[0][1] * 1e4, rows[0][2] * 1e4), *rows[1:]]


def _spread(values: Iterable[float]) -> float:
    return statistics.pstdev(list(values))


def _eight_hourly(root: Path, params: Params) -> list[tuple[str, float, float]]:
    series = load_funding(root)
    recorded = [{p.ts_ns // (8 * HOUR_NS): float(p.rate) for p in series[v].points} for v in ("binance", "bybit")]
    venues = [VenueProfile(v, _BTC, funding_interval_hours=8, premium=v) for v in ("binance", "bybit")]
    found = []
    for seed in SEEDS:
        field = FundingField(seed, venues, START_NS, params, Scenario(), history_hours=8 * 3_300)
        steps = range(-(-field.first_hour // 8), START_NS // (8 * HOUR_NS))
        found.append(_figures([{k: field.rate(v.name, "BTC", 8 * k * HOUR_NS) for k in steps} for v in venues]))
    means = [statistics.fmean(x) for x in zip(*found, strict=True)]
    names = ["sd, bps", "share at 0.01 %", "correlation after 24 h", "after 7 days", "with the other venue"]
    return [(f"8 h rate of binance: {n}", a, b) for n, a, b in zip(names, _figures(recorded), means, strict=True)]


def _figures(venues: Sequence[dict[int, float]]) -> list[float]:
    """Of the first of two venues; correlations are of normal scores."""
    scores = [dict(zip(v, normal_scores(list(v.values())), strict=True)) for v in venues]
    rates = list(venues[0].values())
    at_base = sum(abs(r - INTEREST) < 1e-9 for r in rates) / len(rates)
    lags = [lag_correlation(scores[0], lag) for lag in (3, 21)]
    return [statistics.pstdev(rates) * 1e4, at_base, *lags, cross_correlation(scores[0], scores[1])]
