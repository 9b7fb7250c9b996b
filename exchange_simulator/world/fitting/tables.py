"""Small statistics the fit needs, the report it fills, and where its recordings are."""

from __future__ import annotations

import statistics
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from exchange_simulator.world.params import Z_GRID

NORMAL = statistics.NormalDist()

THREE_VENUES = "funding_history/binance_bybit_okx_bitcoin_8h_20230101_20240701.csv"
HYPERLIQUID_FUNDING = "funding_history/hyperliquid_BTC_fundingHistory_20230512_20230717.json"
BINANCE_FULL = "streams/binance_usdm_btcusdt_20240808_full.jsonl.gz"
BINANCE_ALTS = "streams/binance_usdm_4symbols_20210722_with_rest_snapshots.jsonl"
OKX_BOOKS = "streams/okx_books_20220513_BTC-USDT_UNI-USD-SWAP.jsonl"
HYPERLIQUID_BOOKS = "streams/hyperliquid_btc_l2book_trades_20250126_a.jsonl"


def short(value: float) -> float:
    """Six significant figures."""
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


def percentile(values: Iterable[float], u: float) -> float:
    return empirical_quantile(sorted(values), u)


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
