"""What became of an order when something went wrong on the way: refused in the venue's words, unknown until proved, counted once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from decimal import Decimal

import pytest

from exchange_clients.errors import (
    DuplicateClientOrderId,
    InsufficientMargin,
    OrderDenied,
    OrderOutcomeUnknown,
    Outcome,
    PostOnlyWouldCross,
    ReduceOnlyViolation,
    Throttled,
    UnknownInstrument,
    VenueError,
)
from exchange_clients.model import Ack, Lane, OrderResult, OrderStatus, Purpose
from exchange_simulator.conformance.bench import BTC, Bench, buffered, needs, rest_order, take, virtual
from exchange_simulator.core import types as core
from exchange_simulator.core.events import AnyEvent, OrderFilled
from exchange_simulator.dialects.base import Lose, Received, RequestFault

QUANTITY = Decimal("0.01")
LIMITER_WAIT_S = 5.0
"""For so long a command waits for our own limiter."""


async def refused(bench: Bench, result: OrderResult, kind: type[VenueError]) -> None:
    """The order was refused with that class, at once or (where an ack is only queued) by its later end; nothing rests, nothing filled."""
    assert bench.orders() == []
    if not result.success:
        assert isinstance(result.error, kind), repr(result.error)
        assert result.outcome == Outcome.REFUSED
        assert result.error_message
        assert isinstance(result.error, VenueError)
        assert bench.spec.name in str(result.error)
        return
    ended_in_its_answer = (PostOnlyWouldCross, ReduceOnlyViolation)
    assert bench.spec.capabilities.ack is Ack.QUEUED or kind in ended_in_its_answer, "a final ack does not take its word back"
    assert result.status in (OrderStatus.REJECTED, OrderStatus.CANCELED), result
    assert result.error_message, "the reason is told"


# ---- refused


@virtual
async def test_post_only_that_would_take_is_refused(bench: Bench) -> None:
    client = await bench.connected()
    needs(client.capabilities.post_only, "post-only")
    result = await client.place_limit_order(BTC, QUANTITY, Decimal(50_100), "buy", post_only=True, wait_for="terminal")
    await refused(bench, result, PostOnlyWouldCross)
    assert bench.position() == 0


@virtual
async def test_too_little_margin_is_refused(bench: Bench) -> None:
    client = await bench.connected()
    result = await client.place_limit_order(BTC, Decimal(500), Decimal(49_000), "buy", wait_for="terminal")
    await refused(bench, result, InsufficientMargin)


@virtual
async def test_reduce_only_without_a_position_does_nothing(bench: Bench) -> None:
    client = await bench.connected()
    needs(client.capabilities.reduce_only, "reduce-only")
    result = await client.place_limit_order(
        BTC, QUANTITY, Decimal(49_900), "sell", reduce_only=True, time_in_force="IOC", wait_for="terminal"
    )
    await refused(bench, result, ReduceOnlyViolation)
    assert bench.position() == 0


@virtual
async def test_a_client_id_in_use_is_refused(bench: Bench) -> None:
    client = await bench.connected()
    info = await rest_order(client)
    with pytest.raises(VenueError) as caught:
        await client.place_limit_order(BTC, QUANTITY, Decimal(48_000), "buy", client_order_id=info.client_order_id)
    assert caught.value.outcome is Outcome.NOT_SENT
    if not client.capabilities.client_id_reusable:
        other = bench.client()  # not connected: it knows nothing of the order, so the venue has to say it
        await other.instruments.load_all()
        result = await other.place_limit_order(
            BTC, QUANTITY, Decimal(48_000), "buy", client_order_id=info.client_order_id, purpose=Purpose.HEDGE, wait_for="open"
        )
        assert not result.success or result.status in (OrderStatus.REJECTED, OrderStatus.CANCELED)
        assert result.success or isinstance(result.error, DuplicateClientOrderId)
    assert len(bench.orders()) == 1


@pytest.mark.parametrize(
    ("quantity", "price"),
    [("0", "49000"), ("-1", "49000"), ("0.000001", "49000"), ("NaN", "49000"), ("0.01", "0"), ("0.01", "-5"), ("0.01", "Infinity")],
)
def test_nonsense_is_denied_before_a_byte_leaves(venue: str, quantity: str, price: str) -> None:
    @virtual
    async def main(bench: Bench) -> None:
        client = await bench.connected()
        with pytest.raises(OrderDenied) as caught:
            await client.place_limit_order(BTC, Decimal(quantity), Decimal(price), "buy")
        assert caught.value.outcome is Outcome.NOT_SENT
        with pytest.raises(OrderDenied, match="float"):
            await client.place_limit_order(BTC, 0.01, Decimal(49_000), "buy")  # type: ignore[arg-type]
        assert bench.commands() == []

    main(venue)


@virtual
async def test_an_unknown_market_is_refused_unsent(bench: Bench) -> None:
    client = await bench.connected()
    with pytest.raises(UnknownInstrument, match="NOSUCH"):
        await client.place_limit_order("NOSUCH", QUANTITY, Decimal(1), "buy")
    assert bench.commands() == []


@virtual
async def test_below_the_minimum_is_denied_unsent(bench: Bench) -> None:
    client = await bench.connected()
    instrument = client.instruments.get(BTC)
    needs(instrument.min_notional > 0 or instrument.min_quantity > instrument.step_size, "minimum above one step")
    with pytest.raises(OrderDenied, match="minimum"):
        await client.place_limit_order(BTC, instrument.step_size, Decimal(1_000), "buy")
    assert bench.commands() == []


# ---- unknown


@virtual
async def test_a_lost_answer_is_unknown_and_found_by_client_id(bench: Bench) -> None:
    client = await bench.connected()
    bench.hands.requests(RequestFault(lose=Lose.REPLY), when=bench.is_command)
    with pytest.raises(OrderOutcomeUnknown) as caught:
        await client.place_limit_order(BTC, QUANTITY, Decimal(49_000), "buy")
    assert len(bench.commands()) == 1, "a command is never repeated by itself"
    info = await client.get_order_info(caught.value.client_order_id, force_refresh=True)
    while info is not None and info.status is OrderStatus.UNKNOWN:  # venues list a new order late
        await bench.runtime.clock.sleep(0.5)
        info = await client.get_order_info(caught.value.client_order_id, force_refresh=True)
    assert info is not None
    assert info.status is OrderStatus.OPEN
    (order,) = bench.orders()
    await client.cancel_order(caught.value.client_order_id)
    assert bench.orders() == []
    assert order.status is core.OrderStatus.CANCELLED


@virtual
async def test_a_lost_request_is_unknown_until_it_is_proved_absent(bench: Bench) -> None:
    client = await bench.connected()
    bench.hands.requests(RequestFault(lose=Lose.REQUEST), when=bench.is_command)
    with pytest.raises(OrderOutcomeUnknown) as caught:
        await client.place_limit_order(BTC, QUANTITY, Decimal(49_000), "buy")
    at_once = await client.get_order_info(caught.value.client_order_id)
    assert at_once is None or at_once.status in (OrderStatus.UNKNOWN, OrderStatus.NOT_SENT)
    await bench.runtime.clock.sleep(client.capabilities.lookup_grace_s + 15)
    later = await client.get_order_info(caught.value.client_order_id, force_refresh=True)
    assert later is None or later.status is OrderStatus.NOT_SENT
    assert bench.orders() == []
    info = await rest_order(client)
    assert info.status is OrderStatus.OPEN, "the next order goes through: no nonce was lost"


@virtual
async def test_a_late_answer_is_unknown_and_its_fill_is_counted_once(bench: Bench) -> None:
    client = await bench.connected(command_timeout_s=2.0)
    heard = buffered(client.watch_fills())
    bench.hands.requests(RequestFault(after_s=20.0), when=bench.is_command)
    with pytest.raises(OrderOutcomeUnknown) as caught:
        await client.place_limit_order(BTC, QUANTITY, Decimal(50_100), "buy", time_in_force="IOC")
    await bench.until(lambda: heard, "the stream tells of the fill")
    info = await client.get_order_info(caught.value.client_order_id, force_refresh=True)
    assert info is not None
    assert (info.status, info.filled_size) == (OrderStatus.FILLED, QUANTITY)
    await bench.runtime.clock.sleep(30)
    assert len(heard) == 1
    assert bench.position() == QUANTITY


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_server_error_on_a_command_is_unknown(venue: str, status: int) -> None:
    @virtual
    async def main(bench: Bench) -> None:
        client = await bench.connected()
        bench.hands.requests(RequestFault(status=status), when=bench.is_command)
        with pytest.raises(OrderOutcomeUnknown):
            await client.place_limit_order(BTC, QUANTITY, Decimal(49_000), "buy")
        assert len(bench.commands()) == 1
        await bench.runtime.clock.sleep(client.capabilities.lookup_grace_s + 15)
        assert (await rest_order(client)).status is OrderStatus.OPEN

    main(venue)


@virtual
async def test_an_answer_that_makes_no_sense_is_unknown(bench: Bench) -> None:
    client = await bench.connected()
    bench.hands.requests(RequestFault(status=200, body=b'{"status": 7, "resp'), when=bench.is_command)
    with pytest.raises(OrderOutcomeUnknown):
        await client.place_limit_order(BTC, QUANTITY, Decimal(49_000), "buy")
    assert len(bench.commands()) == 1


@virtual
async def test_no_connection_means_not_sent(bench: Bench) -> None:
    client = await bench.connected()
    await bench.server.stop()
    with pytest.raises(VenueError) as caught:
        await client.place_limit_order(BTC, QUANTITY, Decimal(49_000), "buy")
    assert caught.value.outcome in (Outcome.NOT_SENT, Outcome.UNKNOWN)
    await bench.server.start()
    await bench.until(lambda: client.context.entries_allowed, "entries are accepted again after reconciliation", timeout_s=120)
    assert (await rest_order(client)).status is OrderStatus.OPEN
    assert len(bench.orders()) == 1


@virtual
async def test_a_canceled_caller_leaves_an_order_that_is_still_settled(bench: Bench) -> None:
    """The task that placed it is gone; the order is in flight and gets proved all the same."""
    client = await bench.connected()
    bench.hands.requests(RequestFault(after_s=5.0), when=bench.is_command)
    mine = client.new_client_order_id()
    task = asyncio.ensure_future(client.place_limit_order(BTC, QUANTITY, Decimal(49_000), "buy", client_order_id=mine))
    await bench.until(bench.commands, "the command arrived")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await bench.until(bench.orders, "the venue took it")

    def proved() -> bool:
        order = client.context.tracker.find(mine)
        return order is not None and order.status is OrderStatus.OPEN

    await bench.until(proved, "the tracker learned of it by stream or query")


# ---- races


@virtual
async def test_a_fill_before_the_ack_counts_once(bench: Bench) -> None:
    client = await bench.connected()
    heard = buffered(client.watch_fills())
    bench.hands.requests(RequestFault(after_s=1.5), when=bench.is_command)
    result = await client.place_limit_order(BTC, QUANTITY, Decimal(50_100), "buy", time_in_force="IOC", wait_for="terminal")
    assert (result.success, result.filled_size, result.status) == (True, QUANTITY, OrderStatus.FILLED)
    await bench.until(lambda: heard, "the fill is heard")
    await bench.runtime.clock.sleep(5)
    assert len(heard) == 1


@virtual
async def test_a_fill_told_twice_counts_once(bench: Bench) -> None:
    client = await bench.connected()
    heard = buffered(client.watch_fills())

    def twice(event: AnyEvent) -> Sequence[tuple[float, AnyEvent]] | None:
        return [(0.0, event), (0.2, event)] if isinstance(event, OrderFilled) else None

    bench.hands.event = twice
    info = await take(client, "buy")
    await bench.runtime.clock.sleep(3)
    assert len(heard) == 1
    assert info.client_order_id is not None
    now = await client.get_order_info(info.client_order_id)
    assert now is not None
    assert now.filled_size == QUANTITY


@virtual
async def test_fills_out_of_order_add_up(bench: Bench) -> None:
    client = await bench.connected()
    heard = buffered(client.watch_fills())
    delays = iter((2.0, 1.0, 0.0))

    def late(event: AnyEvent) -> Sequence[tuple[float, AnyEvent]] | None:
        return [(next(delays), event)] if isinstance(event, OrderFilled) and event.account == bench.account.account else None

    info = await rest_order(client, quantity="0.03", price="50000")
    bench.hands.event = late
    for _ in range(3):
        bench.trade(core.Side.SELL, QUANTITY)
    await bench.until(lambda: len(heard) == 3, "all three are heard")
    assert info.client_order_id is not None
    now = await client.get_order_info(info.client_order_id)
    assert now is not None
    assert (now.filled_size, now.status) == (Decimal("0.03"), OrderStatus.FILLED)


@virtual
async def test_cancel_of_an_order_that_filled_meanwhile_tells_the_fill(bench: Bench) -> None:
    client = await bench.connected()
    info = await rest_order(client, price="50000")
    assert info.client_order_id is not None
    bench.hands.event = lambda event: [(4.0, event)] if isinstance(event, OrderFilled) else None
    assert bench.trade(core.Side.SELL, QUANTITY) == QUANTITY
    ended = await client.cancel_order(info.client_order_id)
    assert (ended.status, ended.filled_size) == (OrderStatus.FILLED, QUANTITY)


@virtual
async def test_a_lost_answer_to_a_cancel_is_resolved(bench: Bench) -> None:
    client = await bench.connected()
    info = await rest_order(client)
    assert info.client_order_id is not None
    bench.hands.requests(RequestFault(lose=Lose.REPLY), when=bench.is_command)
    ended = await client.cancel_order(info.client_order_id)
    assert ended.status is OrderStatus.CANCELED
    assert bench.orders() == []


@virtual
async def test_concurrent_commands_all_get_through(bench: Bench) -> None:
    """Nonces hold under concurrency: every order is accepted exactly once."""
    client = await bench.connected()
    results = await asyncio.gather(
        *(client.place_limit_order(BTC, QUANTITY, Decimal(49_000 - n), "buy", wait_for="open") for n in range(12))
    )
    assert all(result.success for result in results), [r.error_message for r in results if not r.success]
    market = bench.market()
    assert sorted(market.price(order.price) for order in bench.orders()) == sorted(Decimal(49_000 - n) for n in range(12))


@virtual
async def test_a_second_client_of_the_same_account_finds_its_nonce(bench: Bench) -> None:
    first = await bench.connected()
    await rest_order(first)
    await first.disconnect()
    second = await bench.connected()
    await rest_order(second, price="48000")
    assert len(bench.orders()) == 2


# ---- limits


@virtual
async def test_commands_carry_their_lane(bench: Bench) -> None:
    """With the pools nearly drawn, an entry has to wait for room, and is not sent where that takes too long; an exit goes out."""
    client = await bench.connected()
    await take(client, "buy", "0.02")
    limiter = client.context.limiter
    rates = {name: pool for name, pool in bench.spec.pools.items() if pool.kind == "rate"}
    needs(bool(rates), "rate pool")
    for name, pool in rates.items():
        free = int(limiter.headroom(name)) - int(pool.limit * 0.25)
        if free > 0:
            await limiter.acquire({name: free}, Lane.UNWIND, timeout_s=0)
    before = len(bench.commands())
    entry = asyncio.ensure_future(client.place_limit_order(BTC, QUANTITY, Decimal(49_000), "buy", purpose=Purpose.ENTRY))
    await asyncio.sleep(0)
    result = await client.place_limit_order(
        BTC, Decimal("0.02"), Decimal(49_900), "sell", reduce_only=True, time_in_force="IOC", purpose=Purpose.UNWIND
    )
    assert result.success, result.error_message
    assert len(bench.commands()) == before + 1, "the exit went first"
    await bench.until(lambda: bench.position() == 0, "the exit filled")
    (ended,) = await asyncio.gather(entry, return_exceptions=True)
    if isinstance(ended, Throttled):
        assert ended.outcome is Outcome.NOT_SENT
        assert len(bench.commands()) == before + 1
    else:
        assert min(pool.period_s for pool in rates.values()) < LIMITER_WAIT_S, "room came while it waited"
        assert isinstance(ended, OrderResult), repr(ended)
        assert ended.success


@virtual
async def test_a_limit_on_a_command_is_unknown_or_refused_in_words(bench: Bench) -> None:
    client = await bench.connected()

    def limited(received: Received) -> bool:
        return bench.is_command(received)

    bench.hands.requests(RequestFault(status=429, headers={"Retry-After": "3"}), when=limited)
    outcome: str
    try:
        outcome = (await client.place_limit_order(BTC, QUANTITY, Decimal(49_000), "buy")).outcome
    except VenueError as e:
        outcome = e.outcome
    assert outcome in (Outcome.UNKNOWN, Outcome.REFUSED)
    assert len(bench.commands()) == 1
    assert bench.orders() == []
