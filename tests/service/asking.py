"""Asking a running service over a real socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from database import apikeys
from database.apikeys import Scope
from exchange_clients.transport.offload import ThreadOffload
from exchange_clients.transport.runtime import Runtime
from funding_rate_service.api import shapes
from funding_rate_service.api.access import ServeConfig
from funding_rate_service.api.server import serving
from funding_rate_service.service import Service
from tests.service import scene


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def as_(self, shape: type[Any]) -> Any:
        """Checked against the documented shape, no field more."""
        exact = msgspec.json.decode(self.body, type=shape)
        assert json.loads(msgspec.json.encode(exact)) == self.json
        return exact

    def problem(self) -> shapes.Problem:
        """An error as it must be."""
        assert self.headers["Content-Type"] == "application/problem+json"
        found = msgspec.json.decode(self.body, type=shapes.Problem)
        assert found.status == self.status
        assert found.title
        return found


@dataclass
class Asking:
    """A service, and a caller."""

    service: Service
    url: str
    http: aiohttp.ClientSession
    runtime: Runtime

    async def __call__(self, path: str, method: str = "GET", *, body: bytes | None = None, **headers: str) -> Answer:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.http.request(method, self.url + path, data=body, headers=sent, skip_auto_headers=("Accept-Encoding",)) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    def key(self, *scopes: Scope, name: str = "ops") -> str:
        """A new key, as the header has it."""
        shown, record = apikeys.create(name, scopes, self.runtime.clock.time_ns())
        self.service.keys.add(record)
        return f"Bearer {shown}"

    def stream(self, topics: str = "", **more: Any) -> Any:
        return self.http.ws_connect(f"{self.url}/api/v1/stream{topics}", **more)


@asynccontextmanager
async def asking(folder: Path, *, serve: dict[str, Any] | None = None, local_key: str | None = None, **more: Any) -> AsyncIterator[Asking]:
    """A service on a port of its own."""
    runtime = Runtime.system()
    reads = ThreadOffload(workers=2, name="reads")
    try:
        async with (
            scene.service(runtime, folder, reads=reads, **more) as service,
            serving(service, ServeConfig(port=0, **(serve or {})), local_key=local_key) as where,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False) as http,
        ):
            yield Asking(service, where.url, http, runtime)
    finally:
        reads.close()
        runtime.offload.close()


def play(folder: Path, main: Callable[[Asking], Awaitable[None]], **more: Any) -> None:
    async def go() -> None:
        async with asking(folder, **more) as ask:
            await main(ask)

    asyncio.run(go())
