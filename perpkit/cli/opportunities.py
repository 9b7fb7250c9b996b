"""`perpkit opportunities`: which pairs of venues pay for holding them, net of what they cost."""

import asyncio
import time
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, fields
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter, validators

from exchange_clients.venues import get, names
from funding_rate_service.opportunity.query import BadQuery, Query, SortBy
from perpkit.cli.failure import OK, WRONG, Failure
from perpkit.cli.options import DatabaseOption, Target
from perpkit.cli.output import emit_table, percent, sparkline, usd
from perpkit.cli.watching import Look, watched

if TYPE_CHECKING:
    from funding_rate_service.api import shapes
    from perpkit.cli.opportunity_sources import Answer, Source

MOST_DOUBTS = 3
LISTS = ("dexes", "whitelist_dexes", "exclude_dexes")
UNSURE = "+"
SPARKS = 24


@Parameter(name="*")
@dataclass(frozen=True)
class Wanted:
    """Which opportunities. A figure that a filter needs and nobody knows fails it. Fractions: 0.001 is 0.1 %."""

    symbol: str | None = None
    "Only this asset, BTC for example."
    dex: str | None = None
    "A leg on this venue."
    dex_pair: str | None = None
    "The legs on these two: lighter,okx."
    dexes: list[str] | None = None
    "At least one leg on one of these: a,b."
    whitelist_dexes: list[str] | None = None
    "Both legs on these."
    exclude_dexes: list[str] | None = None
    "No leg on these."
    required_dex: str | None = None
    "A leg on this venue too."
    min_divergence: Decimal | None = None
    "Difference of the rates per hour."
    min_profit: Decimal | None = None
    "Net of costs over the horizon; default 0, a negative one also shows pairs that lose."
    min_volume: Decimal | None = None
    "Of each leg in 24 hours, USD."
    max_volume: Decimal | None = None
    min_oi: Decimal | None = None
    "Open interest of each leg, one-sided, USD."
    max_oi: Decimal | None = None
    oi_ratio_min: Decimal | None = None
    "Open interest of the long leg over that of the short one."
    oi_ratio_max: Decimal | None = None
    max_spread: Decimal | None = None
    "Of each leg, over the mid. Without it a pair with an unknown spread is shown with its fees alone."
    max_price_divergence: Decimal | None = None
    "Of the two mark prices."
    max_break_even_hours: Decimal | None = None
    "Until funding has paid the costs."
    max_rate_age: Decimal | None = None
    "Seconds; default 180."
    horizon_hours: Decimal | None = None
    "The holding time that net is about; default 24, at most 168."
    limit: int | None = None
    "How many to show; default 20, at most 100."
    sort_by: SortBy | None = None
    "Default: net."
    ascending: bool = False
    "Lowest first."

    def query(self) -> Query:
        """For the engine."""
        given: dict[str, Any] = {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}
        given["sort_desc"] = not given.pop("ascending")
        for name in LISTS:
            if name in given:
                given[name] = frozenset(part for one in given[name] for part in one.split(","))
        if self.dex_pair is not None:
            pair = tuple(self.dex_pair.split(","))
            if len(pair) != 2:
                raise Failure(f"--dex-pair {self.dex_pair!r} names no two venues", hint="write --dex-pair lighter,okx")
            given["dex_pair"] = pair
        try:
            return Query(**given)
        except BadQuery as e:
            option = "--" + e.name.replace("_", "-")
            raise Failure(f"{option} {str(e).removeprefix(e.name + ' ')}", hint="perpkit opportunities --help lists the filters") from None

    def venues(self) -> set[str]:
        """Every venue that is named."""
        lists = [one.split(",") for names in (self.dexes, self.whitelist_dexes, self.exclude_dexes) for one in names or ()]
        return {name for part in lists for name in part} | set((self.dex_pair or "").split(",")) | {self.dex or "", self.required_dex or ""}


def opportunities(
    *,
    wanted: Wanted | None = None,
    venue: list[str] | None = None,
    service: str | None = None,
    at: str | None = None,
    history: bool = False,
    watch: Annotated[float | None, Parameter(validator=validators.Number(gt=0))] = None,
    every: Annotated[float, Parameter(validator=validators.Number(gte=1))] = 15.0,
    target: Target | None = None,
    place: DatabaseOption | None = None,
    json: bool = False,
) -> int:
    """Pairs of venues that pay for holding them: long where the rate is lower, short where it is higher, net of costs.

    Asks the venues; or a running service with --service; or the database with --at. Exit code 1 when a venue could not be asked, 4 when
    none could.

    Parameters
    ----------
    venue:
        Ask only these venues; may be repeated.
    service:
        Address of a running `perpkit serve`, http://127.0.0.1:8786 for example.
    at:
        As things stood then, from the database: 2026-01-31T08:00 (UTC).
    history:
        Draw and judge the settled rates of the pairs shown (two requests per pair where the venues are asked).
    watch:
        Ask again for so many seconds (Ctrl-C ends it sooner).
    every:
        Seconds between two looks with --watch.
    json:
        Print JSON as the HTTP API gives it; with --watch one document per line.
    """
    from perpkit.cli.opportunity_sources import from_database, from_service, from_venues

    asked, where = wanted or Wanted(), target or Target()
    query = asked.query()
    if service is not None and at is not None:
        raise Failure("--service and --at are two sources", hint="give one of them")
    if (service is not None or at is not None) and (venue or where != Target()):
        raise Failure(
            "--venue, --environment, --endpoint and --config are for asking the venues", hint="leave them out, or --service and --at"
        )
    if place is not None and at is None:
        raise Failure("--database is read with --at alone", hint="add --at TIME, or leave it out")
    if at is not None and watch is not None:
        raise Failure("the past does not change", hint="leave --watch out, or --at")
    source: AbstractAsyncContextManager[Source]
    if service is not None:
        source = from_service(service)
    elif at is not None:
        source = from_database(place or DatabaseOption(), _moment(at), history=history)
    else:
        chosen = tuple(venue or names())
        for name in {*chosen, *asked.venues()} - {""}:
            get(name)
        where.check(chosen)
        source = from_venues(chosen, where, history=history)
    with suppress(*((KeyboardInterrupt,) if watch is not None else ())):  # the usual end of watching
        return asyncio.run(_run(source, query, history, watch, every, json))
    return OK


async def _run(
    source: "AbstractAsyncContextManager[Source]", query: Query, history: bool, watch: float | None, every: float, json: bool
) -> int:
    async with source as opened:

        async def ask() -> Look:
            answer = await opened.ask(query)
            return Look(partial(as_json, answer), partial(show, answer, query, history=history), WRONG if answer.broken else OK)

        return await watched(ask, watch, every, json=json)


def as_json(answer: "Answer") -> dict[str, Any]:
    """The document of the HTTP API, and what is not in it."""
    import msgspec

    told: dict[str, Any] = msgspec.to_builtins(answer.found)
    return {**told, "broken": dict(answer.broken), "doubts": list(answer.doubts)}


def show(answer: "Answer", query: Query, *, history: bool) -> None:
    """The table."""
    found = answer.found.opportunities
    past = history or any(o.persistence is not None for o in found)
    hours = f"{query.horizon_hours.normalize():f} h"
    columns = ["symbol", "long at", "short at", ">per h", ">a year", f">net {hours}", ">costs", ">break-even", ">volume", ">open interest"]
    columns += [">spread", ">prices apart", ">settles", ">age", *([f"past {SPARKS} h", ">flips a day", ">half-life"] if past else [])]
    notes = [f"{name} could not be asked: {reason}" for name, reason in answer.broken.items()]
    notes += list(answer.doubts[:MOST_DOUBTS])
    if len(answer.doubts) > MOST_DOUBTS:
        notes.append(f"{len(answer.doubts) - MOST_DOUBTS} more figures were not believed; --json lists them")
    if any(not o.costs.slippage_known for o in found):
        notes.append(f"{UNSURE} a spread is unknown, costs are fees only: the true ones are higher, net and break-even worse")
    if not found:
        notes.append("no pair passes" + ("; --min-profit -1 shows those that lose" if query.min_profit >= 0 else ""))
    notes.append(
        "rates per hour from each leg's own interval; a year is simple; volume and open interest of the smaller leg; a dash: unknown"
    )
    when = f" at {answer.found.at}" if answer.found.at else ""
    title = f"Opportunities{when}: {len(found)} of {answer.found.total}"
    emit_table(title, columns, [_row(o, past=past) for o in found], notes=notes)


def _row(o: "shapes.Opportunity", *, past: bool) -> list[str]:
    unsure = "" if o.costs.slippage_known else UNSURE
    cells = [
        o.symbol,
        _place(o.long),
        _place(o.short),
        percent(Decimal(o.hourly)),
        percent(Decimal(o.annual), 1),
        percent(Decimal(o.net)) + unsure,
        percent(Decimal(o.costs.total)) + unsure,
        ("never" if o.break_even_hours is None else f"{Decimal(o.break_even_hours):.1f} h") + unsure,
        usd(_extreme(min, o.long.volume_24h_usd, o.short.volume_24h_usd)),
        usd(_extreme(min, o.long.open_interest_usd, o.short.open_interest_usd)),
        percent(_extreme(max, o.long.spread, o.short.spread)),
        percent(None if o.price_divergence is None else Decimal(o.price_divergence), 2),
        " ".join("-" if count is None else str(count) for count in (o.long_settlements, o.short_settlements)),
        f"{max(o.long.age_s, o.short.age_s):.0f} s",
    ]
    if past:
        told = o.persistence
        half_life = None if told is None else told.half_life_hours
        cells += [
            "" if told is None else sparkline([None if x is None else Decimal(x) for x in told.series[-SPARKS:]]),
            "-" if told is None else f"{Decimal(told.sign_flips_per_day):.1f}",
            "-" if half_life is None else f"{Decimal(half_life):.1f} h",
        ]
    return cells


def _place(leg: "shapes.Rate") -> str:
    """The venue and its rate in its own interval."""
    return f"{leg.dex} {percent(Decimal(leg.rate))}/{Decimal(leg.interval_hours).normalize():f}h"


def _extreme(choose: Any, *values: str | None) -> Decimal | None:
    """Of both legs, or unknown when that of one is."""
    known = [Decimal(value) for value in values if value is not None]
    found: Decimal | None = choose(known) if len(known) == len(values) else None
    return found


def _moment(text: str) -> int:
    from perpkit.cli.backtest import moment

    at_ns = moment("--at", text)
    if at_ns > time.time_ns():
        raise Failure(f"--at {text} is in the future", hint="give a moment that has passed")
    return at_ns
