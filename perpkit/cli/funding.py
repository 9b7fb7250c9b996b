"""`perpkit funding`: the rates of all venues side by side, and where they differ most."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from functools import partial
from typing import Annotated, Any, Literal

from cyclopts import Parameter, validators

from exchange_clients.model import FundingRateSample
from exchange_clients.venues import get, names
from funding_rate_service.opportunity.clock import disbelief
from perpkit.cli.failure import OK, UNAVAILABLE, WRONG, Failure
from perpkit.cli.options import Target
from perpkit.cli.output import emit_table, iso, percent, sparkline, usd
from perpkit.cli.watching import Look, watched

SPARKS = 12
"""Marks of a sparkline; each is the mean of its part of the three days."""
STALE = "*"
UNITS: dict[str, tuple[Decimal, str, int]] = {
    "hourly": (Decimal(1), "per h", 4),
    "8h": (Decimal(8), "per 8 h", 4),
    "annual": (Decimal(8760), "a year", 1),
}
"""What an hourly rate is multiplied by, its name, digits."""


class SortBy(StrEnum):
    """What the table is ordered by, highest first; names in their alphabet."""

    DIFFERENCE = "difference"
    RATE = "rate"
    OI = "oi"
    VOLUME = "volume"
    SYMBOL = "symbol"


@Parameter(name="*")
@dataclass(frozen=True)
class Wanted:
    """Which symbols. A figure that a filter needs and no venue tells fails it."""

    symbol: str | None = None
    "Only this one, BTC for example."
    sort: SortBy = SortBy.DIFFERENCE
    "difference between venues, size of rate, oi, volume (of the smaller venue), or symbol."
    min_oi: Annotated[Decimal | None, Parameter(validator=validators.Number(gte=0))] = None
    "Open interest at two venues at least (at one, where one is asked), one-sided, USD."
    min_volume: Annotated[Decimal | None, Parameter(validator=validators.Number(gte=0))] = None
    "Volume of 24 hours at as many, USD."
    limit: Annotated[int, Parameter(validator=validators.Number(gte=1))] = 20
    "How many symbols to show."


def funding(
    *,
    wanted: Wanted | None = None,
    venue: list[str] | None = None,
    unit: Literal["hourly", "8h", "annual"] = "hourly",
    history: bool = False,
    service: str | None = None,
    watch: Annotated[float | None, Parameter(validator=validators.Number(gt=0))] = None,
    every: Annotated[float, Parameter(validator=validators.Number(gte=1))] = 15.0,
    target: Target | None = None,
    json: bool = False,
) -> int:
    """Funding rates of all venues side by side, widest difference first. Positive: longs pay shorts.

    Asks the venues, or a running service with --service. Exit code 1 when a venue could not be asked, 4 when none could.

    Parameters
    ----------
    venue:
        Only these venues; may be repeated.
    unit:
        Rates per hour, per 8 hours or a year (simple, not compounded); each comes from the venue's own interval.
    history:
        Draw the settled rates of the last three days (one request per symbol and venue).
    service:
        Address of a running `perpkit serve`, http://127.0.0.1:8786 for example.
    watch:
        Ask again for so many seconds (Ctrl-C ends it sooner).
    every:
        Seconds between two looks with --watch.
    json:
        Print JSON; with --watch one document per line.
    """
    from perpkit.cli.funding_sources import FromService, FromVenues, Source

    asked, where = wanted or Wanted(), target or Target()
    chosen = tuple(venue or (names() if service is None else ()))
    source: Source
    if service is not None:
        if where != Target():
            raise Failure("--environment, --endpoint and --config are for asking the venues", hint="leave them out, or --service")
        source = FromService(service, chosen)
    else:
        for name in chosen:
            get(name)
        where.check(chosen)
        source = FromVenues(chosen, where)
    with suppress(*((KeyboardInterrupt,) if watch is not None else ())):  # the usual end of watching
        return asyncio.run(watched(partial(_look, source, asked, unit, history), watch, every, json=json))
    return OK


async def _look(source: Any, asked: Wanted, unit: str, history: bool) -> Look:
    found: Rates = await source.rates()
    if not found.rates:
        raise Failure(
            "; ".join(f"{name}: {reason}" for name, reason in found.broken.items()) or source.nothing,
            hint=source.hint,
            code=UNAVAILABLE,
            kind="unreachable",
        )
    found.choose(asked)
    if asked.symbol is not None and not found.symbols:
        raise Failure(f"no venue has a rate for {asked.symbol!r}", hint="`perpkit funding` lists the symbols", kind="symbol")
    if history:
        await source.settled(found)
    return Look(found.as_json, partial(found.show, unit), WRONG if found.broken else OK)


@dataclass(slots=True)
class Rates:
    """What the venues said: rates by venue and symbol, the symbols to show, and who could not be asked. `stale`: what is too old."""

    rates: dict[str, dict[str, FundingRateSample]] = field(default_factory=dict)
    figures: dict[str, dict[str, dict[str, Decimal]]] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    symbols: list[str] = field(default_factory=list)
    settled: dict[tuple[str, str], list[FundingRateSample]] = field(default_factory=dict)
    stale: set[tuple[str, str]] = field(default_factory=set)
    doubted: dict[str, dict[str, str]] = field(default_factory=dict)
    """Venue -> symbol -> why its rate is not believed: such a rate is left out."""

    def take(self, name: str, rates: Mapping[str, FundingRateSample], figures: dict[str, dict[str, Decimal]]) -> None:
        """What a venue said, as far as it can be."""
        doubts = {symbol: why for symbol, sample in rates.items() if (why := disbelief(sample)) is not None}
        self.rates[name] = {symbol: sample for symbol, sample in rates.items() if symbol not in doubts}
        self.figures[name] = figures
        if doubts:
            self.doubted[name] = doubts

    def of(self, symbol: str) -> dict[str, FundingRateSample]:
        return {name: rates[symbol] for name, rates in self.rates.items() if symbol in rates}

    def fresh(self, symbol: str) -> dict[str, FundingRateSample]:
        """Without what is too old to be compared."""
        return {name: sample for name, sample in self.of(symbol).items() if (name, symbol) not in self.stale}

    def difference(self, symbol: str) -> Decimal | None:
        """Highest less lowest rate per hour; None with fewer than two venues."""
        hourly = [sample.hourly_rate for sample in self.fresh(symbol).values()]
        return max(hourly) - min(hourly) if len(hourly) > 1 else None

    def figure(self, symbol: str, name: str) -> Decimal | None:
        """Of the venues that tell it the second largest, which is as much as a pair of them has; of one venue its own."""
        known = sorted((f[symbol][name] for f in self.figures.values() if symbol in f and name in f[symbol]), reverse=True)
        return None if not known else known[min(1, len(known) - 1)]

    def choose(self, asked: Wanted) -> None:
        """The symbols to show: those that pass the filters, in order; symbols of one venue alone come after those of several."""
        known = {one for rates in self.rates.values() for one in rates}
        if asked.symbol is not None:
            known &= {asked.symbol}
        for name, least in (("open_interest", asked.min_oi), ("volume_24h", asked.min_volume)):
            if least is not None:
                known = {one for one in known if (self.figure(one, name) or -1) >= least}

        def rank(one: str) -> tuple[Any, ...]:
            gap = self.difference(one)
            size = max(abs(sample.hourly_rate) for sample in self.of(one).values())
            match asked.sort:
                case SortBy.SYMBOL:
                    return (one,)
                case SortBy.RATE:
                    return (-size, one)
                case SortBy.OI | SortBy.VOLUME:
                    figure = self.figure(one, "open_interest" if asked.sort is SortBy.OI else "volume_24h")
                    return (figure is None, -(figure or 0), one)
            return (1, -size, one) if gap is None else (0, -gap, one)

        self.symbols = sorted(known, key=rank)[: asked.limit]

    def show(self, unit: str) -> None:
        factor, per, digits = UNITS[unit]
        columns = ["symbol", *(f">{name}" for name in self.rates), ">difference"]
        columns += [*([">a year"] if unit != "annual" else []), "long at", "short at", ">open interest"]
        notes = [f"{name} could not be asked: {reason}" for name, reason in self.broken.items()]
        notes += [f"{name} {symbol} is left out: {why}" for name, found in self.doubted.items() for symbol, why in found.items()]
        if any(symbol in self.symbols for _, symbol in self.stale):
            notes.append(f"{STALE} too old to count in the difference")
        if not self.symbols:
            notes.append("no symbol passes the filters")
        if self.settled:
            notes.append("below each rate: what was settled in the last three days, lowest to highest of that market")
        notes.append(
            "each rate from its own interval; the difference is before fees and slippage; a year is simple, not compounded; "
            "open interest of the second largest venue"
        )
        emit_table(f"Funding {per}", columns, [self._row(symbol, factor, digits, unit) for symbol in self.symbols], notes=notes)

    def _row(self, symbol: str, factor: Decimal, digits: int, unit: str) -> list[str]:
        samples = self.of(symbol)
        cells = [symbol]
        for name in self.rates:
            mark = STALE if (name, symbol) in self.stale else ""
            cell = percent(samples[name].hourly_rate * factor, digits) + mark if name in samples else percent(None)
            past = self.settled.get((name, symbol))
            cells.append(f"{cell}\n{_spark(past)}" if past else cell)
        gap, fresh = self.difference(symbol), self.fresh(symbol)
        order = sorted(fresh, key=lambda name: fresh[name].hourly_rate)
        ends = ("-", "-") if gap is None else (order[0], order[-1])
        cells.append(percent(None if gap is None else gap * factor, digits))
        if unit != "annual":
            cells.append(percent(None if gap is None else gap * 8760, 1))
        return [*cells, *ends, usd(self.figure(symbol, "open_interest"))]

    def as_json(self) -> dict[str, Any]:
        return {
            "symbols": [
                {
                    "symbol": symbol,
                    "difference_per_hour": self.difference(symbol),
                    "rates": {name: self._sample(name, symbol, sample) for name, sample in self.of(symbol).items()},
                }
                for symbol in self.symbols
            ],
            "broken": self.broken,
            "doubted": self.doubted,
        }

    def _sample(self, name: str, symbol: str, sample: FundingRateSample) -> dict[str, Any]:
        told: dict[str, Any] = {
            "rate": sample.raw_rate,
            "interval_hours": sample.interval_hours,
            "kind": sample.kind,
            "hourly": sample.hourly_rate,
            "annual": sample.annual_rate,
            "next_funding_time": iso(sample.next_funding_time),
            "stale": (name, symbol) in self.stale,
            **self.figures.get(name, {}).get(symbol, {}),
        }
        if (name, symbol) in self.settled:
            told["settled"] = [{"time": iso(s.settled_at), "rate": s.raw_rate} for s in self.settled[name, symbol]]
        return told


def _spark(past: list[FundingRateSample]) -> str:
    """Means of equally many settlements each, oldest first."""
    rates = [sample.hourly_rate for sample in past]
    if len(rates) <= SPARKS:
        return sparkline(rates)
    parts = [rates[n * len(rates) // SPARKS : (n + 1) * len(rates) // SPARKS] for n in range(SPARKS)]
    return sparkline([sum(part, Decimal(0)) / len(part) for part in parts])
