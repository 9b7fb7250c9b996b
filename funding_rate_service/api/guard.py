"""Around every request: who may ask from where, what every answer carries, and that no failure of ours leaves the process in words.

Plain ASGI, outside of the framework: its own failures are caught here as well.
"""

from __future__ import annotations

import logging
from urllib.parse import parse_qsl, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from database.errors import JournalError
from exchange_clients.transport.clock import Clock
from funding_rate_service.api.access import ServeConfig, is_address, is_loopback
from funding_rate_service.api.bodies import Bodies
from funding_rate_service.api.metrics import Metrics
from funding_rate_service.api.problems import Problem

log = logging.getLogger("funding_rate_service.api")

MAX_QUERY = 2_048
MAX_PATH = 1_024
SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
"""Set unless the answer (the web page) brings its own."""


class Guard:
    """Checks the request, adds headers, counts, and turns what escaped into a problem."""

    def __init__(self, app: ASGIApp, *, config: ServeConfig, clock: Clock, metrics: Metrics, bodies: Bodies) -> None:
        self._app, self._config, self._clock, self._metrics, self._bodies = app, config, clock, metrics, bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        began = self._clock.monotonic()
        state: dict[str, int] = {}

        async def guarded(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                state["status"] = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY.items():
                    headers.setdefault(name, value)
            elif message["type"] == "websocket.accept":
                state["status"] = 101
            await send(message)

        try:
            refused = self._refusal(scope)
            if refused is not None:
                await _answer(refused, scope, receive, guarded)
            elif (again := self._bodies.again(scope)) is not None:
                await again(scope, receive, guarded)
            else:
                await self._app(scope, receive, guarded)
        except Exception as e:
            answer = problem_of(e)
            if answer.status == 500:
                log.exception("api.failed path=%s", scope["path"])
            if "status" in state:
                raise  # the answer has begun: only breaking it off tells the caller
            await _answer(answer, scope, receive, guarded)
        finally:
            self._metrics.request(scope, state.get("status", 0), self._clock.monotonic() - began)

    def _refusal(self, scope: Scope) -> Problem | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        named = _hostname(host)
        if named is None or not self._is_ours(named):
            return Problem(403, "not for this name", "ask by the address it listens on, or allow the name in allowed_hosts")
        origin = headers.get("origin")
        if origin is not None and not self._same_origin(origin, host):
            return Problem(403, "not for other web pages")
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return Problem(403, "not for other web pages")
        if len(scope["path"]) > MAX_PATH or len(scope["query_string"]) > MAX_QUERY:
            return Problem(414, "the address is too long")
        try:
            names = [name for name, _ in parse_qsl(scope["query_string"].decode("ascii"), keep_blank_values=True, errors="strict")]
        except ValueError:
            return Problem(422, "the query is not UTF-8, percent-encoded")
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            return Problem(422, "a parameter is given twice", ", ".join(sorted(twice))[:100])
        return None

    def _is_ours(self, named: str) -> bool:
        """No web page may make its own name point here (DNS rebinding); beyond loopback an address, not a name, is as good as ours."""
        if named in self._config.allowed_hosts or is_loopback(named):
            return True
        return not self._config.loopback and (named == self._config.host or is_address(named))

    def _same_origin(self, origin: str, host: str) -> bool:
        """A page of our own: it names the same host and port."""
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        return parts.scheme in ("http", "https") and parts.netloc == host


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def problem_of(error: Exception) -> Problem:
    """What may be told of an error."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, TimeoutError):
        return Problem(503, "it took too long", "ask for a shorter period", headers={"Retry-After": "5"})
    if isinstance(error, JournalError):
        log.warning("api.database error=%s", error)
        return Problem(503, "the database cannot be used now", "see /api/v1/health/database", headers={"Retry-After": "5"})
    return Problem(500, "internal error", "it is in the log of the service")


async def _answer(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    response = problem.response()
    if scope["type"] == "websocket":
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": 1008, "reason": ""})
            return
        scope = {**scope}
    await response(scope, receive, send)
