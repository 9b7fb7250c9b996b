"""Efficient prices: a random walk by minutes with volatility regimes and jumps, and a bridge of 250 ms steps inside each minute."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from exchange_simulator.world.exact import exp, interpolate, log, normal, stream, text_key
from exchange_simulator.world.grid import CELL_NS, STEPS
from exchange_simulator.world.params import Z_GRID, Params
from exchange_simulator.world.profiles import Scenario

_BAR_CELLS = 8 * 60
_MARKET, _BAR, _OWN, _FINE = (text_key(name) for name in ("market", "volatility", "asset", "bridge"))


@dataclass(frozen=True, slots=True)
class Cell:
    """One minute of one asset in fine steps."""

    prices: tuple[float, ...]
    """Quote per token at each of the STEPS + 1 grid times."""
    activity: tuple[float, ...]
    """Normal score of how busy each step is: large price moves and many orders come together."""


class PriceField:
    """Prices of several assets from one start on. Grows forward only; any earlier cell stays readable."""

    def __init__(self, seed: int, assets: Iterable[str], start_ns: int, params: Params, scenario: Scenario) -> None:
        self._seed = seed
        self._assets = {name: params.asset(name) for name in assets}
        self._first = start_ns // CELL_NS
        self._vol = params.number("price.vol_8h") * scenario.volatility / math.sqrt(_BAR_CELLS)
        self._vol_z = params.table("price.vol_factor_z")
        self._vol_ar = params.number("price.vol_factor_ar_8h")
        self._jump_rate = params.number("price.jumps_per_day") * scenario.jumps / 1440
        self._jump_sd = params.number("price.jump_sd") * scenario.volatility
        self._correlation = params.number("price.asset_correlation")
        self._activity_ar = params.number("trades.count_ar")
        self._activity_z = params.table("trades.activity_z")
        self._logs = {name: [log(float(a.start_price))] for name, a in self._assets.items()}
        self._sd: list[float] = []
        self._bar_scores: list[float] = []
        self._market = stream(seed, _MARKET)
        self._bars = stream(seed, _BAR)
        self._own = {name: stream(seed, _OWN, text_key(name)) for name in self._assets}
        self._cells: dict[tuple[str, int], Cell] = {}

    def _bar_factor(self, cell: int) -> float:
        bar = cell // _BAR_CELLS - self._first // _BAR_CELLS
        while len(self._bar_scores) <= bar:
            fresh = normal(self._bars)
            last = self._bar_scores[-1] if self._bar_scores else None
            keep = self._vol_ar
            self._bar_scores.append(fresh if last is None else keep * last + math.sqrt(1 - keep * keep) * fresh)
        return interpolate(Z_GRID, self._vol_z, self._bar_scores[bar])

    def _grow(self, cell: int) -> None:
        """Draws minute returns up to the end of `cell`."""
        rho = self._correlation
        rest = math.sqrt(1 - rho * rho)
        while len(self._sd) <= cell - self._first:
            sd = self._vol * self._bar_factor(self._first + len(self._sd))
            self._sd.append(sd)
            common = normal(self._market)
            jumps = self._market.random() < self._jump_rate
            jump = normal(self._market) * self._jump_sd if jumps else 0.0
            for name, asset in self._assets.items():
                own = normal(self._own[name])
                move = sd * (common if name == "BTC" else rho * common + rest * own) + jump
                self._logs[name].append(self._logs[name][-1] + asset.vol_ratio * move)

    def cell(self, asset: str, number: int) -> Cell:
        """Raises ValueError for a time before the start of the world."""
        if number < self._first:
            raise ValueError("the world has no prices before its start")
        found = self._cells.get((asset, number))
        if found is None:
            self._grow(number)
            if len(self._cells) > 4 * len(self._assets):
                self._cells.clear()
            found = self._cells[asset, number] = self._bridge(asset, number)
        return found

    def at_cell(self, asset: str, number: int) -> float:
        """Price at the first instant of a cell, without drawing its inside."""
        self._grow(number)
        return exp(self._logs[asset][number - self._first])

    def _bridge(self, asset: str, number: int) -> Cell:
        k = number - self._first
        start, total = self._logs[asset][k], self._logs[asset][k + 1] - self._logs[asset][k]
        sd = self._sd[k] * self._assets[asset].vol_ratio
        rng = stream(self._seed, _FINE, text_key(asset), number)
        keep = self._activity_ar
        fresh = math.sqrt(1 - keep * keep)
        scores = [normal(rng)]
        for _ in range(STEPS - 1):
            scores.append(keep * scores[-1] + fresh * normal(rng))
        weights = [interpolate(Z_GRID, self._activity_z, z) for z in scores]
        whole = sum(weights)
        if whole <= 0.0:
            weights, whole = [1.0] * STEPS, float(STEPS)
        at, left, logs = 0.0, 1.0, [start]
        for weight in weights[:-1]:
            share = weight / whole
            if share > 0.0 and left > 0.0:
                part = share / left if share < left else 1.0
                remaining = left - share if share < left else 0.0
                at += (total - at) * part + sd * math.sqrt(share * remaining / left) * normal(rng)
                left = remaining
            logs.append(start + at)
        logs.append(start + total)
        return Cell(tuple(_prices(logs)), tuple(scores))


def _prices(logs: list[float]) -> list[float]:
    """Exponentials, computed once per run of equal values: most steps do not move."""
    out: list[float] = []
    for i, value in enumerate(logs):
        out.append(out[-1] if i and value == logs[i - 1] else exp(value))
    return out
