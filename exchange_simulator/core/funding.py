"""Where funding rates come from. All rates are fraction units per interval of the market; positive means longs pay."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from typing import Protocol

from exchange_simulator.core.types import NANOS_PER_HOUR, UNIT

EIGHT_HOURS_NS = 8 * NANOS_PER_HOUR


class FundingSource(Protocol):
    sample_interval_ns: int
    """How often the exchange calls `sample`, on whole multiples of UTC; 0 for never."""

    def sample(self, market: str, premium: int) -> None:
        """`premium` = (max(0, impact bid - index) - max(0, index - impact ask)) / index, in fraction units."""

    def estimate(self, market: str, ts_ns: int, interval_ns: int) -> int:
        """What would be charged if the interval ended at `ts_ns`."""

    def settle(self, market: str, ts_ns: int, interval_ns: int) -> int:
        """The rate charged at `ts_ns`; starts the next interval."""


class PostedFunding:
    """The last rate someone posted; 0 before. The default: a world process posts, the exchange charges."""

    sample_interval_ns = 0

    def __init__(self) -> None:
        self._rates: dict[str, int] = {}

    def post(self, market: str, rate: int) -> None:
        self._rates[market] = rate

    def sample(self, market: str, premium: int) -> None: ...

    def estimate(self, market: str, ts_ns: int, interval_ns: int) -> int:
        return self._rates.get(market, 0)

    def settle(self, market: str, ts_ns: int, interval_ns: int) -> int:
        return self._rates.get(market, 0)


class SeriesFunding:
    """Recorded rates: at each settlement the latest one stamped at or before it; 0 before the first."""

    sample_interval_ns = 0

    def __init__(self, series: Mapping[str, Mapping[int, int]]) -> None:
        """`series`: market -> settlement time (ns) -> rate."""
        self._times = {market: sorted(rates) for market, rates in series.items()}
        self._rates = {market: [rates[t] for t in sorted(rates)] for market, rates in series.items()}

    def sample(self, market: str, premium: int) -> None: ...

    def estimate(self, market: str, ts_ns: int, interval_ns: int) -> int:
        return self._at(market, (ts_ns // interval_ns + 1) * interval_ns)

    def settle(self, market: str, ts_ns: int, interval_ns: int) -> int:
        return self._at(market, ts_ns)

    def _at(self, market: str, ts_ns: int) -> int:
        found = bisect_right(self._times.get(market, []), ts_ns)
        return self._rates[market][found - 1] if found else 0


class PremiumFunding:
    """The formula of most venues: rate = clamp(P + clamp(I - P, +-band), +-cap) x interval / 8 h, P the mean of the samples.

    Source: venue dossiers of Lighter (band 0.05 %, cap 4 %) and Hyperliquid (same form, 5 s samples), both per 8 h with I = 0.01 %.
    """

    def __init__(
        self, *, interest: int = UNIT // 10_000, band: int = UNIT // 2_000, cap: int = UNIT // 25, sample_interval_ns: int = 5 * 10**9
    ) -> None:
        self.sample_interval_ns = sample_interval_ns
        self._interest, self._band, self._cap = interest, band, cap
        self._sums: dict[str, tuple[int, int]] = {}

    def sample(self, market: str, premium: int) -> None:
        total, count = self._sums.get(market, (0, 0))
        self._sums[market] = (total + premium, count + 1)

    def estimate(self, market: str, ts_ns: int, interval_ns: int) -> int:
        total, count = self._sums.get(market, (0, 0))
        premium = total // count if count else 0
        per_8h = clamp(premium + clamp(self._interest - premium, self._band), self._cap)
        return per_8h * interval_ns // EIGHT_HOURS_NS

    def settle(self, market: str, ts_ns: int, interval_ns: int) -> int:
        rate = self.estimate(market, ts_ns, interval_ns)
        self._sums.pop(market, None)
        return rate


def clamp(value: int, bound: int) -> int:
    return max(-bound, min(bound, value))
