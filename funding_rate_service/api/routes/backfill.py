"""Asking for history."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from funding_rate_service.api import shapes
from funding_rate_service.api.api import Api
from funding_rate_service.api.bodies import once
from funding_rate_service.api.body import given
from funding_rate_service.api.keygate import scheme
from funding_rate_service.api.openapi import answers
from funding_rate_service.api.problems import Problem
from funding_rate_service.api.queries import BackfillBody, NoQuery
from funding_rate_service.api.render import encode


def routes(api: Api) -> APIRouter:
    """`/history/backfill`."""
    router = APIRouter(tags=["history"])
    service = api.service

    @router.post(
        "/history/backfill",
        summary="Fetch settled history from the venues",
        status_code=202,
        dependencies=[Depends(scheme)],
        responses=answers(shapes.Backfilling, 400, 401, 404, 409, 413, 415, 429, 503, status=202),
        openapi_extra={"requestBody": {"required": False, "content": {"application/json": {"schema": BackfillBody.model_json_schema()}}}},
    )
    async def backfill(request: Request, query: Annotated[NoQuery, Query()]) -> Response:
        """Needs a key that may write. Goes on by itself, within the venues' limits; /tasks/status shows how far it is."""
        who = await api.gate.caller(request)
        asked = await given(request, BackfillBody)
        if asked.dex is not None:
            api.check_dexes([asked.dex])
        if service.collector is None:
            raise Problem(409, "this service asks no venue", "it serves what another one collects")
        await api.gate.audit(who, "history.backfill", asked.model_dump())
        began = service.collector.backfill_now(asked.dex, asked.days)
        return once(encode(shapes.Backfilling(dexes=began)), status=202)

    return router
