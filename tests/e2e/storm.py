"""Every registered venue at once, twenty markets each, and a storm: what a client does for days, in minutes.

    python -m tests.e2e.storm --minutes 5                    over real sockets, all venues
    python -m tests.e2e.storm --minutes 5 --seed 7 --virtual  the same on virtual time, in memory, from a seed
    python -m tests.e2e.storm --venue lighter --seconds 20 --trace

A signed client per venue holds book, best prices, trades, mark and funding of every market and trades on some of them, while sockets
drop, connects are refused, accepted and closed or left silent, requests and commands meet 429 or 5xx or lose their answer, pushes are
lost, repeated, late or garbled, tokens run out and the venue goes down. Then it is calm, and the exchange is the truth: every book,
order, fill, position and balance equals it, every topic is confirmed, and after the clients left there is no task, socket, file or
memory that was not there before.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import itertools
import logging
import os
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import yarl

from exchange_clients.base_client import BaseExchangeClient
from exchange_clients.errors import VenueError
from exchange_clients.events import Subscription
from exchange_clients.model import Fill, Gap, Instrument, Purpose
from exchange_clients.spec import Stream
from exchange_clients.transport.runtime import Runtime
from exchange_simulator import dialects, simloop
from exchange_simulator.conformance.bench import Hands
from exchange_simulator.core import types as core
from exchange_simulator.dialects.base import ConnectFault, Dialect, Lose, RequestFault
from exchange_simulator.ready import ReadyVenue, build_venue

D = Decimal
MARKETS = {
    base: (D(tick), D(step), D(price))
    for base, tick, step, price in (
        ("BTC", "0.1", "0.00001", "60000"),
        ("ETH", "0.01", "0.0001", "2500"),
        ("SOL", "0.001", "0.001", "150"),
        ("BNB", "0.01", "0.001", "600"),
        ("AAVE", "0.01", "0.01", "150"),
        ("LTC", "0.01", "0.01", "70"),
        ("BCH", "0.01", "0.01", "350"),
        ("AVAX", "0.001", "0.01", "25"),
        ("LINK", "0.001", "0.1", "11"),
        ("UNI", "0.001", "0.1", "7"),
        ("XRP", "0.0001", "1", "0.6"),
        ("DOGE", "0.00001", "1", "0.12"),
        ("ADA", "0.0001", "1", "0.4"),
        ("DOT", "0.001", "0.1", "4.5"),
        ("NEAR", "0.001", "0.1", "4"),
        ("APT", "0.001", "0.1", "8"),
        ("ARB", "0.0001", "0.1", "0.6"),
        ("OP", "0.0001", "0.1", "1.6"),
        ("SUI", "0.0001", "0.1", "1.1"),
        ("INJ", "0.001", "0.1", "20"),
    )
}
"""Base -> tick, step, price."""
DEPTH = 12
LEVEL_USD = D(20_000)
DEPOSIT = D(1_000_000)
STREAMS = (Stream.BOOK, Stream.BBO, Stream.TRADES, Stream.MARK, Stream.FUNDING)
QUIET_AFTER_S = 4.0
"""A client gives up a socket that says nothing for so long: shorter than users have it, so that a short storm sees it."""
LONG_S = 60.0
"""From this length on a storm draws from everything, again and again."""
SOON_S = 20.0
CALM_S = 150.0
"""After the storm everything must be known again by then: limits of the venues make a client wait a minute, and it pauses after losses."""
CENT = D("0.02")


@dataclass
class Venue:
    """One venue in the storm: its exchange, what disturbs it, the client, and what that one heard."""

    ready: ReadyVenue
    hands: Hands
    client: BaseExchangeClient
    rng: random.Random
    heard: Counter[str] = field(default_factory=Counter)
    gaps: int = 0
    ids: list[str] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)
    happened: Counter[str] = field(default_factory=Counter)
    watched: list[Subscription] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.ready.name

    @property
    def dialect(self) -> Dialect:
        return self.ready.dialect

    def instruments(self) -> list[tuple[str, Instrument]]:
        return [(base, self.client.instruments.get(base)) for base in self.ready.markets]


@dataclass(frozen=True)
class Left:
    """What a process holds."""

    tasks: int
    files: int
    blocks: int
    """Of Python memory."""
    rss_mib: float


@dataclass
class Report:
    """What happened to each venue, and what was left behind."""

    happened: dict[str, Counter[str]] = field(default_factory=dict)
    heard: dict[str, Counter[str]] = field(default_factory=dict)
    gaps: dict[str, int] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)


# ---- the market


def stock(venue: ReadyVenue, base: str, price: Decimal) -> None:
    """A book around the price, on ticks that every venue's rules for prices allow."""
    market = venue.markets[base]
    gap = step_of_price(venue, base, price)
    mid = int(price / market.tick_size) // gap * gap
    size = max(market.min_size, int(LEVEL_USD / price / market.step_size))
    venue.exchange.set_mark(venue.now(), market.symbol, market.to_ref(price))
    bids, asks = ([(mid + sign * gap * n, size + n) for n in range(1, DEPTH + 1)] for sign in (-1, 1))
    venue.exchange.set_levels(venue.now(), market.symbol, bids, asks)


def step_of_price(venue: ReadyVenue, base: str, price: Decimal) -> int:
    """Ticks between two levels: about a basis point, and a price that has no more figures than the venue allows."""
    market = venue.markets[base]
    ticks = int(price / market.tick_size)
    figures = venue.dialect.significant_figures
    coarse = 10 ** max(0, len(str(ticks)) - figures) if figures else 1
    return max(coarse, ticks // 10_000 // coarse * coarse)


async def move(venue: Venue, every_s: float) -> None:
    """Markets that never stand still: levels come and go, somebody trades, marks drift."""
    rng, ready = venue.rng, venue.ready
    bases = list(ready.markets)
    while True:
        await asyncio.sleep(rng.uniform(0.5, 1.5) * every_s)
        disturb_market(ready, rng.choice(bases), rng)


def disturb_market(ready: ReadyVenue, base: str, rng: random.Random) -> None:
    market, price = ready.markets[base], MARKETS[base][2]
    choice = rng.random()
    if choice < 0.7:
        side = rng.choice((core.Side.BUY, core.Side.SELL))
        gap = step_of_price(ready, base, price)
        mid = int(price / market.tick_size) // gap * gap
        level = mid - side.sign * gap * rng.randint(1, DEPTH)
        size = rng.choice((0, 1, 3, 7)) * max(market.min_size, int(LEVEL_USD / 4 / price / market.step_size))
        ready.exchange.set_level(ready.now(), market.symbol, side, level, size)
    elif choice < 0.85:
        size = max(market.min_size, int(D(rng.randint(50, 5_000)) / price / market.step_size))
        ready.exchange.external_trade(ready.now(), market.symbol, rng.choice((core.Side.BUY, core.Side.SELL)), size)
    elif choice < 0.97:
        moved = price * (1 + D(rng.randint(-20, 20)) / 10_000)
        ready.exchange.set_mark(ready.now(), market.symbol, market.to_ref(moved))
    else:
        stock(ready, base, price)


# ---- what the client does


async def subscribe(venue: Venue) -> None:
    """Every stream of every market that the venue has."""
    client = venue.client
    venue.watched.append(client.watch_fills())
    for _, instrument in venue.instruments():
        for stream in STREAMS:
            if stream in client.spec.streams or stream is Stream.BBO:
                venue.watched.append(client.ws_manager.watch(stream, instrument, coalesce=stream is not Stream.TRADES))
    await asyncio.gather(*(client.ws_manager.prepare_market_feed(instrument, timeout_s=20) for _, instrument in venue.instruments()))


async def listen(venue: Venue, subscription: Subscription) -> None:
    async for event in subscription:
        if isinstance(event, Gap):
            venue.gaps += 1
            continue
        if isinstance(event, Fill):
            venue.fills.append(event)
        venue.heard[type(event).__name__] += 1


async def trade(venue: Venue, every_s: float) -> None:
    """Orders that rest, that take, that are canceled, whatever comes of them."""
    rng, client = venue.rng, venue.client
    while True:
        await asyncio.sleep(rng.uniform(0.5, 1.5) * every_s)
        with contextlib.suppress(VenueError):
            await one_order(venue, rng, client)


async def one_order(venue: Venue, rng: random.Random, client: BaseExchangeClient) -> None:
    if venue.ids and rng.random() < 0.35:
        await client.cancel_order(rng.choice(venue.ids[-12:]))
        return
    base = rng.choice(list(venue.ready.markets)[:6])
    instrument, price = client.instruments.get(base), MARKETS[base][2]
    side = rng.choice(("buy", "sell"))
    away = D(rng.choice(("0.01", "0.0002", "-0.002")))
    asked = instrument.price_for(core.Side(side), price * (1 - away if side == "buy" else 1 + away))
    quantity = instrument.round_quantity(max(D(rng.randint(30, 300)) / price, instrument.min_quantity, 2 * instrument.min_notional / price))
    client_id = client.new_client_order_id()
    venue.ids.append(client_id)
    await client.place_limit_order(
        base,
        quantity,
        asked,
        side,
        client_order_id=client_id,
        purpose=Purpose.HEDGE,
        time_in_force="IOC" if away < 0 else "GTC",
    )


# ---- the storm


def drop_sockets(venue: Venue) -> None:
    for session in list(venue.dialect.sessions.values()):
        session.drop()


def hush_sockets(venue: Venue) -> None:
    """Open, and never heard of again."""
    for session in venue.dialect.sessions.values():
        session.silent = True


def spoil(venue: Venue, what: Callable[[bytes], Sequence[tuple[float, bytes]]], share: float) -> None:
    def push(session: int, channel: str, payload: bytes) -> Sequence[tuple[float, bytes]] | None:
        return what(payload) if venue.rng.random() < share else None

    venue.hands.push = push


async def gaps(venue: Venue) -> None:
    spoil(venue, lambda _: [], 0.05)


async def doubles(venue: Venue) -> None:
    spoil(venue, lambda payload: [(0.0, payload), (0.0, payload)], 0.5)


async def late(venue: Venue) -> None:
    spoil(venue, lambda payload: [(venue.rng.uniform(0.01, 0.6), payload)], 0.1)


async def garbage(venue: Venue) -> None:
    spoil(venue, lambda payload: [(0.0, payload[: len(payload) // 2])], 0.04)


async def dropped(venue: Venue) -> None:
    drop_sockets(venue)


async def silent(venue: Venue) -> None:
    hush_sockets(venue)


async def silent_from_the_start(venue: Venue) -> None:
    venue.hands.connects(ConnectFault(silent=True), times=1)
    drop_sockets(venue)


async def refused(venue: Venue) -> None:
    venue.hands.connects(ConnectFault(status=503), times=2)
    drop_sockets(venue)


async def closed_at_once(venue: Venue) -> None:
    venue.hands.connects(ConnectFault(close_after_s=0.2), times=2)
    drop_sockets(venue)


async def limited(venue: Venue) -> None:
    venue.hands.requests(RequestFault(status=429, headers={"Retry-After": "1"}), times=3)
    drop_sockets(venue)  # so that there is something to ask


async def failing(venue: Venue) -> None:
    venue.hands.requests(RequestFault(status=503), times=4)
    drop_sockets(venue)


async def unanswered(venue: Venue) -> None:
    venue.hands.requests(RequestFault(lose=Lose.REPLY), times=2, when=venue.ready.is_command)


async def lost(venue: Venue) -> None:
    venue.hands.requests(RequestFault(lose=Lose.REQUEST), times=2, when=venue.ready.is_command)


async def slow(venue: Venue) -> None:
    venue.hands.requests(RequestFault(after_s=1.0), times=4)


async def expired(venue: Venue) -> None:
    """Every session token is void at once, and the sockets that were opened with one."""
    venue.dialect.expire_tokens()
    drop_sockets(venue)


async def down(venue: Venue) -> None:
    """Nothing listens at the address for a while."""
    await venue.ready.server.stop()
    await asyncio.sleep(venue.rng.uniform(0.3, 1.5))
    await venue.ready.server.start()


Trouble = Callable[[Venue], Awaitable[None]]
BREAKS: tuple[Trouble, ...] = (
    dropped,
    silent,
    silent_from_the_start,
    refused,
    closed_at_once,
    limited,
    failing,
    expired,
    down,
)
"""The connection is lost."""
BRUISES: tuple[Trouble, ...] = (gaps, doubles, late, garbage, unanswered, lost, slow)
"""It lasts."""


def script_of(venue: Venue, number: int, seconds: float) -> list[Trouble]:
    """Every kind before any comes again. In a short storm a venue loses its connection once, or never where coming back takes a minute."""
    if seconds >= LONG_S:
        return venue.rng.sample(BREAKS + BRUISES, len(BREAKS + BRUISES))
    broken = (BREAKS[number % len(BREAKS)],) if subscribes_at_once(venue.client) else ()
    soon = venue.client.capabilities.lookup_grace_s <= SOON_S  # an order that got lost is proved absent by then
    bruises = BRUISES if soon else tuple(trouble for trouble in BRUISES if trouble is not lost)
    return [*venue.rng.sample(bruises, 3), *broken, *venue.rng.sample(bruises, 3)]


def subscribes_at_once(client: BaseExchangeClient) -> bool:
    """Whether the venue's limit on messages lets every topic be subscribed twice within its period, and some more."""
    topics = len(client.ws_manager.registry.wanted())
    pools = client.spec.pools
    return all(pools[name].limit >= 3 * topics * cost for name, cost in client.spec.ws_message_cost.items() if pools[name].period_s > 5)


async def rage(venue: Venue, number: int, seconds: float, each_s: float, say: Callable[[str], None]) -> None:
    """One trouble after the other, each lasting `each_s`, with a pause of any length between."""
    end = asyncio.get_running_loop().time() + seconds
    script: list[Trouble] = script_of(venue, number, seconds)
    while asyncio.get_running_loop().time() < end:
        if not script:
            if seconds < LONG_S:
                return
            script = script_of(venue, number, seconds)
        trouble = script.pop()
        venue.happened[trouble.__name__] += 1
        say(f"{venue.name}: {trouble.__name__}")
        await trouble(venue)
        await asyncio.sleep(each_s)
        venue.hands.rest()
        await asyncio.sleep(venue.rng.uniform(0, 2 * each_s))


# ---- the truth


async def until(true: Callable[[], bool], what: Callable[[], str], timeout_s: float) -> None:
    end = asyncio.get_running_loop().time() + timeout_s
    while not true():
        assert asyncio.get_running_loop().time() < end, f"not in {timeout_s:g} s: {what()}"
        await asyncio.sleep(0.02)


def unlike(venue: Venue) -> list[str]:
    """Markets whose streamed book is not the exchange's, and how."""
    manager = venue.client.ws_manager
    found = []
    for base, instrument in venue.instruments():
        if not manager.order_book_ready(instrument):
            feed = manager.feeds.get(instrument.contract_id)
            found.append(f"{base} (not ready: {feed.book.state.reason if feed is not None else 'no feed'})")
            continue
        book = manager.get_order_book(instrument, DEPTH)
        mine = tuple([(level.price, level.size) for level in side][:5] for side in (book.bids, book.asks))
        true = venue.ready.true_book(base, 5)
        if mine != true:
            odd = [
                f"{ours} is {theirs}" for m, t in zip(mine, true, strict=True) for ours, theirs in zip(m, t, strict=False) if ours != theirs
            ]
            found.append(f"{base} ({'; '.join(odd[:2]) or 'too few levels'})")
    return found


def misquoted(venue: Venue) -> list[str]:
    """Markets whose best prices are not the exchange's."""
    found = []
    for base, instrument in venue.instruments():
        bbo, (bids, asks) = venue.client.ws_manager.get_latest_bbo(instrument), venue.ready.true_book(base, 1)
        if bbo is None or (bbo.bid, bbo.ask) != (bids[0][0], asks[0][0]):
            found.append(base)
    return found


async def comes_back(venue: Venue) -> None:
    """Every stream is confirmed, what was missed is known, no order's fate is open."""
    client, manager, name = venue.client, venue.client.ws_manager, venue.name

    def unconfirmed() -> list[str]:
        return [topic.label for topic in manager.registry.wanted() if not manager.registry.is_confirmed(topic)]

    await until(lambda: manager.is_connected and client.context.entries_allowed, lambda: f"{name}: connected and reconciled", CALM_S)
    await until(lambda: not unconfirmed(), lambda: f"{name}: confirmed, but {unconfirmed()[:3]}", CALM_S)
    await until(
        lambda: not client.context.tracker.unresolved(),
        lambda: f"{name}: every order is proved: {client.context.tracker.unresolved()[:3]}",
        CALM_S,
    )


async def breathe(ready: ReadyVenue) -> None:
    """Every market changes at once, its best prices too, and then is still for two seconds: what a venue told in vain it does not tell
    again, and what was lost shows by what follows."""
    for turn in itertools.count():
        for base in ready.markets:
            stock(ready, base, MARKETS[base][2] * (D("1.002") if turn % 2 else D("0.998")))
        await asyncio.sleep(2.0)


async def agrees(venue: Venue, say: Callable[[str], None]) -> None:
    """Everything the client believes is what the exchange knows."""
    client, ready, name = venue.client, venue.ready, venue.name
    account = ready.account.account
    breath = asyncio.create_task(breathe(ready), name="storm-market")
    try:
        await until(
            lambda: not unlike(venue) and not misquoted(venue),
            lambda: f"{name}: differing from the exchange's: books of {unlike(venue)}, best prices of {misquoted(venue)}",
            CALM_S,
        )
    finally:
        await end([breath])

    truth = {base: ready.position(base) for base in ready.markets}
    await until(lambda: filled(venue) == truth, lambda: f"{name}: fills add up to {filled(venue)}, the exchange has {truth}", 10.0)
    assert len(venue.fills) == len({fill.trade_id for fill in venue.fills}), f"{name}: a fill was told twice"
    if Stream.POSITIONS in client.spec.streams:
        await until(lambda: streamed(venue) == truth, lambda: f"{name}: streamed positions {streamed(venue)}, true {truth}", 10.0)
    by_request = {position.instrument: position.quantity for position in await client.position_manager.open_positions()}
    assert {base: by_request.get(i.id, D(0)) for base, i in venue.instruments()} == truth, f"{name}: positions by request"

    true_orders = ready.exchange.open_orders(account)
    true = sorted((o.market.spec.size(o.size), o.market.spec.size(o.filled), o.market.spec.price(o.price)) for o in true_orders)
    asked = sorted((o.size, o.filled_size, o.price) for o in await client.get_active_orders())
    known = sorted((o.info().size, o.filled, o.info().price) for o in client.context.tracker.live())
    assert asked == true, f"{name}: open orders by request"
    assert known == true, f"{name}: open orders as tracked"
    equity = await client.get_total_asset_value()
    if equity is not None:
        assert abs(equity - core.money(ready.exchange.equity(account))) <= CENT, f"{name}: equity {equity}"
    say(f"{name}: agrees; heard {dict(venue.heard)}, {venue.gaps} gaps, {len(venue.ids)} orders")


def filled(venue: Venue) -> dict[str, Decimal]:
    """What the fills that watchers were told add up to."""
    sums = {instrument.id: base for base, instrument in venue.instruments()}
    found = dict.fromkeys(venue.ready.markets, D(0))
    for fill in venue.fills:
        found[sums[fill.instrument]] += fill.signed_quantity
    return found


def streamed(venue: Venue) -> dict[str, Decimal]:
    known = venue.client.context.positions
    return {base: known[i.id].quantity if i.id in known else D(0) for base, i in venue.instruments()}


# ---- one run


@asynccontextmanager
async def venue_of(name: str, runtime: Runtime, rng: random.Random, seed: int, network: simloop.SimNetwork | None) -> AsyncIterator[Venue]:
    """Served, with a connected client that holds every stream."""
    kind = dialects.get(name)
    hands = Hands()
    listed = {base: kind.listing(base, tick_size=tick, step_size=step) for base, (tick, step, _) in MARKETS.items()}
    ready = build_venue(kind, runtime, listed, deposit=DEPOSIT, seed=seed, network=network, faults=hands)
    ready.exchange.fund_insurance(ready.now(), core.to_money(1_000_000))
    for base, (_, _, price) in MARKETS.items():
        stock(ready, base, price)
    async with ready.server:
        client = ready.client(request_timeout_s=3.0, command_timeout_s=3.0, stale_after_s=QUIET_AFTER_S)
        venue = Venue(ready, hands, client, rng)
        try:
            await client.connect()
            await subscribe(venue)
            yield venue
        finally:
            hands.rest()
            await client.disconnect()


async def storm(
    names: Sequence[str],
    runtime: Runtime,
    *,
    seconds: float,
    seed: int = 0,
    each_s: float = 1.5,
    network: simloop.SimNetwork | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Report:
    """All `names` at once. Raises AssertionError where a client does not know the truth at the end."""
    report = Report()
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: report.errors.append(str(context.get("exception") or context["message"])))
    try:
        with errors_logged(report.errors):
            async with AsyncExitStack() as stack:
                found = [
                    await stack.enter_async_context(venue_of(name, runtime, random.Random(f"storm-{seed}-{name}"), seed, network))
                    for name in names
                ]
                await one_storm(found, seconds, each_s, say)
                for venue in found:
                    report.happened[venue.name], report.heard[venue.name] = venue.happened, venue.heard
                    report.gaps[venue.name] = venue.gaps
    finally:
        loop.set_exception_handler(before)
    return report


async def one_storm(found: Sequence[Venue], seconds: float, each_s: float, say: Callable[[str], None]) -> None:
    listeners = [asyncio.create_task(listen(venue, s), name="storm-listener") for venue in found for s in venue.watched]
    markets = [asyncio.create_task(move(venue, 0.04), name="storm-market") for venue in found]
    traders = [asyncio.create_task(trade(venue, 0.5), name="storm-trader") for venue in found]
    try:
        await asyncio.gather(*(rage(venue, number, seconds, each_s, say) for number, venue in enumerate(found)))
        await end(traders)
        say("calm")
        await asyncio.gather(*(comes_back(venue) for venue in found))
        await end(markets)
        await asyncio.gather(*(agrees(venue, say) for venue in found))
    finally:
        for task in (*traders, *markets):
            task.cancel()
        for venue in found:
            for subscription in venue.watched:
                subscription.close()
            for _, instrument in venue.instruments():
                venue.client.ws_manager.release_market_feed(instrument)
        await end(listeners)
    for venue in found:
        left = [t for t in venue.client.ws_manager.registry.wanted() if not t.stream.is_private and t.instrument is not None]
        assert not left, f"{venue.name}: still wants {left[:3]}"
        assert not venue.client.ws_manager.feeds, f"{venue.name}: still keeps books"


async def end(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            raise result


@contextmanager
def errors_logged(into: list[str]) -> Iterator[None]:
    """Nothing in a storm is an error of the library: those are for a human to look at."""

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            into.append(self.format(record))

    handler = Collect(logging.ERROR)
    log = logging.getLogger("exchange_clients")
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


def left_now() -> Left:
    """After a collection, and without the addresses that yarl remembers: signed ones are never asked for twice."""
    yarl.cache_clear()
    for _ in range(3):
        gc.collect()
    files = Path("/proc/self/fd")
    pages = int(Path("/proc/self/statm").read_text().split()[1]) if files.exists() else 0
    count = len(list(files.iterdir())) if files.exists() else 0
    return Left(len(asyncio.all_tasks()), count, sys.getallocatedblocks(), pages * os.sysconf("SC_PAGE_SIZE") / 2**20)


async def measured(
    names: Sequence[str], *, seconds: float, seed: int, each_s: float, say: Callable[[str], None]
) -> tuple[Report, Left, Left]:
    """A short storm warms everything up, then the real one; what the process held after each."""
    runtime = Runtime.system()
    try:
        await storm(names, runtime, seconds=min(3.0, seconds / 4), seed=seed, each_s=0.5)
        await asyncio.sleep(0.5)  # transports close in their own time
        before = left_now()
        report = await storm(names, runtime, seconds=seconds, seed=seed, each_s=each_s, say=say)
        await asyncio.sleep(0.5)
        after = left_now()
    finally:
        runtime.offload.close()
    return report, before, after


def nothing_left(before: Left, after: Left, *, share: float = 0.01) -> None:
    """Raises AssertionError where the storm left something behind. `share` of memory may be caches that were filled for the first time."""
    assert after.tasks == before.tasks, f"tasks: {before.tasks} before, {after.tasks} after: {asyncio.all_tasks()}"
    assert after.files <= before.files, f"open files: {before.files} before, {after.files} after"
    grown = after.blocks - before.blocks
    assert grown < before.blocks * share, f"memory: {before.blocks} blocks before, {grown:+} after"


def tell(report: Report, before: Left, after: Left) -> None:
    for name, happened in report.happened.items():
        print(f"{name}: {', '.join(f'{what} {n}' for what, n in happened.most_common())}")
        print(f"    heard {', '.join(f'{what} {n:,}' for what, n in report.heard[name].most_common())}; {report.gaps[name]} gaps")
    print(f"before {before}\nafter  {after}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venue", action="append", help="again for more; all registered ones when left out")
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seconds", type=float, help="instead of minutes")
    parser.add_argument("--each", type=float, default=1.5, help="seconds that one trouble lasts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--virtual", action="store_true", help="on virtual time, in memory")
    parser.add_argument("--trace", action="store_true", help="tell each trouble")
    parser.add_argument("--log", action="store_true", help="and what the clients log")
    options = parser.parse_args(arguments)
    names = options.venue or list(dialects.names())
    seconds = options.seconds or options.minutes * 60
    began = time.monotonic()

    def say(text: str) -> None:
        if options.trace:
            print(f"{time.monotonic() - began:7.1f} {text}", flush=True)

    if options.log:
        logging.basicConfig(level=logging.INFO, format="%(relativeCreated)8d %(message)s")
    if options.virtual:
        report = on_virtual_time(names, seconds=seconds, seed=options.seed, each_s=options.each, say=say)
        assert not report.errors, report.errors
        print({name: dict(happened) for name, happened in report.happened.items()})
        return 0

    async def go() -> int:
        report, before, after = await measured(names, seconds=seconds, seed=options.seed, each_s=options.each, say=say)
        tell(report, before, after)
        assert not report.errors, report.errors
        nothing_left(before, after)
        return 0

    return asyncio.run(go())


def on_virtual_time(
    names: Sequence[str], *, seconds: float, seed: int, each_s: float = 1.5, say: Callable[[str], None] = lambda _: None
) -> Report:
    """The same in memory, from a seed; a task or connection that is left fails it."""

    async def go(sim: simloop.Simulation) -> Report:
        return await storm(names, sim.runtime, seconds=seconds, seed=seed, each_s=each_s, network=sim.network, say=say)

    return simloop.run(go, seed=seed)


if __name__ == "__main__":
    sys.exit(main())
