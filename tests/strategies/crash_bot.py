"""A bot in a process of its own: recovers what is open, then (when it lives to be killed) opens and closes pairs until its end comes.

    python -m tests.strategies.crash_bot '{"folder": ..., "lives": true, "kill_at": 9 or null, "venues": {...}}'

`kill_at`: the step of the journal at which it kills itself; null: somebody else does. Without `lives` it prints the states of all pairs as
its last line and ends.
"""

import asyncio
import json
import os
import signal
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
from tests.strategies.stack import Stack, Story

ALIVE = b"alive"


class Reaper:
    """Counts steps of the journal; at the wanted one this process is killed by the operating system."""

    def __init__(self, at: int | None) -> None:
        self.left = at

    def __call__(self, event: str, pair_id: str, facts: dict[str, object]) -> None:
        if self.left is None or not event.startswith("journal."):
            return
        self.left -= 1
        if self.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)


async def main(task: dict[str, Any]) -> dict[str, str]:
    folder = Path(task["folder"])
    clients: dict[str, BaseExchangeClient] = {}
    for name, given in task["venues"].items():
        offered = venues.get(name)
        config = {"endpoints": given["endpoints"], "state_directory": folder / "ids"}
        clients[name] = offered.client(config, Credentials.from_env(offered.spec, environ=given["environ"]))
        await clients[name].connect()
    runtime = Runtime.system()
    journal = Journal.open(sqlite_url(folder / "journal.db"))
    engine = ExecutionEngine(journal, clients, runtime, strategy="test", account="main", observer=Story(hook=Reaper(task["kill_at"])))
    await engine.start()
    if task["lives"]:
        print(ALIVE.decode(), flush=True)
        bot = Stack(runtime, folder, {}, Story(), clients, journal, engine)
        while True:
            record = await bot.open(slice_="0.005")
            await bot.close(record.pair_id)
    async with asyncio.timeout(30):
        await asyncio.gather(*(runner.until_rest() for runner in engine.pairs.values()))
    states = {pair.pair_id: pair.state.value for pair in journal.pairs()}
    await engine.stop()
    for client in clients.values():
        await client.disconnect()
    journal.close()
    runtime.offload.close()
    return states


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(json.loads(sys.argv[1])))))
