"""The real service with its page, in a thread of its own: a seeded board and store, served on loopback."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from database.database import Database
from database.funding_store import FundingStore
from exchange_clients.model import InstrumentId
from exchange_clients.transport.offload import ThreadOffload
from exchange_clients.transport.runtime import Runtime
from funding_rate_service.api.access import ServeConfig
from funding_rate_service.api.server import serving
from funding_rate_service.board import Board
from funding_rate_service.collector import Collector, Depths
from funding_rate_service.config import ServiceConfig
from funding_rate_service.opportunity import FundingQuote
from funding_rate_service.opportunity.ranker import Ranker
from funding_rate_service.service import PositionsProvider, Service
from tests.web.market import HOSTILE, VENUES, Market, markets, quote, samples, settled

T = TypeVar("T")
CLOSED = "http://127.0.0.1:9"
"""Nobody listens on the discard port: the one venue that is really asked refuses the connection."""
ASKED = "lighter"
WAIT_S = 30.0
SEED = 11


class Scene:
    """Use as `with Scene(...) as scene`; `stop` and `start` again serve the same address, as a service that is restarted."""

    def __init__(
        self,
        folder: Path,
        *,
        venues: Sequence[str] = tuple(VENUES),
        symbols: int = 46,
        days: int = 7,
        told: int = 12,
        positions: PositionsProvider | None = None,
        port: int = 0,
    ) -> None:
        """`told`: so many symbols have a past in the store."""
        self.folder, self.positions, self.port = folder, positions, port
        self.rng = random.Random(SEED)
        self.markets = markets(self.rng, venues, symbols)
        hostile = Market(InstrumentId(HOSTILE, "USDC", "hyperliquid"), 1, 0.00021, "0.00045", 1.5, 2e7)
        self.markets += [hostile, replace(hostile, instrument=InstrumentId(HOSTILE, "USDT", "okx"), interval=8, hourly=-0.0001)]
        self.days, self.told, self.names = days, told, [name for name in venues if name != ASKED]
        self.url = ""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._service: Service | None = None
        self._filled = False

    def __enter__(self) -> Scene:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def service(self) -> Service:
        """The one that runs."""
        assert self._service is not None, "the scene is stopped"
        return self._service

    def start(self) -> None:
        """Serve, unless it does already; returns when the page can be asked for."""
        if self._loop is not None:
            return
        up = threading.Event()
        failed: list[BaseException] = []

        def run() -> None:
            try:
                asyncio.run(self._serve(up))
            except BaseException as e:  # told to the test, which waits
                failed.append(e)
                up.set()

        self._thread = threading.Thread(target=run, name="scene", daemon=True)
        self._thread.start()
        assert up.wait(WAIT_S), "the scene did not start"
        if failed:
            raise failed[0]

    def stop(self) -> None:
        """End the service and its sockets."""
        if self._loop is None or self._thread is None:
            return
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive(), "the scene did not end"
        self._loop = self._thread = self._service = None

    def call(self, fn: Callable[[], T]) -> T:
        """Run on the service's loop, which owns the board."""
        assert self._loop is not None, "the scene is stopped"

        async def run() -> T:
            return fn()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(WAIT_S)

    def put(self, *changed: FundingQuote) -> None:
        """As if the venues had answered this."""

        def answer() -> None:
            for one in changed:
                self.service.board.put(one.instrument.venue, [one], self.service.now_ns(), latency_ms=70)

        self.call(answer)

    def move(self, share: float, *, venues: Sequence[str] | None = None) -> None:
        """A round of collection in which that share of the markets has a new rate."""

        def round() -> None:
            now_ns = self.service.now_ns()
            for venue in venues or self.names:
                of_venue = [m for m in self.markets if m.instrument.venue == venue and self.rng.random() < share]
                self.service.board.put(venue, [quote(m, self.rng, now_ns) for m in of_venue], now_ns, latency_ms=self.rng.randint(40, 420))

        self.call(round)

    def fail(self, venue: str, error: str) -> None:
        """A round that brought nothing."""
        self.call(lambda: self.service.board.fail(venue, error, self.service.now_ns()))

    def held(self, venue: str, symbol: str) -> FundingQuote:
        """What the board has of a market."""

        def found() -> FundingQuote:
            quotes = self.service.board.quotes(fresh_only=False)
            return next(q for q in quotes if q.instrument.venue == venue and q.instrument.base == symbol)

        return self.call(found)

    async def _serve(self, up: threading.Event) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        runtime = Runtime.system()
        database = Database.open(f"sqlite:///{self.folder / 'scene.db'}")
        reads = ThreadOffload(workers=2, name="scene-reads")
        try:
            config = ServiceConfig.parse({"venues": {ASKED: {"endpoints": {"rest": CLOSED}, "backfill_days": 0}}, "request_timeout_s": 1.0})
            store = FundingStore(database)
            board = Board(runtime.clock, config.limits(), [*self.names, ASKED])
            if not self._filled:
                self._fill(store, runtime.clock.time_ns())
                self._filled = True
            self._seed(board, runtime.clock.time_ns())
            rng = random.Random(SEED)
            collector = Collector(config, runtime, board, store, rng)
            depths = Depths(collector.adapter, runtime.clock)
            service = Service(
                config, runtime, database, board=board, ranker=Ranker(), collector=collector, depths=depths, rng=rng, version="0.1.0",
                reads=reads, positions=self.positions,
            )  # fmt: skip
            async with service, serving(service, ServeConfig(port=self.port)) as here:
                self._service, self.url, self.port = service, here.url, int(here.url.rpartition(":")[2])
                up.set()
                await self._end.wait()
            await depths.close()
        finally:
            reads.close()
            runtime.offload.close()
            database.close()

    def _seed(self, board: Board, now_ns: int) -> None:
        for venue in self.names:
            quotes = [quote(m, self.rng, now_ns) for m in self.markets if m.instrument.venue == venue]
            board.put(venue, quotes, now_ns, latency_ms=self.rng.randint(40, 420))

    def _fill(self, store: FundingStore, now_ns: int) -> None:
        symbols: dict[str, Any] = dict.fromkeys(m.instrument.base for m in self.markets)
        told = set(list(symbols)[: self.told])
        known = [one for one in self.markets if one.instrument.base in told]
        store.add_settled([row for one in known for row in settled(one, self.rng, now_ns, self.days)])
        store.add_samples([row for one in known for row in samples(one, self.rng, now_ns, 24, 10) if row.venue != ASKED])
        store.roll_up(now_ns)
