"""Every JSON answer of the API as a type: what is encoded, and what the OpenAPI document says about it.

Figures are decimals as text. Rates are fractions per `interval_hours`, positive: longs pay shorts. Money is USD. None (`null`) is unknown.
"""

from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import Meta

Figure = Annotated[str, Meta(pattern=r"^-?[0-9]+(\.[0-9]+)?$", description="A decimal number as text.", examples=["0.0000125"])]
Moment = Annotated[str, Meta(description="UTC, ISO 8601.", examples=["2026-11-21T20:48:06.123Z"])]
Count = Annotated[int, Meta(ge=0)]


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all answers."""


class Rate(Shape, frozen=True, kw_only=True):
    """A market's newest funding rate. `age_s` and `stale` as of the answer's `generated_at`; a stale rate is in no opportunity."""

    dex: str
    symbol: str
    instrument: str
    rate: Figure
    interval_hours: Figure
    kind: str
    hourly: Figure
    rate_8h: Figure
    annual: Figure
    next_funding_at: Moment | None
    mark: Figure | None
    index: Figure | None
    bid: Figure | None
    ask: Figure | None
    spread: Figure | None
    open_interest_usd: Figure | None
    volume_24h_usd: Figure | None
    observed_at: Moment
    age_s: float
    stale: bool


class Rates(Shape, frozen=True, kw_only=True):
    """Rates of all markets asked for. `stale_after_s`: the age at which a rate counts as stale."""

    generated_at: Moment
    count: Count
    stale_after_s: float
    rates: list[Rate]


class OneRate(Shape, frozen=True, kw_only=True):
    """The newest rate of one market."""

    generated_at: Moment
    stale_after_s: float
    rate: Rate


class Spread(Shape, frozen=True, kw_only=True):
    """The widest difference between fresh rates of one symbol: long where the rate is lowest, short where it is highest; before costs."""

    long: str
    short: str
    hourly: Figure
    annual: Figure


class Comparison(Shape, frozen=True, kw_only=True):
    """One symbol on all its venues, lowest hourly rate first."""

    generated_at: Moment
    symbol: str
    count: Count
    stale_after_s: float
    spread: Spread | None
    rates: list[Rate]


class Costs(Shape, frozen=True, kw_only=True):
    """Both legs in and out, as fractions of one leg's notional.

    `slippage_known` false: a spread is unknown, slippage is null, and `total` (and what is net of it) counts
    fees only: the true costs are higher.
    """

    entry_fees: Figure
    exit_fees: Figure
    entry_slippage: Figure | None
    exit_slippage: Figure | None
    total: Figure
    slippage_known: bool


class Persistence(Shape, frozen=True, kw_only=True):
    """Statistics of the pair's settled hourly difference (short minus long). `series`: its last hours, null where a record is missing."""

    points: Count
    mean: Figure
    volatility: Figure
    sign_flips_per_day: Figure
    half_life_hours: Figure | None
    series: list[Figure | None]


class Opportunity(Shape, frozen=True, kw_only=True):
    """Long one venue, short another. `funding`, `net` over the answer's horizon; `net_annual` is `net` times the horizons in a year."""

    pair: str
    symbol: str
    hourly: Figure
    annual: Figure
    funding: Figure
    net: Figure
    net_annual: Figure
    costs: Costs
    break_even_hours: Figure | None
    long_settlements: Count | None
    short_settlements: Count | None
    price_divergence: Figure | None
    oi_ratio: Figure | None
    persistence: Persistence | None
    long: Rate
    short: Rate


class Opportunities(Shape, frozen=True, kw_only=True):
    """Pairs that pass every filter, best first unless sorted otherwise; `total` counts them before `limit`.

    `at`: the past moment asked for.
    """

    generated_at: Moment
    horizon_hours: Figure
    total: Count
    count: Count
    at: Moment | None = None
    opportunities: list[Opportunity]


class BestOpportunity(Shape, frozen=True, kw_only=True):
    """The best pair that passes every filter; null when there is none."""

    generated_at: Moment
    horizon_hours: Figure
    opportunity: Opportunity | None


class Point(Shape, frozen=True, kw_only=True):
    """One settlement, sample, or hour; of an hour `rate` is the mean per hour."""

    time: Moment
    rate: Figure
    interval_hours: Figure
    hourly: Figure
    kind: str


class History(Shape, frozen=True, kw_only=True):
    """A market's rates over time, oldest first. `truncated`: older ones than the limit allows were left out."""

    dex: str
    symbol: str
    instrument: str
    period: str
    resolution: str
    start: Moment
    end: Moment
    count: Count
    truncated: bool
    points: list[Point]


class MarketStats(Shape, frozen=True, kw_only=True):
    """Settled rates of one market as an hourly series; figures per hour. `hours` of the period that records cover.

    `volatility`, flips and half-life are null when there are too few hours to say.
    """

    dex: str
    instrument: str
    settlements: Count
    hours: Count
    mean: Figure | None
    lowest: Figure | None
    highest: Figure | None
    last: Figure | None
    mean_annual: Figure | None
    volatility: Figure | None
    sign_flips_per_day: Figure | None
    half_life_hours: Figure | None


class Stats(Shape, frozen=True, kw_only=True):
    """Statistics of a symbol's settled funding per venue."""

    symbol: str
    period: str
    start: Moment
    end: Moment
    markets: list[MarketStats]


class Horizon(Shape, frozen=True, kw_only=True):
    """What a holding time brings; `net` is null where costs are unknown."""

    hours: Figure
    funding: Figure
    net: Figure | None


class Size(Shape, frozen=True, kw_only=True):
    """What a size leaves over the horizon; null beyond the books."""

    usd: Figure
    net: Figure | None


class Difference(Shape, frozen=True, kw_only=True):
    """Settled rates of both legs in one hour, per hour, and short minus long."""

    time: Moment
    difference: Figure
    long: Figure
    short: Figure


class CostSource(StrEnum):
    """Both live books at the size; best bid and ask; or fees alone, where the true costs are higher."""

    BOOKS = "books"
    SPREADS = "spreads"
    FEES = "fees"


class Edge(Shape, frozen=True, kw_only=True):
    """One pair in detail, in the direction given. `unknown`: what is missing, in words.

    `curve`: net value by holding time with rates as quoted; `expected`: with the edge fading as its history says. `capacity`: net over the
    horizon by size, `capacity_usd` the largest that still leaves something. Break-even: costs over the difference per hour; `settled_...`
    and `expected_...`: the first whole hour of `curve` and `expected` that has paid them.
    """

    generated_at: Moment
    pair: str
    symbol: str
    size_usd: Figure
    horizon_hours: Figure
    hourly: Figure | None
    curve: list[Horizon]
    expected: list[Horizon] | None
    capacity: list[Size] | None
    capacity_usd: Figure | None
    break_even_hours: Figure | None
    settled_break_even_hours: Count | None
    expected_break_even_hours: Count | None
    costs: Costs | None
    cost_source: CostSource | None
    price_divergence: Figure | None
    oi_ratio: Figure | None
    persistence: Persistence | None
    unknown: list[str]
    history: list[Difference]
    long: Rate
    short: Rate


class State(StrEnum):
    """`waiting`: not asked yet."""

    OK = "ok"
    STALE = "stale"
    DOWN = "down"
    WAITING = "waiting"


class Dex(Shape, frozen=True, kw_only=True):
    """A venue as the collector sees it."""

    dex: str
    state: State
    markets: Count
    last_ok_at: Moment | None
    age_s: float | None
    stale_after_s: float
    last_error: str | None
    latency_ms: Count | None
    consecutive_failures: Count
    next_collection_at: Moment | None


class Dexes(Shape, frozen=True, kw_only=True):
    """All venues."""

    generated_at: Moment
    count: Count
    dexes: list[Dex]


class OneDex(Shape, frozen=True, kw_only=True):
    """One venue."""

    generated_at: Moment
    dex: Dex


class SymbolOfDex(Shape, frozen=True, kw_only=True):
    """A market of a venue."""

    symbol: str
    instrument: str
    tradable: bool
    interval_hours: Figure
    open_interest_usd: Figure | None
    volume_24h_usd: Figure | None


class Symbols(Shape, frozen=True, kw_only=True):
    """All markets of a venue that have a rate."""

    dex: str
    count: Count
    symbols: list[SymbolOfDex]


class Overall(StrEnum):
    """`degraded`: something is missing, what is shown is right. `down`: nothing fresh to show."""

    OK = "ok"
    DEGRADED = "degraded"
    DOWN = "down"


class Health(Shape, frozen=True, kw_only=True):
    """The service as a whole."""

    status: Overall
    generated_at: Moment
    version: str
    uptime_s: float
    ready: bool
    database: str
    subscribers: Count
    failing_tasks: list[str]
    dexes: list[Dex]


class Alive(Shape, frozen=True, kw_only=True):
    """The process answers; or: it has rates to show."""

    status: str


class DatabaseHealth(Shape, frozen=True, kw_only=True):
    """The store as last looked at. `url` without password."""

    status: str
    url: str
    checked_at: Moment | None
    rows: Count | None
    bytes: Count | None
    first_sample_at: Moment | None
    last_sample_at: Moment | None
    error: str | None


class Task(Shape, frozen=True, kw_only=True):
    """One of the service's own tasks."""

    name: str
    state: str
    interval_s: float | None
    last_run_at: Moment | None
    next_run_at: Moment | None
    last_error: str | None
    runs: Count
    failures: Count
    consecutive_failures: Count
    last_duration_ms: Count | None


class TaskList(Shape, frozen=True, kw_only=True):
    """All tasks."""

    generated_at: Moment
    tasks: list[Task]


class Started(Shape, frozen=True, kw_only=True):
    """What was asked for begins; /tasks/status shows how it went."""

    task: str
    started: bool


class Backfilling(Shape, frozen=True, kw_only=True):
    """Venues whose history is being fetched from now on."""

    dexes: list[str]


class Positions(Shape, frozen=True, kw_only=True):
    """Open and closed pairs of the bots; `provided` false: this service knows of no bots."""

    provided: bool
    positions: list[dict[str, Any]]


class OnePosition(Shape, frozen=True, kw_only=True):
    """One pair with its ledger and decisions."""

    position: dict[str, Any]


class Problem(Shape, frozen=True, kw_only=True, omit_defaults=True):
    """RFC 9457: what went wrong, in words for the caller."""

    type: str
    title: str
    status: int
    detail: str = ""
    problems: list[str] = []


ANSWERS: tuple[type[Shape], ...] = (
    Rates, OneRate, Comparison, Opportunities, BestOpportunity, History, Stats, Edge, Dexes, OneDex, Symbols, Health, Alive,
    DatabaseHealth, TaskList, Started, Backfilling, Positions, OnePosition, Problem,
)  # fmt: skip
