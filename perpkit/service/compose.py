"""Store, board, collector, ranking, depths and HTTP as one service."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from database.database import Database
from database.funding_store import FundingStore
from exchange_clients.transport.offload import Offload, ThreadOffload
from exchange_clients.transport.runtime import Runtime
from funding_rate_service.board import Board
from funding_rate_service.collector import Collector, Depths
from funding_rate_service.config import ServiceConfig
from funding_rate_service.opportunity.ranker import Ranker
from funding_rate_service.service import PositionsProvider, Service
from perpkit import __version__
from perpkit.service.follow import Follower

READERS = 4
FOLLOW_S = 5.0

MakePositions = Callable[[Board, Offload], PositionsProvider]


@asynccontextmanager
async def composed(
    config: ServiceConfig,
    runtime: Runtime,
    database: Database,
    *,
    collect: bool = True,
    positions: MakePositions | None = None,
    rng: random.Random | None = None,
) -> AsyncIterator[Service]:
    """The service, running until the block ends.

    Without `collect` nothing is asked of any venue, and nothing is written: the rates are those that another service puts into
    the database.
    """
    rng = rng or random.Random()  # noqa: S311 - spreads requests in time
    board = Board(runtime.clock, config.limits(), venues=config.names)
    store, reads = FundingStore(database), ThreadOffload(workers=READERS, name="perpkit-reads")
    collector = Collector(config, runtime, board, store, rng) if collect else None
    depths = Depths(collector.adapter, runtime.clock) if collector is not None else None
    try:
        service = Service(
            config,
            runtime,
            database,
            board=board,
            ranker=Ranker(),
            collector=collector,
            depths=depths,
            rng=rng,
            version=__version__,
            reads=reads,
            positions=positions(board, reads) if positions is not None else None,
        )
        if not collect:
            service.tasks.every("follow", min(FOLLOW_S, config.interval_s / 2), Follower(config, store, board, reads).look)
        async with service:
            yield service
    finally:
        if depths is not None:
            await depths.close()
        reads.close()
