"""`perpkit serve --no-collect`: a board that follows the database of another service."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal as D
from pathlib import Path

import pytest

from database.connect import sqlite_url
from database.database import Database
from database.funding_store import FundingStore
from database.market_data import Collection, Market, Outcome, RateSample
from exchange_clients.model import NS_PER_S, InstrumentId, MarketStatus, RateKind
from exchange_clients.transport.clock import SystemClock
from exchange_clients.transport.offload import InlineOffload
from exchange_clients.transport.runtime import Runtime
from funding_rate_service.board import Board, VenueState
from funding_rate_service.config import ServiceConfig
from perpkit.service.compose import composed
from perpkit.service.follow import Follower

BTC = InstrumentId.parse("BTC-USDT-PERP.aster")
CONFIG = ServiceConfig.parse({"venues": ["aster", "lighter"]})


def round_of(at_ns: int, rate: str, outcome: Outcome = Outcome.OK) -> tuple[Collection, list[RateSample]]:
    samples = [
        RateSample(
            venue="aster",
            instrument=str(BTC),
            symbol="BTC",
            observed_at=at_ns,
            rate=D(rate),
            interval_hours=D(8),
            kind=RateKind.PREDICTED,
        )
    ]
    told = Collection(
        venue="aster", started_at=at_ns, ended_at=at_ns + 1, outcome=outcome, markets=1, error="" if outcome is Outcome.OK else "no answer"
    )
    return told, samples if outcome is Outcome.OK else []


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database.open(sqlite_url(tmp_path / "perpkit.db"))


def test_what_is_new_is_taken_once_with_its_age(database: Database) -> None:
    store, clock = FundingStore(database), SystemClock()
    board = Board(clock, CONFIG.limits(), venues=CONFIG.names)
    told: list[str] = []
    board.subscribe(lambda venue, changed: told.append(f"{venue} {len(changed)}"))
    follower = Follower(CONFIG, store, board, InlineOffload())
    now_ns = clock.time_ns()
    store.record_collection(*round_of(now_ns - 60 * NS_PER_S, "0.0001"))
    asyncio.run(follower.look())
    asyncio.run(follower.look())
    quote = board.quote(BTC)
    assert quote is not None
    assert quote.sample.raw_rate == D("0.0001")
    assert board.age_s(quote) >= 60
    assert told == ["aster 1"]
    store.record_collection(*round_of(now_ns, "0.0002"))
    store.record_collection(*round_of(now_ns + NS_PER_S, "0", Outcome.FAILED))
    asyncio.run(follower.look())
    newer = board.quote(BTC)
    assert newer is not None
    assert newer.sample.raw_rate == D("0.0002")
    health = board.venues()
    assert (health["aster"].last_error, health["aster"].consecutive_failures) == ("no answer", 1)
    assert health["lighter"].state is VenueState.WAITING
    database.close()


def test_old_rates_are_stale_from_the_first_look_and_ancient_ones_are_not_shown(database: Database) -> None:
    store, clock = FundingStore(database), SystemClock()
    store.put_markets([Market(venue="aster", instrument=str(BTC), symbol="BTC", status=MarketStatus.ACTIVE)], clock.time_ns())
    for age_s, shown in ((30 * 24 * 3600, 0), (3600, 1)):
        board = Board(clock, CONFIG.limits(), venues=CONFIG.names)
        store.record_collection(*round_of(clock.time_ns() - age_s * NS_PER_S, "0.0001"))
        asyncio.run(Follower(CONFIG, store, board, InlineOffload()).look())
        assert len(board.quotes(fresh_only=False)) == shown
        assert board.quotes(fresh_only=True) == ()
    database.close()


def test_a_reading_service_shows_it_and_writes_nothing(database: Database, tmp_path: Path) -> None:
    store = FundingStore(database)
    store.record_collection(*round_of(SystemClock().time_ns(), "0.0003"))
    reader = Database.open(sqlite_url(tmp_path / "perpkit.db"), read_only=True)

    async def shown() -> int:
        runtime = Runtime.system()
        try:
            async with composed(CONFIG, runtime, reader, collect=False) as service:
                await eventually(lambda: bool(service.board.quotes(fresh_only=False)))
                assert service.collector is None
                assert "follow" in service.tasks.names
                await asyncio.sleep(0.7)
                assert service.tasks.failing() == []
                return len(service.board.quotes(fresh_only=False))
        finally:
            runtime.offload.close()

    async def eventually(good: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not good():  # noqa: ASYNC110 - a task of its own
                await asyncio.sleep(0.05)

    assert asyncio.run(shown()) == 1
    assert len(store.collections()) == 1
    reader.close()
    database.close()
