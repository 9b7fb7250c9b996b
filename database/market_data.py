"""Funding rates and markets as plain frozen structs: what the collector writes and what queries answer.

Times are int nanoseconds UTC; `instrument` is an InstrumentId as text, `symbol` its canonical base. A rate is a fraction per
`interval_hours`, positive: longs pay. Open interest is one-sided and, like volume, in USD. None is unknown, never zero.
"""

from decimal import Decimal
from enum import StrEnum

import msgspec

from exchange_clients.model import MarketStatus, RateKind


class Outcome(StrEnum):
    """How a round of collection ended: PARTIAL brought some markets and left out others."""

    OK = "ok"
    PARTIAL = "partial"
    FAILED = "failed"


class Market(msgspec.Struct, frozen=True, kw_only=True):
    """One perpetual market of a venue; figures per base unit, as in `exchange_clients.model.Instrument`.

    A market known only from imported history has its names and nothing else. `open_interest_usd`, `volume_24h_usd`, `first_seen` and
    `last_seen` are kept by the store and ignored when a market is put into it.
    """

    venue: str
    instrument: str
    symbol: str
    venue_symbol: str | None = None
    multiplier: Decimal | None = None
    contract_size: Decimal | None = None
    tick_size: Decimal | None = None
    step_size: Decimal | None = None
    min_quantity: Decimal | None = None
    min_notional: Decimal | None = None
    maker_fee: Decimal | None = None
    taker_fee: Decimal | None = None
    status: MarketStatus = MarketStatus.UNKNOWN
    open_interest_usd: Decimal | None = None
    volume_24h_usd: Decimal | None = None
    first_seen: int | None = None
    last_seen: int | None = None


class RateSample(msgspec.Struct, frozen=True, kw_only=True):
    """What one venue said about one market at one moment; `latency_ms` is how long its answer took."""

    venue: str
    instrument: str
    symbol: str
    observed_at: int
    rate: Decimal
    interval_hours: Decimal
    kind: RateKind
    next_funding_at: int | None = None
    cap: Decimal | None = None
    mark: Decimal | None = None
    index: Decimal | None = None
    bid: Decimal | None = None
    ask: Decimal | None = None
    open_interest_usd: Decimal | None = None
    volume_24h_usd: Decimal | None = None
    latency_ms: int | None = None


class RatePoint(msgspec.Struct, frozen=True):
    """The rate alone of a sample."""

    at: int
    rate: Decimal
    interval_hours: Decimal
    kind: str


class SettledRate(msgspec.Struct, frozen=True, kw_only=True):
    """A rate that was charged, at the time it was charged."""

    venue: str
    instrument: str
    symbol: str
    settled_at: int
    rate: Decimal
    interval_hours: Decimal


class HourlyRate(msgspec.Struct, frozen=True, kw_only=True):
    """All samples of a market in one hour; rates here are PER HOUR.

    `hour` is its start. Predicted and settled samples are apart. Interval, open interest and volume are those of the last sample.
    """

    venue: str
    instrument: str
    symbol: str
    hour: int
    kind: RateKind
    samples: int
    mean: Decimal
    low: Decimal
    high: Decimal
    last: Decimal
    interval_hours: Decimal
    open_interest_usd: Decimal | None = None
    volume_24h_usd: Decimal | None = None


class Collection(msgspec.Struct, frozen=True, kw_only=True):
    """One round of collection at one venue; `error` is empty when all went well."""

    venue: str
    started_at: int
    ended_at: int
    outcome: Outcome
    markets: int
    error: str = ""
    latency_ms: int | None = None


class FoundOpportunity(msgspec.Struct, frozen=True, kw_only=True):
    """A pair that was worth showing at `ts`; fractions of one leg's notional, `net` and `costs` over `horizon_hours`."""

    ts: int
    symbol: str
    long_instrument: str
    short_instrument: str
    hourly: Decimal
    net: Decimal
    costs: Decimal
    horizon_hours: Decimal
    break_even_hours: Decimal | None = None


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """How much a table of market data holds; `bytes` is None where the database does not tell, times are None in an empty table."""

    table: str
    rows: int
    bytes: int | None
    first: int | None
    last: int | None
