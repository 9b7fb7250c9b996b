"""What a world simulates: which assets trade on which venues, in which units, and how a scenario shapes them."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from exchange_simulator.core.types import Market


@dataclass(frozen=True, slots=True)
class Listing:
    """One asset on one venue, in the units of that venue's `core` market."""

    asset: str
    symbol: str
    """`Market.symbol` on that venue's exchange."""
    tick_size: Decimal
    step_size: Decimal
    tokens: int = 1
    """Tokens in one size unit of the market: 1000 where the venue trades thousands."""
    significant_figures: int = 0
    """Prices are quoted with at most so many figures, whole numbers always; 0 for no such rule."""

    def quantum(self, ticks: int) -> int:
        """Ticks between the prices allowed near `ticks`."""
        if not self.significant_figures:
            return 1
        coarse = int(10 ** max(0, len(str(ticks)) - self.significant_figures))
        return min(coarse, max(1, int(1 / self.tick_size)))

    @classmethod
    def of(cls, market: Market, asset: str, *, tokens: int = 1, significant_figures: int = 0) -> Listing:
        return cls(asset, market.symbol, market.tick_size, market.step_size, tokens, significant_figures)


@dataclass(frozen=True, slots=True)
class VenueProfile:
    """One venue. Factors are on the fitted figures of the asset."""

    name: str
    listings: tuple[Listing, ...]
    funding_interval_hours: int = 1
    premium: str = "hyperliquid"
    """Which recorded distribution its premium follows: a name under `funding.premium_z`."""
    depth_factor: float = 1.0
    trade_rate: float | None = None
    """Orders per second over the large venue's; None for the fitted figure of a DEX."""

    def listing(self, asset: str) -> Listing | None:
        return next((x for x in self.listings if x.asset == asset), None)


@dataclass(frozen=True, slots=True)
class FundingEdge:
    """A funding difference put on top of the process: longs on `rich` pay `edge_per_hour` more than the process says.

    The premium of `rich` rises with it (eight times the hourly edge, as the funding formula implies): its price stands above the others'.
    It lasts `hold_hours` from the start of the world and then halves every `half_life_hours`: a position has a reason to be opened and one
    to be closed.
    """

    asset: str
    rich: str
    edge_per_hour: float = 0.00012
    hold_hours: float = 24.0
    half_life_hours: float = 3.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """Declared departures from the fitted process. The default is none."""

    edges: tuple[FundingEdge, ...] = ()
    volatility: float = 1.0
    """On every asset's volatility."""
    jumps: float = 1.0
    """On the rate of price jumps; 0 for none."""


def demo_scenario(asset: str, rich: str) -> Scenario:
    """The demo's: a clear edge in one asset (105 % a year before costs); half the volatility and no jumps, so that a position survives."""
    return Scenario(edges=(FundingEdge(asset, rich),), volatility=0.5, jumps=0.0)
