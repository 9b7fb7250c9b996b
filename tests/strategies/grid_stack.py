"""The grid over the stack of the execution tests: one venue, several markets, the desk, the strategy's own loop on virtual time."""

import asyncio
from collections.abc import Callable, Coroutine
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from exchange_clients.model import Instrument, OrderStatus
from exchange_simulator.core.orders import Order
from exchange_simulator.core.types import UNIT, Market
from strategies.base_strategy import StrategyContext
from strategies.execution.desk import Desk
from strategies.execution.guard import NO_GUARD, Guard
from strategies.implementations.grid.config import GridConfig
from strategies.implementations.grid.runner import GridRunner
from strategies.implementations.grid.state import GridOrder, Phase
from strategies.implementations.grid.strategy import Grid
from tests.strategies.stack import SimVenue, Stack, run_stack

T = TypeVar("T")
D = Decimal
PRICES = {"BTC": D(100_000), "ETH": D(3_000), "SOL": D(150)}
LISTED = {"ETH": ("0.01", "0.0001"), "SOL": ("0.001", "0.001")}
"""Tick and step asked for at every venue."""
BOOKED = (OrderStatus.OPEN.value, OrderStatus.PARTIALLY_FILLED.value)
CONFIG: dict[str, Any] = {
    "grid_step": "0.5",
    "take_profit": "0.5",
    "order_notional_usd": "1000",
    "wait_time": 0,
    "max_orders": 4,
}


class GridStack:
    """One venue and one grid bot; `restart` makes clients, journal, engine, desk and strategy anew, as a new process would."""

    def __init__(self, stack: Stack, symbols: tuple[str, ...], guard: Guard = NO_GUARD, **parameters: Any) -> None:
        self.s, self.symbols, self.guard = stack, symbols, guard
        base = {k: v for k, v in CONFIG.items() if parameters.get("mode") != "two_sided" or k not in ("take_profit", "max_orders")}
        self.parameters = {**base, "exchange": self.venue.name, "symbols": symbols, **parameters}
        self.mids = {symbol: PRICES[symbol] for symbol in symbols}
        for symbol in symbols:
            if symbol != "BTC":
                tick, step = LISTED[symbol]
                self.venue.list_too(symbol, PRICES[symbol], tick=tick, step=step)
        self.price()
        self.grid: Grid
        self.desk: Desk
        self._running: asyncio.Task[None] | None = None
        self._breathing = asyncio.create_task(self._breathe())

    async def _breathe(self) -> None:
        """A market moves all the time, if only by a tick: a silent stream counts as dead."""
        ticks = 0
        while True:
            await asyncio.sleep(5)
            ticks = 1 - ticks
            for symbol, mid in self.mids.items():
                self.venue.ready.set_price(symbol, mid + ticks * self.market(symbol).tick_size)

    async def end(self) -> None:
        self._breathing.cancel()
        await asyncio.gather(self._breathing, return_exceptions=True)
        await self.down()

    @property
    def venue(self) -> SimVenue:
        return next(iter(self.s.venues.values()))

    # ---- life

    async def up(self, *, run: bool = True, **changes: Any) -> Grid:
        engine = self.s.engine or await self.s.up()
        engine.strategy = "grid"
        self.desk = Desk.beside(engine, self.s.runtime, observer=self.s.story)
        self.desk.guard = self.guard
        await self.desk.start()
        context = StrategyContext(self.s.clients, engine, engine.journal, self.s.runtime.clock, "main", self.desk)
        self.parameters = {**self.parameters, **changes}
        self.grid = Grid(GridConfig.model_validate(self.parameters), context)
        self.grid.restore_configs()
        await self.grid.initialize()
        if run:
            self._running = asyncio.create_task(self.grid.start())
        return self.grid

    async def down(self) -> None:
        """As a process that is gone; orders stay at the venue."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
            self._running = None
        if hasattr(self, "desk"):
            await self.grid.cleanup()
            await self.desk.drop()
        await self.s.down()

    async def restart(self, **changes: Any) -> Grid:
        await self.down()
        return await self.up(**changes)

    # ---- the market

    def price(self, move: Decimal | str = "1", *only: str) -> None:
        """Every market (or those) at this multiple of where it began."""
        for symbol in only or self.symbols:
            self.mids[symbol] = PRICES[symbol] * D(move)
            self.venue.ready.set_price(symbol, self.mids[symbol])

    def hide_book(self, move: str, symbol: str = "BTC") -> None:
        """The mark moves there, and nobody quotes until the next `price`."""
        self.mids.pop(symbol)
        market = self.market(symbol)
        mark = market.to_ref(PRICES[symbol] * D(move))
        self.venue.exchange.set_levels(self.venue.now(), market.symbol, [], [])
        self.venue.exchange.set_mark(self.venue.now(), market.symbol, mark, mark)

    def market(self, symbol: str = "BTC") -> Market:
        return self.venue.ready.markets[symbol]

    def position(self, symbol: str = "BTC") -> Decimal:
        """The truth."""
        return self.venue.ready.position(symbol)

    def open_orders(self, symbol: str = "BTC") -> list[Order]:
        """The truth."""
        return self.venue.exchange.open_orders(self.venue.account.account, self.market(symbol).symbol)

    def cash(self) -> Decimal:
        """What the account has without open positions."""
        return D(self.venue.exchange.account(self.venue.account.account).balance) / UNIT

    def fill(self, order: Order, quantity: str, symbol: str = "BTC") -> None:
        """A part of a resting order fills."""
        self.venue.exchange.fill_resting(self.venue.now(), order.id, self.market(symbol).to_steps(D(quantity)))

    # ---- the bot

    def runner(self, symbol: str = "BTC") -> GridRunner:
        return next(g for i, g in self.grid.grids.items() if i.base == symbol)

    def instrument(self, symbol: str = "BTC") -> Instrument:
        return self.runner(symbol).instrument

    async def until(self, condition: Callable[[], bool], seconds: float = 120) -> None:
        """Virtual time passes until then."""
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    await self.s.settle(0.25)
        except TimeoutError:
            grids = {i.base: g.status() for i, g in self.grid.grids.items()}
            raise AssertionError(f"not within {seconds} s: {grids}, failed cycles {self.grid.failed_cycles}") from None

    async def until_phase(self, phase: Phase, seconds: float = 120) -> None:
        await self.until(lambda: all(g.state.phase is phase for g in self.grid.grids.values()), seconds)

    def standing(self, symbol: str = "BTC") -> list[GridOrder]:
        """Orders of the grid that the venue shows on its book."""
        runner = self.runner(symbol)
        if runner.holding is None:
            return []
        known = {o.client_order_id: o for o in runner.holding.orders(live=True)}
        return [o for o in runner.state.orders if (d := known.get(o.client_order_id)) is not None and d.told and d.told.status in BOOKED]

    def agreed(self, symbol: str = "BTC") -> bool:
        """State, desk and exchange show one position, and exits with what waits are all of it."""
        state, holding = self.runner(symbol).state, self.runner(symbol).holding
        own = D(0) if holding is None else holding.own
        covered = sum((o.remaining for o in state.exits()), D(0))
        return state.own == own == self.position(symbol) and covered + state.waiting() == abs(own)


def run_grid(
    folder: Path,
    main: Callable[[GridStack], Coroutine[Any, Any, T]],
    *,
    name: str = "hyperliquid",
    symbols: tuple[str, ...] = ("BTC",),
    guard: Guard = NO_GUARD,
    up: bool = True,
    seed: int = 0,
    **parameters: Any,
) -> T:
    """`main` over one venue with a running grid bot."""

    async def go(s: Stack) -> T:
        built = GridStack(s, symbols, guard, **parameters)
        try:
            if up:
                await built.up()
            return await main(built)
        finally:
            await built.end()

    return run_stack(folder, go, names=(name,), seed=seed, start=False)
