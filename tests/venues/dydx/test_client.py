"""The client against the dialect, where dYdX differs: blocks, best effort, sequences, nodes, permissioned keys."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any, cast

import pytest

from exchange_clients.base_websocket import event_key
from exchange_clients.dydx import DydxClient
from exchange_clients.dydx import messages as m
from exchange_clients.dydx import protobuf as pb
from exchange_clients.dydx.chain import Flags
from exchange_clients.dydx.client.managers import order_manager
from exchange_clients.dydx.client.utils.caching import VenueCache, venue_cache
from exchange_clients.errors import (
    AuthError,
    ConfigError,
    ConnectFailed,
    DecodeError,
    InsufficientMargin,
    OrderDenied,
    OrderOutcomeUnknown,
    Outcome,
    PermissionDenied,
    RateLimited,
    UnsupportedCapability,
)
from exchange_clients.model import NS_PER_S, AccountState, Fill, OrderInfo, OrderIntent, OrderStatus, OrderType, Side, TimeInForce, WaitFor
from exchange_clients.signing import Credentials
from exchange_clients.spec import Stream
from exchange_clients.transport.command import Progress
from exchange_clients.transport.grpc import GrpcStatus, UnaryChannel
from exchange_simulator import simloop
from exchange_simulator.conformance.bench import BTC, ETH, Bench, set_up
from exchange_simulator.core import types as core
from exchange_simulator.dialects.base import Lose, Received, RequestFault

D = Decimal
BROADCAST = "/cosmos.tx.v1beta1.Service/BroadcastTx"
PLACE = b"/dydxprotocol.clob.MsgPlaceOrder"
CANCEL = b"/dydxprotocol.clob.MsgCancelOrder"
BATCH = b"/dydxprotocol.clob.MsgBatchCancel"


def virtual(test: Callable[[Bench], Awaitable[None]]) -> Callable[[], None]:
    """Run a test coroutine on a bench under virtual time; what it leaves running fails it."""

    @functools.wraps(test)
    def run() -> None:
        async def main(sim: simloop.Simulation) -> None:
            async with await set_up("dydx", sim.runtime, network=sim.network) as bench:
                await test(bench)

        simloop.run(main, seed=5)

    del run.__wrapped__  # pytest would read the wrapped signature
    return run


async def connected(bench: Bench, **settings: Any) -> DydxClient:
    return cast(DydxClient, await bench.connected(**settings))


def cache_of(client: DydxClient) -> VenueCache:
    return venue_cache(client.context)


def intent(client: DydxClient, **fields: Any) -> OrderIntent:
    """A bid of 0.01 far below the market unless told otherwise."""
    plain = {"instrument": client.instruments.get(BTC).id, "side": Side.BUY, "quantity": D("0.01"), "price": D(49_000)}
    return OrderIntent(**{**plain, **fields})


def is_broadcast(received: Received) -> bool:
    return received.path == BROADCAST


def is_broadcast_of(url: bytes) -> Callable[[Received], bool]:
    return lambda received: is_broadcast(received) and url in received.body


def is_subaccount(received: Received) -> bool:
    return received.path.startswith("/v4/addresses/")


def bodies(bench: Bench) -> list[pb.Fields]:
    """The transaction bodies broadcast so far."""
    raw = [pb.bytes_of(pb.parse(received.body), 1) for received in bench.commands()]
    return [pb.message_of(pb.parse(tx), 1) for tx in raw]


def messages(bench: Bench) -> list[tuple[str, pb.Fields]]:
    """(type, fields) of every message broadcast so far."""
    found = [message for body in bodies(bench) for message in pb.messages_of(body, 1)]
    return [(pb.text_of(message, 1).rpartition(".")[2], pb.message_of(message, 2)) for message in found]


def flags_of(order: pb.Fields) -> int:
    return pb.number_of(pb.message_of(order, 1), 3)


# ---- which kind of order


@virtual
async def test_the_kind_follows_from_time_in_force(bench: Bench) -> None:
    client = await connected(bench)
    await client.place_limit_order(BTC, D("0.01"), D(50_100), "buy", time_in_force="IOC", wait_for="terminal")
    await client.place_limit_order(BTC, D("0.01"), D(49_000), "buy", wait_for="open")
    await client.place_trigger_order(BTC, D("0.01"), D(49_000), "sell", "stop_market", wait_for="open")
    orders = [pb.message_of(fields, 1) for kind, fields in messages(bench)]
    assert [flags_of(order) for order in orders] == [Flags.SHORT_TERM, Flags.LONG_TERM, Flags.CONDITIONAL]
    short, long, stop = orders
    assert cache_of(client).height - 25 < pb.number_of(short, 5) <= cache_of(client).height + 20, "a block, not a time"
    in_s = pb.number_of(long, 6) - client.context.venue_time.now_ms() // 1000
    assert 27 * 86_400 < in_s <= 28 * 86_400
    assert (pb.number_of(stop, 7), pb.number_of(stop, 8), pb.number_of(stop, 9), pb.number_of(stop, 10)) == (1, 1, 1, 1)
    timeouts = [pb.number_of(body, 3) for body in bodies(bench)]
    assert timeouts[0] == 0, "a short-term order has its own last block"
    assert all(timeout > 0 for timeout in timeouts[1:])


@virtual
async def test_passing_the_nodes_check_is_not_acceptance(bench: Bench) -> None:
    client = await connected(bench)
    info = await client.order_manager.place(intent(client))
    assert info.status is OrderStatus.SUBMITTED
    assert info.order_id is not None, "the indexer's id is known beforehand"
    await bench.until(lambda: client.context.tracker.live()[0].status is OrderStatus.OPEN, "the block tells")


@virtual
async def test_resting_orders_cannot_be_reduce_only(bench: Bench) -> None:
    client = await connected(bench)
    with pytest.raises(UnsupportedCapability):
        await client.place_limit_order(BTC, D("0.01"), D(51_000), "sell", reduce_only=True)
    with pytest.raises(UnsupportedCapability):
        await client.place_trigger_order(BTC, D("0.01"), D(49_000), "sell", "stop_limit", price=D(48_000), reduce_only=True)
    assert bench.commands() == []


@virtual
async def test_the_named_verbs_refuse_what_is_not_theirs(bench: Bench) -> None:
    client = await connected(bench)
    orders = client.order_manager
    for blocks in (0, 21):
        with pytest.raises(OrderDenied):
            await orders.submit_short_term_order(intent(client), blocks=blocks)
    with pytest.raises(OrderDenied):
        await orders.submit_long_term_order(intent(client, time_in_force=TimeInForce.IOC))
    with pytest.raises(OrderDenied):
        await orders.submit_conditional_order(intent(client))
    stop = intent(client, order_type=OrderType.STOP_MARKET, trigger_price=D(49_000), time_in_force=TimeInForce.IOC)
    with pytest.raises(OrderDenied):
        await orders.submit_short_term_order(stop)
    assert bench.commands() == []


@virtual
async def test_client_ids_are_32_bits(bench: Bench) -> None:
    client = await connected(bench)
    for wrong in ("4294967296", "-1", "x", "1.0", ""):
        with pytest.raises(OrderDenied):
            await client.order_manager.place(intent(client, client_order_id=wrong) if wrong else intent(client, client_order_id="²"))
    info = await client.order_manager.place(intent(client, client_order_id="4294967295"), wait_for=WaitFor.OPEN)
    assert info.status is OrderStatus.OPEN


# ---- short-term orders and their last block


async def rest_short(client: DydxClient, **fields: Any) -> OrderInfo:
    return await client.order_manager.submit_short_term_order(intent(client, **fields), blocks=20, wait_for=WaitFor.OPEN)


@virtual
async def test_a_short_term_order_that_is_not_filled_is_canceled(bench: Bench) -> None:
    client = await connected(bench, venue_options={"short_term_blocks": 20})
    info = await client.order_manager.submit_short_term_order(intent(client), wait_for=WaitFor.OPEN)
    assert info.status is OrderStatus.OPEN
    await bench.runtime.clock.sleep(6)
    assert bench.orders() == [], "canceled after five seconds, not left to its last block"
    await bench.until(lambda: client.context.tracker.live() == (), "its end is proved")
    assert info.client_order_id is not None
    ended = await client.get_order_info(info.client_order_id)
    assert ended is not None
    assert ended.status is OrderStatus.CANCELED


@virtual
async def test_an_order_that_was_given_its_blocks_lives_as_long(bench: Bench) -> None:
    client = await connected(bench)
    await rest_short(client)
    await bench.runtime.clock.sleep(9)
    assert len(bench.orders()) == 1
    await bench.until(lambda: client.context.tracker.live() == (), "it ends by itself")
    assert [kind for kind, _ in messages(bench)] == ["MsgPlaceOrder"]


@virtual
async def test_the_end_of_many_quotes_costs_few_questions(bench: Bench) -> None:
    """The indexer answers 100 requests in 10 s for everything; while the stream speaks, only their last blocks are waited for."""
    client = await connected(bench)
    placed = [await rest_short(client, price=D(48_000 - n)) for n in range(20)]
    before = len(bench.dialect.received)
    ended = await client.order_manager.cancel_many([info.client_order_id or "" for info in placed])
    assert [end.status for end in ended if isinstance(end, OrderInfo)] == [OrderStatus.CANCELED] * 20
    asked = [received.path for received in list(bench.dialect.received)[before:] if received.path.startswith("/v4/")]
    assert len(asked) <= 20, asked


@virtual
async def test_the_rule_can_be_switched_off_and_the_order_lives_until_its_last_block(bench: Bench) -> None:
    client = await connected(bench, venue_options={"cancel_unfilled_after_s": None, "short_term_blocks": 20})
    info = await client.order_manager.submit_short_term_order(intent(client), wait_for=WaitFor.OPEN)
    await bench.runtime.clock.sleep(9)
    assert len(bench.orders()) == 1
    await bench.until(lambda: client.context.tracker.live() == (), "it ends by itself")
    assert info.client_order_id is not None
    ended = await client.get_order_info(info.client_order_id)
    assert ended is not None
    assert (ended.status, [kind for kind, _ in messages(bench)]) == (OrderStatus.EXPIRED, ["MsgPlaceOrder"])


@virtual
async def test_a_cancel_seen_by_a_node_is_not_the_end(bench: Bench) -> None:
    """The order may be filled until its last block has passed: only then, or by the chain's own word, has it ended."""
    client = await connected(bench, venue_options={"cancel_unfilled_after_s": None})
    info = await rest_short(client)
    assert info.client_order_id is not None
    ending = asyncio.ensure_future(client.cancel_order(info.client_order_id))
    await bench.runtime.clock.sleep(2)
    assert bench.orders() == []
    assert not ending.done()
    last = next(facts.last_block for facts in [cache_of(client).facts(info.order_id)] if facts is not None)
    ended = await ending
    assert (ended.status, ended.filled_size) == (OrderStatus.CANCELED, D(0))
    assert cache_of(client).indexed > last
    cancel = next(fields for kind, fields in messages(bench) if kind == "MsgCancelOrder")
    assert pb.number_of(cancel, 2) >= last, "a cancel lives at least as long as its order"


@virtual
async def test_when_the_stream_says_nothing_the_height_proves_the_end(bench: Bench) -> None:
    client = await connected(bench, venue_options={"cancel_unfilled_after_s": None})
    bench.hands.push = lambda session, channel, payload: [] if "v4_subaccounts" in channel else None
    info = await client.order_manager.submit_short_term_order(intent(client), blocks=5)
    assert info.status is OrderStatus.SUBMITTED
    await bench.until(lambda: client.context.tracker.live() == (), "asked for, and concluded")
    assert info.client_order_id is not None
    ended = await client.get_order_info(info.client_order_id)
    assert ended is not None
    assert (ended.status, ended.filled_size) == (OrderStatus.EXPIRED, D(0))


@virtual
async def test_an_order_of_which_nobody_knows_is_dead_once_its_last_block_has_passed(bench: Bench) -> None:
    client = await connected(bench)
    bench.hands.requests(RequestFault(lose=Lose.REQUEST), when=is_broadcast)
    with pytest.raises(OrderOutcomeUnknown) as caught:
        await client.place_limit_order(BTC, D("0.01"), D(50_100), "buy", time_in_force="IOC")
    (order,) = client.context.tracker.live()
    facts = cache_of(client).facts_of(order)
    assert facts is not None
    while cache_of(client).indexed <= facts.last_block:
        assert order.status is OrderStatus.UNKNOWN, "not before"
        await bench.runtime.clock.sleep(0.3)
    await bench.until(lambda: order.status is OrderStatus.NOT_SENT, "then at once")
    assert caught.value.client_order_id == order.client_order_id
    assert len(bench.commands()) == 1, "and nothing was sent twice"


@virtual
async def test_nothing_is_concluded_while_the_indexer_stands_still(bench: Bench) -> None:
    """The chain goes on, the indexer does not: its silence about the order says nothing."""
    client = await connected(bench)
    bench.hands.requests(RequestFault(lose=Lose.REPLY), when=is_broadcast)
    with pytest.raises(OrderOutcomeUnknown):
        await client.place_limit_order(BTC, D("0.01"), D(50_100), "buy", time_in_force="IOC")
    (order,) = client.context.tracker.live()
    told = cache_of(client).height
    bench.hands.requests(RequestFault(status=503), times=10_000, when=lambda r: r.path.startswith("/v4/"))
    bench.hands.push = lambda session, channel, payload: []
    cache_of(client).saw(told + 1000, bench.runtime.clock.monotonic(), indexer=True)
    await bench.runtime.clock.sleep(20)
    assert order.status is OrderStatus.UNKNOWN
    bench.hands.rest()
    await bench.until(lambda: order.status is OrderStatus.FILLED, "it had been filled all the time")


@virtual
async def test_an_ioc_that_found_half_is_done_when_its_fills_are_told(bench: Bench) -> None:
    """The node's removal comes before the block with the fills: the end waits for them."""
    client = await connected(bench)
    bench.clear_book()
    bench.set_level(core.Side.SELL, 50_001, D("0.4"))
    seen: list[tuple[OrderStatus, Decimal]] = []
    client.register_order_listener(lambda event: seen.append((event.status, event.filled_size)) if isinstance(event, OrderInfo) else None)
    result = await client.place_limit_order(BTC, D(1), D(50_001), "buy", time_in_force="IOC", wait_for="terminal")
    assert (result.status, result.filled_size) == (OrderStatus.CANCELED, D("0.4"))
    assert [filled for status, filled in seen if status is OrderStatus.CANCELED] == [D("0.4")], "never ended with less"


@virtual
async def test_another_proposer_may_fill_what_a_node_has_removed(bench: Bench) -> None:
    """An IOC that found nothing at one node is filled by the next block's proposer: it must not have been told as ended before."""
    bench.dialect.second_looks = 1.0
    client = await connected(bench)
    bench.clear_book()
    told: list[OrderStatus] = []
    client.register_order_listener(lambda event: told.append(event.status) if isinstance(event, OrderInfo) else None)
    placing = asyncio.ensure_future(client.place_limit_order(BTC, D(1), D(50_001), "buy", time_in_force="IOC", wait_for="terminal"))
    await bench.runtime.clock.sleep(0.2)
    bench.set_level(core.Side.SELL, 50_001, D("0.5"))
    result = await placing
    assert (result.status, result.filled_size) == (OrderStatus.CANCELED, D("0.5"))
    assert bench.position() == D("0.5")
    assert [status for status in told if status.is_terminal] == [OrderStatus.CANCELED]


@virtual
async def test_an_immediate_order_that_found_nothing_has_ended_within_seconds(bench: Bench) -> None:
    client = await connected(bench)
    bench.clear_book()
    started = bench.runtime.clock.monotonic()
    result = await client.place_limit_order(BTC, D("0.01"), D(50_001), "buy", time_in_force="IOC", wait_for="terminal")
    assert (result.status, result.filled_size, result.error_message) == (
        OrderStatus.CANCELED,
        D(0),
        "immediate_or_cancel_would_rest_on_book",
    )
    assert bench.runtime.clock.monotonic() - started < 9


@virtual
async def test_removals_may_be_trusted(bench: Bench) -> None:
    client = await connected(bench, venue_options={"trust_removals": True})
    bench.clear_book()
    started = bench.runtime.clock.monotonic()
    result = await client.place_limit_order(BTC, D("0.01"), D(50_001), "buy", time_in_force="IOC", wait_for="terminal")
    assert result.status is OrderStatus.CANCELED
    assert bench.runtime.clock.monotonic() - started < 1


@virtual
async def test_without_trust_in_removals_the_last_block_is_waited_for(bench: Bench) -> None:
    client = await connected(bench)
    bench.clear_book()
    result = await client.place_limit_order(BTC, D("0.01"), D(50_001), "buy", time_in_force="IOC")
    await bench.runtime.clock.sleep(2)
    (order,) = client.context.tracker.live()
    assert (order.order_id, order.status) == (result.order_id, OrderStatus.OPEN)
    facts = cache_of(client).facts_of(order)
    assert facts is not None
    await bench.until(lambda: client.context.tracker.live() == (), "its last block passes")
    assert cache_of(client).height > facts.last_block
    assert (order.status, order.cancel_reason) == (OrderStatus.CANCELED, "immediate_or_cancel_would_rest_on_book")


@virtual
async def test_the_blocks_of_an_order_do_not_pass_while_it_waits_to_be_sent(bench: Bench) -> None:
    """Nor while the stream is silent: blocks come all the same."""
    client = await connected(bench)
    chain, rules = bench.dialect.chain, client.order_manager.rules
    order, instrument = client.order_manager.prepare(intent(client, time_in_force=TimeInForce.IOC))
    command = client.order_manager.encode_place(order, instrument)
    facts = cache_of(client).facts_of(order)
    assert facts is not None
    for silent in (False, True):
        if silent:
            bench.hands.push = lambda session, channel, payload: []
        await bench.runtime.clock.sleep(2.9)  # what the limiter may take
        await client.context.port.send(command, Progress())
        last = pb.number_of(pb.message_of(messages(bench)[-1][1], 1), 5)
        assert last == facts.last_block
        assert last - chain.height >= rules.ioc_blocks - 2, "the indexer tells a block late"


@virtual
async def test_an_amended_quote_stays_a_quote(bench: Bench) -> None:
    client = await connected(bench)
    info = await rest_short(client)
    amended = await client.order_manager.amend(info.client_order_id or "", price=D(49_100))
    orders = [pb.message_of(fields, 1) for kind, fields in messages(bench) if kind == "MsgPlaceOrder"]
    assert [flags_of(order) for order in orders] == [Flags.SHORT_TERM] * 2
    facts = cache_of(client).facts(amended.order_id)
    assert facts is not None
    assert facts.blocks == 20


def _stale(by: int, code: str) -> Callable[[], None]:
    @virtual
    async def test(bench: Bench) -> None:
        client = await connected(bench)
        bench.hands.push = lambda session, channel, payload: []
        await bench.runtime.clock.sleep(0.2)
        cache = cache_of(client)
        cache.height, cache.height_s = cache.height + by, bench.runtime.clock.monotonic()
        result = await client.place_limit_order(
            BTC, D("0.01"), D(50_100), "buy", time_in_force="IOC", client_order_id="77", wait_for="terminal"
        )
        assert (result.status, result.client_order_id) == (OrderStatus.FILLED, "77")
        assert [kind for kind, _ in messages(bench)] == ["MsgPlaceOrder"] * 2, code

    return test


test_a_stale_height_is_asked_for_again_and_the_order_goes_once_more = _stale(-40, "clob:10")
test_a_height_too_far_ahead_is_corrected = _stale(1000, "clob:11")


@virtual
async def test_a_full_block_is_waited_for_and_the_order_goes_once_more(bench: Bench) -> None:
    """Blocks are slower than our own limiter believes: the chain refuses the third stateful order of one, definitely."""
    bench.dialect.block_s = 2.0
    client = await connected(bench)
    await bench.runtime.clock.sleep(3)
    results = await asyncio.gather(*(client.place_limit_order(BTC, D("0.01"), D(48_000 - n), "buy") for n in range(4)))
    assert all(result.success for result in results)
    await bench.until(lambda: len(bench.orders()) == 4, "all are in blocks")
    assert len(messages(bench)) > 4, "at least one was refused first"


@virtual
async def test_leverage_that_is_no_whole_fraction_is_set_and_read_back(bench: Bench) -> None:
    bench.dialect.block_s = 2.0
    client = await connected(bench)
    assert (await client.set_leverage(BTC, 3)).account_leverage == 3


# ---- collateral


@virtual
async def test_a_long_term_order_is_checked_against_free_collateral_first(bench: Bench) -> None:
    client = await connected(bench)
    with pytest.raises(InsufficientMargin, match="nothing was sent"):
        await client.order_manager.submit_long_term_order(intent(client, quantity=D(500)))
    assert bench.commands() == []
    unchecked = await connected(bench, venue_options={"check_collateral": False})
    with pytest.raises(InsufficientMargin) as caught:
        await unchecked.order_manager.submit_long_term_order(intent(unchecked, quantity=D(500)))
    assert caught.value.code == "clob:3007", "the chain's own word"
    assert len(bench.commands()) == 1


# ---- canceling several


@virtual
async def test_short_term_and_stateful_orders_are_canceled_apart(bench: Bench) -> None:
    client = await connected(bench, venue_options={"cancel_unfilled_after_s": None})
    short = [await rest_short(client, price=D(48_000 - n)) for n in range(3)]
    long = [await client.order_manager.place(intent(client, price=D(47_000 - n)), wait_for=WaitFor.OPEN) for n in range(2)]
    ended = await client.cancel_orders([info.client_order_id or "" for info in [short[0], long[0], short[1], long[1], short[2]]])
    assert [result.status for result in ended] == [OrderStatus.CANCELED] * 5
    cancels = [kind for kind, _ in messages(bench) if kind != "MsgPlaceOrder"]
    assert cancels == ["MsgBatchCancel", "MsgCancelOrder", "MsgCancelOrder"]
    assert len(bodies(bench)) == 5 + 2, "the stateful ones shared a transaction"


async def rest_long(client: DydxClient) -> list[str]:
    """Client ids of three long-term orders, the last one the best."""
    placed = [await client.order_manager.place(intent(client, price=D(48_000 + n)), wait_for=WaitFor.OPEN) for n in range(3)]
    return [info.client_order_id or "" for info in placed]


@virtual
async def test_one_order_that_is_gone_does_not_keep_the_others_open(bench: Bench) -> None:
    """The cancels of stateful orders travel in one transaction, which is refused whole when one of the orders has ended."""
    first, second = await connected(bench), await connected(bench)
    ids = await rest_long(first)
    bench.hands.push = lambda session, channel, payload: [] if "v4_subaccounts" in channel else None
    gone = first.context.tracker.find(ids[1])
    assert gone is not None
    assert gone.order_id is not None
    await second.cancel_order(gone.order_id)
    assert not gone.status.is_terminal, "nobody told"
    ended = await first.order_manager.cancel_many(ids)
    assert [end.status for end in ended if isinstance(end, OrderInfo)] == [OrderStatus.CANCELED] * 3
    assert bench.orders() == []


@virtual
async def test_cancels_that_fail_in_their_block_are_sent_one_by_one(bench: Bench) -> None:
    """One of the orders is filled in the very block: the shared transaction has passed the check, and does nothing."""
    bench.dialect.block_s = 2.0
    client = await connected(bench)
    ids = await rest_long(client)
    bench.clear_book()
    before = len(bench.commands())
    canceling = asyncio.ensure_future(client.order_manager.cancel_many(ids))
    await bench.until(lambda: len(bench.commands()) > before, "the shared transaction is there")
    await bench.runtime.clock.sleep(0.2)
    bench.trade(core.Side.SELL, D("0.01"))
    ended = [end for end in await canceling if isinstance(end, OrderInfo)]
    assert [end.status for end in ended] == [OrderStatus.CANCELED, OrderStatus.CANCELED, OrderStatus.FILLED]
    assert bench.orders() == []


@virtual
async def test_cancels_of_one_kind_go_out_whatever_befalls_the_other(bench: Bench) -> None:
    client = await connected(bench, venue_options={"cancel_unfilled_after_s": None})
    short = [await rest_short(client, price=D(48_000 - n)) for n in range(2)]
    long = await client.order_manager.place(intent(client, price=D(47_000)), wait_for=WaitFor.OPEN)
    bench.hands.requests(RequestFault(status=400), when=is_broadcast_of(BATCH))
    told = await client.order_manager.cancel_many([*(info.client_order_id or "" for info in short), long.client_order_id or ""])
    assert [isinstance(each, OrderInfo) for each in told] == [False, False, True]
    assert [order.client_order_id for order in client.context.tracker.live()] == [info.client_order_id for info in short]


# ---- sequences


@virtual
async def test_two_programs_of_one_account_find_their_sequence(bench: Bench) -> None:
    first, second = await connected(bench), await connected(bench)
    for n in range(3):
        for client in (first, second):
            result = await client.place_limit_order(BTC, D("0.01"), D(48_000 - n), "buy", wait_for="open")
            assert result.success, result.error_message
    assert len(bench.orders()) == 6


@virtual
async def test_short_term_orders_need_no_sequence_and_wait_for_nobody(bench: Bench) -> None:
    client = await connected(bench)
    bench.hands.requests(RequestFault(after_s=3.0), when=is_broadcast_of(PLACE))
    slow = asyncio.ensure_future(client.place_limit_order(BTC, D("0.01"), D(48_000), "buy"))
    await bench.runtime.clock.sleep(0.5)
    started = bench.runtime.clock.monotonic()
    result = await client.place_limit_order(BTC, D("0.01"), D(50_100), "buy", time_in_force="IOC")
    assert result.success
    assert bench.runtime.clock.monotonic() - started < 1
    assert (await slow).success


# ---- nodes


class DeadNode:
    """A node that cannot be reached, or fails after it has heard."""

    def __init__(self, error: Exception) -> None:
        self.error, self.asked = error, 0

    async def call(self, method: str, request: bytes, *, timeout_s: float) -> bytes:
        self.asked += 1
        raise self.error

    async def close(self) -> None: ...


def with_node(bench: Bench, dead: DeadNode) -> DydxClient:
    """A client whose first node is `dead` and whose second is the dialect."""
    real = bench.runtime.grpc

    def channel(address: str) -> UnaryChannel:
        return dead if address == "dead:443" else real(address)

    runtime = replace(bench.runtime, grpc=channel)
    ends = bench.ready.endpoints
    return cast(DydxClient, bench.client(runtime=runtime, endpoints={**ends, "grpc": ["dead:443", *ends["grpc"]]}))


@virtual
async def test_a_node_that_is_down_is_passed_over(bench: Bench) -> None:
    dead = DeadNode(ConnectFailed("down"))
    client = with_node(bench, dead)
    await client.connect()
    result = await client.place_limit_order(BTC, D("0.01"), D(50_100), "buy", time_in_force="IOC", wait_for="terminal")
    assert result.status is OrderStatus.FILLED
    assert 0 < dead.asked < 5, "and left alone for a while"


@virtual
async def test_a_broadcast_that_may_have_been_heard_is_not_repeated_at_another_node(bench: Bench) -> None:
    client = with_node(bench, DeadNode(ConnectFailed("down")))
    await client.connect()
    failing = DeadNode(GrpcStatus("UNAVAILABLE", "connection reset"))
    first = client.context.rest.nodes.nodes[0]
    first.channel, first.rest_until, first.lag = failing, 0.0, 0
    with pytest.raises(OrderOutcomeUnknown):
        await client.place_limit_order(BTC, D("0.01"), D(50_100), "buy", time_in_force="IOC")
    assert (failing.asked, bench.commands()) == (1, [])
    result = await client.place_limit_order(BTC, D("0.01"), D(50_100), "buy", time_in_force="IOC", wait_for="terminal")
    assert result.status is OrderStatus.FILLED, "the next one goes to the other node"


class LateNode:
    """A node that stands still at `height`: it takes what its own height allows, and the chain never hears of it."""

    def __init__(self, height: int, chain_id: str) -> None:
        self.height, self.chain_id = height, chain_id
        self.taken: list[int] = []
        """Last blocks of the short-term orders that it took."""

    async def call(self, method: str, request: bytes, *, timeout_s: float) -> bytes:
        if method != BROADCAST:
            return pb.data(2, pb.data(1, pb.text(2, self.chain_id) + pb.number(3, self.height)))
        body = pb.message_of(pb.parse(pb.bytes_of(pb.parse(request), 1)), 1)
        last = pb.number_of(pb.message_of(pb.message_of(pb.messages_of(body, 1)[0], 2), 1), 5)
        refusal = b""
        if last > self.height + 21:
            refusal = pb.text(3, "clob") + pb.number(4, 11) + pb.text(6, "too far")
        else:
            self.taken.append(last)
        return pb.data(1, pb.text(2, "A" * 64) + refusal)

    async def close(self) -> None: ...


@virtual
async def test_a_node_that_is_behind_swallows_no_order(bench: Bench) -> None:
    """It refuses the last block as too far ahead; believing its height, the order would be taken and never be in a block."""
    client = with_node(bench, DeadNode(ConnectFailed("down")))
    await client.connect()
    cache = cache_of(client)
    late = LateNode(cache.height - 30, bench.dialect.chain_id)
    first = client.context.rest.nodes.nodes[0]
    first.channel, first.rest_until, first.lag = late, 0.0, 0
    before = cache.height
    result = await client.place_limit_order(BTC, D("0.01"), D(50_100), "buy", time_in_force="IOC", wait_for="terminal")
    assert result.status is OrderStatus.FILLED
    assert (late.taken, cache.height >= before) == ([], True)
    assert client.context.rest.nodes.ranked()[-1] is first


@virtual
async def test_a_node_that_is_behind_is_found_by_looking_at_all(bench: Bench) -> None:
    client = with_node(bench, DeadNode(ConnectFailed("down")))
    await client.connect()
    first, second = client.context.rest.nodes.nodes
    for behind, ranked in ((5, [second, first]), (1, [first, second])):
        first.channel, first.rest_until = LateNode(cache_of(client).height - behind, bench.dialect.chain_id), 0.0
        await client.account_manager.probe_nodes()
        assert client.context.rest.nodes.ranked() == ranked


@virtual
async def test_a_node_of_another_chain_is_refused(bench: Bench) -> None:
    client = cast(DydxClient, bench.client(endpoints={**bench.ready.endpoints, "chain_id": "dydx-testnet-4"}))
    with pytest.raises(ConfigError, match="chain"):
        await client.connect()


# ---- keys


def keys(bench: Bench, **changed: str) -> Credentials:
    environ = bench.account.environ
    fields = {"private_key": environ["DYDX_PRIVATE_KEY"], "address": environ["DYDX_ADDRESS"], "subaccount_number": "0"}
    return Credentials("dydx", {**fields, **changed})


def client_with(bench: Bench, credentials: Credentials) -> DydxClient:
    return DydxClient(bench.settings(), credentials, runtime=bench.runtime)


@virtual
async def test_a_permissioned_key_trades_for_its_owner(bench: Bench) -> None:
    trader = bench.dialect.permissioned(bench.account)
    client = await connected(bench, account=trader)
    signer = cast(Any, client.context.signer)
    assert signer.address == bench.account.environ["DYDX_ADDRESS"] != signer.key_address
    result = await client.place_limit_order(BTC, D("0.01"), D(49_000), "buy", wait_for="open")
    assert result.success, result.error_message
    assert len(bench.orders()) == 1
    assert result.client_order_id is not None
    assert (await client.cancel_order(result.client_order_id)).status is OrderStatus.CANCELED
    taken = await client.place_limit_order(BTC, D("0.01"), D(50_100), "buy", time_in_force="IOC", wait_for="terminal")
    assert (taken.status, bench.position()) == (OrderStatus.FILLED, D("0.01"))


@virtual
async def test_what_a_key_may_do(bench: Bench) -> None:
    own = await connected(bench)
    assert (await own.get_key_info()).can_withdraw is True
    trader = await connected(bench, account=bench.dialect.permissioned(bench.account))
    info = await trader.get_key_info()
    assert (info.can_trade, info.can_withdraw) == (True, False)


@virtual
async def test_a_permissioned_key_is_proved_at_connect(bench: Bench) -> None:
    environ = bench.dialect.permissioned(bench.account).environ
    good = {"private_key": environ["DYDX_PRIVATE_KEY"], "authenticator_id": environ["DYDX_AUTHENTICATOR_ID"]}
    for wrong, word in (
        ({**good, "authenticator_id": "99999"}, "no authenticator"),
        ({**good, "private_key": "11" * 31 + "12"}, "another key"),
        ({"private_key": good["private_key"]}, "authenticator_id"),
    ):
        client = client_with(bench, Credentials("dydx", {"address": environ["DYDX_ADDRESS"], **wrong}))
        with pytest.raises(PermissionDenied, match=word):
            await client.connect()


@virtual
async def test_what_the_owner_did_not_allow_is_refused(bench: Bench) -> None:
    trader = bench.dialect.permissioned(bench.account, clob_pairs=[1])
    client = await connected(bench, account=trader)
    pairs = {base: cache_of(client).grid(client.instruments.get(base)).clob_pair_id for base in (BTC, ETH)}
    forbidden, allowed = (BTC, ETH) if pairs[ETH] == 1 else (ETH, BTC)
    price = {BTC: D(49_000), ETH: D(2_400)}
    refused = await client.place_limit_order(forbidden, D("0.01"), price[forbidden], "buy", time_in_force="IOC")
    assert isinstance(refused.error, AuthError)
    assert refused.error.code.startswith("accountplus:")
    assert refused.outcome == Outcome.REFUSED
    result = await client.place_limit_order(allowed, D("0.01"), price[allowed], "buy", wait_for="open")
    assert result.success, result.error_message


@virtual
async def test_an_account_that_was_never_funded_is_told_so(bench: Bench) -> None:
    client = client_with(bench, Credentials("dydx", {"private_key": "11" * 31 + "12"}))
    with pytest.raises(PermissionDenied, match="fund"):
        await client.connect()


@virtual
async def test_another_subaccount_is_another_book_of_orders(bench: Bench) -> None:
    bench.dialect.open_subaccount(bench.account.environ["DYDX_ADDRESS"], 1, D(1_000))
    other = client_with(bench, keys(bench, subaccount_number="1"))
    try:
        await other.connect()
        assert await other.get_total_asset_value() == 1_000
        result = await other.place_limit_order(BTC, D("0.01"), D(49_000), "buy", wait_for="open")
        assert result.success, result.error_message
        first = await connected(bench)
        assert await first.get_active_orders() == []
        assert result.order_id is not None
        assert await first.get_order_info(result.order_id) is None, "anybody may ask for an order: it is not ours"
    finally:
        await other.disconnect()


# ---- identity of orders


@virtual
async def test_the_same_client_id_in_another_market_is_another_order(bench: Bench) -> None:
    first, second = await connected(bench), await connected(bench)
    bench.hands.push = lambda session, channel, payload: [] if "v4_subaccounts" in channel else None
    mine = await first.place_limit_order(BTC, D("0.01"), D(49_000), "buy", client_order_id="5", wait_for="open")
    theirs = await second.order_manager.place(
        intent(second, instrument=second.instruments.get(ETH).id, price=D(2_400), quantity=D("0.1"), client_order_id="5"),
        wait_for=WaitFor.OPEN,
    )
    assert theirs.order_id != mine.order_id
    bench.hands.rest()
    assert len(await first.get_active_orders()) == 2
    known = {order.order_id: (order.client_order_id, order.external) for order in first.context.tracker.live()}
    assert known == {mine.order_id: ("5", False), theirs.order_id: (None, True)}
    assert theirs.order_id is not None
    ended = await first.cancel_order(theirs.order_id)
    assert ended.status is OrderStatus.CANCELED
    assert [order.order_id for order in first.context.tracker.live()] == [mine.order_id]


def test_a_row_whose_last_block_is_no_number_is_not_understood() -> None:
    cache = VenueCache()
    row = m.OrderRow(id="x", status="OPEN", clientId="1", orderFlags="0", clobPairId="0", goodTilBlock="Infinity")
    with pytest.raises(DecodeError):
        cache.learn(row)
    assert cache.facts("x") is None


# ---- reads


@virtual
async def test_the_indexers_retry_after_is_in_milliseconds(bench: Bench) -> None:
    client = cast(DydxClient, bench.client(signed=False))
    await client.instruments.load_all()
    # The dialect writes a fault's seconds in the venue's own unit.
    fault = RequestFault(status=429, headers={"Retry-After": "4"}, body=b'{"errors":[{"msg":"Too many requests"}]}')
    bench.hands.requests(fault, times=100, when=lambda received: "/orderbooks/" in received.path)
    started = bench.runtime.clock.monotonic()
    with pytest.raises(RateLimited) as caught:
        await client.market_data.fetch_book(client.instruments.get(BTC))
    assert caught.value.retry_after_s == 4.0
    assert 7 < bench.runtime.clock.monotonic() - started < 12, "asked three times, waiting as told"


@contextmanager
def pages_of(rows: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(order_manager, "PAGE", rows)
        yield


@virtual
async def test_the_newest_fills_of_a_long_history_are_found(bench: Bench) -> None:
    """With `page` the venue tells the oldest first: of more fills than fit on one, the new ones would never be seen."""
    client = await connected(bench)
    for _ in range(3):
        for _ in range(3):
            bench.submit(core.Side.BUY, D("0.01"), D(50_100))
        await bench.runtime.clock.sleep(1.5)
    since_ns = bench.runtime.clock.time_ns()
    for _ in range(5):
        bench.submit(core.Side.BUY, D("0.01"), D(50_100))
        await bench.runtime.clock.sleep(0.3)
    await bench.runtime.clock.sleep(1.5)
    await bench.records_are_in()
    everything = await client.get_user_trade_history(BTC, since_ns=0)
    recent = [fill.trade_id for fill in everything if fill.ts_venue_ns >= since_ns]
    assert (len(everything), len(recent)) == (14, 5)
    with pages_of(4):
        assert [fill.trade_id for fill in await client.get_user_trade_history(BTC, since_ns=since_ns)] == recent
        assert [fill.trade_id for fill in await client.get_user_trade_history(BTC, since_ns=0)] == [f.trade_id for f in everything]


@virtual
async def test_no_order_hides_another_one_from_the_history(bench: Bench) -> None:
    """The venue lists stateful orders first and by their expiry: of more than fit on a page, short-term ones would never be seen."""
    client = await connected(bench)
    for n in range(4):
        await client.place_limit_order(BTC, D("0.01"), D(48_000 - n), "buy", wait_for="open")
    long = {order.order_id for order in client.context.tracker.live()}
    now_ns = client.context.venue_time.now_ns()
    short = [
        (await client.place_limit_order(BTC, D("0.01"), D(50_100), "buy", time_in_force="IOC", wait_for="terminal")).order_id
        for _ in range(4)
    ]
    soon = await client.place_limit_order(
        BTC, D("0.01"), D(47_000), "buy", time_in_force="GTT", expire_ns=now_ns + 3600 * NS_PER_S, client_order_id="99", wait_for="open"
    )
    await bench.runtime.clock.sleep(3)
    with pages_of(3):
        found = await client.order_manager.fetch_order_history(since_ns=0)
        assert {info.order_id for info in found} == {*long, *short, soon.order_id}
        assert len(found) == 9
        recent = await client.order_manager.fetch_order_history(since_ns=now_ns)
        assert {info.order_id for info in recent} == {*short, soon.order_id}
        later = await client.order_manager.fetch_order_history(since_ns=client.context.venue_time.now_ns())
        assert later == []
        with pytest.raises(OrderOutcomeUnknown, match="which market"):
            await client.order_manager.fetch_order(None, client_order_id="99")
    by_id = await client.order_manager.fetch_order(None, client_order_id="99")
    assert by_id is not None
    assert by_id.order_id == soon.order_id


@virtual
async def test_history_is_paged_until_what_was_over_before(bench: Bench) -> None:
    client = await connected(bench)
    for _ in range(12):
        await client.place_limit_order(BTC, D("0.01"), D(50_100), "buy", time_in_force="IOC", wait_for="terminal")
        await bench.runtime.clock.sleep(30)
    since_ns = client.context.venue_time.now_ns() - 100 * NS_PER_S
    asked: list[str] = []

    def listen(received: Received) -> bool:
        if received.path == "/v4/orders":
            asked.append(received.params.get("goodTilBlockBeforeOrAt", ""))
        return False

    bench.hands.requests(RequestFault(), when=listen)
    with pages_of(3):
        found = await client.order_manager.fetch_order_history(since_ns=since_ns)
    assert len(found) == 3
    assert len([height for height in asked if height]) == 3, "six are looked at, and then no more"


@virtual
async def test_fees_take_few_questions_from_what_orders_need(bench: Bench) -> None:
    """Nodes answer 250 requests a minute, transactions included."""
    client = await connected(bench)
    before = len(bench.dialect.received)
    market = {BTC: (D("0.01"), D(48_000)), ETH: (D("0.1"), D(2_000))}
    await asyncio.gather(
        *(client.place_limit_order(base, *market[base], "buy", time_in_force="IOC") for base in (BTC, ETH) for _ in range(10))
    )
    await bench.until(lambda: len(cache_of(client).fees) == 2, "the rates are told")
    asked = [received.path.rpartition("/")[2] for received in list(bench.dialect.received)[before:] if "feetiers" in received.path]
    assert sorted(asked) == ["PerMarketFeeDiscountParams", "PerMarketFeeDiscountParams", "UserFeeTier", "UserStakingTier"]


@virtual
async def test_fees_come_from_the_chain_with_the_markets_discount(bench: Bench) -> None:
    client = await connected(bench)
    plain = await client.get_fee_rates(BTC)
    bench.dialect.charge_ppm[bench.symbol()] = 500_000
    half = await client.get_fee_rates(BTC)
    assert (half.taker, half.maker) == (plain.taker / 2, plain.maker / 2)
    assert await client.get_fee_rates(ETH) == plain


@virtual
async def test_fills_of_the_socket_carry_the_fee_that_the_chain_charges(bench: Bench) -> None:
    """They come without one; with rates that are known, and with rates that have to be asked for first."""

    def without_fee(session: int, channel: str, payload: bytes) -> list[tuple[float, bytes]]:
        frame = json.loads(payload)
        for fill in (frame.get("contents") or {}).get("fills") or [] if isinstance(frame.get("contents"), dict) else []:
            fill.pop("fee", None)
        return [(0.0, json.dumps(frame).encode())]

    bench.hands.push = without_fee
    client = await connected(bench)
    heard: list[Fill] = []
    client.context.hub.listen(event_key(Stream.FILLS), lambda event: heard.append(event) if isinstance(event, Fill) else None)
    await client.place_limit_order(BTC, D("0.013"), D(50_001), "buy", time_in_force="IOC", wait_for="terminal")
    await bench.until(lambda: len(heard) == 1, "by the rates that placing asked for")
    cache_of(client).fees.clear()
    bench.submit(core.Side.BUY, D("0.013"), D(50_001))
    await bench.until(lambda: len(heard) == 2, "by rates asked for now")
    await bench.records_are_in()
    recorded = await client.get_user_trade_history(BTC, since_ns=0)
    assert [fill.fee for fill in heard] == [fill.fee for fill in recorded] == [D("0.325007")] * 2, "rounded up to a millionth"


def is_about_fees(received: Received) -> bool:
    return ".feetiers." in received.path


@virtual
async def test_a_fill_whose_fee_the_nodes_do_not_tell_takes_it_from_the_records(bench: Bench) -> None:
    client = await connected(bench)
    heard: list[Fill] = []
    client.context.hub.listen(event_key(Stream.FILLS), lambda event: heard.append(event) if isinstance(event, Fill) else None)
    bench.hands.requests(RequestFault(before_s=30.0), times=1_000, when=is_about_fees)
    bench.submit(core.Side.BUY, D("0.013"), D(50_001))
    await bench.runtime.clock.sleep(2.5)
    assert [fill.fee for fill in heard] == [D("0.325007")]


@virtual
async def test_a_fill_is_never_told_without_its_fee(bench: Bench) -> None:
    """Neither the nodes nor the indexer answer: a fee of 0 would stay in the ledger for ever."""
    client = await connected(bench)
    heard: list[Fill] = []
    client.context.hub.listen(event_key(Stream.FILLS), lambda event: heard.append(event) if isinstance(event, Fill) else None)
    bench.hands.requests(RequestFault(status=503), times=1_000, when=lambda received: is_about_fees(received) or "fills" in received.path)
    for _ in range(3):
        bench.submit(core.Side.BUY, D("0.013"), D(50_001))
    await bench.runtime.clock.sleep(20)
    assert heard == []
    bench.hands.rest()
    await bench.until(lambda: len(heard) == 3, "all of them, once somebody says what they cost")
    assert [fill.fee for fill in heard] == [D("0.325007")] * 3


@virtual
async def test_fees_that_nobody_tells_are_not_asked_for_with_every_order_and_fill(bench: Bench) -> None:
    client = await connected(bench)
    asked: list[str] = []

    def failing(received: Received) -> bool:
        if is_about_fees(received):
            asked.append(received.path.rpartition("/")[2])
        return is_about_fees(received)

    bench.hands.requests(RequestFault(status=503), times=1_000, when=failing)
    await asyncio.gather(*(client.place_limit_order(BTC, D("0.01"), D(50_001), "buy", time_in_force="IOC") for _ in range(5)))
    for _ in range(5):
        bench.submit(core.Side.BUY, D("0.01"), D(50_001))
        await bench.runtime.clock.sleep(2)
    first = len(asked)
    assert 0 < first <= 3, "one question, as often as any question is repeated"
    bench.hands.rest()
    bench.hands.requests(RequestFault(), times=1_000, when=lambda r: failing(r) and False)
    await bench.runtime.clock.sleep(60)
    await asyncio.gather(*(client.place_limit_order(BTC, D("0.01"), D(50_001), "buy", time_in_force="IOC") for _ in range(5)))
    await bench.until(lambda: bool(cache_of(client).fees), "after a minute it is asked again")
    assert len(asked) == first + 3, "once for all"


@virtual
async def test_an_old_answer_does_not_bring_a_closed_position_back(bench: Bench) -> None:
    client = await connected(bench)
    bench.submit(core.Side.BUY, D("0.01"), D(50_100))
    await bench.until(lambda: len(client.context.positions) == 1, "the position is told")
    await bench.runtime.clock.sleep(5)
    bench.hands.requests(RequestFault(after_s=3.0), when=is_subaccount)
    asking = asyncio.ensure_future(client.position_manager.open_positions())
    await bench.runtime.clock.sleep(0.1)
    bench.submit(core.Side.SELL, D("0.01"), D(49_900))
    await bench.until(lambda: not client.context.positions, "its end is told")
    assert await asking == []
    assert client.context.positions == {}
    bench.submit(core.Side.SELL, D("0.02"), D(49_900))
    await bench.runtime.clock.sleep(5)
    assert [p.quantity for p in await client.position_manager.open_positions()] == [D("-0.02")]
    client.context.positions.clear()
    assert [p.quantity for p in await client.position_manager.open_positions()] == [D("-0.02")], "nothing later is known"


@virtual
async def test_the_balance_is_asked_for_until_it_is_of_the_last_change(bench: Bench) -> None:
    """What changes while the question is on its way, or after an answer that failed."""
    client = await connected(bench)
    heard: list[AccountState] = []
    client.context.hub.listen(event_key(Stream.ACCOUNT), lambda event: heard.append(event) if isinstance(event, AccountState) else None)

    async def is_known() -> bool:
        await bench.runtime.clock.sleep(15)
        return bool(heard) and heard[-1].margin_used == (await client.account_manager.fetch_account()).margin_used

    bench.hands.requests(RequestFault(after_s=3.0), when=is_subaccount)
    bench.submit(core.Side.BUY, D("0.01"), D(50_100))
    await bench.runtime.clock.sleep(2.5)
    bench.submit(core.Side.BUY, D("0.05"), D(50_100))
    assert await is_known(), "the second change came while the first answer was on its way"
    bench.hands.requests(RequestFault(status=503), times=6, when=is_subaccount)
    bench.submit(core.Side.SELL, D("0.03"), D(49_900))
    assert await is_known(), "asked again after failures"


@virtual
async def test_a_market_that_is_held_alone_is_not_entered_beside_others(bench: Bench) -> None:
    bench.dialect.isolated.add(bench.symbol(ETH))
    client = await connected(bench)
    taken = await client.place_limit_order(BTC, D("0.01"), D(50_100), "buy", time_in_force="IOC", wait_for="terminal")
    assert taken.status is OrderStatus.FILLED
    await bench.until(lambda: len(client.context.positions) == 1, "the position is told")
    before = len(bench.commands())
    with pytest.raises(OrderDenied, match="held alone"):
        await client.place_limit_order(ETH, D("0.1"), D(2_400), "buy")
    assert len(bench.commands()) == before


@virtual
async def test_beside_a_market_that_is_held_alone_no_other_is_entered(bench: Bench) -> None:
    """The chain says so only when it matches: such an order is taken and vanishes."""
    bench.dialect.isolated.add(bench.symbol(ETH))
    client = await connected(bench)
    taken = await client.place_limit_order(ETH, D("0.1"), D(2_600), "buy", time_in_force="IOC", wait_for="terminal")
    assert taken.status is OrderStatus.FILLED
    await bench.until(lambda: len(client.context.positions) == 1, "the position is told")
    before = len(bench.commands())
    with pytest.raises(OrderDenied, match="held alone"):
        await client.place_limit_order(BTC, D("0.01"), D(49_000), "buy")
    assert len(bench.commands()) == before
    more = await client.place_limit_order(ETH, D("0.1"), D(2_600), "buy", time_in_force="IOC", wait_for="terminal")
    assert more.status is OrderStatus.FILLED


@virtual
async def test_updates_lost_between_snapshot_and_subscription_heal_by_themselves(bench: Bench) -> None:
    """The venue listens only after it has taken the snapshot; nothing in the stream tells."""
    bench.dialect.snapshot_gap_s = 0.5
    client = await connected(bench, signed=False, venue_options={"resync_books_s": 5})
    instrument = client.instruments.get(BTC)
    preparing = asyncio.ensure_future(client.ws_manager.prepare_market_feed(instrument))
    await bench.runtime.clock.sleep(0.2)
    bench.set_level(core.Side.BUY, 49_990, D(7))
    await preparing
    bench.dialect.snapshot_gap_s = 0.0
    await bench.book_is_true(client, timeout_s=10)
    assert client.ws_manager.order_book_ready(instrument)


@virtual
async def test_refusals_of_the_socket_find_their_channel(bench: Bench) -> None:
    """They name the channel in fields, in words, or not at all."""
    client = await connected(bench, signed=False)
    manager = client.ws_manager
    topics = [manager.dialect.topic(stream, client.instruments.get(BTC)) for stream in (Stream.TRADES, Stream.BOOK)]
    for topic in topics:
        manager.registry.want(topic, 0.0)
        manager.registry.sent([topic], 0.0)
    named, only = topics

    def say(**fields: Any) -> None:
        manager.handler.feed("public", json.dumps({"type": "error", "message_id": 9, "connection_id": "x", **fields}), 1)

    say(message="Invalid request")
    assert manager.registry.refusal(named) is manager.registry.refusal(only) is None, "two wait: it may be about either"
    say(message="Per-connection subscription limit reached for v4_trades (limit=32), id BTC-USD")
    assert "limit" in (manager.registry.refusal(named) or "")
    say(message="You must specify a valid id", channel="v4_orderbook", id="BTC-USD")
    assert manager.registry.refusal(only) == "You must specify a valid id"
    manager.registry.again(only, 0.0)
    manager.registry.sent([only], 0.0)
    say(message="Already subscribed (v4_orderbook-BTC-USD)")
    assert manager.registry.is_confirmed(only)


@virtual
async def test_batched_books_are_the_same_books(bench: Bench) -> None:
    client = await connected(bench, signed=False, venue_options={"batched_books": True})
    await client.ws_manager.prepare_market_feed(client.instruments.get(BTC))
    for n in range(20):
        bench.set_level(core.Side.SELL if n % 2 else core.Side.BUY, 50_010 + n if n % 2 else 49_990 - n, D(n % 4))
        await bench.runtime.clock.sleep(0.07)
    await bench.book_is_true(client, timeout_s=60)


@virtual
async def test_options_are_checked(bench: Bench) -> None:
    for options in (
        {"short_term_block": 5},
        {"short_term_blocks": 21},
        {"ioc_blocks": 0},
        {"short_term_blocks": "many"},
        {"long_term_days": 95},
        {"tx_blocks": 1},
        {"resync_books_s": 0},
        {"cancel_unfilled_after_s": -1},
    ):
        with pytest.raises(ConfigError):
            bench.client(signed=False, venue_options=options)


@virtual
async def test_a_halted_chain_takes_no_order_for_placed(bench: Bench) -> None:
    """A node upgrade: transactions pass the check, and no block comes."""
    client = await connected(bench, command_timeout_s=3.0)
    bench.dialect.halted = True
    with pytest.raises(OrderOutcomeUnknown):
        await client.order_manager.place(intent(client), wait_for=WaitFor.OPEN)
    (order,) = client.context.tracker.live()
    await bench.runtime.clock.sleep(60)
    assert order.is_unresolved
    bench.dialect.halted = False
    await bench.until(lambda: order.status is OrderStatus.OPEN, "the chain goes on")
