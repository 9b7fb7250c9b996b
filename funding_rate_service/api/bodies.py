"""Encoded answers kept for a moment: one per state of the board and query, with its ETag, compressed at most once."""

from __future__ import annotations

import asyncio
import zlib
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable, Mapping

from fastapi import Request, Response
from starlette.datastructures import Headers
from starlette.types import Scope

LIFE_S = 2.0
SETTLE_S = 0.5
"""Changes of the board are taken up so often: a rate is collected each minute, and shown this much later at most."""
MOST = 2_048
MOST_BYTES = 64 * 1024 * 1024
SLOW_LIFE_S = 5.0
MOST_SLOW = 256
MOST_SLOW_BYTES = 32 * 1024 * 1024
COMPRESS_FROM = 1_400
"""Below that an answer fits into a packet anyway."""


class Body:
    """One answer, ready to be sent."""

    __slots__ = ("_gzip", "etag", "generation", "plain", "until")

    def __init__(self, plain: bytes, etag: str, generation: int, until: float) -> None:
        self.plain, self.etag, self.generation, self.until = plain, etag, generation, until
        self._gzip: bytes | None = None

    @property
    def size(self) -> int:
        """Bytes it may take: compressed it is kept beside itself, and never much larger."""
        return 2 * len(self.plain)

    def gzip(self) -> bytes:
        """Fast rather than small: it is done on the loop, once for all who ask."""
        if self._gzip is None:
            squeeze = zlib.compressobj(1, zlib.DEFLATED, 31)
            self._gzip = squeeze.compress(self.plain) + squeeze.flush()
        return self._gzip


class Bodies:
    """A bounded cache of answers, by what was asked.

    An answer is given out while the board is unchanged, and for `life_s` at most: what ages in it is that much older. Whole addresses are
    remembered with what they ask, so that asking again needs no routing and no checking of what was checked.
    """

    def __init__(self, monotonic: Callable[[], float], generation: Callable[[], int], boot: str, *, life_s: float = LIFE_S) -> None:
        self._monotonic, self._now, self._boot, self._life_s = monotonic, generation, boot, life_s
        self._kept: OrderedDict[Hashable, Body] = OrderedDict()
        self._asked: OrderedDict[tuple[str, bytes], tuple[Hashable, object]] = OrderedDict()
        """Address -> key of its answer, route: the answers themselves are held once."""
        self._bytes = self._made = 0
        self._generation, self._looked = -1, -SETTLE_S

    @property
    def generation(self) -> int:
        """Of the board, as last looked at."""
        now = self._monotonic()
        if now - self._looked >= SETTLE_S:
            self._generation, self._looked = self._now(), now
        return self._generation

    def get(self, key: Hashable, make: Callable[[], bytes]) -> Body:
        """The answer to a query, made now unless it is there."""
        kept = self._kept.get(key)
        if kept is not None and self._is_good(kept):
            self._kept.move_to_end(key)
            return kept
        self._made += 1
        body = Body(make(), f'"{self._boot}-{self._made}"', self.generation, self._monotonic() + self._life_s)
        self._bytes += body.size - (kept.size if kept is not None else 0)
        self._kept[key] = body
        self._kept.move_to_end(key)
        while len(self._kept) > MOST or (self._bytes > MOST_BYTES and self._kept):
            self._bytes -= self._kept.popitem(last=False)[1].size
        return body

    def answer(self, request: Request, key: Hashable, make: Callable[[], bytes]) -> Response:
        """The answer to a request, remembered for its address."""
        body, scope = self.get(key, make), request.scope
        address = (scope["path"], scope["query_string"])
        self._asked[address] = (key, scope.get("route"))
        self._asked.move_to_end(address)
        while len(self._asked) > MOST:
            self._asked.popitem(last=False)
        return send(request.headers, body)

    def again(self, scope: Scope) -> Response | None:
        """The answer to an address that was asked for and answered just now; the scope is told its route."""
        if scope["type"] != "http" or scope["method"] != "GET":
            return None
        found = self._asked.get((scope["path"], scope["query_string"]))
        body = None if found is None else self._kept.get(found[0])
        if found is None or body is None or not self._is_good(body):
            return None
        scope["route"] = found[1]
        return send(Headers(scope=scope), body)

    def _is_good(self, body: Body) -> bool:
        return body.generation == self.generation and self._monotonic() < body.until


class Slow:
    """Answers that take a while, each worked out once for all who ask meanwhile, and kept for `life_s`."""

    def __init__(self, monotonic: Callable[[], float], *, life_s: float = SLOW_LIFE_S) -> None:
        self._monotonic, self._life_s = monotonic, life_s
        self._kept: OrderedDict[Hashable, tuple[float, bytes]] = OrderedDict()
        self._working: dict[Hashable, asyncio.Task[bytes]] = {}
        self._bytes = 0

    async def get(self, key: Hashable, make: Callable[[], Coroutine[None, None, bytes]]) -> bytes:
        """The answer; an error is told to all who wait for it, and not kept."""
        kept = self._kept.get(key)
        if kept is not None and self._monotonic() < kept[0]:
            return kept[1]
        working = self._working.get(key)
        if working is None:
            working = self._working[key] = asyncio.create_task(self._work(key, make))
        return await asyncio.shield(working)

    async def _work(self, key: Hashable, make: Callable[[], Coroutine[None, None, bytes]]) -> bytes:
        try:
            answer = await make()
        finally:
            del self._working[key]
        self._bytes += len(answer) - len(self._kept.pop(key, (0.0, b""))[1])
        self._kept[key] = (self._monotonic() + self._life_s, answer)
        while len(self._kept) > MOST_SLOW or (self._bytes > MOST_SLOW_BYTES and self._kept):
            self._bytes -= len(self._kept.popitem(last=False)[1][1])
        return answer


def send(headers: Mapping[str, str], body: Body) -> Response:
    """The answer, compressed for those who take it; 304 for those who have it."""
    told = {"Cache-Control": "no-cache", "ETag": body.etag, "Vary": "Accept-Encoding"}
    known = headers.get("if-none-match")
    if known is not None and body.etag in (tag.strip().removeprefix("W/") for tag in known.split(",")):
        return Response(status_code=304, headers=told)
    content = body.plain
    if len(content) >= COMPRESS_FROM and takes_gzip(headers):
        content, told["Content-Encoding"] = body.gzip(), "gzip"
    return Response(content, headers=told, media_type="application/json")


def takes_gzip(headers: Mapping[str, str]) -> bool:
    """Whether the caller named gzip and did not refuse it."""
    for offer in headers.get("accept-encoding", "").split(","):
        coding, _, quality = offer.partition(";")
        if coding.strip() in ("gzip", "*"):
            return quality.strip().replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def once(content: bytes, *, status: int = 200) -> Response:
    """An answer that nobody keeps."""
    return Response(content, status, {"Cache-Control": "no-store"}, media_type="application/json")
