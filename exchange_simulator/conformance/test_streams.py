"""Streams: subscribing, books, gaps, reconnecting, pings, silence."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from decimal import Decimal

import pytest

from exchange_clients.errors import NotReady, UnsupportedCapability
from exchange_clients.events import Subscription
from exchange_clients.model import Bbo, Gap, Trade
from exchange_clients.spec import Stream
from exchange_simulator.conformance.bench import BTC, ETH, LEVEL, Bench, buffered, each, loopback, needs, rest_order, take, virtual
from exchange_simulator.core import types as core
from exchange_simulator.dialects.base import ConnectFault


def channels(bench: Bench) -> list[str]:
    """Every subscription that the venue holds now, on all sockets."""
    return sorted(channel for session in bench.dialect.sessions.values() for channel in session.subscriptions)


# ---- subscribing


@virtual
async def test_subscribe_is_confirmed_and_unsubscribe_ends_it(bench: Bench) -> None:
    client = await bench.connected(signed=False)
    instrument = client.instruments.get(BTC)
    assert client.ws_manager.subscription_count == 0
    assert channels(bench) == []
    await client.ws_manager.prepare_market_feed(instrument)
    await bench.until(lambda: client.ws_manager.subscription_count >= 1, "the venue's confirmation counts")
    held = channels(bench)
    assert held
    client.ws_manager.release_market_feed(instrument)
    await bench.until(lambda: channels(bench) == [], "the venue holds no subscription any more")
    assert client.ws_manager.subscription_count == 0
    with pytest.raises(NotReady):
        client.ws_manager.get_order_book(instrument)


@virtual
async def test_private_subscriptions_keep_their_order(bench: Bench) -> None:
    """What a process sends does not hang on how it hashes."""
    client = await bench.connected()
    assert list(client.ws_manager.registry.wanted()) == client.ws_manager.private_topics()


@virtual
async def test_many_readers_share_one_subscription(bench: Bench) -> None:
    client = await bench.connected(signed=False)
    first, second = client.watch_trades(BTC), client.watch_trades(BTC)
    await bench.until(lambda: len(channels(bench)) == 1, "one subscription for two readers")
    one, two = buffered(first), buffered(second)
    bench.trade(core.Side.BUY, Decimal("0.1"))
    await bench.until(lambda: one and two, "both hear")
    first.close()
    await bench.runtime.clock.sleep(1)
    assert len(channels(bench)) == 1
    second.close()
    await bench.until(lambda: channels(bench) == [], "the last reader's end releases it")


@virtual
async def test_every_public_stream_of_the_spec_speaks(bench: Bench) -> None:
    client = await bench.connected(signed=False)
    watchers = {
        Stream.BOOK: client.watch_book,
        Stream.BBO: client.watch_bbo,
        Stream.TRADES: client.watch_trades,
        Stream.CANDLES: client.watch_candles,
        Stream.MARK: client.watch_mark,
        Stream.INDEX: client.watch_index,
        Stream.FUNDING: client.watch_funding,
    }
    able = [stream for stream in watchers if stream in bench.spec.streams]
    heard = {stream: buffered(watchers[stream](BTC)) for stream in each(able)}
    await bench.runtime.clock.sleep(1)
    for n in range(5):
        bench.set_mark(50_001 + n)
        bench.trade(core.Side.BUY, Decimal("0.1"))
        bench.set_level(core.Side.BUY, 49_999, Decimal(3 + n))
        await bench.runtime.clock.sleep(2)
    silent = [stream for stream, events in heard.items() if not [event for event in events if not isinstance(event, Gap)]]
    assert silent == []


@virtual
async def test_streams_that_a_venue_lacks_are_refused(bench: Bench) -> None:
    client = await bench.connected(signed=False)
    watchers: dict[Stream, Callable[..., Subscription]] = {
        Stream.CANDLES: client.watch_candles,
        Stream.MARK: client.watch_mark,
        Stream.INDEX: client.watch_index,
    }
    missing = [stream for stream in watchers if stream not in bench.spec.streams]
    needs(bool(missing), "missing stream: it has them all")
    for stream in each(missing):
        with pytest.raises(UnsupportedCapability):
            watchers[stream](BTC)


@virtual
async def test_trades_are_told_each_once(bench: Bench) -> None:
    client = await bench.connected(signed=False)
    heard = buffered(client.watch_trades(BTC))
    await bench.until(lambda: client.ws_manager.subscription_count == 1, "subscribed")
    for _ in range(5):
        bench.trade(core.Side.SELL, Decimal("0.1"))
        await bench.runtime.clock.sleep(0.2)
    await bench.until(lambda: len(heard) >= 5, "all are told")
    assert len({trade.trade_id for trade in heard if isinstance(trade, Trade)}) == len(heard) == 5
    assert {trade.side.value for trade in heard} == {"sell"}


# ---- books


@virtual
async def test_the_book_equals_the_exchanges_under_changes(bench: Bench) -> None:
    client = await bench.connected(signed=False)
    await client.ws_manager.prepare_market_feed(client.instruments.get(BTC))
    await bench.book_is_true(client)
    dice = bench.dialect.rng
    for _ in range(60):
        side = dice.choice([core.Side.BUY, core.Side.SELL])
        offset = dice.randint(1, 12)
        price = 50_000 - offset if side is core.Side.BUY else 50_000 + offset
        bench.set_level(side, price, Decimal(dice.randint(0, 40)) / 10)
        if dice.random() < 0.2:
            bench.trade(dice.choice([core.Side.BUY, core.Side.SELL]), Decimal(dice.randint(1, 20)) / 10)
        await bench.runtime.clock.sleep(dice.random() / 5)
    await bench.book_is_true(client)


@virtual
async def test_best_levels_respect_a_minimum_value(bench: Bench) -> None:
    client = await bench.connected(signed=False)
    instrument = client.instruments.get(BTC)
    await client.ws_manager.prepare_market_feed(instrument)
    bench.set_level(core.Side.BUY, 49_999, Decimal("0.001"))
    await bench.book_is_true(client)
    bid, ask = client.ws_manager.get_best_levels(instrument, Decimal(1_000))
    assert bid is not None
    assert ask is not None
    assert (bid.price, ask.price) == (Decimal(49_998), Decimal(50_001))


@virtual
async def test_best_prices_follow(bench: Bench) -> None:
    client = await bench.connected(signed=False)
    listened: list[object] = []
    instrument = client.instruments.get(BTC)
    client.ws_manager.register_bbo_listener(instrument, listened.append)
    await client.ws_manager.prepare_market_feed(instrument)
    bench.set_level(core.Side.BUY, Decimal(50_000), LEVEL)

    def best() -> Bbo | None:
        return client.ws_manager.get_latest_bbo(instrument)

    await bench.until(lambda: (found := best()) is not None and found.bid == 50_000, "the new best bid is known")
    assert any(isinstance(event, Bbo) and event.bid == 50_000 for event in listened)
    assert await client.fetch_bbo_prices(BTC) == (Decimal(50_000), Decimal(50_001))


@virtual
async def test_lost_book_messages_heal(bench: Bench) -> None:
    """Dropped on the way: the numbering shows it (or the next full book mends it), and no reader gets a wrong book for long."""
    client = await bench.connected(signed=False)
    await client.ws_manager.prepare_market_feed(client.instruments.get(BTC))
    await bench.book_is_true(client)
    dropped = 0

    def lose_two(session: int, channel: str, payload: bytes) -> Sequence[tuple[float, bytes]] | None:
        nonlocal dropped
        if dropped >= 2:
            return None
        dropped += 1
        return []

    bench.hands.push = lose_two
    for n in range(8):
        bench.set_level(core.Side.BUY, 49_999 - n % 3, Decimal(3 + n))
        await bench.runtime.clock.sleep(1)
    assert dropped == 2
    await bench.book_is_true(client)


@virtual
async def test_book_messages_told_twice_or_in_disorder_heal(bench: Bench) -> None:
    client = await bench.connected(signed=False)
    await client.ws_manager.prepare_market_feed(client.instruments.get(BTC))
    await bench.book_is_true(client)
    count = 0

    def shuffle(session: int, channel: str, payload: bytes) -> Sequence[tuple[float, bytes]] | None:
        nonlocal count
        count += 1
        return [(0.0, payload), (0.0, payload)] if count % 2 else [(0.7, payload)]

    bench.hands.push = shuffle
    for n in range(10):
        bench.set_level(core.Side.SELL, 50_001 + n % 3, Decimal(3 + n))
        await bench.runtime.clock.sleep(0.3)
    bench.hands.rest()
    await bench.runtime.clock.sleep(2)
    bench.set_level(core.Side.SELL, 50_001, Decimal(9))
    await bench.book_is_true(client)


GARBAGE = (
    b"",
    b"{",
    b'{"type": 7}',
    b"[1, 2",
    b'"text"',
    b"\xff\xfe\x00",
    b'{"channel": "order_book:1", "type": "update/order_book", "order_book": {"asks": [{"price": "NaN", "size": "-1"}], "bids": []}}',
    b'{"channel": "l2Book", "data": {"coin": "BTC", "levels": [[{"px": "-5", "sz": "NaN", "n": 1}], []], "time": 1}}',
    b'{"channel": ' + b"9" * 4_000 + b"}",
)


@virtual
async def test_garbage_frames_lose_nothing(bench: Bench) -> None:
    client = await bench.connected(signed=False)
    await client.ws_manager.prepare_market_feed(client.instruments.get(BTC))
    await bench.book_is_true(client)
    rubbish = iter(GARBAGE)

    def mix(session: int, channel: str, payload: bytes) -> Sequence[tuple[float, bytes]] | None:
        return [(0.0, next(rubbish, b"{}")), (0.0, payload)]

    bench.hands.push = mix
    for n in range(len(GARBAGE) + 2):
        bench.set_level(core.Side.BUY, 49_999, Decimal(3 + n))
        await bench.runtime.clock.sleep(0.5)
    bench.hands.rest()
    assert client.ws_manager.handler.undecoded > 0
    bench.set_level(core.Side.BUY, 49_999, Decimal(7))
    await bench.book_is_true(client)


@virtual
async def test_a_frame_of_ten_megabytes_breaks_nothing(bench: Bench) -> None:
    client = await bench.connected(signed=False)
    await client.ws_manager.prepare_market_feed(client.instruments.get(BTC))
    sent = False

    def huge(session: int, channel: str, payload: bytes) -> Sequence[tuple[float, bytes]] | None:
        nonlocal sent
        if sent:
            return None
        sent = True
        return [(0.0, b'{"channel": "' + b"x" * 10_000_000 + b'"}'), (0.0, payload)]

    bench.hands.push = huge
    bench.set_level(core.Side.BUY, 49_999, Decimal(5))
    await bench.until(lambda: sent, "the frame went out")
    await bench.runtime.clock.sleep(5)
    bench.set_level(core.Side.BUY, 49_999, Decimal(6))
    await bench.book_is_true(client, timeout_s=60)


# ---- losing the connection


@virtual
async def test_after_a_drop_wanted_topics_come_back_and_others_stay_off(bench: Bench) -> None:
    client = await bench.connected()
    btc, eth = client.instruments.get(BTC), client.instruments.get(ETH)
    await client.ws_manager.prepare_market_feed(btc)
    await client.ws_manager.prepare_market_feed(eth)
    gone = buffered(client.watch_book(BTC))
    client.ws_manager.release_market_feed(eth)
    await bench.runtime.clock.sleep(2)
    before = channels(bench)
    assert before
    bench.drop_sockets()
    await bench.until(lambda: not client.ws_manager.order_book_ready(btc), "the book is not ready at once")
    with pytest.raises(NotReady):
        client.ws_manager.get_order_book(btc)
    assert client.context.entries_allowed is False
    await bench.until(lambda: channels(bench) == before, "exactly the wanted topics are subscribed again")
    await bench.book_is_true(client)
    assert any(isinstance(event, Gap) for event in gone), "readers were told of the gap"
    await bench.until(lambda: client.context.entries_allowed, "entries again after reconciliation")
    assert not client.ws_manager.order_book_ready(eth)


@virtual
async def test_what_happened_during_a_drop_is_learned(bench: Bench) -> None:
    client = await bench.connected()
    heard = buffered(client.watch_fills())
    info = await rest_order(client, price="50000")
    bench.hands.connects(ConnectFault(status=503), times=3)
    bench.drop_sockets()
    bench.trade(core.Side.SELL, Decimal("0.01"))
    assert info.client_order_id is not None
    await bench.until(lambda: any(not isinstance(event, Gap) for event in heard), "the missed fill is told", timeout_s=90)
    now = await client.get_order_info(info.client_order_id)
    assert now is not None
    assert now.filled_size == Decimal("0.01")
    assert len([event for event in heard if not isinstance(event, Gap)]) == 1


@virtual
async def test_accepted_then_closed_backs_off(bench: Bench) -> None:
    client = await bench.connected()
    before = bench.sockets()
    bench.hands.connects(ConnectFault(close_after_s=0.0), times=100_000)
    bench.drop_sockets()
    await bench.runtime.clock.sleep(60)
    tries = bench.sockets() - before
    roles = len(bench.spec.roles)
    assert 2 * roles <= tries <= 40 * roles, f"{tries} connections in a minute"
    bench.hands.rest()
    await bench.until(lambda: client.is_connected and client.context.entries_allowed, "it heals when the venue does", timeout_s=180)


@virtual
async def test_silence_is_noticed_and_ended(bench: Bench) -> None:
    """Accepted, and never a word: no close, no data. The book is not ready, and the socket is given up."""
    client = await bench.connected(signed=False, stale_after_s=20.0)
    instrument = client.instruments.get(BTC)
    await client.ws_manager.prepare_market_feed(instrument)
    bench.hands.connects(ConnectFault(silent=True), times=1)
    for session in bench.dialect.sessions.values():
        session.silent = True
    await bench.until(lambda: not client.ws_manager.order_book_ready(instrument), "a silent book is not ready", timeout_s=120)
    bench.hands.rest()
    ticking = asyncio.ensure_future(_tick(bench))
    try:
        await bench.until(lambda: client.ws_manager.order_book_ready(instrument), "a fresh socket brings it back", timeout_s=240)
    finally:
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)


async def _tick(bench: Bench) -> None:
    """A market that moves."""
    n = 0
    while True:
        n += 1
        bench.set_level(core.Side.BUY, 49_990, Decimal(1 + n % 5))
        await bench.runtime.clock.sleep(0.5)


@virtual
async def test_an_hour_of_quiet_keeps_the_connection(bench: Bench) -> None:
    """Heartbeats in both directions, by text and by control frame: the venue drops nobody who keeps its rules."""
    client = await bench.connected()
    before = bench.sockets()
    await bench.runtime.clock.sleep(3_600)
    assert client.is_connected
    assert bench.sockets() - before <= len(bench.spec.roles), "at most the venue's own daily limit, never a missed ping"
    assert client.context.entries_allowed
    assert (await rest_order(client)).size == Decimal("0.01")


@virtual
async def test_pings_by_control_frame_are_answered(bench: Bench) -> None:
    """A venue that pings every ten seconds, and hangs up on who does not answer, keeps us."""
    bench.dialect.heartbeat_s = 10.0
    client = await bench.connected()
    before = bench.sockets()
    await bench.runtime.clock.sleep(300)
    assert client.is_connected
    assert bench.sockets() == before


@virtual
async def test_login_comes_before_private_topics_on_every_socket(bench: Bench) -> None:
    """After a reconnect too: what the account hears arrives, so the login was there first."""
    client = await bench.connected()
    for _ in range(3):
        bench.drop_sockets()
        await bench.until(lambda: client.is_connected and client.context.entries_allowed, "connected again", timeout_s=120)
        heard = buffered(client.watch_fills())
        await take(client, "buy")
        await bench.until(lambda heard=heard: heard, "a private event arrives")  # type: ignore[misc]


@virtual
async def test_a_slow_reader_hears_a_gap_not_silence(bench: Bench) -> None:
    client = await bench.connected(signed=False)
    subscription = client.ws_manager.watch(Stream.TRADES, client.instruments.get(BTC), maxsize=3)
    await bench.until(lambda: client.ws_manager.subscription_count == 1, "subscribed")
    for _ in range(10):
        bench.trade(core.Side.BUY, Decimal("0.01"))
        await bench.runtime.clock.sleep(0.1)
    await bench.runtime.clock.sleep(1)
    first = await anext(aiter(subscription))
    assert isinstance(first, Gap)
    assert subscription.dropped > 0
    subscription.close()


# ---- speed, over real sockets


@pytest.mark.slow
@loopback
async def test_first_book_within_200_ms_of_the_handshake(bench: Bench) -> None:
    client = await bench.connected(signed=False)
    before = time.perf_counter()
    await client.ws_manager.prepare_market_feed(client.instruments.get(BTC))
    took = time.perf_counter() - before
    assert took < 0.2, f"{took * 1000:.0f} ms"
    await bench.book_is_true(client)


@pytest.mark.slow
@loopback
async def test_ioc_acknowledged_and_settled_within_a_second(bench: Bench) -> None:
    client = await bench.connected()
    await take(client, "buy")
    before = time.perf_counter()
    info = await take(client, "sell", reduce_only=True)
    took = time.perf_counter() - before
    assert info.filled_size == Decimal("0.01")
    assert took < 1.0, f"{took:.3f} s"


@pytest.mark.slow
@loopback
async def test_loopback_leaves_nothing_behind(bench: Bench) -> None:
    """The whole life over real sockets; the guard of the suite sees what is left."""
    client = await bench.connected()
    await client.ws_manager.prepare_market_feed(client.instruments.get(BTC))
    await rest_order(client)
    await client.cancel_all_orders()
    await client.disconnect()
    names = [task.get_name() for task in asyncio.all_tasks()]
    mine = [name for name in names if name.startswith(f"{bench.spec.name}-") and "-session-" not in name and not name.endswith("-driver")]
    assert mine == []
