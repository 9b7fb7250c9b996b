"""Figures of many pairs at once, as floats with their errors; NaN is unknown. What they say for sure needs no Decimal."""

import numpy as np
from numpy.typing import NDArray

from exchange_clients.model import NS_PER_S

from .columns import EPS, INTEREST, MARK, TAKER, VOLUME, Bools, Columns, Floats, compare
from .query import SortBy
from .ranking import Filters

Rows = NDArray[np.intp]
Value = tuple[Floats, Floats]
"""A figure of each pair and how far it may be off."""


class PairFigures:
    """Of pairs given as rows of their long and short legs; `equal`: both rates per hour are the same."""

    def __init__(self, columns: Columns, long: Rows, short: Rows, equal: Bools, filters: Filters, now_ns: int) -> None:
        self._columns, self.long, self.short, self._equal = columns, long, short, equal
        self._odd: Bools = columns.odd[long] | columns.odd[short]
        self._now_ns = now_ns
        self.hourly = self._of_hourly()
        self.costs = self._of_costs(filters)
        self.net = self._of_net(filters)

    def rules(self, filters: Filters) -> tuple[Bools, Bools]:
        """(which pairs may pass the rules for a pair, which surely do)."""
        least = float(filters.min_profit)
        may, sure = compare(*self.net, least, at_least=True)
        if filters.min_profit >= 0:  # and more than nothing
            value, error = self.net
            may, sure = may & (value + error > 0), sure & (value - error > 0)
        for needed, figure, limit, at_least in (
            (filters.min_divergence, SortBy.HOURLY, filters.min_divergence, True),
            (filters.max_break_even_hours, SortBy.BREAK_EVEN, filters.max_break_even_hours, False),
            (filters.max_price_divergence, SortBy.PRICE_DIVERGENCE, filters.max_price_divergence, False),
            (filters.min_oi_ratio, SortBy.OI_RATIO, filters.min_oi_ratio, True),
            (filters.max_oi_ratio, SortBy.OI_RATIO, filters.max_oi_ratio, False),
        ):
            if needed is not None and limit is not None:
                maybe, certain = compare(*self.key(figure), float(limit), at_least=at_least)
                may, sure = may & maybe, sure & certain
        return may, sure

    def key(self, by: SortBy) -> Value:
        """The figure that an order goes by."""
        figures, long, short = self._columns.figures, self.long, self.short
        match by:
            case SortBy.NET:
                return self.net
            case SortBy.HOURLY:
                return self.hourly
            case SortBy.COSTS:
                return self.costs
            case SortBy.BREAK_EVEN:
                return self._break_even()
            case SortBy.VOLUME:
                value = np.minimum(figures[VOLUME][long], figures[VOLUME][short])
                return self._off(value, EPS * np.abs(value))
            case SortBy.OPEN_INTEREST:
                value = np.minimum(figures[INTEREST][long], figures[INTEREST][short])
                return self._off(value, EPS * np.abs(value))
            case SortBy.OI_RATIO:
                above, below = figures[INTEREST][long], figures[INTEREST][short]
                value = np.where(below > 0, above / below, np.nan)
                return self._off(value, EPS * np.abs(value))
            case SortBy.SPREAD:
                value = np.maximum(self._columns.spread[long], self._columns.spread[short])
                return self._off(value, np.full(len(value), EPS))
            case SortBy.PRICE_DIVERGENCE:
                one, other = figures[MARK][long], figures[MARK][short]
                lower = np.minimum(one, other)
                value = np.where(lower > 0, np.abs(one - other) / lower, np.nan)
                return self._off(value, EPS * (one + other) / lower)
            case SortBy.AGE:
                seen = self._columns.observed_ns
                value = (self._now_ns - np.minimum(seen[long], seen[short])) / NS_PER_S
                return self._off(value, EPS * np.abs(value))
            case SortBy.SYMBOL:
                raise ValueError("a symbol is no figure")

    def _off(self, value: Floats, error: Floats) -> Value:
        """Of a pair with an odd row nothing is told: any value is possible."""
        return np.where(self._odd, 0.0, value), np.where(self._odd, np.inf, error)

    def _of_hourly(self) -> Value:
        hourly = self._columns.hourly()
        one, other = hourly[self.long], hourly[self.short]
        value = np.where(self._equal, 0.0, other - one)
        error = np.where(self._equal, 0.0, EPS * (np.abs(one) + np.abs(other)))
        return self._off(value, error)

    def _of_costs(self, filters: Filters) -> Value:
        long, short, taker = self.long, self.short, self._columns.figures[TAKER]
        spread = self._columns.spread
        if not filters.need_spreads:
            spread = np.nan_to_num(spread, nan=0.0)
        crossed = spread[long] + spread[short]  # half of each in, half of each out
        value = 2 * (taker[long] + taker[short]) + crossed
        error = EPS * (2 * np.abs(taker[long]) + 2 * np.abs(taker[short]) + 2)
        return self._off(value, error)

    def _of_net(self, filters: Filters) -> Value:
        paid = self._columns.paid_by_long(self._now_ns, filters.horizon_hours)
        one, other = paid[self.long], paid[self.short]
        costs, off = self.costs
        return self._off(other - one - costs, EPS * (np.abs(one) + np.abs(other)) + off)

    def _break_even(self) -> Value:
        """Costs over the difference per hour, which is above zero unless the rates are equal; one too small to divide by says nothing."""
        (costs, off), (hourly, tiny) = self.costs, self.hourly
        told = hourly > 2 * tiny
        value = np.where(told, costs / hourly, 0.0)
        error = np.where(told, (off + np.abs(value) * tiny) / (hourly - tiny) + EPS * np.abs(value), np.inf)
        return self._off(np.where(self._equal, np.nan, value), error)
