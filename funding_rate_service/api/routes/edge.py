"""One pair in detail."""

from __future__ import annotations

import asyncio
import logging
from typing import Annotated

from fastapi import APIRouter, Query, Response

from database.errors import JournalError
from exchange_clients.model import NS_PER_HOUR, InstrumentId
from funding_rate_service.api import shapes
from funding_rate_service.api.api import Api
from funding_rate_service.api.bodies import once
from funding_rate_service.api.openapi import answers
from funding_rate_service.api.problems import Problem, contradiction
from funding_rate_service.api.queries import EdgeQuery
from funding_rate_service.api.render import costs_shape, encode, persistence_shape
from funding_rate_service.api.text import derived, derived_or_none, iso, plain
from funding_rate_service.histories import PairHistory, pair_histories
from funding_rate_service.opportunity import Book, FundingQuote, Persistence
from funding_rate_service.opportunity.detail import BadPair, Holding, PairDetail, pair_detail
from funding_rate_service.tasks import told

log = logging.getLogger("funding_rate_service.api")


def routes(api: Api) -> APIRouter:
    """`/edge`."""
    router = APIRouter(tags=["opportunities"])
    service = api.service

    async def books(long: InstrumentId, short: InstrumentId) -> tuple[Book, Book] | None:
        if service.depths is None:
            return None
        one, other = await asyncio.gather(service.depths.book(long), service.depths.book(short))
        return None if one is None or other is None else (one, other)

    async def history(long: InstrumentId, short: InstrumentId) -> PairHistory | None:
        """None when the database cannot be read: the rest can be told without."""
        try:
            found = await service.read(pair_histories, service.store, [(long, short)], service.now_ns())
        except (JournalError, TimeoutError, Problem) as e:
            log.warning("api.no_history pair=%s/%s error=%s", long, short, told(e))
            return None
        return found[long, short]

    def doubts(long: FundingQuote, short: FundingQuote, now_ns: int) -> list[str]:
        """Of figures that are told although nobody would enter on them."""
        found = []
        for quote in (long, short):
            if not quote.tradable:
                found.append(f"a market that is open: {quote.instrument} is not")
            elif not service.board.is_fresh(quote, now_ns):
                found.append(f"a current rate of {quote.instrument}: this one is too old")
        return found

    @router.get("/edge", summary="One pair in detail", responses=answers(shapes.Edge, 404, 503))
    async def edge(query: Annotated[EdgeQuery, Query()]) -> Response:
        """Net value by holding time, capacity from the live books where they can be had, history; `unknown` says what is missing."""
        first, _, second = query.pair.partition("/")
        long, short = api.instrument(first), api.instrument(second)
        both, past = await asyncio.gather(books(long.instrument, short.instrument), history(long.instrument, short.instrument))
        now_ns = service.now_ns()

        def work() -> PairDetail:
            return pair_detail(
                long,
                short,
                now_ns=now_ns,
                size_usd=query.size,
                books=both,
                past=statistics(past),
                horizon_hours=query.horizon_hours,
            )

        try:
            found = await service.work(work)
        except BadPair as e:
            raise contradiction(str(e)) from None
        head = encode(
            {
                "generated_at": iso(now_ns),
                "pair": query.pair,
                "symbol": found.symbol,
                "size_usd": plain(query.size),
                "horizon_hours": plain(query.horizon_hours),
                "curve": [_held(one) for one in found.curve],
                "expected": None if found.expected is None else [_held(one) for one in found.expected],
                "capacity": None
                if found.capacity is None
                else [shapes.Size(usd=plain(one.usd), net=derived_or_none(one.net)) for one in found.capacity],
                "capacity_usd": derived_or_none(found.capacity_usd),
                "hourly": derived_or_none(found.hourly),
                "break_even_hours": derived_or_none(found.break_even_hours),
                "settled_break_even_hours": found.settled_break_even_hours,
                "expected_break_even_hours": found.expected_break_even_hours,
                "costs": None if found.costs is None else costs_shape(found.costs),
                "cost_source": found.cost_source,
                "price_divergence": derived_or_none(found.price_divergence),
                "oi_ratio": derived_or_none(found.oi_ratio),
                "persistence": persistence_shape(past),
                "unknown": [*doubts(long, short, now_ns), *found.unknown],
                "history": [] if past is None else differences(past),
            }
        )
        legs = (service.renderer.rate(long, now_ns), service.renderer.rate(short, now_ns))
        return once(b'%s,"long":%s,"short":%s}' % (head[:-1], *legs))

    return router


def statistics(past: PairHistory | None) -> Persistence | None:
    """What history says; None when there is too little."""
    return None if past is None else past.statistics


def differences(past: PairHistory) -> list[shapes.Difference]:
    """Each hour that both legs have a record of."""
    return [
        shapes.Difference(time=iso(past.start_ns + place * NS_PER_HOUR), difference=derived(s - x), long=derived(x), short=derived(s))
        for place, (x, s) in enumerate(zip(past.long, past.short, strict=True))
        if x is not None and s is not None
    ]


def _held(one: Holding) -> shapes.Horizon:
    return shapes.Horizon(hours=derived(one.hours), funding=derived(one.funding), net=derived_or_none(one.net))
