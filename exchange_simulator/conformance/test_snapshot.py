"""The snapshot of all markets: what the collector of the funding-rate service asks for, once a minute, on every venue."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from decimal import Decimal

import pytest

from exchange_clients.errors import VenueError
from exchange_clients.model import NS_PER_HOUR, Lane, MarketSnapshot, RateKind
from exchange_simulator.conformance.bench import BTC, ETH, Bench, virtual
from exchange_simulator.core import types as core
from exchange_simulator.dialects.base import Received, RequestFault

RATE = Decimal("0.00012")
FIXED_INTERVAL = frozenset({"dydx", "hyperliquid", "lighter"})
"""Venues whose protocol says one hour and has no field for anything else."""


def post(bench: Bench, rate: Decimal, base: str = BTC) -> None:
    bench.exchange.set_funding_rate(bench.now(), bench.symbol(base), core.to_fraction(rate))


async def snapshot(bench: Bench) -> dict[str, MarketSnapshot]:
    async with bench.funding_adapter() as adapter:
        return {market.instrument.id.base: market for market in (await adapter.fetch_snapshot()).markets}


@virtual
async def test_a_snapshot_has_instrument_rate_and_figures_of_every_market(bench: Bench) -> None:
    post(bench, RATE)
    post(bench, -RATE / 2, ETH)
    found = await snapshot(bench)
    assert set(found) == {BTC, ETH}
    for base, rate in ((BTC, RATE), (ETH, -RATE / 2)):
        market = found[base]
        assert market.problem is None
        assert market.instrument.tradable
        assert market.sample is not None
        hours = Decimal(bench.market(base).funding_interval_ns) / NS_PER_HOUR
        assert market.sample.kind is RateKind.PREDICTED
        assert market.sample.hourly_rate == pytest.approx(rate / hours, rel=Decimal("1e-6"))
        assert market.ticker is not None
        assert market.ticker.mark is not None
        assert market.ticker.mark > 0
        assert market.ticker.index is not None, "every venue tells an index or oracle price with what is asked anyway"


@virtual
async def test_a_snapshot_is_what_the_single_calls_say(bench: Bench) -> None:
    """An independent way to the same figures: rates and tickers asked one by one."""
    bench.submit(core.Side.BUY, Decimal("0.5"), Decimal(50_001))
    post(bench, RATE)
    found = await snapshot(bench)
    async with bench.funding_adapter() as adapter:
        rates, figures = await adapter.fetch_funding_rates(), await adapter.fetch_market_data()
    for base, market in found.items():
        assert market.sample is not None
        assert market.ticker is not None
        assert market.sample.raw_rate == rates[base].raw_rate
        assert market.sample.interval_hours == rates[base].interval_hours
        assert market.ticker.open_interest == figures[base].get("open_interest")
        assert market.ticker.volume_24h == figures[base].get("volume_24h")


@virtual
async def test_bid_and_ask_are_the_books_or_absent(bench: Bench) -> None:
    """Never made up: of a venue that does not tell them in bulk they are None, both."""
    market = (await snapshot(bench))[BTC].ticker
    assert market is not None
    assert (market.bid, market.ask) in {(None, None), (Decimal(49_999), Decimal(50_001))}
    bench.clear_book()
    market = (await snapshot(bench))[BTC].ticker
    assert market is not None
    assert (market.bid, market.ask) == (None, None)


@virtual
async def test_nothing_is_asked_for_twice(bench: Bench) -> None:
    def asked(start: int) -> Counter[tuple[str, str, str, bytes]]:
        return Counter((r.method, r.path, r.query, r.body) for r in list(bench.dialect.received)[start:])

    async with bench.funding_adapter() as adapter:
        for _ in range(2):
            start = len(bench.dialect.received)
            await adapter.fetch_snapshot()
            assert max(asked(start).values()) == 1
            assert 1 <= len(asked(start)) <= 7
            await bench.runtime.clock.sleep(60)


@virtual
async def test_its_requests_are_the_least_urgent(bench: Bench) -> None:
    """Trading clients of the process draw on the same pools: collection never takes the room that reduces risk."""
    lanes: list[Lane] = []
    async with bench.funding_adapter() as adapter:
        limiter = adapter.client.context.limiter
        acquire = limiter.acquire

        async def noted(cost: dict[str, int], lane: Lane, *, timeout_s: float) -> None:
            lanes.append(lane)
            await acquire(cost, lane, timeout_s=timeout_s)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(limiter, "acquire", noted)
            await adapter.fetch_snapshot()
    assert set(lanes) == {Lane.SCAN}


@virtual
async def test_a_change_of_interval_is_seen_in_the_next_snapshot(bench: Bench) -> None:
    """Where the venue can change it at all: a rate with yesterday's interval is wrong by a factor."""
    before = bench.market().funding_interval_ns
    async with bench.funding_adapter() as adapter:
        await adapter.fetch_snapshot()
        await bench.runtime.clock.sleep(61)
        changed = before // 2 if before > NS_PER_HOUR else 4 * NS_PER_HOUR
        bench.exchange.change_market(bench.now(), replace(bench.market(), funding_interval_ns=changed))
        found = {m.instrument.id.base: m.sample for m in (await adapter.fetch_snapshot()).markets}
    sample = found[BTC]
    assert sample is not None
    fixed = bench.spec.name in FIXED_INTERVAL
    assert sample.interval_hours == Decimal(before if fixed else changed) / NS_PER_HOUR


@virtual
async def test_a_listing_that_ends_is_no_market_any_more(bench: Bench) -> None:
    async with bench.funding_adapter() as adapter:
        await adapter.fetch_snapshot()
        bench.exchange.delist(bench.now(), bench.symbol(ETH))
        await bench.runtime.clock.sleep(601)
        found = {m.instrument.id.base: m for m in (await adapter.fetch_snapshot()).markets}
    assert BTC in found
    assert ETH not in found or not found[ETH].instrument.tradable


@virtual
async def test_rates_that_fail_fail_the_snapshot_and_other_answers_are_named(bench: Bench) -> None:
    """Each answer of a round fails in turn: either the rates are all there and the missing answer is named, or the call says why not."""
    async with bench.funding_adapter() as adapter:
        await adapter.fetch_snapshot()
        await bench.runtime.clock.sleep(61)
        start = len(bench.dialect.received)
        await adapter.fetch_snapshot()
        asked = list(dict.fromkeys(r.path for r in list(bench.dialect.received)[start:]))
        outcomes = []
        for path in asked:
            await bench.runtime.clock.sleep(120)

            def at(received: Received, path: str = path) -> bool:
                return received.path == path

            bench.hands.requests(RequestFault(status=503), times=100, when=at)
            try:
                found = await adapter.fetch_snapshot()
            except VenueError:
                outcomes.append("failed")
            else:
                outcomes.append("partial")
                assert found.missing, f"{path} failed and nothing says so"
                assert {m.instrument.id.base for m in found.markets if m.sample is not None} == {BTC, ETH}
            bench.hands.rest()
        assert "failed" in outcomes, "an answer without which there are no rates"
