"""A desk beside the engine of the execution tests, over the same clients, journal and ownership."""

import asyncio
from collections.abc import Callable, Coroutine
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from exchange_simulator.core.types import NewOrder
from exchange_simulator.core.types import Side as SimSide
from strategies.execution.desk import Desk, Holding
from strategies.execution.guard import NO_GUARD, Guard, OrderCheck
from strategies.execution.journaling import Observer
from strategies.execution.plan import ExecutionLimits
from tests.strategies.stack import MID, SimVenue, Stack, run_stack

T = TypeVar("T")
D = Decimal
LIMITS = ExecutionLimits(resolve_deadline_s=20.0)


class DeskStack:
    """What a test of the desk uses: the first venue is the one that is traded on."""

    def __init__(self, stack: Stack, *, guard: Guard = NO_GUARD) -> None:
        self.s, self.guard = stack, guard
        self.observer: Observer = stack.story
        self._desk: Desk | None = None

    @property
    def desk(self) -> Desk:
        assert self._desk is not None
        return self._desk

    @property
    def name(self) -> str:
        return next(iter(self.s.venues))

    @property
    def venue(self) -> SimVenue:
        return self.s.venues[self.name]

    @property
    def position(self) -> Decimal:
        """The truth."""
        return self.venue.position()

    @property
    def instrument(self) -> str:
        return self.s.instrument_id(self.name)

    async def up(self, *, start: bool = True) -> Desk:
        """A desk, and the engine it stands beside."""
        engine = self.s.engine
        if engine is None:
            engine = await self.s.up()
        self._desk = Desk(
            engine.journal,
            engine.clients,
            self.s.runtime,
            strategy="test",
            account="main",
            ids=engine.ids,
            ownership=engine.ownership,
            guard=self.guard,
            observer=self.observer,
        )
        if start:
            await self._desk.start()
        return self._desk

    async def down(self, grace_s: float = 0.0) -> None:
        """As a process that is gone: nothing is taken off the book unless there is grace for it."""
        if self._desk is not None:
            if grace_s:
                await self._desk.stop(grace_s)
            else:
                await self._desk.drop()
            self._desk = None
        await self.s.down()

    async def restart(self) -> Desk:
        await self.down()
        return await self.up()

    async def open(self, **kwargs: Any) -> Holding:
        return await self.desk.open_holding(self.instrument, limits=LIMITS, **kwargs)

    def trade(self, side: SimSide, quantity: str) -> None:
        """Strangers trade against what rests in the book, best first."""
        market = self.venue.exchange.markets[self.venue.symbol].spec
        self.venue.exchange.external_trade(self.venue.now(), self.venue.symbol, side, market.to_steps(D(quantity)))

    def stranger_takes(self, side: SimSide, quantity: str, price: Decimal) -> None:
        """Another account sends an immediate order."""
        market = self.venue.exchange.markets[self.venue.symbol].spec
        order = NewOrder(self.venue.stranger.account, self.venue.symbol, side, market.to_steps(D(quantity)), market.to_ticks(price))
        self.venue.exchange.submit(self.venue.now(), order)

    def price(self, mid: Decimal = MID, **book: Any) -> None:
        """The market moves there: mark, index and book."""
        self.venue.book(mid=mid, **book)


def run_desk(
    folder: Path,
    main: Callable[[DeskStack], Coroutine[Any, Any, T]],
    *,
    name: str = "hyperliquid",
    guard: Guard = NO_GUARD,
    start: bool = True,
    seed: int = 0,
) -> T:
    """`main` over one venue with engine and desk, on virtual time."""

    async def go(s: Stack) -> T:
        built = DeskStack(s, guard=guard)
        try:
            if start:
                await built.up()
            return await main(built)
        finally:
            await built.down()

    return run_stack(folder, go, names=(name,), seed=seed, start=start)


async def until(what: Callable[[], bool], seconds: float = 60) -> None:
    for _ in range(int(seconds * 10)):
        if what():
            return
        await asyncio.sleep(0.1)
    raise AssertionError("it did not come to that")


class Halted:
    """A guard that wants no entries."""

    def __init__(self) -> None:
        self.reason: str | None = None

    def entry_block(self, *venues: str) -> str | None:
        return self.reason

    async def admit(self, *legs: OrderCheck) -> str | None:
        return None

    def order_block(self, order: OrderCheck) -> str | None:
        return "too large" if order.quantity > 1 else None


class Killed(BaseException):
    """The process is gone: nothing after this point is executed."""


class KillAt:
    """Raises at the `point`-th step of the journal (before and after each write) and at everything after it."""

    def __init__(self, point: int) -> None:
        self.left, self.steps, self.dead = point, 0, False

    def __call__(self, event: str, owner: str, facts: dict[str, object]) -> None:
        if event.startswith("journal."):
            self.steps += 1
            self.left -= 1
        if self.dead or self.left < 0:
            self.dead = True
            raise Killed(event)
