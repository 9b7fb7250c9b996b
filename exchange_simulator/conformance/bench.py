"""One venue on the bench: its dialect over a prepared exchange, clients that talk to it, and hands to disturb both."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Self, TypeVar

import pytest

from exchange_clients import venues
from exchange_clients.base_client import BaseExchangeClient
from exchange_clients.base_funding_adapter import BaseFundingAdapter
from exchange_clients.events import Subscription
from exchange_clients.model import Instrument, OrderInfo, Purpose
from exchange_clients.signing import Credentials
from exchange_clients.spec import VenueSpec
from exchange_clients.transport.runtime import Runtime
from exchange_simulator import dialects, simloop
from exchange_simulator.core.events import AnyEvent
from exchange_simulator.core.exchange import Exchange
from exchange_simulator.core.orders import Order
from exchange_simulator.core.types import Market, NewOrder, Side, to_money
from exchange_simulator.dialects.base import (
    Budget,
    ConnectFault,
    DialectServer,
    Kind,
    Received,
    RequestFault,
    SimAccount,
)
from exchange_simulator.ready import Depth, ReadyVenue, build_venue

T = TypeVar("T")

BTC, ETH = "BTC", "ETH"
MARKETS = {BTC: (Decimal("0.1"), Decimal("0.00001"), 50_000), ETH: (Decimal("0.01"), Decimal("0.0001"), 2_500)}
"""Base -> tick, step, mark. The book has a level at each whole price from mark - 1 and mark + 1 on."""
DEPTH = 20
LEVEL = Decimal(2)
"""Base units at each level."""
DEPOSIT = Decimal(100_000)
PATIENCE_S = 30.0


class Hands:
    """Scripted faults: each hand is asked until it has done its share, then it is gone. Without hands everything works."""

    def __init__(self) -> None:
        self._requests: list[Callable[[Received], RequestFault | None]] = []
        self._connects: list[Callable[[Received], ConnectFault | None]] = []
        self.push: Callable[[int, str, bytes], Sequence[tuple[float, bytes]] | None] | None = None
        self.event: Callable[[AnyEvent], Sequence[tuple[float, AnyEvent]] | None] | None = None

    def requests(self, fault: RequestFault, *, times: int = 1, when: Callable[[Received], bool] = lambda _: True) -> None:
        """The next `times` requests that fit meet `fault`."""
        self._requests.append(_limited(fault, times, when))

    def connects(self, fault: ConnectFault, *, times: int = 1) -> None:
        """The next `times` sockets that open meet `fault`."""
        self._connects.append(_limited(fault, times, lambda _: True))

    def on_request(self, received: Received) -> RequestFault | None:
        return next((fault for hand in self._requests if (fault := hand(received)) is not None), None)

    def on_connect(self, received: Received) -> ConnectFault | None:
        return next((fault for hand in self._connects if (fault := hand(received)) is not None), None)

    def on_push(self, session: int, channel: str, payload: bytes) -> Sequence[tuple[float, bytes]] | None:
        return self.push(session, channel, payload) if self.push is not None else None

    def on_event(self, event: AnyEvent) -> Sequence[tuple[float, AnyEvent]] | None:
        return self.event(event) if self.event is not None else None

    def rest(self) -> None:
        """Nothing happens any more."""
        self._requests.clear()
        self._connects.clear()
        self.push = self.event = None


def _limited(fault: T, times: int, when: Callable[[Received], bool]) -> Callable[[Received], T | None]:
    left = times

    def hand(received: Received) -> T | None:
        nonlocal left
        if left <= 0 or not when(received):
            return None
        left -= 1
        return fault

    return hand


@dataclass(slots=True)
class Bench:
    """What a test gets. `account` is funded and its keys are those of `client()`."""

    ready: ReadyVenue
    hands: Hands
    _stack: AsyncExitStack

    @property
    def venue(self) -> venues.Venue:
        return self.ready.venue

    @property
    def spec(self) -> VenueSpec:
        return self.ready.spec

    @property
    def exchange(self) -> Exchange:
        return self.ready.exchange

    @property
    def server(self) -> DialectServer:
        return self.ready.server

    @property
    def dialect(self) -> Any:
        return self.ready.dialect

    @property
    def runtime(self) -> Runtime:
        return self.ready.runtime

    @property
    def account(self) -> SimAccount:
        return self.ready.account

    @property
    def environment(self) -> str:
        return self.ready.environment

    # ---- clients

    def credentials(self, account: SimAccount | None = None) -> Credentials:
        return self.ready.credentials(account)

    def settings(self, **more: Any) -> dict[str, Any]:
        return self.ready.settings(**{"ticker": BTC, **more})

    def client(
        self, *, signed: bool = True, account: SimAccount | None = None, runtime: Runtime | None = None, **settings: Any
    ) -> BaseExchangeClient:
        """A client that is not connected yet; disconnected at the end of the test."""
        made = self.ready.client(signed=signed, account=account, runtime=runtime, **{"ticker": BTC, **settings})
        self._stack.push_async_callback(made.disconnect)
        return made

    async def connected(self, *, signed: bool = True, account: SimAccount | None = None, **settings: Any) -> BaseExchangeClient:
        made = self.client(signed=signed, account=account, **settings)
        await made.connect()
        return made

    def funding_adapter(self) -> BaseFundingAdapter:
        made = self.venue.funding(self.settings(), runtime=self.runtime)
        self._stack.push_async_callback(made.close)
        return made

    def another_account(self, deposit: Decimal = DEPOSIT) -> SimAccount:
        made: SimAccount = self.dialect.open_account(deposit)
        return made

    # ---- the exchange

    def now(self) -> int:
        return int(self.dialect.now_ns())

    def market(self, base: str = BTC) -> Market:
        """The exchange's market of that base."""
        return self.ready.markets[base]

    def symbol(self, base: str = BTC) -> str:
        return self.market(base).symbol

    def orders(self, base: str = BTC) -> list[Order]:
        """Live orders of the account as the exchange has them."""
        return self.exchange.open_orders(self.account.account, self.symbol(base))

    def position(self, base: str = BTC) -> Decimal:
        """Signed base units."""
        return self.ready.position(base)

    def trade(self, side: Side, quantity: Decimal, *, limit: Decimal | None = None, base: str = BTC) -> Decimal:
        """Somebody takes from the book; what was taken."""
        market = self.market(base)
        ticks = market.to_ticks(limit) if limit is not None else 0
        return market.size(self.exchange.external_trade(self.now(), market.symbol, side, market.to_steps(quantity), limit=ticks))

    def submit(self, side: Side, quantity: Decimal, price: Decimal, base: str = BTC) -> Order:
        """An order of the account that no client sent."""
        market = self.market(base)
        return self.exchange.submit(
            self.now(), NewOrder(self.account.account, market.symbol, side, market.to_steps(quantity), market.to_ticks(price))
        )

    def set_mark(self, price: Decimal | int, base: str = BTC) -> None:
        market = self.market(base)
        self.exchange.set_mark(self.now(), market.symbol, market.to_ref(Decimal(price)))

    def set_level(self, side: Side, price: Decimal | int, quantity: Decimal | int, base: str = BTC) -> None:
        market = self.market(base)
        self.exchange.set_level(self.now(), market.symbol, side, market.to_ticks(Decimal(price)), market.to_steps(Decimal(quantity)))

    def clear_book(self, base: str = BTC) -> None:
        self.exchange.set_levels(self.now(), self.symbol(base), [], [])

    def fill_book(self, base: str = BTC) -> None:
        """The book as it was at the start."""
        _stock(self.exchange, self.now(), self.market(base), MARKETS[base][2])

    def true_book(self, base: str = BTC, levels: int = 5) -> tuple[Depth, Depth]:
        """The exchange's own best levels: (price, size) of bids and asks."""
        return self.ready.true_book(base, levels)

    # ---- what went over the wire

    def is_command(self, received: Received) -> bool:
        return self.ready.is_command(received)

    def commands(self) -> list[Received]:
        """Every command received so far."""
        return [received for received in self.dialect.received if self.is_command(received)]

    def sockets(self) -> int:
        """Sockets opened so far."""
        return len(self.dialect.requests(kind=Kind.CONNECT))

    def drop_sockets(self) -> None:
        """Every socket breaks without a word."""
        for session in list(self.dialect.sessions.values()):
            session.drop()

    # ---- waiting

    async def until(self, true: Callable[[], Any], what: str, *, timeout_s: float = PATIENCE_S) -> None:
        """Return once `true()` holds; fail when it does not in time."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_s
        while not true():
            assert loop.time() < end, f"not in {timeout_s:g} s: {what}"
            await asyncio.sleep(0.005)

    async def records_are_in(self) -> None:
        """Wait until what has happened is in the venue's records, where those lag behind."""
        await asyncio.sleep(self.spec.capabilities.records_lag_s)

    async def book_is_true(self, client: BaseExchangeClient, base: str = BTC, *, timeout_s: float = PATIENCE_S) -> None:
        """Return once the client's streamed book is ready and equals the exchange's."""
        instrument = client.instruments.get(base)

        def equal() -> bool:
            if not client.ws_manager.order_book_ready(instrument):
                return False
            found = client.ws_manager.get_order_book(instrument, 5)
            mine = tuple([(level.price, level.size) for level in side] for side in (found.bids, found.asks))
            return mine == self.true_book(base)

        await self.until(equal, f"the streamed book of {base} equals the exchange's", timeout_s=timeout_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.hands.rest()
        await self._stack.aclose()
        await self.server.stop()


def _stock(exchange: Exchange, now: int, market: Market, mark: int) -> None:
    size = market.to_steps(LEVEL)
    bids = [(market.to_ticks(Decimal(mark - n)), size) for n in range(1, DEPTH + 1)]
    asks = [(market.to_ticks(Decimal(mark + n)), size) for n in range(1, DEPTH + 1)]
    exchange.set_levels(now, market.symbol, bids, asks)


async def set_up(name: str, runtime: Runtime, *, network: simloop.SimNetwork | None = None, budget: Budget | None = None) -> Bench:
    """A serving dialect with two markets and a funded account."""
    venues.get(name)
    try:
        dialect_class = dialects.get(name)
    except dialects.UnknownDialect as e:
        pytest.skip(f"{name} cannot be proved here: {e}")
    hands = Hands()
    markets = {base: dialect_class.listing(base, tick_size=tick, step_size=step) for base, (tick, step, _) in MARKETS.items()}
    ready = build_venue(dialect_class, runtime, markets, deposit=DEPOSIT, seed=7, network=network, faults=hands)
    ready.dialect.budget = budget or ready.dialect.budget
    ready.exchange.fund_insurance(ready.now(), to_money(1_000_000))
    for base, market in markets.items():
        mark = MARKETS[base][2]
        ready.exchange.set_mark(ready.now(), market.symbol, market.to_ref(Decimal(mark)))
        _stock(ready.exchange, ready.now(), market, mark)
    await ready.server.start()
    return Bench(ready, hands, AsyncExitStack())


def virtual(test: Callable[[Bench], Awaitable[None]]) -> Callable[[str], None]:
    """A conformance test on virtual time. A task, connection or lost exception that it leaves fails it."""

    async def main(venue: str, sim: simloop.Simulation) -> None:
        async with await set_up(venue, sim.runtime, network=sim.network) as bench:
            await test(bench)

    @functools.wraps(test)
    def on_virtual_time(venue: str) -> None:
        simloop.run(lambda sim: main(venue, sim), seed=7)

    return _takes_venue(on_virtual_time)


def loopback(test: Callable[[Bench], Awaitable[None]]) -> Callable[[str], Awaitable[None]]:
    """A conformance test over real sockets and real time."""

    @functools.wraps(test)
    async def on_sockets(venue: str) -> None:
        runtime = Runtime.system()
        try:
            async with await set_up(venue, runtime) as bench:
                await test(bench)
        finally:
            runtime.offload.close()

    return pytest.mark.asyncio(_takes_venue(on_sockets))  # also where pytest-asyncio is strict


def _takes_venue(test: Callable[[str], T]) -> Callable[[str], T]:
    """Let pytest see the one parameter that the wrapper has, not those of what it wraps."""
    test.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter("venue", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=str)]
    )
    return test


def needs(able: bool, what: str) -> None:
    """Skip, saying so, what the venue's capabilities rule out."""
    if not able:
        pytest.skip(f"capability: the venue has no {what}")


async def rest_order(
    client: BaseExchangeClient, *, quantity: str = "0.01", price: str = "49000", side: str = "buy", **more: Any
) -> OrderInfo:
    """A limit order that rests far from the touch, proved open."""
    result = await client.place_limit_order(BTC, Decimal(quantity), Decimal(price), side, wait_for="open", **more)
    assert result.success, result.error_message
    assert result.client_order_id is not None
    info = await client.get_order_info(result.client_order_id)
    assert info is not None
    return info


async def take(client: BaseExchangeClient, side: str, quantity: str = "0.01", *, reduce_only: bool = False) -> OrderInfo:
    """An immediate order that fills, proved ended."""
    price = "50100" if side == "buy" else "49900"
    result = await client.place_limit_order(
        BTC,
        Decimal(quantity),
        Decimal(price),
        side,
        reduce_only,
        time_in_force="IOC",
        wait_for="terminal",
        purpose=Purpose.CLOSE if reduce_only else Purpose.ENTRY,
    )
    assert result.success, result.error_message
    assert result.client_order_id is not None
    info = await client.get_order_info(result.client_order_id)
    assert info is not None
    return info


def buffered(subscription: Subscription) -> list[Any]:
    """What a subscription hears, as a list that grows; a task of the running loop fills it until the subscription ends."""
    heard: list[Any] = []

    async def listen() -> None:
        async for event in subscription:
            heard.append(event)  # noqa: PERF401 - read by the test while it grows

    subscription_task = asyncio.ensure_future(listen())
    subscription_task.add_done_callback(lambda task: task.cancelled() or task.exception())
    return heard


def steps_of(instrument: Instrument, count: int = 1) -> Decimal:
    """So many quantity steps."""
    return instrument.step_size * count


def each(items: Sequence[T]) -> Iterator[T]:
    """Over a sequence that must not be empty: a loop that proves nothing is a fault."""
    assert items
    return iter(items)
