"""Simulated venues in memory, a collector that asks them, a database in a file: all on virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from database.database import Database
from database.funding_store import FundingStore
from exchange_simulator import dialects
from exchange_simulator.conformance.bench import Hands
from exchange_simulator.ready import ReadyVenue, ready_venue
from exchange_simulator.simloop import Simulation, run
from funding_rate_service.board import Board, VenueHealth
from funding_rate_service.collector import Collector
from funding_rate_service.config import ServiceConfig

ALL = dialects.names()


def virtual(main: Callable[[Simulation], Coroutine[Any, Any, None]], seed: int = 5) -> None:
    """Run it on virtual time."""
    run(main, seed=seed)


async def until(true: Callable[[], bool], step_s: float = 0.5) -> None:
    """Let time pass until it is true."""
    while not true():  # noqa: ASYNC110 - what is waited for happens by time alone
        await asyncio.sleep(step_s)


@dataclass(slots=True)
class Scene:
    """`hands` disturb a venue's answers."""

    sim: Simulation
    venues: dict[str, ReadyVenue]
    hands: dict[str, Hands]
    board: Board
    store: FundingStore | None
    collector: Collector
    config: ServiceConfig

    def health(self, venue: str) -> VenueHealth:
        return self.board.venues()[venue]

    def fresh(self) -> set[str]:
        """Venues that have legs to offer."""
        return {quote.instrument.venue for quote in self.board.quotes()}


@asynccontextmanager
async def collecting(
    sim: Simulation,
    database: Path | None = None,
    names: Sequence[str] = ALL,
    *,
    bases: Sequence[str] = ("BTC", "ETH"),
    store: FundingStore | None = None,
    live: bool = True,
    **settings: Any,
) -> AsyncIterator[Scene]:
    """The collector runs until the block ends. `settings` go into the configuration of the service."""
    async with AsyncExitStack() as stack:
        hands = {name: Hands() for name in names}
        venues = {
            name: await stack.enter_async_context(
                ready_venue(dialects.get(name), sim.runtime, bases=bases, network=sim.network, live=live, faults=hands[name])
            )
            for name in names
        }
        own: dict[str, Any] = settings.pop("venues", {})
        given = {
            name: {"environment": venue.environment, "endpoints": venue.settings()["endpoints"], **own.get(name, {})}
            for name, venue in venues.items()
        }
        config = ServiceConfig.parse({"venues": given, "backfill_days": 0, **settings})
        if database is not None:
            store = FundingStore(stack.enter_context(Database.open(f"sqlite:///{database}")))
        board = Board(sim.runtime.clock, config.limits(), config.names)
        collector = Collector(config, sim.runtime, board, store, random.Random(1))
        running = asyncio.create_task(collector.run())
        try:
            yield Scene(sim, venues, hands, board, store, collector, config)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
