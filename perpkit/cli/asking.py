"""Asking a running `perpkit serve`: its answer, or a failure that says what to do."""

from collections.abc import Mapping
from typing import Any

import msgspec

from perpkit.cli.failure import UNAVAILABLE, USAGE, Failure

ASK_S = 20.0
API = "/api/v1"
START = "start it with perpkit serve, or give its address: --service http://127.0.0.1:8786"


def address(url: str) -> str:
    """What was given with --service."""
    if not url.startswith(("http://", "https://")):
        raise Failure(f"--service {url!r} is no address", hint="write --service http://127.0.0.1:8786")
    return url.rstrip("/")


async def ask_service(url: str, path: str, query: Mapping[str, str] | None = None, *, may_miss: bool = False) -> bytes | None:
    """The body of an answer; None where it has no such thing and that is expected.

    Raises:
        Failure: it cannot be reached, or refuses.
    """
    import aiohttp

    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ASK_S)) as http,
            http.get(url + API + path, params=query) as reply,
        ):
            body, status = await reply.read(), reply.status
    except (aiohttp.ClientError, TimeoutError, OSError) as e:
        words = f"no answer in {ASK_S:g} s" if isinstance(e, TimeoutError) else "cannot connect"
        raise Failure(f"the service at {url} does not answer: {words}", hint=START, code=UNAVAILABLE, kind="unreachable") from e
    if status == 404 and may_miss:
        return None
    if status != 200:
        words = f"the service at {url} says {status}: {_problem(body)}"
        raise Failure(words, kind="refused", code=UNAVAILABLE if status >= 500 else USAGE)
    return body


def _problem(body: bytes) -> str:
    """What a problem+json says."""
    try:
        told = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError:
        return "nothing that can be read"
    return str(told.get("detail") or told.get("title") or "no reason")
