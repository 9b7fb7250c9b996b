"""Pairs worth holding, now or at a past moment, and one pair in detail."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from funding_rate_service.api import shapes
from funding_rate_service.api.api import Api
from funding_rate_service.api.bodies import once
from funding_rate_service.api.openapi import answers
from funding_rate_service.api.problems import contradiction
from funding_rate_service.api.queries import BestQuery, OpportunitiesQuery, ScopeQuery, SymbolOpportunitiesQuery
from funding_rate_service.api.render import Renderer, encode, filled, opportunities_head
from funding_rate_service.api.routes.rates import Symbol
from funding_rate_service.api.text import iso, plain
from funding_rate_service.opportunity.query import BadQuery, Ranked, SortBy
from funding_rate_service.opportunity.query import Query as Engine
from funding_rate_service.past import ranked_at


def routes(api: Api) -> APIRouter:
    """`/opportunities` and below."""
    router = APIRouter(prefix="/opportunities", tags=["opportunities"])
    service = api.service

    def engine_query(asked: ScopeQuery, symbol: str | None, limit: int, sort_by: SortBy, descending: bool) -> Engine:
        api.check_dexes(asked.named_dexes() if asked.at is None else ())
        try:
            return asked.query(symbol=_base(symbol), limit=limit, sort_by=sort_by, descending=descending)
        except BadQuery as e:
            raise contradiction(str(e)) from None

    async def past(at: str, query: Engine) -> tuple[int, Ranked]:
        at_ns = api.moment("at", at)
        return at_ns, await service.read(ranked_at, service.store, service.fees, query, at_ns)

    async def answer(request: Request, asked: ScopeQuery, query: Engine) -> Response:
        if asked.at is not None:
            at_ns, ranked = await past(asked.at, query)
            then = Renderer(lambda quote, _: True).opportunities(ranked.opportunities, {}, at_ns)
            return once(filled(opportunities_head(ranked, query, service.now_ns(), at_ns), then))

        def make() -> bytes:
            now_ns, ranked = service.now_ns(), service.ranked(query)
            return filled(
                opportunities_head(ranked, query, now_ns), service.renderer.opportunities(ranked.opportunities, service.histories, now_ns)
            )

        return api.bodies.answer(request, ("opportunities", query), make)

    @router.get("", summary="Pairs that pass every filter", responses=answers(shapes.Opportunities, 404, 503))
    async def opportunities(request: Request, query: Annotated[OpportunitiesQuery, Query()]) -> Response:
        """Long where the rate is lower, short where it is higher, net of costs over the horizon. With `at` from stored rates."""
        wanted = engine_query(query, query.symbol, query.limit, query.sort_by, query.sort_desc.value == "true")
        return await answer(request, query, wanted)

    @router.get("/best", summary="The best pair", responses=answers(shapes.BestOpportunity, 404, 503))
    async def best(query: Annotated[BestQuery, Query()]) -> Response:
        """By net over the horizon."""
        wanted = engine_query(query, query.symbol, 1, SortBy.NET, True)
        now_ns = service.now_ns()
        if query.at is None:
            ranked, at_ns, renderer = service.ranked(wanted), now_ns, service.renderer
        else:
            at_ns, ranked = await past(query.at, wanted)
            renderer = Renderer(lambda quote, _: True)
        found = renderer.opportunities(ranked.opportunities, service.histories if query.at is None else {}, at_ns)
        head = encode({"generated_at": iso(now_ns), "horizon_hours": plain(wanted.horizon_hours)})
        return once(b'%s,"opportunity":%s}' % (head[:-1], found[0] if found else b"null"))

    @router.get("/symbol/{symbol}", summary="Pairs of one symbol", responses=answers(shapes.Opportunities, 404, 503))
    async def of_symbol(request: Request, symbol: Symbol, query: Annotated[SymbolOpportunitiesQuery, Query()]) -> Response:
        """As `/opportunities`; a symbol that nobody has gives an empty list."""
        wanted = engine_query(query, symbol, query.limit, query.sort_by, query.sort_desc.value == "true")
        return await answer(request, query, wanted)

    def _base(symbol: str | None) -> str | None:
        """The canonical base of what was asked for, where the board knows it."""
        if symbol is None:
            return None
        found = api.quotes(symbol=symbol)
        return found[0].instrument.base if found else symbol

    return router
