"""The settlement clock: what falls due between two moments, for legs that settle at their own times."""

from decimal import Decimal
from functools import lru_cache

from exchange_clients.model import NS_PER_HOUR, FundingRateSample

MAX_HOURLY = Decimal("0.05")
"""No venue lets a rate move more than this in an hour; where it names its own cap, that counts."""


SHORTEST_HOURS = Decimal(1) / 3600
"""No venue settles more often than each second: a shorter interval is garbage."""


def disbelief(sample: FundingRateSample) -> str | None:
    """Why a rate is not believed: then it is unknown, neither a reason to enter nor to leave (PAINS 9). None: it is believed."""
    rate, hours = sample.raw_rate, sample.interval_hours
    if not rate.is_finite() or not hours.is_finite() or hours < SHORTEST_HOURS:
        return f"rate {rate} per {hours} h"
    if sample.cap is not None and not sample.cap.is_finite():
        return f"a cap of {sample.cap}"
    if sample.cap is not None and abs(rate) > sample.cap:
        return f"{rate} is beyond the venue's own cap {sample.cap}"
    if abs(rate) / hours > MAX_HOURLY:
        return f"{rate} per {hours} h is more than {MAX_HOURLY} an hour"
    return None


@lru_cache(1024)
def interval_ns(hours: Decimal) -> int:
    """An interval in nanoseconds."""
    return int(hours * NS_PER_HOUR)


def next_settlement(sample: FundingRateSample, now_ns: int) -> int | None:
    """The first settlement after now, ns UTC; None where funding is continuous. A time that has passed is moved on by whole intervals."""
    first = sample.next_funding_time
    if first is None:
        return None
    if first <= now_ns:
        interval = interval_ns(sample.interval_hours)
        first += ((now_ns - first) // interval + 1) * interval
    return first


def settlements(sample: FundingRateSample, now_ns: int, hours: Decimal) -> int | None:
    """How many settlements fall within `hours` from now; None where the venue has no next time (continuous funding)."""
    first = next_settlement(sample, now_ns)
    if first is None:
        return None
    end = now_ns + int(hours * NS_PER_HOUR)
    return 0 if first > end else (end - first) // interval_ns(sample.interval_hours) + 1


def paid_by_long(sample: FundingRateSample, now_ns: int, hours: Decimal) -> tuple[Decimal, int | None]:
    """What a long pays within `hours`, as a fraction of its notional at an unchanged rate, and in how many settlements."""
    count = settlements(sample, now_ns, hours)
    paid = sample.raw_rate / sample.interval_hours * hours if count is None else sample.raw_rate * count
    return paid, count


def pair_funding(long: FundingRateSample, short: FundingRateSample, now_ns: int, hours: Decimal) -> Decimal:
    """What the pair receives within `hours`, as a fraction of one leg's notional at unchanged rates."""
    return paid_by_long(short, now_ns, hours)[0] - paid_by_long(long, now_ns, hours)[0]


def falls_due(long: FundingRateSample, short: FundingRateSample, now_ns: int, hours: Decimal) -> Decimal:
    """What settlements within `hours` bring the pair, as a fraction of one leg's notional; funding that accrues all the time has none."""
    due = Decimal(0)
    for sample, sign in ((long, -1), (short, 1)):
        count = settlements(sample, now_ns, hours)
        due += sign * sample.raw_rate * (count or 0)
    return due
