"""The application: endpoints, errors, the OpenAPI document, the guard around all of it."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from funding_rate_service.api.access import ServeConfig
from funding_rate_service.api.api import PREFIX, Api
from funding_rate_service.api.guard import Guard
from funding_rate_service.api.keygate import KeyGate
from funding_rate_service.api.metrics import Metrics
from funding_rate_service.api.openapi import document
from funding_rate_service.api.problems import Problem
from funding_rate_service.api.queries import EXAMPLE_OF_PATTERN
from funding_rate_service.api.routes import backfill, edge, history, opportunities, positions, rates, stream, system
from funding_rate_service.service import Service

DESCRIPTION = """Funding rates of perpetual futures on many venues, and the pairs worth holding.

Rates are fractions per their own `interval_hours`, positive: longs pay shorts. Figures are decimals as text, times UTC. Unknown is `null`,
never zero. Errors are problem+json. Reading needs no key, changing does.
"""


def create_app(service: Service, config: ServeConfig | None = None, *, local_key: str | None = None, page: bool = True) -> FastAPI:
    """The API of a service, and its web page. `local_key`: a key of this process's life that may write."""
    config = config or ServeConfig()
    metrics = Metrics()
    gate = KeyGate(service.keys, service.runtime, writes_per_minute=config.writes_per_minute, local=local_key)
    api = Api(service, metrics, gate)
    app = FastAPI(
        title="perpkit funding rates",
        version=service.version,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        default_response_class=Response,
        openapi_url="/openapi.json",
    )
    app.openapi = lambda: document(app)  # type: ignore[method-assign]
    for made in (rates, opportunities, edge, history, backfill, system, positions, stream):
        app.include_router(made.routes(api), prefix=PREFIX)
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_middleware(Guard, config=config, clock=service.clock, metrics=metrics, bodies=api.bodies)
    if page:
        from funding_rate_service.web.page import mount

        mount(app)
    return app


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.response()


async def _invalid(request: Request, error: Exception) -> Response:
    """Which parameter, and what it should be; what was given is not repeated."""
    assert isinstance(error, RequestValidationError)
    wrong = [_told(dict(item)) for item in error.errors()[:20]]
    return Problem(422, "a parameter does not fit", wrong[0] if wrong else "", problems=wrong).response()


def _told(item: dict[str, Any]) -> str:
    place = ".".join(str(part)[:40] for part in item["loc"] if part not in ("query", "path", "body")) or "body"
    said = item["msg"]
    if item["type"] == "extra_forbidden":
        said = "there is no such parameter"
    elif (example := EXAMPLE_OF_PATTERN.get(item.get("ctx", {}).get("pattern", ""))) is not None:
        said = f"write it like {example}"
    return f"{place}: {said}"[:200]


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    title = {404: "there is nothing here", 405: "not with this method"}.get(error.status_code, str(error.detail)[:100])
    return Problem(error.status_code, title, headers=error.headers or {}).response()
