"""Sockets that misbehave, over the venues' own wire: each loss is told, nothing is lost, and nobody storms."""

import asyncio
from collections.abc import Sequence

import pytest

from exchange_clients import venues
from exchange_clients.errors import ConnectFailed, NotReady
from exchange_clients.model import OrderStatus
from exchange_simulator.conformance.bench import BTC, Bench, buffered, rest_order, take, virtual
from exchange_simulator.dialects.base import ConnectFault, RequestFault

pytestmark = pytest.mark.parametrize("venue", venues.names())


@virtual
async def test_a_client_that_was_disconnected_connects_again_and_hears_everything(bench: Bench) -> None:
    client = await bench.connected()
    instrument = client.instruments.get(BTC)
    await client.ws_manager.prepare_market_feed(instrument)
    await client.disconnect()
    assert client.ws_manager.subscription_count == 0
    assert not client.ws_manager.order_book_ready(instrument)
    await client.connect()
    heard = buffered(client.watch_fills())
    await bench.book_is_true(client)
    filled = await take(client, "buy")
    await bench.until(lambda: heard, "the fill is told by the stream", timeout_s=2)
    assert filled.filled_size == bench.position()


@virtual
async def test_a_handshake_refused_after_the_first_connect_heals(bench: Bench) -> None:
    """A proxy in front of the venue answers 403 for a while; at the first connect the same answer is final."""
    client = await bench.connected()
    await client.ws_manager.prepare_market_feed(client.instruments.get(BTC))
    bench.hands.connects(ConnectFault(status=403), times=2)
    bench.drop_sockets()
    await bench.until(lambda: not client.ws_manager.is_connected, "the loss is seen")
    await bench.until(lambda: client.context.entries_allowed, "streams are back and reconciled", timeout_s=60)
    await bench.book_is_true(client)
    await rest_order(client)


@virtual
async def test_a_handshake_refused_at_the_first_connect_is_told(bench: Bench) -> None:
    bench.hands.connects(ConnectFault(status=403), times=1)
    client = bench.client()
    with pytest.raises(ConnectFailed, match="403"):
        await client.connect()
    assert not client.is_connected
    await client.connect()
    await rest_order(client)


@virtual
async def test_a_page_of_a_proxy_instead_of_an_answer_ends_no_stream(bench: Bench) -> None:
    """Whatever a connection needs by request (a listen key, a token) is answered with such a page for a while."""
    client = await bench.connected()
    for status in (401, 403):
        if hasattr(bench.dialect, "expire_tokens"):
            bench.dialect.expire_tokens()
        bench.hands.requests(RequestFault(status=status, body=b"<!DOCTYPE html><title>Access denied</title>"), times=1_000)
        bench.drop_sockets()
        await bench.until(lambda: not client.context.entries_allowed, "the loss is seen")
        await bench.runtime.clock.sleep(5)
        bench.hands.rest()
        await bench.until(lambda: client.context.entries_allowed, "streams are back and reconciled", timeout_s=120)
    await rest_order(client)


@virtual
async def test_a_venue_that_greets_with_garbage_is_not_stormed(bench: Bench) -> None:
    client = await bench.connected(signed=False)
    await client.ws_manager.prepare_market_feed(client.instruments.get(BTC))

    def garbage(session: int, channel: str, payload: bytes) -> Sequence[tuple[float, bytes]] | None:
        return [(0.0, b"{nonsense")] * 30

    before = bench.sockets()
    bench.hands.push = garbage
    for _ in range(60):
        bench.set_mark(50_000)
        bench.clear_book()
        bench.fill_book()
        await bench.runtime.clock.sleep(1)
    assert bench.sockets() - before <= 12, "connections in a minute"
    assert not client.ws_manager.order_book_ready(client.instruments.get(BTC))
    bench.hands.rest()
    bench.clear_book()
    bench.fill_book()
    await bench.book_is_true(client, timeout_s=90)


@virtual
async def test_a_socket_that_speaks_and_closes_is_not_stormed(bench: Bench) -> None:
    """Data right after the handshake proves nothing about the next second."""
    client = await bench.connected()
    await client.ws_manager.prepare_market_feed(client.instruments.get(BTC))
    before, sockets = bench.sockets(), len(bench.dialect.sessions)
    bench.hands.connects(ConnectFault(close_after_s=0.3), times=1000)
    bench.drop_sockets()
    await bench.runtime.clock.sleep(120)
    assert bench.sockets() - before <= 15 * sockets, "connections in two minutes"
    assert not client.context.entries_allowed
    bench.hands.rest()
    await bench.until(lambda: client.context.entries_allowed, "healed", timeout_s=60)
    await bench.book_is_true(client)
    resting = await rest_order(client)
    assert [o.client_order_id for o in await client.get_active_orders()] == [resting.client_order_id]
    assert len(bench.orders()) == 1


@virtual
async def test_disconnecting_in_the_middle_of_a_reconnect_leaves_nothing(bench: Bench) -> None:
    for wait_s in (0.0, 0.001, 0.4, 1.0):
        client = await bench.connected()
        await client.ws_manager.prepare_market_feed(client.instruments.get(BTC))
        client.ws_manager.reconnect(client.ws_manager.private_role, "a test says so")
        await bench.runtime.clock.sleep(wait_s)
        await client.disconnect()
        left = [t.get_name() for t in asyncio.all_tasks() if t.get_name().startswith(bench.spec.name) and "session" not in t.get_name()]
        assert left == [f"{bench.spec.name}-driver"], left


@virtual
async def test_an_error_of_our_own_in_a_handler_is_a_loss_that_heals(bench: Bench) -> None:
    """Whatever a frame makes our code do, the stream does not die in silence."""
    client = await bench.connected()
    instrument = client.instruments.get(BTC)
    await client.ws_manager.prepare_market_feed(instrument)

    def broken(role: str, data: str | bytes, ts_recv_ns: int) -> None:
        raise AttributeError("a fault of ours")

    gaps = buffered(client.watch_orders())
    was = client.ws_manager.handler.feed
    client.ws_manager.handler.feed = broken  # type: ignore[method-assign]
    bench.set_mark(50_001)
    bench.clear_book()
    bench.fill_book()
    await bench.until(lambda: gaps, "watchers hear of the loss", timeout_s=20)
    assert not client.ws_manager.order_book_ready(instrument)
    client.ws_manager.handler.feed = was  # type: ignore[method-assign]
    await bench.until(lambda: client.context.entries_allowed, "healed", timeout_s=60)
    await bench.book_is_true(client)


@virtual
async def test_a_frame_nested_without_end_is_one_more_bad_frame(bench: Bench) -> None:
    client = await bench.connected()
    await client.ws_manager.prepare_market_feed(client.instruments.get(BTC))
    sockets = bench.sockets()
    for session in list(bench.dialect.sessions.values()):
        session.send(b'{"channel":' + b"[" * 200_000)
        session.send(b'{"a":' * 100_000)
    bench.set_mark(50_001)
    await bench.runtime.clock.sleep(2)
    await bench.book_is_true(client)
    assert client.ws_manager.handler.undecoded >= 2
    assert bench.sockets() == sockets, "no reconnect for a bad frame"
    assert (await rest_order(client)).status is OrderStatus.OPEN


@virtual
async def test_a_silent_socket_at_connect_is_not_ready_in_time(bench: Bench) -> None:
    bench.hands.connects(ConnectFault(silent=True), times=100)
    client = bench.client()
    with pytest.raises(NotReady, match="streams are not up"):
        await client.connect(timeout_s=5)
    bench.hands.rest()
    await client.connect()
    await rest_order(client)


@virtual
async def test_tokens_that_run_out_are_renewed_before_anybody_notices(bench: Bench) -> None:
    """Longer than any token lives, over a loss of the socket near its end."""
    client = await bench.connected()
    next(task for task in client._tasks if "loop-lag" in task.get_name()).cancel()  # ten wake-ups a second prove nothing here
    heard = buffered(client.watch_fills())
    for hours in range(1, 10):
        await bench.runtime.clock.sleep(3_500)
        if hours % 4 == 3:
            bench.drop_sockets()
            await bench.until(lambda: not client.context.entries_allowed, "the loss is seen")
        await bench.until(lambda: client.context.entries_allowed, "proved", timeout_s=30)
        await take(client, "buy" if hours % 2 else "sell")
        await bench.until(lambda wanted=hours: len(heard) >= wanted, "the fill is told by the stream", timeout_s=2)  # type: ignore[misc]
        held = await client.get_position_snapshot(BTC)
        assert (held.quantity if held is not None else 0) == bench.position()
    assert client.context.tracker.unresolved() == ()
