"""Rates as they are now, from memory."""

from __future__ import annotations

from itertools import combinations
from operator import itemgetter
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from exchange_clients.model import HOURS_PER_YEAR
from funding_rate_service.api import shapes
from funding_rate_service.api.api import Api
from funding_rate_service.api.openapi import answers
from funding_rate_service.api.problems import missing
from funding_rate_service.api.queries import DEX_PATTERN, SYMBOL_PATTERN, CompareQuery, NoQuery, RatesQuery
from funding_rate_service.api.render import encode, filled
from funding_rate_service.api.text import derived, iso
from funding_rate_service.opportunity import FundingQuote

Dex = Annotated[str, Path(pattern=DEX_PATTERN, examples=["hyperliquid"])]
Symbol = Annotated[str, Path(pattern=SYMBOL_PATTERN, examples=["BTC"])]


def routes(api: Api) -> APIRouter:
    """`/funding-rates` and below."""
    router = APIRouter(prefix="/funding-rates", tags=["rates"])
    service = api.service

    def body(dex: str | None, symbol: str | None) -> bytes:
        now_ns = service.now_ns()
        quotes = api.quotes(dex=dex, symbol=symbol)
        head = shapes.Rates(generated_at=iso(now_ns), count=len(quotes), stale_after_s=service.stale_after_s(dex), rates=[])
        return filled(head, service.renderer.rates(quotes, now_ns))

    def kept(request: Request, dex: str | None, symbol: str | None) -> Response:
        api.check_dexes([] if dex is None else [dex])
        return api.bodies.answer(request, ("rates", dex, symbol), lambda: body(dex, symbol))

    @router.get("", summary="Newest rates of all markets", responses=answers(shapes.Rates, 404))
    async def rates(request: Request, query: Annotated[RatesQuery, Query()]) -> Response:
        """Stale rates are shown too, and marked. A symbol that nobody has gives an empty list."""
        return kept(request, query.dex, query.symbol)

    @router.get("/compare", summary="One symbol on all venues", responses=answers(shapes.Comparison, 404))
    async def compare(request: Request, query: Annotated[CompareQuery, Query()]) -> Response:
        """Lowest hourly rate first, with the widest difference between fresh rates, before costs."""
        dexes = None if query.dexes is None else frozenset(query.dexes.split(","))
        api.check_dexes(dexes or ())

        def make() -> bytes:
            now_ns = service.now_ns()
            quotes = [q for q in api.quotes(symbol=query.symbol) if dexes is None or q.instrument.venue in dexes]
            if not quotes:
                raise missing("symbol", query.symbol, {q.instrument.base for q in service.board.quotes(fresh_only=False)})
            quotes.sort(key=lambda q: (q.sample.hourly_rate, q.instrument))
            head = shapes.Comparison(
                generated_at=iso(now_ns),
                symbol=quotes[0].instrument.base,
                count=len(quotes),
                stale_after_s=service.stale_after_s(None),
                spread=_spread([q for q in quotes if service.board.is_fresh(q, now_ns)]),
                rates=[],
            )
            return filled(head, service.renderer.rates(quotes, now_ns))

        return api.bodies.answer(request, ("compare", query.symbol, dexes), make)

    @router.get("/{dex}", summary="Newest rates of one venue", responses=answers(shapes.Rates, 404))
    async def of_dex(request: Request, dex: Dex, query: Annotated[NoQuery, Query()]) -> Response:
        """Stale rates are shown too, and marked."""
        return kept(request, dex, None)

    @router.get("/{dex}/{symbol}", summary="Newest rate of one market", responses=answers(shapes.OneRate, 404))
    async def one(request: Request, dex: Dex, symbol: Symbol, query: Annotated[NoQuery, Query()]) -> Response:
        """By canonical base or full instrument id; of several markets with one base that of the most open interest."""

        def make() -> bytes:
            now_ns, quote = service.now_ns(), api.market(dex, symbol)
            head = encode({"generated_at": iso(now_ns), "stale_after_s": service.stale_after_s(dex)})
            return b'%s,"rate":%s}' % (head[:-1], service.renderer.rate(quote, now_ns))

        return api.bodies.answer(request, ("rate", dex, symbol), make)

    return router


def _spread(quotes: list[FundingQuote]) -> shapes.Spread | None:
    """The widest difference of two venues; the rates are in order, lowest first."""
    legs = [q for q in quotes if not q.instrument.inverse]
    apart = [
        (short.sample.hourly_rate - long.sample.hourly_rate, long, short)
        for long, short in combinations(legs, 2)
        if long.instrument.venue != short.instrument.venue
    ]
    if not apart:
        return None
    hourly, long, short = max(apart, key=itemgetter(0))
    return shapes.Spread(
        long=str(long.instrument), short=str(short.instrument), hourly=derived(hourly), annual=derived(hourly * HOURS_PER_YEAR)
    )
