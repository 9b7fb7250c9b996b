"""How long an edge lasts, from settled history: mean, volatility, sign flips, half-life. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import pairwise

import msgspec

from exchange_clients.model import NS_PER_HOUR, NS_PER_S, ZERO, FundingRateSample

HALF = Decimal("0.5")
MIN_POINTS = 12
"""Fewer hours than this tell nothing."""
SLACK_NS = 10 * NS_PER_S
"""So late a venue may stamp a settlement of the hour that has just ended."""


class Persistence(msgspec.Struct, frozen=True, kw_only=True):
    """Statistics of an hourly series, all per hour.

    `volatility`: standard deviation of the population. `sign_flips_per_day`: how often the sign changed, hours at zero passed over.
    `autocorrelation`: of each hour with the next. `half_life_hours`: in which a deviation from the mean halves (first-order
    autoregression); None: deviations do not fade, or the series does not say.
    """

    points: int
    mean: Decimal
    volatility: Decimal
    sign_flips_per_day: Decimal
    half_life_hours: Decimal | None
    low: Decimal | None = None
    high: Decimal | None = None
    autocorrelation: Decimal | None = None


def hourly(samples: Iterable[FundingRateSample], start_ns: int, end_ns: int) -> list[Decimal | None]:
    """The rate of each full hour in [start, end): that of the settlement whose own interval covers it; None: no record.

    Every sample counts for its own interval: a market that went from 8 h to 1 h is read rightly on both sides of the change. A settlement
    belongs to the full hour nearest to it; of several that end within one hour all count.
    """
    first = -(-start_ns // NS_PER_HOUR)
    hours: list[Decimal | None] = [None] * max(0, end_ns // NS_PER_HOUR - first)
    parts: dict[int, list[Decimal]] = defaultdict(list)
    for sample in sorted((s for s in samples if s.settled_at is not None), key=lambda s: s.settled_at or 0):
        assert sample.settled_at is not None
        if sample.interval_hours < 1:
            parts[-(-(sample.settled_at - SLACK_NS) // NS_PER_HOUR) - 1 - first].append(sample.hourly_rate)
            continue
        last = (sample.settled_at + NS_PER_HOUR // 2) // NS_PER_HOUR
        for hour in range(last - int(sample.interval_hours) - first, last - first):
            if 0 <= hour < len(hours) and hours[hour] is None:  # of records that overlap, the one that ends first
                hours[hour] = sample.hourly_rate
    for hour, rates in parts.items():
        if 0 <= hour < len(hours) and hours[hour] is None:
            hours[hour] = sum(rates, ZERO) / len(rates)
    return hours


def pair_history(long: Iterable[FundingRateSample], short: Iterable[FundingRateSample], start_ns: int, end_ns: int) -> list[Decimal | None]:
    """Short rate minus long rate of each full hour, oldest first; None where one has no record."""
    both = zip(hourly(long, start_ns, end_ns), hourly(short, start_ns, end_ns), strict=True)
    return [None if s is None or x is None else s - x for x, s in both]


def persistence(series: Sequence[Decimal | None]) -> Persistence | None:
    """The statistics of an hourly series, oldest first, None for an hour without a record; None when too few hours are known."""
    known = [x for x in series if x is not None]
    n = len(known)
    if n < MIN_POINTS:
        return None
    mean = sum(known, ZERO) / n
    around = [None if x is None else x - mean for x in series]
    variance = sum((x * x for x in around if x is not None), ZERO) / n
    signs = [x > 0 for x in known if x]
    flips = sum(1 for a, b in pairwise(signs) if a != b)
    correlation = _autocorrelation(around)
    return Persistence(
        points=n,
        mean=mean,
        volatility=variance.sqrt(),
        sign_flips_per_day=Decimal(flips) * 24 / n,
        half_life_hours=_half_life(correlation),
        low=min(known),
        high=max(known),
        autocorrelation=correlation,
    )


def _autocorrelation(around: Sequence[Decimal | None]) -> Decimal | None:
    """Of deviations, by least squares over the hours whose next hour is known too."""
    steps = [(a, b) for a, b in pairwise(around) if a is not None and b is not None]
    before = sum((a * a for a, _ in steps), ZERO)
    return sum((a * b for a, b in steps), ZERO) / before if before else None


def _half_life(correlation: Decimal | None) -> Decimal | None:
    if correlation is None or correlation >= 1:
        return None
    return ZERO if correlation <= 0 else HALF.ln() / correlation.ln()


def expected_hours(now: Decimal, found: Persistence, hours: Decimal) -> Decimal:
    """What a pair whose edge is `now` per hour receives over `hours` when its deviation from the mean fades with its half-life."""
    half_life = found.half_life_hours
    if half_life == 0 or found.volatility == 0:  # what never deviated does not say that a deviation lasts
        return found.mean * hours
    if half_life is None:
        return now * hours
    rate = -HALF.ln() / half_life
    return found.mean * hours + (now - found.mean) * (1 - (-rate * hours).exp()) / rate
