"""Figures of many pairs at once, as floats with their errors; NaN is unknown. What they say for sure needs no Decimal."""

from typing import Self

import numpy as np

from exchange_clients.model import NS_PER_S

from .columns import EPS, Bools, Column, Columns, Floats, Rows, compare
from .query import SortBy
from .ranking import Filters

Value = tuple[Floats, Floats]
"""A figure of each pair and how far it may be off."""
NEEDS = {
    SortBy.VOLUME: Column.VOLUME,
    SortBy.OPEN_INTEREST: Column.INTEREST,
    SortBy.OI_RATIO: Column.INTEREST,
    SortBy.PRICE_DIVERGENCE: Column.MARK,
}


def needed(filters: Filters, by: SortBy) -> set[Column]:
    """Columns that an answer needs beside those that each needs."""
    found = {NEEDS[by]} if by in NEEDS else set()
    for column, limits in (
        (Column.MARK, (filters.max_price_divergence,)),
        (Column.VOLUME, (filters.min_volume_24h, filters.max_volume_24h)),
        (Column.INTEREST, (filters.min_oi_usd, filters.max_oi_usd, filters.min_oi_ratio, filters.max_oi_ratio)),
    ):
        if any(limit is not None for limit in limits):
            found.add(column)
    return found


class Legs:
    """What funding and costs make of each row, so that a pair's net is a sum of a few figures.

    `off`: no pair's net is further from the truth, odd rows aside.
    """

    def __init__(self, columns: Columns, wanted: Bools, filters: Filters, now_ns: int) -> None:
        odd = columns.odd
        self.paid: Floats = np.where(odd, 0.0, columns.paid_by_long(now_ns, filters.horizon_hours))
        self._fees: Floats = np.where(odd, -np.inf, 2 * columns.figures[Column.TAKER])
        """In and out; of an odd row nothing is too little."""
        self._spread: Floats = np.where(odd, 0.0, columns.spread)
        """Half of it each time."""
        sound = wanted & ~odd
        largest = np.abs(self.paid[sound]).max(initial=0.0) + np.abs(self._fees[sound]).max(initial=0.0)
        self.off = float(4 * EPS * (largest + 3))

    def costs(self, one: Rows, other: Rows) -> Floats:
        """Of pairs, in and out; fees alone where a spread is unknown."""
        crossed = self._spread[one] + self._spread[other]
        return self._fees[one] + self._fees[other] + np.where(np.isnan(crossed), 0.0, crossed)


class PairFigures:
    """Of pairs given as rows of their long and short legs; `equal`: both rates per hour are the same."""

    def __init__(self, columns: Columns, legs: Legs, long: Rows, short: Rows, equal: Bools, now_ns: int) -> None:
        self._columns, self._legs, self._now_ns = columns, legs, now_ns
        self.long, self.short, self.equal = long, short, equal
        self._odd: Bools = columns.odd[long] | columns.odd[short]
        funding, costs = legs.paid[short] - legs.paid[long], legs.costs(long, short)
        off = np.full(len(long), legs.off)
        self.costs: Value = self._off(costs, off)
        self.net: Value = self._off(funding - costs, off)

    def only(self, chosen: Bools) -> Self:
        """The figures of some of the pairs."""
        return type(self)(self._columns, self._legs, self.long[chosen], self.short[chosen], self.equal[chosen], self._now_ns)

    def enough(self, filters: Filters) -> tuple[Bools, Bools]:
        """(which pairs may leave what is wanted, which surely do). Errors are above zero: what is surely not below it is above it."""
        return compare(*self.net, float(filters.min_profit), at_least=True)

    def rules(self, filters: Filters) -> tuple[Bools, Bools]:
        """(which pairs may pass the other rules for a pair, which surely do)."""
        may = sure = np.ones(len(self.long), np.bool_)
        for figure, limit, at_least in (
            (SortBy.HOURLY, filters.min_divergence, True),
            (SortBy.BREAK_EVEN, filters.max_break_even_hours, False),
            (SortBy.PRICE_DIVERGENCE, filters.max_price_divergence, False),
            (SortBy.OI_RATIO, filters.min_oi_ratio, True),
            (SortBy.OI_RATIO, filters.max_oi_ratio, False),
        ):
            if limit is not None:
                maybe, certain = compare(*self.key(figure), float(limit), at_least=at_least)
                may, sure = may & maybe, sure & certain
        return may, sure

    def key(self, by: SortBy) -> Value:
        """The figure that an order goes by."""
        long, short, figures = self.long, self.short, self._columns.figures
        match by:
            case SortBy.NET:
                return self.net
            case SortBy.COSTS:
                return self.costs
            case SortBy.HOURLY:
                return self._hourly()
            case SortBy.BREAK_EVEN:
                return self._break_even()
            case SortBy.VOLUME | SortBy.OPEN_INTEREST:
                of = figures[NEEDS[by]]
                return self._near(np.minimum(of[long], of[short]))
            case SortBy.OI_RATIO:
                above, below = figures[Column.INTEREST][long], figures[Column.INTEREST][short]
                return self._near(np.where(below > 0, above / below, np.nan))
            case SortBy.SPREAD:
                widest = np.maximum(self._columns.spread[long], self._columns.spread[short])
                return self._off(widest, np.full(len(widest), EPS))
            case SortBy.PRICE_DIVERGENCE:
                one, other = figures[Column.MARK][long], figures[Column.MARK][short]
                lower = np.minimum(one, other)
                apart = np.where(lower > 0, np.abs(one - other) / lower, np.nan)
                return self._off(apart, EPS * (one + other) / lower)
            case SortBy.AGE:
                seen = self._columns.observed_ns
                return self._near((self._now_ns - np.minimum(seen[long], seen[short])) / NS_PER_S)
            case SortBy.SYMBOL:
                raise ValueError("a symbol is no figure")

    def _near(self, value: Floats) -> Value:
        return self._off(value, EPS * np.abs(value))

    def _off(self, value: Floats, error: Floats) -> Value:
        """Of a pair with an odd row nothing is told: any value is possible."""
        if not self._odd.any():
            return value, error
        return np.where(self._odd, 0.0, value), np.where(self._odd, np.inf, error)

    def _hourly(self) -> Value:
        hourly = self._columns.hourly()
        one, other = hourly[self.long], hourly[self.short]
        value = np.where(self.equal, 0.0, other - one)
        return self._off(value, np.where(self.equal, 0.0, EPS * (np.abs(one) + np.abs(other))))

    def _break_even(self) -> Value:
        """Costs over the difference per hour, which is above zero unless the rates are equal; one too small to divide by says nothing."""
        (costs, off), (hourly, tiny) = self.costs, self._hourly()
        told = hourly > 2 * tiny
        value = np.where(told, costs / hourly, 0.0)
        error = np.where(told, (off + np.abs(value) * tiny) / (hourly - tiny) + EPS * np.abs(value), np.inf)
        return self._off(np.where(self.equal, np.nan, value), error)
