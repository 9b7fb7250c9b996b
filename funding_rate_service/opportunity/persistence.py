"""How long an edge lasts, from settled history: mean, volatility, sign flips, half-life. Pure."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import pairwise

import msgspec

from exchange_clients.model import NS_PER_HOUR, ZERO, FundingRateSample

HALF = Decimal("0.5")
MIN_POINTS = 12
"""Fewer hours than this tell nothing."""


class Persistence(msgspec.Struct, frozen=True, kw_only=True):
    """Statistics of an hourly series.

    `volatility`: standard deviation per hour. `half_life_hours`: in which a deviation from the mean halves (first-order autoregression);
    None: deviations do not fade, or the series does not say.
    """

    points: int
    mean: Decimal
    volatility: Decimal
    sign_flips_per_day: Decimal
    half_life_hours: Decimal | None


def hourly(samples: Iterable[FundingRateSample], start_ns: int, end_ns: int) -> list[Decimal | None]:
    """The rate of each full hour in [start, end): that of the settlement whose own interval covers it; None: no record.

    Every sample counts for its own interval: a market that went from 8 h to 1 h is read rightly on both sides of the change.
    """
    first = -(-start_ns // NS_PER_HOUR)
    hours: list[Decimal | None] = [None] * max(0, end_ns // NS_PER_HOUR - first)
    for sample in sorted((s for s in samples if s.settled_at is not None), key=lambda s: s.settled_at or 0):
        assert sample.settled_at is not None
        last = round(sample.settled_at / NS_PER_HOUR)
        for hour in range(last - max(1, int(sample.interval_hours)), last):
            if 0 <= hour - first < len(hours) and hours[hour - first] is None:  # of records that overlap, the one that ends first
                hours[hour - first] = sample.hourly_rate
    return hours


def pair_history(long: Iterable[FundingRateSample], short: Iterable[FundingRateSample], start_ns: int, end_ns: int) -> list[Decimal]:
    """Short rate minus long rate of every hour that both have a record of, oldest first."""
    both = zip(hourly(long, start_ns, end_ns), hourly(short, start_ns, end_ns), strict=True)
    return [s - x for x, s in both if s is not None and x is not None]


def persistence(series: Sequence[Decimal]) -> Persistence | None:
    """The statistics of an hourly series, oldest first; None when it is too short."""
    n = len(series)
    if n < MIN_POINTS:
        return None
    mean = sum(series, ZERO) / n
    around = [x - mean for x in series]
    variance = sum((x * x for x in around), ZERO) / n
    flips = sum(1 for a, b in pairwise(series) if a * b < 0)
    return Persistence(
        points=n,
        mean=mean,
        volatility=variance.sqrt(),
        sign_flips_per_day=Decimal(flips) * 24 / n,
        half_life_hours=_half_life(around),
    )


def _half_life(around: Sequence[Decimal]) -> Decimal | None:
    before = sum((x * x for x in around[:-1]), ZERO)
    if before == 0:
        return None
    phi = sum((a * b for a, b in pairwise(around)), ZERO) / before
    if phi >= 1:
        return None
    return ZERO if phi <= 0 else HALF.ln() / phi.ln()


def expected_hours(now: Decimal, found: Persistence, hours: Decimal) -> Decimal:
    """What a pair whose edge is `now` per hour receives over `hours` when its deviation from the mean fades with its half-life."""
    half_life = found.half_life_hours
    if half_life == 0 or found.volatility == 0:  # what never deviated does not say that a deviation lasts
        return found.mean * hours
    if half_life is None:
        return now * hours
    rate = -HALF.ln() / half_life
    return found.mean * hours + (now - found.mean) * (1 - (-rate * hours).exp()) / rate
