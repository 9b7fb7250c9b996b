"""The edge of holding long on one venue and short on another, each leg by its own interval (E25, E29)."""

from decimal import Decimal

import msgspec

from exchange_clients.model import HOURS_PER_YEAR, NS_PER_HOUR, FundingRateSample

from .quotes import Costs, FundingQuote


def per_hour(rate: Decimal, interval_hours: Decimal) -> Decimal:
    """A rate per interval as a rate per hour.

    Raises:
        ValueError: the interval is not a positive number of hours, or the rate is not finite.
    """
    if not rate.is_finite() or not interval_hours.is_finite() or interval_hours <= 0:
        raise ValueError(f"rate {rate} per {interval_hours} h")
    return rate / interval_hours


def annual(hourly: Decimal) -> Decimal:
    """A rate per hour as a simple yearly rate."""
    return hourly * HOURS_PER_YEAR


class Horizon(msgspec.Struct, frozen=True):
    """What a holding time of `hours` brings: settlements that fall into it per leg, funding, and what is left after costs."""

    hours: Decimal
    funding: Decimal
    net: Decimal
    long_settlements: int | None
    short_settlements: int | None


class Edge(msgspec.Struct, frozen=True, kw_only=True):
    """The pair's economics per unit of one leg's notional; positive is in our favour.

    `break_even_hours` is None when funding never earns the costs back.
    """

    long_hourly: Decimal
    short_hourly: Decimal
    hourly: Decimal
    annual: Decimal
    costs: Costs
    break_even_hours: Decimal | None
    horizon: Horizon


def settlements(sample: FundingRateSample, now_ns: int, hours: Decimal) -> int | None:
    """How many settlements fall within `hours` from now; None where the venue has no next time (continuous funding)."""
    if sample.next_funding_time is None:
        return None
    interval_ns = int(sample.interval_hours * NS_PER_HOUR)
    first = sample.next_funding_time
    if first < now_ns:
        first += -(-(now_ns - first) // interval_ns) * interval_ns
    end = now_ns + int(hours * NS_PER_HOUR)
    return 0 if first > end else (end - first) // interval_ns + 1


def _funding(sample: FundingRateSample, now_ns: int, hours: Decimal) -> tuple[Decimal, int | None]:
    """What a long pays over the horizon, at an unchanged rate."""
    count = settlements(sample, now_ns, hours)
    paid = per_hour(sample.raw_rate, sample.interval_hours) * hours if count is None else sample.raw_rate * count
    return paid, count


def edge(long: FundingQuote, short: FundingQuote, costs: Costs, *, now_ns: int, horizon_hours: Decimal) -> Edge:
    """The edge of being long at `long` and short at `short`, with rates as quoted and the settlements that really fall into the horizon."""
    long_hourly = per_hour(long.sample.raw_rate, long.sample.interval_hours)
    short_hourly = per_hour(short.sample.raw_rate, short.sample.interval_hours)
    hourly = short_hourly - long_hourly
    long_paid, long_count = _funding(long.sample, now_ns, horizon_hours)
    short_paid, short_count = _funding(short.sample, now_ns, horizon_hours)
    funding = short_paid - long_paid
    return Edge(
        long_hourly=long_hourly,
        short_hourly=short_hourly,
        hourly=hourly,
        annual=annual(hourly),
        costs=costs,
        break_even_hours=costs.total / hourly if hourly > 0 else None,
        horizon=Horizon(horizon_hours, funding, funding - costs.total, long_count, short_count),
    )
