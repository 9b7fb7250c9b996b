"""Instruments, credentials, connecting, reading market data."""

from __future__ import annotations

from decimal import Decimal

import pytest

from exchange_clients.errors import (
    AuthError,
    ConfigError,
    MissingCredentials,
    NotReady,
    OrderDenied,
    UnknownInstrument,
    VenueError,
)
from exchange_clients.model import NS_PER_HOUR, NS_PER_S, InstrumentId, MarketStatus, Side
from exchange_clients.signing import Credentials, is_placeholder
from exchange_simulator import dialects
from exchange_simulator.conformance.bench import BTC, ETH, MARKETS, Bench, each, needs, virtual
from exchange_simulator.core import types as core
from exchange_simulator.core.exchange import Exchange
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
async def test_a_market_that_ends_is_not_tradable(bench: Bench) -> None:
    client = await bench.connected()
    bench.exchange.delist(bench.now(), bench.symbol(ETH))
    found = {one.id.base: one for one in await client.instruments.load_all(force=True)}
    assert ETH not in found or not found[ETH].tradable
    before = len(bench.commands())
    with pytest.raises((OrderDenied, UnknownInstrument)):
        await client.place_limit_order(ETH, Decimal("0.1"), Decimal(2400), "buy")
    assert len(bench.commands()) == before


# ---- credentials


@virtual
async def test_without_keys_a_client_reads_and_refuses_to_trade(bench: Bench) -> None:
    client = await bench.connected(signed=False)
    assert await client.fetch_bbo_prices(BTC) == (Decimal(49_999), Decimal(50_001))
    calls = (
        client.place_limit_order(BTC, Decimal("0.01"), Decimal(49_000), "buy"),
        client.place_market_order(BTC, Decimal("0.01"), "buy"),
        client.get_active_orders(),
        client.get_account_balance(),
    )
    for call in calls:
        with pytest.raises(MissingCredentials):
            await call
    assert bench.commands() == []


@virtual
async def test_placeholder_keys_are_no_keys_and_the_error_names_the_variable(bench: Bench) -> None:
    spec = bench.spec
    keys = Credentials(spec.name, {item.name: "your_key_here" for item in spec.credentials})
    assert is_placeholder("your_key_here")
    problem = keys.problem(spec, bench.environment)
    assert problem is not None
    infix = "" if bench.environment == "mainnet" else f"_{bench.environment.upper()}"
    assert any(item.variable.format(env=infix) in problem for item in spec.credentials)
    client = bench.venue.client(bench.settings(), keys, runtime=bench.runtime)
    try:
        await client.connect()
        with pytest.raises(MissingCredentials):
            await client.place_limit_order(BTC, Decimal("0.01"), Decimal(49_000), "buy")
    finally:
        await client.disconnect()
    assert bench.commands() == []


@virtual
async def test_keys_of_another_account_are_refused_at_connect(bench: Bench) -> None:
    """The key does not match the account: nothing is authenticated, no entry is possible."""
    dialect_class = dialects.get(bench.spec.name)
    elsewhere = dialect_class(Exchange(dialect_class.rules()), bench.runtime, seed=99)
    stranger = elsewhere.open_account(Decimal(1))
    client = bench.client(account=stranger)
    with pytest.raises(VenueError) as caught:
        await client.connect()
    assert isinstance(caught.value, AuthError | ConfigError), repr(caught.value)
    assert caught.value.message
    assert not client.is_connected
    assert not client.context.entries_allowed


@virtual
async def test_keys_show_in_no_text(bench: Bench) -> None:
    keys = bench.credentials()
    client = await bench.connected()
    secrets = [keys[item.name] for item in bench.spec.credentials if item.secret and item.name in keys]
    shown = " ".join([repr(keys), repr(client.context.signer), str(client.context.signer), repr(client.config)])
    for secret in each(secrets):
        assert secret not in shown
        assert secret.removeprefix("0x") not in shown


# ---- connecting


@virtual
async def test_connect_measures_time_loads_markets_and_allows_entries(bench: Bench) -> None:
    client = bench.client()
    assert (client.context.entries_allowed, client.is_connected) == (False, False)
    await client.connect()
    assert (client.context.entries_allowed, client.is_connected) == (True, True)
    assert client.instruments.is_loaded
    assert client.get_exchange_name() == bench.spec.name


@virtual
async def test_disconnect_leaves_no_socket_and_may_come_twice(bench: Bench) -> None:
    client = await bench.connected()
    await client.ws_manager.prepare_market_feed(client.instruments.get(BTC))
    await client.disconnect()
    await client.disconnect()
    await bench.until(lambda: not bench.dialect.sessions, "no session is left at the venue")
    assert not client.is_connected


@virtual
async def test_entries_before_connect_are_refused_unsent(bench: Bench) -> None:
    client = bench.client()
    await client.instruments.load_all()
    with pytest.raises(NotReady):
        await client.place_limit_order(BTC, Decimal("0.01"), Decimal(49_000), "buy")
    assert bench.commands() == []


@virtual
async def test_unknown_settings_are_errors(bench: Bench) -> None:
    with pytest.raises(ConfigError, match="nonsense"):
        bench.client(nonsense=1)
    with pytest.raises(ConfigError, match="environment"):
        bench.client(environment="moon")


# ---- market data by request


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
    market, count = bench.market(), 6_000
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
    rates = [core.to_fraction(Decimal(n % 50 - 25) / 10_000_000) for n in range(count)]
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
async def test_raw_endpoints_answer_typed(bench: Bench) -> None:
    client = bench.client(signed=False)
    await client.instruments.load_all()
    assert dir(client.raw)
    with pytest.raises(ConfigError):
        await client.raw.no_such_endpoint()
