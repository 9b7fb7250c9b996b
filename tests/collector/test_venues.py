"""The collector against all venues at once: right figures, and one venue's trouble is nobody else's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from database.market_data import Outcome
from exchange_clients.model import NS_PER_HOUR, NS_PER_S, RateKind, VenueSnapshot
from exchange_simulator import simloop
from exchange_simulator.core import types as core
from exchange_simulator.dialects.aster import wire
from exchange_simulator.dialects.base import Received, RequestFault
from exchange_simulator.ready import still_book
from funding_rate_service.board import VenueState
from tests.collector.scene import ALL, Scene, collecting, until, virtual

RATE = Decimal("0.0003")


def set_rate(scene: Scene, venue: str, base: str, rate: Decimal) -> None:
    ready = scene.venues[venue]
    ready.exchange.set_funding_rate(ready.now(), ready.markets[base].symbol, core.to_fraction(rate))


def test_the_board_and_the_database_have_what_every_venue_says(tmp_path: Path) -> None:
    async def main(sim: simloop.Simulation) -> None:
        async with collecting(sim, tmp_path / "perpkit.db", live=False) as scene:
            for n, venue in enumerate(ALL, 1):
                set_rate(scene, venue, "BTC", RATE * n)
                set_rate(scene, venue, "ETH", -RATE * n / 10)
            await asyncio.sleep(130)
            quotes = {(q.instrument.venue, q.instrument.base): q for q in scene.board.quotes()}
            assert set(quotes) == {(venue, base) for venue in ALL for base in ("BTC", "ETH")}
            for n, venue in enumerate(ALL, 1):
                btc, eth = quotes[venue, "BTC"], quotes[venue, "ETH"]
                for quote, rate in ((btc, RATE * n), (eth, -RATE * n / 10)):
                    hours = Decimal(scene.venues[venue].markets[quote.instrument.base].funding_interval_ns) / NS_PER_HOUR
                    assert quote.sample.interval_hours == hours
                    assert quote.sample.hourly_rate == pytest.approx(rate / hours, rel=Decimal("1e-5"))
                    assert quote.sample.kind is RateKind.PREDICTED
                    assert quote.taker_fee is not None
                assert btc.mark == pytest.approx(Decimal(100_000), rel=Decimal("0.5"))
                assert scene.health(venue).state is VenueState.OK
            assert scene.store is not None
            await asyncio.sleep(5)
            stored = {row.instrument: row for row in scene.store.latest()}
            assert set(stored) == {str(q.instrument) for q in quotes.values()}
            for quote in scene.board.quotes():
                row = stored[str(quote.instrument)]
                assert (row.rate, row.interval_hours, row.kind) == (quote.sample.raw_rate, quote.sample.interval_hours, quote.sample.kind)
                assert (row.mark, row.index, row.bid, row.ask) == (quote.mark, quote.index, quote.bid, quote.ask)
                assert row.observed_at == quote.observed_ns
            assert {market.instrument for market in scene.store.markets()} == set(stored)
            assert {entry.venue for entry in scene.store.collections()} == set(ALL)
            assert {entry.outcome for entry in scene.store.collections()} == {Outcome.OK}

    virtual(main)


def answers(**fault: Any) -> Callable[[Scene, str], Awaitable[None]]:
    async def begin(scene: Scene, venue: str) -> None:
        scene.hands[venue].requests(RequestFault(**fault), times=10**6)

    return begin


async def gone(scene: Scene, venue: str) -> None:
    """Nobody listens at its address any more."""
    await scene.venues[venue].server.__aexit__(None, None, None)


FAULTS = {
    "silent": answers(after_s=10_000.0),
    "slow": answers(after_s=30.0),
    "server error": answers(status=503),
    "limited": answers(status=429, headers={"Retry-After": "90"}),
    "garbage": answers(status=200, body=b'{"garbage": [1, {"x":'),
    "html": answers(status=200, body=b"<html>maintenance</html>"),
    "other json": answers(status=200, body=b"[[[]]]"),
    "not found": answers(status=404, body=b""),
    "refused": gone,
}


EVERYWHERE = ("silent", "limited", "garbage", "refused")


@pytest.mark.parametrize(
    ("victim", "fault"), [(venue, fault) for venue in ALL for fault in FAULTS if fault in EVERYWHERE or venue == "hyperliquid"]
)
def test_one_venues_trouble_is_nobody_elses(victim: str, fault: str) -> None:
    """It leaves the opportunities within its age limit, says why, and comes back; the others' rounds go on at their pace meanwhile."""
    other = "lighter" if victim != "lighter" else "dydx"

    async def main(sim: simloop.Simulation) -> None:
        async with collecting(sim, names=(victim, other), live=False, bases=("BTC",)) as scene:
            await asyncio.sleep(70)
            assert scene.fresh() == {victim, other}
            await FAULTS[fault](scene, victim)
            began_ns = sim.runtime.clock.time_ns()
            rounds = scene.collector.status().venues[1].rounds
            for _ in range(40):
                await asyncio.sleep(10)
                assert other in scene.fresh(), f"{other} suffers from {victim}"
            assert scene.collector.status().venues[1].rounds >= rounds + 6
            assert scene.collector.status().venues[1].failures == 0
            assert scene.fresh() == {other}
            health = scene.health(victim)
            assert health.state is VenueState.DOWN
            assert health.last_error
            assert health.last_ok_ns is not None
            assert health.last_ok_ns <= began_ns + 45 * NS_PER_S, "nothing new was learned"
            visible = [q for q in scene.board.quotes(fresh_only=False) if q.instrument.venue == victim]
            assert visible, "old rates stay visible"
            assert not any(scene.board.is_fresh(q) for q in visible)
            if fault != "refused":
                scene.hands[victim].rest()
                await asyncio.sleep(260)
                assert scene.fresh() == {victim, other}
                assert scene.health(victim).consecutive_failures == 0

    virtual(main)


def test_a_round_has_a_deadline_of_its_own() -> None:
    """Whatever the requests of a round are allowed to take one by one."""

    async def main(sim: simloop.Simulation) -> None:
        own = {"lighter": {"deadline_s": 7.0}}
        async with collecting(sim, names=("lighter",), live=False, bases=("BTC",), venues=own, request_timeout_s=120.0) as scene:
            scene.hands["lighter"].requests(RequestFault(after_s=100.0), times=10**6)
            await asyncio.sleep(8)
            health = scene.health("lighter")
            assert health.consecutive_failures == 1
            assert health.last_error == "no answer within 7 s"

    virtual(main)


def test_an_answer_that_breaks_its_decoder_is_that_venues_trouble(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even a fault of our own code in one venue's part stops its rounds, and no words of it get out."""

    async def main(sim: simloop.Simulation) -> None:
        async with collecting(sim, names=("lighter", "dydx"), live=False, bases=("BTC",)) as scene:
            adapter = scene.collector.adapter("lighter")
            assert adapter is not None

            async def broken() -> VenueSnapshot:
                raise KeyError("secret of the process")

            monkeypatch.setattr(adapter.fetchers, "snapshot", broken)
            await asyncio.sleep(70)
            health = scene.health("lighter")
            assert health.consecutive_failures >= 3
            assert health.last_error == "KeyError; see the log"
            assert scene.fresh() == {"dydx"}
            monkeypatch.undo()
            await asyncio.sleep(125)
            assert scene.fresh() == {"lighter", "dydx"}

    virtual(main)
    assert "collector.round_failed" in caplog.text


def test_a_dead_venue_leaves_within_its_age_limit() -> None:
    async def main(sim: simloop.Simulation) -> None:
        async with collecting(sim, names=("okx", "lighter"), live=False, bases=("BTC",), interval_s=20.0) as scene:
            await asyncio.sleep(30)
            told: list[tuple[str, int]] = []
            scene.board.subscribe(lambda venue, changed: told.append((venue, sum(not scene.board.is_fresh(q) for q in changed))))
            await gone(scene, "okx")
            began = sim.loop.time()
            await until(lambda: "okx" not in scene.fresh())
            assert sim.loop.time() - began <= scene.board.stale_after_s("okx") + 2 == 52.0
            assert ("okx", 1) in told, "whoever watches the board hears of it"

    virtual(main)


def test_retry_after_is_honoured() -> None:
    async def main(sim: simloop.Simulation) -> None:
        async with collecting(sim, names=("lighter",), live=False, bases=("BTC",)) as scene:
            await asyncio.sleep(30)
            received = scene.venues["lighter"].dialect.received
            scene.hands["lighter"].requests(RequestFault(status=429, headers={"Retry-After": "200"}), times=1)
            await asyncio.sleep(40)
            refused_at = sim.loop.time()
            count = len(received)
            assert scene.health("lighter").consecutive_failures == 1
            await until(lambda: len(received) > count)
            assert 160 <= sim.loop.time() - refused_at <= 200

    virtual(main)


def test_an_answer_that_fails_leaves_the_rates_and_is_told(tmp_path: Path) -> None:
    async def main(sim: simloop.Simulation) -> None:
        async with collecting(sim, tmp_path / "p.db", names=("okx",), live=False, bases=("BTC",)) as scene:
            await asyncio.sleep(30)

            def tickers(received: Received) -> bool:
                return received.path.endswith("/market/tickers")

            scene.hands["okx"].requests(RequestFault(status=503), times=100, when=tickers)
            await asyncio.sleep(70)
            (quote,) = scene.board.quotes()
            assert quote.volume_24h_usd is None
            assert quote.mark is not None
            health = scene.health("okx")
            assert health.state is VenueState.OK
            assert any("tickers" in text for text in health.missing)
            assert scene.store is not None
            newest = scene.store.collections(last=1)[0]
            assert newest.outcome is Outcome.PARTIAL
            assert "tickers" in newest.error

    virtual(main)


def test_a_new_market_a_delisting_and_a_changed_interval_are_seen(tmp_path: Path) -> None:
    async def main(sim: simloop.Simulation) -> None:
        async with collecting(sim, tmp_path / "p.db", names=("okx", "hyperliquid"), live=False) as scene:
            await asyncio.sleep(70)
            okx = scene.venues["okx"]
            market = okx.exchange.markets[okx.markets["BTC"].symbol].spec
            before = next(q for q in scene.board.quotes() if (q.instrument.venue, q.instrument.base) == ("okx", "BTC"))
            okx.exchange.change_market(okx.now(), replace(market, funding_interval_ns=4 * NS_PER_HOUR))
            hyper = scene.venues["hyperliquid"]
            hyper.exchange.delist(hyper.now(), hyper.markets["ETH"].symbol)
            listing = type(hyper.dialect).listing("SOL", tick_size=Decimal("0.01"), step_size=Decimal("0.01"))
            hyper.exchange.add_market(hyper.now(), listing)
            still_book(hyper.exchange, hyper.now(), listing.symbol, Decimal(150))
            await asyncio.sleep(130)
            after = scene.board.quote(before.instrument)
            assert after is not None
            assert before.sample.interval_hours == 8
            assert after.sample.interval_hours == 4
            bases = {q.instrument.base for q in scene.board.quotes() if q.instrument.venue == "hyperliquid"}
            assert bases == {"BTC", "SOL"}
            assert scene.store is not None
            statuses = {m.instrument: m.status for m in scene.store.markets("hyperliquid")}
            assert statuses["ETH-USDC-PERP.hyperliquid"] == "delisted"
            rows = scene.store.samples(str(before.instrument), 0, 2**62)
            assert rows[0].interval_hours == 8
            assert rows[-1].interval_hours == 4

    virtual(main)


def test_an_absurd_rate_is_no_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """One market of a venue says 1.79e11 % (PAINS 9): it has no rate, the other market and every other venue have theirs."""

    async def main(sim: simloop.Simulation) -> None:
        async with collecting(sim, names=("aster",), live=False) as scene:
            await asyncio.sleep(10)
            eth = next(q for q in scene.board.quotes() if q.instrument.base == "ETH")
            premium = wire.premium

            def absurd(exchange: Any, market: Any, now_ms: int) -> dict[str, Any]:
                told = premium(exchange, market, now_ms)
                return {**told, "lastFundingRate": "1790000000"} if told["symbol"].startswith("ETH") else told

            monkeypatch.setattr(wire, "premium", absurd)
            await asyncio.sleep(240)
            assert {q.instrument.base for q in scene.board.quotes()} == {"BTC"}
            assert scene.board.quote(eth.instrument) == eth or not scene.board.is_fresh(eth)
            assert scene.health("aster").rejected == 1
            assert scene.health("aster").state is VenueState.OK

    virtual(main)
