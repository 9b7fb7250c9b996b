"""History and statistics, from the store."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from exchange_clients.model import HOURS_PER_YEAR, InstrumentId
from funding_rate_service.api import shapes
from funding_rate_service.api.api import Api
from funding_rate_service.api.bodies import once
from funding_rate_service.api.openapi import answers
from funding_rate_service.api.problems import missing
from funding_rate_service.api.queries import HistoryQuery, StatsQuery
from funding_rate_service.api.render import encode
from funding_rate_service.api.routes.rates import Dex, Symbol
from funding_rate_service.api.text import derived, derived_or_none, iso, plain
from funding_rate_service.histories import MarketHistory, history_points, market_histories


def routes(api: Api) -> APIRouter:
    """`/history` and `/stats`."""
    router = APIRouter(tags=["history"])
    service = api.service

    def span(period_ns: int, until: str | None) -> tuple[int, int]:
        end_ns = service.now_ns() if until is None else api.moment("until", until)
        return end_ns - period_ns, end_ns

    async def markets(dex: str | None, symbol: str) -> list[InstrumentId]:
        """From the store: what is no longer collected has a history too."""
        found = await service.read(service.markets.find, dex, symbol)
        if not found:
            raise missing("symbol" if dex is None else f"symbol on {dex}", symbol, ())
        return found

    @router.get(
        "/history/funding-rates/{dex}/{symbol}",
        summary="A market's rates over time",
        responses=answers(shapes.History, 404, 503),
    )
    async def history(dex: Dex, symbol: Symbol, query: Annotated[HistoryQuery, Query()]) -> Response:
        """Settled rates unless asked otherwise; kinds are never mixed. When there are more than `limit`, the newest."""
        return once(await api.slow.get(("history", dex, symbol, query), lambda: points(dex, symbol, query)))

    async def points(dex: str, symbol: str, query: HistoryQuery) -> bytes:
        start_ns, end_ns = span(query.period.ns, query.until)
        instrument = (await markets(dex, symbol))[0]
        found = await service.read(history_points, service.store, instrument, query.resolution.value, start_ns, end_ns, query.limit + 1)
        kept = found[-query.limit :]
        answer = shapes.History(
            dex=dex,
            symbol=instrument.base,
            instrument=str(instrument),
            period=query.period.value,
            resolution=query.resolution.value,
            start=iso(start_ns),
            end=iso(end_ns),
            count=len(kept),
            truncated=len(found) > len(kept),
            points=[
                shapes.Point(
                    time=iso(p.at),
                    rate=plain(p.rate),
                    interval_hours=plain(p.interval_hours),
                    hourly=derived(p.rate / p.interval_hours),
                    kind=p.kind,
                )
                for p in kept
            ],
        )
        return encode(answer)

    @router.get(
        "/stats/funding-rates/{symbol}",
        summary="Statistics of a symbol's settled funding per venue",
        responses=answers(shapes.Stats, 404, 503),
    )
    async def stats(symbol: Symbol, query: Annotated[StatsQuery, Query()]) -> Response:
        """Each settlement counts for the hours of its own interval; hours without a record are left out and not guessed."""
        return once(await api.slow.get(("stats", symbol, query), lambda: statistics(symbol, query)))

    async def statistics(symbol: str, query: StatsQuery) -> bytes:
        start_ns, end_ns = span(query.period.ns, query.until)
        found = await service.read(market_histories, service.store, await markets(query.dex, symbol), start_ns, end_ns)
        answer = shapes.Stats(
            symbol=next(iter(found)).base,
            period=query.period.value,
            start=iso(start_ns),
            end=iso(end_ns),
            markets=[_stats(instrument, history) for instrument, history in found.items()],
        )
        return encode(answer)

    return router


def _stats(instrument: InstrumentId, history: MarketHistory) -> shapes.MarketStats:
    series, found, mean = history.series, history.statistics, history.mean
    return shapes.MarketStats(
        dex=instrument.venue,
        instrument=str(instrument),
        settlements=len(history.settled),
        hours=len(series),
        mean=derived_or_none(mean),
        lowest=derived(min(series)) if series else None,
        highest=derived(max(series)) if series else None,
        last=derived(series[-1]) if series else None,
        mean_annual=None if mean is None else derived(mean * HOURS_PER_YEAR),
        volatility=None if found is None else derived(found.volatility),
        sign_flips_per_day=None if found is None else derived(found.sign_flips_per_day),
        half_life_hours=None if found is None else derived_or_none(found.half_life_hours),
    )
