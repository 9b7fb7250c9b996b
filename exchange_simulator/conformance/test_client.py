"""Credentials, connecting, leaving."""

from __future__ import annotations

from decimal import Decimal

import pytest

from exchange_clients.errors import (
    AuthError,
    ConfigError,
    MissingCredentials,
    OrderDenied,
    UnknownInstrument,
    VenueError,
)
from exchange_clients.model import NS_PER_S
from exchange_clients.signing import Credentials, is_placeholder
from exchange_simulator import dialects
from exchange_simulator.conformance.bench import BTC, ETH, Bench, each, virtual
from exchange_simulator.core.exchange import Exchange

MINUTE_NS = 60 * NS_PER_S


# ---- credentials


@virtual
async def test_without_keys_a_client_reads_and_refuses_to_trade(bench: Bench) -> None:
    client = await bench.connected(signed=False)
    assert await client.fetch_bbo_prices(BTC) == (Decimal(49_999), Decimal(50_001))
    with pytest.raises(MissingCredentials):
        await client.place_limit_order(BTC, Decimal("0.01"), Decimal(49_000), "buy")
    with pytest.raises(MissingCredentials):
        await client.place_market_order(BTC, Decimal("0.01"), "buy")
    with pytest.raises(MissingCredentials):
        await client.get_active_orders()
    with pytest.raises(MissingCredentials):
        await client.get_account_balance()
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
async def test_a_market_that_ends_is_not_tradable(bench: Bench) -> None:
    client = await bench.connected()
    bench.exchange.delist(bench.now(), bench.symbol(ETH))
    found = {one.id.base: one for one in await client.instruments.load_all(force=True)}
    assert ETH not in found or not found[ETH].tradable
    before = len(bench.commands())
    with pytest.raises((OrderDenied, UnknownInstrument)):
        await client.place_limit_order(ETH, Decimal("0.1"), Decimal(2400), "buy")
    assert len(bench.commands()) == before
