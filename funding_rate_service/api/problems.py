"""Errors of the API: RFC 9457, in words for the caller, nothing internal in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

import msgspec
from fastapi import Response

from funding_rate_service.api.shapes import Problem as Shape

CONTRADICTION = "the question contradicts itself, the clock, or what a pair is"
"""Title of a 422 whose parameters fit one by one."""
MEDIA_TYPE = "application/problem+json"


class Problem(Exception):
    """An answer that is an error."""

    def __init__(
        self, status: int, title: str, detail: str = "", *, headers: Mapping[str, str] | None = None, problems: Sequence[str] = ()
    ) -> None:
        super().__init__(title)
        self.status, self.headers = status, dict(headers or {})
        self.shape = Shape(type="about:blank", title=title, status=status, detail=detail, problems=list(problems))

    def response(self) -> Response:
        """As an answer that nobody may keep."""
        return Response(
            msgspec.json.encode(self.shape),
            self.status,
            {"Cache-Control": "no-store", **self.headers},
            media_type=MEDIA_TYPE,
        )


def contradiction(why: str) -> Problem:
    """422: each parameter is fine, together they are not."""
    return Problem(422, CONTRADICTION, why)


def missing(what: str, name: str, known: Iterable[str]) -> Problem:
    """404 with the nearest name, or with all there are when they are few."""
    there = sorted(known)
    near = get_close_matches(name, there, n=1)
    if near:
        hint = f"did you mean {near[0]!r}?"
    else:
        hint = f"there are: {', '.join(there)}" if 0 < len(there) <= 20 else "nothing is stored of it" if not there else ""
    return Problem(404, f"no such {what}", hint)


def busy(what: str, wait_s: float) -> Problem:
    """503: try again later."""
    return Problem(503, what, headers={"Retry-After": str(int(wait_s) + 1)})
