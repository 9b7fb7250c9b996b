"""A simulated venue in a thread of its own, so that commands run against it as they run against the world."""

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from exchange_clients import venues
from exchange_clients.transport.runtime import Runtime
from exchange_simulator.conformance.bench import Bench, set_up

T = TypeVar("T")


@dataclass(slots=True)
class Served:
    """A dialect on loopback. `call` runs a function on its loop: the exchange belongs to that thread."""

    bench: Bench
    loop: asyncio.AbstractEventLoop

    @property
    def options(self) -> list[str]:
        """How a command reaches it."""
        name, server = self.bench.spec.name, self.bench.server
        addresses = [server.rest, *(f"grpc://{address}" for address in server.endpoints.get("grpc", ()))]
        return ["--environment", self.bench.environment, *(part for url in addresses for part in ("--endpoint", f"{name}={url}"))]

    @property
    def variables(self) -> dict[str, str]:
        """The account's keys as a user would set them."""
        infix = "" if self.bench.environment == "mainnet" else f"_{self.bench.environment.upper()}"
        keys = self.bench.credentials()
        return {item.variable.format(env=infix): keys[item.name] for item in self.bench.spec.credentials if item.name in keys}

    def call(self, fn: Callable[[], T]) -> T:
        done: Future[T] = Future()

        def do() -> None:
            try:
                done.set_result(fn())
            except BaseException as e:
                done.set_exception(e)

        self.loop.call_soon_threadsafe(do)
        return done.result(timeout=10)

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on its loop to its end."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout=30)


@pytest.fixture
def keyless(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key of the developer's own reaches a test."""
    for name in list(os.environ):
        if any(name.startswith(venue.upper()) for venue in venues.names()):
            monkeypatch.delenv(name)


@contextmanager
def serve(name: str) -> Iterator[Served]:
    """A venue for the length of a test."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name=f"served-{name}")
    thread.start()

    try:
        bench = asyncio.run_coroutine_threadsafe(set_up(name, Runtime.system()), loop).result(timeout=10)
        try:
            yield Served(bench, loop)
        finally:
            asyncio.run_coroutine_threadsafe(bench.__aexit__(None, None, None), loop).result(timeout=10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=10)
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


@pytest.fixture(params=venues.names())
def venue(request: pytest.FixtureRequest, keyless: None) -> Iterator[Served]:
    """Each registered venue in turn."""
    with serve(request.param) as served:
        yield served


@pytest.fixture
def all_venues(keyless: None) -> Iterator[list[Served]]:
    """All registered venues at once."""
    with ExitStack() as stack:
        yield [stack.enter_context(serve(name)) for name in venues.names()]


@pytest.fixture
def settings(all_venues: list[Served], tmp_path: Path) -> list[str]:
    """Options that reach all venues, each in its own environment."""
    path = tmp_path / "venues.yaml"
    path.write_text("".join(f"{one.bench.spec.name}: {{environment: {one.bench.environment}}}\n" for one in all_venues), encoding="utf-8")
    return ["--config", str(path), *(part for one in all_venues for part in one.options[2:])]


@pytest.fixture
def keys(all_venues: list[Served], monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of somebody who trades on all of them."""
    for one in all_venues:
        for variable, value in one.variables.items():
            monkeypatch.setenv(variable, value)
