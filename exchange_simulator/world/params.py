"""The fitted parameters as package data, typed. Where each comes from stands beside its value in `params.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec

Z_GRID: tuple[float, ...] = tuple(i / 4 for i in range(-16, 17))
"""The normal scores at which `*_z` tables are given."""
REACH_BPS: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
"""The distances at which depth and lifetime tables are given."""


@dataclass(frozen=True, slots=True)
class LiquidityClass:
    """What the book of one recorded kind of market looks like; tables are quantiles unless said otherwise."""

    spread_bps: tuple[float, ...]
    touch_usd: tuple[float, ...]
    depth_usd: tuple[float, ...]
    """USD a side behind the touch within REACH_BPS, cumulative."""
    size_noise: tuple[float, ...]
    occupied: float
    lifetime_s: tuple[float, ...]
    """Mean seconds between changes of a level, by REACH_BPS."""


@dataclass(frozen=True, slots=True)
class AssetParams:
    start_price: Decimal
    vol_ratio: float
    liquidity: LiquidityClass
    depth_factor: float
    spread_factor: float
    trade_rate_factor: float


class Params:
    """Parameters by name, as they stand in `params.json`."""

    def __init__(self, entries: Mapping[str, Mapping[str, Any]]) -> None:
        self.entries = entries

    def number(self, name: str) -> float:
        return float(self.entries[name]["value"])

    def table(self, name: str) -> tuple[float, ...]:
        return tuple(float(x) for x in self.entries[name]["value"])

    def assets(self) -> list[str]:
        """Assets a world can hold."""
        prefix = "price.vol_ratio."
        return [name.removeprefix(prefix) for name in self.entries if name.startswith(prefix)]

    def asset(self, name: str) -> AssetParams:
        """Raises KeyError naming the assets there are."""
        if name not in self.assets():
            raise KeyError(f"no parameters for asset {name}; there are {', '.join(self.assets())}")
        shape = self.entries[f"liquidity.asset.{name}"]["value"]
        rate = self.entries.get(f"trades.asset_rate.{name}", {"value": 1.0})["value"]
        return AssetParams(
            start_price=Decimal(self.entries[f"price.start.{name}"]["value"]),
            vol_ratio=self.number(f"price.vol_ratio.{name}"),
            liquidity=self.liquidity(shape["class"]),
            depth_factor=float(shape["depth"]),
            spread_factor=float(shape["spread"]),
            trade_rate_factor=float(rate),
        )

    def liquidity(self, name: str) -> LiquidityClass:
        return LiquidityClass(
            spread_bps=self.table(f"liquidity.{name}.spread_bps"),
            touch_usd=self.table(f"liquidity.{name}.touch_usd"),
            depth_usd=self.table(f"liquidity.{name}.depth_usd"),
            size_noise=self.table(f"liquidity.{name}.size_noise"),
            occupied=self.number(f"liquidity.{name}.occupied"),
            lifetime_s=self.table(f"liquidity.{name}.lifetime_s"),
        )


@cache
def fitted() -> Params:
    """The parameters shipped with the package."""
    return Params(
        msgspec.json.decode(files(__package__).joinpath("params.json").read_bytes(), type=dict[str, dict[str, dict[str, Any]]])[
            "parameters"
        ]
    )
