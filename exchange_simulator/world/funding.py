"""Premium and funding rate of each asset on each venue.

A normal score per venue and asset moves hour by hour with two time scales (weeks and hours), shares a part with the other venues and
with the other assets, and is turned into a premium by the distribution recorded on the venue it stands for. The rate follows from the
premium by the formula the venues publish: clamp(P + clamp(I - P, -c, c)) per 8 hours, charged per interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from random import Random

from exchange_simulator.core.types import UNIT
from exchange_simulator.world.exact import exp, interpolate, normal, stream, text_key
from exchange_simulator.world.grid import HOUR_NS
from exchange_simulator.world.params import Z_GRID, Params
from exchange_simulator.world.profiles import FundingEdge, Scenario, VenueProfile

_LN2 = 0.6931471805599453
_PURPOSE = text_key("funding")


class TwoScale:
    """A stationary Gaussian pair (slow, fast) on an hourly grid, each of unit variance. Grows forward only."""

    def __init__(self, rng: Random, slow_hours: float, fast_hours: float) -> None:
        self._rng = rng
        self._keep = (exp(-1 / slow_hours), exp(-1 / fast_hours))
        self.values = [(normal(rng), normal(rng))]

    def at(self, k: int) -> tuple[float, float]:
        slow, fast = self._keep
        while len(self.values) <= k:
            s, f = self.values[-1]
            s = slow * s + math.sqrt(1 - slow * slow) * normal(self._rng)
            f = fast * f + math.sqrt(1 - fast * fast) * normal(self._rng)
            self.values.append((s, f))
        return self.values[k]


class FundingField:
    """Premiums and rates from `history_hours` before the start on, for ever after."""

    def __init__(
        self, seed: int, venues: Iterable[VenueProfile], start_ns: int, params: Params, scenario: Scenario, *, history_hours: int = 720
    ) -> None:
        self._params = params
        self._venues = {v.name: v for v in venues}
        self._edges = scenario.edges
        self._start_ns = start_ns
        self.first_hour = start_ns // HOUR_NS - history_hours
        self._seed = seed
        self._interest = params.number("funding.interest_8h")
        self._clamp = params.number("funding.clamp")
        self._cap = params.number("funding.cap_per_hour")
        self._share = (params.number("funding.asset_correlation"), params.number("funding.venue_correlation"))
        self._premiums: dict[tuple[str, str, int], float] = {}
        self._factors: dict[tuple[str, str], TwoScale] = {}
        self._tables = {name: params.table(f"funding.premium_z.{v.premium}") for name, v in self._venues.items()}

    def _factor(self, venue: str, asset: str, k: int) -> tuple[float, float]:
        """The common factor is ("", ""), an asset's ("", asset), a venue's own (venue, asset)."""
        found = self._factors.get((venue, asset))
        if found is None:
            rng = stream(self._seed, _PURPOSE, text_key(venue), text_key(asset))
            found = TwoScale(rng, self._params.number("funding.slow_hours"), self._params.number("funding.fast_hours"))
            self._factors[venue, asset] = found
        return found.at(k)

    def score(self, venue: str, asset: str, hour: int) -> float:
        """Standard normal score of the premium in the interval that ends at `hour` (counted from the epoch)."""
        k = hour - self.first_hour
        if k < 0:
            raise ValueError("no funding before the world's history")
        kind = "hourly" if self._venues[venue].funding_interval_hours == 1 else "eight_hourly"
        weight = self._params.number(f"funding.slow_weight.{kind}")
        between_assets, between_venues = self._share
        parts = zip(self._factor("", "", k), self._factor("", asset, k), self._factor(venue, asset, k), strict=True)
        slow, fast = (
            math.sqrt(between_venues) * (math.sqrt(between_assets) * everywhere + math.sqrt(1 - between_assets) * shared)
            + math.sqrt(1 - between_venues) * own
            for everywhere, shared, own in parts
        )
        return math.sqrt(weight) * slow + math.sqrt(1 - weight) * fast

    def interval_ns(self, venue: str) -> int:
        return self._venues[venue].funding_interval_hours * HOUR_NS

    def premium_of(self, venue: str, asset: str, settles_ns: int) -> float:
        """Mean premium of the interval that ends at `settles_ns`, without a scenario's edge."""
        key = venue, asset, settles_ns
        found = self._premiums.get(key)
        if found is None:
            found = self._premiums[key] = interpolate(Z_GRID, self._tables[venue], self.score(venue, asset, settles_ns // HOUR_NS))
        return found

    def _mixed(self, venue: str, asset: str, ts_ns: int) -> float:
        interval = self.interval_ns(venue)
        before = ts_ns // interval * interval
        part = (ts_ns - before) / interval
        last = self.premium_of(venue, asset, before)
        return last if part == 0.0 else last + (self.premium_of(venue, asset, before + interval) - last) * part

    def edge(self, venue: str, asset: str, ts_ns: int) -> float:
        """What the scenario adds to the hourly rate."""
        return sum((_size(e, ts_ns - self._start_ns) for e in self._edges if e.asset == asset and e.rich == venue), 0.0)

    def premium(self, venue: str, asset: str, ts_ns: int) -> float:
        """Perpetual over index, as a fraction, scenario included; moves evenly from one settlement's mean to the next."""
        return self._mixed(venue, asset, ts_ns) + 8 * self.edge(venue, asset, ts_ns)

    def rate(self, venue: str, asset: str, ts_ns: int) -> float:
        """Rate per interval of the venue if the interval ended now; at a settlement exactly what is charged. Positive: longs pay."""
        premium = self._mixed(venue, asset, ts_ns)
        pull = min(self._clamp, max(-self._clamp, self._interest - premium))
        hourly = (premium + pull) / 8 + self.edge(venue, asset, ts_ns)
        return min(self._cap, max(-self._cap, hourly)) * self._venues[venue].funding_interval_hours


def _size(edge: FundingEdge, age_ns: int) -> float:
    hours = age_ns / HOUR_NS
    if hours <= edge.hold_hours:
        return edge.edge_per_hour
    return edge.edge_per_hour * exp(-_LN2 * (hours - edge.hold_hours) / edge.half_life_hours)


class WorldFunding:
    """`FundingSource` of one venue's exchange: the world decides, the exchange charges. Rates are whole multiples of 1e-10."""

    sample_interval_ns = 0

    def __init__(self, field: FundingField, venue: VenueProfile) -> None:
        self._field = field
        self._venue = venue
        self._assets = {x.symbol: x.asset for x in venue.listings}

    def sample(self, market: str, premium: int) -> None: ...

    def estimate(self, market: str, ts_ns: int, interval_ns: int) -> int:
        return self._units(market, ts_ns, interval_ns)

    def settle(self, market: str, ts_ns: int, interval_ns: int) -> int:
        return self._units(market, ts_ns, interval_ns)

    def history(self, market: str, from_ns: int, to_ns: int) -> list[tuple[int, int]]:
        """Settlements in [from, to] as (time, rate), those before the world's start included."""
        interval = self._field.interval_ns(self._venue.name)
        earliest = self._field.first_hour * HOUR_NS
        first = -(-max(from_ns, earliest) // interval) * interval
        return [(t, self._units(market, t, interval)) for t in range(first, to_ns + 1, interval)]

    def _units(self, market: str, ts_ns: int, interval_ns: int) -> int:
        own = self._field.interval_ns(self._venue.name)
        rate = self._field.rate(self._venue.name, self._assets[market], ts_ns) * (interval_ns / own)
        return round(rate * 1e10) * (UNIT // 10**10)
