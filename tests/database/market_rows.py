"""Market data to write."""

from decimal import Decimal
from typing import Any

from database.market_data import Collection, Market, Outcome, RateSample
from exchange_clients.model import MarketStatus, RateKind

T0 = 1_795_258_800_000_000_000
"""A whole hour."""
MINUTE = 60_000_000_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def sample(venue: str = "toy", symbol: str = "BTC", at: int = T0, rate: str = "0.0001", **other: Any) -> RateSample:
    given: dict[str, Any] = {
        "interval_hours": Decimal(8),
        "kind": RateKind.PREDICTED,
        "next_funding_at": T0 + 8 * HOUR,
        "mark": Decimal("100000.50"),
        "index": Decimal("100001.1"),
        "open_interest_usd": Decimal("12345678.90"),
        "volume_24h_usd": Decimal("987654321.0"),
        "latency_ms": 37,
    }
    return RateSample(
        venue=venue, instrument=f"{symbol}-USDC-PERP.{venue}", symbol=symbol, observed_at=at, rate=Decimal(rate), **{**given, **other}
    )


def collection(venue: str = "toy", at: int = T0, markets: int = 1) -> Collection:
    return Collection(venue=venue, started_at=at, ended_at=at + 1, outcome=Outcome.OK, markets=markets, latency_ms=37)


def market(venue: str = "toy", symbol: str = "BTC", **other: Any) -> Market:
    given: dict[str, Any] = {
        "venue_symbol": f"{symbol}USD",
        "multiplier": Decimal(1),
        "contract_size": Decimal(1),
        "tick_size": Decimal("0.10"),
        "step_size": Decimal("0.001"),
        "min_quantity": Decimal("0.001"),
        "min_notional": Decimal(10),
        "maker_fee": Decimal("-0.00002"),
        "taker_fee": None,
        "status": MarketStatus.ACTIVE,
    }
    return Market(venue=venue, instrument=f"{symbol}-USDC-PERP.{venue}", symbol=symbol, **{**given, **other})
