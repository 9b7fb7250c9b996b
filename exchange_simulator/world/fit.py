"""Fits the world's parameters on the recordings and writes them as package data.

    python -m exchange_simulator.world.fit --payloads DIR            prints every figure, changes nothing
    python -m exchange_simulator.world.fit --payloads DIR --write    also rewrites params.json beside this file

Plain Python. Not used at run time. Each parameter carries how it was fitted and from which recording, or why it had to be assumed.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import statistics
import sys
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from exchange_simulator.world.recordings import (
    HOUR_NS,
    SECOND_NS,
    Bar,
    FundingSeries,
    RecordedBook,
    open_stream,
    read_hyperliquid_history,
    read_settlement_csv,
    read_three_venue_bars,
)

NORMAL = statistics.NormalDist()
Z_GRID = [i / 4 for i in range(-16, 17)]
REACH_BPS = [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]
INTEREST = 0.0001
CLAMP = 0.0005

THREE_VENUES = "funding_history/binance_bybit_okx_bitcoin_8h_20230101_20240701.csv"
HYPERLIQUID_FUNDING = "funding_history/hyperliquid_BTC_fundingHistory_20230512_20230717.json"
BINANCE_FULL = "streams/binance_usdm_btcusdt_20240808_full.jsonl.gz"
BINANCE_ALTS = "streams/binance_usdm_4symbols_20210722_with_rest_snapshots.jsonl"
OKX_BOOKS = "streams/okx_books_20220513_BTC-USDT_UNI-USD-SWAP.jsonl"
HYPERLIQUID_BOOKS = "streams/hyperliquid_btc_l2book_trades_20250126_a.jsonl"


def short(value: float) -> float:
    """Six significant figures: more would be noise, fewer would show."""
    return float(f"{value:.6g}")


def z_table(values: Iterable[float]) -> list[float]:
    """Empirical quantiles at the standard normal grid: the table that turns a normal number into a value with this distribution."""
    ordered = sorted(values)
    return [short(empirical_quantile(ordered, NORMAL.cdf(z))) for z in Z_GRID]


def u_table(values: Iterable[float], cells: int = 32) -> list[float]:
    """Equally spaced quantiles, minimum to maximum."""
    ordered = sorted(values)
    return [short(empirical_quantile(ordered, i / cells)) for i in range(cells + 1)]


def empirical_quantile(ordered: Sequence[float], u: float) -> float:
    at = u * (len(ordered) - 1)
    i = min(int(at), len(ordered) - 2)
    return ordered[i] + (ordered[i + 1] - ordered[i]) * (at - i)


def normal_scores(values: Sequence[float]) -> list[float]:
    """Normal scores of mid-ranks; equal values share one."""
    ordered = sorted(values)
    n = len(ordered)
    return [NORMAL.inv_cdf((bisect_left(ordered, v) + bisect_right(ordered, v)) / (2 * n)) for v in values]


def lag_correlation(series: Mapping[int, float], lag: int) -> float:
    """Correlation of a time-keyed series with itself `lag` later; gaps are skipped, not bridged."""
    return cross_correlation(series, {t - lag: v for t, v in series.items()})


def cross_correlation(a: Mapping[int, float], b: Mapping[int, float]) -> float:
    common = [t for t in a if t in b]
    return statistics.correlation([a[t] for t in common], [b[t] for t in common])


@dataclass
class Report:
    """Parameters with their origin, in the order they were found."""

    entries: dict[str, dict[str, Any]] = field(default_factory=dict)

    def fitted(self, name: str, value: Any, *, unit: str, how: str, source: str) -> None:
        self.entries[name] = {"value": value, "unit": unit, "fit": how, "source": source}

    def assumed(self, name: str, value: Any, *, unit: str, why: str) -> None:
        self.entries[name] = {"value": value, "unit": unit, "assumed": why}

    def documented(self, name: str, value: Any, *, unit: str, source: str) -> None:
        self.entries[name] = {"value": value, "unit": unit, "documented": source}


# --- price -----------------------------------------------------------------------------------------------------------


def fit_price(bars: Mapping[tuple[str, str, str], list[Bar]], report: Report) -> None:
    """Volatility level, its regimes and jumps from 8-hour bars of BTC; basis noise from three venues' closes."""
    perp = bars["binance", "BTCUSDT", "perpetual"]
    sigma = [math.log(b.high / b.low) / (2 * math.sqrt(math.log(2))) for b in perp]
    returns = [math.log(b.close / a.close) for a, b in pairwise(perp)]
    local = [statistics.median(sigma[max(0, i - 10) : i + 11]) for i in range(len(sigma))]
    jump_at = [i for i in range(1, len(perp)) if abs(returns[i - 1]) > 4 * local[i]]
    quiet = [s for i, s in enumerate(sigma) if i not in jump_at]
    level = math.sqrt(statistics.fmean(s * s for s in quiet))
    factors = dict(zip((b.ts_ns // (8 * HOUR_NS) for b in perp), normal_scores(sigma), strict=True))
    days = len(perp) / 3
    report.fitted(
        "price.vol_8h", short(level), unit="sd of an 8 h log return, BTC", source=THREE_VENUES,
        how="root mean square of Parkinson's range estimator over the 8 h bars of binance BTCUSDT without the jump bars",
    )  # fmt: skip
    report.fitted(
        "price.vol_factor_z", z_table(s / level for s in quiet), unit="volatility of a bar over the level, by normal score -4..4 step 0.25",
        how="quantiles of the range estimator over price.vol_8h, jump bars left out", source=THREE_VENUES,
    )  # fmt: skip
    report.fitted(
        "price.vol_factor_ar_8h", short(lag_correlation(factors, 1)), unit="lag-8h correlation of normal scores", source=THREE_VENUES,
        how="AR(1) coefficient of the normal scores of the range estimator",
    )  # fmt: skip
    report.fitted(
        "price.jumps_per_day", short(len(jump_at) / days), unit="1/day", source=THREE_VENUES,
        how=f"{len(jump_at)} bars of {len(perp)} whose close-to-close return exceeds 4 x the median volatility of the 21 bars around",
    )  # fmt: skip
    report.fitted(
        "price.jump_sd", short(math.sqrt(statistics.fmean(returns[i - 1] ** 2 for i in jump_at))), unit="sd of a jump, log return, BTC",
        how="root mean square return of those bars", source=THREE_VENUES,
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


def percentile(values: Iterable[float], u: float) -> float:
    return empirical_quantile(sorted(values), u)


# --- funding ---------------------------------------------------------------------------------------------------------


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
    report.documented("funding.interest_8h", INTEREST, unit="fraction per 8 h", source="both stage 1 venues publish 0.01 % per 8 h")
    report.documented("funding.clamp", CLAMP, unit="fraction", source="both stage 1 venues: rate = (P + clamp(I - P, -c, c)) / 8 per hour")
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


# --- liquidity -------------------------------------------------------------------------------------------------------


@dataclass
class BookSample:
    """What the books of one market looked like, sampled on a time grid."""

    spreads_bps: list[float] = field(default_factory=list)
    touch_usd: list[float] = field(default_factory=list)
    depth_usd: list[list[float]] = field(default_factory=lambda: [[] for _ in REACH_BPS])
    relative_sizes: list[float] = field(default_factory=list)
    occupied: list[float] = field(default_factory=list)
    changed: list[int] = field(default_factory=lambda: [0] * len(REACH_BPS))
    seen_s: list[float] = field(default_factory=lambda: [0.0] * len(REACH_BPS))
    previous: dict[float, float] = field(default_factory=dict)

    def take(self, book: RecordedBook, tick: float, step_s: float) -> None:
        bids, asks = book.best(10**6)
        mid = (float(bids[0][0]) + float(asks[0][0])) / 2
        self.spreads_bps.append(float(asks[0][0] - bids[0][0]) / mid * 1e4)
        current: dict[float, float] = {}
        for side in (bids, asks):
            current |= self._side(side, tick)
        if self.previous:
            for price, size in current.items():
                i = band_of(abs(price - mid) / mid * 1e4)
                self.seen_s[i] += step_s
                self.changed[i] += self.previous.get(price) != size
        self.previous = current

    def _side(self, rows: list[tuple[Decimal, Decimal]], tick: float) -> dict[float, float]:
        """Returns the levels within the farthest reach of the touch."""
        touch = float(rows[0][0])
        edge = abs(float(rows[-1][0]) - touch) / touch * 1e4
        levels: dict[float, float] = {}
        within = [0.0] * len(REACH_BPS)
        for raw_price, raw_size in rows:
            price, size = float(raw_price), float(raw_size)
            distance = abs(price - touch) / touch * 1e4
            if distance > REACH_BPS[-1]:
                break
            if levels:
                within[band_of(distance)] += size * price
            levels[price] = size
        self.touch_usd.append(levels[touch] * touch)
        for i, depth in enumerate(accumulate(within)):
            if REACH_BPS[i] <= edge:
                self.depth_usd[i].append(depth)
        self.occupied.append(sum(abs(float(p) - touch) < 19.5 * tick for p, _ in rows[:40]) / 20)
        near = [float(p) * float(q) for p, q in rows[1:21]]
        mean = statistics.fmean(near)
        self.relative_sizes += [x / mean for x in near]
        return levels

    def depth(self) -> list[float | None]:
        """Mean USD a side within each distance behind the touch; None where the book did not reach."""
        return [short(statistics.fmean(x)) if len(x) >= 10 else None for x in self.depth_usd]

    def lifetimes_s(self) -> list[float | None]:
        """Mean time between changes of a level's size, by distance from mid."""
        return [short(s / c) if c else None for s, c in zip(self.seen_s, self.changed, strict=True)]


def band_of(distance_bps: float) -> int:
    return min(bisect_left(REACH_BPS, distance_bps), len(REACH_BPS) - 1)


def sample_stream(path: Path, symbol: str, tick: float, step_s: float) -> BookSample:
    """Book of one symbol of a recording, sampled every `step_s` of the recorder's clock."""
    reader, sample, due = open_stream(path), BookSample(), 0
    for step in reader:
        book = reader.books.get(symbol)
        if book is not None and book.ready and step.t_ns >= due:
            sample.take(book, tick, step_s)
            due = step.t_ns + int(step_s * SECOND_NS)
    return sample


def complete(values: Sequence[float | None], shape: Sequence[float | None]) -> list[float]:
    """Beyond a recording's reach the shape of another is taken, scaled at the last distance both have; holes inside repeat a neighbour."""
    known = [i for i, v in enumerate(values) if v is not None and shape[i] is not None]
    last = known[-1]
    out: list[float] = []
    for i in range(len(values)):
        nearest = values[min((k for k in known if k >= i), default=last)]
        scale = (shape[i] or 0.0) / (shape[last] or 1.0) if i > last else 1.0
        out.append(short((nearest or 0.0) * scale))
    return out


def fit_liquidity(root: Path, report: Report) -> None:
    """Spread, depth, sizes and refresh per market class: BTC on a large venue, BTC on a DEX, small caps."""
    deep = sample_stream(root / BINANCE_FULL, "BTCUSDT", 0.1, 0.5)
    dex = sample_stream(root / HYPERLIQUID_BOOKS, "BTC", 1.0, 0.5)
    okx = sample_stream(root / OKX_BOOKS, "BTC-USDT", 0.1, 0.1)
    uni = sample_stream(root / OKX_BOOKS, "UNI-USD-SWAP", 0.001, 0.1)
    alts = [
        sample_stream(root / BINANCE_ALTS, s, t, 0.1)
        for s, t in (("SUSHIUSDT", 0.001), ("AKROUSDT", 1e-5), ("KEEPUSDT", 1e-4), ("CTKUSDT", 1e-3))
    ]
    put_class(report, "deep", deep, deep, BINANCE_FULL, "BTCUSDT")
    put_class(report, "dex", dex, deep, HYPERLIQUID_BOOKS, "BTC, 20 levels a side; bands beyond them in the shape of class deep")
    put_class(report, "spot", okx, deep, OKX_BOOKS, "BTC-USDT (spot)")
    put_class(report, "small", pool(alts), deep, BINANCE_ALTS, "SUSHI, AKRO, KEEP, CTK pooled")
    spreads = [statistics.median(s.spreads_bps) for s in alts]
    report.entries["liquidity.small.spread_bps"]["check"] = (
        f"medians {', '.join(f'{s:.2f}' for s in spreads)} bps; okx UNI-USD-SWAP {statistics.median(uni.spreads_bps):.2f} bps"
    )
    why = "no book of this asset was recorded"
    for asset, kind, factor in (("BTC", "dex", 1.0), ("ETH", "dex", 0.6), ("SOL", "dex", 0.3), ("PEPE", "small", 4.0)):
        if asset == "BTC":
            report.fitted(
                "liquidity.asset.BTC",
                {"class": kind, "depth": factor, "spread": 1.0},
                unit="class and factors",
                how="the recorded class itself",
                source=HYPERLIQUID_BOOKS,
            )
        else:
            spread = {"ETH": 2.0, "SOL": 4.0, "PEPE": 0.5}[asset]
            report.assumed(
                f"liquidity.asset.{asset}",
                {"class": kind, "depth": factor, "spread": spread},
                unit="class and factors on its depth and spread",
                why=why,
            )


def pool(samples: Sequence[BookSample]) -> BookSample:
    """Several markets as one: each gives the same number of values to every distribution."""
    out = BookSample()
    for sample in samples:
        out.spreads_bps += thin(sample.spreads_bps, 60)
        out.touch_usd += thin(sample.touch_usd, 120)
        out.relative_sizes += thin(sample.relative_sizes, 2000)
        out.occupied += thin(sample.occupied, 120)
        for i, values in enumerate(sample.depth_usd):
            out.depth_usd[i] += thin(values, 120)
            out.changed[i] += sample.changed[i]
            out.seen_s[i] += sample.seen_s[i]
    return out


def thin(values: Sequence[float], count: int) -> list[float]:
    return [values[i * len(values) // count] for i in range(min(count, len(values)))]


def put_class(report: Report, name: str, sample: BookSample, shape: BookSample, source: str, what: str) -> None:
    def put(key: str, value: Any, unit: str, how: str) -> None:
        report.fitted(f"liquidity.{name}.{key}", value, unit=unit, how=f"{what}: {how}", source=source)

    put("spread_bps", u_table(sample.spreads_bps), "bps, quantiles 0..1 in 32 steps", f"{len(sample.spreads_bps)} samples of the book")
    put("touch_usd", u_table(sample.touch_usd), "USD at the best price of a side, quantiles", "both sides")
    where = f"within {REACH_BPS} bps of the touch, touch left out"
    depth = complete(sample.depth(), shape.depth())
    put("depth_usd", depth, f"USD a side, cumulative, {where}", "mean")
    put("size_noise", u_table(sample.relative_sizes), "size of a level over the mean of its side, quantiles", "levels 2 to 21")
    put("occupied", short(statistics.fmean(sample.occupied)), "share of the 20 ticks from the touch that hold a level", "mean")
    put(
        "lifetime_s",
        complete(sample.lifetimes_s(), shape.lifetimes_s()),
        f"mean seconds between changes of a level up to {REACH_BPS} bps from mid",
        "from changes between samples, so not below the sampling step",
    )


def fit_trades(root: Path, report: Report) -> None:
    """Arrival, size and direction of aggressive orders; how they go with price moves."""
    orders: dict[tuple[int, bool], float] = {}
    mids: list[tuple[int, float]] = []
    for ts_ms, buy, notional, mid in binance_touch_and_trades(root / BINANCE_FULL):
        if mid:
            mids.append((ts_ms, mid))
        else:
            orders[ts_ms, buy] = orders.get((ts_ms, buy), 0.0) + notional
    start, end = mids[0][0], mids[-1][0]
    cells = (end - start) // 250
    counts = Counter((t - start) // 250 for t, _ in orders)
    per_cell = [float(counts[i]) for i in range(cells)]
    grid = on_grid(mids, start, 250, cells + 1)
    moves = [math.log(b / a) for a, b in pairwise(grid)]
    squares = [m * m for m in moves]
    mean_square = statistics.fmean(squares)
    buys = Counter((t - start) // 250 for t, buy in orders if buy)
    moved = [i for i in range(cells) if moves[i] != 0 and counts[i]]
    with_move = sum(buys[i] if moves[i] > 0 else counts[i] - buys[i] for i in moved) / sum(counts[i] for i in moved)
    sides = [buy for _, buy in orders]
    what = "aggressive orders = trades of one millisecond and side, 250 ms steps, BTCUSDT"

    def put(key: str, value: Any, unit: str, how: str) -> None:
        report.fitted(f"trades.{key}", value, unit=unit, how=f"{what}: {how}", source=BINANCE_FULL)

    put("activity_z", z_table(s / mean_square for s in squares), "squared 250 ms return over its mean, by normal score", "quantiles")
    put(
        "count_z",
        z_table(per_cell),
        "orders per 250 ms on the large venue, by normal score",
        f"quantiles of {cells} steps, mean {statistics.fmean(per_cell):.2f}",
    )
    scores = normal_scores(per_cell)
    put("count_ar", short(statistics.correlation(scores[:-1], scores[1:])), "lag-250ms correlation of normal scores", "AR(1) coefficient")
    put(
        "activity_correlation",
        short(statistics.correlation(scores, normal_scores(squares))),
        "correlation of normal scores",
        "orders against squared return",
    )
    put(
        "same_side", short(sum(a == b for a, b in pairwise(sides)) / (len(sides) - 1)), "probability", "next order has the side of the last"
    )
    put("with_move", short(with_move), "probability", "order goes with the price move of its 250 ms step")
    put("notional_usd", u_table(orders.values(), 64), "USD, quantiles 0..1 in 64 steps", f"{len(orders)} orders")
    fit_dex_trades(root, len(orders) / ((end - start) / 1000), orders.values(), report)


def fit_dex_trades(root: Path, large_rate: float, large_sizes: Iterable[float], report: Report) -> None:
    reader = open_stream(root / HYPERLIQUID_BOOKS)
    times, notionals = [], []
    for step in reader:
        times.append(step.t_ns)
        notionals += [float(t.price * t.size) for t in step.trades]
    seconds = (times[-1] - times[0]) / SECOND_NS
    rate = len(notionals) / seconds
    note = (
        f"{len(notionals)} trades in {seconds:.1f} s after the first book (the backfill before it left out): an order of magnitude, no more"
    )
    report.fitted(
        "trades.dex_rate_factor",
        short(rate / large_rate),
        unit="orders per second over the large venue's",
        how=note,
        source=HYPERLIQUID_BOOKS,
    )
    ratio = statistics.median(notionals) / statistics.median(list(large_sizes))
    report.fitted(
        "trades.dex_size_factor",
        short(max(0.05, min(1.0, ratio))),
        unit="order notional over the large venue's",
        how=f"ratio of medians, {note}",
        source=HYPERLIQUID_BOOKS,
    )
    why = "no trades of this asset were recorded"
    for asset, factor in (("ETH", 0.8), ("SOL", 0.6), ("PEPE", 0.25)):
        report.assumed(f"trades.asset_rate.{asset}", factor, unit="orders per second over BTC's on the same venue", why=why)


def binance_touch_and_trades(path: Path) -> Iterable[tuple[int, bool, float, float]]:
    """(ms, is a buy, notional, 0) of each trade and (ms, False, 0, mid) of each best-price change."""
    with gzip.open(path, "rb") as file:
        for line in file:
            data = json.loads(line)["msg"].get("data", {})
            if data.get("e") == "bookTicker":
                yield data["T"], False, 0.0, (float(data["b"]) + float(data["a"])) / 2
            elif data.get("e") == "trade" and data["X"] == "MARKET":
                yield data["T"], not data["m"], float(data["p"]) * float(data["q"]), 0.0


def on_grid(points: Sequence[tuple[int, float]], start: int, step: int, count: int) -> list[float]:
    """Last value at each grid time."""
    out, i = [], 0
    for k in range(count):
        while i + 1 < len(points) and points[i + 1][0] <= start + k * step:
            i += 1
        out.append(points[i][1])
    return out


# --- command ---------------------------------------------------------------------------------------------------------


def load_funding(root: Path) -> dict[str, FundingSeries]:
    folder = root / "funding_history"
    series = {s.venue: s for s in (read_settlement_csv(p) for p in sorted(folder.glob("*_BTC-USDT_*.csv")))}
    series["hyperliquid"] = read_hyperliquid_history(root / HYPERLIQUID_FUNDING)
    return series


def fit(root: Path, *, say: Callable[[str], None] = lambda _: None) -> Report:
    """All parameters from a folder of recordings."""
    report = Report()
    say("price ...")
    fit_price(read_three_venue_bars(root / THREE_VENUES), report)
    say("funding ...")
    fit_funding(load_funding(root), report)
    say("liquidity ...")
    fit_liquidity(root, report)
    say("trades ...")
    fit_trades(root, report)
    return report


def render(report: Report) -> str:
    lines = []
    for name, entry in report.entries.items():
        value = entry["value"]
        text = f"[{value[0]} .. {value[len(value) // 2]} .. {value[-1]}]" if isinstance(value, list) else str(value)
        origin = next(f"{key}: {entry[key]}" for key in ("fit", "assumed", "documented") if key in entry)
        lines.append(f"{name} = {text}  ({entry['unit']})\n    {origin}" + (f"\n    from {entry['source']}" if "source" in entry else ""))
        if "check" in entry:
            lines.append(f"    check: {entry['check']}")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m exchange_simulator.world.fit", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--payloads", type=Path, required=True, help="folder with streams/ and funding_history/")
    parser.add_argument("--write", action="store_true", help="rewrite params.json")
    args = parser.parse_args(argv)
    if not (args.payloads / "streams").is_dir():
        parser.error(f"{args.payloads} has no streams folder")
    report = fit(args.payloads, say=lambda text: print(text, file=sys.stderr))
    print(render(report))
    if args.write:
        target = Path(__file__).with_name("params.json")
        target.write_text(json.dumps({"parameters": report.entries}, indent=1) + "\n", encoding="utf-8")
        print(f"wrote {target.name}: {len(report.entries)} parameters", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
