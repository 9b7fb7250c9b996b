"""The control API: what bots do and hold, and an operator's verbs, over HTTP.

Loopback unless told otherwise; every request carries a key (`Authorization: Bearer ppk_...`), reads on loopback may be freed from that.
Nothing internal leaves: errors are problem+json, a failure of ours says only that it is in the log. Writes are audited beforehand.
"""

import json
import logging
import os
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import msgspec
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from database import apikeys
from database.apikeys import ApiKey, Scope
from database.errors import JournalError
from database.journal import Journal
from exchange_clients.transport.runtime import Runtime
from funding_rate_service.api.access import FAILED_PER_MINUTE, Listen, Rates, is_loopback
from perpkit import __version__
from perpkit.bot.operations import Operations, Refused

log = logging.getLogger("perpkit.control")

MAX_BODY = 16 * 1024
MAX_BRACKETS = 50
"""No body nests; a decoder that is fed thousands of brackets may run out of stack."""


class ControlConfig(Listen):
    """Where the control API listens. `reads_without_key`: on loopback only. `*_per_minute`: requests of one key."""

    reads_without_key: bool = False
    reads_per_minute: int = Field(default=240, ge=1)
    writes_per_minute: int = Field(default=30, ge=1)

    @model_validator(mode="after")
    def _keys(self) -> "ControlConfig":
        if self.reads_without_key and not self.loopback:
            raise ValueError("reads_without_key is for loopback only")
        return self


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CloseBody(_Body):
    """`owner`: a pair id, a holding id, or "all"."""

    owner: str = Field(min_length=1, max_length=64)
    reason: str = Field(default="closed by the operator", min_length=1, max_length=500)


class HaltBody(_Body):
    """Why; it is shown to everyone who asks."""

    reason: str = Field(min_length=1, max_length=500)


class ResumeBody(_Body):
    """`owner`: a pair in ALERT, or the market of a grid that halted."""

    owner: str = Field(min_length=1, max_length=96)


class NoBody(_Body):
    """Nothing to say."""


Act = Callable[[Operations, Any, str], Awaitable[dict[str, Any]]]


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One verb of the API."""

    method: str
    path: str
    summary: str
    act: Act
    body: type[_Body] = NoBody
    query: dict[str, str] = {}

    @property
    def scope(self) -> Scope:
        """What a key must allow."""
        return Scope.READ if self.method == "GET" else Scope.WRITE


ROUTES = (
    Route(method="GET", path="/health", summary="Whether everything works.", act=lambda o, q, who: o.health()),
    Route(method="GET", path="/status", summary="What runs, since when, what blocks entries.", act=lambda o, q, who: o.status()),
    Route(method="GET", path="/positions", summary="Open pairs and holdings, from our own fills.", act=lambda o, q, who: o.positions()),
    Route(
        method="GET",
        path="/decisions",
        summary="The newest decisions with their inputs, newest first.",
        act=lambda o, q, who: o.decisions(q.get("pair"), _count(q.get("limit", "100"))),
        query={"pair": "only about this pair or holding", "limit": "at most so many, up to 1000; 100 when left out"},
    ),
    Route(method="GET", path="/risk", summary="Limits and what stands against them.", act=lambda o, q, who: o.risk()),
    Route(
        method="POST",
        path="/close",
        summary="Begin the end of a pair, a holding, or all, by reducing only.",
        act=lambda o, b, who: o.close(b.owner, b.reason, who),
        body=CloseBody,
    ),
    Route(
        method="POST",
        path="/halt",
        summary="No entry anywhere until resumed; exits go on.",
        act=lambda o, b, who: o.halt(b.reason, who),
        body=HaltBody,
    ),
    Route(method="POST", path="/resume", summary="Clear the halt.", act=lambda o, b, who: o.resume(who)),
    Route(
        method="POST",
        path="/resume_pair",
        summary="A pair in alert, or a halted grid, was looked at: prove it and go on, reducing first.",
        act=lambda o, b, who: o.resume_pair(b.owner, who),
        body=ResumeBody,
    ),
    Route(
        method="POST",
        path="/reload",
        summary="Read the configuration again; open positions only get tighter.",
        act=lambda o, b, who: o.reload(who),
    ),
)


class Problem(Exception):
    """An answer that is an error: RFC 9457, in words for the caller."""

    def __init__(
        self, status: int, title: str, detail: str = "", *, headers: Mapping[str, str] | None = None, problems: Sequence[str] = ()
    ) -> None:
        super().__init__(title)
        self.status, self.headers = status, dict(headers or {})
        self.body: dict[str, object] = {"type": "about:blank", "title": title, "status": status, **({"detail": detail} if detail else {})}
        if problems:
            self.body["problems"] = list(problems)

    def response(self) -> web.Response:
        return web.Response(
            status=self.status, body=msgspec.json.encode(self.body), content_type="application/problem+json", headers=self.headers
        )


def _too_many(wait_s: float) -> Problem:
    return Problem(429, "too many requests", headers={"Retry-After": str(int(wait_s) + 1)})


class ControlServer:
    """Use as `async with ControlServer(...)`; `url` says where it listens.

    While it runs, `local_file` holds the address and a key of this process's life, readable by its owner only: how commands on this
    machine find the bot.
    """

    def __init__(
        self, config: ControlConfig, operations: Operations, journal: Journal, runtime: Runtime, *, local_file: Path | None
    ) -> None:
        self._config, self._operations, self._journal, self._runtime = config, operations, journal, runtime
        self._local = apikeys.PREFIX + secrets.token_urlsafe(apikeys.SECRET_BYTES)
        self._local_file = local_file
        self._rates = Rates(runtime.clock.monotonic)
        self._valid: set[str] = set()
        """Hashes of keys that were valid once: no more than there are keys."""
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def __aenter__(self) -> "ControlServer":
        app = web.Application(middlewares=[self._guarded], client_max_size=MAX_BODY)
        for route in ROUTES:
            app.router.add_route(route.method, route.path, partial(self._answer, route))
        app.router.add_get("/openapi.json", self._openapi)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._config.host, self._config.port, ssl_context=self._config.tls())
        try:
            await site.start()
        except OSError:
            await self._runner.cleanup()
            raise
        host, port = self._runner.addresses[0][:2]
        scheme = "http" if self._config.tls_cert is None else "https"
        self.url = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
        if self._local_file is not None:
            await self._runtime.offload.run(
                _write_private, self._local_file, json.dumps({"url": self.url, "key": self._local, "pid": os.getpid()})
            )
        log.info("control.listening url=%s", self.url)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._local_file is not None:
            self._local_file.unlink(missing_ok=True)
        if self._runner is not None:
            await self._runner.cleanup()

    # ---- a request

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
        try:
            return await handler(request)
        except Problem as e:
            return e.response()
        except web.HTTPException as e:
            return Problem(e.status, e.reason).response()
        except Refused as e:
            return Problem(404 if e.missing else 409, "refused", str(e), problems=e.problems).response()
        except TimeoutError:
            return Problem(504, "it took too long", "it may have been done; look before you ask again").response()
        except JournalError:
            log.exception("control.journal path=%s", request.path)
            return Problem(503, "the journal cannot be used now", "see the log of the bot").response()
        except Exception:
            log.exception("control.failed path=%s", request.path)
            return Problem(500, "internal error", "see the log of the bot").response()

    async def _answer(self, route: Route, request: web.Request) -> web.Response:
        self._same_origin(request)
        who = await self._caller(route, request)
        given: Any = dict(request.query) if route.method == "GET" else await self._body(route, request)
        unknown = set(request.query) - set(route.query)
        if unknown:
            raise Problem(400, "unknown parameter", f"{', '.join(sorted(unknown))[:100]}; there are: {', '.join(route.query) or 'none'}")
        answer = await route.act(self._operations, given, who)
        return web.Response(body=msgspec.json.encode(answer), content_type="application/json", headers={"Cache-Control": "no-store"})

    def _same_origin(self, request: web.Request) -> None:
        """No web page may use it, not even one that makes its own name point here."""
        if "Origin" in request.headers:
            raise Problem(403, "not for web pages")
        named = urlsplit(f"//{request.host}").hostname or ""
        if self._config.loopback and not is_loopback(named):
            raise Problem(403, "not for this name", "ask by the address it listens on")

    async def _caller(self, route: Route, request: web.Request) -> str:
        scheme, _, shown = request.headers.get("Authorization", "").partition(" ")
        if not shown:
            if route.scope is Scope.READ and self._config.reads_without_key:
                self._within(f"reader {request.remote}", self._config.reads_per_minute)
                return "anyone"
            raise Problem(
                401, "a key is needed", "Authorization: Bearer KEY; perpkit keys add NAME", headers={"WWW-Authenticate": "Bearer"}
            )
        stranger = f"stranger {request.remote}"
        if not self._met(shown.strip()) and (wait_s := self._rates.wait_s(stranger, FAILED_PER_MINUTE)) is not None:
            raise _too_many(wait_s)  # before anything is looked up: a flood must not take the workers that the journal needs
        key = await self._find(shown.strip()) if scheme.lower() == "bearer" else None
        if key is None:
            self._within(stranger, FAILED_PER_MINUTE)
            log.warning("control.refused path=%s remote=%s", request.path, request.remote)
            raise Problem(401, "the key is not valid", headers={"WWW-Authenticate": "Bearer"})
        if not key.may(route.scope):
            raise Problem(403, "the key may only read")
        read = route.scope is Scope.READ
        self._within(f"{route.scope} {key.name}", self._config.reads_per_minute if read else self._config.writes_per_minute)
        return key.name

    async def _find(self, shown: str) -> ApiKey | None:
        """Looked up anew each time, so that a key taken back is refused from then on."""
        if self._is_local(shown):
            return ApiKey("local", frozenset({Scope.WRITE}))
        found = apikeys.find(shown, await self._runtime.offload.run(self._journal.api_keys))
        if found is not None:
            self._valid.add(apikeys.digest(shown))
        return found

    def _is_local(self, shown: str) -> bool:
        return secrets.compare_digest(apikeys.digest(shown), apikeys.digest(self._local))

    def _met(self, shown: str) -> bool:
        """It was valid once in this life of the process."""
        return self._is_local(shown) or apikeys.digest(shown) in self._valid

    def _within(self, caller: str, limit: int) -> None:
        wait_s = self._rates.left_s(caller, limit)
        if wait_s is not None:
            raise _too_many(wait_s)

    async def _body(self, route: Route, request: web.Request) -> _Body:
        text = await request.read()
        if text and request.content_type != "application/json":
            raise Problem(415, "send application/json")
        if text.count(b"{") + text.count(b"[") > MAX_BRACKETS:
            raise Problem(400, "the body nests too deeply")
        try:
            return route.body.model_validate(msgspec.json.decode(text) if text else {})
        except msgspec.DecodeError:
            raise Problem(400, "the body is not JSON") from None
        except ValidationError as e:
            wrong = [f"{'.'.join(str(part) for part in item['loc']) or 'body'}: {item['msg']}" for item in e.errors(include_input=False)]
            raise Problem(400, "the body does not fit", "; ".join(wrong)) from None

    async def _openapi(self, request: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(openapi()), content_type="application/json")


def openapi() -> dict[str, Any]:
    """The API as an OpenAPI document, made from the table of routes."""
    problem = {
        "description": "What went wrong.",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    paths: dict[str, Any] = {}
    for route in ROUTES:
        told: dict[str, Any] = {
            "summary": route.summary,
            "description": f"Needs a key with scope {route.scope}.",
            "responses": {
                "200": {"description": "Done.", "content": {"application/json": {"schema": {"type": "object"}}}},
                **dict.fromkeys(("400", "401", "403", "404", "409", "429", "500"), problem),
            },
        }
        if route.query:
            told["parameters"] = [
                {"name": name, "in": "query", "required": False, "description": text, "schema": {"type": "string"}}
                for name, text in route.query.items()
            ]
        if route.body is not NoBody:
            told["requestBody"] = {"required": True, "content": {"application/json": {"schema": route.body.model_json_schema()}}}
        paths.setdefault(route.path, {})[route.method.lower()] = told
    fields = {"type": {"type": "string"}, "title": {"type": "string"}, "status": {"type": "integer"}, "detail": {"type": "string"}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "perpkit control API", "version": __version__},
        "paths": paths,
        "security": [{"key": []}],
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Problem": {"type": "object", "properties": fields, "required": ["title", "status"]}},
        },
    }


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 6:
        raise Problem(400, "limit is a whole number")
    return int(text)


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(handle, text.encode())
    finally:
        os.close(handle)
