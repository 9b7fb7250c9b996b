"""What works by request alone, without a socket: markets, market data, credentials, signed reads, one order."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal

import pytest

from exchange_clients.errors import (
    ConfigError,
    NotReady,
    Throttled,
    UnknownInstrument,
)
from exchange_clients.model import NS_PER_HOUR, NS_PER_S, BookSnapshot, InstrumentId, MarketStatus, OrderStatus, Purpose, Side
from exchange_clients.transport.clock import VirtualClock
from exchange_simulator.conformance.bench import BTC, DEPOSIT, ETH, MARKETS, Bench, needs, virtual
from exchange_simulator.core import types as core
from exchange_simulator.dialects.base import Budget, RequestFault
from exchange_simulator.dialects.history import Candle, PastFunding

MINUTE_NS = 60 * NS_PER_S


# ---- instruments


@virtual
async def test_instruments_load_all_with_exact_figures(bench: Bench) -> None:
    client = bench.client(signed=False)
    found = {one.id.base: one for one in await client.instruments.load_all()}
    assert set(found) == {BTC, ETH}
    for base, (tick, step, _) in MARKETS.items():
        one = found[base]
        assert (one.tick_size, one.step_size) == (tick, step)
        assert one.id.venue == bench.spec.name
        assert one.tradable
        assert one.min_quantity > 0
        assert one.contract_id


@virtual
async def test_instruments_load_by_ids_and_one(bench: Bench) -> None:
    client = bench.client(signed=False)
    btc, eth = await client.instruments.load_ids([BTC, ETH])
    assert (btc.id.base, eth.id.base) == (BTC, ETH)
    assert (await client.instruments.load(str(btc.id))) == btc
    requests = len(bench.dialect.received)
    assert await client.instruments.load(BTC) == btc
    assert len(bench.dialect.received) == requests, "a loaded table is not asked for again"


@virtual
async def test_instruments_filter(bench: Bench) -> None:
    client = bench.client(signed=False)
    assert [one.id.base for one in await client.instruments.load_all({"base": ETH})] == [ETH]
    assert await client.instruments.load_all({"status": MarketStatus.DELISTED}) == []


@virtual
async def test_a_symbol_may_be_an_id_a_name_a_contract_id_or_an_alias(bench: Bench) -> None:
    client = bench.client(signed=False)
    (btc,) = await client.instruments.load_all({"base": BTC})
    forms: list[InstrumentId | str] = [
        btc.id,
        str(btc.id),
        btc.contract_id,
        btc.venue_symbol,
        BTC,
        f"{BTC}-PERP",
        f"{BTC}-PERP.{bench.spec.name}",
    ]
    assert {client.instruments.get(form).id for form in forms} == {btc.id}


@virtual
async def test_unknown_symbols_name_venue_and_symbol(bench: Bench) -> None:
    client = bench.client(signed=False)
    await client.instruments.load_all()
    wrongs: list[InstrumentId | str] = ["NOSUCH", "BT", "BTCC", InstrumentId("NOSUCH", "USD", bench.spec.name)]
    for wrong in wrongs:
        with pytest.raises(UnknownInstrument) as caught:
            client.instruments.get(wrong)
        assert bench.spec.name in str(caught.value)
        assert isinstance(caught.value, ValueError)


@virtual
async def test_instruments_before_loading_are_not_ready(bench: Bench) -> None:
    with pytest.raises(NotReady):
        bench.client(signed=False).instruments.get(BTC)


@virtual
async def test_unknown_settings_are_errors(bench: Bench) -> None:
    with pytest.raises(ConfigError, match="nonsense"):
        bench.client(nonsense=1)
    with pytest.raises(ConfigError, match="environment"):
        bench.client(environment="moon")


# ---- market data


@virtual
async def test_best_prices_and_depth(bench: Bench) -> None:
    client = bench.client(signed=False)
    await client.instruments.load_all()
    assert await client.fetch_bbo_prices(BTC) == (Decimal(49_999), Decimal(50_001))
    depth = await client.get_order_book_depth(BTC, levels=3)
    assert [level["price"] for level in depth["bids"]] == [49_999, 49_998, 49_997]
    assert [level["price"] for level in depth["asks"]] == [50_001, 50_002, 50_003]
    assert {level["size"] for level in depth["bids"] + depth["asks"]} == {Decimal(2)}
    bids, asks = bench.true_book(ETH, 1)
    assert await client.fetch_bbo_prices(ETH) == (bids[0][0], asks[0][0])


@virtual
async def test_an_empty_side_is_not_ready_and_never_zero(bench: Bench) -> None:
    client = bench.client(signed=False)
    await client.instruments.load_all()
    bench.clear_book()
    with pytest.raises(NotReady):
        await client.fetch_bbo_prices(BTC)


@virtual
async def test_mark_and_index(bench: Bench) -> None:
    client = bench.client(signed=False)
    await client.instruments.load_all()
    bench.set_mark(50_123)
    assert await client.fetch_mark_price(BTC) == Decimal(50_123)
    assert await client.fetch_index_price(BTC) > 0


@virtual
async def test_public_trades_tell_the_takers_side(bench: Bench) -> None:
    client = bench.client(signed=False)
    await client.instruments.load_all()
    assert bench.trade(core.Side.BUY, Decimal("0.5")) == Decimal("0.5")
    bench.trade(core.Side.SELL, Decimal("0.25"))
    found = await client.fetch_trades(BTC)
    assert [(t.side, t.price, t.quantity) for t in found[-2:]] == [
        (Side.BUY, Decimal(50_001), Decimal("0.5")),
        (Side.SELL, Decimal(49_999), Decimal("0.25")),
    ]
    assert found[-2].ts_venue_ns <= found[-1].ts_venue_ns


@virtual
async def test_candles_are_paginated_without_hole_or_double(bench: Bench) -> None:
    needs(bench.spec.capabilities.candles, "candles")
    market, count = bench.market(), 4_000
    end = bench.now() // MINUTE_NS * MINUTE_NS

    def candle_of(n: int) -> Candle:
        price, volume = market.to_ticks(Decimal(50_000 + n % 7)), market.to_steps(Decimal(1))
        return Candle(end - (count - n) * MINUTE_NS, price, price, price, price, volume, price * volume, 1, n + 1)

    past = [candle_of(n) for n in range(count)]
    bench.dialect.history.seed(market.symbol, candles=past)
    client = bench.client(signed=False)
    await client.instruments.load_all()
    start = end - count * MINUTE_NS
    found = await client.fetch_candles(BTC, "1m", start_ns=start, end_ns=end)
    assert [candle.open_ns for candle in found] == [candle.start_ns for candle in past]
    assert found[5].close == market.price(past[5].close)


@virtual
async def test_funding_history_is_paginated_without_hole_or_double(bench: Bench) -> None:
    needs(bench.spec.capabilities.funding_history, "funding history")
    market, count = bench.market(), 1_300
    interval = market.funding_interval_ns
    end = bench.now() // interval * interval
    rates = [core.to_fraction(Decimal(n % 50 - 25) / 1_000_000) for n in range(count)]
    past = [PastFunding(end - (count - n) * interval, rate, market.to_ref(Decimal(50_000)), interval) for n, rate in enumerate(rates)]
    bench.dialect.history.seed(market.symbol, funding=past)
    client = bench.client(signed=False)
    await client.instruments.load_all()
    before = len(bench.dialect.received)
    found = await client.fetch_funding_history(BTC, start_ns=end - count * interval, end_ns=end)
    assert [sample.settled_at for sample in found] == [row.ts_ns for row in past]
    assert [sample.raw_rate for sample in found] == [core.fraction(rate) for rate in rates]
    assert {sample.interval_hours for sample in found} == {Decimal(interval) / NS_PER_HOUR}
    asked = [(received.path, tuple(received.params.items()), received.body) for received in list(bench.dialect.received)[before:]]
    assert len(set(asked)) == len(asked), "no page is asked for twice"


@virtual
async def test_the_venues_word_to_wait_is_kept(bench: Bench) -> None:
    client = bench.client(signed=False)
    await client.instruments.load_all()
    bench.hands.requests(RequestFault(status=429, headers={"Retry-After": "7"}), times=1)
    before = len(bench.dialect.received)
    assert await client.fetch_bbo_prices(BTC) == (Decimal(49_999), Decimal(50_001))
    refused, answered = list(bench.dialect.received)[before:]
    assert answered.ts_ns - refused.ts_ns >= 7 * NS_PER_S


@virtual
async def test_our_own_limiter_keeps_the_venue_from_refusing(bench: Bench) -> None:
    """Half as much again as a window allows, asked for at once: all of it is answered or held back here; the venue never says no."""
    rates = {name: pool for name, pool in bench.spec.pools.items() if pool.kind == "rate" and pool.scope == "ip"}
    needs(bool(rates), "rate limit by address")
    client = bench.client(signed=False)
    instrument = await client.instruments.load(BTC)
    limiter, refused = client.context.limiter, []
    before = {name: limiter.headroom(name) for name in rates}
    await client.market_data.fetch_book(instrument)
    costs = {name: before[name] - limiter.headroom(name) for name in rates}
    name = max(costs, key=lambda one: costs[one] / rates[one].limit)
    assert costs[name] > 0, "a request costs something"
    bench.dialect.budget = bench.dialect.budget or Budget(rates[name].limit, rates[name].period_s)
    charge = bench.dialect.budget.charge

    def watched(key: str, cost: int, now_s: float) -> float:
        wait_s: float = charge(key, cost, now_s)
        if wait_s:
            refused.append(cost)
        return wait_s

    bench.dialect.budget.charge = watched
    count = int(1.5 * rates[name].limit / costs[name])
    answers = await asyncio.gather(*(client.market_data.fetch_book(instrument) for _ in range(count)), return_exceptions=True)
    held_back = sum(isinstance(answer, Throttled) for answer in answers)
    assert refused == []
    assert sum(isinstance(answer, BookSnapshot) for answer in answers) == count - held_back
    assert held_back < count


@virtual
async def test_a_machine_clock_that_is_off_by_a_minute_is_seen(bench: Bench) -> None:
    """The offset is measured, and what is signed carries the venue's time."""
    wrong = VirtualClock(bench.runtime.clock.time_ns() + 60 * NS_PER_S - round(bench.runtime.clock.monotonic() * NS_PER_S))
    runtime = replace(bench.runtime, clock=wrong)
    client = bench.client(runtime=runtime)
    offset_ns = await client.measure_clock_offset()
    await client.instruments.load_all()
    offset_ns = offset_ns if offset_ns is not None else client.context.venue_time.offset_ns
    assert offset_ns is not None
    assert offset_ns / NS_PER_S == pytest.approx(-60, abs=1.0)
    await client.account_manager.verify_credentials()
    result = await client.place_limit_order(BTC, Decimal("0.01"), Decimal(49_000), "buy", purpose=Purpose.HEDGE, wait_for="open")
    assert (result.success, result.status) == (True, OrderStatus.OPEN)


@virtual
async def test_raw_endpoints_answer_typed(bench: Bench) -> None:
    client = bench.client(signed=False)
    await client.instruments.load_all()
    assert dir(client.raw)
    with pytest.raises(ConfigError):
        await client.raw.no_such_endpoint()


# ---- signed, without a socket


@virtual
async def test_entries_before_connect_are_refused_unsent(bench: Bench) -> None:
    client = bench.client()
    await client.instruments.load_all()
    with pytest.raises(NotReady):
        await client.place_limit_order(BTC, Decimal("0.01"), Decimal(49_000), "buy")
    assert bench.commands() == []


@virtual
async def test_keys_are_proved_by_request(bench: Bench) -> None:
    client = bench.client()
    await client.instruments.load_all()
    await client.account_manager.verify_credentials()
    assert await client.get_account_balance() == DEPOSIT
    assert await client.get_active_orders() == []
    assert await client.get_open_positions() == []


@virtual
async def test_an_order_is_placed_proved_and_canceled_by_requests_alone(bench: Bench) -> None:
    """A hedge does not wait for streams: what they would tell is asked for."""
    client = bench.client()
    await client.instruments.load_all()
    result = await client.place_limit_order(BTC, Decimal("0.01"), Decimal(49_000), "buy", purpose=Purpose.HEDGE, wait_for="open")
    assert (result.success, result.status) == (True, OrderStatus.OPEN)
    assert len(bench.orders()) == 1
    assert result.client_order_id is not None
    ended = await client.cancel_order(result.client_order_id)
    assert ended.status is OrderStatus.CANCELED
    assert bench.orders() == []
