"""The one place where requests leave the library: HTTP, and gRPC through the venue's nodes."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
import msgspec
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt
from yarl import URL

from exchange_clients.errors import (
    ConfigError,
    ConnectFailed,
    DecodeError,
    Disconnected,
    MissingCredentials,
    NonceError,
    Outcome,
    RateLimited,
    RequestTimeout,
    TokenRefused,
    TransportError,
    VenueError,
    VenueUnavailable,
    classify,
)
from exchange_clients.model import NS_PER_S, Lane
from exchange_clients.ratelimit import Limiter
from exchange_clients.secret import bare
from exchange_clients.signing import HttpRequest, Signer, TokenSigner
from exchange_clients.spec import Endpoint, VenueSpec
from exchange_clients.transport.grpc import GrpcNodes
from exchange_clients.transport.runtime import Runtime
from exchange_clients.transport.venue_time import VenueTime

MAX_BODY_BYTES = 64 * 1024 * 1024
MAX_RETRY_AFTER_S = 3600.0
"""A venue that asks for more is asked again after this."""
_QUERY_TRIES = 3
_BANNED_UNTIL = re.compile(r"\buntil (\d{13})\b")
_LIMITER_WAIT_S = 30.0


Around = Callable[[HttpRequest, Callable[[], Awaitable[bytes]]], Awaitable[bytes]]
"""Stands around every exchange: gets the request and what sends it, gives the body of a success."""


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return format(value, "f")
    return str(value.value if isinstance(value, Enum) else value)


def build_request(endpoint: Endpoint, arguments: Mapping[str, Any]) -> HttpRequest:
    """The unsigned request for `arguments`; those that are None are left out.

    Raises:
        ConfigError: a place of the path has no argument.
    """
    if endpoint.method == "GRPC":
        return HttpRequest("GRPC", endpoint.path, body=endpoint.encode(**arguments) if endpoint.encode is not None else b"")
    left = {**endpoint.fixed, **{k: v for k, v in arguments.items() if v is not None}}
    path = endpoint.path
    while (start := path.find("{")) >= 0:
        name = path[start + 1 : path.index("}", start)]
        if name not in left:
            raise ConfigError(f"{endpoint.path} needs {name!r}")
        path = path[:start] + quote(_text(left.pop(name)), safe="") + path[path.index("}", start) + 1 :]
    if endpoint.encoding == "json":
        body = json.dumps(left, separators=(",", ":"), default=_text).encode()
        return HttpRequest(endpoint.method, path, body=body, headers={"Content-Type": "application/json"})
    pairs = tuple((k, _text(v)) for k, v in left.items())
    if endpoint.encoding == "form":
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return HttpRequest(endpoint.method, path, body=urlencode(pairs).encode(), headers=headers)
    return HttpRequest(endpoint.method, path, query=pairs)


def _worth_another_try(error: BaseException) -> bool:
    """Not what the venue wants a long pause for: the caller hears of that now."""
    if isinstance(error, RateLimited):
        return error.retry_after_s is None or error.retry_after_s <= _LIMITER_WAIT_S
    return isinstance(error, TransportError | VenueUnavailable)


class RestTransport:
    """Sends requests of one client. Queries are repeated on transport trouble; commands never are.

    `signer` may be None: then signed endpoints raise what `problem` says of the credentials. `lane`: of queries that name none. All times
    are asyncio time.
    """

    def __init__(
        self,
        spec: VenueSpec,
        base_url: str,
        runtime: Runtime,
        limiter: Limiter,
        venue_time: VenueTime,
        *,
        signer: Signer | None = None,
        timeout_s: float = 10.0,
        proxy: str | None = None,
        problem: str | None = None,
        nodes: GrpcNodes | None = None,
        headers: Mapping[str, str] | None = None,
        lane: Lane = Lane.QUERY,
    ) -> None:
        self.spec = spec
        self.lane = lane
        self.nodes = nodes if nodes is not None else GrpcNodes(spec.name, (), runtime)
        self._base = base_url.rstrip("/")
        self._runtime = runtime
        self._limiter = limiter
        self._venue_time = venue_time
        self._signer = signer
        self._timeout_s = timeout_s
        self._proxy = proxy
        self._problem = problem
        self._headers = dict(headers or {})
        self._session: aiohttp.ClientSession | None = None
        self._decoders: dict[int, msgspec.json.Decoder[Any]] = {}
        self.raw = Raw(self)
        self.around: Around | None = None
        """The seam of recording and playback. Nothing is awaited between it and the reader of the answer."""

    @property
    def session(self) -> aiohttp.ClientSession:
        """The client's one HTTP session; sockets use it too."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=self._runtime.connector(), auto_decompress=True, trust_env=False, cookie_jar=aiohttp.DummyCookieJar()
            )
            # It would send PUT, DELETE and GET again by itself when a kept connection breaks: a command twice, and any nonce twice.
            self._session._retry_connection = False
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()
        await self.nodes.close()

    def endpoint(self, name: str) -> Endpoint:
        try:
            return self.spec.endpoints[name]
        except KeyError:
            known = ", ".join(sorted(self.spec.endpoints))
            raise ConfigError(f"no endpoint {name!r}; there are {known}", venue=self.spec.name) from None

    async def query(self, name: str, *, lane: Lane | None = None, cost: Mapping[str, int] | None = None, **arguments: Any) -> Any:
        """The decoded answer of a read-only endpoint; tried up to three times, waiting as the venue asks.

        Raises:
            VenueError: the last failure, classified.
        """
        endpoint = self.endpoint(name)
        if endpoint.command:
            raise ConfigError(f"{name} changes state: use the managers", venue=self.spec.name)
        request = build_request(endpoint, arguments)
        retrying = AsyncRetrying(
            stop=stop_after_attempt(_QUERY_TRIES),
            retry=retry_if_exception(_worth_another_try),
            wait=self._wait_before_retry,
            sleep=self._runtime.clock.sleep,
            reraise=True,
        )
        async for attempt in retrying:
            with attempt:
                await self._limiter.acquire(cost or endpoint.cost, lane or self.lane, timeout_s=_LIMITER_WAIT_S)
                send = self._send_signed if endpoint.signed else self.send
                return self.decode(endpoint, await send(request, timeout_s=endpoint.timeout_s))
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _send_signed(self, request: HttpRequest, *, timeout_s: float | None = None) -> bytes:
        """With a session token that the venue no longer takes: once more with a new one."""
        outgoing = await self._authorized(request)
        try:
            return await self.send(outgoing, timeout_s=timeout_s)
        except TokenRefused:
            if not isinstance(self._signer, TokenSigner):
                raise
            self._signer.token_refused(outgoing)
            return await self.send(await self._authorized(request), timeout_s=timeout_s)

    async def _authorized(self, request: HttpRequest) -> HttpRequest:
        if self._signer is None:
            raise MissingCredentials(self._problem or "this client is read-only: the call needs credentials", venue=self.spec.name)
        return await self._signer.authorize(request, self._venue_time.now_ms())

    @staticmethod
    def _wait_before_retry(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, RateLimited) and error.retry_after_s is not None:
            return error.retry_after_s
        return float(min(5.0, 0.25 * 4.0 ** (state.attempt_number - 1)))

    async def send(self, request: HttpRequest, *, timeout_s: float | None = None) -> bytes:
        """One request, one answer, no repetition: the body of a success.

        Raises:
            ConnectFailed: nothing left the machine.
            RequestTimeout, Disconnected: it may have been executed.
            ApiError and below: the venue's own answer.
        """
        if self.around is not None:
            return await self.around(request, lambda: self._exchange(request, timeout_s))
        return await self._exchange(request, timeout_s)

    async def _exchange(self, request: HttpRequest, timeout_s: float | None) -> bytes:
        if request.method == "GRPC":
            try:
                return await self.nodes.call(request.path, request.body or b"", timeout_s=timeout_s or self._timeout_s)
            except RateLimited as e:
                if len(self.nodes.nodes) == 1:  # else that node rests, and the next one is asked
                    self._limiter.penalise(e.retry_after_s)
                raise
        limit = timeout_s or self._timeout_s
        sent_ns = self._runtime.clock.time_ns()
        failed: VenueError
        cause: BaseException | None = None
        try:
            async with self.session.request(
                request.method,
                URL(self._base + request.path + ("?" + urlencode(request.query) if request.query else ""), encoded=True),
                data=request.body,
                headers={**self._headers, **request.headers},
                timeout=aiohttp.ClientTimeout(total=limit, sock_connect=min(limit, 5.0)),
                proxy=self._proxy,
                allow_redirects=False,
            ) as response:
                if (response.content_length or 0) > MAX_BODY_BYTES:
                    raise DecodeError(f"answer of {response.content_length} bytes is too large", venue=self.spec.name)
                body = await response.content.read(MAX_BODY_BYTES + 1)
                while not response.content.at_eof():
                    if len(body) > MAX_BODY_BYTES:
                        raise DecodeError(f"answer is larger than {MAX_BODY_BYTES} bytes", venue=self.spec.name)
                    body += await response.content.read(MAX_BODY_BYTES + 1 - len(body))
                status, headers = response.status, response.headers
        except aiohttp.ClientConnectorError as e:
            failed, cause = self._not_connected(f"cannot connect to {self._base}: {e.strerror or type(e).__name__}"), bare(e.os_error)
        except aiohttp.ClientHttpProxyError as e:  # it did not let us through, so nothing reached the venue
            failed = self._not_connected(f"the proxy does not connect to {self._base}: HTTP {e.status}")
        except aiohttp.ConnectionTimeoutError:
            failed = self._not_connected(f"cannot connect to {self._base}: timed out")
        except TimeoutError:
            failed = RequestTimeout(f"{request.method} {request.path}: no answer in {limit:g} s", venue=self.spec.name)
        except aiohttp.ClientError as e:
            failed = Disconnected(f"{request.method} {request.path}: {type(e).__name__}", venue=self.spec.name)
        else:
            self._venue_time.observe_headers(headers, sent_ns, self._runtime.clock.time_ns())
            self._observe_usage(headers)
            self.raise_for_error(status, body, headers)
            return body
        raise failed from cause  # out here it does not keep the library's error, which holds headers and the proxy's address

    def _not_connected(self, why: str) -> VenueError:
        return ConnectFailed(why, venue=self.spec.name)

    def _observe_usage(self, headers: Mapping[str, str]) -> None:
        """Others may draw on our pools: the venue's own count is the true one."""
        for header, pool in self.spec.usage_headers.items():
            if (used := headers.get(header, "")).isdecimal():
                self._limiter.observe(pool, used=float(used))

    def raise_for_error(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        """Raise what the answer says went wrong; a limit also slows every user of its pools."""
        try:
            found = self.spec.read_error(status, body)
        except (msgspec.DecodeError, ValueError, KeyError, TypeError, RecursionError) as e:
            found = None
            if status < 400:
                raise DecodeError(f"answer does not fit the protocol: {e}", venue=self.spec.name) from e
        if found is None and status < 400:
            return
        code, message = found or ("", body[:200].decode("utf-8", "replace"))
        error = classify(
            self.spec.errors,
            venue=self.spec.name,
            code=code,
            message=message,
            http_status=status,
            retry_after_s=_retry_after(headers, message, self._venue_time.now_ns() / NS_PER_S, self.spec.retry_after_unit_s),
        )
        if isinstance(error, RateLimited):
            self._limiter.penalise(error.retry_after_s)
        elif isinstance(error, NonceError):
            self._venue_time.doubted = True
        raise error

    def decode(self, endpoint: Endpoint, body: bytes) -> Any:
        """`body` as the endpoint's response type.

        Raises:
            DecodeError: it does not fit.
            ApiError: the endpoint reads it as the venue's refusal.
        """
        if endpoint.method == "GRPC":
            return self._decode_grpc(endpoint, body)
        if endpoint.response is bytes:
            return body
        decoder = self._decoders.get(id(endpoint))
        if decoder is None:
            decoder = self._decoders[id(endpoint)] = msgspec.json.Decoder(endpoint.response, strict=False)
        try:
            return decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
            raise DecodeError(f"{endpoint.path}: {e}", venue=self.spec.name) from e

    def _decode_grpc(self, endpoint: Endpoint, body: bytes) -> Any:
        try:
            answer = endpoint.response(body)
            found = endpoint.refusal(answer) if endpoint.refusal is not None else None
        except (DecodeError, ValueError) as e:
            raise DecodeError(f"{endpoint.path}: {e}", venue=self.spec.name) from e
        if found is not None:
            error = classify(self.spec.errors, venue=self.spec.name, code=found[0], message=found[1])
            if found[0] in self.spec.errors and error.outcome is Outcome.UNKNOWN:
                error.outcome = Outcome.NOT_SENT  # a limit or an overload, about this very message: nothing was done, it may go again
            raise error
        return answer


def _retry_after(headers: Mapping[str, str], message: str, now_s: float, unit_s: float) -> float | None:
    """Seconds to wait, at most `MAX_RETRY_AFTER_S`, from a number, an HTTP date or "banned until 1573..." (ms); None without any."""
    value = headers.get("Retry-After", "").strip()
    if not value and (ban := _BANNED_UNTIL.search(message)):
        return min(max(0.0, int(ban[1]) / 1000 - now_s), MAX_RETRY_AFTER_S)
    try:
        seconds = float(value) * unit_s if value[:1].isdecimal() else parsedate_to_datetime(value).timestamp() - now_s
    except (TypeError, ValueError, OverflowError):
        return None
    return min(seconds, MAX_RETRY_AFTER_S) if seconds >= 0 else None


class Raw:
    """`client.raw.<endpoint>(**arguments)`: every documented read by its venue name, typed as the spec says."""

    def __init__(self, rest: RestTransport) -> None:
        self._rest = rest

    def __getattr__(self, name: str) -> Any:
        self._rest.endpoint(name)

        async def call(**arguments: Any) -> Any:
            return await self._rest.query(name, **arguments)

        return call

    def __dir__(self) -> list[str]:
        return sorted(name for name, endpoint in self._rest.spec.endpoints.items() if not endpoint.command)
