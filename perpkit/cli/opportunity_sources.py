"""Where `perpkit opportunities` gets its answer: the venues, a running service, or the database as of a past moment."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Protocol

import msgspec

from exchange_clients.errors import ConfigError, VenueError
from exchange_clients.model import NS_PER_HOUR, FundingRateSample, InstrumentId
from exchange_clients.venues import get
from funding_rate_service.api import shapes
from funding_rate_service.api.render import Renderer, filled, opportunities_head
from funding_rate_service.collector.sound import quote_of_market
from funding_rate_service.fees import FeeTable
from funding_rate_service.histories import Pair, PairHistory
from funding_rate_service.opportunity import FundingQuote, Opportunity, Query, Ranked, persistence, rank
from funding_rate_service.opportunity.persistence import hourly
from perpkit.cli.asking import START, address, ask_service
from perpkit.cli.clients import opened
from perpkit.cli.failure import UNAVAILABLE, Failure
from perpkit.cli.options import DatabaseOption, Target

if TYPE_CHECKING:
    from exchange_clients.base_funding_adapter import BaseFundingAdapter

HISTORY_HOURS = 72
CLOCK_ERROR_S = 60.0
"""A rate stamped further from now is not believed, as in the service."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found, in the form of the HTTP API. `broken`: venue -> why it is not in it; `doubts`: figures that were not believed."""

    found: shapes.Opportunities
    broken: Mapping[str, str] = field(default_factory=dict)
    doubts: Sequence[str] = ()


class Source(Protocol):
    """Asks for opportunities."""

    async def ask(self, query: Query) -> Answer: ...


def as_answer(
    ranked: Ranked, query: Query, now_ns: int, histories: Mapping[Pair, PairHistory], *, at_ns: int | None = None
) -> shapes.Opportunities:
    """The same document that the service gives."""
    items = Renderer(lambda quote, _: True).opportunities(ranked.opportunities, histories, now_ns if at_ns is None else at_ns)
    return msgspec.json.decode(filled(opportunities_head(ranked, query, now_ns, at_ns), items), type=shapes.Opportunities)


# ---- the venues themselves


class Venues:
    """Asks every venue for its rates; one that fails is named and holds up no other."""

    def __init__(self, adapters: "Mapping[str, BaseFundingAdapter]", target: Target, *, history: bool) -> None:
        self._adapters, self._target, self._history = adapters, target, history
        self._fees = FeeTable()
        self._settled: dict[InstrumentId, tuple[int, list[FundingRateSample]]] = {}

    async def ask(self, query: Query) -> Answer:
        broken: dict[str, str] = {}
        doubts: list[str] = []
        answers = await asyncio.gather(*(self._quotes(name, broken, doubts) for name in self._adapters))
        if len(broken) == len(self._adapters):
            words = "; ".join(f"{name}: {reason}" for name, reason in broken.items()) or "no venue is installed"
            raise Failure(words, hint="check the network, or the address given with --endpoint", code=UNAVAILABLE, kind="unreachable")
        now_ns = self._now_ns()
        quotes = [quote for answer in answers for quote in answer]
        ranked = rank(quotes, query, now_ns=now_ns)
        histories = await self._histories(ranked.opportunities, now_ns, broken) if self._history else {}
        return Answer(as_answer(ranked, query, now_ns, histories), broken, sorted(doubts))

    def _now_ns(self) -> int:
        adapter = next(iter(self._adapters.values()))
        return adapter.client.context.runtime.clock.time_ns()

    async def _quotes(self, name: str, broken: dict[str, str], doubts: list[str]) -> list[FundingQuote]:
        adapter = self._adapters[name]
        try:
            snapshot = await adapter.fetch_snapshot()
        except ConfigError:
            raise
        except VenueError as e:
            broken[name] = e.message
            return []
        doubts += [f"{name}: no answer for {what}, its figures are unknown" for what in snapshot.missing]
        found = []
        for market in snapshot.markets:
            quote, problems = quote_of_market(market, self._fees, self._now_ns(), CLOCK_ERROR_S)
            doubts += [f"{market.instrument.id}: {problem}" for problem in problems]
            if quote is not None:
                found.append(quote)
        return found

    async def _histories(self, found: Sequence[Opportunity], now_ns: int, broken: dict[str, str]) -> dict[Pair, PairHistory]:
        """Settled rates of the pairs shown; asked for again once an hour."""
        end_ns = now_ns - now_ns % NS_PER_HOUR
        start_ns = end_ns - HISTORY_HOURS * NS_PER_HOUR
        pairs: list[Pair] = [(o.long.instrument, o.short.instrument) for o in found]
        wanted: dict[str, set[InstrumentId]] = {}
        for market in {leg for pair in pairs for leg in pair}:
            if self._settled.get(market, (0, []))[0] != end_ns:
                wanted.setdefault(market.venue, set()).add(market)
        await asyncio.gather(*(self._read(name, sorted(markets), start_ns, end_ns, broken) for name, markets in wanted.items()))
        histories = {}
        for pair in pairs:
            if all(leg in self._settled for leg in pair):
                long, short = (hourly(self._settled[leg][1], start_ns, end_ns) for leg in pair)
                both = [None if x is None or s is None else s - x for x, s in zip(long, short, strict=True)]
                histories[pair] = PairHistory(start_ns=start_ns, long=long, short=short, statistics=persistence(both))
        return histories

    async def _read(self, name: str, markets: Sequence[InstrumentId], start_ns: int, end_ns: int, broken: dict[str, str]) -> None:
        try:
            async with opened(name, self._target, streams=False) as client:
                if not client.capabilities.funding_history:
                    return
                for market in markets:
                    self._settled[market] = end_ns, await client.fetch_funding_history(market, start_ns=start_ns)
        except VenueError as e:
            broken[name] = f"history: {e.message}"


@asynccontextmanager
async def from_venues(names: Sequence[str], target: Target, *, history: bool) -> AsyncIterator[Source]:
    """Their funding adapters, kept while the command runs."""
    async with AsyncExitStack() as stack:
        adapters = {}
        for name in names:
            venue = get(name)
            adapters[name] = await stack.enter_async_context(venue.funding(target.settings(venue.spec)))
        yield Venues(adapters, target, history=history)


# ---- a running service


class Service:
    """Asks the HTTP API of `perpkit serve`."""

    def __init__(self, url: str) -> None:
        self._url = address(url)

    async def ask(self, query: Query) -> Answer:
        body = await ask_service(self._url, "/opportunities", parameters(query))
        try:
            return Answer(msgspec.json.decode(body or b"", type=shapes.Opportunities))
        except msgspec.DecodeError as e:
            raise Failure(f"{self._url} is no funding-rate service of this version ({e})", hint=START, kind="refused") from e


def parameters(query: Query) -> dict[str, str]:
    """The query as the HTTP API takes it; what is as by default is left out."""
    usual, found = Query(), {}
    for name in query.__struct_fields__:
        value = getattr(query, name)
        if value == getattr(usual, name):
            continue
        if name == "max_rate_age":
            raise Failure("--max-rate-age is the service's own to decide", hint="leave it out with --service")
        match value:
            case Decimal():
                found[name] = format(value, "f")
            case bool():
                found[name] = str(value).lower()
            case frozenset() | tuple():
                found[name] = ",".join(sorted(value) if isinstance(value, frozenset) else value)
            case _:
                found[name] = str(value)
    return found


@asynccontextmanager
async def from_service(url: str) -> AsyncIterator[Source]:
    """A running service."""
    yield Service(url)


# ---- the database


class Past:
    """Opportunities as they stood, from stored samples."""

    def __init__(self, run: Callable[[Query], shapes.Opportunities]) -> None:
        self._run = run

    async def ask(self, query: Query) -> Answer:
        return Answer(await asyncio.to_thread(self._run, query))


@asynccontextmanager
async def from_database(place: DatabaseOption, at_ns: int, *, history: bool) -> AsyncIterator[Source]:
    """The database, opened for reading."""
    from database.funding_store import FundingStore
    from funding_rate_service.histories import pair_histories
    from funding_rate_service.past import ranked_at

    database = place.open(read_only=True)
    try:
        store = FundingStore(database)

        def run(query: Query) -> shapes.Opportunities:
            ranked = ranked_at(store, FeeTable(), query, at_ns)
            pairs = [(o.long.instrument, o.short.instrument) for o in ranked.opportunities]
            histories = pair_histories(store, pairs, at_ns) if history else {}
            return as_answer(ranked, query, at_ns, histories, at_ns=at_ns)

        yield Past(run)
    finally:
        database.close()
