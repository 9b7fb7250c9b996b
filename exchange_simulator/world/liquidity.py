"""Books and trades of one listing, 250 ms step by step.

A level's size is a function of its price and of the epoch it is in (its lifetime gives the length of an epoch): levels persist, change and
vanish one by one, and a book can be asked for at any step without its past.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from exchange_simulator.core.types import REF, Side
from exchange_simulator.world.exact import interpolate, mix, normal, normal_quantile, quantile, stream, text_key, unit
from exchange_simulator.world.grid import FINE_NS, STEPS
from exchange_simulator.world.params import REACH_BPS, Z_GRID, Params
from exchange_simulator.world.prices import Cell
from exchange_simulator.world.profiles import Listing, VenueProfile

_MASK = (1 << 64) - 1
_DENSE = 20
_SPREAD, _TRADES, _NOISE = (text_key(name) for name in ("spread", "trades", "noise"))
_SPREAD_STEPS = 4
_RUNGS: tuple[int, ...] = tuple(m * 10**e for e in range(7) for m in (1, 2, 5))

Rows = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class BookState:
    """Anonymous depth: (price in ticks, size in steps), best first."""

    bids: Rows
    asks: Rows


@dataclass(frozen=True, slots=True)
class Order:
    """One aggressive anonymous order."""

    side: Side
    size: int


class _Level:
    """What does not depend on time of one level: mean size in steps, length and phase of its epochs."""

    __slots__ = ("key", "lifetime", "mean", "phase", "price", "size", "spread", "until")

    def __init__(self, price: int, key: int, mean: float, lifetime: int, spread: float) -> None:
        self.price = price
        self.key = key
        self.mean = mean
        self.lifetime = lifetime
        self.phase = key % lifetime
        self.spread = spread
        self.until = -1
        self.size = 0


class ListingLiquidity:
    """Liquidity of one asset on one venue."""

    def __init__(self, seed: int, venue: VenueProfile, listing: Listing, params: Params) -> None:
        asset = params.asset(listing.asset)
        self.listing = listing
        self._key = mix(seed, text_key(venue.name), text_key(listing.symbol))
        self._class = asset.liquidity
        self._depth = asset.depth_factor * venue.depth_factor
        self._spread = asset.spread_factor
        base = params.number("trades.dex_rate_factor") if venue.trade_rate is None else venue.trade_rate
        self._rate = base * asset.trade_rate_factor
        self._notional = params.table("trades.notional_usd")
        self._notional_factor = params.number("trades.dex_size_factor") * asset.depth_factor
        self._count_z = params.table("trades.count_z")
        self._with_activity = params.number("trades.activity_correlation")
        self._same_side = params.number("trades.same_side")
        self._with_move = params.number("trades.with_move")
        self._noise_sd = params.number("price.venue_noise_bps") / 1e4
        self._noise_steps = max(1, int(params.number("price.venue_noise_s") * 1e9) // FINE_NS)
        self._tick = float(listing.tick_size) / listing.tokens
        self._step_usd = float(listing.step_size)
        self._reach = (0.0, *REACH_BPS)
        self._cumulative = (0.0, *self._class.depth_usd)
        self._built: tuple[int, int] | None = None
        self._last = 0
        self._sides: tuple[list[_Level], list[_Level]] = ([], [])

    # prices

    def ref(self, price: float) -> int:
        """A price per token as mark or index, in ref units of the market."""
        return math.floor(price / self._tick * REF + 0.5)

    def noise(self, step: int) -> float:
        """The venue's own deviation from fair value, as a fraction: independent knots, straight lines between."""
        knot, part = divmod(step, self._noise_steps)
        left, right = (self._noise_sd * normal_quantile(unit(mix(self._key, _NOISE, k) | 1 << 11)) for k in (knot, knot + 1))
        return left + (right - left) * part / self._noise_steps

    def touch(self, fair: float, step: int) -> tuple[int, int]:
        """Best bid and ask in ticks around a fair price per token."""
        centre = fair / self._tick
        quantum = self.listing.quantum(int(centre))
        draw = unit(mix(self._key, _SPREAD, step // _SPREAD_STEPS))
        width = quantile(self._class.spread_bps, draw) * self._spread * 1e-4 * centre
        units = max(1, math.floor(width / quantum + 0.5))
        bid = math.floor(centre / quantum - units / 2 + 0.5)
        return max(1, bid) * quantum, (max(1, bid) + units) * quantum

    # books

    def book(self, fair: float, step: int) -> BookState:
        """Depth around a fair price per token at one fine step."""
        touch = self.touch(fair, step)
        if touch != self._built or step < self._last:
            self._sides = (self._ladder(touch[0], -1), self._ladder(touch[1], 1))
            self._built = touch
        self._last = step
        bids, asks = (tuple((x.price, x.size) for x in side if self._refresh(x, step)) for side in self._sides)
        return BookState(bids, asks)

    def _refresh(self, level: _Level, step: int) -> int:
        if step >= level.until:
            epoch, at = divmod(step + level.phase, level.lifetime)
            level.until = step + level.lifetime - at
            bits = _scramble(level.key ^ (epoch * 0x9E3779B97F4A7C15))
            if level.spread < 0.0:
                usd = quantile(self._class.touch_usd, unit(bits)) * self._depth
                level.size = max(1, int(usd / level.mean))
            else:
                noise = quantile(self._class.size_noise, unit(bits))
                level.size = int(level.mean * (1.0 + (noise - 1.0) * level.spread))
        return level.size

    def _ladder(self, touch: int, direction: int) -> list[_Level]:
        """Prices from the touch outward: every allowed one at first, then coarser round ones, each with the depth of its stretch."""
        quantum = self.listing.quantum(touch)
        usd_per_step = touch * float(self.listing.tick_size) * float(self.listing.step_size)
        levels = [_Level(touch, self._level_key(touch, direction), usd_per_step, self._lifetime(0.0), -1.0)]
        distance, price, behind = 0.0, touch, 0.0
        while distance < REACH_BPS[-1]:
            gap = self._gap(abs(price - touch) // quantum) * quantum
            price = (price // gap + 1) * gap if direction > 0 else (-(-price // gap) - 1) * gap
            if price <= 0:
                break
            distance = abs(price - touch) / touch * 1e4
            within = interpolate(self._reach, self._cumulative, distance) * self._depth
            key = self._level_key(price, direction)
            dense = gap == quantum
            present = not dense or unit(_scramble(key)) < self._class.occupied
            if present:
                mean = (within - behind) / usd_per_step
                behind = within
                levels.append(_Level(price, key, mean, self._lifetime(distance), 1.0 if dense else 0.5))
        return levels

    @staticmethod
    def _gap(offset: int) -> int:
        if offset < _DENSE:
            return 1
        return next(rung for rung in _RUNGS if rung * 8 > offset)

    def _level_key(self, price: int, direction: int) -> int:
        return _scramble(self._key ^ (price * 0xD1342543DE82EF95) ^ (direction & _MASK))

    def _lifetime(self, distance: float) -> int:
        seconds = interpolate(REACH_BPS, self._class.lifetime_s, distance)
        return max(1, int(seconds * 1e9) // FINE_NS)

    # trades

    def orders(self, cell: Cell, number: int) -> list[tuple[Order, ...]]:
        """Aggressive orders of each step of one cell."""
        rng = stream(self._key, _TRADES, number)
        rest = math.sqrt(1 - self._with_activity * self._with_activity)
        last = rng.random() < 0.5
        out: list[tuple[Order, ...]] = []
        for i in range(STEPS):
            score = self._with_activity * cell.activity[i] + rest * normal(rng)
            count = int(interpolate(Z_GRID, self._count_z, score) * self._rate + rng.random())
            if not count:
                out.append(())
                continue
            before, after = cell.prices[i], cell.prices[i + 1]
            orders = []
            for _ in range(count):
                draw = rng.random()
                last = (draw < self._with_move) == (after > before) if after != before else (draw < self._same_side) == last
                usd = quantile(self._notional, rng.random()) * self._notional_factor
                size = int(usd / (after * self.listing.tokens * self._step_usd))
                orders.append(Order(Side.BUY if last else Side.SELL, max(1, size)))
            out.append(tuple(orders))
        return out


def _scramble(x: int) -> int:
    x &= _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)
