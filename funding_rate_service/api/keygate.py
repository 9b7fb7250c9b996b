"""Keys of callers who change something: looked up anew each time, compared in constant time, counted, and written down before they act."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable

from fastapi import Request
from fastapi.security import HTTPBearer

from database import apikeys
from database.apikeys import ApiKey, KeyTable, Scope
from database.records import AuditRecord
from exchange_clients.transport.runtime import Runtime
from funding_rate_service.api.access import FAILED_PER_MINUTE, Rates
from funding_rate_service.api.problems import Problem

log = logging.getLogger("funding_rate_service.api")

MAX_KEY = 256
scheme = HTTPBearer(auto_error=False, description="`perpkit keys add NAME --scope write --service` makes a key.")
"""For the OpenAPI document; the gate reads the header itself."""


class KeyGate:
    """Asks for a key that may write. `local`: a key of this process's life, for commands on this machine; None: there is none."""

    def __init__(self, keys: KeyTable, runtime: Runtime, *, writes_per_minute: int, local: str | None = None) -> None:
        self._keys, self._runtime, self._per_minute, self._local = keys, runtime, writes_per_minute, local
        self._rates = Rates(runtime.clock.monotonic)
        self._valid: set[str] = set()
        """Hashes of keys that were valid once: no more than there are keys."""

    async def caller(self, request: Request) -> str:
        """Who asks.

        Raises:
            Problem: 401 without a valid key, 403 with one that may only read, 429 beyond its rate.
        """
        scheme, _, shown = request.headers.get("authorization", "").partition(" ")
        shown = shown.strip()
        if not shown:
            raise Problem(
                401,
                "a key is needed",
                "Authorization: Bearer KEY; perpkit keys add NAME --scope write --service makes one",
                headers={"WWW-Authenticate": "Bearer"},
            )
        stranger = f"stranger {request.client.host if request.client else ''}"
        if not self._met(shown) and (wait_s := self._rates.wait_s(stranger, FAILED_PER_MINUTE)) is not None:
            raise _too_many(wait_s)  # before anything is looked up: a flood must not take the workers that the collection needs
        key = await self._find(shown) if scheme.lower() == "bearer" and len(shown) <= MAX_KEY else None
        if key is None:
            if (wait_s := self._rates.left_s(stranger, FAILED_PER_MINUTE)) is not None:
                raise _too_many(wait_s)
            log.warning("api.refused path=%s", request.url.path)
            raise Problem(401, "the key is not valid", headers={"WWW-Authenticate": "Bearer"})
        if not key.may(Scope.WRITE):
            raise Problem(403, "the key may only read")
        if (wait_s := self._rates.left_s(f"write {key.name}", self._per_minute)) is not None:
            raise _too_many(wait_s)
        return key.name

    async def audit(
        self, actor: str, action: str, detail: dict[str, object], new_id: Callable[[], str] = lambda: secrets.token_hex(16)
    ) -> None:
        """Write down what is about to be done; nothing is done that could not be written down.

        Raises:
            JournalError: it could not.
        """
        entry = AuditRecord(
            entry_id=new_id(), actor=actor, action=action, detail=json.dumps(detail, sort_keys=True), ts=self._runtime.clock.time_ns()
        )
        await self._runtime.offload.run(self._keys.audit, entry)

    async def _find(self, shown: str) -> ApiKey | None:
        if self._is_local(shown):
            return ApiKey("local", frozenset({Scope.WRITE}))
        found = apikeys.find(shown, await self._runtime.offload.run(self._keys.keys))
        if found is not None:
            self._valid.add(apikeys.digest(shown))
        return found

    def _is_local(self, shown: str) -> bool:
        return self._local is not None and secrets.compare_digest(apikeys.digest(shown), apikeys.digest(self._local))

    def _met(self, shown: str) -> bool:
        return self._is_local(shown) or apikeys.digest(shown) in self._valid


def _too_many(wait_s: float) -> Problem:
    return Problem(429, "too many requests", headers={"Retry-After": str(int(wait_s) + 1)})
