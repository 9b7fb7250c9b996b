"""The funding adapter: units, sign, interval, market figures."""

from __future__ import annotations

from decimal import Decimal

import pytest

from exchange_clients.errors import RateLimited, VenueError, VenueUnavailable
from exchange_clients.model import NS_PER_HOUR, RateKind
from exchange_simulator.conformance.bench import BTC, ETH, Bench, virtual
from exchange_simulator.core import types as core
from exchange_simulator.dialects.base import RequestFault

RATE = Decimal("0.00012")


def post(bench: Bench, rate: Decimal, base: str = BTC) -> None:
    """The rate, per the market's own interval, charged from now on."""
    bench.exchange.set_funding_rate(bench.now(), bench.symbol(base), core.to_fraction(rate))


def interval_hours(bench: Bench, base: str = BTC) -> Decimal:
    return Decimal(bench.market(base).funding_interval_ns) / NS_PER_HOUR


@virtual
async def test_rates_have_sign_unit_and_interval(bench: Bench) -> None:
    post(bench, RATE)
    post(bench, -RATE / 2, ETH)
    async with bench.funding_adapter() as adapter:
        rates = await adapter.fetch_funding_rates()
    assert set(rates) == {BTC, ETH}
    for base, rate in ((BTC, RATE), (ETH, -RATE / 2)):
        sample, hours = rates[base], interval_hours(bench, base)
        assert sample.kind is RateKind.PREDICTED
        assert sample.hourly_rate == pytest.approx(rate / hours, rel=Decimal("1e-6"))
        assert sample.normalized_rate == pytest.approx(rate / hours * 8, rel=Decimal("1e-6"))
        assert sample.annual_rate == pytest.approx(rate / hours * 8760, rel=Decimal("1e-6"))
        assert sample.next_funding_time is None or sample.next_funding_time > bench.now()


@virtual
async def test_market_figures_are_in_usd_and_one_sided(bench: Bench) -> None:
    bench.submit(core.Side.BUY, Decimal("0.5"), Decimal(50_001))
    bench.trade(core.Side.SELL, Decimal(1))
    async with bench.funding_adapter() as adapter:
        figures = (await adapter.fetch_market_data())[BTC]
    steps = bench.exchange.open_interest(bench.symbol())
    assert figures["open_interest"] == pytest.approx(bench.market().size(steps) * 50_000, rel=Decimal("0.001"))
    assert figures["volume_24h"] == pytest.approx(Decimal("1.5") * 50_000, rel=Decimal("0.001"))


@virtual
async def test_all_markets_cost_few_requests(bench: Bench) -> None:
    async with bench.funding_adapter() as adapter:
        await adapter.fetch_funding_rates()
        await adapter.fetch_market_data()
    assert len(bench.dialect.received) <= 6


@virtual
async def test_symbols_go_both_ways(bench: Bench) -> None:
    async with bench.funding_adapter() as adapter:
        await adapter.fetch_funding_rates()
        for base in (BTC, ETH):
            assert adapter.normalize_symbol(adapter.get_dex_symbol_format(base)) == base


@virtual
async def test_a_passing_fault_is_retried_and_a_lasting_one_is_told(bench: Bench) -> None:
    async with bench.funding_adapter() as adapter:
        bench.hands.requests(RequestFault(status=503), times=1)
        assert BTC in await adapter.fetch_funding_rates()
        bench.hands.requests(RequestFault(status=503), times=100)
        with pytest.raises(VenueUnavailable):
            await adapter.fetch_funding_rates()
        bench.hands.rest()
        bench.hands.requests(RequestFault(status=200, body=b'{"garbage": ['), times=100)
        with pytest.raises(VenueError):
            await adapter.fetch_funding_rates()


@virtual
async def test_a_limit_is_told_as_a_limit(bench: Bench) -> None:
    async with bench.funding_adapter() as adapter:
        await adapter.fetch_funding_rates()
        bench.hands.requests(RequestFault(status=429, headers={"Retry-After": "2"}), times=100)
        with pytest.raises(RateLimited):
            await adapter.fetch_funding_rates()
