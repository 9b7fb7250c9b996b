"""What is Aster's own: two signatures, the listen key, intervals, open interest, position mode, markets asked one by one, limits told."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from decimal import Decimal
from urllib.parse import parse_qsl

import pytest

from exchange_clients.aster import AsterClient
from exchange_clients.aster.client.managers.market_data import OPEN_INTEREST_PER_CALL
from exchange_clients.aster.client.utils.caching import INTEREST_KEPT_S
from exchange_clients.aster.websocket.connection import RENEW_EVERY_S
from exchange_clients.errors import (
    BadSignature,
    ConfigError,
    NonceError,
    NotReady,
    OrderDenied,
    OrderOutcomeUnknown,
    PermissionDenied,
    PostOnlyWouldCross,
    ProtocolError,
    RateLimited,
    SubscriptionRefused,
    VenueUnavailable,
)
from exchange_clients.model import (
    NS_PER_S,
    FillKind,
    Gap,
    MarginMode,
    OrderIntent,
    OrderStatus,
    OrderType,
    PositionMode,
    Purpose,
    Side,
    TimeInForce,
)
from exchange_clients.signing import Credentials
from exchange_simulator import simloop
from exchange_simulator.conformance.bench import BTC, ETH, Bench, buffered, rest_order, take
from exchange_simulator.core import types as core
from exchange_simulator.core.exchange import Exchange
from exchange_simulator.dialects.aster import AsterDialect
from exchange_simulator.dialects.aster.dialect import DAY_S
from exchange_simulator.dialects.base import Budget, DialectServer, Kind, Lose, Received, RequestFault
from tests.venues.aster.harness import connected, dialect_of, list_market, orders_of, sockets_of, virtual

D = Decimal


def sent(bench: Bench, path: str, method: str = "") -> list[Received]:
    """HTTP requests under a path (without version)."""
    return [r for r in bench.dialect.received if r.kind is Kind.HTTP and r.path.endswith(f"/{path}") and method in ("", r.method)]


def forms(bench: Bench, path: str, method: str) -> list[dict[str, str]]:
    return [dict(parse_qsl(r.body.decode())) for r in sent(bench, path, method)]


# ---- signatures


@virtual
async def test_keys_of_api_v1_trade_all_the_same(bench: Bench) -> None:
    account = dialect_of(bench).legacy_keys(bench.account)
    client = await connected(bench, account=account)
    heard = buffered(client.watch_fills())
    info = await rest_order(client)
    assert info.status is OrderStatus.OPEN
    assert info.client_order_id is not None
    await client.amend_order(info.client_order_id, price=D(48_500))
    assert (await client.cancel_order(info.client_order_id)).status is OrderStatus.CANCELED
    await take(client, "buy")
    await bench.until(lambda: heard, "the stream speaks to keys of v1 too")
    assert (await client.set_leverage(BTC, 7)).account_leverage == 7
    assert await client.get_account_balance() is not None
    signed = [r for r in bench.dialect.received if r.kind is Kind.HTTP and "X-MBX-APIKEY" in r.headers]
    assert signed
    assert not [r for r in signed if r.path.startswith("/fapi/v3/")]
    assert {"/fapi/v4/account", "/fapi/v2/positionRisk", "/fapi/v1/listenKey"} <= {r.path for r in signed}


@virtual
async def test_a_v1_clock_that_was_set_is_measured_before_it_is_signed_with(bench: Bench) -> None:
    account = dialect_of(bench).legacy_keys(bench.account)
    client = await connected(bench, account=account)
    client.context.venue_time.observe(bench.now() - 60 * NS_PER_S, bench.now(), bench.now())
    with pytest.raises(NonceError):
        await client.get_account_balance()
    await client.measure_clock_offset()
    assert await client.get_account_balance() is not None


@virtual
async def test_everything_goes_out_with_a_nonce_of_its_own(bench: Bench) -> None:
    client = await connected(bench)
    await asyncio.gather(*(client.get_account_balance() for _ in range(20)), *(rest_order(client, price=str(48_000 + n)) for n in range(5)))
    nonces = [r.params["nonce"] for r in bench.dialect.received if "nonce" in r.params]
    assert len(set(nonces)) == len(nonces) > 25


@virtual
async def test_two_clients_of_one_agent_share_its_nonces(bench: Bench) -> None:
    first, second = await connected(bench), await connected(bench)
    await asyncio.gather(*(c.get_account_balance() for c in (first, second) for _ in range(10)))


@virtual
async def test_two_agents_of_one_account_have_nonces_of_their_own(bench: Bench) -> None:
    other = dialect_of(bench).another_agent(bench.account)
    first, second = await connected(bench), await connected(bench, account=other)
    info = await rest_order(first)
    assert [one.order_id for one in await second.get_active_orders()] == [info.order_id]


@virtual
async def test_a_wrong_chain_is_a_bad_signature(bench: Bench) -> None:
    dialect_of(bench).chain_id = 714
    client = bench.client(environment="mainnet", endpoints={**bench.server.endpoints, "chain_id": 1666})
    with pytest.raises(BadSignature):
        await client.connect()


@virtual
async def test_an_account_without_a_deposit_is_told_so(bench: Bench) -> None:
    dialect_of(bench).wallet(bench.account.account).deposited = False
    with pytest.raises(PermissionDenied, match="DEPOSIT_REQUIRED"):
        await bench.client().connect()


# ---- position mode


@virtual
async def test_hedge_mode_is_refused_at_connect_and_can_be_left(bench: Bench) -> None:
    dialect_of(bench).wallet(bench.account.account).hedge = True
    client = bench.client()
    assert isinstance(client, AsterClient)
    with pytest.raises(ConfigError, match="hedge mode"):
        await client.connect()
    assert not client.context.entries_allowed
    keys = bench.client()
    assert isinstance(keys, AsterClient)
    assert (await keys.get_key_info()).position_mode is PositionMode.HEDGE
    await keys.account_manager.set_one_way_mode()  # type: ignore[attr-defined]
    again = await connected(bench)
    assert (await again.get_key_info()).position_mode is PositionMode.ONE_WAY
    assert (await rest_order(again)).status is OrderStatus.OPEN


@virtual
async def test_an_account_that_may_not_trade_is_refused(bench: Bench) -> None:
    dialect_of(bench).wallet(bench.account.account).can_trade = False
    with pytest.raises(PermissionDenied, match="may not trade"):
        await bench.client().connect()


# ---- the listen key


@virtual
async def test_the_listen_key_lives_as_long_as_the_client(bench: Bench) -> None:
    client = await connected(bench)
    heard = buffered(client.watch_fills())
    before = bench.sockets()
    await bench.runtime.clock.sleep(5 * 3600)
    assert bench.sockets() == before, "renewed in time: no socket was lost"
    renewals = sent(bench, "listenKey", "PUT")
    assert 5 * 3600 / RENEW_EVERY_S - 2 <= len(renewals) <= 5 * 3600 / RENEW_EVERY_S + 1
    await take(client, "buy")
    await bench.until(lambda: heard, "its stream still speaks")


@virtual
async def test_a_renewal_that_fails_is_made_again_within_the_hour(bench: Bench) -> None:
    client = await connected(bench)
    bench.hands.requests(RequestFault(status=503), times=12, when=lambda r: r.path.endswith("listenKey") and r.method == "PUT")
    await bench.runtime.clock.sleep(2 * 3600)
    assert client.is_connected
    wallet = dialect_of(bench).wallet(bench.account.account)
    assert wallet.listen_until_ns > bench.now()
    assert wallet.listen_key


@virtual
async def test_an_expired_listen_key_is_replaced_and_nothing_is_missed(bench: Bench) -> None:
    """The socket stays open and silent: the venue says so once, and what happened meanwhile is asked for."""
    client = await connected(bench)
    fills = buffered(client.watch_fills())
    info = await rest_order(client, price="50000")
    dialect_of(bench).expire_tokens()
    bench.trade(core.Side.SELL, D("0.01"))
    await bench.until(lambda: any(not isinstance(f, Gap) for f in fills), "the fill of the silence is learned", timeout_s=60)
    assert any(isinstance(f, Gap) for f in fills)
    assert info.client_order_id is not None
    await bench.until(lambda: client.context.entries_allowed, "entries again", timeout_s=60)
    await take(client, "buy")
    await bench.until(lambda: sum(not isinstance(f, Gap) for f in fills) == 2, "the new key's stream speaks")


@virtual
async def test_a_key_that_the_venue_forgot_is_replaced_at_the_next_renewal(bench: Bench) -> None:
    """Not even told: the renewal finds out."""
    client = await connected(bench)
    wallet = dialect_of(bench).wallet(bench.account.account)
    first, wallet.listen_key = wallet.listen_key, ""
    await bench.runtime.clock.sleep(RENEW_EVERY_S + 60)
    assert wallet.listen_key not in ("", first)
    assert client.is_connected
    heard = buffered(client.watch_fills())
    await take(client, "buy")
    await bench.until(lambda: heard, "the new key's stream speaks")


@virtual
async def test_sockets_are_replaced_before_the_venue_ends_them(bench: Bench) -> None:
    client = await connected(bench)
    assert sockets_of(client).max_age_s == 23 * 3600 < DAY_S
    sockets_of(client).max_age_s = 600.0
    before = bench.sockets()
    await bench.runtime.clock.sleep(700)
    assert bench.sockets() - before == 2
    await client.ws_manager.prepare_market_feed(client.instruments.get(BTC))
    await bench.book_is_true(client)
    await bench.until(lambda: client.context.entries_allowed, "entries again")


# ---- funding and open interest


@virtual
async def test_intervals_are_each_markets_own(bench: Bench) -> None:
    client = bench.client(signed=False)
    await client.instruments.load_all()
    rates = {key.base: sample.interval_hours for key, sample in (await client.fetch_funding_rates()).items()}
    assert rates == {BTC: 8, ETH: 4}
    assert client.instruments.get(ETH).funding_interval_hours == 4


@virtual
async def test_a_market_without_a_told_interval_has_no_rate(bench: Bench) -> None:
    """Eight hours would be a guess, and wrong by eight for the fastest markets."""
    dialect_of(bench).untold_intervals = {"ETHUSDT"}
    client = bench.client(signed=False)
    await client.instruments.load_all()
    assert [key.base for key in await client.fetch_funding_rates()] == [BTC]
    assert client.instruments.get(ETH).funding_interval_hours is None
    with pytest.raises(ProtocolError, match="interval"):
        await client.fetch_funding_rate(ETH)
    heard = buffered(client.watch_funding(ETH))
    await client.ws_manager.connect()
    await bench.runtime.clock.sleep(5)
    assert heard == []


@virtual
async def test_a_change_of_interval_shows_within_a_minute(bench: Bench) -> None:
    client = bench.client(signed=False)
    await client.instruments.load_all()
    await client.fetch_funding_rates()
    market = bench.exchange.markets[bench.symbol(BTC)].spec
    bench.exchange.change_market(bench.now(), replace(market, funding_interval_ns=market.funding_interval_ns // 8))
    await bench.runtime.clock.sleep(61)
    assert (await client.fetch_funding_rate(BTC)).interval_hours == 1
    assert {s.interval_hours for s in (await client.fetch_funding_rates()).values()} == {D(1), D(4)}


@virtual
async def test_a_streamed_rate_has_the_interval_of_now_or_none(bench: Bench) -> None:
    """Without a key, too. A rate of one hour under eight would count an eighth."""
    client = await connected(bench, signed=False)
    heard = buffered(client.watch_funding(BTC))
    clock = bench.runtime.clock
    await bench.until(lambda: heard, "a rate")
    market = bench.exchange.markets[bench.symbol(BTC)].spec
    bench.exchange.change_market(bench.now(), replace(market, funding_interval_ns=market.funding_interval_ns // 8))
    await clock.sleep(65)
    assert [sample.interval_hours for sample in heard if not isinstance(sample, Gap)][-1] == 1
    bench.hands.requests(RequestFault(status=503), times=1_000, when=lambda r: r.path.endswith("fundingInfo"))
    await clock.sleep(660)
    heard.clear()
    await clock.sleep(30)
    assert heard == [], "what was told ten minutes ago is no interval of now"


@virtual
async def test_no_interval_is_made_up_when_the_request_fails(bench: Bench) -> None:
    async with bench.funding_adapter() as adapter:
        await adapter.fetch_funding_rates()
        await bench.runtime.clock.sleep(61)
        bench.hands.requests(RequestFault(status=503), times=100, when=lambda r: r.path.endswith("fundingInfo"))
        with pytest.raises(VenueUnavailable):
            await adapter.fetch_funding_rates()


@virtual
async def test_open_interest_is_asked_for_a_few_markets_at_a_time(bench: Bench) -> None:
    for n in range(60):
        list_market(bench, f"M{n:02}", "0.001", "0.1", "10")
    async with bench.funding_adapter() as adapter:
        seen: list[int] = []
        for _ in range(5):
            figures = await adapter.fetch_market_data()
            seen.append(sum("open_interest" in row for row in figures.values()))
            assert all("volume_24h" in row for row in figures.values())
            await bench.runtime.clock.sleep(60)
        assert seen == [20, 40, 60, 62, 62]
        asked = sent(bench, "openInterest")
        assert len(asked) == 5 * OPEN_INTEREST_PER_CALL
        assert {r.params["symbol"] for r in asked[:2]} <= {f"M{n:02}USDT" for n in range(60)} | {"BTCUSDT", "ETHUSDT"}
        await bench.runtime.clock.sleep(INTEREST_KEPT_S + 1)
        figures = await adapter.fetch_market_data()
        assert sum("open_interest" in row for row in figures.values()) == OPEN_INTEREST_PER_CALL, "what is too old is no figure"


@virtual
async def test_busy_markets_come_first(bench: Bench) -> None:
    bench.trade(core.Side.BUY, D(1), base=ETH)
    client = bench.client(signed=False, venue_options={"open_interest_per_call": 1})
    await client.instruments.load_all()
    tickers = {t.instrument.base: t.open_interest for t in await client.market_data.fetch_tickers()}
    assert tickers[ETH] is not None
    assert tickers[BTC] is None
    assert (await client.fetch_ticker(BTC)).open_interest is not None


@pytest.mark.parametrize("options", [{"nonsense": 1}, {"open_interest_per_call": -1}, {"open_interest_per_call": "all"}])
def test_wrong_options_are_named(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="option"):
        AsterClient({"venue_options": options})


# ---- thousands


@virtual
async def test_a_thousand_market_is_traded_in_tokens(bench: Bench) -> None:
    list_market(bench, "1000PEPE", "0.00001", "1", "0.02")
    client = await connected(bench)
    pepe = client.instruments.get("PEPE")
    assert (pepe.venue_symbol, pepe.multiplier, pepe.step_size) == ("1000PEPEUSDT", D(1000), D(1000))
    result = await client.place_limit_order("PEPE", D(600_500), D("0.0000195"), "buy", wait_for="open")
    assert (result.size, result.price) == (D(600_000), D("0.0000195"))
    (order,) = bench.exchange.open_orders(bench.account.account, "1000PEPEUSDT")
    assert (order.size, order.price) == (600, 1950)
    assert forms(bench, "order", "POST")[-1]["price"] == "0.0195"
    taken = await client.place_limit_order("PEPE", D(400_000), D("0.0000205"), "buy", time_in_force="IOC", wait_for="terminal")
    assert (taken.filled_size, taken.average_price) == (D(400_000), D("0.0000202"))
    snapshot = await client.get_position_snapshot("PEPE")
    assert snapshot is not None
    assert (snapshot.quantity, snapshot.entry_price) == (D(400_000), D("0.0000202"))
    assert (await client.fetch_bbo_prices("PEPE"))[0] == D("0.0000198")
    await client.ws_manager.prepare_market_feed(pepe)
    assert client.ws_manager.get_order_book(pepe, 1).asks[0].size == D(99_600_000)


# ---- orders


@virtual
async def test_orders_go_out_as_the_venue_wants_them(bench: Bench) -> None:
    client = await connected(bench)
    await rest_order(client, post_only=True)
    (form,) = forms(bench, "order", "POST")
    assert {k: form[k] for k in ("symbol", "side", "type", "timeInForce", "quantity", "price", "newOrderRespType")} == {
        "symbol": "BTCUSDT",
        "side": "BUY",
        "type": "LIMIT",
        "timeInForce": "GTX",
        "quantity": "0.01",
        "price": "49000",
        "newOrderRespType": "RESULT",
    }
    assert list(form)[-4:] == ["nonce", "user", "signer", "signature"]
    await take(client, "buy", "0.02")
    await client.place_trigger_order(BTC, D("0.02"), D(49_000), "sell", OrderType.STOP_MARKET)
    stop = forms(bench, "order", "POST")[-1]
    assert (stop["type"], stop["stopPrice"], stop["workingType"], stop["reduceOnly"]) == ("STOP_MARKET", "49000", "MARK_PRICE", "true")
    assert not {"price", "timeInForce", "closePosition"} & set(stop)


@pytest.mark.parametrize("time_in_force", [TimeInForce.GTC, TimeInForce.IOC])
def test_a_market_intent_never_leaves_without_its_bound(time_in_force: TimeInForce) -> None:
    @virtual
    async def run(bench: Bench) -> None:
        client = await connected(bench)
        intent = OrderIntent(
            instrument=client.instruments.get(BTC).id,
            side=Side.BUY,
            quantity=D("0.02"),
            price=D(49_000),
            order_type=OrderType.MARKET,
            time_in_force=time_in_force,
        )
        await client.order_manager.place(intent)
        (batched,) = await client.place_orders([intent])
        assert batched.success
        alone = forms(bench, "order", "POST")[-1]
        (together,) = json.loads(forms(bench, "batchOrders", "POST")[-1]["batchOrders"])
        for form in (alone, together):
            assert (form["type"], form["timeInForce"], form["price"]) == ("LIMIT", "IOC", "49000")
        assert (bench.position(), bench.orders()) == (D(0), []), "the best offer is above the bound"

    run()


def test_a_post_only_order_may_be_accepted_and_expire() -> None:
    """The other way in which a venue of this family refuses."""

    async def main(sim: simloop.Simulation) -> None:
        exchange = Exchange(replace(AsterDialect.rules(), post_only_late=True))
        dialect = AsterDialect(exchange, sim.runtime, seed=3)
        market = AsterDialect.listing("BTC", tick_size=D("0.1"), step_size=D("0.001"))
        now = dialect.now_ns()
        exchange.add_market(now, market, mark=market.to_ref(D(50_000)))
        exchange.set_levels(now, "BTCUSDT", [(499_990, 1000)], [(500_010, 1000)])
        account = dialect.open_account(D(10_000))
        async with DialectServer(dialect, network=sim.network) as server:
            keys = Credentials("aster", {n.lower().removeprefix("aster_"): v for n, v in account.environ.items()})
            async with AsterClient({"endpoints": server.endpoints, "ticker": "BTC"}, keys, runtime=sim.runtime) as client:
                result = await client.place_limit_order("BTC", D("0.01"), D(50_100), "buy", post_only=True, wait_for="terminal")
        assert not result.success
        assert isinstance(result.error, PostOnlyWouldCross)
        assert result.outcome == "refused"
        assert result.error_message

    simloop.run(main, seed=5)


@virtual
async def test_a_batch_is_split_and_counted(bench: Bench) -> None:
    client = await connected(bench)
    instrument = client.instruments.get(BTC).id
    before = client.context.limiter.headroom("orders_10s")
    intents = [OrderIntent(instrument=instrument, side=Side.BUY, quantity=D("0.01"), price=D(48_000 + n)) for n in range(7)]
    results = await client.place_orders(intents)
    assert all(result.success for result in results)
    batches = [json.loads(form["batchOrders"]) for form in forms(bench, "batchOrders", "POST")]
    assert [len(batch) for batch in batches] == [5, 2]
    assert before - client.context.limiter.headroom("orders_10s") == 7
    eth = await client.place_limit_order(ETH, D("0.1"), D(2_400), "buy", wait_for="open")
    ended = await client.cancel_orders([r.client_order_id or "" for r in [*results[:3], eth]])
    assert {one.status for one in ended} == {OrderStatus.CANCELED}
    assert len(forms(bench, "batchOrders", "DELETE")) == 2, "one market in each"


@virtual
async def test_only_resting_limit_orders_are_amended(bench: Bench) -> None:
    client = await connected(bench)
    await take(client, "buy", "0.02")
    stop = await client.place_trigger_order(BTC, D("0.02"), D(49_000), "sell", OrderType.STOP_MARKET, wait_for="open")
    assert stop.client_order_id is not None
    before = len(bench.commands())
    with pytest.raises(OrderDenied):
        await client.amend_order(stop.client_order_id, price=D(48_000))
    assert len(bench.commands()) == before


@virtual
async def test_an_amend_keeps_the_order_and_its_fills(bench: Bench) -> None:
    client = await connected(bench)
    info = await rest_order(client, quantity="0.03", price="50000")
    bench.trade(core.Side.SELL, D("0.01"))
    assert info.client_order_id is not None
    amended = await client.amend_order(info.client_order_id, price=D(49_900), quantity=D("0.05"))
    assert amended.order_id == info.order_id
    (order,) = bench.orders()
    assert bench.market().size(order.remaining) == D("0.04")
    assert "side" not in forms(bench, "order", "PUT")[-1]


@virtual
async def test_orders_are_looked_up_by_market(bench: Bench) -> None:
    client = await connected(bench)
    with pytest.raises(ConfigError, match="contract_id"):
        await client.get_order_info("12345")


@virtual
async def test_ids_that_the_venue_would_refuse_are_denied(bench: Bench) -> None:
    client = await connected(bench)
    for wrong in ("", " ", "ä", "x" * 37, "a b"):
        if wrong:
            with pytest.raises(OrderDenied, match="client order id"):
                await client.place_limit_order(BTC, D("0.01"), D(49_000), "buy", client_order_id=wrong)
    assert bench.commands() == []


@virtual
async def test_a_stop_that_expires_unfired_is_asked_about(bench: Bench) -> None:
    """Its end on the stream may be the beginning of a market order: only the venue's record of the order ends it."""
    client = await connected(bench)
    await take(client, "buy", "0.02")
    stop = await client.place_trigger_order(BTC, D("0.02"), D(49_000), "sell", OrderType.STOP_MARKET, wait_for="open")
    assert stop.client_order_id is not None
    events = buffered(client.watch_orders())
    bench.set_mark(48_900)
    await bench.until(lambda: bench.position() == 0, "the stop closed")
    await bench.until(lambda: any(getattr(e, "status", None) is OrderStatus.FILLED for e in events), "and is told as filled")
    states = [e.status for e in events if not isinstance(e, Gap) and e.client_order_id == stop.client_order_id]
    assert OrderStatus.EXPIRED not in states
    assert OrderStatus.CANCELED not in states


# ---- the dead-man switch is one per market


@virtual
async def test_a_switch_covers_markets_that_come_later(bench: Bench) -> None:
    client = await connected(bench)
    await rest_order(client)
    await client.arm_dead_man_switch(600)
    eth = await client.place_limit_order(ETH, D("0.1"), D(2_400), "buy", wait_for="open")
    assert eth.success
    assert [form["symbol"] for form in forms(bench, "countdownCancelAll", "POST")] == ["BTCUSDT", "ETHUSDT"]
    await bench.runtime.clock.sleep(601)
    assert (bench.orders(), bench.orders(ETH)) == ([], [])
    await rest_order(client)
    assert len(forms(bench, "countdownCancelAll", "POST")) == 2, "a switch that fired is not armed any more"


@virtual
async def test_disarming_reaches_every_market_that_was_armed(bench: Bench) -> None:
    client = await connected(bench)
    info = await rest_order(client)
    await client.arm_dead_man_switch(600)
    assert info.client_order_id is not None
    await client.cancel_order(info.client_order_id)
    await client.arm_dead_man_switch(None)
    assert [form["countdownTime"] for form in forms(bench, "countdownCancelAll", "POST")] == ["600000", "0"]
    assert orders_of(client)._armed == {}


@virtual
async def test_a_renewed_switch_leaves_no_older_countdown_behind(bench: Bench) -> None:
    """A market whose orders ended before the renewal: its first countdown would cancel the next order half a minute early."""
    client = await connected(bench)
    info = await rest_order(client)
    assert info.client_order_id is not None
    await client.arm_dead_man_switch(60)
    await client.cancel_order(info.client_order_id)
    await bench.runtime.clock.sleep(30)
    await client.arm_dead_man_switch(60)
    await bench.runtime.clock.sleep(5)
    await rest_order(client, price="48500")
    await bench.runtime.clock.sleep(40)
    assert len(bench.orders()) == 1, "75 s after the first arming, 45 s after the second"
    await bench.runtime.clock.sleep(20)
    assert bench.orders() == [], "90 s after the first"


@virtual
async def test_a_market_that_a_renewal_did_not_reach_is_armed_before_its_next_entry(bench: Bench) -> None:
    client = await connected(bench)
    info = await rest_order(client)
    assert info.client_order_id is not None
    await client.arm_dead_man_switch(60)
    await client.cancel_order(info.client_order_id)
    await bench.runtime.clock.sleep(30)
    bench.hands.requests(RequestFault(status=503), times=1, when=lambda r: r.path.endswith("countdownCancelAll"))
    with pytest.raises(VenueUnavailable):
        await client.arm_dead_man_switch(60)
    await rest_order(client, price="48500")
    await bench.runtime.clock.sleep(45)
    assert len(bench.orders()) == 1
    await client.arm_dead_man_switch(None)
    await bench.runtime.clock.sleep(60)
    assert len(bench.orders()) == 1, "disarmed"


@virtual
async def test_an_exit_does_not_wait_for_the_switch(bench: Bench) -> None:
    client = await connected(bench)
    await take(client, "buy", "0.02")
    await client.arm_dead_man_switch(600)
    before = len(forms(bench, "countdownCancelAll", "POST"))
    closing = OrderIntent(
        instrument=client.instruments.get(BTC).id,
        side=Side.SELL,
        quantity=D("0.01"),
        price=D(49_900),
        reduce_only=True,
        purpose=Purpose.UNWIND,
        time_in_force=TimeInForce.IOC,
    )
    await client.order_manager.place(closing)
    await client.place_orders([closing])
    assert bench.position() == D(0)
    assert len(forms(bench, "countdownCancelAll", "POST")) == before


# ---- what queries without a market cost


@virtual
async def test_reconciling_asks_only_where_something_happened(bench: Bench) -> None:
    for n in range(40):
        list_market(bench, f"M{n:02}", "0.001", "0.1", "10")
    first = await connected(bench)
    await take(first, "buy", "0.5")
    await take(first, "sell", "0.5", reduce_only=True)
    await first.disconnect()
    before = len(bench.dialect.received)
    second = await connected(bench)
    asked = [r for r in list(bench.dialect.received)[before:] if r.path.endswith(("userTrades", "allOrders"))]
    assert {r.params["symbol"] for r in asked} == {"BTCUSDT"}
    assert len((await second.generate_mass_status()).fills) == 2


@virtual
async def test_history_is_asked_week_by_week_from_where_the_market_began(bench: Bench) -> None:
    client = await connected(bench)
    await take(client, "buy")
    before = len(sent(bench, "userTrades"))
    fills = await client.get_user_trade_history(BTC, since_ns=0)
    assert len(fills) == 1
    spans = [(int(r.params["startTime"]), int(r.params["endTime"])) for r in sent(bench, "userTrades")[before:]]
    assert len(spans) == 5, "thirty days"
    assert all(end - start < 7 * 86_400_000 for start, end in spans)
    assert [start for start, _ in spans[1:]] == [end + 1 for _, end in spans[:-1]]


@virtual
async def test_a_forced_fill_that_only_the_record_tells_is_still_forced(bench: Bench) -> None:
    poor = bench.another_account(D(3_000))
    client = await connected(bench, account=poor)
    await client.place_limit_order(BTC, D("0.9"), D(50_100), "buy", time_in_force="IOC", wait_for="terminal")
    await client.disconnect()
    market = bench.market()
    bench.exchange.set_levels(bench.now(), bench.symbol(), [(market.to_ticks(D(46_500)), market.to_steps(D(5)))], [])
    bench.set_mark(46_600)
    again = await connected(bench, account=poor)
    fills = await again.get_user_trade_history(BTC, since_ns=bench.now() - 3600 * NS_PER_S)
    assert {fill.kind for fill in fills} == {FillKind.TRADE, FillKind.LIQUIDATION}


# ---- leverage and margin


@virtual
async def test_leverage_and_mode_are_two_settings_each_sent_where_it_differs(bench: Bench) -> None:
    client = await connected(bench)
    await client.set_leverage(BTC, 5, MarginMode.ISOLATED)
    assert (len(sent(bench, "leverage", "POST")), len(sent(bench, "marginType", "POST"))) == (1, 1)
    await client.set_margin_mode(BTC, MarginMode.CROSS)
    assert (len(sent(bench, "leverage", "POST")), len(sent(bench, "marginType", "POST"))) == (1, 2)
    assert client.instruments.get(BTC).max_leverage == bench.market().max_leverage
    with pytest.raises(ConfigError, match="whole number"):
        await client.set_leverage(BTC, D("2.5"))


@virtual
async def test_what_somebody_set_meanwhile_is_no_error(bench: Bench) -> None:
    client = await connected(bench)
    body = b'{"code":-4046,"msg":"No need to change margin type."}'
    account, symbol = bench.account.account, bench.symbol()

    def meanwhile(received: Received) -> bool:
        if not received.path.endswith("marginType"):
            return False
        bench.exchange.set_margin_mode(bench.now(), account, symbol, core.MarginMode.ISOLATED)
        return True

    bench.hands.requests(RequestFault(status=400, body=body), when=meanwhile)
    info = await client.set_leverage(BTC, 5, MarginMode.ISOLATED)
    assert (info.account_leverage, info.margin_mode) == (D(5), MarginMode.ISOLATED)


@virtual
async def test_isolated_margin_moves_both_ways(bench: Bench) -> None:
    client = await connected(bench)
    await client.set_leverage(BTC, 10, MarginMode.ISOLATED)
    await take(client, "buy", "0.1")
    before = bench.exchange.position(bench.account.account, bench.symbol()).margin
    instrument = client.instruments.get(BTC)
    await client.account_manager.move_isolated_margin(instrument, D(100))
    assert bench.exchange.position(bench.account.account, bench.symbol()).margin - before == core.to_money(100)
    await client.account_manager.move_isolated_margin(instrument, D(-40))
    assert bench.exchange.position(bench.account.account, bench.symbol()).margin - before == core.to_money(60)


# ---- limits


@virtual
async def test_the_venues_own_count_and_limits_are_taken_over(bench: Bench) -> None:
    bench.dialect.budget = Budget(2400)
    client = await connected(bench, signed=False)
    bench.dialect.budget.charge("sim", 0, 0.0)
    for key in list(bench.dialect.budget._spent):
        bench.dialect.budget.charge(key, 1000, bench.dialect.clock.elapsed())
    await client.fetch_bbo_prices(BTC)
    assert client.context.limiter.headroom("ip") < 1400
    assert client.context.limiter.limit("orders_1m") == 1200


@virtual
async def test_a_banned_address_waits_as_long_as_the_venue_says(bench: Bench) -> None:
    client = bench.client(signed=False)
    await client.instruments.load_all()
    until = bench.now() // 1_000_000 + 600_000
    body = f'{{"code":-1003,"msg":"Way too many requests; IP(1.2.3.4) banned until {until}."}}'.encode()
    bench.hands.requests(RequestFault(status=418, body=body), times=1)
    with pytest.raises(RateLimited) as caught:
        await client.fetch_bbo_prices(BTC)
    assert caught.value.retry_after_s == pytest.approx(600, abs=2)


@virtual
async def test_many_subscriptions_are_few_messages(bench: Bench) -> None:
    for n in range(30):
        list_market(bench, f"M{n:02}", "0.001", "0.1", "10")
    client = await connected(bench, signed=False)
    for instrument in client.instruments.all():
        client.watch_book(instrument.id)
        client.watch_trades(instrument.id)
    await bench.until(lambda: client.ws_manager.subscription_count == 64, "all are confirmed", timeout_s=60)
    messages = bench.dialect.requests(kind=Kind.MESSAGE)
    assert len(messages) <= 10
    for instrument in client.instruments.all():
        await bench.until(lambda i=instrument: client.ws_manager.order_book_ready(i), f"the book of {instrument.id}", timeout_s=60)  # type: ignore[misc]


@virtual
async def test_what_one_connection_does_not_carry_is_refused_here_and_harms_nothing(bench: Bench) -> None:
    for n in range(98):
        list_market(bench, f"M{n:02}", "0.001", "0.1", "10")
    client = await connected(bench, signed=False)
    markets = client.instruments.all()
    assert len(markets) == 100
    for instrument in markets[:99]:
        client.watch_bbo(instrument.id)
        client.watch_trades(instrument.id)
    one = client.watch_trades(markets[99].id)
    with pytest.raises(SubscriptionRefused, match="200 streams"):
        await client.ws_manager.prepare_market_feed(markets[99])
    assert client.ws_manager.feeds == {}
    client.watch_bbo(markets[99].id)
    with pytest.raises(SubscriptionRefused, match="200 streams"):
        client.watch_book(BTC)
    assert client.ws_manager.feeds == {}
    client.watch_trades(markets[0].id)
    await bench.until(lambda: client.ws_manager.subscription_count == 200, "all are confirmed", timeout_s=60)
    bench.drop_sockets()
    await bench.until(lambda: client.ws_manager.subscription_count == 0, "lost")
    await bench.until(lambda: client.ws_manager.subscription_count == 200, "and again, all at once", timeout_s=60)
    asked = [json.loads(r.body)["params"] for r in bench.dialect.requests(kind=Kind.MESSAGE)]
    assert max(map(len, asked)) == 50
    one.close()
    client.watch_book(BTC)
    await bench.until(lambda: client.ws_manager.order_book_ready(client.instruments.get(BTC)), "the room of the one that ended")


@virtual
async def test_a_refused_subscription_is_told(bench: Bench) -> None:
    client = await connected(bench, signed=False)
    bench.hands.requests(RequestFault(body=b'{"code":2,"msg":"Invalid request: no such stream"}'), when=lambda r: r.kind is Kind.MESSAGE)
    with pytest.raises(SubscriptionRefused, match="no such stream"):
        await client.ws_manager.prepare_market_feed(client.instruments.get(BTC), timeout_s=5)
    assert sockets_of(client).answered(None) == ()


@virtual
async def test_a_lost_answer_of_a_delete_is_not_sent_again(bench: Bench) -> None:
    client = await connected(bench)
    info = await rest_order(client)
    bench.hands.requests(RequestFault(lose=Lose.REPLY), when=lambda r: r.method == "DELETE")
    assert info.client_order_id is not None
    ended = await client.cancel_order(info.client_order_id)
    assert ended.status is OrderStatus.CANCELED
    assert len(sent(bench, "order", "DELETE")) == 1


@virtual
async def test_a_close_goes_out_while_the_stream_is_gone(bench: Bench) -> None:
    client = await connected(bench)
    await take(client, "buy", "0.02")
    bench.hands.requests(RequestFault(status=503), times=1_000, when=lambda r: r.path.endswith("listenKey"))
    bench.drop_sockets()
    await bench.until(lambda: not client.context.entries_allowed, "no entries")
    result = await client.place_limit_order(
        BTC, D("0.02"), D(49_900), "sell", True, time_in_force=TimeInForce.IOC, purpose=Purpose.UNWIND, wait_for="terminal"
    )
    assert result.filled_size == D("0.02")


@virtual
async def test_an_empty_side_ends_the_best_prices(bench: Bench) -> None:
    client = await connected(bench, signed=False)
    btc = client.instruments.get(BTC)
    await client.ws_manager.prepare_market_feed(btc)
    bench.set_level(core.Side.BUY, 49_999, 3)
    await bench.until(lambda: client.ws_manager.get_latest_bbo(btc), "best prices are streamed")
    market = bench.market()
    bench.exchange.set_levels(bench.now(), bench.symbol(), [(market.to_ticks(D(49_000)), 1_000)], [])
    await bench.until(lambda: client.ws_manager.get_latest_bbo(btc) is None, "one side is gone")
    with pytest.raises(NotReady):
        await client.fetch_bbo_prices(BTC)


@virtual
async def test_an_entry_waits_for_its_switch_and_an_exit_does_not(bench: Bench) -> None:
    client = await connected(bench)
    await take(client, "buy", "0.02")
    await client.arm_dead_man_switch(600)
    bench.hands.requests(RequestFault(lose=Lose.REPLY), times=100, when=lambda r: r.path.endswith("countdownCancelAll"))
    with pytest.raises(NotReady, match="dead-man switch") as caught:
        await client.place_limit_order(ETH, D("0.1"), D(2_400), "buy")
    assert caught.value.outcome == "not_sent"
    btc, eth = (client.instruments.get(base).id for base in (BTC, ETH))
    closing = OrderIntent(instrument=btc, side=Side.SELL, quantity=D("0.02"), price=D(49_900), reduce_only=True, purpose=Purpose.UNWIND)
    entry = OrderIntent(instrument=eth, side=Side.BUY, quantity=D("0.1"), price=D(2_400))
    results = await client.place_orders([entry, closing])
    assert [(r.success, r.outcome) for r in results] == [(False, "not_sent"), (True, "accepted")]
    assert (bench.position(), bench.orders(ETH)) == (D(0), [])


@virtual
async def test_the_account_is_asked_for_after_the_last_change(bench: Bench) -> None:
    """Several changes in a moment, and an answer that fails."""
    client = await connected(bench)
    heard = buffered(client.watch_account())
    await take(client, "buy", "0.02")
    await take(client, "sell", "0.02", reduce_only=True)
    bench.hands.requests(RequestFault(status=503), times=3, when=lambda r: r.path.endswith("accountWithJoinMargin"))
    bench.exchange.deposit(bench.now(), bench.account.account, core.to_money(777))
    await bench.runtime.clock.sleep(30)
    truth = (await client.account_manager.fetch_account()).equity
    states = [state for state in heard if not isinstance(state, Gap)]
    assert states[-1].equity == truth
    before = len(sent(bench, "accountWithJoinMargin"))
    await bench.runtime.clock.sleep(30)
    assert len(sent(bench, "accountWithJoinMargin")) == before, "nothing changed"


@virtual
async def test_an_account_event_that_comes_late_tells_no_position(bench: Bench) -> None:
    client = await connected(bench)
    heard = buffered(client.watch_positions())
    now_ms = bench.now() // 1_000_000

    def tell(at_ms: int, amount: str) -> None:
        row = {"s": "BTCUSDT", "pa": amount, "ep": "50000", "cr": "0", "up": "0", "mt": "cross", "iw": "0", "ps": "BOTH", "ma": "USDT"}
        event = {"e": "ACCOUNT_UPDATE", "E": at_ms, "T": at_ms, "a": {"m": "ORDER", "B": [], "P": [row]}}
        client.ws_manager.handler.feed("private", json.dumps(event), bench.now())

    btc = client.instruments.get(BTC).id
    tell(now_ms, "0.02")
    tell(now_ms - 5, "0.01")
    assert client.context.positions[btc].quantity == D("0.02")
    tell(now_ms + 5, "0")
    tell(now_ms + 4, "0.03")
    assert btc not in client.context.positions, "flat is remembered too"
    await bench.runtime.clock.sleep(1)
    assert [p.quantity for p in heard if not isinstance(p, Gap)] == [D("0.02"), D(0)]


@virtual
async def test_markets_load_with_keys_that_are_refused(bench: Bench) -> None:
    """Who looks at prices need not trade; connecting is what proves the key."""
    dialect_of(bench).wallet(bench.account.account).agents.clear()
    client = bench.client()
    found = await client.instruments.load_all()
    assert {i.id.base for i in found} == {BTC, ETH}
    assert all(i.max_leverage is None for i in found)
    with pytest.raises(PermissionDenied):
        await client.connect()


@virtual
async def test_an_amend_to_less_whose_answer_is_lost_is_seen(bench: Bench) -> None:
    client = await connected(bench)
    info = await rest_order(client, quantity="0.03")
    assert info.client_order_id is not None
    bench.hands.requests(RequestFault(lose=Lose.REPLY), when=lambda r: r.method == "PUT")
    with pytest.raises(OrderOutcomeUnknown):
        await client.amend_order(info.client_order_id, quantity=D("0.01"))
    seen = await client.get_order_info(info.client_order_id, force_refresh=True)
    assert seen is not None
    assert seen.size == D("0.01")
