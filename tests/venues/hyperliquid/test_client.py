"""What is true of this client and of no other, against the dialect: keys, builder markets, thousands, amends, groups, nonces, channels."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from decimal import Decimal as D
from typing import Any

import pytest

from exchange_clients import errors
from exchange_clients.crypto import secp256k1
from exchange_clients.errors import BadSignature, ConfigError, MissingCredentials, OrderDenied, OrderOutcomeUnknown, PermissionDenied
from exchange_clients.hyperliquid import HyperliquidClient, HyperliquidFundingAdapter, signing
from exchange_clients.hyperliquid import messages as m
from exchange_clients.hyperliquid.common import ERRORS, read_error, refusal
from exchange_clients.hyperliquid.websocket.market_switcher import channel_of
from exchange_clients.model import Fill, FillKind, MarginMode, OrderInfo, OrderIntent, OrderStatus, OrderType, Purpose, Side, TimeInForce
from exchange_clients.spec import Stream
from exchange_simulator.core.types import NANOS_PER_HOUR, NewOrder
from exchange_simulator.core.types import Side as CoreSide
from exchange_simulator.core.types import TimeInForce as CoreTif
from exchange_simulator.dialects.base import Lose, RequestFault
from tests.venues.hyperliquid.harness import Bench, is_action, virtual

BUILDER: dict[str, Any] = {"venue_options": {"dexes": ["xyz"]}}


# ---- keys and accounts


@virtual
async def test_the_account_s_own_key_works_too(bench: Bench) -> None:
    client = await bench.connected(bench.credentials(private_key=bench.dialect.master_key(bench.account)))
    assert (await client.place_limit_order("BTC", D("0.01"), D(49_000), "buy")).success


@virtual
async def test_the_key_of_somebody_else_is_refused_at_the_start(bench: Bench) -> None:
    other = bench.dialect.open_account(D(10))
    client = bench.client(bench.credentials(private_key=other.environ["HYPERLIQUID_PRIVATE_KEY"]))
    with pytest.raises(PermissionDenied, match="belongs to"):
        await client.connect()


@virtual
async def test_a_key_that_nobody_approved_is_refused_at_the_start(bench: Bench) -> None:
    client = bench.client(bench.credentials(private_key="0x" + "12" * 32))
    with pytest.raises(PermissionDenied, match="neither an account nor an approved agent"):
        await client.connect()


@virtual
async def test_the_agent_s_address_is_no_account(bench: Bench) -> None:
    agent = signing.SigningKey(bench.account.environ["HYPERLIQUID_PRIVATE_KEY"]).address
    with pytest.raises(PermissionDenied):
        await bench.client(bench.credentials(account_address=agent)).connect()


@virtual
async def test_an_expired_agent_is_refused_and_one_about_to_expire_is_told(bench: Bench) -> None:
    wallet = bench.dialect.wallets[bench.account.environ["HYPERLIQUID_ACCOUNT_ADDRESS"]]
    (agent,) = wallet.agents
    records: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("exchange_clients.hyperliquid")
    logger.addHandler(handler)
    try:
        wallet.agents[agent] = ("bot", bench.dialect.now_ms() + 86_400_000)
        client = await bench.connected()
        assert any("agent.expires days=1.0" in record for record in records)
        info = await client.get_key_info()
        assert info.expires_ns == wallet.agents[agent][1] * 1_000_000
        assert (info.can_trade, info.can_withdraw) == (True, False)
    finally:
        logger.removeHandler(handler)
    wallet.agents[agent] = ("bot", bench.dialect.now_ms() - 1)
    with pytest.raises(PermissionDenied):
        await bench.client().connect()


@virtual
async def test_a_sub_account_is_traded_as_vault_and_asked_about_by_its_own_address(bench: Bench) -> None:
    sub = bench.dialect.open_sub_account(bench.account, D(5_000))
    client = await bench.connected(bench.credentials(sub))
    assert await client.get_account_balance() == D(5_000)
    result = await client.place_limit_order("BTC", D("0.01"), D(50_100), "buy", time_in_force="IOC", wait_for="terminal")
    assert result.filled_size == D("0.01")
    assert bench.exchange.position(sub.account, "BTC").size == 1000
    assert bench.exchange.position(bench.account.account, "BTC").size == 0
    assert bench.bodies("order")[-1]["vaultAddress"] == sub.environ["HYPERLIQUID_VAULT_ADDRESS"]
    assert (await client.get_account_positions("BTC")) == D("0.01")


@virtual
async def test_a_sub_account_named_as_account_is_refused(bench: Bench) -> None:
    """Its orders would go to the master while we looked at the sub-account."""
    sub = bench.dialect.open_sub_account(bench.account, D(5_000)).environ["HYPERLIQUID_VAULT_ADDRESS"]
    with pytest.raises(PermissionDenied, match="named by vault_address"):
        await bench.client(bench.credentials(account_address=sub)).connect()


@virtual
async def test_fees_of_builder_markets_are_a_multiple(bench: Bench) -> None:
    client = await bench.connected(**BUILDER)
    main, builder = await client.get_fee_rates("BTC"), await client.get_fee_rates("xyz:TSLA")
    assert (main.taker, main.maker) == (D("0.00045"), D("0.00015"))
    assert (builder.taker, builder.maker) == (D("0.0009"), D("0.0003"))


@virtual
async def test_a_sub_account_of_another_master_is_refused(bench: Bench) -> None:
    foreign = bench.dialect.open_sub_account(bench.dialect.open_account(D(10)), D(10))
    with pytest.raises(PermissionDenied):
        await bench.client(bench.credentials(vault_address=foreign.environ["HYPERLIQUID_VAULT_ADDRESS"])).connect()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("account_address", "0x12"),
        ("account_address", "hello"),
        ("vault_address", "0xzz"),
        ("private_key", "0x1234"),
        ("private_key", "zy" * 32),
    ],
)
def test_malformed_credentials_are_refused_without_being_shown(field: str, value: str) -> None:
    @virtual
    async def test(bench: Bench) -> None:
        with pytest.raises(ConfigError) as caught:
            bench.client(bench.credentials(None, **{field: value}))
        assert value not in str(caught.value)

    test()


@virtual
async def test_a_client_without_keys_reads_and_says_what_is_missing(bench: Bench) -> None:
    client = await bench.connected(signed=False)
    assert await client.fetch_bbo_prices("BTC") == (D(49_950), D(50_050))
    with pytest.raises(MissingCredentials):
        await client.place_limit_order("BTC", D("0.01"), D(49_000), "buy")
    with pytest.raises(MissingCredentials):
        await client.get_account_balance()


def test_the_other_network_s_signature_is_a_stranger_s() -> None:
    @virtual
    async def test(bench: Bench) -> None:
        bench.dialect.mainnet = False
        client = await bench.connected()
        with pytest.raises(BadSignature, match="does not exist"):
            await client.order_manager.place(intent(client, D(49_000)))
        testnet = await bench.connected(environment="testnet")
        assert (await testnet.place_limit_order("BTC", D("0.01"), D(49_000), "buy")).success

    test()


def test_a_slow_signer_is_reported_once_at_the_start(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    backend = secp256k1._EthKeys()
    monkeypatch.setattr(secp256k1, "_backend", lambda: backend)

    @virtual
    async def test(bench: Bench) -> None:
        client = await bench.connected()
        assert (await client.place_limit_order("BTC", D("0.01"), D(49_000), "buy")).success

    with caplog.at_level(logging.WARNING, "exchange_clients.hyperliquid"):
        test()
    assert sum("signer.slow" in record.getMessage() for record in caplog.records) == 1


# ---- markets


def intent(client: Any, price: D, side: Side = Side.BUY, quantity: D = D("0.01"), **more: Any) -> OrderIntent:
    return OrderIntent(instrument=client.instruments.get("BTC").id, side=side, quantity=quantity, price=price, **more)


@virtual
async def test_builder_markets_have_their_own_numbers_orders_and_positions(bench: Bench) -> None:
    client = await bench.connected(**BUILDER)
    assert str(client.instruments.get("xyz:TSLA").id) == "TSLA-USDC-PERP@xyz.hyperliquid"
    resting = await client.place_limit_order("xyz:TSLA", D(1), D(240), "buy", wait_for="open")
    assert bench.bodies("order")[-1]["action"]["orders"][0]["a"] == 110_000
    assert [o.order_id for o in await client.get_active_orders()] == [resting.order_id]
    assert await client.get_active_orders("BTC") == []
    await client.place_limit_order("TSLA-USDC-PERP@xyz", D(1), D(251), "buy", time_in_force="IOC", wait_for="terminal")
    (held,) = await client.get_open_positions()
    assert (held.symbol, held.quantity) == ("TSLA", D(1))
    assert [r.status for r in await client.cancel_all_orders()] == [OrderStatus.CANCELED]
    rates = await client.fetch_funding_rates()
    assert {str(key) for key in rates} == {f"{name}.hyperliquid" for name in ("BTC-USDC-PERP", "PEPE-USDC-PERP", "TSLA-USDC-PERP@xyz")}


@virtual
async def test_only_configured_builder_dexes_are_listed(bench: Bench) -> None:
    client = await bench.connected()
    assert {i.venue_symbol for i in client.instruments.all()} == {"BTC", "kPEPE"}
    assert bench.bodies("perpDexs") == []
    with pytest.raises(ConfigError, match="no such dex: nope"):
        await bench.client(venue_options={"dexes": ["nope"]}).connect()
    with pytest.raises(ConfigError, match="list of names"):
        bench.client(venue_options={"dexes": "xyz"})


@virtual
async def test_thousands_are_thousands_on_the_wire_only(bench: Bench) -> None:
    client = await bench.connected()
    result = await client.place_limit_order("PEPE", D(1_234_567), D("0.0000200209"), "buy", time_in_force="IOC", wait_for="terminal")
    wired = bench.bodies("order")[-1]["action"]["orders"][0]
    assert (wired["p"], wired["s"]) == ("0.02002", "1234")
    assert (result.size, result.price, result.filled_size) == (D(1_234_000), D("0.00002002"), D(1_234_000))
    (fill,) = await client.get_user_trade_history(since_ns=0)
    assert (fill.quantity, fill.price) == (D(1_234_000), D("0.00002002"))
    assert await client.fetch_bbo_prices("PEPE") == (D("0.00001998"), D("0.00002002"))
    (held,) = await client.get_open_positions()
    assert held.quantity == D(1_234_000)
    await client.ws_manager.prepare_market_feed(client.instruments.get("PEPE"))
    book = client.ws_manager.get_order_book(client.instruments.get("PEPE"), 1)
    assert (book.bids[0].price, book.bids[0].size) == (D("0.00001998"), D(2_000_000_000))


@virtual
async def test_the_funding_adapter_asks_once_per_dex(bench: Bench) -> None:
    bench.exchange.set_funding_rate(bench.now(), "BTC", 12_500_000)
    adapter = HyperliquidFundingAdapter({"endpoints": bench.server.endpoints, **BUILDER}, runtime=bench.runtime)
    async with adapter:
        rates = await adapter.fetch_funding_rates()
        asked = len(bench.bodies("metaAndAssetCtxs"))
        figures = await adapter.fetch_market_data()
    assert asked == 2
    assert set(rates) == {"BTC", "PEPE", "TSLA-USDC-PERP@xyz.hyperliquid"} == set(figures)
    sample = rates["BTC"]
    assert (sample.raw_rate, sample.interval_hours, sample.normalized_rate) == (D("0.0000125"), D(1), D("0.0001"))
    assert sample.next_funding_time is not None
    assert sample.next_funding_time % NANOS_PER_HOUR == 0
    assert 0 < sample.next_funding_time - bench.now() <= NANOS_PER_HOUR
    assert set(figures["BTC"]) == {"volume_24h", "open_interest"}


# ---- orders


@virtual
async def test_a_partly_filled_ioc_is_over_with_what_it_got(bench: Bench) -> None:
    client = await bench.connected()
    result = await client.place_limit_order("BTC", D(3), D(50_050), "buy", time_in_force="IOC")
    assert (result.success, result.status, result.filled_size) == (True, OrderStatus.CANCELED, D(2))


@virtual
async def test_an_ioc_that_meets_nobody_is_refused_with_nothing_filled(bench: Bench) -> None:
    client = await bench.connected()
    result = await client.place_limit_order("BTC", D(1), D(49_000), "buy", time_in_force="IOC")
    assert (result.success, result.filled_size, type(result.error)) == (False, D(0), errors.NoLiquidity)


@virtual
async def test_cloids_that_the_venue_would_not_take_never_leave(bench: Bench) -> None:
    client = await bench.connected()
    for bad in ("7", "0x12", "0x" + "AB" * 16, "0x" + "g" * 32):
        with pytest.raises(OrderDenied):
            await client.order_manager.place(intent(client, D(49_000), client_order_id=bad))
    assert bench.bodies("order") == []
    good = "0x" + "ab" * 16
    assert (await client.place_limit_order("BTC", D("0.01"), D(49_000), "buy", client_order_id=good)).client_order_id == good


@virtual
async def test_every_kind_of_order_on_the_wire(bench: Bench) -> None:
    client = await bench.connected()
    await client.place_limit_order("BTC", D("0.02"), D(50_100), "buy", time_in_force="IOC", wait_for="terminal")
    await client.place_limit_order("BTC", D("0.01"), D(49_000), "buy")
    await client.place_limit_order("BTC", D("0.01"), D(49_000), "buy", post_only=True)
    for kind, trigger in (
        (OrderType.STOP_MARKET, 49_000),
        (OrderType.STOP_LIMIT, 49_000),
        (OrderType.TAKE_PROFIT_MARKET, 51_000),
        (OrderType.TAKE_PROFIT_LIMIT, 51_000),
    ):
        price = D(48_000) if "limit" in kind else None
        result = await client.place_trigger_order("BTC", D("0.01"), D(trigger), "sell", kind, price=price, wait_for="open")
        assert result.success, result.error_message
        assert result.status is OrderStatus.PENDING
        await asyncio.sleep(0.05)
        info = await client.get_order_info(result.client_order_id or "")
        assert info is not None
        assert info.order_id is not None, "the stream tells the id that the answer does not"
    wired = [order for body in bench.bodies("order") for order in body["action"]["orders"]]
    assert [next(iter(order["t"].values())).get("tif") for order in wired[:3]] == ["Ioc", "Gtc", "Alo"]
    assert [(o["t"]["trigger"]["isMarket"], o["t"]["trigger"]["tpsl"], o["t"]["trigger"]["triggerPx"], o["r"]) for o in wired[3:]] == [
        (True, "sl", "49000", True),
        (False, "sl", "49000", True),
        (True, "tp", "51000", True),
        (False, "tp", "51000", True),
    ]
    assert all(len(order["c"]) == 34 for order in wired)


@virtual
async def test_a_bracket_is_one_group_whose_exits_wait_and_exclude_each_other(bench: Bench) -> None:
    client = await bench.connected()

    def leave(kind: OrderType, trigger: int) -> OrderIntent:
        return intent(client, D(45_000), Side.SELL, order_type=kind, trigger_price=D(trigger), reduce_only=True)

    entry = intent(client, D(50_050), time_in_force=TimeInForce.GTC)
    outcomes = await client.order_manager.place_bracket(
        entry, leave(OrderType.TAKE_PROFIT_MARKET, 51_000), leave(OrderType.STOP_MARKET, 49_000)
    )
    assert bench.bodies("order")[-1]["action"]["grouping"] == "normalTpsl"
    infos = [info for info in outcomes if isinstance(info, OrderInfo)]
    assert [info.status for info in infos] == [OrderStatus.FILLED, OrderStatus.PENDING, OrderStatus.PENDING]
    market = bench.exchange.markets["BTC"].spec
    bench.exchange.set_mark(bench.now(), "BTC", market.to_ref(D(51_000)))
    ids = [info.client_order_id or "" for info in infos]
    await asyncio.sleep(1)
    taken, stopped = [await client.get_order_info(client_id, force_refresh=True) for client_id in ids[1:]]
    assert taken is not None
    assert stopped is not None
    assert (taken.status, stopped.status) == (OrderStatus.FILLED, OrderStatus.CANCELED)
    assert stopped.cancel_reason == "siblingFilledCanceled"
    assert bench.exchange.position(bench.account.account, "BTC").size == 0


@virtual
async def test_exits_of_a_position_follow_its_size(bench: Bench) -> None:
    client = await bench.connected()
    await client.place_limit_order("BTC", D("0.03"), D(50_100), "buy", time_in_force="IOC", wait_for="terminal")
    exits = [
        intent(client, D(45_000), Side.SELL, order_type=kind, trigger_price=D(trigger), reduce_only=True)
        for kind, trigger in ((OrderType.TAKE_PROFIT_MARKET, 51_000), (OrderType.STOP_MARKET, 49_000))
    ]
    outcomes = await client.order_manager.place_position_exits(exits)  # type: ignore[attr-defined]
    assert [outcome.status for outcome in outcomes] == [OrderStatus.PENDING] * 2
    assert bench.bodies("order")[-1]["action"]["grouping"] == "positionTpsl"
    await client.place_limit_order("BTC", D("0.02"), D(50_100), "buy", time_in_force="IOC", wait_for="terminal")
    bench.exchange.set_mark(bench.now(), "BTC", bench.exchange.markets["BTC"].spec.to_ref(D(49_000)))
    assert bench.exchange.position(bench.account.account, "BTC").size == 0


@virtual
async def test_an_amend_goes_on_with_what_was_filled_before(bench: Bench) -> None:
    client = await bench.connected()
    placed = await client.place_limit_order("BTC", D("0.05"), D(49_990), "buy", wait_for="open")
    cloid = placed.client_order_id or ""
    bench.exchange.external_trade(bench.now(), "BTC", CoreSide.SELL, 2_000, limit=499_900)
    await client.await_order_update(cloid, 5)
    amended = await client.amend_order(cloid, price=D(49_980))
    assert (amended.order_id != placed.order_id, amended.filled_size, amended.size) == (True, D("0.02"), D("0.05"))
    assert bench.bodies("batchModify")[-1]["action"]["modifies"][0]["order"]["s"] == "0.03"
    bench.exchange.external_trade(bench.now(), "BTC", CoreSide.SELL, 1_000, limit=499_800)
    canceled = await client.cancel_order(cloid)
    assert (canceled.status, canceled.filled_size) == (OrderStatus.CANCELED, D("0.03"))
    fills = await client.get_user_trade_history(since_ns=0)
    assert sum((fill.quantity for fill in fills), D(0)) == D("0.03")


@virtual
async def test_the_old_half_of_an_amend_does_not_end_the_order(bench: Bench) -> None:
    """The answer is late: the stream tells of the old order's end and of the new order first."""
    client = await bench.connected()
    placed = await client.place_limit_order("BTC", D("0.05"), D(49_900), "buy", wait_for="open")
    bench.faults.request = lambda received: RequestFault(after_s=1.0) if is_action(received, "batchModify") else None
    seen: list[OrderStatus] = []
    client.register_order_listener(lambda info: seen.append(info.status) if isinstance(info, OrderInfo) else None)
    amended = await client.amend_order(placed.client_order_id or "", price=D(49_800))
    assert OrderStatus.CANCELED not in seen
    assert (amended.status, amended.price, amended.order_id != placed.order_id) == (OrderStatus.OPEN, D(49_800), True)


@virtual
async def test_a_lost_answer_of_an_amend_is_found_out(bench: Bench) -> None:
    client = await bench.connected(command_timeout_s=1.0)
    placed = await client.place_limit_order("BTC", D("0.05"), D(49_900), "buy", wait_for="open")
    bench.faults.request = lambda received: RequestFault(lose=Lose.REPLY) if is_action(received, "batchModify") else None
    bench.faults.push = lambda channel, payload: () if channel.startswith("orderUpdates") else None
    amended = await client.amend_order(placed.client_order_id or "", price=D(49_800), quantity=D("0.03"))
    assert (amended.status, amended.order_id != placed.order_id) == (OrderStatus.OPEN, True)
    assert (amended.price, amended.size) == (D(49_800), D("0.03"))
    assert len(bench.bodies("batchModify")) == 1
    bench.faults.push = lambda channel, payload: None
    assert (await client.cancel_order(placed.client_order_id or "")).status is OrderStatus.CANCELED
    assert bench.exchange.open_orders(bench.account.account) == []


@virtual
async def test_an_amend_that_never_arrives_is_proved_not_to_have(bench: Bench) -> None:
    """It hangs: the order stays as it was, whatever arrives later."""
    client = await bench.connected(command_timeout_s=1.0)
    placed = await client.place_limit_order("BTC", D("0.05"), D(49_900), "buy", wait_for="open")
    bench.faults.request = lambda received: RequestFault(before_s=8.0) if is_action(received, "batchModify") else None
    with pytest.raises(errors.RequestTimeout, match="did not arrive") as caught:
        await client.amend_order(placed.client_order_id or "", price=D(49_800))
    assert caught.value.outcome is errors.Outcome.NOT_SENT
    (order,) = bench.exchange.open_orders(bench.account.account)
    info = await client.get_order_info(placed.client_order_id or "")
    assert info is not None
    assert (info.status, info.price, info.order_id) == (OrderStatus.OPEN, D(49_900), str(order.id))


@virtual
async def test_an_order_under_a_used_client_id_is_another_order(bench: Bench) -> None:
    """Somebody amends our order elsewhere: ours ends, and what takes its place is seen and can be canceled."""
    client = await bench.connected()
    placed = await client.place_limit_order("BTC", D("0.05"), D(49_900), "buy", wait_for="open")
    bench.exchange.amend(bench.now(), bench.account.account, int(placed.order_id or 0), price=498_000)
    await asyncio.sleep(1)
    mine = await client.get_order_info(placed.client_order_id or "")
    assert mine is not None
    assert mine.status is OrderStatus.CANCELED
    (other,) = await client.get_active_orders("BTC")
    assert (other.price, other.external, other.order_id != placed.order_id) == (D(49_800), True, True)
    await client.cancel_all_orders()
    assert bench.exchange.open_orders(bench.account.account) == []


@virtual
async def test_an_amend_that_would_take_is_refused_and_changes_nothing(bench: Bench) -> None:
    client = await bench.connected()
    placed = await client.place_limit_order("BTC", D("0.05"), D(49_900), "buy", wait_for="open")
    with pytest.raises(errors.PostOnlyWouldCross):
        await client.amend_order(placed.client_order_id or "", price=D(50_050))
    info = await client.get_order_info(placed.client_order_id or "")
    assert info is not None
    assert (info.status, info.order_id) == (OrderStatus.OPEN, placed.order_id)


@virtual
async def test_cancel_all_is_one_listing_per_dex_and_one_batch(bench: Bench) -> None:
    client = await bench.connected(**BUILDER)
    for n in range(5):
        await client.place_limit_order("BTC", D("0.01"), D(49_000 + n), "buy")
    foreign = NewOrder(bench.account.account, "BTC", CoreSide.BUY, 1000, 480_000)
    bench.exchange.submit(bench.now(), foreign)
    before = len(bench.bodies("frontendOpenOrders"))
    results = await client.cancel_all_orders()
    assert [result.status for result in results] == [OrderStatus.CANCELED] * 6
    assert len(bench.bodies("frontendOpenOrders")) - before == 2
    assert len(bench.bodies("cancel")) == 1
    assert bench.exchange.open_orders(bench.account.account) == []


@virtual
async def test_the_dead_man_switch_is_the_venue_s_schedule(bench: Bench) -> None:
    client = await bench.connected()
    await client.place_limit_order("BTC", D("0.01"), D(49_000), "buy", wait_for="open")
    with pytest.raises(OrderDenied, match="at least 5 s"):
        await client.arm_dead_man_switch(4)
    await client.arm_dead_man_switch(6)
    await client.arm_dead_man_switch(None)
    await asyncio.sleep(10)
    assert len(bench.exchange.open_orders(bench.account.account)) == 1
    await client.arm_dead_man_switch(6)
    await asyncio.sleep(7)
    assert bench.exchange.open_orders(bench.account.account) == []
    (order,) = [o for o in await client.generate_order_reports() if o.status.is_terminal]
    assert order.cancel_reason == "scheduledCancel"
    assert bench.bodies("scheduleCancel")[1]["action"] == {"type": "scheduleCancel"}


@virtual
async def test_leverage_margin_mode_and_isolated_margin(bench: Bench) -> None:
    client = await bench.connected()
    assert (await client.set_leverage("BTC", 7)).account_leverage == D(7)
    info = await client.set_margin_mode("BTC", "isolated")
    assert (info.account_leverage, info.margin_mode) == (D(7), MarginMode.ISOLATED)
    with pytest.raises(ConfigError, match="above the maximum"):
        await client.set_leverage("BTC", 41)
    with pytest.raises(ConfigError, match="whole number"):
        await client.set_leverage("BTC", D("2.5"))
    await client.place_limit_order("BTC", D("0.1"), D(50_100), "buy", time_in_force="IOC", wait_for="terminal")
    btc = client.instruments.get("BTC")
    (before,) = await client.position_manager.open_positions()
    await client.account_manager.move_isolated_margin(btc, D("12.5"))
    (after,) = await client.position_manager.open_positions()
    assert before.margin_used is not None
    assert after.margin_used == before.margin_used + D("12.5")
    assert after.margin_mode is MarginMode.ISOLATED
    with pytest.raises(errors.RequestRefused, match="Cannot switch leverage type"):
        await client.set_margin_mode("BTC", "cross")


@virtual
async def test_a_unified_account_has_its_collateral_in_spot(bench: Bench) -> None:
    bench.dialect.wallets[bench.account.environ["HYPERLIQUID_ACCOUNT_ADDRESS"]].abstraction = "unifiedAccount"
    client = await bench.connected()
    heard = client.watch_account()
    assert await client.get_total_asset_value() == D(100_000)
    await client.place_limit_order("BTC", D(1), D(50_100), "buy", time_in_force="IOC", wait_for="terminal")
    equity, available = await client.get_total_asset_value(), await client.get_account_balance()
    assert equity is not None
    assert available is not None
    assert D(99_000) < equity < D(100_000)
    assert equity - available == D(2_500), "the margin of the position"
    await asyncio.sleep(1)
    async for state in heard:
        if state.equity == equity:
            break
    assert state.available == available
    heard.close()


# ---- outcomes


@virtual
async def test_an_order_that_arrives_late_is_void(bench: Bench) -> None:
    """The request hangs for ten seconds: the venue must not execute it then, and its absence is a proof after the grace time."""
    client = await bench.connected(command_timeout_s=2.0)
    bench.faults.request = lambda received: RequestFault(before_s=10.0) if is_action(received, "order") else None
    with pytest.raises(OrderOutcomeUnknown) as caught:
        await client.place_limit_order("BTC", D("0.01"), D(50_100), "buy", time_in_force="IOC")
    await asyncio.sleep(9)
    early = await client.get_order_info(caught.value.client_order_id)
    assert early is not None
    assert early.status is OrderStatus.UNKNOWN, "nothing is proven while it may still arrive"
    await asyncio.sleep(12)
    assert bench.exchange.position(bench.account.account, "BTC").size == 0
    info = await client.get_order_info(caught.value.client_order_id)
    assert info is not None
    assert info.status is OrderStatus.NOT_SENT


@virtual
async def test_a_filled_order_whose_answer_was_lost_is_found_by_its_client_id(bench: Bench) -> None:
    client = await bench.connected(command_timeout_s=2.0)
    bench.faults.request = lambda received: RequestFault(lose=Lose.REPLY) if is_action(received, "order") else None
    bench.faults.push = lambda channel, payload: () if channel.startswith(("orderUpdates", "userFills", "userEvents")) else None
    with pytest.raises(OrderOutcomeUnknown) as caught:
        await client.place_limit_order("BTC", D("0.01"), D(50_100), "buy", time_in_force="IOC")
    await asyncio.sleep(5)
    info = await client.get_order_info(caught.value.client_order_id)
    assert info is not None
    assert (info.status, info.filled_size) == (OrderStatus.FILLED, D("0.01"))
    assert len(bench.bodies("order")) == 1


@virtual
async def test_many_orders_at_once_have_nonces_of_their_own(bench: Bench) -> None:
    client = await bench.connected()
    results = await asyncio.gather(*(client.place_limit_order("BTC", D("0.01"), D(40_000 + n), "buy") for n in range(60)))
    assert all(result.success for result in results)
    nonces = [body["nonce"] for body in bench.bodies("order")]
    assert len(set(nonces)) == 60
    await client.disconnect()
    await asyncio.sleep(1)
    again = await bench.connected()
    assert (await again.place_limit_order("BTC", D("0.01"), D(40_000), "buy")).success
    assert bench.bodies("order")[-1]["nonce"] > max(nonces)


@virtual
async def test_a_clock_set_back_does_not_lower_nonces(bench: Bench) -> None:
    """Venue time counts: the hundred highest nonces that the venue keeps may all lie ahead of the local clock."""
    client = await bench.connected()
    lease = client.context.nonces["key"].lease
    ahead = client.context.venue_time.now_ns() + 3_600 * 10**9
    client.context.venue_time.observe(ahead, client.context.runtime.clock.time_ns(), client.context.runtime.clock.time_ns())
    async with lease() as first, lease() as second:
        assert first.value >= ahead // 10**6
        assert second.value == first.value + 1


@virtual
async def test_orders_over_the_socket(bench: Bench) -> None:
    client = await bench.connected(command_channel="ws")
    placed = await client.place_limit_order("BTC", D("0.01"), D(49_000), "buy")
    assert (placed.success, placed.status) == (True, OrderStatus.OPEN)
    refused = await client.place_limit_order("BTC", D("0.01"), D(50_050), "buy", post_only=True)
    assert (refused.success, type(refused.error)) == (False, errors.PostOnlyWouldCross)
    assert (await client.cancel_order(placed.client_order_id or "")).status is OrderStatus.CANCELED
    assert bench.bodies("order") == []
    bench.dialect.wallets.clear()
    with pytest.raises(BadSignature):
        await client.order_manager.place(intent(client, D(49_000)))


@virtual
async def test_a_socket_lost_before_the_answer_leaves_the_order_unknown_until_asked(bench: Bench) -> None:
    client = await bench.connected(command_channel="ws")
    bench.faults.request = lambda received: RequestFault(lose=Lose.REPLY) if is_action(received, "order") else None
    with pytest.raises(OrderOutcomeUnknown) as caught:
        await client.place_limit_order("BTC", D("0.01"), D(49_000), "buy")
    bench.faults.request = lambda received: None
    await asyncio.sleep(10)
    info = await client.get_order_info(caught.value.client_order_id)
    assert info is not None
    assert info.status is OrderStatus.OPEN


@pytest.mark.slow
@virtual
async def test_histories_longer_than_a_page_are_whole(bench: Bench) -> None:
    client = await bench.connected()
    owner = bench.account.account
    bench.exchange.set_level(bench.now(), "BTC", CoreSide.SELL, 500_500, 10**9)
    bench.exchange.set_level(bench.now(), "BTC", CoreSide.BUY, 499_500, 10**9)
    for n in range(2_500):
        side, price = ((CoreSide.BUY, 500_500), (CoreSide.SELL, 499_500))[n % 2]
        bench.exchange.submit(bench.now(), NewOrder(owner, "BTC", side, 1000, price, time_in_force=CoreTif.IOC))
        if n % 7 == 0:
            await asyncio.sleep(0.003)
    fills = await client.get_user_trade_history(since_ns=0)
    assert len({fill.trade_id for fill in fills}) == len(fills) == 2_500
    bench.exchange.submit(bench.now(), NewOrder(owner, "BTC", CoreSide.BUY, 1000, 500_500, time_in_force=CoreTif.IOC))
    bench.exchange.set_funding_rate(bench.now(), "BTC", 10_000_000)
    start = bench.now()
    await client.disconnect()  # heartbeats of a month would take long even on virtual time
    await asyncio.sleep(700 * 3600)
    client = await bench.connected()
    payments = await client.get_funding_payments(since_ns=start)
    assert len({payment.payment_id for payment in payments}) == len(payments) == 700
    assert all(payment.amount < 0 for payment in payments), "a long pays a positive rate"
    rows = await client.fetch_funding_history("BTC", start_ns=start)
    assert len(rows) == 700
    position = await client.get_position_snapshot("BTC", start)
    assert position is not None
    assert position.cumulative_funding == sum((payment.amount for payment in payments), D(0))


@virtual
async def test_the_action_budget_of_the_account_is_known_from_the_start(bench: Bench) -> None:
    wallet = bench.dialect.wallets[bench.account.environ["HYPERLIQUID_ACCOUNT_ADDRESS"]]
    wallet.requests = 9_900
    client = await bench.connected()
    assert 99 <= client.context.limiter.headroom("address") <= 101
    hedge = intent(client, D(50_100), time_in_force=TimeInForce.IOC, purpose=Purpose.HEDGE)
    await client.order_manager.place(hedge)
    await asyncio.sleep(0.1)
    assert 590 <= client.context.limiter.headroom("address") <= 600, "500 USD traded are 500 actions more"
    bench.dialect.initial_actions -= 500
    wallet.requests = 10_000
    wallet.last_request_ms = bench.dialect.now_ms()
    with pytest.raises(OrderOutcomeUnknown) as caught:
        await client.place_limit_order("BTC", D("0.01"), D(40_000), "buy", True)
    assert isinstance(caught.value.__cause__, errors.RateLimited)


@virtual
async def test_a_liquidation_is_told_with_its_fills(bench: Bench) -> None:
    poor = bench.dialect.open_account(D(3_000))
    client = await bench.connected(bench.credentials(poor))
    await client.place_limit_order("BTC", D(1), D(50_100), "buy", time_in_force="IOC", wait_for="terminal")
    bench.exchange.set_mark(bench.now(), "BTC", bench.exchange.markets["BTC"].spec.to_ref(D(47_000)))
    await asyncio.sleep(1)
    fills = await client.get_user_trade_history(since_ns=0)
    assert FillKind.LIQUIDATION in {fill.kind for fill in fills}
    assert client.liquidation_events_queue.qsize() > 0


class Ahead:
    """A machine's clock that is five minutes fast."""

    def __init__(self, clock: Any) -> None:
        self._clock = clock

    def time_ns(self) -> int:
        return int(self._clock.time_ns()) + 300 * 10**9

    def __getattr__(self, name: str) -> Any:
        return getattr(self._clock, name)


@virtual
async def test_a_fast_clock_loses_no_fill_of_a_gap(bench: Bench) -> None:
    """Records carry venue time: what is asked for and what is dropped is judged by it."""
    runtime = dataclasses.replace(bench.runtime, clock=Ahead(bench.runtime.clock))
    client = HyperliquidClient({"endpoints": bench.server.endpoints, "ticker": "BTC"}, bench.credentials(), runtime=runtime)
    async with client:
        heard: list[Any] = []
        client.context.hub.listen((Stream.FILLS, None, ""), heard.append)
        bench.faults.push = lambda channel, payload: () if channel.startswith(("userFills", "userEvents", "orderUpdates")) else None
        bench.exchange.submit(bench.now(), NewOrder(bench.account.account, "BTC", CoreSide.BUY, 1000, 500_500, time_in_force=CoreTif.IOC))
        await asyncio.sleep(1)
        bench.faults.push = lambda channel, payload: None
        assert [event for event in heard if isinstance(event, Fill)] == []
        for session in list(bench.dialect.sessions.values()):
            session.drop()
        await asyncio.sleep(10)
        assert [event.quantity for event in heard if isinstance(event, Fill)] == [D("0.01")]
        since_ns = client.context.venue_time.now_ns() - 60 * 10**9
        assert len(await client.generate_fill_reports(lookback_s=60)) == len(await client.get_user_trade_history(since_ns=since_ns)) == 1


# ---- streams


@virtual
async def test_a_refused_subscription_is_told(bench: Bench) -> None:
    client = await bench.connected()
    body = b'{"channel":"error","data":"Invalid subscription {\\"type\\":\\"l2Book\\",\\"coin\\":\\"BTC\\"}"}'
    bench.faults.request = lambda received: RequestFault(body=body) if b'"l2Book"' in received.body else None
    with pytest.raises(errors.SubscriptionRefused, match="Invalid subscription"):
        await client.ws_manager.prepare_market_feed(client.instruments.get("BTC"))


@virtual
async def test_a_subscription_that_the_venue_has_already_counts(bench: Bench) -> None:
    client = await bench.connected()
    body = b'{"channel":"error","data":"Already subscribed: {\\"coin\\":\\"BTC\\",\\"type\\":\\"trades\\"}"}'
    bench.faults.request = lambda received: RequestFault(body=body) if b'"trades"' in received.body else None
    before = client.ws_manager.subscription_count
    async with client.watch_trades("BTC"):
        await asyncio.sleep(0.1)
        assert client.ws_manager.subscription_count == before + 1


@virtual
async def test_plain_text_and_unknown_channels_do_no_harm(bench: Bench) -> None:
    client = await bench.connected()
    (session,) = bench.dialect.sessions.values()
    session.send(b"Websocket connection established.")
    session.send(b'{"channel":"notification","data":{"notification":"hello"}}')
    session.send(b"garbage")
    await asyncio.sleep(0.1)
    handler = client.ws_manager.handler
    assert handler.undecoded == 2
    assert client.is_connected


@virtual
async def test_marks_indices_funding_candles_and_account_stream(bench: Bench) -> None:
    client = await bench.connected()
    streams = {
        "mark": client.watch_mark("BTC"),
        "index": client.watch_index("BTC"),
        "funding": client.watch_funding("BTC"),
        "candles": client.watch_candles("BTC", "1m"),
        "positions": client.watch_positions(),
        "account": client.watch_account(),
    }
    await asyncio.sleep(0.2)
    await client.place_limit_order("BTC", D("0.01"), D(50_100), "buy", time_in_force="IOC", wait_for="terminal")
    bench.exchange.set_mark(bench.now(), "BTC", bench.exchange.markets["BTC"].spec.to_ref(D(50_010)))
    first = {name: await asyncio.wait_for(anext(aiter(stream)), 5) for name, stream in streams.items()}
    assert first["mark"].price == D(50_000)
    assert first["index"].price == D(50_000)
    assert first["funding"].interval_hours == 1
    assert (first["candles"].close, first["candles"].volume, first["candles"].closed) == (D(50_050), D("0.01"), False)
    assert first["positions"].quantity == D("0.01")
    assert first["account"].equity is not None
    await client.place_limit_order("BTC", D("0.01"), D(49_900), "sell", True, time_in_force="IOC", wait_for="terminal")
    async for position in streams["positions"]:
        if position.quantity == 0:
            break
    for stream in streams.values():
        stream.close()


def test_an_echo_with_defaults_names_the_same_channel() -> None:
    ours: dict[str, Any] = {"type": "l2Book", "coin": "BTC", "fast": True}
    assert channel_of(ours) == channel_of({"coin": "BTC", "type": "l2Book", "nSigFigs": None, "mantissa": None})
    assert channel_of(ours) != channel_of({"type": "bbo", "coin": "BTC"})
    assert channel_of({"type": "candle", "coin": "BTC", "interval": "1m"}) != channel_of(
        {"type": "candle", "coin": "BTC", "interval": "1h"}
    )


# ---- the venue's words


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("User or API Wallet 0x0e14cd8d0000000000000000000000000000abcd does not exist.", errors.BadSignature),
        ("Must deposit before performing actions. User: 0x0e14", errors.BadSignature),
        ("Invalid nonce: duplicate nonce 1763164800000", errors.NonceError),
        ("nonce too low", errors.NonceError),
        ("Too many cumulative requests sent (10001 > 10000) for cumulative volume traded $0.0.", errors.RateLimited),
        ("Insufficient margin to place order. asset=0", errors.InsufficientMargin),
        ("Price must be divisible by tick size. asset=5", errors.InvalidOrder),
        ("Order has invalid size. asset=5", errors.InvalidOrder),
        ("Order has zero size. asset=5", errors.InvalidOrder),
        ("Order must have minimum value of $10. asset=0", errors.MinNotional),
        ("Order must have minimum value of 10 USDH. asset=0", errors.MinNotional),
        ("Post only order would have immediately matched, bbo was 1@2. asset=0", errors.PostOnlyWouldCross),
        ("Order could not immediately match against any resting orders. asset=0", errors.NoLiquidity),
        ("No liquidity available for market order. asset=0", errors.NoLiquidity),
        ("Reduce only order would increase position. asset=0", errors.ReduceOnlyViolation),
        ("Invalid TP/SL price. asset=0", errors.InvalidOrder),
        ("Order was never placed, already canceled, or filled. asset=0", errors.OrderNotFound),
        ("Order would increase open interest while open interest is capped", errors.OrderRefused),
        ("Order rejected due to price more aggressive than oracle while at open interest cap", errors.OrderRefused),
        ("Order price too far from oracle", errors.PriceOutOfBand),
        ("Order price cannot be more than 80% away from the reference price", errors.PriceOutOfBand),
        ("Order would exceed margin tier limit at current leverage", errors.InsufficientMargin),
        ("Builder fee has not been approved.", errors.PermissionDenied),
        ("Vault not registered: 0x01", errors.PermissionDenied),
        ("Cannot modify canceled or filled order", errors.OrderNotFound),
        ("Cannot set scheduled cancel time until enough volume traded. Required: $1000000. Traded: $373.47205.", errors.RequestRefused),
        ("Cannot switch leverage type with open position.", errors.RequestRefused),
        ("Something that nobody has seen yet", errors.ApiError),
    ],
)
def test_refusals(text: str, kind: type[errors.VenueError]) -> None:
    assert type(refusal(text)) is kind
    assert type(refusal(text.upper())) is kind
    assert str(refusal(text)).find(text) >= 0


def test_every_row_of_the_table_is_reachable() -> None:
    for text, kind in ERRORS.items():
        assert type(refusal(f"x {text} y")) in (kind, ERRORS[max((k for k in ERRORS if k in text), key=len)])


@pytest.mark.parametrize(
    ("status", "body", "found"),
    [
        (200, b'{"status":"ok","response":{"type":"default"}}', None),
        (200, b'{"status":"err","response":"text"}', ("", "text")),
        (200, b"null", None),
        (200, b"[]", None),
        (400, b"bad json", ("http400", "bad json")),
        (415, b"type", ("http415", "type")),
        (422, b"", ("http422", "HTTP 422")),
        (429, b"null", ("", "")),
        (500, b"null", ("unknown coin or dex", "unknown coin or dex")),
        (502, b"<html>", ("", "<html>")),
    ],
)
def test_answers_that_are_errors(status: int, body: bytes, found: tuple[str, str] | None) -> None:
    assert read_error(status, body) == found


@virtual
async def test_a_coin_that_does_not_exist_is_no_outage(bench: Bench) -> None:
    client = await bench.connected(signed=False)
    with pytest.raises(errors.RequestRefused):
        await client.raw.fundingHistory(coin="NOPE", startTime=0)
    assert len(bench.bodies("fundingHistory")) == 1, "asked once: asking again cannot help"
    assert await client.raw.l2Book(coin="NOPE") is None


@virtual
async def test_every_documented_read_is_reachable_and_typed(bench: Bench) -> None:
    client = await bench.connected()
    user = bench.account.environ["HYPERLIQUID_ACCOUNT_ADDRESS"]
    await client.place_limit_order("BTC", D("0.01"), D(50_100), "buy", time_in_force="IOC", wait_for="terminal")
    arguments: dict[str, dict[str, Any]] = {
        "l2Book": {"coin": "BTC"},
        "recentTrades": {"coin": "BTC"},
        "candleSnapshot": {"req": {"coin": "BTC", "interval": "1h", "startTime": 0, "endTime": 2**52}},
        "fundingHistory": {"coin": "BTC", "startTime": 0},
        "orderStatus": {"user": user, "oid": 1},
        "userFillsByTime": {"user": user, "startTime": 0},
        "userFunding": {"user": user, "startTime": 0},
        "userNonFundingLedgerUpdates": {"user": user, "startTime": 0},
        "activeAssetData": {"user": user, "coin": "BTC"},
    }
    public = {"allMids", "meta", "allPerpMetas", "metaAndAssetCtxs", "perpDexs", "spotMeta", "predictedFundings", "exchangeStatus"}
    asked = [name for name in dir(client.raw) if not name.startswith("_") and name != "exchange"]
    assert len(asked) == 29
    for name in asked:
        answer = await getattr(client.raw, name)(**arguments.get(name, {} if name in public else {"user": user}))
        assert answer is not None or name == "subAccounts", name
    assert isinstance((await client.raw.userFills(user=user))[0], m.FillData)


@virtual
async def test_exits_that_wait_for_their_entry_are_listed_and_go_with_it(bench: Bench) -> None:
    client = await bench.connected()
    stop = intent(client, D(44_000), Side.SELL, order_type=OrderType.STOP_MARKET, trigger_price=D(45_000), reduce_only=True)
    outcomes = await client.order_manager.place_bracket(intent(client, D(49_000)), None, stop)
    assert [outcome.status for outcome in outcomes if isinstance(outcome, OrderInfo)] == [OrderStatus.OPEN, OrderStatus.PENDING]
    listed = await client.get_active_orders("BTC")
    assert {(info.order_type, info.status) for info in listed} == {
        (OrderType.LIMIT, OrderStatus.OPEN),
        (OrderType.STOP_MARKET, OrderStatus.PENDING),
    }
    await client.cancel_all_orders()
    assert bench.exchange.open_orders(bench.account.account) == []


@virtual
async def test_an_order_of_a_dex_that_is_not_listed_is_not_taken_for_none(bench: Bench) -> None:
    client = await bench.connected()
    other = await bench.connected(**BUILDER)
    placed = await other.place_limit_order("xyz:TSLA", D(1), D(240), "buy", wait_for="open")
    await asyncio.sleep(0.5)
    with pytest.raises(errors.UnknownInstrument, match="xyz:TSLA"):
        await client.get_order_info(placed.order_id or "")
    assert await client.get_order_info("999999") is None


@virtual
async def test_options_that_do_not_exist_are_refused(bench: Bench) -> None:
    with pytest.raises(ConfigError, match="no such venue option: dexs"):
        bench.client(venue_options={"dexs": ["xyz"]})
