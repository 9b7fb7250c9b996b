"""What somebody wants to see of the opportunities: filters, order, how many; and the plain way to answer it."""

from collections.abc import Callable, Iterable
from decimal import Decimal
from enum import StrEnum
from typing import Any

import msgspec

from exchange_clients.model import NS_PER_S, ZERO

from .edge import HORIZONS
from .quotes import FundingQuote
from .ranking import Filters, Opportunity, scan

MOST = 100
"""Opportunities in one answer."""


class SortBy(StrEnum):
    """The figure that decides the order."""

    NET = "net"
    """What is left after costs over the horizon."""
    HOURLY = "hourly"
    """Difference of the rates per hour."""
    BREAK_EVEN = "break_even_hours"
    COSTS = "costs"
    VOLUME = "volume"
    """Of the leg that has less."""
    OPEN_INTEREST = "oi"
    """Of the leg that has less."""
    OI_RATIO = "oi_ratio"
    SPREAD = "spread"
    """Of the leg that has more."""
    PRICE_DIVERGENCE = "price_divergence"
    AGE = "age"
    """Of the older rate."""
    SYMBOL = "symbol"


class BadQuery(ValueError):
    """A query that cannot be answered; `name` is the field at fault."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name} {message}")
        self.name = name


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Which opportunities, in which order. None switches a filter off; a figure that a filter needs and nobody knows fails it.

    Fractions, USD, hours, seconds. `symbol`: canonical base. Venues: `dex` and `required_dex`, a leg there; `dex_pair`, the legs on these
    two, either way round; `dexes`, at least one leg on one of them; `whitelist_dexes`, both legs on them; `exclude_dexes`, no leg on them.
    `min_divergence`: difference of the rates per hour. `min_profit`: net over `horizon_hours`; a negative one also shows pairs that lose.
    Volume, open interest and spread: of each leg. `oi_ratio_*`: long over short leg. Without `max_spread` a pair with an unknown spread is
    shown with its fees alone.

    Raises:
        BadQuery: a figure is out of range or contradicts another.
    """

    symbol: str | None = None
    dex: str | None = None
    dex_pair: tuple[str, str] | None = None
    dexes: frozenset[str] | None = None
    whitelist_dexes: frozenset[str] | None = None
    exclude_dexes: frozenset[str] = frozenset()
    required_dex: str | None = None
    min_divergence: Decimal | None = None
    min_profit: Decimal = ZERO
    min_volume: Decimal | None = None
    max_volume: Decimal | None = None
    min_oi: Decimal | None = None
    max_oi: Decimal | None = None
    oi_ratio_min: Decimal | None = None
    oi_ratio_max: Decimal | None = None
    max_spread: Decimal | None = None
    max_price_divergence: Decimal | None = None
    max_break_even_hours: Decimal | None = None
    max_rate_age: Decimal = Decimal(180)
    horizon_hours: Decimal = Decimal(24)
    limit: int = 20
    sort_by: SortBy = SortBy.NET
    sort_desc: bool = True

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, Decimal):
                if not value.is_finite():
                    raise BadQuery(name, f"is {value}, not a number")
                if value < 0 and name not in ("min_profit", "min_divergence"):
                    raise BadQuery(name, f"is {value}: give 0 or more")
        if not 0 < self.horizon_hours <= HORIZONS[-1]:
            raise BadQuery("horizon_hours", f"is {self.horizon_hours}: give more than 0, at most {HORIZONS[-1]}")
        if not 1 <= self.limit <= MOST:
            raise BadQuery("limit", f"is {self.limit}: give 1 to {MOST}")
        for least, most in (("min_volume", "max_volume"), ("min_oi", "max_oi"), ("oi_ratio_min", "oi_ratio_max")):
            low, high = getattr(self, least), getattr(self, most)
            if low is not None and high is not None and low > high:
                raise BadQuery(least, f"{low} is above {most} {high}")
        if self.dex_pair is not None and self.dex_pair[0] == self.dex_pair[1]:
            raise BadQuery("dex_pair", f"names {self.dex_pair[0]} twice: the legs are on two venues")

    def filters(self) -> Filters:
        """The same as rules for a pair."""
        named = {name for name in (self.dex, self.required_dex) if name is not None} | set(self.dex_pair or ())
        return Filters(
            horizon_hours=self.horizon_hours,
            min_profit=self.min_profit,
            max_break_even_hours=self.max_break_even_hours,
            max_rate_age_s=self.max_rate_age,
            max_spread=self.max_spread,
            max_price_divergence=self.max_price_divergence,
            min_divergence=self.min_divergence,
            min_volume_24h=self.min_volume,
            max_volume_24h=self.max_volume,
            min_oi_usd=self.min_oi,
            max_oi_usd=self.max_oi,
            min_oi_ratio=self.oi_ratio_min,
            max_oi_ratio=self.oi_ratio_max,
            symbols=None if self.symbol is None else frozenset({self.symbol}),
            required_venues=frozenset(named),
            any_venues=self.dexes,
            only_venues=self.whitelist_dexes,
            no_venues=self.exclude_dexes,
            need_spreads=self.max_spread is not None,
        )


class Ranked(msgspec.Struct, frozen=True):
    """The answer: the first `limit` of `total` pairs that pass, of `considered` pairs of markets of one asset on two venues."""

    opportunities: tuple[Opportunity, ...]
    total: int
    considered: int


def rank(quotes: Iterable[FundingQuote], query: Query, *, now_ns: int) -> Ranked:
    """Judge every pair and order what passes. The Ranker gives the same answer for many quotes that change little."""
    found = scan(quotes, query.filters(), now_ns=now_ns)
    pairs = {frozenset((x.long.instrument, x.short.instrument)) for side in (found.opportunities, found.rejections) for x in side}
    ordered = in_order(found.opportunities, query, now_ns)
    return Ranked(tuple(ordered[: query.limit]), len(ordered), len(pairs))


def in_order(opportunities: Iterable[Opportunity], query: Query, now_ns: int) -> list[Opportunity]:
    """In the order asked for; unknown figures last whichever way round, ties by names."""
    by_name = sorted(opportunities, key=names)
    figures = [figure(o, query.sort_by, now_ns) for o in by_name]
    known = [n for n, value in enumerate(figures) if value is not None]
    known.sort(key=lambda n: figures[n], reverse=query.sort_desc)  # stable in both directions
    unknown = (n for n, value in enumerate(figures) if value is None)
    return [by_name[n] for n in (*known, *unknown)]


def names(o: Opportunity) -> tuple[str, str, str]:
    """What breaks ties."""
    return o.symbol, str(o.long.instrument), str(o.short.instrument)


def figure(o: Opportunity, by: SortBy, now_ns: int) -> Any:
    """The figure that an order goes by; None: unknown."""
    return _FIGURES[by](o, now_ns)


def _both(one: Decimal | None, other: Decimal | None, choose: Callable[[Decimal, Decimal], Decimal]) -> Decimal | None:
    return None if one is None or other is None else choose(one, other)


_FIGURES: dict[SortBy, Callable[[Opportunity, int], Any]] = {
    SortBy.NET: lambda o, _: o.edge.horizon.net,
    SortBy.HOURLY: lambda o, _: o.edge.hourly,
    SortBy.BREAK_EVEN: lambda o, _: o.edge.break_even_hours,
    SortBy.COSTS: lambda o, _: o.edge.costs.total,
    SortBy.VOLUME: lambda o, _: _both(o.long.volume_24h_usd, o.short.volume_24h_usd, min),
    SortBy.OPEN_INTEREST: lambda o, _: _both(o.long.open_interest_usd, o.short.open_interest_usd, min),
    SortBy.OI_RATIO: lambda o, _: o.oi_ratio,
    SortBy.SPREAD: lambda o, _: _both(o.long.spread, o.short.spread, max),
    SortBy.PRICE_DIVERGENCE: lambda o, _: o.price_divergence,
    SortBy.AGE: lambda o, now_ns: Decimal(now_ns - min(o.long.observed_ns, o.short.observed_ns)) / NS_PER_S,
    SortBy.SYMBOL: lambda o, _: o.symbol,
}
