"""Positions of the bots, from whoever knows them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from funding_rate_service.api import shapes
from funding_rate_service.api.api import Api
from funding_rate_service.api.bodies import once
from funding_rate_service.api.openapi import answers
from funding_rate_service.api.problems import Problem
from funding_rate_service.api.queries import NoQuery
from funding_rate_service.api.render import encode

PairId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_.:-]{1,64}$", examples=["p-1"])]


def routes(api: Api) -> APIRouter:
    """`/positions` and below."""
    router = APIRouter(prefix="/positions", tags=["positions"])
    provider = api.service.positions

    @router.get("", summary="Pairs of the bots", responses=answers(shapes.Positions, 503))
    async def positions(query: Annotated[NoQuery, Query()]) -> Response:
        """`provided` false: this service was not told of any bot."""
        found = [] if provider is None else await provider.positions()
        return once(encode(shapes.Positions(provided=provider is not None, positions=found)))

    @router.get("/{pair_id}", summary="One pair", responses=answers(shapes.OnePosition, 404, 503))
    async def one(pair_id: PairId, query: Annotated[NoQuery, Query()]) -> Response:
        """With its ledger and decisions."""
        found = None if provider is None else await provider.pair(pair_id)
        if found is None:
            raise Problem(404, "no such pair", "/api/v1/positions shows them")
        return once(encode(shapes.OnePosition(position=found)))

    return router
