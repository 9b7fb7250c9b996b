"""Venues, health, tasks, figures for Prometheus."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from funding_rate_service.api import shapes
from funding_rate_service.api.api import Api
from funding_rate_service.api.bodies import once
from funding_rate_service.api.keygate import scheme
from funding_rate_service.api.metrics import CONTENT_TYPE
from funding_rate_service.api.openapi import answers
from funding_rate_service.api.problems import Problem, missing
from funding_rate_service.api.queries import NoQuery
from funding_rate_service.api.render import encode
from funding_rate_service.api.routes.rates import Dex
from funding_rate_service.api.text import iso, iso_or_none, plain, plain_or_none
from funding_rate_service.tasks import TaskStatus

Nothing = Annotated[NoQuery, Query()]
TaskName = Annotated[str, Path(pattern=r"^[a-z-]{1,32}$", examples=["roll-up"])]


def routes(api: Api) -> APIRouter:
    """`/dexes`, `/health`, `/tasks`, `/metrics`."""
    router = APIRouter()
    service = api.service

    @router.get("/dexes", summary="All venues", tags=["dexes"], responses=answers(shapes.Dexes))
    async def dexes(request: Request, query: Nothing) -> Response:
        """As the collector sees them."""

        def make() -> bytes:
            found = service.dexes()
            return encode(shapes.Dexes(generated_at=iso(service.now_ns()), count=len(found), dexes=found))

        return api.bodies.answer(request, "dexes", make)

    @router.get("/dexes/{dex}", summary="One venue", tags=["dexes"], responses=answers(shapes.OneDex, 404))
    async def one_dex(dex: Dex, query: Nothing) -> Response:
        """As the collector sees it."""
        return once(encode(shapes.OneDex(generated_at=iso(service.now_ns()), dex=one(dex))))

    @router.get("/dexes/{dex}/symbols", summary="Markets of a venue", tags=["dexes"], responses=answers(shapes.Symbols, 404))
    async def symbols(request: Request, dex: Dex, query: Nothing) -> Response:
        """All that have a rate, stale ones too."""
        api.check_dexes([dex])

        def make() -> bytes:
            quotes = api.quotes(dex=dex)
            return encode(
                shapes.Symbols(
                    dex=dex,
                    count=len(quotes),
                    symbols=[
                        shapes.SymbolOfDex(
                            symbol=q.instrument.base,
                            instrument=str(q.instrument),
                            tradable=q.tradable,
                            interval_hours=plain(q.sample.interval_hours),
                            open_interest_usd=plain_or_none(q.open_interest_usd),
                            volume_24h_usd=plain_or_none(q.volume_24h_usd),
                        )
                        for q in quotes
                    ],
                )
            )

        return api.bodies.answer(request, ("symbols", dex), make)

    def one(dex: str) -> shapes.Dex:
        api.check_dexes([dex])
        return next(found for found in service.dexes() if found.dex == dex)

    @router.get("/health", summary="Whether everything works", tags=["health"], responses=answers(shapes.Health))
    async def health(request: Request, query: Nothing) -> Response:
        """Answers 200 while the process lives, whatever it has to tell; /health/ready is for those who want a status code."""
        return api.bodies.answer(request, "health", lambda: encode(service.health()))

    @router.get("/health/live", summary="The process answers", tags=["health"], responses=answers(shapes.Alive))
    async def live(query: Nothing) -> Response:
        """Nothing is looked at."""
        return once(encode(shapes.Alive(status="ok")))

    @router.get("/health/ready", summary="There are fresh rates", tags=["health"], responses=answers(shapes.Alive, 503))
    async def ready(query: Nothing) -> Response:
        """503 until the first venue answered, and when no rate is fresh any more."""
        if not service.ready:
            raise Problem(503, "no fresh rate", "/api/v1/health says which venues are missing", headers={"Retry-After": "5"})
        return once(encode(shapes.Alive(status="ok")))

    @router.get("/health/database", summary="The store", tags=["health"], responses=answers(shapes.DatabaseHealth, 503))
    async def database(query: Nothing) -> Response:
        """As last looked at, some seconds ago; 503 when it did not answer then."""
        found = service.database_health()
        if found.status == "down":
            raise Problem(503, "the database cannot be used now", found.error or "", headers={"Retry-After": "5"})
        return once(encode(found))

    @router.get("/health/dex/{dex}", summary="One venue", tags=["health"], responses=answers(shapes.OneDex, 404))
    async def dex_health(dex: Dex, query: Nothing) -> Response:
        """As the collector sees it."""
        return once(encode(shapes.OneDex(generated_at=iso(service.now_ns()), dex=one(dex))))

    @router.get("/tasks/status", summary="The service's own tasks", tags=["tasks"], responses=answers(shapes.TaskList))
    async def tasks(query: Nothing) -> Response:
        """Each with its last and next turn, and what went wrong."""
        return once(encode(shapes.TaskList(generated_at=iso(service.now_ns()), tasks=[_task(t) for t in service.task_status()])))

    @router.post(
        "/tasks/{task}/run",
        summary="Let a task take its turn now",
        tags=["tasks"],
        status_code=202,
        dependencies=[Depends(scheme)],
        responses=answers(shapes.Started, 401, 404, 409, 429, 503, status=202),
    )
    async def run(request: Request, task: TaskName, query: Nothing) -> Response:
        """Needs a key that may write."""
        who = await api.gate.caller(request)
        if task not in service.tasks.names:
            raise missing("task", task, service.tasks.names)
        await api.gate.audit(who, "task.run", {"task": task})
        if not service.tasks.run_now(task):
            raise Problem(409, "it runs already")
        return once(encode(shapes.Started(task=task, started=True)), status=202)

    @router.get("/metrics", summary="Figures for Prometheus", tags=["health"], responses={200: {"content": {"text/plain": {}}}})
    async def metrics(query: Nothing) -> Response:
        """Text format 0.0.4."""
        fill(api)
        return Response(api.metrics.text(), headers={"Cache-Control": "no-store", "Content-Type": CONTENT_TYPE})

    return router


def fill(api: Api) -> None:
    """Take the figures that are kept elsewhere."""
    service, to = api.service, api.metrics
    for dex in service.dexes():
        to.markets.labels(dex.dex).set(dex.markets)
        to.fresh.labels(dex.dex).set(dex.state is shapes.State.OK)
        to.failures.labels(dex.dex).set(dex.consecutive_failures)
        if dex.age_s is not None:
            to.age.labels(dex.dex).set(dex.age_s)
    for task in service.task_status():
        to.task_failures.labels(task.name).set(task.failures)
    to.generation.set(service.board.generation)
    to.opportunities.set(service.shown_total)
    to.subscribers.set(len(service.hub))
    to.sent.set(service.hub.sent)
    to.missed.set(service.hub.missed)
    to.database.set(service.database_health().status == "ok")


def _task(status: TaskStatus) -> shapes.Task:
    return shapes.Task(
        name=status.name,
        state=status.state.value,
        interval_s=status.interval_s,
        last_run_at=iso_or_none(status.last_run_ns),
        next_run_at=iso_or_none(status.next_run_ns),
        last_error=status.last_error,
        runs=status.runs,
        failures=status.failures,
        consecutive_failures=status.consecutive_failures,
        last_duration_ms=status.last_duration_ms,
    )
