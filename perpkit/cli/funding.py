"""`perpkit funding`: the rates of all venues side by side, and where they differ most."""

import asyncio
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Any

from cyclopts import Parameter, validators

from exchange_clients.errors import ConfigError, VenueError
from exchange_clients.model import NS_PER_HOUR, FundingRateSample
from exchange_clients.venues import get, names
from perpkit.cli.clients import opened
from perpkit.cli.failure import OK, UNAVAILABLE, WRONG, Failure
from perpkit.cli.options import Target
from perpkit.cli.output import emit_json, emit_table, iso, percent, sparkline, usd

HISTORY_HOURS = 72
SPARKS = 24


def funding(
    *,
    symbol: str | None = None,
    venue: list[str] | None = None,
    limit: Annotated[int, Parameter(validator=validators.Number(gte=1))] = 20,
    history: bool = False,
    target: Target | None = None,
    json: bool = False,
) -> int:
    """Funding rates of all venues side by side, widest difference first. Positive: longs pay shorts.

    Exit code 1 when a venue could not be asked, 4 when none could.

    Parameters
    ----------
    symbol:
        Only this one, BTC for example.
    venue:
        Only these venues; may be repeated.
    limit:
        How many symbols to show.
    history:
        Draw the settled rates of the last three days (one request per symbol and venue).
    json:
        Print JSON.
    """
    wanted = tuple(venue or names())
    for name in wanted:
        get(name)
    (target or Target()).check(wanted)
    found = asyncio.run(_collect(wanted, target or Target(), symbol, limit, history))
    if not found.rates:
        raise Failure(
            "; ".join(f"{name}: {reason}" for name, reason in found.broken.items()) or "no venue is installed",
            hint="check the network, or the address given with --endpoint",
            code=UNAVAILABLE,
            kind="unreachable",
        )
    if symbol is not None and not found.symbols:
        raise Failure(f"no venue has a rate for {symbol!r}", hint="`perpkit funding` lists the symbols", kind="symbol")
    if json:
        emit_json(found.as_json())
    else:
        found.show(wanted)
    return WRONG if found.broken else OK


@dataclass(slots=True)
class Rates:
    """What the venues said: rates by venue and symbol, the symbols to show, and who could not be asked."""

    rates: dict[str, dict[str, FundingRateSample]] = field(default_factory=dict)
    figures: dict[str, dict[str, dict[str, Decimal]]] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    symbols: list[str] = field(default_factory=list)
    settled: dict[tuple[str, str], list[FundingRateSample]] = field(default_factory=dict)

    def of(self, symbol: str) -> dict[str, FundingRateSample]:
        return {name: rates[symbol] for name, rates in self.rates.items() if symbol in rates}

    def difference(self, symbol: str) -> Decimal | None:
        """Highest less lowest rate per hour; None with fewer than two venues."""
        hourly = [sample.hourly_rate for sample in self.of(symbol).values()]
        return max(hourly) - min(hourly) if len(hourly) > 1 else None

    def choose(self, symbol: str | None, limit: int) -> None:
        """The symbols to show: the one asked for, else those that differ most, then those of one venue by size of rate."""
        known = {one for rates in self.rates.values() for one in rates}
        if symbol is not None:
            self.symbols = [symbol] if symbol in known else []
            return

        def rank(one: str) -> tuple[int, Decimal, str]:
            gap = self.difference(one)
            size = max(abs(sample.hourly_rate) for sample in self.of(one).values())
            return (1, -size, one) if gap is None else (0, -gap, one)

        self.symbols = sorted(known, key=rank)[:limit]

    def show(self, venues: tuple[str, ...]) -> None:
        shown = [name for name in venues if name in self.rates]
        columns = ["symbol"]
        for name in shown:
            columns += [f">{name} per h", *([f"{name} 3 days"] if self.settled else [])]
        columns += [">difference per h", ">a year", "long at", "short at", ">open interest"]
        notes = [f"{name} could not be asked: {reason}" for name, reason in self.broken.items()]
        notes.append(
            "rates per hour, each from its own interval; the difference is before fees and slippage; a year is simple, not compounded"
        )
        emit_table("Funding", columns, [self._row(symbol, shown) for symbol in self.symbols], notes=notes)

    def _row(self, symbol: str, shown: list[str]) -> list[str]:
        samples = self.of(symbol)
        cells = [symbol]
        for name in shown:
            cells.append(percent(samples[name].hourly_rate if name in samples else None))
            if self.settled:
                cells.append(sparkline([s.hourly_rate for s in self.settled.get((name, symbol), [])][-SPARKS:]))
        gap = self.difference(symbol)
        order = sorted(samples, key=lambda name: samples[name].hourly_rate)
        interest = [figures[symbol].get("open_interest") for figures in self.figures.values() if symbol in figures]
        known = [value for value in interest if value is not None]
        ends = ("-", "-") if gap is None else (order[0], order[-1])
        return [*cells, percent(gap), percent(None if gap is None else gap * 8760, 1), *ends, usd(min(known)) if known else "-"]

    def as_json(self) -> dict[str, Any]:
        return {
            "symbols": [
                {
                    "symbol": symbol,
                    "difference_per_hour": self.difference(symbol),
                    "rates": {
                        name: {
                            "rate": sample.raw_rate,
                            "interval_hours": sample.interval_hours,
                            "kind": sample.kind,
                            "hourly": sample.hourly_rate,
                            "annual": sample.annual_rate,
                            "next_funding_time": iso(sample.next_funding_time),
                            **self.figures.get(name, {}).get(symbol, {}),
                            **(
                                {"settled": [{"time": iso(s.settled_at), "rate": s.raw_rate} for s in self.settled[name, symbol]]}
                                if (name, symbol) in self.settled
                                else {}
                            ),
                        }
                        for name, sample in self.of(symbol).items()
                    },
                }
                for symbol in self.symbols
            ],
            "broken": self.broken,
        }


async def _collect(wanted: tuple[str, ...], target: Target, symbol: str | None, limit: int, history: bool) -> Rates:
    """All venues at once; one that fails is named and holds up no other."""
    found = Rates()

    async def ask(name: str) -> None:
        try:
            venue = get(name)
            async with venue.funding(target.settings(venue.spec)) as adapter:
                rates, figures = await adapter.fetch_funding_rates(), await adapter.fetch_market_data()
        except ConfigError:
            raise
        except VenueError as e:
            found.broken[name] = e.message
        else:
            found.rates[name], found.figures[name] = rates, figures

    async def settled(name: str) -> None:
        try:
            async with opened(name, target, streams=False) as client:
                start_ns = client.context.runtime.clock.time_ns() - HISTORY_HOURS * NS_PER_HOUR
                for one in found.symbols:
                    if one in found.rates[name]:
                        found.settled[name, one] = await client.fetch_funding_history(one, start_ns=start_ns)
        except VenueError as e:
            found.broken[name] = f"history: {e.message}"

    await asyncio.gather(*(ask(name) for name in wanted))
    found.rates = {name: found.rates[name] for name in wanted if name in found.rates}
    found.choose(symbol, limit)
    if history:
        await asyncio.gather(*(settled(name) for name in found.rates))
    return found
