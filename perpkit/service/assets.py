"""What the simulated venues of `perpkit serve --demo` list: names, price levels and sizes as such markets have them, invented otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from exchange_simulator.world.params import Params, fitted


@dataclass(frozen=True, slots=True)
class Asset:
    """`interest_usd`: open interest at the largest venue. `tokens` by venue where it trades thousands. `absent`: venues without it."""

    name: str
    price: str
    interest_usd: int
    volatility: float = 1.8
    absent: tuple[str, ...] = ()
    thousands: bool = False


ASSETS: Final[tuple[Asset, ...]] = (
    Asset("BTC", "95000", 2_400_000_000, 1.0),
    Asset("ETH", "3200", 1_500_000_000, 1.25),
    Asset("SOL", "180", 620_000_000, 1.7),
    Asset("XRP", "2.31", 210_000_000, 1.7),
    Asset("HYPE", "28.4", 540_000_000, 2.2, ("okx", "backpack")),
    Asset("DOGE", "0.324", 120_000_000, 1.9),
    Asset("BNB", "688", 70_000_000, 1.2, ("dydx",)),
    Asset("SUI", "3.62", 95_000_000, 2.0),
    Asset("ADA", "0.752", 46_000_000, 1.7),
    Asset("AVAX", "34.1", 52_000_000, 1.8),
    Asset("LINK", "19.3", 58_000_000, 1.7),
    Asset("LTC", "104", 30_000_000, 1.4),
    Asset("BCH", "441", 22_000_000, 1.4, ("paradex",)),
    Asset("TON", "5.42", 20_000_000, 1.6, ("backpack",)),
    Asset("TRX", "0.251", 16_000_000, 1.1, ("paradex", "lighter")),
    Asset("DOT", "6.83", 19_000_000, 1.7, ("backpack",)),
    Asset("NEAR", "5.12", 26_000_000, 2.0),
    Asset("APT", "9.24", 24_000_000, 2.0),
    Asset("ARB", "0.721", 27_000_000, 2.0),
    Asset("OP", "1.83", 21_000_000, 2.0, ("backpack",)),
    Asset("UNI", "12.1", 20_000_000, 1.9),
    Asset("AAVE", "288", 32_000_000, 1.8),
    Asset("INJ", "21.2", 15_000_000, 2.0, ("paradex",)),
    Asset("SEI", "0.412", 14_000_000, 2.1, ("okx",)),
    Asset("TIA", "4.91", 25_000_000, 2.3),
    Asset("WLD", "2.12", 24_000_000, 2.3),
    Asset("FIL", "5.34", 13_000_000, 1.8, ("hyperliquid", "paradex")),
    Asset("ATOM", "6.52", 12_000_000, 1.7, ("lighter",)),
    Asset("ONDO", "1.24", 28_000_000, 2.0, ("dydx",)),
    Asset("ENA", "0.853", 36_000_000, 2.4),
    Asset("JUP", "0.821", 18_000_000, 2.2, ("aster",)),
    Asset("WIF", "1.92", 29_000_000, 2.6),
    Asset("PENDLE", "4.73", 14_000_000, 2.1, ("okx", "backpack")),
    Asset("LDO", "1.74", 13_000_000, 2.0, ("lighter",)),
    Asset("CRV", "0.782", 17_000_000, 2.1, ("paradex",)),
    Asset("ETC", "25.8", 11_000_000, 1.4, ("paradex", "lighter", "backpack")),
    Asset("JTO", "3.11", 9_000_000, 2.3, ("okx", "lighter")),
    Asset("STRK", "0.452", 8_000_000, 2.2, ("backpack",)),
    Asset("EIGEN", "3.42", 10_000_000, 2.4, ("dydx",)),
    Asset("ZRO", "4.21", 9_000_000, 2.2, ("dydx", "backpack")),
    Asset("VIRTUAL", "2.23", 19_000_000, 2.9, ("okx", "dydx")),
    Asset("FARTCOIN", "0.913", 34_000_000, 3.2, ("okx", "dydx")),
    Asset("PENGU", "0.0312", 16_000_000, 2.9, ("dydx",)),
    Asset("TRUMP", "17.2", 33_000_000, 2.6),
    Asset("KAITO", "1.63", 12_000_000, 2.8, ("dydx", "paradex")),
    Asset("PEPE", "0.0000125", 48_000_000, 2.4, ("okx", "dydx", "paradex"), thousands=True),
    Asset("BONK", "0.0000241", 21_000_000, 2.4, ("okx", "dydx", "paradex"), thousands=True),
)

THOUSANDS: Final[Mapping[str, str]] = {"hyperliquid": "k{}", "lighter": "1000{}", "aster": "1000{}", "backpack": "k{}"}
"""How venues call a market of a thousand tokens."""


@dataclass(frozen=True, slots=True)
class Character:
    """How a simulated venue differs: size against the largest, funding interval, whose recorded premiums it follows, spare listings."""

    size: float = 0.1
    interval_hours: int = 1
    premium: str = "hyperliquid"
    depth: float = 0.6


CHARACTERS: Final[Mapping[str, Character]] = {
    "hyperliquid": Character(1.0, 1, "htx", 1.0),
    "okx": Character(0.9, 8, "gate", 1.2),
    "aster": Character(0.45, 8, "bybit", 0.8),
    "lighter": Character(0.5, 1, "binance", 0.8),
    "paradex": Character(0.16, 1, "gate", 0.5),
    "dydx": Character(0.12, 1, "kucoin", 0.4),
    "backpack": Character(0.08, 1, "mexc", 0.4),
}

CLAMP: Final = 0.0002
"""Venues hold small premiums at the interest rate within 0.0005; here they may show sooner, so that charts have something to show."""


def parameters() -> Params:
    """The fitted ones, and for every asset that was not recorded its level and the shape of a small market."""
    entries: dict[str, Mapping[str, Any]] = dict(fitted().entries)
    entries["funding.clamp"] = {"value": CLAMP}
    known = set(fitted().assets())
    for asset in ASSETS:
        if asset.name in known:
            continue
        large = asset.interest_usd > 100_000_000
        shape = {"class": "dex", "depth": 0.15, "spread": 6.0} if large else {"class": "small", "depth": 8.0, "spread": 0.6}
        entries[f"price.vol_ratio.{asset.name}"] = {"value": asset.volatility}
        entries[f"price.start.{asset.name}"] = {"value": asset.price}
        entries[f"liquidity.asset.{asset.name}"] = {"value": shape}
        entries[f"trades.asset_rate.{asset.name}"] = {"value": 0.2}
    return Params(entries)


def grid(asset: Asset, venue: str) -> tuple[str, Decimal, Decimal, int]:
    """(name on the venue, tick, step, tokens per size unit): five figures of a price, a step worth some dollars at most."""
    tokens = 1000 if asset.thousands and venue in THOUSANDS else 1
    name = THOUSANDS[venue].format(asset.name) if tokens > 1 else asset.name
    magnitude = (Decimal(asset.price) * tokens).adjusted()
    decimals = min(5, max(0, magnitude + 1 if magnitude > 0 else 0))
    return name, Decimal(1).scaleb(magnitude - (5 if magnitude > 2 else 4)), Decimal(1).scaleb(-decimals), tokens
