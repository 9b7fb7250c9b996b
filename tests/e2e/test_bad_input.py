"""Bad input over the venues' own wire: one clear error each, and nothing is lost."""

import asyncio
import contextlib
import json
import logging
import random
import re
import resource
import socket
import stat
import sys
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import pytest

from exchange_clients import venues
from exchange_clients.base_client import BaseExchangeClient
from exchange_clients.crypto import secp256k1
from exchange_clients.errors import (
    AuthError,
    ConfigError,
    ConnectFailed,
    DecodeError,
    MissingCredentials,
    OrderDenied,
    OrderOutcomeUnknown,
    Outcome,
    ProtocolError,
    RateLimited,
    Throttled,
    UnknownInstrument,
    VenueError,
    VenueUnavailable,
)
from exchange_clients.lighter import signing as lighter_signing
from exchange_clients.model import NS_PER_S, Lane, OrderIntent, OrderStatus, Side, TimeInForce
from exchange_clients.signing import Credentials
from exchange_clients.transport.runtime import Runtime
from exchange_simulator.conformance.bench import BTC, Bench, loopback, needs, rest_order, set_up, take, virtual
from exchange_simulator.core import types as core
from exchange_simulator.dialects.base import Lose, Reply, RequestFault, Route
from exchange_simulator.dialects.base import Received as Request
from tests.e2e.truth import agrees

pytestmark = pytest.mark.parametrize("venue", venues.names())


# ---- credentials


HMAC = frozenset({"okx"})
"""Any text may be a secret: only the venue can tell."""


def secret_of(bench: Bench) -> str:
    """The credential that signs."""
    keys = bench.credentials()
    return next(item.name for item in bench.spec.credentials if item.secret and item.name in keys)


@pytest.mark.parametrize("value", ["", "your_private_key_here", "<key>", "0x" + "0" * 64])
def test_missing_and_placeholder_keys_make_a_read_only_client_that_says_what_to_set(venue: str, value: str) -> None:
    @virtual
    async def check(bench: Bench) -> None:
        keys, secret = bench.credentials(), secret_of(bench)
        bad = Credentials(venue, {**{item.name: keys.get(item.name) for item in bench.spec.credentials}, secret: value})
        client = venues.create_client(venue, bench.settings(), bad, runtime=bench.runtime)
        await client.connect()
        infix = "" if bench.environment == "mainnet" else f"_{bench.environment.upper()}"
        variables = "|".join(item.variable.format(env=infix) for item in bench.spec.credentials if item.secret)
        calls: list[Callable[[], Any]] = [
            lambda: client.place_limit_order(BTC, D("0.01"), D(49_000), "buy"),
            lambda: client.get_open_positions(),
            lambda: client.get_account_balance(),
            lambda: client.cancel_order("1", contract_id=BTC),
        ]
        for call in calls:
            with pytest.raises(MissingCredentials, match=variables) as caught:
                await call()
            assert caught.value.outcome is Outcome.NOT_SENT
        with pytest.raises(MissingCredentials):
            client.watch_orders()
        assert (await client.fetch_bbo_prices(BTC))[0] > 0
        await client.disconnect()
        assert bench.commands() == []

    check(venue)


@pytest.mark.parametrize("value", ["xyz" * 21, "0x1234", "ab" * 33, "ключ" * 8, "deadbeef" * 100])
def test_a_malformed_key_is_named_and_never_shown(venue: str, value: str) -> None:
    needs(venue not in HMAC, "form that a key must have")

    @virtual
    async def check(bench: Bench) -> None:
        keys = bench.credentials()
        fields = {item.name: keys.get(item.name) for item in bench.spec.credentials}
        with pytest.raises(ConfigError) as caught:
            venues.create_client(venue, None, Credentials(venue, {**fields, secret_of(bench): value}))
        assert caught.value.outcome is Outcome.NOT_SENT
        assert re.search("key|mnemonic", str(caught.value))
        assert value not in f"{caught.value!r} {caught.value.__cause__!r}"
        assert bench.spec.name in str(caught.value)

    check(venue)


@pytest.mark.parametrize("field", ["account_index", "account_address", "api_key_index", "vault_address"])
def test_a_malformed_account_is_named(venue: str, field: str) -> None:
    @virtual
    async def check(bench: Bench) -> None:
        if field not in {item.name for item in bench.spec.credentials}:
            return
        keys = bench.credentials()
        bad = Credentials(venue, {**{item.name: keys.get(item.name) for item in bench.spec.credentials}, field: "twelve"})
        with pytest.raises(ConfigError, match=field):
            venues.create_client(venue, bench.settings(), bad, runtime=bench.runtime)

    check(venue)


@virtual
async def test_a_key_of_another_account_is_refused_at_connect(bench: Bench) -> None:
    mine, other = bench.credentials(), bench.credentials(bench.another_account())
    secret = secret_of(bench)
    mixed = Credentials(bench.spec.name, {**{i.name: mine.get(i.name) for i in bench.spec.credentials}, secret: other[secret]})
    with pytest.raises((AuthError, ConfigError)) as caught:  # where the two do not fit each other, at once
        await venues.create_client(bench.spec.name, bench.settings(), mixed, runtime=bench.runtime).connect()
    assert other[secret] not in str(caught.value)
    assert not bench.dialect.sessions
    assert bench.commands() == []


# ---- orders that make no sense


@virtual
async def test_absurd_orders_are_denied_unsent(bench: Bench) -> None:
    client = await bench.connected()
    absurd = ["1e40", "-1e40", "1e400", "1e-40", "NaN", "Infinity", "-0", "0", "", "abc", "9" * 60]
    for text in absurd:
        for quantity, price in ((text, "49000"), ("0.01", text)):
            with pytest.raises((OrderDenied, ConfigError)) as caught:
                await client.place_limit_order(BTC, quantity, price, "buy")  # type: ignore[arg-type]  # what a careless caller does
            assert caught.value.outcome is Outcome.NOT_SENT
        with pytest.raises((OrderDenied, ConfigError)):
            await client.place_market_order(BTC, text, "buy")  # type: ignore[arg-type]
    for wrong in (None, 0.01, object(), [], "0,01"):
        with pytest.raises(OrderDenied):
            await client.place_limit_order(BTC, wrong, D(49_000), "buy")  # type: ignore[arg-type]
    resting = await rest_order(client)
    assert resting.client_order_id is not None
    for change in ({"price": D("1e40")}, {"quantity": D("1e40")}, {"quantity": D("NaN")}, {"price": D("-1")}):
        with pytest.raises((OrderDenied, ConfigError)):
            await client.amend_order(resting.client_order_id, **change)
    assert len(bench.commands()) == 1
    await agrees(bench, client)


@virtual
async def test_orders_off_the_tick_or_below_the_minimum_are_denied_in_words(bench: Bench) -> None:
    client = await bench.connected()
    instrument = client.instruments.get(BTC)

    def intent(quantity: D, price: D) -> OrderIntent:
        return OrderIntent(instrument=instrument.id, side=Side.BUY, quantity=quantity, price=price)

    off_tick = instrument.round_price(D(49_000), "ROUND_DOWN") + instrument.tick_size / 2
    small = instrument.min_notional > instrument.step_size * 49_000 or instrument.min_quantity > instrument.step_size
    for wrong, words in (
        (intent(D("0.01"), off_tick), "off the tick"),
        (intent(D("0.01") + instrument.step_size / 2, D(49_000)), "multiple of the step"),
        *([(intent(instrument.step_size, D(49_000)), "below the minimum")] if small else []),
        (intent(D("0.01"), D(0)), "must be positive"),
    ):
        with pytest.raises(OrderDenied, match=words) as caught:
            await client.order_manager.place(wrong)
        assert "BTC" in str(caught.value)
    for symbol in ("BTCDOM", "2Z", "1000BTC", "", "BTC-USDC-PERP.nowhere", "btc"):
        with pytest.raises(UnknownInstrument, match=bench.spec.name):
            await client.place_limit_order(symbol, D("0.01"), D(49_000), "buy")
    assert bench.commands() == []
    assert client.context.tracker.unresolved() == ()


@virtual
async def test_a_group_that_is_refused_before_sending_leaves_nothing_in_flight(bench: Bench) -> None:
    client = await bench.connected()
    instrument = client.instruments.get(BTC)
    entry = OrderIntent(
        instrument=instrument.id, side=Side.BUY, quantity=D("0.01"), price=D(49_000), client_order_id=client.new_client_order_id()
    )
    wrong_exit = OrderIntent(
        instrument=instrument.id,
        side=Side.SELL,
        quantity=D("0.01"),
        price=D(52_000),
        order_type="take_profit_limit",  # type: ignore[arg-type]
        reduce_only=True,
    )
    with pytest.raises(VenueError) as caught:
        await client.place_bracket(entry, take_profit=wrong_exit)
    assert caught.value.outcome is Outcome.NOT_SENT
    assert client.context.tracker.live() == ()
    assert bench.commands() == []
    placed = await client.order_manager.place(entry)  # what was never sent may be sent with the same id (E2)
    assert placed.client_order_id == entry.client_order_id


# ---- answers that make no sense


PAGES = [b"", b"null", b"[]", b"{}", b"<html>", b"\xff\xfe", b'"x"', b"[" * 100_000, b"7", b'{"code":"x"}', b"[null]", b'{"status":"ok"}']
VALUES: list[Any] = [
    None, "NaN", "-5", -1, "1e400", "", [], {}, "abc", 10**40, True, "Infinity", 0, "0", -(10**18), 1.5, "1e-400", 2**63, [[]]
]  # fmt: skip


def paths(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value[:5]) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*at, key)
        yield from paths(inner, (*at, key))


def spoiled(body: bytes, rng: random.Random) -> bytes:
    """The same answer with something wrong."""
    choice = rng.random()
    if choice < 0.12:
        return rng.choice(PAGES)
    if choice < 0.2:
        return body[: rng.randrange(len(body) or 1)]
    try:
        answer = json.loads(body)
    except ValueError:
        return rng.choice(PAGES)
    places = list(paths(answer))
    if not places:
        return rng.choice(PAGES)
    *way, last = rng.choice(places)
    where = answer
    for key in way:
        where = where[key]
    if isinstance(where, dict) and rng.random() < 0.2:
        del where[last]
    else:
        where[last] = rng.choice(VALUES)
    return json.dumps(answer).encode()


def reads(client: BaseExchangeClient, any_id: str) -> dict[str, Callable[[], Coroutine[Any, Any, Any]]]:
    """Every verb that reads."""
    instrument = client.instruments.get(BTC)
    now = client.context.runtime.clock.time_ns()
    hour = now - 3600 * NS_PER_S
    return {
        "instruments": lambda: client.instruments.load_all(force=True),
        "bbo": lambda: client.fetch_bbo_prices(BTC),
        "depth": lambda: client.get_order_book_depth(BTC),
        "trades": lambda: client.fetch_trades(BTC),
        "candles": lambda: client.fetch_candles(BTC, "1m", start_ns=now - 600 * NS_PER_S, end_ns=now),
        "ticker": lambda: client.fetch_ticker(BTC),
        "funding rate": lambda: client.fetch_funding_rate(BTC),
        "funding history": lambda: client.fetch_funding_history(BTC, start_ns=hour),
        "open orders": lambda: client.get_active_orders(),
        "order": lambda: client.get_order_info(any_id, force_refresh=True),
        "positions": lambda: client.get_open_positions(),
        "balance": lambda: client.get_account_balance(),
        "leverage": lambda: client.account_manager.fetch_leverage(instrument),
        "trade history": lambda: client.get_user_trade_history(BTC, since_ns=hour),
        "payments": lambda: client.get_funding_payments(since_ns=hour),
        "fees": lambda: client.get_fee_rates(BTC),
        "mass status": lambda: client.generate_mass_status(),
        "clock": lambda: client.measure_clock_offset(),
        "credentials": lambda: client.account_manager.verify_credentials(),
    }


@pytest.mark.parametrize("seed", range(3))
def test_garbage_answers_to_any_question_are_venue_errors_and_change_nothing(venue: str, seed: int) -> None:
    @virtual
    async def check(bench: Bench) -> None:
        client = await bench.connected()
        resting = await rest_order(client)
        await take(client, "buy")
        assert resting.client_order_id is not None
        bench.dialect.budget = None
        rng = random.Random(seed)
        honest, spoiling, spoilt = bench.dialect._answer, False, 0

        async def answer(route: Route, request: Request) -> Reply:
            nonlocal spoilt
            reply: Reply = await honest(route, request)
            if not spoiling or bench.is_command(request):
                return reply
            spoilt += 1
            return Reply(spoiled(reply.encoded(), rng), reply.status, reply.headers)

        bench.dialect._answer = answer
        for _ in range(8):
            for call in reads(client, resting.client_order_id).values():
                for pool in bench.spec.pools:
                    client.context.limiter.observe(pool, limit=10**9)
                spoiling = True
                with contextlib.suppress(VenueError):
                    await call()
                spoiling = False
            await bench.runtime.clock.sleep(90)  # what a spoilt answer may have said of limits is over
            await client.instruments.load_all(force=True)
            await client.measure_clock_offset()
        assert spoilt > 100
        await agrees(bench, client)

    check(venue)


@virtual
async def test_a_market_that_vanishes_from_the_list_stays_known_and_is_not_tradable(bench: Bench) -> None:
    """An empty or shorter list is no reason to lose the name of what one holds."""
    client = await bench.connected()
    instrument = client.instruments.get(BTC)
    await client.ws_manager.prepare_market_feed(instrument)
    await take(client, "buy")
    honest = bench.dialect._answer
    names = {instrument.contract_id, instrument.venue_symbol}

    def without(answer: Any) -> Any:
        """Rows and entries of that market are not there."""
        if isinstance(answer, dict):
            return {key: without(value) for key, value in answer.items() if key not in names}
        if isinstance(answer, list):
            rows = [row for row in answer if not (isinstance(row, dict) and names & {str(v) for v in row.values()})]
            return [without(row) for row in rows]
        return answer

    async def without_btc(route: Route, request: Request) -> Reply:
        reply: Reply = await honest(route, request)
        return Reply(without(json.loads(reply.encoded())), reply.status, reply.headers)

    bench.dialect._answer = without_btc
    await client.instruments.load_all(force=True)
    bench.dialect._answer = honest
    assert not client.instruments.get(instrument.id).tradable
    with pytest.raises(OrderDenied, match="delisted"):
        await client.place_limit_order(BTC, D("0.01"), D(49_000), "buy")
    bench.drop_sockets()
    await bench.until(lambda: not client.context.entries_allowed, "the loss is seen")
    await bench.until(lambda: client.context.entries_allowed, "healed", timeout_s=30)
    await client.instruments.load_all(force=True)
    assert client.instruments.get(instrument.id).tradable
    await agrees(bench, client)


@virtual
async def test_an_absurd_clock_of_the_venue_is_an_error_and_not_believed(bench: Bench) -> None:
    client = await bench.connected()
    before = client.context.venue_time.offset_ns
    honest = bench.dialect._answer

    async def another_century(route: Route, request: Request) -> Reply:
        reply: Reply = await honest(route, request)
        return Reply(later(json.loads(reply.encoded())), reply.status, reply.headers)

    def later(answer: Any) -> Any:
        """Every figure that may be a time, three times itself."""
        if isinstance(answer, dict):
            return {key: later(value) for key, value in answer.items()}
        if isinstance(answer, list):
            return [later(value) for value in answer]
        if isinstance(answer, str) and answer.isdecimal() and len(answer) >= 10:
            return str(int(answer) * 3)
        return answer * 3 if isinstance(answer, int | float) and answer > 10**9 else answer

    bench.dialect._answer = another_century
    with pytest.raises(ProtocolError, match="clock"):
        await client.measure_clock_offset()
    bench.dialect._answer = honest
    assert client.context.venue_time.offset_ns == before
    await rest_order(client)


@pytest.mark.parametrize("jump_s", [-60, 60])
def test_a_clock_that_jumps_while_we_trade_is_measured_again(venue: str, jump_s: int) -> None:
    """What is signed carries the venue's time whatever somebody does to the machine's clock."""

    class Jumping:
        def __init__(self, real: Any) -> None:
            self._real, self.jumped_ns = real, 0

        def time_ns(self) -> int:
            return int(self._real.time_ns()) + self.jumped_ns

        def __getattr__(self, name: str) -> Any:
            return getattr(self._real, name)

    @virtual
    async def check(bench: Bench) -> None:
        clock = Jumping(bench.runtime.clock)
        runtime = replace(bench.runtime, clock=clock)
        client = bench.client(runtime=runtime)
        await client.connect()
        await rest_order(client)
        clock.jumped_ns = jump_s * NS_PER_S
        await bench.runtime.clock.sleep(5)
        offset_ns = client.context.venue_time.offset_ns
        assert offset_ns is not None
        assert offset_ns / NS_PER_S == pytest.approx(-jump_s, abs=1.0)
        result = await client.place_limit_order(BTC, D("0.01"), D(48_000), "buy", wait_for="open")
        assert (result.success, result.status) == (True, OrderStatus.OPEN)
        await agrees(bench, client)

    check(venue)


# ---- limits and outages


@virtual
async def test_a_page_of_a_proxy_refuses_no_order(bench: Bench) -> None:
    """Only the venue's own words refuse: an error page may contain any of them, and the order may be in the book."""
    client = await bench.connected()
    page = b'<html><script nonce="a1b2">invalid order: insufficient margin, does not exist; leverage, open interest 21104</script></html>'
    for n, status in enumerate((502, 503, 504, 500, 429)):
        bench.hands.requests(RequestFault(status=status, body=page), when=bench.is_command)
        with pytest.raises(OrderOutcomeUnknown) as caught:
            await client.place_limit_order(BTC, D("0.01"), D(49_000 - n), "buy")
        assert caught.value.outcome is Outcome.UNKNOWN
        assert client.context.tracker.find(caught.value.client_order_id) is not None
        await bench.runtime.clock.sleep(5)
    await agrees(bench, client)


LONG_PAUSES = ("86400", "1e9", "Wed, 21 Oct 2099 07:28:00 GMT")


@pytest.mark.parametrize("retry_after", [*LONG_PAUSES, "soon", "-5", "²", "nan", ""])
def test_whatever_retry_after_says_the_answer_comes_in_bounded_time(venue: str, retry_after: str) -> None:
    @virtual
    async def check(bench: Bench) -> None:
        client = await bench.connected()
        instrument = client.instruments.get(BTC)
        bench.hands.requests(RequestFault(status=429, body=b"slow down", headers={"Retry-After": retry_after}), times=1_000)
        cost = {name: 1 for name, pool in bench.spec.pools.items() if pool.kind == "rate"}
        began = bench.runtime.clock.monotonic()
        with pytest.raises((RateLimited, Throttled)):
            await client.market_data.fetch_book(instrument)
        assert bench.runtime.clock.monotonic() - began < 90
        bench.hands.rest()
        if retry_after in LONG_PAUSES:
            assert not client.context.limiter.can_afford(cost, Lane.QUERY)
            with pytest.raises((RateLimited, Throttled)):
                await client.market_data.fetch_book(instrument)
            return
        await bench.runtime.clock.sleep(120)
        await agrees(bench, client)
        await rest_order(client)

    check(venue)


@virtual
async def test_reads_during_an_outage_name_the_status_and_heal(bench: Bench) -> None:
    client = await bench.connected()
    instrument = client.instruments.get(BTC)
    for status in (500, 502, 503, 504):
        bench.hands.requests(RequestFault(status=status, body=b"<html>upstream</html>"), times=1_000)
        with pytest.raises(VenueUnavailable, match="upstream"):
            await client.market_data.fetch_book(instrument)
        bench.hands.rest()
        assert (await client.market_data.fetch_book(instrument)).bids
    await agrees(bench, client)


@virtual
async def test_an_amend_whose_answer_is_lost_keeps_the_whole_order(bench: Bench) -> None:
    """The venue may have taken the new size: fills up to the old one do not end the order."""
    needs(bench.spec.capabilities.native_amend, "amend of its own")
    client = await bench.connected()
    for quantity, price in ((D("0.02"), D(49_500)), (D("0.005"), D(49_400))):
        resting = await rest_order(client)
        assert resting.client_order_id is not None
        bench.hands.requests(RequestFault(lose=Lose.REPLY), when=bench.is_command)
        with contextlib.suppress(OrderOutcomeUnknown):  # or it found out by itself
            await client.amend_order(resting.client_order_id, price=price, quantity=quantity)
        await bench.runtime.clock.sleep(12)
        info = await client.get_order_info(resting.client_order_id, force_refresh=True)
        assert info is not None
        assert (info.size, info.price, info.filled_size) == (quantity, price, D(0))
        await agrees(bench, client)
        bench.clear_book()
        bench.trade(core.Side.SELL, quantity, limit=price)
        await bench.runtime.clock.sleep(3)
        info = await client.get_order_info(resting.client_order_id)
        assert info is not None
        assert (info.status, info.filled_size) == (OrderStatus.FILLED, quantity)
        bench.fill_book()
        await agrees(bench, client)


@virtual
async def test_cancels_that_our_limiter_holds_back_have_one_outcome_each(bench: Bench) -> None:
    client = await bench.connected()
    ids = [(await rest_order(client, price=str(49_000 - n))).client_order_id or "" for n in range(3)]
    for pool, about in bench.spec.pools.items():
        if about.kind == "rate":
            client.context.limiter.penalise(40.0, pool)
    results = await client.cancel_orders(ids)
    assert len(results) == 3
    assert {(r.success, r.outcome) for r in results} <= {(False, "not_sent"), (False, "unknown")}
    await bench.runtime.clock.sleep(60)
    await agrees(bench, client)
    assert all(r.success for r in await client.cancel_orders(ids))
    assert bench.orders() == []


# ---- packages and files that are not there


@pytest.fixture
def without_sdk(venue: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a machine where the fast signer is not installed."""
    needs(venue in ("hyperliquid", "lighter"), "choice of signers")
    if venue == "hyperliquid":
        monkeypatch.setitem(sys.modules, "coincurve", None)
    else:

        def nothing() -> Path:
            raise lighter_signing.LibraryUnavailable("lighter-sdk is not installed")

        monkeypatch.setattr(lighter_signing, "find_library", nothing)
    secp256k1._backend.cache_clear()
    yield
    monkeypatch.undo()
    secp256k1._backend.cache_clear()


@pytest.mark.usefixtures("without_sdk")
@loopback
async def test_without_the_fast_signer_the_slow_one_trades_and_says_so(bench: Bench) -> None:
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger(f"exchange_clients.{bench.spec.name}")
    log.addHandler(handler)
    client = await bench.connected()
    log.removeHandler(handler)
    assert any("signer.slow" in line or "signer.fallback" in line for line in said), said
    assert (await rest_order(client)).status is OrderStatus.OPEN
    assert len(bench.orders()) == 1


@pytest.mark.usefixtures("without_sdk")
def test_a_signer_that_cannot_be_had_is_named(venue: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "eth_keys", None)
    monkeypatch.setitem(sys.modules, "eth_keys.main", None)
    monkeypatch.setitem(sys.modules, "eth_keys.backends.native.main", None)

    @virtual
    async def hyperliquid(bench: Bench) -> None:
        with pytest.raises(ConfigError, match="extra `hyperliquid`"):
            bench.client()
        reader = await bench.connected(signed=False)
        assert (await reader.fetch_bbo_prices(BTC))[0] > 0

    async def lighter() -> None:
        async with await set_up(venue, Runtime.system()) as bench:
            client = bench.client(venue_options={"signer": "library"})
            with pytest.raises(ConfigError, match="not installed"):
                await client.connect()
            assert bench.commands() == []

    if venue == "hyperliquid":
        hyperliquid(venue)
    else:
        asyncio.run(lighter())


@virtual
async def test_ids_that_cannot_be_made_durable_stop_orders_before_they_are_sent(bench: Bench) -> None:
    client = await bench.connected(state_directory="/dev/null/nowhere")
    with pytest.raises(ConfigError, match="client order ids cannot be reserved") as caught:
        await client.place_limit_order(BTC, D("0.01"), D(49_000), "buy")
    assert caught.value.outcome is Outcome.NOT_SENT
    assert bench.commands() == []
    assert client.context.tracker.live() == ()


def test_a_full_disk_stops_orders_before_they_are_sent(venue: str, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    @virtual
    async def check(bench: Bench) -> None:
        client = await bench.connected(state_directory=tmp_path)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        try:
            with pytest.raises(ConfigError, match="cannot be reserved"):
                await client.place_limit_order(BTC, D("0.01"), D(49_000), "buy")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert bench.commands() == []
        await rest_order(client)

    check(venue)
    assert stat.S_IMODE(next(tmp_path.iterdir()).stat().st_mode) == 0o600


@loopback
async def test_a_client_whose_first_connect_failed_connects_later_with_its_own_threads(bench: Bench) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nowhere = taken.getsockname()[1]
    settings = bench.settings()
    gone = {"rest": f"http://127.0.0.1:{nowhere}", "ws": {role: f"ws://127.0.0.1:{nowhere}" for role in bench.server.ws}}
    lost = venues.create_client(bench.spec.name, {**settings, "endpoints": {**settings["endpoints"], **gone}}, bench.credentials())
    with pytest.raises(ConnectFailed, match="cannot connect"):
        await lost.connect()
    client = venues.create_client(bench.spec.name, settings, bench.credentials())
    for _ in range(2):
        await client.connect()
        await rest_order(client)
        await client.disconnect()
    assert len(bench.orders()) == 2


def test_a_decode_error_of_a_command_is_unknown(venue: str) -> None:
    @virtual
    async def check(bench: Bench) -> None:
        client = await bench.connected()
        for n, page in enumerate(PAGES):
            bench.hands.requests(RequestFault(status=200, body=page), when=bench.is_command)
            with pytest.raises(OrderOutcomeUnknown) as caught:
                await client.place_limit_order(BTC, D("0.01"), D(49_000 - n), "buy", time_in_force=TimeInForce.GTC)
            assert isinstance(caught.value.__cause__, DecodeError | VenueError)
        await bench.runtime.clock.sleep(20)
        await agrees(bench, client)

    check(venue)
