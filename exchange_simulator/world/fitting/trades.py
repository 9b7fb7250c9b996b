"""Arrival, size and direction of aggressive orders from recorded trades."""

from __future__ import annotations

import gzip
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from exchange_simulator.world.fitting.tables import (
    BINANCE_FULL,
    HYPERLIQUID_BOOKS,
    Report,
    normal_scores,
    short,
    u_table,
    z_table,
)
from exchange_simulator.world.recordings import SECOND_NS, open_stream


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
            data = msgspec.json.decode(line)["msg"].get("data", {})
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
