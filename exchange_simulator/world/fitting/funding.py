"""Premium distributions, persistence and correlation from funding histories."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from exchange_simulator.world.fitting.tables import (
    HYPERLIQUID_FUNDING,
    NORMAL,
    Report,
    cross_correlation,
    lag_correlation,
    normal_scores,
    short,
    z_table,
)
from exchange_simulator.world.recordings import HOUR_NS, FundingSeries, read_hyperliquid_history, read_settlement_csv

INTEREST = 0.0001
CLAMP = 0.0005


def load_funding(root: Path) -> dict[str, FundingSeries]:
    folder = root / "funding_history"
    series = {s.venue: s for s in (read_settlement_csv(p) for p in sorted(folder.glob("*_BTC-USDT_*.csv")))}
    series["hyperliquid"] = read_hyperliquid_history(root / HYPERLIQUID_FUNDING)
    return series


def implied_premiums(rates: Sequence[float]) -> list[float]:
    """Premiums behind settled 8-hour rates: the formula undone; rates at the interest rate are spread evenly over its dead zone."""
    at_base = [i for i, rate in enumerate(rates) if abs(rate - INTEREST) < 1e-9]
    out = [rate + CLAMP if rate > INTEREST else rate - CLAMP for rate in rates]
    for rank, i in enumerate(at_base):
        out[i] = INTEREST - CLAMP + 2 * CLAMP * (rank + 0.5) / len(at_base)
    return out


def fit_funding(series: Mapping[str, FundingSeries], report: Report) -> None:
    """Marginal distribution per venue, two time scales of persistence, correlation between venues."""
    hourly = [p for p in series["hyperliquid"].points if p.interval_hours == 1]
    premium = {p.ts_ns: float(p.premium) for p in hourly if p.premium is not None}
    report.documented("funding.interest_8h", INTEREST, unit="fraction per 8 h", source="Lighter and Hyperliquid publish 0.01 % per 8 h")
    report.documented(
        "funding.clamp", CLAMP, unit="fraction", source="Lighter and Hyperliquid: rate = (P + clamp(I - P, -c, c)) / 8 per hour"
    )
    report.documented("funding.cap_per_hour", 0.005, unit="fraction per hour", source="Lighter 0.5 %/h (Hyperliquid allows 4 %)")
    report.fitted(
        "funding.premium_z.hyperliquid", z_table(premium.values()), unit="hourly mean premium by normal score -4..4 step 0.25",
        how=f"quantiles of the premium of the {len(premium)} hourly rows (their rates follow two different formulas)",
        source=HYPERLIQUID_FUNDING,
    )  # fmt: skip
    eight_hourly = [v for v, s in series.items() if s.points[-1].interval_hours == 8]
    for venue in eight_hourly:
        rates = [float(p.rate) for p in series[venue].points]
        share = sum(abs(r - INTEREST) < 1e-9 for r in rates) / len(rates)
        report.fitted(
            f"funding.premium_z.{venue}", z_table(implied_premiums(rates)), unit="8 h premium, fraction, by normal score -4..4 step 0.25",
            how=f"quantiles of the premiums implied by {len(rates)} settled rates; {share:.1%} of them sat at the interest rate",
            source=f"funding_history/{series[venue].source}",
        )  # fmt: skip
    fit_persistence(series, eight_hourly, premium, report)


def tie_attenuation(values: Sequence[float]) -> float:
    """By how much equal values (rates at the interest rate) shrink correlations of normal scores against the latent numbers'."""
    ordered = sorted(values)
    scores = normal_scores(ordered)
    latent = [NORMAL.inv_cdf((i + 0.5) / len(ordered)) for i in range(len(ordered))]
    common = statistics.fmean(z * g for z, g in zip(latent, scores, strict=True))
    return common**2 / statistics.fmean(g * g for g in scores)


def scores_by_time(series: FundingSeries) -> dict[int, float]:
    return dict(zip((p.ts_ns for p in series.points), normal_scores([float(p.rate) for p in series.points]), strict=True))


def fit_persistence(series: Mapping[str, FundingSeries], eight_hourly: Sequence[str], premium: Mapping[int, float], report: Report) -> None:
    scores = {venue: scores_by_time(series[venue]) for venue in (*eight_hourly, "dydx_v3")}
    lags = {"hourly": (1, 2, 4, 8, 16, 24, 48, 72, 168, 336), "eight_hourly": (8, 16, 24, 48, 72, 168, 336)}
    shrink = {v: tie_attenuation([float(p.rate) for p in series[v].points]) for v in scores}
    curves = {
        "hourly": [lag_correlation(scores["dydx_v3"], h * HOUR_NS) for h in lags["hourly"]],
        "eight_hourly": [
            statistics.fmean(lag_correlation(scores[v], h * HOUR_NS) / shrink[v] for v in eight_hourly) for h in lags["eight_hourly"]
        ],
    }
    best: tuple[float, float, float, dict[str, float]] = (math.inf, 0.0, 0.0, {})
    for slow in range(100, 1501, 50):
        for fast in [x / 2 for x in range(2, 49)]:
            error, weights = 0.0, dict[str, float]()
            for kind, curve in curves.items():
                basis = [(math.exp(-h / slow), math.exp(-h / fast)) for h in lags[kind]]
                top = sum((c - f) * (s - f) for c, (s, f) in zip(curve, basis, strict=True))
                weights[kind] = min(1.0, max(0.0, top / sum((s - f) ** 2 for s, f in basis)))
                error += sum((weights[kind] * s + (1 - weights[kind]) * f - c) ** 2 for c, (s, f) in zip(curve, basis, strict=True))
            best = min(best, (error, float(slow), fast, weights), key=lambda b: b[0])
    _, slow_hours, fast_hours, shares = best
    source = "funding_history/*: dydx_v3 (hourly), binance, bybit, gate, htx, kucoin, mexc (8-hourly)"
    how = "least squares of w exp(-h/slow) + (1-w) exp(-h/fast) on autocorrelations of normal scores (ties corrected); for all venues"
    report.fitted("funding.slow_hours", slow_hours, unit="hours", how=how, source=source)
    report.fitted("funding.fast_hours", fast_hours, unit="hours", how=how, source=source)
    for kind, weight in shares.items():
        text = ", ".join(f"{h} h {c:.2f}" for h, c in zip(lags[kind], curves[kind], strict=True))
        report.fitted(
            f"funding.slow_weight.{kind}", short(weight), unit="share of variance", how=f"same fit; recorded: {text}", source=source
        )
    same_grid = [v for v in eight_hourly if v != "kucoin"]
    pairs = [(a, b) for i, a in enumerate(same_grid) for b in same_grid[i + 1 :]]
    mean = statistics.fmean(cross_correlation(scores[a], scores[b]) / math.sqrt(shrink[a] * shrink[b]) for a, b in pairs)
    report.fitted(
        "funding.venue_correlation", short(mean), unit="correlation of normal scores between venues, same asset", source=source,
        how=f"mean over {len(pairs)} pairs of 8-hour venues on the same grid (kucoin settles four hours off), corrected for ties",
    )  # fmt: skip
    report.assumed(
        "funding.asset_correlation", 0.5, unit="correlation of the common factor between assets", why="only BTC has recorded series"
    )
    hl = dict(premium)
    text = ", ".join(f"{h} h {lag_correlation(hl, h * HOUR_NS):.2f}" for h in (1, 2, 8, 24))
    report.entries["funding.slow_weight.hourly"]["check"] = f"hyperliquid premium, six weeks: {text}"
