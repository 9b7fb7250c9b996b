"""What becomes of collected rounds while the database cannot be written: served from memory, kept bounded, written later in order."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

from database.database import Database
from database.funding_store import FundingStore
from database.market_data import Collection, Outcome, RateSample
from exchange_clients.model import NS_PER_S, RateKind
from exchange_simulator.simloop import Simulation
from funding_rate_service.board import Board
from funding_rate_service.collector import Collector, Writer
from funding_rate_service.collector.writer import Round
from tests.collector.scene import collecting, until, virtual
from tests.database.market_rows import collection, market, sample

ROWS = 2


def opened(path: Path) -> FundingStore:
    """Gives up on a lock at once: virtual time stands still while it waits."""
    return FundingStore(Database.open(f"sqlite:///{path}", busy_timeout_s=0.05))


def lock(path: Path) -> sqlite3.Connection:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    return other


def test_a_locked_database_costs_no_rate_and_loses_no_sample(tmp_path: Path) -> None:
    async def main(sim: Simulation) -> None:
        path = tmp_path / "p.db"
        store = opened(path)
        async with collecting(sim, store=store, names=("lighter", "dydx"), live=False) as scene:
            await asyncio.sleep(130)
            before = scene.collector.status().writer
            assert before.failing_since_ns is None
            assert before.waiting_samples == 0
            other = lock(path)
            await asyncio.sleep(300)
            during = scene.collector.status().writer
            assert during.failing_since_ns is not None
            assert "locked" in str(during.last_error)
            assert during.waiting_samples >= 2 * 4 * ROWS
            assert during.written_samples == before.written_samples
            assert scene.fresh() == {"lighter", "dydx"}, "rates are served from memory"
            assert all(scene.board.age_s(q) <= 61 for q in scene.board.quotes())
            other.execute("ROLLBACK")
            other.close()
            await until(lambda: not scene.collector.status().writer.waiting_rounds)
            after = scene.collector.status().writer
            assert after.failing_since_ns is None
            assert after.dropped_samples == 0
            for venue in ("lighter", "dydx"):
                rounds = scene.collector.status().venues[("lighter", "dydx").index(venue)].rounds
                for row in store.latest(venue):
                    times = [sample.observed_at for sample in store.samples(row.instrument, 0, 2**62)]
                    assert len(times) == rounds
                    assert times == sorted(times)
                    gaps = [(b - a) / NS_PER_S for a, b in pairwise(times)]
                    assert max(gaps) < 62, "the samples of the time it was locked are there"

    virtual(main)


def test_a_full_database_is_visible_and_waiting_rounds_are_bounded(tmp_path: Path) -> None:
    async def main(sim: Simulation) -> None:
        store = opened(tmp_path / "p.db")
        async with collecting(sim, store=store, names=("lighter",), live=False, samples_in_memory=20) as scene:
            await asyncio.sleep(70)
            with store._database.write() as connection:
                (pages,) = connection.exec_driver_sql("PRAGMA page_count").one()
                connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
            await until(lambda: scene.collector.status().writer.failing_since_ns is not None, 10)
            full = scene.collector.status().writer
            assert "full" in str(full.last_error)
            await asyncio.sleep(60 * 60)
            status = scene.collector.status().writer
            assert status.waiting_samples <= 20
            assert status.dropped_samples > 0
            assert status.written_samples + status.waiting_samples + status.dropped_samples == ROWS * (
                scene.collector.status().venues[0].rounds
            ), "every sample is written, waiting or counted as given up"
            assert scene.fresh() == {"lighter"}
            with store._database.write() as connection:
                connection.exec_driver_sql("PRAGMA max_page_count = 1073741823")
            await until(lambda: not scene.collector.status().writer.waiting_rounds)
            (instrument, *_) = (row.instrument for row in store.latest("lighter"))
            kept = [sample.observed_at for sample in store.samples(instrument, 0, 2**62)][-10:]
            assert max(b - a for a, b in pairwise(kept)) < 62 * NS_PER_S, "the oldest were given up, not the newest"
            (newest,) = {row.observed_at for row in store.latest("lighter")}
            assert newest == scene.health("lighter").last_ok_ns

    virtual(main)


def test_a_read_only_database_is_visible(tmp_path: Path) -> None:
    async def main(sim: Simulation) -> None:
        path = tmp_path / "p.db"
        opened(path)
        store = FundingStore(Database.open(f"sqlite:///{path}", read_only=True))
        async with collecting(sim, store=store, names=("lighter",), live=False) as scene:
            await asyncio.sleep(70)
            status = scene.collector.status().writer
            assert status.failing_since_ns is not None
            assert "reading" in str(status.last_error)
            assert scene.fresh() == {"lighter"}

    virtual(main)


def test_an_end_in_good_order_writes_what_waits(tmp_path: Path) -> None:
    async def main(sim: Simulation) -> None:
        path = tmp_path / "p.db"
        store = opened(path)
        async with collecting(sim, store=store, names=("lighter",), live=False) as scene:
            await asyncio.sleep(0.0)
            await until(lambda: bool(scene.board.quotes()), 0.001)
        assert store.latest("lighter")

    virtual(main)


def test_a_round_that_the_database_refuses_does_not_hold_up_the_others(tmp_path: Path) -> None:
    """A value that cannot be stored is a fault of ours: that round is given up, said so, and the next one is written."""

    async def main(sim: Simulation) -> None:
        store = opened(tmp_path / "p.db")
        writer = Writer(store, sim.runtime, random.Random(1), most_samples=1000)
        running = asyncio.create_task(writer.run())

        def sample(rate: Decimal) -> RateSample:
            return RateSample(
                venue="lighter",
                instrument="BTC-USDC-PERP.lighter",
                symbol="BTC",
                observed_at=sim.runtime.clock.time_ns(),
                rate=rate,
                interval_hours=Decimal(1),
                kind=RateKind.PREDICTED,
            )

        def collection(at_ns: int) -> Collection:
            return Collection(venue="lighter", started_at=at_ns, ended_at=at_ns, outcome=Outcome.OK, markets=1)

        writer.add(Round(collection(1), [sample(Decimal("NaN"))]))
        writer.add(Round(collection(2), [sample(Decimal("0.0001"))]))
        await asyncio.sleep(120)
        status = writer.status()
        assert status.written_rounds == 1
        assert status.dropped_rounds == 1
        assert [row.rate for row in store.latest()] == [Decimal("0.0001")]
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    virtual(main)


def test_a_market_that_cannot_be_kept_costs_no_other_venue_its_rates(tmp_path: Path) -> None:
    """Markets wait for the next round of any venue: one with an absurd figure is left out, alone."""

    async def main(sim: Simulation) -> None:
        store = opened(tmp_path / "p.db")
        writer = Writer(store, sim.runtime, random.Random(1), most_samples=1000)
        running = asyncio.create_task(writer.run())
        absurd = market("okx", "ODD", tick_size=Decimal("0." + "1" * 100))
        writer.add(Round(collection("okx", at=1), [sample("okx", at=1)]), [absurd, market("okx")])
        writer.add(Round(collection("dydx", at=2), [sample("dydx", at=2)]), [market("dydx")])
        await asyncio.sleep(60)
        status = writer.status()
        assert (status.written_rounds, status.dropped_rounds) == (2, 0), status.last_error
        assert {(m.venue, m.symbol, m.status) for m in store.markets()} == {("okx", "BTC", "active"), ("dydx", "BTC", "active")}
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    virtual(main)


def test_a_restart_fills_the_board_with_true_ages(tmp_path: Path) -> None:
    async def main(sim: Simulation) -> None:
        path = tmp_path / "p.db"
        async with collecting(sim, path, names=("lighter", "okx"), live=False) as scene:
            await asyncio.sleep(130)
            told = {q.instrument: q for q in scene.board.quotes()}
        await asyncio.sleep(40)
        store = opened(path)
        board = Board(sim.runtime.clock, scene.config.limits(), scene.config.names)
        collector = Collector(scene.config, sim.runtime, board, store, random.Random(2))
        assert await collector.restore() == len(told)
        for quote in board.quotes(fresh_only=False):
            before = told[quote.instrument]
            assert quote.observed_ns == before.observed_ns
            assert (quote.sample.raw_rate, quote.sample.interval_hours, quote.mark, quote.taker_fee) == (
                before.sample.raw_rate,
                before.sample.interval_hours,
                before.mark,
                before.taker_fee,
            )
            assert board.age_s(quote) == (sim.runtime.clock.time_ns() - before.observed_ns) / NS_PER_S
            assert board.is_fresh(quote)
        await asyncio.sleep(120)
        board.sweep()
        assert not board.quotes(), "an old rate does not become young by a restart"
        assert {health.state for health in board.venues().values()} == {"stale"}

    virtual(main)
