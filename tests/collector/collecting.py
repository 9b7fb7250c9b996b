"""A collector process: `collecting.py DATABASE {json of ServiceConfig}`. A line on stdout for every round that is committed."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections.abc import Sequence

from database.database import Database
from database.funding_store import FundingStore
from database.market_data import Collection, RateSample
from exchange_clients.transport.runtime import Runtime
from funding_rate_service.board import Board
from funding_rate_service.collector import Collector
from funding_rate_service.config import ServiceConfig


class Told(FundingStore):
    """Says what was committed, after it was."""

    def record_collection(self, collection: Collection, samples: Sequence[RateSample]) -> int:
        new = super().record_collection(collection, samples)
        os.write(1, f"{collection.venue} {collection.started_at} {len(samples)}\n".encode())
        return new


async def main() -> None:
    runtime = Runtime.system()
    config = ServiceConfig.parse(json.loads(sys.argv[2]))
    store = Told(Database.open(sys.argv[1]))
    board = Board(runtime.clock, config.limits(), config.names)
    collector = Collector(config, runtime, board, store, random.Random(os.getpid()))
    os.write(1, f"restored {await collector.restore()} 0\n".encode())
    await collector.run()


if __name__ == "__main__":
    asyncio.run(main())
