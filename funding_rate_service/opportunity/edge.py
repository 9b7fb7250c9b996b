"""The edge of holding long on one venue and short on another, each leg by its own interval (E25, E29)."""

from collections.abc import Iterable
from decimal import Decimal

import msgspec

from exchange_clients.model import HOURS_PER_YEAR

from .clock import SHORTEST_HOURS, paid_by_long
from .quotes import Costs, FundingQuote


def per_hour(rate: Decimal, interval_hours: Decimal) -> Decimal:
    """A rate per interval as a rate per hour.

    Raises:
        ValueError: the interval is no second long, or a figure is not finite.
    """
    if not rate.is_finite() or not interval_hours.is_finite() or interval_hours < SHORTEST_HOURS:
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

    @property
    def net_annual(self) -> Decimal:
        """What is left as a simple yearly rate, if one horizon followed the other and each paid the costs again."""
        return annual(self.net / self.hours)


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


def edge(long: FundingQuote, short: FundingQuote, costs: Costs, *, now_ns: int, horizon_hours: Decimal) -> Edge:
    """The edge of being long at `long` and short at `short`, with rates as quoted and the settlements that really fall into the horizon."""
    long_hourly = per_hour(long.sample.raw_rate, long.sample.interval_hours)
    short_hourly = per_hour(short.sample.raw_rate, short.sample.interval_hours)
    hourly = short_hourly - long_hourly
    long_paid, long_count = paid_by_long(long.sample, now_ns, horizon_hours)
    short_paid, short_count = paid_by_long(short.sample, now_ns, horizon_hours)
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


HORIZONS: tuple[int, ...] = (1, 2, 4, 8, 12, 24, 48, 72, 96, 120, 144, 168)
"""Hours."""


def curve(
    long: FundingQuote, short: FundingQuote, costs: Costs, *, now_ns: int, horizons: Iterable[int | Decimal] = HORIZONS
) -> tuple[Horizon, ...]:
    """What each holding time brings, with the settlements that really fall into it: the expected value of the pair over time."""
    return tuple(edge(long, short, costs, now_ns=now_ns, horizon_hours=Decimal(hours)).horizon for hours in horizons)


def break_even(long: FundingQuote, short: FundingQuote, costs: Costs, *, now_ns: int, most_hours: int = 168) -> int | None:
    """The first whole hour after which settled funding has paid the costs; None: not within `most_hours` at these rates."""
    return next(
        (h for h in range(1, most_hours + 1) if edge(long, short, costs, now_ns=now_ns, horizon_hours=Decimal(h)).horizon.net >= 0), None
    )
