"""A bot in a process of its own that opens a pair whose hedge never arrives, and waits to be killed.

python -m tests.risk.killed_bot '{"folder": ..., "venues": {...}}'
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from database.connect import sqlite_url
from database.journal import Journal
from exchange_clients import venues
from exchange_clients.base_client import BaseExchangeClient
from exchange_clients.signing import Credentials
from exchange_clients.transport.runtime import Runtime
from strategies.execution.engine import ExecutionEngine
from strategies.execution.journaling import AsyncJournal
from strategies.risk import RiskEngine, RiskLimits
from tests.strategies.stack import Stack, Story


async def main(task: dict[str, Any]) -> None:
    folder = Path(task["folder"])
    clients: dict[str, BaseExchangeClient] = {}
    for name, given in task["venues"].items():
        offered = venues.get(name)
        config = {"endpoints": given["endpoints"], "state_directory": folder / "ids"}
        clients[name] = offered.client(config, Credentials.from_env(offered.spec, environ=given["environ"]))
        await clients[name].connect()
    runtime = Runtime.system()
    journal = Journal.open(sqlite_url(folder / "journal.db"))
    risk = RiskEngine(
        RiskLimits(max_order_usd=None, max_loop_lag_s=5, max_clock_skew_s=5),
        clients,
        runtime,
        strategy="test",
        account="main",
        journal=AsyncJournal(journal, runtime.offload, Story()),
        folder=folder,
    )
    story = Story(hook=lambda event, pair_id, facts: stop_before_the_hedge(event, facts))
    engine = ExecutionEngine(journal, clients, runtime, strategy="test", account="main", observer=story, guard=risk)
    risk.attach(engine=engine)
    await risk.start()
    await engine.start()
    bot = Stack(runtime, folder, {}, Story(), clients, journal, engine)
    await bot.open(hedge_deadline_s=3_600.0)


def stop_before_the_hedge(event: str, facts: dict[str, object]) -> None:
    """Waits for the signal that kills, with the loop stopped: as a process that hangs."""
    if event == "order.send" and facts["purpose"] == "hedge":
        import time

        time.sleep(600)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
