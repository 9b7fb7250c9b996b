"""What only Lighter does, through the real client and the simulated venue on virtual time: channels, nonces, groups, tokens, refusals."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from exchange_clients.config import ClientConfig
from exchange_clients.errors import (
    ApiError,
    BadSignature,
    ConfigError,
    DuplicateClientOrderId,
    InsufficientMargin,
    InvalidOrder,
    MarketClosed,
    NonceError,
    OrderDenied,
    OrderNotFound,
    Outcome,
    PermissionDenied,
    PriceOutOfBand,
    RateLimited,
    ReduceOnlyViolation,
    RequestRefused,
    TokenRefused,
    TooManyOrders,
    VenueError,
    VenueUnavailable,
    classify,
)
from exchange_clients.lighter import LighterClient, LighterFundingAdapter
from exchange_clients.lighter.common import ERRORS, SPEC, read_error
from exchange_clients.lighter.signing import verify_token
from exchange_clients.model import MarginMode, OrderIntent, OrderStatus, OrderType, RateKind, Side, TimeInForce
from exchange_clients.signing import Credentials
from exchange_clients.spec import Stream
from exchange_clients.transport.runtime import Runtime
from exchange_simulator.dialects.lighter import LighterDialect
from exchange_simulator.ready import ReadyVenue, ready_venue
from exchange_simulator.simloop import Simulation, run

D = Decimal
HOUR_S = 3600.0


@dataclass
class Stage:
    sim: Simulation
    venue: ReadyVenue
    client: LighterClient

    @property
    def dialect(self) -> LighterDialect:
        assert isinstance(self.venue.dialect, LighterDialect)
        return self.venue.dialect

    @property
    def key(self) -> Any:
        """The account's API key as the venue knows it."""
        return self.dialect.owners.get(int(self.venue.account.environ["LIGHTER_ACCOUNT_INDEX"])).keys[4]

    def open_orders(self) -> list[Any]:
        return self.venue.exchange.open_orders(self.venue.account.account)

    def intent(self, **changes: Any) -> OrderIntent:
        base = OrderIntent(instrument=self.client.instruments.get("BTC").id, side=Side.BUY, quantity=D("0.01"), price=D("59000"))
        return msgspec.structs.replace(base, **changes)

    async def flush(self) -> None:
        """Longer than any delay of the sequencer."""
        await asyncio.sleep(2.0)


def client_for(venue: ReadyVenue, runtime: Runtime, **config: Any) -> LighterClient:
    return LighterClient({"endpoints": venue.endpoints, **config}, Credentials.from_env(SPEC, environ=venue.environ), runtime=runtime)


def play(scene: Callable[[Stage], Awaitable[None]], *, config: dict[str, Any] | None = None, **options: Any) -> None:
    async def main(sim: Simulation) -> None:
        async with (
            ready_venue(LighterDialect, sim.runtime, network=sim.network, **options) as venue,
            client_for(venue, sim.runtime, **(config or {})) as client,
        ):
            await scene(Stage(sim, venue, client))

    run(main)


# ---- commands over the socket


def test_orders_travel_over_the_socket_when_asked_to() -> None:
    async def scene(s: Stage) -> None:
        before = len(s.dialect.received)
        placed = await s.client.place_limit_order("BTC", D("0.01"), D(59000), "buy", wait_for="open")
        assert placed.status is OrderStatus.OPEN
        ended = await s.client.cancel_order(placed.client_order_id or "")
        assert ended.status is OrderStatus.CANCELED
        results = await s.client.place_orders([s.intent(price=D(p)) for p in (58000, 58100, 58200)])
        assert [r.success for r in results] == [True] * 3
        await s.flush()
        assert len(s.open_orders()) == 3
        ended_all = await s.client.cancel_orders([r.client_order_id or "" for r in results])
        assert [r.status for r in ended_all] == [OrderStatus.CANCELED] * 3
        assert [r.path for r in list(s.dialect.received)[before:] if "sendTx" in r.path] == []

    play(scene, config={"command_channel": "ws"})


def test_a_refusal_over_the_socket_is_the_orders_own() -> None:
    async def scene(s: Stage) -> None:
        first = await s.client.place_limit_order("BTC", D("0.01"), D(59000), "buy", client_order_id="77", wait_for="open")
        assert first.success
        result = await s.client.place_limit_order("BTC", D("1000"), D(59000), "buy")
        assert (result.success, result.outcome, result.status) == (False, "refused", None)
        assert isinstance(result.error, InsufficientMargin)
        again = await s.client.place_limit_order("BTC", D("0.01"), D(59000), "buy", wait_for="open")
        assert again.status is OrderStatus.OPEN, "the refusal used no nonce"

    play(scene, config={"command_channel": "ws"})


# ---- nonces


def test_a_nonce_that_somebody_else_used_is_fetched_again_and_the_order_sent_once() -> None:
    async def scene(s: Stage) -> None:
        await s.client.place_limit_order("BTC", D("0.01"), D(59000), "buy", wait_for="open")
        s.key.next_nonce += 3
        result = await s.client.place_limit_order("BTC", D("0.01"), D(58000), "buy", wait_for="open")
        assert result.status is OrderStatus.OPEN
        assert len(s.open_orders()) == 2

    play(scene)


def test_a_batch_takes_consecutive_nonces() -> None:
    async def scene(s: Stage) -> None:
        start = s.key.next_nonce
        results = await s.client.place_orders([s.intent(price=D(50000 + i)) for i in range(17)])
        assert all(r.success for r in results)
        await s.flush()
        assert len(s.open_orders()) == 17
        assert s.key.next_nonce == start + 17
        assert (await s.client.place_limit_order("BTC", D("0.01"), D(59000), "buy", wait_for="open")).status is OrderStatus.OPEN

    play(scene)


def test_skipping_nonces_let_two_senders_share_a_key() -> None:
    async def scene(s: Stage) -> None:
        options = {"venue_options": {"skip_nonce": True}}
        async with client_for(s.venue, s.sim.runtime, **options) as other:
            placing = [
                sender.place_limit_order("BTC", D("0.01"), D(50000 + n), "buy", client_order_id=str(n), wait_for="open")
                for n, sender in enumerate((s.client, other) * 5, start=1)
            ]
            results = await asyncio.gather(*placing, return_exceptions=True)
            assert [r.success for r in results if not isinstance(r, BaseException)] == [True] * 10
            await s.flush()
            assert len(s.open_orders()) == 10
            info = await other.place_orders([s.intent(price=D(51000 + i)) for i in range(3)])
            assert [r.success for r in info] == [True] * 3

    play(scene, config={"venue_options": {"skip_nonce": True}})


# ---- groups


def exits(s: Stage, **changes: Any) -> tuple[OrderIntent, OrderIntent]:
    """Take-profit and stop-loss of a long."""
    shared: dict[str, Any] = {"side": Side.SELL, "reduce_only": True, "time_in_force": TimeInForce.IOC, **changes}
    take = s.intent(order_type=OrderType.TAKE_PROFIT_MARKET, price=D(59000), trigger_price=D(66000), **shared)
    stop = s.intent(order_type=OrderType.STOP_MARKET, price=D(50000), trigger_price=D(55000), **shared)
    return take, stop


def test_a_bracket_waits_for_its_entry_and_ends_with_one_exit() -> None:
    async def scene(s: Stage) -> None:
        take, stop = exits(s)
        results = await s.client.place_bracket(s.intent(price=D(60100)), take_profit=take, stop_loss=stop)
        assert [r.success for r in results] == [True] * 3
        await s.flush()
        assert await s.client.get_account_positions("BTC") == D("0.01")
        waiting = await s.client.get_active_orders("BTC")
        assert sorted(o.order_type for o in waiting) == [OrderType.STOP_MARKET, OrderType.TAKE_PROFIT_MARKET]
        assert {o.client_order_id for o in waiting} == {r.client_order_id for r in results[1:]}
        s.venue.set_price("BTC", 54000)
        await s.flush()
        assert await s.client.get_account_positions("BTC") == 0
        stopped = await s.client.get_order_info(results[2].client_order_id or "", force_refresh=True)
        taken = await s.client.get_order_info(results[1].client_order_id or "", force_refresh=True)
        assert stopped is not None
        assert taken is not None
        assert (stopped.filled_size, taken.status, taken.filled_size) == (D("0.01"), OrderStatus.CANCELED, D(0))

    play(scene)


def test_one_exit_may_follow_an_entry() -> None:
    async def scene(s: Stage) -> None:
        _, stop = exits(s)
        entry, child = await s.client.place_bracket(s.intent(price=D(59000)), stop_loss=stop)
        await s.flush()
        assert len(s.open_orders()) == 2
        ended = await s.client.cancel_order(entry.client_order_id or "")
        assert ended.status is OrderStatus.CANCELED
        await s.flush()
        assert s.open_orders() == [], "an exit dies with its entry"
        assert child.client_order_id is not None

    play(scene)


def test_exits_of_a_held_position_cancel_each_other() -> None:
    async def scene(s: Stage) -> None:
        await s.client.place_market_order("BTC", D("0.01"), "buy", wait_for="terminal")
        take, stop = exits(s)
        results = await s.client.order_manager.place_exits(take, stop)
        assert not any(isinstance(r, VenueError) for r in results)
        await s.flush()
        assert len(s.open_orders()) == 2
        s.venue.set_price("BTC", 67000)
        await s.flush()
        assert s.open_orders() == []
        assert await s.client.get_account_positions("BTC") == 0

    play(scene)


def test_groups_that_cannot_be_are_denied_and_leave_no_trace() -> None:
    async def scene(s: Stage) -> None:
        take, stop = exits(s)
        open_take, open_stop = exits(s, reduce_only=False)
        for entry, take_profit, stop_loss in (
            (s.intent(), open_take, open_stop),
            (s.intent(), None, None),
            (s.intent(side=Side.SELL, price=D(61000)), take, stop),
        ):
            with pytest.raises(OrderDenied, match="reduce-only exits on the other side"):
                await s.client.place_bracket(entry, take_profit=take_profit, stop_loss=stop_loss)
        for first, second in ((open_take, open_stop), (take, msgspec.structs.replace(stop, quantity=D("0.02")))):
            with pytest.raises(OrderDenied, match="of one side and of one size"):
                await s.client.order_manager.place_exits(first, second)
        assert s.client.context.tracker.live() == ()

    play(scene)


@pytest.mark.parametrize("client_id", ["0", "-5", "abc", str(2**48), "1.5", ""])
def test_client_ids_are_numbers_below_two_to_the_48(client_id: str) -> None:
    async def scene(s: Stage) -> None:
        with pytest.raises(OrderDenied, match="client order id"):
            await s.client.order_manager.place(s.intent(client_order_id=client_id))
        assert s.client.context.tracker.live() == ()

    play(scene)


def test_an_order_near_its_end_can_still_be_amended() -> None:
    async def scene(s: Stage) -> None:
        end = s.sim.runtime.clock.time_ns() + 320 * 10**9
        placed = await s.client.place_limit_order("BTC", D("0.01"), D(59000), "buy", time_in_force="GTT", expire_ns=end, wait_for="open")
        await asyncio.sleep(60)
        amended = await s.client.amend_order(placed.client_order_id or "", price=D(58000), quantity=D("0.02"))
        assert (amended.size, amended.price) == (D("0.02"), D(58000))
        await s.flush()
        (order,) = s.open_orders()
        assert (order.price, order.size) == (580000, 2000)

    play(scene)


# ---- lives of orders


def test_an_order_lives_five_minutes_to_thirty_days() -> None:
    async def scene(s: Stage) -> None:
        now = s.sim.runtime.clock.time_ns()
        for life_s in (299, 31 * 86400):
            with pytest.raises(OrderDenied, match="lives 300 s"):
                await s.client.place_limit_order("BTC", D("0.01"), D(59000), "buy", time_in_force="GTT", expire_ns=now + life_s * 10**9)
        placed = await s.client.place_limit_order(
            "BTC", D("0.01"), D(59000), "buy", time_in_force="GTT", expire_ns=now + 400 * 10**9, wait_for="open"
        )
        await asyncio.sleep(410)
        ended = await s.client.get_order_info(placed.client_order_id or "", force_refresh=True)
        assert ended is not None
        assert ended.status is OrderStatus.EXPIRED

    play(scene)


@pytest.mark.parametrize("order_type", [OrderType.MARKET, OrderType.STOP_MARKET, OrderType.TAKE_PROFIT_MARKET])
def test_market_kinds_are_immediate_whatever_time_in_force_is_said(order_type: OrderType) -> None:
    async def scene(s: Stage) -> None:
        trigger = None if order_type is OrderType.MARKET else D(70000)
        intent = s.intent(order_type=order_type, price=D(60200), trigger_price=trigger, time_in_force=TimeInForce.GTC)
        order, instrument = s.client.order_manager.prepare(intent)
        fields = s.client.order_manager.encode_place(order, instrument).payload.fields
        assert (fields["TimeInForce"], fields["OrderExpiry"] > 0) == (0, trigger is not None)

    play(scene)


def test_an_order_is_found_by_the_venues_own_id_open_or_ended() -> None:
    async def scene(s: Stage) -> None:
        placed = await s.client.place_limit_order("BTC", D("0.01"), D(59000), "buy", wait_for="open")
        manager = s.client.order_manager
        found = await manager.fetch_order(None, order_id=placed.order_id)
        assert found is not None
        assert found.status is OrderStatus.OPEN
        await s.client.cancel_order(placed.order_id or "")
        ended = await manager.fetch_order(None, order_id=placed.order_id)
        assert ended is not None
        assert ended.status is OrderStatus.CANCELED
        assert await manager.fetch_order(None, order_id=str(2**49)) is None
        asked = len(s.dialect.received)
        assert await manager.fetch_order(None, order_id="12") is None
        assert len(s.dialect.received) == asked, "a small number is no id of the venue"

    play(scene)


def test_the_switch_has_its_limits_and_can_be_undone() -> None:
    async def scene(s: Stage) -> None:
        for timeout_s in (299.0, 16 * 86400.0):
            with pytest.raises(OrderDenied, match="switch waits"):
                await s.client.arm_dead_man_switch(timeout_s)
        await s.client.place_limit_order("BTC", D("0.01"), D(59000), "buy", wait_for="open")
        await s.client.arm_dead_man_switch(310.0)
        await s.client.arm_dead_man_switch(None)
        await asyncio.sleep(330)
        assert len(s.open_orders()) == 1
        await s.client.arm_dead_man_switch(310.0)
        await asyncio.sleep(330)
        assert s.open_orders() == []

    play(scene)


def test_isolated_margin_moves_in_and_out() -> None:
    async def scene(s: Stage) -> None:
        await s.client.set_leverage("BTC", 3, MarginMode.ISOLATED)
        info = await s.client.get_leverage_info("BTC")
        assert (info["account_leverage"], info["error"]) == (3, None)
        await s.client.place_market_order("BTC", D("0.01"), "buy", wait_for="terminal")
        instrument = s.client.instruments.get("BTC")
        before = await s.client.position_manager.position(instrument)
        await s.client.account_manager.move_isolated_margin(instrument, D(50))
        await s.flush()
        more = await s.client.position_manager.position(instrument)
        await s.client.account_manager.move_isolated_margin(instrument, D(-20))
        await s.flush()
        less = await s.client.position_manager.position(instrument)
        assert before is not None
        assert more is not None
        assert less is not None
        assert before.margin_used is not None
        assert (more.margin_used, less.margin_used) == (before.margin_used + 50, before.margin_used + 30)

    play(scene)


# ---- streams


def test_after_hours_a_new_connection_brings_a_new_token() -> None:
    async def scene(s: Stage) -> None:
        await asyncio.sleep(2 * HOUR_S)
        token = await s.client.context.signer.token(s.client.context.venue_time.now_ms())  # type: ignore[union-attr]
        assert verify_token(s.client.context.signer.identity.public_key(), token)  # type: ignore[union-attr]
        s.client.ws_manager.reconnect("public", "test")
        await s.client.ws_manager.connect()
        while not s.client.context.entries_allowed:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.1)
        placed = await s.client.place_limit_order("BTC", D("0.01"), D(59000), "buy")
        await s.flush()
        order = s.client.context.tracker.find(placed.client_order_id or "")
        assert order is not None
        assert order.status is OrderStatus.OPEN, "the account's stream tells of it"

    play(scene)


def test_one_subscription_tells_funding_of_all_markets() -> None:
    async def scene(s: Stage) -> None:
        everything = s.client.ws_manager.watch(Stream.FUNDING)
        seen: dict[str, Any] = {}

        async def listen() -> None:
            async for sample in everything:
                if sample.kind is RateKind.PREDICTED:
                    seen[sample.instrument.base] = sample

        task = asyncio.create_task(listen())
        await s.flush()
        s.venue.set_price("ETH", 2100)
        await s.flush()
        everything.close()
        await asyncio.gather(task, return_exceptions=True)
        assert set(seen) == {"BTC", "ETH"}
        assert all(sample.interval_hours == 1 for sample in seen.values())

    play(scene)


def test_an_unreadable_answer_without_id_goes_to_the_only_one_that_waits() -> None:
    async def scene(s: Stage) -> None:
        handler, commands = s.client.ws_manager.handler, s.client.context.socket_commands
        waiting = asyncio.create_task(commands.request("{}", "a", timeout_s=5))
        await asyncio.sleep(0.01)
        handler.feed("public", '{"type":"error","code":21701,"message":"invalid base amount"}', 1)
        with pytest.raises(InvalidOrder):
            await waiting
        two = [asyncio.create_task(commands.request("{}", name, timeout_s=1)) for name in "bc"]
        await asyncio.sleep(0.01)
        handler.feed("public", '{"error":{"code":21701,"message":"invalid base amount"}}', 1)
        handler.feed("public", '{"code":200,"id":"b","tx_hash":"beef","type":"jsonapi/sendtx"}', 1)
        assert (await two[0]).tx_hash == "beef"
        with pytest.raises(VenueError) as raised:
            await two[1]
        assert raised.value.outcome is Outcome.UNKNOWN

    play(scene)


def test_refused_subscriptions_are_told_and_harmless_ones_are_not() -> None:
    async def scene(s: Stage) -> None:
        manager = s.client.ws_manager
        topic = manager.dialect.topic(Stream.TRADES, s.client.instruments.get("BTC"))
        now = s.client.context.runtime.clock.monotonic()
        manager.registry.want(topic, now)
        manager.registry.sent([topic], now)
        manager.handler.feed("public", '{"error":{"code":30003,"message":"Already Subscribed to : trade:1"}}', 1)
        assert manager.registry.is_confirmed(topic)
        manager.registry.again(topic, now)
        manager.registry.sent([topic], now)
        manager.handler.feed("public", '{"error":{"code":30002,"message":"Not Subscribed to : trade:1"}}', 1)
        assert manager.registry.refusal(topic) is None
        manager.handler.feed("public", '{"error":{"code":30005,"message":"Invalid Channel:  (marketId)"}}', 1)
        assert "Invalid Channel" in (manager.registry.refusal(topic) or "")
        unknown = manager.handler.unknown
        manager.handler.feed("public", '{"type":"update/spot_market_stats","channel":"spot_market_stats:all"}', 1)
        assert manager.handler.unknown == unknown + 1

    play(scene)


def test_the_first_fills_of_a_stream_are_history() -> None:
    async def scene(s: Stage) -> None:
        fills: list[Any] = []
        s.client.context.hub.listen((Stream.FILLS, None, ""), fills.append)
        account = int(s.venue.account.environ["LIGHTER_ACCOUNT_INDEX"])
        row = {
            "trade_id": 1,
            "size": "0.1",
            "price": "60000.0",
            "market_id": 1,
            "is_maker_ask": True,
            "bid_account_id": account,
            "bid_id": 9,
        }
        now_ms = s.sim.runtime.clock.time_ns() // 10**6
        for kind, stamp in (("subscribed", now_ms - 3_600_000), ("update", now_ms)):
            frame: dict[str, Any] = {
                "type": f"{kind}/account_all_trades",
                "channel": f"account_all_trades:{account}",
                "trades": {"1": [{**row, "timestamp": stamp}]},
            }
            s.client.ws_manager.handler.feed("public", json.dumps(frame), 1)
        assert len(fills) == 1

    play(scene)


# ---- keys, options, errors


def test_another_accounts_key_is_told_apart() -> None:
    async def main(sim: Simulation) -> None:
        async with ready_venue(LighterDialect, sim.runtime, network=sim.network) as venue:
            other = venue.dialect.open_account(D(1))
            mixed = {**venue.environ, "LIGHTER_ACCOUNT_INDEX": other.environ["LIGHTER_ACCOUNT_INDEX"]}
            client = LighterClient({"endpoints": venue.endpoints}, Credentials.from_env(SPEC, environ=mixed), runtime=sim.runtime)
            with pytest.raises(PermissionDenied, match="another key is registered"):
                await client.connect()

    run(main)


@pytest.mark.parametrize(
    ("options", "words"), [({"singer": "auto"}, "no option singer"), ({"signer": "abacus"}, "auto, library or python")]
)
def test_options_are_checked(options: dict[str, str], words: str) -> None:
    values = {"api_key_private_key": "01" + "00" * 39, "account_index": "1", "api_key_index": "4"}
    with pytest.raises(ConfigError, match=words):
        LighterClient(ClientConfig(venue_options=options), Credentials("lighter", values))


async def test_the_vendors_library_trades_over_loopback(library: Path, simulated_venue: Any) -> None:
    """Real time: the library stamps with the machine's clock."""
    venue = await simulated_venue("lighter")
    runtime = Runtime.system()
    options = {"signer": "library", "signer_library": str(library)}
    async with client_for(venue, runtime, venue_options=options) as client:
        placed = await client.place_limit_order("BTC", D("0.01"), D(59000), "buy", wait_for="open")
        assert placed.status is OrderStatus.OPEN
        ended = await client.cancel_order(placed.order_id or "")
        assert ended.status is OrderStatus.CANCELED
    runtime.offload.close()


async def test_the_funding_adapter_needs_two_requests(simulated_venue: Any) -> None:
    venue = await simulated_venue("lighter")
    runtime = Runtime.system()
    async with LighterFundingAdapter({"endpoints": venue.endpoints}, runtime=runtime) as adapter:
        before = len(venue.dialect.received)
        rates = await adapter.fetch_funding_rates()
        assert set(rates) == {"BTC", "ETH"}
        assert all(sample.interval_hours == 1 and sample.next_funding_time for sample in rates.values())
        figures = await adapter.fetch_market_data()
        assert set(figures["BTC"]) == {"volume_24h", "open_interest"}
        assert len(venue.dialect.received) - before == 3  # instruments, rates, details
        assert (adapter.normalize_symbol("BTC"), adapter.get_dex_symbol_format("ETH")) == ("BTC", "ETH")
    runtime.offload.close()


CATALOGUE: dict[type[VenueError], list[int]] = {
    RequestRefused: [
        20001, 21113, 21121, 21132, 21500, 21501, 21502, 21503, 21504, 21505, 21511, 21512, 21513, 21514, 21515, 21613, 21712, 22400,
        22401, 22402, 22403, 29404, 30000, 30001, 30002, 30003, 30004, 30005, 30006, 30007, 30008, 30011, 30012, 61001, 61009, 62001, 62006,
    ],
    PermissionDenied: [21100, 21101, 21102, 21103, 21107, 21123, 21128, 21149, 21707],
    NonceError: [21104, 21105],
    BadSignature: [21108, 21109, 21110, 21120, 21136],
    InsufficientMargin: [21111, 21112, 21301, 21304, 21507, 21508, 21739],
    TooManyOrders: [21506, 21601, 21717, 21718, 21719, 21720, 21721, 21722],
    OrderNotFound: [21600, 21700, 21708, 21709, 21715],
    MarketClosed: [21602, 21605, 21619, 21621],
    InvalidOrder: [21701, 21702, 21703, 21704, 21705, 21706, 21710, 21711, 21727, 21729],
    DuplicateClientOrderId: [21728],
    ReduceOnlyViolation: [21732, 21738, 21740],
    PriceOutOfBand: [21733, 21734, 21735],
    RateLimited: [23000, 23001, 23002, 23003, 23004, 30009, 30010],
    VenueUnavailable: [29500, 29501],
}  # fmt: skip


def test_every_code_of_the_catalogue_has_its_class() -> None:
    """Dossier section 9."""
    for kind, codes in CATALOGUE.items():
        for code in codes:
            body = json.dumps({"code": code, "message": "words of the venue"}).encode()
            for status in (200, 400):
                found = read_error(status, body)
                assert found is not None
                error = classify(ERRORS, venue="lighter", code=found[0], message=found[1], http_status=status)
                assert type(error) is kind, code
                assert (error.code, error.message) == (str(code), "words of the venue")
                assert (error.outcome is Outcome.UNKNOWN) == (kind in (RateLimited, VenueUnavailable))


def test_answers_that_are_no_catalogue_entry() -> None:
    assert read_error(200, b'{"code":200}') is None
    assert read_error(200, b'{"status":"1","network_id":"1","timestamp":"1717777777"}') is None
    missing = read_error(400, b'{"code":20001,"message":"invalid param : auth query param and Authorization header are empty"}')
    assert missing is not None
    assert type(classify(ERRORS, venue="lighter", code=missing[0], message=missing[1])) is TokenRefused
    for status, kind in ((405, RateLimited), (429, RateLimited), (503, VenueUnavailable), (418, RateLimited), (404, ApiError)):
        found = read_error(status, b"<html>captcha</html>")
        assert found is not None
        error = classify(ERRORS, venue="lighter", code=found[0], message=found[1], http_status=status)
        assert type(error) is kind
        assert error.outcome is Outcome.UNKNOWN
    unknown = classify(ERRORS, venue="lighter", code="29999", message="new")
    assert (type(unknown), unknown.outcome) == (ApiError, Outcome.UNKNOWN)
    with pytest.raises(msgspec.DecodeError):
        read_error(200, b"<html>")


def test_pings_of_the_venue_are_answered() -> None:
    async def scene(s: Stage) -> None:
        await asyncio.sleep(600)
        assert s.client.is_connected
        assert s.client.ws_manager._sockets["public"].connects == 1

    play(scene)


def test_the_side_is_the_exchanges() -> None:
    async def scene(s: Stage) -> None:
        await s.client.place_market_order("BTC", D("0.01"), "sell", wait_for="terminal")
        (position,) = await s.client.get_open_positions()
        assert (position.side, position.quantity) == ("short", D("-0.01"))
        held = s.venue.exchange.position(s.venue.account.account, "BTC")
        assert held.size < 0

    play(scene)


def spoil(value: Any, rng: random.Random) -> Any:
    """A recorded message with some of its values replaced or missing."""
    if isinstance(value, list):
        return [spoil(item, rng) for item in value]
    if not isinstance(value, dict):
        return value
    found = {name: spoil(item, rng) for name, item in value.items()}
    if found and rng.random() < 0.15:
        found[rng.choice(list(found))] = rng.choice([None, "NaN", -1, 1e300, [], {}, "x", True, 2**70, "1e999"])
    if found and rng.random() < 0.05:
        found.pop(rng.choice(list(found)))
    return found


def test_spoiled_frames_are_counted_and_break_nothing(payloads: Path) -> None:
    paths = sorted((payloads / "lighter" / "ws").glob("*.jsonl"))
    recorded = [json.loads(line)["payload"] for path in paths for line in path.read_text().splitlines()]

    async def scene(s: Stage) -> None:
        handler, rng = s.client.ws_manager.handler, random.Random(5)
        await s.client.ws_manager.prepare_market_feed(s.client.instruments.get("ETH"))
        for _ in range(2_000):
            handler.feed("public", json.dumps(spoil(rng.choice(recorded), rng)), 1)
        assert handler.undecoded > 100
        await s.flush()
        await s.client.ws_manager.connect()
        await s.client.ws_manager.prepare_market_feed(s.client.instruments.get("ETH"))
        bid, ask = await s.client.fetch_bbo_prices("ETH")
        assert bid < ask
        assert s.client.context.positions == {} or all(p.quantity.is_finite() for p in s.client.context.positions.values())

    play(scene)
