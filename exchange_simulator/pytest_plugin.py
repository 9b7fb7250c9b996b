"""Fixtures for tests against simulated venues, for this project and for any other that installs it.

`simulated_venue`   a function that serves a registered dialect over loopback sockets: `venue = await simulated_venue("lighter")`
`<name>_server`     one such venue with BTC and ETH, for every registered dialect: `lighter_server`, ...
`simulate`          runs a coroutine function on virtual time with an in-memory network: `simulate(main, seed=7)`

The first two need pytest-asyncio. Nothing heavy is imported before a fixture is used.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

from exchange_simulator import dialects

if TYPE_CHECKING:
    from exchange_simulator.ready import ReadyVenue

MakeVenue = Callable[..., Awaitable["ReadyVenue"]]


@pytest.fixture
def simulate() -> Callable[..., Any]:
    """`exchange_simulator.simloop.run`."""
    from exchange_simulator.simloop import run

    return run


async def _venues() -> AsyncIterator[MakeVenue]:
    from exchange_clients.transport.runtime import Runtime
    from exchange_simulator.ready import ready_venue

    runtime = Runtime.system()
    async with AsyncExitStack() as stack:

        async def make(name: str, **options: Any) -> ReadyVenue:
            """`options` as for `ready_venue`."""
            return await stack.enter_async_context(ready_venue(dialects.get(name), runtime, **options))

        yield make
    runtime.offload.close()


def _server(name: str) -> Callable[..., AsyncIterator[ReadyVenue]]:
    async def server() -> AsyncIterator[ReadyVenue]:
        from exchange_clients.transport.runtime import Runtime
        from exchange_simulator.ready import ready_venue

        runtime = Runtime.system()
        async with ready_venue(dialects.get(name), runtime) as venue:
            yield venue
        runtime.offload.close()

    server.__doc__ = f"A simulated {name} with BTC and ETH, still books and a funded account."
    return server


if find_spec("pytest_asyncio") is not None:
    from pytest_asyncio import fixture as _async_fixture

    simulated_venue = _async_fixture(_venues, name="simulated_venue")
    for _name in dialects.names():
        globals()[f"{_name}_server"] = _async_fixture(_server(_name), name=f"{_name}_server")
