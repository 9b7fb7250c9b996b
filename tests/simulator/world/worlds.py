"""Small worlds for the tests of this folder."""

from __future__ import annotations

from decimal import Decimal

from exchange_simulator.core.exchange import Exchange
from exchange_simulator.core.types import Market, Rules, Side
from exchange_simulator.world.profiles import Listing, Scenario, VenueProfile
from exchange_simulator.world.world import World

HOUR_NS = 3_600_000_000_000
START_NS = 1_790_000_000 * 10**9 // HOUR_NS * HOUR_NS

Snapshot = dict[tuple[str, str], tuple[object, ...]]


def listing(asset: str, symbol: str, tick: str, step: str, tokens: int = 1, figures: int = 0) -> Listing:
    return Listing(asset, symbol, Decimal(tick), Decimal(step), tokens, figures)


FIGURES = VenueProfile(
    "figures",
    (
        listing("BTC", "BTC", "0.1", "0.00001", figures=5),
        listing("SOL", "SOL", "0.001", "0.01", figures=5),
        listing("PEPE", "kPEPE", "0.000001", "1", tokens=1000, figures=5),
    ),
)
TICKS = VenueProfile(
    "ticks",
    (listing("BTC", "1", "0.1", "0.00001"), listing("SOL", "2", "0.001", "0.001"), listing("PEPE", "4", "0.000001", "1", tokens=1000)),
    depth_factor=0.8,
)
EIGHT = VenueProfile("eight", (listing("BTC", "BTC-8", "0.1", "0.001"),), funding_interval_hours=8, premium="binance")


def build(
    seed: int, *venues: VenueProfile, scenario: Scenario | None = None, start_ns: int = START_NS, history_hours: int = 720
) -> tuple[World, dict[str, Exchange]]:
    """A world with an exchange attached for each venue."""
    world = World(seed, venues or (FIGURES, TICKS), start_ns, scenario=scenario, history_hours=history_hours)
    exchanges = {}
    for venue in venues or (FIGURES, TICKS):
        exchange = exchanges[venue.name] = Exchange(Rules(), funding=world.funding(venue.name))
        for x in venue.listings:
            market = Market(x.symbol, x.tick_size, x.step_size, funding_interval_ns=venue.funding_interval_hours * HOUR_NS)
            exchange.add_market(start_ns - 1_000, market)
        world.attach(venue.name, exchange)
    return world, exchanges


def snapshot(exchanges: dict[str, Exchange]) -> Snapshot:
    """Books, marks and indices of all venues."""
    return {
        (name, symbol): (state.mark, state.index, tuple(exchange.depth(symbol, Side.BUY)), tuple(exchange.depth(symbol, Side.SELL)))
        for name, exchange in exchanges.items()
        for symbol, state in exchange.markets.items()
    }
