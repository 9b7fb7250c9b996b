"""The bot that runs on this machine, found by the file beside its journal and asked by its control API."""

import asyncio
import os
from pathlib import Path
from typing import Any

import msgspec

from perpkit.cli.failure import UNAVAILABLE, WRONG, Failure
from perpkit.cli.options import Store

CONTROL = ".control"
ASK_S = 15.0


class Running(msgspec.Struct, frozen=True):
    """Where it listens; `key` lives as long as the bot."""

    url: str
    key: str
    pid: int

    def __repr__(self) -> str:
        return f"Running({self.url})"


def find(place: Store) -> Running | None:
    """The bot that owns this journal, None when none runs with a control API; a killed one leaves its file behind."""
    if "://" in place.place:
        return None
    path = Path(place.place + CONTROL)
    try:
        bot = msgspec.json.decode(path.read_bytes(), type=Running)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError:
        raise Failure(f"{path} cannot be understood", hint="remove it when no bot runs") from None
    return bot if _alive(bot.pid) else None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def ask(bot: Running, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """One POST; its answer. What the bot refuses is a failure in its own words, 404 gives {}."""
    try:
        return asyncio.run(_ask(bot, path, body))
    except (OSError, TimeoutError) as e:
        hint = f"if no bot runs any more, remove the file beside the journal that ends in {CONTROL}"
        raise Failure(f"the bot at {bot.url} does not answer ({e})", hint=hint, code=UNAVAILABLE, kind="unreachable") from e


async def _ask(bot: Running, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
    import aiohttp

    headers = {"Authorization": f"Bearer {bot.key}"}
    # The certificate names a host of the user's own choosing; the address is this machine, the key proves who we are.
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ASK_S), headers=headers) as http,
        http.post(bot.url + path, json=body or {}, ssl=False) as answer,
    ):
        told: dict[str, Any] = await answer.json(content_type=None)
        if answer.status == 404:
            return {}
        if answer.status != 200:
            words = "; ".join([str(told.get("detail") or told.get("title")), *told.get("problems", ())])
            raise Failure(f"the bot refused: {words}", kind="refused", code=WRONG)
        return told
