"""The grid strategy: one grid per symbol, each on its own holding of the desk."""

import asyncio
import logging
from typing import Any, ClassVar

from pydantic import BaseModel

from database.records import HoldingState
from exchange_clients.model import FillKind, InstrumentId, LiquidationEvent
from strategies.base_strategy import BaseStrategy, InvalidParameters, StrategyContext
from strategies.execution.desk import Desk
from strategies.reload import Change

from .config import GridConfig
from .gate import Purse
from .runner import GridRunner
from .state import VERSION, Phase

log = logging.getLogger("strategies.grid")


PATIENCE_S = 2.0
"""A cycle waits so long for a slow look; it goes on beside the next cycles."""


class Grid(BaseStrategy[GridConfig]):
    """Maker entries one step apart, every fill with its own take-profit; both modes."""

    config_class: ClassVar[type[BaseModel]] = GridConfig
    name: ClassVar[str] = "grid"
    state_version: ClassVar[int] = VERSION

    def __init__(self, config: GridConfig, context: StrategyContext) -> None:
        super().__init__(config, context)
        if config.account_name is not None and config.account_name != context.account:
            raise InvalidParameters(f"account_name: {config.account_name}, but the bot runs on account {context.account}")
        self.grids: dict[InstrumentId, GridRunner] = {}
        self._steps: dict[InstrumentId, asyncio.Task[None]] = {}
        """Looks that are under way."""
        self.entering = asyncio.Lock()
        """Held by the grid that counts the money and spends it."""

    @property
    def interval_s(self) -> float:
        return self.config.check_interval_seconds

    @property
    def desk(self) -> Desk:
        """Of this bot."""
        return self.context.desk

    async def initialize(self) -> None:
        """Find the markets, take over what an earlier process left.

        Raises:
            InvalidParameters: the venue or a symbol is not there.
        """
        if self.config.exchange not in self.context.clients:
            raise InvalidParameters(
                f"exchange: {self.config.exchange!r} is not among the venues of this bot: {', '.join(self.context.clients)}"
            )
        client = self.context.clients[self.config.exchange]
        purse = Purse(client, self.context.clock)
        for symbol in self.config.symbols:
            instrument = await client.instruments.load(symbol)
            if instrument.id in self.grids:
                raise InvalidParameters(f"symbols: {symbol} is the market {instrument.id}, which is there already")
            if instrument.id.inverse:
                raise InvalidParameters(
                    f"symbols: {instrument.id} is inverse, its quantity is in quote currency: grids trade linear markets"
                )
            runner = GridRunner(self, self.desk, instrument, purse)
            await runner.restore()
            self.grids[instrument.id] = runner
            self.follow(self.config.exchange, symbol)
        self._give_up_others()

    def _give_up_others(self) -> None:
        """Holdings of an earlier configuration that no grid looks after: nothing may fill there that nobody would protect."""
        known = {str(instrument) for instrument in self.grids}
        for holding in self.desk.holdings.values():
            if holding.record.instrument in known or holding.state is HoldingState.CLOSED:
                continue
            holding.withdraw_entries()
            holding.share.say("grid.left_alone", own=holding.own)
            log.error(
                "grid.left_alone holding=%s market=%s own=%s: its entries come off, its take-profits stay;"
                " put its symbol back into `symbols`, or close it: perpkit close %s",
                holding.holding_id, holding.record.instrument, holding.own, holding.holding_id,
            )  # fmt: skip

    async def run_cycle(self) -> None:
        """One look at every grid, side by side; one that is slow or fails holds up no other."""
        self._steps = {i: self._steps.get(i) or asyncio.create_task(g.step(), name=f"grid:{i}") for i, g in self.grids.items()}
        done, _ = await asyncio.wait(self._steps.values(), timeout=PATIENCE_S)
        self._steps = {i: task for i, task in self._steps.items() if task not in done}
        failures = [task.exception() for task in done if not task.cancelled() and task.exception() is not None]
        for extra in failures[1:]:
            log.error("grid.failed", exc_info=extra)
        if failures and failures[0] is not None:
            raise failures[0]

    async def cleanup(self) -> None:
        """Looks and sends that are under way end; the state of every grid is on disk, and the desk knows each order."""
        for task in self._steps.values():
            task.cancel()
        await asyncio.gather(*self._steps.values(), return_exceptions=True)
        await asyncio.gather(*(grid.drop() for grid in self.grids.values()))

    # ---- events

    def on_book(self, change: object) -> None:
        """The book is read at each look; following it keeps it streaming."""

    def on_liquidation(self, event: LiquidationEvent) -> None:
        """A grid that was liquidated does not go on by itself."""
        grid = self.grids.get(event.instrument)
        if grid is not None and event.own and event.kind is FillKind.LIQUIDATION and grid.state.own:
            grid.liquidated = f"{event.quantity} at {event.price}"
            self.wake()

    # ---- operation

    def open_owners(self) -> list[str]:
        """Holdings that are not closed."""
        return [grid.state.holding_id for grid in self.grids.values() if grid.state.holding_id]

    async def reload(self, new: GridConfig) -> dict[str, tuple[Change, ...]]:
        """As in every strategy; what says which grids there are cannot change while they run.

        Raises:
            InvalidParameters: it would; nothing was changed.
        """
        fixed = ("exchange", "symbols", "account_name", "mode", "direction", "margin_mode")
        moved = [name for name in fixed if getattr(new, name) != getattr(self.config, name)]
        if moved:
            raise InvalidParameters(f"{', '.join(moved)}: cannot change while the grid runs; stop the bot and start it again")
        return await super().reload(new)

    async def begin_close(self, owner_id: str, why: str) -> None:
        """Cancel, close and halt the grid that owns a holding; it is on its way when this returns.

        Raises:
            LookupError: no grid of this strategy has it.
        """
        grid = next((g for g in self.grids.values() if owner_id and g.state.holding_id == owner_id), None)
        if grid is None:
            raise LookupError(f"{self.name} has no open holding {owner_id!r}")
        await grid.ask_to_stop("requested", why)

    async def resume(self, symbol: str, why: str = "asked by the operator") -> None:
        """Let a halted grid run again.

        Raises:
            LookupError: there is no grid of that symbol.
            ValueError: it is not halted, or its venue does not agree with our account of the position yet.
        """
        for instrument, grid in self.grids.items():
            if symbol in (str(instrument), instrument.base):
                await grid.resume(why)
                return
        raise LookupError(f"there is no grid of {symbol!r}; there are {', '.join(i.base for i in self.grids)}")

    def get_status(self) -> dict[str, Any]:
        """For humans and the control API."""
        return {**super().get_status(), "grids": {str(instrument): grid.status() for instrument, grid in self.grids.items()}}

    @property
    def halted(self) -> dict[str, str]:
        """Symbols that wait for an operator, and why."""
        waiting = (Phase.HALTED, Phase.ALERT)
        return {str(i): g.state.reason for i, g in self.grids.items() if g.state.phase in waiting}
