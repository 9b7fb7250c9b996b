"""What may stand behind the question mark: typed, bounded, and nothing that is not named here."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, StringConstraints
from pydantic.json_schema import JsonSchemaValue
from pydantic_core.core_schema import CoreSchema, decimal_schema

from exchange_clients.model import NS_PER_HOUR, NS_PER_S
from funding_rate_service.opportunity.query import Query, SortBy

DEX_PATTERN = r"^[a-z0-9_-]{1,32}$"
SYMBOL_PATTERN = r"^[^\x00-\x20\x7f/?#%,&\"'<>\\]{1,96}$"
LIST_PATTERN = r"^[a-z0-9_-]{1,32}(,[a-z0-9_-]{1,32}){0,31}$"
PAIR_PATTERN = r"^[a-z0-9_-]{1,32},[a-z0-9_-]{1,32}$"
MOMENT_PATTERN = r"^20[2-9][0-9]-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?Z$"

_ID = r"[^\x00-\x20\x7f/?#%,&\"'<>\\]{1,96}"
PAIR_OF_IDS_PATTERN = f"^{_ID}/{_ID}$"
EXAMPLE_OF_PATTERN = {
    DEX_PATTERN: "lighter",
    SYMBOL_PATTERN: "BTC",
    LIST_PATTERN: "lighter,okx",
    PAIR_PATTERN: "lighter,okx",
    MOMENT_PATTERN: "2026-11-21T20:00:00Z",
    PAIR_OF_IDS_PATTERN: "BTC-USDC-PERP.hyperliquid/BTC-USDC-PERP.lighter",
}
"""What people are told instead of a pattern."""

DexName = Annotated[str, StringConstraints(pattern=DEX_PATTERN), Field(description="A venue, as /dexes names it.", examples=["lighter"])]
Symbol = Annotated[
    str,
    StringConstraints(pattern=SYMBOL_PATTERN),
    Field(description="Canonical base, or a full instrument id.", examples=["BTC", "BTC-USDC-PERP.hyperliquid"]),
]


class Between:
    """A finite decimal between two bounds; in JSON Schema a number, which is what the text in a query stands for."""

    def __init__(self, least: str, most: str) -> None:
        self._least, self._most = Decimal(least), Decimal(most)

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return decimal_schema(ge=self._least, le=self._most, allow_inf_nan=False)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "number", "minimum": float(self._least), "maximum": float(self._most)}


UtcText = Annotated[str, StringConstraints(pattern=MOMENT_PATTERN), Field(examples=["2026-11-21T20:00:00Z"])]


def moment_ns(text: str) -> int:
    """The moment behind a `UtcText`, ns.

    Raises:
        ValueError: there is no such day.
    """
    whole, _, rest = text[:-1].partition(".")
    return int(datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp()) * NS_PER_S + int((rest or "0").ljust(9, "0"))


class Choice(StrEnum):
    """A yes or no in a query."""

    TRUE = "true"
    FALSE = "false"


class Asked(BaseModel):
    """Base of all queries: unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NoQuery(Asked):
    """Takes no parameter."""


class RatesQuery(Asked):
    """Which rates; all when nothing is said."""

    dex: DexName | None = None
    symbol: Symbol | None = None


class CompareQuery(Asked):
    """One symbol, on all venues or on those named."""

    symbol: Symbol
    dexes: Annotated[str, StringConstraints(pattern=LIST_PATTERN), Field(description="Only these venues, with commas between.")] | None = (
        None
    )


class Period(StrEnum):
    """How far back."""

    H1 = "1h"
    H6 = "6h"
    D1 = "24h"
    D3 = "3d"
    W1 = "7d"
    M1 = "30d"
    M3 = "90d"
    M6 = "180d"
    Y1 = "365d"

    @property
    def ns(self) -> int:
        """In nanoseconds."""
        return int(self.value[:-1]) * NS_PER_HOUR * (24 if self.value.endswith("d") else 1)


class Resolution(StrEnum):
    """SETTLED: what was charged, one point per settlement. RAW: predicted rates as collected. HOURLY: their mean per hour."""

    SETTLED = "settled"
    RAW = "raw"
    HOURLY = "hourly"


class HistoryQuery(Asked):
    """Which stretch of a market's history, and how fine."""

    period: Period = Period.W1
    resolution: Resolution = Resolution.SETTLED
    limit: Annotated[int, Field(ge=1, le=5000, description="At most so many points, the newest.")] = 1000
    until: Annotated[UtcText, Field(description="The end of the period; now when left out.")] | None = None


class StatsQuery(Asked):
    """Over which period, and on which venue."""

    period: Period = Period.M1
    dex: DexName | None = None
    until: Annotated[UtcText, Field(description="The end of the period; now when left out.")] | None = None


Fraction = Annotated[Decimal, Between("-10", "10")]
Share = Annotated[Decimal, Between("0", "1")]
Ratio = Annotated[Decimal, Between("0", "1000000")]
Money = Annotated[Decimal, Between("0", "1000000000000000")]
Size = Annotated[Decimal, Between("1", "1000000000")]
Hours = Annotated[Decimal, Between("0.01", "168")]

_DexList = Annotated[str, StringConstraints(pattern=LIST_PATTERN), Field(description="Venues with commas between.")]


class ScopeQuery(Asked):
    """Filters of opportunities. A figure that a filter needs and nobody knows fails it."""

    dex: Annotated[DexName | None, Field(description="A leg there.")] = None
    dex_pair: Annotated[str, StringConstraints(pattern=PAIR_PATTERN), Field(description="The legs on these two: `lighter,okx`.")] | None = (
        None
    )
    dexes: _DexList | None = None
    whitelist_dexes: _DexList | None = None
    exclude_dexes: _DexList | None = None
    required_dex: DexName | None = None
    min_divergence: Annotated[Fraction | None, Field(description="Difference of the rates per hour, as a fraction.")] = None
    min_profit: Annotated[
        Fraction, Field(description="Net over the horizon, as a fraction; a negative one also shows pairs that lose.")
    ] = Decimal(0)
    min_volume: Money | None = None
    max_volume: Money | None = None
    min_oi: Money | None = None
    max_oi: Money | None = None
    oi_ratio_min: Annotated[Ratio | None, Field(description="Open interest of the long leg over that of the short one.")] = None
    oi_ratio_max: Ratio | None = None
    max_spread: Annotated[Share | None, Field(description="Of each leg, as a fraction of the mid.")] = None
    max_price_divergence: Annotated[Share | None, Field(description="Of the mark prices, as a fraction.")] = None
    max_break_even_hours: Annotated[Ratio | None, Field(description="Until funding has paid the costs.")] = None
    horizon_hours: Annotated[Hours, Field(description="The holding time that `net` is about.")] = Decimal(24)
    at: Annotated[UtcText, Field(description="As things stood at this past moment.")] | None = None

    def query(self, *, symbol: str | None, limit: int, sort_by: SortBy = SortBy.NET, descending: bool = True) -> Query:
        """The same for the engine.

        Raises:
            BadQuery: two of them contradict each other.
        """
        pair = None
        if self.dex_pair is not None:
            one, _, other = self.dex_pair.partition(",")
            pair = (one, other)
        return Query(
            symbol=symbol,
            dex=self.dex,
            dex_pair=pair,
            dexes=_set(self.dexes),
            whitelist_dexes=_set(self.whitelist_dexes),
            exclude_dexes=_set(self.exclude_dexes) or frozenset(),
            required_dex=self.required_dex,
            min_divergence=self.min_divergence,
            min_profit=self.min_profit,
            min_volume=self.min_volume,
            max_volume=self.max_volume,
            min_oi=self.min_oi,
            max_oi=self.max_oi,
            oi_ratio_min=self.oi_ratio_min,
            oi_ratio_max=self.oi_ratio_max,
            max_spread=self.max_spread,
            max_price_divergence=self.max_price_divergence,
            max_break_even_hours=self.max_break_even_hours,
            horizon_hours=self.horizon_hours,
            limit=limit,
            sort_by=sort_by,
            sort_desc=descending,
        )

    def named_dexes(self) -> frozenset[str]:
        """Every venue that the query names."""
        lists = (self.dex, self.required_dex, self.dex_pair, self.dexes, self.whitelist_dexes, self.exclude_dexes)
        return frozenset(name for names in lists if names is not None for name in names.split(","))


class BestQuery(ScopeQuery):
    """The same filters, and the best one only."""

    symbol: Symbol | None = None


class SymbolOpportunitiesQuery(ScopeQuery):
    """The same filters for one symbol, ordered and cut."""

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    sort_by: SortBy = SortBy.NET
    sort_desc: Choice = Choice.TRUE


class OpportunitiesQuery(SymbolOpportunitiesQuery):
    """The same filters for all symbols, ordered and cut."""

    symbol: Symbol | None = None


class EdgeQuery(Asked):
    """One pair, and for which size."""

    pair: Annotated[
        str,
        StringConstraints(pattern=PAIR_OF_IDS_PATTERN),
        Field(description="Long and short instrument id.", examples=["BTC-USDC-PERP.hyperliquid/BTC-USDC-PERP.lighter"]),
    ]
    size: Annotated[Size, Field(description="USD per leg.")] = Decimal(1000)
    horizon_hours: Annotated[Hours, Field(description="The holding time of the capacity curve.")] = Decimal(24)


def _whole(value: object) -> object:
    """`30.0` is a whole number in JSON."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class BackfillBody(Asked):
    """Whose settled history to fetch, and how far back; all venues, as far as configured, when nothing is said."""

    dex: DexName | None = None
    days: Annotated[int, Field(ge=1, le=365, strict=True), BeforeValidator(_whole)] | None = None


def _set(names: str | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names.split(","))
