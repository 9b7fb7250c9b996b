"""Spread, depth, level sizes and refresh from recorded books."""

from __future__ import annotations

import statistics
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import accumulate
from pathlib import Path
from typing import Any

from exchange_simulator.world.fitting.tables import (
    BINANCE_ALTS,
    BINANCE_FULL,
    HYPERLIQUID_BOOKS,
    OKX_BOOKS,
    Report,
    short,
    u_table,
)
from exchange_simulator.world.params import REACH_BPS
from exchange_simulator.world.recordings import SECOND_NS, RecordedBook, open_stream


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
    where = f"within {list(REACH_BPS)} bps of the touch, touch left out"
    depth = complete(sample.depth(), shape.depth())
    put("depth_usd", depth, f"USD a side, cumulative, {where}", "mean")
    put("size_noise", u_table(sample.relative_sizes), "size of a level over the mean of its side, quantiles", "levels 2 to 21")
    put("occupied", short(statistics.fmean(sample.occupied)), "share of the 20 ticks from the touch that hold a level", "mean")
    put(
        "lifetime_s",
        complete(sample.lifetimes_s(), shape.lifetimes_s()),
        f"mean seconds between changes of a level up to {list(REACH_BPS)} bps from mid",
        "from changes between samples, so not below the sampling step",
    )
