"""Settled history: all of it, once, gently, begun again where it ended; and order books on demand."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from database.market_data import Market, RateSample
from exchange_clients.model import NS_PER_HOUR, NS_PER_S, FundingRateSample, Instrument, InstrumentId, MarketStatus, RateKind
from exchange_simulator.core import types as core
from exchange_simulator.dialects.base import Received, RequestFault
from exchange_simulator.dialects.history import PastFunding
from exchange_simulator.simloop import Simulation
from funding_rate_service.collector import Depths
from funding_rate_service.collector.backfill import settled_rows
from tests.collector.scene import ALL, Scene, collecting, until, virtual

D = Decimal
DAYS = 5


def seed(scene: Scene, venue: str, base: str = "BTC", *, missing: range = range(0), last: int = 1) -> dict[int, Decimal]:
    """A past of the market's own interval, up to `last` intervals ago; what it holds: time -> rate."""
    ready = scene.venues[venue]
    spec = ready.exchange.markets[ready.markets[base].symbol].spec
    step, now = spec.funding_interval_ns, ready.now()
    times = [now // step * step - n * step for n in range(DAYS * 24 * NS_PER_HOUR // step, last - 1, -1)]
    rates = {at: D(n % 7 - 3) / 100_000 for n, at in enumerate(times) if n not in missing}
    rows = [PastFunding(at, core.to_fraction(rate), spec.to_ref(D(50_000)), step) for at, rate in rates.items()]
    ready.dialect.history.seed(spec.symbol, funding=rows)
    return rates


def asked_for_history(scene: Scene, venue: str) -> list[Received]:
    words = ("funding", "Funding")
    rows = [r for r in scene.venues[venue].dialect.received if any(w in r.path or w.encode() in r.body for w in words)]
    return [r for r in rows if "fundingInfo" not in r.path and "funding-rates" not in r.path and not r.path.endswith("/funding-rate")]


@pytest.mark.parametrize("venue", ALL)
def test_the_history_is_the_venues_own(tmp_path: Path, venue: str) -> None:
    """Row by row what the simulated venue charged, each with its interval."""

    async def main(sim: Simulation) -> None:
        async with collecting(sim, tmp_path / "p.db", names=(venue,), bases=("BTC",), live=False, backfill_days=DAYS) as scene:
            past = seed(scene, venue)
            step = Decimal(scene.venues[venue].markets["BTC"].funding_interval_ns) / NS_PER_HOUR
            status = scene.collector.status
            await until(lambda: status().backfill[0].done == 1)
            assert scene.store is not None
            (market,) = scene.store.markets()
            rows = scene.store.settled(market.instrument, 0, 2**62)
            begun = sim.runtime.clock.time_ns() - DAYS * 24 * NS_PER_HOUR
            wanted = {at // NS_PER_S: rate for at, rate in past.items() if at > begun}
            assert len(wanted) > 10
            found = {row.settled_at // NS_PER_S: row.rate for row in rows}
            assert wanted.items() <= found.items(), "all of it"
            assert found.items() <= {at // NS_PER_S: rate for at, rate in past.items()}.items(), "and nothing else"
            assert len(found) <= len(wanted) + 1
            assert {row.interval_hours for row in rows} == {step}
            assert status().backfill[0].gaps == 0
            assert scene.health(venue).consecutive_failures == 0

    virtual(main)


def test_it_goes_on_where_it_ended_and_asks_for_nothing_twice(tmp_path: Path) -> None:
    async def main(sim: Simulation) -> None:
        names = ("hyperliquid",)
        async with collecting(sim, tmp_path / "p.db", names=names, bases=("BTC",), live=False, backfill_days=DAYS) as scene:
            past = seed(scene, "hyperliquid")
            await until(lambda: scene.collector.status().backfill[0].rows > 0)
            written = scene.collector.status().backfill[0].rows
        async with collecting(sim, tmp_path / "p.db", names=names, bases=("BTC",), live=False, backfill_days=DAYS) as scene:
            seed(scene, "hyperliquid")
            await until(lambda: scene.collector.status().backfill[0].done == 1)
            again = scene.collector.status().backfill[0]
            assert written + again.rows <= len(past) + 1
            assert again.rows <= 2
            await asyncio.sleep(10 * 60)
            before = len(asked_for_history(scene, "hyperliquid"))
            await asyncio.sleep(30 * 60)
            assert len(asked_for_history(scene, "hyperliquid")) - before <= 1

    virtual(main)


def test_new_settlements_follow_hour_by_hour(tmp_path: Path) -> None:
    async def main(sim: Simulation) -> None:
        async with collecting(sim, tmp_path / "p.db", names=("lighter",), bases=("BTC",), live=False, backfill_days=1) as scene:
            seed(scene, "lighter", last=0)
            await asyncio.sleep(3600 + 20 * 60)
            assert scene.store is not None
            (market,) = scene.store.markets()
            times = [row.settled_at for row in scene.store.settled(market.instrument, 0, 2**62)]
            now_ns = sim.runtime.clock.time_ns()
            assert times[-1] == now_ns // NS_PER_HOUR * NS_PER_HOUR
            assert {b - a for a, b in pairwise(times)} == {NS_PER_HOUR}

    virtual(main)


def test_more_of_the_past_is_fetched_at_once_when_somebody_wants_it(tmp_path: Path) -> None:
    async def main(sim: Simulation) -> None:
        async with collecting(sim, tmp_path / "p.db", names=("hyperliquid",), bases=("BTC",), live=False, backfill_days=1) as scene:
            past = seed(scene, "hyperliquid")
            await until(lambda: scene.collector.status().backfill[0].done == 1)
            assert scene.store is not None
            (market,) = scene.store.markets()
            assert len(scene.store.settled(market.instrument, 0, 2**62)) <= 24
            assert scene.collector.backfill_now("lighter") == []
            assert scene.collector.backfill_now("hyperliquid", DAYS) == ["hyperliquid"]
            begun, wanted = sim.runtime.clock.time_ns(), len(past) - 2
            await until(lambda: scene.collector.status().backfill[0].rows >= wanted)
            assert sim.runtime.clock.time_ns() - begun < 10 * 60 * NS_PER_S  # not only with the next hour

    virtual(main)


def test_a_hole_in_the_history_is_told_and_not_filled(tmp_path: Path) -> None:
    async def main(sim: Simulation) -> None:
        async with collecting(sim, tmp_path / "p.db", names=("dydx",), bases=("BTC",), live=False, backfill_days=DAYS) as scene:
            past = seed(scene, "dydx", missing=range(20, 30))
            await until(lambda: scene.collector.status().backfill[0].done == 1)
            status = scene.collector.status().backfill[0]
            assert status.gaps == 1
            (gap,) = status.last_gaps
            assert gap.to_ns - gap.from_ns == 11 * NS_PER_HOUR
            assert scene.store is not None
            rows = scene.store.settled(gap.instrument, gap.from_ns + 1, gap.to_ns)
            assert rows == []
            assert len(past) == DAYS * 24 - 10

    virtual(main)


def test_a_hole_that_was_left_behind_is_filled(tmp_path: Path) -> None:
    """Older history is written oldest first: whoever was stopped in the middle of it left a hole before what was known already."""

    async def main(sim: Simulation) -> None:
        names = ("hyperliquid",)
        async with collecting(sim, tmp_path / "p.db", names=names, bases=("BTC",), live=False, backfill_days=DAYS) as scene:
            past = seed(scene, "hyperliquid")
            await until(lambda: scene.collector.status().backfill[0].done == 1)
            assert scene.store is not None
            (market,) = scene.store.markets()
            whole = scene.store.settled(market.instrument, 0, 2**62)
            lost = [row.settled_at for row in whole[20:50]]
            with scene.store._database.write() as connection:
                connection.exec_driver_sql("DELETE FROM funding_history WHERE settled_at BETWEEN ? AND ?", (lost[0], lost[-1]))
        async with collecting(sim, tmp_path / "p.db", names=names, bases=("BTC",), live=False, backfill_days=DAYS) as scene:
            seed(scene, "hyperliquid")
            await until(lambda: scene.collector.status().backfill[0].done == 1)
            assert scene.store is not None
            again = scene.store.settled(market.instrument, 0, 2**62)
            assert {row.settled_at for row in whole} <= {row.settled_at for row in again}
            assert len(past) >= len(whole)

    virtual(main)


def test_a_long_time_without_rows_is_passed(tmp_path: Path) -> None:
    """A market that is younger than the history wanted, at a venue of many small pages: empty ones are not asked for over and over."""

    async def main(sim: Simulation) -> None:
        settings: dict[str, Any] = {"backfill_days": DAYS, "backfill_pause_s": 5}
        async with collecting(sim, tmp_path / "p.db", names=("paradex",), bases=("BTC",), live=False, **settings) as scene:
            ready = scene.venues["paradex"]
            spec = ready.exchange.markets[ready.markets["BTC"].symbol].spec
            step, now = 10 * NS_PER_S, ready.now()
            rows = [
                PastFunding(at, core.to_fraction(D("0.0008")), spec.to_ref(D(50_000)), spec.funding_interval_ns)
                for at in range((now - 4 * NS_PER_HOUR) // step * step, now, step)
            ]
            ready.dialect.history.seed(spec.symbol, funding=rows)
            await asyncio.sleep(18 * 60)
            status = scene.collector.status().backfill[0]
            assert status.done == 1, f"{status.requests} requests brought {status.rows} rows"
            assert status.requests < 2 * DAYS * 24

    virtual(main)


def test_a_market_that_the_venue_lists_no_more_stops_no_other(tmp_path: Path) -> None:
    """It is on the board from the last life, and in no list of the venue's."""

    async def main(sim: Simulation) -> None:
        async with collecting(sim, tmp_path / "p.db", names=("hyperliquid",), bases=("BTC",), live=False, backfill_days=1) as scene:
            seed(scene, "hyperliquid")
            assert scene.store is not None
            gone: dict[str, Any] = {"venue": "hyperliquid", "instrument": "OLD-USDC-PERP.hyperliquid", "symbol": "OLD"}
            now_ns = sim.runtime.clock.time_ns()
            scene.store.put_markets([Market(**gone, status=MarketStatus.ACTIVE)], now_ns)
            sample = RateSample(**gone, observed_at=now_ns, rate=D("0.0001"), interval_hours=D(1), kind=RateKind.PREDICTED)
            scene.store.add_samples([sample])
            assert await scene.collector.restore() == 1
            await asyncio.sleep(5 * 60)
            status = scene.collector.status().backfill[0]
            assert (status.markets, status.done) == (1, 1), status.last_error

    virtual(main)


def test_trading_goes_first_and_a_limit_stops_it(tmp_path: Path) -> None:
    """While the venue's limits are in use by others not one request for history is sent."""

    async def main(sim: Simulation) -> None:
        async with collecting(sim, tmp_path / "p.db", names=("lighter",), bases=("BTC",), live=False, backfill_days=DAYS) as scene:
            seed(scene, "lighter")
            await asyncio.sleep(1)
            adapter = scene.collector.adapter("lighter")
            assert adapter is not None
            limiter = adapter.client.context.limiter
            for _ in range(300):
                limiter.observe("requests", used=30)
                await asyncio.sleep(1)
            assert [r for r in scene.venues["lighter"].dialect.received if r.path.endswith("/fundings")] == []
            assert scene.fresh() == {"lighter"}, "collection itself goes on"
            await until(lambda: scene.collector.status().backfill[0].done == 1)

    virtual(main)


def instrument() -> Instrument:
    id = InstrumentId("BTC", "USD", "paradex")
    return Instrument(id=id, venue_symbol="B", contract_id="B", settle="USDC", tick_size=D(1), step_size=D(1), min_quantity=D(1))


def published(at_ns: int, rate: str, hours: int = 8) -> FundingRateSample:
    return FundingRateSample(raw_rate=D(rate), interval_hours=D(hours), kind=RateKind.SETTLED, settled_at=at_ns)


def test_rates_published_all_the_time_become_whole_hours() -> None:
    """Every five minutes a rate per eight hours: what an hour charged is the mean of its rates, per hour, and never counted twice."""
    step = 300 * NS_PER_S
    rows = [published(n * step, "0.0008" if n <= 12 else "0.0016") for n in range(1, 31)]
    found = settled_rows(rows, instrument(), 30 * step)
    assert [(row.settled_at, row.rate, row.interval_hours) for row in found] == [
        (NS_PER_HOUR, D("0.0001"), D(1)),
        (2 * NS_PER_HOUR, D("0.0002"), D(1)),
    ]
    holed = [row for row in rows if not 14 * step <= (row.settled_at or 0) <= 18 * step]
    assert [row.settled_at for row in settled_rows(holed, instrument(), 30 * step)] == [NS_PER_HOUR]


def test_a_venue_that_publishes_all_the_time_gives_every_whole_hour(tmp_path: Path) -> None:
    """A row each minute: whole hours only, none lost between two pages, and the pages are small."""

    async def main(sim: Simulation) -> None:
        await asyncio.sleep(20 * 60)  # not at a whole hour
        async with collecting(sim, tmp_path / "p.db", names=("paradex",), bases=("BTC",), live=False, backfill_days=1) as scene:
            ready = scene.venues["paradex"]
            spec = ready.exchange.markets[ready.markets["BTC"].symbol].spec
            minute, now = 60 * NS_PER_S, ready.now()
            rows = [
                PastFunding(at, core.to_fraction(D("0.0008")), spec.to_ref(D(50_000)), spec.funding_interval_ns)
                for at in range((now - 30 * NS_PER_HOUR) // minute * minute, now, minute)
            ]
            ready.dialect.history.seed(spec.symbol, funding=rows)
            await until(lambda: scene.collector.status().backfill[0].done == 1)
            assert scene.store is not None
            (market,) = scene.store.markets()
            found = scene.store.settled(market.instrument, 0, 2**62)
            assert {(row.rate, row.interval_hours) for row in found} == {(D("0.0001"), D(1))}
            times = [row.settled_at for row in found]
            assert times[-1] == now // NS_PER_HOUR * NS_PER_HOUR
            assert {b - a for a, b in pairwise(times)} == {NS_PER_HOUR}
            assert len(times) == 24
            assert scene.collector.status().backfill[0].gaps == 0

    virtual(main)


def test_a_settlement_that_cannot_be_is_left_out() -> None:
    rows = [published(n * 8 * NS_PER_HOUR, rate) for n, rate in enumerate(["0.0001", "1e9", "NaN", "0.000" + "1" * 90, "0.0002"], 1)]
    predicted = FundingRateSample(raw_rate=D("0.5"), interval_hours=D(8), kind=RateKind.PREDICTED, settled_at=NS_PER_HOUR)
    assert [row.rate for row in settled_rows([*rows, predicted], instrument(), 2**62)] == [D("0.0001"), D("0.0002")]


# ---- order books


def book_requests(scene: Scene, venue: str) -> int:
    return sum("depth" in r.path or "book" in r.path.lower() or b"l2Book" in r.body for r in scene.venues[venue].dialect.received)


@pytest.mark.parametrize("venue", ALL)
def test_a_book_is_the_venues_and_asked_for_once(venue: str) -> None:
    async def main(sim: Simulation) -> None:
        async with collecting(sim, names=(venue,), bases=("BTC",), live=False) as scene:
            await until(lambda: bool(scene.board.quotes()))
            depths = Depths(scene.collector.adapter, sim.runtime.clock)
            (quote,) = scene.board.quotes()
            before = book_requests(scene, venue)
            books = await asyncio.gather(*(depths.book(quote.instrument) for _ in range(20)))
            assert len({id(book) for book in books}) == 1
            book = books[0]
            assert book is not None
            bids, asks = scene.venues[venue].true_book("BTC", 3)
            assert [(x.price, x.size) for x in book.bids[:3]] == bids
            assert [(x.price, x.size) for x in book.asks[:3]] == asks
            asked = book_requests(scene, venue) - before
            assert asked <= 2, "and the list of markets by that name where there is one"
            await asyncio.sleep(4)
            assert await depths.book(quote.instrument) is book
            await asyncio.sleep(2)
            assert await depths.book(quote.instrument) is not book
            await depths.close()

    virtual(main)


def test_a_book_that_cannot_be_had_is_none_in_time() -> None:
    async def main(sim: Simulation) -> None:
        async with collecting(sim, names=("okx",), bases=("BTC",), live=False) as scene:
            await until(lambda: bool(scene.board.quotes()))
            depths = Depths(scene.collector.adapter, sim.runtime.clock)
            (quote,) = scene.board.quotes()
            scene.hands["okx"].requests(RequestFault(after_s=1000), times=10**6, when=lambda r: r.path.endswith("/books"))
            began = sim.loop.time()
            assert await depths.book(quote.instrument) is None
            assert sim.loop.time() - began <= 8.1
            assert await depths.book(quote.instrument) is None
            assert sim.loop.time() - began <= 8.2, "what failed is not asked for again at once"
            for other in (InstrumentId("NOSUCH", "USDT", "okx"), InstrumentId("BTC", "USDT", "nowhere")):
                assert await depths.book(other) is None
            scene.hands["okx"].rest()
            await asyncio.sleep(6)
            scene.venues["okx"].exchange.set_levels(scene.venues["okx"].now(), scene.venues["okx"].markets["BTC"].symbol, [], [])
            assert await depths.book(quote.instrument) is None, "an empty side is no book"
            await depths.close()

    virtual(main)
