"""Recorded funding series, and their figures worked out once more: plain loops over floats that share no code with the product."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

MOSCOW = timezone(timedelta(hours=3))
"""The clock of who fetched most of the files (INDEX.md, time traps)."""
SERIES = {
    "binance": ("binance_BTC-USDT_2020-01-01_2024-01-01.csv", MOSCOW, 8),
    "bybit": ("bybit_BTC-USDT_2021-01-01_2024-01-01.csv", MOSCOW, 8),
    "kucoin": ("kucoin_BTC-USDT_2021-01-01_2024-01-01.csv", MOSCOW, 8),
    "mexc": ("mexc_BTC-USDT_2021-01-01_2024-01-01.csv", MOSCOW, 8),
    "gate": ("gate_BTC-USDT_2020-01-01_2024-01-01.csv", UTC, 8),
    "dydx": ("dydx_v3_BTC-USDT_2022-01-01_2024-01-01.csv", UTC, 1),
}
HYPERLIQUID = "hyperliquid_BTC_fundingHistory_20230512_20230717.json"


@dataclass(frozen=True)
class Settled:
    """One settlement: milliseconds since the epoch, the rate as the file has it, hours it is for."""

    ms: int
    rate: str
    hours: int


def read(folder: Path, venue: str) -> list[Settled]:
    """A series in UTC."""
    if venue == "hyperliquid":
        rows = json.loads((folder / HYPERLIQUID).read_text())
        found = []
        for n, row in enumerate(rows):
            before = (row["time"] - rows[n - 1]["time"]) / 3_600_000 if n else 8.0
            found.append(Settled(row["time"], row["fundingRate"], 8 if before > 4 else 1))
        return found
    name, zone, hours = SERIES[venue]
    found = []
    with (folder / name).open(newline="") as lines:
        for line in csv.DictReader(lines):
            at = datetime.fromisoformat(line["Date"]).replace(tzinfo=zone).astimezone(UTC)
            found.append(Settled(round(at.timestamp() * 1000), line["Funding Rate"], hours))
    return found


def by_hour(settled: list[Settled], first_hour: int, hours: int) -> list[float | None]:
    """The rate per hour of each hour since the epoch from `first_hour` on."""
    rates: dict[int, float] = {}
    for one in settled:
        end = int(one.ms / 3_600_000 + 0.5)
        for back in range(1, one.hours + 1):
            rates.setdefault(end - back, float(one.rate) / one.hours)
    return [rates.get(hour) for hour in range(first_hour, first_hour + hours)]


@dataclass(frozen=True)
class Figures:
    """Of an hourly series, per hour."""

    points: int
    mean: float
    volatility: float
    low: float
    high: float
    flips_per_day: float
    correlation: float | None
    half_life: float | None


def figures(series: list[float | None]) -> Figures:
    """Each by its definition."""
    known = [x for x in series if x is not None]
    count = len(known)
    mean = math.fsum(known) / count
    volatility = math.sqrt(math.fsum((x - mean) ** 2 for x in known) / count)
    flips, sign = 0, 0
    for x in known:
        now = (x > 0) - (x < 0)
        if now and sign and now != sign:
            flips += 1
        sign = now or sign
    above, below = [], []
    for n in range(1, len(series)):
        a, b = series[n - 1], series[n]
        if a is not None and b is not None:
            above.append((a - mean) * (b - mean))
            below.append((a - mean) ** 2)
    correlation = math.fsum(above) / math.fsum(below) if math.fsum(below) > 0 else None
    half_life = None
    if correlation is not None and correlation < 1:
        half_life = 0.0 if correlation <= 0 else math.log(0.5) / math.log(correlation)
    return Figures(count, mean, volatility, min(known), max(known), flips / count * 24, correlation, half_life)


def received(long: list[tuple[int, float]], short: list[tuple[int, float]], start_ms: int, hours: float) -> float:
    """What a pair receives in a stretch: every payment in it, one after the other."""
    end_ms = start_ms + hours * 3_600_000
    paid = sum(rate for ms, rate in long if start_ms < ms <= end_ms)
    return sum(rate for ms, rate in short if start_ms < ms <= end_ms) - paid
