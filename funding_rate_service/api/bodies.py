"""Encoded answers kept for a moment: one per state of the board and query, with its ETag, compressed at most once."""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Callable, Hashable

from fastapi import Request, Response

LIFE_S = 2.0
MOST = 256
MOST_BYTES = 64 * 1024 * 1024
COMPRESS_FROM = 1_400
"""Below that an answer fits into a packet anyway."""


class Body:
    """One answer, ready to be sent."""

    __slots__ = ("_gzip", "etag", "plain")

    def __init__(self, plain: bytes, etag: str) -> None:
        self.plain, self.etag = plain, etag
        self._gzip: bytes | None = None

    def gzip(self) -> bytes:
        """Fast rather than small: it is done on the loop, once for all who ask."""
        if self._gzip is None:
            squeeze = zlib.compressobj(1, zlib.DEFLATED, 31)
            self._gzip = squeeze.compress(self.plain) + squeeze.flush()
        return self._gzip

    @property
    def size(self) -> int:
        """Bytes held."""
        return len(self.plain) + len(self._gzip or b"")


class Bodies:
    """A bounded cache of answers. `life_s`: how long one is given out while nothing changed: what ages in it is that much older."""

    def __init__(self, monotonic: Callable[[], float], boot: str, *, life_s: float = LIFE_S) -> None:
        self._monotonic, self._boot, self._life_s = monotonic, boot, life_s
        self._kept: OrderedDict[Hashable, tuple[int, float, Body]] = OrderedDict()
        self._made = 0

    def get(self, key: Hashable, generation: int, make: Callable[[], bytes]) -> Body:
        """The answer to a query at this state of the board, made now unless it is there."""
        now = self._monotonic()
        kept = self._kept.get(key)
        if kept is not None and kept[0] == generation and now - kept[1] < self._life_s:
            self._kept.move_to_end(key)
            return kept[2]
        self._made += 1
        body = Body(make(), f'"{self._boot}-{self._made}"')
        self._kept[key] = (generation, now, body)
        self._kept.move_to_end(key)
        while len(self._kept) > MOST or sum(b.size for _, _, b in self._kept.values()) > MOST_BYTES:
            self._kept.popitem(last=False)
        return body


def send(request: Request, body: Body) -> Response:
    """The answer, compressed for those who take it; 304 for those who have it."""
    headers = {"Cache-Control": "no-cache", "ETag": body.etag, "Vary": "Accept-Encoding"}
    known = request.headers.get("if-none-match")
    if known is not None and body.etag in (tag.strip().removeprefix("W/") for tag in known.split(",")):
        return Response(status_code=304, headers=headers)
    content = body.plain
    if len(content) >= COMPRESS_FROM and takes_gzip(request):
        content, headers["Content-Encoding"] = body.gzip(), "gzip"
    return Response(content, headers=headers, media_type="application/json")


def takes_gzip(request: Request) -> bool:
    """Whether the caller named gzip and did not refuse it."""
    for offer in request.headers.get("accept-encoding", "").split(","):
        coding, _, quality = offer.partition(";")
        if coding.strip() in ("gzip", "*"):
            return quality.strip().replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def once(content: bytes, *, status: int = 200) -> Response:
    """An answer that nobody keeps."""
    return Response(content, status, {"Cache-Control": "no-store"}, media_type="application/json")
