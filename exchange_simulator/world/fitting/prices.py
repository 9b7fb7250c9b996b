"""Volatility, regimes, jumps and venue noise from 8-hour bars."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from itertools import pairwise

from exchange_simulator.world.fitting.tables import (
    THREE_VENUES,
    Report,
    lag_correlation,
    normal_scores,
    percentile,
    short,
    z_table,
)
from exchange_simulator.world.recordings import HOUR_NS, Bar

RANGE_NOISE = 0.29
"""Standard deviation of the log range of a Brownian motion: what a range tells beyond the volatility is noise of this size."""


def fit_price(bars: Mapping[tuple[str, str, str], list[Bar]], report: Report) -> None:
    """Volatility level, its regimes and jumps from 8-hour bars of BTC; venue noise from closes of two venues."""
    perp = bars["binance", "BTCUSDT", "perpetual"]
    sigma = [math.log(b.high / b.low) / (2 * math.sqrt(math.log(2))) for b in perp]
    returns = [0.0] + [math.log(b.close / a.close) for a, b in pairwise(perp)]
    local = [statistics.median(sigma[max(0, i - 10) : i + 11]) for i in range(len(sigma))]
    jumps = [i for i, r in enumerate(returns) if abs(r) > 4 * local[i]]
    quiet = [i for i in range(1, len(returns)) if i not in jumps]
    report.fitted(
        "price.vol_8h", short(math.sqrt(statistics.fmean(returns[i] ** 2 for i in quiet))), unit="sd of an 8 h log return, BTC",
        how="root mean square close-to-close return of the 8 h bars of binance BTCUSDT without the jump bars", source=THREE_VENUES,
    )  # fmt: skip
    fit_regimes([sigma[i] for i in quiet], {b.ts_ns // HOUR_NS: s for b, s in zip(perp, sigma, strict=True)}, report)
    report.fitted(
        "price.jumps_per_day", short(len(jumps) / (len(perp) / 3)), unit="1/day", source=THREE_VENUES,
        how=f"{len(jumps)} bars of {len(perp)} whose close-to-close return exceeds 4 x the median volatility of the 21 bars around",
    )  # fmt: skip
    report.fitted(
        "price.jump_sd", short(math.sqrt(statistics.fmean(returns[i] ** 2 - local[i] ** 2 for i in jumps))), source=THREE_VENUES,
        unit="sd of a jump, log return, BTC", how="root mean square return of those bars, less the median volatility around",
    )  # fmt: skip
    fit_basis(bars, report)
    why = "only BTC has a recorded price history; the ratio is a round figure of common knowledge, not a fit"
    for asset, ratio in (("BTC", 1.0), ("ETH", 1.25), ("SOL", 1.7), ("PEPE", 2.4)):
        report.assumed(f"price.vol_ratio.{asset}", ratio, unit="volatility over BTC's", why=why)
    report.assumed("price.asset_correlation", 0.75, unit="correlation of returns with BTC's", why="only BTC has a recorded price history")
    for asset, price in (("BTC", "95000"), ("ETH", "3200"), ("SOL", "180"), ("PEPE", "0.0000125")):
        report.assumed(
            f"price.start.{asset}", price, unit="quote per token at the start", why="any plausible level; nothing else depends on it"
        )


def fit_regimes(quiet: Sequence[float], by_hour: Mapping[int, float], report: Report) -> None:
    """How much and how long volatility departs from its level; the noise of the range as an estimator is taken out of both."""
    logs = [math.log(s) for s in quiet]
    centre, variance = statistics.median(logs), statistics.pvariance(logs)
    true_share = 1 - RANGE_NOISE**2 / variance
    factors = [math.exp((x - centre) * math.sqrt(true_share)) for x in logs]
    scale = math.sqrt(statistics.fmean(f * f for f in factors))
    scores = dict(zip(by_hour, normal_scores(list(by_hour.values())), strict=True))
    report.fitted(
        "price.vol_factor_z", z_table(f / scale for f in factors), unit="volatility of 8 h over the level, by normal score -4..4 step 0.25",
        how="quantiles of Parkinson's range estimator, jump bars left out, its logarithms drawn together to the share of their variance "
        f"that is not estimation noise ({true_share:.2f}), mean square 1", source=THREE_VENUES,
    )  # fmt: skip
    report.fitted(
        "price.vol_factor_ar_8h", short(lag_correlation(scores, 8) / true_share), unit="lag-8h correlation of normal scores",
        how="AR(1) coefficient of the normal scores of the range estimator over the same share", source=THREE_VENUES,
    )  # fmt: skip


def fit_basis(bars: Mapping[tuple[str, str, str], list[Bar]], report: Report) -> None:
    """Binance's bars of this file are cut at other times than the other two's (closes differ by 63 bps, spot too): not used here."""
    closes = {v: {b.ts_ns: math.log(b.close) for b in bars[v, "BTCUSDT", "perpetual"]} for v in ("bybit", "okx")}
    difference = {t: c - closes["okx"][t] for t, c in closes["bybit"].items() if t in closes["okx"]}
    width = (percentile(difference.values(), 0.84) - percentile(difference.values(), 0.16)) / 2
    lag = lag_correlation(difference, 8 * HOUR_NS)
    own = width * math.sqrt(max(0.0, 1 - lag) / 2)
    report.fitted(
        "price.venue_noise_bps", short(own * 1e4), unit="sd of a venue's mid around its premium, bps",
        source=THREE_VENUES,
        how=f"half the 16-84 % range of close differences of the perpetuals of bybit and okx ({width * 1e4:.2f} bps) less the part that "
        f"persists over 8 h (correlation {lag:.2f}), shared by the two; an upper bound: last trades of two venues are not simultaneous",
    )  # fmt: skip
    report.assumed(
        "price.venue_noise_s", 120.0, unit="seconds between independent values of the venue noise (linear between)",
        why="no two venues were recorded at the same time; hyperliquid's best prices stood still for the 16 s recorded, so it is slow",
    )  # fmt: skip
