"""Tables of markets and their funding. Rows name a market by number; times of the large tables are numbers too.

The large ones are clustered by (market, time): one market's past lies together, and a venue's round touches one page per market.
"""

from decimal import Decimal
from typing import Any

from sqlalchemy import ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from database.types import EpochNs

from .base import INSTRUMENT, NAME, Base

CLUSTERED: dict[str, Any] = {"sqlite_with_rowid": False}
MARKET = "venue_symbols.market_id"


class VenueRow(Base):
    """Venues that were ever collected."""

    __tablename__ = "venues"
    venue: Mapped[str] = mapped_column(NAME, primary_key=True)
    first_seen: Mapped[int] = mapped_column(EpochNs)


class SymbolRow(Base):
    """Canonical base assets."""

    __tablename__ = "symbols"
    symbol: Mapped[str] = mapped_column(NAME, primary_key=True)
    first_seen: Mapped[int] = mapped_column(EpochNs)


class VenueSymbolRow(Base):
    """Markets. `rolled_until`: every sample before that hour is in the hourly table; a late sample sets it back."""

    __tablename__ = "venue_symbols"
    __table_args__ = (UniqueConstraint("instrument"), Index(None, "venue"), Index(None, "symbol"))
    market_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    venue: Mapped[str] = mapped_column(ForeignKey("venues.venue"))
    instrument: Mapped[str] = mapped_column(INSTRUMENT)
    symbol: Mapped[str] = mapped_column(ForeignKey("symbols.symbol"))
    venue_symbol: Mapped[str | None] = mapped_column(INSTRUMENT)
    multiplier: Mapped[Decimal | None]
    contract_size: Mapped[Decimal | None]
    tick_size: Mapped[Decimal | None]
    step_size: Mapped[Decimal | None]
    min_quantity: Mapped[Decimal | None]
    min_notional: Mapped[Decimal | None]
    maker_fee: Mapped[Decimal | None]
    taker_fee: Mapped[Decimal | None]
    status: Mapped[str] = mapped_column(String(16))
    open_interest_usd: Mapped[Decimal | None]
    volume_24h_usd: Mapped[Decimal | None]
    first_seen: Mapped[int] = mapped_column(EpochNs)
    last_seen: Mapped[int] = mapped_column(EpochNs)
    rolled_until: Mapped[int | None] = mapped_column(EpochNs)


class _Sample:
    """What a sample says, in history and as the latest."""

    rate: Mapped[Decimal]
    interval_hours: Mapped[Decimal]
    kind: Mapped[str] = mapped_column(String(16))
    next_funding_at: Mapped[int | None] = mapped_column(EpochNs)
    cap: Mapped[Decimal | None]
    mark: Mapped[Decimal | None]
    index: Mapped[Decimal | None]
    bid: Mapped[Decimal | None]
    ask: Mapped[Decimal | None]
    open_interest_usd: Mapped[Decimal | None]
    volume_24h_usd: Mapped[Decimal | None]
    latency_ms: Mapped[int | None] = mapped_column(Integer)


class FundingRateRow(_Sample, Base):
    """Every sample of the collector, until retention."""

    __tablename__ = "funding_rates"
    __table_args__ = CLUSTERED
    market_id: Mapped[int] = mapped_column(ForeignKey(MARKET), primary_key=True)
    observed_at: Mapped[int] = mapped_column(EpochNs, primary_key=True)


class LatestFundingRateRow(_Sample, Base):
    """The newest sample of each market."""

    __tablename__ = "latest_funding_rates"
    market_id: Mapped[int] = mapped_column(ForeignKey(MARKET), primary_key=True, autoincrement=False)
    observed_at: Mapped[int] = mapped_column(EpochNs)


class FundingHistoryRow(Base):
    """Rates that were charged."""

    __tablename__ = "funding_history"
    __table_args__ = CLUSTERED
    market_id: Mapped[int] = mapped_column(ForeignKey(MARKET), primary_key=True)
    settled_at: Mapped[int] = mapped_column(EpochNs, primary_key=True)
    rate: Mapped[Decimal]
    interval_hours: Mapped[Decimal]


class HourlyFundingRateRow(Base):
    """Samples by hour, rates per hour; predicted and settled ones apart."""

    __tablename__ = "funding_rates_hourly"
    __table_args__ = CLUSTERED
    market_id: Mapped[int] = mapped_column(ForeignKey(MARKET), primary_key=True)
    hour: Mapped[int] = mapped_column(EpochNs, primary_key=True)
    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    samples: Mapped[int] = mapped_column(Integer)
    mean: Mapped[Decimal]
    low: Mapped[Decimal]
    high: Mapped[Decimal]
    last: Mapped[Decimal]
    interval_hours: Mapped[Decimal]
    open_interest_usd: Mapped[Decimal | None]
    volume_24h_usd: Mapped[Decimal | None]


class OpportunityRow(Base):
    """Pairs that were worth showing."""

    __tablename__ = "opportunities"
    __table_args__ = (Index(None, "symbol", "ts"), CLUSTERED)
    ts: Mapped[int] = mapped_column(EpochNs, primary_key=True)
    long_market_id: Mapped[int] = mapped_column(ForeignKey(MARKET), primary_key=True)
    short_market_id: Mapped[int] = mapped_column(ForeignKey(MARKET), primary_key=True)
    symbol: Mapped[str] = mapped_column(ForeignKey("symbols.symbol"))
    hourly: Mapped[Decimal]
    net: Mapped[Decimal]
    costs: Mapped[Decimal]
    horizon_hours: Mapped[Decimal]
    break_even_hours: Mapped[Decimal | None]


class CollectionLogRow(Base):
    """Rounds of collection."""

    __tablename__ = "collection_logs"
    __table_args__ = (Index(None, "started_at"),)
    venue: Mapped[str] = mapped_column(ForeignKey("venues.venue"), primary_key=True)
    started_at: Mapped[int] = mapped_column(EpochNs, primary_key=True)
    ended_at: Mapped[int] = mapped_column(EpochNs)
    outcome: Mapped[str] = mapped_column(String(16))
    markets: Mapped[int] = mapped_column(Integer)
    error: Mapped[str] = mapped_column(Text)
    latency_ms: Mapped[int | None] = mapped_column(Integer)
